//! Bulk updates that compute what they set from the row: R32, R37, R43.

use shard_runtime::{ErrorKind, Session, Sharded};

use crate::backend::{Backend, LETTERS, Watched, assert_error};

on_every_dialect! {
    r37_numbers_are_computed_from_the_row,
    r37_nothing_computed_with_null_is_null,
    r37_the_row_is_read_as_it_was,
    r37_computed_updates_run_only_on_shards_that_may_match,
    r37_computed_updates_are_explained,
    r43_an_integer_that_overflows_is_refused,
    r43_an_overflow_on_the_way_is_refused,
    r43_an_integer_that_the_field_does_not_hold_is_refused,
    r43_a_float_without_a_value_is_refused,
    r43_single_floats_stay_single,
    r43_expressions_that_are_nested_too_deeply_are_refused,
    r32_a_failed_computation_leaves_nothing_on_any_shard,
    r35_computed_updates_are_one_unit_over_several_shards;
    only Files:
        r35_a_missed_update_is_computed_again,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "stocks")]
struct Stock {
    #[id]
    id: i64,
    #[shard_key(range("a" => ..1000, "b" => 1000..2000, "c" => 2000..))]
    place: i32,
    pieces: i64,
    ordered: Option<i64>,
    shelf: u8,
    counter: u64,
    price: f64,
    discount: Option<f64>,
    weight: f32,
    label: String,
}

fn stock(id: i64, place: i32) -> Stock {
    Stock {
        id,
        place,
        pieces: 10 * id,
        ordered: None,
        shelf: 5,
        counter: 7,
        price: 2.5,
        discount: None,
        weight: 0.1,
        label: String::new(),
    }
}

fn filled(backend: &Backend) -> Watched {
    let cluster = backend.create::<Stock>(&LETTERS);
    let mut session = cluster.session();
    let rows = [stock(1, 5), stock(2, 1500), stock(3, 2500), stock(4, 2600)];
    session.add_all(rows).unwrap();
    session.commit().unwrap();
    cluster
}

fn by_id(session: &mut Session) -> Vec<Stock> {
    let rows = session.all(Stock::select().all_shards().order_by(Stock::ID.asc())).unwrap();
    rows.iter().map(|row| (**row).clone()).collect()
}

fn pieces(session: &mut Session) -> Vec<i64> {
    by_id(session).iter().map(|stock| stock.pieces).collect()
}

fn r37_numbers_are_computed_from_the_row(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let update = || Stock::update().all_shards();
    assert_eq!(session.execute(update().set(Stock::PIECES, Stock::PIECES + 10)).unwrap(), 4);
    assert_eq!(pieces(&mut session), [20, 30, 40, 50]);
    session.execute(update().set(Stock::PIECES, Stock::PIECES * 2 - Stock::ID * Stock::ID)).unwrap();
    assert_eq!(pieces(&mut session), [39, 56, 71, 84]);
    // Nested on the right.
    session.execute(update().set(Stock::PIECES, Stock::PIECES - (Stock::ID + 1) * 10)).unwrap();
    assert_eq!(pieces(&mut session), [19, 26, 31, 34]);
    // A number that may not be NULL fits a column that may; a column is set to another as it is.
    session.execute(update().set(Stock::ORDERED, Stock::PIECES + 1).set(Stock::PIECES, Stock::ID)).unwrap();
    session
        .execute(update().set(Stock::PRICE, Stock::PRICE * 2.0 + 0.25).set(Stock::DISCOUNT, Stock::PRICE))
        .unwrap();
    session.commit().unwrap();
    for row in by_id(&mut session) {
        assert_eq!((row.pieces, row.price, row.discount), (row.id, 5.25, Some(2.5)), "{row:?}");
    }
    let ordered: Vec<_> = by_id(&mut session).iter().map(|row| row.ordered).collect();
    assert_eq!(ordered, [Some(20), Some(27), Some(32), Some(35)]);
}

fn r37_nothing_computed_with_null_is_null(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let three = Stock::update().set(Stock::ORDERED, Some(3)).filter(Stock::ID.le(2)).all_shards();
    session.execute(three).unwrap();
    let sum = Stock::update().set(Stock::ORDERED, Stock::PIECES + Stock::ORDERED * 2).all_shards();
    assert_eq!(session.execute(sum).unwrap(), 4);
    let ordered: Vec<_> = by_id(&mut session).iter().map(|row| row.ordered).collect();
    assert_eq!(ordered, [Some(16), Some(26), None, None]);
}

