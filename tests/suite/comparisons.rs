//! Comparisons of columns by methods, and filters that methods combine: R12, R13, R54.

use shard_runtime::{Filter, Routed, Sharded, Unrouted};

use crate::backend::{Backend, CONTINENTS, LETTERS, Watched};
use crate::models::*;

on_every_dialect! {
    not_in_leaves_out_rows_without_a_value,
    not_in_of_nothing_is_every_row,
    r13_not_in_narrows_to_the_other_shards,
    is_not_null_is_the_rows_with_a_value,
    contains_and_ends_with_have_no_wildcards,
    r12_methods_combine_filters_as_operators_do,
    values_are_taken_by_reference,
    narrower_numbers_are_compared,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "tariffs")]
struct Tariff {
    #[id]
    #[shard_key(hash)]
    id: i64,
    title: Option<String>,
    rate: f64,
    code: Vec<u8>,
}

const TITLES: [Option<&str>; 9] = [
    Some("5%"),
    Some("5 percent"),
    Some("tax_1"),
    Some("taxi1"),
    Some(r"a\b"),
    Some("[x]*?"),
    Some(""),
    Some("É"),
    None,
];

/// A tariff for each title, with the ids 1, 2, ….
fn tariffs(backend: &Backend) -> Watched {
    let cluster = backend.create::<Tariff>(&LETTERS);
    let mut session = cluster.session();
    let rows = (1_u8..).zip(TITLES).map(|(id, title)| Tariff {
        id: id.into(),
        title: title.map(str::to_owned),
        rate: f64::from(id) / 2.0,
        code: vec![id],
    });
    session.add_all(rows).unwrap();
    session.commit().unwrap();
    cluster
}

fn ids<R: shard_runtime::routing::Routing>(cluster: &Watched, filter: Filter<Tariff, R>) -> Vec<i64> {
    let query = Tariff::select().filter(filter).all_shards().order_by(Tariff::ID.asc());
    cluster.session().all(query.columns(Tariff::ID)).unwrap()
}

fn not_in_leaves_out_rows_without_a_value(backend: &Backend) {
    let cluster = tariffs(backend);
    assert_eq!(ids(&cluster, Tariff::TITLE.not_in(["5%", "", "É"])), [2, 3, 4, 5, 6]);
    assert_eq!(ids(&cluster, Tariff::TITLE.not_in(["5%", "", "É"]).not()), [1, 7, 8]);
}

fn not_in_of_nothing_is_every_row(backend: &Backend) {
    let cluster = tariffs(backend);
    assert_eq!(ids(&cluster, Tariff::TITLE.not_in([""; 0])).len(), TITLES.len());
    assert_eq!(ids(&cluster, Tariff::TITLE.not_in([""; 0]).not()), [0; 0]);
}

fn r13_not_in_narrows_to_the_other_shards(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let others = City::CONTINENT.not_in([Continent::Asia, Continent::Oceania, Continent::Europe]);
    let query = City::select().filter(others).all_shards();
    let (rows, asked) = cluster.asked(|| cluster.session().all(query).unwrap());
    assert_eq!((rows.len(), asked), (0, vec!["north_america".to_owned(), "south_america".to_owned()]));
}

fn is_not_null_is_the_rows_with_a_value(backend: &Backend) {
    let cluster = tariffs(backend);
    assert_eq!(ids(&cluster, Tariff::TITLE.is_not_null()), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(ids(&cluster, Tariff::TITLE.is_not_null().not()), [9]);
    assert_eq!(ids(&cluster, Tariff::RATE.is_not_null()).len(), TITLES.len());
}

fn contains_and_ends_with_have_no_wildcards(backend: &Backend) {
    let cluster = tariffs(backend);
    for text in ["%", "_", r"\", "5", "x]*", "?", "[", "", "É", "1", "tax", "percent", "5%", "É%"] {
        let expected = |holds: &dyn Fn(&str) -> bool| -> Vec<i64> {
            let titles = (1..).zip(TITLES);
            titles.filter(|(_, title)| title.is_some_and(holds)).map(|(id, _)| id).collect()
        };
        let contains = expected(&|title| title.contains(text));
        assert_eq!(ids(&cluster, Tariff::TITLE.contains(text)), contains, "contains {text:?}");
        let ends = expected(&|title| title.ends_with(text));
        assert_eq!(ids(&cluster, Tariff::TITLE.ends_with(text)), ends, "ends with {text:?}");
        let starts = expected(&|title| title.starts_with(text));
        assert_eq!(ids(&cluster, Tariff::TITLE.starts_with(text)), starts, "starts with {text:?}");
    }
}

fn r12_methods_combine_filters_as_operators_do(backend: &Backend) {
    let cluster = tariffs(backend);
    let key = || Tariff::ID.is_in([1, 2, 3]);
    let title = || Tariff::TITLE.contains("5");
    let both: Filter<Tariff, Routed> = title().and(key());
    let either: Filter<Tariff, Unrouted> = title().or(key());
    assert_eq!(both.predicate(), (title() & key()).predicate());
    assert_eq!(either.predicate(), (title() | key()).predicate());
    assert_eq!(key().not().predicate(), (!key()).predicate());
    assert_eq!(ids(&cluster, both), [1, 2]);
    assert_eq!(ids(&cluster, either), [1, 2, 3]);
    assert_eq!(ids(&cluster, key().not().and(title().not())), [4, 5, 6, 7, 8]);
}

fn values_are_taken_by_reference(backend: &Backend) {
    let cluster = tariffs(backend);
    let numbers = vec![1_i64, 3];
    let titles = vec!["5%".to_owned()];
    let parts = ["tax_1", "É"];
    assert_eq!(ids(&cluster, Tariff::ID.is_in(&numbers)), numbers);
    assert_eq!(ids(&cluster, Tariff::ID.is_in(numbers.iter())), numbers);
    assert_eq!(ids(&cluster, Tariff::ID.eq(numbers[0])), [1]);
    assert_eq!(ids(&cluster, Tariff::TITLE.is_in(&titles)), [1]);
    assert_eq!(ids(&cluster, Tariff::TITLE.is_in(&parts)), [3, 8]);
    assert_eq!(ids(&cluster, Tariff::CODE.eq([2_u8].as_slice())), [2]);
    assert_eq!(ids(&cluster, Tariff::CODE.is_in(&[vec![2_u8], vec![4]])), [2, 4]);
}

fn narrower_numbers_are_compared(backend: &Backend) {
    let cluster = tariffs(backend);
    let filters = [
        Tariff::ID.eq(2_i8),
        Tariff::ID.eq(2_i16),
        Tariff::ID.eq(2_i32),
        Tariff::ID.eq(2_u8),
        Tariff::ID.eq(2_u16),
        Tariff::ID.eq(2_u32),
        Tariff::ID.eq(2_u32),
        Tariff::ID.is_in([2_i32]),
    ];
    for filter in filters {
        assert_eq!(ids(&cluster, filter), [2]);
    }
    assert_eq!(ids(&cluster, Tariff::ID.eq(-1_i8)), [0; 0]);
    assert_eq!(ids(&cluster, Tariff::RATE.eq(1.5_f32)), [3]);
    assert_eq!(ids(&cluster, Tariff::RATE.between(1.5_f32, 2.0)), [3, 4]);
}
