//! Every kind of change on every kind of cluster: the rows are the same before and after, and where their keys are.

use std::time::Duration;

use shard_runtime::{
    Cluster, ErrorKind, Pace, Sharded as _,
    change::{ChangePlanner, Switch},
};

use crate::backend::{Backend, Kind, LETTERS, assert_error};
use crate::models::{Customer, Device, Event, Models, add, assert_sound, contents, fill};

on_some! {
    lasting:
        r50_a_shard_is_replaced,
        r50_a_shard_is_split,
        r50_all_shards_are_redistributed,
        r50_a_change_is_cancelled_and_leaves_nothing,
        r50_what_cannot_be_moved_is_refused_before_a_change_begins,
        r50_a_change_whose_target_is_lost_is_cancelled,
        r50_a_change_whose_source_is_gone_is_retired,
        r49_a_wrong_statement_is_no_matter_of_a_change,
        r49_a_handle_that_does_not_know_the_change_follows_it;
    on_disk:
        r50_a_fence_is_taken_down_although_a_target_is_lost;
    Files Schemas: r50_only_the_tables_of_a_target_are_analyzed;
    Files Prefixed Schemas Servers Everything:
        r50_indexes_that_a_source_has_more_are_on_its_targets,
        r50_conditions_of_a_source_are_on_its_targets;
    Files Schemas: r50_a_merge_has_what_fits_the_rows_of_all_sources;
    Servers: r50_an_index_that_a_target_cannot_have_is_refused
}

const MORE: [&str; 5] = ["a", "b", "c", "d", "e"];

fn begun(backend: &Backend) -> Cluster {
    drop({
        let cluster = backend.create::<Models>(&LETTERS);
        fill(&cluster, 60);
        cluster
    });
    backend.builder(&MORE).create::<Models>().unwrap()
}

fn patiently() -> Switch {
    Switch::within(Duration::from_secs(20))
}

/// Runs a change to its end.
fn change<'c>(cluster: &'c Cluster, plan: impl FnOnce(ChangePlanner<'c>) -> ChangePlanner<'c>) {
    let plan = plan(cluster.plan_change()).build().unwrap();
    let mut change = cluster.begin_change(&plan).unwrap();
    change.copy(Pace::rows(7), |progress| drop(progress.to_string())).unwrap();
    let report = change.verify().unwrap();
    assert_eq!(report.different, 0);
    change.switch(patiently()).unwrap();
    change.finish().unwrap();
}

fn r50_only_the_tables_of_a_target_are_analyzed(backend: &Backend) {
    let cluster = begun(backend);
    // A table of another program in the target's database.
    backend.plant(&["d"], "others", "CREATE TABLE {table} (id INTEGER PRIMARY KEY)");
    backend.plant(&["d"], "others", "INSERT INTO {table} VALUES (1), (2)");
    change(&cluster, |plan| plan.replace("c", "d"));
    let statistics = |table: &str| -> i64 {
        if backend.is_postgres("d") {
            let name = backend.table("d", table);
            let sql = format!("SELECT count(*) FROM pg_statistic WHERE starelid = '{name}'::regclass");
            return backend.client("d").text(&sql).parse().unwrap();
        }
        let sql = "SELECT count(*) FROM sqlite_stat1 WHERE tbl = ?1";
        backend.raw("d").query_row(sql, [table], |row| row.get(0)).unwrap()
    };
    assert!(statistics("customers") > 0);
    assert_eq!(statistics("others"), 0);
}

