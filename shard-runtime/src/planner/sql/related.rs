//! Related rows: subqueries over the parent, the children or the references of a row, and joins with parents or
//! references.
//!
//! In a statement with several tables every column is qualified, so that columns of the same name are never confused.

use super::{Dialect, SqlContext, SqlWriter, quoted};
use crate::error::Result;
use crate::query::{Node, Relation};
use crate::schema::{ColumnDef, ReferenceDef, Table};

/// The alias of a joined parent.
const PARENT: &str = "sharded_parent";

/// The prefix of the aliases of joined reference tables, which a number follows.
const REFERENCE: &str = "sharded_reference";

/// The rows that a condition tests: those of the query's own table, or of a subquery.
#[derive(Clone)]
pub(super) struct Scope {
    pub(super) table: &'static Table,
    /// The qualifier of columns; `None` if the statement has only one table.
    qualifier: Option<String>,
    /// The number of subqueries around these rows.
    depth: usize,
}

impl Scope {
    /// Returns the scope of the query's own table.
    pub(super) fn of(site: &SqlContext<'_>) -> Self {
        Scope { table: site.table, qualifier: None, depth: 0 }
    }

    /// Returns a column as SQL names it in this scope.
    pub(super) fn column(&self, column: usize) -> String {
        let name = quoted(self.table.columns.get(column).map_or("", |column| column.name));
        match &self.qualifier {
            Some(qualifier) => format!("{qualifier}.{name}"),
            None => name,
        }
    }

    /// Returns all columns as SQL names them in this scope.
    fn columns(&self) -> String {
        let columns = 0..self.table.columns.len();
        columns.map(|column| self.column(column)).collect::<Vec<_>>().join(", ")
    }

    /// Returns a column of this scope as SQL names it in a subquery.
    fn column_in_subquery(&self, site: &SqlContext<'_>, column: usize) -> String {
        match &self.qualifier {
            Some(_) => self.column(column),
            None => Scope { qualifier: Some(site.sql.name.clone()), ..self.clone() }.column(column),
        }
    }

    /// Returns the scope of a subquery in this scope.
    fn subquery(&self, site: &SqlContext<'_>, table: &'static Table) -> Self {
        let depth = self.depth + 1;
        Scope { table, qualifier: Some(alias(site, format!("sharded_{depth}"))), depth }
    }
}

/// Returns the kind of join of rows with the one row that each belongs to.
fn join(dialect: Dialect) -> &'static str {
    match dialect {
        // SQLite takes the tables of a CROSS JOIN in the order in which they are written.
        Dialect::Sqlite => "CROSS JOIN",
        Dialect::Postgres => "JOIN",
    }
}

/// Returns a name for a table that differs from the name of the query's own table.
fn alias(site: &SqlContext<'_>, mut name: String) -> String {
    if site.sql.plain.eq_ignore_ascii_case(&quoted(&name)) {
        name.push('_');
    }
    name
}

