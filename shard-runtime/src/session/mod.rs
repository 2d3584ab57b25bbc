//! The session: a unit of work that sends every operation to the right shards.

mod adding;
mod apart;
mod ask;
mod batches;
mod changing;
mod commit;
mod comparing;
mod entries;
mod fan_out;
mod gate;
mod handles;
mod identity;
mod lend;
mod limits;
mod link;
mod located;
mod nested;
mod observe;
mod orphans;
mod pending;
mod pinned;
mod prepared;
mod raw;
mod read;
mod reference;
mod relations;
mod relocate;
mod save;
mod sending;
mod unwind;
mod verifying;
mod verifying_rows;
mod version;
mod write;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use comparing::Difference;
pub(crate) use limits::Leaving;
pub use limits::Partial;
pub(crate) use located::EntriesRead;
pub use observe::StatementEvent;
pub(crate) use observe::{Observer, Span};
pub(crate) use relations::Shared;
pub use relations::{Descendants, With, WithChildren};
pub use relocate::{ChangedId, Relocated};

use adding::Placed;
use handles::HandleWrites;
use identity::IdentityMap;
use link::Link;
use observe::Watch;
use pending::Pending;

use crate::cluster::Cluster;
use crate::driver::Holder;
use crate::error::{Error, ErrorKind, Result};
use crate::query::Stored;
use crate::query::{Insert, SequenceId, Sharded, normalize, size_of, values_of};
use crate::query::{Locate, Query, Write};
use crate::schema::{IdKind, Table};
use crate::schema::{Shard, ShardSet};
use crate::transaction::Age;
use crate::transaction::commit::Commit;
use crate::value::{Field, Value};

/// A unit of work. Rows are added to it, read and changed through it, and all of it is committed or rolled
/// back; dropped, it is rolled back.
///
/// On each shard that it uses, a session has one transaction and so one snapshot: it sees what it wrote, and
/// what others commit only after its own commit or rollback (snapshot isolation). Transactions that write one database
/// come one after the other; but a snapshot that was only read ends where the session begins to write there, so that
/// what was read before may have changed by then. Who reads to write says so, with
/// [`Select::for_update`](crate::Select::for_update), or gives the model a `#[version]`, which notices. Between shards
/// there is no common snapshot and no isolation: a unit of work may be seen on one shard before it is seen on another. A
/// session that stays open holds a connection of every shard it has read, and keeps SQLite from shortening
/// its write-ahead log: keep sessions short.
///
/// On a PostgreSQL server a session that only reads has a snapshot as well (REPEATABLE READ); one that writes sees with
/// each statement what is committed then (READ COMMITTED). Rows that are written, or read to write, are locked one by
/// one: others wait for these rows up to the [busy timeout](crate::Builder::busy_timeout), and not for the database.
///
/// A session is used by one thread at a time, and may be sent to another.
pub struct Session {
    cluster: Cluster,
    /// Who holds the connections of all links.
    holder: Holder,
    /// One for each database.
    links: Vec<Link>,
    /// One for each shard.
    pending: Vec<Pending>,
    identities: IdentityMap,
    handle_writes: HandleWrites,
    /// The model of the last row, which is mostly that of the next.
    last_model: Cell<Option<(&'static Table, usize)>>,
    /// The only shard that it may ask.
    pinned: Option<usize>,
    /// Why the unit of work is over, where an error has ended it.
    aborted: Option<String>,
    /// How long a statement that reads may take.
    timeout: Option<Duration>,
    commit: Commit,
    /// How many savepoints are open.
    depth: usize,
    /// Whether what fails now is undone together with what came before it, by who adds rows in portions.
    in_portions: bool,
    /// Whether a lock or an earlier change of another session made something fail, so that a retry may succeed.
    was_in_the_way: bool,
    /// Whether a server was lost, or has become a standby.
    has_lost_a_server: bool,
    /// Whether the unit of work, or a part of it, may be stored although its commit has failed: running it again could do
    /// it twice.
    may_be_stored: bool,
    /// Its age among the sessions that write, once it writes.
    age: Option<Age>,
    /// The databases that it has begun, or has tried to begin, to write, each with the first shard that it wanted there.
    wanted: BTreeMap<usize, usize>,
    /// Whether it gives a wait up early while it holds locks that it has not taken in the cluster's order, because it is
    /// tried again then.
    gives_up_early: bool,
    /// The databases whose locks it has taken in the cluster's order, before anything else.
    locked_first: BTreeSet<usize>,
    /// What is missing so far, while a partial answer is read.
    missing: Option<RefCell<Vec<Error>>>,
    /// When what is read now is to be stopped.
    deadline: Option<Instant>,
    /// Who waits for what is read, and may go away.
    leaving: Option<Arc<Leaving>>,
    /// What is told of the verb that is under way.
    span: Option<Span>,
}

impl Session {
    pub(crate) fn new(cluster: Cluster, pinned: Option<usize>) -> Self {
        Session {
            holder: Holder::default(),
            links: (0..cluster.databases()).map(|_| Link::default()).collect(),
            pending: (0..cluster.shards().len()).map(|_| Pending::default()).collect(),
            identities: IdentityMap::default(),
            handle_writes: HandleWrites::default(),
            last_model: Cell::default(),
            pinned,
            aborted: None,
            timeout: None,
            commit: Commit::default(),
            depth: 0,
            in_portions: false,
            was_in_the_way: false,
            has_lost_a_server: false,
            may_be_stored: false,
            age: None,
            wanted: BTreeMap::new(),
            gives_up_early: false,
            locked_first: BTreeSet::new(),
            missing: None,
            deadline: None,
            leaving: None,
            span: None,
            cluster,
        }
    }

