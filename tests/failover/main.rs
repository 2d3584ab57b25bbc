//! Servers that fail, freeze, are full or change their roles: every wait ends, and sessions continue automatically.
//!
//! The servers are real: a primary and a standby that is promoted under load, servers that are stopped with `SIGSTOP`, one
//! without free connections. Times in these tests are generous bounds, below those of earlier code.

#![cfg(target_os = "linux")]

#[path = "../suite/client.rs"]
#[allow(dead_code)]
mod client;
mod frozen;
mod full;
mod leaving;
mod promoted;
#[path = "../server_attacks/proxy.rs"]
#[allow(dead_code)]
mod proxy;

use shard_runtime::{Builder, Cluster, Sharded};

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "notes")]
struct Note {
    #[id]
    id: i64,
    #[shard_key(list("a" => "a", "b" => "b"))]
    home: String,
    text: String,
}

fn note(id: i64, home: &str) -> Note {
    Note { id, home: home.to_owned(), text: "x".to_owned() }
}

/// A cluster of these shards, of which each is a schema with this prefix and the shard's name.
fn builder(prefix: &str, shards: &[(&str, &str)]) -> Builder {
    shards.iter().fold(Cluster::builder(), |builder, (shard, url)| {
        let separator = if url.contains('?') { '&' } else { '?' };
        builder.shard(*shard, format!("{url}{separator}schema={prefix}{shard}"))
    })
}
