//! The models' tables and indexes on one shard: creates them, and compares those that exist with the models.

use std::fmt::Write as _;

use super::migrate::Tolerated;
use crate::driver::{ActualColumn, ActualIndex, Connection};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{
    DeclaredIndex, Dialect, Namespace, collation_name, create_sql, create_table_sql, indexes, quoted,
    rest_sql, type_sql,
};
use crate::planner::{Layout, Location};
use crate::schema::{ColumnDef, Shard, Table};

/// Creates models' tables and their indexes if they do not exist.
pub(super) fn create_tables(
    connection: &dyn Connection,
    location: &Location,
    tables: &[&Table],
) -> Result<()> {
    let Location { names, dialect, .. } = location;
    for table in tables {
        let made = connection.run(&create_table_sql(names, table, *dialect));
        made.map_err(|error| error.in_table(table.name))?;
    }
    let actual = connection.indexes_of(names, &names_of(tables))?;
    for (table, actual) in tables.iter().zip(&actual) {
        for index in missing_indexes(location, table, actual) {
            let made = connection.run(&index.create_sql(names, table, *dialect));
            made.map_err(|error| not_created(&index, error, names, table).in_table(table.name))?;
        }
    }
    Ok(())
}

/// Returns the names of models' tables.
pub(super) fn names_of(tables: &[&Table]) -> Vec<&'static str> {
    tables.iter().map(|table| table.name).collect()
}

/// Adds a query for the rows that prevent a unique index to the error of creating it.
fn not_created(index: &DeclaredIndex<'_>, error: Error, names: &Namespace, table: &Table) -> Error {
    if error.kind() != ErrorKind::Unique {
        return error;
    }
    let columns: Vec<String> = index.columns.iter().map(|column| quoted(column)).collect();
    let columns = columns.join(", ");
    let message = format!(
        "the unique index `{}` cannot be created: {error}; change the rows that this SQL finds: SELECT {columns}, count(*) \
         FROM {} GROUP BY {columns} HAVING count(*) > 1",
        index.name,
        names.table(table.name)
    );
    Error::new(ErrorKind::Unique, message).with_source(error)
}

/// A difference between a model and its table on a shard.
pub(super) struct Difference {
    shard: Shard,
    table: &'static str,
    column: Option<String>,
    message: String,
    /// An instruction, or SQL.
    remedy: String,
    change: SchemaChange,
}

impl Difference {
    pub(super) fn table(&self) -> &'static str {
        self.table
    }

    pub(super) fn column(&self) -> Option<&str> {
        self.column.as_deref()
    }

    pub(super) fn change(&self) -> SchemaChange {
        self.change
    }
}

/// The change that makes a table fit its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SchemaChange {
    /// A column is added: it is nullable or has a default.
    AddsColumn,
    /// A column is added that is NOT NULL without a default.
    AddsNotNull,
    SetsNotNull,
    DropsNotNull,
    /// A NOT NULL column without a default that the model does not have becomes nullable.
    Extra,
    /// A column gets another type.
    Retypes,
    Other,
}

/// Returns one error that names every difference, in the cluster's order of shards, each with its remedy.
pub(super) fn error(mut differences: Vec<Difference>) -> Error {
    differences.sort_by_key(|difference| difference.shard.index());
    let error = match differences.as_slice() {
        [Difference { message, remedy, .. }] => Error::new(ErrorKind::Schema, format!("{message}; {remedy}")),
        all => {
            let mut text = format!("{} differences between tables and models:", all.len());
            for Difference { shard, table, column, message, remedy, .. } in all {
                let column =
                    column.as_ref().map_or_else(String::new, |column| format!(", column `{column}`"));
                let _ = write!(
                    text,
                    "\n- shard `{}`, table `{table}`{column}: {message}; {remedy}",
                    shard.name()
                );
            }
            Error::new(ErrorKind::Schema, text)
        }
    };
    let Some(first) = differences.first() else { return error };
    let is_common = |same: &dyn Fn(&Difference) -> bool| differences.iter().all(same);
    let mut error = error;
    if is_common(&|other| other.shard.index() == first.shard.index()) {
        error = error.on_shard(first.shard.name());
    }
    if is_common(&|other| other.table == first.table) {
        error = error.in_table(first.table);
        if let Some(column) =
            first.column.as_deref().filter(|_| is_common(&|other| other.column == first.column))
        {
            error = error.at_column(column);
        }
    }
    error
}

