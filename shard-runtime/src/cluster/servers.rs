//! What units of work have left prepared on servers: finding out what became of each, and finishing it.

use super::Cluster;
use crate::commit::{self, PreparedPart};
use crate::driver::{Connection, Holder, Transaction};
use crate::error::Result;
use crate::sql::Dialect;

impl Cluster {
    pub(crate) fn id(&self) -> &str {
        &self.0.control.cluster
    }

    /// Whether units of work over several databases are refused where one is a server.
    pub(crate) fn is_for_single_shards(&self) -> bool {
        self.0.single_shard_units
    }

    /// The place of a database's first shard, which names the database in what is prepared.
    pub(crate) fn first_shard(&self, database: usize) -> usize {
        self.layout().shards_in(database).next().map_or(0, |shard| shard.index())
    }

    fn servers(&self) -> impl Iterator<Item = usize> {
        (0..self.databases()).filter(|database| self.dialect(*database) == Dialect::Postgres)
    }

    /// Finishes what is prepared on all servers, as far as it is known what became of its unit; the units that were
    /// committed. A server that cannot be reached is left to whoever recovers next.
    pub(super) fn recover_servers(&self) -> Result<Vec<String>> {
        let mut committed = Vec::new();
        for database in self.servers() {
            match self.recover_server(database) {
                Ok(mut units) => committed.append(&mut units),
                Err(error) if error.is_about_a_shard() => {}
                Err(error) => return Err(error.on_shard(self.database_name(database))),
            }
        }
        Ok(committed)
    }

    fn recover_server(&self, database: usize) -> Result<Vec<String>> {
        let holder = Holder::default();
        self.on_connection(&holder, database, |connection| {
            commit::remove_old_units(connection)?;
            let mut committed = Vec::new();
            for part in commit::prepared(connection, self.id(), self.first_shard(database))? {
                let commits = match self.became_committed(&holder, &part) {
                    Ok(commits) => commits,
                    // Its owner is at it, or the database that decides is away.
                    Err(error) if error.is_about_a_shard() => continue,
                    Err(error) => return Err(error),
                };
                part.finish(connection, commits)?;
                if commits {
                    committed.push(part.unit);
                }
            }
            Ok(committed)
        })
    }

    /// Whether the unit of a part that is prepared was committed. Nobody can commit it any more where it was not.
    fn became_committed(&self, holder: &Holder, part: &PreparedPart) -> Result<bool> {
        let decider = self.layout().place(part.decider)?.database;
        match self.dialect(decider) {
            Dialect::Postgres => {
                self.on_connection(holder, decider, |connection| commit::is_committed(connection, &part.unit))
            }
            Dialect::Sqlite => self.on_connection(holder, decider, |connection| {
                // The owner holds this lock from before anything was prepared until everything is finished.
                connection.begin(Transaction::Write)?;
                let record = self.0.control.with_decisions(|decisions, control| {
                    decisions.settle(control)?;
                    let records = decisions.records(control)?;
                    Ok(records.iter().any(|record| record.unit == part.unit))
                });
                connection.rollback()?;
                record
            }),
        }
    }

    /// Whether a unit is committed on the server that decides it, where that can be reached: for the unit's owner, who
    /// has lost its connection.
    pub(crate) fn ask_decider(&self, database: usize, unit: &str) -> Result<bool> {
        commit::is_committed(&*self.connect_aside(database)?, unit)
    }

    /// Whether nothing of a decided unit is prepared on a server any more.
    pub(super) fn is_finished_on_servers(&self, unit: &str) -> Result<bool> {
        let names = self.0.control.with_decisions(|decisions, control| decisions.servers(control, unit))?;
        for name in names {
            let Ok(shard) = self.shard(&name) else { return Ok(false) };
            let database = self.layout().place(shard.index())?.database;
            let looked = self.on_connection(&Holder::default(), database, |connection: &dyn Connection| {
                let mut is_finished = true;
                for part in commit::prepared(connection, self.id(), self.first_shard(database))? {
                    if part.unit == unit && part.finish(connection, true).is_err() {
                        is_finished = false;
                    }
                }
                Ok(is_finished)
            });
            match looked {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) if error.is_about_a_shard() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
