//! Ids that the cluster hands out to processes that are killed and started again: none is handed out twice, R39.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{Models, NewTicket, Numbers, Place, Running, builder, create, folder, seed};

const FOLDER: &str = "SHARDED_TORTURE_COUNTERS";
const LOG: &str = "SHARDED_TORTURE_TAKEN";

/// How many ids a process takes before it tells of them.
const TOLD: usize = 500;

/// How many are taken in an ordinary run of the tests.
const IDS: usize = 60_000;

#[test]
fn r39_processes_that_are_killed_never_get_an_id_twice() {
    let wanted =
        std::env::var("SHARDED_IDS").map_or(IDS, |ids| ids.parse().expect("SHARDED_IDS is a number"));
    let mut numbers = Numbers(seed());
    let folder = folder();
    let (cluster, logs) = (folder.path().join("cluster"), folder.path().join("logs"));
    create(&cluster);
    std::fs::create_dir(&logs).unwrap();
    let mut started = 0;
    let mut start = || {
        started += 1;
        Running::spawn(
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--ignored", "ids::in_a_process_of_its_own"])
                .env(FOLDER, &cluster)
                .env(LOG, logs.join(started.to_string()))
                .stdout(Stdio::null()),
        )
    };
    let mut processes: Vec<Running> = (0..3).map(|_| start()).collect();
    let mut killed = 0;
    // An id and the end of its line are two bytes at least, and eight where there are millions.
    while killed < 15 || told(&logs) < 8 * wanted as u64 {
        std::thread::sleep(Duration::from_millis(20 + numbers.below(60)));
        let place = numbers.below(3) as usize;
        std::mem::replace(&mut processes[place], start()).kill();
        killed += 1;
    }
    drop(processes);
    let taken = read(&logs).len();
    println!("{taken} ids, {killed} kills");
    assert!(taken >= wanted);
}

/// How many bytes the processes have told.
fn told(logs: &Path) -> u64 {
    std::fs::read_dir(logs).unwrap().map(|log| log.unwrap().metadata().unwrap().len()).sum()
}

/// The ids that all processes have told of, each once.
fn read(logs: &Path) -> HashSet<i64> {
    let mut taken = HashSet::new();
    for log in std::fs::read_dir(logs).unwrap() {
        let text = std::fs::read_to_string(log.unwrap().path()).unwrap();
        // The last line may not be whole.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for id in whole.lines().map(|line| line.parse::<i64>().unwrap()) {
            assert!(taken.insert(id), "{id} was handed out twice");
        }
    }
    taken
}

#[test]
#[ignore = "runs in processes of its own"]
fn in_a_process_of_its_own() {
    let cluster = builder(Path::new(&std::env::var(FOLDER).unwrap())).open::<Models>().unwrap();
    let mut log = std::fs::File::create(std::env::var(LOG).unwrap()).unwrap();
    loop {
        let mut session = cluster.session();
        let mut lines = String::new();
        for number in 0..TOLD {
            let place = Place::ALL[number % 4];
            lines.push_str(&format!("{}\n", session.add(NewTicket { place }).unwrap().id));
        }
        log.write_all(lines.as_bytes()).unwrap();
        // Where another process was given an id of these, this fails.
        session.commit().unwrap();
    }
}
