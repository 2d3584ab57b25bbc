//! From a query to statements: pruning, plans, lookups, SQL text and explanations. Pure: nothing here connects.

mod change;
mod layout;
mod limit_offset;
pub(crate) mod own_tables;
mod plan;
pub(crate) mod raw_sql;
pub(crate) mod route;
pub(crate) mod sql;

pub(crate) use change::{AnyRow, Change};
pub use layout::Layout;
pub(crate) use layout::Place;
pub(crate) use limit_offset::LimitOffset;
pub(crate) use plan::*;
pub use plan::{Explain, Plan};
