//! Shards that are schemas of one PostgreSQL database: their rows stay apart under any settings of the connection, and
//! they share its connections and its transactions.

#[path = "suite/client.rs"]
mod client;

use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::Client;
use shard_runtime::{Builder, Cluster, ErrorKind, Parent, Session, Sharded, Sql};
use sharded_tests::postgres_server::Server;

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
struct Place {
    url: String,
}

impl Place {
    fn new(server: &Server) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("place{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Client::connect(&server.url()).run(&format!("CREATE DATABASE {name}"));
        let url = server.url();
        let (server, _) = url.rsplit_once('/').unwrap();
        Place { url: format!("{server}/{name}") }
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
    let place = Place::new(server);
    let cluster = place.filled();
    let beside = place.client();
    // Another schema has tables of the same names, and comes first for new connections and in this database.
    beside.run(
        "CREATE SCHEMA evil; CREATE TABLE evil.owners (LIKE s_a.owners); CREATE TABLE evil.pets (LIKE s_a.pets); \
         CREATE TABLE public.owners (LIKE s_a.owners); CREATE TABLE evil.sharded_shard (LIKE s_a.sharded_shard); \
         CREATE TABLE evil.sharded_unit (LIKE s_a.sharded_unit); \
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = evil, public', current_database()); END $$",
    );
    drop(cluster);
    let cluster = place.builder().open::<(Owner, Pet)>().unwrap();
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
        assert_eq!(place.ids(schema), ids, "{schema}");
    }
    let again = place.builder().create::<(Owner, Pet)>().unwrap();
    assert_eq!(all_ids(&mut again.session()), [1, 2, 3, 4, 12, 13]);
}

#[test]
fn a_shard_without_a_schema_is_in_public_whatever_the_search_path_is() {
    let server = server();
    let place = Place::new(server);
    place.client().run(
        "CREATE SCHEMA evil; \
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = evil', current_database()); END $$",
    );
    let builder = || {
        let others = LETTERS[1..].iter().fold(Cluster::builder().shard("a", &place.url), |builder, shard| {
            builder.shard(*shard, format!("{}?schema=s_{shard}", place.url))
        });
        others.busy_timeout(Duration::from_secs(20))
    };
    let cluster = builder().create::<(Owner, Pet)>().unwrap();
    let mut session = cluster.session();
    session.add_all((1..).zip(LETTERS).map(|(id, home)| owner(id, home))).unwrap();
    session.commit().unwrap();
    use_everything(&cluster);
    assert_eq!(place.ids("public"), ["1", "13"]);
    let tables = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = 'evil'";
    assert_eq!(place.client().text(tables), "0");
    let said = format!("{:?}", builder().open::<(Owner, Pet)>().unwrap());
    assert!(said.contains("?schema=public") && said.contains("?schema=s_b"), "{said}");
}

