//! The transactions of a session's databases.

mod write_locks;

pub(crate) use write_locks::{Age, WriteLock, WriteLocks};
