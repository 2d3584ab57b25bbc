//! `sharded_state`: the facts that the control database records about each shard, and each SQLite database about itself.
//!
//! They answer two questions that a shard alone cannot: whether it was ever created, and whether it is older than the
//! rest of the cluster. No path and no URL is recorded, so that a cluster can be moved as a whole. `in_control` has the
//! transactions of control that read and write them.

mod in_control;

use std::collections::HashMap;

use super::recorded::{Lines, RecordedLayout};
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Dialect, Namespace, Param};
use crate::transaction::commit;
use crate::value::{ColumnType, Value, mismatch};

/// The table of the facts.
pub(crate) const TABLE: &str = commit::STATE;

/// The subject of a fact. The kinds are stored by name; a later release may add others. The facts about keys that have
/// left a shard have another kind, which only the planner's statements name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In control, by shard: [`MAKING`] before the shard is touched, [`MADE`] once it exists.
    Shard,
    /// In control, by database: the version that the last decision gives it.
    Version,
    /// In control, by database: the last writer number that was committed there. In a database about itself, under the
    /// name [`SELF`]: the same number.
    Writer,
    /// In control, by database: a server's identifier, timeline and position in its log.
    Server,
    /// In a shard about itself: how many lines of the layout it has recorded, and a digest of them.
    Layout,
    /// In control, by step and number: a line of the initial layout.
    Line,
    /// In control: the epoch of the layout, if a change has raised it.
    Epoch,
    /// In control, by shard: its place and its role, if no line of the initial layout names them.
    Place,
    /// In control, by table: its placement group.
    Group,
    /// In control, by group and number: a line of a group that a change has moved.
    Rule,
    /// In control, by table of entries: [`UNFILLED`] while rows that are older than the lookup may lack entries,
    /// [`CHANGED`] from a step of a migration on, then [`FILLED`].
    Lookup,
    /// In control, by number: a change of the layout, and further facts about it. In a shard about itself, under the name
    /// [`SELF`]: its part in a change.
    Change,
    /// In control: the number of the last attempt at a change.
    Attempt,
    /// In a target of a change, by source: the last row that was copied from it. By number: an object that was dropped
    /// there.
    Copied,
    /// In control: a copy of another cluster into this one that has not ended.
    Copy,
    /// In control: the move of a key that has begun, under the name [`SELF`], and further facts about it.
    KeyMove,
}

/// The shard is being made: `create` may continue.
pub(crate) const MAKING: &str = "making";

/// The shard exists. It is not created again, unless [`Builder::replace_lost`](super::Builder::replace_lost) requests it.
pub(crate) const MADE: &str = "made";

/// `create` has to write the entries of rows that are older than the lookup.
pub(crate) const UNFILLED: &str = "unfilled";

/// A migration may have changed values of the lookup: `create` compares its entries with the rows.
pub(crate) const CHANGED: &str = "changed";

/// All rows have entries.
pub(crate) const FILLED: &str = "filled";

/// The name of a fact that is about the database that holds it, or about the whole cluster.
const SELF: &str = "";

/// Separates the subject of a line of the layout from its text: no name of a table holds this control character.
pub(crate) const SEPARATOR: char = '\u{1f}';

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Shard => "shard",
            Kind::Version => commit::STATE_VERSION,
            Kind::Writer => "writer",
            Kind::Server => "server",
            Kind::Layout => "layout",
            Kind::Line => "line",
            Kind::Epoch => "epoch",
            Kind::Place => "place",
            Kind::Group => "group",
            Kind::Rule => "rule",
            Kind::Lookup => "lookup",
            Kind::Change => "change",
            Kind::Attempt => "attempt",
            Kind::Copied => "copied",
            Kind::Copy => "copy",
            Kind::KeyMove => "key move",
        }
    }
}

