//! Every ordered pair of operations: the first has run and not ended when the second one begins.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use shard_runtime::{AsyncSession, Cluster, Committed, ErrorKind, Result, Session};

use crate::load::seed;
use crate::operations::{ABSENT, ALL, Operation, Run};
use crate::world::{End, Kind, World};

/// How long a session waits for a lock; no pair waits for so long unless something is wrong.
const WAIT: Duration = Duration::from_secs(20);

/// The time in which the second transaction ends or waits on SQLite, which does not report that a session waits.
const ON_FILES: Duration = Duration::from_millis(12);

/// The same on servers, which do.
const ON_SERVERS: Duration = Duration::from_secs(5);

/// The same for a transaction that meets one that is not finished everywhere: it may wait, or try again and again.
const ON_SERVERS_LATE: Duration = Duration::from_millis(150);

/// One of this number of pairs is run with a late end, by default.
const LATE: usize = 3;

/// How many worlds are attacked at the same time.
const WORLDS: usize = 4;

/// How the first transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Commits,
    RollsBack,
    /// It is decided, and finished on its servers only after the second one has met it.
    CommitsLate,
}

/// The result of an operation.
type Answer = Result<String, ErrorKind>;

/// A serial order: the end, and what both operations returned.
#[derive(Clone, Debug, PartialEq)]
struct Serial {
    end: End,
    first: Answer,
    second: Answer,
}

fn answer(result: Result<String>) -> Answer {
    result.map_err(|error| error.kind())
}

/// How often an async operation is tried, as `Cluster::transaction` does for others.
const TRIES: usize = 10;

fn committed(cluster: &Cluster, operation: &Operation) -> Answer {
    if let Run::Sync(run) = operation.run {
        return answer(cluster.transaction(run));
    }
    let tried = || {
        let mut session = Open::of(cluster, operation);
        session.run(operation).and_then(|done| session.commit().map(|_| done))
    };
    let may_succeed = |result: &Result<String>| {
        use ErrorKind::{Ambiguous, NotFound};
        let is_tried_again = |kind| matches!(kind, Ambiguous | NotFound);
        result.as_ref().is_err_and(|error| error.is_retryable() || is_tried_again(error.kind()))
    };
    let mut result = tried();
    for _ in 1..TRIES {
        if may_succeed(&result) {
            result = tried();
        }
    }
    answer(result)
}

/// A session in the middle of its transaction.
enum Open {
    Sync(Box<Session>),
    Async(AsyncSession),
}

impl Open {
    fn of(cluster: &Cluster, operation: &Operation) -> Self {
        match operation.run {
            Run::Sync(_) => Open::Sync(Box::new(cluster.session())),
            Run::Async(_) => Open::Async(cluster.async_session()),
        }
    }

    fn run(&mut self, operation: &Operation) -> Result<String> {
        match (self, operation.run) {
            (Open::Sync(session), Run::Sync(run)) => run(session),
            (Open::Async(session), Run::Async(run)) => run(session),
            _ => panic!("{} runs in another kind of session", operation.name),
        }
    }

    fn commit(&mut self) -> Result<Committed> {
        match self {
            Open::Sync(session) => session.commit(),
            Open::Async(session) => smol::block_on(session.commit()),
        }
    }

    fn rollback(&mut self) {
        match self {
            Open::Sync(session) => session.rollback(),
            Open::Async(session) => smol::block_on(session.rollback()),
        }
    }
}

/// One order of each pair, and each operation alone.
struct Orders {
    pairs: BTreeMap<(&'static str, &'static str), Serial>,
    alone: BTreeMap<&'static str, (End, Answer)>,
}

