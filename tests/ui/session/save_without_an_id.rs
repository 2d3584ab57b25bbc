use shard_runtime::{Result, Session, Sharded};

#[derive(Sharded, Clone, Debug)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    country: String,
}

fn run(session: &mut Session, city: City) -> Result<()> {
    session.save(city)?;
    Ok(())
}

fn main() {
    let _ = run;
}
