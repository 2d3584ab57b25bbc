//! A schema with everything that a change has to move, and its contents as one sorted list of texts.

use shard_runtime::{Cluster, Parent, Result, Session, Sharded};

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "currencies", reference)]
pub struct Currency {
    #[id]
    pub code: String,
}

/// Hashed, with a lookup, a reference, a version and a unique index.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "customers", unique(id, name))]
pub struct Customer {
    #[id]
    #[shard_key(hash)]
    pub id: i64,
    #[lookup]
    pub email: String,
    pub name: String,
    #[references(Currency)]
    pub currency: String,
    pub cents: i64,
    #[version]
    pub version: i64,
}

/// Its ids are counted by each shard.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "orders", insert(derive(Clone)))]
pub struct Order {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub customer: Parent<Customer>,
    pub cents: i64,
}

/// A grandchild, whose ids are counted by the cluster.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "order_lines", insert(derive(Clone)))]
pub struct Line {
    #[id(sequence)]
    pub id: i64,
    #[shard_parent]
    pub order: Parent<Order>,
    pub note: Option<String>,
    pub weight: f64,
    pub data: Vec<u8>,
}

/// Listed, with text ids.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "devices")]
pub struct Device {
    #[id]
    pub name: String,
    #[shard_key(list("red" => "a", "green" => "b", "blue" => "c", "black" => "c"))]
    pub color: String,
    pub on: bool,
}

/// In ranges.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "events")]
pub struct Event {
    #[id]
    #[shard_key(range("a" => ..10, "b" => 10..20, "c" => 20..30, "c" => 30..))]
    pub at: i64,
    pub what: String,
}

pub type Models = (Currency, Customer, Order, Line, Device, Event);

pub fn customer(id: i64) -> Customer {
    Customer {
        id,
        email: format!("{id}@example.org"),
        name: format!("name {}", id % 7),
        currency: if id % 2 == 0 { "EUR" } else { "PEN" }.into(),
        cents: 100 * id,
        version: 1,
    }
}

/// Adds a customer with its descendants.
pub fn add(session: &mut Session, id: i64) -> Result<()> {
    let customer = session.add(customer(id))?;
    for cents in 0..id % 3 {
        let order = session.add(NewOrder { customer: customer.link(), cents })?;
        session.add(NewLine {
            order: order.link(),
            note: (cents > 0).then(|| "größer".to_owned()),
            weight: 0.1 * cents as f64,
            data: vec![0, 255, cents as u8],
        })?;
    }
    Ok(())
}

pub fn fill(cluster: &Cluster, customers: i64) {
    let mut session = cluster.session();
    for code in ["EUR", "PEN"] {
        session.add(Currency { code: code.into() }).unwrap();
    }
    for id in 0..customers {
        add(&mut session, id).unwrap();
    }
    for (at, color) in ["red", "green", "blue", "black"].iter().cycle().take(24).enumerate() {
        session
            .add(Device { name: format!("{color} {at}"), color: (*color).into(), on: at % 2 == 0 })
            .unwrap();
    }
    for at in 0..40 {
        session.add(Event { at, what: format!("event {at}") }).unwrap();
    }
    session.commit().unwrap();
}

/// Everything that the cluster holds, without the shards.
pub fn contents(cluster: &Cluster) -> Vec<String> {
    let mut session = cluster.session();
    let mut all = Vec::new();
    for row in session.all(Currency::select().all_shards()).unwrap() {
        all.push(format!("{:?}", *row));
    }
    for row in session.all(Customer::select().all_shards()).unwrap() {
        all.push(format!("{:?}", *row));
    }
    for row in session.all(Order::select().all_shards()).unwrap() {
        all.push(format!("order {} of {} for {}", row.id, row.customer.id(), row.cents));
    }
    for row in session.all(Line::select().all_shards()).unwrap() {
        let Line { id, order, note, weight, data } = &*row;
        all.push(format!("line {id} of {} {note:?} {weight} {data:?}", order.id()));
    }
    for row in session.all(Device::select().all_shards()).unwrap() {
        all.push(format!("{:?}", *row));
    }
    for row in session.all(Event::select().all_shards()).unwrap() {
        all.push(format!("{:?}", *row));
    }
    all.sort_unstable();
    all
}

/// Asserts that every row is where its key belongs, with its entries.
pub fn assert_sound(cluster: &Cluster) {
    let report = cluster.verify().unwrap();
    assert!(report.is_sound(), "{report:?}");
}
