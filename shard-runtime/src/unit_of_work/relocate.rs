//! Moves a row with all its descendants to the shard of a changed key.

use std::collections::HashMap;

use super::copied::{Copied, column_index, copied_columns};
use super::entries::{Changes, id_value};
use super::version::RowVersion;
use super::{UnitOfWork, version};
use crate::driver::ActualColumn;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::SetColumns;
use crate::planner::sql::{Dialect, Param};
use crate::query::Stored;
use crate::query::{Sharded, values_of};
use crate::schema::DecidesShard;
use crate::schema::PlacedLookup;
use crate::schema::{IdKind, Table};
use crate::schema::{Shard, ShardSet};
use crate::transaction::Gate;
use crate::transaction::commit::encode_values;
use crate::transaction::in_verb_span;
use crate::value::IdKey;
use crate::value::{Field, Value};

/// The number of parents whose children one statement copies.
const CHUNK: usize = 1_000;

/// The rows that [`Session::relocate`](crate::Session::relocate) has moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relocated {
    /// How many rows were moved: the row itself and its descendants. 0 if the row row_write on its shard.
    pub rows: u64,
    /// The ids that have changed, because the database of the shard generates them.
    pub ids: Vec<ChangedId>,
}

/// The new id of a row that was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangedId {
    /// The row's table, without a shard's prefix.
    pub table: &'static str,
    /// The id on the shard that the row has left.
    pub before: i64,
    /// The id on the shard that the row has now.
    pub after: i64,
}

/// The moved rows of one table: their ids on the old and on the new shard.
pub(super) struct Moved {
    table: &'static Table,
    old: Vec<Value<'static>>,
    new: Vec<Value<'static>>,
    /// The changes of their entries.
    entries: Changes,
}

/// The shards from and to which rows move, and the largest number of rows.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) max_rows: u64,
}

impl UnitOfWork {
    /// Changes a row, and moves it with its descendants if it then belongs on another shard.
    pub(crate) fn relocate<T: Sharded<Key: DecidesShard> + Clone>(
        &mut self,
        row: &mut Stored<T>,
        change: impl FnOnce(&mut T),
    ) -> Result<Relocated> {
        let table = T::TABLE;
        self.tx.refuse_row_elsewhere::<T>(row.shard())?;
        let from = self.tx.cluster.layout().shards().index_of(row.shard())?;
        let mut changed = T::clone(row);
        change(&mut changed);
        let to = changed.shard_chooser(self.tx.cluster.layout().shards())?;
        self.tx.refuse_elsewhere(to, "the row").map_err(|error| error.in_table(table.name))?;
        let recorded = row.recorded().map_or(&**row, |recorded| &**recorded);
        let mut changes = changes(recorded, &changed)?;
        let version = version::of(recorded)?;
        if let Some(version) = &version {
            changes.retain(|(column, _)| *column != version.column);
            if from != to || !changes.is_empty() {
                changes.push((version.column, Value::Integer(version.next()?)));
            }
        }
        refuse_another_id::<T>(&changes, row.shard())?;
        in_verb_span(self, "relocate", Some(table), |session| {
            let shards: ShardSet = [from, to].into_iter().collect();
            session.tx.record_shards(Some(table), &shards);
            session.flush()?;
            let columns: SetColumns = changes.iter().map(|(column, _)| *column).collect();
            let copy = row.recorded().unwrap_or(row.row());
            session.refuse_unseen(from, row, copy, &columns)?;
            session.identities.clear();
            let way = Way { from, to, max_rows: u64::MAX };
            let attempt = |session: &mut Self| {
                let mut moved = changed.clone();
                if from != to {
                    session.tx.lock_gates(&shards, &session.family(table), Gate::Exclusive)?;
                }
                if from != to || version.is_some() {
                    let stored = session.locked_values(table, from, &id_value(&**row)?)?;
                    let has_changed = |version: &RowVersion| {
                        stored.get(version.column) != Some(&Value::Integer(version.number))
                    };
                    if stored.is_empty() || version.as_ref().is_some_and(has_changed) {
                        return Err(session.missed(from, row, version.as_ref()));
                    }
                }
                let relocated = match from == to {
                    true => session.change(&moved, &changes, to).map(|()| Relocated::default()),
                    false => session.move_family(&mut moved, &changes, way),
                };
                relocated.map(|relocated| (relocated, moved))
            };
            let relocated = session.without_orphans(|session| session.in_savepoint(&shards, attempt));
            let (relocated, moved) = session.abort_if_transaction_lost(relocated)?;
            let stored = session.look_up::<T>(moved.id(), &ShardSet::one(to))?;
            *row = stored.ok_or_else(|| session.gone_from(&moved, to))?;
            let outcome = session.outcome_on(to)?;
            session.note_write(to, row, columns, outcome)?;
            Ok(relocated)
        })
    }

