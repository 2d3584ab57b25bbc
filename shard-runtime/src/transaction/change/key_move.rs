//! The move of one key to another shard: its records in control and on the old shard, and how sessions follow it. Uses
//! `facts`, `follow` and the cluster's state.
//!
//! The rows move in one global transaction, in which the old shard also records the epoch: the *mark*. Control may be a
//! database that this transaction cannot write. It therefore records the intent before, and the lines of the layout
//! after. In between, the mark decides: each transaction on the old shard reads it first, in its own snapshot. If the
//! mark is newer than the session's layout, the session records the lines itself, from the intent, and loads the new
//! layout.

use std::time::{Duration, Instant};

use super::follow::{PAUSE, Switching};
use super::in_control::{ControlWork, is_running, replace_lines};
use super::{ChangeRecord, CopyRecord, lock_part};
use crate::driver::{Connection, Expected, KEY_LEFT, KEYS_LEFT, TransactionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Location;
use crate::transaction::commit::apply_decided_in;
use crate::transaction::facts::{self, Facts, Kind, SEPARATOR};
use crate::transaction::{Cluster, Control};

/// How long a session waits for the process that moves a key before it records the lines itself.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long one attempt to lock the new shard waits.
const LOCK_WAIT: Duration = Duration::from_millis(200);

/// The move of a key, as control records it before the rows move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyMoveRecord {
    /// Never reused.
    pub(crate) number: u64,
    /// The epoch before the move.
    pub(crate) epoch: u64,
    pub(crate) from: String,
    pub(crate) to: String,
    /// The placement group.
    pub(crate) group: String,
    /// The key, in the form of a recorded rule's lines.
    pub(crate) key: String,
    /// All lines of the group after the move.
    pub(crate) lines: Vec<String>,
}

impl KeyMoveRecord {
    fn facts(&self) -> Vec<(String, String)> {
        let KeyMoveRecord { number, epoch, from, to, group, key, lines } = self;
        let mut facts = vec![
            (String::new(), format!("{number} {epoch}")),
            ("from".to_owned(), from.clone()),
            ("to".to_owned(), to.clone()),
            ("group".to_owned(), group.clone()),
            ("key".to_owned(), key.clone()),
        ];
        facts.extend(lines.iter().enumerate().map(|(at, line)| (format!("line {at}"), line.clone())));
        facts
    }

    /// Reads the unfinished move; `None` if there is none.
    pub(crate) fn of(facts: &Facts) -> Option<Self> {
        let text = |name: &str| facts.get(Kind::KeyMove, name).map(str::to_owned);
        let (number, epoch) = facts.get(Kind::KeyMove, "")?.split_once(' ')?;
        Some(KeyMoveRecord {
            number: number.parse().ok()?,
            epoch: epoch.parse().ok()?,
            from: text("from")?,
            to: text("to")?,
            group: text("group")?,
            key: text("key")?,
            lines: (0..).map_while(|at| text(&format!("line {at}"))).collect(),
        })
    }

    /// Returns the name of the fact which records that a key has left a shard.
    pub(crate) fn fact(&self) -> String {
        format!("{}{SEPARATOR}{}", self.group, self.key)
    }
}

/// Refuses a change of the layout while a key moves.
///
/// # Errors
/// [`ErrorKind::Busy`] if one does.
pub(crate) fn refuse_key_move(facts: &Facts) -> Result<()> {
    match KeyMoveRecord::of(facts) {
        None => Ok(()),
        Some(KeyMoveRecord { from, to, .. }) => {
            let message = format!("a key moves from shard `{from}` to shard `{to}`; try again when it has");
            Err(Error::new(ErrorKind::Busy, message))
        }
    }
}

/// Returns the check that transactions on a shard make under the layout of an epoch.
pub(crate) fn expected(location: &Location, cluster: &str, shard: &str, epoch: u64) -> Expected {
    let Location { names, dialect, .. } = location;
    Expected {
        shard: shard.to_owned(),
        epoch,
        sql: dialect.expected_sql(names, cluster, shard, (epoch, KEYS_LEFT)),
        lock: dialect.stay_sql(names),
    }
}

/// Returns the epoch in which the last key has left a shard; 0 if none has.
fn left_in(connection: &dyn Connection, location: &Location) -> Result<u64> {
    let rows = match facts::texts(connection, &location.dialect.left_epoch_sql(&location.names), &[]) {
        Err(error) if error.lacks_a_table() => return Ok(0),
        rows => rows?,
    };
    Ok(rows.into_iter().flatten().next().and_then(|epoch| epoch.parse().ok()).unwrap_or_default())
}

