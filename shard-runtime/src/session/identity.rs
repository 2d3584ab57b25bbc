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

/// The rows that were looked up by id since the session began, or was committed or rolled back.
#[derive(Default)]
pub(super) struct IdentityMap {
    /// One id may be known on several shards.
    rows: HashMap<(TypeId, IdKey), Vec<(Shard, Row)>>,
}

fn key<T: Sharded>(id: &T::Id) -> Result<(TypeId, IdKey)> {
    Ok((TypeId::of::<T>(), IdKey::of(&id.stored_value()?)))
}

/// Whether rows with one id on these shards are one row: that of a reference table is the same on every shard.
fn is_same<T: Sharded>(a: &Shard, b: &Shard) -> bool {
    T::TABLE.is_reference() || a == b
}

impl IdentityMap {
    /// The row of this id, where it is known on one of these shards.
    pub(super) fn get<T: Sharded>(&self, id: &T::Id, shards: &ShardSet) -> Result<Option<Stored<T>>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let known = self.rows.get(&key::<T>(id)?).into_iter().flatten();
        let mut here = known.filter(|(shard, _)| T::TABLE.is_reference() || shards.contains(shard.index()));
        Ok(here.next().and_then(|(shard, row)| {
            let row = Arc::clone(row).downcast::<T>().ok()?;
            Some(Stored::new(row, shard.clone()))
        }))
    }

    pub(super) fn put<T: Sharded>(&mut self, row: &Stored<T>) -> Result<()> {
        let known = self.rows.entry(key::<T>(row.id())?).or_default();
        known.retain(|(shard, _)| !is_same::<T>(shard, row.shard()));
        known.push((row.shard().clone(), Arc::clone(row.row()) as Row));
        Ok(())
    }

    /// After a row was written through a handle that had it as it was `before`: if that is what is known of the row, the
    /// row as it was written is known instead. Otherwise the handle's other columns may be older, and nothing is known.
    pub(super) fn refresh<T: Sharded>(&mut self, row: &Stored<T>, before: &Arc<T>) -> Result<()> {
        if !self.rows.is_empty()
            && let Some(known) = self.rows.get_mut(&key::<T>(row.id())?)
            && let Some(place) = known.iter().position(|(shard, _)| is_same::<T>(shard, row.shard()))
            && let Some((_, kept)) = known.get_mut(place)
        {
            match std::ptr::addr_eq(Arc::as_ptr(kept), Arc::as_ptr(before)) {
                true => *kept = Arc::clone(row.row()) as Row,
                false => drop(known.remove(place)),
            }
        }
        Ok(())
    }

    pub(super) fn forget<T: Sharded>(&mut self, id: &T::Id, shard: &Shard) -> Result<()> {
        if !self.rows.is_empty()
            && let Some(known) = self.rows.get_mut(&key::<T>(id)?)
        {
            known.retain(|(other, _)| !is_same::<T>(other, shard));
        }
        Ok(())
    }

    /// Forgets the rows of these shards.
    pub(super) fn forget_shards(&mut self, shards: &ShardSet) {
        for known in self.rows.values_mut() {
            known.retain(|(shard, _)| !shards.contains(shard.index()));
        }
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }
}
