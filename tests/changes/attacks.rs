//! Attacks that a change has to survive, one by one: keys that change while rows are copied, unique values that move from row
//! to row. Others are tries that fail half-way, and handles that are older than the change.

use std::time::Duration;

use shard_runtime::{
    Builder, Cluster, ErrorKind, Pace, Parent, Sharded,
    change::{Change, Switch},
};

use crate::backend::{Backend, Kind, LETTERS, assert_error};
use crate::models::{Customer, Models, Order, assert_sound, contents, fill};

on_some! {
    lasting:
        r50_descendants_follow_a_key_that_changes_and_changes_back,
        r50_descendants_follow_a_row_that_is_made_again,
        r50_unique_values_go_from_row_to_row_in_bulk,
        r50_unique_values_are_swapped_while_rows_are_copied,
        r50_a_handle_of_a_cancelled_change_does_not_touch_the_next_one,
        r50_a_handle_of_an_earlier_epoch_continues_a_change,
        r50_edges_of_ids_are_copied,
        r50_a_switch_that_has_no_time_to_count_rows_is_refused,
        r50_a_mover_that_was_overtaken_writes_nothing;
    Files Schemas: r50_an_attempt_that_was_cancelled_before_it_was_entered_leaves_nothing;
    Files Schemas Servers:
        r50_a_writer_that_is_open_when_the_fence_comes_is_waited_for,
        r47_a_control_database_that_is_older_than_a_change_is_refused,
        r47_a_control_database_that_is_older_than_a_moved_key_is_refused;
    Prefixed Schemas: r50_the_first_shard_of_a_shared_database_is_not_moved_alone;
    Servers: r50_the_shard_of_the_control_database_is_not_moved;
    Schemas:
        r50_a_switch_is_tried_again_after_a_reader_was_in_the_way,
        r51_other_programs_are_refused_behind_a_fence,
        r50_entries_that_are_committed_late_are_not_forgotten
}

on_some! {
    Files Prefixed: r50_a_row_that_replaces_others_is_noticed
}

const MORE: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Two of its keys are on the shard that is split.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "regions", unique(code, name))]
struct Region {
    #[id]
    id: i64,
    #[shard_key(list("v" => "a", "w" => "b", "x" => "c", "y" => "c"))]
    code: String,
    name: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "towns")]
struct Town {
    #[id]
    id: i64,
    #[shard_parent]
    region: Parent<Region>,
    name: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "streets")]
struct Street {
    #[id]
    id: i64,
    #[shard_parent]
    town: Parent<Town>,
}

type Regions = (Region, Town, Street);

fn regions(backend: &Backend, count: i64) -> Cluster {
    drop(backend.create::<Regions>(&LETTERS));
    let cluster = backend.builder(&MORE).create::<Regions>().unwrap();
    let mut session = cluster.session();
    for id in 0..count {
        let region = session.add(Region {
            id,
            code: if id % 2 == 0 { "x" } else { "y" }.into(),
            name: format!("n{id}"),
        });
        let region = region.unwrap();
        if id < 20 {
            let town = session.add(Town { id, region: region.link(), name: format!("t{id}") }).unwrap();
            session.add(Street { id, town: town.link() }).unwrap();
        }
    }
    session.commit().unwrap();
    drop(session);
    cluster
}

fn split(cluster: &Cluster) -> Change {
    cluster.begin_change(&cluster.plan_change().split("c", ["d", "e"]).build().unwrap()).unwrap()
}

fn patiently() -> Switch {
    Switch::within(Duration::from_secs(20))
}

fn regions_of(cluster: &Cluster) -> Vec<String> {
    let mut session = cluster.session();
    let mut all = Vec::new();
    for row in session.all(Region::select().all_shards()).unwrap() {
        all.push(format!("{:?} on {}", *row, row.shard().name()));
        for town in session.all(Town::select().filter(Town::REGION.eq(row.link()))).unwrap() {
            all.push(format!("town {} {} of {}", town.id, town.name, row.id));
            for street in session.all(Street::select().filter(Street::TOWN.eq(town.link()))).unwrap() {
                all.push(format!("street {} of {}", street.id, town.id));
            }
        }
    }
    all.sort_unstable();
    all
}

