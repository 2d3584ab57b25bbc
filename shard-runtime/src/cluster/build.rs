//! Opens a cluster from its configuration: first the control database, then the shards by the recorded layout. Then it finishes
//! global transactions of sessions that have ended.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::Builder;
use super::arrange::{Arranged, Fitted, Registered};
use super::databases::Databases;
use super::elsewhere::{refuse_elsewhere, refuse_orphans};
use super::opening::{self, Opening};
use super::sources::absolute;
use super::url::Source;
use crate::driver::{Check, Mode, Pool};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::planner::sql::Namespace;
use crate::query::Models;
use crate::schema::{Shard, ShardRole};
use crate::tasks::{Counters, SessionExecutor, Workers};
use crate::transaction::Database;
use crate::transaction::change::{self, ChangeRecord, CopyRecord, Switching};
use crate::transaction::commit::{Searches, Unfinished};
use crate::transaction::facts::Facts;
use crate::transaction::recorded::RecordedLayout;
use crate::transaction::{Cluster, ClusterState, Control, Reopen, Retired, WriteLocks, Writers};

/// How often opening starts again because another process has changed the layout meanwhile.
const TRIES: u32 = 5;

impl Builder {
    pub(super) fn build<M: Models>(self, mode: Mode) -> Result<Cluster> {
        self.build_with(&Arc::new(Registered::of::<M>()), mode, None)
    }

    /// Opens the cluster. `control` is its open control database, if this process has opened it before.
    fn build_with(
        &self,
        registered: &Arc<Registered>,
        mode: Mode,
        control: Option<&Arc<Control>>,
    ) -> Result<Cluster> {
        let mut tries = 1;
        loop {
            let is_outdated = AtomicBool::new(false);
            match self.try_build(registered, mode, control, &is_outdated) {
                Err(_) if is_outdated.into_inner() && tries < TRIES => tries += 1,
                built => return built,
            }
        }
    }

