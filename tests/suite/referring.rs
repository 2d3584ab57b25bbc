//! Rows that refer to rows of reference tables, filtered by them and joined with them on their shard: R12, R14, R24 to R26,
//! R40, R41.

use shard_runtime::{ErrorKind, Filter, Parent, Session, Sharded, Stored};

use crate::backend::{Backend, LETTERS, Watched, assert_error};

on_every_dialect! {
    rows_are_joined_with_the_rows_that_they_refer_to,
    rows_without_a_reference_are_joined_with_none,
    several_references_are_joined_in_one_statement,
    order_bounds_and_pages_are_those_of_the_rows,
    rows_that_refer_to_one_row_share_it,
    r23_pending_changes_are_joined,
    reference_tables_refer_to_each_other,
    a_key_and_a_childs_column_refer_too,
    rows_are_filtered_by_the_rows_that_they_refer_to,
    rows_without_a_reference_are_among_the_others,
    r14_a_reference_to_no_row_reads_no_shard,
    r31_referenced_rows_are_written_first,
    the_database_refuses_references_to_missing_rows,
    a_bulk_update_sets_a_reference,
    r11_a_row_that_moves_keeps_its_references,
    referenced_models_are_among_the_models;
    only on_disk:
        r40_a_table_that_changes_its_kind_is_refused;
    only SQLite:
        joins_are_explained,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "currencies", reference)]
struct Currency {
    #[id]
    code: String,
    name: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "countries", reference)]
struct Country {
    #[id(sequence)]
    id: i64,
    name: String,
    #[references(Currency)]
    currency: Option<String>,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "orders")]
struct Order {
    #[id(sequence)]
    id: i64,
    #[shard_key(range("a" => ..1000, "b" => 1000..2000, "c" => 2000..))]
    customer: i32,
    #[references(Currency)]
    currency: String,
    #[references(Currency)]
    #[sharded(column = "paid \"in\"")]
    paid_in: Option<String>,
    #[references(Country)]
    country: Option<i64>,
    cents: i64,
}

/// A child that refers to something.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "items")]
struct Item {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    order: Parent<Order>,
    #[references(Country)]
    made_in: i64,
}

/// A row whose key is its reference.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "mints")]
struct Mint {
    #[id]
    id: i64,
    #[shard_key(list("EUR" => "b", _ => "c"))]
    #[references(Currency)]
    currency: String,
}

type Trade = (Order, Item, Mint, Country, Currency);

fn currency(code: &str, name: &str) -> Currency {
    Currency { code: code.to_owned(), name: name.to_owned() }
}

fn order(customer: i32, currency: &str, cents: i64) -> NewOrder {
    NewOrder { customer, currency: currency.to_owned(), paid_in: None, country: None, cents }
}

/// Three currencies; two countries, one of which has its own; two orders on each shard.
fn filled(backend: &Backend) -> Watched {
    let cluster = backend.create::<Trade>(&LETTERS);
    let mut session = cluster.session();
    let rows = [("EUR", "euro"), ("JPY", "yen"), ("USD", "dollar")];
    session.add_all(rows.map(|(code, name)| currency(code, name))).unwrap();
    let japan = NewCountry { name: "Japan".into(), currency: Some("JPY".into()) };
    let japan = session.add(japan).unwrap().id;
    let moon = session.add(NewCountry { name: "Moon".into(), currency: None }).unwrap().id;
    let paid = |code: &str, order| NewOrder { paid_in: Some(code.into()), ..order };
    let from = |country, order| NewOrder { country: Some(country), ..order };
    let orders = [
        paid("EUR", order(1, "EUR", 10)),
        from(japan, order(2, "JPY", 20)),
        paid("USD", order(1001, "EUR", 30)),
        order(1002, "USD", 40),
        from(moon, paid("JPY", order(2001, "JPY", 50))),
        order(2002, "EUR", 60),
    ];
    session.add_all(orders).unwrap();
    session.commit().unwrap();
    cluster
}

fn cents(rows: &[Stored<Order>]) -> Vec<i64> {
    rows.iter().map(|row| row.cents).collect()
}

