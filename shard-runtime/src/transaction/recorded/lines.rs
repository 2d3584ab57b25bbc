//! The lines of the initial layout: the shards, and where the keys of each model are placed.
//!
//! The control database holds the lines, each with the number of the step that added it: `create` only adds lines. A
//! shard holds one digest, of the lines up to the last step that it has recorded. The size of the record therefore does
//! not grow with the square of the number of shards. If a line was changed or removed, no shard's digest matches.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::declared::Declared;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Table;
use crate::schema::hash::hash_bytes;

/// A line of the layout: its subject and its text.
pub(crate) type Line = (String, String);

/// The subject of the layout's lines that name the shards.
pub(crate) const SHARDS: &str = "shards";

/// The beginning of the subjects that are tables.
const TABLE: &str = "table ";

pub(crate) fn subject_of(table: &Table) -> String {
    format!("{TABLE}{}", table.name)
}

/// The recorded lines, in the order of their steps.
#[derive(Default)]
pub(crate) struct Lines {
    lines: Vec<Line>,
    /// The lines of each subject, in their order as texts.
    by_subject: HashMap<String, Vec<String>>,
    /// The names of the tables that lines are about.
    tables: Vec<String>,
    last_step: i64,
    /// The digest of the lines up to the end of each step, their number, and the step.
    digests: Vec<(String, usize, i64)>,
}

impl Lines {
    pub(crate) fn new(mut lines: Vec<(i64, Line)>) -> Self {
        lines.sort();
        let (mut record, mut sum) = (Lines::default(), 0_u64);
        let steps: Vec<i64> = lines.iter().map(|(step, _)| *step).collect();
        for (index, (step, line)) in lines.into_iter().enumerate() {
            sum = sum.wrapping_add(hash_bytes(format!("{}\0{}", line.0, line.1).as_bytes(), 0));
            record.by_subject.entry(line.0.clone()).or_default().push(line.1.clone());
            record.lines.push(line);
            record.last_step = step;
            if steps.get(index + 1) != Some(&step) {
                let count = record.lines.len();
                record.digests.push((format!("{count} {sum:016x}"), count, step));
            }
        }
        record.by_subject.values_mut().for_each(|lines| lines.sort_unstable());
        record.tables = Lines::tables(&record.lines).into_iter().map(str::to_owned).collect();
        record
    }

    /// Returns the lines that a shard of an older release has stored in full.
    pub(crate) fn of_shard(lines: Vec<Line>) -> Self {
        Lines::new(lines.into_iter().map(|line| (0, line)).collect())
    }

    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Returns the lines about the keys of a table, sorted as texts.
    pub(crate) fn of_table(&self, table: &str) -> Vec<String> {
        self.by_subject.get(&format!("{TABLE}{table}")).cloned().unwrap_or_default()
    }

    /// Returns the step up to which a shard with this digest holds the lines.
    pub(crate) fn step_of(&self, digest: &str) -> Option<i64> {
        self.digests.iter().find(|(other, ..)| other == digest).map(|(.., step)| *step)
    }

    /// Returns the step that has added the last lines; 0 if there are none.
    pub(crate) fn last_step(&self) -> i64 {
        self.last_step
    }

    /// Returns the number of the step that adds the next lines.
    pub(crate) fn next_step(&self) -> i64 {
        self.last_step + 1
    }

    /// Returns the digest of all lines.
    pub(crate) fn digest(&self) -> &str {
        self.digests.last().map_or("", |(digest, ..)| digest)
    }

    /// Returns the names of the tables that lines are about.
    pub(crate) fn tables(lines: &[Line]) -> HashSet<&str> {
        lines.iter().filter_map(|(subject, _)| subject.strip_prefix(TABLE)).collect()
    }

    /// Returns the names of the recorded tables that are not among these.
    pub(crate) fn undeclared_tables<'r>(
        &'r self,
        declared: &'r HashSet<&str>,
    ) -> impl Iterator<Item = &'r str> {
        self.tables.iter().map(String::as_str).filter(|table| !declared.contains(table))
    }

    /// Refuses work on all rows by a program that declares only these tables, if another model is recorded. The error
    /// names the effect on that model's rows, and the remedy: a newer release of the program.
    pub(crate) fn refuse_undeclared(
        &self,
        declared: impl Iterator<Item = &'static str>,
        (its_rows, work): (&str, &str),
    ) -> Result<()> {
        match self.undeclared_tables(&declared.collect()).next() {
            None => Ok(()),
            Some(table) => {
                let message = format!(
                    "the table's model is recorded, and this program does not have it: its rows {its_rows}; register the model, or \
                     {work} with the newest release of the program"
                );
                Err(Error::new(ErrorKind::Layout, message).in_table(table))
            }
        }
    }

    /// Refuses lines of an older release about a model that is not declared, if they contradict the recorded ones. They
    /// do if neither side holds all lines of the other. Lines about a declared model are compared with the declared ones.
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

    /// Returns the lines with this digest, if they end with a step.
    pub(crate) fn at(self: &Arc<Self>, digest: &str) -> Option<LinesOfShard> {
        let (_, count, _) = self.digests.iter().find(|(other, ..)| other == digest)?;
        Some(LinesOfShard { record: Arc::clone(self), count: *count, digest: digest.to_owned() })
    }
}

/// The lines that a shard has recorded.
pub(crate) struct LinesOfShard {
    record: Arc<Lines>,
    count: usize,
    pub(crate) digest: String,
}

impl LinesOfShard {
    pub(crate) fn lines(&self) -> &[Line] {
        self.record.lines.get(..self.count).unwrap_or_default()
    }
}

/// Returns the names of the shards that lines name, by place.
pub(crate) fn initial_shards(lines: &[Line]) -> Vec<String> {
    let mut shards: Vec<(usize, String)> =
        places(lines).map(|(place, name)| (place, name.to_owned())).collect();
    shards.sort_unstable();
    shards.into_iter().map(|(_, name)| name).collect()
}

/// Returns the shards that lines name, with their places.
pub(super) fn places(lines: &[Line]) -> impl Iterator<Item = (usize, &str)> {
    lines.iter().filter(|(subject, _)| subject == SHARDS).filter_map(|(_, line)| {
        let (place, name) = line.split_once(" is ")?;
        Some((place.parse().ok()?, name))
    })
}

/// Returns the line that names a shard and its place.
pub(super) fn shard_line(place: usize, name: &str) -> Line {
    (SHARDS.to_owned(), format!("{place} is {name}"))
}
