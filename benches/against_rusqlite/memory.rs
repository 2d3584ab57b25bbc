//! `cargo bench -- --memory`: the growth of memory when a hundred times as many rows are written or visited. Each case runs in
//! a process of its own, and the system counts its peak.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use shard_runtime::sqlite::rusqlite::Connection;
use shard_runtime::{Builder, Cluster, Durability, Query, Routed, Select, Sharded, Stored};

use crate::by_hand;
use crate::data::{self, SHARDS, TOGETHER};
use crate::measure::{Effort, Failure};
use crate::models::{Account, NewReading, NewStation, Reading, Region, Station};

/// The arguments of a child process: the case's place, the folder, the number of rows.
const CHILD: &str = "--memory-of";

/// The rows of the two runs that are compared.
const ROWS: [i64; 2] = [100_000, 10_000_000];

/// The same, if all rows are of one transaction.
const TOGETHER_AT_ONCE: [i64; 2] = [10_000, 1_000_000];

/// The divisor of the numbers for rows that each have a parent, because the parents are kept.
const FEWER_PARENTS: i64 = 10;

/// One line of the table.
struct Case {
    name: &'static str,
    /// Writes or visits this number of rows in a folder. Returns the number of rows that it saw.
    run: fn(&Path, i64) -> Result<i64, Failure>,
}

/// All cases: those that write come before those that read the rows.
const CASES: &[Case] = &[
    Case { name: "written: four files", run: |folder, rows| write(files(folder, CACHES), rows) },
    Case { name: "written: four tables of one file", run: |folder, rows| write(tables(folder), rows) },
    Case {
        name: "in order: four files, on workers",
        run: |folder, _| visit(files(folder, CACHES).open::<Account>()?, by_id()),
    },
    Case {
        name: "in any order: four files, on workers",
        run: |folder, _| visit(files(folder, CACHES).open::<Account>()?, Account::select().all_shards()),
    },
    Case {
        name: "in order: four tables of one file, here",
        run: |folder, _| visit(tables(folder).open::<Account>()?, by_id()),
    },
    Case {
        name: "in any order: four tables of one file, here",
        run: |folder, _| visit(tables(folder).open::<Account>()?, Account::select().all_shards()),
    },
    Case { name: "in order: four files, by hand", run: |folder, _| merge_by_hand(folder, CACHES) },
    Case { name: "in any order: four files, by hand", run: |folder, _| chain_by_hand(folder) },
    Case {
        name: "in order: four files, on workers, files mapped",
        run: |folder, _| visit(files(folder, MAPPED).open::<Account>()?, by_id()),
    },
    Case {
        name: "in order: four files, by hand, files mapped",
        run: |folder, _| merge_by_hand(folder, MAPPED),
    },
    Case { name: "written: a parent for each of a tenth of the rows", run: write_families },
    Case { name: "with_parent: a tenth of the rows, a parent each", run: visit_families },
];

/// The cases in which all rows are of one transaction.
const AT_ONCE: &[Case] = &[
    Case { name: "a list of rows, by hand", run: |_, rows| keep_by_hand(rows) },
    Case { name: "inserted by hand, none kept", run: insert_by_hand },
    Case {
        name: "add_all, what it gives back kept",
        run: |folder, rows| add(folder, rows, true, SHARDS.len()),
    },
    Case {
        name: "add_all, what it gives back dropped",
        run: |folder, rows| add(folder, rows, false, SHARDS.len()),
    },
    Case { name: "add_all to one file, dropped", run: |folder, rows| add(folder, rows, false, 1) },
];

/// The memory that SQLite may use for each file: KiB of its pages, and bytes that are mapped into memory.
type Caches = (u32, u64);

/// Almost nothing, so that only the memory of rows grows.
const CACHES: Caches = (256, 0);

/// The framework's own settings.
const MAPPED: Caches = (64 * 1_024, 256 * 1_024 * 1_024);

/// Runs the case, if [`measured`] made the command line.
pub fn as_child(arguments: &[String]) -> Option<Result<(), Failure>> {
    match arguments {
        [flag, case, folder, rows] if flag == CHILD => Some(run_case(case, Path::new(folder), rows)),
        _ => None,
    }
}

fn run_case(case: &str, folder: &Path, rows: &str) -> Result<(), Failure> {
    let place: usize = case.parse()?;
    let case = CASES.iter().chain(AT_ONCE).nth(place).ok_or("there is no such case")?;
    let seen = (case.run)(folder, rows.parse()?)?;
    match peak_kib() {
        Some(peak) => println!("{seen} {peak}"),
        None => println!("{seen}"),
    }
    Ok(())
}

