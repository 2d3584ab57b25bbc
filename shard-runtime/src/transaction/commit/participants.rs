//! Finishes the parts of a global transaction that are prepared on servers. Owns the retry on a new connection; uses the
//! coordinator's parts and `prepared`.

use super::coordinator::{CommitJob, Coordinator};
use crate::driver::Connection;
use crate::error::Result;

/// Commits or rolls back the prepared parts, all at once. Returns the result of each. The next session that begins to
/// write on a server finishes a part that failed here.
pub(super) fn finish_parts(coordinator: &mut Coordinator<'_>, commits: bool) -> Vec<(usize, Result<()>)> {
    let jobs = coordinator.parts().iter().map(|(database, part)| {
        let (cluster, database, part) = (coordinator.cluster.clone(), *database, part.clone());
        let job = move |connection: &dyn Connection| match part.finish(connection, commits) {
            // The connection may be lost although the server is reachable.
            Err(_) => part.finish(&*cluster.connect_aside(database, true)?, commits),
            finished => finished,
        };
        (database, Box::new(job) as CommitJob)
    });
    let jobs = jobs.collect();
    coordinator.at_once(jobs, true)
}
