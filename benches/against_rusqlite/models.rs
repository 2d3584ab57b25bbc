//! The models that are measured.

use shard_runtime::{Parent, ShardKey, Sharded};

use crate::numbers;
pub use crate::numbers::{Turns, folded, next_folded, scattered, shuffled};

/// A key that names its shard. There are four shards, named after its values.
#[derive(ShardKey, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    #[shard("north")]
    North,
    #[shard("east")]
    East,
    #[shard("south")]
    South,
    #[shard("west")]
    West,
}

impl Region {
    pub const ALL: [Region; 4] = [Region::North, Region::East, Region::South, Region::West];
}

/// Its id is its key: one shard is read for it.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "accounts")]
pub struct Account {
    #[id]
    #[shard_key(hash)]
    pub id: i64,
    pub owner: String,
    pub cents: i64,
}

impl Account {
    /// The account with this id.
    pub fn numbered(id: i64) -> Self {
        let (owner, cents) = numbers::account(id);
        Account { id, owner, cents }
    }
}

/// Its id is unique over the cluster and does not name the shard.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "stations")]
pub struct Station {
    #[id(sequence)]
    pub id: i64,
    #[shard_key]
    pub region: Region,
    pub name: String,
    pub height: i64,
}

/// A station has 25 of them.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "readings")]
pub struct Reading {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub station: Parent<Station>,
    pub at: i64,
    pub celsius: f64,
    pub remark: String,
}

/// There are a million of them; by `at` there is an index, by `celsius` there is none.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "measurements", index(at))]
pub struct Measurement {
    #[id]
    #[shard_key(hash)]
    pub id: i64,
    pub at: i64,
    pub celsius: f64,
    pub place: String,
}

impl Measurement {
    /// The measurement with this id.
    pub fn numbered(id: i64) -> Self {
        let (at, celsius, place) = numbers::measurement(id);
        Measurement { id, at, celsius, place }
    }
}