/// The answer of `regions_of` for the first rows, if all of them have their first keys.
fn assert_complete(cluster: &Cluster, count: i64) {
    let all = regions_of(cluster);
    let towns = all.iter().filter(|line| line.starts_with("town ")).count();
    let streets = all.iter().filter(|line| line.starts_with("street ")).count();
    assert_eq!((towns, streets, all.len()), (20, 20, usize::try_from(count).unwrap() + 40), "{all:?}");
    assert_sound(cluster);
}

fn r50_descendants_follow_a_key_that_changes_and_changes_back(backend: &Backend) {
    let cluster = regions(backend, 30);
    let mut change = split(&cluster);
    let key = |code: &str| {
        backend.plant(&["c"], "regions", &format!("UPDATE {{table}} SET code = '{code}' WHERE id IN (2, 4)"));
    };
    change
        .copy(Pace::rows(1_000), |progress| {
            // The towns are copied while their regions have another key than before and afterwards.
            match progress.what.as_str() {
                "regions" => key("y"),
                "towns" => key("x"),
                _ => {}
            }
        })
        .unwrap();
    change.switch(patiently()).unwrap();
    change.finish().unwrap();
    assert_complete(&cluster, 30);
}

fn r50_descendants_follow_a_row_that_is_made_again(backend: &Backend) {
    let cluster = regions(backend, 30);
    let mut change = split(&cluster);
    change.copy(Pace::rows(3), |_| {}).unwrap();
    // Its towns go to another region for a moment, and stay where they were.
    let run = |table: &str, sql: &str| {
        backend.plant(&["c"], table, sql);
    };
    run("towns", "UPDATE {table} SET region_id = 6 WHERE id IN (2, 4)");
    run("regions", "DELETE FROM {table} WHERE id IN (2, 4)");
    run("regions", "INSERT INTO {table} (id, code, name) VALUES (2, 'y', 'again'), (4, 'y', 'and again')");
    run("towns", "UPDATE {table} SET region_id = id WHERE id IN (2, 4)");
    change.switch(patiently()).unwrap();
    change.finish().unwrap();
    assert_complete(&cluster, 30);
    assert_eq!(cluster.session().get::<Region>(2).unwrap().unwrap().shard().name(), "e");
}

fn r50_unique_values_go_from_row_to_row_in_bulk(backend: &Backend) {
    let cluster = regions(backend, 3_000);
    let mut change = split(&cluster);
    change.copy(Pace::rows(1_000), |_| {}).unwrap();
    // Each row gets the name of another one: more of them than are copied with one statement.
    backend.plant(&["c"], "regions", "UPDATE {table} SET name = 'for a moment ' || id");
    backend.plant(&["c"], "regions", "UPDATE {table} SET name = 'n' || ((id + 2) % 3000)");
    change.switch(patiently()).unwrap();
    change.finish().unwrap();
    assert_complete(&cluster, 3_000);
    assert_eq!(cluster.session().get::<Region>(1_234).unwrap().unwrap().name, "n1236");
}

fn r50_unique_values_are_swapped_while_rows_are_copied(backend: &Backend) {
    let cluster = regions(backend, 40);
    let mut change = split(&cluster);
    change.copy(Pace::rows(1_000), |_| {}).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (done, cluster) = (&done, &cluster);
        scope.spawn(move || {
            let mut turn = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                turn += 1;
                let ids = [2 * (turn % 5), 2 * ((turn + 1) % 5)];
                let swapped = cluster.transaction(|session| {
                    let mut rows = Vec::new();
                    for id in ids {
                        rows.push(session.get::<Region>(id)?.expect("regions stay"));
                    }
                    let names = [rows[1].name.clone(), rows[0].name.clone()];
                    rows[0].name = "for a moment".into();
                    session.update(&mut rows[0])?;
                    session.flush()?;
                    for (row, name) in rows.iter_mut().zip(names).rev() {
                        row.name = name;
                        session.update(row)?;
                        session.flush()?;
                    }
                    Ok(())
                });
                if let Err(error) = swapped {
                    done.store(true, std::sync::atomic::Ordering::Relaxed);
                    panic!("{error}");
                }
            }
        });
        let copied = (0..30).try_for_each(|_| {
            std::thread::sleep(Duration::from_millis(2));
            change.verify().map(drop).and_then(|()| change.copy(Pace::default(), |_| {}))
        });
        let switched = copied.and_then(|()| change.switch(patiently()));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        switched.unwrap();
    });
    change.finish().unwrap();
    assert_complete(&cluster, 40);
    let mut session = cluster.session();
    let mut names: Vec<String> =
        session.all(Region::select().all_shards()).unwrap().iter().map(|row| row.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 40, "{names:?}");
}

