//! An adoption that is killed is continued by the next one.

use std::path::PathBuf;

use shard_runtime::prelude::*;

use crate::refusals::{Both, GOOD, Owner, Pet};
use crate::{File, assert_error};

#[test]
fn r40_a_shard_that_was_not_reached_is_adopted_by_other_models() {
    let file = File::new(GOOD);
    // The table of the entries is in the way of the transaction of the shard: only control has been written.
    file.run("CREATE TABLE sharded_layout (other)");
    let failed = file.builder().adopt::<Both>().unwrap().run().map(drop);
    assert!(failed.is_err());
    let open = file.builder().open::<Both>().map(drop);
    assert!(open.is_err(), "nothing is opened before the adoption has ended");
    file.run("DROP TABLE sharded_layout");
    drop(file.builder().adopt::<Owner>().unwrap().run().unwrap());
    drop(file.builder().open::<Owner>().unwrap());
    // The other model's table has rows that the cluster did not record. It is adopted later.
    assert_error(file.builder().create::<Both>().map(drop), ErrorKind::WrongDatabase, &["pets", "`adopt`"]);
    let cluster = file.builder().adopt::<Both>().unwrap().run().unwrap();
    assert_eq!(cluster.session().one(Pet::select().all_shards().count()).unwrap(), 3);
    drop(cluster);
    drop(file.builder().open::<Both>().unwrap());
    assert_error(file.builder().adopt::<Both>().map(drop), ErrorKind::WrongDatabase, &["already"]);
}

const FOLDER: &str = "SHARDED_ADOPTED";

/// Adopts the database that the environment names.
#[test]
#[ignore = "started by other tests"]
fn in_a_process_of_its_own() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("started by a test"));
    let url = format!("sqlite:{}", folder.join("app.db").display());
    drop(Cluster::builder().shard("main", url).adopt::<Both>().unwrap().run().unwrap());
}

/// Adopts files, kills the process at some system calls, and adopts again.
#[cfg(all(target_os = "linux", feature = "servers"))]
#[test]
fn r47_a_kill_at_any_system_call_is_continued() {
    use std::process::{Command, Stdio};

    // More rows than one batch of the lookup's entries.
    let more = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) \
                INSERT INTO pets (owner_id, chip, is_wild) SELECT 'Europe', 1000 + i, 0 FROM n;";
    let stride = if std::env::var("SHARDED_STEPS").is_ok_and(|steps| steps == "all") { 1 } else { 5 };
    let mut killed = 0;
    for call in ["pwrite64", "fdatasync,fsync", "ftruncate,unlink"] {
        for time in (1..).step_by(stride) {
            let file = File::new(&format!("{GOOD}{more}"));
            let before = file.schema();
            let inject = format!("inject={call}:signal=KILL:when={time}");
            let this = std::env::current_exe().unwrap();
            let mut command = Command::new("strace");
            command.args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]).arg(this);
            command.args(["--exact", "--ignored", "interrupted::in_a_process_of_its_own"]);
            command.env(FOLDER, file.folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
            let ended = command.status().unwrap().success();
            assert_eq!(file.schema(), before, "killed at {call} {time}");
            let open = file.builder().open::<Both>();
            if ended {
                drop(open.unwrap());
                break;
            }
            killed += 1;
            // Opening a cluster that was not made fails, and changes nothing that an adoption could not continue.
            match open {
                Ok(cluster) => drop(cluster),
                Err(error) => {
                    let adoption = file.builder().adopt::<Both>();
                    let adoption =
                        adoption.unwrap_or_else(|again| panic!("{call} {time}: {error}, then {again}"));
                    drop(
                        adoption.run().unwrap_or_else(|again| panic!("{call} {time}: {error}, then {again}")),
                    );
                }
            }
            let cluster = file.builder().open::<Both>().unwrap();
            assert_eq!(cluster.verify().unwrap().found(), 0, "killed at {call} {time}");
            let rows = cluster.session().one(Pet::select().all_shards().count()).unwrap();
            assert_eq!(rows, 303, "killed at {call} {time}");
            let mei =
                cluster.session().all(Owner::select().filter(Owner::EMAIL.eq("mei@example.com"))).unwrap();
            assert_eq!(mei.len(), 1, "killed at {call} {time}");
        }
    }
    println!("{killed} adoptions were killed");
    assert!(killed > 10, "only {killed}");
}
