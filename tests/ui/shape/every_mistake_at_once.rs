use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(tabel = "cities", index(nme), unique(name))]
struct City {
    #[id(increment)]
    id: i64,
    #[shard_key(modulo)]
    country: String,
    #[sharded(column = "")]
    name: String,
    rowid: i64,
}

fn main() {}
