//! The error of a value that cannot be stored or read. Uses nothing of the crate.

use std::fmt;

/// The error of a value that cannot be stored, or of a stored value that the field's type does not hold. The session
/// adds column, table and shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError(String);

impl ValueError {
    /// Returns an error with this message, which names the value and what is wrong with it.
    pub fn new(message: impl Into<String>) -> Self {
        ValueError(message.into())
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValueError {}
