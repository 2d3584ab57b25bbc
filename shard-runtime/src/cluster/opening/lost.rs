//! The errors of databases that hold no shard, with their remedies.

use super::Opening;
use crate::driver::Connection;
use crate::error::{Error, ErrorKind};
use crate::schema::Shard;
use crate::transaction::schemas::check_schema;

impl Opening<'_> {
    fn at(&self, shard: &Shard, database: usize) -> String {
        let at = self.databases.get(database).map_or_else(String::new, |database| database.driver.describe());
        let schema =
            self.layout.location(shard.index()).ok().and_then(|location| location.names.schema.as_deref());
        schema.map_or_else(|| at.clone(), |schema| format!("{at}?schema={schema}"))
    }

    /// Returns the error for a database that holds no shard.
    pub(super) fn absent(&self, connection: &dyn Connection, shard: &Shard, database: usize) -> Error {
        let at = self.at(shard, database);
        let names = self.layout.location(shard.index()).map(|location| &location.names);
        if let Ok(Err(error)) = names.map(|names| check_schema(connection, names)) {
            return self.unreachable_shard(error, shard);
        }
        let message = match self.must_exist(shard) {
            true => {
                format!("the shard was made, but the database at {at} holds no shard; {}", to_get_back(shard))
            }
            false => format!(
                "the database at {at} is not initialized as a shard; run `create`, or correct `?prefix=` or `?schema=`"
            ),
        };
        Error::new(ErrorKind::WrongDatabase, message).on_shard(shard.name())
    }

    pub(super) fn is_not_lost(&self, shard: &Shard, database: usize) -> Error {
        let message =
            format!("the shard is not lost: found it at {}; remove `replace_lost`", self.at(shard, database));
        Error::new(ErrorKind::WrongDatabase, message).on_shard(shard.name())
    }

    /// Adds the remedy to the error of a database that does not exist.
    pub(in super::super) fn unreachable(&self, error: Error, database: usize) -> Error {
        let Some(first) = self.layout.shards_in(database).next() else { return error };
        if error.kind() != ErrorKind::Missing {
            return error.on_shard(first.name());
        }
        let made = self.layout.shards_in(database).find(|shard| self.must_exist(shard));
        self.unreachable_shard(error, made.unwrap_or(first))
    }

    fn unreachable_shard(&self, error: Error, shard: &Shard) -> Error {
        let message = match self.must_exist(shard) {
            true => format!("{error}, but the shard was made; {}", to_get_back(shard)),
            false => format!("{error}; run `create`"),
        };
        Error::new(error.kind(), message).with_source(error).on_shard(shard.name())
    }
}

fn to_get_back(shard: &Shard) -> String {
    let name = shard.name();
    format!("restore it, or call `replace_lost({name:?})` before `create` to make it again without its rows")
}
