//! The task of a session on a thread, and the future of its answer.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::answer::{Answer, Sender};
use super::slot::{Checkout, SessionSlot};
use crate::error::{Error, ErrorKind, Result};
use crate::session::Session;
use crate::tasks::{CancellationToken, Span};
use crate::tasks::{Job, SessionExecutor, WaiterId};

/// A session that is away from its slot, and comes back when this is dropped.
pub(super) struct SessionGuard {
    /// There until then.
    checkout: Option<Checkout>,
    slot: Arc<SessionSlot>,
    threads: SessionExecutor,
}

impl SessionGuard {
    pub(super) fn new(checkout: Checkout, slot: Arc<SessionSlot>, threads: SessionExecutor) -> Self {
        SessionGuard { checkout: Some(checkout), slot, threads }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.checkout.as_ref().is_some_and(|checkout| checkout.is_under_way)
    }

    /// Has the session under way, if a thread can be reserved for it at once.
    pub(super) fn get_under_way(&mut self) -> bool {
        let Some(checkout) = &mut self.checkout else { return false };
        checkout.is_under_way = checkout.is_under_way || self.threads.reserve();
        checkout.is_under_way
    }

    pub(super) fn session(&mut self) -> Option<&mut Session> {
        self.checkout.as_mut().map(|checkout| &mut *checkout.session)
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let Some(mut checkout) = self.checkout.take() else { return };
        if checkout.is_under_way && !checkout.session.work.tx.is_connected() {
            checkout.is_under_way = false;
            self.threads.give_back();
        }
        if let Err(checkout) = self.slot.check_in(checkout) {
            end(checkout, &self.threads);
        }
    }
}

/// Rolls back a session whose async session was dropped.
fn end(checkout: Checkout, threads: &SessionExecutor) {
    let Checkout { session, is_under_way } = checkout;
    drop(session);
    if is_under_way {
        threads.give_back();
    }
}

/// Something that a session does on a thread.
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
        checkout.is_under_way = true;
        if sender.is_forgotten() {
            return;
        }
        let session = &mut *checkout.session;
        if let Some(failure) = guard.slot.take_failure() {
            session.abort(&failure);
        }
        // A read sends pending changes first. It may be cancelled after that.
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
        // Who has the answer finds the session in its slot.
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

/// Rolls a session back that a panic may have left in any state.
pub(super) fn after_panic(session: &mut Session, thrown: Box<dyn Any + Send>) -> Error {
    let text = thrown.downcast_ref::<&str>().copied();
    let text = text.or_else(|| thrown.downcast_ref::<String>().map(String::as_str));
    let message = format!("the closure has panicked: {}", text.unwrap_or("it does not say why"));
    // What was thrown may panic again where it is dropped.
    std::mem::forget(thrown);
    let error = Error::new(ErrorKind::TransactionAborted, message);
    session.reset_after_panic(&error);
    error
}

/// The end of a session that was dropped under way.
pub(super) struct RollbackTask {
    pub(super) checkout: Checkout,
    pub(super) threads: SessionExecutor,
}

impl Job for RollbackTask {
    fn run(self: Box<Self>) {
        end(self.checkout, &self.threads);
    }

    fn refuse(self: Box<Self>, _: Error) {
        end(self.checkout, &self.threads);
    }
}

/// The answer to a task. Who does not wait for it any more withdraws what is not begun, and stops what only reads.
pub(super) struct TaskHandle<O, E> {
    answer: Answer<Result<O, E>>,
    threads: SessionExecutor,
    waiter: Option<WaiterId>,
    cancellation: Option<Arc<CancellationToken>>,
    slot: Arc<SessionSlot>,
    is_answered: bool,
}

impl<O, E> TaskHandle<O, E> {
    pub(super) fn new(
        answer: Answer<Result<O, E>>,
        threads: SessionExecutor,
        waiter: Option<WaiterId>,
        cancellation: Option<Arc<CancellationToken>>,
        slot: Arc<SessionSlot>,
    ) -> Self {
        TaskHandle { answer, threads, waiter, cancellation, slot, is_answered: false }
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
            self.threads.withdraw(waiter);
        }
        if let Some(cancellation) = &self.cancellation {
            cancellation.cancel();
        }
    }
}
