//! Compares one table with its model, and finds the differences, each with the SQL that removes it.

use super::actual::{self, Form, Generated};
use super::report::{AdoptionFinding, AdoptionReport};
use crate::cluster::migrate::{Edit, rebuild_sql};
use crate::cluster::schema::{self, ColumnDifference, Remedy, SchemaChange};
use crate::cluster::schema_sql::table_sql;
use crate::driver::{ActualColumn, Connection};
use crate::error::Result;
use crate::planner::Location;
use crate::planner::sql::{literal, quoted};
use crate::schema::{IdKind, Table};

/// The result of comparing the structure of a table.
pub(super) struct ComparedTable {
    /// Its columns; none if its rows cannot be read.
    pub(super) actual: Vec<ActualColumn>,
    /// The columns of the model whose values cannot be checked before the structure is corrected.
    pub(super) unchecked: Vec<String>,
    /// The differences of the structure, which come after those of the data.
    pub(super) differences: Vec<AdoptionFinding>,
}

pub(super) fn compare(
    connection: &dyn Connection,
    location: &Location,
    table: &'static Table,
    report: &mut AdoptionReport,
) -> Result<ComparedTable> {
    let mut compared = ComparedTable { actual: Vec::new(), unchecked: Vec::new(), differences: Vec::new() };
    let on = location.names.table(table.name);
    match actual::form(connection, location, table.name)? {
        Some(Form::Table { is_without_rowid }) if is_without_rowid && table.id_kind == IdKind::Auto => {
            compared.differences.push(
                AdoptionFinding::new(
                    table.name,
                    "expected a table that generates its ids, found a WITHOUT ROWID table",
                )
                .remedy("make it anew without WITHOUT ROWID, or write `#[id]` or `#[id(sequence)]` at the model's id"),
            );
        }
        Some(Form::Table { .. }) => {}
        Some(Form::Other(other)) => {
            let finding = AdoptionFinding::new(table.name, format!("expected a table, found {other}"));
            compared.differences.push(
                finding.remedy(format!("name a table with `#[sharded(table = \"…\")]` at `{}`", table.model)),
            );
            return Ok(compared);
        }
        None => {
            let finding = AdoptionFinding::new(table.name, "no such table");
            compared.differences.push(finding.sql(table_sql(table, location)));
            return Ok(compared);
        }
    }
    if let Some(lacking) = actual::lacking_on_table(connection, location, table.name)? {
        let (rights, role) = (&lacking.rights, quoted(&lacking.role));
        compared.differences.push(
            AdoptionFinding::new(table.name, format!("the role {role} lacks the rights {rights}"))
                .remedy("run this SQL as the owner of the table")
                .sql([format!("GRANT {rights} ON {on} TO {role}")]),
        );
        if rights.contains("SELECT") {
            return Ok(compared);
        }
    }
    if let Some(role) = actual::hidden_from(connection, location, table.name)? {
        let role = quoted(&role);
        compared.differences.push(
            AdoptionFinding::new(
                table.name,
                format!("row-level security can hide rows from the role {role}"),
            )
            .remedy("run this SQL as a superuser, or disable row-level security of the table")
            .sql([format!("ALTER ROLE {role} BYPASSRLS")]),
        );
    }
    let heirs = actual::heirs(connection, location, table.name)?;
    if !heirs.is_empty() {
        let message = "other tables inherit from it: queries return their rows, too, and ids are not unique among all of them";
        compared.differences.push(
            AdoptionFinding::new(table.name, message)
                .remedy("move the rows of the other tables, or run this SQL, which detaches the tables with their rows")
                .sql(heirs),
        );
    }
    let computed = note_fixed(connection, location, table, report, &mut compared.differences)?;
    let actual = connection.columns(&location.names, table.name)?;
    // The cluster has one shard: rows are not merged with those of others.
    let is_strict = || connection.is_strict(&location.names, table.name);
    let mut differences = schema::compare_columns(table, &actual, location, false, &is_strict)?;
    differences.retain(|difference| !computed.contains(&difference.column));
    let unchecked = differences.iter().filter(|difference| difference.change == SchemaChange::Retypes);
    compared.unchecked = unchecked.map(|difference| difference.column.clone()).collect();
    let exists = |column: &str| actual.iter().any(|other| other.name == column);
    let unmade = differences.iter().filter(|difference| matches!(difference.remedy, Remedy::Rebuild));
    let unmade = unmade.map(|difference| difference.column.clone()).filter(|column| !exists(column));
    let unmade: Vec<String> = unmade.collect();
    compared.differences.extend(findings(connection, location, table, differences, &unmade)?);
    let indexes = connection.indexes(&location.names, table.name)?;
    for index in schema::missing_indexes(location, table, &indexes) {
        let kind = if index.unique { "unique index" } else { "index" };
        let finding = AdoptionFinding::new(table.name, format!("no {kind} on {}", index.columns.join(", ")));
        // SQLite takes the quoted name of a column that does not exist for a text, and makes an index of no use.
        let lacks = unmade.iter().find(|column| index.columns.contains(&column.as_str()));
        compared.differences.push(match lacks {
            Some(column) => finding.remedy(format!("add the column {column} first")),
            None => finding.sql([index.create_sql(&location.names, table, location.dialect)]),
        });
    }
    compared.actual = actual;
    note_foreign_keys(connection, location, table, report)?;
    note_collations(location, table, &compared.actual, &is_strict, report)?;
    Ok(compared)
}

