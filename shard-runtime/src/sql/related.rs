//! Related rows in SQL: subqueries over a row's parent or its children, and rows joined with their parents.
//!
//! Where a statement has more than one table in sight, every column says which one it is of, so that columns of the
//! same name never stand for each other.

use super::{Dialect, Site, Writer, quoted};
use crate::error::Result;
use crate::model::{ColumnDef, Table};
use crate::query::{Node, Relation};

/// What a parent is called where rows are joined with it.
const PARENT: &str = "sharded_parent";

/// The rows that a condition is about: those of the query's own table, or of a subquery.
#[derive(Clone)]
pub(super) struct Scope {
    pub(super) table: &'static Table,
    /// What columns are qualified with: nothing, where no other table is in sight.
    qualifier: Option<String>,
    /// In how many subqueries this is.
    depth: usize,
}

impl Scope {
    /// The query's own table.
    pub(super) fn of(site: &Site<'_>) -> Self {
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

    /// A column as SQL names it in a subquery here.
    fn column_from_within(&self, site: &Site<'_>, column: usize) -> String {
        match &self.qualifier {
            Some(_) => self.column(column),
            None => Scope { qualifier: Some(site.sql.name.clone()), ..self.clone() }.column(column),
        }
    }

    /// A subquery here.
    fn within(&self, site: &Site<'_>, table: &'static Table) -> Self {
        let depth = self.depth + 1;
        Scope { table, qualifier: Some(alias(site, format!("sharded_{depth}"))), depth }
    }
}

/// A name for a table that is not that of the query's own table, whatever that is called.
fn alias(site: &Site<'_>, mut name: String) -> String {
    if site.sql.name.eq_ignore_ascii_case(&quoted(&name)) {
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
        let from = quoted(&format!("{}{}", self.site.prefix, table.name));
        let name = within.qualifier.clone().unwrap_or_default();
        let mut joined_by = None;
        match relation {
            Relation::Parent(_) => {
                let link = self.scope.table.parent.map_or(self.scope.table.id, |parent| parent.column);
                let (link, id) = (self.scope.column(link), within.column(table.id));
                self.sql.push_str(&format!("{link} IN (SELECT {id} FROM {from} AS {name}"));
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
        self.sql.push(')');
        Ok(())
    }

    /// `SELECT` with every column of the rows, of their parents, and so on for so many generations, up to the tables.
    /// The rows come first in it, so that they are read and bounded as without their parents.
    pub(super) fn start_with_parents(site: &'s Site<'s>, generations: usize) -> Self {
        let own = Scope { qualifier: Some(site.sql.name.clone()), ..Scope::of(site) };
        let all = |scope: &Scope| {
            let columns = 0..scope.table.columns.len();
            columns.map(|column| scope.column(column)).collect::<Vec<_>>().join(", ")
        };
        let join = match site.dialect {
            // SQLite takes the tables of a CROSS JOIN in the order in which they are written.
            Dialect::Sqlite => "CROSS JOIN",
            Dialect::Postgres => "JOIN",
        };
        let (mut columns, mut from, mut child) = (all(&own), site.sql.name.clone(), own.clone());
        for generation in 1..=generations {
            let Some(parent) = child.table.parent else { break };
            let name = if generation == 1 { PARENT.to_owned() } else { format!("{PARENT}_{generation}") };
            let name = alias(site, name);
            let scope = Scope { table: parent.table, qualifier: Some(name.clone()), depth: 0 };
            columns.push_str(&format!(", {}", all(&scope)));
            from.push_str(&format!(
                " {join} {} AS {name} ON {} = {}",
                quoted(&format!("{}{}", site.prefix, parent.table.name)),
                scope.column(parent.table.id),
                child.column(parent.column),
            ));
            child = scope;
        }
        let mut writer = Writer::start(site, format!("SELECT {columns} FROM {from}"));
        writer.scope = own;
        writer
    }

    pub(super) fn definition(&self, column: usize) -> Option<&'static ColumnDef> {
        self.scope.table.columns.get(column)
    }
}
