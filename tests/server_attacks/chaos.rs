//! Sixteen threads write while servers crash. Each commit returns the outcome of its unit, and the threads continue without
//! help.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::ages::jump_and_recover;
use crate::check::check;
use crate::unit::{Told, write};
use crate::{Models, Numbers, World, number, seed};

/// How long an ordinary run of the tests takes, in seconds.
const SECONDS: u64 = 8;

const THREADS: u64 = 16;

/// The kinds of errors that a client gets whose servers crash.
const TYPED: [&str; 4] = ["ConnectionLost", "InDoubt", "Busy", "Aborted"];

#[test]
fn r35_clients_go_on_while_servers_crash() {
    let world = World::start(false);
    let (seconds, seed) = (number("SHARDED_SECONDS", SECONDS), seed());
    let cluster = world.builder(&world.ports()).connections(80).open::<Models>().unwrap();
    let all_told: Mutex<BTreeMap<i64, Told>> = Mutex::default();
    let kinds: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let (is_over, is_calm) = (AtomicBool::new(false), AtomicBool::new(false));
    let after_calm: Mutex<Vec<u64>> = Mutex::default();
    let mut crashes = 0;
    let mut jumps = 0;
    std::thread::scope(|scope| {
        let jumping = scope.spawn(|| jump_and_recover(&world, seed, &is_over));
        for thread in 1..=THREADS {
            let (cluster, all_told, kinds) = (&cluster, &all_told, &kinds);
            let (is_over, is_calm, after_calm) = (&is_over, &is_calm, &after_calm);
            scope.spawn(move || {
                let mut numbers = Numbers(seed + thread);
                let mut session = cluster.session();
                let mut goes_on = false;
                for unit in 0.. {
                    if is_over.load(Ordering::Relaxed) && goes_on {
                        break;
                    }
                    let calm = is_calm.load(Ordering::Relaxed);
                    let id = thread as i64 * 1_000_000 + unit;
                    let (told, written) =
                        write(&mut session, id, 1 + numbers.below(15), numbers.below(1_000) as i64);
                    goes_on = calm && told == Told::Committed;
                    if let Err(error) = written {
                        let kind = format!("{:?}", error.kind());
                        if !TYPED.contains(&kind.as_str()) {
                            println!("{error:?}");
                        }
                        *kinds.lock().unwrap().entry(kind).or_insert(0) += 1;
                    }
                    all_told.lock().unwrap().insert(id, told);
                }
                after_calm.lock().unwrap().push(thread);
            });
        }
        let mut numbers = Numbers(seed);
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(700 + numbers.below(1_500)));
            let server = numbers.below(world.servers.len() as u64) as usize;
            world.crash(server);
            crashes += 1;
            std::thread::sleep(Duration::from_millis(numbers.below(500)));
            world.start_again(server);
        }
        is_calm.store(true, Ordering::Relaxed);
        is_over.store(true, Ordering::Relaxed);
        jumps = jumping.join().unwrap();
    });
    assert_eq!(after_calm.lock().unwrap().len() as u64, THREADS, "every thread has gone on");
    drop(cluster);
    let counts = check(&world, &all_told.lock().unwrap());
    println!(
        "{crashes} crashes and {jumps} jumps of clocks in {seconds} s: {counts:?}, errors {:?}",
        kinds.lock().unwrap()
    );
    assert!(counts.committed > 100 && counts.over_several_shards > 50, "{counts:?}");
    let kinds = kinds.lock().unwrap();
    assert!(kinds.keys().all(|kind| TYPED.contains(&kind.as_str())), "{kinds:?}");
}
