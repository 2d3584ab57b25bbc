//! `move_key`: one key of a placement group moves to another serving shard, in one global transaction. Uses
//! `transaction::change`, and `unit_of_work` for the rows.
//!
//! | step | where | what |
//! |---|---|---|
//! | 1 | control | the intent: from, to, and the lines that the group has then |
//! | 2 | old shard | triggers that refuse rows of keys that have left, if it has none yet |
//! | 3 | both shards, and those of lookup entries | one global transaction: the rows, and the key and epoch on the old shard |
//! | 4 | control | the lines and the epoch; the intent is removed |
//!
//! If a process dies before the decision of step 3, the key has not moved. The next process that needs the layout then removes
//! the intent. After the decision, any process can do step 4.

use std::time::{Duration, Instant};

use super::lines;
use super::links::{Links, LockWait, endpoint};
use super::plan::read_rule;
use crate::cluster::administration::serialized;
use crate::cluster::migrate::MigrationLock;
use crate::driver::{FENCED_STATE, KEY_LEFT};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::route;
use crate::planner::sql::{LEFT_TRIGGER, RefusedKeys};
use crate::query::{Pin, Sharded};
use crate::schema::{DecidesShard, Shard, ShardRole, Table, key_literal};
use crate::transaction::Cluster;
use crate::transaction::change::{KeyMoveRecord, triggers};
use crate::transaction::facts::SEPARATOR;
use crate::transaction::recorded::root;
use crate::unit_of_work::{ChangedId, KeyToMove, UnitOfWork};
use crate::value::Value;

/// The default limit of rows that one transaction moves. Writers of the old shard wait for it.
const MAX_ROWS: u64 = 10_000;

/// The pause of a move after a conflict with another transaction.
const PAUSE: Duration = Duration::from_millis(20);

/// The move of a key to another shard; made by [`Cluster::move_key`].
#[derive(Debug)]
#[must_use = "nothing is moved before `run`"]
pub struct KeyMove<'c> {
    cluster: &'c Cluster,
    table: &'static Table,
    /// An error is returned by `run`.
    key: Result<Vec<Value<'static>>>,
    shard: String,
    max_rows: u64,
}

/// A key that has moved; returned by [`KeyMove::run`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MovedKey {
    /// The shard that had the key.
    pub from: String,
    /// The shard that has it now.
    pub to: String,
    /// The number of moved rows, of all tables of the placement group, with their descendants.
    pub rows: u64,
    /// The ids that are other ones now: those that their shard had counted (`#[id(auto)]`).
    pub ids: Vec<ChangedId>,
    /// The epoch of the layout.
    pub epoch: u64,
}

serialized! { MovedKey { from, to, rows, ids, epoch } }
serialized! { ChangedId { table, before, after } }

impl Cluster {
    /// Prepares to move one key to another shard while the application reads and writes. All rows with this key move: those of
    /// the model, of all other models of its placement group, and their descendants. For a child it is the key of its parent.
    ///
    /// The rows move in one transaction, and the layout gets the line `key 42 => c`. From then on the old shard's database
    /// refuses rows with this key, also from processes with the old layout.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # #[sharded(table = "accounts")]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let folder = std::env::temp_dir().join(format!("sharded-move-key-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// # let url = |shard: &str| format!("sqlite:{}", folder.join(shard).display());
    /// # let cluster = Cluster::builder().shard("a", url("a.db")).shard("b", url("b.db")).create::<Account>()?;
    /// # cluster.transaction(|session| session.add_all((0..100).map(|id| Account { id, cents: 100 })))?;
    /// assert_eq!(cluster.locate::<Account>(7)?.name(), "b");
    /// let moved = cluster.move_key::<Account>(7, "a").run()?;
    /// assert_eq!((moved.rows, cluster.locate::<Account>(7)?.name()), (1, "a"));
    /// # drop(cluster);
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn move_key<T: Sharded<Key: DecidesShard>>(
        &self,
        key: impl Into<T::Key>,
        shard: &str,
    ) -> KeyMove<'_> {
        let key = match Pin::key(&key.into()) {
            Pin::Key(values) => values.map_err(Error::from),
            _ => Ok(Vec::new()),
        };
        KeyMove { cluster: self, table: T::TABLE, key, shard: shard.to_owned(), max_rows: MAX_ROWS }
    }

    /// Does the same as [`Cluster::move_key`], with the name of a table or a model and a key as text.
    #[cfg(feature = "admin")]
    pub(crate) fn move_key_text(&self, name: &str, key: &[String], shard: &str) -> Result<KeyMove<'_>> {
        let (table, key) = self.latest().key_of_text(name, key)?;
        Ok(KeyMove { cluster: self, table, key: Ok(key), shard: shard.to_owned(), max_rows: MAX_ROWS })
    }
}

