//! The cost of a change of the layout: the copy beside one by hand, a write while changed rows are recorded, and the waits of
//! writers at a switch. On SQLite files, and on a PostgreSQL server if one is installed.
//!
//! `cargo bench --bench changes`; `-- --quick` for few rows.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shard_runtime::{Builder, Cluster, Durability, Pace, Sharded, change::Switch};
use tokio_postgres::NoTls;

#[allow(dead_code)]
#[path = "../tests/support/postgres_server.rs"]
mod postgres_server;

use postgres_server::Server;

type Failure = Box<dyn std::error::Error>;

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "measurements", index(station))]
struct Measurement {
    #[id]
    #[shard_key(range("keep" => ..0, "s0" => 0..))]
    id: i64,
    station: String,
    value: f64,
    note: Option<String>,
}

fn row(id: i64) -> Measurement {
    let note = (id % 3 == 0).then(|| format!("a note of some length about measurement {id}"));
    Measurement { id, station: format!("station {}", id % 1_000), value: id as f64 / 7.0, note }
}

/// The shards: `s0` is moved to `s1`, to `s2`, and so on. `keep` is the first of its database, and stays.
fn builder(urls: &[(String, String)]) -> Builder {
    // Otherwise the disk would determine the time of a write on a file.
    let builder = Cluster::builder().durability(Durability::Normal);
    urls.iter().fold(builder, |builder, (name, url)| builder.shard(name, url))
}

fn filled(urls: &[(String, String)], rows: i64) -> Result<Cluster, Failure> {
    let first = urls.get(..2).unwrap_or_default();
    let cluster = builder(first).create::<Measurement>()?;
    for start in (0..rows).step_by(50_000) {
        cluster
            .transaction(|session| session.add_all((start..rows.min(start + 50_000)).map(row)).map(drop))?;
    }
    drop(cluster);
    Ok(builder(urls).create::<Measurement>()?)
}

/// Changes rows one by one, each in a transaction of its own; returns the time of one.
fn write(cluster: &Cluster, rows: i64) -> Result<f64, Failure> {
    let began = Instant::now();
    for at in 0..rows {
        cluster.transaction(|session| {
            let mut found = session.get::<Measurement>(at * 7 % rows)?.ok_or_else(missing)?;
            found.value += 1.0;
            session.update(&mut found)
        })?;
    }
    Ok(began.elapsed().as_secs_f64() / rows as f64)
}

fn missing() -> shard_runtime::Error {
    Cluster::builder().open::<Measurement>().err().unwrap_or_else(|| unreachable!())
}

struct Rate {
    ours: f64,
    by_hand: f64,
}

fn report(name: &str, Rate { ours, by_hand }: Rate, rows: i64) {
    println!(
        "{name}: {rows} rows, {:.0} rows/s, by hand {:.0} rows/s, ratio {:.2}",
        rows as f64 / ours,
        rows as f64 / by_hand,
        by_hand / ours
    );
}

/// Copies a shard with its indexes, and moves it; measures writes before and while changes are recorded.
fn change(cluster: &Cluster, from: &str, to: &str, writes: i64) -> Result<(f64, f64, f64), Failure> {
    // The first writes after the rows were added have a large log behind them.
    write(cluster, writes)?;
    let before = write(cluster, writes)?;
    let plan = cluster.plan_change().replace(from, to).build()?;
    let mut change = cluster.begin_change(&plan)?;
    let began = Instant::now();
    change.copy(Pace::rows(5_000), |_| {})?;
    let copied = began.elapsed().as_secs_f64();
    let during = write(cluster, writes)?;
    let began = Instant::now();
    println!("  {}, {:.1?}", change.verify()?, began.elapsed());
    change.switch(Switch::within(Duration::from_secs(5)))?;
    change.finish()?;
    change.retire()?;
    Ok((copied, before, during))
}

/// Moves a shard again and again while two threads write; returns the longest waits of writers, one for each switch.
fn switches(cluster: &Cluster, names: &[String], rows: i64) -> Result<Vec<Duration>, Failure> {
    let done = AtomicBool::new(false);
    let mut waits = Vec::new();
    std::thread::scope(|scope| -> Result<(), Failure> {
        let (sender, receiver) = std::sync::mpsc::channel();
        for writer in 0..2 {
            let (sender, done) = (sender.clone(), &done);
            scope.spawn(move || {
                let mut at = writer;
                while !done.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let written = cluster.transaction(|session| {
                        let mut found = session.get::<Measurement>(at % rows)?.ok_or_else(missing)?;
                        found.value += 1.0;
                        session.update(&mut found)
                    });
                    let _ = sender.send((Instant::now(), began.elapsed(), written.is_ok()));
                    at += 13;
                }
            });
        }
        for pair in names.windows(2) {
            let [from, to] = pair else { continue };
            let plan = cluster.plan_change().replace(from, to).build()?;
            let mut change = cluster.begin_change(&plan)?;
            change.copy(Pace::rows(5_000), |_| {})?;
            while receiver.try_recv().is_ok() {}
            let began = Instant::now();
            change.switch(Switch::within(Duration::from_secs(5)))?;
            // The writes that delayed the switch have ended, too.
            std::thread::sleep(Duration::from_millis(50));
            let mut longest = Duration::ZERO;
            while let Ok((ended, took, is_written)) = receiver.try_recv() {
                if !is_written {
                    return Err("a write failed".into());
                }
                if ended > began {
                    longest = longest.max(took);
                }
            }
            waits.push(longest);
            change.finish()?;
            change.retire()?;
        }
        done.store(true, Ordering::Relaxed);
        Ok(())
    })?;
    waits.sort_unstable();
    Ok(waits)
}

