//! The plan of a change: its sources, its targets, and the shard of each key afterwards. Nothing is written before the change
//! begins. Uses `transaction::recorded` and `lines`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::lines;
use crate::cluster::administration::serialized;
use crate::error::{Error, ErrorKind, Result};
use crate::query::Sharded;
use crate::schema::{IdKind, Rule, ShardRole, Shards, Table};
use crate::transaction::Cluster;
use crate::transaction::change::ChangeRecord;
use crate::transaction::change::ChangeState;
use crate::transaction::recorded::root;

/// The default limit of the time that writers wait for a switch.
const BUDGET: Duration = Duration::from_millis(500);

/// The beginning of the plan of a change; made by [`Cluster::plan_change`].
#[derive(Debug)]
#[must_use = "nothing is planned before `build`"]
pub struct ChangePlanner<'c> {
    cluster: &'c Cluster,
    sources: Vec<String>,
    targets: Vec<String>,
    lines: Vec<(&'static Table, Vec<String>)>,
}

/// A change of the layout that can begin; made by [`ChangePlanner::build`]. Prints the shards of the keys afterwards.
///
/// With the feature `serde` it can be serialised. Lines of a group that do not change are in both `before` and `after`.
#[derive(Clone, Debug)]
pub struct ChangePlan {
    pub(super) record: ChangeRecord,
    /// By group: its tables, and its lines before.
    groups: Vec<PlannedGroup>,
    sizes: Vec<PlannedSize>,
}

/// A source, with its rows and bytes as far as they could be counted.
#[derive(Clone, Debug)]
struct PlannedSize {
    shard: String,
    rows: Option<u64>,
    bytes: Option<u64>,
}

#[derive(Clone, Debug)]
struct PlannedGroup {
    tables: Vec<&'static str>,
    before: Vec<String>,
    after: Vec<String>,
}

impl Cluster {
    /// Begins to plan a change of the layout. It moves all rows of one shard or several to spare shards while the application
    /// reads and writes.
    ///
    /// To add spare shards, call [`Builder::create`](crate::Builder::create) with more shards.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Pace, Sharded, change::Switch};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # #[sharded(table = "accounts")]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let folder = std::env::temp_dir().join(format!("sharded-change-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// # let url = |shard: &str| format!("sqlite:{}", folder.join(shard).display());
    /// let builder = Cluster::builder().shard("a", url("a.db")).shard("b", url("b.db"));
    /// # let before = builder.clone().create::<Account>()?;
    /// # before.transaction(|session| session.add_all((0..100).map(|id| Account { id, cents: 100 })))?;
    /// # drop(before);
    /// let cluster = builder.shard("b1", url("b1.db")).shard("b2", url("b2.db")).create::<Account>()?;
    ///
    /// let plan = cluster.plan_change().split("b", ["b1", "b2"]).build()?;
    /// println!("{plan}"); // the lines before and after the change
    /// let mut change = cluster.begin_change(&plan)?;
    /// change.copy(Pace::rows(1_000), |progress| println!("{progress}"))?;
    /// change.switch(Switch::default())?;
    /// change.finish()?;
    ///
    /// let names: Vec<&str> = cluster.shards().iter().map(|shard| shard.name()).collect();
    /// assert_eq!((cluster.epoch(), names), (2, vec!["a", "b1", "b2"]));
    /// assert_eq!(cluster.session().one(Account::select().all_shards().count())?, 100);
    /// # drop(cluster);
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn plan_change(&self) -> ChangePlanner<'_> {
        let cluster = self.latest();
        ChangePlanner { cluster, sources: Vec::new(), targets: Vec::new(), lines: Vec::new() }
    }
}