/// The first remedy for a column that no field of the model has.
const RENAMED: &str = "if a field was renamed or removed, add a step with `rename` or `drop_column` to the migrations and run \
     `migrate`; otherwise ";

/// The part of a shard's schema that is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ComparedPart {
    /// The columns of the tables that exist.
    Existing,
    /// All tables, with their indexes.
    All,
}

/// Compares every model with its table on a shard.
pub(super) fn differences(
    connection: &dyn Connection,
    location: &Location,
    layout: &Layout,
    shard: &Shard,
    compared: ComparedPart,
) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    // Read once, and only if a table differs.
    let mut tolerated = None;
    let tables: Vec<&Table> = layout.tables().collect();
    let columns = connection.columns_of(&location.names, &names_of(&tables))?;
    let indexes = match compared {
        ComparedPart::All => connection.indexes_of(&location.names, &names_of(&tables))?,
        ComparedPart::Existing => Vec::new(),
    };
    for (number, (table, actual)) in tables.into_iter().zip(columns).enumerate() {
        let difference = |column, message, remedy, change| Difference {
            shard: shard.clone(),
            table: table.name,
            column,
            message,
            remedy,
            change,
        };
        if actual.is_empty() {
            if compared == ComparedPart::All {
                let remedy = "run `create` or `migrate` if the model is new, or restore the shard if it held the table";
                found.push(difference(
                    None,
                    "no such table".to_owned(),
                    remedy.to_owned(),
                    SchemaChange::Other,
                ));
            }
            continue;
        }
        let is_merged = layout.shards().serving().nth(1).is_some();
        let is_strict = || connection.is_strict(&location.names, table.name);
        let mut columns = compare_columns(table, &actual, location, is_merged, &is_strict)?;
        if columns.iter().any(ColumnDifference::may_be_of_a_migration) {
            let tolerated = match &mut tolerated {
                Some(tolerated) => tolerated,
                unread => unread.insert(Tolerated::read(connection, location)?),
            };
            tolerate(&mut columns, tolerated, table);
        }
        let on = location.names.table(table.name);
        // The rebuilt table has no difference.
        let mut rebuild = columns
            .iter()
            .any(|difference| matches!(difference.remedy, Remedy::Rebuild))
            .then(|| rebuild_sql(table, &actual, location));
        let is_rebuilt = rebuild.is_some();
        if columns.iter().any(|difference| difference.change == SchemaChange::Extra)
            && let Some(sql) = &mut rebuild
        {
            sql.insert_str(0, RENAMED);
        }
        for ColumnDifference { column, message, remedy, change: kind } in columns {
            let remedy = match remedy {
                remedy if is_rebuilt => {
                    let rebuilt = rebuild.take();
                    let rebuilt = rebuilt.unwrap_or_else(|| "the SQL above heals it, too".to_owned());
                    match remedy {
                        // A migration refuses only this difference of the table.
                        Remedy::AddNotNull(_) => format!(
                            "give the field a `default` or make it an `Option`, and run `migrate`; {rebuilt}"
                        ),
                        _ => rebuilt,
                    }
                }
                Remedy::Rebuild => String::new(),
                Remedy::NewerRelease => "run a newer release of this program".to_owned(),
                Remedy::Grant(grant) => {
                    format!("the role may not read whether a migration explains it; run {grant}")
                }
                Remedy::Alter(change) => format!("run this SQL: ALTER TABLE {on} {change}"),
                Remedy::Migrate(change) => {
                    format!("run `migrate`, or run this SQL: ALTER TABLE {on} {change}")
                }
                Remedy::AddNotNull(change) => format!(
                    "give the field a `default` or make it an `Option`, and run `migrate`; or run this SQL: ALTER TABLE {on} {change}"
                ),
                Remedy::AddField(change) => {
                    format!("{RENAMED}add the field to the model, or run this SQL: ALTER TABLE {on} {change}")
                }
            };
            found.push(difference(Some(column), message, remedy, kind));
        }
        if let Some(indexes) = indexes.get(number) {
            let missing = described_missing_indexes(location, table, indexes);
            found.extend(
                missing.map(|(message, remedy)| difference(None, message, remedy, SchemaChange::Other)),
            );
        }
    }
    Ok(found)
}

