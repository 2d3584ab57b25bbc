//! Queries as values: columns, filters, selects, updates and deletes, and SQL as it is written. They are built without a session,
//! explained without a connection, and run by any session. The root re-exports the types that most programs name.

/// Implements `Clone` and `Debug` for a type whose type parameters are only markers, without bounds on these.
macro_rules! untyped {
    ($name:ident<$($parameter:ident),*> { $($field:ident),* $(; $marker:ident)? }) => {
        impl<$($parameter),*> Clone for $name<$($parameter),*> {
            fn clone(&self) -> Self {
                $name { $($field: self.$field.clone(),)* $($marker: std::marker::PhantomData,)? }
            }
        }

        impl<$($parameter),*> std::fmt::Debug for $name<$($parameter),*> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))$(.field(stringify!($field), &self.$field))*.finish()
            }
        }
    };
}

mod aggregate;
mod column;
mod columns;
mod condition;
mod cursor;
mod exists;
mod expression;
mod filter;
mod groups;
mod joined;
mod located;
mod measure;
mod model;
mod projection;
mod raw;
mod reference;
mod reference_model;
mod relation;
mod request;
mod select;
mod stored;
mod write;

pub use crate::row::{Row, Storable};
pub use aggregate::{Aggregate, Count, GroupBy, GroupOrder, Groups};
pub use column::{Column, ColumnKind, CompositeKey, IntoAssign, IntoOperand, Order, Ordered, Settable, kind};
pub use columns::{ColumnList, Columns, WithCursor};
pub use condition::Condition;
pub use cursor::Cursor;
pub use exists::Exists;
#[doc(hidden)]
pub use expression::Holds;
pub use expression::{Combine, Expression, IntoTerm};
pub use filter::{Filter, Predicate};
pub use measure::{Having, Measure, MeasureList, Measured, Number, SumOf, count};
#[doc(hidden)]
pub use model::Lineage;
pub use model::{
    Child, ChildOf, IdIsKey, Identified, Insert, KnownId, Models, ParentOf, SequenceId, Sharded, UniqueId,
    Version,
};
pub use projection::{ProjectedColumns, Projection};
pub use raw::{IntoParameter, Sql, SqlRow};
pub use reference::{ReferredRow, WithReferences};
pub use reference_model::{Reference, RefersTo};
pub use relation::WithParent;
pub use select::{ById, Locate, Located, Query, Select};
pub use stored::{Parent, Stored};
pub use write::{Delete, Returning, Update, Write};

pub(crate) use column::{Assigned, Operand};
pub(crate) use expression::{Arithmetic, Term};
pub(crate) use filter::{DEEPEST, Node, Operator, WholeKey};
pub(crate) use groups::{GroupCore, GroupOrderCore};
pub(crate) use located::{Targeted, Whereabouts};
pub(crate) use measure::{Function, HavingCore, MeasureCore};
pub(crate) use model::{normalize, size_of, values_of};
pub(crate) use raw::{Bound, SqlCore, SqlPin};
pub(crate) use relation::Relation;
pub(crate) use request::{BulkWrite, Collect, Read, Request, Returned, SelectList, WriteRequest};
pub(crate) use select::{OrderBy, Pin, SelectCore, Target};
pub(crate) use stored::WriteOutcome;
pub(crate) use write::WriteCore;
