//! The SQL text of the statements that sessions run, in the dialect of each database. Uses `query` and `schema`; no
//! I/O.
//!
//! Every name is quoted, every value is a parameter, and no text is parsed. A list is one parameter of any length, so
//! that the text does not depend on the values and is prepared once.

mod change;
mod collated;
mod computed;
mod condition;
mod copies;
mod create;
mod dialect;
mod entries;
mod groups;
mod held;
mod moved_key;
mod namespace;
mod paging;
mod pattern;
mod related;
mod relocate;
mod table;

pub(crate) use change::Captured;
pub(crate) use collated::collation_name;
pub(crate) use computed::{ADD, BETWEEN, MULTIPLY, OUT_OF_RANGE, SINGLE, SUBTRACT};
pub(crate) use copies::ATTACHED;
pub(crate) use create::{
    DeclaredIndex, create_sql, create_table_sql, indexes, rest_sql, shortened, type_sql,
};
pub(crate) use dialect::Dialect;
pub(crate) use entries::EntryValues;
pub(crate) use moved_key::{LEFT_TRIGGER, RefusedKeys};
pub(crate) use namespace::Namespace;
pub(crate) use paging::After;
use related::Scope;
pub(crate) use table::TableSql;

use crate::error::{Error, ErrorKind, Result};
use crate::query::SelectList;
use crate::query::{Operand, OrderBy, Predicate, WriteCore};
use crate::schema::Table;
use crate::value::Value;

/// The function of every SQLite connection that returns the canonical text of a document.
pub(crate) const DOCUMENT: &str = "sharded_document";

/// A parameter: one value, or a list of values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Param<'q> {
    Value(Value<'q>),
    List(Vec<Value<'q>>),
}

impl Param<'_> {
    /// Returns the parameter with owned values.
    pub(crate) fn to_owned(&self) -> Param<'static> {
        let owned = |value: &Value<'_>| value.clone().into_owned();
        match self {
            Param::Value(value) => Param::Value(owned(value)),
            Param::List(values) => Param::List(values.iter().map(owned).collect()),
        }
    }
}

/// The text of a statement and its parameters, in order.
#[derive(Clone, Debug)]
pub(crate) struct Statement<'q> {
    pub(crate) sql: String,
    pub(crate) params: Vec<Param<'q>>,
}

/// Returns a name, quoted.
pub(crate) fn quoted(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    for part in name.split('"') {
        quoted.push_str(if quoted.is_empty() { "\"" } else { "\"\"" });
        quoted.push_str(part);
    }
    quoted.push('"');
    quoted
}

/// Returns a text as a literal of PostgreSQL, for any content and any `standard_conforming_strings`.
pub(crate) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    match doubled.contains('\\') {
        true => format!("E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}

/// The context of a statement on one shard.
pub(crate) struct SqlContext<'s> {
    pub(crate) dialect: Dialect,
    pub(crate) table: &'static Table,
    pub(crate) sql: &'s TableSql,
    /// The names of the shard's tables.
    pub(crate) names: &'s Namespace,
    pub(crate) share: &'s dyn ShardFilter,
}

/// The filter of the values that can match on a shard: lists are split, and each shard gets its own values.
pub(crate) trait ShardFilter {
    /// Returns whether a row with this value in this column can be on the shard. A link to a parent on another
    /// shard matches no row.
    fn holds(&self, table: &Table, column: usize, operand: &Operand) -> bool;

    /// Returns the values of a list for which [`holds`](ShardFilter::holds) returns true.
    fn held<'o>(&self, table: &Table, column: usize, operands: &'o [Operand]) -> Vec<&'o Operand> {
        operands.iter().filter(|operand| self.holds(table, column, operand)).collect()
    }

    /// Returns whether a row with this key can be on the shard.
    fn holds_key(&self, table: &Table, key: &[Value<'_>]) -> bool;
}

/// Keeps all values.
pub(crate) struct NoFilter;

impl ShardFilter for NoFilter {
    fn holds(&self, _: &Table, _: usize, _: &Operand) -> bool {
        true
    }

    fn holds_key(&self, _: &Table, _: &[Value<'_>]) -> bool {
        true
    }
}

/// Selects the rows of a condition on one shard, or an aggregate of them.
pub(crate) fn select<'q>(
    site: &SqlContext<'_>,
    predicate: &'q Predicate,
    projection: SelectList<'_>,
    after: Option<After<'_, 'q>>,
    order: &[OrderBy],
    (limit, offset): (Option<u64>, u64),
    for_update: bool,
) -> Result<Statement<'q>> {
    let lock = Lock::of(site, projection, for_update);
    let from = match lock {
        // The locked rows are a CTE with this name.
        Lock::InnerRows => &site.sql.plain,
        Lock::Nothing | Lock::Rows => &site.sql.name,
    };
    let bounded = limit.is_some() || offset > 0;
    let mut writer = match projection {
        SelectList::Rows => SqlWriter::start(site, site.sql.select.clone()),
        SelectList::Columns { columns, distinct } => SqlWriter::start_columns(site, from, columns, distinct),
        SelectList::RowsWithParents(generations) => SqlWriter::start_with_parents(site, generations),
        SelectList::RowsWithReferences(references) => SqlWriter::start_with_references(site, references),
        SelectList::Count if bounded => {
            SqlWriter::start(site, format!("SELECT count(*) FROM (SELECT 1 FROM {from}"))
        }
        SelectList::Count => SqlWriter::start(site, format!("SELECT count(*) FROM {from}")),
        SelectList::Existence => SqlWriter::start(site, format!("SELECT 1 FROM {from}")),
        SelectList::Groups { keys, measures, .. } => SqlWriter::start_groups(site, from, keys, measures),
    };
    match lock {
        Lock::Nothing | Lock::Rows => writer.conditions(predicate, after)?,
        Lock::InnerRows => {
            let mut locked =
                SqlWriter::start(site, format!("WITH {from} AS (SELECT * FROM {}", site.sql.name));
            locked.conditions(predicate, after)?;
            locked.order_by(&[by_id(site.table)]);
            locked.sql.push_str(&format!(" FOR UPDATE OF {from}) {}", writer.sql));
            writer = locked;
        }
    }
    match projection {
        SelectList::Groups { keys, having, order, .. } => writer.groups(keys, having, order)?,
        SelectList::Columns { columns, distinct: true } => {
            writer.one_of_each_spelling(columns);
            writer.order_by(order);
        }
        // PostgreSQL locks rows in the order in which it finds them.
        _ if lock == Lock::Rows && order.is_empty() && !bounded => writer.order_by(&[by_id(site.table)]),
        _ => writer.order_by(order),
    }
    writer.bounds(limit, offset);
    if projection == SelectList::Count && bounded {
        writer.sql.push_str(") AS counted");
    }
    if lock == Lock::Rows {
        writer.sql.push_str(&format!(" FOR UPDATE OF {}", site.sql.plain));
    }
    Ok(writer.finish())
}

