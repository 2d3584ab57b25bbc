//! The entries of lookups: a session writes them in the same transaction as their rows, whatever the shards of both. Uses
//! `transaction` and `planner`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::UnitOfWork;
use super::foreign_keys::RefusedChange;
use super::pending::{Batch, Pending};
use crate::error::{Error, ErrorKind, Result, TakenValue};
use crate::planner::AnyRow;
use crate::planner::Layout;
use crate::planner::sql::{Param, TableSql};
use crate::query::{Sharded, values_of};
use crate::schema::Table;
use crate::schema::{PlacedLookup, lookup};
use crate::schema::{Shard, ShardSet, Shards};
use crate::value::{Field, Value};

/// The estimated size of an entry, in bytes.
const SIZE: usize = 48;

/// The number of entries that one statement removes.
const CHUNK: usize = 1_000;

/// An entry that is being written.
struct Entry {
    value: Value<'static>,
    /// The shard of the row.
    shard: Shard,
}

impl AnyRow for Entry {
    fn value(&self, _: &Table, column: usize) -> Result<Value<'_>> {
        Ok(match column {
            0 => self.value.borrowed(),
            _ => Value::Text(self.shard.name().into()),
        })
    }
}

/// Entries that will be removed and added.
#[derive(Default)]
pub(crate) struct Changes {
    /// By the shard of the entries, and the index of their table.
    changes: BTreeMap<(usize, usize), EntryChange>,
}

#[derive(Default)]
struct EntryChange {
    /// The removed values, by the shard of their rows.
    removed: BTreeMap<usize, Vec<Value<'static>>>,
    added: Vec<Arc<dyn AnyRow>>,
}

impl Changes {
    /// Removes the entry of a value that a row on this shard no longer has.
    pub(crate) fn remove(
        &mut self,
        lookup: &PlacedLookup,
        value: &Value<'_>,
        shard: usize,
        all: &Shards,
    ) -> Result<()> {
        if let Some(entry) = lookup.entry(value) {
            let change = self.changes.entry((lookup.home(&entry, all)?, lookup.model)).or_default();
            change.removed.entry(shard).or_default().push(entry);
        }
        Ok(())
    }

    /// Adds the entry of a value that a row on this shard has now.
    pub(crate) fn add(
        &mut self,
        lookup: &PlacedLookup,
        value: &Value<'_>,
        shard: usize,
        all: &Shards,
    ) -> Result<()> {
        if let (Some(value), Some(row)) = (lookup.entry(value), all.by_index(shard)) {
            let change = self.changes.entry((lookup.home(&value, all)?, lookup.model)).or_default();
            change.added.push(Arc::new(Entry { value, shard: row.clone() }));
        }
        Ok(())
    }

    /// Replaces the entry of a row whose value or shard has changed.
    pub(crate) fn replace(
        &mut self,
        lookup: &PlacedLookup,
        before: (&Value<'_>, usize),
        after: (&Value<'_>, usize),
        all: &Shards,
    ) -> Result<()> {
        if (lookup.entry(before.0), before.1) == (lookup.entry(after.0), after.1) {
            return Ok(());
        }
        self.remove(lookup, before.0, before.1, all)?;
        self.add(lookup, after.0, after.1, all)
    }

    /// Adds the changes of `others`.
    pub(crate) fn append(&mut self, others: Changes) {
        for (position, EntryChange { removed, mut added }) in others.changes {
            let change = self.changes.entry(position).or_default();
            for (shard, mut values) in removed {
                change.removed.entry(shard).or_default().append(&mut values);
            }
            change.added.append(&mut added);
        }
    }

    fn shards(&self) -> ShardSet {
        self.changes.keys().map(|(shard, _)| *shard).collect()
    }
}

/// A write of one row: its shard, and its values before and after.
pub(crate) struct RowWrite<'v> {
    pub(crate) shard: usize,
    /// Its id.
    pub(crate) id: Value<'v>,
    /// The values that are expected to be stored; empty if they are not known.
    pub(crate) before: &'v [Value<'v>],
    /// The values after the write; empty if the row is removed.
    pub(crate) after: &'v [Value<'v>],
    /// The columns that are written; `None` for all.
    pub(crate) columns: Option<&'v [usize]>,
    /// Whether the row is inserted if it does not exist.
    pub(crate) inserts: bool,
}

