//! Makes a cluster's tables and records the identity of each shard; compares both when a cluster is opened.
//!
//! Every shard holds two small tables beside the models': `sharded_shard`, one row with the cluster's id, the shard's name
//! and its version; and `sharded_state`, see [`facts`], with a digest of the cluster's layout, see [`Record`]. A shard of an
//! older release holds the layout's lines itself, in `sharded_layout`, until `create` moves them to the control database.
//! The table then holds one row, with which the `create` and the `open` of an older release fail: see [`MOVED`].

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::schema::{self, Compared, Difference};
use crate::driver::{Connection, Expected, Mode, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::own_tables;
use crate::planner::sql::{Dialect, Namespace, Param, literal};
use crate::planner::{Layout, Place};
use crate::schema::Shard;
use crate::transaction::Database;
use crate::transaction::commit;
use crate::transaction::commit::apply_decided_in;
use crate::transaction::facts::{self, Facts, Kind, OwnFacts, Position};
use crate::transaction::record::{Declared, Line, Record, Recorded, SHARDS};
use crate::transaction::schemas::{check_schema, make_schemas};
use crate::transaction::{CLUSTER, Control};
use crate::value::{ColumnType, Value};

/// The only line in `sharded_layout` of a shard whose layout is recorded in the control database. An older release compares
/// it with the layout that it declares, which never has it, and refuses the shard. Without a line it would record its own.
const MOVED: (&str, &str) = (SHARDS, "recorded in the control database");

/// The data that opening the databases of a cluster needs.
pub(super) struct Opening<'o> {
    pub(super) layout: &'o Layout,
    pub(super) declared: &'o Declared,
    pub(super) control: &'o Control,
    pub(super) facts: &'o Facts,
    /// The recorded layout, as it was read last.
    pub(super) record: &'o Mutex<Arc<Record>>,
    pub(super) databases: &'o [Database],
    /// The lost shards that are made anew.
    pub(super) replaced: &'o [String],
    /// Whether a migration follows: models may be new, and tables may differ from them.
    pub(super) migrates: bool,
    /// The differences between tables and models that were found so far, on all shards.
    pub(super) differences: Mutex<Vec<Difference>>,
}

