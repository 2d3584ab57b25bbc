//! NULL under NOT at the boundaries of relations: R54, on every kind of cluster.

use shard_runtime::{Cluster, Filter, Parent, Session, Sharded, Unrouted};

use crate::backend::{Backend, LETTERS};
use crate::runtimes::Runtime;

on_every_backend! {
    r54_not_over_children_with_a_null_lookup,
    r54_not_over_a_parent_with_a_null_lookup,
    r54_not_over_a_nullable_reference,
    r54_bulk_writes_find_the_same_rows,
    r54_async_sessions_find_the_same_rows,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "null_kinds", reference)]
struct Kind {
    #[id]
    id: i64,
    title: Option<String>,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "null_users")]
struct User {
    #[id]
    id: i64,
    #[shard_key(list("x" => "a", "y" => "b", "z" => "c"))]
    region: String,
    #[lookup]
    email: String,
    #[lookup]
    nick: Option<String>,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "null_orders")]
struct Order {
    #[id]
    id: i64,
    #[shard_parent]
    user: Parent<User>,
    #[lookup]
    tag: Option<i64>,
    #[references(Kind)]
    kind: Option<i64>,
    seen: bool,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "null_lines")]
struct Line {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    order: Parent<Order>,
    #[lookup]
    code: Option<String>,
}

type Models = (Kind, User, Order, Line);

/// The rows of W1: user 1 has an order with tag 5, user 2 has one without a tag, user 3 has no order.
fn filled(cluster: &Cluster) -> Session {
    let mut session = cluster.session();
    session.add(Kind { id: 1, title: Some("gift".into()) }).unwrap();
    session.add(Kind { id: 2, title: None }).unwrap();
    let users = [(1, "x", "ada", Some("a")), (2, "y", "bob", None), (3, "z", "cy", Some("c"))];
    let mut stored = Vec::new();
    for (id, region, email, nick) in users {
        let nick = nick.map(str::to_owned);
        stored.push(session.add(User { id, region: region.into(), email: email.into(), nick }).unwrap());
    }
    let orders = [(10, 0, Some(5), Some(1)), (20, 1, None, Some(2)), (21, 1, Some(6), None)];
    for (id, user, tag, kind) in orders {
        let user = stored[user].link();
        let order = session.add(Order { id, user, tag, kind, seen: false }).unwrap();
        let code = tag.map(|tag| format!("code {tag}"));
        session.add(NewLine { order: order.link(), code }).unwrap();
    }
    session.commit().unwrap();
    cluster.session()
}

fn users(session: &mut Session, filter: impl Into<Filter<User, Unrouted>>) -> Vec<i64> {
    let query = User::select().all_shards().filter(filter.into()).order_by(User::ID.asc());
    let rows = session.all(query.clone()).unwrap();
    assert_eq!(session.one(query.clone().count()).unwrap(), rows.len() as u64);
    assert_eq!(session.one(query.exists()).unwrap(), !rows.is_empty());
    rows.iter().map(|user| user.id).collect()
}

fn orders(session: &mut Session, filter: impl Into<Filter<Order, Unrouted>>) -> Vec<i64> {
    let query = Order::select().all_shards().filter(filter.into()).order_by(Order::ID.asc());
    session.all(query).unwrap().iter().map(|order| order.id).collect()
}

fn r54_not_over_children_with_a_null_lookup(backend: &Backend) {
    let mut session = filled(&backend.create::<Models>(&LETTERS));
    // The input of W1. Order 20 has no tag: its tag is not another one than 5.
    let both = || User::EMAIL.is_in(["ada", "bob"]);
    assert_eq!(users(&mut session, both() & !User::has_child(!Order::TAG.eq(5)) & User::ID.ne(2)), [1]);
    let without_21 = |session: &mut Session| {
        let lines = Line::has_parent(Order::ID.eq(21));
        session.execute(Line::delete().all_shards().filter(lines)).unwrap();
        session.execute(Order::delete().all_shards().filter(Order::ID.eq(21))).unwrap();
    };
    session
        .savepoint(|session| {
            without_21(session);
            assert_eq!(users(session, both() & !User::has_child(!Order::TAG.eq(5))), [1, 2]);
            assert_eq!(users(session, !User::has_child(!Order::TAG.eq(5))), [1, 2, 3]);
            assert_eq!(users(session, !User::has_child(!Order::TAG.is_in([5, 7]))), [1, 2, 3]);
            assert_eq!(users(session, !User::has_child(Order::TAG.ne(5))), [1, 2, 3]);
            // No row has tag 7.
            assert_eq!(users(session, !User::has_child(!Order::TAG.eq(7))), [2, 3]);
            assert_eq!(users(session, !User::has_child(!!Order::TAG.eq(7))), [1, 2, 3]);
            Err::<(), _>(shard_runtime::Error::from(shard_runtime::ValueError::new("undone")))
        })
        .unwrap_err();
    // User 2 has order 21, too, with tag 6.
    assert_eq!(users(&mut session, !User::has_child(!Order::TAG.eq(5))), [1, 3]);
    assert_eq!(users(&mut session, User::has_child(!Order::TAG.eq(5))), [2]);
    assert_eq!(users(&mut session, !User::has_child(!Order::TAG.is_in([5, 6]))), [1, 2, 3]);
    // Two levels: a line without a code.
    let lines = |code: &str| Order::has_child(!Line::CODE.eq(code));
    assert_eq!(users(&mut session, !User::has_child(lines("code 5"))), [1, 3]);
    assert_eq!(users(&mut session, User::has_child(!lines("code 5"))), [1, 2]);
    assert_eq!(users(&mut session, User::has_child(!lines("code 5") & Order::TAG.is_null())), [2]);
    assert_eq!(users(&mut session, !User::has_child(!lines("code 5"))), [3]);
    assert_eq!(users(&mut session, !User::has_child(!Order::has_child(Line::CODE.eq("code 6")))), [3]);
}

