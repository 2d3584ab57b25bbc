//! The recorded layout of a cluster: its shards with their places, the rule of each table's keys, and the epoch.
//!
//! The control database is authoritative. It holds the *lines* that `create` has recorded (see [`lines`]): the initial
//! layout. A change of the layout keeps them, and records the current state beside them. That is the lines of the moved
//! placement group, the places of its shards, and a higher *epoch*. A program that declares the initial layout can
//! therefore be distinguished from one that declares another layout, and follows the record.
//!
//! A *placement group* is all tables with the same rule and key types: they move together. It is named by its first
//! table. The tables of lookups have groups of their own.

pub(crate) mod adopted;
pub(crate) mod declared;
pub(crate) mod lines;
pub(crate) mod shards;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub(crate) use adopted::AdoptedLayout;
pub(crate) use declared::Declared;
use declared::MovedLines;
pub(crate) use lines::{Line, Lines, LinesOfShard, SHARDS};
pub(crate) use shards::{RecordedShard, place_text};

use crate::error::{Error, Result};
use crate::planner::Layout;
use crate::schema::hash::hash_bytes;
use crate::schema::{KeyColumns, Placement, Rule, Shard, ShardRole, Shards, Table, key_kinds, rule_lines};
use crate::value::ColumnType;

/// The start of the line of a placement by the application's function.
const FUNCTION: &str = "a function of the application, over ";

/// The start of the lines of a hash.
const HASH: &str = "hash modulus ";

/// The start of the line of a single key.
const KEY: &str = "key ";

/// The start of the names of tables that hold the entries of a lookup.
const LOOKUP: &str = "sharded_lookup_";

/// The layout that the control database has recorded.
#[derive(Clone, Default)]
pub(crate) struct RecordedLayout {
    /// The lines of the initial layout.
    pub(crate) lines: Arc<Lines>,
    /// Raised by each change; 1 before the first.
    pub(crate) epoch: u64,
    /// Ascending by place.
    shards: Vec<RecordedShard>,
    /// The group of each table.
    groups: HashMap<String, Group>,
    /// The lines of each group that a change has moved.
    moved: BTreeMap<String, Vec<String>>,
    last_moved_line: u64,
    /// A digest of the lines that changes have recorded.
    change: String,
}

/// The placement group of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    /// The rule's word, and the types of the key.
    kind: String,
    /// The first table.
    leader: String,
}

impl Group {
    /// Reads a recorded group: the kind in words, and after ` of ` the name of the first table.
    fn parse(text: &str) -> Option<Self> {
        let (kind, leader) = text.split_once(" of ")?;
        Some(Group { kind: kind.to_owned(), leader: leader.to_owned() })
    }

    fn text(&self) -> String {
        format!("{} of {}", self.kind, self.leader)
    }
}

impl RecordedLayout {
    /// Builds the layout. `places` are the shards whose place or role the lines do not name, `moved` the numbered lines
    /// of groups.
    pub(crate) fn new(
        lines: Lines,
        epoch: Option<u64>,
        places: &[(&str, &str)],
        groups: &[(&str, &str)],
        mut moved: Vec<(&str, u64, &str)>,
    ) -> Self {
        moved.sort_unstable();
        let last_moved_line = moved.iter().map(|(_, number, _)| *number).max().unwrap_or_default();
        let mut digest = 0_u64;
        for (group, number, line) in &moved {
            digest = digest.wrapping_add(hash_bytes(format!("{group}\0{number}\0{line}").as_bytes(), 0));
        }
        let mut by_group: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (group, _, line) in moved {
            by_group.entry(group.to_owned()).or_default().push(line.to_owned());
        }
        let groups =
            groups.iter().filter_map(|(table, group)| Some(((*table).to_owned(), Group::parse(group)?)));
        RecordedLayout {
            shards: shards::recorded(lines.lines(), places),
            lines: Arc::new(lines),
            epoch: epoch.unwrap_or(1),
            groups: groups.collect(),
            moved: by_group,
            last_moved_line,
            change: format!("{digest:016x}"),
        }
    }