impl Opening<'_> {
    /// Returns whether a shard has to exist: it is recorded as made, and is not to be replaced.
    pub(super) fn must_exist(&self, shard: &Shard) -> bool {
        self.facts.is_made(shard.name()) && !self.is_replaced(shard)
    }

    fn is_replaced(&self, shard: &Shard) -> bool {
        self.replaced.iter().any(|name| name == shard.name())
    }

    /// Makes everything that does not exist yet on the shards of one database, in one transaction, and records which shards
    /// they are. Everything that exists must be as declared.
    ///
    /// Decided transactions are applied first: their statements are for the tables as they were.
    pub(super) fn create(&self, connection: &dyn Connection, database: usize) -> Result<Option<Position>> {
        let layout = self.layout;
        let shards = || layout.shards_in(database);
        for shard in shards() {
            // Read before the transaction: on a server, a statement that fails would abort it.
            let names = &layout.place(shard.index())?.names;
            let checked = match identity(connection, names)? {
                None if self.must_exist(shard) => Err(self.absent(connection, shard, database)),
                None => Ok(()),
                Some(found) => check_found(&found, shard, &self.control.cluster).and_then(|()| {
                    if self.is_replaced(shard) { Err(self.is_not_lost(shard, database)) } else { Ok(()) }
                }),
            };
            checked.map_err(|error| error.on_shard(shard.name()))?;
        }
        connection.begin(Transaction::Write)?;
        let names = shards().filter_map(|shard| layout.place(shard.index()).ok()).map(|place| &place.names);
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

    /// Notes differences between tables and models, and fails if there are any.
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

    /// Compares the tables that exist on the shards of one database, and notes the differences.
    pub(super) fn compare_existing(&self, connection: &dyn Connection, database: usize) -> Result<()> {
        let mut found = Vec::new();
        for shard in self.layout.shards_in(database) {
            let place = self.layout.place(shard.index())?;
            if let Some(identity) = identity(connection, &place.names)?
                && check_found(&identity, shard, &self.control.cluster).is_ok()
            {
                let compared = Compared::Existing;
                found.extend(schema::differences(connection, place, self.layout, shard, compared)?);
            }
        }
        self.refuse(found)
    }

    /// Makes a shard, or returns the differences between its tables and the models.
    fn create_shard(&self, connection: &dyn Connection, shard: &Shard) -> Result<Vec<Difference>> {
        let layout = self.layout;
        let place = layout.place(shard.index())?;
        let Place { names, dialect, .. } = place;
        let own = names.table(own_tables::SHARD);
        let strict = dialect.strict();
        connection.run(&format!(
            "CREATE TABLE IF NOT EXISTS {own} (cluster TEXT NOT NULL, shard TEXT NOT NULL, version {} NOT NULL){strict}; {}",
            dialect.column_type(ColumnType::Integer),
            facts::make(names, *dialect)
        ))?;
        if dialect.prepares_transactions() {
            connection.run(&commit::make_units(names))?;
        }
        let recorded = match identity(connection, names)? {
            Some(found) => {
                check_found(&found, shard, &self.control.cluster)?;
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
        let lines = recorded.as_ref().map_or(&[][..], Recorded::lines);
        let digest = recorded.as_ref().map_or("", |recorded| &recorded.digest);
        if !self.declared.compare(lines, digest, Mode::Create)? {
            let own_lines = recorded_layout(connection, names)?;
            let mut known = Record::tables(lines);
            known.extend(Record::tables(&own_lines));
            for table in layout.tables().filter(|table| !known.contains(table.name)) {
                refuse_rows(connection, names, table.name).map_err(|error| error.in_table(table.name))?;
            }
        }
        // An index on a column that the table lacks would fail with an error of the database.
        let found = schema::differences(connection, place, layout, shard, Compared::Existing)?;
        if !found.is_empty() {
            return Ok(found);
        }
        for table in layout.tables() {
            schema::create_table(connection, place, table).map_err(|error| error.in_table(table.name))?;
        }
        schema::differences(connection, place, layout, shard, Compared::All)
    }

    /// Checks the identity, the layout and the tables of the shards of one database.
    pub(super) fn check(&self, connection: &dyn Connection, database: usize) -> Result<Option<Position>> {
        let mut differences = Vec::new();
        for shard in self.layout.shards_in(database) {
            let place = self.layout.place(shard.index())?;
            let names = &place.names;
            let found = match identity(connection, names)? {
                None => Err(self.absent(connection, shard, database)),
                Some(found) => check_found(&found, shard, &self.control.cluster).map(|()| found.layout),
            }
            .and_then(|digest| self.recorded(connection, names, digest.as_deref()))
            .and_then(|found| {
                let mode = if self.migrates { Mode::Create } else { Mode::Open };
                self.declared.compare(found.lines(), &found.digest, mode)
            })
            .and_then(|_| match self.migrates {
                true => Ok(Vec::new()),
                false => schema::differences(connection, place, self.layout, shard, Compared::All),
            });
            differences.append(&mut found.map_err(|error| error.on_shard(shard.name()))?);
        }
        self.refuse(differences)?;
        self.check_age(connection, database)
    }

    /// Refuses a database that is older than the control database has recorded, and a control database that is older than this
    /// database. Returns the position of a server's log.
    fn check_age(&self, connection: &dyn Connection, database: usize) -> Result<Option<Position>> {
        let Some(shard) = self.layout.shards_in(database).next() else { return Ok(None) };
        let Place { names, dialect, .. } = self.layout.place(shard.index())?;
        let name = shard.name();
        let remedy = "restore a newer copy of it, or the whole cluster from one backup";
        let older = |why: String| {
            let message = format!(
                "the database is older than its cluster, as if it was restored alone: {why}; {remedy}"
            );
            Err(Error::new(ErrorKind::WrongDatabase, message).on_shard(name))
        };
        if dialect.has_log_position() {
            let found = Position::read(connection);
            return match (&found, self.facts.position(name)) {
                (Some(found), Some(recorded))
                    if found.is_older_than(&recorded) && !self.is_replaced(shard) =>
                {
                    older(format!(
                        "expected its log at `{}` or later, found `{}`",
                        recorded.text(),
                        found.text()
                    ))
                }
                _ => Ok(found),
            };
        }
        if self.control.driver.is_private() || self.is_replaced(shard) {
            return Ok(None);
        }
        let found = OwnFacts::read(connection, names)?.writer;
        let recorded = self.facts.number(Kind::Writer, name).unwrap_or_default();
        if found < recorded {
            return older(format!("expected last writer {recorded} or later, found {found}"));
        }
        // Raised in control before it is raised in a shard.
        let issued = if found > 0 { self.control.last_writer()? } else { 0 };
        if found > issued {
            let message = format!(
                "the control database at {} is older than the shard, as if it was restored alone: it has issued writer numbers \
                 up to {issued}, and writer {found} has written the shard; {remedy}",
                self.control.driver.describe()
            );
            return Err(Error::new(ErrorKind::WrongDatabase, message).on_shard(name));
        }
        // A decided transaction that is not applied yet leaves the database behind the record. The version is read after it is
        // certain that there is none: its owner may have committed meanwhile.
        let recorded = self.facts.number(Kind::Version, name).unwrap_or_default();
        if recorded > 0 && !self.control.has_decided_for(name)? {
            let own = names.table(own_tables::SHARD);
            let found = commit::version(connection, &own)?;
            if found < recorded {
                return older(format!("expected version {recorded} or later, found {found}"));
            }
        }
        Ok(None)
    }

    fn at(&self, shard: &Shard, database: usize) -> String {
        let at = self.databases.get(database).map_or_else(String::new, |database| database.driver.describe());
        let schema = self.layout.place(shard.index()).ok().and_then(|place| place.names.schema.as_deref());
        schema.map_or_else(|| at.clone(), |schema| format!("{at}?schema={schema}"))
    }

    /// Returns the error for a database that holds no shard.
    fn absent(&self, connection: &dyn Connection, shard: &Shard, database: usize) -> Error {
        let at = self.at(shard, database);
        let names = self.layout.place(shard.index()).map(|place| &place.names);
        if let Ok(Err(error)) = names.map(|names| check_schema(connection, names)) {
            return self.unreachable_shard(error, shard);
        }
        let message = match self.must_exist(shard) {
            true => {
                format!("the shard was made, but the database at {at} holds no shard; {}", to_get_back(shard))
            }
            false => format!(
                "the database at {at} is not initialized as a shard; run `create`, or correct `?prefix=` or `?schema=`"
            ),
        };
        Error::new(ErrorKind::WrongDatabase, message).on_shard(shard.name())
    }

    fn is_not_lost(&self, shard: &Shard, database: usize) -> Error {
        let message =
            format!("the shard is not lost: found it at {}; remove `replace_lost`", self.at(shard, database));
        Error::new(ErrorKind::WrongDatabase, message).on_shard(shard.name())
    }

    /// Adds the remedy to an error of connecting to a database that does not exist.
    pub(super) fn unreachable(&self, error: Error, database: usize) -> Error {
        let Some(first) = self.layout.shards_in(database).next() else { return error };
        if error.kind() != ErrorKind::Missing {
            return error.on_shard(first.name());
        }
        let made = self.layout.shards_in(database).find(|shard| self.must_exist(shard));
        self.unreachable_shard(error, made.unwrap_or(first))
    }

    fn unreachable_shard(&self, error: Error, shard: &Shard) -> Error {
        let message = match self.must_exist(shard) {
            true => format!("{error}, but the shard was made; {}", to_get_back(shard)),
            false => format!("{error}; run `create`"),
        };
        Error::new(error.kind(), message).with_source(error).on_shard(shard.name())
    }

    /// Adds to an error of reading the recorded layout which right the role needs.
    fn unreadable_record(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::Denied {
            return error;
        }
        let state = self.control.names.table(facts::TABLE);
        let message = format!(
            "the role may not read the record of the layout in the control database: run GRANT SELECT ON {state} TO the role"
        );
        Error::new(ErrorKind::Denied, message).with_source(error)
    }

    fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_record(&self, record: Record) -> Arc<Record> {
        let record = Arc::new(record);
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&record);
        record
    }

    /// Returns the layout that a shard has recorded, by its digest.
    fn recorded(
        &self,
        connection: &dyn Connection,
        names: &Namespace,
        digest: Option<&str>,
    ) -> Result<Recorded> {
        if let Some(found) = digest.and_then(|digest| self.record().at(digest)) {
            return Ok(found);
        }
        // A shard of an older release holds the lines itself.
        let own = Arc::new(Record::of_shard(recorded_layout(connection, names)?));
        if !own.lines().is_empty()
            && let Some(found) = own.at(digest.unwrap_or(own.digest()))
        {
            return Ok(found);
        }
        if let Some(digest) = digest {
            // Another process may have added lines meanwhile.
            let record = self
                .set_record(self.control.facts().map_err(|error| self.unreadable_record(error))?.record());
            if let Some(found) = record.at(digest) {
                return Ok(found);
            }
        }
        let state = names.table(facts::TABLE);
        if digest.is_none()
            && let Err(error) =
                facts::texts(connection, &format!("SELECT value FROM {state} WHERE false"), &[])
            && error.kind() == ErrorKind::Denied
        {
            let message = format!(
                "the role has no right to read the recorded layout; run: GRANT SELECT ON {state} TO <role>"
            );
            return Err(Error::new(ErrorKind::Denied, message).with_source(error));
        }
        let message = match digest {
            Some(_) => format!(
                "the layout recorded in {state} differs from that in the control database at {}: one of the two was edited, or is \
                 an older copy; restore the shard, or the control database",
                self.control.driver.describe()
            ),
            None => format!("the recorded layout in {state} was deleted; restore the shard"),
        };
        Err(Error::new(ErrorKind::Layout, message))
    }

    /// Records the layout in the control database, if it is not recorded there, and in the shards of a database, at the end of
    /// the transaction that made them.
    fn record_layout(&self, connection: &dyn Connection, database: usize) -> Result<()> {
        for shard in self.layout.shards_in(database) {
            let Place { names, dialect, .. } = self.layout.place(shard.index())?;
            self.record_layout_of(connection, names, *dialect)
                .map_err(|error| error.on_shard(shard.name()))?;
        }
        Ok(())
    }

    fn record_layout_of(
        &self,
        connection: &dyn Connection,
        names: &Namespace,
        dialect: Dialect,
    ) -> Result<()> {
        let digest = identity(connection, names)?.and_then(|found| found.layout);
        let own_lines = recorded_layout(connection, names)?;
        let recorded = match digest.is_some() || !own_lines.is_empty() {
            true => Some(self.recorded(connection, names, digest.as_deref())?),
            false => None,
        };
        let lines = recorded.as_ref().map_or(&[][..], Recorded::lines);
        let has_all = |lines: &[Line], digest: &str| self.declared.compare(lines, digest, Mode::Create);
        if let Some(recorded) = &recorded
            && own_lines.is_empty()
            && has_all(lines, &recorded.digest)?
        {
            return mark_as_moved(connection, names, dialect);
        }
        // An older release may have added lines after the shard had taken part in a step of the record.
        let own = Record::of_shard(own_lines);
        has_all(own.lines(), own.digest())?;
        let mut record = self.record();
        if !own.lines().is_empty() || record.lines().is_empty() || !has_all(record.lines(), record.digest())?
        {
            record = self.set_record(self.control.extend_record(self.declared, own.lines())?);
        }
        // Tables of models that are recorded and not declared now.
        let mut known = Record::tables(lines);
        known.extend(Record::tables(own.lines()));
        let declared: HashSet<&str> = self.layout.tables().map(|table| table.name).collect();
        let others = record.undeclared_tables(&declared);
        others.filter(|table| !known.contains(table)).try_for_each(|table| {
            refuse_rows(connection, names, table).map_err(|error| error.in_table(table))
        })?;
        facts::record_own(connection, names, dialect, Kind::Layout, record.digest())?;
        mark_as_moved(connection, names, dialect)
    }
}

fn to_get_back(shard: &Shard) -> String {
    let name = shard.name();
    format!("restore it, or call `replace_lost({name:?})` before `create` to make it again without its rows")
}

/// Refuses a table with rows if the shard has not recorded its model: the rows may belong to any shard.
fn refuse_rows(connection: &dyn Connection, names: &Namespace, table: &str) -> Result<()> {
    let name = names.table(table);
    if connection.columns(names, table)?.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare(&format!("SELECT 1 FROM {name} LIMIT 1"))?;
    let mut rows = statement.query(&[])?;
    if !rows.advance()? {
        return Ok(());
    }
    while rows.advance()? {}
    let message = format!(
        "the table {name} holds rows that this cluster did not store, and their keys may belong to other shards; run: ALTER TABLE \
         {name} RENAME TO …, run `create`, and insert the rows through a session (adopting existing tables is not supported)"
    );
    Err(Error::new(ErrorKind::WrongDatabase, message))
}

/// Refuses a default schema without a shard if another schema of the role's `search_path` holds one. The schemas in `named`
/// belong to the cluster's other shards.
pub(super) fn refuse_elsewhere(
    connection: &dyn Connection,
    default: &Namespace,
    named: &[&str],
) -> Result<()> {
    let sql = format!(
        "SELECT name::text, '' FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place) \
         WHERE to_regclass(quote_ident(name::text) || '.{}') IS NOT NULL ORDER BY place",
        own_tables::SHARD
    );
    let found = read_texts(connection, &sql)?;
    let Some((schema, _)) = found.iter().find(|(schema, _)| !named.contains(&schema.as_str())) else {
        return Ok(());
    };
    if !connection.columns(default, own_tables::SHARD)?.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the URL has no schema, which means `public`, but the schema `{schema}` of the role's `search_path` holds a cluster; add \
         `?schema={schema}` to the URL to open it, or `?schema=public` to make another cluster"
    );
    Err(Error::new(ErrorKind::WrongDatabase, message))
}

