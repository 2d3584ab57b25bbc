//! The session and its verbs. Each verb runs only on the shards that can hold matching rows.

mod iter;
mod look_up;
mod native_connection;
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
use crate::schema::{DecidesShard, Shard};
use crate::tasks::CancellationToken;
use crate::tasks::unwind::finally;
use crate::transaction::commit::{Commit, Committed};
use crate::transaction::{Cluster, HasTransactions, Transactions, in_verb_span};
use crate::unit_of_work::{HasUnitOfWork, Relocated, UnitOfWork, gone, savepoint};

/// How often a read runs at most while changes of the layout move its rows.
const MAX_FOLLOWED: u32 = 10;

/// A unit of work: rows are added, read and changed through a session, and all changes are committed or rolled back
/// together. A session that is dropped is rolled back.
///
/// On each database that it uses, a session has one transaction. On SQLite it reads one snapshot: it sees its own
/// changes, and those of other sessions only after its own commit or rollback (snapshot isolation). Writers of one
/// SQLite database run one after another. When a session begins to write a database, its snapshot there ends, and rows
/// that it has read may have changed. To prevent lost updates, lock the rows with
/// [`Select::for_update`](crate::Select::for_update), or give the model a `#[version]`.
///
/// There is no common snapshot of several shards: another session may see a transaction on one shard before it sees it
/// on another. An open session holds a connection of each database that it has read, and SQLite cannot shorten the
/// write-ahead log of such a database. Keep sessions short.
///
/// On a PostgreSQL server a session that only reads has a snapshot (REPEATABLE READ). Each statement of a session that
/// writes sees the rows that are committed when it begins (READ COMMITTED). Rows that a session writes, or reads with
/// `for_update`, are locked one by one: other sessions wait for them up to the [busy
/// timeout](crate::Builder::busy_timeout).
///
/// One thread at a time uses a session. It can be sent to another thread.
pub struct Session {
    pub(crate) work: UnitOfWork,
}

/// The rows of the shards that answered, and the errors of the others; made by [`Session::all_available`].
#[derive(Debug)]
#[non_exhaustive]
pub struct PartialResult<O> {
    /// The rows of the shards that answered, in the query's order. A shard that failed while it was read gives the
    /// rows before the failure.
    pub rows: Vec<O>,
    /// One error for each shard that did not answer completely. Each names its shard.
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
    /// Returns a session. It takes no connection until it is used.
    pub fn session(&self) -> Session {
        let cluster = self.latest();
        Session::new(cluster.clone(), None)
    }

    /// Returns a session that is pinned to one shard: every read, `get` and bulk write runs there, whatever keys it
    /// contains.
    ///
    /// A query that is pinned to another shard, and a row of another shard, fail with
    /// [`ErrorKind::ContradictingPins`](crate::ErrorKind::ContradictingPins) before any statement.
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
    /// assert_eq!(session.all(Shop::select().all_shards())?.len(), 1); // reads `a`
    /// let elsewhere = session.add(Shop { id: 2, region: "South".into() }).unwrap_err();
    /// assert_eq!(elsewhere.kind(), ErrorKind::ContradictingPins);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::UnknownShard`](crate::ErrorKind::UnknownShard)
    pub fn session_on_shard(&self, shard: &str) -> Result<Session> {
        let cluster = self.latest();
        Ok(Session::new(cluster.clone(), Some(cluster.shards().require(shard)?.index())))
    }
}

impl Session {
    pub(crate) fn new(cluster: Cluster, pinned: Option<usize>) -> Self {
        Session { work: UnitOfWork::new(cluster, pinned) }
    }

    /// Returns the cluster of this session.
    pub fn cluster(&self) -> &Cluster {
        &self.work.tx.cluster
    }

    /// Returns the shard that the session is pinned to by
    /// [`Cluster::session_on_shard`](crate::Cluster::session_on_shard).
    pub fn pinned_to(&self) -> Option<&Shard> {
        self.work.tx.pinned_to()
    }

