//! Transactions that are retried after a conflict.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Session;
use crate::error::{Error, Result};
use crate::transaction::Cluster;

impl Cluster {
    /// Runs a closure in its own session and commits it. If the closure fails, the session is rolled back.
    ///
    /// After a [retryable](Error::is_retryable) error the closure runs again in a new session, after a pause:
    /// [`RetryPolicy`](crate::RetryPolicy) sets how often (by default ten times in all). The closure's side effects may
    /// therefore be repeated. A closure with an error type of the application runs in
    /// [`try_transaction`](Cluster::try_transaction).
    ///
    /// A retry first takes the locks that earlier tries held or waited for, in the cluster's order: it begins to write
    /// these databases. On servers it also excludes other retries. It runs the closure only if it gets the locks. So
    /// two transactions that lock the same databases in opposite orders conflict once only. The conflict is detected at
    /// once for SQLite databases, and after 20 ms if one of them waits for a server; see
    /// [`Builder::busy_timeout`](crate::Builder::busy_timeout).
    ///
    /// If a server was lost or has become a standby, the closure runs again until the busy timeout is over, after any
    /// number of tries. A failover takes seconds, and new connections find the new primary. A policy of one try excludes
    /// this.
    ///
    /// A commit is never repeated if its outcome is unknown ([`ErrorKind::InDoubt`](crate::ErrorKind::InDoubt)), or if
    /// it stored a part ([`ErrorKind::PartialCommit`](crate::ErrorKind::PartialCommit)).
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// # cluster.transaction(|session| {
    /// #     session.add_all((1..5).map(|id| Account { id, cents: 100 }))?;
    /// #     Ok(())
    /// # })?;
    /// let left = cluster.transaction(|session| {
    ///     let mut account = session.get::<Account>(3)?.expect("there is such an account");
    ///     account.cents -= 30;
    ///     session.update(&mut account)?;
    ///     Ok(account.cents)
    /// })?;
    /// assert_eq!(left, 70);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the closure and of [`Session::commit`], from the last try.
    pub fn transaction<O>(&self, run: impl FnMut(&mut Session) -> Result<O>) -> Result<O> {
        self.try_transaction(run)
    }

    /// Runs a transaction like [`transaction`](Cluster::transaction), with a closure that fails with an error type of the
    /// application. If its type cannot be inferred, name it: `Ok::<_, Refused>(…)`.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Error, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// #[derive(Debug)]
    /// enum Refused {
    ///     Overdrawn,
    ///     Database(Error),
    /// }
    ///
    /// impl From<Error> for Refused {
    ///     fn from(error: Error) -> Self {
    ///         Refused::Database(error)
    ///     }
    /// }
    ///
    /// fn withdraw(cluster: &Cluster, id: i64, cents: i64) -> Result<(), Refused> {
    ///     cluster.try_transaction(|session| {
    ///         let account = session.get::<Account>(id)?.filter(|account| account.cents >= cents);
    ///         let mut account = account.ok_or(Refused::Overdrawn)?;
    ///         account.cents -= cents;
    ///         Ok(session.update(&mut account)?)
    ///     })
    /// }
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// # cluster.transaction(|session| session.add(Account { id: 3, cents: 100 }))?;
    /// assert!(withdraw(&cluster, 3, 70).is_ok());
    /// assert!(matches!(withdraw(&cluster, 3, 70), Err(Refused::Overdrawn)));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`transaction`](Cluster::transaction). Only errors of the session lead to another try.
    pub fn try_transaction<O, E: From<Error>>(
        &self,
        mut run: impl FnMut(&mut Session) -> Result<O, E>,
    ) -> Result<O, E> {
        let policy = self.latest().0.retry;
        let mut tried = 1;
        let mut lost_since = None;
        let (mut age, mut wanted) = (None, BTreeMap::new());
        loop {
            let mut session = self.session();
            let layout = session.work.tx.cluster.clone();
            (session.work.tx.age, session.work.tx.gives_up_early) = (age, tried <= policy.early_tries());
            let result = session.work.tx.lock_in_order(&wanted).map_err(E::from);
            let result = result
                .and_then(|()| run(&mut session))
                .and_then(|done| session.commit().map(|_| done).map_err(E::from));
            let has_time = policy.tries > 1
                && session.work.tx.has_lost_a_server
                && lost_since.get_or_insert_with(Instant::now).elapsed() < self.busy_timeout();
            let has_tries = tried < policy.tries || has_time;
            if result.is_ok() || !session.work.tx.had_conflict || session.work.tx.may_be_stored || !has_tries
            {
                return result;
            }
            age = session.work.tx.age;
            // The loss of a server has nothing to do with the order of locks, and the closure may not need that server
            // again.
            let has_new_layout = !std::sync::Arc::ptr_eq(&layout.0, &self.latest().0);
            match session.work.tx.has_lost_a_server || has_new_layout {
                true => wanted.clear(),
                false => wanted.append(&mut session.work.tx.wanted),
            }
            drop(session);
            self.counters().count_retry();
            std::thread::sleep(policy.pause(tried));
            tried += 1;
        }
    }
}
