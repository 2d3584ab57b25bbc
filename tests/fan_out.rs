//! Large reads run on several shards at once, on workers; small ones on the caller's thread: R28, R29. In a program
//! of its own, so that its threads can be counted.

use std::ops::ControlFlow;

use shard_runtime::{Cluster, ErrorKind, Sharded, Synchronous, count};
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

fn cluster(folder: &TempDir) -> Cluster {
    let builder = Cluster::builder().synchronous(Synchronous::Normal);
    let url = |shard: &str| format!("sqlite:{}", folder.path().join(format!("{shard}.db")).display());
    let cluster = SHARDS.iter().fold(builder, |builder, shard| builder.shard(*shard, url(shard)));
    let cluster = cluster.create::<Measurement>().unwrap();
    let mut session = cluster.session();
    session.add_all((0..ROWS).map(measurement)).unwrap();
    session.commit().unwrap();
    cluster
}

/// How many workers there are, where that can be seen.
fn workers() -> Option<usize> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    Some(tasks.filter_map(name).filter(|name| name.starts_with("sharded-worker")).count())
}

#[test]
fn large_reads_run_on_workers() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = cluster(&folder);
    one_shard_needs_no_worker(&cluster);
    answers_are_those_of_one_thread(&cluster);
    assert!(workers().is_none_or(|workers| workers > 0), "nothing ran on a worker");
    existence_is_found_on_several_at_once(&cluster);
    what_was_written_is_read(&cluster);
    a_visitor_may_stop_and_fail(&cluster);
    many_sessions_share_the_workers(&cluster);
    a_failing_shard_is_named(&folder, &cluster);
}

fn one_shard_needs_no_worker(cluster: &Cluster) {
    let mut session = cluster.session();
    let on_a = Measurement::select().on_shard("a").order_by(Measurement::VALUE.asc());
    assert!(session.all(on_a).unwrap().len() > 10_000);
    assert!(session.get::<Measurement>(5).unwrap().is_some());
    assert!(workers().is_none_or(|workers| workers == 0));
}

/// A scan for what is not there takes long on each shard, and is stopped where one of them has it.
fn existence_is_found_on_several_at_once(cluster: &Cluster) {
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

fn answers_are_those_of_one_thread(cluster: &Cluster) {
    let mut session = cluster.session();
    let all = || Measurement::select().all_shards();
    // Again and again: where a statement runs depends on how long it took before.
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

fn what_was_written_is_read(cluster: &Cluster) {
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

fn a_visitor_may_stop_and_fail(cluster: &Cluster) {
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
        // The connections are back: the session goes on, reads and writes.
        session.add(measurement(-1)).unwrap();
        assert_eq!(session.one(Measurement::select().all_shards().count()).unwrap(), ROWS as u64 + 1);
        session.rollback();
    }
}

fn many_sessions_share_the_workers(cluster: &Cluster) {
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

fn a_failing_shard_is_named(folder: &TempDir, cluster: &Cluster) {
    let raw = rusqlite::Connection::open(folder.path().join("c.db")).unwrap();
    // STRICT tables hold no wrong types, but text may hold what is no text of ours.
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
    let error = session.one(Measurement::select().all_shards().sum(Measurement::VALUE)).unwrap_err();
    assert_eq!((error.kind(), error.shard(), error.column()), (ErrorKind::Schema, Some("c"), Some("value")));
}
