//! Another program writes to the tables while they are adopted, and afterwards.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shard_runtime::prelude::*;

use crate::refusals::{Both, GOOD, NewPet, Owner, Pet};
use crate::{File, assert_error};

/// Ends the other program when it is dropped.
struct End<'e>(&'e AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn another_program_writes_before_during_and_after() {
    let file = File::new(GOOD);
    let (is_done, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let added = std::thread::scope(|scope| {
        // Also after a failed assertion.
        let end = End(&is_done);
        let writer = scope.spawn(|| {
            let plain = file.plain();
            let mut chip = 1000;
            while !is_done.load(Ordering::Relaxed) {
                chip += 1;
                let sql = "INSERT INTO pets (owner_id, chip, is_wild, weight) VALUES ('Asia', ?1, 1, 0.5)";
                match plain.execute(sql, [chip]) {
                    Ok(_) => written.fetch_add(1, Ordering::Relaxed),
                    // The change to WAL mode does not wait.
                    Err(error) => panic!("{error}"),
                };
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let some = |more: u64| {
            let until = written.load(Ordering::Relaxed) + more;
            sharded_tests::waiting::soon("rows are written", || {
                written.load(Ordering::Relaxed) >= until || writer.is_finished()
            });
        };
        some(5);
        let adoption = file.builder().adopt::<Both>().unwrap();
        assert!(adoption.report().is_fit(), "{}", adoption.report());
        some(5);
        let cluster = adoption.run().unwrap();
        some(5);
        let mut added = 0;
        for chip in 0..20 {
            cluster
                .transaction(|session| -> Result<(), Error> {
                    let owner = session.get::<Owner>("Europe".to_owned())?.unwrap();
                    let new = NewPet { owner: owner.link(), chip: 100 + chip, is_wild: false, weight: None };
                    session.add(new).map(drop)
                })
                .unwrap();
            added += 1;
        }
        some(5);
        drop(cluster);
        let cluster = file.builder().open::<Both>().unwrap();
        drop(end);
        writer.join().unwrap();
        assert_eq!(cluster.verify().unwrap().found(), 0);
        added
    });
    let cluster = file.builder().open::<Both>().unwrap();
    let seen = cluster.session().one(Pet::select().all_shards().count()).unwrap();
    assert_eq!(seen, 3 + added + written.load(Ordering::Relaxed));
}

#[test]
fn rows_of_another_program_get_their_entries_from_repair() {
    let file = File::new(GOOD);
    drop(file.builder().adopt::<Both>().unwrap().run().unwrap());
    let cluster = file.builder().open::<Both>().unwrap();
    file.run("UPDATE owners SET email = 'jan@example.com' WHERE region = 'Europe'");
    let by_email = || {
        let found =
            cluster.session().all(Owner::select().filter(Owner::EMAIL.eq("jan@example.com"))).unwrap();
        found.iter().map(|owner| owner.region.clone()).collect::<Vec<_>>()
    };
    assert_eq!(cluster.verify().unwrap().lookup_problems().len(), 1);
    assert!(cluster.repair().unwrap().is_sound());
    assert_eq!(by_email(), ["Europe"]);
    // A value that the other program repeats is reported, and stays.
    file.run("UPDATE owners SET email = 'jan@example.com'");
    assert!(!cluster.repair().unwrap().is_sound());
}

#[test]
fn a_value_that_is_written_later_is_an_error_when_it_is_read() {
    let file = File::new(GOOD);
    let cluster = file.builder().adopt::<Both>().unwrap().run().unwrap();
    file.run("UPDATE owners SET size = 'huge' WHERE region = 'Asia'");
    let read = cluster.session().get::<Owner>("Asia".to_owned()).map(drop);
    assert_error(read, ErrorKind::Value, &["owners", "size", "huge"]);
    assert_eq!(cluster.session().get::<Owner>("Europe".to_owned()).unwrap().unwrap().size, 4);
}

#[test]
fn a_table_that_another_program_changes_later_is_refused_when_the_cluster_is_opened() {
    let file = File::new(GOOD);
    drop(file.builder().adopt::<Both>().unwrap().run().unwrap());
    file.run(
        "ALTER TABLE pets ADD COLUMN colour VARCHAR DEFAULT 'black'; CREATE INDEX more ON pets (colour)",
    );
    drop(file.builder().open::<Both>().unwrap());
    file.run("DROP INDEX by_name");
    assert_error(
        file.builder().open::<Both>().map(drop),
        ErrorKind::Schema,
        &["owners", "no index `", "on name"],
    );
    file.run("CREATE UNIQUE INDEX by_other_name ON owners (name)");
    drop(file.builder().open::<Both>().unwrap());
    file.run("ALTER TABLE pets DROP COLUMN weight");
    assert_error(
        file.builder().open::<Both>().map(drop),
        ErrorKind::Schema,
        &["pets", "weight", "no such column"],
    );
}
