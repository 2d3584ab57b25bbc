//! What a unit of work has done to one database, kept so that it can be done once more: statements with their bound
//! values, in their order. Pure; nothing here knows of transactions.
//!
//! In the decision record a statement's values are bytes: for each time that it ran the number of its parameters, and
//! for each of them a tag and the value. Lengths and counts are LEB128, numbers little-endian.

use std::borrow::Cow;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Param;
use crate::planner::{AnyRow, Change};
use crate::row::Binder;
use crate::schema::Table;
use crate::value::Value;

/// How many bytes of values one part of a record holds at most, a single run's apart.
const PART: usize = 1 << 20;

/// What was done to one database since its transaction began.
#[derive(Default)]
pub(crate) struct Redo {
    done: Vec<Done>,
    /// What was done before this is not added to: it may have to stay when what comes after is undone.
    sealed: usize,
}

enum Done {
    /// A statement that ran once or several times, one after the other.
    Statement { sql: String, runs: Vec<u8> },
    /// A statement that ran once for each of these rows, which are shared with who else has them.
    Rows { sql: String, table: &'static Table, change: Change, rows: Vec<Arc<dyn AnyRow>> },
    /// Something that would not do the same if it were done again.
    Unrepeatable { what: String },
}

impl Redo {
    /// Notes that a statement ran with these parameters.
    pub(crate) fn statement(&mut self, sql: &str, params: &[Param<'_>]) {
        let encoded = |runs: &mut Vec<u8>| encode_run(params, runs);
        self.runs(sql, encoded);
    }

    /// Notes runs of a statement, encoded with [`encode_run`] or [`encode_values`].
    pub(crate) fn runs(&mut self, sql: &str, encode: impl FnOnce(&mut Vec<u8>)) {
        if let Some(Done::Statement { sql: last, runs }) = self.last()
            && last == sql
        {
            return encode(runs);
        }
        let mut runs = Vec::new();
        encode(&mut runs);
        self.done.push(Done::Statement { sql: sql.to_owned(), runs });
    }

    /// Notes that this was done with each of these rows of a table.
    pub(crate) fn rows(
        &mut self,
        sql: &str,
        table: &'static Table,
        change: Change,
        mut rows: Vec<Arc<dyn AnyRow>>,
    ) {
        if let Some(Done::Rows { sql: last, rows: before, .. }) = self.last()
            && last == sql
        {
            return before.append(&mut rows);
        }
        self.done.push(Done::Rows { sql: sql.to_owned(), table, change, rows });
    }

    /// What was done last, where it may be added to.
    fn last(&mut self) -> Option<&mut Done> {
        if self.done.len() > self.sealed { self.done.last_mut() } else { None }
    }

    /// Notes that something was done that cannot be done again.
    pub(crate) fn unrepeatable(&mut self, what: impl Into<String>) {
        self.done.push(Done::Unrepeatable { what: what.into() });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// What cannot be done again, where there is such a thing.
    pub(crate) fn first_unrepeatable(&self) -> Option<&str> {
        self.done.iter().find_map(|done| match done {
            Done::Unrepeatable { what } => Some(what.as_str()),
            Done::Statement { .. } | Done::Rows { .. } => None,
        })
    }

    /// A point to come back to.
    pub(crate) fn mark(&mut self) -> usize {
        self.sealed = self.done.len();
        self.sealed
    }

    /// Forgets what was done after a mark.
    pub(crate) fn back_to(&mut self, mark: usize) {
        self.done.truncate(mark);
        self.sealed = self.sealed.min(mark);
    }

    /// Visits the statements with their encoded runs, in the order in which they ran, in parts of bounded size.
    pub(crate) fn parts(&self, mut visit: impl FnMut(&str, &[u8]) -> Result<()>) -> Result<()> {
        for done in &self.done {
            match done {
                Done::Statement { sql, runs } => visit(sql, runs)?,
                Done::Rows { sql, table, change, rows } => {
                    let (mut runs, mut binder) = (Vec::new(), Binder::new(table));
                    for row in rows {
                        change.bind(table, &**row, &mut binder)?;
                        encode_values(&binder.values, &mut runs);
                        if runs.len() >= PART {
                            visit(sql, &runs)?;
                            runs.clear();
                        }
                    }
                    if !runs.is_empty() {
                        visit(sql, &runs)?;
                    }
                }
                Done::Unrepeatable { what } => {
                    return Err(Error::new(ErrorKind::Query, format!("{what} cannot be done again")));
                }
            }
        }
        Ok(())
    }
}

/// Adds one run of a statement with these parameters.
fn encode_run(params: &[Param<'_>], runs: &mut Vec<u8>) {
    number(params.len() as u64, runs);
    for param in params {
        match param {
            Param::Value(one) => value(one, runs),
            Param::List(values) => {
                runs.push(tag::LIST);
                number(values.len() as u64, runs);
                values.iter().for_each(|each| value(each, runs));
            }
        }
    }
}

/// Adds one run of a statement whose parameters are these values.
pub(crate) fn encode_values(values: &[Value<'_>], runs: &mut Vec<u8>) {
    number(values.len() as u64, runs);
    values.iter().for_each(|each| value(each, runs));
}

mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const INTEGER: u8 = 3;
    pub(super) const REAL: u8 = 4;
    pub(super) const TEXT: u8 = 5;
    pub(super) const BYTES: u8 = 6;
    pub(super) const UUID: u8 = 7;
    pub(super) const TIMESTAMP: u8 = 8;
    pub(super) const JSON: u8 = 9;
    pub(super) const LIST: u8 = 10;
}

fn value(value: &Value<'_>, runs: &mut Vec<u8>) {
    let mut sized = |tag: u8, bytes: &[u8]| {
        runs.push(tag);
        number(bytes.len() as u64, runs);
        runs.extend_from_slice(bytes);
    };
    match value {
        Value::Text(text) => sized(tag::TEXT, text.as_bytes()),
        Value::Json(text) => sized(tag::JSON, text.as_bytes()),
        Value::Bytes(bytes) => sized(tag::BYTES, bytes),
        Value::Null => runs.push(tag::NULL),
        Value::Boolean(false) => runs.push(tag::FALSE),
        Value::Boolean(true) => runs.push(tag::TRUE),
        Value::Integer(integer) => {
            runs.push(tag::INTEGER);
            runs.extend_from_slice(&integer.to_le_bytes());
        }
        Value::Timestamp(micros) => {
            runs.push(tag::TIMESTAMP);
            runs.extend_from_slice(&micros.to_le_bytes());
        }
        Value::Real(real) => {
            runs.push(tag::REAL);
            runs.extend_from_slice(&real.to_le_bytes());
        }
        Value::Uuid(uuid) => {
            runs.push(tag::UUID);
            runs.extend_from_slice(uuid);
        }
    }
}

fn number(mut number: u64, runs: &mut Vec<u8>) {
    while number >= 0x80 {
        runs.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    runs.push(number as u8);
}

/// The runs that are encoded in a part of a record.
pub(crate) struct Runs<'b> {
    rest: &'b [u8],
}

impl<'b> Runs<'b> {
    pub(crate) fn decode(bytes: &'b [u8]) -> Self {
        Runs { rest: bytes }
    }

    /// The parameters of the next run.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the bytes are not what was written.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Param<'b>>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let run = || -> Option<Vec<Param<'b>>> {
            let count = self.number()?;
            (0..count).map(|_| self.param()).collect()
        };
        match { run }() {
            Some(params) => Ok(Some(params)),
            None => Err(Error::new(ErrorKind::Corrupt, "a decision record is damaged")),
        }
    }

    fn param(&mut self) -> Option<Param<'b>> {
        if self.rest.first() == Some(&tag::LIST) {
            self.take(1)?;
            let count = self.number()?;
            return (0..count).map(|_| self.value()).collect::<Option<_>>().map(Param::List);
        }
        self.value().map(Param::Value)
    }

