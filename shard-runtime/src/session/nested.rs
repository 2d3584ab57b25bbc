//! Parts of a unit of work that are undone by themselves, and units of work that are tried again.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::Session;
use super::link::{Link, Waits};
use super::pending::Pending;
use super::unwind::caught;
use crate::cluster::Cluster;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Dialect;

/// How often a unit of work is tried.
const TRIES: u32 = 10;

/// How many of the tries give a wait up early that could be a deadlock. The others wait for the whole busy timeout.
const EARLY_TRIES: u32 = TRIES / 2;

/// How long these wait. Longer than most transactions, much shorter than a busy timeout.
const SHORT_WAIT: Duration = Duration::from_millis(20);

/// The longest pause before the second try; it doubles with each, up to the longest of all.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

impl Session {
    /// Runs a part of the unit of work that is undone by itself where it fails: on every shard that it has touched, and
    /// nothing else. What waits is written before it begins, and what it has added is written before it ends. Parts
    /// may be nested. Only the whole unit is committed.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Error, ErrorKind, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// let mut session = cluster.session();
    /// session.add_all((1..5).map(|id| Account { id, cents: 100 }))?;
    /// let again = session.savepoint(|session| {
    ///     session.add(Account { id: 7, cents: 1 })?;
    ///     session.add(Account { id: 3, cents: 1 })?; // there is one already
    ///     Ok::<(), Error>(())
    /// });
    /// assert_eq!(again.unwrap_err().kind(), ErrorKind::Unique);
    /// session.commit()?;
    /// assert_eq!(session.one(Account::select().all_shards().count())?, 4);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The closure's; those of [`Session::flush`], before it and after it. [`ErrorKind::Aborted`] where a database has
    /// ended its transaction by itself: then the whole unit of work is undone, and the session has to be rolled back.
    pub fn savepoint<O, E: From<Error>>(
        &mut self,
        run: impl FnOnce(&mut Session) -> Result<O, E>,
    ) -> Result<O, E> {
        self.flush()?;
        let around: Vec<usize> = self.writing().collect();
        self.on_links(&around, Link::savepoint)?;
        self.depth += 1;
        let depth = self.depth;
        let (result, panic) = caught(|| {
            let result = run(self).and_then(|done| self.flush().map(|()| done).map_err(E::from));
            Ok(result)
        });
        // If it was rolled back as a whole on the way, nothing is left of the savepoint.
        let is_open = self.depth == depth;
        if is_open {
            self.depth -= 1;
            if !matches!(result, Ok(Ok(_))) {
                self.undo_after(&around);
            }
        }
        panic.go_on();
        let done = result??;
        if is_open {
            self.on_links(&around, Link::release)?;
        }
        Ok(done)
    }

    /// Undoes what came after a savepoint on these databases, and everything on those that were not written before it.
    fn undo_after(&mut self, around: &[usize]) {
        self.pending.iter_mut().for_each(Pending::forget);
        self.identities.clear();
        let lost = self.links.iter().any(Link::has_lost_its_transaction);
        if lost || self.on_links(around, Link::rollback_to_savepoint).is_err() {
            let said =
                "a database has ended its transaction, and what came before the savepoint is lost with it";
            self.abort(&Error::new(ErrorKind::Aborted, said));
            return;
        }
        let begun: Vec<usize> = self.writing().filter(|database| !around.contains(database)).collect();
        for database in begun {
            self.links.get_mut(database).map(Link::rollback);
        }
    }

    /// The databases that this session may write to now.
    pub(super) fn writing(&self) -> impl Iterator<Item = usize> {
        self.links.iter().enumerate().filter(|(_, link)| link.may_write()).map(|(database, _)| database)
    }

    pub(super) fn on_links(&mut self, databases: &[usize], act: fn(&mut Link) -> Result<()>) -> Result<()> {
        let mut links = self.links.iter_mut().enumerate();
        links.try_for_each(|(database, link)| if databases.contains(&database) { act(link) } else { Ok(()) })
    }
}

impl Session {
    /// Begins to write these databases in the cluster's order, before anything else is done. On a server, whose locks are
    /// the rows', retries exclude each other, and other tries that are in the way give up early.
    fn lock_in_order(&mut self, databases: &BTreeMap<usize, usize>) -> Result<()> {
        // Connections before locks: a session that holds a lock and waits for a connection could wait for a session that
        // waits for the lock.
        for &database in databases.keys() {
            let is_server = self.cluster.dialect(database) == Dialect::Postgres;
            let Some(link) = self.links.get_mut(database).filter(|_| is_server) else { continue };
            let reserved = link.reserve(&self.cluster, &self.holder, database);
            let reserved = reserved.map_err(|error| self.named(database, error));
            self.in_the_way(reserved)?;
        }
        for (&database, &shard) in databases {
            self.locked_first.insert(database);
            self.take_write(shard)?;
            let key = format!("{}/{}", self.cluster.id(), self.cluster.database_name(database));
            let connection = self.links.get(database).and_then(Link::connection);
            let locked = connection.map_or(Ok(()), |connection| connection.lock_for_retry(&key));
            let locked = locked.map_err(|error| self.named(database, error));
            self.in_the_way(locked)?;
        }
        Ok(())
    }

