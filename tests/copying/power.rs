//! A copy to another cluster whose machine loses its power at any moment, with anything on the disk that was not synced: recorded
//! with `strace`, and replayed. A copy that has told its end is complete; another one is continued.
//!
//! `SHARDED_STEPS=all` loses the power at every moment, several times.

#![cfg(target_os = "linux")]

use std::path::PathBuf;

use shard_runtime::Pace;
use sharded_tests::disk;
use sharded_tests::numbers::{Numbers, seed};

use crate::backend::{Backend, Kind, LETTERS};
use crate::models::Models;
use crate::processes::{builder_of, described, test_behind};
use crate::stopped::World;

const FROM: &str = "SHARDED_POWER_FROM";
const TO: &str = "SHARDED_POWER_TO";
const LOG: &str = "SHARDED_POWER_LOG";

/// How many power losses an ordinary run replays, and how many of each moment one that tries all.
const LOSSES: usize = 60;
const TIMES: usize = 4;

#[test]
#[ignore = "started by other tests"]
fn in_a_process_of_its_own() {
    let source = builder_of(FROM).open::<Models>().unwrap();
    let target = builder_of(TO).create::<Models>().unwrap();
    source.copy_to(&target).pace(Pace::rows(8)).run(|_| {}).unwrap();
    std::fs::write(std::env::var_os(LOG).map(PathBuf::from).unwrap(), "done\n").unwrap();
}

#[test]
fn r50_a_power_loss_at_any_moment_of_a_copy_loses_nothing() {
    let World { from, to } = World::new(Kind::Files, Kind::Files);
    let log = tempfile::NamedTempFile::new().unwrap();
    let record = disk::record(to.folder(), log.path(), String::new(), |behind| {
        let mut copier = test_behind(behind, "power::in_a_process_of_its_own");
        copier.env(FROM, described(&from, &LETTERS)).env(TO, described(&to, &LETTERS)).env(LOG, log.path());
        copier
    });
    let mut numbers = Numbers(seed());
    let every = std::env::var("SHARDED_STEPS").is_ok_and(|steps| steps == "all");
    let moments: Vec<usize> = match every {
        true => (1..=record.events()).flat_map(|moment| [moment; TIMES]).collect(),
        // The last moments are those at which the copy has ended.
        false => (0..LOSSES)
            .map(|loss| match loss % 4 {
                0 => record.events(),
                _ => 1 + numbers.below(record.events() as u64) as usize,
            })
            .collect(),
    };
    let (mut world, mut continued, mut complete) = (World { from, to }, 0, 0);
    for (loss, &moment) in moments.iter().enumerate() {
        let what = format!("power loss {loss}, at {moment} of {} moments", record.events());
        world.to = Backend::new(Kind::Files);
        record.lose_power(moment, &mut numbers, world.to.folder(), log.path());
        let has_ended = std::fs::read_to_string(log.path()).unwrap().ends_with("done\n");
        let is_continued = world.end(false, &what);
        assert!(!(has_ended && is_continued), "{what}: the copy had ended");
        continued += usize::from(is_continued);
        complete += usize::from(has_ended);
    }
    println!("{} power losses, {continued} copies continued, {complete} had ended", moments.len());
    assert!(continued > 0 && complete > 0);
}
