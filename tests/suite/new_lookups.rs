//! A `#[lookup]` that a release adds to a table with rows: `create` and `migrate` make the entries, or fail. R41, R52.

use shard_runtime::{
    Cluster, ErrorKind, Result, Session, Sharded, Sql, migrate::Migrations, verify::LookupProblemKind,
};

use crate::backend::{Backend, LETTERS, Watched, assert_error};

on_some! {
    lasting:
        r41_rows_that_are_older_than_their_lookup_get_entries,
        r41_values_that_rows_share_are_refused,
        r52_a_lookup_of_a_new_column_has_entries_after_the_steps,
        r52_steps_that_write_a_lookup_change_its_entries,
        r52_the_column_of_a_lookup_is_not_renamed,
}

/// Release 1.
mod one {
    use shard_runtime::Sharded;

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "users")]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        pub mail: String,
    }
}

/// Release 2: the column is a lookup.
mod two {
    use shard_runtime::Sharded;

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "users")]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        #[lookup]
        pub mail: String,
    }
}

/// Release 3: a new column that is a lookup.
mod three {
    use shard_runtime::Sharded;

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "users")]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        #[lookup]
        pub mail: String,
        #[lookup]
        pub slug: Option<String>,
    }
}

/// The column of the lookup has another name.
mod renamed {
    use shard_runtime::Sharded;

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "users")]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        #[lookup]
        pub email: String,
    }
}

/// The field has another name, and the column keeps its own.
mod kept {
    use shard_runtime::Sharded;

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "users")]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        #[lookup]
        #[sharded(column = "mail")]
        pub email: String,
    }
}

/// More rows than one batch of a comparison has.
const USERS: i64 = 1_500;

fn made(backend: &Backend) -> Watched {
    let cluster = backend.create::<one::User>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..USERS).map(|id| one::User { id, mail: format!("m{id}") })).unwrap();
    session.commit().unwrap();
    cluster
}

fn ids(session: &mut Session, mail: &str) -> Vec<i64> {
    let found = session.all(two::User::select().filter(two::User::MAIL.eq(mail))).unwrap();
    found.iter().map(|user| user.id).collect()
}

fn migrated(backend: &Backend, migrations: &Migrations) -> Result<()> {
    backend.builder(&LETTERS).migrate::<two::User>(migrations)?.run(|_| {}).map(drop)
}

fn is_whole(cluster: &Cluster) {
    let mut session = cluster.session();
    for id in [0, 7, USERS - 1] {
        assert_eq!(ids(&mut session, &format!("m{id}")), [id]);
    }
    let twice = session.add(two::User { id: USERS + 1, mail: "m7".to_owned() }).and_then(|_| session.flush());
    assert_error(twice, ErrorKind::Unique, &["users"]);
    session.rollback();
    assert_eq!(cluster.verify().unwrap().found(), 0);
}

fn r41_rows_that_are_older_than_their_lookup_get_entries(backend: &Backend) {
    drop(made(backend));
    is_whole(&backend.builder(&LETTERS).create::<two::User>().unwrap());
    let other = Backend::new(backend.kind);
    drop(made(&other));
    migrated(&other, &Migrations::new()).unwrap();
    is_whole(&other.open::<two::User>(&LETTERS).unwrap());
}

fn r41_values_that_rows_share_are_refused(backend: &Backend) {
    let before = made(backend);
    let rename = |id: i64, mail: &str| {
        let mut session = before.session();
        let mut user = session.get::<one::User>(id).unwrap().unwrap();
        user.mail = mail.to_owned();
        session.update(&mut user).unwrap();
        session.commit().unwrap();
    };
    // The last values in their order: more problems come before them than a report holds.
    rename(3, "z");
    rename(4, "z");
    let texts = ["table `users`, column `mail`", "1 of its values", "3 on ", "4 on ", "run `create`"];
    let refused = || backend.builder(&LETTERS).create::<two::User>().map(drop);
    assert_error(refused(), ErrorKind::Unique, &texts);
    assert_error(refused(), ErrorKind::Unique, &texts);
    assert_error(migrated(backend, &Migrations::new()), ErrorKind::Unique, &texts);
    let opened = backend.open::<two::User>(&LETTERS).map(drop);
    assert_error(opened, ErrorKind::Layout, &["table `users`, column `mail`", "run `create`"]);
    // The program that ran before runs on, and gives the rows other values.
    drop(backend.open::<one::User>(&LETTERS).unwrap());
    rename(4, "m4");
    rename(3, "m3");
    migrated(backend, &Migrations::new()).unwrap();
    is_whole(&backend.open::<two::User>(&LETTERS).unwrap());
}

