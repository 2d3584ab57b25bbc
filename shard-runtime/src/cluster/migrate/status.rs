//! The state of every shard's migrations, as a value.

use std::fmt;

use super::state::{self, StepState};
use super::step::Step;
use crate::driver::{Connection, Mode};
use crate::error::Result;
use crate::planner::Location;
use crate::schema::Shard;
use crate::transaction::Cluster;

/// The progress of a step on a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StepPhase {
    /// It has not begun.
    #[default]
    Pending,
    /// Tables, columns and triggers are added.
    Expand,
    /// Rows are changed, in batches.
    Backfill,
    /// Everything is done except the contract.
    Ready,
    /// Everything is done.
    Done,
}

impl StepPhase {
    /// Returns the name of the phase in the shard's record.
    pub fn name(self) -> &'static str {
        match self {
            StepPhase::Pending => "pending",
            StepPhase::Expand => "expand",
            StepPhase::Backfill => "backfill",
            StepPhase::Ready => "ready",
            StepPhase::Done => "done",
        }
    }

    pub(super) fn parse(name: &str) -> Self {
        let all = [StepPhase::Expand, StepPhase::Backfill, StepPhase::Ready, StepPhase::Done];
        all.into_iter().find(|phase| phase.name() == name).unwrap_or_default()
    }
}

impl fmt::Display for StepPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The migrations of every shard, in the cluster's order. Prints a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrationStatus {
    /// The shards.
    pub shards: Vec<ShardMigrations>,
}

/// The migrations of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardMigrations {
    /// The shard's name.
    pub shard: String,
    /// The version of its schema: the last step up to which all are done, apart from contracts; 1 if none is recorded.
    pub version: u32,
    /// The steps in their order: those that are recorded, and from [`Migration::status`](super::Migration::status) also those
    /// that have not begun. Step 0 has the additions without a step.
    pub steps: Vec<StepStatus>,
    /// The reason why a spare shard is not migrated: it cannot be opened.
    pub left_out: Option<String>,
}

/// One step on one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepStatus {
    /// The step's number.
    pub number: u32,
    /// The step's name.
    pub name: String,
    /// Its progress.
    pub phase: StepPhase,
    /// The number of rows that its backfills have read.
    pub rows: u64,
    /// The error of its last run, if that failed.
    pub error: Option<String>,
}

impl ShardMigrations {
    fn of(shard: &str, states: Vec<StepState>) -> Self {
        let is_run = |step: &&StepState| step.phase >= StepPhase::Ready;
        let version = states.iter().take_while(is_run).map(|step| step.number).max().unwrap_or(1).max(1);
        let steps = states.into_iter().map(|step| StepStatus {
            number: step.number,
            name: step.name,
            phase: step.phase,
            rows: step.rows,
            error: Some(step.error).filter(|error| !error.is_empty()),
        });
        ShardMigrations { shard: shard.to_owned(), version, steps: steps.collect(), left_out: None }
    }

    /// Adds the steps of a program that have not begun.
    pub(super) fn add_pending(&mut self, steps: &[Step]) {
        let is_recorded = |step: &&Step| self.steps.iter().any(|recorded| recorded.number == step.number);
        let pending: Vec<StepStatus> = steps
            .iter()
            .filter(|step| !is_recorded(step))
            .map(|Step { number, name, .. }| StepStatus {
                number: *number,
                name: name.clone(),
                phase: StepPhase::Pending,
                rows: 0,
                error: None,
            })
            .collect();
        self.steps.extend(pending);
        self.steps.sort_by_key(|step| step.number);
    }

    /// Returns a shard that is not migrated.
    pub(in crate::cluster) fn of_left_out(shard: &str, why: &str) -> Self {
        ShardMigrations { left_out: Some(why.to_owned()), ..ShardMigrations::of(shard, Vec::new()) }
    }

    /// Reads the steps that a shard has recorded.
    pub(in crate::cluster) fn read(
        connection: &dyn Connection,
        location: &Location,
        shard: &str,
    ) -> Result<Self> {
        Ok(ShardMigrations::of(shard, state::read(connection, location)?))
    }
}

