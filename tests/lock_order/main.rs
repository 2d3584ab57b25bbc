//! Transactions that lock several databases in different orders: they do not wait for whole busy timeouts.
//!
//! Each test has a busy timeout of a minute and must end well before that.

mod deadlines;
mod plain;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

use shard_runtime::{Builder, Cluster, Durability, Error, ErrorKind, Session, Sharded};
use sharded_tests::postgres_server::Server;
use sharded_tests::waiting::spawn_until_it_waits;
use tempfile::TempDir;

const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "accounts")]
struct Account {
    #[id]
    id: i64,
    #[shard_key(list("a" => "a", "b" => "b", "c" => "c"))]
    place: String,
    cents: i64,
}

const PLACES: [&str; 3] = ["a", "b", "c"];

/// Ten accounts in each place: 0 to 9 in `a`, 10 to 19 in `b`, 20 to 29 in `c`.
fn fill(builder: Builder) -> Cluster {
    let cluster = builder
        .busy_timeout(BUSY_TIMEOUT)
        .durability(Durability::Normal)
        .create::<Account>()
        .expect("the cluster is made");
    let mut session = cluster.session();
    let account = |id: i64| Account { id, place: PLACES[id as usize / 10].to_owned(), cents: 100 };
    session.add_all((0..30).map(account)).unwrap();
    session.commit().unwrap();
    cluster
}

fn on_files(folder: &TempDir) -> Cluster {
    let url = |place: &str| format!("sqlite:{}", folder.path().join(format!("{place}.db")).display());
    fill(PLACES.iter().fold(Cluster::builder(), |builder, place| builder.shard(*place, url(place))))
}

/// Three servers for all tests here, which use a schema each.
fn servers() -> &'static [Server; 3] {
    static SERVERS: OnceLock<[Server; 3]> = OnceLock::new();
    let start = || {
        let server = Server::start_with(&["max_prepared_transactions=200"]);
        server.stop_with_the_process();
        server
    };
    SERVERS.get_or_init(|| {
        PLACES.map(|_| std::thread::spawn(start)).map(|server| server.join().expect("the server starts"))
    })
}

/// A shard on each of three servers.
fn shards_on(servers: &[Server], schema: &str) -> Builder {
    PLACES.iter().zip(servers).fold(Cluster::builder(), |builder, (place, server)| {
        builder.shard(*place, format!("{}?schema={schema}", server.url()))
    })
}

fn add(session: &mut Session, id: i64, cents: i64) -> Result<(), Error> {
    let row = Account::PLACE.eq(PLACES[id as usize / 10]) & Account::ID.eq(id);
    session.execute(Account::update().filter(row).set(Account::CENTS, Account::CENTS + cents)).map(drop)
}

fn sum(cluster: &Cluster) -> i64 {
    let rows = cluster.session().all(Account::select().all_shards()).unwrap();
    rows.iter().map(|account| account.cents).sum()
}

/// Runs something that would wait for a busy timeout if it met a deadlock that is not noticed.
fn ends_soon<O>(run: impl FnOnce() -> O) -> O {
    let began = Instant::now();
    let done = run();
    let took = began.elapsed();
    assert!(took < BUSY_TIMEOUT / 2, "it took {took:?}");
    done
}

/// Two transactions that both have their first lock, and then want the other's.
fn cross(cluster: &Cluster) {
    let both_have_one = Barrier::new(2);
    let transfer = |from: i64, to: i64| {
        let is_first_try = AtomicBool::new(true);
        cluster.transaction(|session| {
            add(session, from, -7)?;
            if is_first_try.swap(false, Ordering::Relaxed) {
                both_have_one.wait();
            }
            add(session, to, 7)
        })
    };
    ends_soon(|| {
        std::thread::scope(|scope| {
            let first = scope.spawn(|| transfer(1, 11));
            let second = scope.spawn(|| transfer(11, 1));
            first.join().unwrap().unwrap();
            second.join().unwrap().unwrap();
        });
    });
    assert_eq!(sum(cluster), 3_000);
}

