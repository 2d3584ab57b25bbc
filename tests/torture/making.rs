//! Clusters whose machine loses its power while they are made: `create` makes the missing parts, and none is missing after its
//! reported end.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use shard_runtime::{Durability, Sharded as _};
use sharded_tests::disk;

use crate::injected::every;
use crate::{Account, Models, Numbers, Place, builder, folder, seed};

const FOLDER: &str = "SHARDED_TORTURE_MADE";
const LOG: &str = "SHARDED_TORTURE_MADE_LOG";
const NORMAL: &str = "SHARDED_TORTURE_NORMAL";

/// How many power losses an ordinary run replays, and how many of each moment one that tries all.
const LOSSES: usize = 60;
const TIMES: usize = 8;

fn durability(is_normal: bool) -> Durability {
    if is_normal { Durability::Normal } else { Durability::Full }
}

#[test]
#[ignore = "runs in a process of its own"]
fn maker_in_a_process_of_its_own() {
    let said = |name: &str| PathBuf::from(std::env::var_os(name).unwrap());
    let is_normal = std::env::var_os(NORMAL).is_some();
    drop(builder(&said(FOLDER)).durability(durability(is_normal)).create::<Models>().unwrap());
    std::fs::write(said(LOG), "done\n").unwrap();
}

#[test]
fn r47_a_power_loss_while_a_cluster_is_made_leaves_one_that_can_be_made() {
    lose_power(false);
}

#[test]
fn r47_a_power_loss_is_survived_by_a_cluster_whose_commits_do_not_wait_for_the_disk() {
    lose_power(true);
}

fn lose_power(is_normal: bool) {
    let (made, here) = (folder(), folder());
    let log = here.path().join("log");
    let record = disk::record(made.path(), &log, String::new(), |behind| {
        let mut maker = Command::new(&behind[0]);
        maker.args(&behind[1..]).arg(std::env::current_exe().unwrap());
        maker.args(["--exact", "--ignored", "making::maker_in_a_process_of_its_own"]);
        maker.env(FOLDER, made.path()).env(LOG, &log).stdout(Stdio::null()).stderr(Stdio::null());
        if is_normal {
            maker.env(NORMAL, "");
        }
        maker
    });
    let mut numbers = Numbers(seed());
    let moments: Vec<usize> = match every() {
        true => (1..=record.events()).flat_map(|moment| [moment; TIMES]).collect(),
        false => (0..LOSSES).map(|_| 1 + numbers.below(record.events() as u64) as usize).collect(),
    };
    for (loss, &moment) in moments.iter().enumerate() {
        let what = format!("power loss {loss}, at {moment} of {} moments", record.events());
        let cluster = here.path().join(loss.to_string());
        std::fs::create_dir(&cluster).unwrap();
        record.lose_power(moment, &mut numbers, &cluster, &log);
        let told = std::fs::read_to_string(&log).unwrap();
        let builder = || builder(&cluster).durability(durability(is_normal));
        if told == "done\n" {
            builder().open::<Models>().unwrap_or_else(|error| panic!("{what}, after the end: {error}"));
        }
        let made = builder().create::<Models>().unwrap_or_else(|error| panic!("{what}: {error}"));
        made.transaction(|session| {
            session.add_all(Place::ALL.map(|place| Account { id: 1, place, cents: 0 }))
        })
        .unwrap_or_else(|error| panic!("{what}: {error}"));
        let accounts = made.session().all(Account::select().all_shards()).unwrap();
        assert_eq!(accounts.len(), Place::ALL.len(), "{what}");
        drop(made);
        std::fs::remove_dir_all(cluster).unwrap();
    }
    println!("{} power losses in {} moments", moments.len(), record.events());
}
