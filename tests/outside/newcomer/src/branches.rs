//! Branches live with their country, and sales with their branch.

use shard_runtime::{Parent, ShardKey, Sharded};

/// Which shard a country's rows live on.
#[derive(ShardKey, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Country {
    #[shard("north")]
    Norway,
    #[shard("south")]
    Italy,
    #[shard("east", text = "日本")]
    Japan,
    #[shard("west")]
    #[allow(dead_code)]
    Portugal,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "branches", unique(country, city))]
pub struct Branch {
    #[id(sequence)]
    pub id: i64,
    #[shard_key]
    pub country: Country,
    pub city: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "sales", index(price))]
pub struct Sale {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub branch: Parent<Branch>,
    pub title: String,
    pub price: Option<f64>,
}
