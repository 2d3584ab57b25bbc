//! The models of the clusters that releases have left: each way to place a key, and each thing that is recorded beside rows.

use shard_runtime::{Parent, Sharded};

/// Whole on every shard.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "currencies", reference)]
pub struct Currency {
    #[id]
    pub code: String,
    pub name: String,
}

/// Hashed, with generated ids, a lookup and a reference.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "accounts", insert(derive(Clone)))]
pub struct Account {
    #[id(sequence)]
    pub id: i64,
    #[shard_key(hash)]
    pub owner: String,
    #[lookup]
    pub email: String,
    #[references(Currency)]
    pub currency: String,
    pub cents: i64,
}

/// A child with ids that its database counts.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "transfers")]
pub struct Transfer {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub account: Parent<Account>,
    pub cents: i64,
}

/// Listed, with a fallback.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "offices")]
pub struct Office {
    #[id]
    pub id: i64,
    #[shard_key(list("North" => "a", "South" => "b", _ => "c"))]
    pub region: String,
}

/// Placed by ranges.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "invoices")]
pub struct Invoice {
    #[id]
    #[shard_key(range("a" => ..1000, "b" => 1000..2000, "c" => 2000..))]
    pub number: i64,
    pub cents: i64,
}

pub type Models = (Currency, Account, Transfer, Office, Invoice);
