//! The error type of the crate: a kind ([`ErrorKind`]), a message, and the shard, table and column. Uses
//! `value`.
//!
//! Each layer adds the context that it has: a row adds the column, the session adds the shard.

use std::fmt;

use crate::value::Value;
pub use crate::value::ValueError;

/// The result of each function of this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of errors. Match on the kind to decide what to do; print the [`Error`] for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A URL, a setting or a cluster file is invalid. Or a server refuses the login, has no TLS although the URL
    /// requires it, or has a certificate that is not trusted.
    Configuration,
    /// The cluster has no shard of this name, or a row or a link belongs to another cluster.
    UnknownShard,
    /// The cluster was opened without this model.
    UnknownModel,
    /// The placement maps the key's value to no shard.
    UnmappedKey,
    /// The query is invalid: it sets no column, or its conditions are nested too deeply. Or its SQL is not one
    /// statement with these parameters and columns.
    Query,
    /// A cursor's text is damaged, or the cursor was created by a different query. In a service whose clients send
    /// cursors, it is the client's error.
    Cursor,
    /// Two pins of one query name different shards, or the session is pinned to another shard than the one of a query
    /// or a row.
    ContradictingPins,
    /// The row was changed since its handle was read: by another session, as its `#[version]` shows, or in the same
    /// transaction through another handle. Read it again.
    Stale,
    /// The update would move the row to another shard. Use `relocate`.
    ShardKeyChanged,
    /// The database of a shard does not exist, and `open` does not create it. Or its file was removed or replaced while
    /// it was open, which is detected before anything is written.
    Missing,
    /// The database belongs to another shard or to another cluster.
    WrongDatabase,
    /// The configured layout differs from the layout that the shards were created with.
    Layout,
    /// A change of the layout is moving the shard's rows, or has moved them. The transaction was rolled back. If it
    /// runs again, it uses the new layout.
    Moved,
    /// A table on a shard differs from its model.
    Schema,
    /// A value cannot be stored, or a stored value is not one of the field's type.
    Value,
    /// A statement has more values than the database accepts.
    TooManyValues,
    /// The cluster has more databases than one connection can attach.
    TooManyDatabases,
    /// The database refused a row: its unique value or primary key exists already.
    Unique,
    /// The database refused a row: the row that it refers to does not exist, or other rows still refer to it.
    ForeignKey,
    /// The database refused a row: a column that is NOT NULL has no value.
    NotNull,
    /// Another session or program holds a resource, and the wait timed out: a lock, a connection, or the last file
    /// descriptor of the process. Or a server has no slot left for a connection or a prepared transaction. A retry may
    /// succeed.
    Busy,
    /// A statement took longer than the session's timeout.
    TimedOut,
    /// The database cannot be written. The database, its file or its folder is read-only, or its server is a standby, or
    /// another cluster is being copied into this one ([`Cluster::copy_to`](crate::Cluster::copy_to)). If the server
    /// became a standby in a failover, [`Error::is_retryable`] is true.
    ReadOnly,
    /// The role of the URL lacks a privilege.
    Denied,
    /// The device is full.
    Full,
    /// The file is damaged, or is not a database.
    Corrupt,
    /// Reading or writing the file failed.
    Io,
    /// The server cannot be reached, or the connection to it was lost.
    ConnectionLost,
    /// A query that must return exactly one row returned none, or the row to change does not exist any more.
    NotFound,
    /// A query that must return exactly one row returned several.
    ManyRows,
    /// One id exists on two shards although ids are unique over the cluster.
    Ambiguous,
    /// Shards differ in the rows of a reference table: another program wrote to one of them, or a shard was added
    /// without the rows.
    ReferenceDiverged,
    /// An earlier error aborted the transaction. Call `rollback` before the session is used again.
    TransactionAborted,
    /// A transaction with [`Commit::BestEffort`](crate::Commit::BestEffort) was committed on some of its shards only.
    PartialCommit,
    /// The outcome of a commit is unknown. The disk failed during the commit and again when the commit was overwritten,
    /// or the connection to a server was lost before the server answered.
    ///
    /// [`Cluster::recover`](crate::Cluster::recover), or opening the cluster again, settles a transaction over several
    /// shards. Only reading its rows settles a transaction on one server.
    InDoubt,
    /// The database reported something else.
    Database,
}