/// The cents of the orders for which this holds, in their order.
fn found(session: &mut Session, filter: Filter<Order, shard_runtime::Unrouted>) -> Vec<i64> {
    let all = Order::select().filter(filter).all_shards().order_by(Order::CENTS.asc());
    cents(&session.all(all).unwrap())
}

fn rows_are_joined_with_the_rows_that_they_refer_to(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let all = || Order::select().all_shards();
    let joined = || all().with_reference(Order::CURRENCY);
    let (rows, counts) = cluster.counted(|| session.all(joined()).unwrap());
    assert_eq!(counts, LETTERS.map(|shard| (shard.to_owned(), 1)));
    let orders: Vec<Stored<Order>> = rows.iter().map(|(order, _)| order.clone()).collect();
    assert_eq!(orders, session.all(all()).unwrap());
    for (order, currency) in &rows {
        assert_eq!(order.currency, currency.code);
        assert_eq!(&session.get::<Currency>(order.currency.clone()).unwrap().unwrap(), currency);
    }
    let of_one = || Order::select().filter(Order::CUSTOMER.eq(1001)).with_reference(Order::CURRENCY);
    let ((order, currency), asked) = cluster.asked(|| session.one(of_one()).unwrap());
    assert_eq!((order.cents, currency.name.as_str(), asked), (30, "euro", vec!["b".to_owned()]));
    // A joined row can be changed like a row that is read alone.
    let mut currency = currency;
    currency.name = "Euro".into();
    session.update(&mut currency).unwrap();
    session.commit().unwrap();
    let name = |(_, currency): &(_, Stored<Currency>)| currency.name == "Euro";
    assert_eq!(session.all(joined()).unwrap().iter().filter(|row| name(row)).count(), 3);
}

fn rows_without_a_reference_are_joined_with_none(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let by_cents = Order::select().all_shards().order_by(Order::CENTS.asc());
    let rows = session.all(by_cents.with_reference(Order::PAID_IN)).unwrap();
    let names: Vec<Option<&str>> =
        rows.iter().map(|(_, currency)| currency.as_ref().map(|row| row.name.as_str())).collect();
    assert_eq!(names, [Some("euro"), None, Some("dollar"), None, Some("yen"), None]);
}

fn several_references_are_joined_in_one_statement(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let by_cents = Order::select().all_shards().order_by(Order::CENTS.asc());
    let two = by_cents.with_reference(Order::PAID_IN).with_reference(Order::CURRENCY);
    let (rows, counts) = cluster.counted(|| session.all(two.clone()).unwrap());
    assert_eq!(counts, LETTERS.map(|shard| (shard.to_owned(), 1)));
    for (order, paid, currency) in &rows {
        assert_eq!(order.paid_in, paid.as_ref().map(|paid| paid.code.clone()));
        assert_eq!(order.currency, currency.code);
    }
    let rows = session.all(two.with_reference(Order::COUNTRY)).unwrap();
    assert_eq!(rows.len(), 6);
    for (order, _, currency, country) in &rows {
        assert_eq!(order.currency, currency.code);
        assert_eq!(order.country, country.as_ref().map(|country| country.id));
    }
}

fn order_bounds_and_pages_are_those_of_the_rows(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let by_cents = || Order::select().all_shards().order_by(Order::CENTS.desc());
    let joined = || by_cents().with_reference(Order::CURRENCY);
    let page = session.all(by_cents().limit(2).offset(1).with_reference(Order::CURRENCY)).unwrap();
    assert_eq!(page.iter().map(|(order, _)| order.cents).collect::<Vec<_>>(), [50, 40]);
    let cursor = joined().cursor(&page[1].0).unwrap();
    let rest = session.all(joined().after(&cursor)).unwrap();
    assert_eq!(rest.iter().map(|(order, _)| order.cents).collect::<Vec<_>>(), [30, 20, 10]);
    let (first, currency) = session.first(joined()).unwrap().unwrap();
    assert_eq!((first.cents, currency.name.as_str()), (60, "euro"));
}

