//! Large reads and large flushes run on several shards at once, on workers; small ones run on the calling thread: R28, R29,
//! R31, R32.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use shard_runtime::{
    Builder, Cluster, ColumnType, Durability, ErrorKind, Field, Parallelism, Sharded, Sql, SqlRow, Value,
    ValueError, count,
};
use tempfile::TempDir;

const SHARDS: [&str; 4] = ["a", "b", "c", "d"];
const ROWS: i64 = 60_000;

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "measurements", index(place))]
struct Measurement {
    #[id]
    #[shard_key(hash)]
    id: i64,
    place: i64,
    value: f64,
    remark: Option<String>,
}

fn measurement(id: i64) -> Measurement {
    // Long enough that every shard is some megabytes large.
    let remark = (id % 7 > 0).then(|| format!("{id:0200}"));
    Measurement { id, place: id * 7919 % 1_000, value: (id % 101) as f64 / 2.0, remark }
}

/// The shard and the outcome of each statement.
type Told = Arc<Mutex<Vec<(String, bool)>>>;

/// A cluster of one test, with its own files and its own list of statements.
struct Made {
    cluster: Cluster,
    told: Told,
    folder: TempDir,
    _template: Arc<TempDir>,
}

fn builder(folder: &Path) -> Builder {
    let url = |shard: &str| format!("sqlite:{}", folder.join(format!("{shard}.db")).display());
    let builder = Cluster::builder().durability(Durability::Normal);
    SHARDS.iter().fold(builder, |builder, shard| builder.shard(*shard, url(shard)))
}

/// The files that each test copies: written once while tests share them, and removed after the last of these tests.
fn template() -> Arc<TempDir> {
    static TEMPLATE: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    let mut template = TEMPLATE.lock().unwrap();
    if let Some(made) = template.upgrade() {
        return made;
    }
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let cluster = builder(folder.path()).create::<Measurement>().unwrap();
    // Few at a time need no worker.
    let mut session = cluster.session();
    for first in (0..ROWS).step_by(100) {
        session.add_all((first..first + 100).map(measurement)).unwrap();
        session.flush().unwrap();
    }
    session.commit().unwrap();
    *template = Arc::downgrade(&folder);
    folder
}

fn made() -> Made {
    let (folder, template) = (tempfile::tempdir().unwrap(), template());
    for file in std::fs::read_dir(template.path()).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let told = Told::default();
    let log = Arc::clone(&told);
    let builder = builder(folder.path()).on_statement(move |event| {
        let thread = std::thread::current();
        assert!(!thread.name().is_some_and(|name| name.starts_with("sharded-worker")), "called by a worker");
        log.lock().unwrap().push((event.shard.name().to_owned(), event.succeeded));
    });
    Made { cluster: builder.open::<Measurement>().unwrap(), told, folder, _template: template }
}

/// How many workers this process has.
fn workers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks.filter_map(name).filter(|name| name.starts_with("sharded-worker")).count()
}

/// Runs a test of this binary in a process that has no workers of other tests.
fn in_its_own_process(test: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", test])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn a_read_of_one_shard_starts_no_worker() {
    in_its_own_process("one_shard_needs_no_worker");
}

#[test]
fn only_a_large_flush_of_several_shards_starts_workers() {
    in_its_own_process("a_large_flush_runs_on_workers");
}

#[test]
fn a_partial_answer_has_the_shards_that_were_quick_enough() {
    in_its_own_process("a_partial_answer_leaves_out_slow_shards");
}

#[test]
#[ignore = "runs in a process of its own"]
fn one_shard_needs_no_worker() {
    let Made { cluster, .. } = &made();
    let mut session = cluster.session();
    let on_a = Measurement::select().on_shard("a").order_by(Measurement::VALUE.asc());
    assert!(session.all(on_a).unwrap().len() > 10_000);
    assert!(session.get::<Measurement>(5).unwrap().is_some());
    assert_eq!(workers(), 0);
}

