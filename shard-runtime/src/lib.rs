//! Horizontal sharding for Rust structs.

mod cluster;
mod driver;
mod error;
mod key;
mod merge;
mod model;
mod plan;
mod query;
mod route;
mod session;
mod shards;
mod sql;
mod value;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

pub use cluster::{Builder, Cluster, Layout};
pub use driver::Synchronous;
pub use error::{Error, ErrorKind, Result, ValueError};
/// The crate that timestamps are values of.
#[cfg(feature = "jiff")]
pub use jiff;
pub use key::{Constant, Key, NoLiteral, PlacedKey, Placement, Range, ShardKey, hash};
pub use model::{
    Binder, Child, ChildOf, ColumnDef, IdIsKey, IdKind, Index, Insert, KeyColumns, Models, Parent, ParentDef,
    Row, Sharded, Stored, Table, UniqueId,
};
pub use plan::{Explain, Plan};
pub use query::{
    Aggregate, ById, Column, ColumnKind, CompositeKey, Count, Delete, Explainable, Filter, IntoAssign,
    IntoOperand, IsRouted, Locate, Located, Number, Operand, Order, Ordered, Predicate, Query, Routed,
    Routing, Select, Settable, Unrouted, Update, Write, kind,
};
/// The crate that drives SQLite: one program links one `libsqlite3`, so use it through here.
pub use rusqlite;
/// The crate that JSON columns are values of.
#[cfg(feature = "json")]
pub use serde_json;
pub use session::{Session, StatementEvent, WithChildren};
pub use shard_derive::{Field, ShardKey, Sharded};
pub use shards::{Shard, ShardSet, Shards};
/// The crate that UUID columns are values of.
#[cfg(feature = "uuid")]
pub use uuid;
pub use value::{ColumnType, Field, Storable, Value};
