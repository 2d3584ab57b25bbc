//! A program of the commit before changes of the layout were added writes through a change. It checks no fences, epochs and
//! attempts, and it must fail instead of writing a row that is lost. Started again with all shards, it reads the recorded
//! layout and writes the right ones. R51.
//!
//! The commit is taken from this repository's history, and built below the target folder.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use shard_runtime::{
    Builder, Cluster, Pace, Parent, Sharded,
    change::{Change, Switch},
};

use crate::backend::{Backend, Kind, LETTERS};
use crate::load::{Random, seed};
use crate::models::assert_sound;
use crate::processes::described;

/// The last commit whose library has the recorded layout and no changes of it.
const COMMIT: &str = "3c123ef7d1d2b831e69e667a666f61c15bdb2b67";

const MORE: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Accounts that stay, and are counted up.
const COUNTERS: i64 = 24;

/// The value that a bulk update writes before the switch, and that of another one afterwards.
const BULK: i64 = -1;
const REFUSED: i64 = -2;

/// As `old_program/main.rs` has them.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "accounts")]
struct Account {
    #[id]
    #[shard_key(hash)]
    id: i64,
    cents: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "entries")]
struct Entry {
    #[id]
    id: i64,
    #[shard_parent]
    account: Parent<Account>,
    cents: i64,
}

type Models = (Account, Entry);

/// The program, which is built with the library of the earlier commit at its first use.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("old_program");
        sharded_tests::old_program::built(&folder, COMMIT, &["tests/changes/old_program/main.rs"])
    })
}