fn r50_indexes_that_a_source_has_more_are_on_its_targets(backend: &Backend) {
    let cluster = begun(backend);
    let has_index = |shard: &str, table: &str, columns: &str| {
        let name = backend.table(shard, table);
        if backend.is_postgres(shard) {
            let sql = format!(
                "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = '{name}'::regclass"
            );
            let found = backend.client(shard).rows(&sql).concat();
            return found.iter().any(|sql| sql.ends_with(&format!("({columns})")));
        }
        let sql = "SELECT count(*) FROM (SELECT group_concat(i.name, ', ') AS columns FROM pragma_index_list(?1) AS l, \
                   pragma_index_info(l.name) AS i GROUP BY l.name) WHERE columns = ?2";
        let plain = name.trim_matches('"').to_owned();
        let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        backend.raw(shard).query_row(sql, [plain.as_str(), columns], count).unwrap() > 0
    };
    backend.plant(&["c"], "customers", "CREATE UNIQUE INDEX own_{shard} ON {table} (cents)");
    backend.plant(&["c"], "orders", "CREATE INDEX own_cents_{shard} ON {table} (cents, id)");
    assert!(has_index("c", "customers", "cents") && !has_index("d", "customers", "cents"));
    // A cancelled change leaves none.
    let plan = cluster.plan_change().split("c", ["d", "e"]).build().unwrap();
    let mut cancelled = cluster.begin_change(&plan).unwrap();
    cancelled.copy(Pace::rows(7), |_| {}).unwrap();
    assert!(has_index("d", "customers", "cents"));
    cancelled.cancel().unwrap();
    assert!(!has_index("d", "customers", "cents") && has_index("d", "customers", "id, name"));
    change(&cluster, |plan| plan.split("c", ["d", "e"]));
    for target in ["d", "e"] {
        assert!(
            has_index(target, "customers", "cents") && has_index(target, "orders", "cents, id"),
            "{target}"
        );
    }
    let mut session = cluster.session();
    let rows = session.all(Customer::select().on_shard("d")).unwrap();
    let sql = format!(
        "INSERT INTO {0} SELECT -1, 'x' || email, name, currency, cents, version FROM {0} WHERE id = {1}",
        backend.table("d", "customers"),
        rows[0].id
    );
    let refused = match backend.is_postgres("d") {
        true => backend.client("d").try_run(&sql).unwrap_err(),
        false => backend.raw("d").execute_batch(&sql).unwrap_err().to_string(),
    };
    assert!(refused.to_lowercase().contains("unique"), "{refused}");
}

/// Indexes with a condition or over expressions, and CHECK constraints.
fn r50_conditions_of_a_source_are_on_its_targets(backend: &Backend) {
    let cluster = begun(backend);
    let indexes = |shard: &str| -> Vec<String> {
        let name = backend.table(shard, "customers");
        let mut found: Vec<String> = match backend.is_postgres(shard) {
            true => {
                let sql = format!(
                    "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = '{name}'::regclass"
                );
                backend.client(shard).rows(&sql).concat()
            }
            false => {
                let raw = backend.raw(shard);
                let sql = "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?1 AND sql IS NOT NULL";
                let mut read = raw.prepare(sql).unwrap();
                let rows = read.query_map([name.trim_matches('"')], |row| row.get(0)).unwrap();
                rows.map(Result::unwrap).collect()
            }
        };
        found.retain(|sql| sql.contains("WHERE") || sql.contains("lower"));
        found.sort();
        found
    };
    let wrong = |shard: &str| {
        let table = backend.table(shard, "customers");
        let sql = format!("UPDATE {table} SET cents = -6 WHERE id = (SELECT min(id) FROM {table})");
        let result = match backend.is_postgres(shard) {
            true => backend.client(shard).try_run(&sql).err().map(|error| error.to_string()),
            false => backend.raw(shard).execute_batch(&sql).err().map(|error| error.to_string()),
        };
        result.unwrap_or_else(|| "accepted".to_owned()).to_lowercase()
    };
    backend.plant(
        &["c"],
        "customers",
        "CREATE INDEX low_{shard} ON {table} (lower(name), cents) WHERE cents > 5; \
         CREATE UNIQUE INDEX paid_{shard} ON {table} (email, cents) WHERE cents >= 0; \
         ALTER TABLE {table} ADD CONSTRAINT \"not, less\" CHECK (cents > -6 AND name <> ')')",
    );
    assert_eq!((indexes("c").len(), indexes("d").len()), (2, 0));
    // A cancelled change leaves none.
    let plan = cluster.plan_change().split("c", ["d", "e"]).build().unwrap();
    let mut cancelled = cluster.begin_change(&plan).unwrap();
    cancelled.copy(Pace::rows(7), |_| {}).unwrap();
    let is_of_one_kind = backend.is_postgres("c") == backend.is_postgres("d");
    assert_eq!(indexes("d").len(), if is_of_one_kind { 2 } else { 0 }, "{:?}", indexes("d"));
    cancelled.cancel().unwrap();
    assert_eq!(indexes("d").len(), 0);
    change(&cluster, |plan| plan.replace("c", "d"));
    if is_of_one_kind {
        assert!(wrong("d").contains("check"), "{}", wrong("d"));
    }
    assert_sound(&cluster);
    // In a mixed cluster `d` is the first shard of its database, which cannot move alone.
    if is_of_one_kind && backend.kind != Kind::Everything {
        change(&cluster, |plan| plan.replace("d", "e"));
        assert!(wrong("e").contains("check"), "{}", wrong("e"));
        let (moved, all) = (indexes("e"), indexes("e").concat());
        assert_eq!((moved.len(), all.matches("customers: ").count()), (2, 2), "{all}");
        assert!(all.contains("low_c") && all.contains("UNIQUE INDEX") && all.contains("paid_c"), "{all}");
    }
    assert_sound(&cluster);
}

