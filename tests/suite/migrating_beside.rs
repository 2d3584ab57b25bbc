//! Migrations beside programs that move rows, beside backups, and with a spare shard that is missing. R53.

use std::cell::RefCell;
use std::sync::Mutex;
use std::time::Duration;

use shard_runtime::{
    Cluster, ErrorKind, Pace, Session, Sharded as _, Stored,
    migrate::{Migrations, StepPhase},
};
use sharded_tests::waiting::spawn_until_it_waits;

use crate::backend::{Backend, Kind, LETTERS, assert_error};
use crate::migrating;

on_some! {
    lasting:
        r53_a_row_that_moves_does_not_miss_a_backfill,
        r53_rows_that_arrive_while_a_migration_is_stopped_are_changed,
        r53_a_missing_spare_shard_is_left_out;
    on_disk:
        r53_a_backup_and_a_migration_exclude_each_other;
    Files Schemas Servers:
        r53_the_status_lists_migrations,
}

mod one {
    use shard_runtime::{Parent, Sharded};

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "users")]
    pub struct User {
        #[id]
        pub id: i64,
        #[shard_key(hash)]
        pub team: i64,
    }

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "posts")]
    pub struct Post {
        #[id(auto)]
        pub id: i64,
        #[shard_parent]
        pub user: Parent<User>,
        pub text: String,
    }

    pub type Models = (User, Post);
}

mod two {
    use shard_runtime::{Parent, Sharded, migrate::Migrations};

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "users", index(nickname))]
    pub struct User {
        #[id]
        pub id: i64,
        #[shard_key(hash)]
        pub team: i64,
        pub nickname: Option<String>,
        pub greeting: Option<String>,
    }

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "posts")]
    pub struct Post {
        #[id(auto)]
        pub id: i64,
        #[shard_parent]
        pub user: Parent<User>,
        pub text: String,
        #[sharded(default = 0)]
        pub length: i64,
    }

    pub type Models = (User, Post);

    /// The second backfill reads values that the first one has written.
    pub fn migrations() -> Migrations {
        Migrations::new()
            .step(2, "nickname", |m| {
                m.backfill::<User>(|user| {
                    user.nickname.get_or_insert(format!("nick {}", user.id));
                })
            })
            .step(3, "length", |m| m.backfill::<Post>(|post| post.length = post.text.len() as i64))
            .step(4, "greeting", |m| {
                m.backfill::<User>(|user| {
                    user.greeting = user.nickname.as_ref().map(|nickname| format!("Dear {nickname}"));
                })
            })
    }
}

const USERS: i64 = 60;

fn made(backend: &Backend, shards: &[&str]) {
    let cluster = backend.create::<one::Models>(shards);
    let mut session = cluster.session();
    let users = session.add_all((0..USERS).map(|id| one::User { id, team: id })).unwrap();
    let post = |user: &Stored<one::User>| one::NewPost { user: user.link(), text: "text".to_owned() };
    session.add_all(users.iter().map(post)).unwrap();
    session.commit().unwrap();
}

/// Asserts that every row has what the backfills give it, and that no record of arrived rows is left.
fn assert_changed(backend: &Backend, users: i64) {
    let cluster = backend.open::<two::Models>(&LETTERS).unwrap();
    let mut session = cluster.session();
    let found = session.all(two::User::select().all_shards()).unwrap();
    assert_eq!(found.len() as i64, users);
    for user in found {
        let nickname = format!("nick {}", user.id);
        assert_eq!(user.greeting, Some(format!("Dear {nickname}")), "{user:?}");
        assert_eq!(user.nickname, Some(nickname));
    }
    for post in session.all(two::Post::select().all_shards()).unwrap() {
        assert_eq!(post.length, post.text.len() as i64, "{post:?}");
    }
    for shard in LETTERS {
        let left = match backend.is_postgres(shard) {
            true => format!(
                "SELECT (SELECT count(*) FROM pg_tables WHERE schemaname = '{0}' AND tablename LIKE 'sharded\\_arrived%') \
                 + (SELECT count(*) FROM pg_proc WHERE pronamespace = to_regnamespace('{0}'))",
                backend.schema(shard)
            ),
            false => "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%arrived%'".to_owned(),
        };
        assert_eq!(backend.peek::<i64>(shard, "users", &left), 0, "{shard}");
    }
}

/// Moves rows of one shard to another, as a program of the earlier release does.
struct Mover {
    session: Session,
    next: i64,
}

impl Mover {
    fn new(cluster: &Cluster) -> Self {
        Mover { session: cluster.session(), next: 1_000 }
    }

