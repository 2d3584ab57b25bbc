//! The limit and the offset of a merged result.

use std::ops::ControlFlow;

use crate::error::Result;

/// The rows of a merged result that are visited.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LimitOffset {
    /// The number of rows to skip.
    pub(crate) skip: u64,
    /// The greatest number of rows to visit.
    pub(crate) take: Option<u64>,
}

impl LimitOffset {
    /// Counts a row, and visits it unless it is skipped; breaks after the last one.
    pub(crate) fn count(
        &mut self,
        visit: impl FnOnce() -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(ControlFlow::Continue(()));
        }
        let more = visit()?;
        if let Some(left) = &mut self.take {
            *left = left.saturating_sub(1);
        }
        Ok(if self.is_over() { ControlFlow::Break(()) } else { more })
    }

    /// Returns whether later rows are not visited because of the limit.
    pub(crate) fn has_end(&self) -> bool {
        self.take.is_some()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.take == Some(0)
    }
}
