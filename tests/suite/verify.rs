//! Lookup entries are compared with their rows, and repaired.

use std::sync::atomic::{AtomicBool, Ordering};

use shard_runtime::uuid::Uuid;
use shard_runtime::{
    ErrorKind, Sharded, Sql, Value,
    verify::{LookupProblemKind, VerifyReport},
};

use crate::backend::{Backend, LETTERS, Watched, assert_error};
use crate::lookup::{self, Account, User, by_email, emails, home, pairs, text_on, user};

/// The users as they were before their values had lookups.
#[derive(Sharded, Clone, Debug)]
#[sharded(table = "users")]
struct Plain {
    #[id(sequence)]
    id: i64,
    #[shard_key(list("a" => "a", "b" => "b", "c" => "c"))]
    region: String,
    email: String,
    phone: Option<i64>,
    visits: i64,
}

/// Values of every kind that has a lookup.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "documents")]
struct Document {
    #[id]
    #[shard_key(hash)]
    id: i64,
    #[lookup]
    token: Uuid,
    #[lookup]
    digest: Vec<u8>,
    #[lookup]
    number: u32,
}

/// Runs SQL on one shard behind the lookups' back.
fn behind(cluster: &Watched, shard: &str, sql: &str) {
    let mut session = cluster.session();
    session.execute(Sql::new(sql).on_shard(shard)).unwrap();
    session.commit().unwrap();
}

/// The problems: value, kind, shards.
fn found(verified: &VerifyReport) -> Vec<(String, LookupProblemKind, String)> {
    let drifts = verified.lookup_problems().iter();
    drifts.map(|drift| (drift.value.to_string(), drift.kind, drift.shards.join(" "))).collect()
}

fn verify_finds_no_fault_in_rows_of_sessions(backend: &Backend) {
    let cluster = lookup::cluster(backend);
    let mut session = cluster.session();
    session.add_all((0..40).map(|n| user(LETTERS[n % 3], &format!("user {n}")))).unwrap();
    session.save(Account { id: "a".into(), login: "Ada".into() }).unwrap();
    session.execute(User::delete().filter(User::REGION.eq("b"))).unwrap();
    session.commit().unwrap();
    let verified = cluster.verify().unwrap();
    assert_eq!(verified, VerifyReport::default());
    assert!(verified.is_sound());
    assert_eq!(cluster.repair().unwrap().found(), 0);
}

fn every_drift_is_found_and_repaired(backend: &Backend) {
    let cluster = lookup::cluster(backend);
    let mut session = cluster.session();
    for email in ["gone", "lost", "misled", "stray", "fine"] {
        session.add(user("a", email)).unwrap();
    }
    session.commit().unwrap();
    let entries = "{sharded_lookup_users_email}";
    behind(&cluster, "a", "DELETE FROM {users} WHERE email = 'gone'");
    behind(&cluster, home("lost"), &format!("DELETE FROM {entries} WHERE value = 'lost'"));
    behind(
        &cluster,
        home("misled"),
        &format!("UPDATE {entries} SET shard = 'nowhere' WHERE value = 'misled'"),
    );
    let elsewhere = LETTERS.into_iter().find(|shard| *shard != home("stray")).unwrap();
    behind(&cluster, elsewhere, &format!("INSERT INTO {entries} VALUES ('stray', 'b')"));
    let expected = [
        ("gone".to_owned(), LookupProblemKind::StrayEntry, home("gone").to_owned()),
        ("lost".to_owned(), LookupProblemKind::MissingEntry, "a".to_owned()),
        ("misled".to_owned(), LookupProblemKind::WrongShard, "a".to_owned()),
        ("stray".to_owned(), LookupProblemKind::StrayEntry, elsewhere.to_owned()),
    ];
    for _ in 0..2 {
        let verified = cluster.verify().unwrap(); // changes nothing
        assert_eq!(found(&verified), expected);
        assert_eq!((verified.found(), verified.repaired(), verified.is_sound()), (4, 0, false));
    }
    let repaired = cluster.repair().unwrap();
    assert_eq!((found(&repaired), repaired.repaired(), repaired.is_sound()), (expected.into(), 4, true));
    let lost = &repaired.lookup_problems()[1];
    assert_eq!((lost.table, lost.column, &lost.value), ("users", "email", &Value::Text("lost".into())));
    assert_eq!(lost.to_string(), "users.email = lost: a row's value has no entry (a), repaired");
    assert_eq!(cluster.verify().unwrap().found(), 0);
    assert_eq!(emails(&cluster), pairs(&[("fine", "a"), ("lost", "a"), ("misled", "a"), ("stray", "a")]));
    for email in ["lost", "misled"] {
        assert_eq!(by_email(&mut cluster.session(), email).len(), 1);
    }
}

