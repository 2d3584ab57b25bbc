//! Finds rows on the wrong shard, and lookup entries that do not agree with the rows.

use crate::error::Result;
use crate::schema::PlacedLookup;
use crate::session::Session;
use crate::transaction::Cluster;
use crate::unit_of_work::{LookupProblem, VerifyReport, problems_of};
use crate::value::Value;

impl Cluster {
    /// Reads all rows and reports those on the wrong shard, and lookup entries that do not agree with the rows.
    ///
    /// A row is on the wrong shard if
    ///
    /// - its shard is not that of its key, or its key is placed on no shard;
    /// - its parent is not on its shard;
    /// - another shard has a row with its id, except ids that each shard counts (`#[id(auto)]`).
    ///
    /// Nothing is changed. Sessions never make such rows or entries. A problem has another origin:
    ///
    /// - SQL, a lent connection, or a foreign key that cascades;
    /// - a program whose model has no `#[lookup]`;
    /// - a partial commit with [`Commit::BestEffort`](crate::Commit::BestEffort), or an older copy of a shard.
    ///
    /// It may run beside readers and writers. Each shard is read in batches in the order of the ids, so that memory stays
    /// bounded. Suspicious rows and values are read again under a lock on all shards, 500 at a time.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if a shard stays locked; those of the databases, each with the shard's name.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.following(|cluster| cluster.verified(false))
    }

    /// Finds the same problems as [`Cluster::verify`], and makes the lookup entries agree with the rows. Rows are never changed.
    /// Each batch is its own transaction, in which everything is read again under the locks. It may run beside readers and
    /// writers, be stopped and be run again.
    ///
    /// It also makes the entries of rows that a program of an earlier release has added without the `#[lookup]` since
    /// [`Builder::create`](crate::Builder::create) filled the lookup.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded, Sql, verify::LookupProblemKind};
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
    /// Those of [`Cluster::verify`] and of committing. Earlier repairs remain.
    pub fn repair(&self) -> Result<VerifyReport> {
        self.following(|cluster| cluster.verified(true))
    }

    /// Runs an operation outside of sessions under the newest layout, and once more if a key moves meanwhile.
    pub(super) fn following<O>(&self, run: impl Fn(&Cluster) -> Result<O>) -> Result<O> {
        // A role may have no right to read the record.
        let _ = self.reload();
        let cluster = self.latest();
        match run(cluster) {
            Err(error) if cluster.meets_a_key_move(&error) => {
                let followed = cluster.after_key_move(error);
                if followed.is_retryable() { run(self.latest()) } else { Err(followed) }
            }
            done => done,
        }
    }

    fn verified(&self, repairs: bool) -> Result<VerifyReport> {
        let mut verified = VerifyReport::default();
        let layout = self.layout();
        for table in layout.tables().filter(|table| !table.is_reference() && !layout.holds_entries(table)) {
            self.verify_rows(table, &mut verified)?;
        }
        for lookup in self.layout().lookups() {
            self.verify_lookup(lookup, repairs, &mut |problem| verified.take(problem))?;
        }
        Ok(verified)
    }

    /// Compares a lookup with its rows.
    pub(super) fn verify_lookup(
        &self,
        lookup: &PlacedLookup,
        repairs: bool,
        take: &mut dyn FnMut(LookupProblem),
    ) -> Result<()> {
        let mut after: Option<Value<'static>> = None;
        loop {
            let portion = self.transaction(|session| session.work.next_batch(lookup, after.as_ref()))?;
            let mut suspects = Vec::new();
            for facts in portion.values() {
                if let Some((value, _)) = facts.first()
                    && !problems_of(self.layout().shards(), lookup, facts)?.is_empty()
                {
                    suspects.push(value.clone());
                }
            }
            if !suspects.is_empty() {
                let verify = |session: &mut Session| session.work.verify_locked(lookup, &suspects, repairs);
                self.transaction(verify)?.into_iter().for_each(&mut *take);
            }
            match portion.up_to {
                Some(value) => after = Some(value),
                None => return Ok(()),
            }
        }
    }
}