impl ChangePlanner<'_> {
    /// Moves a whole shard to another file, another server or another schema.
    pub fn replace(self, source: &str, target: &str) -> Self {
        self.redistribute([source], [target])
    }

    /// Divides a shard. Each part of a hash is divided evenly. Listed values, ranges, and the results of a function go to the
    /// targets in their order. For another division, give the lines: see [`lines`](ChangePlanner::lines).
    pub fn split<'n>(self, source: &str, targets: impl IntoIterator<Item = &'n str>) -> Self {
        self.redistribute([source], targets)
    }

    /// Makes one shard of several.
    pub fn merge<'n>(self, sources: impl IntoIterator<Item = &'n str>, target: &str) -> Self {
        self.redistribute(sources, [target])
    }

    /// Moves the rows of some shards to any number of others. A hash that is only on these shards is divided again.
    pub fn redistribute<'s, 't>(
        mut self,
        sources: impl IntoIterator<Item = &'s str>,
        targets: impl IntoIterator<Item = &'t str>,
    ) -> Self {
        self.sources = sources.into_iter().map(str::to_owned).collect();
        self.targets = targets.into_iter().map(str::to_owned).collect();
        self
    }

    /// Sets the lines of a model's placement group: all models with an equal rule and an equal type of key. Lines of shards that
    /// are not part of the change have to be included unchanged.
    ///
    /// The forms of lines are:
    ///
    /// - `hash modulus 4 remainder 0 => a`
    /// - `list 'Asia' => a`, `list otherwise => a`
    /// - `range 10..20 => a`, `range ..10 => a`
    /// - `key 42 => a`
    /// - `function 0 => a` for the first shard that the application's function can return
    ///
    /// Printing a plan shows the recorded lines that change.
    pub fn lines<T: Sharded>(mut self, lines: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.lines.push((T::TABLE, lines.into_iter().map(Into::into).collect()));
        self
    }

    /// Does the same as [`lines`](ChangePlanner::lines), with the name of a table or a model.
    #[cfg(feature = "admin")]
    pub(crate) fn lines_of(mut self, name: &str, lines: Vec<String>) -> Result<Self> {
        let layout = &self.cluster.0.layout;
        let is_named = |table: &&'static Table| table.name == name || table.model == name;
        match layout.tables().find(is_named) {
            Some(table) => self.lines.push((table, lines)),
            None => {
                let known: Vec<&str> = layout.tables().map(|table| table.name).collect();
                let message = format!("unknown table `{name}`; the cluster has {}", known.join(", "));
                return Err(Error::new(ErrorKind::UnknownModel, message));
            }
        }
        Ok(self)
    }

    /// Checks the change against the recorded layout.
    ///
    /// # Errors
    /// [`ErrorKind::Layout`] if
    ///
    /// - a source does not serve, or a target is not spare;
    /// - the lines do not have each key once;
    /// - another change runs;
    /// - the cluster records a model that this program lacks.
    ///
    /// [`ErrorKind::Configuration`] if
    ///
    /// - a shard is named twice, or there is no source or no target;
    /// - the cluster is in memory;
    /// - a source holds the control database, or is the first of several shards in its database, and one of these stays;
    /// - there are several sources, and each has counted its own ids (`#[id(auto)]`).
    ///
    /// [`ErrorKind::Missing`] if the database of a target cannot be opened, [`ErrorKind::UnknownShard`] for an unknown shard.
    pub fn build(self) -> Result<ChangePlan> {
        let ChangePlanner { cluster, sources, targets, lines } = self;
        let state = &cluster.0;
        if let Some(running) = state.control.changes()?.iter().find(|change| change.is_running()) {
            return Err(crate::transaction::change::is_running(running));
        }
        check_shards(cluster, &sources, &targets)?;
        let (layout, recorded) = (&state.layout, &state.recorded);
        let tables: Vec<&'static Table> = layout.tables().collect();
        let declared = tables.iter().map(|table| table.name);
        recorded.lines.refuse_undeclared(declared, ("would stay behind", "run the change"))?;
        let mut groups: BTreeMap<String, PlannedGroup> = BTreeMap::new();
        for &table in tables.iter().filter(|table| !table.is_reference()) {
            let leader = recorded.leader(table, &tables, layout.shards());
            if let Some(group) = groups.get_mut(&leader) {
                group.tables.push(table.name);
                continue;
            }
            let before = recorded.current_lines(table, &tables, layout.shards())?;
            let given = lines.iter().find(|(of, _)| recorded.leader(of, &tables, layout.shards()) == leader);
            let after = match given {
                Some((_, given)) => Some(given.clone()),
                None => lines::moved(&before, &sources, &targets),
            };
            let Some(after) = after else { continue };
            let wrong = |why: String| Error::new(ErrorKind::Layout, why).in_table(table.name);
            lines::check(&before, &after, &sources, &targets).map_err(wrong)?;
            read_rule(cluster, table, &after)?;
            groups.insert(leader, PlannedGroup { tables: vec![table.name], before, after });
        }
        if let Some((table, _)) = lines.iter().find(|(table, _)| !layout.tables().any(|own| own.is(table))) {
            let message = "the cluster was opened without this model";
            return Err(Error::new(ErrorKind::UnknownModel, message).in_table(table.name));
        }
        let sizes = sources.iter().map(|source| {
            let shard = layout.shards().require(source)?;
            let (rows, bytes) = cluster.size_of_shard(shard);
            Ok(PlannedSize { shard: source.clone(), rows, bytes })
        });
        let sizes = sizes.collect::<Result<Vec<_>>>()?;
        let record = ChangeRecord {
            number: 0,
            attempt: 0,
            state: ChangeState::Copying,
            budget: BUDGET,
            epoch: recorded.epoch,
            sources,
            targets,
            groups: groups.iter().map(|(leader, group)| (leader.clone(), group.after.clone())).collect(),
        };
        Ok(ChangePlan { record, groups: groups.into_values().collect(), sizes })
    }
}