/// Finds columns of the model to which a session cannot write: the database computes them. Returns those that SQLite does not list
/// among the columns of the table.
fn note_fixed(
    connection: &dyn Connection,
    location: &Location,
    table: &'static Table,
    report: &mut AdoptionReport,
    differences: &mut Vec<AdoptionFinding>,
) -> Result<Vec<String>> {
    let (on, mut computed) = (location.names.table(table.name), Vec::new());
    for fixed in actual::fixed(connection, location, table.name)? {
        let declared =
            table.columns.iter().position(|declared| declared.name.eq_ignore_ascii_case(&fixed.column));
        let Some((index, declared)) = declared.and_then(|index| Some((index, table.columns.get(index)?)))
        else {
            continue;
        };
        let name = quoted(&fixed.column);
        let finding = |message: &str| AdoptionFinding::new(table.name, message).at(declared.name);
        if fixed.is_identity {
            let found = finding("the identity is GENERATED ALWAYS, and refuses values that a session gives")
                .sql([format!("ALTER TABLE {on} ALTER COLUMN {name} SET GENERATED BY DEFAULT")]);
            // Only `add_with_id` gives one.
            match index == table.id && table.id_kind == IdKind::Auto {
                true => report.notes.push(found),
                false => differences.push(found),
            }
            continue;
        }
        let found = finding("expected a column that sessions write, found a generated column");
        if location.dialect.alters_columns() {
            let sql = format!("ALTER TABLE {on} ALTER COLUMN {name} DROP EXPRESSION");
            differences.push(
                found.remedy("remove the field from the model, or run this SQL, after which programs give the values").sql([sql]),
            );
        } else {
            differences.push(
                found.remedy("remove the field from the model, or make a table without the expression"),
            );
            computed.push(declared.name.to_owned());
        }
    }
    Ok(computed)
}

