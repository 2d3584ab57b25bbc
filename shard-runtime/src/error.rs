//! One error type: what went wrong (a [`ErrorKind`]) and where (shard, table, column, key).
//!
//! Context is added by whoever knows it: a value conversion knows neither its column nor its shard,
//! the row that is being bound knows the column, the session knows the shard.

use std::fmt;

use crate::value::Value;
pub use crate::value::ValueError;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong. Match on it to decide what to do; print the [`Error`] to tell a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A URL, a setting or a cluster file is not what it should be; or a server does not let this user in, speaks no TLS
    /// where it has to, or has a certificate that is not trusted.
    Configuration,
    /// A shard was named that the cluster does not have, or a row or a link of another cluster's was used.
    UnknownShard,
    /// A model was used that the cluster was not opened with.
    UnknownModel,
    /// A key's value is placed on no shard.
    UnmappedKey,
    /// The query cannot be run as it stands: it sets no column, its conditions are nested too deeply, or its
    /// SQL is not the one statement, with these parameters and columns, that it is used as.
    Query,
    /// A cursor's text is damaged, or the cursor was created by a different query. In a service it is the client's error, if
    /// clients send cursors.
    Cursor,
    /// Two pins of one query name different shards, or a query or a row is of another shard than its session is
    /// pinned to.
    ContradictingPins,
    /// The row was changed since its handle read it: by another session, as its `#[version]` shows, or in the same
    /// transaction through another handle. Read it again.
    Stale,
    /// The change would move a row to another shard, which an update cannot do.
    ShardKeyChanged,
    /// The database of a shard does not exist, and opening does not create one; or its file was removed or replaced while
    /// it was open, which is seen before anything is written.
    Missing,
    /// The database is another shard's, or another cluster's.
    WrongDatabase,
    /// The cluster's layout is not the one that its shards were made with.
    Layout,
    /// A table on a shard is not what the model says.
    Schema,
    /// A value cannot be stored, or what was stored is not a value of the field's type.
    Value,
    /// A statement carries more values than the database takes.
    TooManyValues,
    /// The cluster has more databases than one connection can attach.
    TooManyDatabases,
    /// The database refused a row: a unique or primary key exists already.
    Unique,
    /// The database refused a row: what it refers to is not there, or is still referred to.
    ForeignKey,
    /// The database refused a row: a value is missing.
    NotNull,
    /// Another session holds what is needed, and the wait is over: a lock, a connection, the server's last slot for a
    /// connection or a prepared transaction, the process's last file descriptor. It may succeed later.
    Busy,
    /// A statement took longer than the session's timeout.
    TimedOut,
    /// The database, its file or its folder cannot be written; or the server is a standby, or became one in a failover
    /// (then [`Error::is_retryable`] is true).
    ReadOnly,
    /// The server refuses this to the role that the URL names: it lacks a privilege.
    Denied,
    /// There is no room left on the device.
    Full,
    /// The file is damaged, or is not a database.
    Corrupt,
    /// Reading or writing the file failed.
    Io,
    /// The server cannot be reached, or the connection to it was lost.
    ConnectionLost,
    /// No row where exactly one was asked for, or the row to change is gone.
    NotFound,
    /// More than one row where exactly one was asked for.
    ManyRows,
    /// One id was found on two shards although ids are unique over the cluster.
    Ambiguous,
    /// Shards that hold the same rows of a reference table by right do not: somebody has written behind the cluster's
    /// back, or a shard has come to it without them.
    ReferenceDiverged,
    /// The unit of work was ended by an earlier error, and has to be rolled back before the session is used on.
    TransactionAborted,
    /// A unit of work was committed with [`Commit::BestEffort`](crate::Commit::BestEffort), on some of its shards only.
    PartialCommit,
    /// It is not known whether a unit of work was committed: the disk has failed at the very commit, and again when
    /// that was to be undone; or the connection to a server was lost before it had answered the commit. What was over
    /// several shards is settled by [`Cluster::recover`](crate::Cluster::recover), or by opening the cluster again. Of
    /// what one server has committed or not, only its rows tell.
    InDoubt,
    /// The database reported something else.
    Database,
}

/// The message of errors that come from having no file descriptor left.
pub(crate) const TOO_MANY_FILES: &str = "too many open files: retry once others are closed, lower `connections`, or raise the process's limit (`ulimit -n`)";

/// Whether the process, or the system, has no file descriptor left.
pub(crate) fn has_no_descriptor(error: &std::io::Error) -> bool {
    // EMFILE and ENFILE, for which `std::io::ErrorKind` has no name.
    cfg!(unix) && matches!(error.raw_os_error(), Some(24 | 23))
}

