//! SQL as a person wrote it, on a session's own connections and in its transactions.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Session, Watch};
use crate::cluster::Layout;
use crate::driver::{Connection, Prepared, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::query::{Bound, SqlCore, SqlPin, SqlRow, Visitor};
use crate::route;
use crate::shards::{Shard, ShardSet};
use crate::sql::Param;
use crate::written;

/// What one shard is asked.
struct Step<'c> {
    shard: &'c Shard,
    sql: String,
}

/// What the SQL is used as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    Write,
}

impl Session {
    pub(crate) fn select_sql(
        &mut self,
        core: &SqlCore,
        at_most: Option<u64>,
        visit: &mut Visitor<'_, SqlRow>,
    ) -> Result<()> {
        let cluster = self.cluster.clone();
        let params = params(core)?;
        let shards = self.sql_shards(core)?;
        let steps = steps(core, &shards, cluster.layout())?;
        self.flush_shards(&shards)?;
        let mut ready = Vec::with_capacity(steps.len());
        for step in steps {
            let database = cluster.layout().place(step.shard.index())?.database;
            let Some(link) = self.links.get_mut(database) else { continue };
            match link.read(&cluster, database) {
                Ok(()) => ready.push(step),
                Err(error) => self.tolerated(error.on_shard(step.shard.name()))?,
            }
        }
        let read = self.in_time(&shards, |session| session.read_sql(&ready, &params, at_most, visit));
        self.noticed(read)
    }

    /// Asks one shard after the other, until there are rows enough.
    fn read_sql(
        &self,
        steps: &[Step<'_>],
        params: &[Param<'_>],
        at_most: Option<u64>,
        visit: &mut Visitor<'_, SqlRow>,
    ) -> Result<()> {
        let mut prepared = Vec::with_capacity(steps.len());
        for step in steps {
            prepared.push(self.prepare_sql(step, params, Use::Read)?);
        }
        let mut left = at_most.unwrap_or(u64::MAX);
        for (Step { shard, sql }, statement) in steps.iter().zip(&mut prepared) {
            if left == 0 {
                break;
            }
            let watch = Watch::begin(&self.cluster, shard);
            let before = left;
            let read = read(&mut **statement, shard, params, &mut left, visit);
            let read = read.map_err(|error| error.on_shard(shard.name()));
            watch.end(&self.cluster, shard, sql, before - left, &read);
            match read {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(error) => self.tolerated(error)?,
            }
        }
        Ok(())
    }

    pub(crate) fn execute_sql(&mut self, core: &SqlCore) -> Result<u64> {
        let cluster = self.cluster.clone();
        let params = params(core)?;
        let shards = self.sql_shards(core)?;
        let steps = steps(core, &shards, cluster.layout())?;
        self.flush_shards(&shards)?;
        self.identities.clear();
        self.atomically(&shards, |session| {
            for step in &steps {
                session.prepare_sql(step, &params, Use::Write)?;
            }
            let mut total: u64 = 0;
            for step in &steps {
                let Step { shard, sql } = step;
                let mut statement = session.prepare_sql(step, &params, Use::Write)?;
                let watch = Watch::begin(&session.cluster, shard);
                let rows = statement.execute(&params).map_err(|error| error.on_shard(shard.name()));
                watch.end(&session.cluster, shard, sql, *rows.as_ref().unwrap_or(&0), &rows);
                drop(statement);
                total = total.saturating_add(rows?);
                session.record(shard.index(), |redo| match written::unrepeatable(sql) {
                    Some(word) => redo.unrepeatable(format!("SQL with `{word}`")),
                    None => redo.statement(sql, &params),
                })?;
            }
            Ok(total)
        })
    }

    /// The shards that the SQL says, of which the session's pin leaves its own.
    fn sql_shards(&self, core: &SqlCore) -> Result<ShardSet> {
        self.check_usable()?;
        let shards = self.cluster.shards();
        let mut pinned: Option<usize> = None;
        for pin in &core.pins {
            let index = match pin {
                SqlPin::Shard(name) => shards.named_shard(name)?.index(),
                SqlPin::Key(table, key) => route::pin_shard(table, key, shards)?,
            };
            self.refuse_elsewhere(index, "the SQL")?;
            if let Some(other) = pinned.filter(|&other| other != index) {
                let names = ShardSet::from_iter([other, index]).names(shards).join(" and to ");
                let said = format!("the SQL is pinned to {names}");
                return Err(Error::new(ErrorKind::ContradictingPins, said));
            }
            pinned = Some(index);
        }
        Ok(self.narrowed(pinned.map_or_else(|| ShardSet::all(shards), ShardSet::one)))
    }

    /// A statement on the shard's connection, which may be used so.
    fn prepare_sql(
        &self,
        step: &Step<'_>,
        params: &[Param<'_>],
        wanted: Use,
    ) -> Result<Box<dyn Prepared + '_>> {
        let statement = self.connection_of(step.shard)?.prepare(&step.sql);
        let statement = statement.map_err(|error| error.on_shard(step.shard.name()))?;
        check_shape(statement.shape(), params.len(), wanted)
            .map_err(|error| error.on_shard(step.shard.name()))?;
        Ok(statement)
    }

    /// The connection that the session has to a shard's database.
    pub(super) fn connection_of(&self, shard: &Shard) -> Result<&dyn Connection> {
        let database = self.cluster.layout().place(shard.index())?.database;
        self.links.get(database).and_then(|link| link.connection()).ok_or_else(|| {
            Error::new(ErrorKind::UnknownShard, "the session is not connected to the shard")
                .on_shard(shard.name())
        })
    }
}

/// The SQL for each shard.
fn steps<'c>(core: &SqlCore, shards: &ShardSet, layout: &'c Layout) -> Result<Vec<Step<'c>>> {
    let mut steps = Vec::with_capacity(shards.len());
    for shard in shards.indexes().iter().filter_map(|&shard| layout.shards().at(shard)) {
        let sql = written::named(&core.text, |name| {
            let Some(model) = layout.tables().position(|table| table.name == name) else {
                let known: Vec<&str> = layout.tables().map(|table| table.name).collect();
                let said = format!("the cluster has no model with this table; it has {}", known.join(", "));
                return Err(Error::new(ErrorKind::UnknownModel, said).in_table(name));
            };
            Ok(layout.sql(model, shard.index())?.name.as_str())
        })?;
        written::check(&sql)?;
        steps.push(Step { shard, sql });
    }
    Ok(steps)
}