/// Removes differences that a program can run with during a migration, and names the migration that has dropped a column.
fn tolerate(columns: &mut Vec<ColumnDifference>, tolerated: &Tolerated, table: &Table) {
    columns.retain(|difference| match difference.change {
        SchemaChange::SetsNotNull | SchemaChange::Extra => {
            !tolerated.is_filled(table.name, &difference.column)
        }
        SchemaChange::DropsNotNull => !tolerated.is_required(table.name, &difference.column),
        SchemaChange::AddsColumn
        | SchemaChange::AddsNotNull
        | SchemaChange::Retypes
        | SchemaChange::Other => true,
    });
    let mut is_older = false;
    for difference in &mut *columns {
        let done = match difference.change {
            SchemaChange::AddsColumn | SchemaChange::AddsNotNull => "dropped the column",
            SchemaChange::Extra => "made the column NOT NULL, and the model has no such field",
            SchemaChange::SetsNotNull
            | SchemaChange::DropsNotNull
            | SchemaChange::Retypes
            | SchemaChange::Other => continue,
        };
        if let Some(step) = tolerated.contracted_by(table.name, &difference.column) {
            difference.message = format!("{step} of the migrations has {done}");
            difference.remedy = Remedy::NewerRelease;
            is_older = true;
        }
    }
    // A column that a newer release requires must not be added to the models of this one.
    let required =
        columns.iter_mut().filter(|difference| is_older && difference.change == SchemaChange::Extra);
    required.for_each(|difference| difference.remedy = Remedy::NewerRelease);
    if let Some(grant) = &tolerated.grant {
        let explained = [SchemaChange::SetsNotNull, SchemaChange::DropsNotNull, SchemaChange::Extra];
        let unread = columns.iter_mut().filter(|difference| explained.contains(&difference.change));
        unread.for_each(|difference| difference.remedy = Remedy::Grant(grant.clone()));
    }
}

pub(super) struct ColumnDifference {
    pub(super) column: String,
    pub(super) message: String,
    pub(super) remedy: Remedy,
    pub(super) change: SchemaChange,
}

impl ColumnDifference {
    fn may_be_of_a_migration(&self) -> bool {
        !matches!(self.change, SchemaChange::Retypes | SchemaChange::Other)
    }
}

pub(super) enum Remedy {
    /// The end of an `ALTER TABLE`.
    Alter(String),
    /// The same, of a column that a migration adds.
    Migrate(String),
    /// The same, of a column that a migration adds only if the model changes.
    AddNotNull(String),
    /// The same, if the model shall stay without the column.
    AddField(String),
    /// A right of the role, with which it is seen whether a migration explains the difference.
    Grant(String),
    /// A program with other models.
    NewerRelease,
    /// A new table with the rows of the old one.
    Rebuild,
}

/// Returns whether a column compares texts like the field.
fn compares(actual: &ActualColumn, wanted: &str, dialect: Dialect, is_merged: bool) -> bool {
    actual.collation.eq_ignore_ascii_case(wanted)
        || (dialect.orders_by_column() && actual.compares_bytes && !is_merged)
}

