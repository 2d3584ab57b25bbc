//! Migrations: additions, numbered steps, contracts, and errors that stop them. R41, R52, R53.

use std::time::Duration;

use shard_runtime::{
    ErrorKind, Pace, Sharded, Sql,
    migrate::{Migrations, StepPhase},
};

use crate::backend::{Backend, LETTERS, assert_error};

on_some! {
    lasting:
        r52_additions_need_no_step,
        r52_impossible_migrations_are_refused_before_any_statement_runs,
        r53_steps_run_once_on_each_shard,
        r53_a_failing_shard_stops_the_migration,
        r52_two_releases_write_through_a_rename,
        r53_two_migrators_wait_for_each_other,
        r53_a_new_cluster_has_nothing_to_do,
}

/// Release 1.
pub mod one {
    use shard_runtime::{Parent, Sharded};

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "users")]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        pub name: String,
    }

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "posts", insert(derive(Clone, Debug)))]
    pub struct Post {
        #[id(auto)]
        pub id: i64,
        #[shard_parent]
        pub user: Parent<User>,
        pub text: String,
    }

    pub type Models = (User, Post);
}

/// Release 2: two fields, an index, a new model, and a field with a new name.
pub mod two {
    use shard_runtime::{Parent, Sharded, migrate::Migrations};

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "users", index(nickname), index(full_name))]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        pub full_name: String,
        pub nickname: Option<String>,
        #[sharded(default = "free")]
        pub plan: String,
    }

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "posts", insert(derive(Clone, Debug)))]
    pub struct Post {
        #[id(auto)]
        pub id: i64,
        #[shard_parent]
        pub user: Parent<User>,
        pub text: String,
    }

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "notes", insert(derive(Clone, Debug)))]
    pub struct Note {
        #[id(sequence)]
        pub id: i64,
        #[shard_parent]
        pub user: Parent<User>,
        pub text: String,
    }

    pub type Models = (User, Post, Note);

    pub fn migrations() -> Migrations {
        Migrations::new()
            .step(2, "nickname", |m| {
                m.backfill::<User>(|user| {
                    if user.full_name != "by old" {
                        user.nickname.get_or_insert(format!("nick {}", user.full_name));
                    }
                })
            })
            .step(3, "nickname is required", |m| m.require(User::NICKNAME))
            .step(4, "full name", |m| m.rename(User::FULL_NAME, "name"))
    }
}

/// The fields that are only added.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "users", index(nickname), unique(id, name))]
struct Added {
    #[id]
    #[shard_key(hash)]
    id: i64,
    name: String,
    nickname: Option<String>,
    #[sharded(default = 7)]
    level: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "teams")]
struct Team {
    #[id]
    #[shard_key(hash)]
    id: i64,
}

pub const USERS: i64 = 60;

pub fn made(backend: &Backend) {
    let cluster = backend.create::<one::Models>(&LETTERS);
    let mut session = cluster.session();
    let users: Vec<_> =
        session.add_all((0..USERS).map(|id| one::User { id, name: format!("user {id}") })).unwrap();
    let post = |text: &str| {
        users.iter().map(|user| one::NewPost { user: user.link(), text: text.to_owned() }).collect::<Vec<_>>()
    };
    session.add_all(post("first")).unwrap();
    session.add_all(post("second")).unwrap();
    session.commit().unwrap();
}

