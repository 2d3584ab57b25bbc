//! Other programs beside a change: R51. They do not check for it, and the database itself refuses their writes.

use std::time::Duration;

use shard_runtime::{
    Cluster, Pace, Sharded as _,
    change::{Change, Switch},
};

use crate::backend::{Backend, LETTERS};
use crate::models::{Customer, Models, assert_sound, contents, fill};

on_some! {
    lasting:
        r51_other_programs_cannot_write_rows_that_have_moved,
        r51_other_programs_write_as_before_after_a_change_was_cancelled;
    Files Prefixed: r51_a_statement_of_sqlite_that_was_prepared_before_a_switch_is_refused;
    Schemas Servers: r51_a_statement_of_a_server_that_was_prepared_before_a_switch_is_refused
}

/// Runs SQL with a plain client on a shard, and returns its error.
fn refused(backend: &Backend, shard: &str, sql: &str) -> String {
    match backend.is_postgres(shard) {
        true => backend.client(shard).try_run(sql).expect_err(sql),
        false => backend.raw(shard).execute_batch(sql).expect_err(sql).to_string(),
    }
}

fn r51_other_programs_cannot_write_rows_that_have_moved(backend: &Backend) {
    drop({
        let cluster = backend.create::<Models>(&LETTERS);
        fill(&cluster, 30);
        cluster
    });
    let all = ["a", "b", "c", "d", "e"];
    let cluster = backend.builder(&all).create::<Models>().unwrap();
    let plan = cluster.plan_change().split("c", ["d", "e"]).build().unwrap();
    let mut change = cluster.begin_change(&plan).unwrap();
    change.copy(Pace::rows(7), |_| {}).unwrap();
    // While rows are copied, other programs write, and their rows are moved, too.
    let (customers, orders) = (backend.table("c", "customers"), backend.table("c", "orders"));
    backend.run("c", &format!("UPDATE {customers} SET cents = cents + 1"));
    backend.run("c", &format!("DELETE FROM {} WHERE true", backend.table("c", "order_lines")));
    backend.run("c", &format!("DELETE FROM {orders} WHERE cents = 0"));
    let before = contents(&cluster);
    change.switch(Switch::within(Duration::from_secs(20))).unwrap();
    for finished in [false, true] {
        if finished {
            change.finish().unwrap();
        }
        for sql in [
            format!("UPDATE {customers} SET cents = 0"),
            format!("DELETE FROM {customers}"),
            format!("INSERT INTO {orders} (customer_id, cents) VALUES (1, 1)"),
        ] {
            let error = refused(backend, "c", &sql);
            assert!(error.contains("no such table") || error.contains("does not exist"), "{sql}: {error}");
        }
        let hidden = backend.table("c", &format!("sharded_retired_{}_0", change.number()));
        let error = refused(backend, "c", &format!("DELETE FROM {hidden}"));
        assert!(error.contains("the shard is being moved by change"), "{error}");
    }
    assert_eq!(contents(&cluster), before);
    assert_sound(&cluster);
    assert_eq!(cluster.session().all(Customer::select().all_shards()).unwrap().len(), 30);
}

/// A cluster whose shard `c` can be split, with the change begun and its rows copied.
fn copied(backend: &Backend) -> (Cluster, Change) {
    drop({
        let cluster = backend.create::<Models>(&LETTERS);
        fill(&cluster, 30);
        cluster
    });
    let cluster = backend.builder(&["a", "b", "c", "d", "e"]).create::<Models>().unwrap();
    let plan = cluster.plan_change().split("c", ["d", "e"]).build().unwrap();
    let mut change = cluster.begin_change(&plan).unwrap();
    change.copy(Pace::rows(7), |_| {}).unwrap();
    (cluster, change)
}

fn switch(change: &mut Change) {
    change.switch(Switch::within(Duration::from_secs(20))).unwrap();
    change.finish().unwrap();
}

fn r51_other_programs_write_as_before_after_a_change_was_cancelled(backend: &Backend) {
    let (cluster, change) = copied(backend);
    let customers = backend.table("c", "customers");
    let count = |cents: i64| {
        backend.peek::<i64>(
            "c",
            "customers",
            &format!("SELECT count(*) FROM {{table}} WHERE cents = {cents}"),
        )
    };
    backend.run("c", &format!("UPDATE {customers} SET cents = 11"));
    change.cancel().unwrap();
    backend.run("c", &format!("UPDATE {customers} SET cents = cents + 1"));
    let all = cluster.session().all(Customer::select().on_shard("c")).unwrap();
    assert_eq!((count(12), count(11)), (all.len() as i64, 0));
    assert!(all.iter().all(|row| row.cents == 12));
}

fn r51_a_statement_of_sqlite_that_was_prepared_before_a_switch_is_refused(backend: &Backend) {
    let (cluster, mut change) = copied(backend);
    let raw = backend.raw("c");
    let customers = backend.table("c", "customers");
    let mut update = raw.prepare(&format!("UPDATE {customers} SET cents = cents + 1 WHERE id = ?1")).unwrap();
    let mut insert =
        raw.prepare(&format!("INSERT OR REPLACE INTO {customers} SELECT * FROM {customers}")).unwrap();
    for id in 0..30 {
        update.execute([id]).unwrap();
    }
    let before = contents(&cluster);
    switch(&mut change);
    for id in 0..30 {
        let error = update.execute([id]).unwrap_err().to_string();
        assert!(error.contains("no such table"), "{error}");
    }
    let error = insert.execute([]).unwrap_err().to_string();
    assert!(error.contains("no such table"), "{error}");
    assert_eq!(contents(&cluster), before);
    assert_sound(&cluster);
}

fn r51_a_statement_of_a_server_that_was_prepared_before_a_switch_is_refused(backend: &Backend) {
    let (cluster, mut change) = copied(backend);
    let client = backend.client("c");
    client.run("PREPARE raise (bigint) AS UPDATE customers SET cents = cents + 1 WHERE id = $1");
    // Its plan is kept from the sixth time on.
    for id in 0..30 {
        client.run(&format!("EXECUTE raise ({id})"));
    }
    let before = contents(&cluster);
    switch(&mut change);
    for id in 0..30 {
        let error = client.try_run(&format!("EXECUTE raise ({id})")).expect_err("it has moved");
        assert!(error.contains("does not exist") || error.contains("being moved"), "{error}");
    }
    assert_eq!(contents(&cluster), before);
    assert_sound(&cluster);
}
