//! A decision that no process reads, two processes, and a power loss. The owner is killed while it waits for the disk. A
//! process that was open before writes a file. Then the power is lost at any moment of both.
//!
//! The hazard is the order on the disk. The survivor's commit must not be on disk without the transaction that overwrites the
//! decision: the next recovery of control's log would apply the decision over that commit.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use shard_runtime::Sharded as _;
use sharded_tests::disk::{Record, TRACED};
use sharded_tests::waiting::soon;

use crate::injected::{Tries, every};
use crate::unread::{BY_THE_OWNER, FOLDER, PLACES, add, copy_of, overwritten};
use crate::{Account, Entry, Models, Numbers, Place, Running, builder, folder, seed};

const LOG: &str = "SHARDED_TORTURE_UNREAD_LOG";
const PLACE: &str = "SHARDED_TORTURE_UNREAD_PLACE";

/// How many power losses an ordinary run of the tests replays of each record.
const LOSSES: usize = 250;

/// How often the power is lost at each moment when every one is tried.
const TIMES: usize = 80;

/// The additions of the survivor, before and after the owner.
fn additions(place: Place) -> Vec<(Place, i64)> {
    let after = [(place, 10)].into_iter().chain(PLACES.map(|place| (place, 1)));
    PLACES.map(|place| (place, 1)).into_iter().chain(after).collect()
}

#[test]
#[ignore = "runs in processes of its own"]
fn survivor_in_a_process_of_its_own() {
    let said = |name: &str| PathBuf::from(std::env::var_os(name).unwrap());
    let (folder, log) = (said(FOLDER), said(LOG));
    let mut tell = File::options().create(true).append(true).open(&log).unwrap();
    let mut tell = |line: &str| tell.write_all(format!("{line}\n").as_bytes()).unwrap();
    let cluster = builder(&folder).open::<Models>().unwrap();
    let additions = additions(place_named(&said(PLACE).display().to_string()));
    for (number, (place, cents)) in additions.into_iter().enumerate() {
        if number == PLACES.len() {
            tell("ready");
            soon("the word to go on", || log.with_extension("go").exists());
        }
        add(&cluster, place, cents);
        tell("added");
    }
    tell("done");
}

fn place_named(name: &str) -> Place {
    PLACES.into_iter().find(|place| format!("{place:?}") == name).unwrap()
}

#[test]
fn r35_a_power_loss_after_a_decision_was_overwritten_leaves_nothing_half_done() {
    let (mut numbers, mut tries) = (Numbers(seed()), Tries::new());
    for place in PLACES {
        let mut attacks = 0;
        for time in 1.. {
            let Attack { record, is_committed, is_unread } = attack(&tries.next().cluster, place, time);
            if is_unread {
                attacks += 1;
                lose_power(&record, place, &mut numbers);
            }
            if is_committed {
                break;
            }
        }
        assert!(attacks > 0, "then {place:?} is written: no decision was left");
    }
}

struct Attack {
    record: Record,
    /// Whether the owner came to its end.
    is_committed: bool,
    /// Whether its decision was in control's log, and no process read it.
    is_unread: bool,
}

/// Kills an owner at one of its waits for the disk, while a process that was open before it waits, and then writes a file.
fn attack(cluster: &Path, place: Place, time: usize) -> Attack {
    let cluster = cluster.canonicalize().unwrap();
    let beside = |name: &str| cluster.with_file_name(name);
    let (before, log) = (beside("before"), beside("survivor.log"));
    std::fs::create_dir(&before).unwrap();
    for file in std::fs::read_dir(&cluster).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), before.join(file.file_name())).unwrap();
    }
    let survives = "unread_power::survivor_in_a_process_of_its_own";
    let mut survivor = traced(&beside("survivor.trace"), &["-e", "signal=none"], survives);
    let mut survivor =
        Running::spawn(survivor.env(FOLDER, &cluster).env(LOG, &log).env(PLACE, format!("{place:?}")));
    let told = || std::fs::read_to_string(&log).unwrap_or_default();
    soon("the survivor is ready", || told().ends_with("ready\n"));
    let inject = format!("inject=fdatasync,fsync:signal=KILL:when={time}");
    let owns = "unread::owner_in_a_process_of_its_own";
    let mut owner = traced(&beside("owner.trace"), &["-e", &inject], owns);
    let is_committed = owner.env(FOLDER, &cluster).status().unwrap().success();
    let (times, is_unread) = (overwritten(&cluster), has_unread_decision(&cluster));
    std::fs::write(log.with_extension("go"), "").unwrap();
    assert!(survivor.0.wait().unwrap().success(), "{}", told());
    assert!(!is_unread || overwritten(&cluster) > times, "the decision is overwritten");
    let read = |name: &str| std::fs::read_to_string(beside(name)).unwrap();
    let trace = interleaved(&read("survivor.trace"), &read("owner.trace"));
    let record = Record::read(&trace, &cluster, &log, &before, String::new());
    Attack { record, is_committed, is_unread }
}