/// Many transactions over two or three shards in random order.
fn many(cluster: &Cluster, threads: u64, rounds: u64) {
    ends_soon(|| {
        std::thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || {
                    let mut random = (thread + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    for _ in 0..rounds {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        let [from, to] = [random % 3, (random + 1 + random / 8 % 2) % 3];
                        let ids = [(from * 10 + random / 64 % 3) as i64, (to * 10 + random / 256 % 3) as i64];
                        cluster
                            .transaction(|session| {
                                add(session, ids[0], -1)?;
                                add(session, ids[1], 1)
                            })
                            .unwrap();
                    }
                });
            }
        });
    });
    assert_eq!(sum(cluster), 3_000);
}

/// W26
#[test]
fn r38_opposite_orders_on_files() {
    let folder = TempDir::new().unwrap();
    let cluster = on_files(&folder);
    cross(&cluster);
    many(&cluster, 8, 40);
    // More threads than connections.
    many(&cluster, 48, 8);
}

/// W26
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r38_opposite_orders_on_servers() {
    let servers = servers();
    let cluster = fill(shards_on(servers, "opposite"));
    cross(&cluster);
    many(&cluster, 4, 20);
    many(&cluster, 48, 3);
}

/// W26
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r38_opposite_orders_on_a_file_and_servers() {
    let [first, second, ..] = servers();
    let folder = TempDir::new().unwrap();
    let file = format!("sqlite:{}", folder.path().join("a.db").display());
    let urls = [file, format!("{}?schema=mixed", first.url()), format!("{}?schema=mixed", second.url())];
    let cluster = fill(
        PLACES.iter().zip(urls).fold(Cluster::builder(), |builder, (place, url)| builder.shard(*place, url)),
    );
    cross(&cluster);
    many(&cluster, 4, 15);
}

#[test]
fn r38_opposite_orders_in_async_transactions() {
    let folder = TempDir::new().unwrap();
    let cluster = on_files(&folder);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    ends_soon(|| {
        runtime.block_on(async {
            let transfers: Vec<_> = (0..40_i64)
                .map(|round| {
                    let cluster = cluster.clone();
                    let (from, to) = if round % 2 == 0 { (1, 11) } else { (11, 1) };
                    tokio::spawn(async move {
                        let transfer = move |session: &mut Session| {
                            add(session, from, -1)?;
                            add(session, to, 1)
                        };
                        cluster.async_transaction(transfer).await
                    })
                })
                .collect();
            for transfer in transfers {
                transfer.await.unwrap().unwrap();
            }
        });
    });
    assert_eq!(sum(&cluster), 3_000);
}

/// Without `transaction` the younger session fails at once, and the older one continues.
#[test]
fn r38_the_younger_session_fails_at_once() {
    let folder = TempDir::new().unwrap();
    let cluster = on_files(&folder);
    let (mut older, mut younger) = (cluster.session(), cluster.session());
    add(&mut older, 1, 1).unwrap();
    add(&mut younger, 11, 1).unwrap();
    ends_soon(|| {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                add(&mut older, 11, -1)?;
                older.commit()
            });
            // However the two meet, the older one is not the one that fails.
            let error = add(&mut younger, 1, -1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
            assert!(
                error.to_string().contains("shard `a`") && error.to_string().contains("deadlock"),
                "{error}"
            );
            younger.rollback();
            waiting.join().unwrap().unwrap();
        });
    });
    assert_eq!(sum(&cluster), 3_000);
}

/// The session that waits is not always the one that closes the cycle: the younger one is woken to fail.
#[test]
fn r38_a_younger_session_that_waits_already_fails() {
    let folder = TempDir::new().unwrap();
    let cluster = on_files(&folder);
    let (mut older, mut younger) = (cluster.session(), cluster.session());
    add(&mut older, 1, 1).unwrap();
    add(&mut younger, 11, 1).unwrap();
    ends_soon(|| {
        std::thread::scope(|scope| {
            let waiting = spawn_until_it_waits(scope, || {
                let result = add(&mut younger, 1, -1);
                younger.rollback();
                result
            });
            add(&mut older, 11, -1).unwrap();
            older.commit().unwrap();
            assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Busy);
        });
    });
    assert_eq!(sum(&cluster), 3_000);
}

