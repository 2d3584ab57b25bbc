//! A column with a new name. Both columns exist, and triggers copy each write from one to the other, until the contract drops the
//! old one.
//!
//! While the rows are copied, the new column has a temporary name ([`copying`]). So no program can open the cluster and read rows
//! that are not copied yet.

use super::backfill::CopyColumn;
use super::create_table::Edit;
use super::expand::SchemaWork;
use super::rebuild;
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Location;
use crate::planner::sql::{quoted, shortened, type_sql};
use crate::schema::{ColumnDef, Table};

/// A column that is renamed, on one shard.
pub(super) struct Rename<'r> {
    location: &'r Location,
    table: &'static Table,
    column: &'static ColumnDef,
    from: &'r str,
}

/// The progress of a rename, by the columns of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RenameProgress {
    /// The table has only the old column.
    Old,
    /// The new column has its temporary name.
    Copying,
    /// The table has both columns.
    Both,
    /// The table has only the new column.
    New,
}

impl<'r> Rename<'r> {
    pub(super) fn new(
        location: &'r Location,
        table: &'static Table,
        column: usize,
        from: &'r str,
    ) -> Result<Self> {
        let is_reference = table.references.iter().any(|reference| reference.column == column);
        let is_parent = table.parent.is_some_and(|parent| parent.column == column);
        let wrong = |message: &str| Error::new(ErrorKind::Configuration, message).in_table(table.name);
        let Some(definition) = table.columns.get(column) else {
            return Err(wrong("there is no such column"));
        };
        if column == table.id || is_reference || is_parent {
            let message = "the column is the id or a foreign key, which is not renamed; keep its name with `#[sharded(column = \"..\")]`";
            return Err(wrong(message).at_column(definition.name));
        }
        if definition.name.eq_ignore_ascii_case(from) {
            return Err(wrong("the old name is the new one; correct it").at_column(definition.name));
        }
        Ok(Rename { location, table, column: definition, from })
    }

    /// Returns the temporary name of the new column.
    pub(super) fn copying(&self) -> String {
        shortened(format!("{} copy", self.column.name), self.location.dialect)
    }

    pub(super) fn progress(&self, connection: &dyn Connection) -> Result<RenameProgress> {
        let columns = connection.columns(&self.location.names, self.table.name)?;
        let has = |name: &str| columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
        match (has(self.from), has(self.column.name), has(&self.copying())) {
            (true, false, false) => Ok(RenameProgress::Old),
            (true, false, true) => Ok(RenameProgress::Copying),
            (true, true, _) => Ok(RenameProgress::Both),
            (false, true, _) => Ok(RenameProgress::New),
            (false, false, _) => {
                let message = format!(
                    "the column cannot be renamed: the table has neither `{}` nor `{}`",
                    self.from, self.column.name
                );
                Err(Error::new(ErrorKind::Schema, message).in_table(self.table.name))
            }
        }
    }

    fn on(&self) -> String {
        self.location.names.table(self.table.name)
    }

    /// Returns the SQL that adds the new column under its temporary name, with the triggers.
    pub(super) fn begin(&self, connection: &dyn Connection) -> Result<SchemaWork> {
        let (on, copying) = (self.on(), self.copying());
        let columns = connection.columns(&self.location.names, self.table.name)?;
        let wanted = self.location.dialect.column_type(self.column.kind);
        if let Some(old) = columns.iter().find(|column| column.name.eq_ignore_ascii_case(self.from))
            && !self.location.dialect.holds(self.column.kind, &old.sql_type, || {
                connection.is_strict(&self.location.names, self.table.name)
            })?
        {
            let message = format!(
                "the column `{}` cannot be renamed to `{}`: expected type {wanted}, found {}; give the field the old type",
                self.from, self.column.name, old.sql_type
            );
            return Err(Error::new(ErrorKind::Schema, message).in_table(self.table.name));
        }
        let kind = type_sql(self.column, self.location.dialect);
        let mut sql = vec![format!("ALTER TABLE {on} ADD COLUMN {} {kind}", quoted(&copying))];
        sql.extend(self.triggers(&copying));
        // On a server the trigger sets the old column before NOT NULL is checked.
        if self.location.dialect.alters_columns() {
            return Ok(SchemaWork::together(sql));
        }
        let old = columns.iter().find(|column| column.name.eq_ignore_ascii_case(self.from));
        match old.is_some_and(|old| !old.nullable) {
            true => rebuild::work(
                connection,
                self.location,
                self.table,
                &[Edit::Relax(self.from.to_owned())],
                sql,
            ),
            false => Ok(SchemaWork::together(sql)),
        }
    }

    /// Returns the backfill that copies the old column.
    pub(super) fn copy(&self) -> CopyColumn {
        CopyColumn { table: self.table, from: self.from.to_owned(), to: self.copying() }
    }

    /// Returns the SQL that gives the new column its name.
    pub(super) fn finish(&self) -> Vec<SchemaWork> {
        let (on, column, copying) = (self.on(), quoted(self.column.name), quoted(&self.copying()));
        let (mut works, mut sql) = (Vec::new(), Vec::new());
        if self.location.dialect.alters_columns() && !self.column.nullable {
            let check = quoted(&shortened(format!("{} not null", self.column.name), self.location.dialect));
            works.push(SchemaWork::together(vec![
                format!("ALTER TABLE {on} DROP CONSTRAINT IF EXISTS {check}"),
                format!("ALTER TABLE {on} ADD CONSTRAINT {check} CHECK ({copying} IS NOT NULL) NOT VALID"),
            ]));
            works.push(SchemaWork::together(vec![format!("ALTER TABLE {on} VALIDATE CONSTRAINT {check}")]));
            // No scan: the constraint proves it. In the transaction of the new name: a release does not have the temporary one,
            // and would refuse a NOT NULL column of that name.
            sql.push(format!("ALTER TABLE {on} ALTER COLUMN {copying} SET NOT NULL"));
            sql.push(format!("ALTER TABLE {on} DROP CONSTRAINT {check}"));
        }
        sql.extend(self.drop_triggers());
        sql.push(format!("ALTER TABLE {on} RENAME COLUMN {copying} TO {column}"));
        sql.extend(self.triggers(self.column.name));
        works.push(SchemaWork::together(sql));
        works
    }

