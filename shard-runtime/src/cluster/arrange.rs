//! Arranges the configured shards by the recorded layout: in the order of their places, with their roles and the rules of the
//! models' keys.

use std::collections::HashSet;
use std::path::Path;

use super::Builder;
use super::url::Source;
use crate::driver::Mode;
use crate::error::{Error, Result};
use crate::planner::{Layout, Location};
use crate::query::Models;
use crate::schema::{LookupDef, ShardRole, Shards, Table};
use crate::transaction::change::ChangeRecord;
use crate::transaction::facts::Facts;
use crate::transaction::recorded::{AdoptedLayout, Declared, RecordedLayout};
use crate::transaction::{Control, Database};

/// The models that a program registers.
pub(super) struct Registered {
    tables: Vec<&'static Table>,
    lookups: Vec<(&'static Table, LookupDef)>,
}

impl Registered {
    pub(super) fn of<M: Models>() -> Self {
        let (mut tables, mut lookups) = (Vec::new(), Vec::new());
        M::tables(&mut tables);
        M::lookups(&mut lookups);
        Registered { tables, lookups }
    }
}

/// Shards in an order, with their databases and their models.
pub(super) struct Arranged {
    pub(super) layout: Layout,
    pub(super) sources: Vec<Source>,
    pub(super) locations: Vec<Location>,
}

/// The configured shards as the record has them.
pub(super) struct Fitted {
    pub(super) arranged: Arranged,
    pub(super) recorded: RecordedLayout,
    pub(super) lines: Declared,
    /// The error of recorded lines that cannot be used.
    pub(super) unusable: Option<Error>,
}

/// The configured shards, arranged by one record. [`Builder::fit_to`] returns it.
pub(super) struct FittedTo {
    /// `None` if the order and the roles are as configured.
    pub(super) arranged: Option<Arranged>,
    lines: Declared,
    unusable: Option<Error>,
}

impl Builder {
    /// Returns the shards as they are configured.
    pub(super) fn declared(&self, registered: &Registered, folder: &Path) -> Result<Arranged> {
        let shards = Shards::named(self.shards.iter().map(|(name, _)| name.clone()))?;
        self.arrange(shards, registered, folder)
    }

    fn arrange(&self, shards: Shards, registered: &Registered, folder: &Path) -> Result<Arranged> {
        let (sources, locations) = self.locations(&shards, folder)?;
        let (tables, lookups) = (registered.tables.clone(), registered.lookups.clone());
        let layout = Layout::new(shards, locations.clone(), tables, lookups)?;
        Ok(Arranged { layout, sources, locations })
    }

    pub(super) fn databases(&self, sources: &[Source]) -> Vec<Database> {
        sources.iter().map(|source| Database { driver: self.driver(source).into() }).collect()
    }

    /// Returns the shards as the record has them. Lines of an interrupted `create` that reached no shard do not count, and
    /// another `create` removes them.
    pub(super) fn fit(
        &self,
        declared: Arranged,
        registered: &Registered,
        control: &Control,
        facts: &Facts,
        mode: Mode,
        folder: &Path,
    ) -> Result<Fitted> {
        let configured: Vec<&str> = self.shards.iter().map(|(name, _)| name.as_str()).collect();
        let changes = ChangeRecord::all(facts);
        let mut recorded = match self.adopts {
            true => control.record_adopted(&AdoptedLayout::new(&declared.layout)?)?,
            false => facts.layout(),
        };
        if mode == Mode::Create && !recorded.unplaced(&configured).is_empty() {
            recorded = control.record_places(&configured)?;
        }
        let fit = |recorded: &RecordedLayout| {
            let fitted = self.fit_to(&declared, registered, recorded, &changes, &configured, folder)?;
            if mode == Mode::Create {
                fitted.lines.compare(recorded.lines.lines(), recorded.lines.digest(), mode)?;
            }
            Ok(fitted)
        };
        let fitted = match fit(&recorded) {
            Ok(fitted) => Ok(fitted),
            Err(error) => match self.without_unreached(&declared, control, facts, &recorded, mode)? {
                Some(reached) => {
                    recorded = reached;
                    self.fit_to(&declared, registered, &recorded, &changes, &configured, folder)
                }
                // The comparison of the shards gives an error that names the shard.
                None => self
                    .fit_to(&declared, registered, &recorded, &changes, &configured, folder)
                    .map_err(|_| error),
            },
        };
        let FittedTo { arranged, lines, unusable } = fitted?;
        Ok(Fitted { arranged: arranged.unwrap_or(declared), recorded, lines, unusable })
    }

    /// Arranges the configured shards by a record, and returns the lines that the program then declares.
    pub(super) fn fit_to(
        &self,
        declared: &Arranged,
        registered: &Registered,
        recorded: &RecordedLayout,
        changes: &[ChangeRecord],
        configured: &[&str],
        folder: &Path,
    ) -> Result<FittedTo> {
        let tables: Vec<&'static Table> = declared.layout.tables().collect();
        let named: HashSet<&str> = tables.iter().flat_map(|table| table.placement.mentioned()).collect();
        let used = recorded.used(configured, &named)?;
        let is_as_declared = used.len() == configured.len()
            && used.iter().zip(configured).enumerate().all(|(index, (shard, name))| {
                shard.name == **name && shard.place == index && shard.role == ShardRole::Serving
            });
        let shards = used.into_iter().map(|shard| (shard.name, shard.place, shard.role));
        let retired: Vec<(&str, &[String])> = changes
            .iter()
            .filter(|change| change.is_decided())
            .flat_map(|change| {
                change.sources.iter().map(|source| (source.as_str(), change.targets.as_slice()))
            })
            .collect();
        let shards = Shards::recorded(shards, recorded.epoch)?.with_retired(&retired);
        let (rules, unusable) = recorded.rules(&tables, &shards);
        if is_as_declared && rules.is_empty() && recorded.epoch == declared.layout.shards().epoch() {
            declared.layout.check_mentions()?;
            let lines = Declared::new(&declared.layout, recorded)?;
            return Ok(FittedTo { arranged: None, lines, unusable });
        }
        let arranged = self.arrange(shards.with_rules(rules), registered, folder)?;
        arranged.layout.check_mentions()?;
        let lines = Declared::new(&arranged.layout, recorded)?;
        Ok(FittedTo { arranged: Some(arranged), lines, unusable })
    }
}
