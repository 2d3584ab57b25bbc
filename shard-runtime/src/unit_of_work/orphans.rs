//! Entries of lookups without a row, which block their values: written by other programs, or left by an older version of
//! this library.

use super::UnitOfWork;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{Placed, ShardSet};
use crate::transaction::Transactions;
use crate::value::Value;

/// The end of a message about a value whose entry leads to no row and could not be replaced.
const REMEDY: &str = "its entry leads to no row; run `Cluster::verify`, then `Cluster::repair`";

impl UnitOfWork {
    /// Runs something that adds entries and has no effect if it fails. If an entry is in its way that belongs to no row,
    /// this entry is removed, in the same transaction, and it runs again, until no such entry is left. If that fails, all
    /// entries are as they were.
    pub(crate) fn without_orphans<O>(&mut self, mut run: impl FnMut(&mut Self) -> Result<O>) -> Result<O> {
        let mut error = match run(self) {
            Err(error)
                if error.taken_value().is_some() && self.tx.aborted.is_none() && !self.tx.in_portions =>
            {
                error
            }
            done => return done,
        };
        match self.orphan(&error) {
            Ok(Some(_)) => {}
            Ok(None) => return Err(error),
            Err(failure) => return Err(self.unless_failed(failure, error)),
        }
        let before = self.tx.writing().collect::<Vec<_>>();
        let all = ShardSet::all(self.tx.cluster.layout().shards());
        let (mut has_row, mut is_final) = (false, false);
        let done = self.in_savepoint_after(&all, Transactions::upgrade_to_write, |session| {
            while let Some((lookup, value)) = session.orphan(&error)? {
                let layout = session.tx.cluster.shared_layout();
                has_row = match layout.lookups().get(lookup) {
                    Some(lookup) => !session.remove_orphan(lookup, &value)?,
                    None => true,
                };
                if has_row {
                    return Err(Error::new(ErrorKind::Unique, "a row has the value"));
                }
                match run(session) {
                    // Another value may have such an entry, too.
                    Err(next) if next.taken_value().is_some() && session.tx.aborted.is_none() => error = next,
                    done => {
                        is_final = true;
                        return done;
                    }
                }
            }
            has_row = true;
            Err(Error::new(ErrorKind::Unique, "a row has the value"))
        });
        done.map_err(|failure| {
            if self.tx.aborted.is_none() {
                self.tx.stop_writing_others(&before);
            }
            match (has_row, is_final) {
                (true, _) => error,
                (false, true) => failure,
                (false, false) => self.unless_failed(failure, error),
            }
        })
    }

    /// The lookup and the value that an error names as taken, if its entry may lead to no row; see
    /// [`may_be_orphan`](Self::may_be_orphan).
    fn orphan(&mut self, error: &Error) -> Result<Option<(usize, Value<'static>)>> {
        let Some(taken) = error.taken_value() else { return Ok(None) };
        let layout = self.tx.cluster.shared_layout();
        let Some(lookup) = layout.lookups().get(taken.lookup) else { return Ok(None) };
        let may_be_orphan = self.may_be_orphan(lookup, &taken.value)?;
        Ok(may_be_orphan.then(|| (taken.lookup, taken.value.clone())))
    }

    /// Returns the failure of a search for a value's row if it does not concern the value: a lock that was not obtained,
    /// a shard that does not answer. Otherwise the error that the value is taken, with a remedy.
    fn unless_failed(&self, failure: Error, error: Error) -> Error {
        let is_failed = failure.is_retryable() || failure.is_about_a_shard() || self.tx.aborted.is_some();
        if is_failed { failure } else { error.with_remedy(REMEDY) }
    }

    /// Looks, without locks, whether a value has an entry that leads to no row. Most often there is a row.
    ///
    /// # Errors
    /// If that is not known: the session may not write every shard, or a shard cannot be read.
    fn may_be_orphan(&mut self, lookup: &Placed, value: &Value<'static>) -> Result<bool> {
        let Some(named) = self.entry_of(lookup, value)? else { return Ok(false) };
        for shard in self.tx.cluster.layout().shards().now_on(&named) {
            // A pinned session may not look on another shard, so that the entry counts.
            let is_elsewhere = self.tx.pinned.is_some_and(|pinned| pinned != shard);
            if is_elsewhere || self.has_row_with(lookup, value, shard)? {
                return Ok(false);
            }
        }
        match self.tx.pinned {
            Some(_) => Err(Error::new(ErrorKind::ContradictingPins, "the session is pinned to a shard")),
            None => Ok(true),
        }
    }

    /// Removes the entry of a value that no row has. Returns whether there was such an entry. The tables are locked:
    /// another transaction may be about to finish writing the row.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if the tables cannot be locked; [`ErrorKind::Unique`] if several rows have the value.
    fn remove_orphan(&mut self, lookup: &Placed, value: &Value<'static>) -> Result<bool> {
        let drifts = self.settle(lookup, std::slice::from_ref(value), true)?;
        match drifts.is_empty() || drifts.iter().any(|drift| drift.repaired) {
            // Nothing is wrong if a row has come meanwhile, and the value is taken then.
            true => Ok(drifts.iter().any(|drift| drift.repaired)),
            false => Err(Error::new(ErrorKind::Unique, "several rows have this value")),
        }
    }
}
