//! The recorded layout decides: R47 to R49. A change of the layout is simulated here: rows are moved without the library, and
//! the record in the control database is edited as a change leaves it.

use shard_runtime::hash::{PARTITION_SEED, hash_integer, remainder, row_hash};
use shard_runtime::{Cluster, Error, ErrorKind, Parent, ShardRole, Sharded, Sql, count};

use crate::backend::{Backend, LETTERS, Watched, assert_error, shards_of};
use crate::models::{Account, Company, Device, Event, Shop, device};

on_some! {
    lasting:
        r48_a_spare_shard_can_always_be_added,
        r48_a_spare_shard_gets_the_keys_of_a_new_value,
        r48_a_spare_shard_that_is_missing_is_noted,
        r48_a_part_of_a_hash_that_was_moved_is_found_by_every_verb,
        r48_a_moved_lookup_finds_its_rows,
        r48_values_ranges_and_single_keys_that_were_moved_are_found,
        r48_a_function_of_the_application_keeps_its_shards,
        r48_a_declaration_that_no_change_explains_is_refused,
        r48_a_new_model_joins_the_group_of_its_key,
        r48_a_value_is_added_after_a_change,
        r48_a_retired_shard_is_not_opened,
        r47_the_copies_of_the_layout_are_compared,
        r47_lines_that_reached_no_shard_are_taken_back,
}

const MORE: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "currencies", reference)]
struct Currency {
    #[id]
    code: String,
}

/// A hashed model with a lookup and a reference.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "customers")]
struct Customer {
    #[id]
    #[shard_key(hash)]
    id: i64,
    #[lookup]
    email: String,
    #[references(Currency)]
    currency: String,
    cents: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "orders", insert(derive(Clone)))]
struct Order {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    customer: Parent<Customer>,
    cents: i64,
}

/// A hashed model of the same key type, which moves with the customers.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "visits_of_customers")]
struct Visit {
    #[id]
    #[shard_key(hash)]
    customer: i64,
    times: i64,
}

type Models = (Currency, Customer, Order);

fn customer(id: i64) -> Customer {
    Customer { id, email: format!("{id}@example.org"), currency: "EUR".into(), cents: id }
}

fn filled(cluster: &Cluster) {
    let mut session = cluster.session();
    session.add(Currency { code: "EUR".into() }).unwrap();
    for id in 0..24 {
        let customer = session.add(customer(id)).unwrap();
        session.add(NewOrder { customer: customer.link(), cents: id }).unwrap();
    }
    session.commit().unwrap();
}

/// Runs SQL in the control database.
fn in_control(backend: &Backend, sql: &str) {
    match backend.is_postgres("a") {
        true => backend.client("a").run(sql),
        false => rusqlite::Connection::open(backend.folder().join("control.db"))
            .unwrap()
            .execute_batch(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}")),
    }
}

/// Records facts in the control database.
fn record(backend: &Backend, facts: &[(&str, &str, &str)]) {
    for (kind, name, value) in facts {
        let [name, value] = [name, value].map(|text| text.replace('\'', "''"));
        in_control(backend, &format!("DELETE FROM sharded_state WHERE kind = '{kind}' AND name = '{name}'"));
        in_control(backend, &format!("INSERT INTO sharded_state VALUES ('{kind}', '{name}', '{value}')"));
    }
}

/// Records the lines of a group since a change, and the epoch of it.
fn change(backend: &Backend, epoch: u64, group: &str, lines: &[&str]) {
    in_control(
        backend,
        &format!("DELETE FROM sharded_state WHERE kind = 'rule' AND name LIKE '{group}\u{1f}%'"),
    );
    for (number, line) in (1..).zip(lines) {
        record(backend, &[("rule", &format!("{group}\u{1f}{number}"), line)]);
    }
    record(backend, &[("epoch", "", &epoch.to_string())]);
}

fn copy_of_layout(backend: &Backend, shard: &str) -> String {
    backend.peek(shard, "sharded_state", "SELECT value FROM {table} WHERE kind = 'layout'")
}

