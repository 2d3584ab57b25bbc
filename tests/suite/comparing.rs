//! Reference tables whose shards do not agree, and shards that come to a cluster after its rows: R35, R40, R41.

use std::sync::atomic::{AtomicBool, Ordering};

use shard_runtime::{Sharded, Sql, Value};

use crate::backend::{Backend, LETTERS, Watched};

on_every_dialect! {
    tables_that_agree_have_no_differences,
    rows_that_differ_are_reported_with_their_shards,
    saving_repairs_differences;
    only on_disk:
        r41_a_shard_without_rows_gets_them,
        r35_units_on_their_way_are_no_differences,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "currencies", reference)]
struct Currency {
    #[id]
    code: String,
    decimals: Option<f64>,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "countries", reference)]
struct Country {
    #[id(sequence)]
    id: i64,
    #[references(Currency)]
    currency: Option<String>,
}

type Both = (Country, Currency);

fn currency(code: &str, decimals: Option<f64>) -> Currency {
    Currency { code: code.to_owned(), decimals }
}

fn filled(backend: &Backend, shards: &[&str]) -> Watched {
    let cluster = backend.create::<Both>(shards);
    let mut session = cluster.session();
    session.add_all([currency("EUR", Some(2.5)), currency("JPY", None), currency("USD", None)]).unwrap();
    session
        .add_all([Some("EUR"), None].map(|code| NewCountry { currency: code.map(str::to_owned) }))
        .unwrap();
    session.commit().unwrap();
    cluster
}

/// Runs SQL on one shard only, which nothing else does.
fn meddle(cluster: &Watched, shard: &str, sql: &str) {
    let mut session = cluster.session();
    session.execute(Sql::new(sql).on_shard(shard)).unwrap();
    session.commit().unwrap();
}

fn tables_that_agree_have_no_differences(backend: &Backend) {
    let cluster = filled(backend, &LETTERS);
    // One statement for each table on each shard.
    let (found, counts) = cluster.counted(|| cluster.compare_references().unwrap());
    assert!(found.is_empty());
    assert_eq!(counts, LETTERS.map(|shard| (shard.to_owned(), 2)));
}

fn rows_that_differ_are_reported_with_their_shards(backend: &Backend) {
    let cluster = filled(backend, &LETTERS);
    meddle(&cluster, "a", "DELETE FROM {currencies} WHERE code = 'JPY'");
    meddle(&cluster, "b", "UPDATE {currencies} SET decimals = 3 WHERE code IN ('JPY', 'USD')");
    meddle(&cluster, "c", "INSERT INTO {countries} VALUES (999, NULL)");
    let found = cluster.compare_references().unwrap();
    let told: Vec<_> = found
        .iter()
        .map(|found| (found.table, found.id.to_string(), found.missing.join(","), found.different.join(",")))
        .collect();
    let expected = [
        ("currencies", "JPY", "a", "c"), // than on `b`, the first that has it
        ("currencies", "USD", "", "b"),
        ("countries", "999", "a,b", ""),
    ];
    let owned = |(table, id, missing, different): (&'static str, &str, &str, &str)| {
        (table, id.to_owned(), missing.to_owned(), different.to_owned())
    };
    assert_eq!(told, expected.map(owned));
    assert_eq!(found[2].id, Value::Integer(999));
}

fn saving_repairs_differences(backend: &Backend) {
    let cluster = filled(backend, &LETTERS);
    meddle(&cluster, "c", "DELETE FROM {currencies} WHERE code = 'JPY'");
    meddle(&cluster, "a", "UPDATE {currencies} SET decimals = 3 WHERE code = 'USD'");
    let mut session = cluster.session();
    session.save(currency("JPY", None)).unwrap();
    session.save(currency("USD", Some(0.5))).unwrap();
    session.commit().unwrap();
    assert!(cluster.compare_references().unwrap().is_empty());
}

/// A shard that is added is spare, and has no rows of reference tables: see `recorded_layout` for the time when it serves.
fn r41_a_shard_without_rows_gets_them(backend: &Backend) {
    drop(filled(backend, &["b", "c"]));
    let three = ["b", "c", "a"];
    assert!(backend.open::<Both>(&three).is_err());
    for _ in 0..2 {
        let cluster = backend.create::<Both>(&three);
        assert!(cluster.compare_references().unwrap().is_empty());
        assert!(cluster.session().all(Currency::select().on_shard("a")).unwrap().is_empty());
    }
    // If a call is stopped between making a shard and filling it, the next one continues.
    let cluster = backend.open::<Both>(&three).unwrap();
    meddle(&cluster, "c", "DELETE FROM {countries}");
    meddle(&cluster, "c", "DELETE FROM {currencies}");
    drop(cluster);
    let cluster = backend.create::<Both>(&three);
    assert!(cluster.compare_references().unwrap().is_empty());
    let mut session = cluster.session();
    assert_eq!(session.all(Currency::select().on_shard("c")).unwrap().len(), 3);
    let joined = Country::select().on_shard("c").with_reference(Country::CURRENCY);
    assert_eq!(session.all(joined).unwrap().len(), 2);
}

fn r35_units_on_their_way_are_no_differences(backend: &Backend) {
    let cluster = filled(backend, &LETTERS);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for decimals in 0..60 {
                let update = || Currency::update().set(Currency::DECIMALS, Some(f64::from(decimals)));
                cluster.transaction(|session| session.execute(update())).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        while !stop.load(Ordering::Relaxed) {
            assert_eq!(cluster.compare_references().unwrap(), []);
        }
    });
}
