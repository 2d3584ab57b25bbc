//! Compares lookups with their rows: in batches, ordered by value, and again under locks where they differ.

use super::UnitOfWork;
use super::entries::Changes;
use super::report::{LookupProblem, LookupProblemKind};
use crate::error::{Error, Result};
use crate::planner::sql::{EntryValues, Param};
use crate::schema::PlacedLookup;
use crate::schema::Table;
use crate::schema::{Shard, ShardSet, Shards};
use crate::value::Value;

/// How many values of each shard's rows, and of its entries, are read at a time.
const BATCH_SIZE: usize = 1_000;

/// The rows and entries of one value of a lookup.
#[derive(Debug)]
pub(crate) enum Fact {
    /// The number of rows on this shard with the value.
    Rows { shard: usize, count: i64 },
    /// An entry on this shard, and the shard that it names.
    Entry { on: usize, names: String },
}

/// The rows and entries of a range of values, ordered by value.
pub(crate) struct LookupBatch {
    pub(crate) facts: Vec<(Value<'static>, Fact)>,
    /// The greatest value whose rows and entries are all known; `None` if there are no greater values.
    pub(crate) up_to: Option<Value<'static>>,
}

impl LookupBatch {
    /// Returns the rows and entries of each value.
    pub(crate) fn values(&self) -> impl Iterator<Item = &[(Value<'static>, Fact)]> {
        self.facts.chunk_by(|(a, _), (b, _)| a.order(b).is_eq())
    }
}

/// A problem, and its repair.
pub(crate) struct Repair {
    kind: LookupProblemKind,
    shards: Vec<usize>,
    /// The shards from which the value's entries are removed.
    remove: Vec<usize>,
    /// The row's shard, for which an entry is added.
    add: Option<usize>,
}

impl UnitOfWork {
    /// Returns the rows and entries of the next values of a lookup, on all shards.
    pub(crate) fn next_batch(
        &mut self,
        lookup: &PlacedLookup,
        after: Option<&Value<'static>>,
    ) -> Result<LookupBatch> {
        let which =
            if after.is_some() { EntryValues::After(BATCH_SIZE) } else { EntryValues::First(BATCH_SIZE) };
        let params: Vec<Param<'_>> = after.iter().map(|value| Param::Value(value.borrowed())).collect();
        let mut facts = Vec::new();
        let mut up_to: Option<Value<'static>> = None;
        for &shard in ShardSet::all(self.tx.cluster.layout().shards()).indexes() {
            for read in [Self::rows_with, Self::entries_with] {
                let found = read(self, lookup, shard, which, &params)?;
                // A list that was cut off here is complete only up to its last value.
                if let Some((last, _)) = found.last().filter(|_| found.len() == BATCH_SIZE)
                    && up_to.as_ref().is_none_or(|least| last.order(least).is_lt())
                {
                    up_to = Some(last.clone());
                }
                facts.extend(found);
            }
        }
        if let Some(greatest) = &up_to {
            facts.retain(|(value, _)| value.order(greatest).is_le());
        }
        facts.sort_by(|(a, _), (b, _)| a.order(b));
        Ok(LookupBatch { facts, up_to })
    }