/// The shard of an integer after the part of `c` with modulus 3 is split, and half of it is moved to `d`.
fn shard_of(key: i64) -> &'static str {
    let hash = row_hash([hash_integer(key, PARTITION_SEED)]);
    match remainder(hash, 6) {
        5 => "d",
        other => LETTERS[(other % 3) as usize],
    }
}

const SPLIT: [&str; 4] = [
    "hash modulus 3 remainder 0 => a",
    "hash modulus 3 remainder 1 => b",
    "hash modulus 6 remainder 2 => c",
    "hash modulus 6 remainder 5 => d",
];

/// Adds a spare shard `d` and moves half of the customers of `c` there.
fn split(backend: &Backend) {
    let cluster = backend.create::<Models>(&LETTERS);
    filled(&cluster);
    drop(cluster);
    drop(backend.create::<Models>(&MORE));
    let moved: Vec<i64> = (0..24).filter(|id| shard_of(*id) == "d").collect();
    assert!(!moved.is_empty());
    backend.run("d", &format!("INSERT INTO {} VALUES ('EUR')", backend.table("d", "currencies")));
    for id in moved {
        let order: i64 =
            backend.peek("c", "orders", &format!("SELECT id FROM {{table}} WHERE customer_id = {id}"));
        backend.run("c", &format!("DELETE FROM {} WHERE customer_id = {id}", backend.table("c", "orders")));
        backend.run("c", &format!("DELETE FROM {} WHERE id = {id}", backend.table("c", "customers")));
        let customers = backend.table("d", "customers");
        backend.run("d", &format!("INSERT INTO {customers} VALUES ({id}, '{id}@example.org', 'EUR', {id})"));
        let orders = backend.table("d", "orders");
        backend
            .run("d", &format!("INSERT INTO {orders} (id, customer_id, cents) VALUES ({order}, {id}, {id})"));
        for shard in LETTERS {
            let entries = backend.table(shard, "sharded_lookup_customers_email");
            backend.run(shard, &format!("UPDATE {entries} SET shard = 'd' WHERE value = '{id}@example.org'"));
        }
    }
    record(backend, &[("place", "d", "3 serving")]);
    change(backend, 2, "customers", &SPLIT);
}

fn roles(cluster: &Cluster) -> Vec<(String, usize, ShardRole)> {
    let shards = cluster.recorded_shards().into_iter();
    shards.map(|shard| (shard.name, shard.place, shard.role)).collect()
}

fn r48_a_spare_shard_can_always_be_added(backend: &Backend) {
    type All = (Currency, Customer, Order, Shop, Account, Device, Event);
    let cluster = backend.create::<All>(&LETTERS);
    filled(&cluster);
    // A process that has the cluster open, without the new shard.
    let older = backend.open::<All>(&LETTERS).unwrap();
    let cluster = backend.create::<All>(&MORE);
    assert_eq!(roles(&cluster)[3], ("d".to_owned(), 3, ShardRole::Spare));
    assert_eq!((cluster.epoch(), cluster.shards().len()), (1, 4));
    for cluster in
        [&cluster, &older, &backend.open::<All>(&LETTERS).unwrap(), &backend.open::<All>(&MORE).unwrap()]
    {
        let mut session = cluster.session();
        let id = session.one(Customer::select().all_shards().count()).unwrap() as i64;
        let (_, asked) = cluster.asked(|| session.all(Customer::select().all_shards()).unwrap());
        assert_eq!(asked, LETTERS);
        let (_, asked) = cluster.asked(|| session.all(Sql::new("SELECT 1 AS one").all_shards()).unwrap());
        assert_eq!(asked, LETTERS);
        session.add(customer(id)).unwrap();
        session.add(Currency { code: format!("{id}") }).unwrap();
        session.add(device(id, "b1")).unwrap();
        session.commit().unwrap();
        for id in 0..=id {
            let found =
                session.one(Customer::select().filter(Customer::EMAIL.eq(format!("{id}@example.org"))));
            assert_eq!(found.unwrap().id, id);
        }
        // A function of the application returns one of the shards that it had.
        assert_error(session.add(device(99, "d1")), ErrorKind::UnmappedKey, &[]);
        session.rollback();
        assert!(cluster.verify().unwrap().is_sound());
        assert!(cluster.compare_references().unwrap().is_empty());
    }
    for table in ["customers", "currencies", "devices"] {
        assert_eq!(backend.peek::<i64>("d", table, "SELECT count(*) FROM {table}"), 0, "{table}");
    }
    // Its number is not given again, and the next one follows.
    let cluster = backend.create::<All>(&["a", "b", "c", "e"]);
    assert_eq!(roles(&cluster)[4], ("e".to_owned(), 4, ShardRole::Spare));
    assert!(!cluster.recorded_shards()[3].is_configured);
    // A hashed model that is new has the shards that serve.
    let cluster = backend.create::<Company>(&["e", "d", "a", "b", "c"]);
    let mut session = cluster.session();
    session.add_all((0..30).map(|id| Company { id, name: String::new() })).unwrap();
    session.commit().unwrap();
    for id in 0..30 {
        let found = session.get::<Company>(id).unwrap().unwrap();
        let part = remainder(row_hash([hash_integer(id, PARTITION_SEED)]), 3);
        assert_eq!(found.shard().name(), LETTERS[part as usize]);
    }
}

