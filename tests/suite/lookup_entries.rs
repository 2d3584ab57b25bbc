//! The entries of lookups: kept in the same transaction as their rows, by every verb that writes those, and unique over the
//! cluster.

use shard_runtime::{ErrorKind, Sharded, Sql};

use crate::backend::{Backend, LETTERS, Watched, assert_error};
use crate::lookup::{
    Account, Device, NewDevice, NewUser, Nickname, User, by_email, cluster, emails, entries, pairs, text_on,
    user,
};

fn values_are_unique_over_the_cluster(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    session.add(user("a", "ada@example.com")).unwrap();
    session.commit().unwrap();
    for region in LETTERS {
        let mut session = cluster.session();
        session.add(user("b", "before")).unwrap();
        session.flush().unwrap();
        session.add(user(region, "ada@example.com")).unwrap();
        let refused = session.flush();
        let Err(error) = &refused else { panic!("two rows have one value") };
        assert_eq!(
            (error.shard(), error.table(), error.column()),
            (Some(region), Some("users"), Some("email"))
        );
        let message = "another row has this value, which is unique over the cluster; store another one";
        let whole = format!("shard `{region}`, table `users`, column `email`: {message}");
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Unique, whole));
        // The session continues, and nothing of the row is left.
        assert_eq!(session.one(User::select().all_shards().count()).unwrap(), 2);
        session.rollback();
    }
    let mut session = cluster.session();
    session.add(user("b", "twice")).unwrap();
    session.add(user("c", "twice")).unwrap();
    assert_error(session.commit(), ErrorKind::Unique, &["users", "email"]);
    session.rollback();
    assert_eq!(emails(&cluster), pairs(&[("ada@example.com", "a")]));
    assert_eq!(cluster.session().one(User::select().all_shards().count()).unwrap(), 1);
}

fn one_of_many_threads_gets_a_value(backend: &Backend) {
    let cluster = cluster(backend);
    let (won, lost) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|number| {
                let cluster = &cluster;
                scope.spawn(move || {
                    cluster.transaction(|session| session.add(user(LETTERS[number % 3], "wanted")).map(drop))
                })
            })
            .collect();
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let lost =
            ends.iter().filter(|end| end.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unique));
        (ends.iter().filter(|end| end.is_ok()).count(), lost.count())
    });
    assert_eq!((won, lost), (1, 5));
    assert_eq!(cluster.session().one(User::select().all_shards().count()).unwrap(), 1);
    assert_eq!(emails(&cluster).len(), 1);
}

fn a_value_that_changes_is_found_and_the_old_one_is_free(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    let mut ada = session.add(user("a", "old")).unwrap();
    session.add(user("b", "taken")).unwrap();
    session.commit().unwrap();
    ada.email = "taken".into();
    assert_error(session.update(&mut ada), ErrorKind::Unique, &["users", "email"]);
    assert_eq!(ada.email, "taken");
    assert_eq!(by_email(&mut session, "old")[0].email, "old");
    ada.email = "fresh".into();
    session.update(&mut ada).unwrap();
    assert_eq!(by_email(&mut session, "fresh"), [ada.clone()]);
    assert_eq!(by_email(&mut session, "old"), []);
    session.add(user("c", "old")).unwrap();
    session.commit().unwrap();
    assert_eq!(emails(&cluster), pairs(&[("fresh", "a"), ("old", "c"), ("taken", "b")]));
    // A row without a lookup's value is written on its own shard alone.
    ada.visits = 9;
    session.update(&mut ada).unwrap();
    assert_eq!(cluster.asked(|| session.flush().unwrap()).1, ["a"]);
    // Two values of one row, of which one becomes NULL.
    ada.phone = Some(5);
    session.update(&mut ada).unwrap();
    let found = session.one(User::select().filter(User::PHONE.eq(5))).unwrap();
    assert_eq!(found.email, "fresh");
    ada.phone = None;
    session.update(&mut ada).unwrap();
    assert_eq!(session.all(User::select().filter(User::PHONE.eq(5))).unwrap(), []);
}

fn entries_stay_right_after_changes_by_another_session(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    let mut mine = session.add(user("a", "first")).unwrap();
    session.commit().unwrap();
    let mut other = cluster.session();
    let mut theirs = by_email(&mut other, "first").remove(0);
    theirs.email = "second".into();
    other.update(&mut theirs).unwrap();
    other.add(user("a", "first")).unwrap();
    other.commit().unwrap();
    mine.email = "third".into();
    session.update(&mut mine).unwrap();
    session.commit().unwrap();
    assert_eq!(emails(&cluster), pairs(&[("first", "a"), ("third", "a")]));
    theirs.visits = 1;
    other.delete(&theirs).unwrap();
    other.commit().unwrap();
    assert_eq!(emails(&cluster), pairs(&[("first", "a")]));
}

