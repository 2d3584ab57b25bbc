//! Opens the databases of a cluster: connects to each, makes or checks its tables, and records facts about it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::opening::{self, Opening};
use crate::driver::{Connection, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{Shard, ShardRole, Table};
use crate::transaction::facts::{Kind, MADE, Position};
use crate::transaction::{Database, ids};

/// The largest number of databases that are opened at the same time.
const AT_ONCE: usize = 16;

/// The number of files that a thread opens in about the time that starting it takes.
const FILES_PER_THREAD: usize = 8;

/// The databases of a cluster that is being opened.
pub(super) struct Databases<'o> {
    pub(super) opening: Opening<'o>,
    pub(super) timeout: Duration,
    /// Whether servers must be able to prepare transactions.
    pub(super) prepares: bool,
    /// The highest ids of models with generated ids on the opened shards.
    pub(super) highest: Mutex<Vec<(&'static Table, i64)>>,
}

/// A database that was opened: its connection, if the pool takes it, and the position of its log.
type Opened = (Option<Box<dyn Connection>>, Option<Position>);

/// All databases, opened.
pub(super) struct OpenedDatabases {
    /// The connections that the pool takes.
    pub(super) connections: Vec<Option<Box<dyn Connection>>>,
    /// The spare shards that could not be opened, and the reasons.
    pub(super) absent: Vec<(String, String)>,
}

impl Databases<'_> {
    /// Opens all databases and records facts about them.
    pub(super) fn open(self, mode: Mode) -> Result<OpenedDatabases> {
        let Opening { layout, control, facts, databases, record: recorded, .. } = &self.opening;
        let opened: Vec<Result<Opened>> = match mode {
            // One after the other, up to the first that fails.
            Mode::Create => {
                let mut opened = Vec::with_capacity(databases.len());
                for database in 0..databases.len() {
                    let made = self.open_one(database, mode);
                    let failed = made.as_ref().err().map(Error::kind);
                    opened.push(made);
                    if failed == Some(ErrorKind::Schema) {
                        (database + 1..databases.len()).for_each(|other| self.compare_existing(other));
                    }
                    if failed.is_some() {
                        break;
                    }
                }
                opened
            }
            Mode::Open => self.open_all(),
        };
        let mut record: Vec<(Kind, &str, String)> = Vec::new();
        for (index, opened) in opened.iter().enumerate() {
            let Ok((_, position)) = opened else { continue };
            let mut shards = layout.shards_in(index);
            if let (Some(position), Some(first)) = (position, layout.shards_in(index).next()) {
                record.push((Kind::Server, first.name(), position.text()));
            }
            if databases.get(index).is_some_and(|database| !database.driver.is_private()) {
                let is_unknown = |shard: &&Shard| {
                    let is_known = mode == Mode::Open && facts.is_made(shard.name());
                    !is_known && !self.opening.is_absent(shard)
                };
                record.extend(
                    shards
                        .by_ref()
                        .filter(is_unknown)
                        .map(|shard| (Kind::Shard, shard.name(), MADE.to_owned())),
                );
            }
        }
        let groups = match mode {
            Mode::Create if opened.iter().all(Result::is_ok) => {
                recorded.lock().unwrap_or_else(PoisonError::into_inner).new_groups(layout)
            }
            _ => Vec::new(),
        };
        record.extend(groups.into_iter().map(|(table, group)| (Kind::Group, table, group)));
        let recorded = if control.driver.is_private() { Ok(()) } else { control.record(&record) };
        let connections = opened.into_iter().map(|opened| opened.map(|(connection, _)| connection));
        let connections = connections.collect::<Result<Vec<_>>>();
        let connections = connections.map_err(|error| self.opening.with_differences(error))?;
        let highest = self.highest.into_inner().unwrap_or_else(PoisonError::into_inner);
        match control.start_ids_above(&highest) {
            // A cluster that cannot be written generates no ids.
            Err(error) if mode == Mode::Open && error.kind() == ErrorKind::ReadOnly => {}
            started => started.map_err(|error| {
                let message = format!("the control database: {error}");
                Error::new(error.kind(), message).with_source(error)
            })?,
        }
        match (mode, recorded) {
            (Mode::Create, Err(error)) => {
                let message = format!("the control database: {error}");
                Err(Error::new(error.kind(), message).with_source(error))
            }
            // If control cannot be written, the cluster can still be read, and the next process records the facts.
            _ => {
                let absent = self.opening.absent.into_inner().unwrap_or_else(PoisonError::into_inner);
                Ok(OpenedDatabases { connections, absent })
            }
        }
    }

    /// Finds differences between tables and models for an error that is returned in any case.
    fn compare_existing(&self, index: usize) {
        if let Some(Database { driver }) = self.opening.databases.get(index)
            && let Ok(connection) = driver.connect_waiting(Mode::Open, self.timeout)
        {
            let _ = self.opening.compare_existing(&*connection, index);
        }
    }

    fn open_all(&self) -> Vec<Result<Opened>> {
        let databases = self.opening.databases.len();
        let has_server =
            self.opening.databases.iter().any(|database| database.driver.dialect().is_on_server());
        // Opening a server is mostly waiting, so that each gets a thread.
        let threads = if has_server { databases } else { databases.div_ceil(FILES_PER_THREAD) }.min(AT_ONCE);
        if threads < 2 {
            return (0..databases).map(|database| self.open_one(database, Mode::Open)).collect();
        }
        let (next, opened) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(databases)));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let database = next.fetch_add(1, Ordering::Relaxed);
                        if database >= databases {
                            return;
                        }
                        let one = self.open_one(database, Mode::Open);
                        opened.lock().unwrap_or_else(PoisonError::into_inner).push((database, one));
                    }
                });
            }
        });
        let mut opened = opened.into_inner().unwrap_or_else(PoisonError::into_inner);
        opened.sort_by_key(|(database, _)| *database);
        opened.into_iter().map(|(_, one)| one).collect()
    }

    fn open_one(&self, index: usize, mode: Mode) -> Result<Opened> {
        let Opening { layout, databases, .. } = &self.opening;
        let Some(Database { driver }) = databases.get(index) else { return Ok((None, None)) };
        // If a shard has existed, its file or schema is not made again.
        let exists = layout.shards_in(index).any(|shard| self.opening.must_exist(shard));
        let how = if exists { Mode::Open } else { mode };
        let is_spare = layout.shards_in(index).all(|shard| shard.role() == ShardRole::Spare);
        let connected = driver.connect_waiting(how, self.timeout);
        let connection = match connected.map_err(|error| self.opening.unreachable(error, index)) {
            Err(error) if is_spare && mode == Mode::Open => {
                layout.shards_in(index).for_each(|shard| self.opening.note_absent(shard, &error));
                return Ok((None, None));
            }
            connected => connected?,
        };
        let opened = match self.prepares && driver.dialect().prepares_transactions() {
            true => opening::check_prepares(&*connection),
            false => Ok(()),
        };
        let opened = opened.and_then(|()| match mode {
            Mode::Create => self.opening.create(&*connection, index),
            Mode::Open => self.opening.check(&*connection, index),
        });
        let opened = opened.and_then(|position| {
            // Before a migration, tables may not exist yet.
            let is_read = |shard: &&Shard| !self.opening.migrates && !self.opening.is_absent(shard);
            for shard in layout.shards_in(index).filter(is_read) {
                let mut held = match ids::highest(&*connection, layout.location(shard.index())?, layout) {
                    // A role that may not read the tables adds no rows.
                    Err(error) if mode == Mode::Open && error.kind() == ErrorKind::Denied => continue,
                    held => held.map_err(|error| error.on_shard(shard.name()))?,
                };
                self.highest.lock().unwrap_or_else(PoisonError::into_inner).append(&mut held);
            }
            Ok(position)
        });
        // An error of the whole database names its first shard.
        let position = opened.map_err(|error| match layout.shards_in(index).next() {
            Some(shard) => error.on_shard(shard.name()),
            None => error,
        })?;
        // Connecting to a server is slow, so that the pool takes this connection.
        Ok((Some(connection).filter(|_| driver.dialect().is_on_server()), position))
    }
}