mod widened {
    use shard_runtime::Sharded;

    /// As [`Shop`](crate::models::Shop), with a region more.
    #[derive(Sharded, Debug)]
    #[sharded(table = "shops")]
    pub struct Shop {
        #[id]
        pub id: i64,
        #[shard_key(list("North" => "a", "South" => "b", "East" => "d"))]
        pub region: String,
    }
}

fn r48_a_spare_shard_gets_the_keys_of_a_new_value(backend: &Backend) {
    drop(backend.create::<(Shop, Company, Currency)>(&LETTERS));
    let cluster = backend.create::<(Shop, Company, Currency)>(&MORE);
    let mut session = cluster.session();
    session.add(Currency { code: "EUR".into() }).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    let opened = backend.open::<(widened::Shop, Company, Currency)>(&MORE).map(drop);
    assert_error(opened, ErrorKind::Layout, &["`create` adds it"]);
    let cluster = backend.create::<(widened::Shop, Company, Currency)>(&MORE);
    assert_eq!(roles(&cluster)[3], ("d".to_owned(), 3, ShardRole::Serving));
    assert!(cluster.compare_references().unwrap().is_empty());
    assert_eq!(backend.peek::<i64>("d", "currencies", "SELECT count(*) FROM {table}"), 1);
    let mut session = cluster.session();
    session.add(widened::Shop { id: 1, region: "East".into() }).unwrap();
    // The hash has the shards that it had.
    session.add_all((0..30).map(|id| Company { id, name: String::new() })).unwrap();
    session.commit().unwrap();
    let (shops, asked) = cluster.asked(|| session.all(widened::Shop::select().all_shards()).unwrap());
    assert_eq!((shards_of(&shops), asked), (vec!["d"], ["a", "b", "d"].map(str::to_owned).to_vec()));
    assert_eq!(backend.peek::<i64>("d", "companies", "SELECT count(*) FROM {table}"), 0);
    drop((session, cluster));
    backend.open::<(Company, Currency)>(&MORE).unwrap();
    let opened = backend.open::<(Company, Currency)>(&LETTERS).map(drop);
    assert_error(opened, ErrorKind::Layout, &["shard `d` (place 3)", "not configured"]);
}

