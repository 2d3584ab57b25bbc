//! A shard of a million rows is split while three writers add, change, remove and check rows. The rows at the end are those of
//! an account that is kept outside of the cluster. R50.
//!
//! `SHARDED_ROWS` sets how many rows the shard has, `SHARDED_SEED` repeats the writes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shard_runtime::{Cluster, Pace, Parent, Result, Session, Sharded, change::Switch};

use crate::backend::{Backend, Kind, LETTERS};
use crate::load::{End, Random, seed};
use crate::models::assert_sound;

on_some! {
    Files Servers: r50_rows_are_split_under_three_writers
}

const MORE: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Half of the rows of the shard that is split go to each target.
const REGIONS: [&str; 2] = ["east", "west"];

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "accounts", index(cents))]
struct Account {
    #[id]
    id: i64,
    #[shard_key(list("north" => "a", "south" => "b", "east" => "c", "west" => "c"))]
    region: String,
    name: String,
    cents: i64,
}

/// Each third account has one.
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

/// A row of the account: the cents of an account and of its entries.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    cents: i64,
    entries: HashMap<i64, i64>,
}

/// The first contents of an account that was put in with SQL.
fn first(id: i64) -> Kept {
    let entries = if id % 3 == 0 { HashMap::from([(id, id % 7)]) } else { HashMap::new() };
    Kept { cents: id % 1_000, entries }
}

/// The number of rows, and the sum of all cents.
type Total = (u64, i64);

fn total(kept: &Kept) -> Total {
    (1 + kept.entries.len() as u64, kept.cents + kept.entries.values().sum::<i64>())
}

/// A writer, with the account of the rows that are its own: those whose ids have its number modulo three.
struct Writer {
    number: i64,
    /// The highest id that was put in with SQL.
    last: i64,
    random: Random,
    /// Rows that are not as they were put in; `None` was removed.
    changed: HashMap<i64, Option<Kept>>,
    next: i64,
    transactions: u64,
    longest: Duration,
}

impl Writer {
    fn is(&self, id: i64) -> Option<Kept> {
        let is_first = (1..=self.last).contains(&id);
        self.changed.get(&id).cloned().unwrap_or_else(|| is_first.then(|| first(id)))
    }

    /// One of its rows that was put in with SQL, or that it has added.
    fn pick(&mut self) -> i64 {
        let added = (self.next - self.first_new()) / 3;
        let at = self.random.below((self.last / 3) as u64 + added as u64) as i64;
        match at - self.last / 3 {
            ..0 => 3 * at + self.number + 1,
            added => self.first_new() + 3 * added,
        }
    }

    fn first_new(&self) -> i64 {
        10_000_000_000 + self.number
    }

    /// Writes until the change has ended.
    fn write(mut self, cluster: &Cluster, done: &AtomicBool, moment: &AtomicU64) -> Self {
        while !done.load(Ordering::Relaxed) {
            let began = Instant::now();
            let written = match self.random.below(8) {
                0 | 1 => self.add(cluster),
                2..5 => self.change(cluster),
                5 => self.remove(cluster),
                6 => self.raise(cluster),
                _ => self.check(cluster),
            };
            written.unwrap_or_else(|error| panic!("{error:?}"));
            self.transactions += 1;
            if began.elapsed() > self.longest {
                self.longest = began.elapsed();
            }
            moment.fetch_add(1, Ordering::Relaxed);
        }
        self
    }

    fn add(&mut self, cluster: &Cluster) -> Result<()> {
        let (id, cents) = (self.next, self.random.below(500) as i64);
        let kept = Kept { cents, entries: (0..cents % 3).map(|at| (10 * id + at, at)).collect() };
        cluster.transaction(|session| {
            let region = REGIONS[(id / 3 % 2) as usize].to_owned();
            let row = session.add(Account { id, region, name: format!("new {id}"), cents })?;
            for (&id, &cents) in &kept.entries {
                session.add(Entry { id, account: row.link(), cents })?;
            }
            Ok(())
        })?;
        self.changed.insert(id, Some(kept));
        self.next += 3;
        Ok(())
    }