/// Returns the differences of columns with the SQL for each. SQLite changes columns by a new table, once for all of them.
fn findings(
    connection: &dyn Connection,
    location: &Location,
    table: &'static Table,
    differences: Vec<ColumnDifference>,
    unmade: &[String],
) -> Result<Vec<AdoptionFinding>> {
    let on = location.names.table(table.name);
    let edits: Vec<Edit> =
        differences.iter().filter_map(|difference| edit(table, location, difference)).collect();
    let mut rebuild = match location.dialect.alters_columns() || edits.is_empty() {
        true => None,
        false => rebuild_sql(connection, location, table, &edits).ok(),
    };
    let is_rebuilt = rebuild.is_some();
    let found = differences.into_iter().map(|difference| {
        let is_edit = edit(table, location, &difference).is_some();
        let ColumnDifference { column, message, remedy, .. } = difference;
        let finding = AdoptionFinding::new(table.name, message).at(&column);
        match remedy {
            Remedy::Alter(change) => finding.sql([format!("ALTER TABLE {on} {change}")]),
            Remedy::Migrate(change) => finding.sql([format!("ALTER TABLE {on} {change}")]),
            Remedy::AddNotNull(change) => finding
                .remedy("make the field an `Option` and run this SQL without NOT NULL, or run this SQL")
                .sql([format!("ALTER TABLE {on} {change}")]),
            Remedy::AddField(change) => finding
                .remedy("add the field to the model, or run this SQL")
                .sql([format!("ALTER TABLE {on} {change}")]),
            Remedy::Rebuild if is_edit && is_rebuilt => match rebuild.take() {
                Some(sql) => finding.remedy("run this SQL, which rebuilds the table").sql(sql),
                None => finding.remedy("the SQL that rebuilds the table heals it, too"),
            },
            Remedy::Rebuild if unmade.contains(&column) => finding.remedy(format!(
                "if another column has its values, rename it: ALTER TABLE {on} RENAME COLUMN … TO {column}; otherwise make a table \
                 that fits the model, copy the rows, and rename it"
            )),
            Remedy::Rebuild | Remedy::NewerRelease | Remedy::Grant(_) => finding.remedy(
                "SQLite cannot change this: make a table that fits the model, copy the rows, and rename it; or change the model",
            ),
        }
    });
    Ok(found.collect())
}

/// Returns the change of a column of a SQLite table that removes a difference.
fn edit(table: &Table, location: &Location, difference: &ColumnDifference) -> Option<Edit> {
    let column = || difference.column.clone();
    match difference.change {
        SchemaChange::SetsNotNull => Some(Edit::Require(column())),
        SchemaChange::DropsNotNull | SchemaChange::Extra => Some(Edit::Relax(column())),
        SchemaChange::Retypes => {
            let declared = table.columns.iter().position(|declared| declared.name == difference.column)?;
            let kind = table.columns.get(declared)?.kind;
            // An integer primary key cannot be made by a change of the type.
            (declared != table.id).then(|| Edit::Retype(column(), location.dialect.column_type(kind)))
        }
        SchemaChange::AddsColumn | SchemaChange::AddsNotNull | SchemaChange::Other => None,
    }
}

fn note_foreign_keys(
    connection: &dyn Connection,
    location: &Location,
    table: &'static Table,
    report: &mut AdoptionReport,
) -> Result<()> {
    let found = actual::foreign_keys(connection, location, table.name)?;
    let parent = table.parent.map(|parent| (parent.column, parent.table));
    let references = table.references.iter().map(|reference| (reference.column, reference.table));
    for (column, other) in parent.into_iter().chain(references) {
        let Some(column) = table.columns.get(column) else { continue };
        let other_name = location.names.plain(other.name);
        let is_known = |(from, to): &(String, String)| {
            from.eq_ignore_ascii_case(column.name) && to.eq_ignore_ascii_case(&other_name)
        };
        if found.iter().any(is_known) {
            continue;
        }
        let id = quoted(other.columns.get(other.id).map_or("id", |id| id.name));
        let (on, to, from) =
            (location.names.table(table.name), location.names.table(other.name), quoted(column.name));
        let sql = location
            .dialect
            .alters_columns()
            .then(|| format!("ALTER TABLE {on} ADD FOREIGN KEY ({from}) REFERENCES {to} ({id})"));
        report.notes.push(
            AdoptionFinding::new(table.name, format!("no foreign key to `{}`", other.name))
                .at(column.name)
                .remedy("sessions keep rows together, other programs may leave orphans, which `verify` finds")
                .sql(sql),
        );
    }
    Ok(())
}

