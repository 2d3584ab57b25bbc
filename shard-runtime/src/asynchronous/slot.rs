//! The slot of an async session. It holds the session, or a thread has the session and returns it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::session::Session;

/// A session, and whether a thread is reserved for it; see [`SessionExecutor`](crate::tasks::SessionExecutor).
pub(super) struct Checkout {
    pub(super) session: Box<Session>,
    pub(super) is_active: bool,
}

/// The slot to which a thread returns the session.
pub(super) struct SessionSlot(Mutex<State>);

struct State {
    here: Option<Checkout>,
    waker: Option<Waker>,
    /// Whether the async session was dropped.
    is_closed: bool,
    /// The failure of a verb that wrote, until its future or the next verb returns it.
    unreceived: Option<String>,
}

impl SessionSlot {
    pub(super) fn new(session: Session) -> Self {
        let here = Some(Checkout { session: Box::new(session), is_active: false });
        SessionSlot(Mutex::new(State { here, waker: None, is_closed: false, unreceived: None }))
    }

    /// Takes the session as soon as it is in the slot.
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

    /// Takes the session, if it is in the slot and no failure has to be reported first.
    pub(super) fn take(&self) -> Option<Checkout> {
        let mut state = self.lock();
        if state.unreceived.is_some() { None } else { state.here.take() }
    }

    /// Records the failure of a verb that wrote. If the future of the verb is dropped, the next verb reports the
    /// failure.
    pub(super) fn note_failure(&self, failure: String) {
        self.lock().unreceived = Some(failure);
    }

    /// Takes the failure that was recorded last: its future returns it, or the next verb reports it.
    pub(super) fn take_failure(&self) -> Option<String> {
        self.lock().unreceived.take()
    }

    /// Returns the session to the slot.
    ///
    /// # Errors
    /// Returns the session if the async session was dropped.
    pub(super) fn check_in(&self, checkout: Checkout) -> Result<(), Checkout> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(checkout);
        }
        state.here = Some(checkout);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Records that the async session was dropped. Returns the session if it is in the slot.
    pub(super) fn close(&self) -> Option<Checkout> {
        let mut state = self.lock();
        state.is_closed = true;
        state.here.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
