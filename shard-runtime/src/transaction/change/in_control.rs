//! The transactions of control that record changes. Each waits for the disk, whatever the durability of other commits.

use std::time::Duration;

use super::{ChangeRecord, ChangeState, CopyRecord, refuse_key_move};
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Dialect;
use crate::schema::ShardRole;
use crate::transaction::control::Control;
use crate::transaction::facts::{self, Facts, Kind, SEPARATOR};
use crate::transaction::recorded::{RecordedLayout, place_text};

/// The context of a transaction of control.
pub(super) struct ControlWork<'w> {
    control: &'w dyn Connection,
    own: &'w Control,
    dialect: Dialect,
    pub(super) facts: &'w Facts,
}

impl ControlWork<'_> {
    pub(super) fn write(&self, kind: Kind, name: &str, value: &str) -> Result<()> {
        facts::write(self.control, &self.own.names, self.dialect, kind, name, value)
    }

    pub(super) fn forget(&self, kind: Kind, name: &str) -> Result<()> {
        facts::forget(self.control, &self.own.names, self.dialect, kind, name)
    }

    fn record(&self, change: &ChangeRecord) -> Result<()> {
        change.facts().iter().try_for_each(|(name, value)| self.write(Kind::Change, name, value))
    }

    pub(super) fn next_attempt(&self) -> Result<u64> {
        let last = self.facts.number(Kind::Attempt, "").unwrap_or_default();
        let next = u64::try_from(last).unwrap_or_default() + 1;
        self.write(Kind::Attempt, "", &next.to_string())?;
        Ok(next)
    }
}

impl Control {
    /// Returns all recorded changes, ascending by number.
    pub(crate) fn changes(&self) -> Result<Vec<ChangeRecord>> {
        self.facts().map(|facts| ChangeRecord::all(&facts))
    }

    /// Returns the current record of a change.
    pub(crate) fn change(&self, number: u64) -> Result<Option<ChangeRecord>> {
        Ok(self.changes()?.into_iter().find(|change| change.number == number))
    }

    /// Records the begin of a change, with its number and its attempt.
    ///
    /// # Errors
    /// [`ErrorKind::Layout`] if another change runs, if a copy into the cluster is unfinished, or if the layout was
    /// changed after the plan was made.
    pub(crate) fn begin_change(&self, plan: &ChangeRecord) -> Result<ChangeRecord> {
        let begun = self.change_facts(|work| {
            let all = ChangeRecord::all(work.facts);
            if let Some(running) = all.iter().find(|change| change.is_running()) {
                return Err(is_running(running));
            }
            CopyRecord::refuse(work.facts)?;
            refuse_key_move(work.facts)?;
            let epoch = work.facts.layout().epoch;
            if epoch != plan.epoch {
                let message = format!(
                    "the plan was made for epoch {} of the layout, which is at epoch {epoch} now; make the plan again",
                    plan.epoch
                );
                return Err(Error::new(ErrorKind::Layout, message));
            }
            // Attempt numbers are never reused, so that a change can use its first one as its number.
            let number = work.next_attempt()?;
            let change = ChangeRecord { number, attempt: number, ..plan.clone() };
            work.record(&change)?;
            Ok(change)
        })?;
        Ok(begun)
    }

    /// Gives a new attempt to a change that is not decided, if its attempt is `before`. The attempt before can then no
    /// longer decide. Returns the record after that.
    pub(crate) fn next_attempt(
        &self,
        number: u64,
        before: Option<u64>,
        state: ChangeState,
    ) -> Result<Option<ChangeRecord>> {
        self.change_facts(|work| {
            let all = ChangeRecord::all(work.facts);
            let Some(mut change) = all.into_iter().find(|change| change.number == number) else {
                return Ok(None);
            };
            if change.is_decided() || before.is_some_and(|before| change.attempt != before) {
                return Ok(Some(change));
            }
            change.attempt = work.next_attempt()?;
            change.state = change.state.max(state);
            work.record(&change)?;
            Ok(Some(change))
        })
    }