/// The move, checked against the layout.
struct PlannedMove {
    record: KeyMoveRecord,
    roots: Vec<&'static Table>,
    from: usize,
    to: usize,
}

impl KeyMove<'_> {
    /// Sets how many rows the move may have at most; 10,000 by default. One transaction moves them, and writers of the old shard
    /// wait for it.
    pub fn max_rows(self, rows: u64) -> Self {
        KeyMove { max_rows: rows, ..self }
    }

    /// Moves the key. While other transactions hold locks, the move is retried up to the `busy_timeout`. If the key is on this
    /// shard already, nothing happens.
    ///
    /// If the process dies, the key has moved with all its rows, or not at all.
    ///
    /// # Errors
    /// - [`ErrorKind::UnmappedKey`] if the key is placed on no shard.
    /// - [`ErrorKind::UnknownShard`] if the shard is not configured.
    /// - [`ErrorKind::Layout`] if the shard does not serve, a change runs, or the cluster records a model that this program
    ///   lacks.
    /// - [`ErrorKind::Configuration`] for a cluster in memory.
    /// - [`ErrorKind::TooManyValues`] if there are more rows than [`max_rows`](KeyMove::max_rows): split the shard then.
    /// - [`ErrorKind::Unique`] if the new shard has a row with the same id or unique value.
    /// - Those of the databases.
    ///
    /// After an error the key has not moved, with two exceptions: [`ErrorKind::InDoubt`], and an error that ends with "the key
    /// has moved". In the second case only the new line is not recorded yet.
    pub fn run(self) -> Result<MovedKey> {
        let key = match &self.key {
            Ok(key) => key.clone(),
            Err(error) => {
                return Err(Error::new(error.kind(), error.to_string()).in_table(self.table.name));
            }
        };
        let began = Instant::now();
        loop {
            match self.try_run(&key) {
                Err(error) if error.is_retryable() && began.elapsed() < self.cluster.0.timeout => {
                    std::thread::sleep(PAUSE);
                }
                done => return done,
            }
        }
    }

    fn try_run(&self, key: &[Value<'static>]) -> Result<MovedKey> {
        self.cluster.end_key_move()?;
        self.cluster.reload()?;
        let cluster = self.cluster.latest().clone();
        let PlannedMove { record, roots, from, to } = plan(&cluster, self.table, key, &self.shard)?;
        let (name, epoch) = (record.from.clone(), record.epoch);
        if from == to {
            return Ok(MovedKey { from: name, to: record.to, rows: 0, ids: Vec::new(), epoch });
        }
        let control = &cluster.0.control;
        let record = {
            // A migration that begins later finds the intent.
            let _lock = MigrationLock::take(&*control.driver, &control.cluster, cluster.0.timeout, || {})?;
            let groups = cluster.0.recorded.new_groups(&cluster.0.layout);
            control.begin_key_move(&record, &groups)?
        };
        let mut work = UnitOfWork::new(cluster.clone(), None);
        let moved = KeyToMove { record: &record, key, roots: &roots, from, to, max_rows: self.max_rows };
        let relocated = refuse_rows(&cluster, &moved).and_then(|()| work.move_key(&moved));
        let done = relocated.and_then(|relocated| match work.commit() {
            Ok(committed) => Ok((relocated, committed.pending().is_empty())),
            Err(error) => {
                // If the reply of a server was lost, the transaction may be decided.
                work.rollback();
                let has_moved = cluster.switching().end_key_move().is_ok_and(|has_moved| has_moved);
                if has_moved { Ok((relocated, false)) } else { Err(error) }
            }
        });
        if done.is_err() {
            work.rollback();
            // If that fails, the next process that needs the layout does it.
            let _ = cluster.switching().end_key_move();
        }
        let (relocated, is_applied) = done?;
        let recorded = synced(&cluster, [from, to]).and_then(|()| match is_applied {
            true => control.finish_key_move(&record),
            false => cluster.switching().finish_key_move().map(drop),
        });
        recorded.map_err(|error| {
            error.with_remedy("the key has moved; the next session that meets it records its line")
        })?;
        cluster.reload()?;
        Ok(MovedKey { from: name, to: record.to, rows: relocated.rows, ids: relocated.ids, epoch: epoch + 1 })
    }
}

/// Waits until the rows are on disk on both shards, if commits do not wait for it: the lines in control are on disk.
fn synced(cluster: &Cluster, shards: [usize; 2]) -> Result<()> {
    shards.iter().try_for_each(|&shard| {
        let database = cluster.0.layout.location(shard)?.database;
        cluster.connect_aside(database, true)?.sync()
    })
}