    /// The cluster that this session is of.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Adds a row. Its shard and its id are decided now; it waits with the others of its shard until that
    /// table is read, or until `flush` or `commit`. Only `#[id(auto)]` asks the database at once.
    ///
    /// # Errors
    /// [`ErrorKind::Unmapped`] where the key's value is placed nowhere, [`ErrorKind::Value`] where a value
    /// cannot be stored; for `#[id(auto)]` also the database's.
    pub fn add<N: Insert>(&mut self, new: N) -> Result<Stored<N::Model>> {
        let Placed { mut row, model, bytes } = self.place(new)?;
        if N::Model::TABLE.id_kind == IdKind::Auto {
            let added = std::slice::from_mut(&mut row);
            self.within("add", Some(N::Model::TABLE), |session| session.insert_counted(added, &[bytes]))?;
        } else {
            self.wait(&row, model, bytes)?;
        }
        Ok(row)
    }

    /// Adds a row whose id is given, to a model whose ids are generated otherwise: for an import of rows that have ids
    /// already. The id will not be generated later, by any process. It waits as other rows do, see [`Session::add`].
    ///
    /// An id can be given if no process has reserved it for generated ids: all ids that the sequence has not come to, and
    /// those that it has skipped. To import rows in any order into a cluster that generates ids already, first call
    /// [`Cluster::advance_ids`] with the highest of their ids. The id stays taken if the session is rolled back.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
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
    /// cluster.advance_ids::<City>(900)?;
    /// for (id, country) in [(900, "Peru"), (17, "Chile"), (333, "Kenya")] {
    ///     session.add_with_id(id, NewCity { country: country.into() })?;
    /// }
    /// assert_eq!(session.add(NewCity { country: "Japan".into() })?.id, 901);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Value`] if the id may have been generated; those of [`Session::add`]. As for every model, a row with
    /// the same id on the same shard is [`ErrorKind::Unique`] when it is sent; on another shard it is the caller's task to
    /// give no id twice.
    pub fn add_with_id<N: Insert<Model: SequenceId>>(
        &mut self,
        id: <N::Model as Sharded>::Id,
        new: N,
    ) -> Result<Stored<N::Model>> {
        self.check_usable()?;
        let table = N::Model::TABLE;
        let model = self.model(table)?;
        let mut row = new.into_model(&mut || Ok(id.clone()))?;
        normalize(&mut row)?;
        let (shard, bytes) = self.home(&row)?;
        match id.to_value().map_err(|error| table.error_at(table.id, error))? {
            Value::Integer(id) => self.cluster.claim_id(table, id)?,
            other => return Err(table.error_at(table.id, crate::value::mismatch("an integer", &other))),
        }
        let row = Stored::new(Arc::new(row), shard);
        self.wait(&row, model, bytes)?;
        Ok(row)
    }

