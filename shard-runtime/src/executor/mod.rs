//! Runs the statements of a plan over the transactions of a session, and merges their answers.

mod apart;
mod execute;
mod fan_out;
mod groups;
mod merge;

pub(crate) use execute::{ReadOptions, Rows};
pub(crate) use groups::{GroupMerge, VisitRow};
