use shard_runtime::Sharded;

#[derive(Sharded)]

struct City {
    #[id]
    #[shard_key(hash)]
    id: i64,
    a_name_that_is_longer_than_any_database_takes_without_cutting_it_off: i64,
}

fn main() {}
