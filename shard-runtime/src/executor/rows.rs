//! The rows of one statement on this thread: counted, located in errors, compared by the order of a query. Uses the
//! cursors of `driver` and the context of `transaction`.

use std::cmp::Ordering;

use crate::collation::Collation;
use crate::driver::{Prepared, RowCursor};
use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::planner::MergeBy;
use crate::planner::sql::Param;
use crate::row::{LoadedModel, RowSource, Stream};
use crate::schema::{Shard, Table};
use crate::transaction::{Transactions, locate};
use crate::value::Value;

/// The rows of one shard's statement, counted.
pub(crate) struct ShardRows<'s> {
    pub(crate) cursor: Box<dyn RowCursor + 's>,
    pub(crate) tx: &'s Transactions,
    pub(crate) shard: &'s Shard,
    pub(crate) table: Option<&'static Table>,
    pub(crate) read: u64,
    /// The reason why a partial result lacks rows.
    pub(super) failed: Option<ErrorKind>,
    /// The current row's values that other shards spell differently, with the indexes of their columns.
    respelled: Vec<(usize, Value<'static>)>,
}

impl Stream for ShardRows<'_> {
    fn advance(&mut self) -> Result<bool> {
        self.respelled.clear();
        match self.cursor.advance() {
            Ok(found) => {
                self.read += u64::from(found);
                Ok(found)
            }
            // In a partial result, the rows of a shard end with its error.
            Err(error) => {
                let error = locate(error, self.shard, self.table);
                self.failed = Some(error.kind());
                self.tx.context.tolerated(error).map(|()| false)
            }
        }
    }
}

impl<'s> ShardRows<'s> {
    pub(crate) fn new(
        tx: &'s Transactions,
        shard: &'s Shard,
        table: Option<&'static Table>,
        cursor: Box<dyn RowCursor + 's>,
    ) -> Self {
        ShardRows { cursor, tx, shard, table, read: 0, failed: None, respelled: Vec::new() }
    }

    /// Reads the current row's values in the columns that order the result.
    pub(super) fn read_key(&self, order: &[MergeBy], key: &mut Vec<Value<'static>>) -> Result<()> {
        key.clear();
        for MergeBy { index, by, function, .. } in order {
            let value = self.cursor.value(*index);
            let value = match (self.table, function) {
                (Some(table), None) => table.value_of(by.column, value),
                (Some(table), Some(_)) => value.map_err(|error| table.error_at(by.column, error)),
                (None, _) => value.map_err(Error::from),
            };
            key.push(value.map_err(|error| error.on_shard(self.shard.name()))?.into_owned());
        }
        Ok(())
    }

    /// Unites the current row with an equal row of another shard: of two spellings the result has the least, regardless of
    /// the shard.
    pub(super) fn unite(&mut self, order: &[MergeBy], other: &[Value<'static>]) {
        let declared = order.iter().zip(other).filter(|(by, _)| by.collation != Collation::Binary);
        for (MergeBy { index, .. }, other) in declared {
            if self.value(*index).is_ok_and(|own| other.order(&own).is_lt()) {
                self.respelled.retain(|(respelled, _)| respelled != index);
                self.respelled.push((*index, other.clone()));
            }
        }
    }
}

impl RowSource for ShardRows<'_> {
    fn value(&self, index: usize) -> Result<Value<'_>, crate::error::ValueError> {
        match self.respelled.iter().find(|(column, _)| *column == index) {
            Some((_, value)) => Ok(value.borrowed()),
            None => self.cursor.value(index),
        }
    }

    fn column_names(&self) -> Vec<String> {
        self.cursor.columns()
    }

    fn model(&self) -> Option<LoadedModel> {
        self.cursor.model()
    }
}

/// The rows of a statement that begins when its first row is read.
pub(super) struct Later<'a, 's> {
    pub(super) begun: Option<Box<dyn RowCursor + 'a>>,
    pub(super) pending: Option<(&'a mut Box<dyn Prepared + 's>, &'a [Param<'a>])>,
}

impl Stream for Later<'_, '_> {
    fn advance(&mut self) -> Result<bool> {
        if let Some((statement, params)) = self.pending.take() {
            self.begun = Some(statement.query(params)?);
        }
        self.begun.as_mut().map_or(Ok(false), |cursor| cursor.advance())
    }
}

impl RowSource for Later<'_, '_> {
    fn value(&self, index: usize) -> Result<Value<'_>, ValueError> {
        match &self.begun {
            Some(cursor) => cursor.value(index),
            None => Err(ValueError::new("the statement has not begun")),
        }
    }
}

impl RowCursor for Later<'_, '_> {
    fn width(&self) -> usize {
        self.begun.as_ref().map_or(0, |cursor| cursor.width())
    }

    fn columns(&self) -> Vec<String> {
        self.begun.as_ref().map_or_else(Vec::new, |cursor| cursor.columns())
    }
}

/// Compares two rows by the columns that order a query.
pub(super) fn compare(order: &[MergeBy], a: &[Value<'_>], b: &[Value<'_>]) -> Ordering {
    let ordering = |(MergeBy { by, collation, .. }, (a, b)): (&MergeBy, (&_, &_))| by.order(*collation, a, b);
    let mut orderings = order.iter().zip(a.iter().zip(b)).map(ordering);
    orderings.find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
}
