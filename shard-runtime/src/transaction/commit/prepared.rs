//! PostgreSQL's prepared transactions, and the decision log on servers. Owns their names and SQL; uses `driver`.
//!
//! Every participant except the deciding one is *prepared*: its transaction outlives its owner, until a session commits it
//! or rolls it back. Its name contains all that recovery needs: the cluster, the transaction's id, the database that
//! decides, and the participant.
//!
//! - A server decides by committing its own part, which contains the transaction's row. The row is written before any
//!   participant is prepared: along with the last changes if a commit sends some (see `decision_row`), or by the
//!   coordinator. Recovery tries to write the same row, and blocks until the owner has ended. If the row exists then, the
//!   transaction is *committed*, otherwise it is *aborted*.
//! - Files decide by the record in the control database (see `commit`). The owner holds the write lock of the file in the
//!   name until it has finished. If recovery gets that lock and finds no record, there will never be one.
//!
//! The commits themselves keep the decision log bounded. Once the owner of a row has the outcome and every participant is
//! finished, a later decision there removes the row (see `unfinished`). Recovery *collects* rows of owners that have
//! died, under two conditions, in this order:
//!
//! 1. No participant is prepared on any server of the cluster, each of which was reached in the same run, after the row
//!    was read.
//! 2. The row is older than a day by its server's clock.
//!
//! The outcome never depends on a clock alone: each collection increases `sharded_collected`. If an owner has lost the
//! reply to its commit and finds no row, it compares that number with its value before the commit. Only if they are
//! equal, the transaction is *aborted*.

use std::time::Duration;

use crate::driver::{Connection, TransactionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::own_tables::{COLLECTED, DECISIONS};
use crate::planner::sql::{Namespace, Param};
use crate::value::{Value, mismatch};

/// Returns the SQL that creates the decision log of a server, and the counter of its collections.
pub(crate) fn make_decision_log(names: &Namespace) -> String {
    let [decisions, collected] = [DECISIONS, COLLECTED].map(|name| names.table(name));
    format!(
        "CREATE TABLE IF NOT EXISTS {decisions} \
         (id text PRIMARY KEY, at timestamp with time zone NOT NULL DEFAULT clock_timestamp()); \
         CREATE TABLE IF NOT EXISTS {collected} (times bigint NOT NULL); \
         INSERT INTO {collected} SELECT 0 WHERE NOT EXISTS (SELECT * FROM {collected})"
    )
}

/// The rows of the decision log that recovery may collect, if their participants are finished.
const OLD: &str = "at < clock_timestamp() - interval '1 day'";

/// The lock timeout of a recovery that does not wait for the owner of a transaction that is about to decide.
const SHORT_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '20ms'";

/// The beginning of the names of all prepared transactions of this library.
const OURS: &str = "sharded";

/// How often a part is retried that another session is finishing, and the pause between two tries.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// A prepared part of a transaction, as its name describes it. A database is identified by its first shard's place in the
/// cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PreparedPart {
    pub(crate) cluster: String,
    pub(crate) transaction: String,
    /// The shard whose database decides.
    pub(crate) decider: usize,
    pub(crate) participant: usize,
}

impl PreparedPart {
    /// Returns the name of the prepared transaction, shorter than PostgreSQL's limit of 200 bytes.
    pub(crate) fn name(&self) -> String {
        let PreparedPart { cluster, transaction, decider, participant } = self;
        format!("{OURS}:{cluster}:{decider}:{transaction}:{participant}")
    }

    fn of_name(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(OURS)?.strip_prefix(':')?.split(':');
        let (cluster, decider) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        let (transaction, participant) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(PreparedPart { cluster, transaction, decider, participant })
    }