fn rows_that_refer_to_one_row_share_it(backend: &Backend) {
    let cluster = filled(backend);
    let rows = cluster.session().all(Order::select().all_shards().with_reference(Order::CURRENCY)).unwrap();
    let euros: Vec<&Currency> =
        rows.iter().filter(|(order, _)| order.currency == "EUR").map(|(_, currency)| &**currency).collect();
    assert_eq!(euros.len(), 3); // on three shards
    assert!(euros.iter().all(|euro| std::ptr::eq(*euro, euros[0])));
}

fn r23_pending_changes_are_joined(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    session.add(currency("GBP", "pound")).unwrap();
    session.add(order(1500, "GBP", 70)).unwrap();
    let joined = Order::select().on(1500).order_by(Order::CENTS.desc()).with_reference(Order::CURRENCY);
    let (order, currency) = session.first(joined).unwrap().unwrap();
    assert_eq!((order.cents, currency.name.as_str()), (70, "pound"));
    session.rollback();
    session.add(self::currency("GBP", "pound")).unwrap();
    let pounds = Order::CURRENCY.refers_to(Currency::NAME.eq("pound"));
    assert!(found(&mut session, pounds).is_empty());
}

fn reference_tables_refer_to_each_other(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let by_name = Country::select().order_by(Country::NAME.asc()).with_reference(Country::CURRENCY);
    let (rows, counts) = cluster.counted(|| session.all(by_name).unwrap());
    assert_eq!(counts, [("a".to_owned(), 1)]);
    let pairs: Vec<_> = rows.iter().map(|(a, b)| (a.name.as_str(), b.as_ref().map(|b| &*b.name))).collect();
    assert_eq!(pairs, [("Japan", Some("yen")), ("Moon", None)]);
    let with_yen = Country::CURRENCY.refers_to(Currency::NAME.eq("yen"));
    let (rows, counts) = cluster.counted(|| session.all(Country::select().filter(with_yen.clone())).unwrap());
    assert_eq!((rows.len(), counts), (1, vec![("a".to_owned(), 1)]));
    // And nested: orders to countries with the yen.
    assert_eq!(found(&mut session, Order::COUNTRY.refers_to(with_yen)), [20]);
    // A bulk write of a reference table is narrowed by another, which is the same everywhere.
    let renamed = Country::update()
        .set(Country::NAME, "Nippon")
        .filter(Country::CURRENCY.refers_to(Currency::CODE.eq("JPY")));
    assert_eq!(session.execute(renamed).unwrap(), 1);
}

fn a_key_and_a_childs_column_refer_too(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let mint = |id, code: &str| Mint { id, currency: code.to_owned() };
    session.add_all([mint(1, "EUR"), mint(2, "USD")]).unwrap();
    let euro = Mint::select().filter(Mint::CURRENCY.eq("EUR")).with_reference(Mint::CURRENCY);
    session.flush().unwrap();
    let ((mint, currency), asked) = cluster.asked(|| session.one(euro).unwrap());
    assert_eq!((mint.id, currency.name.as_str(), asked), (1, "euro", vec!["b".to_owned()]));

    let order = session.one(Order::select().filter(Order::CUSTOMER.eq(2001))).unwrap();
    session.add(NewItem { order: order.link(), made_in: order.country.unwrap() }).unwrap();
    let items = order.children::<Item>().with_reference(Item::MADE_IN);
    let ((_, country), asked) = cluster.asked(|| session.one(items).unwrap());
    assert_eq!((country.name.as_str(), asked), ("Moon", vec!["c".to_owned()]));
    let on_the_moon = Order::has_child(Item::MADE_IN.refers_to(Country::NAME.eq("Moon")));
    assert_eq!(found(&mut session, on_the_moon), [50]);
    let of_yen = Item::has_parent(Order::CURRENCY.refers_to(Currency::NAME.eq("yen")));
    assert_eq!(session.all(Item::select().filter(of_yen).all_shards()).unwrap().len(), 1);
}