fn one_value_of_several_rows_stays_reported(backend: &Backend) {
    let cluster = lookup::cluster(backend);
    let mut session = cluster.session();
    session.add_all([user("a", "one"), user("b", "two"), user("b", "three")]).unwrap();
    session.commit().unwrap();
    behind(&cluster, "b", "UPDATE {users} SET email = 'one' WHERE email = 'two'");
    behind(&cluster, "b", "UPDATE {users} SET phone = 7");
    for verified in [cluster.verify().unwrap(), cluster.repair().unwrap(), cluster.verify().unwrap()] {
        let several: Vec<_> = verified
            .lookup_problems()
            .iter()
            .filter(|drift| drift.kind == LookupProblemKind::SeveralRows)
            .collect();
        let said: Vec<_> = several.iter().map(|drift| (drift.column, drift.shards.join(" "))).collect();
        assert_eq!(said, [("email", "a b".to_owned()), ("phone", "b".to_owned())]);
        assert!(several.iter().all(|drift| !drift.repaired));
        assert!(!verified.is_sound());
    }
    // `two` was an entry without a row, and is repaired.
    assert_eq!(emails(&cluster), pairs(&[("one", "a"), ("three", "b")]));
}

fn portions_hide_nothing(backend: &Backend) {
    let cluster = lookup::cluster(backend);
    let mut session = cluster.session();
    let email = |n: usize| format!("user {n:05}");
    session.add_all((0..2_600).map(|n| user(if n < 2_300 { "a" } else { "c" }, &email(n)))).unwrap();
    session.commit().unwrap();
    let wrong = [0, 333, 999, 1_000, 1_001, 2_000, 2_299, 2_300, 2_599];
    for n in wrong {
        behind(
            &cluster,
            home(&email(n)),
            &format!("DELETE FROM {{sharded_lookup_users_email}} WHERE value = '{}'", email(n)),
        );
    }
    behind(&cluster, home("a stray"), "INSERT INTO {sharded_lookup_users_email} VALUES ('a stray', 'a')");
    behind(&cluster, home("zz"), "INSERT INTO {sharded_lookup_users_email} VALUES ('zz', 'c')");
    let verified = cluster.repair().unwrap();
    let mut expected = vec!["a stray".to_owned()];
    expected.extend(wrong.map(email));
    expected.push("zz".to_owned());
    assert_eq!(found(&verified).into_iter().map(|(value, ..)| value).collect::<Vec<_>>(), expected);
    assert_eq!(cluster.verify().unwrap().found(), 0);
    assert_eq!(emails(&cluster).len(), 2_600);
}

fn values_of_every_kind_are_looked_up_and_verified(backend: &Backend) {
    let cluster = backend.create::<Document>(&LETTERS);
    let document = |id: i64| Document {
        id,
        token: Uuid::from_u128(0x1234_5678 * id as u128),
        digest: vec![id as u8; 5],
        number: 4_000_000_000 + id as u32,
    };
    let mut session = cluster.session();
    session.add_all((0..30).map(document)).unwrap();
    session.commit().unwrap();
    assert_eq!(cluster.verify().unwrap().found(), 0);
    for id in 0..30 {
        let wanted = document(id);
        let by_token = session.one(Document::select().filter(Document::TOKEN.eq(wanted.token))).unwrap();
        let by_digest = Document::select().filter(Document::DIGEST.eq(wanted.digest.clone()));
        let by_number =
            session.one(Document::select().filter(Document::NUMBER.is_in([wanted.number]))).unwrap();
        assert_eq!((&*by_token, &*by_number, &*session.one(by_digest).unwrap()), (&wanted, &wanted, &wanted));
    }
    let (_, asked) = cluster.asked(|| {
        let mut session = cluster.session();
        session.one(Document::select().filter(Document::TOKEN.eq(document(7).token))).unwrap()
    });
    assert!(asked.len() < 3, "{asked:?}");
    session.rollback();
    for column in ["token", "digest", "number"] {
        let sql = format!("DELETE FROM {{sharded_lookup_documents_{column}}}");
        LETTERS.iter().for_each(|shard| behind(&cluster, shard, &sql));
    }
    assert_eq!(session.all(Document::select().filter(Document::NUMBER.eq(4_000_000_001))).unwrap(), []);
    session.rollback();
    assert_eq!(cluster.repair().unwrap().repaired(), 90);
    assert_eq!(cluster.verify().unwrap().found(), 0);
    assert_eq!(session.one(Document::select().filter(Document::NUMBER.eq(4_000_000_001))).unwrap().id, 1);
}

