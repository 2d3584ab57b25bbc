//! A session that is pinned as a whole: every shard but its own is out of its reach.

use std::borrow::Cow;

use super::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::route;
use crate::query::Sharded;
use crate::query::{Pin, Target, Targeted};
use crate::schema::{Shard, ShardSet};

impl Session {
    /// The shard that the whole session is pinned to, where it is one of
    /// [`Cluster::session_on_shard`](crate::Cluster::session_on_shard).
    pub fn pinned_to(&self) -> Option<&Shard> {
        self.pinned.and_then(|shard| self.cluster.shards().at(shard))
    }

    /// The shards that something may ask: the session's own instead of what was chosen.
    pub(super) fn narrowed(&self, chosen: ShardSet) -> ShardSet {
        match self.pinned {
            Some(shard) if !chosen.is_empty() => ShardSet::one(shard),
            _ => chosen,
        }
    }

    /// Refuses what belongs on another shard than the one that the session is pinned to.
    pub(super) fn refuse_elsewhere(&self, shard: usize, what: &str) -> Result<()> {
        match self.pinned_to() {
            Some(pinned) if pinned.index() != shard => {
                let other = self.cluster.shards().at(shard).map_or("another shard", Shard::name);
                let said =
                    format!("{what} is of shard `{other}`, the session is pinned to `{}`", pinned.name());
                Err(Error::new(ErrorKind::ContradictingPins, said))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a row of another shard, and of another cluster. That of a reference table is on every shard.
    pub(super) fn refuse_row_elsewhere<T: Sharded>(&self, shard: &Shard) -> Result<()> {
        if self.pinned.is_none() {
            return Ok(());
        }
        let place = self.cluster.shards().place_of(shard)?;
        if T::TABLE.is_reference() {
            return Ok(());
        }
        self.refuse_elsewhere(place, "the row").map_err(|error| error.in_table(T::TABLE.name))
    }

    /// A query or a bulk write with the session's pin beside its own; a query of a reference table that has none with the
    /// shard that it is read on.
    pub(super) fn pinned_query<'q, C: Clone + Targeted>(&self, core: &'q C) -> Result<Cow<'q, C>> {
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
            let place = route::pin_shard(table, pin, self.cluster.shards())?;
            self.refuse_elsewhere(place, "the query").map_err(|error| error.in_table(table.name))?;
        }
        pins.push(Pin::Session(shard.clone()));
        Ok(Cow::Owned(owned))
    }
}
