//! The end of a decided change: removes its triggers and records, and renames the shards in lookup entries of moved rows. Uses
//! `unit_of_work` for the entries of serving shards.

use super::links::{Links, LockWait};
use super::{Change, capture, target};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{PlacedLookup, ShardSet};
use crate::transaction::Cluster;
use crate::transaction::change::{ChangeState, hidden, hidden_name, retire_part, serve_targets};
use crate::unit_of_work::UnitOfWork;

impl Change {
    /// Finishes a decided change: the sources stop recording changes, foreign keys of the targets are validated, and lookups name
    /// the targets. Sessions can run meanwhile. The sources keep their rows under other names until [`retire`](Change::retire).
    ///
    /// # Errors
    /// [`ErrorKind::Stale`] if the change is not decided; those of the databases. The call can be repeated.
    pub fn finish(&mut self) -> Result<()> {
        self.require_decided()?;
        serve_targets(&self.cluster, &self.record)?;
        self.cluster.reload()?;
        // A missing source has nothing to remove.
        for (source, links) in self.existing(&self.record.sources, true)? {
            let connection = links.at(source)?;
            let removed =
                links.transaction(&[source], LockWait::Durable, || capture::remove(connection, source));
            removed.map_err(|error| error.on_shard(source.name))?;
        }
        let links = Links::connect(&self.cluster, self.targets()?)?;
        for target in self.targets()? {
            let connection = links.at(target)?;
            let removed =
                links.transaction(&[target], LockWait::Durable, || target::forget_copy(connection, target));
            removed
                .and_then(|()| target::validate(connection, target))
                .and_then(|()| target::analyze(connection, target, &self.tables()))
                .map_err(|error| error.on_shard(target.name))?;
        }
        let latest = self.cluster.latest();
        latest.0.layout.lookups().iter().try_for_each(|lookup| self.rename_entries(latest, lookup))
    }

    /// Drops the rows that the sources still hold under other names. After that a source's database is not needed any more, and
    /// can be removed from the configuration of all programs.
    ///
    /// # Errors
    /// - [`ErrorKind::Stale`] if the change is not decided.
    /// - [`ErrorKind::Busy`] if global transactions are not finished.
    /// - Those of the databases.
    pub fn retire(mut self) -> Result<()> {
        self.finish()?;
        if let Some(left) = self.cluster.latest().recover()?.left().first() {
            let message = format!(
                "a global transaction over servers is not finished, and a source may decide it: {left}"
            );
            return Err(Error::new(ErrorKind::Busy, message));
        }
        for (source, links) in self.existing(&self.record.sources, true)? {
            let connection = links.at(source)?;
            let dropped = links.transaction(&[source], LockWait::Durable, || {
                let mut tables = hidden(connection, source.location)?;
                tables.sort_unstable();
                // Children first.
                for (at, _) in tables.into_iter().rev() {
                    let name = source.location.names.table(&hidden_name(self.number(), at));
                    connection.lock(&format!("DROP TABLE IF EXISTS {name}"))?;
                }
                retire_part(connection, source.location)
            });
            dropped.map_err(|error| error.on_shard(source.name))?;
        }
        self.cluster.0.control.advance_change(self.number(), ChangeState::Retired)
    }

    fn require_decided(&mut self) -> Result<()> {
        match self.cluster.0.control.change(self.number())? {
            Some(now) if now.is_decided() => {
                self.record = now;
                Ok(())
            }
            Some(now) => {
                let message = format!("change {} is not decided, it is {}", now.number, now.state.name());
                Err(Error::new(ErrorKind::Stale, message))
            }
            None => Err(self.has_ended(None)),
        }
    }

    /// Updates the lookup entries of moved rows: each names the shard that holds its row now.
    fn rename_entries(&self, cluster: &Cluster, lookup: &PlacedLookup) -> Result<()> {
        let shards = cluster.0.layout.shards();
        let targets: Vec<usize> =
            self.record.targets.iter().flat_map(|target| shards.now_on(target)).collect();
        for &shard in ShardSet::all(shards).indexes() {
            for source in &self.record.sources {
                let (mut work, mut after) = (UnitOfWork::new(cluster.clone(), None), None);
                loop {
                    after = work.rename_entries(lookup, (shard, source), &targets, after.as_ref())?;
                    if after.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}
