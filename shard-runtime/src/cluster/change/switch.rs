//! The switch of a change: the sources stop serving, and the targets begin. Writers wait for it, so that a switch that exceeds
//! its budget gives up.

use std::time::{Duration, Instant};

use super::copy::Copier;
use super::links::{Endpoint, LockWait};
use super::rows::Tables;
use super::verify::Touched;
use super::{Change, target};
use crate::cluster::build::LONGEST_WAIT;
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::IdKind;
use crate::transaction::change::{
    ChangeState, Part, Role, claim_part, hide, make_fence, serve_targets, write_part,
};
use crate::transaction::commit::apply_decided_in;
use crate::transaction::facts;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// The limits of a switch: its time budget and the number of tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    budget: Duration,
    tries: u32,
}

impl Default for Switch {
    /// Returns half a second and five tries.
    fn default() -> Self {
        Switch { budget: Duration::from_millis(500), tries: 5 }
    }
}

impl Switch {
    /// Sets how long a try may make writers wait, at most one day.
    pub fn within(budget: Duration) -> Self {
        Switch { budget: budget.min(LONGEST_WAIT), ..Switch::default() }
    }

    /// Sets the number of tries, at least one.
    pub fn tries(self, tries: u32) -> Self {
        Switch { tries: tries.max(1), ..self }
    }
}

impl Change {
    /// Moves the application to the targets: blocks writes on the sources, copies the remaining changes, compares them, and
    /// changes the recorded layout. Sessions of this handle use the new layout from then on. Other processes follow when one of
    /// their transactions meets a source.
    ///
    /// Writers wait meanwhile. If a try takes longer than its budget, it is given up, and the writers continue.
    ///
    /// # Errors
    /// - [`ErrorKind::Busy`] if no try was fast enough. A transaction or a reader holds a source, writers change rows faster than
    ///   they are copied, or large tables take too long to count.
    /// - [`ErrorKind::Corrupt`] if copies differ from their rows.
    /// - [`ErrorKind::Stale`] if another process has taken the change over, or cancelled it.
    ///
    /// After an error the sources serve as before.
    pub fn switch(&mut self, switch: Switch) -> Result<()> {
        let mut tried = 1;
        while let Err(error) = self.try_switch(switch.budget) {
            self.is_owner = false;
            let now = self.cluster.0.control.change(self.number())?;
            match now {
                // The step that failed came after the decision.
                Some(now) if now.is_decided() => {
                    self.record = now;
                    break;
                }
                // The attempt may belong to a session that gave this one up because the budget was exceeded.
                Some(now) if now.state == ChangeState::Copying => {}
                now => return Err(self.has_ended(now.map(|now| now.state))),
            }
            let may_succeed = error.is_retryable() || error.kind() == ErrorKind::TimedOut;
            // Removes the fences.
            self.take_over()?;
            if tried >= switch.tries || !may_succeed {
                return Err(error);
            }
            tried += 1;
            std::thread::sleep(PAUSE);
        }
        self.record.state = self.record.state.max(ChangeState::Decided);
        serve_targets(&self.cluster, &self.record)?;
        self.record.state = ChangeState::Served;
        self.cluster.reload()
    }

    fn try_switch(&mut self, budget: Duration) -> Result<()> {
        self.ensure_attempt()?;
        // The rows that change from now on are compared under the fence.
        let mut touched = match self.touched.take() {
            Some(touched) => touched,
            None => self.compare_all(&mut |_| {})?.1,
        };
        self.record = self.cluster.0.control.record_budget(&self.record, budget)?;
        self.cluster.recover()?;
        let switched = self.with_copier(|copier| {
            self.approach(copier, budget, &mut touched)?;
            let wait = LockWait::Until(Instant::now() + budget);
            for source in &copier.sources {
                self.fence(copier, *source, wait).map_err(|error| error.on_shard(source.name))?;
            }
            for source in 0..copier.sources.len() {
                loop {
                    let entries = copier.catch_up(source, wait)?;
                    if entries.is_empty() {
                        break;
                    }
                    touched.add(source, entries);
                }
            }
            self.finish_transactions()?;
            self.compare_touched(copier, &touched)?;
            copier.compare_counts()?;
            for target in &copier.targets {
                self.complete(copier, *target, wait).map_err(|error| error.on_shard(target.name))?;
            }
            self.check_time(wait)?;
            for source in &copier.sources {
                self.hide(copier, *source, wait).map_err(|error| error.on_shard(source.name))?;
            }
            self.check_time(wait)?;
            let groups = self.cluster.0.recorded.new_groups(&self.cluster.0.layout);
            self.cluster.0.control.decide_change(&self.record, &groups)
        });
        // Another try does not read rows again that were compared before.
        self.touched = Some(touched);
        switched
    }

