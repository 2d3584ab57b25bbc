//! The end of backfills: once all shards have run the steps, the rows that have arrived meanwhile are changed. Uses
//! [`arrivals`].

use super::arrivals::{self, Arrivals};
use super::backfill::{BackfillRows, Next};
use super::expand::How;
use super::on_shard::{OnShard, new_state};
use super::remedy;
use super::state::StepState;
use super::status::StepPhase;
use super::step::{Action, Step};
use crate::driver::Connection;
use crate::error::{Error, Result};

/// A backfill of a step, by the step and the index of the action.
type StepBackfill<'m> = (&'m Step, usize, &'m dyn BackfillRows);

impl<M> OnShard<'_, M> {
    fn backfills(&self) -> impl Iterator<Item = StepBackfill<'_>> {
        self.migration.migrations.steps().iter().flat_map(|step| {
            step.actions.iter().enumerate().filter_map(move |(index, action)| match action {
                Action::Backfill(rows) => Some((step, index, &**rows)),
                _ => None,
            })
        })
    }

    /// Changes the rows that have arrived on the shard while backfills ran. Returns whether every recorded row still exists here:
    /// a missing one may have moved to a shard that was visited just before.
    pub(super) fn change_arrived(&self) -> Result<bool> {
        let mut are_there = true;
        self.with_recorded(|connection, arrivals, (step, index, rows)| {
            self.tell_arrived(step, 0, Some(&arrivals.describe()));
            // Later backfills of the table have seen these rows as they were before this one: they run on them again.
            let later = self.backfills().filter(|(of, at, later)| {
                (of.number, *at) >= (step.number, index) && later.table().is(rows.table())
            });
            let later: Vec<StepBackfill<'_>> = later.collect();
            let (mut changed, limit) = (0, self.migration.rows);
            loop {
                let (records, ids, found) = self.transaction(connection, How::Together, |connection| {
                    arrivals.lock(connection)?;
                    let arrived = arrivals.next(connection, limit)?;
                    let mut found = 0;
                    for (.., rows) in &later {
                        let next = Next { after: None, limit, null: None, among: Some(&arrived.ids) };
                        found = rows.portion(connection, self.location, self.shard, next)?.ids.len();
                    }
                    arrivals.remove(connection, &arrived)?;
                    Ok((arrived.records(), arrived.ids.len(), found))
                })?;
                are_there &= found == ids;
                changed += found as u64;
                if found > 0 {
                    self.tell_arrived(step, changed, None);
                }
                if (records as u64) < u64::from(limit) {
                    return Ok(());
                }
                std::thread::sleep(self.migration.rest);
            }
        })?;
        Ok(are_there)
    }

    /// Ends the records of arriving rows.
    pub(super) fn end_arrivals(&self) -> Result<()> {
        self.with_recorded(|connection, arrivals, (step, ..)| {
            let end = arrivals.end();
            end.sql.iter().for_each(|sql| self.tell_arrived(step, 0, Some(sql)));
            self.transaction(connection, How::Together, |connection| {
                let run = |sql: &String| connection.lock(sql).map_err(|error| remedy::of_sql(error, sql));
                end.sql.iter().try_for_each(run)
            })
        })
    }

    /// Calls a closure with each backfill whose arrivals are recorded.
    fn with_recorded(
        &self,
        mut run: impl FnMut(&dyn Connection, &Arrivals<'_>, StepBackfill<'_>) -> Result<()>,
    ) -> Result<()> {
        let cluster = &self.migration.cluster;
        let Some(database) = cluster.0.databases.get(self.location.database) else { return Ok(()) };
        let connection = database.driver.connect_durable(cluster.0.timeout)?;
        let recorded = arrivals::recorded(&*connection, self.location)?;
        for (step, index, rows) in self.backfills() {
            if !recorded.contains(&(step.number, index)) {
                continue;
            }
            let arrivals = Arrivals::new(self.location, rows.table(), (step.number, index));
            run(&*connection, &arrivals, (step, index, rows)).map_err(|error| {
                let error = error.in_table(rows.table().name);
                let error = Error::new(error.kind(), format!("{step}: {error}")).with_source(error);
                remedy::added(error, &*connection, self.location)
            })?;
        }
        Ok(())
    }

    fn tell_arrived(&self, step: &Step, rows: u64, sql: Option<&str>) {
        let phase = StepPhase::Backfill;
        self.tell(&StepState { phase, rows, ..new_state(step) }, sql);
    }
}
