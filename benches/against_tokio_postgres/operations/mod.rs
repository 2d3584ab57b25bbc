//! The measured operations: each with the framework and by hand, with the target if there is one.

mod commit;
mod read;
mod write;

use crate::measure::{Failure, Pair, Side};
use crate::servers::Servers;

/// One line of the table.
pub struct Operation {
    pub name: &'static str,
    /// The variant of the hand-written side, if there are several.
    pub against: &'static str,
    /// The greatest allowed ratio of the framework's time to the hand-written one's.
    pub target: Option<f64>,
    /// Makes both sides, and the data that they need.
    pub pair: for<'s> fn(&'s Servers) -> Result<Pair<'s>, Failure>,
}

fn pair<'s>(
    per_block: usize,
    framework: impl Side + 's,
    by_hand: impl Side + 's,
) -> Result<Pair<'s>, Failure> {
    Ok(Pair { per_block: per_block as u32, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

/// All of them, in the table's order.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "get on a server, a session each",
        against: "autocommit, prepared",
        target: None,
        pair: read::get_in_autocommit,
    },
    Operation {
        name: "get on a server, a session each",
        against: "BEGIN, get and COMMIT sent together",
        target: None,
        pair: read::get_in_short_transactions,
    },
    Operation {
        name: "get on a server, inside a session",
        against: "autocommit, prepared",
        target: Some(1.05),
        pair: read::get_in_session,
    },
    Operation {
        name: "top 100 by index over four servers",
        against: "the slowest server alone",
        target: None,
        pair: read::top_by_index_against_the_slowest,
    },
    Operation {
        name: "top 100 by index over four servers",
        against: "all asked at once, sorted",
        target: Some(1.15),
        pair: read::top_by_index_against_all_at_once,
    },
    Operation {
        name: "top 100 by scan over four servers",
        against: "the slowest server alone",
        target: None,
        pair: read::top_by_scan_against_the_slowest,
    },
    Operation {
        name: "top 100 by scan over four servers",
        against: "all asked at once, sorted",
        target: None,
        pair: read::top_by_scan_against_all_at_once,
    },
    Operation {
        name: "ask four servers that take 5 ms",
        against: "one of them",
        target: Some(1.15),
        pair: read::servers_that_take_long,
    },
    Operation {
        name: "insert 100,000 rows over four servers",
        against: "unnest on each, commits at once",
        target: Some(1.05),
        pair: write::insert,
    },
    Operation {
        name: "insert 100,000 rows over four servers, best effort",
        against: "unnest on each, commits at once",
        target: Some(1.05),
        pair: write::insert_by_best_effort,
    },
    Operation {
        name: "update 1,000 rows by id over four servers",
        against: "one after the other, servers at once",
        target: None,
        pair: write::update_against_one_by_one,
    },
    Operation {
        name: "update 1,000 rows by id over four servers",
        against: "unnest on each, commits at once",
        target: None,
        pair: write::update_against_lists,
    },
    Operation {
        name: "commit a row on one server",
        against: "update, commit",
        target: Some(1.1),
        pair: commit::on::<1>,
    },
    Operation {
        name: "commit a row on two servers",
        against: "updates at once, commits at once",
        target: Some(1.6),
        pair: commit::on::<2>,
    },
    Operation {
        name: "commit a row on three servers",
        against: "updates at once, commits at once",
        target: Some(1.6),
        pair: commit::on::<3>,
    },
    Operation {
        name: "commit a row on four servers",
        against: "updates at once, commits at once",
        target: Some(1.6),
        pair: commit::on::<4>,
    },
];
