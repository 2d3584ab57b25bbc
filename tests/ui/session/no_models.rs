use shard_runtime::{Cluster, Result};

struct City;

fn main() -> Result<()> {
    let _ = Cluster::in_memory::<(City,)>(["a"])?;
    Ok(())
}
