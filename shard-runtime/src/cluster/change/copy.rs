//! Copies the rows of a source to the targets: in batches by id, and again if rows have changed meanwhile. Uses `links`,
//! `capture`, `stored`, `writer`, `target`.
//!
//! Every transaction locks the attempt in the databases that it writes before it reads the source. So an attempt that was taken
//! over writes nothing more, and rows that it has read do not overwrite newer ones.

use std::collections::HashMap;
use std::fmt;

use super::capture::{self, Dirty};
use super::links::{Endpoint, Links, LockWait};
use super::rows::Tables;
use super::stored::StoredCopy;
use super::target;
use super::writer::TargetWriter;
use crate::cluster::migrate::backfill;
use crate::driver::Connection;
use crate::error::Result;
use crate::planner::Layout;
use crate::schema::Table;
use crate::transaction::change::{claim_copy, claim_part, let_write};
use crate::transaction::facts::SEPARATOR;
use crate::value::{IdKey, Value};

/// The recorded cursor of a source whose rows were all copied.
const DONE: &str = "done";

/// The number of ids that one statement names.
const CHUNK: usize = 1_000;

/// Copies rows: the connections, the tables, and the attempt.
pub(in crate::cluster) struct Copier<'c> {
    pub(in crate::cluster) links: &'c Links,
    pub(in crate::cluster) tables: &'c Tables<'c>,
    pub(in crate::cluster) sources: Vec<Endpoint<'c>>,
    pub(in crate::cluster) targets: Vec<Endpoint<'c>>,
    pub(in crate::cluster) attempt: Attempt,
}

/// The attempt that writes to the targets.
#[derive(Clone, Copy)]
pub(in crate::cluster) enum Attempt {
    /// Of a change: its number, and the attempt.
    Change(u64, u64),
    /// Of a copy to another cluster, during which only the copy may write there.
    Copy(u64),
}

/// The number of rows of a copied batch, and their table.
pub(in crate::cluster) struct CopyBatch {
    pub(in crate::cluster) rows: u64,
    pub(in crate::cluster) table: &'static Table,
}