/// Locks the rows of a read for update on one shard of a server, ordered by id. Otherwise two sessions that lock some of the
/// same rows in different orders would deadlock. The rows of a page are those that the read would return now.
pub(crate) fn lock<'q>(
    site: &SqlContext<'_>,
    predicate: &'q Predicate,
    after: Option<After<'_, 'q>>,
    order: &[OrderBy],
    (limit, offset): (Option<u64>, u64),
) -> Result<Statement<'q>> {
    let (from, id) = (&site.sql.name, site.table.columns.get(site.table.id));
    let id = id.map_or_else(String::new, |column| quoted(column.name));
    let mut writer = SqlWriter::start(site, format!("SELECT {id} FROM {from}"));
    writer.conditions(predicate, after)?;
    let is_page = limit.is_some() || offset > 0;
    match is_page {
        true => writer.order_by(order),
        false => writer.order_by(&[by_id(site.table)]),
    }
    writer.bounds(limit, offset);
    if is_page {
        writer.sql = format!("SELECT {id} FROM {from} WHERE {id} IN ({}) ORDER BY {id}", writer.sql);
    }
    writer.sql.push_str(&format!(" FOR UPDATE OF {}", site.sql.plain));
    Ok(writer.finish())
}

fn by_id(table: &Table) -> OrderBy {
    OrderBy { column: table.id, descending: false, nulls_first: true }
}

/// The lock of the rows of a select, until the transaction ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lock {
    /// None, or the lock of the whole database.
    Nothing,
    /// `FOR UPDATE` of the select.
    Rows,
    /// `FOR UPDATE` of an inner select: PostgreSQL cannot lock aggregates.
    InnerRows,
}

impl Lock {
    fn of(site: &SqlContext<'_>, projection: SelectList<'_>, for_update: bool) -> Self {
        match projection {
            _ if !for_update || site.dialect == Dialect::Sqlite => Lock::Nothing,
            SelectList::Count | SelectList::Groups { .. } | SelectList::Columns { distinct: true, .. } => {
                Lock::InnerRows
            }
            SelectList::Rows
            | SelectList::RowsWithParents(_)
            | SelectList::RowsWithReferences(_)
            | SelectList::Existence => Lock::Rows,
            SelectList::Columns { distinct: false, .. } => Lock::Rows,
        }
    }
}

/// Updates or deletes the rows of a condition on one shard.
pub(crate) fn write<'q>(site: &SqlContext<'_>, core: &'q WriteCore) -> Result<Statement<'q>> {
    let mut writer = match &core.set {
        None => SqlWriter::start(site, format!("DELETE FROM {}", site.sql.name)),
        Some(set) if set.is_empty() => {
            return Err(Error::new(ErrorKind::Query, "the update sets no column; call `set`")
                .in_table(site.table.name));
        }
        Some(set) => {
            let mut writer = SqlWriter::start(site, format!("UPDATE {} SET ", site.sql.name));
            for (index, (column, assigned)) in set.iter().chain(&core.raised).enumerate() {
                if index > 0 {
                    writer.sql.push_str(", ");
                }
                writer.column(*column);
                writer.sql.push_str(" = ");
                writer.assigned(*column, assigned)?;
            }
            writer
        }
    };
    writer.filter(core.target.condition())?;
    Ok(writer.finish())
}

