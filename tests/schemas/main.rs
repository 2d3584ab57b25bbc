//! Shards that are schemas of one PostgreSQL database. Their rows stay apart under any settings of the connection, and they
//! share its connections and its transactions.

#[path = "../suite/client.rs"]
mod client;
mod connection;
mod roles;
mod search_path;
mod swapped;

use client::Client;
use shard_runtime::{Builder, Cluster, ErrorKind, Parent, Session, Sharded, Sql};
use sharded_tests::postgres_server::Server;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
const LETTERS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "owners")]
struct Owner {
    #[id]
    id: i64,
    #[shard_key(list("a" => "a", "b" => "b", "c" => "c", "d" => "d"))]
    home: String,
    #[lookup]
    email: String,
    cents: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "pets")]
struct Pet {
    #[id]
    id: i64,
    #[shard_parent]
    owner: Parent<Owner>,
    name: String,
}

/// A model for any number of shards.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "items")]
struct Item {
    #[id]
    #[shard_key(hash)]
    id: i64,
    text: String,
}

fn owner(id: i64, home: &str) -> Owner {
    Owner { id, home: home.to_owned(), email: format!("{id}@{home}"), cents: 100 }
}

/// The server of the tests that leave its settings alone.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let start = || {
        // No transaction can be prepared: commits over several schemas do without.
        let server = Server::start_with(&["max_prepared_transactions=0", "max_connections=60"]);
        server.stop_with_the_process();
        server
    };
    SERVER.get_or_init(start)
}

/// A database of a test's own.
struct World {
    url: String,
}

impl World {
    fn new(server: &Server) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("world{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Client::connect(&server.url()).run(&format!("CREATE DATABASE {name}"));
        let url = server.url();
        let (server, _) = url.rsplit_once('/').unwrap();
        World { url: format!("{server}/{name}") }
    }

    fn client(&self) -> Client {
        Client::connect(&self.url)
    }

    fn builder(&self) -> Builder {
        let builder = Cluster::builder().busy_timeout(Duration::from_secs(20));
        LETTERS
            .iter()
            .fold(builder, |builder, shard| builder.shard(*shard, format!("{}?schema=s_{shard}", self.url)))
    }

    fn filled(&self) -> Cluster {
        let cluster = self.builder().create::<(Owner, Pet)>().unwrap();
        let mut session = cluster.session();
        session.add_all((1..).zip(LETTERS).map(|(id, home)| owner(id, home))).unwrap();
        session.commit().unwrap();
        cluster
    }

    /// The ids of the owners in a schema.
    fn ids(&self, schema: &str) -> Vec<String> {
        let rows = self.client().rows(&format!("SELECT id FROM \"{schema}\".owners ORDER BY id"));
        rows.into_iter().map(|mut row| row.remove(0)).collect()
    }
}

fn all_ids(session: &mut Session) -> Vec<i64> {
    let all = Owner::select().all_shards().order_by(Owner::ID.asc());
    session.all(all).unwrap().iter().map(|owner| owner.id).collect()
}

/// Every verb, on shards `a` and `b`; the rows that are left: 1, 2, 3, 4, 12 (which moved from `a` to `b`) and 13 (`a`).
fn use_everything(cluster: &Cluster) {
    let mut session = cluster.session();
    session.add_all([owner(11, "a"), owner(12, "a"), owner(13, "a"), owner(14, "b")]).unwrap();
    let parent = session.get::<Owner>(12).unwrap().unwrap();
    session.add(Pet { id: 1, owner: parent.link(), name: "Rex".into() }).unwrap();
    session.commit().unwrap();
    let mut moving = session.get::<Owner>(12).unwrap().unwrap();
    session.relocate(&mut moving, |owner| owner.home = "b".into()).unwrap();
    let raised = Owner::update().set(Owner::CENTS, 7).filter(Owner::HOME.is_in(["a", "b"]));
    assert_eq!(session.execute(raised).unwrap(), 6);
    assert_eq!(session.execute(Owner::delete().filter(Owner::ID.eq(11)).all_shards()).unwrap(), 1);
    let mut gone = session.one(Owner::select().filter(Owner::EMAIL.eq("14@b"))).unwrap();
    gone.cents = 8;
    let gone = session.save((*gone).clone()).unwrap();
    session.delete(&gone).unwrap();
    // Without braces, a table is looked for in the shard's schema alone.
    for table in ["{owners}", "owners"] {
        let raise = Sql::new(format!("UPDATE {table} SET cents = cents + 1"));
        assert_eq!(session.execute(raise.all_shards()).unwrap(), 6, "{table}");
        let read = Sql::new(format!("SELECT count(*) AS n FROM {table}"));
        let counts = session.all(read.all_shards()).unwrap();
        let counts: Vec<i64> = counts.iter().map(|row| row.get("n").unwrap()).collect();
        assert_eq!(counts, [2, 2, 1, 1], "{table}");
    }
    let rexes =
        session.all(Owner::select().filter(Owner::has_child(Pet::NAME.eq("Rex"))).all_shards()).unwrap();
    assert_eq!(rexes.iter().map(|owner| (owner.id, owner.shard().name())).collect::<Vec<_>>(), [(12, "b")]);
    session.commit().unwrap();
    assert_eq!(all_ids(&mut session), [1, 2, 3, 4, 12, 13]);
    assert!(cluster.verify().unwrap().is_sound());
}

