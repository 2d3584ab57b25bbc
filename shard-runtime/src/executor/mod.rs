//! Runs the statements of a plan over the transactions of a session, and merges their answers.

pub(crate) mod groups;
pub(crate) mod merge;
