//! Power losses at any moment, with any part of the unsynced data on the disk: recorded with `strace`, and replayed.

use sharded_tests::disk::{self, Record};

use crate::check::{Counts, check};
use crate::injected::{Tries, every, run};
use crate::writer::Writer;
use crate::{Numbers, folder, seed};

/// How many power losses an ordinary run of the tests replays of each record.
const LOSSES: usize = 60;

/// How often the power is lost at each moment when every one is tried.
const TIMES: usize = 8;

#[test]
fn r35_a_power_loss_at_any_moment_leaves_nothing_half_done() {
    let mut numbers = Numbers(seed());
    let mut tries = Tries::new();
    let record = record(&tries.next());
    let counts = lose_power(&record, &mut numbers);
    assert!(counts.acknowledged > 0 && counts.over_several_shards > 0, "{counts:?}");
}

#[test]
fn r35_a_power_loss_during_recovery_leaves_nothing_half_done() {
    let mut numbers = Numbers(seed());
    let mut tries = Tries::new();
    // The first process is killed at a write; the second finishes its transactions, and loses its power.
    let kills: Vec<usize> = match every() {
        true => (1..120).step_by(6).collect(),
        false => (0..3).map(|_| 30 + numbers.below(60) as usize).collect(),
    };
    for when in kills {
        let mut writer = tries.next();
        if run(&writer, "pwrite64", &format!("signal=KILL:when={when}")) {
            break;
        }
        writer.number = 2;
        lose_power(&record(&writer), &mut numbers);
    }
}

/// The operations of a writer on its cluster.
fn record(writer: &Writer) -> Record {
    let log = writer.logs.join(format!("{}.log", writer.number));
    let others = std::fs::read_dir(&writer.logs).unwrap().map(|file| file.unwrap().path());
    let told =
        others.filter(|other| *other != log).map(|other| std::fs::read_to_string(other).unwrap()).collect();
    disk::record(&writer.cluster, &log, told, |behind| writer.command(behind))
}

/// Replays power losses of the recorded run; returns the sums of all counts.
fn lose_power(record: &Record, numbers: &mut Numbers) -> Counts {
    let moments: Vec<usize> = match every() {
        true => (1..=record.events()).flat_map(|moment| [moment; TIMES]).collect(),
        false => (0..LOSSES).map(|_| 1 + numbers.below(record.events() as u64) as usize).collect(),
    };
    let mut all = Counts::default();
    let folder = folder();
    for (position, &moment) in moments.iter().enumerate() {
        let here = folder.path().join(position.to_string());
        let (cluster, logs) = (here.join("cluster"), here.join("logs"));
        std::fs::create_dir_all(&cluster).unwrap();
        std::fs::create_dir_all(&logs).unwrap();
        record.lose_power(moment, numbers, &cluster, &logs.join("all.log"));
        let checked = std::panic::catch_unwind(|| check(&cluster, &logs));
        let Ok(counts) = checked else {
            panic!("after power loss {position}, at {moment} of {} moments", record.events());
        };
        all.units += counts.units;
        all.over_several_shards += counts.over_several_shards;
        all.acknowledged += counts.acknowledged;
        all.doubted += counts.doubted;
        std::fs::remove_dir_all(here).unwrap();
    }
    println!("{} power losses in {} moments: {all:?}", moments.len(), record.events());
    all
}
