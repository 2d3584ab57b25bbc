//! Changes of the layout in the records of the control database and the shards, as far as sessions need them.
//! `cluster::change` makes the change itself. Uses `driver`, `facts`, `recorded` and the layers below.
//!
//! A change empties *source* shards into *target* shards. Control records the plan, the *attempt* and the state. Each of
//! these shards records its own part with the attempt ([`Part`]), in a row that every transaction of a change locks
//! first. A process that continues a change takes a new attempt, which stops the one before it.

mod copied;
mod fence;
mod follow;
mod in_control;
mod key_move;
mod part;
mod serve;

pub(crate) use copied::{CopyRecord, claim_copy, end_copy, enter_copy, guard, let_write};
#[cfg(feature = "admin")]
pub(crate) use fence::FENCE;
pub(crate) use fence::{
    drop_triggers, hidden, hidden_name, hide, is_gone, make_fence, remove_fence, rename, retire_part,
    retired_by, triggers, unfence,
};
pub(crate) use follow::{Switching, refuse_serving};
pub(crate) use in_control::is_running;
pub(crate) use key_move::{KeyMoveRecord, expected, refuse_key_move};
pub(crate) use part::{Part, Role, claim_part, lock_part, read_part, write_part};
pub(crate) use serve::{serve_decided, serve_targets};

use std::time::Duration;

use super::facts::{Facts, Kind};

/// A change that control has recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChangeRecord {
    /// Never reused.
    pub(crate) number: u64,
    /// The attempt that may work on it. Numbers of attempts are never reused, not even for another change.
    pub(crate) attempt: u64,
    pub(crate) state: ChangeState,
    /// How long writers may wait for the switch.
    pub(crate) budget: Duration,
    /// The epoch for which the plan was made.
    pub(crate) epoch: u64,
    pub(crate) sources: Vec<String>,
    pub(crate) targets: Vec<String>,
    /// The lines that change, by placement group: all lines of the group after the change.
    pub(crate) groups: Vec<(String, Vec<String>)>,
}

/// The state of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChangeState {
    /// Rows are copied. The sources serve, unless they have fences of the attempt.
    Copying,
    /// The change is being cancelled: its remains on sources and targets are removed.
    Cancelling,
    /// The layout has changed. The targets serve once they have recorded that.
    Decided,
    /// The targets serve. The sources hold their rows under other names.
    Served,
    /// The rows on the sources were dropped.
    Retired,
}

impl ChangeState {
    const ALL: [ChangeState; 5] = [
        ChangeState::Copying,
        ChangeState::Cancelling,
        ChangeState::Decided,
        ChangeState::Served,
        ChangeState::Retired,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            ChangeState::Copying => "copying",
            ChangeState::Cancelling => "cancelling",
            ChangeState::Decided => "decided",
            ChangeState::Served => "served",
            ChangeState::Retired => "retired",
        }
    }
}

impl ChangeRecord {
    /// Returns whether it excludes other changes, migrations and `create`.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, ChangeState::Copying | ChangeState::Cancelling | ChangeState::Decided)
    }

    pub(crate) fn is_decided(&self) -> bool {
        matches!(self.state, ChangeState::Decided | ChangeState::Served | ChangeState::Retired)
    }

    pub(crate) fn has_source(&self, shard: &str) -> bool {
        self.sources.iter().any(|source| source == shard)
    }

    /// Returns the facts that record it, each with its name and its value.
    fn facts(&self) -> Vec<(String, String)> {
        let ChangeRecord { number, attempt, state, budget, epoch, .. } = self;
        let mut facts =
            vec![(format!("{number}"), format!("{} {attempt} {epoch} {}", state.name(), budget.as_millis()))];
        let shards = [("source", &self.sources), ("target", &self.targets)];
        for (what, names) in shards {
            let named = names.iter().enumerate();
            facts.extend(named.map(|(at, name)| (format!("{number} {what} {at}"), name.clone())));
        }
        for (at, (group, lines)) in self.groups.iter().enumerate() {
            facts.push((format!("{number} group {at}"), group.clone()));
            let lines = lines.iter().enumerate();
            facts
                .extend(lines.map(|(line_at, line)| (format!("{number} line {at} {line_at}"), line.clone())));
        }
        facts
    }

    /// Reads all changes, ascending by number.
    pub(crate) fn all(facts: &Facts) -> Vec<Self> {
        let mut changes: Vec<Self> = Vec::new();
        for (name, value) in facts.of(Kind::Change) {
            let (Ok(number), mut parts) = (name.parse(), value.split(' ')) else { continue };
            let state =
                parts.next().and_then(|word| ChangeState::ALL.into_iter().find(|state| state.name() == word));
            let mut numbers = parts.map_while(|part| part.parse::<u64>().ok());
            let (Some(state), Some(attempt), Some(epoch), Some(budget)) =
                (state, numbers.next(), numbers.next(), numbers.next())
            else {
                continue;
            };
            let listed = |what: &str| {
                let fact = |at: usize| facts.get(Kind::Change, &format!("{number} {what} {at}"));
                (0..).map_while(|at| fact(at).map(str::to_owned)).collect::<Vec<String>>()
            };
            let groups = listed("group").into_iter().enumerate();
            changes.push(ChangeRecord {
                number,
                attempt,
                state,
                budget: Duration::from_millis(budget),
                epoch,
                sources: listed("source"),
                targets: listed("target"),
                groups: groups.map(|(at, group)| (group, listed(&format!("line {at}")))).collect(),
            });
        }
        changes.sort_unstable_by_key(|change| change.number);
        changes
    }
}

#[cfg(test)]
mod tests;