    /// Commits or rolls back a prepared transaction. Succeeds if it does not exist: another session has finished it.
    pub(crate) fn finish(&self, connection: &dyn Connection, commits: bool) -> Result<()> {
        let how = if commits { "COMMIT" } else { "ROLLBACK" };
        let mut tries = 0;
        loop {
            match connection.run(&format!("{how} PREPARED '{}'", self.name())) {
                Err(error) if !is_prepared(connection, &self.name())? => {
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

/// Returns a new transaction id.
#[cfg(feature = "postgres")]
pub(crate) fn random_transaction_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Io, format!("reading random bytes from the system failed: {error}"))
    })?;
    Ok(Value::Uuid(bytes).to_string())
}

fn is_prepared(connection: &dyn Connection, name: &str) -> Result<bool> {
    let sql = "SELECT gid FROM pg_prepared_xacts WHERE gid = $1 AND database = current_database()";
    Ok(!texts(connection, sql, &[text(name)])?.is_empty())
}

/// Returns the parts that are prepared on a server for one of a cluster's databases, under the name of any of its shards.
/// When they were prepared, another shard may have been the first.
pub(crate) fn prepared(
    connection: &dyn Connection,
    cluster: &str,
    participants: &[usize],
) -> Result<Vec<PreparedPart>> {
    prepared_and(connection, cluster, participants, "")
}

/// Returns the parts that have been prepared for longer than a commit without failures takes. The clock only saves work:
/// the outcome of a part does not depend on it.
pub(crate) fn lingering(
    connection: &dyn Connection,
    cluster: &str,
    participants: &[usize],
) -> Result<Vec<PreparedPart>> {
    prepared_and(connection, cluster, participants, " AND prepared < clock_timestamp() - interval '1 second'")
}

fn prepared_and(
    connection: &dyn Connection,
    cluster: &str,
    participants: &[usize],
    and: &str,
) -> Result<Vec<PreparedPart>> {
    let sql = format!(
        "SELECT gid FROM pg_prepared_xacts WHERE starts_with(gid, $1) AND database = current_database(){and} \
         ORDER BY prepared"
    );
    let names = texts(connection, &sql, &[text(&format!("{OURS}:{cluster}:"))])?;
    let parts = names.iter().filter_map(|name| PreparedPart::of_name(name));
    Ok(parts.filter(|part| participants.contains(&part.participant)).collect())
}

/// Returns the parts that are prepared on a server, in any of its databases, and whose transaction is decided by this
/// shard's database.
pub(crate) fn prepared_by(
    connection: &dyn Connection,
    cluster: &str,
    decider: usize,
) -> Result<Vec<PreparedPart>> {
    let sql = "SELECT gid FROM pg_prepared_xacts WHERE starts_with(gid, $1)";
    let names = texts(connection, sql, &[text(&format!("{OURS}:{cluster}:{decider}:"))])?;
    Ok(names.iter().filter_map(|name| PreparedPart::of_name(name)).collect())
}

/// Returns the global transactions of a cluster that have a part prepared on a server, in any of its databases.
///
/// # Errors
/// [`ErrorKind::ReadOnly`] on a standby, which does not list prepared transactions.
pub(crate) fn unfinished_transactions(connection: &dyn Connection, cluster: &str) -> Result<Vec<String>> {
    if number(connection, "SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END::bigint", &[])? != 0 {
        return Err(Error::new(ErrorKind::ReadOnly, "the server is a standby"));
    }
    let sql = "SELECT gid FROM pg_prepared_xacts WHERE starts_with(gid, $1)";
    let names = texts(connection, sql, &[text(&format!("{OURS}:{cluster}:"))])?;
    Ok(names.iter().filter_map(|name| PreparedPart::of_name(name)).map(|part| part.transaction).collect())
}

/// Writes a global transaction's row, in the database transaction whose commit decides it, and removes rows that are no
/// longer needed. Returns how often rows were collected from this log before.
pub(crate) fn write_decision(
    connection: &dyn Connection,
    names: &Namespace,
    transaction: &str,
    removable: &[String],
) -> Result<i64> {
    let (sql, params) = decision_statement(names, transaction, removable);
    number(connection, &sql, &params)
}

/// Returns the statement of [`write_decision`], with its parameters.
pub(crate) fn decision_statement<'u>(
    names: &Namespace,
    transaction: &'u str,
    removable: &'u [String],
) -> (String, Vec<Param<'u>>) {
    let [decisions, collected] = [DECISIONS, COLLECTED].map(|name| names.table(name));
    // The decision must be durable, even if other commits set another `synchronous_commit`.
    let sql = format!(
        "WITH removed AS (DELETE FROM {decisions} WHERE id = ANY ($2::text[])) \
         INSERT INTO {decisions} (id) SELECT $1::text FROM set_config('synchronous_commit', 'on', true) \
         RETURNING (SELECT times FROM {collected})"
    );
    (sql, vec![text(transaction), list(removable)])
}

