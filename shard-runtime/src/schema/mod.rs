//! Tables, keys, placements and shards: the description of the data. Uses `value`, `error` and `collation`; no I/O.

pub(crate) mod key;
pub(crate) mod lookup;
mod routing;
mod rule;
mod shards;
mod table;

pub use key::{Constant, DecidesShard, Everywhere, Key, NoLiteral, Placement, Range, ShardKey, hash};
pub use lookup::LookupDef;
pub(crate) use lookup::PlacedLookup;
pub use routing::{IsRouted, Routed, Routing, Unrouted};
pub(crate) use rule::{Bounds, DeclaredLine, Owner, Rest, Rule, key_kinds, key_literal, rule_lines};
pub use shards::{Shard, ShardRole, ShardSet, Shards};
pub use table::{ColumnDef, ColumnDefault, IdKind, Index, KeyColumns, ParentDef, ReferenceDef, Table};
pub(crate) use table::{ColumnShape, DeclaredDefault, any_value};