#[test]
fn r42_rows_stay_in_their_schema_whatever_the_search_path_is() {
    let server = server();
    let world = World::new(server);
    let cluster = world.filled();
    let beside = world.client();
    // Another schema has tables of the same names, and comes first for new connections and in this database.
    beside.run(
        "CREATE SCHEMA evil; CREATE TABLE evil.owners (LIKE s_a.owners); CREATE TABLE evil.pets (LIKE s_a.pets); \
         CREATE TABLE public.owners (LIKE s_a.owners); CREATE TABLE evil.sharded_shard (LIKE s_a.sharded_shard); \
         CREATE TABLE evil.sharded_unit (LIKE s_a.sharded_unit); \
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = evil, public', current_database()); END $$",
    );
    drop(cluster);
    let cluster = world.builder().open::<(Owner, Pet)>().unwrap();
    use_everything(&cluster);
    // A temporary table of the same name, which PostgreSQL finds first.
    let mut session = cluster.session();
    let temporary = "CREATE TEMPORARY TABLE owners (id bigint, cents bigint) ON COMMIT DROP";
    session.execute(Sql::new(temporary).on_shard("a")).unwrap();
    assert_eq!(session.execute(Sql::new("UPDATE owners SET cents = cents").on_shard("a")).unwrap(), 2);
    assert_eq!(all_ids(&mut session), [1, 2, 3, 4, 12, 13]);
    session.commit().unwrap();
    for (schema, ids) in [
        ("s_a", &["1", "13"][..]),
        ("s_b", &["2", "12"]),
        ("s_c", &["3"]),
        ("s_d", &["4"]),
        ("evil", &[]),
        ("public", &[]),
    ] {
        assert_eq!(world.ids(schema), ids, "{schema}");
    }
    let again = world.builder().create::<(Owner, Pet)>().unwrap();
    assert_eq!(all_ids(&mut again.session()), [1, 2, 3, 4, 12, 13]);
}

#[test]
fn a_shard_without_a_schema_is_in_public_whatever_the_search_path_is() {
    let server = server();
    let world = World::new(server);
    world.client().run(
        "CREATE SCHEMA evil; \
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = evil', current_database()); END $$",
    );
    let builder = || {
        let others = LETTERS[1..].iter().fold(Cluster::builder().shard("a", &world.url), |builder, shard| {
            builder.shard(*shard, format!("{}?schema=s_{shard}", world.url))
        });
        others.busy_timeout(Duration::from_secs(20))
    };
    let cluster = builder().create::<(Owner, Pet)>().unwrap();
    let mut session = cluster.session();
    session.add_all((1..).zip(LETTERS).map(|(id, home)| owner(id, home))).unwrap();
    session.commit().unwrap();
    use_everything(&cluster);
    assert_eq!(world.ids("public"), ["1", "13"]);
    let tables = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = 'evil'";
    assert_eq!(world.client().text(tables), "0");
    let said = format!("{:?}", builder().open::<(Owner, Pet)>().unwrap());
    assert!(said.contains("?schema=public") && said.contains("?schema=s_b"), "{said}");
}

