//! The shard of a row, by its key's value: R01 to R06.

use shard_runtime::{ErrorKind, Sharded, Shards, count};

use crate::backend::{Backend, CONTINENTS, LETTERS, assert_error};
use crate::models::*;

on_every_dialect! {
    r01_placement_depends_on_the_value_and_the_layout_alone,
    r01_integers_of_every_width_go_together,
    r01_a_newtype_is_placed_as_the_type_that_it_wraps,
    r02_rows_live_where_postgresql_would_put_them,
    r03_range_bounds_are_inclusive_below_and_exclusive_above,
    r03_ranges_of_text_are_by_bytes,
    r04_every_variant_has_its_shard,
    r05_a_key_without_a_shard_is_an_error_before_any_statement,
    r05_a_fallback_takes_only_unlisted_values,
    r05_a_function_that_returns_no_shard_is_an_error,
    r05_only_keys_of_the_query_must_have_a_shard,
}

fn r01_placement_depends_on_the_value_and_the_layout_alone(backend: &Backend) {
    // The choosers answer the same without a cluster, in any order of the questions, as the cluster does.
    let cluster = backend.create::<Company>(&LETTERS);
    let shards = Shards::named(LETTERS).unwrap();
    let mut session = cluster.session();
    for id in (-20..20).rev().chain([i64::MIN, i64::MAX]) {
        let company = Company { id, name: String::new() };
        let chosen = company.shard_chooser(&shards).unwrap();
        assert_eq!(session.add(company).unwrap().shard().index(), chosen, "{id}");
    }
    session.commit().unwrap();
}

macro_rules! hashed {
    ($($model:ident $key:ty),*) => {$(
        #[derive(Sharded, Clone, Debug, PartialEq)]
        struct $model {
            #[id]
            #[shard_key(hash)]
            key: $key,
        }
    )*};
}
hashed!(OfI8 i8, OfI16 i16, OfI32 i32, OfI64 i64, OfU8 u8, OfU16 u16, OfU32 u32, OfU64 u64, OfText String, OfBytes Vec<u8>);

fn r01_integers_of_every_width_go_together(backend: &Backend) {
    let cluster = backend.create::<(OfI8, OfI16, OfI32, OfI64, OfU8, OfU16, OfU32, OfU64)>(&LETTERS);
    let mut session = cluster.session();
    for key in [-128, -1, 0, 1, 42, 127] {
        let mut homes = vec![
            session.add(OfI8 { key }).unwrap().shard().index(),
            session.add(OfI16 { key: key.into() }).unwrap().shard().index(),
            session.add(OfI32 { key: key.into() }).unwrap().shard().index(),
            session.add(OfI64 { key: key.into() }).unwrap().shard().index(),
        ];
        if let Ok(key) = u8::try_from(key) {
            homes.push(session.add(OfU8 { key }).unwrap().shard().index());
            homes.push(session.add(OfU16 { key: key.into() }).unwrap().shard().index());
            homes.push(session.add(OfU32 { key: key.into() }).unwrap().shard().index());
            homes.push(session.add(OfU64 { key: key.into() }).unwrap().shard().index());
        }
        assert!(homes.iter().all(|home| *home == homes[0]), "{key}: {homes:?}");
    }
    session.commit().unwrap();
    assert_eq!(session.get::<OfI8>(-1_i8).unwrap().unwrap().key, -1);
    assert_eq!(session.get::<OfU64>(42_u64).unwrap().unwrap().key, 42);
}

fn r01_a_newtype_is_placed_as_the_type_that_it_wraps(backend: &Backend) {
    let cluster = backend.create::<(Invoice, Company)>(&LETTERS);
    let mut session = cluster.session();
    for id in 0..30 {
        let company = session.add(Company { id, name: String::new() }).unwrap();
        let invoice = session.add(NewInvoice { tenant: TenantId(id), cents: 1 }).unwrap();
        assert_eq!(company.shard(), invoice.shard());
    }
    session.commit().unwrap();
    let tenant = Invoice::select().filter(Invoice::TENANT.eq(TenantId(7)));
    let (found, asked) = cluster.asked(|| session.all(tenant).unwrap());
    assert_eq!((found.len(), asked), (1, vec![found[0].shard().name().to_owned()]));
}

/// The answers of a real server's `satisfies_hash_partition`: columns, key and remainder, under modulus 3.
fn postgresql_says() -> impl Iterator<Item = (&'static str, &'static str, usize)> {
    include_str!("../vectors/postgres_hash.tsv").lines().filter_map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            [columns, key, "remainder", "3", remainder] if !key.contains("null") => {
                Some((columns, key, remainder.parse().unwrap()))
            }
            _ => None,
        }
    })
}

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn untext(digits: &str) -> String {
    String::from_utf8(unhex(digits)).unwrap()
}