    fn value(&mut self) -> Option<Value<'b>> {
        Some(match *self.take(1)?.first()? {
            tag::NULL => Value::Null,
            tag::FALSE => Value::Boolean(false),
            tag::TRUE => Value::Boolean(true),
            tag::INTEGER => Value::Integer(i64::from_le_bytes(self.array()?)),
            tag::TIMESTAMP => Value::Timestamp(i64::from_le_bytes(self.array()?)),
            tag::REAL => Value::Real(f64::from_le_bytes(self.array()?)),
            tag::UUID => Value::Uuid(self.array()?),
            tag::TEXT => Value::Text(Cow::Borrowed(self.text()?)),
            tag::JSON => Value::Json(Cow::Borrowed(self.text()?)),
            tag::BYTES => {
                let length = self.number()?;
                Value::Bytes(Cow::Borrowed(self.take(length)?))
            }
            _ => return None,
        })
    }

    fn text(&mut self) -> Option<&'b str> {
        let length = self.number()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<usize> {
        let mut number: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return usize::try_from(number).ok();
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> Vec<Param<'static>> {
        let values = [
            Value::Null,
            Value::Boolean(true),
            Value::Boolean(false),
            Value::Integer(i64::MIN),
            Value::Integer(-1),
            Value::Timestamp(i64::MAX),
            Value::Real(-0.0),
            Value::Real(f64::MIN_POSITIVE),
            Value::Text("".into()),
            Value::Text("ümläut \u{10FFFF}".repeat(100).into()),
            Value::Json("{\"a\": 1}".into()),
            Value::Bytes(vec![0, 255, 10].into()),
            Value::Uuid([7; 16]),
        ];
        let list = Param::List(values.to_vec());
        values.into_iter().map(Param::Value).chain([list, Param::List(Vec::new())]).collect()
    }

