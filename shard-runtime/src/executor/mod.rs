//! Runs the statements of a plan in the transactions of a session, and merges their results.

mod execute;
mod fan_out;
mod groups;
mod merge;
mod reader_threads;
mod rows;

pub(crate) use execute::ReadOptions;
pub(crate) use groups::{GroupMerge, VisitRow};
pub(crate) use rows::ShardRows;