fn r48_a_spare_shard_that_is_missing_is_noted(backend: &Backend) {
    drop(backend.create::<Models>(&LETTERS));
    drop(backend.create::<Models>(&MORE));
    backend.run("d", &format!("DROP TABLE {}", backend.table("d", "sharded_shard")));
    let cluster = backend.open::<Models>(&MORE).unwrap();
    let spare = &cluster.recorded_shards()[3];
    let problem = spare.problem.as_deref().unwrap();
    assert!(problem.contains("shard `d`") && problem.contains("restore it"), "{problem}");
    filled(&cluster);
    assert!(cluster.verify().unwrap().is_sound());
    drop(cluster);
    if backend.kind == crate::backend::Kind::Files {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", backend.path("d").display()));
        }
        let cluster = backend.open::<Models>(&MORE).unwrap();
        assert!(cluster.recorded_shards()[3].problem.is_some());
    }
    // It is made again on request, by its name.
    let error = backend.builder(&MORE).create::<Models>().map(drop).unwrap_err();
    assert!(error.to_string().contains("replace_lost(\"d\")"), "{error}");
    let cluster = backend.builder(&MORE).replace_lost("d").create::<Models>();
    assert_eq!(cluster.unwrap().recorded_shards()[3].problem, None);
}

/// Returns the names of the shards that a read or a write uses.
fn asked<T>(cluster: &Watched, run: impl FnOnce() -> Result<T, Error>) -> Vec<String> {
    let (done, asked) = cluster.asked(run);
    done.unwrap();
    asked
}

fn r48_a_part_of_a_hash_that_was_moved_is_found_by_every_verb(backend: &Backend) {
    split(backend);
    let cluster = backend.open::<Models>(&MORE).unwrap();
    assert_eq!((cluster.epoch(), roles(&cluster)[3].2), (2, ShardRole::Serving));
    assert!(cluster.verify().unwrap().is_sound());
    let mut session = cluster.session();
    for id in 0..24 {
        let shard = shard_of(id);
        let by_key = || Customer::select().filter(Customer::ID.eq(id));
        assert_eq!(asked(&cluster, || session.one(by_key())), [shard]);
        assert_eq!(cluster.explain(&by_key()).unwrap().shards(), [shard]);
        assert_eq!(asked(&cluster, || session.all(Order::select().on(id))), [shard]);
        let found = session.get::<Customer>(id).unwrap().unwrap();
        assert_eq!(found.shard().name(), shard);
        let orders = asked(&cluster, || session.all(found.children::<Order>()));
        assert_eq!(orders, [shard]);
        assert_eq!(asked(&cluster, || session.one(by_key().for_update())), [shard]);
        session.rollback();
        let update = Customer::update().set(Customer::CENTS, 1_000).filter(Customer::ID.eq(id));
        assert_eq!(asked(&cluster, || session.execute(update)), [shard]);
        let sum = Customer::select().filter(Customer::ID.eq(id)).aggregate(count());
        assert_eq!(asked(&cluster, || session.one(sum)), [shard]);
        session.rollback();
        let delete = Order::delete().filter(Order::CUSTOMER.eq(&found));
        assert_eq!(asked(&cluster, || session.execute(delete)), [shard]);
        session.rollback();
    }
    let (all, asked_all) = cluster.asked(|| session.all(Customer::select().all_shards()).unwrap());
    assert_eq!((all.len(), asked_all), (24, MORE.map(str::to_owned).to_vec()));
    let some: Vec<i64> = (0..24).filter(|id| ["b", "d"].contains(&shard_of(*id))).collect();
    let explain = cluster.explain(&Customer::select().filter(Customer::ID.is_in(some))).unwrap();
    assert_eq!((explain.shards(), explain.epoch()), (vec!["b", "d"], 2));
    assert!(explain.to_string().lines().next().unwrap().ends_with("(epoch 2)"), "{explain}");
    // Rows that are added, saved and changed go to the shard of the record.
    for id in 24..60 {
        session.add(customer(id)).unwrap();
    }
    session.save(customer(60)).unwrap();
    session.add(Currency { code: "JPY".into() }).unwrap();
    session.commit().unwrap();
    for row in session.all(Customer::select().all_shards()).unwrap() {
        assert_eq!(row.shard().name(), shard_of(row.id));
    }
    assert_eq!(backend.peek::<i64>("d", "currencies", "SELECT count(*) FROM {table}"), 2);
    assert!(cluster.verify().unwrap().is_sound() && cluster.compare_references().unwrap().is_empty());
    // A shard that has keys since a change has to be configured.
    drop((session, cluster));
    for refused in
        [backend.open::<Models>(&LETTERS).map(drop), backend.builder(&LETTERS).create::<Models>().map(drop)]
    {
        assert_error(refused, ErrorKind::Layout, &["since epoch 2", "shard `d` (place 3)", "not configured"]);
    }
}