fn r41_rows_that_were_there_before_get_entries(backend: &Backend) {
    let before = backend.create::<Plain>(&LETTERS);
    let mut session = before.session();
    let plain = |n: usize| NewPlain {
        region: LETTERS[n % 3].into(),
        email: format!("user {n}"),
        phone: n.is_multiple_of(2).then_some(n as i64),
        visits: 0,
    };
    session.add_all((0..12).map(plain)).unwrap();
    session.commit().unwrap();
    drop((session, before));
    let texts = ["users", "no index `", "users(email)", "run `create`"];
    assert_error(backend.open::<User>(&LETTERS), ErrorKind::Schema, &texts);
    let cluster = backend.create::<User>(&LETTERS);
    let found = by_email(&mut cluster.session(), "user 5");
    assert_eq!(found[0].region, LETTERS[2]);
    assert_eq!(cluster.verify().unwrap().found(), 0);
    // A program without the lookups opens the cluster as before.
    let old = backend.open::<Plain>(&LETTERS).unwrap();
    assert_eq!(old.session().one(Plain::select().all_shards().count()).unwrap(), 12);
}

fn r48_entries_stay_where_they_are_if_a_shard_is_added(backend: &Backend) {
    drop(backend.create::<Plain>(&LETTERS));
    drop(backend.builder(&["a", "b", "c", "d"]).create::<Plain>().unwrap());
    // The lookup is new, and the shard `d` is spare.
    let cluster = backend.create::<User>(&["a", "b", "c", "d"]);
    let mut session = cluster.session();
    session.add_all((0..12).map(|place| user(LETTERS[place % 3], &format!("user {place}")))).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    let cluster = backend.create::<User>(&["a", "b", "c", "d", "e"]);
    for place in 0..12 {
        assert_eq!(by_email(&mut cluster.session(), &format!("user {place}")).len(), 1);
    }
    assert!(cluster.verify().unwrap().is_sound());
    for shard in ["d", "e"] {
        let entries = "sharded_lookup_users_email";
        assert_eq!(backend.peek::<i64>(shard, entries, "SELECT count(*) FROM {table}"), 0);
    }
}

fn verifying_is_safe_beside_writers(backend: &Backend) {
    backend.waits(500); // who locks shards in other orders is in the others' way, and tries again
    let cluster = lookup::cluster(backend);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer: usize| {
                let cluster = &cluster;
                scope.spawn(move || {
                    for round in 0..25 {
                        let email = format!("writer {writer} round {round}");
                        let moved = cluster.transaction(|session| {
                            let mut row = session.add(user(LETTERS[round % 3], &email))?;
                            row.email.push_str(" changed");
                            session.update(&mut row)?;
                            session.relocate(&mut row, |row| {
                                row.region = LETTERS[(round + writer) % 3].into()
                            })?;
                            Ok(row)
                        });
                        let mut row = moved.unwrap();
                        cluster
                            .transaction(|session| match round % 2 {
                                0 => session.delete(&row),
                                _ => {
                                    row.email = format!("kept {writer} {round}");
                                    session.update(&mut row)
                                }
                            })
                            .unwrap();
                    }
                })
            })
            .collect();
        let checker = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(cluster.verify().unwrap().lookup_problems(), []);
                assert_eq!(cluster.repair().unwrap().lookup_problems(), []);
            }
        });
        let ends: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        checker.join().unwrap();
        ends.into_iter().for_each(|end| end.unwrap());
    });
    assert_eq!(emails(&cluster).len(), 24);
    assert_eq!(cluster.verify().unwrap().found(), 0);
}

fn r44_a_shard_that_stays_locked_is_named(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = lookup::cluster(backend);
    let email = text_on("b", "x");
    behind(&cluster, "b", &format!("INSERT INTO {{sharded_lookup_users_email}} VALUES ('{email}', 'a')"));
    let raw = backend.raw("a");
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_error(cluster.repair(), ErrorKind::Busy, &["shard `a`"]);
    raw.execute_batch("ROLLBACK").unwrap();
    assert_eq!(cluster.repair().unwrap().repaired(), 1);
}

on_every_dialect! {
    verify_finds_no_fault_in_rows_of_sessions,
    every_drift_is_found_and_repaired,
    one_value_of_several_rows_stays_reported,
    portions_hide_nothing,
    values_of_every_kind_are_looked_up_and_verified;
    only on_disk:
        r41_rows_that_were_there_before_get_entries,
        r48_entries_stay_where_they_are_if_a_shard_is_added,
        verifying_is_safe_beside_writers,
        r44_a_shard_that_stays_locked_is_named,
}
