//! The order of a migration: its plan and what it reports, its portions, the canary, shards at the same time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shard_runtime::{
    ErrorKind, Models, Pace,
    migrate::{Migration, MigrationProgress, Migrations, StepPhase},
};
use sharded_tests::waiting::soon;

use crate::made::{Made, assert_has, both, names};
use crate::models::{SHARDS, one, two};

/// Runs a migration; returns what it reports.
fn reported<M: Models>(migration: Migration<M>) -> Vec<MigrationProgress> {
    let all = Mutex::new(Vec::new());
    migration.run(|progress| all.lock().unwrap().push(progress.clone())).unwrap();
    all.into_inner().unwrap()
}

/// The SQL of a printed plan, by shard, in its order.
fn planned(plan: &str) -> BTreeMap<String, Vec<String>> {
    let mut sql = BTreeMap::<String, Vec<String>>::new();
    let mut shard = String::new();
    for line in plan.lines() {
        match (line.strip_prefix("-- shard "), line.strip_suffix(';')) {
            (Some(name), _) => name.clone_into(&mut shard),
            (None, Some(text)) if !line.starts_with("--") => {
                sql.entry(shard.clone()).or_default().push(text.to_owned());
            }
            (None, _) => assert!(line.starts_with("-- "), "{line}"),
        }
    }
    sql
}

/// The SQL that was reported, by shard, in its order.
fn told(reported: &[MigrationProgress]) -> BTreeMap<String, Vec<String>> {
    let mut told = BTreeMap::<String, Vec<String>>::new();
    for progress in reported {
        told.entry(progress.shard.clone()).or_default().extend(progress.sql.clone());
    }
    told
}

#[test]
fn r53_the_plan_is_the_sql_that_runs() {
    for made in both() {
        // Columns, a table and indexes that are derived from the models.
        let derived = || made.migrate::<added::Models>(&Migrations::new());
        let plan = planned(&derived().plan().to_string());
        assert_eq!(plan.keys().collect::<Vec<_>>(), SHARDS.iter().collect::<Vec<_>>());
        assert!(plan["b"].len() >= 4, "{plan:?}");
        assert_eq!(told(&reported(derived())), plan);

        // Contracts whose steps are ready: each is of another table.
        let steps = || {
            Migrations::new()
                .step(2, "full name", |m| m.rename(renamed::User::FULL_NAME, "name"))
                .step(3, "text", |m| {
                    m.sqlite("UPDATE {posts} SET text = ''").postgres("UPDATE {posts} SET text = ''")
                })
                .step(4, "text is required", |m| m.require(renamed::Post::TEXT))
        };
        let migrate = || made.migrate::<renamed::Models>(&steps());
        migrate().run(|_| {}).unwrap();
        let plan = planned(&migrate().contract().plan().to_string());
        assert!(plan["c"].len() >= 4, "{plan:?}");
        assert_eq!(told(&reported(migrate().contract())), plan);
        assert!(migrate().contract().plan().is_empty());
    }
}

/// Release 1 with what is only added.
mod added {
    use shard_runtime::{Parent, Sharded};

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "users", index(name), index(nickname))]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        pub name: String,
        pub fax: String,
        pub nickname: Option<String>,
        #[sharded(default = 3)]
        pub level: i64,
    }

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "notes", index(text))]
    pub struct Note {
        #[id(sequence)]
        pub id: i64,
        #[shard_parent]
        pub user: Parent<User>,
        pub text: String,
    }

    pub type Models = (User, Note);
}

/// A release after it, in which a column has another name.
mod renamed {
    use shard_runtime::{Parent, Sharded};

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "users")]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        pub full_name: String,
        pub fax: String,
    }

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "posts")]
    pub struct Post {
        #[id(auto)]
        pub id: i64,
        #[shard_parent]
        pub user: Parent<User>,
        pub text: Option<String>,
    }

    pub type Models = (User, Post);
}