/// Compares the columns of a table with those that exist. `is_merged`: whether rows of several shards are merged.
pub(super) fn compare_columns(
    table: &Table,
    actual: &[ActualColumn],
    location: &Location,
    is_merged: bool,
    is_strict: &dyn Fn() -> Result<bool>,
) -> Result<Vec<ColumnDifference>> {
    let dialect = location.dialect;
    let mut found = Vec::new();
    let mut note = |column: &str, message: String, remedy: Remedy, change: SchemaChange| {
        found.push(ColumnDifference { column: column.to_owned(), message, remedy, change });
    };
    // SQLite cannot change a column.
    let alter =
        |change: String| if dialect.alters_columns() { Remedy::Alter(change) } else { Remedy::Rebuild };
    for (index, column) in table.columns.iter().enumerate() {
        let name = quoted(column.name);
        let Some(actual) = actual.iter().find(|actual| actual.name.eq_ignore_ascii_case(column.name)) else {
            let (remedy, change) = missing_column(table, index, column, location);
            note(column.name, "no such column".to_owned(), remedy, change);
            continue;
        };
        // Statements quote the name, and a server compares it with its case.
        if dialect.is_on_server() && actual.name != column.name {
            let message = format!("expected the name `{}`, found `{}`", column.name, actual.name);
            let change = alter(format!("RENAME COLUMN {} TO {name}", quoted(&actual.name)));
            note(column.name, message, change, SchemaChange::Other);
            continue;
        }
        let wanted = dialect.column_type(column.kind);
        let has_collation = dialect.has_collation(column.kind);
        let change_type = || {
            let wanted_type = type_sql(column, dialect);
            let is_time = actual.sql_type.starts_with("timestamp") && wanted.starts_with("timestamp");
            let using = if is_time {
                format!("{name} AT TIME ZONE 'UTC'")
            } else {
                format!("{name}::text::{wanted}")
            };
            alter(format!("ALTER COLUMN {name} TYPE {wanted_type} USING {using}"))
        };
        if !dialect.holds(column.kind, &actual.sql_type, is_strict)? {
            let message = format!("expected type {wanted}, found {}", actual.sql_type);
            note(column.name, message, change_type(), SchemaChange::Retypes);
        } else if has_collation
            && !compares(actual, collation_name(column.collation, dialect), dialect, is_merged)
        {
            let wanted = collation_name(column.collation, dialect);
            let message = format!("expected collation {wanted}, found {}", actual.collation);
            note(column.name, message, change_type(), SchemaChange::Other);
        }
        if actual.nullable != column.nullable {
            let text = |nullable| if nullable { "NULL" } else { "NOT NULL" };
            let message = format!("expected {}, found {}", text(column.nullable), text(actual.nullable));
            let change = if column.nullable { "DROP NOT NULL" } else { "SET NOT NULL" };
            let kind = if column.nullable { SchemaChange::DropsNotNull } else { SchemaChange::SetsNotNull };
            note(column.name, message, alter(format!("ALTER COLUMN {name} {change}")), kind);
        }
    }
    for actual in actual {
        let id = table.columns.get(table.id);
        let is_id = id.is_some_and(|id| id.name.eq_ignore_ascii_case(&actual.name));
        if actual.is_primary_key != is_id {
            let message = match is_id {
                true => "expected the primary key, found a column that is not",
                false => "the column is part of the primary key, which is expected to be the id alone",
            };
            let id = quoted(id.map_or("id", |id| id.name));
            let key = quoted(&format!("{}_pkey", table.name));
            let change = format!("DROP CONSTRAINT IF EXISTS {key}, ADD PRIMARY KEY ({id})");
            note(&actual.name, message.to_owned(), alter(change), SchemaChange::Other);
        }
        let is_declared = table.columns.iter().any(|column| column.name.eq_ignore_ascii_case(&actual.name));
        if !is_declared && !actual.is_primary_key && !actual.nullable && !actual.has_default {
            let message = "column is NOT NULL without a default, but the model has no such field".to_owned();
            let change = format!("ALTER COLUMN {} DROP NOT NULL", quoted(&actual.name));
            let remedy = if dialect.alters_columns() { Remedy::AddField(change) } else { Remedy::Rebuild };
            note(&actual.name, message, remedy, SchemaChange::Extra);
        }
    }
    Ok(found)
}

/// Returns the SQL that adds a column. SQLite adds no foreign key that is NOT NULL.
fn missing_column(
    table: &Table,
    index: usize,
    column: &ColumnDef,
    location: &Location,
) -> (Remedy, SchemaChange) {
    let is_parent = table.parent.is_some_and(|parent| parent.column == index);
    let refers = is_parent || table.references.iter().any(|reference| reference.column == index);
    if index == table.id || is_parent || (refers && !column.nullable) {
        return (Remedy::Rebuild, SchemaChange::Other);
    }
    let change = add_column_sql(table, index, column, location);
    match column.nullable || column.default.is_some() {
        true => (Remedy::Migrate(change), SchemaChange::AddsColumn),
        false => {
            let zero = location.dialect.default_sql(column.kind);
            (Remedy::AddNotNull(format!("{change} DEFAULT {zero}")), SchemaChange::AddsNotNull)
        }
    }
}

/// Returns the end of the `ALTER TABLE` that adds a column.
pub(super) fn add_column_sql(table: &Table, index: usize, column: &ColumnDef, location: &Location) -> String {
    let Location { names, dialect, .. } = location;
    let (name, kind, rest) = (quoted(column.name), type_sql(column, *dialect), rest_sql(column, *dialect));
    let mut sql = format!("ADD COLUMN {name} {kind}{rest}");
    if let Some(reference) = table.references.iter().find(|reference| reference.column == index) {
        let id = reference.table.columns.get(reference.table.id).map_or("id", |id| id.name);
        let _ = write!(sql, " REFERENCES {} ({})", names.table(reference.table.name), quoted(id));
    }
    sql
}