/// Returns whether a transaction is committed on the server that decides it.
///
/// # Errors
/// [`ErrorKind::Busy`] while its owner is about to decide; without waiting if `waits` is false.
pub(crate) fn is_committed(
    connection: &dyn Connection,
    names: &Namespace,
    transaction: &str,
    waits: bool,
) -> Result<bool> {
    connection.begin(TransactionMode::Write)?;
    let written = if waits { Ok(()) } else { connection.run(SHORT_LOCK_TIMEOUT) }.and_then(|()| {
        let sql = format!("INSERT INTO {} (id) VALUES ($1) ON CONFLICT DO NOTHING", names.table(DECISIONS));
        connection.prepare(&sql)?.execute(&[text(transaction)])
    });
    connection.rollback()?;
    Ok(written? == 0)
}

/// Returns whether a transaction is committed, for its owner that lost the reply to its commit. `collected` is the result
/// of [`write_decision`].
///
/// # Errors
/// [`ErrorKind::InDoubt`] if there is no row, and it may have been collected.
pub(crate) fn has_committed(
    connection: &dyn Connection,
    names: &Namespace,
    transaction: &str,
    collected: i64,
) -> Result<bool> {
    if is_committed(connection, names, transaction, true)? {
        return Ok(true);
    }
    match number(connection, &format!("SELECT times FROM {}", names.table(COLLECTED)), &[])? {
        times if times == collected => Ok(false),
        _ => Err(Error::new(
            ErrorKind::InDoubt,
            "rows were collected from the decision log since the transaction wrote its own",
        )),
    }
}

/// Returns whether a transaction has a row in the decision log that other transactions can see. It writes nothing and
/// does not wait. If there is no row, the owner may be about to write it.
pub(crate) fn is_recorded(connection: &dyn Connection, names: &Namespace, transaction: &str) -> Result<bool> {
    let sql = format!("SELECT id FROM {} WHERE id = $1", names.table(DECISIONS));
    Ok(!texts(connection, &sql, &[text(transaction)])?.is_empty())
}

/// Returns the old rows of a decision log, which may be collected if their participants are finished.
pub(crate) fn old_decisions(connection: &dyn Connection, names: &Namespace) -> Result<Vec<String>> {
    texts(connection, &format!("SELECT id FROM {} WHERE {OLD}", names.table(DECISIONS)), &[])
}

/// Deletes those of these rows from a decision log that are old. The caller has checked that none of their participants
/// is prepared on any server.
pub(crate) fn collect(connection: &dyn Connection, names: &Namespace, transactions: &[String]) -> Result<()> {
    connection.begin(TransactionMode::Write)?;
    let sql = format!("DELETE FROM {} WHERE id = ANY ($1::text[]) AND {OLD}", names.table(DECISIONS));
    let collected = connection
        .run(&format!("UPDATE {} SET times = times + 1", names.table(COLLECTED)))
        .and_then(|()| connection.prepare(&sql)?.execute(&[list(transactions)]))
        .and_then(|_| connection.commit());
    collected.inspect_err(|_| {
        let _ = connection.rollback();
    })
}

fn text(text: &str) -> Param<'_> {
    Param::Value(Value::Text(text.into()))
}

fn list(texts: &[String]) -> Param<'_> {
    Param::List(texts.iter().map(|text| Value::Text(text.into())).collect())
}

fn number(connection: &dyn Connection, sql: &str, params: &[Param<'_>]) -> Result<i64> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(params)?;
    let mut number = None;
    while rows.advance()? {
        number = Some(rows.value(0)?.into_owned());
    }
    match number {
        Some(Value::Integer(number)) => Ok(number),
        Some(other) => Err(Error::from(mismatch("an integer", &other))),
        None => Err(Error::new(ErrorKind::WrongDatabase, "`sharded_collected` has no row; run `create`")),
    }
}

fn texts(connection: &dyn Connection, sql: &str, params: &[Param<'_>]) -> Result<Vec<String>> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(params)?;
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
            transaction: "fedcba9876543210fedcba9876543210".to_owned(),
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