    /// Moves the row with this id, or with the lowest or the highest one of a shard.
    fn moves(&mut self, from: &str, to: &str, which: Which) -> i64 {
        let users = self.session.all(one::User::select().all_shards()).unwrap();
        let mut on_from: Vec<_> = users.iter().filter(|user| user.shard().name() == from).collect();
        on_from.sort_by_key(|user| user.id);
        let team = users.iter().find(|user| user.shard().name() == to).unwrap().team;
        let user = match which {
            Which::Lowest => on_from.first().copied(),
            Which::Highest => on_from.last().copied(),
            Which::Id(id) => on_from.into_iter().find(|user| user.id == id),
        };
        let mut user = user.unwrap_or_else(|| panic!("{which:?} is not on {from}")).clone();
        self.session.relocate(&mut user, |user| user.team = team).unwrap();
        self.session.commit().unwrap();
        user.id
    }

    fn adds(&mut self, shard: &str) {
        let users = self.session.all(one::User::select().all_shards()).unwrap();
        let team = users.iter().find(|user| user.shard().name() == shard).unwrap().team;
        // Behind all ids, and before all of them.
        self.next += 1;
        for id in [self.next, -self.next] {
            let user = self.session.add(one::User { id, team }).unwrap();
            self.session
                .add(one::NewPost { user: user.link(), text: "by the old release".to_owned() })
                .unwrap();
        }
        self.session.commit().unwrap();
    }
}

#[derive(Clone, Copy, Debug)]
enum Which {
    Lowest,
    Highest,
    Id(i64),
}

fn r53_a_row_that_moves_does_not_miss_a_backfill(backend: &Backend) {
    made(backend, &LETTERS);
    let old = backend.open::<one::Models>(&LETTERS).unwrap();
    let mover = Mutex::new((Mover::new(&old), 0, None::<i64>));
    let migrate = || backend.builder(&LETTERS).migrate::<two::Models>(&two::migrations()).unwrap();
    migrate()
        .pace(Pace::rows(5))
        .run(|progress| {
            let mut guard = mover.lock().unwrap();
            let (mover, done, hopping) = &mut *guard;
            let is_closing = progress.sql.as_deref().is_some_and(|sql| sql.contains("have arrived"));
            match (*done, progress.shard.as_str()) {
                // The first two shards have run all steps, the last one none.
                (0, "c") => {
                    for to in ["a", "b"] {
                        mover.moves("c", to, Which::Lowest);
                        mover.moves("c", to, Which::Highest);
                        mover.adds(to);
                    }
                    *hopping = Some(mover.moves("c", "b", Which::Lowest));
                }
                // In the middle of its first backfill, a row comes to ids that it has passed.
                (1, "c") if progress.step == 2 && progress.rows > 0 && progress.sql.is_none() => {
                    mover.adds("c");
                }
                // A row leaves before its shard is visited, to one that was visited.
                (2, "b") if is_closing => drop(mover.moves("b", "a", Which::Id(hopping.unwrap()))),
                _ => return,
            }
            *done += 1;
        })
        .unwrap();
    let done = mover.into_inner().unwrap().1;
    assert_eq!(done, 3);
    assert_changed(backend, USERS + 6);
    assert!(migrate().plan().is_empty(), "{}", migrate().plan());
}

fn r53_rows_that_arrive_while_a_migration_is_stopped_are_changed(backend: &Backend) {
    made(backend, &LETTERS);
    let old = backend.open::<one::Models>(&LETTERS).unwrap();
    let migrate = || backend.builder(&LETTERS).migrate::<two::Models>(&two::migrations()).unwrap();
    let stops_at = |shard: &'static str| {
        let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            migrate().run(|progress| {
                let closes = progress.sql.as_deref().is_some_and(|sql| sql.contains("have arrived"));
                if progress.shard == shard && (shard == "c" || closes) {
                    std::panic::resume_unwind(Box::new(()));
                }
            })
        }));
        assert!(stopped.is_err());
    };
    stops_at("c");
    // Also for the new release, which is not complete: a step that it has finished elsewhere cannot be left out.
    let finished = Migrations::new()
        .step(2, "nickname", |m| m.finished())
        .step(3, "length", |m| m.finished())
        .step(4, "greeting", |m| m.finished());
    let refused = backend.builder(&LETTERS).migrate::<two::Models>(&finished).map(drop);
    assert_error(refused, ErrorKind::Schema, &["shard `a`", "step 2", "migrate with the release"]);
    let mover = RefCell::new(Mover::new(&old));
    mover.borrow_mut().moves("c", "a", Which::Lowest);
    mover.borrow_mut().adds("b");
    stops_at("b");
    mover.borrow_mut().adds("a");
    let migration = migrate();
    assert!(!migration.plan().is_empty());
    assert!(migration.plan().to_string().contains("have arrived"), "{}", migration.plan());
    migration.run(|_| {}).unwrap();
    assert_changed(backend, USERS + 4);
}

