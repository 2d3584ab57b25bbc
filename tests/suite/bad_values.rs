//! Bad values are errors, not corruption: R43.

use shard_runtime::{ErrorKind, Field, Filter, Sharded};

use crate::backend::{Backend, CONTINENTS, LETTERS, assert_error};
use crate::models::*;

on_every_dialect! {
    r43_values_that_no_column_holds_are_refused_on_the_way_in,
    r43_bad_values_in_queries_are_errors_before_any_statement,
    r43_every_field_type_round_trips,
    r43_an_enums_text_is_checked,
    r43_large_values;
    only lasting:
        r43_values_that_do_not_fit_on_the_way_back;
    only on_disk:
        r43_text_from_outside_is_checked,
}

on_every_dialect_at_length! {
    r43_long_lists_are_one_parameter,
    r43_deep_filters_are_errors_or_answers,
    r43_more_values_than_a_statement_takes,
}

/// Every type of field that needs no feature.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "everything")]
struct Everything {
    #[id]
    #[shard_key(hash)]
    id: u64,
    tiny: i8,
    small: u16,
    medium: u32,
    huge: u64,
    single: f32,
    double: f64,
    truth: bool,
    text: String,
    bytes: Vec<u8>,
    size: Size,
    meters: Meters,
    maybe_truth: Option<bool>,
    maybe_double: Option<f64>,
    maybe_text: Option<String>,
    maybe_bytes: Option<Vec<u8>>,
    maybe_size: Option<Size>,
}

#[derive(Field, Clone, Copy, Debug, PartialEq)]
enum Size {
    Small,
    #[field("very large")]
    Large,
}

#[derive(Field, Clone, Copy, Debug, PartialEq)]
struct Meters(f64);

fn everything(id: u64) -> Everything {
    Everything {
        id,
        tiny: -128,
        small: u16::MAX,
        medium: u32::MAX,
        huge: i64::MAX as u64,
        single: 0.1,
        double: f64::MIN_POSITIVE,
        truth: true,
        text: String::new(),
        bytes: Vec::new(),
        size: Size::Large,
        meters: Meters(-0.5),
        maybe_truth: None,
        maybe_double: None,
        maybe_text: None,
        maybe_bytes: None,
        maybe_size: None,
    }
}

fn r43_values_that_no_column_holds_are_refused_on_the_way_in(backend: &Backend) {
    let cluster = backend.create::<Everything>(&LETTERS);
    let mut session = cluster.session();
    let bad: [(Everything, &[&str]); 7] = [
        (
            Everything { huge: i64::MAX as u64 + 1, ..everything(1) },
            &["column `huge`", "9223372036854775808"],
        ),
        (Everything { double: f64::NAN, ..everything(1) }, &["column `double`", "NaN"]),
        (Everything { single: f32::NAN, ..everything(1) }, &["column `single`", "NaN"]),
        (Everything { maybe_double: Some(f64::NAN), ..everything(1) }, &["column `maybe_double`", "NaN"]),
        (Everything { text: "a\0b".into(), ..everything(1) }, &["column `text`", "NUL"]),
        (Everything { maybe_text: Some("\0".into()), ..everything(1) }, &["column `maybe_text`", "NUL"]),
        (Everything { id: u64::MAX, ..everything(1) }, &["column `id`", "18446744073709551615"]),
    ];
    let ((), asked) = cluster.asked(|| {
        for (row, texts) in bad.clone() {
            let texts = [&["table `everything`"], texts].concat();
            assert_error(session.add(row.clone()), ErrorKind::Value, &texts);
            assert_error(session.add_all([everything(2), row]), ErrorKind::Value, &texts);
        }
        session.commit().unwrap();
    });
    assert!(asked.is_empty());
    // In an update the row keeps its change, and the database its value.
    let mut row = session.add(everything(1)).unwrap();
    row.double = f64::NAN;
    assert_error(session.update(&mut row), ErrorKind::Value, &["column `double`"]);
    session.commit().unwrap();
    session.reload(&mut row).unwrap();
    assert_eq!(*row, everything(1));
}

