//! The statements of moves of single keys: the check of each transaction, the locks against writers, and the triggers that
//! refuse rows of keys that have left.

use super::{Dialect, Namespace, literal, quoted};
use crate::planner::own_tables;
use crate::schema::hash::hash_bytes;
use crate::schema::{ColumnDef, KeyColumns, Table};
use crate::value::ColumnType;

/// The kind of the facts about keys that have left a shard. A fact names a group and a key, and has the shard of the key. On
/// a file, the fact without a name has the epoch in which the last key left.
const LEFT: &str = "left";

/// The beginning of the names of the triggers and functions that refuse rows of keys that have left.
pub(crate) const LEFT_TRIGGER: &str = "sharded_left_";

/// Distinguishes the locks of transactions that write from other advisory locks with two keys.
const WRITERS: i32 = 0x5348_4B59;

/// The tables, and the columns of keys, whose rows are refused.
pub(crate) struct RefusedKeys<'r> {
    pub(crate) table: &'static Table,
    /// The beginning of the names of facts about keys of the table's placement group.
    pub(crate) group: &'r str,
    /// The message of the error, and on a server its code.
    pub(crate) message: &'r str,
    pub(crate) code: &'r str,
}

impl RefusedKeys<'_> {
    /// Returns the name of the trigger, and of its function. It has a hash, because names of tables can be as long as those
    /// of triggers.
    pub(crate) fn trigger(&self) -> String {
        format!("{LEFT_TRIGGER}{:016x}", hash_bytes(self.table.name.as_bytes(), 0))
    }

    fn columns(&self) -> Vec<&'static ColumnDef> {
        let columns: &[usize] = match self.table.key {
            KeyColumns::Columns(columns) => columns,
            KeyColumns::Parent(_) => &[],
        };
        columns.iter().filter_map(|&column| self.table.columns.get(column)).collect()
    }

    /// Returns the condition that the key of a new row has left.
    fn condition(&self, dialect: Dialect, names: &Namespace) -> String {
        let key: Vec<String> = self
            .columns()
            .iter()
            .map(|column| dialect.key_literal_of(&quoted(column.name), column.kind))
            .collect();
        format!(
            "EXISTS (SELECT 1 FROM {} WHERE kind = '{LEFT}' AND name = {} || {})",
            names.table(own_tables::STATE),
            dialect.literal(self.group),
            key.join(" || ', ' || ")
        )
    }
}

impl Dialect {
    /// Returns the expression for the literal of a column of a new row, in the form of the lines of a recorded rule.
    fn key_literal_of(self, column: &str, kind: ColumnType) -> String {
        match (self, kind) {
            (Dialect::Sqlite, ColumnType::Text) => format!("quote(NEW.{column})"),
            (Dialect::Sqlite, ColumnType::Bytes | ColumnType::Uuid) => {
                format!("'x''' || lower(hex(NEW.{column})) || ''''")
            }
            (Dialect::Postgres, ColumnType::Text) => {
                format!("'''' || replace(NEW.{column}, '''', '''''') || ''''")
            }
            (Dialect::Postgres, ColumnType::Bytes) => format!("'x''' || encode(NEW.{column}, 'hex') || ''''"),
            (Dialect::Postgres, ColumnType::Uuid) => {
                format!("'x''' || replace(NEW.{column}::text, '-', '') || ''''")
            }
            _ => format!("CAST(NEW.{column} AS TEXT)"),
        }
    }

    /// Returns the check of each transaction on a shard. On a server it is a statement that fails. On a file it is a query
    /// for the epoch in which the last key left the shard.
    pub(crate) fn expected_sql(
        self,
        names: &Namespace,
        cluster: &str,
        shard: &str,
        (epoch, left): (u64, &str),
    ) -> String {
        match self {
            Dialect::Sqlite => self.left_epoch_sql(names),
            // On servers nothing else uses the version.
            Dialect::Postgres => format!(
                "SELECT CASE WHEN count(*) <> 1 THEN {} WHEN max(version) > {epoch} THEN {} ELSE '1' END::integer FROM {} \
                 WHERE cluster = {} AND shard = {}",
                literal(&format!("not shard {shard}")),
                literal(left),
                names.table(own_tables::SHARD),
                literal(cluster),
                literal(shard)
            ),
        }
    }

    /// Returns the query for the epoch in which the last key has left a shard, as text.
    pub(crate) fn left_epoch_sql(self, names: &Namespace) -> String {
        match self {
            Dialect::Sqlite => Dialect::left_epoch_in_state_sql(names),
            Dialect::Postgres => format!("SELECT version::text FROM {}", names.table(own_tables::SHARD)),
        }
    }