fn report_waits(name: &str, waits: &[Duration]) {
    let at = |part: usize| waits.get(waits.len().saturating_sub(1) * part / 100).copied().unwrap_or_default();
    println!(
        "{name}: longest wait of a writer over {} switches: median {:.1?}, p99 {:.1?}",
        waits.len(),
        at(50),
        at(99)
    );
}

fn copied_by_hand(folder: &Path) -> Result<f64, Failure> {
    let source = folder.join("s0.db");
    let by_hand = rusqlite::Connection::open(folder.join("by_hand.db"))?;
    by_hand.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")?;
    by_hand.execute("ATTACH ?1 AS source", [source.display().to_string()])?;
    let began = Instant::now();
    by_hand.execute_batch(
        "CREATE TABLE measurements (id INTEGER PRIMARY KEY, station TEXT NOT NULL, value REAL NOT NULL, note TEXT) STRICT; \
         INSERT INTO measurements SELECT * FROM source.measurements; CREATE INDEX by_station ON measurements (station)",
    )?;
    Ok(began.elapsed().as_secs_f64())
}

fn on_files(rows: i64, count: usize) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let url = |name: String| (name.clone(), format!("sqlite:{}/{name}.db", folder.path().display()));
    let mut urls = vec![url("keep".to_owned())];
    urls.extend((0..count + 2).map(|at| url(format!("s{at}"))));
    let cluster = filled(&urls, rows)?;
    let by_hand = copied_by_hand(folder.path())?;
    let (ours, before, during) = change(&cluster, "s0", "s1", rows.min(5_000))?;
    report("files, copy with indexes", Rate { ours, by_hand }, rows);
    println!("files, a write while changes are noted: {:.2} of one before", during / before);
    report_waits("files", &switches(&cluster, &names(count), rows)?);
    Ok(())
}

/// The shards that are moved under load.
fn names(count: usize) -> Vec<String> {
    (1..=count).map(|at| format!("s{at}")).collect()
}

fn on_servers(rows: i64, count: usize) -> Result<(), Failure> {
    if !Server::is_installed() {
        println!("servers: PostgreSQL is not installed, nothing was measured");
        return Ok(());
    }
    let settings = ["max_prepared_transactions=100", "max_wal_size=4GB"];
    let (server, other) = (Server::start_with(&settings), Server::start_with(&settings));
    let url = |name: String, server: &Server| (name.clone(), format!("{}?schema={name}", server.url()));
    let mut urls = vec![url("keep".to_owned(), &server), url("s0".to_owned(), &server)];
    // The first shard of the other server names its database, and stays spare.
    urls.push(url("spare".to_owned(), &other));
    urls.extend(
        (1..count + 2).map(|at| url(format!("s{at}"), if at.is_multiple_of(2) { &server } else { &other })),
    );
    let cluster = filled(&urls, rows)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let by_hand = runtime.block_on(piped_by_hand(&server.url(), &other.url()))?;
    let (ours, before, during) = change(&cluster, "s0", "s1", rows.min(2_000))?;
    report("servers, copy with indexes", Rate { ours, by_hand }, rows);
    println!("servers, a write while changes are noted: {:.2} of one before", during / before);
    report_waits("servers", &switches(&cluster, &names(count), rows)?);
    Ok(())
}

/// Pipes `COPY` from one server to another, and makes the index.
async fn piped_by_hand(from: &str, to: &str) -> Result<f64, Failure> {
    use futures_util::{SinkExt, StreamExt};
    let (from, connection) = tokio_postgres::connect(from, NoTls).await?;
    tokio::spawn(connection);
    let (to, connection) = tokio_postgres::connect(to, NoTls).await?;
    tokio::spawn(connection);
    let began = Instant::now();
    to.batch_execute(
        "CREATE SCHEMA by_hand; CREATE TABLE by_hand.measurements (id bigint PRIMARY KEY, station text NOT NULL, \
         value double precision NOT NULL, note text)",
    )
    .await?;
    let rows = from.copy_out("COPY s0.measurements TO STDOUT (FORMAT binary)").await?;
    let sink = to.copy_in("COPY by_hand.measurements FROM STDIN (FORMAT binary)").await?;
    futures_util::pin_mut!(rows, sink);
    while let Some(portion) = rows.next().await {
        sink.send(portion?).await?;
    }
    sink.close().await?;
    to.batch_execute("CREATE INDEX ON by_hand.measurements (station)").await?;
    Ok(began.elapsed().as_secs_f64())
}

fn main() -> Result<(), Failure> {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let (rows, count) = if is_quick { (2_000, 3) } else { (200_000, 51) };
    on_files(rows, count)?;
    on_servers(rows, if is_quick { 3 } else { 21 })
}
