//! The marker types of narrowed queries and of all others.

use crate::sealed::Sealed;

/// The marker of queries that a key, a parent, a pin or `all_shards` has narrowed.
#[derive(Debug)]
pub enum Routed {}

/// The marker of queries that may have to read every shard.
#[derive(Debug)]
pub enum Unrouted {}

/// The combination of markers, which follows the sets of shards that they stand for.
///
/// This trait is sealed: another marker could let a query run that may have to read every shard.
pub trait Routing: Sealed + 'static {
    /// The marker of `self & R`: an intersection is narrowed if one side is.
    type And<R: Routing>: Routing;
    /// The marker of `self | R`: a union is narrowed if both sides are.
    type Or<R: Routing>: Routing;
}

impl Sealed for Routed {}

impl Sealed for Unrouted {}

impl Routing for Routed {
    type And<R: Routing> = Routed;
    type Or<R: Routing> = R;
}

impl Routing for Unrouted {
    type And<R: Routing> = R;
    type Or<R: Routing> = Unrouted;
}

/// The condition for a query to run: it is narrowed to shards, or `all_shards` was called.
///
/// This trait is sealed: another marker could let a query run that may have to read every shard.
#[diagnostic::on_unimplemented(
    message = "this query may have to read every shard",
    label = "not narrowed to shards",
    note = "filter on the `#[shard_key]` or the parent, pin it with `.on(key)` or `.on_shard(name)`, or add `.all_shards()`"
)]
pub trait IsRouted: Routing {}

impl IsRouted for Routed {}
