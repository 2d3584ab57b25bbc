//! Compares the rows of a source with their copies on the targets. Uses `copy` and `rows`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::capture::Dirty;
use super::copy::{Attempt, Copier};
use super::rows::{CopiedRows, Tables};
use crate::cluster::administration::serialized;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Dialect;
use crate::schema::Table;
use crate::value::{ColumnType, IdKey, Value};

/// The number of rows that are compared at a time.
const CHUNK: u32 = 2_000;

/// The result of a comparison of the copies with their sources; made by [`Change::verify`](super::Change::verify). Prints a line.
///
/// With the feature `serde` it can be serialised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangeReport {
    /// The number of rows that were compared.
    pub rows: u64,
    /// The number of rows that differ: written since they were copied, or damaged. Written rows are copied again before the
    /// switch.
    pub different: u64,
}

serialized! { ChangeReport { rows, different } }

impl fmt::Display for ChangeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChangeReport { rows, different } = self;
        write!(f, "{rows} rows compared, {different} different")
    }
}

/// Rows that have to be compared under the fence.
#[derive(Default)]
pub(super) struct Touched {
    /// By source and table.
    ids: BTreeMap<(usize, String), Vec<Value<'static>>>,
    seen: HashSet<(usize, String, IdKey)>,
}

impl Touched {
    pub(super) fn add(&mut self, source: usize, entries: Vec<Dirty>) {
        for Dirty { table, id, .. } in entries {
            if let Some(id) = id {
                self.add_id(source, table, id);
            }
        }
    }

    pub(super) fn add_row(&mut self, source: usize, table: &Table, id: Value<'static>) {
        self.add_id(source, table.name.to_owned(), id);
    }

    fn add_id(&mut self, source: usize, table: String, id: Value<'static>) {
        if self.seen.insert((source, table.clone(), IdKey::of(&id))) {
            self.ids.entry((source, table)).or_default().push(id);
        }
    }

    /// Returns the ids of a table's rows on a source.
    pub(super) fn of(&self, source: usize, table: &Table) -> &[Value<'static>] {
        self.ids.get(&(source, table.name.to_owned())).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Rows of one table and source that differ.
pub(in crate::cluster) struct Different {
    pub(in crate::cluster) source: usize,
    pub(in crate::cluster) table: &'static Table,
    pub(in crate::cluster) ids: Vec<Value<'static>>,
}

/// Rows that were read for the comparison.
pub(in crate::cluster) struct ComparedRows<'s> {
    pub(in crate::cluster) source: usize,
    pub(in crate::cluster) table: &'static Table,
    pub(in crate::cluster) rows: &'s CopiedRows,
    /// Whether they were read from a target.
    pub(in crate::cluster) are_copies: bool,
}

/// A function that is called with all rows that are compared.
pub(in crate::cluster) type OnCompared<'s> = dyn FnMut(&ComparedRows<'_>) -> Result<()> + 's;