fn r43_bad_values_in_queries_are_errors_before_any_statement(backend: &Backend) {
    let cluster = backend.create::<Everything>(&LETTERS);
    let mut session = cluster.session();
    let rows = || Everything::select().all_shards();
    let ((), asked) = cluster.asked(|| {
        let bad: [(Filter<Everything, _>, &str); 7] = [
            (Everything::HUGE.eq(u64::MAX), "`huge`"),
            (Everything::HUGE.is_in([1, u64::MAX]), "`huge`"),
            (Everything::DOUBLE.lt(f64::NAN), "`double`"),
            (Everything::MAYBE_TEXT.ne("\0"), "`maybe_text`"),
            (Everything::TEXT.starts_with("\0"), "`text`"),
            (Everything::TEXT.like("%\0"), "`text`"),
            (Everything::ID.eq(u64::MAX).into(), "`id`"),
        ];
        for (filter, column) in bad {
            let texts = ["table `everything`", &format!("column {column}")];
            let query = rows().filter(filter.clone());
            assert_error(cluster.explain(&query), ErrorKind::Value, &texts);
            assert_error(session.one(query.clone().count()), ErrorKind::Value, &texts);
            assert_error(session.all(query), ErrorKind::Value, &texts);
            assert_error(session.all(rows().filter(!filter)), ErrorKind::Value, &texts);
        }
        let nan = Everything::update().set(Everything::DOUBLE, f64::NAN).all_shards();
        assert_error(session.execute(nan), ErrorKind::Value, &["column `double`"]);
        assert_error(session.get::<Everything>(u64::MAX), ErrorKind::Value, &["column `id`"]);
        assert_error(session.all(Everything::select().on(u64::MAX)), ErrorKind::Value, &["column `id`"]);
    });
    assert!(asked.is_empty(), "{asked:?}");
}

fn r43_values_that_do_not_fit_on_the_way_back(backend: &Backend) {
    let cluster = backend.create::<Everything>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..20).map(everything)).unwrap();
    session.commit().unwrap();
    let bad = [
        ("tiny", "128"),
        ("small", "-1"),
        ("medium", "4294967296"),
        ("huge", "-5"),
        ("single", "0.1"),
        ("truth", "2"),
        ("size", "'medium'"),
        ("maybe_size", "'Large'"),
        ("maybe_truth", "-1"),
    ];
    // PostgreSQL itself lets nothing else into a boolean column.
    let is_possible = |column: &str| !(backend.is_postgres("b") && column.contains("truth"));
    for (column, value) in bad.into_iter().filter(|(column, _)| is_possible(column)) {
        let set = format!("UPDATE {{table}} SET {column} = {value}");
        backend.plant(&["b"], "everything", &set);
        let texts =
            ["shard `b`", "table `everything`", &format!("column `{column}`"), value.trim_matches('\'')];
        let all = || Everything::select().all_shards();
        assert_error(session.all(all()), ErrorKind::Value, &texts);
        assert_error(session.first(Everything::select().on_shard("b")), ErrorKind::Value, &texts);
        // If the row is not decoded, the read succeeds, and the session continues.
        assert_eq!(session.one(all().count()).unwrap(), 20);
        assert!(!session.all(Everything::select().on_shard("a")).unwrap().is_empty());
        session.commit().unwrap();
        let good = if value.starts_with('\'') { "'Small'" } else { "0" };
        backend.plant(&["b"], "everything", &format!("UPDATE {{table}} SET {column} = {good}"));
    }
    assert_eq!(session.all(Everything::select().all_shards()).unwrap().len(), 20);
}

