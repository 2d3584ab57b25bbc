//! How a session writes: batches per shard, rows one by one, many rows at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::link::Link;
use super::pending::Batch;
use super::version::{self, Version};
use super::{Session, Watch};
use crate::commit::{AnyRow, Redo, encode_values};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{IdKind, KeyColumns, Sharded, Table, values_of};
use crate::plan::Plan;
use crate::query::WriteCore;
use crate::shards::{Shard, ShardSet};
use crate::sql::Param;
use crate::stored::Stored;
use crate::value::{Field, Value};

impl Session {
    /// Sends what was changed in a row since it was read or written last, and only those columns. What a
    /// rollback has undone since counts as changed.
    ///
    /// A row with a `#[version]` is written only where it still has the version with which it was read, and gets the
    /// next one; what was put into that field is not looked at.
    ///
    /// A row may be given another [`Parent`](crate::Parent) on its shard. Its id and its shard key stay as they
    /// are, the key even where its new value lives on the same shard.
    ///
    /// # Errors
    /// [`ErrorKind::Moved`] where that is not so; [`ErrorKind::NotFound`] where the row is gone;
    /// [`ErrorKind::Stale`] where somebody else has changed it since;
    /// [`ErrorKind::UnknownShard`] where it is another cluster's; the database's. Then nothing is written, and
    /// the row keeps its changes.
    pub fn update<T: Sharded + Clone>(&mut self, row: &mut Stored<T>) -> Result<()> {
        self.within("update", Some(T::TABLE), |session| session.update_row(row))
    }

    fn update_row<T: Sharded + Clone>(&mut self, row: &mut Stored<T>) -> Result<()> {
        let table = T::TABLE;
        self.refuse_row_elsewhere(row.shard(), table.name)?;
        let shard = self.cluster.shards().place_of(row.shard())?;
        let Some(recorded) = row.recorded().cloned() else { return Ok(()) };
        let (before, after) = (values_of(&*recorded)?, values_of(&**row)?);
        let version = version::of::<T>(&before)?;
        let is_version = |column: usize| version.as_ref().is_some_and(|version| version.place == column);
        let mut changed: Vec<usize> = (0..table.columns.len())
            .filter(|&column| !is_version(column) && before.get(column) != after.get(column))
            .collect();
        self.refuse_move(row, &changed)?;
        if changed.is_empty() {
            drop(after);
            row.settle(None);
            return version.map_or(Ok(()), |version| version.put_back(row));
        }
        let next = version.as_ref().map(Version::next).transpose()?;
        changed.extend(version.as_ref().map(|version| version.place));
        let model = self.cluster.layout().model(table)?;
        let place = version.as_ref().map(|version| version.place);
        let sql = self.cluster.layout().sql(model, shard)?.update(table, &changed, place);
        let columns =
            changed.iter().filter(|&&column| !is_version(column)).filter_map(|&column| after.get(column));
        let next_version = next.map(Value::Integer);
        let found = version.as_ref().map(|version| Value::Integer(version.number));
        let params: Vec<Param<'_>> = columns
            .chain(&next_version)
            .chain(after.get(table.id))
            .chain(&found)
            .map(|value| Param::Value(value.borrowed()))
            .collect();
        if self.write_row(shard, table, &sql, &params)? == 0 {
            let error = self.missed(shard, row, version.as_ref());
            return self.in_the_way(Err(error));
        }
        drop(params);
        drop(after);
        if let (Some(version), Some(next)) = (version, next) {
            version.put(row, next)?;
        }
        let database = self.cluster.layout().place(shard)?.database;
        row.settle(self.links.get(database).and_then(Link::unit));
        self.identities.put(row)
    }

    /// A row stays on its shard: a key that changes is a move, which an update cannot do.
    fn refuse_move<T: Sharded>(&self, row: &Stored<T>, changed: &[usize]) -> Result<()> {
        let table = T::TABLE;
        let said = |what: &str| {
            format!(
                "{what} of a stored row cannot be changed by an update: the row would have to move with all its \
                 descendants, which is `relocate`"
            )
        };
        if changed.contains(&table.id) {
            return Err(table.error_at(
                table.id,
                Error::new(ErrorKind::Moved, "the id of a stored row cannot be changed"),
            ));
        }
        if let KeyColumns::Columns(key) = table.key
            && let Some(&column) = key.iter().find(|column| changed.contains(column))
        {
            let error = Error::new(ErrorKind::Moved, said("the shard key")).on_shard(row.shard().name());
            return Err(table.error_at(column, error));
        }
        if let KeyColumns::Parent(column) = table.key {
            let shards = self.cluster.shards();
            let to = row.shard_chooser(shards)?;
            if to != row.shard().index() {
                let name = shards.at(to).map_or("another shard", |shard| shard.name());
                let what = format!("the parent (now on shard `{name}`)");
                let error = Error::new(ErrorKind::Moved, said(&what)).on_shard(row.shard().name());
                return Err(table.error_at(column, error));
            }
        }
        Ok(())
    }

