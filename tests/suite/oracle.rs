//! Random queries against one big table, and narrowing against brute force: R12, R13, R25, R26.
//!
//! `SHARDED_CASES` is the number of queries for each placement on each kind of cluster; 150 unless set.

use std::cmp::Ordering;
use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use shard_runtime::{Filter, Shard, Sharded, Shards, Unrouted, routing::ShardSet};

use crate::backend::{Backend, LETTERS};

on_every_mixture! {
    r13_random_queries_on_a_range_key,
    r13_random_queries_on_a_hashed_key,
    r13_random_queries_on_a_listed_key,
    r13_random_queries_on_a_key_placed_by_a_function,
}

/// A condition, to be written as the library's filter and as SQL for the big table.
#[derive(Clone, Debug)]
enum Condition {
    Key(Comparison, i64),
    KeyIn(Vec<i64>),
    KeyBetween(i64, i64),
    Number(Comparison, i64),
    NumberIn(Vec<i64>),
    NumberIsNull,
    Real(Comparison, f64),
    Text(Comparison, &'static str),
    TextStartsWith(&'static str),
    TextLike(&'static str),
    Not(Box<Condition>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

#[derive(Clone, Copy, Debug)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

use Comparison::*;

impl Comparison {
    fn sql(self) -> &'static str {
        match self {
            Equal => "=",
            NotEqual => "<>",
            Less => "<",
            LessOrEqual => "<=",
            Greater => ">",
            GreaterOrEqual => ">=",
        }
    }

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Equal => ordering.is_eq(),
            NotEqual => ordering.is_ne(),
            Less => ordering.is_lt(),
            LessOrEqual => ordering.is_le(),
            Greater => ordering.is_gt(),
            GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Condition {
    fn sql(&self) -> String {
        let list = |values: &[i64]| values.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        let join = |parts: &[Condition], with: &str, none: &str| match parts {
            [] => none.to_owned(),
            parts => format!("({})", parts.iter().map(Condition::sql).collect::<Vec<_>>().join(with)),
        };
        match self {
            Condition::Key(comparison, value) => format!("key {} {value}", comparison.sql()),
            Condition::KeyIn(values) => format!("key IN ({})", list(values)),
            Condition::KeyBetween(low, high) => format!("key BETWEEN {low} AND {high}"),
            Condition::Number(comparison, value) => format!("number {} {value}", comparison.sql()),
            Condition::NumberIn(values) => format!("number IN ({})", list(values)),
            Condition::NumberIsNull => "number IS NULL".to_owned(),
            Condition::Real(comparison, value) => format!("real {} {value:?}", comparison.sql()),
            Condition::Text(comparison, value) => format!("text {} '{value}'", comparison.sql()),
            Condition::TextStartsWith(prefix) => {
                format!("substr(text, 1, {}) = '{prefix}'", prefix.chars().count())
            }
            Condition::TextLike(pattern) => format!("text LIKE '{pattern}' ESCAPE '\\'"),
            Condition::Not(inner) => format!("NOT ({})", inner.sql()),
            Condition::All(parts) => join(parts, " AND ", "TRUE"),
            Condition::Any(parts) => join(parts, " OR ", "FALSE"),
        }
    }

    /// Returns whether it holds for a row with this key; `None` if it is not about the key alone.
    fn holds_for_key(&self, key: i64) -> Option<bool> {
        Some(match self {
            Condition::Key(comparison, value) => comparison.holds(key.cmp(value)),
            Condition::KeyIn(values) => values.contains(&key),
            Condition::KeyBetween(low, high) => (*low..=*high).contains(&key),
            Condition::Not(inner) => !inner.holds_for_key(key)?,
            Condition::All(parts) => {
                let parts: Option<Vec<bool>> = parts.iter().map(|part| part.holds_for_key(key)).collect();
                parts?.into_iter().all(|holds| holds)
            }
            Condition::Any(parts) => {
                let parts: Option<Vec<bool>> = parts.iter().map(|part| part.holds_for_key(key)).collect();
                parts?.into_iter().any(|holds| holds)
            }
            _ => return None,
        })
    }
}

const TEXTS: [&str; 8] = ["", "a", "ab", "A", "b", "é", "a_b", "z"];
const PATTERNS: [&str; 8] = ["a%", "%b", "_", "a\\_b", "%", "", "A_", "%é%"];
const REALS: [f64; 5] = [-1.5, -0.0, 0.0, 0.25, 1e10];

fn comparison() -> impl Strategy<Value = Comparison> {
    prop::sample::select(vec![Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual])
}

fn key_condition() -> impl Strategy<Value = Condition> {
    let key = || prop_oneof![20 => -12..12_i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    prop_oneof![
        (comparison(), key()).prop_map(|(comparison, value)| Condition::Key(comparison, value)),
        prop::collection::vec(key(), 0..4).prop_map(Condition::KeyIn),
        (key(), key()).prop_map(|(low, high)| Condition::KeyBetween(low, high)),
    ]
}

fn other_condition() -> impl Strategy<Value = Condition> {
    let number = || -3..4_i64;
    prop_oneof![
        (comparison(), number()).prop_map(|(comparison, value)| Condition::Number(comparison, value)),
        prop::collection::vec(number(), 0..4).prop_map(Condition::NumberIn),
        Just(Condition::NumberIsNull),
        (comparison(), prop::sample::select(REALS.to_vec()))
            .prop_map(|(comparison, value)| Condition::Real(comparison, value)),
        (comparison(), prop::sample::select(TEXTS.to_vec()))
            .prop_map(|(comparison, value)| Condition::Text(comparison, value)),
        prop::sample::select(TEXTS.to_vec()).prop_map(Condition::TextStartsWith),
        prop::sample::select(PATTERNS.to_vec()).prop_map(Condition::TextLike),
    ]
}

fn nested(leaf: impl Strategy<Value = Condition> + 'static) -> impl Strategy<Value = Condition> {
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Condition::Not(Box::new(inner))),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Condition::All),
            prop::collection::vec(inner, 0..4).prop_map(Condition::Any),
        ]
    })
}

/// A query: a condition, orders as (column, descending, nulls first), limit and offset.
#[derive(Clone, Debug)]
struct Question {
    condition: Condition,
    orders: Vec<(usize, bool, bool)>,
    limit: Option<u64>,
    offset: u64,
}

fn question() -> impl Strategy<Value = Question> {
    let condition =
        prop_oneof![nested(key_condition()), nested(prop_oneof![key_condition(), other_condition()]),];
    let orders = prop::collection::vec((0..4_usize, any::<bool>(), any::<bool>()), 0..3);
    let limit = prop::option::of(prop_oneof![0..12_u64, Just(u64::MAX)]);
    (condition, orders, limit, prop_oneof![3 => Just(0), 2 => 0..12_u64, 1 => Just(500)])
        .prop_map(|(condition, orders, limit, offset)| Question { condition, orders, limit, offset })
}

/// The same rows in one table, in the order of their shards.
struct BigTable(rusqlite::Connection);

impl BigTable {
    fn ids(&self, question: &Question) -> Vec<i64> {
        let mut sql = format!("SELECT id FROM big WHERE {} ORDER BY ", question.condition.sql());
        for (column, descending, nulls_first) in &question.orders {
            let name = ["key", "number", "real", "text"][*column];
            let direction = if *descending { "DESC" } else { "ASC" };
            let nulls = if *nulls_first { "FIRST" } else { "LAST" };
            let _ = write!(sql, "{name} {direction} NULLS {nulls}, ");
        }
        let limit = question.limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1);
        let _ = write!(sql, "shard, id LIMIT {limit} OFFSET {}", question.offset);
        let mut statement = self.0.prepare_cached(&sql).unwrap();
        let ids = statement.query_map([], |row| row.get(0)).unwrap();
        ids.map(Result::unwrap).collect()
    }
}

