//! The async session: each verb runs on a thread of the cluster and is awaited.

mod answer;
mod opening;
mod rows;
mod slot;
mod task;
mod verbs;

use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

pub use rows::Rows;

use crate::error::{Error, Result};
use crate::schema::Shard;
use crate::session::Session;
use crate::tasks::{CancellationToken, Job, Span};
use crate::transaction::Cluster;
use crate::transaction::commit::Commit;
use slot::{Checkout, SessionSlot};
use task::{RollbackTask, SessionGuard, SessionTask, TaskHandle, after_panic};

/// A [`Session`] for async code: the same verbs with `.await`, on any runtime. [`Cluster::async_session`] makes one.
///
/// It is the same session: one of the cluster's threads runs each verb and then returns the session. No verb makes the
/// task's own thread wait for a lock, a connection or a server.
///
/// Sending a session to a thread takes a few times as long as a look-up by id, and is negligible for longer queries.
/// [`AsyncSession::run`] runs many steps on the thread at once. Two cases are faster on the task's own thread and run there.
/// One is a [`get`](AsyncSession::get) from files if earlier ones were quick. The other is the end of a session that has
/// only read files.
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
/// # smol::block_on(async {
/// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
/// let mut session = cluster.async_session();
/// session.add(Account { id: 7, cents: 100 }).await?;
/// session.commit().await?;
///
/// let mut account = session.get::<Account>(7).await?.expect("it was added");
/// account.cents += 50;
/// session.update(&mut account).await?;
/// session.commit().await?;
/// # Ok::<(), shard_runtime::Error>(())
/// # }).unwrap();
/// ```
///
/// # Sessions and threads
///
/// A session is *active* from the first verb that reads or writes until the commit or the rollback. An active session
/// holds a connection of every database that it uses. One of the cluster's threads for async sessions is reserved for
/// it; [`Builder::async_sessions`](crate::Builder::async_sessions) limits their number. So a session that holds a lock
/// can always continue and release the lock, even if many other threads block for that lock.
///
/// If all threads are reserved, further sessions wait without a thread, first come, first served; thousands can wait. A
/// session fails with [`ErrorKind::Busy`](crate::ErrorKind::Busy) if no thread becomes free within the
/// [`Builder::busy_timeout`](crate::Builder::busy_timeout). So a task that holds an active session must not begin
/// another one.
///
/// A session that has only read is active, too: commit it or roll it back before the task does something else for long.
///
/// # Futures that are dropped
///
/// The future of a verb can be dropped at any time, by a timeout or a `select!`, and the session can still be used:
///
/// - A verb that has not begun does nothing.
/// - A verb that reads is cancelled (`get`, `all`, `all_available`, `all_with`, `first`, `one`, `parent`, `reload`,
///   `stream`).
/// - Any other verb runs to its end, and its answer is lost. A statement that has begun is part of the transaction, and
///   a commit that has begun ends on every shard. The handle of a row that the verb changes is not updated: use
///   [`reload`](AsyncSession::reload).
///
/// The next verb waits for that end. If the verb without a future fails, the transaction is aborted. Every later verb
/// then fails with [`ErrorKind::TransactionAborted`](crate::ErrorKind::TransactionAborted), which names that failure,
/// until the session is rolled back. If it matters whether a statement has run, roll back; after a commit, read a row of
/// the transaction.
///
/// # Sessions that are dropped
///
/// A session that is dropped is rolled back on its thread, which releases its connections. The task does not wait for
/// that. A commit that has begun is not stopped.
#[must_use = "a session does nothing until it is used"]
pub struct AsyncSession {
    cluster: Cluster,
    slot: Arc<SessionSlot>,
    pinned: Option<usize>,
    /// The settings since the session was last used by a verb.
    commit: Option<Commit>,
    timeout: Option<Option<Duration>>,
}

impl Cluster {
    /// Returns an async session. It takes no connection until it is used.
    pub fn async_session(&self) -> AsyncSession {
        let cluster = self.latest();
        AsyncSession::new(cluster.clone(), None)
    }

