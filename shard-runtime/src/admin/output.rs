//! Results as text for people and as JSON for programs.

use super::Outcome;

/// The result of a command.
pub(super) struct CommandAnswer {
    pub(super) outcome: Outcome,
    /// Ends with the end of a line.
    pub(super) text: String,
    pub(super) json: serde_json::Value,
}
