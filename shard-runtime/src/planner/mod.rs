//! From a query to statements: pruning, plans, lookups, SQL text and explanations. Uses `query` and the layers below
//! it; no I/O.

mod change;
mod explain;
mod layout;
mod limit_offset;
pub(crate) mod own_tables;
mod plan;
mod raw_query;
pub(crate) mod raw_sql;
pub(crate) mod route;
pub(crate) mod sql;

pub(crate) use change::{AnyRow, RowChange, SetColumns};
pub use explain::{Explain, Explainable};
pub use layout::Layout;
pub(crate) use layout::Location;
pub(crate) use limit_offset::LimitOffset;
pub use plan::Plan;
pub(crate) use plan::*;

#[cfg(test)]
mod tests;