impl ErrorKind {
    /// All kinds, in their order.
    pub(crate) const ALL: [ErrorKind; ErrorKind::Database as usize + 1] = {
        use ErrorKind::*;
        [
            Configuration,
            UnknownShard,
            UnknownModel,
            UnmappedKey,
            Query,
            Cursor,
            ContradictingPins,
            Stale,
            ShardKeyChanged,
            Missing,
            WrongDatabase,
            Layout,
            Moved,
            Schema,
            Value,
            TooManyValues,
            TooManyDatabases,
            Unique,
            ForeignKey,
            NotNull,
            Busy,
            TimedOut,
            ReadOnly,
            Denied,
            Full,
            Corrupt,
            Io,
            ConnectionLost,
            NotFound,
            ManyRows,
            Ambiguous,
            ReferenceDiverged,
            TransactionAborted,
            PartialCommit,
            InDoubt,
            Database,
        ]
    };
}

/// The message of errors that a lack of file descriptors has caused.
pub(crate) const TOO_MANY_FILES: &str = "too many open files: retry once others are closed, lower `connections`, or raise the process's limit (`ulimit -n`)";

/// The remedy of [`ErrorKind::Full`].
pub(crate) const FREE_SPACE: &str = "free disk space where the database is";

/// Returns whether the process or the system has no file descriptor left.
pub(crate) fn has_no_descriptor(error: &std::io::Error) -> bool {
    // EMFILE and ENFILE, for which `std::io::ErrorKind` has no name.
    cfg!(unix) && matches!(error.raw_os_error(), Some(24 | 23))
}

/// A limit outside of the cluster that keeps it from opening one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// The process (or the machine) has no file descriptor left.
    Descriptors,
    /// The server accepts no more connections for this role, for this database, or in all.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "only servers have this limit"))]
    ServerConnections,
}

/// An error: its kind, a message, the shard, table and column, and the cause in [`source`](std::error::Error::source).
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    shard: Option<String>,
    table: Option<String>,
    column: Option<String>,
    transaction_id: Option<String>,
    is_transient: bool,
    names_schema_version: bool,
    /// Whether a change of the layout caused the error, and the session has the new layout.
    is_of_a_change: bool,
    /// Whether the database lacks a table that the statement names.
    lacks_a_table: bool,
    taken: Option<TakenValue>,
    exhausted: Option<Exhausted>,
    is_counted: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    driver_error: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A lookup's value, with the lookup's index in the layout.
