//! Explanations of queries: shards, reason, SQL, merge. Uses `plan` and `route`; no I/O.

use std::fmt;

use super::{Layout, Plan, route};
use crate::error::Result;
use crate::query::{
    Aggregate, ById, Columns, Count, Delete, Exists, Groups, Located, Returning, Select, SelectList, Sharded,
    Sql, UniqueId, Update, WithCursor, WithParent, WithReferences,
};
use crate::schema::{IdKind, ShardSet, Shards, Table};
use crate::sealed::Sealed;
use crate::value::Field;

/// The shards, the reason, and the SQL of a query. [`Cluster::explain`](crate::Cluster::explain) returns it without a
/// connection. It prints as a tree: the shards and the reason, then the SQL of each shard.
///
/// With the feature `serde` it can be serialised, as a map with the fields
///
/// | field | |
/// |---|---|
/// | `shards` | the names of the shards, a list of texts |
/// | `reason` | why these, a text |
/// | `reason` | the reason for these shards, a text |
/// | `statements` | a list of maps with the fields `shard` and `sql`, texts |
/// | `lookups` | the statements that read lookups first, as `statements` |
/// | `merge` | how the results of several shards are merged, a text, or none |
/// | `pushed_down` | whether the shards compute the whole result, so that no merge is left to do |
/// | `epoch` | the epoch of the recorded layout, a number |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    reason: String,
    statements: Vec<(String, String)>,
    lookups: Vec<(String, String)>,
    merged: Option<String>,
    epoch: u64,
}

#[cfg(feature = "serde")]
impl serde::Serialize for Explain {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;

        struct SerializedStatement<'e>(&'e str, &'e str);

        impl serde::Serialize for SerializedStatement<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut statement = serializer.serialize_struct("Statement", 2)?;
                statement.serialize_field("shard", self.0)?;
                statement.serialize_field("sql", self.1)?;
                statement.end()
            }
        }

        let statements: Vec<SerializedStatement<'_>> =
            self.statements().map(|(shard, sql)| SerializedStatement(shard, sql)).collect();
        let lookups: Vec<SerializedStatement<'_>> =
            self.lookups().map(|(shard, sql)| SerializedStatement(shard, sql)).collect();
        let mut explain = serializer.serialize_struct("Explain", 7)?;
        explain.serialize_field("shards", self.shards().as_slice())?;
        explain.serialize_field("reason", self.reason())?;
        explain.serialize_field("statements", statements.as_slice())?;
        explain.serialize_field("lookups", lookups.as_slice())?;
        explain.serialize_field("merge", &self.merge())?;
        explain.serialize_field("pushed_down", &self.is_pushed_down())?;
        explain.serialize_field("epoch", &self.epoch())?;
        explain.end()
    }
}

impl Explain {
    /// Returns an explanation without lookups.
    pub(crate) fn new(
        reason: String,
        statements: impl IntoIterator<Item = (usize, String)>,
        merged: Option<String>,
        shards: &Shards,
    ) -> Self {
        let named = |(shard, sql)| Some((shards.by_index(shard)?.name().to_owned(), sql));
        let statements = statements.into_iter().filter_map(named).collect();
        Explain { reason, statements, lookups: Vec::new(), merged, epoch: shards.epoch() }
    }

    /// Returns the names of the shards that the query would read, in the cluster's order. If lookups are read first
    /// ([`lookups`](Explain::lookups)), these are the shards that their entries can name.
    pub fn shards(&self) -> Vec<&str> {
        self.statements.iter().map(|(shard, _)| shard.as_str()).collect()
    }

    /// Returns the reason: `continent = Asia`, `no key: all shards`, `pinned to asia`.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns how the results of several shards are merged: `merged by temperature, 3 rows kept`. `None` if one shard
    /// returns all rows, or if the results follow each other.
    pub fn merge(&self) -> Option<&str> {
        self.merged.as_deref()
    }

    /// Returns whether the shards compute the whole result, with order, limit, offset and groups. This is so for one shard,
    /// and for several whose results follow each other.
    pub fn is_pushed_down(&self) -> bool {
        self.merged.is_none()
    }

    /// Returns the epoch of the recorded layout that has named the shards; see [`Cluster::epoch`](crate::Cluster::epoch).
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the shards and the SQL of the lookups that are read first. Their entries determine which of the
    /// [`shards`](Explain::shards) are read.
    pub fn lookups(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lookups.iter().map(|(shard, sql)| (shard.as_str(), sql.as_str()))
    }

    /// Returns the name of each shard and its SQL, without the values.
    pub fn statements(&self) -> impl Iterator<Item = (&str, &str)> {
        self.statements.iter().map(|(shard, sql)| (shard.as_str(), sql.as_str()))
    }

    /// Adds the statements of the lookups.
    pub(super) fn with_lookups(mut self, statements: Vec<(usize, String)>, layout: &Layout) -> Self {
        let named = |(shard, sql)| Some((layout.shards().by_index(shard)?.name().to_owned(), sql));
        self.lookups = statements.into_iter().filter_map(named).collect();
        self
    }
}

impl fmt::Display for Explain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.statements.is_empty() {
            true => f.write_str(&self.reason)?,
            false => write!(f, "{}: {}", self.shards().join(", "), self.reason)?,
        }
        // The epoch matters only after a change of the layout.
        if self.epoch > 1 {
            write!(f, " (epoch {})", self.epoch)?;
        }
        let all = self.lookups.iter().chain(&self.statements);
        let width = all.clone().map(|(shard, _)| shard.chars().count()).max().unwrap_or(0);
        let last = (self.lookups.len() + self.statements.len()).saturating_sub(1);
        for (index, (shard, sql)) in all.enumerate() {
            let branch = if index == last && self.merged.is_none() { "└─" } else { "├─" };
            write!(f, "\n{branch} {shard:width$}  {sql}")?;
        }
        match &self.merged {
            Some(how) => write!(f, "\n└─ {how}"),
            None => Ok(()),
        }
    }
}

