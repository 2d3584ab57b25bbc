//! The verbs of the session, with `.await`.

use super::AsyncSession;
use crate::error::{Error, Result};
use crate::query::Stored;
use crate::query::{Child, Insert, KnownId, SequenceId, Sharded};
use crate::query::{Locate, Query, Select, Write};
use crate::schema::DecidesShard;
use crate::schema::IdKind;
use crate::schema::IsRouted;
use crate::session::{Descendants, PartialResult, Session, WithChildren};
use crate::transaction::commit::Committed;
use crate::unit_of_work::Relocated;

/// The verbs. Each has the behaviour and the errors of the [`Session`]'s verb with the same name, and also the errors
/// of [`AsyncSession::run`].
impl AsyncSession {
    /// Adds a row; see [`Session::add`]. If the id needs no database (`#[id]`, `#[id(uuid)]`), the row is added at
    /// once, on the calling task.
    ///
    /// # Errors
    /// Those of [`Session::add`] and of [`AsyncSession::run`].
    pub async fn add<N: Insert + Send + 'static>(&mut self, new: N) -> Result<Stored<N::Model>> {
        let sends_nothing = matches!(N::Model::TABLE.id_kind, IdKind::Given | IdKind::Uuid);
        if let Some(checkout) = self.slot.take() {
            let mut guard = self.guard(checkout);
            match guard.session().filter(|_| sends_nothing) {
                Some(session) => return session.add(new),
                None => drop(guard),
            }
        }
        self.run(|session| session.add(new)).await
    }

    /// Adds many rows; see [`Session::add_all`].
    ///
    /// # Errors
    /// Those of [`Session::add_all`] and of [`AsyncSession::run`].
    pub async fn add_all<N: Insert + Send + 'static>(
        &mut self,
        rows: impl IntoIterator<Item = N>,
    ) -> Result<Vec<Stored<N::Model>>> {
        let rows: Vec<N> = rows.into_iter().collect();
        self.run(|session| session.add_all(rows)).await
    }

    /// Adds a row with a given id; see [`Session::add_with_id`].
    ///
    /// # Errors
    /// Those of [`Session::add_with_id`] and of [`AsyncSession::run`].
    pub async fn add_with_id<N: Insert<Model: SequenceId> + Send + 'static>(
        &mut self,
        id: <N::Model as Sharded>::Id,
        new: N,
    ) -> Result<Stored<N::Model>> {
        self.run(move |session| session.add_with_id(id, new)).await
    }

    /// Returns the row with this id, or `None`; see [`Session::get`].
    ///
    /// # Errors
    /// Those of [`Session::get`] and of [`AsyncSession::run`].
    pub async fn get<T: Sharded>(&mut self, id: impl Locate<T>) -> Result<Option<Stored<T>>> {
        let id = id.locate();
        if let Some(found) = self.at_once(|session| session.get_at_once(&id)) {
            return found;
        }
        self.read(|session| session.get(id)).await
    }

    /// Returns all rows of a query, in its order; see [`Session::all`].
    ///
    /// # Errors
    /// Those of [`Session::all`] and of [`AsyncSession::run`].
    pub async fn all<Q>(&mut self, query: Q) -> Result<Vec<Q::Output>>
    where
        Q: Query<Output: Send + 'static> + Send + 'static,
    {
        self.read(|session| session.all(query)).await
    }

    /// Returns the first row of a query, or `None`; see [`Session::first`].
    ///
    /// # Errors
    /// Those of [`Session::first`] and of [`AsyncSession::run`].
    pub async fn first<Q>(&mut self, query: Q) -> Result<Option<Q::Output>>
    where
        Q: Query<Output: Send + 'static> + Send + 'static,
    {
        self.read(|session| session.first(query)).await
    }

    /// Returns the only row of a query; see [`Session::one`].
    ///
    /// # Errors
    /// Those of [`Session::one`] and of [`AsyncSession::run`].
    pub async fn one<Q>(&mut self, query: Q) -> Result<Q::Output>
    where
        Q: Query<Output: Send + 'static> + Send + 'static,
    {
        self.read(|session| session.one(query)).await
    }

    /// Returns the rows of the shards that answer, and the errors of the others; see [`Session::all_available`].
    ///
    /// # Errors
    /// Those of [`Session::all_available`] and of [`AsyncSession::run`].
    pub async fn all_available<Q>(&mut self, query: Q) -> Result<PartialResult<Q::Output>>
    where
        Q: Query<Output: Send + 'static> + Send + 'static,
    {
        self.read(|session| session.all_available(query)).await
    }

    /// Returns the rows of a query, each with its children; see [`Session::all_with`].
    ///
    /// # Errors
    /// Those of [`Session::all_with`] and of [`AsyncSession::run`].
    pub async fn all_with<D>(
        &mut self,
        parents: Select<<D::Child as Child>::Parent, impl IsRouted + 'static>,
    ) -> Result<Vec<WithChildren<<D::Child as Child>::Parent, D>>>
    where
        D: Descendants<Output: Send + 'static> + 'static,
    {
        self.read(|session| session.all_with::<D>(parents)).await
    }

    /// Returns the parent of a row, from the row's shard; see [`Session::parent`].
    ///
    /// # Errors
    /// Those of [`Session::parent`] and of [`AsyncSession::run`].
    pub async fn parent<C: Child>(&mut self, child: &Stored<C>) -> Result<Stored<C::Parent>> {
        let child = child.clone();
        self.read(move |session| session.parent(&child)).await
    }

    /// Reads a row again from its shard; see [`Session::reload`].
    ///
    /// # Errors
    /// Those of [`Session::reload`] and of [`AsyncSession::run`].
    pub async fn reload<T: Sharded>(&mut self, row: &mut Stored<T>) -> Result<()> {
        let mut fresh = row.clone();
        *row = self.read(move |session| session.reload(&mut fresh).map(|()| fresh)).await?;
        Ok(())
    }

    /// Enqueues an update of the changed columns of a row; see [`Session::update`].
    ///
    /// # Errors
    /// Those of [`Session::update`] and of [`AsyncSession::run`].
    pub async fn update<T: Sharded + Clone>(&mut self, row: &mut Stored<T>) -> Result<()> {
        let mut changed = row.clone();
        *row = self.run(move |session| session.update(&mut changed).map(|()| changed)).await?;
        Ok(())
    }

    /// Deletes a row; see [`Session::delete`].
    ///
    /// # Errors
    /// Those of [`Session::delete`] and of [`AsyncSession::run`].
    pub async fn delete<T: Sharded>(&mut self, row: &Stored<T>) -> Result<()> {
        let row = row.clone();
        self.run(move |session| session.delete(&row)).await
    }

    /// Inserts a row or, if its id exists, changes it; see [`Session::save`].
    ///
    /// # Errors
    /// Those of [`Session::save`] and of [`AsyncSession::run`].
    pub async fn save<T: KnownId + Clone>(&mut self, row: T) -> Result<Stored<T>> {
        self.run(|session| session.save(row)).await
    }

    /// Moves a row to the shard of its changed key; see [`Session::relocate`].
    ///
    /// # Errors
    /// Those of [`Session::relocate`] and of [`AsyncSession::run`].
    pub async fn relocate<T: Sharded<Key: DecidesShard> + Clone>(
        &mut self,
        row: &mut Stored<T>,
        change: impl FnOnce(&mut T) + Send + 'static,
    ) -> Result<Relocated> {
        let mut moved = row.clone();
        let relocate = move |session: &mut Session| {
            session.relocate(&mut moved, change).map(|relocated| (moved, relocated))
        };
        let (moved, relocated) = self.run(relocate).await?;
        *row = moved;
        Ok(relocated)
    }

    /// Executes a bulk update or delete, or SQL that writes; see [`Session::execute`].
    ///
    /// # Errors
    /// Those of [`Session::execute`] and of [`AsyncSession::run`].
    pub async fn execute<W>(&mut self, statement: W) -> Result<W::Output>
    where
        W: Write<Output: Send> + Send + 'static,
    {
        self.run(|session| session.execute(statement)).await
    }

    /// Sends the pending changes without committing them; see [`Session::flush`].
    ///
    /// # Errors
    /// Those of [`Session::flush`] and of [`AsyncSession::run`].
    pub async fn flush(&mut self) -> Result<()> {
        self.run(Session::flush).await
    }

    /// Runs a closure in a savepoint, and undoes its changes if it fails; see [`Session::savepoint`].
    ///
    /// # Errors
    /// Those of [`Session::savepoint`] and of [`AsyncSession::run`].
    pub async fn savepoint<O: Send + 'static>(
        &mut self,
        run: impl FnOnce(&mut Session) -> Result<O> + Send + 'static,
    ) -> Result<O> {
        self.try_savepoint(run).await
    }

    /// Runs a savepoint with an error type of the application; see [`Session::try_savepoint`].
    ///
    /// # Errors
    /// Those of [`Session::try_savepoint`] and of [`AsyncSession::run`].
    pub async fn try_savepoint<O, E>(
        &mut self,
        run: impl FnOnce(&mut Session) -> Result<O, E> + Send + 'static,
    ) -> Result<O, E>
    where
        O: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.try_run(|session| session.try_savepoint(run)).await
    }

    /// Sends the pending changes and commits; see [`Session::commit`]. If the future is dropped after the commit has
    /// begun, it still ends, on every shard or on none.
    ///
    /// # Errors
    /// Those of [`Session::commit`] and of [`AsyncSession::run`].
    pub async fn commit(&mut self) -> Result<Committed> {
        if let Some(committed) = self.at_once(|session| session.ends_at_once().then(|| session.commit())) {
            return committed.flatten();
        }
        self.run(Session::commit).await
    }

    /// Rolls back everything since the session began, or since its last commit; see [`Session::rollback`].
    pub async fn rollback(&mut self) {
        let rollback = |session: &mut Session| {
            session.rollback();
            Ok(())
        };
        let checkout = std::future::poll_fn(|context| self.slot.poll_checkout(context)).await;
        if checkout.is_active && !checkout.session.work.tx.ends_at_once() {
            // A thread is reserved for the session: the rollback does not wait for one.
            let _: Result<()> = self.send_task(checkout, rollback, None).await;
        } else if let Some(session) = self.guard(checkout).session() {
            session.rollback();
            self.slot.take_failure();
        }
    }
}
