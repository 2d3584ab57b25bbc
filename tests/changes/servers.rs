//! Changes on a server that stops hard, or that cuts the mover's connections: they are continued, or cancelled.
//!
//! `SHARDED_STEPS=all` stops the server at more moments.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use shard_runtime::{Builder, Cluster, Durability, Pace, change::Switch};
use sharded_tests::postgres_server::Server;

use crate::models::{Models, assert_sound, contents, fill};
use crate::mover::{self, ALL, begin, current, every, run, write};

fn start() -> Server {
    Server::start_with(&[
        "max_prepared_transactions=20",
        "shared_buffers=16MB",
        "autovacuum=off",
        "full_page_writes=off",
    ])
}

fn builder(server: &Server, shards: &[&str]) -> Builder {
    let builder = Cluster::builder().durability(Durability::Normal).busy_timeout(Duration::from_secs(10));
    shards
        .iter()
        .fold(builder, |builder, shard| builder.shard(*shard, format!("{}?schema={shard}", server.url())))
}

fn open(server: &Server) -> Cluster {
    builder(server, &ALL).open::<Models>().unwrap()
}

fn made(server: &Server) -> Vec<String> {
    drop({
        let cluster = builder(server, &ALL[..3]).create::<Models>().unwrap();
        fill(&cluster, 30);
        cluster
    });
    contents(&builder(server, &ALL).create::<Models>().unwrap())
}

/// The mover of `mover`, for this server.
fn command(server: &Server) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "mover::in_a_process_of_its_own"]);
    let configured = ALL.map(|shard| format!("{shard} {}?schema={shard}", server.url())).join("\n");
    command
        .env("SHARDED_MOVED_CLUSTER", configured)
        .env("SHARDED_MOVED_WAIT", "5000")
        .env("SHARDED_MOVED_ONLY", "");
    command.env("RUST_BACKTRACE", "0").stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn assert_same(server: &Server, before: &[String], what: &str) {
    let cluster = open(server);
    assert_eq!(contents(&cluster), before, "{what}");
    assert_sound(&cluster);
}

/// Crashes, and starts again.
fn crash(server: &mut Server) {
    server.stop();
    server.start_again();
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r50_a_server_that_crashes_between_the_steps_of_a_change_loses_nothing() {
    let mut server = start();
    let before = made(&server);
    for at in 0..5 {
        {
            let mut change = begin(&open(&server)).unwrap();
            if at > 0 {
                change.copy(Pace::rows(20), |_| {}).unwrap();
            }
            if at > 1 {
                change.verify().unwrap();
            }
            if at > 3 {
                change.switch(Switch::within(Duration::from_secs(10))).unwrap();
            }
        }
        crash(&mut server);
        assert_same(&server, &before, "after a crash");
        let cluster = open(&server);
        let mut change = current(&cluster).unwrap();
        if at < 3 {
            change.cancel().unwrap();
            assert!(current(&cluster).is_none());
        } else {
            run(&mut change).unwrap();
            crash(&mut server);
            assert_same(&server, &before, "after a change and a crash");
            break;
        }
    }
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r50_a_server_that_crashes_while_rows_move_loses_nothing() {
    let mut server = start();
    let (mut crashes, mut moment) = (0, Duration::from_millis(40));
    let before = made(&server);
    drop(begin(&open(&server)).unwrap());
    // Later and later, until a mover comes to its end between two crashes.
    loop {
        let mut mover = command(&server).spawn().unwrap();
        let ended = mover::wait(&mut mover, moment);
        if ended == Some(0) {
            break;
        }
        crash(&mut server);
        crashes += 1;
        mover::wait(&mut mover, Duration::from_secs(60)).expect("a mover whose server was gone ends");
        assert_same(&server, &before, &format!("crash {crashes}"));
        moment = moment.mul_f64(if every() { 1.05 } else { 1.7 });
    }
    assert!(crashes > 0);
    assert_same(&server, &before, "at the end");
    let cluster = open(&server);
    assert_eq!(cluster.epoch(), 2);
    write(&cluster, 5_000);
    println!("{crashes} crashes");
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r50_a_mover_whose_connections_are_cut_loses_nothing() {
    let server = start();
    let before = made(&server);
    drop(begin(&open(&server)).unwrap());
    let (mut cut, mut movers) = (0_u64, 0);
    let mut pause = Duration::from_millis(3);
    loop {
        let mut mover = command(&server).spawn().unwrap();
        movers += 1;
        let began = Instant::now();
        let ended = loop {
            if let Some(code) = mover::wait(&mut mover, pause) {
                break code;
            }
            assert!(began.elapsed() < Duration::from_secs(120), "the mover does not end");
            let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                       AND pid <> pg_backend_pid()";
            cut += server.psql(sql).trim().parse::<u64>().unwrap_or_default();
        };
        if ended == 0 {
            break;
        }
        // Rarer and rarer, so that it ends at last.
        pause = pause.mul_f64(if every() { 1.1 } else { 1.6 });
    }
    println!("{cut} connections cut, of {movers} movers");
    assert!(cut > 5);
    assert_same(&server, &before, "at the end");
    let cluster = open(&server);
    assert_eq!(cluster.epoch(), 2);
    write(&cluster, 5_000);
    assert_sound(&cluster);
}
