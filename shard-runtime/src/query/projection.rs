//! Projections: some columns of a model as a struct.

use std::fmt;
use std::marker::PhantomData;

use super::columns::ColumnList;
use crate::error::Result;
use crate::query::Sharded;
use crate::row::Row;
use crate::sealed::Sealed;

/// A struct whose fields are columns of one model. [`#[derive(Projection)]`](derive@crate::Projection) implements it.
///
/// Its [`COLUMNS`](Projection::COLUMNS) are read as one struct wherever columns are listed: in
/// [`Select::columns`](crate::Select::columns), in [`Select::group_by`](crate::Select::group_by), and in a tuple beside other
/// columns.
///
/// ```
/// # use shard_runtime::{Cluster, Sharded, count};
/// use shard_runtime::Projection;
///
/// # #[derive(Sharded, Clone, Debug)]
/// # struct Account {
/// #     #[id]
/// #     #[shard_key(hash)]
/// #     id: i64,
/// #     owner: String,
/// #     cents: i64,
/// # }
/// #[derive(Projection, Debug, PartialEq)]
/// #[sharded(model = Account)]
/// struct Balance {
///     owner: String,
///     #[sharded(column = cents)]
///     balance: i64,
/// }
///
/// # fn main() -> shard_runtime::Result<()> {
/// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
/// # let mut session = cluster.session();
/// # session.add_all((1..5).map(|id| Account { id, owner: "Ada".into(), cents: id % 2 * 100 }))?;
/// let accounts = || Account::select().all_shards();
/// let richest = accounts().order_by(Account::CENTS.desc()).columns(Balance::COLUMNS);
/// assert_eq!(session.first(richest)?, Some(Balance { owner: "Ada".into(), balance: 100 }));
///
/// assert_eq!(session.all(accounts().columns(Balance::COLUMNS).distinct())?.len(), 2);
/// let groups = session.all(accounts().group_by(Balance::COLUMNS).aggregate(count()))?;
/// assert_eq!(groups[0], (Balance { owner: "Ada".into(), balance: 0 }, 2));
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a projection",
    label = "not a projection",
    note = "write `#[derive(Projection)]` and `#[sharded(model = ..)]` on the struct"
)]
pub trait Projection: Sized {
    /// The model of the columns.
    type Model: Sharded;

    /// The columns, which are read as one `Self`.
    const COLUMNS: ProjectedColumns<Self> = ProjectedColumns(PhantomData);

    #[doc(hidden)]
    const INDEXES: &'static [usize];

    /// Reads the columns, the first of which is at this index of the row.
    #[doc(hidden)]
    fn read(row: &Row<'_>, first: usize) -> Result<Self>;
}

/// The columns of a [`Projection`].
pub struct ProjectedColumns<P>(PhantomData<fn() -> P>);

impl<P> Clone for ProjectedColumns<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for ProjectedColumns<P> {}

impl<P> fmt::Debug for ProjectedColumns<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProjectedColumns")
    }
}

impl<P> Sealed for ProjectedColumns<P> {}

impl<P: Projection> ColumnList<P::Model> for ProjectedColumns<P> {
    type Output = P;
    const COUNT: usize = P::INDEXES.len();

    fn indexes(&self, indexes: &mut Vec<usize>) {
        indexes.extend(P::INDEXES);
    }

    fn load(row: &Row<'_>, first: usize) -> Result<P> {
        P::read(row, first)
    }
}