/// Returns the SQL that replaces a table by one that fits the model. A row without an id, or without its parent, cannot be copied
/// by SQL.
fn rebuild_sql(table: &Table, actual: &[ActualColumn], location: &Location) -> String {
    let Location { names, dialect, .. } = location;
    let on = names.table(table.name);
    let find = |name: &str| actual.iter().find(|actual| actual.name.eq_ignore_ascii_case(name));
    let is_missing = |index: usize| {
        table.columns.get(index).is_some_and(|column| !column.nullable && find(column.name).is_none())
    };
    let referred = table.references.iter().map(|reference| reference.column);
    let mut needed = referred.chain(table.parent.map(|parent| parent.column)).chain([table.id]);
    if needed.any(is_missing) || dialect.alters_columns() {
        let old = quoted(&names.plain(&format!("{}_old", table.name)));
        return format!(
            "insert the rows through a session after `create` and this SQL: ALTER TABLE {on} RENAME TO {old}"
        );
    }
    let new = names.table(&format!("{}_new", table.name));
    let (mut columns, mut values, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for column in table.columns {
        let name = quoted(column.name);
        let default = match &column.default {
            Some(default) => dialect.literal_of(default.value),
            None if column.nullable => "NULL".to_owned(),
            None => dialect.default_sql(column.kind).to_owned(),
        };
        values.push(match find(column.name) {
            None => default,
            Some(actual) => {
                let wanted = dialect.column_type(column.kind);
                let is_cast = !actual.sql_type.eq_ignore_ascii_case(wanted);
                let value = if is_cast { format!("CAST({name} AS {wanted})") } else { name.clone() };
                let is_filled = actual.nullable && !column.nullable;
                if is_filled { format!("coalesce({value}, {default})") } else { value }
            }
        });
        columns.push(name);
    }
    // Columns that the model lacks keep their values.
    let is_declared = |name: &str| table.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    for ActualColumn { name, sql_type, .. } in actual.iter().filter(|actual| !is_declared(&actual.name)) {
        let is_strict =
            ["INT", "INTEGER", "REAL", "TEXT", "BLOB"].iter().any(|kind| kind.eq_ignore_ascii_case(sql_type));
        others.push(format!("{} {}", quoted(name), if is_strict { sql_type } else { "ANY" }));
        columns.push(quoted(name));
        values.push(quoted(name));
    }
    format!(
        "run this SQL: PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE; {}; INSERT INTO {new} ({}) SELECT {} FROM {on}; DROP TABLE {on}; \
         ALTER TABLE {new} RENAME TO {on}; COMMIT; then run `create`, which makes the indexes",
        create_sql(&new, names, table, *dialect, &others),
        columns.join(", "),
        values.join(", "),
    )
}

/// Returns the indexes that a table lacks, by their columns.
pub(super) fn missing_indexes(
    location: &Location,
    table: &Table,
    actual: &[ActualIndex],
) -> Vec<DeclaredIndex<'static>> {
    let Location { names, dialect, .. } = location;
    let is_missing = |index: &DeclaredIndex<'_>| !index.is_among(actual.iter().map(ActualIndex::key));
    indexes(names, table, *dialect).into_iter().filter(is_missing).collect()
}

/// Returns the indexes that a table lacks as texts, each with its remedy.
fn described_missing_indexes(
    location: &Location,
    table: &Table,
    actual: &[ActualIndex],
) -> impl Iterator<Item = (String, String)> {
    let Location { names, dialect, .. } = location;
    missing_indexes(location, table, actual).into_iter().map(move |index| {
        let kind = if index.unique { "unique index" } else { "index" };
        let schema = names.schema.as_ref().map_or_else(String::new, |schema| format!("{}.", quoted(schema)));
        let message = format!("no {kind} `{}` on {}", index.name, index.columns.join(", "));
        // `create` cannot make the index while an invalid or non-unique one has its name.
        let remedy = format!(
            "run `create` or, if it has failed with this error, this SQL: DROP INDEX IF EXISTS {schema}{}; {}",
            quoted(&index.name),
            index.create_sql(names, table, *dialect)
        );
        (message, remedy)
    })
}
