//! The decision log in the control database: writes, reads and removes its records. Uses `driver` and `redo`.
//!
//! No function here waits for control's lock, because other sessions wait for the end of each call. A call that fails
//! with `Busy` has had no effect, and the caller retries it.

use super::redo::{Redo, Runs, stored};
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Param;
use crate::value::{Value, mismatch};

/// Creates the records' tables. There is at most one record for a database in one version: only one transaction has that
/// `base`. `sharded_settled` counts the transactions that write nothing else.
pub(crate) const MAKE: &str = "\
    CREATE TABLE IF NOT EXISTS sharded_redo (unit TEXT NOT NULL, shard TEXT NOT NULL, base INTEGER NOT NULL, \
    seq INTEGER NOT NULL, sql TEXT NOT NULL, runs BLOB NOT NULL, UNIQUE (shard, base, seq)) STRICT; \
    CREATE TABLE IF NOT EXISTS sharded_prepared (unit TEXT NOT NULL, shard TEXT NOT NULL, PRIMARY KEY (unit, shard)) \
    STRICT, WITHOUT ROWID; \
    CREATE TABLE IF NOT EXISTS sharded_settled (times INTEGER NOT NULL) STRICT; \
    INSERT INTO sharded_settled SELECT 0 WHERE NOT EXISTS (SELECT * FROM sharded_settled)";

/// The table of the facts that control records about databases, and the kind of a fact that is a database's version.
pub(crate) const STATE: &str = "sharded_state";
pub(crate) const STATE_VERSION: &str = "version";

/// The part of a global transaction on one file.
pub(crate) struct Participant<'u> {
    /// The name of the database, which is its first shard's.
    pub(crate) database: &'u str,
    /// The version that the database had before the transaction.
    pub(crate) base: i64,
    pub(crate) redo: &'u Redo,
}

/// The reason why a transaction could not be decided.
#[derive(Debug)]
pub(crate) enum DecisionError {
    /// It is aborted.
    Aborted(Error),
    /// Neither the decision nor its rollback could be made durable.
    InDoubt(Error),
}

impl DecisionError {
    /// Returns whether another connection has locked control.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, DecisionError::Aborted(error) if error.kind() == ErrorKind::Busy)
    }
}

/// The key of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) transaction: String,
    pub(crate) database: String,
    pub(crate) base: i64,
}

/// The records as they were last read from the control database. They are current until another connection writes it.
#[derive(Default)]
pub(crate) struct Decisions {
    /// The `PRAGMA data_version` at the last read. It changes when another connection commits.
    seen: Option<i64>,
    records: Vec<Record>,
    /// Transactions of this process that every file has committed. The next decision removes their records.
    finished: Vec<String>,
    /// The transaction whose outcome is unknown.
    in_doubt: Option<String>,
    /// Whether each decision also records the new version of its databases, so that an older copy of one is noticed.
    /// False if commits do not wait for the disk: a power loss may then lose a database's last commits.
    pub(crate) records_versions: bool,
}

impl Decisions {
    /// Returns the records. Reads them again if another connection may have changed them.
    pub(crate) fn records(&mut self, control: &dyn Connection) -> Result<&[Record]> {
        let now = integer(control, "PRAGMA data_version", &[])?;
        if self.seen != Some(now) {
            let mut statement = control.prepare("SELECT DISTINCT unit, shard, base FROM sharded_redo")?;
            let mut rows = statement.query(&[])?;
            self.records.clear();
            while rows.advance()? {
                let (transaction, database) = (text(rows.value(0)?)?, text(rows.value(1)?)?);
                self.records.push(Record { transaction, database, base: whole(rows.value(2)?)? });
            }
            self.finished
                .retain(|transaction| self.records.iter().any(|record| record.transaction == *transaction));
            self.seen = Some(now);
        }
        Ok(&self.records)
    }

    /// Returns whether a global transaction has a record, which means that it is decided.
    pub(crate) fn is_recorded(&mut self, control: &dyn Connection, transaction: &str) -> Result<bool> {
        Ok(self.records(control)?.iter().any(|record| record.transaction == transaction))
    }

