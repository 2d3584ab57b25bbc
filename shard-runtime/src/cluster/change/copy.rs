//! Copies the rows of a source to the targets: in portions by id, and again where rows have changed meanwhile. Uses `links`,
//! `capture`, `target`.
//!
//! Every transaction locks the attempt in the databases that it writes before it reads the source. So an attempt that was
//! taken over writes nothing any more, and what it has read before is not written after something newer.

use std::collections::{BTreeMap, HashSet};

use super::capture::{self, Dirty};
use super::links::{Links, Site, Wait};
use super::rows::{Rows, Tables};
use super::target;
use crate::driver::Connection;
use crate::error::{ErrorKind, Result};
use crate::schema::Table;
use crate::transaction::change::claim_part;
use crate::value::{IdKey, Value};

/// The recorded cursor of a source whose rows were all copied.
const DONE: &str = "done";

/// How many ids one statement names.
const CHUNK: usize = 1_000;

/// How often something is tried again because a unique value was on its way from one row to another.
pub(super) const SWAPS: u32 = 50;

/// What copies rows: the connections, the tables, and the attempt.
pub(super) struct Copier<'c> {
    pub(super) links: &'c Links,
    pub(super) tables: &'c Tables<'c>,
    pub(super) sources: Vec<Site<'c>>,
    pub(super) targets: Vec<Site<'c>>,
    /// The change and the attempt.
    pub(super) attempt: (u64, u64),
}

/// A portion that was copied.
pub(super) struct Portion {
    pub(super) rows: u64,
    pub(super) table: &'static Table,
}

