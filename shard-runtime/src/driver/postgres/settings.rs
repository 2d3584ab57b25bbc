//! The settings of a connection, and the state of its transaction.

use std::time::Duration;

use crate::driver::{Durability, Transaction};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No transaction.
    Idle,
    /// A transaction that begins along with its first statement.
    Wanted(Transaction),
    /// A transaction whose first statement runs or has run.
    First(Transaction),
    /// A transaction, with the savepoint of the guard or without.
    Open(Transaction, bool),
    /// The state of the transaction is unknown.
    Broken,
}

/// The settings of a connection.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    pub(super) busy_timeout: Duration,
    pub(super) synchronous: Durability,
    /// Whether each transaction can have another backend: statements are sent as text every time, and each transaction
    /// sets its settings.
    pub(super) is_pooled: bool,
}

impl Settings {
    /// Returns the statement that limits waits for locks. If the `statement_timeout` of the server is shorter than the busy
    /// timeout, the limit is less than it: a lock that is not obtained is a retryable error, and a statement that takes too
    /// long is not.
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
    /// The time zone converts moments to columns without one, as other programs make them.
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
