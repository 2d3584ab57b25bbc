//! Reads rows of tables for a change, or for a copy to another cluster, and finds the target of each. Uses `links`, `shape` and
//! `planner::sql`.

use super::links::{Endpoint, Links};
use super::plan::read_rule;
use super::shape::TableShape;
use super::verify::is_same;
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Dialect, Param, quoted};
use crate::schema::{KeyColumns, Rule, Shards, Table};
use crate::transaction::Cluster;
use crate::transaction::change::ChangeRecord;
use crate::transaction::commit::integer;
use crate::transaction::recorded::root;
use crate::unit_of_work::Copied;
use crate::value::{ColumnType, Value};

/// The number of rows that one statement inserts on a server.
pub(super) const INSERT_ROWS: usize = 1_000;

/// The tables that are copied, parents before children.
pub(in crate::cluster) struct Tables<'c> {
    /// The shards that rules name.
    shards: &'c Shards,
    sources: Vec<Endpoint<'c>>,
    targets: Vec<Endpoint<'c>>,
    all: Vec<&'static Table>,
    /// By source and table.
    shapes: Vec<Vec<TableShape>>,
    /// By table: the rule that places its keys on the targets. `None` if there is one target, or if every target gets all rows.
    rules: Vec<Option<Rule>>,
    /// By table and source: the targets that can get its rows. `None` if all targets can.
    fed: Vec<Option<Vec<Vec<usize>>>>,
}

/// Rows of one table: the columns, then those of the root's key.
pub(in crate::cluster) struct CopiedRows {
    rows: Vec<Vec<Value<'static>>>,
    id_at: usize,
}

/// A function that visits a row and its id. The row is its columns, then those of the root's key.
type Visit<'v> = dyn FnMut(&[Value<'_>], &Value<'_>) -> Result<()> + 'v;

impl CopiedRows {
    /// Reads copies of rows.
    fn copies(
        shape: &TableShape,
        connection: &dyn Connection,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Self> {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query(params)?;
        let mut found = CopiedRows { rows: Vec::new(), id_at: shape.id_at };
        while rows.advance()? {
            let row = shape.columns.iter().enumerate();
            let row = row.map(|(at, column)| Ok(column.carried(rows.value(at))?.into_owned()));
            found.rows.push(row.collect::<Result<_>>()?);
        }
        Ok(found)
    }

    fn add(&mut self, row: &[Value<'_>]) -> Result<()> {
        self.rows.push(row.iter().map(|value| value.borrowed().into_owned()).collect());
        Ok(())
    }

    pub(in crate::cluster) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(in crate::cluster) fn iter(&self) -> impl Iterator<Item = &[Value<'static>]> {
        self.rows.iter().map(Vec::as_slice)
    }

    pub(in crate::cluster) fn id(&self, row: usize) -> Option<&Value<'static>> {
        self.rows.get(row)?.get(self.id_at)
    }

    pub(in crate::cluster) fn ids(&self) -> Vec<Value<'static>> {
        self.rows.iter().filter_map(|row| row.get(self.id_at).cloned()).collect()
    }

    pub(super) fn last_id(&self) -> Option<Value<'static>> {
        self.rows.last()?.get(self.id_at).cloned()
    }
}

impl<'c> Tables<'c> {
    pub(super) fn new(
        cluster: &'c Cluster,
        links: &Links,
        change: &ChangeRecord,
        sources: Vec<Endpoint<'c>>,
        targets: Vec<Endpoint<'c>>,
    ) -> Result<Self> {
        let all: Vec<&'static Table> = cluster.0.layout.tables().collect();
        let mut rules = Vec::with_capacity(all.len());
        for &table in &all {
            let leader = cluster.0.recorded.leader(table, &all, cluster.0.layout.shards());
            let lines = change.groups.iter().find(|(group, _)| *group == leader).map(|(_, lines)| lines);
            rules.push(match lines {
                Some(lines) if targets.len() > 1 && !table.is_reference() => {
                    Some(read_rule(cluster, table, lines)?)
                }
                _ => None,
            });
        }
        let fed = all.iter().map(|_| None).collect();
        Tables::placed(links, (sources, targets), cluster.0.layout.shards(), all, rules, fed)
    }

