//! Units of work over several servers: PostgreSQL's prepared transactions, and who decides about them.
//!
//! Every participant but the one that decides is *prepared*: its transaction stays, whatever becomes of its owner, until
//! somebody commits it or rolls it back. It is prepared under a name that says everything that is needed to find out
//! which: the cluster, the unit, the database that decides, and the participant.
//!
//! - A server decides by committing its own part of the unit, in which the unit's row was written before anybody was
//!   prepared. Whoever tries to write that row too finds out: it waits while the owner lives; then the row is there,
//!   which is *committed*, or it is not, and never will be.
//! - SQLite decides by the record in the control database (see [`commit`](crate::commit)). The owner holds the write lock
//!   of the SQLite database that the name says until it has finished: whoever gets that lock, and finds no record, knows
//!   that there never will be one.
//!
//! Rows are removed when they are older than a day, by the server's clock: an owner that has lost the answer to its commit
//! may ask for the row after somebody else has finished its unit.

use std::time::Duration;

use crate::driver::{Connection, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::Param;
use crate::value::{Value, mismatch};

/// Makes the table of the units that a server has decided.
pub(crate) const MAKE_UNITS: &str = "CREATE TABLE IF NOT EXISTS sharded_unit \
    (id text PRIMARY KEY, at timestamp with time zone NOT NULL DEFAULT clock_timestamp())";

/// The table's name.
pub(crate) const UNITS: &str = "sharded_unit";

/// What the names of all prepared transactions of ours begin with.
const OURS: &str = "sharded";

/// How often it is looked whether somebody else has finished a part, and how long apart.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// A part of a unit that is prepared, as its name says it. Databases are named by their first shard's place in the
/// cluster, which is part of its layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PreparedPart {
    pub(crate) cluster: String,
    pub(crate) unit: String,
    /// The shard whose database decides.
    pub(crate) decider: usize,
    pub(crate) participant: usize,
}

impl PreparedPart {
    /// What the transaction is called: less than PostgreSQL's 200 bytes.
    pub(crate) fn name(&self) -> String {
        let PreparedPart { cluster, unit, decider, participant } = self;
        format!("{OURS}:{cluster}:{decider}:{unit}:{participant}")
    }

    fn of_name(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(OURS)?.strip_prefix(':')?.split(':');
        let (cluster, decider) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        let (unit, participant) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(PreparedPart { cluster, unit, decider, participant })
    }

    /// Commits a prepared transaction, or rolls it back. That it is not there is what was wanted: somebody else was
    /// first, or is at it.
    pub(crate) fn finish(&self, connection: &dyn Connection, commits: bool) -> Result<()> {
        let how = if commits { "COMMIT" } else { "ROLLBACK" };
        let mut tries = 0;
        loop {
            match connection.run(&format!("{how} PREPARED '{}'", self.name())) {
                Err(error) if !is_there(connection, &self.name())? => {
                    drop(error);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Busy && tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                finished => return finished,
            }
        }
    }
}

/// A name for a unit that no other has.
#[cfg(feature = "postgres")]
pub(crate) fn new_unit() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Io, format!("the system gives no random bytes: {error}")))?;
    Ok(Value::Uuid(bytes).to_string())
}

fn is_there(connection: &dyn Connection, name: &str) -> Result<bool> {
    let sql = "SELECT gid FROM pg_prepared_xacts WHERE gid = $1 AND database = current_database()";
    Ok(!texts(connection, sql, name)?.is_empty())
}

/// The parts that are prepared on a server for one of a cluster's databases.
pub(crate) fn prepared(
    connection: &dyn Connection,
    cluster: &str,
    participant: usize,
) -> Result<Vec<PreparedPart>> {
    let sql = "SELECT gid FROM pg_prepared_xacts WHERE starts_with(gid, $1) AND database = current_database() \
               ORDER BY prepared";
    let names = texts(connection, sql, &format!("{OURS}:{cluster}:"))?;
    let parts = names.iter().filter_map(|name| PreparedPart::of_name(name));
    Ok(parts.filter(|part| part.participant == participant).collect())
}

/// Writes a unit's row, in the transaction whose commit decides.
pub(crate) fn write_unit(connection: &dyn Connection, unit: &str) -> Result<()> {
    // What is decided must not be forgotten, whatever was said of commits.
    let sql =
        "INSERT INTO sharded_unit (id) SELECT $1::text FROM set_config('synchronous_commit', 'on', true)";
    connection.prepare(sql)?.execute(&[text(unit)]).map(|_| ())
}

/// Whether a unit is committed on the server that decides it.
///
/// # Errors
/// [`ErrorKind::Busy`] as long as its owner is about to decide.
pub(crate) fn is_committed(connection: &dyn Connection, unit: &str) -> Result<bool> {
    connection.begin(Transaction::Write)?;
    let written = connection
        .prepare("INSERT INTO sharded_unit (id) VALUES ($1) ON CONFLICT DO NOTHING")
        .and_then(|mut insert| insert.execute(&[text(unit)]));
    connection.rollback()?;
    Ok(written? == 0)
}

/// Removes the rows of units that nobody asks for any more.
pub(crate) fn remove_old_units(connection: &dyn Connection) -> Result<()> {
    connection.run("DELETE FROM sharded_unit WHERE at < clock_timestamp() - interval '1 day'")
}

fn text(text: &str) -> Param<'_> {
    Param::Value(Value::Text(text.into()))
}

fn texts(connection: &dyn Connection, sql: &str, param: &str) -> Result<Vec<String>> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(&[text(param)])?;
    let mut found = Vec::new();
    while rows.advance()? {
        match rows.value(0)? {
            Value::Text(text) => found.push(text.into_owned()),
            other => return Err(Error::from(mismatch("text", &other))),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_everything() {
        let part = PreparedPart {
            cluster: "0123456789abcdef0123456789abcdef".to_owned(),
            unit: "fedcba9876543210fedcba9876543210".to_owned(),
            decider: 12,
            participant: 345,
        };
        assert_eq!(PreparedPart::of_name(&part.name()), Some(part.clone()));
        assert!(part.name().len() < 200);
        for other in ["", "sharded", "sharded:a:b:c:d", "sharded:a:1:c", "sharded:a:1:c:2:3", "other:a:1:c:2"]
        {
            assert_eq!(PreparedPart::of_name(other), None, "{other}");
        }
    }
}
