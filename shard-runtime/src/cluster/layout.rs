//! The recorded shards of a cluster and its epoch, for users and for administration.

use std::fmt;

use crate::schema::ShardRole;
use crate::transaction::Cluster;

/// A shard that the cluster has recorded, as [`Cluster::recorded_shards`] returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardRecord {
    /// The name.
    pub name: String,
    /// The number of the shard, from 0; no other shard of the cluster ever has it.
    pub place: usize,
    /// Whether it holds keys.
    pub role: ShardRole,
    /// Whether the program has configured it.
    pub is_configured: bool,
    /// The reason why a spare shard could not be opened. The cluster can be opened without it.
    pub problem: Option<String>,
}

#[cfg(feature = "serde")]
impl serde::Serialize for ShardRecord {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;

        let mut shard = serializer.serialize_struct("ShardRecord", 5)?;
        shard.serialize_field("name", &self.name)?;
        shard.serialize_field("place", &self.place)?;
        shard.serialize_field("role", &self.role)?;
        shard.serialize_field("is_configured", &self.is_configured)?;
        shard.serialize_field("problem", &self.problem)?;
        shard.end()
    }
}

impl fmt::Display for ShardRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (place {}): {}", self.name, self.place, self.role)?;
        if !self.is_configured {
            f.write_str(", not configured")?;
        }
        match &self.problem {
            Some(problem) => write!(f, ", {problem}"),
            None => Ok(()),
        }
    }
}

impl Cluster {
    /// Returns the epoch of the recorded layout that this handle uses: 1, plus one for each change that has moved keys to other
    /// shards.
    pub fn epoch(&self) -> u64 {
        let cluster = self.latest();
        cluster.shards().epoch()
    }

    /// Returns all shards that the cluster has recorded, including those that are not configured or retired, in the order of
    /// their places.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded, ShardRole};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// let shards = cluster.recorded_shards();
    /// assert_eq!((shards[1].name.as_str(), shards[1].place, shards[1].role), ("b", 1, ShardRole::Serving));
    /// assert_eq!(shards[1].to_string(), "b (place 1): serving");
    /// # Ok(())
    /// # }
    /// ```
    pub fn recorded_shards(&self) -> Vec<ShardRecord> {
        let cluster = self.latest();
        let recorded = cluster.0.recorded.shards().iter().map(|shard| ShardRecord {
            name: shard.name.clone(),
            place: shard.place,
            role: shard.role,
            is_configured: cluster.shards().get(&shard.name).is_some(),
            problem: cluster
                .0
                .absent
                .iter()
                .find(|(name, _)| *name == shard.name)
                .map(|(_, why)| why.clone()),
        });
        let mut shards: Vec<ShardRecord> = recorded.collect();
        if shards.is_empty() {
            // The layout of an older release, which is recorded in the shards.
            shards.extend(cluster.shards().iter().map(|shard| ShardRecord {
                name: shard.name().to_owned(),
                place: shard.place(),
                role: shard.role(),
                is_configured: true,
                problem: None,
            }));
        }
        shards
    }
}
