//! Queries by columns with lookups: reads the entries first, which name the shards of the rows.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::ControlFlow;

use super::UnitOfWork;
use crate::error::Result;
use crate::planner::{Plan, questions};
use crate::query::SelectList;
use crate::query::{Operand, SelectCore, Targeted, Whereabouts};
use crate::schema::ShardSet;
use crate::schema::{PlacedLookup, lookup};
use crate::transaction::DatabaseTransaction;
use crate::value::IdKey;
use crate::value::Value;

/// The shards that each value's row can be on, by the index of the entries' table. There are several if the entry names a
/// shard that a change of the layout has split.
type Answers = HashMap<(usize, IdKey), Vec<usize>>;

/// The entries that a plan depends on, as they were read.
pub(crate) struct EntriesRead {
    /// By the index of each lookup.
    queries: Vec<(usize, SelectCore)>,
    answers: Answers,
}

impl UnitOfWork {
    /// Returns a query or a bulk write with the session's pin and the shards that lookups give for its values. Also
    /// returns the entries that it depends on, if any: another transaction may move the rows before this one has locked
    /// them.
    pub(crate) fn located_to_write<'q, C: Clone + Targeted>(
        &mut self,
        core: &'q C,
    ) -> Result<(Cow<'q, C>, Option<EntriesRead>)> {
        let mut core = self.tx.pinned_query(core)?;
        if self.tx.cluster.layout().lookups().is_empty() || core.wants_nothing() {
            return Ok((core, None));
        }
        let layout = self.tx.cluster.shared_layout();
        let questions = questions(core.target(), &layout)?;
        if questions.is_empty() {
            return Ok((core, None));
        }
        let position =
            |lookup: &PlacedLookup| layout.lookups().iter().position(|other| other.model == lookup.model);
        let queries = questions.into_iter();
        let queries = queries.filter_map(|question| Some((position(question.lookup)?, question.entries)));
        let mut read = EntriesRead { queries: queries.collect(), answers: Answers::new() };
        read.answers = self.read_entries(&read)?;
        let find = |lookup: &PlacedLookup, operand: &Operand| {
            let Some(value) = operand.entry(lookup) else { return Whereabouts::Unknown };
            match read.answers.get(&(lookup.model, IdKey::of(&value))).map(Vec::as_slice) {
                // An entry that names an unknown shard gives no shard.
                Some([]) | None => Whereabouts::Nowhere,
                Some(&[shard]) => layout
                    .shards()
                    .by_index(shard)
                    .map_or(Whereabouts::Nowhere, |shard| Whereabouts::On(shard.clone())),
                Some(_) => Whereabouts::Unknown,
            }
        };
        let target = core.target();
        let located = target.predicate.located(target.table, layout.lookups(), &find);
        core.to_mut().target_mut().located = Some(located);
        Ok((core, Some(read)))
    }

    fn read_entries(&mut self, read: &EntriesRead) -> Result<Answers> {
        let layout = self.tx.cluster.shared_layout();
        let shards = layout.shards();
        let mut answers = Answers::new();
        for (position, query) in &read.queries {
            let Some(lookup) = layout.lookups().get(*position) else { continue };
            let plan = Plan::read(query, SelectList::Rows, &layout)?;
            self.visit_located(&plan, None, &mut |row| {
                let value = row.read(lookup::VALUE, |value| Ok(IdKey::of(&value)))?;
                let shard = row.read(lookup::SHARD, |name| match name {
                    Value::Text(name) => Ok(shards.now_on(&name)),
                    other => Err(crate::value::mismatch("text", &other)),
                })?;
                answers.insert((lookup.model, value), shard);
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(answers)
    }

    /// Returns whether the entries are unchanged since a plan was based on them. They are read again and locked, which
    /// waits for transactions that are about to change them.
    pub(crate) fn locked_entries_are_unchanged(&mut self, read: &mut EntriesRead) -> Result<bool> {
        read.queries.iter_mut().for_each(|(_, query)| query.target.for_update = true);
        let locked = self.read_entries(read)?;
        // After a wait for a lock there may be new rows that are missing in a snapshot from before the wait.
        Ok(locked == read.answers || (self.read_entries(read)? == read.answers))
    }

    /// Returns whether the entries are unchanged, and releases the locks on them.
    pub(crate) fn entries_are_unchanged(&mut self, read: &mut EntriesRead) -> Result<bool> {
        let databases: Vec<usize> = self.tx.writing().collect();
        self.tx.on_databases(&databases, DatabaseTransaction::savepoint)?;
        let same = self.locked_entries_are_unchanged(read);
        self.tx.on_databases(&databases, DatabaseTransaction::rollback_to_savepoint)?;
        same
    }

    /// Returns the shards of these entries.
    pub(crate) fn homes(&self, read: &EntriesRead) -> Result<ShardSet> {
        let layout = self.tx.cluster.layout();
        let plans = read.queries.iter().map(|(_, query)| Plan::read(query, SelectList::Rows, layout));
        let mut homes = ShardSet::none();
        for plan in plans {
            plan?.shards().indexes().iter().for_each(|&shard| {
                homes.insert(shard);
            });
        }
        Ok(homes)
    }

    /// Begins to write on files with rows or entries, in the cluster's order. Otherwise entries of a file could be read
    /// in an older snapshot, and name the row's former shard.
    pub(crate) fn lock_files(&mut self, shards: &ShardSet) -> Result<()> {
        for &shard in shards.indexes() {
            if !self.tx.cluster.layout().location(shard)?.dialect.locks_rows() {
                self.tx.upgrade_to_write(shard)?;
            }
        }
        Ok(())
    }
}
