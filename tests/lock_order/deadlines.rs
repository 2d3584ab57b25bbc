//! Reads with `for_update` that meet a lock: every wait ends at the session's timeout, and what the session wrote before
//! is not lost (W15).

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use shard_runtime::{Cluster, Error, ErrorKind, Session, Sharded};
use tempfile::TempDir;

use crate::{Account, PLACES, add, ends_soon, fill, on_files, servers, shards_on, sum};

/// A model whose rows are found by a lookup.
#[derive(Sharded, Clone, Debug)]
#[sharded(table = "owners")]
struct Owner {
    #[id]
    id: i64,
    #[shard_key(list("a" => "a", "b" => "b", "c" => "c"))]
    place: String,
    #[lookup]
    email: String,
}

const TIMEOUT: Duration = Duration::from_millis(300);

/// A cancelled statement takes a moment more than its timeout, the more so on a busy machine.
const LATE: Duration = Duration::from_secs(10);

type Read = fn(&mut Session) -> Result<usize, Error>;

/// Reads that lock rows, each by another way through the runtime.
const READS: [(&str, Read); 6] = [
    ("all", |session| Ok(session.all(Account::select().all_shards().for_update())?.len())),
    ("ordered", |session| {
        let ordered = Account::select().all_shards().order_by(Account::CENTS.desc()).limit(4);
        Ok(session.all(ordered.for_update())?.len())
    }),
    ("count", |session| {
        let count = session.one(Account::select().all_shards().for_update().count())?;
        Ok(usize::try_from(count).unwrap())
    }),
    ("iter", |session| {
        session
            .iter(Account::select().all_shards().for_update())
            .try_fold(0, |rows, row| row.map(|_| rows + 1))
    }),
    ("lookup", |session| Ok(session.all(owner_of("x"))?.len())),
    ("lookup of several", |session| {
        Ok(session.all(Owner::select().filter(Owner::EMAIL.is_in(["x", "y"])).for_update())?.len())
    }),
];

fn owner_of(email: &str) -> shard_runtime::Select<Owner, shard_runtime::Routed> {
    Owner::select().filter(Owner::EMAIL.eq(email)).for_update()
}

/// Accounts and owners on three servers, with a busy timeout of a minute.
fn on_servers(schema: &str) -> Cluster {
    let servers = servers();
    drop(fill(shards_on(servers, schema)));
    let builder = shards_on(servers, schema).busy_timeout(crate::BUSY_TIMEOUT);
    let cluster = builder.create::<(Account, Owner)>().unwrap();
    let owner =
        |(id, email, place): (i64, &str, &str)| Owner { id, place: place.into(), email: email.into() };
    let mut session = cluster.session();
    session.add_all([(1, "x", "a"), (2, "y", "b")].map(owner)).unwrap();
    session.commit().unwrap();
    cluster
}

/// A session that moves an account and an owner from `a` to `b`: until it ends it has the gates of both shards.
fn mover(cluster: &Cluster) -> Session {
    let mut session = cluster.session();
    let mut account = session.one(Account::select().on_shard("a").filter(Account::ID.eq(9))).unwrap();
    session.relocate(&mut account, |account| account.place = "b".into()).unwrap();
    let mut owner = session.one(Owner::select().on_shard("a").filter(Owner::ID.eq(1))).unwrap();
    session.relocate(&mut owner, |owner| owner.place = "b".into()).unwrap();
    session
}

