//! The decision log in the control database: its records are written, read and removed. Uses `driver` and `redo`.
//!
//! Nothing here waits for control's lock, because other sessions wait for the end of each call. A call that fails with
//! `Busy` has had no effect, and the caller tries it again.

use super::redo::{Redo, Runs, stored};
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Param;
use crate::value::{Value, mismatch};

/// Makes the records' table. Of a database in one version there is at most one record: `base` is unique to a unit.
/// `sharded_settled` counts the transactions that write nothing else.
pub(crate) const MAKE: &str = "\
    CREATE TABLE IF NOT EXISTS sharded_redo (unit TEXT NOT NULL, shard TEXT NOT NULL, base INTEGER NOT NULL, \
    seq INTEGER NOT NULL, sql TEXT NOT NULL, runs BLOB NOT NULL, UNIQUE (shard, base, seq)) STRICT; \
    CREATE TABLE IF NOT EXISTS sharded_prepared (unit TEXT NOT NULL, shard TEXT NOT NULL, PRIMARY KEY (unit, shard)) \
    STRICT, WITHOUT ROWID; \
    CREATE TABLE IF NOT EXISTS sharded_settled (times INTEGER NOT NULL) STRICT; \
    INSERT INTO sharded_settled SELECT 0 WHERE NOT EXISTS (SELECT * FROM sharded_settled)";

/// The table of the facts that control records about databases, and the kind of fact that is a database's version.
pub(crate) const STATE: &str = "sharded_state";
pub(crate) const STATE_VERSION: &str = "version";

/// The part of a global transaction on one file.
pub(crate) struct Participant<'u> {
    /// The name of the database: its first shard's.
    pub(crate) database: &'u str,
    /// The version that the database had before the unit.
    pub(crate) base: i64,
    pub(crate) redo: &'u Redo,
}

/// The reason why a transaction is not decided.
#[derive(Debug)]
pub(crate) enum DecisionError {
    /// It is aborted.
    Aborted(Error),
    /// Neither the decision nor its absence could be made durable.
    InDoubt(Error),
}

impl DecisionError {
    /// Whether another connection has locked control.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, DecisionError::Aborted(error) if error.kind() == ErrorKind::Busy)
    }
}