fn r52_a_lookup_of_a_new_column_has_entries_after_the_steps(backend: &Backend) {
    drop(made(backend));
    drop(backend.builder(&LETTERS).create::<two::User>().unwrap());
    let sql = "UPDATE {users} SET slug = 's' || id WHERE id < 20";
    let steps = Migrations::new().step(2, "slug", |m| m.sqlite(sql).postgres(sql));
    backend.builder(&LETTERS).migrate::<three::User>(&steps).unwrap().run(|_| {}).unwrap();
    let cluster = backend.open::<three::User>(&LETTERS).unwrap();
    for id in [5, 19] {
        let by_slug = three::User::select().filter(three::User::SLUG.eq(format!("s{id}")));
        assert_eq!(cluster.session().one(by_slug).unwrap().id, id);
    }
    assert_eq!(cluster.verify().unwrap().found(), 0);
}

fn r52_steps_that_write_a_lookup_change_its_entries(backend: &Backend) {
    drop(made(backend));
    drop(backend.builder(&LETTERS).create::<two::User>().unwrap());
    // Rows that a program without the lookup adds have no entries: `repair` makes them.
    let old = backend.open::<one::User>(&LETTERS).unwrap();
    let mut session = old.session();
    session.add(one::User { id: USERS, mail: "late".to_owned() }).unwrap();
    session.commit().unwrap();
    let cluster = backend.open::<two::User>(&LETTERS).unwrap();
    let problems = cluster.repair().unwrap();
    assert_eq!(problems.lookup_problems()[0].kind, LookupProblemKind::MissingEntry);
    assert_eq!(ids(&mut cluster.session(), "late"), [USERS]);
    drop(cluster);
    let sql = "UPDATE {users} SET mail = 'x' || mail WHERE id < 100";
    let steps = Migrations::new().step(2, "mails", |m| m.sqlite(sql).postgres(sql));
    migrated(backend, &steps).unwrap();
    let cluster = backend.open::<two::User>(&LETTERS).unwrap();
    assert_eq!(ids(&mut cluster.session(), "xm42"), [42]);
    assert_eq!(cluster.verify().unwrap().found(), 0);
    let mut session = cluster.session();
    session.execute(Sql::new("UPDATE {users} SET mail = 'y' WHERE id = 1").all_shards()).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    // Nothing is read if no step has run.
    migrated(backend, &steps).unwrap();
    assert_ne!(backend.open::<two::User>(&LETTERS).unwrap().verify().unwrap().found(), 0);
}

fn r52_the_column_of_a_lookup_is_not_renamed(backend: &Backend) {
    drop(made(backend));
    drop(backend.builder(&LETTERS).create::<two::User>().unwrap());
    let steps = Migrations::new().step(2, "email", |m| m.rename(renamed::User::EMAIL, "mail"));
    let texts = ["table `users`, column `email`", "renamed from `mail`", "#[sharded(column = \"mail\")]"];
    let refused = backend.builder(&LETTERS).migrate::<renamed::User>(&steps).map(drop);
    assert_error(refused, ErrorKind::Schema, &texts);
    is_whole(&backend.open::<two::User>(&LETTERS).unwrap());
    let cluster = backend.open::<kept::User>(&LETTERS).unwrap();
    let by_email = kept::User::select().filter(kept::User::EMAIL.eq("m8"));
    assert_eq!(cluster.session().one(by_email).unwrap().id, 8);
}