fn r37_the_row_is_read_as_it_was(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let swapped = Stock::update().set(Stock::PIECES, Stock::ID + 0).set(Stock::ORDERED, Stock::PIECES + 0);
    session.execute(swapped.all_shards()).unwrap();
    let rows: Vec<_> = by_id(&mut session).iter().map(|row| (row.pieces, row.ordered)).collect();
    assert_eq!(rows, [(1, Some(10)), (2, Some(20)), (3, Some(30)), (4, Some(40))]);
}

fn r37_computed_updates_run_only_on_shards_that_may_match(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let update = Stock::update().set(Stock::PIECES, Stock::PIECES + 1).filter(Stock::PLACE.ge(2000));
    let (affected, asked) = cluster.asked(|| session.execute(update).unwrap());
    assert_eq!((affected, asked), (2, vec!["c".to_owned()]));
    assert_eq!(pieces(&mut session), [10, 20, 31, 41]);
}

fn r37_computed_updates_are_explained(backend: &Backend) {
    let cluster = filled(backend);
    let update = || Stock::update().set(Stock::PIECES, Stock::PIECES + 1).filter(Stock::PLACE.eq(2500));
    let explain = cluster.explain(&update()).unwrap();
    assert_eq!((explain.shards(), explain.reason()), (vec!["c"], "place = 2500"));
    cluster.asked(|| cluster.session().execute(update()).unwrap());
    let explained: Vec<_> =
        explain.statements().map(|(shard, sql)| (shard.to_owned(), sql.to_owned())).collect();
    assert_eq!(explained, cluster.sql());
}

/// The update fails on shard `c` and for this column, and nothing is written anywhere.
#[track_caller]
fn assert_refused(
    cluster: &Watched,
    update: shard_runtime::Update<Stock, shard_runtime::Routed>,
    column: &str,
    texts: &[&str],
) {
    let mut session = cluster.session();
    let before = by_id(&mut session);
    let error = session.execute(update).unwrap_err();
    assert_eq!(
        (error.shard(), error.table(), error.column()),
        (Some("c"), Some("stocks"), Some(column)),
        "{error}"
    );
    assert_error::<()>(Err(error), ErrorKind::Value, texts);
    assert_eq!(by_id(&mut session), before);
    session.commit().unwrap();
    assert_eq!(by_id(&mut cluster.session()), before);
}

fn r43_an_integer_that_overflows_is_refused(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let greatest = Stock::update().set(Stock::PIECES, i64::MAX).set(Stock::ORDERED, Some(i64::MIN));
    session.execute(greatest.filter(Stock::PLACE.eq(2500))).unwrap();
    session.commit().unwrap();
    let update = || Stock::update().all_shards();
    let said = ["9223372036854775807 + 1"];
    assert_refused(&cluster, update().set(Stock::PIECES, Stock::PIECES + 1), "pieces", &said);
    assert_refused(
        &cluster,
        update().set(Stock::PIECES, Stock::PIECES * 2),
        "pieces",
        &["9223372036854775807 * 2"],
    );
    let said = ["-9223372036854775808 - 1"];
    assert_refused(&cluster, update().set(Stock::ORDERED, Stock::ORDERED - 1), "ordered", &said);
    // A value that just fits is stored to the last digit.
    assert_eq!(session.execute(update().set(Stock::PIECES, Stock::PIECES - 1)).unwrap(), 4);
    assert_eq!(pieces(&mut session)[2], i64::MAX - 1);
    assert_eq!(session.execute(update().set(Stock::PIECES, Stock::PIECES + 1)).unwrap(), 4);
    assert_eq!(pieces(&mut session)[2], i64::MAX);
}

fn r43_an_overflow_on_the_way_is_refused(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    session.execute(Stock::update().set(Stock::PIECES, i64::MAX - 7).filter(Stock::PLACE.eq(2500))).unwrap();
    session.commit().unwrap();
    // As a float the sum would come back as an integer that fits, and is another one.
    let there_and_back = Stock::update().set(Stock::PIECES, Stock::PIECES + 100 - 2_000).all_shards();
    assert_refused(&cluster, there_and_back, "pieces", &["9223372036854775800 + 100"]);
}

