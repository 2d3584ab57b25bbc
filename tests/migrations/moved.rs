//! A migration of a cluster whose layout has changed: steps are not run again on the rows of a new shard.

use shard_runtime::{
    Pace,
    change::Switch,
    migrate::{Migrations, StepPhase},
};

use crate::made::both;
use crate::models::one;

#[test]
fn r53_steps_are_not_run_again_on_the_target_of_a_change() {
    for made in both() {
        let steps =
            || {
                let sql = "UPDATE {posts} SET text = coalesce(text, '') || '!'";
                Migrations::new()
                    .step(2, "names", |m| m.backfill::<one::User>(|user| user.name.push('+')))
                    .step(3, "text", |m| m.sqlite(sql).postgres(sql).require(one::Post::TEXT))
            };
        made.migrate::<one::Models>(&steps()).run(|_| {}).unwrap();
        if !made.is_on_server() {
            // A change does not move what other programs have built on the tables.
            made.run("b", "DROP VIEW names; DROP TRIGGER logs; DROP TABLE marks");
        }
        // The target is added after the migration.
        let builder = || made.builder_of(&["a", "b", "c", "b2"]);
        let cluster = builder().create::<one::Models>().unwrap();
        let plan = cluster.plan_change().replace("b", "b2").build().unwrap();
        let mut change = cluster.begin_change(&plan).unwrap();
        change.copy(Pace::rows(50), |_| {}).unwrap();
        change.verify().unwrap();
        change.switch(Switch::default()).unwrap();
        change.finish().unwrap();
        drop((change, cluster));
        let migrate = || builder().migrate::<one::Models>(&steps()).unwrap();
        let status = migrate().status().unwrap();
        assert!(status.shards.iter().all(|of| of.version == 3), "{status}");
        let status = migrate().contract().run(|_| {}).unwrap();
        assert!(
            status.shards.iter().flat_map(|of| &of.steps).all(|step| step.phase == StepPhase::Done),
            "{status}"
        );
        let others = [
            "SELECT name FROM users WHERE name <> 'user ' || id || '+'",
            "SELECT text FROM posts WHERE text NOT IN ('!', 'text!')",
        ];
        for sql in others {
            assert_eq!(made.texts("b2", sql), [""; 0], "{sql}");
        }
        assert_ne!(made.texts("b2", "SELECT CAST(count(*) AS TEXT) FROM posts"), ["0"]);
    }
}