fn r02_rows_live_where_postgresql_would_put_them(backend: &Backend) {
    let cluster = backend.create::<(OfI16, OfI32, OfI64, OfText, OfBytes, Event)>(&LETTERS);
    let mut session = cluster.session();
    let mut checked = 0;
    for (columns, key, remainder) in postgresql_says() {
        let home = match columns {
            "smallint" => session.add(OfI16 { key: key.parse().unwrap() }).unwrap().shard().index(),
            "integer" => session.add(OfI32 { key: key.parse().unwrap() }).unwrap().shard().index(),
            "bigint" => session.add(OfI64 { key: key.parse().unwrap() }).unwrap().shard().index(),
            "text" => session.add(OfText { key: untext(key) }).unwrap().shard().index(),
            "bytea" => session.add(OfBytes { key: unhex(key) }).unwrap().shard().index(),
            "bigint,text" => {
                let (tenant, day) = key.split_once(',').unwrap();
                let new = NewEvent { tenant: tenant.parse().unwrap(), day: untext(day), what: String::new() };
                session.add(new).unwrap().shard().index()
            }
            _ => continue,
        };
        assert_eq!(home, remainder, "{columns} {key}");
        checked += 1;
    }
    assert!(checked >= 25, "only {checked} vectors");
    session.commit().unwrap();
}

fn r03_range_bounds_are_inclusive_below_and_exclusive_above(backend: &Backend) {
    let cluster = backend.create::<(Account, Parcel)>(&LETTERS);
    let mut session = cluster.session();
    let homes =
        [(i32::MIN, "a"), (-1, "a"), (999, "a"), (1000, "b"), (1999, "b"), (2000, "c"), (i32::MAX, "c")];
    for (id, (number, home)) in (1..).zip(homes) {
        let account = session.add(Account { id, number, owner: String::new() }).unwrap();
        assert_eq!(account.shard().name(), home, "{number}");
    }
    for (weight, home) in [(0, "a"), (99, "a"), (200, "b"), (299, "b")] {
        let parcel = session.add(Parcel { weight, label: String::new() }).unwrap();
        assert_eq!(parcel.shard().name(), home, "{weight}");
    }
    for weight in [100, 199, 300, u16::MAX] {
        let parcel = session.add(Parcel { weight, label: String::new() });
        assert_error(parcel, ErrorKind::UnmappedKey, &["`parcels`", "`weight`", &weight.to_string()]);
    }
    session.commit().unwrap();
}

fn r03_ranges_of_text_are_by_bytes(backend: &Backend) {
    let cluster = backend.create::<Word>(&LETTERS);
    let mut session = cluster.session();
    let homes = [("", "a"), ("Zoo", "a"), ("gzzz", "a"), ("h", "b"), ("ozzz", "b"), ("p", "c"), ("é", "c")];
    for (text, home) in homes {
        let word = session.add(Word { text: text.into(), meaning: String::new() }).unwrap();
        assert_eq!(word.shard().name(), home, "{text}");
    }
    session.commit().unwrap();
    for (text, home) in homes {
        let (word, asked) = cluster.asked(|| cluster.session().get::<Word>(text.to_owned()).unwrap());
        assert_eq!((word.unwrap().text.as_str(), asked), (text, vec![home.to_owned()]));
    }
}

fn r04_every_variant_has_its_shard(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let homes = ["north_america", "asia", "asia", "europe", "south_america"];
    for (continent, home) in Continent::ALL.into_iter().zip(homes) {
        assert_eq!(session.add(city(continent, "x")).unwrap().shard().name(), home);
    }
    session.commit().unwrap();
    // A variant is stored under its text, and read back from it.
    if backend.is_lasting() {
        let stored: String = backend.peek("north_america", "cities", "SELECT continent FROM {table}");
        assert_eq!(stored, "North America");
    }
    let found = session.all(City::select().all_shards().order_by(City::ID.asc())).unwrap();
    assert!(found.iter().map(|city| city.continent).eq(Continent::ALL));
}

