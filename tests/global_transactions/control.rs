//! Sessions that wait for the control database do not wait for each other (W28).

use std::sync::Barrier;
use std::time::{Duration, Instant};

use shard_runtime::{Cluster, ErrorKind, Result, Session, Sharded};
use sharded_tests::waiting::spawn_until_it_waits;

use crate::{Account, BUSY_TIMEOUT, Place, SHARDS, World, account};

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "tickets")]
struct Ticket {
    #[id(sequence)]
    id: i64,
    #[shard_key]
    place: Place,
}

type Models = (Account, Ticket);

const TIMEOUT: Duration = Duration::from_secs(1);

const SESSIONS: u32 = 12;

/// Sessions that wait one after the other take twice as long.
const HANGS: Duration = Duration::from_secs(6);

/// Runs sessions at once. Each must fail with `Busy` after its own timeout.
fn all_are_busy(cluster: &Cluster, run: impl Fn(&mut Session, i64) -> Result<()> + Sync) {
    let barrier = Barrier::new(SESSIONS as usize);
    std::thread::scope(|scope| {
        for number in 0..i64::from(SESSIONS) {
            let (barrier, run) = (&barrier, &run);
            scope.spawn(move || {
                let mut session = cluster.session();
                barrier.wait();
                let began = Instant::now();
                let error = run(&mut session, number).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                assert!(error.to_string().contains("control database"), "{error}");
                assert!(began.elapsed() < HANGS, "session {number} gave up after {:?}", began.elapsed());
            });
        }
    });
}

fn add_ticket(session: &mut Session, _: i64) -> Result<()> {
    session.add(NewTicket { place: Place::A }).map(drop)
}

#[test]
fn r39_sessions_that_wait_for_ids_give_up_after_one_busy_timeout_each_on_files() {
    let folder = tempfile::tempdir().unwrap();
    let builder = SHARDS.iter().fold(Cluster::builder().busy_timeout(TIMEOUT), |builder, shard| {
        builder.shard(*shard, format!("sqlite:{}", folder.path().join(format!("{shard}.db")).display()))
    });
    let cluster = builder.clone().create::<Models>().unwrap();
    cluster.transaction(|session| session.add_all(Place::ALL.map(|place| account(1, place)))).unwrap();
    let control = rusqlite::Connection::open(folder.path().join("control.db")).unwrap();
    control.execute_batch("BEGIN IMMEDIATE").unwrap();
    all_are_busy(&cluster, add_ticket);
    // Decisions wait for the same lock. Each session locks the shards, so that they are taken by one at a time.
    let decide = |session: &mut Session| {
        session.add_all([account(50, Place::A), account(50, Place::B)])?;
        session.commit().map(drop)
    };
    assert_eq!(decide(&mut cluster.session()).unwrap_err().kind(), ErrorKind::Busy);
    // Sessions that need neither an id nor a decision do not wait at all: the lock is held until they are done.
    std::thread::scope(|scope| {
        scope.spawn(|| add_ticket(&mut cluster.session(), 0).unwrap_err());
        for id in 100..150 {
            let written = cluster.transaction(|session| session.add(account(id, Place::C)).map(drop));
            written.unwrap();
        }
    });
    control.execute_batch("ROLLBACK").unwrap();
    // The lock is released while sessions wait for it: they continue.
    let cluster = builder.busy_timeout(BUSY_TIMEOUT).open::<Models>().unwrap();
    control.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let adding = spawn_until_it_waits(scope, || add_ticket(&mut cluster.session(), 0));
        control.execute_batch("ROLLBACK").unwrap();
        adding.join().unwrap().unwrap();
    });
    decide(&mut cluster.session()).unwrap();
}

#[test]
fn r39_sessions_that_wait_for_ids_give_up_after_one_busy_timeout_each_on_servers() {
    let world = World::new();
    // The cluster is made with patience: other tests use the processors meanwhile.
    let patient = world.builder().create::<Models>().unwrap();
    let cluster = world.builder().busy_timeout(TIMEOUT).open::<Models>().unwrap();
    let holder = world.client(0);
    holder.run("INSERT INTO sharded_sequence VALUES ('tickets', 1) ON CONFLICT DO NOTHING");
    holder.run("BEGIN; UPDATE sharded_sequence SET next = next");
    all_are_busy(&cluster, add_ticket);
    std::thread::scope(|scope| {
        scope.spawn(|| add_ticket(&mut cluster.session(), 0).unwrap_err());
        for id in 100..150 {
            cluster.transaction(|session| session.add(account(id, Place::C)).map(drop)).unwrap();
        }
    });
    let adding = std::thread::scope(|scope| {
        let adding = spawn_until_it_waits(scope, || add_ticket(&mut patient.session(), 0));
        holder.run("ROLLBACK");
        adding.join().unwrap()
    });
    adding.unwrap();
}