fn begun(backend: &Backend) -> Cluster {
    drop({
        let cluster = backend.create::<Models>(&LETTERS);
        fill(&cluster, 60);
        cluster
    });
    backend.builder(&MORE).create::<Models>().unwrap()
}

fn r50_a_switch_that_has_no_time_to_count_rows_is_refused(backend: &Backend) {
    let cluster = begun(backend);
    let mut change = split(&cluster);
    change.copy(Pace::default(), |_| {}).unwrap();
    let failed = change.switch(Switch::within(Duration::ZERO).tries(1));
    assert_error(
        failed,
        ErrorKind::Busy,
        &["counting the rows takes", "may take 0 ms", "give the switch more time"],
    );
    change.switch(patiently()).unwrap();
    change.finish().unwrap();
    assert_sound(&cluster);
}

fn r50_a_switch_is_tried_again_after_a_reader_was_in_the_way(backend: &Backend) {
    let cluster = begun(backend);
    let mut change = split(&cluster);
    change.copy(Pace::default(), |_| {}).unwrap();
    // As a dump does, which keeps its snapshot.
    let reader = backend.client("c");
    reader.run(&format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM {}",
        backend.table("c", "customers")
    ));
    let failed = change.switch(Switch::within(Duration::from_secs(1)).tries(2));
    assert_error(failed, ErrorKind::Busy, &["shard `c`", "held by"]);
    // Writers go on beside the reader.
    // A row with children is written, and copied to a target whose foreign keys stand.
    let mut changed = 0;
    cluster
        .transaction(|session| {
            changed = 0;
            for id in 0..60 {
                let mut row = session.get::<Customer>(id)?.expect("it is there");
                row.cents += 1;
                session.update(&mut row)?;
                changed += 1;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(changed, 60);
    let before = contents(&cluster);
    reader.run("COMMIT");
    change.switch(patiently()).unwrap();
    change.finish().unwrap();
    assert_eq!(contents(&cluster), before);
    assert_sound(&cluster);
}

fn r50_a_handle_of_a_cancelled_change_does_not_touch_the_next_one(backend: &Backend) {
    let cluster = begun(backend);
    let before = contents(&cluster);
    let first = split(&cluster);
    let number = first.number();
    let (mut copies, cancels) = (cluster.changes().unwrap().remove(0), cluster.changes().unwrap().remove(0));
    first.cancel().unwrap();
    let plan = cluster.plan_change().replace("b", "d").build().unwrap();
    let mut second = cluster.begin_change(&plan).unwrap();
    assert_ne!(second.number(), number);
    assert_error(copies.copy(Pace::default(), |_| {}), ErrorKind::Stale, &["was cancelled"]);
    cancels.cancel().unwrap();
    second.copy(Pace::default(), |_| {}).unwrap();
    second.switch(patiently()).unwrap();
    second.finish().unwrap();
    assert_eq!((cluster.epoch(), contents(&cluster)), (2, before));
    assert_sound(&cluster);
}

fn r50_a_handle_of_an_earlier_epoch_continues_a_change(backend: &Backend) {
    let all = ["a", "b", "c", "spare", "d", "e", "f", "g"];
    drop({
        let cluster = backend.create::<Models>(&LETTERS);
        fill(&cluster, 60);
        cluster
    });
    let cluster = backend.builder(&all).create::<Models>().unwrap();
    let before = contents(&cluster);
    // It has done nothing since it was opened.
    let other = backend.builder(&all).open::<Models>().unwrap();
    let mut change = split(&cluster);
    change.copy(Pace::default(), |_| {}).unwrap();
    change.switch(patiently()).unwrap();
    change.finish().unwrap();
    change.retire().unwrap();
    drop(cluster.begin_change(&cluster.plan_change().split("d", ["f", "g"]).build().unwrap()).unwrap());
    let mut change = other.changes().unwrap().pop().unwrap();
    change.copy(Pace::default(), |_| {}).unwrap();
    change.verify().unwrap();
    change.switch(patiently()).unwrap();
    change.finish().unwrap();
    assert_eq!((other.epoch(), contents(&other)), (3, before.clone()));
    assert_sound(&other);
    let fresh = backend.builder(&all).open::<Models>().unwrap();
    assert_eq!((fresh.epoch(), contents(&fresh)), (3, before));
}

fn r50_edges_of_ids_are_copied(backend: &Backend) {
    drop(backend.create::<Edges>(&LETTERS));
    let cluster = backend.builder(&MORE).create::<Edges>().unwrap();
    let numbers = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX];
    let texts = [
        "",
        "'",
        "\"",
        "a'); --",
        "Z",
        "a",
        "z",
        "é",
        "e\u{301}",
        "\u{10ffff}",
        "ß",
        "\u{1f}",
        "%_\\",
        " ",
        "\n",
    ];
    let bytes: [&[u8]; 6] = [&[], &[0], &[0, 0], &[255], &[0x27], &[0xde, 0xad]];
    let mut session = cluster.session();
    for id in numbers {
        session.add(Number { id, code: "x".into(), ratio: f64::MIN_POSITIVE }).unwrap();
    }
    for id in texts {
        session.add(Text { id: id.into(), code: "x".into(), ratio: None }).unwrap();
    }
    for id in bytes {
        session.add(Bytes { id: id.into(), code: "y".into() }).unwrap();
    }
    session.commit().unwrap();
    let all = || {
        let mut session = cluster.session();
        let mut all: Vec<String> = Vec::new();
        all.extend(
            session.all(Number::select().all_shards()).unwrap().iter().map(|row| format!("{:?}", **row)),
        );
        all.extend(
            session.all(Text::select().all_shards()).unwrap().iter().map(|row| format!("{:?}", **row)),
        );
        all.extend(
            session.all(Bytes::select().all_shards()).unwrap().iter().map(|row| format!("{:?}", **row)),
        );
        all.sort_unstable();
        all
    };
    let before = all();
    assert_eq!(before.len(), 28);
    let mut change = split(&cluster);
    change.copy(Pace::rows(2), |_| {}).unwrap();
    // Each is copied again, as a dirty one.
    for (table, column) in [("numbers", "code"), ("texts", "code"), ("byte_strings", "code")] {
        backend.plant(&["c"], table, &format!("UPDATE {{table}} SET {column} = {column}"));
    }
    assert_eq!(change.verify().unwrap().different, 0);
    change.switch(patiently()).unwrap();
    change.finish().unwrap();
    assert_eq!(all(), before);
    assert_sound(&cluster);
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "numbers")]
struct Number {
    #[id]
    id: i64,
    #[shard_key(list("v" => "a", "w" => "b", "x" => "c", "y" => "c"))]
    code: String,
    ratio: f64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "texts")]
