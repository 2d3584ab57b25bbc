//! SQLite connections of [`rusqlite`].
//!
//! This module and `From<rusqlite::Error>` for [`Error`] are the only parts of the crate with types of `rusqlite`. A
//! new major version of `rusqlite` changes them in a minor version of this crate.

use rusqlite::Connection;

use crate::asynchronous::AsyncSession;
use crate::error::{Error, Result};
use crate::session::{Session, with_own_error};
use crate::transaction::Cluster;

/// The crate that drives SQLite. A program can link only one `libsqlite3`, so use `rusqlite` from here.
pub use rusqlite;

/// Runs a closure with SQLite's own connection to a shard, inside the session's write transaction there. It is for
/// operations that neither the queries nor [`Sql`](crate::Sql) can express. Pending changes of the shard are sent
/// first, and the identity map is emptied. The closure's changes are committed and rolled back with the session. If the
/// closure fails, they are undone. The call counts as one statement of the shard.
///
/// These changes cannot be part of a commit over several databases: recovery could not repeat them on a shard that
/// missed it (see [`Session::commit`](crate::Session::commit)).
///
/// The transaction belongs to the session: a closure that ends it (`COMMIT`, `ROLLBACK`) aborts the session's
/// transaction. A shard with a prefix shares its database with other shards, and its tables have names with the prefix.
/// Later sessions use the same connection: a setting (`PRAGMA`), a temporary table or an attached database stays unless
/// the closure removes it.
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
/// - [`ErrorKind::UnknownShard`](crate::ErrorKind::UnknownShard)
/// - [`ErrorKind::ContradictingPins`](crate::ErrorKind::ContradictingPins)
/// - Those of sending pending changes and of beginning to write.
/// - Those of the closure, with the shard's name.
/// - [`ErrorKind::TransactionAborted`](crate::ErrorKind::TransactionAborted) if the closure has ended the transaction.
///   The session then has to be rolled back before it is used again. Changes that the closure has committed stay
///   committed.
pub fn with_connection<O>(
    session: &mut Session,
    shard: &str,
    run: impl FnOnce(&Connection) -> rusqlite::Result<O>,
) -> Result<O> {
    session.with_connection(shard, |connection| Ok(run(connection)?))
}

/// Runs a closure with SQLite's own connection like [`with_connection`], with an error type of the application.
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

/// Runs a closure with SQLite's own connection on the session's thread; see [`with_connection`].
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

/// Runs a closure with SQLite's own connection on the session's thread, with an error type of the application; see
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
/// of a reference table has the rows of the first shard. The column `shard` holds the shard's name, unless the model
/// has a column of that name. The databases are attached under the names of their shards (`asia.cities`). A file that
/// holds several shards by prefix is attached once, under the name of the first.
///
/// The shards are opened read-only: the connection cannot write to them. It also has `PRAGMA query_only`, which the
/// caller can turn off to make temporary tables and views. It is independent of all sessions: it reads committed rows
/// and no pending changes, and `on_statement` is not called for it.
///
/// Each statement reads one snapshot of each file, but these begin one after another. A commit over several files may
/// therefore be visible on some of them only: there is no common snapshot of several write-ahead logs. Statements
/// between `BEGIN` and `COMMIT` read the same snapshots.
///
/// SQLite attaches 10 databases to a connection, or as many as it was built for, at most 125. A database in memory can
/// be attached, too. While a session writes it, a statement that reads it waits up to the busy timeout, then fails
/// because it is locked.
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
/// - [`ErrorKind::TooManyDatabases`](crate::ErrorKind::TooManyDatabases) if there are more databases than SQLite
///   attaches.
/// - [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the names of two shards differ in case only.
/// - [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if a shard has the name `main` or `temp` of SQLite's
///   own schemas, or is on a server.
/// - [`ErrorKind::WrongDatabase`](crate::ErrorKind::WrongDatabase) if a database is not its shard any more.
/// - Those of opening a database.
pub fn attached(cluster: &Cluster) -> Result<Connection> {
    cluster.attached()
}
