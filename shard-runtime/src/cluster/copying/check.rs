//! The checks of two clusters before a copy.

use crate::cluster::change::links::{Endpoint, Links};
use crate::cluster::migrate::RecordedSteps;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Table;
use crate::transaction::Cluster;
use crate::transaction::change::is_running;

/// Refuses a source and a target that are the same cluster, or whose models differ.
pub(super) fn clusters(source: &Cluster, target: &Cluster) -> Result<()> {
    if source.0.control.cluster == target.0.control.cluster {
        let message = "the source and the target of the copy are the same cluster; make another one with `create`, with databases of \
                       its own and its own `control`";
        return Err(Error::new(ErrorKind::Configuration, message));
    }
    let of_source = "the source has the model `{}`, and the other cluster was opened without it";
    let of_target = "the other cluster has the model `{}`, and the source was opened without it";
    for (one, other, what) in [(source, target, of_source), (target, source, of_target)] {
        let is_known = |table: &&Table| other.0.layout.tables().any(|own| own.is(table));
        if let Some(table) = one.0.layout.tables().find(|table| !is_known(table)) {
            let message = format!("{}; open both with the same models", what.replace("{}", table.model));
            return Err(Error::new(ErrorKind::UnknownModel, message).in_table(table.name));
        }
    }
    [source, target].into_iter().try_for_each(whole)
}

/// Refuses a cluster with rows of models that this program lacks, and databases in memory, which no other connection can read.
fn whole(cluster: &Cluster) -> Result<()> {
    let declared = cluster.0.layout.tables().map(|table| table.name);
    cluster.0.recorded.lines.refuse_undeclared(declared, ("would not be copied", "copy"))?;
    for endpoint in super::endpoints(cluster, false)? {
        if endpoint.is_private() {
            let message = "a shard in memory cannot be copied, nor be copied to; keep the cluster in files or on servers";
            return Err(Error::new(ErrorKind::Configuration, message).on_shard(endpoint.name));
        }
    }
    Ok(())
}

/// Refuses clusters whose layout is being changed, or has changed since the target was opened.
pub(super) fn changes(source: &Cluster, target: &Cluster) -> Result<()> {
    if let Some(running) = source.0.control.changes()?.iter().find(|change| change.is_running()) {
        return Err(is_running(running));
    }
    if target.0.control.facts()?.layout().epoch != target.0.recorded.epoch {
        let message = "the layout of the other cluster was changed since it was opened; open it again";
        return Err(Error::new(ErrorKind::Moved, message));
    }
    Ok(())
}

/// Refuses shards whose migrations are not at the same step. Returns the steps that the target records as its own. A target that
/// has run no step has tables of the current models.
pub(super) fn steps(
    links: &Links,
    sources: &[Endpoint<'_>],
    targets: &[Endpoint<'_>],
) -> Result<RecordedSteps> {
    let read = |endpoint: &Endpoint<'_>| {
        let steps = RecordedSteps::read(links.at(*endpoint)?, endpoint.location);
        steps.map_err(|error| error.on_shard(endpoint.name))
    };
    let mut all: Option<RecordedSteps> = None;
    for endpoint in sources {
        let steps = read(endpoint)?;
        if let Some(step) = steps.unfinished() {
            let message = format!(
                "the migration step {step} has not ended on the source; run `migrate` there, and copy it then"
            );
            return Err(Error::new(ErrorKind::Schema, message).on_shard(endpoint.name));
        }
        let first = all.get_or_insert_with(|| steps.clone());
        if let Some(step) = first.other_than(&steps) {
            let message = format!(
                "the migration step {step} was run on some shards of the source only; run `migrate` there"
            );
            return Err(Error::new(ErrorKind::Schema, message).on_shard(endpoint.name));
        }
    }
    let all = all.unwrap_or_default();
    for endpoint in targets {
        let steps = read(endpoint)?;
        if let Some(step) = all.other_than(&steps).filter(|_| !steps.is_empty()) {
            let message = format!(
                "the migration step {step} was run on only one of the clusters: the source has run {}, this shard {}; run `migrate` \
                 on both with the same program",
                all.names(),
                steps.names()
            );
            return Err(Error::new(ErrorKind::Schema, message).on_shard(endpoint.name));
        }
    }
    Ok(all)
}
