//! Deadlocks over several servers, and over servers and files, among the sessions of one cluster handle.
//!
//! A server detects only the waits on itself. A session that has waited for a while on a server is registered here, with
//! the sessions that `pg_blocking_pids` names. Together with the waits for files these are the edges of a graph. The
//! youngest session of a cycle fails with [`ErrorKind::Busy`](crate::ErrorKind::Busy), and the others continue.
//!
//! An edge is dropped when its wait ends, or when the transaction that blocks it does. While one statement waits for
//! several rows in turn, an edge may be out of date. A session may then fail although there was no deadlock. Sessions of
//! other processes are not registered here. Uses `driver` and `write_locks`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Age, Cluster, ClusterState, WriteLocks};
use crate::driver::{Connection, Interrupter, WaitCounter};
use crate::error::Result;
use crate::value::Value;

/// A server process that serves a session: the database's index, and the process id.
type Process = (usize, i32);

/// The sessions that write on servers, and those that wait there.
#[derive(Default)]
pub(crate) struct ServerWaits {
    state: Mutex<State>,
    waits: AtomicU64,
    is_searched: AtomicBool,
    /// The waits of which a server has told that a lock is waited for.
    pub(crate) counted: WaitCounter,
}

#[derive(Default)]
struct State {
    writers: HashMap<Process, Age>,
    waiting: BTreeMap<Process, Wait>,
}

struct Wait {
    /// Distinguishes this wait from later ones of the same process.
    number: u64,
    age: Age,
    /// Makes the wait fail.
    end: Interrupter,
    blockers: Vec<Age>,
    /// When it was noticed.
    began: Instant,
    /// Whether it is counted: without an answer of the server the statement may only be slow.
    is_counted: bool,
}

/// A session that writes on a server, until this is dropped.
pub(crate) struct ServerWriter {
    waits: Arc<ServerWaits>,
    process: Process,
}

impl Drop for ServerWriter {
    fn drop(&mut self) {
        let mut state = self.waits.lock();
        let age = state.writers.remove(&self.process);
        let wait = state.waiting.remove(&self.process);
        self.waits.count_end(wait);
        state.waiting.values_mut().for_each(|wait| wait.blockers.retain(|blocker| Some(*blocker) != age));
    }
}

impl ServerWaits {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a session that begins to write.
    pub(crate) fn writes(self: &Arc<Self>, database: usize, process: i32, age: Age) -> ServerWriter {
        let process = (database, process);
        self.lock().writers.insert(process, age);
        ServerWriter { waits: Arc::clone(self), process }
    }

    /// Notes that a writer has waited for a while. Returns whether it could be part of a deadlock that no server can
    /// detect.
    pub(crate) fn waits(&self, process: Process, end: Interrupter, files: &WriteLocks) -> bool {
        let mut state = self.lock();
        let Some(&age) = state.writers.get(&process) else { return false };
        state.waiting.entry(process).or_insert_with(|| {
            let number = self.waits.fetch_add(1, Ordering::Relaxed);
            Wait { number, age, end, blockers: Vec::new(), began: Instant::now(), is_counted: false }
        });
        let elsewhere =
            state.waiting.iter().any(|((database, _), wait)| *database != process.0 && wait.age != age);
        elsewhere || files.waits().iter().any(|(waiter, _)| *waiter != age)
    }

    /// Whether it is not known yet that the wait of a writer is one for a lock.
    fn is_unknown(&self, process: Process) -> bool {
        self.lock().waiting.get(&process).is_some_and(|wait| !wait.is_counted)
    }

    /// Notes that the wait of a writer is over.
    pub(crate) fn wait_ended(&self, process: Process) {
        let wait = self.lock().waiting.remove(&process);
        self.count_end(wait);
    }

    fn count_end(&self, wait: Option<Wait>) {
        if let Some(Wait { began, is_counted: true, .. }) = wait {
            self.counted.add(0, began.elapsed());
        }
    }

    /// Returns the waits on each database.
    fn waiting(&self) -> BTreeMap<usize, Vec<(i32, u64)>> {
        let mut waiting: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for ((database, process), wait) in &self.lock().waiting {
            waiting.entry(*database).or_default().push((*process, wait.number));
        }
        waiting
    }

    /// Notes which processes block a wait, unless it has ended.
    fn note_blockers(&self, (database, process): Process, number: u64, blockers: &[i32]) {
        let mut state = self.lock();
        // Other processes, too.
        let is_lock = !blockers.is_empty();
        let blockers =
            blockers.iter().filter_map(|blocker| state.writers.get(&(database, *blocker)).copied());
        let blockers = blockers.collect();
        if let Some(wait) = state.waiting.get_mut(&(database, process)).filter(|wait| wait.number == number) {
            wait.blockers = blockers;
            if is_lock && !wait.is_counted {
                wait.is_counted = true;
                self.counted.add(1, Duration::ZERO);
            }
        }
    }