pub(crate) struct TakenValue {
    pub(crate) lookup: usize,
    pub(crate) value: Value<'static>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            shard: None,
            table: None,
            column: None,
            transaction_id: None,
            is_transient: false,
            names_schema_version: false,
            is_of_a_change: false,
            lacks_a_table: false,
            taken: None,
            exhausted: None,
            is_counted: false,
            source: None,
            driver_error: None,
        }))
    }

    pub(crate) fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// Keeps the error of a database's driver. The message has its text, so that it is not part of the source chain.
    pub(crate) fn of_driver(mut self, error: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.driver_error = Some(Box::new(error));
        self
    }

    /// Records that a limit was met, so that the pool closes idle connections and tries again.
    pub(crate) fn of_limit(mut self, exhausted: Option<Exhausted>) -> Self {
        self.0.exhausted = exhausted;
        self
    }

    /// Records that the counters of a cluster have counted the error. Returns whether this is the first time.
    pub(crate) fn count(&mut self) -> bool {
        let is_new = !self.is_counted();
        self.0.is_counted = true;
        is_new
    }

    fn is_counted(&self) -> bool {
        let cause = self.0.source.as_deref().and_then(|source| source.downcast_ref::<Error>());
        self.0.is_counted || cause.is_some_and(Error::is_counted)
    }

    /// Returns the limit that was met.
    pub(crate) fn exhausted(&self) -> Option<Exhausted> {
        self.0.exhausted
    }

    /// Names the shard, unless a shard is named already.
    pub(crate) fn on_shard(mut self, shard: &str) -> Self {
        self.0.shard.get_or_insert_with(|| shard.to_owned());
        self
    }

    /// Names the table, unless a table is named already.
    pub(crate) fn in_table(mut self, table: &str) -> Self {
        self.0.table.get_or_insert_with(|| table.to_owned());
        self
    }

    /// Names the column, unless a column is named already.
    pub(crate) fn at_column(mut self, column: &str) -> Self {
        self.0.column.get_or_insert_with(|| column.to_owned());
        self
    }

    /// Names the global transaction.
    pub(crate) fn of_transaction(mut self, id: &str) -> Self {
        self.0.transaction_id.get_or_insert_with(|| id.to_owned());
        self
    }

    /// Records the value of a lookup whose entry exists already.
    pub(crate) fn of_taken_value(mut self, taken: TakenValue) -> Self {
        self.0.taken = Some(taken);
        self
    }

    pub(crate) fn taken_value(&self) -> Option<&TakenValue> {
        self.0.taken.as_ref()
    }

    /// Replaces the message.
    pub(crate) fn reworded(mut self, message: String) -> Self {
        self.0.message = message;
        self
    }

    /// Appends a remedy to the message.
    pub(crate) fn with_remedy(mut self, remedy: &str) -> Self {
        self.0.message = format!("{}; {remedy}", self.0.message);
        self
    }

    /// Appends the version of the shard's schema, which explains the error.
    pub(crate) fn of_schema_version(mut self, remedy: &str) -> Self {
        self.0.names_schema_version = true;
        self.with_remedy(remedy)
    }

    /// Records that a change of the layout caused the error, and that the session has the new layout.
    pub(crate) fn of_a_change(mut self) -> Self {
        self.0.is_of_a_change = true;
        self
    }

    /// Records that the database lacks a table that the statement names.
    pub(crate) fn of_missing_table(mut self) -> Self {
        self.0.lacks_a_table = true;
        self
    }

    pub(crate) fn lacks_a_table(&self) -> bool {
        let cause = self.0.source.as_deref().and_then(|source| source.downcast_ref::<Error>());
        self.0.lacks_a_table || cause.is_some_and(Error::lacks_a_table)
    }

    pub(crate) fn is_of_a_change(&self) -> bool {
        self.0.is_of_a_change
    }

    pub(crate) fn names_schema_version(&self) -> bool {
        self.0.names_schema_version
    }

    /// Appends the row to the message.
    pub(crate) fn with_row(mut self, row: &str) -> Self {
        self.0.message = format!("{} (row with {row})", self.0.message);
        self
    }

    /// Marks an error as transient although errors of its kind usually are not.
    #[cfg(feature = "postgres")]
    pub(crate) fn transient(mut self) -> Self {
        self.0.is_transient = true;
        self
    }

    /// Returns whether the same transaction may succeed if it is run again. A lock was held, another session changed
    /// the row first, the server was lost, or it is not the primary any more.
    ///
    /// These are [`ErrorKind::Busy`], [`ErrorKind::Stale`], [`ErrorKind::ConnectionLost`], [`ErrorKind::Moved`], and
    /// [`ErrorKind::ReadOnly`] of a server that became a standby. Nothing of the transaction was stored.
    /// [`ErrorKind::TimedOut`] is not retryable: the caller set that deadline.
    ///
    /// [`Cluster::transaction`](crate::Cluster::transaction) retries these errors itself.
    pub fn is_retryable(&self) -> bool {
        let is_kind = matches!(
            self.0.kind,
            ErrorKind::Busy | ErrorKind::Stale | ErrorKind::ConnectionLost | ErrorKind::Moved
        );
        is_kind || (self.0.kind == ErrorKind::ReadOnly && self.is_transient())
    }

    fn is_transient(&self) -> bool {
        let cause = self.0.source.as_deref().and_then(|source| source.downcast_ref::<Error>());
        self.0.is_transient || cause.is_some_and(Error::is_transient)
    }

    /// Returns the kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns whether another session or program holds a resource that is needed.
    pub(crate) fn is_busy(&self) -> bool {
        self.0.kind == ErrorKind::Busy
    }

    /// Returns whether the row itself causes the error, so that sending it again cannot succeed.
    pub(crate) fn is_about_a_row(&self) -> bool {
        use ErrorKind::{ForeignKey, NotFound, NotNull, Stale, Unique, Value};
        matches!(self.0.kind, Unique | ForeignKey | NotNull | Value | NotFound | Stale)
    }

    /// Returns whether the shard causes the error, and not the statement: another shard may still answer.
    pub(crate) fn is_about_a_shard(&self) -> bool {
        use ErrorKind::{
            Busy, ConnectionLost, Corrupt, Full, Io, Missing, ReadOnly, TimedOut, WrongDatabase,
        };
        matches!(
            self.0.kind,
            Missing | WrongDatabase | Busy | TimedOut | ReadOnly | Full | Corrupt | Io | ConnectionLost
        )
    }

    /// Returns an error with the same kind, message, table and column for each of several shards, without its causes.
    pub(crate) fn copied(&self) -> Self {
        let mut copy = Error::new(self.0.kind, self.0.message.clone());
        (copy.0.table, copy.0.column) = (self.0.table.clone(), self.0.column.clone());
        copy
    }

    /// Returns the name of the shard, if the error is about one.
    pub fn shard(&self) -> Option<&str> {
        self.0.shard.as_deref()
    }

    /// Returns the table, if the error is about one.
    pub fn table(&self) -> Option<&str> {
        self.0.table.as_deref()
    }

    /// Returns the column, if the error is about one.
    pub fn column(&self) -> Option<&str> {
        self.0.column.as_deref()
    }

    /// Returns the id of a transaction over several shards whose outcome is unknown ([`ErrorKind::InDoubt`]);
    /// [`Cluster::recover`](crate::Cluster::recover) reports it under this id.
    pub fn transaction_id(&self) -> Option<&str> {
        self.0.transaction_id.as_deref()
    }

    /// Returns the error of `rusqlite` or `tokio_postgres` that caused this one, with the database's own codes.
    ///
    /// It is not part of the chain of [`source`](std::error::Error::source): the message of this error has its text.
    pub fn driver_error(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Some(error) = self.0.driver_error.as_deref() {
            return Some(error);
        }
        self.0.source.as_deref()?.downcast_ref::<Error>()?.driver_error()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("shard", &self.0.shard), ("table", &self.0.table), ("column", &self.0.column)];
        let mut separator = "";
        for (what, name) in parts {
            if let Some(name) = name {
                write!(f, "{separator}{what} `{name}`")?;
                separator = ", ";
            }
        }
        if !separator.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    /// Returns the first cause whose text is not part of this error's message, so that a printed chain repeats nothing.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let mut cause = self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static));
        while let Some(error) = cause
            && self.0.message.contains(&error.to_string())
        {
            cause = error.source();
        }
        cause
    }
}

