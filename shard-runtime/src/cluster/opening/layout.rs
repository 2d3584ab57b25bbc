//! The recorded layout in the control database, and its copy in each shard.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::identity::{FoundIdentity, check_found, identity};
use super::{Opening, refuse_rows};
use crate::driver::{Connection, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Location;
use crate::planner::own_tables;
use crate::planner::sql::{Dialect, Namespace, literal};
use crate::schema::Shard;
use crate::transaction::change::KeyMoveRecord;
use crate::transaction::facts::{self, Facts, Kind};
use crate::transaction::recorded::{
    Line, Lines, LinesOfShard, RecordedLayout, SHARDS, Stamp, copy_text, parse_copy,
};
use crate::value::Value;

/// The only line in `sharded_layout` of a shard whose layout is recorded in the control database. An older release compares it
/// with its declared layout, which never has this line, and refuses the shard. Without a line it would record its own layout.
pub(super) const MOVED: (&str, &str) = (SHARDS, "recorded in the control database");

impl Opening<'_> {
    /// Adds the right that the role needs to an error of reading the recorded layout.
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

    fn record(&self) -> Arc<RecordedLayout> {
        Arc::clone(&self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_record(&self, record: RecordedLayout) -> Arc<RecordedLayout> {
        let record = Arc::new(record);
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&record);
        record
    }

    /// Reads the record again: another process may have changed it.
    fn read_again(&self) -> Result<Arc<RecordedLayout>> {
        let facts = self.control.facts().map_err(|error| self.unreadable_record(error))?;
        Ok(self.set_record(facts.layout()))
    }

    /// Compares the epoch of a shard's copy with that of the record. An older copy is accepted: the process that has changed the
    /// layout may have had no time to update it.
    fn check_epoch(&self, copy: Option<&Stamp>) -> Result<()> {
        let of = |stamp: Option<&Stamp>| stamp.map_or(1, |stamp| stamp.epoch);
        let is_known = |record: &RecordedLayout| {
            of(copy) < record.epoch || (of(copy) == record.epoch && copy == record.stamp().as_ref())
        };
        let before = self.record();
        if is_known(&before) {
            return Ok(());
        }
        let now = self.read_again()?;
        if now.epoch != before.epoch {
            self.is_outdated.store(true, Ordering::Relaxed);
            let message = "the layout was changed while the cluster was opened; open it again";
            return Err(Error::new(ErrorKind::Layout, message));
        }
        if is_known(&now) {
            return Ok(());
        }
        if of(copy) > now.epoch {
            let (recorded, found) = (now.epoch, of(copy));
            return Err(self.older_control(&format!(
                "it has recorded epoch {recorded} of the layout, and the shard epoch {found}"
            )));
        }
        let message = format!(
            "epoch {} of the layout recorded in the shard differs from that in the control database at {}: one of the two was \
             edited; restore the shard, or the control database",
            now.epoch,
            self.control.driver.describe()
        );
        Err(Error::new(ErrorKind::WrongDatabase, message))
    }

    /// Checks the identity of a shard, and compares what it records about changes with the control database, which records it
    /// first: that it is retired, the attempt of its part in a change, and the epoch in which the last key has left it.
    pub(super) fn check_known(&self, found: &FoundIdentity, shard: &Shard, dialect: Dialect) -> Result<()> {
        let (name, left) = (shard.name(), found.left(dialect));
        let retired = found.retired_by(&self.control.cluster, name);
        if retired.is_none() {
            check_found(found, shard, &self.control.cluster)?;
        }
        let attempt = retired.max(found.part.map(|part| part.attempt)).unwrap_or_default();
        if attempt > last_attempt(self.facts) || !knows_key(self.facts, self.record().epoch, name, left) {
            // A change may have begun since the facts were read, or a key may have moved.
            let now = self.control.facts().map_err(|error| self.unreadable_record(error))?;
            let (given, epoch) = (last_attempt(&now), now.layout().epoch);
            if attempt > given {
                let change = retired.or(found.part.map(|part| part.change)).unwrap_or_default();
                return Err(self.older_control(&format!(
                    "it has given attempts of changes up to {given}, and the shard has a part in change {change} with attempt \
                     {attempt}"
                )));
            }
            if !knows_key(&now, epoch, name, left) {
                return Err(self.older_control(&format!(
                    "it has recorded epoch {epoch} of the layout, and a key has left the shard in epoch {left}"
                )));
            }
        }
        // A source that is about to be retired.
        check_found(found, shard, &self.control.cluster)
    }

    /// The error of a control database that is older than a shard. Every shard is refused, also one without keys.
    fn older_control(&self, why: &str) -> Error {
        self.has_older_control.store(true, Ordering::Relaxed);
        let message = format!(
            "the control database at {} is older than the shard, as if it was restored alone: {why}; restore a newer copy of it, \
             or the whole cluster from one backup",
            self.control.driver.describe()
        );
        Error::new(ErrorKind::WrongDatabase, message)
    }

    /// Returns the copy of the layout that a shard with these lines should have, if it differs.
    fn renewed(&self, copy: &str, lines: &LinesOfShard) -> Option<String> {
        let renewed = copy_text(&lines.digest, self.record().stamp().as_ref());
        (renewed != copy).then_some(renewed)
    }

    /// Updates an older copy in a shard. If the shard cannot be written, a later process does it.
    pub(super) fn renew_copy(
        &self,
        connection: &dyn Connection,
        location: &Location,
        copy: &str,
        lines: &LinesOfShard,
    ) -> Result<()> {
        let Some(renewed) = self.renewed(copy, lines) else { return Ok(()) };
        match facts::record_own(connection, &location.names, location.dialect, Kind::Layout, &renewed) {
            Err(error)
                if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Denied | ErrorKind::ReadOnly) =>
            {
                Ok(())
            }
            renewed => renewed,
        }
    }

    /// Returns the layout that a shard has recorded, by its digest.
    pub(super) fn recorded(
        &self,
        connection: &dyn Connection,
        names: &Namespace,
        copy: Option<&str>,
    ) -> Result<LinesOfShard> {
        let (digest, stamp) = match copy.map(parse_copy) {
            Some((digest, stamp)) => (Some(digest), stamp),
            None => (None, None),
        };
        let digest = digest.as_deref();
        if digest.is_some() {
            self.check_epoch(stamp.as_ref())?;
        }
        if let Some(found) = digest.and_then(|digest| self.record().lines.at(digest)) {
            return Ok(found);
        }
        // A shard of an older release has the lines itself.
        let own = Arc::new(Lines::of_shard(recorded_layout(connection, names)?));
        if !own.lines().is_empty()
            && let Some(found) = own.at(digest.unwrap_or(own.digest()))
        {
            return Ok(found);
        }
        if let Some(digest) = digest {
            // Another process may have added lines meanwhile.
            let record = self.read_again()?;
            if let Some(found) = record.lines.at(digest) {
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

    /// Records the layout in the control database, if it is not recorded there, and in the shards of a database. It runs at the
    /// end of the transaction that made the shards.
    pub(super) fn record_layout(&self, connection: &dyn Connection, database: usize) -> Result<()> {
        for shard in self.layout.shards_in(database) {
            let Location { names, dialect, .. } = self.layout.location(shard.index())?;
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
        let copy = identity(connection, names)?.and_then(|found| found.layout);
        let own_lines = recorded_layout(connection, names)?;
        let recorded = match copy.is_some() || !own_lines.is_empty() {
            true => Some(self.recorded(connection, names, copy.as_deref())?),
            false => None,
        };
        let lines = recorded.as_ref().map_or(&[][..], LinesOfShard::lines);
        let has_all = |lines: &[Line], digest: &str| self.declared.compare(lines, digest, Mode::Create);
        if let Some(recorded) = &recorded
            && own_lines.is_empty()
            && has_all(lines, &recorded.digest)?
        {
            if let Some(copy) = &copy
                && let Some(renewed) = self.renewed(copy, recorded)
            {
                facts::record_own(connection, names, dialect, Kind::Layout, &renewed)?;
            }
            return mark_as_moved(connection, names, dialect);
        }
        // An older release may have added lines after the shard had copied a step of the record.
        let own = Lines::of_shard(own_lines);
        has_all(own.lines(), own.digest())?;
        let mut record = self.record();
        let all = &record.lines;
        if !own.lines().is_empty() || record.is_empty() || !has_all(all.lines(), all.digest())? {
            record = self.set_record(self.control.extend_record(self.declared, own.lines())?);
        }
        // Tables of models that are recorded and no longer declared.
        let mut known = Lines::tables(lines);
        known.extend(Lines::tables(own.lines()));
        let declared: HashSet<&str> = self.layout.tables().map(|table| table.name).collect();
        let others = record.lines.undeclared_tables(&declared);
        let unknown: Vec<&str> = others.filter(|table| !known.contains(table)).collect();
        refuse_rows(connection, names, &unknown)?;
        facts::record_own(connection, names, dialect, Kind::Layout, &record.copy_text())?;
        mark_as_moved(connection, names, dialect)
    }
}

/// Whether control knows that a key has left a shard: by the epoch of its layout, or because the key is still being moved.
fn knows_key(facts: &Facts, epoch: u64, shard: &str, left: u64) -> bool {
    left <= epoch
        || KeyMoveRecord::of(facts).is_some_and(|moved| moved.from == shard && moved.epoch + 1 == left)
}

/// Returns the last attempt of a change that control has given; 0 if it has given none.
fn last_attempt(facts: &Facts) -> u64 {
    facts.number(Kind::Attempt, "").and_then(|last| u64::try_from(last).ok()).unwrap_or_default()
}

/// Returns the lines that an older release has recorded in a shard.
pub(super) fn recorded_layout(connection: &dyn Connection, names: &Namespace) -> Result<Vec<Line>> {
    let mut lines = layout_rows(connection, names)?;
    lines.retain(|line| !is_moved(line));
    Ok(lines)
}

fn layout_rows(connection: &dyn Connection, names: &Namespace) -> Result<Vec<Line>> {
    if !connection.exists(names, own_tables::LAYOUT)? {
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
pub(in super::super) fn recorded_shards(
    connection: &dyn Connection,
    names: &Namespace,
) -> Result<Vec<String>> {
    let recorded = recorded_layout(connection, names)?;
    let named = recorded.iter().filter(|(subject, _)| subject == SHARDS);
    Ok(named.filter_map(|(_, line)| line.split_once(" is ")).map(|(_, name)| name.to_owned()).collect())
}

/// Reads rows of two texts.
pub(super) fn read_texts(connection: &dyn Connection, sql: &str) -> Result<Vec<(String, String)>> {
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
