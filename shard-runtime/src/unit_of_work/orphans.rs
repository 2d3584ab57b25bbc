//! Entries of lookups without a row, which make their values unusable: written by other programs, or left by an older
//! version of this library.

use super::UnitOfWork;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{PlacedLookup, ShardSet};
use crate::transaction::Transactions;
use crate::value::Value;

/// The end of the message if a value's entry leads to no row and could not be replaced.
const REMEDY: &str = "its entry leads to no row; run `Cluster::verify`, then `Cluster::repair`";

impl UnitOfWork {
    /// Runs a function that adds entries and has no effect if it fails. If an entry without a row has caused the failure,
    /// removes that entry in the same transaction and retries, until there is no such entry. If the function still fails,
    /// all entries are unchanged.
    pub(crate) fn without_orphans<O>(&mut self, mut run: impl FnMut(&mut Self) -> Result<O>) -> Result<O> {
        let mut error = match run(self) {
            Err(error)
                if error.taken_value().is_some() && self.tx.aborted.is_none() && !self.tx.in_batches =>
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
                    // Another value may have an entry without a row, too.
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

    /// Returns the lookup and the value that a unique error names, if the value's entry may lead to no row; see
    /// [`may_be_orphan`](Self::may_be_orphan).
    fn orphan(&mut self, error: &Error) -> Result<Option<(usize, Value<'static>)>> {
        let Some(taken) = error.taken_value() else { return Ok(None) };
        let layout = self.tx.cluster.shared_layout();
        let Some(lookup) = layout.lookups().get(taken.lookup) else { return Ok(None) };
        let may_be_orphan = self.may_be_orphan(lookup, &taken.value)?;
        Ok(may_be_orphan.then(|| (taken.lookup, taken.value.clone())))
    }

    /// Returns the failure of a search for a value's row if it is not about the value. Examples are a lock that was not
    /// obtained, or a shard that does not answer. Otherwise returns the unique error, with a remedy.
    fn unless_failed(&self, failure: Error, error: Error) -> Error {
        let is_failed = failure.is_retryable() || failure.is_about_a_shard() || self.tx.aborted.is_some();
        if is_failed { failure } else { error.with_remedy(REMEDY) }
    }

    /// Returns whether a value's entry seems to lead to no row, without locks. Usually there is a row.
    ///
    /// # Errors
    /// If this cannot be found out: the session may not write every shard, or a shard cannot be read.
    fn may_be_orphan(&mut self, lookup: &PlacedLookup, value: &Value<'static>) -> Result<bool> {
        let Some(named) = self.entry_of(lookup, value)? else { return Ok(false) };
        for shard in self.tx.cluster.layout().shards().now_on(&named) {
            // A pinned session may not read another shard, so that the entry counts.
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

    /// Removes the entry of a value that no row has. Returns whether there was one. Locks the tables, because another
    /// transaction may be about to write the row.
    ///
    /// # Errors
    /// - [`ErrorKind::Busy`] if the tables cannot be locked.
    /// - [`ErrorKind::Unique`] if several rows have the value.
    fn remove_orphan(&mut self, lookup: &PlacedLookup, value: &Value<'static>) -> Result<bool> {
        let problems = self.verify_locked(lookup, std::slice::from_ref(value), true)?;
        match problems.is_empty() || problems.iter().any(|problem| problem.repaired) {
            // If a row has been added meanwhile, there is no problem, and the value is taken.
            true => Ok(problems.iter().any(|problem| problem.repaired)),
            false => Err(Error::new(ErrorKind::Unique, "several rows have this value")),
        }
    }
}
