//! Savepoints, R33, and transactions that are retried, R38.

use std::sync::atomic::{AtomicUsize, Ordering};

use shard_runtime::{Error, ErrorKind, Session, Sharded, Sql};

use crate::backend::{Backend, CONTINENTS, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_mixture! {
    r33_a_part_that_fails_undoes_itself_on_every_shard,
    r33_a_part_that_succeeds_stays,
    r33_parts_may_be_nested,
    r33_pending_changes_belong_to_the_savepoint_that_added_them,
    r33_handles_show_the_values_after_a_savepoint_was_undone,
    r33_a_part_cannot_commit_and_may_roll_back_everything,
    r38_a_transaction_is_committed_or_rolled_back,
    r38_a_transaction_is_tried_again_while_others_are_in_the_way,
    r38_a_transaction_gives_up;
    only Files:
        r33_undone_statements_are_in_no_decision,
}

/// The error of a closure that fails on purpose.
#[derive(Debug)]
enum Wrong {
    OnPurpose,
    There(Error),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Wrong::There(error)
    }
}

fn names(session: &mut Session) -> Vec<String> {
    let cities = session.all(City::select().all_shards().order_by(City::NAME.asc())).unwrap();
    cities.iter().map(|city| city.name.clone()).collect()
}

fn r33_a_part_that_fails_undoes_itself_on_every_shard(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    session.add(city(Continent::Asia, "before")).unwrap();
    let failed: Result<(), Wrong> = session.try_savepoint(|session| {
        // One shard that was written before, one that was not, one that is only read.
        session.add(city(Continent::Asia, "inside"))?;
        session.add(city(Continent::Europe, "inside"))?;
        session.flush()?;
        session.execute(
            City::update().set(City::NAME, "renamed").on(Continent::Asia).filter(City::NAME.eq("before")),
        )?;
        session.all(City::select().on(Continent::NorthAmerica))?;
        session.add(city(Continent::SouthAmerica, "waits"))?;
        Err(Wrong::OnPurpose)
    });
    assert!(matches!(failed, Err(Wrong::OnPurpose)));
    assert_eq!(names(&mut session), ["before"]);
    session.add(city(Continent::Europe, "after")).unwrap();
    session.commit().unwrap();
    assert_eq!(names(&mut cluster.session()), ["after", "before"]);
}

fn r33_a_part_that_succeeds_stays(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    session.add(city(Continent::Asia, "before")).unwrap();
    let id = session.savepoint(|session| {
        session.add(city(Continent::Europe, "inside"))?;
        Ok(session.add(city(Continent::Asia, "inside too"))?.id)
    });
    assert_eq!(session.get::<City>(id.unwrap()).unwrap().unwrap().name, "inside too");
    session.commit().unwrap();
    assert_eq!(names(&mut cluster.session()), ["before", "inside", "inside too"]);
}

fn r33_parts_may_be_nested(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let add = |session: &mut Session, name: &str| {
        for continent in [Continent::Asia, Continent::Europe] {
            session.add(city(continent, name)).unwrap();
        }
        session.flush().unwrap();
    };
    add(&mut session, "0");
    let outer: Result<(), Wrong> = session.try_savepoint(|session| {
        add(session, "1");
        let inner: Result<(), Wrong> = session.try_savepoint(|session| {
            add(session, "2");
            Err(Wrong::OnPurpose)
        });
        assert!(inner.is_err());
        session.savepoint(|session| {
            add(session, "3");
            Ok(())
        })?;
        assert_eq!(names(session), ["0", "0", "1", "1", "3", "3"]);
        Err(Wrong::OnPurpose)
    });
    assert!(outer.is_err());
    assert_eq!(names(&mut session), ["0", "0"], "what an inner part has kept goes with the outer one");
    session.commit().unwrap();
    assert_eq!(names(&mut cluster.session()), ["0", "0"]);
}

