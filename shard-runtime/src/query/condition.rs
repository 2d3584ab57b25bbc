//! The argument of `filter`, and the compile errors of conditions that use Rust's own operators.

use super::column::Column;
use super::filter::Filter;
use crate::schema::Routing;
use crate::sealed::Sealed;

/// A condition on rows of `T`: a [`Filter`].
///
/// This trait is sealed: the planner prunes by filters of this crate, and reads no other conditions.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a condition on `{T}`",
    label = "not a condition on `{T}`",
    note = "combine conditions with `&`, `|` and `!`, not with `&&` and `||`",
    note = "compare columns with `.eq(..)`, `.ne(..)`, `.lt(..)`, `.le(..)`, `.gt(..)` and `.ge(..)`, not with operators",
    note = "conditions on a parent or on children are `Child::has_parent(..)` and `Parent::has_child(..)`"
)]
pub trait Condition<T>: Sealed {
    /// Whether the condition narrows the shards.
    type Routing: Routing;

    #[doc(hidden)]
    fn into_filter(self) -> Filter<T, Self::Routing>;
}

impl<T, R> Sealed for Filter<T, R> {}

impl<T, R: Routing> Condition<T> for Filter<T, R> {
    type Routing = R;

    fn into_filter(self) -> Filter<T, R> {
        self
    }
}

/// No type implements it. The compiler names it if a column is compared with `==` or `<`.
///
/// This trait is sealed: a type that implemented it could be compared with a column, and the result would have no meaning.
#[doc(hidden)]
pub trait InsteadWriteEqNeLtLeGtOrGe: Sealed {}

#[doc(hidden)]
impl<T, V, K, O> PartialEq<O> for Column<T, V, K>
where
    Self: InsteadWriteEqNeLtLeGtOrGe,
{
    fn eq(&self, _: &O) -> bool {
        false
    }
}

#[doc(hidden)]
impl<T, V, K, O> PartialOrd<O> for Column<T, V, K>
where
    Self: InsteadWriteEqNeLtLeGtOrGe,
{
    fn partial_cmp(&self, _: &O) -> Option<std::cmp::Ordering> {
        None
    }
}
