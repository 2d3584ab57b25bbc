//! The checks of the shards that a transaction uses, as statements that the server has parsed and planned in advance.
//! Uses nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The statements of checks that a connection has prepared, by their text.
#[derive(Default)]
pub(in super::super) struct Checks(Mutex<State>);

#[derive(Default)]
struct State {
    names: HashMap<String, String>,
    /// The number of the next name. A name whose preparation may have failed is not used again.
    next: u64,
}

/// Statements that are being prepared: their texts and names.
pub(super) type PreparingChecks = Vec<(String, String)>;

impl Checks {
    /// Returns the SQL that runs a check. If that prepares the check, adds it to `preparing`.
    pub(super) fn sql_of(&self, check: &str, preparing: &mut PreparingChecks) -> String {
        let mut state = self.lock();
        if let Some(name) = state.names.get(check) {
            return format!("EXECUTE {name}");
        }
        let name = format!("sharded_check_{}", state.next);
        state.next += 1;
        preparing.push((check.to_owned(), name.clone()));
        format!("PREPARE {name} AS {check}; EXECUTE {name}")
    }

    /// Notes that these statements were prepared.
    pub(super) fn are_prepared(&self, prepared: PreparingChecks) {
        if !prepared.is_empty() {
            self.lock().names.extend(prepared);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_prepared_once_that_has_succeeded() {
        let checks = Checks::default();
        let mut preparing = PreparingChecks::new();
        assert_eq!(
            checks.sql_of("SELECT 1", &mut preparing),
            "PREPARE sharded_check_0 AS SELECT 1; EXECUTE sharded_check_0"
        );
        // It has failed.
        let mut preparing = PreparingChecks::new();
        assert_eq!(
            checks.sql_of("SELECT 1", &mut preparing),
            "PREPARE sharded_check_1 AS SELECT 1; EXECUTE sharded_check_1"
        );
        checks.are_prepared(preparing);
        let mut preparing = PreparingChecks::new();
        assert_eq!(checks.sql_of("SELECT 1", &mut preparing), "EXECUTE sharded_check_1");
        assert!(preparing.is_empty());
    }
}
