//! The time to create and open a cluster with many shards: in files, and as tables by prefix in one file.
//!
//! `cargo bench --bench opening`; `-- --quick` for few shards, `--svg FOLDER` for a picture.

use std::path::Path;
use std::time::{Duration, Instant};

use shard_runtime::{Builder, Cluster, Durability, Parent, Sharded};

mod plot;

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "tenants")]
struct Tenant {
    #[id]
    #[shard_key(hash)]
    id: i64,
    name: String,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "projects")]
struct Project {
    #[id(sequence)]
    id: i64,
    #[shard_parent]
    tenant: Parent<Tenant>,
    title: String,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "tasks")]
struct Task {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    project: Parent<Project>,
    text: String,
}

/// The kind of database that holds the shards.
#[derive(Clone, Copy)]
enum Kind {
    Files,
    Prefixes,
}

fn builder(kind: Kind, shards: usize, folder: &Path) -> Builder {
    let builder = Cluster::builder().durability(Durability::Normal);
    (0..shards).fold(builder, |builder, shard| {
        let url = match kind {
            Kind::Files => format!("sqlite:{}/{shard}.db", folder.display()),
            Kind::Prefixes => format!("sqlite:{}/all.db?prefix=s{shard}_", folder.display()),
        };
        builder.shard(format!("s{shard}"), url)
    })
}

fn timed(run: impl FnOnce() -> shard_runtime::Result<Cluster>) -> Duration {
    let began = Instant::now();
    let cluster = run().expect("the cluster is opened");
    let took = began.elapsed();
    drop(cluster);
    took
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let svg = arguments.iter().position(|argument| argument == "--svg").and_then(|at| arguments.get(at + 1));
    let mut curves = Vec::new();
    // Cargo passes `--bench`.
    let is_quick = arguments.iter().any(|argument| argument == "--quick" || argument == "--test");
    let sizes: &[usize] = if is_quick { &[4, 8] } else { &[64, 128, 256, 512, 1_024] };
    println!("{:<9} {:>7} {:>12} {:>12} {:>12}", "shards in", "shards", "create", "open, 1", "open, 3");
    for (name, kind) in [("files", Kind::Files), ("prefixes", Kind::Prefixes)] {
        let mut times = [("create", Vec::new()), ("open", Vec::new())];
        for &shards in sizes {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let builder = || builder(kind, shards, folder.path());
            let create = timed(|| builder().create::<(Tenant, Project, Task)>());
            let fastest = |run: &dyn Fn() -> Duration| (0..5).map(|_| run()).min().unwrap_or_default();
            // One of the three models, and all of them.
            let one = fastest(&|| timed(|| builder().open::<Tenant>()));
            let all = fastest(&|| timed(|| builder().open::<(Tenant, Project, Task)>()));
            println!("{name:<9} {shards:>7} {create:>12.1?} {one:>12.1?} {all:>12.1?}");
            for ((_, points), time) in times.iter_mut().zip([create, all]) {
                points.push((shards as f64, time.as_secs_f64() * 1e3));
            }
        }
        let curve = |(what, points)| plot::Curve { name: format!("{name}, {what}"), points };
        curves.extend(times.map(curve));
    }
    if let Some(folder) = svg {
        let picture =
            plot::svg("Creating and opening a cluster of three models", "shards", "milliseconds", &curves);
        std::fs::write(Path::new(folder).join("shards.svg"), picture).expect("the picture is written");
    }
}