fn orders() -> &'static Orders {
    static ORDERS: OnceLock<Orders> = OnceLock::new();
    ORDERS.get_or_init(|| {
        let world = World::new(Kind::Files, 1_000, WAIT);
        let (mut pairs, mut alone) = (BTreeMap::new(), BTreeMap::new());
        for first in ALL {
            world.reset();
            let only = committed(&world.cluster, first);
            alone.insert(first.name, (world.end(), only));
            for second in ALL.iter().filter(|second| second.about.meets(first.about)) {
                world.reset();
                let answers = (committed(&world.cluster, first), committed(&world.cluster, second));
                let serial = Serial { end: world.end(), first: answers.0, second: answers.1 };
                pairs.insert((first.name, second.name), serial);
            }
        }
        Orders { pairs, alone }
    })
}

/// Which of the pairs are run with a late end: those of this number, or all.
fn late() -> Option<usize> {
    if std::env::var("SHARDED_STEPS").is_ok_and(|steps| steps == "all")
        || std::env::var_os("SHARDED_PAIR").is_some()
    {
        return None;
    }
    let seed = seed();
    println!("SHARDED_SEED={seed}");
    usize::try_from(seed % LATE as u64).ok()
}

pub fn run(kind: Kind) {
    let (began, orders) = (Instant::now(), orders());
    let ends: &[First] = match kind {
        Kind::Files | Kind::Schemas => &[First::Commits, First::RollsBack],
        Kind::Servers | Kind::Mixed => &[First::Commits, First::RollsBack, First::CommitsLate],
    };
    let wanted = std::env::var("SHARDED_PAIR").ok();
    let wanted = wanted.as_deref().and_then(|wanted| wanted.split_once(':'));
    let is_wanted = |first: &Operation, second: &Operation| {
        wanted.is_none_or(|(a, b)| a == first.name && b == second.name)
    };
    let late = late();
    let (mut cells, mut left_out) = (Vec::new(), 0);
    for (number, first) in ALL.iter().enumerate() {
        for (other, second) in ALL.iter().enumerate() {
            if !second.about.meets(first.about) || !is_wanted(first, second) {
                continue;
            }
            for &end in ends {
                let is_run =
                    end != First::CommitsLate || late.is_none_or(|late| (number + other) % LATE == late);
                if is_run { cells.push((first, end, second)) } else { left_out += 1 }
            }
        }
    }
    let (next, faults) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for number in 0..WORLDS {
            let (next, faults, cells) = (&next, &faults, &cells);
            scope.spawn(move || {
                let world = World::new(kind, number, WAIT);
                while let Some((first, end, second)) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(fault) = fault(&world, orders, first, *end, second) {
                        faults.lock().unwrap().push(fault);
                    }
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    println!(
        "{kind:?}: {} wrong of {} ends ({left_out} left out), {:.1?}",
        faults.len(),
        cells.len(),
        began.elapsed()
    );
    assert!(faults.is_empty(), "{} of {} ends are wrong:\n{}", faults.len(), cells.len(), faults.join("\n"));
}

/// Runs a cell; returns the faults of its end.
fn fault(
    world: &World,
    orders: &Orders,
    first: &Operation,
    end: First,
    second: &Operation,
) -> Option<String> {
    world.reset();
    let began = Instant::now();
    let (first_answer, second_answer) = meet(world, first, end, second);
    let found = world.end();
    let cell = format!("{} {end:?}, {}", first.name, second.name);
    if began.elapsed() > WAIT / 2 {
        return Some(format!("{cell}: took {:.1?} ({first_answer:?}, {second_answer:?})", began.elapsed()));
    }
    let (alone, alone_answer) = &orders.alone[second.name];
    if end == First::RollsBack {
        let is_right = found == *alone && second_answer == *alone_answer;
        return (!is_right).then(|| format!("{cell}: {second_answer:?}{}", difference(&[alone], &found)));
    }
    let after = &orders.pairs[&(first.name, second.name)];
    let before = &orders.pairs[&(second.name, first.name)];
    let is_after = (&found, &first_answer, &second_answer) == (&after.end, &after.first, &after.second);
    let is_before = (&found, &first_answer, &second_answer) == (&before.end, &before.second, &before.first);
    if is_after || is_before || is_refused(&found, orders, first, second, &second_answer) {
        return None;
    }
    let said = format!(
        "{first_answer:?}, {second_answer:?}; in order {:?}, {:?}; the other way {:?}, {:?}",
        after.first, after.second, before.second, before.first
    );
    Some(format!("{cell}: {said}{}", difference(&[&after.end, &before.end], &found)))
}

/// Returns true if the second one has written nothing, for one of two reasons. Its parent was moved or removed after it had
/// read it, or a plain read of several shards has missed a row that was moving between them. Reads that lock do not miss it.
fn is_refused(found: &End, orders: &Orders, first: &Operation, second: &Operation, answer: &Answer) -> bool {
    let may_miss = first.name.contains("relocate") && !second.name.ends_with("read_to_write");
    let is_allowed = match answer {
        Err(kind) => *kind == ErrorKind::ForeignKey,
        Ok(answer) => may_miss && answer == ABSENT,
    };
    is_allowed && *found == orders.alone[first.name].0
}

fn difference(wanted: &[&End], found: &End) -> String {
    let mut text = String::new();
    for wanted in wanted {
        let lacks = wanted.iter().filter(|line| !found.contains(line)).map(|line| format!(" -{line}"));
        let has = found.iter().filter(|line| !wanted.contains(line)).map(|line| format!(" +{line}"));
        text.push_str(&format!("\n     {}", lacks.chain(has).collect::<Vec<_>>().join(", ")));
    }
    text
}

/// The first operation runs; the second one begins, and ends or waits; then the first one ends.
fn meet(world: &World, first: &Operation, end: First, second: &Operation) -> (Answer, Answer) {
    let mut session = Open::of(&world.cluster, first);
    let first_answer = answer(session.run(first));
    if end == First::CommitsLate {
        return meet_late(world, session, first_answer, second);
    }
    let (cluster, over) = (&world.cluster, AtomicBool::new(false));
    let second_answer = std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let answer = committed(cluster, second);
            over.store(true, Ordering::Release);
            answer
        });
        let waits = matches!(world.kind, Kind::Servers | Kind::Schemas);
        wait_for(world, &over, if waits { ON_SERVERS } else { ON_FILES });
        ended(&mut session, end, &first_answer);
        second.join().unwrap()
    });
    (first_answer, second_answer)
}

