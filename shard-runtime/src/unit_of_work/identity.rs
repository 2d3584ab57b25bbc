//! The rows that a session has already looked up, by identity: model, id, shard.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Result;
use crate::query::Sharded;
use crate::query::Stored;
use crate::schema::{Shard, ShardSet};
use crate::value::{Field, IdKey};

type Row = Arc<dyn Any + Send + Sync>;

/// A row that was looked up.
struct Known {
    shard: Shard,
    /// The snapshot that it was read in.
    snapshot: u64,
    row: Row,
}

/// The rows that were looked up by id since the session began, or was committed or rolled back.
#[derive(Default)]
pub(crate) struct IdentityMap {
    /// One id may be known on several shards.
    rows: HashMap<(TypeId, IdKey), Vec<Known>>,
}

fn key<T: Sharded>(id: &T::Id) -> Result<(TypeId, IdKey)> {
    Ok((TypeId::of::<T>(), IdKey::of(&id.stored_value()?)))
}

/// Whether rows with one id on these shards are one row: that of a reference table is the same on every shard.
fn is_same<T: Sharded>(a: &Shard, b: &Shard) -> bool {
    T::TABLE.is_reference() || a == b
}

impl IdentityMap {
    /// Returns the row of this id, if it is known on one of these shards. It is known as long as its shard is read in the
    /// same snapshot.
    pub(crate) fn get<T: Sharded>(
        &self,
        id: &T::Id,
        shards: &ShardSet,
        snapshot: impl Fn(&Shard) -> u64,
    ) -> Result<Option<Stored<T>>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let known = self.rows.get(&key::<T>(id)?).into_iter().flatten();
        let mut here = known.filter(|known| {
            (T::TABLE.is_reference() || shards.contains(known.shard.index()))
                && known.snapshot == snapshot(&known.shard)
        });
        Ok(here.next().and_then(|known| {
            let row = Arc::clone(&known.row).downcast::<T>().ok()?;
            Some(Stored::new(row, known.shard.clone()))
        }))
    }

    /// Keeps a row that was read in this snapshot of its shard.
    pub(crate) fn put<T: Sharded>(&mut self, row: &Stored<T>, snapshot: u64) -> Result<()> {
        let known = self.rows.entry(key::<T>(row.id())?).or_default();
        known.retain(|known| !is_same::<T>(&known.shard, row.shard()));
        known.push(Known { shard: row.shard().clone(), snapshot, row: Arc::clone(row.row()) as Row });
        Ok(())
    }

    /// After a row was written through a handle that had it as it was `before`: if that is what is known of the row, the
    /// row as it was written is known instead. Otherwise the handle's other columns may be older, and nothing is known.
    pub(crate) fn refresh<T: Sharded>(&mut self, row: &Stored<T>, before: &Arc<T>) -> Result<()> {
        if !self.rows.is_empty()
            && let Some(known) = self.rows.get_mut(&key::<T>(row.id())?)
            && let Some(place) = known.iter().position(|known| is_same::<T>(&known.shard, row.shard()))
            && let Some(Known { row: kept, .. }) = known.get_mut(place)
        {
            match std::ptr::addr_eq(Arc::as_ptr(kept), Arc::as_ptr(before)) {
                true => *kept = Arc::clone(row.row()) as Row,
                false => drop(known.remove(place)),
            }
        }
        Ok(())
    }

    pub(crate) fn forget<T: Sharded>(&mut self, id: &T::Id, shard: &Shard) -> Result<()> {
        if !self.rows.is_empty()
            && let Some(known) = self.rows.get_mut(&key::<T>(id)?)
        {
            known.retain(|known| !is_same::<T>(&known.shard, shard));
        }
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
    }
}
