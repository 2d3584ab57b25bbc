//! Copies rows in their stored form, without converting them to values: between files in one statement of SQLite, between servers
//! by `COPY`. Uses `links`, `rows` and `planner::sql`.
//!
//! The tables on both sides have the same types, so that the target accepts every stored value. A value that no field of the
//! model can hold is copied unchanged, and found when the copies are compared. If the target refuses a row, or a row belongs on
//! no target, the batch is copied as values. That copy's error names the row.

use super::copy::Copier;
use super::links::{AttachedSource, Endpoint};
use super::rows::{between, list};
use super::shape::TableShape;
use crate::driver::{Connection, StoredRowsWriter};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Dialect, Param};
use crate::schema::{Rule, Table};
use crate::value::Value;

/// The number of bytes that are sent to one target at once.
const PIECE: usize = 1 << 19;

/// The result of copying a batch in its stored form.
pub(super) enum StoredCopy {
    /// The number of rows, and the last id; `None` if there were none.
    Copied(Option<(u64, Value<'static>)>),
    /// The rows have to be copied as values.
    Refused,
}

/// The next rows to copy: those after an id, up to a number.
type IdRange<'r> = (Option<&'r Value<'r>>, u32);

impl Copier<'_> {
    /// Copies the next rows of a table.
    ///
    /// Between files, it replaces a row that exists already. Between servers, the batch is then copied as values.
    pub(super) fn copy_stored(
        &self,
        reader: &dyn Connection,
        source: usize,
        table: &'static Table,
        range: IdRange<'_>,
        attached: Option<&AttachedSource<'_>>,
    ) -> Result<StoredCopy> {
        let shape = self.tables.shape(source, table)?;
        let Some(&from) = self.sources.get(source) else { return Err(self.tables.unknown()) };
        if !shape.is_stored_alike.get() {
            return Ok(StoredCopy::Refused);
        }
        let copied = match attached {
            Some(attached) => self.between_files(attached, (source, from), (table, shape), range),
            None => self.between_servers(reader, (source, from), (table, shape), range),
        };
        match copied {
            Err(error) if error.kind() == ErrorKind::Unique => Ok(StoredCopy::Refused),
            Err(error) if is_about_rows(&error) => {
                shape.is_stored_alike.set(false);
                Ok(StoredCopy::Refused)
            }
            copied => copied,
        }
    }

    /// Returns the targets that get rows of a table from any source.
    fn receivers(&self, table: &Table) -> &[Endpoint<'_>] {
        let goes_to_all = table.is_reference() || self.tables.rule(table).is_some();
        self.targets.get(..if goes_to_all { self.targets.len() } else { 1 }).unwrap_or_default()
    }

    /// Copies a batch between files. Each target reads the source's file in its own snapshot, which begins after the attempt was
    /// locked there. If a row has changed between two snapshots, a dirty entry exists for it.
    fn between_files(
        &self,
        attached: &AttachedSource<'_>,
        (source, from): (usize, Endpoint<'_>),
        (table, shape): (&'static Table, &TableShape),
        range: IdRange<'_>,
    ) -> Result<StoredCopy> {
        let receivers = self.receivers(table);
        let Some(&first) = receivers.first() else { return Err(self.tables.unknown()) };
        let (dialect, name) = (from.location.dialect, from.location.names.table(table.name));
        let (reader, schema) = (self.links.at(first)?, attached.schema(first));
        let Some(last) = last_id(reader, &format!("{schema}.{name}"), shape, dialect, range)? else {
            return Ok(StoredCopy::Copied(None));
        };
        let (condition, params) = between(&format!("moved.{}", shape.id), dialect, range.0, Some(&last));
        let routed = match self.tables.rule(table) {
            Some(rule) => {
                let columns = [format!("moved.{}", shape.id)];
                let sql = shape.select_from(&format!("{schema}."), &name, &columns) + &condition;
                Some(self.routed(reader, source, (table, shape, rule), (&sql, &params))?)
            }
            None => None,
        };
        let mut rows = 0;
        for (at, &target) in receivers.iter().enumerate() {
            let own = target.location.names.table(table.name);
            let of_source = (attached.schema(target), name.as_str());
            let Some(insert) = dialect.insert_from_sql(&own, &shape.names, of_source) else {
                return Ok(StoredCopy::Refused);
            };
            let ids = routed.as_ref().map(|routed| routed.get(at).map(Vec::as_slice).unwrap_or_default());
            let (condition, params) = match ids {
                Some([]) => continue,
                Some(ids) => (format!(" WHERE moved.{}{}", shape.id, dialect.is_in(1)), vec![list(ids)]),
                None => (condition.clone(), params.clone()),
            };
            let sql = format!("{insert}{condition} ORDER BY moved.{}{}", shape.id, shape.conflict);
            let inserted = self.links.at(target)?.prepare(&sql)?.execute(&params)?;
            rows = if table.is_reference() { inserted } else { rows + inserted };
        }
        Ok(StoredCopy::Copied(Some((rows, last))))
    }

    /// Reads ids with the keys of their rows. Returns the ids by target.
    fn routed(
        &self,
        reader: &dyn Connection,
        source: usize,
        (table, shape, rule): (&'static Table, &TableShape, &Rule),
        (sql, params): (&str, &[Param<'_>]),
    ) -> Result<Vec<Vec<Value<'static>>>> {
        let mut routed = vec![Vec::new(); self.targets.len()];
        let mut statement = reader.prepare(sql)?;
        let mut rows = statement.query(params)?;
        while rows.advance()? {
            let id = rows.value(0)?.into_kind(shape.id_kind)?.into_owned();
            let mut key = Vec::with_capacity(shape.key_kinds.len());
            for (at, kind) in (1..).zip(&shape.key_kinds) {
                let value = rows.value(at)?;
                key.push(if value == Value::Null { value } else { value.into_kind(*kind)? });
            }
            let target = self.tables.target_of_key(source, table, (rule, &key)).map_err(misplaced)?;
            if let Some(ids) = routed.get_mut(target) {
                ids.push(id);
            }
        }
        Ok(routed)
    }

    fn between_servers(
        &self,
        reader: &dyn Connection,
        (source, from): (usize, Endpoint<'_>),
        (table, shape): (&'static Table, &TableShape),
        range: IdRange<'_>,
    ) -> Result<StoredCopy> {
        let (dialect, name) = (from.location.dialect, from.location.names.table(table.name));
        let Some(sql) = dialect.copy_out_sql(&shape.select, &format!("moved.{}", shape.id), range) else {
            return Ok(StoredCopy::Refused);
        };
        let Some(last) = last_id(reader, &name, shape, dialect, range)? else {
            return Ok(StoredCopy::Copied(None));
        };
        let Some(mut rows) = reader.copy_out(&sql)? else { return Ok(StoredCopy::Refused) };
        let mut writers = CopyWriters { copier: self, table, shape, open: Vec::new(), rows: 0 };
        match self.receivers(table) {
            [_] => {
                while let Some(bytes) = rows.next()? {
                    let Some(writer) = writers.of(0)? else { return Ok(StoredCopy::Refused) };
                    writer.write(bytes)?;
                }
            }
            receivers => {
                let rule = self.tables.rule(table);
                let mut route = |key: &[Value<'_>]| match rule {
                    Some(rule) => {
                        let target = self.tables.target_of_key(source, table, (rule, key));
                        target.map(Some).map_err(misplaced)
                    }
                    None => Ok(None),
                };
                let mut parts = vec![Vec::new(); receivers.len()];
                let mut has_more = true;
                while has_more {
                    has_more = rows.split(&shape.key_kinds, &mut parts, &mut route)?;
                    for (at, part) in parts.iter_mut().enumerate() {
                        if part.len() >= PIECE || (!has_more && !part.is_empty()) {
                            let Some(writer) = writers.of(at)? else { return Ok(StoredCopy::Refused) };
                            writer.write_rows(std::mem::take(part))?;
                        }
                    }
                }
            }
        }
        let inserted = writers.end()?;
        let copies = if table.is_reference() { self.targets.len() as u64 } else { 1 };
        Ok(StoredCopy::Copied(Some((inserted / copies, last))))
    }
}

/// The open `COPY` statements into targets, at most one on each connection.
struct CopyWriters<'w> {
    copier: &'w Copier<'w>,
    table: &'static Table,
    shape: &'w TableShape,
    open: Vec<(usize, Endpoint<'w>, Box<dyn StoredRowsWriter + 'w>)>,
    rows: u64,
}

impl<'w> CopyWriters<'w> {
    /// Returns the statement of a target; `None` if its connection supports none. It ends that of another target on the same
    /// connection.
    fn of(&mut self, target: usize) -> Result<Option<&mut (dyn StoredRowsWriter + 'w)>> {
        let Some(&endpoint) = self.copier.targets.get(target) else { return Ok(None) };
        if !self.open.iter().any(|(at, ..)| *at == target) {
            if let Some(at) = self.open.iter().position(|(_, other, _)| other.shares_connection(endpoint)) {
                self.rows += self.open.swap_remove(at).2.end()?;
            }
            let name = endpoint.location.names.table(self.table.name);
            let Some(sql) = endpoint.location.dialect.copy_in_sql(&name, &self.shape.names) else {
                return Ok(None);
            };
            match self.copier.links.at(endpoint)?.copy_in(&sql)? {
                Some(writer) => self.open.push((target, endpoint, writer)),
                None => return Ok(None),
            }
        }
        let open = self.open.iter_mut().find(|(at, ..)| *at == target);
        Ok(open.map(|(.., writer)| &mut **writer))
    }

    /// Ends all statements. Returns the number of rows.
    fn end(self) -> Result<u64> {
        self.open.into_iter().try_fold(self.rows, |rows, (.., writer)| Ok(rows + writer.end()?))
    }
}

/// Returns the last id of a range; `None` if it has no rows.
fn last_id(
    connection: &dyn Connection,
    name: &str,
    shape: &TableShape,
    dialect: Dialect,
    (after, limit): IdRange<'_>,
) -> Result<Option<Value<'static>>> {
    let (condition, params) = between(&shape.id, dialect, after, None);
    let id = &shape.id;
    let full = format!("ORDER BY {id} LIMIT 1 OFFSET {}", limit.saturating_sub(1));
    // A range with fewer rows ends at the end of the table.
    for order in [full, format!("ORDER BY {id} DESC LIMIT 1")] {
        let mut statement = connection.prepare(&format!("SELECT {id} FROM {name}{condition} {order}"))?;
        let mut rows = statement.query(&params)?;
        if rows.advance()? {
            return Ok(Some(rows.value(0)?.into_kind(shape.id_kind)?.into_owned()));
        }
    }
    Ok(None)
}

/// Returns the error of a row without a target. The copy as values then reports the value's own error in its place.
fn misplaced(message: String) -> Error {
    Error::new(ErrorKind::Layout, message)
}

/// Returns whether the error leaves the transaction usable and the copy as values may succeed: its cause is a row or the
/// statement.
fn is_about_rows(error: &Error) -> bool {
    use ErrorKind::{Busy, ConnectionLost, Corrupt, Full, InDoubt, Io, Missing, ReadOnly, TimedOut};
    !matches!(
        error.kind(),
        Busy | ConnectionLost | Corrupt | Full | InDoubt | Io | Missing | ReadOnly | TimedOut
    )
}
