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
        match error.shard().and_then(|shard| self.contracted(shard, &error)) {
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

    /// Returns the number and the name of the last step of a shard that has removed or changed a column. The step is
    /// done, or it contracts the column of the error. Reads through a new connection: the session's transaction may be
    /// aborted.
    fn contracted(&self, shard: &str, error: &Error) -> Option<(String, String)> {
        let place = self.layout().place(self.layout().shards().get(shard)?.index()).ok()?;
        let database = self.0.databases.get(place.database)?;
        // A database in memory has one program, and a second connection to it waits for the transaction.
        if database.driver.is_private() {
            return None;
        }
        let connection = database.driver.connect_waiting(Mode::Open, self.0.timeout).ok()?;
        let table = place.names.table(own_tables::MIGRATION);
        let sql = format!(
            "SELECT CAST(step AS TEXT), name, phase, does FROM {table} WHERE phase IN ('ready', 'done') AND does <> '' \
             ORDER BY {table}.step DESC"
        );
        let rows = facts::texts(&*connection, &sql, &[]).ok()?.into_iter();
        let steps = rows.filter_map(|row| <[String; 4]>::try_from(row).ok());
        // The format that `cluster::migrate::state` records.
        let column = error.table().zip(error.column()).map(|(table, column)| format!(" {table}({column});"));
        let is_about_it = |does: &str| column.as_ref().is_some_and(|column| does.contains(column));
        let mut contracted = steps.filter(|[.., phase, does]| phase == "done" || is_about_it(does));
        contracted.next().map(|[step, name, ..]| (step, name))
    }
}
