//! Copies that are refused, and writes that a cluster refuses while rows are copied into it.

use std::fs::File;

use shard_runtime::{Cluster, ErrorKind, Pace, Sharded as _, migrate::Migrations};

use crate::backend::{Backend, Kind, LETTERS, assert_error};
use crate::copy;
use crate::models::{Customer, Device, Event, Models, add, assert_sound, contents, customer, fill};

on_some! {
    lasting:
        r62_a_cluster_with_rows_is_refused,
        r62_nothing_else_writes_to_a_cluster_that_is_copied_to,
        a_row_that_the_other_database_refuses_ends_the_copy,
        a_row_whose_key_has_no_shard_ends_the_copy;
    on_disk:
        a_source_that_stays_locked_is_refused
}

fn made(backend: &Backend) -> Cluster {
    let cluster = backend.builder(&LETTERS).create::<Models>().unwrap();
    fill(&cluster, 30);
    cluster
}

#[test]
fn a_cluster_is_not_copied_to_itself() {
    let backend = Backend::new(Kind::Files);
    let cluster = made(&backend);
    assert_error(copy(&cluster, &cluster), ErrorKind::Configuration, &["the same cluster", "`create`"]);
    let other = backend.builder(&LETTERS).open::<Models>().unwrap();
    assert_error(copy(&cluster, &other), ErrorKind::Configuration, &["the same cluster"]);
}

fn r62_a_cluster_with_rows_is_refused(backend: &Backend) {
    let from = Backend::new(Kind::Files);
    let source = made(&from);
    let target = backend.create::<Models>(&LETTERS);
    target.transaction(|session| session.add(Event { at: 15, what: "here".into() }).map(drop)).unwrap();
    let before = contents(&target);
    assert_error(
        copy(&source, &target),
        ErrorKind::Configuration,
        &["shard `b`", "events", "has rows already"],
    );
    assert_eq!(contents(&target), before);
    // Nothing is left of it.
    target.transaction(|session| session.add(Event { at: 5, what: "there".into() }).map(drop)).unwrap();
    drop(target);
    let target = backend.open::<Models>(&LETTERS).unwrap();
    // One to which rows were copied has rows, too.
    target.transaction(|session| session.execute(Event::delete().all_shards()).map(drop)).unwrap();
    copy(&source, &target).unwrap();
    assert_error(copy(&source, &target), ErrorKind::Configuration, &["has rows already"]);
    assert_eq!(contents(&target), contents(&source));
}

#[test]
fn clusters_in_memory_are_refused() {
    let memory = Backend::new(Kind::Memory);
    let (memory, file) = (memory.create::<Models>(&LETTERS), Backend::new(Kind::Files));
    let file = file.create::<Models>(&LETTERS);
    for (from, to) in [(&memory, &file), (&file, &memory)] {
        assert_error(copy(from, to), ErrorKind::Configuration, &["shard `a`", "in memory"]);
    }
}

#[test]
fn other_models_are_refused() {
    let (from, to) = (Backend::new(Kind::Files), Backend::new(Kind::Files));
    let source = made(&from);
    let target = to.create::<(Device, Event)>(&LETTERS);
    assert_error(
        copy(&source, &target),
        ErrorKind::UnknownModel,
        &["`Currency`", "open both with the same models"],
    );
    drop(target);
    let less = from.builder(&LETTERS).open::<(Device, Event)>().unwrap();
    let target = to.builder(&LETTERS).create::<Models>().unwrap();
    assert_error(copy(&less, &target), ErrorKind::UnknownModel, &["the source was opened without it"]);
    // A handle that lacks a recorded model would leave rows behind.
    drop(target);
    let fewer = Backend::new(Kind::Files);
    let fewer = fewer.create::<(Device, Event)>(&LETTERS);
    assert_error(copy(&less, &fewer), ErrorKind::Layout, &["would not be copied", "register the model"]);
}