fn a_removed_row_frees_its_values(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    let users: Vec<NewUser> = (0..30).map(|n| user(LETTERS[n % 3], &format!("user {n}"))).collect();
    let stored = session.add_all(users.clone()).unwrap();
    session.commit().unwrap();
    session.delete(&stored[0]).unwrap();
    assert_eq!(by_email(&mut session, "user 0"), []);
    let some = User::delete().filter(User::EMAIL.is_in(["user 1", "user 2", "nobody"]));
    assert_eq!(session.execute(some).unwrap(), 2);
    assert_eq!(session.execute(User::delete().filter(User::REGION.eq("b"))).unwrap(), 9);
    session.commit().unwrap();
    let left = (3..30).filter(|n| n % 3 != 1).map(|n| (format!("user {n}"), LETTERS[n % 3].to_owned()));
    let mut left: Vec<_> = left.collect();
    left.sort();
    assert_eq!(emails(&cluster), left);
    // A row that waits is removed with its entry, and a delete that fails removes none.
    session.add(user("a", "waits")).unwrap();
    assert_eq!(session.execute(User::delete().filter(User::EMAIL.eq("waits"))).unwrap(), 1);
    let parent = session.one(User::select().filter(User::EMAIL.eq("user 3"))).unwrap();
    session.add(NewDevice { user: parent.link(), serial: "s".into() }).unwrap();
    session.commit().unwrap();
    assert_error(session.execute(User::delete().all_shards()), ErrorKind::ForeignKey, &["users"]);
    assert_error(session.delete(&parent), ErrorKind::ForeignKey, &["users"]);
    session.commit().unwrap();
    assert_eq!(emails(&cluster), left);
    let devices = entries(&cluster, "sharded_lookup_devices_serial");
    assert_eq!(devices, pairs(&[("s", parent.shard().name())]));
}

fn saved_rows_have_entries(backend: &Backend) {
    let cluster = cluster(backend);
    let logins = || entries(&cluster, "sharded_lookup_accounts_login");
    let account = |id: &str, login: &str| Account { id: id.into(), login: login.into() };
    let mut session = cluster.session();
    session.save(account("a", "one")).unwrap();
    session.save(account("b", "two")).unwrap();
    session.commit().unwrap();
    assert_eq!(logins(), pairs(&[("one", "a"), ("two", "b")]));
    session.save(account("a", "three")).unwrap();
    session.save(account("b", "two")).unwrap();
    assert_error(session.save(account("c", "three")), ErrorKind::Unique, &["login"]);
    session.commit().unwrap();
    assert_eq!(logins(), pairs(&[("three", "a"), ("two", "b")]));
    assert_eq!(session.one(Account::select().all_shards().count()).unwrap(), 2);
}

fn a_collation_holds_for_its_lookup(backend: &Backend) {
    let cluster = backend.create::<Nickname>(&LETTERS);
    let nickname = |id: &str, nickname: &str| Nickname { id: id.into(), nickname: nickname.into() };
    let mut session = cluster.session();
    session.add(nickname("a", "Ada")).unwrap();
    session.commit().unwrap();
    session.add(nickname("b", "aDA")).unwrap();
    assert_error(session.flush(), ErrorKind::Unique, &["nickname"]);
    let found = session.one(Nickname::select().filter(Nickname::NICKNAME.eq("ADA"))).unwrap();
    assert_eq!(found.nickname, "Ada");
    let found = Nickname::select().filter(Nickname::NICKNAME.is_in(["ADA", "ada", "bob"]));
    assert_eq!(session.all(found).unwrap().len(), 1);
    // Another spelling is the same value.
    let mut ada = session.get::<Nickname>("a".to_owned()).unwrap().unwrap();
    ada.nickname = "ADA".into();
    session.update(&mut ada).unwrap();
    session.commit().unwrap();
    assert_eq!(entries(&cluster, "sharded_lookup_nicknames_nickname"), pairs(&[("ada", "a")]));
}

fn null_has_no_entry(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    session.add_all([user("a", "x"), user("b", "y")]).unwrap();
    session.commit().unwrap();
    assert_eq!(session.all(User::select().filter(User::PHONE.is_null()).all_shards()).unwrap().len(), 2);
    session.add(NewUser { phone: Some(7), ..user("a", "z") }).unwrap();
    session.add(NewUser { phone: Some(7), ..user("b", "w") }).unwrap();
    assert_error(session.commit(), ErrorKind::Unique, &["users", "phone"]);
}

