//! Several threads of several processes change the same rows, on one shard and on several. No change is lost, and no session
//! waits for ever.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use shard_runtime::{Cluster, Error, ErrorKind, Session, Sharded as _, Sql};

use crate::{Account, Models, Numbers, Place, builder, create, folder, seed};

const PROCESSES: u64 = 4;
const THREADS: u64 = 8;

/// How many units each thread commits, however long that takes.
const AT_LEAST: i64 = 2;

const FOLDER: &str = "SHARDED_TORTURE_SHARED";
const SEED: &str = "SHARDED_TORTURE_SEED";
const SECONDS: &str = "SHARDED_SECONDS";

fn seconds() -> u64 {
    std::env::var(SECONDS).map_or(3, |seconds| seconds.parse().expect("SHARDED_SECONDS is a number"))
}

#[test]
fn r38_processes_that_change_the_same_rows_lose_nothing() {
    let folder = folder();
    let cluster = folder.path().join("cluster");
    create(&cluster);
    let seed = seed();
    let processes: Vec<_> = (0..PROCESSES)
        .map(|process| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--ignored", "concurrency::in_a_process_of_its_own", "--nocapture"])
                .env(FOLDER, &cluster)
                .env(SEED, (seed + process).to_string())
                .env(SECONDS, seconds().to_string())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    // The report of each process on its threads: the numbers of committed units, of additions, and of units that gave up.
    let (mut committed, mut added, mut gave_up) = (0, 0, 0);
    for process in processes {
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        for line in said.lines() {
            if let Some((_, numbers)) = line.split_once("thread: ") {
                let numbers: Vec<i64> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
                (committed, added, gave_up) =
                    (committed + numbers[0], added + numbers[1], gave_up + numbers[2]);
            }
        }
    }
    println!("{committed} units, {gave_up} gave up");
    let cluster = builder(&cluster).open::<Models>().unwrap();
    let accounts = cluster.session().all(Account::select().all_shards()).unwrap();
    assert_eq!(accounts.iter().map(|account| account.cents).sum::<i64>(), added);
    assert!(committed >= AT_LEAST * (PROCESSES * THREADS) as i64, "{committed} units only");
}

#[test]
#[ignore = "runs in processes of its own"]
fn in_a_process_of_its_own() {
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let cluster = builder(Path::new(&std::env::var(FOLDER).unwrap()))
        .busy_timeout(Duration::from_millis(30))
        .connections(4 * THREADS as u32)
        .open::<Models>()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(seconds());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let cluster = &cluster;
            scope.spawn(move || write(cluster, Numbers(seed * THREADS + thread), until));
        }
    });
}

/// Adds to accounts on one to three shards, in an order of its own each time, until the time is over.
fn write(cluster: &Cluster, mut numbers: Numbers, until: Instant) {
    let (mut committed, mut added, mut gave_up) = (0, 0, 0);
    while Instant::now() < until || committed < AT_LEAST {
        let places: Vec<Place> =
            (0..1 + numbers.below(3)).map(|_| Place::ALL[numbers.below(4) as usize]).collect();
        let cents = numbers.below(100) as i64;
        let by_reading = numbers.below(2) == 0;
        let unit = cluster.transaction(|session| {
            for &place in &places {
                if by_reading { read_and_write(session, place, cents) } else { add(session, place, cents) }?;
            }
            Ok(())
        });
        match unit {
            Ok(()) => (committed, added) = (committed + 1, added + cents * places.len() as i64),
            // The wait is bounded, and a session whose wait ends without the lock gets an error.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                gave_up += 1;
            }
        }
    }
    println!("thread: {committed} {added} {gave_up}");
}

fn add(session: &mut Session, place: Place, cents: i64) -> Result<(), Error> {
    let add = Sql::new("UPDATE {accounts} SET cents = cents + ?1 WHERE id = 1").bind(cents);
    session.execute(add.on::<Account>(place)).map(drop)
}

/// The shard is locked before it is read: the read value is the one that is overwritten.
fn read_and_write(session: &mut Session, place: Place, cents: i64) -> Result<(), Error> {
    add(session, place, 0)?;
    let mut account = session.get(Account::by_id(1).on(place))?.expect("it was made");
    account.cents += cents;
    session.update(&mut account)
}
