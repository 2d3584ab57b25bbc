//! `move_key`: one key moves to another shard.

mod killed;
mod load;
mod models;
mod random;

use shard_runtime::{Cluster, ErrorKind, Pace, Sharded as _, Sql, change::Switch};

use crate::backend::{Backend, LETTERS, assert_error, shards_of};
use models::{
    Blob, Color, Device, Event, Invoice, Models, NewInvoice, NewProject, NewTask, Pair, Project, ROWS, Task,
    Tenant, Word, add, assert_sound, contents, tenant,
};

on_some! {
    lasting:
        r61_a_key_moves_with_all_its_rows,
        r61_each_kind_of_key_moves,
        r51_rows_of_a_key_that_has_left_are_refused,
        r49_a_process_that_does_not_know_the_move_follows_it,
        r61_a_key_without_rows_moves,
        r61_what_cannot_move_is_refused,
        r61_a_key_moves_back_and_again,
        r61_a_shard_with_lines_of_keys_is_split,
        r61_a_change_and_a_move_exclude_each_other
}

const MORE: [&str; 5] = ["a", "b", "c", "d", "e"];

fn made(backend: &Backend, tenants: i64) -> Cluster {
    drop({
        let cluster = backend.create::<Models>(&LETTERS);
        cluster.transaction(|session| (0..tenants).try_for_each(|id| add(session, id))).unwrap();
        cluster
    });
    backend.builder(&MORE).create::<Models>().unwrap()
}

fn located(cluster: &Cluster, key: i64) -> String {
    cluster.locate::<Tenant>(key).unwrap().name().to_owned()
}

/// A serving shard that does not have this key.
fn elsewhere(cluster: &Cluster, key: i64) -> &'static str {
    let now = located(cluster, key);
    LETTERS.into_iter().find(|shard| *shard != now).unwrap()
}

/// The rows of a key are on this shard, and on no other.
fn assert_at(cluster: &Cluster, key: i64, shard: &str) {
    assert_eq!(located(cluster, key), shard);
    let mut session = cluster.session();
    let tenants = session.all(Tenant::select().filter(Tenant::ID.eq(key)).all_shards()).unwrap();
    assert_eq!(shards_of(&tenants), [shard]);
    let invoices = session.all(Invoice::select().filter(Invoice::TENANT.eq(key)).all_shards()).unwrap();
    assert_eq!(shards_of(&invoices), [shard]);
    let projects = session.all(tenants[0].children::<Project>()).unwrap();
    assert_eq!(shards_of(&projects), [shard; 2]);
    let tasks: usize =
        projects.iter().map(|project| session.all(project.children::<Task>()).unwrap().len()).sum();
    assert_eq!(tasks, 3);
}

fn r61_a_key_moves_with_all_its_rows(backend: &Backend) {
    let cluster = made(backend, 30);
    let before = contents(&cluster);
    let (from, to) = (located(&cluster, 7), elsewhere(&cluster, 7));
    let moved = cluster.move_key::<Tenant>(7, to).run().unwrap();
    assert_eq!(
        (moved.from.as_str(), moved.to.as_str(), moved.rows, moved.epoch),
        (from.as_str(), to, ROWS, 2)
    );
    // The new shard has counted these ids anew.
    let mut counted: Vec<&str> = moved.ids.iter().map(|id| id.table).collect();
    counted.sort_unstable();
    assert_eq!(counted, ["members", "projects", "projects"]);
    assert_eq!((cluster.epoch(), contents(&cluster)), (2, before.clone()));
    assert_at(&cluster, 7, to);
    assert_sound(&cluster);
    // Only the new shard is read.
    let watched = backend.open::<Models>(&MORE).unwrap();
    let mut session = watched.session();
    let (_, asked) = watched.asked(|| session.get::<Tenant>(7).unwrap().unwrap());
    assert_eq!(asked, [to]);
    let (rows, asked) =
        watched.asked(|| session.all(Invoice::select().filter(Invoice::TENANT.is_in([7]))).unwrap());
    assert_eq!((rows.len(), asked), (1, vec![to.to_owned()]));
    let (_, asked) = watched
        .asked(|| session.all(Tenant::select().filter(Tenant::EMAIL.eq("7@example.org"))).unwrap().len());
    assert!(asked.contains(&to.to_owned()) && !asked.contains(&"e".to_owned()), "{asked:?}");
    // The lookup's entry names the new shard, and the rows can be changed, with their versions.
    let mut found = session.one(Tenant::select().filter(Tenant::EMAIL.eq("7@example.org"))).unwrap();
    found.cents = 5;
    session.update(&mut found).unwrap();
    let project = session.add(NewProject { tenant: found.link(), name: "third".into() }).unwrap();
    session.add(NewTask { project: project.link(), note: None, data: vec![] }).unwrap();
    session.add(NewInvoice { tenant: 7, cents: 7 }).unwrap();
    session.commit().unwrap();
    assert_eq!(found.version, 2);
    assert_error(
        session.add(Tenant { email: "7@example.org".into(), ..tenant(700) }).and_then(|_| session.commit()),
        ErrorKind::Unique,
        &["email"],
    );
    session.rollback();
    assert_sound(&watched);
}

