//! Where the session of an async one is: here, or on a thread that brings it back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::session::Session;

/// A session, and whether it is under way: see `threads`.
pub(super) struct Kept {
    pub(super) session: Box<Session>,
    pub(super) is_under_way: bool,
}

/// Where it is brought back to.
pub(super) struct Place(Mutex<State>);

struct State {
    here: Option<Kept>,
    waker: Option<Waker>,
    /// Whether nobody will come for it any more.
    is_left: bool,
}

impl Place {
    pub(super) fn new(session: Session) -> Self {
        let here = Some(Kept { session: Box::new(session), is_under_way: false });
        Place(Mutex::new(State { here, waker: None, is_left: false }))
    }

    /// Takes the session, once it is here.
    pub(super) fn poll_take(&self, context: &mut Context<'_>) -> Poll<Kept> {
        let mut state = self.lock();
        match state.here.take() {
            Some(kept) => Poll::Ready(kept),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Takes the session, if it is here.
    pub(super) fn take(&self) -> Option<Kept> {
        self.lock().here.take()
    }

    /// Brings the session back.
    ///
    /// # Errors
    /// The session, where nobody will come for it.
    pub(super) fn bring_back(&self, kept: Kept) -> Result<(), Kept> {
        let mut state = self.lock();
        if state.is_left {
            return Err(kept);
        }
        state.here = Some(kept);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Says that nobody will come for the session any more; the session, if it is here.
    pub(super) fn leave(&self) -> Option<Kept> {
        let mut state = self.lock();
        state.is_left = true;
        state.here.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
