//! The findings of an adoption: differences that have to be removed, and notes.

use std::fmt;

use crate::cluster::administration::TableRows;
use crate::cluster::administration::serialized::serialized;

/// The comparison of a database with the models, made by [`Builder::adopt`](crate::Builder::adopt). Prints a script: the findings
/// as comments, with the SQL that removes the differences.
///
/// With the feature `serde` it can be serialised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdoptionReport {
    /// The shard's name.
    pub shard: String,
    /// The number of rows that were read of each table.
    pub tables: Vec<TableRows>,
    /// The findings that prevent the adoption, in the order in which their SQL has to run.
    pub differences: Vec<AdoptionFinding>,
    /// The findings that do not prevent it.
    pub notes: Vec<AdoptionFinding>,
}

/// One finding of an [`AdoptionReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdoptionFinding {
    /// The table; `None` for the whole database.
    pub table: Option<&'static str>,
    /// The column; `None` for the whole table.
    pub column: Option<String>,
    /// The expected and the found state.
    pub message: String,
    /// The advice.
    pub remedy: String,
    /// The statements of the remedy, in their order.
    pub sql: Vec<String>,
}

serialized! { AdoptionReport { shard, tables, differences, notes } }
serialized! { AdoptionFinding { table, column, message, remedy, sql } }

impl AdoptionFinding {
    pub(super) fn new(table: &'static str, message: impl Into<String>) -> Self {
        AdoptionFinding {
            table: Some(table),
            column: None,
            message: message.into(),
            remedy: "run this SQL".to_owned(),
            sql: Vec::new(),
        }
    }

    pub(super) fn at(mut self, column: &str) -> Self {
        self.column = Some(column.to_owned());
        self
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    pub(super) fn sql(mut self, sql: impl IntoIterator<Item = String>) -> Self {
        self.sql.extend(sql);
        self
    }
}

/// Prints one line, without the SQL.
impl fmt::Display for AdoptionFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.table, &self.column) {
            (Some(table), Some(column)) => write!(f, "table `{table}`, column `{column}`: ")?,
            (Some(table), None) => write!(f, "table `{table}`: ")?,
            (None, _) => {}
        }
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

impl AdoptionReport {
    /// Returns whether the database can be adopted.
    pub fn is_fit(&self) -> bool {
        self.differences.is_empty()
    }
}

impl fmt::Display for AdoptionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "-- shard {}: {} differences, {} notes",
            self.shard,
            self.differences.len(),
            self.notes.len()
        )?;
        let rows: Vec<String> =
            self.tables.iter().map(|read| format!("{} of {}", read.rows, read.table)).collect();
        writeln!(f, "-- rows read: {}", if rows.is_empty() { "none".to_owned() } else { rows.join(", ") })?;
        if self.differences.iter().any(|finding| !finding.sql.is_empty()) {
            writeln!(
                f,
                "-- run it with `sqlite3 -bail` or `psql -v ON_ERROR_STOP=1`, which stop at the first error"
            )?;
        }
        for (kind, findings) in [("difference", &self.differences), ("note", &self.notes)] {
            for finding in findings {
                // A value in the message must not end the comment.
                writeln!(f, "-- {kind}: {}", finding.to_string().replace(['\n', '\r'], " "))?;
                let comment = if kind == "note" { "--   " } else { "" };
                finding.sql.iter().try_for_each(|sql| writeln!(f, "{comment}{sql};"))?;
            }
        }
        Ok(())
    }
}