impl RowWrite<'_> {
    /// Returns the change that a foreign key may have refused.
    fn refused(&self) -> RefusedChange<'_> {
        match self.after.is_empty() {
            true => RefusedChange::Removed(Some(self.id.borrowed())),
            false => RefusedChange::row(self.after),
        }
    }
}

impl UnitOfWork {
    /// Refuses a row with entries on other shards in a session that is pinned to a shard.
    pub(crate) fn refuse_entries_elsewhere(&self, table: &'static Table, values: &[Value<'_>]) -> Result<()> {
        if self.tx.pinned.is_none() {
            return Ok(());
        }
        self.tx.cluster.layout().lookups_of(table).try_for_each(|lookup| {
            let entry = values.get(lookup.column).and_then(|value| lookup.entry(value));
            let home =
                entry.map(|entry| lookup.home(&entry, self.tx.cluster.layout().shards())).transpose()?;
            let refused =
                home.map_or(Ok(()), |home| self.tx.refuse_elsewhere(home, "the entry of the row's lookup"));
            refused.map_err(|error| table.error_at(lookup.column, error))
        })
    }

    /// Enqueues the entries of a pending row.
    pub(crate) fn enqueue_entries<T: Sharded>(&mut self, row: &T, shard: usize) -> Result<()> {
        if T::LOOKUPS.is_empty() {
            return Ok(());
        }
        let changes = self.entries_of([(row, shard)], Changes::add)?;
        for ((shard, model), change) in changes.changes {
            if let Some(pending) = self.pending.get_mut(shard) {
                change.added.into_iter().for_each(|entry| pending.insert(model, entry, SIZE));
            }
        }
        Ok(())
    }

    /// Returns the changes of the entries of rows, each on its shard: `change` adds or removes.
    pub(crate) fn entries_of<'r, T: Sharded>(
        &self,
        rows: impl IntoIterator<Item = (&'r T, usize)>,
        change: impl Fn(&mut Changes, &PlacedLookup, &Value<'_>, usize, &Shards) -> Result<()>,
    ) -> Result<Changes> {
        let (mut changes, all) = (Changes::default(), self.tx.cluster.layout().shards());
        if T::LOOKUPS.is_empty() {
            return Ok(changes);
        }
        for (row, shard) in rows {
            let values = values_of(row)?;
            for lookup in self.tx.cluster.layout().lookups_of(T::TABLE) {
                let value = values.get(lookup.column).unwrap_or(&Value::Null);
                change(&mut changes, lookup, value, shard, all)?;
            }
        }
        Ok(changes)
    }

    /// Returns the shards with pending rows of models that have lookups, or with pending entries.
    fn pending_with_lookups(&self) -> impl Iterator<Item = usize> {
        let layout = self.tx.cluster.layout();
        let mut models: Vec<usize> = Vec::new();
        for lookup in layout.lookups() {
            models.push(lookup.model);
            models.extend(layout.model(lookup.table).ok());
        }
        let waits = move |pending: &Pending| models.iter().any(|&model| pending.holds(model));
        self.pending.used().filter(move |(_, pending)| waits(pending)).map(|(shard, _)| shard)
    }

    /// Returns the shards to be written together with these; `None` if no lookup is involved. A row and its entries are
    /// written together or not at all. Therefore, if any of these shards has pending rows or entries of lookups, all of
    /// them are written.
    pub(crate) fn with_entries(&self, shards: &ShardSet) -> Option<ShardSet> {
        if self.tx.cluster.layout().lookups().is_empty() {
            return None;
        }
        let concerns = self.pending_with_lookups().any(|shard| shards.contains(shard));
        concerns.then(|| shards.indexes().iter().copied().chain(self.pending_with_lookups()).collect())
    }

    /// Writes the pending changes of these shards, and all pending entries with their rows. Called before entries change.
    pub(crate) fn flush_before_entries(&mut self, shards: &ShardSet) -> Result<()> {
        let all = shards.indexes().iter().copied().chain(self.pending_with_lookups()).collect();
        self.flush_shards(&all)
    }

    /// Removes and adds entries in a savepoint, as the last part of a statement.
    pub(crate) fn write_entries(&mut self, changes: Changes) -> Result<()> {
        if changes.changes.is_empty() {
            return Ok(());
        }
        let layout = self.tx.cluster.shared_layout();
        self.in_savepoint(&changes.shards(), |session| {
            for ((shard, model), EntryChange { removed, added }) in changes.changes {
                let sql = layout.sql(model, shard)?;
                let Some(entries) = layout.tables().nth(model) else { continue };
                for (row_shard, values) in removed {
                    let name = layout.shards().by_index(row_shard).map_or("", Shard::name);
                    let names: Vec<&str> =
                        std::iter::once(name).chain(layout.shards().retired_into(row_shard)).collect();
                    for values in values.chunks(CHUNK) {
                        session.remove_entries(shard, entries, sql, values, &names)?;
                    }
                }
                if !added.is_empty() {
                    let mut batch = Batch::new(model, crate::planner::RowChange::Insert);
                    batch.rows = added;
                    session.send_batch(shard, &mut batch)?;
                    session
                        .tx
                        .record(shard, |redo| redo.rows(&sql.insert, entries, batch.change, batch.rows))?;
                }
            }
            Ok(())
        })
    }

    /// Removes the entries of these values whose rows are on the shard with these names. They are its own name, and those
    /// of shards that a change of the layout has emptied into it.
    ///
    /// The rows had these values when they were locked, so that each entry exists or will exist. A transaction that is
    /// committed on the rows' server may still be prepared on the entries' server. A missing entry is therefore inserted,
    /// which waits for that transaction, and then removed.
    fn remove_entries(
        &mut self,
        shard: usize,
        entries: &'static Table,
        sql: &TableSql,
        values: &[Value<'static>],
        names: &[&str],
    ) -> Result<()> {
        let remove = sql.remove_entries(entries, names.len() == 1);
        let name = names.first().copied().unwrap_or_default();
        let list = || Param::List(values.iter().map(Value::borrowed).collect());
        let shard_name = || Value::Text(name.into());
        let named = match names {
            [_] => Param::Value(shard_name()),
            names => Param::List(names.iter().map(|name| Value::Text((*name).into())).collect()),
        };
        let params = [list(), named];
        let removed = self.tx.execute_on(shard, entries, &remove, &params)?;
        if removed < values.len() as u64
            && let Some(add) = sql.add_missing_entries(entries)
        {
            let names = Param::List(values.iter().map(|_| shard_name()).collect());
            self.tx.execute_on(shard, entries, &add, &[list(), names])?;
            self.tx.execute_on(shard, entries, &remove, &params)?;
        }
        Ok(())
    }

    /// Writes one row by its id, with its entries. The row's values before the write are read under its lock, because
    /// another transaction may have changed the row since it was read.
    pub(crate) fn write_with_entries(
        &mut self,
        table: &'static Table,
        row: &RowWrite<'_>,
        sql: impl Fn(&TableSql) -> String,
        params: &[Param<'_>],
    ) -> Result<u64> {
        if self.tx.cluster.layout().lookups().is_empty() {
            return self.write_row(row, table, sql, params);
        }
        let layout = self.tx.cluster.shared_layout();
        let is_written =
            |lookup: &&PlacedLookup| row.columns.is_none_or(|columns| columns.contains(&lookup.column));
        let lookups: Vec<&PlacedLookup> = layout.lookups_of(table).filter(is_written).collect();
        if lookups.is_empty() {
            return self.write_row(row, table, sql, params);
        }
        // Locked in the cluster's order as far as the shards are known, so that two such sessions do not wait for each
        // other.
        let mut shards = ShardSet::one(row.shard);
        for lookup in &lookups {
            let values = [row.before, row.after].into_iter().filter_map(|values| values.get(lookup.column));
            for entry in values.filter_map(|value| lookup.entry(value)) {
                shards.insert(lookup.home(&entry, layout.shards())?);
            }
        }
        self.flush_before_entries(&shards)?;
        let sql = &sql;
        let write = |session: &mut Self| {
            let own = layout.sql(layout.model(table)?, row.shard)?;
            let mut stored = session.locked_values(table, row.shard, &row.id)?;
            let mut rows = 0;
            if stored.is_empty() && row.inserts {
                // A missing row cannot be locked: another transaction may be about to insert it.
                let columns = params.get(..table.columns.len()).unwrap_or_default();
                rows = session.execute_row(row.shard, table, row, &own.insert_new(table), columns)?;
                if rows == 0 {
                    stored = session.locked_values(table, row.shard, &row.id)?;
                }
            }
            if rows == 0 {
                if row.inserts && stored.is_empty() {
                    let message = "another transaction inserted and deleted the row at the same time; run the transaction again";
                    return Err(Error::new(ErrorKind::Busy, message).in_table(table.name));
                }
                rows = session.execute_row(row.shard, table, row, &sql(own), params)?;
            }
            let mut changes = Changes::default();
            for lookup in lookups.iter().filter(|_| rows > 0) {
                let before = stored.get(lookup.column).unwrap_or(&Value::Null);
                let after = row.after.get(lookup.column).unwrap_or(&Value::Null);
                changes.replace(lookup, (before, row.shard), (after, row.shard), layout.shards())?;
            }
            session.write_entries(changes)?;
            Ok(rows)
        };
        let written = self.without_orphans(|session| session.in_savepoint(&shards, write));
        self.abort_if_transaction_lost(written)
    }

    /// Runs a statement for one row on a shard. Returns how many rows it wrote.
    pub(crate) fn execute_row(
        &mut self,
        shard: usize,
        table: &'static Table,
        row: &RowWrite<'_>,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<u64> {
        let written = self.tx.execute_on(shard, table, sql, params);
        written.map_err(|error| self.explain_refusal(error, shard, table, row.refused()))
    }

    /// Returns the values of a row on its shard, column by column; empty if there is no row. The row is locked until the
    /// transaction ends.
    pub(crate) fn locked_values(
        &self,
        table: &'static Table,
        shard: usize,
        id: &Value<'_>,
    ) -> Result<Vec<Value<'static>>> {
        let layout = self.tx.cluster.layout();
        self.values(table, shard, id, &layout.sql(layout.model(table)?, shard)?.get_to_write())
    }

    /// Returns the values without a lock, for messages only: no write may depend on them.
    pub(crate) fn stored_values(
        &self,
        table: &'static Table,
        shard: usize,
        id: &Value<'_>,
    ) -> Result<Vec<Value<'static>>> {
        let layout = self.tx.cluster.layout();
        self.values(table, shard, id, &layout.sql(layout.model(table)?, shard)?.get)
    }

    fn values(
        &self,
        table: &'static Table,
        shard: usize,
        id: &Value<'_>,
        sql: &str,
    ) -> Result<Vec<Value<'static>>> {
        self.tx.on(shard, table, sql, |statement| {
            let mut rows = statement.query(&[Param::Value(id.borrowed())])?;
            if !rows.advance()? {
                return Ok((Vec::new(), 0));
            }
            let value = |column| table.value_of(column, rows.value(column)).map(Value::into_owned);
            Ok(((0..table.columns.len()).map(value).collect::<Result<_>>()?, 1))
        })
    }
}

/// Explains the error of a duplicate entry: another row has the value.
pub(crate) fn about_entry(layout: &Layout, model: usize, error: Error, values: &[Value<'_>]) -> Error {
    let position = layout.lookups().iter().position(|lookup| lookup.model == model);
    let lookup = position.and_then(|position| Some((position, layout.lookups().get(position)?)));
    let (Some((position, lookup)), ErrorKind::Unique) = (lookup, error.kind()) else { return error };
    let (Some(value), Some(Value::Text(shard))) = (values.get(lookup::VALUE), values.get(lookup::SHARD))
    else {
        return error;
    };
    let message = "another row has this value, which is unique over the cluster; store another one";
    let named = Error::new(ErrorKind::Unique, message).on_shard(shard).in_table(lookup.table.name);
    let taken = TakenValue { lookup: position, value: value.clone().into_owned() };
    // Without the database's error as source: PostgreSQL's error quotes the value.
    named.at_column(lookup.name()).of_taken_value(taken)
}

/// Returns the id of a row, as a parameter.
pub(crate) fn id_value<T: Sharded>(row: &T) -> Result<Value<'_>> {
    row.id().stored_value().map_err(|error| T::TABLE.error_at(T::TABLE.id, error))
}
