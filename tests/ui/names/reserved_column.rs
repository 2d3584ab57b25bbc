use shard_runtime::Sharded;

#[derive(Sharded)]

struct City {
    #[id]
    #[shard_key(hash)]
    id: i64,
    rowid: i64,
    xmin: i64,
    #[sharded(column = "sharded_epoch")]
    epoch: i64,
}

fn main() {}