#[test]
fn one_schema_is_one_shard_whatever_the_login_is() {
    let server = server();
    let world = World::new(server);
    let other = world.url.replace("//sharded:", "//other:");
    for (second, what) in [(&world.url, "same database"), (&other, "another login")] {
        let builder = Cluster::builder()
            .shard("a", format!("{}?schema=s", world.url))
            .shard("b", format!("{second}?schema=s"));
        let error = builder.create::<Item>().map(drop).unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Configuration, Some("b")), "{error}");
        assert!(error.to_string().contains(what) && error.to_string().contains("?schema=b"), "{error}");
    }
}

#[test]
fn w18_forty_schemas_open_on_a_server_with_thirty_connections() {
    let server = Server::start_with(&["max_connections=30", "max_prepared_transactions=0"]);
    let names: Vec<String> = (0..40).map(|number| format!("s{number:02}")).collect();
    let builder = || {
        names.iter().fold(Cluster::builder().busy_timeout(Duration::from_secs(20)), |builder, name| {
            builder.shard(name, format!("{}?schema={name}", server.url()))
        })
    };
    drop(builder().create::<Item>().unwrap());
    let cluster = builder().open::<Item>().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let cluster = &cluster;
            scope.spawn(move || {
                for round in 0..5 {
                    let ids = (0..20).map(|id| thread * 1_000 + round * 100 + id);
                    let rows: Vec<Item> = ids.map(|id| Item { id, text: format!("t{id}") }).collect();
                    cluster.transaction(|session| session.add_all(rows.clone())).unwrap();
                }
            });
        }
    });
    let mut session = cluster.session();
    assert_eq!(session.one(Item::select().all_shards().count()).unwrap(), 1_600);
    let ordered = session.all(Item::select().all_shards().order_by(Item::ID.desc())).unwrap();
    assert_eq!(ordered.len(), 1_600);
    assert!(ordered.is_sorted_by(|a, b| a.id > b.id));
    let used = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sharded'";
    let used: u32 = server.psql(used).trim().parse().unwrap();
    assert!((1..=11).contains(&used), "{used} connections");
    for (name, row) in names.iter().zip(cluster.shards()) {
        let sum = server.psql(&format!("SELECT count(*) FROM {name}.items"));
        let here = session.one(Item::select().on_shard(row.name()).count()).unwrap();
        assert_eq!(sum.trim(), here.to_string(), "{name}");
    }
}

#[test]
fn a_commit_over_schemas_of_one_database_is_that_databases_own() {
    let server = server();
    let world = World::new(server);
    // The server cannot prepare transactions.
    let cluster = world.filled();
    let log = "SELECT count(*) FROM s_a.sharded_unit";
    let mut session = cluster.session();
    session.add_all([owner(5, "a"), owner(6, "b"), owner(7, "c"), owner(8, "d")]).unwrap();
    session.commit().unwrap();
    assert_eq!(world.client().text(log), "0");
    // It is all or nothing: the second is there already.
    session.add_all([owner(9, "a"), owner(10, "b")]).unwrap();
    session.flush().unwrap();
    session.rollback();
    assert_eq!(all_ids(&mut session), [1, 2, 3, 4, 5, 6, 7, 8]);
    // Savepoints, too.
    session.add(owner(9, "a")).unwrap();
    let inner = session.savepoint(|session| {
        session.add_all([owner(10, "b"), owner(11, "c")])?;
        session.flush()?;
        session.add(owner(5, "a"))?;
        session.flush()
    });
    assert_eq!(inner.unwrap_err().kind(), ErrorKind::Unique);
    session.commit().unwrap();
    assert_eq!(all_ids(&mut session), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn w18_four_schemas_go_on_with_few_connections() {
    let server = Server::start_with(&["max_connections=14", "superuser_reserved_connections=1"]);
    let world = World::new(&server);
    let cluster = world.builder().create::<(Owner, Pet)>().unwrap();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let cluster = &cluster;
            scope.spawn(move || {
                for round in 0..12 {
                    let id = thread * 1_000 + round * 10;
                    let rows = (id..).zip(LETTERS).map(|(id, home)| owner(id, home));
                    cluster.transaction(|session| session.add_all(rows.clone())).unwrap();
                }
            });
        }
    });
    // It was 89 s.
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    assert_eq!(cluster.session().one(Owner::select().all_shards().count()).unwrap(), 8 * 12 * 4);
}

