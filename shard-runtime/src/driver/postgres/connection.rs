//! The `Connection` of PostgreSQL: transactions, statements, and the recovery after errors. Uses `server_session`,
//! `preparation`, `rows`.

use std::any::Any;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::copying::{CopyIn, CopyOut};
use super::errors::from_postgres;
use super::pipeline::{self, PostgresPipeline};
use super::preparation::Preparation;
use super::server_session::{ONE_TOO_MANY, PostgresConnection};
use super::settings::{GUARD, ROLLING_BACK, ServerTransaction};
use super::statement::PostgresStatement;
use super::text::{DescribedStatement, Text};
use crate::driver::{
    ActualColumn, ActualIndex, Connection, Durability, Expected, Interrupter, LongWaits, Pipeline, Pipelined,
    Prepared, Preparing, RowCursor, StoredRows, StoredRowsWriter, TransactionMode,
};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Namespace, Param};
use crate::value::{Value, mismatch};

impl PostgresConnection {
    pub(super) fn prepared(&self, text: &Text) -> Result<Arc<DescribedStatement>> {
        self.preparation(text)?.finish()
    }

    /// Returns a prepared statement, or the preparation of a new one.
    fn preparation(&self, text: &Text) -> Result<Preparation<'_>> {
        self.check_whole()?;
        // The protocol has two bytes for the number of parameters, and a text with more is long.
        if text.sql.len() > usize::from(u16::MAX) && text.sql.contains(ONE_TOO_MANY) {
            let message =
                format!("the statement has more parameters than the {} that PostgreSQL accepts", u16::MAX);
            return Err(Error::new(ErrorKind::TooManyValues, message));
        }
        if let Some(described) = self.statements.borrow().get(text) {
            return Ok(Preparation::known(self, Arc::clone(described)));
        }
        Ok(Preparation::new(self, text.clone()))
    }

    /// Runs a statement with the list of these tables' names. Visits its rows, each with its table's index in the list,
    /// which the first column contains.
    fn visit_tables(
        &self,
        sql: &str,
        names: &Namespace,
        tables: &[&str],
        mut visit: impl FnMut(usize, &dyn RowCursor) -> Result<()>,
    ) -> Result<()> {
        let list = tables.iter().map(|table| Value::Text(names.table(table).into())).collect();
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(&[Param::List(list)])?;
        while rows.advance()? {
            let position = match rows.value(0)? {
                Value::Integer(position) => usize::try_from(position - 1).unwrap_or_default(),
                other => return Err(mismatch("integer", &other).into()),
            };
            visit(position, &*rows)?;
        }
        Ok(())
    }
}

fn text_in(row: &dyn RowCursor, position: usize) -> Result<String> {
    match row.value(position)? {
        Value::Text(text) => Ok(text.into_owned()),
        other => Err(mismatch("text", &other).into()),
    }
}

fn is_true(row: &dyn RowCursor, position: usize) -> Result<bool> {
    Ok(row.value(position)? == Value::Boolean(true))
}

impl Connection for PostgresConnection {
    fn wait_for_locks(&self) -> Result<()> {
        match self.settings.is_pooled {
            // Each transaction sets it.
            true => Ok(()),
            false => {
                self.check_whole()?;
                let limit = self.text(&self.settings.limit_locks(self.settings.busy_timeout, false))?;
                *self.session_lock_limit.borrow_mut() = limit;
                Ok(())
            }
        }
    }

    fn begin_durable(&self) -> Result<()> {
        self.begin(TransactionMode::Write)?;
        // Other transactions may wait for this one, whose process may be stopped, or whose machine may have failed.
        self.run(
            "SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '50ms'; \
             SET LOCAL idle_in_transaction_session_timeout = '10s'",
        )
    }

    fn sync(&self) -> Result<()> {
        match self.settings.synchronous {
            Durability::Full => Ok(()),
            // A commit that waits for the disk also waits for all earlier commits, but only if it has written something.
            Durability::Normal => self.run(
                "SELECT pg_logical_emit_message(true, 'sharded', '') FROM set_config('synchronous_commit', 'on', true)",
            ),
        }
    }

    fn restore_settings_at_end(&self) {
        self.restores.set(true);
    }

    fn expect(&self, shard: &Arc<Expected>) -> Result<()> {
        let mut expected = self.expected.borrow_mut();
        match expected.iter_mut().find(|known| known.shard == shard.shard) {
            Some(known) if known.epoch < shard.epoch => *known = Arc::clone(shard),
            Some(_) => {}
            None => expected.push(Arc::clone(shard)),
        }
        Ok(())
    }

