//! Reads of related rows: parents with their children, and with the children of those.

use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::ops::ControlFlow;

use super::Session;
use crate::error::Result;
use crate::executor::ReadOptions;
use crate::planner::PlanStep;
use crate::planner::sql;
use crate::query::Select;
use crate::query::Stored;
use crate::query::{Child, ChildOf, Sharded};
use crate::row::Row;
use crate::schema::IsRouted;
use crate::schema::ShardSet;
use crate::sealed::Seal;
use crate::transaction::{bounded, in_verb_span};
use crate::value::IdKey;
use crate::value::{Field, Value};

/// A row and its children: [`Stored`] ones, or each with children of its own.
pub type WithChildren<P, D> = (Stored<P>, Vec<<D as Descendants>::Output>);

/// Children together with their own children, in [`Session::all_with`]: `With<Report, Remark>` is reports with
/// their remarks, `With<Report, With<Remark, Photo>>` goes one level deeper.
#[derive(Debug)]
pub struct With<C, D>(PhantomData<fn() -> (C, D)>);

/// The rows that [`Session::all_with`] reads with the parents: children, `Report`, or children with their own children,
/// [`With<Report, Remark>`](With).
///
/// This trait is sealed: the levels are the relations that the models declare with `#[shard_parent]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not children with their children",
    label = "cannot be read with its parents",
    note = "in `With<Child, Grandchild>` the first has `#[shard_parent] field: Parent<Model>`, and the second `#[shard_parent] field: Parent<Child>`"
)]
pub trait Descendants {
    /// The children's model.
    type Child: Child;

    /// One child of the answer.
    type Output;

    #[doc(hidden)]
    const SEAL: Seal;

    /// Returns the children of each of these rows.
    #[doc(hidden)]
    fn read(
        session: &mut Session,
        parents: &[Stored<<Self::Child as Child>::Parent>],
    ) -> Result<Vec<Vec<Self::Output>>>;
}

impl<C: Child> Descendants for C {
    type Child = C;
    type Output = Stored<C>;
    const SEAL: Seal = Seal;

    fn read(session: &mut Session, parents: &[Stored<C::Parent>]) -> Result<Vec<Vec<Stored<C>>>> {
        session.children_of_all(parents)
    }
}

impl<C: Child, D: Descendants<Child: ChildOf<C>>> Descendants for With<C, D> {
    type Child = C;
    type Output = WithChildren<C, D>;
    const SEAL: Seal = Seal;

    fn read(session: &mut Session, parents: &[Stored<C::Parent>]) -> Result<Vec<Vec<Self::Output>>> {
        let children: Vec<Vec<Stored<C>>> = session.children_of_all(parents)?;
        let counts: Vec<usize> = children.iter().map(Vec::len).collect();
        // The children of all parents are read together, so that each level is one statement per shard.
        let children: Vec<Stored<C>> = children.into_iter().flatten().collect();
        let below = D::read(session, &children)?;
        let mut pairs = children.into_iter().zip(below);
        Ok(counts.into_iter().map(|count| pairs.by_ref().take(count).collect()).collect())
    }
}

