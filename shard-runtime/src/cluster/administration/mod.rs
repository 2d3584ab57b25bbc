//! A cluster's state as plain values, for operators and services: health, status, counters, the shard of a key. Uses the pool,
//! the layout and the decision log; changes nothing.
//!
//! The values name shards and tables, no keys or values of rows.

#[cfg(feature = "admin")]
mod doctor;
mod health;
mod locate;
#[cfg(feature = "admin")]
mod restore;
pub(super) mod serialized;
mod stats;
mod status;
pub(super) mod text;
#[cfg(feature = "admin")]
mod unopened;

#[cfg(feature = "admin")]
pub(crate) use doctor::{CheckState, Finding};
pub use health::{Health, Probe};
#[cfg(feature = "admin")]
pub(crate) use restore::check_copies;
pub(super) use serialized::serialized;
pub use stats::{ConnectionStats, ErrorCount, LockStats, ShardStats, Stats, TransactionStats};
pub use status::{KeyLine, PendingTransaction, ShardStatus, Status, TableRows, TransactionState};
#[cfg(feature = "admin")]
pub(crate) use text::{table, with_causes};
#[cfg(feature = "admin")]
pub(crate) use unopened::ShardLocation;
