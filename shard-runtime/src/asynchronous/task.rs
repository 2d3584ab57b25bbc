//! The job of a session on a thread, and the future of its answer.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::answer::{AnswerFuture, Sender};
use super::slot::{Checkout, SessionSlot};
use crate::error::{Error, ErrorKind, Result};
use crate::session::Session;
use crate::tasks::{CancellationToken, Span};
use crate::tasks::{Job, SessionExecutor, WaiterId};

/// A session outside of its slot. Dropping the guard returns it.
pub(super) struct SessionGuard {
    /// `Some` until the guard is dropped.
    checkout: Option<Checkout>,
    slot: Arc<SessionSlot>,
    executor: SessionExecutor,
}

impl SessionGuard {
    pub(super) fn new(checkout: Checkout, slot: Arc<SessionSlot>, executor: SessionExecutor) -> Self {
        SessionGuard { checkout: Some(checkout), slot, executor }
    }

    pub(super) fn is_active(&self) -> bool {
        self.checkout.as_ref().is_some_and(|checkout| checkout.is_active)
    }

    /// Reserves a thread for the session, if it has none and one is free. Returns whether it has one.
    pub(super) fn try_activate(&mut self) -> bool {
        let Some(checkout) = &mut self.checkout else { return false };
        checkout.is_active = checkout.is_active || self.executor.reserve();
        checkout.is_active
    }

    pub(super) fn session(&mut self) -> Option<&mut Session> {
        self.checkout.as_mut().map(|checkout| &mut *checkout.session)
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let Some(mut checkout) = self.checkout.take() else { return };
        if checkout.is_active && !checkout.session.work.tx.is_connected() {
            checkout.is_active = false;
            self.executor.release();
        }
        if let Err(checkout) = self.slot.check_in(checkout) {
            end(checkout, &self.executor);
        }
    }
}

/// Rolls back a session whose async session was dropped.
fn end(checkout: Checkout, executor: &SessionExecutor) {
    let Checkout { session, is_active } = checkout;
    drop(session);
    if is_active {
        executor.release();
    }
}

/// A job of a session on a thread.
pub(super) struct SessionTask<F, O, E> {
    pub(super) guard: SessionGuard,
    pub(super) run: F,
    pub(super) sender: Sender<Result<O, E>>,
    /// The span of the async task.
    pub(super) span: Span,
    /// Cancels the reads if the future is dropped.
    pub(super) cancellation: Option<Arc<CancellationToken>>,
}

impl<F, O, E> Job for SessionTask<F, O, E>
where
    F: FnOnce(&mut Session) -> Result<O, E> + Send,
    O: Send,
    E: From<Error> + Send + 'static,
{
    fn run(self: Box<Self>) {
        let SessionTask { mut guard, run, sender, span, cancellation } = *self;
        let Some(checkout) = &mut guard.checkout else { return };
        checkout.is_active = true;
        if sender.is_closed() {
            return;
        }
        let session = &mut *checkout.session;
        if let Some(failure) = guard.slot.take_failure() {
            session.abort(&failure);
        }
        // A read first sends pending changes; it may be cancelled after it has sent them.
        let (reads, sends) = (cancellation.is_some(), session.has_pending_changes());
        session.set_cancellation(cancellation);
        let result = catch_unwind(AssertUnwindSafe(|| span.enclose(|| run(session))));
        session.set_cancellation(None);
        let result = result.unwrap_or_else(|thrown| Err(E::from(after_panic(session, thrown))));
        if let Err(error) = &result {
            let own = (error as &dyn Any).downcast_ref::<Error>();
            let is_cancelled = own.is_some_and(|error| error.kind() == ErrorKind::TimedOut);
            if !reads || (sends && !is_cancelled) {
                guard.slot.note_failure(describe(own));
            }
        }
        // The session is in its slot before the caller receives the answer.
        drop(guard);
        sender.send(result);
    }

    fn refuse(self: Box<Self>, error: Error) {
        let SessionTask { guard, sender, .. } = *self;
        drop(guard);
        sender.send(Err(E::from(error)));
    }
}

/// Describes an error of a verb whose future may be dropped.
fn describe(error: Option<&Error>) -> String {
    let cause = error.map_or_else(|| "the closure failed".to_owned(), Error::to_string);
    format!("a verb failed after its future was dropped: {cause}")
}

/// Rolls back a session that a panic may have left in any state, and returns the error for the caller.
pub(super) fn after_panic(session: &mut Session, thrown: Box<dyn Any + Send>) -> Error {
    let text = thrown.downcast_ref::<&str>().copied();
    let text = text.or_else(|| thrown.downcast_ref::<String>().map(String::as_str));
    let message = format!("the closure has panicked: {}", text.unwrap_or("its payload is no text"));
    // The drop of the panic's payload may panic again.
    std::mem::forget(thrown);
    let error = Error::new(ErrorKind::TransactionAborted, message);
    session.reset_after_panic(&error);
    error
}

/// The rollback of a session that was dropped in the middle of a transaction.
pub(super) struct RollbackTask {
    pub(super) checkout: Checkout,
    pub(super) executor: SessionExecutor,
}

impl Job for RollbackTask {
    fn run(self: Box<Self>) {
        end(self.checkout, &self.executor);
    }

    fn refuse(self: Box<Self>, _: Error) {
        end(self.checkout, &self.executor);
    }
}

/// The future of a task's answer. If it is dropped, a task that has not begun is withdrawn, and a read is cancelled.
pub(super) struct TaskHandle<O, E> {
    answer: AnswerFuture<Result<O, E>>,
    executor: SessionExecutor,
    waiter: Option<WaiterId>,
    cancellation: Option<Arc<CancellationToken>>,
    slot: Arc<SessionSlot>,
    is_answered: bool,
}

impl<O, E> TaskHandle<O, E> {
    pub(super) fn new(
        answer: AnswerFuture<Result<O, E>>,
        executor: SessionExecutor,
        waiter: Option<WaiterId>,
        cancellation: Option<Arc<CancellationToken>>,
        slot: Arc<SessionSlot>,
    ) -> Self {
        TaskHandle { answer, executor, waiter, cancellation, slot, is_answered: false }
    }
}

impl<O, E: From<Error>> Future for TaskHandle<O, E> {
    type Output = Result<O, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        self.is_answered = true;
        self.slot.take_failure();
        Poll::Ready(answer.unwrap_or_else(|| {
            let message = "worker thread terminated unexpectedly";
            Err(E::from(Error::new(ErrorKind::Database, message)))
        }))
    }
}

impl<O, E> Drop for TaskHandle<O, E> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        if let Some(waiter) = self.waiter {
            self.executor.withdraw(waiter);
        }
        if let Some(cancellation) = &self.cancellation {
            cancellation.cancel();
        }
    }
}
