//! The columns of a copied table, and the statements that read its rows on a source and insert them on the targets. Uses `links`
//! and `planner::sql`.

use std::cell::Cell;

use super::links::{Endpoint, Links};
use crate::driver::ActualColumn;
use crate::error::Result;
use crate::planner::sql::{Dialect, quoted};
use crate::schema::{KeyColumns, Table};
use crate::unit_of_work::{Copied, copied_columns};
use crate::value::ColumnType;

/// The statements that read the rows of a table from a source, and that insert them on each target.
pub(super) struct TableShape {
    pub(super) columns: Vec<Copied>,
    /// Their names, quoted.
    pub(super) names: Vec<String>,
    /// The index of the id among the columns.
    pub(super) id_at: usize,
    /// `SELECT` up to the condition; the row's table is `moved`.
    pub(super) select: String,
    pub(super) id: String,
    /// The kind of the id.
    pub(super) id_kind: ColumnType,
    /// The `INSERT` statement of each target.
    pub(super) inserts: Vec<String>,
    /// The clause that makes an inserted row replace the one with its id.
    pub(super) conflict: String,
    pub(super) key_kinds: Vec<ColumnType>,
    /// The columns of the root's key.
    keys: Vec<String>,
    /// The ancestor tables, each with the rest of its join.
    joins: Vec<(String, String)>,
    /// Whether rows can be copied in their stored form: the column types are equal, and no target has refused a row.
    pub(super) is_stored_alike: Cell<bool>,
}

impl TableShape {
    pub(super) fn new(
        links: &Links,
        source: Endpoint<'_>,
        targets: &[Endpoint<'_>],
        table: &'static Table,
        routes: bool,
    ) -> Result<Self> {
        let id_column = table.columns.get(table.id);
        let id_name = id_column.map_or("id", |column| column.name);
        let actual = links.at(source)?.columns(&source.location.names, table.name)?;
        let mut columns = Vec::new();
        let (mut names, mut conflict) = (Vec::new(), String::new());
        let mut inserts = Vec::with_capacity(targets.len());
        let mut is_alike = true;
        for target in targets {
            let others = links.at(*target)?.columns(&target.location.names, table.name)?;
            let (here, there) = ((source.location.dialect, &*actual), (target.location.dialect, &*others));
            is_alike = is_alike
                && are_alike(here, there)
                && links.at(source)?.is_strict(&source.location.names, table.name)?
                    == links.at(*target)?.is_strict(&target.location.names, table.name)?;
            columns = copied_columns(table, here, there, target.name)?;
            names = columns.iter().map(|column| quoted(column.name())).collect();
            let name = target.location.names.table(table.name);
            let set: Vec<String> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
            conflict = format!(" ON CONFLICT ({}) DO UPDATE SET {}", quoted(id_name), set.join(", "));
            let dialect = target.location.dialect;
            let types = columns.iter().map(|column| match column.kind() {
                Some(kind) => dialect.column_type(kind).to_owned(),
                None => {
                    let actual = others.iter().find(|other| other.name.eq_ignore_ascii_case(column.name()));
                    actual.map_or_else(|| "text".to_owned(), |actual| actual.sql_type.clone())
                }
            });
            let insert = dialect.insert_copies_sql(&name, &names, &types.collect::<Vec<String>>());
            inserts.push(insert + &conflict);
        }
        let id_at = columns.iter().position(|column| column.name().eq_ignore_ascii_case(id_name));
        let mut shape = TableShape {
            id_at: id_at.unwrap_or_default(),
            select: String::new(),
            id: quoted(id_name),
            id_kind: id_column.map_or(ColumnType::Integer, |column| column.kind),
            columns,
            names,
            inserts,
            conflict,
            key_kinds: Vec::new(),
            keys: Vec::new(),
            joins: Vec::new(),
            is_stored_alike: Cell::new(false),
        };
        if routes {
            is_alike &= shape.join_key(links, source, table)?;
        }
        shape.is_stored_alike.set(is_alike);
        let columns: Vec<String> = shape.names.iter().map(|name| format!("moved.{name}")).collect();
        shape.select = shape.select_from("", &source.location.names.table(table.name), &columns);
        Ok(shape)
    }

    /// Joins the ancestor tables up to the root. Returns whether the columns of the root's key have the types of their kinds.
    fn join_key(&mut self, links: &Links, source: Endpoint<'_>, table: &'static Table) -> Result<bool> {
        let names = &source.location.names;
        let (mut at, mut alias, mut depth) = (table, "moved".to_owned(), 0);
        while let (KeyColumns::Parent(_), Some(parent)) = (at.key, at.parent) {
            depth += 1;
            let (above, column) = (format!("parent{depth}"), at.columns.get(parent.column));
            let parent_id = parent.table.columns.get(parent.table.id).map_or("id", |column| column.name);
            let rest = format!(
                " AS {above} ON {above}.{} = {alias}.{}",
                quoted(parent_id),
                quoted(column.map_or("", |column| column.name))
            );
            self.joins.push((names.table(parent.table.name), rest));
            (at, alias) = (parent.table, above);
        }
        let KeyColumns::Columns(keys) = at.key else { return Ok(true) };
        let dialect = source.location.dialect;
        let actual = match dialect.has_column_types() {
            true => links.at(source)?.columns(names, at.name)?,
            false => Vec::new(),
        };
        let mut are_kinds = true;
        for column in keys.iter().filter_map(|&column| at.columns.get(column)) {
            self.keys.push(format!("{alias}.{}", quoted(column.name)));
            self.key_kinds.push(column.kind);
            let found = actual.iter().find(|found| found.name.eq_ignore_ascii_case(column.name));
            are_kinds &= found.is_none_or(|found| dialect.kind_of(&found.sql_type) == Some(column.kind));
        }
        Ok(are_kinds)
    }

    /// Returns the query for columns and keys of rows of a table in a schema, up to the condition.
    pub(super) fn select_from(&self, schema: &str, name: &str, columns: &[String]) -> String {
        let columns: Vec<&str> = columns.iter().chain(&self.keys).map(String::as_str).collect();
        let join = |(name, rest): &(String, String)| format!(" LEFT JOIN {schema}{name}{rest}");
        let joins: String = self.joins.iter().map(join).collect();
        format!("SELECT {} FROM {schema}{name} AS moved{joins}", columns.join(", "))
    }
}

/// Returns whether all columns of two tables have the same types, so that rows can be copied in their stored form.
fn are_alike(
    (here, columns): (Dialect, &[ActualColumn]),
    (there, others): (Dialect, &[ActualColumn]),
) -> bool {
    let is_alike = |column: &ActualColumn| {
        let other = others.iter().find(|other| other.name.eq_ignore_ascii_case(&column.name));
        other.is_some_and(|other| {
            // The binary form of other types can depend on the server.
            let is_known = !here.has_column_types() || here.kind_of(&column.sql_type).is_some();
            is_known && other.sql_type.eq_ignore_ascii_case(&column.sql_type)
        })
    };
    here == there && columns.iter().all(is_alike)
}
