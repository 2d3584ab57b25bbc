//! Adoption: one database with tables of another program becomes a cluster of one shard. Its tables and rows are compared with
//! the models, and all differences are reported at once. Uses `opening` and the layers below.
//!
//! Nothing is written before [`Adoption::run`], which writes `sharded_*` tables only. The record of the layout gives all keys to
//! the one shard, see [`recorded::adopted`](crate::transaction::recorded::adopted).

mod actual;
mod columns;
mod data;
mod report;
mod target;

use std::fmt;
use std::marker::PhantomData;

pub use report::{AdoptionFinding, AdoptionReport};

use super::builder::Builder;
use crate::driver::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::query::Models;
use crate::transaction::Cluster;

/// A database that can become a cluster; made by [`Builder::adopt`].
pub struct Adoption<M> {
    builder: Builder,
    report: AdoptionReport,
    models: PhantomData<fn() -> M>,
}

impl<M> fmt::Debug for Adoption<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adoption").field("report", &self.report).finish_non_exhaustive()
    }
}

impl Builder {
    /// Compares one existing database with these models, to make it a cluster of one shard. The builder has this database as its
    /// only shard: a SQLite file, or a schema on a PostgreSQL server. Nothing is written before [`Adoption::run`].
    ///
    /// All differences are found at once, each with the SQL that removes it: see [`Adoption::report`]. Tables need not be exactly
    /// as [`Builder::create`] makes them:
    ///
    /// - A column may have any type that holds each value of its field. In SQLite this is a type of the same affinity
    ///   (`VARCHAR(30)`, `BIGINT`, `DOUBLE`). On PostgreSQL it is also `integer`, `smallint`, `varchar`, and `timestamp`, which
    ///   is read as UTC.
    /// - An index is compared by its columns and whether it is unique, not by its name.
    /// - Foreign keys may be missing.
    /// - Tables without a model stay unchanged. So do columns without a field, if they may be NULL or have a default.
    ///
    /// All rows are read. These are differences, too:
    ///
    /// - a value that is not of its field's type, and an orphan;
    /// - a key that the model places nowhere;
    /// - a value of a `#[lookup]` that several rows share.
    ///
    /// If a model places its keys on several shards (`list`, `range`), the record of the cluster gives all keys to the one shard.
    /// The recorded layout then counts.
    ///
    /// Other programs can continue to write to the tables, and sessions see their rows. There are three limits:
    ///
    /// - Their rows have no lookup entries until [`Cluster::repair`] makes them.
    /// - They must not generate ids of a model with `#[id(sequence)]`.
    /// - If they later write a value that no field can hold, reading it is an error.
    ///
    /// A SQLite file changes to WAL mode.
    ///
    /// ```
    /// use shard_runtime::{Cluster, Filter, Sharded};
    ///
    /// #[derive(Sharded, Clone, Debug)]
    /// #[sharded(table = "users", index(name))]
    /// struct User {
    ///     #[id(auto)]
    ///     id: i64,
    ///     #[shard_key(hash)]
    ///     country: String,
    ///     name: String,
    /// }
    ///
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let folder = std::env::temp_dir().join(format!("sharded-adopt-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// # let file = folder.join("app.db");
    /// // Made by another program.
    /// let other = shard_runtime::sqlite::rusqlite::Connection::open(&file)?;
    /// other.execute_batch(
    ///     "CREATE TABLE users (id INTEGER PRIMARY KEY, country VARCHAR(2) NOT NULL, name VARCHAR NOT NULL);
    ///      INSERT INTO users VALUES (7, 'PE', 'Ada');",
    /// )?;
    ///
    /// let builder = Cluster::builder().shard("main", format!("sqlite:{}", file.display()));
    /// let adoption = builder.clone().adopt::<User>()?;
    /// println!("{}", adoption.report()); // -- difference: table `users`: no index on name; run this SQL
    /// assert_eq!(adoption.report().differences.len(), 1);
    /// for sql in &adoption.report().differences[0].sql {
    ///     other.execute_batch(sql)?;
    /// }
    ///
    /// let cluster = builder.clone().adopt::<User>()?.run()?;
    /// let ada = User::select().filter(User::NAME.eq("Ada")).all_shards();
    /// assert_eq!(cluster.session().one(ada)?.id, 7);
    /// # drop(cluster);
    /// let cluster = builder.open::<User>()?; // from now on
    /// # drop(cluster);
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::Configuration`] if the builder has not exactly one shard.
    /// - [`ErrorKind::Missing`] if there is no database.
    /// - [`ErrorKind::WrongDatabase`] if it is a shard already, or if the control database belongs to another cluster.
    /// - Those of the database, with the shard's name.
    pub fn adopt<M: Models>(mut self) -> Result<Adoption<M>> {
        if let [_, _, ..] | [] = self.shards.as_slice() {
            let message = format!(
                "`adopt` makes a cluster of one shard, configured: {}; configure only the database with the tables",
                self.shards.len()
            );
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        self.adopts = true;
        let report = self.report_adoption::<M>()?;
        Ok(Adoption { builder: self, report, models: PhantomData })
    }
}

impl<M: Models> Adoption<M> {
    /// Returns the findings, with the SQL that removes the differences.
    pub fn report(&self) -> &AdoptionReport {
        &self.report
    }

    /// Makes the database a cluster of one shard, and opens it. It makes the control database, and records the shard and its
    /// layout. Generated ids begin above those of the tables. It also makes the lookup entries. The tables of the models are not
    /// changed.
    ///
    /// If it is interrupted, [`Builder::adopt`] and this method continue it. Afterwards [`Builder::open`] opens the cluster.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] with all differences of the report, if there are any; then nothing is written. Those of
    /// [`Builder::create`].
    pub fn run(self) -> Result<Cluster> {
        let differences = &self.report.differences;
        if differences.is_empty() {
            return self.builder.build::<M>(Mode::Create);
        }
        let mut message = match differences.len() {
            1 => "one difference keeps the database from being adopted:".to_owned(),
            count => format!("{count} differences keep the database from being adopted:"),
        };
        for finding in differences {
            message.push_str(&format!("\n- {finding}"));
            if !finding.sql.is_empty() {
                message.push_str(&format!(": {}", finding.sql.join("; ")));
            }
        }
        Err(Error::new(ErrorKind::Schema, message).on_shard(&self.report.shard))
    }
}
