//! Hand-written SQL as a value: the text, its parameters, and the shards that it runs on.

use std::marker::PhantomData;
use std::sync::Arc;

use super::request::{BulkWrite, Read, Request, WriteRequest};
use super::select::{Pin, Query};
use super::write::Write;
use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::query::Sharded;
use crate::row::Row;
use crate::row::Storable;
use crate::schema::Shard;
use crate::schema::Table;
use crate::schema::{IsRouted, Routed, Unrouted};
use crate::sealed::Sealed;
use crate::value::Value;

/// One hand-written SQL statement, for operations that the typed queries cannot express.
///
/// [`Session::all`](crate::Session::all), `first` and `one` read with it, and [`Session::execute`](crate::Session::execute)
/// writes with it. It runs inside the session's own transactions.
///
/// `{table}` stands for a model's table on each shard. Write the table's name without a shard's prefix; it is replaced by the
/// quoted name with the prefix. Braces in string literals and comments are kept. Elsewhere, write a brace twice: `{{`, `}}`.
/// Values are bound, never written into the text.
///
/// The SQL is not parsed to find its shards. Name them with `on_shard`, `on` or `all_shards`; otherwise it does not compile. With
/// several shards, each shard runs the whole statement, and the rows follow in the cluster's order of shards. `ORDER BY`, `LIMIT`
/// and `count(*)` apply to one shard at a time. To run SQL over all data at once, use
/// [`sqlite::attached`](crate::sqlite::attached).
///
/// A write over several shards on servers locks out [`relocate`](crate::Session::relocate), but only for the tables that it
/// names in braces. Therefore name every table in braces. Otherwise a row can miss the write: a concurrent `relocate` moves it
/// from a shard that the statement has not reached to one that it has passed. Reads of several shards never lock out `relocate`.
///
/// The session first flushes the pending changes of all tables on these shards. A write clears the session's identity map. A
/// write that fails has no effect on any shard.
///
/// ```
/// # use shard_runtime::{Cluster, Sharded, Sql};
/// #[derive(Sharded, Clone, Debug)]
/// #[sharded(table = "cities")]
/// struct City {
///     #[id]
///     id: i64,
///     #[shard_key(list("Asia" => "asia", "Europe" => "europe"))]
///     continent: String,
///     name: String,
///     population: i64,
/// }
/// # fn main() -> shard_runtime::Result<()> {
/// let cluster = Cluster::in_memory::<City>(["asia", "europe"])?;
/// let mut session = cluster.session();
/// session.add(City { id: 1, continent: "Asia".into(), name: "Tokyo".into(), population: 37_000_000 })?;
/// session.add(City { id: 2, continent: "Europe".into(), name: "Bern".into(), population: 146_000 })?;
///
/// let big = Sql::new("SELECT name, population * 2 AS doubled FROM {cities} WHERE population > ?1");
/// let rows = session.all(big.bind(1_000_000).all_shards())?;
/// assert_eq!(rows[0].get::<String>("name")?, "Tokyo");
/// assert_eq!((rows[0].get::<i64>("doubled")?, rows[0].shard().name()), (74_000_000, "asia"));
///
/// let upper = Sql::new("UPDATE {cities} SET name = upper(name) WHERE id IN rarray(?1)");
/// assert_eq!(session.execute(upper.bind_list([1, 2]).on::<City>("Europe".to_owned()))?, 1);
/// session.commit()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When it is run, before its first statement:
///
/// * [`ErrorKind::UnknownModel`] if a table in braces belongs to no model
/// * [`ErrorKind::Value`] if a value cannot be stored
/// * [`ErrorKind::UnknownShard`] if a named shard does not exist, [`ErrorKind::ContradictingPins`] if two named shards differ
/// * [`ErrorKind::Query`] if the text is not one statement, or if the number of its parameters differs from that of the values
/// * [`ErrorKind::Query`] if a statement that writes is read, or a statement that reads is executed
/// * [`ErrorKind::Query`] if a write returns rows
/// * [`ErrorKind::Query`] for statements about the connection or the transaction: `BEGIN`, `COMMIT`, `PRAGMA`, `ATTACH`,
///   `VACUUM`, `SET` without `LOCAL`, `PREPARE`, `LISTEN`, `CREATE TEMPORARY TABLE` and similar ones
///
/// For the last group, and for triggers, which contain statements, use
/// [`sqlite::with_connection`](crate::sqlite::with_connection). On PostgreSQL, a setting that a function makes for longer than
/// the transaction is undone when the transaction ends.
#[derive(Debug)]
#[must_use = "SQL does nothing until a session runs it"]
pub struct Sql<R = Unrouted> {
    pub(crate) core: SqlCore,
    marker: PhantomData<fn() -> R>,
}

impl<R> Clone for Sql<R> {
    fn clone(&self) -> Self {
        Sql::with(self.core.clone())
    }
}

/// SQL without its marker.
#[derive(Clone, Debug)]
pub(crate) struct SqlCore {
    pub(crate) text: String,
    pub(crate) params: Vec<Bound>,
    pub(crate) pins: Vec<SqlPin>,
    /// The greatest number of rows to read.
    pub(crate) limit: Option<u64>,
}

