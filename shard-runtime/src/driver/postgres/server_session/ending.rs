//! Ends transactions, and statements whose answers are not needed: commit, rollback, cancellation.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::try_join;
use tokio::time::timeout;

use super::PostgresConnection;
use super::checks::PreparingChecks;
use crate::driver::postgres::errors::{from_postgres, is_another};
use crate::driver::postgres::settings::{IS_WHOLE, ServerTransaction};
use crate::error::{Error, ErrorKind, Result};

/// How long a statement whose rows are no longer read may continue before it is cancelled: about the cost of cancelling.
const RUNNING_OUT: Duration = Duration::from_millis(3);

/// The limits of stopping a statement, and of the server's answer to the cancel request, if the caller's deadline has
/// passed.
const STOPPING_LATE: Duration = Duration::from_secs(1);

const ANSWERING_LATE: Duration = Duration::from_millis(500);

/// The limit of stopping a statement otherwise. If the statement still runs then, its connection is closed.
const STOPPING: Duration = Duration::from_secs(10);

/// Releases the advisory locks of the session, which the end of a transaction does not.
const UNLOCK: &str = "SELECT pg_advisory_unlock_all()";

impl PostgresConnection {
    /// Commits or prepares the transaction. If the connection is lost before the answer, the outcome is unknown.
    pub(in super::super) fn end(&self, sql: &str) -> Result<()> {
        // The outcome is known if the connection was lost before the commit was sent.
        self.read_messages();
        self.check_whole()?;
        self.forget_types();
        // A schema may have been replaced since the transaction first used it.
        let checked_shards = self.expected.borrow();
        let mut preparing = PreparingChecks::new();
        let checks = checked_shards.iter().map(|expected| self.check(&expected.sql, &mut preparing));
        let mut ahead: Vec<String> = checks.collect();
        if ahead.is_empty() {
            ahead.push(IS_WHOLE.to_owned());
        }
        ahead.extend(self.restoring());
        let ended = self.executor.wait(self.client.batch_execute(&format!("{}; {sql}", ahead.join("; "))));
        self.state.set(ServerTransaction::Idle);
        let Err(error) = ended else {
            self.checks.are_prepared(preparing);
            return Ok(());
        };
        let refused = !checked_shards.is_empty() && is_another(&error);
        let error = from_postgres(error);
        let error = if refused { Self::refusal(error) } else { self.broken_if_lost(error) };
        if error.kind() == ErrorKind::ConnectionLost {
            let message = format!("the connection was lost before the server had answered: {error}");
            return Err(Error::new(ErrorKind::InDoubt, message).with_source(error));
        }
        if self.state.get() != ServerTransaction::Broken && self.run_promptly("ROLLBACK").is_err() {
            self.state.set(ServerTransaction::Broken);
        }
        Err(self.unless_cancelled(error))
    }

    /// Returns the statements that reset all effects of the transaction that outlast it.
    pub(in super::super) fn restoring(&self) -> Option<String> {
        self.restores.take().then(|| {
            let settings = match self.settings.is_pooled {
                // The next transaction sets the others.
                true => format!("SET LOCAL synchronous_commit = {}", self.settings.synchronous_commit()),
                false => format!(
                    "{}; {}",
                    self.settings.of_session(),
                    self.settings.limit_locks(self.settings.busy_timeout, false)
                ),
            };
            format!("RESET SESSION AUTHORIZATION; RESET ALL; {settings}; {UNLOCK}")
        })
    }

    /// Returns the rollback of the transaction. It undoes all settings, but not advisory locks.
    pub(in super::super) fn rolling_back(&self) -> String {
        match self.restores.take() {
            true => format!("ROLLBACK; {UNLOCK}"),
            false => "ROLLBACK".to_owned(),
        }
    }

    /// Closes the statements with which the client reads unknown types, before the end of the transaction that
    /// prepared them.
    pub(in super::super) fn forget_types(&self) {
        if self.settings.is_pooled {
            self.client.clear_type_cache();
        }
    }

    /// Returns an error if the transaction of the connection is lost.
    pub(in super::super) fn check_whole(&self) -> Result<()> {
        if self.state.get() != ServerTransaction::Broken && !self.client.is_closed() {
            return Ok(());
        }
        self.state.set(ServerTransaction::Broken);
        Err(Error::new(ErrorKind::ConnectionLost, "the connection to the server was lost"))
    }

    /// Reads the messages of the server so far, which may report that it is gone.
    pub(in super::super) fn read_messages(&self) {
        self.executor.wait(async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Runs a statement that every server answers at once. Without an answer, the connection is closed.
    pub(super) fn run_promptly(&self, sql: &str) -> Result<(), ()> {
        self.run_within(STOPPING, sql).map_err(drop)
    }

    pub(in super::super) fn run_within(&self, time: Duration, sql: &str) -> Result<()> {
        let client = &self.client;
        match self.executor.wait(async move { timeout(time, client.batch_execute(sql)).await }) {
            Ok(done) => done.map_err(from_postgres),
            Err(_) => {
                let message =
                    format!("the server did not answer {sql} within {time:?}; the connection is closed");
                Err(Error::new(ErrorKind::ConnectionLost, message))
            }
        }
    }

    /// Ends a running statement whose answer is not needed: `rest` waits for its end. If that takes too long, the
    /// connection is broken, and is closed without waiting for its server.
    pub(in super::super) fn stop_statement(
        &self,
        rest: impl Future<Output = Result<(), tokio_postgres::Error>> + Send,
    ) {
        let is_late = self.deadline.get().is_some_and(|deadline| deadline <= Instant::now());
        if is_late && self.state.get() == ServerTransaction::Idle {
            // There is no transaction that waiting would save.
            return self.state.set(ServerTransaction::Broken);
        }
        let (answering, stopping) =
            if is_late { (ANSWERING_LATE, STOPPING_LATE) } else { (STOPPING, STOPPING) };
        let (token, route, encryptor) =
            (self.client.cancel_token(), self.route.clone(), self.encryptor.clone());
        let ended = self.executor.wait(async move {
            let mut rest = pin!(rest);
            if let Ok(ended) = timeout(RUNNING_OUT, rest.as_mut()).await {
                return Some(ended);
            }
            let cancelling = async {
                match timeout(answering, encryptor.cancel_beside(token, route)).await {
                    Ok(Ok(())) => Ok(()),
                    // The request may arrive at any time, and would then stop another statement.
                    Ok(Err(_)) | Err(_) => Err(()),
                }
            };
            // Both at once: a server that sends rows handles the request only after they are read.
            let both = try_join(cancelling, async { Ok(rest.await) });
            match timeout(stopping, both).await {
                Ok(Ok(((), ended))) => Some(ended),
                Ok(Err(())) | Err(_) => None,
            }
        });
        match ended {
            Some(Ok(())) => {}
            Some(Err(error)) => drop(self.undo_after(from_postgres(error))),
            None => self.state.set(ServerTransaction::Broken),
        }
    }
}
