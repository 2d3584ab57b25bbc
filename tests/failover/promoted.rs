//! A primary that dies, and the standby that becomes the primary.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shard_runtime::{Cluster, Error, ErrorKind, Session, Sharded};

use crate::proxy::Proxies;
use crate::{Note, builder, note};
use sharded_tests::postgres_server::Server;
use sharded_tests::waiting::soon;

/// How many threads write to each cluster.
const THREADS: usize = 2;

/// How many commits of each thread are waited for at each stage.
const STAGE: usize = 15;

/// How long a stage may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// The writers of a cluster: each adds rows, on one shard or on both, until it is stopped.
struct Load {
    cluster: Cluster,
    stops: AtomicBool,
    /// Of each thread, how many commits were acknowledged.
    acknowledged: [AtomicUsize; THREADS],
    /// The ids of all of them.
    stored: Mutex<BTreeSet<i64>>,
    /// The errors that were met.
    errors: Mutex<Vec<Error>>,
}

/// A transaction of this number: a row on `a`, and every third one on `b`, too.
fn write(session: &mut Session, number: i64) -> Result<(), Error> {
    session.add(note(number, "a"))?;
    if number % 3 == 0 {
        session.add(note(-number, "b"))?;
    }
    Ok(())
}

impl Load {
    fn new(cluster: Cluster) -> Self {
        let (stops, acknowledged) = (AtomicBool::default(), Default::default());
        Load { cluster, stops, acknowledged, stored: Mutex::default(), errors: Mutex::default() }
    }

