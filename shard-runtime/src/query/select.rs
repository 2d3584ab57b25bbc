//! Selects: the condition, the shards, the order and the limits of a read.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

use super::column::{Operand, Order};
use super::columns::{ColumnList, Columns};
use super::condition::Condition;
use super::cursor::Cursor;
use super::filter::{Filter, Node, Operator, Predicate, WholeKey};
use super::request::{Read, Request};
use crate::collation::Collation;
use crate::error::Result;
use crate::query::Stored;
use crate::query::{ChildOf, Sharded, UniqueId, values_of};
use crate::row::Row;
use crate::schema::Key;
use crate::schema::Table;
use crate::schema::{IsRouted, Routed, Routing, Unrouted};
use crate::schema::{Shard, ShardSet, Shards};
use crate::sealed::{Seal, Sealed};
use crate::value::{Field, Value};

/// A query for rows of `T`: condition, shards, order and limits. `R` marks whether it is narrowed to shards.
#[must_use = "a query does nothing until a session runs it"]
pub struct Select<T, R> {
    pub(crate) core: SelectCore,
    marker: PhantomData<fn() -> (T, R)>,
}

untyped!(
    Select < T,
    R > {
        core;
        marker
    }
);

/// A select without its types.
#[derive(Clone, Debug)]
pub(crate) struct SelectCore {
    pub(crate) target: Target,
    pub(crate) order: Vec<OrderBy>,
    pub(crate) limit: Option<u64>,
    pub(crate) offset: u64,
    /// The cursor after which the rows begin.
    pub(crate) after: Option<Cursor>,
}

impl SelectCore {
    /// Returns a select of all rows of the target, in no order.
    pub(crate) fn of(target: Target) -> Self {
        SelectCore { target, order: Vec::new(), limit: None, offset: 0, after: None }
    }

    /// Lowers the limit to this number of rows.
    pub(super) fn at_most(&mut self, rows: u64) {
        self.limit = Some(self.limit.map_or(rows, |limit| limit.min(rows)));
    }
}

/// The common part of reads, updates and deletes: a model, a condition, and pins.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) table: &'static Table,
    /// The model's chooser; `None` for the runtime's own tables.
    pub(crate) chooser: Option<fn(&Predicate, &Shards) -> Result<ShardSet>>,
    pub(crate) predicate: Predicate,
    /// The predicate with the shards that lookups have returned for its values, if lookups were read.
    pub(crate) located: Option<Predicate>,
    pub(crate) pins: Vec<Pin>,
    /// Whether the rows are locked, because the caller is going to write them.
    pub(crate) for_update: bool,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut target = f.debug_struct("Target");
        target.field("table", &self.table.name).field("predicate", &self.predicate);
        target.field("pins", &self.pins).field("for_update", &self.for_update).finish()
    }
}

/// A pin: names the only shard that a query uses.
#[derive(Clone, Debug)]
pub(crate) enum Pin {
    /// The shard of this key.
    Key(WholeKey),
    /// The shard of this name.
    Name(String),
    /// The shard of a row, for rows on the same shard.
    Row(Shard),
    /// The shard that the session is pinned to.
    Session(Shard),
}

impl Pin {
    pub(crate) fn key(key: &impl Key) -> Self {
        Pin::Key(owned_key(key))
    }
}

