//! Migrations of three SQLite files and of three schemas of a PostgreSQL server that are killed, or whose disk or server fails,
//! and continue: R53. They need `strace` and PostgreSQL.
//!
//! A migration is a process of its own. It is killed before each of its statements, and at system calls that change files or
//! send and receive. The one after it continues. Then every shard has to be as after an undisturbed migration, and the rows of
//! all shards together have to be those of one big table.
//!
//! `SHARDED_STEPS=all` kills at every system call instead of some. On a server, `SHARDED_FROM` and `SHARDED_UNTIL` are the first
//! call and the one after the last: a run can be made in parts.

#![cfg(target_os = "linux")]

mod chains;
#[path = "../suite/client.rs"]
mod client;
mod made;
mod models;
mod moved;
mod opening;
mod order;
mod prepared;
mod processes;
mod references;
mod refusals;
mod servers;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use models::{SHARDS, builder, create, one, two};
use shard_runtime::{Builder, Pace, migrate::MigrationProgress};

/// The folder of a cluster of files, or the URL of a database on a server.
const CLUSTER: &str = "SHARDED_MIGRATED_CLUSTER";
const KILL_AT: &str = "SHARDED_MIGRATION_KILLED_AT";

/// Migrates the cluster that the environment names: what a test starts.
#[test]
#[ignore = "started by other tests"]
fn in_a_process_of_its_own() {
    let cluster = std::env::var(CLUSTER).expect("started by a test");
    let kill_at: usize = std::env::var(KILL_AT).map_or(usize::MAX, |at| at.parse().unwrap());
    match cluster.starts_with("postgres:") {
        true => migrate_with(&|| servers::builder(&cluster, &SHARDS), kill_at),
        false => migrate(Path::new(&cluster), &SHARDS, kill_at),
    }
}

/// Runs all of it, and ends the process before the statement with this number.
fn migrate(folder: &Path, shards: &[&str], kill_at: usize) {
    migrate_with(&|| builder(folder, shards), kill_at);
}

fn migrate_with(builder: &dyn Fn() -> Builder, kill_at: usize) {
    let events = AtomicUsize::new(0);
    migrate_telling(builder, |_| {
        if events.fetch_add(1, Ordering::Relaxed) == kill_at {
            std::process::abort();
        }
    });
}

fn migrate_telling(builder: &dyn Fn() -> Builder, progress: impl Fn(&MigrationProgress) + Send + Sync) {
    let migration = || {
        let migration = builder().migrate::<two::Models>(&two::migrations()).unwrap();
        migration.pace(Pace::rows(4))
    };
    migration().run(&progress).unwrap();
    migration().contract().run(&progress).unwrap();
}

/// Starts a migration of its own; returns whether it came to its end.
fn runs(folder: &Path, behind: &[String], kill_at: Option<usize>) -> bool {
    process("in_a_process_of_its_own", folder.to_str().unwrap(), behind, kill_at).status().unwrap().success()
}