    /// Whether sessions wait that could be on a cycle which no server sees.
    fn are_on_several_databases(&self, files: &WriteLocks) -> bool {
        let state = self.lock();
        let mut waiting = state.waiting.iter();
        let Some(((database, _), _)) = waiting.next() else { return false };
        waiting.any(|((other, _), _)| other != database) || !files.waits().is_empty()
    }

    /// Makes the youngest session of each cycle fail.
    fn break_cycles(&self, files: &WriteLocks) {
        let mut state = self.lock();
        let mut edges: HashMap<Age, Vec<Age>> = HashMap::new();
        for wait in state.waiting.values() {
            edges.entry(wait.age).or_default().extend(&wait.blockers);
        }
        for (waiter, owner) in files.waits() {
            edges.entry(waiter).or_default().push(owner);
        }
        while let Some(victim) = youngest_of_a_cycle(&edges) {
            edges.remove(&victim);
            state.waiting.values_mut().filter(|wait| wait.age == victim).for_each(|wait| (wait.end)());
            files.break_wait(victim);
        }
    }
}

/// Returns the youngest session of some cycle; `None` if there is no cycle.
fn youngest_of_a_cycle(edges: &HashMap<Age, Vec<Age>>) -> Option<Age> {
    // A session is on a cycle if it can be reached from itself. The youngest of all these is the youngest of its cycle.
    let is_on_a_cycle = |start: &Age| {
        let (mut seen, mut next) = (Vec::new(), edges.get(start).cloned().unwrap_or_default());
        while let Some(age) = next.pop() {
            if age == *start {
                return true;
            }
            if !seen.contains(&age) {
                seen.push(age);
                next.extend(edges.get(&age).into_iter().flatten());
            }
        }
        false
    };
    edges.keys().filter(|age| is_on_a_cycle(age)).max().copied()
}

/// Notes that a writer has waited for a while, with a function that makes it fail. `None` notes the end of its wait.
pub(crate) fn observe(inner: Arc<ClusterState>, process: Process, end: Option<Interrupter>) {
    match end {
        None => inner.server_waits.wait_ended(process),
        Some(end) => {
            let may_be_a_deadlock = inner.server_waits.waits(process, end, &inner.write_locks);
            if may_be_a_deadlock || inner.server_waits.is_unknown(process) {
                search_aside(inner);
            }
        }
    }
}

/// Searches for deadlocks on a new thread, unless a search is running.
fn search_aside(inner: Arc<ClusterState>) {
    if inner.server_waits.is_searched.swap(true, Ordering::AcqRel) {
        return;
    }
    let search = CycleSearch { cluster: Cluster(inner) };
    let thread = std::thread::Builder::new().name("sharded-deadlocks".to_owned());
    // Without a thread the value is dropped, and a later wait searches.
    let _ = thread.spawn(move || search.run());
}

/// A search that counts as running until this is dropped.
struct CycleSearch {
    cluster: Cluster,
}

impl CycleSearch {
    fn run(&self) {
        let waits = &self.cluster.0.server_waits;
        for (database, waiting) in waits.waiting() {
            // If a server does not answer now, it is queried again while the wait continues.
            let connection = self.cluster.connect_aside(database, false);
            let blocked = connection.and_then(|connection| blocked(&*connection, &waiting));
            for (process, blockers) in blocked.unwrap_or_default() {
                if let Some((_, number)) = waiting.iter().find(|(waiter, _)| *waiter == process) {
                    waits.note_blockers((database, process), *number, &blockers);
                }
            }
        }
        // A server ends a deadlock among its own transactions itself.
        if waits.are_on_several_databases(&self.cluster.0.write_locks) {
            waits.break_cycles(&self.cluster.0.write_locks);
        }
    }
}

impl Drop for CycleSearch {
    fn drop(&mut self) {
        self.cluster.0.server_waits.is_searched.store(false, Ordering::Release);
    }
}