/// A constraint that is NOT VALID holds for new rows at once; it is validated while the rows are written.
#[test]
fn r53_a_server_validates_after_a_constraint_is_added_without_a_scan() {
    let made = Made::schemas();
    let migrate = || made.migrate::<two::Models>(&two::migrations());
    let in_order = |sql: &[String], check: &str| {
        let at = |has: &[&str]| {
            let found =
                sql.iter().position(|sql| sql.contains(check) && has.iter().all(|has| sql.contains(has)));
            found.unwrap_or_else(|| panic!("{has:?}: {sql:#?}"))
        };
        let order = [
            at(&["ADD CONSTRAINT", "CHECK (", "NOT VALID"]),
            at(&["VALIDATE CONSTRAINT"]),
            at(&["DROP CONSTRAINT \""]),
        ];
        assert!(order.is_sorted() && order[0] < order[1], "{order:?}: {sql:#?}");
    };
    // NOT NULL of the renamed column, before release 2 opens.
    let plan = planned(&migrate().plan().to_string());
    in_order(&plan["b"], "full_name not null");
    let run = told(&reported(migrate()));
    in_order(&run["b"], "full_name not null");
    // NOT NULL of the required columns, in the contract.
    let plan = planned(&migrate().contract().plan().to_string());
    let run = told(&reported(migrate().contract()));
    for check in ["nickname not null", "text not null"] {
        in_order(&plan["c"], check);
        in_order(&run["c"], check);
    }
}

/// `pace` bounds what one transaction changes, and each transaction is followed by a rest.
#[test]
fn r53_a_backfill_keeps_its_pace() {
    const REST: Duration = Duration::from_millis(20);
    for made in both() {
        let changed = |shard: &str| {
            made.texts(shard, "SELECT CAST(count(*) AS TEXT) FROM users WHERE name LIKE '%+'")[0]
                .parse::<u64>()
                .unwrap()
        };
        let portions = Mutex::new(BTreeMap::<String, Vec<(u64, Instant, Instant)>>::new());
        let estimates = Mutex::new(BTreeMap::<String, Vec<Option<u64>>>::new());
        made.migrate::<one::Models>(&names())
            .pace(Pace::rows(10).rest(REST))
            .run(|progress| {
                let began = Instant::now();
                if progress.phase == StepPhase::Backfill && progress.sql.is_none() {
                    assert_eq!(changed(&progress.shard), progress.rows, "what is reported is committed");
                    estimates.lock().unwrap().entry(progress.shard.clone()).or_default().push(progress.of);
                    let mut portions = portions.lock().unwrap();
                    portions.entry(progress.shard.clone()).or_default().push((
                        progress.rows,
                        began,
                        Instant::now(),
                    ));
                }
            })
            .unwrap();
        let portions = portions.into_inner().unwrap();
        let rows: u64 = portions.values().filter_map(|of| of.last()).map(|(rows, ..)| rows).sum();
        assert_eq!(rows, 60);
        for (shard, estimates) in estimates.into_inner().unwrap() {
            let all = portions[&shard].last().unwrap().0;
            let (last, before) = estimates.split_last().unwrap();
            assert!(last.is_none() && before.iter().all(|of| *of == Some(all)), "{shard}: {estimates:?}");
        }
        let mut full = 0;
        for (shard, portions) in &portions {
            let mut before = 0;
            for (rows, ..) in portions {
                assert!(*rows <= before + 10, "{shard}: {portions:?}");
                full += usize::from(*rows == before + 10);
                before = *rows;
            }
            // The report of a portion comes before its rest, and the next one after it.
            for pair in portions.windows(2) {
                assert!(pair[1].1 >= pair[0].2 + REST, "{shard}: {portions:?}");
            }
        }
        assert!(full >= 3, "{portions:?}");
    }
}

/// A step that fails on some shards, for which a trigger refuses the change.
fn stops(made: &Made, shards: &[&str]) {
    shards.iter().for_each(|shard| made.refuse_updates(shard, "name", "P0001"));
}