fn r43_every_field_type_round_trips(backend: &Backend) {
    let cluster = backend.create::<Everything>(&LETTERS);
    let mut session = cluster.session();
    let full = Everything {
        tiny: 127,
        single: f32::MAX,
        double: f64::NEG_INFINITY,
        truth: false,
        text: "𐍈 \u{FFFF} 'quoted' \"too\"".into(),
        bytes: (0..=255).collect(),
        size: Size::Small,
        meters: Meters(1e-300),
        maybe_truth: Some(false),
        maybe_double: Some(-0.0),
        maybe_text: Some(String::new()),
        maybe_bytes: Some(vec![]),
        maybe_size: Some(Size::Large),
        ..everything(i64::MAX as u64)
    };
    for row in [everything(0), full] {
        session.add(row.clone()).unwrap();
        session.commit().unwrap();
        let read = session.get::<Everything>(row.id).unwrap().unwrap();
        assert_eq!(*read, row);
        let same = Everything::select()
            .filter(Everything::ID.eq(row.id) & Everything::SINGLE.eq(row.single))
            .filter(Everything::TRUTH.eq(row.truth) & Everything::BYTES.eq(row.bytes.clone()))
            .filter(Everything::SIZE.eq(row.size) & Everything::METERS.eq(row.meters))
            .filter(Everything::TEXT.eq(&row.text) & Everything::HUGE.ge(row.huge));
        assert_eq!(session.all(same).unwrap(), [read]);
    }
    // An empty text is a value, none is not.
    let empty = Everything::select().filter(Everything::MAYBE_TEXT.eq("")).all_shards();
    assert_eq!(session.one(empty.count()).unwrap(), 1);
    let none = Everything::select().filter(Everything::MAYBE_TEXT.is_null()).all_shards();
    assert_eq!(session.one(none.count()).unwrap(), 1);
}

fn r43_text_from_outside_is_checked(backend: &Backend) {
    let cluster = backend.create::<(Account, Word)>(&LETTERS);
    let mut session = cluster.session();
    let insert = |text| format!("INSERT INTO {{table}} VALUES (1, 1500, {text})");
    backend.plant(&["b"], "accounts", &insert("CAST(x'61ff62' AS TEXT)"));
    let all = || Account::select().all_shards();
    let texts = ["shard `b`", "table `accounts`", "column `owner`"];
    assert_error(session.all(all()), ErrorKind::Value, &[&texts[..], &["UTF-8"]].concat());
    // Also if it is only compared in a merge.
    session.add(Account { id: 2, number: 5, owner: "x".into() }).unwrap();
    assert_error(session.all(all().order_by(Account::OWNER.asc())), ErrorKind::Value, &texts);
    assert_error(session.get(Account::by_id(1).on_shard("b")), ErrorKind::Value, &texts);
    session.commit().unwrap();
    backend.plant(&["b"], "accounts", "DELETE FROM {table}");
    backend.plant(&["b"], "accounts", &insert("'a' || char(0) || 'b'"));
    assert_error(session.all(all()), ErrorKind::Value, &[&texts[..], &["NUL"]].concat());
}

fn r43_an_enums_text_is_checked(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    if backend.plant(&["asia"], "cities", "INSERT INTO {table} VALUES (1, 'NorthAmerica', 'x', NULL)") {
        // The variant's name is not its text.
        let texts = ["shard `asia`", "table `cities`", "column `continent`", "`NorthAmerica`", "`Continent`"];
        assert_error(session.all(City::select().on_shard("asia")), ErrorKind::Value, &texts);
    }
}

fn r43_more_values_than_a_statement_takes(backend: &Backend) {
    let cluster = backend.create::<(Account, Company)>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..10).map(|id| Company { id, name: id.to_string() })).unwrap();
    session.commit().unwrap();
    // So many comparisons of a plain column are more parameters than SQLite takes, and than PostgreSQL does.
    let most = if backend.is_postgres("b") { 65_535 } else { 32_766 };
    let all = Filter::all((0..=most).map(|number| Company::NAME.ne(format!("no {number}"))));
    let query = || Company::select().filter(all.clone()).all_shards();
    let texts = ["shard `a`", "table `companies`"];
    assert_error(session.all(query()), ErrorKind::TooManyValues, &texts);
    assert_error(session.one(query().count()), ErrorKind::TooManyValues, &texts);
    let delete = Company::delete().filter(all.clone()).all_shards();
    assert_error(session.execute(delete), ErrorKind::TooManyValues, &texts);
    assert_eq!(session.one(Company::select().all_shards().count()).unwrap(), 10, "the session goes on");
    // Fewer are no problem, and neither is their nesting.
    let all = Filter::all((0..3_000).map(|number| Company::NAME.ne(format!("no {number}"))));
    assert_eq!(session.one(Company::select().filter(all).all_shards().count()).unwrap(), 10);
    // Of the key they are a set of values.
    let any = Filter::any((0..30_000).map(|id| Company::ID.eq(id)));
    assert_eq!(session.one(Company::select().filter(any).count()).unwrap(), 10);
}