/// Returns the SQL that makes the table.
pub(crate) fn make(names: &Namespace, dialect: Dialect) -> String {
    let table = names.table(TABLE);
    let (text, options) = (dialect.column_type(ColumnType::Text), dialect.strict_without_rowid());
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (kind {text} NOT NULL, name {text} NOT NULL, value {text} NOT NULL, \
         PRIMARY KEY (kind, name)){options}"
    )
}

/// The facts that the control database has recorded.
#[derive(Clone, Default)]
pub(crate) struct Facts(HashMap<(String, String), String>);

impl Facts {
    pub(crate) fn get(&self, kind: Kind, name: &str) -> Option<&str> {
        self.0.get(&(kind.name().to_owned(), name.to_owned())).map(String::as_str)
    }

    /// Reads the facts of a control database.
    pub(crate) fn read(control: &dyn Connection, names: &Namespace) -> Result<Self> {
        read_facts(control, names)
    }

    /// Returns the name of a shard that is recorded as made.
    pub(crate) fn made(&self) -> Option<&str> {
        self.of(Kind::Shard).find(|(_, state)| *state == MADE).map(|(name, _)| name)
    }

    /// Returns whether a lookup with this table of entries is recorded.
    pub(crate) fn has_lookup(&self, entries: &str) -> bool {
        self.get(Kind::Lookup, entries).is_some()
    }

    /// Returns whether any shard is recorded: a cluster of a release without this table has none.
    pub(crate) fn has_shards(&self) -> bool {
        self.0.keys().any(|(kind, _)| kind == Kind::Shard.name())
    }

    /// Returns whether a shard is recorded as made.
    pub(crate) fn is_made(&self, shard: &str) -> bool {
        self.get(Kind::Shard, shard) == Some(MADE)
    }

    /// Returns whether exactly this state of a shard is recorded.
    pub(crate) fn is_recorded(&self, shard: &str, state: &str) -> bool {
        self.get(Kind::Shard, shard) == Some(state)
    }

    /// Returns whether rows may lack entries in this table of a lookup.
    pub(crate) fn is_unfilled(&self, entries: &str) -> bool {
        self.get(Kind::Lookup, entries) == Some(UNFILLED)
    }

    /// Returns whether `create` has to compare this table of a lookup with the rows.
    pub(crate) fn is_to_fill(&self, entries: &str) -> bool {
        matches!(self.get(Kind::Lookup, entries), Some(UNFILLED | CHANGED))
    }

    /// Records in this copy that a shard was made.
    pub(crate) fn note_made(&mut self, shard: &str) {
        self.0.insert((Kind::Shard.name().to_owned(), shard.to_owned()), MADE.to_owned());
    }

    /// Records a fact in this copy.
    #[cfg(test)]
    pub(crate) fn note(&mut self, kind: Kind, name: &str, value: &str) {
        self.0.insert((kind.name().to_owned(), name.to_owned()), value.to_owned());
    }

    /// Returns the facts of a kind, by name.
    pub(crate) fn of(&self, of: Kind) -> impl Iterator<Item = (&str, &str)> {
        let facts = self.0.iter().filter(move |((kind, _), _)| kind == of.name());
        facts.map(|((_, name), value)| (name.as_str(), value.as_str()))
    }

    /// Returns the recorded layout.
    pub(crate) fn layout(&self) -> RecordedLayout {
        self.layout_up_to(i64::MAX)
    }

    /// Returns the recorded layout, without the lines of later steps.
    pub(crate) fn layout_up_to(&self, last: i64) -> RecordedLayout {
        let lines = self.of(Kind::Line).filter_map(|(name, value)| {
            let (step, (subject, line)) = (step_of(name)?, value.split_once(SEPARATOR)?);
            Some((step, (subject.to_owned(), line.to_owned())))
        });
        let lines = lines.filter(|(step, _)| *step <= last);
        let moved = self.of(Kind::Rule).filter_map(|(name, line)| {
            let (group, number) = name.split_once(SEPARATOR)?;
            Some((group, number.parse().ok()?, line))
        });
        RecordedLayout::new(
            Lines::new(lines.collect()),
            self.get(Kind::Epoch, SELF).and_then(|epoch| epoch.parse().ok()),
            &self.of(Kind::Place).collect::<Vec<_>>(),
            &self.of(Kind::Group).collect::<Vec<_>>(),
            moved.collect(),
        )
    }

