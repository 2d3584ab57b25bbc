use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id]
    #[shard_key(hash)]
    id: i64,
    population: i64,
}

fn main() {
    let _ = City::select().filter(City::POPULATION > 1_000);
}