fn r52_additions_need_no_step(backend: &Backend) {
    made(backend);
    let before = backend.open::<one::User>(&LETTERS).unwrap();
    assert_error(backend.open::<(Added, Team)>(&LETTERS).map(drop), ErrorKind::Schema, &["table `teams`"]);
    assert_error(
        backend.open::<Added>(&LETTERS).map(drop),
        ErrorKind::Schema,
        &["nickname", "run `migrate`"],
    );
    let migrate = || backend.builder(&LETTERS).migrate::<(Added, Team)>(&Migrations::new()).unwrap();
    let migration = migrate();
    let plan = migration.plan().to_string();
    for shard in LETTERS {
        assert!(plan.contains(&format!("-- shard {shard}\n")), "{plan}");
    }
    let concurrently = if backend.is_postgres("b") { " CONCURRENTLY" } else { "" };
    let texts = [
        "ADD COLUMN \"level\"",
        "DEFAULT 7;",
        "CREATE TABLE IF NOT EXISTS",
        &format!("INDEX{concurrently} IF NOT EXISTS"),
    ];
    for text in texts {
        assert!(plan.contains(text), "{text}: {plan}");
    }
    assert_eq!(migration.plan().shards(), LETTERS);
    let told = std::sync::Mutex::new(Vec::new());
    let status = migration.run(|progress| told.lock().unwrap().push(progress.to_string())).unwrap();
    assert_eq!(status.shards.len(), 3);
    let told = told.into_inner().unwrap();
    assert!(told.iter().any(|line| line.starts_with("c: step 0") && line.contains("nickname")), "{told:?}");
    assert!(migrate().plan().is_empty(), "{}", migrate().plan());

    // The program of the earlier release runs on, and is started again.
    let mut session = before.session();
    session.add(one::User { id: USERS, name: "late".to_owned() }).unwrap();
    session.commit().unwrap();
    let cluster = backend.open::<(Added, Team)>(&LETTERS).unwrap();
    let users = cluster.session().all(Added::select().all_shards()).unwrap();
    assert_eq!(users.len() as i64, USERS + 1);
    assert!(users.iter().all(|user| user.level == 7 && user.nickname.is_none()));
    let mut session = cluster.session();
    session.add(Added { id: 1000, name: "new".into(), nickname: Some("n".into()), level: 1 }).unwrap();
    session.add(Team { id: 5 }).unwrap();
    session.commit().unwrap();
    backend.open::<one::Models>(&LETTERS).unwrap();
}

/// Neither an `Option` nor a default; and another type.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "users")]
struct Refused {
    #[id]
    #[shard_key(hash)]
    id: i64,
    name: String,
    level: i64,
    note: Option<String>,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "users")]
struct OfAnotherType {
    #[id]
    #[shard_key(hash)]
    id: i64,
    name: i64,
}

fn r52_impossible_migrations_are_refused_before_any_statement_runs(backend: &Backend) {
    made(backend);
    let migrated = backend.builder(&LETTERS).migrate::<Refused>(&Migrations::new()).map(drop);
    let texts = [
        "shard `a`, table `users`, column `level`",
        "shard `c`, table `users`, column `level`: no such column; give the field a `default` or make it an `Option`",
    ];
    let text = migrated.as_ref().unwrap_err().to_string();
    assert!(!text.contains("`note`"), "{text}");
    assert_error(migrated, ErrorKind::Schema, &texts);
    let migrated = backend.builder(&LETTERS).migrate::<OfAnotherType>(&Migrations::new()).map(drop);
    assert_error(migrated, ErrorKind::Schema, &["shard `b`, table `users`, column `name`: expected type"]);
    let wrong =
        |migrations: Migrations| backend.builder(&LETTERS).migrate::<one::User>(&migrations).map(drop);
    assert_error(
        wrong(Migrations::new().step(1, "x", |m| m.sqlite(""))),
        ErrorKind::Configuration,
        &["step 1"],
    );
    assert_error(
        wrong(Migrations::new().step(2, "x", |m| m)),
        ErrorKind::Configuration,
        &["step 2 `x`", "nothing"],
    );
    let twice = Migrations::new().step(2, "x", |m| m.finished()).step(2, "y", |m| m.finished());
    assert_error(wrong(twice), ErrorKind::Configuration, &["step 2 `y`", "ascending"]);
    backend.open::<one::Models>(&LETTERS).unwrap();
}

