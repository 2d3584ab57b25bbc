//! The names of the tables that the runtime keeps beside the models'.

/// The identity of the shard: its name, its cluster, and the writer's version.
pub(crate) const SHARD: &str = "sharded_shard";
/// The recorded layout of the cluster.
pub(crate) const LAYOUT: &str = "sharded_layout";
/// The facts about the cluster that the control database keeps, and each shard's copy of them.
pub(crate) const STATE: &str = "sharded_state";
/// The decision log on servers: one row for each global transaction that is decided.
pub(crate) const DECISIONS: &str = "sharded_unit";
/// The number of times that the decision log was collected.
pub(crate) const COLLECTED: &str = "sharded_collected";
/// The identity of the cluster, in the control database.
pub(crate) const CLUSTER: &str = "sharded_cluster";
/// The reserved blocks of generated ids, in the control database.
pub(crate) const SEQUENCE: &str = "sharded_sequence";
/// The ids that were skipped and can still be given, in the control database.
pub(crate) const SKIPPED_IDS: &str = "sharded_skipped_ids";

/// The steps of migrations that a shard has run.
pub(crate) const MIGRATION: &str = "sharded_migration";

/// The beginning of the names of tables that exist while a migration changes rows. They hold the ids of rows that have
/// arrived since.
pub(crate) const ARRIVED: &str = "sharded_arrived";

/// The tables of each shard.
pub(crate) const ON_SHARDS: [&str; 4] = [SHARD, LAYOUT, STATE, MIGRATION];

/// The further tables of a shard on a server, which may hold the control database.
pub(crate) const ON_SERVERS: [&str; 5] = [DECISIONS, COLLECTED, CLUSTER, SEQUENCE, SKIPPED_IDS];
