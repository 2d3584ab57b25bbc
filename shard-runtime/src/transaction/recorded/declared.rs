//! The layout that a program declares, compared with the recorded lines.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use super::RecordedLayout;
use super::lines::{Line, places, shard_line, subject_of};
use crate::driver::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::schema::key::placement;
use crate::schema::{DeclaredLine, Owner, Rule, Shard, ShardRole, Shards, Table};

/// The layout as the program declares it, with the digests of records that were compared with it.
pub(crate) struct Declared {
    pub(crate) lines: Vec<Line>,
    /// The new lines of groups that have moved, each with the name of its group.
    pub(crate) moved: Vec<(String, String)>,
    set: HashSet<Line>,
    pub(super) subjects: HashSet<String>,
    /// For each record that agrees, whether it holds all declared lines.
    agreeing: Mutex<HashMap<(Mode, String), bool>>,
}

impl Declared {
    /// Returns the lines that a program declares for a cluster with this record. Lines of shards that a change has
    /// retired count as declared: the program need not configure those shards.
    ///
    /// # Errors
    /// [`ErrorKind::Layout`] if a model contradicts the record of a change.
    pub(crate) fn new(layout: &Layout, recorded: &RecordedLayout) -> Result<Self> {
        let shards = layout.shards();
        let initial: Vec<Line> = places(recorded.lines.lines())
            .filter(|(_, name)| recorded.role(name) == Some(ShardRole::Retired))
            .map(|(place, name)| shard_line(place, name))
            .collect();
        // The record of a change names the shards that it has filled.
        let is_initial = |shard: &&Shard| !recorded.is_of_a_change(shard.name());
        let order = shards.serving().filter(is_initial).map(|shard| shard_line(shard.place(), shard.name()));
        let mut lines: Vec<Line> = initial.into_iter().chain(order).collect();
        let tables: Vec<&'static Table> = layout.tables().collect();
        let mut moved = Vec::new();
        for &table in &tables {
            let declared = recorded.declared_lines(table, &tables, shards, &mut moved)?;
            lines.extend(declared.into_iter().map(|line| (subject_of(table), line)));
        }
        moved.sort_unstable();
        moved.dedup();
        let set = lines.iter().cloned().collect();
        let subjects = lines.iter().map(|(subject, _)| subject.clone()).collect();
        Ok(Declared { lines, moved, set, subjects, agreeing: Mutex::default() })
    }

    /// Compares recorded lines with the declared ones: each recorded line must be declared. A model without any recorded
    /// line is new. `create` may add lines for keys that had no shard yet. Returns whether all declared lines are
    /// recorded. Lines with the same digest are compared once.
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
    let message = if let Some(changed @ (subject, was)) = changed {
        let instead = new.find(|(other, _)| other == subject).map_or_else(
            || "which is not declared any more; declare it again".to_owned(),
            |(_, is)| format!("but `{is}` is declared; declare the recorded line"),
        );
        match places(std::slice::from_ref(changed)).next() {
            Some((place, name)) => {
                format!("the cluster has a shard `{name}` (place {place}), which is not configured; add it")
            }
            None => format!("{subject}: the cluster was created with `{was}`, {instead}"),
        }
    } else if let Some((subject, is)) =
        new.find(|(subject, _)| mode == Mode::Open || with_fallback.contains(subject.as_str()))
    {
        let remedy = match with_fallback.contains(subject.as_str()) {
            true => "remove the line: its keys are on the shard of `otherwise`",
            false => "`create` adds it",
        };
        format!("{subject}: `{is}` is declared, but it is not recorded; {remedy}")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Layout, message))
}

/// The lines that a table of a moved group declares.
#[derive(Default)]
pub(super) struct MovedLines {
    /// The recorded lines, and those of values that have no shard yet.
    pub(super) initial: Vec<String>,
    /// The lines of the group's rule for the new values.
    pub(super) new: Vec<String>,
}

impl MovedLines {
    /// # Errors
    /// [`ErrorKind::Layout`] if a declared line is neither recorded by `create` nor by a change.
    pub(super) fn new(
        table: &Table,
        rule: &Rule,
        recorded: Vec<String>,
        epoch: u64,
        shards: &Shards,
    ) -> Result<Self> {
        let mut lines = MovedLines { initial: recorded, new: Vec::new() };
        let known: HashSet<String> = lines.initial.iter().cloned().collect();
        for DeclaredLine { line, rule_line, shard, owner } in rule.declared_lines(&table.placement, shards) {
            match owner {
                _ if known.contains(&line) => {}
                Owner::Shard(now) if now == shard => {}
                Owner::None => {
                    lines.initial.push(line);
                    lines.new.push(rule_line);
                }
                Owner::Shard(_) | Owner::Several => {
                    let message = format!(
                        "`{line}` is declared, but in epoch {epoch} of the recorded layout these keys are on {owner}; declare \
                         what the cluster was created with, or the recorded lines"
                    );
                    return Err(Error::new(ErrorKind::Layout, message).in_table(table.name));
                }
            }
        }
        Ok(lines)
    }
}