fn r53_steps_run_once_on_each_shard(backend: &Backend) {
    made(backend);
    let migrations = |append: &'static str| {
        Migrations::new().step(2, "names", move |m| {
            m.backfill::<one::User>(move |user| user.name.push_str(append))
                .sqlite("UPDATE {posts} SET text = text || '!'")
                .postgres("UPDATE {posts} SET text = text || '!'")
        })
    };
    let migrate = || backend.builder(&LETTERS).migrate::<one::Models>(&migrations("+")).unwrap();
    let status = migrate().pace(Pace::rows(7)).at_once(3).run(|_| {}).unwrap();
    assert_eq!(status.shards.iter().map(|shard| shard.version).collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(
        status.shards.iter().flat_map(|shard| &shard.steps).map(|step| step.rows).sum::<u64>(),
        USERS as u64
    );
    assert_eq!(migrate().run(|_| {}).unwrap(), status, "nothing is done twice");
    assert_eq!(backend.open::<one::Models>(&LETTERS).unwrap().migration_status().unwrap(), status);
    let text = status.to_string();
    assert!(text.lines().next().unwrap().contains("version") && text.contains("2 names"), "{text}");
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["shards"][0]["steps"][0]["phase"], "done");
    let cluster = backend.open::<one::Models>(&LETTERS).unwrap();
    let mut session = cluster.session();
    for user in session.all(one::User::select().all_shards()).unwrap() {
        assert_eq!(user.name, format!("user {}+", user.id));
    }
    let posts = session.all(one::Post::select().all_shards()).unwrap();
    assert!(posts.iter().all(|post| post.text == "first!" || post.text == "second!"));
    // A number that was given twice, and a step that this program does not have.
    let other = Migrations::new().step(2, "other", |m| m.finished());
    let refused = backend.builder(&LETTERS).migrate::<one::Models>(&other).map(drop);
    assert_error(refused, ErrorKind::Schema, &["shard `a`", "step 2", "`names`", "`other`"]);
    let refused = backend.builder(&LETTERS).migrate::<one::Models>(&Migrations::new()).map(drop);
    assert_error(refused, ErrorKind::Schema, &["shard `a`", "step 2 `names`", "newest release"]);
    let never = migrations("+").step(3, "never run", |m| m.finished());
    let refused = backend.builder(&LETTERS).migrate::<one::Models>(&never).unwrap().run(|_| {}).map(drop);
    assert_error(refused, ErrorKind::Schema, &["shard `a`", "step 3 `never run`", "earlier release"]);
}

fn r53_a_failing_shard_stops_the_migration(backend: &Backend) {
    made(backend);
    let bad = backend.peek::<i64>("b", "users", "SELECT max(id) FROM {table}");
    backend.plant(&["b"], "users", &format!("UPDATE {{table}} SET name = 'bad' WHERE id = {bad}"));
    let migrations = || {
        Migrations::new()
            .step(2, "names", |m| {
                m.backfill::<one::User>(|user| {
                    if user.name == "bad" {
                        user.id = -1;
                    }
                    user.name = user.name.to_uppercase();
                })
            })
            .step(3, "more", |m| m.sqlite("SELECT 1").postgres("SELECT 1"))
    };
    let migrate =
        || backend.builder(&LETTERS).migrate::<one::Models>(&migrations()).unwrap().pace(Pace::rows(2));
    let failed = migrate().run(|_| {});
    assert_error(
        failed.map(drop),
        ErrorKind::ShardKeyChanged,
        &["shard `b`", "step 2 `names`", "table `users`", "column `id`"],
    );
    let status = migrate().status().unwrap();
    assert_eq!((status.shards[0].version, status.shards[1].version, status.shards[2].version), (3, 1, 1));
    let step = &status.shards[1].steps.iter().find(|step| step.number == 2).unwrap();
    assert!(step.error.as_deref().unwrap().contains("the backfill changes the id"), "{step:?}");
    assert_eq!(step.phase, StepPhase::Backfill);
    assert!(status.shards[2].steps.iter().all(|step| step.phase == StepPhase::Pending));
    let before = step.rows;
    assert!(before > 0);
    backend.plant(&["b"], "users", &format!("UPDATE {{table}} SET name = 'good' WHERE id = {bad}"));
    let status = migrate().run(|_| {}).unwrap();
    assert!(status.shards.iter().all(|shard| shard.version == 3));
    let rows: u64 = status.shards.iter().flat_map(|shard| &shard.steps).map(|step| step.rows).sum();
    assert_eq!(rows, USERS as u64, "no portion was read twice");
    let cluster = backend.open::<one::Models>(&LETTERS).unwrap();
    let users = cluster.session().all(one::User::select().all_shards()).unwrap();
    assert!(users.iter().all(|user| user.name == user.name.to_uppercase()));
}

