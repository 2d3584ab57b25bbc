use shard_runtime::Field;

#[derive(Field)]
enum Sky {
    Clear,
    Clouds { cover: f64 },
}

fn main() {}