type Read = fn(&mut Session, bool) -> Result<(), Error>;

/// Reads to write over all shards, in two orders of their rows.
const READS: [(&str, Read); 6] = [
    ("all", |session, _| session.all(accounts().for_update()).map(drop)),
    ("ordered", |session, ascending| {
        let order = if ascending { Account::CENTS.asc() } else { Account::CENTS.desc() };
        let order_by_id = if ascending { Account::ID.asc() } else { Account::ID.desc() };
        let found = session.all(accounts().order_by(order).order_by(order_by_id).for_update())?;
        let ids: Vec<i64> = found.iter().map(|account| account.id).collect();
        let is_sorted = found.windows(2).all(|pair| match ascending {
            true => (pair[0].cents, pair[0].id) < (pair[1].cents, pair[1].id),
            false => (pair[0].cents, pair[0].id) > (pair[1].cents, pair[1].id),
        });
        assert!(is_sorted, "the query's own order: {ids:?}");
        Ok(())
    }),
    ("page", |session, ascending| {
        let order = if ascending { Account::ID.asc() } else { Account::ID.desc() };
        let found = session.all(accounts().order_by(order).limit(6).for_update())?;
        assert_eq!(found.len(), 6);
        Ok(())
    }),
    ("count", |session, _| {
        assert_eq!(session.one(accounts().for_update().count())?, 15);
        Ok(())
    }),
    ("columns", |session, ascending| {
        let order = if ascending { Account::ID.asc() } else { Account::ID.desc() };
        session.all(accounts().order_by(order).for_update().columns(Account::CENTS)).map(drop)
    }),
    ("aggregate", |session, _| {
        session.one(accounts().for_update().aggregate(Account::CENTS.max())).map(drop)
    }),
];

/// The first five of each place.
fn accounts() -> shard_runtime::Select<Account, shard_runtime::Routed> {
    let ids: Vec<i64> = (0..30).filter(|id| id % 10 < 5).collect();
    Account::select().filter(Account::ID.is_in(ids)).all_shards()
}

/// W8: reads to write lock rows shard by shard in the cluster's order, and by their ids. With plain sessions: nothing is
/// tried again.
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r38_reading_to_write_locks_in_one_order() {
    let servers = servers();
    let cluster = fill(shards_on(servers, "reading"));
    for (name, read) in READS {
        ends_soon(|| {
            std::thread::scope(|scope| {
                let run = |ascending: bool| {
                    let cluster = &cluster;
                    move || {
                        for _ in 0..6 {
                            let mut session = cluster.session();
                            read(&mut session, ascending).unwrap_or_else(|error| panic!("{name}: {error}"));
                            // Each row of the second session was locked by the first one, or by none of them.
                            add(&mut session, 1, 1).and_then(|()| add(&mut session, 21, -1)).unwrap();
                            session.commit().unwrap();
                        }
                    }
                };
                for thread in 0..4 {
                    scope.spawn(run(thread % 2 == 0));
                }
            });
        });
        assert_eq!(sum(&cluster), 3_000, "{name}");
    }
}

/// W8, on one shard: the order of the query is not the order of the locks.
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r38_reading_to_write_on_one_server_locks_by_id() {
    let [server, ..] = servers();
    let cluster = fill(PLACES.iter().fold(Cluster::builder(), |builder, place| {
        builder.shard(*place, format!("{}?schema=one_{place}", server.url()))
    }));
    ends_soon(|| {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let cluster = &cluster;
                scope.spawn(move || {
                    for _ in 0..25 {
                        let mut session = cluster.session();
                        let order = if thread % 2 == 0 { Account::ID.asc() } else { Account::ID.desc() };
                        let some = Account::select().on_shard("b").order_by(order).for_update();
                        assert_eq!(session.all(some).unwrap().len(), 10);
                        session.commit().unwrap();
                    }
                });
            }
        });
    });
}