/// The same; returns the kind and the text of the error with which it stopped.
fn stops(folder: &Path, behind: &[String]) -> Option<(String, String)> {
    let mut process = process("in_a_process_of_its_own", folder.to_str().unwrap(), behind, None);
    let output = process.stdout(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let error = || {
        let (_, rest) = text.split_once("on an `Err` value: ")?;
        let (kind, message) = rest.split("\nnote: ").next()?.split_once(": ")?;
        Some((kind.to_owned(), message.to_owned()))
    };
    (!output.status.success()).then(|| error().unwrap_or_else(|| panic!("no error: {text}")))
}

/// The process that runs an ignored test with a cluster.
fn process(test: &str, cluster: &str, behind: &[String], kill_at: Option<usize>) -> Command {
    let this = std::env::current_exe().unwrap().display().to_string();
    let test = ["--exact", "--ignored", test].map(str::to_owned);
    let words: Vec<String> = behind.iter().cloned().chain([this]).chain(test).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env(CLUSTER, cluster).env("RUST_BACKTRACE", "0");
    if let Some(at) = kill_at {
        command.env(KILL_AT, at.to_string());
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The schema and the rows of a file, but for the tables of the runtime whose values differ from run to run.
fn dump(file: &Path) -> Vec<String> {
    let raw = rusqlite::Connection::open(file).unwrap();
    let texts = |sql: &str| -> Vec<String> {
        let mut statement = raw.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let mut all =
        texts("SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema ORDER BY 1");
    all.extend(texts("SELECT name || ' ' || seq FROM sqlite_sequence ORDER BY 1"));
    all.extend(texts("SELECT step || ' ' || name || ' ' || phase || ' ' || rows || ' ' || error FROM sharded_migration ORDER BY step"));
    for table in ["users", "posts", "notes", "log", "marks"] {
        let columns = texts(&format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid"));
        let columns: Vec<String> = columns.iter().map(|column| format!("quote(\"{column}\")")).collect();
        all.extend(texts(&format!(
            "SELECT '{table} ' || concat_ws(', ', {}) FROM \"{table}\" ORDER BY 1",
            columns.join(", ")
        )));
    }
    assert_eq!(texts("PRAGMA integrity_check"), ["ok"]);
    assert_eq!(texts("SELECT \"table\" FROM pragma_foreign_key_check"), [""; 0]);
    all
}

fn dumps(folder: &Path, shards: &[&str]) -> Vec<Vec<String>> {
    shards.iter().map(|shard| dump(&folder.join(format!("{shard}.db")))).collect()
}

/// A cluster that is copied for each try, and what a migration makes of it.
struct Tries {
    folder: tempfile::TempDir,
    expected: Vec<Vec<String>>,
    tries: usize,
}

impl Tries {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        create(&folder.path().join("made"), &SHARDS);
        let mut tries = Tries { folder, expected: Vec::new(), tries: 0 };
        let undisturbed = tries.next();
        assert!(runs(&undisturbed, &[], None));
        tries.expected = dumps(&undisturbed, &SHARDS);
        tries
    }

    fn next(&mut self) -> PathBuf {
        self.tries += 1;
        let folder = self.folder.path().join(self.tries.to_string());
        std::fs::create_dir(&folder).unwrap();
        for file in std::fs::read_dir(self.folder.path().join("made")).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
        folder
    }

    /// Continues after a migration that has stopped, and compares.
    fn finish(&self, folder: &Path, what: &str) {
        // Both releases find what they need, or an error that says why not.
        let old = builder(folder, &SHARDS).open::<one::Models>().map(drop);
        if let Err(error) = &old {
            assert!(error.to_string().contains("newer release"), "{what}: {error}");
        }
        migrate(folder, &SHARDS, usize::MAX);
        let found = dumps(folder, &SHARDS);
        for (shard, (found, expected)) in SHARDS.iter().zip(found.iter().zip(&self.expected)) {
            assert_eq!(found, expected, "{what}: shard {shard}");
        }
        builder(folder, &SHARDS).open::<two::Models>().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}

fn steps(stride: usize) -> usize {
    if std::env::var("SHARDED_STEPS").is_ok_and(|steps| steps == "all") { 1 } else { stride }
}

#[test]
fn r53_three_files_are_migrated_as_one_big_table() {
    let tries = Tries::new();
    let one = tries.folder.path().join("one");
    create(&one, &SHARDS[..1]);
    migrate(&one, &SHARDS[..1], usize::MAX);
    let rows = |dumps: &[Vec<String>]| {
        let is_row = |line: &&String| line.starts_with("users ") || line.starts_with("log ");
        let mut rows: Vec<String> = dumps.iter().flatten().filter(is_row).cloned().collect();
        rows.sort();
        rows
    };
    let expected = rows(&dumps(&one, &SHARDS[..1]));
    assert!(expected.len() > 60);
    assert_eq!(rows(&tries.expected), expected);
}

#[test]
fn r53_a_kill_before_any_statement_is_continued() {
    let mut tries = Tries::new();
    let mut killed = 0;
    for at in (0..).step_by(steps(7)) {
        let folder = tries.next();
        if runs(&folder, &[], Some(at)) {
            break;
        }
        killed += 1;
        tries.finish(&folder, &format!("killed before statement {at}"));
    }
    println!("killed before {killed} statements");
    assert!(killed > 30, "only {killed}");
}

fn injected(call: &str, what: &str) -> Vec<String> {
    let inject = format!("inject={call}:{what}");
    ["strace", "-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]
        .map(str::to_owned)
        .to_vec()
}

#[test]
fn r53_a_kill_at_any_system_call_is_continued() {
    let mut tries = Tries::new();
    let mut killed = 0;
    for (call, stride) in [("pwrite64", 61), ("fdatasync,fsync", 17), ("ftruncate,unlink", 5)] {
        let mut of_this_call = 0;
        for time in (1..).step_by(steps(stride)) {
            let folder = tries.next();
            if runs(&folder, &injected(call, &format!("signal=KILL:when={time}")), None) {
                break;
            }
            of_this_call += 1;
            tries.finish(&folder, &format!("killed at {call} {time}"));
        }
        println!("{call}: {of_this_call} kills");
        killed += of_this_call;
    }
    assert!(killed > 15, "only {killed}");
}

#[test]
fn r53_a_full_disk_stops_a_migration_that_continues_later() {
    let mut tries = Tries::new();
    let (mut stopped, mut in_steps) = (0, 0);
    for time in (1..).step_by(steps(83)) {
        let folder = tries.next();
        // From this write on, the disk is full.
        let full = injected("pwrite64", &format!("error=ENOSPC:when={time}+"));
        let Some((kind, error)) = stops(&folder, &full) else { break };
        assert!(kind == "Full" || kind == "Io", "full at write {time}: {kind}: {error}");
        if kind == "Full" {
            made::assert_has(&error, &["free disk space"]);
        }
        if error.contains(": step ") {
            in_steps += 1;
            made::assert_has(
                &error,
                &["shard `", "; the SQL was: ", "free disk space", "run the migration again"],
            );
        }
        stopped += 1;
        tries.finish(&folder, &format!("full at write {time}"));
    }
    println!("the disk was full {stopped} times, {in_steps} times in a step");
    assert!(stopped > 5 && in_steps > 1, "only {stopped} and {in_steps}");
}
