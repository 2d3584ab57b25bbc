//! The facts in the control database: each method reads or writes them in one transaction of control. Uses
//! `transaction::control`.

use std::collections::HashSet;

use super::{
    DecidedStatement, Facts, Kind, MADE, MAKING, OwnFacts, SELF, SEPARATOR, TABLE, read_facts, record_own,
    step_of, text, texts, write, write_all,
};
use crate::driver::{Connection, Mode, TransactionMode};
use crate::error::{Error, Result};
use crate::planner::sql::Dialect;
use crate::schema::ShardRole;
use crate::transaction::change::{ChangeRecord, is_running, refuse_key_move};
use crate::transaction::control::{Control, in_durable_transaction};
use crate::transaction::recorded::adopted::EPOCH;
use crate::transaction::recorded::{AdoptedLayout, Declared, Line, RecordedLayout, place_text};

/// The kinds of the facts about one shard, which are deleted with it.
const OF_A_SHARD: [Kind; 4] = [Kind::Shard, Kind::Version, Kind::Writer, Kind::Server];

/// Refuses to add to a layout that a change, or the move of a key, is about to replace.
fn refuse_while_changing(facts: &Facts) -> Result<()> {
    match ChangeRecord::all(facts).iter().find(|change| change.is_running()) {
        Some(change) => Err(is_running(change)),
        None => refuse_key_move(facts),
    }
}

impl Control {
    /// Returns the facts; none if the control database is of an older release and cannot be written.
    pub(crate) fn facts(&self) -> Result<Facts> {
        self.with_decisions(|_, control| read_facts(control, &self.names))
    }

    /// Adds declared lines, and lines of a shard of an older release, to the recorded layout.
    ///
    /// # Errors
    /// [`ErrorKind::Layout`] if another process has added other lines.
    pub(crate) fn extend_record(&self, declared: &Declared, lines: &[Line]) -> Result<RecordedLayout> {
        self.change_layout(|control, dialect, facts| {
            refuse_while_changing(facts)?;
            let recorded = facts.layout();
            let record = &recorded.lines;
            declared.compare(record.lines(), record.digest(), Mode::Create)?;
            record.refuse_other_lines(lines, declared)?;
            let known: HashSet<&Line> = record.lines().iter().collect();
            let mut added = HashSet::new();
            let new = lines
                .iter()
                .chain(&declared.lines)
                .filter(|line| !known.contains(line) && added.insert(*line));
            self.write_lines(control, record.next_step(), new)?;
            let moved: Vec<_> = declared.moved.iter().filter(|line| !recorded.has_moved_line(line)).collect();
            for (number, (group, line)) in (recorded.next_moved_line()..).zip(&moved) {
                let name = format!("{group}{SEPARATOR}{number}");
                write(control, &self.names, dialect, Kind::Rule, &name, line)?;
            }
            if !moved.is_empty() {
                let epoch = (recorded.epoch + 1).to_string();
                write(control, &self.names, dialect, Kind::Epoch, SELF, &epoch)?;
            }
            Ok(())
        })
    }

