use shard_runtime::{Result, Session, Sharded};

#[derive(Sharded, Clone, Debug)]
struct Draft {
    #[id]
    id: i64,
    #[shard_key(hash)]
    place: i64,
    #[version]
    version: i64,
}

fn run(session: &mut Session) -> Result<()> {
    session.execute(Draft::update().set(Draft::VERSION, 7).all_shards())?;
    Ok(())
}

fn main() {
    let _ = run;
}