/// Runs all cases, or those that have one of these in their names, and prints their peaks side by side.
pub fn run(effort: Effort, filters: &[String]) -> Result<(), Failure> {
    println!("the most memory that a process has resident (VmHWM), a process for each case");
    compare(CASES, 0, ROWS.map(|rows| effort.rows(rows)), filters)?;
    println!("all rows in one unit of work");
    compare(AT_ONCE, CASES.len(), TOGETHER_AT_ONCE.map(|rows| effort.rows(rows)), filters)
}

/// Runs each of these cases with few rows and with many; the first of them is in this place of all.
fn compare(cases: &[Case], first: usize, rows: [i64; 2], filters: &[String]) -> Result<(), Failure> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    println!(
        "{:50} {:>14} {:>14} {:>12}",
        "",
        format!("{} rows", rows[0]),
        format!("{} rows", rows[1]),
        "growth"
    );
    for (place, case) in cases.iter().enumerate() {
        if !filters.is_empty() && !filters.iter().any(|filter| case.name.contains(filter.as_str())) {
            continue;
        }
        let run = |rows| measured(case, first + place, folder.path(), rows);
        let peaks = [run(rows[0])?, run(rows[1])?];
        let mib = |kib: i64| format!("{:.1} MiB", kib as f64 / 1_024.0);
        match peaks {
            [Some(few), Some(many)] => {
                println!("{:50} {:>14} {:>14} {:>12}", case.name, mib(few), mib(many), mib(many - few));
            }
            _ => println!("{:50} works; the peak cannot be measured on this system", case.name),
        }
    }
    Ok(())
}

/// Returns the peak of a case in a process of its own, in KiB, if the system counts it.
fn measured(case: &Case, place: usize, folder: &Path, rows: i64) -> Result<Option<i64>, Failure> {
    let name = case.name;
    let own = folder.join(rows.to_string());
    for cluster in ["files", "tables", "families"] {
        fs::create_dir_all(own.join(cluster))?;
    }
    let child = Command::new(std::env::current_exe()?)
        .arg(CHILD)
        .arg(place.to_string())
        .arg(&own)
        .arg(rows.to_string())
        .output()?;
    if !child.status.success() {
        return Err(format!("{name}: {}", String::from_utf8_lossy(&child.stderr)).into());
    }
    let said = String::from_utf8(child.stdout)?;
    let mut numbers = said.split_whitespace();
    let seen: i64 = numbers.next().ok_or("the child process said nothing")?.parse()?;
    let wanted = if name.contains("a tenth of the rows") { rows / FEWER_PARENTS } else { rows };
    if seen != wanted {
        return Err(format!("{name}: saw {seen} rows of {wanted}").into());
    }
    Ok(numbers.next().map(str::parse).transpose()?)
}

/// Returns the peak of this process's resident memory, in KiB, if the system has it in `/proc`.
fn peak_kib() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn files(folder: &Path, (cache_size, mmap_size): Caches) -> Builder {
    data::builder(&folder.join("files")).cache_size(cache_size).mmap_size(mmap_size)
}

/// Four shards in one file: one connection reads them all, on the caller's thread.
fn tables(folder: &Path) -> Builder {
    let file = folder.join("tables").join("all.db");
    let builder = Cluster::builder().durability(Durability::Normal);
    SHARDS
        .iter()
        .fold(builder, |builder, name| {
            builder.shard(*name, format!("sqlite:{}?prefix={name}_", file.display()))
        })
        .cache_size(CACHES.0)
        .mmap_size(CACHES.1)
}

fn by_id() -> Select<Account, Routed> {
    Account::select().all_shards().order_by(Account::ID.asc())
}

fn write(builder: Builder, rows: i64) -> Result<i64, Failure> {
    data::fill(&builder.create::<Account>()?, rows, Account::numbered)?;
    Ok(rows)
}

fn keep_by_hand(rows: i64) -> Result<i64, Failure> {
    let kept: Vec<Account> = (1..=rows).map(Account::numbered).collect();
    Ok(kept.len() as i64)
}

/// A new folder of a cluster, with nothing in it.
fn emptied(folder: &Path) -> Result<(), Failure> {
    let files = folder.join("files");
    fs::remove_dir_all(&files)?;
    Ok(fs::create_dir(&files)?)
}

