use shard_runtime::{Session, Sharded, Stored};

#[derive(Sharded, Clone)]
#[sharded(reference)]
struct Currency {
    #[id]
    code: String,
    name: String,
}

fn relocate(session: &mut Session, mut euro: Stored<Currency>) -> shard_runtime::Result<()> {
    session.relocate(&mut euro, |euro| euro.name.clear())?;
    Ok(())
}

fn main() {}