impl Control {
    /// Records the intent to move a key, with its number, and the placement groups that are not recorded yet.
    ///
    /// # Errors
    /// - [`ErrorKind::Layout`] if a change runs.
    /// - [`ErrorKind::Busy`] if another key moves.
    /// - [`ErrorKind::Moved`] if the layout was changed after the lines were made.
    pub(crate) fn begin_key_move(
        &self,
        plan: &KeyMoveRecord,
        groups: &[(&str, String)],
    ) -> Result<KeyMoveRecord> {
        self.change_facts(|work| {
            if let Some(running) = ChangeRecord::all(work.facts).iter().find(|change| change.is_running()) {
                return Err(is_running(running));
            }
            refuse_key_move(work.facts)?;
            CopyRecord::refuse(work.facts)?;
            if work.facts.layout().epoch != plan.epoch {
                return Err(Error::new(ErrorKind::Moved, "the layout was changed meanwhile; try again"));
            }
            groups.iter().try_for_each(|(table, group)| work.write(Kind::Group, table, group))?;
            let record = KeyMoveRecord { number: work.next_attempt()?, ..plan.clone() };
            let facts = record.facts();
            facts.iter().try_for_each(|(name, value)| work.write(Kind::KeyMove, name, value))?;
            Ok(record)
        })
    }

    /// Records the lines of a key that has moved, unless another process has done so.
    pub(crate) fn finish_key_move(&self, moved: &KeyMoveRecord) -> Result<()> {
        self.change_facts(|work| {
            if KeyMoveRecord::of(work.facts).as_ref() != Some(moved) {
                return Ok(());
            }
            let layout = work.facts.layout();
            if layout.epoch != moved.epoch {
                let message = format!(
                    "the layout is at epoch {}, and a key has moved in epoch {}: the control database was restored from another \
                     copy; restore a newer one",
                    layout.epoch, moved.epoch
                );
                return Err(Error::new(ErrorKind::Layout, message));
            }
            replace_lines(work, &layout, &[(moved.group.clone(), moved.lines.clone())])?;
            work.write(Kind::Epoch, "", &(moved.epoch + 1).to_string())?;
            forget(work, moved)
        })
    }

    /// Removes the intent to move a key that has not moved.
    fn forget_key_move(&self, moved: &KeyMoveRecord) -> Result<()> {
        self.change_facts(|work| match KeyMoveRecord::of(work.facts).as_ref() == Some(moved) {
            true => forget(work, moved),
            false => Ok(()),
        })
    }

    /// Returns whether the move of a key may continue: no other process has cancelled it.
    pub(crate) fn has_key_move(&self, moved: &KeyMoveRecord) -> Result<bool> {
        Ok(KeyMoveRecord::of(&self.facts()?).as_ref() == Some(moved))
    }
}

fn forget(work: &ControlWork<'_>, moved: &KeyMoveRecord) -> Result<()> {
    moved.facts().iter().try_for_each(|(name, _)| work.forget(Kind::KeyMove, name))
}

impl Switching<'_> {
    /// Ends an unfinished move of a key: waits for the transaction that moves the rows, or keeps it from beginning.
    /// Returns whether the layout has changed.
    pub(crate) fn end_key_move(&self) -> Result<bool> {
        let Some(moved) = KeyMoveRecord::of(&self.control.facts()?) else { return Ok(false) };
        let is_marked = self.at_shard(&moved.from, |connection, location| {
            connection.begin(TransactionMode::Write)?;
            let ended =
                apply_decided_in(self.control, self.layout, location.database, connection).and_then(|_| {
                    lock_part(connection, location)?;
                    let is_marked = left_in(connection, location)? > moved.epoch;
                    // Under the lock that the moving transaction takes before it reads the intent.
                    if !is_marked {
                        self.control.forget_key_move(&moved)?;
                    }
                    Ok(is_marked)
                });
            match ended {
                Ok(is_marked) => connection.commit().map(|()| is_marked),
                Err(error) => {
                    let _ = connection.rollback();
                    Err(error)
                }
            }
        });
        let is_marked = is_marked.map_err(|error| error.on_shard(&moved.from))?;
        if is_marked {
            self.record_lines(&moved)?;
        }
        Ok(is_marked)
    }

    /// Records the lines of a key that has moved, once its rows are on the new shard. The old shard may have committed
    /// the transaction earlier.
    fn record_lines(&self, moved: &KeyMoveRecord) -> Result<()> {
        let is_there = self.at_shard(&moved.to, |connection, location| {
            connection.begin(TransactionMode::Write)?;
            connection.limit_lock_waits(LOCK_WAIT);
            let applied = apply_decided_in(self.control, self.layout, location.database, connection)
                .and_then(|_| lock_part(connection, location))
                .and_then(|_| connection.commit());
            applied.inspect_err(|_| {
                let _ = connection.rollback();
            })
        });
        is_there.map_err(|error| error.on_shard(&moved.to))?;
        self.control.finish_key_move(moved)
    }

    /// Records the lines of an unfinished move whose old shard has the mark. Returns whether the layout has changed.
    pub(crate) fn finish_key_move(&self) -> Result<bool> {
        let Some(moved) = KeyMoveRecord::of(&self.control.facts()?) else { return Ok(false) };
        let left = self.at_shard(&moved.from, left_in).map_err(|error| error.on_shard(&moved.from))?;
        if left > moved.epoch {
            self.record_lines(&moved)?;
        }
        Ok(left > moved.epoch)
    }
}