#[test]
#[ignore = "runs in a process of its own"]
fn a_large_flush_runs_on_workers() {
    let Made { cluster, told, .. } = &made();
    let mut session = cluster.session();
    // All on one shard: there is no other database to write at the same time.
    let on_a = |id: &i64| measurement(*id).shard_chooser(cluster.shards()).unwrap() == 0;
    session.add_all((ROWS..5 * ROWS).filter(on_a).take(9_000).map(measurement)).unwrap();
    session.flush().unwrap();
    session.rollback();
    assert_eq!(workers(), 0);

    told.lock().unwrap().clear();
    session.add_all((ROWS..ROWS + 8_000).map(measurement)).unwrap();
    session.flush().unwrap();
    assert!(workers() > 0, "nothing ran on a worker");
    // The hook sees the shards in their order, whichever was ready first.
    assert_eq!(*told.lock().unwrap(), SHARDS.map(|shard| (shard.to_owned(), true)));
    assert_eq!(session.one(Measurement::select().all_shards().count()).unwrap(), ROWS as u64 + 8_000);

    // A row on `b` exists already. Rows before it may have been written, and are rolled back. The statements on `c` and
    // `d` may have been interrupted, which is not reported as their failure.
    let on_b = |id: &i64| measurement(*id).shard_chooser(cluster.shards()).unwrap() == 1;
    let there = (0..ROWS).find(on_b).unwrap();
    told.lock().unwrap().clear();
    session.add_all((2 * ROWS..2 * ROWS + 8_000).chain([there]).map(measurement)).unwrap();
    let error = session.flush().unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Unique, Some("b")), "{error}");
    let failed: Vec<(String, bool)> =
        told.lock().unwrap().drain(..).filter(|(_, succeeded)| !succeeded).collect();
    assert_eq!(failed, [("b".to_owned(), false)]);
    assert_eq!(session.one(Measurement::select().all_shards().count()).unwrap(), ROWS as u64 + 8_000);
    session.rollback();
    assert_eq!(session.one(Measurement::select().all_shards().count()).unwrap(), ROWS as u64);
}

/// A scan for a value that no row has takes long on each shard. It is interrupted as soon as one shard has a row.
#[test]
fn existence_is_found_on_several_at_once() {
    let Made { cluster, .. } = &made();
    let mut session = cluster.session();
    let with = |value: f64| Measurement::select().filter(Measurement::VALUE.eq(value)).all_shards();
    for _ in 0..3 {
        assert!(!session.one(with(-1.0).exists()).unwrap());
        assert!(session.one(with(7.5).exists()).unwrap());
    }
    let every = session.one(with(7.5).count()).unwrap();
    assert!(session.one(with(7.5).offset(every - 1).exists()).unwrap());
    assert!(!session.one(with(7.5).offset(every).exists()).unwrap());
}

#[test]
fn answers_are_those_of_one_thread() {
    let Made { cluster, .. } = &made();
    let mut session = cluster.session();
    let all = || Measurement::select().all_shards();
    // Several rounds: a statement runs on workers if it took long before.
    for round in 0..3 {
        assert_eq!(session.one(all().count()).unwrap(), ROWS as u64, "round {round}");
        let mut expected: Vec<Measurement> = (0..ROWS).map(measurement).collect();
        expected.sort_by(|a, b| b.value.total_cmp(&a.value));
        let by_value = session.all(all().order_by(Measurement::VALUE.desc()).limit(2_000)).unwrap();
        assert!(by_value.iter().map(|row| row.value).eq(expected[..2_000].iter().map(|row| row.value)));
        for row in &by_value {
            assert_eq!(**row, measurement(row.id));
            assert_eq!(row.shard_chooser(cluster.shards()).unwrap(), row.shard().index());
        }
        let sum: f64 = expected.iter().map(|row| row.value).sum();
        let (rows, found) = session.one(all().aggregate((count(), Measurement::VALUE.sum()))).unwrap();
        assert_eq!((rows, found), (ROWS as u64, Some(sum)));
        let places = session.all(all().group_by(Measurement::PLACE).aggregate(count())).unwrap();
        assert!(places.len() == 1_000 && places.iter().all(|(_, rows)| *rows == 60));
        let remarks = session.all(all().columns(Measurement::REMARK).distinct()).unwrap();
        assert_eq!(remarks.len() as i64, ROWS - (ROWS + 6) / 7 + 1);
        let everything = session.all(all().order_by(Measurement::ID.asc())).unwrap();
        assert!(everything.iter().map(|row| row.id).eq(0..ROWS));
    }
}

#[test]
fn written_rows_are_read() {
    let Made { cluster, .. } = &made();
    let mut session = cluster.session();
    session.add_all((ROWS..ROWS + 100).map(measurement)).unwrap();
    session
        .execute(
            Measurement::update()
                .set(Measurement::VALUE, 1_000.0)
                .filter(Measurement::ID.lt(40))
                .all_shards(),
        )
        .unwrap();
    let high = || Measurement::select().filter(Measurement::VALUE.ge(1_000.0)).all_shards();
    for _ in 0..3 {
        assert_eq!(session.one(high().count()).unwrap(), 40);
        assert_eq!(session.one(Measurement::select().all_shards().count()).unwrap(), ROWS as u64 + 100);
    }
    session.rollback();
    assert_eq!(session.one(high().count()).unwrap(), 0);
}