    /// Returns whether nothing is recorded: the cluster is new, or of a release that recorded the layout in the shards.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.lines().is_empty()
    }

    /// Returns all shards that were ever recorded, ascending by place.
    pub(crate) fn shards(&self) -> &[RecordedShard] {
        &self.shards
    }

    /// Returns the epoch of the layout as it is appended to the digest in a shard's copy; `None` before any change.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        (self.epoch > 1).then(|| Stamp { epoch: self.epoch, change: self.change.clone() })
    }

    /// Returns the text of the copy in a shard that has all lines.
    pub(crate) fn copy_text(&self) -> String {
        copy_text(self.lines.digest(), self.stamp().as_ref())
    }

    /// Returns whether a line of a moved group is recorded.
    pub(crate) fn has_moved_line(&self, (group, line): &(String, String)) -> bool {
        self.moved.get(group).is_some_and(|lines| lines.contains(line))
    }

    /// Returns the lines of single keys, each with the first table of its group.
    pub(crate) fn key_lines(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.moved.iter().flat_map(|(group, lines)| lines.iter().map(move |line| (group, line)));
        lines.filter(|(_, line)| line.starts_with(KEY)).map(|(group, line)| (group.as_str(), line.as_str()))
    }

    /// Returns a number that is greater than those of all lines of moved groups.
    pub(crate) fn next_moved_line(&self) -> u64 {
        self.last_moved_line + 1
    }

    /// Returns, by table, the rules that differ from the declared ones, and the first error if recorded lines cannot be
    /// used. The caller reports that error later, because the copies in the shards may show that the record was edited.
    pub(crate) fn rules(
        &self,
        tables: &[&'static Table],
        shards: &Shards,
    ) -> (HashMap<&'static str, Rule>, Option<Error>) {
        let (mut rules, mut unusable) = (HashMap::new(), None);
        for &table in tables {
            match self.rule(table, tables, shards) {
                Ok(Some(rule)) => _ = rules.insert(table.name, rule),
                Ok(None) => {}
                Err(error) => unusable = unusable.or(Some(error)),
            }
        }
        (rules, unusable)
    }

    fn rule(
        &self,
        table: &'static Table,
        tables: &[&'static Table],
        shards: &Shards,
    ) -> Result<Option<Rule>> {
        if table.is_reference() {
            return Ok(None);
        }
        if let Some(moved) = self.moved_lines(table, tables, shards) {
            let known = self.known_shards(table, shards)?;
            return Rule::read(table, moved, Some(known), shards).map(Some);
        }
        match table.placement {
            Placement::Hash => {
                let lines = self.hash_lines(table, tables, shards);
                let mut declared = table.placement.describe(shards);
                declared.sort_unstable();
                if lines == declared {
                    return Ok(None);
                }
                Rule::read(table, &lines, None, shards).map(Some)
            }
            Placement::Custom(_) => {
                let known = self.known_shards(table, shards)?;
                if known.len() == shards.len() {
                    return Ok(None);
                }
                let lines: Vec<String> =
                    known.iter().map(|shard| format!("function {} => {shard}", shard.index())).collect();
                Rule::read(table, &lines, Some(known), shards).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Returns the lines of the table's group, if it has moved.
    fn moved_lines(
        &self,
        table: &'static Table,
        tables: &[&'static Table],
        shards: &Shards,
    ) -> Option<&[String]> {
        if self.moved.is_empty() {
            return None;
        }
        self.moved.get(&self.group(table, tables, shards).leader).map(Vec::as_slice)
    }

    /// Returns the group of a table: the recorded one, that of a table with the same rule and key types, or its own.
    fn group(&self, table: &'static Table, tables: &[&'static Table], shards: &Shards) -> Group {
        let root = root(table);
        if let Some(group) = self.groups.get(table.name).or_else(|| self.groups.get(root.name)) {
            return group.clone();
        }
        let kind = kind(root);
        let own = || Group { kind: kind.clone(), leader: root.name.to_owned() };
        if matches!(root.placement, Placement::Custom(_)) {
            return own();
        }
        let mut peers: Vec<(&String, &Group)> =
            self.groups.iter().filter(|(_, group)| group.kind == kind).collect();
        peers.sort_unstable_by_key(|(peer, _)| *peer);
        let has_rule_of = |peer: &str| match root.placement {
            Placement::Hash => true,
            _ => {
                let (mut own, mut its) = (root.placement.describe(shards), self.lines.of_table(peer));
                own.sort_unstable();
                its.sort_unstable();
                own == its
            }
        };
        if let Some((_, group)) = peers.into_iter().find(|(peer, _)| has_rule_of(peer)) {
            return group.clone();
        }
        // The cluster was made by a release that recorded no groups.
        let is_peer = |other: &&&'static Table| {
            !self.lines.of_table(other.name).is_empty()
                && !other.is_reference()
                && self::kind(self::root(other)) == kind
                && has_rule_of(other.name)
        };
        match tables.iter().find(is_peer) {
            Some(peer) => Group { kind, leader: self::root(peer).name.to_owned() },
            None => own(),
        }
    }

    /// Returns the lines of a hashed table: the recorded ones, those of its group, or new ones over the serving shards.
    fn hash_lines(&self, table: &'static Table, tables: &[&'static Table], shards: &Shards) -> Vec<String> {
        let recorded = |table: &str| -> Option<Vec<String>> {
            let lines = self.lines.of_table(table);
            (!lines.is_empty() && lines.iter().all(|line| line.starts_with(HASH))).then_some(lines)
        };
        if let Some(moved) = self.moved_lines(table, tables, shards) {
            return moved.iter().filter(|line| line.starts_with(HASH)).cloned().collect();
        }
        let leader = || self.group(table, tables, shards).leader;
        recorded(table.name)
            .or_else(|| recorded(&leader()))
            .unwrap_or_else(|| hashed_over(&shards.serving().map(Shard::name).collect::<Vec<_>>()))
    }

    /// Returns the name of the placement group of a table.
    pub(crate) fn leader(&self, table: &'static Table, tables: &[&'static Table], shards: &Shards) -> String {
        self.group(table, tables, shards).leader
    }

    /// Returns the lines of a table's group, in the form of a [`Rule`].
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the name of a recorded shard is not a valid shard
    /// name.
    pub(crate) fn current_lines(
        &self,
        table: &'static Table,
        tables: &[&'static Table],
        shards: &Shards,
    ) -> Result<Vec<String>> {
        if let Some(moved) = self.moved_lines(table, tables, shards) {
            return Ok(moved.to_vec());
        }
        let root = root(table);
        Ok(match root.placement {
            Placement::Hash => self.hash_lines(root, tables, shards),
            Placement::Custom(_) => {
                let known = self.known_shards(root, shards)?;
                known.iter().map(|shard| format!("function {} => {shard}", shard.index())).collect()
            }
            _ => rule_lines(&root.placement),
        })
    }

    /// Returns the shards that the application's function of a table can return, under the names that the function uses.
    pub(crate) fn known_shards(&self, table: &'static Table, shards: &Shards) -> Result<Shards> {
        let lines = self.lines.of_table(table.name);
        let count =
            lines.iter().find_map(|line| line.strip_prefix(FUNCTION)?.split(' ').next()?.parse().ok());
        let named = lines.iter().filter_map(|line| {
            let (index, name) = line.strip_prefix("function ")?.split_once(" => ")?;
            Some((index.parse::<usize>().ok()?, name.to_owned()))
        });
        let mut named: Vec<(usize, String)> = named.collect();
        named.sort_unstable();
        let mut names: Vec<String> = named.into_iter().map(|(_, name)| name).collect();
        if names.is_empty() {
            names = match count {
                Some(count) => lines::initial_shards(self.lines.lines()).into_iter().take(count).collect(),
                None => shards.serving().map(|shard| shard.name().to_owned()).collect(),
            };
        }
        Shards::named(names)
    }

    /// Returns the lines that a table declares for this record: a hash and a function declare no number of shards.
    fn declared_lines(
        &self,
        table: &'static Table,
        tables: &[&'static Table],
        shards: &Shards,
        moved: &mut Vec<(String, String)>,
    ) -> Result<Vec<String>> {
        let recorded = self.lines.of_table(table.name);
        match table.placement {
            Placement::Hash if recorded.is_empty() => Ok(self.hash_lines(table, tables, shards)),
            Placement::Hash if recorded.iter().all(|line| line.starts_with(HASH)) => Ok(recorded),
            Placement::Custom(_) if recorded.is_empty() => {
                let known = self.known_shards(table, shards)?;
                let mut lines = vec![format!("{FUNCTION}{} shards", known.len())];
                let initial = lines::initial_shards(self.lines.lines());
                if !initial.is_empty()
                    && !known.iter().map(|shard| shard.name()).eq(initial.iter().take(known.len()))
                {
                    lines.extend(known.iter().map(|shard| format!("function {} => {shard}", shard.index())));
                }
                Ok(lines)
            }
            Placement::Custom(_) if recorded.iter().any(|line| line.starts_with(FUNCTION)) => Ok(recorded),
            Placement::List { .. } | Placement::Range(_) => match shards.rule(table) {
                Some(rule) => {
                    let leader = self.group(table, tables, shards).leader;
                    // A new model declares the lines of its group, which the change has moved.
                    let recorded = if recorded.is_empty() { self.lines.of_table(&leader) } else { recorded };
                    let lines = MovedLines::new(table, rule, recorded, self.epoch, shards)?;
                    moved.extend(lines.new.into_iter().map(|line| (leader.clone(), line)));
                    Ok(lines.initial)
                }
                None => Ok(table.placement.describe(shards)),
            },
            _ => Ok(table.placement.describe(shards)),
        }
    }

    /// Returns the groups of declared tables that are not recorded yet.
    pub(crate) fn new_groups(&self, layout: &Layout) -> Vec<(&'static str, String)> {
        let tables: Vec<&'static Table> = layout.tables().collect();
        let new = tables
            .iter()
            .filter(|table| !table.is_reference() && !self.groups.contains_key(table.name))
            .map(|table| (table.name, self.group(table, &tables, layout.shards()).text()));
        new.collect()
    }

    pub(crate) fn role(&self, shard: &str) -> Option<ShardRole> {
        self.shard(shard).map(|recorded| recorded.role)
    }

    pub(crate) fn shard(&self, shard: &str) -> Option<&RecordedShard> {
        self.shards.iter().find(|recorded| recorded.name == shard)
    }

    /// Returns whether a change of the layout, and not `create`, has given rows to a shard.
    fn is_of_a_change(&self, shard: &str) -> bool {
        self.shard(shard).is_some_and(|recorded| recorded.role == ShardRole::Serving && !recorded.is_initial)
    }
}

/// The epoch in a shard's copy of the layout, with a digest of the lines that changes have recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) epoch: u64,
    change: String,
}

/// Returns the digest of lines and the stamp that a shard has recorded in one text.
pub(crate) fn parse_copy(text: &str) -> (String, Option<Stamp>) {
    let mut parts = text.splitn(4, ' ');
    let (count, sum) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let stamp = match (parts.next().map(str::parse), parts.next()) {
        (Some(Ok(epoch)), Some(change)) => Some(Stamp { epoch, change: change.to_owned() }),
        _ => None,
    };
    (format!("{count} {sum}"), stamp)
}

/// Returns the text of a shard's copy; see [`parse_copy`]. A release without epochs refuses a stamp.
pub(crate) fn copy_text(digest: &str, stamp: Option<&Stamp>) -> String {
    match stamp {
        None => digest.to_owned(),
        Some(Stamp { epoch, change }) => format!("{digest} {epoch} {change}"),
    }
}

/// Returns the table whose key places the rows of this one.
pub(crate) fn root(table: &'static Table) -> &'static Table {
    match table.parent {
        Some(parent) if matches!(table.key, KeyColumns::Parent(_)) => root(parent.table),
        _ => table,
    }
}

/// Returns the keyword of a table's rule, and the types of its key.
fn kind(table: &Table) -> String {
    let word = match table.placement {
        Placement::Hash if table.name.starts_with(LOOKUP) => "lookup",
        Placement::Hash => "hash",
        Placement::List { .. } => "list",
        Placement::Range(_) => "range",
        Placement::Everywhere => "reference",
        Placement::Custom(_) => "function",
    };
    let types: Vec<&str> = key_kinds(table).into_iter().map(type_name).collect();
    format!("{word} {}", types.join(","))
}

/// Returns the name of a type in the record.
fn type_name(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Boolean => "boolean",
        ColumnType::Integer => "integer",
        ColumnType::Real => "real",
        ColumnType::Text => "text",
        ColumnType::Bytes => "bytes",
        ColumnType::Uuid => "uuid",
        ColumnType::Timestamp => "timestamp",
        ColumnType::Json => "json",
    }
}

fn hashed_over(shards: &[&str]) -> Vec<String> {
    let line = |(index, shard)| format!("{HASH}{} remainder {index} => {shard}", shards.len());
    let mut lines: Vec<String> = shards.iter().enumerate().map(line).collect();
    lines.sort_unstable();
    lines
}