    /// Adds a row, and chooses its shard and its id. The row is pending until its table is read, or until `flush` or
    /// `commit`. A row with `#[id(auto)]` is sent at once.
    ///
    /// # Errors
    /// - [`ErrorKind::UnmappedKey`] if the key's value is placed on no shard.
    /// - [`ErrorKind::Value`] if a value cannot be stored.
    /// - For `#[id(auto)]` also those of the database.
    pub fn add<N: Insert>(&mut self, new: N) -> Result<Stored<N::Model>> {
        self.work.add(new).map_err(|error| self.counted(error))
    }

    /// Adds a row with a given id to a model whose ids are generated, such as a row that is imported. The cluster does
    /// not generate this id later. The row is pending as after [`Session::add`].
    ///
    /// An id can be given if no process has reserved it: the sequence has not reached it, or has skipped it. To import
    /// rows in any order into a cluster that has generated ids, first call [`Cluster::advance_ids`] with the highest id
    /// of the rows. After a rollback the id stays reserved.
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
    /// - [`ErrorKind::Value`] if the id may have been generated.
    /// - Those of [`Session::add`].
    /// - [`ErrorKind::Unique`], when the row is sent, if a row on the same shard has this id. Ids on other shards are
    ///   not compared: the caller must not give an id twice.
    pub fn add_with_id<N: Insert<Model: SequenceId>>(
        &mut self,
        id: <N::Model as Sharded>::Id,
        new: N,
    ) -> Result<Stored<N::Model>> {
        self.work.add_with_id(id, new).map_err(|error| self.counted(error))
    }

    /// Adds many rows, and returns them in their order. Rows with `#[id(auto)]` are sent in one batch per shard. (On
    /// PostgreSQL this needs the privilege to use the column's sequence.)
    ///
    /// More than 16,384 rows, or 8 MiB of values, are sent in several batches, each before the iterator is advanced
    /// further. The first batch with rows for a shard locks it. One batch locks several shards in the cluster's order.
    ///
    /// # Errors
    /// Those of [`Session::add`] and, if rows are sent, those of [`Session::flush`]. Then none of the rows is added.
    pub fn add_all<N: Insert>(&mut self, rows: impl IntoIterator<Item = N>) -> Result<Vec<Stored<N::Model>>> {
        self.work.add_in_batches(rows.into_iter()).map_err(|error| self.counted(error))
    }

    /// Returns all rows of a query, in its order.
    ///
    /// # Errors
    /// Those of placing the query's keys and pins, and those of the databases.
    pub fn all<Q: Query>(&mut self, mut query: Q) -> Result<Vec<Q::Output>> {
        self.follow(|session| {
            in_verb_span(session, "all", None, |session| session.collect_up_to(&mut query, None))
        })
    }

    /// Visits the rows of a query one by one, in its order, until the visitor breaks or fails. Then no shard is read
    /// further.
    ///
    /// In memory is one row of each shard, or up to 4,096 rows of a shard that a worker thread reads. (See also
    /// [`Select::with_parent`](crate::Select::with_parent).)
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
    /// Those of [`Session::all`], and the visitor's own. For a visitor with an error type of the application use
    /// [`try_for_each`](Session::try_for_each).
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

