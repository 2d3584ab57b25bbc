//! The answer of a thread to a task: one value, awaited on any runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
    sender_dropped: bool,
}

type Shared<T> = Arc<Mutex<State<T>>>;

/// The sender of the answer.
pub(super) struct Sender<T>(Shared<T>);

/// The future of the answer; `None` if the sender was dropped without a value.
pub(super) struct AnswerFuture<T>(Shared<T>);

pub(super) fn answer<T>() -> (Sender<T>, AnswerFuture<T>) {
    let shared = Arc::new(Mutex::new(State { value: None, waker: None, sender_dropped: false }));
    (Sender(Arc::clone(&shared)), AnswerFuture(shared))
}

fn lock<T>(shared: &Shared<T>) -> MutexGuard<'_, State<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Sender<T> {
    pub(super) fn send(self, value: T) {
        lock(&self.0).value = Some(value);
    }

    /// Returns whether the receiver was dropped.
    pub(super) fn is_closed(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl<T> Drop for Sender<T> {
    /// Wakes the receiver, which takes the value or finds that there is none.
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.sender_dropped = true;
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<T> Future for AnswerFuture<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.0);
        if state.sender_dropped {
            return Poll::Ready(state.value.take());
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<T>(answer: &mut AnswerFuture<T>) -> Poll<Option<T>> {
        Pin::new(answer).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn an_answer_comes_once() {
        let (sender, mut waiting) = answer();
        assert_eq!(poll(&mut waiting), Poll::Pending);
        assert!(!sender.is_closed());
        sender.send(5);
        assert_eq!(poll(&mut waiting), Poll::Ready(Some(5)));
    }

    #[test]
    fn a_dropped_sender_and_a_dropped_receiver_are_noticed() {
        let (sender, mut waiting) = answer::<i32>();
        drop(sender);
        assert_eq!(poll(&mut waiting), Poll::Ready(None));
        let (sender, waiting) = answer::<i32>();
        drop(waiting);
        assert!(sender.is_closed());
    }
}