    /// Returns the SQL of the contract.
    pub(super) fn contract(&self, connection: &dyn Connection) -> Result<SchemaWork> {
        let (on, from) = (self.on(), self.from.to_owned());
        let mut sql = self.drop_triggers();
        if self.location.dialect.alters_columns() {
            sql.push(format!("ALTER TABLE {on} DROP COLUMN {}", quoted(&from)));
            return Ok(SchemaWork::together(sql));
        }
        let mut edits = vec![Edit::Remove(from)];
        if !self.column.nullable {
            edits.push(Edit::Require(self.column.name.to_owned()));
        }
        // The rebuild makes the triggers again, so that they are dropped after it.
        rebuild::work(connection, self.location, self.table, &edits, sql)
    }

    fn trigger(&self, part: &str) -> String {
        let name = format!("sharded rename {}({}) {part}", self.table.name, self.column.name);
        shortened(self.location.names.plain(&name), self.location.dialect)
    }

    fn function(&self) -> String {
        let name = shortened(
            format!("sharded rename {}({})", self.table.name, self.column.name),
            self.location.dialect,
        );
        let schema = self.location.names.schema.as_ref();
        schema.map_or_else(String::new, |schema| format!("{}.", quoted(schema))) + &quoted(&name)
    }

    fn drop_triggers(&self) -> Vec<String> {
        if self.location.dialect.alters_columns() {
            let (on, trigger) = (self.on(), quoted(&self.trigger("both")));
            return vec![
                format!("DROP TRIGGER IF EXISTS {trigger} ON {on}"),
                format!("DROP FUNCTION IF EXISTS {}()", self.function()),
            ];
        }
        let parts = ["insert", "old", "new", "null insert", "null update"];
        parts.map(|part| format!("DROP TRIGGER IF EXISTS {}", quoted(&self.trigger(part)))).to_vec()
    }

    fn triggers(&self, new: &str) -> Vec<String> {
        let (on, o, n) = (self.on(), quoted(self.from), quoted(new));
        let id = quoted(self.table.columns.get(self.table.id).map_or("id", |id| id.name));
        if self.location.dialect.alters_columns() {
            let (trigger, function) = (quoted(&self.trigger("both")), self.function());
            return vec![
                format!(
                    "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $sharded$ BEGIN \
                     IF TG_OP = 'INSERT' THEN IF NEW.{n} IS NULL THEN NEW.{n} := NEW.{o}; ELSIF NEW.{o} IS NULL THEN \
                     NEW.{o} := NEW.{n}; END IF; \
                     ELSIF NEW.{o} IS DISTINCT FROM OLD.{o} AND NEW.{n} IS NOT DISTINCT FROM OLD.{n} THEN NEW.{n} := NEW.{o}; \
                     ELSIF NEW.{n} IS DISTINCT FROM OLD.{n} AND NEW.{o} IS NOT DISTINCT FROM OLD.{o} THEN NEW.{o} := NEW.{n}; \
                     END IF; RETURN NEW; END $sharded$"
                ),
                format!(
                    "CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE ON {on} FOR EACH ROW EXECUTE FUNCTION {function}()"
                ),
            ];
        }
        let name = |part: &str| quoted(&self.trigger(part));
        let update = |set: &str| format!("BEGIN UPDATE {on} SET {set} WHERE {id} = NEW.{id}; END");
        let mut sql = vec![
            format!(
                "CREATE TRIGGER {} AFTER INSERT ON {on} WHEN (NEW.{o} IS NULL) <> (NEW.{n} IS NULL) {}",
                name("insert"),
                update(&format!("{o} = coalesce(NEW.{o}, NEW.{n}), {n} = coalesce(NEW.{n}, NEW.{o})"))
            ),
            format!(
                "CREATE TRIGGER {} AFTER UPDATE OF {o} ON {on} WHEN NEW.{o} IS NOT OLD.{o} AND NEW.{n} IS OLD.{n} {}",
                name("old"),
                update(&format!("{n} = NEW.{o}"))
            ),
            format!(
                "CREATE TRIGGER {} AFTER UPDATE OF {n} ON {on} WHEN NEW.{n} IS NOT OLD.{n} AND NEW.{o} IS OLD.{o} {}",
                name("new"),
                update(&format!("{o} = NEW.{n}"))
            ),
        ];
        if !self.column.nullable {
            let raise = format!(
                "BEGIN SELECT RAISE(ABORT, 'NOT NULL constraint failed: {}.{}'); END",
                self.table.name.replace('\'', "''"),
                self.column.name.replace('\'', "''")
            );
            sql.push(format!(
                "CREATE TRIGGER {} BEFORE INSERT ON {on} WHEN NEW.{o} IS NULL AND NEW.{n} IS NULL {raise}",
                name("null insert")
            ));
            sql.push(format!(
                "CREATE TRIGGER {} BEFORE UPDATE OF {o}, {n} ON {on} WHEN (NEW.{o} IS NULL AND OLD.{o} IS NOT NULL) OR \
                 (NEW.{n} IS NULL AND OLD.{n} IS NOT NULL) {raise}",
                name("null update")
            ));
        }
        sql
    }
}
