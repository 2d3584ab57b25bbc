//! The rows that a session has already looked up, by identity: model, id, shard.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::error::Result;
use crate::query::Sharded;
use crate::query::Stored;
use crate::row::LoadedModel;
use crate::schema::{Shard, ShardSet};
use crate::value::{Field, IdKey};

/// A row that was looked up.
struct Known {
    shard: Shard,
    /// The snapshot in which it was read.
    snapshot: Snapshot,
    row: LoadedModel,
}

/// The number of a snapshot of a shard.
type Snapshot = (u64, u64);

/// The rows of one model. Rows with the same id may be known on several shards.
type KnownRows = HashMap<IdKey, SmallVec<[Known; 1]>>;

/// The rows that were looked up by id since the session began, or since its last commit or rollback.
#[derive(Default)]
pub(crate) struct IdentityMap {
    models: Vec<(TypeId, KnownRows)>,
}

fn key<T: Sharded>(id: &T::Id) -> Result<IdKey> {
    Ok(IdKey::of(&id.stored_value()?))
}

/// Returns a function that checks whether a known row is on this shard. A row of a reference table is the same on every
/// shard.
fn is_on<T: Sharded>(shard: &Shard) -> impl Fn(&Known) -> bool {
    let index = shard.index();
    move |known| T::TABLE.is_reference() || known.shard.index() == index
}

impl IdentityMap {
    /// Returns the row of this id, if it is known on one of these shards. A row is known as long as its shard is read in
    /// the same snapshot.
    pub(crate) fn get<T: Sharded>(
        &self,
        id: &T::Id,
        shards: &ShardSet,
        snapshot: impl Fn(&Shard) -> Snapshot,
    ) -> Result<Option<Stored<T>>> {
        let Some((_, rows)) = self.models.iter().find(|(model, _)| *model == TypeId::of::<T>()) else {
            return Ok(None);
        };
        let known = rows.get(&key::<T>(id)?).into_iter().flatten();
        let here = known.filter(|known| {
            (T::TABLE.is_reference() || shards.contains(known.shard.index()))
                && known.snapshot == snapshot(&known.shard)
        });
        Ok(here.min_by_key(|known| known.shard.index()).and_then(|known| {
            let row = Arc::clone(&known.row).downcast::<T>().ok()?;
            Some(Stored::new(row, known.shard.clone()))
        }))
    }

    /// Keeps a row that was read in this snapshot of its shard.
    pub(crate) fn put<T: Sharded>(&mut self, row: &Stored<T>, snapshot: Snapshot) -> Result<()> {
        let model = TypeId::of::<T>();
        let position = self.models.iter().position(|(other, _)| *other == model).unwrap_or_else(|| {
            self.models.push((model, KnownRows::new()));
            self.models.len() - 1
        });
        let Some((_, rows)) = self.models.get_mut(position) else { return Ok(()) };
        let known = rows.entry(key::<T>(row.id())?).or_default();
        let is_on = is_on::<T>(row.shard());
        known.retain(|known| !is_on(known));
        known.push(Known { shard: row.shard().clone(), snapshot, row: Arc::clone(row.row()) as LoadedModel });
        Ok(())
    }

    /// Updates the map after a write through a handle whose row was `before` the write. If the map has that same row, it
    /// is replaced by the written row. Otherwise the handle's other columns may be older, and the row is dropped.
    pub(crate) fn refresh<T: Sharded>(&mut self, row: &Stored<T>, before: &Arc<T>) -> Result<()> {
        let Some(known) = self.known::<T>(row.id())? else { return Ok(()) };
        let is_on = is_on::<T>(row.shard());
        known.retain(|known| {
            let is_as_before = std::ptr::addr_eq(Arc::as_ptr(&known.row), Arc::as_ptr(before));
            if is_on(known) && is_as_before {
                known.row = Arc::clone(row.row()) as LoadedModel;
            }
            !is_on(known) || is_as_before
        });
        Ok(())
    }

    pub(crate) fn forget<T: Sharded>(&mut self, id: &T::Id, shard: &Shard) -> Result<()> {
        if let Some(known) = self.known::<T>(id)? {
            let is_on = is_on::<T>(shard);
            known.retain(|known| !is_on(known));
        }
        Ok(())
    }

    /// Returns the known rows with an id.
    fn known<T: Sharded>(&mut self, id: &T::Id) -> Result<Option<&mut SmallVec<[Known; 1]>>> {
        match self.models.iter_mut().find(|(model, _)| *model == TypeId::of::<T>()) {
            Some((_, rows)) => Ok(rows.get_mut(&key::<T>(id)?)),
            None => Ok(None),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.models.clear();
    }
}
