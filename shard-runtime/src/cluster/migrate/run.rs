//! Runs a migration shard by shard.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::lock::MigrationLock;
use super::on_shard::OnShard;
use super::plan::MigrationPlan;
use super::status::{MigrationStatus, StepPhase};
use super::step::Migrations;
use crate::cluster::Pace;
use crate::cluster::builder::Builder;
use crate::error::{Error, ErrorKind, Result};
use crate::query::Models;
use crate::schema::Shard;
use crate::transaction::Cluster;
use crate::transaction::change::is_running;

/// A migration that can run; made by [`Builder::migrate`].
pub struct Migration<M> {
    builder: Builder,
    pub(super) cluster: Cluster,
    pub(super) migrations: Migrations,
    pub(super) plan: MigrationPlan,
    pub(super) rows: u32,
    pub(super) rest: Duration,
    canary: Option<String>,
    at_once: usize,
    models: PhantomData<fn() -> M>,
}

impl<M> fmt::Debug for Migration<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migration").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// One event of a migration that runs. Prints a line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrationProgress {
    /// The shard's name.
    pub shard: String,
    /// The step's number; 0 for additions without a step.
    pub step: u32,
    /// The step's name.
    pub name: String,
    /// The progress of the step.
    pub phase: StepPhase,
    /// The number of rows that its backfills have read.
    pub rows: u64,
    /// The number of rows that they will have read at the end of the running backfill, as counted after its first batch. `None`
    /// outside of a backfill, and if one batch was enough.
    pub of: Option<u64>,
    /// The SQL that runs next. `None` after a batch, at the end of a step, and during a wait for another migrator or a backup.
    pub sql: Option<String>,
}

impl fmt::Display for MigrationProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MigrationProgress { shard, step, name, phase, rows, of, sql } = self;
        write!(f, "{shard}: step {step} `{name}`: {phase}")?;
        match of {
            Some(of) => write!(f, ", {rows} of about {of} rows")?,
            None if *rows > 0 => write!(f, ", {rows} rows")?,
            None => {}
        }
        match sql {
            Some(sql) => write!(f, ": {sql}"),
            None => Ok(()),
        }
    }
}

impl<M: Models> Migration<M> {
    pub(super) fn new(builder: Builder, cluster: Cluster, migrations: Migrations) -> Result<Self> {
        let plan = MigrationPlan::new(&cluster, &migrations)?;
        Ok(Migration {
            builder,
            cluster,
            migrations,
            plan,
            rows: 1_000,
            rest: Duration::ZERO,
            canary: None,
            at_once: 1,
            models: PhantomData,
        })
    }

    /// Returns the statements that would run, as they were when the migration was made. They are for the current tables: if
    /// several steps change one table, a later one runs on the table that the earlier ones have made.
    pub fn plan(&self) -> &MigrationPlan {
        &self.plan
    }

    /// Returns the progress of every shard, also of the steps that have not begun there.
    ///
    /// # Errors
    /// As [`Cluster::migration_status`].
    pub fn status(&self) -> Result<MigrationStatus> {
        let mut status = self.cluster.migration_status()?;
        let migrated = status.shards.iter_mut().filter(|shard| shard.left_out.is_none());
        migrated.for_each(|shard| shard.add_pending(self.migrations.steps()));
        Ok(status)
    }

    /// Runs contracts, too: drops columns, makes columns NOT NULL. Programs of earlier releases that use these columns then fail.
    /// Without this call no contract runs.
    pub fn contract(mut self) -> Self {
        self.plan.contracts = true;
        self
    }

    /// Sets the pace of backfills. While a batch is written, a SQLite shard is locked for other writers.
    pub fn pace(mut self, pace: Pace) -> Self {
        (self.rows, self.rest) = pace.rows_and_rest();
        self
    }

    /// Migrates this shard first and alone. If it succeeds, the others follow.
    pub fn canary(mut self, shard: impl Into<String>) -> Self {
        self.canary = Some(shard.into());
        self
    }

    /// Migrates up to this number of shards at the same time, after the canary. Default: one after the other, in the cluster's
    /// order.
    pub fn at_once(mut self, shards: usize) -> Self {
        self.at_once = shards.max(1);
        self
    }

