//! The indexes and CHECK constraints that the sources of a change have and a target lacks: those of other programs. Those with a
//! condition or an expression keep their text, so that they are carried between databases of one kind only. Uses `links`.

use super::links::{Endpoint, Links};
use crate::cluster::migrate::{after_table, checks};
use crate::driver::{ActualIndex, Connection};
use crate::error::Result;
use crate::planner::sql::{DeclaredIndex, Namespace, quoted, shortened};
use crate::schema::Table;
use crate::transaction::facts::texts;

/// SQL that makes an index or a constraint, and SQL that drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) make: String,
    pub(super) drop: String,
}

/// The indexes and constraints that a target gets from its sources: the indexes that any source has, and the unique ones and the
/// constraints that all sources have. Others would refuse rows of the other sources.
#[derive(Debug, Default)]
pub(super) struct OfSources {
    /// Over columns.
    pub(super) plain: Vec<Carried>,
    /// With a condition or an expression.
    pub(super) special: Vec<Carried>,
    pub(super) checks: Vec<Carried>,
}

impl OfSources {
    pub(super) fn find(
        links: &Links,
        target: Endpoint<'_>,
        sources: &[Endpoint<'_>],
        tables: &[&'static Table],
    ) -> Result<Self> {
        let mut found = OfSources::default();
        let is_of_one_kind = sources.iter().all(|source| source.location.dialect == target.location.dialect);
        for &table in tables {
            found.find_plain(links, target, sources, table)?;
            if is_of_one_kind {
                found.find_special(links, target, sources, table)?;
            }
        }
        Ok(found)
    }

    fn find_plain(
        &mut self,
        links: &Links,
        target: Endpoint<'_>,
        sources: &[Endpoint<'_>],
        table: &'static Table,
    ) -> Result<()> {
        let (names, dialect) = (&target.location.names, target.location.dialect);
        let connection = links.at(target)?;
        let (columns, own) = (connection.columns(names, table.name)?, connection.indexes(names, table.name)?);
        let read = |of: &Endpoint<'_>| links.at(*of)?.indexes(&of.location.names, table.name);
        let theirs: Vec<Vec<ActualIndex>> = sources.iter().map(read).collect::<Result<_>>()?;
        let has = |name: &String| columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
        for index in theirs.iter().flatten().filter(|index| index.columns.iter().all(has)) {
            let columns = index.columns.iter().map(String::as_str).collect();
            let wanted = DeclaredIndex::over(names, table, columns, index.is_unique, dialect);
            let is_in = |indexes: &Vec<ActualIndex>| wanted.is_among(indexes.iter().map(ActualIndex::key));
            if is_in(&own) || (index.is_unique && !theirs.iter().all(is_in)) {
                continue;
            }
            let (make, drop) = (wanted.create_sql(names, table, dialect), drop_index(names, &wanted.name));
            add(&mut self.plain, Carried { make, drop });
        }
        Ok(())
    }

    fn find_special(
        &mut self,
        links: &Links,
        target: Endpoint<'_>,
        sources: &[Endpoint<'_>],
        table: &'static Table,
    ) -> Result<()> {
        let read = |of: &Endpoint<'_>| Special::read(links.at(*of)?, *of, table);
        let own = read(&target)?;
        let theirs: Vec<Special> = sources.iter().map(read).collect::<Result<_>>()?;
        for index in theirs.iter().flat_map(|special| &special.indexes) {
            let is_in = |special: &Special| special.indexes.iter().any(|other| other.is_same(index));
            if !is_in(&own) && (!index.is_unique || theirs.iter().all(is_in)) {
                add(&mut self.special, index.on(target, table));
            }
        }
        for (number, check) in theirs.iter().take(1).flat_map(|special| &special.checks).enumerate() {
            let is_in = |special: &Special| special.checks.contains(check);
            if !is_in(&own) && theirs.iter().all(is_in) {
                self.checks.push(check.on(target, table, number));
            }
        }
        Ok(())
    }
}

fn add(found: &mut Vec<Carried>, carried: Carried) {
    if !found.contains(&carried) {
        found.push(carried);
    }
}

fn drop_index(names: &Namespace, name: &str) -> String {
    let schema = names.schema.as_ref().map_or_else(String::new, |name| format!("{}.", quoted(name)));
    format!("DROP INDEX IF EXISTS {schema}{}", quoted(name))
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
        let name = shortened(names.plain(&format!("{begins}{own}")), dialect);
        let unique = if self.is_unique { "UNIQUE " } else { "" };
        let make = format!(
            "CREATE {unique}INDEX IF NOT EXISTS {} ON {} {}",
            quoted(&name),
            names.table(table.name),
            self.definition
        );
        Carried { make, drop: drop_index(names, &name) }
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