    /// From now on servers end waits for locks early, if this session holds locks on several databases that it has not
    /// taken in the cluster's order. The wait may be for a session that waits for this one on another server, which neither
    /// server can see.
    pub(super) fn limit_lock_waits(&self) {
        if self.gives_up_early && self.writing().count() > 1 && !self.writes_in_order() {
            let connections = self.links.iter().filter(|link| link.may_write()).filter_map(Link::connection);
            connections.for_each(|connection| connection.limit_lock_waits(SHORT_WAIT));
        }
    }

    /// How long this session waits for this database. With locks that it has not taken in order it could wait for a session
    /// that waits for it: for one of its rows or for its connections. Deadlocks among files alone are noticed.
    pub(super) fn waits(&self, database: usize) -> Waits {
        let is_in_order = self.locked_first.contains(&database) && self.writes_in_order();
        if !self.gives_up_early || is_in_order || self.writing().next().is_none() {
            return Waits::default();
        }
        let writes_a_server = self.writing().any(|other| self.cluster.dialect(other) == Dialect::Postgres);
        let for_a_file = writes_a_server.then_some(SHORT_WAIT);
        Waits { for_a_connection: Some(SHORT_WAIT), for_a_file, deadline: None }
    }

    fn writes_in_order(&self) -> bool {
        self.writing().all(|database| self.locked_first.contains(&database))
    }
}

impl Cluster {
    /// Runs a closure in a session of its own and commits it; if it fails, the session is rolled back. After an error that
    /// is [retryable](Error::is_retryable) the closure runs again, in a new session, up to ten times in all, after a
    /// pause of random length that grows with each time, from 2 to 250 ms at most (exponential backoff with full jitter;
    /// M. Brooker, "Exponential Backoff And Jitter", 2015). So side effects of the closure must bear being repeated.
    ///
    /// A retry first takes the locks of the tries before it, in the cluster's order: it begins to write the databases that
    /// they had written or wanted to write, and on servers excludes other retries. It runs the closure only if it gets
    /// them. Two transactions that lock the same databases in opposite orders therefore meet once, and not again. That they
    /// have met is noticed at once if they wait for SQLite databases, and after 20 ms if one waits for a server; see
    /// [`Builder::busy_timeout`](crate::Builder::busy_timeout).
    ///
    /// If a server was lost or has become a standby, the closure runs again until the busy timeout is over, however often
    /// that is: a failover takes seconds, and new connections find the new primary. A commit whose outcome is not known
    /// ([`ErrorKind::InDoubt`]), or that stored a part ([`ErrorKind::PartialCommit`]), is never run again.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Error, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// # cluster.transaction(|session| {
    /// #     session.add_all((1..5).map(|id| Account { id, cents: 100 }))?;
    /// #     Ok::<(), Error>(())
    /// # })?;
    /// let left = cluster.transaction(|session| {
    ///     let mut account = session.get::<Account>(3)?.expect("there is such an account");
    ///     account.cents -= 30;
    ///     session.update(&mut account)?;
    ///     Ok::<i64, Error>(account.cents)
    /// })?;
    /// assert_eq!(left, 70);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The closure's, those of [`Session::commit`]; of the last try, where it was run again.
    pub fn transaction<O, E: From<Error>>(
        &self,
        mut run: impl FnMut(&mut Session) -> Result<O, E>,
    ) -> Result<O, E> {
        let mut pause = FIRST_PAUSE;
        let mut tried = 1;
        let mut lost_since = None;
        let (mut age, mut wanted) = (None, BTreeMap::new());
        loop {
            let mut session = self.session();
            (session.age, session.gives_up_early) = (age, tried <= EARLY_TRIES);
            let result = session.lock_in_order(&wanted).map_err(E::from);
            let result = result
                .and_then(|()| run(&mut session))
                .and_then(|done| session.commit().map(|_| done).map_err(E::from));
            let has_time = session.has_lost_a_server
                && lost_since.get_or_insert_with(Instant::now).elapsed() < self.busy_timeout();
            let has_tries = tried < TRIES || has_time;
            if result.is_ok() || !session.was_in_the_way || session.may_be_stored || !has_tries {
                return result;
            }
            age = session.age;
            // A lost server did not fail for the order of locks, and the closure may do without it.
            match session.has_lost_a_server {
                true => wanted.clear(),
                false => wanted.append(&mut session.wanted),
            }
            drop(session);
            std::thread::sleep(pause.mul_f64(chance()));
            pause = (pause * 2).min(LONGEST_PAUSE);
            tried += 1;
        }
    }
}

/// A number from 0 to 1 that is another one each time.
fn chance() -> f64 {
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}
