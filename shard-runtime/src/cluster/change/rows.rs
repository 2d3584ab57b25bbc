//! Reads and writes rows of tables that a change, or a copy to another cluster, copies, and finds the target of each. Uses `links` and `planner::sql`.

use super::links::{Links, Site};
use super::plan::read_rule;
use super::verify::is_same;
use crate::cluster::migrate::backfill;
use crate::driver::{Connection, Prepared};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Dialect, Param, quoted};
use crate::schema::{KeyColumns, Rule, Shards, Table};
use crate::transaction::Cluster;
use crate::transaction::change::ChangeRecord;
use crate::transaction::commit::integer;
use crate::transaction::facts::SEPARATOR;
use crate::transaction::recorded::root;
use crate::unit_of_work::{Copied, copied_columns};
use crate::value::{ColumnType, Value};

/// How many rows one statement inserts on a server.
const BATCH: usize = 1_000;

/// The tables that are copied, parents before children.
pub(in crate::cluster) struct Tables<'c> {
    /// The shards that rules name.
    shards: &'c Shards,
    sources: Vec<Site<'c>>,
    targets: Vec<Site<'c>>,
    all: Vec<&'static Table>,
    /// By source and table.
    shapes: Vec<Vec<Shape>>,
    /// By table: where its keys are on the targets; `None` if there is one target, or if the rows belong on each.
    rules: Vec<Option<Rule>>,
    /// By table and source: the targets that get its rows; `None` if these may be all.
    fed: Vec<Option<Vec<Vec<usize>>>>,
}

/// How the rows of a table are read from a source, and inserted on each target.
struct Shape {
    columns: Vec<Copied>,
    /// The place of the id among the columns.
    id_at: usize,
    /// `SELECT` up to the condition; the row's table is `moved`.
    select: String,
    id: String,
    /// The kind of the id.
    id_kind: ColumnType,
    /// By target.
    inserts: Vec<String>,
    key_kinds: Vec<ColumnType>,
}

/// Rows of one table: the columns, then those of the root's key.
pub(in crate::cluster) struct Rows {
    rows: Vec<Vec<Value<'static>>>,
    id_at: usize,
}

/// A function that visits a row, with its id. The row is its columns, then those of the root's key.
type Visit<'v> = dyn FnMut(&[Value<'_>], &Value<'_>) -> Result<()> + 'v;

impl Rows {
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
        sources: Vec<Site<'c>>,
        targets: Vec<Site<'c>>,
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

    /// The tables whose rows these rules place on the targets.
    pub(in crate::cluster) fn placed(
        links: &Links,
        (sources, targets): (Vec<Site<'c>>, Vec<Site<'c>>),
        shards: &'c Shards,
        all: Vec<&'static Table>,
        rules: Vec<Option<Rule>>,
        fed: Vec<Option<Vec<Vec<usize>>>>,
    ) -> Result<Self> {
        let mut tables = Tables { shards, sources, targets, all, shapes: Vec::new(), rules, fed };
        for source in &tables.sources {
            let shapes = tables.all.iter().zip(&tables.rules).map(|(&table, rule)| {
                let shape = Shape::new(links, *source, &tables.targets, table, rule.is_some());
                shape.map_err(|error| error.in_table(table.name))
            });
            let shapes = shapes.collect::<Result<Vec<Shape>>>()?;
            tables.shapes.push(shapes);
        }
        Ok(tables)
    }

    pub(in crate::cluster) fn all(&self) -> &[&'static Table] {
        &self.all
    }

    /// Whether each target gets the rows of one source only.
    pub(in crate::cluster) fn is_divided(&self, table: &Table) -> bool {
        self.sources.len() == 1 || matches!(self.fed.get(self.at(table)), Some(Some(_)))
    }

    /// The columns of a table that are copied.
    pub(in crate::cluster) fn columns(&self, source: usize, table: &Table) -> Result<&[Copied]> {
        self.shape(source, table).map(|shape| shape.columns.as_slice())
    }

