//! Which rows of a merged answer the caller wants.

use std::ops::ControlFlow;

use crate::error::Result;

/// Which rows of a merged answer are visited.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LimitOffset {
    /// How many are left out first.
    pub(crate) skip: u64,
    /// How many are visited at most.
    pub(crate) take: Option<u64>,
}

impl LimitOffset {
    /// Counts a row, and visits it where it is one that is wanted; breaks after the last.
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

    /// Whether there may be rows that are not visited because others were.
    pub(crate) fn has_end(&self) -> bool {
        self.take.is_some()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.take == Some(0)
    }
}
