//! Making a cluster's tables and recording who each shard is; looking at both when a cluster is opened.
//!
//! Every shard holds two small tables of ours beside the models': `sharded_shard`, one row with the
//! cluster's id, the shard's name and its version; and `sharded_layout`, the cluster's layout line by line:
//! the shards in their order, and how each model's key is placed.

use super::control::Control;
use super::layout::{Layout, Place};
use super::{recovery, schema};
use crate::commit;
use crate::driver::{Connection, Mode, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::key::placement;
use crate::shards::Shard;
use crate::sql::{Dialect, Param, quoted};
use crate::value::{ColumnType, Value};

/// The tables that each shard holds beside the models'.
pub(super) const OWN_TABLES: [&str; 2] = ["sharded_shard", "sharded_layout"];

/// Those that a shard on a server holds besides, where it may be the first.
pub(super) const TABLES_ON_SERVERS: [&str; 3] = [commit::UNITS, "sharded_cluster", "sharded_sequence"];

/// A line of the layout: what it is about, and what it says.
type Line = (String, String);

/// Makes what is not there yet on the shards of one database, in one transaction, and records who they are.
/// What is there already must be what is wanted.
///
/// What decided units have left undone comes first: it is for the tables as they were.
pub(super) fn create(
    connection: &dyn Connection,
    database: usize,
    layout: &Layout,
    control: &Control,
) -> Result<()> {
    connection.begin(Transaction::Write)?;
    let first = layout.shards_in(database).next().map_or(0, Shard::index);
    keep_others_from_making(connection, layout.place(first)?.dialect)?;
    let made = recovery::heal(control, layout, database, connection).and_then(|_| {
        layout.shards_in(database).try_for_each(|shard| {
            let made = create_shard(connection, shard, layout, &control.cluster);
            made.map_err(|error| error.on_shard(shard.name()))
        })
    });
    match made {
        Ok(()) => connection.commit(),
        Err(error) => {
            connection.rollback()?;
            Err(error)
        }
    }
}

fn create_shard(connection: &dyn Connection, shard: &Shard, layout: &Layout, cluster: &str) -> Result<()> {
    let place = layout.place(shard.index())?;
    let Place { prefix, dialect, .. } = place;
    let [own, lines] = OWN_TABLES.map(|name| quoted(&format!("{prefix}{name}")));
    let strict = dialect.strict();
    connection.run(&format!(
        "CREATE TABLE IF NOT EXISTS {own} (cluster TEXT NOT NULL, shard TEXT NOT NULL, version {} NOT NULL){strict}; \
         CREATE TABLE IF NOT EXISTS {lines} (subject TEXT NOT NULL, line TEXT NOT NULL){strict}",
        dialect.column_type(ColumnType::Integer)
    ))?;
    if *dialect == Dialect::Postgres {
        connection.run(commit::MAKE_UNITS)?;
    }
    match identity(connection, prefix)? {
        Some(_) => {
            check_identity(connection, shard, prefix, cluster)?;
            check_layout(connection, prefix, layout, Mode::Create)?;
        }
        None => {
            let row = [text(cluster), text(shard.name()), Param::Value(Value::Integer(0))];
            connection
                .prepare(&format!("INSERT INTO {own} VALUES ({})", dialect.params(3)))?
                .execute(&row)?;
        }
    }
    let recorded = recorded_layout(connection, prefix)?;
    let mut insert = connection.prepare(&format!("INSERT INTO {lines} VALUES ({})", dialect.params(2)))?;
    for (subject, line) in declared_layout(layout) {
        if !recorded.contains(&(subject.clone(), line.clone())) {
            insert.execute(&[text(&subject), text(&line)])?;
        }
    }
    drop(insert);
    for table in layout.tables() {
        schema::create_table(connection, place, table).map_err(|error| error.in_table(table.name))?;
    }
    schema::check(connection, place, layout)
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

/// Makes others wait who are making the same tables: `IF NOT EXISTS` does not, on PostgreSQL.
pub(super) fn keep_others_from_making(connection: &dyn Connection, dialect: Dialect) -> Result<()> {
    match dialect {
        Dialect::Sqlite => Ok(()),
        Dialect::Postgres => connection
            .run("SELECT pg_advisory_xact_lock(hashtextextended('sharded ' || current_schema(), 0))"),
    }
}

fn text(text: &str) -> Param<'_> {
    Param::Value(Value::Text(text.into()))
}

/// Looks whether the shards of one database are who they should be, laid out and shaped as declared.
pub(super) fn verify(
    connection: &dyn Connection,
    database: usize,
    layout: &Layout,
    cluster: &str,
) -> Result<()> {
    for shard in layout.shards_in(database) {
        let place = layout.place(shard.index())?;
        let prefix = &place.prefix;
        check_identity(connection, shard, prefix, cluster)
            .and_then(|()| check_layout(connection, prefix, layout, Mode::Open))
            .and_then(|()| schema::check(connection, place, layout))
            .map_err(|error| error.on_shard(shard.name()))?;
    }
    Ok(())
}

/// Looks whether this is still the shard that it was: what every new connection does.
pub(super) fn check_identity(
    connection: &dyn Connection,
    shard: &Shard,
    prefix: &str,
    cluster: &str,
) -> Result<()> {
    let Some((found_cluster, found_shard)) = identity(connection, prefix)? else {
        let said = "the database is no shard yet: `create` makes it one (or it is one under another prefix)";
        return Err(Error::new(ErrorKind::Identity, said).on_shard(shard.name()));
    };
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
pub(super) fn identity(connection: &dyn Connection, prefix: &str) -> Result<Option<(String, String)>> {
    let table = format!("{prefix}{}", OWN_TABLES[0]);
    if connection.columns(&table)?.is_empty() {
        return Ok(None);
    }
    let rows = read_texts(connection, &format!("SELECT cluster, shard FROM {}", quoted(&table)))?;
    match rows.as_slice() {
        [] => Ok(None),
        [row] => Ok(Some(row.clone())),
        _ => Err(Error::new(ErrorKind::Identity, "the database says twice who it is")),
    }
}

/// The layout as it is declared now.
fn declared_layout(layout: &Layout) -> Vec<Line> {
    let shards = layout.shards();
    let order =
        shards.iter().map(|shard| ("shards".to_owned(), format!("{} is {}", shard.index(), shard.name())));
    let placements = layout.tables().flat_map(|table| {
        table.placement.describe(shards).into_iter().map(|line| (format!("table {}", table.name), line))
    });
    order.chain(placements).collect()
}

fn recorded_layout(connection: &dyn Connection, prefix: &str) -> Result<Vec<Line>> {
    read_texts(
        connection,
        &format!("SELECT subject, line FROM {}", quoted(&format!("{prefix}{}", OWN_TABLES[1]))),
    )
}

/// What is recorded must be what is declared, for everything that is recorded. A model that the record does
/// not know yet is new. What `create` may add says where keys live that had no place at all until now.
fn check_layout(connection: &dyn Connection, prefix: &str, layout: &Layout, mode: Mode) -> Result<()> {
    let recorded = recorded_layout(connection, prefix)?;
    let declared = declared_layout(layout);
    let is_declared = |subject: &str| declared.iter().any(|(declared, _)| declared == subject);
    let is_recorded = |subject: &str| recorded.iter().any(|(recorded, _)| recorded == subject);
    let had_no_place = |subject: &str| {
        !recorded.iter().any(|(other, line)| other == subject && line.starts_with(placement::OTHERWISE))
    };
    let mut new = declared.iter().filter(|line| is_recorded(&line.0) && !recorded.contains(line));
    let said = if let Some((subject, was)) =
        recorded.iter().find(|line| is_declared(&line.0) && !declared.contains(line))
    {
        let instead = new.find(|(other, _)| other == subject).map_or_else(
            || "is not declared any more".to_owned(),
            |(_, is)| format!("is opened with `{is}`"),
        );
        format!("{subject}: was made with `{was}`, {instead}")
    } else if let Some((subject, is)) = new.find(|(subject, _)| mode == Mode::Open || !had_no_place(subject))
    {
        let remedy = if had_no_place(subject) { "; `create` adds it" } else { "" };
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
