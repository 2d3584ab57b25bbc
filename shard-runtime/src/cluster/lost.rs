//! Shards before they are made: which are recorded, which are lost, and which records of lost ones are deleted.

use std::time::Duration;

use super::Builder;
use super::{lookups, opening};
use crate::driver::{Driver, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::planner::sql::Namespace;
use crate::schema::{Shard, Shards};
use crate::transaction::commit;
use crate::transaction::facts::{Facts, Kind, MADE, MAKING};
use crate::transaction::{Control, Database};

impl Builder {
    pub(super) fn check_replaced(&self, shards: &Shards, mode: Mode) -> Result<()> {
        self.replaced.iter().try_for_each(|name| shards.require(name).map(|_| ()))?;
        match mode == Mode::Open && !self.replaced.is_empty() {
            true => {
                let message = "`replace_lost` makes a shard again: call `create`, not `open`";
                Err(Error::new(ErrorKind::Configuration, message))
            }
            false => Ok(()),
        }
    }

    /// Records which shards will be made, before any of them is changed. Returns all recorded facts.
    pub(super) fn begin_to_make(
        &self,
        control: &Control,
        databases: &[Database],
        layout: &Layout,
    ) -> Result<Facts> {
        let known = control.facts()?;
        if control.driver.is_private() {
            return Ok(known);
        }
        let mut facts = known.clone();
        if !control.is_new && !known.has_shards() {
            // Earlier releases recorded the shards in each shard, and not in control.
            for name in shards_of_older_release(databases, layout, self.sqlite.busy_timeout) {
                facts.note_made(&name);
            }
        }
        for (index, Database { driver }) in databases.iter().enumerate() {
            self.forget_lost(control, databases, &**driver, layout, &facts, index)?;
        }
        let mut record = Vec::new();
        for shard in lasting(databases, layout) {
            let state = if facts.is_made(shard) { MADE } else { MAKING };
            let is_replaced = self.replaced.iter().any(|name| name == shard) && state == MADE;
            if !is_replaced && !known.is_recorded(shard, state) {
                record.push((Kind::Shard, shard, state.to_owned()));
            }
        }
        record.extend(lookups::unfilled(control, &known, layout, self.adopts));
        control.record(&record)?;
        Ok(facts)
    }

    /// Deletes the records in control of those lost shards of a database that are made again. It deletes nothing before it is
    /// certain that they are lost. It deletes nothing either if another shard of the database is lost and not replaced: opening
    /// refuses that.
    fn forget_lost(
        &self,
        control: &Control,
        databases: &[Database],
        driver: &dyn Driver,
        layout: &Layout,
        facts: &Facts,
        index: usize,
    ) -> Result<()> {
        let is_replaced = |shard: &Shard| self.replaced.iter().any(|name| name == shard.name());
        let made = || layout.shards_in(index).filter(|shard| facts.is_made(shard.name()));
        let Some(first_replaced) = made().find(|shard| is_replaced(shard)) else { return Ok(()) };
        let connection = match driver.connect_waiting(Mode::Open, self.sqlite.busy_timeout) {
            Ok(connection) => Some(connection),
            Err(error) if error.kind() == ErrorKind::Missing => None,
            Err(error) => return Err(error.on_shard(first_replaced.name())),
        };
        let (mut lost, mut kept) = (Vec::new(), Vec::new());
        for shard in made() {
            let names = &layout.location(shard.index())?.names;
            let exists = match &connection {
                Some(connection) => opening::identity(&**connection, names)?.is_some(),
                None => false,
            };
            if exists {
                kept.push((shard.name(), names))
            } else {
                lost.push((shard.name(), names))
            }
            if !exists && !is_replaced(shard) {
                return Ok(());
            }
        }
        for (name, _) in &lost {
            self.refuse_undecided(control, databases, layout, layout.shards().require(name)?)?;
        }
        match (connection, kept.first()) {
            (Some(connection), Some((other, _))) => {
                let database = layout.shards_in(index).next().map_or("", Shard::name);
                let decided = control.decided_statements(database)?;
                if let Some(decided) = decided.first()
                    && lost.iter().any(|(name, _)| *name == database)
                {
                    let message = format!(
                        "transaction {} is decided, and the lost shard held the version that decides whether it is applied \
                         to shard `{other}` in the same database; restore the tables of shard `{database}`, or move the \
                         database away and call `replace_lost` for all of its shards",
                        decided.transaction
                    );
                    return Err(Error::new(ErrorKind::WrongDatabase, message).on_shard(database));
                }
                let is_lost = |table: &str| {
                    let table = table.to_lowercase();
                    let of = |(_, names): &(&str, &Namespace)| {
                        table.starts_with(&names.prefix.to_lowercase()).then_some(names.prefix.len())
                    };
                    lost.iter().filter_map(of).max() > kept.iter().filter_map(of).max()
                };
                let dropped = decided.iter().filter(|decided| {
                    let missing = connection.prepare(&decided.sql).map(drop).err().and_then(missing_table);
                    missing.is_some_and(|table| is_lost(&table))
                });
                let lost: Vec<&str> = lost.iter().map(|(name, _)| *name).collect();
                control.forget_lost_tables(&lost, &dropped.collect::<Vec<_>>())
            }
            _ => lost.iter().try_for_each(|(name, _)| control.forget_lost(name)),
        }
    }

    /// Refuses to delete the records of a lost shard whose database decides a transaction with a prepared participant on a
    /// server. Without the decision the participant would be rolled back, although others may have committed.
    fn refuse_undecided(
        &self,
        control: &Control,
        databases: &[Database],
        layout: &Layout,
        lost: &Shard,
    ) -> Result<()> {
        for (index, Database { driver }) in databases.iter().enumerate() {
            if !driver.dialect().prepares_transactions() {
                continue;
            }
            let Some(shard) = layout.shards_in(index).next() else { continue };
            let prepared = driver
                .connect_waiting(Mode::Open, self.sqlite.busy_timeout)
                .and_then(|connection| commit::prepared_by(&*connection, &control.cluster, lost.place()));
            let part = match prepared {
                // A server does not drop a database that has a prepared transaction.
                Err(error) if error.kind() == ErrorKind::Missing => continue,
                prepared => prepared.map_err(|error| error.on_shard(shard.name()))?.into_iter().next(),
            };
            if let Some(part) = part {
                let (gid, name, other) = (part.name(), lost.name(), shard.name());
                let message = format!(
                    "a part of transaction {} is prepared on the server of shard `{other}`, and its decision is lost with shard \
                     `{name}`; restore shard `{name}`, or end the part with COMMIT PREPARED '{gid}' or \
                     ROLLBACK PREPARED '{gid}', and run `create` again",
                    part.transaction
                );
                return Err(Error::new(ErrorKind::WrongDatabase, message)
                    .of_transaction(&part.transaction)
                    .on_shard(name));
            }
        }
        Ok(())
    }
}

/// Returns the missing table that an error of preparing a SQLite statement names.
fn missing_table(error: Error) -> Option<String> {
    let message = error.to_string();
    let (_, name) = message.split_once("no such table: ")?;
    let name = name.split_whitespace().next()?;
    Some(name.rsplit('.').next().unwrap_or(name).to_owned())
}

/// Returns the names of the shards that are not in memory.
fn lasting<'l>(databases: &'l [Database], layout: &'l Layout) -> impl Iterator<Item = &'l str> {
    let lasting = databases.iter().enumerate().filter(|(_, database)| !database.driver.is_private());
    lasting.flat_map(|(database, _)| layout.shards_in(database)).map(Shard::name)
}

/// Returns the names of the existing shards by the record in the first shard that has one.
fn shards_of_older_release(databases: &[Database], layout: &Layout, timeout: Duration) -> Vec<String> {
    for (index, database) in databases.iter().enumerate() {
        let Ok(connection) = database.driver.connect_waiting(Mode::Open, timeout) else { continue };
        for shard in layout.shards_in(index) {
            let Ok(location) = layout.location(shard.index()) else { continue };
            match opening::recorded_shards(&*connection, &location.names) {
                Ok(names) if !names.is_empty() => return names,
                _ => {}
            }
        }
    }
    Vec::new()
}