    /// Opens the cluster, unless the layout is changed meanwhile: then it sets `is_outdated` and fails.
    fn try_build(
        &self,
        registered: &Arc<Registered>,
        mode: Mode,
        control: Option<&Arc<Control>>,
        is_outdated: &AtomicBool,
    ) -> Result<Cluster> {
        let folder = absolute(&self.folder)?;
        let (declared, source, names) = self.read_configuration(registered, &folder)?;
        self.check_replaced(declared.layout.shards(), mode)?;
        let control = match control {
            Some(control) => Arc::clone(control),
            None => Arc::new(self.open_control(&declared, &source, names, mode)?),
        };
        // A role without the right to read the facts can open the cluster, and makes no shard.
        let facts = match control.facts() {
            Err(error) if error.kind() == ErrorKind::Denied && mode == Mode::Open => Ok(Facts::default()),
            facts => facts,
        };
        let facts = facts.map_err(of_control)?;
        let changes = ChangeRecord::all(&facts);
        if (mode == Mode::Create || self.migrates)
            && let Some(running) = changes.iter().find(|change| change.is_running())
        {
            return Err(change::is_running(running));
        }
        // `create` opens the target of an interrupted copy.
        let (is_copied, has_copy) = (CopyRecord::is_unfinished(&facts), CopyRecord::of(&facts).is_some());
        if mode == Mode::Open {
            CopyRecord::refuse(&facts)?;
        }
        let configured = self.retired(&declared, &facts.layout())?;
        let fitted = self.fit(declared, registered, &control, &facts, mode, &folder)?;
        let Fitted { arranged: Arranged { layout, sources, .. }, recorded, lines, unusable } = fitted;
        let databases = self.databases(&sources);
        let (timeout, connections) = (self.sqlite.busy_timeout, self.connections_to(databases.len())?);
        if mode == Mode::Create || self.migrates {
            let switching = Switching { control: &control, layout: &layout, databases: &databases, timeout };
            if switching.end_key_move()? {
                return Err(changed_meanwhile(is_outdated));
            }
        }
        let retired = retired_among(configured, &databases);
        layout.shards().belong_to(&control.cluster);
        let durable = databases.iter().filter(|database| !database.driver.is_private()).count();
        let facts = match mode {
            Mode::Open => facts,
            Mode::Create => self.begin_to_make(&control, &databases, &layout).map_err(of_control)?,
        };
        let epoch = recorded.epoch;
        let record = Mutex::new(Arc::new(recorded));
        let opened = Databases {
            opening: Opening {
                layout: &layout,
                declared: &lines,
                control: &control,
                facts: &facts,
                record: &record,
                is_outdated,
                databases: &databases,
                replaced: &self.replaced,
                migrates: self.migrates,
                adopts: self.adopts,
                differences: Mutex::default(),
                absent: Mutex::default(),
                has_older_control: AtomicBool::default(),
            },
            timeout,
            prepares: durable > 1 && !self.without_prepared_transactions,
            highest: Mutex::default(),
        }
        .open(mode)
        .map_err(|error| {
            let switching = Switching { control: &control, layout: &layout, databases: &databases, timeout };
            match switching.has_ended(&error) {
                Ok(has_ended) => {
                    is_outdated.fetch_or(has_ended, Ordering::Relaxed);
                    error
                }
                Err(failed) if failed.is_retryable() => failed.with_source(error),
                Err(_) => error,
            }
        })
        .map_err(|error| match error.kind() {
            ErrorKind::WrongDatabase => refuse_elsewhere(&databases, &layout, timeout).err().unwrap_or(error),
            _ => error,
        })?;
        let recorded = record.into_inner().unwrap_or_else(PoisonError::into_inner);
        if recorded.epoch != epoch {
            // `create` has added keys to a group that a change has moved: the group has another rule now.
            return Err(changed_meanwhile(is_outdated));
        }
        if let Some(unusable) = unusable {
            return Err(unusable);
        }
        let is_decided = durable > 1 && control.decides();
        let counters = Counters::new(layout.shards().len());
        let workers = Arc::new(Workers::new(layout.tables().count()));
        let check = identity_check(&layout, databases.len(), &control.cluster)?;
        let drivers = databases.iter().map(|database| Arc::clone(&database.driver)).collect();
        let database_count = databases.len();
        let pool = Pool::new(drivers, opened.connections, connections, timeout, check);
        let sessions = match self.async_sessions {
            Some(sessions) => usize::try_from(sessions).unwrap_or(usize::MAX),
            None => connections / databases.len().max(1),
        };
        let cluster = Cluster(Arc::new(ClusterState {
            writers: Writers::new(databases.len()).into(),
            expected: opening::expected(&layout, &databases, &control.cluster)?,
            layout: Arc::new(layout),
            recorded,
            absent: opened.absent,
            databases,
            control,
            is_decided,
            without_prepared_transactions: self.without_prepared_transactions,
            recovered: Mutex::default(),
            unfinished: Unfinished::default(),
            searches: Searches::new(sources.len()),
            pool,
            write_locks: WriteLocks::new(database_count),
            server_waits: Arc::default(),
            timeout,
            retry: self.retry,
            parallelism: self.parallelism,
            workers,
            session_executor: SessionExecutor::new(sessions, timeout),
            observer: self.observer.clone(),
            known_version: Arc::clone(&self.known_version),
            counters,
            changes,
            retired,
            next: OnceLock::new(),
            reloading: Mutex::default(),
            reopen: self.reopen(registered),
            probes: (0..=database_count).map(|_| Arc::default()).collect(),
        }));
        cluster.recover()?;
        change::serve_decided(&cluster)?;
        if has_copy {
            change::end_copy(&cluster)?;
        }
        if cluster.switching().finish_key_move()? {
            return Err(changed_meanwhile(is_outdated));
        }
        if mode == Mode::Create && is_copied {
            // Otherwise lookup entries and reference tables are filled when all rows are copied.
        } else if mode == Mode::Create {
            cluster.fill_references()?;
            cluster.fill_lookups()?;
        } else if !self.migrates {
            cluster.refuse_unfilled()?;
        }
        Ok(cluster)
    }

