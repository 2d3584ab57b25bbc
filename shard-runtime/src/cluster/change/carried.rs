//! Indexes with a condition or over expressions, and CHECK constraints, that the sources of a change have and a target lacks: those
//! of other programs. They keep their text, so that they are carried between databases of one kind only. Uses `links`.

use super::links::{Endpoint, Links};
use crate::cluster::migrate::{after_table, checks};
use crate::driver::Connection;
use crate::error::Result;
use crate::planner::sql::{quoted, shortened};
use crate::schema::Table;
use crate::transaction::facts::texts;

/// SQL that makes an index or a constraint, and SQL that drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) make: String,
    pub(super) drop: String,
}

/// The indexes and constraints that a target gets from its sources.
#[derive(Debug, Default)]
pub(super) struct OfSources {
    /// They are made when the rows are copied.
    pub(super) indexes: Vec<Carried>,
    /// They are made on the empty tables.
    pub(super) checks: Vec<Carried>,
}

impl OfSources {
    /// Finds the indexes that any source has, and the unique ones and the constraints that all sources have: others would refuse
    /// rows of the other sources.
    pub(super) fn find(
        links: &Links,
        target: Endpoint<'_>,
        sources: &[Endpoint<'_>],
        tables: &[&'static Table],
    ) -> Result<Self> {
        let mut found = OfSources::default();
        let dialect = target.location.dialect;
        if sources.iter().any(|source| source.location.dialect != dialect) {
            return Ok(found);
        }
        for &table in tables {
            let read = |of: Endpoint<'_>| Special::read(links.at(of)?, of, table);
            let own = read(target)?;
            let theirs: Vec<Special> = sources.iter().map(|source| read(*source)).collect::<Result<_>>()?;
            let have_all = |has: &dyn Fn(&Special) -> bool| theirs.iter().all(has);
            for index in theirs.iter().flat_map(|special| &special.indexes) {
                let is_common = have_all(&|special| special.indexes.iter().any(|other| other.is_same(index)));
                if (is_common || !index.is_unique) && !own.indexes.iter().any(|other| other.is_same(index)) {
                    let carried = index.on(target, table);
                    if !found.indexes.contains(&carried) {
                        found.indexes.push(carried);
                    }
                }
            }
            for (number, check) in theirs.iter().take(1).flat_map(|special| &special.checks).enumerate() {
                let is_common = have_all(&|special| special.checks.contains(check));
                if is_common && !own.checks.contains(check) {
                    found.checks.push(check.on(target, table, number));
                }
            }
        }
        Ok(found)
    }
}

/// The indexes with a condition or expressions and the CHECK constraints of a table.
struct Special {
    indexes: Vec<SpecialIndex>,
    checks: Vec<Check>,
}

impl Special {
    fn read(connection: &dyn Connection, endpoint: Endpoint<'_>, table: &'static Table) -> Result<Self> {
        let (names, dialect) = (&endpoint.location.names, endpoint.location.dialect);
        let rows = texts(connection, &dialect.special_indexes_sql(names, table.name), &[])?;
        let prefix = names.plain("");
        let index = |row: Vec<String>| {
            let [name, definition, is_unique] = <[String; 3]>::try_from(row).ok()?;
            let definition = match dialect.is_on_server() {
                true => definition,
                false => after_table(&definition)?.to_owned(),
            };
            let name = name.strip_prefix(prefix.as_str()).map_or(name.clone(), str::to_owned);
            Some(SpecialIndex { name, definition, is_unique: is_unique == "1" })
        };
        let indexes = rows.into_iter().filter_map(index).collect();
        let rows = texts(connection, &dialect.checks_sql(names, table.name), &[])?;
        let each = rows.into_iter().filter_map(|row| <[String; 2]>::try_from(row).ok());
        let checks = each.flat_map(|[name, sql]| match dialect.is_on_server() {
            true => vec![Check { name, definition: sql }],
            false => {
                let unnamed = checks(&sql).into_iter();
                let check = |text| Check { name: String::new(), definition: format!("CHECK ({text})") };
                unnamed.map(check).collect()
            }
        });
        Ok(Special { indexes, checks: checks.collect() })
    }
}

struct SpecialIndex {
    /// The name, without the prefix of the shard.
    name: String,
    /// The text after the table's name.
    definition: String,
    is_unique: bool,
}

impl SpecialIndex {
    fn is_same(&self, other: &SpecialIndex) -> bool {
        (&self.definition, self.is_unique) == (&other.definition, other.is_unique)
    }

    fn on(&self, target: Endpoint<'_>, table: &Table) -> Carried {
        let (names, dialect) = (&target.location.names, target.location.dialect);
        // Otherwise its name could be that of another table's index.
        let begins = format!("{}: ", table.name);
        let own = self.name.strip_prefix(&begins).unwrap_or(&self.name);
        let name = quoted(&shortened(names.plain(&format!("{begins}{own}")), dialect));
        let unique = if self.is_unique { "UNIQUE " } else { "" };
        let make = format!(
            "CREATE {unique}INDEX IF NOT EXISTS {name} ON {} {}",
            names.table(table.name),
            self.definition
        );
        let schema = names.schema.as_ref().map_or_else(String::new, |name| format!("{}.", quoted(name)));
        Carried { make, drop: format!("DROP INDEX IF EXISTS {schema}{name}") }
    }
}

#[derive(PartialEq, Eq)]
struct Check {
    /// The name; empty in SQLite, where no pragma lists it.
    name: String,
    /// `CHECK (..)`.
    definition: String,
}

impl Check {
    fn on(&self, target: Endpoint<'_>, table: &Table, number: usize) -> Carried {
        let on = target.location.names.table(table.name);
        let name = match target.location.dialect.is_on_server() {
            true => quoted(&self.name),
            false => quoted(&format!("check {number}")),
        };
        Carried {
            make: format!("ALTER TABLE {on} ADD CONSTRAINT {name} {}", self.definition),
            drop: format!("ALTER TABLE {on} DROP CONSTRAINT {name}"),
        }
    }
}