    /// Whether rows of a table on a source can belong on a target.
    pub(in crate::cluster) fn is_fed(&self, source: usize, target: usize, table: &Table) -> bool {
        match self.fed.get(self.at(table)) {
            Some(Some(fed)) => fed.get(source).is_some_and(|targets| targets.contains(&target)),
            _ => true,
        }
    }

    /// Whether a table is copied from a source: reference tables are copied from the first.
    pub(in crate::cluster) fn is_copied(source: usize, table: &Table) -> bool {
        source == 0 || !table.is_reference()
    }

    /// The child tables of a table, with their places among those of a source.
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

    fn shape(&self, source: usize, table: &Table) -> Result<&Shape> {
        let shape = self.shapes.get(source).and_then(|shapes| shapes.get(self.at(table)));
        shape.ok_or_else(super::no_target)
    }

    /// Visits the next rows of a table on a source, by id, each with its id. Returns how many they were.
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
        let Some(&site) = self.sources.get(source) else { return Err(super::no_target()) };
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
        run().map_err(|error| error.in_table(table.name).on_shard(site.name))
    }

    /// Reads the next rows of a table on a source, by id.
    pub(super) fn read_after(
        &self,
        reader: &dyn Connection,
        source: usize,
        table: &'static Table,
        after: (Option<&Value<'_>>, u32),
    ) -> Result<Rows> {
        let mut found = Rows { rows: Vec::new(), id_at: self.shape(source, table)?.id_at };
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
    ) -> Result<Rows> {
        let mut found = Rows { rows: Vec::new(), id_at: self.shape(source, table)?.id_at };
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
        let (Some(&site), Some(parent)) = (self.sources.get(source), child.parent) else {
            return Ok(Vec::new());
        };
        let shape = self.shape(source, child)?;
        let link = quoted(child.columns.get(parent.column).map_or("", |column| column.name));
        let (name, is_in) = (site.place.names.table(child.name), site.place.dialect.is_in(1));
        let sql = format!("SELECT {} FROM {name} WHERE {link}{is_in}", shape.id);
        ids(reader, &sql, &[list(parents)], shape.id_kind)
    }

    /// Returns the next ids of a table on a shard.
    pub(in crate::cluster) fn ids_after(
        &self,
        connection: &dyn Connection,
        site: Site<'_>,
        table: &'static Table,
        (after, limit): (Option<&Value<'_>>, u32),
    ) -> Result<Vec<Value<'static>>> {
        let shape = self.shape(0, table)?;
        let (condition, params) = between(&shape.id, site.place.dialect, after, None);
        let from = site.place.names.table(table.name);
        let sql = format!("SELECT {} FROM {from}{condition} ORDER BY {} LIMIT {limit}", shape.id, shape.id);
        let found = ids(connection, &sql, &params, shape.id_kind);
        found.map_err(|error| error.in_table(table.name).on_shard(site.name))
    }

    /// Returns those of the ids that a table on a shard has.
    pub(in crate::cluster) fn ids_listed(
        &self,
        connection: &dyn Connection,
        site: Site<'_>,
        table: &'static Table,
        listed: &[Value<'static>],
    ) -> Result<Vec<Value<'static>>> {
        let shape = self.shape(0, table)?;
        let (from, is_in) = (site.place.names.table(table.name), site.place.dialect.is_in(1));
        let sql = format!("SELECT {} FROM {from} WHERE {}{is_in}", shape.id, shape.id);
        let found = ids(connection, &sql, &[list(listed)], shape.id_kind);
        found.map_err(|error| error.in_table(table.name).on_shard(site.name))
    }

    /// Returns the ids of all rows of a table on a shard.
    pub(in crate::cluster) fn all_ids(
        &self,
        connection: &dyn Connection,
        site: Site<'_>,
        table: &'static Table,
    ) -> Result<Vec<Value<'static>>> {
        let shape = self.shape(0, table)?;
        let sql = format!("SELECT {} FROM {}", shape.id, site.place.names.table(table.name));
        ids(connection, &sql, &[], shape.id_kind)
    }

    /// Reads rows of a table on a target between two ids, with the columns that a source has.
    pub(super) fn read_copies(
        &self,
        connection: &dyn Connection,
        (source, target): (usize, usize),
        table: &'static Table,
        (after, to): (Option<&Value<'_>>, Option<&Value<'_>>),
    ) -> Result<Rows> {
        let Some(site) = self.targets.get(target) else { return Err(super::no_target()) };
        let shape = self.shape(source, table)?;
        let columns: Vec<String> = shape.columns.iter().map(|column| quoted(column.name())).collect();
        let (condition, params) = between(&shape.id, site.place.dialect, after, to);
        let from = site.place.names.table(table.name);
        let sql = format!("SELECT {} FROM {from}{condition} ORDER BY {}", columns.join(", "), shape.id);
        shape.copies(connection, &sql, &params)
    }

    /// Reads the rows of a table on a target that have these ids, with the columns that a source has.
    pub(super) fn copies_listed(
        &self,
        connection: &dyn Connection,
        (source, target): (usize, usize),
        table: &'static Table,
        ids: &[Value<'static>],
    ) -> Result<Rows> {
        let Some(site) = self.targets.get(target) else { return Err(super::no_target()) };
        let shape = self.shape(source, table)?;
        let columns: Vec<String> = shape.columns.iter().map(|column| quoted(column.name())).collect();
        let (from, is_in) = (site.place.names.table(table.name), site.place.dialect.is_in(1));
        let sql = format!("SELECT {} FROM {from} WHERE {}{is_in}", columns.join(", "), shape.id);
        shape.copies(connection, &sql, &[list(ids)])
    }

    /// Whether a row and its copy have the same values.
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
        site: Site<'_>,
        table: &Table,
    ) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {}", site.place.names.table(table.name));
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
        let Some(site) = self.targets.get(target) else { return Ok(()) };
        let shape = self.shape(0, table)?;
        let (name, is_in) = (site.place.names.table(table.name), site.place.dialect.is_in(1));
        let sql = format!("DELETE FROM {name} WHERE {}{is_in}", shape.id);
        for ids in ids.chunks(BATCH) {
            connection.prepare(&sql)?.execute(&[list(ids)])?;
        }
        Ok(())
    }

    /// Returns what writes rows of a table to the targets.
    pub(super) fn writer<'w>(
        &'w self,
        targets: &[&'w dyn Connection],
        source: usize,
        table: &'static Table,
    ) -> Result<Writer<'w>> {
        let shape = self.shape(source, table)?;
        let parts = targets.iter().zip(&self.targets).zip(&shape.inserts);
        let parts = parts.map(|((connection, site), sql)| {
            let statement = connection.prepare(sql).map_err(|error| error.on_shard(site.name))?;
            Ok(WriterOfTarget { site: *site, statement, waiting: Vec::new() })
        });
        Ok(Writer {
            tables: self,
            source,
            table,
            columns: shape.columns.len(),
            parts: parts.collect::<Result<_>>()?,
        })
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
        let Some(Some(rule)) = self.rules.get(self.at(table)) else {
            return Ok(Some(0));
        };
        let shape = self.shape(source, table)?;
        let key = row.get(shape.columns.len()..).unwrap_or_default();
        let misplaced = |what: String| {
            let id = row.get(shape.id_at).map_or_else(String::new, Value::to_string);
            let source = self.sources.get(source).map_or("", |source| source.name);
            let is_apart = self.targets.first().is_some_and(|target| target.is_apart());
            let remedy = match is_apart {
                true => "call `verify` on the source, or give the other cluster a shard for the key",
                false => "call `verify`, and repair the row before the change",
            };
            let message = format!("{what}; {remedy}");
            let error = Error::new(ErrorKind::Layout, message).in_table(table.name).on_shard(source);
            Err(error.with_row(&format!("{} {id}", shape.id)))
        };
        if key.iter().all(|value| *value == Value::Null)
            && !key.is_empty()
            && matches!(table.key, KeyColumns::Parent(_))
        {
            return misplaced("the row has no parent, so that it belongs to no target".to_owned());
        }
        let shard = match rule.place(key, &root(table).placement) {
            Ok(shard) => shard,
            Err(error) => return misplaced(error.to_string()),
        };
        let name = self.shards.by_index(shard).map_or("", |shard| shard.name());
        match self.targets.iter().position(|target| target.name == name) {
            Some(target) if self.is_fed(source, target, table) => Ok(Some(target)),
            Some(_) => {
                misplaced(format!("the row's key belongs on another shard, whose rows go to `{name}`"))
            }
            None => misplaced(format!("the row's key belongs on shard `{name}`, which is no target")),
        }
    }

    fn dialect(&self, source: usize) -> Dialect {
        self.sources.get(source).map_or_else(Dialect::default, |site| site.place.dialect)
    }
}