/// Returns a key's values, owned.
pub(super) fn owned_key(key: &impl Key) -> WholeKey {
    key.values().map(|values| values.into_iter().map(Value::into_owned).collect())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OrderBy {
    pub(crate) column: usize,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

impl OrderBy {
    /// Compares two values of a column with this collation.
    pub(crate) fn order(&self, collation: Collation, a: &Value<'_>, b: &Value<'_>) -> Ordering {
        match (a, b) {
            (Value::Null, Value::Null) => Ordering::Equal,
            (Value::Null, _) if self.nulls_first => Ordering::Less,
            (Value::Null, _) => Ordering::Greater,
            (_, Value::Null) if self.nulls_first => Ordering::Greater,
            (_, Value::Null) => Ordering::Less,
            (a, b) if self.descending => collation.order(b, a),
            (a, b) => collation.order(a, b),
        }
    }
}

impl Target {
    pub(crate) fn of<T: Sharded>() -> Self {
        Target {
            table: T::TABLE,
            chooser: Some(T::execute_chooser),
            predicate: Predicate::new(Node::Everything),
            located: None,
            pins: Vec::new(),
            for_update: false,
        }
    }

    /// Returns a target for the rows of one of the runtime's own tables that match the predicate.
    pub(crate) fn own(table: &'static Table, predicate: Predicate) -> Self {
        let (pins, for_update) = (Vec::new(), false);
        Target { table, chooser: None, predicate, located: None, pins, for_update }
    }

    /// Returns the predicate, with the shards of its values if lookups were read.
    pub(crate) fn condition(&self) -> &Predicate {
        self.located.as_ref().unwrap_or(&self.predicate)
    }

    pub(crate) fn filter(&mut self, predicate: Predicate) {
        let so_far = std::mem::replace(&mut self.predicate, Predicate::new(Node::Everything));
        self.predicate = Predicate::all([so_far, predicate]);
    }
}

impl<T: Sharded> Select<T, <T::Key as Key>::Unfiltered> {
    pub(crate) fn new() -> Self {
        Select::with(SelectCore::of(Target::of::<T>()))
    }
}

impl<T: Sharded> Select<T, Routed> {
    pub(crate) fn children_of<P: Sharded>(parent: &Stored<P>) -> Self
    where
        T: ChildOf<P>,
    {
        let operand = Operand::of(parent.id());
        let column = T::PARENT_COLUMN;
        let mut children = T::select().filter(Filter::<T, Unrouted>::of(Node::Compare {
            column,
            operator: Operator::Equal,
            operand,
        }));
        children.core.target.pins.push(Pin::Row(parent.shard().clone()));
        Select::with(children.core)
    }
}

impl<T: Sharded, R: Routing> Select<T, R> {
    fn with(core: SelectCore) -> Self {
        Select { core, marker: PhantomData }
    }

    /// Keeps the rows that match the condition. Repeated calls are combined with AND.
    pub fn filter<C: Condition<T>>(mut self, condition: C) -> Select<T, R::And<C::Routing>> {
        self.core.target.filter(condition.into_filter().predicate);
        Select::with(self.core)
    }

    /// Queries only the shard of this key, regardless of the filters. The key is no filter: rows of the shard with other keys
    /// match, too. For a child, give the key of its parent.
    pub fn on(mut self, key: impl Into<T::Key>) -> Select<T, Routed> {
        self.core.target.pins.push(Pin::key(&key.into()));
        Select::with(self.core)
    }

    /// Queries only the shard of this name, regardless of the filters.
    pub fn on_shard(mut self, name: impl Into<String>) -> Select<T, Routed> {
        self.core.target.pins.push(Pin::Name(name.into()));
        Select::with(self.core)
    }

    /// Allows the query to use every shard. The filters still exclude shards that cannot hold matching rows.
    pub fn all_shards(self) -> Select<T, Routed> {
        Select::with(self.core)
    }

    /// Orders the rows of all shards by one column. Each further call orders the rows that are equal so far.
    pub fn order_by(mut self, order: Order<T>) -> Self {
        let Order { column, descending, nulls_first, .. } = order;
        self.core.order.push(OrderBy { column, descending, nulls_first });
        self
    }

    /// Selects one column, a tuple of columns, or those of a [`Projection`](crate::Projection), which are read as a
    /// struct.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     owner: String,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::builder()
    /// #     .shard("a", "sqlite::memory:")
    /// #     .shard("b", "sqlite::memory:")
    /// #     .create::<Account>()?;
    /// # let mut session = cluster.session();
    /// # for (id, owner) in [(1, "Bob"), (2, "Ada"), (3, "Bob")] {
    /// #     session.add(Account { id, owner: owner.into(), cents: 100 * id })?;
    /// # }
    /// let accounts = || Account::select().all_shards();
    /// let rich = accounts().order_by(Account::CENTS.desc()).columns((Account::OWNER, Account::ID));
    /// assert_eq!(session.first(rich)?, Some(("Bob".to_owned(), 3)));
    /// assert_eq!(session.all(accounts().columns(Account::OWNER).distinct())?, ["Ada", "Bob"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn columns<C: ColumnList<T>>(self, columns: C) -> Columns<T, R, C> {
        Columns::new(self.core, &columns)
    }

    /// Returns the cursor of a page of this query that ends with this row. The query needs an order; its limit and offset have no
    /// effect.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Cursor, Sharded};
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
    /// # session.add_all((1..9).map(|id| Account { id, cents: id / 3 }))?;
    /// let query = Account::select().all_shards().order_by(Account::CENTS.desc());
    /// let page = session.all(query.clone().limit(3))?;
    /// let token = query.cursor(&page[2])?.to_string();
    ///
    /// let next = session.all(query.clone().after(&token.parse()?).limit(3))?;
    /// # let whole = session.all(query)?;
    /// # assert_eq!([page, next].concat(), whole[..6]);
    /// # Ok(())
    /// # }
    /// # impl PartialEq for Account { fn eq(&self, other: &Self) -> bool { self.id == other.id } }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Query`](crate::ErrorKind::Query) if the query has no order.
    pub fn cursor(&self, last: &Stored<T>) -> Result<Cursor> {
        let columns = self.core.cursor_columns(None)?;
        let row = values_of(&**last)?;
        let values = columns.into_iter().filter_map(|column| row.get(column));
        let values = values.map(|value| value.clone().into_owned()).collect();
        Ok(Cursor::new(&self.core, None, last.shard(), values))
    }

    /// Keeps the rows after the cursor of a page of this query. If an index has the query's order, rows before the page are not
    /// read, so each page costs the same. Rows that are added or changed between two pages appear at their position in the order.
    ///
    /// # Errors
    /// When it is run: [`ErrorKind::Cursor`](crate::ErrorKind::Cursor) if a query with other filters, pins or order created the
    /// cursor.
    pub fn after(mut self, cursor: &Cursor) -> Self {
        self.core.after = Some(cursor.clone());
        self
    }

    /// Locks the rows for writing: no other session changes them until this session commits or rolls back.
    ///
    /// The session begins a write transaction on each shard before it reads there. So a value that is computed from the rows and
    /// written back overwrites no change of another session. Other sessions that write wait up to the
    /// [`Builder::busy_timeout`](crate::Builder::busy_timeout).
    ///
    /// Locks are taken in a fixed order, not in the query's: shard by shard in the cluster's order, and on servers row by row
    /// by id. So two of these reads do not deadlock. Several servers are therefore locked one after the other.
    ///
    /// SQLite locks a whole database: this read begins the write transaction (`BEGIN IMMEDIATE`) that an update would begin
    /// later. PostgreSQL locks the rows found (`FOR UPDATE`), also those that a count or an aggregate is made of. Other
    /// sessions can still add rows, and write other rows. A row of a reference table is locked for all shards. On servers its
    /// lock on the first of them does this, because every session takes that lock first.
    ///
    /// If other sessions rarely change the same rows, a `#[version]` avoids the waiting.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Error, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// # cluster.transaction(|session| session.add(Account { id: 7, cents: 100 }).map(drop))?;
    /// cluster.transaction(|session| {
    ///     let mut account = session.one(Account::select().filter(Account::ID.eq(7)).for_update())?;
    ///     account.cents -= account.cents / 10;
    ///     session.update(&mut account)
    /// })?;
    /// # assert_eq!(cluster.session().get::<Account>(7)?.map(|account| account.cents), Some(90));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When it is run: [`ErrorKind::Busy`](crate::ErrorKind::Busy) if another session writes on one of the shards for longer
    /// than the `busy_timeout`. Then this call has locked none of them.
    pub fn for_update(mut self) -> Self {
        self.core.target.for_update = true;
        self
    }

    /// Limits the number of rows over all shards.
    pub fn limit(mut self, rows: u64) -> Self {
        self.core.limit = Some(rows);
        self
    }

    /// Skips the first rows of the merged result.
    pub fn offset(mut self, rows: u64) -> Self {
        self.core.offset = rows;
        self
    }
}

/// A query that [`Session::all`](crate::Session::all), `first`, `one`, `iter` and `for_each` run.
///
/// This trait is sealed: the planner plans only the requests of this crate.
pub trait Query: Sealed {
    /// One row of the result.
    type Output;

    /// Limits the result to this number of rows.
    #[doc(hidden)]
    fn at_most(&mut self, _rows: u64) {}

    /// Returns the request to plan and run.
    #[doc(hidden)]
    fn request(&self) -> Result<Request<'_>>;

    /// Returns the function that makes the output of each row of the request's result.
    #[doc(hidden)]
    fn decoder(&self) -> impl FnMut(&Row<'_>) -> Result<Self::Output>;
}

impl<T, R> Sealed for Select<T, R> {}

impl<T: Sharded> Sealed for ById<T> {}

impl<T: Sharded> Sealed for Located<T> {}

impl<T: Sharded, R: IsRouted> Query for Select<T, R> {
    type Output = Stored<T>;

    fn at_most(&mut self, rows: u64) {
        self.core.at_most(rows);
    }

    fn request(&self) -> Result<Request<'_>> {
        Ok(Request(Read::Models(&self.core, Stored::<T>::load_model)))
    }

    fn decoder(&self) -> impl FnMut(&Row<'_>) -> Result<Stored<T>> {
        Stored::loaded
    }
}

/// A row by its id on one shard: `Report::by_id(1).on(Continent::Asia)`.
#[must_use = "an id does nothing until a session gets it"]
pub struct ById<T: Sharded> {
    pub(crate) id: T::Id,
}

impl<T: Sharded> Clone for ById<T> {
    fn clone(&self) -> Self {
        ById { id: self.id.clone() }
    }
}

impl<T: Sharded> fmt::Debug for ById<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ById").field("id", &self.id).finish()
    }
}

