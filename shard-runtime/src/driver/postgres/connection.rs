//! One connection: its transaction, its statements, and how it is brought back to order after an error.

use std::any::Any;
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
use tokio_postgres::{Client, Statement};

use super::encryption::Encryptor;
use super::errors::{demoted, from_postgres};
use super::executor::{Blocked, Executor};
use super::hosts::{Hosts, Route};
use super::preparation::Preparation;
use super::statement::PostgresStatement;
use crate::driver::{
    ActualColumn, Connection, Cursor, Interrupter, Mode, Prepared, Preparing, Synchronous, Transaction,
};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::{Param, quoted};
use crate::value::{Value, mismatch};

/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 256;

/// The first parameter that a statement may not have.
const ONE_TOO_MANY: &str = "$65536";

/// How long a statement whose rows are not read any more may run on before it is cancelled: about the time that cancelling
/// costs.
const RUNNING_OUT: Duration = Duration::from_millis(3);

/// How long stopping a statement may take, and the server's answer to the request, if the deadline of the caller is over
/// already.
const STOPPING_LATE: Duration = Duration::from_secs(1);
const ANSWERING_LATE: Duration = Duration::from_millis(500);

/// How long stopping a statement may take otherwise. A connection whose statement is not stopped by then is closed.
const STOPPING: Duration = Duration::from_secs(10);

/// How long a server may take to roll a transaction back. One that takes longer does not answer: closing the connection
/// rolls back, too.
const ROLLING_BACK: Duration = Duration::from_secs(1);

/// Said before a transaction is ended: fails where a statement of it has failed. PostgreSQL itself would roll back then,
/// and answer that it has done so, which is no error.
pub(super) const IS_WHOLE: &str = "SELECT";

/// The savepoint before each statement of a transaction that writes, and before the second of one that reads, whose
/// snapshot stays: without it PostgreSQL would give up the whole transaction for one statement. The first statement needs
/// none: there is nothing before it, and where it fails the transaction begins anew.
const GUARD: &str = "sharded_guard";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No transaction.
    Idle,
    /// One is wanted, and begins along with its first statement.
    Wanted(Transaction),
    /// One is under way, and so is, or was, its first statement.
    First(Transaction),
    /// One is under way, with the guard's savepoint or without.
    Open(Transaction, bool),
    /// Nobody knows how the connection stands.
    Broken,
}

pub(super) struct PostgresConnection {
    // Dropped before the event loop that its requests need.
    client: Client,
    executor: Executor,
    encryptor: Encryptor,
    /// Where a cancel request has to go.
    route: Route,
    /// Whether the server has refused to begin a transaction that writes.
    is_demoted: Arc<AtomicBool>,
    statements: RefCell<HashMap<String, Statement>>,
    state: Cell<State>,
    deadline: Cell<Option<Instant>>,
    busy_timeout: Duration,
    /// What is called while a transaction that writes is blocked.
    blocked: RefCell<Option<Blocked>>,
}

impl PostgresConnection {
    pub(super) fn connect(
        hosts: &Hosts,
        encryptor: &Encryptor,
        end: Instant,
        busy_timeout: Duration,
    ) -> Result<Self> {
        let executor = Executor::new()?;
        let (client, route) = executor.wait(hosts.connect(encryptor, end))?;
        Ok(PostgresConnection {
            client,
            executor,
            encryptor: encryptor.clone(),
            route,
            is_demoted: Arc::default(),
            statements: RefCell::default(),
            state: Cell::new(State::Idle),
            deadline: Cell::new(None),
            busy_timeout,
            blocked: RefCell::default(),
        })
    }

