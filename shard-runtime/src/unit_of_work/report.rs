//! The report of a verification: rows and lookup entries that are not where they belong.

use std::fmt;

use crate::value::Value;

/// How many problems of each kind a report holds; every row could have one.
const KEPT: usize = 1_000;

/// The findings of [`Cluster::verify`](crate::Cluster::verify) and [`Cluster::repair`](crate::Cluster::repair).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VerifyReport {
    rows: Vec<RowProblem>,
    lookups: Vec<LookupProblem>,
    found: u64,
    repaired: u64,
}

impl VerifyReport {
    /// Returns whether everything is correct: no problem was found, or all of them were repaired.
    pub fn is_sound(&self) -> bool {
        self.found == self.repaired
    }

    /// Returns how many problems were found.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Returns how many of the problems were repaired.
    pub fn repaired(&self) -> u64 {
        self.repaired
    }

    /// Returns the first 1,000 rows that are not where they belong.
    pub fn row_problems(&self) -> &[RowProblem] {
        &self.rows
    }

    /// Returns the first 1,000 values of lookups that do not agree with their rows.
    pub fn lookup_problems(&self) -> &[LookupProblem] {
        &self.lookups
    }

    pub(crate) fn take(&mut self, problem: LookupProblem) {
        self.found += 1;
        self.repaired += u64::from(problem.repaired);
        if self.lookups.len() < KEPT {
            self.lookups.push(problem);
        }
    }

    pub(crate) fn take_row(&mut self, problem: RowProblem) {
        self.found += 1;
        if self.rows.len() < KEPT {
            self.rows.push(problem);
        }
    }
}

/// A row that is not where it belongs. [`Cluster::repair`](crate::Cluster::repair) leaves it alone: only the application
/// can decide which row is correct. Correct it with [`Session::relocate`](crate::Session::relocate), an update or a
/// delete.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RowProblem {
    /// The table of the row, without a shard's prefix.
    pub table: &'static str,
    /// The row's id.
    pub id: Value<'static>,
    /// The problem.
    pub kind: RowProblemKind,
    /// The shard that holds the row.
    pub shard: String,
    /// The shard of its key; `None` if no shard has that key, and for children, whose parents determine the shard.
    pub wanted: Option<String>,
}

/// The problem of a row's shard or id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RowProblemKind {
    /// The row's key belongs on another shard: the row is not found by its key.
    Misplaced,
    /// The row's key belongs on no shard.
    Unmapped,
    /// The row's parent is not on its shard.
    Orphan,
    /// Another shard holds a row with the same id, which is unique over the cluster.
    Duplicate,
}

impl fmt::Display for RowProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RowProblemKind::Misplaced => "the key belongs on another shard",
            RowProblemKind::Unmapped => "the key is placed on no shard",
            RowProblemKind::Orphan => "the parent is not on this shard",
            RowProblemKind::Duplicate => "another shard holds a row with this id",
        })
    }
}

/// `users 42 on asia: the key belongs on another shard (europe)`
impl fmt::Display for RowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RowProblem { table, id, kind, shard, wanted } = self;
        write!(f, "{table} {id} on {shard}: {kind}")?;
        match wanted {
            Some(wanted) if *kind == RowProblemKind::Misplaced => write!(f, " ({wanted})"),
            _ => Ok(()),
        }
    }
}

/// A value of a lookup that does not agree with a row, or that no row has.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LookupProblem {
    /// The table of the row, without a shard's prefix.
    pub table: &'static str,
    /// The column of the value.
    pub column: &'static str,
    /// The value by which the row is looked up.
    pub value: Value<'static>,
    /// The kind of problem.
    pub kind: LookupProblemKind,
    /// The shards of the problem: those of the rows or, if there is no row, that of the entry.
    pub shards: Vec<String>,
    /// Whether the problem was repaired.
    pub repaired: bool,
}

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LookupProblemKind {
    /// A row's value has no entry in its lookup: the row is not found by it, and another row could get the same value.
    MissingEntry,
    /// An entry without a row, or one on a shard where no session looks for it.
    StrayEntry,
    /// An entry that names another shard than the row's.
    WrongShard,
    /// Several rows share a value that must be unique. [`Cluster::repair`](crate::Cluster::repair) leaves them alone:
    /// only the application can decide which row keeps it. Change or remove all rows but one, then repair.
    SeveralRows,
}

impl fmt::Display for LookupProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LookupProblemKind::MissingEntry => "a row's value has no entry",
            LookupProblemKind::StrayEntry => "an entry leads to no row",
            LookupProblemKind::WrongShard => "an entry names another shard than the row's",
            LookupProblemKind::SeveralRows => "several rows have one value",
        })
    }
}

/// `users.email = ada@example.com: an entry leads to no row (europe), repaired`
impl fmt::Display for LookupProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LookupProblem { table, column, value, kind, shards, repaired } = self;
        let repaired = if *repaired { ", repaired" } else { "" };
        write!(f, "{table}.{column} = {value}: {kind} ({}){repaired}", shards.join(", "))
    }
}
