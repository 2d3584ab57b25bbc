//! Processes that are killed at their system calls, or whose disk fails there: with `strace`, which counts the calls.

use std::path::Path;

use crate::check::{Counts, check};
use crate::writer::Writer;
use crate::{create, folder};

/// The system calls that change files or wait for the disk.
const CALLS: [&str; 4] = ["pwrite64", "fdatasync,fsync", "ftruncate", "unlink"];

/// Whether every call is tried, or some.
pub fn every() -> bool {
    std::env::var("SHARDED_STEPS").is_ok_and(|steps| steps == "all")
}

/// A cluster of its own for each try, copied from one that was made before.
pub struct Tries {
    folder: tempfile::TempDir,
    tries: i64,
}

impl Tries {
    pub fn new() -> Self {
        let folder = folder();
        create(&folder.path().join("made"));
        Tries { folder, tries: 0 }
    }

    pub fn next(&mut self) -> Writer {
        self.tries += 1;
        let folder = self.folder.path().join(self.tries.to_string());
        let (cluster, logs) = (folder.join("cluster"), folder.join("logs"));
        std::fs::create_dir_all(&cluster).unwrap();
        std::fs::create_dir_all(&logs).unwrap();
        for file in std::fs::read_dir(self.folder.path().join("made")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), cluster.join(file.file_name())).unwrap();
        }
        Writer { cluster, logs, number: 1, units: 3, three: true }
    }
}

/// Runs a writer with something that happens at one of its calls; whether it came to its end.
pub fn run(writer: &Writer, call: &str, what: &str) -> bool {
    let inject = format!("inject={call}:{what}");
    let behind = ["strace", "-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject];
    let mut command = writer.command(&behind.map(str::to_owned));
    command.status().unwrap();
    let log = std::fs::read_to_string(writer.logs.join(format!("{}.log", writer.number))).unwrap_or_default();
    log.lines().last() == Some("done")
}

/// Moves the cluster elsewhere, opens it there and looks at it.
fn check_moved(writer: &Writer) -> Counts {
    let moved = writer.cluster.with_file_name("moved");
    std::fs::rename(&writer.cluster, &moved).unwrap();
    let counts = check(&moved, &writer.logs);
    std::fs::remove_dir_all(writer.logs.parent().unwrap_or(Path::new(""))).unwrap();
    counts
}

/// Tries something at a call's first time, at its second, and so on, until a writer does not come so far any more.
fn at_every(call: &str, stride: usize, mut attempt: impl FnMut(usize) -> bool) -> usize {
    let step = if every() { 1 } else { stride };
    let mut tries = 0;
    for time in (1..).step_by(step) {
        if attempt(time) {
            break;
        }
        tries += 1;
    }
    println!("{call}: {tries} tries");
    tries
}

#[test]
fn r35_a_kill_at_any_system_call_leaves_nothing_half_done() {
    let mut tries = Tries::new();
    let mut killed = 0;
    for call in CALLS {
        killed += at_every(call, 3, |time| {
            let writer = tries.next();
            let ended = run(&writer, call, &format!("signal=KILL:when={time}"));
            check_moved(&writer);
            ended
        });
    }
    assert!(killed > 20, "only {killed} were killed");
}

#[test]
fn r35_a_kill_during_recovery_leaves_nothing_half_done() {
    let mut tries = Tries::new();
    let mut killed = 0;
    // The first is killed at some of its writes, the next one while it opens the cluster.
    for first in (1..).step_by(if every() { 1 } else { 9 }) {
        let mut first_ended = false;
        killed += at_every(&format!("pwrite64 {first}, then pwrite64"), 5, |time| {
            let mut writer = tries.next();
            first_ended = run(&writer, "pwrite64", &format!("signal=KILL:when={first}"));
            (writer.number, writer.units) = (2, 0);
            let ended = run(&writer, "pwrite64", &format!("signal=KILL:when={time}"));
            check_moved(&writer);
            ended
        });
        if first_ended {
            break;
        }
    }
    assert!(killed > 5, "only {killed} were killed");
}

#[test]
fn r35_a_disk_that_fails_at_any_call_leaves_nothing_half_done() {
    let mut tries = Tries::new();
    let (mut failed, mut doubted, mut acknowledged) = (0, 0, 0);
    for (call, error) in [("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("fdatasync,fsync", "EIO")] {
        // Once, and from then on.
        for on in ["", "+"] {
            let mut time = 0;
            loop {
                time += if every() { 1 } else { 4 };
                let writer = tries.next();
                let before = calls(&writer, call);
                run(&writer, call, &format!("error={error}:when={time}{on}"));
                let counts = check_moved(&writer);
                failed += 1;
                (doubted, acknowledged) = (doubted + counts.doubted, acknowledged + counts.acknowledged);
                if time > before {
                    break;
                }
            }
        }
    }
    println!("{failed} failing disks: {acknowledged} units acknowledged, {doubted} in doubt");
    assert!(acknowledged > 0 && doubted > 0, "not every end was come to");
}

/// The number of times that an undisturbed writer makes a call.
fn calls(writer: &Writer, call: &str) -> usize {
    static COUNTED: std::sync::Mutex<Vec<(String, usize)>> = std::sync::Mutex::new(Vec::new());
    let mut counted = COUNTED.lock().unwrap();
    if let Some((_, count)) = counted.iter().find(|(counted, _)| counted == call) {
        return *count;
    }
    let mut other = writer.clone();
    other.cluster = writer.cluster.with_file_name("counted");
    other.logs = writer.cluster.with_file_name("counted-logs");
    std::fs::create_dir(&other.logs).unwrap();
    std::fs::create_dir(&other.cluster).unwrap();
    for file in std::fs::read_dir(&writer.cluster).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), other.cluster.join(file.file_name())).unwrap();
    }
    let lines = other.logs.join("calls");
    let said = lines.display().to_string();
    let behind = ["strace", "-f", "-o", &said, "-e", &format!("trace={call}"), "-e", "signal=none"];
    assert!(other.command(&behind.map(str::to_owned)).status().unwrap().success());
    let count = std::fs::read_to_string(lines).unwrap().lines().filter(|line| line.contains('(')).count();
    counted.push((call.to_owned(), count));
    count
}