    /// Visits the rows of a query like [`for_each`](Session::for_each), with a visitor that fails with an error type of the
    /// application.
    ///
    /// ```
    /// # use std::io::Write;
    /// # use std::ops::ControlFlow;
    /// # use shard_runtime::{Cluster, Error, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// # let mut session = cluster.session();
    /// # session.add(Account { id: 7, cents: 100 })?;
    /// # #[derive(Debug)]
    /// enum ExportError {
    ///     Write(std::io::Error),
    ///     Database(Error),
    /// }
    /// # impl From<Error> for ExportError {
    /// #     fn from(error: Error) -> Self {
    /// #         ExportError::Database(error)
    /// #     }
    /// # }
    /// # impl From<std::io::Error> for ExportError {
    /// #     fn from(error: std::io::Error) -> Self {
    /// #         ExportError::Write(error)
    /// #     }
    /// # }
    ///
    /// let mut file = Vec::new();
    /// session.try_for_each(Account::select().all_shards(), |account| {
    ///     writeln!(file, "{},{}", account.id, account.cents)?;
    ///     Ok::<_, ExportError>(ControlFlow::Continue(()))
    /// })?;
    /// assert_eq!(file, b"7,100\n");
    /// # Ok::<(), ExportError>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`for_each`](Session::for_each). The visitor's error is returned as it is.
    pub fn try_for_each<Q: Query, E: From<Error>>(
        &mut self,
        query: Q,
        mut visit: impl FnMut(Q::Output) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        with_own_error(|own| self.for_each(query, |row| visit(row).map_err(&mut *own)))
    }

    /// Returns the row with this id, or `None`: `session.get::<City>(5)` if ids are unique over the cluster,
    /// `session.get(Report::by_id(1).on(Continent::Asia))` if they are unique within a shard. A row that the session
    /// has looked up in its current snapshot is not read again.
    ///
    /// If several shards may have the row, they are read one after another. If the cluster generates the ids, the reads
    /// end at the first shard that has the row; if the application gives them, all shards are read. After several slow
    /// look-ups of this model the shards are read at the same time.
    ///
    /// # Errors
    /// - [`ErrorKind::Ambiguous`](crate::ErrorKind::Ambiguous) if the row is found on two shards.
    /// - Those of placing the id or the pin.
    pub fn get<T: Sharded>(&mut self, id: impl Locate<T>) -> Result<Option<Stored<T>>> {
        let located = id.locate();
        let read = |session: &mut Self| {
            let shards = session.shards_of(&located)?;
            session.work.look_up(&located.id, &shards)
        };
        self.follow(|session| in_verb_span(session, "get", Some(T::TABLE), read))
    }

    /// Returns the first row of a query, or `None`.
    ///
    /// # Errors
    /// Those of [`Session::all`].
    pub fn first<Q: Query>(&mut self, mut query: Q) -> Result<Option<Q::Output>> {
        let rows = self.follow(|session| {
            in_verb_span(session, "first", None, |session| session.collect_up_to(&mut query, Some(1)))
        })?;
        Ok(rows.into_iter().next())
    }

    /// Returns the only row of a query.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`] if there is none, [`ErrorKind::ManyRows`] if there are more.
    /// - Those of [`Session::all`].
    pub fn one<Q: Query>(&mut self, mut query: Q) -> Result<Q::Output> {
        self.follow(|session| session.only(&mut query))
    }

    fn only<Q: Query>(&mut self, query: &mut Q) -> Result<Q::Output> {
        in_verb_span(self, "one", None, |session| {
            let mut rows = session.collect_up_to(query, Some(2))?.into_iter();
            let (kind, found) = match (rows.next(), rows.next()) {
                (Some(row), None) => return Ok(row),
                (None, _) => (ErrorKind::NotFound, "no rows"),
                (Some(_), Some(_)) => (ErrorKind::ManyRows, "more than one row"),
            };
            let message = format!("the query returned {found}, expected exactly one; use `first` or `all`");
            let error = Error::new(kind, message);
            Err(match query.request()?.table() {
                Some(table) => error.in_table(table.name),
                None => error,
            })
        })
    }

    /// Counts the error of a verb that fails before its span begins.
    fn counted(&self, error: Error) -> Error {
        self.work.tx.cluster.counted(error)
    }