#[test]
fn one_schema_is_one_shard_whatever_the_login_is() {
    let server = server();
    let place = Place::new(server);
    let other = place.url.replace("//sharded:", "//other:");
    for (second, what) in [(&place.url, "same database"), (&other, "another login")] {
        let builder = Cluster::builder()
            .shard("a", format!("{}?schema=s", place.url))
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
    let place = Place::new(server);
    // The server cannot prepare transactions.
    let cluster = place.filled();
    let log = "SELECT count(*) FROM s_a.sharded_unit";
    let mut session = cluster.session();
    session.add_all([owner(5, "a"), owner(6, "b"), owner(7, "c"), owner(8, "d")]).unwrap();
    session.commit().unwrap();
    assert_eq!(place.client().text(log), "0");
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
    let place = Place::new(&server);
    let cluster = place.builder().create::<(Owner, Pet)>().unwrap();
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
fn large(place: &Place) -> Cluster {
    let cluster = place.builder().create::<Item>().unwrap();
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
    let place = Place::new(server);
    drop(large(&place));
    let open = || {
        LETTERS.iter().fold(Cluster::builder().connections(1), |builder, shard| {
            builder.shard(*shard, format!("{}?schema=s_{shard}", place.url))
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
    let place = Place::new(server);
    let cluster = large(&place);
    place.client().run("UPDATE s_c.items SET text = 'zero' WHERE id = (SELECT max(id) FROM s_c.items)");
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
        // A deadline stops the statement of one schema, and the session goes on.
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

/// Exchanges two schemas.
fn swap(place: &Place, a: &str, b: &str) {
    place.client().run(&format!(
        "ALTER SCHEMA {a} RENAME TO between; ALTER SCHEMA {b} RENAME TO {a}; ALTER SCHEMA between RENAME TO {b}"
    ));
}

#[test]
fn w30_a_schema_that_is_swapped_under_a_cluster_is_refused() {
    let server = server();
    let place = Place::new(server);
    let cluster = place.filled();
    let refused = |result: shard_runtime::Result<()>, shard: &str| {
        let error = result.unwrap_err();
        // A write may meet a shard with a lookup's entry before.
        let shards = if shard.is_empty() { &["a", "b", "c"][..] } else { &[shard] };
        assert_eq!(error.kind(), ErrorKind::WrongDatabase, "{error}");
        assert!(error.shard().is_some_and(|shard| shards.contains(&shard)), "{error}");
        assert!(error.to_string().contains("URL"), "{error}");
    };
    let read = |shard: &str| cluster.session().all(Owner::select().on_shard(shard)).map(drop);
    let write = |id: i64, shard: &str| {
        let mut session = cluster.session();
        session.add(owner(id, shard))?;
        session.commit().map(drop)
    };
    read("a").unwrap();
    // One that is under way and has read `c`.
    let mut session = cluster.session();
    session.all(Owner::select().on_shard("c")).unwrap();
    swap(&place, "s_a", "s_b");
    for shard in ["a", "b"] {
        refused(session.all(Owner::select().on_shard(shard)).map(drop), shard);
        refused(read(shard), shard);
        refused(write(50, shard), "");
        let raise = Owner::update().set(Owner::CENTS, 0).on_shard(shard);
        refused(cluster.transaction(|session| session.execute(raise.clone())).map(drop), shard);
        let sql = Sql::new("UPDATE owners SET cents = 0").on_shard(shard);
        refused(cluster.transaction(|session| session.execute(sql.clone())).map(drop), shard);
    }
    // The others go on, in the session that met it as well.
    assert_eq!(session.all(Owner::select().on_shard("c")).unwrap().len(), 1);
    read("d").unwrap();
    swap(&place, "s_a", "s_b");
    let client = place.client();
    assert_eq!(
        client.text("SELECT sum(cents) FROM (TABLE s_a.owners UNION ALL TABLE s_b.owners) AS rows"),
        "200"
    );
    assert_eq!(all_ids(&mut session), [1, 2, 3, 4]);
    session.rollback();
    // A row of another cluster, of no cluster, and no row.
    client.run("UPDATE s_a.sharded_shard SET cluster = 'other'; DELETE FROM s_b.sharded_shard; DROP SCHEMA s_c CASCADE");
    for shard in ["a", "b", "c"] {
        refused(read(shard), shard);
        refused(write(70, shard), "");
    }
    read("d").unwrap();
}

#[test]
fn w30_a_schema_that_is_swapped_in_mid_transaction_is_refused() {
    let server = server();
    let place = Place::new(server);
    let cluster = place.filled();
    let mut session = cluster.session();
    session.add(owner(9, "c")).unwrap();
    session.flush().unwrap();
    swap(&place, "s_a", "s_b");
    session.add(owner(10, "a")).unwrap();
    // Lookups may have used it before: then the commit finds it.
    let error = session.flush().and_then(|()| session.commit().map(drop)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongDatabase, "{error}");
    session.rollback();
    swap(&place, "s_a", "s_b");
    assert_eq!(all_ids(&mut session), [1, 2, 3, 4]);
}

#[test]
fn w24_sql_does_not_change_a_connection_for_later_sessions() {
    let server = server();
    let place = Place::new(server);
    drop(place.filled());
    let builder = LETTERS.iter().fold(Cluster::builder().connections(1), |builder, shard| {
        builder.shard(*shard, format!("{}?schema=s_{shard}", place.url))
    });
    let cluster = builder.open::<(Owner, Pet)>().unwrap();
    let mut session = cluster.session();
    for sql in [
        "SET search_path = s_b",
        "/* a */ set -- b\n session search_path to s_b",
        "SET ROLE pg_read_all_data",
        "SET SESSION AUTHORIZATION DEFAULT",
        "RESET ALL",
        "DISCARD ALL",
        "DEALLOCATE ALL",
        "PREPARE x AS SELECT 1",
        "PREPARE TRANSACTION 'x'",
        "LISTEN x",
        "LOAD 'plpgsql'",
        "COMMIT",
        "DECLARE x CURSOR WITH HOLD FOR SELECT 1",
        "CREATE TEMP TABLE owners (id bigint)",
    ] {
        let error = session.execute(Sql::new(sql).on_shard("a")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Query, "{sql}: {error}");
        assert!(error.to_string().contains("connection"), "{sql}: {error}");
    }
    session.execute(Sql::new("SET LOCAL search_path = s_b").on_shard("a")).unwrap();
    session.add(owner(20, "a")).unwrap();
    session.commit().unwrap();
    assert_eq!(
        (place.ids("s_a"), place.ids("s_b")),
        (vec!["1".to_owned(), "20".to_owned()], vec!["2".to_owned()])
    );
    // What cannot be seen in the text is undone.
    let hidden = [
        "SELECT set_config('search_path', 's_b', false) AS said",
        "SELECT set_config('role', 'pg_read_all_data', false) AS said",
        "SELECT set_config('lock_timeout', '1', false) AS said",
        "SELECT set_config('synchronous_commit', 'off', false) AS said",
        "SELECT pg_advisory_lock(1)::text AS said",
        "SELECT set_config('my.setting', 'x', false) AS said",
    ];
    let state = "SELECT concat_ws(' ', current_user, current_setting('lock_timeout'), \
                 current_setting('synchronous_commit'), nullif(current_setting('my.setting', true), ''), \
                 (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())) AS state";
    let state = || {
        let mut session = cluster.session();
        let row = session.one(Sql::new(state).on_shard("a")).unwrap();
        row.get::<String>("state").unwrap()
    };
    let before = state();
    for sql in hidden {
        for ends in ["commit", "rollback", "write"] {
            let mut session = cluster.session();
            if ends == "write" {
                session
                    .execute(Owner::update().set(Owner::CENTS, 5).filter(Owner::ID.eq(1)).all_shards())
                    .unwrap();
            }
            session.all(Sql::new(sql).on_shard("a")).unwrap();
            match ends {
                "rollback" => session.rollback(),
                _ => drop(session.commit().unwrap()),
            }
            drop(session);
            assert_eq!(state().trim_end(), before.trim_end(), "{sql}, {ends}");
            let mut session = cluster.session();
            assert_eq!(all_ids(&mut session), [1, 2, 3, 4, 20]);
            session.rollback();
        }
    }
}

impl Place {
    /// Sets the `search_path` of the role in this database.
    fn set_search_path(&self, path: &str) {
        self.client().run(&format!(
            "DO $$ BEGIN EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I SET search_path = {path}', \
             current_database()); END $$"
        ));
    }

    /// A builder whose first shard is in the schema of a URL without `?schema=`.
    fn builder_without_schema(&self) -> Builder {
        let builder = Cluster::builder().busy_timeout(Duration::from_secs(20)).shard("a", &self.url);
        LETTERS[1..]
            .iter()
            .fold(builder, |builder, shard| builder.shard(*shard, format!("{}?schema=s_{shard}", self.url)))
    }

    /// How many tables of this library a schema has.
    fn own_tables(&self, schema: &str) -> String {
        let sql = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE relname LIKE 'sharded%' AND relkind = 'r' AND nspname = ";
        self.client().text(&format!("{sql}'{schema}'"))
    }
}

/// The last release made the tables of a URL without `?schema=` in the first schema of the role's `search_path`.
#[test]
fn r47_a_cluster_in_another_schema_of_the_search_path_is_not_made_again() {
    let server = server();
    let place = Place::new(server);
    drop(place.filled());
    place.client().run("ALTER SCHEMA s_a RENAME TO app");
    place.set_search_path("app, s_b, public");
    let refused = |result: shard_runtime::Result<Cluster>| {
        let error = result.map(drop).unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::WrongDatabase, Some("a")), "{error}");
        let message = error.to_string();
        assert!(message.contains("?schema=app") && message.contains("?schema=public"), "{message}");
    };
    refused(place.builder_without_schema().create::<(Owner, Pet)>());
    refused(place.builder_without_schema().open::<(Owner, Pet)>());
    assert_eq!(place.own_tables("public"), "0");
    // The remedies of the message: the cluster that exists, or another one on purpose.
    let named = |schema: &str| {
        LETTERS[1..].iter().fold(
            Cluster::builder()
                .busy_timeout(Duration::from_secs(20))
                .shard("a", format!("{}?schema={schema}", place.url)),
            |builder, shard| builder.shard(*shard, format!("{}?schema=s_{shard}", place.url)),
        )
    };
    let cluster = named("app").create::<(Owner, Pet)>().unwrap();
    assert_eq!(all_ids(&mut cluster.session()), [1, 2, 3, 4]);
    drop(cluster);
    let only = Cluster::builder().shard("a", format!("{}?schema=public", place.url)).create::<Item>();
    assert!(only.unwrap().session().all(Item::select().all_shards()).unwrap().is_empty());
    // It exists in `public` now, so that other schemas do not count.
    drop(Cluster::builder().shard("a", &place.url).open::<Item>().unwrap());
    drop(Cluster::builder().shard("a", &place.url).create::<Item>().unwrap());
}

/// The schemas of the cluster's other shards may be in the `search_path`.
#[test]
fn r47_schemas_of_other_shards_in_the_search_path_do_not_count() {
    let server = server();
    let place = Place::new(server);
    place.set_search_path("s_b, s_c, public");
    let first = Cluster::builder().shard("b", format!("{}?schema=s_b", place.url));
    let builder = || first.clone().shard("a", &place.url).control(format!("{}?schema=s_b", place.url));
    drop(builder().create::<Item>().unwrap());
    drop(builder().create::<Item>().unwrap());
    drop(builder().open::<Item>().unwrap());
}

/// A model whose ids the application gives, and the same with ids that the cluster generates.
mod given {
    use shard_runtime::Sharded;

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "events")]
    pub struct Event {
        #[id]
        pub id: i64,
        #[shard_key(list("a" => "a", "b" => "b"))]
        pub home: String,
    }
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "events")]
struct Event {
    #[id(sequence)]
    id: i64,
    #[shard_key(list("a" => "a", "b" => "b"))]
    home: String,
}

/// In a cluster of the last release, control has no table of the skipped ids.
#[test]
fn r56_a_role_without_create_generates_ids_above_the_rows() {
    let server = server();
    let place = Place::new(server);
    let builder = |login: &str| {
        let url = place.url.replace("//sharded:", &format!("//{login}:"));
        ["a", "b"].iter().fold(Cluster::builder().busy_timeout(Duration::from_secs(20)), |builder, shard| {
            builder.shard(*shard, format!("{url}?schema=s_{shard}"))
        })
    };
    let cluster = builder("sharded").create::<given::Event>().unwrap();
    let mut session = cluster.session();
    session.add(given::Event { id: 41, home: "b".into() }).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    let client = place.client();
    client.run(&format!(
        "DROP TABLE s_a.sharded_skipped_ids; CREATE ROLE without_create LOGIN PASSWORD '{}'; \
         GRANT USAGE ON SCHEMA s_a, s_b TO without_create; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA s_a, s_b TO without_create",
        server.password()
    ));
    let cluster = builder("without_create").open::<Event>().unwrap();
    let mut session = cluster.session();
    let event = session.add(NewEvent { home: "a".into() }).unwrap();
    assert_eq!(event.id, 42);
    session.commit().unwrap();
    // Only what needs the table fails.
    let error = session.add_with_id(5_000, NewEvent { home: "a".into() }).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let message = error.to_string();
    let sql = message.split_once("CREATE TABLE").unwrap_or_else(|| panic!("{message}")).1;
    assert!(message.contains("GRANT") && message.contains("without_create"), "{message}");
    session.rollback();
    cluster.advance_ids::<Event>(100).unwrap();
    assert!(session.add(NewEvent { home: "a".into() }).unwrap().id > 100);
    session.commit().unwrap();
    // The SQL of the message is the remedy.
    client.run(&format!("CREATE TABLE{sql}"));
    session.add_with_id(5_000, NewEvent { home: "a".into() }).unwrap();
    session.commit().unwrap();
}

/// The role may look the table of the skipped ids up, and may neither read nor write it.
#[test]
fn r56_a_role_without_rights_on_the_skipped_ids_generates_ids_above_the_rows() {
    let server = server();
    let place = Place::new(server);
    let builder = |login: &str| {
        let url = place.url.replace("//sharded:", &format!("//{login}:"));
        ["a", "b"].iter().fold(Cluster::builder().busy_timeout(Duration::from_secs(20)), |builder, shard| {
            builder.shard(*shard, format!("{url}?schema=s_{shard}"))
        })
    };
    let cluster = builder("sharded").create::<given::Event>().unwrap();
    let mut session = cluster.session();
    session.add(given::Event { id: 41, home: "b".into() }).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    let client = place.client();
    client.run(&format!(
        "CREATE ROLE without_skipped LOGIN PASSWORD '{}'; GRANT USAGE ON SCHEMA s_a, s_b TO without_skipped; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA s_a, s_b TO without_skipped; \
         REVOKE ALL ON s_a.sharded_skipped_ids FROM without_skipped; \
         REVOKE UPDATE ON s_a.sharded_sequence FROM without_skipped",
        server.password()
    ));
    // A role that generates no ids opens the cluster.
    let cluster = builder("without_skipped").open::<Event>().unwrap();
    assert_eq!(cluster.session().one(Event::select().all_shards().count()).unwrap(), 1);
    drop(cluster);
    client.run("GRANT UPDATE ON s_a.sharded_sequence TO without_skipped");
    let cluster = builder("without_skipped").open::<Event>().unwrap();
    let mut session = cluster.session();
    assert_eq!(session.add(NewEvent { home: "a".into() }).unwrap().id, 42);
    session.commit().unwrap();
    let error = session.add_with_id(5_000, NewEvent { home: "a".into() }).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let message = error.to_string();
    assert!(!message.contains("CREATE TABLE"), "{message}");
    let grant = message.split_once("GRANT").unwrap_or_else(|| panic!("{message}")).1;
    session.rollback();
    // The SQL of the message is the remedy.
    client.run(&format!("GRANT{grant}"));
    session.add_with_id(5_000, NewEvent { home: "a".into() }).unwrap();
    session.commit().unwrap();
}

/// Two processes may make the table of the skipped ids at once.
#[test]
fn r56_a_table_of_skipped_ids_that_another_process_is_making_is_waited_for() {
    let server = server();
    let place = Place::new(server);
    let builder =
        ["a", "b"].iter().fold(Cluster::builder().busy_timeout(Duration::from_secs(60)), |builder, shard| {
            builder.shard(*shard, format!("{}?schema=s_{shard}", place.url))
        });
    let cluster = builder.create::<Event>().unwrap();
    let client = place.client();
    client.run("DROP TABLE s_a.sharded_skipped_ids");
    client.run(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('sharded ids \"s_a\".\"sharded_skipped_ids\"', 0)); \
         CREATE TABLE s_a.sharded_skipped_ids (name TEXT NOT NULL, first bigint NOT NULL, last bigint NOT NULL)",
    );
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| {
            let mut session = cluster.session();
            session.add_with_id(5_000, NewEvent { home: "a".into() }).map(drop)?;
            session.commit().map(drop)
        });
        let watching = place.client();
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                       AND datname = current_database()";
        while watching.text(waiting) == "0" && !adding.is_finished() {}
        client.run("COMMIT");
        adding.join().unwrap().unwrap();
    });
}

