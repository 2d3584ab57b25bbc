//! The report of [`Cluster::verify`]: rows on a wrong shard, and lookups that do not agree with their rows.

use std::fmt;

use crate::cluster::Cluster;
use crate::error::Result;
use crate::schema::Table;
use crate::value::Value;

/// How many problems of each kind a report holds; there may be as many as rows.
const KEPT: usize = 1_000;

/// The findings of [`Cluster::verify`] and [`Cluster::repair`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VerifyReport {
    rows: Vec<RowProblem>,
    lookups: Vec<LookupProblem>,
    found: u64,
    repaired: u64,
}

impl VerifyReport {
    /// Returns whether everything is right: no problem was found, or all of them were repaired.
    pub fn is_sound(&self) -> bool {
        self.found == self.repaired
    }

    /// Returns how many problems were found.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Returns how many of them were repaired.
    pub fn repaired(&self) -> u64 {
        self.repaired
    }

    /// Returns the rows that are not where they belong, the first 1,000 of them.
    pub fn row_problems(&self) -> &[RowProblem] {
        &self.rows
    }

    /// Returns the values of lookups that do not agree with their rows, the first 1,000 of them.
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

/// A row that is not where it belongs. [`Cluster::repair`] leaves it alone: only the application can decide which row is
/// right, and [`Session::relocate`](crate::Session::relocate), an update or a delete makes it so.
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
    /// The shard where its key belongs; `None` if there is none, and for children, whose parents decide.
    pub wanted: Option<String>,
}

/// The problem of a row's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RowProblemKind {
    /// The row's key belongs on another shard: the row is not found by its key.
    Misplaced,
    /// The row's key is placed on no shard.
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
    /// The column that the value is of.
    pub column: &'static str,
    /// The value by which the row is known.
    pub value: Value<'static>,
    /// What is wrong.
    pub kind: LookupProblemKind,
    /// The shards that it is about: those of the rows or, where there is no row, that of the entry.
    pub shards: Vec<String>,
    /// Whether it is right now.
    pub repaired: bool,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LookupProblemKind {
    /// A row's value has no entry in its lookup: the row is not found by it, and another may be given the same value.
    MissingEntry,
    /// An entry that no row has, or one on a shard where nobody looks for it.
    StrayEntry,
    /// An entry that says another shard than the row's.
    WrongShard,
    /// Several rows share a value that must be unique. [`Cluster::repair`] leaves them alone: only the application can decide
    /// which row keeps it. Change or remove all rows but one, then repair.
    SeveralRows,
}

impl fmt::Display for LookupProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LookupProblemKind::MissingEntry => "a row's value has no entry",
            LookupProblemKind::StrayEntry => "an entry leads to no row",
            LookupProblemKind::WrongShard => "an entry says another shard than the row's",
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

impl Cluster {
    /// Reads all rows and reports those that are not where they belong: on a shard that is not their key's, with a key that is
    /// placed nowhere, without their parent, or with an id that another shard holds, too. Also reports lookup entries that do
    /// not agree with the rows. It changes nothing.
    ///
    /// Sessions keep all of this right, so that a problem was caused in another way: by SQL, through a lent connection, by a
    /// program whose model has no `#[lookup]`, by a foreign key that cascades, by
    /// [`Commit::BestEffort`](crate::Commit::BestEffort) that stopped half-way, by an older copy of a shard; or the lookup was
    /// given to a model that had rows.
    ///
    /// It may run beside readers and writers. Each shard is read in portions in the order of the ids, so that memory stays
    /// bounded. Rows and values that do not look right are read again under a lock on all shards, 500 at a time.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) where a shard stays locked; the databases', each with the shard's name.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.verified(false)
    }

    /// Finds what [`Cluster::verify`] finds, and makes the lookup entries agree with the rows. Rows are never changed. Each
    /// portion is a transaction of its own, in which everything is read again under the locks. It may run beside readers and
    /// writers, be stopped and be run again.
    ///
    /// This is also how the entries are made of rows that were there before their model was given a `#[lookup]`:
    /// [`Builder::create`](crate::Builder::create) makes the tables, this fills them.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, LookupProblemKind, Sharded, Sql};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # #[sharded(table = "users")]
    /// # struct User {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     #[lookup]
    /// #     email: String,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<User>(["a", "b"])?;
    /// # let mut session = cluster.session();
    /// session.add(User { id: 7, email: "ada@example.com".into() })?;
    /// session.execute(Sql::new("DELETE FROM {users} WHERE id = ?1").bind(7).all_shards())?; // and not its entry
    /// session.commit()?;
    ///
    /// let found = cluster.verify()?;
    /// assert_eq!((found.found(), found.lookup_problems()[0].kind), (1, LookupProblemKind::StrayEntry));
    /// assert!(cluster.repair()?.is_sound());
    /// assert_eq!(cluster.verify()?.found(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Cluster::verify`] and of committing. What was repaired before stays repaired.
    pub fn repair(&self) -> Result<VerifyReport> {
        self.verified(true)
    }

    fn verified(&self, repairs: bool) -> Result<VerifyReport> {
        let mut verified = VerifyReport::default();
        let is_entries =
            |table: &Table| self.layout().lookups().iter().any(|lookup| lookup.entries.is(table));
        for table in self.layout().tables().filter(|table| !table.is_reference() && !is_entries(table)) {
            self.verify_rows(table, &mut verified)?;
        }
        for lookup in self.layout().lookups() {
            self.verify_lookup(lookup, repairs, &mut verified)?;
        }
        Ok(verified)
    }
}
