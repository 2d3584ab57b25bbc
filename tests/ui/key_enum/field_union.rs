use shard_runtime::Field;

#[derive(Field)]
union Sky {
    clear: u8,
    cloudy: u8,
}

fn main() {}