/// Returns the `RETURNING` clause with these columns.
pub(crate) fn returning(table: &Table, columns: &[usize]) -> String {
    let name = |&column: &usize| quoted(table.columns.get(column).map_or("", |column| column.name));
    let columns: Vec<String> = columns.iter().map(name).collect();
    format!(" RETURNING {}", columns.join(", "))
}

/// Selects the children of these parents, those of one parent ordered by id.
pub(crate) fn children<'q>(
    site: &SqlContext<'_>,
    parent_column: usize,
    parents: Vec<Value<'q>>,
) -> Statement<'q> {
    let mut writer = SqlWriter::start(site, format!("{} WHERE ", site.sql.select));
    writer.column(parent_column);
    writer.list(parents);
    let by = |column| OrderBy { column, descending: false, nulls_first: true };
    writer.order_by(&[by(parent_column), by(site.table.id)]);
    writer.finish()
}

struct SqlWriter<'s, 'q> {
    site: &'s SqlContext<'s>,
    /// The rows whose columns are in scope.
    scope: Scope,
    sql: String,
    params: Vec<Param<'q>>,
}

impl<'s, 'q> SqlWriter<'s, 'q> {
    fn start(site: &'s SqlContext<'s>, sql: String) -> Self {
        SqlWriter { site, scope: Scope::of(site), sql, params: Vec::new() }
    }

    fn finish(self) -> Statement<'q> {
        Statement { sql: self.sql, params: self.params }
    }

    fn column(&mut self, column: usize) {
        self.sql.push_str(&self.scope.column(column));
    }

    fn param(&mut self, param: Param<'q>) {
        self.params.push(param);
        let placeholder = self.site.dialect.param(self.params.len());
        self.sql.push_str(&placeholder);
    }

    fn operand(&mut self, column: usize, operand: &'q Operand) -> Result<()> {
        match &operand.value {
            Ok(value) => self.param(Param::Value(value.borrowed())),
            Err(error) => return Err(self.scope.table.error_at(column, error.clone())),
        }
        Ok(())
    }

    fn list(&mut self, values: Vec<Value<'q>>) {
        self.params.push(Param::List(values));
        let is_in = self.site.dialect.is_in(self.params.len());
        self.sql.push_str(&is_in);
    }

    fn order_by(&mut self, order: &[OrderBy]) {
        for (index, by) in order.iter().enumerate() {
            self.sql.push_str(if index == 0 { " ORDER BY " } else { ", " });
            self.ordered_by(by);
        }
    }

    fn ordered_by(&mut self, by: &OrderBy) {
        self.sql.push_str(&self.compared_column(by.column));
        // PostgreSQL uses no index whose NULLs are elsewhere than in the requested order, even for a column that is
        // NOT NULL.
        let has_none = self.definition(by.column).is_some_and(|column| !column.nullable);
        match self.site.dialect == Dialect::Postgres && has_none {
            true => self.sql.push_str(if by.descending { " DESC" } else { " ASC" }),
            false => self.direction(by.descending, by.nulls_first),
        }
    }

    fn direction(&mut self, descending: bool, nulls_first: bool) {
        self.sql.push_str(if descending { " DESC" } else { " ASC" });
        self.sql.push_str(if nulls_first { " NULLS FIRST" } else { " NULLS LAST" });
    }

    fn bounds(&mut self, limit: Option<u64>, offset: u64) {
        let rows = |rows: u64| Param::Value(Value::Integer(i64::try_from(rows).unwrap_or(i64::MAX)));
        match (limit, offset, self.site.dialect) {
            (None, 0, _) => return,
            (Some(limit), _, Dialect::Sqlite) => {
                // SQLite plans by the value of a limit that is a bare parameter, and prepares the statement again for
                // each value. A sum is not a bare parameter.
                self.sql.push_str(" LIMIT ");
                self.param(rows(limit));
                self.sql.push_str(" + 0");
            }
            (None, _, Dialect::Sqlite) => self.sql.push_str(" LIMIT -1"),
            (Some(limit), _, Dialect::Postgres) => {
                self.sql.push_str(" LIMIT ");
                self.param(rows(limit));
            }
            (None, _, Dialect::Postgres) => {}
        }
        if offset > 0 {
            self.sql.push_str(" OFFSET ");
            self.param(rows(offset));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r42_names_are_quoted() {
        assert_eq!(quoted("order"), "\"order\"");
        assert_eq!(quoted("a\"; DROP TABLE b; --"), "\"a\"\"; DROP TABLE b; --\"");
    }

    #[test]
    fn r42_texts_are_texts_whatever_they_contain() {
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
    }
}