    /// Adds many rows; the answer is in their order. Rows with `#[id(auto)]` are sent in one batch per shard. (On PostgreSQL
    /// that takes the right to use the column's sequence, beside the right to insert.)
    ///
    /// Of more than 16,384 rows (or 8 MiB of values), whatever their ids are, each so many are sent before the next are
    /// taken from the iterator, after what waited before. So a shard is locked when the first portion has come that has
    /// a row for it; within a portion shards are locked in the cluster's order.
    ///
    /// # Errors
    /// Those of [`Session::add`] and, where rows are sent, those of [`Session::flush`]; then none of the rows is added.
    pub fn add_all<N: Insert>(&mut self, rows: impl IntoIterator<Item = N>) -> Result<Vec<Stored<N::Model>>> {
        self.add_in_portions(rows.into_iter())
    }

    /// Makes the row and finds its shard.
    fn place<N: Insert>(&self, new: N) -> Result<Placed<N::Model>> {
        self.check_usable()?;
        let table = N::Model::TABLE;
        let model = self.model(table)?;
        let cluster = &self.cluster;
        let mut next_id = || -> Result<<N::Model as Sharded>::Id> {
            let value = match table.id_kind {
                IdKind::Sequence => Value::Integer(cluster.next_id(table)?),
                #[cfg(feature = "uuid")]
                IdKind::Uuid => Value::Uuid(uuid::Uuid::now_v7().into_bytes()),
                #[cfg(not(feature = "uuid"))]
                IdKind::Uuid => {
                    return Err(Error::new(
                        ErrorKind::Configuration,
                        "`#[id(uuid)]` needs the feature `uuid`",
                    ));
                }
                // Replaced by what the database counts.
                IdKind::Auto | IdKind::Given => Value::Integer(0),
            };
            Field::from_value(value).map_err(|error| table.error_at(table.id, error))
        };
        let mut row = new.into_model(&mut next_id)?;
        normalize(&mut row)?;
        let (shard, bytes) = self.home(&row)?;
        Ok(Placed { row: Stored::new(Arc::new(row), shard), model, bytes })
    }

    /// The model's place in the cluster.
    fn model(&self, table: &'static Table) -> Result<usize> {
        match self.last_model.get() {
            Some((last, model)) if std::ptr::eq(last, table) => Ok(model),
            _ => {
                let model = self.cluster.layout().model(table)?;
                self.last_model.set(Some((table, model)));
                Ok(model)
            }
        }
    }

    /// The shard that a row is to live on, and how long its values are.
    fn home<T: Sharded>(&self, row: &T) -> Result<(Shard, usize)> {
        let table = T::TABLE;
        let bytes = size_of(row)?; // what cannot be stored is an error here, at the caller's line
        if self.pinned.is_some() {
            self.refuse_entries_elsewhere(table, &values_of(row)?)?;
        }
        let shard = row.shard_chooser(self.cluster.shards())?;
        if table.is_reference() {
            self.every_shard(table)?;
        } else {
            self.refuse_elsewhere(shard, "the row").map_err(|error| error.in_table(table.name))?;
        }
        let home = self.cluster.shards().at(shard).cloned().ok_or_else(|| {
            Error::new(ErrorKind::UnknownShard, format!("the chooser says shard {shard}"))
                .in_table(table.name)
        })?;
        Ok((home, bytes))
    }

    fn wait<T: Sharded>(&mut self, row: &Stored<T>, model: usize, bytes: usize) -> Result<()> {
        if T::TABLE.is_reference() {
            let waiting = self.pending.iter_mut();
            waiting.for_each(|pending| pending.insert(model, Arc::clone(row.row()) as _, bytes));
            return Ok(());
        }
        let shard = row.shard().index();
        self.remove_before(row, model)?;
        self.wait_entries(&**row.row(), shard)?;
        if let Some(pending) = self.pending.get_mut(shard) {
            pending.insert(model, Arc::clone(row.row()) as _, bytes);
        }
        Ok(())
    }

