//! Lets a session follow a change. It waits for the end of the switch, or cancels a switch that takes too long, and loads
//! the new layout. Uses `fence` and the cluster's state.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::fence::{is_gone, may_be_of_a_change};
use super::{ChangeRecord, ChangeState, Part, Role, lock_part, read_part, unfence, write_part};
use crate::driver::{Connection, TransactionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::planner::Location;
use crate::transaction::{Cluster, ClusterState, Control, Database};

/// How long a session waits before it looks at a change again.
pub(super) const PAUSE: Duration = Duration::from_millis(5);

impl Cluster {
    /// Returns the handle on the newest layout that this process has read.
    pub(crate) fn latest(&self) -> &Cluster {
        let mut latest = self;
        while let Some(next) = latest.0.next.get() {
            latest = next;
        }
        latest
    }

    /// Opens the cluster again if the recorded layout has a higher epoch than this handle's. Later sessions use the
    /// result.
    ///
    /// # Errors
    /// Those of [`Builder::open`](crate::Builder::open).
    pub(crate) fn reload(&self) -> Result<()> {
        let latest = self.latest();
        let _one = latest.0.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = latest.latest();
        if latest.0.control.facts()?.layout().epoch > latest.0.recorded.epoch {
            let next = (latest.0.reopen)(Arc::clone(&latest.0.control))?;
            let _ = latest.0.next.set(next);
            latest.0.pool.retire();
        }
        Ok(())
    }

    /// Returns the change that has caused a session's error, if any: a running one, or one that is not in this handle's
    /// layout.
    pub(crate) fn change_behind(&self, error: &Error) -> Option<ChangeRecord> {
        if error.is_of_a_change() || !may_be_of_a_change(error) || self.is_about_another_table(error) {
            return None;
        }
        let changes = self.0.control.changes().ok()?;
        // The identities of all shards that a transaction uses in one database are checked together.
        let database = |name: &str| {
            let index = self.0.layout.shards().get(name)?.index();
            self.0.layout.location(index).ok().map(|location| location.database)
        };
        let concerns = |change: &ChangeRecord| match error.shard() {
            Some(shard) => {
                let own = database(shard);
                change.has_source(shard)
                    || change.sources.iter().any(|source| own.is_some() && database(source) == own)
            }
            None => true,
        };
        let of_shard = changes.into_iter().rev().find(concerns);
        let is_known = |change: &ChangeRecord| change.is_decided() && change.epoch < self.0.recorded.epoch;
        of_shard.filter(|change| !is_known(change))
    }

    /// Returns whether an error is about anything other than a missing table of a model: a change hides only those.
    fn is_about_another_table(&self, error: &Error) -> bool {
        let is_of_a_model = || {
            let text = error.to_string();
            self.0.layout.tables().any(|table| text.contains(table.name))
        };
        error.kind() == ErrorKind::Schema && !(error.lacks_a_table() && is_of_a_model())
    }

    /// Waits for the end of a change's switch, or cancels the switch, and loads the new layout. The session's transaction
    /// has been rolled back, because the change may wait for it. Returns the error for the session.
    pub(crate) fn after_change(&self, change: ChangeRecord, error: Error) -> Error {
        let named = error.shard().filter(|shard| change.has_source(shard));
        let shard = named.or(change.sources.first().map(String::as_str)).unwrap_or_default().to_owned();
        let done = self.switching().wait(&change).and_then(|is_decided| match is_decided {
            true => self.reload().map(|()| "its rows are on other shards now"),
            false => Ok("the switch was cancelled"),
        });
        let (kind, message) = match done {
            Ok(what) => {
                let message = format!("{what}: the transaction was rolled back; run it again");
                (
                    ErrorKind::Moved,
                    format!("the shard was being moved by change {}, and {message}", change.number),
                )
            }
            Err(failed) => {
                let kind = if failed.is_retryable() { ErrorKind::Moved } else { failed.kind() };
                let number = change.number;
                (
                    kind,
                    format!(
                        "the shard is being moved by change {number}, which cannot be followed: {failed}"
                    ),
                )
            }
        };
        Error::new(kind, message).on_shard(&shard).with_source(error).of_a_change()
    }

    pub(crate) fn switching(&self) -> Switching<'_> {
        let ClusterState { control, layout, databases, timeout, .. } = &*self.0;
        Switching { control, layout, databases, timeout: *timeout }
    }
}

/// The switch of a change, for a process that meets the change: a session, or one that opens the cluster.
pub(crate) struct Switching<'s> {
    pub(crate) control: &'s Control,
    pub(crate) layout: &'s Layout,
    pub(crate) databases: &'s [Database],
    pub(crate) timeout: Duration,
}