    /// Returns the transaction of this process whose outcome is unknown.
    pub(crate) fn in_doubt(&self) -> Option<&str> {
        self.in_doubt.as_deref()
    }

    /// Makes all that was read from the control database durable, by a commit after it.
    pub(crate) fn sync(&self, control: &dyn Connection) -> Result<()> {
        overwrite_log_end(control)
    }

    /// Returns whether a record may have to be applied to this database. The caller has locked the database for writing.
    /// After `Busy` it calls again with the same `unread`, which is `None` at first.
    ///
    /// # Errors
    /// - Those of the control database.
    /// - Those of resolving a transaction in doubt, whose record may exist and not be readable.
    pub(crate) fn decisions_for(
        &mut self,
        control: &dyn Connection,
        database: &str,
        unread: &mut Option<u64>,
    ) -> Result<bool> {
        self.resolve_in_doubt_first(control)?;
        overwrite_unread(control, unread)?;
        self.records(control)?;
        let is_open =
            |record: &Record| record.database == database && !self.finished.contains(&record.transaction);
        Ok(self.records.iter().any(is_open))
    }

    /// Makes sure that there are no records beyond those that can be read: a decision that was left in the log might be
    /// applied later. See [`overwrite_unread`]. The caller needs no lock: a decision whose owner is alive is read, or
    /// makes this fail with `Busy`.
    pub(crate) fn overwrite_unread(&self, control: &dyn Connection, unread: &mut Option<u64>) -> Result<()> {
        overwrite_unread(control, unread)
    }

    /// Returns the servers on which a decided transaction has parts that are not known to be finished.
    pub(crate) fn servers(&self, control: &dyn Connection, transaction: &str) -> Result<Vec<String>> {
        let mut statement = control.prepare("SELECT shard FROM sharded_prepared WHERE unit = ?1")?;
        let mut rows = statement.query(&[Param::Value(Value::Text(transaction.into()))])?;
        let mut servers = Vec::new();
        while rows.advance()? {
            servers.push(text(rows.value(0)?)?);
        }
        Ok(servers)
    }

