//! Migrations beside programs that write, on shards that refuse, and of tables that others have built upon. R52, R53.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use shard_runtime::{
    ErrorKind, Pace, Sharded,
    migrate::{Migrations, StepPhase},
};

use crate::backend::{Backend, LETTERS, assert_error};
use crate::migrating::{USERS, made, one, two};

on_some! {
    lasting:
        r52_releases_write_while_the_schema_changes,
        r53_duplicates_stop_a_unique_index;
    lasting:
        r53_a_column_is_dropped_in_two_phases,
        r52_an_earlier_release_gets_the_reason_in_the_middle_of_a_contract,
        r53_a_unique_column_is_not_dropped_while_it_is_required;
    Files Prefixed:
        r53_a_rebuilt_table_keeps_indexes_and_triggers_of_others,
        r53_a_held_lock_stops_the_migration;
    Schemas Servers:
        r53_a_step_runs_once_without_the_lock_of_migrators;
    PostgreSQL:
        r53_a_migration_waits_for_writers,
        r53_an_index_that_was_left_invalid_is_made_again,
}
on_some_at_length! {
    // It has one shard.
    Files Prefixed Schemas: r53_a_migration_that_stops_at_any_statement_continues
}

/// Lets the writers end, also after a failure.
struct StopOnDrop<'s>([&'s AtomicBool; 2]);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|stop| stop.store(true, Ordering::Relaxed));
    }
}

