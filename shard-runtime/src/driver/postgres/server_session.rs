//! A session with a server: the state of its transaction, and the statements that are sent ahead of another one. `ending`
//! has the end of a transaction, `failure` the failure of a statement.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::encryption::Encryptor;
use super::errors::{ANOTHER_PROCESS, from_postgres, is_another, was_answered};
use super::executor::Executor;
use super::hosts::Hosts;
use super::route::Route;
use super::settings::{GUARD, ServerTransaction, Settings};
use super::text::{DescribedStatement, Text};
use crate::driver::{Connection, Expected, LongWaits, TransactionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{literal, quoted};

mod checks;
mod ending;
mod failure;

use checks::{Checks, PreparingChecks};

/// The number of prepared statements that a connection keeps.
pub(super) const STATEMENTS: usize = 256;

/// The number of the first parameter that exceeds the limit.
pub(super) const ONE_TOO_MANY: &str = "$65536";

/// Makes the next statements of a transaction fail at a lock that is held. `lock_timeout = 0` would disable the limit.
const NO_WAIT: &str = "SET LOCAL lock_timeout = 1";

pub(super) struct PostgresConnection {
    // Dropped before the event loop that its requests need.
    pub(super) client: Client,
    pub(super) executor: Executor,
    pub(super) encryptor: Encryptor,
    /// The address of cancel requests.
    pub(super) route: Route,
    /// Whether the server refused to begin a transaction that writes.
    pub(super) is_demoted: Arc<AtomicBool>,
    pub(super) statements: RefCell<HashMap<Text, Arc<DescribedStatement>>>,
    pub(super) state: Cell<ServerTransaction>,
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
    /// The checks that the server has prepared.
    pub(super) checks: Checks,
    /// Whether the transaction ran statements whose effects can outlast it.
    pub(super) restores: Cell<bool>,
    /// The schema in which the transaction resolves names without a schema; `None` if it is unknown.
    pub(super) searched: RefCell<Option<Arc<str>>>,
    /// Whether the server refused a transaction because one of these shards does not exist.
    pub(super) refused: AtomicBool,
    /// How often the transaction was undone up to a savepoint.
    pub(super) undone: Cell<u64>,
    /// The number of the next cursor.
    pub(super) cursors: Cell<u64>,
    /// The function that is called while a transaction that writes is blocked.
    pub(super) blocked: RefCell<Option<LongWaits>>,
    /// The limit of lock waits in this transaction, and whether it was sent to the server.
    pub(super) lock_limit: Cell<Option<(Duration, bool)>>,
    /// The server's value of the limit of lock waits in transactions without a limit of their own.
    pub(super) session_lock_limit: RefCell<Option<String>>,
    /// Whether the next statement fails at a held lock.
    pub(super) no_wait: Cell<bool>,
    /// Whether the last pipeline has begun the transaction; `None` if no pipeline can be undone.
    pub(super) pipeline: Cell<Option<bool>>,
}

impl PostgresConnection {
    /// Connects to one of the hosts, until `end`, which is also the first deadline of the connection. `options` are
    /// settings of the session, in addition to those of the URL.
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
            state: Cell::new(ServerTransaction::Idle),
            deadline: Cell::new(Some(end)),
            settings,
            backend: None,
            expected: RefCell::default(),
            checked_shards: Cell::new(0),
            checked_before: Cell::new(0),
            checks: Checks::default(),
            restores: Cell::new(false),
            searched: RefCell::default(),
            refused: AtomicBool::new(false),
            undone: Cell::new(0),
            cursors: Cell::new(0),
            blocked: RefCell::default(),
            lock_limit: Cell::new(None),
            session_lock_limit: RefCell::default(),
            no_wait: Cell::new(false),
            pipeline: Cell::new(None),
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

    /// Returns the first column of the first row of statements that run before the connection is used.
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
        self.state.get() == ServerTransaction::Idle
    }

    pub(super) fn executor(&self) -> &Executor {
        &self.executor
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    /// Runs the future, and sends the statements that must precede a statement of this text along with it.
    pub(super) fn with_due_statements<'c, O: Send>(
        &'c self,
        text: &Text,
        work: impl Future<Output = Result<O, tokio_postgres::Error>> + Send + 'c,
    ) -> impl Future<Output = Result<O, tokio_postgres::Error>> + Send + 'c {
        let mut looks = matches!(self.state.get(), ServerTransaction::Wanted(_));
        let ahead = match self.state.get() {
            ServerTransaction::Idle
            | ServerTransaction::Broken
            | ServerTransaction::Open(TransactionMode::Read, _) => None,
            ServerTransaction::Wanted(transaction) => {
                self.state.set(ServerTransaction::First(transaction));
                let begin = match transaction {
                    TransactionMode::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                    TransactionMode::Write => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
                };
                let limit = match transaction {
                    TransactionMode::Read => String::new(),
                    TransactionMode::Write => self.lock_limit_to_set(),
                };
                Some(format!("{begin}{}; {limit}", self.begins_with()))
            }
            ServerTransaction::First(transaction) => {
                self.state.set(ServerTransaction::Open(transaction, true));
                Some(format!("{}SAVEPOINT {GUARD}", self.lock_limit_to_set()))
            }
            ServerTransaction::Open(TransactionMode::Write, guarded) => {
                self.state.set(ServerTransaction::Open(TransactionMode::Write, true));
                let before = if guarded { format!("RELEASE SAVEPOINT {GUARD}; ") } else { String::new() };
                Some(format!("{before}{}SAVEPOINT {GUARD}", self.lock_limit_to_set()))
            }
        };
        let mut ahead: Vec<String> = ahead.into_iter().collect();
        let mut preparing = PreparingChecks::new();
        if self.in_transaction() {
            if self.no_wait.get() {
                // Inside the savepoint of the guard, which undoes it. The checks may wait for locks, too.
                ahead.push(NO_WAIT.to_owned());
            }
            let expected = self.expected.borrow();
            self.checked_before.set(self.checked_shards.get());
            let new = expected.get(self.checked_shards.replace(expected.len())..).unwrap_or_default();
            looks |= !new.is_empty();
            let writes = matches!(
                self.state.get(),
                ServerTransaction::First(TransactionMode::Write)
                    | ServerTransaction::Open(TransactionMode::Write, _)
            );
            for expected in new {
                let lock = expected.lock.as_ref().filter(|_| writes);
                ahead.extend(lock.map(|lock| self.check(lock, &mut preparing)));
                ahead.push(self.check(&expected.sql, &mut preparing));
            }
            if let Some(schema) =
                text.schema().filter(|schema| self.searched.borrow().as_ref() != Some(*schema))
            {
                ahead.push(search(schema));
                *self.searched.borrow_mut() = Some(Arc::clone(schema));
            }
        }
        let (client, is_demoted, refused, checks) =
            (&self.client, &self.is_demoted, &self.refused, &self.checks);
        let ahead = (!ahead.is_empty()).then(|| ahead.join("; "));
        async move {
            match ahead {
                None => work.await,
                Some(ahead) => {
                    let (begun, done) = join(client.batch_execute(&ahead), work).await;
                    begun.inspect_err(|error| {
                        // Only a server in recovery rejects a transaction that writes. The error's code is checked,
                        // because its message is translated.
                        if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) {
                            is_demoted.store(true, Ordering::Relaxed);
                        }
                        refused.store(looks && is_another(error), Ordering::Relaxed);
                    })?;
                    checks.are_prepared(preparing);
                    done
                }
            }
        }
    }

    /// Returns the SQL of a check. A pooler would pass prepared statements on to other clients.
    fn check(&self, sql: &str, preparing: &mut PreparingChecks) -> String {
        match self.is_pooled() {
            true => sql.to_owned(),
            false => self.checks.sql_of(sql, preparing),
        }
    }

    /// Returns a cursor name that this connection has not used yet.
    pub(super) fn name_cursor(&self) -> String {
        let number = self.cursors.replace(self.cursors.get() + 1);
        format!("sharded_cursor_{number}")
    }

    /// Returns how often the transaction was undone up to a savepoint, which ends later cursors.
    pub(super) fn undone(&self) -> u64 {
        self.undone.get()
    }

    /// Returns the statement that sets the lock limit, unless it was sent. It runs outside the savepoint of the guard,
    /// which would undo it.
    pub(super) fn lock_limit_to_set(&self) -> String {
        match self.lock_limit.get() {
            Some((limit, false)) => {
                self.lock_limit.set(Some((limit, true)));
                format!("{}; ", self.settings.limit_locks(limit, true))
            }
            _ => String::new(),
        }
    }

    /// Returns the statement that restores the limit of lock waits after statements that did not wait.
    pub(super) fn lock_limit_again(&self) -> String {
        match (self.lock_limit.get(), &*self.session_lock_limit.borrow()) {
            (Some((limit, _)), _) => self.settings.limit_locks(limit, true),
            (None, Some(limit)) => format!("SET LOCAL lock_timeout = {}", literal(limit)),
            (None, None) => self.settings.limit_locks(self.settings.busy_timeout, true),
        }
    }

    /// Makes the statements that this function sends fail at a held lock.
    pub(super) fn without_waiting<O>(&self, send: impl FnOnce() -> O) -> O {
        self.no_wait.set(true);
        let sent = send();
        self.no_wait.set(false);
        sent
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Forgets the search path: undone statements, or the application's, may have set another one.
    pub(super) fn forget_searched(&self) {
        *self.searched.borrow_mut() = None;
    }

    /// Returns the further statements at the beginning of a transaction.
    pub(super) fn begins_with(&self) -> String {
        let Settings { is_pooled, .. } = self.settings;
        match self.backend {
            _ if is_pooled => format!(
                "; SET LOCAL synchronous_commit = {}; SET LOCAL TimeZone = 'UTC'; {}",
                self.settings.synchronous_commit(),
                self.settings.limit_locks(self.settings.busy_timeout, true)
            ),
            // A pooler in transaction mode would pass settings and prepared statements on to other clients.
            Some(backend) => {
                format!(
                    "; SELECT CASE pg_backend_pid() WHEN {backend} THEN '1' ELSE '{ANOTHER_PROCESS}' END::integer"
                )
            }
            None => String::new(),
        }
    }

    /// Drops a prepared statement.
    pub(super) fn forget(&self, text: &Text) {
        self.statements.borrow_mut().remove(text);
    }

    /// Keeps a prepared statement.
    pub(super) fn keep(&self, text: Text, described: Arc<DescribedStatement>) {
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= STATEMENTS {
            statements.clear();
        }
        statements.insert(text, described);
    }
}

/// Returns the statement that resolves names without a schema in this one, until the transaction ends.
pub(super) fn search(schema: &str) -> String {
    // Temporary tables come last: unless they are listed, they are found before all others.
    format!("SET LOCAL search_path = {}, pg_temp", quoted(schema))
}
