//! Copies all rows of a cluster to another one, which may have any other layout. Uses the copy and the comparison of
//! `cluster::change`.
//!
//! | step | where | what |
//! |---|---|---|
//! | 1 | both | impossible copies are refused ([`check`], [`placing`]) |
//! | 2 | source | one snapshot of each database, all of one moment ([`snapshot`]) |
//! | 3 | target | the copy is recorded in control; triggers refuse other writes; indexes are dropped ([`target`]) |
//! | 4 | target | rows are copied by id, with a cursor in the transaction of the rows |
//! | 5 | target | rows that an earlier, interrupted attempt has copied and that differ are copied again ([`repair`]) |
//! | 6 | target | indexes, constraints, counters of ids; then all rows are compared ([`target`], [`report`]) |
//! | 7 | target | entries of lookups, sequences |
//! | 8 | target | control records the copy as complete: the cluster can be opened |
//!
//! An interrupted copy continues when it is run again. It then has another snapshot, so that step 5 compares all rows that were
//! copied before.

mod check;
mod placing;
mod repair;
mod report;
mod snapshot;
mod target;

use std::fmt;

pub use report::{CopiedTable, CopyReport};

use super::change::copy::{Attempt, Copier};
use super::change::links::{Endpoint, Links, LockWait, endpoint_apart};
use super::change::rows::Tables;
use super::migrate::MigrationLock;
use super::{ChangePhase, ChangeProgress, Pace};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{IdKind, Shard};
use crate::transaction::Cluster;
use crate::transaction::change::{CopyRecord, end_copy};
use placing::Placing;
use report::Sums;

/// A copy of a cluster to another one; made by [`Cluster::copy_to`].
#[must_use = "nothing is copied before `run`"]
pub struct ClusterCopy<'c> {
    source: &'c Cluster,
    target: &'c Cluster,
    pace: Pace,
}

impl fmt::Debug for ClusterCopy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterCopy").field("pace", &self.pace).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Prepares a copy of all rows to another cluster, which has the same models and no rows. It can be a test system, have
    /// servers in place of files, or another number of shards. [`ClusterCopy::run`] copies the rows.
    ///
    /// The recorded layout of the other cluster decides the shard of each row. Ids, versions and values stay unchanged, and
    /// generated ids continue above those of this cluster. The other cluster has its own id, its own epoch and its own
    /// transactions.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Pace, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # #[sharded(table = "accounts")]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let folder = std::env::temp_dir().join(format!("sharded-copy-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// # let url = |shard: &str| format!("sqlite:{}", folder.join(shard).display());
    /// # let control = |name: &str| format!("sqlite:{}", folder.join(name).display());
    /// let cluster = Cluster::builder().shard("a", url("a.db")).shard("b", url("b.db")).create::<Account>()?;
    /// # cluster.transaction(|session| session.add_all((0..100).map(|id| Account { id, cents: 100 })))?;
    /// let test = Cluster::builder()
    ///     .shard("test", url("test.db"))
    ///     .control(control("test-control.db"))
    ///     .create::<Account>()?;
    /// let report = cluster.copy_to(&test).pace(Pace::rows(1_000)).run(|progress| println!("{progress}"))?;
    /// println!("{report}");
    /// assert_eq!(report.rows, 100);
    /// assert_eq!(test.session().one(Account::select().all_shards().count())?, 100);
    /// # drop((cluster, test));
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn copy_to<'c>(&'c self, other: &'c Cluster) -> ClusterCopy<'c> {
        ClusterCopy { source: self, target: other, pace: Pace::default() }
    }
}