    /// Sets what a connection needs; makes the schema where it is wanted.
    pub(super) fn settle(&self, schema: Option<&str>, synchronous: Synchronous, mode: Mode) -> Result<()> {
        let level = match synchronous {
            Synchronous::Full => "on",
            Synchronous::Normal => "off",
        };
        let sql = format!(
            "SET synchronous_commit = {level}; SET client_min_messages = warning; SET extra_float_digits = 1"
        );
        self.run(&sql)?;
        let Some(schema) = schema else { return Ok(()) };
        let sql = "SELECT nspname::text FROM pg_namespace WHERE nspname = $1";
        let mut known = self.texts(sql, schema)?;
        if known.is_empty() && mode == Mode::Create {
            // It takes a privilege on the database, also if the schema is there already. `IF NOT EXISTS` does not wait for
            // others that make the same schema; statements that are sent together are one transaction.
            self.run(&format!(
                "SELECT pg_advisory_xact_lock(hashtextextended('sharded schemas', 0)); \
                 CREATE SCHEMA IF NOT EXISTS {}",
                quoted(schema)
            ))?;
            known = self.texts(sql, schema)?;
        }
        self.run(&format!("SET search_path = {}", quoted(schema)))?;
        match known.is_empty() {
            false => Ok(()),
            true => {
                let said = format!("there is no schema `{schema}` in the database");
                Err(Error::new(ErrorKind::Missing, said))
            }
        }
    }

    pub(super) fn executor(&self) -> &Executor {
        &self.executor
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    /// The same work, with what has to be said before a statement sent along with it.
    pub(super) fn after_what_is_due<'c, O: Send>(
        &'c self,
        work: impl Future<Output = Result<O, tokio_postgres::Error>> + Send + 'c,
    ) -> impl Future<Output = Result<O, tokio_postgres::Error>> + Send + 'c {
        let ahead = match self.state.get() {
            State::Idle | State::Broken | State::Open(Transaction::Read, _) => None,
            State::Wanted(transaction) => {
                self.state.set(State::First(transaction));
                Some(match transaction {
                    Transaction::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned(),
                    Transaction::Write => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE".to_owned(),
                })
            }
            State::First(transaction) => {
                self.state.set(State::Open(transaction, true));
                Some(format!("SAVEPOINT {GUARD}"))
            }
            State::Open(Transaction::Write, guarded) => {
                self.state.set(State::Open(Transaction::Write, true));
                let before = if guarded { format!("RELEASE SAVEPOINT {GUARD}; ") } else { String::new() };
                Some(format!("{before}SAVEPOINT {GUARD}"))
            }
        };
        let (client, is_demoted) = (&self.client, &self.is_demoted);
        async move {
            match ahead {
                None => work.await,
                Some(ahead) => {
                    let (begun, done) = join(client.batch_execute(&ahead), work).await;
                    begun.inspect_err(|error| {
                        // Only a server in recovery does not know transactions that write. Its message is translated.
                        if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) {
                            is_demoted.store(true, Ordering::Relaxed);
                        }
                    })?;
                    done
                }
            }
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Brings the transaction back to where it was before a statement that has failed, and returns its error. A connection
    /// whose server is gone or has become a standby is broken.
    pub(super) fn failed(&self, error: Error) -> Error {
        let error = self.noticed(error);
        let done = match self.state.get() {
            State::Broken => return error,
            _ if self.client.is_closed() => Err(()),
            State::Idle | State::Wanted(_) => Ok(()),
            State::First(transaction) => {
                self.say("ROLLBACK").inspect(|()| self.state.set(State::Wanted(transaction)))
            }
            State::Open(_, true) => self.say(&format!("ROLLBACK TO SAVEPOINT {GUARD}")),
            State::Open(_, false) => Err(()),
        };
        if done.is_err() {
            self.state.set(State::Broken);
        }
        error
    }

    /// Breaks the connection if an error says that its server is gone, or does not take writes any more; returns the error.
    fn noticed(&self, error: Error) -> Error {
        let only_reads =
            matches!(self.state.get(), State::First(Transaction::Read) | State::Open(Transaction::Read, _));
        let error = match error.kind() {
            _ if self.is_demoted.swap(false, Ordering::Relaxed) => demoted(error),
            // In a transaction that reads it is the statement that is at fault.
            ErrorKind::ReadOnly if !only_reads => demoted(error),
            ErrorKind::ConnectionLost => error,
            _ => return error,
        };
        self.state.set(State::Broken);
        error
    }