impl<'s, 'q> SqlWriter<'s, 'q> {
    /// Writes the condition that a related row exists for which `inner` holds. A parent is searched in one list of all
    /// parents for which it holds, so the database chooses where to begin. Children are searched row by row, by the index on
    /// their link.
    pub(super) fn related(&mut self, relation: Relation, inner: &'q Node) -> Result<()> {
        let table = relation.table();
        let subquery = self.scope.subquery(self.site, table);
        let from = self.site.names.table(table.name);
        let name = subquery.qualifier.clone().unwrap_or_default();
        let mut joined_by = None;
        match relation {
            Relation::Parent(_) => {
                let link = self.scope.table.parent.map_or(self.scope.table.id, |parent| parent.column);
                let (link, id) = (self.scope.column(link), subquery.column(table.id));
                self.sql.push_str(&format!("{link} IN (SELECT {id} FROM {from} AS {name}"));
            }
            Relation::Reference(reference) => {
                let (link, id) = (self.scope.column(reference.column), subquery.column(table.id));
                let is_nullable = self.definition(reference.column).is_some_and(|column| column.nullable);
                // A row with NULL refers to no row; `!` selects it, too.
                let refers = if is_nullable { format!("{link} IS NOT NULL AND ") } else { String::new() };
                self.sql.push_str(&format!("({refers}{link} IN (SELECT {id} FROM {from} AS {name}"));
            }
            Relation::Children(_) => {
                let link = table.parent.map_or(table.id, |parent| parent.column);
                let id = self.scope.column_in_subquery(self.site, self.scope.table.id);
                joined_by = Some(format!("{} = {id}", subquery.column(link)));
                self.sql.push_str(&format!("EXISTS (SELECT 1 FROM {from} AS {name}"));
            }
        }
        let is_anything = *inner == Node::Everything;
        if let Some(join) = &joined_by {
            self.sql.push_str(&format!(" WHERE {join}"));
        }
        if !is_anything {
            self.sql.push_str(if joined_by.is_some() { " AND " } else { " WHERE " });
            let outer = std::mem::replace(&mut self.scope, subquery);
            let written = self.enclosed(inner);
            self.scope = outer;
            written?;
        }
        self.sql.push_str(if matches!(relation, Relation::Reference(_)) { "))" } else { ")" });
        Ok(())
    }

    /// Starts a `SELECT` with every column of the rows, of their parents, and so on for this many generations, up to the
    /// tables. The rows come first, so they are read and limited as without their parents.
    pub(super) fn start_with_parents(site: &'s SqlContext<'s>, generations: usize) -> Self {
        let own = Scope { qualifier: Some(site.sql.name.clone()), ..Scope::of(site) };
        let join = join(site.dialect);
        let (mut columns, mut from, mut child) = (own.columns(), site.sql.name.clone(), own.clone());
        for generation in 1..=generations {
            let Some(parent) = child.table.parent else { break };
            let name = if generation == 1 { PARENT.to_owned() } else { format!("{PARENT}_{generation}") };
            let name = alias(site, name);
            let scope = Scope { table: parent.table, qualifier: Some(name.clone()), depth: 0 };
            columns.push_str(&format!(", {}", scope.columns()));
            from.push_str(&format!(
                " {join} {} AS {name} ON {} = {}",
                site.names.table(parent.table.name),
                scope.column(parent.table.id),
                child.column(parent.column),
            ));
            child = scope;
        }
        let mut writer = SqlWriter::start(site, format!("SELECT {columns} FROM {from}"));
        writer.scope = own;
        writer
    }

    /// Starts a `SELECT` with every column of the rows and of the rows that they refer to in these columns, up to the tables.
    /// A row that refers to no row has NULL in these.
    pub(super) fn start_with_references(site: &'s SqlContext<'s>, references: &[ReferenceDef]) -> Self {
        let own = Scope { qualifier: Some(site.sql.name.clone()), ..Scope::of(site) };
        let (mut columns, mut from) = (own.columns(), site.sql.name.clone());
        for (index, reference) in references.iter().enumerate() {
            let table = reference.table;
            let name = alias(site, format!("{REFERENCE}_{}", index + 1));
            let scope = Scope { table, qualifier: Some(name.clone()), depth: 0 };
            let is_nullable = own.table.columns.get(reference.column).is_some_and(|column| column.nullable);
            columns.push_str(&format!(", {}", scope.columns()));
            from.push_str(&format!(
                " {} {} AS {name} ON {} = {}",
                if is_nullable { "LEFT JOIN" } else { join(site.dialect) },
                site.names.table(table.name),
                scope.column(table.id),
                own.column(reference.column),
            ));
        }
        let mut writer = SqlWriter::start(site, format!("SELECT {columns} FROM {from}"));
        writer.scope = own;
        writer
    }

    pub(super) fn definition(&self, column: usize) -> Option<&'static ColumnDef> {
        self.scope.table.columns.get(column)
    }
}