/// A role that may read each shard's record, and not the one of the control database.
#[test]
fn r40_a_role_that_may_not_read_the_recorded_layout_is_told_the_grant() {
    let server = server();
    let place = Place::new(server);
    let builder = |login: &str| {
        let url = place.url.replace("//sharded:", &format!("//{login}:"));
        let builder = Cluster::builder().control(format!("{url}?schema=s_control"));
        LETTERS
            .iter()
            .fold(builder, |builder, shard| builder.shard(*shard, format!("{url}?schema=s_{shard}")))
    };
    drop(builder("sharded").create::<(Owner, Pet)>().unwrap());
    place.client().run(&format!(
        "CREATE ROLE without_record LOGIN PASSWORD '{}'; \
         GRANT USAGE ON SCHEMA s_control, s_a, s_b, s_c, s_d TO without_record; \
         GRANT SELECT ON ALL TABLES IN SCHEMA s_control, s_a, s_b, s_c, s_d TO without_record; \
         REVOKE ALL ON s_control.sharded_state FROM without_record",
        server.password()
    ));
    let builder = builder("without_record");
    let error = builder.open::<(Owner, Pet)>().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let message = error.to_string();
    assert!(message.contains("GRANT SELECT") && message.contains("s_control"), "{message}");
}

/// A schema that is replaced under a running cluster is noticed by each transaction that begins afterwards, on a connection
/// that has checked the shard before.
#[test]
fn r40_each_transaction_that_reads_checks_the_shard() {
    let server = server();
    let place = Place::new(server);
    drop(place.filled());
    let builder = LETTERS.iter().fold(Cluster::builder().connections(1), |builder, shard| {
        builder.shard(*shard, format!("{}?schema=s_{shard}", place.url))
    });
    let cluster = builder.open::<(Owner, Pet)>().unwrap();
    let swap = || {
        place.client().run(
            "BEGIN; ALTER SCHEMA s_a RENAME TO aside; ALTER SCHEMA s_b RENAME TO s_a; ALTER SCHEMA aside RENAME TO s_b; \
             COMMIT",
        );
    };
    let mut session = cluster.session();
    let read = |session: &mut Session| session.get(Owner::by_id(1).on_shard("a"));
    for round in 0..3 {
        assert!(read(&mut session).unwrap().is_some(), "{round}");
        session.rollback();
        swap();
        for shard in ["a", "b"] {
            let error = session.get(Owner::by_id(1).on_shard(shard)).unwrap_err();
            assert_eq!((error.kind(), error.shard()), (ErrorKind::WrongDatabase, Some(shard)), "{error}");
            session.rollback();
        }
        let mut fresh = cluster.session();
        assert_eq!(read(&mut fresh).unwrap_err().kind(), ErrorKind::WrongDatabase);
        let all = fresh.all(Owner::select().all_shards()).unwrap_err();
        assert_eq!(all.kind(), ErrorKind::WrongDatabase);
        assert!(fresh.get(Owner::by_id(3).on_shard("c")).unwrap().is_some());
        drop(fresh);
        swap();
    }
}

