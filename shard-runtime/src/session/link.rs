//! A session's connection to one database, and the transaction it is in.

use crate::cluster::Cluster;
use crate::driver::{Connection, Pooled, Transaction};
use crate::error::Result;
use crate::shards::ShardSet;
use crate::stored::Unit;

/// Marks the point that a statement which fails is undone to.
const SAVEPOINT: &str = "sharded_statement";

/// The session's side of one database. A connection is taken when it is first needed and given back when the
/// transaction ends.
#[derive(Default)]
pub(super) struct Link {
    connection: Option<Pooled>,
    transaction: Option<Transaction>,
    /// The shards of this database that were written in this transaction.
    pub(super) written: ShardSet,
    /// What the rows remember that were written in this transaction, where it may write.
    pub(super) unit: Option<Unit>,
}

impl Link {
    /// A connection inside a transaction that may read. A session that writes reads in its write transaction.
    pub(super) fn read(&mut self, cluster: &Cluster, database: usize) -> Result<()> {
        if self.transaction.is_none() {
            self.connected(cluster, database)?.begin(Transaction::Read)?;
            self.transaction = Some(Transaction::Read);
        }
        Ok(())
    }

    /// A connection inside a transaction that may write. A read transaction is ended first: it could not
    /// become one that writes once somebody else has written.
    pub(super) fn write(&mut self, cluster: &Cluster, database: usize) -> Result<()> {
        if self.may_write() {
            return Ok(());
        }
        if self.transaction.take().is_some() {
            self.connected(cluster, database)?.commit()?;
        }
        self.connected(cluster, database)?.begin(Transaction::Write)?;
        self.transaction = Some(Transaction::Write);
        self.unit = Some(Unit::default());
        Ok(())
    }

    fn connected(&mut self, cluster: &Cluster, database: usize) -> Result<&dyn Connection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => cluster.connect(database)?,
        };
        Ok(&***self.connection.insert(connection))
    }

    /// Gives the connection to somebody else for a while, the transaction with it.
    pub(super) fn lend(&mut self) -> Option<Pooled> {
        self.connection.take()
    }

    pub(super) fn take_back(&mut self, connection: Pooled) {
        self.connection = Some(connection);
    }

    /// The connection, where there is one.
    pub(super) fn connection(&self) -> Option<&dyn Connection> {
        self.connection.as_ref().map(|connection| &***connection)
    }

    pub(super) fn may_write(&self) -> bool {
        self.transaction == Some(Transaction::Write)
    }

    pub(super) fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Whether the database has ended a transaction that this session has not ended.
    pub(super) fn has_lost_its_transaction(&self) -> bool {
        self.transaction.is_some() && self.connection().is_none_or(|connection| !connection.in_transaction())
    }

    pub(super) fn savepoint(&self) -> Result<()> {
        self.connection().map_or(Ok(()), |connection| connection.run(&format!("SAVEPOINT {SAVEPOINT}")))
    }

    pub(super) fn release(&self) -> Result<()> {
        self.connection().map_or(Ok(()), |connection| connection.run(&format!("RELEASE {SAVEPOINT}")))
    }

    pub(super) fn rollback_to_savepoint(&self) -> Result<()> {
        self.connection().map_or(Ok(()), |connection| {
            connection.run(&format!("ROLLBACK TO {SAVEPOINT}; RELEASE {SAVEPOINT}"))
        })
    }

    /// Ends the transaction with its effects and gives the connection back.
    pub(super) fn commit(&mut self) -> Result<()> {
        let committed = match (self.connection(), self.transaction) {
            (Some(connection), Some(_)) => connection.commit(),
            _ => Ok(()),
        };
        if committed.is_ok() {
            *self = Link::default();
        }
        committed
    }

    /// Ends the transaction without its effects and gives the connection back.
    pub(super) fn rollback(&mut self) {
        if let (Some(connection), Some(_)) = (self.connection.take(), self.transaction.take()) {
            // Where this fails, the pool closes the connection, and with it the transaction.
            let _ = connection.rollback();
        }
        if let Some(unit) = std::mem::take(self).unit {
            unit.roll_back();
        }
    }
}