impl Cluster {
    /// Returns whether a session has met a shard, or a row, whose key has moved since its layout was read.
    pub(crate) fn meets_a_key_move(&self, error: &Error) -> bool {
        if error.kind() != ErrorKind::Moved || error.is_of_a_change() {
            return false;
        }
        let text = error.to_string();
        let has_newer = || {
            let newest = self.0.control.facts().map(|facts| facts.layout().epoch);
            newest.is_ok_and(|epoch| epoch > self.0.recorded.epoch)
        };
        // The current layout refuses a statement that names the old shard, too.
        text.contains(KEYS_LEFT) || (text.contains(KEY_LEFT) && has_newer())
    }

    /// Loads the layout in which a key has moved, after recording its lines if no other process has. The session's
    /// transaction has been rolled back. Returns the error for the session.
    pub(crate) fn after_key_move(&self, error: Error) -> Error {
        let (kind, message) = match self.follow_key_move() {
            Ok(()) => (
                ErrorKind::Moved,
                "keys of the shard have moved to another one: the transaction was rolled back; run it again"
                    .to_owned(),
            ),
            Err(failed) => (
                if failed.is_retryable() { ErrorKind::Moved } else { failed.kind() },
                format!("keys of the shard have moved to another one, which cannot be followed: {failed}"),
            ),
        };
        let followed = Error::new(kind, message).of_a_change();
        let followed = match error.shard() {
            Some(shard) => followed.on_shard(shard),
            None => followed,
        };
        followed.with_source(error)
    }

    fn follow_key_move(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let facts = self.0.control.facts()?;
            if facts.layout().epoch > self.0.recorded.epoch {
                return self.reload();
            }
            if KeyMoveRecord::of(&facts).is_none() {
                let message = "the shard's keys have moved in an epoch that the control database does not have: it was restored from \
                               an older copy; restore a newer one";
                return Err(Error::new(ErrorKind::Layout, message));
            }
            // The process that moves the key records the lines itself, unless it has died.
            if began.elapsed() < PATIENCE {
                std::thread::sleep(PAUSE);
                continue;
            }
            match self.switching().finish_key_move() {
                Ok(true) => {}
                Ok(false) => std::thread::sleep(PAUSE),
                Err(error) if began.elapsed() >= self.0.timeout => return Err(error),
                // A part of the transaction may be prepared on a server although its owner has died.
                Err(_) => self.recover().map(drop)?,
            }
            if began.elapsed() >= self.0.timeout {
                let message = "the lines of a key that moves were not recorded in time";
                return Err(Error::new(ErrorKind::Busy, message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_read_as_it_was_recorded() {
        let moved = KeyMoveRecord {
            number: 7,
            epoch: 3,
            from: "a b".to_owned(),
            to: "c".to_owned(),
            group: "accounts".to_owned(),
            key: "1, 'it''s'".to_owned(),
            lines: vec!["hash modulus 1 remainder 0 => a b".to_owned(), "key 1, 'it''s' => c".to_owned()],
        };
        let mut facts = Facts::default();
        assert_eq!(KeyMoveRecord::of(&facts), None);
        for (name, value) in moved.facts() {
            facts.note(Kind::KeyMove, &name, &value);
        }
        assert_eq!(KeyMoveRecord::of(&facts), Some(moved));
        assert!(refuse_key_move(&facts).is_err());
    }
}
