//! A server whose connections other programs hold.

use std::time::Duration;

use shard_runtime::{ErrorKind, Session, Sharded};
use sharded_tests::waiting::spawn_until_it_waits;

use crate::builder;
use crate::client::Client;
use sharded_tests::postgres_server::Server;

/// A model of one shard, so that one connection is all that a session can need.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "pages")]
struct Page {
    #[id]
    id: i64,
    #[shard_key(list("a" => "a"))]
    home: String,
}

fn page(id: i64) -> Page {
    Page { id, home: "a".to_owned() }
}

#[test]
fn r44_a_server_without_a_free_connection_is_busy_and_recovers() {
    let settings = ["max_connections=6", "superuser_reserved_connections=0"];
    let server = Server::start_with(&settings);
    let url = server.url();
    let cluster = builder("", &[("a", &url)])
        .without_prepared_transactions()
        .busy_timeout(Duration::from_millis(500))
        .create::<Page>()
        .unwrap();
    // The cluster has its control connection, and one that the first session takes.
    let mut first = cluster.session();
    first.add(page(1)).unwrap();
    first.flush().unwrap();
    let others: Vec<Client> = (0..4).map(|_| Client::connect(&url)).collect();
    let read = |session: &mut Session| session.all(Page::select().on_shard("a"));
    let error = read(&mut cluster.session()).unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Busy, Some("a")), "{error}");
    assert!(error.is_retryable());
    for text in ["no connection left", "max_connections", "connections`"] {
        assert!(error.to_string().contains(text), "{error}");
    }
    // A session that has a connection continues, and gives it to the next.
    first.add(page(2)).unwrap();
    first.commit().unwrap();
    assert_eq!(read(&mut cluster.session()).unwrap().len(), 2);
    first.add(page(3)).unwrap();
    first.flush().unwrap();
    // Connections become free while a transaction waits for one.
    std::thread::scope(|scope| {
        let add = || cluster.transaction(|session| session.add(page(4)).map(drop));
        let adding = spawn_until_it_waits(scope, add);
        drop(others);
        adding.join().unwrap().unwrap();
    });
    first.commit().unwrap();
    assert_eq!(read(&mut cluster.session()).unwrap().len(), 4);
}