/// Four schemas of one database with 4,000 rows each, of a kilobyte.
fn large(world: &World) -> Cluster {
    let cluster = world.builder().create::<Item>().unwrap();
    let mut session = cluster.session();
    for start in 0..16 {
        let text = "x".repeat(1_000);
        let ids = start * 1_000..(start + 1) * 1_000;
        session.add_all(ids.map(|id| Item { id, text: text.clone() })).unwrap();
        session.commit().unwrap();
    }
    cluster
}

#[test]
fn r28_schemas_of_one_database_are_read_at_once_on_one_connection() {
    let server = server();
    let world = World::new(server);
    drop(large(&world));
    let open = || {
        LETTERS.iter().fold(Cluster::builder().connections(1), |builder, shard| {
            builder.shard(*shard, format!("{}?schema=s_{shard}", world.url))
        })
    };
    let cluster = open().open::<Item>().unwrap();
    for writes in [false, true] {
        let mut session = cluster.session();
        if writes {
            session.add(Item { id: 99_999, text: "new".into() }).unwrap();
            session.flush().unwrap();
        }
        let below = || Item::select().filter(Item::ID.lt(16_000)).all_shards();
        let mut next = 0;
        session
            .for_each(below().order_by(Item::ID.asc()), |item| {
                assert_eq!(item.id, next);
                next += 1;
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        assert_eq!(next, 16_000);
        // One statement after the other, without an order.
        let mut shards: Vec<String> = Vec::new();
        let mut rows = 0;
        session
            .for_each(below(), |item| {
                rows += 1;
                if shards.last().is_none_or(|last| last != item.shard().name()) {
                    shards.push(item.shard().name().to_owned());
                }
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        assert_eq!((rows, shards.join("")), (16_000, "abcd".to_owned()));
        // A reader that leaves early leaves the connection usable.
        for ordered in [true, false] {
            let query = if ordered { below().order_by(Item::ID.desc()) } else { below() };
            let mut seen = 0;
            session
                .for_each(query, |_| {
                    seen += 1;
                    Ok(if seen == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                })
                .unwrap();
            assert_eq!(seen, 5);
        }
        let page = session.all(below().order_by(Item::ID.asc()).limit(3).offset(7_000)).unwrap();
        assert_eq!(page.iter().map(|item| item.id).collect::<Vec<_>>(), [7_000, 7_001, 7_002]);
        // Values are locked while they are merged.
        let locked =
            session.all(below().filter(Item::ID.lt(50)).order_by(Item::ID.asc()).for_update()).unwrap();
        assert_eq!(locked.len(), 50);
        session.rollback();
    }
}

#[test]
fn r32_a_failing_schema_leaves_the_others_and_the_session() {
    let server = server();
    let world = World::new(server);
    let cluster = large(&world);
    world.client().run("UPDATE s_c.items SET text = 'zero' WHERE id = (SELECT max(id) FROM s_c.items)");
    let wrong = || {
        Sql::new("SELECT id, 1 / (CASE WHEN text = 'zero' THEN 0 ELSE 1 END) AS one FROM {items} ORDER BY id")
            .all_shards()
    };
    for writes in [false, true] {
        let mut session = cluster.session();
        if writes {
            session.add(Item { id: 99_999, text: "new".into() }).unwrap();
            session.flush().unwrap();
        }
        let error = session.all(wrong()).map(drop).unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Value, Some("c")), "{error}");
        let count = session.one(Item::select().all_shards().count()).unwrap();
        assert_eq!(count, if writes { 16_001 } else { 16_000 });
        // A deadline stops the statement of one schema, and the session continues.
        session.set_timeout(Some(Duration::from_millis(200)));
        let slow = Sql::new("SELECT id FROM {items}, pg_sleep(5)").on_shard("b");
        assert_eq!(session.all(slow).map(drop).unwrap_err().kind(), ErrorKind::TimedOut);
        session.set_timeout(None);
        assert_eq!(session.one(Item::select().all_shards().count()).unwrap(), count);
        session.commit().unwrap();
        if writes {
            session.execute(Item::delete().filter(Item::ID.eq(99_999)).all_shards()).unwrap();
            session.commit().unwrap();
        }
    }
}