fn insert_by_hand(folder: &Path, rows: i64) -> Result<i64, Failure> {
    emptied(folder)?;
    files(folder, CACHES).create::<Account>()?;
    let connections = open_by_hand(folder, CACHES)?;
    let mut statements = Vec::new();
    for connection in &connections {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let sql = "INSERT INTO accounts (id, owner, cents) VALUES (?1, ?2, ?3)";
        statements.push(connection.prepare_cached(sql)?);
    }
    for account in (1..=rows).map(Account::numbered) {
        let statement = &mut statements[by_hand::shard_of(account.id)];
        statement.execute((account.id, &account.owner, account.cents))?;
    }
    for connection in &connections {
        connection.execute_batch("COMMIT")?;
    }
    Ok(rows)
}

/// One `add_all` and one commit, over so many files.
fn add(folder: &Path, rows: i64, is_kept: bool, shards: usize) -> Result<i64, Failure> {
    emptied(folder)?;
    let file = |name: &str| format!("sqlite:{}", folder.join("files").join(format!("{name}.db")).display());
    let builder = Cluster::builder().durability(Durability::Normal);
    let builder = SHARDS.iter().take(shards).fold(builder, |builder, name| builder.shard(*name, file(name)));
    let cluster = builder.cache_size(CACHES.0).mmap_size(CACHES.1).create::<Account>()?;
    let mut session = cluster.session();
    let added = session.add_all((1..=rows).map(Account::numbered))?;
    let kept = is_kept.then_some(added); // or dropped
    session.commit()?;
    drop(kept);
    Ok(rows)
}

/// Counts the rows of a query, none of them kept.
fn visit(cluster: Cluster, query: impl Query) -> Result<i64, Failure> {
    let mut seen = 0;
    cluster.session().for_each(query, |_| {
        seen += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(seen)
}

fn open_by_hand(folder: &Path, (cache_size, mmap_size): Caches) -> Result<Vec<Connection>, Failure> {
    let mut connections = Vec::new();
    for name in SHARDS {
        let connection = by_hand::open(&folder.join("files").join(format!("{name}.db")))?;
        connection.pragma_update(None, "cache_size", -i64::from(cache_size))?;
        connection.pragma_update(None, "mmap_size", i64::try_from(mmap_size)?)?;
        connections.push(connection);
    }
    Ok(connections)
}

/// Four statements, and the least of their heads.
fn merge_by_hand(folder: &Path, caches: Caches) -> Result<i64, Failure> {
    let connections = open_by_hand(folder, caches)?;
    let mut statements = Vec::new();
    for connection in &connections {
        statements.push(connection.prepare_cached("SELECT id, owner, cents FROM accounts ORDER BY id")?);
    }
    let mut streams = Vec::new();
    for statement in &mut statements {
        let mut rows = statement.query_map([], by_hand::account)?;
        if let Some(head) = rows.next().transpose()? {
            streams.push((head, rows));
        }
    }
    let mut seen = 0;
    while let Some(least) = (0..streams.len()).min_by_key(|&place| streams[place].0.id) {
        seen += 1;
        let (head, rows) = &mut streams[least];
        match rows.next().transpose()? {
            Some(next) => *head = next,
            None => drop(streams.remove(least)),
        }
    }
    Ok(seen)
}

/// One statement after the other.
fn chain_by_hand(folder: &Path) -> Result<i64, Failure> {
    let mut seen = 0;
    for connection in open_by_hand(folder, CACHES)? {
        let mut statement = connection.prepare_cached("SELECT id, owner, cents FROM accounts")?;
        for row in statement.query_map([], by_hand::account)? {
            row?;
            seen += 1;
        }
    }
    Ok(seen)
}

fn families(folder: &Path) -> Builder {
    data::builder(&folder.join("families")).cache_size(CACHES.0).mmap_size(CACHES.1)
}

fn write_families(folder: &Path, rows: i64) -> Result<i64, Failure> {
    let count = rows / FEWER_PARENTS;
    let cluster = families(folder).create::<(Station, Reading)>()?;
    let mut session = cluster.session();
    for first in (0..count).step_by(TOGETHER as usize) {
        let stations: Vec<Stored<Station>> =
            session.add_all((first..count.min(first + TOGETHER)).map(|number| NewStation {
                region: Region::ALL[(number % 4) as usize],
                name: format!("station {number}"),
                height: number,
            }))?;
        session.add_all(stations.iter().map(|station| NewReading {
            station: station.link(),
            at: station.height,
            celsius: 20.0,
            remark: format!("reading of {}", station.name),
        }))?;
        session.commit()?;
    }
    Ok(count)
}

fn visit_families(folder: &Path, _: i64) -> Result<i64, Failure> {
    let readings = Reading::select().all_shards().with_parent::<Station>();
    visit(families(folder).open::<(Station, Reading)>()?, readings)
}
