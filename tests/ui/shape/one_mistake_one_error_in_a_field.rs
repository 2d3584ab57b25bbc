//! The model has one mistake, and is used in every way: only the mistake is reported.

use shard_runtime::{Result, Session, Sharded, Stored};

#[derive(Sharded, Clone)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(hush)]
    country: String,
    name: String,
}

fn use_it(session: &mut Session) -> Result<Stored<City>> {
    session.all(City::select().filter(City::COUNTRY.eq("Japan")).order_by(City::NAME.asc()))?;
    session.all(City::select().on("Japan".to_owned()))?;
    session.get::<City>(1)?;
    session.add(NewCity { country: "Japan".into(), name: "Tokyo".into() })
}

fn main() {}
