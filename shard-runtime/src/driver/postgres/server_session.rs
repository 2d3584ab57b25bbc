//! A session with a server: its transaction's state, what is sent ahead of a statement, cancellation, rollback.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{join, try_join};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::encryption::Encryptor;
use super::errors::{demoted, from_postgres};
use super::executor::{Blocked, Executor};
use super::hosts::Hosts;
use super::route::Route;
pub(super) use super::settings::{Settings, State};
use super::text::{Described, Text};
use crate::driver::{Connection, Expected, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{literal, quoted};

/// How many prepared statements a connection keeps.
pub(super) const STATEMENTS: usize = 256;

/// The first parameter that a statement may not have.
pub(super) const ONE_TOO_MANY: &str = "$65536";

/// How long a statement whose rows are not read any more may run on before it is cancelled: about the time that cancelling
/// costs.
pub(super) const RUNNING_OUT: Duration = Duration::from_millis(3);

/// How long stopping a statement may take, and the server's answer to the request, if the deadline of the caller is over
/// already.
pub(super) const STOPPING_LATE: Duration = Duration::from_secs(1);
pub(super) const ANSWERING_LATE: Duration = Duration::from_millis(500);

/// How long stopping a statement may take otherwise. A connection whose statement is not stopped by then is closed.
pub(super) const STOPPING: Duration = Duration::from_secs(10);

/// How long a server may take to roll a transaction back. One that takes longer does not answer: closing the connection
/// rolls back, too.
pub(super) const ROLLING_BACK: Duration = Duration::from_secs(1);

/// Sent before a transaction ends: fails if one of its statements failed. PostgreSQL itself would roll back then,
/// and answer that it has done so, which is no error.
pub(super) const IS_WHOLE: &str = "SELECT";

/// The savepoint before each statement of a transaction that writes, and before the second of one that reads, whose
/// snapshot stays: without it PostgreSQL would give up the whole transaction for one statement. The first statement needs
/// none: there is nothing before it, and where it fails the transaction begins anew.
pub(super) const GUARD: &str = "sharded_guard";

pub(super) struct PostgresConnection {
    // Dropped before the event loop that its requests need.
    pub(super) client: Client,
    pub(super) executor: Executor,
    pub(super) encryptor: Encryptor,
    /// The address of cancel requests.
    pub(super) route: Route,
    /// Whether the server refused to begin a transaction that writes.
    pub(super) is_demoted: Arc<AtomicBool>,
    pub(super) statements: RefCell<HashMap<Text, Arc<Described>>>,
    pub(super) state: Cell<State>,
    pub(super) deadline: Cell<Option<Instant>>,
    pub(super) settings: Settings,
    /// The process id of the backend; `None` if each transaction can have another backend.
    pub(super) backend: Option<i32>,
    /// The shards that the transaction uses.
    pub(super) expected: RefCell<Vec<Arc<Expected>>>,
    /// The number of them that were checked.
    pub(super) checked_shards: Cell<usize>,
    /// The number of them that were checked before the last statement.
    pub(super) checked_before: Cell<usize>,
    /// Whether the transaction ran statements that can set something beyond its end.
    pub(super) restores: Cell<bool>,
    /// The schema in which the transaction resolves names without a schema; `None` if it is unknown.
    pub(super) searched: RefCell<Option<Arc<str>>>,
    /// Whether the server refused a transaction because one of them does not exist.
    pub(super) refused: AtomicBool,
    /// The number of times that the transaction was undone up to a statement.
    pub(super) undone: Cell<u64>,
    /// The number of the next cursor.
    pub(super) cursors: Cell<u64>,
    /// The function that is called while a transaction that writes is blocked.
    pub(super) blocked: RefCell<Option<Blocked>>,
    /// The limit of lock waits in this transaction, and whether it was sent to the server.
    pub(super) lock_limit: Cell<Option<(Duration, bool)>>,
}

impl PostgresConnection {
    /// Connects to one of the hosts, until `end`, which is also the first deadline of the connection. `options`
    /// become settings of the session, in addition to those of the URL.
    pub(super) fn connect(
        hosts: &Hosts,
        encryptor: &Encryptor,
        options: Option<&str>,
        end: Instant,
        settings: Settings,
    ) -> Result<Self> {
        let executor = Executor::new()?;
        let (client, route) = executor.wait(hosts.connect(encryptor, options, end))?;
        let mut connection = PostgresConnection {
            client,
            executor,
            encryptor: encryptor.clone(),
            route,
            is_demoted: Arc::default(),
            statements: RefCell::default(),
            state: Cell::new(State::Idle),
            deadline: Cell::new(Some(end)),
            settings,
            backend: None,
            expected: RefCell::default(),
            checked_shards: Cell::new(0),
            checked_before: Cell::new(0),
            restores: Cell::new(false),
            searched: RefCell::default(),
            refused: AtomicBool::new(false),
            undone: Cell::new(0),
            cursors: Cell::new(0),
            blocked: RefCell::default(),
            lock_limit: Cell::new(None),
        };
        if !settings.is_pooled {
            let set = format!("{}; SELECT pg_backend_pid()", settings.of_session());
            connection.backend = connection.text(&set)?.and_then(|pid| pid.parse().ok());
        }
        Ok(connection)
    }

    /// Returns whether a setting of the session exists.
    pub(super) fn has_setting(&self, name: &str) -> Result<bool> {
        let found = self.text(&format!("SELECT current_setting({}, true)", literal(name)))?;
        Ok(found.is_some_and(|value| !value.is_empty()))
    }

    /// Checks that a pooler assigns server connections for whole transactions.
    pub(super) fn check_transactions(&self) -> Result<()> {
        self.text("BEGIN").and_then(|_| self.text("COMMIT")).map(drop).map_err(|error| {
            if !was_answered(&error) {
                return error;
            }
            let message = format!(
                "the connection pooler refuses transactions: {error}; set its `pool_mode` to `transaction` or `session`"
            );
            Error::new(ErrorKind::Configuration, message).with_source(error)
        })
    }

    /// Returns the one value of statements that run before the connection is used.
    pub(super) fn text(&self, sql: &str) -> Result<Option<String>> {
        let answer = self.executor.wait_until(self.deadline.get(), self.client.simple_query(sql))?;
        let answer = answer.map_err(from_postgres)?;
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(row.and_then(|row| row.get(0)).map(str::to_owned))
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.settings.is_pooled
    }

    /// Returns whether the next statement runs outside of a transaction.
    pub(super) fn is_alone(&self) -> bool {
        self.state.get() == State::Idle
    }

    pub(super) fn executor(&self) -> &Executor {
        &self.executor
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    /// Runs the future, and sends the statements that have to precede a statement of this text along with it.
    pub(super) fn with_due_statements<'c, O: Send>(
        &'c self,
        text: &Text,
        work: impl Future<Output = Result<O, tokio_postgres::Error>> + Send + 'c,
    ) -> impl Future<Output = Result<O, tokio_postgres::Error>> + Send + 'c {
        let mut looks = matches!(self.state.get(), State::Wanted(_));
        let ahead = match self.state.get() {
            State::Idle | State::Broken | State::Open(Transaction::Read, _) => None,
            State::Wanted(transaction) => {
                self.state.set(State::First(transaction));
                let begin = match transaction {
                    Transaction::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                    Transaction::Write => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
                };
                let limit = match transaction {
                    Transaction::Read => String::new(),
                    Transaction::Write => self.lock_limit_to_set(),
                };
                Some(format!("{begin}{}; {limit}", self.begins_with()))
            }
            State::First(transaction) => {
                self.state.set(State::Open(transaction, true));
                Some(format!("{}SAVEPOINT {GUARD}", self.lock_limit_to_set()))
            }
            State::Open(Transaction::Write, guarded) => {
                self.state.set(State::Open(Transaction::Write, true));
                let before = if guarded { format!("RELEASE SAVEPOINT {GUARD}; ") } else { String::new() };
                Some(format!("{before}{}SAVEPOINT {GUARD}", self.lock_limit_to_set()))
            }
        };
        let mut ahead: Vec<String> = ahead.into_iter().collect();
        if self.in_transaction() {
            let expected = self.expected.borrow();
            self.checked_before.set(self.checked_shards.get());
            let new = expected.get(self.checked_shards.replace(expected.len())..).unwrap_or_default();
            looks |= !new.is_empty();
            ahead.extend(new.iter().map(|expected| expected.sql.clone()));
            if let Some(schema) =
                text.schema().filter(|schema| self.searched.borrow().as_ref() != Some(*schema))
            {
                ahead.push(search(schema));
                *self.searched.borrow_mut() = Some(Arc::clone(schema));
            }
        }
        let (client, is_demoted, refused) = (&self.client, &self.is_demoted, &self.refused);
        let ahead = (!ahead.is_empty()).then(|| ahead.join("; "));
        async move {
            match ahead {
                None => work.await,
                Some(ahead) => {
                    let (begun, done) = join(client.batch_execute(&ahead), work).await;
                    begun.inspect_err(|error| {
                        // Only a server in recovery rejects a transaction that writes. Its message is translated.
                        if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) {
                            is_demoted.store(true, Ordering::Relaxed);
                        }
                        refused.store(looks && is_another(error), Ordering::Relaxed);
                    })?;
                    done
                }
            }
        }
    }

    /// Returns a name that no other cursor of this connection has.
    pub(super) fn name_cursor(&self) -> String {
        let number = self.cursors.replace(self.cursors.get() + 1);
        format!("sharded_cursor_{number}")
    }

    /// Returns how often the transaction was undone up to a savepoint, with which cursors end.
    pub(super) fn undone(&self) -> u64 {
        self.undone.get()
    }

    /// Returns the statement that sets the lock limit, unless it was sent. It runs outside of the savepoint of the
    /// guard, which would undo it.
    pub(super) fn lock_limit_to_set(&self) -> String {
        match self.lock_limit.get() {
            Some((limit, false)) => {
                self.lock_limit.set(Some((limit, true)));
                format!("{}; ", self.settings.limit_locks(limit, true))
            }
            _ => String::new(),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Undoes the transaction up to the statement that failed, and returns its error. A connection whose server is
    /// gone or has become a standby is broken.
    pub(super) fn failed(&self, error: Error) -> Error {
        let is_ours = self.deadline.get().is_some_and(|deadline| deadline <= Instant::now());
        let error = self.brought_back(error);
        if is_ours { error } else { self.unless_cancelled(error) }
    }

    /// Returns the error of a statement that another program has cancelled as `Busy`: another try may succeed. A cancel
    /// request of this connection never outlives its statement.
    fn unless_cancelled(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::TimedOut || self.is_over_server_limit(&error) {
            return error;
        }
        Error::new(ErrorKind::Busy, "the statement was cancelled on its server").with_source(error)
    }

    /// Brings the transaction back as [`failed`](Self::failed) does, and returns the error as it is.
    fn brought_back(&self, error: Error) -> Error {
        self.undone.set(self.undone.get() + 1);
        self.forget_searched();
        let refused = self.refused.swap(false, Ordering::Relaxed);
        if refused {
            // The statements of the other shards continue.
            self.expected.borrow_mut().truncate(self.checked_before.get());
            self.checked_shards.set(self.checked_before.get());
        }
        if matches!(self.state.get(), State::First(_)) {
            self.checked_shards.set(0);
        }
        let error = self.broken_if_lost(error);
        let done = match self.state.get() {
            State::Broken => return error,
            _ if self.client.is_closed() => Err(()),
            State::Idle | State::Wanted(_) => Ok(()),
            State::First(transaction) => {
                self.lock_limit.set(self.lock_limit.get().map(|(limit, _)| (limit, false)));
                self.run_promptly("ROLLBACK").inspect(|()| self.state.set(State::Wanted(transaction)))
            }
            State::Open(_, true) => self.run_promptly(&format!("ROLLBACK TO SAVEPOINT {GUARD}")),
            State::Open(_, false) => Err(()),
        };
        if done.is_err() {
            self.state.set(State::Broken);
        }
        if refused { Self::refusal(error) } else { error }
    }

    /// Returns whether the server ended a statement because of its `statement_timeout`. PostgreSQL has one code for
    /// this and for a cancel request of another program, and the message depends on the language of the server.
    fn is_over_server_limit(&self, error: &Error) -> bool {
        let answer = error.driver_error().and_then(|answer| answer.downcast_ref::<tokio_postgres::Error>());
        let message = answer.and_then(|answer| answer.as_db_error()).map_or("", |answer| answer.message());
        match (message.contains("statement timeout"), message.contains("user request")) {
            (true, _) => true,
            (_, true) => false,
            _ if self.state.get() == State::Broken => true,
            _ => !matches!(self.text("SHOW statement_timeout"), Ok(Some(limit)) if limit == "0"),
        }
    }

    /// Statements that are undone, or that the application runs, may have set another one.
    pub(super) fn forget_searched(&self) {
        *self.searched.borrow_mut() = None;
    }

    /// Returns the further statements at the beginning of a transaction.
    pub(super) fn begins_with(&self) -> String {
        let Settings { is_pooled, .. } = self.settings;
        match self.backend {
            _ if is_pooled => format!(
                "; SET LOCAL synchronous_commit = {}; {}",
                self.settings.synchronous_commit(),
                self.settings.limit_locks(self.settings.busy_timeout, true)
            ),
            // A pooler in transaction mode would carry settings and prepared statements over to other clients.
            Some(backend) => {
                format!(
                    "; SELECT CASE pg_backend_pid() WHEN {backend} THEN '1' ELSE '{ANOTHER_PROCESS}' END::integer"
                )
            }
            None => String::new(),
        }
    }

    /// Returns the error of a refused transaction: the database does not hold the expected shard.
    pub(super) fn refusal(error: Error) -> Error {
        if error.to_string().contains(ANOTHER_PROCESS) {
            let message = "the connection changed to another server process, as a pooler in transaction mode does; \
                        add `pooler=transaction` to the shard's URL";
            return Error::new(ErrorKind::Configuration, message).with_source(error);
        }
        let message = "the database does not hold this shard any more: its schema was replaced, or the connection leads to \
                    another database; nothing was read or written. Restore the schema, or correct the shard's URL";
        Error::new(ErrorKind::WrongDatabase, message).with_source(error)
    }

    /// Marks the connection as broken if an error shows that its server is gone or read-only now; returns the error.
    pub(super) fn broken_if_lost(&self, error: Error) -> Error {
        let only_reads =
            matches!(self.state.get(), State::First(Transaction::Read) | State::Open(Transaction::Read, _));
        let error = match error.kind() {
            _ if self.is_demoted.swap(false, Ordering::Relaxed) => demoted(error),
            // In a transaction that reads the statement is at fault.
            ErrorKind::ReadOnly if !only_reads => demoted(error),
            ErrorKind::ConnectionLost => error,
            _ => return error,
        };
        self.state.set(State::Broken);
        error
    }

    /// Commits or prepares the transaction. If the connection is lost before the answer, the outcome is unknown.
    pub(super) fn end(&self, sql: &str) -> Result<()> {
        // The outcome is known if the connection was lost before the commit was sent.
        self.read_messages();
        self.check_whole()?;
        self.forget_types();
        // A schema may have been replaced since the transaction used it first.
        let checked_shards = self.expected.borrow();
        let mut ahead: Vec<&str> = checked_shards.iter().map(|expected| expected.sql.as_str()).collect();
        if ahead.is_empty() {
            ahead.push(IS_WHOLE);
        }
        let restore = self.restoring();
        ahead.extend(restore.as_deref());
        let ended = self.executor.wait(self.client.batch_execute(&format!("{}; {sql}", ahead.join("; "))));
        self.state.set(State::Idle);
        let Err(error) = ended else { return Ok(()) };
        let refused = !checked_shards.is_empty() && is_another(&error);
        let error = from_postgres(error);
        let error = if refused { Self::refusal(error) } else { self.broken_if_lost(error) };
        if error.kind() == ErrorKind::ConnectionLost {
            let message = format!("the connection was lost before the server had answered: {error}");
            return Err(Error::new(ErrorKind::InDoubt, message).with_source(error));
        }
        if self.state.get() != State::Broken && self.run_promptly("ROLLBACK").is_err() {
            self.state.set(State::Broken);
        }
        Err(self.unless_cancelled(error))
    }

    /// Returns the statements that reset what the transaction may have set beyond its end.
    pub(super) fn restoring(&self) -> Option<String> {
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
    pub(super) fn rolling_back(&self) -> String {
        match self.restores.take() {
            true => format!("ROLLBACK; {UNLOCK}"),
            false => "ROLLBACK".to_owned(),
        }
    }

    /// Closes the statements with which the client reads unknown types, before the end of the transaction that
    /// prepared them.
    pub(super) fn forget_types(&self) {
        if self.settings.is_pooled {
            self.client.clear_type_cache();
        }
    }

    /// Returns an error if the transaction of the connection is lost.
    pub(super) fn check_whole(&self) -> Result<()> {
        if self.state.get() != State::Broken && !self.client.is_closed() {
            return Ok(());
        }
        self.state.set(State::Broken);
        Err(Error::new(ErrorKind::ConnectionLost, "the connection to the server was lost"))
    }

    /// Reads the messages of the server so far, which may report that it is gone.
    pub(super) fn read_messages(&self) {
        self.executor.wait(async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Runs a statement that every server answers at once. A connection without an answer is closed.
    pub(super) fn run_promptly(&self, sql: &str) -> Result<(), ()> {
        self.run_within(STOPPING, sql).map_err(drop)
    }

    pub(super) fn run_within(&self, time: Duration, sql: &str) -> Result<()> {
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

    /// Ends a running statement whose answer is not needed: `rest` waits for its end. A connection on which that
    /// takes too long is broken, and is closed without waiting for its server.
    pub(super) fn give_up(&self, rest: impl Future<Output = Result<(), tokio_postgres::Error>> + Send) {
        let is_late = self.deadline.get().is_some_and(|deadline| deadline <= Instant::now());
        if is_late && self.state.get() == State::Idle {
            // No transaction would be saved by waiting.
            return self.state.set(State::Broken);
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
            // At once: a server that sends rows handles the request only after they are read.
            let both = try_join(cancelling, async { Ok(rest.await) });
            match timeout(stopping, both).await {
                Ok(Ok(((), ended))) => Some(ended),
                Ok(Err(())) | Err(_) => None,
            }
        });
        match ended {
            Some(Ok(())) => {}
            Some(Err(error)) => drop(self.brought_back(from_postgres(error))),
            None => self.state.set(State::Broken),
        }
    }

    /// Drops a prepared statement.
    pub(super) fn forget(&self, text: &Text) {
        self.statements.borrow_mut().remove(text);
    }

    /// Keeps a statement that is prepared.
    pub(super) fn keep(&self, text: Text, described: Arc<Described>) {
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= STATEMENTS {
            statements.clear();
        }
        statements.insert(text, described);
    }
}

/// Releases the advisory locks of the session, which the end of a transaction does not.
pub(super) const UNLOCK: &str = "SELECT pg_advisory_unlock_all()";

/// The error of the server if a transaction ran in another process than the connection was made to.
pub(super) const ANOTHER_PROCESS: &str = "another server process";

/// Returns the statement that resolves names without a schema in this one, until the transaction ends.
pub(super) fn search(schema: &str) -> String {
    // Temporary tables come last: unless they are listed, they are found before all others.
    format!("SET LOCAL search_path = {}, pg_temp", quoted(schema))
}

/// Returns whether a server reported that it is not the expected shard: by an invalid integer, or because the table
/// of the identity does not exist.
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