fn r52_releases_write_while_the_schema_changes(backend: &Backend) {
    made(backend);
    let (stop_old, stop_new) = (AtomicBool::new(false), AtomicBool::new(false));
    let (next, written) = (AtomicI64::new(10_000), AtomicI64::new(0));
    let migrate = || {
        backend
            .builder(&LETTERS)
            .migrate::<two::Models>(&two::migrations())
            .unwrap()
            .pace(Pace::rows(5).rest(Duration::from_millis(2)))
    };
    let old = |writer: i64| {
        let cluster = backend.builder(&LETTERS).open::<one::Models>().unwrap();
        while !stop_old.load(Ordering::Relaxed) {
            let id = next.fetch_add(1, Ordering::Relaxed);
            let wrote = cluster.transaction(|session| {
                session.add(one::User { id, name: format!("old {id}") })?;
                if let Some(mut user) = session.get::<one::User>(id % USERS)? {
                    user.name = format!("old {writer} {id}");
                    session.update(&mut user)?;
                }
                Ok::<_, shard_runtime::Error>(())
            });
            wrote.unwrap();
            written.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let new = |writer: i64| {
        let cluster = backend.builder(&LETTERS).open::<two::Models>().unwrap();
        while !stop_new.load(Ordering::Relaxed) {
            let id = next.fetch_add(1, Ordering::Relaxed);
            let (full_name, nickname) = (format!("new {id}"), Some("n".to_owned()));
            let wrote = cluster.transaction(|session| {
                let (full_name, nickname) = (full_name.clone(), nickname.clone());
                let user = session.add(two::User { id, full_name, nickname, plan: "paid".to_owned() })?;
                session.add(two::NewNote { user: user.link(), text: "note".to_owned() })?;
                if let Some(mut user) = session.get::<two::User>(id % USERS)? {
                    user.full_name = format!("new {writer} {id}");
                    session.update(&mut user)?;
                }
                Ok::<_, shard_runtime::Error>(())
            });
            wrote.unwrap();
            written.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let pause = || std::thread::sleep(Duration::from_millis(300));
    let columns = || {
        for shard in LETTERS {
            let differing =
                "SELECT count(*) FROM {table} WHERE full_name <> name OR name IS NULL OR full_name IS NULL";
            assert_eq!(backend.peek::<i64>(shard, "users", differing), 0, "{shard}");
        }
    };
    std::thread::scope(|scope| {
        let _stop = StopOnDrop([&stop_old, &stop_new]);
        let first = [scope.spawn(|| old(1)), scope.spawn(|| old(2))];
        pause();
        migrate().run(|_| {}).unwrap();
        let second = [scope.spawn(|| new(1)), scope.spawn(|| new(2))];
        pause();
        // The new release is taken back, and the old one is started again.
        stop_new.store(true, Ordering::Relaxed);
        second.into_iter().for_each(|thread| thread.join().unwrap());
        let again = scope.spawn(|| old(3));
        pause();
        stop_new.store(false, Ordering::Relaxed);
        let second = [scope.spawn(|| new(3)), scope.spawn(|| new(4))];
        pause();
        stop_old.store(true, Ordering::Relaxed);
        first.into_iter().chain([again]).for_each(|thread| thread.join().unwrap());
        columns();
        // The contract gives a nickname to the rows that the old release has added, while the new release writes.
        migrate().contract().run(|_| {}).unwrap();
        pause();
        stop_new.store(true, Ordering::Relaxed);
        second.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let cluster = backend.open::<two::Models>(&LETTERS).unwrap();
    let users = cluster.session().all(two::User::select().all_shards()).unwrap();
    assert_eq!(users.len() as i64, USERS + written.load(Ordering::Relaxed));
    for user in users.iter().filter(|user| user.id >= 10_000) {
        let expected =
            if user.plan == "paid" { format!("new {}", user.id) } else { format!("old {}", user.id) };
        assert_eq!((user.full_name.as_str(), user.nickname.is_some()), (expected.as_str(), true));
    }
    assert!(users.iter().any(|user| user.plan == "paid") && users.iter().any(|user| user.plan == "free"));
    assert_error(backend.open::<one::Models>(&LETTERS).map(drop), ErrorKind::Schema, &["newer release"]);
}

/// Stops before each statement in turn. Before the contract the earlier release can be started at any of them.
fn r53_a_migration_that_stops_at_any_statement_continues(backend: &Backend) {
    const SHARD: [&str; 1] = ["a"];
    for contracts in [false, true] {
        for stop_at in 0.. {
            let backend = &Backend::new(backend.kind);
            let mut session = backend.create::<one::Models>(&SHARD).session();
            session.add_all((0..10).map(|id| one::User { id, name: format!("user {id}") })).unwrap();
            session.commit().unwrap();
            let migrate = || backend.builder(&SHARD).migrate::<two::Models>(&two::migrations()).unwrap();
            if contracts {
                migrate().run(|_| {}).unwrap();
            }
            let migration = || if contracts { migrate().contract() } else { migrate() };
            let (events, last) = (AtomicI64::new(0), Mutex::new(String::new()));
            let stopped = std::panic::catch_unwind(AssertUnwindSafe(|| {
                migration().pace(Pace::rows(4)).run(|progress| {
                    if events.fetch_add(1, Ordering::Relaxed) == stop_at {
                        *last.lock().unwrap() = progress.to_string();
                        std::panic::resume_unwind(Box::new(()));
                    }
                })
            }));
            if let Ok(done) = stopped {
                done.unwrap();
                assert!(stop_at > 5, "only {stop_at} statements");
                break;
            }
            let at = last.into_inner().unwrap();
            if !contracts {
                let old = backend.open::<one::Models>(&SHARD);
                old.map(drop).unwrap_or_else(|error| panic!("the earlier release at {at}: {error}"));
            }
            let again = migration().run(|_| {});
            again.map(drop).unwrap_or_else(|error| panic!("the migration at {at}: {error}"));
            let new = backend.open::<two::Models>(&SHARD).unwrap();
            for user in new.session().all(two::User::select().all_shards()).unwrap() {
                let name = format!("user {}", user.id);
                assert_eq!((&user.full_name, &user.nickname), (&name, &Some(format!("nick {name}"))), "{at}");
            }
        }
    }
}

/// A writer holds a row for longer than one wait for a lock.
fn r53_a_migration_waits_for_writers(backend: &Backend) {
    let cluster = backend.create::<Label>(&LETTERS);
    let mut session = cluster.session();
    session.add(Label { id: 1, color: "green".to_owned(), text: "text".to_owned() }).unwrap();
    session.flush().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(1_000));
            session.commit().unwrap();
        });
        let migrate = || backend.builder(&LETTERS).migrate::<UniqueLabel>(&Migrations::new()).unwrap();
        migrate().run(|_| {}).unwrap();
    });
    backend.open::<UniqueLabel>(&LETTERS).unwrap();
    // It ends when the busy timeout is over.
    backend.waits(600);
    let mut session = cluster.session();
    session.add(Label { id: 2, color: "green".to_owned(), text: "other".to_owned() }).unwrap();
    session.flush().unwrap();
    let migrations =
        Migrations::new().step(2, "text", |m| m.postgres("ALTER TABLE {labels} ADD COLUMN more text"));
    let migrate = || backend.builder(&LETTERS).migrate::<UniqueLabel>(&migrations).unwrap();
    assert_error(migrate().run(|_| {}).map(drop), ErrorKind::Busy, &["shard `b`", "step 2 `text`"]);
    session.commit().unwrap();
    migrate().run(|_| {}).unwrap();
}

/// The server ends the connection that keeps migrators apart, and a second migrator overtakes the first.
fn r53_a_step_runs_once_without_the_lock_of_migrators(backend: &Backend) {
    for at in [StepPhase::Expand, StepPhase::Backfill] {
        let backend = &Backend::new(backend.kind);
        let mut session = backend.create::<one::User>(&LETTERS).session();
        session.add_all((0..USERS).map(|id| one::User { id, name: "n".to_owned() })).unwrap();
        session.commit().unwrap();
        let migrate = || {
            let migrations = Migrations::new()
                .step(2, "names", |m| m.backfill::<one::User>(|user| user.name.push('+')))
                .step(3, "sql", |m| {
                    let sql = "UPDATE {users} SET name = name || '!'";
                    m.postgres(sql).sqlite(sql)
                });
            let migration = backend.builder(&LETTERS).migrate::<one::User>(&migrations).unwrap();
            migration.pace(Pace::rows(5))
        };
        let once = std::sync::Once::new();
        let first = migrate().run(|progress| {
            if progress.shard != "b" || progress.phase != at {
                return;
            }
            once.call_once(|| {
                // The control database is the first shard's.
                let cluster: String = backend.peek("a", "sharded_shard", "SELECT cluster FROM {table}");
                let ended = format!(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_locks, \
                     hashtextextended('sharded migration {cluster}', 0) AS key WHERE locktype = 'advisory' \
                     AND (classid::bigint << 32) | objid::bigint = key"
                );
                assert_eq!(backend.peek::<i64>("a", "users", &ended), 1);
                migrate().run(|_| {}).unwrap();
            });
        });
        assert_error(
            first.map(drop),
            ErrorKind::Stale,
            &["shard `b`", "another migrator", "run `migrate` again"],
        );
        let status = migrate().run(|_| {}).unwrap();
        let steps = || status.shards.iter().flat_map(|shard| &shard.steps);
        assert!(steps().all(|step| step.phase == StepPhase::Done && step.error.is_none()), "{status}");
        let cluster = backend.open::<one::User>(&LETTERS).unwrap();
        for user in cluster.session().all(one::User::select().all_shards()).unwrap() {
            assert_eq!(user.name, "n+!", "{at}: {}", user.id);
        }
    }
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "labels")]
struct Label {
    #[id]
    id: i64,
    #[shard_key(list("red" => "a", "green" => "b", "blue" => "c"))]
    color: String,
    text: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "labels", unique(color, text), index(text))]
