use shard_runtime::{Cluster, Error};

enum Refused {
    Poor,
    Database(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Database(error)
    }
}

fn own(cluster: &Cluster) -> Result<(), Refused> {
    cluster.try_transaction(|session| {
        session.flush()?;
        Err(Refused::Poor)
    })
}

fn wrong(cluster: &Cluster) -> Result<(), Refused> {
    cluster.transaction(|session| {
        session.flush()?;
        Err(Refused::Poor)
    })?;
    Ok(())
}

fn main() {
    let _ = (own, wrong);
}