/// A value that records whether a worker has loaded it. 7 cannot be loaded; loading 8 panics.
#[derive(Clone, Debug)]
struct Picky {
    number: i64,
    by_worker: bool,
}

impl Field for Picky {
    const TYPE: ColumnType = ColumnType::Integer;

    fn to_value(&self) -> Result<Value<'_>, ValueError> {
        Ok(Value::Integer(self.number))
    }

    fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
        let number = i64::from_value(value)?;
        assert!(number != 8, "on purpose");
        match number {
            7 => Err(ValueError::new("seven")),
            _ => {
                let thread = std::thread::current();
                let by_worker = thread.name().is_some_and(|name| name.starts_with("sharded-worker"));
                Ok(Picky { number, by_worker })
            }
        }
    }
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "choices")]
struct Choice {
    #[id]
    #[shard_key(hash)]
    id: i64,
    picky: Picky,
}

/// A hundred rows in files that are always read by workers. SQL writes the values that cannot be loaded.
fn choices(folder: &Path) -> Cluster {
    let cluster = builder(folder).parallelism(Parallelism::Always).create::<Choice>().unwrap();
    let picky = |id: i64| Picky { number: if id < 90 { 0 } else { id }, by_worker: false };
    let mut session = cluster.session();
    session.add_all((0..100).map(|id| Choice { id, picky: picky(id) })).unwrap();
    session.commit().unwrap();
    cluster
}

fn set_picky(cluster: &Cluster, id: i64, number: i64) {
    let mut session = cluster.session();
    let sql = Sql::new("UPDATE {choices} SET picky = ?1 WHERE id = ?2").bind(number).bind(id);
    assert_eq!(session.execute(sql.on::<Choice>(id)).unwrap(), 1);
    session.commit().unwrap();
}

#[test]
fn rows_are_loaded_by_workers() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = choices(folder.path());
    let mut session = cluster.session();
    let all = Choice::select().all_shards();
    let found = session.all(all.clone().order_by(Choice::ID.desc())).unwrap();
    assert!(found.iter().map(|row| row.id).eq((0..100).rev()));
    assert!(
        found
            .iter()
            .all(|row| row.picky.by_worker && row.picky.number == if row.id < 90 { 0 } else { row.id })
    );
    let with_shards = session.all(all).unwrap();
    assert_eq!(with_shards.len(), 100);
    for row in with_shards {
        assert_eq!(row.shard_chooser(cluster.shards()).unwrap(), row.shard().index());
    }
}

/// The rows before it are visited, and a query that does not come to it is answered.
#[test]
fn a_row_that_cannot_be_loaded_fails_where_it_is_met() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = choices(folder.path());
    set_picky(&cluster, 60, 7);
    let mut session = cluster.session();
    let by_id = || Choice::select().all_shards().order_by(Choice::ID.asc());
    let mut visited = 0;
    let read = session.for_each(by_id(), |_| {
        visited += 1;
        Ok(ControlFlow::Continue(()))
    });
    let error = read.unwrap_err();
    assert_eq!((error.kind(), error.column(), visited), (ErrorKind::Value, Some("picky"), 60), "{error}");
    assert!(error.to_string().contains("id 60"), "{error}");
    assert_eq!(session.all(by_id().limit(60)).unwrap().len(), 60);
    let partial = session.all_available(by_id().limit(60)).unwrap();
    assert_eq!((partial.rows.len(), partial.missing.len()), (60, 0));
}

/// On the caller's thread, as if no worker had tried before.
#[test]
fn a_row_whose_loading_panics_does_so_where_it_is_met() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = choices(folder.path());
    set_picky(&cluster, 60, 8);
    let mut session = cluster.session();
    let by_id = || Choice::select().all_shards().order_by(Choice::ID.asc());
    let mut visited = 0;
    let thrown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        session.for_each(by_id(), |_| {
            visited += 1;
            Ok(ControlFlow::Continue(()))
        })
    }));
    let thrown = thrown.unwrap_err();
    assert_eq!((thrown.downcast_ref::<&str>().copied(), visited), (Some("on purpose"), 60));
    assert_eq!(session.one(Choice::select().all_shards().count()).unwrap(), 100);
    assert_eq!(session.all(by_id().limit(60)).unwrap().len(), 60);
}