    fn write_lines<'l>(
        &self,
        control: &dyn Connection,
        step: i64,
        lines: impl IntoIterator<Item = &'l Line>,
    ) -> Result<()> {
        let named = lines.into_iter().enumerate().map(|(number, (subject, line))| {
            (format!("{step} {number}"), format!("{subject}{SEPARATOR}{line}"))
        });
        let named: Vec<(String, String)> = named.collect();
        let named: Vec<(&str, &str)> = named.iter().map(|(name, value)| (&**name, &**value)).collect();
        write_all(control, &self.names, self.driver.dialect(), Kind::Line, &named)
    }

    /// Records the layout of a database that is being adopted, unless it is recorded, or its shard is made.
    pub(crate) fn record_adopted(&self, adopted: &AdoptedLayout) -> Result<RecordedLayout> {
        self.change_layout(|control, dialect, facts| {
            let recorded = facts.layout();
            let known: HashSet<&Line> = recorded.lines.lines().iter().collect();
            let is_recorded =
                known.len() == adopted.lines.len() && adopted.lines.iter().all(|line| known.contains(line));
            if is_recorded || facts.of(Kind::Shard).any(|(_, state)| state == MADE) {
                return Ok(());
            }
            // An adoption that failed before its shard was made may have had other models.
            let kinds = [Kind::Line, Kind::Rule, Kind::Group, Kind::Epoch, Kind::Place, Kind::Lookup];
            let kinds = kinds.map(|kind| format!("'{}'", kind.name())).join(", ");
            control.run(&format!("DELETE FROM {} WHERE kind IN ({kinds})", self.names.table(TABLE)))?;
            let write =
                |kind, name: &str, value: &str| write(control, &self.names, dialect, kind, name, value);
            self.write_lines(control, 1, &adopted.lines)?;
            for (table, group) in &adopted.groups {
                write(Kind::Group, table, group)?;
            }
            for (number, (group, line)) in (1..).zip(&adopted.moved) {
                write(Kind::Rule, &format!("{group}{SEPARATOR}{number}"), line)?;
            }
            match adopted.moved.is_empty() {
                true => Ok(()),
                false => write(Kind::Epoch, SELF, &EPOCH.to_string()),
            }
        })
    }

    /// Gives places to the configured shards that have none. They are spare until a line names them.
    pub(crate) fn record_places(&self, configured: &[&str]) -> Result<RecordedLayout> {
        self.change_layout(|control, dialect, facts| {
            refuse_while_changing(facts)?;
            facts.layout().unplaced(configured).into_iter().try_for_each(|(name, place)| {
                let place = place_text(place, ShardRole::Spare);
                write(control, &self.names, dialect, Kind::Place, name, &place)
            })
        })
    }

    /// Removes the lines of later steps, which no shard has recorded, and shards that only these lines name.
    pub(crate) fn take_back(&self, last: i64) -> Result<RecordedLayout> {
        self.change_layout(|control, dialect, facts| {
            let table = self.names.table(TABLE);
            let sql = format!(
                "DELETE FROM {table} WHERE kind = {} AND name = {}",
                dialect.param(1),
                dialect.param(2)
            );
            let later =
                facts.of(Kind::Line).filter(|(name, _)| step_of(name).is_some_and(|step| step > last));
            let left = facts.layout_up_to(last);
            let unnamed =
                facts.of(Kind::Shard).filter(|(name, state)| *state == MAKING && left.shard(name).is_none());
            let kinds =
                later.map(|(name, _)| (Kind::Line, name)).chain(unnamed.map(|(name, _)| (Kind::Shard, name)));
            for (kind, name) in kinds {
                control.prepare(&sql)?.execute(&[text(kind.name()), text(name)])?;
            }
            Ok(())
        })
    }

    /// Changes the recorded layout. Returns the new layout.
    fn change_layout(
        &self,
        change: impl Fn(&dyn Connection, Dialect, &Facts) -> Result<()>,
    ) -> Result<RecordedLayout> {
        self.in_layout_transaction(|control, dialect, facts| {
            change(control, dialect, facts)?;
            Ok(read_facts(control, &self.names)?.layout())
        })
    }

    /// Runs a transaction of control that excludes other changes of the layout. It is on disk when this returns, whatever
    /// the durability of other commits: shards record its result.
    pub(crate) fn in_layout_transaction<O>(
        &self,
        run: impl Fn(&dyn Connection, Dialect, &Facts) -> Result<O>,
    ) -> Result<O> {
        let dialect = self.driver.dialect();
        let run = |control: &dyn Connection| {
            // Otherwise two processes could give their lines the same step.
            if let Some(lock) = dialect.advisory_lock("sharded layout") {
                control.run(&lock)?;
            }
            run(control, dialect, &read_facts(control, &self.names)?)
        };
        self.wait_with_decisions(Error::is_busy, |_, control| in_durable_transaction(control, run))
    }

    /// Records facts in one transaction. A number replaces only a smaller one.
    pub(crate) fn record(&self, facts: &[(Kind, &str, String)]) -> Result<()> {
        if facts.is_empty() {
            return Ok(());
        }
        self.in_transaction(|control, dialect| {
            facts.chunk_by(|(before, ..), (after, ..)| before == after).try_for_each(|same| {
                let named: Vec<(&str, &str)> =
                    same.iter().map(|(_, name, value)| (*name, value.as_str())).collect();
                write_all(control, &self.names, dialect, same[0].0, &named)
            })
        })
    }

    /// Begins to recreate a lost shard: deletes everything that was recorded about it and the database that it names.
    /// That includes the statements of decided transactions that have not run there.
    pub(crate) fn forget_lost(&self, shard: &str) -> Result<()> {
        let decides = self.decides();
        self.in_transaction(|control, dialect| {
            let name = dialect.param(1);
            let kinds = OF_A_SHARD.map(|kind| format!("'{}'", kind.name())).join(", ");
            let mut forget = vec![format!(
                "DELETE FROM {} WHERE name = {name} AND kind IN ({kinds})",
                self.names.table(TABLE)
            )];
            if decides {
                forget.extend(
                    ["sharded_redo", "sharded_prepared"]
                        .map(|table| format!("DELETE FROM {table} WHERE shard = {name}")),
                );
            }
            for sql in forget {
                control.prepare(&sql)?.execute(&[text(shard)])?;
            }
            write(control, &self.names, dialect, Kind::Shard, shard, MAKING)
        })
    }

    /// Returns the statements that decided transactions run on a SQLite database, unless they have run already.
    pub(crate) fn decided_statements(&self, database: &str) -> Result<Vec<DecidedStatement>> {
        if !self.decides() {
            return Ok(Vec::new());
        }
        self.with_decisions(|_, control| {
            let sql = "SELECT unit, CAST(base AS TEXT), CAST(seq AS TEXT), sql FROM sharded_redo WHERE shard = ?1 \
                       ORDER BY base, seq";
            let rows = texts(control, sql, &[text(database)])?.into_iter().filter_map(|row| {
                let [transaction, base, seq, sql] = <[String; 4]>::try_from(row).ok()?;
                Some(DecidedStatement { transaction, database: database.to_owned(), base, seq, sql })
            });
            Ok(rows.collect())
        })
    }

    /// Begins to recreate lost shards whose database holds other shards. Deletes everything that was recorded about them,
    /// with the statements of decided transactions for their tables. The records stay, because the other shards need
    /// them.
    pub(crate) fn forget_lost_tables(&self, shards: &[&str], dropped: &[&DecidedStatement]) -> Result<()> {
        self.in_transaction(|control, dialect| {
            for DecidedStatement { transaction, database, base, seq, .. } in dropped {
                let sql = "UPDATE sharded_redo SET runs = x'' WHERE unit = ?1 AND shard = ?2 \
                           AND base = CAST(?3 AS INTEGER) AND seq = CAST(?4 AS INTEGER)";
                control.prepare(sql)?.execute(&[text(transaction), text(database), text(base), text(seq)])?;
            }
            for shard in shards {
                // The version of a SQLite database is lost with its first shard. A server's position in its log is not.
                let lost = OF_A_SHARD.into_iter().filter(|kind| *kind != Kind::Server);
                let kinds: Vec<String> = lost.map(|kind| format!("'{}'", kind.name())).collect();
                let sql = format!(
                    "DELETE FROM {} WHERE name = {} AND kind IN ({})",
                    self.names.table(TABLE),
                    dialect.param(1),
                    kinds.join(", ")
                );
                control.prepare(&sql)?.execute(&[text(shard)])?;
                write(control, &self.names, dialect, Kind::Shard, shard, MAKING)?;
            }
            Ok(())
        })
    }

    /// Returns the greatest writer number that was issued.
    pub(crate) fn last_writer(&self) -> Result<i64> {
        self.with_decisions(|_, control| OwnFacts::read(control, &self.names)).map(|own| own.writer)
    }

    /// Issues a writer number, durably; `None` if that would have to wait, or if control cannot be written.
    pub(crate) fn issue_writer(&self) -> Option<i64> {
        let dialect = self.driver.dialect();
        let issue = |control: &dyn Connection| {
            let number = OwnFacts::read(control, &self.names)?.writer + 1;
            record_own(control, &self.names, dialect, Kind::Writer, &number.to_string())?;
            Ok(number)
        };
        self.try_with(|control| in_durable_transaction(control, issue).ok())?
    }

    /// Records the last writer of some databases. Returns whether that was possible without waiting.
    pub(crate) fn record_writer(&self, databases: &[&str], number: i64) -> bool {
        let number = number.to_string();
        let record = |control: &dyn Connection| {
            control.begin_without_waiting()?;
            let dialect = self.driver.dialect();
            let recorded = databases
                .iter()
                .try_for_each(|name| write(control, &self.names, dialect, Kind::Writer, name, &number))
                .and_then(|()| control.commit());
            recorded.inspect_err(|_| {
                let _ = control.rollback();
            })
        };
        self.try_with(|control| record(control).is_ok()).unwrap_or(false)
    }

    /// Returns whether there is a decided transaction that may not be applied to a database yet.
    pub(crate) fn has_decided_for(&self, database: &str) -> Result<bool> {
        self.with_decisions(|decisions, control| match self.decides() {
            true => Ok(decisions.records(control)?.iter().any(|record| record.database == database)),
            false => Ok(false),
        })
    }

    /// Runs statements in one transaction of control. Retries while another connection has locked it.
    fn in_transaction<O>(&self, run: impl Fn(&dyn Connection, Dialect) -> Result<O>) -> Result<O> {
        let dialect = self.driver.dialect();
        self.wait_with_decisions(Error::is_busy, |_, control| {
            control.begin(TransactionMode::Write)?;
            let done = run(control, dialect).and_then(|done| control.commit().map(|()| done));
            done.inspect_err(|_| {
                let _ = control.rollback();
            })
        })
    }
}
