//! Checks that each row is on the shard of its key. The rows of all shards are merged in the order of their ids, and suspicious
//! ones are read again under locks.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

use crate::error::{Error, Result};
use crate::planner::sql::{EntryValues, Param};
use crate::schema::ShardSet;
use crate::schema::{IdKind, KeyColumns, Table};
use crate::session::Session;
use crate::transaction::Cluster;
use crate::unit_of_work::{RowProblem, RowProblemKind, VerifyReport};
use crate::value::{ColumnType, Value};

/// The number of rows that are read ahead: from all shards together, and from one shard at least and at most.
const ROWS: usize = 64_000;
const ROWS_OF_A_SHARD: (usize, usize) = (64, 1_000);

/// The number of suspicious ids that are checked under one lock.
const SUSPECTS: usize = 500;

/// The values that decide a row's shard.
#[derive(Debug)]
struct KeyRow {
    id: Value<'static>,
    shard: usize,
    /// The values of its key; none for a child.
    key: Vec<Value<'static>>,
    /// Whether its parent is on the same shard.
    has_parent: bool,
}

/// The rows of one shard that were read and not yet merged.
#[derive(Default)]
struct Ahead {
    rows: VecDeque<KeyRow>,
    last: Option<Value<'static>>,
    is_at_end: bool,
}

/// The first row of a shard in the merge.
struct Front {
    id: Value<'static>,
    shard: usize,
}

impl Ord for Front {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.order(&other.id).then(self.shard.cmp(&other.shard))
    }
}

impl PartialOrd for Front {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Front {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Front {}

impl Cluster {
    /// Compares the shard of each row of a table with its key or its parent.
    pub(crate) fn verify_rows(&self, table: &'static Table, report: &mut VerifyReport) -> Result<()> {
        let shards = self.layout().shards().len();
        let (least, most) = ROWS_OF_A_SHARD;
        let batch = (ROWS / shards.max(1)).clamp(least, most);
        let mut ahead: Vec<Ahead> = (0..shards).map(|_| Ahead::default()).collect();
        let mut fronts = BinaryHeap::with_capacity(shards);
        let is_serving =
            |shard: usize| self.layout().shards().serving().any(|serving| serving.index() == shard);
        for (shard, ahead) in ahead.iter_mut().enumerate().filter(|(shard, _)| is_serving(*shard)) {
            self.read_ahead(table, shard, batch, ahead)?;
            let id = ahead.rows.front().map(|row| row.id.clone());
            fronts.extend(id.map(|id| Reverse(Front { id, shard })));
        }
        let (mut same, mut suspects): (Vec<KeyRow>, Vec<Value<'static>>) = Default::default();
        while let Some(Reverse(Front { id, shard })) = fronts.pop() {
            if same.first().is_some_and(|first| first.id.order(&id).is_ne()) {
                self.suspect(table, &mut same, &mut suspects, report)?;
            }
            let Some(ahead) = ahead.get_mut(shard) else { continue };
            same.extend(ahead.rows.pop_front());
            if ahead.rows.is_empty() {
                self.read_ahead(table, shard, batch, ahead)?;
            }
            let id = ahead.rows.front().map(|row| row.id.clone());
            fronts.extend(id.map(|id| Reverse(Front { id, shard })));
        }
        self.suspect(table, &mut same, &mut suspects, report)?;
        self.recheck_suspects(table, &mut suspects, report)
    }

    fn read_ahead(&self, table: &'static Table, shard: usize, batch: usize, ahead: &mut Ahead) -> Result<()> {
        if ahead.is_at_end {
            return Ok(());
        }
        let which = if ahead.last.is_some() { EntryValues::After(batch) } else { EntryValues::First(batch) };
        let rows = self.transaction(|session| {
            let params: Vec<Param<'_>> =
                ahead.last.iter().map(|last| Param::Value(last.borrowed())).collect();
            session.key_rows(table, shard, which, &params)
        })?;
        ahead.is_at_end = rows.len() < batch;
        ahead.last = rows.last().map(|row| row.id.clone());
        ahead.rows = rows.into();
        Ok(())
    }

    /// Keeps the id of suspicious rows, and checks the kept ids again when there are enough.
    fn suspect(
        &self,
        table: &'static Table,
        same: &mut Vec<KeyRow>,
        suspects: &mut Vec<Value<'static>>,
        report: &mut VerifyReport,
    ) -> Result<()> {
        let rows = std::mem::take(same);
        if !self.problems_of_rows(table, &rows).is_empty() {
            suspects.extend(rows.into_iter().next().map(|row| row.id));
        }
        match suspects.len() < SUSPECTS {
            true => Ok(()),
            false => self.recheck_suspects(table, suspects, report),
        }
    }

    /// Checks suspicious ids again while no session writes: a row that was relocated meanwhile may have been read twice, or
    /// without its parent.
    fn recheck_suspects(
        &self,
        table: &'static Table,
        suspects: &mut Vec<Value<'static>>,
        report: &mut VerifyReport,
    ) -> Result<()> {
        if suspects.is_empty() {
            return Ok(());
        }
        let ids = std::mem::take(suspects);
        let problems = self.transaction(|session| session.problems_of(table, &ids))?;
        problems.into_iter().for_each(|problem| report.take_row(problem));
        Ok(())
    }

    /// Returns the problems of the rows that share one id.
    fn problems_of_rows(&self, table: &'static Table, rows: &[KeyRow]) -> Vec<RowProblem> {
        let name = |shard: usize| {
            self.layout().shards().by_index(shard).map_or(String::new(), |shard| shard.name().to_owned())
        };
        let mut problems = Vec::new();
        let mut right = Vec::new();
        for row in rows {
            let (kind, wanted) = match table.key {
                KeyColumns::Parent(_) if row.has_parent => {
                    right.push((row, None));
                    continue;
                }
                KeyColumns::Parent(_) => (RowProblemKind::Orphan, None),
                KeyColumns::Columns(_) if !row.has_parent => (RowProblemKind::Orphan, None),
                KeyColumns::Columns(_) => match table.place(&row.key, self.layout().shards()) {
                    Ok(wanted) if wanted == row.shard => {
                        right.push((row, Some(name(wanted))));
                        continue;
                    }
                    Ok(wanted) => (RowProblemKind::Misplaced, Some(name(wanted))),
                    Err(_) => (RowProblemKind::Unmapped, None),
                },
            };
            let (id, shard) = (row.id.clone(), name(row.shard));
            problems.push(RowProblem { table: table.name, id, kind, shard, wanted });
        }
        // Ids that a database generates are unique on its shard only.
        if right.len() > 1 && table.id_kind != IdKind::Auto {
            let kind = RowProblemKind::Duplicate;
            problems.extend(right.into_iter().map(|(row, wanted)| RowProblem {
                table: table.name,
                id: row.id.clone(),
                kind,
                shard: name(row.shard),
                wanted,
            }));
        }
        problems
    }
}

impl Session {
    fn problems_of(&mut self, table: &'static Table, ids: &[Value<'static>]) -> Result<Vec<RowProblem>> {
        let layout = self.work.tx.cluster.shared_layout();
        let parent = table.parent.map(|parent| layout.model(parent.table)).transpose()?;
        let models: Vec<usize> = parent.into_iter().chain([layout.model(table)?]).collect();
        let all = ShardSet::all(layout.shards());
        self.work.tx.lock(&all, &models)?;
        let mut rows = Vec::new();
        for &shard in all.indexes() {
            let params = [Param::List(ids.iter().map(Value::borrowed).collect())];
            rows.extend(self.key_rows(table, shard, EntryValues::Listed, &params)?);
        }
        rows.sort_by(|a, b| a.id.order(&b.id).then(a.shard.cmp(&b.shard)));
        let same = rows.chunk_by(|a, b| a.id.order(&b.id).is_eq());
        Ok(same.flat_map(|rows| self.work.tx.cluster.problems_of_rows(table, rows)).collect())
    }

