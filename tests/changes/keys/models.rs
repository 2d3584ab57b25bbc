//! A placement group with two roots and descendants of two depths, and one model of each other kind of key.

use shard_runtime::{Cluster, Parent, Result, Session, Shard, ShardKey, Sharded, Shards};

/// Hashed, with a lookup and a version.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "tenants")]
pub struct Tenant {
    #[id]
    #[shard_key(hash)]
    pub id: i64,
    #[lookup]
    pub email: String,
    pub cents: i64,
    #[version]
    pub version: i64,
}

/// Its ids are counted by each shard.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "projects", insert(derive(Clone)))]
pub struct Project {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub tenant: Parent<Tenant>,
    pub name: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "tasks", insert(derive(Clone)))]
pub struct Task {
    #[id(sequence)]
    pub id: i64,
    #[shard_parent]
    pub project: Parent<Project>,
    pub note: Option<String>,
    pub data: Vec<u8>,
}

/// Another root of the same placement group.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "invoices", insert(derive(Clone)))]
pub struct Invoice {
    #[id(sequence)]
    pub id: i64,
    #[shard_key(hash)]
    pub tenant: i64,
    pub cents: i64,
}

/// A child that only names its parent, so that it contains the key, too. Its ids are counted by each shard.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "members", insert(derive(Clone)))]
pub struct Member {
    #[id(auto)]
    pub id: i64,
    #[shard_parent(Tenant)]
    pub tenant: i64,
    pub name: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "badges", insert(derive(Clone)))]
pub struct Badge {
    #[id(sequence)]
    pub id: i64,
    #[shard_parent]
    pub member: Parent<Member>,
    pub text: String,
}

/// An enum, whose variants name shards.
#[derive(ShardKey, Clone, Copy, Debug, PartialEq)]
pub enum Color {
    #[shard("a")]
    Red,
    #[shard("b")]
    Green,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "devices")]
pub struct Device {
    #[id]
    pub name: String,
    #[shard_key]
    pub color: Color,
}

/// A key of text with a list and a rest.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "words")]
pub struct Word {
    #[id]
    pub id: i64,
    #[shard_key(list("it's" => "a", "x" => "b", _ => "c"))]
    pub word: String,
}

/// In ranges.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "events")]
pub struct Event {
    #[id]
    #[shard_key(range("a" => ..10, "b" => 10..20, "c" => 20..))]
    pub at: i64,
    pub what: String,
}

/// Placed by a function of the application.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "blobs")]
pub struct Blob {
    #[id]
    pub id: i64,
    #[shard_key(with = by_length)]
    pub data: Vec<u8>,
}

fn by_length<'s>(data: &[u8], shards: &'s Shards) -> Option<&'s Shard> {
    shards.by_index(data.len() % 2)
}

/// A key of two columns.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "pairs", shard_key(hash))]
pub struct Pair {
    #[id]
    pub id: i64,
    #[shard_key]
    pub number: i64,
    #[shard_key]
    pub word: String,
}

// Children before their parents: the order does not matter.
pub type Models = (Badge, Member, Tenant, Project, Task, Invoice, Device, Word, Event, Blob, Pair);

pub fn tenant(id: i64) -> Tenant {
    Tenant { id, email: format!("{id}@example.org"), cents: 0, version: 1 }
}

/// Adds a tenant with two projects, three tasks, an invoice, a member and a badge: nine rows.
pub fn add(session: &mut Session, id: i64) -> Result<()> {
    let tenant = session.add(tenant(id))?;
    for (name, tasks) in [("first", 2), ("second", 1)] {
        let project = session.add(NewProject { tenant: tenant.link(), name: format!("{name} of {id}") })?;
        for task in 0..tasks {
            let note = (task > 0).then(|| "größer".to_owned());
            session.add(NewTask { project: project.link(), note, data: vec![0, 255, task] })?;
        }
    }
    session.add(NewInvoice { tenant: id, cents: id })?;
    let member = session.add(NewMember { tenant: id, name: format!("member of {id}") })?;
    session.add(NewBadge { member: member.link(), text: format!("badge of {id}") })?;
    Ok(())
}

/// How many rows [`add`] adds.
pub const ROWS: u64 = 9;

/// Everything that the cluster holds, without shards and without counted ids.
pub fn contents(cluster: &Cluster) -> Vec<String> {
    let mut session = cluster.session();
    let mut all = Vec::new();
    for tenant in session.all(Tenant::select().order_by(Tenant::ID.asc()).all_shards()).unwrap() {
        all.push(format!("{:?}", *tenant));
        let mut below = Vec::new();
        for project in session.all(tenant.children::<Project>()).unwrap() {
            let tasks = session.all(project.children::<Task>()).unwrap();
            let mut tasks: Vec<String> =
                tasks.iter().map(|task| format!("{} {:?} {:?}", task.id, task.note, task.data)).collect();
            tasks.sort_unstable();
            below.push(format!("project {} of {}: {tasks:?}", project.name, tenant.id));
        }
        below.sort_unstable();
        all.append(&mut below);
        for member in session.all(Member::select().filter(Member::TENANT.eq(tenant.id))).unwrap() {
            let badges = session.all(member.children::<Badge>()).unwrap();
            let badges: Vec<String> =
                badges.iter().map(|badge| format!("{} {}", badge.id, badge.text)).collect();
            all.push(format!("{} with {badges:?}", member.name));
        }
    }
    for row in session.all(Invoice::select().order_by(Invoice::ID.asc()).all_shards()).unwrap() {
        all.push(format!("{:?}", *row));
    }
    all
}

pub fn assert_sound(cluster: &Cluster) {
    let report = cluster.verify().unwrap();
    assert!(report.is_sound(), "{report:?}");
}
