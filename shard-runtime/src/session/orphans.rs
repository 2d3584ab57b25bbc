//! Entries of lookups without a row, which block their values: written by other programs, or left by an older version of
//! this library.

use super::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Shard;

/// The end of a message about a value whose entry leads to no row and could not be replaced.
const REMEDY: &str = "no row was found where its entry leads: run `Cluster::verify`, then `Cluster::repair`";

impl Session {
    /// Runs something that adds entries and has no effect if it fails. If an entry is in its way that belongs to no row,
    /// this entry is removed, in the same transaction, and it runs once more.
    pub(super) fn without_orphans<O>(&mut self, mut run: impl FnMut(&mut Self) -> Result<O>) -> Result<O> {
        let error = match run(self) {
            Err(error) if error.taken_value().is_some() && self.aborted.is_none() && !self.in_portions => {
                error
            }
            done => return done,
        };
        match self.remove_orphan(&error) {
            Ok(true) => run(self),
            Ok(false) => Err(error),
            Err(_) => Err(error.with_remedy(REMEDY)),
        }
    }

    /// Removes the entry of a value that no row has. Returns whether there was such an entry.
    ///
    /// # Errors
    /// If that is not known: the session may not write every shard, or cannot lock the tables.
    fn remove_orphan(&mut self, error: &Error) -> Result<bool> {
        let cluster = self.cluster.clone();
        let lookup = error
            .taken_value()
            .and_then(|taken| Some((cluster.layout().lookups().get(taken.lookup)?, taken)));
        let Some((lookup, taken)) = lookup else { return Ok(false) };
        // First without locks: most often there is a row.
        let Some(says) = self.entry_of(lookup, &taken.value)? else { return Ok(false) };
        if let Some(shard) = cluster.shards().get(&says).map(Shard::index) {
            // A pinned session may not look on another shard, so that the entry counts.
            let is_elsewhere = self.pinned.is_some_and(|pinned| pinned != shard);
            if is_elsewhere || self.has_row_with(lookup, &taken.value, shard)? {
                return Ok(false);
            }
        }
        if self.pinned.is_some() {
            return Err(Error::new(ErrorKind::ContradictingPins, "the session is pinned to a shard"));
        }
        // Another transaction may be about to finish writing the row: with the tables locked it has ended.
        let before = self.writing_flags();
        let values = [taken.value.clone()];
        let settled = self.settle(lookup, &values, true);
        let drifts = settled.inspect_err(|_| self.stop_writing(&before))?;
        match drifts.is_empty() || drifts.iter().any(|drift| drift.repaired) {
            // Nothing is wrong where a row has come meanwhile, and the value is taken then.
            true => Ok(drifts.iter().any(|drift| drift.repaired)),
            false => Err(Error::new(ErrorKind::Unique, "several rows have the value")),
        }
    }
}
