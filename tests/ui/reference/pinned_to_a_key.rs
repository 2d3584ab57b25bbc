use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(reference)]
struct Currency {
    #[id]
    code: String,
}

fn main() {
    let _ = Currency::select().on("EUR");
}
