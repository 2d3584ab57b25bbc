//! Generated items are documented, so that a crate may demand it of all its items; and they cause no warning,
//! used or not.

#![deny(missing_docs, warnings)]

/// Models that other crates see.
pub mod models {
    use shard_runtime::{Field, Parent, Projection, ShardKey, Sharded};

    /// A continent.
    #[derive(ShardKey, Clone, Copy)]
    pub enum Continent {
        /// Asia.
        #[shard("asia")]
        Asia,
    }

    /// A sky.
    #[derive(Field, Clone, Copy)]
    pub enum Sky {
        /// Without a cloud.
        Clear,
    }

    /// A city.
    #[derive(Sharded)]
    pub struct City {
        /// Its number.
        #[id(sequence)]
        pub id: i64,
        /// The place.
        #[shard_key]
        pub continent: Continent,
        /// The parent.
        pub sky: Sky,
        pub(crate) code: i64,
        secret: String,
    }

    /// A report.
    #[derive(Sharded)]
    pub struct Report {
        /// Its number.
        #[id(auto)]
        pub id: i64,
        /// Its city.
        #[shard_parent]
        pub city: Parent<City>,
    }

    /// A device.
    #[derive(Sharded)]
    #[sharded(shard_key(hash))]
    pub struct Device {
        /// Its number.
        #[id]
        pub id: i64,
        /// Whose it is.
        #[shard_key]
        pub tenant: i64,
        /// Its own number.
        #[shard_key]
        pub serial: i64,
    }

    /// The public columns of a city.
    #[derive(Projection)]
    #[sharded(model = City)]
    pub struct Sight {
        /// Its number.
        pub id: i64,
        /// The parent.
        #[sharded(column = sky)]
        pub above: Sky,
    }

    impl City {
        /// Uses everything that is private.
        pub fn secret(&self) -> (i64, &str) {
            (self.code, &self.secret)
        }
    }
}

fn main() {}