fn r33_pending_changes_belong_to_the_savepoint_that_added_them(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    session.add(Company { id: 1, name: "x".into() }).unwrap();
    // A pending row that was not flushed yet fails when its savepoint ends.
    let twice = session.savepoint(|session| {
        session.add(Company { id: 2, name: "y".into() })?;
        session.add(Company { id: 1, name: "again".into() })?;
        Ok(())
    });
    assert_error(twice, ErrorKind::Unique, &["table `companies`", "id 1"]);
    session.commit().unwrap();
    let companies = cluster.session().all(Company::select().all_shards()).unwrap();
    assert_eq!(companies.iter().map(|company| company.name.as_str()).collect::<Vec<_>>(), ["x"]);
    // And a row that waited before is no part of it.
    session.add(Company { id: 1, name: "again".into() }).unwrap();
    let ((), asked) = cluster.asked(|| {
        let part = session.savepoint(|_| -> Result<(), Error> { unreachable!("nothing is run") });
        assert_error(part, ErrorKind::Unique, &["id 1"]);
    });
    assert_eq!(asked.len(), 1);
}

fn r33_handles_show_the_values_after_a_savepoint_was_undone(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let mut tokyo = session.add(city(Continent::Asia, "0")).unwrap();
    session.commit().unwrap();
    let rename = |session: &mut Session, row: &mut shard_runtime::Stored<City>, name: &str| {
        row.name = name.into();
        session.update(row)
    };
    let stored = |cluster: &Watched| cluster.session().one(City::select().all_shards()).unwrap().name.clone();

    rename(&mut session, &mut tokyo, "1").unwrap();
    session.flush().unwrap();
    let failed: Result<(), Wrong> = session.try_savepoint(|session| {
        rename(session, &mut tokyo, "2")?;
        Err(Wrong::OnPurpose)
    });
    assert!(failed.is_err());
    // The row has "2", and the database has "1": "2" again is a change.
    session.update(&mut tokyo).unwrap();
    let (_, counts) = cluster.counted(|| session.flush().unwrap());
    assert_eq!(counts, [("asia".to_owned(), 1)]);
    session.savepoint(|session| rename(session, &mut tokyo, "3")).unwrap();
    session.rollback();
    // Now the database has "0" again, after the writes of all parts.
    rename(&mut session, &mut tokyo, "0").unwrap();
    let (_, counts) = cluster.counted(|| session.commit().unwrap());
    assert_eq!((stored(&cluster), counts.len()), ("0".to_owned(), 0));
    rename(&mut session, &mut tokyo, "3").unwrap();
    session.commit().unwrap();
    assert_eq!(stored(&cluster), "3");
}

fn r33_a_part_cannot_commit_and_may_roll_back_everything(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    session.add(city(Continent::Asia, "before")).unwrap();
    session
        .savepoint(|session| {
            session.add(city(Continent::Asia, "inside"))?;
            assert_error(session.commit(), ErrorKind::Query, &["inside a savepoint"]);
            Ok(())
        })
        .unwrap();
    assert_eq!(names(&mut session), ["before", "inside"]);
    session
        .savepoint(|session| {
            session.rollback();
            session.add(city(Continent::Asia, "anew"))?;
            Ok(())
        })
        .unwrap();
    session.commit().unwrap();
    assert_eq!(names(&mut cluster.session()), ["anew"]);
}

fn r33_undone_statements_are_in_no_decision(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    session.add_all(Continent::ALL.map(|continent| city(continent, "kept"))).unwrap();
    let failed: Result<(), Wrong> = session.try_savepoint(|session| {
        session.execute(Sql::new("UPDATE {cities} SET name = ?1").bind("undone").all_shards())?;
        session.execute(Sql::new("UPDATE {cities} SET name = hex(randomblob(9))").all_shards())?;
        Err(Wrong::OnPurpose)
    });
    assert!(failed.is_err());
    session.execute(Sql::new("UPDATE {cities} SET population = ?1").bind(7).all_shards()).unwrap();
    session.commit().unwrap();
    let control = rusqlite::Connection::open(backend.folder().join("control.db")).unwrap();
    let done = "SELECT group_concat(substr(sql, 1, 6), ' ') FROM sharded_redo WHERE shard = 'europe'";
    let done: String = control.query_row(done, [], |row| row.get(0)).unwrap();
    assert_eq!(done, "INSERT UPDATE");
    let parameters: bool = control
        .query_row("SELECT count(*) = 0 FROM sharded_redo WHERE instr(runs, 'undone')", [], |row| row.get(0))
        .unwrap();
    assert!(parameters);
}

