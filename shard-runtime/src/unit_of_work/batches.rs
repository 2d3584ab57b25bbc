//! Turns a batch into statements: one that runs for each row, or one with a list for each parameter, whichever is faster
//! on the database.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::entries::about_entry;
use super::foreign_keys::{RefusedChange, RefusedWrite};
use super::pending::Batch;
use crate::driver::Prepared;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::planner::sql::Param;
use crate::planner::{AnyRow, RowChange};
use crate::schema::{IdKind, Table};
use crate::value::{Value, mismatch};

/// Prepares a statement with this text and runs a function with it, which returns how many rows were affected.
pub(crate) type RunPrepared<'r> =
    dyn FnMut(&str, &mut dyn FnMut(&mut dyn Prepared) -> Result<u64>) -> Result<u64> + 'r;

/// The largest number of rows in a statement with a list for each parameter.
const LISTED: usize = 10_000;

/// Inserts, updates or deletes the rows of a batch. Stores the ids that the database generates in `batch.counted`, and
/// the range with a row that did not exist in `batch.missed`.
pub(crate) fn send_rows_of(
    batch: &mut Batch,
    layout: &Layout,
    shard: usize,
    is_stopped: &dyn Fn() -> bool,
    run: &mut RunPrepared<'_>,
) -> Result<()> {
    let (table, own) = (layout.table(batch.model)?, layout.sql(batch.model, shard)?);
    let single = own.change(table, &batch.change);
    let counts = batch.change == RowChange::Insert && table.id_kind == IdKind::Auto;
    // One row needs no list; but an insert is prepared once for all sizes.
    let takes_lists = batch.rows.len() > 1 || (batch.change == RowChange::Insert && !counts);
    match own.change_lists(table, &batch.change).filter(|_| takes_lists) {
        None => {
            let mut refused = None;
            let sent =
                run(&single, &mut |statement| one_by_one(statement, batch, layout, is_stopped, &mut refused));
            match (sent, refused.and_then(|row| batch.rows.get(row))) {
                (Err(error), Some(row)) => Err(about_row(error, layout, shard, batch, &**row, run)),
                (sent, _) => sent.map(|_| ()),
            }
        }
        Some(lists) => {
            let mut counted = Vec::new();
            let mut listing = Listing { batch, layout, shard, lists, single, counts, counted: &mut counted };
            let sent = listing.send_all(run);
            batch.counted.append(&mut counted);
            batch.missed = sent?;
            match batch.missed.is_empty() {
                true => Ok(()),
                false => Err(missed()),
            }
        }
    }
}

/// Returns the statement that sends a whole batch, with its parameters. `None` if it takes several statements, or if the
/// database generates ids.
pub(crate) fn whole_statement<'b>(
    batch: &'b Batch,
    layout: &'b Layout,
    shard: usize,
) -> Result<Option<(Cow<'b, str>, Vec<Param<'b>>)>> {
    let (table, own) = (layout.table(batch.model)?, layout.sql(batch.model, shard)?);
    let inserts = batch.change == RowChange::Insert;
    if batch.rows.len() > LISTED || (inserts && table.id_kind == IdKind::Auto) {
        return Ok(None);
    }
    if let ([row], false) = (batch.rows.as_slice(), inserts) {
        let mut values = Vec::new();
        batch.change.bind(table, &**row, &mut values)?;
        let params = values.into_iter().map(Param::Value).collect();
        return Ok(Some((own.change(table, &batch.change), params)));
    }
    let Some(lists) = own.change_lists(table, &batch.change) else { return Ok(None) };
    Ok(Some((lists, lists_of(batch, table, &batch.rows)?)))
}

/// Returns a parameter for each column: the list of the rows' values.
fn lists_of<'r>(batch: &Batch, table: &'static Table, rows: &'r [Arc<dyn AnyRow>]) -> Result<Vec<Param<'r>>> {
    let (mut values, mut lists) = (Vec::new(), Vec::<Vec<Value<'r>>>::new());
    for row in rows {
        batch.change.bind(table, &**row, &mut values)?;
        lists.resize_with(values.len(), || Vec::with_capacity(rows.len()));
        lists.iter_mut().zip(values.drain(..)).for_each(|(list, value)| list.push(value));
    }
    Ok(lists.into_iter().map(Param::List).collect())
}

/// Sends the rows of a batch one by one, until `is_stopped`. Returns how many were sent. Stores the index of a refused
/// row.
fn one_by_one(
    statement: &mut dyn Prepared,
    batch: &mut Batch,
    layout: &Layout,
    is_stopped: &dyn Fn() -> bool,
    refused: &mut Option<usize>,
) -> Result<u64> {
    let table = layout.table(batch.model)?;
    let inserts = batch.change == RowChange::Insert;
    let counts = inserts && table.id_kind == IdKind::Auto;
    let (mut values, mut sent) = (Vec::new(), 0);
    for row in &batch.rows {
        if is_stopped() {
            break;
        }
        batch.change.bind(table, &**row, &mut values)?;
        let done = match inserts {
            true => statement.insert(&values).map(Some),
            false => {
                let params: Vec<Param<'_>> =
                    values.iter().map(|value| Param::Value(value.borrowed())).collect();
                statement.execute(&params).map(|rows| (rows > 0).then_some(0))
            }
        };
        match done {
            Ok(Some(id)) if counts => batch.counted.push(id),
            Ok(Some(_)) => {}
            Ok(None) => {
                batch.missed = sent..sent + 1;
                return Err(missed());
            }
            Err(error) => {
                *refused = Some(sent);
                return Err(error);
            }
        }
        sent += 1;
    }
    Ok(sent as u64)
}

/// Sends statements with a list for each parameter.
struct Listing<'l> {
    batch: &'l Batch,
    layout: &'l Layout,
    shard: usize,
    lists: Cow<'l, str>,
    /// The statement for one row.
    single: Cow<'l, str>,
    /// Whether the database generates the ids, and returns them in the rows' order.
    counts: bool,
    counted: &'l mut Vec<i64>,
}