    /// Verifies some values again while no other session can write, and repairs them if `repairs`.
    pub(crate) fn verify_locked(
        &mut self,
        lookup: &PlacedLookup,
        suspects: &[Value<'static>],
        repairs: bool,
    ) -> Result<Vec<LookupProblem>> {
        let layout = self.tx.cluster.shared_layout();
        let models = [layout.model(lookup.table)?, lookup.model];
        let all = ShardSet::all(layout.shards());
        self.tx.lock(&all, &models)?;
        let params = [Param::List(suspects.iter().map(Value::borrowed).collect())];
        let mut facts = Vec::new();
        for &shard in all.indexes() {
            facts.extend(self.rows_with(lookup, shard, EntryValues::Listed, &params)?);
            facts.extend(self.entries_with(lookup, shard, EntryValues::Listed, &params)?);
        }
        facts.sort_by(|(a, _), (b, _)| a.order(b));
        let (mut problems, mut added) = (Vec::new(), Changes::default());
        for facts in (LookupBatch { facts, up_to: None }).values() {
            let Some((value, _)) = facts.first() else { continue };
            for Repair { kind, shards, remove, add } in problems_of(layout.shards(), lookup, facts)? {
                let repaired = repairs && kind != LookupProblemKind::SeveralRows;
                if repaired {
                    remove.iter().try_for_each(|&shard| self.remove_entry(lookup, value, shard))?;
                    add.map_or(Ok(()), |shard| added.add(lookup, value, shard, layout.shards()))?;
                }
                let names = shards.iter().collect::<std::collections::BTreeSet<_>>();
                let names = names.into_iter().filter_map(|&shard| layout.shards().by_index(shard));
                problems.push(LookupProblem {
                    table: lookup.table.name,
                    column: lookup.name(),
                    value: value.clone(),
                    kind,
                    shards: names.map(|shard| shard.name().to_owned()).collect(),
                    repaired,
                });
            }
        }
        self.write_entries(added)?;
        Ok(problems)
    }

    /// Returns the shard's name in the entry of a value, if the entry exists on the shard where sessions look for it.
    pub(crate) fn entry_of(
        &mut self,
        lookup: &PlacedLookup,
        value: &Value<'static>,
    ) -> Result<Option<String>> {
        let home = lookup.home(value, self.tx.cluster.layout().shards())?;
        let params = [Param::List(vec![value.borrowed()])];
        let found = self.entries_with(lookup, home, EntryValues::Listed, &params)?;
        Ok(found.into_iter().find_map(|(_, fact)| match fact {
            Fact::Entry { names, .. } => Some(names),
            Fact::Rows { .. } => None,
        }))
    }

    /// Returns whether a row on this shard has the value.
    pub(crate) fn has_row_with(
        &mut self,
        lookup: &PlacedLookup,
        value: &Value<'static>,
        shard: usize,
    ) -> Result<bool> {
        let params = [Param::List(vec![value.borrowed()])];
        self.rows_with(lookup, shard, EntryValues::Listed, &params).map(|found| !found.is_empty())
    }

    /// Returns up to `limit` ids of rows with the value on each shard, as `5 on a`.
    pub(crate) fn ids_with(
        &mut self,
        lookup: &PlacedLookup,
        value: &Value<'static>,
        limit: usize,
    ) -> Result<Vec<String>> {
        let layout = self.tx.cluster.shared_layout();
        let params = [Param::List(vec![value.borrowed()])];
        let mut found = Vec::new();
        for &shard in ShardSet::all(layout.shards()).indexes() {
            let sql = layout.sql(layout.model(lookup.table)?, shard)?;
            let sql = sql.ids_with(lookup.table, lookup.column, limit);
            let name = layout.shards().by_index(shard).map_or("", Shard::name);
            self.tx.is_ready(shard, Some(lookup.table))?;
            found.extend(self.tx.on(shard, lookup.table, &sql, |statement| {
                let mut rows = statement.query(&params)?;
                let mut found = Vec::new();
                while rows.advance()? {
                    found.push(format!("{} on {name}", rows.value(0).map_err(Error::from)?));
                }
                let read = found.len() as u64;
                Ok((found, read))
            })?);
        }
        Ok(found)
    }

    /// Renames the shard in the next entries on a shard that name `from`. Each gets the name of the target shard that has
    /// the value's row. Then it commits. Returns the last value that was read; `None` if there are no more.
    ///
    /// If a row moves meanwhile, that transaction renames or removes the entry itself, whichever of these names it has.
    pub(crate) fn rename_entries(
        &mut self,
        lookup: &PlacedLookup,
        (shard, from): (usize, &str),
        to: &[usize],
        after: Option<&Value<'static>>,
    ) -> Result<Option<Value<'static>>> {
        let layout = self.tx.cluster.shared_layout();
        let which =
            if after.is_some() { EntryValues::After(BATCH_SIZE) } else { EntryValues::First(BATCH_SIZE) };
        let params: Vec<Param<'_>> = after.iter().map(|value| Param::Value(value.borrowed())).collect();
        let found = self.entries_with(lookup, shard, which, &params)?;
        let last = found.last().map(|(value, _)| value.clone());
        let names_it = |fact: &Fact| matches!(fact, Fact::Entry { names, .. } if names == from);
        let values: Vec<Value<'static>> =
            found.into_iter().filter(|(_, fact)| names_it(fact)).map(|(value, _)| value).collect();
        let sql = layout.sql(lookup.model, shard)?.rename_entries(lookup.entries);
        for &target in to.iter().filter(|_| !values.is_empty()) {
            let all = [Param::List(values.iter().map(Value::borrowed).collect())];
            let rows = self.rows_with(lookup, target, EntryValues::Listed, &all)?;
            let own: Vec<Value<'static>> = rows.into_iter().map(|(value, _)| value).collect();
            if own.is_empty() {
                continue;
            }
            self.tx.ensure_write(shard)?;
            let name = layout.shards().by_index(target).map_or("", Shard::name);
            let names = [from, name].map(|name| Param::Value(Value::Text(name.to_owned().into())));
            let [from, to] = names;
            let params = [Param::List(own), from, to];
            self.tx.execute_on(shard, lookup.entries, &sql, &params)?;
        }
        self.commit()?;
        Ok(last)
    }