fn r43_an_integer_that_the_field_does_not_hold_is_refused(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    session.execute(Stock::update().set(Stock::SHELF, 250).set(Stock::COUNTER, 2).on_shard("c")).unwrap();
    session.commit().unwrap();
    let update = || Stock::update().all_shards();
    assert_refused(
        &cluster,
        update().set(Stock::SHELF, Stock::SHELF + 10),
        "shelf",
        &["260", "between 0 and 255"],
    );
    assert_refused(&cluster, update().set(Stock::COUNTER, Stock::COUNTER - 5), "counter", &["-3"]);
    // On the way it may be more.
    session.execute(update().set(Stock::SHELF, Stock::SHELF + 100 - 95)).unwrap();
    assert_eq!(by_id(&mut session)[3].shelf, 255);
    // A value that no column holds is no part of an expression either.
    let error = session.execute(update().set(Stock::COUNTER, Stock::COUNTER + u64::MAX)).unwrap_err();
    assert_eq!((error.kind(), error.column()), (ErrorKind::Value, Some("counter")), "{error}");
}

fn r43_a_float_without_a_value_is_refused(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let endless = Stock::update().set(Stock::DISCOUNT, Some(f64::INFINITY)).filter(Stock::PLACE.eq(2500));
    session.execute(endless).unwrap();
    session.commit().unwrap();
    let sides = if backend.is_postgres("c") { "Infinity - Infinity" } else { "inf - inf" };
    let nothing = Stock::update().set(Stock::DISCOUNT, Stock::DISCOUNT - Stock::DISCOUNT * 2.0).all_shards();
    assert_refused(&cluster, nothing, "discount", &[sides]);
}

fn r43_single_floats_stay_single(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    session.execute(Stock::update().set(Stock::WEIGHT, Stock::WEIGHT * 3.0).all_shards()).unwrap();
    let expected = (f64::from(0.1_f32) * 3.0) as f32;
    assert!(by_id(&mut session).iter().all(|row| row.weight == expected));
}

fn r43_expressions_that_are_nested_too_deeply_are_refused(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let sum = |terms: usize| {
        let ones = (1..terms).fold(Stock::PIECES + 1, |sum, _| sum + 1);
        Stock::update().set(Stock::PIECES, ones).all_shards()
    };
    assert_eq!(session.execute(sum(250)).unwrap(), 4);
    assert_eq!(pieces(&mut session)[0], 260);
    let (result, asked) = cluster.asked(|| session.execute(sum(100_000)));
    assert_error(result, ErrorKind::Query, &["`stocks`", "deep"]);
    assert!(asked.is_empty());
}

fn r32_a_failed_computation_leaves_nothing_on_any_shard(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    session.add(stock(5, 1)).unwrap();
    let last = Stock::update().set(Stock::PIECES, i64::MAX).filter(Stock::PLACE.eq(2500));
    session.execute(last).unwrap();
    // Earlier writes of the transaction are kept.
    let more = Stock::update().set(Stock::PIECES, Stock::PIECES + 1).all_shards();
    assert_error(session.execute(more), ErrorKind::Value, &["shard `c`", "`stocks`", "`pieces`"]);
    session.commit().unwrap();
    assert_eq!(pieces(&mut cluster.session()), [10, 20, i64::MAX, 40, 50]);
}

fn r35_computed_updates_are_one_unit_over_several_shards(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let more = || Stock::update().set(Stock::PIECES, Stock::PIECES + 1).all_shards();
    session.execute(more()).unwrap();
    session.execute(more()).unwrap();
    assert!(session.commit().unwrap().pending().is_empty());
    assert_eq!(pieces(&mut cluster.session()), [12, 22, 32, 42]);
}

fn r35_a_missed_update_is_computed_again(backend: &Backend) {
    let cluster = filled(backend);
    assert!(cluster.recover().unwrap().transactions().is_empty());
    // The record of a process that was killed after its decision: an update with its two parameters.
    let explain =
        cluster.explain(&Stock::update().set(Stock::PIECES, Stock::PIECES + 7).on_shard("b")).unwrap();
    let (_, sql) = explain.statements().next().unwrap();
    let runs: Vec<u8> = [&[2, 3, 7, 0, 0, 0, 0, 0, 0, 0, 5, 6], &b"pieces"[..]].concat();
    let control = rusqlite::Connection::open(backend.folder().join("control.db")).unwrap();
    let insert = "INSERT INTO sharded_redo VALUES ('u', 'b', 1, 1, ?1, ?2)";
    control.execute(insert, (sql, runs)).unwrap();
    assert_eq!(cluster.recover().unwrap().transactions(), ["u"]);
    assert_eq!(pieces(&mut cluster.session()), [10, 27, 30, 40]);
}
