//! What a session does on a thread, and what is awaited of it.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::answer::{Answer, Sender};
use super::place::{Kept, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::session::Session;
use crate::tasks::{CancellationToken, Span};
use crate::tasks::{Job, Threads, Ticket};

/// A session that is away from its place, and comes back when this is dropped.
pub(super) struct Away {
    /// There until then.
    kept: Option<Kept>,
    place: Arc<Place>,
    threads: Threads,
}

impl Away {
    pub(super) fn new(kept: Kept, place: Arc<Place>, threads: Threads) -> Self {
        Away { kept: Some(kept), place, threads }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.is_under_way)
    }

    pub(super) fn session(&mut self) -> Option<&mut Session> {
        self.kept.as_mut().map(|kept| &mut *kept.session)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let Some(mut kept) = self.kept.take() else { return };
        if kept.is_under_way && !kept.session.work.tx.is_connected() {
            kept.is_under_way = false;
            self.threads.give_back();
        }
        if let Err(kept) = self.place.bring_back(kept) {
            end(kept, &self.threads);
        }
    }
}

/// Rolls a session back that nobody will come for.
fn end(kept: Kept, threads: &Threads) {
    let Kept { session, is_under_way } = kept;
    drop(session);
    if is_under_way {
        threads.give_back();
    }
}

/// Something that a session does on a thread.
pub(super) struct Hop<F, O, E> {
    pub(super) away: Away,
    pub(super) run: F,
    pub(super) sender: Sender<Result<O, E>>,
    /// What the task is in that asks for it.
    pub(super) span: Span,
    /// Who may go away while it reads, which stops it.
    pub(super) leaving: Option<Arc<CancellationToken>>,
}

impl<F, O, E> Job for Hop<F, O, E>
where
    F: FnOnce(&mut Session) -> Result<O, E> + Send,
    O: Send,
    E: From<Error> + Send,
{
    fn run(self: Box<Self>) {
        let Hop { mut away, run, sender, span, leaving } = *self;
        let Some(kept) = &mut away.kept else { return };
        kept.is_under_way = true;
        if sender.is_forgotten() {
            return;
        }
        let session = &mut *kept.session;
        session.set_cancellation(leaving);
        let result = catch_unwind(AssertUnwindSafe(|| span.enclose(|| run(session))));
        session.set_cancellation(None);
        let result = result.unwrap_or_else(|thrown| Err(E::from(after_panic(session, thrown))));
        // Who has the answer finds the session in its place.
        drop(away);
        sender.send(result);
    }

    fn refuse(self: Box<Self>, error: Error) {
        let Hop { away, sender, .. } = *self;
        drop(away);
        sender.send(Err(E::from(error)));
    }
}

/// Rolls the session back of which nobody knows what state the panic has left it in.
fn after_panic(session: &mut Session, thrown: Box<dyn Any + Send>) -> Error {
    let text = thrown.downcast_ref::<&str>().copied();
    let text = text.or_else(|| thrown.downcast_ref::<String>().map(String::as_str));
    let said = format!("the closure has panicked: {}", text.unwrap_or("it does not say why"));
    // What was thrown may panic again where it is dropped.
    std::mem::forget(thrown);
    let error = Error::new(ErrorKind::Aborted, said);
    session.begin_anew(&error);
    error
}

/// The end of a session that was dropped under way.
pub(super) struct Ending {
    pub(super) kept: Kept,
    pub(super) threads: Threads,
}

impl Job for Ending {
    fn run(self: Box<Self>) {
        end(self.kept, &self.threads);
    }

    fn refuse(self: Box<Self>, _: Error) {
        end(self.kept, &self.threads);
    }
}

/// The answer to a hop. Who does not wait for it any more withdraws what is not begun, and stops what only reads.
pub(super) struct Asked<O, E> {
    answer: Answer<Result<O, E>>,
    threads: Threads,
    ticket: Option<Ticket>,
    leaving: Option<Arc<CancellationToken>>,
    is_answered: bool,
}

impl<O, E> Asked<O, E> {
    pub(super) fn new(
        answer: Answer<Result<O, E>>,
        threads: Threads,
        ticket: Option<Ticket>,
        leaving: Option<Arc<CancellationToken>>,
    ) -> Self {
        Asked { answer, threads, ticket, leaving, is_answered: false }
    }
}

impl<O, E: From<Error>> Future for Asked<O, E> {
    type Output = Result<O, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        self.is_answered = true;
        Poll::Ready(answer.unwrap_or_else(|| {
            let said = "the thread that worked for the session is gone";
            Err(E::from(Error::new(ErrorKind::Database, said)))
        }))
    }
}

impl<O, E> Drop for Asked<O, E> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        if let Some(ticket) = self.ticket {
            self.threads.withdraw(ticket);
        }
        if let Some(leaving) = &self.leaving {
            leaving.cancel();
        }
    }
}
