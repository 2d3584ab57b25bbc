//! Lookups: a value that is not the key leads to the shard of its row, and is unique over the cluster.

use std::ops::ControlFlow;

use shard_runtime::hash::{PARTITION_SEED, hash_text, remainder, row_hash};
use shard_runtime::{ErrorKind, Filter, Parent, Routed, Session, Sharded, Sql, SqlRow, Stored};

use crate::backend::{Backend, LETTERS, Watched, assert_error, shards_of};

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "users", insert(derive(Clone)))]
pub struct User {
    #[id(sequence)]
    pub id: i64,
    #[shard_key(list("a" => "a", "b" => "b", "c" => "c"))]
    pub region: String,
    #[lookup]
    pub email: String,
    #[lookup]
    pub phone: Option<i64>,
    pub visits: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "devices", insert(derive(Clone)))]
pub struct Device {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub user: Parent<User>,
    #[lookup]
    pub serial: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "accounts")]
pub struct Account {
    #[id]
    #[shard_key(list("a" => "a", "b" => "b", "c" => "c"))]
    pub id: String,
    #[lookup]
    pub login: String,
}

/// Of a column with another collation, which PostgreSQL shards do not have.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "nicknames")]
pub struct Nickname {
    #[id]
    #[shard_key(list("a" => "a", "b" => "b", "c" => "c"))]
    pub id: String,
    #[lookup]
    #[sharded(collate = nocase)]
    pub nickname: String,
}

type All = (User, Device, Account);

pub fn cluster(backend: &Backend) -> Watched {
    backend.create::<All>(&LETTERS)
}

pub fn user(region: &str, email: &str) -> NewUser {
    NewUser { region: region.into(), email: email.into(), phone: None, visits: 0 }
}

/// The shard that has the entry of a text.
pub fn home(text: &str) -> &'static str {
    LETTERS[remainder(row_hash([hash_text(text, PARTITION_SEED)]), 3) as usize]
}

/// A text whose entry is on this shard.
pub fn text_on(shard: &str, word: &str) -> String {
    (0..).map(|number| format!("{word}{number}")).find(|text| home(text) == shard).unwrap()
}

pub fn by_email(session: &mut Session, email: &str) -> Vec<Stored<User>> {
    session.all(User::select().filter(User::EMAIL.eq(email))).unwrap()
}

pub fn entries(cluster: &Watched, table: &str) -> Vec<(String, String)> {
    let sql = format!("SELECT value, shard FROM {{{table}}}");
    let rows = cluster.session().all(Sql::new(&sql).all_shards()).unwrap();
    let entry = |row: &SqlRow| {
        let value: String = row.get("value").unwrap();
        assert_eq!(row.shard().name(), home(&value));
        (value, row.get("shard").unwrap())
    };
    let mut entries: Vec<_> = rows.iter().map(entry).collect();
    entries.sort();
    entries
}

pub fn emails(cluster: &Watched) -> Vec<(String, String)> {
    entries(cluster, "sharded_lookup_users_email")
}

pub fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    pairs.sort();
    pairs
}

fn r12_a_filter_on_a_lookup_reads_the_shard_of_its_row(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    for region in LETTERS {
        for entry_on in LETTERS {
            session.add(user(region, &text_on(entry_on, region))).unwrap();
        }
    }
    session.commit().unwrap();
    for region in LETTERS {
        for entry_on in LETTERS {
            let email = text_on(entry_on, region);
            let mut session = cluster.session();
            let (rows, counts) = cluster.counted(|| by_email(&mut session, &email));
            assert_eq!(shards_of(&rows), [region]);
            assert_eq!(rows[0].email, email);
            let mut expected: Vec<(String, u64)> = vec![(entry_on.into(), 1), (region.into(), 1)];
            if entry_on == region {
                expected = vec![(region.into(), 2)];
            }
            expected.sort();
            assert_eq!(counts, expected, "the entry is on {entry_on}, the row on {region}");
        }
    }
    // A value without an entry is on no shard.
    let no_row = text_on("b", "nobody");
    let mut session = cluster.session();
    let (rows, counts) = cluster.counted(|| by_email(&mut session, &no_row));
    assert_eq!((rows.len(), counts), (0, vec![("b".to_owned(), 1)]));
}

