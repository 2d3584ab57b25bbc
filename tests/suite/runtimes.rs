//! The runtimes under which the async session is tested. The library depends on none of them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Tokio with several threads.
    Tokio,
    /// Tokio on the thread that waits.
    TokioHere,
    Smol,
}

impl Runtime {
    pub const ALL: [Runtime; 3] = [Runtime::Tokio, Runtime::TokioHere, Runtime::Smol];

    pub fn block_on<O>(self, future: impl Future<Output = O>) -> O {
        match self {
            Runtime::Tokio => tokio::runtime::Runtime::new().unwrap().block_on(future),
            Runtime::TokioHere => {
                tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
            }
            Runtime::Smol => smol::block_on(future),
        }
    }
}

/// Polls a future once and drops it; returns its output if it is ready.
pub fn poll_once<O>(future: impl Future<Output = O>) -> Option<O> {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// A future that is dropped a time after this number of polls; returns its output if it was ready before.
pub struct Impatient<F> {
    future: Option<Pin<Box<F>>>,
    polls: u64,
    after: Duration,
}

impl<F: Future> Impatient<F> {
    pub fn new(future: F, polls: u64, after: Duration) -> Self {
        Impatient { future: Some(Box::pin(future)), polls, after }
    }
}

impl<F: Future> Future for Impatient<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.future else { return Poll::Ready(None) };
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        if self.polls > 1 {
            self.polls -= 1;
            return Poll::Pending;
        }
        // Shorter than the resolution of timers.
        let began = Instant::now();
        while began.elapsed() < self.after {
            std::hint::spin_loop();
        }
        self.future = None;
        Poll::Ready(None)
    }
}