struct Text {
    #[id]
    id: String,
    #[shard_key(list("v" => "a", "w" => "b", "x" => "c", "y" => "c"))]
    code: String,
    ratio: Option<f64>,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "byte_strings")]
struct Bytes {
    #[id]
    id: Vec<u8>,
    #[shard_key(list("v" => "a", "w" => "b", "x" => "c", "y" => "c"))]
    code: String,
}

type Edges = (Number, Text, Bytes);

fn r50_a_row_that_replaces_others_is_noticed(backend: &Backend) {
    for recursive in [false, true] {
        let backend = &Backend::new(backend.kind);
        let cluster = regions(backend, 30);
        let mut change = split(&cluster);
        change.copy(Pace::default(), |_| {}).unwrap();
        let raw = backend.raw("c");
        raw.execute_batch(&format!("PRAGMA recursive_triggers = {recursive}; PRAGMA foreign_keys = OFF"))
            .unwrap();
        let run =
            |sql: &str| raw.execute_batch(&sql.replace("{table}", &backend.table("c", "regions"))).unwrap();
        // Rows 22 and 24 lose their names to others.
        run("INSERT OR REPLACE INTO {table} (id, code, name) VALUES (100, 'x', 'n22')");
        run("UPDATE OR REPLACE {table} SET name = 'n24' WHERE id = 26");
        run(
            "INSERT INTO {table} (id, code, name) VALUES (28, 'x', 'n28') ON CONFLICT DO UPDATE SET name = 'other'",
        );
        run("REPLACE INTO {table} (id, code, name) VALUES (29, 'x', 'moved')");
        run("DELETE FROM {table} WHERE id = 27");
        drop(raw);
        change.switch(patiently()).unwrap();
        change.finish().unwrap();
        let mut session = cluster.session();
        let mut rows: Vec<(i64, String)> = session
            .all(Region::select().all_shards())
            .unwrap()
            .iter()
            .map(|row| (row.id, row.name.clone()))
            .collect();
        rows.sort_unstable();
        let expected: Vec<(i64, String)> = (0..30)
            .filter(|id| ![22, 24, 27].contains(id))
            .map(|id| {
                let name = match id {
                    26 => "n24".to_owned(),
                    28 => "other".to_owned(),
                    29 => "moved".to_owned(),
                    _ => format!("n{id}"),
                };
                (id, name)
            })
            .chain([(100, "n22".to_owned())])
            .collect();
        assert_eq!(rows, expected, "recursive triggers: {recursive}");
        drop(session);
        assert_sound(&cluster);
    }
}