    /// Writes until it is stopped. Retryable errors are retried with another number: a run that was cut may have left its rows
    /// prepared. Others wait for these until they are recovered.
    fn run(&self, thread: usize) {
        let mut number = thread as i64;
        while !self.stops.load(Ordering::Relaxed) {
            let written = self.cluster.transaction(|session| {
                number += 10;
                write(session, number)
            });
            match written {
                Ok(()) => {
                    self.stored.lock().unwrap().insert(number);
                    self.acknowledged[thread].fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => {
                    let is_expected = error.is_retryable() || error.kind() == ErrorKind::InDoubt;
                    let said = format!("{error:?}");
                    self.errors.lock().unwrap().push(error);
                    assert!(is_expected, "thread {thread}, {number}: {said}");
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }

    /// Waits until each thread has committed some more transactions.
    fn go_on(&self, when: &str) {
        let counts = || self.acknowledged.each_ref().map(|count| count.load(Ordering::Relaxed));
        let before = counts();
        let began = Instant::now();
        while counts().iter().zip(&before).any(|(now, before)| *now < before + STAGE) {
            let errors = || {
                self.errors
                    .lock()
                    .unwrap()
                    .iter()
                    .rev()
                    .take(5)
                    .map(|error| format!("{error:?}"))
                    .collect::<Vec<_>>()
            };
            assert!(
                began.elapsed() < PATIENCE,
                "threads do not commit {when}: {before:?}, {:?}: {:#?}",
                counts(),
                errors()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How many errors of this kind were met.
    fn met(&self, kind: ErrorKind) -> usize {
        self.errors.lock().unwrap().iter().filter(|error| error.kind() == kind).count()
    }
}

/// Stops the threads of all loads, also if the test fails.
struct Stopping<'l>(&'l [Load]);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|load| load.stops.store(true, Ordering::Relaxed));
    }
}

/// The ids of a shard's rows.
fn ids(server: &Server, schema: &str) -> BTreeSet<i64> {
    let rows = server.psql(&format!("SELECT id FROM {schema}.notes"));
    rows.lines().map(|id| id.parse().unwrap()).collect()
}

/// Acknowledged transactions are there, and each transaction is there as a whole.
fn check(load: &Load, server: &Server, schemas: [&str; 2]) {
    let [first, second] = schemas.map(|schema| ids(server, schema));
    let stored = load.stored.lock().unwrap();
    let lost: Vec<i64> = stored.iter().filter(|number| !first.contains(number)).copied().collect();
    assert!(lost.is_empty(), "lost in {schemas:?}: {lost:?}");
    let pairs: BTreeSet<i64> =
        first.iter().filter(|number| **number % 3 == 0).map(|number| -number).collect();
    assert_eq!(pairs, second, "halves in {schemas:?}");
}

#[test]
fn r35_sessions_follow_a_promoted_standby() {
    let mut first = Server::start_with(&["max_connections=60"]);
    let second = first.standby();
    // A commit that is acknowledged is on both. The promoted standby does not have the setting.
    first.psql("ALTER SYSTEM SET synchronous_standby_names = '*'; SELECT pg_reload_conf()");
    let proxies = Proxies::start(&[first.port()]);
    let at = |address: &str| {
        let url = first.url();
        url.replace(&format!("127.0.0.1:{}", first.port()), address)
    };
    let moving = at(&format!("127.0.0.1:{}", proxies.ports()[0]));
    // The standby comes first, and is passed over.
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", second.port(), first.port());
    let several = format!("{}?target_session_attrs=read-write&connect_timeout=5", at(&hosts));
    let open = |url: &str, prefix: &str| {
        let builder = builder(prefix, &[("a", url), ("b", url)]).busy_timeout(Duration::from_secs(3));
        Load::new(builder.create::<Note>().unwrap())
    };
    let loads = [open(&moving, "moving_"), open(&several, "several_")];

    // Each host is named if the URL is.
    let shown = format!("{:?}", loads[1].cluster);
    assert!(shown.contains(&format!("{hosts}/postgres?schema=several_a")), "{shown}");
    let sql = loads[1].cluster.foreign_tables_sql().unwrap().to_string();
    for part in [
        "host '127.0.0.1,127.0.0.1'".to_owned(),
        format!("port '{},{}'", second.port(), first.port()),
        "target_session_attrs 'read-write'".to_owned(),
    ] {
        assert!(sql.contains(&part), "{part} in {sql}");
    }

    std::thread::scope(|scope| {
        let threads: Vec<_> = loads
            .iter()
            .flat_map(|load| (0..THREADS).map(move |thread| scope.spawn(move || load.run(thread))))
            .collect();
        let stopping = Stopping(&loads);
        let go_on = |when: &str| loads.iter().for_each(|load| load.go_on(when));
        go_on("on the first server");
        first.stop();
        // Until it is promoted, the address leads to a server that takes no writes.
        proxies.lead_to(0, second.port());
        soon("sessions meet the standby", || loads[0].met(ErrorKind::ReadOnly) > 0);
        second.promote();
        go_on("on the promoted standby");
        first.become_standby_of(&second);
        // For a moment the address leads back to the old server, as one that was not updated everywhere.
        let met = loads[0].met(ErrorKind::ReadOnly);
        proxies.lead_to(0, first.port());
        proxies.cut();
        soon("sessions meet the old server", || loads[0].met(ErrorKind::ReadOnly) > met);
        proxies.lead_to(0, second.port());
        // Connections to the old server are still open, and stay there.
        go_on("beside the old server");
        drop(stopping);
        for thread in threads {
            thread.join().unwrap();
        }
    });
    for (load, schemas) in loads.iter().zip([["moving_a", "moving_b"], ["several_a", "several_b"]]) {
        load.cluster.recover().unwrap();
        let kinds: Vec<ErrorKind> = load.errors.lock().unwrap().iter().map(Error::kind).collect();
        println!("{schemas:?}: {} commits, errors {kinds:?}", load.stored.lock().unwrap().len());
        check(load, &second, schemas);
    }
    a_demoted_server_is_left(&loads[0].cluster, &proxies, &first, &second);
}

/// Several idle connections to a server that takes no writes any more: the first write that meets it closes them all.
fn a_demoted_server_is_left(cluster: &Cluster, proxies: &Proxies, demoted: &Server, primary: &Server) {
    let idle_on_the_demoted = || {
        proxies.lead_to(0, demoted.port());
        proxies.cut();
        let mut readers: Vec<Session> = (0..4).map(|_| cluster.session()).collect();
        for reader in &mut readers {
            assert!(reader.first(Note::select().on_shard("a")).unwrap().is_some());
        }
        readers.iter_mut().for_each(|reader| reader.commit().map(drop).unwrap());
        proxies.lead_to(0, primary.port());
    };
    idle_on_the_demoted();
    let mut session = cluster.session();
    session.add(note(1_000_001, "a")).unwrap();
    let error = session.flush().unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::ReadOnly, Some("a")), "{error}");
    assert!(error.is_retryable() && error.to_string().contains("standby"), "{error}");
    session.rollback();
    for number in 1_000_002..1_000_012 {
        session.add(note(number, "a")).unwrap();
        session.commit().unwrap();
    }
    // A transaction is run again automatically, once.
    idle_on_the_demoted();
    let mut runs = 0;
    cluster
        .transaction(|session| {
            runs += 1;
            write(session, 1_000_020)
        })
        .unwrap();
    assert_eq!(runs, 2);
    // SQL of a transaction that reads is at fault itself: no server is to blame, and no connection is closed.
    let mut reading = cluster.session();
    let writes = shard_runtime::Sql::new("SELECT nextval('moving_a.counted') AS next").on_shard("a");
    primary.psql("CREATE SEQUENCE moving_a.counted");
    let error = reading.all(writes).unwrap_err();
    assert!(!error.is_retryable(), "{error:?}");
    assert!(reading.first(Note::select().on_shard("a")).unwrap().is_some());
}
