//! What databases write differently.

use crate::value::ColumnType;

/// Which database a statement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    Postgres,
}

impl Dialect {
    /// The database's name as OpenTelemetry has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Dialect::Sqlite => "sqlite",
            Dialect::Postgres => "postgresql",
        }
    }

    /// Whether a statement runs on once it was begun, while whoever began it does something else.
    pub(crate) fn answers_later(self) -> bool {
        self == Dialect::Postgres
    }

    /// The parameter at a place; the first is 1.
    pub(crate) fn param(self, place: usize) -> String {
        match self {
            Dialect::Sqlite => format!("?{place}"),
            Dialect::Postgres => format!("${place}"),
        }
    }

    /// As many parameters, side by side.
    pub(crate) fn params(self, count: usize) -> String {
        let places: Vec<String> = (1..=count).map(|place| self.param(place)).collect();
        places.join(", ")
    }

    /// The condition behind a column: that it is one of the list that is the parameter at a place.
    pub(crate) fn is_in(self, place: usize) -> String {
        match self {
            Dialect::Sqlite => format!(" IN rarray({})", self.param(place)),
            Dialect::Postgres => format!(" = ANY ({})", self.param(place)),
        }
    }

    /// The end of a select that locks its rows. On SQLite the transaction has locked the database.
    pub(crate) fn for_update(self) -> &'static str {
        match self {
            Dialect::Sqlite => "",
            Dialect::Postgres => " FOR UPDATE",
        }
    }

    /// What a kind of column is called.
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

    /// The kind of column that holds the values of a column that the model does not declare, by the type that the database
    /// has for it. None if there is no such kind; and on SQLite, which has no types for most kinds.
    pub(crate) fn kind_of(self, sql_type: &str) -> Option<ColumnType> {
        if self == Dialect::Sqlite {
            return None;
        }
        // Without what is in parentheses: `character varying(30)`, `timestamp(3) with time zone`.
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

    /// What a table says at its end so that its columns hold what they say.
    pub(crate) fn strict(self) -> &'static str {
        match self {
            Dialect::Sqlite => " STRICT",
            Dialect::Postgres => "",
        }
    }

    /// The longest name that the database tells from others, in bytes.
    pub(crate) fn longest_name(self) -> Option<usize> {
        match self {
            Dialect::Sqlite => None,
            Dialect::Postgres => Some(63),
        }
    }
}