#[test]
fn r53_a_failing_canary_leaves_the_other_shards_untouched() {
    for made in both() {
        let sql = "INSERT INTO flown SELECT full_name FROM {users}";
        let steps = || two::migrations().step(7, "flown", |m| m.sqlite(sql).postgres(sql));
        ["a", "c"].iter().for_each(|shard| made.run(shard, "CREATE TABLE flown (text TEXT)"));
        let before = ["a", "c"].map(|shard| made.snapshot(shard));
        let migrate = || made.migrate::<two::Models>(&steps()).at_once(3).canary("b");
        let shards = Mutex::new(Vec::new());
        let error = migrate().run(|progress| shards.lock().unwrap().push(progress.shard.clone()));
        let error = error.map(drop).unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Schema, Some("b")), "{error}");
        assert_has(&error.to_string(), &["step 7 `flown`", "the SQL was: INSERT INTO flown"]);
        assert!(shards.into_inner().unwrap().iter().all(|shard| shard == "b"));
        let status = migrate().status().unwrap();
        for of in status.shards.iter().filter(|of| of.shard != "b") {
            let is_pending = of.steps.iter().all(|step| step.phase == StepPhase::Pending);
            assert!(of.version == 1 && of.steps.len() == 6 && is_pending, "{status}");
        }
        assert_eq!(["a", "c"].map(|shard| made.snapshot(shard)), before);
        made.builder().open::<one::Models>().unwrap();
        // The canary comes first, and alone.
        made.run("b", "CREATE TABLE flown (text TEXT)");
        let reported = reported(migrate());
        let first = reported.iter().position(|progress| progress.shard != "b").unwrap();
        let backfills =
            |progress: &&MigrationProgress| progress.step == 7 && progress.phase == StepPhase::Done;
        assert!(
            reported.iter().rposition(|progress| progress.shard == "b" && backfills(&progress)).unwrap()
                < first
        );
        let status = migrate().status().unwrap();
        assert!(status.shards.iter().all(|of| of.version == 7), "{status}");
    }
}

#[test]
fn r53_shards_are_migrated_at_the_same_time() {
    for made in both() {
        // Each waits in the middle of its step until all are there.
        let there = AtomicUsize::new(0);
        let meets = |progress: &MigrationProgress| {
            if progress.step == 2 && progress.phase == StepPhase::Backfill && progress.rows > 0 {
                there.fetch_add(1, Ordering::Relaxed);
                soon("all shards are in their backfill", || there.load(Ordering::Relaxed) >= SHARDS.len());
            }
        };
        // Two of them fail then. The error is of the first one, and the others come to their end.
        let more = || names().step(3, "again", |m| m.backfill::<one::User>(|user| user.name.push('!')));
        let stopped = made.migrate::<one::Models>(&more()).at_once(3).run(|progress| {
            meets(progress);
            if progress.step == 2 && progress.phase == StepPhase::Done && progress.shard != "b" {
                stops(&made, &[&progress.shard]);
            }
        });
        let error = stopped.map(drop).unwrap_err();
        assert_eq!(error.shard(), Some("a"), "{error}");
        assert_has(&error.to_string(), &["step 3 `again`", "refused"]);
        let migrate = || made.migrate::<one::Models>(&more()).at_once(3);
        let status = migrate().status().unwrap();
        let versions: Vec<u32> = status.shards.iter().map(|of| of.version).collect();
        assert_eq!(versions, [2, 3, 2], "{status}");
        let failed = |at: usize| status.shards[at].steps.iter().filter(|step| step.error.is_some()).count();
        assert_eq!([failed(0), failed(1), failed(2)], [1, 0, 1], "{status}");
        ["a", "c"].iter().for_each(|shard| made.accept_updates(shard));
        let status = migrate().run(|_| {}).unwrap();
        assert!(status.shards.iter().all(|of| of.version == 3) && !status.has_failed(), "{status}");
        for shard in SHARDS {
            let others = made.texts(shard, "SELECT name FROM users WHERE name <> 'user ' || id || '+!'");
            assert!(others.is_empty(), "{shard}: {others:?}");
        }
    }
}
