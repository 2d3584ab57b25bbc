//! The redo record of one database: the statements of a transaction with their bound values, in their order, so that
//! recovery can run them again. Pure; uses `value::codec`.
//!
//! In the decision log the values of a statement are bytes: a header, and for each run the number of parameters and the
//! parameters.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Param;
use crate::planner::{AnyRow, RowChange};
use crate::schema::Table;
use crate::value::Value;
use crate::value::codec::{self, Reader};

/// The largest number of bytes of values in one part of a record, unless a single run is larger.
const PART: usize = 1 << 20;

/// The statements on one database since its transaction began.
#[derive(Default)]
pub(crate) struct Redo {
    done: Vec<DoneStatement>,
    /// Entries before this index get no further runs: a rollback may keep them and undo later ones.
    sealed: usize,
}

enum DoneStatement {
    /// A statement that ran one or several times in a row.
    Statement { sql: String, runs: Vec<u8> },
    /// A statement that ran once for each of these rows, which are shared with their handles.
    Rows { sql: String, table: &'static Table, change: RowChange, rows: Vec<Arc<dyn AnyRow>> },
    /// A statement whose result would differ if it ran again.
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
        if let Some(DoneStatement::Statement { sql: last, runs }) = self.last()
            && last == sql
        {
            return encode(runs);
        }
        let mut runs = Vec::new();
        encode(&mut runs);
        self.done.push(DoneStatement::Statement { sql: sql.to_owned(), runs });
    }

    /// Notes that this statement ran for each of these rows of a table.
    pub(crate) fn rows(
        &mut self,
        sql: &str,
        table: &'static Table,
        change: RowChange,
        mut rows: Vec<Arc<dyn AnyRow>>,
    ) {
        if let Some(DoneStatement::Rows { sql: last, rows: before, .. }) = self.last()
            && last == sql
        {
            return before.append(&mut rows);
        }
        self.done.push(DoneStatement::Rows { sql: sql.to_owned(), table, change, rows });
    }

    /// Returns the last entry, if it may get further runs.
    fn last(&mut self) -> Option<&mut DoneStatement> {
        if self.done.len() > self.sealed { self.done.last_mut() } else { None }
    }

    /// Notes a statement that cannot be repeated.
    pub(crate) fn unrepeatable(&mut self, what: impl Into<String>) {
        self.done.push(DoneStatement::Unrepeatable { what: what.into() });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// Returns the first statement that cannot be repeated.
    pub(crate) fn first_unrepeatable(&self) -> Option<&str> {
        self.done.iter().find_map(|done| match done {
            DoneStatement::Unrepeatable { what } => Some(what.as_str()),
            DoneStatement::Statement { .. } | DoneStatement::Rows { .. } => None,
        })
    }

    /// Returns the current end, for [`Redo::truncate`].
    pub(crate) fn mark(&mut self) -> usize {
        self.sealed = self.done.len();
        self.sealed
    }

    /// Forgets the statements after a mark.
    pub(crate) fn truncate(&mut self, mark: usize) {
        self.done.truncate(mark);
        self.sealed = self.sealed.min(mark);
    }

    /// Visits the statements with their encoded runs, in the order in which they ran, in parts of bounded size.
    pub(crate) fn parts(&self, mut visit: impl FnMut(&str, &[u8]) -> Result<()>) -> Result<()> {
        for done in &self.done {
            match done {
                DoneStatement::Statement { sql, runs } => visit(sql, runs)?,
                DoneStatement::Rows { sql, table, change, rows } => {
                    let (mut runs, mut values) = (Vec::new(), Vec::new());
                    for row in rows {
                        change.bind(table, &**row, &mut values)?;
                        encode_values(&values, &mut runs);
                        if runs.len() >= PART {
                            visit(sql, &runs)?;
                            runs.clear();
                        }
                    }
                    if !runs.is_empty() {
                        visit(sql, &runs)?;
                    }
                }
                DoneStatement::Unrepeatable { what } => {
                    return Err(Error::new(ErrorKind::Query, format!("{what} cannot be done again")));
                }
            }
        }
        Ok(())
    }
}

/// Adds one run of a statement with these parameters.
fn encode_run(params: &[Param<'_>], runs: &mut Vec<u8>) {
    codec::put_number(params.len() as u64, runs);
    for param in params {
        match param {
            Param::Value(value) => codec::put_value(value, runs),
            Param::List(values) => codec::put_list(values, runs),
        }
    }
}

/// Adds one run of a statement whose parameters are these values.
pub(crate) fn encode_values(values: &[Value<'_>], runs: &mut Vec<u8>) {
    codec::put_number(values.len() as u64, runs);
    values.iter().for_each(|value| codec::put_value(value, runs));
}

/// Returns runs in the form in which they are stored.
pub(crate) fn stored(runs: &[u8]) -> Vec<u8> {
    [&codec::HEADER, runs].concat()
}

/// Iterates over the encoded runs of a part of a record.
pub(crate) struct Runs<'b>(Reader<'b>);

impl<'b> Runs<'b> {
    /// Reads stored runs, also those of releases that wrote no header.
    pub(crate) fn decode(bytes: &'b [u8]) -> Self {
        Runs(Reader::new(codec::without_header(bytes).unwrap_or(bytes)))
    }

    /// Returns the parameters of the next run.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the bytes are damaged.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Param<'b>>>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let params = self.0.number().and_then(|count| (0..count).map(|_| self.param()).collect());
        params.map(Some).ok_or_else(|| Error::new(ErrorKind::Corrupt, "a decision record is damaged"))
    }

    fn param(&mut self) -> Option<Param<'b>> {
        match self.0.list() {
            Some(values) => values.map(Param::List),
            None => self.0.value().map(Param::Value),
        }
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
        redo.truncate(inner);
        assert_eq!(decoded(&redo).len(), 2);
        redo.truncate(outer);
        assert_eq!(decoded(&redo).len(), 1);
        redo.unrepeatable("random()");
        assert_eq!(redo.first_unrepeatable(), Some("random()"));
        redo.truncate(0);
        assert!(redo.is_empty() && redo.first_unrepeatable().is_none());
    }

    #[test]
    fn records_of_release_0_1_have_no_header() {
        // One run: an integer and a text.
        let old = [2, 3, 7, 0, 0, 0, 0, 0, 0, 0, 5, 1, b'a'];
        let expected = vec![Param::Value(Value::Integer(7)), Param::Value(Value::Text("a".into()))];
        for bytes in [old.to_vec(), stored(&old)] {
            let mut runs = Runs::decode(&bytes);
            assert_eq!(runs.next().unwrap(), Some(expected.clone()));
            assert_eq!(runs.next().unwrap(), None);
        }
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let mut bytes = Vec::new();
        encode_run(&every_kind(), &mut bytes);
        for length in 1..bytes.len() {
            let cut = bytes.get(..length).unwrap();
            assert_eq!(Runs::decode(cut).next().unwrap_err().kind(), ErrorKind::Corrupt, "{length}");
        }
        for wrong in [&[1, 11][..], &[0xff; 11], &[1, 5, 1, 0xff], &[1, 10, 1, 10]] {
            assert_eq!(Runs::decode(wrong).next().unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
