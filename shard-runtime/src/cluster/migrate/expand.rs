//! The SQL of tables and columns that the models have and a shard lacks, and the differences that no migration can remove. Uses
//! `cluster::schema`.

use super::create_table::Edit;
use super::rebuild;
use super::step::{Action, Migrations};
use crate::cluster::schema::{self, Difference};
use crate::cluster::schema_sql::table_sql;
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Param, quoted};
use crate::planner::{Layout, Location};
use crate::schema::{Shard, Table};
use crate::transaction::facts::texts;
use crate::value::{ColumnType, Value};

/// SQL of one transaction, or of statements outside of one, on a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SchemaWork {
    pub(super) sql: Vec<String>,
    pub(super) how: How,
}

/// The transaction of the statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// In one transaction, which also records them.
    Together,
    /// The same, on a SQLite connection that does not enforce foreign keys: they are checked before the commit.
    Rebuild,
    /// Each statement alone, outside of a transaction.
    Alone,
}

impl SchemaWork {
    pub(super) fn together(sql: Vec<String>) -> Self {
        SchemaWork { sql, how: How::Together }
    }
}

/// Returns the SQL that adds the tables and columns that a shard lacks. Columns that a step renames are not included: the step
/// adds them.
pub(super) fn pending(
    connection: &dyn Connection,
    location: &Location,
    layout: &Layout,
    migrations: &Migrations,
) -> Result<Vec<SchemaWork>> {
    let mut works = Vec::new();
    for table in layout.tables() {
        let actual = connection.columns(&location.names, table.name)?;
        if actual.is_empty() {
            works.push(SchemaWork::together(table_sql(table, location)));
            continue;
        }
        let on = location.names.table(table.name);
        for (index, column) in table.columns.iter().enumerate() {
            let exists = actual.iter().any(|actual| actual.name.eq_ignore_ascii_case(column.name));
            if exists || is_renamed(migrations, table, index) {
                continue;
            }
            let change = schema::add_column_sql(table, index, column, location);
            works.push(SchemaWork::together(vec![format!("ALTER TABLE {on} {change}")]));
        }
    }
    Ok(works)
}

fn is_renamed(migrations: &Migrations, table: &Table, column: usize) -> bool {
    actions(migrations).any(|action| match action {
        Action::Rename { table: of, column: renamed, .. } => of.is(table) && *renamed == column,
        _ => false,
    })
}

fn is_required(migrations: &Migrations, table: &Table, column: &str) -> bool {
    actions(migrations).any(|action| match action {
        Action::Require { table: of, column: required } => {
            of.is(table) && of.columns.get(*required).is_some_and(|required| required.name == column)
        }
        _ => false,
    })
}

fn is_old_name(migrations: &Migrations, table: &Table, column: &str) -> bool {
    actions(migrations).any(|action| match action {
        Action::Rename { table: of, from, .. } => of.is(table) && from.eq_ignore_ascii_case(column),
        Action::Drop { table: of, column: dropped } => of.is(table) && dropped.eq_ignore_ascii_case(column),
        _ => false,
    })
}

fn actions(migrations: &Migrations) -> impl Iterator<Item = &Action> {
    migrations.steps().iter().flat_map(|step| &step.actions)
}

/// Returns the differences that neither [`pending`] nor a step removes.
pub(super) fn refused(
    connection: &dyn Connection,
    location: &Location,
    layout: &Layout,
    shard: &Shard,
    migrations: &Migrations,
) -> Result<Vec<Difference>> {
    let compared = schema::ComparedPart::Existing;
    let mut found = schema::differences(connection, location, layout, shard, compared)?;
    found.retain(|difference| {
        let Some(column) = difference.column() else { return true };
        let Some(table) = layout.tables().find(|table| table.name == difference.table()) else { return true };
        let index = table.columns.iter().position(|declared| declared.name == column);
        let is_expected = match difference.change() {
            schema::SchemaChange::AddsColumn => true,
            schema::SchemaChange::AddsNotNull => {
                index.is_some_and(|index| is_renamed(migrations, table, index))
            }
            // A column that is renamed is nullable until the contract.
            schema::SchemaChange::SetsNotNull
                if index.is_some_and(|index| is_renamed(migrations, table, index)) =>
            {
                true
            }
            schema::SchemaChange::SetsNotNull | schema::SchemaChange::DropsNotNull => {
                is_required(migrations, table, column)
            }
            schema::SchemaChange::Extra => is_old_name(migrations, table, column),
            schema::SchemaChange::Retypes | schema::SchemaChange::Other => false,
        };
        !is_expected
    });
    Ok(found)
}

