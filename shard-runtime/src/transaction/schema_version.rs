//! The version of a shard's schema, for the errors of a program that is older. Uses `driver` and `facts`.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{Cluster, facts};
use crate::driver::Mode;
use crate::error::{Error, ErrorKind};
use crate::planner::own_tables;

/// The last step of the migrations that a builder was given, shared by its clones and their clusters.
#[derive(Debug, Default)]
pub(crate) struct KnownVersion(AtomicU32);

impl KnownVersion {
    pub(crate) fn note(&self, version: u32) {
        self.0.store(version, Ordering::Relaxed);
    }

    fn get(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|version| *version > 0)
    }
}

/// Returns the reason why an older program is refused, and the remedy.
fn refusal(shard: &str, (version, step): (&str, &str), known: Option<u32>) -> String {
    let is_older = |known: &u32| version.parse().is_ok_and(|version: u32| *known < version);
    let known = match known.filter(is_older) {
        Some(known) => format!("this program knows schema version {known}, "),
        // It was given no migrations: the models alone have no version.
        None => String::new(),
    };
    format!(
        "{known}shard `{shard}` is at schema version {version}, and step {version} `{step}` has changed columns that earlier \
         releases use; run the newest release of this program"
    )
}

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
                let known = self.0.known_version.get();
                error.of_schema_version(&refusal(&shard, (&version, &step), known))
            }
        }
    }

    /// Returns the number and the name of the last step of a shard that has removed or changed a column. The step is
    /// done, or it contracts the column of the error. Reads through a new connection: the session's transaction may be
    /// aborted.
    fn contracted(&self, shard: &str, error: &Error) -> Option<(String, String)> {
        let location = self.layout().location(self.layout().shards().get(shard)?.index()).ok()?;
        let database = self.0.databases.get(location.database)?;
        // A database in memory has one program, and a second connection to it waits for the transaction.
        if database.driver.is_private() {
            return None;
        }
        let connection = database.driver.connect_waiting(Mode::Open, self.0.timeout).ok()?;
        let table = location.names.table(own_tables::MIGRATION);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_program_is_named_if_it_is_known_and_older() {
        let refused = |known| refusal("asia", ("4", "full name"), known);
        let text = "shard `asia` is at schema version 4, and step 4 `full name` has changed columns";
        assert!(refused(Some(3)).starts_with(&format!("this program knows schema version 3, {text}")));
        for known in [None, Some(4), Some(5)] {
            assert!(refused(known).starts_with(text), "{}", refused(known));
        }
        let known = KnownVersion::default();
        assert_eq!(known.get(), None);
        known.note(3);
        assert_eq!(known.get(), Some(3));
    }
}
