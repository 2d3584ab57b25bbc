//! The snapshots of a cluster that is copied: one of each database, all of one moment. Uses `links` and recovery.

use crate::cluster::change::links::{Links, Site, Wait};
use crate::cluster::change::switch::held;
use crate::driver::{Connection, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::own_tables;
use crate::transaction::Cluster;
use crate::transaction::commit::apply_decided_in;
use crate::transaction::facts;

/// Begins a transaction that reads on each connection of a source. They are kept until the connections are closed.
///
/// Meanwhile other connections keep writers away from all shards, also prepared transactions: so no transaction is in one
/// snapshot and not in another.
///
/// # Errors
/// [`ErrorKind::Busy`] if transactions hold a shard for longer than the timeout, or if one is in doubt.
pub(super) fn take(source: &Cluster, links: &Links, sites: &[Site<'_>]) -> Result<()> {
    if let Some(left) = source.recover()?.left().first() {
        let message = format!("a transaction over several databases of the source is not finished: {left}");
        return Err(Error::new(ErrorKind::Busy, message));
    }
    let lockers = Links::connect(source, sites.iter().copied())?;
    loop {
        let applied = lockers.transaction(sites, Wait::Timeout, || {
            for site in sites {
                links.at(*site)?.rollback()?;
            }
            let mut has_applied = false;
            for site in sites {
                let locker = lockers.at(*site)?;
                let locked = lock(source, locker, *site);
                has_applied |= locked.map_err(|error| held(error, locker, *site).on_shard(site.name))?;
            }
            // The snapshot must have what was applied: it is committed first.
            if has_applied {
                return Ok(true);
            }
            if source.0.control.facts()?.layout().epoch != source.0.recorded.epoch {
                let message = "the layout of the source was changed since it was opened; run the copy again";
                return Err(Error::new(ErrorKind::Moved, message));
            }
            for site in sites {
                begin(links.at(*site)?, *site).map_err(|error| error.on_shard(site.name))?;
            }
            Ok(false)
        })?;
        if !applied {
            return Ok(());
        }
    }
}

/// Keeps writers away from a shard until the transaction ends. Returns whether decided transactions were applied.
fn lock(source: &Cluster, locker: &dyn Connection, site: Site<'_>) -> Result<bool> {
    let (control, layout) = (&source.0.control, &source.0.layout);
    let applied = apply_decided_in(control, layout, site.place.database, locker)?;
    for table in layout.tables() {
        if let Some(sql) = site.place.dialect.lock_table(&site.place.names.table(table.name)) {
            locker.lock(&sql).map_err(|error| error.in_table(table.name))?;
        }
    }
    Ok(applied)
}

fn begin(reader: &dyn Connection, site: Site<'_>) -> Result<()> {
    if !reader.in_transaction() {
        reader.begin(Transaction::Read)?;
        if site.place.dialect.is_on_server() {
            // The shards are read one after the other.
            reader.run("SET LOCAL idle_in_transaction_session_timeout = 0")?;
        }
    }
    // The snapshot is that of the first statement that reads.
    let own = site.place.names.table(own_tables::SHARD);
    facts::texts(reader, &format!("SELECT shard FROM {own}"), &[]).map(drop)
}