    /// Reads the ids, keys and parents of rows on a shard, in the order of the ids.
    fn key_rows(
        &mut self,
        table: &'static Table,
        shard: usize,
        which: EntryValues,
        params: &[Param<'_>],
    ) -> Result<Vec<KeyRow>> {
        let layout = self.work.tx.cluster.shared_layout();
        let key: &[usize] = match table.key {
            KeyColumns::Columns(columns) => columns,
            KeyColumns::Parent(_) => &[],
        };
        let parent =
            table.parent.map(|parent| layout.model(parent.table).and_then(|model| layout.sql(model, shard)));
        let parent = parent.transpose()?.map(|sql| sql.name.as_str());
        let sql = layout.sql(layout.model(table)?, shard)?.keys(table, key, parent, which);
        self.work.tx.is_ready(shard, Some(table))?;
        self.work.tx.on(shard, table, &sql, |statement| {
            let mut rows = statement.query(params)?;
            let mut found = Vec::new();
            while rows.advance()? {
                let value = |position: usize, column: usize| -> Result<Value<'static>> {
                    let value = rows.value(position).map_err(|error| table.error_at(column, error))?;
                    Ok(as_declared(value.into_owned(), table, column))
                };
                let id = value(0, table.id)?;
                let key = key.iter().enumerate().map(|(position, &column)| value(position + 2, column));
                let key = key.collect::<Result<Vec<_>>>()?;
                let has_parent = rows.value(1).map_err(Error::from)? == Value::Integer(1);
                found.push(KeyRow { id, shard, key, has_parent });
            }
            let read = found.len() as u64;
            Ok((found, read))
        })
    }
}

/// Converts a value to its column's type: SQLite returns a UUID as bytes.
fn as_declared(value: Value<'static>, table: &Table, column: usize) -> Value<'static> {
    let kind = table.columns.get(column).map(|column| column.kind);
    match value {
        Value::Bytes(bytes) if kind == Some(ColumnType::Uuid) => match <[u8; 16]>::try_from(&*bytes) {
            Ok(uuid) => Value::Uuid(uuid),
            Err(_) => Value::Bytes(bytes),
        },
        value => value,
    }
}