fn rows_are_filtered_by_the_rows_that_they_refer_to(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let euro = || Order::CURRENCY.refers_to(Currency::NAME.eq("euro"));
    assert_eq!(found(&mut session, euro()), [10, 30, 60]);
    assert_eq!(found(&mut session, !euro()), [20, 40, 50]);
    assert_eq!(found(&mut session, euro() & Order::CENTS.gt(10)), [30, 60]);
    assert_eq!(found(&mut session, euro() | Order::CENTS.eq(20)), [10, 20, 30, 60]);
    // The key narrows as ever.
    let narrowed = Order::select().filter(Order::CUSTOMER.is_in([1, 2]) & euro());
    let (rows, asked) = cluster.asked(|| session.all(narrowed).unwrap());
    assert_eq!((cents(&rows), asked), (vec![10], vec!["a".to_owned()]));
    let count = Order::select().filter(euro()).all_shards();
    assert_eq!(session.one(count.clone().count()).unwrap(), 3);
    assert!(session.one(count.exists()).unwrap());
    let paid = Order::update().set(Order::PAID_IN, Some("EUR".to_owned())).filter(euro()).all_shards();
    assert_eq!(session.execute(paid).unwrap(), 3);
}

fn rows_without_a_reference_are_among_the_others(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let yen = || Order::PAID_IN.refers_to(Currency::NAME.eq("yen"));
    assert_eq!(found(&mut session, yen()), [50]);
    assert_eq!(found(&mut session, !yen()), [10, 20, 30, 40, 60]);
    let any = || Order::PAID_IN.refers_to(Filter::<Currency, _>::everything());
    assert_eq!(found(&mut session, any()), [10, 30, 50]);
    assert_eq!(found(&mut session, !any()), [20, 40, 60]);
    assert_eq!(found(&mut session, any() & !yen()), [10, 30]);
}

fn r14_a_reference_to_no_row_reads_no_shard(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let none: [&str; 0] = [];
    let no_row = || Order::CURRENCY.refers_to(Currency::CODE.is_in(none));
    let (rows, asked) = cluster.asked(|| found(&mut session, no_row()));
    assert!(rows.is_empty() && asked.is_empty());
    assert_eq!(found(&mut session, !no_row()).len(), 6);
}

fn r31_referenced_rows_are_written_first(backend: &Backend) {
    let cluster = backend.create::<Trade>(&LETTERS);
    let mut session = cluster.session();
    session.add(order(1, "EUR", 1)).unwrap();
    session.add(NewCountry { name: "Spain".into(), currency: Some("EUR".into()) }).unwrap();
    session.add(currency("EUR", "euro")).unwrap();
    session.commit().unwrap();
    assert_eq!(session.one(Country::select().on_shard("c").count()).unwrap(), 1);
}

fn the_database_refuses_references_to_missing_rows(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    session.add(order(1, "ZZZ", 1)).unwrap();
    assert_error(session.flush(), ErrorKind::ForeignKey, &["shard `a`", "orders"]);
    // An order on one shard keeps its currency on all of them.
    let mut only = session.one(Order::select().filter(Order::CUSTOMER.eq(1002))).unwrap();
    assert_eq!(session.execute(Order::delete().filter(Order::CURRENCY.ne("USD")).all_shards()).unwrap(), 5);
    let dollar = session.get::<Currency>("USD".to_owned()).unwrap().unwrap();
    assert_error(session.delete(&dollar), ErrorKind::ForeignKey, &["shard `b`", "currencies"]);
    assert_error(session.execute(Currency::delete()), ErrorKind::ForeignKey, &["currencies"]);
    only.currency = "EUR".into();
    session.update(&mut only).unwrap();
    session.delete(&dollar).unwrap();
    session.commit().unwrap();
    for shard in LETTERS {
        assert_eq!(session.one(Currency::select().on_shard(shard).count()).unwrap(), 2);
    }
}

fn a_bulk_update_sets_a_reference(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let to_yen = Order::update().set(Order::CURRENCY, "JPY").filter(Order::CUSTOMER.eq(1001));
    assert_eq!(session.execute(to_yen).unwrap(), 1);
    let to_nothing = Order::update().set(Order::PAID_IN, None).all_shards();
    assert_eq!(session.execute(to_nothing).unwrap(), 6);
    let wrong = Order::update().set(Order::CURRENCY, "ZZZ").filter(Order::CUSTOMER.eq(1001));
    assert_error(session.execute(wrong), ErrorKind::ForeignKey, &["shard `b`"]);
    assert_eq!(found(&mut session, Order::CURRENCY.refers_to(Currency::NAME.eq("yen"))), [20, 30, 50]);
}

