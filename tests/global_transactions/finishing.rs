//! A participant that stays prepared is finished by the next session that begins to write there or meets its
//! lock (W2).

use std::time::{Duration, Instant};

use shard_runtime::{Cluster, ErrorKind, Sharded as _, Sql};

use sharded_tests::waiting::soon;

use crate::{Account, BUSY_TIMEOUT, Place, World, account, set, set_all};

/// Commits a transaction over all shards whose participant on `c` cannot be finished.
fn pending(world: &World, cluster: &Cluster, cents: i64) {
    world.gate.refuse("COMMIT PREPARED");
    let mut session = cluster.session();
    session
        .execute(Account::update().set(Account::CENTS, cents).filter(Account::ID.eq(1)).all_shards())
        .unwrap();
    session.add_all(Place::ALL.map(|place| account(2, place))).unwrap();
    let committed = session.commit().unwrap();
    let shards: Vec<_> = committed.pending().iter().map(|error| error.shard().unwrap().to_owned()).collect();
    assert_eq!(shards, ["c"]);
    assert_eq!(world.prepared(2), 1);
    world.gate.allow();
}

/// The error of a commit that failed in memory after the decision also names the shards that are written later.
#[test]
fn r35_a_partial_commit_names_the_shards_that_finish_later() {
    let world = World::new();
    let builder = Cluster::builder()
        .busy_timeout(Duration::from_millis(200))
        .shard("a", "sqlite::memory:")
        .shard("b", crate::shard_url(&world.direct[1], &format!("m{}_", world.number), "b"))
        .shard("c", crate::shard_url(world.gate.url(), &format!("m{}_", world.number), "c"));
    // Other tests make shards on the same servers, one after the other.
    let mut created = (0..100).map(|_| builder.clone().create::<Account>());
    let is_over =
        |created: &Result<_, shard_runtime::Error>| !matches!(created, Err(error) if error.is_retryable());
    let cluster = created.find(is_over).expect("the servers are free at last").unwrap();
    let mut session = cluster.session();
    session.add_all(Place::ALL.map(|place| account(1, place))).unwrap();
    session.commit().unwrap();
    // A reader of a database in memory keeps it from being committed.
    let mut reader = cluster.session();
    assert_eq!(reader.all(Account::select().on_shard("a")).unwrap().len(), 1);
    world.gate.refuse("COMMIT PREPARED");
    set(&mut session, 5).unwrap();
    let error = session.commit().unwrap_err();
    world.gate.allow();
    assert_eq!(error.kind(), ErrorKind::PartialCommit, "{error}");
    let message = error.to_string();
    for text in ["committed on b, c", "failed on a", "later on c"] {
        assert!(message.contains(text), "`{text}` is missing in: {message}");
    }
    drop((session, reader));
    cluster.recover().unwrap();
    let cents = cluster.session().all(Account::select().all_shards()).unwrap();
    assert_eq!(cents.iter().map(|account| account.cents).collect::<Vec<_>>(), [0, 5, 5]);
}

fn worlds() -> [World; 2] {
    [World::new(), World::with_file()]
}

#[test]
fn r55_the_same_handle_finishes_its_transaction_before_its_next_write_there() {
    for world in worlds() {
        let cluster = world.open();
        pending(&world, &cluster, 5);
        let mut session = cluster.session();
        // No lock is met, and no row would be found.
        let new = Account::update().set(Account::CENTS, 7).filter(Account::ID.eq(2)).all_shards();
        assert_eq!(session.execute(new).unwrap(), 3);
        assert_eq!((world.prepared(2), world.cents(2)), (0, 5));
        session.commit().unwrap();
    }
}

#[test]
fn r55_a_transaction_that_was_aborted_is_rolled_back_before_the_next_write_there() {
    let world = World::new();
    let cluster = world.open();
    // `b` is prepared; `c` cannot be; and then `b` cannot be rolled back: `b` has to be behind the gate.
    let mut session = cluster.session();
    session.execute(Account::update().set(Account::CENTS, 5).filter(Account::ID.eq(1)).all_shards()).unwrap();
    let client = world.client(0);
    // The decision fails: its row is there already, by a trigger that refuses it.
    client.run(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'; \
         CREATE CONSTRAINT TRIGGER no AFTER INSERT ON sharded_unit DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION no()",
    );
    world.gate.refuse("ROLLBACK PREPARED");
    session.commit().unwrap_err();
    session.rollback();
    assert_eq!(world.prepared(2), 1);
    world.gate.allow();
    client.run("DROP TRIGGER no ON sharded_unit");
    let began = Instant::now();
    set_all(&mut session, 6).unwrap();
    assert!(began.elapsed() < BUSY_TIMEOUT / 2, "no lock is waited for");
    assert_eq!((world.prepared(2), world.cents(2)), (0, 6));
}

#[test]
fn r55_another_handle_finishes_it_when_it_begins_to_write_there() {
    for world in worlds() {
        let (cluster, other) = (world.open(), world.open());
        pending(&world, &cluster, 5);
        // It is no business of a handle how long others take to commit, for a moment.
        std::thread::sleep(Duration::from_millis(1_500));
        let mut session = other.session();
        let new = Account::update().set(Account::CENTS, 7).filter(Account::ID.eq(2)).all_shards();
        assert_eq!(session.execute(new).unwrap(), 3);
        session.commit().unwrap();
        assert_eq!((world.prepared(2), world.cents(2)), (0, 5));
    }
}