/// The placement by a function: by the last digit, nowhere for keys that end with nine.
fn by_last_digit<'s>(key: &i64, shards: &'s Shards) -> Option<&'s Shard> {
    match key.rem_euclid(10) {
        0..=2 => shards.get("a"),
        3..=5 => shards.get("b"),
        6..=8 => shards.get("c"),
        _ => None,
    }
}

macro_rules! placement {
    ($module:ident, $test:ident, $($placement:tt)*) => {
        mod $module {
            use super::*;

            #[derive(Sharded, Clone, Debug, PartialEq)]
            #[sharded(table = "rows")]
            pub struct Line {
                #[id]
                pub id: i64,
                #[shard_key($($placement)*)]
                pub key: i64,
                pub number: Option<i64>,
                pub real: f64,
                pub text: String,
            }

            /// The condition as a filter; by its form it narrows nothing, by its values it does.
            pub fn filter(condition: &Condition) -> Filter<Line, Unrouted> {
                macro_rules! compared {
                    ($column:ident, $comparison:expr, $value:expr) => {
                        match $comparison {
                            Equal => Filter::all([Line::$column.eq($value)]),
                            NotEqual => Filter::all([Line::$column.ne($value)]),
                            Less => Filter::all([Line::$column.lt($value)]),
                            LessOrEqual => Filter::all([Line::$column.le($value)]),
                            Greater => Filter::all([Line::$column.gt($value)]),
                            GreaterOrEqual => Filter::all([Line::$column.ge($value)]),
                        }
                    };
                }
                match condition {
                    Condition::Key(comparison, value) => compared!(KEY, comparison, *value),
                    Condition::KeyIn(values) => Filter::all([Line::KEY.is_in(values.iter().copied())]),
                    Condition::KeyBetween(low, high) => Filter::all([Line::KEY.between(*low, *high)]),
                    Condition::Number(comparison, value) => compared!(NUMBER, comparison, *value),
                    Condition::NumberIn(values) => Line::NUMBER.is_in(values.iter().copied()),
                    Condition::NumberIsNull => Line::NUMBER.is_null(),
                    Condition::Real(comparison, value) => compared!(REAL, comparison, *value),
                    Condition::Text(comparison, value) => compared!(TEXT, comparison, *value),
                    Condition::TextStartsWith(prefix) => Line::TEXT.starts_with(*prefix),
                    Condition::TextLike(pattern) => Line::TEXT.like(*pattern),
                    Condition::Not(inner) => !filter(inner),
                    Condition::All(parts) => Filter::all(parts.iter().map(filter)),
                    Condition::Any(parts) => Filter::any(parts.iter().map(filter)),
                }
            }
        }

        fn $test(backend: &Backend) {
            use $module::{Line, filter};
            let cluster = backend.create::<Line>(&LETTERS);
            let mut session = cluster.session();
            let big = BigTable(rusqlite::Connection::open_in_memory().unwrap());
            big.0
                .execute_batch(
                    "PRAGMA case_sensitive_like = ON; \
                     CREATE TABLE big (id INTEGER PRIMARY KEY, key INTEGER, number INTEGER, real REAL, text TEXT, shard INTEGER)",
                )
                .unwrap();
            for id in 0..150_i64 {
                let mixed = (id * 7919 + 13) % 1009;
                let line = Line {
                    id,
                    key: mixed % 25 - 12,
                    number: (mixed % 4 != 0).then_some(mixed % 7 - 3),
                    real: REALS[(mixed / 3 % 5) as usize],
                    text: TEXTS[(mixed / 5 % 8) as usize].to_owned(),
                };
                let Ok(stored) = session.add(line) else { continue }; // a key that is placed nowhere
                let shard = stored.shard().index() as i64;
                let row = (id, stored.key, stored.number, stored.real, &stored.text, shard);
                big.0.execute("INSERT INTO big VALUES (?1, ?2, ?3, ?4, ?5, ?6)", row).unwrap();
            }
            session.commit().unwrap();
            let cases = std::env::var("SHARDED_CASES").map_or(150, |cases| cases.parse().unwrap());
            let config = Config { cases, failure_persistence: None, ..Config::default() };
            let session = std::cell::RefCell::new(session);
            TestRunner::new(config)
                .run(&question(), |question| {
                    let mut session = session.borrow_mut();
                    let condition = filter(&question.condition);
                    let chosen = match Line::execute_chooser(condition.predicate(), cluster.shards()) {
                        Ok(chosen) => chosen,
                        // A condition on a key that has no shard.
                        Err(error) => {
                            prop_assert_eq!(error.kind(), shard_runtime::ErrorKind::UnmappedKey);
                            return Ok(());
                        }
                    };
                    if question.condition.holds_for_key(0).is_some() {
                        let least: ShardSet = (-2_000..2_000)
                            .chain([i64::MIN, i64::MAX])
                            .filter(|key| question.condition.holds_for_key(*key) == Some(true))
                            .filter_map(|key| {
                                Line { id: 0, key, number: None, real: 0.0, text: String::new() }
                                    .shard_chooser(cluster.shards())
                                    .ok()
                            })
                            .collect();
                        prop_assert_eq!(chosen.indexes(), least.indexes(), "not the least set");
                    }
                    let mut query = Line::select().filter(condition).all_shards().offset(question.offset);
                    for (column, descending, nulls_first) in &question.orders {
                        let order = match (column, descending) {
                            (0, false) => Line::KEY.asc(),
                            (0, true) => Line::KEY.desc(),
                            (1, false) => Line::NUMBER.asc(),
                            (1, true) => Line::NUMBER.desc(),
                            (2, false) => Line::REAL.asc(),
                            (2, true) => Line::REAL.desc(),
                            (_, false) => Line::TEXT.asc(),
                            (_, true) => Line::TEXT.desc(),
                        };
                        query = query.order_by(if *nulls_first { order.nulls_first() } else { order.nulls_last() });
                    }
                    if let Some(limit) = question.limit {
                        query = query.limit(limit);
                    }
                    let expected = big.ids(&question);
                    let (rows, asked) = cluster.asked(|| session.all(query.clone()).unwrap());
                    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
                    prop_assert_eq!(&ids, &expected, "{}", question.condition.sql());
                    let allowed = match question.limit {
                        Some(0) => vec![],
                        _ => chosen.names(cluster.shards()),
                    };
                    match question.limit {
                        // Without an order one shard is read after the other, until there are rows enough.
                        Some(limit) if limit == rows.len() as u64 && question.orders.is_empty() => {
                            let last = rows.last().map(|row| row.shard().name().to_owned());
                            prop_assert!(asked.len() <= allowed.len() && asked == allowed[..asked.len()]);
                            prop_assert!(last.is_none_or(|last| asked.contains(&last)), "{:?}", asked);
                        }
                        _ => prop_assert_eq!(&asked, &allowed),
                    }
                    let explain = cluster.explain(&query).unwrap();
                    prop_assert_eq!(explain.shards(), allowed);
                    let count = session.one(query.count()).unwrap();
                    prop_assert_eq!(count, expected.len() as u64);
                    Ok(())
                })
                .unwrap();
        }
    };
}

placement!(by_range, r13_random_queries_on_a_range_key, range("a" => ..-3, "b" => -3..4, "c" => 4..));
placement!(by_hash, r13_random_queries_on_a_hashed_key, hash);
placement!(by_list, r13_random_queries_on_a_listed_key, list(-1 => "a", 0 => "a", 1 => "b", 2 => "a", _ => "c"));
placement!(by_function, r13_random_queries_on_a_key_placed_by_a_function, with = super::by_last_digit);
