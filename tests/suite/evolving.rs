//! A model that gets fields, while the old and the new program run: R41, R52.

use shard_runtime::{ErrorKind, Field, Sharded};

use crate::backend::{Backend, LETTERS, assert_error};

on_every_backend! {
    r52_defaults_are_in_the_database,
    r52_a_default_that_is_no_value_is_refused;
    only lasting:
        r52_an_old_program_adds_rows_with_the_defaults,
        r52_a_new_program_waits_for_its_columns,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "users")]
struct OldUser {
    #[id]
    #[shard_key(hash)]
    id: i64,
    name: String,
}

#[derive(Field, Clone, Copy, Debug, PartialEq)]
enum Plan {
    #[field("free of charge")]
    Free,
    Paid,
}

/// The same table in a later release.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "users")]
struct User {
    #[id]
    #[shard_key(hash)]
    id: i64,
    name: String,
    nickname: Option<String>,
    #[sharded(default = -7)]
    level: i32,
    #[sharded(default = 1.0)]
    weight: f64,
    #[sharded(default = true)]
    is_active: bool,
    #[sharded(default = "free of charge")]
    plan: Plan,
    #[sharded(default = "it's")]
    note: String,
    #[sharded(default = 5)]
    score: Option<i64>,
}

fn old(id: i64) -> User {
    User {
        id,
        name: format!("user {id}"),
        nickname: None,
        level: -7,
        weight: 1.0,
        is_active: true,
        plan: Plan::Free,
        note: "it's".to_owned(),
        score: Some(5),
    }
}

fn r52_defaults_are_in_the_database(backend: &Backend) {
    let cluster = backend.create::<User>(&LETTERS);
    for sql in cluster.schema_sql() {
        let statement = sql.to_string();
        let (truth, database) = match backend.is_postgres(&sql.shard) {
            true => ("true", "postgresql"),
            false => ("1", "sqlite"),
        };
        assert_eq!(sql.database, database);
        for text in ["DEFAULT -7", "DEFAULT 1.0", &format!("DEFAULT {truth}"), "DEFAULT 'it''s'"] {
            assert!(statement.contains(text), "{text}: {statement}");
        }
    }
    // A program of the earlier release.
    let mut session = cluster.session();
    let sql = "INSERT INTO {users} (id, name) VALUES (1, 'user 1')";
    session.execute(shard_runtime::Sql::new(sql).on_shard("a")).unwrap();
    session.add(User { level: 3, plan: Plan::Paid, ..old(2) }).unwrap();
    let mut rows: Vec<User> =
        session.all(User::select().all_shards()).unwrap().into_iter().map(|row| (*row).clone()).collect();
    rows.sort_by_key(|row| row.id);
    assert_eq!(rows, [old(1), User { level: 3, plan: Plan::Paid, ..old(2) }]);
}

/// A default that is no variant.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "users")]
struct Wrong {
    #[id]
    #[shard_key(hash)]
    id: i64,
    #[sharded(default = "Free")]
    plan: Plan,
}

fn r52_a_default_that_is_no_value_is_refused(backend: &Backend) {
    let made = backend.builder(&LETTERS).create::<Wrong>().map(drop);
    assert_error(made, ErrorKind::Configuration, &["table `users`", "column `plan`", "`default`", "Free"]);
}

fn r52_an_old_program_adds_rows_with_the_defaults(backend: &Backend) {
    drop(backend.create::<User>(&LETTERS));
    let before = backend.open::<OldUser>(&LETTERS).unwrap();
    let mut session = before.session();
    session.add_all((0..20).map(|id| OldUser { id, name: format!("user {id}") })).unwrap();
    session.commit().unwrap();
    let after = backend.open::<User>(&LETTERS).unwrap();
    let rows = after.session().all(User::select().all_shards()).unwrap();
    assert_eq!(rows.len(), 20);
    assert!(rows.iter().all(|row| **row == old(row.id)));
}

fn r52_a_new_program_waits_for_its_columns(backend: &Backend) {
    drop(backend.create::<OldUser>(&LETTERS));
    backend.plant(&["b"], "users", "ALTER TABLE {table} ADD COLUMN nickname TEXT");
    let opened = backend.open::<User>(&LETTERS).map(drop);
    let error = opened.as_ref().unwrap_err().to_string();
    assert!(!error.contains("shard `b`, table `users`, column `nickname`"), "{error}");
    let texts = [
        "shard `a`, table `users`, column `nickname`: no such column; run `migrate`",
        "shard `b`, table `users`, column `level`: no such column; run `migrate`",
        "shard `c`, table `users`, column `plan`: no such column; run `migrate`",
        "NOT NULL DEFAULT 'free of charge'",
    ];
    assert_error(opened, ErrorKind::Schema, &texts);
}
