//! The models of a cycle, and a model below it: one error, at the first of the cycle by name.

use shard_runtime::{Parent, Sharded};

#[derive(Sharded)]
struct Author {
    #[id(sequence)]
    id: i64,
    #[shard_parent]
    team: Parent<Team>,
}

#[derive(Sharded)]
struct Team {
    #[id(sequence)]
    id: i64,
    #[shard_parent]
    company: Parent<Company>,
}

#[derive(Sharded)]
struct Company {
    #[id(sequence)]
    id: i64,
    #[shard_parent]
    leader: Parent<Manager>,
}

#[derive(Sharded)]
struct Manager {
    #[id(sequence)]
    id: i64,
    #[shard_parent]
    team: Parent<Team>,
}

fn main() {}