/// A query that can be explained without being run.
///
/// This trait is sealed: the planner explains only the queries of this crate.
pub trait Explainable: Sealed {
    #[doc(hidden)]
    fn explain(&self, layout: &Layout) -> Result<Explain>;
}

impl<T: Sharded, R> Explainable for Select<T, R> {
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        Plan::read(&self.core, SelectList::Rows, layout)?.explain(layout)
    }
}

/// Explains `get` with an id that is unique over the cluster.
impl<T: UniqueId> Explainable for ById<T> {
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        let (table, shards) = (T::TABLE, layout.shards());
        let chosen = T::identity_chooser(&self.id, None, shards)?;
        let name = table.columns.get(table.id).map_or("id", |column| column.name);
        let id = self.id.stored_value().map_err(|error| table.error_at(table.id, error))?;
        if table.is_reference() {
            let any = chosen.indexes().iter().copied().take(1).collect();
            return look_up(layout, table, &any, route::ANY_SHARD.to_owned(), None);
        }
        let (reason, merged) = match (chosen.len(), table.id_kind) {
            (0 | 1, _) => (format!("{name} = {id}"), None),
            (_, IdKind::Sequence | IdKind::Uuid) => {
                ("the id determines no shard: all shards".to_owned(), Some("the first that has the row"))
            }
            _ => ("the id determines no shard: all shards".to_owned(), Some("the one that has the row")),
        };
        look_up(layout, table, &chosen, reason, merged)
    }
}

/// Explains `get` on the pinned shard.
impl<T: Sharded> Explainable for Located<T> {
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        let (table, shards) = (T::TABLE, layout.shards());
        self.id.stored_value().map_err(|error| table.error_at(table.id, error))?;
        let chosen = match &self.pin {
            Some(pin) => ShardSet::one(route::pin_shard(table, pin, shards)?),
            None => T::identity_chooser(&self.id, None, shards)?,
        };
        let reason = format!("pinned to {}", chosen.names(shards).join(", "));
        look_up(layout, table, &chosen, reason, None)
    }
}

/// Explains the lookup of a row by its id.
fn look_up(
    layout: &Layout,
    table: &'static Table,
    shards: &ShardSet,
    reason: String,
    merged: Option<&str>,
) -> Result<Explain> {
    let model = layout.model(table)?;
    let statement = |&shard: &usize| Ok((shard, layout.sql(model, shard)?.get.clone()));
    let statements = shards.indexes().iter().map(statement).collect::<Result<Vec<_>>>()?;
    Ok(Explain::new(reason, statements, merged.map(str::to_owned), layout.shards()))
}

impl<T: Sharded, R> Explainable for Exists<T, R> {
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        Plan::read(&self.select.core, SelectList::Existence, layout)?.explain(layout)
    }
}

impl<T: Sharded, R, C> Explainable for WithCursor<T, R, C> {
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        Plan::read(&self.columns.core, self.select_list()?, layout)?.explain(layout)
    }
}

impl<T: Sharded, R, C> Explainable for Columns<T, R, C> {
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        Plan::read(&self.core, self.select_list(), layout)?.explain(layout)
    }
}

impl<T: Sharded, R> Explainable for Count<T, R> {
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        Plan::read(&self.select.core, SelectList::Count, layout)?.explain(layout)
    }
}

impl<T: Sharded, R, M> Explainable for Aggregate<T, R, M> {
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        Plan::groups(&self.core, layout)?.explain(layout)
    }
}

impl<T: Sharded, R, C, M> Explainable for Groups<T, R, C, M> {
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        Plan::groups(&self.core, layout)?.explain(layout)
    }
}

impl<T: Sharded, J, R> Explainable for WithReferences<T, J, R> {
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        Plan::read(&self.select.core, self.select_list(), layout)?.explain(layout)
    }
}

impl<T: Sharded, P: Sharded, R> Explainable for WithParent<T, P, R> {
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        Plan::read(&self.select.core, SelectList::RowsWithParents(1), layout)?.explain(layout)
    }
}

impl<T: Sharded, P: Sharded, G: Sharded, R> Explainable for WithParent<T, (P, G), R> {
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        Plan::read(&self.select.core, SelectList::RowsWithParents(2), layout)?.explain(layout)
    }
}

impl<R> Explainable for Sql<R> {
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        let shards = self.core.shards(layout.shards())?;
        self.core.params()?;
        let text = |&shard: &usize| Ok((shard, self.core.text_on(shard, layout)?));
        let texts = shards.indexes().iter().map(text).collect::<Result<Vec<_>>>()?;
        let reason = match self.core.pins.is_empty() {
            true => "SQL for all shards".to_owned(),
            false => format!("pinned to {}", shards.names(layout.shards()).join(", ")),
        };
        Ok(Explain::new(reason, texts, None, layout.shards()))
    }
}

impl<T: Sharded, R> Explainable for Returning<T, R> {
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        Plan::write(&self.core, layout)?.returning().explain(layout)
    }
}

macro_rules! explainable_writes {
    ($($write:ident),*) => {$(
        impl<T: Sharded, R> Explainable for $write<T, R> {
            fn explain(&self, layout: &Layout) -> Result<Explain> {
                Plan::write(&self.core, layout)?.explain(layout)
            }
        }
    )*};
}
explainable_writes!(Update, Delete);
