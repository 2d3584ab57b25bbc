use shard_runtime::{Cluster, Result};

fn run(cluster: &Cluster) -> Result<()> {
    cluster.transaction(|session| {
        session.flush()?;
        Ok(())
    })
}

fn wrong(cluster: &Cluster) {
    cluster.transaction(|session| {
        session.flush()?;
        Ok(())
    }).unwrap();
}

fn main() {
    let _ = (run, wrong);
}