    /// Copies changed rows until the rest is likely to fit in the budget.
    fn approach(&self, copier: &Copier<'_>, budget: Duration, touched: &mut Touched) -> Result<()> {
        // Rows are counted under the fence: if counting alone exceeds the budget, the switch fails before it blocks writers.
        let began = Instant::now();
        copier.tables.all().iter().try_for_each(|table| copier.counts(table).map(drop))?;
        let counted = began.elapsed();
        if counted > budget {
            let message = format!(
                "counting the rows takes {} ms, and a whole try of the switch may take {} ms; give the switch more time",
                counted.as_millis().max(1),
                budget.as_millis()
            );
            return Err(Error::new(ErrorKind::Busy, message));
        }
        for _ in 0..50 {
            let began = Instant::now();
            let mut is_idle = true;
            for source in 0..copier.sources.len() {
                let entries = copier.catch_up(source, LockWait::Durable)?;
                is_idle &= entries.is_empty();
                touched.add(source, entries);
            }
            // Copying the rows that are written during this pass takes about as long as the pass.
            if began.elapsed() < budget / 4 || is_idle {
                return Ok(());
            }
        }
        let message = "the application changes rows faster than they are copied; try again when it writes less, or give the \
                       switch more time";
        Err(Error::new(ErrorKind::Busy, message))
    }

    fn check_time(&self, wait: LockWait) -> Result<()> {
        match wait {
            LockWait::Until(until) if Instant::now() >= until => {
                let message = "the switch has taken longer than its budget and was given up; try again, or give it more time";
                Err(Error::new(ErrorKind::Busy, message))
            }
            _ => Ok(()),
        }
    }

    fn fence(&self, copier: &Copier<'_>, source: Endpoint<'_>, wait: LockWait) -> Result<()> {
        let connection = copier.links.at(source)?;
        let (change, attempt) = self.attempt();
        let tables: Vec<&str> = self.tables().iter().map(|table| table.name).collect();
        let (control, layout) = (&self.cluster.0.control, &self.cluster.0.layout);
        let fenced = copier.links.transaction(&[source], wait, || {
            apply_decided_in(control, layout, source.location.database, connection)?;
            self.claim(connection, source, Role::Source)?;
            make_fence(connection, source.location, &tables, change)?;
            write_part(connection, source.location, Some(Part { role: Role::Fenced, change, attempt }))
        });
        fenced.map_err(|error| with_lock_holders(error, connection, source))
    }

    /// Locks the part of a source, which must have this role.
    fn claim(&self, connection: &dyn Connection, source: Endpoint<'_>, role: Role) -> Result<()> {
        let part = claim_part(connection, source.location, self.attempt())?;
        if part.role == role {
            return Ok(());
        }
        let message = format!(
            "the role of the source is not the one that change {} has recorded; cancel the change",
            self.number()
        );
        Err(Error::new(ErrorKind::Stale, message))
    }

    /// Finishes global transactions that have a participant on a source or are decided there: after the switch no session would
    /// find it there.
    fn finish_transactions(&self) -> Result<()> {
        let recovered = self.cluster.recover()?;
        match recovered.left().first() {
            None => Ok(()),
            Some(left) => {
                let message = format!(
                    "a global transaction over servers is not finished, and a source may decide it: {left}"
                );
                Err(Error::new(ErrorKind::Busy, message))
            }
        }
    }

