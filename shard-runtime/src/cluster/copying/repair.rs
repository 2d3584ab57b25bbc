//! Copies of an earlier, interrupted attempt that differ from the snapshot of this one are copied again, or deleted. Uses
//! `change::verify` and `change::copy`.

use std::collections::HashSet;

use crate::cluster::Pace;
use crate::cluster::change::copy::Copier;
use crate::cluster::change::links::LockWait;
use crate::cluster::change::rows::Tables;
use crate::cluster::change::verify::Different;
use crate::error::Result;
use crate::schema::Table;
use crate::value::{IdKey, Value};

/// Makes all copies equal to their rows. Returns the number of rows that were copied again or deleted.
pub(super) fn repair(copier: &Copier<'_>, pace: Pace, progress: &mut dyn FnMut(u64)) -> Result<u64> {
    let (_, different) = copier.compare(&mut |seen| {
        if !seen.are_copies {
            progress(seen.rows.len() as u64);
        }
        Ok(())
    })?;
    let ((limit, rest), mut repaired) = (pace.rows_and_rest(), 0);
    for Different { source, table, ids } in different {
        let Some(&from) = copier.sources.get(source) else { continue };
        for ids in ids.chunks(limit as usize) {
            copier.write(LockWait::Timeout, || {
                copier.links.snapshot(from, |reader| copier.replace(reader, source, &[(table, ids)]))
            })?;
            repaired += ids.len() as u64;
            std::thread::sleep(rest);
        }
    }
    for &table in copier.tables.all() {
        if copier.compare_count(table).is_err() {
            repaired += delete_others(copier, pace, table)?;
        }
    }
    Ok(repaired)
}

/// Deletes the rows of a table that no source has, or that belong on another target.
fn delete_others(copier: &Copier<'_>, pace: Pace, table: &'static Table) -> Result<u64> {
    let (mut deleted, (limit, rest)) = (0, pace.rows_and_rest());
    for (at, &target) in copier.targets.iter().enumerate() {
        let connection = copier.links.at(target)?;
        for ids in copier.tables.all_ids(connection, target, table)?.chunks(limit as usize) {
            let mut others: HashSet<IdKey> = ids.iter().map(IdKey::of).collect();
            for (source, &from) in
                copier.sources.iter().enumerate().filter(|(at, _)| Tables::is_copied(*at, table))
            {
                let rows = copier.tables.read_listed(copier.links.at(from)?, source, table, ids)?;
                for (row, values) in rows.iter().enumerate() {
                    let belongs = copier.tables.target_of(source, table, values)?;
                    if let Some(id) = rows.id(row).filter(|_| belongs.is_none_or(|belongs| belongs == at)) {
                        others.remove(&IdKey::of(id));
                    }
                }
            }
            let others: Vec<Value<'static>> =
                ids.iter().filter(|id| others.contains(&IdKey::of(id))).cloned().collect();
            if others.is_empty() {
                continue;
            }
            copier.write(LockWait::Timeout, || {
                let deleted = copier.tables.delete(connection, at, table, &others);
                deleted.map_err(|error| error.in_table(table.name).on_shard(target.name))
            })?;
            deleted += others.len() as u64;
            std::thread::sleep(rest);
        }
    }
    Ok(deleted)
}
