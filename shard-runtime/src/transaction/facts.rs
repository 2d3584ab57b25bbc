//! `sharded_state`: the facts that the control database records about each shard, and each SQLite database about itself.
//!
//! They answer two questions that a shard cannot answer alone: whether it was ever created, and whether it is older than
//! the rest of the cluster. No path and no URL is recorded, so that a cluster can be moved as a whole.

use std::collections::{HashMap, HashSet};

use super::control::{Control, in_durable_transaction};
use super::recorded::{Declared, Line, Lines, RecordedLayout, place_text};
use crate::driver::{Connection, Mode, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Dialect, Namespace, Param};
use crate::schema::ShardRole;
use crate::transaction::commit;
use crate::value::{ColumnType, Value, mismatch};

/// The table of the facts.
pub(crate) const TABLE: &str = commit::STATE;

/// The subject of a fact. The kinds are stored by name; a later release may add others.
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
}

/// The shard is being made: `create` may continue.
pub(crate) const MAKING: &str = "making";

/// The shard exists. It is never made again, unless [`Builder::replace_lost`](super::Builder::replace_lost) asks for it.
pub(crate) const MADE: &str = "made";

/// `create` has to make the entries of rows that are older than the lookup.
pub(crate) const UNFILLED: &str = "unfilled";

/// A migration may have changed values of the lookup: `create` compares its entries with the rows.
pub(crate) const CHANGED: &str = "changed";

/// All rows have entries.
pub(crate) const FILLED: &str = "filled";

/// The kinds of the facts about one shard, which are forgotten with it.
const OF_A_SHARD: [Kind; 4] = [Kind::Shard, Kind::Version, Kind::Writer, Kind::Server];

/// The name of a fact that is about the database that holds it, or about the whole cluster.
const SELF: &str = "";

/// Separates the subject of a line of the layout from its text: no name of a table holds this control character.
const SEPARATOR: char = '\u{1f}';

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
        }
    }
}