/// From files to servers and back.
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r50_a_shard_goes_from_a_file_to_a_server_and_back() {
    let (files, servers) = (Backend::new(Kind::Files), Backend::new(Kind::Schemas));
    drop({
        let cluster = files.create::<Models>(&LETTERS);
        fill(&cluster, 60);
        cluster
    });
    let builder = files.builder(&LETTERS).shard("d", servers.url("d")).shard("e", files.url("e"));
    let cluster = builder.create::<Models>().unwrap();
    let before = contents(&cluster);
    for (epoch, from, to) in [(2, "c", "d"), (3, "d", "e")] {
        let plan = cluster.plan_change().replace(from, to).build().unwrap();
        let mut change = cluster.begin_change(&plan).unwrap();
        change.copy(Pace::rows(7), |_| {}).unwrap();
        assert_eq!(change.verify().unwrap().different, 0);
        change.switch(patiently()).unwrap();
        change.finish().unwrap();
        change.retire().unwrap();
        assert_eq!((cluster.epoch(), contents(&cluster)), (epoch, before.clone()));
        assert_sound(&cluster);
        cluster
            .transaction(|session| {
                let row = session.add(crate::models::customer(epoch as i64 * 1_000))?;
                session.add(crate::models::NewOrder { customer: row.link(), cents: 1 })?;
                session.execute(Order::delete().filter(Order::CUSTOMER.eq(row.link())))?;
                session.delete(&row)
            })
            .unwrap();
    }
}

fn cents(cluster: &Cluster, id: i64) -> i64 {
    cluster.session().get::<Customer>(id).unwrap().unwrap().cents
}

/// An id of a customer that the split shard holds.
fn moving(cluster: &Cluster, count: usize) -> Vec<i64> {
    let mut session = cluster.session();
    let rows = session.all(Customer::select().on_shard("c")).unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.id).take(count).collect();
    assert_eq!(ids.len(), count);
    ids
}

/// Runs SQL on a shard in a transaction that stays open; the function that is returned commits it.
fn open_writer(backend: &Backend, shard: &str, sql: &str) -> Box<dyn FnOnce() + Send> {
    if backend.is_postgres(shard) {
        let client = backend.client(shard);
        client.run(&format!("BEGIN; {sql}"));
        return Box::new(move || client.run("COMMIT"));
    }
    let raw = backend.raw(shard);
    raw.execute_batch(&format!("BEGIN IMMEDIATE; {sql}")).unwrap();
    Box::new(move || raw.execute_batch("COMMIT").unwrap())
}