    /// The row with this id, or `None`: `session.get::<City>(5)` where ids are unique over the cluster,
    /// `session.get(Report::by_id(1).on(Continent::Asia))` where they are unique within a shard. It asks the
    /// shards that the identity chooser names; a row that this session has got already it does not ask for
    /// again. Where several shards may have the row they are asked in turn: all of them where the application
    /// gives the ids, up to the first that has it where the cluster does. Where that has been slow again and again
    /// for this model, they are asked at once.
    ///
    /// # Errors
    /// [`ErrorKind::Ambiguous`] where the row is found on two shards; those of placing the id or the pin.
    pub fn get<T: Sharded>(&mut self, id: impl Locate<T>) -> Result<Option<Stored<T>>> {
        let located = id.locate();
        let shards = match &located.pin {
            Some(pin) => {
                let shard = crate::planner::route::pin_shard(T::TABLE, pin, self.cluster.shards())?;
                let elsewhere = self.refuse_elsewhere(shard, "the id");
                elsewhere.map_err(|error| error.in_table(T::TABLE.name))?;
                ShardSet::one(shard)
            }
            None => {
                let chosen = T::identity_chooser(&located.id, None, self.cluster.shards())?;
                self.narrowed_for(T::TABLE, chosen)
            }
        };
        self.within("get", Some(T::TABLE), |session| session.look_up(&located.id, &shards))
    }

    /// All rows of a query, in its order.
    ///
    /// # Errors
    /// Those of placing the query's keys and pins, and the databases'.
    pub fn all<Q: Query>(&mut self, query: Q) -> Result<Vec<Q::Output>> {
        self.within("all", None, |session| session.at_most(query, None))
    }

    /// Visits the rows of a query one by one, in its order, until the visitor breaks or fails. What is in memory
    /// is one row of each shard, or up to 4,096 of those that are read on workers, however long the answer is (but
    /// see [`Select::with_parent`](crate::Select::with_parent)); and no shard reads on once it is over.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::builder()
    /// #     .shard("a", "sqlite::memory:")
    /// #     .shard("b", "sqlite::memory:")
    /// #     .create::<Account>()?;
    /// # let mut session = cluster.session();
    /// # session.add_all((1..9).map(|id| Account { id, cents: 100 * id }))?;
    /// use std::ops::ControlFlow;
    ///
    /// let mut budget = 600;
    /// let by_id = Account::select().all_shards().order_by(Account::ID.asc());
    /// session.for_each(by_id, |account| {
    ///     budget -= account.cents;
    ///     Ok(if budget > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    /// })?;
    /// assert_eq!(budget, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Session::all`], and the visitor's own.
    pub fn for_each<Q: Query>(
        &mut self,
        query: Q,
        mut visit: impl FnMut(Q::Output) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.within("for_each", None, |session| query.visit(session, None, &mut visit))
    }

    /// The first row of a query, or `None`.
    ///
    /// # Errors
    /// Those of [`Session::all`].
    pub fn first<Q: Query>(&mut self, query: Q) -> Result<Option<Q::Output>> {
        let rows = self.within("first", None, |session| session.at_most(query, Some(1)))?;
        Ok(rows.into_iter().next())
    }

    /// The only row of a query.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none, [`ErrorKind::ManyRows`] where there are more; those of
    /// [`Session::all`].
    pub fn one<Q: Query>(&mut self, query: Q) -> Result<Q::Output> {
        let rows = self.within("one", None, |session| session.at_most(query, Some(2)))?;
        let mut rows = rows.into_iter();
        match (rows.next(), rows.next()) {
            (Some(row), None) => Ok(row),
            (None, _) => {
                Err(Error::new(ErrorKind::NotFound, "the query found no row, exactly one was asked for"))
            }
            (Some(_), Some(_)) => Err(Error::new(
                ErrorKind::ManyRows,
                "the query found more than one row, exactly one was asked for",
            )),
        }
    }

