//! Makes a cluster's tables and records what each shard is; compares both when a cluster is opened.
//!
//! Every shard holds three small tables beside the models': `sharded_shard`, one row with the cluster's id, the shard's
//! name and its version; `sharded_layout`, the cluster's layout line by line: the shards in their order, and how each
//! model's key is placed; and `sharded_state`, see [`facts`].

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::schema;
use crate::driver::{Connection, Expected, Mode, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::own_tables;
use crate::planner::sql::{Dialect, Namespace, Param, literal};
use crate::planner::{Layout, Place};
use crate::schema::Shard;
use crate::schema::Table;
use crate::schema::hash::hash_bytes;
use crate::schema::key::placement;
use crate::transaction::Control;
use crate::transaction::Database;
use crate::transaction::commit;
use crate::transaction::commit::heal_database;
use crate::transaction::facts::{self, Facts, Kind, OwnFacts, Position};
use crate::transaction::schemas::{check_schema, make_schemas};
use crate::value::{ColumnType, Value};

/// A line of the layout: what it is about, and what it says.
type Line = (String, String);

/// The layout as the program declares it, with the records that were found to agree with it: all shards hold the same
/// lines, so that one comparison is enough.
pub(super) struct Declared {
    lines: Vec<Line>,
    set: HashSet<Line>,
    subjects: HashSet<String>,
    /// Digests of records that agree, as [`Kind::Layout`] has them.
    agreeing: Mutex<HashSet<String>>,
}

impl Declared {
    pub(super) fn new(layout: &Layout) -> Self {
        let lines = declared_layout(layout);
        let set = lines.iter().cloned().collect();
        let subjects = lines.iter().map(|(subject, _)| subject.clone()).collect();
        Declared { lines, set, subjects, agreeing: Mutex::default() }
    }

    fn agrees(&self, digest: &str) -> bool {
        self.agreeing.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    fn note(&self, recorded: &[Line]) {
        let digest = digest_of(recorded);
        self.agreeing.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
    }
}

/// How many lines there are, and a digest of them in any order.
fn digest_of(lines: &[Line]) -> String {
    let hash = |(subject, line): &Line| hash_bytes(format!("{subject}\0{line}").as_bytes(), 0);
    let sum = lines.iter().map(hash).fold(0, u64::wrapping_add);
    format!("{} {sum:016x}", lines.len())
}

/// The data that opening the databases of a cluster needs.
pub(super) struct Opening<'o> {
    pub(super) layout: &'o Layout,
    pub(super) declared: &'o Declared,
    pub(super) control: &'o Control,
    pub(super) facts: &'o Facts,
    pub(super) databases: &'o [Database],
    /// The lost shards that are made anew.
    pub(super) replaced: &'o [String],
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
            // Read before the transaction: a statement that fails would end it on a server.
            let names = &layout.place(shard.index())?.names;
            let checked = match identity(connection, names)? {
                None if self.must_exist(shard) => Err(self.absent(connection, shard, database)),
                None => Ok(()),
                Some(found) => check_found(found, shard, &self.control.cluster).and_then(|()| {
                    if self.is_replaced(shard) { Err(self.is_not_lost(shard, database)) } else { Ok(()) }
                }),
            };
            checked.map_err(|error| error.on_shard(shard.name()))?;
        }
        connection.begin(Transaction::Write)?;
        let names = shards().filter_map(|shard| layout.place(shard.index()).ok()).map(|place| &place.names);
        let made = make_schemas(connection, names);
        let made =
            made.and_then(|()| heal_database(self.control, layout, database, connection)).and_then(|_| {
                shards().try_for_each(|shard| {
                    self.create_shard(connection, shard).map_err(|error| error.on_shard(shard.name()))
                })
            });
        match made.and_then(|()| self.check_age(connection, database)) {
            Ok(position) => connection.commit().map(|()| position),
            Err(error) => {
                connection.rollback()?;
                Err(error)
            }
        }
    }

    fn create_shard(&self, connection: &dyn Connection, shard: &Shard) -> Result<()> {
        let layout = self.layout;
        let place = layout.place(shard.index())?;
        let Place { names, dialect, .. } = place;
        let [own, lines] = [own_tables::SHARD, own_tables::LAYOUT].map(|name| names.table(name));
        let strict = dialect.strict();
        connection.run(&format!(
            "CREATE TABLE IF NOT EXISTS {own} (cluster TEXT NOT NULL, shard TEXT NOT NULL, version {} NOT NULL){strict}; \
             CREATE TABLE IF NOT EXISTS {lines} (subject TEXT NOT NULL, line TEXT NOT NULL){strict}; {}",
            dialect.column_type(ColumnType::Integer),
            facts::make(names, *dialect)
        ))?;
        if *dialect == Dialect::Postgres {
            connection.run(&commit::make_units(names))?;
        }
        let is_shard = match identity(connection, names)? {
            Some(found) => {
                check_found(found, shard, &self.control.cluster)?;
                self.check_layout(connection, names, Mode::Create)?;
                true
            }
            None => {
                let row = [text(&self.control.cluster), text(shard.name()), Param::Value(Value::Integer(0))];
                connection
                    .prepare(&format!("INSERT INTO {own} VALUES ({})", dialect.params(3)))?
                    .execute(&row)?;
                false
            }
        };
        let mut recorded = if is_shard { recorded_layout(connection, names)? } else { Vec::new() };
        let known: HashSet<Line> = recorded.iter().cloned().collect();
        let subjects: HashSet<&str> = known.iter().map(|(subject, _)| subject.as_str()).collect();
        for table in layout.tables() {
            if !subjects.contains(subject_of(table).as_str()) {
                refuse_rows(connection, place, table).map_err(|error| error.in_table(table.name))?;
            }
        }
        let mut insert =
            connection.prepare(&format!("INSERT INTO {lines} VALUES ({})", dialect.params(2)))?;
        for line in self.declared.lines.iter().filter(|line| !known.contains(line)) {
            insert.execute(&[text(&line.0), text(&line.1)])?;
            recorded.push(line.clone());
        }
        drop(insert);
        let digest = digest_of(&recorded);
        facts::record_own(connection, names, *dialect, Kind::Layout, &digest)?;
        for table in layout.tables() {
            schema::create_table(connection, place, table).map_err(|error| error.in_table(table.name))?;
        }
        schema::check(connection, place, layout)
    }

    /// Compares the shards of one database with what they should be: their identity, their layout, their tables.
    pub(super) fn check(&self, connection: &dyn Connection, database: usize) -> Result<Option<Position>> {
        for shard in self.layout.shards_in(database) {
            let place = self.layout.place(shard.index())?;
            let names = &place.names;
            match identity(connection, names)? {
                None => Err(self.absent(connection, shard, database)),
                Some(found) => check_found(found, shard, &self.control.cluster),
            }
            .and_then(|()| self.check_layout(connection, names, Mode::Open))
            .and_then(|()| schema::check(connection, place, self.layout))
            .map_err(|error| error.on_shard(shard.name()))?;
        }
        self.check_age(connection, database)
    }

    /// Refuses a database that is older than what control has recorded of it, and a control database that is older than this
    /// database; returns where a server's log stands.
    fn check_age(&self, connection: &dyn Connection, database: usize) -> Result<Option<Position>> {
        let Some(shard) = self.layout.shards_in(database).next() else { return Ok(None) };
        let Place { names, dialect, .. } = self.layout.place(shard.index())?;
        let name = shard.name();
        let remedy = "restore a newer copy of it, or the whole cluster from one backup";
        let older = |why: String| {
            let said = format!(
                "the database is older than its cluster, as one that was restored alone: {why}; {remedy}"
            );
            Err(Error::new(ErrorKind::Identity, said).on_shard(name))
        };
        if *dialect == Dialect::Postgres {
            let found = Position::read(connection);
            return match (&found, self.facts.position(name)) {
                (Some(found), Some(recorded))
                    if found.is_older_than(&recorded) && !self.is_replaced(shard) =>
                {
                    older(format!("its log is at `{}`, and was at `{}`", found.text(), recorded.text()))
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
            return older(format!("writer {found} was the last to write it, and {recorded} is recorded"));
        }
        // Raised in control before it is raised in a shard.
        let issued = if found > 0 { self.control.last_writer()? } else { 0 };
        if found > issued {
            let said = format!(
                "the control database at {} is older than the shard, as one that was restored alone: it has issued the writer                  numbers up to {issued}, and writer {found} has written the shard; {remedy}",
                self.control.driver.describe()
            );
            return Err(Error::new(ErrorKind::Identity, said).on_shard(name));
        }
        // A decided transaction that is not applied yet leaves the database behind the record, until it is applied. Where
        // there is none, the version is read after that was certain: its owner may have committed meanwhile.
        let recorded = self.facts.number(Kind::Version, name).unwrap_or_default();
        if recorded > 0 && !self.control.has_decided_for(name)? {
            let own = names.table(own_tables::SHARD);
            let found = commit::version(connection, &own)?;
            if found < recorded {
                return older(format!("it has version {found}, and {recorded} is recorded"));
            }
        }
        Ok(None)
    }

    fn at(&self, shard: &Shard, database: usize) -> String {
        let at = self.databases.get(database).map_or_else(String::new, |database| database.driver.describe());
        let schema = self.layout.place(shard.index()).ok().and_then(|place| place.names.schema.as_deref());
        schema.map_or_else(|| at.clone(), |schema| format!("{at}?schema={schema}"))
    }

    /// The error for a database that holds no shard where one should be.
    fn absent(&self, connection: &dyn Connection, shard: &Shard, database: usize) -> Error {
        let at = self.at(shard, database);
        let names = self.layout.place(shard.index()).map(|place| &place.names);
        if let Ok(Err(error)) = names.map(|names| check_schema(connection, names)) {
            return self.unreachable_shard(error, shard);
        }
        let said = match self.must_exist(shard) {
            true => {
                format!("the database at {at} holds no shard, and the shard was made; {}", to_get_back(shard))
            }
            false => format!(
                "the database at {at} is no shard yet, or is one under another `?prefix=` or `?schema=`; `create` makes it"
            ),
        };
        Error::new(ErrorKind::Identity, said).on_shard(shard.name())
    }

    fn is_not_lost(&self, shard: &Shard, database: usize) -> Error {
        let said =
            format!("the shard is not lost: it is at {}; remove `replace_lost`", self.at(shard, database));
        Error::new(ErrorKind::Identity, said).on_shard(shard.name())
    }

    /// Adds to an error of connecting to a database how its shard comes back, if the database does not exist.
    pub(super) fn unreachable(&self, error: Error, database: usize) -> Error {
        let Some(first) = self.layout.shards_in(database).next() else { return error };
        if error.kind() != ErrorKind::Missing {
            return error.on_shard(first.name());
        }
        let made = self.layout.shards_in(database).find(|shard| self.must_exist(shard));
        self.unreachable_shard(error, made.unwrap_or(first))
    }

    fn unreachable_shard(&self, error: Error, shard: &Shard) -> Error {
        let said = match self.must_exist(shard) {
            true => format!("{error}, and the shard was made; {}", to_get_back(shard)),
            false => format!("{error}; `create` makes it"),
        };
        Error::new(error.kind(), said).with_source(error).on_shard(shard.name())
    }

    /// Compares the layout that a shard has recorded with the declared one: every recorded line must be declared. A model
    /// without any recorded line is new. `create` may add lines for keys that had no place until now.
    fn check_layout(&self, connection: &dyn Connection, names: &Namespace, mode: Mode) -> Result<()> {
        let lines = names.table(own_tables::LAYOUT);
        let digest = OwnFacts::read(connection, names)?.layout;
        // How many lines there were when the layout was last recorded; binaries of an older release may have added some.
        let least: i64 =
            digest.as_ref().and_then(|digest| digest.split(' ').next()?.parse().ok()).unwrap_or(1);
        if mode == Mode::Open && digest.is_some_and(|digest| self.declared.agrees(&digest)) {
            let count = format!("SELECT count(*) FROM {lines}");
            if commit::integer(connection, &count, &[])? == least {
                return Ok(());
            }
        }
        let recorded = recorded_layout(connection, names)?;
        if i64::try_from(recorded.len()).is_ok_and(|found| found < least) {
            let said = format!(
                "the table {lines} has {} rows and had {least}: rows of the recorded layout were deleted; restore the shard, or copy \
                 the rows of another shard of the cluster",
                recorded.len()
            );
            return Err(Error::new(ErrorKind::Layout, said));
        }
        compare_layouts(&recorded, self.declared, mode)?;
        self.declared.note(&recorded);
        Ok(())
    }
}

fn to_get_back(shard: &Shard) -> String {
    let name = shard.name();
    format!("restore it, or call `replace_lost({name:?})` before `create` to make it anew, without its rows")
}

/// Refuses a table that holds rows before the shard knows its model: the rows may belong to any shard.
fn refuse_rows(connection: &dyn Connection, place: &Place, table: &Table) -> Result<()> {
    let name = place.names.table(table.name);
    if connection.columns(&place.names, table.name)?.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare(&format!("SELECT 1 FROM {name} LIMIT 1"))?;
    let mut rows = statement.query(&[])?;
    if !rows.advance()? {
        return Ok(());
    }
    while rows.advance()? {}
    let said = format!(
        "the table {name} holds rows that this cluster did not store, and their keys may belong to other shards; rename \
         the table, run `create`, and insert its rows through a session (adopting tables that exist is not supported yet)"
    );
    Err(Error::new(ErrorKind::Identity, said))
}

/// Refuses a default schema without a shard, if another schema of the role's `search_path` holds one. Those in `named` belong
/// to the cluster's other shards.
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
        "the URL names no schema, which means `public`, and the role's `search_path` leads to a cluster in the schema \
         `{schema}`; add `?schema={schema}` to the URL to open it, or `?schema=public` to keep another cluster there"
    );
    Err(Error::new(ErrorKind::Identity, message))
}