fn r61_each_kind_of_key_moves(backend: &Backend) {
    let cluster = made(backend, 0);
    cluster
        .transaction(|session| {
            session.add(Device { name: "lamp".into(), color: Color::Red })?;
            session.add(Word { id: 1, word: "it's".into() })?;
            session.add(Word { id: 2, word: "other => c".into() })?;
            session.add(Word { id: 3, word: "Other => c".into() })?;
            session.add(Event { at: 15, what: "x".into() })?;
            session.add(Blob { id: 1, data: vec![0, 255, 39] })?;
            session.add(Pair { id: 1, number: -1, word: "it's".into() })?;
            session.add(Pair { id: 2, number: -1, word: "its".into() })?;
            Ok(())
        })
        .unwrap();
    let pair = |word: &str| (-1_i64, word.to_owned());
    let at = cluster.locate::<Pair>(pair("it's")).unwrap().name().to_owned();
    let other = LETTERS.into_iter().find(|shard| *shard != at).unwrap();
    let its = cluster.locate::<Pair>(pair("its")).unwrap().name().to_owned();
    assert_eq!(cluster.move_key::<Device>(Color::Red, "c").run().unwrap().rows, 1);
    assert_eq!(cluster.move_key::<Word>("it's".to_owned(), "b").run().unwrap().rows, 1);
    assert_eq!(cluster.move_key::<Word>("other => c".to_owned(), "a").run().unwrap().rows, 1);
    assert_eq!(cluster.move_key::<Event>(15, "a").run().unwrap().rows, 1);
    assert_eq!(cluster.move_key::<Blob>(vec![0, 255, 39], "c").run().unwrap().rows, 1);
    let moved = cluster.move_key::<Pair>(pair("it's"), other).run().unwrap();
    assert_eq!((moved.rows, moved.epoch), (1, 7));
    for cluster in [&cluster, &backend.builder(&MORE).open::<Models>().unwrap()] {
        assert_sound(cluster);
        let mut session = cluster.session();
        assert_eq!(cluster.locate::<Device>(Color::Red).unwrap().name(), "c");
        assert_eq!(cluster.locate::<Device>(Color::Green).unwrap().name(), "b");
        assert_eq!(
            session.one(Device::select().filter(Device::COLOR.eq(Color::Red))).unwrap().shard().name(),
            "c"
        );
        assert_eq!(cluster.locate::<Word>("it's".to_owned()).unwrap().name(), "b");
        assert_eq!(cluster.locate::<Word>("x".to_owned()).unwrap().name(), "b");
        assert_eq!(cluster.locate::<Word>("Other => c".to_owned()).unwrap().name(), "c");
        let word = session.one(Word::select().filter(Word::WORD.eq("other => c"))).unwrap();
        assert_eq!((word.id, word.shard().name()), (2, "a"));
        assert_eq!(session.all(Event::select().filter(Event::AT.ge(10))).unwrap()[0].shard().name(), "a");
        assert_eq!(cluster.locate::<Event>(14).unwrap().name(), "b");
        let blob = session.one(Blob::select().filter(Blob::DATA.eq(vec![0, 255, 39]))).unwrap();
        assert_eq!(blob.shard().name(), "c");
        assert_eq!(cluster.locate::<Blob>(vec![1]).unwrap().name(), "b");
        assert_eq!(cluster.locate::<Pair>(pair("it's")).unwrap().name(), other);
        assert_eq!(cluster.locate::<Pair>(pair("its")).unwrap().name(), its);
    }
    // The databases refuse each of them on its old shard.
    let mut session = cluster.session();
    for (shard, sql) in [
        ("a", "INSERT INTO {devices} VALUES ('x', 'Red')"),
        ("a", "INSERT INTO {words} VALUES (9, 'it''s')"),
        ("c", "INSERT INTO {words} VALUES (9, 'other => c')"),
        ("b", "INSERT INTO {events} VALUES (15, 'x')"),
        (at.as_str(), "INSERT INTO {pairs} VALUES (9, -1, 'it''s')"),
    ] {
        assert_error(
            session.execute(Sql::new(sql).on_shard(shard)),
            ErrorKind::Moved,
            &["the key has moved", shard],
        );
        session.rollback();
    }
    let bytes = if backend.is_postgres("b") { "'\\x00ff27'" } else { "x'00ff27'" };
    let blob = Sql::new(format!("INSERT INTO {{blobs}} VALUES (9, {bytes})")).on_shard("b");
    assert_error(session.execute(blob), ErrorKind::Moved, &["the key has moved"]);
    session.rollback();
    // Others are not refused.
    session.execute(Sql::new("INSERT INTO {words} VALUES (9, 'Other => c')").on_shard("c")).unwrap();
    session.execute(Sql::new("INSERT INTO {events} VALUES (16, 'x')").on_shard("b")).unwrap();
    session.commit().unwrap();
    assert_sound(&cluster);
}

