//! What the runtime keeps about rows beside them, and whether it agrees with them: what [`Cluster::verify`] finds.

use std::fmt;

use crate::cluster::Cluster;
use crate::error::Result;
use crate::value::Value;

/// How many drifts a report holds; there may be as many as rows.
const KEPT: usize = 1_000;

/// What a cluster keeps about its rows and what the rows are, compared; made by [`Cluster::verify`] and
/// [`Cluster::repair`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verified {
    drifts: Vec<Drift>,
    found: u64,
    repaired: u64,
}

impl Verified {
    /// Whether all that there is agrees: nothing was found, or all of it was repaired.
    pub fn is_sound(&self) -> bool {
        self.found == self.repaired
    }

    /// How many drifts were found.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// How many of them were repaired.
    pub fn repaired(&self) -> u64 {
        self.repaired
    }

    /// The drifts, the first 1,000 of them.
    pub fn drifts(&self) -> &[Drift] {
        &self.drifts
    }

    pub(crate) fn take(&mut self, drift: Drift) {
        self.found += 1;
        self.repaired += u64::from(drift.repaired);
        if self.drifts.len() < KEPT {
            self.drifts.push(drift);
        }
    }
}

/// Something that does not agree with a row, or with there being none.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Drift {
    /// The table of the row, without a shard's prefix.
    pub table: &'static str,
    /// The column that the value is of.
    pub column: &'static str,
    /// The value by which the row is known.
    pub value: Value<'static>,
    /// What is wrong.
    pub kind: DriftKind,
    /// The shards that it is about: those of the rows or, where there is no row, that of the entry.
    pub shards: Vec<String>,
    /// Whether it is right now.
    pub repaired: bool,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DriftKind {
    /// A row's value has no entry in its lookup: the row is not found by it, and another may be given the same value.
    MissingEntry,
    /// An entry that no row has, or one on a shard where nobody looks for it.
    StrayEntry,
    /// An entry that says another shard than the row's.
    WrongShard,
    /// Several rows have one value of a lookup. Which of them is to have it, nobody but the application knows: this is
    /// not repaired. Change or remove all rows but one, and repair then.
    SeveralRows,
}

impl fmt::Display for DriftKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DriftKind::MissingEntry => "a row's value has no entry",
            DriftKind::StrayEntry => "an entry leads to no row",
            DriftKind::WrongShard => "an entry says another shard than the row's",
            DriftKind::SeveralRows => "several rows have one value",
        })
    }
}

/// `users.email = ada@example.com: an entry leads to no row (europe), repaired`
impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Drift { table, column, value, kind, shards, repaired } = self;
        let repaired = if *repaired { ", repaired" } else { "" };
        write!(f, "{table}.{column} = {value}: {kind} ({}){repaired}", shards.join(", "))
    }
}

impl Cluster {
    /// Looks whether everything that the runtime keeps about rows beside them agrees with them: the entries of lookups.
    /// It changes nothing; [`Cluster::repair`] does.
    ///
    /// Sessions keep both in the same units of work, so that what is found was done in another way: by SQL, through a
    /// lent connection, by a program whose model has no `#[lookup]`, by a foreign key that cascades, by
    /// [`Commit::BestEffort`](crate::Commit::BestEffort) that came half-way; or the lookup was given to a model that had
    /// rows.
    ///
    /// It may run beside readers and writers. The tables are read in portions, so that memory stays bounded; what does
    /// not look right in a portion is looked at again while nobody writes: all shards are locked for as long as that
    /// takes.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) where a shard stays locked; the databases', each with the shard's name.
    pub fn verify(&self) -> Result<Verified> {
        self.verified(false)
    }

    /// Finds what [`Cluster::verify`] finds, and makes it agree with the rows: these are never changed. Each portion is a
    /// unit of work of its own, in which everything is looked at again under the locks. It may run beside readers and
    /// writers, be stopped and be run again.
    ///
    /// This is also how the entries are made of rows that were there before their model was given a `#[lookup]`:
    /// [`Builder::create`](crate::Builder::create) makes the tables, this fills them.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, DriftKind, Sharded, Sql};
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
    /// assert_eq!((found.found(), found.drifts()[0].kind), (1, DriftKind::StrayEntry));
    /// assert!(cluster.repair()?.is_sound());
    /// assert_eq!(cluster.verify()?.found(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Cluster::verify`] and of committing. What was repaired before stays repaired.
    pub fn repair(&self) -> Result<Verified> {
        self.verified(true)
    }

    /// Everything that is kept about rows, one kind after the other.
    fn verified(&self, repairs: bool) -> Result<Verified> {
        let mut verified = Verified::default();
        for lookup in self.layout().lookups() {
            self.verify_lookup(lookup, repairs, &mut verified)?;
        }
        Ok(verified)
    }
}
