//! The health of a cluster: whether each database answers, within a bounded time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::serialized::serialized;
use crate::cluster::build::LONGEST_WAIT;
use crate::cluster::opening;
use crate::driver::{Connection, Driver, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::planner::sql::Namespace;
use crate::schema::Shard;
use crate::transaction::{Cluster, Database};

/// The pause before another connection attempt to a locked database.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// The state of each database of a cluster: whether it answers; returned by [`Cluster::health`].
///
/// With the feature `serde` it can be serialised: `latency` is the number of seconds `latency_seconds`.
#[derive(Debug)]
#[non_exhaustive]
pub struct Health {
    /// The shards, in their declared order.
    pub shards: Vec<Probe>,
    /// The control database.
    pub control: Probe,
}

/// The answer of one shard, or of the control database.
#[derive(Debug)]
#[non_exhaustive]
pub struct Probe {
    /// The name of the shard, or `control`.
    pub name: String,
    /// The time until it answered or failed.
    pub latency: Duration,
    /// The reason why it does not serve; `None` if it serves.
    pub error: Option<Error>,
}

serialized! { Health { shards, control } }
serialized! { Probe { name, error } and { latency_seconds: latency } }

impl Health {
    /// Returns whether every database has answered and is the expected one.
    pub fn is_healthy(&self) -> bool {
        self.errors().next().is_none()
    }

    /// Returns the errors, of the shards in their order, then of the control database.
    pub fn errors(&self) -> impl Iterator<Item = &Error> {
        self.shards.iter().chain([&self.control]).filter_map(|probe| probe.error.as_ref())
    }
}

impl Health {
    /// Returns a database that does not answer in time, with its error.
    #[cfg(feature = "admin")]
    pub(crate) fn silent(&self) -> Option<(&str, &Error)> {
        self.shards.iter().chain([&self.control]).find_map(|probe| {
            let error = probe.error.as_ref()?;
            let is_silent = matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::ConnectionLost);
            is_silent.then_some((probe.name.as_str(), error))
        })
    }
}

/// Prints a line for each database: `asia: serves, 0.4 ms`.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shards.iter().try_for_each(|probe| writeln!(f, "{probe}"))?;
        write!(f, "{}", self.control)
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.latency.as_secs_f64() * 1_000.0;
        match &self.error {
            None => write!(f, "{}: serves, {milliseconds:.1} ms", self.name),
            Some(error) => write!(f, "{}: {:?} after {milliseconds:.1} ms: {error}", self.name, error.kind()),
        }
    }
}

impl Cluster {
    /// Connects to every database of the cluster at the same time, outside of the pool, and reads which shard it holds. It
    /// returns within the timeout, and never fails: the result has the error of each database.
    ///
    /// A database that takes longer has [`ErrorKind::TimedOut`]. If a system call blocks, the probe's thread keeps running after
    /// that. Until it ends, later probes of this database fail at once. Locks of writers do not delay a probe.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// let health = cluster.health(Duration::from_secs(1));
    /// assert!(health.is_healthy(), "{health}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn health(&self, timeout: Duration) -> Health {
        let cluster = self.latest();
        let control = (&cluster.0.control.driver, &cluster.0.control.names);
        probe(
            &cluster.0.layout,
            &cluster.0.databases,
            control,
            Some(cluster.id()),
            &cluster.0.probes,
            timeout,
        )
    }
}

/// The result of a probe: the error of each shard that does not serve, by its index, and of control under [`CONTROL`].
type Found = (Vec<usize>, Duration, Vec<(usize, Error)>);

/// The index of the control database among those of shards.
const CONTROL: usize = usize::MAX;

