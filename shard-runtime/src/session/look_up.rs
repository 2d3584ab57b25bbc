//! Look-ups by id that do not block, and the shards of an id.

use super::Session;
use crate::error::Result;
use crate::planner::route::pin_shard;
use crate::query::{Located, Sharded, Stored};
use crate::schema::ShardSet;
use crate::transaction::in_verb_span;

impl Session {
    /// Looks up a row like [`get`](Session::get), if that is expected to take no longer than waking a thread. Returns
    /// `None` if it may take longer or has failed: the caller then calls `get`, which returns the error.
    pub(crate) fn get_at_once<T: Sharded>(&mut self, located: &Located<T>) -> Option<Option<Stored<T>>> {
        let read = |session: &mut Self| {
            // An error occurs again in `get`, and is counted there.
            let Ok(shards) = session.shards_of(located) else { return Ok(None) };
            Ok(session.work.look_up_at_once(&located.id, &shards))
        };
        in_verb_span(self, "get", Some(T::TABLE), read).ok().flatten()
    }

    /// Returns whether the transaction can end without blocking: nothing is pending or written, and only files were
    /// read.
    pub(crate) fn ends_at_once(&self) -> bool {
        !self.work.has_pending_changes() && self.work.tx.ends_at_once()
    }

    /// Returns the shards that may have the row.
    pub(super) fn shards_of<T: Sharded>(&self, located: &Located<T>) -> Result<ShardSet> {
        let tx = &self.work.tx;
        let shards = tx.cluster.layout().shards();
        match &located.pin {
            Some(pin) => {
                let shard = pin_shard(T::TABLE, pin, shards)?;
                tx.refuse_elsewhere(shard, "the id").map_err(|error| error.in_table(T::TABLE.name))?;
                Ok(ShardSet::one(shard))
            }
            None => Ok(tx.narrowed_for(T::TABLE, T::identity_chooser(&located.id, None, shards)?)),
        }
    }
}
