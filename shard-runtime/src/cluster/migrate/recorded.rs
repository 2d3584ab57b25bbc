//! The steps that a shard has run, for a copy to another cluster: both have to have run the same ones.

use super::state::{self, StepState};
use super::status::StepPhase;
use crate::driver::Connection;
use crate::error::Result;
use crate::planner::Location;

/// The steps that a shard has run, ascending by number.
#[derive(Clone, Debug, Default)]
pub(in crate::cluster) struct RecordedSteps(Vec<StepState>);

impl RecordedSteps {
    pub(in crate::cluster) fn read(connection: &dyn Connection, location: &Location) -> Result<Self> {
        state::read(connection, location).map(RecordedSteps)
    }

    pub(in crate::cluster) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns a step that is not done, apart from its contract.
    pub(in crate::cluster) fn unfinished(&self) -> Option<String> {
        self.0.iter().find(|step| step.phase < StepPhase::Ready).map(name)
    }

    /// Returns the first step that only one of the two has run. Additions that are derived from the models are not steps.
    pub(in crate::cluster) fn other_than(&self, other: &Self) -> Option<String> {
        let lacks = |steps: &Self, step: &StepState| {
            !steps.0.iter().any(|own| (own.number, &own.name) == (step.number, &step.name))
        };
        let own = self.0.iter().filter(|step| lacks(other, step));
        let all = own.chain(other.0.iter().filter(|step| lacks(self, step)));
        all.filter(|step| step.number > 0).min_by_key(|step| step.number).map(name)
    }

    pub(in crate::cluster) fn names(&self) -> String {
        let names: Vec<String> = self.0.iter().filter(|step| step.number > 0).map(name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// Returns the steps that all of these shards have run, contracts aside.
    pub(in crate::cluster) fn common(mut all: Vec<RecordedSteps>) -> Self {
        let is_run = |steps: &RecordedSteps, of: &StepState| {
            steps.0.iter().any(|step| step.number == of.number && step.phase >= StepPhase::Ready)
        };
        let mut common = all.pop().unwrap_or_default();
        all.push(common.clone());
        common.0.retain(|step| all.iter().all(|steps| is_run(steps, step)));
        common
    }

    /// Records the steps on a target of a change that has run none: its tables are as the models declare them. Contracts are left
    /// to be run: a model may declare a column as an `Option` that the contract makes NOT NULL. In a transaction.
    pub(in crate::cluster) fn record_but_for_contracts(
        mut self,
        connection: &dyn Connection,
        location: &Location,
    ) -> Result<()> {
        if self.is_empty() || !state::read(connection, location)?.is_empty() {
            return Ok(());
        }
        connection.run(&state::make(location))?;
        self.0.iter_mut().try_for_each(|step| {
            step.phase = if step.does.is_empty() { StepPhase::Done } else { StepPhase::Ready };
            state::write(connection, location, step)
        })
    }

    /// Records the steps on a shard that has run none, because its tables have the schema after the last step. It runs in the
    /// caller's transaction.
    pub(in crate::cluster) fn record(&self, connection: &dyn Connection, location: &Location) -> Result<()> {
        if self.is_empty() || !state::read(connection, location)?.is_empty() {
            return Ok(());
        }
        connection.run(&state::make(location))?;
        let done = self.0.iter().map(|step| StepState { phase: StepPhase::Done, ..step.clone() });
        { done }.try_for_each(|step| state::write(connection, location, &step))
    }
}

fn name(step: &StepState) -> String {
    format!("{} `{}`", step.number, step.name)
}