#[test]
fn changes_and_migrations_keep_copies_away() {
    let (from, to) = (Backend::new(Kind::Files), Backend::new(Kind::Files));
    drop(made(&from));
    let source = from.builder(&["a", "b", "c", "d"]).create::<Models>().unwrap();
    drop(to.create::<Models>(&LETTERS));
    let target = to.builder(&["a", "b", "c", "d"]).create::<Models>().unwrap();
    for changing in [&source, &target] {
        let plan = changing.plan_change().replace("c", "d").build().unwrap();
        let change = changing.begin_change(&plan).unwrap();
        assert_error(copy(&source, &target), ErrorKind::Layout, &["change", "c to d", "finish or cancel"]);
        change.cancel().unwrap();
    }
    let lock = File::options().write(true).open(from.folder().join("control.db-migration")).unwrap();
    lock.lock().unwrap();
    assert_error(copy(&source, &target), ErrorKind::Busy, &["a migration of the source runs"]);
    lock.unlock().unwrap();
    copy(&source, &target).unwrap();
    assert_eq!(contents(&target), contents(&source));
}

/// A copy that ends with a panic after a number of events, as a process that is killed does.
fn stop(source: &Cluster, target: &Cluster, after: usize) {
    let mut events = 0;
    let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        source.copy_to(target).pace(Pace::rows(5)).run(|_| {
            events += 1;
            assert!(events < after, "stopped by the test");
        })
    }));
    assert!(stopped.is_err());
}

fn r62_nothing_else_writes_to_a_cluster_that_is_copied_to(backend: &Backend) {
    let from = Backend::new(Kind::Files);
    let source = made(&from);
    let before = backend.builder(&LETTERS).create::<Models>().unwrap();
    let target = backend.builder(&LETTERS).open::<Models>().unwrap();
    stop(&source, &target, 8);
    // Handles of before can read, and write nothing. That is no fault of a server, and does not end soon.
    let written = before.transaction(|session| session.add(customer(7_000)).map(drop));
    assert!(!written.as_ref().is_err_and(|error| error.is_retryable()), "{written:?}");
    assert_error(written, ErrorKind::ReadOnly, &["another cluster is being copied", "copy_to"]);
    let deleted = before.transaction(|session| session.execute(Customer::delete().all_shards()).map(drop));
    assert_error(deleted, ErrorKind::ReadOnly, &["customers"]);
    // No process opens it by mistake.
    let open = || backend.builder(&LETTERS).open::<Models>();
    assert_error(
        open(),
        ErrorKind::Layout,
        &["the copy of the cluster", "rows are missing", "run the copy again"],
    );
    let migration = backend.builder(&LETTERS).migrate::<Models>(&Migrations::new());
    assert_error(migration, ErrorKind::Layout, &["rows are missing"]);
    // Another cluster is not mixed with it.
    let own = Backend::new(Kind::Files);
    let third = made(&own);
    drop((before, target));
    let target = backend.builder(&LETTERS).create::<Models>().unwrap();
    assert_error(copy(&third, &target), ErrorKind::Layout, &["the copy of the cluster"]);
    copy(&source, &target).unwrap();
    assert_eq!(contents(&target), contents(&source));
    target.transaction(|session| add(session, 7_000)).unwrap();
    drop(target);
    let target = open().unwrap();
    target.transaction(|session| add(session, 7_001)).unwrap();
    assert_sound(&target);
}