/// The SQL that makes the table.
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
    fn get(&self, kind: Kind, name: &str) -> Option<&str> {
        self.0.get(&(kind.name().to_owned(), name.to_owned())).map(String::as_str)
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

    /// The facts of a kind, by name.
    fn of(&self, of: Kind) -> impl Iterator<Item = (&str, &str)> {
        let facts = self.0.iter().filter(move |((kind, _), _)| kind == of.name());
        facts.map(|((_, name), value)| (name.as_str(), value.as_str()))
    }

    /// The layout that is recorded.
    pub(crate) fn layout(&self) -> RecordedLayout {
        self.layout_up_to(i64::MAX)
    }

    /// The layout that is recorded, without the lines of later steps.
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

/// The step of a line, which its name begins with.
fn step_of(name: &str) -> Option<i64> {
    name.split(' ').next()?.parse().ok()
}

/// A statement of a decided transaction for one database.
pub(crate) struct DecidedStatement {
    pub(crate) unit: String,
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

    /// Reads where a server's log stands; `None` where the role may not read it, and on a standby, which follows its
    /// primary at a distance.
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
    /// Reads them; of a shard of an older release there are none, and none are seen by a role that may not read them.
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

impl Control {
    /// Returns the facts; none where the control database is of an older release and cannot be written.
    pub(crate) fn facts(&self) -> Result<Facts> {
        self.with_decisions(|_, control| read_facts(control, &self.names))
    }

    /// Adds declared lines, and lines of a shard of an older release, to the recorded layout.
    ///
    /// # Errors
    /// [`ErrorKind::Layout`] if another process has added other lines.
    pub(crate) fn extend_record(&self, declared: &Declared, lines: &[Line]) -> Result<RecordedLayout> {
        self.change_layout(|control, dialect, facts| {
            let recorded = facts.layout();
            let record = &recorded.lines;
            declared.compare(record.lines(), record.digest(), Mode::Create)?;
            record.refuse_other_lines(lines, declared)?;
            let known: HashSet<&Line> = record.lines().iter().collect();
            let mut added = HashSet::new();
            let new = lines
                .iter()
                .chain(&declared.lines)
                .filter(|line| !known.contains(line) && added.insert(*line));
            let step = record.next_step();
            for (number, (subject, line)) in new.enumerate() {
                let (name, value) = (format!("{step} {number}"), format!("{subject}{SEPARATOR}{line}"));
                write(control, &self.names, dialect, Kind::Line, &name, &value)?;
            }
            let moved: Vec<_> = declared.moved.iter().filter(|line| !recorded.has_moved_line(line)).collect();
            for (number, (group, line)) in (recorded.next_moved_line()..).zip(&moved) {
                let name = format!("{group}{SEPARATOR}{number}");
                write(control, &self.names, dialect, Kind::Rule, &name, line)?;
            }
            if !moved.is_empty() {
                let epoch = (recorded.epoch + 1).to_string();
                write(control, &self.names, dialect, Kind::Epoch, SELF, &epoch)?;
            }
            Ok(())
        })
    }

    /// Gives places to the configured shards that have none. They are spare until a line names them.
    pub(crate) fn record_places(&self, configured: &[&str]) -> Result<RecordedLayout> {
        self.change_layout(|control, dialect, facts| {
            facts.layout().unplaced(configured).into_iter().try_for_each(|(name, place)| {
                let place = place_text(place, ShardRole::Spare);
                write(control, &self.names, dialect, Kind::Place, name, &place)
            })
        })
    }

    /// Removes the lines of later steps, which no shard has taken part in, and shards that only they name.
    pub(crate) fn take_back(&self, last: i64) -> Result<RecordedLayout> {
        self.change_layout(|control, dialect, facts| {
            let table = self.names.table(TABLE);
            let sql = format!(
                "DELETE FROM {table} WHERE kind = {} AND name = {}",
                dialect.param(1),
                dialect.param(2)
            );
            let later =
                facts.of(Kind::Line).filter(|(name, _)| step_of(name).is_some_and(|step| step > last));
            let left = facts.layout_up_to(last);
            let unnamed =
                facts.of(Kind::Shard).filter(|(name, state)| *state == MAKING && left.shard(name).is_none());
            let kinds =
                later.map(|(name, _)| (Kind::Line, name)).chain(unnamed.map(|(name, _)| (Kind::Shard, name)));
            for (kind, name) in kinds {
                control.prepare(&sql)?.execute(&[text(kind.name()), text(name)])?;
            }
            Ok(())
        })
    }

    /// Changes the recorded layout in a transaction that is on disk when this returns, whatever the durability of other
    /// commits is: a shard records a digest of the lines afterwards. Returns the layout as it is then.
    fn change_layout(
        &self,
        change: impl Fn(&dyn Connection, Dialect, &Facts) -> Result<()>,
    ) -> Result<RecordedLayout> {
        let dialect = self.driver.dialect();
        let run = |control: &dyn Connection| {
            // Otherwise two processes could give their lines the same step.
            if let Some(lock) = dialect.advisory_lock("sharded layout") {
                control.run(&lock)?;
            }
            change(control, dialect, &read_facts(control, &self.names)?)?;
            Ok(read_facts(control, &self.names)?.layout())
        };
        self.wait_with_decisions(Error::is_busy, |_, control| in_durable_transaction(control, run))
    }

    /// Records facts in one transaction. A number replaces a smaller one only.
    pub(crate) fn record(&self, facts: &[(Kind, &str, String)]) -> Result<()> {
        if facts.is_empty() {
            return Ok(());
        }
        self.in_transaction(|control, dialect| {
            facts
                .iter()
                .try_for_each(|(kind, name, value)| write(control, &self.names, dialect, *kind, name, value))
        })
    }

    /// Begins to make a lost shard anew: forgets everything that was recorded of it and of the database that it names, with
    /// what decided transactions would still do there.
    pub(crate) fn forget_lost(&self, shard: &str) -> Result<()> {
        let decides = self.decides();
        self.in_transaction(|control, dialect| {
            let name = dialect.param(1);
            let kinds = OF_A_SHARD.map(|kind| format!("'{}'", kind.name())).join(", ");
            let mut forget = vec![format!(
                "DELETE FROM {} WHERE name = {name} AND kind IN ({kinds})",
                self.names.table(TABLE)
            )];
            if decides {
                forget.extend(
                    ["sharded_redo", "sharded_prepared"]
                        .map(|table| format!("DELETE FROM {table} WHERE shard = {name}")),
                );
            }
            for sql in forget {
                control.prepare(&sql)?.execute(&[text(shard)])?;
            }
            write(control, &self.names, dialect, Kind::Shard, shard, MAKING)
        })
    }

    /// Returns the statements that decided transactions run on a SQLite database, unless they have run already.
    pub(crate) fn decided_statements(&self, database: &str) -> Result<Vec<DecidedStatement>> {
        if !self.decides() {
            return Ok(Vec::new());
        }
        self.with_decisions(|_, control| {
            let sql = "SELECT unit, CAST(base AS TEXT), CAST(seq AS TEXT), sql FROM sharded_redo WHERE shard = ?1 \
                       ORDER BY base, seq";
            let rows = texts(control, sql, &[text(database)])?.into_iter().filter_map(|row| {
                let [unit, base, seq, sql] = <[String; 4]>::try_from(row).ok()?;
                Some(DecidedStatement { unit, database: database.to_owned(), base, seq, sql })
            });
            Ok(rows.collect())
        })
    }

    /// Begins to make lost shards anew whose database holds other shards: forgets what was recorded of them, with the
    /// statements of decided transactions for their tables. The records stay, because they are for the other shards, too.
    pub(crate) fn forget_lost_tables(&self, shards: &[&str], dropped: &[&DecidedStatement]) -> Result<()> {
        self.in_transaction(|control, dialect| {
            for DecidedStatement { unit, database, base, seq, .. } in dropped {
                let sql = "UPDATE sharded_redo SET runs = x'' WHERE unit = ?1 AND shard = ?2 \
                           AND base = CAST(?3 AS INTEGER) AND seq = CAST(?4 AS INTEGER)";
                control.prepare(sql)?.execute(&[text(unit), text(database), text(base), text(seq)])?;
            }
            for shard in shards {
                // The version of a SQLite database is lost with its first shard. A server's position in its log is not.
                let lost = OF_A_SHARD.into_iter().filter(|kind| *kind != Kind::Server);
                let kinds: Vec<String> = lost.map(|kind| format!("'{}'", kind.name())).collect();
                let sql = format!(
                    "DELETE FROM {} WHERE name = {} AND kind IN ({})",
                    self.names.table(TABLE),
                    dialect.param(1),
                    kinds.join(", ")
                );
                control.prepare(&sql)?.execute(&[text(shard)])?;
                write(control, &self.names, dialect, Kind::Shard, shard, MAKING)?;
            }
            Ok(())
        })
    }

    /// Returns the greatest writer number that was issued.
    pub(crate) fn last_writer(&self) -> Result<i64> {
        self.with_decisions(|_, control| OwnFacts::read(control, &self.names)).map(|own| own.writer)
    }

    /// Issues a writer number, durably; `None` if that would have to wait, or if control cannot be written.
    pub(crate) fn issue_writer(&self) -> Option<i64> {
        let dialect = self.driver.dialect();
        let issue = |control: &dyn Connection| {
            let number = OwnFacts::read(control, &self.names)?.writer + 1;
            record_own(control, &self.names, dialect, Kind::Writer, &number.to_string())?;
            Ok(number)
        };
        self.try_with(|control| in_durable_transaction(control, issue).ok())?
    }

    /// Records which writer was the last to write some databases; returns whether that was possible without waiting.
    pub(crate) fn record_writer(&self, databases: &[&str], number: i64) -> bool {
        let number = number.to_string();
        let record = |control: &dyn Connection| {
            control.begin_without_waiting()?;
            let dialect = self.driver.dialect();
            let recorded = databases
                .iter()
                .try_for_each(|name| write(control, &self.names, dialect, Kind::Writer, name, &number))
                .and_then(|()| control.commit());
            recorded.inspect_err(|_| {
                let _ = control.rollback();
            })
        };
        self.try_with(|control| record(control).is_ok()).unwrap_or(false)
    }

    /// Returns whether a decided transaction may not be applied to a database yet.
    pub(crate) fn has_decided_for(&self, database: &str) -> Result<bool> {
        self.with_decisions(|decisions, control| match self.decides() {
            true => Ok(decisions.records(control)?.iter().any(|record| record.database == database)),
            false => Ok(false),
        })
    }

    /// Runs statements in one transaction of control, again while another connection has locked it.
    fn in_transaction<O>(&self, run: impl Fn(&dyn Connection, Dialect) -> Result<O>) -> Result<O> {
        let dialect = self.driver.dialect();
        self.wait_with_decisions(Error::is_busy, |_, control| {
            control.begin(Transaction::Write)?;
            let done = run(control, dialect).and_then(|done| control.commit().map(|()| done));
            done.inspect_err(|_| {
                let _ = control.rollback();
            })
        })
    }
}

fn read_facts(control: &dyn Connection, names: &Namespace) -> Result<Facts> {
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

fn write(
    connection: &dyn Connection,
    names: &Namespace,
    dialect: Dialect,
    kind: Kind,
    name: &str,
    value: &str,
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
        | Kind::Lookup => "",
        Kind::Version | Kind::Writer | Kind::Epoch => {
            " WHERE CAST(recorded.value AS bigint) < CAST(excluded.value AS bigint)"
        }
    };
    let sql = format!(
        "INSERT INTO {table} AS recorded (kind, name, value) VALUES ({}) \
         ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value{only_greater}",
        dialect.params(3)
    );
    connection.prepare(&sql)?.execute(&[text(kind.name()), text(name), text(value)]).map(|_| ())
}

fn text(text: &str) -> Param<'_> {
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
