//! The changes of an operator to a cluster of the first release: shards are added, a migration runs up to its contract, a shard
//! is split, a key is moved.

use std::path::Path;
use std::time::Duration;

use shard_runtime::{Builder, Cluster, Pace, Sharded as _, change::Switch};

use super::models::Models;
use super::next;

/// The shards afterwards: `c` is split into `d` and `e`, and `f` is spare.
pub const SHARDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// The owner of an account that is moved.
const MOVED: &str = "owner 3";

/// Makes all of it.
pub fn change(builder: &dyn Fn(&[&str]) -> Builder) {
    drop(builder(&super::SHARDS).create::<Models>().unwrap());
    drop(builder(&SHARDS).create::<Models>().unwrap());
    let migration = builder(&SHARDS).migrate::<next::Models>(&next::migrations()).unwrap();
    let status = migration.run(|_| {}).unwrap();
    assert!(status.waits_for_contract(), "{status}");
    let cluster = builder(&SHARDS).open::<next::Models>().unwrap();
    let plan = cluster.plan_change().split("c", ["d", "e"]).build().unwrap();
    let mut change = cluster.begin_change(&plan).unwrap();
    change.copy(Pace::rows(2), |_| {}).unwrap();
    assert_eq!(change.verify().unwrap().different, 0);
    change.switch(Switch::within(Duration::from_secs(20))).unwrap();
    change.finish().unwrap();
    let moved = cluster.move_key::<next::Account>(MOVED, elsewhere(&cluster)).run().unwrap();
    assert_eq!(moved.rows, 2);
}

/// The first serving shard that does not have the owner.
fn elsewhere(cluster: &Cluster) -> &'static str {
    let now = cluster.locate::<next::Account>(MOVED).unwrap().name().to_owned();
    ["a", "b"].into_iter().find(|shard| *shard != now).unwrap()
}

/// A cluster that was changed has every row, with the new field, and no shard has a row that it does not own.
pub fn assert_changed(builder: &Builder) {
    let cluster = builder.clone().open::<next::Models>().unwrap();
    let serving: Vec<String> = cluster.shards().iter().map(|shard| shard.name().to_owned()).collect();
    assert_eq!(serving, ["a", "b", "d", "e", "f"]);
    let mut session = cluster.session();
    let accounts = session.all(next::Account::select().all_shards()).unwrap();
    assert_eq!(accounts.len(), 12);
    for account in &accounts {
        assert_eq!(account.nickname, Some(format!("nick of {}", account.owner)));
    }
    let moved = session.one(next::Account::select().filter(next::Account::OWNER.eq(MOVED))).unwrap();
    assert!(["a", "b"].contains(&moved.shard().name()), "{}", moved.shard());
    drop(session);
    assert_eq!(cluster.verify().unwrap().found(), 0);
}

/// The database of another program, as one shard.
pub fn builder_of_adopted(folder: &Path) -> Builder {
    Cluster::builder().shard("main", format!("sqlite:{}/app.db", folder.display()))
}
