//! Queries without their types: the requests that a session plans and runs, and the receivers of returned rows.

use super::groups::{GroupCore, GroupOrderCore};
use super::measure::{HavingCore, MeasureCore};
use super::model::Sharded;
use super::raw::SqlCore;
use super::select::SelectCore;
use super::stored::Stored;
use super::write::WriteCore;
use crate::error::Result;
use crate::row::{LoadModel, Row};
use crate::schema::{ReferenceDef, Table};

/// The columns that a read returns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SelectList<'q> {
    /// Every column of every row.
    Rows,
    /// These columns of every row, in their order. If `distinct`, one row of those that are equal in them.
    Columns { columns: &'q [usize], distinct: bool },
    /// Every column of every row and, after them, those of its parent, and so on for this many generations.
    RowsWithParents(usize),
    /// Every column of every row and, after them, those of each row of a reference table that these columns refer to.
    RowsWithReferences(&'q [ReferenceDef]),
    /// The number of rows.
    Count,
    /// A constant for every row, to find out whether there is one.
    Existence,
    /// The values in some columns, and partial values of the rows that are equal in them. Only groups for which all of the
    /// `having` conditions hold, in this order.
    Groups {
        keys: &'q [usize],
        measures: &'q [MeasureCore],
        having: &'q [HavingCore],
        order: &'q [GroupOrderCore],
    },
}

/// A read, without its types.
#[derive(Debug)]
pub struct Request<'q>(pub(crate) Read<'q>);

impl Request<'_> {
    /// Returns the table whose rows are read; `None` for SQL.
    pub(crate) fn table(&self) -> Option<&'static Table> {
        match self.0 {
            Read::Models(core, _) | Read::Select(core, _) | Read::Count(core) | Read::Exists(core) => {
                Some(core.target.table)
            }
            Read::Groups(core) => Some(core.select.target.table),
            Read::Sql(_) => None,
        }
    }
}

/// The kinds of read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read<'q> {
    /// The rows of a select, each loaded as its model, also by a worker.
    Models(&'q SelectCore, LoadModel),
    /// The rows of a select, each read as the list of columns describes.
    Select(&'q SelectCore, SelectList<'q>),
    /// The number of rows that a select finds: one row with one integer.
    Count(&'q SelectCore),
    /// Whether a select finds a row: one row with one boolean.
    Exists(&'q SelectCore),
    /// Groups of rows: each a row of the groups' columns and, after them, their measures.
    Groups(&'q GroupCore),
    /// The rows of SQL.
    Sql(&'q SqlCore),
}

/// A statement that writes, without its types.
#[derive(Debug)]
pub struct WriteRequest<'q>(pub(crate) BulkWrite<'q>);

/// The kinds of statements that write.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BulkWrite<'q> {
    /// A bulk update or delete, and whether the written rows are returned.
    Rows(&'q WriteCore, Returned),
    /// SQL that writes.
    Sql(&'q SqlCore),
}

/// Whether a statement returns the rows that it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returned {
    Count,
    Rows,
}

/// Collects the rows that a statement returns. It is cleared if the statement runs again.
pub trait Collect: Default {
    #[doc(hidden)]
    fn clear(&mut self);
    #[doc(hidden)]
    fn push(&mut self, row: &Row<'_>) -> Result<()>;
}

impl Collect for () {
    fn clear(&mut self) {}

    fn push(&mut self, _: &Row<'_>) -> Result<()> {
        Ok(())
    }
}

impl<T: Sharded> Collect for Vec<Stored<T>> {
    fn clear(&mut self) {
        Vec::clear(self);
    }

    fn push(&mut self, row: &Row<'_>) -> Result<()> {
        self.push(Stored::loaded(row)?);
        Ok(())
    }
}
