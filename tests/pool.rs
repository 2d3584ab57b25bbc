//! The connection pool of a busy cluster, and of one that meets a limit of the process or of a server.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shard_runtime::{Builder, Cluster, Durability, ErrorKind, Sharded};
use sharded_tests::postgres_server::Server;
use sharded_tests::waiting::soon;
use tempfile::TempDir;

/// Names this process as the one that runs with few descriptors.
const FEW_DESCRIPTORS: &str = "SHARDED_FEW_DESCRIPTORS";

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "accounts")]
struct Account {
    #[id]
    #[shard_key(hash)]
    id: i64,
    cents: i64,
}

fn files(folder: &TempDir, count: usize) -> Builder {
    (0..count).fold(Cluster::builder().durability(Durability::Normal), |builder, index| {
        builder.shard(
            format!("s{index}"),
            format!("sqlite:{}", folder.path().join(format!("{index}.db")).display()),
        )
    })
}

fn accounts(count: i64) -> impl Iterator<Item = Account> {
    (0..count).map(|id| Account { id, cents: 100 })
}

/// A place in a sequence without a pattern.
fn scattered(number: usize) -> i64 {
    (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64 >> 40
}

/// Runs the test with this name in a process that may have so many descriptors.
#[cfg(unix)]
fn with_few_descriptors(test: &str, descriptors: usize) {
    let program = std::env::current_exe().expect("the test's own program");
    let output = Command::new("sh")
        .args(["-c", "ulimit -n \"$1\" && exec \"$0\" --exact --nocapture \"$2\""])
        .arg(program)
        .arg(descriptors.to_string())
        .arg(test)
        .env(FEW_DESCRIPTORS, "1")
        .output()
        .expect("sh runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// W25: 64 files with 8 threads need more descriptors than the process may have: 3 for each file, 2 for each further
/// connection.
#[cfg(unix)]
#[test]
fn idle_connections_make_room_when_descriptors_run_out() {
    if std::env::var_os(FEW_DESCRIPTORS).is_none() {
        return with_few_descriptors("idle_connections_make_room_when_descriptors_run_out", 256);
    }
    let folder = TempDir::new().unwrap();
    let cluster = files(&folder, 64).create::<Account>().unwrap();
    let mut session = cluster.session();
    session.add_all(accounts(1_000)).unwrap();
    session.commit().unwrap();
    drop(session);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let cluster = &cluster;
            scope.spawn(move || {
                for round in 0..200 {
                    let id = scattered(thread * 1_000 + round).rem_euclid(1_000);
                    let mut session = cluster.session();
                    assert!(session.get::<Account>(id).unwrap().is_some());
                    if round % 10 == 0 {
                        session
                            .execute(Account::update().filter(Account::ID.eq(id)).set(Account::CENTS, 7))
                            .unwrap();
                        session.commit().unwrap();
                    }
                }
                // Everything at once, too.
                let sum = cluster.session().one(Account::select().all_shards().count()).unwrap();
                assert_eq!(sum, 1_000);
            });
        }
    });
}

/// A limit below one descriptor set for each file cannot be worked around: the error is retryable and names the limit.
#[cfg(unix)]
#[test]
fn too_few_descriptors_are_named() {
    if std::env::var_os(FEW_DESCRIPTORS).is_none() {
        return with_few_descriptors("too_few_descriptors_are_named", 48);
    }
    let folder = TempDir::new().unwrap();
    let cluster = files(&folder, 24).busy_timeout(Duration::from_millis(200)).create::<Account>().unwrap();
    let error = cluster.session().one(Account::select().all_shards().count()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.to_string().contains("`ulimit -n`"), "{error}");
    // One file after the other can be read.
    for id in 0..100 {
        assert!(cluster.session().get::<Account>(id).unwrap().is_none());
    }
}

/// Control is the first database that is opened. If no descriptor is left for it, the error is retryable and names the limit.
#[cfg(unix)]
#[test]
fn too_few_descriptors_for_control_are_named() {
    if std::env::var_os(FEW_DESCRIPTORS).is_none() {
        return with_few_descriptors("too_few_descriptors_for_control_are_named", 64);
    }
    let folder = TempDir::new().unwrap();
    let builder = || files(&folder, 2).busy_timeout(Duration::from_millis(100));
    let cluster = builder().create::<Account>().unwrap();
    let mut session = cluster.session();
    session.add_all(accounts(20)).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    let mut held: Vec<std::fs::File> = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    // With each descriptor more, opening comes further: SQLite needs one for a file, one for its log and one for the index.
    let mut refused_control = 0;
    let cluster = loop {
        match builder().open::<Account>() {
            Ok(cluster) => break cluster,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                assert!(error.is_retryable() && error.to_string().contains("`ulimit -n`"), "{error}");
                refused_control += usize::from(error.to_string().contains("control database"));
                let created = builder().create::<Account>().unwrap_err();
                assert_eq!(created.kind(), ErrorKind::Busy, "{created}");
            }
        }
        held.pop().expect("opening succeeds with enough descriptors");
    };
    assert_eq!(refused_control, 3, "one for each descriptor of the control database");
    drop(held);
    assert_eq!(cluster.session().one(Account::select().all_shards().count()).unwrap(), 20);
}