/// Looks whether a server can take part in units of work over several databases.
pub(super) fn check_prepares(connection: &dyn Connection) -> Result<()> {
    let most = read_texts(connection, "SELECT current_setting('max_prepared_transactions'), ''")?;
    match most.first() {
        Some((most, _)) if most != "0" => Ok(()),
        _ => {
            let said = "the server has `max_prepared_transactions = 0`, and so cannot take part in a unit of work over \
                        several databases: set it to `max_connections` or so and restart the server, or open the cluster \
                        with `single_shard_units`";
            Err(Error::new(ErrorKind::Configuration, said))
        }
    }
}

/// Returns what each transaction on a shard is checked for, of the shards that are on servers.
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
        Ok((*dialect == Dialect::Postgres)
            .then(|| Arc::new(Expected { shard: shard.name().to_owned(), sql: sql() })))
    };
    layout.shards().iter().map(expected).collect()
}

fn text(text: &str) -> Param<'_> {
    Param::Value(Value::Text(text.into()))
}

/// Looks whether this is still the shard that it was: what every new connection does.
pub(super) fn check_identity(
    connection: &dyn Connection,
    shard: &Shard,
    names: &Namespace,
    cluster: &str,
) -> Result<()> {
    match identity(connection, names)? {
        Some(found) => check_found(found, shard, cluster),
        None => {
            let said = "the database holds no shard any more, or one under another `?prefix=`; restore it";
            Err(Error::new(ErrorKind::Identity, said).on_shard(shard.name()))
        }
    }
}

