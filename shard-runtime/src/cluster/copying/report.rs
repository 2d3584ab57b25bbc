//! The result of a copy to another cluster, with a checksum of each table's rows.

use std::collections::BTreeMap;
use std::fmt;

use crate::cluster::administration::serialized;
use crate::cluster::administration::text::table as aligned;
use crate::cluster::change::copy::Copier;
use crate::cluster::change::rows::Tables;
use crate::cluster::change::verify::ComparedRows;
use crate::error::Result;
use crate::schema::hash::hash_bytes;
use crate::value::{ColumnType, Value};

/// The result of a copy to another cluster, every row of which was compared; made by
/// [`ClusterCopy::run`](super::ClusterCopy::run). Prints a table.
///
/// With the feature `serde` it can be serialised.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyReport {
    /// The number of rows that were copied and compared, by this call and by earlier ones that were interrupted. A row of a
    /// reference table counts once.
    pub rows: u64,
    /// The number of rows that an earlier call had copied and that were copied again, or deleted, because the source has changed.
    pub repaired: u64,
    /// By table, in the order in which they were copied.
    pub tables: Vec<CopiedTable>,
}

/// The rows of one table after a copy to another cluster.
///
/// With the feature `serde` it can be serialised.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopiedTable {
    /// The name of the table.
    pub table: &'static str,
    /// The number of rows; those of a reference table count once.
    pub rows: u64,
    /// A checksum of the rows, over all columns but JSON. Two copies of the same rows have the same checksum, whatever their
    /// shards are.
    pub checksum: String,
}

serialized! { CopyReport { rows, repaired, tables } }
serialized! { CopiedTable { table, rows, checksum } }

impl fmt::Display for CopyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |copied: &CopiedTable| {
            vec![copied.table.to_owned(), copied.rows.to_string(), copied.checksum.clone()]
        };
        let rows: Vec<Vec<String>> = self.tables.iter().map(row).collect();
        write!(
            f,
            "{}{} rows copied and compared",
            aligned(&["table", "rows", "checksum"], &rows),
            self.rows
        )?;
        match self.repaired {
            0 => Ok(()),
            repaired => {
                write!(f, ", {repaired} of them again, or deleted, after an earlier copy that was stopped")
            }
        }
    }
}

/// The sums of the hashes of all rows: they do not depend on the order of the rows.
#[derive(Default)]
pub(super) struct Sums(BTreeMap<&'static str, Sum>);

#[derive(Clone, Default)]
struct Sum {
    rows: u64,
    of_rows: u64,
    of_copies: u64,
}

impl Sums {
    pub(super) fn add(&mut self, tables: &Tables<'_>, seen: &ComparedRows<'_>) -> Result<()> {
        let columns = tables.columns(seen.source, seen.table)?;
        let mut order: Vec<(usize, String)> = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.kind() != Some(ColumnType::Json))
            .map(|(at, column)| (at, column.name().to_lowercase()))
            .collect();
        order.sort_unstable_by(|(_, a), (_, b)| a.cmp(b));
        let sum = self.0.entry(seen.table.name).or_default();
        let mut bytes = Vec::new();
        for row in seen.rows.iter() {
            bytes.clear();
            order.iter().filter_map(|(at, _)| row.get(*at)).for_each(|value| add_value(&mut bytes, value));
            let hash = hash_bytes(&bytes, 0);
            match seen.are_copies {
                true => sum.of_copies = sum.of_copies.wrapping_add(hash),
                false => (sum.rows, sum.of_rows) = (sum.rows + 1, sum.of_rows.wrapping_add(hash)),
            }
        }
        Ok(())
    }

    /// Returns the checksums of all tables, and fails if those of the rows and of their copies differ.
    pub(super) fn compared(self, copier: &Copier<'_>) -> Result<Vec<CopiedTable>> {
        let mut tables = Vec::new();
        for &table in copier.tables.all() {
            let Sum { rows, of_rows, of_copies } =
                self.0.get(table.name).map_or_else(Sum::default, Sum::clone);
            let copies = if table.is_reference() { copier.targets.len() as u64 } else { 1 };
            if of_rows.wrapping_mul(copies) != of_copies {
                return Err(copier.differ(table, "their checksums differ"));
            }
            tables.push(CopiedTable { table: table.name, rows, checksum: format!("{of_rows:016x}") });
        }
        Ok(tables)
    }
}

fn add_value(bytes: &mut Vec<u8>, value: &Value<'_>) {
    let (tag, content): (u8, &[u8]) = match value {
        Value::Null => (0, &[]),
        Value::Boolean(value) => (1, if *value { &[1] } else { &[0] }),
        Value::Integer(value) => (2, &value.to_be_bytes()),
        // SQLite stores -0.0 as 0.0, and there are many NaN.
        Value::Real(value) if value.is_nan() => (3, &f64::NAN.to_be_bytes()),
        Value::Real(value) => (3, &(value + 0.0).to_be_bytes()),
        Value::Text(value) => (4, value.as_bytes()),
        Value::Bytes(value) => (5, value),
        Value::Uuid(value) => (6, value),
        Value::Timestamp(value) => (7, &value.to_be_bytes()),
        Value::Json(value) => (8, value.as_bytes()),
    };
    bytes.push(tag);
    bytes.extend((content.len() as u64).to_be_bytes());
    bytes.extend(content);
}