    /// Returns the tables, with rules that place their rows on the targets.
    pub(in crate::cluster) fn placed(
        links: &Links,
        (sources, targets): (Vec<Endpoint<'c>>, Vec<Endpoint<'c>>),
        shards: &'c Shards,
        all: Vec<&'static Table>,
        rules: Vec<Option<Rule>>,
        fed: Vec<Option<Vec<Vec<usize>>>>,
    ) -> Result<Self> {
        let mut tables = Tables { shards, sources, targets, all, shapes: Vec::new(), rules, fed };
        for source in &tables.sources {
            let shapes = tables.all.iter().zip(&tables.rules).map(|(&table, rule)| {
                let shape = TableShape::new(links, *source, &tables.targets, table, rule.is_some());
                shape.map_err(|error| error.in_table(table.name))
            });
            let shapes = shapes.collect::<Result<Vec<TableShape>>>()?;
            tables.shapes.push(shapes);
        }
        Ok(tables)
    }

    /// Returns the error of a shard or table that the change does not have.
    pub(super) fn unknown(&self) -> Error {
        let shards = |all: &[Endpoint<'_>]| all.iter().map(|shard| shard.name).collect::<Vec<_>>().join(", ");
        let tables: Vec<&str> = self.all.iter().map(|table| table.name).collect();
        let message = format!(
            "unknown shard or table in the change; sources: {}; targets: {}; tables: {}",
            shards(&self.sources),
            shards(&self.targets),
            tables.join(", ")
        );
        Error::new(ErrorKind::UnknownShard, message)
    }

    pub(in crate::cluster) fn all(&self) -> &[&'static Table] {
        &self.all
    }

    /// Returns whether each target gets the rows of one source only.
    pub(in crate::cluster) fn is_divided(&self, table: &Table) -> bool {
        self.sources.len() == 1 || matches!(self.fed.get(self.at(table)), Some(Some(_)))
    }

    /// Returns the columns of a table that are copied.
    pub(in crate::cluster) fn columns(&self, source: usize, table: &Table) -> Result<&[Copied]> {
        self.shape(source, table).map(|shape| shape.columns.as_slice())
    }

    /// Returns whether rows of a table on a source can belong on a target.
    pub(in crate::cluster) fn is_fed(&self, source: usize, target: usize, table: &Table) -> bool {
        match self.fed.get(self.at(table)) {
            Some(Some(fed)) => fed.get(source).is_some_and(|targets| targets.contains(&target)),
            _ => true,
        }
    }

    /// Returns whether a table is copied from a source: reference tables are copied from the first.
    pub(in crate::cluster) fn is_copied(source: usize, table: &Table) -> bool {
        source == 0 || !table.is_reference()
    }

    /// Returns the child tables of a table, with their indexes among all tables.
    pub(super) fn children_of(
        &self,
        parent: &'static Table,
    ) -> impl Iterator<Item = (usize, &'static Table)> {
        let is_child = move |table: &&'static Table| {
            matches!(table.key, KeyColumns::Parent(_)) && table.parent.is_some_and(|own| own.table.is(parent))
        };
        self.all.iter().copied().enumerate().filter(move |(_, table)| is_child(table))
    }

    fn at(&self, table: &Table) -> usize {
        self.all.iter().position(|other| other.is(table)).unwrap_or_default()
    }

    pub(super) fn shape(&self, source: usize, table: &Table) -> Result<&TableShape> {
        let shape = self.shapes.get(source).and_then(|shapes| shapes.get(self.at(table)));
        shape.ok_or_else(|| self.unknown())
    }

