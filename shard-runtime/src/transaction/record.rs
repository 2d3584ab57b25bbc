//! The recorded layout of the cluster: where the keys of each model are placed.
//!
//! The control database holds the lines, each with the number of the step that added it: `create` only adds lines. A shard
//! holds one digest, of the lines up to the last step that it has taken part in. So the record takes no space that grows
//! with the square of the shards, and a line that was changed, or removed, fits to the digest of no shard.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::driver::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::schema::Table;
use crate::schema::hash::hash_bytes;
use crate::schema::key::placement;

/// A line of the layout: its subject, and the statement about it.
pub(crate) type Line = (String, String);

/// The subject of the layout's lines that name the shards.
pub(crate) const SHARDS: &str = "shards";

/// The beginning of the subjects that are tables.
const TABLE: &str = "table ";

pub(crate) fn subject_of(table: &Table) -> String {
    format!("{TABLE}{}", table.name)
}

/// The lines that are recorded, in the order of their steps.
#[derive(Default)]
pub(crate) struct Record {
    lines: Vec<Line>,
    /// The names of the tables that lines are about.
    tables: Vec<String>,
    last_step: i64,
    /// The digest of the lines up to the end of each step, and their number.
    digests: Vec<(String, usize)>,
}

impl Record {
    pub(crate) fn new(mut lines: Vec<(i64, Line)>) -> Self {
        lines.sort();
        let (mut record, mut sum) = (Record::default(), 0_u64);
        let steps: Vec<i64> = lines.iter().map(|(step, _)| *step).collect();
        for (index, (step, line)) in lines.into_iter().enumerate() {
            sum = sum.wrapping_add(hash_bytes(format!("{}\0{}", line.0, line.1).as_bytes(), 0));
            record.lines.push(line);
            record.last_step = step;
            if steps.get(index + 1) != Some(&step) {
                let count = record.lines.len();
                record.digests.push((format!("{count} {sum:016x}"), count));
            }
        }
        record.tables = Record::tables(&record.lines).into_iter().map(str::to_owned).collect();
        record
    }

    /// The lines that a shard of an older release holds itself.
    pub(crate) fn of_shard(lines: Vec<Line>) -> Self {
        Record::new(lines.into_iter().map(|line| (0, line)).collect())
    }

    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The number of the step that adds the next lines.
    pub(crate) fn next_step(&self) -> i64 {
        self.last_step + 1
    }

    /// The digest of all lines.
    pub(crate) fn digest(&self) -> &str {
        self.digests.last().map_or("", |(digest, _)| digest)
    }

    /// The names of the tables that lines are about.
    pub(crate) fn tables(lines: &[Line]) -> HashSet<&str> {
        lines.iter().filter_map(|(subject, _)| subject.strip_prefix(TABLE)).collect()
    }

    /// The names of the recorded tables that are not among these.
    pub(crate) fn undeclared_tables<'r>(
        &'r self,
        declared: &'r HashSet<&str>,
    ) -> impl Iterator<Item = &'r str> {
        self.tables.iter().map(String::as_str).filter(|table| !declared.contains(table))
    }

    /// Refuses lines of an older release about a model that is not declared, if the recorded ones contradict them: neither
    /// holds all lines of the other. Lines about a declared model are compared with the declared ones.
    pub(crate) fn refuse_other_lines(&self, lines: &[Line], declared: &Declared) -> Result<()> {
        let (known, others): (HashSet<&Line>, HashSet<&Line>) =
            (self.lines.iter().collect(), lines.iter().collect());
        let is_new = |line: &&Line| !declared.subjects.contains(&line.0) && !known.contains(line);
        let contradiction = lines.iter().filter(is_new).find_map(|new| {
            let was = self.lines.iter().find(|line| line.0 == new.0 && !others.contains(line))?;
            Some((new, was))
        });
        let Some(((subject, is), (_, was))) = contradiction else { return Ok(()) };
        let message = format!(
            "{subject}: `{was}` is recorded in the control database, and a process of an older release has recorded `{is}` \
             in the shard; stop all processes of older releases, and call `create` with the model of the table"
        );
        Err(Error::new(ErrorKind::Layout, message))
    }

    /// The lines with this digest, if these are the lines up to the end of a step.
    pub(crate) fn at(self: &Arc<Self>, digest: &str) -> Option<Recorded> {
        let (_, count) = self.digests.iter().find(|(other, _)| other == digest)?;
        Some(Recorded { record: Arc::clone(self), count: *count, digest: digest.to_owned() })
    }
}

/// The lines that a shard has taken part in.
pub(crate) struct Recorded {
    record: Arc<Record>,
    count: usize,
    pub(crate) digest: String,
}

impl Recorded {
    pub(crate) fn lines(&self) -> &[Line] {
        self.record.lines.get(..self.count).unwrap_or_default()
    }
}

/// The layout as the program declares it, with the digests of records that were compared with it.
pub(crate) struct Declared {
    pub(crate) lines: Vec<Line>,
    set: HashSet<Line>,
    subjects: HashSet<String>,
    /// Of each record that agrees, whether it holds all declared lines.
    agreeing: Mutex<HashMap<(Mode, String), bool>>,
}

impl Declared {
    pub(crate) fn new(layout: &Layout) -> Self {
        let shards = layout.shards();
        let order =
            shards.iter().map(|shard| (SHARDS.to_owned(), format!("{} is {}", shard.index(), shard.name())));
        let placements = layout.tables().flat_map(|table| {
            table.placement.describe(shards).into_iter().map(|line| (subject_of(table), line))
        });
        let lines: Vec<Line> = order.chain(placements).collect();
        let set = lines.iter().cloned().collect();
        let subjects = lines.iter().map(|(subject, _)| subject.clone()).collect();
        Declared { lines, set, subjects, agreeing: Mutex::default() }
    }

    /// Compares recorded lines with the declared ones: each recorded line must be declared. A model without any recorded
    /// line is new. `create` may add lines for keys that had no place until now. Returns whether all declared lines are
    /// recorded. Lines with one digest are compared once.
    pub(crate) fn compare(&self, lines: &[Line], digest: &str, mode: Mode) -> Result<bool> {
        let key = (mode, digest.to_owned());
        let known = self.agreeing.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some(is_complete) = known {
            return Ok(is_complete);
        }
        compare(lines, self, mode)?;
        let recorded: HashSet<&Line> = lines.iter().collect();
        let is_complete = self.lines.iter().all(|line| recorded.contains(line));
        self.agreeing.lock().unwrap_or_else(PoisonError::into_inner).insert(key, is_complete);
        Ok(is_complete)
    }
}

fn compare(recorded: &[Line], declared: &Declared, mode: Mode) -> Result<()> {
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
    let message = if let Some((subject, was)) = changed {
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
    Err(Error::new(ErrorKind::Layout, message))
}
