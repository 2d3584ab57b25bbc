//! The progress of a change, as values. Uses `links` and `capture`.

use std::fmt;
use std::time::{Duration, Instant};

use super::links::Links;
use super::{Change, capture};
use crate::cluster::administration::serialized;
use crate::error::Result;
use crate::transaction::change::ChangeState;

/// The work of a change at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangePhase {
    /// Rows are copied for the first time.
    Copying,
    /// Rows that have changed meanwhile are copied again.
    CatchingUp,
    /// Indexes are made on a target.
    Indexes,
    /// Rows are compared with their copies, after a copy to another cluster.
    Comparing,
}

impl fmt::Display for ChangePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChangePhase::Copying => "copying",
            ChangePhase::CatchingUp => "catching up",
            ChangePhase::Indexes => "indexes",
            ChangePhase::Comparing => "comparing",
        })
    }
}

/// Serialises its name: `"catching up"`.
#[cfg(feature = "serde")]
impl serde::Serialize for ChangePhase {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One event of a change, or of a copy to another cluster. Prints a line.
///
/// With the feature `serde` it can be serialised. [`time_to_go`](ChangeProgress::time_to_go) is then a number of seconds,
/// `seconds_to_go`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChangeProgress {
    /// The work.
    pub phase: ChangePhase,
    /// The table whose rows were copied, or the target whose indexes were made.
    pub what: String,
    /// The number of rows copied by this call, without those that were copied again.
    pub rows: u64,
    /// About the number of rows that this call has to copy: the rows of the sources, less those that the targets had at its
    /// start.
    pub of: u64,
    /// The number of changed rows that have yet to be copied again; one may count several times.
    pub dirty: u64,
    /// The average number of rows copied in a second.
    pub rows_per_second: f64,
    began: Instant,
}

#[cfg(feature = "serde")]
impl serde::Serialize for ChangeProgress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut map = serializer.serialize_struct("ChangeProgress", 7)?;
        map.serialize_field("phase", &self.phase)?;
        map.serialize_field("what", &self.what)?;
        map.serialize_field("rows", &self.rows)?;
        map.serialize_field("of", &self.of)?;
        map.serialize_field("dirty", &self.dirty)?;
        map.serialize_field("rows_per_second", &self.rows_per_second)?;
        map.serialize_field("seconds_to_go", &self.time_to_go().map(|left| left.as_secs_f64()))?;
        map.end()
    }
}

impl ChangeProgress {
    pub(in crate::cluster) fn new(of: u64) -> Self {
        ChangeProgress {
            phase: ChangePhase::Copying,
            what: String::new(),
            rows: 0,
            of,
            dirty: 0,
            rows_per_second: 0.0,
            began: Instant::now(),
        }
    }

    pub(in crate::cluster) fn add(&mut self, phase: ChangePhase, what: &str, rows: u64) {
        self.phase = phase;
        what.clone_into(&mut self.what);
        self.rows += rows;
        let seconds = self.began.elapsed().as_secs_f64();
        if phase == ChangePhase::Copying && seconds > 0.0 {
            self.rows_per_second = self.rows as f64 / seconds;
        }
    }

    pub(in crate::cluster) fn compared(&mut self, rows: u64) {
        self.phase = ChangePhase::Comparing;
        self.what = format!("{rows} rows");
    }

    pub(super) fn caught_up(&mut self, rows: u64, dirty: u64) {
        self.phase = ChangePhase::CatchingUp;
        self.what = format!("{rows} changed rows");
        self.dirty = dirty;
    }

    /// Returns the estimated rest of the first copy, at the average rate so far. `None` if no rows are being copied. The time for
    /// indexes, for rows that change meanwhile, and for the comparison is not included.
    pub fn time_to_go(&self) -> Option<Duration> {
        let left = self.of.saturating_sub(self.rows) as f64;
        let is_copying = self.phase == ChangePhase::Copying && self.rows_per_second > 0.0;
        is_copying.then(|| Duration::from_secs_f64(left / self.rows_per_second))
    }
}

impl fmt::Display for ChangeProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChangeProgress { what, rows, of, dirty, rows_per_second, .. } = self;
        match self.phase {
            ChangePhase::Copying => {
                write!(f, "{what}: {rows} of about {of} rows copied, {rows_per_second:.0} a second")?;
                match self.time_to_go() {
                    Some(left) => write!(f, ", about {:.0?} to go", Duration::from_secs(left.as_secs())),
                    None => Ok(()),
                }
            }
            ChangePhase::CatchingUp => write!(f, "{what} copied again, {dirty} left"),
            ChangePhase::Indexes => write!(f, "indexes of {what}"),
            ChangePhase::Comparing => write!(f, "{what} compared"),
        }
    }
}

/// The progress of a change; made by [`Change::status`]. Prints a line.
///
/// With the feature `serde` it can be serialised.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangeStatus {
    /// The number of the change.
    pub number: u64,
    /// The attempt that may work on it.
    pub attempt: u64,
    /// `copying`, `cancelling`, `decided`, `served` or `retired`.
    pub state: &'static str,
    /// The shards whose rows move, or have moved.
    pub sources: Vec<String>,
    /// The shards that get the rows.
    pub targets: Vec<String>,
    /// The number of changed rows that have yet to be copied again. `None` if the change is not copying, or a source cannot be
    /// read.
    pub dirty: Option<u64>,
}

serialized! { ChangeStatus { number, attempt, state, sources, targets, dirty } }

impl ChangeStatus {
    /// Returns whether the change excludes other changes, migrations and `create`. A change that does not is decided, and its
    /// sources hold their rows under other names.
    pub fn is_running(&self) -> bool {
        ["copying", "cancelling", "decided"].contains(&self.state)
    }
}

impl fmt::Display for ChangeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChangeStatus { number, attempt, state, sources, targets, dirty } = self;
        write!(
            f,
            "change {number}: {} -> {}, {state}, attempt {attempt}",
            sources.join(", "),
            targets.join(", ")
        )?;
        match dirty {
            Some(dirty) => write!(f, ", {dirty} changed rows wait"),
            None => Ok(()),
        }
    }
}

impl Change {
    /// Returns the current progress of the change.
    ///
    /// # Errors
    /// Those of the control database.
    pub fn status(&self) -> Result<ChangeStatus> {
        let now = self.cluster.0.control.change(self.number())?;
        let record = now.as_ref().unwrap_or(&self.record);
        let count = || -> Result<u64> {
            let endpoints = self.sources()?;
            let links = Links::connect(&self.cluster, endpoints.iter().copied())?;
            endpoints.into_iter().map(|source| capture::count(links.at(source)?, source)).sum()
        };
        Ok(ChangeStatus {
            number: record.number,
            attempt: record.attempt,
            state: if now.is_some() { record.state.name() } else { "cancelled" },
            sources: record.sources.clone(),
            targets: record.targets.clone(),
            dirty: if record.state == ChangeState::Copying { count().ok() } else { None },
        })
    }
}
