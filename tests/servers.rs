//! Sessions over PostgreSQL servers that fail, refuse, are slow or block each other. The suite tests servers without faults, as
//! all other databases.

#[path = "suite/client.rs"]
mod client;
#[path = "servers/cut.rs"]
mod cut;
#[path = "servers/meeting.rs"]
mod meeting;

use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::Client;
use cut::Cut;
use jiff::Timestamp;
use meeting::Meeting;
use shard_runtime::{Builder, Cluster, Commit, Error, ErrorKind, Session, Sharded, Sql, Stored};
use sharded_tests::postgres_server::Server;
use sharded_tests::waiting::soon;

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "companies")]
struct Company {
    #[id]
    id: i64,
    #[shard_key(list("a" => "a", "b" => "b"))]
    home: String,
    name: String,
}

fn company(id: i64, home: &str) -> Company {
    Company { id, home: home.to_owned(), name: "x".to_owned() }
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "measures")]
struct Measure {
    #[id]
    #[shard_key(range("a" => ..1000, "b" => 1000..))]
    id: i64,
    share: f64,
    small: i16,
    at: Timestamp,
    tags: serde_json::Value,
}

/// The server of all tests that leave it alone; none where none is installed.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let start = || {
        let server = Server::start_with(&["max_prepared_transactions=100"]);
        server.stop_with_the_process();
        server
    };
    SERVER.get_or_init(start)
}

/// Two shards, in databases of their own of the server at this URL, each in a schema.
struct World {
    url: String,
    number: u64,
}

impl World {
    fn new(url: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let world = World { url: url.to_owned(), number: COUNT.fetch_add(1, Ordering::Relaxed) };
        let client = Client::connect(url);
        for shard in ["a", "b"] {
            client.run(&format!("CREATE DATABASE {}", world.schema(shard)));
        }
        world
    }

    fn schema(&self, shard: &str) -> String {
        format!("s{}_{shard}", self.number)
    }

    fn shard(&self, shard: &str) -> String {
        self.shard_at(&self.url, shard)
    }

    /// The URL of a shard on the server at another URL.
    fn shard_at(&self, url: &str, shard: &str) -> String {
        let (server, _) = url.rsplit_once('/').unwrap();
        format!("{server}/{0}?schema={0}", self.schema(shard))
    }

    fn builder(&self) -> Builder {
        let builder = Cluster::builder().busy_timeout(Duration::from_secs(20));
        ["a", "b"].iter().fold(builder, |builder, shard| builder.shard(*shard, self.shard(shard)))
    }

    /// A connection beside the library.
    fn client(&self, shard: &str) -> Client {
        let shard_url = self.shard(shard);
        let (url, _) = shard_url.split_once('?').unwrap();
        let client = Client::connect(url);
        client.run(&format!("SET search_path = {}; SET lock_timeout = '5s'", self.schema(shard)));
        client
    }
}

fn filled(world: &World) -> Cluster {
    let cluster = world.builder().create::<(Company, Measure)>().unwrap();
    let mut session = cluster.session();
    session.add_all([company(1, "a"), company(2, "a"), company(3, "b")]).unwrap();
    session.commit().unwrap();
    cluster
}

#[track_caller]
fn assert_error<T>(result: Result<T, Error>, kind: ErrorKind, shard: &str) -> Error {
    let Err(error) = result else { panic!("no error where {kind:?} was expected") };
    assert_eq!((error.kind(), error.shard()), (kind, Some(shard)), "{error}");
    error
}

fn ids(session: &mut Session) -> Vec<i64> {
    let all = Company::select().all_shards().order_by(Company::ID.asc());
    session.all(all).unwrap().iter().map(|company| company.id).collect()
}

fn rename(session: &mut Session, id: i64, home: &str) -> shard_runtime::Result<u64> {
    let one =
        Company::update().set(Company::NAME, "changed").filter(Company::ID.eq(id) & Company::HOME.eq(home));
    session.execute(one)
}

/// How many statements with this text run on the server at this moment.
fn running(world: &World, text: &str) -> String {
    world.client("a").text(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() \
         AND query LIKE '%{text}%'"
    ))
}

/// Ends the library's connections to a shard, as an administrator does.
fn cut_connections(world: &World) {
    world.client("a").rows(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'sharded' \
         AND pid <> pg_backend_pid()",
    );
}