    /// Returns an async session that uses only one shard; see [`Cluster::session_on_shard`].
    ///
    /// # Errors
    /// [`ErrorKind::UnknownShard`](crate::ErrorKind::UnknownShard)
    pub fn async_session_on_shard(&self, shard: &str) -> Result<AsyncSession> {
        let cluster = self.latest();
        Ok(AsyncSession::new(cluster.clone(), Some(cluster.shards().require(shard)?.index())))
    }

    /// Runs a transaction on a thread, and again after a conflict; see [`Cluster::transaction`]. If the future is
    /// dropped, the transaction does not begin, or runs to its end.
    ///
    /// The closure is `'static`, since it runs on another thread: `move` values into it. It may run again, so clone the
    /// values that it consumes.
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
    /// # smol::block_on(async {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// let added = cluster.async_transaction(|session| {
    ///     session.add(Account { id: 7, cents: 100 })?;
    ///     session.one(Account::select().all_shards().count())
    /// });
    /// assert_eq!(added.await?, 1);
    /// # Ok::<(), shard_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Those of [`Cluster::transaction`] and of [`AsyncSession::run`].
    pub async fn async_transaction<O: Send + 'static>(
        &self,
        run: impl FnMut(&mut Session) -> Result<O> + Send + 'static,
    ) -> Result<O> {
        self.async_try_transaction(run).await
    }

    /// Runs a transaction like [`async_transaction`](Cluster::async_transaction), with an error type of the application; see
    /// [`Cluster::try_transaction`].
    ///
    /// # Errors
    /// Those of [`Cluster::try_transaction`] and of [`AsyncSession::run`].
    pub async fn async_try_transaction<O, E>(
        &self,
        run: impl FnMut(&mut Session) -> Result<O, E> + Send + 'static,
    ) -> Result<O, E>
    where
        O: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        // The async session only reserves a thread: each try has its own session.
        let cluster = self.clone();
        self.async_session().try_run(move |_| cluster.try_transaction(run)).await
    }
}

impl AsyncSession {
    fn new(cluster: Cluster, pinned: Option<usize>) -> Self {
        let slot = Arc::new(SessionSlot::new(Session::new(cluster.clone(), pinned)));
        AsyncSession { cluster, slot, pinned, commit: None, timeout: None }
    }

    /// Returns the cluster of this session.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Returns the shard that the session is pinned to, if [`Cluster::async_session_on_shard`] made it.
    pub fn pinned_to(&self) -> Option<&Shard> {
        self.pinned.and_then(|shard| self.cluster.layout().shards().by_index(shard))
    }

    /// Sets how the next transactions are committed; see [`Session::set_commit`].
    pub fn set_commit(&mut self, commit: Commit) {
        self.commit = Some(commit);
    }