    /// Runs the migration, and returns the progress of every shard. `progress` is called for each statement and after each batch.
    ///
    /// It waits for another migrator of the cluster. Decided transactions are applied first. It stops at the first failure;
    /// running it again continues there. If it fails before a contract, programs of the earlier release can still run. A spare
    /// shard with a missing database is left out, as the returned status shows, and the next migration includes it.
    ///
    /// # Errors
    /// They name the shard, the step and the SQL.
    ///
    /// - [`ErrorKind::Stale`] if another migrator has continued a step: the server has ended the connection that holds the
    ///   migration lock.
    /// - [`ErrorKind::Busy`] if a [backup](Cluster::backup) runs longer than the [`busy_timeout`](Builder::busy_timeout), or if a
    ///   lock or a server's connection is not obtained within it.
    /// - [`ErrorKind::Busy`] if rows move too fast for a backfill.
    /// - [`ErrorKind::UnknownShard`] if the canary is not configured.
    /// - Those of [`Builder::create`], which is called at the end to make everything that new models need.
    pub fn run(self, progress: impl Fn(&MigrationProgress) + Send + Sync) -> Result<MigrationStatus> {
        let cluster = &self.cluster;
        let layout = cluster.layout();
        let canary = self.canary.as_deref().map(|name| layout.shards().require(name)).transpose()?;
        let control = &cluster.0.control;
        let _lock = MigrationLock::take(&*control.driver, &control.cluster, cluster.0.timeout, || {
            progress(&MigrationProgress {
                shard: "control".to_owned(),
                step: 0,
                name: "waits for another migrator or a backup".to_owned(),
                phase: StepPhase::Pending,
                rows: 0,
                of: None,
                sql: None,
            });
        })?;
        if let Some(running) = control.changes()?.iter().find(|change| change.is_running()) {
            return Err(is_running(running));
        }
        cluster.recover()?;
        // Another migrator may have changed the shards since the plan was made.
        if MigrationPlan::new(cluster, &self.migrations)?.runs_sql {
            cluster.note_changed_lookups()?;
        }
        let run = |shard: &Shard| {
            let location = layout.location(shard.index())?;
            let on_shard = OnShard { migration: &self, shard, location, progress: &progress };
            on_shard.run().map_err(|error| error.on_shard(shard.name()))
        };
        if let Some(canary) = canary {
            if let Some(why) = cluster.left_out(canary) {
                let message = format!("the canary cannot be opened: {why}");
                return Err(Error::new(ErrorKind::Missing, message).on_shard(canary.name()));
            }
            run(canary)?;
        }
        let others = cluster
            .opened_shards()
            .filter(|shard| canary.is_none_or(|canary| canary.index() != shard.index()));
        let others: Vec<&Shard> = others.collect();
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None::<(usize, Error)>));
        std::thread::scope(|scope| {
            for _ in 0..self.at_once.min(others.len()) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(shard) = others.get(index) else { return };
                        if failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                            return;
                        }
                        let Err(error) = run(shard) else { continue };
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        if failed.as_ref().is_none_or(|(first, _)| index < *first) {
                            *failed = Some((index, error));
                        }
                    }
                });
            }
        });
        if let Some((_, error)) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        self.change_arrived(&progress)?;
        let status = cluster.migration_status()?;
        // Records the layout of new models, and fills new reference tables.
        let builder = self.builder.clone().without(|shard| status.is_left_out(shard));
        match builder.create::<M>() {
            // A model may already declare a column with its type after the contract.
            Err(error)
                if error.kind() == ErrorKind::Schema
                    && !self.plan.contracts
                    && status.waits_for_contract() => {}
            created => drop(created?),
        }
        Ok(status)
    }

    /// Changes the rows that have arrived on shards while backfills ran, and ends their records.
    ///
    /// Programs of the earlier release may move a row while the shards are visited one after the other, so that every visit
    /// misses it. Its record remains, however: the shards are visited again until every recorded row was found.
    fn change_arrived(&self, progress: &(dyn Fn(&MigrationProgress) + Send + Sync)) -> Result<()> {
        if !self.migrations.backfills() {
            return Ok(());
        }
        let layout = self.cluster.layout();
        let each = |run: &mut dyn FnMut(&OnShard<'_, M>) -> Result<()>| {
            self.cluster.opened_shards().try_for_each(|shard| {
                let location = layout.location(shard.index())?;
                let on_shard = OnShard { migration: self, shard, location, progress };
                run(&on_shard).map_err(|error| error.on_shard(shard.name()))
            })
        };
        let began = Instant::now();
        loop {
            let mut are_there = true;
            each(&mut |on_shard| on_shard.change_arrived().map(|all| are_there &= all))?;
            if are_there {
                break;
            }
            if began.elapsed() > self.cluster.0.timeout {
                let message = "rows are deleted or moved to other shards as fast as they arrive, so that a backfill cannot tell \
                               whether it has seen all; run `migrate` again when fewer are";
                return Err(Error::new(ErrorKind::Busy, message));
            }
        }
        each(&mut |on_shard| on_shard.end_arrivals())
    }
}
