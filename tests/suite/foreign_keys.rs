//! Errors of foreign keys name the column and the row that is missing, or the column that still refers to a row.

use shard_runtime::{Error, ErrorKind, Parent, Sharded};

use crate::backend::{Backend, LETTERS, Watched};
use crate::runtimes::Runtime;

on_every_dialect! {
    a_missing_parent_is_named,
    a_missing_row_of_a_reference_table_is_named,
    the_row_is_named_among_many,
    the_error_of_a_bulk_update_names_the_missing_row,
    the_error_names_a_row_that_is_referred_to_and_the_referring_column,
    an_async_session_names_the_same,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(reference, table = "currencies")]
struct Currency {
    #[id]
    code: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "shops")]
struct Shop {
    #[id]
    #[shard_key(list(1 => "a", 2 => "b", _ => "c"))]
    id: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "orders")]
struct Order {
    #[id]
    id: i64,
    #[shard_parent(Shop)]
    shop_id: i64,
    #[references(Currency)]
    currency: String,
    #[references(Currency)]
    #[sharded(column = "paid")]
    paid_in: Option<String>,
    /// A change of a row with a lookup is written at once.
    #[lookup]
    number: Option<String>,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "lines")]
struct Line {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    order: Parent<Order>,
    #[references(Currency)]
    currency: String,
}

type Shops = (Shop, Order, Line, Currency);

fn order(id: i64, shop_id: i64, currency: &str) -> Order {
    Order { id, shop_id, currency: currency.into(), paid_in: None, number: None }
}

/// Two shops with an order each, in euros; and dollars, in which nothing is.
fn filled(backend: &Backend) -> Watched {
    let cluster = backend.create::<Shops>(&LETTERS);
    let mut session = cluster.session();
    session.add_all(["EUR", "USD"].map(|code| Currency { code: code.into() })).unwrap();
    session.add_all([1, 2].map(|id| Shop { id })).unwrap();
    session.add_all([order(1, 1, "EUR"), order(2, 2, "EUR")]).unwrap();
    session.commit().unwrap();
    cluster
}

/// The whole text of an error about a row that refers to nothing.
fn assert_missing(error: &Error, [shard, table, column]: [&str; 3], row: &str, own: &str) {
    assert_eq!(error.kind(), ErrorKind::ForeignKey, "{error}");
    let parts = (error.shard(), error.table(), error.column());
    assert_eq!(parts, (Some(shard), Some(table), Some(column)), "{error}");
    let expected = format!(
        "shard `{shard}`, table `{table}`, column `{column}`: refers to {row}, which is not on this shard; add it first{own}"
    );
    assert_eq!(error.to_string(), expected);
    assert!(error.driver_error().is_some());
}

fn a_missing_parent_is_named(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    session.add(order(3, 77, "EUR")).unwrap();
    let error = session.commit().unwrap_err();
    assert_missing(&error, ["c", "orders", "shop_id"], "row 77 of `shops`", " (row with id 3)");
    session.rollback();
    let error = session.save(order(3, 77, "EUR")).unwrap_err();
    assert_missing(&error, ["c", "orders", "shop_id"], "row 77 of `shops`", "");
    session.rollback();
    // A row whose id the database counts.
    let gone = session.add(order(4, 1, "EUR")).unwrap();
    session.commit().unwrap();
    session.delete(&gone).unwrap();
    let error = session.add(NewLine { order: gone.link(), currency: "EUR".into() }).unwrap_err();
    assert_missing(&error, ["a", "lines", "order_id"], "row 4 of `orders`", "");
    let lines = [gone.link(), gone.link()].map(|order| NewLine { order, currency: "EUR".into() });
    let error = session.add_all(lines).unwrap_err();
    assert_missing(&error, ["a", "lines", "order_id"], "row 4 of `orders`", "");
    // The session continues as before the failure.
    session.commit().unwrap();
    assert_eq!(session.one(Order::select().all_shards().count()).unwrap(), 2);
}