fn r11_a_row_that_moves_keeps_its_references(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let mut order = session.one(Order::select().filter(Order::CUSTOMER.eq(2001))).unwrap();
    session.add(NewItem { order: order.link(), made_in: order.country.unwrap() }).unwrap();
    session.relocate(&mut order, |order| order.customer = 7).unwrap();
    session.commit().unwrap();
    let joined = Order::select().filter(Order::CUSTOMER.eq(7));
    let joined = joined.with_reference(Order::CURRENCY).with_reference(Order::COUNTRY);
    let ((_, currency, country), asked) = cluster.asked(|| session.one(joined).unwrap());
    assert_eq!((currency.name.as_str(), asked), ("yen", vec!["a".to_owned()]));
    let country = country.unwrap();
    let items = order.children::<Item>().with_reference(Item::MADE_IN);
    assert_eq!(session.one(items).unwrap().1, country);
}

fn joins_are_explained(backend: &Backend) {
    let cluster = filled(backend);
    let joined = Order::select().on(1).with_reference(Order::CURRENCY).with_reference(Order::PAID_IN);
    let explain = cluster.explain(&joined).unwrap();
    assert_eq!((explain.shards(), explain.reason()), (vec!["a"], "pinned to a"));
    let (_, sql) = explain.statements().next().unwrap();
    let (currencies, orders) = (backend.table("a", "currencies"), backend.table("a", "orders"));
    for part in [
        format!(" FROM {orders} CROSS JOIN {currencies} AS sharded_reference_1 "),
        format!(" LEFT JOIN {currencies} AS sharded_reference_2 "),
        format!("ON sharded_reference_2.\"code\" = {orders}.\"paid \"\"in\"\"\""),
    ] {
        assert!(sql.contains(&part), "{part}\n{sql}");
    }
    let referring = Order::select().filter(Order::CURRENCY.refers_to(Currency::NAME.eq("yen")));
    let explain = cluster.explain(&referring).unwrap();
    assert_eq!((explain.shards(), explain.reason()), (LETTERS.to_vec(), "no key: all shards"));
    let mut session = cluster.session();
    let foreign = foreign(&mut session);
    assert_error(session.all(joined.after(&foreign)), ErrorKind::Cursor, &["cursor"]);
}

/// A cursor of another query.
fn foreign(session: &mut Session) -> shard_runtime::Cursor {
    let by_cents = Order::select().all_shards().order_by(Order::CENTS.asc());
    by_cents.cursor(&session.first(by_cents.clone()).unwrap().unwrap()).unwrap()
}

/// The currencies as they would be if each lived on one shard.
mod placed {
    use shard_runtime::Sharded;

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "currencies")]
    pub struct Currency {
        #[id]
        #[shard_key(hash)]
        pub code: String,
        pub name: String,
    }
}

fn r40_a_table_that_changes_its_kind_is_refused(backend: &Backend) {
    drop(backend.create::<Currency>(&LETTERS));
    let texts = ["table currencies", "a reference table, whole on every shard", "hash modulus 3"];
    assert_error(backend.open::<placed::Currency>(&LETTERS).map(drop), ErrorKind::Layout, &texts);
    let created = backend.builder(&LETTERS).create::<placed::Currency>().map(drop);
    assert_error(created, ErrorKind::Layout, &texts);
    let other = Backend::new(backend.kind);
    drop(other.create::<placed::Currency>(&LETTERS));
    assert_error(other.open::<Currency>(&LETTERS).map(drop), ErrorKind::Layout, &texts);
    backend.open::<Currency>(&LETTERS).map(drop).unwrap();
}

fn referenced_models_are_among_the_models(backend: &Backend) {
    let created = backend.builder(&LETTERS).create::<(Country, Order)>().map(drop);
    assert_error(created, ErrorKind::Configuration, &["countries", "currency", "`Currency`"]);
}