/// The program while it runs.
struct Old {
    process: Child,
    input: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Old {
    /// Starts it with these shards. Returns its first line, too: `opened`, or the error.
    fn start(backend: &Backend, shards: &[&str], mode: &str) -> (Self, String) {
        let mut process = Command::new(program())
            .arg(mode)
            .env("SHARDED_OLD_CLUSTER", described(backend, shards))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        let mut old = Old { input: process.stdin.take(), process, lines };
        let first = old.line();
        (old, first)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Has it write something: what is stored, or the error.
    fn tell(&mut self, verb: &str, id: i64) -> Result<i64, String> {
        writeln!(self.input.as_mut().unwrap(), "{verb} {id}").unwrap();
        let line = self.line();
        match line.split_once(' ') {
            Some(("stored", done)) => Ok(done.parse().unwrap()),
            Some(("error", error)) => Err(error.to_owned()),
            _ => panic!("{verb} {id}: {line:?}"),
        }
    }

    fn end(mut self) {
        drop(self.input.take());
        assert!(self.process.wait().unwrap().success());
    }
}

/// The rows whose writes the program acknowledged: accounts with their counts. A write that failed is not in it.
#[derive(Default)]
struct Stored {
    accounts: BTreeMap<i64, i64>,
    /// The last id that was given.
    next: i64,
    errors: Vec<String>,
}

impl Stored {
    /// Has the program write something, and notes what it says.
    fn write(&mut self, old: &mut Old, random: &mut Random) {
        let id = match random.below(4) {
            0 | 1 => {
                let id = i64::try_from(random.below(COUNTERS as u64)).unwrap();
                match old.tell("count", id) {
                    Ok(cents) => {
                        let before = self.accounts.insert(id, cents).unwrap();
                        assert_eq!(cents, before + 1, "account {id} was read as it was before");
                    }
                    Err(error) => self.errors.push(error),
                }
                return;
            }
            2 => None,
            _ => self.accounts.keys().rfind(|id| **id >= COUNTERS).copied(),
        };
        match id {
            Some(id) => match old.tell("remove", id) {
                Ok(_) => drop(self.accounts.remove(&id)),
                Err(error) => self.errors.push(error),
            },
            None => {
                self.next += 1;
                match old.tell("add", self.next) {
                    Ok(_) => drop(self.accounts.insert(self.next, 0)),
                    Err(error) => self.errors.push(error),
                }
            }
        }
    }

    /// Asserts that exactly the acknowledged rows are stored.
    fn assert_all(&self, cluster: &Cluster, when: &str) {
        let mut session = cluster.session();
        let rows = session.all(Account::select().all_shards()).unwrap();
        let found: BTreeMap<i64, i64> = rows.iter().map(|row| (row.id, row.cents)).collect();
        assert_eq!((found.len(), &found), (rows.len(), &self.accounts), "{when}");
        let entries = session.all(Entry::select().all_shards()).unwrap();
        let mut of: Vec<i64> = entries.iter().map(|entry| *entry.account.id()).collect();
        of.sort_unstable();
        assert!(of.iter().eq(self.accounts.keys()), "{when}: entries of {of:?}");
        assert!(entries.iter().all(|entry| entry.cents != REFUSED), "{when}");
    }
}

fn builder(backend: &Backend) -> Builder {
    backend.builder(&MORE).busy_timeout(Duration::from_secs(20))
}

/// A cluster that the program has made, with spare shards that are not in its configuration.
fn made(backend: &Backend, random: &mut Random) -> (Old, Stored, Cluster) {
    let (mut old, first) = Old::start(backend, &LETTERS, "create");
    assert_eq!(first, "opened");
    let mut stored = Stored { next: COUNTERS, ..Stored::default() };
    for id in 0..COUNTERS {
        old.tell("add", id).unwrap();
        stored.accounts.insert(id, 0);
    }
    let cluster = builder(backend).create::<Models>().unwrap();
    for _ in 0..20 {
        stored.write(&mut old, random);
    }
    assert_eq!(stored.errors, Vec::<String>::new());
    stored.assert_all(&cluster, "before the change");
    (old, stored, cluster)
}

fn split(cluster: &Cluster) -> Change {
    cluster.begin_change(&cluster.plan_change().split("c", ["d", "e"]).build().unwrap()).unwrap()
}

/// It writes at every step: until the switch all is stored and moved, and afterwards it is refused on the shard that was split.
fn writes_at_every_step(kind: Kind) {
    let (backend, mut random) = (Backend::new(kind), Random(seed()));
    let (mut old, mut stored, cluster) = made(&backend, &mut random);
    let mut change = split(&cluster);
    let mut write = |stored: &mut Stored, times| (0..times).for_each(|_| stored.write(&mut old, &mut random));
    write(&mut stored, 10);
    let mut copied = 0;
    change
        .copy(Pace::rows(5), |_| {
            copied += 1;
            write(&mut stored, 2);
        })
        .unwrap();
    write(&mut stored, 20);
    change.verify().unwrap();
    write(&mut stored, 20);
    assert_eq!(stored.errors, Vec::<String>::new(), "before the switch it works");
    stored.assert_all(&cluster, "before the switch");
    assert_eq!(old.tell("bulk", BULK), Ok(stored.accounts.len() as i64));
    change.switch(Switch::within(Duration::from_secs(20))).unwrap();
    let mut refused = 0;
    for step in ["switched", "finished", "retired"] {
        match step {
            "switched" => {}
            "finished" => change.finish().unwrap(),
            _ => cluster.changes().unwrap().pop().unwrap().retire().unwrap(),
        }
        for _ in 0..40 {
            stored.write(&mut old, &mut random);
        }
        // Nothing of a statement on all shards, either.
        stored.errors.push(old.tell("bulk", REFUSED).expect_err("it reads all shards"));
        stored.assert_all(&cluster, step);
        assert_sound(&cluster);
        assert!(stored.errors.len() > refused, "{step}: it was not refused: {:?}", stored.errors.last());
        refused = stored.errors.len();
        // It is not opened with the shards that it knew. With the new ones it reads the recorded layout, and writes the right shards.
        let (process, first) = Old::start(&backend, &LETTERS, "open");
        assert!(first.starts_with("refused Layout since epoch 2"), "{step}: {first}");
        process.end();
        let (mut again, first) = Old::start(&backend, &MORE, "open");
        assert_eq!(first, "opened", "{step}");
        for _ in 0..40 {
            stored.write(&mut again, &mut random);
        }
        assert_eq!(stored.errors.len(), refused, "{step}: {:?}", stored.errors.last());
        stored.assert_all(&cluster, step);
        again.end();
    }
    println!(
        "{copied} transactions of the copy, {refused} writes refused, {} accounts",
        stored.accounts.len()
    );
    let kinds: std::collections::BTreeSet<&str> =
        stored.errors.iter().filter_map(|error| error.split(' ').next()).collect();
    println!("the errors are {kinds:?}, such as: {}", stored.errors[0]);
    old.end();
}

/// It writes without a pause while the change is made from its beginning to its end.
fn writes_without_a_pause(kind: Kind) {
    let (backend, mut random) = (Backend::new(kind), Random(seed()));
    let (mut old, stored, cluster) = made(&backend, &mut random);
    let stored = Mutex::new(stored);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = crate::load::End(&done);
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                stored.lock().unwrap().write(&mut old, &mut random);
            }
        });
        let mut change = split(&cluster);
        change.copy(Pace::rows(3).rest(Duration::from_millis(2)), |_| {}).unwrap();
        change.switch(Switch::within(Duration::from_secs(3)).tries(20)).unwrap();
        change.finish().unwrap();
        // Until it was refused.
        while stored.lock().unwrap().errors.is_empty() {
            std::thread::yield_now();
        }
    });
    let stored = stored.into_inner().unwrap();
    println!(
        "{} accounts, {} writes refused: {}",
        stored.accounts.len(),
        stored.errors.len(),
        stored.errors[0]
    );
    stored.assert_all(&cluster, "at the end");
    assert_sound(&cluster);
    old.end();
}

#[test]
#[ignore = "builds an earlier commit: `cargo test -p sharded-tests --test changes old_program -- --ignored --nocapture files`"]
fn r51_an_old_program_writes_through_a_change_of_files() {
    writes_at_every_step(Kind::Files);
}

#[test]
#[ignore = "builds an earlier commit: `cargo test -p sharded-tests --test changes old_program -- --ignored --nocapture files`"]
fn r51_an_old_program_writes_all_through_a_change_of_files() {
    (0..5).for_each(|_| writes_without_a_pause(Kind::Files));
}

#[test]
#[ignore = "builds an earlier commit, needs PostgreSQL: `cargo test --all-features -p sharded-tests --test changes old_program -- --ignored \
            --nocapture servers`"]
fn r51_an_old_program_writes_through_a_change_of_servers() {
    writes_at_every_step(Kind::Schemas);
    writes_at_every_step(Kind::Servers);
}

#[test]
#[ignore = "builds an earlier commit, needs PostgreSQL: `cargo test --all-features -p sharded-tests --test changes old_program -- --ignored \
            --nocapture servers`"]
fn r51_an_old_program_writes_all_through_a_change_of_servers() {
    (0..5).for_each(|_| writes_without_a_pause(Kind::Servers));
}