/// Checks that a server can take part in transactions over several databases.
pub(super) fn check_prepares(connection: &dyn Connection) -> Result<()> {
    let most = read_texts(connection, "SELECT current_setting('max_prepared_transactions'), ''")?;
    match most.first() {
        Some((most, _)) if most != "0" => Ok(()),
        _ => {
            let message = "the server has `max_prepared_transactions = 0` and cannot take part in transactions over several databases; \
                        set it to about `max_connections` and restart the server, or open the cluster with \
                        `without_prepared_transactions`";
            Err(Error::new(ErrorKind::Configuration, message))
        }
    }
}

/// Returns the identity check of each transaction, for the shards on servers.
pub(super) fn expected(layout: &Layout, cluster: &str) -> Result<Vec<Option<Arc<Expected>>>> {
    let expected = |shard: &Shard| {
        let Place { names, dialect, .. } = layout.place(shard.index())?;
        let sql = || {
            format!(
                "SELECT CASE count(*) WHEN 1 THEN '1' ELSE {} END::integer FROM {} WHERE cluster = {} AND shard = {}",
                literal(&format!("not shard {}", shard.name())),
                names.table(own_tables::SHARD),
                literal(cluster),
                literal(shard.name())
            )
        };
        Ok(dialect.is_on_server().then(|| Arc::new(Expected { shard: shard.name().to_owned(), sql: sql() })))
    };
    layout.shards().iter().map(expected).collect()
}