fn r53_a_missing_spare_shard_is_left_out(backend: &Backend) {
    const MORE: [&str; 4] = ["d", "a", "b", "c"];
    made(backend, &LETTERS);
    let builder = |shards: &[&str]| match backend.control(&MORE) {
        None if backend.is_on_disk() => backend
            .builder(shards)
            .control(format!("sqlite:{}", backend.folder().join("control.db").display())),
        _ => backend.builder(shards),
    };
    drop(builder(&MORE).create::<one::Models>().unwrap());
    let own = backend.table("d", "sharded_shard");
    let plain =
        |name: &str| if backend.kind == Kind::Prefixed { format!("d_{name}") } else { name.to_owned() };
    backend.run("d", &format!("ALTER TABLE {own} RENAME TO \"{}\"", plain("gone")));
    let migrate = || builder(&MORE).migrate::<two::Models>(&two::migrations()).unwrap();
    let plan = migrate().plan().to_string();
    assert!(plan.contains("-- shard d\n-- left out: shard `d`"), "{plan}");
    let canary = migrate().canary("d").run(|_| {}).map(drop);
    assert_error(canary, ErrorKind::Missing, &["shard `d`", "canary", "restore it"]);
    let status = migrate().run(|_| {}).unwrap();
    let left_out: Vec<&str> = status.shards.iter().filter_map(|of| of.left_out.as_deref()).collect();
    assert!(left_out.len() == 1 && left_out[0].contains("shard `d`"), "{status}");
    assert!(status.to_string().contains("left out: "), "{status}");
    assert!(status.shards.iter().all(|of| of.left_out.is_some() || of.version == 4), "{status}");
    let cluster = builder(&MORE).open::<two::Models>().unwrap();
    assert_eq!(cluster.status().migrations, status);
    assert_changed(backend, USERS);
    // Once it is back, the next migration makes up for it.
    let gone = backend.table("d", "gone");
    backend.run("d", &format!("ALTER TABLE {gone} RENAME TO \"{}\"", plain("sharded_shard")));
    let cluster = builder(&MORE).open::<two::Models>().unwrap();
    let problem = cluster.recorded_shards().into_iter().find_map(|shard| shard.problem).unwrap();
    assert!(problem.contains("nickname"), "{problem}");
    assert_eq!(migrate().plan().shards(), ["d"]);
    let status = migrate().run(|_| {}).unwrap();
    assert!(status.shards.iter().all(|of| of.version == 4 && of.left_out.is_none()), "{status}");
    let cluster = builder(&MORE).open::<two::Models>().unwrap();
    assert!(cluster.recorded_shards().iter().all(|shard| shard.problem.is_none()));
}

fn r53_a_backup_and_a_migration_exclude_each_other(backend: &Backend) {
    made(backend, &LETTERS);
    let old = backend.open::<one::Models>(&LETTERS).unwrap();
    let migrate = || backend.builder(&LETTERS).migrate::<two::Models>(&two::migrations()).unwrap();
    // A migration that runs refuses backups, and one that has ended does not.
    let once = std::sync::Once::new();
    let copy = backend.folder().join("copy");
    migrate()
        .run(|progress| {
            if progress.shard == "b" {
                once.call_once(|| {
                    let texts = ["a migration of the cluster runs", "run `backup` again"];
                    assert_error(old.backup(&copy), ErrorKind::Busy, &texts);
                });
            }
        })
        .unwrap();
    assert!(once.is_completed() && !copy.exists());
    // A backup that runs, and one beside it, keep a migration waiting, up to its timeout.
    let held = backend.raw("b");
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let backups = ["copy", "other"].map(|folder| {
            let (old, folder) = (&old, backend.folder().join(folder));
            spawn_until_it_waits(scope, move || old.backup(folder))
        });
        let builder = backend.builder(&LETTERS).busy_timeout(Duration::from_millis(150));
        let contract = builder.migrate::<two::Models>(&two::migrations()).unwrap().contract();
        let texts = ["a backup of the cluster runs", "run `migrate` again"];
        assert_error(contract.run(|_| {}).map(drop), ErrorKind::Busy, &texts);
        held.execute_batch("ROLLBACK").unwrap();
        backups.into_iter().for_each(|backup| backup.join().unwrap().unwrap());
    });
    assert!(copy.join("control.db").exists());
    migrate().contract().run(|_| {}).unwrap();
    assert_changed(backend, USERS);
}

fn r53_the_status_lists_migrations(backend: &Backend) {
    migrating::made(backend);
    let before = backend.open::<migrating::one::Models>(&LETTERS).unwrap();
    assert!(before.status().migrations.shards.iter().all(|of| of.version == 1 && of.steps.is_empty()));
    assert!(before.status().to_string().contains("\nmigrations: none\n"), "{}", before.status());
    let migrations = migrating::two::migrations();
    let migrate = || backend.builder(&LETTERS).migrate::<migrating::two::Models>(&migrations).unwrap();
    let done = migrate().run(|_| {}).unwrap();
    let status = before.status();
    assert_eq!(status.migrations, done);
    let steps = status.migrations.shards.iter().flat_map(|of| &of.steps);
    assert_eq!(steps.filter(|step| step.phase == StepPhase::Ready).count(), 2 * LETTERS.len());
    let text = status.to_string();
    for line in ["shard  rows", "shard  version  step", "4 full name", "transactions: all are finished"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["migrations"]["shards"][2]["steps"][0]["phase"], "done");
}
