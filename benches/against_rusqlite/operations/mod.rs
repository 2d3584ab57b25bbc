//! The measured operations: each with the framework and by hand, with the target if there is one.

mod asynchronous;
mod commit;
mod import;
mod opening;
mod planning;
mod point;
mod scatter;
mod select;
mod write;

use crate::data::Data;
use crate::measure::{Failure, Pair};

/// One line of the table.
pub struct Operation {
    pub name: &'static str,
    /// The variant of the hand-written side, if there are several.
    pub against: &'static str,
    /// The greatest allowed ratio of the framework's time to the hand-written one's.
    pub target: Option<f64>,
    /// Makes both sides, and the data that they need.
    pub pair: for<'d> fn(&'d Data) -> Result<Pair<'d>, Failure>,
}

/// All of them, in the table's order.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "get, known shard, a session each",
        against: "autocommit",
        target: Some(1.3),
        pair: point::known_in_autocommit,
    },
    Operation {
        name: "get, known shard, a session each",
        against: "BEGIN, get, COMMIT",
        target: None,
        pair: point::known_in_short_transactions,
    },
    Operation {
        name: "get, known shard, inside a session",
        against: "autocommit",
        target: None,
        pair: point::known_in_session,
    },
    Operation {
        name: "get, known shard, inside a session",
        against: "in transactions",
        target: Some(1.5),
        pair: point::known_in_transactions,
    },
    Operation {
        name: "get, four shards to ask, a session each",
        against: "autocommit, in turn",
        target: Some(1.3),
        pair: point::unknown_in_autocommit,
    },
    Operation {
        name: "get, four shards to ask, inside a session",
        against: "in transactions, in turn",
        target: Some(1.3),
        pair: point::unknown_in_transactions,
    },
    Operation {
        name: "select 25 rows by index, a session each",
        against: "autocommit",
        target: Some(1.25),
        pair: select::readings_in_autocommit,
    },
    Operation {
        name: "select 25 rows by index, inside a session",
        against: "in transactions",
        target: Some(1.25),
        pair: select::readings_in_transactions,
    },
    Operation {
        name: "children of 1,000 parents",
        against: "a statement per shard and table",
        target: Some(0.75),
        pair: select::children,
    },
    Operation {
        name: "top 100 by index over four shards",
        against: "one file",
        target: None,
        pair: scatter::top_by_index_against_one_file,
    },
    Operation {
        name: "top 100 by index over four shards",
        against: "a loop over four",
        target: None,
        pair: scatter::top_by_index_against_a_loop,
    },
    Operation {
        name: "top 100 by index over four shards",
        against: "a merge of four",
        target: Some(1.3),
        pair: scatter::top_by_index_against_a_merge,
    },
    Operation {
        name: "top 100 by scan over four shards",
        against: "one file",
        target: None,
        pair: scatter::top_by_scan_against_one_file,
    },
    Operation {
        name: "top 100 by scan over four shards",
        against: "a loop over four",
        target: Some(0.6),
        pair: scatter::top_by_scan_against_a_loop,
    },
    Operation {
        name: "top 100 by scan over four tiny shards",
        against: "a loop over four",
        target: Some(1.05),
        pair: scatter::top_of_tiny_shards,
    },
    Operation {
        name: "a million rows in order, collected",
        against: "a merge of four, collected",
        target: None,
        pair: scatter::everything_collected,
    },
    Operation {
        name: "a million rows in order, visited",
        against: "a merge of four, visited",
        target: None,
        pair: scatter::everything_visited,
    },
    Operation {
        name: "count of a million rows",
        against: "a loop over four",
        target: None,
        pair: scatter::count,
    },
    Operation {
        name: "sum over a million rows",
        against: "a loop over four",
        target: None,
        pair: scatter::sum,
    },
    Operation {
        name: "avg over a million rows",
        against: "a loop over four",
        target: None,
        pair: scatter::mean,
    },
    Operation {
        name: "group-by of a million rows, 1,000 groups",
        against: "a loop over four",
        target: None,
        pair: scatter::groups,
    },
    Operation {
        name: "insert 1,000 rows, at the end",
        against: "a transaction per shard",
        target: Some(1.25),
        pair: write::insert_at_the_end,
    },
    Operation {
        name: "insert 1,000 rows, at the end, best effort",
        against: "a transaction per shard",
        target: None,
        pair: write::insert_at_the_end_by_best_effort,
    },
    Operation {
        name: "insert 1,000 rows, with an index",
        against: "a transaction per shard",
        target: Some(1.0),
        pair: write::insert_with_an_index,
    },
    Operation {
        name: "insert 1,000 rows, with an index, best effort",
        against: "a transaction per shard",
        target: None,
        pair: write::insert_with_an_index_by_best_effort,
    },
    Operation {
        name: "import 200,000 rows, 1,000 a commit",
        against: "a transaction per shard",
        target: None,
        pair: import::import,
    },
    Operation {
        name: "import 200,000 rows, 1,000 a commit, best effort",
        against: "a transaction per shard",
        target: None,
        pair: import::import_by_best_effort,
    },
    Operation {
        name: "flush 100,000 rows, on disk",
        against: "a loop, a transaction per shard",
        target: Some(1.0),
        pair: import::flush_on_disk,
    },
    Operation {
        name: "flush 100,000 rows, on disk, best effort",
        against: "a loop, a transaction per shard",
        target: None,
        pair: import::flush_on_disk_by_best_effort,
    },
    Operation {
        name: "ids of a sequence, with their rows",
        against: "a counter in blocks of 1,000",
        target: None,
        pair: import::ids,
    },
    Operation {
        name: "update 1,000 rows by id",
        against: "a transaction per shard",
        target: Some(1.5),
        pair: write::update::<1_000>,
    },
    Operation {
        name: "update 20,000 rows by id",
        against: "a transaction per shard",
        target: None,
        pair: write::update::<20_000>,
    },
    Operation {
        name: "update 20,000 rows in bulk",
        against: "an UPDATE per shard",
        target: None,
        pair: write::update_in_bulk,
    },
    Operation {
        name: "commit a row on one shard, on disk",
        against: "a commit",
        target: Some(1.05),
        pair: commit::durable::<1>,
    },
    Operation {
        name: "commit a row on two shards, on disk",
        against: "a commit on each",
        target: Some(1.6),
        pair: commit::durable::<2>,
    },
    Operation {
        name: "commit a row on three shards, on disk",
        against: "a commit on each",
        target: Some(1.2),
        pair: commit::durable::<3>,
    },
    Operation {
        name: "commit a row on four shards, on disk",
        against: "a commit on each",
        target: Some(1.2),
        pair: commit::durable::<4>,
    },
    Operation {
        name: "commit a row on one shard, not waiting",
        against: "a commit",
        target: None,
        pair: commit::not_waiting::<1>,
    },
    Operation {
        name: "commit a row on four shards, not waiting",
        against: "a commit on each",
        target: Some(1.9),
        pair: commit::not_waiting::<4>,
    },
    Operation {
        name: "explain a filter of three conditions",
        against: "choosing the shard, writing SQL",
        target: None,
        pair: planning::three_conditions,
    },
    Operation {
        name: "explain an IN list of 10,000 keys",
        against: "splitting the list, writing SQL",
        target: None,
        pair: planning::long_list,
    },
    Operation {
        name: "open a cluster of four shards",
        against: "four connections",
        target: Some(1.5),
        pair: opening::open,
    },
    Operation {
        name: "open four shards and read a row of each",
        against: "four connections",
        target: None,
        pair: opening::open_and_read,
    },
    Operation {
        name: "await a get, inside an async session",
        against: "spawn_blocking for each",
        target: Some(0.3),
        pair: asynchronous::get,
    },
    Operation {
        name: "await 64 gets in one run",
        against: "spawn_blocking for all",
        target: None,
        pair: asynchronous::many_steps,
    },
    Operation {
        name: "a thousand async sessions at once, a get each",
        against: "spawn_blocking for each",
        target: Some(1.2),
        pair: asynchronous::a_thousand,
    },
];
