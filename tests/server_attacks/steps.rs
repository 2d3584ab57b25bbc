//! At every step of a unit over three shards: the client dies, a server crashes, a connection is cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ages::jump;
use crate::check::check;
use crate::proxy::{Moment, Proxies, Step, Trap};
use crate::unit::{Told, write};
use crate::{Models, Numbers, World, seed};

/// How many attacks an ordinary run of the tests makes.
const ATTACKS: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    ClientDies,
    ConnectionIsCut,
    /// The server crashes, and is there again at once.
    Crashes(usize),
    /// The server crashes, and is there again when the client has given up.
    IsDown(usize),
}

#[test]
fn r35_nothing_is_half_done_on_servers_whatever_happens_at_any_step() {
    attack(false, 2);
}

#[test]
fn r35_nothing_is_half_done_on_servers_if_the_commit_sends_the_rows() {
    attack(false, 1);
}

#[test]
fn r35_nothing_is_half_done_on_files_and_servers_whatever_happens_at_any_step() {
    attack(true, 2);
}

/// Attacks units whose ids are odd or even, as the first one's.
fn attack(has_file: bool, first: i64) {
    let world = Arc::new(World::start(has_file));
    let proxies = Proxies::start(&world.ports());
    let mut told = BTreeMap::new();
    let steps = steps_of_a_unit(&world, &proxies, first, &mut told);
    let commits = steps.iter().filter(|step| step.sql.contains("COMMIT PREPARED")).count();
    assert!(commits >= 2, "the unit is over several servers: {steps:?}");
    let mut attacks = Vec::new();
    for step in &steps {
        let servers = 0..world.servers.len().min(3);
        let crashes = servers.flat_map(|server| [Event::Crashes(server), Event::IsDown(server)]);
        for event in [Event::ClientDies, Event::ConnectionIsCut].into_iter().chain(crashes) {
            attacks.push((step, Moment::Before, event));
            attacks.push((step, Moment::After, event));
        }
    }
    let mut numbers = Numbers(seed());
    if !std::env::var("SHARDED_STEPS").is_ok_and(|steps| steps == "all") {
        for position in 0..ATTACKS.min(attacks.len()) {
            let other = position + numbers.below((attacks.len() - position) as u64) as usize;
            attacks.swap(position, other);
        }
        attacks.truncate(ATTACKS);
    }
    let (mut sprung, mut outcomes) = (0, BTreeMap::new());
    for (position, (step, moment, event)) in attacks.iter().enumerate() {
        let unit = 1_000 + first + 2 * position as i64;
        let (outcome, has_sprung) = run(&world, &proxies, unit, step, *moment, *event);
        sprung += usize::from(has_sprung);
        *outcomes.entry(format!("{outcome:?}")).or_insert(0) += 1;
        // Every other time a day passes before anything is recovered.
        if position % 2 == 1 {
            (0..world.servers.len()).for_each(|server| jump(&world, server, true));
        }
        // The outcome that a dead client was given is unknown.
        told.insert(unit, if *event == Event::ClientDies { Told::Doubted } else { outcome });
        let here = format!("{event:?} {moment:?} {step:?}, told {outcome:?}");
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&world, &told))).is_err() {
            panic!("after this attack: {here}");
        }
    }
    let counts = check(&world, &told);
    println!("{} attacks at {} steps, {sprung} sprung: {outcomes:?}, {counts:?}", attacks.len(), steps.len());
    assert!(sprung * 10 >= attacks.len() * 9, "the traps are set beside the unit");
}

/// The requests of an undisturbed transaction over three shards.
fn steps_of_a_unit(world: &World, proxies: &Proxies, unit: i64, told: &mut BTreeMap<i64, Told>) -> Vec<Step> {
    let cluster = world.builder(proxies.ports()).open::<Models>().unwrap();
    proxies.arm(None);
    let (outcome, written) = write(&mut cluster.session(), unit, 0b0111, 5);
    written.unwrap();
    told.insert(unit, outcome);
    proxies.disarm().0
}

fn run(
    world: &Arc<World>,
    proxies: &Proxies,
    unit: i64,
    step: &Step,
    moment: Moment,
    event: Event,
) -> (Told, bool) {
    let cluster = world.builder(proxies.ports()).open::<Models>().unwrap();
    let springs = Arc::clone(world);
    let spring = Box::new(move || match event {
        Event::ClientDies | Event::ConnectionIsCut => {}
        Event::Crashes(server) => {
            springs.crash(server);
            springs.start_again(server);
        }
        Event::IsDown(server) => springs.crash(server),
    });
    let kills = event == Event::ClientDies;
    proxies.arm(Some(Trap { server: step.server, request: step.request, moment, spring, kills }));
    let (told, _) = write(&mut cluster.session(), unit, 0b0111, 5);
    let (_, waits) = proxies.disarm();
    if let (Event::IsDown(server), false) = (event, waits) {
        world.start_again(server);
    }
    (told, !waits)
}