/// Another program, and an earlier release, do not use the layout.
fn r51_rows_of_a_key_that_has_left_are_refused(backend: &Backend) {
    let cluster = made(backend, 20);
    let (from, to) = (located(&cluster, 3), elsewhere(&cluster, 3));
    cluster.move_key::<Tenant>(3, to).run().unwrap();
    let mut session = cluster.session();
    for sql in [
        "INSERT INTO {tenants} VALUES (3, 'x', 0, 1)",
        "INSERT INTO {invoices} VALUES (999999, 3, 0)",
        "UPDATE {invoices} SET tenant = 3",
        // Its parent is not there.
        "INSERT INTO {projects} (tenant_id, name) VALUES (3, 'x')",
    ] {
        let error =
            session.execute(Sql::new(sql).on_shard(&from)).and_then(|_| session.commit()).unwrap_err();
        assert!([ErrorKind::Moved, ErrorKind::ForeignKey].contains(&error.kind()), "{sql}: {error}");
        session.rollback();
        // Behind the library's back, too.
        if !backend.is_postgres(&from) {
            let table = |text: &str| backend.table(&from, text);
            let sql = ["tenants", "invoices", "projects"]
                .iter()
                .fold(sql.to_owned(), |sql, name| sql.replace(&format!("{{{name}}}"), &table(name)));
            let raw = backend.raw(&from);
            raw.execute_batch("PRAGMA foreign_keys = ON").unwrap();
            assert!(raw.execute_batch(&sql).is_err(), "{sql}");
        }
    }
    assert_at(&cluster, 3, to);
    assert_sound(&cluster);
}

fn r49_a_process_that_does_not_know_the_move_follows_it(backend: &Backend) {
    let cluster = made(backend, 20);
    let to = elsewhere(&cluster, 3);
    let [reader, writer, adder] = [(); 3].map(|()| backend.builder(&MORE).open::<Models>().unwrap());
    // They have the layout, and connections.
    let mut reading = reader.session();
    assert!(reading.get::<Tenant>(3).unwrap().is_some());
    reading.rollback();
    let stored = writer.session().get::<Tenant>(3).unwrap().unwrap();
    adder.session().get::<Tenant>(3).unwrap();
    // A transaction that has read the key reads on in its snapshot, or keeps the move away until it ends.
    cluster.move_key::<Tenant>(3, to).run().unwrap();
    // Each of these would find nothing on the old shard.
    assert_eq!(reading.get::<Tenant>(3).unwrap().unwrap().shard().name(), to);
    assert_eq!((reader.epoch(), reader.locate::<Tenant>(3).unwrap().name()), (2, to));
    let invoices = Invoice::select().filter(Invoice::TENANT.eq(3)).count();
    assert_eq!(adder.session().one(invoices).unwrap(), 1);
    // A handle of the row is stale.
    let mut session = writer.session();
    let mut stale = stored.clone();
    stale.cents = 1;
    let error = session.update(&mut stale).and_then(|_| session.commit().map(drop)).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    session.rollback();
    writer
        .transaction(|session| {
            let mut fresh = session.get::<Tenant>(3)?.unwrap();
            fresh.cents += 1;
            session.update(&mut fresh)
        })
        .unwrap();
    // A transaction that began to write before it meets the old shard is rolled back, and may be run again.
    let third = backend.builder(&MORE).open::<Models>().unwrap();
    let back = elsewhere(&cluster, 3);
    let mut session = third.session();
    session.add(tenant(3_000)).unwrap();
    session.add(NewInvoice { tenant: 3, cents: 9 }).unwrap();
    cluster.move_key::<Tenant>(3, back).run().unwrap();
    assert_error(session.commit(), ErrorKind::Moved, &["have moved", "run it again"]);
    session.rollback();
    session.add(NewInvoice { tenant: 3, cents: 9 }).unwrap();
    session.commit().unwrap();
    assert_eq!(third.epoch(), 3);
    let invoices = Invoice::select().filter(Invoice::TENANT.eq(3));
    let rows = third.session().all(invoices).unwrap();
    assert_eq!(shards_of(&rows), [back; 2]);
    assert_sound(&third);
}