/// The entries of lookups are a group of their own: they move apart from the rows.
fn r48_a_moved_lookup_finds_its_rows(backend: &Backend) {
    split(backend);
    const ENTRIES: &str = "sharded_lookup_customers_email";
    // All entries are on `d` now.
    for shard in LETTERS {
        for id in 0..24 {
            let table = backend.table(shard, ENTRIES);
            let count = format!("SELECT count(*) FROM {{table}} WHERE value = '{id}@example.org'");
            if backend.peek::<i64>(shard, ENTRIES, &count) == 1 {
                backend.run(shard, &format!("DELETE FROM {table} WHERE value = '{id}@example.org'"));
                let (to, of) = (backend.table("d", ENTRIES), shard_of(id));
                backend.run("d", &format!("INSERT INTO {to} VALUES ('{id}@example.org', '{of}')"));
            }
        }
    }
    change(backend, 3, ENTRIES, &["hash modulus 1 remainder 0 => d"]);
    let cluster = backend.open::<Models>(&MORE).unwrap();
    let mut session = cluster.session();
    for id in 0..24 {
        let by_email = Customer::select().filter(Customer::EMAIL.eq(format!("{id}@example.org")));
        let explain = cluster.explain(&by_email).unwrap();
        assert_eq!(explain.lookups().map(|(shard, _)| shard).collect::<Vec<_>>(), ["d"]);
        assert_eq!(session.one(by_email).unwrap().shard().name(), shard_of(id));
    }
    session.add(customer(24)).unwrap();
    session.commit().unwrap();
    assert_eq!(backend.peek::<i64>("d", ENTRIES, "SELECT count(*) FROM {table}"), 25);
    assert!(cluster.verify().unwrap().is_sound());
}

fn r48_values_ranges_and_single_keys_that_were_moved_are_found(backend: &Backend) {
    drop(backend.create::<(Shop, Account)>(&LETTERS));
    drop(backend.create::<(Shop, Account)>(&MORE));
    record(backend, &[("place", "d", "3 serving")]);
    change(backend, 2, "shops", &["list 'North' => d", "list 'South' => b"]);
    let ranges = ["range ..1000 => a", "range 1000..1500 => b", "range 1500..2000 => d", "range 2000.. => c"];
    change(backend, 3, "accounts", &[&ranges[..], &["key 42 => d"]].concat());
    let cluster = backend.open::<(Shop, Account)>(&MORE).unwrap();
    let mut session = cluster.session();
    let accounts =
        [(41, "a"), (42, "d"), (1_000, "b"), (1_499, "b"), (1_500, "d"), (1_999, "d"), (2_000, "c")];
    for (id, (number, shard)) in (1..).zip(accounts) {
        let account = session.add(Account { id, number, owner: String::new() }).unwrap();
        assert_eq!(account.shard().name(), shard, "{number}");
    }
    for (id, region, shard) in [(1, "North", "d"), (2, "South", "b")] {
        assert_eq!(session.add(Shop { id, region: region.into() }).unwrap().shard().name(), shard);
    }
    session.commit().unwrap();
    for (filter, shards) in [
        (Account::NUMBER.eq(42), vec!["d"]),
        (Account::NUMBER.lt(42), vec!["a"]),
        (Account::NUMBER.le(42), vec!["a", "d"]),
        (Account::NUMBER.gt(1_500) & Account::NUMBER.lt(2_000), vec!["d"]),
        (Account::NUMBER.is_in([42, 2_000]), vec!["c", "d"]),
        (Account::NUMBER.ge(1_400) & Account::NUMBER.lt(1_600), vec!["b", "d"]),
        (Account::NUMBER.eq(42) & Account::NUMBER.lt(42), vec![]),
    ] {
        let select = Account::select().filter(filter);
        assert_eq!(cluster.explain(&select).unwrap().shards(), shards);
    }
    for (filter, shards) in [
        (Shop::REGION.ne("North"), vec!["b"]),
        (Shop::REGION.starts_with("N"), vec!["d"]),
        (Shop::REGION.like("%outh"), vec!["b"]),
    ] {
        let select = Shop::select().filter(filter).all_shards();
        assert_eq!(cluster.explain(&select).unwrap().shards(), shards, "{select:?}");
    }
    assert_eq!(session.all(Account::select().all_shards()).unwrap().len(), accounts.len());
    // A change of the key goes by the record, too.
    let mut account = session.get(Account::by_id(1).on_shard("a")).unwrap().unwrap();
    session.relocate(&mut account, |account| account.number = 1_999).unwrap();
    assert_eq!(account.shard().name(), "d");
    session.commit().unwrap();
    assert!(cluster.verify().unwrap().is_sound());
}

