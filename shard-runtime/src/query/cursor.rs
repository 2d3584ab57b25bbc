//! Cursors of keyset paging: the position after the last row of a page.
//!
//! A cursor holds the order values, the shard and the id of the last row, and a fingerprint of the query. Its text is
//! hexadecimal: the header of `value::codec`, the fingerprint, the shard's name, and the values.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use super::select::{Pin, SelectCore};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::hash;
use crate::schema::{Shard, Shards, Table};
use crate::value::Value;
use crate::value::codec::{self, Reader};

/// The position after the last row of a page.
///
/// [`Select::cursor`](crate::Select::cursor) makes it of a row, [`Columns::with_cursor`](crate::query::Columns::with_cursor) returns it
/// with each row, and [`Select::after`](crate::Select::after) continues after it.
///
/// As text (`to_string`, `parse`) it can be sent to a client and back. It is not secret. A changed text is an error, or another
/// position in the rows of the same query.
#[derive(Clone, Debug, PartialEq)]
pub struct Cursor {
    pub(crate) fingerprint: u64,
    /// The shard's name; after a change of the layout also its epoch, see [`shard_text`].
    pub(crate) shard: String,
    /// The values of the columns that order the row, in their order, and last its id.
    pub(crate) values: Vec<Value<'static>>,
}

/// Returns a hash of a query's rows and order, to distinguish it from other queries. Limit, offset and the shard that the
/// session is pinned to are not part of it.
fn fingerprint(core: &SelectCore, distinct: Option<&[usize]>) -> u64 {
    let SelectCore { target, order, .. } = core;
    let pins: Vec<&Pin> = target.pins.iter().filter(|pin| !matches!(pin, Pin::Session(_))).collect();
    let mut message = format!("{} {:?} {pins:?} {order:?}", target.table.name, target.predicate);
    if let Some(columns) = distinct {
        let _ = write!(message, " distinct {columns:?}");
    }
    hash::hash_bytes(message.as_bytes(), 0)
}

impl Cursor {
    /// Returns the position after a row with these values on this shard. `distinct` has the columns of distinct rows.
    pub(super) fn new(
        core: &SelectCore,
        distinct: Option<&[usize]>,
        shard: &Shard,
        values: Vec<Value<'static>>,
    ) -> Self {
        Cursor { fingerprint: fingerprint(core, distinct), shard: shard_text(shard), values }
    }

    /// Returns the index of the shard of the cursor's row.
    ///
    /// # Errors
    /// [`ErrorKind::Cursor`] if the shard does not exist, or if the layout was changed since the cursor was made. Rows that
    /// the query's order leaves equal are ordered by their shards, which the change may have replaced.
    pub(crate) fn shard_index_in(&self, table: &Table, shards: &Shards) -> Result<usize> {
        let unknown = |error: Error| {
            let message = "cursor names a shard that the cluster does not have; begin again without a cursor";
            Error::new(ErrorKind::Cursor, message).with_source(error).in_table(table.name)
        };
        let (name, epoch) = self.shard.split_once('\0').unwrap_or((&self.shard, "1"));
        if epoch.parse() != Ok(shards.epoch()) {
            let message = "the layout was changed since the cursor was made; begin again without a cursor";
            return Err(Error::new(ErrorKind::Cursor, message).in_table(table.name));
        }
        shards.require(name).map(Shard::index).map_err(unknown)
    }
}

/// Returns the name of a shard. After a change of the layout, a NUL, which no name contains, and the epoch follow.
fn shard_text(shard: &Shard) -> String {
    match shard.epoch() {
        1 => shard.name().to_owned(),
        epoch => format!("{}\0{epoch}", shard.name()),
    }
}

