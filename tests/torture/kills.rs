//! Processes that are killed at random moments, while others continue.

use std::time::Duration;

use crate::check::{Counts, check};
use crate::writer::Writer;
use crate::{Numbers, Running, create, folder, seed};

/// How many processes are killed in an ordinary run of the tests.
const KILLS: u64 = 60;

/// How many are killed between two checks.
const ROUND: u64 = 20;

#[test]
fn r35_writers_that_are_killed_leave_nothing_half_done() {
    let kills = std::env::var("SHARDED_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let mut numbers = Numbers(seed());
    let folder = folder();
    let (mut cluster, logs) = (folder.path().join("0"), folder.path().join("logs"));
    std::fs::create_dir(&logs).unwrap();
    create(&cluster);
    let (mut number, mut killed) = (0, 0);
    let mut counts = Counts::default();
    while killed < kills {
        let mut start = || {
            number += 1;
            Writer { cluster: cluster.clone(), logs: logs.clone(), number, units: 1_000_000, three: false }
                .spawn()
        };
        let mut writers: Vec<Running> = (0..2 + numbers.below(3)).map(|_| start()).collect();
        for _ in 0..ROUND.min(kills - killed) {
            std::thread::sleep(Duration::from_micros(numbers.below(120_000)));
            let position = numbers.below(writers.len() as u64) as usize;
            std::mem::replace(&mut writers[position], start()).kill();
            killed += 1;
        }
        drop(writers);
        // No path is in any record: the next round finds the cluster elsewhere.
        let moved = folder.path().join(killed.to_string());
        std::fs::rename(&cluster, &moved).unwrap();
        cluster = moved;
        counts = check(&cluster, &logs);
    }
    println!("{killed} kills: {counts:?}");
    assert!(counts.units >= counts.acknowledged);
    assert!(counts.acknowledged as u64 > kills && counts.over_several_shards as u64 > kills, "{counts:?}");
    assert_eq!(counts.doubted, 0);
}