    fn change(&mut self, cluster: &Cluster) -> Result<()> {
        let id = self.pick();
        let Some(mut kept) = self.is(id) else { return self.check(cluster) };
        cluster.transaction(|session| {
            let mut row = session.get::<Account>(id)?.expect("an account that was not removed");
            assert_eq!(row.cents, kept.cents, "account {id}");
            row.cents += 7;
            session.update(&mut row)
        })?;
        kept.cents += 7;
        self.changed.insert(id, Some(kept));
        Ok(())
    }

    fn remove(&mut self, cluster: &Cluster) -> Result<()> {
        let id = self.pick();
        if self.is(id).is_none() {
            return self.check(cluster);
        }
        cluster.transaction(|session| {
            let row = session.get::<Account>(id)?.expect("an account that was not removed");
            session.execute(Entry::delete().filter(Entry::ACCOUNT.eq(row.link())))?;
            session.delete(&row)
        })?;
        self.changed.insert(id, None);
        Ok(())
    }

    /// Changes twenty accounts with one statement.
    fn raise(&mut self, cluster: &Cluster) -> Result<()> {
        let first = self.pick();
        let ids: Vec<i64> = (0..20).map(|at| first + 3 * at).collect();
        let there: Vec<i64> = ids.iter().copied().filter(|id| self.is(*id).is_some()).collect();
        let raised = cluster.transaction(|session| {
            let raised = Account::update().all_shards().filter(Account::ID.is_in(ids.iter().copied()));
            session.execute(raised.set(Account::CENTS, Account::CENTS + 3))
        })?;
        assert_eq!(raised, there.len() as u64, "accounts {there:?}");
        for id in there {
            let mut kept = self.is(id).expect("it is there");
            kept.cents += 3;
            self.changed.insert(id, Some(kept));
        }
        Ok(())
    }

    fn check(&mut self, cluster: &Cluster) -> Result<()> {
        let id = self.pick();
        let found = cluster.transaction(|session| kept_of(session, id))?;
        assert_eq!(found, self.is(id), "account {id}");
        Ok(())
    }
}

fn kept_of(session: &mut Session, id: i64) -> Result<Option<Kept>> {
    let Some(row) = session.get::<Account>(id)? else { return Ok(None) };
    let entries = session.all(Entry::select().filter(Entry::ACCOUNT.eq(row.link())))?;
    let entries = entries.iter().map(|entry| (entry.id, entry.cents)).collect();
    Ok(Some(Kept { cents: row.cents, entries }))
}

fn totals(cluster: &Cluster) -> Total {
    let mut session = cluster.session();
    let accounts = session.one(Account::select().all_shards().count()).unwrap();
    let entries = session.one(Entry::select().all_shards().count()).unwrap();
    let of_accounts = session.one(Account::select().all_shards().aggregate(Account::CENTS.sum())).unwrap();
    let of_entries = session.one(Entry::select().all_shards().aggregate(Entry::CENTS.sum())).unwrap();
    (accounts + entries, of_accounts.unwrap_or(0) + of_entries.unwrap_or(0))
}

/// Puts rows in by SQL. Returns the highest id of an account, which is a multiple of three.
fn fill(backend: &Backend, rows: i64) -> i64 {
    let last = rows * 3 / 4 / 3 * 3;
    let numbers = format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {last})");
    let insert = |table: &str, select: &str| {
        backend.run("c", &format!("INSERT INTO {} {numbers} {select}", backend.table("c", table)));
    };
    insert(
        "accounts",
        "SELECT i, CASE WHEN i % 2 = 0 THEN 'east' ELSE 'west' END, 'account ' || i, i % 1000 FROM n",
    );
    insert("entries", "SELECT i, i, i % 7 FROM n WHERE i % 3 = 0");
    last
}