impl SelectCore {
    /// Returns the columns that determine the position of a row: those of the order, then the id. For distinct rows, the other
    /// distinct columns replace the id.
    ///
    /// # Errors
    /// [`ErrorKind::Query`] if the query has no order.
    pub(super) fn cursor_columns(&self, distinct: Option<&[usize]>) -> Result<Vec<usize>> {
        let mut columns: Vec<usize> = self.order.iter().map(|by| by.column).collect();
        match distinct {
            Some(all) => {
                let others: Vec<usize> =
                    all.iter().copied().filter(|column| !columns.contains(column)).collect();
                columns.extend(others);
            }
            None if columns.is_empty() => {
                let message = "keyset paging requires `order_by`";
                return Err(Error::new(ErrorKind::Query, message).in_table(self.target.table.name));
            }
            None => columns.push(self.target.table.id),
        }
        Ok(columns)
    }

    /// Returns the cursor after which the rows begin.
    ///
    /// # Errors
    /// [`ErrorKind::Cursor`] if the cursor was created by a different query.
    pub(crate) fn begin(&self, distinct: Option<&[usize]>) -> Result<Option<&Cursor>> {
        let Some(cursor) = &self.after else { return Ok(None) };
        let columns = self.cursor_columns(distinct).map_or(0, |columns| columns.len());
        if cursor.fingerprint == fingerprint(self, distinct) && cursor.values.len() == columns {
            return Ok(Some(cursor));
        }
        let message = "cursor was created by a different query (filter, order or shard differs)";
        Err(Error::new(ErrorKind::Cursor, message).in_table(self.target.table.name))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = codec::HEADER.to_vec();
        bytes.extend(self.fingerprint.to_le_bytes());
        codec::put_bytes(self.shard.as_bytes(), &mut bytes);
        self.values.iter().for_each(|value| codec::put_value(value, &mut bytes));
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Cursor {
    type Err = Error;

    /// Reads the text of a cursor.
    ///
    /// # Errors
    /// [`ErrorKind::Cursor`] if the text is not that of a cursor.
    fn from_str(text: &str) -> Result<Self> {
        let mut shown = String::new();
        let _ = write!(shown, "{:.40}", text.escape_debug().to_string());
        read(text)
            .ok_or_else(|| Error::new(ErrorKind::Cursor, format!("`{shown}` is not the text of a cursor")))
    }
}

fn read(text: &str) -> Option<Cursor> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Vec<u8> = pairs
        .iter()
        .map(|[high, low]| Some((digit(*high)? * 16 + digit(*low)?) as u8))
        .collect::<Option<_>>()?;
    let mut reader = Reader::new(codec::without_header(&bytes)?);
    let fingerprint = u64::from_le_bytes(reader.array()?);
    let shard = reader.text()?.to_owned();
    let mut values = Vec::new();
    while !reader.is_empty() {
        values.push(reader.value()?.into_owned());
    }
    Some(Cursor { fingerprint, shard, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_text_and_back() {
        let values = vec![
            Value::Null,
            Value::Boolean(true),
            Value::Integer(i64::MIN),
            Value::Real(-0.5),
            Value::Text("Zürich".into()),
            Value::Bytes(vec![0, 255].into()),
            Value::Uuid([7; 16]),
            Value::Timestamp(-1),
            Value::Json("{}".into()),
        ];
        let cursor = Cursor { fingerprint: 42, shard: "asia".into(), values };
        let text = cursor.to_string();
        assert_eq!(text.parse::<Cursor>().unwrap(), cursor);
        // A shortened or changed text is an error or another cursor, never a panic.
        for end in 0..text.len() {
            assert!(text[..end].parse::<Cursor>().map_or(true, |other| other != cursor), "{end}");
        }
        for position in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[position] = if bytes[position] == b'f' { b'0' } else { b'f' };
            let changed = String::from_utf8(bytes).unwrap().parse::<Cursor>();
            assert!(changed.map_or(true, |other| other != cursor), "{position}");
        }
        for wrong in ["", "0", "zz", "02", "Ä", "800002ff"] {
            assert_eq!(wrong.parse::<Cursor>().unwrap_err().kind(), ErrorKind::Cursor, "{wrong}");
        }
    }
}
