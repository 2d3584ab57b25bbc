//! Reads the rows of a table once. It finds values that are not of their fields' types, keys without a shard, orphans, and values
//! that several rows share.

use super::columns::ComparedTable;
use super::report::AdoptionFinding;
use crate::driver::Connection;
use crate::error::{Error, Result};
use crate::planner::sql::quoted;
use crate::planner::{Layout, Location};
use crate::schema::{ColumnDef, KeyColumns, Shard, Table};
use crate::value::{ColumnType, Value};

/// The table whose rows are read.
pub(super) struct TableReader<'r> {
    pub(super) connection: &'r dyn Connection,
    pub(super) location: &'r Location,
    pub(super) layout: &'r Layout,
    pub(super) shard: &'r Shard,
    pub(super) table: &'static Table,
}

/// The rows with one problem.
#[derive(Default)]
struct Found {
    rows: u64,
    /// The first of them, and the reason.
    first: Option<(String, String)>,
}

impl Found {
    fn add(&mut self, row: impl FnOnce() -> String, why: impl FnOnce() -> String) {
        self.rows += 1;
        self.first.get_or_insert_with(|| (row(), why()));
    }

    fn message(&self, all: u64, what: &str) -> Option<String> {
        let (row, why) = self.first.as_ref()?;
        let rows = self.rows;
        Some(format!("{rows} of {all} rows {what}: {why} (for example the row with {row})"))
    }
}

/// The result of reading the rows.
pub(super) struct RowsRead {
    pub(super) rows: u64,
    /// The highest id, if ids are integers.
    pub(super) highest: Option<i64>,
    pub(super) findings: Vec<AdoptionFinding>,
}

