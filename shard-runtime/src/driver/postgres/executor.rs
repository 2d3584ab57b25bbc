//! The event loop of one connection, which the waiting thread runs. Uses `error`.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::{Error, ErrorKind, Exhausted, Result, TOO_MANY_FILES, has_no_descriptor};

/// The time after which a wait that may be for a lock is reported, and the interval of later reports.
const BLOCKED: Duration = Duration::from_millis(100);
const STILL_BLOCKED: Duration = Duration::from_secs(1);

/// The function that is called while a statement waits, perhaps for a lock.
pub(super) type Blocked = Arc<dyn Fn() + Send + Sync>;

pub(super) struct Executor {
    runtime: Arc<Runtime>,
    stop: Arc<Stop>,
    /// Set while waits may be for locks.
    blocked: RefCell<Option<Blocked>>,
}

/// The handle that ends a wait from another thread.
#[derive(Default)]
pub(super) struct Stop {
    is_asked: AtomicBool,
    waiter: AtomicWaker,
}

impl Stop {
    pub(super) fn ask(&self) {
        self.is_asked.store(true, Ordering::Release);
        self.waiter.wake();
    }
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
    pub(super) fn when_blocked(&self, blocked: Option<Blocked>) {
        *self.blocked.borrow_mut() = blocked;
    }

    pub(super) fn stop(&self) -> &Arc<Stop> {
        &self.stop
    }

    /// Clears an earlier request to stop.
    pub(super) fn go_on(&self) {
        self.stop.is_asked.store(false, Ordering::Release);
    }

    /// Waits for a future.
    pub(super) fn wait<F: Future<Output: Send> + Send>(&self, future: F) -> F::Output {
        let blocked = self.blocked.borrow().clone();
        match blocked {
            None => self.block_on(future),
            Some(blocked) => self.block_on(async move {
                let (mut future, mut pause) = (pin!(future), BLOCKED);
                loop {
                    match tokio::time::timeout(pause, future.as_mut()).await {
                        Ok(output) => return output,
                        Err(_) => blocked(),
                    }
                    pause = STILL_BLOCKED;
                }
            }),
        }
    }

    fn block_on<F: Future<Output: Send> + Send>(&self, future: F) -> F::Output {
        let runtime = &self.runtime;
        match Handle::try_current() {
            Err(_) => runtime.block_on(future),
            // A thread of an async runtime cannot block in another one.
            Ok(_) => std::thread::scope(|scope| {
                let waiting = scope.spawn(|| runtime.block_on(future));
                waiting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }),
        }
    }

    /// Waits for a future until the deadline, or until a request to stop.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`]
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
                match stop.is_asked.load(Ordering::Acquire) || over.as_mut().poll(context).is_ready() {
                    true => Poll::Ready(Err(timed_out())),
                    false => Poll::Pending,
                }
            })
            .await
        })
    }

    /// Polls a future once, so that its messages are sent, and does not wait for it.
    pub(super) fn begin<F: Future<Output: Send> + Send>(&self, mut future: Pin<&mut F>) -> Option<F::Output> {
        self.wait(async move {
            if let Poll::Ready(output) = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
                return Some(output);
            }
            // The connection sends.
            tokio::task::yield_now().await;
            None
        })
    }
}

impl Drop for Executor {
    /// An event loop cannot be dropped on a thread of the application's async runtime, so another thread drops it.
    fn drop(&mut self) {
        if Handle::try_current().is_ok() {
            let runtime = Arc::clone(&self.runtime);
            // Without another thread nothing else can be tried.
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
        let asking = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            stop.ask();
        });
        assert_eq!(executor.wait_until(None, never()).unwrap_err().kind(), ErrorKind::TimedOut);
        asking.join().unwrap();
        assert!(executor.wait_until(None, never()).is_err(), "it is asked until it goes on");
        executor.go_on();
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