fn text(text: &str) -> Param<'_> {
    Param::Value(Value::Text(text.into()))
}

/// Checks that a database holds the control tables.
pub(super) fn check_control(connection: &dyn Connection, names: &Namespace, at: &str) -> Result<()> {
    match connection.columns(names, CLUSTER)?.is_empty() {
        false => Ok(()),
        true => Err(Error::new(ErrorKind::WrongDatabase, format!("{at} is no control database"))),
    }
}

/// Checks the identity of a shard on a new connection.
pub(super) fn check_identity(
    connection: &dyn Connection,
    shard: &Shard,
    names: &Namespace,
    cluster: &str,
) -> Result<()> {
    match identity(connection, names)? {
        Some(found) => check_found(&found, shard, cluster),
        None => {
            let message = "the database holds no shard any more; restore it, or correct `?prefix=`";
            Err(Error::new(ErrorKind::WrongDatabase, message).on_shard(shard.name()))
        }
    }
}

/// Checks the name of a shard whose cluster is not known: the control database cannot be read.
pub(super) fn check_name(connection: &dyn Connection, shard: &Shard, names: &Namespace) -> Result<()> {
    let cluster = identity(connection, names)?.map(|found| found.cluster).unwrap_or_default();
    check_identity(connection, shard, names, &cluster)
}

