use shard_runtime::{Combine, Key, Routing, Value, ValueError};

struct Mine;

impl Routing for Mine {
    type And<R: Routing> = R;
    type Or<R: Routing> = R;
}

impl Key for Mine {
    type Unfiltered = shard_runtime::Unrouted;

    fn values(&self) -> Result<Vec<Value<'_>>, ValueError> {
        Ok(Vec::new())
    }
}

impl Combine<Mine> for Mine {
    type Output = Mine;
}

fn main() {}
