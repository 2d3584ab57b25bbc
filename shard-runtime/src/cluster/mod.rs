//! The named shards as one: opening, identity, layout.

mod attached;
mod backup;
mod builder;
#[cfg(feature = "config")]
mod config;
mod control;
#[cfg(feature = "postgres")]
mod coordinator;
mod facts;
mod ids;
mod opening;
mod recovery;
mod schema;
mod servers;
mod url;
mod verify;
mod workers;
mod writers;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::planner::{Explainable, Layout};
pub use builder::Builder;
use control::Control;
#[cfg(feature = "postgres")]
pub use coordinator::CoordinatorSql;
use servers::Searches;
pub use verify::{LookupProblem, LookupProblemKind, RowProblem, RowProblemKind, VerifyReport};
use workers::Workers;
use writers::Writers;
pub(crate) use writers::Written;

use crate::asynchronous::Threads;
use crate::driver::{Connection, Driver, Expected, Holder, Pool, Pooled};
use crate::error::{Error, Result};
use crate::planner::Explain;
use crate::planner::sql::Dialect;
use crate::query::{SequenceId, Sharded};
use crate::schema::Table;
use crate::schema::{Shard, Shards};
use crate::session::{Observer, Session};
use crate::transaction::commit::{Decisions, Unfinished};
use crate::transaction::{Age, WriteLocks};

/// The named shards, opened: what sessions are made from. A clone is another handle on the same cluster.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    layout: Layout,
    databases: Vec<Database>,
    control: Control,
    writers: Arc<Writers>,
    /// The identity of each shard, where it is checked in every transaction.
    expected: Vec<Option<Arc<Expected>>>,
    /// Whether units of work may be over several databases that outlive the process.
    is_decided: bool,
    /// Whether no unit of work may be over several databases of which one is a server.
    single_shard_units: bool,
    /// The units that were finished after their owners were gone.
    recovered: Mutex<Vec<String>>,
    /// The global transactions of this process that have something left to do on servers.
    unfinished: Unfinished,
    searches: Searches,
    pool: Arc<Pool>,
    write_locks: Arc<WriteLocks>,
    timeout: Duration,
    workers: Arc<Workers>,
    async_threads: Threads,
    observer: Option<Observer>,
}

impl Drop for Inner {
    /// The records of units that are finished are of no use any more. Where they cannot be removed, who opens the
    /// cluster next finds that there is nothing to do for them.
    fn drop(&mut self) {
        self.async_threads.close();
        self.record_writer();
        if !self.control.decides() {
            return;
        }
        let remove =
            |decisions: &mut Decisions, control: &dyn Connection| decisions.remove(control, Vec::new());
        let _ = self.control.wait_with_decisions(Error::is_busy, remove);
    }
}

/// One database: of one shard, or of several with a schema or a prefix each.
struct Database {
    driver: Arc<dyn Driver>,
}

impl Cluster {
    /// Begins to say what the cluster consists of.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A session: a unit of work on this cluster. It takes nothing until it is used.
    pub fn session(&self) -> Session {
        Session::new(self.clone(), None)
    }

    /// A session that is pinned to one shard as a whole, from its first statement to its last: every read, `get` and
    /// bulk write goes there and nowhere else, whatever keys it names. What is pinned to another shard, a row that
    /// belongs on another one, and a row that was read from another one are [`ErrorKind::ContradictingPins`](crate::ErrorKind::ContradictingPins), before
    /// any statement.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, ErrorKind, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Shop {
    /// #     #[id]
    /// #     id: i64,
    /// #     #[shard_key(list("North" => "a", "South" => "b"))]
    /// #     region: String,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Shop>(["a", "b"])?;
    /// let mut session = cluster.session_on_shard("a")?;
    /// session.add(Shop { id: 1, region: "North".into() })?;
    /// assert_eq!(session.all(Shop::select().all_shards())?.len(), 1); // asks `a`
    /// let elsewhere = session.add(Shop { id: 2, region: "South".into() }).unwrap_err();
    /// assert_eq!(elsewhere.kind(), ErrorKind::ContradictingPins);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::UnknownShard`](crate::ErrorKind::UnknownShard)
    pub fn session_on_shard(&self, shard: &str) -> Result<Session> {
        Ok(Session::new(self.clone(), Some(self.shard(shard)?.index())))
    }

    /// The shards, in their declared order.
    pub fn shards(&self) -> &Shards {
        self.0.layout.shards()
    }

    /// The shard with this name.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownShard`](crate::ErrorKind::UnknownShard)
    pub fn shard(&self, name: &str) -> Result<&Shard> {
        self.shards().named_shard(name)
    }