/// A limit that the server sets is no lock that another transaction holds: trying again does not help.
#[test]
fn a_statement_timeout_of_the_server_is_not_busy() {
    let server = server();
    let place = Place::new(server);
    drop(place.filled());
    place.client().run(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET statement_timeout = 300', current_database()); END $$",
    );
    let cluster = place.builder().open::<(Owner, Pet)>().unwrap();
    let mut session = cluster.session();
    let refused = |error: shard_runtime::Error| {
        assert_eq!((error.kind(), error.shard()), (ErrorKind::TimedOut, Some("a")), "{error}");
        assert!(!error.is_retryable() && error.to_string().contains("`statement_timeout`"), "{error}");
    };
    refused(session.all(Sql::new("SELECT pg_sleep(30)::text AS s").on_shard("a")).unwrap_err());
    session.rollback();
    let slow = "UPDATE owners SET cents = (SELECT 1 FROM (SELECT pg_sleep(30)) AS s)";
    refused(session.execute(Sql::new(slow).on_shard("a")).unwrap_err());
    session.rollback();
    // A lock that is not obtained is: the wait ends before the statement's time is over.
    let holder = place.client();
    holder.run("BEGIN; LOCK TABLE s_a.owners IN ACCESS EXCLUSIVE MODE");
    let update = Owner::update().set(Owner::CENTS, 5).filter(Owner::HOME.eq("a"));
    let busy = session.execute(update.clone()).unwrap_err();
    assert_eq!((busy.kind(), busy.shard()), (ErrorKind::Busy, Some("a")), "{busy}");
    session.rollback();
    let mut tries = 0;
    let changed = cluster.transaction(|session| {
        tries += 1;
        if tries == 2 {
            holder.run("COMMIT");
        }
        session.execute(update.clone())
    });
    assert_eq!((changed.unwrap(), tries), (1, 2));
}

