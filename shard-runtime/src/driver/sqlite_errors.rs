//! Conversion of SQLite errors to error kinds, with the column if SQLite names one.

use rusqlite::ffi;

use super::{FENCED, GUARDED, KEY_LEFT};
use crate::error::{Error, ErrorKind, Exhausted, FREE_SPACE, TOO_MANY_FILES, has_no_descriptor};
use crate::planner::sql::OUT_OF_RANGE;

/// The beginning of SQLite's message about a table that does not exist.
const NO_TABLE: &str = "no such table";

/// Converts an error of SQLite.
pub(super) fn from_sqlite(error: rusqlite::Error) -> Error {
    let (code, message) = match &error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            (failure.extended_code, message.clone().unwrap_or_else(|| failure.to_string()))
        }
        rusqlite::Error::SqlInputError { error, msg, .. } => (error.extended_code, msg.clone()),
        other => (ffi::SQLITE_ERROR, other.to_string()),
    };
    if code & 0xff == ffi::SQLITE_CANTOPEN && is_out_of_descriptors() {
        let limit = Some(Exhausted::Descriptors);
        return Error::new(ErrorKind::Busy, TOO_MANY_FILES).of_limit(limit).of_driver(error);
    }
    let kind = kind_of(&error).unwrap_or(match code {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            ErrorKind::Unique
        }
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ErrorKind::ForeignKey,
        ffi::SQLITE_CONSTRAINT_NOTNULL => ErrorKind::NotNull,
        ffi::SQLITE_CONSTRAINT_TRIGGER if message.starts_with(FENCED) || message.starts_with(KEY_LEFT) => {
            ErrorKind::Moved
        }
        ffi::SQLITE_CONSTRAINT_TRIGGER if message.starts_with(GUARDED) => ErrorKind::ReadOnly,
        ffi::SQLITE_CANTOPEN | ffi::SQLITE_PERM | ffi::SQLITE_AUTH => ErrorKind::Io,
        _ => match code & 0xff {
            // Other connections change the schema repeatedly.
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_SCHEMA => ErrorKind::Busy,
            ffi::SQLITE_INTERRUPT => ErrorKind::TimedOut,
            ffi::SQLITE_READONLY => ErrorKind::ReadOnly,
            ffi::SQLITE_FULL => ErrorKind::Full,
            ffi::SQLITE_TOOBIG => ErrorKind::Value,
            ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => ErrorKind::Corrupt,
            ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN => ErrorKind::Io,
            ffi::SQLITE_ERROR
                if message.starts_with("too many SQL variables")
                    || message.starts_with("variable number must be") =>
            {
                ErrorKind::TooManyValues
            }
            ffi::SQLITE_ERROR
                if message.contains("no such column") || message.contains("has no column named") =>
            {
                ErrorKind::Schema
            }
            ffi::SQLITE_ERROR if message.starts_with("integer overflow") => ErrorKind::Value,
            ffi::SQLITE_ERROR if message.starts_with(OUT_OF_RANGE) => ErrorKind::Value,
            ffi::SQLITE_ERROR if message.starts_with(NO_TABLE) => ErrorKind::Schema,
            _ => ErrorKind::Database,
        },
    });
    // `no such column: "c" - should this be …`, `table t has no column named c`
    let after = |text: &str| message.split_once(text).map(|(_, rest)| rest);
    let computed = message.strip_prefix(OUT_OF_RANGE).and_then(|rest| rest.rsplit_once("`: "));
    if let Some((column, message)) = computed {
        return Error::new(kind, message).at_column(column).of_driver(error);
    }
    let missing = after("no such column: ").or_else(|| after("has no column named "));
    let column =
        missing.and_then(|rest| rest.split(" - ").next()).map(|name| name.trim_matches('"').to_owned());
    let message = match kind {
        ErrorKind::TimedOut => "the statement took longer than the session's timeout".to_owned(),
        ErrorKind::Full => format!("{message}: {FREE_SPACE}"),
        _ => message,
    };
    let lacks_a_table = message.starts_with(NO_TABLE);
    let error = Error::new(kind, message).of_driver(error);
    let error = if lacks_a_table { error.of_missing_table() } else { error };
    match column {
        Some(column) => error.at_column(&column),
        None => error,
    }
}

/// Returns whether opening a few more files fails for lack of descriptors: SQLite does not report why it could not open a
/// file. It needs three, for the file, its WAL and its index, and has closed those that it had. Other threads may open
/// databases, too.
fn is_out_of_descriptors() -> bool {
    const FEW: usize = 12;
    let mut held = Vec::with_capacity(FEW);
    (0..FEW).any(|_| match std::fs::File::open(std::path::Component::RootDir.as_os_str()) {
        Ok(file) => {
            held.push(file);
            false
        }
        Err(error) => has_no_descriptor(&error),
    })
}

/// Converts an error of `rusqlite` itself.
fn kind_of(error: &rusqlite::Error) -> Option<ErrorKind> {
    use rusqlite::Error as Raw;
    Some(match error {
        Raw::QueryReturnedNoRows => ErrorKind::NotFound,
        Raw::QueryReturnedMoreThanOneRow => ErrorKind::ManyRows,
        Raw::FromSqlConversionFailure(..)
        | Raw::IntegralValueOutOfRange(..)
        | Raw::InvalidColumnType(..)
        | Raw::ToSqlConversionFailure(_)
        | Raw::Utf8Error(..) => ErrorKind::Value,
        Raw::MultipleStatement
        | Raw::InvalidQuery
        | Raw::ExecuteReturnedResults
        | Raw::InvalidParameterName(_)
        | Raw::InvalidParameterCount(..)
        | Raw::InvalidColumnIndex(_)
        | Raw::InvalidColumnName(_) => ErrorKind::Query,
        _ => return None,
    })
}

/// The conversion for statements that have no further context.
impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        from_sqlite(error)
    }
}