fn r48_a_function_of_the_application_keeps_its_shards(backend: &Backend) {
    drop(backend.create::<Device>(&LETTERS));
    drop(backend.create::<Device>(&MORE));
    // A change has moved the keys that the function maps to `c` to `d`.
    record(backend, &[("place", "d", "3 serving"), ("place", "c", "2 retired")]);
    change(backend, 2, "devices", &["function 0 => a", "function 1 => b", "function 2 => d"]);
    for shards in [&MORE[..], &["a", "b", "d"]] {
        let cluster = backend.open::<Device>(shards).unwrap();
        let mut session = cluster.session();
        for (id, serial, shard) in [(1, "a1", "a"), (2, "b1", "b"), (3, "c1", "d")] {
            assert_eq!(session.add(device(id, serial)).unwrap().shard().name(), shard);
        }
        assert_error(session.add(device(4, "d1")), ErrorKind::UnmappedKey, &[]);
        session.rollback();
        assert_eq!(cluster.shards().iter().map(|shard| shard.place()).collect::<Vec<_>>(), [0, 1, 3]);
    }
}

mod remapped {
    use shard_runtime::Sharded;

    /// As [`Shop`](crate::models::Shop), as a change has moved it.
    #[derive(Sharded)]
    #[sharded(table = "shops")]
    pub struct Moved {
        #[id]
        pub id: i64,
        #[shard_key(list("North" => "d", "South" => "b"))]
        pub region: String,
    }

    /// As [`Shop`](crate::models::Shop), as nothing has moved it.
    #[derive(Sharded)]
    #[sharded(table = "shops")]
    pub struct Other {
        #[id]
        pub id: i64,
        #[shard_key(list("North" => "c", "South" => "b"))]
        pub region: String,
    }
}

fn r48_a_declaration_that_no_change_explains_is_refused(backend: &Backend) {
    drop(backend.create::<Shop>(&LETTERS));
    drop(backend.create::<Shop>(&MORE));
    let moved = backend.open::<remapped::Moved>(&MORE).map(drop);
    assert_error(moved, ErrorKind::Layout, &["shops"]);
    record(backend, &[("place", "d", "3 serving")]);
    change(backend, 2, "shops", &["list 'North' => d", "list 'South' => b"]);
    let texts = ["table `shops`", "`list North => c`", "epoch 2", "`d`"];
    assert_error(backend.open::<remapped::Other>(&MORE).map(drop), ErrorKind::Layout, &texts);
    assert_error(backend.builder(&MORE).create::<remapped::Other>(), ErrorKind::Layout, &texts);
    backend.open::<Shop>(&MORE).unwrap();
    backend.open::<remapped::Moved>(&MORE).unwrap();
    drop(backend.create::<remapped::Moved>(&MORE));
    drop(backend.create::<Shop>(&MORE));
}

