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
    population: i64,
    visitors: Option<i64>,
    size: i32,
}

#[derive(Sharded, Clone, Debug)]
struct Report {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    city: Parent<City>,
    temperature: f64,
    number: i64,
}

fn run(session: &mut Session, tokyo: &Stored<City>) -> Result<()> {
    let _ = tokyo;
    session.execute(City::update().set(City::POPULATION, City::POPULATION + City::VISITORS).all_shards())?;
    Ok(())
}

fn main() {
    let _ = run;
}
