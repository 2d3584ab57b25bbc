//! The runtime under another name, in a crate without a prelude that documents everything it shows: generated
//! code may rely on neither.

#![no_implicit_prelude]
#![deny(missing_docs, warnings)]
#![forbid(unsafe_code)]

use ::sharding::{Field, Parent, Projection, Shard, ShardKey, Sharded, Shards};
use ::std::clone::Clone;
use ::std::cmp::PartialEq;
use ::std::fmt::Debug;
use ::std::option::Option;
use ::std::string::String;

/// A season, and where its rows live.
#[derive(ShardKey, Clone, Copy, Debug, PartialEq)]
#[sharded(crate = ::sharding)]
pub enum Season {
    /// The dry one.
    #[shard("a")]
    Dry,
    /// The wet one.
    #[shard("b")]
    Wet,
}

/// A field, in both senses.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(crate = ::sharding, table = "fields", index(crop, yearly), insert(derive(Clone, Debug)))]
pub struct Acre {
    /// Its id.
    #[id(sequence)]
    pub id: i64,
    /// When it is sown.
    #[shard_key]
    pub season: Season,
    /// The crop.
    pub crop: Crop,
    /// How much, in tons.
    pub yearly: Option<Tons>,
}

/// A harvest.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(crate = ::sharding, table = "harvests")]
pub struct Harvest {
    /// Its number on its shard.
    #[id(auto)]
    pub id: i64,
    /// The field.
    #[shard_parent]
    pub acre: Parent<Acre>,
    /// The year; a word that Rust keeps for itself is a name too.
    pub r#yield: i32,
}

/// The facts of a harvest's year.
#[derive(Projection, Clone, Debug, PartialEq)]
#[sharded(crate = ::sharding, model = Harvest)]
pub struct Year {
    /// The year.
    pub r#yield: i32,
    /// The harvest's number on its shard.
    #[sharded(column = id)]
    pub number: i64,
}

/// A crop.
#[derive(Field, Clone, Copy, Debug, PartialEq)]
#[sharded(crate = ::sharding)]
pub enum Crop {
    /// Rice.
    Rice,
    /// Beans.
    Beans,
}

/// A weight.
#[derive(Field, Clone, Copy, Debug, PartialEq)]
#[sharded(crate = ::sharding)]
pub struct Tons(pub f64);

/// A farmer, whose id is the key.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(crate = ::sharding, table = "farmers")]
pub struct Farmer {
    /// Even or odd.
    #[id]
    #[shard_key(with = by_parity)]
    pub id: i64,
    /// The name.
    pub name: String,
}

/// A tool of a farmer.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(crate = ::sharding, table = "tools")]
pub struct Tool {
    /// Its number on its shard.
    #[id(auto)]
    pub id: i64,
    /// Whose it is.
    #[shard_parent(Farmer)]
    pub farmer_id: i64,
}

/// A market stall, whose key has two columns.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(crate = ::sharding, table = "stalls", shard_key(hash))]
pub struct Stall {
    /// Its id.
    #[id]
    pub id: i64,
    /// The town.
    #[shard_key]
    pub town: String,
    /// The place in the row.
    #[shard_key]
    pub place: u8,
}

/// A road, by its number.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(crate = ::sharding, table = "roads")]
pub struct Road {
    /// Its number.
    #[id]
    #[shard_key(range("a" => ..100, "b" => 100..))]
    pub number: u16,
}

/// A well, by its water.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(crate = ::sharding, table = "wells")]
pub struct Well {
    /// Its id.
    #[id]
    pub id: i64,
    /// The kind of its water.
    #[shard_key(list("sweet" => "a", _ => "b"))]
    pub water: String,
}

fn by_parity<'s>(id: &i64, shards: &'s Shards) -> Option<&'s Shard> {
    shards.by_index(if id % 2 == 0 { 0 } else { 1 })
}

/// Everything.
pub type Farm = (Acre, Harvest, Farmer, Tool, Stall, Road, Well);