impl TableReader<'_> {
    pub(super) fn read(&self, compared: &ComparedTable) -> Result<RowsRead> {
        let mut read = RowsRead { rows: 0, highest: None, findings: Vec::new() };
        let table = self.table;
        let exists = |column: &ColumnDef| {
            compared.actual.iter().any(|actual| self.is_named(&actual.name, column))
                && !compared.unchecked.iter().any(|unchecked| unchecked == column.name)
        };
        let columns: Vec<(usize, &ColumnDef)> =
            table.columns.iter().enumerate().filter(|(_, column)| exists(column)).collect();
        if columns.is_empty() {
            return Ok(read);
        }
        let key = match table.key {
            KeyColumns::Columns(columns) if !table.is_reference() => columns,
            _ => &[],
        };
        // The indexes of these columns in a row; none if one of them is not read.
        let at = |index: usize| columns.iter().position(|(column, _)| *column == index);
        let key_at: Option<Vec<usize>> = key.iter().map(|&column| at(column)).collect();
        let id_at = at(table.id);
        let names: Vec<String> = columns.iter().map(|(_, column)| quoted(column.name)).collect();
        let on = self.location.names.table(table.name);
        let mut statement = self.connection.prepare(&format!("SELECT {} FROM {on}", names.join(", ")))?;
        let mut rows = statement.query(&[])?;
        let mut unreadable: Vec<Found> = columns.iter().map(|_| Found::default()).collect();
        let mut nulls: Vec<u64> = vec![0; columns.len()];
        let mut unmapped = Found::default();
        while rows.advance()? {
            read.rows += 1;
            let row = || {
                let id = id_at.and_then(|at| rows.value(at).ok());
                let name = table.columns.get(table.id).map_or("id", |id| id.name);
                id.map_or_else(|| "an unreadable id".to_owned(), |id| format!("{name} {id}"))
            };
            for (position, ((_, column), found)) in columns.iter().zip(&mut unreadable).enumerate() {
                let value = rows.value(position);
                let is_null = matches!(value, Ok(Value::Null));
                if let Err(error) = value.and_then(|value| column.check(value, self.shard)) {
                    found.add(row, || error.to_string());
                    if let Some(nulls) = nulls.get_mut(position).filter(|_| is_null) {
                        *nulls += 1;
                    }
                }
            }
            if let Some(Ok(Value::Integer(id))) = id_at.map(|at| rows.value(at)) {
                read.highest = read.highest.max(Some(id));
            }
            if let Some(positions) = key_at.as_ref().filter(|positions| !positions.is_empty()) {
                let value = |(&position, &column)| table.value_of(column, rows.value(position));
                let key: Result<Vec<Value<'_>>> = positions.iter().zip(key).map(value).collect();
                // Unreadable keys were found before.
                if let Ok(key) = key
                    && let Err(error) = table.place(&key, self.layout.shards())
                {
                    unmapped.add(row, || error.to_string());
                }
            }
        }
        drop(rows);
        drop(statement);
        for (((_, column), found), nulls) in columns.iter().zip(&unreadable).zip(nulls) {
            let Some(message) = found.message(read.rows, "cannot be read") else { continue };
            let finding = AdoptionFinding::new(table.name, message).at(column.name);
            read.findings.push(self.healed(finding, column, nulls == found.rows));
        }
        if let Some(message) = unmapped.message(read.rows, "have a key without a shard") {
            let column = key.first().and_then(|&column| table.columns.get(column)).map_or("", |key| key.name);
            read.findings.push(
                AdoptionFinding::new(table.name, message)
                    .at(column)
                    .remedy("add the value to the placement of the model, or change the rows"),
            );
        }
        self.orphans(&exists, &mut read)?;
        self.shared_values(&exists, &mut read)?;
        Ok(read)
    }

    /// Returns whether statements find the column by this name. A server compares names with their case.
    fn is_named(&self, name: &str, column: &ColumnDef) -> bool {
        name == column.name
            || (!self.location.dialect.is_on_server() && name.eq_ignore_ascii_case(column.name))
    }

    /// Adds the remedy for values that cannot be read.
    fn healed(&self, finding: AdoptionFinding, column: &ColumnDef, are_null: bool) -> AdoptionFinding {
        let (on, name) = (self.location.names.table(self.table.name), quoted(column.name));
        let id = quoted(self.table.columns.get(self.table.id).map_or("id", |id| id.name));
        if are_null {
            let value = match &column.default {
                Some(default) => self.location.dialect.literal_of(default.value),
                None => self.location.dialect.default_sql(column.kind).to_owned(),
            };
            return finding
                .remedy("make the field an `Option`, or run this SQL with a value of your choice")
                .sql([format!("UPDATE {on} SET {name} = {value} WHERE {name} IS NULL")]);
        }
        if self.location.dialect.has_column_types() {
            let sql = format!("SELECT {id}, {name} FROM {on} ORDER BY {id}");
            return finding.remedy("change the field's type, or the values that this SQL lists").sql([sql]);
        }
        if column.kind == ColumnType::Timestamp {
            // Times without a zone, as most programs write them: `2013-01-01 05:00:00.25`.
            let sql = format!(
                "UPDATE {on} SET {name} = CAST(strftime('%s', {name}) AS INTEGER) * 1000000 + \
                 CAST(substr(substr({name}, 21) || '000000', 1, 6) AS INTEGER) WHERE typeof({name}) = 'text' \
                 AND strftime('%s', {name}) IS NOT NULL AND {name} GLOB '????-??-??[T ]??:??:??*' AND {name} NOT GLOB '*[Z+]*' \
                 AND substr({name}, 20) NOT GLOB '*[-:]*'"
            );
            return finding
                .remedy(
                    "if other programs write texts there, give the field a type that implements `Field` over text; otherwise run \
                     this SQL, which converts times in UTC to microseconds since 1970",
                )
                .sql([sql]);
        }
        let kind = match column.kind {
            ColumnType::Boolean | ColumnType::Integer | ColumnType::Timestamp => "integer",
            ColumnType::Real => "real",
            ColumnType::Text | ColumnType::Json => "text",
            ColumnType::Bytes | ColumnType::Uuid => "blob",
        };
        let sql = format!(
            "SELECT {id}, {name}, typeof({name}) FROM {on} ORDER BY typeof({name}) = '{kind}', {id} LIMIT 100"
        );
        finding.remedy("change the field's type, or the values that this SQL lists first").sql([sql])
    }

    /// Finds rows that refer to rows that do not exist.
    fn orphans(&self, exists: &dyn Fn(&ColumnDef) -> bool, read: &mut RowsRead) -> Result<()> {
        let table = self.table;
        let parent = table.parent.map(|parent| (parent.column, parent.table));
        let references = table.references.iter().map(|reference| (reference.column, reference.table));
        for (column, other) in parent.into_iter().chain(references) {
            let Some(column) = table.columns.get(column).filter(|column| exists(column)) else { continue };
            let Some(other_id) = other.columns.get(other.id) else { continue };
            let (names, dialect) = (&self.location.names, self.location.dialect);
            let actual = self.connection.columns(names, other.name)?;
            let held = actual.iter().find(|actual| self.is_named(&actual.name, other_id));
            let is_strict = || self.connection.is_strict(names, other.name);
            let Some(held) = held else { continue };
            if !dialect.holds(other_id.kind, &held.sql_type, is_strict)? {
                continue;
            }
            let (on, to) = (names.table(table.name), names.table(other.name));
            let (from, id, own) = (
                quoted(column.name),
                quoted(other_id.name),
                quoted(table.columns.get(table.id).map_or("id", |id| id.name)),
            );
            let lacks = format!(
                "FROM {on} AS child WHERE child.{from} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {to} AS parent WHERE \
                 parent.{id} = child.{from})"
            );
            let (rows, first) = self.count(&format!("SELECT count(*), min(child.{own}) {lacks}"))?;
            if rows > 0 {
                let message = format!(
                    "{rows} of {} rows refer to a row of `{}` that does not exist (for example the row with the id {first})",
                    read.rows, other.name
                );
                read.findings.push(
                    AdoptionFinding::new(table.name, message)
                        .at(column.name)
                        .remedy("insert the missing rows, or delete the rows that this SQL lists")
                        .sql([format!("SELECT child.* {lacks}")]),
                );
            }
        }
        Ok(())
    }

    /// Finds values that several rows share although the model declares them to be unique.
    fn shared_values(&self, exists: &dyn Fn(&ColumnDef) -> bool, read: &mut RowsRead) -> Result<()> {
        let table = self.table;
        let lookups = self.layout.lookups_of(table).map(|lookup| (vec![lookup.column], "`#[lookup]`"));
        let indexes = table.indexes.iter().filter(|index| index.unique);
        let unique = lookups.chain(indexes.map(|index| (index.columns.to_vec(), "unique index")));
        for (columns, what) in unique.collect::<Vec<_>>() {
            let columns: Vec<&ColumnDef> =
                columns.iter().filter_map(|&column| table.columns.get(column)).collect();
            if !columns.iter().all(|column| exists(column)) {
                continue;
            }
            let on = self.location.names.table(table.name);
            let names: Vec<String> = columns.iter().map(|column| quoted(column.name)).collect();
            let filled: Vec<String> = names.iter().map(|name| format!("{name} IS NOT NULL")).collect();
            let id = quoted(table.columns.get(table.id).map_or("id", |id| id.name));
            let shared = |select: &str| {
                format!(
                    "SELECT {select} FROM {on} WHERE {} GROUP BY {} HAVING count(*) > 1",
                    filled.join(" AND "),
                    names.join(", ")
                )
            };
            let (values, first) = self.count(&format!(
                "SELECT count(*), min(first) FROM ({}) AS shared",
                shared(&format!("min({id}) AS first"))
            ))?;
            if values > 0 {
                let message = format!(
                    "{values} values of the {what} are shared by several rows (one of them by the row with the id {first})"
                );
                let listed = format!("{}, count(*)", names.join(", "));
                let mut finding = AdoptionFinding::new(table.name, message)
                    .remedy("give each row a value of its own; this SQL lists the values that rows share")
                    .sql([shared(&listed)]);
                if let [column] = columns.as_slice() {
                    finding = finding.at(column.name);
                }
                read.findings.push(finding);
            }
        }
        Ok(())
    }

    /// Returns the count and the example of a statement with these two columns.
    fn count(&self, sql: &str) -> Result<(i64, String)> {
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query(&[])?;
        let mut found = (0, String::new());
        while rows.advance()? {
            if let Value::Integer(count) = rows.value(0).map_err(Error::from)? {
                found = (count, rows.value(1).map_err(Error::from)?.to_string());
            }
        }
        Ok(found)
    }
}
