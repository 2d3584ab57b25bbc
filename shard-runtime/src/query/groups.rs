//! Groups of rows and their measures, without their types.

use super::measure::{HavingCore, MeasureCore, MeasureList};
use super::select::{OrderBy, SelectCore};

/// Measures of groups, without their types.
#[derive(Clone, Debug)]
pub(crate) struct GroupCore {
    pub(crate) select: SelectCore,
    pub(crate) keys: Vec<usize>,
    /// Those that are read, then those that are only compared or ordered by.
    pub(crate) measures: Vec<MeasureCore>,
    pub(crate) having: Vec<HavingCore>,
    pub(crate) order: Vec<GroupOrderCore>,
    pub(crate) limit: Option<u64>,
    pub(crate) offset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum GroupOrderCore {
    Key(OrderBy),
    Measure { measure: MeasureCore, descending: bool },
}

impl GroupCore {
    pub(super) fn new<T, M: MeasureList<T>>(select: SelectCore, keys: Vec<usize>, list: &M) -> Self {
        let mut measures = Vec::new();
        list.cores(&mut measures);
        GroupCore { select, keys, measures, having: Vec::new(), order: Vec::new(), limit: None, offset: 0 }
    }

    pub(super) fn want(&mut self, measure: MeasureCore) {
        if !self.measures.contains(&measure) {
            self.measures.push(measure);
        }
    }

    /// A measure as shards are asked for it.
    pub(crate) fn asked(&self, measure: MeasureCore, asked: &[MeasureCore]) -> MeasureCore {
        let place = self.measures.iter().position(|other| *other == measure);
        place.and_then(|place| asked.get(place)).copied().unwrap_or(measure)
    }
}
