//! Makes a cluster's tables and records the identity of each shard; compares both when a cluster is opened.
//!
//! Every shard holds two small tables beside the models' tables. `sharded_shard` has one row with the cluster's id, the shard's
//! name and its version. `sharded_state`, see [`facts`], has a digest of the cluster's layout and its epoch, see
//! [`recorded`](crate::transaction::recorded). A shard of an older release holds the layout's lines itself, in `sharded_layout`,
//! until `create` moves them to the control database. The table then has one row that makes the `create` and the `open` of an
//! older release fail: see [`layout::MOVED`].

mod age;
mod identity;
mod layout;
mod lost;
mod servers;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) use identity::{check_control, check_found, check_identity, check_name, expected, identity};
pub(super) use layout::recorded_shards;
pub(super) use servers::{check_prepares, refuse_elsewhere};

use super::schema::{self, ComparedPart, Difference};
use crate::driver::{Connection, Mode, TransactionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::own_tables;
use crate::planner::sql::{Namespace, Param};
use crate::planner::{Layout, Location};
use crate::schema::{Shard, ShardRole, Table};
use crate::transaction::change::{CopyRecord, Part, Role, read_part};
use crate::transaction::commit;
use crate::transaction::commit::apply_decided_in;
use crate::transaction::facts::{self, Facts, Position};
use crate::transaction::recorded::{Declared, Lines, LinesOfShard, RecordedLayout};
use crate::transaction::schemas::make_schemas;
use crate::transaction::{Control, Database};
use crate::value::{ColumnType, Value};
use layout::recorded_layout;

/// The key of the lock on a server that `create` holds from before it records lines of the layout until its shards are made.
pub(super) const MAKING_SHARDS: &str = "sharded create";

/// The values that opening the databases of a cluster needs.
pub(super) struct Opening<'o> {
    pub(super) layout: &'o Layout,
    pub(super) declared: &'o Declared,
    pub(super) control: &'o Control,
    pub(super) facts: &'o Facts,
    /// The recorded layout that was read last.
    pub(super) record: &'o Mutex<Arc<RecordedLayout>>,
    /// Set if the layout was changed since it was read: opening has to start again.
    pub(super) is_outdated: &'o AtomicBool,
    pub(super) databases: &'o [Database],
    /// The lost shards that are made again.
    pub(super) replaced: &'o [String],
    /// Whether a migration follows: models may be new, and tables may differ from them.
    pub(super) migrates: bool,
    /// Whether the tables of the models exist already, with rows.
    pub(super) adopts: bool,
    /// The differences between tables and models that were found so far, on all shards.
    pub(super) differences: Mutex<Vec<Difference>>,
    /// The spare shards that could not be opened, and the reasons.
    pub(super) absent: Mutex<Vec<(String, String)>>,
    /// Set if a shard shows that the control database is an older copy.
    pub(super) has_older_control: AtomicBool,
}

