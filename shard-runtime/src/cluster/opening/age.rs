//! The check of each database's age: an older copy that was restored alone would contradict the others.

use super::Opening;
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::{Location, own_tables};
use crate::transaction::commit;
use crate::transaction::facts::{Kind, OwnFacts, Position};

impl Opening<'_> {
    /// Refuses a database that is older than the control database has recorded, and a control database that is older than this
    /// database. Returns the position of a server's log.
    pub(super) fn check_age(&self, connection: &dyn Connection, database: usize) -> Result<Option<Position>> {
        let Some(shard) = self.layout.shards_in(database).next() else { return Ok(None) };
        let Location { names, dialect, .. } = self.layout.location(shard.index())?;
        let name = shard.name();
        let remedy = "restore a newer copy of it, or the whole cluster from one backup";
        let older = |why: String| {
            let message = format!(
                "the database is older than its cluster, as if it was restored alone: {why}; {remedy}"
            );
            Err(Error::new(ErrorKind::WrongDatabase, message).on_shard(name))
        };
        if dialect.has_log_position() {
            let found = Position::read(connection);
            return match (&found, self.facts.position(name)) {
                (Some(found), Some(recorded))
                    if found.is_older_than(&recorded) && !self.is_replaced(shard) =>
                {
                    older(format!(
                        "expected its log at `{}` or later, found `{}`",
                        recorded.text(),
                        found.text()
                    ))
                }
                _ => Ok(found),
            };
        }
        if self.control.driver.is_private() || self.is_replaced(shard) {
            return Ok(None);
        }
        let found = OwnFacts::read(connection, names)?.writer;
        let recorded = self.facts.number(Kind::Writer, name).unwrap_or_default();
        if found < recorded {
            return older(format!("expected last writer {recorded} or later, found {found}"));
        }
        // Control raises the number before a shard does.
        let issued = if found > 0 { self.control.last_writer()? } else { 0 };
        if found > issued {
            let message = format!(
                "the control database at {} is older than the shard, as if it was restored alone: it has issued writer numbers \
                 up to {issued}, and writer {found} has written the shard; {remedy}",
                self.control.driver.describe()
            );
            return Err(Error::new(ErrorKind::WrongDatabase, message).on_shard(name));
        }
        // If a decided transaction is not applied yet, the database is behind the record. The version is read only after it is
        // certain that there is none: its session may have committed meanwhile.
        let recorded = self.facts.number(Kind::Version, name).unwrap_or_default();
        if recorded > 0 && !self.control.has_decided_for(name)? {
            let own = names.table(own_tables::SHARD);
            let found = commit::version(connection, &own)?;
            if found < recorded {
                return older(format!("expected version {recorded} or later, found {found}"));
            }
        }
        Ok(None)
    }
}
