//! Generated code names everything in full.

#![no_implicit_prelude]

use ::shard_runtime::{Field, Parent, Projection, ShardKey, Sharded};

#[derive(ShardKey)]
pub enum Continent {
    #[shard("asia")]
    Asia,
    #[shard("europe")]
    Europe,
}

#[derive(ShardKey, ::std::clone::Clone, ::std::fmt::Debug, ::std::cmp::PartialEq)]
pub struct TenantId(i64);

#[derive(Field)]
pub enum Sky {
    Clear,
    Cloudy,
}

#[derive(Field)]
pub struct Celsius(f64);

#[derive(Sharded)]
#[sharded(index(name), unique(continent, name))]
pub struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key]
    continent: Continent,
    #[sharded(collate = nocase)]
    #[lookup]
    name: ::std::string::String,
    sky: ::std::option::Option<Sky>,
    mean: Celsius,
}

#[derive(Sharded)]
#[sharded(reference)]
pub struct Currency {
    #[id]
    code: ::std::string::String,
}

#[derive(Sharded)]
pub struct Report {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    city: Parent<City>,
    #[references(Currency)]
    currency: ::std::option::Option<::std::string::String>,
}

#[derive(Sharded)]
pub struct Tenant {
    #[id]
    #[shard_key(range("a" => ..10, "b" => 10..20, "c" => 20..))]
    id: TenantId,
}

#[derive(Sharded)]
#[sharded(insert(name = AddUser))]
pub struct User {
    #[id(uuid)]
    id: ::uuid::Uuid,
    #[shard_parent(Tenant)]
    tenant: TenantId,
}

#[derive(Sharded)]
pub struct Listed {
    #[id]
    id: i64,
    #[shard_key(list("x" => "a", _ => "b"))]
    key: ::std::string::String,
}

#[derive(Sharded)]
#[sharded(shard_key(with = choose))]
pub struct Pair {
    #[id]
    id: i64,
    #[shard_key]
    a: i64,
    #[shard_key]
    b: ::std::string::String,
}

#[derive(Projection)]
#[sharded(model = City)]
pub struct Sight {
    sky: ::std::option::Option<Sky>,
    #[sharded(column = name)]
    called: ::std::string::String,
}

fn choose<'s>(
    _a: &i64,
    _b: &::std::string::String,
    shards: &'s ::shard_runtime::Shards,
) -> ::std::option::Option<&'s ::shard_runtime::Shard> {
    shards.by_index(0)
}

fn main() {
    let cluster = ::shard_runtime::Cluster::in_memory::<(Tenant, User)>(["a", "b"]);
    if let ::std::result::Result::Ok(cluster) = cluster {
        let mut session = cluster.session();
        ::shard_runtime::assert_shards_asked!(session.cluster(), [], session.rollback());
    }
}