/// Reads the rule that lines make.
pub(in crate::cluster) fn read_rule(
    cluster: &Cluster,
    table: &'static Table,
    lines: &[String],
) -> Result<Rule> {
    let (recorded, shards) = (&cluster.0.recorded, cluster.0.layout.shards());
    let root = root(table);
    let known: Shards = recorded.known_shards(root, shards)?;
    Rule::read(root, lines, Some(known), shards)
}

fn check_shards(cluster: &Cluster, sources: &[String], targets: &[String]) -> Result<()> {
    let wrong = |kind, message: String, shard: &str| Err(Error::new(kind, message).on_shard(shard));
    let (layout, databases) = (&cluster.0.layout, &cluster.0.databases);
    let mut seen: Vec<&str> = Vec::new();
    for name in sources.iter().chain(targets) {
        if seen.contains(&name.as_str()) {
            let message = "duplicate shard name; name each shard once, as a source or as a target";
            return wrong(ErrorKind::Configuration, message.to_owned(), name);
        }
        seen.push(name);
        if cluster.0.recorded.role(name) == Some(ShardRole::Retired) {
            let message =
                "a change has retired the shard, whose rows are on other shards; name one that serves";
            return wrong(ErrorKind::Layout, message.to_owned(), name);
        }
        let shard = layout.shards().require(name)?;
        let is_private =
            |database: usize| databases.get(database).is_some_and(|database| database.driver.is_private());
        if is_private(layout.location(shard.index())?.database) {
            let message =
                "a shard in memory cannot take part in a change; keep the cluster in files or on servers";
            return wrong(ErrorKind::Configuration, message.to_owned(), name);
        }
    }
    if sources.is_empty() || targets.is_empty() {
        let message = "a change needs at least one source and one target; name both";
        return Err(Error::new(ErrorKind::Configuration, message));
    }
    for name in sources {
        let shard = layout.shards().require(name)?;
        if shard.role() != ShardRole::Serving {
            let message = format!(
                "the shard is {}, and has no rows to move; name one that serves",
                shard.role().name()
            );
            return wrong(ErrorKind::Layout, message, name);
        }
        let location = layout.location(shard.index())?;
        let in_database: Vec<&str> = layout
            .shards_in(location.database)
            .map(|shard| shard.name())
            .filter(|other| !sources.iter().any(|source| source == other))
            .collect();
        // The database keeps the name and the version of its first shard.
        if layout.first_in(location.database) == shard.index() && !in_database.is_empty() {
            let is_target = |name: &&str| targets.iter().any(|target| target == name);
            let (beside, others): (Vec<&str>, Vec<&str>) = in_database.iter().copied().partition(is_target);
            let mut remedies = Vec::new();
            if !others.is_empty() {
                remedies.push(format!("make {} sources of the change, too", others.join(", ")));
            }
            if !beside.is_empty() {
                remedies.push(format!("name targets in another database than {}", beside.join(", ")));
            }
            let message = format!(
                "the shard is the first of its database, which holds {} too; {}",
                in_database.join(", "),
                remedies.join(", and ")
            );
            return wrong(ErrorKind::Configuration, message, name);
        }
        let driver = databases.get(location.database).map(|database| database.driver.describe());
        let control = &cluster.0.control;
        if driver.as_deref() == Some(control.driver.describe().as_str()) && control.names == location.names {
            let message = "the control database is in this shard, which stays in use for it: move it to a database of its own \
                           first, by restoring a copy of its tables there and naming it with `control`";
            return wrong(ErrorKind::Configuration, message.to_owned(), name);
        }
    }
    for name in targets {
        let shard = layout.shards().require(name)?;
        if shard.role() != ShardRole::Spare {
            let message = "the shard serves; name a spare one: a shard that `create` has added after the cluster was first made";
            return wrong(ErrorKind::Layout, message.to_owned(), name);
        }
        if let Some((_, why)) = cluster.0.absent.iter().find(|(absent, _)| absent == name) {
            return wrong(ErrorKind::Missing, format!("the spare shard cannot be used: {why}"), name);
        }
    }
    let counted = layout.tables().find(|table| table.id_kind == IdKind::Auto);
    match counted {
        Some(table) if sources.len() > 1 => {
            let message = "each source has counted the table's ids itself (`#[id(auto)]`), so that they are not unique on a \
                           common target; change one shard at a time, or use `#[id(sequence)]`";
            Err(Error::new(ErrorKind::Configuration, message).in_table(table.name))
        }
        _ => Ok(()),
    }
}