fn r61_a_key_without_rows_moves(backend: &Backend) {
    let cluster = made(backend, 0);
    let (from, to) = (located(&cluster, 42), elsewhere(&cluster, 42));
    let moved = cluster.move_key::<Invoice>(42, to).run().unwrap();
    assert_eq!((moved.rows, moved.epoch), (0, 2));
    cluster.transaction(|session| add(session, 42)).unwrap();
    assert_at(&cluster, 42, to);
    // It is there already.
    let again = cluster.move_key::<Tenant>(42, to).run().unwrap();
    assert_eq!((again.rows, again.from.as_str(), again.epoch, cluster.epoch()), (0, to, 2, 2));
    assert_eq!(cluster.move_key::<Tenant>(42, &from).run().unwrap().rows, ROWS);
    assert_at(&cluster, 42, &from);
}

fn r61_what_cannot_move_is_refused(backend: &Backend) {
    let cluster = made(backend, 20);
    let (from, to) = (located(&cluster, 3), elsewhere(&cluster, 3));
    let of = |shard: &str| cluster.move_key::<Tenant>(3, shard).run();
    assert_error(of("nowhere"), ErrorKind::UnknownShard, &["nowhere", "a, b, c"]);
    assert_error(of("d"), ErrorKind::Layout, &["shard `d`", "spare", "split"]);
    let many = cluster.move_key::<Tenant>(3, to).max_rows(ROWS - 1).run();
    let texts = ["more than 8 rows", "key 3", "`max_rows`", "split shard", "`key 3 => NAME`"];
    assert_error(many, ErrorKind::TooManyValues, &texts);
    // The new shard has a row with an id of one that moves.
    cluster
        .session()
        .execute(Sql::new("INSERT INTO {tenants} VALUES (3, 'other', 0, 1)").on_shard(to))
        .unwrap();
    let stray = |sql: &str| {
        let mut session = cluster.session();
        session.execute(Sql::new(sql).on_shard(to)).unwrap();
        session.commit().unwrap();
    };
    stray("INSERT INTO {tenants} VALUES (3, 'other', 0, 1)");
    assert_error(of(to), ErrorKind::Unique, &[to]);
    stray("DELETE FROM {tenants} WHERE email = 'other'");
    // Nothing of it is left.
    assert_eq!((cluster.epoch(), located(&cluster, 3)), (1, from.clone()));
    assert_at(&cluster, 3, &from);
    cluster.transaction(|session| session.add(NewInvoice { tenant: 3, cents: 1 }).map(drop)).unwrap();
    assert_eq!(cluster.move_key::<Tenant>(3, to).max_rows(ROWS + 1).run().unwrap().rows, ROWS + 1);
    // A program that lacks a model would leave its rows behind.
    let some = backend.builder(&MORE).open::<(Tenant, Project, Invoice)>().unwrap();
    let lacking = some.move_key::<Tenant>(5, elsewhere(&cluster, 5)).run();
    assert_error(lacking, ErrorKind::Layout, &["register the model"]);
    let memory = Cluster::in_memory::<Models>(["a", "b", "c"]).unwrap();
    assert_error(
        memory.move_key::<Event>(15, "a").run(),
        ErrorKind::Configuration,
        &["in memory", "files or on servers"],
    );
}

fn r61_a_key_moves_back_and_again(backend: &Backend) {
    let cluster = made(backend, 20);
    let before = contents(&cluster);
    let home = located(&cluster, 3);
    let others: Vec<&str> = LETTERS.into_iter().filter(|shard| *shard != home).collect();
    for (turn, shard) in [others[0], others[1], home.as_str(), others[1], home.as_str()].iter().enumerate() {
        let moved = cluster.move_key::<Tenant>(3, shard).run().unwrap();
        assert_eq!((moved.rows, moved.epoch), (ROWS, turn as u64 + 2));
        assert_at(&cluster, 3, shard);
        assert_eq!(contents(&cluster), before);
    }
    assert_sound(&cluster);
    // At home it needs no line, and its old shards refuse it.
    let mut session = cluster.session();
    for shard in others {
        let sql = Sql::new("INSERT INTO {tenants} VALUES (3, 'x', 0, 1)").on_shard(shard);
        assert_error(session.execute(sql), ErrorKind::Moved, &["the key has moved"]);
        session.rollback();
    }
    assert!(cluster.status().keys.is_empty());
}

