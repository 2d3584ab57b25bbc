//! Queries by columns with lookups: the entries are read first, and say which shards the rows are on.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::ControlFlow;

use super::Session;
use super::identity::IdKey;
use crate::error::Result;
use crate::lookup::{self, Placed};
use crate::plan::{Plan, Projection, Question, questions};
use crate::query::{Operand, Targeted, Whereabouts};
use crate::shards::Shard;
use crate::value::Value;

/// What lookups have answered: the shard of each value that has an entry, by the place of the entries' table.
type Answers = HashMap<(usize, IdKey), Option<Shard>>;

impl Session {
    /// A query or a bulk write with all that is known of it before its shards are chosen: the session's pin, and what
    /// lookups say of its values.
    pub(crate) fn located_query<'q, C: Clone + Targeted>(&mut self, core: &'q C) -> Result<Cow<'q, C>> {
        let mut core = self.pinned_query(core)?;
        if self.cluster.layout().lookups().is_empty() || core.wants_nothing() {
            return Ok(core);
        }
        let cluster = self.cluster.clone();
        let layout = cluster.layout();
        let questions = questions(core.target(), layout)?;
        if questions.is_empty() {
            return Ok(core);
        }
        let mut answers = Answers::new();
        for question in &questions {
            self.look_entries_up(question, &mut answers)?;
        }
        let find = |lookup: &Placed, operand: &Operand| {
            let Some(value) = lookup.asked(operand) else { return Whereabouts::Unknown };
            match answers.get(&(lookup.model, IdKey::of(&value))) {
                Some(Some(shard)) => Whereabouts::On(shard.clone()),
                // What names a shard that there is not leads nowhere.
                Some(None) | None => Whereabouts::Nowhere,
            }
        };
        let target = core.target();
        let located = target.predicate.located(target.table, layout.lookups(), &find);
        core.to_mut().target_mut().located = Some(located);
        Ok(core)
    }

    fn look_entries_up(&mut self, question: &Question<'_>, answers: &mut Answers) -> Result<()> {
        let cluster = self.cluster.clone();
        let (lookup, shards) = (question.lookup, cluster.shards());
        let plan = Plan::read(&question.entries, Projection::Rows, cluster.layout())?;
        self.visit_plan(&plan, |row| {
            let value = row.read(lookup::VALUE, |value| Ok(IdKey::of(&value)))?;
            let shard = row.read(lookup::SHARD, |name| match name {
                Value::Text(name) => Ok(shards.get(&name).cloned()),
                other => Err(crate::value::mismatch("text", &other)),
            })?;
            answers.insert((lookup.model, value), shard);
            Ok(ControlFlow::Continue(()))
        })
    }
}
