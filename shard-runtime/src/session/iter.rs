//! The rows of a query as an iterator.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use super::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::query::Query;
use crate::tasks::{CancellationToken, Span};
use crate::unit_of_work::UnitOfWork;

/// The number of rows in the first chunk, and in the largest one. The first row is returned soon; larger chunks cost
/// less per row.
const CHUNK: (usize, usize) = (16, 256);

/// How many chunks the thread reads ahead of the caller.
const AHEAD: usize = 2;

/// The unit of work that the thread returns, with the result of the read or its panic.
type Ended = (UnitOfWork, thread::Result<Result<()>>);

/// The rows of a query, one after the other; made by [`Session::iter`].
///
/// If it is dropped, reading stops on every shard, and the session can be used again.
#[must_use = "rows are read as they are taken"]
pub struct Iter<'s, O> {
    session: &'s mut Session,
    chunk: std::vec::IntoIter<O>,
    chunks: Option<Receiver<Vec<O>>>,
    thread: Option<JoinHandle<Option<Ended>>>,
    /// The error of starting the thread.
    failed: Option<Error>,
    cancellation: Arc<CancellationToken>,
}

impl Session {
    /// Returns the rows of a query, one after the other, in its order. About a thousand rows are in memory at once, for
    /// any number of rows. The session can be used again when the iterator has ended or is dropped.
    ///
    /// A thread is started for the iterator, and reads the shards no faster than the caller takes the rows. To visit
    /// rows on the calling thread, use [`for_each`](Session::for_each).
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
    /// # let mut session = cluster.session();
    /// # session.add_all((1..9).map(|id| Account { id, cents: 100 * id }))?;
    /// let mut budget = 600;
    /// for account in session.iter(Account::select().all_shards().order_by(Account::ID.asc())) {
    ///     budget -= account?.cents;
    ///     if budget <= 0 {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(budget, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Session::all`], as the last item.
    pub fn iter<Q>(&mut self, query: Q) -> Iter<'_, Q::Output>
    where
        Q: Query<Output: Send + 'static> + Send + 'static,
    {
        let cancellation = Arc::<CancellationToken>::default();
        let (sender, chunks) = sync_channel(AHEAD);
        // The thread receives the session once it runs: if it cannot be started, the session keeps its transactions.
        let (give, take) = channel::<Session>();
        let (span, token) = (Span::current(), Arc::clone(&cancellation));
        let read = move || {
            let mut session = take.recv().ok()?;
            session.set_cancellation(Some(token));
            let read = catch_unwind(AssertUnwindSafe(|| span.enclose(|| send(&mut session, query, sender))));
            session.set_cancellation(None);
            let read = read.inspect_err(|_| session.reset_after_panic(&panicked()));
            Some((session.into_work(), read))
        };
        let started = thread::Builder::new().name("sharded-iter".to_owned()).spawn(read);
        let (thread, failed) = match started {
            Ok(thread) => {
                let _ = give.send(Session { work: self.take_work() });
                (Some(thread), None)
            }
            Err(error) => {
                let message = "no thread could be started to read the rows";
                (None, Some(Error::new(ErrorKind::Io, message).with_source(error)))
            }
        };
        Iter {
            session: self,
            chunk: Vec::new().into_iter(),
            chunks: Some(chunks),
            thread,
            failed,
            cancellation,
        }
    }
}

fn panicked() -> Error {
    Error::new(ErrorKind::TransactionAborted, "the caller's code has panicked while rows were read")
}

/// Reads the rows, and sends them in chunks, until the rows end or the receiver is dropped.
fn send<Q: Query>(session: &mut Session, query: Q, sender: SyncSender<Vec<Q::Output>>) -> Result<()> {
    let (mut chunk, mut rows) = (Vec::with_capacity(CHUNK.0), CHUNK.0);
    let read = session.for_each(query, |row| {
        chunk.push(row);
        if chunk.len() < rows {
            return Ok(ControlFlow::Continue(()));
        }
        rows = (rows * 4).min(CHUNK.1);
        match sender.send(std::mem::replace(&mut chunk, Vec::with_capacity(rows))) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(_) => Ok(ControlFlow::Break(())),
        }
    });
    // After an error the rows before it are still sent.
    let _ = sender.send(chunk);
    read
}

impl<O> Iter<'_, O> {
    /// Takes the session back from the thread. Returns the result of its read.
    fn end(&mut self) -> thread::Result<Result<()>> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Some((work, read)))) => {
                self.session.work = work;
                read
            }
            Some(Err(thrown)) => Err(thrown),
            Some(Ok(None)) | None => Ok(Ok(())),
        }
    }
}

impl<O> Iterator for Iter<'_, O> {
    type Item = Result<O>;

    fn next(&mut self) -> Option<Result<O>> {
        loop {
            if let Some(row) = self.chunk.next() {
                return Some(Ok(row));
            }
            match self.chunks.as_ref().and_then(|chunks| chunks.recv().ok()) {
                Some(chunk) => self.chunk = chunk.into_iter(),
                None => {
                    self.chunks = None;
                    let read = self.end().unwrap_or_else(|thrown| resume_unwind(thrown));
                    return self.failed.take().or(read.err()).map(Err);
                }
            }
        }
    }
}

impl<O> std::iter::FusedIterator for Iter<'_, O> {}

impl<O> Drop for Iter<'_, O> {
    fn drop(&mut self) {
        self.chunks = None;
        self.cancellation.cancel();
        // The caller has dropped the iterator: its rows and its error are not needed.
        let _ = self.end();
    }
}

impl<O> std::fmt::Debug for Iter<'_, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter").field("is_reading", &self.thread.is_some()).finish_non_exhaustive()
    }
}