    /// Writes the changes of a row that row_write on its shard.
    fn change<T: Sharded>(
        &mut self,
        row: &T,
        changes: &[(usize, Value<'static>)],
        shard: usize,
    ) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let table = T::TABLE;
        let layout = self.tx.cluster.shared_layout();
        let columns: Vec<usize> = changes.iter().map(|(column, _)| *column).collect();
        let sql = layout.sql(layout.model(table)?, shard)?.update(table, &columns, None);
        let mut params: Vec<Param<'_>> =
            changes.iter().map(|(_, value)| Param::Value(value.borrowed())).collect();
        params.push(Param::Value(id_value(row)?));
        let mut entries = Changes::default();
        let mut looked_up = layout.lookups_of(table).peekable();
        if looked_up.peek().is_some() {
            let stored = self.locked_values(table, shard, &id_value(row)?)?;
            for lookup in looked_up {
                let changed = changes.iter().find(|(column, _)| *column == lookup.column);
                if let (Some(before), Some((_, after))) = (stored.get(lookup.column), changed) {
                    entries.replace(lookup, (before, shard), (after, shard), layout.shards())?;
                }
            }
        }
        match self.tx.execute_on(shard, table, &sql, &params)? {
            0 => Err(self.gone_from(row, shard)),
            _ => self.write_entries(entries),
        }
    }

    fn gone_from<T: Sharded>(&self, row: &T, shard: usize) -> Error {
        let name = self.tx.cluster.layout().shards().by_index(shard).map_or("", Shard::name);
        let message = format!(
            "the row with id {:?} does not exist; it was deleted, or moved to another shard",
            row.id()
        );
        Error::new(ErrorKind::NotFound, message).in_table(T::TABLE.name).on_shard(name)
    }

    /// Copies a row and its descendants, parents first, and then removes them from the old shard, children first.
    fn move_family<T: Sharded>(
        &mut self,
        row: &mut T,
        changes: &[(usize, Value<'static>)],
        way: Way,
    ) -> Result<Relocated> {
        let table = T::TABLE;
        let ids = [id_value(row)?.into_owned()];
        let root = self.copy(table, table.id, &ids, way, |column, _| {
            changes.iter().find(|(changed, _)| *changed == column).map(|(_, value)| value.clone())
        })?;
        let Some(id) = root.new.first() else { return Err(self.gone_from(row, way.from)) };
        row.set_id(Field::from_value(id.clone()).map_err(|error| table.error_at(table.id, error))?);
        self.move_descendants(vec![root], way, &[])
    }

    /// Copies the descendants of copied rows, and then removes all of them from the old shard, children first. All rows of the
    /// tables `copied` are in the family already.
    pub(super) fn move_descendants(
        &mut self,
        mut family: Vec<Moved>,
        way: Way,
        copied: &[&'static Table],
    ) -> Result<Relocated> {
        let mut next = 0;
        let mut rows: u64 = family.iter().map(|moved| moved.old.len() as u64).sum();
        while let Some(parents) = family.get(next) {
            next += 1;
            let children = self.child_tables(parents.table);
            let mut moved = Vec::with_capacity(children.len());
            for child in children.into_iter().filter(|child| !copied.iter().any(|table| table.is(child))) {
                let left = way.max_rows.saturating_sub(rows);
                let copied = self.copy_children(child, parents, Way { max_rows: left, ..way })?;
                rows += copied.old.len() as u64;
                moved.push(copied);
            }
            family.append(&mut moved);
        }
        let mut relocated = Relocated::default();
        for Moved { table, old, new, .. } in &family {
            relocated.rows += old.len() as u64;
            for (before, after) in old.iter().zip(new).filter(|(before, after)| before != after) {
                if let (Value::Integer(before), Value::Integer(after)) = (before, after) {
                    let (before, after) = (*before, *after);
                    relocated.ids.push(ChangedId { table: table.name, before, after });
                }
            }
        }
        for Moved { table, old, .. } in family.iter().rev() {
            self.remove(table, old, way.from)?;
        }
        let mut entries = Changes::default();
        family.into_iter().for_each(|moved| entries.append(moved.entries));
        self.write_entries(entries)?;
        Ok(relocated)
    }

    /// Returns a table and all tables of descendants.
    fn family(&self, table: &'static Table) -> Vec<&'static Table> {
        let mut family = vec![table];
        let mut next = 0;
        while let Some(&parent) = family.get(next) {
            next += 1;
            family.append(&mut self.child_tables(parent));
        }
        family
    }

    fn child_tables(&self, parent: &'static Table) -> Vec<&'static Table> {
        let is_child = |table: &&'static Table| table.parent.is_some_and(|own| own.table.is(parent));
        self.tx.cluster.layout().tables().filter(is_child).collect()
    }

    /// Copies the children of moved rows, linked to the new ids of their parents.
    fn copy_children(&mut self, table: &'static Table, parents: &Moved, way: Way) -> Result<Moved> {
        let column_of_parent = table.parent.map_or(table.id, |parent| parent.column);
        let mut all = Moved { table, old: Vec::new(), new: Vec::new(), entries: Changes::default() };
        for (old, new) in parents.old.chunks(CHUNK).zip(parents.new.chunks(CHUNK)) {
            let now: HashMap<IdKey, &Value<'static>> = old.iter().map(IdKey::of).zip(new).collect();
            let way = Way { max_rows: way.max_rows.saturating_sub(all.old.len() as u64), ..way };
            let mut moved = self.copy(table, column_of_parent, old, way, |column, value| {
                (column == column_of_parent)
                    .then(|| now.get(&IdKey::of(value)).map(|now| Value::clone(now)))
                    .flatten()
            })?;
            all.old.append(&mut moved.old);
            all.new.append(&mut moved.new);
            all.entries.append(moved.entries);
        }
        Ok(all)
    }

    /// Copies the rows of a table that have one of these values in a column, row by row. Copies every column that the
    /// table has on the old shard. `adapt` returns the values that differ on the new shard. If the databases generate the
    /// ids, the new shard generates new ones.
    pub(super) fn copy(
        &mut self,
        table: &'static Table,
        by: usize,
        values: &[Value<'static>],
        way: Way,
        adapt: impl Fn(usize, &Value<'_>) -> Option<Value<'static>>,
    ) -> Result<Moved> {
        let layout = self.tx.cluster.shared_layout();
        let copied = self.columns_to_copy(table, way)?;
        let columns: Vec<String> = copied.iter().map(|column| column.name().to_owned()).collect();
        let positions: Vec<Option<usize>> = columns.iter().map(|name| column_index(table, name)).collect();
        let counts = table.id_kind == IdKind::Auto;
        let id_at = positions.iter().position(|position| *position == Some(table.id)).unwrap_or_default();
        let model = layout.model(table)?;
        let (source, target) = (layout.sql(model, way.from)?, layout.sql(model, way.to)?);
        let select = source.copy_from(table, &columns, by);
        let insert = target.copy_to(&columns, counts.then_some(id_at));
        let lookups: Vec<&PlacedLookup> = layout.lookups_of(table).collect();
        let mut moved = Moved { table, old: Vec::new(), new: Vec::new(), entries: Changes::default() };
        let mut runs = Vec::new();
        let from_shard = layout.shards().by_index(way.from).map_or("", Shard::name);
        let params = [Param::List(values.iter().map(Value::borrowed).collect())];
        self.tx.on(way.from, table, &select, |reader| {
            // Both shards may be in the same database.
            let mut rows = reader.query_beside_others(&params)?;
            let copied = self.tx.on(way.to, table, &insert, |writer| {
                while rows.advance()? {
                    if moved.old.len() as u64 >= way.max_rows {
                        return Err(Error::new(ErrorKind::TooManyValues, TOO_MANY));
                    }
                    let mut row = Vec::with_capacity(columns.len());
                    for (at, (column, position)) in copied.iter().zip(&positions).enumerate() {
                        let value = column.carried(rows.value(at)).map_err(|error| {
                            let error = Error::from(error).in_table(table.name).at_column(column.name());
                            let id = rows.value(id_at).map_or_else(|_| String::new(), |id| id.to_string());
                            let id_column = columns.get(id_at).map_or("id", String::as_str);
                            error.with_row(&format!("{id_column} {id}")).on_shard(from_shard)
                        })?;
                        let other = position.and_then(|column| adapt(column, &value));
                        let looked_up = lookups.iter().find(|lookup| Some(lookup.column) == *position);
                        if let Some(lookup) = looked_up {
                            let (before, after) =
                                ((&value, way.from), (other.as_ref().unwrap_or(&value), way.to));
                            moved.entries.replace(lookup, before, after, layout.shards())?;
                        }
                        row.push(other.unwrap_or_else(|| value.into_owned()));
                    }
                    let old = row.get(id_at).cloned().unwrap_or(Value::Null);
                    if counts && id_at < row.len() {
                        row.remove(id_at);
                    }
                    let counted = writer.insert(&row)?;
                    encode_values(&row, &mut runs);
                    moved.new.push(if counts { Value::Integer(counted) } else { old.clone() });
                    moved.old.push(old);
                }
                Ok((moved.old.len(), moved.old.len() as u64))
            })?;
            Ok(((), copied as u64))
        })?;
        if !runs.is_empty() {
            self.tx.record(way.to, |redo| redo.runs(&insert, |all| all.append(&mut runs)))?;
        }
        Ok(moved)
    }

    /// Returns all columns that a table has on the old shard, the model's and others. The table must have them on the new
    /// shard, too.
    fn columns_to_copy(&self, table: &'static Table, way: Way) -> Result<Vec<Copied>> {
        let of = |shard: usize| -> Result<(Dialect, Vec<ActualColumn>)> {
            let location = self.tx.cluster.layout().location(shard)?;
            let connection =
                self.tx.databases.get(location.database).and_then(|transaction| transaction.connection());
            let columns = connection.map(|connection| connection.columns(&location.names, table.name));
            Ok((location.dialect, columns.transpose()?.unwrap_or_default()))
        };
        let ((here, columns), (there, others)) = (of(way.from)?, of(way.to)?);
        let shard = self.tx.cluster.layout().shards().by_index(way.to).map_or("", Shard::name);
        copied_columns(table, (here, &columns), (there, &others), shard)
    }

    fn remove(&mut self, table: &'static Table, ids: &[Value<'static>], shard: usize) -> Result<()> {
        let layout = self.tx.cluster.shared_layout();
        let sql = layout.sql(layout.model(table)?, shard)?.remove(table);
        let mut removed = 0;
        for ids in ids.chunks(CHUNK) {
            let params = [Param::List(ids.iter().map(Value::borrowed).collect())];
            removed += self.tx.execute_on(shard, table, &sql, &params)?;
        }
        if removed == ids.len() as u64 {
            return Ok(());
        }
        let message = format!(
            "{} rows were copied to another shard, but only {removed} of them existed here; run the transaction again",
            ids.len()
        );
        let name = self.tx.cluster.layout().shards().by_index(shard).map_or("", Shard::name);
        Err(Error::new(ErrorKind::Busy, message).in_table(table.name).on_shard(name))
    }
}

/// The message for more rows than one transaction may move.
pub(super) const TOO_MANY: &str = "too many rows to move in one transaction";

/// Returns the columns in which two rows differ, each with the value of the second row.
fn changes<T: Sharded>(before: &T, after: &T) -> Result<Vec<(usize, Value<'static>)>> {
    let (before, after) = (values_of(before)?, values_of(after)?);
    let differ = after.into_iter().enumerate().filter(|(column, value)| before.get(*column) != Some(value));
    Ok(differ.map(|(column, value)| (column, value.into_owned())).collect())
}

/// Refuses a change of the id, which descendants hold, also if it is the key.
fn refuse_another_id<T: Sharded>(changes: &[(usize, Value<'static>)], shard: &Shard) -> Result<()> {
    let table = T::TABLE;
    match changes.iter().any(|(column, _)| *column == table.id) {
        true => {
            let error = Error::new(
                ErrorKind::ShardKeyChanged,
                "the id of a stored row cannot be changed; add another row",
            );
            Err(table.error_at(table.id, error.on_shard(shard.name())))
        }
        false => Ok(()),
    }
}
