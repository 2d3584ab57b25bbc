//! Clusters behind a connection pooler: PgBouncer in each of its pool modes, in front of a real server.
//!
//! In transaction mode each transaction of a client may use another connection of the server, with settings and prepared
//! statements of another client.

mod bouncer;
mod cancelling;
#[path = "../suite/client.rs"]
mod client;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bouncer::Bouncer;
use client::Client;
use shard_runtime::{Builder, Cluster, ErrorKind, Parent, Sharded, Sql};
use sharded_tests::postgres_server::Server;

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "accounts")]
struct Account {
    #[id(sequence)]
    id: i64,
    #[shard_key(list("a" => "a", "b" => "b"))]
    home: String,
    #[lookup]
    email: String,
    cents: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "entries")]
struct Entry {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    account: Parent<Account>,
    text: String,
}

type Models = (Account, Entry);

fn account(home: &str, email: &str) -> NewAccount {
    NewAccount { home: home.to_owned(), email: email.to_owned(), cents: 100 }
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let start = || {
        let server = Server::start_with(&["max_prepared_transactions=50"]);
        server.stop_with_the_process();
        server
    };
    SERVER.get_or_init(start)
}

/// How the two shards are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Schemas,
    Databases,
}

/// Two shards behind a pooler.
struct World {
    server: &'static Server,
    bouncer: Bouncer,
    kept: Kept,
    name: String,
}

impl World {
    fn new(mode: &str, kept: Kept, settings: &[&str]) -> World {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let server = server();
        let bouncer = Bouncer::start(server, mode, settings);
        let name = format!("w{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let client = Client::connect(&server.url());
        for suffix in ["a", "b"] {
            client.run(&format!("CREATE DATABASE {name}_{suffix}"));
        }
        World { server, bouncer, kept, name }
    }

    fn database(&self, shard: &str) -> String {
        match self.kept {
            Kept::Schemas => format!("{}_a", self.name),
            Kept::Databases => format!("{}_{shard}", self.name),
        }
    }

    fn schema(&self, shard: &str) -> String {
        match self.kept {
            Kept::Schemas => format!("s_{shard}"),
            Kept::Databases => "public".to_owned(),
        }
    }

    fn url(&self, shard: &str, more: &str) -> String {
        let (at, _) = self.bouncer.url().rsplit_once('/').unwrap();
        format!("{at}/{}?schema={}{more}", self.database(shard), self.schema(shard))
    }

    fn builder(&self, more: &str) -> Builder {
        Cluster::builder()
            .busy_timeout(Duration::from_secs(20))
            .shard("a", self.url("a", more))
            .shard("b", self.url("b", more))
    }

    /// A plain connection to a shard's database, past the pooler.
    fn client(&self, shard: &str) -> Client {
        let url = self.server.url();
        let (at, _) = url.rsplit_once('/').unwrap();
        Client::connect(&format!("{at}/{}", self.database(shard)))
    }

    /// A plain client of the pooler.
    fn pooled_client(&self) -> Client {
        let (at, _) = self.bouncer.url().rsplit_once('/').unwrap();
        Client::connect(&format!("{at}/{}", self.database("a")))
    }

    fn count(&self, shard: &str, condition: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {}.accounts WHERE {condition}", self.schema(shard));
        self.client(shard).text(&sql).parse().unwrap()
    }
}

/// Threads of transactions over one shard and over both, while other clients of the pooler change what they can.
fn use_from_threads(world: &World, more: &str) {
    let cluster = world.builder(more).create::<Models>().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let client = world.pooled_client();
            while !done.load(Ordering::Relaxed) {
                client.run("SET search_path = pg_catalog; SET lock_timeout = 1; SET default_transaction_read_only = off");
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let threads: Vec<_> = (0..6)
            .map(|thread| {
                let cluster = &cluster;
                scope.spawn(move || {
                    for round in 0..10 {
                        let shards: &[&str] = match round % 3 {
                            0 => &["a"],
                            1 => &["b"],
                            _ => &["a", "b"],
                        };
                        let rows =
                            || shards.iter().map(|home| account(home, &format!("{thread}.{round}@{home}")));
                        let added = cluster.transaction(|session| {
                            let added = session.add_all(rows())?;
                            session.add_all(added.iter().map(|account| NewEntry {
                                account: account.link(),
                                text: format!("{thread}.{round}"),
                            }))?;
                            Ok(added)
                        });
                        for account in added.unwrap() {
                            let mut session = cluster.session();
                            let mut found = session.get::<Account>(account.id).unwrap().unwrap();
                            assert_eq!((&found.email, &found.home), (&account.email, &account.home));
                            found.cents += 1;
                            session.update(&mut found).unwrap();
                            session.commit().unwrap();
                            let by_email = Account::select().filter(Account::EMAIL.eq(&account.email));
                            let found = session.one(by_email).unwrap();
                            assert_eq!((found.id, found.cents), (account.id, 101));
                            assert_eq!(session.all(found.children::<Entry>()).unwrap().len(), 1);
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        beside.join().unwrap();
    });
    // Six threads of ten rounds: four on `a` and three on `b` alone, three on both.
    assert_eq!((world.count("a", "home = 'a'"), world.count("a", "home <> 'a'")), (42, 0));
    assert_eq!((world.count("b", "home = 'b'"), world.count("b", "home <> 'b'")), (36, 0));
    let mut session = cluster.session();
    let all = session.all(Account::select().all_shards().order_by(Account::ID.asc())).unwrap();
    assert_eq!(all.len(), 78);
    assert!(all.is_sorted_by(|a, b| a.id < b.id));
    assert!(cluster.verify().unwrap().is_sound());
    let prepared = "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()";
    assert_eq!(world.client("a").text(prepared), "0");
    let sql = Sql::new("SELECT email FROM accounts WHERE id = ?1");
    let one = session.all(sql.bind(all[0].id).on_shard(all[0].shard().name())).unwrap();
    assert_eq!(one[0].get::<String>("email").unwrap(), all[0].email);
}

#[test]
fn w13_two_schemas_behind_transaction_pooling() {
    let world = World::new("transaction", Kept::Schemas, &[]);
    use_from_threads(&world, "");
}

#[test]
fn w13_two_databases_behind_transaction_pooling() {
    let world = World::new("transaction", Kept::Databases, &[]);
    use_from_threads(&world, "");
}

#[test]
fn w13_two_schemas_behind_transaction_pooling_that_is_named() {
    let world = World::new("transaction", Kept::Schemas, &["ignore_startup_parameters = options"]);
    use_from_threads(&world, "&pooler=transaction");
}

#[test]
fn w13_a_pooler_that_ignores_settings_is_noticed() {
    let world = World::new("transaction", Kept::Schemas, &["ignore_startup_parameters = options"]);
    use_from_threads(&world, "");
}

#[test]
fn w13_session_pooling() {
    let world = World::new("session", Kept::Schemas, &["default_pool_size = 40"]);
    use_from_threads(&world, "");
    let world = World::new("session", Kept::Databases, &["default_pool_size = 40"]);
    use_from_threads(&world, "&pooler=session");
}

#[test]
fn w13_statement_pooling_is_refused() {
    let world = World::new("statement", Kept::Schemas, &[]);
    let error = world.builder("").create::<Models>().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("pool_mode"), "{error}");
    let error = world.builder("&pooler=statement").create::<Models>().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("`transaction`"), "{error}");
}

/// Transaction pooling that is said to be session pooling: the first transaction that comes to another process is refused.
#[test]
fn w13_a_wrong_mode_is_refused_before_anything_is_written() {
    let settings = &["server_round_robin = 1", "default_pool_size = 4"];
    let world = World::new("transaction", Kept::Schemas, settings);
    drop(world.builder("").create::<Models>().unwrap());
    let cluster = match world.builder("&pooler=session").open::<Models>() {
        Ok(cluster) => cluster,
        Err(error) => {
            // It was noticed when the cluster was opened.
            assert!(error.to_string().contains("pooler=transaction"), "{error}");
            return;
        }
    };
    // Two other clients are in turn in a transaction, so that the cluster's comes to another process each time.
    let done = std::sync::atomic::AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let client = world.pooled_client();
                while !done.load(Ordering::Relaxed) {
                    client.run("BEGIN; SELECT pg_sleep(0.01); COMMIT");
                }
            });
        }
        let refused = (0..200).find_map(|number| {
            std::thread::sleep(Duration::from_millis(3));
            let added = cluster.transaction(|session| session.add(account("a", &format!("{number}"))));
            added.err()
        });
        done.store(true, Ordering::Relaxed);
        refused
    });
    let error = refused.expect("a transaction that comes to another process");
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("pooler=transaction"), "{error}");
    assert_eq!(world.count("b", "true"), 0);
}

