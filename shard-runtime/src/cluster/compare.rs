//! Compares reference tables on all shards, and fills those of new shards.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::planner::sql::Param;
use crate::schema::Table;
use crate::schema::{Shard, ShardSet};
use crate::session::Session;
use crate::transaction::Cluster;
use crate::transaction::commit::encode_values;
use crate::value::Value;

/// A row of a reference table that differs between shards; found by [`Cluster::compare_references`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ReferenceDifference {
    /// The table, without a shard's prefix.
    pub table: &'static str,
    /// The row's id.
    pub id: Value<'static>,
    /// The shards that do not have the row.
    pub missing: Vec<String>,
    /// The shards whose row differs from that of the first shard that has it.
    pub different: Vec<String>,
}

type ReferenceRow = Vec<Value<'static>>;

impl Cluster {
    /// Returns the rows of reference tables that differ between shards, table by table in the order of their ids.
    ///
    /// Sessions write such rows on all shards or on none. A difference therefore has another origin: SQL on one shard, a lent
    /// connection, another program. To repair it, write a row to every shard with [`Session::save`], or delete it from every
    /// shard with [`Sql`](crate::Sql).
    ///
    /// It may run beside readers and writers. The rows of one table are in memory at a time. If they differ, they are read again
    /// under a lock on all shards.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded, Sql};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # #[sharded(table = "currencies", reference)]
    /// # struct Currency {
    /// #     #[id]
    /// #     code: String,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Currency>(["a", "b"])?;
    /// # let mut session = cluster.session();
    /// session.add(Currency { code: "EUR".into() })?;
    /// session.execute(Sql::new("DELETE FROM {currencies}").on_shard("b"))?;
    /// session.commit()?;
    /// assert_eq!(cluster.compare_references()?[0].missing, ["b"]);
    ///
    /// session.save(Currency { code: "EUR".into() })?;
    /// session.commit()?;
    /// assert!(cluster.compare_references()?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if a shard stays locked; those of the databases, each with the shard's name.
    pub fn compare_references(&self) -> Result<Vec<ReferenceDifference>> {
        self.following(Cluster::compared_references)
    }

    fn compared_references(&self) -> Result<Vec<ReferenceDifference>> {
        let (all, mut found) = (ShardSet::all(self.shards()), Vec::new());
        for &model in self.layout().references() {
            // There is no snapshot over all shards: a commit may be visible on some of them only.
            let mut differences = self.session().differences(model)?;
            if !differences.is_empty() {
                differences = self.transaction(|session| {
                    session.work.tx.lock(&all, &[model])?;
                    session.differences(model)
                })?;
            }
            found.append(&mut differences);
        }
        Ok(found)
    }

    /// Copies reference tables to shards that have none of their rows while others have some: shards that were added later. All
    /// shards are locked, so that no transaction is partly visible.
    pub(crate) fn fill_references(&self) -> Result<()> {
        let all = ShardSet::all(self.layout().shards());
        for &model in self.layout().references() {
            if !self.session().without_rows(model)?.is_empty() {
                self.transaction(|session| {
                    session.work.tx.lock(&all, &[model])?;
                    let empty = session.without_rows(model)?;
                    session.fill(model, &empty)
                })?;
            }
        }
        Ok(())
    }
}

