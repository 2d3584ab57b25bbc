//! The end of a session's transaction: chooses between the coordinator and sequential commits. Owns the commits that need
//! no decision; uses the session's database transactions.

use super::coordinator::{CommitFailure, Coordinator, Participants, check_constraints};
use super::{Commit, Committed, DecisionRow};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::ShardSet;
use crate::sparse::Sparse;
use crate::transaction::{Cluster, DatabaseTransaction, Transactions};

impl Transactions {
    /// Commits every database that was written.
    pub(crate) fn commit_databases(&mut self) -> Result<Committed> {
        let row = self.decision_row.take();
        let Transactions { cluster, databases, commit, .. } = self;
        let changed = databases.used().filter(|(_, transaction)| transaction.has_changed());
        let shards: usize = changed.map(|(_, transaction)| transaction.written.len()).sum();
        let committed = commit_all(cluster, databases, *commit, row);
        if committed.is_ok() {
            cluster.counters().count_commit(shards);
        }
        committed.map_err(|undecided| match undecided {
            CommitFailure::Refused(error) => error,
            CommitFailure::Ended(error) => {
                self.abort(&error);
                error
            }
        })
    }
}

fn commit_all(
    cluster: &Cluster,
    databases: &mut Sparse<DatabaseTransaction>,
    commit: Commit,
    row: Option<DecisionRow>,
) -> Result<Committed, CommitFailure> {
    let (mut durable, mut others): (Vec<usize>, Vec<usize>) = Default::default();
    for (database, transaction) in databases.used_mut() {
        match (transaction.has_changed(), cluster.outlives_the_process(database)) {
            (true, true) => durable.push(database),
            (true, false) => others.push(database),
            // A transaction that only read can be rolled back.
            (false, _) => transaction.rollback(),
        }
    }
    match (commit, durable.len()) {
        (Commit::Atomic, 2..) => commit_together(cluster, databases, durable, others, row),
        (Commit::Atomic, _) => {
            // A reader may block the commit of a database in memory, so commit these first.
            others.append(&mut durable);
            if others.len() > 1 {
                check_constraints(cluster, databases, &others).map_err(CommitFailure::Ended)?;
            }
            commit_sequentially(cluster, databases, &others, ShardSet::none())
        }
        (Commit::BestEffort, _) => {
            durable.append(&mut others);
            durable.sort_unstable();
            commit_sequentially(cluster, databases, &durable, ShardSet::none())
        }
    }
}

/// Commits several databases that outlive the process by one decision, and then those in memory.
fn commit_together(
    cluster: &Cluster,
    databases: &mut Sparse<DatabaseTransaction>,
    durable: Vec<usize>,
    others: Vec<usize>,
    row: Option<DecisionRow>,
) -> Result<Committed, CommitFailure> {
    // Read before the commit, which resets each database's transaction.
    let written = durable.iter().filter_map(|&database| Some(&databases.get(database)?.written));
    let shards = written.fold(ShardSet::none(), |shards, written| union(&shards, written));
    let (files, servers) =
        durable.into_iter().partition(|database| cluster.dialect(*database).keeps_redo_records());
    let participants = Participants { files, servers, others: others.clone() };
    let pending = Coordinator::new(cluster, databases, participants, row).run()?;
    match commit_sequentially(cluster, databases, &others, shards) {
        Ok(_) => Ok(Committed { pending }),
        Err(CommitFailure::Ended(error)) if !pending.is_empty() => {
            let names: Vec<&str> = pending.iter().filter_map(Error::shard).collect();
            let remedy = format!("written later on {}: call `recover`", names.join(", "));
            Err(CommitFailure::Ended(error.with_remedy(&remedy)))
        }
        failed => failed,
    }
}

/// Commits the databases sequentially, each with its own commit. `committed` are the shards that are committed already.
fn commit_sequentially(
    cluster: &Cluster,
    transactions: &mut Sparse<DatabaseTransaction>,
    databases: &[usize],
    mut committed: ShardSet,
) -> Result<Committed, CommitFailure> {
    let mut failed: Option<(ShardSet, Error)> = None;
    let mut untried = ShardSet::none();
    for &database in databases {
        let Some(transaction) = transactions.get_mut(database) else { continue };
        let written = transaction.written.clone();
        if failed.is_some() {
            untried = union(&untried, &written);
            transaction.rollback();
            continue;
        }
        match transaction.commit() {
            Ok(()) => committed = union(&committed, &written),
            Err(error) => {
                let error = transaction.overwrite_failed_commit(cluster, database, error);
                let first =
                    written.indexes().first().and_then(|&shard| cluster.layout().shards().by_index(shard));
                let name = first.map_or_else(|| cluster.database_name(database), |shard| shard.name());
                failed = Some((written, error.on_shard(name)));
            }
        }
    }
    let Some((shards, error)) = failed else { return Ok(Committed::default()) };
    if committed.is_empty() {
        return Err(CommitFailure::Ended(error));
    }
    let names = |set: &ShardSet| set.names(cluster.layout().shards()).join(", ");
    let mut message = format!("committed on {}, failed on {}", names(&committed), names(&shards));
    if !untried.is_empty() {
        message.push_str(&format!(", not tried on {}", names(&untried)));
    }
    let error = Error::new(ErrorKind::PartialCommit, format!("{message}: {error}")).with_source(error);
    Err(CommitFailure::Ended(error))
}

fn union(a: &ShardSet, b: &ShardSet) -> ShardSet {
    a.indexes().iter().chain(b.indexes()).copied().collect()
}