fn a_missing_row_of_a_reference_table_is_named(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    session.add(order(3, 1, "ZZZ")).unwrap();
    let error = session.commit().unwrap_err();
    assert_missing(&error, ["a", "orders", "currency"], "row `ZZZ` of `currencies`", " (row with id 3)");
    session.rollback();
    session.add(Order { paid_in: Some("YYY".into()), ..order(3, 2, "EUR") }).unwrap();
    let error = session.commit().unwrap_err();
    assert_missing(&error, ["b", "orders", "paid"], "row `YYY` of `currencies`", " (row with id 3)");
    session.rollback();
    // Changes that wait, and changes that are written at once.
    let changes: [fn(&mut Order); 2] = [|_| {}, |order| order.number = Some("2026-1".into())];
    for (change, own) in changes.into_iter().zip([" (row with id 1)", ""]) {
        let mut first = session.get::<Order>(Order::by_id(1).on_shard("a")).unwrap().unwrap();
        first.paid_in = Some("ZZZ".into());
        change(&mut first);
        let error = session.update(&mut first).and_then(|()| session.commit().map(drop)).unwrap_err();
        assert_missing(&error, ["a", "orders", "paid"], "row `ZZZ` of `currencies`", own);
        session.rollback();
    }
}

fn the_row_is_named_among_many(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let orders = (10..400).map(|id| order(id, if id == 321 { 99 } else { 2 }, "EUR"));
    session.add_all(orders).unwrap();
    let error = session.commit().unwrap_err();
    assert_missing(&error, ["c", "orders", "shop_id"], "row 99 of `shops`", " (row with id 321)");
    session.rollback();
    let orders = (10..400).map(|id| order(id, 2, if id == 321 { "ZZZ" } else { "USD" }));
    session.add_all(orders).unwrap();
    let error = session.commit().unwrap_err();
    assert_missing(&error, ["b", "orders", "currency"], "row `ZZZ` of `currencies`", " (row with id 321)");
}

fn the_error_of_a_bulk_update_names_the_missing_row(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let update = Order::update().set(Order::PAID_IN, Some("ZZZ".to_owned())).all_shards();
    let error = session.execute(update).unwrap_err();
    assert_missing(&error, ["a", "orders", "paid"], "row `ZZZ` of `currencies`", "");
    session.commit().unwrap();
}

fn the_error_names_a_row_that_is_referred_to_and_the_referring_column(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let assert_referred = |error: Error, [shard, table]: [&str; 2], message: &str| {
        assert_eq!((error.kind(), error.column()), (ErrorKind::ForeignKey, None), "{error}");
        assert_eq!(error.to_string(), format!("shard `{shard}`, table `{table}`: {message}"));
        assert!(error.driver_error().is_some());
    };
    let shop = session.get::<Shop>(2).unwrap().unwrap();
    let error = session.delete(&shop).and_then(|()| session.flush()).unwrap_err();
    let message = "rows still refer to this row by `orders.shop_id`; delete those rows first";
    assert_referred(error, ["b", "shops"], &format!("{message} (row with id 2)"));
    session.rollback();
    // One of three columns that may refer to it does.
    let order = session.get::<Order>(Order::by_id(1).on_shard("a")).unwrap().unwrap();
    session.add(NewLine { order: order.link(), currency: "USD".into() }).unwrap();
    session.commit().unwrap();
    let dollar = session.get::<Currency>("USD".to_owned()).unwrap().unwrap();
    let error = session.delete(&dollar).unwrap_err();
    let message = "rows still refer to this row by `lines.currency`; delete those rows first";
    assert_referred(error, ["a", "currencies"], message);
    // With many rows the error does not name the row.
    let error = session.execute(Shop::delete().all_shards()).unwrap_err();
    let message = "rows still refer to a row of this table by `orders.shop_id`; delete those rows first";
    assert_referred(error, ["a", "shops"], message);
    session.commit().unwrap();
}

fn an_async_session_names_the_same(backend: &Backend) {
    let cluster = filled(backend);
    let refused: shard_runtime::Result<()> = Runtime::Smol.block_on(async {
        let mut session = cluster.async_session();
        session.add(order(3, 77, "EUR")).await?;
        session.commit().await.map(drop)
    });
    let error = refused.unwrap_err();
    assert_missing(&error, ["c", "orders", "shop_id"], "row 77 of `shops`", " (row with id 3)");
}