struct UniqueLabel {
    #[id]
    id: i64,
    #[shard_key(list("red" => "a", "green" => "b", "blue" => "c"))]
    color: String,
    text: String,
    note: Option<String>,
}

fn r53_duplicates_stop_a_unique_index(backend: &Backend) {
    let cluster = backend.create::<Label>(&LETTERS);
    let mut session = cluster.session();
    let label = |id, color: &str| Label { id, color: color.to_owned(), text: format!("{}", id % 4) };
    session.add_all([label(1, "red"), label(2, "green"), label(6, "green"), label(3, "blue")]).unwrap();
    session.commit().unwrap();
    let migrate = || backend.builder(&LETTERS).migrate::<UniqueLabel>(&Migrations::new()).unwrap();
    for _ in 0..2 {
        let failed = migrate().run(|_| {}).map(drop);
        assert_error(failed, ErrorKind::Unique, &["shard `b`", "labels(color, text) unique", "the SQL was"]);
    }
    let status = migrate().status().unwrap();
    assert!(
        status.shards[1].steps[0].error.is_some() && status.shards[0].steps[0].error.is_none(),
        "{status}"
    );
    backend.open::<Label>(&LETTERS).unwrap();
    backend.plant(&["b"], "labels", "DELETE FROM {table} WHERE id = 6");
    let status = migrate().run(|_| {}).unwrap();
    assert!(status.shards.iter().flat_map(|shard| &shard.steps).all(|step| step.error.is_none()), "{status}");
    let cluster = backend.open::<UniqueLabel>(&LETTERS).unwrap();
    assert_eq!(cluster.session().one(UniqueLabel::select().all_shards().count()).unwrap(), 3);
}