/// Writes rows of one table to the targets where they belong.
pub(super) struct Writer<'w> {
    tables: &'w Tables<'w>,
    source: usize,
    table: &'static Table,
    columns: usize,
    parts: Vec<WriterOfTarget<'w>>,
}

struct WriterOfTarget<'w> {
    site: Site<'w>,
    statement: Box<dyn Prepared + 'w>,
    /// Rows that are sent together.
    waiting: Vec<Vec<Value<'static>>>,
}

impl Writer<'_> {
    /// Writes a row that was read from the source.
    pub(super) fn add(&mut self, row: &[Value<'_>]) -> Result<()> {
        let target = self.tables.target_of(self.source, self.table, row)?;
        let values = row.get(..self.columns).unwrap_or_default();
        for (at, part) in self.parts.iter_mut().enumerate() {
            // `None` is every target.
            if target.is_none_or(|target| target == at) {
                let added = part.add(values, self.columns);
                added.map_err(|error| error.in_table(self.table.name).on_shard(part.site.name))?;
            }
        }
        Ok(())
    }

    /// Writes what waits.
    pub(super) fn end(mut self) -> Result<()> {
        let (table, columns) = (self.table, self.columns);
        self.parts.iter_mut().try_for_each(|part| {
            part.send(columns).map_err(|error| error.in_table(table.name).on_shard(part.site.name))
        })
    }
}