fn params(core: &SqlCore) -> Result<Vec<Param<'_>>> {
    let at = |place: usize, error: &crate::error::ValueError| {
        Error::new(ErrorKind::Value, format!("parameter {}: {error}", place + 1))
    };
    let param = |(place, bound)| match bound {
        &Bound::Value(Ok(ref value)) => Ok(Param::Value(value.borrowed())),
        Bound::List(Ok(values)) => Ok(Param::List(values.iter().map(|value| value.borrowed()).collect())),
        Bound::Value(Err(error)) | Bound::List(Err(error)) => Err(at(place, error)),
    };
    core.params.iter().enumerate().map(param).collect()
}

fn check_shape(shape: Shape, given: usize, wanted: Use) -> Result<()> {
    let said = match (wanted, shape) {
        (_, Shape { parameters, .. }) if parameters != given => {
            format!("the SQL takes {parameters} parameters, {given} are bound")
        }
        (Use::Read, Shape { only_reads: false, .. }) => {
            "the SQL writes: it is run with `execute`, not with `all`, `first` or `one`".to_owned()
        }
        (Use::Read, Shape { returns_rows: false, .. }) => "the SQL returns no rows".to_owned(),
        (Use::Write, Shape { only_reads: true, .. }) => {
            "the SQL writes nothing: it is read with `all`, `first` or `one`, not with `execute`".to_owned()
        }
        (Use::Write, Shape { returns_rows: true, .. }) => {
            "the SQL writes and returns rows, which nobody would read: leave `RETURNING` out".to_owned()
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Query, said))
}

/// Visits the rows of a statement, of all shards' together at most as many as are left.
fn read(
    statement: &mut dyn Prepared,
    shard: &Shard,
    params: &[Param<'_>],
    left: &mut u64,
    visit: &mut Visitor<'_, SqlRow>,
) -> Result<ControlFlow<()>> {
    let mut rows = statement.query(params)?;
    let mut columns: Option<Arc<[String]>> = None;
    while *left > 0 && rows.advance()? {
        *left -= 1;
        let columns = Arc::clone(columns.get_or_insert_with(|| rows.columns().into()));
        let value = |index| rows.value(index).map(crate::value::Value::into_owned);
        let values = (0..columns.len()).map(value).collect();
        if visit(SqlRow { shard: shard.clone(), columns, values })?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
