//! How batches of rows are sent to their shards: one after the other here or, where several databases get many rows each,
//! at the same time on workers.
//!
//! However they are sent, they end the same way. Where rows of several shards cannot be written, the first of these
//! shards says why: those after it are stopped because of it, those before it are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use super::ask::locate;
use super::entries::about_entry;
use super::link::Link;
use super::pending::{Batch, Load};
use super::{Session, Watch};
use crate::cluster::{Cluster, Layout};
use crate::commit::AnyRow;
use crate::driver::{Connection, Pooled, Prepared};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Binder, IdKind, Table};
use crate::sql::{Param, TableSql};
use crate::value::{Value, mismatch};

/// What there is to do at least besides the largest part, in bytes, for workers to be worth waking.
const WORTH_WAKING: usize = 512 * PER_ROW;

/// What a row costs beside its values, in the time that so many bytes of values take.
const PER_ROW: usize = 512;

/// No shard: nothing has failed.
const NONE: usize = usize::MAX;

impl Load {
    /// What it takes to write it, in bytes of values.
    fn weight(&self) -> usize {
        self.batches.iter().map(|batch| batch.bytes + PER_ROW * batch.rows.len()).sum()
    }
}

impl Session {
    /// Inserts what is on its way to shards on which the session has begun to write.
    ///
    /// # Errors
    /// Of the first shard, in the cluster's order, that has one. What was written is left for the caller to undo.
    pub(super) fn send(&mut self, loads: &mut Vec<Load>) -> Result<()> {
        if loads.len() > 1 {
            let parts = self.by_database(loads)?;
            if is_worth_waking(&parts, loads) {
                return self.send_at_once(loads, parts);
            }
        }
        for Load { shard, batches } in loads {
            for batch in batches {
                self.send_batch(*shard, batch)?;
            }
        }
        Ok(())
    }

    pub(super) fn send_batch(&self, shard: usize, batch: &mut Batch) -> Result<()> {
        let layout = self.cluster.layout();
        let (table, own) = (layout.table(batch.model)?, layout.sql(batch.model, shard)?);
        insert(batch, layout, own, &|| false, &mut |sql, insert| {
            self.on(shard, table, sql, |statement| Ok(((), insert(statement)?)))
        })
    }

    /// The databases that loads are for, each with the places of its loads.
    fn by_database(&self, loads: &[Load]) -> Result<Vec<(usize, Vec<usize>)>> {
        let mut parts: Vec<(usize, Vec<usize>)> = Vec::new();
        for (place, load) in loads.iter().enumerate() {
            let database = self.cluster.layout().place(load.shard)?.database;
            match parts.iter_mut().find(|(other, _)| *other == database) {
                Some((_, places)) => places.push(place),
                None => parts.push((database, vec![place])),
            }
        }
        Ok(parts)
    }

    /// Sends each database its part on a worker of its own, as far as there are workers, and the rest from here.
    fn send_at_once(&mut self, loads: &mut Vec<Load>, parts: Vec<(usize, Vec<usize>)>) -> Result<()> {
        let cluster = self.cluster.clone();
        let first_failed = Arc::new(AtomicUsize::new(NONE));
        let mut taken: Vec<Option<Load>> = std::mem::take(loads).into_iter().map(Some).collect();
        let mut errands = Vec::with_capacity(parts.len());
        for (database, places) in parts {
            errands.push(Errand {
                cluster: cluster.clone(),
                database,
                connection: self.links.get_mut(database).and_then(Link::lend),
                loads: places.into_iter().filter_map(|place| taken.get_mut(place)?.take()).collect(),
                told: Vec::new(),
                failed: None,
                first_failed: Arc::clone(&first_failed),
            });
        }
        let here = errands.split_off(cluster.workers().take(errands.len().saturating_sub(1)));
        let mut homes = Vec::with_capacity(errands.len());
        for errand in errands {
            let (sender, home) = channel();
            let verb = self.span.clone();
            let run = move || match verb {
                Some(verb) => verb.enclose(|| errand.run()),
                None => errand.run(),
            };
            cluster.workers().run(run, move |done| {
                let _ = sender.send(done);
            });
            homes.push(home);
        }
        let mut done: Vec<Errand> = here.into_iter().map(Errand::run).collect();
        let mut is_lost = false;
        for home in homes {
            match home.recv() {
                Ok(errand) => done.push(errand),
                // Its connection is gone with it, and so is the transaction.
                Err(_) => is_lost = true,
            }
        }
        self.come_home(loads, done, is_lost)
    }

