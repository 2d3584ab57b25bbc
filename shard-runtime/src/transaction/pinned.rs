//! Keeps a session that is pinned to a shard from using any other.

use std::borrow::Cow;

use super::Transactions;
use super::database::DatabaseTransaction;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::route;
use crate::query::Sharded;
use crate::query::{Pin, Target, Targeted};
use crate::schema::{Shard, ShardSet, Table};

impl Transactions {
    /// Returns the shards that an operation may use: in a pinned session its own instead of the chosen ones.
    pub(crate) fn narrowed(&self, chosen: ShardSet) -> ShardSet {
        match self.pinned {
            Some(shard) if !chosen.is_empty() => ShardSet::one(shard),
            _ => chosen,
        }
    }

    /// Refuses an operation on another shard than the one to which the session is pinned.
    pub(crate) fn refuse_elsewhere(&self, shard: usize, what: &str) -> Result<()> {
        match self.pinned_to() {
            Some(pinned) if pinned.index() != shard => {
                let other =
                    self.cluster.layout().shards().by_index(shard).map_or("another shard", Shard::name);
                let message =
                    format!("{what} is of shard `{other}`, the session is pinned to `{}`", pinned.name());
                Err(Error::new(ErrorKind::ContradictingPins, message))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a row of another shard or of another cluster. A row of a reference table is on every shard.
    pub(crate) fn refuse_row_elsewhere<T: Sharded>(&self, shard: &Shard) -> Result<()> {
        if self.pinned.is_none() {
            return Ok(());
        }
        let index = self.cluster.layout().shards().index_of(shard)?;
        if T::TABLE.is_reference() {
            return Ok(());
        }
        self.refuse_elsewhere(index, "the row").map_err(|error| error.in_table(T::TABLE.name))
    }

    /// Returns a query or a bulk write with the session's pin beside its own. A query of a reference table without pins
    /// gets the shard on which it is read.
    pub(crate) fn pinned_query<'q, C: Clone + Targeted>(&self, core: &'q C) -> Result<Cow<'q, C>> {
        let target = core.target();
        let reads_any = target.table.is_reference() && target.pins.is_empty();
        let pin = match (reads_any, target.for_update) {
            (true, true) => self.first_shard(),
            (true, false) => self.any_shard(),
            (false, _) => self.pinned_to(),
        };
        let Some(shard) = pin else { return Ok(Cow::Borrowed(core)) };
        let mut owned = core.clone();
        let Target { table, pins, .. } = owned.target_mut();
        for pin in pins.iter() {
            let index = route::pin_shard(table, pin, self.cluster.layout().shards())?;
            self.refuse_elsewhere(index, "the query").map_err(|error| error.in_table(table.name))?;
        }
        pins.push(Pin::Session(shard.clone()));
        Ok(Cow::Owned(owned))
    }

    /// Returns the shard to which the session is pinned.
    pub(crate) fn pinned_to(&self) -> Option<&Shard> {
        self.pinned.and_then(|shard| self.cluster.layout().shards().by_index(shard))
    }

    /// Returns the shard on which a reference table is read. A pinned session reads on its shard. Others read on the
    /// first shard on which they have a transaction, and therefore a snapshot, or else on the first of all. The cluster's
    /// order ensures that a session that reads on several shards never returns to an older snapshot.
    pub(crate) fn any_shard(&self) -> Option<&Shard> {
        let layout = self.cluster.layout();
        let in_play = |shard: &&Shard| {
            let transaction = layout
                .location(shard.index())
                .ok()
                .and_then(|location| self.databases.get(location.database));
            transaction.is_some_and(DatabaseTransaction::is_in_a_transaction)
        };
        let shards = layout.shards();
        self.pinned_to().or_else(|| shards.serving().find(in_play)).or_else(|| shards.serving().next())
    }

    /// Returns the shard on which reference rows are read before a write. It is the same for all sessions, so that their
    /// row locks conflict there: the first shard, which every writer of reference rows writes first.
    pub(crate) fn first_shard(&self) -> Option<&Shard> {
        self.pinned_to().or_else(|| self.cluster.layout().shards().serving().next())
    }

    /// Returns the shards to read, of those that may have a row: one shard for a reference table, whose rows all of them
    /// have.
    pub(crate) fn narrowed_for(&self, table: &Table, chosen: ShardSet) -> ShardSet {
        match self.any_shard() {
            Some(any) if table.is_reference() && chosen.len() > 1 => ShardSet::one(any.index()),
            _ => self.narrowed(chosen),
        }
    }

    /// Returns every shard, for a write to a reference table. Refuses it in a session that is pinned to one of several
    /// shards.
    pub(crate) fn every_shard(&self, table: &Table) -> Result<ShardSet> {
        let shards = self.cluster.layout().shards();
        match self.pinned_to() {
            Some(pinned) if shards.len() > 1 => {
                let message = format!(
                    "a reference table is written on every shard, and the session is pinned to `{}`",
                    pinned.name()
                );
                Err(Error::new(ErrorKind::ContradictingPins, message).in_table(table.name))
            }
            _ => Ok(ShardSet::all(shards)),
        }
    }
}
