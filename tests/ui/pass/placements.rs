//! Every way of placing a key, and where it puts rows.

use shard_runtime::__private::Placement;
use shard_runtime::{ErrorKind, Field, Shard, ShardKey, Sharded, Shards};

#[derive(ShardKey, Clone, Copy, Debug, PartialEq)]
enum Continent {
    #[shard("asia")]
    Asia,
    #[shard("europe", text = "Old World")]
    Europe,
    #[shard("europe")]
    Africa,
}

#[derive(ShardKey, Clone, Debug, PartialEq)]
struct TenantId(i64);

mod limits {
    pub const COLD: i32 = -5;
}

#[derive(Sharded)]
struct ByEnum {
    #[id]
    id: i64,
    #[shard_key]
    continent: Continent,
}

#[derive(Sharded)]
struct ByHash {
    #[id]
    #[shard_key(hash)]
    id: TenantId,
}

#[derive(Sharded)]
struct ByRange {
    #[id]
    id: i64,
    #[shard_key(range("asia" => ..limits::COLD, "europe" => limits::COLD..(10 + 10), "america" => 20..,))]
    degrees: i32,
}

#[derive(Sharded)]
struct ByRangeWithGaps {
    #[id]
    id: i64,
    #[shard_key(range("asia" => "a".."c", "europe" => "m".., gaps))]
    name: String,
}

#[derive(Sharded)]
struct ByRangeOfANewtype {
    #[id]
    id: i64,
    #[shard_key(range("asia" => ..0, "europe" => 0..))]
    tenant: TenantId,
}

#[derive(Sharded)]
struct OnOneShard {
    #[id]
    id: i64,
    #[shard_key(range("asia" => ..))]
    number: u64,
}

#[derive(Sharded)]
struct ByList {
    #[id]
    id: i64,
    #[shard_key(list("North America" => "america", "Asia" => "asia"))]
    continent: String,
}

#[derive(Sharded)]
struct ByListWithFallback {
    #[id]
    id: i64,
    #[shard_key(list(-1 => "america", 7 => "asia", _ => "europe"))]
    code: i16,
}

#[derive(Sharded)]
struct ByFunction {
    #[id]
    id: i64,
    #[shard_key(with = by_length)]
    name: String,
}

fn by_length<'s>(name: &str, shards: &'s Shards) -> Option<&'s Shard> {
    shards.by_index(name.len())
}

#[derive(Sharded)]
#[sharded(shard_key(hash), unique(device, tenant))]
struct ByTwo {
    #[id]
    id: i64,
    #[shard_key]
    tenant: TenantId,
    #[shard_key]
    device: String,
}

#[derive(Sharded)]
#[sharded(shard_key(with = chosen::by_sum))]
struct ByThree {
    #[id]
    id: i64,
    #[shard_key]
    a: u8,
    #[shard_key]
    b: u8,
    #[shard_key]
    c: u8,
}

mod chosen {
    use shard_runtime::{Shard, Shards};

    pub fn by_sum<'s>(a: &u8, b: &u8, c: &u8, shards: &'s Shards) -> Option<&'s Shard> {
        shards.by_index(usize::from(a + b + c))
    }
}

/// A chooser may be called as the generated code calls its own values.
fn shards<'s>(_key: &i64, shards: &'s Shards) -> Option<&'s Shard> {
    shards.get("asia")
}

#[derive(Sharded)]
struct ByAFunctionOfAnyName {
    #[id]
    #[shard_key(with = shards)]
    id: i64,
}

fn main() {
    let shards = Shards::named(["america", "asia", "europe"]).unwrap();
    let names = |place: shard_runtime::Result<usize>| shards.by_index(place.unwrap()).unwrap().name().to_owned();

    let by_enum = |continent| names(ByEnum { id: 1, continent }.shard_chooser(&shards));
    assert_eq!([Continent::Asia, Continent::Europe, Continent::Africa].map(by_enum), ["asia", "europe", "europe"]);
    assert_eq!(Field::to_value(&Continent::Europe).unwrap().to_string(), "Old World");
    assert_eq!(Continent::from_value(Field::to_value(&Continent::Europe).unwrap()), Ok(Continent::Europe));
    let unknown = Continent::from_value(Field::to_value(&String::from("Europe")).unwrap()).unwrap_err();
    assert_eq!(unknown.to_string(), "`Europe` is not a value of `Continent`");

    let by_range = |degrees| names(ByRange { id: 1, degrees }.shard_chooser(&shards));
    assert_eq!([-6, -5, 19, 20].map(by_range), ["asia", "europe", "europe", "america"]);

    let with_gaps = |name: &str| ByRangeWithGaps { id: 1, name: name.into() }.shard_chooser(&shards);
    assert_eq!(names(with_gaps("bz")), "asia");
    assert_eq!(with_gaps("c").unwrap_err().kind(), ErrorKind::UnmappedKey);

    assert_eq!(names(ByRangeOfANewtype { id: 1, tenant: TenantId(-1) }.shard_chooser(&shards)), "asia");
    assert_eq!(names(OnOneShard { id: 1, number: 9 }.shard_chooser(&shards)), "asia");

    let by_list = |continent: &str| ByList { id: 1, continent: continent.into() }.shard_chooser(&shards);
    assert_eq!(names(by_list("North America")), "america");
    assert_eq!(by_list("Atlantis").unwrap_err().kind(), ErrorKind::UnmappedKey);

    let with_fallback = |code| names(ByListWithFallback { id: 1, code }.shard_chooser(&shards));
    assert_eq!([-1, 7, 1000].map(with_fallback), ["america", "asia", "europe"]);

    assert_eq!(names(ByFunction { id: 1, name: "of".into() }.shard_chooser(&shards)), "europe");
    assert_eq!(ByFunction { id: 1, name: "long".into() }.shard_chooser(&shards).unwrap_err().kind(), ErrorKind::UnmappedKey);
    assert_eq!(names(ByThree { id: 1, a: 0, b: 1, c: 1 }.shard_chooser(&shards)), "europe");
    assert_eq!(names(ByAFunctionOfAnyName { id: 1 }.shard_chooser(&shards)), "asia");

    // Where the id is the key, it names one shard; otherwise the shard of the row it is loaded for, or all.
    let one = ByHash::identity_chooser(&TenantId(3), None, &shards).unwrap();
    assert_eq!(one.indexes(), [ByHash { id: TenantId(3) }.shard_chooser(&shards).unwrap()]);
    assert_eq!(ByEnum::identity_chooser(&3, None, &shards).unwrap().len(), 3);
    assert_eq!(ByEnum::identity_chooser(&3, shards.by_index(1), &shards).unwrap().indexes(), [1]);

    assert!(matches!(ByTwo::TABLE.placement, Placement::Hash));
    assert!(ByTwo::TABLE.indexes[0].unique && ByTwo::TABLE.indexes[0].columns == [2, 1]);
    assert_eq!(TenantId::from(5), TenantId(5));
}