    fn remove_entry(&mut self, lookup: &PlacedLookup, value: &Value<'static>, shard: usize) -> Result<()> {
        let layout = self.tx.cluster.shared_layout();
        self.tx.ensure_write(shard)?;
        let sql = &layout.sql(lookup.model, shard)?.delete;
        self.tx.execute_on(shard, lookup.entries, sql, &[Param::Value(value.borrowed())]).map(drop)
    }

    /// Returns the values of a lookup in the rows on a shard, with the number of rows.
    fn rows_with(
        &mut self,
        lookup: &PlacedLookup,
        shard: usize,
        which: EntryValues,
        params: &[Param<'_>],
    ) -> Result<Vec<(Value<'static>, Fact)>> {
        let layout = self.tx.cluster.layout();
        let sql = layout.sql(layout.model(lookup.table)?, shard)?;
        let sql = sql.counted_values(lookup.table, lookup.column, which);
        self.facts(shard, lookup.table, lookup, &sql, params, |count| match count {
            Value::Integer(count) => Ok(Fact::Rows { shard, count }),
            other => Err(crate::value::mismatch("an integer", &other).into()),
        })
    }

    /// Returns the entries on a shard.
    fn entries_with(
        &mut self,
        lookup: &PlacedLookup,
        shard: usize,
        which: EntryValues,
        params: &[Param<'_>],
    ) -> Result<Vec<(Value<'static>, Fact)>> {
        let sql = self.tx.cluster.layout().sql(lookup.model, shard)?.entries(lookup.entries, which);
        self.facts(shard, lookup.entries, lookup, &sql, params, |name| match name {
            Value::Text(name) => Ok(Fact::Entry { on: shard, names: name.into_owned() }),
            other => Err(crate::value::mismatch("text", &other).into()),
        })
    }

    fn facts(
        &mut self,
        shard: usize,
        table: &'static Table,
        lookup: &PlacedLookup,
        sql: &str,
        params: &[Param<'_>],
        fact: impl Fn(Value<'_>) -> Result<Fact>,
    ) -> Result<Vec<(Value<'static>, Fact)>> {
        self.tx.is_ready(shard, Some(table))?;
        self.tx.on(shard, table, sql, |statement| {
            let mut rows = statement.query(params)?;
            let mut found = Vec::new();
            while rows.advance()? {
                let value = rows.value(0).map_err(Error::from)?;
                if let Some(value) = lookup.entry(&value) {
                    found.push((value, fact(rows.value(1)?)?));
                }
            }
            let read = found.len() as u64;
            Ok((found, read))
        })
    }
}

/// Returns the problems of one value. `facts` are all its rows and entries.
pub(crate) fn problems_of(
    shards: &Shards,
    lookup: &PlacedLookup,
    facts: &[(Value<'static>, Fact)],
) -> Result<Vec<Repair>> {
    let Some((value, _)) = facts.first() else { return Ok(Vec::new()) };
    let home = lookup.home(value, shards)?;
    let (mut rows, mut count, mut entry, mut found) = (Vec::new(), 0, None, Vec::new());
    for (_, fact) in facts {
        match fact {
            Fact::Rows { shard, count: more } => {
                rows.push(*shard);
                count += more;
            }
            Fact::Entry { on, names } if *on == home => entry = Some(names),
            Fact::Entry { on, .. } => {
                let kind = LookupProblemKind::StrayEntry;
                found.push(Repair { kind, shards: vec![*on], remove: vec![*on], add: None });
            }
        }
    }
    let is_at = |shard: usize| entry.is_some_and(|name| shards.now_on(name).contains(&shard));
    let (kind, remove, add) = match (rows.as_slice(), count, entry) {
        ([], ..) if entry.is_none() => return Ok(found),
        ([], ..) => {
            rows.push(home);
            (LookupProblemKind::StrayEntry, vec![home], None)
        }
        (&[shard], 1, None) => (LookupProblemKind::MissingEntry, Vec::new(), Some(shard)),
        (&[shard], 1, Some(_)) if is_at(shard) => return Ok(found),
        (&[shard], 1, Some(_)) => (LookupProblemKind::WrongShard, vec![home], Some(shard)),
        _ => (LookupProblemKind::SeveralRows, Vec::new(), None),
    };
    found.push(Repair { kind, shards: rows, remove, add });
    Ok(found)
}