fn check_found(found: &Found, shard: &Shard, cluster: &str) -> Result<()> {
    let Found { cluster: found_cluster, shard: found_shard, .. } = found;
    let message = if found_shard.as_str() != shard.name() {
        format!("expected shard `{}`, found shard `{found_shard}`; correct the URL", shard.name())
    } else if found_cluster.as_str() != cluster {
        format!(
            "the database belongs to another cluster: expected {cluster}, found {found_cluster}; correct its URL, or that of the \
             control database"
        )
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::WrongDatabase, message).on_shard(shard.name()))
}

/// The recorded identity of a shard.
pub(super) struct Found {
    cluster: String,
    shard: String,
    /// The digest of its layout; absent in a shard of an older release.
    layout: Option<String>,
}

/// Returns the recorded identity of a database; `None` if it is not a shard.
pub(super) fn identity(connection: &dyn Connection, names: &Namespace) -> Result<Option<Found>> {
    let (table, state) = (names.table(own_tables::SHARD), names.table(facts::TABLE));
    let digest = format!("(SELECT value FROM {state} WHERE kind = '{}' AND name = '')", Kind::Layout.name());
    let sql = format!("SELECT cluster, shard, coalesce({digest}, '') FROM {table}");
    let rows = match facts::texts(connection, &sql, &[]) {
        // The table of facts does not exist, or the role has no right to read it.
        Err(error) if matches!(error.kind(), ErrorKind::Schema | ErrorKind::Denied) => {
            match facts::texts(connection, &format!("SELECT cluster, shard, '' FROM {table}"), &[]) {
                Err(error) if error.kind() == ErrorKind::Schema => return Ok(None),
                rows => rows?,
            }
        }
        rows => rows?,
    };
    let [row] = rows.as_slice() else {
        if rows.is_empty() {
            return Ok(None);
        }
        let message = format!("{table} has more than one row; the database is damaged");
        return Err(Error::new(ErrorKind::WrongDatabase, message));
    };
    let text = |index: usize| row.get(index).cloned().unwrap_or_default();
    let layout = Some(text(2)).filter(|digest| !digest.is_empty());
    Ok(Some(Found { cluster: text(0), shard: text(1), layout }))
}