fn r53_an_index_that_was_left_invalid_is_made_again(backend: &Backend) {
    let cluster = backend.create::<Label>(&LETTERS);
    let mut session = cluster.session();
    let label = |id, color: &str| Label { id, color: color.to_owned(), text: "same".to_owned() };
    session.add_all([label(1, "green"), label(2, "green")]).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    let migrate = || backend.builder(&LETTERS).migrate::<UniqueLabel>(&Migrations::new()).unwrap();
    assert_error(migrate().run(|_| {}).map(drop), ErrorKind::Unique, &["shard `b`"]);
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indrelid = to_regclass('{table}')";
    assert_eq!(backend.peek::<i64>("b", "labels", invalid), 1);
    assert!(migrate().plan().to_string().contains("DROP INDEX CONCURRENTLY IF EXISTS"));
    backend.plant(&["b"], "labels", "DELETE FROM {table} WHERE id = 2");
    migrate().run(|_| {}).unwrap();
    assert_eq!(backend.peek::<i64>("b", "labels", invalid), 0);
    backend.open::<UniqueLabel>(&LETTERS).unwrap();
}

fn r53_a_held_lock_stops_the_migration(backend: &Backend) {
    made(backend);
    let migrate = || {
        let builder = backend.builder(&LETTERS).busy_timeout(Duration::from_millis(200));
        builder.migrate::<two::Models>(&two::migrations()).unwrap()
    };
    let held = backend.raw("b");
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failed = migrate().run(|_| {}).map(drop);
    assert_error(failed, ErrorKind::Busy, &[if backend.is_separate() { "shard `b`" } else { "shard `a`" }]);
    held.execute_batch("ROLLBACK").unwrap();
    migrate().run(|_| {}).unwrap();
    backend.open::<two::Models>(&LETTERS).unwrap();
}

/// A parent whose ids the database counts.
mod family {
    use shard_runtime::{Parent, Sharded};

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "parents", insert(derive(Clone, Debug)))]
    pub struct Person {
        #[id(auto)]
        pub id: i64,
        #[shard_key(list("x" => "a", "y" => "b", "z" => "c"))]
        pub place: String,
        pub name: Option<String>,
    }

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "children", insert(derive(Clone, Debug)))]
    pub struct Kid {
        #[id(auto)]
        pub id: i64,
        #[shard_parent]
        pub person: Parent<Person>,
        pub name: String,
    }

    pub type Models = (Person, Kid);
}