/// Every verb that waits for the lock of a prepared participant continues once that is finished, long before the busy
/// timeout.
#[test]
fn r55_a_session_that_meets_the_lock_of_a_prepared_transaction_finishes_it() {
    type Verb = fn(&Cluster) -> shard_runtime::Result<i64>;
    let verbs: [(&str, Verb); 6] = [
        ("bulk update", |cluster| {
            let add = Account::update()
                .set(Account::CENTS, Account::CENTS + 1)
                .filter(Account::ID.eq(1))
                .all_shards();
            cluster.transaction(|session| session.execute(add.clone())).map(|rows| rows as i64)
        }),
        ("bulk delete", |cluster| {
            let delete = Account::delete().filter(Account::ID.eq(1)).all_shards();
            cluster.transaction(|session| session.execute(delete.clone())).map(|rows| rows as i64)
        }),
        ("add", |cluster| {
            let added = cluster.transaction(|session| session.add(account(2, Place::C)).map(drop));
            Ok(i64::from(added.is_err_and(|error| error.kind() == ErrorKind::Unique)))
        }),
        ("save", |cluster| {
            cluster.transaction(|session| session.save(account(2, Place::C)).map(drop)).map(|()| 1)
        }),
        ("for update", |cluster| {
            let mut session = cluster.session();
            let rows = Account::select().filter(Account::PLACE.eq(Place::C) & Account::ID.eq(1)).for_update();
            session.all(rows).map(|rows| i64::from(rows[0].cents == 5))
        }),
        ("SQL", |cluster| {
            let mut session = cluster.session();
            let sql = Sql::new("UPDATE {accounts} SET cents = cents + 1 WHERE id = 1").on_shard("c");
            let rows = session.execute(sql)?;
            session.commit()?;
            Ok(rows as i64)
        }),
    ];
    for (name, verb) in verbs {
        for world in worlds() {
            let (cluster, other) = (world.open(), world.open());
            // The search at the beginning of a transaction does not help one that begins before the participant lingers.
            pending(&world, &cluster, 5);
            let began = Instant::now();
            let done = verb(&other).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(began.elapsed() < BUSY_TIMEOUT / 2, "{name}: it took {:?}", began.elapsed());
            assert!(done >= 1, "{name}: {done}");
            assert_eq!(world.prepared(2), 0, "{name}");
        }
    }
}

#[test]
fn r55_an_async_session_that_meets_the_lock_finishes_it() {
    for world in worlds() {
        let (cluster, other) = (world.open(), world.open());
        pending(&world, &cluster, 5);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut session = other.async_session();
            let add = Account::update()
                .set(Account::CENTS, Account::CENTS + 1)
                .filter(Account::ID.eq(1))
                .all_shards();
            assert_eq!(session.execute(add).await.unwrap(), 3);
            session.commit().await.unwrap();
        });
        assert_eq!((world.prepared(2), world.cents(2)), (0, 6));
    }
}

/// The owner is alive and has not decided: its participant is left alone, and the session waits for the lock.
#[test]
fn r55_a_participant_whose_owner_has_not_decided_is_waited_for() {
    let world = World::new();
    let cluster = world.open();
    let owner = world.client(0);
    // Counts the looks at the decision: each tries to insert it. Sequences are not rolled back.
    owner.run(&format!(
        "CREATE SEQUENCE looks; CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM nextval(''w{}_a.looks''); RETURN NEW; END'; \
         CREATE TRIGGER look BEFORE INSERT ON sharded_unit FOR EACH ROW EXECUTE FUNCTION look()",
        world.number
    ));
    owner.run("BEGIN; INSERT INTO sharded_unit (id) VALUES ('t')");
    world.leave("t", 0, 2, 5, false);
    let waiting = std::thread::spawn({
        let cluster = cluster.clone();
        move || {
            let add = Account::update()
                .set(Account::CENTS, Account::CENTS + 1)
                .filter(Account::ID.eq(1))
                .all_shards();
            cluster.transaction(|session| session.execute(add.clone()))
        }
    });
    let looks = || owner.text("SELECT last_value FROM looks").parse::<i64>().unwrap();
    soon("a look is over, and another one has begun", || looks() >= 3);
    assert_eq!(world.prepared(2), 1);
    owner.run("COMMIT");
    assert_eq!(waiting.join().unwrap().unwrap(), 3);
    assert_eq!((world.prepared(2), world.cents(2)), (0, 6));
}

#[test]
fn r55_a_participant_whose_owner_is_gone_is_rolled_back() {
    let world = World::new();
    let cluster = world.open();
    world.leave("t", 0, 2, 5, false);
    let mut session = cluster.session();
    set_all(&mut session, 7).unwrap();
    assert_eq!((world.prepared(2), world.cents(2)), (0, 7));
}

/// A file decides, and its owner was killed before that. A session that holds the file's lock waits for the participant's.
#[test]
fn r55_a_participant_without_a_record_is_rolled_back_for_a_session_that_has_locked_the_file() {
    let world = World::with_file();
    let cluster = world.builder().busy_timeout(Duration::from_secs(2)).open::<Account>().unwrap();
    world.leave("t", 0, 2, 5, false);
    cluster.transaction(|session| set(session, 7)).unwrap();
    assert_eq!((world.prepared(2), world.cents(2)), (0, 7));
    world.leave("u", 0, 2, 5, false);
    std::thread::sleep(Duration::from_millis(1_500));
    set_all(&mut cluster.session(), 8).unwrap();
    assert_eq!((world.prepared(2), world.cents(2)), (0, 8));
}