#[test]
fn w13_connections_that_the_pooler_closes_are_replaced() {
    let settings = &["client_idle_timeout = 4", "server_idle_timeout = 2", "idle_transaction_timeout = 4"];
    let world = World::new("transaction", Kept::Schemas, settings);
    let cluster = world.builder("").create::<Models>().unwrap();
    cluster.transaction(|session| session.add(account("a", "first"))).unwrap();
    std::thread::sleep(Duration::from_millis(6_000));
    cluster.transaction(|session| session.add(account("a", "second"))).unwrap();
    let mut session = cluster.session();
    session.add(account("b", "lost")).unwrap();
    session.flush().unwrap();
    std::thread::sleep(Duration::from_millis(6_000));
    let error = session.commit().map(drop).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ConnectionLost | ErrorKind::TransactionAborted), "{error}");
    session.rollback();
    cluster.transaction(|session| session.add(account("b", "kept"))).unwrap();
    assert_eq!((world.count("a", "true"), world.count("b", "true")), (2, 1));
}

/// A global transaction whose owner is gone is finished through the pooler, too.
#[test]
fn w13_prepared_transactions_are_finished_behind_a_pooler() {
    let world = World::new("transaction", Kept::Databases, &[]);
    let cluster = world.builder("").create::<Models>().unwrap();
    cluster.transaction(|session| session.add_all([account("a", "1"), account("b", "2")])).unwrap();
    let client = world.client("b");
    let cluster_id = client.text("SELECT cluster FROM public.sharded_shard");
    client.run(&format!(
        "BEGIN; UPDATE public.accounts SET cents = 0; PREPARE TRANSACTION 'sharded:{cluster_id}:0:gone:1'"
    ));
    drop(cluster);
    let cluster = world.builder("").open::<Models>().unwrap();
    assert_eq!(client.text("SELECT count(*) FROM pg_prepared_xacts WHERE gid LIKE 'sharded:%gone%'"), "0");
    let all = cluster.session().all(Account::select().all_shards()).unwrap();
    assert!(all.iter().all(|account| account.cents == 100));
}