fn r54_not_over_a_parent_with_a_null_lookup(backend: &Backend) {
    let mut session = filled(&backend.create::<Models>(&LETTERS));
    assert_eq!(orders(&mut session, !Order::has_parent(!User::NICK.eq("a"))), [10, 20, 21]);
    assert_eq!(orders(&mut session, !Order::has_parent(!User::NICK.eq("nobody"))), [20, 21]);
    assert_eq!(orders(&mut session, !Order::has_parent(!User::NICK.is_in(["a", "c"]))), [10, 20, 21]);
    assert_eq!(orders(&mut session, !Order::has_parent(!User::EMAIL.eq("ada"))), [10]);
    assert_eq!(orders(&mut session, Order::has_parent(!User::NICK.eq("c"))), [10]);
    assert_eq!(orders(&mut session, !Order::has_parent(User::NICK.eq("a"))), [20, 21]);
    let both = !Order::has_parent(!User::NICK.eq("a")) & !Order::TAG.is_null();
    assert_eq!(orders(&mut session, both), [10, 21]);
    // From a grandparent down and up again.
    let up = Line::has_parent(Order::has_parent(!User::NICK.eq("nobody")));
    let found = session.all(Line::select().all_shards().filter(!up)).unwrap();
    assert_eq!(found.len(), 2);
}

fn r54_not_over_a_nullable_reference(backend: &Backend) {
    let mut session = filled(&backend.create::<Models>(&LETTERS));
    let gift = || Kind::TITLE.eq("gift");
    assert_eq!(orders(&mut session, Order::KIND.refers_to(gift())), [10]);
    assert_eq!(orders(&mut session, !Order::KIND.refers_to(gift())), [20, 21]);
    // The title of kind 2 is NULL, and order 21 refers to nothing.
    assert_eq!(orders(&mut session, Order::KIND.refers_to(!gift())), Vec::<i64>::new());
    assert_eq!(orders(&mut session, !Order::KIND.refers_to(!gift())), [10, 20, 21]);
    assert_eq!(orders(&mut session, !Order::KIND.eq(1)), [20]);
    assert_eq!(users(&mut session, !User::has_child(!Order::KIND.refers_to(gift()))), [1, 3]);
    assert_eq!(users(&mut session, !User::has_child(Order::KIND.refers_to(!gift()))), [1, 2, 3]);
    let mixed = !Order::KIND.refers_to(!gift()) & !Order::TAG.eq(5);
    assert_eq!(users(&mut session, !User::has_child(mixed)), [1, 3]);
    let mixed = !Order::KIND.refers_to(!gift()) & !Order::TAG.eq(6);
    assert_eq!(users(&mut session, !User::has_child(mixed)), [2, 3]);
}

fn r54_bulk_writes_find_the_same_rows(backend: &Backend) {
    let mut session = filled(&backend.create::<Models>(&LETTERS));
    let filter = || !Order::has_parent(!User::NICK.eq("a"));
    let update = Order::update().all_shards().filter(filter()).set(Order::SEEN, true);
    assert_eq!(session.execute(update).unwrap(), 3);
    assert_eq!(orders(&mut session, Order::SEEN.eq(true)), [10, 20, 21]);
    let returned = session
        .execute(Order::update().all_shards().filter(filter()).set(Order::SEEN, false).returning())
        .unwrap();
    assert_eq!(returned.len(), 3);
    let delete = Order::delete().all_shards().filter(!Order::has_child(!Line::CODE.eq("code 5")));
    session.execute(Line::delete().all_shards().filter(!Line::CODE.is_null())).unwrap();
    // Only the line without a code is left. Its order has no line with another code.
    assert_eq!(orders(&mut session, !Order::has_child(!Line::CODE.eq("code 5"))), [10, 20, 21]);
    session.execute(Line::delete().all_shards()).unwrap();
    assert_eq!(session.execute(delete).unwrap(), 3);
    let delete =
        User::delete().filter(User::EMAIL.is_in(["ada", "bob"]) & !User::has_child(!Order::TAG.eq(5)));
    assert_eq!(session.execute(delete).unwrap(), 2);
    assert_eq!(users(&mut session, Filter::everything()), [3]);
    session.commit().unwrap();
}

fn r54_async_sessions_find_the_same_rows(backend: &Backend) {
    let cluster = backend.create::<Models>(&LETTERS);
    filled(&cluster);
    for runtime in Runtime::ALL {
        runtime.block_on(async {
            let mut session = cluster.async_session();
            let filter = User::EMAIL.is_in(["ada", "bob"]) & !User::has_child(!Order::TAG.is_in([5, 6]));
            let found = session.all(User::select().filter(filter)).await.unwrap();
            assert_eq!(found.len(), 2);
            let filter = !Order::has_parent(!User::NICK.eq("a"));
            let update = Order::update().all_shards().filter(filter).set(Order::SEEN, true);
            assert_eq!(session.execute(update).await.unwrap(), 3);
            session.rollback().await;
        });
    }
}