fn split(backend: &Backend, rows: i64) {
    drop(backend.create::<Models>(&LETTERS));
    let began = Instant::now();
    let last = fill(backend, rows);
    let mut expected =
        (1..=last).map(|id| total(&first(id))).fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
    let cluster = backend.builder(&MORE).create::<Models>().unwrap();
    assert_eq!(totals(&cluster), expected);
    println!("{} rows put in within {:.1?}", expected.0, began.elapsed());
    let mut random = Random(seed());
    let (done, moment) = (AtomicBool::new(false), AtomicU64::new(0));
    let writers = std::thread::scope(|scope| {
        let _end = End(&done);
        let writers: Vec<_> = (0..3)
            .map(|number| {
                let random = Random(random.below(u64::MAX) | 1);
                let writer = Writer {
                    number,
                    last,
                    random,
                    changed: HashMap::new(),
                    next: 10_000_000_000 + number,
                    transactions: 0,
                    longest: Duration::ZERO,
                };
                let handle = backend.builder(&MORE).open::<Models>().unwrap();
                let (done, moment) = (&done, &moment);
                scope.spawn(move || writer.write(&handle, done, moment))
            })
            .collect();
        let plan = cluster.plan_change().split("c", ["d", "e"]).build().unwrap();
        let mut change = cluster.begin_change(&plan).unwrap();
        let step = |what: &str, run: &mut dyn FnMut()| {
            let (began, before) = (Instant::now(), moment.load(Ordering::Relaxed));
            run();
            let time = began.elapsed();
            let written = moment.load(Ordering::Relaxed) - before;
            println!(
                "{what}: {time:.1?}, {:.0} rows a second, beside {written} transactions",
                expected.0 as f64 / time.as_secs_f64()
            );
        };
        step("copied", &mut || change.copy(Pace::default(), |_| {}).unwrap());
        step("compared", &mut || drop(change.verify().unwrap().to_string()));
        step("switched", &mut || change.switch(Switch::within(Duration::from_secs(3)).tries(50)).unwrap());
        step("finished", &mut || change.finish().unwrap());
        // Each writer writes under the new layout, too.
        let now = moment.load(Ordering::Relaxed);
        while moment.load(Ordering::Relaxed) < now + 100 && !writers.iter().any(|writer| writer.is_finished())
        {
            std::thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<Writer>>()
    });
    let mut session = cluster.session();
    for writer in &writers {
        for (id, kept) in &writer.changed {
            let before = if *id <= last { total(&first(*id)) } else { (0, 0) };
            let now = kept.as_ref().map_or((0, 0), total);
            expected = (expected.0 - before.0 + now.0, expected.1 - before.1 + now.1);
        }
        for (id, kept) in writer.changed.iter().take(500) {
            assert_eq!(kept_of(&mut session, *id).unwrap(), *kept, "account {id}");
        }
        println!(
            "writer {}: {} transactions, the longest took {:.1?}",
            writer.number, writer.transactions, writer.longest
        );
    }
    drop(session);
    assert_eq!(totals(&cluster), expected);
    assert_eq!(cluster.epoch(), 2);
    assert_sound(&cluster);
}

fn rows(otherwise: i64) -> i64 {
    std::env::var("SHARDED_ROWS").map_or(otherwise, |rows| rows.parse().unwrap())
}

fn r50_rows_are_split_under_three_writers(backend: &Backend) {
    split(backend, rows(8_000));
}

#[test]
#[ignore = "a million rows: `cargo test --release -p sharded-tests --test changes many_rows -- --ignored --nocapture files`"]
fn r50_a_million_rows_of_files_are_split() {
    split(&Backend::new(Kind::Files), rows(1_000_000));
}

#[test]
#[ignore = "a million rows, needs PostgreSQL: `cargo test --release --all-features -p sharded-tests --test changes many_rows -- --ignored \
            --nocapture servers`"]
fn r50_a_million_rows_of_servers_are_split() {
    split(&Backend::new(Kind::Servers), rows(1_000_000));
}