fn r53_a_new_cluster_has_nothing_to_do(backend: &Backend) {
    drop(backend.create::<two::Models>(&LETTERS));
    let migrate = || backend.builder(&LETTERS).migrate::<two::Models>(&two::migrations()).unwrap();
    let status = migrate().contract().canary("c").run(|_| {}).unwrap();
    assert!(status.shards.iter().all(|shard| shard.version == 4), "{status}");
    assert!(migrate().contract().plan().is_empty());
    backend.open::<two::Models>(&LETTERS).unwrap();
    let wrong = migrate().canary("zz").run(|_| {}).map(drop);
    assert_error(wrong, ErrorKind::UnknownShard, &["`zz`"]);
}

fn r52_two_releases_write_through_a_rename(backend: &Backend) {
    made(backend);
    let old = backend.open::<one::Models>(&LETTERS).unwrap();
    let migrate = || backend.builder(&LETTERS).migrate::<two::Models>(&two::migrations()).unwrap();
    let plan = migrate().plan().to_string();
    assert!(plan.contains("(only with `contract`)") && plan.contains("copy"), "{plan}");
    migrate().pace(Pace::rows(7)).run(|_| {}).unwrap();
    let new = backend.open::<two::Models>(&LETTERS).unwrap();
    // Both write, and read the rows of the other.
    let mut session = old.session();
    session.add(one::User { id: 1000, name: "by old".to_owned() }).unwrap();
    let mut user = session.get::<one::User>(1).unwrap().unwrap();
    user.name = "changed by old".to_owned();
    session.update(&mut user).unwrap();
    session.commit().unwrap();
    let mut session = new.session();
    let by_old = session.get::<two::User>(1000).unwrap().unwrap();
    assert_eq!(
        (by_old.full_name.as_str(), by_old.nickname.as_deref(), by_old.plan.as_str()),
        ("by old", None, "free")
    );
    assert_eq!(session.get::<two::User>(1).unwrap().unwrap().full_name, "changed by old");
    let by_new =
        two::User { id: 2000, full_name: "by new".into(), nickname: Some("n".into()), plan: "paid".into() };
    session.add(by_new.clone()).unwrap();
    let mut user = session.get::<two::User>(2).unwrap().unwrap();
    assert_eq!((user.full_name.as_str(), user.nickname.as_deref()), ("user 2", Some("nick user 2")));
    user.full_name = "changed by new".to_owned();
    session.update(&mut user).unwrap();
    let mut saved = session.get::<two::User>(3).unwrap().unwrap();
    saved.full_name = "saved by new".to_owned();
    session.save((*saved).clone()).unwrap();
    session.commit().unwrap();
    let mut session = old.session();
    assert_eq!(session.get::<one::User>(2000).unwrap().unwrap().name, "by new");
    assert_eq!(session.get::<one::User>(2).unwrap().unwrap().name, "changed by new");
    assert_eq!(session.get::<one::User>(3).unwrap().unwrap().name, "saved by new");
    session.rollback();
    drop(backend.open::<one::Models>(&LETTERS).unwrap());

    // A row of the old release has no nickname, and the backfill gives it none.
    let contract = || migrate().contract().run(|_| {});
    let refused = contract().map(drop);
    assert_error(refused, ErrorKind::NotNull, &["step 3", "column `nickname`", "1 rows", "backfill"]);
    let shard = new.session().get::<two::User>(1000).unwrap().unwrap().shard().name().to_owned();
    let fill = Sql::new("UPDATE {users} SET nickname = 'filled' WHERE nickname IS NULL").on_shard(shard);
    let mut session = new.session();
    session.execute(fill).unwrap();
    session.commit().unwrap();
    let status = contract().unwrap();
    assert!(
        status
            .shards
            .iter()
            .all(|shard| shard.version == 4 && shard.steps.iter().all(|step| step.phase == StepPhase::Done)),
        "{status}"
    );
    assert!(migrate().contract().plan().is_empty(), "{}", migrate().plan());

    // The new release runs on, and the old one is refused.
    let mut session = new.session();
    assert_eq!(session.one(two::User::select().all_shards().count()).unwrap() as i64, USERS + 2);
    assert_eq!(session.one(two::Post::select().all_shards().count()).unwrap() as i64, 2 * USERS);
    assert_eq!(*session.get::<two::User>(2000).unwrap().unwrap(), by_new);
    let user = session.get::<two::User>(5).unwrap().unwrap();
    session.add(two::NewPost { user: user.link(), text: "third".into() }).unwrap();
    session.add(two::NewNote { user: user.link(), text: "note".into() }).unwrap();
    session.commit().unwrap();
    let reopened = backend.open::<two::Models>(&LETTERS).unwrap();
    assert_eq!(*reopened.session().get::<two::User>(2000).unwrap().unwrap(), by_new);
    let mut session = old.session();
    let added =
        session.add(one::User { id: 3000, name: "too late".to_owned() }).and_then(|_| session.commit());
    let error = added.map(drop).unwrap_err();
    let shard = error.shard().unwrap().to_owned();
    let version = format!("shard `{shard}` is at schema version 4, and step 4 `full name`");
    assert_eq!(error.to_string().matches(&version).count(), 1, "{error}");
    assert_error(Err::<(), _>(error), ErrorKind::Schema, &["run the newest release"]);
    assert_error(
        backend.open::<one::Models>(&LETTERS).map(drop),
        ErrorKind::Schema,
        &["column `name`", "step 4 `full name`", "newer release"],
    );
}