impl<T: Sharded> ById<T> {
    pub(crate) fn new(id: T::Id) -> Self {
        ById { id }
    }

    /// Uses the shard of this key. For a child it is the key of its parent.
    pub fn on(self, key: impl Into<T::Key>) -> Located<T> {
        Located { id: self.id, pin: Some(Pin::key(&key.into())) }
    }

    /// Uses the shard of this name.
    pub fn on_shard(self, name: impl Into<String>) -> Located<T> {
        Located { id: self.id, pin: Some(Pin::Name(name.into())) }
    }
}

/// An id, with its shard if the id does not determine it; the argument of [`Session::get`](crate::Session::get).
#[must_use = "an id does nothing until a session gets it"]
pub struct Located<T: Sharded> {
    pub(crate) id: T::Id,
    pub(crate) pin: Option<Pin>,
}

impl<T: Sharded> Clone for Located<T> {
    fn clone(&self) -> Self {
        Located { id: self.id.clone(), pin: self.pin.clone() }
    }
}

impl<T: Sharded> fmt::Debug for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Located").field("id", &self.id).field("pin", &self.pin).finish()
    }
}

/// An argument of [`Session::get`](crate::Session::get) for a row of `T`. This is an id that is unique over the cluster, an
/// id with its shard, or a link to a parent.
///
/// This trait is sealed: an id that is not unique over the cluster must come with its shard.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name a row of `{T}`",
    label = "not an id of `{T}`",
    note = "give the row's id, its id on a shard, `{T}::by_id(id).on(key)`, or a `&Parent<{T}>`"
)]
pub trait Locate<T: Sharded> {
    #[doc(hidden)]
    fn locate(self) -> Located<T>;
    #[doc(hidden)]
    const SEAL: Seal;
}

impl<T: UniqueId, I: Field + Into<T::Id>> Locate<T> for I {
    const SEAL: Seal = Seal;

    fn locate(self) -> Located<T> {
        Located { id: self.into(), pin: None }
    }
}

impl<T: Sharded> Locate<T> for Located<T> {
    const SEAL: Seal = Seal;

    fn locate(self) -> Located<T> {
        self
    }
}

impl<T: Sharded> Locate<T> for &crate::query::Parent<T> {
    const SEAL: Seal = Seal;

    fn locate(self) -> Located<T> {
        Located { id: self.id().clone(), pin: Some(Pin::Row(self.shard().clone())) }
    }
}
