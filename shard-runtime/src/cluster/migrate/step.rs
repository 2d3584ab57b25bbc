//! The numbered steps of a program's migrations, as values.

use std::fmt;
use std::sync::Arc;

use super::backfill::{Backfill, BackfillRows};
use crate::error::{Error, ErrorKind, Result};
use crate::query::{Column, Sharded};
use crate::row::Storable;
use crate::schema::Table;

/// The numbered steps that change a schema from release to release: see [`Builder::migrate`](crate::Builder::migrate).
///
/// Version 1 of a schema is the one that [`Builder::create`](crate::Builder::create) made, so that numbers begin at 2. A step
/// keeps its number for ever. New steps have higher numbers.
#[derive(Clone, Debug, Default)]
pub struct Migrations {
    steps: Vec<Step>,
}

impl Migrations {
    /// Returns migrations without steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step with its number and a name for messages.
    pub fn step(mut self, number: u32, name: &str, build: impl FnOnce(Step) -> Step) -> Self {
        self.steps.push(build(Step { number, name: name.to_owned(), actions: Vec::new() }));
        self
    }

    /// The version of the schema after all steps. Version 1 is what `create` made.
    pub(super) fn version(&self) -> u32 {
        self.steps.last().map_or(1, |step| step.number)
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns whether a step changes rows one by one.
    pub(super) fn backfills(&self) -> bool {
        self.steps.iter().flat_map(|step| &step.actions).any(|action| matches!(action, Action::Backfill(_)))
    }

    /// Checks the numbers and actions of the steps.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the numbers do not ascend from 2, or if a step does nothing.
    pub(super) fn check(&self) -> Result<()> {
        let mut last = 1;
        for step in &self.steps {
            if step.number <= last {
                let message = format!(
                    "{step} follows number {last}; number the steps in ascending order, the first one 2"
                );
                return Err(Error::new(ErrorKind::Configuration, message));
            }
            last = step.number;
            if step.actions.is_empty() {
                let message = format!(
                    "{step} does nothing; add an action, or call `finished` if every cluster has run it"
                );
                return Err(Error::new(ErrorKind::Configuration, message));
            }
        }
        Ok(())
    }
}

/// One numbered step of [`Migrations`]. Its actions run in the order in which they were added.
#[derive(Clone, Debug)]
pub struct Step {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) actions: Vec<Action>,
}

/// Prints number and name.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {} `{}`", self.number, self.name)
    }
}

/// One action of a step.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Backfill(Arc<dyn BackfillRows>),
    /// SQL for one kind of database, with the application's text.
    Sql {
        sqlite: Option<String>,
        postgres: Option<String>,
    },
    Rename {
        table: &'static Table,
        column: usize,
        from: String,
    },
    Require {
        table: &'static Table,
        column: usize,
    },
    Drop {
        table: &'static Table,
        column: String,
    },
    /// Nothing: an earlier release has run the step everywhere.
    Finished,
}

impl Action {
    /// Returns whether a part of the action waits for [`Migration::contract`](super::Migration::contract).
    pub(super) fn contracts(&self) -> bool {
        matches!(self, Action::Rename { .. } | Action::Require { .. } | Action::Drop { .. })
    }
}

impl Step {
    /// Changes every row of a model, in batches by id, each in its own transaction. After an interruption it continues after the
    /// last batch.
    ///
    /// Only columns that the closure has changed are written. It can run again for a row, also for one that a program of this
    /// release has changed meanwhile. Therefore keep values that are set. It must not change the id, the shard key, the parent or
    /// a lookup.
    pub fn backfill<T: Sharded>(self, change: impl Fn(&mut T) + Send + Sync + 'static) -> Self {
        self.and(Action::Backfill(Arc::new(Backfill::new(change))))
    }

    /// Runs SQL on each shard that is a SQLite database, in the transaction that records the step. Tables are named in braces,
    /// as in [`Sql`](crate::Sql): `{users}`.
    pub fn sqlite(self, sql: &str) -> Self {
        self.sql(|sqlite, _| *sqlite = Some(sql.to_owned()))
    }

    /// Runs SQL on each shard that is on a PostgreSQL server, in the transaction that records the step. SQL that contains
    /// `CONCURRENTLY` runs outside of a transaction, and again after an interruption: write one statement, with `IF NOT EXISTS`.
    pub fn postgres(self, sql: &str) -> Self {
        self.sql(|_, postgres| *postgres = Some(sql.to_owned()))
    }

    fn sql(mut self, set: impl FnOnce(&mut Option<String>, &mut Option<String>)) -> Self {
        // `.sqlite(..).postgres(..)` is one action.
        match self.actions.last_mut() {
            Some(Action::Sql { sqlite, postgres }) if sqlite.is_none() || postgres.is_none() => {
                set(sqlite, postgres);
            }
            _ => {
                let (mut sqlite, mut postgres) = (None, None);
                set(&mut sqlite, &mut postgres);
                self.actions.push(Action::Sql { sqlite, postgres });
            }
        }
        self
    }

    /// Renames a column: `m.rename(User::FULL_NAME, "name")`. The model has the new name; `from` is the old one.
    ///
    /// The new column is added beside the old one, and triggers copy each value that a program writes to one into the other. The
    /// contract drops the old column and the triggers.
    pub fn rename<T: Sharded, V: Storable, K>(self, column: Column<T, V, K>, from: &str) -> Self {
        self.and(Action::Rename { table: T::TABLE, column: column.index(), from: from.to_owned() })
    }

    /// Makes a column NOT NULL, with the contract. Rows of an earlier release can have NULL there by then: the backfills of the
    /// table run once more for these rows. If a row still has NULL, the contract fails.
    ///
    /// The model declares the field as an `Option` in the release with this step. Later releases can declare it without.
    pub fn require<T: Sharded, V: Storable, K>(self, column: Column<T, V, K>) -> Self {
        self.and(Action::Require { table: T::TABLE, column: column.index() })
    }

    /// Drops a column that the model no longer has, with the contract. If it is NOT NULL without a default, it gets one before
    /// (`''`, 0, false). Then the new release can add rows without it, and earlier releases can read them. A column of a unique
    /// index must be nullable: two rows with the default would violate it.
    pub fn drop_column<T: Sharded>(self, column: &str) -> Self {
        self.and(Action::Drop { table: T::TABLE, column: column.to_owned() })
    }

    /// Does nothing. It replaces the actions of an earlier release's step that no longer compile with the models of this one. It
    /// fails on a shard that has rows and did not run the step.
    pub fn finished(self) -> Self {
        self.and(Action::Finished)
    }

    fn and(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }
}