/// Another program may cancel any statement; trying again helps.
#[test]
fn a_statement_that_another_program_cancels_is_busy() {
    let server = server();
    let place = Place::new(server);
    let cluster = place.filled();
    for is_limited in [false, true] {
        let error = std::thread::scope(|scope| {
            let sleeping = scope.spawn(|| {
                let mut session = cluster.session();
                session.set_timeout(is_limited.then_some(Duration::from_secs(600)));
                session.all(Sql::new("SELECT pg_sleep(500)::text AS s").on_shard("a")).unwrap_err()
            });
            let client = place.client();
            let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(500)%' \
                          AND state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()";
            while client.text(cancel) == "0" {}
            sleeping.join().unwrap()
        });
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Busy, Some("a")), "{error}");
    }
}

/// The commit of a deferred constraint, a batch, and what is prepared are cancelled, too.
#[test]
fn a_commit_that_another_program_cancels_is_busy() {
    let server = server();
    let place = Place::new(server);
    let cluster = place.filled();
    place.client().run(
        "CREATE FUNCTION s_a.sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(501); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON s_a.owners DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
         EXECUTE FUNCTION s_a.sleep()",
    );
    let error = std::thread::scope(|scope| {
        let sleeping = scope.spawn(|| {
            let mut session = cluster.session();
            session.execute(Owner::update().set(Owner::CENTS, 5).filter(Owner::HOME.eq("a"))).unwrap();
            session.commit().map(drop).unwrap_err()
        });
        let client = place.client();
        let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
                      AND pid <> pg_backend_pid() AND datname = current_database()";
        while client.text(cancel) == "0" && !sleeping.is_finished() {}
        sleeping.join().unwrap()
    });
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Busy, Some("a")), "{error}");
}