fn change(cluster: &Cluster, source: &str, targets: [&str; 2], lines: Option<Vec<String>>) {
    let plan = cluster.plan_change().split(source, targets);
    let plan = match lines {
        Some(lines) => plan.lines::<Tenant>(lines),
        None => plan,
    };
    let mut change = cluster.begin_change(&plan.build().unwrap()).unwrap();
    change.copy(Pace::rows(7), |_| {}).unwrap();
    assert_eq!(change.verify().unwrap().different, 0);
    change.switch(Switch::within(std::time::Duration::from_secs(20))).unwrap();
    change.finish().unwrap();
}

fn r61_a_shard_with_lines_of_keys_is_split(backend: &Backend) {
    let cluster = made(backend, 40);
    let before = contents(&cluster);
    // Keys that were moved to the shard, and one that was moved away.
    let keys: Vec<i64> = (0..40).collect();
    let of = |shard: &str| keys.iter().copied().find(|key| located(&cluster, *key) == shard).unwrap();
    let (from_a, from_b, from_c) = (of("a"), of("b"), of("c"));
    for (key, shard) in [(from_a, "c"), (from_b, "c"), (from_c, "a")] {
        cluster.move_key::<Tenant>(key, shard).run().unwrap();
    }
    let shown: Vec<String> = cluster.status().keys.iter().map(|key| key.line.clone()).collect();
    assert_eq!(
        shown,
        [format!("key {from_a} => c"), format!("key {from_b} => c"), format!("key {from_c} => a")]
    );
    // A key is not forgotten, because its first shard refuses it.
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<String>>();
    let rest = [
        "hash modulus 3 remainder 0 => a",
        "hash modulus 3 remainder 1 => b",
        "hash modulus 3 remainder 2 => d",
    ];
    let moved = [format!("key {from_a} => e"), format!("key {from_b} => d"), format!("key {from_c} => a")];
    let mut all = lines(&rest);
    all.extend(moved.iter().skip(1).cloned());
    let lacking = cluster.plan_change().split("c", ["d", "e"]).lines::<Tenant>(all.clone()).build();
    assert_error(lacking, ErrorKind::Layout, &[&format!("`key {from_a} => c`"), "targets"]);
    all.push(moved[0].clone());
    change(&cluster, "c", ["d", "e"], Some(all));
    for (key, shard) in [(from_a, "e"), (from_b, "d"), (from_c, "a")] {
        assert_at(&cluster, key, shard);
    }
    assert_eq!(contents(&cluster), before);
    assert_sound(&cluster);
    // Back to where it was refused, and on to a target.
    cluster.move_key::<Tenant>(from_a, "a").run().unwrap();
    assert_at(&cluster, from_a, "a");
    cluster.move_key::<Tenant>(from_b, "e").run().unwrap();
    assert_error(cluster.move_key::<Tenant>(from_c, "c").run(), ErrorKind::Layout, &["shard `c`", "retired"]);
    assert_eq!(contents(&cluster), before);
    assert_sound(&cluster);
    let again = backend.builder(&["a", "b", "d", "e"]).control(control_of(backend)).open::<Models>().unwrap();
    assert_at(&again, from_b, "e");
}

fn control_of(backend: &Backend) -> String {
    match backend.control(&["b"]) {
        Some(control) => control,
        None => format!("sqlite:{}", backend.folder().join("control.db").display()),
    }
}

fn r61_a_change_and_a_move_exclude_each_other(backend: &Backend) {
    let cluster = made(backend, 20);
    let to = elsewhere(&cluster, 3);
    let plan = cluster.plan_change().split("c", ["d", "e"]).build().unwrap();
    let change = cluster.begin_change(&plan).unwrap();
    assert_error(cluster.move_key::<Tenant>(3, to).run(), ErrorKind::Layout, &["change 1", "c to d, e"]);
    change.cancel().unwrap();
    cluster.move_key::<Tenant>(3, to).run().unwrap();
    // The plan was for the layout before.
    assert_error(cluster.begin_change(&plan), ErrorKind::Layout, &["epoch 1", "make the plan again"]);
    assert_at(&cluster, 3, to);
}
