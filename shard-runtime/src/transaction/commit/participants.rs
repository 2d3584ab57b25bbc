//! Units of work over servers: preparing their parts, deciding, and finishing them. See `commit::prepared`.

use super::coordinator::{Job, in_doubt};
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::transaction::Cluster;
use crate::transaction::Transactions;
use crate::transaction::commit;
use crate::transaction::commit::{Decider, PreparedPart};
use crate::transaction::database::DatabaseTransaction;

impl Transactions {
    /// Decides a global transaction over servers alone: the others are prepared, and the commit of the first is the
    /// decision. Returns what is prepared then.
    pub(crate) fn decide_on_server(
        &mut self,
        cluster: &Cluster,
        decider: usize,
        participants: &[usize],
    ) -> Result<(String, Vec<(usize, PreparedPart)>)> {
        // These rows are removed by the transaction that decides, if it commits.
        let removable = cluster.take_removable(decider);
        let decided = self.try_to_decide(cluster, decider, participants, &removable);
        if decided.is_err() {
            cluster.put_back_removable(decider, removable);
        }
        decided
    }

    fn try_to_decide(
        &mut self,
        cluster: &Cluster,
        decider: usize,
        participants: &[usize],
        removable: &[String],
    ) -> Result<(String, Vec<(usize, PreparedPart)>)> {
        let unit = cluster.new_transaction_id()?;
        let names = cluster.names_of_units(decider)?;
        let connection = self.databases.get(decider).and_then(DatabaseTransaction::connection);
        let written =
            connection.map_or(Ok(0), |connection| commit::write_unit(connection, names, &unit, removable));
        let collected = written.map_err(|error| self.named(decider, error))?;
        let parts = self.prepare_parts(cluster, &unit, decider, participants)?;
        let connection = self.databases.get(decider).and_then(DatabaseTransaction::connection);
        let Err(error) = connection.map_or(Ok(()), |connection| connection.commit()) else {
            self.databases.get_mut(decider).map(|link| link.has_committed(Ok(())));
            return Ok((unit, parts));
        };
        let error = self.named(decider, error);
        let is_committed = match error.kind() {
            // The reply was lost; the commit may have succeeded.
            ErrorKind::InDoubt => cluster.ask_decider(decider, &unit, collected),
            _ => Ok(false),
        };
        match is_committed {
            Ok(true) => {
                self.databases.get_mut(decider).map(DatabaseTransaction::leave);
                Ok((unit, parts))
            }
            Ok(false) => {
                self.roll_back_prepared(cluster, Decider::Server(decider), &unit, parts);
                Err(match error.kind() {
                    // Not any more.
                    ErrorKind::InDoubt => {
                        let certain =
                            Error::new(ErrorKind::ConnectionLost, "the connection was lost at the commit");
                        self.named(decider, certain.with_source(error))
                    }
                    _ => error,
                })
            }
            // The parts stay prepared until a session or `recover` can reach the decider.
            Err(_) => Err(in_doubt(&unit, error)),
        }
    }

    /// Decides a global transaction over files and servers: the servers are prepared, and the record in the control
    /// database is the decision.
    pub(crate) fn decide_beside_servers(
        &mut self,
        cluster: &Cluster,
        files: &[usize],
        servers: &[usize],
        others: &[usize],
    ) -> Result<(String, Vec<(usize, PreparedPart)>)> {
        let unit = cluster.new_transaction_id()?;
        let decider = files.first().copied().unwrap_or_default();
        let parts = self.prepare_parts(cluster, &unit, decider, servers)?;
        let named: Vec<PreparedPart> = parts.iter().map(|(_, part)| part.clone()).collect();
        match self.decide(cluster, files, others, &named) {
            Ok(unit) => Ok((unit, parts)),
            Err(error) => {
                if error.kind() != ErrorKind::InDoubt {
                    self.roll_back_prepared(cluster, Decider::Files { are_committed: false }, &unit, parts);
                }
                Err(error)
            }
        }
    }

    /// Prepares a unit's part on each of these servers, or on none.
    fn prepare_parts(
        &mut self,
        cluster: &Cluster,
        unit: &str,
        decider: usize,
        servers: &[usize],
    ) -> Result<Vec<(usize, PreparedPart)>> {
        let part = |&database: &usize| {
            let part = PreparedPart {
                cluster: cluster.id().to_owned(),
                unit: unit.to_owned(),
                decider: cluster.first_shard(decider),
                participant: cluster.first_shard(database),
            };
            (database, part)
        };
        let parts: Vec<(usize, PreparedPart)> = servers.iter().map(part).collect();
        let jobs = parts.iter().map(|(database, part)| {
            let name = part.name();
            let job: Job = Box::new(move |connection: &dyn Connection| connection.prepare_commit(&name));
            (*database, job)
        });
        let done = self.at_once(cluster, jobs.collect(), true);
        let Some((database, Err(error))) = done.into_iter().find(|(_, done)| done.is_err()) else {
            return Ok(parts);
        };
        let error = self.named(database, error);
        // If the first file decides, the part's name says so, too; an aborted transaction has no row and no record.
        self.roll_back_prepared(cluster, Decider::Server(decider), unit, parts);
        Err(error)
    }

    /// Rolls back what is prepared of a transaction that is aborted.
    fn roll_back_prepared(
        &mut self,
        cluster: &Cluster,
        decider: Decider,
        unit: &str,
        parts: Vec<(usize, PreparedPart)>,
    ) {
        self.finish_prepared(cluster, decider, unit, parts, false);
    }

    /// Commits what is prepared, or rolls it back. Returns the result of each. What failed is finished by the next session
    /// that begins to write there.
    pub(crate) fn finish_prepared(
        &mut self,
        cluster: &Cluster,
        decider: Decider,
        unit: &str,
        parts: Vec<(usize, PreparedPart)>,
        commits: bool,
    ) -> Vec<(usize, Result<()>)> {
        let jobs = parts.iter().map(|(database, part)| {
            let (again, database, part) = (cluster.clone(), *database, part.clone());
            let job = move |connection: &dyn Connection| match part.finish(connection, commits) {
                // Once more, on another connection.
                Err(_) => part.finish(&*again.connect_aside(database, true)?, commits),
                finished => finished,
            };
            (database, Box::new(job) as Job)
        });
        let finished = self.at_once(cluster, jobs.collect(), true);
        let failed =
            |database: usize| finished.iter().any(|(other, done)| *other == database && done.is_err());
        let left = parts.into_iter().filter(|(database, _)| failed(*database)).collect();
        cluster.left_prepared(unit, decider, commits, left);
        finished
    }
}
