//! The models that are measured, and the numbers that their rows are made of.

use shard_runtime::{Parent, ShardKey, Sharded};

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

/// Its id is its key: one shard is asked for it.
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
        Account { id, owner: format!("owner {id}"), cents: id % 1_000 }
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
    /// The measurement with this id. Its numbers are no other one's, so that there is one right order.
    pub fn numbered(id: i64) -> Self {
        Measurement {
            id,
            at: (scattered(id) >> 16) as i64,
            celsius: (scattered(id) >> 11) as f64 / 1e14,
            place: format!("place {}", id % 1_000),
        }
    }
}

/// A number that looks like chance and is the same in every run (`splitmix64`).
pub fn scattered(number: i64) -> u64 {
    let mut z = (number as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The numbers from 1 to `count`, each once, in an order without a pattern.
pub fn shuffled(count: i64) -> Vec<i64> {
    let mut numbers: Vec<i64> = (1..=count).collect();
    numbers.sort_by_key(|&number| scattered(number));
    numbers
}

/// Takes so many of a list at a time, from its beginning again where it ends.
pub struct Turns<'l> {
    list: &'l [i64],
    next: usize,
}

impl<'l> Turns<'l> {
    pub fn new(list: &'l [i64]) -> Self {
        Turns { list, next: 0 }
    }

    pub fn take(&mut self, count: usize) -> &'l [i64] {
        if self.next + count > self.list.len() {
            self.next = 0;
        }
        let taken = &self.list[self.next..self.next + count];
        self.next += count;
        taken
    }
}

/// One number from many, which another order changes.
pub fn folded(numbers: impl IntoIterator<Item = i64>) -> u64 {
    numbers.into_iter().fold(0, next_folded)
}

/// The same, one number at a time, from 0.
pub fn next_folded(so_far: u64, number: i64) -> u64 {
    so_far.wrapping_mul(31).wrapping_add(number as u64)
}