impl Listing<'_> {
    /// Sends all rows. Returns the range of a statement that found fewer rows than it has; empty if there is none.
    fn send_all(&mut self, run: &mut RunPrepared<'_>) -> Result<Range<usize>> {
        let rows = self.batch.rows.len();
        for from in (0..rows).step_by(LISTED) {
            let to = rows.min(from + LISTED);
            let found = self.send(from..to, run)?;
            if self.batch.change != RowChange::Insert && found < (to - from) as u64 {
                return Ok(from..to);
            }
        }
        Ok(0..0)
    }

    /// Sends a range of rows. Returns how many rows were found. The database does not report which row it refused. After
    /// a refusal each half is sent separately, until one row is left, which the error names.
    fn send(&mut self, range: Range<usize>, run: &mut RunPrepared<'_>) -> Result<u64> {
        let (batch, layout, shard, counts) = (self.batch, self.layout, self.shard, self.counts);
        let table = layout.table(batch.model)?;
        let rows = batch.rows.get(range.clone()).unwrap_or_default();
        if let ([row], true) = (rows, counts) {
            let mut values = Vec::new();
            batch.change.bind(table, &**row, &mut values)?;
            let counted = &mut *self.counted;
            let sent = run(&self.single, &mut |statement| {
                counted.push(statement.insert(&values)?);
                Ok(1)
            });
            return sent.map_err(|error| about_row(error, layout, shard, batch, &**row, run));
        }
        let params = lists_of(batch, table, rows)?;
        let counted = &mut *self.counted;
        let sent = run(&self.lists, &mut |statement| match counts {
            true => counted_ids(statement, &params, rows.len(), counted),
            false => statement.execute(&params),
        });
        match (sent, rows) {
            (Err(error), [row]) if error.is_about_a_row() => {
                Err(about_row(error, layout, shard, batch, &**row, run))
            }
            (Err(error), _) if error.is_about_a_row() => {
                drop(params);
                let middle = range.start + rows.len() / 2;
                let first = self.send(range.start..middle, run)?;
                Ok(first + self.send(middle..range.end, run)?)
            }
            (sent, _) => sent,
        }
    }
}

/// Inserts these rows, and adds the ids that the database generated. Returns the number of rows.
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
        let found = ids.len();
        let message = format!(
            "the database returned {found} ids for {rows} inserted rows; check the table for triggers and rules"
        );
        return Err(Error::new(ErrorKind::Database, message));
    }
    counted.append(&mut ids);
    Ok(rows as u64)
}

/// Returns the error of a batch that affected fewer rows than it has. `explained` then finds the missing row and the
/// reason.
fn missed() -> Error {
    Error::new(ErrorKind::NotFound, "a row to be updated or deleted does not exist")
}

/// Adds the refused row to an error. If a foreign key was violated, also the other row.
fn about_row(
    error: Error,
    layout: &Layout,
    shard: usize,
    batch: &Batch,
    row: &dyn AnyRow,
    run: &mut RunPrepared<'_>,
) -> Error {
    let Ok(table) = layout.table(batch.model) else { return error };
    let values = (0..table.columns.len()).map(|column| row.value(table, column));
    let Ok(values) = values.collect::<Result<Vec<_>>>() else { return error };
    let values = values.as_slice();
    let id = values.get(table.id).map(Value::borrowed);
    let change = match batch.change {
        RowChange::Delete { .. } => RefusedChange::Removed(id.as_ref().map(Value::borrowed)),
        RowChange::Insert | RowChange::Update { .. } => RefusedChange::row(values),
    };
    let error = RefusedWrite { layout, shard, table, change }.explain(error, run);
    let error = match batch.change {
        RowChange::Insert => about_entry(layout, batch.model, error, values),
        RowChange::Update { .. } | RowChange::Delete { .. } => error,
    };
    // The id of a lookup's entry is the value that was looked up, which no error may quote. A row whose id the database
    // generates has none yet.
    let is_entry = layout.lookups().iter().any(|lookup| lookup.model == batch.model);
    let has_id = !is_entry && (batch.change != RowChange::Insert || table.id_kind != IdKind::Auto);
    match id.filter(|_| has_id) {
        Some(id) => error
            .with_row(&format!("{} {id}", table.columns.get(table.id).map_or("id", |column| column.name))),
        None => error,
    }
}