/// Records notes about texts that are not ordered byte by byte.
fn note_collations(
    location: &Location,
    table: &'static Table,
    actual: &[ActualColumn],
    is_strict: &dyn Fn() -> Result<bool>,
    report: &mut AdoptionReport,
) -> Result<()> {
    for difference in schema::compare_columns(table, actual, location, true, is_strict)? {
        let ColumnDifference { column, message, remedy, change } = difference;
        let (SchemaChange::Other, Remedy::Alter(sql), true) = (change, remedy, message.contains("collation"))
        else {
            continue;
        };
        let on = location.names.table(table.name);
        let finding = AdoptionFinding::new(table.name, message).at(&column).remedy(
            "texts of this column are ordered by its collation; before the cluster gets keys on a second shard, run this SQL",
        );
        report.notes.push(finding.sql([format!("ALTER TABLE {on} {sql}")]));
    }
    Ok(())
}

/// Compares how the database generates ids. `highest` is the highest id of the table.
pub(super) fn compare_ids(
    connection: &dyn Connection,
    location: &Location,
    table: &'static Table,
    highest: Option<i64>,
    report: &mut AdoptionReport,
) -> Result<()> {
    let Some(id) = table.columns.get(table.id) else { return Ok(()) };
    let finding = |message: String| AdoptionFinding::new(table.name, message).at(id.name);
    match table.id_kind {
        IdKind::Given | IdKind::Uuid => return Ok(()),
        IdKind::Sequence => {
            let message = "the cluster generates ids in blocks above those of the table".to_owned();
            report.notes.push(finding(message).remedy(
                "another program must not generate ids of its own there; write `#[id(auto)]` if the database generates them",
            ));
            return Ok(());
        }
        IdKind::Auto => {}
    }
    let on = location.names.table(table.name);
    match actual::generated(connection, location, table.name, id.name)? {
        Generated::ByRowId { is_monotonic: true } => {}
        Generated::ByRowId { is_monotonic: false } => {
            let message = "without AUTOINCREMENT the id of a deleted last row is generated again".to_owned();
            report.notes.push(finding(message).remedy("do not keep ids of deleted rows elsewhere"));
        }
        Generated::BySequence { name, role, last: None } => {
            let sql = format!("GRANT USAGE, SELECT ON SEQUENCE {name} TO {}", quoted(&role));
            let message = format!("the role may not use the sequence {name}");
            report.differences.push(finding(message).remedy("run this SQL as its owner").sql([sql]));
        }
        Generated::BySequence { name, last: Some(last), .. } => {
            if let Some(highest) = highest.filter(|highest| *highest > last) {
                let message =
                    format!("the sequence {name} has generated {last}, and the highest id is {highest}");
                let id = quoted(id.name);
                let sql = format!("SELECT setval({}, (SELECT max({id}) FROM {on}))", literal(&name));
                report.differences.push(finding(message).sql([sql]));
            }
        }
        Generated::No => {
            let message =
                "the model has `#[id(auto)]`, and the database does not generate this id".to_owned();
            let sql = || {
                let (name, table, column) = (quoted(id.name), literal(&on), literal(id.name));
                [
                    format!("ALTER TABLE {on} ALTER COLUMN {name} ADD GENERATED BY DEFAULT AS IDENTITY"),
                    format!(
                        "SELECT setval(pg_get_serial_sequence({table}, {column}), (SELECT coalesce(max({name}), 1) FROM {on}))"
                    ),
                ]
            };
            let sql = location.dialect.alters_columns().then(sql);
            let remedy = match location.dialect.alters_columns() {
                true => "run this SQL, or write `#[id]` or `#[id(sequence)]` at the model's id",
                false => {
                    "declare it `INTEGER PRIMARY KEY`, or write `#[id]` or `#[id(sequence)]` at the model's id"
                }
            };
            report.differences.push(finding(message).remedy(remedy).sql(sql.into_iter().flatten()));
        }
    }
    Ok(())
}
