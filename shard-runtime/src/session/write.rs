//! How a session writes: the flush of what waits, statements about many rows, and what makes both all or nothing.

use std::borrow::Cow;

use super::entries::Changes;
use super::gate::Gate;
use super::link::Link;
use super::located::EntriesRead;
use super::pending::{Batch, Load};
use super::reference::affected;
use super::unwind::caught;
use super::{Session, Watch};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql;
use crate::planner::sql::{Dialect, Param, TableSql};
use crate::planner::{Layout, Plan, Step};
use crate::query::{BulkWrite, Collect, Returned, WriteCore, WriteRequest};
use crate::row::Row;
use crate::schema::Table;
use crate::schema::{Shard, ShardSet, Shards};
use crate::transaction::commit::Redo;
use crate::value::Value;

/// How often a statement is planned whose rows are moved by others before they are locked.
pub(super) const PLANS: usize = 4;

impl Session {
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
        let before = self.writing_flags();
        let taken = shards.indexes().iter().try_for_each(|&shard| self.take_write(shard));
        taken
            .map_err(|error| error.in_table(table.name))
            .and_then(|()| read(self))
            .inspect_err(|_| self.stop_writing(&before))
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
            let locked = connection.lock(&format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"));
            locked.map_err(|error| error.on_shard(name))
        })
    }

    /// Begins a transaction that may write, unless there is one.
    pub(super) fn take_write(&mut self, shard: usize) -> Result<()> {
        self.check_usable()?;
        let layout = self.cluster.layout();
        let database = layout.place(shard)?.database;
        let begins = self.links.get(database).is_some_and(|link| !link.may_write());
        let locked: Vec<usize> = if begins { self.writing().collect() } else { Vec::new() };
        let waits = self.waits(database);
        if let Some(link) = self.links.get_mut(database).filter(|link| !link.may_write()) {
            // What was read in the snapshot that ends here may be changed by others before the next begins.
            let shards = layout.shards_in(database).map(Shard::index).collect();
            self.identities.forget_shards(&shards);
            let name = layout.shards().at(shard).map_or("", Shard::name);
            let age = *self.age.get_or_insert_with(|| self.cluster.age());
            self.wanted.entry(database).or_insert(shard);
            let begun = link
                .write(&self.cluster, &self.holder, database, &locked, age, waits)
                .map_err(|error| error.on_shard(name));
            self.in_the_way(begun)?;
            self.limit_lock_waits();
        }
        if let Some(link) = self.links.get(database) {
            link.expect(&self.cluster, shard);
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

    /// Runs a statement that writes. Returns the number of rows that it wrote.
    pub(super) fn write(&mut self, request: WriteRequest<'_>, returned: &mut impl Collect) -> Result<u64> {
        match request.0 {
            BulkWrite::Rows(core, returns) => self.write_rows(core, returns, returned),
            BulkWrite::Sql(core) => self.execute_sql(core),
        }
    }

    fn write_rows(
        &mut self,
        core: &WriteCore,
        returns: Returned,
        returned: &mut impl Collect,
    ) -> Result<u64> {
        let cluster = self.cluster.clone();
        self.write_planned(core, |session, plan, mut entries| {
            let (table, mut found) = (plan.target.table, Vec::with_capacity(plan.steps.len()));
            returned.clear();
            for (place, step) in plan.steps.iter().enumerate() {
                // The rows of a reference table are the same on every shard.
                let is_wanted = returns == Returned::Rows && (place == 0 || !table.is_reference());
                let rows = match (is_wanted, &mut entries) {
                    (false, None) => {
                        let Step { shard, statement } = step;
                        session.execute_on(*shard, table, &statement.sql, &statement.params)?
                    }
                    (_, entries) => {
                        let mut read = |row: &Row<'_>| {
                            entries.as_mut().map_or(Ok(()), |entries| {
                                remove_entries(entries, row, cluster.layout(), cluster.shards())
                            })?;
                            if is_wanted { returned.push(row) } else { Ok(()) }
                        };
                        session.execute_and_read(step, table, &mut read)?
                    }
                };
                found.push((step.shard, rows));
            }
            affected(&cluster, table, &found)
        })
    }

    fn write_planned<O>(
        &mut self,
        core: &WriteCore,
        mut run: impl FnMut(&mut Self, &Plan<'_>, Option<&mut Changes>) -> Result<O>,
    ) -> Result<O> {
        let cluster = self.cluster.clone();
        let table = core.target.table;
        for _ in 0..PLANS {
            let (located, answers) = match table.is_reference() {
                true => self.every_shard(table).map(|_| (Cow::Borrowed(core), None))?,
                false => self.located_to_write(core)?,
            };
            let plan = Plan::write(&located, cluster.layout())?;
            let shards = plan.shards();
            self.asks(Some(table), &shards);
            let has_lookups = cluster.layout().lookups_of(table).next().is_some();
            match has_lookups {
                true => self.flush_before_entries(&shards)?,
                false => self.flush_shards(&shards)?,
            }
            self.identities.clear();
            let is_located = answers.is_some();
            let deletes = has_lookups && core.set.is_none();
            let written = self.atomically_located(&shards, answers, |session| {
                match table.is_reference() {
                    true => session.lock(&shards, &[cluster.layout().model(table)?])?,
                    // An entry may lead to a row that is not finished being moved to that shard.
                    false if is_located => session.lock_gates(&shards, &plan.tables, Gate::Shared)?,
                    false => session.keep_rows_in_place(&shards, &plan.tables)?,
                }
                let mut entries = deletes.then(Changes::default);
                let done = run(session, &plan, entries.as_mut())?;
                Ok((done, entries.unwrap_or_default()))
            });
            if let Some(done) = written? {
                return Ok(done);
            }
        }
        let said = "the rows were moved from shard to shard while the statement looked for them; try again";
        self.in_the_way(Err(Error::new(ErrorKind::Busy, said).in_table(table.name)))
    }

    /// Writes rows and then their entries, atomically. Returns nothing if the entries that the plan was made of have
    /// changed meanwhile: then nothing is written.
    fn atomically_located<O>(
        &mut self,
        shards: &ShardSet,
        mut read: Option<EntriesRead>,
        run: impl FnOnce(&mut Self) -> Result<(O, Changes)>,
    ) -> Result<Option<O>> {
        let before = self.writing_flags();
        if let Some(read) = &read {
            let files = self.homes(read)?.indexes().iter().chain(shards.indexes()).copied().collect();
            self.lock_files(&files).inspect_err(|_| self.stop_writing(&before))?;
        }
        let mut has_moved = false;
        let written = self.atomically(shards, |session| {
            let (done, entries) = run(session)?;
            // Rows are locked before entries, as by those who write single rows.
            if let Some(read) = &mut read
                && !session.entries_are_as_read(read)?
            {
                has_moved = true;
                return Err(Error::new(ErrorKind::Query, "the rows were moved by another transaction"));
            }
            session.write_entries(entries)?;
            Ok(done)
        });
        match written {
            Ok(done) => Ok(Some(done)),
            Err(error) => {
                if self.aborted.is_none() && read.is_some() {
                    self.stop_writing(&before);
                }
                if has_moved && self.aborted.is_none() { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Writes the rows of a step, and reads those that were written.
    fn execute_and_read(
        &mut self,
        step: &Step<'_>,
        table: &'static Table,
        read: &mut dyn FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<u64> {
        let Some(shard) = self.cluster.shards().at(step.shard).cloned() else { return Ok(0) };
        let (statement, all) = (&step.statement, (0..table.columns.len()).collect::<Vec<_>>());
        let sql = format!("{}{}", statement.sql, sql::returning(table, &all));
        let rows = self.on(step.shard, table, &sql, |prepared| {
            let (mut cursor, mut rows) = (prepared.query(&statement.params)?, 0);
            while cursor.advance()? {
                read(&Row { source: &*cursor, shard: &shard, table, columns: None })?;
                rows += 1;
            }
            Ok((rows, rows))
        })?;
        if rows > 0 {
            // Recovery runs the statement again, and reads no rows.
            self.record(step.shard, |redo| redo.statement(&statement.sql, &statement.params))?;
        }
        Ok(rows)
    }

    /// Whether each link may write now.
    pub(super) fn writing_flags(&self) -> Vec<bool> {
        self.links.iter().map(Link::may_write).collect()
    }

    /// Ends the transactions that were begun to write since these flags were taken: nothing was written in them.
    pub(super) fn stop_writing(&mut self, before: &[bool]) {
        let links = self.links.iter_mut().zip(before);
        links.filter(|(link, before)| link.may_write() && !**before).for_each(|(link, _)| link.rollback());
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
        let (written, panic) = caught(|| {
            self.without_orphans(|session| session.atomically(&shards, |session| session.send(&mut loads)))
        });
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
            Err(_) => {
                loads.iter().for_each(|load| load.unit.undo());
                // Among what is known by id there may be rows with changes that are not stored now.
                self.identities.clear();
            }
        }
        panic.go_on();
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
        self.atomically_after(shards, Self::begin_write, run)
    }

    /// The same, where each shard's transaction is begun by `begin`.
    pub(super) fn atomically_after<O>(
        &mut self,
        shards: &ShardSet,
        begin: fn(&mut Self, usize) -> Result<()>,
        run: impl FnOnce(&mut Self) -> Result<O>,
    ) -> Result<O> {
        if self.in_portions {
            shards.indexes().iter().try_for_each(|&shard| begin(self, shard))?;
            return run(self);
        }
        let (mut begun, mut written): (Vec<usize>, Vec<usize>) = Default::default();
        for &shard in shards.indexes() {
            let database = self.cluster.layout().place(shard)?.database;
            if !begun.contains(&database) && !written.contains(&database) {
                let may_write = self.links.get(database).is_some_and(Link::may_write);
                if may_write { &mut written } else { &mut begun }.push(database);
            }
            begin(self, shard)?;
        }
        let savepoints = |session: &mut Self, act: fn(&mut Link) -> Result<()>| {
            let mut links = session.links.iter_mut().enumerate();
            links
                .try_for_each(|(database, link)| if written.contains(&database) { act(link) } else { Ok(()) })
        };
        savepoints(self, Link::savepoint)?;
        // On a server somebody else may be in the way of a row, and not of the whole database.
        let (done, panic) = caught(|| run(self));
        let done = self.in_the_way(done);
        if let Err(error) = &done {
            let lost = self.links.iter().any(Link::has_lost_its_transaction);
            if lost || self.on_links(&written, Link::rollback_to_savepoint).is_err() {
                // A database has given the transaction up by itself; nothing of the unit may be committed.
                self.abort(error);
            } else {
                for database in begun {
                    self.links.get_mut(database).map(Link::rollback);
                }
            }
        }
        panic.go_on();
        let done = done?;
        savepoints(self, Link::release)?;
        Ok(done)
    }
}

/// Notes that the entries of a deleted row go, too. The row itself says which: another transaction may have changed them
/// before the row was locked.
fn remove_entries(entries: &mut Changes, row: &Row<'_>, layout: &Layout, shards: &Shards) -> Result<()> {
    for lookup in layout.lookups_of(row.table) {
        let value: Value<'_> = row.table.value_of(lookup.column, row.source.value(lookup.column))?;
        entries.remove(lookup, &value, row.shard.index(), shards)?;
    }
    Ok(())
}
