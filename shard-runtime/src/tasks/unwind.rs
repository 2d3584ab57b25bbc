//! Panics of the caller's code: closures, visitors, the statement hook, conversions of values.
//!
//! A call that has something to undo catches the panic, does the same as after an error, and lets the panic continue.
//! Afterwards the session is as it is after an error (R57). Uses only `error`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::error::{Error, ErrorKind, Result};

/// A panic that was caught and goes on later.
#[must_use]
pub(crate) struct Panic(Option<Box<dyn Any + Send>>);

impl Panic {
    /// Lets the panic go on, if there is one.
    pub(crate) fn go_on(self) {
        if let Some(thrown) = self.0 {
            resume_unwind(thrown);
        }
    }
}

/// Runs a part of a call that has something to undo afterwards. Returns its result, in which a panic is an error, and the
/// panic, which the caller lets continue.
///
/// Nothing is seen half-changed: the part's values are undone or dropped by the call before the panic goes on.
pub(crate) fn caught<O>(run: impl FnOnce() -> Result<O>) -> (Result<O>, Panic) {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => (result, Panic(None)),
        Err(thrown) => {
            let error = Error::new(ErrorKind::TransactionAborted, "the caller's code has panicked");
            (Err(error), Panic(Some(thrown)))
        }
    }
}

/// Runs a part of a call, and then what has to be done also if it panics.
pub(crate) fn finally<S, O>(state: &mut S, run: impl FnOnce(&mut S) -> O, last: impl FnOnce(&mut S)) -> O {
    let result = catch_unwind(AssertUnwindSafe(|| run(state)));
    last(state);
    result.unwrap_or_else(|thrown| resume_unwind(thrown))
}
