//! Rows whose model does not matter any more, and what is done with them one by one: the parameters of its statements.

use crate::error::Result;
use crate::query::Sharded;
use crate::row::Binder;
use crate::schema::{IdKind, Table};
use crate::value::{Value, mismatch};

/// A row whose model does not matter any more.
pub(crate) trait AnyRow: Send + Sync {
    /// Adds the values of all its columns.
    fn values<'a>(&'a self, binder: &mut Binder<'a>) -> Result<()>;
}

impl<T: Sharded> AnyRow for T {
    fn values<'a>(&'a self, binder: &mut Binder<'a>) -> Result<()> {
        self.bind(binder)
    }
}

/// What is done with each of some rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Insert,
    /// These columns are set to what the row has, and its version, where it has one, was raised to what it has.
    Update {
        columns: Vec<usize>,
        version: Option<usize>,
    },
    /// It is removed, where it has this version still.
    Delete {
        version: Option<usize>,
    },
}

impl Change {
    /// Puts the parameters of the statement that does this with a row in the place of the values that are there. An
    /// insert takes all its values, but not an id that the database counts; the others take what is set, the id, and the
    /// version that the row has to have.
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

/// The version that a row had before this one.
fn before<'v>(table: &Table, column: usize, version: Option<&Value<'_>>) -> Result<Value<'v>> {
    match version {
        Some(Value::Integer(version)) => Ok(Value::Integer(version.wrapping_sub(1))),
        other => Err(table.error_at(column, mismatch("an integer", other.unwrap_or(&Value::Null)))),
    }
}