    /// Decides a change: the layout has the new lines from now on, the sources are retired, and the targets serve.
    ///
    /// # Errors
    /// - [`ErrorKind::Stale`] if the attempt has ended.
    /// - [`ErrorKind::Layout`] if the layout is not the plan's.
    pub(crate) fn decide_change(&self, change: &ChangeRecord, groups: &[(&str, String)]) -> Result<()> {
        self.change_facts(|work| {
            let all = ChangeRecord::all(work.facts);
            let found = all.into_iter().find(|other| other.number == change.number);
            let Some(found) = found.filter(|found| *found == *change && found.state == ChangeState::Copying)
            else {
                return Err(has_ended(change));
            };
            let layout = work.facts.layout();
            if layout.epoch != change.epoch {
                let message = format!(
                    "the layout is at epoch {}, and change {} was planned for epoch {}; cancel the change",
                    layout.epoch, change.number, change.epoch
                );
                return Err(Error::new(ErrorKind::Layout, message));
            }
            groups.iter().try_for_each(|(table, group)| work.write(Kind::Group, table, group))?;
            replace_lines(work, &layout, &change.groups)?;
            let roles = [(&change.sources, ShardRole::Retired), (&change.targets, ShardRole::Serving)];
            for (names, role) in roles {
                for name in names {
                    let place = layout.shard(name).map(|shard| shard.place).ok_or_else(|| {
                        Error::new(ErrorKind::Layout, "the shard is not recorded").on_shard(name)
                    })?;
                    work.write(Kind::Place, name, &place_text(place, role))?;
                }
            }
            work.write(Kind::Epoch, "", &(layout.epoch + 1).to_string())?;
            work.record(&ChangeRecord { state: ChangeState::Decided, ..found })?;
            if self.decides() {
                for source in &change.sources {
                    work.forget_decisions(source)?;
                }
            }
            Ok(())
        })
    }

    /// Records a later state of a decided change.
    pub(crate) fn advance_change(&self, number: u64, state: ChangeState) -> Result<()> {
        self.change_facts(|work| {
            let all = ChangeRecord::all(work.facts);
            let found = all.into_iter().find(|change| change.number == number && change.state < state);
            match found {
                Some(change) => work.record(&ChangeRecord { state, ..change }),
                None => Ok(()),
            }
        })
    }

    /// Records how long writers may wait for the switch of this attempt.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`] if the attempt has ended.
    pub(crate) fn record_budget(&self, change: &ChangeRecord, budget: Duration) -> Result<ChangeRecord> {
        self.change_facts(|work| {
            let all = ChangeRecord::all(work.facts);
            match all.into_iter().find(|other| other == change) {
                Some(found) => {
                    let found = ChangeRecord { budget, ..found };
                    work.record(&found)?;
                    Ok(found)
                }
                None => Err(has_ended(change)),
            }
        })
    }

    /// Removes the record of a change that this attempt has finished cancelling.
    pub(crate) fn forget_change(&self, change: &ChangeRecord) -> Result<()> {
        self.change_facts(|work| {
            let all = ChangeRecord::all(work.facts);
            let is_own = |other: &&ChangeRecord| {
                (other.number, other.attempt, other.state)
                    == (change.number, change.attempt, ChangeState::Cancelling)
            };
            let Some(change) = all.iter().find(is_own) else { return Ok(()) };
            change.facts().iter().try_for_each(|(name, _)| work.forget(Kind::Change, name))
        })
    }

    pub(super) fn change_facts<O>(&self, run: impl Fn(&ControlWork<'_>) -> Result<O>) -> Result<O> {
        self.in_layout_transaction(|control, dialect, facts| {
            run(&ControlWork { control, own: self, dialect, facts })
        })
    }
}

impl ControlWork<'_> {
    /// Removes the records of decided transactions for a shard: it has applied them under the fence.
    fn forget_decisions(&self, shard: &str) -> Result<()> {
        ["sharded_redo", "sharded_prepared"].iter().try_for_each(|table| {
            let sql = format!("DELETE FROM {table} WHERE shard = {}", self.dialect.param(1));
            self.control.prepare(&sql)?.execute(&[facts::text(shard)]).map(|_| ())
        })
    }
}

/// Replaces the lines of groups.
pub(super) fn replace_lines(
    work: &ControlWork<'_>,
    layout: &RecordedLayout,
    groups: &[(String, Vec<String>)],
) -> Result<()> {
    let mut number = layout.next_moved_line();
    for (group, lines) in groups {
        let before = format!("{group}{SEPARATOR}");
        let old = work.facts.of(Kind::Rule).filter(|(name, _)| name.starts_with(&before));
        for (name, _) in old {
            work.forget(Kind::Rule, name)?;
        }
        for line in lines {
            work.write(Kind::Rule, &format!("{before}{number}"), line)?;
            number += 1;
        }
    }
    Ok(())
}

/// Returns the error of an attempt that has ended.
fn has_ended(change: &ChangeRecord) -> Error {
    let message = format!(
        "attempt {} of change {} has ended; see `changes` for its state",
        change.attempt, change.number
    );
    Error::new(ErrorKind::Stale, message)
}

/// Returns the error of an operation that a running change excludes.
pub(crate) fn is_running(change: &ChangeRecord) -> Error {
    let message = format!(
        "change {} of the layout runs ({} to {}, {}); finish or cancel it first",
        change.number,
        change.sources.join(", "),
        change.targets.join(", "),
        change.state.name()
    );
    Error::new(ErrorKind::Layout, message)
}
