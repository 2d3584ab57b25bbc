//! Global transactions over servers (and files) whose participants stay prepared: which session finishes them, and how long
//! their decisions are kept.

#[path = "../suite/client.rs"]
mod client;
mod control;
mod decisions;
mod finishing;
mod gate;
mod refusals;
mod rounds;
mod trips;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::Client;
use gate::Gate;
use shard_runtime::{Builder, Cluster, Session, ShardKey, Sharded};
use sharded_tests::postgres_server::Server;

const SHARDS: [&str; 3] = ["a", "b", "c"];

#[derive(ShardKey, Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    #[shard("a")]
    A,
    #[shard("b")]
    B,
    #[shard("c")]
    C,
}

impl Place {
    const ALL: [Place; 3] = [Place::A, Place::B, Place::C];
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "accounts")]
struct Account {
    #[id]
    id: i64,
    #[shard_key]
    place: Place,
    cents: i64,
}

/// Three shards, in schemas of their own of one server or of two, the last behind a gate; or the first as a file. Each is a
/// participant of its own.
struct World {
    urls: [String; 3],
    gate: Gate,
    /// A schema of its own for each world.
    number: u64,
    direct: [String; 3],
    _folder: Option<tempfile::TempDir>,
}

/// A session that waits for a lock in vain takes longer than any test here.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// The server of all tests that leave it running.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let start = || {
        let server = Server::start_with(&["max_prepared_transactions=100", "max_connections=200"]);
        server.stop_with_the_process();
        server
    };
    SERVER.get_or_init(start)
}

impl World {
    fn new() -> World {
        let url = server().url();
        World::on([&url, &url, &url], None)
    }

    /// The first shard is a file.
    fn with_file() -> World {
        let server = server();
        let folder = tempfile::tempdir().unwrap();
        let file = format!("sqlite:{}", folder.path().join("a.db").display());
        World::on([&file, &server.url(), &server.url()], Some(folder))
    }

    fn on(bases: [&str; 3], folder: Option<tempfile::TempDir>) -> World {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let gate = Gate::before(bases[2]);
        let direct = bases.map(str::to_owned);
        let bases = [bases[0], bases[1], gate.url()];
        let url = |place: usize| match bases[place].starts_with("sqlite") {
            true => bases[place].to_owned(),
            false => shard_url(bases[place], &format!("w{number}_"), SHARDS[place]),
        };
        let world = World { urls: [0, 1, 2].map(url), gate, number, direct, _folder: folder };
        let cluster = world.builder().create::<Account>().unwrap();
        cluster.transaction(|session| session.add_all(Place::ALL.map(|place| account(1, place)))).unwrap();
        world
    }

    fn builder(&self) -> Builder {
        let builder = Cluster::builder().busy_timeout(BUSY_TIMEOUT);
        SHARDS.iter().zip(&self.urls).fold(builder, |builder, (shard, url)| builder.shard(*shard, url))
    }

    fn open(&self) -> Cluster {
        self.builder().open::<Account>().unwrap()
    }

    /// A connection beside the library, to the schema of a shard on a server.
    fn client(&self, shard: usize) -> Client {
        let client = Client::connect(&self.direct[shard]);
        client.run(&format!("SET search_path = w{}_{}", self.number, SHARDS[shard]));
        client
    }

    /// The cluster's id, which the names of prepared transactions begin with.
    fn cluster(&self) -> String {
        self.client(1).text("SELECT cluster FROM sharded_shard")
    }

    /// How many transactions of this cluster are prepared on the server of a shard.
    fn prepared(&self, shard: usize) -> usize {
        let sql =
            format!("SELECT count(*) FROM pg_prepared_xacts WHERE gid LIKE 'sharded:{}:%'", self.cluster());
        self.client(shard).text(&sql).parse().unwrap()
    }

    /// The ids in the decision log of a shard.
    fn decisions(&self, shard: usize) -> usize {
        self.client(shard).text("SELECT count(*) FROM sharded_unit").parse().unwrap()
    }

    /// The cents of account 1 on a shard on a server, with plain SQL.
    fn cents(&self, shard: usize) -> i64 {
        self.client(shard).text("SELECT cents FROM accounts WHERE id = 1").parse().unwrap()
    }

    /// Leaves a transaction as a killed process does: its part on `shard` is prepared and sets account 1 to `cents`. The
    /// decision's row exists if it is committed.
    fn leave(&self, transaction: &str, decider: usize, shard: usize, cents: i64, is_committed: bool) {
        let name = format!("sharded:{}:{decider}:{transaction}:{shard}", self.cluster());
        self.client(shard).run(&format!(
            "BEGIN; UPDATE accounts SET cents = {cents} WHERE id = 1; PREPARE TRANSACTION '{name}'"
        ));
        if is_committed {
            self.client(decider).run(&format!(
                "INSERT INTO sharded_unit (id) VALUES ('{transaction}') ON CONFLICT DO NOTHING"
            ));
        }
    }

    /// Makes every row of a shard's decision log older by this.
    fn age(&self, shard: usize, by: &str) {
        self.client(shard).run(&format!("UPDATE sharded_unit SET at = at - interval '{by}'"));
    }
}

/// The URL of a shard in a schema of this server. Schemas whose URLs differ in nothing else would be one participant.
fn shard_url(server: &str, prefix: &str, shard: &str) -> String {
    format!("{server}?schema={prefix}{shard}&application_name={shard}")
}

fn account(id: i64, place: Place) -> Account {
    Account { id, place, cents: 0 }
}

/// Sets account 1 of every shard to this.
fn set(session: &mut Session, cents: i64) -> shard_runtime::Result<()> {
    let all = Account::update().set(Account::CENTS, cents).filter(Account::ID.eq(1)).all_shards();
    session.execute(all).map(drop)
}

/// The same, and commits.
fn set_all(session: &mut Session, cents: i64) -> shard_runtime::Result<shard_runtime::Committed> {
    set(session, cents)?;
    session.commit()
}