#[track_caller]
fn assert_timed_out(name: &str, read: impl FnOnce() -> Result<usize, Error>) {
    let began = Instant::now();
    let error = read().expect_err(name);
    let took = began.elapsed();
    assert!(took >= TIMEOUT && took < LATE, "{name} took {took:?}");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{name}: {error}");
    assert!(error.shard().is_some() && error.table().is_some(), "{name}: {error}");
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r29_a_gate_is_waited_for_until_the_timeout() {
    let cluster = on_servers("gates");
    let mut holder = mover(&cluster);
    let mut fresh = cluster.session();
    let mut writer = cluster.session();
    add(&mut writer, 1, 5).unwrap();
    for (name, read) in READS {
        for session in [&mut fresh, &mut writer] {
            session.set_timeout(Some(TIMEOUT));
            assert_timed_out(name, || read(session));
            // The statement has ended on its server, and the transaction is as it was.
            session.set_timeout(None);
            assert_eq!(session.all(Account::select().on_shard("c")).unwrap().len(), 10, "{name}");
        }
    }
    // Writes before the timeouts are committed with those after them.
    add(&mut writer, 21, -5).unwrap();
    writer.commit().unwrap();
    holder.commit().unwrap();
    assert_eq!(sum(&cluster), 3_000);
    let rows = READS.map(|(_, read)| read(&mut fresh).unwrap());
    assert_eq!(rows, [30, 4, 30, 30, 1, 2]);
    fresh.rollback();
    assert_eq!(
        cluster.session().one(Account::select().on_shard("a").filter(Account::ID.eq(1))).unwrap().cents,
        105
    );
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r29_a_gate_is_waited_for_until_the_timeout_of_an_async_session() {
    let cluster = on_servers("async_gates");
    let mut holder = mover(&cluster);
    smol::block_on(async {
        let mut session = cluster.async_session();
        session.set_timeout(Some(TIMEOUT));
        let began = Instant::now();
        let error = session.all(Account::select().all_shards().for_update()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
        // A future that is dropped while it waits for the gate ends the wait.
        session.set_timeout(None);
        let mut asking = Box::pin(session.all(Account::select().all_shards().for_update()));
        let wait = smol::Timer::after(TIMEOUT);
        futures_util::future::select(asking.as_mut(), wait).map(drop).await;
        drop(asking);
        let began = Instant::now();
        session.rollback().await;
        assert_eq!(session.all(Account::select().on_shard("a")).await.unwrap().len(), 10);
        assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
    });
    holder.rollback();
    assert_eq!(sum(&cluster), 3_000);
}

/// The write locks of files: of a session of the same handle, and of another handle.
#[test]
fn r29_a_file_is_waited_for_until_the_timeout() {
    let folder = TempDir::new().unwrap();
    let cluster = on_files(&folder);
    let other = PLACES.iter().fold(Cluster::builder(), |builder, place| {
        builder.shard(*place, format!("sqlite:{}", folder.path().join(format!("{place}.db")).display()))
    });
    let other = other.busy_timeout(crate::BUSY_TIMEOUT).open::<Account>().unwrap();
    for reading in [&cluster, &other] {
        let mut holder = cluster.session();
        add(&mut holder, 11, 1).unwrap();
        let mut fresh = reading.session();
        let mut writer = reading.session();
        add(&mut writer, 21, -1).unwrap();
        for (name, read) in &READS[..4] {
            // The one has begun nothing yet, the other has written a shard after the locked one.
            for session in [&mut fresh, &mut writer] {
                session.set_timeout(Some(TIMEOUT));
                assert_timed_out(name, || read(session));
                session.set_timeout(None);
                assert_eq!(session.all(Account::select().on_shard("b")).unwrap().len(), 10, "{name}");
            }
        }
        ends_soon(|| {
            holder.commit().unwrap();
            writer.commit().unwrap();
        });
        assert_eq!(READS[0].1(&mut fresh).unwrap(), 30);
    }
    assert_eq!(sum(&cluster), 3_000);
}

/// A visitor that panics leaves no locks behind, as one that fails (R57).
#[test]
fn r57_a_panic_in_a_read_that_locks_leaves_no_lock() {
    let folder = TempDir::new().unwrap();
    let cluster = on_files(&folder);
    let mut session = cluster.session();
    let panics = std::panic::AssertUnwindSafe(|| {
        session.for_each(Account::select().all_shards().for_update(), |_| panic!("a visitor panics"))
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    ends_soon(|| cluster.transaction(|other| add(other, 1, 0)).unwrap());
    assert_eq!(READS[0].1(&mut session).unwrap(), 30);
}
