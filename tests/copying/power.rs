//! A copy to another cluster whose machine loses its power at any moment, with any part of the unsynced data on the disk. It is
//! recorded with `strace`, and replayed. A copy that has reported its end is complete; another one is continued.
//!
//! `SHARDED_STEPS=all` loses the power at every moment, several times.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use shard_runtime::{Cluster, Pace, Sharded as _};
use sharded_tests::disk;
use sharded_tests::numbers::{Numbers, seed};

use crate::backend::{Backend, Kind, LETTERS};
use crate::models::{Event, Models, assert_sound};
use crate::processes::{builder_of, described, test_behind};
use crate::stopped::World;

const FROM: &str = "SHARDED_POWER_FROM";
const TO: &str = "SHARDED_POWER_TO";
const LOG: &str = "SHARDED_POWER_LOG";
const ALONE: &str = "SHARDED_POWER_ALONE";

/// How many power losses an ordinary run replays, and how many of each moment one that tries all.
const LOSSES: usize = 60;
const TIMES: usize = 4;

#[test]
#[ignore = "started by other tests"]
fn in_a_process_of_its_own() {
    let (source, target) = match std::env::var_os(ALONE) {
        None => (builder_of(FROM).open::<Models>().unwrap(), builder_of(TO).create::<Models>().unwrap()),
        Some(_) => (builder_of(FROM).open::<Event>().unwrap(), builder_of(TO).create::<Event>().unwrap()),
    };
    let log = std::env::var_os(LOG).map(PathBuf::from).unwrap();
    let mut log = File::options().append(true).open(log).unwrap();
    let mut tell = |line: &str| log.write_all(line.as_bytes()).unwrap();
    source.copy_to(&target).pace(Pace::rows(8)).run(|_| tell("progress\n")).unwrap();
    tell("done\n");
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
fn r50_a_power_loss_at_any_moment_of_a_copy_loses_nothing() {
    lose_power(World::new(Kind::Files, Kind::Files), false, |world, what| world.end(false, what));
}

/// Without lookups, whose entries are on disk before control records that they are made.
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
fn r50_a_power_loss_at_any_moment_of_a_copy_of_one_table_loses_nothing() {
    let world = World { from: Backend::new(Kind::Files), to: Backend::new(Kind::Files) };
    let events = |cluster: &Cluster| -> Vec<i64> {
        let rows = cluster.session().all(Event::select().all_shards().order_by(Event::AT.asc())).unwrap();
        rows.iter().map(|row| row.at).collect()
    };
    let source = world.from.create::<Event>(&LETTERS);
    source
        .transaction(|session| session.add_all((0..60).map(|at| Event { at, what: String::new() })))
        .unwrap();
    drop((source, world.to.create::<Event>(&LETTERS)));
    lose_power(world, true, |world, what| {
        let opened = world.to.builder(&LETTERS).open::<Event>();
        let held = opened.map(|target| events(&target));
        let is_unfinished = held.as_ref().map_or(true, Vec::is_empty);
        let target = world.to.builder(&LETTERS).create::<Event>().unwrap();
        if is_unfinished {
            let source = world.from.builder(&LETTERS).open::<Event>().unwrap();
            source.copy_to(&target).pace(Pace::rows(8)).run(|_| {}).unwrap();
        }
        assert_eq!(events(&target), (0..60).collect::<Vec<_>>(), "{what}: {held:?}");
        assert_sound(&target);
        target.transaction(|session| session.add(Event { at: 100, what: String::new() })).unwrap();
        is_unfinished
    });
}

/// Loses the power in a copy, of the `Event`s alone or of all models. `end` makes the copy whole, and returns whether it was not.
fn lose_power(World { from, to }: World, is_alone: bool, end: impl Fn(&World, &str) -> bool) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let record = disk::record(to.folder(), log.path(), String::new(), |behind| {
        let mut copier = test_behind(behind, "power::in_a_process_of_its_own");
        copier.env(FROM, described(&from, &LETTERS)).env(TO, described(&to, &LETTERS)).env(LOG, log.path());
        if is_alone {
            copier.env(ALONE, "");
        }
        copier
    });
    let mut numbers = Numbers(seed());
    let every = std::env::var("SHARDED_STEPS").is_ok_and(|steps| steps == "all");
    let mut between = |first: usize, last: usize| first + numbers.below((last + 1 - first) as u64) as usize;
    let moments: Vec<usize> = match every {
        true => (1..=record.events()).flat_map(|moment| [moment; TIMES]).collect(),
        // Half of them while control records that the copy is complete, and some when it has ended.
        false => (0..LOSSES)
            .map(|loss| match loss % 4 {
                0 => record.events(),
                1 | 2 => between(*record.told("progress").last().unwrap(), record.told("done")[0]),
                _ => between(1, record.events()),
            })
            .collect(),
    };
    let (mut world, mut continued, mut complete) = (World { from, to }, 0, 0);
    for (loss, &moment) in moments.iter().enumerate() {
        let what = format!("power loss {loss}, at {moment} of {} moments", record.events());
        world.to = Backend::new(Kind::Files);
        record.lose_power(moment, &mut numbers, world.to.folder(), log.path());
        let has_ended = std::fs::read_to_string(log.path()).unwrap().ends_with("done\n");
        let is_continued = end(&world, &what);
        assert!(!(has_ended && is_continued), "{what}: the copy had ended");
        continued += usize::from(is_continued);
        complete += usize::from(has_ended);
    }
    println!("{} power losses, {continued} copies continued, {complete} had ended", moments.len());
    assert!(continued > 0 && complete > 0);
}