impl Copier<'_> {
    fn claim_targets(&self) -> Result<()> {
        self.targets.iter().try_for_each(|target| {
            claim_part(self.links.at(*target)?, target.place, self.attempt)
                .map(drop)
                .map_err(|error| error.on_shard(target.name))
        })
    }

    /// The target that holds the cursors.
    fn first(&self) -> Result<(&dyn Connection, Site<'_>)> {
        let site = self.targets.first().copied().ok_or_else(super::no_target)?;
        Ok((self.links.at(site)?, site))
    }

    /// Copies the next rows of a source. The first target is committed last: its cursor says what all of them have. Returns `None` if all were copied.
    pub(super) fn portion(&self, source: usize, limit: u32) -> Result<Option<Portion>> {
        let Some(&from) = self.sources.get(source) else { return Ok(None) };
        self.links.transaction(&self.targets, Wait::Timeout, || {
            self.claim_targets()?;
            let (first, first_site) = self.first()?;
            let cursor = target::cursor(first, first_site, from.name)?;
            let Some((mut at, mut after)) = self.position(cursor.as_deref())? else { return Ok(None) };
            loop {
                let Some(&table) = self.tables.all().get(at) else {
                    target::set_cursor(first, first_site, from.name, Some(DONE))?;
                    return Ok(None);
                };
                if !Tables::is_copied(source, table) {
                    (at, after) = (at + 1, None);
                    continue;
                }
                let rows = self.tables.read_after(self.links, source, table, after.as_ref(), limit)?;
                let Some(last) = rows.last_id() else {
                    (at, after) = (at + 1, None);
                    continue;
                };
                // Rows of this portion that are there were copied as dirty ones, or before a stop.
                self.delete(table, &rows.ids())?;
                self.insert(source, table, &rows)?;
                let cursor = super::rows::cursor_text(table, &last);
                target::set_cursor(first, first_site, from.name, Some(&cursor))?;
                // A loss of power must not leave rows on a target that the source has lost.
                self.links.at(from)?.sync()?;
                return Ok(Some(Portion { rows: rows.len() as u64, table }));
            }
        })
    }

    /// The table and the id that a cursor names; the beginning without one, `None` at the end.
    fn position(&self, cursor: Option<&str>) -> Result<Option<(usize, Option<Value<'static>>)>> {
        match cursor {
            None => Ok(Some((0, None))),
            Some(DONE) => Ok(None),
            Some(cursor) => {
                let (table, id) = super::rows::parse_cursor(cursor)?;
                let at = self.tables.all().iter().position(|own| own.name == table).unwrap_or_default();
                Ok(Some((at, Some(id))))
            }
        }
    }

    /// Deletes these ids of a table on all targets.
    fn delete(&self, table: &'static Table, ids: &[Value<'static>]) -> Result<()> {
        for (at, target) in self.targets.iter().enumerate() {
            let deleted = self.tables.delete(self.links.at(*target)?, at, table, ids);
            deleted.map_err(|error| error.in_table(table.name).on_shard(target.name))?;
        }
        Ok(())
    }

    /// Inserts rows where they belong.
    fn insert(&self, source: usize, table: &'static Table, rows: &Rows) -> Result<()> {
        for (at, target) in self.targets.iter().enumerate() {
            let inserted = self.tables.insert(self.links.at(*target)?, source, at, table, rows);
            inserted.map_err(|error| error.in_table(table.name).on_shard(target.name))?;
        }
        Ok(())
    }

    /// Copies rows that have changed on a source, up to so many entries, or all. Returns how many entries were handled, and
    /// the ids that were copied.
    pub(super) fn catch_up(
        &self,
        source: usize,
        limit: Option<u64>,
        wait: Wait,
    ) -> Result<(u64, Vec<Dirty>)> {
        let Some(&from) = self.sources.get(source) else { return Ok((0, Vec::new())) };
        let reader = self.links.at(from)?;
        let on_targets = match wait {
            Wait::Timeout => Wait::Durably,
            wait => wait,
        };
        let (mut tried, mut before) = (0, 0);
        let entries = loop {
            let entries = capture::entries(reader, from, limit).map_err(|error| error.on_shard(from.name))?;
            if entries.is_empty() {
                return Ok((0, entries));
            }
            let copied = self.links.transaction(&self.targets, on_targets, || {
                self.claim_targets()?;
                self.copy_dirty(source, &entries)?;
                reader.sync()
            });
            match copied {
                // A unique value has gone from one row to another since the entries were read: both have entries now.
                Err(error)
                    if error.kind() == ErrorKind::Unique && tried < SWAPS && entries.len() > before =>
                {
                    (tried, before) = (tried + 1, entries.len());
                }
                copied => {
                    copied?;
                    break entries;
                }
            }
        };
        // Exactly those that were read: others may have been committed meanwhile, with smaller numbers, too.
        self.links
            .transaction(&[from], wait, || {
                claim_part(reader, from.place, self.attempt)?;
                capture::forget(reader, from, &entries)
            })
            .map_err(|error| error.on_shard(from.name))?;
        Ok((entries.len() as u64, entries))
    }

    fn copy_dirty(&self, source: usize, entries: &[Dirty]) -> Result<()> {
        let (mut ids, mut moved): (BTreeMap<usize, Ids>, BTreeMap<usize, Ids>) = Default::default();
        let tables = self.tables.all();
        for entry in entries {
            let at =
                tables.iter().position(|table| table.name == entry.table && Tables::is_copied(source, table));
            if let Some(at) = at {
                ids.entry(at).or_default().add(entry.id.clone());
                if entry.is_moved && self.targets.len() > 1 {
                    moved.entry(at).or_default().add(entry.id.clone());
                }
            }
        }
        // Descendants belong where these rows are. Whether a row is on another target does not tell: it may have been on its way
        // while they were copied. Parents come before their children.
        for (at, &table) in tables.iter().enumerate() {
            let Some(parents) = moved.remove(&at) else { continue };
            for (child_at, child) in self.tables.children_of(table) {
                for parents in parents.list.chunks(CHUNK) {
                    for id in self.tables.children(self.links, source, child, parents)? {
                        ids.entry(child_at).or_default().add(id.clone());
                        moved.entry(child_at).or_default().add(id);
                    }
                }
            }
        }
        // All are deleted before the first is inserted: one may have a unique value that another had.
        for (at, own) in &ids {
            let Some(&table) = tables.get(*at) else { continue };
            for chunk in own.list.chunks(CHUNK) {
                self.delete(table, chunk)?;
            }
        }
        for (at, own) in &ids {
            let Some(&table) = tables.get(*at) else { continue };
            for chunk in own.list.chunks(CHUNK) {
                let rows = self.tables.read_listed(self.links, source, table, chunk)?;
                self.insert(source, table, &rows)?;
            }
        }
        Ok(())
    }

    /// How many entries are left on all sources.
    pub(super) fn dirty(&self) -> Result<u64> {
        let counts = self.sources.iter().map(|source| capture::count(self.links.at(*source)?, *source));
        counts.sum()
    }
}

/// Ids without duplicates, in their order.
#[derive(Default)]
struct Ids {
    list: Vec<Value<'static>>,
    seen: HashSet<IdKey>,
}

impl Ids {
    fn add(&mut self, id: Value<'static>) {
        if self.seen.insert(IdKey::of(&id)) {
            self.list.push(id);
        }
    }
}