fn r16_a_list_is_split_twice(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    let on_a = text_on("a", "x");
    let on_b = text_on("b", "y");
    let (no_row, too) = (text_on("a", "z"), text_on("b", "w"));
    session.add_all([user("b", &on_a), user("b", &on_b), user("c", &text_on("c", "v"))]).unwrap();
    session.commit().unwrap();
    let wanted = [&on_a, &on_b, &no_row, &too, &on_a].map(String::clone);
    let mut session = cluster.session();
    let query = User::select().filter(User::EMAIL.is_in(wanted)).order_by(User::EMAIL.asc());
    let (rows, counts) = cluster.counted(|| session.all(query).unwrap());
    assert_eq!(rows.iter().map(|row| row.email.as_str()).collect::<Vec<_>>(), [&on_a, &on_b]);
    assert_eq!(counts, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    // None of them is anywhere.
    let query = User::select().filter(User::EMAIL.is_in([no_row, too]));
    let (rows, asked) = cluster.asked(|| session.all(query).unwrap());
    assert_eq!((rows.len(), asked), (0, vec!["a".to_owned(), "b".to_owned()]));
    let nothing = User::select().filter(User::EMAIL.is_in(Vec::<String>::new()));
    assert_eq!(cluster.asked(|| session.all(nothing).unwrap()).1, Vec::<String>::new());
}

fn r12_lookups_join_in_the_algebra(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    let (x, y) = (text_on("a", "x"), text_on("a", "y"));
    session.add(user("b", &x)).unwrap();
    session.add(NewUser { phone: Some(5), ..user("c", &y) }).unwrap();
    session.commit().unwrap();
    let asked = |filter: Filter<User, Routed>| {
        let mut session = cluster.session();
        let (rows, asked) = cluster.asked(|| session.all(User::select().filter(filter)).unwrap());
        (rows.into_iter().map(|row| row.region.clone()).collect::<Vec<_>>().concat(), asked.concat())
    };
    let text = |rows: &str, asked: &str| (rows.to_owned(), asked.to_owned());
    // The key names one shard: no lookup is read.
    assert_eq!(asked(User::REGION.eq("b") & User::EMAIL.eq(&x)), text("b", "b"));
    assert_eq!(asked(User::REGION.eq("c") & User::EMAIL.eq(&x)), text("", "c"));
    assert_eq!(asked(User::REGION.is_in(["b", "c"]) & User::EMAIL.eq(&x)), text("b", "ab"));
    assert_eq!(asked(User::EMAIL.eq(&x) | User::EMAIL.eq(&y)), text("bc", "abc"));
    assert_eq!(asked(User::EMAIL.eq(&x) | User::REGION.eq("b")), text("b", "ab"));
    assert_eq!(asked(User::EMAIL.eq(&x) & User::VISITS.gt(7)), text("", "ab"));
    assert_eq!(asked(User::EMAIL.eq(&y) & !User::PHONE.eq(5)), text("", "ac"));
    assert_eq!(asked(User::EMAIL.eq(&x) & User::EMAIL.eq(&y)), text("", "a"));
    // A query that reads every shard anyway reads no lookup.
    let all = User::select().filter(User::EMAIL.eq(&x) | User::VISITS.eq(0)).all_shards();
    let mut session = cluster.session();
    let (rows, counts) = cluster.counted(|| session.all(all).unwrap().len());
    assert_eq!((rows, counts.iter().map(|(_, count)| count).sum::<u64>()), (2, 3));
    let others = User::select().filter(!User::EMAIL.eq(&x)).all_shards();
    let (rows, counts) = cluster.counted(|| session.all(others).unwrap());
    assert_eq!((shards_of(&rows), counts.len()), (vec!["c"], 3));
    // A value that does not narrow the shards is compared as it is.
    let before = User::select().filter(User::EMAIL.lt(&y) & User::EMAIL.ne(&y)).all_shards();
    assert_eq!(session.one(before).unwrap().email, x);
}

fn r23_a_session_finds_its_added_rows(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    let added = session.add(user("b", "new")).unwrap();
    assert_eq!(by_email(&mut session, "new"), [added]);
    // A database in memory is not read while it is written.
    if backend.is_on_disk() {
        assert_eq!(by_email(&mut cluster.session(), "new"), []);
    }
    session.rollback();
    assert_eq!(by_email(&mut session, "new"), []);
    assert_eq!(emails(&cluster), []);
}

fn every_reader_follows_a_lookup(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    let email = text_on("a", "ada");
    let ada = session.add(NewUser { visits: 4, ..user("b", &email) }).unwrap();
    session.add(user("c", &text_on("a", "bob"))).unwrap();
    let device = session.add(NewDevice { user: ada.link(), serial: text_on("a", "s") }).unwrap();
    session.commit().unwrap();
    let query = || User::select().filter(User::EMAIL.eq(&email));
    let asks = |run: &mut dyn FnMut(&mut Session)| {
        let mut session = cluster.session();
        assert_eq!(cluster.asked(|| run(&mut session)).1, ["a", "b"]);
    };
    asks(&mut |session| assert_eq!(session.one(query()).unwrap(), ada));
    asks(&mut |session| assert_eq!(session.first(query()).unwrap().as_ref(), Some(&ada)));
    asks(&mut |session| assert!(session.one(query().exists()).unwrap()));
    asks(&mut |session| assert_eq!(session.one(query().count()).unwrap(), 1));
    asks(&mut |session| assert_eq!(session.one(query().aggregate(User::VISITS.sum())).unwrap(), Some(4)));
    asks(&mut |session| {
        let groups = query().group_by(User::REGION).aggregate(shard_runtime::count());
        assert_eq!(session.all(groups).unwrap(), [("b".to_owned(), 1)]);
    });
    asks(&mut |session| assert_eq!(session.all(query().columns(User::VISITS)).unwrap(), [4]));
    asks(&mut |session| assert_eq!(session.one(query().for_update()).unwrap(), ada));
    asks(&mut |session| {
        let mut seen = 0;
        let visit = |_| {
            seen += 1;
            Ok(ControlFlow::Continue(()))
        };
        session.for_each(query(), visit).unwrap();
        assert_eq!(seen, 1);
    });
    asks(&mut |session| {
        let with = session.all_with::<Device>(query()).unwrap();
        assert_eq!(with[0].1, std::slice::from_ref(&device));
    });
    asks(&mut |session| {
        let of_ada = Device::select().filter(Device::has_parent(User::EMAIL.eq(&email)));
        assert_eq!(session.all(of_ada).unwrap(), std::slice::from_ref(&device));
    });
    asks(&mut |session| {
        let owner = User::select().filter(User::has_child(Device::SERIAL.eq(&device.serial)));
        assert_eq!(session.all(owner).unwrap(), std::slice::from_ref(&ada));
    });
    asks(&mut |session| {
        let joined = Device::select().filter(Device::SERIAL.eq(&device.serial)).with_parent();
        assert_eq!(session.all(joined).unwrap(), [(device.clone(), ada.clone())]);
    });
    asks(&mut |session| {
        let partial = session.all_available(query()).unwrap();
        assert_eq!((partial.rows, partial.missing.len()), (vec![ada.clone()], 0));
    });
    asks(&mut |session| {
        let visit = User::update().set(User::VISITS, User::VISITS + 1).filter(User::EMAIL.eq(&email));
        assert_eq!(session.execute(visit).unwrap(), 1);
    });
    // Pages: the cursor is of the query as it is written.
    let ordered = || query().order_by(User::VISITS.asc());
    let page = session.all(ordered().columns(User::VISITS).with_cursor()).unwrap();
    assert_eq!(session.all(ordered().after(&page[0].1)).unwrap(), []);
    // An empty list reads no shard.
    assert_eq!(cluster.asked(|| session.all(query().limit(0)).unwrap()).1, Vec::<String>::new());
}

fn r19_a_pin_wins_over_a_lookup(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    let email = text_on("b", "x");
    session.add(user("a", &email)).unwrap();
    session.commit().unwrap();
    let pinned = User::select().filter(User::EMAIL.eq(&email)).on_shard("c");
    assert_eq!(cluster.asked(|| session.all(pinned).unwrap().len()), (0, vec!["c".to_owned()]));
    let mut only_a = cluster.session_on_shard("a").unwrap();
    let (found, asked) = cluster.asked(|| by_email(&mut only_a, &email).len());
    assert_eq!((found, asked), (1, vec!["a".to_owned()]));
    // Its entry would be out of the session's reach.
    let (added, asked) = cluster.asked(|| only_a.add(user("a", &text_on("b", "y"))));
    assert_error(added, ErrorKind::ContradictingPins, &["users", "email", "`b`"]);
    assert_eq!(asked, Vec::<String>::new());
    only_a.add(user("a", &text_on("a", "y"))).unwrap();
    only_a.commit().unwrap();
}

fn r20_a_lookup_is_explained(backend: &Backend) {
    let cluster = cluster(backend);
    let email = text_on("b", "x");
    let query = User::select().filter(User::EMAIL.eq(&email));
    let (explain, asked) = cluster.asked(|| cluster.explain(&query).unwrap());
    assert_eq!(asked, Vec::<String>::new());
    assert_eq!(explain.shards(), LETTERS);
    assert_eq!(explain.reason(), "the shards that the lookup of users.email on b names");
    let lookups: Vec<_> = explain.lookups().collect();
    assert_eq!(lookups.len(), 1);
    assert_eq!(lookups[0].0, "b");
    assert!(lookups[0].1.contains("sharded_lookup_users_email"), "{}", lookups[0].1);
    assert_eq!(explain.to_string().lines().count(), 5, "{explain}");
    let narrowed = User::select().filter(User::REGION.is_in(["a", "c"]) & User::EMAIL.eq(&email));
    let explain = cluster.explain(&narrowed).unwrap();
    assert_eq!(explain.shards(), ["a", "c"]);
    assert!(
        explain.reason().ends_with(", restricted to the shards that the lookup of users.email on b names"),
        "{explain}"
    );
    let one = User::select().filter(User::REGION.eq("a") & User::EMAIL.eq(&email));
    let explain = cluster.explain(&one).unwrap();
    assert_eq!((explain.shards(), explain.lookups().count()), (vec!["a"], 0));
    let delete = cluster.explain(&User::delete().filter(User::EMAIL.eq(&email))).unwrap();
    assert_eq!(delete.lookups().count(), 1);
}

fn a_wrong_entry_finds_no_row(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    session.add_all([user("a", "removed"), user("b", "moved"), user("c", "lost")]).unwrap();
    session.commit().unwrap();
    session.rollback();
    let entries = "sharded_lookup_users_email";
    let planted = backend.plant(&["a"], "users", "DELETE FROM {table} WHERE email = 'removed'")
        && backend.plant(&LETTERS, entries, "DELETE FROM {table} WHERE value = 'lost'")
        && backend.plant(&LETTERS, entries, "UPDATE {table} SET shard = 'a' WHERE value = 'moved'");
    for email in ["removed", "moved", "lost"] {
        assert_eq!(by_email(&mut session, email).len(), usize::from(!planted), "{email}");
    }
    if planted {
        backend.plant(&LETTERS, entries, "UPDATE {table} SET shard = 'nowhere' WHERE value = 'moved'");
        session.rollback();
        assert_eq!(by_email(&mut session, "moved"), []);
    }
}

fn r43_a_value_that_no_column_holds_is_an_error(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    let (bad, asked) = cluster.asked(|| session.all(User::select().filter(User::EMAIL.eq("a\0b"))));
    assert_error(bad, ErrorKind::Value, &["users", "email"]);
    assert_eq!(asked, Vec::<String>::new());
    assert_error(session.add(user("a", "a\0b")), ErrorKind::Value, &["users", "email"]);
    session.commit().unwrap();
}

on_every_dialect!(
    r12_a_filter_on_a_lookup_reads_the_shard_of_its_row,
    r16_a_list_is_split_twice,
    r12_lookups_join_in_the_algebra,
    r23_a_session_finds_its_added_rows,
    every_reader_follows_a_lookup,
    r19_a_pin_wins_over_a_lookup,
    r20_a_lookup_is_explained,
    a_wrong_entry_finds_no_row,
    r43_a_value_that_no_column_holds_is_an_error,
);