impl Session {
    fn differences(&mut self, model: usize) -> Result<Vec<ReferenceDifference>> {
        let layout = self.work.tx.cluster.shared_layout();
        let shards = layout.shards();
        let Some(table) = layout.tables().nth(model) else { return Ok(Vec::new()) };
        // The copies of each row, in the order of the shards. The key is the text of its id, which is unique within one column.
        let mut rows: BTreeMap<String, Vec<(usize, ReferenceRow)>> = BTreeMap::new();
        for shard in shards.serving() {
            self.each_row(model, table, shard.index(), |row| {
                let id = row.get(table.id).map_or_else(String::new, Value::to_string);
                rows.entry(id).or_default().push((shard.index(), row));
                Ok(())
            })?;
        }
        let names = |of: &dyn Fn(usize) -> bool| {
            shards.serving().filter(|shard| of(shard.index())).map(|shard| shard.name().to_owned()).collect()
        };
        let compared = rows.into_values().filter_map(|copies| {
            let (_, first) = copies.first()?;
            let on = |shard: usize| copies.iter().find(|(at, _)| *at == shard).map(|(_, row)| row);
            let missing: Vec<String> = names(&|shard| on(shard).is_none());
            let different: Vec<String> = names(&|shard| on(shard).is_some_and(|row| row != first));
            let id = first.get(table.id).cloned().unwrap_or(Value::Null);
            let is_same = missing.is_empty() && different.is_empty();
            (!is_same).then_some(ReferenceDifference { table: table.name, id, missing, different })
        });
        Ok(compared.collect())
    }

    /// Returns the shards that have no row of a table, if others have some.
    fn without_rows(&mut self, model: usize) -> Result<ShardSet> {
        let layout = self.work.tx.cluster.shared_layout();
        let Some(table) = layout.tables().nth(model) else { return Ok(ShardSet::none()) };
        let mut empty = ShardSet::none();
        for shard in layout.shards().serving() {
            self.work.tx.is_ready(shard.index(), Some(table))?;
            let from = &layout.sql(model, shard.index())?.name;
            let sql = format!("SELECT 1 FROM {from} LIMIT 1");
            let has_rows = self.work.tx.on(shard.index(), table, &sql, |statement| {
                let found = statement.query(&[])?.advance()?;
                Ok((found, u64::from(found)))
            })?;
            if !has_rows {
                empty.insert(shard.index());
            }
        }
        Ok(if empty.len() < ShardSet::all(layout.shards()).len() { empty } else { ShardSet::none() })
    }

    /// Copies a table to these shards from the first of the other shards.
    fn fill(&mut self, model: usize, empty: &ShardSet) -> Result<()> {
        let layout = self.work.tx.cluster.shared_layout();
        let is_full = |shard: &&Shard| !empty.contains(shard.index());
        let source = layout.shards().serving().find(is_full).filter(|_| !empty.is_empty());
        let (Some(source), Some(table)) = (source, layout.tables().nth(model)) else { return Ok(()) };
        let mut rows = Vec::new();
        self.each_row(model, table, source.index(), |row| {
            rows.push(row);
            Ok(())
        })?;
        self.work.in_savepoint(empty, |session| {
            for &shard in empty.indexes() {
                let insert = &layout.sql(model, shard)?.insert;
                let mut runs = Vec::new();
                session.tx.on(shard, table, insert, |statement| {
                    for row in &rows {
                        statement.insert(row)?;
                        encode_values(row, &mut runs);
                    }
                    Ok(((), rows.len() as u64))
                })?;
                session.tx.record(shard, |redo| redo.runs(insert, |all| all.append(&mut runs)))?;
            }
            Ok(())
        })
    }

    /// Visits the rows of a table on one shard, with the columns of the model.
    fn each_row(
        &mut self,
        model: usize,
        table: &'static Table,
        shard: usize,
        mut visit: impl FnMut(ReferenceRow) -> Result<()>,
    ) -> Result<()> {
        let layout = self.work.tx.cluster.shared_layout();
        self.work.tx.is_ready(shard, Some(table))?;
        let select = &layout.sql(model, shard)?.select;
        let none: [Param<'_>; 0] = [];
        self.work.tx.on(shard, table, select, |statement| {
            let (mut rows, mut read) = (statement.query(&none)?, 0);
            while rows.advance()? {
                let value = |column| table.value_of(column, rows.value(column)).map(Value::into_owned);
                visit((0..table.columns.len()).map(value).collect::<Result<_, Error>>()?)?;
                read += 1;
            }
            Ok(((), read))
        })
    }
}