/// The database of a server, and not only a schema of it, is dropped.
#[test]
fn r47_a_dropped_database_is_not_made_again() {
    let server = server();
    let (first, second) = (Place::new(server), Place::new(server));
    let builder = || {
        Cluster::builder()
            .busy_timeout(Duration::from_secs(5))
            .without_prepared_transactions()
            .shard("a", format!("{}?schema=s_a", first.url))
            .shard("b", format!("{}?schema=s_b", second.url))
    };
    drop(builder().create::<Item>().unwrap());
    let cluster = builder().open::<Item>().unwrap();
    let drop_database = |place: &Place| {
        let name = place.url.rsplit_once('/').unwrap().1;
        Client::connect(&server.url()).run(&format!("DROP DATABASE {name} WITH (FORCE)"));
    };
    drop_database(&second);
    let mut session = cluster.session();
    let read = session.all(Item::select().on_shard("b")).unwrap_err();
    assert_eq!((read.kind(), read.shard()), (ErrorKind::Missing, Some("b")), "{read}");
    session.rollback();
    assert!(session.all(Item::select().on_shard("a")).unwrap().is_empty());
    drop((session, cluster));
    for _ in 0..2 {
        for result in [builder().open::<Item>(), builder().create::<Item>()] {
            let error = result.map(drop).unwrap_err();
            assert_eq!((error.kind(), error.shard()), (ErrorKind::Missing, Some("b")), "{error}");
            let message = error.to_string();
            assert!(message.contains("restore it") && message.contains("replace_lost(\"b\")"), "{message}");
        }
    }
    // `create` makes no database; in an empty one it makes the shard if that is asked for.
    let name = second.url.rsplit_once('/').unwrap().1;
    Client::connect(&server.url()).run(&format!("CREATE DATABASE {name}"));
    let error = builder().create::<Item>().map(drop).unwrap_err();
    assert_eq!(error.shard(), Some("b"), "{error}");
    assert!(error.to_string().contains("replace_lost(\"b\")"), "{error}");
    let cluster = builder().replace_lost("b").create::<Item>().unwrap();
    assert!(cluster.session().all(Item::select().all_shards()).unwrap().is_empty());
    drop(cluster);
    // The first database holds control.
    drop_database(&first);
    let opened = builder().open::<Item>().map(drop).unwrap_err();
    assert_eq!(opened.kind(), ErrorKind::Missing, "{opened}");
    let created = builder().create::<Item>().map(drop).unwrap_err();
    assert_eq!((created.kind(), created.shard()), (ErrorKind::WrongDatabase, Some("b")), "{created}");
    for error in [opened, created] {
        assert!(error.to_string().contains("control database"), "{error}");
        assert!(error.to_string().contains("restore it"), "{error}");
    }
}
