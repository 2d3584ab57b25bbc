//! The identity that each shard holds: its cluster, its name, and its copy of the layout.

use std::sync::Arc;

use crate::driver::{Connection, Expected};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::planner::own_tables;
use crate::planner::sql::{Dialect, Namespace};
use crate::schema::Shard;
use crate::transaction::change::{self, Part};
use crate::transaction::facts::{self, Kind};
use crate::transaction::{CLUSTER, Database};

/// Returns the check of each transaction: on servers the identity of the shard, and everywhere whether keys have left it.
/// Databases in memory need none, because no other process can access them.
pub(in super::super) fn expected(
    layout: &Layout,
    databases: &[Database],
    cluster: &str,
) -> Result<Vec<Option<Arc<Expected>>>> {
    let epoch = layout.shards().epoch();
    let expected = |shard: &Shard| {
        let location = layout.location(shard.index())?;
        let is_private = databases.get(location.database).is_none_or(|database| database.driver.is_private());
        Ok((!is_private).then(|| Arc::new(change::expected(location, cluster, shard.name(), epoch))))
    };
    layout.shards().iter().map(expected).collect()
}

/// Checks the identity of a shard on a new connection.
pub(in super::super) fn check_identity(
    connection: &dyn Connection,
    shard: &Shard,
    names: &Namespace,
    cluster: &str,
) -> Result<()> {
    match identity(connection, names)? {
        Some(found) => check_found(&found, shard, cluster),
        None => {
            let message = "the database holds no shard; restore it, or correct `?prefix=` or `?schema=`. `create` and `change run` make a \
                           spare shard that was never made";
            Err(Error::new(ErrorKind::WrongDatabase, message).on_shard(shard.name()))
        }
    }
}

/// Checks that a database holds the control tables.
pub(in super::super) fn check_control(
    connection: &dyn Connection,
    names: &Namespace,
    at: &str,
) -> Result<()> {
    match connection.exists(names, CLUSTER)? {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::WrongDatabase, format!("{at} is no control database"))),
    }
}

/// Checks the name of a shard without its cluster's id: the control database cannot be read.
pub(in super::super) fn check_name(
    connection: &dyn Connection,
    shard: &Shard,
    names: &Namespace,
) -> Result<()> {
    let cluster = identity(connection, names)?.map(|found| found.cluster).unwrap_or_default();
    check_identity(connection, shard, names, &cluster)
}

pub(in super::super) fn check_found(found: &FoundIdentity, shard: &Shard, cluster: &str) -> Result<()> {
    let FoundIdentity { cluster: found_cluster, shard: found_shard, .. } = found;
    let message = if found_shard.as_str() != shard.name() {
        // A source of a change is renamed to "NAME, retired by change N".
        let remedy = match found_shard
            .strip_prefix(shard.name())
            .is_some_and(|rest| rest.starts_with(", retired"))
        {
            true => "its rows are on other shards; remove it from the configuration after `change retire`",
            false => "correct the URL",
        };
        format!("expected shard `{}`, found shard `{found_shard}`; {remedy}", shard.name())
    } else if found_cluster.as_str() != cluster {
        format!(
            "the database belongs to another cluster: expected {cluster}, found {found_cluster}; correct its URL, or that of the \
             control database"
        )
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::WrongDatabase, message).on_shard(shard.name()))
}

/// The recorded identity of a shard.
pub(in super::super) struct FoundIdentity {
    cluster: String,
    shard: String,
    /// Its copy of the layout; absent in a shard of an older release.
    pub(in super::super) layout: Option<String>,
    /// Its part in a change of the layout.
    pub(super) part: Option<Part>,
    /// The epoch in which the last key has left it, if it is in a file.
    left: String,
    version: String,
}

impl FoundIdentity {
    /// The change of this cluster that has given the shard the name of a retired one.
    pub(super) fn retired_by(&self, cluster: &str, shard: &str) -> Option<u64> {
        change::retired_by(&self.shard, shard).filter(|_| self.cluster == cluster)
    }

    /// The epoch in which the last key has left the shard; 0 if none has.
    pub(super) fn left(&self, dialect: Dialect) -> u64 {
        // A server keeps it in place of the version, which nothing else needs there.
        let epoch = if dialect.is_on_server() { &self.version } else { &self.left };
        epoch.parse().unwrap_or_default()
    }
}

/// Returns the recorded identity of a database; `None` if it is not a shard.
pub(in super::super) fn identity(
    connection: &dyn Connection,
    names: &Namespace,
) -> Result<Option<FoundIdentity>> {
    let (table, state) = (names.table(own_tables::SHARD), names.table(facts::TABLE));
    let own = |kind: Kind| {
        format!("coalesce((SELECT value FROM {state} WHERE kind = '{}' AND name = ''), '')", kind.name())
    };
    let left = format!("coalesce(({}), '')", Dialect::left_epoch_in_state_sql(names));
    let sql = format!(
        "SELECT cluster, shard, {}, {}, {left}, CAST(version AS TEXT) FROM {table}",
        own(Kind::Layout),
        own(Kind::Change)
    );
    let rows = match facts::texts(connection, &sql, &[]) {
        // The table of facts does not exist, or the role has no right to read it.
        Err(error) if matches!(error.kind(), ErrorKind::Schema | ErrorKind::Denied) => {
            match facts::texts(
                connection,
                &format!("SELECT cluster, shard, '', '', '', CAST(version AS TEXT) FROM {table}"),
                &[],
            ) {
                Err(error) if error.kind() == ErrorKind::Schema => return Ok(None),
                rows => rows?,
            }
        }
        rows => rows?,
    };
    let [row] = rows.as_slice() else {
        if rows.is_empty() {
            return Ok(None);
        }
        let message = format!("{table} has more than one row; the database is damaged");
        return Err(Error::new(ErrorKind::WrongDatabase, message));
    };
    let text = |index: usize| row.get(index).cloned().unwrap_or_default();
    let layout = Some(text(2)).filter(|digest| !digest.is_empty());
    let part = Part::parse(&text(3));
    Ok(Some(FoundIdentity {
        cluster: text(0),
        shard: text(1),
        layout,
        part,
        left: text(4),
        version: text(5),
    }))
}