    /// Runs the statements of a database's records in order, from a version on. Returns the version that the database has
    /// after them.
    ///
    /// # Errors
    /// [`ErrorKind::WrongDatabase`] if a record in between is missing: the database is older than its cluster.
    pub(crate) fn redo(
        &self,
        control: &dyn Connection,
        database: &str,
        version: i64,
        mut run: impl FnMut(&str, &[Param<'_>]) -> Result<()>,
    ) -> Result<i64> {
        let mut statement = control.prepare(
            "SELECT base, sql, runs FROM sharded_redo WHERE shard = ?1 AND base >= ?2 ORDER BY base, seq",
        )?;
        let params = [Param::Value(Value::Text(database.into())), Param::Value(Value::Integer(version))];
        let mut rows = statement.query(&params)?;
        let mut reached = version;
        while rows.advance()? {
            let base = whole(rows.value(0)?)?;
            if base > reached || base + 1 < reached {
                let message = format!(
                    "the database has version {reached}, and what it missed begins at {base}: it is older than its \
                     cluster, as one is that was restored from a backup of its own"
                );
                return Err(Error::new(ErrorKind::WrongDatabase, message));
            }
            reached = base + 1;
            let sql = text(rows.value(1)?)?;
            let Value::Bytes(bytes) = rows.value(2)? else {
                return Err(Error::new(ErrorKind::Corrupt, "a decision record holds no runs"));
            };
            let mut runs = Runs::decode(&bytes);
            while let Some(params) = runs.next()? {
                run(&sql, &params)?;
            }
        }
        Ok(reached)
    }

    /// Decides a transaction. Once this has returned, recovery commits the transaction even if the process is killed. It
    /// has prepared parts on the servers in `prepared`.
    pub(crate) fn decide(
        &mut self,
        control: &dyn Connection,
        transaction: &str,
        parts: &[Participant<'_>],
        prepared: &[&str],
    ) -> Result<(), DecisionError> {
        self.resolve_in_doubt_first(control).map_err(DecisionError::Aborted)?;
        let written = control.begin_without_waiting().and_then(|()| {
            self.records(control)?; // what others have removed need not be removed
            remove(control, &self.finished)?;
            parts.iter().try_for_each(|part| write(control, transaction, part))?;
            if self.records_versions {
                parts.iter().try_for_each(|part| record_version(control, part))?;
            }
            prepared.iter().try_for_each(|server| {
                let mut insert = control.prepare("INSERT INTO sharded_prepared VALUES (?1, ?2)")?;
                let row = [Value::Text(transaction.into()), Value::Text((*server).into())];
                insert.insert(&row).map(|_| ())
            })
        });
        if let Err(error) = written {
            let _ = control.rollback();
            return Err(DecisionError::Aborted(error));
        }
        if let Err(error) = control.commit() {
            // The failed transaction may still be in the WAL and would be replayed after a crash, so write another
            // transaction over it. If that fails too, the outcome is unknown.
            let _ = control.rollback();
            return Err(match overwrite_log_end(control) {
                Ok(()) => DecisionError::Aborted(error),
                Err(_) => {
                    self.in_doubt = Some(transaction.to_owned());
                    DecisionError::InDoubt(error)
                }
            });
        }
        self.forget_finished();
        self.records.extend(parts.iter().map(|part| Record {
            transaction: transaction.to_owned(),
            database: part.database.to_owned(),
            base: part.base,
        }));
        Ok(())
    }

    /// Notes that every database of a transaction is committed.
    pub(crate) fn finish(&mut self, transaction: String) {
        self.finished.push(transaction);
    }

    /// Removes the records of these transactions, and of those that are finished.
    pub(crate) fn remove(&mut self, control: &dyn Connection, transactions: Vec<String>) -> Result<()> {
        for transaction in transactions {
            if !self.finished.contains(&transaction) {
                self.finished.push(transaction);
            }
        }
        if self.finished.is_empty() {
            return Ok(());
        }
        control.begin_without_waiting()?;
        if let Err(error) = remove(control, &self.finished).and_then(|()| control.commit()) {
            control.rollback()?;
            return Err(error);
        }
        self.forget_finished();
        Ok(())
    }

    fn forget_finished(&mut self) {
        let finished = std::mem::take(&mut self.finished);
        self.records.retain(|record| !finished.contains(&record.transaction));
    }

    /// Resolves a transaction in doubt before any other write. Its record may become visible after a crash, and fits only
    /// the databases as they are now. The error names the control database's failure: nothing was written.
    fn resolve_in_doubt_first(&mut self, control: &dyn Connection) -> Result<()> {
        let Some(transaction) = self.in_doubt.clone() else { return Ok(()) };
        self.resolve_in_doubt(control).map_err(|error| {
            let message = format!(
                "nothing was written: the outcome of transaction {transaction} is unknown until the control database can be \
                 written again, which fails: {error}"
            );
            Error::new(error.kind(), message).with_source(error)
        })
    }

    /// Makes sure that a transaction in doubt is undone, which succeeds once the control database can be written again.
    pub(crate) fn resolve_in_doubt(&mut self, control: &dyn Connection) -> Result<()> {
        if self.in_doubt.is_some() {
            overwrite_log_end(control)?;
            self.in_doubt = None;
        }
        Ok(())
    }
}

fn write(control: &dyn Connection, transaction: &str, part: &Participant<'_>) -> Result<()> {
    let mut insert = control.prepare("INSERT INTO sharded_redo VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    let mut seq = 0;
    part.redo.parts(|sql, runs| {
        seq += 1;
        let (transaction, database) = (Value::Text(transaction.into()), Value::Text(part.database.into()));
        let (base, seq) = (Value::Integer(part.base), Value::Integer(seq));
        insert.insert(&[
            transaction,
            database,
            base,
            seq,
            Value::Text(sql.into()),
            Value::Bytes(stored(runs).into()),
        ])?;
        Ok(())
    })
}

fn record_version(control: &dyn Connection, part: &Participant<'_>) -> Result<()> {
    let mut record = control.prepare(&format!(
        "INSERT INTO {STATE} (kind, name, value) VALUES ('{STATE_VERSION}', ?1, ?2) \
         ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value"
    ))?;
    let version = (part.base + 1).to_string();
    record.execute(&[part.database, &version].map(|text| Param::Value(Value::Text(text.into())))).map(|_| ())
}

fn remove(control: &dyn Connection, transactions: &[String]) -> Result<()> {
    if let [transaction] = transactions {
        // A list is slower than one parameter.
        return remove_with(control, "= ?1", Param::Value(Value::Text(transaction.into())));
    }
    if transactions.is_empty() {
        return Ok(());
    }
    let transactions = transactions.iter().map(|transaction| Value::Text(transaction.into())).collect();
    remove_with(control, "IN rarray(?1)", Param::List(transactions))
}

fn remove_with(control: &dyn Connection, condition: &str, transactions: Param<'_>) -> Result<()> {
    let transactions = [transactions];
    ["sharded_redo", "sharded_prepared"].iter().try_for_each(|table| {
        let mut delete = control.prepare(&format!("DELETE FROM {table} WHERE unit {condition}"))?;
        delete.execute(&transactions).map(|_| ())
    })
}

/// Commits a transaction that only increases a counter, to overwrite the end of the WAL.
fn overwrite_log_end(control: &dyn Connection) -> Result<()> {
    control.begin_without_waiting()?;
    let settled = control.run("UPDATE sharded_settled SET times = times + 1").and_then(|()| control.commit());
    settled.inspect_err(|_| {
        let _ = control.rollback();
    })
}

/// Overwrites a decision that was left in the WAL of the control database and that no process reads: see
/// `Connection::unread_transaction`. A later recovery of the WAL would apply it, over rows that have changed since.
///
/// The owner of such a decision held the lock of every file that it names. The caller now holds the lock of one of them,
/// so the owner has died. Its decision is either read already, or lies in the WAL right after the last committed frame. A
/// commit is written to that position and overwrites it.
///
/// While another process commits, control is `Busy`: that process's decision names no file whose lock the caller holds.
/// `unread` is the position at the first look. If the position has changed since, a process has committed, and the caller need
/// not.
///
/// A mark in the caller's file could not replace this: all that the owner writes there before its decision is rolled back
/// with it.
fn overwrite_unread(control: &dyn Connection, unread: &mut Option<u64>) -> Result<()> {
    let Some(position) = control.unread_transaction()? else { return Ok(()) };
    let has_moved = *unread.get_or_insert(position) != position;
    // The position is also 0 if the WAL will be restarted but has not been yet.
    if has_moved && position > 0 {
        return Ok(());
    }
    overwrite_log_end(control).map_err(|error| {
        let message = format!(
            "nothing was written: a decision that a process has left in the log of the control database cannot be \
             overwritten: {error}"
        );
        Error::new(error.kind(), message).with_source(error)
    })
}

/// Returns the number in the only row that a statement returns.
pub(crate) fn integer(connection: &dyn Connection, sql: &str, params: &[Param<'_>]) -> Result<i64> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(params)?;
    if !rows.advance()? {
        return Err(Error::new(
            ErrorKind::WrongDatabase,
            "the database has no version; restore it from a backup",
        ));
    }
    let number = whole(rows.value(0)?)?;
    // A server's statement is finished only after its last row was read.
    while rows.advance()? {}
    Ok(number)
}

fn whole(value: Value<'_>) -> Result<i64> {
    match value {
        Value::Integer(integer) => Ok(integer),
        other => Err(mismatch("an integer", &other).into()),
    }
}

fn text(value: Value<'_>) -> Result<String> {
    match value {
        Value::Text(text) => Ok(text.into_owned()),
        other => Err(mismatch("text", &other).into()),
    }
}
