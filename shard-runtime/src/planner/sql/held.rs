//! The column types that hold the values of a field: those that read and store each value without loss.

use super::Dialect;
use crate::error::Result;
use crate::value::ColumnType;

impl Dialect {
    /// Returns whether a column of this type holds values of this kind. A STRICT table stores only values of its types.
    ///
    /// Tables that a cluster has created have one type for each kind. Tables of another program have the types of that
    /// program. For example, an `int4` holds the values of an `i32`; a value that it does not hold is an error of the server.
    pub(crate) fn holds(
        self,
        kind: ColumnType,
        found: &str,
        is_strict: impl FnOnce() -> Result<bool>,
    ) -> Result<bool> {
        Ok(match self {
            _ if found.eq_ignore_ascii_case(self.column_type(kind)) => true,
            Dialect::Postgres => holds_on_server(kind, found),
            Dialect::Sqlite => holds_in_file(kind, found) && !is_strict()?,
        })
    }

    /// Returns whether a column may have another collation than the declared one, if that compares bytes and no results of
    /// several shards are merged. The result of one shard has the order of its database; only a merge needs one order
    /// everywhere.
    pub(crate) fn orders_by_column(self) -> bool {
        self == Dialect::Postgres
    }
}

fn holds_on_server(kind: ColumnType, found: &str) -> bool {
    match kind {
        ColumnType::Integer => matches!(found, "integer" | "smallint"),
        ColumnType::Text => found == "character varying" || found.starts_with("character varying("),
        // Fewer digits would round the microseconds. Sessions have the time zone UTC.
        ColumnType::Timestamp => matches!(
            found,
            "timestamp without time zone" | "timestamp(6) without time zone" | "timestamp(6) with time zone"
        ),
        ColumnType::Boolean | ColumnType::Real | ColumnType::Bytes | ColumnType::Uuid | ColumnType::Json => {
            false
        }
    }
}

/// The affinity of a column: the conversion that SQLite applies to values in a table that is not STRICT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

impl Affinity {
    /// Returns the affinity of a declared type, in upper case; by the rules of SQLite, in their order.
    fn of(declared: &str) -> Self {
        let has = |part: &str| declared.contains(part);
        if has("INT") {
            Affinity::Integer
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Affinity::Text
        } else if has("BLOB") || declared.is_empty() {
            Affinity::Blob
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Affinity::Real
        } else {
            Affinity::Numeric
        }
    }
}

fn holds_in_file(kind: ColumnType, found: &str) -> bool {
    let declared = found.trim().to_uppercase();
    let has = |part: &str| declared.contains(part);
    match (kind, Affinity::of(&declared)) {
        // A column without a type converts nothing.
        (_, Affinity::Blob) => declared.is_empty() || matches!(kind, ColumnType::Bytes | ColumnType::Uuid),
        (
            ColumnType::Integer | ColumnType::Boolean | ColumnType::Timestamp,
            Affinity::Integer | Affinity::Numeric,
        ) => true,
        // A NUMERIC column stores 2.0 as the integer 2, which changes the result of a division.
        (ColumnType::Real, Affinity::Real) => true,
        // JSON as NUMERIC would store the document `5` as a number.
        (ColumnType::Text | ColumnType::Json, Affinity::Text) => true,
        // The texts of times do not look like numbers, so they stay texts.
        (ColumnType::Text, Affinity::Numeric) => has("DATE") || has("TIME"),
        // Bytes are never converted.
        (ColumnType::Bytes | ColumnType::Uuid, Affinity::Numeric) => {
            has("BINARY") || has("BYTEA") || has("UUID") || has("GUID")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_other_programs_are_held_by_their_affinity() {
        use ColumnType::*;
        for (kind, held, not) in [
            (
                Integer,
                &["INT", "bigint", "integer unsigned", "NUMERIC", "DECIMAL(10, 0)", ""][..],
                &["TEXT", "REAL"][..],
            ),
            (Boolean, &["BOOLEAN", "bool", "tinyint(1)"], &["varchar(5)"]),
            (Timestamp, &["DATETIME", "BIGINT"], &["timestamp_text"]),
            (Real, &["DOUBLE", "double precision", "FLOAT"], &["NUMERIC(10, 2)", "INTEGER", "decimal"]),
            (
                Text,
                &["VARCHAR(30)", "char(2)", "CLOB", "DATETIME", "date", "nvarchar(160)"],
                &["INTEGER", "NUMERIC", "BLOB"],
            ),
            (Json, &["text", "jsonb_text"], &["JSON", "BLOB"]),
            (Bytes, &["blob", "VARBINARY", "bytea", ""], &["TEXT", "INTEGER"]),
            (Uuid, &["BINARY(16)", "uuid"], &["CHAR(32)"]),
        ] {
            let holds =
                |sql_type: &&str, is_strict| Dialect::Sqlite.holds(kind, sql_type, || Ok(is_strict)).unwrap();
            for sql_type in held {
                assert!(holds(sql_type, false), "{kind:?} {sql_type}");
            }
            for sql_type in not {
                assert!(!holds(sql_type, false), "{kind:?} {sql_type}");
            }
            assert!(holds(&Dialect::Sqlite.column_type(kind), true), "{kind:?}");
            let others = ["INT", "ANY"].iter();
            assert!({ others }.all(|other| !holds(other, true)), "{kind:?}: a STRICT table keeps its types");
        }
    }

    #[test]
    fn types_of_servers_are_held_without_loss() {
        use ColumnType::*;
        for (kind, sql_type, is_held) in [
            (Integer, "integer", true),
            (Integer, "numeric(10,0)", false),
            (Real, "real", false),
            (Real, "double precision", true),
            (Text, "character varying(30)", true),
            (Text, "character(30)", false),
            (Text, "citext", false),
            (Timestamp, "timestamp(6) without time zone", true),
            (Timestamp, "timestamp(3) with time zone", false),
            (Json, "json", false),
            (Json, "jsonb", true),
        ] {
            let held = Dialect::Postgres.holds(kind, sql_type, || Ok(true)).unwrap();
            assert_eq!(held, is_held, "{kind:?} {sql_type}");
        }
    }
}
