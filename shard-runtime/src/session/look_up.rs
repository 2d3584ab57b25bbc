//! Looking a row up by its id without waiting, and the shards of an id.

use super::Session;
use crate::error::Result;
use crate::planner::route::pin_shard;
use crate::query::{Located, Sharded, Stored};
use crate::schema::ShardSet;
use crate::transaction::in_verb_span;

impl Session {
    /// Looks a row up like [`get`](Session::get) if that takes no longer than waking another thread, as far as is known.
    /// Returns `None` if it may take longer, or fails: `get` does it, or says why not.
    pub(crate) fn get_at_once<T: Sharded>(&mut self, located: &Located<T>) -> Option<Option<Stored<T>>> {
        let read = |session: &mut Self| {
            // What fails is done again and counted then.
            let Ok(shards) = session.shards_of(located) else { return Ok(None) };
            Ok(session.work.look_up_at_once(&located.id, &shards))
        };
        in_verb_span(self, "get", Some(T::TABLE), read).ok().flatten()
    }

    /// Whether nothing is pending or written, and only files were read: the session can end without waiting.
    pub(crate) fn ends_at_once(&self) -> bool {
        !self.work.has_pending_changes() && self.work.tx.ends_at_once()
    }

    /// The shards that may have the row.
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
