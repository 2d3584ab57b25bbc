//! Runs the statements of a plan over the transactions of a session, and merges their answers.

mod apart;
mod execute;
mod fan_out;
mod groups;
mod merge;
mod rows;

pub(crate) use execute::ReadOptions;
pub(crate) use groups::{GroupMerge, VisitRow};
pub(crate) use rows::Rows;
