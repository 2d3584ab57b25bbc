//! Conversion of PostgreSQL errors to error kinds, with the column if the server names one.

use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::driver::{FENCED_STATE, GUARDED_STATE};
use crate::error::{Error, ErrorKind, Exhausted, FREE_SPACE, TOO_MANY_FILES, has_no_descriptor};
use crate::planner::sql::OUT_OF_RANGE;

/// The error of the server if a transaction ran in another process than the connection was made to.
pub(super) const ANOTHER_PROCESS: &str = "another server process";

/// Converts an error of the server or of the connection.
pub(super) fn from_postgres(error: tokio_postgres::Error) -> Error {
    let Some(message) = error.as_db_error() else {
        if is_about_descriptors(&error) {
            let limit = Some(Exhausted::Descriptors);
            return Error::new(ErrorKind::Busy, TOO_MANY_FILES).of_limit(limit).of_driver(error);
        }
        let kind = match error.code() {
            _ if is_about_trust(&error) => ErrorKind::Configuration,
            _ if is_not_writable(&error) => {
                let message = "the server does not satisfy `target_session_attrs`";
                return Error::new(ErrorKind::ReadOnly, message).with_source(error).transient();
            }
            _ if error.is_closed() || is_about_the_network(&error) => ErrorKind::ConnectionLost,
            _ => ErrorKind::Database,
        };
        return Error::new(kind, with_causes(&error)).of_driver(error);
    };
    let kind = match message {
        _ if has_no_slot(message) => ErrorKind::Busy,
        _ if is_closed_database(message) => ErrorKind::Configuration,
        _ => kind_of(message.code()),
    };
    let computed = message.message().split_once(OUT_OF_RANGE).and_then(|(_, rest)| rest.split_once("`: "));
    if let Some((column, why)) = computed {
        let why = why.trim_end_matches('"');
        return Error::new(ErrorKind::Value, why).at_column(column).of_driver(error);
    }
    let (text, column) = (text_of(message, kind), column_of(message));
    let lacks_a_table = message.code().code() == "42P01";
    // Too many connections: in all, of this role, or of this database.
    let exhausted = (message.code().code() == "53300").then_some(Exhausted::ServerConnections);
    let error = Error::new(kind, text).of_limit(exhausted).of_driver(error);
    let error = if lacks_a_table { error.of_missing_table() } else { error };
    match column {
        Some(column) => error.at_column(&column),
        None => error,
    }
}

/// Returns the error of a read-only server: a standby, or a former primary after a failover. A retry may reach the
/// new primary.
pub(super) fn demoted(error: Error) -> Error {
    let message = format!("the server is read-only: it is a standby or became one: {error}");
    Error::new(ErrorKind::ReadOnly, message).with_source(error).transient()
}

fn text_of(message: &DbError, kind: ErrorKind) -> String {
    match kind {
        ErrorKind::Busy if message.code().code() == "53300" => format!(
            "the server has no connection left: {}; close connections of other programs, raise its \
             `max_connections`, or lower the cluster's `connections`",
            message.message()
        ),
        ErrorKind::TimedOut => format!(
            "the server ended the statement: {}; raise the `statement_timeout` of the role, the database or the server if it is \
             too short",
            message.message()
        ),
        ErrorKind::Full => format!("{}: {FREE_SPACE}", message.message()),
        _ if is_about_prepared(message.code()) => format!(
            "{}: the connection changed to another server process, as behind a pooler in transaction mode; add \
             `pooler=transaction` to the shard's URL",
            message.message()
        ),
        // The detail names the key.
        ErrorKind::Unique | ErrorKind::ForeignKey => match message.detail() {
            Some(detail) => format!("{}: {detail}", message.message()),
            None => message.message().to_owned(),
        },
        _ if is_closed_database(message) => format!(
            "{}: run ALTER DATABASE … ALLOW_CONNECTIONS true, or correct the shard's URL",
            message.message()
        ),
        _ if has_no_slot(message) => format!(
            "{}: retry once other transactions have finished, or raise `max_prepared_transactions` on the server",
            message.message()
        ),
        _ if *message.code() == SqlState::TOO_MANY_CONNECTIONS => format!(
            "{}: retry once connections are closed, lower `connections`, or raise `max_connections` on the server",
            message.message()
        ),
        _ => message.message().to_owned(),
    }
}

/// Returns whether the server has no slot for another prepared transaction. PostgreSQL has no code for this, and the
/// message depends on the server's language; the routine that reports it does not.
fn has_no_slot(message: &DbError) -> bool {
    *message.code() == SqlState::OUT_OF_MEMORY && message.routine() == Some("MarkAsPreparing")
}

