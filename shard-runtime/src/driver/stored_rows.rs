//! Rows that go from one database to another of its kind as they are stored: what a copy reads of them are the values by which
//! it finds their target. Uses `value`.

use crate::error::Result;
use crate::value::{ColumnType, Value};

/// A function that finds the part that a row belongs to, from some of its values; `None` is every part.
pub(crate) type RouteRow<'r> = dyn FnMut(&[Value<'_>]) -> Result<Option<usize>> + 'r;

/// The rows of a statement.
pub(crate) trait StoredRows {
    /// Returns the next bytes, which may end within a row; `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<u8>>>;

    /// Reads the next rows, and appends each to its part, without the last columns, which have these kinds and are the values
    /// that its part is found by. Returns whether there may be more.
    fn split(&mut self, keys: &[ColumnType], parts: &mut [Vec<u8>], route: &mut RouteRow<'_>)
    -> Result<bool>;
}

/// A statement that takes rows.
pub(crate) trait StoredRowsWriter {
    /// Sends the next bytes of all rows of a statement.
    fn write(&mut self, bytes: Vec<u8>) -> Result<()>;

    /// Sends whole rows that were [split](StoredRows::split).
    fn write_rows(&mut self, rows: Vec<u8>) -> Result<()>;

    /// Ends the statement. Returns the number of rows.
    fn end(self: Box<Self>) -> Result<u64>;
}
