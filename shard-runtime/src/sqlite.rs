//! SQLite's own connections, as [`rusqlite`] has them.
//!
//! This module is the part of the crate whose types are those of `rusqlite`, together with `From<rusqlite::Error>` for
//! [`Error`]. A new major version of `rusqlite` changes them in a minor version of this crate; nothing else depends on it.

use rusqlite::Connection;

use crate::asynchronous::AsyncSession;
use crate::error::{Error, Result};
use crate::session::{Session, with_own_error};
use crate::transaction::Cluster;

/// The crate that drives SQLite. One program links one `libsqlite3`, so use the crate through here.
pub use rusqlite;

/// Lends SQLite's own connection to a shard, inside the session's write transaction there: for what neither
/// the queries nor [`Sql`](crate::Sql) say. What waits for the shard is written first, and what the session
/// has looked up is forgotten. It commits and rolls back with the rest of the session; where the closure
/// fails, what it has done is undone. The lease counts as one statement of the shard.
///
/// These changes cannot be part of a commit over several databases: recovery could not repeat them on a shard that
/// missed it (see [`Session::commit`](crate::Session::commit)).
///
/// The transaction is the session's: a closure that ends it (`COMMIT`, `ROLLBACK`) ends the unit of work. A
/// shard with a prefix shares its database, where its tables are named with it. And the connection is the
/// cluster's: what is set on it (`PRAGMA`, a temporary table, an attached database) stays set for the sessions
/// that are given it later, unless the closure takes it back.
///
/// ```
/// # use shard_runtime::{Cluster, Sharded, sqlite};
/// # #[derive(Sharded, Clone, Debug)]
/// # #[sharded(table = "accounts")]
/// # struct Account {
/// #     #[id]
/// #     #[shard_key(hash)]
/// #     id: i64,
/// #     cents: i64,
/// # }
/// # fn main() -> shard_runtime::Result<()> {
/// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
/// let mut session = cluster.session();
/// session.add(Account { id: 7, cents: 100 })?;
/// let pages: i64 = sqlite::with_connection(&mut session, "b", |connection| {
///     connection.execute("UPDATE accounts SET cents = cents + ?1", [50])?;
///     connection.pragma_query_value(None, "page_count", |row| row.get(0))
/// })?;
/// assert!(pages > 0);
/// assert_eq!(session.get::<Account>(7)?.map(|account| account.cents), Some(150));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ErrorKind::UnknownShard`](crate::ErrorKind::UnknownShard), [`ErrorKind::ContradictingPins`](crate::ErrorKind::ContradictingPins); those of writing what waits and of beginning
/// to write; the closure's, with the shard's name. [`ErrorKind::TransactionAborted`](crate::ErrorKind::TransactionAborted) where the closure has ended the
/// transaction: the session has to be rolled back before it is used on, and what the closure committed by hand
/// stays committed.
pub fn with_connection<O>(
    session: &mut Session,
    shard: &str,
    run: impl FnOnce(&Connection) -> rusqlite::Result<O>,
) -> Result<O> {
    session.with_connection(shard, |connection| Ok(run(connection)?))
}

/// Lends SQLite's own connection like [`with_connection`], with an error type of the application.
///
/// # Errors
/// Those of [`with_connection`]. The closure's error is returned as it is.
pub fn try_with_connection<O, E: From<Error>>(
    session: &mut Session,
    shard: &str,
    run: impl FnOnce(&Connection) -> Result<O, E>,
) -> Result<O, E> {
    with_own_error(|own| session.with_connection(shard, |connection| run(connection).map_err(own)))
}

/// Lends SQLite's own connection to a shard, on the session's thread; see [`with_connection`].
///
/// # Errors
/// Those of [`with_connection`] and of [`AsyncSession::run`].
pub async fn async_with_connection<O: Send + 'static>(
    session: &mut AsyncSession,
    shard: &str,
    run: impl FnOnce(&Connection) -> rusqlite::Result<O> + Send + 'static,
) -> Result<O> {
    let shard = shard.to_owned();
    session.run(move |session| with_connection(session, &shard, run)).await
}

/// Lends SQLite's own connection to a shard, on the session's thread, with an error type of the application; see
/// [`try_with_connection`].
///
/// # Errors
/// Those of [`try_with_connection`] and of [`AsyncSession::run`].
pub async fn async_try_with_connection<O, E>(
    session: &mut AsyncSession,
    shard: &str,
    run: impl FnOnce(&Connection) -> Result<O, E> + Send + 'static,
) -> Result<O, E>
where
    O: Send + 'static,
    E: From<Error> + Send + 'static,
{
    let shard = shard.to_owned();
    session.try_run(move |session| try_with_connection(session, &shard, run)).await
}

/// Returns one SQLite connection that reads the whole cluster: joins, windows and common table expressions over all
/// shards run in SQLite itself.
///
/// Each model has a temporary view with the name of its table, all of its columns and the rows of every shard. The view
/// of a reference table has the rows of the first shard. The column `shard` holds the shard's name, unless the model has
/// a column of that name. The databases are attached under the names of their shards (`asia.cities`); a file that holds
/// several shards by prefix is attached once, under the name of the first.
///
/// The shards are opened read-only, so that nothing can be written to them through this connection. It also has
/// `PRAGMA query_only`, which the caller can turn off to make temporary tables and views. It belongs to no session: it
/// reads committed rows and no pending changes, and `on_statement` is not called for it. Each statement reads one
/// snapshot of each file, but these begin one after another. A commit over several files may therefore be visible on
/// some of them only: there is no common snapshot of several write-ahead logs. Statements between `BEGIN` and `COMMIT`
/// read the same snapshots.
///
/// SQLite attaches 10 databases to a connection, or as many as it was built for, at most 125. A database in memory can be
/// attached, too. While a session writes it, a statement that reads it waits up to the busy timeout, then fails as
/// locked.
///
/// ```
/// # use shard_runtime::{Cluster, Sharded, sqlite};
/// # #[derive(Sharded, Clone, Debug)]
/// # #[sharded(table = "accounts")]
/// # struct Account {
/// #     #[id]
/// #     #[shard_key(hash)]
/// #     id: i64,
/// #     cents: i64,
/// # }
/// # fn main() -> shard_runtime::Result<()> {
/// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
/// # let mut session = cluster.session();
/// # session.add_all((0..20).map(|id| Account { id, cents: 100 * id }))?;
/// # session.commit()?;
/// let everything = sqlite::attached(&cluster)?;
/// let ranked = "SELECT id, shard, rank() OVER (ORDER BY cents DESC) AS place FROM accounts ORDER BY place LIMIT 1";
/// let richest: (i64, String) = everything.query_row(ranked, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
/// assert_eq!(richest.0, 19);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ErrorKind::TooManyDatabases`](crate::ErrorKind::TooManyDatabases) if there are more databases than SQLite attaches; [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the
/// names of two shards differ in case only, if a shard is named `main` or `temp` as a schema of SQLite, or if a shard is
/// on a server; [`ErrorKind::WrongDatabase`](crate::ErrorKind::WrongDatabase) if a database is not its shard any more; the errors of opening a database.
pub fn attached(cluster: &Cluster) -> Result<Connection> {
    cluster.attached()
}