#[test]
fn a_server_that_was_started_again_is_connected_to_anew() {
    let mut server = Server::start();
    let world = World::new(&server.url());
    let cluster = filled(&world);
    let mut session = cluster.session();
    assert_eq!(ids(&mut session), [1, 2, 3]);
    session.commit().unwrap();
    server.stop();
    server.start_again();
    // The connections in the pools are dead, and so is the one that reserves ids. No error has reported this yet.
    assert_eq!(ids(&mut session), [1, 2, 3]);
    session.add_all([company(4, "a"), company(5, "b")]).unwrap();
    session.commit().unwrap();
    // While it is away it is an error with the shard's name.
    server.stop();
    let error = assert_error(session.all(Company::select().on_shard("b")), ErrorKind::ConnectionLost, "b");
    assert!(!format!("{error:?}").contains(&world.url), "{error:?}");
    session.rollback();
    server.start_again();
    assert_eq!(ids(&mut session), [1, 2, 3, 4, 5]);
}

#[test]
fn a_connection_that_is_cut_in_a_unit_undoes_it() {
    let mut server = Server::start();
    let world = World::new(&server.url());
    let cluster = filled(&world);
    let mut session = cluster.session();
    session.add_all([company(4, "a"), company(5, "b")]).unwrap();
    session.flush().unwrap();
    cut_connections(&world);
    let lost = session.all(Company::select().on_shard("b"));
    assert_error(lost, ErrorKind::ConnectionLost, "b");
    assert_eq!(session.commit().unwrap_err().kind(), ErrorKind::TransactionAborted);
    session.rollback();
    assert_eq!(ids(&mut session), [1, 2, 3]);
    session.add_all([company(4, "a"), company(5, "b")]).unwrap();
    session.commit().unwrap();
    // Noticed at the commit only, before anything is decided.
    for shards in [&["a"][..], &["a", "b"]] {
        session.add_all(shards.iter().map(|shard| company(6, shard))).unwrap();
        session.flush().unwrap();
        cut_connections(&world);
        assert_error(session.commit(), ErrorKind::ConnectionLost, "a");
        session.rollback();
        assert_eq!(ids(&mut session), [1, 2, 3, 4, 5]);
        session.rollback();
    }
    assert_eq!(server.psql("SELECT count(*) FROM pg_prepared_xacts").trim(), "0");
    server.stop();
}

