//! The coordinator against databases whose connections record each step and can fail at any of them.

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::{Committed, Searches, Unfinished};
use crate::driver::{
    ActualColumn, ActualIndex, Connection, Driver, Durability, Interrupter, Mode, Pool, Prepared, RowCursor,
    SqliteSettings, StatementProperties, TransactionMode,
};
use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::planner::sql::{Dialect, Namespace, Param};
use crate::planner::{Layout, Location};
use crate::row::{RowSource, Stream};
use crate::schema::Shards;
use crate::tasks::{Counters, Parallelism, SessionExecutor, Workers};
use crate::transaction::{
    Cluster, ClusterState, Control, Database, RetryPolicy, Transactions, WriteLocks, Writers,
};
use crate::value::Value;

/// A step that fails: of this database, with this kind of error, so many times.
#[derive(Clone)]
struct Failing {
    database: &'static str,
    step: &'static str,
    kind: ErrorKind,
    times: usize,
}

/// The state of all databases of one test.
#[derive(Default)]
struct World {
    log: Mutex<Vec<String>>,
    failing: Mutex<Vec<Failing>>,
    /// Whether the deciding server has the transaction's row when it is looked for.
    has_row: bool,
}

impl World {
    /// Records a step, and fails if the step is to fail.
    fn step(&self, database: &'static str, step: &str) -> Result<()> {
        self.log.lock().unwrap().push(format!("{database}: {step}"));
        let mut failing = self.failing.lock().unwrap();
        let is_this = |failing: &&mut Failing| {
            failing.database == database && failing.step == step && failing.times > 0
        };
        match failing.iter_mut().find(is_this) {
            None => Ok(()),
            Some(failing) => {
                failing.times -= 1;
                Err(Error::new(failing.kind, "injected"))
            }
        }
    }
}

/// Makes connections that only record their steps.
struct FakeDriver {
    name: &'static str,
    dialect: Dialect,
    world: Arc<World>,
}

impl Driver for FakeDriver {
    fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn connect(&self, _: Mode, _: Option<Instant>) -> Result<Box<dyn Connection>> {
        let (name, world) = (self.name, Arc::clone(&self.world));
        Ok(Box::new(FakeConnection { name, world, in_transaction: Mutex::new(false) }))
    }

    fn connect_durable(&self, _: Duration) -> Result<Box<dyn Connection>> {
        self.connect(Mode::Open, None)
    }

    fn is_private(&self) -> bool {
        self.name == "memory"
    }

    fn path(&self) -> Option<&Path> {
        None
    }

    fn copy_to(&self, _: &Path) -> Result<()> {
        unreachable!()
    }

    fn describe(&self) -> String {
        self.name.to_owned()
    }

    #[cfg(feature = "postgres")]
    fn address(&self) -> Option<crate::driver::Address> {
        None
    }

    fn sqlite_uri(&self) -> Option<String> {
        None
    }
}

struct FakeConnection {
    name: &'static str,
    world: Arc<World>,
    in_transaction: Mutex<bool>,
}

impl FakeConnection {
    fn step(&self, step: &str) -> Result<()> {
        self.world.step(self.name, step)
    }
}

impl Connection for FakeConnection {
    fn wait_for_locks(&self) -> Result<()> {
        Ok(())
    }

