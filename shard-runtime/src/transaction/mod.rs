//! The transactions of a session's databases, their common commit, and the state that sessions share. Uses `tasks`,
//! `driver`, `planner` and the layers below them.

mod begin;
mod call;
pub(crate) mod change;
pub(crate) mod commit;
mod control;
mod database;
pub(crate) mod facts;
mod gate;
pub(crate) mod ids;
mod pinned;
pub(crate) mod recorded;
mod retry_policy;
mod scatter;
mod schema_version;
pub(crate) mod schemas;
mod server_waits;
mod state;
mod statements;
mod transactions;
mod write_locks;
mod writers;

pub(crate) use call::{bounded, in_verb_span};
pub(crate) use control::{CLUSTER, Control};
pub(crate) use database::{DatabaseTransaction, Waits};
pub(crate) use gate::Gate;
pub use retry_policy::RetryPolicy;
pub(crate) use scatter::{Lease, scatter};
pub(crate) use schema_version::KnownVersion;
pub(crate) use server_waits::{ServerWaits, ServerWriter};
pub use state::Cluster;
pub(crate) use state::{ClusterState, Database, Reopen, Retired};
pub(crate) use statements::locate;
pub(crate) use transactions::{HasTransactions, Transactions};
pub(crate) use write_locks::{Age, WriteLock, WriteLocks};
pub(crate) use writers::{Writers, Written};