fn r48_a_new_model_joins_the_group_of_its_key(backend: &Backend) {
    split(backend);
    let cluster = backend.create::<(Currency, Customer, Order, Visit)>(&MORE);
    let mut session = cluster.session();
    session.add_all((0..24).map(|customer| Visit { customer, times: 1 })).unwrap();
    session.commit().unwrap();
    for visit in session.all(Visit::select().all_shards()).unwrap() {
        assert_eq!(visit.shard().name(), shard_of(visit.customer));
    }
    drop((session, cluster));
    // It moves with its group.
    let visits = backend.create::<(Currency, Customer, Order, Visit)>(&MORE);
    drop(visits);
    change(backend, 3, "customers", &["hash modulus 1 remainder 0 => b"]);
    let cluster = backend.open::<Visit>(&MORE).unwrap();
    let explain = cluster.explain(&Visit::select().filter(Visit::CUSTOMER.is_in(0..24))).unwrap();
    assert_eq!((explain.shards(), explain.epoch()), (vec!["b"], 3));
}

fn r48_a_value_is_added_after_a_change(backend: &Backend) {
    drop(backend.create::<Shop>(&LETTERS));
    drop(backend.create::<Shop>(&MORE));
    record(backend, &[("place", "d", "3 serving")]);
    change(backend, 2, "shops", &["list 'North' => c", "list 'South' => b"]);
    let opened = backend.open::<widened::Shop>(&MORE).map(drop);
    assert_error(opened, ErrorKind::Layout, &["`list East => d`", "`create` adds it"]);
    let cluster = backend.create::<widened::Shop>(&MORE);
    let mut session = cluster.session();
    for (id, region, shard) in [(1, "North", "c"), (2, "South", "b"), (3, "East", "d")] {
        let shop = session.add(widened::Shop { id, region: region.into() }).unwrap();
        assert_eq!(shop.shard().name(), shard);
    }
    session.commit().unwrap();
    assert_eq!(cluster.epoch(), 3, "the rule is another one");
    drop((session, cluster));
    let cluster = backend.open::<widened::Shop>(&MORE).unwrap();
    assert_eq!(cluster.session().all(widened::Shop::select().all_shards()).unwrap().len(), 3);
}

fn r48_a_retired_shard_is_not_opened(backend: &Backend) {
    drop(backend.create::<Shop>(&LETTERS));
    drop(backend.create::<Shop>(&MORE));
    record(backend, &[("place", "d", "3 serving"), ("place", "a", "0 retired")]);
    change(backend, 2, "shops", &["list 'North' => d", "list 'South' => b"]);
    // A change leaves another name in a retired shard.
    let own = backend.table("a", "sharded_shard");
    backend.run("a", &format!("UPDATE {own} SET shard = 'a, retired by change 1'"));
    let cluster = backend.open::<Shop>(&MORE).unwrap();
    let mut session = cluster.session();
    let north = session.add(Shop { id: 1, region: "North".into() }).unwrap();
    assert_eq!((north.shard().name(), north.shard().index(), north.shard().place()), ("d", 2, 3));
    session.commit().unwrap();
    assert_eq!(roles(&cluster)[0], ("a".to_owned(), 0, ShardRole::Retired));
    assert_error(cluster.shards().require("a").map(drop), ErrorKind::UnknownShard, &[]);
    drop((session, cluster));
    // A number is not given again.
    let cluster = backend.create::<Shop>(&["a", "b", "c", "d", "e"]);
    assert_eq!(roles(&cluster)[4], ("e".to_owned(), 4, ShardRole::Spare));
}