impl Copier<'_> {
    /// Compares all rows. Returns their number, and those that differ.
    pub(in crate::cluster) fn compare(
        &self,
        on_compared: &mut OnCompared<'_>,
    ) -> Result<(u64, Vec<Different>)> {
        let (mut compared, mut found) = (0, Vec::new());
        for (source, &from) in self.sources.iter().enumerate() {
            for &table in self.tables.all().iter().filter(|table| Tables::is_copied(source, table)) {
                let mut after: Option<Value<'static>> = None;
                loop {
                    let rows = self.links.snapshot(from, |reader| {
                        self.tables.read_after(reader, source, table, (after.as_ref(), CHUNK))
                    })?;
                    let last = rows.last_id().filter(|_| rows.len() == CHUNK as usize);
                    on_compared(&ComparedRows { source, table, rows: &rows, are_copies: false })?;
                    // Other sources have rows between these ids, too, so that only the copies of rows that exist here are read.
                    let ids = match self.sources.len() {
                        1 => self.different(
                            source,
                            table,
                            &rows,
                            (after.as_ref(), last.as_ref()),
                            on_compared,
                        )?,
                        _ => self.compare_listed(source, table, &rows.ids(), on_compared)?,
                    };
                    compared += rows.len() as u64;
                    if !ids.is_empty() {
                        found.push(Different { source, table, ids });
                    }
                    match last {
                        Some(last) => after = Some(last),
                        None => break,
                    }
                }
            }
        }
        Ok((compared, found))
    }

    /// Returns the ids of rows between two ids that differ, or are on one side only.
    fn different(
        &self,
        source: usize,
        table: &'static Table,
        rows: &CopiedRows,
        between: (Option<&Value<'_>>, Option<&Value<'_>>),
        on_compared: &mut OnCompared<'_>,
    ) -> Result<Vec<Value<'static>>> {
        let mut different = Vec::new();
        for (at, target) in self.targets.iter().enumerate() {
            let connection = self.links.at(*target)?;
            let copies = self.tables.read_copies(connection, (source, at), table, between)?;
            on_compared(&ComparedRows { source, table, rows: &copies, are_copies: true })?;
            different.extend(self.unequal(source, at, table, rows, &copies)?);
        }
        Ok(different)
    }

    /// Returns the ids whose rows differ now, of a list.
    pub(in crate::cluster) fn different_listed(
        &self,
        source: usize,
        table: &'static Table,
        ids: &[Value<'static>],
    ) -> Result<Vec<Value<'static>>> {
        self.compare_listed(source, table, ids, &mut |_| Ok(()))
    }

    fn compare_listed(
        &self,
        source: usize,
        table: &'static Table,
        ids: &[Value<'static>],
        on_compared: &mut OnCompared<'_>,
    ) -> Result<Vec<Value<'static>>> {
        let mut different = Vec::new();
        let from = self.sources.get(source).copied().ok_or_else(|| self.tables.unknown())?;
        for ids in ids.chunks(1_000) {
            let rows =
                self.links.snapshot(from, |reader| self.tables.read_listed(reader, source, table, ids))?;
            let fed = |at: &usize| self.tables.is_fed(source, *at, table);
            for at in (0..self.targets.len()).filter(fed) {
                let Some(target) = self.targets.get(at) else { continue };
                let copies = self.tables.copies_listed(self.links.at(*target)?, (source, at), table, ids)?;
                on_compared(&ComparedRows { source, table, rows: &copies, are_copies: true })?;
                let unequal = self.unequal(source, at, table, &rows, &copies)?;
                different.extend(self.without_others(source, table, &rows, unequal)?);
            }
        }
        Ok(different)
    }

    /// Removes the ids that this source lacks and another source has.
    fn without_others(
        &self,
        source: usize,
        table: &'static Table,
        rows: &CopiedRows,
        mut ids: Vec<Value<'static>>,
    ) -> Result<Vec<Value<'static>>> {
        let own: HashSet<IdKey> = rows.ids().iter().map(IdKey::of).collect();
        for other in self.others(source, table) {
            let Some(&from) = self.sources.get(other) else { continue };
            if ids.iter().all(|id| own.contains(&IdKey::of(id))) {
                break;
            }
            let there =
                self.links.snapshot(from, |reader| self.tables.read_listed(reader, other, table, &ids))?;
            let there: HashSet<IdKey> = there.ids().iter().map(IdKey::of).collect();
            ids.retain(|id| own.contains(&IdKey::of(id)) || !there.contains(&IdKey::of(id)));
        }
        Ok(ids)
    }

    fn unequal(
        &self,
        source: usize,
        target: usize,
        table: &'static Table,
        rows: &CopiedRows,
        copies: &CopiedRows,
    ) -> Result<Vec<Value<'static>>> {
        let mut left: HashMap<IdKey, &[Value<'static>]> = HashMap::with_capacity(copies.len());
        for (at, copy) in copies.iter().enumerate() {
            left.extend(copies.id(at).map(|id| (IdKey::of(id), copy)));
        }
        let is_between_databases = self.dialects(source, target).is_some_and(|(a, b)| a != b);
        let mut different = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let Some(id) = rows.id(at) else { continue };
            if self.tables.target_of(source, table, row)?.is_some_and(|belongs| belongs != target) {
                continue;
            }
            match left.remove(&IdKey::of(id)) {
                Some(copy) if self.tables.are_equal(source, table, row, copy, is_between_databases)? => {}
                _ => different.push(id.clone()),
            }
        }
        let more = copies.ids().into_iter().filter(|id| left.contains_key(&IdKey::of(id)));
        different.extend(more);
        Ok(different)
    }

    fn dialects(&self, source: usize, target: usize) -> Option<(Dialect, Dialect)> {
        Some((self.sources.get(source)?.location.dialect, self.targets.get(target)?.location.dialect))
    }

    /// Compares the numbers of rows on sources and targets, table by table.
    pub(in crate::cluster) fn compare_counts(&self) -> Result<()> {
        self.tables.all().iter().try_for_each(|table| self.compare_count(table))
    }

    /// Compares the numbers of rows of a table on sources and targets.
    pub(in crate::cluster) fn compare_count(&self, table: &Table) -> Result<()> {
        match self.counts(table)? {
            (rows, copies) if rows == copies => Ok(()),
            (rows, copies) => {
                Err(self.differ(table, &format!("the sources have {rows} rows, the targets {copies}")))
            }
        }
    }

    /// Counts the rows of a table on the sources, and their copies.
    pub(super) fn counts(&self, table: &Table) -> Result<(u64, u64)> {
        let (mut rows, mut copies) = (0, 0);
        let copied = self.sources.iter().enumerate().filter(|(at, _)| Tables::is_copied(*at, table));
        for (_, source) in copied {
            rows += Tables::count(self.links.at(*source)?, *source, table)?;
        }
        for target in &self.targets {
            copies += Tables::count(self.links.at(*target)?, *target, table)?;
        }
        if table.is_reference() {
            rows *= self.targets.len() as u64;
        }
        Ok((rows, copies))
    }

    /// Returns the error of copies that differ from their source.
    pub(in crate::cluster) fn differ(&self, table: &Table, what: &str) -> Error {
        let remedy = match self.attempt {
            Attempt::Change(..) => "cancel the change, check both databases, and begin it again",
            Attempt::Copy(_) => "check both databases, and run the copy again",
        };
        let message =
            format!("the copies differ from their source although all changes are copied: {what}; {remedy}");
        Error::new(ErrorKind::Corrupt, message).in_table(table.name)
    }
}

/// Returns whether two values of a column are the same, also if their databases write JSON differently.
pub(super) fn is_same(
    kind: Option<ColumnType>,
    row: &Value<'_>,
    copy: &Value<'_>,
    is_between_databases: bool,
) -> bool {
    match kind {
        // `jsonb` keeps no spaces and no order of keys.
        Some(ColumnType::Json) if is_between_databases => {
            matches!(row, Value::Null) == matches!(copy, Value::Null)
        }
        // NaN is not equal to itself; only other programs store it.
        _ => match (row, copy) {
            (Value::Real(row), Value::Real(copy)) => row == copy || (row.is_nan() && copy.is_nan()),
            _ => row == copy,
        },
    }
}
