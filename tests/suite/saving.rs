//! Rows that are inserted or changed by their ids: R05, R10, R31, R32, R35.

use shard_runtime::{ErrorKind, Parent, Sharded, uuid::Uuid};

use crate::backend::{Backend, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_backend! {
    a_row_is_inserted_and_then_changed,
    a_row_of_an_id_that_is_the_key_alone,
    a_uuid_that_was_made_before_is_saved,
    pending_changes_are_written_first,
    r10_another_key_on_the_shard_is_a_move,
    r10_a_child_stays_with_its_parents_shard,
    the_same_id_on_another_shard_is_another_row,
    r05_a_key_that_is_placed_nowhere_is_refused,
    r32_a_row_that_is_refused_leaves_nothing,
    a_version_is_looked_at_and_raised,
    r35_saved_rows_of_several_shards_are_one_unit,
}

fn account(id: i64, number: i32, owner: &str) -> Account {
    Account { id, number, owner: owner.to_owned() }
}

fn accounts(cluster: &Watched) -> Vec<(i64, i32, String)> {
    let rows = cluster.session().all(Account::select().all_shards().order_by(Account::ID.asc())).unwrap();
    rows.iter().map(|row| (row.id, row.number, row.owner.clone())).collect()
}

fn a_row_is_inserted_and_then_changed(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    let (saved, counts) = cluster.counted(|| session.save(account(1, 1500, "x")).unwrap());
    assert_eq!((saved.shard().name(), counts), ("b", vec![("b".to_owned(), 1)]));
    assert!(session.get::<Account>(1).unwrap().is_some_and(|row| row.owner == "x"));
    let (mut saved, counts) = cluster.counted(|| session.save(account(1, 1500, "y")).unwrap());
    assert_eq!(counts, [("b".to_owned(), 1)]);
    assert_eq!(session.get::<Account>(1).unwrap().unwrap(), saved);
    session.commit().unwrap();
    assert_eq!(accounts(&cluster), [(1, 1500, "y".to_owned())]);
    // It is a stored row like any other.
    saved.owner = "z".into();
    session.update(&mut saved).unwrap();
    session.commit().unwrap();
    assert_eq!(accounts(&cluster), [(1, 1500, "z".to_owned())]);
    session.save(account(1, 1500, "undone")).unwrap();
    session.rollback();
    assert_eq!(accounts(&cluster), [(1, 1500, "z".to_owned())]);
}

/// Nothing but an id, which is the key.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "flags")]
struct Flag {
    #[id]
    #[shard_key(hash)]
    name: String,
}

fn a_row_of_an_id_that_is_the_key_alone(backend: &Backend) {
    let cluster = backend.create::<Flag>(&LETTERS);
    let mut session = cluster.session();
    for _ in 0..2 {
        session.save(Flag { name: "new".to_owned() }).unwrap();
    }
    session.commit().unwrap();
    assert_eq!(session.one(Flag::select().all_shards().count()).unwrap(), 1);
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "notes")]
struct Note {
    #[id(uuid)]
    id: Uuid,
    #[shard_key(range("a" => ..1000, "b" => 1000..2000, "c" => 2000..))]
    place: i32,
    text: Option<String>,
}

fn a_uuid_that_was_made_before_is_saved(backend: &Backend) {
    let cluster = backend.create::<Note>(&LETTERS);
    let mut session = cluster.session();
    let id = Uuid::now_v7();
    session.save(Note { id, place: 2500, text: Some("x".to_owned()) }).unwrap();
    session.save(Note { id, place: 2500, text: None }).unwrap();
    let added = session.add(NewNote { place: 2600, text: None }).unwrap();
    let mut changed = (*added).clone();
    changed.text = Some("y".to_owned());
    session.save(changed.clone()).unwrap();
    session.commit().unwrap();
    let rows = session.all(Note::select().all_shards().order_by(Note::PLACE.asc())).unwrap();
    let rows: Vec<Note> = rows.iter().map(|row| (**row).clone()).collect();
    assert_eq!(rows, [Note { id, place: 2500, text: None }, changed]);
}

fn pending_changes_are_written_first(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.add(account(1, 5, "added")).unwrap();
    session.save(account(1, 5, "saved")).unwrap();
    session.commit().unwrap();
    assert_eq!(accounts(&cluster), [(1, 5, "saved".to_owned())]);
}

fn r10_another_key_on_the_shard_is_a_move(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.save(account(1, 1500, "x")).unwrap();
    session.commit().unwrap();
    let error = session.save(account(1, 1600, "y")).unwrap_err();
    let parts = (error.shard(), error.table(), error.column());
    assert_eq!(parts, (Some("b"), Some("accounts"), Some("number")), "{error}");
    assert_error::<()>(Err(error), ErrorKind::ShardKeyChanged, &["id 1", "relocate"]);
    session.commit().unwrap();
    assert_eq!(accounts(&cluster), [(1, 1500, "x".to_owned())]);
}

