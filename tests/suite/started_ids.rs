//! Generated ids beside ids that the tables hold already: R56, on every kind of cluster.

use std::collections::HashSet;

use shard_runtime::{ErrorKind, Sharded, Sql};

use crate::backend::{Backend, LETTERS, assert_error};
use crate::runtimes::Runtime;

on_every_mixture! {
    r56_ids_can_be_advanced,
    r56_a_given_id_is_never_generated,
    r56_an_id_that_may_have_been_generated_cannot_be_given,
    r56_the_last_ids_are_a_clear_error,
    r56_async_sessions_give_ids;
    only lasting:
        r56_ids_start_above_every_id_that_the_tables_hold,
        r56_ids_start_above_rows_that_sql_inserted,
        r56_two_processes_begin_at_once,
}

mod before {
    use shard_runtime::Sharded;

    /// A city whose ids the application gives.
    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "started_cities")]
    pub struct City {
        #[id]
        pub id: i64,
        #[shard_key(list("Asia" => "a", "Europe" => "b", "Africa" => "c"))]
        pub continent: String,
    }
}

/// The same with ids that the cluster generates.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "started_cities")]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(list("Asia" => "a", "Europe" => "b", "Africa" => "c"))]
    continent: String,
}

fn city(continent: &str) -> NewCity {
    NewCity { continent: continent.into() }
}

fn insert(id: i64, shard: &str, continent: &str) -> Sql<shard_runtime::Routed> {
    Sql::new(format!("INSERT INTO {{started_cities}} (id, continent) VALUES ({id}, '{continent}')"))
        .on_shard(shard)
}

fn r56_ids_start_above_every_id_that_the_tables_hold(backend: &Backend) {
    let cluster = backend.create::<before::City>(&LETTERS);
    let mut session = cluster.session();
    for (id, continent) in [(1, "Europe"), (4_711, "Africa"), (12, "Asia"), (-5, "Asia")] {
        session.add(before::City { id, continent: continent.into() }).unwrap();
    }
    session.commit().unwrap();
    drop((session, cluster));

    // By `create`, and by `open` of another process that finds the sequence begun.
    let cluster = backend.create::<City>(&LETTERS);
    let mut session = cluster.session();
    let tokyo = session.add(city("Asia")).unwrap();
    assert_eq!(tokyo.id, 4_712);
    session.commit().unwrap();
    assert_eq!(session.get::<City>(1).unwrap().unwrap().continent, "Europe");
    drop((session, cluster));
    let cluster = backend.open::<City>(&LETTERS).unwrap();
    assert!(cluster.session().add(city("Asia")).unwrap().id > 4_712);
}

fn r56_ids_start_above_rows_that_sql_inserted(backend: &Backend) {
    drop(backend.create::<City>(&LETTERS));
    {
        let cluster = backend.open::<City>(&LETTERS).unwrap();
        let mut session = cluster.session();
        session.execute(insert(77, "b", "Europe")).unwrap();
        session.execute(insert(70, "a", "Asia")).unwrap();
        session.commit().unwrap();
    }
    let cluster = backend.open::<City>(&LETTERS).unwrap();
    let mut session = cluster.session();
    assert_eq!(session.add(city("Asia")).unwrap().id, 78);
    // Above the block that was reserved.
    session.execute(insert(5_000, "c", "Africa")).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    let cluster = backend.open::<City>(&LETTERS).unwrap();
    assert_eq!(cluster.session().add(city("Asia")).unwrap().id, 5_001);
}

fn r56_ids_can_be_advanced(backend: &Backend) {
    let cluster = backend.create::<City>(&LETTERS);
    let mut session = cluster.session();
    assert_eq!(session.add(city("Asia")).unwrap().id, 1);
    cluster.advance_ids::<City>(500).unwrap();
    assert_eq!(
        session.add(city("Europe")).unwrap().id,
        1_001,
        "of the block up to 1,000 none is above 500 for sure"
    );
    cluster.advance_ids::<City>(500).unwrap();
    cluster.advance_ids::<City>(-3).unwrap();
    assert_eq!(session.add(city("Europe")).unwrap().id, 1_002, "nothing to advance");
    session.execute(insert(90_000, "b", "Europe")).unwrap();
    cluster.advance_ids::<City>(90_000).unwrap();
    session.rollback();
    assert_eq!(session.add(city("Asia")).unwrap().id, 90_001);
    session.commit().unwrap();
}

fn r56_a_given_id_is_never_generated(backend: &Backend) {
    let cluster = backend.create::<City>(&LETTERS);
    let mut session = cluster.session();
    // In no order, above the generated ids, each more than once, with negative ones.
    let given = [3_000, 7, 1, 2_999, 3_001, 3_998, 9_000, 8_000, -4, 0];
    for id in given {
        let row = session.add_with_id(id, city("Europe")).unwrap();
        assert_eq!((row.id, row.shard().name()), (id, "b"));
    }
    session.flush().unwrap();
    let again = session.add_with_id(7, city("Europe")).and_then(|_| session.flush()).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Unique);
    session.commit().unwrap();
    let mut seen: HashSet<i64> = given.into_iter().collect();
    let others = if backend.is_lasting() { backend.open::<City>(&LETTERS).ok() } else { None };
    let mut other = others.as_ref().map(|cluster| cluster.session());
    for _ in 0..2_500 {
        assert!(seen.insert(session.add(city("Asia")).unwrap().id));
        if let Some(other) = &mut other {
            assert!(seen.insert(other.add(city("Africa")).unwrap().id));
        }
    }
    // After ids were generated, those above all blocks can be given.
    let highest = *seen.iter().max().unwrap();
    let above = highest + 10_000;
    assert!(seen.insert(session.add_with_id(above, city("Asia")).unwrap().id));
    session.rollback();
    for _ in 0..1_500 {
        assert!(seen.insert(session.add(city("Asia")).unwrap().id));
    }
}

