//! Predicate → shards.

use super::*;
use crate::planner::route::{narrow, reason};
use crate::query::{Filter, Predicate, Sharded as Model};
use crate::schema::{Routing, Table, Unrouted};
use crate::value::Value;

fn predicate<T, R: Routing>(filter: Filter<T, R>) -> Predicate {
    filter.predicate().clone()
}

/// Each line is a condition and the shards that can hold its rows, or the kind of the error.
#[test]
fn r12_a_predicate_reads_the_shards_that_can_hold_its_rows() {
    let layout = layout(Dialect::Sqlite);
    let at = |continent: &str| City::CONTINENT.eq(continent);
    let number = |number: i64| Account::NUMBER.eq(number);
    let cities = [
        // The key alone.
        ("a", predicate(at("Africa"))),
        ("b", predicate(at("Oceania"))),
        ("c", predicate(at("Europe"))),
        ("a b", predicate(City::CONTINENT.is_in(["Africa", "Asia", "Oceania"]))),
        ("", predicate(City::CONTINENT.is_in(Vec::<String>::new()))),
        ("b c", predicate(City::CONTINENT.ne("Africa"))),
        // AND and OR work on values, not on shards: both values of the first line are on `b`.
        ("", predicate(at("Asia") & at("Oceania"))),
        ("b", predicate(at("Asia") | at("Oceania"))),
        ("a b", predicate(at("Africa") | at("Asia"))),
        ("b", predicate(City::CONTINENT.is_in(["Africa", "Asia"]) & City::CONTINENT.ne("Africa"))),
        // Other columns restrict nothing; in an OR they open all shards.
        ("a", predicate(at("Africa") & City::NAME.eq("Cairo"))),
        ("a b c", predicate(at("Africa") | City::NAME.eq("Cairo"))),
        ("a b c", predicate(City::POPULATION.is_null())),
        ("a b c", predicate(Filter::<City, _>::everything())),
        ("", predicate(Filter::<City, _>::any(Vec::<Filter<City, Unrouted>>::new()))),
        // NOT is pushed down to the comparisons.
        ("a", predicate(!City::CONTINENT.ne("Africa"))),
        ("b c", predicate(!at("Africa"))),
        ("a", predicate(!(City::CONTINENT.ne("Africa") | City::NAME.eq("Cairo")))),
        ("", predicate(!Filter::<City, _>::everything())),
        // A prefix is a range of values, which can hold listed ones and others.
        ("b c", predicate(City::CONTINENT.starts_with("As"))),
        ("a b c", predicate(City::CONTINENT.starts_with("A"))),
        ("c", predicate(City::CONTINENT.starts_with("E"))),
    ];
    let accounts = [
        ("a", predicate(number(-1))),
        ("b", predicate(number(0))),
        ("b", predicate(number(9))),
        ("UnmappedKey", predicate(number(10))),
        ("c", predicate(number(20))),
        ("a", predicate(Account::NUMBER.lt(0))),
        ("a b", predicate(Account::NUMBER.le(0))),
        ("c", predicate(Account::NUMBER.gt(9))),
        ("b c", predicate(Account::NUMBER.ge(9))),
        ("b", predicate(Account::NUMBER.between(3, 15))),
        ("", predicate(Account::NUMBER.gt(3) & Account::NUMBER.lt(4))),
        ("", predicate(Account::NUMBER.gt(i64::MAX))),
        ("a", predicate(Account::NUMBER.le(i64::MIN))),
        ("a b c", predicate(Account::NUMBER.ne(0))),
        // Above 19 and below 1 without 0: what is left of `b` is empty.
        ("a c", predicate(!Account::NUMBER.between(0, 9) & !Account::NUMBER.between(10, 19))),
    ];
    let reports = [
        ("a", predicate(Report::has_parent(at("Africa")))),
        ("", predicate(Report::has_parent(at("Africa") & at("Asia")))),
        ("b c", predicate(!Report::has_parent(at("Africa")))),
        ("a b c", predicate(Report::HEAT.gt(30.0))),
    ];
    let seats = [
        ("a b c", predicate(Seat::ROW.eq(1))),
        ("a b c", predicate(Seat::ROW.is_in([1, 2, 3, 4, 5, 6, 7, 8, 9]))),
    ];
    let groups: [(&'static Table, &[(&str, Predicate)]); 4] = [
        (<City as Model>::TABLE, &cities),
        (<Account as Model>::TABLE, &accounts),
        (<Report as Model>::TABLE, &reports),
        (<Seat as Model>::TABLE, &seats),
    ];
    for (table, conditions) in groups {
        assert_lines(conditions.iter().map(|(expected, predicate)| {
            let found = match narrow(table, predicate, layout.shards()) {
                Ok(set) => names(&set, &layout),
                Err(error) => format!("{:?}", error.kind()),
            };
            (format!("{expected}: {predicate:?}"), format!("{found}: {predicate:?}"))
        }));
    }
}

/// Both columns of a composite key name one shard: that of a row with these values.
#[test]
fn r02_a_whole_key_reads_the_shard_of_its_row() {
    let layout = layout(Dialect::Sqlite);
    let table = <Seat as Model>::TABLE;
    for row in -3..10_i64 {
        for place in ["", "a", "b"] {
            let key = [Value::Integer(row), Value::Text(place.into())];
            let own = table.place(&key, layout.shards()).unwrap();
            let both = predicate(Seat::ROW.eq(row) & Seat::PLACE.eq(place));
            let found = narrow(table, &both, layout.shards()).unwrap();
            assert_eq!(found, ShardSet::one(own), "{row} {place}");
        }
    }
}

#[test]
fn r20_the_reason_names_the_condition() {
    let layout = layout(Dialect::Sqlite);
    let at = |continent: &str| City::CONTINENT.eq(continent);
    let table = <City as Model>::TABLE;
    let conditions = [
        ("continent = Africa", predicate(at("Africa"))),
        ("continent IN (Africa, Asia)", predicate(at("Africa") | at("Asia"))),
        ("a contradiction: no shard", predicate(at("Africa") & at("Asia"))),
        ("no key: all shards", predicate(City::NAME.eq("Cairo"))),
        ("A <= continent < B", predicate(City::CONTINENT.starts_with("A"))),
    ];
    assert_lines(
        conditions
            .iter()
            .map(|(expected, condition)| (*expected, reason(table, condition, layout.shards()).unwrap())),
    );
}
