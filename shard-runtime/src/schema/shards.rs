//! The shards of a cluster in their order, and sets of them. Uses `error`; no I/O.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use once_cell::sync::OnceCell;
use smallvec::{SmallVec, smallvec};

use super::{Rule, Table};
use crate::error::{Error, ErrorKind, Result};

/// A handle on one shard, with the number of its statements. Cloning copies a pointer.
#[derive(Clone)]
pub struct Shard(Arc<Inner>);

struct Inner {
    name: String,
    index: usize,
    place: usize,
    role: ShardRole,
    /// The epoch of the layout that it was read from.
    epoch: u64,
    /// The id of the cluster whose shard this is, once it is opened.
    cluster: Arc<OnceCell<String>>,
    statements: AtomicU64,
    rows: AtomicU64,
}

impl Shard {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the index among the cluster's [`Shards`], from 0.
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// Returns the number that the cluster has recorded for the shard, from 0. No other shard of the cluster ever has it,
    /// also after this one is retired.
    pub fn place(&self) -> usize {
        self.0.place
    }

    /// Returns whether the shard holds keys, or is spare.
    pub fn role(&self) -> ShardRole {
        self.0.role
    }

    /// Returns the epoch of the layout that the shard was read from.
    pub(crate) fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// Returns the number of statements that all sessions have run on this shard since the cluster was opened. A
    /// batch of rows of one table is one statement; statements that begin or end transactions do not count.
    pub fn statements(&self) -> u64 {
        self.0.statements.load(Ordering::Relaxed)
    }

    /// Returns whether both shards belong to one cluster.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        match (self.0.cluster.get(), other.0.cluster.get()) {
            (Some(a), Some(b)) => a == b,
            _ => Arc::ptr_eq(&self.0.cluster, &other.0.cluster),
        }
    }

    pub(crate) fn count_statement(&self) {
        self.0.statements.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of rows that the statements have read, inserted, changed or removed.
    pub(crate) fn rows(&self) -> u64 {
        self.0.rows.load(Ordering::Relaxed)
    }

    pub(crate) fn count_rows(&self, rows: u64) {
        if rows > 0 {
            self.0.rows.fetch_add(rows, Ordering::Relaxed);
        }
    }
}

/// The role of a shard in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ShardRole {
    /// It holds the keys that the recorded layout gives it, and each reference table.
    Serving,
    /// It was added and holds no key: no query reads it, unless one is pinned to it.
    Spare,
    /// A change of the layout has moved its keys to other shards.
    Retired,
}

impl ShardRole {
    /// Returns the word: `serving`, `spare` or `retired`.
    pub fn name(self) -> &'static str {
        match self {
            ShardRole::Serving => "serving",
            ShardRole::Spare => "spare",
            ShardRole::Retired => "retired",
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for ShardRole {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl fmt::Display for ShardRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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

/// The shards of a cluster, in the order in which they were declared or added. The choosers choose from them.
///
/// A cluster has its own. To call the choosers without a cluster, create one from names:
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
    /// The recorded rules that differ from the declared ones, by table.
    rules: Arc<HashMap<&'static str, Rule>>,
    epoch: u64,
    /// For each retired shard, the shards that have its rows now.
    successors: Arc<HashMap<String, Vec<usize>>>,
}

impl Shards {
    /// Returns shards with these names, in this order.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if there is no name, an empty one, or a duplicate.
    pub fn named<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Result<Self> {
        let serving = |(place, name): (usize, N)| (name.into(), place, ShardRole::Serving);
        Self::recorded(names.into_iter().enumerate().map(serving), 1)
    }

    /// Returns shards with these names, places and roles, in this order.
    pub(crate) fn recorded(
        shards: impl IntoIterator<Item = (String, usize, ShardRole)>,
        epoch: u64,
    ) -> Result<Self> {
        let mut list = Vec::new();
        let mut by_name = HashMap::new();
        let cluster = Arc::new(OnceCell::new());
        for (index, (name, place, role)) in shards.into_iter().enumerate() {
            if name.is_empty() || name.contains('\0') {
                return Err(Error::new(
                    ErrorKind::Configuration,
                    format!("shard name `{}` must not be empty or contain NUL", name.escape_debug()),
                ));
            }
            if by_name.insert(name.clone(), index).is_some() {
                return Err(Error::new(
                    ErrorKind::Configuration,
                    "duplicate shard name; give each shard a name of its own",
                )
                .on_shard(&name));
            }
            let cluster = Arc::clone(&cluster);
            let (statements, rows) = (AtomicU64::new(0), AtomicU64::new(0));
            list.push(Shard(Arc::new(Inner { name, index, place, role, epoch, cluster, statements, rows })));
        }
        match list.is_empty() {
            true => {
                Err(Error::new(ErrorKind::Configuration, "a cluster needs at least one shard; declare one"))
            }
            false => {
                let (list, by_name) = (list.into(), Arc::new(by_name));
                Ok(Shards { list, by_name, rules: Arc::default(), epoch, successors: Arc::default() })
            }
        }
    }

    /// Returns the shard with this name, or `None`.
    pub fn get(&self, name: &str) -> Option<&Shard> {
        self.by_name.get(name).and_then(|&index| self.list.get(index))
    }

    /// Returns the shard with this name.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownShard`] if there is none; the message lists the configured names.
    pub fn require(&self, name: &str) -> Result<&Shard> {
        self.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.iter().map(Shard::name).collect();
            Error::new(
                ErrorKind::UnknownShard,
                format!("unknown shard; configured shards: {}", known.join(", ")),
            )
            .on_shard(name)
        })
    }

