//! The lines of the layout that at least one shard has copied. Lines of a `create` that was interrupted before it reached a shard
//! do not count: `open` ignores them, and a `create` with other lines removes them.

use super::Builder;
use super::arrange::Arranged;
use super::opening;
use crate::driver::{Connection, Mode, TransactionMode};
use crate::error::{ErrorKind, Result};
use crate::transaction::facts::{self, Facts};
use crate::transaction::recorded::{RecordedLayout, parse_copy};
use crate::transaction::{Control, Database};

/// Connections to databases, with their indexes.
type Locked = Vec<(usize, Box<dyn Connection>)>;

impl Builder {
    /// Returns the recorded layout without lines that reached no shard. `None` if there are none, or if some shards cannot be
    /// read. `create` removes these lines from the record.
    pub(super) fn without_unreached(
        &self,
        declared: &Arranged,
        control: &Control,
        facts: &Facts,
        recorded: &RecordedLayout,
        mode: Mode,
    ) -> Result<Option<RecordedLayout>> {
        let is_configured = |name: &str| declared.layout.shards().get(name).is_some();
        let mut known = recorded.shards().iter();
        // `create` visits the shards in the order of their places: if any shard has the lines, the first has them.
        if known.next().is_none_or(|first| !is_configured(&first.name))
            || known.any(|shard| facts.is_made(&shard.name) && !is_configured(&shard.name))
        {
            return Ok(None);
        }
        // While these databases are locked, no other `create` is between recording lines and making its shards.
        let locked = self.locked(declared, facts, mode)?;
        let Some(locked) = locked else { return Ok(None) };
        let found = self.reached(declared, recorded, &locked).and_then(|step| match step {
            Some(step) if step < recorded.lines.last_step() => match mode {
                Mode::Create => control.take_back(step).map(Some),
                Mode::Open => Ok(Some(facts.layout_up_to(step))),
            },
            _ => Ok(None),
        });
        for (_, connection) in &locked {
            if connection.in_transaction() {
                connection.rollback()?;
            }
        }
        found
    }

    /// Connects to the databases of the existing shards; `create` locks them against another `create`. Returns `None` if one of
    /// them cannot be opened.
    fn locked(&self, declared: &Arranged, facts: &Facts, mode: Mode) -> Result<Option<Locked>> {
        let mut locked = Vec::new();
        for (index, Database { driver }) in self.databases(&declared.sources).iter().enumerate() {
            let is_made = declared.layout.shards_in(index).any(|shard| facts.is_made(shard.name()));
            let connection = match driver.connect_waiting(Mode::Open, self.sqlite.busy_timeout) {
                Ok(connection) => connection,
                Err(error) if error.kind() == ErrorKind::Missing && !is_made => continue,
                Err(_) => return Ok(None),
            };
            if mode == Mode::Create {
                connection.begin(TransactionMode::Write)?;
                if let Some(lock) = driver.dialect().advisory_lock(opening::MAKING_SHARDS) {
                    connection.run(&lock)?;
                }
            }
            locked.push((index, connection));
        }
        Ok(Some(locked))
    }

    /// Returns the last step of the layout that reached a shard. `None` if the copy of a shard is unknown.
    fn reached(
        &self,
        declared: &Arranged,
        recorded: &RecordedLayout,
        locked: &[(usize, Box<dyn Connection>)],
    ) -> Result<Option<i64>> {
        let mut reached = 0;
        for (index, connection) in locked {
            for shard in declared.layout.shards_in(*index) {
                let names = &declared.layout.location(shard.index())?.names;
                // On a server, reading a missing table would abort the transaction.
                if !connection.exists(names, crate::planner::own_tables::SHARD)? {
                    continue;
                }
                if !connection.exists(names, facts::TABLE)? {
                    return Ok(None);
                }
                let Some(found) = opening::identity(&**connection, names)? else { continue };
                let step = found.layout.and_then(|copy| recorded.lines.step_of(&parse_copy(&copy).0));
                match step {
                    Some(step) => reached = step.max(reached),
                    None => return Ok(None),
                }
            }
        }
        Ok(Some(reached))
    }
}