    fn prepare<'c>(&'c self, sql: &str) -> Result<Box<dyn Prepared + 'c>> {
        let text = Text::own(sql);
        let statement = self.prepared(&text)?;
        Ok(Box::new(PostgresStatement::new(self, statement, text)))
    }

    fn prepare_in<'c>(&'c self, names: &Namespace, sql: &str) -> Result<Box<dyn Prepared + 'c>> {
        let text = Text::in_schema(sql, names);
        let statement = self.prepared(&text)?;
        Ok(Box::new(PostgresStatement::new(self, statement, text)))
    }

    fn begin_to_prepare<'c>(&'c self, names: &Namespace, sql: &str) -> Preparing<'c> {
        let text = Text::in_schema(sql, names);
        let mut preparation = match self.preparation(&text) {
            Ok(preparation) => preparation,
            Err(error) => return Preparing::Done(Err(error)),
        };
        preparation.begin();
        Preparing::Begun(Box::new(move || {
            let statement = preparation.finish()?;
            Ok(Box::new(PostgresStatement::new(self, statement, text)))
        }))
    }

    fn begin_pipeline<'c>(
        &'c self,
        names: &Namespace,
        statements: Vec<Pipelined<'c>>,
    ) -> Option<Box<dyn Pipeline + 'c>> {
        // The application may have set another limit of lock waits.
        if self.restores.get() || statements.len() > pipeline::STATEMENTS || !self.in_transaction() {
            return None;
        }
        let named = |Pipelined { sql, params }| (Text::in_schema(&sql, names), params);
        let statements: Vec<_> = statements.into_iter().map(named).collect();
        self.pipeline_begins();
        let is_new = |(text, _): &(Text, _)| !self.statements.borrow().contains_key(text);
        let preparation = match statements.iter().position(is_new) {
            Some(position) => Some((position, self.preparation(&statements.get(position)?.0).ok()?)),
            None => None,
        };
        Some(Box::new(PostgresPipeline::begin(self, preparation, statements)))
    }

    fn undo_pipeline(&self) -> Result<()> {
        self.undo_last_pipeline()
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.check_whole()?;
        self.forget_searched();
        // Releasing the guard would also release a savepoint of the session inside it.
        let ahead = match self.state.get() {
            ServerTransaction::Open(TransactionMode::Write, true) => {
                self.state.set(ServerTransaction::Open(TransactionMode::Write, false));
                format!("RELEASE SAVEPOINT {GUARD}; ")
            }
            ServerTransaction::First(TransactionMode::Write) => {
                self.state.set(ServerTransaction::Open(TransactionMode::Write, false));
                String::new()
            }
            ServerTransaction::First(TransactionMode::Read) => {
                self.state.set(ServerTransaction::Open(TransactionMode::Read, true));
                format!("SAVEPOINT {GUARD}; ")
            }
            ServerTransaction::Wanted(_) => {
                let begun = self.executor.wait(self.with_due_statements(&Text::own(""), async { Ok(()) }));
                begun.map_err(|error| self.failed(from_postgres(error)))?;
                return self.run(sql);
            }
            ServerTransaction::Idle | ServerTransaction::Broken | ServerTransaction::Open(..) => {
                String::new()
            }
        };
        let sql = format!("{ahead}{sql}");
        match self.executor.wait_until(self.deadline.get(), self.client.batch_execute(&sql)) {
            Ok(done) => done.map_err(|error| self.failed(from_postgres(error))),
            Err(stopped) => {
                // It is unknown how far the server has come.
                self.state.set(ServerTransaction::Broken);
                Err(stopped)
            }
        }
    }

    fn lock(&self, sql: &str) -> Result<()> {
        self.check_whole()?;
        // The savepoint of the guard comes first: a refused lock would abort the whole transaction.
        let mut locking = pin!(self.with_due_statements(&Text::own(""), self.client.batch_execute(sql)));
        match self.executor.wait_until(self.deadline.get(), locking.as_mut()) {
            Ok(done) => done.map_err(|error| self.failed(from_postgres(error))),
            Err(stopped) => {
                // Earlier writes of the transaction survive.
                self.stop_statement(locking);
                Err(stopped)
            }
        }
    }

    fn copy_out<'c>(&'c self, sql: &str) -> Result<Option<Box<dyn StoredRows + 'c>>> {
        // The client prepares it under a name, which a pooler would pass on to other clients.
        if self.is_pooled() {
            return Ok(None);
        }
        self.check_whole()?;
        CopyOut::begin(self, sql).map(|rows| Some(Box::new(rows) as Box<dyn StoredRows + 'c>))
    }

    fn copy_in<'c>(&'c self, sql: &str) -> Result<Option<Box<dyn StoredRowsWriter + 'c>>> {
        if self.is_pooled() {
            return Ok(None);
        }
        self.check_whole()?;
        CopyIn::begin(self, sql).map(|rows| Some(Box::new(rows) as Box<dyn StoredRowsWriter + 'c>))
    }

    fn begin(&self, transaction: TransactionMode) -> Result<()> {
        match self.state.get() {
            ServerTransaction::Idle => {
                self.expected.borrow_mut().clear();
                self.checked_shards.set(0);
                self.forget_searched();
                self.lock_limit.set(None);
                self.state.set(ServerTransaction::Wanted(transaction));
                // A statement that only reads does not wait for locks of transactions.
                if transaction == TransactionMode::Write {
                    self.executor.when_blocked(self.blocked.borrow().clone());
                }
                Ok(())
            }
            // The connection was lost after it was checked out.
            ServerTransaction::Broken => self.check_whole(),
            state => {
                let message = format!("cannot begin a transaction: the connection is {state:?}");
                Err(Error::new(ErrorKind::Database, message))
            }
        }
    }

    fn limit_lock_waits(&self, limit: Duration) {
        if self.lock_limit.get().is_none() {
            self.lock_limit.set(Some((limit, false)));
        }
    }

    fn lock_for_retry(&self, key: &str) -> Result<()> {
        let key = key.replace('\'', "''");
        self.lock(&format!("SELECT pg_advisory_xact_lock(hashtextextended('sharded retry {key}', 0))"))
    }

    fn commit(&self) -> Result<()> {
        self.executor.when_blocked(None);
        match self.state.get() {
            ServerTransaction::Idle | ServerTransaction::Wanted(_) => self.state.set(ServerTransaction::Idle),
            ServerTransaction::First(TransactionMode::Write)
            | ServerTransaction::Open(TransactionMode::Write, _)
            | ServerTransaction::Broken => {
                return self.end("COMMIT");
            }
            // The end of a transaction that only read needs no wait.
            ServerTransaction::First(TransactionMode::Read)
            | ServerTransaction::Open(TransactionMode::Read, _) => {
                self.state.set(ServerTransaction::Idle);
                self.forget_types();
                let ends: Vec<String> = self.restoring().into_iter().chain(["COMMIT".to_owned()]).collect();
                let _ = self.executor.begin(pin!(self.client.batch_execute(&ends.join("; "))));
            }
        }
        Ok(())
    }

    fn prepare_commit(&self, name: &str) -> Result<()> {
        self.executor.when_blocked(None);
        if let ServerTransaction::Wanted(_) = self.state.get() {
            self.run("")?;
        }
        self.end(&format!("PREPARE TRANSACTION '{name}'")).map_err(|error| match error.kind() {
            // Recovery rolls back a prepared transaction without a decision, so that the outcome is not in doubt.
            ErrorKind::InDoubt => Error::new(ErrorKind::ConnectionLost, error.to_string()).with_source(error),
            _ => error,
        })
    }

    /// PostgreSQL checks deferred constraints when the transaction is prepared or committed.
    fn check_constraints(&self) -> Result<()> {
        Ok(())
    }

    fn rollback(&self) -> Result<()> {
        self.executor.when_blocked(None);
        self.forget_types();
        match self.state.replace(ServerTransaction::Idle) {
            ServerTransaction::Idle | ServerTransaction::Wanted(_) => Ok(()),
            ServerTransaction::First(TransactionMode::Read)
            | ServerTransaction::Open(TransactionMode::Read, _) => {
                let _ = self.executor.begin(pin!(self.client.batch_execute(&self.rolling_back())));
                Ok(())
            }
            ServerTransaction::First(TransactionMode::Write)
            | ServerTransaction::Open(TransactionMode::Write, _) => {
                let undone = self.run_within(ROLLING_BACK, &self.rolling_back());
                undone.inspect_err(|_| self.state.set(ServerTransaction::Broken))
            }
            ServerTransaction::Broken => {
                self.state.set(ServerTransaction::Broken);
                Ok(())
            }
        }
    }

    fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
        self.executor.clear_stop();
    }

    fn interrupter(&self) -> Interrupter {
        let stop = Arc::clone(self.executor.stop());
        Box::new(move || stop.cancel())
    }

    fn when_blocked(&self, blocked: LongWaits) {
        *self.blocked.borrow_mut() = Some(blocked);
    }

    fn server_process(&self) -> Option<i32> {
        self.backend
    }

    /// Waiting for a server wakes no thread.
    fn is_large(&self) -> bool {
        false
    }

    fn in_transaction(&self) -> bool {
        matches!(
            self.state.get(),
            ServerTransaction::Wanted(_) | ServerTransaction::First(_) | ServerTransaction::Open(..)
        ) && !self.client.is_closed()
    }

    fn is_usable(&self) -> bool {
        if self.state.get() == ServerTransaction::Broken {
            return false;
        }
        self.read_messages();
        !self.client.is_closed()
    }

    fn has_lost_its_server(&self) -> bool {
        self.state.get() == ServerTransaction::Broken || self.client.is_closed()
    }

    fn columns_of(&self, names: &Namespace, tables: &[&str]) -> Result<Vec<Vec<ActualColumn>>> {
        let sql = "\
            SELECT asked.position, a.attname::text, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, \
                a.atthasdef OR a.attidentity <> '', \
                EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary \
                    AND a.attnum = ANY (i.indkey)), \
                CASE WHEN l.collname = 'default' THEN d.datcollate ELSE coalesce(l.collname, '')::text END, \
                coalesce(l.collisdeterministic, true) \
            FROM unnest($1::text[]) WITH ORDINALITY AS asked (name, position) \
                JOIN pg_attribute a ON a.attrelid = to_regclass(asked.name) \
                LEFT JOIN pg_collation l ON l.oid = a.attcollation, pg_database d \
            WHERE a.attnum > 0 AND NOT a.attisdropped AND d.datname = current_database() \
            ORDER BY asked.position, a.attnum";
        let mut columns: Vec<Vec<ActualColumn>> = tables.iter().map(|_| Vec::new()).collect();
        self.visit_tables(sql, names, tables, |position, row| {
            columns[position].push(ActualColumn {
                name: text_in(row, 1)?,
                sql_type: without_quotes(text_in(row, 2)?),
                nullable: is_true(row, 3)?,
                has_default: is_true(row, 4)?,
                is_primary_key: is_true(row, 5)?,
                collation: text_in(row, 6)?,
                compares_bytes: is_true(row, 7)?,
            });
            Ok(())
        })?;
        Ok(columns)
    }

    fn exists(&self, names: &Namespace, table: &str) -> Result<bool> {
        let mut statement = self.prepare("SELECT to_regclass($1::text) IS NOT NULL")?;
        let mut rows = statement.query(&[Param::Value(Value::Text(names.table(table).into()))])?;
        let exists = rows.advance()? && is_true(&*rows, 0)?;
        while rows.advance()? {}
        Ok(exists)
    }

    fn indexes_of(&self, names: &Namespace, tables: &[&str]) -> Result<Vec<Vec<ActualIndex>>> {
        // `ON CONFLICT` uses no deferrable index.
        let sql = "\
            SELECT asked.position, c.relname::text, i.indisunique AND i.indimmediate, a.attname::text \
            FROM unnest($1::text[]) WITH ORDINALITY AS asked (name, position) \
                JOIN pg_index i ON i.indrelid = to_regclass(asked.name) \
                JOIN pg_class c ON c.oid = i.indexrelid \
                CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS key (attnum, position) \
                JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = key.attnum \
            WHERE i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND key.position <= i.indnkeyatts \
            ORDER BY asked.position, c.relname, key.position";
        let mut indexes: Vec<Vec<ActualIndex>> = tables.iter().map(|_| Vec::new()).collect();
        self.visit_tables(sql, names, tables, |position, row| {
            let (name, is_unique, column) = (text_in(row, 1)?, is_true(row, 2)?, text_in(row, 3)?);
            let indexes = &mut indexes[position];
            match indexes.last_mut().filter(|last| last.name == name) {
                Some(last) => last.columns.push(column),
                None => indexes.push(ActualIndex { name, columns: vec![column], is_unique }),
            }
            Ok(())
        })?;
        Ok(indexes)
    }

    fn native(&self) -> &dyn Any {
        &self.client
    }
}

/// Returns the name of a type without the quotes that `format_type` adds under `quote_all_identifiers`.
fn without_quotes(name: String) -> String {
    let inner = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    let is_plain =
        |inner: &&str| inner.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    inner.filter(is_plain).map(str::to_owned).unwrap_or(name)
}