    /// Runs a read, and runs it again under the new layout if a change has moved its rows. A session in a transaction
    /// fails instead: its earlier reads used the old layout.
    fn follow<O>(&mut self, mut read: impl FnMut(&mut Self) -> Result<O>) -> Result<O> {
        let is_free = self.work.is_at_rest();
        for _ in 1..MAX_FOLLOWED {
            match read(self) {
                Err(error) if is_free && error.kind() == ErrorKind::Moved => self.work.rollback(),
                done => return done,
            }
        }
        read(self)
    }

    fn collect_up_to<Q: Query>(&mut self, query: &mut Q, rows: Option<u64>) -> Result<Vec<Q::Output>> {
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

    /// Returns the rows of the shards that answer, and an error for each other shard. Such a shard is locked, damaged,
    /// missing, or slower than the session's timeout. A count, a sum or a group covers the rows that were read.
    ///
    /// With a timeout, if some of the databases are servers, a separate thread reads each database. So a frozen server
    /// does not use up the time of the others. All rows are then in memory before the first is returned. If the session
    /// was in a transaction on a server that did not answer, it has to be rolled back.
    ///
    /// `get` and `all_with` have no such form. The row could be on the missing shard, and a parent would seem to have no
    /// children.
    ///
    /// # Errors
    /// - Those that are not about one shard, such as a wrong statement, a key without a shard, or a value or pending row
    ///   that cannot be written.
    /// - [`ErrorKind::Query`](crate::ErrorKind::Query), before any statement, for a query with
    ///   [`for_update`](crate::Select::for_update). Rows of a shard that does not answer cannot be locked, and another
    ///   transaction could change them.
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
            missing = missing.into_iter().map(|error| session.cluster().counted(error)).collect();
            rows.map(|rows| PartialResult { rows, missing })
        })
    }

    /// Returns the parent of a row, from the row's shard.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it does not exist any more.
    pub fn parent<C: Child>(&mut self, child: &Stored<C>) -> Result<Stored<C::Parent>> {
        in_verb_span(self, "parent", Some(C::Parent::TABLE), |session| {
            session.work.tx.refuse_row_elsewhere::<C>(child.shard())?;
            let shards = session.work.tx.cluster.layout().shards();
            let shards = C::Parent::identity_chooser(child.parent_id(), Some(child.shard()), shards)?;
            let parent = session.work.look_up(child.parent_id(), &session.work.tx.narrowed(shards))?;
            parent.ok_or_else(|| gone::<C::Parent>(child.parent_id(), child.shard()))
        })
    }

    /// Reads a row again from its shard. Changes to it without [`update`](Session::update) are lost.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it does not exist any more.
    pub fn reload<T: Sharded>(&mut self, row: &mut Stored<T>) -> Result<()> {
        in_verb_span(self, "reload", Some(T::TABLE), |session| {
            session.work.tx.refuse_row_elsewhere::<T>(row.shard())?;
            let shards =
                T::identity_chooser(row.id(), Some(row.shard()), session.work.tx.cluster.layout().shards())?;
            session.work.forget_row::<T>(row.id(), row.shard())?;
            let fresh = session.work.look_up(row.id(), &session.work.tx.narrowed(shards))?;
            *row = fresh.ok_or_else(|| gone::<T>(row.id(), row.shard()))?;
            Ok(())
        })
    }

    /// Enqueues an update of the columns that were changed since the row was read or last written. Changes that a
    /// rollback has undone count as changed. The update is pending until the table is read, or until
    /// [`flush`](Session::flush) or [`commit`](Session::commit), which return the database's errors. A row of a
    /// reference table, and a column with a lookup, are written at once.
    ///
    /// A row with a `#[version]` is written only if it still has the version that was read, and gets the next one. A
    /// value that the application puts into that field is ignored.
    ///
    /// A row can get another [`Parent`](crate::Parent) on its shard. Its id and its shard key cannot change, even if
    /// the new key has the same shard.
    ///
    /// # Errors
    /// - [`ErrorKind::ShardKeyChanged`] if the id, the key or the shard of the parent changes.
    /// - [`ErrorKind::Value`] if a value cannot be stored.
    /// - [`ErrorKind::UnknownShard`] if the row belongs to another cluster.
    /// - [`ErrorKind::NotFound`] if its deletion is pending.
    /// - [`ErrorKind::Stale`] if this transaction has written one of these columns through another handle since this
    ///   one read it. Call [`reload`](Session::reload) and change the row again. (A `#[version]` detects changes by
    ///   other transactions.)
    /// - If the row is written at once, those of [`Session::flush`].
    ///
    /// After an error the handle keeps its changes, and nothing is written.
    pub fn update<T: Sharded + Clone>(&mut self, row: &mut Stored<T>) -> Result<()> {
        in_verb_span(self, "update", Some(T::TABLE), |session| session.work.update(row))
    }

    /// Deletes a row. The deletion is pending like an update (see [`Session::update`]), and is sent after all other
    /// changes, children before parents. A row of a reference table, or with a lookup, is deleted at once.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`] if its deletion is pending already.
    /// - [`ErrorKind::Stale`] if this transaction has written the row through another handle since this one read it.
    /// - If the row is deleted at once, those of [`Session::flush`].
    pub fn delete<T: Sharded>(&mut self, row: &Stored<T>) -> Result<()> {
        in_verb_span(self, "delete", Some(T::TABLE), |session| session.work.delete(row))
    }

    /// Inserts a row or, if a row with its id is on its shard, sets all its columns but the shard key. It is sent at
    /// once, in one statement.
    ///
    /// A row with a `#[version]` is changed only if the stored row has the same version, and then gets the next one. If
    /// the key is not the id, a row with the same id on another shard is another row, as for [`Session::add`]. After a
    /// rollback a row has to be saved again.
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
    /// - [`ErrorKind::ShardKeyChanged`] if the stored row has another key.
    /// - [`ErrorKind::Stale`] if it has another version.
    /// - [`ErrorKind::Unique`] if another row has a value that must be unique.
    /// - Those of placing the row, and those of the database.
    ///
    /// After an error nothing is written.
    pub fn save<T: KnownId + Clone>(&mut self, row: T) -> Result<Stored<T>> {
        self.work.tx.check_usable()?;
        in_verb_span(self, "save", Some(T::TABLE), |session| session.work.save(row))
    }

    /// Changes the shard key or the parent of a row, and moves the row and all its descendants to the shard of the new
    /// key. One transaction contains the whole move. A row whose new key has the same shard stays there, and is
    /// updated.
    ///
    /// Ids that are unique over the cluster (given ones, sequences, UUIDs) stay. Ids that a database generates
    /// (`#[id(auto)]`) are generated again on the new shard, and the links between the moved rows follow. [`Relocated`]
    /// has the new ids. Other handles to moved rows are stale: read them again. Rows are copied in chunks. Redo records
    /// are kept in memory until the commit.
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
    /// assert_eq!(session.all(istanbul.children::<Report>())?.len(), 1); // reads `b`
    /// session.commit()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::ShardKeyChanged`] if the id changes: descendants hold it.
    /// - [`ErrorKind::UnmappedKey`] if the new key is placed on no shard.
    /// - [`ErrorKind::NotFound`] if the row does not exist any more.
    /// - [`ErrorKind::Stale`] if its `#[version]` has changed, or if this transaction has written one of the changed
    ///   columns through another handle since this one read it.
    /// - [`ErrorKind::Schema`] if a table has columns that it lacks on the other shard.
    /// - [`ErrorKind::Unique`] if the other shard has a row with such a value.
    /// - [`ErrorKind::ForeignKey`] if the other shard refuses a row, or if a row of an unregistered model refers to one
    ///   that moves.
    /// - Those of the databases.
    ///
    /// After an error nothing is moved.
    pub fn relocate<T: Sharded<Key: DecidesShard> + Clone>(
        &mut self,
        row: &mut Stored<T>,
        change: impl FnOnce(&mut T),
    ) -> Result<Relocated> {
        self.work.relocate(row, change).map_err(|error| self.counted(error))
    }

    /// Executes a bulk [`Update`](crate::Update) or [`Delete`](crate::Delete), or [`Sql`](crate::Sql) that writes.
    /// Returns the number of affected rows over all shards, or with [`returning`](crate::Update::returning) the rows.
    ///
    /// # Errors
    /// Those of placing its keys and pins, and those of the databases. Then it has no effect on any shard.
    pub fn execute<W: Write>(&mut self, statement: W) -> Result<W::Output> {
        in_verb_span(self, "execute", None, |session| {
            let mut returned = W::Returned::default();
            let rows = session.work.write(statement.request(), &mut returned)?;
            Ok(W::output(rows, returned))
        })
    }

    /// Sends the pending changes without committing them: inserts, parents before children; then updates; then
    /// deletions, children before parents. (A unique value that moves from an updated or deleted row to a new one needs
    /// a flush in between.) Each shard gets the rows of a table in one batch, and updates in one batch for each set of
    /// columns. If several databases have many rows each, they get them at the same time.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`] if a row to be updated or deleted does not exist any more.
    /// - [`ErrorKind::Stale`] if it has a `#[version]` and another session has changed it since it was read.
    /// - [`ErrorKind::Unique`]
    /// - [`ErrorKind::ForeignKey`], for example if a deleted row has children.
    /// - Those of the databases.
    ///
    /// After an error nothing is written on any shard, and the session can still be used. If a row has caused the
    /// error, all pending changes are dropped. After other errors (busy, full, read-only) they stay pending.
    pub fn flush(&mut self) -> Result<()> {
        self.work.flush()
    }

    /// Runs a closure in a savepoint: if it fails, its changes are undone on every shard. Pending changes are sent
    /// before it begins, and those of the closure before it ends. Savepoints can be nested. Only the whole transaction
    /// is committed.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, ErrorKind, Sharded};
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
    ///     session.add(Account { id: 3, cents: 1 })?; // the id 3 exists already
    ///     Ok(())
    /// });
    /// assert_eq!(again.unwrap_err().kind(), ErrorKind::Unique);
    /// session.commit()?;
    /// assert_eq!(session.one(Account::select().all_shards().count())?, 4);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - Those of the closure.
    /// - Those of [`Session::flush`] before and after it.
    /// - [`ErrorKind::TransactionAborted`] if a database has ended its transaction. Then the whole transaction is
    ///   undone, and the session has to be rolled back.
    pub fn savepoint<O>(&mut self, run: impl FnOnce(&mut Session) -> Result<O>) -> Result<O> {
        self.try_savepoint(run)
    }

    /// Runs a closure like [`savepoint`](Session::savepoint), with an error type of the application.
    ///
    /// # Errors
    /// Those of [`savepoint`](Session::savepoint).
    pub fn try_savepoint<O, E: From<Error>>(
        &mut self,
        run: impl FnOnce(&mut Session) -> Result<O, E>,
    ) -> Result<O, E> {
        savepoint(self, run)
    }

    /// Sets how this session commits a transaction over several databases. Default: [`Commit::Atomic`].
    pub fn set_commit(&mut self, commit: Commit) {
        self.work.tx.commit = commit;
    }

    /// Sends the pending changes and commits. The session can still be used; its identity map is empty.
    ///
    /// A transaction that wrote one database is committed by that database alone. One that wrote several is
    /// committed on all of them or on none, even if the process is killed or the power fails at any point. (With
    /// [`Durability::Normal`](crate::Durability::Normal) this holds for a kill, but not for a power loss.)
    ///
    /// The decision is one record in the control database or on a server. If a database missed its part, the next
    /// session that writes there applies it, or the opening of the cluster does. Until the commit the session keeps
    /// redo records in memory. There is no common snapshot: another session may see the transaction on one shard before
    /// it sees it on another.
    ///
    /// A transaction with [`Commit::Atomic`] has one of four outcomes:
    /// - *committed*: `Ok`, with nothing [`pending`](Committed::pending);
    /// - *committed, with pending participants*: `Ok`, with the shards whose commit failed after the decision;
    /// - *not committed*: every error but the next; nothing is stored on any shard;
    /// - *in doubt*: [`ErrorKind::InDoubt`].
    ///
    /// # Errors
    /// - Those of [`Session::flush`], after which the session can still be committed or rolled back.
    /// - [`ErrorKind::Query`] if a savepoint is open.
    /// - [`ErrorKind::Query`] if several databases were written and recovery could not repeat one of the statements
    ///   with the same result. This is SQL with `random()` or the current time, and every change through
    ///   [`with_connection`](crate::sqlite::with_connection).
    pub fn commit(&mut self) -> Result<Committed> {
        if self.work.tx.depth > 0 {
            let message = "cannot commit inside a savepoint";
            return Err(Error::new(ErrorKind::Query, message));
        }
        let committed = in_verb_span(self, "commit", None, |session| session.work.commit());
        self.cluster().record_writer();
        self.work.tx.note_conflict(committed)
    }

    /// Bounds every verb that reads (`all`, `first`, `one`, `for_each`, `all_with`, `get`, `parent`, `reload`). The
    /// time covers the whole verb: waiting for a connection, connecting, preparing and executing. Without a timeout a
    /// statement may run forever, and connecting to a server is bounded by the URL's `connect_timeout` (10 s by
    /// default).
    ///
    /// Writes and commits are not bounded, nor is the flush of pending changes before a read. A stopped flush would
    /// have to be undone, and a stopped commit would have an unknown outcome.
    /// [`Builder::busy_timeout`](crate::Builder::busy_timeout) bounds their waits for locks. A read with `for_update`
    /// waits for locks until the earlier of both limits.
    ///
    /// A statement that is stopped fails with [`TimedOut`](crate::ErrorKind::TimedOut) and the shard's name. The
    /// session can then still be used, unless a server does not answer the request to stop within a second. In that
    /// case the connection is closed, and the session has to be rolled back.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.work.tx.timeout = timeout;
    }

    /// Rolls back everything since the session began, or since its last commit, and empties the identity map.
    pub fn rollback(&mut self) {
        self.work.rollback();
    }

    /// Takes the unit of work out of the session. Unless it is put back, the session has to be rolled back.
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

    /// Sets the token that cancels later reads of the session. The token before it cancels nothing any more.
    pub(crate) fn set_cancellation(&mut self, token: Option<Arc<CancellationToken>>) {
        self.work.tx.lift_deadlines();
        self.work.tx.context.cancellation = token;
    }

    /// Undoes the transaction. Each verb fails until the session is rolled back.
    pub(crate) fn abort(&mut self, why: &str) {
        self.work.rollback();
        self.work.tx.aborted = Some(why.to_owned());
    }

    /// Returns whether the session has pending changes, which a read may send.
    pub(crate) fn has_pending_changes(&self) -> bool {
        self.work.has_pending_changes()
    }

    /// Drops all transactions, in any state, and aborts the session because of an error.
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

/// Makes a call whose closure fails with an error type of the application. The call passes `own`, which keeps the
/// closure's error and returns the crate's error that ends the call.
pub(crate) fn with_own_error<O, E: From<Error>>(
    call: impl FnOnce(&mut dyn FnMut(E) -> Error) -> Result<O>,
) -> Result<O, E> {
    let mut failed = None;
    let result = call(&mut |error| {
        failed = Some(error);
        Error::new(ErrorKind::Query, "the caller's closure failed")
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(result?),
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
