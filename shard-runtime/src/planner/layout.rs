//! The shards and models of a cluster, and the names of their tables. Uses `schema` and `sql`; no I/O.

use std::collections::HashMap;
use std::fmt;

use super::own_tables;
use crate::collation::Collation;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Dialect, Namespace, ShardFilter, SqlContext, TableSql};
use crate::schema::DeclaredDefault;
use crate::schema::Table;
use crate::schema::{LookupDef, PlacedLookup};
use crate::schema::{Shard, Shards};

/// The shards, the models, and their constant SQL.
pub struct Layout {
    shards: Shards,
    locations: Vec<Location>,
    /// For each database the indexes of its shards, ascending.
    by_database: Vec<Vec<usize>>,
    models: Vec<Model>,
    references: Vec<usize>,
    lookups: Vec<PlacedLookup>,
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layout").field("shards", &self.shards).finish_non_exhaustive()
    }
}

/// The location of a shard's tables.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    /// The index of the database in the cluster.
    pub(crate) database: usize,
    /// The names of the shard's tables in it.
    pub(crate) names: Namespace,
    pub(crate) dialect: Dialect,
    /// Whether the schema is the default one because the URL names none.
    pub(crate) is_default_schema: bool,
}

struct Model {
    table: &'static Table,
    /// One for each shard.
    sql: Vec<TableSql>,
}

