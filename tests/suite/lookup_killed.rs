//! Rows and their entries through kills of the process that writes them, R35: a decided transaction is stored as a whole.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use shard_runtime::{Cluster, Durability, ErrorKind, Sharded};

use crate::backend::{Backend, LETTERS};
use crate::lookup::{Account, Device, NewDevice, User, by_email, user};

const FOLDER: &str = "SHARDED_SUITE_LOOKUP_KILLED";
const KILLS: u64 = 12;

on_some! {
    Files:
        r35_entries_agree_with_their_rows_after_a_kill,
}

fn r35_entries_agree_with_their_rows_after_a_kill(backend: &Backend) {
    // Only a cluster of several files has units that a kill could tear apart.
    drop(backend.create::<(User, Device, Account)>(&LETTERS));
    let mut rows = 0;
    for kill in 0..KILLS {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", "lookup_killed::in_a_process_that_is_killed"])
            .env(FOLDER, backend.folder())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(writer.stdout.take().unwrap()).lines();
        let ready = said.map_while(Result::ok).any(|line| line.contains("it writes"));
        std::thread::sleep(Duration::from_millis(3 + 17 * kill % 61));
        writer.kill().unwrap();
        writer.wait().unwrap();
        assert!(ready, "the writer has not come so far");

        let cluster = backend.open::<(User, Device, Account)>(&LETTERS).unwrap();
        assert_eq!(cluster.verify().unwrap().lookup_problems(), [], "after kill {kill}");
        let mut session = cluster.session();
        let users = session.all(User::select().all_shards()).unwrap();
        for row in users.iter().rev().take(5) {
            assert_eq!(by_email(&mut session, &row.email), std::slice::from_ref(row));
        }
        rows = users.len();
    }
    assert!(rows > 0, "nothing was ever committed");
}

#[test]
#[ignore = "runs in a process of its own, and is killed"]
fn in_a_process_that_is_killed() {
    let folder = std::env::var(FOLDER).unwrap();
    let builder = Cluster::builder().durability(Durability::Normal);
    let builder = LETTERS
        .iter()
        .fold(builder, |builder, shard| builder.shard(*shard, format!("sqlite:{folder}/{shard}.db")));
    let cluster = builder.open::<(User, Device, Account)>().unwrap();
    // A test that was started by hand is not killed; it ends automatically.
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let cluster = &cluster;
            scope.spawn(move || (0..300).for_each(|round| write(cluster, writer, round)));
        }
    });
}

/// A unit over several shards: rows that come, change their values, move and go.
fn write(cluster: &Cluster, writer: usize, round: usize) {
    let process = std::process::id();
    let name = |what: &str| format!("{what} {process} {writer} {round}");
    let written = cluster.transaction(|session| {
        let mut row = session.add(user(LETTERS[round % 3], &name("user")))?;
        session.add(NewDevice { user: row.link(), serial: name("device") })?;
        row.email = name("changed");
        session.update(&mut row)?;
        session.relocate(&mut row, |row| row.region = LETTERS[(round + 1) % 3].into())?;
        let gone = session.add(user(LETTERS[(round + 2) % 3], &name("gone")))?;
        session.flush()?;
        if round.is_multiple_of(2) {
            session.delete(&gone)?;
        }
        Ok(())
    });
    if let Err(error) = written {
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    }
    if round == 0 {
        println!("it writes");
    }
}