#[test]
fn an_answer_to_a_commit_that_is_lost_is_in_doubt() {
    let server = server();
    let cut = Cut::before(&server.url());
    let world = World::new(&cut.url());
    let cluster = filled(&world);
    let mut session = cluster.session();
    session.add(company(4, "a")).unwrap();
    session.flush().unwrap();
    cut.cut_after("COMMIT");
    let error = assert_error(session.commit(), ErrorKind::InDoubt, "a");
    assert!(error.transaction_id().is_none(), "one database has no global transaction to ask for");
    assert_eq!(session.commit().unwrap_err().kind(), ErrorKind::TransactionAborted);
    session.rollback();
    // It was committed, in truth.
    soon("all are read", || ids(&mut cluster.session()) == [1, 2, 3, 4]);
    // For a transaction over several servers, the deciding server is read.
    session.add_all([company(5, "a"), company(6, "b")]).unwrap();
    session.flush().unwrap();
    cut.cut_after("COMMIT");
    session.commit().unwrap();
    assert_eq!(ids(&mut session), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn errors_of_opening_hold_no_secrets() {
    let server = server();
    let world = World::new(&server.url());
    drop(filled(&world));
    let url = server.url();
    let (user, rest) = url.split_once("//").and_then(|(_, rest)| rest.split_once(':')).unwrap();
    let (password, at) = rest.split_once('@').unwrap();
    let (address, _) = at.split_once('/').unwrap();
    let client = Client::connect(&url);
    client.run("CREATE DATABASE closed");
    client.run("ALTER DATABASE closed ALLOW_CONNECTIONS false");
    let wrong = [
        (format!("postgres://{user}:s3cret@{at}?schema={}", world.schema("b")), ErrorKind::Configuration),
        (format!("postgres://{user}:{password}@{address}/nowhere"), ErrorKind::Missing),
        (format!("{url}?schema=s{}_c", world.number), ErrorKind::Missing),
        (format!("postgres://{user}:{password}@127.0.0.1:1/postgres"), ErrorKind::ConnectionLost),
        (format!("postgres://{user}:{password}%00@{at}"), ErrorKind::Configuration),
        (format!("postgres://{user}:{password}@{address}/closed"), ErrorKind::Configuration),
    ];
    for (url, kind) in wrong {
        let open = |builder: Builder| builder.shard("a", world.shard("a")).shard("b", &url);
        let mut said = Vec::new();
        let error = assert_error(open(Cluster::builder()).open::<Company>().map(drop), kind, "b");
        assert_eq!(error.is_retryable(), kind == ErrorKind::ConnectionLost, "{error}");
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            said.extend([error.to_string(), format!("{error:?}")]);
            cause = error.source();
        }
        for said in said {
            assert!(!said.contains(password) && !said.contains("s3cret"), "{said}");
        }
    }
    let cluster = world.builder().open::<(Company, Measure)>().unwrap();
    let explained = cluster.explain(&Company::select().all_shards()).unwrap();
    for said in [format!("{cluster:?}"), format!("{explained}"), format!("{explained:?}")] {
        assert!(!said.contains(password), "{said}");
    }
    assert!(format!("{cluster:?}").contains(address), "{cluster:?}");
}

#[test]
fn a_role_that_quotes_all_names_can_create_and_open() {
    let world = World::new(&server().url());
    for shard in ["a", "b"] {
        let database = world.schema(shard);
        world.client(shard).run(&format!("ALTER DATABASE {database} SET quote_all_identifiers = on"));
    }
    drop(filled(&world));
    drop(world.builder().open::<(Company, Measure)>().unwrap());
}

#[test]
fn a_refused_create_leaves_no_control_database() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let file = format!("sqlite:{}", at("a.db").display());
    let builder = || Cluster::builder().busy_timeout(Duration::from_secs(2)).shard("a", &file);
    let world = World::new(&server().url());
    let rejected = [
        ("postgres://u@127.0.0.1:1/x".to_owned(), "CREATE SCHEMA none", ErrorKind::ConnectionLost),
        (
            world.shard("b").replace(&format!("/{}?", world.schema("b")), "/nowhere?"),
            "CREATE SCHEMA no",
            ErrorKind::Missing,
        ),
        (world.shard("b"), "CREATE SCHEMA {}; CREATE TABLE {}.companies (id bigint)", ErrorKind::Schema),
        (
            world.shard("a"),
            "CREATE SCHEMA {0}; CREATE TABLE {0}.companies (id bigint, home text); INSERT INTO {0}.companies VALUES (1, 'a')",
            ErrorKind::WrongDatabase,
        ),
        ("sqlite:/no/such/folder/b.db".to_owned(), "CREATE SCHEMA other", ErrorKind::Io),
    ];
    for (url, sql, kind) in rejected {
        let shard = if kind == ErrorKind::WrongDatabase { "a" } else { "b" };
        let sql = sql.replace("{}", &world.schema(shard)).replace("{0}", &world.schema(shard));
        world.client(shard).run(&sql);
        assert_error(builder().shard("b", &url).create::<Company>().map(drop), kind, "b");
        assert!(!at("control.db").exists() && !at("a.db").exists(), "{url}");
    }
}

#[test]
fn connecting_to_a_server_that_accepts_no_login_ends() {
    let server = server();
    let world = World::new(&server.url());
    // It is reached, and does not answer.
    let silent = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = format!("postgres://sharded:s3cret@127.0.0.1:{port}/x?connect_timeout=1");
    let builder = Cluster::builder().shard("a", world.shard("a")).shard("b", url);
    let error = assert_error(builder.create::<Company>().map(drop), ErrorKind::ConnectionLost, "b");
    assert!(error.to_string().contains("did not complete the login"), "{error}");
}

#[test]
fn collations_of_our_own_are_refused() {
    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "names")]
    struct Name {
        #[id]
        #[shard_key(range("a" => ..1000, "b" => 1000..))]
        id: i64,
        #[sharded(collate = nocase)]
        name: String,
    }

    let server = server();
    let world = World::new(&server.url());
    let error = assert_error(world.builder().create::<Name>().map(drop), ErrorKind::Configuration, "a");
    assert_eq!((error.table(), error.column()), (Some("names"), Some("name")), "{error}");
    assert!(error.to_string().contains("collation"), "{error}");
}

