//! Queries as values: columns, filters, selects, updates and deletes. They are built without a session,
//! explained without a connection, and run by any session.

mod aggregate;
mod column;
mod filter;
mod relation;
mod select;
mod write;

pub use aggregate::{Aggregate, Count, Number};
pub use column::{
    Column, ColumnKind, CompositeKey, IntoAssign, IntoOperand, Operand, Order, Ordered, Settable, kind,
};
pub use filter::{Filter, IsRouted, Predicate, Routed, Routing, Unrouted};
pub use relation::WithParent;
pub use select::{ById, Explainable, Locate, Located, Query, Select};
pub use write::{Delete, Update, Write};

pub(crate) use aggregate::Function;
pub(crate) use filter::{DEEPEST, Node, Operator, WholeKey};
pub(crate) use relation::Relation;
pub(crate) use select::{OrderBy, Pin, SelectCore, Target};
pub(crate) use write::WriteCore;
