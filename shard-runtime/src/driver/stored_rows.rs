//! Rows that are copied in their stored form from one database to another of the same kind. The copy reads only the
//! values that determine a row's target. Uses `value`.

use crate::error::Result;
use crate::value::{ColumnType, Value};

/// A function that returns the index of the part for a row, from some of its values; `None` means every part.
pub(crate) type RouteRow<'r> = dyn FnMut(&[Value<'_>]) -> Result<Option<usize>> + 'r;

/// The rows of a statement.
pub(crate) trait StoredRows {
    /// Returns the next bytes, which may end within a row; `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<u8>>>;

    /// Reads the next rows, and appends each to its part, without its last columns. These have the types `keys`; `route`
    /// chooses the part by their values. Returns whether there may be more.
    fn split(&mut self, keys: &[ColumnType], parts: &mut [Vec<u8>], route: &mut RouteRow<'_>)
    -> Result<bool>;
}

/// A statement that accepts rows.
pub(crate) trait StoredRowsWriter {
    /// Sends the next bytes of all rows of a statement.
    fn write(&mut self, bytes: Vec<u8>) -> Result<()>;

    /// Sends whole rows that were [split](StoredRows::split).
    fn write_rows(&mut self, rows: Vec<u8>) -> Result<()>;

    /// Ends the statement. Returns the number of rows.
    fn end(self: Box<Self>) -> Result<u64>;
}
