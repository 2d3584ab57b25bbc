//! Shards and control databases that may be at another location: `create` refuses to make second ones.

use std::path::Path;
use std::time::Duration;

use super::opening;
use super::schema::{self, ComparedPart};
use crate::driver::{Connection, Driver, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Namespace;
use crate::planner::{Layout, Location};
use crate::transaction::{CLUSTER, Database};

/// Refuses a shard whose URL names no schema, if the default schema holds no shard and another schema of the role's `search_path`
/// does. Earlier releases made the tables there.
pub(super) fn refuse_elsewhere(databases: &[Database], layout: &Layout, timeout: Duration) -> Result<()> {
    for (index, database) in databases.iter().enumerate() {
        let locations = || {
            layout.shards_in(index).filter_map(|shard| Some((shard, layout.location(shard.index()).ok()?)))
        };
        let Some((shard, Location { names, .. })) =
            locations().find(|(_, location)| location.is_default_schema)
        else {
            continue;
        };
        let Ok(connection) = database.driver.connect_waiting(Mode::Open, timeout) else { continue };
        let named: Vec<&str> =
            locations().filter_map(|(_, location)| location.names.schema.as_deref()).collect();
        opening::refuse_elsewhere(&*connection, names, &named)
            .map_err(|error| error.on_shard(shard.name()))?;
    }
    Ok(())
}

/// Refuses to make a control database if the shards have one at another location, because its sequences would generate ids again.
/// Also refuses databases that `create` would refuse.
pub(super) fn refuse_orphans(
    databases: &[Database],
    control: &dyn Driver,
    names: &Namespace,
    layout: &Layout,
    timeout: Duration,
) -> Result<()> {
    let exists_already = || match control.connect_waiting(Mode::Open, timeout) {
        Ok(connection) => connection.exists(names, CLUSTER),
        Err(error) if error.kind() == ErrorKind::Missing => Ok(false),
        Err(error) => {
            let message = format!("the control database: {error}");
            Err(Error::new(error.kind(), message).with_source(error))
        }
    };
    if control.is_private() || exists_already()? {
        return Ok(());
    }
    let (mut refused, mut differences) = (None, Vec::new());
    for (index, database) in databases.iter().enumerate() {
        let connection = match connected(&*database.driver, timeout) {
            Ok(Some(connection)) => connection,
            Ok(None) => continue,
            Err(error) => {
                // Another database may hold a shard of a cluster, which is the more important error.
                refused.get_or_insert_with(|| match layout.shards_in(index).next() {
                    Some(first) => error.on_shard(first.name()),
                    None => error,
                });
                continue;
            }
        };
        for shard in layout.shards_in(index) {
            let is_shard = opening::identity(&*connection, &layout.location(shard.index())?.names)?.is_some();
            // Another process may be creating the cluster now, and makes the control database first.
            if is_shard && !exists_already()? {
                let message = format!(
                    "the shard belongs to a cluster whose control database is not at {}; without it ids would be \
                     handed out twice: restore it",
                    control.describe()
                );
                return Err(Error::new(ErrorKind::WrongDatabase, message).on_shard(shard.name()));
            }
            // If `create` fails later, no control database may remain.
            let location = layout.location(shard.index())?;
            let compared = schema::differences(&*connection, location, layout, shard, ComparedPart::Existing);
            differences.append(&mut compared.map_err(|error| error.on_shard(shard.name()))?);
            let tables: Vec<&str> = layout.tables().map(|table| table.name).collect();
            if let Err(error) = opening::refuse_rows(&*connection, &location.names, &tables) {
                refused.get_or_insert_with(|| error.on_shard(shard.name()));
            }
        }
    }
    if !differences.is_empty() {
        refused.get_or_insert_with(|| schema::error(differences));
    }
    match refused {
        Some(error) if !exists_already()? => Err(error),
        _ => Ok(()),
    }
}

/// Connects to a database that may be a shard; `None` if it is in memory, or a file that `create` makes.
fn connected(driver: &dyn Driver, timeout: Duration) -> Result<Option<Box<dyn Connection>>> {
    if driver.is_private() {
        return Ok(None);
    }
    match driver.connect_waiting(Mode::Open, timeout) {
        Err(error) if error.kind() == ErrorKind::Missing => match driver.path().and_then(Path::parent) {
            Some(folder) if folder.is_dir() => Ok(None),
            // The folder does not exist: connecting returns that error.
            _ => driver.connect_waiting(Mode::Create, timeout).map(Some),
        },
        connected => connected.map(Some),
    }
}
