//! The differences between databases: syntax and capabilities. Uses `value` and `schema`.

use super::{Namespace, literal};
use crate::schema::ColumnDefault;
use crate::value::ColumnType;

/// The database that a statement is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    #[default]
    Sqlite,
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    Postgres,
}

impl Dialect {
    /// Returns OpenTelemetry's name for the database.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Dialect::Sqlite => "sqlite",
            Dialect::Postgres => "postgresql",
        }
    }

    /// Returns whether the database runs a statement while the thread that has sent it continues.
    pub(crate) fn answers_later(self) -> bool {
        self == Dialect::Postgres
    }

    /// Returns whether a network lies between a session and the database. A server may not respond, and an address can later
    /// lead to another database.
    pub(crate) fn is_on_server(self) -> bool {
        self == Dialect::Postgres
    }

    /// Returns whether transactions that write lock single rows. A SQLite transaction that writes locks the whole database
    /// when it begins.
    pub(crate) fn locks_rows(self) -> bool {
        self == Dialect::Postgres
    }

    /// Returns whether the database prepares transactions (`PREPARE TRANSACTION`) and has a decision log of its own.
    pub(crate) fn prepares_transactions(self) -> bool {
        self == Dialect::Postgres
    }

    /// Returns whether the control database decides transactions over several databases, and keeps the statements of each
    /// part until it has committed.
    pub(crate) fn keeps_redo_records(self) -> bool {
        self == Dialect::Sqlite
    }

    /// Returns whether a `COMMIT` that returned an error has stored nothing. A failed SQLite transaction may still be in the
    /// WAL and would be replayed after a crash.
    pub(crate) fn reports_failed_commits(self) -> bool {
        self == Dialect::Postgres
    }

    /// Returns whether the position in the WAL (LSN) distinguishes an older copy of a database from the current one.
    /// Otherwise writers are numbered.
    pub(crate) fn has_log_position(self) -> bool {
        self == Dialect::Postgres
    }

    /// Returns whether a column's declared type determines the kind of its values.
    pub(crate) fn has_column_types(self) -> bool {
        self == Dialect::Postgres
    }

    /// Returns whether `ALTER TABLE` changes a column's type, its NOT NULL and the primary key.
    pub(crate) fn alters_columns(self) -> bool {
        self == Dialect::Postgres
    }

    /// Returns a value of this kind as SQL, for the rows of a table that gets a new column.
    pub(crate) fn default_sql(self, kind: ColumnType) -> &'static str {
        match (kind, self) {
            (ColumnType::Boolean, Dialect::Postgres) => "false",
            (ColumnType::Timestamp, Dialect::Postgres) => "'epoch'",
            (ColumnType::Boolean | ColumnType::Timestamp, Dialect::Sqlite)
            | (ColumnType::Integer | ColumnType::Real, _) => "0",
            (ColumnType::Text, _) | (ColumnType::Bytes, Dialect::Postgres) => "''",
            (ColumnType::Json, _) => "'null'",
            (ColumnType::Bytes, Dialect::Sqlite) => "x''",
            (ColumnType::Uuid, Dialect::Sqlite) => "x'00000000000000000000000000000000'",
            (ColumnType::Uuid, Dialect::Postgres) => "'00000000-0000-0000-0000-000000000000'",
        }
    }

    /// Returns a text as a literal. A backslash means nothing in SQLite, which knows no `E'…'`.
    pub(crate) fn literal(self, text: &str) -> String {
        match self {
            Dialect::Sqlite => format!("'{}'", text.replace('\'', "''")),
            Dialect::Postgres => literal(text),
        }
    }

    /// Returns a declared default value as SQL.
    pub(crate) fn literal_of(self, default: ColumnDefault) -> String {
        match (default, self) {
            (ColumnDefault::Boolean(value), Dialect::Sqlite) => i64::from(value).to_string(),
            (ColumnDefault::Boolean(value), Dialect::Postgres) => value.to_string(),
            (ColumnDefault::Integer(value), _) => value.to_string(),
            // With a point or an exponent: otherwise it would be an integer.
            (ColumnDefault::Real(value), _) => format!("{value:?}"),
            (ColumnDefault::Text(value), _) => self.literal(value),
        }
    }

    /// Returns whether a column of this kind has a collation.
    pub(crate) fn has_collation(self, kind: ColumnType) -> bool {
        self == Dialect::Sqlite || kind == ColumnType::Text
    }

    /// Returns the statement that takes an advisory lock until the transaction ends; `None` if the transaction has locked
    /// the whole database.
    pub(crate) fn advisory_lock(self, key: &str) -> Option<String> {
        let sql = || format!("SELECT pg_advisory_xact_lock(hashtextextended({}, 0))", literal(key));
        self.locks_rows().then(sql)
    }

    /// Returns the statement that locks a table against writers until the transaction ends; `None` if the transaction has
    /// locked the whole database.
    pub(crate) fn lock_table(self, table: &str) -> Option<String> {
        self.locks_rows().then(|| format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"))
    }

    /// Returns the statement for the bytes that the tables and indexes of a shard take on disk, with its parameters. It
    /// measures all tables of these names or, if the shard has a SQLite file of its own, the file.
    pub(crate) fn size_sql(
        self,
        names: &Namespace,
        tables: &[String],
        is_alone: bool,
    ) -> (String, Vec<String>) {
        let listed = || (1..=tables.len()).map(|number| self.param(number)).collect::<Vec<_>>().join(", ");
        match self {
            Dialect::Sqlite if is_alone => {
                let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
                (sql.to_owned(), Vec::new())
            }
            Dialect::Sqlite => {
                let sql = format!(
                    "SELECT sum(pgsize) FROM dbstat WHERE aggregate = TRUE AND name IN \
                     (SELECT name FROM sqlite_schema WHERE tbl_name IN ({}))",
                    listed()
                );
                (sql, tables.to_vec())
            }
            Dialect::Postgres => {
                let sql = format!(
                    "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_namespace n \
                     ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname::text IN ({})",
                    literal(names.schema.as_deref().unwrap_or("public")),
                    listed()
                );
                (sql, tables.to_vec())
            }
        }
    }

    /// Returns the expression for 32 random hexadecimal digits.
    pub(crate) fn random_hex(self) -> &'static str {
        match self {
            Dialect::Sqlite => "lower(hex(randomblob(16)))",
            Dialect::Postgres => "replace(gen_random_uuid()::text, '-', '')",
        }
    }

    /// Returns the parameter with a number; the first is 1.
    pub(crate) fn param(self, number: usize) -> String {
        match self {
            Dialect::Sqlite => format!("?{number}"),
            Dialect::Postgres => format!("${number}"),
        }
    }

    /// Returns this many parameters, separated by commas.
    pub(crate) fn params(self, count: usize) -> String {
        let params: Vec<String> = (1..=count).map(|number| self.param(number)).collect();
        params.join(", ")
    }

    /// Returns the condition after a column that it is one of the list in this parameter.
    pub(crate) fn is_in(self, number: usize) -> String {
        match self {
            Dialect::Sqlite => format!(" IN rarray({})", self.param(number)),
            Dialect::Postgres => format!(" = ANY ({})", self.param(number)),
        }
    }

    /// Returns the end of a select that locks its rows. On SQLite the transaction has locked the database.
    pub(crate) fn for_update(self) -> &'static str {
        match self {
            Dialect::Sqlite => "",
            Dialect::Postgres => " FOR UPDATE",
        }
    }

    /// Returns the type of a kind of column.
    pub(crate) fn column_type(self, kind: ColumnType) -> &'static str {
        match (self, kind) {
            (Dialect::Sqlite, ColumnType::Boolean | ColumnType::Integer | ColumnType::Timestamp) => "INTEGER",
            (Dialect::Sqlite, ColumnType::Real) => "REAL",
            (Dialect::Sqlite, ColumnType::Text | ColumnType::Json) => "TEXT",
            (Dialect::Sqlite, ColumnType::Bytes | ColumnType::Uuid) => "BLOB",
            (Dialect::Postgres, ColumnType::Boolean) => "boolean",
            (Dialect::Postgres, ColumnType::Integer) => "bigint",
            (Dialect::Postgres, ColumnType::Timestamp) => "timestamp with time zone",
            (Dialect::Postgres, ColumnType::Real) => "double precision",
            (Dialect::Postgres, ColumnType::Text) => "text",
            (Dialect::Postgres, ColumnType::Json) => "jsonb",
            (Dialect::Postgres, ColumnType::Bytes) => "bytea",
            (Dialect::Postgres, ColumnType::Uuid) => "uuid",
        }
    }

    /// Returns the kind of values of a column that the model does not declare, from the type in the database. `None`
    /// for other types, and on SQLite, which has no types for most kinds.
    pub(crate) fn kind_of(self, sql_type: &str) -> Option<ColumnType> {
        if !self.has_column_types() {
            return None;
        }
        // `character varying(30)`, `timestamp(3) with time zone`: the type without the parentheses.
        let name = sql_type.split_once('(').map_or(sql_type, |(name, _)| name).trim_end();
        match name {
            "boolean" => Some(ColumnType::Boolean),
            "bigint" | "integer" | "smallint" => Some(ColumnType::Integer),
            "double precision" | "real" => Some(ColumnType::Real),
            "text" | "character varying" | "character" => Some(ColumnType::Text),
            "bytea" => Some(ColumnType::Bytes),
            "uuid" => Some(ColumnType::Uuid),
            "timestamp" | "timestamp with time zone" | "timestamp without time zone" => {
                Some(ColumnType::Timestamp)
            }
            "json" | "jsonb" => Some(ColumnType::Json),
            _ => None,
        }
    }

    /// Returns the options of a table whose columns accept only values of their types.
    pub(crate) fn strict(self) -> &'static str {
        match self {
            Dialect::Sqlite => " STRICT",
            Dialect::Postgres => "",
        }
    }

    /// Returns the options of a strict table whose rows are stored in the order of the primary key.
    pub(crate) fn strict_without_rowid(self) -> &'static str {
        match self {
            Dialect::Sqlite => " STRICT, WITHOUT ROWID",
            Dialect::Postgres => "",
        }
    }

    /// Returns the length in bytes at which the database truncates names.
    pub(crate) fn longest_name(self) -> Option<usize> {
        match self {
            Dialect::Sqlite => None,
            Dialect::Postgres => Some(63),
        }
    }
}