#[test]
fn a_visitor_may_stop_and_fail() {
    let Made { cluster, .. } = &made();
    let mut session = cluster.session();
    for _ in 0..20 {
        let mut seen = 0;
        let by_remark = || Measurement::select().all_shards().order_by(Measurement::REMARK.desc());
        session
            .for_each(by_remark(), |row| {
                seen += 1;
                assert_eq!(*row, measurement(row.id));
                Ok(if seen < 5 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })
            .unwrap();
        assert_eq!(seen, 5);
        let failed = session.for_each(by_remark(), |_| Err(shard_runtime::ValueError::new("enough").into()));
        assert_eq!(failed.unwrap_err().to_string(), "enough");
        // The connections are back: the session continues, reads and writes.
        session.add(measurement(-1)).unwrap();
        assert_eq!(session.one(Measurement::select().all_shards().count()).unwrap(), ROWS as u64 + 1);
        session.rollback();
    }
}

#[test]
fn many_sessions_share_the_workers() {
    let Made { cluster, .. } = &made();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..3 {
                    let mut session = cluster.session();
                    let all = Measurement::select().all_shards().order_by(Measurement::VALUE.asc());
                    let mut last = f64::MIN;
                    let mut rows = 0;
                    session
                        .for_each(all.columns((Measurement::VALUE, Measurement::ID)), |(value, _)| {
                            assert!(value >= last);
                            (last, rows) = (value, rows + 1);
                            Ok(ControlFlow::Continue(()))
                        })
                        .unwrap();
                    assert_eq!(rows, ROWS);
                }
            });
        }
    });
}

#[test]
fn sql_is_answered_as_by_one_thread() {
    let Made { cluster, .. } = &made();
    let mut session = cluster.session();
    let text = "SELECT id, remark AS said FROM {measurements} WHERE value >= ?1 ORDER BY id";
    for _ in 0..3 {
        let rows = session.all(Sql::new(text).bind(0.0).all_shards()).unwrap();
        assert_eq!(rows.len() as i64, ROWS);
        assert!(rows.is_sorted_by_key(|row| row.shard().index()), "one shard after the other");
        assert!(rows.chunk_by(|a, b| a.shard() == b.shard()).all(|rows| {
            rows.is_sorted_by_key(|row| row.get::<i64>("id").unwrap()) && rows[0].shard().name().len() == 1
        }));
        for row in rows.iter().step_by(97) {
            let expected = measurement(row.get("id").unwrap());
            assert_eq!(row.get::<Option<String>>("said").unwrap(), expected.remark);
            assert_eq!(expected.shard_chooser(cluster.shards()).unwrap(), row.shard().index());
        }
        assert_eq!(rows[5].columns().collect::<Vec<_>>(), ["id", "said"]);
        let some = session.first(Sql::new(text).bind(0.0).all_shards()).unwrap().unwrap();
        assert_eq!(some.shard().name(), "a");
        assert!(session.all(Sql::new(text).bind(1e9).all_shards()).unwrap().is_empty());
    }
}

/// Fails at once on the shard that has a certain row, and does not come to an end on any other.
const ENDLESS_OR_WRONG: &str = "
    SELECT CASE WHEN (SELECT count(*) FROM {measurements} WHERE id = ?1) = 1
                THEN abs(-9223372036854775807 - 1)
                ELSE (WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n)
           END AS x";

/// Nothing else ends these statements: if the others were not interrupted, this test would never end.
#[test]
fn the_first_failure_stops_the_others() {
    let Made { cluster, told, .. } = &made();
    let mut session = cluster.session();
    for shard in SHARDS {
        let fails = session.first(Measurement::select().on_shard(shard)).unwrap().unwrap().id;
        told.lock().unwrap().clear();
        let sql = || Sql::new(ENDLESS_OR_WRONG).bind(fails).all_shards();
        let error = session.all(sql()).unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Value, Some(shard)), "{error}");
        let mut told: Vec<(String, bool)> = std::mem::take(&mut told.lock().unwrap());
        told.sort();
        let expected: Vec<(String, bool)> = SHARDS.iter().map(|at| (at.to_string(), *at != shard)).collect();
        assert_eq!(told, expected, "all were asked, one has failed");
        // A wrong statement is wrong in a partial answer too.
        let error = session.all_available(sql()).unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Value, Some(shard)), "{error}");
        // And the session continues, on the same connections.
        assert_eq!(session.one(Measurement::select().all_shards().count()).unwrap(), ROWS as u64);
    }
}

