//! The names that most programs need: `use shard_runtime::prelude::*;`.
//!
//! ```
//! use shard_runtime::prelude::*;
//!
//! #[derive(Sharded, Clone, Debug)]
//! struct Account {
//!     #[id(sequence)]
//!     id: i64,
//!     #[shard_key(hash)]
//!     owner: String,
//! }
//!
//! # fn main() -> Result<(), Error> {
//! let cluster = Cluster::builder().shard("a", "sqlite::memory:").create::<Account>()?;
//! let mut session = cluster.session();
//! session.add(NewAccount { owner: "Ada".into() })?;
//! assert_eq!(session.one(Account::select().all_shards().aggregate(count()))?, 1);
//! # Ok(())
//! # }
//! ```

pub use crate::{
    AsyncSession, Cluster, Error, ErrorKind, Field, Filter, Parent, Projection, Session, ShardKey, Sharded,
    Sql, Stored, With, count,
};