impl Opening<'_> {
    /// Returns whether a shard has to exist: it is recorded as made, and is not replaced.
    pub(super) fn must_exist(&self, shard: &Shard) -> bool {
        self.facts.is_made(shard.name()) && !self.is_replaced(shard)
    }

    fn is_replaced(&self, shard: &Shard) -> bool {
        self.replaced.iter().any(|name| name == shard.name())
    }

    /// Makes everything that does not exist yet on the shards of one database, in one transaction, and records these shards.
    /// Everything that exists must be as declared.
    ///
    /// Decided transactions are applied first: their statements are for the old tables.
    pub(super) fn create(&self, connection: &dyn Connection, database: usize) -> Result<Option<Position>> {
        let layout = self.layout;
        let shards = || layout.shards_in(database);
        for shard in shards() {
            // Read before the transaction: on a server, a failed statement would abort it.
            let Location { names, dialect, .. } = layout.location(shard.index())?;
            let checked = match identity(connection, names)? {
                None if self.must_exist(shard) => Err(self.absent(connection, shard, database)),
                None => Ok(()),
                Some(found) => self.check_known(&found, shard, *dialect).and_then(|()| {
                    if self.is_replaced(shard) { Err(self.is_not_lost(shard, database)) } else { Ok(()) }
                }),
            };
            checked.map_err(|error| error.on_shard(shard.name()))?;
        }
        connection.begin(TransactionMode::Write)?;
        let dialect = self.databases.get(database).map(|database| database.driver.dialect());
        if let Some(lock) = dialect.and_then(|dialect| dialect.advisory_lock(MAKING_SHARDS)) {
            connection.run(&lock).inspect_err(|_| {
                let _ = connection.rollback();
            })?;
        }
        let names =
            shards().filter_map(|shard| layout.location(shard.index()).ok()).map(|location| &location.names);
        let made = make_schemas(connection, names);
        let made = made
            .and_then(|()| apply_decided_in(self.control, layout, database, connection))
            .and_then(|_| self.create_shards(connection, database));
        let made = made.and_then(|()| self.check_age(connection, database));
        // Last, because control keeps the lines if the shards are not made after all.
        match made.and_then(|position| self.record_layout(connection, database).map(|()| position)) {
            Ok(position) => connection.commit().map(|()| position),
            Err(error) => {
                connection.rollback()?;
                Err(error)
            }
        }
    }

    /// Makes the shards of a database, or finds all differences between their tables and the models.
    fn create_shards(&self, connection: &dyn Connection, database: usize) -> Result<()> {
        let mut found = Vec::new();
        for shard in self.layout.shards_in(database) {
            let made = self.create_shard(connection, shard);
            found.append(&mut made.map_err(|error| error.on_shard(shard.name()))?);
        }
        self.refuse(found)
    }

    /// Records differences between tables and models, and fails if there are any.
    fn refuse(&self, found: Vec<Difference>) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        self.differences.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        Err(Error::new(ErrorKind::Schema, "tables differ from their models"))
    }

    /// Returns the error of all differences that were found; for any other error, the error itself.
    pub(super) fn with_differences(&self, error: Error) -> Error {
        let found = std::mem::take(&mut *self.differences.lock().unwrap_or_else(PoisonError::into_inner));
        if error.kind() == ErrorKind::Schema && !found.is_empty() { schema::error(found) } else { error }
    }

    /// Compares the existing tables on the shards of one database, and records the differences.
    pub(super) fn compare_existing(&self, connection: &dyn Connection, database: usize) -> Result<()> {
        let mut found = Vec::new();
        for shard in self.layout.shards_in(database) {
            let location = self.layout.location(shard.index())?;
            if let Some(identity) = identity(connection, &location.names)?
                && check_found(&identity, shard, &self.control.cluster).is_ok()
            {
                let compared = ComparedPart::Existing;
                found.extend(schema::differences(connection, location, self.layout, shard, compared)?);
            }
        }
        self.refuse(found)
    }

    /// Makes a shard, or returns the differences between its tables and the models.
    fn create_shard(&self, connection: &dyn Connection, shard: &Shard) -> Result<Vec<Difference>> {
        let layout = self.layout;
        let location = layout.location(shard.index())?;
        let Location { names, dialect, .. } = location;
        let own = names.table(own_tables::SHARD);
        let strict = dialect.strict();
        connection.run(&format!(
            "CREATE TABLE IF NOT EXISTS {own} (cluster TEXT NOT NULL, shard TEXT NOT NULL, version {} NOT NULL){strict}; {}",
            dialect.column_type(ColumnType::Integer),
            facts::make(names, *dialect)
        ))?;
        if dialect.prepares_transactions() {
            connection.run(&commit::make_decision_log(names))?;
        }
        let recorded = match identity(connection, names)? {
            Some(found) => {
                check_found(&found, shard, &self.control.cluster)?;
                // Indexes and constraints are made when all rows are copied.
                if CopyRecord::is_unfinished(self.facts) {
                    return Ok(Vec::new());
                }
                Some(self.recorded(connection, names, found.layout.as_deref())?)
            }
            None => {
                let row = [text(&self.control.cluster), text(shard.name()), Param::Value(Value::Integer(0))];
                connection
                    .prepare(&format!("INSERT INTO {own} VALUES ({})", dialect.params(3)))?
                    .execute(&row)?;
                None
            }
        };
        let lines = recorded.as_ref().map_or(&[][..], LinesOfShard::lines);
        let digest = recorded.as_ref().map_or("", |recorded| &recorded.digest);
        if !self.declared.compare(lines, digest, Mode::Create)? && !self.adopts {
            let own_lines = recorded_layout(connection, names)?;
            let mut known = Lines::tables(lines);
            known.extend(Lines::tables(&own_lines));
            let unknown = layout.tables().map(|table| table.name).filter(|name| !known.contains(name));
            refuse_rows(connection, names, &unknown.collect::<Vec<_>>())?;
        }
        // An index on a column that the table lacks would fail with an error of the database.
        let found = schema::differences(connection, location, layout, shard, ComparedPart::Existing)?;
        if !found.is_empty() {
            return Ok(found);
        }
        let is_made = |table: &&Table| !self.adopts || layout.holds_entries(table);
        schema::create_tables(connection, location, &layout.tables().filter(is_made).collect::<Vec<_>>())?;
        schema::differences(connection, location, layout, shard, ComparedPart::All)
    }

    /// Checks the identity, the layout and the tables of the shards of one database. If a spare shard fails, it is recorded as
    /// absent: no query needs it.
    pub(super) fn check(&self, connection: &dyn Connection, database: usize) -> Result<Option<Position>> {
        let mut differences = Vec::new();
        for shard in self.layout.shards_in(database) {
            match self.check_shard(connection, shard, database).map_err(|error| error.on_shard(shard.name()))
            {
                Ok(mut found) if shard.role() == ShardRole::Serving => differences.append(&mut found),
                Ok(found) if found.is_empty() => {}
                Ok(found) => match read_part(connection, self.layout.location(shard.index())?)? {
                    Some(Part { role: Role::Incoming, change, .. }) => {
                        let message =
                            format!("change {change} fills it; its indexes are made after the copy");
                        self.note_absent(shard, &Error::new(ErrorKind::Layout, message));
                    }
                    _ => self.note_absent(shard, &schema::error(found)),
                },
                Err(error)
                    if shard.role() == ShardRole::Serving
                        || self.has_older_control.load(Ordering::Relaxed) =>
                {
                    return Err(error);
                }
                Err(error) => self.note_absent(shard, &error),
            }
        }
        self.refuse(differences)?;
        self.check_age(connection, database)
    }

    fn check_shard(
        &self,
        connection: &dyn Connection,
        shard: &Shard,
        database: usize,
    ) -> Result<Vec<Difference>> {
        let location = self.layout.location(shard.index())?;
        let names = &location.names;
        let Some(found) = identity(connection, names)? else {
            return Err(self.absent(connection, shard, database));
        };
        self.check_known(&found, shard, location.dialect)?;
        let lines = self.recorded(connection, names, found.layout.as_deref())?;
        let mode = if self.migrates { Mode::Create } else { Mode::Open };
        self.declared.compare(lines.lines(), &lines.digest, mode)?;
        let differences = match self.migrates {
            true => Vec::new(),
            false => schema::differences(connection, location, self.layout, shard, ComparedPart::All)?,
        };
        if let Some(copy) = found.layout.filter(|_| differences.is_empty()) {
            self.renew_copy(connection, location, &copy, &lines)?;
        }
        Ok(differences)
    }

    /// Records that a spare shard cannot be used.
    pub(super) fn note_absent(&self, shard: &Shard, why: &Error) {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        absent.push((shard.name().to_owned(), why.to_string()));
    }

    /// Returns whether a spare shard was recorded as unusable.
    pub(super) fn is_absent(&self, shard: &Shard) -> bool {
        let absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        absent.iter().any(|(name, _)| name == shard.name())
    }
}