#[derive(shard_runtime::Sharded, Clone, Debug)]
#[sharded(table = "prices")]
struct Price {
    #[id]
    #[shard_key(hash)]
    id: i64,
    cents: i64,
}

fn r50_a_merge_has_what_fits_the_rows_of_all_sources(backend: &Backend) {
    let cluster = backend.create::<Price>(&LETTERS);
    cluster
        .transaction(|session| session.add_all((0..40).map(|id| Price { id, cents: id })).map(drop))
        .unwrap();
    drop(cluster);
    let cluster = backend.builder(&MORE).create::<Price>().unwrap();
    // The rows of `b` have equal values, and negative ones.
    backend.plant(&["b"], "prices", "UPDATE {table} SET cents = -9");
    backend.plant(
        &["c"],
        "prices",
        "CREATE UNIQUE INDEX plain_{shard} ON {table} (cents); CREATE UNIQUE INDEX part_{shard} ON {table} (cents) WHERE cents < 0; \
         CREATE INDEX low_{shard} ON {table} (cents) WHERE cents > 5; \
         ALTER TABLE {table} ADD CONSTRAINT positive CHECK (cents > -5)",
    );
    backend.plant(
        &["b", "c"],
        "prices",
        "ALTER TABLE {table} ADD CONSTRAINT all_of_them CHECK (cents > -10)",
    );
    change(&cluster, |plan| plan.merge(["b", "c"], "d"));
    assert_sound(&cluster);
    let table = backend.table("d", "prices");
    let indexes: Vec<String> = match backend.is_postgres("d") {
        true => {
            let sql = format!(
                "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = '{table}'::regclass"
            );
            backend.client("d").rows(&sql).concat()
        }
        false => {
            let raw = backend.raw("d");
            let mut read = raw
                .prepare("SELECT sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
                .unwrap();
            let rows = read.query_map([], |row| row.get(0)).unwrap();
            rows.map(Result::unwrap).collect()
        }
    };
    let of = |name: &str| indexes.iter().filter(|sql| sql.contains(name)).count();
    assert_eq!((of("low_c"), of("part_c"), of("prices(cents)")), (1, 0, 0), "{indexes:?}");
    let set =
        |cents: i64| format!("UPDATE {table} SET cents = {cents} WHERE id = (SELECT min(id) FROM {table})");
    let is_accepted = |sql: &str| match backend.is_postgres("d") {
        true => backend.client("d").try_run(sql).is_ok(),
        false => backend.raw("d").execute_batch(sql).is_ok(),
    };
    assert!(is_accepted(&set(-9)) && !is_accepted(&set(-10)));
}

fn r50_an_index_that_a_target_cannot_have_is_refused(backend: &Backend) {
    let cluster = begun(backend);
    let function =
        "CREATE FUNCTION short(name text) RETURNS text IMMUTABLE LANGUAGE sql RETURN left(name, 2)";
    backend.client("c").run(function);
    backend.plant(&["c"], "customers", "CREATE INDEX short_names ON {table} (short(name))");
    let plan = cluster.plan_change().replace("c", "d").build().unwrap();
    let parts = ["`d`", "cannot have an index", "short", "drop it on the source", "CREATE INDEX"];
    assert_error(cluster.begin_change(&plan), ErrorKind::Schema, &parts);
    assert!(cluster.changes().unwrap().is_empty(), "nothing has begun");
    backend.run("c", "DROP INDEX short_names");
    change(&cluster, |plan| plan.replace("c", "d"));
    assert_sound(&cluster);
}

fn names(cluster: &Cluster) -> Vec<&str> {
    cluster.shards().iter().map(|shard| shard.name()).collect()
}

fn r50_what_cannot_be_moved_is_refused_before_a_change_begins(backend: &Backend) {
    let cluster = begun(backend);
    let refused = |kind: ErrorKind, texts: &[&str]| {
        let plan = cluster.plan_change().split("c", ["d", "e"]).build().unwrap();
        assert_error(cluster.begin_change(&plan), kind, texts);
        assert!(cluster.changes().unwrap().is_empty(), "{texts:?}: nothing has begun");
    };
    backend.plant(&["c"], "orders", "ALTER TABLE {table} ADD COLUMN extra TEXT");
    refused(ErrorKind::Schema, &["`d`", "orders", "extra", "lacks a column"]);
    backend.plant(&["d", "e"], "orders", "ALTER TABLE {table} ADD COLUMN extra TEXT");
    let view = backend.table("c", "seen");
    backend.plant(&["c"], "orders", &format!("CREATE VIEW {view} AS SELECT * FROM {{table}}"));
    refused(ErrorKind::Configuration, &["`c`", "orders", "seen", "drop it on this shard"]);
    backend.run("c", &format!("DROP VIEW {view}"));
    change(&cluster, |planner| planner.split("c", ["d", "e"]));
    assert_sound(&cluster);
}

/// The cluster works: rows are added to all shards, and read.
fn assert_works(cluster: &Cluster, first: i64) {
    let before = cluster.session().all(Customer::select().all_shards()).unwrap().len();
    cluster.transaction(|session| (first..first + 20).try_for_each(|id| add(session, id))).unwrap();
    let mut session = cluster.session();
    assert_eq!(session.all(Customer::select().all_shards()).unwrap().len(), before + 20);
    for id in first..first + 20 {
        let email = Customer::EMAIL.eq(format!("{id}@example.org"));
        assert_eq!(session.one(Customer::select().filter(email)).unwrap().id, id);
        let mut found = session.get::<Customer>(id).unwrap().unwrap();
        found.email = format!("new {id}@example.org");
        session.update(&mut found).unwrap();
    }
    session.commit().unwrap();
    assert_sound(cluster);
}

fn r50_a_shard_is_replaced(backend: &Backend) {
    let cluster = begun(backend);
    let before = contents(&cluster);
    change(&cluster, |plan| plan.replace("c", "d"));
    assert_eq!(names(&cluster), ["a", "b", "d", "e"]);
    assert_eq!((cluster.epoch(), contents(&cluster)), (2, before.clone()));
    assert_sound(&cluster);
    let mut session = cluster.session();
    // Lookups of rows that have moved, and new rows with their values.
    for id in 0..60 {
        let email = format!("{id}@example.org");
        let found = session.one(Customer::select().filter(Customer::EMAIL.eq(email.as_str()))).unwrap();
        assert_eq!(found.id, id);
    }
    drop(session);
    let again = backend.builder(&MORE).open::<Models>().unwrap();
    assert_eq!((again.epoch(), contents(&again)), (2, before));
    assert_works(&again, 1_000);
    drop(again);
    // The source is not needed any more.
    cluster.changes().unwrap().pop().unwrap().retire().unwrap();
    assert!(cluster.changes().unwrap().is_empty());
    drop(cluster);
    let without = backend.builder(&["a", "b", "d", "e"]).open::<Models>().unwrap();
    assert_works(&without, 2_000);
    change(&without, |plan| plan.replace("b", "e"));
    assert_eq!((without.epoch(), names(&without)), (3, vec!["a", "d", "e"]));
    assert_works(&without, 3_000);
}

fn r50_a_shard_is_split(backend: &Backend) {
    let cluster = begun(backend);
    let before = contents(&cluster);
    change(&cluster, |plan| plan.split("c", ["d", "e"]));
    assert_eq!(names(&cluster), ["a", "b", "d", "e"]);
    assert_eq!(contents(&cluster), before);
    assert_sound(&cluster);
    let of = |key: &str| cluster.locate::<Device>(key).unwrap().name().to_owned();
    assert_eq!([of("red"), of("green"), of("blue"), of("black")], ["a", "b", "d", "e"]);
    let at = |key: i64| cluster.locate::<Event>(key).unwrap().name().to_owned();
    assert_eq!([at(5), at(15), at(25), at(35)], ["a", "b", "d", "e"]);
    for shard in ["d", "e"] {
        let session = &mut cluster.session();
        let rows = session.all(Customer::select().on_shard(shard)).unwrap();
        assert!(rows.len() > 3, "{shard} has {} customers", rows.len());
    }
    assert_works(&cluster, 1_000);
    let again = backend.builder(&MORE).open::<Models>().unwrap();
    assert_works(&again, 2_000);
}

fn r50_all_shards_are_redistributed(backend: &Backend) {
    // Ids that each shard has counted are no common ids.
    let cluster = begun(backend);
    let merged = cluster.plan_change().merge(["b", "c"], "d").build();
    assert_error(merged, ErrorKind::Configuration, &["orders", "#[id(auto)]"]);
}

fn r50_a_change_is_cancelled_and_leaves_nothing(backend: &Backend) {
    let cluster = begun(backend);
    let before = contents(&cluster);
    let plan = cluster.plan_change().split("c", ["d", "e"]).build().unwrap();
    let mut change = cluster.begin_change(&plan).unwrap();
    change.copy(Pace::rows(7), |_| {}).unwrap();
    let status = change.status().unwrap();
    assert_eq!((status.number, status.state, status.dirty), (1, "copying", Some(0)));
    // Meanwhile nothing else changes the cluster.
    assert_error(cluster.begin_change(&plan), ErrorKind::Layout, &["change 1", "c to d, e"]);
    assert_error(backend.builder(&MORE).create::<Models>(), ErrorKind::Layout, &["change 1"]);
    change.cancel().unwrap();
    assert!(cluster.changes().unwrap().is_empty());
    assert_eq!((cluster.epoch(), contents(&cluster)), (1, before.clone()));
    assert_works(&cluster, 1_000);
    // The targets are as `create` has made them.
    drop(backend.builder(&MORE).create::<Models>().unwrap());
    self::change(&cluster, |plan| plan.split("c", ["d", "e"]));
    assert_works(&cluster, 2_000);
}

fn r49_a_handle_that_does_not_know_the_change_follows_it(backend: &Backend) {
    let cluster = begun(backend);
    let before = contents(&cluster);
    let other = backend.builder(&MORE).open::<Models>().unwrap();
    let mut reader = other.session();
    assert!(reader.get::<Customer>(0).unwrap().is_some());
    reader.rollback();
    let writer = backend.builder(&MORE).open::<Models>().unwrap();
    let mut stored = writer.session().all(Customer::select().on_shard("c")).unwrap().pop().unwrap();
    change(&cluster, |plan| plan.split("c", ["d", "e"]));
    // A session at rest reads under the new layout.
    let names = |shards: &[&str]| shards.iter().map(|shard| (*shard).to_owned()).collect::<Vec<String>>();
    let shards = |session: &mut shard_runtime::Session| {
        let rows = session.all(Customer::select().all_shards()).unwrap();
        let mut shards: Vec<String> = rows.iter().map(|row| row.shard().name().to_owned()).collect();
        shards.sort_unstable();
        shards.dedup();
        shards
    };
    assert_eq!(shards(&mut reader), names(&["a", "b", "d", "e"]));
    assert_eq!(contents(&other), before);
    // One that writes is rolled back, and can be run again.
    let mut session = writer.session();
    let moved = before.len() as i64;
    let error = session.add(crate::models::customer(moved)).and_then(|_| {
        for id in 0..40 {
            session.add(crate::models::customer(10_000 + id))?;
        }
        session.commit()
    });
    assert_error(error, ErrorKind::Moved, &["shard `c`", "change 1"]);
    session.rollback();
    session.add(crate::models::customer(20_000)).unwrap();
    session.commit().unwrap();
    // A row that was read before is on no shard now.
    stored.cents += 1;
    assert_error(session.update(&mut stored), ErrorKind::Stale, &["shard `c`", "read the row again"]);
    session.rollback();
    writer
        .transaction(|session| {
            let mut fresh = session.get::<Customer>(stored.id)?.unwrap();
            fresh.cents = 7;
            session.update(&mut fresh)
        })
        .unwrap();
    assert_sound(&writer);
}

fn lose(backend: &Backend, shard: &str) {
    match backend.is_postgres(shard) {
        true => backend.client(shard).run(&format!("DROP SCHEMA {} CASCADE", backend.schema(shard))),
        false if backend.is_separate() => {
            for end in ["", "-wal", "-shm"] {
                let mut path = backend.path(shard).into_os_string();
                path.push(end);
                let _ = std::fs::remove_file(path);
            }
        }
        false => {
            for table in ["sharded_shard", "sharded_state"] {
                backend.run(shard, &format!("DROP TABLE {}", backend.table(shard, table)));
            }
        }
    }
}

fn r50_a_change_whose_target_is_lost_is_cancelled(backend: &Backend) {
    let cluster = begun(backend);
    let before = contents(&cluster);
    let plan = cluster.plan_change().split("c", ["d", "e"]).build().unwrap();
    let mut change = cluster.begin_change(&plan).unwrap();
    change.copy(Pace::rows(7), |_| {}).unwrap();
    lose(backend, "d");
    assert!(change.switch(Switch::default()).is_err());
    change.cancel().unwrap();
    assert!(cluster.changes().unwrap().is_empty());
    assert_eq!(contents(&cluster), before);
    cluster.transaction(|session| add(session, 5_000)).unwrap();
}

fn r50_a_change_whose_source_is_gone_is_retired(backend: &Backend) {
    let cluster = begun(backend);
    let before = contents(&cluster);
    change(&cluster, |plan| plan.replace("c", "d"));
    lose(backend, "c");
    cluster.changes().unwrap().pop().unwrap().retire().unwrap();
    assert!(cluster.changes().unwrap().is_empty());
    assert_eq!(contents(&cluster), before);
    // And again where the configuration does not name the source any more.
    change(&cluster, |plan| plan.replace("b", "e"));
    drop(cluster);
    let without = backend.builder(&["a", "d", "e"]).open::<Models>().unwrap();
    without.changes().unwrap().pop().unwrap().retire().unwrap();
    assert_eq!((contents(&without), without.changes().unwrap().len()), (before, 0));
    assert_error(
        without.plan_change().replace("c", "e").build(),
        ErrorKind::Layout,
        &["shard `c`", "retired"],
    );
}

fn r49_a_wrong_statement_is_no_matter_of_a_change(backend: &Backend) {
    let cluster = begun(backend);
    let plan = cluster.plan_change().split("c", ["d", "e"]).build().unwrap();
    let change = cluster.begin_change(&plan).unwrap();
    for sql in ["SELECT 1 AS one FROM no_such_thing", "SELECT no_such_column AS one FROM {customers}"] {
        let mut session = cluster.session();
        let found = session.all(shard_runtime::Sql::new(sql).on_shard("c"));
        assert_error(found, ErrorKind::Schema, &["no_such_"]);
    }
    change.cancel().unwrap();
}

/// The mover has died behind the fence, and the database of a target is lost.
fn r50_a_fence_is_taken_down_although_a_target_is_lost(backend: &Backend) {
    backend.waits(300);
    let cluster = begun(backend);
    let plan = cluster.plan_change().split("c", ["d", "e"]).build().unwrap();
    let change = cluster.begin_change(&plan).unwrap();
    let prefix = if backend.is_separate() { "" } else { "c_" };
    for table in ["customers", "orders"] {
        backend.run(
            "c",
            &format!(
                "CREATE TRIGGER {prefix}sharded_fence_{table} BEFORE INSERT ON {} BEGIN \
                 SELECT RAISE(ABORT, 'sharded: the shard is being moved by hand'); END",
                backend.table("c", table)
            ),
        );
    }
    let state = backend.table("c", "sharded_state");
    let fenced = format!(
        "UPDATE {state} SET value = replace(value, 'source', 'fenced') WHERE kind = 'change' AND name = ''"
    );
    backend.run("c", &fenced);
    lose(backend, "d");
    cluster.transaction(|session| (7_000..7_020).try_for_each(|id| add(session, id))).unwrap();
    change.cancel().unwrap();
    assert!(cluster.changes().unwrap().is_empty());
}