/// Has three rows on the shard that has a certain row, and does not come to an end on any other.
const ENDLESS_OR_THREE: &str = "
    SELECT CASE WHEN (SELECT count(*) FROM {measurements} WHERE id = ?1) = 1 THEN 1
                ELSE (WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n)
           END AS x FROM {measurements} LIMIT 3";

/// Streams that are not read keep their workers; the other sessions read without workers.
#[test]
fn async_sessions_never_wait_for_a_worker() {
    let Made { cluster, .. } = &made();
    let by_value = || Measurement::select().all_shards().order_by(Measurement::VALUE.desc());
    smol::block_on(async {
        let mut slow: Vec<_> = (0..4).map(|_| cluster.async_session()).collect();
        let mut streams = Vec::new();
        for session in &mut slow {
            let mut rows = session.stream(by_value());
            assert!(rows.next().await.unwrap().is_ok());
            streams.push(rows);
        }
        let reading = (0..20).map(|_| async {
            let found = cluster.async_session().all(by_value().limit(50)).await?;
            assert_eq!(found.len(), 50);
            Ok::<_, shard_runtime::Error>(())
        });
        futures_util::future::try_join_all(reading).await.unwrap();
        for mut rows in streams {
            assert!(rows.next().await.unwrap().is_ok());
        }
    });
}

/// The first row may be enough before the other shards' workers have begun. Their statements are interrupted then, too.
#[test]
fn a_read_that_is_stopped_before_it_begins_stays_stopped() {
    let Made { cluster, .. } = &made();
    let mut session = cluster.session();
    let on_a = session.first(Measurement::select().on_shard("a")).unwrap().unwrap().id;
    for round in 0..50 {
        // A text that was never seen: so that each round is run on workers.
        let sql = Sql::new(format!("{ENDLESS_OR_THREE} OFFSET 0 + {round}")).bind(on_a).all_shards();
        let mut seen = 0;
        let first = |row: SqlRow| {
            seen += row.get::<i64>("x")?;
            Ok(ControlFlow::Break(()))
        };
        session.for_each(sql, first).unwrap();
        assert_eq!(seen, 1);
    }
}

#[test]
#[ignore = "runs in a process of its own"]
fn a_partial_answer_leaves_out_slow_shards() {
    let Made { cluster, .. } = &made();
    let mut session = cluster.session();
    let has_rows = session.first(Measurement::select().on_shard("c")).unwrap().unwrap().id;
    session.set_timeout(Some(std::time::Duration::from_secs(1)));
    let partial = session.all_available(Sql::new(ENDLESS_OR_THREE).bind(has_rows).all_shards()).unwrap();
    // Shards are read at the same time: `c` has answered while `a` and `b` were too slow.
    assert_eq!(partial.rows.len(), 3, "{partial:?}");
    assert!(partial.rows.iter().all(|row| row.shard().name() == "c"));
    let missing: Vec<_> =
        partial.missing.iter().map(|error| (error.kind(), error.shard().unwrap())).collect();
    assert_eq!(missing, ["a", "b", "d"].map(|shard| (ErrorKind::TimedOut, shard)));
    session.set_timeout(None);
    assert_eq!(session.one(Measurement::select().all_shards().count()).unwrap(), ROWS as u64);
}

#[test]
fn a_failing_shard_is_named() {
    let Made { cluster, folder, .. } = &made();
    let raw = rusqlite::Connection::open(folder.path().join("c.db")).unwrap();
    // STRICT tables hold no wrong types, but text may be invalid for the field.
    raw.execute(
        "UPDATE measurements SET remark = 'a' || char(0) WHERE id = (SELECT max(id) FROM measurements)",
        (),
    )
    .unwrap();
    let mut session = cluster.session();
    let error = session.all(Measurement::select().all_shards().order_by(Measurement::ID.asc())).unwrap_err();
    assert_eq!((error.kind(), error.shard(), error.column()), (ErrorKind::Value, Some("c"), Some("remark")));
    assert_eq!(session.one(Measurement::select().all_shards().count()).unwrap(), ROWS as u64);
    session.commit().unwrap();
    raw.execute("ALTER TABLE measurements RENAME COLUMN value TO another", ()).unwrap();
    let error =
        session.one(Measurement::select().all_shards().aggregate(Measurement::VALUE.sum())).unwrap_err();
    assert_eq!((error.kind(), error.shard(), error.column()), (ErrorKind::Schema, Some("c"), Some("value")));
}
