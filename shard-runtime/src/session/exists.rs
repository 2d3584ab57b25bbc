//! How a session finds out whether there is a row: no shard is asked for more than the first.

use std::ops::ControlFlow;
use std::time::Instant;

use super::Session;
use crate::error::Result;
use crate::plan::{Plan, Projection};
use crate::query::SelectCore;

impl Session {
    /// Whether a select finds a row. Where a large shard's part is worth a thread, all shards are asked at once, and
    /// stopped where one of them, after those before it, has it; otherwise they are asked in turn, up to that one.
    pub(crate) fn finds_a_row(&mut self, core: &SelectCore) -> Result<bool> {
        let cluster = self.cluster.clone();
        let core = self.pinned_query(core, |core| &mut core.target)?;
        let plan = Plan::read(&core, Projection::Existence, cluster.layout())?;
        let Some(first) = plan.steps.first() else { return Ok(false) };
        // What was slow on a small database was waiting for something else, and is not asked of shards in vain.
        let at_once = plan.steps.len() > 1 && self.is_worth_waking(first) && self.is_large(first);
        let together = if at_once { plan.steps.len() } else { 1 };
        let (mut left_out, mut found) = (core.offset, false);
        let (began, mut asked) = (Instant::now(), 0);
        for steps in plan.steps.chunks(together) {
            let visited = self.run(&plan, steps, |_| {
                found = left_out == 0;
                left_out = left_out.saturating_sub(1);
                Ok(if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            });
            self.noticed(visited)?;
            asked += 1;
            if found {
                break;
            }
        }
        if !at_once && plan.steps.len() > 1 {
            cluster.workers().remember(&first.statement.sql, began.elapsed() / asked);
        }
        Ok(found)
    }
}
