//! How a session writes: batches per shard, rows one by one, many rows at once.

use std::borrow::Cow;
use std::sync::Arc;

use super::entries::{Stays, id_value};
use super::identity::IdKey;
use super::link::Link;
use super::pending::{Batch, Load, Pending};
use super::read::gone;
use super::reference::affected;
use super::version::{self, Version};
use super::{Session, Watch};
use crate::commit::{Change, Redo};
use crate::error::{Error, ErrorKind, Result};
use crate::lookup::Placed;
use crate::model::{KeyColumns, Row, Sharded, Table, values_of};
use crate::plan::{Plan, Step};
use crate::query::WriteCore;
use crate::shards::{Shard, ShardSet};
use crate::sql::{self, Dialect, Param, TableSql};
use crate::stored::Stored;
use crate::value::Value;

impl Session {
    /// Takes up what was changed in a row since it was read or written last, and only those columns. What a rollback has
    /// undone since counts as changed. The change waits with the others of its shard, as rows that were added do, until
    /// that table is read, or until [`flush`](Session::flush) or [`commit`](Session::commit): these say what the
    /// database has against it. A row of a reference table, and a column that has a lookup, are written at once.
    ///
    /// A row with a `#[version]` is written only where it still has the version with which it was read, and gets the
    /// next one, here at once; what was put into that field is not looked at.
    ///
    /// A row may be given another [`Parent`](crate::Parent) on its shard. Its id and its shard key stay as they
    /// are, the key even where its new value lives on the same shard.
    ///
    /// # Errors
    /// [`ErrorKind::Moved`] where that is not so; [`ErrorKind::Value`] where a value cannot be stored;
    /// [`ErrorKind::UnknownShard`] where the row is another cluster's; [`ErrorKind::NotFound`] where it is to be removed.
    /// Where it is written at once also those of [`Session::flush`]. Then the row keeps its changes, and nothing of them
    /// is written.
    pub fn update<T: Sharded + Clone>(&mut self, row: &mut Stored<T>) -> Result<()> {
        self.within("update", Some(T::TABLE), |session| session.update_row(row))
    }

    fn update_row<T: Sharded + Clone>(&mut self, row: &mut Stored<T>) -> Result<()> {
        let table = T::TABLE;
        self.refuse_row_elsewhere::<T>(row.shard())?;
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
        if self.writes_at_once(table, Some(&changed)) {
            let place = version.as_ref().map(|version| version.place);
            let sql = |sql: &TableSql| sql.update(table, &changed, place);
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
            let id = id_value(&**row)?;
            let stays = Stays { shard, id, before: &before, after: &after, columns: Some(&changed) };
            if self.write_with_entries(table, &stays, sql, &params)? == 0 {
                let error = self.missed(shard, row, version.as_ref());
                return self.in_the_way(Err(error));
            }
            drop((params, stays));
            drop(after);
            if let (Some(version), Some(next)) = (version, next) {
                version.put(row, next)?;
            }
            let database = self.cluster.layout().place(shard)?.database;
            row.settle(self.links.get(database).and_then(Link::unit));
            return self.identities.refresh(row);
        }
        let bytes = changed.iter().filter_map(|&column| after.get(column)).map(Value::size).sum();
        drop(after);
        self.check_usable()?;
        let (model, id) = (self.model(table)?, IdKey::of(&id_value(&**row)?));
        if self.pending.get(shard).is_some_and(|pending| pending.deletes(model, &id)) {
            return Err(gone::<T>(row.id(), row.shard()));
        }
        if self.pending.get(shard).is_some_and(Pending::is_full) {
            self.flush_shards(&ShardSet::one(shard))?;
        }
        let change =
            Change::Update { columns: changed, version: version.as_ref().map(|version| version.place) };
        if let (Some(version), Some(next)) = (version, next) {
            version.put(row, next)?;
        }
        let Some(pending) = self.pending.get_mut(shard) else { return Ok(()) };
        let unit = pending.update(model, change, id, Arc::clone(row.row()) as _, bytes);
        row.settle(Some(unit));
        self.identities.refresh(row)
    }

    /// Whether a change of one row, of these columns or altogether, is sent at once and does not wait: where it has to be
    /// on several shards.
    fn writes_at_once(&self, table: &'static Table, columns: Option<&[usize]>) -> bool {
        let is_written = |lookup: &Placed| columns.is_none_or(|columns| columns.contains(&lookup.column));
        table.is_reference() || self.cluster.layout().lookups_of(table).any(is_written)
    }