#[test]
fn a_statement_that_fails_is_undone_alone_the_first_like_any_other() {
    let server = server();
    let world = World::new(&server.url());
    let cluster = filled(&world);
    let beside = world.client("a");
    let mut session = cluster.session();
    let fails = |session: &mut Session| {
        let wrong = session.all(Sql::new("SELECT 1 / 0 AS wrong").on_shard("a"));
        assert_error(wrong.map(drop), ErrorKind::Value, "a");
    };
    // Reading: the snapshot stays. The second time the statement is prepared, and so the first of its transaction.
    for number in [4, 5] {
        fails(&mut session);
        let seen = ids(&mut session);
        beside.run(&format!("INSERT INTO companies VALUES ({number}, 'a', 'beside')"));
        for _ in 0..2 {
            fails(&mut session);
            assert_eq!(ids(&mut session), seen);
        }
        session.commit().unwrap();
        assert!(ids(&mut session).contains(&number));
        session.commit().unwrap();
    }
    // Writing: earlier writes are kept.
    for number in [6, 7] {
        let mut add = |id| {
            session.add(company(id, "a")).unwrap();
            session.flush()
        };
        assert_error(add(1), ErrorKind::Unique, "a");
        session.rollback();
        fails(&mut session);
        session.add(company(number, "a")).unwrap();
        session.flush().unwrap();
        fails(&mut session);
        rename(&mut session, 1, "a").unwrap();
        fails(&mut session);
        session.commit().unwrap();
    }
    assert_eq!(ids(&mut session), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(beside.text("SELECT name FROM companies WHERE id = 1"), "changed");
}

#[test]
fn r25_an_order_is_read_from_the_index_that_has_it() {
    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "levels", index(at), index(height))]
    struct Level {
        #[id]
        #[shard_key(range("a" => ..1000, "b" => 1000..))]
        id: i64,
        at: i64,
        height: Option<i64>,
    }

    let server = server();
    let world = World::new(&server.url());
    let cluster = world.builder().create::<Level>().unwrap();
    let mut session = cluster.session();
    let height = |id: i64| (id % 3 > 0).then_some(id % 7);
    session.add_all((0..100).map(|id| Level { id, at: id % 10, height: height(id) })).unwrap();
    session.commit().unwrap();
    let client = world.client("a");
    client.run("SET enable_seqscan = off; SET enable_sort = off");
    let orders = [
        (Level::ID.asc(), "levels_pkey"),
        (Level::ID.desc(), "levels_pkey"),
        (Level::AT.asc(), "levels(at)"),
        (Level::AT.desc(), "levels(at)"),
        (Level::HEIGHT.asc(), "levels(height)"),
        (Level::HEIGHT.desc(), "levels(height)"),
    ];
    for (order, index) in orders {
        let query = Level::select().all_shards().order_by(order).limit(10);
        let explained = cluster.explain(&query).unwrap();
        let (_, sql) = explained.statements().next().unwrap();
        let plan = client.rows(&format!("EXPLAIN {}", sql.replace("$1", "10"))).concat().join("\n");
        // Rows that are equal in it are sorted by their ids, a few at a time.
        assert!(plan.contains(index) && !plan.contains("->  Sort"), "{sql}\n{plan}");
    }
    // Other orders are sorted by the server, and right.
    let last = Level::select().all_shards().order_by(Level::HEIGHT.asc().nulls_last()).limit(1);
    assert_eq!(session.one(last).unwrap().height, Some(0));
}

#[test]
fn a_server_that_cannot_prepare_is_refused_unless_no_unit_is_over_several() {
    let server = Server::start_with(&["max_prepared_transactions=0"]);
    let world = World::new(&server.url());
    let error = assert_error(world.builder().create::<Company>().map(drop), ErrorKind::Configuration, "a");
    for text in ["max_prepared_transactions", "restart", "without_prepared_transactions"] {
        assert!(error.to_string().contains(text), "{error}");
    }
    let cluster = world.builder().without_prepared_transactions().create::<Company>().unwrap();
    let mut session = cluster.session();
    session.add(company(1, "a")).unwrap();
    session.commit().unwrap();
    session.add_all([company(2, "a"), company(3, "b")]).unwrap();
    let error = session.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Query, "{error}");
    assert!(error.to_string().contains("without_prepared_transactions"), "{error}");
    session.rollback();
    assert_eq!(ids(&mut session), [1]);
    session.set_commit(Commit::BestEffort);
    session.add_all([company(2, "a"), company(3, "b")]).unwrap();
    session.commit().unwrap();
    assert_eq!(ids(&mut session), [1, 2, 3]);
}