fn r05_a_key_without_a_shard_is_an_error_before_any_statement(backend: &Backend) {
    let cluster = backend.create::<(Shop, Parcel, Device)>(&LETTERS);
    let mut session = cluster.session();
    let names = ["table `shops`", "column `region`", "`East`"];
    let ((), asked) = cluster.asked(|| {
        let east = Shop { id: 1, region: "East".into() };
        assert_error(session.add(east.clone()), ErrorKind::UnmappedKey, &names);
        let north = Shop { id: 2, region: "North".into() };
        assert_error(session.add_all([north, east]), ErrorKind::UnmappedKey, &names);
        session.commit().unwrap(); // nothing of `add_all` was added
        let shops = Shop::select();
        let equal = Shop::REGION.eq("East");
        assert_error(session.all(shops.clone().filter(equal.clone())), ErrorKind::UnmappedKey, &names);
        let listed = shops.clone().filter(Shop::REGION.is_in(["North", "East"]));
        assert_error(session.all(listed), ErrorKind::UnmappedKey, &names);
        let either = shops.clone().filter(Shop::REGION.eq("North") | equal.clone());
        assert_error(session.all(either), ErrorKind::UnmappedKey, &names);
        assert_error(session.all(shops.on("East".to_owned())), ErrorKind::UnmappedKey, &names);
        // No shard would be read for no rows, and for no groups: the key is as wrong.
        let equals = || Shop::select().filter(Shop::REGION.eq("East"));
        assert_error(session.all(equals().limit(0)), ErrorKind::UnmappedKey, &names);
        let groups = equals().group_by(Shop::REGION).aggregate(count());
        assert_error(session.all(groups.limit(0)), ErrorKind::UnmappedKey, &names);
        assert_error(session.execute(Shop::delete().filter(equal.clone())), ErrorKind::UnmappedKey, &names);
        let update = Device::update().set(Device::LABEL, "x").on("x".to_owned());
        assert_error(session.execute(update), ErrorKind::UnmappedKey, &["`devices`", "`serial`", "`x`"]);
        assert_error(
            session.get::<Parcel>(150_u16),
            ErrorKind::UnmappedKey,
            &["`parcels`", "`weight`", "150"],
        );
        assert_error(cluster.explain(&Shop::select().filter(equal)), ErrorKind::UnmappedKey, &names);
    });
    assert!(asked.is_empty(), "{asked:?}");
}

fn r05_a_fallback_takes_only_unlisted_values(backend: &Backend) {
    let cluster = backend.create::<Visit>(&LETTERS);
    let mut session = cluster.session();
    for (id, (reason, home)) in (1..).zip([(1, "a"), (-2, "b"), (2, "c"), (-1, "c"), (i32::MIN, "c")]) {
        let visit = session.add(Visit { id, reason, notes: String::new() }).unwrap();
        assert_eq!(visit.shard().name(), home, "{reason}");
    }
    session.commit().unwrap();
    let where_is = |filter| cluster.asked(|| cluster.session().all(filter).unwrap()).1;
    let visits = || Visit::select();
    assert_eq!(where_is(visits().filter(Visit::REASON.eq(1))), ["a"]);
    assert_eq!(where_is(visits().filter(Visit::REASON.eq(77))), ["c"]);
    assert_eq!(where_is(visits().filter(Visit::REASON.is_in([1, -2]))), ["a", "b"]);
    assert_eq!(where_is(visits().filter(Visit::REASON.ne(1)).all_shards()), ["b", "c"]);
    let unlisted = !(Visit::REASON.eq(1) | Visit::REASON.eq(-2));
    assert_eq!(where_is(visits().filter(unlisted).all_shards()), ["c"]);
}

fn r05_a_function_that_returns_no_shard_is_an_error(backend: &Backend) {
    let cluster = backend.create::<Device>(&LETTERS);
    let mut session = cluster.session();
    for (id, serial) in (1..).zip(["b12", "a1", "c"]) {
        let device = session.add(device(id, serial)).unwrap();
        assert_eq!(device.shard().name(), &serial[..1]);
    }
    for serial in ["", "x1", "É"] {
        let texts = ["table `devices`", "column `serial`", &format!("`{serial}`")];
        assert_error(session.add(device(9, serial)), ErrorKind::UnmappedKey, &texts);
    }
    session.commit().unwrap();
    let ((), asked) = cluster.asked(|| {
        let found = session.all(Device::select().filter(Device::SERIAL.is_in(["a1", "b12"]))).unwrap();
        assert_eq!(found.len(), 2);
    });
    assert_eq!(asked, ["a", "b"]);
}

fn r05_only_keys_of_the_query_must_have_a_shard(backend: &Backend) {
    let cluster = backend.create::<(Shop, Parcel)>(&LETTERS);
    let mut session = cluster.session();
    // A declared gap and an excluded range hold no row: no shard is read for them, and they are no error.
    let mut asked = |filter| cluster.asked(|| session.all(Parcel::select().filter(filter)).unwrap()).1;
    assert!(asked(Parcel::WEIGHT.between(120, 180)).is_empty());
    assert!(asked(Parcel::WEIGHT.ge(300)).is_empty());
    assert_eq!(asked(Parcel::WEIGHT.ge(150)), ["b"]);
    assert_eq!(asked(Parcel::WEIGHT.lt(200) & Parcel::WEIGHT.gt(99)), [""; 0]);
    assert_eq!(asked(Parcel::WEIGHT.lt(500)), ["a", "b"]);
    let not_east = Shop::select().filter(Shop::REGION.ne("East")).all_shards();
    assert_eq!(cluster.asked(|| session.all(not_east).unwrap()).1, ["a", "b"]);
    let neither = Shop::select().filter(!Shop::REGION.is_in(["North", "South"])).all_shards();
    assert!(cluster.asked(|| session.all(neither).unwrap()).1.is_empty());
}