    fn prepare<'c>(&'c self, sql: &str) -> Result<Box<dyn Prepared + 'c>> {
        Ok(Box::new(FakeStatement { connection: self, sql: sql.to_owned() }))
    }

    fn run(&self, sql: &str) -> Result<()> {
        match sql {
            sql if sql.starts_with("COMMIT PREPARED") => self.step("commit prepared"),
            sql if sql.starts_with("ROLLBACK PREPARED") => self.step("roll back prepared"),
            sql if sql.starts_with("UPDATE sharded_settled") => self.step("overwrite"),
            _ => Ok(()),
        }
    }

    fn begin(&self, _: TransactionMode) -> Result<()> {
        *self.in_transaction.lock().unwrap() = true;
        Ok(())
    }

    fn commit(&self) -> Result<()> {
        let committed = self.step("commit");
        if committed.is_ok() {
            *self.in_transaction.lock().unwrap() = false;
        }
        committed
    }

    fn prepare_commit(&self, _: &str) -> Result<()> {
        *self.in_transaction.lock().unwrap() = false;
        self.step("prepare")
    }

    fn check_constraints(&self) -> Result<()> {
        self.step("check")
    }

    fn rollback(&self) -> Result<()> {
        *self.in_transaction.lock().unwrap() = false;
        self.step("roll back")
    }

    fn set_deadline(&self, _: Option<Instant>) {}

    fn interrupter(&self) -> Interrupter {
        Box::new(|| {})
    }

    fn is_large(&self) -> bool {
        false
    }

    fn in_transaction(&self) -> bool {
        *self.in_transaction.lock().unwrap()
    }

    fn is_usable(&self) -> bool {
        true
    }

    fn columns_of(&self, _: &Namespace, tables: &[&str]) -> Result<Vec<Vec<ActualColumn>>> {
        let column = |_: &&str| {
            let (name, sql_type, collation) = Default::default();
            vec![ActualColumn {
                name,
                sql_type,
                nullable: false,
                has_default: false,
                is_primary_key: false,
                collation,
                compares_bytes: true,
            }]
        };
        Ok(tables.iter().map(column).collect())
    }

    fn indexes_of(&self, _: &Namespace, tables: &[&str]) -> Result<Vec<Vec<ActualIndex>>> {
        Ok(vec![Vec::new(); tables.len()])
    }

    fn native(&self) -> &dyn Any {
        self
    }
}

struct FakeStatement<'c> {
    connection: &'c FakeConnection,
    sql: String,
}

