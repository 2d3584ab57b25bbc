//! Units of work over servers: preparing their parts, deciding, and finishing them. See `commit::prepared`.

use super::Session;
use super::commit::{Job, in_doubt};
use super::link::Link;
use crate::cluster::Cluster;
use crate::commit::{self, PreparedPart};
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};

impl Session {
    /// Decides a unit over servers alone: the others are prepared, and the commit of the first is the decision. What is
    /// prepared then.
    pub(super) fn decide_on_server(
        &mut self,
        cluster: &Cluster,
        decider: usize,
        participants: &[usize],
    ) -> Result<(String, Vec<(usize, PreparedPart)>)> {
        let unit = cluster.name_unit()?;
        let connection = self.links.get(decider).and_then(Link::connection);
        let written = connection.map_or(Ok(()), |connection| commit::write_unit(connection, &unit));
        written.map_err(|error| self.named(decider, error))?;
        let parts = self.prepare_parts(cluster, &unit, decider, participants)?;
        let connection = self.links.get(decider).and_then(Link::connection);
        let Err(error) = connection.map_or(Ok(()), |connection| connection.commit()) else {
            self.links.get_mut(decider).map(|link| link.has_committed(Ok(())));
            return Ok((unit, parts));
        };
        let error = self.named(decider, error);
        let is_committed = match error.kind() {
            // The answer was lost, not the commit perhaps.
            ErrorKind::InDoubt => cluster.ask_decider(decider, &unit),
            _ => Ok(false),
        };
        match is_committed {
            Ok(true) => {
                self.links.get_mut(decider).map(Link::leave);
                Ok((unit, parts))
            }
            Ok(false) => {
                self.finish_prepared(cluster, parts, false);
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
            // Whoever recovers will know.
            Err(_) => Err(in_doubt(&unit, error)),
        }
    }

    /// Decides a unit over files and servers: the servers are prepared, and the record in the control database is the
    /// decision.
    pub(super) fn decide_beside_servers(
        &mut self,
        cluster: &Cluster,
        files: &[usize],
        servers: &[usize],
        others: &[usize],
    ) -> Result<(String, Vec<(usize, PreparedPart)>)> {
        let unit = cluster.name_unit()?;
        let decider = files.first().copied().unwrap_or_default();
        let parts = self.prepare_parts(cluster, &unit, decider, servers)?;
        let named: Vec<PreparedPart> = parts.iter().map(|(_, part)| part.clone()).collect();
        match self.decide(cluster, files, others, &named) {
            Ok(unit) => Ok((unit, parts)),
            Err(error) => {
                if error.kind() != ErrorKind::InDoubt {
                    self.finish_prepared(cluster, parts, false);
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
        self.finish_prepared(cluster, parts, false);
        Err(error)
    }

    /// Commits what is prepared, or rolls it back. What became of each; what failed is left to whoever recovers.
    pub(super) fn finish_prepared(
        &mut self,
        cluster: &Cluster,
        parts: Vec<(usize, PreparedPart)>,
        commits: bool,
    ) -> Vec<(usize, Result<()>)> {
        let jobs = parts.into_iter().map(|(database, part)| {
            let again = cluster.clone();
            let job = move |connection: &dyn Connection| match part.finish(connection, commits) {
                // Once more, on another connection.
                Err(_) => part.finish(&*again.connect_aside(database)?, commits),
                finished => finished,
            };
            (database, Box::new(job) as Job)
        });
        self.at_once(cluster, jobs.collect(), true)
    }
}