impl ClusterCopy<'_> {
    /// Sets how many rows one transaction copies, and the rest after it.
    pub fn pace(self, pace: Pace) -> Self {
        ClusterCopy { pace, ..self }
    }

    /// Copies all rows, and compares each with its copy. `progress` is called after each transaction.
    ///
    /// The copy has this cluster's state at one moment, also if it is written meanwhile: it holds each transaction whole or not
    /// at all. Writers wait only at the beginning, until each database has a snapshot. The snapshots are kept until all rows are
    /// compared. Meanwhile the WAL of a file grows, and a server keeps dead rows.
    ///
    /// Until the copy has ended, the other cluster refuses all other writes with [`ErrorKind::ReadOnly`], and
    /// [`open`](crate::Builder::open) refuses it with [`ErrorKind::Layout`]. If the copy fails or its process is killed, open the
    /// other cluster with [`create`](crate::Builder::create) and run it again. It continues with the remaining rows, and takes a
    /// new snapshot: rows that have changed since they were copied are copied again.
    ///
    /// JSON that is copied between a SQLite file and a server is compared for NULL only: they write it differently.
    ///
    /// # Errors
    /// Before anything is written:
    ///
    /// - [`ErrorKind::Configuration`] if both are the same cluster, if a shard is in memory, or if the other cluster has rows.
    /// - [`ErrorKind::Configuration`] if rows of several shards have the same id and belong on one shard there (`#[id(auto)]`).
    /// - [`ErrorKind::UnknownModel`] if the models differ.
    /// - [`ErrorKind::Schema`] if the tables or the steps of their migrations differ.
    /// - [`ErrorKind::Layout`] if a change of a layout runs, or a copy of a third cluster has not ended.
    /// - [`ErrorKind::Busy`] if transactions hold this cluster, or a migration runs.
    ///
    /// Later:
    ///
    /// - [`ErrorKind::Layout`] if the other layout has no shard for a key.
    /// - [`ErrorKind::Unique`], [`ErrorKind::NotNull`] and others if its database refuses a row.
    /// - [`ErrorKind::Stale`] if another process has continued the copy.
    /// - [`ErrorKind::Corrupt`] if copies differ.
    /// - Those of the databases.
    pub fn run(self, mut progress: impl FnMut(&ChangeProgress)) -> Result<CopyReport> {
        self.source.reload()?;
        let (source, target) = (self.source.latest().clone(), self.target.latest().clone());
        check::clusters(&source, &target)?;
        let _unchanged = MigrationLock::share(&*source.0.control.driver, &source.0.control.cluster)
            .map_err(|error| reworded(error, "a migration of the source runs; copy it when it has ended"))?;
        let control = &target.0.control;
        let _own = MigrationLock::take(&*control.driver, &control.cluster, target.0.timeout, || {})?;
        check::changes(&source, &target)?;
        let (sources, targets) = (endpoints(&source, true)?, endpoints(&target, false)?);
        let links = Links::connect(&source, sources.iter().chain(&targets).copied())?;
        snapshot::take(&source, &links, &sources)?;
        let steps = check::steps(&links, &sources, &targets)?;
        let Placing { all, rules, fed } = placing::placing(&source, &target, &sources, &targets)?;
        let endpoints = (sources.clone(), targets.clone());
        let tables = Tables::placed(&links, endpoints, target.0.layout.shards(), all, rules, fed)?;
        placing::check_ids(&links, &tables, &sources)?;
        let is_begun = CopyRecord::is_unfinished(&control.facts()?);
        if !is_begun {
            target::check_empty(&links, &tables, &targets)?;
        }
        let (record, is_continued) = control.begin_copy(&source.0.control.cluster)?;
        let attempt = Attempt::Copy(record.attempt);
        let copier = Copier { links: &links, tables: &tables, sources, targets, attempt };
        if let Err(error) = target::begin(&copier, &target, &record, is_continued, &steps) {
            return Err(match is_continued {
                true => error,
                false => match control.forget_copy(&record) {
                    Ok(()) => error,
                    Err(failed) => error.with_remedy(&format!("forgetting the copy failed, too: {failed}")),
                },
            });
        }
        let work = BegunCopy { source: &source, target: &target, copier: &copier, pace: self.pace };
        let report = work.copy(is_continued, &mut progress)?;
        control.complete_copy(&record)?;
        end_copy(&target)?;
        Ok(report)
    }
}

fn reworded(error: Error, message: &str) -> Error {
    match error.kind() {
        ErrorKind::Busy => Error::new(ErrorKind::Busy, message),
        _ => error,
    }
}

/// Returns the shards that serve.
fn endpoints(cluster: &Cluster, is_source: bool) -> Result<Vec<Endpoint<'_>>> {
    let serving = cluster.0.layout.shards().serving().map(Shard::name);
    serving.map(|name| endpoint_apart(cluster, name, is_source)).collect()
}

/// The parts of a copy that has begun.
struct BegunCopy<'w> {
    source: &'w Cluster,
    target: &'w Cluster,
    copier: &'w Copier<'w>,
    pace: Pace,
}

impl BegunCopy<'_> {
    fn copy(&self, is_continued: bool, progress: &mut impl FnMut(&ChangeProgress)) -> Result<CopyReport> {
        let copier = self.copier;
        let mut state = ChangeProgress::new(self.rows()?);
        let (limit, rest) = self.pace.rows_and_rest();
        copier.align(&self.target.0.layout)?;
        for source in 0..copier.sources.len() {
            while let Some(copied) = copier.copy_batch(source, limit)? {
                state.add(ChangePhase::Copying, copied.table.name, copied.rows);
                progress(&state);
                std::thread::sleep(rest);
            }
        }
        let mut compared = 0;
        let mut compare = |rows: u64, progress: &mut dyn FnMut(&ChangeProgress)| {
            compared += rows;
            state.compared(compared);
            progress(&state);
        };
        let mut repaired = 0;
        if is_continued {
            repaired = repair::repair(copier, self.pace, &mut |rows| compare(rows, progress))?;
        }
        target::complete(copier)?;
        let mut sums = Sums::default();
        let (rows, different) = copier.compare(&mut |seen| {
            sums.add(copier.tables, seen)?;
            if !seen.are_copies {
                compare(seen.rows.len() as u64, progress);
            }
            Ok(())
        })?;
        if let Some(different) = different.first() {
            let id = different.ids.first().map_or_else(String::new, ToString::to_string);
            return Err(copier.differ(different.table, &format!("the row with id {id}")));
        }
        copier.compare_counts()?;
        let tables = sums.compared(copier)?;
        target::validate(copier)?;
        self.target.fill_lookups()?;
        self.advance_sequences()?;
        // Control records next that the copy is complete: the commits on the shards have to be on disk before.
        copier.write(LockWait::Durable, || Ok(()))?;
        Ok(CopyReport { rows, repaired, tables })
    }

    /// Counts the rows of the sources.
    fn rows(&self) -> Result<u64> {
        let mut rows = 0;
        for (at, endpoint) in self.copier.sources.iter().enumerate() {
            for table in self.copier.tables.all().iter().filter(|table| Tables::is_copied(at, table)) {
                let counted = Tables::count(self.copier.links.at(*endpoint)?, *endpoint, table);
                rows += counted.map_err(|error| error.in_table(table.name).on_shard(endpoint.name))?;
            }
        }
        Ok(rows)
    }

    fn advance_sequences(&self) -> Result<()> {
        for table in self.copier.tables.all().iter().filter(|table| table.id_kind == IdKind::Sequence) {
            if let Some(last) = self.source.0.control.last_id(table)? {
                self.target.0.control.advance_ids(table, last)?;
            }
        }
        Ok(())
    }
}
