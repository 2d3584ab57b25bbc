//! Copies of a whole cluster to another one: `Cluster::copy_to`, and the command `copy`.

#[allow(dead_code, unused_macros)]
#[macro_use]
#[path = "../suite/backend.rs"]
mod backend;
#[allow(dead_code)]
#[path = "../suite/client.rs"]
mod client;
#[allow(dead_code, unused_macros)]
#[macro_use]
#[path = "../values/edges.rs"]
mod edges;
#[allow(dead_code)]
#[path = "../changes/models.rs"]
mod models;
#[path = "../changes/processes.rs"]
mod processes;

mod command;
mod kinds;
mod layouts;
mod power;
mod random;
mod refused;
mod stopped;
mod values;
mod writers;

use shard_runtime::{Cluster, Pace, copy::CopyReport};

/// Copies all rows in small batches.
fn copy(from: &Cluster, to: &Cluster) -> shard_runtime::Result<CopyReport> {
    from.copy_to(to).pace(Pace::rows(7)).run(|progress| drop(progress.to_string()))
}