fn r32_counted_ids_and_their_entries_are_one_statement(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    let parents = session.add_all(LETTERS.map(|region| user(region, region))).unwrap();
    session.commit().unwrap();
    let devices = |serials: [&str; 3]| -> Vec<NewDevice> {
        let each = parents.iter().zip(serials);
        each.map(|(user, serial)| NewDevice { user: user.link(), serial: serial.into() }).collect()
    };
    session.add_all(devices(["1", "2", "3"])).unwrap();
    assert_error(session.add_all(devices(["4", "5", "2"])), ErrorKind::Unique, &["devices", "serial"]);
    session.commit().unwrap();
    assert_eq!(
        entries(&cluster, "sharded_lookup_devices_serial"),
        pairs(&[("1", "a"), ("2", "b"), ("3", "c")])
    );
    assert_eq!(session.one(Device::select().all_shards().count()).unwrap(), 3);
    let found = session.one(Device::select().filter(Device::SERIAL.eq("2"))).unwrap();
    assert_eq!(found.shard().name(), "b");
}

fn r33_savepoints_undo_entries(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    let mut ada = session.add(user("a", "ada")).unwrap();
    let undone = session.savepoint(|session| {
        ada.email = "other".into();
        session.update(&mut ada)?;
        session.add(user("b", "ada"))?;
        session.flush()?;
        session.add(user("c", "other"))?;
        session.flush()
    });
    assert_error(undone, ErrorKind::Unique, &["users", "email"]);
    session.commit().unwrap();
    assert_eq!(emails(&cluster), pairs(&[("ada", "a")]));
}

fn r11_rows_that_move_are_found_where_they_are(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    let mut ada = session.add(NewUser { phone: Some(1), ..user("a", "ada") }).unwrap();
    session.add(user("b", "bob")).unwrap();
    for serial in ["x", "y"] {
        session.add(NewDevice { user: ada.link(), serial: serial.into() }).unwrap();
    }
    session.commit().unwrap();
    session.relocate(&mut ada, |user| user.region = "c".into()).unwrap();
    session.commit().unwrap();
    assert_eq!(emails(&cluster), pairs(&[("ada", "c"), ("bob", "b")]));
    assert_eq!(entries(&cluster, "sharded_lookup_devices_serial"), pairs(&[("x", "c"), ("y", "c")]));
    assert_eq!(session.one(User::select().filter(User::PHONE.eq(1))).unwrap().shard().name(), "c");
    // With another value, moving and staying.
    let taken = session.relocate(&mut ada, |user| (user.region, user.email) = ("b".into(), "bob".into()));
    assert_error(taken, ErrorKind::Unique, &["users", "email"]);
    session.relocate(&mut ada, |user| (user.region, user.email) = ("b".into(), "eve".into())).unwrap();
    session.relocate(&mut ada, |user| user.phone = Some(2)).unwrap();
    session.commit().unwrap();
    assert_eq!(emails(&cluster), pairs(&[("bob", "b"), ("eve", "b")]));
    assert_eq!(entries(&cluster, "sharded_lookup_devices_serial"), pairs(&[("x", "b"), ("y", "b")]));
    assert_eq!(session.all(User::select().filter(User::PHONE.eq(1))).unwrap(), []);
    assert_eq!(session.one(User::select().filter(User::PHONE.eq(2))).unwrap().email, "eve");
}

fn r34_a_row_beside_its_entry_is_one_shards_unit(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    let (email, other) = (text_on("b", "x"), text_on("b", "y"));
    let (_, asked) = cluster.asked(|| {
        let mut ada = session.add(user("b", &email)).unwrap();
        session.commit().unwrap();
        ada.email = other.clone();
        session.update(&mut ada).unwrap();
        session.commit().unwrap();
        session.delete(&ada).unwrap();
        session.commit().unwrap();
    });
    assert_eq!(asked, ["b"]);
}

/// Removes rows, and nothing else, as another program would.
pub fn remove_behind(cluster: &Watched, shard: &str) {
    let mut session = cluster.session();
    session.execute(Sql::new("DELETE FROM {users}").on_shard(shard)).unwrap();
    session.commit().unwrap();
}

/// All entries without a row that are in a batch's way are removed, and none if the batch fails.
fn several_entries_without_a_row_are_replaced(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    session
        .add_all([user("a", "first"), user("b", "second"), user("c", "third"), user("c", "kept")])
        .unwrap();
    session.commit().unwrap();
    remove_behind(&cluster, "a");
    remove_behind(&cluster, "b");
    session.add_all([user("a", "first"), user("c", "second"), user("b", "kept")]).unwrap();
    assert_error(session.flush(), ErrorKind::Unique, &["shard `b`", "email"]);
    session.rollback();
    assert_eq!(emails(&cluster).len(), 4);
    session.add_all([user("b", "first"), user("c", "second"), user("a", "new")]).unwrap();
    session.commit().unwrap();
    let all = [("first", "b"), ("kept", "c"), ("new", "a"), ("second", "c"), ("third", "c")];
    assert_eq!(emails(&cluster), pairs(&all));
    assert!(cluster.verify().unwrap().is_sound());
}