impl Copier<'_> {
    /// Runs a transaction on the targets, in which the attempt is locked.
    pub(in crate::cluster) fn write<O>(
        &self,
        wait: LockWait,
        mut run: impl FnMut() -> Result<O>,
    ) -> Result<O> {
        self.links.transaction(&self.targets, wait, || {
            self.each_target(|connection, target| match self.attempt {
                Attempt::Change(change, attempt) => {
                    claim_part(connection, target.location, (change, attempt)).map(drop)
                }
                Attempt::Copy(attempt) => {
                    claim_copy(connection, target.location, attempt)?;
                    let_write(connection, target.location, true)
                }
            })?;
            let done = run()?;
            if let Attempt::Copy(_) = self.attempt {
                self.each_target(|connection, target| let_write(connection, target.location, false))?;
            }
            Ok(done)
        })
    }

    pub(in crate::cluster) fn each_target(
        &self,
        run: impl Fn(&dyn Connection, Endpoint<'_>) -> Result<()>,
    ) -> Result<()> {
        self.targets.iter().try_for_each(|target| {
            run(self.links.at(*target)?, *target).map_err(|error| error.on_shard(target.name))
        })
    }

    /// Makes all targets continue at the same position. Targets are committed one after the other, and a power loss can undo the
    /// last commits of some of them. If one target lacks rows, these are copied to all targets again. Other rows may have changed
    /// since then, so that unique indexes are dropped until all rows are copied.
    ///
    /// The cursors are on disk when this returns: from then on, equal batch numbers mean the same batches.
    pub(in crate::cluster) fn align(&self, layout: &Layout) -> Result<()> {
        self.write(LockWait::Durable, || {
            for source in &self.sources {
                let cursors = self.targets.iter().map(|target| self.cursor(*target, source.name));
                let cursors = cursors.collect::<Result<Vec<_>>>()?;
                let least = cursors.iter().min_by_key(|cursor| cursor.batches).cloned().unwrap_or_default();
                if cursors.iter().all(|cursor| cursor.batches == least.batches) {
                    continue;
                }
                self.each_target(|connection, target| {
                    target::set_cursor(connection, target, source.name, &least.to_string())?;
                    target::drop_all(connection, target, layout)
                })?;
            }
            Ok(())
        })
    }

    /// Reads how far the rows of a source are copied to a target.
    fn cursor(&self, target: Endpoint<'_>, source: &str) -> Result<CopyCursor> {
        let text = target::cursor(self.links.at(target)?, target, source);
        Ok(CopyCursor::read(text.map_err(|error| error.on_shard(target.name))?.as_deref()))
    }

    /// Copies the next batch of a source, after the targets were [aligned](Copier::align). Returns `None` if all rows were
    /// copied.
    pub(in crate::cluster) fn copy_batch(&self, source: usize, limit: u32) -> Result<Option<CopyBatch>> {
        let Some(&from) = self.sources.get(source) else { return Ok(None) };
        let first = self.targets.first().copied().ok_or_else(|| self.tables.unknown())?;
        // A database is attached before a transaction begins.
        let attached = match self.attempt {
            Attempt::Change(..) => self.links.attach(from, &self.targets)?,
            // The snapshot of a copy to another cluster was begun with all others, by the connection of the source.
            Attempt::Copy(_) => None,
        };
        self.write(LockWait::Timeout, || {
            let CopyCursor { batches, position } = self.cursor(first, from.name)?;
            let (mut at, mut after) = match position {
                CopyPosition::Beginning => (0, None),
                CopyPosition::After(table, id) => self.position_after(&table, id),
                CopyPosition::End => return Ok(None),
            };
            let (position, batch) = loop {
                let Some(&table) = self.tables.all().get(at) else { break (CopyPosition::End, None) };
                if !Tables::is_copied(source, table) {
                    (at, after) = (at + 1, None);
                    continue;
                }
                let copied = self.links.snapshot(from, |reader| {
                    let range = (after.as_ref(), limit);
                    match self.copy_stored(reader, source, table, range, attached.as_ref())? {
                        StoredCopy::Copied(copied) => Ok(copied),
                        StoredCopy::Refused => self.copy_after(reader, source, table, range),
                    }
                })?;
                match copied {
                    Some((rows, last)) => {
                        let position = CopyPosition::After(table.name.to_owned(), last);
                        break (position, Some(CopyBatch { rows, table }));
                    }
                    None => (at, after) = (at + 1, None),
                }
            };
            let cursor = CopyCursor { batches: batches + 1, position }.to_string();
            self.each_target(|connection, target| {
                target::set_cursor(connection, target, from.name, &cursor)
            })?;
            Ok(batch)
        })
    }

    /// Returns a table's number, and the id after which its rows are copied; the beginning if the table does not exist.
    fn position_after(&self, table: &str, id: Value<'static>) -> (usize, Option<Value<'static>>) {
        match self.tables.all().iter().position(|own| own.name == table) {
            Some(at) => (at, Some(id)),
            None => (0, None),
        }
    }

    /// Copies the next rows of a table. Returns their number and the last id.
    ///
    /// A row that the target already has is replaced: it was copied as a dirty row, or before an interruption. If it was on
    /// another target, or was deleted since, a dirty entry removes it later.
    fn copy_after(
        &self,
        reader: &dyn Connection,
        source: usize,
        table: &'static Table,
        (after, limit): (Option<&Value<'_>>, u32),
    ) -> Result<Option<(u64, Value<'static>)>> {
        let mut writer = self.writer(source, table)?;
        let mut last = None;
        let rows = self.tables.visit_after(reader, source, table, (after, limit), &mut |row, id| {
            last = Some(id.borrowed().into_owned());
            writer.add(row)
        })?;
        writer.end()?;
        Ok(last.map(|last| (rows, last)))
    }

    /// Returns the connections of the targets.
    fn writers(&self) -> Result<Vec<&dyn Connection>> {
        self.targets.iter().map(|target| self.links.at(*target)).collect()
    }

    /// Returns a writer of a table's rows to the targets.
    fn writer(&self, source: usize, table: &'static Table) -> Result<TargetWriter<'_>> {
        let connections = self.writers()?;
        TargetWriter::new(self.tables, self.targets.iter().copied().zip(connections), source, table)
    }

    /// Copies all rows that have changed on a source. Returns the entries that were handled.
    ///
    /// Entries and rows are read in one snapshot. The copies of all these rows are deleted before any is inserted: a unique value
    /// may have moved from one row to another.
    pub(super) fn catch_up(&self, source: usize, wait: LockWait) -> Result<Vec<Dirty>> {
        let Some(&from) = self.sources.get(source) else { return Ok(Vec::new()) };
        let reader = self.links.at(from)?;
        if capture::is_clean(reader, from).map_err(|error| error.on_shard(from.name))? {
            return Ok(Vec::new());
        }
        let entries = self.write(wait, || {
            self.links.snapshot(from, |reader| {
                let entries = capture::entries(reader, from).map_err(|error| error.on_shard(from.name))?;
                self.copy_dirty(reader, source, &entries)?;
                Ok(entries)
            })
        })?;
        // Only the entries that were read: others may have been committed meanwhile, also with lower numbers.
        let forgotten = self.links.transaction(&[from], wait, || {
            if let Attempt::Change(change, attempt) = self.attempt {
                claim_part(reader, from.location, (change, attempt))?;
            }
            capture::forget(reader, from, &entries)
        });
        forgotten.map_err(|error| error.on_shard(from.name))?;
        Ok(entries)
    }

    fn copy_dirty(&self, reader: &dyn Connection, source: usize, entries: &[Dirty]) -> Result<()> {
        let tables = self.tables.all();
        let mut ids: Vec<Ids> = tables.iter().map(|_| Ids::default()).collect();
        for entry in entries {
            let at =
                tables.iter().position(|table| table.name == entry.table && Tables::is_copied(source, table));
            let Some(own) = at.and_then(|at| ids.get_mut(at)) else { continue };
            match &entry.id {
                Some(id) => own.add(id.clone(), entry.has_moved),
                None => own.is_all = true,
            }
        }
        // Parents come before their children: the ids of descendants are added before the loop reaches their table.
        for (at, &table) in tables.iter().enumerate() {
            let Some(own) = ids.get_mut(at) else { continue };
            if own.is_all {
                self.ids_of_all(reader, source, table)?.into_iter().for_each(|id| own.add(id, true));
            }
            let moved = if self.targets.len() > 1 { std::mem::take(&mut own.moved) } else { Vec::new() };
            for (child_at, child) in self.tables.children_of(table) {
                for parents in moved.chunks(CHUNK) {
                    let found = self.tables.children(reader, source, child, parents)?;
                    if let Some(own) = ids.get_mut(child_at) {
                        found.into_iter().for_each(|id| own.add(id, true));
                    }
                }
            }
        }
        let ids: Vec<(&'static Table, &[Value<'static>])> =
            tables.iter().copied().zip(ids.iter().map(|own| own.list.as_slice())).collect();
        self.replace(reader, source, &ids)
    }

    /// Deletes the copies of rows on the targets, and inserts the current rows of the source. The tables are ordered parents
    /// first.
    pub(in crate::cluster) fn replace(
        &self,
        reader: &dyn Connection,
        source: usize,
        ids: &[(&'static Table, &[Value<'static>])],
    ) -> Result<()> {
        let writers = self.writers()?;
        for &(table, list) in ids.iter().rev() {
            for (at, (target, connection)) in self.targets.iter().zip(&writers).enumerate() {
                if !self.tables.is_fed(source, at, table) {
                    continue;
                }
                let deleted = self.tables.delete(*connection, at, table, list);
                deleted.map_err(|error| error.in_table(table.name).on_shard(target.name))?;
            }
        }
        for &(table, list) in ids {
            self.insert_listed(reader, source, table, list)?;
            // A row may have moved to another source with its id: its copy was deleted, too.
            for other in self.others(source, table) {
                let Some(&from) = self.sources.get(other) else { continue };
                self.links.snapshot(from, |reader| self.insert_listed(reader, other, table, list))?;
            }
        }
        Ok(())
    }

    /// Inserts the rows that a source has of these ids.
    fn insert_listed(
        &self,
        reader: &dyn Connection,
        source: usize,
        table: &'static Table,
        ids: &[Value<'static>],
    ) -> Result<()> {
        let mut writer = self.writer(source, table)?;
        for chunk in ids.chunks(CHUNK) {
            self.tables.visit_listed(reader, source, table, chunk, &mut |row, _| writer.add(row))?;
        }
        writer.end()
    }

    /// Returns the other sources that can have a row with the id of a row of this source.
    pub(super) fn others(&self, source: usize, table: &'static Table) -> impl Iterator<Item = usize> {
        let sources = if self.tables.is_divided(table) { 0 } else { self.sources.len() };
        (0..sources).filter(move |other| *other != source && Tables::is_copied(*other, table))
    }

    /// Returns the ids of all rows of a table on a source and on the targets.
    fn ids_of_all(
        &self,
        reader: &dyn Connection,
        source: usize,
        table: &'static Table,
    ) -> Result<Vec<Value<'static>>> {
        let from = self.sources.get(source).copied().ok_or_else(|| self.tables.unknown())?;
        let mut found = self.tables.all_ids(reader, from, table)?;
        for target in &self.targets {
            found.append(&mut self.tables.all_ids(self.links.at(*target)?, *target, table)?);
        }
        Ok(found)
    }

    /// Counts the remaining entries on all sources.
    pub(super) fn dirty(&self) -> Result<u64> {
        let counts = self.sources.iter().map(|source| capture::count(self.links.at(*source)?, *source));
        counts.sum()
    }
}

