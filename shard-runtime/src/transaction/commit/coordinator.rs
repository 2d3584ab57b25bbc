//! How a session's unit of work ends: committed on every database that it changed, or on none.

use std::sync::mpsc::channel;

use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{Shard, ShardSet};
use crate::tasks::Work;
use crate::transaction::Cluster;
use crate::transaction::Transactions;
use crate::transaction::commit::{Commit, Committed, Decider, DecisionError, Participant, PreparedPart};
use crate::transaction::database::DatabaseTransaction;

/// Something that is done on a database.
pub(crate) type Job = Box<dyn FnOnce(&dyn Connection) -> Result<()> + Send>;

/// Nobody knows whether a unit was decided.
pub(crate) fn in_doubt(unit: &str, error: Error) -> Error {
    let message = format!("unit {unit} may be committed or not: {error}");
    Error::new(ErrorKind::InDoubt, message).with_source(error).of_unit(unit)
}

impl Transactions {
    pub(crate) fn commit_databases(&mut self) -> Result<Committed> {
        let cluster = self.cluster.clone();
        let (mut durable, mut others): (Vec<usize>, Vec<usize>) = Default::default();
        for (database, link) in self.databases.iter_mut().enumerate() {
            match (link.has_changed(), cluster.outlives_the_process(database)) {
                (true, true) => durable.push(database),
                (true, false) => others.push(database),
                // What was only read has nothing to lose.
                (false, _) => link.rollback(),
            }
        }
        match (self.commit, durable.len()) {
            (Commit::Atomic, 2..) => self.commit_together(&cluster, &durable, &others),
            (Commit::Atomic, _) => {
                // A reader may be in the way of a database in memory, so that these come first.
                others.append(&mut durable);
                if others.len() > 1 {
                    let checked = self.check_constraints(&others);
                    checked.inspect_err(|error| self.abort(error))?;
                }
                self.commit_in_turn(&cluster, &others, ShardSet::none())
            }
            (Commit::BestEffort, _) => {
                durable.append(&mut others);
                durable.sort_unstable();
                self.commit_in_turn(&cluster, &durable, ShardSet::none())
            }
        }
    }

    /// Several databases, by a decision.
    fn commit_together(
        &mut self,
        cluster: &Cluster,
        durable: &[usize],
        others: &[usize],
    ) -> Result<Committed> {
        let is_file = |database: &usize| cluster.dialect(*database).keeps_redo_records();
        let (files, servers): (Vec<usize>, Vec<usize>) =
            durable.iter().partition(|database| is_file(database));
        self.refuse_unrepeatable(&files)?;
        if !servers.is_empty() && cluster.is_for_single_shards() {
            let message = "the unit of work wrote several databases, and the cluster was opened with `without_prepared_transactions`";
            return Err(Error::new(ErrorKind::Query, message));
        }
        // Before the decision: the server that decides is committed by it, and its link starts anew.
        let written = durable.iter().filter_map(|&database| Some(&self.databases.get(database)?.written));
        let shards = written.fold(ShardSet::none(), |shards, written| union(&shards, written));
        let decided = match servers.as_slice() {
            [] => self.decide(cluster, &files, others, &[]).map(|unit| (unit, Vec::new())),
            [decider, participants @ ..] if files.is_empty() => {
                self.check_constraints(others)?;
                self.decide_on_server(cluster, *decider, participants)
            }
            _ => self.decide_beside_servers(cluster, &files, &servers, others),
        };
        let (unit, parts) = decided.inspect_err(|error| self.abort(error))?;
        let mut committed = self.commit_at_once(cluster, &files);
        let decider = match servers.first() {
            Some(server) if files.is_empty() => Decider::Server(*server),
            _ => Decider::Files { are_committed: committed.iter().all(|(_, done)| done.is_ok()) },
        };
        committed.append(&mut self.finish_prepared(cluster, decider, &unit, parts, true));
        let mut pending = Vec::new();
        for (database, committed) in committed {
            let Some(link) = self.databases.get_mut(database) else { continue };
            if let Err(error) = link.has_committed(committed) {
                pending.push(self.named(database, error));
                if let Some(link) = self.databases.get_mut(database) {
                    link.leave();
                }
            }
        }
        match self.commit_in_turn(cluster, others, shards) {
            Ok(_) => Ok(Committed { pending }),
            Err(error) if pending.is_empty() => Err(error),
            Err(error) => {
                let names: Vec<&str> = pending.iter().filter_map(Error::shard).collect();
                Err(error.with_remedy(&format!("written later on {}: call `recover`", names.join(", "))))
            }
        }
    }

    /// What cannot be done again cannot be in a decision record.
    fn refuse_unrepeatable(&self, databases: &[usize]) -> Result<()> {
        for &database in databases {
            let redo = self.databases.get(database).and_then(|link| link.redo.as_ref());
            if let Some(what) = redo.and_then(|redo| redo.first_unrepeatable()) {
                let message = format!(
                    "{what} cannot be part of a unit of work over several databases: what a shard missed of a decided \
                     unit is done again, with the same result. Commit it alone, or with `Commit::BestEffort`"
                );
                return Err(self.named(database, Error::new(ErrorKind::Query, message)));
            }
        }
        Ok(())
    }

    /// Commits databases whose unit is decided: where each waits for its disk, on workers, so that they wait at the same
    /// time. What became of each.
    fn commit_at_once(&mut self, cluster: &Cluster, databases: &[usize]) -> Vec<(usize, Result<()>)> {
        let commit = |&database: &usize| {
            let job: Job = Box::new(|connection: &dyn Connection| connection.commit());
            (database, job)
        };
        self.at_once(cluster, databases.iter().map(commit).collect(), cluster.waits_for_the_disk())
    }