fn check_found((found_cluster, found_shard): (String, String), shard: &Shard, cluster: &str) -> Result<()> {
    let said = if found_shard != shard.name() {
        format!("the database says that it is shard `{found_shard}`")
    } else if found_cluster != cluster {
        format!(
            "the database is of another cluster: it says {found_cluster}, the control database says {cluster}"
        )
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Identity, said).on_shard(shard.name()))
}

/// The cluster and the shard that a database says it is; `None` where it says nothing.
pub(super) fn identity(connection: &dyn Connection, names: &Namespace) -> Result<Option<(String, String)>> {
    let table = names.table(own_tables::SHARD);
    let rows = match read_texts(connection, &format!("SELECT cluster, shard FROM {table}")) {
        Err(error) if error.kind() == ErrorKind::Schema => return Ok(None),
        rows => rows?,
    };
    match rows.as_slice() {
        [] => Ok(None),
        [row] => Ok(Some(row.clone())),
        _ => {
            let said = format!("{table} has more than one row; the database is damaged");
            Err(Error::new(ErrorKind::Identity, said))
        }
    }
}

/// The subject of the layout's lines that name the shards.
const SHARDS: &str = "shards";

fn subject_of(table: &Table) -> String {
    format!("table {}", table.name)
}

/// The layout as it is declared now.
fn declared_layout(layout: &Layout) -> Vec<Line> {
    let shards = layout.shards();
    let order =
        shards.iter().map(|shard| (SHARDS.to_owned(), format!("{} is {}", shard.index(), shard.name())));
    let placements = layout
        .tables()
        .flat_map(|table| table.placement.describe(shards).into_iter().map(|line| (subject_of(table), line)));
    order.chain(placements).collect()
}

