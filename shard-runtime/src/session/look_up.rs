//! Looking a row up by its id.

use super::Session;
use crate::error::Result;
use crate::planner::route::pin_shard;
use crate::query::{Locate, Located, Sharded, Stored};
use crate::schema::ShardSet;
use crate::transaction::in_verb_span;

impl Session {
    /// Returns the row with this id, or `None`: `session.get::<City>(5)` if ids are unique over the cluster,
    /// `session.get(Report::by_id(1).on(Continent::Asia))` if they are unique within a shard. A row that the session
    /// has looked up in its current snapshot is not read again. If several shards may have the row, they are read in
    /// turn: all of them if the application gives the ids, up to the first that has it if the cluster generates them.
    /// If that was slow several times for this model, they are read at once.
    ///
    /// # Errors
    /// [`ErrorKind::Ambiguous`](crate::ErrorKind::Ambiguous) if the row is found on two shards; those of placing the id or the pin.
    pub fn get<T: Sharded>(&mut self, id: impl Locate<T>) -> Result<Option<Stored<T>>> {
        let located = id.locate();
        let read = |session: &mut Self| {
            let shards = session.shards_of(&located)?;
            session.work.look_up(&located.id, &shards)
        };
        self.follow(|session| in_verb_span(session, "get", Some(T::TABLE), read))
    }

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

    fn shards_of<T: Sharded>(&self, located: &Located<T>) -> Result<ShardSet> {
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
