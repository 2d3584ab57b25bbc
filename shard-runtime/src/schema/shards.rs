//! The named shards of a cluster, in their declared order, and sets of them. Pure: nothing here connects.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use once_cell::sync::OnceCell;

use crate::error::{Error, ErrorKind, Result};

/// A handle on one shard: its name, and how many statements it was asked. A clone is free.
#[derive(Clone)]
pub struct Shard(Arc<Inner>);

struct Inner {
    name: String,
    index: usize,
    /// The id of the cluster whose shard this is, once it is opened.
    cluster: Arc<OnceCell<String>>,
    statements: AtomicU64,
}

impl Shard {
    /// The shard's name, as the cluster was given it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The shard's place in the cluster's order, from 0.
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// How many statements this shard was asked since the cluster was opened, by all sessions. A batch of
    /// rows for one table is one statement; beginning and ending transactions is not counted.
    pub fn statements(&self) -> u64 {
        self.0.statements.load(Ordering::Relaxed)
    }

    /// Whether both are shards of one cluster.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        match (self.0.cluster.get(), other.0.cluster.get()) {
            (Some(a), Some(b)) => a == b,
            _ => Arc::ptr_eq(&self.0.cluster, &other.0.cluster),
        }
    }

    pub(crate) fn count_statement(&self) {
        self.0.statements.fetch_add(1, Ordering::Relaxed);
    }
}

/// Two handles are equal if they name the same shard of the same cluster.
impl PartialEq for Shard {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.name == other.0.name && self.is_beside(other))
    }
}

impl Eq for Shard {}

impl Hash for Shard {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Not the cluster: its id is set when the cluster is opened, while handles exist.
        self.0.name.hash(state);
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shard").field(&self.0.name).finish()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

/// The shards of a cluster, in their declared order. What the choosers choose from.
///
/// A cluster makes it; to ask the choosers without a cluster, make one from names:
///
/// ```
/// use shard_runtime::Shards;
///
/// let shards = Shards::named(["asia", "europe"])?;
/// assert_eq!(shards.require("europe")?.index(), 1);
/// assert!(Shards::named(["asia", "asia"]).is_err());
/// # Ok::<(), shard_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Shards {
    list: Arc<[Shard]>,
    by_name: Arc<HashMap<String, usize>>,
}

impl Shards {
    /// Shards with these names, in this order.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where there is no name, an empty one, or one is given twice.
    pub fn named<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Result<Self> {
        let mut list = Vec::new();
        let mut by_name = HashMap::new();
        let cluster = Arc::new(OnceCell::new());
        for (index, name) in names.into_iter().enumerate() {
            let name = name.into();
            if name.is_empty() || name.contains('\0') {
                return Err(Error::new(
                    ErrorKind::Configuration,
                    format!("`{}` is no name for a shard", name.escape_debug()),
                ));
            }
            if by_name.insert(name.clone(), index).is_some() {
                return Err(Error::new(ErrorKind::Configuration, "the shard is named twice").on_shard(&name));
            }
            let (cluster, statements) = (Arc::clone(&cluster), AtomicU64::new(0));
            list.push(Shard(Arc::new(Inner { name, index, cluster, statements })));
        }
        match list.is_empty() {
            true => Err(Error::new(ErrorKind::Configuration, "a cluster has at least one shard")),
            false => Ok(Shards { list: list.into(), by_name: Arc::new(by_name) }),
        }
    }

    /// The shard with this name, or `None`.
    pub fn get(&self, name: &str) -> Option<&Shard> {
        self.by_name.get(name).and_then(|&index| self.list.get(index))
    }

    /// The shard with this name.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownShard`] where there is none; the message lists the names there are.
    pub fn require(&self, name: &str) -> Result<&Shard> {
        self.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.iter().map(Shard::name).collect();
            Error::new(
                ErrorKind::UnknownShard,
                format!("the cluster has no such shard; it has {}", known.join(", ")),
            )
            .on_shard(name)
        })
    }

    /// The place here of the shard that a row or a link is of.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownShard`] where it is another cluster's.
    pub(crate) fn place_of(&self, shard: &Shard) -> Result<usize> {
        match self.get(shard.name()) {
            Some(own) if own == shard => Ok(own.index()),
            _ => Err(Error::new(
                ErrorKind::UnknownShard,
                "the row or link is of a shard of another cluster, and says nothing about this one's",
            )
            .on_shard(shard.name())),
        }
    }

    /// Says which cluster these are the shards of.
    pub(crate) fn belong_to(&self, cluster: &str) {
        if let Some(shard) = self.list.first() {
            let _ = shard.0.cluster.set(cluster.to_owned());
        }
    }

    /// The shard at this place in the declared order, or `None`.
    pub fn by_index(&self, index: usize) -> Option<&Shard> {
        self.list.get(index)
    }

    /// The shards in their declared order.
    pub fn iter(&self) -> std::slice::Iter<'_, Shard> {
        self.list.iter()
    }

    /// How many shards there are; at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.list.len()
    }
}

impl<'a> IntoIterator for &'a Shards {
    type Item = &'a Shard;
    type IntoIter = std::slice::Iter<'a, Shard>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A set of shards, by their places in the cluster's order, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShardSet(Vec<usize>);

impl ShardSet {
    /// Every shard.
    pub fn all(shards: &Shards) -> Self {
        ShardSet((0..shards.len()).collect())
    }

    /// One shard.
    pub fn one(index: usize) -> Self {
        ShardSet(vec![index])
    }

    /// No shard.
    pub fn none() -> Self {
        ShardSet::default()
    }

    /// The places, ascending, each once.
    pub fn indexes(&self) -> &[usize] {
        &self.0
    }

    /// Whether the shard at this place is in the set.
    pub fn contains(&self, index: usize) -> bool {
        self.0.binary_search(&index).is_ok()
    }

    /// How many shards there are in the set.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The shards' names, in the cluster's order.
    pub fn names<'s>(&self, shards: &'s Shards) -> Vec<&'s str> {
        self.0.iter().filter_map(|&index| shards.by_index(index)).map(Shard::name).collect()
    }

    pub(crate) fn insert(&mut self, index: usize) {
        if let Err(place) = self.0.binary_search(&index) {
            self.0.insert(place, index);
        }
    }
}

impl FromIterator<usize> for ShardSet {
    fn from_iter<I: IntoIterator<Item = usize>>(indexes: I) -> Self {
        let mut list: Vec<usize> = indexes.into_iter().collect();
        list.sort_unstable();
        list.dedup();
        ShardSet(list)
    }
}
