//! A program of the release before the layout was recorded. It opens the cluster that its arguments name, writes to it, and prints
//! how that has ended. `make` is `create` for a new cluster. `old_program.rs` beside this folder builds it with an earlier commit.

mod models;

use models::*;
use shard_runtime::{Builder, Cluster, Result, Sharded as _};

fn run(mode: &str, builder: Builder) -> Result<u64> {
    let cluster = match mode {
        "make" | "create" => builder.create::<Models>()?,
        _ => builder.open::<Models>()?,
    };
    let mut session = cluster.session();
    if mode == "make" {
        session.add(Currency { code: "EUR".into(), name: "Euro".into() })?;
    }
    for owner in ["x", "y", "z"] {
        session.add(NewAccount {
            owner: owner.into(),
            email: format!("{mode} {owner}"),
            currency: "EUR".into(),
            cents: 1,
        })?;
    }
    session.commit()?;
    session.one(Account::select().all_shards().count())
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().expect("a mode");
    let builder = arguments.fold(Cluster::builder(), |builder, shard| {
        let (name, url) = shard.split_once(' ').expect("a name and a URL");
        builder.shard(name, url)
    });
    match run(&mode, builder) {
        Ok(accounts) => println!("stored {accounts}"),
        Err(error) => println!("refused {:?} {error}", error.kind()),
    }
}
