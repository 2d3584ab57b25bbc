//! Triggers of changes that do not run any more, as in a database that was restored from a copy or edited. Uses `links`,
//! `capture` and the fence.

use super::capture::CAPTURE;
use super::links::{Endpoint, endpoint};
use crate::driver::Mode;
use crate::error::Result;
use crate::transaction::Cluster;
use crate::transaction::change::{ChangeRecord, ChangeState, FENCE, triggers};

/// Triggers of one kind on a shard.
pub(crate) struct Leftover {
    pub(crate) shard: String,
    pub(crate) triggers: Vec<String>,
    /// Whether they refuse writes. Other triggers record changed rows.
    pub(crate) is_fence: bool,
    /// The decided change that will remove them when it is finished.
    pub(crate) change: Option<u64>,
}

impl Cluster {
    /// Returns the triggers that no running change needs, on the cluster's shards and on configured retired ones.
    pub(crate) fn leftovers(&self) -> Result<Vec<Leftover>> {
        let state = &self.0;
        let is_absent = |name: &str| state.absent.iter().any(|(absent, _)| absent == name);
        let names = state.layout.shards().iter().map(|shard| shard.name()).filter(|name| !is_absent(name));
        let names = names.chain(state.retired.iter().map(|retired| retired.name.as_str()));
        // A change may begin or end while triggers are read.
        let mut changes = state.control.changes()?;
        let mut found = Vec::new();
        for name in names {
            let endpoint = endpoint(self, name, false)?;
            let read = read(endpoint, state.timeout).map_err(|error| error.on_shard(name))?;
            found.extend(read.into_iter().map(|(is_fence, triggers)| (name.to_owned(), is_fence, triggers)));
        }
        changes.extend(state.control.changes()?);
        let left = found.into_iter().filter_map(|(shard, is_fence, triggers)| {
            let sources = || changes.iter().filter(|change| change.has_source(&shard));
            let is_needed = |change: &ChangeRecord| match is_fence {
                true => change.state != ChangeState::Retired,
                false => change.is_running(),
            };
            let change = sources().find(|change| change.state == ChangeState::Served);
            let change = change.map(|change| change.number);
            (!sources().any(is_needed)).then_some(Leftover { shard, triggers, is_fence, change })
        });
        Ok(left.collect())
    }
}

/// Reads the triggers of a shard, fences and others.
fn read(endpoint: Endpoint<'_>, timeout: std::time::Duration) -> Result<Vec<(bool, Vec<String>)>> {
    let connection = endpoint.driver().connect_waiting(Mode::Open, timeout)?;
    let mut found = Vec::new();
    for (is_fence, beginning) in [(true, FENCE), (false, CAPTURE)] {
        let triggers = triggers(&*connection, endpoint.location, beginning)?;
        if !triggers.is_empty() {
            found.push((is_fence, triggers));
        }
    }
    Ok(found)
}
