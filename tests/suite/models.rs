//! The models of the rules: every way to place a key, every kind of id, and parents three deep.

use shard_runtime::{Parent, Shard, ShardKey, Sharded, Shards};

/// Which shard a continent's rows live on; two continents share one, and one is stored under another text.
#[derive(ShardKey, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continent {
    #[shard("north_america", text = "North America")]
    NorthAmerica,
    #[shard("asia")]
    Asia,
    #[shard("asia")]
    Oceania,
    #[shard("europe")]
    Europe,
    #[shard("south_america")]
    SouthAmerica,
}

impl Continent {
    pub const ALL: [Continent; 5] = [
        Continent::NorthAmerica,
        Continent::Asia,
        Continent::Oceania,
        Continent::Europe,
        Continent::SouthAmerica,
    ];
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "cities", insert(derive(Clone, Debug)), unique(continent, name))]
pub struct City {
    #[id(sequence)]
    pub id: i64,
    #[shard_key]
    pub continent: Continent,
    pub name: String,
    pub population: Option<i64>,
}

/// A city to be added.
pub fn city(continent: Continent, name: &str) -> NewCity {
    NewCity { continent, name: name.to_owned(), population: None }
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "reports", insert(derive(Clone, Debug)))]
pub struct Report {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub city: Parent<City>,
    pub temperature: f64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "remarks")]
pub struct Remark {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub report: Parent<Report>,
    pub text: String,
}

pub type Weather = (City, Report, Remark);

/// A model whose id is its key.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "companies")]
pub struct Company {
    #[id]
    #[shard_key(hash)]
    pub id: i64,
    pub name: String,
}

/// A child that holds its parent's bare id.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "campaigns")]
pub struct Campaign {
    #[id(sequence)]
    pub id: i64,
    #[shard_parent(Company)]
    pub company_id: i64,
    pub title: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "adverts")]
pub struct Advert {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub campaign: Parent<Campaign>,
    pub clicks: u32,
}

pub type Advertising = (Company, Campaign, Advert);

/// Placed by range, the id given by the caller.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "accounts")]
pub struct Account {
    #[id]
    pub id: i64,
    #[shard_key(range("a" => ..1000, "b" => 1000..2000, "c" => 2000..))]
    pub number: i32,
    pub owner: String,
}

/// Placed by range, with declared gaps; the id is the key.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "parcels")]
pub struct Parcel {
    #[id]
    #[shard_key(range("a" => 0..100, "b" => 200..300, gaps))]
    pub weight: u16,
    pub label: String,
}

/// Placed by ranges of text.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "words")]
pub struct Word {
    #[id]
    #[shard_key(range("a" => .."h", "b" => "h".."p", "c" => "p"..))]
    pub text: String,
    pub meaning: String,
}

/// Placed by a list of texts.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "shops")]
pub struct Shop {
    #[id]
    pub id: i64,
    #[shard_key(list("North" => "a", "South" => "b"))]
    pub region: String,
}

/// Placed by a list of integers with a declared fallback.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "visits")]
pub struct Visit {
    #[id]
    pub id: i64,
    #[shard_key(list(1 => "a", -2 => "b", _ => "c"))]
    pub reason: i32,
    pub notes: String,
}

/// Placed by a function: by the serial's first letter, nowhere without one that is a shard's.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "devices")]
pub struct Device {
    #[id]
    pub id: i64,
    #[shard_key(with = by_first_letter)]
    pub serial: String,
    pub label: String,
}

/// A device to be added.
pub fn device(id: i64, serial: &str) -> Device {
    Device { id, serial: serial.to_owned(), label: String::new() }
}

fn by_first_letter<'s>(serial: &str, shards: &'s Shards) -> Option<&'s Shard> {
    shards.get(serial.get(..1)?)
}

/// A key of two columns, hashed together.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "events", shard_key(hash))]
pub struct Event {
    #[id(sequence)]
    pub id: i64,
    #[shard_key]
    pub tenant: i64,
    #[shard_key]
    pub day: String,
    pub what: String,
}

/// A newtype as a key.
#[derive(ShardKey, Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantId(pub i64);

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "invoices")]
pub struct Invoice {
    #[id(sequence)]
    pub id: i64,
    #[shard_key(hash)]
    pub tenant: TenantId,
    pub cents: i64,
}
