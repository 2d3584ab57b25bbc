//! The SQL of the models' tables and indexes, for each shard. Uses `planner`; no I/O.

use std::fmt;

use crate::planner::sql::{create_table_sql, indexes};
use crate::planner::{Layout, Location};
use crate::schema::{Shard, Table};
use crate::transaction::Cluster;

/// SQL statements for one shard, made by [`Cluster::schema_sql`]. Prints a script.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardSql {
    /// The shard's name.
    pub shard: String,
    /// The shard's database: `sqlite` or `postgresql`.
    pub database: &'static str,
    /// The statements, in the order in which they run.
    pub statements: Vec<String>,
}

impl fmt::Display for ShardSql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "-- shard {} ({})", self.shard, self.database)?;
        self.statements.iter().try_for_each(|statement| writeln!(f, "{statement};"))
    }
}

impl Cluster {
    /// Returns the SQL that makes the models' tables and indexes on each shard, in the cluster's order. Nothing is run.
    ///
    /// The statements do not change existing tables and indexes. The runtime's own tables are not included: [`Builder::create`]
    /// makes them.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
    /// #[derive(Sharded, Clone, Debug)]
    /// #[sharded(table = "users")]
    /// struct User {
    ///     #[id]
    ///     #[shard_key(hash)]
    ///     id: i64,
    ///     #[sharded(default = "free")]
    ///     plan: String,
    /// }
    /// # fn main() -> shard_runtime::Result<()> {
    /// let cluster = Cluster::in_memory::<User>(["a", "b"])?;
    /// for shard in cluster.schema_sql() {
    ///     println!("{shard}");
    /// }
    /// // -- shard a (sqlite)
    /// // CREATE TABLE IF NOT EXISTS "users" ("id" INTEGER PRIMARY KEY, "plan" TEXT NOT NULL DEFAULT 'free') STRICT;
    /// # assert_eq!(cluster.schema_sql()[0].to_string(), "-- shard a (sqlite)\nCREATE TABLE IF NOT EXISTS \"users\" (\"id\" INTEGER PRIMARY KEY, \"plan\" TEXT NOT NULL DEFAULT 'free') STRICT;\n");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`Builder::create`]: crate::Builder::create
    pub fn schema_sql(&self) -> Vec<ShardSql> {
        let cluster = self.latest();
        sql_of(cluster.layout())
    }
}

/// Returns the statements of each shard.
pub(super) fn sql_of(layout: &Layout) -> Vec<ShardSql> {
    layout.shards().iter().filter_map(|shard| shard_sql(layout, shard)).collect()
}

fn shard_sql(layout: &Layout, shard: &Shard) -> Option<ShardSql> {
    let location = layout.location(shard.index()).ok()?;
    let statements = layout.tables().flat_map(|table| table_sql(table, location));
    Some(ShardSql {
        shard: shard.name().to_owned(),
        database: location.dialect.name(),
        statements: statements.collect(),
    })
}

/// Returns the statements that make a model's table and its indexes if they do not exist.
pub(super) fn table_sql(table: &Table, Location { names, dialect, .. }: &Location) -> Vec<String> {
    let indexes = indexes(names, table, *dialect).into_iter();
    let indexes = indexes.map(|index| index.create_sql(names, table, *dialect));
    std::iter::once(create_table_sql(names, table, *dialect)).chain(indexes).collect()
}

#[cfg(feature = "serde")]
impl serde::Serialize for ShardSql {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;

        let mut sql = serializer.serialize_struct("ShardSql", 3)?;
        sql.serialize_field("shard", &self.shard)?;
        sql.serialize_field("database", self.database)?;
        sql.serialize_field("statements", &self.statements)?;
        sql.end()
    }
}
