//! Processes that are killed at random moments, while another process recovers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::ages::jump_and_recover;
use crate::check::check;
use crate::unit::{Told, write};
use crate::{Models, Numbers, World, builder, number, seed};

/// How many processes are killed in an ordinary run of the tests.
const KILLS: u64 = 20;

const URLS: &str = "SHARDED_ATTACK_URLS";
const LOG: &str = "SHARDED_ATTACK_LOG";
const NUMBER: &str = "SHARDED_ATTACK_WRITER";

/// Units of different writers have different numbers.
const UNITS_OF_A_WRITER: i64 = 1_000_000;

/// A process that ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says that it is over, however it ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn r35_clients_that_are_killed_leave_nothing_half_done() {
    let world = World::start(false);
    let kills = number("SHARDED_KILLS", KILLS);
    let jumps_seed = seed();
    let mut numbers = Numbers(jumps_seed);
    let mut writers = 0;
    let mut start = || {
        writers += 1;
        Running(
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--ignored", "kills::in_a_process_of_its_own"])
                .env(URLS, world.urls(&world.ports()).join("\n"))
                .env(LOG, world.folder().join(format!("{writers}.log")))
                .env(NUMBER, writers.to_string())
                .stdout(File::create(world.folder().join(format!("{writers}.said"))).unwrap())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    };
    let cluster = world.builder(&world.ports()).open::<Models>().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                cluster.recover().expect("what is left is finished");
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        scope.spawn(|| jump_and_recover(&world, jumps_seed, &is_over));
        let _ends = Ends(&is_over);
        let mut running: Vec<Running> = (0..3).map(|_| start()).collect();
        for _ in 0..kills {
            std::thread::sleep(Duration::from_micros(300_000 + numbers.below(300_000)));
            let position = numbers.below(running.len() as u64) as usize;
            let mut killed = std::mem::replace(&mut running[position], start());
            if killed.0.try_wait().unwrap().is_some() {
                let said = std::fs::read_dir(world.folder()).unwrap().map(|file| file.unwrap().path());
                let said = said.filter(|path| path.extension().is_some_and(|extension| extension == "said"));
                let said: Vec<String> = said.map(|path| std::fs::read_to_string(path).unwrap()).collect();
                panic!("a writer has ended by itself: {}", said.join("\n"));
            }
        }
        drop(running);
    });
    let mut told = BTreeMap::new();
    let mut begun = 0;
    for log in std::fs::read_dir(world.folder()).unwrap() {
        let path = log.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let (what, unit) = line.split_once(' ').unwrap();
            let unit = unit.parse().unwrap();
            match what {
                "begun" => begun += 1,
                "Committed" => drop(told.insert(unit, Told::Committed)),
                "Aborted" => drop(told.insert(unit, Told::Aborted)),
                "Doubted" => drop(told.insert(unit, Told::Doubted)),
                other => panic!("{other}"),
            }
        }
    }
    let counts = check(&world, &told);
    println!("{kills} kills, {begun} units begun: {counts:?}");
    assert!(counts.committed as u64 > kills && counts.over_several_shards as u64 > kills, "{counts:?}");
}

#[test]
#[ignore = "runs in processes of its own"]
fn in_a_process_of_its_own() {
    let said = |name: &str| std::env::var(name).unwrap();
    let urls: Vec<String> = said(URLS).lines().map(str::to_owned).collect();
    let writer: i64 = said(NUMBER).parse().unwrap();
    let mut log = File::options().create(true).append(true).open(said(LOG)).unwrap();
    let mut tell = |line: String| log.write_all(format!("{line}\n").as_bytes()).unwrap();
    let cluster = builder(&urls).open::<Models>().unwrap();
    let mut numbers = Numbers(writer as u64);
    let mut session = cluster.session();
    for unit in 0.. {
        let id = writer * UNITS_OF_A_WRITER + unit;
        tell(format!("begun {id}"));
        let (told, _) = write(&mut session, id, 1 + numbers.below(15), numbers.below(1_000) as i64);
        tell(format!("{told:?} {id}"));
    }
}