    /// Does something on databases to which the session is connected, at the same time where that is wanted and there are
    /// workers. What became of each.
    pub(crate) fn at_once(
        &mut self,
        cluster: &Cluster,
        mut jobs: Vec<(usize, Job)>,
        at_the_same_time: bool,
    ) -> Vec<(usize, Result<()>)> {
        let at_the_same_time = at_the_same_time && cluster.parallelism().uses_threads(Work::Commit);
        let wanted = if at_the_same_time { jobs.len().saturating_sub(1) } else { 0 };
        let here = jobs.split_off(cluster.workers().take(wanted).min(jobs.len()));
        let mut leases = Vec::with_capacity(jobs.len());
        for (database, job) in jobs {
            let connection = self.databases.get_mut(database).and_then(DatabaseTransaction::take_connection);
            let (sender, home) = channel();
            let work = move || {
                let done = connection.as_ref().map_or(Ok(()), |connection| job(&**connection));
                (connection, done)
            };
            cluster.workers().run(work, move |done| {
                let _ = sender.send(done);
            });
            leases.push((database, home));
        }
        let mut all = Vec::with_capacity(here.len() + leases.len());
        for (database, job) in here {
            let connection = self.databases.get(database).and_then(DatabaseTransaction::connection);
            all.push((database, connection.map_or(Ok(()), job)));
        }
        for (database, home) in leases {
            all.push(match home.recv() {
                Ok((connection, result)) => {
                    if let (Some(link), Some(connection)) = (self.databases.get_mut(database), connection) {
                        link.restore_connection(connection);
                    }
                    (database, result)
                }
                Err(_) => {
                    let message = "the thread that committed the database is gone";
                    (database, Err(Error::new(ErrorKind::Database, message)))
                }
            });
        }
        all
    }

    /// Everything up to the decision in the control database; the unit's name. Parts of it are prepared on servers of
    /// these names. What fails here has had no effect.
    pub(crate) fn decide(
        &self,
        cluster: &Cluster,
        files: &[usize],
        others: &[usize],
        prepared: &[PreparedPart],
    ) -> Result<String> {
        self.check_constraints(files)?;
        self.check_constraints(others)?;
        let unit =
            prepared.first().map_or_else(|| cluster.new_transaction_id(), |part| Ok(part.unit.clone()))?;
        let mut parts = Vec::with_capacity(files.len());
        for &database in files {
            let Some(link) = self.databases.get(database) else { continue };
            let (Some(connection), Some(redo)) = (link.connection(), &link.redo) else { continue };
            if link.has_lost_its_transaction() {
                let message = "the database has ended the transaction by itself";
                return Err(self.named(database, Error::new(ErrorKind::TransactionAborted, message)));
            }
            let base = cluster.begin_version(database, connection);
            let base = base.map_err(|error| self.named(database, error))?;
            parts.push(Participant { database: cluster.database_name(database), base, redo });
        }
        let servers = prepared.iter().filter_map(|part| cluster.shards().by_index(part.participant));
        let servers: Vec<&str> = servers.map(Shard::name).collect();
        match cluster.decide(&unit, &parts, &servers) {
            Ok(()) => Ok(unit),
            Err(DecisionError::Aborted(error)) => Err(Error::new(
                error.kind(),
                format!("the unit of work could not be decided in the control database: {error}"),
            )
            .with_source(error)),
            Err(DecisionError::InDoubt(error)) => Err(in_doubt(&unit, error)),
        }
    }

    /// Looks for what a commit would refuse.
    pub(crate) fn check_constraints(&self, databases: &[usize]) -> Result<()> {
        databases.iter().try_for_each(|&database| {
            let connection = self.databases.get(database).and_then(DatabaseTransaction::connection);
            connection.map_or(Ok(()), |connection| {
                connection.check_constraints().map_err(|error| self.named(database, error))
            })
        })
    }

    /// One database after the other, each with its own commit, where these shards are committed already.
    fn commit_in_turn(
        &mut self,
        cluster: &Cluster,
        databases: &[usize],
        mut committed: ShardSet,
    ) -> Result<Committed> {
        let mut failed: Option<(ShardSet, Error)> = None;
        let mut untried = ShardSet::none();
        for &database in databases {
            let Some(link) = self.databases.get_mut(database) else { continue };
            let written = link.written.clone();
            if failed.is_some() {
                untried = union(&untried, &written);
                link.rollback();
                continue;
            }
            match link.commit() {
                Ok(()) => committed = union(&committed, &written),
                Err(error) => {
                    let error = link.undo_for_certain(cluster, database, error);
                    let first = written.indexes().first().and_then(|&shard| cluster.shards().by_index(shard));
                    let name = first.map_or_else(|| cluster.database_name(database), |shard| shard.name());
                    failed = Some((written, error.on_shard(name)));
                }
            }
        }
        let Some((shards, error)) = failed else { return Ok(Committed::default()) };
        let error = if committed.is_empty() {
            error
        } else {
            let names = |set: &ShardSet| set.names(cluster.shards()).join(", ");
            let mut message = format!("committed on {}, failed on {}", names(&committed), names(&shards));
            if !untried.is_empty() {
                message.push_str(&format!(", not tried on {}", names(&untried)));
            }
            Error::new(ErrorKind::PartialCommit, format!("{message}: {error}")).with_source(error)
        };
        self.abort(&error);
        Err(error)
    }
}

fn union(a: &ShardSet, b: &ShardSet) -> ShardSet {
    a.indexes().iter().chain(b.indexes()).copied().collect()
}
