//! Futures of the async session are dropped at random points, most of them in commits. The check is the same as after kills,
//! and nothing is left for recovery.

use std::fs::File;
use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use shard_runtime::{AsyncSession, Cluster, Error, Result, Sharded as _, Sql};

use crate::check::check;
use crate::writer::UNITS_OF_A_WRITER;
use crate::{
    Account, Entry, Models, Name, NewTally, Note, Numbers, Place, Tally, builder, create, folder, seed,
};

/// Tasks that write side by side, and the threads that they share.
const TASKS: i64 = 8;
const THREADS: u32 = 4;

/// The number of units whose futures are dropped in an ordinary run of the tests.
const LEFT: usize = 400;

/// How many units came to which end.
#[derive(Default)]
struct Ends {
    committed: AtomicUsize,
    left: AtomicUsize,
    left_in_a_commit: AtomicUsize,
}

/// The state of a transaction, as reported to its writer.
enum End {
    Committed,
    Failed(Error),
    /// It was left before its commit.
    Left,
    LeftInItsCommit,
}

#[test]
fn r35_units_that_are_left_at_random_are_all_or_nothing() {
    let wanted = std::env::var("SHARDED_LEFT").map_or(LEFT, |left| left.parse().expect("a number"));
    let seed = seed();
    let folder = folder();
    let (path, logs) = (folder.path().join("cluster"), folder.path().join("logs"));
    create(&path);
    std::fs::create_dir(&logs).unwrap();
    let cluster = builder(&path).async_sessions(THREADS).open::<Models>().unwrap();
    let ends = Arc::new(Ends::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let start = |task: i64| {
            let log = File::create(logs.join(format!("{task}.log"))).unwrap();
            let numbers = Numbers(seed * TASKS as u64 + task as u64);
            tokio::spawn(write(cluster.clone(), log, task, numbers, Arc::clone(&ends), wanted))
        };
        let tasks: Vec<_> = (0..TASKS).map(start).collect();
        for task in tasks {
            task.await.unwrap();
        }
        // A session that gets a slot now comes after all cancelled ones: all of them have ended then.
        let mut last: Vec<_> = (0..THREADS).map(|_| cluster.async_session()).collect();
        for session in &mut last {
            session.all(Account::select().all_shards()).await.unwrap();
        }
    });
    drop(runtime);
    assert_eq!(
        cluster.recover().unwrap().transactions(),
        Vec::<String>::new(),
        "something was left to be done"
    );
    drop(cluster);
    let counts = check(&path, &logs);
    let [committed, left, in_a_commit] =
        [&ends.committed, &ends.left, &ends.left_in_a_commit].map(|end| end.load(Ordering::SeqCst));
    let all_the_same = counts.units - committed;
    println!(
        "{committed} told, {left} left, {in_a_commit} of them in a commit, {all_the_same} of these committed"
    );
    assert_eq!(counts.acknowledged, committed);
    assert!(left >= wanted && all_the_same > 0 && all_the_same <= in_a_commit, "not every end was come to");
}

/// Writes units, of which some are left at a random point, until enough were.
async fn write(
    cluster: Cluster,
    mut log: File,
    task: i64,
    mut numbers: Numbers,
    ends: Arc<Ends>,
    wanted: usize,
) {
    let mut tell = |line: String| log.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut session = cluster.async_session();
    for unit in 1.. {
        if ends.left.load(Ordering::SeqCst) >= wanted {
            break;
        }
        let (id, shards) = (task * UNITS_OF_A_WRITER + unit, 1 + numbers.below(15));
        tell(format!("begun {id}"));
        let end = write_unit(&mut session, id, shards, &mut numbers).await;
        let count = |number: &AtomicUsize| number.fetch_add(1, Ordering::SeqCst);
        match &end {
            End::Committed => {
                count(&ends.committed);
                tell(format!("committed {id}"));
            }
            End::Failed(error) => tell(format!("aborted {id} {error}")),
            End::Left => {
                count(&ends.left);
                tell(format!("aborted {id} left before its commit"));
            }
            End::LeftInItsCommit => {
                count(&ends.left);
                count(&ends.left_in_a_commit);
                tell(format!("left {id}"));
            }
        }
        // The session is used again, which waits for the verb that was dropped, or is dropped too.
        if numbers.below(2) == 0 {
            session.rollback().await;
            let found = session.all(Entry::select().filter(Entry::ID.eq(id)).all_shards()).await.unwrap();
            let whole = shards.count_ones() as usize;
            let expected: &[usize] = match end {
                End::Committed => &[whole],
                End::LeftInItsCommit => &[0, whole],
                End::Failed(_) | End::Left => &[0],
            };
            assert!(expected.contains(&found.len()), "of unit {id} there are {} of {whole}", found.len());
            session.rollback().await;
        } else {
            session = cluster.async_session();
        }
    }
}