impl ChangePlan {
    /// Returns the shards whose rows move. Afterwards they serve nothing.
    pub fn sources(&self) -> &[String] {
        &self.record.sources
    }

    /// Returns the shards that get the rows.
    pub fn targets(&self) -> &[String] {
        &self.record.targets
    }

    /// Returns the new lines of each placement group, by its first table.
    pub fn lines(&self) -> &[(String, Vec<String>)] {
        &self.record.groups
    }
}

serialized! { PlannedSize { shard, rows, bytes } }
serialized! { PlannedGroup { tables, before, after } }

#[cfg(feature = "serde")]
impl serde::Serialize for ChangePlan {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut map = serializer.serialize_struct("ChangePlan", 5)?;
        map.serialize_field("sources", &self.record.sources)?;
        map.serialize_field("targets", &self.record.targets)?;
        map.serialize_field("epoch", &self.record.epoch)?;
        map.serialize_field("sizes", &self.sizes)?;
        map.serialize_field("groups", &self.groups)?;
        map.end()
    }
}

impl fmt::Display for ChangePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChangeRecord { sources, targets, epoch, .. } = &self.record;
        writeln!(f, "{} -> {} (epoch {epoch} -> {})", sources.join(", "), targets.join(", "), epoch + 1)?;
        for PlannedSize { shard, rows, bytes } in &self.sizes {
            let number =
                |number: &Option<u64>| number.map_or("unknown".to_owned(), |number| number.to_string());
            writeln!(f, "{shard}: about {} rows, {} bytes", number(rows), number(bytes))?;
        }
        for PlannedGroup { tables, before, after } in &self.groups {
            writeln!(f, "{}:", tables.join(", "))?;
            for line in before.iter().filter(|line| !after.contains(line)) {
                writeln!(f, "  - {line}")?;
            }
            for line in after.iter().filter(|line| !before.contains(line)) {
                writeln!(f, "  + {line}")?;
            }
        }
        Ok(())
    }
}
