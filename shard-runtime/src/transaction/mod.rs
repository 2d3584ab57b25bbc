//! The transactions of a session's databases.

pub(crate) mod commit;
mod write_locks;

pub(crate) use write_locks::{Age, WriteLock, WriteLocks};