/// W10: the value is not blocked for ever.
fn an_entry_without_a_row_is_replaced(backend: &Backend) {
    let cluster = cluster(backend);
    for region in LETTERS {
        let mut session = cluster.session();
        session.add(user(region, "wanted")).unwrap();
        session.commit().unwrap();
        remove_behind(&cluster, region);
        // The row that replaces it is added, on its own or with others.
        session.add(user("b", "before")).unwrap();
        session.add_all([user("a", "wanted"), user("c", "after")]).unwrap();
        session.commit().unwrap();
        assert_eq!(emails(&cluster), pairs(&[("after", "c"), ("before", "b"), ("wanted", "a")]));
        // Or it is changed to have the value.
        remove_behind(&cluster, "a");
        let mut other = session.one(User::select().filter(User::EMAIL.eq("before"))).unwrap();
        other.email = "wanted".into();
        session.update(&mut other).unwrap();
        session.commit().unwrap();
        assert_eq!(emails(&cluster), pairs(&[("after", "c"), ("wanted", "b")]));
        assert!(cluster.verify().unwrap().is_sound());
        session.execute(User::delete().all_shards()).unwrap();
        session.commit().unwrap();
        assert_eq!(emails(&cluster), []);
    }
}

/// W10, with ids that a shard counts, and with rows that are saved.
fn an_entry_without_a_row_is_replaced_whatever_the_id(backend: &Backend) {
    let cluster = cluster(backend);
    let mut session = cluster.session();
    let ada = session.add(user("a", "ada")).unwrap();
    session.add(NewDevice { user: ada.link(), serial: "s".into() }).unwrap();
    session.save(Account { id: "a".into(), login: "l".into() }).unwrap();
    session.commit().unwrap();
    session.execute(Sql::new("DELETE FROM {devices}").on_shard("a")).unwrap();
    session.execute(Sql::new("DELETE FROM {accounts}").on_shard("a")).unwrap();
    session.commit().unwrap();
    session.add(NewDevice { user: ada.link(), serial: "s".into() }).unwrap();
    session.save(Account { id: "c".into(), login: "l".into() }).unwrap();
    session.commit().unwrap();
    assert_eq!(entries(&cluster, "sharded_lookup_accounts_login"), pairs(&[("l", "c")]));
    assert!(cluster.verify().unwrap().is_sound());
    // A row that is not committed has its value.
    session.add(user("b", "new")).unwrap();
    session.flush().unwrap();
    session.add(user("c", "new")).unwrap();
    assert_error(session.flush(), ErrorKind::Unique, &["users", "email"]);
    session.commit().unwrap();
    assert_eq!(emails(&cluster), pairs(&[("ada", "a"), ("new", "b")]));
}

/// W10: a session that may write one shard only cannot check the others.
fn an_entry_without_a_row_that_stays_is_explained(backend: &Backend) {
    let cluster = cluster(backend);
    let email = text_on("a", "x");
    let mut session = cluster.session();
    session.add(user("a", &email)).unwrap();
    session.commit().unwrap();
    remove_behind(&cluster, "a");
    let mut pinned = cluster.session_on_shard("a").unwrap();
    pinned.add(user("a", &email)).unwrap();
    assert_error(pinned.flush(), ErrorKind::Unique, &["email", "`Cluster::verify`", "`Cluster::repair`"]);
    pinned.rollback();
    assert!(cluster.repair().unwrap().is_sound());
    pinned.add(user("a", &email)).unwrap();
    pinned.commit().unwrap();
}

on_every_mixture!(
    an_entry_without_a_row_is_replaced,
    several_entries_without_a_row_are_replaced,
    an_entry_without_a_row_is_replaced_whatever_the_id,
    an_entry_without_a_row_that_stays_is_explained,
    values_are_unique_over_the_cluster,
    one_of_many_threads_gets_a_value,
    a_value_that_changes_is_found_and_the_old_one_is_free,
    entries_stay_right_after_changes_by_another_session,
    a_removed_row_frees_its_values,
    saved_rows_have_entries,
    null_has_no_entry,
    r32_counted_ids_and_their_entries_are_one_statement,
    r33_savepoints_undo_entries,
    r11_rows_that_move_are_found_where_they_are,
    r34_a_row_beside_its_entry_is_one_shards_unit;
    only SQLite: a_collation_holds_for_its_lookup,
);