    /// Removes a row.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where it is gone already, [`ErrorKind::Stale`] where it has a `#[version]` and somebody
    /// else has changed it since it was read, [`ErrorKind::ForeignKey`] where it has children.
    pub fn delete<T: Sharded>(&mut self, row: &Stored<T>) -> Result<()> {
        self.within("delete", Some(T::TABLE), |session| session.delete_row(row))
    }

    fn delete_row<T: Sharded>(&mut self, row: &Stored<T>) -> Result<()> {
        let table = T::TABLE;
        self.refuse_row_elsewhere(row.shard(), table.name)?;
        let shard = self.cluster.shards().place_of(row.shard())?;
        let model = self.cluster.layout().model(table)?;
        let recorded = row.recorded().unwrap_or(row.row());
        let version = version::of::<T>(&values_of(&**recorded)?)?;
        let own = self.cluster.layout().sql(model, shard)?;
        let (mut sql, dialect) = (own.delete.clone(), own.dialect);
        let id = row.id().to_value().map_err(|error| table.error_at(table.id, error))?;
        self.identities.forget::<T>(row.id(), row.shard())?;
        let mut params = vec![Param::Value(id)];
        if let Some(version) = &version {
            sql.push_str(&version.condition(table, dialect));
            params.push(Param::Value(Value::Integer(version.number)));
        }
        match self.write_row(shard, table, &sql, &params)? {
            0 => {
                let error = self.missed(shard, row, version.as_ref());
                self.in_the_way(Err(error))
            }
            _ => Ok(()),
        }
    }

    /// Executes a statement on one shard, after what waits for that shard.
    pub(super) fn write_row(
        &mut self,
        shard: usize,
        table: &'static Table,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<u64> {
        self.flush_shards(&ShardSet::one(shard))?;
        self.begin_write(shard)?;
        let written = self.execute_on(shard, table, sql, params);
        self.noticed(written)
    }

    pub(super) fn begin_write(&mut self, shard: usize) -> Result<()> {
        self.take_write(shard)?;
        let database = self.cluster.layout().place(shard)?.database;
        if let Some(link) = self.links.get_mut(database) {
            link.written.insert(shard);
        }
        Ok(())
    }

    /// Reads to write: every shard can be written before anything is read. Where that fails, on a server perhaps only in
    /// the reading, what was not written before is kept from nobody.
    pub(super) fn locked(
        &mut self,
        table: &'static Table,
        shards: &ShardSet,
        read: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let before: Vec<bool> = self.links.iter().map(Link::may_write).collect();
        let taken = shards.indexes().iter().try_for_each(|&shard| self.take_write(shard));
        taken.map_err(|error| error.in_table(table.name)).and_then(|()| read(self)).inspect_err(|_| {
            let links = self.links.iter_mut().zip(before);
            links.filter(|(link, before)| link.may_write() && !before).for_each(|(link, _)| link.rollback());
        })
    }

    /// Begins a transaction that may write, unless there is one.
    fn take_write(&mut self, shard: usize) -> Result<()> {
        self.check_usable()?;
        let layout = self.cluster.layout();
        let database = layout.place(shard)?.database;
        if let Some(link) = self.links.get_mut(database).filter(|link| !link.may_write()) {
            // What was read in the snapshot that ends here may be changed by others before the next begins.
            let shards = layout.shards_in(database).map(Shard::index).collect();
            self.identities.forget_shards(&shards);
            let name = layout.shards().at(shard).map_or("", Shard::name);
            let begun = link.write(&self.cluster, database).map_err(|error| error.on_shard(name));
            self.in_the_way(begun)?;
        }
        Ok(())
    }

    pub(super) fn execute_on(
        &mut self,
        shard: usize,
        table: &'static Table,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<u64> {
        let rows =
            self.on(shard, table, sql, |statement| statement.execute(params).map(|rows| (rows, rows)))?;
        if rows > 0 {
            self.record(shard, |redo| redo.statement(sql, params))?;
        }
        Ok(rows)
    }

    /// Notes what was done on a shard, where it may have to be done again.
    pub(super) fn record(&mut self, shard: usize, note: impl FnOnce(&mut Redo)) -> Result<()> {
        let database = self.cluster.layout().place(shard)?.database;
        if let Some(redo) = self.links.get_mut(database).and_then(|link| link.redo.as_mut()) {
            note(redo);
        }
        Ok(())
    }

