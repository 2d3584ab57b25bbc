//! The rows that a session has already looked up, by identity: model, id, shard.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::error::Result;
use crate::query::Sharded;
use crate::query::Stored;
use crate::schema::{Shard, ShardSet};
use crate::value::{Field, IdKey};

type Row = Arc<dyn Any + Send + Sync>;

/// A model, an id, and the index of a shard: one id may be known on several shards.
type Key = (TypeId, IdKey, usize);

/// A row that was looked up.
struct Known {
    shard: Shard,
    /// The snapshot that it was read in.
    snapshot: Snapshot,
    row: Row,
}

/// The number of a snapshot of a shard.
type Snapshot = (u64, u64);

/// The rows that were looked up by id since the session began, or was committed or rolled back. Comparing ids is faster than
/// hashing them.
#[derive(Default)]
pub(crate) struct IdentityMap {
    rows: BTreeMap<Key, Known>,
}

/// The keys of a row on these shards.
fn keys<T: Sharded>(id: &T::Id, shards: RangeInclusive<usize>) -> Result<RangeInclusive<Key>> {
    let (model, id) = (TypeId::of::<T>(), IdKey::of(&id.stored_value()?));
    Ok((model, id.clone(), *shards.start())..=(model, id, *shards.end()))
}

/// The keys of a row on a shard: on any, if it is the row of a reference table, which is the same on every shard.
fn keys_of<T: Sharded>(id: &T::Id, shard: &Shard) -> Result<RangeInclusive<Key>> {
    let any = T::TABLE.is_reference();
    keys::<T>(id, if any { 0..=usize::MAX } else { shard.index()..=shard.index() })
}

impl IdentityMap {
    /// Returns the row of this id, if it is known on one of these shards. It is known as long as its shard is read in the
    /// same snapshot.
    pub(crate) fn get<T: Sharded>(
        &self,
        id: &T::Id,
        shards: &ShardSet,
        snapshot: impl Fn(&Shard) -> Snapshot,
    ) -> Result<Option<Stored<T>>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let known = self.rows.range(keys::<T>(id, 0..=usize::MAX)?);
        let mut here = known.map(|(_, known)| known).filter(|known| {
            (T::TABLE.is_reference() || shards.contains(known.shard.index()))
                && known.snapshot == snapshot(&known.shard)
        });
        Ok(here.next().and_then(|known| {
            let row = Arc::clone(&known.row).downcast::<T>().ok()?;
            Some(Stored::new(row, known.shard.clone()))
        }))
    }

    /// Keeps a row that was read in this snapshot of its shard.
    pub(crate) fn put<T: Sharded>(&mut self, row: &Stored<T>, snapshot: Snapshot) -> Result<()> {
        if T::TABLE.is_reference() {
            self.forget::<T>(row.id(), row.shard())?;
        }
        let key = (TypeId::of::<T>(), IdKey::of(&row.id().stored_value()?), row.shard().index());
        let known = Known { shard: row.shard().clone(), snapshot, row: Arc::clone(row.row()) as Row };
        self.rows.insert(key, known);
        Ok(())
    }

    /// After a row was written through a handle that had it as it was `before`: if that is what is known of the row, the
    /// row as it was written is known instead. Otherwise the handle's other columns may be older, and nothing is known.
    pub(crate) fn refresh<T: Sharded>(&mut self, row: &Stored<T>, before: &Arc<T>) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        match self.rows.range_mut(keys_of::<T>(row.id(), row.shard())?).next() {
            Some((_, known)) if std::ptr::addr_eq(Arc::as_ptr(&known.row), Arc::as_ptr(before)) => {
                known.row = Arc::clone(row.row()) as Row;
                Ok(())
            }
            Some(_) => self.forget::<T>(row.id(), row.shard()),
            None => Ok(()),
        }
    }

    pub(crate) fn forget<T: Sharded>(&mut self, id: &T::Id, shard: &Shard) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut known = self.rows.range(keys_of::<T>(id, shard)?).map(|(key, _)| key.clone());
        // A row of a reference table is known on one shard.
        if let Some(key) = known.next() {
            self.rows.remove(&key);
        }
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
    }
}
