//! The part of a shard in a change, in the shard's own record. Uses `facts`.

use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Location;
use crate::planner::own_tables;
use crate::transaction::facts::{self, Kind};

/// The part of a shard in a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) role: Role,
    pub(crate) change: u64,
    pub(crate) attempt: u64,
}

/// The role of a shard in a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Rows are copied from it.
    Source,
    /// It accepts no writes: its tables have fences.
    Fenced,
    /// Its tables are renamed, so that it cannot be read either.
    Hidden,
    /// Rows are copied to it. No session uses it.
    Incoming,
    /// Sessions use it.
    Serving,
}

impl Role {
    const ALL: [Role; 5] = [Role::Source, Role::Fenced, Role::Hidden, Role::Incoming, Role::Serving];

    fn name(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::Fenced => "fenced",
            Role::Hidden => "hidden",
            Role::Incoming => "incoming",
            Role::Serving => "serving",
        }
    }
}

impl Part {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let word = parts.next()?;
        let role = Role::ALL.into_iter().find(|role| role.name() == word)?;
        Some(Part { role, change: parts.next()?.parse().ok()?, attempt: parts.next()?.parse().ok()? })
    }

    fn text(self) -> String {
        let Part { role, change, attempt } = self;
        format!("{} {change} {attempt}", role.name())
    }
}

/// Reads the part of a shard; `None` if it has none.
pub(crate) fn read_part(connection: &dyn Connection, location: &Location) -> Result<Option<Part>> {
    let table = location.names.table(facts::TABLE);
    let sql = format!("SELECT value FROM {table} WHERE kind = '{}' AND name = ''", Kind::Change.name());
    let rows = match facts::texts(connection, &sql, &[]) {
        Err(error) if error.kind() == ErrorKind::Schema => return Ok(None),
        rows => rows?,
    };
    Ok(rows.first().and_then(|row| Part::parse(row.first()?)))
}

/// Locks the part of a shard until the transaction ends, and returns it.
///
/// It locks the row of the shard's identity, which exists before the shard has a part.
pub(crate) fn lock_part(connection: &dyn Connection, location: &Location) -> Result<Option<Part>> {
    let lock = location.dialect.for_update();
    if !lock.is_empty() {
        let own = location.names.table(own_tables::SHARD);
        facts::texts(connection, &format!("SELECT shard FROM {own}{lock}"), &[])?;
    }
    read_part(connection, location)
}

/// Locks the part of a shard until the transaction ends, and returns it.
///
/// # Errors
/// [`ErrorKind::Stale`] if the shard has another change or attempt: another process has continued or cancelled the
/// change.
pub(crate) fn claim_part(
    connection: &dyn Connection,
    location: &Location,
    (change, attempt): (u64, u64),
) -> Result<Part> {
    match lock_part(connection, location)? {
        Some(part) if (part.change, part.attempt) == (change, attempt) => Ok(part),
        found => {
            let by = match found {
                Some(part) if part.change == change => format!("attempt {} has taken over", part.attempt),
                _ => "it was cancelled or finished".to_owned(),
            };
            let message = format!(
                "attempt {attempt} of change {change} has ended: {by}; see `changes` for its state, and continue there"
            );
            Err(Error::new(ErrorKind::Stale, message))
        }
    }
}

/// Records the part of a shard; `None` removes it.
pub(crate) fn write_part(connection: &dyn Connection, location: &Location, part: Option<Part>) -> Result<()> {
    match part {
        Some(part) => {
            facts::record_own(connection, &location.names, location.dialect, Kind::Change, &part.text())
        }
        None => facts::forget(connection, &location.names, location.dialect, Kind::Change, ""),
    }
}