impl Layout {
    /// Returns the description of a cluster with these shards and models.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the models and the shards contradict each other.
    pub(crate) fn new(
        shards: Shards,
        locations: Vec<Location>,
        mut tables: Vec<&'static Table>,
        lookups: Vec<(&'static Table, LookupDef)>,
    ) -> Result<Self> {
        let mut models: Vec<Model> = Vec::new();
        tables.extend(lookups.iter().map(|(_, lookup)| lookup.entries));
        for table in tables {
            // Names are case-insensitive in SQLite, and two lookups may have the same name.
            let is_same = |other: &&Model| other.table.name.eq_ignore_ascii_case(table.name);
            if let Some(other) = models.iter().find(is_same) {
                let (a, b) = (other.table.model, table.model);
                let message = format!(
                    "the models `{a}` and `{b}` have the same table; rename one with `#[sharded(table = \"…\")]`"
                );
                return Err(wrong(table, message));
            }
            for (index, column) in table.columns.iter().enumerate() {
                if let Some(Err(error)) = column.default.as_ref().map(DeclaredDefault::check) {
                    let message = format!("the column's `default` is not a value of its field: {error}");
                    return Err(table.error_at(index, wrong(table, message).with_source(error)));
                }
            }
            let sql = locations
                .iter()
                .map(|location| TableSql::new(table, &location.names, location.dialect))
                .collect();
            models.push(Model { table, sql });
        }
        for (shard, location) in shards.iter().zip(&locations) {
            let tables = models.iter().map(|model| model.table);
            if location.dialect == Dialect::Postgres {
                { tables }.try_for_each(check_for_postgres).map_err(|error| error.on_shard(shard.name()))?;
            }
        }
        // Parents and reference tables are created and written before the tables that refer to them.
        models.sort_by_key(|model| model.table.depth());
        for model in &models {
            if let Some(parent) = model.table.parent
                && !models.iter().any(|other| other.table.name == parent.table.name)
            {
                let message = format!("its parent `{}` is not registered; {REGISTER}", parent.table.model);
                return Err(wrong(model.table, message));
            }
            for reference in model.table.references {
                if !models.iter().any(|other| other.table.is(reference.table)) {
                    let referred = reference.table.model;
                    let message = format!("`{referred}`, which it refers to, is not registered; {REGISTER}");
                    return Err(model.table.error_at(reference.column, wrong(model.table, message)));
                }
            }
        }
        let is_reference = |(_, model): &(usize, &Model)| model.table.is_reference();
        let references = models.iter().enumerate().filter(is_reference).map(|(index, _)| index).collect();
        let lookups = lookups.into_iter().filter_map(|(table, LookupDef { column, entries })| {
            let model = models.iter().position(|model| model.table.is(entries))?;
            Some(PlacedLookup { table, column, entries, model })
        });
        let lookups = lookups.collect();
        let mut by_database: Vec<Vec<usize>> = Vec::new();
        for (shard, location) in locations.iter().enumerate() {
            if by_database.len() <= location.database {
                by_database.resize_with(location.database + 1, Vec::new);
            }
            if let Some(shards) = by_database.get_mut(location.database) {
                shards.push(shard);
            }
        }
        let layout = Layout { shards, locations, by_database, models, references, lookups };
        layout.check_names()?;
        Ok(layout)
    }

    /// Returns whether a table holds the entries of a lookup.
    pub(crate) fn holds_entries(&self, table: &Table) -> bool {
        self.lookups.iter().any(|lookup| lookup.entries.is(table))
    }

    /// Refuses a model that maps keys to a shard that is not configured, unless the recorded layout maps them to another one.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`]
    pub(crate) fn check_mentions(&self) -> Result<()> {
        for table in self.tables().filter(|table| self.shards.rule(table).is_none()) {
            let mut mentioned = table.placement.mentioned().into_iter();
            if let Some(shard) = mentioned.find(|shard| self.shards.get(shard).is_none()) {
                let names: Vec<&str> = self.shards.iter().map(Shard::name).collect();
                let message = format!(
                    "`{}` maps keys to shard `{shard}`, which is not configured (configured: {})",
                    table.model,
                    names.join(", ")
                );
                return Err(wrong(table, message).on_shard(shard));
            }
        }
        Ok(())
    }

    /// Refuses shards that share a table of one database.
    fn check_names(&self) -> Result<()> {
        let mut seen: HashMap<(usize, Option<&str>, String), &Shard> = HashMap::new();
        for (shard, location) in self.shards.iter().zip(&self.locations) {
            let on_servers = match location.dialect {
                Dialect::Sqlite => &[][..],
                Dialect::Postgres => &own_tables::ON_SERVERS,
            };
            let models = self.models.iter().map(|model| model.table.name);
            let own = models.chain(own_tables::ON_SHARDS).chain(on_servers.iter().copied());
            for name in own {
                // Names are case-insensitive in SQLite.
                let full = location.names.plain(name).to_lowercase();
                let schema = location.names.schema.as_deref();
                if let Some(other) = seen.insert((location.database, schema, full.clone()), shard) {
                    let remedy = match schema {
                        Some(_) => format!("a schema of its own: `?schema={}`", shard.name()),
                        None => format!("a file of its own, or a prefix: `?prefix={}_`", shard.name()),
                    };
                    let message = format!(
                        "its table `{full}` would be in the same database as that of shard `{other}`; \
                         give every shard {remedy}"
                    );
                    return Err(Error::new(ErrorKind::Configuration, message).on_shard(shard.name()));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn shards(&self) -> &Shards {
        &self.shards
    }

    /// Returns the tables, parents before children.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &'static Table> {
        self.models.iter().map(|model| model.table)
    }

    /// Returns the lookups of all models.
    pub(crate) fn lookups(&self) -> &[PlacedLookup] {
        &self.lookups
    }

    /// Returns the lookups of one model.
    pub(crate) fn lookups_of(&self, table: &'static Table) -> impl Iterator<Item = &PlacedLookup> {
        self.lookups.iter().filter(move |lookup| lookup.table.is(table))
    }

    /// Returns the location of a shard's tables.
    pub(crate) fn location(&self, shard: usize) -> Result<&Location> {
        self.locations.get(shard).ok_or_else(no_such_shard)
    }

    /// Returns the shards whose tables are in this database.
    pub(crate) fn shards_in(&self, database: usize) -> impl Iterator<Item = &Shard> {
        let shards = self.by_database.get(database).into_iter().flatten();
        shards.filter_map(|&shard| self.shards.by_index(shard))
    }

    /// Returns the index of the first shard in this database.
    pub(crate) fn first_in(&self, database: usize) -> usize {
        self.shards_in(database).next().map_or(0, Shard::index)
    }

    /// Returns the indexes of the models that are reference tables.
    pub(crate) fn references(&self) -> &[usize] {
        &self.references
    }

    /// Returns the model's index in this cluster.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownModel`]
    pub(crate) fn model(&self, table: &'static Table) -> Result<usize> {
        self.models.iter().position(|model| model.table.is(table)).ok_or_else(|| {
            let message = format!("model `{}` is not registered; {REGISTER}", table.model);
            Error::new(ErrorKind::UnknownModel, message).in_table(table.name)
        })
    }

    /// Returns the table of the model with this index.
    pub(crate) fn table(&self, model: usize) -> Result<&'static Table> {
        self.models.get(model).map(|model| model.table).ok_or_else(no_such_shard)
    }

    /// Returns the SQL of a model on a shard.
    pub(crate) fn sql(&self, model: usize, shard: usize) -> Result<&TableSql> {
        self.models.get(model).and_then(|model| model.sql.get(shard)).ok_or_else(no_such_shard)
    }

    pub(crate) fn site<'s>(
        &'s self,
        model: usize,
        shard: usize,
        share: &'s dyn ShardFilter,
    ) -> Result<SqlContext<'s>> {
        let table = self.models.get(model).ok_or_else(no_such_shard)?.table;
        let Location { dialect, names, .. } = self.location(shard)?;
        Ok(SqlContext { dialect: *dialect, table, sql: self.sql(model, shard)?, names, share })
    }
}

/// The remedy for a model that a query or another model needs.
const REGISTER: &str = "add it to `create::<(…)>` or `open::<(…)>`";

/// Refuses names and collations that PostgreSQL does not have.
fn check_for_postgres(table: &Table) -> Result<()> {
    let longest = Dialect::Postgres.longest_name().unwrap_or(usize::MAX);
    let is_too_long = |name: &&str| name.len() > longest;
    let names = std::iter::once(table.name).chain(table.columns.iter().map(|column| column.name));
    if let Some(name) = { names }.find(is_too_long) {
        return Err(wrong(
            table,
            format!("the name `{name}` is longer than PostgreSQL's {longest} bytes; shorten it"),
        ));
    }
    match table.columns.iter().find(|column| column.collation != Collation::Binary) {
        None => Ok(()),
        Some(column) => {
            let message = "the column's collation exists only on SQLite shards; remove `collate`";
            Err(wrong(table, message.to_owned()).at_column(column.name))
        }
    }
}

fn wrong(table: &Table, message: String) -> Error {
    Error::new(ErrorKind::Configuration, message).in_table(table.name)
}

fn no_such_shard() -> Error {
    Error::new(ErrorKind::UnknownShard, "the cluster has no shard with this index")
}