/// Whether a decision is found by the next recovery of control's log, and not by a process that reads it now.
fn has_unread_decision(cluster: &Path) -> bool {
    let decisions = |folder: &Path| {
        let control = rusqlite::Connection::open(folder.join("control.db")).unwrap();
        control.query_row("SELECT count(*) FROM sharded_redo", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    decisions(&copy_of(cluster)) > decisions(cluster)
}

/// A test of this program as a process of its own, with its operations on files written down.
fn traced(trace: &Path, more: &[&str], test: &str) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-xx", "-s", "10000000", "-e", TRACED, "-o"])
        .arg(trace)
        .args(more)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", test])
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// The operations of both processes in their order: the survivor did nothing between `ready` and the owner's end.
fn interleaved(survivor: &str, owner: &str) -> String {
    let ready: String = b"ready\n".iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let at = survivor.find(&ready).expect("the survivor was ready");
    let end = at + survivor[at..].find('\n').unwrap() + 1;
    format!("{}{owner}{}", &survivor[..end], &survivor[end..])
}

/// Replays power losses of the recorded run.
fn lose_power(record: &Record, place: Place, numbers: &mut Numbers) {
    // Before the owner began, nothing is at stake. Most is right after the survivor's commit, until it waits for control's
    // disk again: the decision must not be on disk without the transaction that overwrites it.
    let (first, last) = (record.told("ready")[0], record.events());
    let acknowledged = record.told("added")[PLACES.len()];
    let moments: Vec<usize> = match every() {
        true => (first..=last).flat_map(|moment| [moment; TIMES]).collect(),
        false => (0..LOSSES)
            .map(|number| match number % 3 {
                0 => first + numbers.below((last + 1 - first) as u64) as usize,
                _ => acknowledged,
            })
            .collect(),
    };
    let (folder, mut applied) = (folder(), 0);
    for (number, &moment) in moments.iter().enumerate() {
        let here = folder.path().join(number.to_string());
        let (cluster, log) = (here.join("cluster"), here.join("log"));
        std::fs::create_dir_all(&cluster).unwrap();
        record.lose_power(moment, numbers, &cluster, &log);
        let checked = std::panic::catch_unwind(|| check(&cluster, &log, place));
        let Ok(is_applied) = checked else {
            panic!("after power loss {number}, at {moment} of {} moments, {place:?}", record.events());
        };
        applied += usize::from(is_applied);
        std::fs::remove_dir_all(here).unwrap();
    }
    println!("{} power losses in {} moments: applied in {applied}", moments.len(), record.events());
}

/// Opens the files on the disk; returns whether the owner's transaction is stored. It is whole or absent, and each reported
/// addition of the survivor is stored.
fn check(folder: &Path, log: &Path, place: Place) -> bool {
    let cluster = builder(folder).open::<Models>().expect("the cluster opens");
    let mut session = cluster.session();
    let has_entry = PLACES.map(|place| session.get(Entry::by_id(1).on(place)).unwrap().is_some());
    assert_eq!(has_entry[0], has_entry[1], "half-committed");
    let by_the_owner = if has_entry[0] { BY_THE_OWNER } else { 0 };
    let cents =
        PLACES.map(|place| session.get(Account::by_id(1).on(place)).unwrap().unwrap().cents - by_the_owner);
    let additions = additions(place);
    let told = std::fs::read_to_string(log).unwrap().lines().filter(|line| *line == "added").count();
    // The one after the last reported one may be stored, too.
    let is_possible = |count: usize| {
        let of = |place: Place| -> i64 {
            additions[..count].iter().filter(|(other, _)| *other == place).map(|(_, cents)| cents).sum()
        };
        cents == PLACES.map(of)
    };
    let possible = told..=(told + 1).min(additions.len());
    assert!(possible.clone().any(is_possible), "{cents:?} after {told} additions, entries {has_entry:?}");
    has_entry[0]
}