/// Refuses tables with rows if the shard has not recorded their models: the rows may belong to any shard.
pub(super) fn refuse_rows(connection: &dyn Connection, names: &Namespace, tables: &[&str]) -> Result<()> {
    let columns = connection.columns_of(names, tables)?;
    let existing = tables.iter().zip(&columns).filter(|(_, columns)| !columns.is_empty());
    for (table, _) in existing {
        refuse_rows_in(connection, &names.table(table)).map_err(|error| error.in_table(table))?;
    }
    Ok(())
}

fn refuse_rows_in(connection: &dyn Connection, name: &str) -> Result<()> {
    let mut statement = connection.prepare(&format!("SELECT 1 FROM {name} LIMIT 1"))?;
    let mut rows = statement.query(&[])?;
    if !rows.advance()? {
        return Ok(());
    }
    while rows.advance()? {}
    let message = format!(
        "the table {name} holds rows that this cluster did not store, and their keys may belong to other shards; run: ALTER TABLE \
         {name} RENAME TO …, run `create`, and insert the rows through a session; a database with tables of another program becomes a cluster with `adopt`"
    );
    Err(Error::new(ErrorKind::WrongDatabase, message))
}

fn text(text: &str) -> Param<'_> {
    Param::Value(Value::Text(text.into()))
}