impl WriterOfTarget<'_> {
    fn add(&mut self, row: &[Value<'_>], columns: usize) -> Result<()> {
        let is_nan = |value: &Value<'_>| matches!(value, Value::Real(real) if real.is_nan());
        if !self.site.place.dialect.stores_nan() && row.iter().any(is_nan) {
            let message =
                "SQLite would store NaN as NULL; set the value to another one before the row is copied";
            return Err(Error::new(ErrorKind::Value, message));
        }
        if !self.site.place.dialect.inserts_lists() {
            return self.statement.insert(row).map(drop);
        }
        self.waiting.push(row.iter().map(|value| value.borrowed().into_owned()).collect());
        if self.waiting.len() == BATCH { self.send(columns) } else { Ok(()) }
    }

    fn send(&mut self, columns: usize) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let column = |at: usize| {
            Param::List(self.waiting.iter().filter_map(|row| row.get(at)).map(Value::borrowed).collect())
        };
        let lists: Vec<Param<'_>> = (0..columns).map(column).collect();
        self.statement.execute(&lists)?;
        self.waiting.clear();
        Ok(())
    }
}

fn list<'v>(values: &'v [Value<'static>]) -> Param<'v> {
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

/// The condition that a column is between two values: the first excluded, the second included.
fn between<'v>(
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

impl Shape {
    /// Reads copies of rows.
    fn copies(&self, connection: &dyn Connection, sql: &str, params: &[Param<'_>]) -> Result<Rows> {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query(params)?;
        let mut found = Rows { rows: Vec::new(), id_at: self.id_at };
        while rows.advance()? {
            let row = self.columns.iter().enumerate();
            let row = row.map(|(at, column)| Ok(column.carried(rows.value(at))?.into_owned()));
            found.rows.push(row.collect::<Result<_>>()?);
        }
        Ok(found)
    }

    fn new(
        links: &Links,
        source: Site<'_>,
        targets: &[Site<'_>],
        table: &'static Table,
        routes: bool,
    ) -> Result<Self> {
        let id_column = table.columns.get(table.id);
        let id_name = id_column.map_or("id", |column| column.name);
        let actual = links.at(source)?.columns(&source.place.names, table.name)?;
        let mut columns = Vec::new();
        let mut inserts = Vec::with_capacity(targets.len());
        for target in targets {
            let others = links.at(*target)?.columns(&target.place.names, table.name)?;
            let (here, there) = ((source.place.dialect, &*actual), (target.place.dialect, &*others));
            columns = copied_columns(table, here, there, target.name)?;
            let names: Vec<String> = columns.iter().map(|column| quoted(column.name())).collect();
            let name = target.place.names.table(table.name);
            let set: Vec<String> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
            let conflict = format!(" ON CONFLICT ({}) DO UPDATE SET {}", quoted(id_name), set.join(", "));
            let dialect = target.place.dialect;
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
        let mut select: Vec<String> =
            columns.iter().map(|column| format!("moved.{}", quoted(column.name()))).collect();
        let mut joins = String::new();
        let mut key_kinds = Vec::new();
        if routes {
            let (mut at, mut alias, mut depth) = (table, "moved".to_owned(), 0);
            while let (KeyColumns::Parent(_), Some(parent)) = (at.key, at.parent) {
                depth += 1;
                let (above, column) = (format!("parent{depth}"), at.columns.get(parent.column));
                let parent_id = parent.table.columns.get(parent.table.id).map_or("id", |column| column.name);
                joins.push_str(&format!(
                    " LEFT JOIN {} AS {above} ON {above}.{} = {alias}.{}",
                    source.place.names.table(parent.table.name),
                    quoted(parent_id),
                    quoted(column.map_or("", |column| column.name))
                ));
                (at, alias) = (parent.table, above);
            }
            if let KeyColumns::Columns(keys) = at.key {
                for column in keys.iter().filter_map(|&column| at.columns.get(column)) {
                    select.push(format!("{alias}.{}", quoted(column.name)));
                    key_kinds.push(column.kind);
                }
            }
        }
        Ok(Shape {
            id_at: id_at.unwrap_or_default(),
            select: format!(
                "SELECT {} FROM {} AS moved{joins}",
                select.join(", "),
                source.place.names.table(table.name)
            ),
            id: quoted(id_name),
            id_kind: id_column.map_or(ColumnType::Integer, |column| column.kind),
            columns,
            inserts,
            key_kinds,
        })
    }
}

/// Returns the text of a cursor: the last row of a table that was copied.
pub(super) fn cursor_text(table: &Table, id: &Value<'_>) -> String {
    format!("{}{SEPARATOR}{}", table.name, backfill::cursor_text(id))
}

/// Returns the table and the id of a cursor.
pub(super) fn parse_cursor(text: &str) -> Result<(&str, Value<'static>)> {
    let parsed = text.split_once(SEPARATOR);
    let parsed = parsed.and_then(|(table, id)| Some((table, backfill::cursor_id(id).ok().flatten()?)));
    parsed.ok_or_else(|| {
        let message = "the cursor of the change cannot be read; cancel the change, and begin it again";
        Error::new(ErrorKind::Corrupt, message)
    })
}