/// Returns whether the database was altered to accept no connections, which a retry does not change.
fn is_closed_database(message: &DbError) -> bool {
    message.code().code() == "55000" && message.parsed_severity() == Some(Severity::Fatal)
}

/// Returns whether the server process lacks a statement that was prepared on the connection, or has it already.
fn is_about_prepared(state: &SqlState) -> bool {
    [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT].contains(state)
}

/// Returns whether the process has no file descriptor left.
fn is_about_descriptors(error: &tokio_postgres::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        if next.downcast_ref::<std::io::Error>().is_some_and(has_no_descriptor) {
            return true;
        }
        cause = next.source();
    }
    false
}

fn column_of(message: &DbError) -> Option<String> {
    let named = message.column().map(str::to_owned);
    named.or_else(|| {
        let is_missing = *message.code() == SqlState::UNDEFINED_COLUMN;
        let name = is_missing.then(|| message.message().split('"').nth(1)).flatten();
        name.map(str::to_owned)
    })
}

/// Appends the causes of an error, which alone may only report that something failed.
fn with_causes(error: &tokio_postgres::Error) -> String {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let next_message = next.to_string();
        if !message.contains(&next_message) {
            message = format!("{message}: {next_message}");
        }
        cause = next.source();
    }
    message
}

/// Returns whether the start of TLS failed for another reason than the network: the server has no TLS, or its certificate
/// is not trusted. A retry does not help.
fn is_about_trust(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    use std::io::ErrorKind::{InvalidData, InvalidInput};
    // Errors of TLS itself are errors of the input.
    let is_the_networks = cause.is_some_and(|cause| !matches!(cause.kind(), InvalidData | InvalidInput));
    error.to_string().starts_with("error performing TLS handshake") && !is_the_networks
}

/// Returns whether a reached server does not satisfy `target_session_attrs`.
fn is_not_writable(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| {
        cause.kind() == std::io::ErrorKind::PermissionDenied && cause.raw_os_error().is_none()
    })
}

/// Returns whether the network caused the error.
fn is_about_the_network(error: &tokio_postgres::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        if next.is::<std::io::Error>() {
            return true;
        }
        cause = next.source();
    }
    let message = error.to_string();
    message.starts_with("error connecting to server") || message.starts_with("timeout")
}

fn kind_of(state: &SqlState) -> ErrorKind {
    let code = state.code();
    match code {
        "23505" => ErrorKind::Unique,
        "23503" => ErrorKind::ForeignKey,
        "23502" => ErrorKind::NotNull,
        // A refused lock, a deadlock, a row that another transaction has changed, no connection left, or another session
        // that finishes the same prepared transaction.
        "55P03" | "40P01" | "40001" | "53300" | "53400" | "55000" => ErrorKind::Busy,
        "57014" | "25P04" => ErrorKind::TimedOut,
        "25006" => ErrorKind::ReadOnly,
        "42501" => ErrorKind::Denied,
        "26000" | "42P05" => ErrorKind::Configuration,
        "53100" => ErrorKind::Full,
        "58030" => ErrorKind::Io,
        "XX001" | "XX002" => ErrorKind::Corrupt,
        FENCED_STATE => ErrorKind::Moved,
        GUARDED_STATE => ErrorKind::ReadOnly,
        "42P01" | "42703" | "42704" => ErrorKind::Schema,
        "3D000" | "3F000" => ErrorKind::Missing,
        "25P03" | "57P01" | "57P02" | "57P03" | "57P05" => ErrorKind::ConnectionLost,
        "54000" | "54001" | "54011" | "54023" => ErrorKind::TooManyValues,
        _ => match code.get(..2) {
            Some("08") => ErrorKind::ConnectionLost,
            // A refused login is refused again.
            Some("28") => ErrorKind::Configuration,
            Some("22") => ErrorKind::Value,
            _ if code == "23514" => ErrorKind::Value,
            _ => ErrorKind::Database,
        },
    }
}

/// Returns whether a server reported that it is not the expected shard. It does so with an invalid integer, or because
/// the table of the identity does not exist.
pub(super) fn is_another(error: &tokio_postgres::Error) -> bool {
    let not_there = [
        SqlState::INVALID_TEXT_REPRESENTATION,
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_COLUMN,
        SqlState::INVALID_SCHEMA_NAME,
    ];
    error.code().is_some_and(|code| not_there.contains(code))
}

/// Returns whether the server, or a pooler, answered with this error.
pub(super) fn was_answered(error: &Error) -> bool {
    let message = error.driver_error().and_then(|message| message.downcast_ref::<tokio_postgres::Error>());
    message.is_some_and(|message| message.as_db_error().is_some())
}
