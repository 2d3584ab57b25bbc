//! The settings of a connection, and the state of its transaction.

use std::time::Duration;

use crate::driver::{Durability, TransactionMode};

/// The time limit of connecting to a host until a session can use the connection, unless the URL has a
/// `connect_timeout`.
pub(super) const CONNECTING: Duration = Duration::from_secs(10);

/// A day: an `Instant` cannot represent the end of any timeout that a URL may have.
pub(super) const LONGEST_CONNECTING: Duration = Duration::from_secs(24 * 60 * 60);

/// The savepoint before each statement of a transaction that writes. Without it PostgreSQL would abort the whole
/// transaction after one failed statement. A transaction that reads sets it before its second statement, to keep its
/// snapshot. The first statement needs none: if it fails, the transaction begins again.
pub(super) const GUARD: &str = "sharded_guard";

/// How long a server may take to roll a transaction back. If it takes longer, closing the connection rolls back, too.
pub(super) const ROLLING_BACK: Duration = Duration::from_secs(1);

/// Sent before a transaction ends: fails if one of its statements has failed. Otherwise PostgreSQL would roll back, and
/// report that without an error.
pub(super) const IS_WHOLE: &str = "SELECT";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerTransaction {
    /// No transaction.
    Idle,
    /// A transaction that will begin along with its first statement.
    Wanted(TransactionMode),
    /// A transaction whose first statement runs or has run.
    First(TransactionMode),
    /// A transaction, with or without the savepoint of the guard.
    Open(TransactionMode, bool),
    /// The state of the transaction is unknown.
    Broken,
}

/// The settings of a connection.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    pub(super) busy_timeout: Duration,
    pub(super) synchronous: Durability,
    /// Whether each transaction can have another backend. Statements are then sent as text every time, and each
    /// transaction sets its settings.
    pub(super) is_pooled: bool,
}

impl Settings {
    /// Returns the statement that limits waits for locks. If the `statement_timeout` of the server is shorter than the
    /// busy timeout, the limit is below it. A lock that is not obtained is then a retryable error, which the end of the
    /// `statement_timeout` is not.
    pub(super) fn limit_locks(self, limit: Duration, is_local: bool) -> String {
        // `lock_timeout = 0` would disable the limit.
        let limit = limit.min(self.busy_timeout).as_millis().max(1);
        format!(
            "SELECT set_config('lock_timeout', CASE WHEN total = 0 THEN {limit} \
             ELSE least({limit}, greatest(total - least(total / 4, 1000), 1)) END::text, {is_local}) \
             FROM (SELECT (extract(epoch FROM current_setting('statement_timeout')::interval) * 1000)::bigint) AS server (total)"
        )
    }

    /// Returns the statements that set the settings of a session.
    ///
    /// The time zone serves for columns of other programs that store timestamps without one.
    pub(super) fn of_session(self) -> String {
        format!(
            "SET synchronous_commit = {}; SET client_min_messages = warning; SET extra_float_digits = 1; SET TimeZone = 'UTC'",
            self.synchronous_commit()
        )
    }

    pub(super) fn synchronous_commit(self) -> &'static str {
        match self.synchronous {
            Durability::Full => "on",
            Durability::Normal => "off",
        }
    }
}
