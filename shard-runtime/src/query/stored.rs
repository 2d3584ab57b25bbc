//! The handles that a session returns: [`Stored`] rows, with their shard and their changes, and [`Parent`] links to them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::{Result, ValueError};
use crate::query::Select;
use crate::query::{ChildOf, Identified, Sharded};
use crate::row::Storable;
use crate::row::{LoadedModel, Row};
use crate::schema::Routed;
use crate::schema::Shard;
use crate::sealed::Seal;
use crate::value::{ColumnType, Field, Value};

/// A row that is stored, or pending in its session, with its shard. It derefs to the struct.
///
/// A clone shares the row. A write through the handle copies the row first, so that
/// [`Session::update`](crate::Session::update) sends only the columns that differ.
pub struct Stored<T: Sharded> {
    row: Arc<T>,
    /// The row as it was last read or written, if it was changed since.
    original: Option<Arc<T>>,
    /// The row before each write whose outcome is open, the oldest first. If the write is undone, the database has this row
    /// again. There are several if savepoints are nested.
    before: Vec<(Arc<T>, WriteOutcome)>,
    shard: Shard,
}

/// The outcome of a transaction or a savepoint on one database: open, stored, or undone. The rows that it has written share
/// it.
#[derive(Clone, Default)]
pub(crate) struct WriteOutcome(Arc<AtomicU8>);

impl WriteOutcome {
    const KEPT: u8 = 1;
    const UNDONE: u8 = 2;

    /// Records that the writes are committed.
    pub(crate) fn commit(&self) {
        self.0.store(Self::KEPT, Ordering::Release);
    }

    /// Records that the writes are undone.
    pub(crate) fn roll_back(&self) {
        self.0.store(Self::UNDONE, Ordering::Release);
    }

    fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    pub(crate) fn is_undone(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::UNDONE
    }

    /// Returns whether both are the same outcome.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns whether no row refers to it.
    pub(crate) fn is_unknown(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl<T: Sharded> Stored<T> {
    pub(crate) fn new(row: Arc<T>, shard: Shard) -> Self {
        Stored { row, original: None, before: Vec::new(), shard }
    }

    /// Returns the handle of a row that a shard has returned. A worker may have decoded it already.
    pub(crate) fn loaded(row: &Row<'_>) -> Result<Self> {
        let model = row.source.model().and_then(|model| model.downcast::<T>().ok());
        let model = model.map_or_else(|| T::load(row).map(Arc::new), Ok)?;
        Ok(Stored::new(model, row.shard.clone()))
    }

    /// Decodes a row, possibly on another thread than that of its session.
    pub(crate) fn load_model(row: &Row<'_>) -> Result<LoadedModel> {
        Ok(Arc::new(T::load(row)?))
    }

    /// Returns the shard that holds the row. A row of a reference table is on every shard: returns the one that it was
    /// read from, or the first if it was added.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Returns the link to this row that its children hold.
    pub fn link(&self) -> Parent<T> {
        Parent { id: self.row.id().clone(), shard: self.shard.clone() }
    }

    /// Returns a query, on this row's shard, for the rows of `C` whose parent is this row.
    pub fn children<C: ChildOf<T>>(&self) -> Select<C, Routed> {
        Select::children_of(self)
    }

    pub(crate) fn row(&self) -> &Arc<T> {
        &self.row
    }

    /// Returns the row if no other handle shares it.
    pub(crate) fn alone(&mut self) -> Option<&mut T> {
        Arc::get_mut(&mut self.row)
    }

    /// Returns the row, so that values can be replaced by those of the database.
    pub(crate) fn correct(&mut self) -> &mut T
    where
        T: Clone,
    {
        Arc::make_mut(&mut self.row)
    }

    /// Returns the row as the database has it, if it may differ from this one.
    pub(crate) fn recorded(&self) -> Option<&Arc<T>> {
        let undone = self.before.iter().find(|(_, outcome)| outcome.is_undone());
        undone.map(|(row, _)| row).or(self.original.as_ref())
    }

    /// Records that the database has the values of this row: this transaction has written them, or they were read.
    pub(crate) fn settle(&mut self, written_by: Option<&WriteOutcome>) {
        let recorded = self.recorded().cloned();
        let undone = self.before.iter().position(|(_, outcome)| outcome.is_undone());
        self.before.truncate(undone.unwrap_or(self.before.len()));
        self.before.retain(|(_, outcome)| outcome.is_open());
        if let (Some(recorded), Some(writer)) = (recorded, written_by)
            && self.before.last().is_none_or(|(_, outcome)| !Arc::ptr_eq(&outcome.0, &writer.0))
        {
            self.before.push((recorded, writer.clone()));
        }
        self.original = None;
    }
}

impl<T: Sharded> Deref for Stored<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.row
    }
}

impl<T: Sharded + Clone> DerefMut for Stored<T> {
    fn deref_mut(&mut self) -> &mut T {
        if self.original.is_none() {
            self.original = Some(Arc::clone(&self.row));
        }
        Arc::make_mut(&mut self.row)
    }
}