impl fmt::Display for MigrationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |header: &str, texts: &mut dyn Iterator<Item = usize>| {
            texts.max().unwrap_or_default().max(header.len())
        };
        let shard = width("shard", &mut self.shards.iter().map(|shard| shard.shard.chars().count()));
        let steps = || self.shards.iter().flat_map(|shard| &shard.steps);
        let name = width("step", &mut steps().map(|step| step.name.chars().count() + 4));
        writeln!(
            f,
            "{:shard$}  version  {:name$}  {:8}  {:>10}  last error",
            "shard", "step", "phase", "rows"
        )?;
        for ShardMigrations { shard: of, version, steps, left_out } in &self.shards {
            if steps.is_empty() {
                let why = left_out.as_ref().map_or_else(|| "-".to_owned(), |why| format!("left out: {why}"));
                writeln!(f, "{of:shard$}  {version:>7}  {:name$}  {:8}  {:>10}  {why}", "-", "-", "-")?;
            }
            for StepStatus { number, name: step, phase, rows, error } in steps {
                let step = format!("{number:>3} {step}");
                let error = error.as_deref().unwrap_or("-");
                writeln!(f, "{of:shard$}  {version:>7}  {step:name$}  {phase:8}  {rows:>10}  {error}")?;
            }
        }
        Ok(())
    }
}

#[cfg(feature = "serde")]
mod serialize {
    use serde::ser::{Serialize, SerializeStruct as _, Serializer};

    use super::{MigrationStatus, ShardMigrations, StepStatus};

    impl Serialize for MigrationStatus {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut status = serializer.serialize_struct("MigrationStatus", 1)?;
            status.serialize_field("shards", &self.shards)?;
            status.end()
        }
    }

    impl Serialize for ShardMigrations {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut shard = serializer.serialize_struct("ShardMigrations", 4)?;
            shard.serialize_field("shard", &self.shard)?;
            shard.serialize_field("version", &self.version)?;
            shard.serialize_field("steps", &self.steps)?;
            shard.serialize_field("left_out", &self.left_out)?;
            shard.end()
        }
    }

    impl Serialize for StepStatus {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut step = serializer.serialize_struct("StepStatus", 5)?;
            step.serialize_field("number", &self.number)?;
            step.serialize_field("name", &self.name)?;
            step.serialize_field("phase", self.phase.name())?;
            step.serialize_field("rows", &self.rows)?;
            step.serialize_field("error", &self.error)?;
            step.end()
        }
    }
}

impl Cluster {
    /// Returns the reason why a shard is left out of migrations; `None` if it is not. Only a spare shard that cannot be opened is
    /// left out.
    pub(in crate::cluster) fn left_out(&self, shard: &Shard) -> Option<&str> {
        self.0.absent.iter().find(|(name, _)| name == shard.name()).map(|(_, why)| why.as_str())
    }

    /// Returns the shards that migrations do not leave out, in the cluster's order.
    pub(super) fn opened_shards(&self) -> impl Iterator<Item = &Shard> {
        self.layout().shards().iter().filter(|shard| self.left_out(shard).is_none())
    }

    /// Returns the progress of every shard's migrations. It reads the shards and changes nothing.
    ///
    /// # Errors
    /// Those of connecting to a shard, with its name.
    pub fn migration_status(&self) -> Result<MigrationStatus> {
        let cluster = self.latest();
        let layout = cluster.layout();
        let mut status = MigrationStatus::default();
        for shard in layout.shards().iter() {
            if let Some(why) = cluster.left_out(shard) {
                status.shards.push(ShardMigrations::of_left_out(shard.name(), why));
                continue;
            }
            let location = layout.location(shard.index())?;
            let Some(database) = cluster.0.databases.get(location.database) else { continue };
            let read = database
                .driver
                .connect_waiting(Mode::Open, cluster.0.timeout)
                .and_then(|connection| ShardMigrations::read(&*connection, location, shard.name()));
            status.shards.push(read.map_err(|error| error.on_shard(shard.name()))?);
        }
        Ok(status)
    }
}

impl MigrationStatus {
    /// Returns whether a step has failed and was not run again with success.
    pub fn has_failed(&self) -> bool {
        self.shards.iter().flat_map(|shard| &shard.steps).any(|step| step.error.is_some())
    }

    pub(super) fn is_left_out(&self, shard: &str) -> bool {
        self.shards.iter().any(|of| of.shard == shard && of.left_out.is_some())
    }

    /// Returns whether a step is done except its contract.
    pub fn waits_for_contract(&self) -> bool {
        self.shards.iter().flat_map(|shard| &shard.steps).any(|step| step.phase == StepPhase::Ready)
    }
}