/// The key of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) unit: String,
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
    /// Whether each decision also records the new version of its databases, so that an older copy of one is noticed. Not
    /// where a commit does not wait for the disk: a power loss may then take a database's last commits.
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
                let (unit, database) = (text(rows.value(0)?)?, text(rows.value(1)?)?);
                self.records.push(Record { unit, database, base: whole(rows.value(2)?)? });
            }
            self.finished.retain(|unit| self.records.iter().any(|record| record.unit == *unit));
            self.seen = Some(now);
        }
        Ok(&self.records)
    }

    /// Whether a global transaction has a record: it is decided then.
    pub(crate) fn is_recorded(&mut self, control: &dyn Connection, transaction: &str) -> Result<bool> {
        Ok(self.records(control)?.iter().any(|record| record.unit == transaction))
    }

    /// Returns the transaction of this process whose outcome is unknown.
    pub(crate) fn in_doubt(&self) -> Option<&str> {
        self.in_doubt.as_deref()
    }

    /// Makes sure that what can be read of the control database is on disk, by a commit after it.
    pub(crate) fn sync(&self, control: &dyn Connection) -> Result<()> {
        settle(control)
    }

    /// Whether there is a record that this database may have to be healed with. The caller has locked the database for
    /// writing, and passes the same `unread` again, `None` at first, for as long as this fails with `Busy`.
    ///
    /// # Errors
    /// Those of the control database; of settling a transaction in doubt, whose record may be there and not be seen.
    pub(crate) fn decisions_for(
        &mut self,
        control: &dyn Connection,
        database: &str,
        unread: &mut Option<u64>,
    ) -> Result<bool> {
        self.settle_first(control)?;
        overwrite_unread(control, unread)?;
        self.records(control)?;
        let is_open = |record: &Record| record.database == database && !self.finished.contains(&record.unit);
        Ok(self.records.iter().any(is_open))
    }

    /// Makes sure that the records that can be read are all that there are: a decision that was left in the log may be
    /// applied later otherwise. See [`overwrite_unread`]; the caller need not hold a lock, because a decision whose owner
    /// is alive is read, or makes this fail with `Busy`.
    pub(crate) fn overwrite_unread(&self, control: &dyn Connection, unread: &mut Option<u64>) -> Result<()> {
        overwrite_unread(control, unread)
    }

    /// The servers on which parts of a unit are prepared, that is decided and not known to be finished.
    pub(crate) fn servers(&self, control: &dyn Connection, unit: &str) -> Result<Vec<String>> {
        let mut statement = control.prepare("SELECT shard FROM sharded_prepared WHERE unit = ?1")?;
        let mut rows = statement.query(&[Param::Value(Value::Text(unit.into()))])?;
        let mut servers = Vec::new();
        while rows.advance()? {
            servers.push(text(rows.value(0)?)?);
        }
        Ok(servers)
    }

    /// Runs the statements of a database's records in order, from a version on. Returns the version that it has then.
    ///
    /// # Errors
    /// [`ErrorKind::WrongDatabase`] where a record is missing in between: the database is older than its cluster.
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

    /// Decides a transaction: once this has returned, recovery commits it even if the process is killed. Parts of it are
    /// prepared on these servers.
    pub(crate) fn decide(
        &mut self,
        control: &dyn Connection,
        unit: &str,
        parts: &[Participant<'_>],
        prepared: &[&str],
    ) -> Result<(), DecisionError> {
        self.settle_first(control).map_err(DecisionError::Aborted)?;
        let written = control.begin_without_waiting().and_then(|()| {
            self.records(control)?; // what others have removed need not be removed
            remove(control, &self.finished)?;
            parts.iter().try_for_each(|part| write(control, unit, part))?;
            if self.records_versions {
                parts.iter().try_for_each(|part| record_version(control, part))?;
            }
            prepared.iter().try_for_each(|server| {
                let mut insert = control.prepare("INSERT INTO sharded_prepared VALUES (?1, ?2)")?;
                let row = [Value::Text(unit.into()), Value::Text((*server).into())];
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
            return Err(match settle(control) {
                Ok(()) => DecisionError::Aborted(error),
                Err(_) => {
                    self.in_doubt = Some(unit.to_owned());
                    DecisionError::InDoubt(error)
                }
            });
        }
        self.forget_finished();
        self.records.extend(parts.iter().map(|part| Record {
            unit: unit.to_owned(),
            database: part.database.to_owned(),
            base: part.base,
        }));
        Ok(())
    }

    /// Notes that every database of a transaction is committed.
    pub(crate) fn finish(&mut self, unit: String) {
        self.finished.push(unit);
    }

    /// Removes the records of these units, and of those that are finished.
    pub(crate) fn remove(&mut self, control: &dyn Connection, units: Vec<String>) -> Result<()> {
        for unit in units {
            if !self.finished.contains(&unit) {
                self.finished.push(unit);
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
        self.records.retain(|record| !finished.contains(&record.unit));
    }

    /// Settles a transaction in doubt before anything else is written: its record may come to life, and is for the
    /// databases as they are. A failure is about the control database, and not about the transaction in doubt: what was to
    /// be written is not.
    fn settle_first(&mut self, control: &dyn Connection) -> Result<()> {
        let Some(unit) = self.in_doubt.clone() else { return Ok(()) };
        self.settle(control).map_err(|error| {
            let message = format!(
                "nothing was written: the outcome of transaction {unit} is unknown until the control database can be \
                 written again, which fails: {error}"
            );
            Error::new(error.kind(), message).with_source(error)
        })
    }

    /// Makes sure that a transaction in doubt is undone, if the control database can be written again.
    pub(crate) fn settle(&mut self, control: &dyn Connection) -> Result<()> {
        if self.in_doubt.is_some() {
            settle(control)?;
            self.in_doubt = None;
        }
        Ok(())
    }
}

fn write(control: &dyn Connection, unit: &str, part: &Participant<'_>) -> Result<()> {
    let mut insert = control.prepare("INSERT INTO sharded_redo VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    let mut seq = 0;
    part.redo.parts(|sql, runs| {
        seq += 1;
        let (unit, database) = (Value::Text(unit.into()), Value::Text(part.database.into()));
        let (base, seq) = (Value::Integer(part.base), Value::Integer(seq));
        insert.insert(&[
            unit,
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

fn remove(control: &dyn Connection, units: &[String]) -> Result<()> {
    if let [unit] = units {
        // A list costs more than the removal.
        return remove_with(control, "= ?1", Param::Value(Value::Text(unit.into())));
    }
    if units.is_empty() {
        return Ok(());
    }
    let units = units.iter().map(|unit| Value::Text(unit.into())).collect();
    remove_with(control, "IN rarray(?1)", Param::List(units))
}

fn remove_with(control: &dyn Connection, condition: &str, units: Param<'_>) -> Result<()> {
    let units = [units];
    ["sharded_redo", "sharded_prepared"].iter().try_for_each(|table| {
        let mut delete = control.prepare(&format!("DELETE FROM {table} WHERE unit {condition}"))?;
        delete.execute(&units).map(|_| ())
    })
}

/// Commits a transaction that only counts itself, to overwrite the end of the log.
fn settle(control: &dyn Connection) -> Result<()> {
    control.begin_without_waiting()?;
    let settled = control.run("UPDATE sharded_settled SET times = times + 1").and_then(|()| control.commit());
    settled.inspect_err(|_| {
        let _ = control.rollback();
    })
}

/// Overwrites a decision that was left in the write-ahead log of the control database and that no process reads: see
/// `Connection::unread_transaction`. A later recovery of the log would apply it, over rows that were changed meanwhile.
///
/// The owner of such a decision held the lock of every file that it names. The caller now has the lock of one of them, so
/// that the owner is gone, and its decision is either read already or in the log, right after the last committed frame. A
/// commit is written to that place and removes it. While another process commits, control is `Busy`: that process's decision
/// names no file whose lock the caller has. `unread` is the place at the first look. Once it is another one, a process has
/// committed since then, and the caller need not.
///
/// No mark in the caller's file could replace the look: before the decision, all that its owner has written there is in a
/// transaction that ends with it.
fn overwrite_unread(control: &dyn Connection, unread: &mut Option<u64>) -> Result<()> {
    let Some(place) = control.unread_transaction()? else { return Ok(()) };
    let has_moved = *unread.get_or_insert(place) != place;
    // The place is also 0 if the log is to be restarted, and is not yet.
    if has_moved && place > 0 {
        return Ok(());
    }
    settle(control).map_err(|error| {
        let message = format!(
            "nothing was written: a decision that a process has left in the log of the control database cannot be \
             overwritten: {error}"
        );
        Error::new(error.kind(), message).with_source(error)
    })
}

/// The one number that a statement returns.
pub(crate) fn integer(connection: &dyn Connection, sql: &str, params: &[Param<'_>]) -> Result<i64> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(params)?;
    if !rows.advance()? {
        return Err(Error::new(ErrorKind::WrongDatabase, "the database does not know its version"));
    }
    let number = whole(rows.value(0)?)?;
    // A statement on a server is finished when there is no row left.
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