    pub(crate) fn number(&self, kind: Kind, name: &str) -> Option<i64> {
        self.get(kind, name)?.parse().ok()
    }

    pub(crate) fn position(&self, database: &str) -> Option<Position> {
        Position::parse(self.get(Kind::Server, database)?)
    }
}

/// Returns the step of a line, with which its name begins.
fn step_of(name: &str) -> Option<i64> {
    name.split(' ').next()?.parse().ok()
}

/// A statement of a decided transaction for one database.
pub(crate) struct DecidedStatement {
    pub(crate) transaction: String,
    database: String,
    base: String,
    seq: String,
    pub(crate) sql: String,
}

/// A position in a server's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The server's identifier, which its standbys and its physical copies share.
    system: String,
    /// Raised when a standby is promoted.
    timeline: i64,
    /// How many bytes of the log were on disk.
    bytes: i64,
}

impl Position {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let (system, timeline, bytes) = (parts.next()?.to_owned(), parts.next()?, parts.next()?);
        Some(Position { system, timeline: timeline.parse().ok()?, bytes: bytes.parse().ok()? })
    }

    pub(crate) fn text(&self) -> String {
        let Position { system, timeline, bytes } = self;
        format!("{system} {timeline} {bytes}")
    }

    /// Reads the position of a server's log; `None` if the role may not read it. Also `None` on a standby, whose position
    /// is behind its primary's.
    pub(crate) fn read(connection: &dyn Connection) -> Option<Self> {
        let sql = "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE (SELECT system_identifier FROM pg_control_system()) \
                   || ' ' || ('x' || substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8))::bit(32)::int || ' ' \
                   || pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint END";
        let text = texts(connection, sql, &[]).ok()?.pop()?;
        Position::parse(text.first()?)
    }

    /// Returns whether this is the position of an older copy of a server that was seen at `recorded`. A promoted standby has
    /// a higher timeline and is accepted; a server with another identifier cannot be compared.
    pub(crate) fn is_older_than(&self, recorded: &Self) -> bool {
        self.system == recorded.system && (self.timeline, self.bytes) < (recorded.timeline, recorded.bytes)
    }
}

/// The facts that a shard records about itself.
#[derive(Default)]
pub(crate) struct OwnFacts {
    pub(crate) writer: i64,
}

impl OwnFacts {
    /// Reads them. A shard of an older release has none, and a role without the privilege reads none.
    pub(crate) fn read(connection: &dyn Connection, names: &Namespace) -> Result<Self> {
        let table = names.table(TABLE);
        let sql =
            format!("SELECT value FROM {table} WHERE name = '{SELF}' AND kind = '{}'", Kind::Writer.name());
        let rows = match texts(connection, &sql, &[]) {
            Err(error) if matches!(error.kind(), ErrorKind::Schema | ErrorKind::Denied) => {
                return Ok(OwnFacts::default());
            }
            rows => rows?,
        };
        let number = rows.first().and_then(|row| row.first()?.parse().ok());
        Ok(OwnFacts { writer: number.unwrap_or_default() })
    }
}

/// Records a fact of a shard about itself.
pub(crate) fn record_own(
    connection: &dyn Connection,
    names: &Namespace,
    dialect: Dialect,
    kind: Kind,
    value: &str,
) -> Result<()> {
    write(connection, names, dialect, kind, SELF, value)
}