fn r43_long_lists_are_one_parameter(backend: &Backend) {
    let cluster = backend.create::<Company>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..3_000).map(|id| Company { id, name: id.to_string() })).unwrap();
    session.commit().unwrap();
    let keys = Company::select().filter(Company::ID.is_in(2_000..102_000));
    let (count, counts) = cluster.counted(|| session.one(keys.count()).unwrap());
    assert_eq!(count, 1_000);
    assert!(counts.iter().all(|(_, statements)| *statements == 1));
    let names = Company::select().filter(Company::NAME.is_in((0..100_000).rev().map(|id| id.to_string())));
    let found = session.all(names.all_shards().order_by(Company::ID.asc()).offset(2_990)).unwrap();
    assert!(found.iter().map(|company| company.id).eq(2_990..3_000));
    let outside = !Company::ID.is_in(1..100_000);
    assert_eq!(session.one(Company::select().filter(outside).all_shards()).unwrap().id, 0);
    let update = Company::update().set(Company::NAME, "x").filter(Company::ID.is_in(0..100_000));
    assert_eq!(session.execute(update).unwrap(), 3_000);
}

fn r43_deep_filters_are_errors_or_answers(backend: &Backend) {
    let cluster = backend.create::<Company>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..10).map(|id| Company { id, name: id.to_string() })).unwrap();
    // `&` and `|` in turn, so that nothing is flattened.
    let nested = |depth: i64| {
        (0..depth).fold(Company::ID.ge(0), |filter, level| match level % 2 {
            0 => filter | Company::NAME.eq("x"),
            _ => filter & Company::ID.ne(-level),
        })
    };
    for depth in [10, 100, 249] {
        let query = Company::select().filter(nested(depth)).all_shards();
        assert_eq!(session.one(query.count()).unwrap(), 10, "{depth}");
    }
    for depth in [250, 1_000, 200_000] {
        let query = Company::select().filter(nested(depth)).all_shards();
        let texts = ["table `companies`", "nested", "250"];
        assert_error(cluster.explain(&query), ErrorKind::Query, &texts);
        assert_error(session.all(query), ErrorKind::Query, &texts);
        let delete = Company::delete().filter(nested(depth)).on_shard("a");
        assert_error(session.execute(delete), ErrorKind::Query, &texts);
    }
    // A list that is not nested may be long.
    let long = (0..50_000).fold(Company::ID.eq(0), |filter, id| filter | Company::ID.eq(id));
    assert_eq!(session.all(Company::select().filter(long)).unwrap().len(), 10);
    let long = Filter::all((1..5_000).map(|id| Company::ID.ne(id)));
    assert_eq!(session.one(Company::select().filter(long).all_shards()).unwrap().id, 0);
    assert_eq!(session.one(Company::select().all_shards().count()).unwrap(), 10);
}

fn r43_large_values(backend: &Backend) {
    let cluster = backend.create::<Word>(&LETTERS);
    let mut session = cluster.session();
    let large = "x".repeat(5_000_000);
    session.add(Word { text: "large".into(), meaning: large.clone() }).unwrap();
    session.commit().unwrap();
    assert!(session.get::<Word>("large".to_owned()).unwrap().unwrap().meaning == large);
    let by_value = Word::select().filter(Word::MEANING.eq(large)).all_shards();
    assert_eq!(session.one(by_value.count()).unwrap(), 1);
}