fn r47_the_copies_of_the_layout_are_compared(backend: &Backend) {
    drop(backend.create::<Models>(&LETTERS));
    drop(backend.create::<Models>(&MORE));
    let before = copy_of_layout(backend, "b");
    assert_eq!(before.split(' ').count(), 2, "as the releases before have it: {before}");
    record(backend, &[("place", "d", "3 serving")]);
    change(backend, 2, "customers", &SPLIT);
    // Older copies are written anew by the process that opens the cluster.
    drop(backend.open::<Models>(&MORE).unwrap());
    for shard in MORE {
        let copy = copy_of_layout(backend, shard);
        assert!(copy.starts_with(&before) && copy.split(' ').nth(2) == Some("2"), "{copy}");
    }
    // A control database of before the change.
    let both = |kind: ErrorKind, texts: &[&str]| {
        assert_error(backend.open::<Models>(&MORE).map(drop), kind, texts);
        assert_error(backend.builder(&MORE).create::<Models>(), kind, texts);
    };
    in_control(backend, "DELETE FROM sharded_state WHERE kind IN ('rule', 'epoch', 'place')");
    record(backend, &[("place", "d", "3 spare")]);
    let texts = ["shard `a`", "control database", "older", "epoch 1", "epoch 2", "restore"];
    both(ErrorKind::WrongDatabase, &texts);
    // An edited one.
    record(backend, &[("place", "d", "3 serving")]);
    change(backend, 2, "customers", &["hash modulus 1 remainder 0 => a"]);
    both(ErrorKind::WrongDatabase, &["shard `a`", "epoch 2", "edited", "restore"]);
    change(backend, 2, "customers", &["hash modulus 2 remainder 0 => a"]);
    both(ErrorKind::WrongDatabase, &["shard `a`", "epoch 2", "edited", "restore"]);
    change(backend, 2, "customers", &SPLIT);
    drop(backend.open::<Models>(&MORE).unwrap());
    // Lines that no release can use, with copies that agree.
    change(backend, 3, "customers", &["hash modulus 2 remainder 0 => a"]);
    both(ErrorKind::Layout, &["customers", "no line has the keys of modulus 2, remainder 1"]);
}

fn r47_lines_that_reached_no_shard_are_taken_back(backend: &Backend) {
    let step = |number: usize, subject: &str, line: &str| {
        record(backend, &[("line", &format!("2 {number}"), &format!("{subject}\u{1f}{line}"))]);
    };
    let lines = |backend: &Backend| -> i64 {
        let sql = "SELECT count(*) FROM sharded_state WHERE kind = 'line' AND name LIKE '2 %'";
        match backend.is_postgres("a") {
            true => backend.client("a").text(sql).parse().unwrap(),
            false => rusqlite::Connection::open(backend.folder().join("control.db"))
                .unwrap()
                .query_row(sql, [], |row| row.get(0))
                .unwrap(),
        }
    };
    drop(backend.create::<(Shop, Company)>(&LETTERS));
    // A `create` with another value and another shard was killed before it reached a shard.
    let interrupted = || {
        step(0, "shards", "3 is d");
        step(1, "table shops", "list East => d");
        record(backend, &[("shard", "d", "making")]);
    };
    interrupted();
    for models in [backend.open::<Shop>(&LETTERS), backend.open::<Shop>(&["b", "c", "a"])] {
        drop(models.unwrap());
    }
    assert_eq!(lines(backend), 2, "who only opens the cluster leaves the record");
    drop(backend.create::<(Shop, Company)>(&LETTERS));
    assert_eq!(lines(backend), 0);
    drop(backend.open::<(Shop, Company)>(&LETTERS).unwrap());
    // Or it is continued.
    interrupted();
    let cluster = backend.create::<(widened::Shop, Company)>(&MORE);
    let mut session = cluster.session();
    session.add(widened::Shop { id: 1, region: "East".into() }).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    assert_eq!(lines(backend), 2);
    // From then on it counts.
    assert_error(
        backend.builder(&LETTERS).create::<(Shop, Company)>(),
        ErrorKind::Layout,
        &["shard `d` (place 3)", "not configured"],
    );
    assert_error(
        backend.builder(&MORE).create::<(Shop, Company)>(),
        ErrorKind::Layout,
        &["shard `a`", "list East => d", "not declared any more"],
    );
}
