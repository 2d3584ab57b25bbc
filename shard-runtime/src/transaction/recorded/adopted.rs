//! The layout of an adopted database: the declared lines as they are, and a change that gives all their keys to the only
//! shard. A merge of all shards would leave the same record.

use super::{Declared, Group, Line, Lines, RecordedLayout, root};
use crate::error::Result;
use crate::planner::Layout;
use crate::schema::{Rule, Table};

/// The record of a cluster of one shard whose models may declare lists and ranges over other shards.
pub(crate) struct AdoptedLayout {
    /// The initial lines.
    pub(crate) lines: Vec<Line>,
    /// The groups of tables.
    pub(crate) groups: Vec<(&'static str, String)>,
    /// The lines of groups whose keys are declared to be on other shards, each with its group.
    pub(crate) moved: Vec<(String, String)>,
}

impl AdoptedLayout {
    /// Builds the record of `layout`, which has one shard.
    pub(crate) fn new(layout: &Layout) -> Result<Self> {
        let lines = Declared::new(layout, &RecordedLayout::default())?.lines;
        let initial = RecordedLayout::new(numbered(&lines), None, &[], &[], Vec::new());
        let tables: Vec<&'static Table> = layout.tables().collect();
        let mut moved = Vec::new();
        for shard in layout.shards().iter() {
            for table in &tables {
                let Group { leader, .. } = initial.group(table, &tables, layout.shards());
                if table.name == leader && root(table).name == leader {
                    let lines = Rule::lines_on(&table.placement, shard.name());
                    moved.extend(lines.into_iter().map(|line| (leader.clone(), line)));
                }
            }
        }
        Ok(AdoptedLayout { groups: initial.new_groups(layout), lines, moved })
    }

    /// Returns the recorded layout that this record will give.
    pub(crate) fn record(&self) -> RecordedLayout {
        let moved = (1..).zip(&self.moved);
        let moved: Vec<(&str, u64, &str)> =
            moved.map(|(number, (group, line))| (group.as_str(), number, line.as_str())).collect();
        let groups: Vec<(&str, &str)> =
            self.groups.iter().map(|(table, group)| (*table, group.as_str())).collect();
        let epoch = (!moved.is_empty()).then_some(EPOCH);
        RecordedLayout::new(numbered(&self.lines), epoch, &[], &groups, moved)
    }
}

/// The epoch after the change.
pub(crate) const EPOCH: u64 = 2;

/// Returns the lines as those of the first step.
fn numbered(lines: &[Line]) -> Lines {
    Lines::new(lines.iter().map(|line| (1, line.clone())).collect())
}