    /// Returns the index of the shard of a row or a link.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownShard`] if it belongs to another cluster, [`ErrorKind::Stale`] if a change has retired it.
    pub(crate) fn index_of(&self, shard: &Shard) -> Result<usize> {
        if self.list.get(shard.index()).is_some_and(|own| Arc::ptr_eq(&own.0, &shard.0)) {
            return Ok(shard.index());
        }
        match self.get(shard.name()) {
            Some(own) if own == shard => Ok(own.index()),
            None if self.list.first().is_some_and(|own| own.is_beside(shard)) => Err(Error::new(
                ErrorKind::Stale,
                "the layout was changed since the row was read, and its shard holds no rows now; read the row again",
            )
            .on_shard(shard.name())),
            _ => Err(Error::new(
                ErrorKind::UnknownShard,
                "the row or the link to it belongs to another cluster",
            )
            .on_shard(shard.name())),
        }
    }

    /// Records the cluster of these shards.
    pub(crate) fn belong_to(&self, cluster: &str) {
        if let Some(shard) = self.list.first() {
            let _ = shard.0.cluster.set(cluster.to_owned());
        }
    }

    /// Returns these shards with recorded rules.
    pub(crate) fn with_rules(self, rules: HashMap<&'static str, Rule>) -> Self {
        Shards { rules: Arc::new(rules), ..self }
    }

    /// Returns these shards with the successors of retired ones. `retired` has each retired name with the names of its
    /// targets, in the order of the changes.
    pub(crate) fn with_retired(self, retired: &[(&str, &[String])]) -> Self {
        let mut successors: HashMap<String, Vec<usize>> = HashMap::new();
        // A target of an earlier change may be a source of a later one.
        for (name, targets) in retired.iter().rev() {
            let mut now: Vec<usize> = Vec::new();
            for target in *targets {
                match self.get(target) {
                    Some(shard) if !successors.contains_key(target) => now.push(shard.index()),
                    _ => now.extend(successors.get(target).into_iter().flatten()),
                }
            }
            now.sort_unstable();
            now.dedup();
            successors.entry((*name).to_owned()).or_insert(now);
        }
        Shards { successors: Arc::new(successors), ..self }
    }

    /// Returns the indexes of the shards that can have the rows of a shard with this name. It is that shard, or after a
    /// change the shards that have its rows.
    pub(crate) fn now_on(&self, name: &str) -> Vec<usize> {
        match self.get(name) {
            Some(shard) => vec![shard.index()],
            None => self.successors.get(name).cloned().unwrap_or_default(),
        }
    }

    /// Returns the names of retired shards whose rows a shard can have now.
    pub(crate) fn retired_into(&self, shard: usize) -> impl Iterator<Item = &str> {
        let into = self.successors.iter().filter(move |(_, now)| now.contains(&shard));
        into.map(|(name, _)| name.as_str())
    }

    /// Returns the recorded rule of a table, if it differs from the declared one.
    pub(crate) fn rule(&self, table: &Table) -> Option<&Rule> {
        if self.rules.is_empty() { None } else { self.rules.get(table.name) }
    }

    /// Returns the epoch of the recorded layout: 1, and one more for each change of it.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the shards that hold keys, in their order: all but the spare ones.
    pub(crate) fn serving(&self) -> impl Iterator<Item = &Shard> {
        self.iter().filter(|shard| shard.role() == ShardRole::Serving)
    }

    /// Returns the shard with this place; see [`Shard::place`].
    ///
    /// # Errors
    /// [`ErrorKind::UnknownShard`] if it is not among these.
    pub(crate) fn at_place(&self, place: usize) -> Result<&Shard> {
        self.iter().find(|shard| shard.place() == place).ok_or_else(|| {
            let message = format!("no shard with place {place} is configured; add it");
            Error::new(ErrorKind::UnknownShard, message)
        })
    }

    /// Returns the shard with this index, or `None`.
    pub fn by_index(&self, index: usize) -> Option<&Shard> {
        self.list.get(index)
    }

    /// Returns the shards in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Shard> {
        self.list.iter()
    }

    /// Returns the number of shards, which is at least one.
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

/// A set of shards, as ascending indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShardSet(SmallVec<[usize; 2]>);

impl ShardSet {
    /// Returns all shards that hold keys.
    pub fn all(shards: &Shards) -> Self {
        ShardSet(shards.serving().map(Shard::index).collect())
    }

    /// Returns the set of one shard.
    pub fn one(index: usize) -> Self {
        ShardSet(smallvec![index])
    }

    /// Returns the empty set.
    pub fn none() -> Self {
        ShardSet::default()
    }

    /// Returns the indexes, ascending and without duplicates.
    pub fn indexes(&self) -> &[usize] {
        &self.0
    }

    /// Returns whether the set contains this index.
    pub fn contains(&self, index: usize) -> bool {
        self.0.binary_search(&index).is_ok()
    }

    /// Returns the number of shards in the set.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the names, in the cluster's order.
    pub fn names<'s>(&self, shards: &'s Shards) -> Vec<&'s str> {
        self.0.iter().filter_map(|&index| shards.by_index(index)).map(Shard::name).collect()
    }

    pub(crate) fn insert(&mut self, index: usize) {
        if let Err(position) = self.0.binary_search(&index) {
            self.0.insert(position, index);
        }
    }
}

impl FromIterator<usize> for ShardSet {
    fn from_iter<I: IntoIterator<Item = usize>>(indexes: I) -> Self {
        let mut list: SmallVec<[usize; 2]> = indexes.into_iter().collect();
        list.sort_unstable();
        list.dedup();
        ShardSet(list)
    }
}