    /// Takes back what errands were given, and tells of their statements in the shards' order.
    fn come_home(&mut self, loads: &mut Vec<Load>, done: Vec<Errand>, is_lost: bool) -> Result<()> {
        let (mut told, mut failed): (Vec<Told>, Option<(usize, Error)>) = Default::default();
        for mut errand in done {
            if let (Some(link), Some(connection)) =
                (self.links.get_mut(errand.database), errand.connection.take())
            {
                link.take_back(connection);
            }
            loads.append(&mut errand.loads);
            told.append(&mut errand.told);
            let is_before =
                |(shard, _): &(usize, Error)| failed.as_ref().is_none_or(|(first, _)| shard < first);
            if let Some(first) = errand.failed.take_if(|failed| is_before(failed)) {
                failed = Some(first);
            }
        }
        loads.sort_by_key(|load| load.shard);
        told.sort_by_key(|told| told.shard);
        for Told { shard, model, in_lists, watch, rows, error } in told {
            if let Some(handle) = self.cluster.shards().at(shard) {
                let own = self.cluster.layout().sql(model, shard)?;
                let sql = own.insert_lists.as_deref().filter(|_| in_lists).unwrap_or(&own.insert);
                watch.ended(&self.cluster, handle, sql, rows, error);
            }
        }
        match failed {
            Some((_, error)) => Err(error),
            None if is_lost => Err(Error::new(ErrorKind::Database, "the thread that wrote the rows is gone")),
            None => Ok(()),
        }
    }
}

/// Whether what the largest part leaves for others is worth a thread.
fn is_worth_waking(parts: &[(usize, Vec<usize>)], loads: &[Load]) -> bool {
    let weight = |(_, places): &(usize, Vec<usize>)| -> usize {
        places.iter().filter_map(|&place| loads.get(place)).map(Load::weight).sum()
    };
    let weights: Vec<usize> = parts.iter().map(weight).collect();
    let largest = weights.iter().max().copied().unwrap_or(0);
    weights.iter().sum::<usize>().saturating_sub(largest) >= WORTH_WAKING
}

/// The loads of one database's shards, and the connection that brings them there.
struct Errand {
    cluster: Cluster,
    database: usize,
    connection: Option<Pooled>,
    loads: Vec<Load>,
    told: Vec<Told>,
    /// The shard that has failed, and why.
    failed: Option<(usize, Error)>,
    /// The first shard of all that has failed so far.
    first_failed: Arc<AtomicUsize>,
}

/// A statement of an errand, to be told of by the session.
struct Told {
    shard: usize,
    model: usize,
    /// Which of the model's two statements it was.
    in_lists: bool,
    watch: Watch,
    rows: u64,
    error: Option<ErrorKind>,
}

impl Errand {
    fn run(mut self) -> Self {
        let mut loads = std::mem::take(&mut self.loads);
        for Load { shard, batches } in &mut loads {
            let sent = batches.iter_mut().try_for_each(|batch| self.send(*shard, batch));
            if let Err(error) = sent {
                self.first_failed.fetch_min(*shard, Ordering::Relaxed);
                self.failed = Some((*shard, error));
                break;
            }
        }
        self.loads = loads;
        self
    }

    /// Inserts a batch, unless a shard before this one has failed.
    fn send(&mut self, shard: usize, batch: &mut Batch) -> Result<()> {
        let is_in_vain = || self.first_failed.load(Ordering::Relaxed) < shard;
        let (layout, handle) = (self.cluster.layout(), self.cluster.shards().at(shard));
        let (Some(connection), Some(handle)) = (&self.connection, handle) else {
            return Err(Error::new(ErrorKind::UnknownShard, "there is no such shard in this cluster"));
        };
        if is_in_vain() {
            return Ok(());
        }
        let (table, own) = (layout.table(batch.model)?, layout.sql(batch.model, shard)?);
        let connection: &dyn Connection = &**connection;
        let (model, told) = (batch.model, &mut self.told);
        insert(batch, layout, own, &is_in_vain, &mut |sql, insert| {
            let mut statement =
                connection.prepare(sql).map_err(|error| locate(error, handle, Some(table)))?;
            let mut watch = Watch::begin(&self.cluster, handle, Some(table.name), sql);
            let sent = insert(&mut *statement);
            watch.stop();
            let sent = sent.map_err(|error| locate(error, handle, Some(table)));
            let (rows, error) = (*sent.as_ref().unwrap_or(&0), sent.as_ref().err().map(Error::kind));
            let in_lists = own.insert_lists.as_deref() == Some(sql);
            told.push(Told { shard, model, in_lists, watch, rows, error });
            sent.map(|_| ())
        })
    }
}

/// Does something with a statement of this text, which says how many rows it was about.
type Run<'r> = dyn FnMut(&str, &mut dyn FnMut(&mut dyn Prepared) -> Result<u64>) -> Result<()> + 'r;

/// How many rows a statement with a list for each column inserts at most.
const LISTED: usize = 10_000;

