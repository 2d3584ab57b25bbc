//! Groups of rows and their measures, without their types.

use super::measure::{HavingCore, MeasureCore, MeasureList};
use super::select::{OrderBy, SelectCore};

/// Measures of groups, without their types.
#[derive(Clone, Debug)]
pub(crate) struct GroupCore {
    pub(crate) select: SelectCore,
    pub(crate) keys: Vec<usize>,
    /// The measures that are read, then those that are only compared or ordered by.
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

    pub(super) fn add_measure(&mut self, measure: MeasureCore) {
        if !self.measures.contains(&measure) {
            self.measures.push(measure);
        }
    }

    /// Returns a measure in the form in which the shards compute it.
    pub(crate) fn on_shards(&self, measure: MeasureCore, computed: &[MeasureCore]) -> MeasureCore {
        let index = self.measures.iter().position(|other| *other == measure);
        index.and_then(|index| computed.get(index)).copied().unwrap_or(measure)
    }
}
