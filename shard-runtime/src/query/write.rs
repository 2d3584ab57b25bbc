//! Bulk updates and deletes.

use std::marker::PhantomData;

use super::column::{Assigned, Column, IntoAssign, Operand, Settable};
use super::condition::Condition;
use super::expression::{Arithmetic, Term};
use super::request::{BulkWrite, Collect, Returned, WriteRequest};
use super::select::{Pin, Target};
use crate::query::Sharded;
use crate::query::Stored;
use crate::row::Storable;
use crate::schema::Key;
use crate::schema::{IsRouted, Routed, Routing};
use crate::sealed::Sealed;

/// An update of all rows of `T` that match the filters.
#[must_use = "an update does nothing until a session executes it"]
pub struct Update<T, R> {
    pub(crate) core: WriteCore,
    marker: PhantomData<fn() -> (T, R)>,
}

untyped!(
    Update < T,
    R > {
        core;
        marker
    }
);

/// A delete of all rows of `T` that match the filters.
#[must_use = "a delete does nothing until a session executes it"]
pub struct Delete<T, R> {
    pub(crate) core: WriteCore,
    marker: PhantomData<fn() -> (T, R)>,
}

untyped!(
    Delete < T,
    R > {
        core;
        marker
    }
);

/// An update or a delete that returns the rows that it has written; made by `returning`.
#[must_use = "an update or a delete does nothing until a session executes it"]
pub struct Returning<T, R> {
    pub(crate) core: WriteCore,
    marker: PhantomData<fn() -> (T, R)>,
}

untyped!(
    Returning < T,
    R > {
        core;
        marker
    }
);

/// An update or a delete without its types.
#[derive(Clone, Debug)]
pub(crate) struct WriteCore {
    pub(crate) target: Target,
    /// The columns to set; `None` for a delete.
    pub(crate) set: Option<Vec<(usize, Assigned)>>,
    /// The version column and its increment; `None` for a delete, and for a model without a version.
    pub(crate) raised: Option<(usize, Assigned)>,
}

impl<T: Sharded> Update<T, <T::Key as Key>::Unfiltered> {
    pub(crate) fn new() -> Self {
        let raised = |(version, holds)| {
            let one = Term::Value(Operand::of(&1_i64));
            let next = Term::Column(version).combined(Arithmetic::Add, one);
            (version, Assigned::Computed(next, holds))
        };
        Update::with(WriteCore {
            target: Target::of::<T>(),
            set: Some(Vec::new()),
            raised: T::VERSION.map(raised),
        })
    }
}

impl<T: Sharded> Delete<T, <T::Key as Key>::Unfiltered> {
    pub(crate) fn new() -> Self {
        Delete::with(WriteCore { target: Target::of::<T>(), set: None, raised: None })
    }
}

impl<T: Sharded, R: Routing> Update<T, R> {
    /// Sets the column to this value, or to an expression over the row's old values: `City::POPULATION + 10` (see
    /// [`Expression`](crate::query::Expression)). The id, the version and the columns that decide the shard cannot be set. The
    /// statement increments the version.
    pub fn set<V: Storable, K: Settable>(
        mut self,
        column: Column<T, V, K>,
        value: impl IntoAssign<T, V>,
    ) -> Self {
        self.core.set.get_or_insert_default().push((column.index(), value.into_assign()));
        self
    }
}

macro_rules! narrowing {
    ($($write:ident),*) => {$(
        impl<T: Sharded, R: Routing> $write<T, R> {
            fn with(core: WriteCore) -> Self {
                $write { core, marker: PhantomData }
            }

            /// Writes only to the rows that match the condition. Repeated calls are combined with AND.
            pub fn filter<C: Condition<T>>(mut self, condition: C) -> $write<T, R::And<C::Routing>> {
                self.core.target.filter(condition.into_filter().predicate);
                $write::with(self.core)
            }

            /// Writes only to the shard of this key, regardless of the filters. The key is no filter: rows of the shard with
            /// other keys are written, too.
            pub fn on(mut self, key: impl Into<T::Key>) -> $write<T, Routed> {
                self.core.target.pins.push(Pin::key(&key.into()));
                $write::with(self.core)
            }

            /// Writes only to the shard of this name, regardless of the filters.
            pub fn on_shard(mut self, name: impl Into<String>) -> $write<T, Routed> {
                self.core.target.pins.push(Pin::Name(name.into()));
                $write::with(self.core)
            }

            /// Allows the statement to write to every shard. The filters still exclude shards that cannot hold matching rows.
            pub fn all_shards(self) -> $write<T, Routed> {
                $write::with(self.core)
            }

            /// Returns the written rows instead of their number: updated rows with their new values, deleted rows with their old
            /// ones. The rows follow in the cluster's order of shards. Within a shard they have the order in which its database
            /// returns them.
            ///
            /// ```
            /// # use shard_runtime::{Cluster, Sharded};
            /// # #[derive(Sharded, Clone, Debug)]
            /// # struct Account {
            /// #     #[id]
            /// #     #[shard_key(hash)]
            /// #     id: i64,
            /// #     cents: i64,
            /// # }
            /// # fn main() -> shard_runtime::Result<()> {
            /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
            /// # let mut session = cluster.session();
            /// # session.add_all((1..9).map(|id| Account { id, cents: 100 * id }))?;
            /// let rich = Account::update().set(Account::CENTS, Account::CENTS - 50).filter(Account::CENTS.gt(600));
            /// let taxed = session.execute(rich.all_shards().returning())?;
            /// assert_eq!(taxed.iter().map(|account| account.cents).sum::<i64>(), 650 + 750);
            ///
            /// let gone = session.execute(Account::delete().filter(Account::ID.eq(7)).returning())?;
            /// assert_eq!((gone[0].id, gone[0].cents), (7, 650));
            /// # Ok(())
            /// # }
            /// ```
            pub fn returning(self) -> Returning<T, R> {
                Returning { core: self.core, marker: PhantomData }
            }
        }

        impl<T, R> Sealed for $write<T, R> {}

        impl<T: Sharded, R: IsRouted> Write for $write<T, R> {
            type Output = u64;
            type Returned = ();

            fn request(&self) -> WriteRequest<'_> {
                WriteRequest(BulkWrite::Rows(&self.core, Returned::Count))
            }

            fn output(rows: u64, (): ()) -> u64 {
                rows
            }
        }
    )*};
}
narrowing!(Update, Delete);

impl<T, R> Sealed for Returning<T, R> {}

impl<T: Sharded, R: IsRouted> Write for Returning<T, R> {
    type Output = Vec<Stored<T>>;
    type Returned = Vec<Stored<T>>;

    fn request(&self) -> WriteRequest<'_> {
        WriteRequest(BulkWrite::Rows(&self.core, Returned::Rows))
    }

    fn output(_: u64, rows: Vec<Stored<T>>) -> Vec<Stored<T>> {
        rows
    }
}

/// A statement that [`Session::execute`](crate::Session::execute) runs: a narrowed [`Update`] or [`Delete`], one that is
/// [`Returning`] its rows, or [`Sql`](crate::Sql) that names its shards.
///
/// This trait is sealed: the planner plans only the statements of this crate.
pub trait Write: Sealed {
    /// The number of rows that were written, or the rows.
    type Output;
    #[doc(hidden)]
    type Returned: Collect;

    /// Returns the request to plan and run.
    #[doc(hidden)]
    fn request(&self) -> WriteRequest<'_>;

    /// Returns the output, made of the number of written rows and the returned rows.
    #[doc(hidden)]
    fn output(rows: u64, returned: Self::Returned) -> Self::Output;
}
