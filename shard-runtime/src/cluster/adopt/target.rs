//! The database of an adoption: the comparison of its tables, and the check that it may become a shard.

use super::actual;
use super::columns::{self, ComparedTable};
use super::data::TableReader;
use super::report::{AdoptionFinding, AdoptionReport};
use crate::cluster::administration::TableRows;
use crate::cluster::arrange::{Arranged, Registered};
use crate::cluster::builder::Builder;
use crate::cluster::opening;
use crate::cluster::sources::absolute;
use crate::driver::{Connection, Driver, TransactionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Namespace, quoted};
use crate::planner::{Layout, Location};
use crate::query::Models;
use crate::schema::{PlacedLookup, Shard, Table};
use crate::transaction::CLUSTER;
use crate::transaction::facts::{Facts, texts};
use crate::transaction::recorded::AdoptedLayout;

impl Builder {
    /// Reads everything, and writes nothing.
    pub(super) fn report_adoption<M: Models>(&self) -> Result<AdoptionReport> {
        let registered = Registered::of::<M>();
        let folder = absolute(&self.folder)?;
        let (declared, control_source, control_names) = self.read_configuration(&registered, &folder)?;
        let recorded = AdoptedLayout::new(&declared.layout)?.record();
        let configured: Vec<&str> = self.shards.iter().map(|(name, _)| name.as_str()).collect();
        let fitted = self.fit_to(&declared, &registered, &recorded, &[], &configured, &folder)?;
        let Arranged { layout, sources, .. } = fitted.arranged.unwrap_or(declared);
        let mut report = AdoptionReport::default();
        for shard in layout.shards().iter() {
            let location = layout.location(shard.index())?;
            let Some(source) = sources.get(location.database) else { continue };
            report.shard = shard.name().to_owned();
            let control = (self.driver(&control_source), &control_names);
            let read = self.driver(source).connect_to_read(self.sqlite.busy_timeout).and_then(|connection| {
                if !can_look_inside(&*connection, location, &mut report)? {
                    return Ok(());
                }
                self.refuse_shard(&*connection, location, &layout, shard, (&*control.0, control.1))?;
                compare(&*connection, location, &layout, shard, &mut report)
            });
            read.map_err(|error| error.on_shard(shard.name()))?;
        }
        Ok(report)
    }

    /// Refuses a database that is a shard already, unless its adoption was interrupted. Refuses the control database of another
    /// cluster.
    fn refuse_shard(
        &self,
        connection: &dyn Connection,
        location: &Location,
        layout: &Layout,
        shard: &Shard,
        (control, control_names): (&dyn Driver, &Namespace),
    ) -> Result<()> {
        let wrong = |message: String| Err(Error::new(ErrorKind::WrongDatabase, message));
        let at = control.describe();
        let known = match control.connect_to_read(self.sqlite.busy_timeout) {
            Err(error) if error.kind() == ErrorKind::Missing => None,
            Err(error) => {
                let message = format!("the control database: {error}");
                return Err(Error::new(error.kind(), message).with_source(error));
            }
            Ok(control) if !control.exists(control_names, CLUSTER)? => None,
            Ok(control) => {
                let sql = format!("SELECT id FROM {}", control_names.table(CLUSTER));
                let cluster = texts(&*control, &sql, &[])?.into_iter().flatten().next().unwrap_or_default();
                Some((cluster, Facts::read(&*control, control_names)?))
            }
        };
        match (opening::identity(connection, &location.names)?, known) {
            (None, None) => Ok(()),
            (None, Some((_, facts))) => match facts.made() {
                None => Ok(()),
                Some(other) => wrong(format!(
                    "the control database at {at} belongs to a cluster that has a shard `{other}`; name another `control` for this \
                     database"
                )),
            },
            (Some(_), None) => wrong(format!(
                "the database is a shard of a cluster whose control database is not at {at}; name its `control`, and call `open`"
            )),
            (Some(found), Some((cluster, facts))) => {
                opening::check_found(&found, shard, &cluster)?;
                let lines = facts.layout().lines;
                let is_new = |table: &'static Table| lines.of_table(table.name).is_empty();
                let is_unfilled = |lookup: &PlacedLookup| facts.is_unfilled(lookup.entries.name);
                // Further tables are adopted later.
                let is_whole = facts.is_made(shard.name())
                    && !layout.lookups().iter().any(is_unfilled)
                    && !layout.tables().any(is_new);
                match is_whole {
                    false => Ok(()),
                    true => wrong("the database is this shard already; call `open`".to_owned()),
                }
            }
        }
    }
}

/// Finds rights that the role lacks on the schema. Returns whether it can see the tables there.
fn can_look_inside(
    connection: &dyn Connection,
    location: &Location,
    report: &mut AdoptionReport,
) -> Result<bool> {
    let Some(lacking) = actual::lacking_on_schema(connection, location)? else { return Ok(true) };
    let (rights, role) = (lacking.rights, quoted(&lacking.role));
    let schema = location.names.schema.clone().unwrap_or_default();
    let is_hidden = rights.contains("USAGE");
    report.differences.push(AdoptionFinding {
        table: None,
        column: None,
        message: format!("the role {role} lacks the rights {rights} on the schema `{schema}`"),
        remedy: "run this SQL as the owner of the schema".to_owned(),
        sql: vec![format!("GRANT {rights} ON SCHEMA {} TO {role}", quoted(&schema))],
    });
    Ok(!is_hidden)
}

/// Compares all tables and their rows in one transaction that only reads.
fn compare(
    connection: &dyn Connection,
    location: &Location,
    layout: &Layout,
    shard: &Shard,
    report: &mut AdoptionReport,
) -> Result<()> {
    connection.begin(TransactionMode::Read)?;
    let compared = compare_all(connection, location, layout, shard, report);
    let ended = connection.rollback();
    compared.and(ended)
}

fn compare_all(
    connection: &dyn Connection,
    location: &Location,
    layout: &Layout,
    shard: &Shard,
    report: &mut AdoptionReport,
) -> Result<()> {
    let mut compared: Vec<(&'static Table, ComparedTable)> = Vec::new();
    for table in layout.tables().filter(|table| !layout.holds_entries(table)) {
        compared.push((table, columns::compare(connection, location, table, report)?));
    }
    for (table, compared) in compared {
        let reader = TableReader { connection, location, layout, shard, table };
        let read = reader.read(&compared).map_err(|error| error.in_table(table.name))?;
        // The values come first: a column with NULLs cannot become NOT NULL.
        report.differences.extend(read.findings);
        report.differences.extend(compared.differences);
        if !compared.actual.is_empty() {
            report.tables.push(TableRows { table: table.name, rows: read.rows });
            columns::compare_ids(connection, location, table, read.highest, report)?;
        }
        for lookup in layout.lookups_of(table) {
            report.notes.push(
                AdoptionFinding::new(table.name, "rows of other programs have no entries of the `#[lookup]`")
                    .at(lookup.name())
                    .remedy("call `repair` after other programs have written"),
            );
        }
    }
    Ok(())
}
