//! The event loop of one connection, which the waiting thread runs. Uses `error`.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::driver::LongWaits;
use crate::error::{Error, ErrorKind, Exhausted, Result, TOO_MANY_FILES, has_no_descriptor};

/// The time after which a wait is reported that may be for a lock, and the interval of later reports.
const BLOCKED: Duration = Duration::from_millis(100);
const STILL_BLOCKED: Duration = Duration::from_secs(1);

pub(super) struct Executor {
    runtime: Arc<Runtime>,
    stop: Arc<Stop>,
    /// The observer, set while waits may be for locks.
    blocked: RefCell<Option<LongWaits>>,
}

/// A handle that ends a wait from another thread.
#[derive(Default)]
pub(super) struct Stop {
    reason: AtomicU8,
    waiter: AtomicWaker,
}

/// The reason for which a wait must end.
const RUNNING: u8 = 0;
const CANCELLED: u8 = 1;
const DEADLOCK: u8 = 2;

impl Stop {
    pub(super) fn cancel(&self) {
        self.reason.store(CANCELLED, Ordering::Release);
        self.waiter.wake();
    }

    /// Ends the wait because it is part of a deadlock.
    fn break_deadlock(&self) {
        let _ = self.reason.compare_exchange(RUNNING, DEADLOCK, Ordering::AcqRel, Ordering::Acquire);
        self.waiter.wake();
    }

    /// Clears a request because of a deadlock, after the wait has ended.
    fn forget_deadlock(&self) {
        let _ = self.reason.compare_exchange(DEADLOCK, RUNNING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Returns the error of a wait that must end.
    fn error(&self) -> Option<Error> {
        match self.reason.load(Ordering::Acquire) {
            RUNNING => None,
            DEADLOCK => Some(deadlock()),
            _ => Some(timed_out()),
        }
    }
}

fn deadlock() -> Error {
    let message = "deadlock over several databases: the session waits for a lock of another session, which waits for a lock \
                   of this one; roll back and try again (`Cluster::transaction` does)";
    Error::new(ErrorKind::Busy, message)
}

impl Executor {
    pub(super) fn new() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build().map_err(|error| {
            match has_no_descriptor(&error) {
                true => Error::new(ErrorKind::Busy, TOO_MANY_FILES)
                    .of_limit(Some(Exhausted::Descriptors))
                    .with_source(error),
                false => Error::new(ErrorKind::Io, format!("no event loop could be made: {error}"))
                    .with_source(error),
            }
        })?;
        Ok(Executor { runtime: Arc::new(runtime), stop: Arc::default(), blocked: RefCell::default() })
    }

    /// Switches the reports of long waits on or off.
    pub(super) fn when_blocked(&self, blocked: Option<LongWaits>) {
        *self.blocked.borrow_mut() = blocked;
    }

    pub(super) fn stop(&self) -> &Arc<Stop> {
        &self.stop
    }

    /// Clears an earlier request to stop.
    pub(super) fn clear_stop(&self) {
        self.stop.reason.store(RUNNING, Ordering::Release);
    }

    /// Waits for a future.
    pub(super) fn wait<F: Future<Output: Send> + Send>(&self, future: F) -> F::Output {
        let blocked = self.blocked.borrow().clone();
        match blocked {
            None => self.block_on(future),
            Some(blocked) => {
                let stop = &self.stop;
                let (output, was_reported) = self.block_on(async {
                    let (mut future, mut pause, mut was_reported) = (pin!(future), BLOCKED, false);
                    loop {
                        match tokio::time::timeout(pause, future.as_mut()).await {
                            Ok(output) => return (output, was_reported),
                            Err(_) => {
                                let stop = Arc::clone(stop);
                                blocked(Some(Box::new(move || stop.break_deadlock())));
                            }
                        }
                        (pause, was_reported) = (STILL_BLOCKED, true);
                    }
                });
                if was_reported {
                    blocked(None);
                    stop.forget_deadlock();
                }
                output
            }
        }
    }

    fn block_on<F: Future<Output: Send> + Send>(&self, future: F) -> F::Output {
        let runtime = &self.runtime;
        match Handle::try_current() {
            Err(_) => runtime.block_on(future),
            // A thread of an async runtime cannot block on another one.
            Ok(_) => std::thread::scope(|scope| {
                let waiting = scope.spawn(|| runtime.block_on(future));
                waiting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }),
        }
    }

    /// Waits for a future until the deadline, or until a request to stop.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] at the deadline or after a request, [`ErrorKind::Busy`] after a deadlock.
    pub(super) fn wait_until<F: Future<Output: Send> + Send>(
        &self,
        deadline: Option<Instant>,
        future: F,
    ) -> Result<F::Output> {
        let stop = Arc::clone(&self.stop);
        self.wait(async move {
            let mut future = pin!(future);
            let mut over = pin!(async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            });
            poll_fn(|context| {
                if let Poll::Ready(output) = future.as_mut().poll(context) {
                    return Poll::Ready(Ok(output));
                }
                stop.waiter.register(context.waker());
                match stop.error() {
                    Some(error) => Poll::Ready(Err(error)),
                    None if over.as_mut().poll(context).is_ready() => Poll::Ready(Err(timed_out())),
                    None => Poll::Pending,
                }
            })
            .await
        })
    }

    /// Polls a future once, so that its messages are sent, without waiting for it.
    pub(super) fn begin<F: Future<Output: Send> + Send>(&self, mut future: Pin<&mut F>) -> Option<F::Output> {
        self.wait(async move {
            if let Poll::Ready(output) = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
                return Some(output);
            }
            // Gives the connection's task a turn, which sends.
            tokio::task::yield_now().await;
            None
        })
    }
}

impl Drop for Executor {
    /// Drops the event loop on another thread if this one belongs to an async runtime, where it cannot be dropped.
    fn drop(&mut self) {
        if Handle::try_current().is_ok() {
            let runtime = Arc::clone(&self.runtime);
            // If no thread can be started, nothing else can be tried.
            let _ = std::thread::Builder::new().spawn(move || {
                while Arc::strong_count(&runtime) > 1 {
                    std::thread::yield_now();
                }
            });
        }
    }
}

fn timed_out() -> Error {
    Error::new(ErrorKind::TimedOut, "the statement took longer than the session's timeout")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn waiting_ends_at_the_deadline_and_when_asked_to() {
        let executor = Executor::new().unwrap();
        assert_eq!(executor.wait_until(None, async { 5 }).unwrap(), 5);
        let soon = Instant::now() + Duration::from_millis(5);
        let never = std::future::pending::<()>;
        assert_eq!(executor.wait_until(Some(soon), never()).unwrap_err().kind(), ErrorKind::TimedOut);
        let stop = Arc::clone(executor.stop());
        let cancelling = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            stop.cancel();
        });
        assert_eq!(executor.wait_until(None, never()).unwrap_err().kind(), ErrorKind::TimedOut);
        cancelling.join().unwrap();
        assert!(executor.wait_until(None, never()).is_err(), "the request stays until it is cleared");
        executor.clear_stop();
        assert_eq!(executor.wait_until(None, async { 5 }).unwrap(), 5);
    }

    #[test]
    fn a_thread_of_another_runtime_may_wait() {
        let executor = Executor::new().unwrap();
        let other = Builder::new_current_thread().build().unwrap();
        assert_eq!(other.block_on(async { executor.wait(async { 5 }) }), 5);
        other.block_on(async { drop(executor) });
    }
}
