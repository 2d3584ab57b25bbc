use shard_runtime::Sharded;

#[derive(Sharded)]
enum City {
    Tokyo,
    London,
}

fn main() {}
