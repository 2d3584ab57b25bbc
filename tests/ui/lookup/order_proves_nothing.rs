use shard_runtime::{Result, Session, Sharded};

#[derive(Sharded, Clone, Debug)]
struct User {
    #[id]
    id: i64,
    #[shard_key(hash)]
    tenant: i64,
    #[lookup]
    email: String,
}

fn run(session: &mut Session) -> Result<()> {
    session.all(User::select().filter(User::EMAIL.lt("m")))?;
    Ok(())
}

fn main() {
    let _ = run;
}
