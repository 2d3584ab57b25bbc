//! Other programs beside a change: R51. They know nothing of it, and the database itself refuses their writes.

use std::time::Duration;

use shard_runtime::{Pace, Sharded as _, Switch};

use crate::backend::{Backend, LETTERS};
use crate::models::{Customer, Models, assert_sound, contents, fill};

on_some! {
    lasting: r51_other_programs_cannot_write_rows_that_have_moved
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
