//! Rows without their type, and the parameters of the statements that change them one by one.

use crate::error::Result;
use crate::query::Sharded;
use crate::row::Binder;
use crate::schema::{IdKind, Table};
use crate::value::{Value, mismatch};

/// A row without its type.
pub(crate) trait AnyRow: Send + Sync {
    /// Adds the values of all columns.
    fn values<'a>(&'a self, binder: &mut Binder<'a>) -> Result<()>;
}

impl<T: Sharded> AnyRow for T {
    fn values<'a>(&'a self, binder: &mut Binder<'a>) -> Result<()> {
        self.bind(binder)
    }
}

/// The change of each of some rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Insert,
    /// Sets these columns to the values of the row. Its version, if it has one, was raised before.
    Update {
        columns: Vec<usize>,
        version: Option<usize>,
    },
    /// Deletes the row if it has this version.
    Delete {
        version: Option<usize>,
    },
}

impl Change {
    /// Replaces the values in the binder by the parameters of the statement for a row. An insert has all its values,
    /// without an id that the database generates. The others have the columns that are set, the id, and the expected
    /// version.
    pub(crate) fn bind<'a>(
        &self,
        table: &'static Table,
        row: &'a dyn AnyRow,
        binder: &mut Binder<'a>,
    ) -> Result<()> {
        binder.clear();
        row.values(binder)?;
        let all = &mut binder.values;
        match self {
            Change::Insert => {
                if table.id_kind == IdKind::Auto && table.id < all.len() {
                    all.remove(table.id);
                }
            }
            Change::Update { columns, version } => {
                let was = version.map(|version| before(table, version, all.get(version))).transpose()?;
                let id = taken(all, table.id);
                let set: Vec<Value<'a>> = columns.iter().map(|&column| taken(all, column)).collect();
                *all = set;
                all.push(id);
                all.extend(was);
            }
            Change::Delete { version } => {
                let (id, was) = (taken(all, table.id), version.map(|version| taken(all, version)));
                *all = vec![id];
                all.extend(was);
            }
        }
        Ok(())
    }
}

fn taken<'v>(all: &mut [Value<'v>], column: usize) -> Value<'v> {
    all.get_mut(column).map_or(Value::Null, |value| std::mem::replace(value, Value::Null))
}

/// Returns the version before this one.
fn before<'v>(table: &Table, column: usize, version: Option<&Value<'_>>) -> Result<Value<'v>> {
    match version {
        Some(Value::Integer(version)) => Ok(Value::Integer(version.wrapping_sub(1))),
        other => Err(table.error_at(column, mismatch("an integer", other.unwrap_or(&Value::Null)))),
    }
}