/// A limit outside of the cluster that keeps it from opening one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// The process (or the machine) has no file descriptor left.
    Descriptors,
    /// The server accepts no more connections, or none of this role or database.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "only servers have this limit"))]
    ServerConnections,
}

/// An error: its kind, where it happened, and what the database said.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    shard: Option<String>,
    table: Option<String>,
    column: Option<String>,
    unit: Option<String>,
    is_transient: bool,
    taken: Option<TakenValue>,
    exhausted: Option<Exhausted>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    driver_error: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A value of a lookup, by the lookup's place in the layout.
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
            unit: None,
            is_transient: false,
            taken: None,
            exhausted: None,
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

    /// The limit that was met.
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

    /// Names the unit of work.
    pub(crate) fn of_unit(mut self, unit: &str) -> Self {
        self.0.unit.get_or_insert_with(|| unit.to_owned());
        self
    }

    /// Notes the value of a lookup that has an entry already.
    pub(crate) fn of_taken_value(mut self, taken: TakenValue) -> Self {
        self.0.taken = Some(taken);
        self
    }

    pub(crate) fn taken_value(&self) -> Option<&TakenValue> {
        self.0.taken.as_ref()
    }

    /// Adds to the message what to do.
    pub(crate) fn with_remedy(mut self, remedy: &str) -> Self {
        self.0.message = format!("{}; {remedy}", self.0.message);
        self
    }

    /// Says which row it is about.
    pub(crate) fn with_row(mut self, row: &str) -> Self {
        self.0.message = format!("{} (row with {row})", self.0.message);
        self
    }

    /// Marks an error of a kind that is mostly lasting, but not here.
    #[cfg(feature = "postgres")]
    pub(crate) fn transient(mut self) -> Self {
        self.0.is_transient = true;
        self
    }

    /// Returns whether the same work may succeed if it is run again: a lock was in the way, another session was first,
    /// the server was lost, or it is not the primary any more.
    ///
    /// These are [`ErrorKind::Busy`], [`ErrorKind::Stale`], [`ErrorKind::ConnectionLost`], and [`ErrorKind::ReadOnly`] of
    /// a server that became a standby. Nothing of the work was stored then. [`ErrorKind::TimedOut`] is not among them: the
    /// time was the caller's.
    ///
    /// [`Cluster::transaction`](crate::Cluster::transaction) retries these errors itself.
    pub fn is_retryable(&self) -> bool {
        let is_kind = matches!(self.0.kind, ErrorKind::Busy | ErrorKind::Stale | ErrorKind::ConnectionLost);
        is_kind || (self.0.kind == ErrorKind::ReadOnly && self.is_transient())
    }

    fn is_transient(&self) -> bool {
        let cause = self.0.source.as_deref().and_then(|source| source.downcast_ref::<Error>());
        self.0.is_transient || cause.is_some_and(Error::is_transient)
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether another session, or program, holds what is needed.
    pub(crate) fn is_busy(&self) -> bool {
        self.0.kind == ErrorKind::Busy
    }

    /// Whether it is a row's own fault, so that sending the row again cannot help.
    pub(crate) fn is_about_a_row(&self) -> bool {
        use ErrorKind::{ForeignKey, NotFound, NotNull, Stale, Unique, Value};
        matches!(self.0.kind, Unique | ForeignKey | NotNull | Value | NotFound | Stale)
    }

    /// Whether it is the shard's fault, and not the statement's: another shard may still answer.
    pub(crate) fn is_about_a_shard(&self) -> bool {
        use ErrorKind::{
            Busy, ConnectionLost, Corrupt, Full, Io, Missing, ReadOnly, TimedOut, WrongDatabase,
        };
        matches!(
            self.0.kind,
            Missing | WrongDatabase | Busy | TimedOut | ReadOnly | Full | Corrupt | Io | ConnectionLost
        )
    }

    /// The shard it happened on, where it happened on one.
    pub fn shard(&self) -> Option<&str> {
        self.0.shard.as_deref()
    }

    /// The table it is about, where it is about one.
    pub fn table(&self) -> Option<&str> {
        self.0.table.as_deref()
    }

    /// The column it is about, where it is about one.
    pub fn column(&self) -> Option<&str> {
        self.0.column.as_deref()
    }

    /// The unit of work that is in doubt ([`ErrorKind::InDoubt`]), where it was over several shards; what
    /// [`Cluster::recover`](crate::Cluster::recover) names it by.
    pub fn unit(&self) -> Option<&str> {
        self.0.unit.as_deref()
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
        let places = [("shard", &self.0.shard), ("table", &self.0.table), ("column", &self.0.column)];
        let mut separator = "";
        for (what, name) in places {
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