    /// Compares the rows that were copied since all rows were compared.
    fn compare_touched(&self, copier: &Copier<'_>, touched: &Touched) -> Result<()> {
        for &table in copier.tables.all() {
            for source in (0..copier.sources.len()).filter(|source| Tables::is_copied(*source, table)) {
                let ids = touched.of(source, table);
                if let Some(id) = copier.different_listed(source, table, ids)?.first() {
                    return Err(copier.differ(table, &format!("the row with id {id}")));
                }
            }
        }
        Ok(())
    }

    /// Makes constraints, and makes the targets count ids above those of the sources. Then all copied rows are on disk.
    fn complete(&self, copier: &Copier<'_>, target: Endpoint<'_>, wait: LockWait) -> Result<()> {
        let connection = copier.links.at(target)?;
        let mut counters = Vec::new();
        for table in self.tables().into_iter().filter(|table| table.id_kind == IdKind::Auto) {
            for source in &copier.sources {
                if let Some(last) = last_id(copier.links.at(*source)?, *source, table.name, id_of(table))? {
                    counters.push((table, last));
                }
            }
        }
        copier.links.transaction(&[target], wait, || {
            claim_part(connection, target.location, self.attempt())?;
            for (table, last) in &counters {
                count_above(connection, target, table.name, id_of(table), *last)?;
            }
            target::make_indexes(connection, target)?;
            target::make_constraints(connection, target)
        })
    }

    fn hide(&self, copier: &Copier<'_>, source: Endpoint<'_>, wait: LockWait) -> Result<()> {
        let connection = copier.links.at(source)?;
        let (change, attempt) = self.attempt();
        let tables: Vec<&str> = self.tables().iter().map(|table| table.name).collect();
        let hidden = copier.links.transaction(&[source], wait, || {
            self.claim(connection, source, Role::Fenced)?;
            hide(connection, source.location, &tables, (source.name, change))?;
            write_part(connection, source.location, Some(Part { role: Role::Hidden, change, attempt }))
        });
        hidden.map_err(|error| with_lock_holders(error, connection, source))
    }
}

pub(in crate::cluster) fn id_of(table: &crate::schema::Table) -> &'static str {
    table.columns.get(table.id).map_or("id", |column| column.name)
}

/// Adds the server processes that lock the source's tables to an error of a lock.
pub(in crate::cluster) fn with_lock_holders(
    error: Error,
    connection: &dyn Connection,
    source: Endpoint<'_>,
) -> Error {
    let sql = source.location.dialect.lock_holders_sql(&source.location.names);
    let Some(sql) = sql.filter(|_| error.is_busy()) else { return error };
    let holders: Vec<String> =
        facts::texts(connection, &sql, &[]).unwrap_or_default().into_iter().flatten().collect();
    match holders.is_empty() {
        true => error,
        false => {
            error.with_remedy(&format!("locks on the shard's tables are held by {}", holders.join(", ")))
        }
    }
}

/// Returns the last id that a shard has counted for a table.
pub(in crate::cluster) fn last_id(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
    table: &str,
    id: &str,
) -> Result<Option<i64>> {
    let (names, dialect) = (&endpoint.location.names, endpoint.location.dialect);
    let counter = facts::texts(connection, &dialect.counter_sql(names, table, id), &[])?;
    let Some(counter) = counter.into_iter().flatten().next() else { return Ok(None) };
    let sql = dialect.last_id_sql(names, table, &counter);
    let found = facts::texts(connection, &sql, &[])?;
    Ok(found.into_iter().flatten().next().and_then(|last| last.parse().ok()))
}

/// Makes a target count the ids of a table above this one.
pub(in crate::cluster) fn count_above(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
    table: &str,
    id: &str,
    last: i64,
) -> Result<()> {
    connection.run(&endpoint.location.dialect.count_above_sql(&endpoint.location.names, table, id, last))
}
