//! The session: the verbs of a unit of work that sends every operation to the right shards.

mod iter;
mod lend;
mod relations;
mod retry;

use std::cell::RefCell;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

pub use iter::Iter;
pub use relations::{Descendants, With, WithChildren};

use crate::error::{Error, ErrorKind, Result};
use crate::query::{Child, Insert, KnownId, Locate, Query, SequenceId, Sharded, Stored, Write};
use crate::schema::{DecidesShard, Shard, ShardSet};
use crate::tasks::CancellationToken;
use crate::tasks::unwind::finally;
use crate::transaction::commit::{Commit, Committed};
use crate::transaction::{Cluster, HasTransactions, Transactions, in_verb_span};
use crate::unit_of_work::{HasUnitOfWork, Relocated, UnitOfWork, gone, savepoint};

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
    pub(crate) work: UnitOfWork,
}

/// The rows that could be had, and why others could not; made by [`Session::all_available`].
#[derive(Debug)]
#[non_exhaustive]
pub struct PartialResult<O> {
    /// The rows of the shards that answered, in the query's order. Of a shard that failed on the way, those that
    /// came before.
    pub rows: Vec<O>,
    /// One error for each shard that did not answer, or not to the end; each names its shard.
    pub missing: Vec<Error>,
}

impl HasTransactions for Session {
    fn tx(&mut self) -> &mut Transactions {
        &mut self.work.tx
    }
}

impl HasUnitOfWork for Session {
    fn work(&mut self) -> &mut UnitOfWork {
        &mut self.work
    }
}

impl Cluster {
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
}

impl Session {
    pub(crate) fn new(cluster: Cluster, pinned: Option<usize>) -> Self {
        Session { work: UnitOfWork::new(cluster, pinned) }
    }

    /// The cluster that this session is of.
    pub fn cluster(&self) -> &Cluster {
        &self.work.tx.cluster
    }

    /// The shard that the whole session is pinned to, where it is one of
    /// [`Cluster::session_on_shard`](crate::Cluster::session_on_shard).
    pub fn pinned_to(&self) -> Option<&Shard> {
        self.work.tx.pinned_to()
    }