fn r50_a_writer_that_is_open_when_the_fence_comes_is_waited_for(backend: &Backend) {
    let cluster = begun(backend);
    let [changed, deleted] = moving(&cluster, 2)[..] else { panic!("there are two") };
    let mut change = split(&cluster);
    change.copy(Pace::default(), |_| {}).unwrap();
    change.verify().unwrap();
    let (lines, orders, customers) = ("order_lines", "orders", "customers");
    let [lines, orders, customers] = [lines, orders, customers].map(|table| backend.table("c", table));
    let commit = open_writer(
        backend,
        "c",
        &format!(
            "UPDATE {customers} SET cents = 4711 WHERE id = {changed}; \
             DELETE FROM {lines} WHERE order_id IN (SELECT id FROM {orders} WHERE customer_id = {deleted}); \
             DELETE FROM {orders} WHERE customer_id = {deleted}; DELETE FROM {customers} WHERE id = {deleted}"
        ),
    );
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(400));
            commit();
        });
        change.switch(patiently()).unwrap();
    });
    change.finish().unwrap();
    assert_eq!(cents(&cluster, changed), 4711);
    assert!(cluster.session().get::<Customer>(deleted).unwrap().is_none());
}

fn r51_other_programs_are_refused_behind_a_fence(backend: &Backend) {
    let cluster = begun(backend);
    let id = moving(&cluster, 1)[0];
    let before = cents(&cluster, id);
    let mut change = split(&cluster);
    change.copy(Pace::default(), |_| {}).unwrap();
    let customers = backend.table("c", "customers");
    // The switch has made its fence, and waits for this reader.
    let reader = backend.client("c");
    reader.run(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM {customers}"));
    let done = std::sync::atomic::AtomicBool::new(false);
    let (refused, written) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let client = backend.client("c");
            let (mut refused, mut written) = (0, 0);
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                match client.try_run(&format!("UPDATE {customers} SET cents = cents + 1 WHERE id = {id}")) {
                    Ok(()) => written += 1,
                    Err(why) => refused += i64::from(why.contains("change")),
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            (refused, written)
        });
        let switched = change.switch(Switch::within(Duration::from_secs(2)).tries(1));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_error(switched, ErrorKind::Busy, &["shard `c`"]);
        writer.join().unwrap()
    });
    assert!(refused > 0, "{written} writes went through");
    reader.run("COMMIT");
    change.switch(patiently()).unwrap();
    change.finish().unwrap();
    assert_eq!(cents(&cluster, id), before + written);
    assert_sound(&cluster);
}

fn r50_entries_that_are_committed_late_are_not_forgotten(backend: &Backend) {
    let cluster = begun(backend);
    let ids = moving(&cluster, 12);
    let mut change = split(&cluster);
    change.copy(Pace::default(), |_| {}).unwrap();
    let customers = backend.table("c", "customers");
    let copies = ["d", "e"].map(|target| (target, backend.table(target, "customers")));
    for round in 0..6 {
        let [late, early] = ids[2 * round..2 * round + 2] else { panic!("there are two") };
        let update = |id: i64| format!("UPDATE {customers} SET cents = {} WHERE id = {id}", 9_000 + id);
        let commit = open_writer(backend, "c", &update(late));
        backend.run("c", &update(early));
        // The mover has read the early entry, and waits for these.
        let held = copies.each_ref().map(|(target, table)| {
            open_writer(backend, target, &format!("LOCK TABLE {table} IN SHARE MODE"))
        });
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(320 + 7 * round as u64));
                commit();
                held.into_iter().for_each(|release| release());
            });
            change.copy(Pace::default(), |_| {}).unwrap();
        });
    }
    change.switch(patiently()).unwrap();
    change.finish().unwrap();
    for id in ids {
        assert_eq!(cents(&cluster, id), 9_000 + id, "{id}");
    }
}

fn r50_a_mover_that_was_overtaken_writes_nothing(backend: &Backend) {
    for finishes in [false, true] {
        let backend = &Backend::new(backend.kind);
        let cluster = begun(backend);
        let mut first = split(&cluster);
        let mut is_overtaken = false;
        let result = first.copy(Pace::rows(10), |_| {
            if std::mem::replace(&mut is_overtaken, true) {
                return;
            }
            let mut second = cluster.changes().unwrap().pop().unwrap();
            second.copy(Pace::default(), |_| {}).unwrap();
            if finishes {
                second.switch(patiently()).unwrap();
                second.finish().unwrap();
            }
        });
        assert_error(result, ErrorKind::Stale, &["attempt"]);
        // It goes on where the other one has stopped, or learns that there is nothing to do.
        let again = first.copy(Pace::default(), |_| {});
        match finishes {
            true => assert_error(again, ErrorKind::Stale, &["is decided"]),
            false => {
                again.unwrap();
                first.switch(patiently()).unwrap();
                first.finish().unwrap();
            }
        }
        assert_eq!(cluster.epoch(), 2);
        assert_eq!(cluster.session().all(Customer::select().all_shards()).unwrap().len(), 60);
        assert_sound(&cluster);
    }
}

