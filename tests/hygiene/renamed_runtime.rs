//! The runtime may have another path than its own.

mod renamed {
    pub use ::shard_runtime as rt;
}

/// A module under the runtime's usual name.
#[allow(dead_code)]
mod shard_runtime {}

mod models {
    use super::renamed::rt::{Field, Parent, Projection, ShardKey, Sharded};

    #[derive(ShardKey, Clone, Copy)]
    #[sharded(crate = super::renamed::rt)]
    pub enum Continent {
        #[shard("asia")]
        Asia,
    }

    #[derive(Field, Clone, Copy)]
    #[sharded(crate = super::renamed::rt)]
    pub struct Celsius(pub f64);

    #[derive(Sharded)]
    #[sharded(crate = super::renamed::rt, table = "cities")]
    pub struct City {
        #[id(sequence)]
        pub id: i64,
        #[shard_key]
        pub continent: Continent,
        pub mean: Celsius,
    }

    #[derive(Projection)]
    #[sharded(crate = super::renamed::rt, model = City)]
    pub struct Place {
        pub id: i64,
        #[sharded(column = mean)]
        pub temperature: Celsius,
    }

    #[derive(Sharded)]
    #[sharded(crate = crate::renamed::rt)]
    pub struct Report {
        #[id(auto)]
        pub id: i64,
        #[shard_parent]
        pub city: Parent<City>,
    }
}

fn main() {
    use renamed::rt::{Projection, Sharded};
    let _ = models::City::select().all_shards().columns(models::Place::COLUMNS);
    assert_eq!(models::Report::TABLE.parent.map(|parent| parent.table.name), Some("cities"));
    let cluster = renamed::rt::Cluster::in_memory::<(models::City, models::Report)>(["asia"]).unwrap();
    renamed::rt::assert_shards_asked!(cluster, [], cluster.session().commit().unwrap());
}
