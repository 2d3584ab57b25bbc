//! A decision that its owner has written to control's write-ahead log and not published. Running processes do not read it, but
//! the next recovery of the log does. No process may commit on top of the rows that it was computed on.

use std::path::Path;
use std::process::{Command, Stdio};

use shard_runtime::{Cluster, Sharded as _};

use crate::injected::Tries;
use crate::{Account, Entry, Models, Place, builder};

pub const FOLDER: &str = "SHARDED_TORTURE_UNREAD";

/// The files that the global transaction writes.
pub const PLACES: [Place; 2] = [Place::A, Place::B];

const OWNER: &str = "unread::owner_in_a_process_of_its_own";

/// The amount that the global transaction adds to the account of each file.
pub const BY_THE_OWNER: i64 = 100;

#[test]
#[ignore = "runs in processes of its own"]
fn owner_in_a_process_of_its_own() {
    let folder = std::env::var(FOLDER).unwrap();
    let cluster = builder(Path::new(&folder)).open::<Models>().unwrap();
    let mut session = cluster.session();
    for place in PLACES {
        let mut account = session.get(Account::by_id(1).on(place)).unwrap().unwrap();
        account.cents += BY_THE_OWNER;
        session.update(&mut account).unwrap();
        session.add(Entry { id: 1, place, shards: 0b0011 }).unwrap();
    }
    session.commit().unwrap();
}

#[test]
fn r35_a_decision_that_no_process_reads_is_not_applied_over_a_later_commit() {
    let (mut tries, mut attacks) = (Tries::new(), 0);
    // The owner is killed while it waits for the disk, or the disk fails from then on and the outcome is in doubt.
    for (what, on) in [("signal=KILL", ""), ("error=EIO", "+")] {
        for place in PLACES {
            let mut overwritten = 0;
            for time in 1.. {
                attacks += 1;
                let cluster = tries.next().cluster;
                let (is_committed, is_overwritten) =
                    attack(&cluster, place, &format!("{what}:when={time}{on}"));
                overwritten += usize::from(is_overwritten);
                if is_committed {
                    break;
                }
            }
            assert!(overwritten > 0, "{what}, then {place:?} is written: no decision was left");
        }
    }
    println!("{attacks} owners");
}

/// A transaction that `recover` does not name is undone for good, also in a log that is recovered later.
#[test]
fn r35_recover_settles_a_decision_that_no_process_reads() {
    let (mut tries, mut settled) = (Tries::new(), 0);
    for time in 1.. {
        let folder = tries.next().cluster;
        let other = builder(&folder).open::<Models>().unwrap();
        PLACES.into_iter().for_each(|place| add(&other, place, 1));
        let is_committed = run_owner(&folder, &format!("signal=KILL:when={time}"), OWNER, &[]);
        let before = overwritten(&folder);
        let is_recovered = !other.recover().unwrap().transactions().is_empty();
        settled += usize::from(overwritten(&folder) > before);
        let cluster = builder(&copy_of(&folder)).open::<Models>().unwrap();
        let mut session = cluster.session();
        let has_entry = PLACES.map(|place| session.get(Entry::by_id(1).on(place)).unwrap().is_some());
        assert_eq!(has_entry, [is_recovered || is_committed; 2], "{time}");
        drop((session, cluster, other));
        std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
        if is_committed {
            break;
        }
    }
    assert!(settled > 0, "no decision was left");
}

/// The files as they are if every process is killed now: the next one recovers the logs.
pub fn copy_of(folder: &Path) -> std::path::PathBuf {
    let left = folder.with_file_name("left");
    std::fs::create_dir(&left).unwrap();
    for file in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if !file.path().to_string_lossy().ends_with("-shm") {
            std::fs::copy(file.path(), left.join(file.file_name())).unwrap();
        }
    }
    left
}

/// Stops an owner at one of its waits for control's log, and then writes a file from a process that had it open before.
/// Whether the owner has committed, and whether a decision of its was overwritten.
fn attack(folder: &Path, place: Place, what: &str) -> (bool, bool) {
    let other = builder(folder).open::<Models>().unwrap();
    // The first transaction of a process on a file also writes control. The later ones do not.
    PLACES.into_iter().for_each(|place| add(&other, place, 1));
    let is_committed = run_owner(folder, what, OWNER, &[]);
    let before = overwritten(folder);
    add(&other, place, 10);
    let after = overwritten(folder);
    // The frames that are left behind the overwritten ones are no transaction.
    PLACES.into_iter().for_each(|place| add(&other, place, 1));
    assert_eq!(overwritten(folder), after, "{what}, then {place:?} is written: control is written again");

    let left = copy_of(folder);
    drop(other);
    let cluster = builder(&left).open::<Models>().expect("the cluster opens");
    let mut session = cluster.session();
    let has_entry = PLACES.map(|place| session.get(Entry::by_id(1).on(place)).unwrap().is_some());
    assert_eq!(has_entry[0], has_entry[1], "{what}, then {place:?} is written: half-committed");
    assert!(
        has_entry[0] || !is_committed,
        "{what}, then {place:?} is written: what was acknowledged is lost"
    );
    for written in PLACES {
        let found = session.get(Account::by_id(1).on(written)).unwrap().unwrap().cents;
        let by_others = if written == place { 12 } else { 2 };
        let by_the_owner = if has_entry[0] { BY_THE_OWNER } else { 0 };
        assert_eq!(found, by_others + by_the_owner, "{what}, then {place:?} is written: {written:?}");
    }
    drop((session, cluster));
    std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    (is_committed, after > before)
}

/// The number of transactions in control that only overwrite the end of its log.
pub fn overwritten(folder: &Path) -> i64 {
    let control = rusqlite::Connection::open(folder.join("control.db")).unwrap();
    control.query_row("SELECT times FROM sharded_settled", [], |row| row.get(0)).unwrap()
}

/// Adds to the account of a file.
pub fn add(cluster: &Cluster, place: Place, cents: i64) {
    let mut session = cluster.session();
    let mut account = session.get(Account::by_id(1).on(place)).unwrap().unwrap();
    account.cents += cents;
    session.update(&mut account).unwrap();
    session.commit().unwrap();
}

/// Runs an owner, a test of this name, with something that happens at one of its waits for control's log; whether it has
/// committed.
pub fn run_owner(folder: &Path, what: &str, owner: &str, told: &[(&str, &str)]) -> bool {
    let log = folder.canonicalize().unwrap().join("control.db-wal").display().to_string();
    let inject = format!("inject=fdatasync,fsync:{what}");
    let status = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-P", &log, "-e", "trace=fdatasync,fsync", "-e", &inject])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", owner])
        .env(FOLDER, folder)
        .envs(told.iter().copied())
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}
