// Reference tables and what refers to them, however it is written.

#![deny(warnings)]

use shard_runtime::{Filter, Routed, Select, Session, Sharded, Stored, Unrouted};

/// With an index of each kind, unique over what it likes, and another name.
#[derive(Sharded, Clone)]
#[sharded(table = "currencies", reference, unique(name), index(decimals))]
pub struct Currency {
    /// The code.
    #[id]
    pub code: String,
    /// The name.
    pub name: String,
    /// How many decimals.
    pub decimals: i64,
}

#[derive(Sharded, Clone)]
#[sharded(reference)]
#[sharded(insert(name = AddCountry, derive(Clone)))]
struct Country {
    #[id(sequence)]
    id: i64,
    #[references(self::Currency)]
    currency: Option<String>,
    #[version]
    version: i64,
}

#[derive(Sharded, Clone)]
#[sharded(reference, index(country))]
struct Tag {
    #[id(uuid)]
    id: shard_runtime::uuid::Uuid,
    #[references(Country)]
    country: i64,
}

/// Everything that a table can have, so that nothing is left to be said.
#[derive(Sharded, Clone)]
#[sharded(index(currency))]
struct Shop {
    #[id]
    #[shard_key(hash)]
    #[references(Country)]
    country: i64,
    #[references(Currency)]
    #[sharded(column = "money")]
    currency: String,
}

#[derive(Sharded, Clone)]
#[sharded(index(label))]
struct Shelf {
    #[id(auto)]
    id: i64,
    #[shard_parent(Shop)]
    shop: i64,
    #[references(Tag)]
    label: Option<shard_runtime::uuid::Uuid>,
}

fn routed_from_the_start() -> Select<Currency, Routed> {
    Currency::select().filter(Currency::DECIMALS.eq(2) | Currency::NAME.eq("euro"))
}

fn narrows_to_no_shard() -> Filter<Shop, Unrouted> {
    Shop::CURRENCY.refers_to(Currency::NAME.eq("euro"))
}

/// Of a model that is not known, every shard has to be said.
fn any<T: Sharded>(session: &mut Session) -> shard_runtime::Result<Vec<Stored<T>>> {
    session.all(T::select().all_shards())
}

fn read(session: &mut Session) -> shard_runtime::Result<()> {
    session.all(routed_from_the_start())?;
    any::<Currency>(session)?;
    session.execute(Currency::delete().filter(Currency::CODE.eq("EUR")))?;
    session.execute(Shop::update().set(Shop::CURRENCY, "EUR").filter(narrows_to_no_shard()).all_shards())?;
    let joined = Shop::select().filter(Shop::COUNTRY.eq(7)).with_reference(Shop::CURRENCY);
    let _: Vec<(Stored<Shop>, Stored<Currency>)> = session.all(joined.clone())?;
    let _: Vec<(Stored<Shop>, Stored<Currency>, Stored<Country>)> =
        session.all(joined.with_reference(Shop::COUNTRY))?;
    let _: Vec<(Stored<Shelf>, Option<Stored<Tag>>)> =
        session.all(Shelf::select().on(7).with_reference(Shelf::LABEL))?;
    session.save(Currency { code: "EUR".into(), name: "euro".into(), decimals: 2 })?;
    session.add(AddCountry { currency: None })?;
    Ok(())
}

fn main() {
    let _ = read;
}
