//! The recorded shards: their names, places and roles.

use std::collections::HashSet;

use super::RecordedLayout;
use super::lines::{Line, places as places_of};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::ShardRole;

/// A shard that the cluster has recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordedShard {
    pub(crate) name: String,
    /// A number that no other shard of the cluster ever gets.
    pub(crate) place: usize,
    pub(crate) role: ShardRole,
    /// Whether `create` has given it keys.
    pub(crate) is_initial: bool,
}

/// Returns the shards that lines and facts name, ascending by place. A fact overrides a line, except that a line makes a
/// spare shard serve.
pub(super) fn recorded(lines: &[Line], facts: &[(&str, &str)]) -> Vec<RecordedShard> {
    let serving = |(place, name): (usize, &str)| RecordedShard {
        name: name.to_owned(),
        place,
        role: ShardRole::Serving,
        is_initial: true,
    };
    let mut shards: Vec<RecordedShard> = places_of(lines).map(serving).collect();
    for (name, fact) in facts {
        let Some((place, role)) = parse_place(fact) else { continue };
        match shards.iter_mut().find(|shard| shard.name == **name) {
            Some(shard) if role != ShardRole::Spare => shard.role = role,
            Some(_) => {}
            None => shards.push(RecordedShard { name: (*name).to_owned(), place, role, is_initial: false }),
        }
    }
    shards.sort_unstable_by_key(|shard| shard.place);
    shards
}

/// Returns the text of a shard's place.
pub(crate) fn place_text(place: usize, role: ShardRole) -> String {
    format!("{place} {}", role.name())
}

fn parse_place(text: &str) -> Option<(usize, ShardRole)> {
    let (place, role) = text.split_once(' ')?;
    let roles = [ShardRole::Serving, ShardRole::Spare, ShardRole::Retired];
    Some((place.parse().ok()?, roles.into_iter().find(|other| other.name() == role)?))
}

/// A configured shard, with its place and its role in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Configured {
    pub(crate) name: String,
    pub(crate) place: usize,
    pub(crate) role: ShardRole,
}

impl RecordedLayout {
    /// Returns those of the configured shards that the program uses, in the order of their places: all but retired ones.
    /// `named` are the shards for which its models declare keys.
    ///
    /// # Errors
    /// [`ErrorKind::Layout`] if a shard with keys is not configured, or a configured one is not recorded.
    pub(crate) fn used(&self, configured: &[&str], named: &HashSet<&str>) -> Result<Vec<Configured>> {
        if self.is_empty() {
            let serving = |(place, name): (usize, &&str)| Configured {
                name: (*name).to_owned(),
                place,
                role: ShardRole::Serving,
            };
            return Ok(configured.iter().enumerate().map(serving).collect());
        }
        let is_configured = |name: &str| configured.contains(&name);
        let missing =
            |shard: &&RecordedShard| shard.role == ShardRole::Serving && !is_configured(&shard.name);
        if let Some(shard) = self.shards.iter().find(missing) {
            let RecordedShard { name, place, .. } = shard;
            let has = match shard.is_initial {
                true => format!("the cluster has a shard `{name}` (place {place})"),
                false => format!(
                    "since epoch {} of the layout, keys are on a shard `{name}` (place {place})",
                    self.epoch
                ),
            };
            let message =
                format!("{has}, which is not configured (configured: {}); add it", configured.join(", "));
            return Err(Error::new(ErrorKind::Layout, message));
        }
        if let Some(name) = configured.iter().find(|name| self.shard(name).is_none()) {
            let message = "the shard is configured, but the cluster has no shard of this name; `create` adds it, without keys";
            return Err(Error::new(ErrorKind::Layout, message).on_shard(name));
        }
        let used = |shard: &RecordedShard| {
            let role = match shard.role {
                ShardRole::Spare if named.contains(shard.name.as_str()) => ShardRole::Serving,
                role => role,
            };
            Configured { name: shard.name.clone(), place: shard.place, role }
        };
        let known = self.shards.iter().filter(|shard| is_configured(&shard.name)).map(used);
        Ok(known.filter(|shard| shard.role != ShardRole::Retired).collect())
    }

    /// Returns the configured shards that are not recorded, with the places that they will get.
    pub(crate) fn unplaced<'n>(&self, configured: &[&'n str]) -> Vec<(&'n str, usize)> {
        if self.is_empty() {
            return Vec::new();
        }
        let next = self.shards.last().map_or(0, |last| last.place + 1);
        let new = configured.iter().filter(|name| self.shard(name).is_none());
        new.zip(next..).map(|(name, place)| (*name, place)).collect()
    }
}