    /// Does something with a statement on a shard's connection, counted and told of. What is done says its
    /// result and how many rows it was about.
    pub(super) fn on<O>(
        &self,
        shard: usize,
        table: &'static Table,
        sql: &str,
        run: impl FnOnce(&mut dyn crate::driver::Prepared) -> Result<(O, u64)>,
    ) -> Result<O> {
        let (shard, mut statement) = self.prepare(shard, sql, Some(table))?;
        let watch = Watch::begin(&self.cluster, shard, Some(table.name), sql);
        let result = run(&mut *statement).map_err(|error| error.on_shard(shard.name()).in_table(table.name));
        let rows = result.as_ref().map_or(0, |(_, rows)| *rows);
        watch.end(&self.cluster, shard, sql, rows, &result);
        result.map(|(result, _)| result)
    }

    pub(crate) fn execute_write(&mut self, core: &WriteCore) -> Result<u64> {
        let cluster = self.cluster.clone();
        let core = self.pinned_query(core, |core| &mut core.target)?;
        let plan = Plan::write(&core, cluster.layout())?;
        let shards = plan.shards();
        self.asks(Some(plan.target.table), &shards);
        self.flush_shards(&shards)?;
        self.identities.clear();
        self.atomically(&shards, |session| {
            plan.steps.iter().try_fold(0_u64, |total, step| {
                let table = plan.target.table;
                let rows =
                    session.execute_on(step.shard, table, &step.statement.sql, &step.statement.params)?;
                Ok(total.saturating_add(rows))
            })
        })
    }

    /// Writes what waits for these shards: all of it or, where a row fails, none of it.
    pub(super) fn flush_shards(&mut self, shards: &ShardSet) -> Result<()> {
        let mut taken: Vec<(usize, Vec<Batch>)> = Vec::new();
        for &shard in shards.indexes() {
            if let Some(pending) = self.pending.get_mut(shard).filter(|pending| !pending.is_empty()) {
                taken.push((shard, pending.take()));
            }
        }
        if taken.is_empty() {
            return Ok(());
        }
        let shards: ShardSet = taken.iter().map(|(shard, _)| *shard).collect();
        let written = self.atomically(&shards, |session| {
            for (shard, batches) in &taken {
                for batch in batches {
                    session.insert_batch(*shard, batch)?;
                }
            }
            Ok(())
        });
        let waits_on = |error: &Error| !error.is_about_a_row() && self.aborted.is_none();
        match &written {
            Ok(()) => {
                let cluster = self.cluster.clone();
                for (shard, batches) in taken {
                    for Batch { model, rows } in batches {
                        let sql = &cluster.layout().sql(model, shard)?.insert;
                        self.record(shard, |redo| redo.rows(sql, rows))?;
                    }
                }
            }
            Err(error) if waits_on(error) => {
                for (shard, batches) in taken {
                    if let Some(pending) = self.pending.get_mut(shard) {
                        pending.put_back(batches);
                    }
                }
            }
            Err(_) => {}
        }
        written
    }

    fn insert_batch(&self, shard: usize, batch: &Batch) -> Result<()> {
        let own = self.cluster.layout().sql(batch.model, shard)?;
        let Some(table) = self.cluster.layout().tables().nth(batch.model) else { return Ok(()) };
        if let Some(lists) = &own.insert_lists {
            let mut chunks = batch.rows.chunks(LISTED);
            return chunks.try_for_each(|rows| self.insert_listed(shard, table, lists, rows));
        }
        let sql = &own.insert;
        self.on(shard, table, sql, |statement| {
            for row in &batch.rows {
                let values = row.values()?;
                statement.insert(&values).map_err(|error| about_row(error, table, &values))?;
            }
            Ok(((), batch.rows.len() as u64))
        })
    }

    /// Inserts rows by one statement with a list for each column. The database does not say which row it refused: where
    /// it refused one, the halves are tried until one row is left, which the error names.
    fn insert_listed(
        &self,
        shard: usize,
        table: &'static Table,
        sql: &str,
        rows: &[Arc<dyn AnyRow>],
    ) -> Result<()> {
        let inserted = self.on(shard, table, sql, |statement| Ok(((), statement.execute(&in_lists(rows)?)?)));
        match (inserted, rows) {
            (Err(error), [row]) if error.is_about_a_row() => Err(about_row(error, table, &row.values()?)),
            (Err(error), _) if error.is_about_a_row() => {
                let (first, second) = rows.split_at(rows.len() / 2);
                self.insert_listed(shard, table, sql, first)?;
                self.insert_listed(shard, table, sql, second)
            }
            (inserted, _) => inserted,
        }
    }