/// Returns the SQL that gives a column a default, if it is NOT NULL without one. From now on rows are added without it, and
/// earlier releases still read it.
///
/// # Errors
/// [`ErrorKind::Schema`] if its type has no default here, or if a unique index would refuse a second row with it.
pub(super) fn defaulted(
    connection: &dyn Connection,
    location: &Location,
    table: &Table,
    column: &str,
) -> Result<Option<SchemaWork>> {
    let Location { names, dialect, .. } = location;
    let actual = connection.columns(names, table.name)?;
    let found = actual.into_iter().find(|actual| actual.name.eq_ignore_ascii_case(column));
    let Some(found) = found.filter(|actual| !actual.nullable && !actual.has_default) else { return Ok(None) };
    if let Some(index) = unique_index(connection, location, table, column)? {
        let message = format!(
            "the column is NOT NULL and in the unique index `{index}`, so that rows cannot be added without it; make the field an \
             `Option` in the release before the one that drops the column"
        );
        return Err(Error::new(ErrorKind::Schema, message).in_table(table.name).at_column(column));
    }
    let all = [
        ColumnType::Boolean,
        ColumnType::Integer,
        ColumnType::Real,
        ColumnType::Text,
        ColumnType::Bytes,
        ColumnType::Uuid,
        ColumnType::Timestamp,
        ColumnType::Json,
    ];
    let kind = dialect.kind_of(&found.sql_type).or_else(|| {
        all.into_iter().find(|kind| dialect.column_type(*kind).eq_ignore_ascii_case(&found.sql_type))
    });
    let Some(kind) = kind else {
        let message = format!(
            "the column has the type {}, for which no default is known; run ALTER TABLE … ALTER COLUMN … SET DEFAULT before",
            found.sql_type
        );
        return Err(Error::new(ErrorKind::Schema, message).in_table(table.name).at_column(column));
    };
    let default = dialect.default_sql(kind);
    if dialect.alters_columns() {
        let (on, column) = (names.table(table.name), quoted(column));
        let sql = format!("ALTER TABLE {on} ALTER COLUMN {column} SET DEFAULT {default}");
        return Ok(Some(SchemaWork::together(vec![sql])));
    }
    let edits = [Edit::Default(column.to_owned(), default)];
    rebuild::work(connection, location, table, &edits, Vec::new()).map(Some)
}

/// Returns a unique index that includes the column.
fn unique_index(
    connection: &dyn Connection,
    location: &Location,
    table: &Table,
    column: &str,
) -> Result<Option<String>> {
    let Location { names, dialect, .. } = location;
    let (sql, table) = match dialect.is_on_server() {
        true => (
            "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) \
             WHERE i.indrelid = to_regclass($1) AND i.indisunique AND lower(a.attname) = lower($2) ORDER BY 1",
            names.table(table.name),
        ),
        false => (
            "SELECT l.name FROM pragma_index_list(?1) AS l, pragma_index_info(l.name) AS i \
             WHERE l.\"unique\" AND lower(i.name) = lower(?2) ORDER BY 1",
            names.plain(table.name),
        ),
    };
    let params = [table, column.to_owned()].map(|text| Param::Value(Value::Text(text.into())));
    Ok(texts(connection, sql, &params)?.into_iter().flatten().next())
}