/// A parameter as the caller gave it.
#[derive(Clone, Debug)]
pub(crate) enum Bound {
    Value(Result<Value<'static>, ValueError>),
    List(Result<Vec<Value<'static>>, ValueError>),
}

/// The value of a parameter. Its name is private to this crate, so only this crate implements [`IntoParameter`].
#[derive(Debug)]
pub struct Parameter(Result<Value<'static>, ValueError>);

/// The shard on which SQL has to run; a key is one of a model's.
#[derive(Clone, Debug)]
pub(crate) enum SqlPin {
    Shard(String),
    Key(&'static Table, Pin),
}

impl Sql<Unrouted> {
    /// Returns the statement. It is checked only when it runs.
    pub fn new(text: impl Into<String>) -> Self {
        Sql::with(SqlCore { text: text.into(), params: Vec::new(), pins: Vec::new(), limit: None })
    }
}

impl<R> Sql<R> {
    fn with(core: SqlCore) -> Self {
        Sql { core, marker: PhantomData }
    }

    /// Binds the value of the next parameter: the first is `?1`, the second `?2`, on every database.
    pub fn bind(mut self, value: impl IntoParameter) -> Self {
        self.core.params.push(Bound::Value(value.into_parameter().0));
        self
    }

    /// Binds a list of values as the next parameter: for `IN rarray(?1)` on SQLite, for `= ANY (?1)` on PostgreSQL.
    pub fn bind_list(mut self, values: impl IntoIterator<Item = impl IntoParameter>) -> Self {
        self.core
            .params
            .push(Bound::List(values.into_iter().map(|value| value.into_parameter().0).collect()));
        self
    }

    /// Runs the statement on the shard of a key of the model `T`.
    pub fn on<T: Sharded>(mut self, key: impl Into<T::Key>) -> Sql<Routed> {
        self.core.pins.push(SqlPin::Key(T::TABLE, Pin::key(&key.into())));
        Sql::with(self.core)
    }

    /// Runs the statement on the shard of this name.
    pub fn on_shard(mut self, name: impl Into<String>) -> Sql<Routed> {
        self.core.pins.push(SqlPin::Shard(name.into()));
        Sql::with(self.core)
    }

    /// Runs the statement on every shard. The results are not merged.
    pub fn all_shards(self) -> Sql<Routed> {
        Sql::with(self.core)
    }
}

impl<R> Sealed for Sql<R> {}

impl<R: IsRouted> Query for Sql<R> {
    type Output = SqlRow;

    fn at_most(&mut self, rows: u64) {
        self.core.limit = Some(rows);
    }

    fn request(&self) -> Result<Request<'_>> {
        Ok(Request(Read::Sql(&self.core)))
    }

    fn decoder(&self) -> impl FnMut(&Row<'_>) -> Result<SqlRow> {
        let mut known: Option<(usize, Arc<[String]>)> = None;
        move |row| {
            let shard = row.shard.index();
            let columns = match &known {
                Some((of, columns)) if *of == shard => Arc::clone(columns),
                _ => Arc::clone(&known.insert((shard, row.source.column_names().into())).1),
            };
            let value = |index| row.source.value(index).map(Value::into_owned);
            let values = (0..columns.len()).map(value).collect();
            Ok(SqlRow { shard: row.shard.clone(), columns, values })
        }
    }
}

impl<R: IsRouted> Write for Sql<R> {
    type Output = u64;
    type Returned = ();

    fn request(&self) -> WriteRequest<'_> {
        WriteRequest(BulkWrite::Sql(&self.core))
    }

    fn output(rows: u64, (): ()) -> u64 {
        rows
    }
}

/// A value that [`Sql::bind`] takes: any value of a column, an `Option` of it, or `&str`.
///
/// This trait is sealed: only values that a column can store are bound.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be bound to a statement",
    label = "not a column's value",
    note = "a parameter is what a column stores, or an `Option` of it: an integer, a float, `bool`, text, `Vec<u8>`, by feature a UUID, a timestamp, JSON, or a type with `#[derive(Field)]`",
    note = "bind many values to one parameter with `.bind_list(..)`"
)]
pub trait IntoParameter {
    #[doc(hidden)]
    fn into_parameter(self) -> Parameter;
}

#[diagnostic::do_not_recommend]
impl<V: Storable> IntoParameter for V {
    fn into_parameter(self) -> Parameter {
        Parameter(self.column_value().map(Value::into_owned))
    }
}

impl IntoParameter for &str {
    fn into_parameter(self) -> Parameter {
        Parameter(crate::value::text_value(self).map(Value::into_owned))
    }
}

/// A row that [`Sql`] returned: its values by the names of its columns, and its shard.
#[derive(Clone, Debug)]
pub struct SqlRow {
    pub(crate) shard: Shard,
    pub(crate) columns: Arc<[String]>,
    pub(crate) values: Vec<Result<Value<'static>, ValueError>>,
}

impl SqlRow {
    /// Returns the shard that the row was read from.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Returns the names of the columns, in their order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(String::as_str)
    }

    /// Returns the value of the column of this name, as any type that a column stores, including a
    /// [`Parent`](crate::Parent). Use an `Option` if the value may be NULL.
    ///
    /// # Errors
    /// * [`ErrorKind::Query`] if no column has this name, or several have it
    /// * [`ErrorKind::Value`] if the value is not one of this type, or is NULL
    ///
    /// The errors name the shard and the column.
    pub fn get<V: Storable>(&self, column: &str) -> Result<V> {
        let at = |error: Error| error.on_shard(self.shard.name()).at_column(column);
        let mut named = self.columns.iter().zip(&self.values).filter(|(name, _)| *name == column);
        let value = match (named.next(), named.next()) {
            (Some((_, value)), None) => value,
            (None, _) => {
                let message =
                    format!("the result has no such column; its columns: {}", self.columns.join(", "));
                return Err(at(Error::new(ErrorKind::Query, message)));
            }
            (Some(_), Some(_)) => {
                let message = "several columns of the result have this name; rename them with `AS`";
                return Err(at(Error::new(ErrorKind::Query, message)));
            }
        };
        let value = value.as_ref().map_err(Clone::clone).map(Value::borrowed);
        value.and_then(|value| V::stored(value, &self.shard)).map_err(|error| at(error.into()))
    }
}
