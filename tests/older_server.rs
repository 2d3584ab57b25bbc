//! A server whose data was replaced by an older copy is refused when the cluster is opened (R47).

use std::time::Duration;

use shard_runtime::{Builder, Cluster, ErrorKind, Pace, Sharded, change::Switch};
use sharded_tests::postgres_server::Server;

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "companies")]
struct Company {
    #[id]
    #[shard_key(hash)]
    id: i64,
    name: String,
}

fn write(cluster: &Cluster, first: i64) {
    let mut session = cluster.session();
    session.add_all((first..first + 500).map(|id| Company { id, name: "x".repeat(200) })).unwrap();
    session.commit().unwrap();
}

#[test]
fn r47_an_older_copy_of_a_server_is_refused() {
    let mut server = Server::start_with(&["max_prepared_transactions=20"]);
    let folder = tempfile::tempdir().unwrap();
    let builder = || -> Builder {
        let url = server.url();
        Cluster::builder()
            .control(format!("sqlite:{}", folder.path().join("control.db").display()))
            .shard("a", format!("{url}?schema=a"))
            .shard("b", format!("{url}?schema=b"))
    };
    let cluster = builder().create::<Company>().unwrap();
    write(&cluster, 0);
    drop(cluster);
    let builder = builder();

    server.stop();
    server.save();
    server.start_again();
    write(&builder.clone().open::<Company>().unwrap(), 500);
    // Each time the cluster is opened it records how far the log is.
    drop(builder.clone().open::<Company>().unwrap());
    drop(builder.clone().open::<Company>().unwrap());

    // A crash is no older copy.
    server.stop();
    server.start_again();
    drop(builder.clone().create::<Company>().unwrap());

    server.stop();
    server.bring_back();
    server.start_again();
    for result in [builder.clone().open::<Company>(), builder.create::<Company>()] {
        let error = result.map(drop).unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::WrongDatabase, Some("a")), "{error}");
        assert!(
            error.to_string().contains("older") && error.to_string().contains("expected its log at"),
            "{error}"
        );
    }
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "orders")]
struct Order {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    customer: i64,
}

/// A control database on a server is compared with its shards by two things alone: no id is generated twice, and no change of the
/// layout is forgotten. An older copy without a change since is opened.
#[test]
fn r47_of_an_older_control_database_on_a_server_ids_and_changes_are_noticed() {
    let mut control = Server::start();
    let server = Server::start_with(&["max_prepared_transactions=20"]);
    let builder = |shards: &[&str]| {
        let builder = Cluster::builder().control(format!("{}?schema=control", control.url()));
        shards
            .iter()
            .fold(builder, |builder, shard| builder.shard(*shard, format!("{}?schema={shard}", server.url())))
    };
    let (old, all) = (builder(&["a", "b"]), builder(&["a", "b", "c"]));
    let add = |cluster: &Cluster| {
        let orders =
            cluster.transaction(|session| session.add_all((0..300).map(|customer| NewOrder { customer })));
        let ids: Vec<i64> = orders.unwrap().iter().map(|order| order.id).collect();
        (ids.iter().copied().min().unwrap(), ids.iter().copied().max().unwrap())
    };
    let count = |cluster: &Cluster| cluster.session().one(Order::select().all_shards().count()).unwrap();
    drop(old.create::<Order>().unwrap());
    drop(all.clone().create::<Order>().unwrap());
    control.stop();
    control.save();
    control.start_again();

    // Many blocks of ids are taken from the sequence that the older copy does not know of.
    let cluster = all.clone().open::<Order>().unwrap();
    let mut highest = 0;
    for _ in 0..10 {
        highest = add(&cluster).1;
    }
    drop(cluster);
    control.stop();
    control.bring_back();
    control.start_again();
    let cluster = all.clone().open::<Order>().unwrap();
    assert!(add(&cluster).0 > highest, "an id is generated again");
    assert_eq!(count(&cluster), 3_300);
    assert!(cluster.verify().unwrap().is_sound());

    control.stop();
    control.save();
    control.start_again();
    let cluster = all.clone().open::<Order>().unwrap();
    let refused = |shards: [&str; 2], texts: [&str; 2]| {
        let results = [all.clone().open::<Order>(), all.clone().create::<Order>()];
        for (shard, result) in shards.into_iter().zip(results) {
            let error = result.map(drop).unwrap_err();
            assert_eq!((error.kind(), error.shard()), (ErrorKind::WrongDatabase, Some(shard)), "{error}");
            let message = error.to_string();
            let texts =
                texts.into_iter().chain(["the control database at", "is older than the shard", "restore"]);
            texts.for_each(|text| assert!(message.contains(text), "`{text}` is not in: {message}"));
        }
    };
    let plan = cluster.plan_change().replace("b", "c").build().unwrap();
    let mut change = cluster.begin_change(&plan).unwrap();
    control.stop();
    control.bring_back();
    control.start_again();
    refused(["b", "b"], ["attempts of changes up to 0", "attempt 1"]);
    control.stop();
    control.bring_newer_back();
    control.start_again();
    change.copy(Pace::default(), |_| {}).unwrap();
    change.switch(Switch::within(Duration::from_secs(20))).unwrap();
    change.finish().unwrap();
    drop((change, cluster));
    assert_eq!(count(&all.clone().open::<Order>().unwrap()), 3_300);
    control.stop();
    control.bring_back();
    control.start_again();
    // `open` reads the epoch on the first shard, and `create` first looks at all shards of a database.
    refused(["a", "b"], ["as if it was restored alone: it has", "and the shard"]);
}
