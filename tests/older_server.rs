//! A server whose data was replaced by an older copy is refused when the cluster is opened (R47).

use shard_runtime::{Builder, Cluster, ErrorKind, Sharded};
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
