//! Types as those of `chrono`, `time` and `rust_decimal`, which no feature makes columns.

use shard_runtime::Sharded;

mod chrono {
    pub struct NaiveDate;
    pub struct DateTime<Tz>(pub Tz);
    pub struct Utc;
}

mod time {
    pub struct OffsetDateTime;
}

mod rust_decimal {
    pub struct Decimal;
}

#[derive(Sharded)]
struct Order {
    #[id]
    #[shard_key(hash)]
    id: i64,
    day: chrono::NaiveDate,
    placed: chrono::DateTime<chrono::Utc>,
    paid: Option<time::OffsetDateTime>,
    price: rust_decimal::Decimal,
}

fn main() {}
