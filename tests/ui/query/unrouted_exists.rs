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

fn run(session: &mut Session, tokyo: &Stored<City>) -> Result<()> {
    let _ = tokyo;
    session.one(City::select().exists())?;
    Ok(())
}

fn main() {
    let _ = run;
}