fn r53_a_rebuilt_table_keeps_indexes_and_triggers_of_others(backend: &Backend) {
    use family::{Kid, Models, NewKid, NewPerson, Person};
    let cluster = backend.create::<Models>(&LETTERS);
    let mut session = cluster.session();
    let person = |name: &str| NewPerson { place: "y".to_owned(), name: Some(name.to_owned()) };
    let people = session.add_all(["A", "B", "C"].map(person)).unwrap();
    session.add_all(people.iter().map(|p| NewKid { person: p.link(), name: "kid".to_owned() })).unwrap();
    session.commit().unwrap();
    let added = session.add(person("D")).unwrap();
    session.delete(&added).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    let (people, kids) = (backend.table("b", "parents"), backend.table("b", "children"));
    let raw = backend.raw("b");
    raw.execute_batch(&format!(
        "ALTER TABLE {people} ADD COLUMN extra INTEGER NOT NULL DEFAULT 5 CHECK (extra > 0); \
         CREATE INDEX others ON {people} (extra) WHERE extra > 1; \
         CREATE TABLE log (text TEXT); \
         CREATE TRIGGER logs AFTER UPDATE ON {people} BEGIN INSERT INTO log VALUES (NEW.name); END; \
         CREATE TABLE cascading (person INTEGER REFERENCES {people} (id) ON DELETE CASCADE); \
         INSERT INTO cascading SELECT id FROM {people}; \
         CREATE VIEW names AS SELECT p.name AS person, k.name AS kid FROM {people} p JOIN {kids} k ON k.person_id = p.id;"
    ))
    .unwrap();
    let migrations = Migrations::new().step(2, "name is required", |m| m.require(Person::NAME));
    let migrate = || backend.builder(&LETTERS).migrate::<Models>(&migrations).unwrap();
    migrate().run(|_| {}).unwrap();
    let plan = migrate().contract().plan().to_string();
    assert!(plan.contains("foreign keys checked") && plan.contains("sqlite_sequence"), "{plan}");
    migrate().contract().run(|_| {}).unwrap();

    let count = |sql: &str| raw.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(
        count(&format!(
            "SELECT count(*) FROM pragma_table_info({people}) WHERE name = 'name' AND \"notnull\" = 1"
        )),
        1
    );
    assert_eq!(count("SELECT count(*) FROM names WHERE kid = 'kid'"), 3, "the view");
    assert_eq!(count("SELECT count(*) FROM cascading"), 3, "no child was deleted");
    assert_eq!(count(&format!("SELECT count(*) FROM {kids}")), 3);
    assert_eq!(
        count(&format!(
            "SELECT count(*) FROM pragma_index_list({people}) WHERE name = 'others' AND partial = 1"
        )),
        1
    );
    assert_eq!(count("SELECT count(*) FROM pragma_foreign_key_check"), 0);
    raw.execute_batch(&format!(
        "PRAGMA foreign_keys = ON; UPDATE {people} SET name = 'changed' WHERE id = 1"
    ))
    .unwrap();
    assert_eq!(count("SELECT count(*) FROM log WHERE text = 'changed'"), 1, "the trigger");
    assert!(raw.execute(&format!("UPDATE {people} SET extra = 0"), []).is_err(), "the check");
    assert!(raw.execute(&format!("UPDATE {people} SET name = NULL"), []).is_err());
    raw.execute_batch(&format!("DELETE FROM {kids} WHERE person_id = 2; DELETE FROM {people} WHERE id = 2"))
        .unwrap();
    assert_eq!(count("SELECT count(*) FROM cascading"), 2, "the cascade");
    drop(raw);
    let cluster = backend.open::<Models>(&LETTERS).unwrap();
    let mut session = cluster.session();
    let next = session.add(person("E")).unwrap();
    assert_eq!(next.id, 5, "the deleted id is not given again");
    session.add(NewKid { person: next.link(), name: "new".to_owned() }).unwrap();
    session.commit().unwrap();
    assert_eq!(session.one(Kid::select().all_shards().count()).unwrap(), 3);
    let refused = session
        .add(NewPerson { place: "y".to_owned(), name: None })
        .map(drop)
        .and_then(|()| session.commit().map(drop));
    assert_error(refused, ErrorKind::NotNull, &["schema version 2"]);
}

/// Release 1 without a column that the new release does not have.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "posts", insert(derive(Clone, Debug)))]
struct PostWithoutText {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    user: shard_runtime::Parent<one::User>,
}