/// The position of the copy of a source's rows. Each target records it in the transaction of its rows.
#[derive(Clone, Default)]
struct CopyCursor {
    /// The number of copied batches, which may differ between targets.
    batches: u64,
    position: CopyPosition,
}

#[derive(Clone, Default)]
enum CopyPosition {
    #[default]
    Beginning,
    /// A table, and the last id of it that was copied.
    After(String, Value<'static>),
    /// All rows were copied.
    End,
}

impl CopyCursor {
    /// Reads a recorded cursor. If a target has recorded none, or an unreadable one, it returns the beginning: rows that were
    /// copied are replaced.
    fn read(text: Option<&str>) -> Self {
        let parsed = text.and_then(|text| {
            let (batches, position) = text.split_once(SEPARATOR)?;
            let position = match position {
                DONE => CopyPosition::End,
                position => {
                    let (table, id) = position.split_once(SEPARATOR)?;
                    CopyPosition::After(table.to_owned(), backfill::cursor_id(id).ok().flatten()?)
                }
            };
            Some(CopyCursor { batches: batches.parse().ok()?, position })
        });
        parsed.unwrap_or_default()
    }
}

impl fmt::Display for CopyCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{SEPARATOR}", self.batches)?;
        match &self.position {
            // A text without a table is read as the beginning.
            CopyPosition::Beginning => Ok(()),
            CopyPosition::After(table, id) => write!(f, "{table}{SEPARATOR}{}", backfill::cursor_text(id)),
            CopyPosition::End => f.write_str(DONE),
        }
    }
}

