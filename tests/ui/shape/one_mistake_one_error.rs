//! A struct that cannot be a model is used as one: only the struct is at fault.

use shard_runtime::{Result, Session, Sharded};

#[derive(Sharded)]
struct City(i64, String);

fn use_it(session: &mut Session) -> Result<()> {
    session.get::<City>(1)?;
    session.all(City::select().all_shards().limit(3))?;
    session.execute(City::delete().all_shards())?;
    Ok(())
}

fn main() {}