    fn decoded(redo: &Redo) -> Vec<(String, Vec<Param<'static>>)> {
        let mut found = Vec::new();
        redo.parts(|sql, bytes| {
            let mut runs = Runs::decode(bytes);
            while let Some(params) = runs.next()? {
                found.push((sql.to_owned(), params.iter().map(Param::to_owned).collect()));
            }
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn what_is_read_is_what_was_done_in_its_order() {
        let mut redo = Redo::default();
        redo.statement("a", &every_kind());
        redo.statement("a", &[]);
        redo.statement("b", &[Param::Value(Value::Integer(1))]);
        redo.statement("a", &every_kind());
        let sql: Vec<String> = decoded(&redo).into_iter().map(|(sql, _)| sql).collect();
        assert_eq!(sql, ["a", "a", "b", "a"]);
        let params: Vec<usize> = decoded(&redo).into_iter().map(|(_, params)| params.len()).collect();
        assert_eq!(params, [every_kind().len(), 0, 1, every_kind().len()]);
        assert_eq!(decoded(&redo)[0].1, every_kind());
    }

    #[test]
    fn what_was_done_after_a_mark_can_be_forgotten() {
        let mut redo = Redo::default();
        let one = [Param::Value(Value::Integer(1))];
        redo.statement("a", &one);
        let outer = redo.mark();
        redo.statement("a", &one); // the same statement as before the mark
        let inner = redo.mark();
        redo.statement("a", &one);
        redo.back_to(inner);
        assert_eq!(decoded(&redo).len(), 2);
        redo.back_to(outer);
        assert_eq!(decoded(&redo).len(), 1);
        redo.unrepeatable("random()");
        assert_eq!(redo.first_unrepeatable(), Some("random()"));
        redo.back_to(0);
        assert!(redo.is_empty() && redo.first_unrepeatable().is_none());
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let mut bytes = Vec::new();
        encode_run(&every_kind(), &mut bytes);
        for length in 1..bytes.len() {
            let cut = bytes.get(..length).unwrap();
            assert_eq!(Runs::decode(cut).next().unwrap_err().kind(), ErrorKind::Corrupt, "{length}");
        }
        for wrong in [&[1, 11][..], &[0xff; 11], &[1, tag::TEXT, 1, 0xff], &[1, tag::LIST, 1, tag::LIST]] {
            assert_eq!(Runs::decode(wrong).next().unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