    /// Which shards a query would ask, why, and what, without asking anybody: of selects and what is made of them,
    /// of bulk updates and deletes, of [`Sql`](crate::Sql), and of what `get` looks up, as `City::by_id(5)`. Queries
    /// that are not narrowed can be explained too.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded, Sql};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # #[sharded(table = "accounts")]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// let by_id = cluster.explain(&Account::by_id(7))?;
    /// assert_eq!((by_id.shards(), by_id.reason()), (vec!["b"], "id = 7"));
    /// let sql = Sql::new("SELECT max(cents) AS most FROM {accounts}").all_shards();
    /// println!("{}", cluster.explain(&sql)?);
    /// // a, b: SQL for all shards
    /// // ├─ a  SELECT max(cents) AS most FROM "accounts"
    /// // └─ b  SELECT max(cents) AS most FROM "accounts"
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those that running it would have before its first statement: a key that is placed nowhere, a pin to no
    /// shard, contradicting pins, a value that cannot be stored.
    pub fn explain(&self, query: &impl Explainable) -> Result<Explain> {
        query.explain(&self.0.layout)
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.0.layout
    }

    pub(crate) fn databases(&self) -> usize {
        self.0.databases.len()
    }

    /// The check of a transaction on a shard, if that is not done when connections are made.
    pub(crate) fn expected(&self, shard: usize) -> Option<&Arc<Expected>> {
        self.0.expected.get(shard)?.as_ref()
    }

    pub(crate) fn workers(&self) -> &Arc<Workers> {
        &self.0.workers
    }

    pub(crate) fn async_threads(&self) -> &Threads {
        &self.0.async_threads
    }

    pub(crate) fn observer(&self) -> Option<&Observer> {
        self.0.observer.as_ref()
    }

    /// How long a session waits for a lock.
    pub(crate) fn busy_timeout(&self) -> Duration {
        self.0.timeout
    }

    pub(crate) fn next_id(&self, table: &'static Table) -> Result<i64> {
        self.0.control.next_id(table)
    }

    pub(crate) fn claim_id(&self, table: &'static Table, id: i64) -> Result<()> {
        self.0.control.claim_id(table, id)
    }

    /// Has the generated ids of a model continue above this one, for rows that are not added through a session: inserted
    /// by SQL, or copied from elsewhere. Ids that are generated already are not changed. If they are above it already,
    /// nothing happens.
    ///
    /// Every process reserves ids in blocks of 1,000. This process leaves the rest of its block; another one may still
    /// hand out lower ids that it has reserved before. When a cluster is created or opened, ids continue above all that
    /// the tables hold, so that this is needed only for rows that come later.
    ///
    /// It blocks the thread, as opening a cluster does, and is not undone by a rollback.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded, Sql};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct City {
    /// #     #[id(sequence)]
    /// #     id: i64,
    /// #     #[shard_key(hash)]
    /// #     country: String,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<City>(["a", "b"])?;
    /// # let mut session = cluster.session();
    /// session.execute(Sql::new("INSERT INTO {city} VALUES (500, 'Peru')").on_shard("a"))?;
    /// cluster.advance_ids::<City>(500)?;
    /// assert_eq!(session.add(NewCity { country: "Chile".into() })?.id, 501);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::UnknownModel`](crate::ErrorKind::UnknownModel) if the cluster does not hold the model; those of the
    /// control database.
    pub fn advance_ids<T: Sharded + SequenceId>(&self, above: i64) -> Result<()> {
        self.0.layout.model(T::TABLE)?;
        self.0.control.advance_ids(T::TABLE, above)
    }

    /// A connection to one of the databases, for who uses it as one with those that it has.
    /// The wait for it may have a shorter limit than the busy timeout. Waiting and connecting end at the deadline.
    pub(crate) fn connect(
        &self,
        holder: &Holder,
        database: usize,
        limit: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Result<Pooled> {
        self.0.pool.get(holder, database, limit, deadline)
    }

    /// The age of a session that begins to write now.
    pub(crate) fn age(&self) -> Age {
        self.0.write_locks.age()
    }

    /// The write locks of SQLite databases; `None` if the database has locks of its own for each row.
    pub(crate) fn write_locks(&self, database: usize) -> Option<&Arc<WriteLocks>> {
        (self.dialect(database) == Dialect::Sqlite).then_some(&self.0.write_locks)
    }

    /// Makes a connection beside the pool, which is closed after use: for finishing a transaction that sessions may wait
    /// for which hold all the pool's connections. `waits` says whether it waits for locks.
    pub(crate) fn connect_aside(&self, database: usize, waits: bool) -> Result<Box<dyn Connection>> {
        self.0.pool.connect(database, waits)
    }

    /// Does something on a connection, and gives it back.
    fn on_connection<O>(
        &self,
        holder: &Holder,
        database: usize,
        run: impl FnOnce(&dyn Connection) -> Result<O>,
    ) -> Result<O> {
        let connection = self.connect(holder, database, None, None)?;
        let done = run(&*connection);
        connection.give_back();
        done
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout = &self.0.layout;
        let databases = self.0.databases.iter().enumerate().flat_map(|(index, database)| {
            layout.shards_in(index).map(move |shard| {
                let schema = layout.place(shard.index()).ok().and_then(|place| place.names.schema.as_deref());
                let schema = schema.map_or_else(String::new, |schema| format!("?schema={schema}"));
                (shard.name(), format!("{}{schema}", database.driver.describe()))
            })
        });
        f.debug_map().entries(databases).finish()
    }
}
