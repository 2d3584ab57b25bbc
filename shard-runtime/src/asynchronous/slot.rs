//! The slot of an async session: it holds the session, or the session is on a thread that returns it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::session::Session;

/// A session, and whether it is under way: see `threads`.
pub(super) struct Checkout {
    pub(super) session: Box<Session>,
    pub(super) is_under_way: bool,
}

/// The place that the thread returns the session to.
pub(super) struct SessionSlot(Mutex<State>);

struct State {
    here: Option<Checkout>,
    waker: Option<Waker>,
    /// Whether the async session was dropped.
    is_left: bool,
    /// The failure of a verb that wrote, until its future has returned it.
    unreceived: Option<String>,
}

impl SessionSlot {
    pub(super) fn new(session: Session) -> Self {
        let here = Some(Checkout { session: Box::new(session), is_under_way: false });
        SessionSlot(Mutex::new(State { here, waker: None, is_left: false, unreceived: None }))
    }

    /// Takes the session, once it is here.
    pub(super) fn poll_checkout(&self, context: &mut Context<'_>) -> Poll<Checkout> {
        let mut state = self.lock();
        match state.here.take() {
            Some(checkout) => Poll::Ready(checkout),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Takes the session, if it is here and no failure has to be reported first.
    pub(super) fn take(&self) -> Option<Checkout> {
        let mut state = self.lock();
        if state.unreceived.is_some() { None } else { state.here.take() }
    }

    /// Notes the failure of a verb that wrote. If its future is dropped, the failure is still there at the next verb.
    pub(super) fn note_failure(&self, failure: String) {
        self.lock().unreceived = Some(failure);
    }

    /// Takes the failure that was noted last: its future returns it, or the next verb reports it.
    pub(super) fn take_failure(&self) -> Option<String> {
        self.lock().unreceived.take()
    }

    /// Brings the session back.
    ///
    /// # Errors
    /// Returns the session if the async session was dropped.
    pub(super) fn check_in(&self, checkout: Checkout) -> Result<(), Checkout> {
        let mut state = self.lock();
        if state.is_left {
            return Err(checkout);
        }
        state.here = Some(checkout);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Notes that the async session was dropped. Returns the session if it is here.
    pub(super) fn leave(&self) -> Option<Checkout> {
        let mut state = self.lock();
        state.is_left = true;
        state.here.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
