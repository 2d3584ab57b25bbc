//! Panics of the caller's code: closures, visitors, the statement hook, conversions of values.
//!
//! A call that has changes to undo catches the panic, handles it like an error, and then resumes the panic. Afterwards
//! the session is in the same state as after an error (R57). Uses only `error`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::error::{Error, ErrorKind, Result};

/// A panic that was caught, to be resumed later.
#[must_use]
pub(crate) struct Panic(Option<Box<dyn Any + Send>>);

impl Panic {
    /// Resumes the panic, if there is one.
    pub(crate) fn resume(self) {
        if let Some(thrown) = self.0 {
            resume_unwind(thrown);
        }
    }
}

/// Runs a part of a call that has changes to undo afterwards. Returns its result, in which a panic is an error, and the
/// panic, which the caller resumes.
///
/// No half-changed value is visible: the call undoes or drops the values of the part before it resumes the panic.
pub(crate) fn caught<O>(run: impl FnOnce() -> Result<O>) -> (Result<O>, Panic) {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => (result, Panic(None)),
        Err(thrown) => {
            let error = Error::new(ErrorKind::TransactionAborted, "the caller's code has panicked");
            (Err(error), Panic(Some(thrown)))
        }
    }
}

/// Runs a part of a call, and then `last`, also if the part panics.
pub(crate) fn finally<S, O>(state: &mut S, run: impl FnOnce(&mut S) -> O, last: impl FnOnce(&mut S)) -> O {
    let result = catch_unwind(AssertUnwindSafe(|| run(state)));
    last(state);
    result.unwrap_or_else(|thrown| resume_unwind(thrown))
}