impl Prepared for FakeStatement<'_> {
    fn properties(&self) -> StatementProperties {
        StatementProperties { parameters: 0, returns_rows: false, only_reads: false }
    }

    fn execute(&mut self, _: &[Param<'_>]) -> Result<u64> {
        let step = match self.sql.as_str() {
            sql if sql.contains("= version + 1") => "raise the version",
            sql if sql.starts_with("DELETE FROM sharded_redo") => "forget",
            // The look for the transaction's row tries to write it.
            sql if sql.contains("ON CONFLICT DO NOTHING") => {
                self.connection.step("look for the row")?;
                return Ok(u64::from(!self.connection.world.has_row));
            }
            _ => return Ok(1),
        };
        self.connection.step(step).map(|()| 1)
    }

    fn insert(&mut self, _: &[Value<'_>]) -> Result<i64> {
        let step = match self.sql.as_str() {
            sql if sql.starts_with("INSERT INTO sharded_redo") => "record",
            sql if sql.starts_with("INSERT INTO sharded_prepared") => "record a server",
            _ => return Ok(1),
        };
        self.connection.step(step).map(|()| 1)
    }

    fn query<'s>(&'s mut self, _: &[Param<'_>]) -> Result<Box<dyn RowCursor + 's>> {
        let text = |text: &str| Some(Value::Text(text.to_owned().into()));
        let row = match self.sql.as_str() {
            sql if sql.contains("randomblob") || sql.contains("sharded_cluster") => text("id"),
            // A prepared transaction that cannot be finished is still there.
            sql if sql.contains("pg_prepared_xacts") => text("gid"),
            sql if sql.contains("FROM sharded_redo") || sql.contains("FROM \"sharded_redo\"") => None,
            sql if sql.starts_with("WITH removed") => {
                self.connection.step("write the row")?;
                Some(Value::Integer(0))
            }
            _ => Some(Value::Integer(0)),
        };
        Ok(Box::new(OneRow { row, is_read: false }))
    }
}

struct OneRow {
    row: Option<Value<'static>>,
    is_read: bool,
}

impl Stream for OneRow {
    fn advance(&mut self) -> Result<bool> {
        Ok(self.row.is_some() && !std::mem::replace(&mut self.is_read, true))
    }
}

impl RowSource for OneRow {
    fn value(&self, _: usize) -> Result<Value<'_>, ValueError> {
        self.row.clone().ok_or_else(|| ValueError::new("no row"))
    }
}

impl RowCursor for OneRow {
    fn width(&self) -> usize {
        1
    }

    fn columns(&self) -> Vec<String> {
        vec!["column".to_owned()]
    }
}

/// Returns a cluster with a shard in each of these databases: files if the name begins with `f`, servers with `s`.
fn cluster(names: &[&'static str], world: &Arc<World>) -> Cluster {
    let dialect = |name: &str| if name.starts_with('s') { Dialect::Postgres } else { Dialect::Sqlite };
    let driver = |name, dialect| FakeDriver { name, dialect, world: Arc::clone(world) };
    let location = |(database, name): (usize, &&str)| Location {
        database,
        names: Namespace::default(),
        dialect: dialect(name),
        is_default_schema: false,
    };
    let locations = names.iter().enumerate().map(location).collect();
    let layout =
        Layout::new(Shards::named(names.iter().copied()).unwrap(), locations, Vec::new(), Vec::new())
            .unwrap();
    let databases: Vec<Database> =
        names.iter().map(|&name| Database { driver: Arc::new(driver(name, dialect(name))) }).collect();
    let has_files = names.iter().any(|name| name.starts_with('f'));
    let timeout = Duration::ZERO;
    let settings = SqliteSettings {
        busy_timeout: timeout,
        synchronous: Durability::Full,
        cache_size: 1024,
        mmap_size: 0,
        wal_size_limit: 0,
    };
    let control = driver("control", if has_files { Dialect::Sqlite } else { Dialect::Postgres });
    let control =
        Control::open(Box::new(control), Namespace::default(), Mode::Open, settings, std::iter::empty());
    let made = names.iter().map(|_| None).collect();
    let drivers = databases.iter().map(|database| Arc::clone(&database.driver)).collect();
    let pool = Pool::new(drivers, made, 10, Duration::from_secs(60), Box::new(|_, _| Ok(())));
    Cluster(Arc::new(ClusterState {
        recorded: Arc::default(),
        absent: Vec::new(),
        writers: Arc::new(Writers::new(names.len())),
        expected: vec![None; names.len()],
        layout: Arc::new(layout),
        databases,
        control: Arc::new(control.unwrap()),
        is_decided: has_files,
        without_prepared_transactions: false,
        recovered: Mutex::default(),
        unfinished: Unfinished::default(),
        searches: Searches::new(names.len()),
        pool,
        write_locks: WriteLocks::new(names.len()),
        server_waits: Arc::default(),
        timeout,
        retry: RetryPolicy::default(),
        // One thread, so that the steps have one order.
        parallelism: Parallelism::Never,
        workers: Arc::new(Workers::new(0)),
        session_executor: SessionExecutor::new(1, timeout),
        observer: None,
        known_version: Arc::default(),
        counters: Counters::new(0),
        changes: Vec::new(),
        retired: Vec::new(),
        next: std::sync::OnceLock::new(),
        reloading: Mutex::default(),
        reopen: Arc::new(|_| Err(Error::new(ErrorKind::Missing, "the cluster cannot be opened again"))),
        probes: Vec::new(),
    }))
}

/// Transactions that have written every shard of a cluster.
fn written(cluster: &Cluster) -> Transactions {
    let mut tx = Transactions::new(cluster.clone(), None);
    for shard in 0..cluster.layout().shards().len() {
        tx.ensure_write(shard).unwrap();
        tx.record(shard, |redo| redo.statement("UPDATE t", &[])).unwrap();
    }
    tx
}

/// Returns the outcome of a commit, in words.
fn outcome(committed: Result<Committed>) -> String {
    let names = |pending: &[Error]| {
        pending.iter().map(|error| error.shard().unwrap_or("?").to_owned()).collect::<Vec<_>>().join(", ")
    };
    match committed {
        Ok(committed) if committed.pending().is_empty() => "committed".to_owned(),
        Ok(committed) => format!("pending: {}", names(committed.pending())),
        Err(error) if error.kind() == ErrorKind::InDoubt => "in doubt".to_owned(),
        Err(error) => format!("aborted: {:?}", error.kind()),
    }
}

/// Commits a transaction that has written these databases; the outcome, and the steps from the beginning of the commit.
fn commit(names: &[&'static str], failing: &[Failing], has_row: bool) -> (String, String) {
    let world = Arc::new(World { has_row, ..World::default() });
    let cluster = cluster(names, &world);
    let mut tx = written(&cluster);
    world.log.lock().unwrap().clear();
    *world.failing.lock().unwrap() = failing.to_vec();
    let outcome = outcome(tx.commit_databases());
    tx.rollback();
    let log = world.log.lock().unwrap().join("\n");
    (outcome, log)
}

const FILES: &[&str] = &["f1", "f2"];
const SERVERS: &[&str] = &["s1", "s2", "s3"];
const BOTH: &[&str] = &["f1", "s1", "f2"];

const ALWAYS: usize = usize::MAX;

fn fails(database: &'static str, step: &'static str, kind: ErrorKind, times: usize) -> Failing {
    Failing { database, step, kind, times }
}

#[test]
fn r35_each_step_that_fails_has_its_outcome() {
    use ErrorKind::{ConnectionLost, ForeignKey, InDoubt, Io};
    let prepare_files = "f1: check\nf2: check\nf1: raise the version\nf2: raise the version\n";
    let record = "control: record\ncontrol: record\n";
    let abort_files = "f1: roll back\nf2: roll back";
    let prepare_servers = "s1: write the row\ns2: prepare\ns3: prepare\n";
    let abort_servers = "s2: roll back prepared\ns3: roll back prepared\n";
    let end_servers = "s1: roll back\ns2: roll back\ns3: roll back";
    let record_both = "control: record\ncontrol: record\ncontrol: record a server\n";
    let prepare_both = format!("{prepare_files}s1: prepare\n");
    let abort_both = "s1: roll back prepared\nf1: roll back\ns1: roll back\nf2: roll back";
    let table: Vec<(&[&'static str], Vec<Failing>, &str, String)> = vec![
        // Files.
        (
            FILES,
            vec![],
            "committed",
            format!("{prepare_files}{record}control: commit\nf1: commit\nf2: commit"),
        ),
        (
            FILES,
            vec![fails("f2", "check", ForeignKey, 1)],
            "aborted: ForeignKey",
            format!("f1: check\nf2: check\n{abort_files}"),
        ),
        (
            FILES,
            vec![fails("f2", "raise the version", Io, 1)],
            "aborted: Io",
            format!("{prepare_files}{abort_files}"),
        ),
        (
            FILES,
            vec![fails("control", "record", Io, 1)],
            "aborted: Io",
            format!("{prepare_files}control: record\ncontrol: roll back\n{abort_files}"),
        ),
        (
            FILES,
            vec![fails("control", "commit", Io, 1)],
            "aborted: Io",
            format!(
                "{prepare_files}{record}control: commit\ncontrol: roll back\ncontrol: overwrite\ncontrol: commit\n{abort_files}"
            ),
        ),
        (
            FILES,
            vec![fails("control", "commit", Io, 1), fails("control", "overwrite", Io, ALWAYS)],
            "in doubt",
            format!(
                "{prepare_files}{record}control: commit\ncontrol: roll back\ncontrol: overwrite\ncontrol: roll back\ncontrol: overwrite\ncontrol: roll back\n{abort_files}"
            ),
        ),
        (
            FILES,
            vec![fails("f1", "commit", Io, 1)],
            "pending: f1",
            format!("{prepare_files}{record}control: commit\nf1: commit\nf2: commit\nf1: roll back"),
        ),
        // Servers.
        (
            SERVERS,
            vec![],
            "committed",
            format!("{prepare_servers}s1: commit\ns2: commit prepared\ns3: commit prepared"),
        ),
        (
            SERVERS,
            vec![fails("s1", "write the row", Io, 1)],
            "aborted: Io",
            format!("s1: write the row\n{end_servers}"),
        ),
        (
            SERVERS,
            vec![fails("s2", "prepare", ForeignKey, 1)],
            "aborted: ForeignKey",
            format!("{prepare_servers}{abort_servers}{end_servers}"),
        ),
        (
            SERVERS,
            vec![fails("s1", "commit", ForeignKey, 1)],
            "aborted: ForeignKey",
            format!("{prepare_servers}s1: commit\n{abort_servers}{end_servers}"),
        ),
        (
            SERVERS,
            vec![fails("s1", "commit", InDoubt, 1)],
            "aborted: ConnectionLost",
            format!(
                "{prepare_servers}s1: commit\ns1: look for the row\ns1: roll back\n{abort_servers}{end_servers}"
            ),
        ),
        (
            SERVERS,
            vec![fails("s1", "commit", InDoubt, 1), fails("s1", "look for the row", ConnectionLost, 1)],
            "in doubt",
            format!("{prepare_servers}s1: commit\ns1: look for the row\ns1: roll back\n{end_servers}"),
        ),
        (
            SERVERS,
            vec![fails("s2", "commit prepared", ConnectionLost, 1)],
            "committed",
            format!(
                "{prepare_servers}s1: commit\ns2: commit prepared\ns2: commit prepared\ns3: commit prepared"
            ),
        ),
        (
            SERVERS,
            vec![fails("s2", "commit prepared", ConnectionLost, ALWAYS)],
            "pending: s2",
            format!(
                "{prepare_servers}s1: commit\ns2: commit prepared\ns2: commit prepared\ns3: commit prepared\ns2: roll back"
            ),
        ),
        // Files and servers.
        (
            BOTH,
            vec![],
            "committed",
            format!(
                "{prepare_both}{record_both}control: commit\nf1: commit\nf2: commit\ns1: commit prepared"
            ),
        ),
        (
            BOTH,
            vec![fails("f1", "check", ForeignKey, 1)],
            "aborted: ForeignKey",
            "f1: check\nf1: roll back\ns1: roll back\nf2: roll back".to_owned(),
        ),
        (BOTH, vec![fails("s1", "prepare", Io, 1)], "aborted: Io", format!("{prepare_both}{abort_both}")),
        (
            BOTH,
            vec![fails("control", "record a server", Io, 1)],
            "aborted: Io",
            format!("{prepare_both}{record_both}control: roll back\n{abort_both}"),
        ),
        (
            BOTH,
            vec![fails("control", "commit", Io, 1)],
            "aborted: Io",
            format!(
                "{prepare_both}{record_both}control: commit\ncontrol: roll back\ncontrol: overwrite\ncontrol: commit\n{abort_both}"
            ),
        ),
        (
            BOTH,
            vec![fails("control", "commit", Io, ALWAYS)],
            "in doubt",
            format!(
                "{prepare_both}{record_both}control: commit\ncontrol: roll back\ncontrol: overwrite\ncontrol: commit\ncontrol: roll back\ncontrol: overwrite\ncontrol: commit\ncontrol: roll back\nf1: roll back\ns1: roll back\nf2: roll back"
            ),
        ),
        (
            BOTH,
            vec![fails("f2", "commit", Io, 1), fails("s1", "commit prepared", ConnectionLost, ALWAYS)],
            "pending: f2, s1",
            format!(
                "{prepare_both}{record_both}control: commit\nf1: commit\nf2: commit\ns1: commit prepared\ns1: commit prepared\nf2: roll back\ns1: roll back"
            ),
        ),
    ];
    for (names, failing, expected, steps) in table {
        let injected: Vec<String> =
            failing.iter().map(|failing| format!("{}: {}", failing.database, failing.step)).collect();
        assert_eq!(commit(names, &failing, false), (expected.to_owned(), steps), "{names:?} {injected:?}");
    }
}

#[test]
fn r35_a_deciding_server_whose_reply_is_lost_has_committed_if_it_has_the_row() {
    let failing = [fails("s1", "commit", ErrorKind::InDoubt, 1)];
    let (outcome, steps) = commit(SERVERS, &failing, true);
    assert_eq!(outcome, "committed");
    assert!(steps.ends_with("s1: roll back\ns2: commit prepared\ns3: commit prepared"), "{steps}");
}

#[test]
fn r35_records_are_removed_with_the_next_decision_and_stay_if_that_fails() {
    let world = Arc::new(World::default());
    let cluster = cluster(FILES, &world);
    let commit = |failing: &[Failing]| {
        let mut tx = written(&cluster);
        world.log.lock().unwrap().clear();
        *world.failing.lock().unwrap() = failing.to_vec();
        let outcome = outcome(tx.commit_databases());
        let log = world.log.lock().unwrap();
        let in_control: Vec<&str> = log.iter().filter_map(|step| step.strip_prefix("control: ")).collect();
        (outcome, in_control.join(", "))
    };
    let expect = |outcome: &str, steps: &str| (outcome.to_owned(), steps.to_owned());
    assert_eq!(commit(&[]), expect("committed", "record, record, commit"));
    let failing = fails("control", "forget", ErrorKind::Io, 1);
    assert_eq!(commit(&[failing]), expect("aborted: Io", "forget, roll back"));
    assert_eq!(commit(&[]), expect("committed", "forget, record, record, commit"));
}

#[test]
fn r35_a_participant_whose_connection_is_lost_aborts_the_transaction() {
    for (names, lost) in [(FILES, 1), (SERVERS, 0), (SERVERS, 2), (BOTH, 1)] {
        let world = Arc::new(World::default());
        let mut tx = written(&cluster(names, &world));
        drop(tx.databases.get_mut(lost).unwrap().take_connection());
        assert_eq!(outcome(tx.commit_databases()), "aborted: TransactionAborted", "{names:?} {lost}");
    }
}