/// Returns the processes that block each of these.
fn blocked(connection: &dyn Connection, waiting: &[(i32, u64)]) -> Result<BTreeMap<i32, Vec<i32>>> {
    let processes = waiting.iter().map(|(process, _)| process.to_string()).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT process::bigint, unnest(pg_blocking_pids(process))::bigint \
         FROM unnest(ARRAY[{processes}]::integer[]) AS waiting (process)"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(&[])?;
    let mut blocked: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    while rows.advance()? {
        if let (Value::Integer(process), Value::Integer(blocker)) = (rows.value(0)?, rows.value(1)?)
            && let (Ok(process), Ok(blocker)) = (i32::try_from(process), i32::try_from(blocker))
        {
            blocked.entry(process).or_default().push(blocker);
        }
    }
    Ok(blocked)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use super::*;

    /// Counts how often each wait was ended, in the order in which the sessions began.
    struct World {
        waits: Arc<ServerWaits>,
        files: Arc<WriteLocks>,
        ages: Vec<Age>,
        ended: Vec<Arc<AtomicU32>>,
    }

    fn world(sessions: usize) -> World {
        let files = WriteLocks::new(2);
        let ages = (0..sessions).map(|_| files.age()).collect();
        World { waits: Arc::default(), files, ages, ended: (0..sessions).map(|_| Arc::default()).collect() }
    }

    impl World {
        /// Begins to write on these databases. The session's process has the session's number there.
        fn writes(&self, session: usize, databases: &[usize]) -> Vec<ServerWriter> {
            let process = i32::try_from(session).unwrap();
            let of = |&database: &usize| self.waits.writes(database, process, self.ages[session]);
            databases.iter().map(of).collect()
        }

        fn waits_for(&self, session: usize, database: usize, blockers: &[i32]) -> bool {
            let process = (database, i32::try_from(session).unwrap());
            let ended = Arc::clone(&self.ended[session]);
            let end = Box::new(move || {
                ended.fetch_add(1, Ordering::Relaxed);
            });
            let is_searched = self.waits.waits(process, end, &self.files);
            let number = self.waits.lock().waiting[&process].number;
            self.waits.note_blockers(process, number, blockers);
            is_searched
        }

        fn ended(&self) -> Vec<u32> {
            self.waits.break_cycles(&self.files);
            self.ended.iter().map(|ended| ended.swap(0, Ordering::Relaxed)).collect()
        }
    }

    #[test]
    fn the_youngest_of_a_cycle_over_servers_fails() {
        let world = world(3);
        let _writers = [world.writes(0, &[0, 1]), world.writes(1, &[0, 1]), world.writes(2, &[0])];
        assert!(!world.waits_for(0, 0, &[1]), "nothing waits on another server");
        assert_eq!(world.ended(), [0, 0, 0]);
        assert!(world.waits_for(1, 1, &[0]));
        // Blocked by the cycle, but not part of it.
        world.waits_for(2, 0, &[0, 1]);
        assert_eq!(world.ended(), [0, 1, 0]);
        world.waits.wait_ended((1, 1));
        assert_eq!(world.ended(), [0, 0, 0]);
    }

    #[test]
    fn a_wait_for_a_transaction_that_ends_is_over() {
        let world = world(2);
        let _first = world.writes(0, &[0, 1]);
        let second = world.writes(1, &[0, 1]);
        world.waits_for(0, 0, &[1]);
        drop(second);
        let _second = world.writes(1, &[0, 1]);
        world.waits_for(1, 1, &[0]);
        assert_eq!(world.ended(), [0, 0], "the first one waits for a transaction that has ended");
        // The answer about an earlier wait of the same process.
        world.waits.note_blockers((0, 0), 1_000, &[1]);
        assert_eq!(world.ended(), [0, 0]);
    }

    #[test]
    fn only_a_wait_for_a_lock_is_counted() {
        let world = world(3);
        let _writers = [world.writes(0, &[0, 1]), world.writes(1, &[0])];
        let slow = world.writes(2, &[0]);
        world.waits_for(2, 0, &[]);
        assert!(world.waits.is_unknown((0, 2)));
        drop(slow);
        // The lock is held by a process of another program.
        world.waits_for(0, 0, &[77]);
        world.waits_for(0, 0, &[77]);
        assert!(!world.waits.is_unknown((0, 0)));
        assert!(!world.waits.are_on_several_databases(&world.files));
        assert_eq!(world.waits.counted.total(), (1, Duration::ZERO), "its time is counted when it ends");
        world.waits.wait_ended((0, 0));
        let (waits, waited) = world.waits.counted.total();
        assert!(waits == 1 && waited > Duration::ZERO);
        world.waits_for(0, 0, &[1]);
        world.waits_for(1, 0, &[0]);
        assert!(!world.waits.are_on_several_databases(&world.files), "the server sees this cycle itself");
        assert_eq!(world.waits.counted.total().0, 3);
    }

    #[test]
    fn a_cycle_over_a_file_and_a_server_is_noticed() {
        let world = world(2);
        let _writers = [world.writes(0, &[0]), world.writes(1, &[0])];
        let held = world.files.try_acquire(world.ages[1], 1).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let lock = world.files.acquire(world.ages[0], 1, Duration::from_secs(60));
                lock.map(drop)
            });
            while world.files.waits().is_empty() {
                std::thread::yield_now();
            }
            assert!(world.waits_for(1, 0, &[0]));
            assert!(world.waits.are_on_several_databases(&world.files));
            assert_eq!(world.ended(), [0, 1]);
            drop(held);
            waiting.join().unwrap().unwrap();
        });
    }
}