    /// Returns the query for the epoch that a shard in a file keeps among its facts.
    pub(crate) fn left_epoch_in_state_sql(names: &Namespace) -> String {
        format!("SELECT value FROM {} WHERE kind = '{LEFT}' AND name = ''", names.table(own_tables::STATE))
    }

    /// Returns the statement that records the epoch, its parameter, in which a key leaves a shard.
    pub(crate) fn set_left_epoch_sql(self, names: &Namespace) -> String {
        match self {
            Dialect::Sqlite => format!(
                "INSERT INTO {} (kind, name, value) VALUES ('{LEFT}', '', CAST(?1 AS TEXT)) \
                 ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value",
                names.table(own_tables::STATE)
            ),
            Dialect::Postgres => format!("UPDATE {} SET version = $1", names.table(own_tables::SHARD)),
        }
    }

    /// Returns the statement that records the new shard of a key that leaves. Its parameters are the name of the fact and the
    /// shard.
    pub(crate) fn leave_sql(self, names: &Namespace) -> String {
        format!(
            "INSERT INTO {} (kind, name, value) VALUES ('{LEFT}', {}, {}) \
             ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value",
            names.table(own_tables::STATE),
            self.param(1),
            self.param(2)
        )
    }

    /// Returns the statement that deletes the record that a key has left a shard. Its parameter is the name of the fact.
    pub(crate) fn come_back_sql(self, names: &Namespace) -> String {
        format!(
            "DELETE FROM {} WHERE kind = '{LEFT}' AND name = {}",
            names.table(own_tables::STATE),
            self.param(1)
        )
    }

    /// Returns the statement that keeps the keys of a shard from moving until the transaction, which writes, ends.
    pub(crate) fn stay_sql(self, names: &Namespace) -> Option<String> {
        self.writers_lock(names, "pg_advisory_xact_lock_shared")
    }

    /// Returns the statements that wait for all transactions that write on a shard, and block new ones until the transaction
    /// ends. A file is locked as a whole.
    pub(crate) fn exclude_writers_sql(self, names: &Namespace, tables: &[&str]) -> Option<String> {
        // The lock of sessions first: a session may hold locks of tables and wait for others. Other programs take only locks
        // of tables.
        let lock = self.writers_lock(names, "pg_advisory_xact_lock")?;
        let tables: Vec<String> = tables.iter().map(|table| names.table(table)).collect();
        Some(format!("{lock}; LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", tables.join(", ")))
    }

    /// Returns the statement that makes the commit of a transaction wait for the disk, regardless of the settings.
    pub(crate) fn durable_commit_sql(self) -> Option<&'static str> {
        (self == Dialect::Postgres).then_some("SET LOCAL synchronous_commit = on")
    }

    fn writers_lock(self, names: &Namespace, function: &str) -> Option<String> {
        let own = literal(&names.table(own_tables::SHARD));
        (self == Dialect::Postgres)
            .then(|| format!("SELECT {function}({WRITERS}, {own}::regclass::oid::integer)"))
    }

    /// Returns the statements that create the trigger which refuses rows of keys that have left the shard.
    pub(crate) fn refuse_left_sql(self, names: &Namespace, refused: &RefusedKeys<'_>) -> Vec<String> {
        let on = names.table(refused.table.name);
        let (message, condition) = (self.literal(refused.message), refused.condition(self, names));
        let columns: Vec<String> = refused.columns().iter().map(|column| quoted(column.name)).collect();
        let columns = columns.join(", ");
        match self {
            Dialect::Sqlite => ["INSERT".to_owned(), format!("UPDATE OF {columns}")]
                .iter()
                .zip(["insert", "update"])
                .map(|(event, name)| {
                    let name = quoted(&names.plain(&format!("{}_{name}", refused.trigger())));
                    format!(
                        "CREATE TRIGGER IF NOT EXISTS {name} BEFORE {event} ON {on} WHEN {condition} \
                         BEGIN SELECT RAISE(ABORT, {message}); END"
                    )
                })
                .collect(),
            Dialect::Postgres => {
                let (trigger, code) = (quoted(&refused.trigger()), refused.code);
                let function = names.table(&refused.trigger());
                // Roles that write the table need no right on the table of facts.
                vec![
                    format!(
                        "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
                         SET search_path = pg_catalog, pg_temp AS $left$ BEGIN IF {condition} THEN RAISE EXCEPTION \
                         USING ERRCODE = '{code}', MESSAGE = {message}; END IF; RETURN NEW; END $left$"
                    ),
                    format!(
                        "CREATE OR REPLACE TRIGGER {trigger} BEFORE INSERT OR UPDATE OF {columns} ON {on} FOR EACH ROW \
                         EXECUTE FUNCTION {function}(); ALTER TABLE {on} ENABLE ALWAYS TRIGGER {trigger}"
                    ),
                ]
            }
        }
    }
}