fn r50_an_attempt_that_was_cancelled_before_it_was_entered_leaves_nothing(backend: &Backend) {
    let world = crate::mover::World::new(backend.kind, false);
    let cluster = world.open();
    drop(split(&cluster));
    let change = || cluster.changes().unwrap().pop().unwrap();
    let (mut enters, cancels) = (change(), change());
    // Both wait for the first target: one to enter its attempt, the other to remove what the change has made.
    let own = match world.backend.is_postgres("d") {
        true => format!("LOCK TABLE {} IN EXCLUSIVE MODE", world.backend.table("d", "sharded_shard")),
        false => String::new(),
    };
    let release = open_writer(&world.backend, "d", &own);
    std::thread::scope(|scope| {
        let entered = scope.spawn(move || enters.copy(Pace::default(), |_| {}));
        std::thread::sleep(Duration::from_millis(300));
        let cancelled = scope.spawn(move || cancels.cancel());
        std::thread::sleep(Duration::from_millis(300));
        release();
        assert_error(entered.join().unwrap(), ErrorKind::Stale, &["change"]);
        cancelled.join().unwrap().unwrap();
    });
    let left = ["c", "d", "e"].map(|shard| world.left(shard));
    assert_eq!(left, [0, 0, 0]);
    world.assert_end("after the cancellation");
}

/// A cluster whose control database is beside its shards: in a file, or in a schema of its own.
fn beside_control(backend: &Backend, shards: &[&str]) -> Builder {
    backend.builder(shards).control(backend.url("control"))
}

/// Keeps a copy of the control database, which is not in use, under a name.
fn keep_control(backend: &Backend, name: &str) {
    if !backend.is_postgres("control") {
        let copy = backend.folder().join(name);
        backend.raw("control").execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
        return;
    }
    for_own_tables(backend, &format!("CREATE TABLE {name}_%1$s AS TABLE %1$s"));
}

/// Puts a copy of the control database in its place.
fn put_control_back(backend: &Backend, name: &str) {
    if !backend.is_postgres("control") {
        let path = backend.path("control");
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
        std::fs::copy(backend.folder().join(name), path).unwrap();
        return;
    }
    for_own_tables(backend, &format!("DELETE FROM %1$s; INSERT INTO %1$s SELECT * FROM {name}_%1$s"));
}

/// Runs SQL for each table of a control database on a server.
fn for_own_tables(backend: &Backend, sql: &str) {
    backend.client("control").run(&format!(
        "DO $$ DECLARE name text; BEGIN \
         FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename LIKE 'sharded\\_%' \
         LOOP EXECUTE format('{sql}', name); END LOOP; END $$"
    ));
}

/// Opening and making the cluster are refused, because this shard, or an unnamed one, shows that the control database is older.
#[track_caller]
fn is_older(backend: &Backend, shards: &[&str], shard: &str, texts: &[&str]) {
    let shard = if shard.is_empty() { "shard `".to_owned() } else { format!("shard `{shard}`") };
    let place = if backend.is_postgres("control") { "control database" } else { "control.db" };
    let texts =
        [&shard, place, "is older than the shard", "restore"].into_iter().chain(texts.iter().copied());
    let texts: Vec<&str> = texts.collect();
    let builder = beside_control(backend, shards);
    assert_error(builder.clone().open::<Models>(), ErrorKind::WrongDatabase, &texts);
    assert_error(builder.create::<Models>(), ErrorKind::WrongDatabase, &texts);
}