    /// Ends the transaction with its effects, now or later. What is lost before its answer has come may have been done.
    fn end(&self, sql: &str) -> Result<()> {
        // What was lost before it was asked for is no doubt.
        self.hear();
        self.check_whole()?;
        let ended = self.executor.wait(self.client.batch_execute(&format!("{IS_WHOLE}; {sql}")));
        self.state.set(State::Idle);
        let Err(error) = ended.map_err(from_postgres) else { return Ok(()) };
        let error = self.noticed(error);
        if error.kind() == ErrorKind::ConnectionLost {
            let said = format!("the connection was lost before the server had answered: {error}");
            return Err(Error::new(ErrorKind::InDoubt, said).with_source(error));
        }
        if self.state.get() != State::Broken && self.say("ROLLBACK").is_err() {
            self.state.set(State::Broken);
        }
        Err(error)
    }

    /// Nothing is done any more on a connection whose transaction is lost.
    fn check_whole(&self) -> Result<()> {
        if self.state.get() != State::Broken && !self.client.is_closed() {
            return Ok(());
        }
        self.state.set(State::Broken);
        Err(Error::new(ErrorKind::ConnectionLost, "the connection to the server was lost"))
    }

    /// Hears what the server has said meanwhile, which may be that it is gone.
    fn hear(&self) {
        self.executor.wait(async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Runs a statement that every server answers at once. One that does not is given up.
    fn say(&self, sql: &str) -> Result<(), ()> {
        self.say_within(STOPPING, sql).map_err(drop)
    }

    fn say_within(&self, time: Duration, sql: &str) -> Result<()> {
        let client = &self.client;
        match self.executor.wait(async move { timeout(time, client.batch_execute(sql)).await }) {
            Ok(done) => done.map_err(from_postgres),
            Err(_) => {
                let said =
                    format!("the server did not answer {sql} within {time:?}; the connection is closed");
                Err(Error::new(ErrorKind::ConnectionLost, said))
            }
        }
    }

    /// Ends a statement that is under way and whose answer is not wanted any more: `rest` waits for its end. A connection
    /// on which that takes too long is broken, and is closed without waiting for its server.
    pub(super) fn give_up(&self, rest: impl Future<Output = Result<(), tokio_postgres::Error>> + Send) {
        let is_late = self.deadline.get().is_some_and(|deadline| deadline <= Instant::now());
        if is_late && self.state.get() == State::Idle {
            // There is no transaction that a wait could save.
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
                    // The request may arrive at any time, and stop another statement then.
                    Ok(Err(_)) | Err(_) => Err(()),
                }
            };
            // At once: a server that sends rows takes no notice of the request before they are read.
            let both = try_join(cancelling, async { Ok(rest.await) });
            match timeout(stopping, both).await {
                Ok(Ok(((), ended))) => Some(ended),
                Ok(Err(())) | Err(_) => None,
            }
        });
        match ended {
            Some(Ok(())) => {}
            Some(Err(error)) => drop(self.failed(from_postgres(error))),
            None => self.state.set(State::Broken),
        }
    }

    /// What is prepared of a statement is of no use any more.
    pub(super) fn forget(&self, sql: &str) {
        self.statements.borrow_mut().remove(sql);
    }

    pub(super) fn prepared(&self, sql: &str) -> Result<Statement> {
        self.preparation(sql)?.finish()
    }

    /// A statement that is prepared, or is to be.
    fn preparation(&self, sql: &str) -> Result<Preparation<'_>> {
        self.check_whole()?;
        // The protocol has two bytes for their number, and a text with more is long.
        if sql.len() > usize::from(u16::MAX) && sql.contains(ONE_TOO_MANY) {
            let said =
                format!("the statement has more parameters than the {} that PostgreSQL takes", u16::MAX);
            return Err(Error::new(ErrorKind::TooManyValues, said));
        }
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(Preparation::known(self, statement.clone()));
        }
        Ok(Preparation::new(self, sql))
    }

    /// Keeps a statement that is prepared.
    pub(super) fn keep(&self, sql: String, statement: Statement) {
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= STATEMENTS {
            statements.clear();
        }
        statements.insert(sql, statement);
    }

    /// The first column of the rows that a statement with one text finds.
    fn texts(&self, sql: &str, text: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        self.visit(sql, text, |row| {
            found.push(text_in(row, 0)?);
            Ok(())
        })?;
        Ok(found)
    }

    fn visit(&self, sql: &str, text: &str, mut visit: impl FnMut(&dyn Cursor) -> Result<()>) -> Result<()> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(&[Param::Value(Value::Text(text.into()))])?;
        while rows.advance()? {
            visit(&*rows)?;
        }
        Ok(())
    }
}

