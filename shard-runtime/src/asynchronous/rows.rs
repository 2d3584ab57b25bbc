//! A stream of rows. The session's thread reads them no faster than the task takes them.

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

/// The number of rows in the first chunk, and in the largest one. The first row is sent soon; larger chunks cost less
/// per row.
const CHUNK: (usize, usize) = (16, 256);

/// How many chunks the thread reads ahead of the task.
const AHEAD: usize = 2;

type Begin = Box<dyn FnOnce(&mut Session) -> Result<()> + Send>;

/// The rows of a query, one after the other: a `Stream`, made by [`AsyncSession::stream`].
///
/// If it is dropped, reading stops on every shard.
#[must_use = "rows are read when they are awaited"]
pub struct Rows<'s, O> {
    session: &'s mut AsyncSession,
    /// The function that reads the rows, until a thread has it.
    begin: Option<Begin>,
    task: Option<TaskHandle<(), Error>>,
    pipe: Receiver<O>,
    chunk: vec::IntoIter<O>,
}

impl AsyncSession {
    /// Returns a stream of a query's rows, in its order: [`Session::for_each`] for async code. In memory are the rows
    /// that `for_each` keeps, and some hundred more on their way to the task. While the task does not take them, the
    /// shards are not read further. The session can be used again when the stream has ended or is dropped.
    ///
    /// Until then the session keeps its thread and its connections: spend little time on each row.
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
            // After an error the rows before it are still sent.
            let _ = sender.flush();
            visited
        };
        let begin: Option<Begin> = Some(Box::new(begin));
        Rows { session: self, begin, task: None, pipe, chunk: Vec::new().into_iter() }
    }
}

impl<O> Rows<'_, O> {
    /// Returns the next row; `None` at the end. It does the same as `StreamExt::next`, without another crate.
    ///
    /// # Errors
    /// Those of [`Session::for_each`] and of [`AsyncSession::run`]. Then there are no more rows.
    pub async fn next(&mut self) -> Option<Result<O>> {
        poll_fn(|context| self.poll_row(context)).await
    }

    fn poll_row(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<O>>> {
        if self.begin.is_some() {
            let checkout = ready!(self.session.slot.poll_checkout(context));
            if let Some(begin) = self.begin.take() {
                self.task = Some(self.session.send_task(checkout, begin, Some(Arc::default())));
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
        let Some(task) = &mut self.task else { return Poll::Ready(None) };
        let end = ready!(Pin::new(task).poll(context));
        self.task = None;
        Poll::Ready(end.err().map(Err))
    }
}

impl<O> Drop for Rows<'_, O> {
    /// Stops reading. Without this the next verb of the session would wait for the rows to be taken.
    fn drop(&mut self) {
        self.task = None;
    }
}

impl<O> fmt::Debug for Rows<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("is_reading", &self.task.is_some()).finish_non_exhaustive()
    }
}

// No field borrows from another one.
impl<O> Unpin for Rows<'_, O> {}

impl<O> Stream for Rows<'_, O> {
    type Item = Result<O>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<O>>> {
        self.get_mut().poll_row(context)
    }
}

struct Pipe<O> {
    state: Mutex<State<O>>,
    /// Notified when a chunk was taken, or the receiver was dropped.
    room: Condvar,
}

struct State<O> {
    chunks: VecDeque<Vec<O>>,
    waker: Option<Waker>,
    has_ended: bool,
    receiver_dropped: bool,
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
    let state = State { chunks: VecDeque::new(), waker: None, has_ended: false, receiver_dropped: false };
    let pipe = Arc::new(Pipe { state: Mutex::new(state), room: Condvar::new() });
    (Sender { pipe: Arc::clone(&pipe), chunk: Vec::new(), size: CHUNK.0 }, Receiver(pipe))
}

impl<O> Sender<O> {
    /// Adds a row to the chunk, and sends a full chunk as soon as there is room. Breaks if the receiver was dropped.
    fn push(&mut self, row: O) -> ControlFlow<()> {
        self.chunk.push(row);
        match self.chunk.len() < self.size {
            true => ControlFlow::Continue(()),
            false => self.flush(),
        }
    }

    /// Sends the rows of the current chunk.
    fn flush(&mut self) -> ControlFlow<()> {
        let chunk = std::mem::take(&mut self.chunk);
        self.size = (self.size * 4).min(CHUNK.1);
        let mut state = self.pipe.lock();
        while state.chunks.len() >= AHEAD && !state.receiver_dropped {
            state = self.pipe.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.receiver_dropped {
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
        state.receiver_dropped = true;
        let rest = std::mem::take(&mut state.chunks);
        drop(state);
        self.0.room.notify_one();
        drop(rest);
    }
}
