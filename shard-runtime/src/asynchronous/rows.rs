//! Rows that come from a session's thread as they are read, and no faster than they are taken.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::vec;

use futures_core::Stream;

use super::AsyncSession;
use super::task::TaskHandle;
use crate::error::{Error, Result};
use crate::query::Query;
use crate::session::Session;

/// The rows of the first chunk, and of the largest: the first comes soon, many cost little each.
const CHUNK: (usize, usize) = (16, 256);

/// How many chunks the thread is ahead of the task.
const AHEAD: usize = 2;

type Begin = Box<dyn FnOnce(&mut Session) -> Result<()> + Send>;

/// The rows of a query, one after the other: a `Stream`, made by [`AsyncSession::stream`].
///
/// Dropped, it stops reading on every shard.
#[must_use = "rows are read when they are awaited"]
pub struct Rows<'s, O> {
    session: &'s mut AsyncSession,
    /// The work of the thread, before it has begun.
    begin: Option<Begin>,
    asked: Option<TaskHandle<(), Error>>,
    pipe: Receiver<O>,
    chunk: vec::IntoIter<O>,
}

impl AsyncSession {
    /// Reads the rows of a query as they come, in its order: [`Session::for_each`] for async code. In memory
    /// are the rows that `for_each` keeps, and some hundred rows on their way to the task. If the task does not take them, the
    /// shards wait. The session can be used again when the rows have ended or are dropped.
    ///
    /// Until then the session is under way, with its thread and its connections: spend little time on
    /// each row.
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
    /// # session.add_all((1..9).map(|id| Account { id, cents: 100 * id })).await?;
    /// let mut budget = 600;
    /// let mut accounts = session.stream(Account::select().all_shards().order_by(Account::ID.asc()));
    /// while let Some(account) = accounts.next().await {
    ///     budget -= account?.cents;
    ///     if budget <= 0 {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(budget, 0);
    /// # Ok::<(), shard_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn stream<Q: Query<Output: Send + 'static> + Send + 'static>(
        &mut self,
        query: Q,
    ) -> Rows<'_, Q::Output> {
        let (mut sender, pipe) = pipe();
        let begin = move |session: &mut Session| {
            let visited = session.for_each(query, |row| Ok(sender.push(row)));
            // Where it fails, the rows before it come first.
            let _ = sender.flush();
            visited
        };
        let begin: Option<Begin> = Some(Box::new(begin));
        Rows { session: self, begin, asked: None, pipe, chunk: Vec::new().into_iter() }
    }
}

impl<O> Rows<'_, O> {
    /// The next row; `None` at the end. What `StreamExt::next` is, without another crate.
    ///
    /// # Errors
    /// Those of [`Session::for_each`] and of [`AsyncSession::run`]; then there are no more rows.
    pub async fn next(&mut self) -> Option<Result<O>> {
        poll_fn(|context| self.poll_row(context)).await
    }

    fn poll_row(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<O>>> {
        if self.begin.is_some() {
            let checkout = ready!(self.session.slot.poll_checkout(context));
            if let Some(begin) = self.begin.take() {
                self.asked = Some(self.session.ask(checkout, begin, Some(Arc::default())));
            }
        }
        loop {
            if let Some(row) = self.chunk.next() {
                return Poll::Ready(Some(Ok(row)));
            }
            match ready!(self.pipe.poll_take(context)) {
                Some(chunk) => self.chunk = chunk.into_iter(),
                None => break,
            }
        }
        let Some(asked) = &mut self.asked else { return Poll::Ready(None) };
        let end = ready!(Pin::new(asked).poll(context));
        self.asked = None;
        Poll::Ready(end.err().map(Err))
    }
}

impl<O> Drop for Rows<'_, O> {
    /// Stops reading. Without this the next verb of the session would wait for the rows to be taken.
    fn drop(&mut self) {
        self.asked = None;
    }
}

impl<O> fmt::Debug for Rows<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("is_reading", &self.asked.is_some()).finish_non_exhaustive()
    }
}

// Nothing in it is borrowed from itself.
impl<O> Unpin for Rows<'_, O> {}

impl<O> Stream for Rows<'_, O> {
    type Item = Result<O>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<O>>> {
        self.get_mut().poll_row(context)
    }
}

struct Pipe<O> {
    state: Mutex<State<O>>,
    /// A chunk was taken, or the receiver is gone.
    room: Condvar,
}

struct State<O> {
    chunks: VecDeque<Vec<O>>,
    waker: Option<Waker>,
    has_ended: bool,
    is_left: bool,
}

impl<O> Pipe<O> {
    fn lock(&self) -> MutexGuard<'_, State<O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Sender<O> {
    pipe: Arc<Pipe<O>>,
    chunk: Vec<O>,
    size: usize,
}

struct Receiver<O>(Arc<Pipe<O>>);

fn pipe<O>() -> (Sender<O>, Receiver<O>) {
    let state = State { chunks: VecDeque::new(), waker: None, has_ended: false, is_left: false };
    let pipe = Arc::new(Pipe { state: Mutex::new(state), room: Condvar::new() });
    (Sender { pipe: Arc::clone(&pipe), chunk: Vec::new(), size: CHUNK.0 }, Receiver(pipe))
}

impl<O> Sender<O> {
    /// Sends a row as soon as there is room. Breaks if the receiver is gone.
    fn push(&mut self, row: O) -> ControlFlow<()> {
        self.chunk.push(row);
        match self.chunk.len() < self.size {
            true => ControlFlow::Continue(()),
            false => self.flush(),
        }
    }

    /// Sends what there is of a chunk.
    fn flush(&mut self) -> ControlFlow<()> {
        let chunk = std::mem::take(&mut self.chunk);
        self.size = (self.size * 4).min(CHUNK.1);
        let mut state = self.pipe.lock();
        while state.chunks.len() >= AHEAD && !state.is_left {
            state = self.pipe.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_left {
            return ControlFlow::Break(());
        }
        state.chunks.push_back(chunk);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        ControlFlow::Continue(())
    }
}

impl<O> Drop for Sender<O> {
    fn drop(&mut self) {
        let mut state = self.pipe.lock();
        state.has_ended = true;
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<O> Receiver<O> {
    fn poll_take(&self, context: &mut Context<'_>) -> Poll<Option<Vec<O>>> {
        let mut state = self.0.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            drop(state);
            self.0.room.notify_one();
            return Poll::Ready(Some(chunk));
        }
        if state.has_ended {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<O> Drop for Receiver<O> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_left = true;
        let rest = std::mem::take(&mut state.chunks);
        drop(state);
        self.0.room.notify_one();
        drop(rest);
    }
}