impl Switching<'_> {
    /// After an error while opening the cluster: returns whether the layout may have changed, because a change was
    /// switching. Waits for the end of that switch.
    ///
    /// # Errors
    /// Those of waiting: the switch can be neither awaited nor cancelled.
    pub(crate) fn has_ended(&self, error: &Error) -> Result<bool> {
        if !may_be_of_a_change(error) {
            return Ok(false);
        }
        let changes = self.control.changes().unwrap_or_default();
        let is_known = |name: &String| self.layout.shards().get(name).is_some();
        let of_sources = changes.iter().filter(|change| change.sources.iter().any(is_known));
        let Some(change) = { of_sources }.next() else { return Ok(false) };
        // A fence that caused the error may have been removed since.
        if change.is_running() && !change.is_decided() && self.is_fenced(change).unwrap_or(false) {
            self.wait(change)?;
        }
        Ok(true)
    }

    /// Waits until a change no longer blocks its sources. Returns whether it is decided. If that takes too long, ends the
    /// attempt.
    pub(crate) fn wait(&self, change: &ChangeRecord) -> Result<bool> {
        let limit = change.budget.max(self.timeout);
        let began = Instant::now();
        loop {
            let now = self.control.change(change.number)?;
            match now {
                Some(now) if now.is_decided() => return Ok(true),
                Some(now) if now.attempt == change.attempt && now.state == ChangeState::Copying => {
                    if began.elapsed() >= limit {
                        return self.give_up_switch(change);
                    }
                    // The fence of this attempt may have been removed already.
                    if !self.is_fenced(change)? {
                        return Ok(false);
                    }
                }
                _ if began.elapsed() >= limit => {
                    self.take_down_fences(change)?;
                    return Ok(false);
                }
                _ if !self.is_fenced(change)? => return Ok(false),
                _ => {}
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Ends the attempt of a change whose process does not finish its switch. Returns whether it was decided
    /// nevertheless.
    fn give_up_switch(&self, change: &ChangeRecord) -> Result<bool> {
        let now = self.control.next_attempt(change.number, Some(change.attempt), ChangeState::Copying)?;
        if now.is_some_and(|now| now.is_decided()) {
            return Ok(true);
        }
        self.take_down_fences(change).map(|()| false)
    }

    /// Returns whether any source has a fence.
    fn is_fenced(&self, change: &ChangeRecord) -> Result<bool> {
        for source in &change.sources {
            let part = self.at_shard(source, read_part).map_err(|error| error.on_shard(source))?;
            if part.is_some_and(|part| matches!(part.role, Role::Fenced | Role::Hidden)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the fences of earlier attempts from the sources of a change.
    fn take_down_fences(&self, change: &ChangeRecord) -> Result<()> {
        let Some(now) = self.control.change(change.number)? else { return Ok(()) };
        if now.is_decided() {
            return Ok(());
        }
        for target in &change.targets {
            // A target that does not exist serves nothing.
            let part = match self.at_shard(target, read_part) {
                Err(error) if is_gone(&error) => None,
                part => part.map_err(|error| error.on_shard(target))?,
            };
            part.map_or(Ok(()), |part| refuse_serving(part, change.number, target))?;
        }
        for source in &change.sources {
            self.at_shard(source, |connection, location| {
                take_down(connection, location, (source, change.number), now.attempt)
            })
            .map_err(|error| error.on_shard(source))?;
        }
        Ok(())
    }

    pub(super) fn at_shard<O>(
        &self,
        shard: &str,
        run: impl FnOnce(&dyn Connection, &Location) -> Result<O>,
    ) -> Result<O> {
        let location = self.layout.location(self.layout.shards().require(shard)?.index())?;
        let Some(database) = self.databases.get(location.database) else {
            return Err(Error::new(ErrorKind::UnknownShard, "the shard has no database").on_shard(shard));
        };
        let connection = database.driver.connect_durable(self.timeout)?;
        run(&*connection, location)
    }
}

/// Refuses a target that serves although control has not decided the change.
///
/// # Errors
/// [`ErrorKind::Layout`] if it does.
pub(crate) fn refuse_serving(part: Part, change: u64, target: &str) -> Result<()> {
    if part.role != Role::Serving || part.change != change {
        return Ok(());
    }
    let message = format!(
        "the shard serves since change {change}, which is not decided in the control database: control was restored from an older \
         copy; restore a newer one"
    );
    Err(Error::new(ErrorKind::Layout, message).on_shard(target))
}

/// Removes the fence of an earlier attempt than this one.
pub(super) fn take_down(
    connection: &dyn Connection,
    location: &Location,
    (shard, change): (&str, u64),
    attempt: u64,
) -> Result<()> {
    connection.begin(TransactionMode::Write)?;
    let down = lock_part(connection, location).and_then(|part| match part {
        Some(part)
            if part.change == change
                && part.attempt < attempt
                && matches!(part.role, Role::Fenced | Role::Hidden) =>
        {
            unfence(connection, location, (shard, change))?;
            write_part(connection, location, Some(Part { role: Role::Source, change, attempt }))
        }
        _ => Ok(()),
    });
    let down = down.and_then(|()| connection.commit());
    down.inspect_err(|_| {
        let _ = connection.rollback();
    })
}
