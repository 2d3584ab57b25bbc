//! Parents by handle and by bare id, and chains of them.

use shard_runtime::__private::{IdKind, KeyColumns, Table};
use shard_runtime::query::{Child, IdIsKey};
use shard_runtime::{Parent, ShardKey, Sharded, Shards};

#[derive(ShardKey, Clone, Copy, Debug, PartialEq)]
pub struct CompanyId(i64);

#[derive(Sharded)]
pub struct Company {
    #[id]
    #[shard_key(hash)]
    id: CompanyId,
    name: String,
}

/// One to one: its id is its parent's.
#[derive(Sharded)]
pub struct Billing {
    #[id]
    #[shard_parent(Company)]
    company_id: CompanyId,
    iban: String,
}

#[derive(Sharded)]
pub struct Invoice {
    #[id(sequence)]
    id: i64,
    #[shard_parent(Billing)]
    billing: CompanyId,
}

#[derive(Sharded)]
#[sharded(unique(invoice, number))]
pub struct Item {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    invoice: Parent<Invoice>,
    number: u32,
}

mod elsewhere {
    use super::*;

    #[derive(Sharded)]
    pub struct Discount {
        #[id(auto)]
        id: i64,
        #[shard_parent]
        #[sharded(column = "item")]
        pub of: Parent<super::Item>,
    }
}

fn id_is_key<T: IdIsKey>() {}

fn parent_of<C: Child>() -> &'static str {
    C::Parent::TABLE.name
}

fn main() {
    let shards = Shards::named(["a", "b", "c"]).unwrap();
    let company = Company { id: CompanyId(5), name: "Acme".into() };
    let home = company.shard_chooser(&shards).unwrap();
    assert_eq!(Billing { company_id: CompanyId(5), iban: String::new() }.shard_chooser(&shards).unwrap(), home);
    assert_eq!(Invoice { id: 1, billing: CompanyId(5) }.shard_chooser(&shards).unwrap(), home);
    assert_eq!(Billing::identity_chooser(&CompanyId(5), None, &shards).unwrap().indexes(), [home]);
    assert_eq!(Invoice::identity_chooser(&5, None, &shards).unwrap().len(), 3);

    id_is_key::<Company>();
    id_is_key::<Billing>();
    assert_eq!(parent_of::<elsewhere::Discount>(), "item");
    assert_eq!(Invoice { id: 1, billing: CompanyId(7) }.parent_id(), &CompanyId(7));

    // The whole chain has the key of its root.
    let _: <elsewhere::Discount as Sharded>::Key = CompanyId(5);
    let Table { key, columns, parent, id_kind, .. } = elsewhere::Discount::TABLE;
    assert_eq!((*key, columns[1].name, *id_kind), (KeyColumns::Parent(1), "item", IdKind::Auto));
    assert_eq!(parent.unwrap().table.model, "Item");
    assert_eq!(Item::TABLE.columns[1].name, "invoice_id");
    assert_eq!(Invoice::TABLE.columns[1].name, "billing");
    assert_eq!(Invoice::TABLE.key, KeyColumns::Columns(&[1]));
}
