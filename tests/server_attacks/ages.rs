//! Rows of decision logs grow old and clocks jump during other attacks. Recovery must not treat a row as finished because of
//! its age.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::check::check;
use crate::proxy::{Moment, Proxies, Trap};
use crate::unit::{Told, write};
use crate::{Models, Numbers, World};

/// Makes the rows of a server's decision log older by a day and an hour, or newer, as a clock that jumps does.
pub fn jump(world: &World, server: usize, back: bool) {
    let sign = if back { '-' } else { '+' };
    // A server that is down at this moment keeps its rows as they are.
    let _ = world.servers[server]
        .lock()
        .unwrap()
        .try_psql(&format!("UPDATE sharded_unit SET at = at {sign} interval '25 hours';"));
}

/// Jumps at random moments, until it is over, and recovers in between. Returns how often it jumped.
pub fn jump_and_recover(world: &World, seed: u64, is_over: &AtomicBool) -> u64 {
    let mut numbers = Numbers(seed);
    let mut jumps = 0;
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(numbers.below(300)));
        let server = numbers.below(world.servers.len() as u64) as usize;
        jump(world, server, numbers.below(4) > 0);
        jumps += 1;
        // Servers are down now and then: opening fails then, and recovery leaves participants on servers that it cannot reach.
        let Ok(cluster) = world.builder(&world.ports()).open::<Models>() else { continue };
        std::thread::sleep(Duration::from_millis(numbers.below(100)));
        let _ = cluster.recover();
    }
    jumps
}

/// The client dies before it finishes a participant, once for each of them, and a day passes. The cluster is recovered
/// while the participant's server is down, and again when it is there.
#[test]
fn r35_a_transaction_is_whole_when_it_is_recovered_a_day_later() {
    let world = Arc::new(World::start(false));
    let proxies = Proxies::start(&world.ports());
    let recoverer = world.builder(&world.ports()).open::<Models>().unwrap();
    let mut told = BTreeMap::new();
    let mut write_until = |unit: i64, trap: Option<Trap>| {
        let cluster = world.builder(proxies.ports()).open::<Models>().unwrap();
        let dies = trap.is_some();
        proxies.arm(trap);
        let (outcome, _) = write(&mut cluster.session(), unit, 0b0111, 5);
        let (steps, waits) = proxies.disarm();
        told.insert(unit, if dies { Told::Doubted } else { outcome });
        (steps, waits)
    };
    let (steps, _) = write_until(1, None);
    let finishing: Vec<_> = steps.iter().filter(|step| step.sql.contains("COMMIT PREPARED")).collect();
    assert_eq!(finishing.len(), 2, "{steps:?}");
    // Their rows are sent as those of the first unit are.
    for (unit, step) in (3..).step_by(2).zip(finishing) {
        let (server, request) = (step.server, step.request);
        let trap = Trap { server, request, moment: Moment::Before, spring: Box::new(|| {}), kills: true };
        let (_, waits) = write_until(unit, Some(trap));
        assert!(!waits, "the client died at {step:?}");
        (0..world.servers.len()).for_each(|server| jump(&world, server, true));
        world.crash(server);
        recoverer.recover().unwrap();
        world.start_again(server);
        recoverer.recover().unwrap();
    }
    let counts = check(&world, &told);
    assert_eq!((counts.units, counts.over_several_shards), (3, 3), "{counts:?}");
}