fn servers(count: usize, settings: &[&str]) -> Vec<Server> {
    let starting: Vec<_> = (0..count)
        .map(|_| {
            let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
            std::thread::spawn(move || {
                Server::start_with(&settings.iter().map(String::as_str).collect::<Vec<_>>())
            })
        })
        .collect();
    starting.into_iter().map(|server| server.join().expect("the server starts")).collect()
}

fn on_servers(servers: &[Server]) -> Builder {
    servers
        .iter()
        .enumerate()
        .fold(Cluster::builder(), |builder, (index, server)| builder.shard(format!("s{index}"), server.url()))
}

/// How many connections a server has ever accepted for its database.
fn accepted(server: &Server) -> i64 {
    server.psql("SELECT sessions FROM pg_stat_database WHERE datname = 'postgres'").trim().parse().unwrap()
}

/// W25: each session reads one of three servers, with more threads than connections. Connections are opened up to the
/// limit and then kept; earlier, every other read opened one.
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn a_busy_pool_keeps_its_connections() {
    const CONNECTIONS: u32 = 12;
    let servers = servers(3, &[]);
    let cluster = on_servers(&servers).connections(CONNECTIONS).create::<Account>().unwrap();
    let mut session = cluster.session();
    session.add_all(accounts(300)).unwrap();
    session.commit().unwrap();
    drop(session);
    let before: i64 = servers.iter().map(accepted).sum();
    let reads = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..24 {
            let (cluster, reads) = (&cluster, &reads);
            scope.spawn(move || {
                for round in 0..60 {
                    let id = scattered(thread * 1_000 + round).rem_euclid(300);
                    assert!(cluster.session().get::<Account>(id).unwrap().is_some());
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    drop(cluster);
    // A server counts a session before it lists it no more. The looks here are counted, too.
    let open = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    soon("all sessions end", || servers.iter().all(|server| server.psql(open).trim() == "0"));
    let opened = servers.iter().map(accepted).sum::<i64>() - before - servers.len() as i64;
    let reads = reads.into_inner();
    assert_eq!(reads, 24 * 60);
    // How often a connection makes room for one to another server depends on the scheduling of the threads.
    assert!(opened < 150, "{opened} connections were opened for {reads} reads");
}

/// A server that accepts fewer connections than the cluster would open: sessions share those that there are.
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn a_server_at_its_limit_is_shared() {
    let settings = ["max_connections=8", "superuser_reserved_connections=0"];
    let servers = servers(2, &settings);
    let cluster = on_servers(&servers).create::<Account>().unwrap();
    let mut session = cluster.session();
    session.add_all(accounts(200)).unwrap();
    session.commit().unwrap();
    drop(session);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let cluster = &cluster;
            scope.spawn(move || {
                for round in 0..30 {
                    let id = scattered(thread * 1_000 + round).rem_euclid(200);
                    assert!(cluster.session().get::<Account>(id).unwrap().is_some());
                }
            });
        }
    });
}

/// If other programs hold all slots of a server, the error is retryable and names the limit.
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn a_server_without_a_slot_is_named() {
    let settings = ["max_connections=5", "superuser_reserved_connections=0"];
    let servers = servers(1, &settings);
    let cluster = on_servers(&servers).busy_timeout(Duration::from_millis(300)).create::<Account>().unwrap();
    let mut holders: Vec<_> = Vec::new();
    let error = loop {
        let mut session = cluster.session();
        match session.one(Account::select().all_shards().count()) {
            Ok(_) => holders.push(session),
            Err(error) => break error,
        }
        assert!(holders.len() < 6);
    };
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(
        error.to_string().contains("waiting for a connection")
            || error.to_string().contains("max_connections"),
        "{error}"
    );
    holders.pop();
    cluster.session().one(Account::select().all_shards().count()).unwrap();
}

/// More threads than connections, on files: every thread makes progress.
#[test]
fn every_thread_has_its_turn() {
    const THREADS: usize = 12;
    const ENOUGH: usize = 50;
    let folder = TempDir::new().unwrap();
    let cluster = files(&folder, 2).connections(3).create::<Account>().unwrap();
    // The threads that have read enough continue until all have.
    let hungry = AtomicUsize::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cluster, hungry) = (&cluster, &hungry);
            scope.spawn(move || {
                for read in 0.. {
                    if read == ENOUGH {
                        hungry.fetch_sub(1, Ordering::Relaxed);
                    }
                    if hungry.load(Ordering::Relaxed) == 0 {
                        break;
                    }
                    let id = scattered(thread * 100_000 + read);
                    assert!(cluster.session().get::<Account>(id).unwrap().is_none());
                }
            });
        }
    });
}