    /// Sets how long a read may take; see [`Session::set_timeout`].
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = Some(timeout);
    }

    /// Runs a closure with the session on its thread. The closure may block for databases, and should not block for
    /// anything else. It decides whether it commits or rolls back: afterwards the session stays in its transaction. If
    /// the future is dropped, the closure still runs to its end.
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
    /// # smol::block_on(async {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// # let mut session = cluster.async_session();
    /// # session.add_all((1..5).map(|id| Account { id, cents: 100 })).await?;
    /// let rest = session.run(|session| {
    ///     let (from, to) = (session.get::<Account>(1)?, session.get::<Account>(2)?);
    ///     let (Some(mut from), Some(mut to)) = (from, to) else { return Ok(None) };
    ///     (from.cents, to.cents) = (from.cents - 30, to.cents + 30);
    ///     session.update(&mut from)?;
    ///     session.update(&mut to)?;
    ///     session.commit()?;
    ///     Ok(Some(from.cents))
    /// });
    /// assert_eq!(rest.await?, Some(70));
    /// # Ok::<(), shard_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// - Those of the closure.
    /// - [`ErrorKind::TransactionAborted`](crate::ErrorKind::TransactionAborted) if the closure panics. Then the
    ///   transaction is undone, and the session has to be rolled back before it is used again.
    /// - [`ErrorKind::Busy`](crate::ErrorKind::Busy) if no thread became free in time. Then nothing was done.
    /// - [`ErrorKind::Io`](crate::ErrorKind::Io) if no thread could be started. Then nothing was done.
    pub async fn run<O: Send + 'static>(
        &mut self,
        run: impl FnOnce(&mut Session) -> Result<O> + Send + 'static,
    ) -> Result<O> {
        self.try_run(run).await
    }

    /// Runs a closure like [`run`](AsyncSession::run), with an error type of the application.
    ///
    /// # Errors
    /// Those of [`run`](AsyncSession::run).
    pub async fn try_run<O, E>(
        &mut self,
        run: impl FnOnce(&mut Session) -> Result<O, E> + Send + 'static,
    ) -> Result<O, E>
    where
        O: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let checkout = poll_fn(|context| self.slot.poll_checkout(context)).await;
        self.send_task(checkout, run, None).await
    }

    /// Runs a verb that only reads. It is cancelled if its future is dropped.
    async fn read<O: Send + 'static>(
        &mut self,
        run: impl FnOnce(&mut Session) -> Result<O> + Send + 'static,
    ) -> Result<O> {
        let checkout = poll_fn(|context| self.slot.poll_checkout(context)).await;
        self.send_task(checkout, run, Some(Arc::default())).await
    }

    /// Sends the session with a job to a thread.
    fn send_task<O, E>(
        &mut self,
        checkout: Checkout,
        run: impl FnOnce(&mut Session) -> Result<O, E> + Send + 'static,
        cancellation: Option<Arc<CancellationToken>>,
    ) -> TaskHandle<O, E>
    where
        O: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let mut guard = self.guard(checkout);
        self.apply_settings(&mut guard);
        let executor = self.cluster.session_executor();
        let (sender, answer) = answer::answer();
        let is_active = guard.is_active();
        let task = Box::new(SessionTask {
            guard,
            run,
            sender,
            span: Span::current(),
            cancellation: cancellation.clone(),
        });
        let waiter = match is_active {
            true => {
                executor.resume(task);
                None
            }
            false => executor.begin(task),
        };
        TaskHandle::new(answer, executor.clone(), waiter, cancellation, Arc::clone(&self.slot))
    }

    /// Runs a closure here, which takes no longer than waking a thread. Returns `None` if the session is not in its
    /// slot, if no thread is free, or if the closure returns `None`. Then a thread runs the verb.
    fn at_once<O>(&mut self, run: impl FnOnce(&mut Session) -> Option<O>) -> Option<Result<O>> {
        let mut guard = self.guard(self.slot.take()?);
        self.apply_settings(&mut guard);
        if !guard.try_activate() {
            return None;
        }
        let session = guard.session()?;
        let done = catch_unwind(AssertUnwindSafe(|| run(session)));
        done.map_or_else(|thrown| Some(Err(after_panic(session, thrown))), |done| done.map(Ok))
    }

    /// Applies the settings since the session was last used.
    fn apply_settings(&mut self, guard: &mut SessionGuard) {
        if let Some(session) = guard.session() {
            self.commit.take().into_iter().for_each(|commit| session.set_commit(commit));
            self.timeout.take().into_iter().for_each(|timeout| session.set_timeout(timeout));
        }
    }

    fn guard(&self, checkout: Checkout) -> SessionGuard {
        SessionGuard::new(checkout, Arc::clone(&self.slot), self.cluster.session_executor().clone())
    }
}

/// Prints the cluster and the shard that the session is pinned to, and no row.
impl fmt::Debug for AsyncSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut session = f.debug_struct("AsyncSession");
        session.field("cluster", self.cluster()).field("pinned_to", &self.pinned_to());
        session.finish_non_exhaustive()
    }
}

impl Drop for AsyncSession {
    fn drop(&mut self) {
        // A session that is on a thread is rolled back there. One that is not active has nothing to roll back.
        if let Some(checkout) = self.slot.close().filter(|checkout| checkout.is_active) {
            let executor = self.cluster.session_executor();
            let ends_at_once = checkout.session.work.tx.ends_at_once();
            let task = Box::new(RollbackTask { checkout, executor: executor.clone() });
            if ends_at_once { task.run() } else { executor.resume(task) }
        }
    }
}