impl Session {
    /// Returns the rows of a query, each with its children. Each shard runs one statement for the parents and one for
    /// their children. The parents are in the query's order, the children of each by their ids. With [`With`] the
    /// children have their own children, for one more statement per shard and level.
    ///
    /// ```
    /// use shard_runtime::{Cluster, Parent, Sharded, With};
    ///
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct City {
    /// #     #[id(sequence)]
    /// #     id: i64,
    /// #     #[shard_key(hash)]
    /// #     country: String,
    /// #     name: String,
    /// # }
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Report {
    /// #     #[id(auto)]
    /// #     id: i64,
    /// #     #[shard_parent]
    /// #     city: Parent<City>,
    /// #     temperature: f64,
    /// # }
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Remark {
    /// #     #[id(auto)]
    /// #     id: i64,
    /// #     #[shard_parent]
    /// #     report: Parent<Report>,
    /// #     text: String,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::builder()
    /// #     .shard("a", "sqlite::memory:")
    /// #     .shard("b", "sqlite::memory:")
    /// #     .create::<(City, Report, Remark)>()?;
    /// # let mut session = cluster.session();
    /// # let tokyo = session.add(NewCity { country: "Japan".into(), name: "Tokyo".into() })?;
    /// # let report = session.add(NewReport { city: tokyo.link(), temperature: 24.0 })?;
    /// # session.add(NewRemark { report: report.link(), text: "sunny".into() })?;
    /// let cities = City::select().all_shards().order_by(City::NAME.asc());
    /// for (city, reports) in session.all_with::<Report>(cities.clone())? {
    ///     println!("{}: {} reports", city.name, reports.len());
    /// }
    /// for (city, reports) in session.all_with::<With<Report, Remark>>(cities)? {
    ///     for (report, remarks) in reports {
    ///         println!("{}: {} with {} remarks", city.name, report.temperature, remarks.len());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Session::all`].
    pub fn all_with<D: Descendants>(
        &mut self,
        parents: Select<<D::Child as Child>::Parent, impl IsRouted>,
    ) -> Result<Vec<WithChildren<<D::Child as Child>::Parent, D>>> {
        let table = <D::Child as Child>::Parent::TABLE;
        in_verb_span(self, "all_with", Some(table), |session| {
            bounded(session, |session| {
                let parents = session.all(parents)?;
                let children = D::read(session, &parents)?;
                Ok(parents.into_iter().zip(children).collect())
            })
        })
    }

    /// Returns the children of each of these rows, from the shards of these rows.
    fn children_of_all<C: Child>(&mut self, parents: &[Stored<C::Parent>]) -> Result<Vec<Vec<Stored<C>>>> {
        let (table, parent_table) = (C::TABLE, C::Parent::TABLE);
        let shards: ShardSet = parents.iter().map(|parent| parent.shard().index()).collect();
        self.work.flush_tables(&[table], &shards)?;
        let model = self.work.tx.cluster.layout().model(table)?;
        let mut indexes: HashMap<(usize, IdKey), usize> = HashMap::with_capacity(parents.len());
        let mut ids: BTreeMap<usize, Vec<Value<'_>>> = BTreeMap::new();
        for (index, parent) in parents.iter().enumerate() {
            let shard = parent.shard().index();
            let id = parent.id().stored_value();
            let id = id.map_err(|error| parent_table.error_at(parent_table.id, error))?;
            indexes.insert((shard, IdKey::of(&id)), index);
            ids.entry(shard).or_default().push(id);
        }
        let mut steps = Vec::with_capacity(ids.len());
        for (shard, mut ids) in ids {
            ids.sort_by(Value::order);
            let site = self.work.tx.cluster.layout().site(model, shard, &sql::NoFilter)?;
            steps.push(PlanStep { shard, statement: sql::children(&site, C::PARENT_COLUMN, ids) });
        }
        let mut answer: Vec<Vec<Stored<C>>> = parents.iter().map(|_| Vec::new()).collect();
        let reading = ReadOptions { load: Some(Stored::<C>::load_model), ..ReadOptions::whole(table) };
        // The rows of one shard are ordered by parent: the children of one parent follow each other.
        let mut last: Option<((usize, IdKey), usize)> = None;
        let read = self.work.tx.execute(&steps, reading, |rows| {
            let row = Row { source: rows, shard: rows.shard, table, columns: None };
            let child = Stored::<C>::loaded(&row)?;
            let parent = child.parent_id().stored_value();
            let parent = parent.map_err(|error| table.error_at(C::PARENT_COLUMN, error))?;
            let key = (rows.shard.index(), IdKey::of(&parent));
            if last.as_ref().is_none_or(|(last, _)| *last != key) {
                last = indexes.get(&key).map(|&index| (key, index));
            }
            if let Some(children) = last.as_ref().and_then(|(_, index)| answer.get_mut(*index)) {
                children.push(child);
            }
            Ok(ControlFlow::Continue(()))
        });
        drop((indexes, steps));
        self.work.abort_if_transaction_lost(read)?;
        Ok(answer)
    }
}