    /// Adds a row. Its shard and its id are decided now; it waits with the others of its shard until that
    /// table is read, or until `flush` or `commit`. Only `#[id(auto)]` asks the database at once.
    ///
    /// # Errors
    /// [`ErrorKind::UnmappedKey`] where the key's value is placed nowhere, [`ErrorKind::Value`] where a value
    /// cannot be stored; for `#[id(auto)]` also the database's.
    pub fn add<N: Insert>(&mut self, new: N) -> Result<Stored<N::Model>> {
        self.work.add(new)
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
        self.work.add_with_id(id, new)
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
        self.work.add_in_portions(rows.into_iter())
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
                let shard = crate::planner::route::pin_shard(T::TABLE, pin, self.cluster().shards())?;
                let elsewhere = self.work.tx.refuse_elsewhere(shard, "the id");
                elsewhere.map_err(|error| error.in_table(T::TABLE.name))?;
                ShardSet::one(shard)
            }
            None => {
                let chosen = T::identity_chooser(&located.id, None, self.cluster().shards())?;
                self.work.tx.narrowed_for(T::TABLE, chosen)
            }
        };
        in_verb_span(self, "get", Some(T::TABLE), |session| session.work.look_up(&located.id, &shards))
    }

    /// All rows of a query, in its order.
    ///
    /// # Errors
    /// Those of placing the query's keys and pins, and the databases'.
    pub fn all<Q: Query>(&mut self, mut query: Q) -> Result<Vec<Q::Output>> {
        in_verb_span(self, "all", None, |session| session.at_most(&mut query, None))
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
        in_verb_span(self, "for_each", None, |session| {
            let mut decode = query.decoder();
            session.work.read(query.request()?, &mut |row| visit(decode(row)?))
        })
    }

    /// The first row of a query, or `None`.
    ///
    /// # Errors
    /// Those of [`Session::all`].
    pub fn first<Q: Query>(&mut self, mut query: Q) -> Result<Option<Q::Output>> {
        let rows = in_verb_span(self, "first", None, |session| session.at_most(&mut query, Some(1)))?;
        Ok(rows.into_iter().next())
    }

    /// The only row of a query.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none, [`ErrorKind::ManyRows`] where there are more; those of
    /// [`Session::all`].
    pub fn one<Q: Query>(&mut self, mut query: Q) -> Result<Q::Output> {
        let rows = in_verb_span(self, "one", None, |session| session.at_most(&mut query, Some(2)))?;
        let mut rows = rows.into_iter();
        let (kind, found) = match (rows.next(), rows.next()) {
            (Some(row), None) => return Ok(row),
            (None, _) => (ErrorKind::NotFound, "no rows"),
            (Some(_), Some(_)) => (ErrorKind::ManyRows, "more than one row"),
        };
        let message = format!("the query returned {found}, expected exactly one");
        let error = Error::new(kind, message);
        Err(match query.request()?.table() {
            Some(table) => error.in_table(table.name),
            None => error,
        })
    }

    fn at_most<Q: Query>(&mut self, query: &mut Q, rows: Option<u64>) -> Result<Vec<Q::Output>> {
        if let Some(rows) = rows {
            query.at_most(rows);
        }
        let (mut found, mut decode) = (Vec::new(), query.decoder());
        self.work.read(query.request()?, &mut |row| {
            found.push(decode(row)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// The rows of a query from those shards that answer, and an error for each that does not: one that is locked,
    /// damaged, gone, or slower than the session's timeout. A count, a sum or a group is then of what was there.
    ///
    /// With a timeout, and if some of the databases are servers, each database is read by a thread of its own, so that a
    /// server that does not answer takes no time from the others. The rows are in memory then before the first is
    /// returned. If the session was in a transaction on a server that did not answer, it has to be rolled back before it
    /// is used on.
    ///
    /// A row cannot be looked up by its id so: a row that is not found could be on the shard that is
    /// missing; nor has `all_with`, whose parents would look childless.
    ///
    /// # Errors
    /// Those that are not one shard's: a wrong statement, a value that is none, a key that is placed nowhere, rows
    /// that wait and cannot be written. [`ErrorKind::Query`](crate::ErrorKind::Query) for a query with
    /// [`for_update`](crate::Select::for_update), before any statement: rows of a shard that does not answer cannot be
    /// locked, and could be changed by another transaction.
    pub fn all_available<Q: Query>(&mut self, query: Q) -> Result<PartialResult<Q::Output>> {
        in_verb_span(self, "all_available", None, |session| {
            session.work.tx.context.missing = Some(RefCell::default());
            let mut missing = Vec::new();
            let rows = finally(
                session,
                |session| session.all(query),
                |session| {
                    missing =
                        session.work.tx.context.missing.take().map(RefCell::into_inner).unwrap_or_default()
                },
            );
            rows.map(|rows| PartialResult { rows, missing })
        })
    }

    /// The parent of a row, from the row's own shard.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where it is gone.
    pub fn parent<C: Child>(&mut self, child: &Stored<C>) -> Result<Stored<C::Parent>> {
        in_verb_span(self, "parent", Some(C::Parent::TABLE), |session| {
            session.work.tx.refuse_row_elsewhere::<C>(child.shard())?;
            let shards = session.cluster().shards();
            let shards = C::Parent::identity_chooser(child.parent_id(), Some(child.shard()), shards)?;
            let parent = session.work.look_up(child.parent_id(), &session.work.tx.narrowed(shards))?;
            parent.ok_or_else(|| gone::<C::Parent>(child.parent_id(), child.shard()))
        })
    }

    /// Reads a row again from its own shard. What was changed in it and not updated is lost.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where it is gone.
    pub fn reload<T: Sharded>(&mut self, row: &mut Stored<T>) -> Result<()> {
        in_verb_span(self, "reload", Some(T::TABLE), |session| {
            session.work.tx.refuse_row_elsewhere::<T>(row.shard())?;
            let shards = T::identity_chooser(row.id(), Some(row.shard()), session.cluster().shards())?;
            session.work.forget_row::<T>(row.id(), row.shard())?;
            let fresh = session.work.look_up(row.id(), &session.work.tx.narrowed(shards))?;
            *row = fresh.ok_or_else(|| gone::<T>(row.id(), row.shard()))?;
            Ok(())
        })
    }

    /// Takes up what was changed in a row since it was read or written last, and only those columns. What a rollback has
    /// undone since counts as changed. The change waits with the others of its shard, as rows that were added do, until
    /// that table is read, or until [`flush`](Session::flush) or [`commit`](Session::commit): these say what the
    /// database has against it. A row of a reference table, and a column that has a lookup, are written at once.
    ///
    /// A row with a `#[version]` is written only where it still has the version with which it was read, and gets the
    /// next one, here at once; what was put into that field is not looked at.
    ///
    /// A row may be given another [`Parent`](crate::Parent) on its shard. Its id and its shard key stay as they
    /// are, the key even where its new value lives on the same shard.
    ///
    /// # Errors
    /// [`ErrorKind::ShardKeyChanged`] where that is not so; [`ErrorKind::Value`] where a value cannot be stored;
    /// [`ErrorKind::UnknownShard`] where the row is another cluster's; [`ErrorKind::NotFound`] where it is to be removed.
    /// [`ErrorKind::Stale`] if this transaction has written one of these columns through another handle since this one
    /// read it: call [`reload`](Session::reload) and change the row again. Writes of other columns do not matter, but for a
    /// row with a `#[version]`. (Across transactions a `#[version]` finds this out.)
    /// If it is written at once, also those of [`Session::flush`]. Then the row keeps its changes, and nothing of them
    /// is written.
    pub fn update<T: Sharded + Clone>(&mut self, row: &mut Stored<T>) -> Result<()> {
        in_verb_span(self, "update", Some(T::TABLE), |session| session.work.update(row))
    }

    /// Removes a row. That waits as a change does (see [`Session::update`]), and is done after everything else that
    /// waits, children before their parents. A row of a reference table, or with a lookup, is removed at once.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where it is to be removed already. [`ErrorKind::Stale`] if this transaction has written
    /// the row through another handle since this one read it. Where it is removed at once also those of
    /// [`Session::flush`].
    pub fn delete<T: Sharded>(&mut self, row: &Stored<T>) -> Result<()> {
        in_verb_span(self, "delete", Some(T::TABLE), |session| session.work.delete(row))
    }

    /// Inserts a row or, where a row with its id is on its shard, sets all its columns but the shard key. It is sent at
    /// once, in one statement.
    ///
    /// A row with a `#[version]` is changed only where it is stored with the same one, and then gets the next. With a
    /// key beside the id, the same id on another shard is another row, as it is for [`Session::add`]. After a rollback a
    /// row has to be saved again.
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
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// # let mut session = cluster.session();
    /// session.save(Account { id: 7, cents: 100 })?;
    /// session.save(Account { id: 7, cents: 150 })?;
    /// assert_eq!(session.one(Account::select().all_shards())?.cents, 150);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::ShardKeyChanged`] where the row on the shard has another key; [`ErrorKind::Stale`] where it has another
    /// version; [`ErrorKind::Unique`] where another row has what is to be unique; those of placing the row, and the
    /// database's. Then nothing is written.
    pub fn save<T: KnownId + Clone>(&mut self, row: T) -> Result<Stored<T>> {
        self.work.tx.check_usable()?;
        in_verb_span(self, "save", Some(T::TABLE), |session| session.work.save(row))
    }

    /// Changes a row in a way that [`Session::update`] refuses because it changes the shard: its shard key, or its
    /// parent. The row moves there with all its descendants, in the session's unit of work, which is all or nothing
    /// over both shards. A row whose new key has the same shard stays where it is, and is updated.
    ///
    /// Ids that are unique over the cluster (yours, sequences, UUIDs) stay. Those that a shard counts
    /// (`#[id(auto)]`) are counted anew where the row comes to, and the answer says which; links between the rows that
    /// move follow. Other handles to rows that have moved are of where they were: read them again. Rows are copied in
    /// chunks; what the unit of work has written is kept in memory until it is committed, as always.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Parent, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct City {
    /// #     #[id(sequence)]
    /// #     id: i64,
    /// #     #[shard_key(list("Asia" => "a", "Europe" => "b"))]
    /// #     continent: String,
    /// # }
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Report {
    /// #     #[id(auto)]
    /// #     id: i64,
    /// #     #[shard_parent]
    /// #     city: Parent<City>,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<(City, Report)>(["a", "b"])?;
    /// # let mut session = cluster.session();
    /// let mut istanbul = session.add(NewCity { continent: "Asia".into() })?;
    /// session.add(NewReport { city: istanbul.link() })?;
    /// session.relocate(&mut istanbul, |city| city.continent = "Europe".into())?;
    /// assert_eq!(istanbul.shard().name(), "b");
    /// assert_eq!(session.all(istanbul.children::<Report>())?.len(), 1); // asks `b`
    /// session.commit()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::ShardKeyChanged`] where the id is changed, be it the key: descendants hold it. [`ErrorKind::UnmappedKey`] where
    /// the new key is placed nowhere. [`ErrorKind::NotFound`] where the row is gone, [`ErrorKind::Stale`] where its
    /// `#[version]` has moved, or if this transaction has written one of the columns that change through another handle since
    /// this one read it. [`ErrorKind::Schema`] where a
    /// table has columns that it does not have on the other shard. [`ErrorKind::Unique`] and
    /// [`ErrorKind::ForeignKey`] where the other shard refuses a row, or rows of a model that the cluster was not
    /// opened with refer to one that moves; the databases'. Then nothing is moved, and the row is as it was.
    pub fn relocate<T: Sharded<Key: DecidesShard> + Clone>(
        &mut self,
        row: &mut Stored<T>,
        change: impl FnOnce(&mut T),
    ) -> Result<Relocated> {
        self.work.relocate(row, change)
    }

    /// Executes a bulk [`Update`](crate::Update) or [`Delete`](crate::Delete), or [`Sql`](crate::Sql) that writes; how
    /// many rows it affected, over all shards, or the rows themselves where it is
    /// [`returning`](crate::Update::returning) them.
    ///
    /// # Errors
    /// Those of placing its keys and pins, and the databases'; then it has no effect on any shard.
    pub fn execute<W: Write>(&mut self, statement: W) -> Result<W::Output> {
        in_verb_span(self, "execute", None, |session| {
            let mut returned = W::Returned::default();
            let rows = session.work.write(statement.request(), &mut returned)?;
            Ok(W::output(rows, returned))
        })
    }

    /// Writes what waits, without committing it: rows are inserted, parents before children; then rows are changed; then
    /// rows are removed, children before parents. (So a value that is to be unique, and goes from a row that is changed
    /// or removed to one that is added, needs a flush in between.) Each shard gets the rows of a table in one batch, and
    /// those that are changed in one for each set of columns. Where several databases get many rows each, they get them
    /// at the same time.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where a row is gone that is to be changed or removed; [`ErrorKind::Stale`] where it has a
    /// `#[version]` and another session has changed it since it was read; [`ErrorKind::Unique`], [`ErrorKind::ForeignKey`],
    /// as where a row is removed that has children; the databases'. Then nothing of what waited is written on any shard,
    /// and the session can be used on. Where a row was at fault nothing waits any more; otherwise (busy, full,
    /// read-only) all waits on, and can be flushed again.
    pub fn flush(&mut self) -> Result<()> {
        self.work.flush()
    }

    /// Runs a part of the unit of work that is undone by itself where it fails: on every shard that it has touched, and
    /// nothing else. What waits is written before it begins, and what it has added is written before it ends. Parts
    /// may be nested. Only the whole unit is committed.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Error, ErrorKind, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// let mut session = cluster.session();
    /// session.add_all((1..5).map(|id| Account { id, cents: 100 }))?;
    /// let again = session.savepoint(|session| {
    ///     session.add(Account { id: 7, cents: 1 })?;
    ///     session.add(Account { id: 3, cents: 1 })?; // there is one already
    ///     Ok::<(), Error>(())
    /// });
    /// assert_eq!(again.unwrap_err().kind(), ErrorKind::Unique);
    /// session.commit()?;
    /// assert_eq!(session.one(Account::select().all_shards().count())?, 4);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The closure's; those of [`Session::flush`], before it and after it. [`ErrorKind::TransactionAborted`] where a database has
    /// ended its transaction by itself: then the whole unit of work is undone, and the session has to be rolled back.
    pub fn savepoint<O, E: From<Error>>(
        &mut self,
        run: impl FnOnce(&mut Session) -> Result<O, E>,
    ) -> Result<O, E> {
        savepoint(self, run)
    }

    /// Says how the units of work of this session are committed where they wrote several databases;
    /// [`Commit::Atomic`] unless said.
    pub fn set_commit(&mut self, commit: Commit) {
        self.work.tx.commit = commit;
    }

    /// Writes what waits and commits. The session can be used on; what it had read it has forgotten.
    ///
    /// A transaction over one database is that database's own commit. One over several is committed on
    /// all of them or on none, through a kill of the process or a power loss at any point: the decision is one record
    /// in the control database, and a part that a database missed is applied there by the next session that writes to it
    /// next, or when the cluster is opened. (With [`Durability::Normal`](crate::Durability::Normal), through a kill
    /// but not through a power loss.) Until the commit the session keeps what it wrote in memory. There is no common
    /// snapshot: another session may see the unit on one shard before it sees it on another.
    ///
    /// A unit comes to one of four ends:
    /// - *committed*: `Ok`, with nothing [`pending`](Committed::pending);
    /// - *committed, and some of it is written later*: `Ok`, with the shards whose commit failed after the decision;
    /// - *aborted*: every error but these two; nothing of the unit is stored anywhere;
    /// - *in doubt*: [`ErrorKind::InDoubt`].
    ///
    /// # Errors
    /// Those of [`Session::flush`], after which the session can still be committed or rolled back; and
    /// [`ErrorKind::Query`] where several databases were written, one of them by something that could not be done
    /// again with the same result (SQL with `random()` or the current time, a lent connection), or where a savepoint is
    /// open.
    /// [`ErrorKind::ForeignKey`] where a constraint is broken that was deferred to now; [`ErrorKind::PartialCommit`]
    /// with [`Commit::BestEffort`]; the databases'. After a commit has failed, everything that is not committed is
    /// rolled back, and the session has to be told so with [`Session::rollback`] before it is used on: until then it
    /// answers [`ErrorKind::TransactionAborted`].
    pub fn commit(&mut self) -> Result<Committed> {
        if self.work.tx.depth > 0 {
            let message = "cannot commit inside a savepoint";
            return Err(Error::new(ErrorKind::Query, message));
        }
        let committed = in_verb_span(self, "commit", None, |session| session.work.commit());
        self.cluster().record_writer();
        self.work.tx.note_conflict(committed)
    }

    /// Bounds every verb that reads (`all`, `first`, `one`, `for_each`, `all_with`, `get`, `parent`, `reload`). The time is
    /// for the whole verb: waiting for a connection, connecting, preparing and executing. Without a timeout a statement
    /// may run forever, and connecting to a server is bounded by the URL's `connect_timeout` (10 s by default).
    ///
    /// Writing is not bounded, nor is the flush of pending changes before a read: stopping it half-way would have to be
    /// undone, and stopping a commit would leave its outcome unknown. Waiting for locks is bounded by
    /// [`Builder::busy_timeout`](crate::Builder::busy_timeout).
    ///
    /// A statement that is stopped fails with [`TimedOut`](crate::ErrorKind::TimedOut) and the shard's name. The session
    /// can be used on, unless the server does not answer the request to stop either: that is waited for up to a second,
    /// then the connection is closed, and the session has to be rolled back.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.work.tx.timeout = timeout;
    }

    /// Undoes everything since the session began, or since its last commit, and forgets it.
    pub fn rollback(&mut self) {
        self.work.rollback();
    }

    /// Takes the unit of work out of the session, which has to be rolled back if it does not get it again.
    fn take_work(&mut self) -> UnitOfWork {
        let tx = &self.work.tx;
        let mut placeholder = UnitOfWork::new(tx.cluster.clone(), tx.pinned);
        (placeholder.tx.timeout, placeholder.tx.commit) = (tx.timeout, tx.commit);
        placeholder.tx.aborted = Some("an iterator of the session was not dropped".to_owned());
        std::mem::replace(&mut self.work, placeholder)
    }

    fn into_work(mut self) -> UnitOfWork {
        self.take_work()
    }

    /// Sets the token that cancels what the session reads from now on. The one before cancels nothing any more.
    pub(crate) fn set_cancellation(&mut self, token: Option<Arc<CancellationToken>>) {
        self.work.tx.lift_deadlines();
        self.work.tx.context.cancellation = token;
    }

    /// Gives up everything, whatever state it is in, and ends the unit of work because of an error.
    pub(crate) fn reset_after_panic(&mut self, error: &Error) {
        let tx = &mut self.work.tx;
        let mut anew = Session::new(tx.cluster.clone(), tx.pinned);
        let new = &mut anew.work.tx;
        (new.commit, new.timeout) = (tx.commit, tx.timeout);
        (new.age, new.gives_up_early) = (tx.age, tx.gives_up_early);
        new.wanted = std::mem::take(&mut tx.wanted);
        new.aborted = Some(error.to_string());
        *self = anew;
    }
}

/// Prints the cluster and the shard that the session is pinned to, and no row.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut session = f.debug_struct("Session");
        session.field("cluster", self.cluster()).field("pinned_to", &self.pinned_to());
        session.finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.rollback();
    }
}