    /// Visits the next rows of a table on a source, by id, each with its id. Returns their number.
    pub(in crate::cluster) fn visit_after(
        &self,
        reader: &dyn Connection,
        source: usize,
        table: &'static Table,
        (after, limit): (Option<&Value<'_>>, u32),
        visit: &mut Visit<'_>,
    ) -> Result<u64> {
        let (shape, dialect) = (self.shape(source, table)?, self.dialect(source));
        let condition = match after {
            Some(_) => format!(" WHERE moved.{} > {}", shape.id, dialect.param(1)),
            None => String::new(),
        };
        let sql = format!("{}{condition} ORDER BY moved.{} LIMIT {limit}", shape.select, shape.id);
        let params: Vec<Param<'_>> = after.iter().map(|id| Param::Value(id.borrowed())).collect();
        self.visit(reader, source, table, &sql, &params, visit)
    }

    /// Visits the rows of a table on a source that have these ids.
    pub(super) fn visit_listed(
        &self,
        reader: &dyn Connection,
        source: usize,
        table: &'static Table,
        ids: &[Value<'static>],
        visit: &mut Visit<'_>,
    ) -> Result<u64> {
        let shape = self.shape(source, table)?;
        let sql = format!("{} WHERE moved.{}{}", shape.select, shape.id, self.dialect(source).is_in(1));
        self.visit(reader, source, table, &sql, &[list(ids)], visit)
    }

    fn visit(
        &self,
        reader: &dyn Connection,
        source: usize,
        table: &'static Table,
        sql: &str,
        params: &[Param<'_>],
        visit: &mut Visit<'_>,
    ) -> Result<u64> {
        let Some(&endpoint) = self.sources.get(source) else { return Err(self.unknown()) };
        let shape = self.shape(source, table)?;
        let mut run = || -> Result<u64> {
            let mut statement = reader.prepare(sql)?;
            // A target may be in the same database.
            let mut rows = statement.query_beside_others(params)?;
            let mut count = 0;
            while rows.advance()? {
                let mut row = Vec::with_capacity(shape.columns.len() + shape.key_kinds.len());
                for (at, column) in shape.columns.iter().enumerate() {
                    row.push(column.carried(rows.value(at)).map_err(|error| {
                        let id = rows.value(shape.id_at).map_or_else(|_| String::new(), |id| id.to_string());
                        Error::from(error).at_column(column.name()).with_row(&format!("{} {id}", shape.id))
                    })?);
                }
                for (at, kind) in (shape.columns.len()..).zip(&shape.key_kinds) {
                    let value = rows.value(at)?;
                    row.push(if value == Value::Null { value } else { value.into_kind(*kind)? });
                }
                let id = row.get(shape.id_at).unwrap_or(&Value::Null);
                visit(&row, id)?;
                count += 1;
            }
            Ok(count)
        };
        run().map_err(|error| error.in_table(table.name).on_shard(endpoint.name))
    }

    /// Reads the next rows of a table on a source, by id.
    pub(super) fn read_after(
        &self,
        reader: &dyn Connection,
        source: usize,
        table: &'static Table,
        after: (Option<&Value<'_>>, u32),
    ) -> Result<CopiedRows> {
        let mut found = CopiedRows { rows: Vec::new(), id_at: self.shape(source, table)?.id_at };
        self.visit_after(reader, source, table, after, &mut |row, _| found.add(row))?;
        Ok(found)
    }

    /// Reads the rows of a table on a source that have these ids.
    pub(in crate::cluster) fn read_listed(
        &self,
        reader: &dyn Connection,
        source: usize,
        table: &'static Table,
        ids: &[Value<'static>],
    ) -> Result<CopiedRows> {
        let mut found = CopiedRows { rows: Vec::new(), id_at: self.shape(source, table)?.id_at };
        self.visit_listed(reader, source, table, ids, &mut |row, _| found.add(row))?;
        Ok(found)
    }

    /// Returns the ids of the children of rows on a source.
    pub(super) fn children(
        &self,
        reader: &dyn Connection,
        source: usize,
        child: &'static Table,
        parents: &[Value<'static>],
    ) -> Result<Vec<Value<'static>>> {
        let (Some(&endpoint), Some(parent)) = (self.sources.get(source), child.parent) else {
            return Ok(Vec::new());
        };
        let shape = self.shape(source, child)?;
        let link = quoted(child.columns.get(parent.column).map_or("", |column| column.name));
        let (name, is_in) = (endpoint.location.names.table(child.name), endpoint.location.dialect.is_in(1));
        let sql = format!("SELECT {} FROM {name} WHERE {link}{is_in}", shape.id);
        ids(reader, &sql, &[list(parents)], shape.id_kind)
    }

    /// Returns the next ids of a table on a shard.
    pub(in crate::cluster) fn ids_after(
        &self,
        connection: &dyn Connection,
        endpoint: Endpoint<'_>,
        table: &'static Table,
        (after, limit): (Option<&Value<'_>>, u32),
    ) -> Result<Vec<Value<'static>>> {
        let shape = self.shape(0, table)?;
        let (condition, params) = between(&shape.id, endpoint.location.dialect, after, None);
        let from = endpoint.location.names.table(table.name);
        let sql = format!("SELECT {} FROM {from}{condition} ORDER BY {} LIMIT {limit}", shape.id, shape.id);
        let found = ids(connection, &sql, &params, shape.id_kind);
        found.map_err(|error| error.in_table(table.name).on_shard(endpoint.name))
    }

    /// Returns those of the ids that a table on a shard has.
    pub(in crate::cluster) fn ids_listed(
        &self,
        connection: &dyn Connection,
        endpoint: Endpoint<'_>,
        table: &'static Table,
        listed: &[Value<'static>],
    ) -> Result<Vec<Value<'static>>> {
        let shape = self.shape(0, table)?;
        let (from, is_in) = (endpoint.location.names.table(table.name), endpoint.location.dialect.is_in(1));
        let sql = format!("SELECT {} FROM {from} WHERE {}{is_in}", shape.id, shape.id);
        let found = ids(connection, &sql, &[list(listed)], shape.id_kind);
        found.map_err(|error| error.in_table(table.name).on_shard(endpoint.name))
    }

    /// Returns the ids of all rows of a table on a shard.
    pub(in crate::cluster) fn all_ids(
        &self,
        connection: &dyn Connection,
        endpoint: Endpoint<'_>,
        table: &'static Table,
    ) -> Result<Vec<Value<'static>>> {
        let shape = self.shape(0, table)?;
        let sql = format!("SELECT {} FROM {}", shape.id, endpoint.location.names.table(table.name));
        ids(connection, &sql, &[], shape.id_kind)
    }

    /// Reads rows of a table on a target between two ids, with the columns that a source has.
    pub(super) fn read_copies(
        &self,
        connection: &dyn Connection,
        (source, target): (usize, usize),
        table: &'static Table,
        (after, to): (Option<&Value<'_>>, Option<&Value<'_>>),
    ) -> Result<CopiedRows> {
        let Some(endpoint) = self.targets.get(target) else { return Err(self.unknown()) };
        let shape = self.shape(source, table)?;
        let columns: Vec<String> = shape.columns.iter().map(|column| quoted(column.name())).collect();
        let (condition, params) = between(&shape.id, endpoint.location.dialect, after, to);
        let from = endpoint.location.names.table(table.name);
        let sql = format!("SELECT {} FROM {from}{condition} ORDER BY {}", columns.join(", "), shape.id);
        CopiedRows::copies(shape, connection, &sql, &params)
    }

    /// Reads the rows of a table on a target that have these ids, with the columns that a source has.
    pub(super) fn copies_listed(
        &self,
        connection: &dyn Connection,
        (source, target): (usize, usize),
        table: &'static Table,
        ids: &[Value<'static>],
    ) -> Result<CopiedRows> {
        let Some(endpoint) = self.targets.get(target) else { return Err(self.unknown()) };
        let shape = self.shape(source, table)?;
        let columns: Vec<String> = shape.columns.iter().map(|column| quoted(column.name())).collect();
        let (from, is_in) = (endpoint.location.names.table(table.name), endpoint.location.dialect.is_in(1));
        let sql = format!("SELECT {} FROM {from} WHERE {}{is_in}", columns.join(", "), shape.id);
        CopiedRows::copies(shape, connection, &sql, &[list(ids)])
    }

    /// Returns whether a row and its copy have the same values.
    pub(super) fn are_equal(
        &self,
        source: usize,
        table: &'static Table,
        row: &[Value<'static>],
        copy: &[Value<'static>],
        is_between_databases: bool,
    ) -> Result<bool> {
        let shape = self.shape(source, table)?;
        let mut values = shape.columns.iter().zip(row).zip(copy);
        Ok(values.all(|((column, row), copy)| is_same(column.kind(), row, copy, is_between_databases)))
    }

    /// Counts the rows of a table on a shard.
    pub(in crate::cluster) fn count(
        connection: &dyn Connection,
        endpoint: Endpoint<'_>,
        table: &Table,
    ) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {}", endpoint.location.names.table(table.name));
        integer(connection, &sql, &[]).map(|count| u64::try_from(count).unwrap_or_default())
    }

    /// Deletes rows on a target.
    pub(in crate::cluster) fn delete(
        &self,
        connection: &dyn Connection,
        target: usize,
        table: &'static Table,
        ids: &[Value<'static>],
    ) -> Result<()> {
        let Some(endpoint) = self.targets.get(target) else { return Ok(()) };
        let shape = self.shape(0, table)?;
        let (name, is_in) = (endpoint.location.names.table(table.name), endpoint.location.dialect.is_in(1));
        let sql = format!("DELETE FROM {name} WHERE {}{is_in}", shape.id);
        for ids in ids.chunks(INSERT_ROWS) {
            connection.prepare(&sql)?.execute(&[list(ids)])?;
        }
        Ok(())
    }

    /// Returns the target of a row that was read from a source; `None` if it belongs on every target.
    pub(in crate::cluster) fn target_of(
        &self,
        source: usize,
        table: &'static Table,
        row: &[Value<'_>],
    ) -> Result<Option<usize>> {
        if table.is_reference() {
            return Ok(None);
        }
        let Some(rule) = self.rule(table) else { return Ok(Some(0)) };
        let shape = self.shape(source, table)?;
        let key = row.get(shape.columns.len()..).unwrap_or_default();
        self.target_of_key(source, table, (rule, key)).map(Some).map_err(|message| {
            let id = row.get(shape.id_at).map_or_else(String::new, Value::to_string);
            let source = self.sources.get(source).map_or("", |source| source.name);
            let is_apart = self.targets.first().is_some_and(|target| target.is_apart());
            let remedy = match is_apart {
                true => "call `verify` on the source, or give the other cluster a shard for the key",
                false => "call `verify`, and repair the row before the change",
            };
            let message = format!("{message}; {remedy}");
            let error = Error::new(ErrorKind::Layout, message).in_table(table.name).on_shard(source);
            error.with_row(&format!("{} {id}", shape.id))
        })
    }

    /// Returns the target of a row with this key, or the reason why it has none.
    pub(super) fn target_of_key(
        &self,
        source: usize,
        table: &'static Table,
        (rule, key): (&Rule, &[Value<'_>]),
    ) -> Result<usize, String> {
        if key.iter().all(|value| *value == Value::Null)
            && !key.is_empty()
            && matches!(table.key, KeyColumns::Parent(_))
        {
            return Err("the row has no parent, so that it belongs to no target".to_owned());
        }
        let shard = rule.place(key, &root(table).placement).map_err(|error| error.to_string())?;
        let name = self.shards.by_index(shard).map_or("", |shard| shard.name());
        match self.targets.iter().position(|target| target.name == name) {
            Some(target) if self.is_fed(source, target, table) => Ok(target),
            Some(_) => Err(format!("the row's key belongs on another shard, whose rows go to `{name}`")),
            None => Err(format!("the row's key belongs on shard `{name}`, which is not a target")),
        }
    }

    /// Returns the rule that places the rows of a table on the targets. `None` if there is one target, or if every target gets
    /// all rows.
    pub(super) fn rule(&self, table: &Table) -> Option<&Rule> {
        self.rules.get(self.at(table)).and_then(Option::as_ref).filter(|_| !table.is_reference())
    }

    fn dialect(&self, source: usize) -> Dialect {
        self.sources.get(source).map_or_else(Dialect::default, |endpoint| endpoint.location.dialect)
    }
}

pub(super) fn list<'v>(values: &'v [Value<'static>]) -> Param<'v> {
    Param::List(values.iter().map(Value::borrowed).collect())
}

fn ids(
    connection: &dyn Connection,
    sql: &str,
    params: &[Param<'_>],
    kind: ColumnType,
) -> Result<Vec<Value<'static>>> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while rows.advance()? {
        found.push(rows.value(0)?.into_kind(kind)?.into_owned());
    }
    Ok(found)
}

/// Returns the condition that a column is between two values: the first excluded, the second included.
pub(super) fn between<'v>(
    column: &str,
    dialect: Dialect,
    after: Option<&'v Value<'_>>,
    to: Option<&'v Value<'_>>,
) -> (String, Vec<Param<'v>>) {
    let (mut sql, mut params) = (String::new(), Vec::new());
    for (operator, value) in [(">", after), ("<=", to)] {
        if let Some(value) = value {
            let word = if params.is_empty() { " WHERE " } else { " AND " };
            params.push(Param::Value(value.borrowed()));
            sql.push_str(&format!("{word}{column} {operator} {}", dialect.param(params.len())));
        }
    }
    (sql, params)
}
