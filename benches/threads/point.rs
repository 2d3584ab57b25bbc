//! One point: a workload, a number of threads, and the figures of about a second.
//!
//! It uses only parts of the public API that are older than the benchmark, so that it compiles in an older checkout.

use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use shard_runtime::{Cluster, Durability, Error, Session, Sharded};

use crate::Failure;

pub const SHARDS: usize = 4;

/// The rows of each shard. Few, so that writers of one shard meet on a server, too.
const ROWS: i64 = 16;

const NAMES: [&str; SHARDS] = ["a", "b", "c", "d"];

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "accounts")]
struct Account {
    #[id]
    id: i64,
    #[shard_key(list("a" => "a", "b" => "b", "c" => "c", "d" => "d"))]
    place: String,
    cents: i64,
}

pub struct Workload {
    pub name: &'static str,
    run: fn(&Cluster, &mut Random) -> Result<(), Error>,
}

pub const WORKLOADS: &[Workload] = &[
    Workload { name: "a session reads one row", run: read_one },
    Workload { name: "a session writes one row", run: write_one },
    Workload { name: "a transaction writes two shards, in one order", run: two_in_one_order },
    Workload { name: "a transaction writes two shards, in random order", run: two_in_random_order },
];

fn read_one(cluster: &Cluster, random: &mut Random) -> Result<(), Error> {
    let shard = random.below(SHARDS);
    let id = random.id_on(shard);
    let place = NAMES[shard];
    let query = Account::select().filter(Account::PLACE.eq(place)).filter(Account::ID.eq(id));
    cluster.session().one(query).map(drop)
}

fn write_one(cluster: &Cluster, random: &mut Random) -> Result<(), Error> {
    let shard = random.below(SHARDS);
    let id = random.id_on(shard);
    cluster.transaction(|session| add(session, shard, id, 1))
}

fn two_in_one_order(cluster: &Cluster, random: &mut Random) -> Result<(), Error> {
    let mut shards = random.two_shards();
    shards.sort_unstable();
    transfer(cluster, random, shards)
}

fn two_in_random_order(cluster: &Cluster, random: &mut Random) -> Result<(), Error> {
    let shards = random.two_shards();
    transfer(cluster, random, shards)
}

fn transfer(cluster: &Cluster, random: &mut Random, shards: [usize; 2]) -> Result<(), Error> {
    let [from, to] = shards.map(|shard| (shard, random.id_on(shard)));
    cluster.transaction(|session| {
        add(session, from.0, from.1, -1)?;
        add(session, to.0, to.1, 1)
    })
}

fn add(session: &mut Session, shard: usize, id: i64, cents: i64) -> Result<(), Error> {
    let row = Account::PLACE.eq(NAMES[shard]) & Account::ID.eq(id);
    session.execute(Account::update().filter(row).set(Account::CENTS, Account::CENTS + cents)).map(drop)
}

fn builder(urls: &[String]) -> shard_runtime::Builder {
    let builder = Cluster::builder().durability(Durability::Normal);
    NAMES.iter().zip(urls).fold(builder, |builder, (name, url)| builder.shard(*name, url.clone()))
}

/// The environment variable with the databases' URLs. They contain passwords, and arguments are public.
const URLS: &str = "SHARDED_POINT_URLS";

/// Runs a program with `--point` or `--fill` on databases; the line that it prints.
pub fn of(program: &Path, arguments: &[&str], urls: &[String]) -> Result<String, Failure> {
    let output = Command::new(program).args(arguments).env(URLS, urls.join("\n")).output()?;
    if !output.status.success() {
        return Err(format!("{}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn urls() -> Result<Vec<String>, Failure> {
    Ok(std::env::var(URLS)?.lines().map(str::to_owned).collect())
}

/// Makes the tables and their rows, in the databases that the environment names.
pub fn fill() -> Result<(), Failure> {
    let cluster = builder(&urls()?).create::<Account>()?;
    let mut session = cluster.session();
    for (place, first) in NAMES.iter().zip((0..).step_by(ROWS as usize)) {
        session.add_all((first..first + ROWS).map(|id| Account {
            id,
            place: (*place).to_owned(),
            cents: 0,
        }))?;
    }
    session.commit()?;
    Ok(())
}

/// Runs the point that the arguments name, on the databases that the environment names, and prints a line of figures.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let [name, threads, milliseconds] = arguments else { return Err("--point takes three values".into()) };
    let workload = WORKLOADS.iter().find(|workload| workload.name == name).ok_or("no such workload")?;
    let (threads, time): (usize, _) = (threads.parse()?, Duration::from_millis(milliseconds.parse()?));
    let cluster = builder(&urls()?).open::<Account>()?;
    let start = Barrier::new(threads);
    let (latencies, failed, elapsed) = std::thread::scope(|scope| {
        let work = |thread: usize| {
            let (cluster, start) = (&cluster, &start);
            move || {
                let mut random = Random::new(thread as u64);
                let (mut latencies, mut failed) = (Vec::new(), 0);
                start.wait();
                let began = Instant::now();
                while began.elapsed() < time {
                    let one = Instant::now();
                    match (workload.run)(cluster, &mut random) {
                        Ok(()) => latencies.push(one.elapsed()),
                        Err(error) => {
                            failed += 1;
                            if failed == 1 && std::env::var_os("SHARDED_POINT_ERRORS").is_some() {
                                eprintln!("{error:?}");
                            }
                        }
                    }
                }
                (latencies, failed, began.elapsed())
            }
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(work(thread))).collect();
        let mut all = (Vec::new(), 0, Duration::ZERO);
        for thread in running {
            let (latencies, failed, elapsed) = thread.join().map_err(|_| "a thread panicked")?;
            all.0.extend(latencies);
            all.1 += failed;
            all.2 = elapsed.max(all.2);
        }
        Ok::<_, Failure>(all)
    })?;
    print_line(latencies, failed, elapsed);
    Ok(())
}

fn print_line(mut latencies: Vec<Duration>, failed: usize, elapsed: Duration) {
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = ((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1));
        latencies.get(index).copied().unwrap_or_default()
    };
    let per_second = latencies.len() as f64 / elapsed.as_secs_f64();
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(at).map(|latency| format!("{latency:.1?}"));
    println!("{per_second:>10.0} {p50:>9} {p99:>9} {max:>9} {failed:>7}");
}

/// Numbers without a pattern, the same in every run: xorshift (G. Marsaglia, 2003).
pub struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    fn id_on(&mut self, shard: usize) -> i64 {
        shard as i64 * ROWS + self.below(ROWS as usize) as i64
    }

    fn two_shards(&mut self) -> [usize; 2] {
        let first = self.below(SHARDS);
        [first, (first + 1 + self.below(SHARDS - 1)) % SHARDS]
    }
}
