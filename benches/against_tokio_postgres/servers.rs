//! Four PostgreSQL servers, and on each the framework's tables in one schema and the hand-written side's, with the same
//! rows, in another. They wait for their disks, as a user's do: their data is in the system's temporary folder
//! (`TMPDIR`), which should not be in memory.

use std::cell::OnceCell;

use shard_runtime::{Builder, Cluster, Insert, Models};

use crate::by_hand::Hand;
use crate::measure::{Effort, Failure};
use crate::models::{Account, Measurement, shuffled};
use crate::postgres_server::Server;

/// The shards' names, in their order.
pub const SHARDS: [&str; 4] = ["north", "east", "south", "west"];

/// The settings of a server: its defaults, except for those that a cluster needs, and those that keep checkpoints out of a
/// side's turn.
const SETTINGS: [&str; 4] =
    ["fsync=on", "max_prepared_transactions=100", "max_wal_size=4GB", "checkpoint_timeout=1h"];

/// The number of rows of one commit.
const TOGETHER: i64 = 50_000;

pub struct Servers {
    pub effort: Effort,
    servers: Vec<Server>,
    accounts: OnceCell<Set>,
    empty: OnceCell<Set>,
    measurements: OnceCell<Set>,
}

/// One model on both sides.
pub struct Set {
    pub cluster: Cluster,
    pub by_hand: Hand,
    /// The ids of the rows, from 1 on, in an order without a pattern.
    pub ids: Vec<i64>,
}

impl Servers {
    /// Starts them; `None` if PostgreSQL is not installed.
    pub fn start(effort: Effort) -> Result<Option<Self>, Failure> {
        if !Server::is_installed() {
            return Ok(None);
        }
        let starting: Vec<_> =
            SHARDS.iter().map(|_| std::thread::spawn(|| Server::start_with(&SETTINGS))).collect();
        let mut servers = Vec::new();
        for server in starting {
            let server = server.join().map_err(|_| "a server was not started")?;
            server.stop_with_the_process();
            servers.push(server);
        }
        let [accounts, empty, measurements] = Default::default();
        Ok(Some(Servers { effort, servers, accounts, empty, measurements }))
    }

    /// The version of the servers.
    pub fn version(&self) -> String {
        self.servers
            .first()
            .map_or(String::new(), |server| server.psql("SHOW server_version").trim().to_owned())
    }

    /// 100,000 accounts.
    pub fn accounts(&self) -> Result<&Set, Failure> {
        self.set::<Account>(&self.accounts, "accounts", self.effort.rows(100_000), Account::numbered)
    }

    /// The same table without rows.
    pub fn empty(&self) -> Result<&Set, Failure> {
        self.set::<Account>(&self.empty, "empty", 0, Account::numbered)
    }

    /// 400,000 measurements.
    pub fn measurements(&self) -> Result<&Set, Failure> {
        self.set::<Measurement>(
            &self.measurements,
            "measured",
            self.effort.rows(400_000),
            Measurement::numbered,
        )
    }

    fn set<'s, M: Models + Insert>(
        &self,
        cell: &'s OnceCell<Set>,
        name: &str,
        count: i64,
        row: impl Fn(i64) -> M,
    ) -> Result<&'s Set, Failure> {
        if let Some(set) = cell.get() {
            return Ok(set);
        }
        let [framework, by_hand] = ["framework", "by_hand"].map(|side| format!("{name}_{side}"));
        for schema in [&framework, &by_hand] {
            let cluster = self.builder(schema).create::<M>()?;
            let mut session = cluster.session();
            for first in (1..=count).step_by(TOGETHER as usize) {
                session.add_all((first..=count.min(first + TOGETHER - 1)).map(&row))?;
                session.commit()?;
            }
        }
        for server in &self.servers {
            server.psql("VACUUM ANALYZE");
        }
        let cluster = self.builder(&framework).open::<M>()?;
        let urls: Vec<String> = self.servers.iter().map(Server::url).collect();
        let set = Set { cluster, by_hand: Hand::connect(&urls, &by_hand)?, ids: shuffled(count) };
        Ok(cell.get_or_init(|| set))
    }

    fn builder(&self, schema: &str) -> Builder {
        SHARDS.iter().zip(&self.servers).fold(Cluster::builder(), |builder, (name, server)| {
            builder.shard(*name, format!("{}?schema={schema}", server.url()))
        })
    }
}