    /// Returns the configured shards that a change has retired, with their drivers.
    fn retired(&self, declared: &Arranged, recorded: &RecordedLayout) -> Result<Vec<Retired>> {
        let names = self.shards.iter().map(|(name, _)| name);
        let is_retired = |name: &&String| recorded.role(name) == Some(ShardRole::Retired);
        names
            .filter(is_retired)
            .map(|name| {
                let location = declared.layout.location(declared.layout.shards().require(name)?.index())?;
                let unknown =
                    || Error::new(ErrorKind::UnknownShard, "the shard has no database").on_shard(name);
                let source = declared.sources.get(location.database).ok_or_else(unknown)?;
                let driver = self.driver(source).into();
                Ok(Retired { name: name.clone(), location: location.clone(), driver })
            })
            .collect()
    }

    /// Returns the closure that opens the cluster again.
    fn reopen(&self, registered: &Arc<Registered>) -> Reopen {
        let builder = Builder { migrates: false, replaced: Vec::new(), ..self.clone() };
        let registered = Arc::clone(registered);
        Arc::new(move |control| builder.build_with(&registered, Mode::Open, Some(&control)))
    }

    /// Reads the configuration; no database is accessed. A model may name a shard that is not configured: a change may have
    /// retired it.
    #[cfg(feature = "admin")]
    pub(super) fn described<M: Models>(&self) -> Result<DescribedCluster> {
        let folder = absolute(&self.folder)?;
        let (declared, control_source, control_names) =
            self.read_configuration(&Registered::of::<M>(), &folder)?;
        let Arranged { layout, sources, .. } = declared;
        let databases = self.databases(&sources);
        Ok(DescribedCluster { layout, sources, databases, control_source, control_names })
    }

    /// Returns the shards as they are configured, and the control database.
    pub(super) fn read_configuration(
        &self,
        registered: &Registered,
        folder: &Path,
    ) -> Result<(Arranged, Source, Namespace)> {
        self.check_settings()?;
        let declared = self.declared(registered, folder)?;
        let (source, names) = self.control_source(&declared.sources, &declared.locations, folder)?;
        Ok((declared, source, names))
    }

    /// Opens the control database. `create` makes it if no cluster can lose its own.
    fn open_control(
        &self,
        declared: &Arranged,
        source: &Source,
        names: Namespace,
        mode: Mode,
    ) -> Result<Control> {
        let (databases, layout) = (self.databases(&declared.sources), &declared.layout);
        let timeout = self.sqlite.busy_timeout;
        if self.adopts {
            let opened = Control::open(self.driver(source), names, mode, self.sqlite, layout.tables());
            return opened.map_err(of_control);
        }
        if mode == Mode::Create {
            refuse_elsewhere(&databases, layout, timeout)?;
            refuse_orphans(&databases, &*self.driver(source), &names, layout, timeout)?;
        }
        // A model may name a shard that a change has retired. Otherwise the error is returned before a control database is made.
        let mentioned = layout.check_mentions();
        let mode = if mentioned.is_err() { Mode::Open } else { mode };
        Control::open(self.driver(source), names, mode, self.sqlite, layout.tables()).map_err(|error| {
            if error.kind() == ErrorKind::WrongDatabase
                && let Err(elsewhere) = refuse_elsewhere(&databases, layout, timeout)
            {
                return elsewhere;
            }
            match (error.kind(), mentioned) {
                (ErrorKind::Missing | ErrorKind::WrongDatabase, Err(mentioned)) => mentioned,
                (ErrorKind::Missing, Ok(())) => {
                    let message = format!(
                        "{error}; restore it, name it with `control` if it is elsewhere (by default it is beside the first configured \
                         shard), or run `create` if the cluster is new"
                    );
                    of_control(Error::new(ErrorKind::Missing, message).with_source(error))
                }
                _ => of_control(error),
            }
        })
    }

