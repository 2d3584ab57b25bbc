//! The version of a shard's schema, for the errors of a program that is older. Uses `driver` and `facts`.

use super::{Cluster, facts};
use crate::driver::Mode;
use crate::error::{Error, ErrorKind};
use crate::planner::own_tables;

impl Cluster {
    /// Adds the version of the shard's schema to an error that a contracted column can have caused.
    pub(crate) fn with_schema_version(&self, error: Error) -> Error {
        if !matches!(error.kind(), ErrorKind::Schema | ErrorKind::NotNull) || error.names_schema_version() {
            return error;
        }
        match error.shard().and_then(|shard| self.contracted(shard)) {
            None => error,
            Some((version, step)) => {
                let shard = error.shard().unwrap_or_default().to_owned();
                error.of_schema_version(&format!(
                    "shard `{shard}` is at schema version {version}, and step {version} `{step}` has changed columns that earlier \
                     releases use; run the newest release of this program"
                ))
            }
        }
    }

    /// Returns the last step of a shard that has removed or changed a column, and its name. It reads through a connection of
    /// its own: the session's transaction may be aborted.
    fn contracted(&self, shard: &str) -> Option<(String, String)> {
        let place = self.layout().place(self.layout().shards().get(shard)?.index()).ok()?;
        let database = self.0.databases.get(place.database)?;
        let connection = database.driver.connect_waiting(Mode::Open, self.0.timeout).ok()?;
        let table = place.names.table(own_tables::MIGRATION);
        let sql = format!(
            "SELECT CAST(step AS TEXT), name FROM {table} WHERE phase = 'done' AND does <> '' ORDER BY {table}.step DESC LIMIT 1"
        );
        let row = facts::texts(&*connection, &sql, &[]).ok()?.into_iter().next()?;
        let [step, name] = <[String; 2]>::try_from(row).ok()?;
        Some((step, name))
    }
}
