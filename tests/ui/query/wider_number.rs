use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id]
    #[shard_key(hash)]
    id: i64,
    area: f32,
}

fn main() {
    let _ = City::ID.eq(1_u64);
    let _ = City::AREA.eq(1.5_f64);
}