/// A child, whose id is the caller's.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "marks")]
struct Mark {
    #[id]
    id: i64,
    #[shard_parent]
    account: Parent<Account>,
    points: i64,
}

fn r10_a_child_stays_with_its_parents_shard(backend: &Backend) {
    let cluster = backend.create::<(Account, Mark)>(&LETTERS);
    let mut session = cluster.session();
    let (first, second) =
        (session.save(account(1, 1500, "x")).unwrap(), session.add(account(2, 1600, "y")).unwrap());
    session.save(Mark { id: 1, account: first.link(), points: 1 }).unwrap();
    // Another parent on the shard is a change as any other, as it is for `update`.
    let mark = session.save(Mark { id: 1, account: second.link(), points: 2 }).unwrap();
    assert_eq!(mark.shard().name(), "b");
    session.commit().unwrap();
    assert_eq!(session.all(second.children::<Mark>()).unwrap(), [mark]);
    assert!(session.all(first.children::<Mark>()).unwrap().is_empty());
    session.delete(&first).unwrap();
    let orphan = session.save(Mark { id: 3, account: first.link(), points: 0 });
    assert_error(orphan, ErrorKind::ForeignKey, &["shard `b`", "table `marks`"]);
}

fn the_same_id_on_another_shard_is_another_row(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.save(account(1, 5, "x")).unwrap();
    session.save(account(1, 2500, "y")).unwrap();
    session.commit().unwrap();
    assert_eq!(accounts(&cluster).len(), 2);
    assert_error(session.get::<Account>(1), ErrorKind::Ambiguous, &["shard `a`", "shard `c`"]);
}

fn r05_a_key_that_is_placed_nowhere_is_refused(backend: &Backend) {
    let cluster = backend.create::<Parcel>(&["a", "b"]);
    let mut session = cluster.session();
    let (result, asked) = cluster.asked(|| session.save(Parcel { weight: 150, label: String::new() }));
    assert_error(result, ErrorKind::UnmappedKey, &["table `parcels`", "150"]);
    let label = "a\0b".to_owned();
    assert_error(
        session.save(Parcel { weight: 5, label }),
        ErrorKind::Value,
        &["table `parcels`", "`label`"],
    );
    assert!(asked.is_empty());
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "users", unique(tenant, name))]
struct User {
    #[id]
    id: i64,
    #[shard_key(range("a" => ..1000, "b" => 1000..2000, "c" => 2000..))]
    tenant: i64,
    name: String,
    #[version]
    version: i32,
}

fn user(id: i64, name: &str, version: i32) -> User {
    User { id, tenant: 1500, name: name.to_owned(), version }
}

fn r32_a_row_that_is_refused_leaves_nothing(backend: &Backend) {
    let cluster = backend.create::<User>(&LETTERS);
    let mut session = cluster.session();
    session.save(user(1, "Ada", 1)).unwrap();
    session.save(user(2, "Bob", 1)).unwrap();
    for refused in [user(1, "Bob", 1), user(3, "Ada", 1)] {
        assert_error(session.save(refused), ErrorKind::Unique, &["shard `b`", "table `users`"]);
    }
    session.commit().unwrap();
    let users = session.all(User::select().all_shards().order_by(User::ID.asc())).unwrap();
    assert!(users.iter().map(|user| (user.name.as_str(), user.version)).eq([("Ada", 1), ("Bob", 1)]));
}

fn a_version_is_looked_at_and_raised(backend: &Backend) {
    let cluster = backend.create::<User>(&LETTERS);
    let mut session = cluster.session();
    assert_eq!(session.save(user(1, "x", 4)).unwrap().version, 4);
    let mut saved = session.save(user(1, "y", 4)).unwrap();
    assert_eq!(saved.version, 5);
    session.commit().unwrap();
    let texts = ["shard `b`", "table `users`", "row 1", "found 5", "expected version 4"];
    assert_error(session.save(user(1, "z", 4)), ErrorKind::Stale, &texts);
    saved.name = "z".to_owned();
    session.update(&mut saved).unwrap();
    session.commit().unwrap();
    let found = session.one(User::select().all_shards()).unwrap();
    assert_eq!((found.name.as_str(), found.version), ("z", 6));
}

fn r35_saved_rows_of_several_shards_are_one_unit(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.save(account(1, 5, "x")).unwrap();
    session.commit().unwrap();
    let rows = || [account(1, 5, "y"), account(2, 1500, "y"), account(3, 2500, "y")];
    for row in rows() {
        session.save(row).unwrap();
    }
    session.rollback();
    assert_eq!(accounts(&cluster), [(1, 5, "x".to_owned())]);
    for row in rows() {
        session.save(row).unwrap();
    }
    assert!(session.commit().unwrap().pending().is_empty());
    let expected: Vec<_> = rows().into_iter().map(|row| (row.id, row.number, row.owner)).collect();
    assert_eq!(accounts(&cluster), expected);
}