fn recorded_layout(connection: &dyn Connection, names: &Namespace) -> Result<Vec<Line>> {
    read_texts(connection, &format!("SELECT subject, line FROM {}", names.table(own_tables::LAYOUT)))
}

/// The names of the shards that a shard's record of the layout has.
pub(super) fn recorded_shards(connection: &dyn Connection, names: &Namespace) -> Result<Vec<String>> {
    let recorded = recorded_layout(connection, names)?;
    let named = recorded.iter().filter(|(subject, _)| subject == SHARDS);
    Ok(named.filter_map(|(_, line)| line.split_once(" is ")).map(|(_, name)| name.to_owned()).collect())
}

fn compare_layouts(recorded: &[Line], declared: &Declared, mode: Mode) -> Result<()> {
    let known: HashSet<&Line> = recorded.iter().collect();
    let subjects: HashSet<&str> = recorded.iter().map(|(subject, _)| subject.as_str()).collect();
    let with_fallback: HashSet<&str> = recorded
        .iter()
        .filter(|(_, line)| line.starts_with(placement::OTHERWISE))
        .map(|(subject, _)| subject.as_str())
        .collect();
    let mut new =
        declared.lines.iter().filter(|line| subjects.contains(line.0.as_str()) && !known.contains(line));
    let changed =
        recorded.iter().find(|line| declared.subjects.contains(&line.0) && !declared.set.contains(line));
    let said = if let Some((subject, was)) = changed {
        let instead = new.find(|(other, _)| other == subject).map_or_else(
            || "is not declared any more".to_owned(),
            |(_, is)| format!("is opened with `{is}`"),
        );
        format!("{subject}: was made with `{was}`, {instead}")
    } else if let Some((subject, is)) =
        new.find(|(subject, _)| mode == Mode::Open || with_fallback.contains(subject.as_str()))
    {
        let remedy = if with_fallback.contains(subject.as_str()) { "" } else { "; `create` adds it" };
        format!("{subject}: `{is}` is declared, but the shard was made without it{remedy}")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Layout, said))
}

/// Rows of two texts.
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