/// Checks a move against the recorded layout.
fn plan(
    cluster: &Cluster,
    table: &'static Table,
    key: &[Value<'static>],
    shard: &str,
) -> Result<PlannedMove> {
    let (layout, recorded) = (&cluster.0.layout, &cluster.0.recorded);
    layout.model(table)?;
    let shards = layout.shards();
    if recorded.role(shard) == Some(ShardRole::Retired) {
        let message = "a change has retired the shard; name one that serves";
        return Err(Error::new(ErrorKind::Layout, message).on_shard(shard));
    }
    let target = shards.require(shard)?;
    if target.role() != ShardRole::Serving {
        let message = format!(
            "the shard is {} and serves nothing; name one that serves, or give it the key by a change that splits the key's shard",
            target.role().name()
        );
        return Err(Error::new(ErrorKind::Layout, message).on_shard(shard));
    }
    let from = route::pin_shard(table, &Pin::Key(Ok(key.to_vec())), shards)?;
    let source = shards.by_index(from).map_or("", Shard::name);
    for index in [from, target.index()] {
        let database = layout.location(index)?.database;
        if cluster.0.databases.get(database).is_none_or(|database| database.driver.is_private()) {
            let message =
                "a key of a shard in memory cannot be moved; keep the cluster in files or on servers";
            return Err(Error::new(ErrorKind::Configuration, message).on_shard(source));
        }
    }
    let tables: Vec<&'static Table> = layout.tables().collect();
    let declared = tables.iter().map(|table| table.name);
    recorded.lines.refuse_undeclared(declared, ("would stay behind", "move the key"))?;
    let group = recorded.leader(table, &tables, shards);
    let is_root = |table: &&&'static Table| {
        !table.is_reference() && root(table).is(table) && recorded.leader(table, &tables, shards) == group
    };
    // Parents first, as in the layout.
    let roots: Vec<&'static Table> = tables.iter().filter(is_root).copied().collect();
    let before = recorded.current_lines(table, &tables, shards)?;
    let text = key_literal(key);
    let others = lines::without_key(&before, &text);
    // The shard of the key if it has no line of its own.
    let other = read_rule(cluster, table, &others)
        .and_then(|rule| rule.place(key, &root(table).placement))
        .ok()
        .and_then(|shard| shards.by_index(shard));
    let after = match other {
        Some(other) if other.name() == shard => others,
        _ => lines::with_key(others, &text, shard),
    };
    read_rule(cluster, table, &after)?;
    let record = KeyMoveRecord {
        number: 0,
        epoch: recorded.epoch,
        from: source.to_owned(),
        to: shard.to_owned(),
        group,
        key: text,
        lines: after,
    };
    Ok(PlannedMove { record, roots, from, to: target.index() })
}

/// Makes triggers on the old shard that refuse rows of keys that have left it, if they do not exist.
fn refuse_rows(cluster: &Cluster, moved: &KeyToMove<'_>) -> Result<()> {
    let endpoint = endpoint(cluster, &moved.record.from, true)?;
    let links = Links::connect(cluster, [endpoint])?;
    let connection = links.at(endpoint)?;
    let group = format!("{}{SEPARATOR}", moved.record.group);
    let message = format!("{KEY_LEFT}; open the cluster again");
    let refused = |table| RefusedKeys { table, group: &group, message: &message, code: FENCED_STATE };
    let known = triggers(connection, endpoint.location, LEFT_TRIGGER)?;
    let is_new = |refused: &RefusedKeys<'_>| !known.iter().any(|known| known.contains(&refused.trigger()));
    let new: Vec<RefusedKeys<'_>> = moved.roots.iter().map(|table| refused(table)).filter(is_new).collect();
    if new.is_empty() {
        return Ok(());
    }
    let made = links.transaction(&[endpoint], LockWait::Timeout, || {
        new.iter().try_for_each(|refused| {
            let sql = endpoint.location.dialect.refuse_left_sql(&endpoint.location.names, refused);
            let made = sql.iter().try_for_each(|sql| connection.lock(sql));
            made.map_err(|error| error.in_table(refused.table.name))
        })
    });
    made.map_err(|error| error.on_shard(&moved.record.from))
}

impl Cluster {
    /// Ends a key move whose process may have died, and loads the new layout.
    pub(crate) fn end_key_move(&self) -> Result<()> {
        let latest = self.latest();
        if latest.0.control.facts().is_ok_and(|facts| KeyMoveRecord::of(&facts).is_some()) {
            // The transaction that moves the rows may be decided and not finished.
            latest.recover()?;
            latest.switching().end_key_move()?;
            self.reload()?;
        }
        Ok(())
    }
}