fn r38_a_transaction_is_committed_or_rolled_back(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let id = cluster.transaction(|session| Ok(session.add(city(Continent::Asia, "kept"))?.id));
    assert!(id.unwrap() > 0);
    let mut runs = 0;
    let failed: Result<(), Wrong> = cluster.try_transaction(|session| {
        runs += 1;
        session.add(city(Continent::Europe, "undone"))?;
        session.flush()?;
        Err(Wrong::OnPurpose)
    });
    assert!(matches!(failed, Err(Wrong::OnPurpose)));
    // An error that is not retryable is not retried, neither in the closure nor at the commit.
    let twice: Result<(), Wrong> = cluster.try_transaction(|session| {
        runs += 1;
        session.add_all([city(Continent::Asia, "kept"), city(Continent::Europe, "undone")])?;
        Ok(())
    });
    assert!(matches!(twice, Err(Wrong::There(error)) if error.kind() == ErrorKind::Unique));
    assert_eq!((runs, names(&mut cluster.session())), (2, vec!["kept".to_owned()]));
}

fn r38_a_transaction_is_tried_again_while_others_are_in_the_way(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = backend.create::<City>(&CONTINENTS);
    cluster.transaction(|session| session.add_all(Continent::ALL.map(|place| city(place, "0")))).unwrap();
    // Four threads read a number and write the next one, each time on two shards in another order.
    let tries = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (cluster, tries) = (&cluster, &tries);
            scope.spawn(move || {
                for round in 0..10 {
                    let places =
                        [Continent::ALL[(thread + round) % 4], Continent::ALL[(thread + round * 2 + 1) % 4]];
                    let add_one = |session: &mut Session| {
                        tries.fetch_add(1, Ordering::Relaxed);
                        for place in places {
                            let next = "UPDATE {cities} SET name = CAST(CAST(name AS INTEGER) + 1 AS TEXT) WHERE id = (SELECT min(id) FROM {cities})";
                            session.execute(Sql::new(next).on::<City>(place))?;
                        }
                        Ok(())
                    };
                    // The limit is for each transaction: one that fails ten times returns the error, and is tried again here.
                    while let Err(error) = cluster.transaction(add_one) {
                        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                    }
                }
            });
        }
    });
    let sum: i64 = names(&mut cluster.session()).iter().map(|name| name.parse::<i64>().unwrap()).sum();
    assert_eq!(sum, 4 * 10 * 2);
    assert!(tries.into_inner() >= 40);
}

fn r38_a_transaction_gives_up(backend: &Backend) {
    let impatient = backend.builder(&CONTINENTS).busy_timeout(std::time::Duration::from_millis(5));
    let cluster = backend.create_with::<City>(impatient);
    let mut holder = cluster.session();
    holder.add(city(Continent::Asia, "held")).unwrap();
    holder.flush().unwrap();
    let mut runs = 0;
    let never: Result<(), Wrong> = cluster.try_transaction(|session| {
        runs += 1;
        // On a server a session that adds another city blocks none.
        session.add(city(Continent::Asia, "held"))?;
        Ok(())
    });
    let Err(Wrong::There(error)) = never else { panic!("{never:?}") };
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Busy, Some("asia")), "{error}");
    // A retry begins with the locks that it needs: it runs the closure only if it gets them. A server has none to begin with.
    assert_eq!(runs, if backend.is_postgres("asia") { 10 } else { 1 });
    holder.rollback();
    assert!(names(&mut cluster.session()).is_empty());
}