fn r56_an_id_that_may_have_been_generated_cannot_be_given(backend: &Backend) {
    let cluster = backend.create::<City>(&LETTERS);
    let mut session = cluster.session();
    assert_eq!(session.add(city("Asia")).unwrap().id, 1);
    for id in [1, 2, 1_000] {
        let error = session.add_with_id(id, city("Asia")).unwrap_err();
        assert_error(Err::<(), _>(error), ErrorKind::Value, &["started_cities", "id", "from 1001 on"]);
    }
    assert_eq!(session.add_with_id(1_001, city("Asia")).unwrap().id, 1_001);
    let unplaced = session.add_with_id(5_000_000, city("Mars")).unwrap_err();
    assert_eq!(unplaced.kind(), ErrorKind::UnmappedKey);
    session.commit().unwrap();
    assert_eq!(session.one(City::select().all_shards().count()).unwrap(), 2);
}

/// The ranges of ids that the sequence of the cities has skipped, in order.
fn skipped_ranges(backend: &Backend) -> Vec<(i64, i64)> {
    let sql =
        "SELECT first, last FROM sharded_skipped_ids WHERE name = 'started_cities' ORDER BY first, last";
    if backend.is_postgres("a") {
        let rows = backend.client("a").rows(sql);
        return rows.iter().map(|row| (row[0].parse().unwrap(), row[1].parse().unwrap())).collect();
    }
    let control = rusqlite::Connection::open(backend.folder().join("control.db")).unwrap();
    let mut statement = control.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn r56_the_last_ids_are_a_clear_error(backend: &Backend) {
    let cluster = backend.create::<City>(&LETTERS);
    let mut session = cluster.session();
    cluster.advance_ids::<City>(i64::MAX - 2_500).unwrap();
    let mut highest = 0;
    let error = loop {
        match session.add(city("Asia")) {
            Ok(row) => {
                assert!(row.id > highest);
                highest = row.id;
            }
            Err(error) => break error,
        }
    };
    assert_error(Err::<(), _>(error), ErrorKind::Value, &["started_cities", "id", "exhausted"]);
    assert_eq!(highest, i64::MAX - 500, "two blocks of 1,000");
    // The ids above can be given.
    session.add_with_id(i64::MAX, city("Asia")).unwrap();
    session.add_with_id(i64::MAX - 1, city("Asia")).unwrap();
    cluster.advance_ids::<City>(i64::MAX).unwrap();
    assert_eq!(session.add(city("Asia")).unwrap_err().kind(), ErrorKind::Value);
    session.commit().unwrap();
    drop((session, cluster));
    if backend.is_lasting() {
        // A table that holds the greatest id does not keep a cluster from being opened, and opening records nothing more.
        let before = skipped_ranges(backend);
        for _ in 0..3 {
            let cluster = backend.open::<City>(&LETTERS).unwrap();
            assert_eq!(cluster.session().add(city("Asia")).unwrap_err().kind(), ErrorKind::Value);
            cluster.advance_ids::<City>(i64::MAX).unwrap();
            cluster.session().add_with_id(i64::MAX, city("Asia")).unwrap();
        }
        assert_eq!(skipped_ranges(backend), before);
        assert_eq!(before.last().unwrap().1, i64::MAX);
    }
}

fn r56_two_processes_begin_at_once(backend: &Backend) {
    let cluster = backend.create::<before::City>(&LETTERS);
    let mut session = cluster.session();
    let rows = (1..=50).map(|id| before::City { id: id * 10, continent: "Africa".into() });
    session.add_all(rows).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    // As two processes do: each opens the cluster automatically, and begins the sequence.
    let generated: Vec<i64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let cluster = backend.open::<City>(&LETTERS).unwrap();
                    let mut session = cluster.session();
                    (0..5).map(|_| session.add(city("Asia")).unwrap().id).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(generated.iter().all(|id| *id > 500), "{generated:?}");
    assert_eq!(generated.iter().collect::<HashSet<_>>().len(), 20);
}

fn r56_async_sessions_give_ids(backend: &Backend) {
    let cluster = backend.create::<City>(&LETTERS);
    for (runtime, id) in Runtime::ALL.into_iter().zip([5_000, 10_000, 15_000]) {
        runtime.block_on(async {
            let mut session = cluster.async_session();
            let advanced = cluster.clone();
            session.run(move |_| advanced.advance_ids::<City>(id)).await.unwrap();
            assert_eq!(session.add_with_id(id, city("Asia")).await.unwrap().id, id);
            assert_eq!(session.add(city("Asia")).await.unwrap().id, id + 1);
            let refused = session.add_with_id(id + 2, city("Asia")).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Value);
            session.commit().await.unwrap();
        });
    }
    assert_eq!(cluster.session().one(City::select().all_shards().count()).unwrap(), 6);
}