    /// Sends what is to be removed where a row is added that has the id of one that is.
    pub(super) fn remove_before<T: Sharded>(&mut self, row: &Stored<T>, model: usize) -> Result<()> {
        let shard = row.shard().index();
        let waits = self.pending.get(shard).filter(|pending| pending.deletes_any(model));
        match waits {
            Some(pending) if pending.deletes(model, &IdKey::of(&id_value(&**row)?)) => {
                self.flush_shards(&ShardSet::one(shard))
            }
            _ => Ok(()),
        }
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

    /// Removes a row. That waits as a change does (see [`Session::update`]), and is done after everything else that
    /// waits, children before their parents. A row of a reference table, or with a lookup, is removed at once.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where it is to be removed already. Where it is removed at once also those of
    /// [`Session::flush`].
    pub fn delete<T: Sharded>(&mut self, row: &Stored<T>) -> Result<()> {
        self.within("delete", Some(T::TABLE), |session| session.delete_row(row))
    }

    fn delete_row<T: Sharded>(&mut self, row: &Stored<T>) -> Result<()> {
        let table = T::TABLE;
        self.refuse_row_elsewhere::<T>(row.shard())?;
        let shard = self.cluster.shards().place_of(row.shard())?;
        let recorded = row.recorded().unwrap_or(row.row());
        let before = values_of(&**recorded)?;
        let version = version::of::<T>(&before)?;
        let id = id_value(&**row)?;
        self.identities.forget::<T>(row.id(), row.shard())?;
        let place = version.as_ref().map(|version| version.place);
        let change = Change::Delete { version: place };
        if self.writes_at_once(table, None) {
            let mut params = vec![Param::Value(id.borrowed())];
            params.extend(version.as_ref().map(|version| Param::Value(Value::Integer(version.number))));
            let sql = |sql: &TableSql| sql.change(table, &change).into_owned();
            let stays = Stays { shard, id: id.borrowed(), before: &before, after: &[], columns: None };
            return match self.write_with_entries(table, &stays, sql, &params)? {
                0 => {
                    let error = self.missed(shard, row, version.as_ref());
                    self.in_the_way(Err(error))
                }
                _ => Ok(()),
            };
        }
        self.check_usable()?;
        let (model, id) = (self.model(table)?, IdKey::of(&id));
        let Some(pending) = self.pending.get_mut(shard) else { return Ok(()) };
        if pending.deletes(model, &id) {
            return Err(gone::<T>(row.id(), row.shard()));
        }
        pending.delete(model, change, id, Arc::clone(recorded) as _);
        Ok(())
    }

    /// Executes a statement about one row on its shard, after what waits for that shard; about one of a reference table
    /// on every shard.
    pub(super) fn write_row(
        &mut self,
        shard: usize,
        table: &'static Table,
        sql: impl Fn(&TableSql) -> String,
        params: &[Param<'_>],
    ) -> Result<u64> {
        if table.is_reference() {
            return self.write_everywhere(table, sql, params);
        }
        let layout = self.cluster.layout();
        let sql = sql(layout.sql(layout.model(table)?, shard)?);
        self.flush_shards(&ShardSet::one(shard))?;
        self.begin_write(shard)?;
        let written = self.execute_on(shard, table, &sql, params);
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

    /// Keeps others from writing these models on these shards: by the database's one write lock, or the tables' own.
    pub(super) fn lock(&mut self, shards: &ShardSet, models: &[usize]) -> Result<()> {
        for &shard in shards.indexes() {
            self.take_write(shard)?;
            let locked = self.lock_tables(shard, models);
            self.in_the_way(locked)?;
        }
        Ok(())
    }

    fn lock_tables(&self, shard: usize, models: &[usize]) -> Result<()> {
        let layout = self.cluster.layout();
        let place = layout.place(shard)?;
        let link = self.links.get(place.database);
        let (Dialect::Postgres, Some(connection)) = (place.dialect, link.and_then(Link::connection)) else {
            return Ok(());
        };
        let name = layout.shards().at(shard).map_or("", Shard::name);
        models.iter().try_for_each(|&model| {
            let table = &layout.sql(model, shard)?.name;
            let locked = connection.run(&format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"));
            locked.map_err(|error| error.on_shard(name))
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
            let begun =
                link.write(&self.cluster, &self.holder, database).map_err(|error| error.on_shard(name));
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
        self.write_planned(core, |session, plan| {
            let (table, mut found) = (plan.target.table, Vec::with_capacity(plan.steps.len()));
            for Step { shard, statement } in &plan.steps {
                found.push((*shard, session.execute_on(*shard, table, &statement.sql, &statement.params)?));
            }
            affected(&cluster, table, &found)
        })
    }

    /// The same, and the rows that were affected, shard by shard.
    pub(crate) fn execute_returning<T: Sharded>(&mut self, core: &WriteCore) -> Result<Vec<Stored<T>>> {
        let cluster = self.cluster.clone();
        self.write_planned(core, |session, plan| {
            let (mut rows, mut found) = (Vec::new(), Vec::with_capacity(plan.steps.len()));
            for step in &plan.steps {
                let before = rows.len();
                session.execute_and_load(step, &mut rows)?;
                found.push((step.shard, (rows.len() - before) as u64));
            }
            affected(&cluster, T::TABLE, &found)?;
            if T::TABLE.is_reference() {
                // The others are the same once more.
                rows.truncate(rows.len() / found.len().max(1));
            }
            Ok(rows)
        })
    }

    fn write_planned<O>(
        &mut self,
        core: &WriteCore,
        run: impl FnOnce(&mut Self, &Plan<'_>) -> Result<O>,
    ) -> Result<O> {
        let cluster = self.cluster.clone();
        let core = match core.target.table.is_reference() {
            true => self.every_shard(core.target.table).map(|_| Cow::Borrowed(core))?,
            false => self.located_query(core)?,
        };
        let plan = Plan::write(&core, cluster.layout())?;
        let shards = plan.shards();
        self.asks(Some(plan.target.table), &shards);
        match cluster.layout().lookups_of(plan.target.table).next() {
            Some(_) => self.flush_before_entries(&shards)?,
            None => self.flush_shards(&shards)?,
        }
        self.identities.clear();
        self.atomically(&shards, |session| {
            let entries = session.entries_of_deleted(&core)?;
            let done = run(session, &plan)?;
            session.write_entries(entries)?;
            Ok(done)
        })
    }

    fn execute_and_load<T: Sharded>(&mut self, step: &Step<'_>, loaded: &mut Vec<Stored<T>>) -> Result<()> {
        let (table, statement) = (T::TABLE, &step.statement);
        let Some(shard) = self.cluster.shards().at(step.shard).cloned() else { return Ok(()) };
        let before = loaded.len();
        let sql = format!("{}{}", statement.sql, sql::returning(table));
        self.on(step.shard, table, &sql, |prepared| {
            let mut cursor = prepared.query(&statement.params)?;
            while cursor.advance()? {
                let row = T::load(&Row { source: &*cursor, shard: &shard, table, columns: None })?;
                loaded.push(Stored::new(Arc::new(row), shard.clone()));
            }
            Ok(((), (loaded.len() - before) as u64))
        })?;
        if loaded.len() > before {
            // What is done again gives nothing back.
            self.record(step.shard, |redo| redo.statement(&statement.sql, &statement.params))?;
        }
        Ok(())
    }

    /// Writes what waits for these shards: all of it or, where a row fails, none of it.
    pub(super) fn flush_shards(&mut self, shards: &ShardSet) -> Result<()> {
        let linked = self.with_entries(shards);
        let shards = self.written_together(linked.as_ref().unwrap_or(shards));
        let mut loads = self.take_waiting(&shards);
        if loads.is_empty() {
            return Ok(());
        }
        let shards: ShardSet = loads.iter().map(|load| load.shard).collect();
        let written = self.atomically(&shards, |session| session.send(&mut loads));
        let written = written.map_err(|error| self.explained(&loads, error));
        let written = self.in_the_way(written);
        match &written {
            Ok(()) => self.record_rows(loads)?,
            Err(error) if !error.is_about_a_row() && self.aborted.is_none() => {
                for load in loads {
                    if let Some(pending) = self.pending.get_mut(load.shard) {
                        pending.put_back(load);
                    }
                }
            }
            Err(_) => loads.iter().for_each(|load| load.unit.undo()),
        }
        written
    }

    /// What waits for these shards, in their order; it waits no more.
    pub(super) fn take_waiting(&mut self, shards: &ShardSet) -> Vec<Load> {
        let mut loads = Vec::new();
        for &shard in shards.indexes() {
            if let Some(pending) = self.pending.get_mut(shard).filter(|pending| !pending.is_empty()) {
                loads.push(pending.take(shard));
            }
        }
        loads
    }

    /// Notes what was written, where that may have to be done again, and that its rows may be undone with it.
    pub(super) fn record_rows(&mut self, loads: Vec<Load>) -> Result<()> {
        let cluster = self.cluster.clone();
        for Load { shard, batches, unit } in loads {
            for Batch { model, change, rows, .. } in batches {
                let table = cluster.layout().table(model)?;
                let sql = cluster.layout().sql(model, shard)?.change(table, &change);
                self.record(shard, |redo| redo.rows(&sql, table, change.clone(), rows))?;
            }
            let database = cluster.layout().place(shard)?.database;
            if let Some(link) = self.links.get_mut(database) {
                link.adopt(unit);
            }
        }
        Ok(())
    }

    /// Does something that writes these shards so that it has its effect on all of them or on none. Where this
    /// session has written before, a savepoint is undone if it fails. Where it begins to write here, the
    /// transaction is: below a savepoint SQLite copies every page before it changes it.
    pub(super) fn atomically<O>(
        &mut self,
        shards: &ShardSet,
        run: impl FnOnce(&mut Self) -> Result<O>,
    ) -> Result<O> {
        if self.in_portions {
            shards.indexes().iter().try_for_each(|&shard| self.begin_write(shard))?;
            return run(self);
        }
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
