//! Runs the statements of a plan over the transactions of a session, and merges their answers.

mod apart;
mod ask;
mod fan_out;
mod groups;
mod merge;

pub(crate) use ask::{Reading, Rows};
pub(crate) use groups::{GroupMerge, VisitRow};
