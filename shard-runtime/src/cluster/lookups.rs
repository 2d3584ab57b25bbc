//! New lookups on tables with rows: `create` fills their entries before any program can open the cluster with them. Uses
//! `verify`.
//!
//! Control records a lookup as [`UNFILLED`] before its table is made and as [`FILLED`] once all rows have entries. So the next
//! `create` continues an interrupted one.

use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::schema::PlacedLookup;
use crate::transaction::facts::{CHANGED, FILLED, Facts, Kind, UNFILLED};
use crate::transaction::recorded::Lines;
use crate::transaction::{Cluster, Control};

/// The number of rows with a shared value that an error names.
const NAMED: usize = 5;

/// Returns the facts to record before the tables are made: the new lookups, and whether their models may have rows.
pub(super) fn unfilled<'l>(
    control: &Control,
    facts: &Facts,
    layout: &'l Layout,
    adopts: bool,
) -> Vec<(Kind, &'l str, String)> {
    let recorded = facts.layout();
    let tables = Lines::tables(recorded.lines.lines());
    // Earlier releases recorded the layout in each shard, and not in control.
    let is_of_older_release = tables.is_empty() && !control.is_new;
    let is_new = |lookup: &&PlacedLookup| {
        let may_have_rows = (adopts && !facts.has_lookup(lookup.entries.name))
            || is_of_older_release
            || (tables.contains(lookup.table.name) && !tables.contains(lookup.entries.name));
        may_have_rows && !facts.is_unfilled(lookup.entries.name)
    };
    let new = layout.lookups().iter().filter(is_new);
    new.map(|lookup| (Kind::Lookup, lookup.entries.name, UNFILLED.to_owned())).collect()
}

impl Cluster {
    /// Makes the entries of rows that are older than their lookup, or whose values a migration step may have changed.
    ///
    /// # Errors
    /// [`ErrorKind::Unique`] if rows share a value. The lookup stays unfilled.
    pub(super) fn fill_lookups(&self) -> Result<()> {
        let (control, lookups) = (&self.0.control, self.layout().lookups());
        if lookups.is_empty() {
            return Ok(());
        }
        let facts = control.facts()?;
        for lookup in lookups.iter().filter(|lookup| facts.is_to_fill(lookup.entries.name)) {
            self.fill_lookup(lookup)?;
            control.record(&[(Kind::Lookup, lookup.entries.name, FILLED.to_owned())])?;
        }
        Ok(())
    }

    /// Makes the entries of a lookup agree with the rows.
    fn fill_lookup(&self, lookup: &PlacedLookup) -> Result<()> {
        let (mut shared, mut first) = (0_u64, None);
        self.verify_lookup(lookup, true, &mut |problem| {
            if !problem.repaired {
                shared += 1;
                first.get_or_insert(problem.value);
            }
        })?;
        let Some(value) = first else { return Ok(()) };
        let rows = self.transaction(|session| session.work.ids_with(lookup, &value, NAMED))?;
        let message = format!(
            "the column is a `#[lookup]`, and {shared} of its values are shared by several rows, one of them by the rows with \
             the ids {}; give each row a value of its own with a program whose model has no `#[lookup]` there, and run `create` \
             or `migrate` again",
            rows.join(", ")
        );
        Err(Error::new(ErrorKind::Unique, message).in_table(lookup.table.name).at_column(lookup.name()))
    }

    /// Records that steps of a migration may change the values of lookups: the next `create` compares the entries with the rows.
    pub(super) fn note_changed_lookups(&self) -> Result<()> {
        let facts = self.0.control.facts()?;
        let filled = self.layout().lookups().iter().filter(|lookup| !facts.is_to_fill(lookup.entries.name));
        let record = filled.map(|lookup| (Kind::Lookup, lookup.entries.name, CHANGED.to_owned()));
        self.0.control.record(&record.collect::<Vec<_>>())
    }

    /// Refuses to open with a lookup that `create` has not filled: lookups by it would not find all rows.
    pub(super) fn refuse_unfilled(&self) -> Result<()> {
        if self.layout().lookups().is_empty() {
            return Ok(());
        }
        let facts = match self.0.control.facts() {
            Err(error) if error.kind() == ErrorKind::Denied => return Ok(()),
            facts => facts?,
        };
        let lookups = &mut self.layout().lookups().iter();
        let Some(lookup) = lookups.find(|lookup| facts.is_unfilled(lookup.entries.name)) else {
            return Ok(());
        };
        let message =
            "the column is a `#[lookup]` that not all rows have entries in yet; run `create` or `migrate`";
        Err(Error::new(ErrorKind::Layout, message).in_table(lookup.table.name).at_column(lookup.name()))
    }
}