/// Probes all databases at once. Without the cluster's id, only the names of the shards are checked.
pub(crate) fn probe(
    layout: &Layout,
    databases: &[Database],
    (control, control_names): (&Arc<dyn Driver>, &Namespace),
    cluster: Option<&str>,
    probes: &[Arc<AtomicBool>],
    timeout: Duration,
) -> Health {
    let began = Instant::now();
    let timeout = timeout.min(LONGEST_WAIT);
    // A driver that meets this deadline returns its own error; otherwise the probe's thread is left running.
    let deadline = began + timeout.mul_f64(0.9);
    let cluster: Option<Arc<str>> = cluster.map(Arc::from);
    let (sender, answers) = channel();
    let mut waiting: Vec<usize> = Vec::new();
    let mut errors: Vec<(usize, Duration, Option<Error>)> = Vec::new();
    let mut targets: Vec<ProbedDatabase> = Vec::new();
    for (index, database) in databases.iter().enumerate() {
        let named = |shard: &Shard| Some((shard.clone(), layout.location(shard.index()).ok()?.names.clone()));
        let shards = layout.shards_in(index).filter_map(named).collect();
        targets.push(ProbedDatabase {
            driver: Arc::clone(&database.driver),
            contents: Contents::Shards(shards),
        });
    }
    targets.push(ProbedDatabase {
        driver: Arc::clone(control),
        contents: Contents::Control(control_names.clone()),
    });
    for (target, is_running) in targets.into_iter().zip(probes) {
        let members = target.contents.members();
        if is_running.swap(true, Ordering::AcqRel) {
            let message = "an earlier probe of the database has not returned";
            let error = || Error::new(ErrorKind::TimedOut, message);
            errors.extend(members.into_iter().map(|member| (member, Duration::ZERO, Some(error()))));
            continue;
        }
        let (run, cluster) = (Running(Arc::clone(is_running)), cluster.clone());
        let sender: Sender<Found> = sender.clone();
        let started = thread::Builder::new().name("sharded-health".to_owned()).spawn(move || {
            let found = target.probe(cluster.as_deref(), deadline);
            let answer = (target.contents.members(), began.elapsed(), found);
            drop((target, run));
            // The caller may have stopped waiting.
            let _ = sender.send(answer);
        });
        match started {
            Ok(_) => waiting.extend(members),
            Err(error) => {
                let message = format!("no thread could be started: {error}");
                let error = || Error::new(ErrorKind::Io, message.clone());
                errors.extend(members.into_iter().map(|member| (member, began.elapsed(), Some(error()))));
            }
        }
    }
    drop(sender);
    while !waiting.is_empty() {
        match answers.recv_timeout(timeout.saturating_sub(began.elapsed())) {
            Ok((members, latency, mut found)) => {
                waiting.retain(|member| !members.contains(member));
                for member in members {
                    let error = found.iter().position(|(at, _)| *at == member);
                    errors.push((member, latency, error.map(|at| found.swap_remove(at).1)));
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    for member in waiting {
        let message = format!("the database did not answer within {timeout:.1?}");
        errors.push((member, began.elapsed(), Some(Error::new(ErrorKind::TimedOut, message))));
    }
    let mut take = |member: usize, name: &str| {
        let at = errors.iter().position(|(other, ..)| *other == member);
        let (_, latency, error) = at.map_or((member, Duration::ZERO, None), |at| errors.swap_remove(at));
        Probe { name: name.to_owned(), latency, error }
    };
    let shards = layout.shards().iter();
    let shards = shards.map(|shard| {
        let probe = take(shard.index(), shard.name());
        Probe { error: probe.error.map(|error| error.on_shard(shard.name())), ..probe }
    });
    let shards = shards.collect();
    Health { shards, control: take(CONTROL, "control") }
}

/// A probe that runs until this is dropped.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A database to probe.
struct ProbedDatabase {
    driver: Arc<dyn Driver>,
    contents: Contents,
}

/// The contents of a database.
enum Contents {
    Shards(Vec<(Shard, Namespace)>),
    Control(Namespace),
}

impl Contents {
    fn members(&self) -> Vec<usize> {
        match self {
            Contents::Shards(shards) => shards.iter().map(|(shard, _)| shard.index()).collect(),
            Contents::Control(_) => vec![CONTROL],
        }
    }
}

impl Contents {
    /// Adds the remedy to the error of a database that does not exist.
    fn with_remedy(&self, error: Error) -> Error {
        match (error.kind(), self) {
            (ErrorKind::Missing, Contents::Shards(_)) => error.with_remedy(
                "mount its disk, restore it, or make it again without its rows (`replace_lost`, `create`)",
            ),
            (ErrorKind::Missing, Contents::Control(_)) => error.with_remedy("mount its disk, or restore it"),
            _ => error,
        }
    }
}

impl ProbedDatabase {
    /// Returns the members that do not serve, each with the reason.
    fn probe(&self, cluster: Option<&str>, deadline: Instant) -> Vec<(usize, Error)> {
        let connection = match self.connect(deadline) {
            Ok(connection) => connection,
            // A writer has locked a database in memory, so that it exists.
            Err(error) if self.driver.is_private() && error.kind() == ErrorKind::Busy => return Vec::new(),
            Err(error) => {
                let error = self.contents.with_remedy(error);
                // Every shard of the database has the error.
                let each = |member| (member, error.copied());
                return self.contents.members().into_iter().map(each).collect();
            }
        };
        connection.set_deadline(Some(deadline));
        match &self.contents {
            // A reader in memory would wait for a writer.
            _ if self.driver.is_private() => Vec::new(),
            Contents::Control(names) => {
                let checked = opening::check_control(&*connection, names, &self.driver.describe());
                checked.err().map(|error| (CONTROL, error)).into_iter().collect()
            }
            Contents::Shards(shards) => {
                let check = |(shard, names): &(Shard, Namespace)| {
                    let checked = match cluster {
                        Some(cluster) => opening::check_identity(&*connection, shard, names, cluster),
                        None => opening::check_name(&*connection, shard, names),
                    };
                    checked.err().map(|error| (shard.index(), error))
                };
                shards.iter().filter_map(check).collect()
            }
        }
    }

    fn connect(&self, deadline: Instant) -> Result<Box<dyn Connection>> {
        loop {
            match self.driver.connect(Mode::Open, Some(deadline)) {
                // Another process recovers the log, or the server has no free connection slot.
                Err(error)
                    if error.kind() == ErrorKind::Busy
                        && !self.driver.is_private()
                        && Instant::now() + TRY_AGAIN < deadline =>
                {
                    thread::sleep(TRY_AGAIN);
                }
                connected => return connected,
            }
        }
    }
}