    /// Inserts rows whose ids the database counts, in one batch per shard, and puts the ids into them.
    pub(super) fn insert_counted<T: Sharded>(&mut self, rows: &mut [(&mut T, usize)]) -> Result<()> {
        let table = T::TABLE;
        debug_assert_eq!(table.id_kind, IdKind::Auto);
        let model = self.cluster.layout().model(table)?;
        let mut by_shard: BTreeMap<usize, Vec<&mut T>> = BTreeMap::new();
        for (row, shard) in rows.iter_mut() {
            by_shard.entry(*shard).or_default().push(row);
        }
        let shards: ShardSet = by_shard.keys().copied().collect();
        // Parents that wait must be there first.
        self.flush_shards(&shards)?;
        let cluster = self.cluster.clone();
        self.atomically(&shards, |session| {
            for (&shard, rows) in &mut by_shard {
                let sql = &cluster.layout().sql(model, shard)?.insert;
                let is_recorded = cluster.is_recorded(cluster.layout().place(shard)?.database);
                let mut runs = Vec::new();
                session.on(shard, table, sql, |statement| {
                    for row in rows.iter_mut() {
                        let mut values = values_of(&**row)?;
                        if table.id < values.len() {
                            values.remove(table.id);
                        }
                        let id = statement.insert(&values).map_err(|error| about_row(error, table, &[]))?;
                        if is_recorded {
                            encode_values(&values, &mut runs);
                        }
                        drop(values);
                        let id = Field::from_value(Value::Integer(id))
                            .map_err(|error| table.error_at(table.id, error))?;
                        row.set_id(id);
                    }
                    Ok(((), rows.len() as u64))
                })?;
                session.record(shard, |redo| redo.runs(sql, |all| all.append(&mut runs)))?;
            }
            Ok(())
        })
    }

    /// Does something that writes these shards so that it has its effect on all of them or on none. Where this
    /// session has written before, a savepoint is undone if it fails. Where it begins to write here, the
    /// transaction is: below a savepoint SQLite copies every page before it changes it.
    pub(super) fn atomically<O>(
        &mut self,
        shards: &ShardSet,
        run: impl FnOnce(&mut Self) -> Result<O>,
    ) -> Result<O> {
        let (mut begun, mut written): (Vec<usize>, Vec<usize>) = Default::default();
        for &shard in shards.indexes() {
            let database = self.cluster.layout().place(shard)?.database;
            if !begun.contains(&database) && !written.contains(&database) {
                let may_write = self.links.get(database).is_some_and(Link::may_write);
                if may_write { &mut written } else { &mut begun }.push(database);
            }
            self.begin_write(shard)?;
        }
        let savepoints = |session: &mut Self, act: fn(&mut Link) -> Result<()>| {
            let mut links = session.links.iter_mut().enumerate();
            links
                .try_for_each(|(database, link)| if written.contains(&database) { act(link) } else { Ok(()) })
        };
        savepoints(self, Link::savepoint)?;
        // On a server somebody else may be in the way of a row, and not of the whole database.
        let done = run(self);
        match self.in_the_way(done) {
            Ok(done) => {
                savepoints(self, Link::release)?;
                Ok(done)
            }
            Err(error) => {
                let lost = self.links.iter().any(Link::has_lost_its_transaction);
                if lost || self.on_links(&written, Link::rollback_to_savepoint).is_err() {
                    // A database has given the transaction up by itself; nothing of the unit may be committed.
                    self.abort(&error);
                    return Err(error);
                }
                for database in begun {
                    self.links.get_mut(database).map(Link::rollback);
                }
                Err(error)
            }
        }
    }
}

/// How many rows a statement with a list for each column inserts at most.
const LISTED: usize = 10_000;

/// The values of these rows, a list for each column.
fn in_lists(rows: &[Arc<dyn AnyRow>]) -> Result<Vec<Param<'_>>> {
    let mut lists: Vec<Vec<Value<'_>>> = Vec::new();
    for row in rows {
        let values = row.values()?;
        lists.resize_with(values.len(), || Vec::with_capacity(rows.len()));
        lists.iter_mut().zip(values).for_each(|(list, value)| list.push(value));
    }
    Ok(lists.into_iter().map(Param::List).collect())
}

/// Says which row a statement failed on.
fn about_row(error: Error, table: &'static Table, values: &[Value<'_>]) -> Error {
    match values.get(table.id) {
        Some(id) => error
            .with_row(&format!("{} {id}", table.columns.get(table.id).map_or("id", |column| column.name))),
        None => error,
    }
}
