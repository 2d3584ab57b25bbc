//! The databases of the measurements: a cluster of four files, copies of these for the hand-written side, and one file with all
//! rows. They are made when an operation first needs them.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use shard_runtime::sqlite::rusqlite::Connection;
use shard_runtime::{Builder, Cluster, Durability, Models, Result};

use crate::by_hand;
use crate::measure::{Effort, Failure};
use crate::models::{Account, Measurement, NewReading, NewStation, Reading, Region, Station, shuffled};
use crate::numbers::{self, READINGS_OF_A_STATION};

/// The shards' names, in their order.
pub const SHARDS: [&str; 4] = ["north", "east", "south", "west"];

/// The number of rows of one commit.
pub const TOGETHER: i64 = 10_000;

/// All data sets, in a folder that is removed at the end.
pub struct Data {
    pub effort: Effort,
    folder: tempfile::TempDir,
    accounts: OnceCell<Set>,
    stations: OnceCell<Set>,
    measurements: OnceCell<Set>,
    one_file: OnceCell<Connection>,
}

/// One model, or a parent and its child, on both sides.
pub struct Set {
    pub cluster: Cluster,
    /// The cluster's files.
    pub folder: PathBuf,
    /// Connections to copies of them, in the shards' order.
    pub by_hand: Vec<Connection>,
    /// Their folder.
    pub copies: PathBuf,
    /// How many rows there are of the model, or of the parent. Their ids count from 1.
    pub rows: i64,
    /// The ids, in an order without a pattern.
    pub ids: Vec<i64>,
}

impl Data {
    pub fn new(effort: Effort) -> Result<Self, Failure> {
        // Beside the compiled code, not in memory: shards are files on a disk.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let [accounts, stations, measurements] = Default::default();
        Ok(Data { effort, folder, accounts, stations, measurements, one_file: OnceCell::new() })
    }

    /// The paths.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// 100,000 accounts.
    pub fn accounts(&self) -> Result<&Set, Failure> {
        made(&self.accounts, || {
            let count = self.effort.rows(100_000);
            self.set::<Account>("accounts", count, |cluster| fill(cluster, count, Account::numbered))
        })
    }

    /// 4,000 stations with 25 readings each.
    pub fn stations(&self) -> Result<&Set, Failure> {
        made(&self.stations, || {
            let count = self.effort.rows(4_000);
            self.set::<(Station, Reading)>("stations", count, |cluster| {
                let mut session = cluster.session();
                let stations = session.add_all((0..count).map(|number| {
                    let (name, height) = numbers::station(number);
                    NewStation { region: Region::ALL[(number % 4) as usize], name, height }
                }))?;
                for number in 0..READINGS_OF_A_STATION {
                    session.add_all(stations.iter().map(|station| {
                        let (at, celsius, remark) = numbers::reading(station.id, number);
                        NewReading { station: station.link(), at, celsius, remark }
                    }))?;
                }
                session.commit().map(drop)
            })
        })
    }

    /// A million measurements.
    pub fn measurements(&self) -> Result<&Set, Failure> {
        made(&self.measurements, || {
            let count = self.effort.rows(1_000_000);
            self.set::<Measurement>("measurements", count, |cluster| {
                fill(cluster, count, Measurement::numbered)
            })
        })
    }

    /// The same million measurements in one file.
    pub fn one_file(&self) -> Result<&Connection, Failure> {
        let shards = self.measurements()?;
        made(&self.one_file, || {
            let path = self.folder.path().join("one.db");
            let connection = by_hand::create(&path)?;
            for sql in by_hand::schema(&shards.by_hand[0], "measurements")? {
                connection.execute_batch(&sql)?;
            }
            let mut all = Vec::new();
            for name in SHARDS {
                let file = shards.copies.join(format!("{name}.db"));
                connection.execute(&format!("ATTACH ?1 AS {name}"), [file.to_string_lossy()])?;
                all.push(format!("SELECT * FROM {name}.measurements"));
            }
            connection.execute_batch(&format!(
                "INSERT INTO measurements {} ORDER BY id",
                all.join(" UNION ALL ")
            ))?;
            for name in SHARDS {
                connection.execute_batch(&format!("DETACH {name}"))?;
            }
            Ok(connection)
        })
    }

    fn set<M: Models>(
        &self,
        name: &str,
        rows: i64,
        fill: impl FnOnce(&Cluster) -> Result<()>,
    ) -> Result<Set, Failure> {
        let [folder, copies] = ["framework", "by_hand"].map(|side| self.folder.path().join(name).join(side));
        fs::create_dir_all(&folder)?;
        fs::create_dir_all(&copies)?;
        fill(&builder(&folder).create::<M>()?)?;
        let mut connections = Vec::new();
        for shard in SHARDS {
            let [from, to] = [&folder, &copies].map(|folder| folder.join(format!("{shard}.db")));
            by_hand::checkpoint(&from)?;
            fs::copy(&from, &to)?;
            connections.push(by_hand::open(&to)?);
        }
        let cluster = builder(&folder).open::<M>()?;
        Ok(Set { cluster, folder, by_hand: connections, copies, rows, ids: shuffled(rows) })
    }
}

/// The cluster of four files in a folder. Commits do not wait for the disk: the code is measured, not the disk.
pub fn builder(folder: &Path) -> Builder {
    SHARDS.iter().fold(Cluster::builder().durability(Durability::Normal), |builder, name| {
        builder.shard(*name, format!("sqlite:{}", folder.join(format!("{name}.db")).display()))
    })
}

/// Adds the rows with the ids from 1 on.
pub fn fill<N: shard_runtime::Insert>(cluster: &Cluster, count: i64, row: impl Fn(i64) -> N) -> Result<()> {
    let mut session = cluster.session();
    for first in (1..=count).step_by(TOGETHER as usize) {
        session.add_all((first..=count.min(first + TOGETHER - 1)).map(&row))?;
        session.commit()?;
    }
    Ok(())
}

fn made<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T, Failure>) -> Result<&T, Failure> {
    match cell.get() {
        Some(made) => Ok(made),
        None => {
            let made = make()?;
            Ok(cell.get_or_init(|| made))
        }
    }
}