fn r53_a_column_is_dropped_in_two_phases(backend: &Backend) {
    made(backend);
    let migrations = Migrations::new().step(2, "no text", |m| m.drop_column::<PostWithoutText>("text"));
    let migrate = || backend.builder(&LETTERS).migrate::<(one::User, PostWithoutText)>(&migrations).unwrap();
    let refused = backend.open::<(one::User, PostWithoutText)>(&LETTERS).map(drop);
    assert_error(refused, ErrorKind::Schema, &["column `text`"]);
    let status = migrate().run(|_| {}).unwrap();
    assert!(status.waits_for_contract() && status.shards[0].steps[0].phase == StepPhase::Ready);
    let new = backend.open::<(one::User, PostWithoutText)>(&LETTERS).unwrap();
    let mut session = new.session();
    let user = session.get::<one::User>(1).unwrap().unwrap();
    session.add(NewPostWithoutText { user: user.link() }).unwrap();
    session.commit().unwrap();
    let old = backend.open::<one::Models>(&LETTERS).unwrap();
    let posts = old.session().all(one::Post::select().all_shards()).unwrap();
    assert_eq!(posts.iter().filter(|post| post.text.is_empty()).count(), 1);
    migrate().contract().run(|_| {}).unwrap();
    assert_eq!(
        new.session().one(PostWithoutText::select().all_shards().count()).unwrap() as i64,
        2 * USERS + 1
    );
    assert_error(
        backend.open::<one::Models>(&LETTERS).map(drop),
        ErrorKind::Schema,
        &["step 2 `no text`", "newer release"],
    );
}

/// A thing of release 1, and of release 2, which has neither column.
#[derive(Sharded, Clone, Debug)]
#[sharded(table = "things")]
struct Thing {
    #[id]
    #[shard_key(hash)]
    id: i64,
    first: String,
    second: String,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "things")]
struct PlainThing {
    #[id]
    #[shard_key(hash)]
    id: i64,
}

/// A contract is several transactions, and the step is done after the last one.
fn r52_an_earlier_release_gets_the_reason_in_the_middle_of_a_contract(backend: &Backend) {
    let old = backend.create::<Thing>(&LETTERS);
    let things = (0..30).map(|id| Thing { id, first: "a".to_owned(), second: "b".to_owned() });
    old.transaction(|session| session.add_all(things.clone())).unwrap();
    let migrations = Migrations::new()
        .step(2, "plain", |m| m.drop_column::<PlainThing>("first").drop_column::<PlainThing>("second"));
    let migrate = || backend.builder(&LETTERS).migrate::<PlainThing>(&migrations).unwrap();
    migrate().run(|_| {}).unwrap();
    let met = Mutex::new(Vec::new());
    let read = |shard: &str| old.session().all(Thing::select().on_shard(shard)).map(|rows| rows.len());
    let contracted = migrate().contract().run(|progress| {
        if progress.step == 2 && progress.sql.is_some() {
            met.lock().unwrap().push(read(&progress.shard));
        }
    });
    contracted.unwrap();
    let met = met.into_inner().unwrap();
    assert!(met.iter().any(Result::is_ok), "before the first column is dropped");
    let errors: Vec<_> = met.into_iter().chain(LETTERS.map(read)).filter_map(Result::err).collect();
    assert!(errors.len() > LETTERS.len(), "between the columns, and after them");
    for error in errors {
        assert_error(Err::<(), _>(error), ErrorKind::Schema, &["is at schema version 2", "step 2 `plain`"]);
    }
}

/// A label without the text that its table requires.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "labels")]
struct LabelWithoutText {
    #[id]
    id: i64,
    #[shard_key(list("red" => "a", "green" => "b", "blue" => "c"))]
    color: String,
}

fn r53_a_unique_column_is_not_dropped_while_it_is_required(backend: &Backend) {
    drop(backend.create::<UniqueLabel>(&LETTERS));
    let migrations = Migrations::new().step(2, "no text", |m| m.drop_column::<LabelWithoutText>("text"));
    let migrate = || backend.builder(&LETTERS).migrate::<LabelWithoutText>(&migrations);
    let texts = ["shard `a`, table `labels`, column `text`", "labels(color, text) unique", "`Option`"];
    assert_error(migrate().map(drop), ErrorKind::Schema, &texts);
    backend.open::<UniqueLabel>(&LETTERS).unwrap();
    if backend.is_postgres("a") {
        // The remedy; on SQLite it is a rebuilt table.
        backend.plant(&LETTERS, "labels", "ALTER TABLE {table} ALTER COLUMN text DROP NOT NULL");
        migrate().unwrap().run(|_| {}).unwrap();
        let mut session = backend.open::<LabelWithoutText>(&LETTERS).unwrap().session();
        let label = |id| LabelWithoutText { id, color: "green".to_owned() };
        session.add_all([label(1), label(2)]).unwrap();
        session.commit().unwrap();
    }
}
