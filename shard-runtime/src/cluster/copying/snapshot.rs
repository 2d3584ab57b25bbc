//! The snapshots of a cluster that is copied: one of each database, all of one moment. Uses `links` and recovery.

use crate::cluster::change::links::{Endpoint, Links, LockWait};
use crate::cluster::change::switch::with_lock_holders;
use crate::driver::{Connection, TransactionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::own_tables;
use crate::transaction::Cluster;
use crate::transaction::commit::apply_decided_in;
use crate::transaction::facts;

/// Begins a read transaction on each connection of a source. They last until the connections are closed.
///
/// Meanwhile other connections lock all shards against writers, also against prepared transactions. So no transaction is in one
/// snapshot and not in another.
///
/// # Errors
/// [`ErrorKind::Busy`] if transactions hold a shard for longer than the timeout, or if one is in doubt.
pub(super) fn take(source: &Cluster, links: &Links, endpoints: &[Endpoint<'_>]) -> Result<()> {
    if let Some(left) = source.recover()?.left().first() {
        let message = format!("a transaction over several databases of the source is not finished: {left}");
        return Err(Error::new(ErrorKind::Busy, message));
    }
    let lockers = Links::connect(source, endpoints.iter().copied())?;
    loop {
        let applied = lockers.transaction(endpoints, LockWait::Timeout, || {
            for endpoint in endpoints {
                links.at(*endpoint)?.rollback()?;
            }
            let mut has_applied = false;
            for endpoint in endpoints {
                let locker = lockers.at(*endpoint)?;
                let locked = lock(source, locker, *endpoint);
                has_applied |= locked
                    .map_err(|error| with_lock_holders(error, locker, *endpoint).on_shard(endpoint.name))?;
            }
            // The snapshot must contain the applied transactions: they are committed first.
            if has_applied {
                return Ok(true);
            }
            if source.0.control.facts()?.layout().epoch != source.0.recorded.epoch {
                let message = "the layout of the source was changed since it was opened; run the copy again";
                return Err(Error::new(ErrorKind::Moved, message));
            }
            for endpoint in endpoints {
                begin(links.at(*endpoint)?, *endpoint).map_err(|error| error.on_shard(endpoint.name))?;
            }
            Ok(false)
        })?;
        if !applied {
            return Ok(());
        }
    }
}

/// Blocks writers of a shard until the transaction ends. Returns whether decided transactions were applied.
fn lock(source: &Cluster, locker: &dyn Connection, endpoint: Endpoint<'_>) -> Result<bool> {
    let (control, layout) = (&source.0.control, &source.0.layout);
    let applied = apply_decided_in(control, layout, endpoint.location.database, locker)?;
    for table in layout.tables() {
        if let Some(sql) = endpoint.location.dialect.lock_table(&endpoint.location.names.table(table.name)) {
            locker.lock(&sql).map_err(|error| error.in_table(table.name))?;
        }
    }
    Ok(applied)
}

fn begin(reader: &dyn Connection, endpoint: Endpoint<'_>) -> Result<()> {
    if !reader.in_transaction() {
        reader.begin(TransactionMode::Read)?;
        if endpoint.location.dialect.is_on_server() {
            // The connection is idle while rows of other shards are read.
            reader.run("SET LOCAL idle_in_transaction_session_timeout = 0")?;
        }
    }
    // The first statement that reads takes the snapshot.
    let own = endpoint.location.names.table(own_tables::SHARD);
    facts::texts(reader, &format!("SELECT shard FROM {own}"), &[]).map(drop)
}
