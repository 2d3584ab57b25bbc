//! The other cluster of a copy: before the copy its tables refuse other writes and lose their indexes, and afterwards they are
//! completed. Uses `change::target` and `transaction::change`.

use crate::cluster::change::copy::{Attempt, Copier};
use crate::cluster::change::links::{Endpoint, Links, LockWait};
use crate::cluster::change::rows::Tables;
use crate::cluster::change::switch::{count_above, id_of, last_id};
use crate::cluster::change::target;
use crate::cluster::migrate::RecordedSteps;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{IdKind, Table};
use crate::transaction::Cluster;
use crate::transaction::change::{CopyRecord, claim_copy, enter_copy, guard};
use crate::transaction::facts::{self, Kind, UNFILLED};

/// Refuses a cluster that has rows.
///
/// # Errors
/// [`ErrorKind::Configuration`]
pub(super) fn check_empty(links: &Links, tables: &Tables<'_>, targets: &[Endpoint<'_>]) -> Result<()> {
    for endpoint in targets {
        for table in tables.all() {
            let sql = format!("SELECT 'one' FROM {} LIMIT 1", endpoint.location.names.table(table.name));
            let found = facts::texts(links.at(*endpoint)?, &sql, &[]);
            let found = found.map_err(|error| error.in_table(table.name).on_shard(endpoint.name))?;
            if !found.is_empty() {
                let message = "the other cluster has rows already, and rows of two clusters are never mixed; copy to a new cluster, or \
                               delete its databases and run `create` again";
                return Err(Error::new(ErrorKind::Configuration, message)
                    .in_table(table.name)
                    .on_shard(endpoint.name));
            }
        }
    }
    Ok(())
}

/// Records the attempt on the targets, blocks other writes there, and drops indexes and constraints.
pub(super) fn begin(
    copier: &Copier<'_>,
    cluster: &Cluster,
    record: &CopyRecord,
    is_continued: bool,
    steps: &RecordedSteps,
) -> Result<()> {
    let layout = &cluster.0.layout;
    // Lookup entries are made when all rows are copied.
    let lookups = layout.lookups().iter();
    let unfilled = lookups.map(|lookup| (Kind::Lookup, lookup.entries.name, UNFILLED.to_owned()));
    cluster.0.control.record(&unfilled.collect::<Vec<_>>())?;
    let tables: Vec<&str> = copier.tables.all().iter().map(|table| table.name).collect();
    copier.links.transaction(&copier.targets, LockWait::Durable, || {
        copier.each_target(|connection, target| {
            enter_copy(connection, target.location, record.attempt)?;
            guard(connection, target.location, &tables)
        })?;
        if !is_continued {
            // While the triggers' locks are held, which wait for writers.
            check_empty(copier.links, copier.tables, &copier.targets)?;
        }
        copier.each_target(|connection, target| {
            steps.record(connection, target.location)?;
            target::drop_all(connection, target, layout)
        })
    })
}

/// Makes indexes and constraints, and makes the targets count ids above those of the sources.
///
/// # Errors
/// [`ErrorKind::Unique`] and others if rows violate one.
pub(super) fn complete(copier: &Copier<'_>) -> Result<()> {
    let mut counters: Vec<(&'static Table, usize, i64)> = Vec::new();
    for &table in copier.tables.all().iter().filter(|table| table.id_kind == IdKind::Auto) {
        for (at, source) in copier.sources.iter().enumerate() {
            let last = last_id(copier.links.at(*source)?, *source, table.name, id_of(table));
            counters.extend(last.map_err(|error| error.on_shard(source.name))?.map(|last| (table, at, last)));
        }
    }
    let Attempt::Copy(attempt) = copier.attempt else { return Ok(()) };
    copier.targets.iter().enumerate().try_for_each(|(at, &target)| {
        let connection = copier.links.at(target)?;
        let done = copier.links.transaction(&[target], LockWait::Timeout, || {
            claim_copy(connection, target.location, attempt)?;
            let fed = counters.iter().filter(|(table, source, _)| copier.tables.is_fed(*source, at, table));
            for (table, _, last) in fed {
                count_above(connection, target, table.name, id_of(table), *last)?;
            }
            let made = target::make_indexes(connection, target)
                .and_then(|()| target::make_constraints(connection, target));
            made.map_err(|error| {
                let remedy = "rows of the source violate an index or a constraint of this shard: change these rows, and run the copy \
                              again";
                if error.is_busy() { error } else { error.with_remedy(remedy) }
            })
        });
        done.map_err(|error| error.on_shard(target.name))
    })
}

/// Validates the constraints that were made without a check of the rows, and runs `ANALYZE`.
pub(super) fn validate(copier: &Copier<'_>) -> Result<()> {
    copier.each_target(|connection, target| {
        target::validate(connection, target)?;
        target::analyze(connection, target, copier.tables.all())
    })
}
