//! Reference tables: models whose rows are on every shard, and the columns of others that refer to them.

use super::Sharded;
use super::model::Same;
use crate::query::ReferredRow;
use crate::query::Stored;
use crate::row::Storable;
use crate::schema::Everywhere;
use crate::sealed::Seal;
use crate::value::Field;

/// A model whose rows are all on every shard: one with `#[sharded(reference)]`. For data that is small, read everywhere and
/// changed rarely: currencies, countries, price lists.
///
/// A read uses the first shard, in the cluster's order, on which its session already has a transaction, or else the first of
/// the cluster. `on_shard` names another. A write goes to every shard in the session's transaction, which is committed on all
/// of them or on none. A row of another model refers to one of these by its id, and is joined with it on the row's own shard.
///
/// ```
/// use shard_runtime::{Cluster, Sharded};
///
/// #[derive(Sharded, Clone, Debug)]
/// #[sharded(table = "currencies", reference)]
/// struct Currency {
///     #[id]
///     code: String,
///     name: String,
/// }
///
/// #[derive(Sharded, Clone, Debug)]
/// #[sharded(table = "orders")]
/// struct Order {
///     #[id(sequence)]
///     id: i64,
///     #[shard_key(hash)]
///     customer: String,
///     #[references(Currency)]
///     currency: String,
///     cents: i64,
/// }
///
/// # fn main() -> shard_runtime::Result<()> {
/// let cluster = Cluster::in_memory::<(Currency, Order)>(["a", "b", "c"])?;
/// let mut session = cluster.session();
/// session.add(Currency { code: "EUR".into(), name: "Euro".into() })?;
/// session.add(NewOrder { customer: "Ada".into(), currency: "EUR".into(), cents: 700 })?;
/// session.commit()?; // the currency on all three shards, the order on one
///
/// assert_eq!(session.all(Currency::select())?.len(), 1); // asks one shard
///
/// let in_euro = Order::CURRENCY.refers_to(Currency::NAME.eq("Euro"));
/// let orders = Order::select().filter(in_euro).all_shards().with_reference(Order::CURRENCY);
/// for (order, currency) in session.all(orders)? {
///     println!("{} {}", order.cents, currency.name);
/// }
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a reference table",
    label = "each row is on one shard only",
    note = "for a table with every row on every shard, write `#[sharded(reference)]` on the struct",
    note = "a row of any other model may be on another shard than the row that refers to it: hold its id in a plain field, \
            or make it the `#[shard_parent]`"
)]
pub trait Reference: Sharded<Key = Everywhere> {}

/// The value of a field with `#[references(M)]`: the id of a row of `M`, or an `Option` of it.
///
/// This trait is sealed: a join relies on the field being the id of `M`, or an `Option` of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not refer to a row of `{M}`",
    label = "not the id of `{M}`",
    note = "give the field the type of the id of `{M}`, or an `Option` of it"
)]
pub trait RefersTo<M: Reference>: Storable {
    /// The referenced row in the result of a join: a [`Stored`], or an `Option` of one.
    type Row: ReferredRow;

    #[doc(hidden)]
    const SEAL: Seal;
}

#[diagnostic::do_not_recommend]
impl<M: Reference, F: Field + Same<M::Id>> RefersTo<M> for F {
    type Row = Stored<M>;
    const SEAL: Seal = Seal;
}

#[diagnostic::do_not_recommend]
impl<M: Reference, F: Field + Same<M::Id>> RefersTo<M> for Option<F> {
    type Row = Option<Stored<M>>;
    const SEAL: Seal = Seal;
}