async fn write_unit(session: &mut AsyncSession, id: i64, shards: u64, numbers: &mut Numbers) -> End {
    let (choice, cents) = (numbers.below(4), numbers.below(1_000) as i64);
    let changes = change(session, id, shards, cents);
    let changed = match choice {
        0 => Left::new(changes, 1 + numbers.below(40), numbers.below(200)).await,
        _ => Some(changes.await),
    };
    let commit = session.commit();
    match (changed, choice) {
        (None, _) => End::Left,
        (Some(Err(error)), _) => End::Failed(error),
        (Some(Ok(())), 1 | 2) => match Left::new(commit, 1, numbers.below(1_500)).await {
            Some(Ok(_)) => End::Committed,
            Some(Err(error)) => End::Failed(error),
            None => End::LeftInItsCommit,
        },
        (Some(Ok(())), _) => match commit.await {
            Ok(_) => End::Committed,
            Err(error) => End::Failed(error),
        },
    }
}

/// The writes of `writer`, a verb at a time. Shards are locked in their order, so that no deadlock is possible.
async fn change(session: &mut AsyncSession, id: i64, shards: u64, cents: i64) -> Result<()> {
    let places: Vec<Place> =
        (0..4).filter(|bit| shards & (1 << bit) != 0).map(|bit| Place::ALL[bit]).collect();
    for &place in &places {
        session.add(Entry { id, place, shards: -1 }).await?;
        session.add(NewTally { place, unit: id }).await?;
        session.add(NewTally { place, unit: -id }).await?;
        let mut entry = session.get(Entry::by_id(id).on(place)).await?.expect("it was added");
        entry.shards = shards as i64;
        session.update(&mut entry).await?;
        session.execute(Tally::delete().filter(Tally::UNIT.eq(-id)).on(place)).await?;
    }
    if places.len() == Place::ALL.len() {
        session.add(Note { id, text: String::new() }).await?;
        session.execute(Note::update().set(Note::TEXT, "written").filter(Note::ID.eq(id))).await?;
        let place = places[id as usize % places.len()];
        let mut name = session.add(Name { id, place, name: format!("begun {id}") }).await?;
        name.name = format!("named {id}");
        session.update(&mut name).await?;
    }
    let add = |cents: i64, place: Place| {
        Sql::new("UPDATE {accounts} SET cents = cents + ?1 WHERE id = 1").bind(cents).on::<Account>(place)
    };
    if let (Some(&first), Some(&last)) = (places.first(), places.last()) {
        session.execute(add(cents, first)).await?;
        session.execute(add(-cents, last)).await?;
    }
    Ok(())
}

/// A future that is dropped this number of microseconds after this number of polls; returns its output if it was ready before.
struct Left<F> {
    future: Option<Pin<Box<F>>>,
    polls: u64,
    after: Duration,
}

impl<F: Future> Left<F> {
    fn new(future: F, polls: u64, micros: u64) -> Self {
        Left { future: Some(Box::pin(future)), polls, after: Duration::from_micros(micros) }
    }
}

impl<F: Future> Future for Left<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.future else { return Poll::Ready(None) };
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        if self.polls > 1 {
            self.polls -= 1;
            return Poll::Pending;
        }
        // Shorter than the resolution of timers.
        let began = Instant::now();
        while began.elapsed() < self.after {
            std::hint::spin_loop();
        }
        self.future = None;
        Poll::Ready(None)
    }
}