/// Inserts the rows of a batch in the way that is best for their database, and notes the ids that were counted.
fn insert(
    batch: &mut Batch,
    layout: &Layout,
    own: &TableSql,
    is_in_vain: &dyn Fn() -> bool,
    run: &mut Run<'_>,
) -> Result<()> {
    let (rows, counts) = (batch.rows.len(), layout.table(batch.model)?.id_kind == IdKind::Auto);
    match &own.insert_lists {
        // Of one row there is no list to be made.
        Some(lists) if !counts || rows > 1 => {
            let Batch { model, rows, counted, .. } = batch;
            let listing = Listing { model: *model, layout, lists, single: &own.insert, counts };
            rows.chunks(LISTED).try_for_each(|rows| listing.insert(rows, counted, run))
        }
        _ => run(&own.insert, &mut |statement| insert_one_by_one(statement, batch, layout, is_in_vain)),
    }
}

/// Inserts the rows of a batch one by one, for as long as that is not in vain, and notes the ids that were counted; how
/// many rows.
fn insert_one_by_one(
    statement: &mut dyn Prepared,
    batch: &mut Batch,
    layout: &Layout,
    is_in_vain: &dyn Fn() -> bool,
) -> Result<u64> {
    let table = layout.table(batch.model)?;
    let counts = table.id_kind == IdKind::Auto;
    let (mut binder, mut inserted) = (Binder::new(table), 0);
    for row in &batch.rows {
        if is_in_vain() {
            break;
        }
        row.inserted(&mut binder)?;
        let id = statement.insert(&binder.values).map_err(|error| match counts {
            true => error,
            false => {
                about_row(about_entry(layout, batch.model, error, &binder.values), table, &binder.values)
            }
        })?;
        if counts {
            batch.counted.push(id);
        }
        inserted += 1;
    }
    Ok(inserted)
}

/// Statements that insert rows by a list for each column.
struct Listing<'l> {
    model: usize,
    layout: &'l Layout,
    lists: &'l str,
    /// What inserts one row.
    single: &'l str,
    /// Whether the database counts the ids, and says them in the rows' order.
    counts: bool,
}

impl Listing<'_> {
    /// The database does not say which row it refused: where it refused one, the halves are tried until one row is left,
    /// which the error names.
    fn insert(&self, rows: &[Arc<dyn AnyRow>], counted: &mut Vec<i64>, run: &mut Run<'_>) -> Result<()> {
        let table = self.layout.table(self.model)?;
        let mut binder = Binder::new(table);
        if let ([row], true) = (rows, self.counts) {
            row.inserted(&mut binder)?;
            return run(self.single, &mut |statement| {
                counted.push(statement.insert(&binder.values)?);
                Ok(1)
            });
        }
        let mut lists: Vec<Vec<Value<'_>>> = Vec::new();
        for row in rows {
            row.inserted(&mut binder)?;
            lists.resize_with(binder.values.len(), || Vec::with_capacity(rows.len()));
            lists.iter_mut().zip(binder.values.drain(..)).for_each(|(list, value)| list.push(value));
        }
        let params: Vec<Param<'_>> = lists.into_iter().map(Param::List).collect();
        let inserted = run(self.lists, &mut |statement| match self.counts {
            true => counted_ids(statement, &params, rows.len(), counted),
            false => statement.execute(&params),
        });
        match (inserted, rows) {
            (Err(error), [row]) if error.is_about_a_row() => {
                row.inserted(&mut binder)?;
                let error = about_entry(self.layout, self.model, error, &binder.values);
                Err(about_row(error, table, &binder.values))
            }
            (Err(error), _) if error.is_about_a_row() => {
                drop(params);
                let (first, second) = rows.split_at(rows.len() / 2);
                self.insert(first, counted, run)?;
                self.insert(second, counted, run)
            }
            (inserted, _) => inserted,
        }
    }
}

/// Inserts so many rows, and adds the ids that were counted for them; how many rows.
fn counted_ids(
    statement: &mut dyn Prepared,
    params: &[Param<'_>],
    rows: usize,
    counted: &mut Vec<i64>,
) -> Result<u64> {
    let mut ids = Vec::with_capacity(rows);
    let mut answer = statement.query(params)?;
    while answer.advance()? {
        match answer.value(0)? {
            Value::Integer(id) => ids.push(id),
            other => return Err(Error::from(mismatch("an id", &other))),
        }
    }
    if ids.len() != rows {
        let said = format!("the database has counted {} ids for {rows} rows", ids.len());
        return Err(Error::new(ErrorKind::Database, said));
    }
    counted.append(&mut ids);
    Ok(rows as u64)
}

/// Says which row a statement failed on.
fn about_row(error: Error, table: &'static Table, values: &[Value<'_>]) -> Error {
    match values.get(table.id) {
        Some(id) => error
            .with_row(&format!("{} {id}", table.columns.get(table.id).map_or("id", |column| column.name))),
        None => error,
    }
}