/// Reads all facts of a control database.
pub(crate) fn read_facts(control: &dyn Connection, names: &Namespace) -> Result<Facts> {
    let sql = format!("SELECT kind, name, value FROM {}", names.table(TABLE));
    let rows = match texts(control, &sql, &[]) {
        Err(error) if error.kind() == ErrorKind::Schema => return Ok(Facts::default()),
        rows => rows?,
    };
    let facts = rows.into_iter().filter_map(|row| {
        let [kind, name, value] = <[String; 3]>::try_from(row).ok()?;
        Some(((kind, name), value))
    });
    Ok(Facts(facts.collect()))
}

pub(crate) fn write(
    connection: &dyn Connection,
    names: &Namespace,
    dialect: Dialect,
    kind: Kind,
    name: &str,
    value: &str,
) -> Result<()> {
    write_all(connection, names, dialect, kind, &[(name, value)])
}

/// How many facts one statement writes.
const AT_ONCE: usize = 200;

/// Writes facts of one kind, whose names differ.
fn write_all(
    connection: &dyn Connection,
    names: &Namespace,
    dialect: Dialect,
    kind: Kind,
    facts: &[(&str, &str)],
) -> Result<()> {
    let table = names.table(TABLE);
    let only_greater = match kind {
        Kind::Shard
        | Kind::Server
        | Kind::Layout
        | Kind::Line
        | Kind::Place
        | Kind::Group
        | Kind::Rule
        | Kind::Lookup
        | Kind::Change
        | Kind::Attempt
        | Kind::Copied
        | Kind::Copy
        | Kind::KeyMove => "",
        Kind::Version | Kind::Writer | Kind::Epoch => {
            " WHERE CAST(recorded.value AS bigint) < CAST(excluded.value AS bigint)"
        }
    };
    facts.chunks(AT_ONCE).try_for_each(|facts| {
        let rows: Vec<String> = (0..facts.len())
            .map(|row| {
                format!(
                    "({}, {}, {})",
                    dialect.param(1),
                    dialect.param(2 * row + 2),
                    dialect.param(2 * row + 3)
                )
            })
            .collect();
        let sql = format!(
            "INSERT INTO {table} AS recorded (kind, name, value) VALUES {} \
             ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value{only_greater}",
            rows.join(", ")
        );
        let mut params = vec![text(kind.name())];
        params.extend(facts.iter().flat_map(|(name, value)| [text(name), text(value)]));
        connection.prepare(&sql)?.execute(&params).map(|_| ())
    })
}

/// Removes a fact.
pub(crate) fn forget(
    connection: &dyn Connection,
    names: &Namespace,
    dialect: Dialect,
    kind: Kind,
    name: &str,
) -> Result<()> {
    let table = names.table(TABLE);
    let sql =
        format!("DELETE FROM {table} WHERE kind = {} AND name = {}", dialect.param(1), dialect.param(2));
    connection.prepare(&sql)?.execute(&[text(kind.name()), text(name)]).map(|_| ())
}

pub(crate) fn text(text: &str) -> Param<'_> {
    Param::Value(Value::Text(text.into()))
}

/// Reads rows of texts.
pub(crate) fn texts(
    connection: &dyn Connection,
    sql: &str,
    params: &[Param<'_>],
) -> Result<Vec<Vec<String>>> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while rows.advance()? {
        let text = |index| match rows.value(index)? {
            Value::Text(text) => Ok(text.into_owned()),
            other => Err(Error::from(mismatch("text", &other))),
        };
        found.push((0..rows.width()).map(text).collect::<Result<Vec<String>>>()?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promoted_standby_is_not_older() {
        let at = |text: &str| Position::parse(text).unwrap();
        let recorded = at("7 3 1000");
        assert!(at("7 3 999").is_older_than(&recorded));
        assert!(at("7 2 5000").is_older_than(&recorded));
        for fine in ["7 3 1000", "7 3 1001", "7 4 10", "8 1 1"] {
            assert!(!at(fine).is_older_than(&recorded), "{fine}");
            assert_eq!(at(fine).text(), fine);
        }
        assert_eq!(Position::parse("7 3"), None);
    }
}