impl From<ValueError> for Error {
    fn from(error: ValueError) -> Self {
        Error::new(ErrorKind::Value, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_in_their_order() {
        assert!(ErrorKind::ALL.iter().enumerate().all(|(index, kind)| *kind as usize == index));
    }

    #[test]
    fn an_error_is_counted_once_also_inside_of_another_one() {
        let mut cause = Error::new(ErrorKind::Busy, "locked");
        assert!(cause.count() && !cause.count());
        assert!(!Error::new(ErrorKind::Busy, "not written").with_source(cause).count());
    }

    #[test]
    fn an_error_says_where_and_what() {
        let error = Error::new(ErrorKind::UnmappedKey, "`Atlantis` is placed on no shard")
            .at_column("continent")
            .in_table("cities")
            .in_table("ignored");
        assert_eq!(error.to_string(), "table `cities`, column `continent`: `Atlantis` is placed on no shard");
        assert_eq!(
            (error.kind(), error.table(), error.shard()),
            (ErrorKind::UnmappedKey, Some("cities"), None)
        );
    }
    #[test]
    fn a_source_is_not_part_of_the_message() {
        let driver = || Error::new(ErrorKind::Full, "disk full").of_driver(std::fmt::Error);
        let is_driver =
            |error: &Error| error.driver_error().is_some_and(|error| error.is::<std::fmt::Error>());
        let chain = |error: Error| {
            assert!(is_driver(&error));
            let (mut texts, mut cause) = (Vec::new(), Some(&error as &dyn std::error::Error));
            while let Some(error) = cause {
                texts.push(error.to_string());
                cause = error.source();
            }
            texts
        };
        assert_eq!(chain(driver()), ["disk full"]);
        let repeating = Error::new(ErrorKind::Full, "commit failed: disk full").with_source(driver());
        assert_eq!(chain(repeating), ["commit failed: disk full"]);
        let short = || Error::new(ErrorKind::Full, "commit failed").with_source(driver());
        assert_eq!(chain(short()), ["commit failed", "disk full"]);
        let around = Error::new(ErrorKind::Full, "shard a: commit failed").with_source(short());
        assert_eq!(chain(around), ["shard a: commit failed", "disk full"]);
    }
}