impl<T: Sharded> Clone for Stored<T> {
    fn clone(&self) -> Self {
        Stored {
            row: Arc::clone(&self.row),
            original: self.original.clone(),
            before: self.before.clone(),
            shard: self.shard.clone(),
        }
    }
}

/// Handles are equal if they are of the same row of the same shard, with the same content. Rows of a reference table are
/// equal across the shards of a cluster.
impl<T: Sharded + PartialEq> PartialEq for Stored<T> {
    fn eq(&self, other: &Self) -> bool {
        let is_here = match T::TABLE.is_reference() {
            true => self.shard.is_beside(&other.shard),
            false => self.shard == other.shard,
        };
        is_here && self.row == other.row
    }
}

impl<T: Sharded + Eq> Eq for Stored<T> {}

impl<T: Sharded + Hash> Hash for Stored<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Not the shard: a row of a reference table is equal on different shards.
        self.row.hash(state);
    }
}

/// Serialises the row as the struct. [`Stored::link`] has its id and its shard.
#[cfg(feature = "serde")]
impl<T: Sharded + serde::Serialize> serde::Serialize for Stored<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.row.serialize(serializer)
    }
}

impl<T: Sharded + fmt::Debug> fmt::Debug for Stored<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("shard", &self.shard.name()).field("row", &self.row).finish()
    }
}

/// A link to a parent's row: its id and its shard. As a `#[shard_parent]` field it places the child on the parent's shard.
/// The table stores the parent's id.
pub struct Parent<P: Identified> {
    id: P::RowId,
    shard: Shard,
}

impl<P: Sharded> Parent<P> {
    /// Returns a link to the row with this id on this shard, without reading it.
    /// [`Shards::require`](crate::Shards::require) returns the shard of a name, or an error if the cluster has none.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Parent, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct City {
    /// #     #[id(sequence)]
    /// #     id: i64,
    /// #     #[shard_key(hash)]
    /// #     country: String,
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
    /// # let tokyo = session.add(NewCity { country: "Japan".into() })?;
    /// # let (id, shard) = (tokyo.id, tokyo.shard().name());
    /// // The id and the shard's name came from a client.
    /// let city = Parent::<City>::new(cluster.shards().require(shard)?, id);
    /// session.add(NewReport { city: city.clone() })?;
    /// assert_eq!(session.get(&city)?.map(|city| city.id), Some(id));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// If the row is not on this shard, adding a child fails with [`ErrorKind::ForeignKey`](crate::ErrorKind::ForeignKey)
    /// when the child is sent. A session of another cluster refuses the link with
    /// [`ErrorKind::UnknownShard`](crate::ErrorKind::UnknownShard).
    pub fn new(shard: &Shard, id: impl Into<P::Id>) -> Self {
        Parent { id: id.into(), shard: shard.clone() }
    }

    /// Returns the parent's id.
    pub fn id(&self) -> &P::Id {
        &self.id
    }
}

impl<P: Identified> Parent<P> {
    /// Returns the shard that holds the parent.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Returns the parent's id, also if the parent is not sharded because of its own parents.
    pub(crate) fn row_id(&self) -> &P::RowId {
        &self.id
    }
}

impl<P: Identified<RowId: Field>> Storable for Parent<P> {
    type Compare = Parent<P>;
    const TYPE: ColumnType = <P::RowId as Field>::TYPE;
    const IS_EXACT: bool = <P::RowId as Field>::IS_EXACT;
    const SEAL: Seal = Seal;

    fn column_value(&self) -> Result<Value<'_>, ValueError> {
        self.id.stored_value()
    }

    fn stored(value: Value<'_>, shard: &Shard) -> Result<Self, ValueError> {
        Ok(Parent { id: P::RowId::from_value(value)?, shard: shard.clone() })
    }
}

impl<P: Identified<RowId: Clone>> Clone for Parent<P> {
    fn clone(&self) -> Self {
        Parent { id: self.id.clone(), shard: self.shard.clone() }
    }
}

impl<P: Identified<RowId: PartialEq>> PartialEq for Parent<P> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.shard == other.shard
    }
}

impl<P: Identified<RowId: Eq>> Eq for Parent<P> {}

impl<P: Identified<RowId: Hash>> Hash for Parent<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
        self.shard.hash(state);
    }
}

/// Serialises a map with the fields `id` and `shard`, the shard's name. [`Parent::new`] makes a link of these again.
#[cfg(feature = "serde")]
impl<P: Identified<RowId: serde::Serialize>> serde::Serialize for Parent<P> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;

        let mut parent = serializer.serialize_struct("Parent", 2)?;
        parent.serialize_field("id", &self.id)?;
        parent.serialize_field("shard", self.shard.name())?;
        parent.end()
    }
}

impl<P: Identified<RowId: fmt::Debug>> fmt::Debug for Parent<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parent").field("id", &self.id).field("shard", &self.shard.name()).finish()
    }
}