fn ended(session: &mut Open, end: First, answer: &Answer) {
    match (end, answer) {
        (First::RollsBack, _) | (_, Err(_)) => session.rollback(),
        (_, Ok(_)) => {
            let committed = session.commit().unwrap();
            assert!(committed.pending().is_empty(), "{:?}", committed.pending());
        }
    }
}

/// The first one is decided and held back; the second one meets it then.
fn meet_late(world: &World, mut session: Open, first_answer: Answer, second: &Operation) -> (Answer, Answer) {
    world.hold.hold();
    let cluster = &world.cluster;
    let (first_over, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let second_answer = std::thread::scope(|scope| {
        let answer = &first_answer;
        let ended_late = scope.spawn(|| {
            ended(&mut session, First::CommitsLate, answer);
            first_over.store(true, Ordering::Release);
        });
        while !first_over.load(Ordering::Acquire) && !world.hold.has_some() {
            std::thread::sleep(Duration::from_micros(200));
        }
        let second = scope.spawn(|| {
            let answer = committed(cluster, second);
            over.store(true, Ordering::Release);
            answer
        });
        wait_for(world, &over, ON_SERVERS_LATE);
        world.hold.release();
        ended_late.join().unwrap();
        second.join().unwrap()
    });
    (first_answer, second_answer)
}

/// Waits until the second transaction is over, or waits for a lock.
fn wait_for(world: &World, over: &AtomicBool, longest: Duration) {
    let began = Instant::now();
    while !over.load(Ordering::Acquire) && began.elapsed() < longest {
        std::thread::sleep(Duration::from_millis(1));
        if world.kind != Kind::Files && world.is_waiting() {
            return;
        }
    }
}