    fn check_settings(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::new(ErrorKind::Configuration, message));
        let connections = self.connections.unwrap_or(1);
        if !(1..=MOST_CONNECTIONS).contains(&connections) {
            return wrong(format!("`connections` must be between 1 and 10,000, got {connections}"));
        }
        let sessions = self.async_sessions.unwrap_or(1);
        if !(1..=MOST_CONNECTIONS).contains(&sessions) {
            return wrong(format!("`async_sessions` must be between 1 and 10,000, got {sessions}"));
        }
        if self.sqlite.busy_timeout > LONGEST_WAIT {
            return wrong(format!(
                "`busy_timeout` must be at most one day, got {:?}",
                self.sqlite.busy_timeout
            ));
        }
        Ok(())
    }

    /// Returns the limit of connections to this number of databases.
    fn connections_to(&self, databases: usize) -> Result<usize> {
        match self.connections.map(|connections| usize::try_from(connections).unwrap_or(usize::MAX)) {
            None => Ok(databases.saturating_mul(CONNECTIONS)),
            Some(connections) if connections < databases => {
                let message = format!(
                    "`connections` must be at least {databases}, got {connections}: a session may need one of each of the \
                     {databases} databases"
                );
                Err(Error::new(ErrorKind::Configuration, message))
            }
            Some(connections) => Ok(connections),
        }
    }
}

/// Gives databases of retired shards their numbers in the cluster, or numbers above these.
fn retired_among(mut retired: Vec<Retired>, databases: &[Database]) -> Vec<Retired> {
    let used: Vec<String> = databases.iter().map(|database| database.driver.describe()).collect();
    for shard in &mut retired {
        let described = shard.driver.describe();
        let known = used.iter().position(|other| *other == described);
        shard.location.database = known.unwrap_or(databases.len() + shard.location.database);
    }
    retired
}

/// A cluster as its configuration describes it.
#[cfg(feature = "admin")]
pub(super) struct DescribedCluster {
    pub(super) layout: Layout,
    pub(super) sources: Vec<Source>,
    pub(super) databases: Vec<Database>,
    pub(super) control_source: Source,
    pub(super) control_names: Namespace,
}

/// Marks the opening as outdated, so that it starts again, and returns the error of a layout that was changed meanwhile.
fn changed_meanwhile(is_outdated: &AtomicBool) -> Error {
    is_outdated.store(true, Ordering::Relaxed);
    Error::new(ErrorKind::Layout, "the layout was changed while the cluster was opened; open it again")
}

/// Adds to an error that the control database has failed.
fn of_control(error: Error) -> Error {
    Error::new(error.kind(), format!("the control database: {error}")).with_source(error)
}

/// No useful configuration reaches this limit.
const MOST_CONNECTIONS: u32 = 10_000;

/// The default number of connections to each database.
const CONNECTIONS: usize = 10;

/// A day, which is longer than any lock should be held.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the check of every new connection: whether the database is still the shard that was opened. On servers each
/// transaction is checked instead.
fn identity_check(layout: &Layout, databases: usize, cluster: &str) -> Result<Box<Check>> {
    // Shards in one file are replaced together, so that checking the first is enough.
    let named = |shard: &Shard| Ok((shard.clone(), layout.location(shard.index())?.names.clone()));
    let is_checked = |shard: &&Shard| {
        layout.location(shard.index()).is_ok_and(|location| !location.dialect.is_on_server())
    };
    let first = |database| layout.shards_in(database).next().filter(is_checked);
    let shards = (0..databases).map(|database| first(database).map(named).transpose());
    let shards: Vec<Option<(Shard, Namespace)>> = shards.collect::<Result<_>>()?;
    let cluster = cluster.to_owned();
    Ok(Box::new(move |database, connection| match shards.get(database) {
        Some(Some((shard, names))) => opening::check_identity(connection, shard, names, &cluster),
        _ => Ok(()),
    }))
}