fn text_in(row: &dyn Cursor, place: usize) -> Result<String> {
    match row.value(place)? {
        Value::Text(text) => Ok(text.into_owned()),
        other => Err(mismatch("text", &other).into()),
    }
}

fn is_true(row: &dyn Cursor, place: usize) -> Result<bool> {
    Ok(row.value(place)? == Value::Boolean(true))
}

impl Connection for PostgresConnection {
    fn wait_for_locks(&self) -> Result<()> {
        // None at all would be for ever.
        let milliseconds = self.busy_timeout.as_millis().max(1);
        self.run(&format!("SET lock_timeout = {milliseconds}"))
    }

    fn prepare<'c>(&'c self, sql: &str) -> Result<Box<dyn Prepared + 'c>> {
        let statement = self.prepared(sql)?;
        Ok(Box::new(PostgresStatement::new(self, statement, sql)))
    }

    fn begin_to_prepare<'c>(&'c self, sql: &str) -> Preparing<'c> {
        let mut preparation = match self.preparation(sql) {
            Ok(preparation) => preparation,
            Err(error) => return Preparing::Done(Err(error)),
        };
        preparation.begin();
        let sql = sql.to_owned();
        Preparing::Begun(Box::new(move || {
            let statement = preparation.finish()?;
            Ok(Box::new(PostgresStatement::new(self, statement, &sql)))
        }))
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.check_whole()?;
        // A savepoint of the session's would be gone along with a guard around it.
        let ahead = match self.state.get() {
            State::Open(Transaction::Write, true) => {
                self.state.set(State::Open(Transaction::Write, false));
                format!("RELEASE SAVEPOINT {GUARD}; ")
            }
            State::First(Transaction::Write) => {
                self.state.set(State::Open(Transaction::Write, false));
                String::new()
            }
            State::First(Transaction::Read) => {
                self.state.set(State::Open(Transaction::Read, true));
                format!("SAVEPOINT {GUARD}; ")
            }
            State::Wanted(_) => {
                let begun = self.executor.wait(self.after_what_is_due(async { Ok(()) }));
                begun.map_err(|error| self.failed(from_postgres(error)))?;
                return self.run(sql);
            }
            State::Idle | State::Broken | State::Open(..) => String::new(),
        };
        let sql = format!("{ahead}{sql}");
        match self.executor.wait_until(self.deadline.get(), self.client.batch_execute(&sql)) {
            Ok(done) => done.map_err(|error| self.failed(from_postgres(error))),
            Err(stopped) => {
                // How far the server has come is not known.
                self.state.set(State::Broken);
                Err(stopped)
            }
        }
    }

    fn begin(&self, transaction: Transaction) -> Result<()> {
        match self.state.get() {
            State::Idle => {
                self.state.set(State::Wanted(transaction));
                // A statement that only reads waits for no lock of a transaction.
                if transaction == Transaction::Write {
                    self.executor.when_blocked(self.blocked.borrow().clone());
                }
                Ok(())
            }
            // It was lost after it was taken from the pool.
            State::Broken => self.check_whole(),
            state => {
                let said = format!("a transaction is begun, and the connection is {state:?}");
                Err(Error::new(ErrorKind::Database, said))
            }
        }
    }

    fn commit(&self) -> Result<()> {
        self.executor.when_blocked(None);
        match self.state.get() {
            State::Idle | State::Wanted(_) => self.state.set(State::Idle),
            State::First(Transaction::Write) | State::Open(Transaction::Write, _) | State::Broken => {
                return self.end("COMMIT");
            }
            // Nobody has to wait for the end of what was only read.
            State::First(Transaction::Read) | State::Open(Transaction::Read, _) => {
                self.state.set(State::Idle);
                let _ = self.executor.begin(pin!(self.client.batch_execute("COMMIT")));
            }
        }
        Ok(())
    }

    fn prepare_commit(&self, name: &str) -> Result<()> {
        self.executor.when_blocked(None);
        if let State::Wanted(_) = self.state.get() {
            self.run("")?;
        }
        self.end(&format!("PREPARE TRANSACTION '{name}'")).map_err(|error| match error.kind() {
            // It decides nothing: whoever finds it prepared rolls it back.
            ErrorKind::InDoubt => Error::new(ErrorKind::ConnectionLost, error.to_string()).with_source(error),
            _ => error,
        })
    }

    /// What was deferred is looked at when the transaction is prepared, or committed.
    fn check_constraints(&self) -> Result<()> {
        Ok(())
    }

    fn rollback(&self) -> Result<()> {
        self.executor.when_blocked(None);
        match self.state.replace(State::Idle) {
            State::Idle | State::Wanted(_) => Ok(()),
            State::First(Transaction::Read) | State::Open(Transaction::Read, _) => {
                let _ = self.executor.begin(pin!(self.client.batch_execute("ROLLBACK")));
                Ok(())
            }
            State::First(Transaction::Write) | State::Open(Transaction::Write, _) => {
                let undone = self.say_within(ROLLING_BACK, "ROLLBACK");
                undone.inspect_err(|_| self.state.set(State::Broken))
            }
            State::Broken => {
                self.state.set(State::Broken);
                Ok(())
            }
        }
    }

    fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
        self.executor.go_on();
    }

    fn interrupter(&self) -> Interrupter {
        let stop = Arc::clone(self.executor.stop());
        Box::new(move || stop.ask())
    }

    fn when_blocked(&self, blocked: Arc<dyn Fn() + Send + Sync>) {
        *self.blocked.borrow_mut() = Some(blocked);
    }

    /// Nobody has to wake a thread to wait for a server.
    fn is_large(&self) -> bool {
        false
    }

    fn in_transaction(&self) -> bool {
        matches!(self.state.get(), State::Wanted(_) | State::First(_) | State::Open(..))
            && !self.client.is_closed()
    }

    fn is_usable(&self) -> bool {
        if self.state.get() == State::Broken {
            return false;
        }
        self.hear();
        !self.client.is_closed()
    }

    fn has_lost_its_server(&self) -> bool {
        self.state.get() == State::Broken || self.client.is_closed()
    }

    fn columns(&self, table: &str) -> Result<Vec<ActualColumn>> {
        let sql = "\
            SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, \
                a.atthasdef OR a.attidentity <> '', \
                EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary \
                    AND a.attnum = ANY (i.indkey)), \
                CASE WHEN l.collname = 'default' THEN d.datcollate ELSE coalesce(l.collname, '')::text END \
            FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation, pg_database d \
            WHERE a.attrelid = to_regclass(quote_ident($1)) AND a.attnum > 0 AND NOT a.attisdropped \
                AND d.datname = current_database() \
            ORDER BY a.attnum";
        let mut columns = Vec::new();
        self.visit(sql, table, |row| {
            columns.push(ActualColumn {
                name: text_in(row, 0)?,
                sql_type: text_in(row, 1)?,
                nullable: is_true(row, 2)?,
                has_default: is_true(row, 3)?,
                is_primary_key: is_true(row, 4)?,
                collation: text_in(row, 5)?,
            });
            Ok(())
        })?;
        Ok(columns)
    }

    fn indexes(&self, table: &str) -> Result<Vec<(String, bool)>> {
        let sql = "\
            SELECT c.relname::text, i.indisunique FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
            WHERE i.indrelid = to_regclass(quote_ident($1)) AND i.indisvalid";
        let mut indexes = Vec::new();
        self.visit(sql, table, |row| {
            indexes.push((text_in(row, 0)?, is_true(row, 1)?));
            Ok(())
        })?;
        Ok(indexes)
    }

    fn native(&self) -> &dyn Any {
        &self.client
    }
}
