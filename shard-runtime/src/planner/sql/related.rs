//! Related rows: subqueries over the parent, the children or the references of a row, and joins with parents or
//! references.
//!
//! In a statement with several tables every column is qualified, so that columns of the same name are never confused.

use super::{Dialect, SqlContext, Writer, quoted};
use crate::error::Result;
use crate::query::{Node, Relation};
use crate::schema::{ColumnDef, ReferenceDef, Table};

/// The alias of a joined parent.
const PARENT: &str = "sharded_parent";

/// The prefix of the aliases of joined reference tables, which a number follows.
const REFERENCE: &str = "sharded_reference";

/// The rows that a condition is about: those of the query's own table, or of a subquery.
#[derive(Clone)]
pub(super) struct Scope {
    pub(super) table: &'static Table,
    /// The qualifier of columns; `None` if the statement has only one table.
    qualifier: Option<String>,
    /// In how many subqueries this is.
    depth: usize,
}

impl Scope {
    /// The query's own table.
    pub(super) fn of(site: &SqlContext<'_>) -> Self {
        Scope { table: site.table, qualifier: None, depth: 0 }
    }

    /// A column as SQL names it here.
    pub(super) fn column(&self, column: usize) -> String {
        let name = quoted(self.table.columns.get(column).map_or("", |column| column.name));
        match &self.qualifier {
            Some(qualifier) => format!("{qualifier}.{name}"),
            None => name,
        }
    }

    /// All columns as SQL names them here.
    fn columns(&self) -> String {
        let columns = 0..self.table.columns.len();
        columns.map(|column| self.column(column)).collect::<Vec<_>>().join(", ")
    }

    /// A column as SQL names it in a subquery here.
    fn column_from_within(&self, site: &SqlContext<'_>, column: usize) -> String {
        match &self.qualifier {
            Some(_) => self.column(column),
            None => Scope { qualifier: Some(site.sql.name.clone()), ..self.clone() }.column(column),
        }
    }

    /// A subquery here.
    fn within(&self, site: &SqlContext<'_>, table: &'static Table) -> Self {
        let depth = self.depth + 1;
        Scope { table, qualifier: Some(alias(site, format!("sharded_{depth}"))), depth }
    }
}

/// How rows are joined with the one row that each belongs to.
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

impl<'s, 'q> Writer<'s, 'q> {
    /// One of the related rows is one for which the condition holds. A row's parent is looked for among the parents
    /// with the condition, which is one list for all rows and leaves the database the choice where to begin; its
    /// children are looked for row by row, by the index on their link.
    pub(super) fn related(&mut self, relation: Relation, inner: &'q Node) -> Result<()> {
        let table = relation.table();
        let within = self.scope.within(self.site, table);
        let from = self.site.names.table(table.name);
        let name = within.qualifier.clone().unwrap_or_default();
        let mut joined_by = None;
        match relation {
            Relation::Parent(_) => {
                let link = self.scope.table.parent.map_or(self.scope.table.id, |parent| parent.column);
                let (link, id) = (self.scope.column(link), within.column(table.id));
                self.sql.push_str(&format!("{link} IN (SELECT {id} FROM {from} AS {name}"));
            }
            Relation::Reference(reference) => {
                let (link, id) = (self.scope.column(reference.column), within.column(table.id));
                let is_nullable = self.definition(reference.column).is_some_and(|column| column.nullable);
                // A row with NULL refers to no row, and is among those that `!` selects.
                let refers = if is_nullable { format!("{link} IS NOT NULL AND ") } else { String::new() };
                self.sql.push_str(&format!("({refers}{link} IN (SELECT {id} FROM {from} AS {name}"));
            }
            Relation::Children(_) => {
                let link = table.parent.map_or(table.id, |parent| parent.column);
                let id = self.scope.column_from_within(self.site, self.scope.table.id);
                joined_by = Some(format!("{} = {id}", within.column(link)));
                self.sql.push_str(&format!("EXISTS (SELECT 1 FROM {from} AS {name}"));
            }
        }
        let is_anything = *inner == Node::Everything;
        if let Some(join) = &joined_by {
            self.sql.push_str(&format!(" WHERE {join}"));
        }
        if !is_anything {
            self.sql.push_str(if joined_by.is_some() { " AND " } else { " WHERE " });
            let outer = std::mem::replace(&mut self.scope, within);
            let written = self.enclosed(inner);
            self.scope = outer;
            written?;
        }
        self.sql.push_str(if matches!(relation, Relation::Reference(_)) { "))" } else { ")" });
        Ok(())
    }

    /// `SELECT` with every column of the rows, of their parents, and so on for so many generations, up to the tables.
    /// The rows come first in it, so that they are read and bounded as without their parents.
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
        let mut writer = Writer::start(site, format!("SELECT {columns} FROM {from}"));
        writer.scope = own;
        writer
    }

    /// `SELECT` with every column of the rows and of the rows that they refer to in these columns, up to the tables. A
    /// row that refers to nothing has NULL in their place.
    pub(super) fn start_with_references(site: &'s SqlContext<'s>, references: &[ReferenceDef]) -> Self {
        let own = Scope { qualifier: Some(site.sql.name.clone()), ..Scope::of(site) };
        let (mut columns, mut from) = (own.columns(), site.sql.name.clone());
        for (place, reference) in references.iter().enumerate() {
            let table = reference.table;
            let name = alias(site, format!("{REFERENCE}_{}", place + 1));
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
        let mut writer = Writer::start(site, format!("SELECT {columns} FROM {from}"));
        writer.scope = own;
        writer
    }

    pub(super) fn definition(&self, column: usize) -> Option<&'static ColumnDef> {
        self.scope.table.columns.get(column)
    }
}
