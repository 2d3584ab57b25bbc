//! The end of a decided change on its targets, after which sessions may use them. Any process that opens the cluster runs
//! it, if the one that has decided has not. Uses `part` and the cluster's state.

use super::{ChangeRecord, ChangeState, Part, Role, lock_part, read_part, write_part};
use crate::driver::{Connection, TransactionMode};
use crate::error::{Error, Result};
use crate::planner::Location;
use crate::transaction::Cluster;

/// Records in the targets of all decided changes that they serve.
///
/// # Errors
/// Those of the databases, with the shard's name.
pub(crate) fn serve_decided(cluster: &Cluster) -> Result<()> {
    let decided = cluster.0.changes.iter().filter(|change| change.state == ChangeState::Decided);
    decided.into_iter().try_for_each(|change| serve_targets(cluster, change))
}

/// Records in the targets of a decided change that they serve.
///
/// # Errors
/// Those of the databases, with the shard's name.
pub(crate) fn serve_targets(cluster: &Cluster, change: &ChangeRecord) -> Result<()> {
    for target in &change.targets {
        let Some(shard) = cluster.0.layout.shards().get(target) else { continue };
        let location = cluster.0.layout.location(shard.index())?;
        let Some(database) = cluster.0.databases.get(location.database) else { continue };
        let connection = database.driver.connect_durable(cluster.0.timeout)?;
        serve(&*connection, location, change.number).map_err(|error| error.on_shard(target))?;
    }
    cluster.0.control.advance_change(change.number, ChangeState::Served)
}

fn serve(connection: &dyn Connection, location: &Location, change: u64) -> Result<()> {
    let is_incoming = |connection: &dyn Connection| {
        let part = lock_part(connection, location)?;
        Ok::<_, Error>(part.filter(|part| part.role == Role::Incoming && part.change == change))
    };
    if read_part(connection, location)?.is_none_or(|part| part.role != Role::Incoming) {
        return Ok(());
    }
    connection.begin(TransactionMode::Write)?;
    let served = is_incoming(connection).and_then(|part| match part {
        Some(part) => write_part(connection, location, Some(Part { role: Role::Serving, ..part })),
        None => Ok(()),
    });
    let served = served.and_then(|()| connection.commit());
    served.inspect_err(|_| {
        let _ = connection.rollback();
    })
}