fn r47_a_control_database_that_is_older_than_a_change_is_refused(backend: &Backend) {
    fill(&beside_control(backend, &LETTERS).create::<Models>().unwrap(), 60);
    let cluster = beside_control(backend, &MORE).create::<Models>().unwrap();
    let before = contents(&cluster);
    keep_control(backend, "before");
    let change = split(&cluster);
    assert_eq!(change.number(), 1);
    drop((change, cluster));
    keep_control(backend, "begun");

    put_control_back(backend, "before");
    let texts = ["attempts of changes up to 0", "change 1 with attempt 1"];
    // The first shard with a part, in the order of their databases: `d` is beside `a` on the first server.
    let first = if backend.kind == Kind::Servers { "d" } else { "c" };
    is_older(backend, &MORE, first, &texts);
    // As if the process that began it had died before it entered the source: only spare shards have a part.
    let part: String = backend.peek("c", "sharded_state", "SELECT value FROM {table} WHERE kind = 'change'");
    backend.plant(&["c"], "sharded_state", "DELETE FROM {table} WHERE kind = 'change'");
    is_older(backend, &MORE, "d", &texts);
    let sql = format!("INSERT INTO {{table}} (kind, name, value) VALUES ('change', '', '{part}')");
    backend.plant(&["c"], "sharded_state", &sql);

    // The newer one has lost nothing.
    put_control_back(backend, "begun");
    let cluster = beside_control(backend, &MORE).open::<Models>().unwrap();
    let mut change = cluster.changes().unwrap().pop().unwrap();
    change.copy(Pace::default(), |_| {}).unwrap();
    change.switch(patiently()).unwrap();
    change.finish().unwrap();
    assert_eq!((cluster.epoch(), contents(&cluster)), (2, before));
    drop((change, cluster));

    // After the change all shards show it, by the epoch of the layout, and the source by its name.
    put_control_back(backend, "before");
    is_older(backend, &MORE, "", &[]);
}

fn r47_a_control_database_that_is_older_than_a_moved_key_is_refused(backend: &Backend) {
    let cluster = beside_control(backend, &LETTERS).create::<Models>().unwrap();
    fill(&cluster, 60);
    let from = cluster.locate::<Customer>(7).unwrap().name().to_owned();
    let to = LETTERS.into_iter().find(|shard| *shard != from).unwrap();
    keep_control(backend, "before");
    let copy = "SELECT value FROM {table} WHERE kind = 'layout' AND name = ''";
    let copies = LETTERS.map(|shard| backend.peek::<String>(shard, "sharded_state", copy));
    cluster.move_key::<Customer>(7, to).run().unwrap();
    drop(cluster);
    put_control_back(backend, "before");
    is_older(backend, &LETTERS, "", &["epoch 1", "epoch 2"]);
    // As if the process had died before it renewed the copies of the layout: only the old shard shows it.
    for (shard, copy) in LETTERS.iter().zip(copies) {
        let sql = format!("UPDATE {{table}} SET value = '{copy}' WHERE kind = 'layout' AND name = ''");
        backend.plant(&[shard], "sharded_state", &sql);
    }
    is_older(backend, &LETTERS, &from, &["epoch 1", "a key has left the shard in epoch 2"]);
}

fn r50_the_first_shard_of_a_shared_database_is_not_moved_alone(backend: &Backend) {
    let cluster = begun(backend);
    let before = contents(&cluster);
    assert_error(
        cluster.plan_change().split("a", ["d", "e"]).build(),
        ErrorKind::Configuration,
        &[
            "shard `a`",
            "is the first of its database, which holds b, c, d, e too",
            "make b, c sources of the change, too, and name targets in another database than d, e",
        ],
    );
    assert!(cluster.changes().unwrap().is_empty());
    assert_eq!((cluster.epoch(), contents(&cluster)), (1, before));
}

fn r50_the_shard_of_the_control_database_is_not_moved(backend: &Backend) {
    let builder = |shards: &[&str]| backend.builder(shards).control(backend.url("b"));
    fill(&builder(&LETTERS).create::<Models>().unwrap(), 20);
    let cluster = builder(&MORE).create::<Models>().unwrap();
    let before = contents(&cluster);
    assert_error(
        cluster.plan_change().replace("b", "d").build(),
        ErrorKind::Configuration,
        &["shard `b`", "the control database is in this shard", "naming it with `control`"],
    );
    assert!(cluster.changes().unwrap().is_empty());
    assert_eq!((cluster.epoch(), contents(&cluster)), (1, before));
}