fn r53_two_migrators_wait_for_each_other(backend: &Backend) {
    made(backend);
    let migrate = || {
        let migrations =
            Migrations::new().step(2, "names", |m| m.backfill::<one::User>(|user| user.name.push('+')));
        let migration = backend.builder(&LETTERS).migrate::<one::Models>(&migrations).unwrap();
        migration.pace(Pace::rows(3).rest(Duration::from_millis(1))).run(|_| {}).unwrap()
    };
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(migrate)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| *status == statuses[0]));
    let cluster = backend.open::<one::Models>(&LETTERS).unwrap();
    for user in cluster.session().all(one::User::select().all_shards()).unwrap() {
        assert_eq!(user.name, format!("user {}+", user.id));
    }
    // One that begins in the middle of another's renames and rebuilt tables waits, too.
    let backend = &Backend::new(backend.kind);
    made(backend);
    let begins = std::sync::Barrier::new(2);
    let migrate = || backend.builder(&LETTERS).migrate::<two::Models>(&two::migrations());
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            begins.wait();
            (0..5).try_for_each(|_| migrate().map(drop)).and_then(|()| migrate()?.run(|_| {}))
        });
        let once = std::sync::Once::new();
        let first = migrate().unwrap().pace(Pace::rows(3).rest(Duration::from_millis(5))).run(|progress| {
            if progress.step == 4 {
                once.call_once(|| _ = begins.wait());
            }
        });
        assert_eq!(first.unwrap(), second.join().unwrap().unwrap());
    });
    backend.open::<one::Models>(&LETTERS).unwrap();
    backend.open::<two::Models>(&LETTERS).unwrap();
}