#[test]
fn a_statement_that_takes_too_long_is_stopped_on_its_server() {
    let server = server();
    let world = World::new(&server.url());
    let cluster = filled(&world);
    let mut session = cluster.session();
    session.add(company(4, "a")).unwrap();
    session.flush().unwrap();
    session.set_timeout(Some(Duration::from_millis(200)));
    let slow = || Sql::new("SELECT pg_sleep(60) IS NULL AS slept, 'too slow' AS what");
    assert_error(session.all(slow().on_shard("a")), ErrorKind::TimedOut, "a");
    assert_error(session.all(slow().on_shard("b")), ErrorKind::TimedOut, "b");
    let all = session.all(slow().all_shards()).unwrap_err();
    assert_eq!(all.kind(), ErrorKind::TimedOut, "{all}");
    soon("the statement ends", || running(&world, "too slow") == "0");
    // The writes of the transaction are kept.
    session.set_timeout(None);
    assert_eq!(ids(&mut session), [1, 2, 3, 4]);
    session.commit().unwrap();
    assert_eq!(ids(&mut cluster.session()), [1, 2, 3, 4]);
}

#[test]
fn servers_prepare_and_answer_a_scattered_read_at_the_same_time() {
    let server = server();
    let (world, meeting) = (World::new(&server.url()), Meeting::before(&server.url()));
    drop(filled(&world));
    let builder = ["a", "b"].iter().enumerate().fold(Cluster::builder(), |builder, (way, shard)| {
        builder.shard(*shard, world.shard_at(meeting.url(way), shard))
    });
    let cluster = builder.control(world.shard("a")).open::<(Company, Measure)>().unwrap();
    let mut session = cluster.session();
    let ordered = || Company::select().all_shards().order_by(Company::ID.asc());
    // The text is sent only when it is prepared.
    meeting.wait_for("ORDER BY");
    assert_eq!(session.all(ordered()).unwrap().len(), 3);
    assert!(meeting.has_been());
    session.commit().unwrap();
    // If one cannot prepare it, the prepared statement of the other is dropped, and both continue.
    let wrong = || Sql::new("SELECT id FROM {companies} WHERE id > 1").all_shards();
    world.client("a").run("ALTER TABLE companies RENAME TO others");
    rename(&mut session, 3, "b").unwrap();
    assert_error(session.all(wrong()), ErrorKind::Schema, "a");
    world.client("a").run("ALTER TABLE others RENAME TO companies");
    assert_eq!(session.all(wrong()).unwrap().len(), 2);
    assert_eq!(session.all(ordered()).unwrap().len(), 3);
    session.commit().unwrap();
    assert_eq!(
        cluster
            .session()
            .all(Company::select().all_shards().filter(Company::NAME.eq("changed")))
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_stopped_read_makes_no_more_rows() {
    let server = server();
    let world = World::new(&server.url());
    let cluster = filled(&world);
    let mut session = cluster.session();
    session.add(company(4, "a")).unwrap();
    session.flush().unwrap();
    let endless = "SELECT generate_series(1, 1000000000000) AS n, 'endless' AS what";
    for shards in [Sql::new(endless).on_shard("a"), Sql::new(endless).all_shards().on_shard("b")] {
        let first = session.first(shards).unwrap().unwrap();
        assert_eq!(first.get::<i64>("n").unwrap(), 1);
        soon("the statement ends", || running(&world, "endless") == "0");
    }
    let mut seen = 0;
    let stop = |_: Stored<Company>| {
        seen += 1;
        Ok(ControlFlow::Break(()))
    };
    session.for_each(Company::select().all_shards(), stop).unwrap();
    assert_eq!(seen, 1);
    session.commit().unwrap();
    assert_eq!(ids(&mut session), [1, 2, 3, 4]);
}

#[test]
fn a_statement_waits_for_a_row_that_another_transaction_changes() {
    let server = server();
    let world = World::new(&server.url());
    drop(filled(&world));
    let impatient = world.builder().busy_timeout(Duration::from_millis(150));
    let cluster = impatient.open::<(Company, Measure)>().unwrap();
    let (mut first, mut second) = (cluster.session(), cluster.session());
    rename(&mut first, 1, "a").unwrap();
    // Another row of the same table is not locked.
    rename(&mut second, 2, "a").unwrap();
    assert_error(rename(&mut second, 1, "a"), ErrorKind::Busy, "a");
    first.commit().unwrap();
    rename(&mut second, 1, "a").unwrap();
    second.commit().unwrap();
    // A row that was read to write is kept from writers, and from no reader.
    let one = || Company::select().filter(Company::ID.eq(1) & Company::HOME.eq("a"));
    first.one(one().for_update()).unwrap();
    assert_error(rename(&mut second, 1, "a"), ErrorKind::Busy, "a");
    assert_error(second.one(one().for_update()), ErrorKind::Busy, "a");
    assert_error(second.one(one().for_update().count()), ErrorKind::Busy, "a");
    assert_eq!(cluster.session().one(one()).unwrap().name, "changed");
    rename(&mut second, 2, "a").unwrap();
    first.rollback();
    rename(&mut second, 1, "a").unwrap();
    second.commit().unwrap();
}

#[test]
fn sessions_that_wait_for_each_other_on_one_server_fail() {
    let server = server();
    let world = World::new(&server.url());
    let cluster = filled(&world);
    let (mut first, mut second) = (cluster.session(), cluster.session());
    rename(&mut first, 1, "a").unwrap();
    rename(&mut second, 2, "a").unwrap();
    let results = std::thread::scope(|scope| {
        let first = scope.spawn(move || rename(&mut first, 2, "a").and_then(|_| first.commit()).map(drop));
        let second = scope.spawn(move || rename(&mut second, 1, "a").and_then(|_| second.commit()).map(drop));
        [first.join().unwrap(), second.join().unwrap()]
    });
    let failed: Vec<Error> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!((failed[0].kind(), failed[0].shard()), (ErrorKind::Busy, Some("a")), "{failed:?}");
    assert_eq!(code(&failed[0]), "40P01");
}

/// The server's own code of an error.
fn code(error: &Error) -> &str {
    let answer = error.driver_error().and_then(|answer| answer.downcast_ref());
    answer.and_then(tokio_postgres::Error::code).map_or("", |code| code.code())
}

#[test]
fn a_unit_that_lost_in_a_deadlock_is_tried_again() {
    let server = server();
    let world = World::new(&server.url());
    let cluster = filled(&world);
    let (tried, both_hold_one) = (AtomicU64::new(0), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        for order in [[1, 2], [2, 1]] {
            let (cluster, tried, both_hold_one) = (&cluster, &tried, &both_hold_one);
            scope.spawn(move || {
                let mut is_first_time = true;
                let unit = |session: &mut Session| {
                    tried.fetch_add(1, Ordering::Relaxed);
                    rename(session, order[0], "a")?;
                    if std::mem::take(&mut is_first_time) {
                        both_hold_one.wait();
                    }
                    rename(session, order[1], "a").map(drop)
                };
                cluster.transaction(unit).unwrap();
            });
        }
    });
    assert_eq!(tried.into_inner(), 3, "one of them was told, and tried again");
}

/// Another transaction moves the row to another partition while this one waits for it. Only in this case PostgreSQL returns a
/// serialization failure at the isolation level of writing sessions.
#[test]
fn a_unit_that_cannot_be_serialized_is_tried_again() {
    let server = server();
    let world = World::new(&server.url());
    let cluster = filled(&world);
    let other = world.client("a");
    other.run(
        "CREATE TABLE parts (id bigint, part bigint, times bigint) PARTITION BY LIST (part); \
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1); \
         CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2); INSERT INTO parts VALUES (1, 1, 0)",
    );
    let count = |session: &mut Session| -> Result<(), Error> {
        let counted = Sql::new("UPDATE parts SET times = times + 1 WHERE id = 1").on_shard("a");
        session.execute(counted).map(drop)
    };
    let waits = || soon("the statement runs", || running(&world, "SET times = times + 1") == "1");
    other.run("BEGIN; UPDATE parts SET part = 2 WHERE id = 1");
    let error = std::thread::scope(|scope| {
        let counting = scope.spawn(|| count(&mut cluster.session()));
        waits();
        other.run("COMMIT");
        counting.join().unwrap()
    });
    assert_eq!(code(&assert_error(error, ErrorKind::Busy, "a")), "40001");
    // A caller that runs the transaction again gets no error.
    other.run("BEGIN; UPDATE parts SET part = 1 WHERE id = 1");
    let tried = AtomicU64::new(0);
    let unit = |session: &mut Session| {
        tried.fetch_add(1, Ordering::Relaxed);
        count(session)
    };
    std::thread::scope(|scope| {
        let counting = scope.spawn(|| cluster.transaction(unit));
        waits();
        other.run("COMMIT");
        counting.join().unwrap().unwrap();
    });
    assert_eq!((tried.into_inner(), other.text("SELECT times FROM parts").as_str()), (2, "1"));
}

#[test]
fn values_at_the_borders_are_the_same_or_refused() {
    let server = server();
    let world = World::new(&server.url());
    let cluster = filled(&world);
    let mut session = cluster.session();
    let tags = serde_json::json!({ "a": [1, null, "ü\u{10FFFF}"] });
    let measure = |id, share, at| Measure { id, share, small: i16::MIN, at, tags: tags.clone() };
    let rows = [
        measure(1, f64::INFINITY, "1970-01-01T00:00:00Z".parse().unwrap()),
        measure(2, f64::MIN_POSITIVE, "1999-12-31T23:59:59.999999Z".parse().unwrap()),
        measure(i64::MAX, -0.0, "9999-12-30T21:59:59.999999Z".parse().unwrap()),
        measure(i64::MIN, f64::MAX, "0001-01-01T00:00:00Z".parse().unwrap()),
    ];
    session.add_all(rows.clone()).unwrap();
    session.commit().unwrap();
    for row in &rows {
        assert_eq!(*session.get::<Measure>(row.id).unwrap().unwrap(), *row);
        session.rollback();
    }
    let bad = [
        ("share", "'NaN'", "NaN"),
        ("small", "40000", "40000"),
        ("at", "'infinity'", "`infinity`"),
        ("at", "'-infinity'", "`-infinity`"),
    ];
    for (column, value, text) in bad {
        let client = world.client("a");
        client.run(&format!("BEGIN; UPDATE measures SET {column} = {value} WHERE id = 1; COMMIT"));
        let read = session.all(Measure::select().filter(Measure::ID.eq(1)));
        let error = assert_error(read, ErrorKind::Value, "a");
        assert_eq!((error.table(), error.column()), (Some("measures"), Some(column)), "{error}");
        assert!(error.to_string().contains(text), "{error}");
        session.rollback();
        client.run("UPDATE measures SET share = 0, small = 0, at = now() WHERE id = 1");
    }
    // A sum that no integer holds.
    let sum = session.one(Measure::select().on_shard("b").aggregate(Measure::ID.sum()));
    assert_eq!(sum.unwrap(), Some(i64::MAX));
    session.add(measure(1000, 0.0, Timestamp::UNIX_EPOCH)).unwrap();
    let sum = session.one(Measure::select().on_shard("b").aggregate(Measure::ID.sum()));
    assert_error(sum, ErrorKind::Value, "b");
}

#[test]
fn a_statement_is_prepared_anew_where_its_table_was_changed() {
    let server = server();
    let world = World::new(&server.url());
    let cluster = filled(&world);
    let mut session = cluster.session();
    let everything = || Sql::new("SELECT * FROM {companies}").on_shard("a");
    assert_eq!(session.all(everything()).unwrap()[0].columns().count(), 3);
    session.commit().unwrap();
    world.client("a").run("ALTER TABLE companies ADD COLUMN more text");
    assert_eq!(session.all(everything()).unwrap()[0].columns().count(), 4);
    session.commit().unwrap();
    // In a unit that has written, too.
    rename(&mut session, 1, "a").unwrap();
    session.all(everything()).unwrap();
    session.commit().unwrap();
    world.client("a").run("ALTER TABLE companies DROP COLUMN more");
    rename(&mut session, 2, "a").unwrap();
    assert_eq!(session.all(everything()).unwrap()[0].columns().count(), 3);
    session.commit().unwrap();
    let changed = Company::select().filter(Company::NAME.eq("changed")).all_shards();
    assert_eq!(session.one(changed.count()).unwrap(), 2);
}

#[test]
fn a_session_can_be_used_on_a_thread_of_an_asynchronous_runtime() {
    let server = server();
    let world = World::new(&server.url());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = filled(&world);
        let mut session = cluster.session();
        session.add(company(4, "b")).unwrap();
        session.commit().unwrap();
        assert_eq!(ids(&mut session), [1, 2, 3, 4]);
        drop((session, cluster));
    });
}