    fn at_most<Q: Query>(&mut self, query: Q, rows: Option<u64>) -> Result<Vec<Q::Output>> {
        let mut found = Vec::new();
        query.visit(self, rows, &mut |row| {
            found.push(row);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// Executes a bulk [`Update`](crate::Update) or [`Delete`](crate::Delete), or [`Sql`](crate::Sql) that writes; how
    /// many rows it affected, over all shards, or the rows themselves where it is
    /// [`returning`](crate::Update::returning) them.
    ///
    /// # Errors
    /// Those of placing its keys and pins, and the databases'; then it has no effect on any shard.
    pub fn execute<W: Write>(&mut self, statement: W) -> Result<W::Output> {
        self.within("execute", None, |session| statement.run(session))
    }

    /// Writes what waits, without committing it: rows are inserted, parents before children; then rows are changed; then
    /// rows are removed, children before parents. (So a value that is to be unique, and goes from a row that is changed
    /// or removed to one that is added, needs a flush in between.) Each shard gets the rows of a table in one batch, and
    /// those that are changed in one for each set of columns. Where several databases get many rows each, they get them
    /// at the same time.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where a row is gone that is to be changed or removed; [`ErrorKind::Stale`] where it has a
    /// `#[version]` and somebody else has changed it since it was read; [`ErrorKind::Unique`], [`ErrorKind::ForeignKey`],
    /// as where a row is removed that has children; the databases'. Then nothing of what waited is written on any shard,
    /// and the session can be used on. Where a row was at fault nothing waits any more; otherwise (busy, full,
    /// read-only) all waits on, and can be flushed again.
    pub fn flush(&mut self) -> Result<()> {
        self.check_usable()?;
        let waiting = self.pending.iter().enumerate().filter(|(_, pending)| !pending.is_empty());
        let shards: ShardSet = waiting.map(|(shard, _)| shard).collect();
        self.within("flush", None, |session| {
            session.asks(None, &shards);
            session.flush_shards(&shards)
        })
    }

    /// Undoes everything since the session began, or since its last commit, and forgets it.
    pub fn rollback(&mut self) {
        self.pending.iter_mut().for_each(Pending::forget);
        self.links.iter_mut().for_each(Link::rollback);
        self.identities.clear();
        self.handle_writes.clear();
        self.locked_first.clear();
        self.aborted = None;
        self.depth = 0;
        self.in_portions = false;
    }

    /// Whether it has a connection to any database.
    pub(crate) fn is_connected(&self) -> bool {
        self.links.iter().any(|link| link.connection().is_some())
    }

    /// Gives up everything, whatever state it is in, and ends the unit of work because of an error.
    pub(crate) fn begin_anew(&mut self, error: &Error) {
        let mut anew = Session::new(self.cluster.clone(), self.pinned);
        (anew.commit, anew.timeout) = (self.commit, self.timeout);
        (anew.age, anew.gives_up_early) = (self.age, self.gives_up_early);
        anew.wanted = std::mem::take(&mut self.wanted);
        anew.aborted = Some(error.to_string());
        *self = anew;
    }

    /// Ends the unit of work because of an error.
    fn abort(&mut self, error: &Error) {
        self.rollback();
        self.aborted = Some(error.to_string());
    }

    /// After an error: where a database has ended its transaction by itself (a full disk, a failing one), what
    /// was written in it is gone, and so the unit of work is over.
    fn noticed<O>(&mut self, result: Result<O>) -> Result<O> {
        if let Err(error) = &result
            && self.links.iter().any(Link::has_lost_its_transaction)
        {
            self.abort(error);
        }
        self.in_the_way(result)
    }

    fn check_usable(&self) -> Result<()> {
        match &self.aborted {
            None => Ok(()),
            Some(why) => {
                let said = format!("the unit of work was ended by an error and has to be rolled back: {why}");
                Err(Error::new(ErrorKind::Aborted, said))
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.rollback();
    }
}