fn a_row_that_the_other_database_refuses_ends_the_copy(backend: &Backend) {
    let from = Backend::new(Kind::Files);
    let source = made(&from);
    let target = backend.builder(&LETTERS).create::<Models>().unwrap();
    let table = backend.table("b", "customers");
    backend.run("b", &format!("CREATE UNIQUE INDEX one_currency ON {table} (currency)"));
    let error = copy(&source, &target);
    assert_error(error, ErrorKind::Unique, &["shard `b`", "run the copy again"]);
    assert_error(backend.builder(&LETTERS).open::<Models>(), ErrorKind::Layout, &["rows are missing"]);
    // The index is remembered until the copy has ended: the rows of the source have to satisfy it.
    source
        .transaction(|session| {
            for id in 0..30 {
                let mut row = session.get::<Customer>(id)?.unwrap();
                if row.shard().name() == "b" {
                    row.name = format!("{id}");
                    session.update(&mut row)?;
                }
            }
            Ok(())
        })
        .unwrap();
    assert_error(copy(&source, &target), ErrorKind::Unique, &["shard `b`"]);
    let keep = |session: &mut shard_runtime::Session| {
        let rows = session.all(Customer::select().on_shard("b"))?;
        let mut seen = Vec::new();
        for row in rows {
            if seen.contains(&row.currency) {
                let orders = session.all(row.children::<crate::models::Order>())?;
                for order in orders {
                    session.execute(
                        crate::models::Line::delete().filter(crate::models::Line::ORDER.eq(order.link())),
                    )?;
                    session.delete(&order)?;
                }
                session.delete(&row)?;
            } else {
                seen.push(row.currency.clone());
            }
        }
        Ok(())
    };
    source.transaction(keep).unwrap();
    copy(&source, &target).unwrap();
    assert_eq!(contents(&target), contents(&source));
    assert_sound(&target);
}

fn a_row_whose_key_has_no_shard_ends_the_copy(backend: &Backend) {
    let other = Backend::new(Kind::Files);
    let source = made(backend);
    let table = backend.table("b", "devices");
    let value = if backend.is_postgres("b") { "true" } else { "1" };
    backend.run("b", &format!("INSERT INTO {table} (name, color, \"on\") VALUES ('odd', 'pink', {value})"));
    let target = other.builder(&LETTERS).create::<Models>().unwrap();
    let error = copy(&source, &target);
    assert_error(
        error,
        ErrorKind::Layout,
        &["shard `b`", "devices", "odd", "give the other cluster a shard"],
    );
    // A child without a parent belongs nowhere.
    backend.run("b", &format!("DELETE FROM {table} WHERE name = 'odd'"));
    copy(&source, &target).unwrap();
    assert_eq!(contents(&target), contents(&source));
}

fn a_source_that_stays_locked_is_refused(backend: &Backend) {
    backend.does_not_wait_long();
    let source = made(backend);
    let other = Backend::new(Kind::Files);
    let target = other.create::<Models>(&LETTERS);
    let raw = backend.raw("b");
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    // A file is named by its first shard.
    let shard = if backend.is_separate() { "shard `b`" } else { "shard `a`" };
    assert_error(copy(&source, &target), ErrorKind::Busy, &[shard]);
    raw.execute_batch("ROLLBACK").unwrap();
    copy(&source, &target).unwrap();
    assert_eq!(contents(&target), contents(&source));
}

#[test]
fn r62_an_attempt_that_was_taken_over_writes_nothing() {
    let (from, to) = (Backend::new(Kind::Files), Backend::new(Kind::Files));
    let source = made(&from);
    let target = to.builder(&LETTERS).create::<Models>().unwrap();
    let mut events = 0;
    let error = source.copy_to(&target).pace(Pace::rows(5)).run(|_| {
        events += 1;
        if events == 4 {
            to.run("a", "UPDATE sharded_state SET value = '99' WHERE kind = 'copied' AND name = 'attempt'");
        }
    });
    assert_error(error, ErrorKind::Stale, &["another process has continued the copy"]);
    assert_eq!(events, 4);
}

#[test]
fn a_database_that_is_gone_ends_the_copy() {
    let (from, to) = (Backend::new(Kind::Files), Backend::new(Kind::Files));
    let source = made(&from);
    let target = to.builder(&LETTERS).create::<Models>().unwrap();
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", to.path("b").display()));
    }
    let error = copy(&source, &target).unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Missing, Some("b")), "{error}");
}
