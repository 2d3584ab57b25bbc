//! Measures reads while tables grow: look-ups, pages and counts on four files with ten thousand to ten million rows.
//! `cargo bench --bench rows`; with `--quick` for few rows, `--svg FOLDER` for a picture.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shard_runtime::{Builder, Cluster, Durability, Session, Sharded};

mod plot;

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "events", index(at))]
struct Event {
    #[id]
    #[shard_key(hash)]
    id: i64,
    at: i64,
    text: String,
}

type Failure = Box<dyn std::error::Error>;

/// The rows of one commit.
const TOGETHER: i64 = 20_000;

fn builder(folder: &Path) -> Builder {
    let shards = (0..4).map(|shard| (format!("s{shard}"), format!("sqlite:{}/{shard}.db", folder.display())));
    shards.fold(Cluster::builder().durability(Durability::Normal), |builder, (name, url)| {
        builder.shard(name, url)
    })
}

/// A number without a pattern below `end` (SplitMix64).
fn scattered(number: i64, end: i64) -> i64 {
    let mut mixed = (number as u64).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) % end as u64) as i64
}

fn grow(cluster: &Cluster, from: i64, to: i64) -> Result<(), Failure> {
    let mut session = cluster.session();
    for begin in (from..to).step_by(TOGETHER as usize) {
        let rows = begin..(begin + TOGETHER).min(to);
        let event = |id| Event { id, at: scattered(id, i64::MAX), text: format!("event {id}") };
        session.add_all(rows.map(event))?;
        session.commit()?;
    }
    Ok(())
}

/// The shortest time of five blocks, for each call.
fn fastest(calls: i64, mut call: impl FnMut(i64) -> Result<u64, Failure>) -> Result<Duration, Failure> {
    let mut best = Duration::MAX;
    for block in 0..5 {
        let began = Instant::now();
        for number in 0..calls {
            black_box(call(block * calls + number)?);
        }
        best = best.min(began.elapsed());
    }
    Ok(best / u32::try_from(calls)?)
}

/// A read in a session, or in a session of its own, given its number and the number of rows.
type Read = fn(&mut Session, i64, i64) -> Result<u64, Failure>;

fn get(session: &mut Session, number: i64, rows: i64) -> Result<u64, Failure> {
    Ok(session.get::<Event>(scattered(number, rows))?.map_or(0, |event| event.at as u64))
}

/// Each read with its name, and the calls of a block.
const READS: [(&str, i64, Read); 4] = [
    ("get, in one session", 1_000, get),
    ("get, a session each", 200, |session, number, rows| get(&mut session.cluster().session(), number, rows)),
    ("100 rows by index", 20, |session, number, _| {
        let from = Event::AT.ge(scattered(number, i64::MAX / 2));
        let query = Event::select().filter(from).all_shards().order_by(Event::AT.asc()).limit(100);
        Ok(session.cluster().session().all(query)?.len() as u64)
    }),
    ("count", 1, |session, _, _| {
        Ok(session.cluster().session().one(Event::select().all_shards().count())?)
    }),
];

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    let is_quick = !is_bench || arguments.iter().any(|argument| argument == "--quick");
    let svg = arguments.iter().position(|argument| argument == "--svg").and_then(|at| arguments.get(at + 1));
    let sizes: &[i64] = if is_quick { &[100, 1_000] } else { &[10_000, 100_000, 1_000_000, 10_000_000] };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let cluster = builder(folder.path()).create::<Event>()?;
    let mut curves: Vec<plot::Curve> =
        READS.iter().map(|(name, ..)| plot::Curve { name: (*name).to_owned(), points: Vec::new() }).collect();
    println!("{:>10}  {}", "rows", READS.map(|(name, ..)| format!("{name:>22}")).join(""));
    let mut before = 0;
    for &rows in sizes {
        grow(&cluster, before, rows)?;
        before = rows;
        let mut times = Vec::new();
        for (_, calls, read) in READS {
            let mut session = cluster.session();
            times.push(fastest(calls, |number| read(&mut session, number, rows))?);
        }
        println!(
            "{rows:>10}  {}",
            times.iter().map(|time| format!("{:>22}", format!("{time:.1?}"))).collect::<String>()
        );
        for (curve, time) in curves.iter_mut().zip(times) {
            curve.points.push((rows as f64, time.as_secs_f64() * 1e6));
        }
    }
    if let Some(folder) = svg {
        let picture = plot::svg("Reads as tables grow", "rows", "microseconds", &curves);
        std::fs::write(PathBuf::from(folder).join("rows.svg"), picture)?;
    }
    Ok(())
}