/// Returns the lines that an older release has recorded in a shard.
fn recorded_layout(connection: &dyn Connection, names: &Namespace) -> Result<Vec<Line>> {
    let mut lines = layout_rows(connection, names)?;
    lines.retain(|line| !is_moved(line));
    Ok(lines)
}

fn layout_rows(connection: &dyn Connection, names: &Namespace) -> Result<Vec<Line>> {
    if connection.columns(names, own_tables::LAYOUT)?.is_empty() {
        return Ok(Vec::new());
    }
    read_texts(connection, &format!("SELECT subject, line FROM {}", names.table(own_tables::LAYOUT)))
}

fn is_moved((subject, line): &Line) -> bool {
    (subject.as_str(), line.as_str()) == MOVED
}

/// Replaces the lines that an older release has recorded in a shard by [`MOVED`].
fn mark_as_moved(connection: &dyn Connection, names: &Namespace, dialect: Dialect) -> Result<()> {
    if matches!(layout_rows(connection, names)?.as_slice(), [line] if is_moved(line)) {
        return Ok(());
    }
    let (table, strict) = (names.table(own_tables::LAYOUT), dialect.strict());
    let (subject, line) = MOVED;
    connection.run(&format!(
        "CREATE TABLE IF NOT EXISTS {table} (subject TEXT NOT NULL, line TEXT NOT NULL){strict}; DELETE FROM {table}; \
         INSERT INTO {table} VALUES ({}, {})",
        literal(subject),
        literal(line)
    ))
}

/// Returns the names of the shards in a shard's recorded layout.
pub(super) fn recorded_shards(connection: &dyn Connection, names: &Namespace) -> Result<Vec<String>> {
    let recorded = recorded_layout(connection, names)?;
    let named = recorded.iter().filter(|(subject, _)| subject == SHARDS);
    Ok(named.filter_map(|(_, line)| line.split_once(" is ")).map(|(_, name)| name.to_owned()).collect())
}

/// Reads rows of two texts.
fn read_texts(connection: &dyn Connection, sql: &str) -> Result<Vec<(String, String)>> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(&[])?;
    let mut found = Vec::new();
    while rows.advance()? {
        let text = |index| match rows.value(index)? {
            Value::Text(text) => Ok(text.into_owned()),
            other => Err(crate::value::mismatch("text", &other)),
        };
        found.push((text(0)?, text(1)?));
    }
    Ok(found)
}