/// Ids without duplicates, in their order.
#[derive(Default)]
struct Ids {
    list: Vec<Value<'static>>,
    /// The ids whose descendants may belong to another target now.
    moved: Vec<Value<'static>>,
    /// For each id, whether it is among the moved ones.
    seen: HashMap<IdKey, bool>,
    /// Whether all rows of the table have to be copied.
    is_all: bool,
}

impl Ids {
    fn add(&mut self, id: Value<'static>, has_moved: bool) {
        let known = self.seen.get(&IdKey::of(&id)).copied();
        if has_moved && known != Some(true) {
            self.moved.push(id.clone());
        }
        self.seen.insert(IdKey::of(&id), has_moved || known == Some(true));
        if known.is_none() {
            self.list.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CopyCursor, CopyPosition};
    use crate::value::Value;

    #[test]
    fn a_cursor_is_read_as_it_was_recorded() {
        for id in [Value::Integer(-7), Value::Text("a\u{1f}b".into())] {
            let position = CopyPosition::After("orders".into(), id.clone());
            let text = CopyCursor { batches: 12, position }.to_string();
            let read = CopyCursor::read(Some(&text));
            assert_eq!(read.batches, 12);
            assert!(
                matches!(read.position, CopyPosition::After(table, after) if table == "orders" && after == id)
            );
        }
        let end = CopyCursor::read(Some(&CopyCursor { batches: 3, position: CopyPosition::End }.to_string()));
        assert!(matches!(end, CopyCursor { batches: 3, position: CopyPosition::End }));
    }

    #[test]
    fn a_cursor_without_batches_is_read_as_the_beginning() {
        let beginning = CopyCursor::default().to_string();
        // The last two are of releases that recorded a cursor on one target only.
        for text in [None, Some(beginning.as_str()), Some("orders\u{1f}01"), Some("done")] {
            assert!(
                matches!(
                    CopyCursor::read(text),
                    CopyCursor { batches: 0, position: CopyPosition::Beginning }
                ),
                "{text:?}"
            );
        }
    }
}
