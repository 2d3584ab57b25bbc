//! A migration and a change of the layout, or the move of a key, exclude each other: the one that begins later waits.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shard_runtime::{Cluster, Pace, Sharded as _, change::Switch};
use sharded_tests::waiting::spawn_until_it_waits;

use crate::backend::{Backend, LETTERS};

on_some! {
    Files Schemas:
        r50_a_change_waits_for_a_migration,
        r61_the_move_of_a_key_waits_for_a_migration
}

const MORE: [&str; 5] = ["a", "b", "c", "d", "e"];

const USERS: i64 = 60;

mod one {
    use shard_runtime::Sharded;

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "users")]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        pub name: String,
    }
}

mod two {
    use shard_runtime::{Sharded, migrate::Migrations};

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "users", index(nickname))]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        pub name: String,
        pub nickname: Option<String>,
    }

    pub fn migrations() -> Migrations {
        Migrations::new().step(2, "nickname", |m| {
            // Twice for one row would be seen.
            m.backfill::<User>(|user| {
                user.nickname = Some(user.nickname.take().unwrap_or_default() + &user.name)
            })
        })
    }
}

/// Runs a migration, and beside it something with the release before, which waits until the migration has ended.
fn beside_a_migration<O: Send>(backend: &Backend, run: impl FnOnce(&Cluster) -> O + Send) -> O {
    let cluster = backend.create::<one::User>(&LETTERS);
    let users = (0..USERS).map(|id| one::User { id, name: format!("user {id}") });
    cluster.transaction(|session| session.add_all(users.clone())).unwrap();
    drop(cluster);
    let cluster = backend.builder(&MORE).create::<one::User>().unwrap();
    let migration = backend.builder(&MORE).migrate::<two::User>(&two::migrations()).unwrap();
    let migration = migration.pace(Pace::rows(4));
    let has_run = AtomicBool::new(false);
    let begins = Mutex::new(Some(|| {
        let done = run(&cluster);
        has_run.store(true, Ordering::SeqCst);
        done
    }));
    std::thread::scope(|scope| {
        let beside = Mutex::new(None);
        let migrated = migration.run(|_| {
            if let Some(begin) = begins.lock().unwrap().take() {
                *beside.lock().unwrap() = Some(spawn_until_it_waits(scope, begin));
            }
            assert!(!has_run.load(Ordering::SeqCst), "it has run in the middle of the migration");
        });
        migrated.unwrap();
        beside.into_inner().unwrap().expect("the migration reports its steps").join().unwrap()
    })
}

/// Every user is there once, with the name that the migration has given.
fn assert_migrated(backend: &Backend) {
    let cluster = backend.builder(&MORE).open::<two::User>().unwrap();
    let users =
        cluster.session().all(two::User::select().order_by(two::User::ID.asc()).all_shards()).unwrap();
    let found: Vec<(i64, Option<String>)> =
        users.iter().map(|user| (user.id, user.nickname.clone())).collect();
    let expected: Vec<_> = (0..USERS).map(|id| (id, Some(format!("user {id}")))).collect();
    assert_eq!(found, expected);
    assert!(cluster.verify().unwrap().is_sound());
}

fn r50_a_change_waits_for_a_migration(backend: &Backend) {
    let mut change = beside_a_migration(backend, |cluster| {
        cluster.begin_change(&cluster.plan_change().split("c", ["d", "e"]).build().unwrap()).unwrap()
    });
    // The rows are copied with all columns, also those that the release before does not have.
    change.copy(Pace::rows(7), |_| {}).unwrap();
    assert_eq!(change.verify().unwrap().different, 0);
    change.switch(Switch::within(Duration::from_secs(20))).unwrap();
    change.finish().unwrap();
    assert_migrated(backend);
}

fn r61_the_move_of_a_key_waits_for_a_migration(backend: &Backend) {
    let moved = beside_a_migration(backend, |cluster| {
        let now = cluster.locate::<one::User>(7).unwrap().name().to_owned();
        let to = LETTERS.into_iter().find(|shard| *shard != now).unwrap();
        cluster.move_key::<one::User>(7, to).run().unwrap()
    });
    assert_eq!((moved.rows, moved.epoch), (1, 2));
    assert_migrated(backend);
}
