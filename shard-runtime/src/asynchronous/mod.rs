//! The async face of the session: every verb takes the session to a thread, and awaits it there.

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
/// It is the same session, which goes to one of the cluster's threads with a verb and comes back with the answer; no verb
/// makes the task's own thread wait for a lock, a connection or a server. That way costs a few times a look-up by an id, and
/// nothing beside a query that takes longer: [`AsyncSession::run`] takes many steps with one. A
/// [`get`](AsyncSession::get) from files that answered quickly before, and the end of a session that has only read files,
/// take no longer than that way: the task's own thread does them.
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
/// A session is under way from the first verb that reads or writes until the commit or the rollback. While it is, it
/// holds a connection of every database that it uses, and has one of the cluster's threads for async sessions to itself,
/// as [`Builder::async_sessions`](crate::Builder::async_sessions) counts them. So a session that holds a lock can always
/// go on and give it back, however many others keep threads waiting for that lock. A session that begins while all
/// threads are taken waits for its turn, first come, first served, without a thread: thousands may. It fails with
/// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if no session gets a turn during the
/// [`Builder::busy_timeout`](crate::Builder::busy_timeout). So do not write a task that holds one session while it begins
/// another.
///
/// A session that was only read from is under way, too: commit it or roll it back before doing something else for long.
///
/// # Futures that are dropped
///
/// The future of a verb may be dropped at any time, by a timeout or a `select!`, and the session can be used on:
///
/// - a verb that has not begun does nothing;
/// - a verb that reads is cancelled (`get`, `all`, `all_available`, `all_with`, `first`, `one`, `parent`, `reload`, `stream`);
/// - any other verb runs to its end, and its answer is lost: a statement that has begun is part of the transaction, and a
///   commit that has begun ends on every shard. The handle of a row that it changes stays as it was:
///   [`reload`](AsyncSession::reload) it.
///
/// The next verb waits for that end. If the other verb fails, the transaction is aborted: every later verb fails with
/// [`ErrorKind::TransactionAborted`](crate::ErrorKind::TransactionAborted), which names that failure, until the session is
/// rolled back. If the application needs to know whether a statement has run, it rolls back; after a
/// commit it reads a row of the transaction.
///
/// # Sessions that are dropped
///
/// A session that is dropped is rolled back on its thread, which frees its connections. The task does not wait for that. A
/// commit that has begun is not stopped.
#[must_use = "a session does nothing until it is used"]
pub struct AsyncSession {
    cluster: Cluster,
    slot: Arc<SessionSlot>,
    pinned: Option<usize>,
    /// The settings that were made since the session was last on a thread.
    commit: Option<Commit>,
    timeout: Option<Option<Duration>>,
}

impl Cluster {
    /// Returns an async session: a unit of work on this cluster. It takes no connection until it is used.
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

    /// Runs a transaction on a thread, and again after a conflict; see [`Cluster::transaction`]. If its future is dropped, it
    /// does not begin, or runs to its end.
    ///
    /// The closure is `'static`, since it runs on another thread: `move` values into it that it owns. It may run again, so it
    /// clones what it consumes.
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
        // The session is there for its thread; each try has one of its own.
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

    /// Takes many steps in one go: the closure is run with the session on its thread, where it may wait for databases
    /// and for nothing else. It is neither committed nor rolled back after it, unless the closure does so. It is not
    /// stopped where the future is dropped.
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
    /// The closure's. [`ErrorKind::TransactionAborted`](crate::ErrorKind::TransactionAborted) where it panics: then the unit of work is undone,
    /// and the session has to be rolled back before it is used on. [`ErrorKind::Busy`](crate::ErrorKind::Busy) where the
    /// session's turn has not come; [`ErrorKind::Io`](crate::ErrorKind::Io) where no thread could be started. Then
    /// nothing was done.
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
        self.ask(checkout, run, None).await
    }

    /// The same for a verb that only reads. It is cancelled if its future is dropped.
    async fn read<O: Send + 'static>(
        &mut self,
        run: impl FnOnce(&mut Session) -> Result<O> + Send + 'static,
    ) -> Result<O> {
        let checkout = poll_fn(|context| self.slot.poll_checkout(context)).await;
        self.ask(checkout, run, Some(Arc::default())).await
    }

    /// Sends the session to a thread.
    fn ask<O, E>(
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
        let threads = self.cluster.session_executor();
        let (sender, answer) = answer::answer();
        let is_under_way = guard.is_under_way();
        let task = Box::new(SessionTask {
            guard,
            run,
            sender,
            span: Span::current(),
            cancellation: cancellation.clone(),
        });
        let waiter = match is_under_way {
            true => {
                threads.resume(task);
                None
            }
            false => threads.begin(task),
        };
        TaskHandle::new(answer, threads.clone(), waiter, cancellation, Arc::clone(&self.slot))
    }

    /// Does something here that takes no longer than waking a thread. Returns `None` if the session is not here, if it has no
    /// turn, or if `run` returns that: then a thread does it.
    fn at_once<O>(&mut self, run: impl FnOnce(&mut Session) -> Option<O>) -> Option<Result<O>> {
        let mut guard = self.guard(self.slot.take()?);
        self.apply_settings(&mut guard);
        if !guard.get_under_way() {
            return None;
        }
        let session = guard.session()?;
        let done = catch_unwind(AssertUnwindSafe(|| run(session)));
        done.map_or_else(|thrown| Some(Err(after_panic(session, thrown))), |done| done.map(Ok))
    }

    /// Gives the session the settings that were made since it was last used.
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
        // Where it is on a thread, it is rolled back there. One that is not under way has nothing to roll back.
        if let Some(checkout) = self.slot.leave().filter(|checkout| checkout.is_under_way) {
            let threads = self.cluster.session_executor();
            let ends_at_once = checkout.session.work.tx.ends_at_once();
            let task = Box::new(RollbackTask { checkout, threads: threads.clone() });
            if ends_at_once { task.run() } else { threads.resume(task) }
        }
    }
}
