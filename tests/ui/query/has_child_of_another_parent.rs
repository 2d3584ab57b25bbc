use shard_runtime::{Parent, Result, Session, ShardKey, Sharded, Stored};

#[derive(ShardKey, Clone, Copy, Debug, PartialEq)]
enum Continent {
    #[shard("asia")]
    Asia,
    #[shard("europe")]
    Europe,
}

#[derive(Sharded, Clone, Debug)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key]
    continent: Continent,
    name: String,
}

#[derive(Sharded, Clone, Debug)]
struct Report {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    city: Parent<City>,
    temperature: f64,
}

#[derive(Sharded, Clone, Debug)]
struct Shop {
    #[id]
    #[shard_key(hash)]
    id: i64,
    name: String,
}

#[derive(Sharded, Clone, Debug)]
struct Sale {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    shop: Parent<Shop>,
    note: String,
}

fn run(session: &mut Session, tokyo: &Stored<City>) -> Result<()> {
    let _ = tokyo;
    session.all(City::select().on(Continent::Asia).filter(City::has_child(Sale::NOTE.eq("x"))))?;
    Ok(())
}

fn main() {
    let _ = run;
}
