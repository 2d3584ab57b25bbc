//! A process that writes transactions until it is killed, and logs the outcome of each.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use shard_runtime::{ErrorKind, Result, Session, Sharded as _, Sql};

use crate::{Account, Entry, Models, Name, NewTally, Note, Numbers, Place, Running, Tally, builder};

const FOLDER: &str = "SHARDED_TORTURE_CLUSTER";
const LOG: &str = "SHARDED_TORTURE_LOG";
const NUMBER: &str = "SHARDED_TORTURE_WRITER";
const UNITS: &str = "SHARDED_TORTURE_UNITS";
const THREE: &str = "SHARDED_TORTURE_THREE";

/// Units of different writers have different numbers.
pub const UNITS_OF_A_WRITER: i64 = 1_000_000;

/// The instructions of a writer.
#[derive(Clone)]
pub struct Writer {
    /// The folder of the cluster.
    pub cluster: PathBuf,
    /// The file in which the writers record the outcomes of their transactions.
    pub logs: PathBuf,
    pub number: i64,
    /// How many units it writes.
    pub units: u64,
    /// Whether the first two units are over the same three shards, and the others on the first of them alone.
    pub three: bool,
}

impl Writer {
    /// The command that runs it, behind another one that watches it.
    pub fn command(&self, behind: &[String]) -> Command {
        let this = std::env::current_exe().unwrap().display().to_string();
        let test = ["--exact", "--ignored", "writer::in_a_process_of_its_own"].map(str::to_owned);
        let words: Vec<String> = behind.iter().cloned().chain([this]).chain(test).collect();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env(FOLDER, &self.cluster)
            .env(LOG, self.logs.join(format!("{}.log", self.number)))
            .env(NUMBER, self.number.to_string())
            .env(UNITS, self.units.to_string())
            .env(THREE, if self.three { "1" } else { "" })
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    pub fn spawn(&self) -> Running {
        Running::spawn(&mut self.command(&[]))
    }
}

#[test]
#[ignore = "runs in processes of its own"]
fn in_a_process_of_its_own() {
    let said = |name: &str| std::env::var(name).unwrap();
    let (number, units): (i64, u64) = (said(NUMBER).parse().unwrap(), said(UNITS).parse().unwrap());
    let three = !said(THREE).is_empty();
    let mut log = File::options().create(true).append(true).open(said(LOG)).unwrap();
    let mut tell = |line: String| log.write_all(format!("{line}\n").as_bytes()).unwrap();
    let Ok(cluster) = builder(Path::new(&said(FOLDER))).open::<Models>() else {
        return tell("closed".to_owned());
    };
    let mut numbers = Numbers(number as u64);
    let mut session = cluster.session();
    for unit in 0..units {
        let id = number * UNITS_OF_A_WRITER + unit as i64;
        let shards = match (three, unit) {
            (true, 0 | 1) => 0b0111,
            (true, _) => 0b0001,
            (false, _) => 1 + numbers.below(15),
        };
        tell(format!("begun {id}"));
        let is_named = three || shards == 0b1111;
        match write(&mut session, id, shards, is_named, numbers.below(1_000) as i64) {
            Ok(()) => tell(format!("committed {id}")),
            Err(error) if error.kind() == ErrorKind::InDoubt => {
                tell(format!("doubted {id} {}", error.transaction_id().unwrap_or_default()));
            }
            Err(error) => tell(format!("aborted {id} {error}")),
        }
        session.rollback();
        if numbers.below(20) == 0 {
            let _ = cluster.recover();
        }
    }
    tell("done".to_owned());
}

/// Writes a unit in every way: pending rows, rows whose ids the shard counts, SQL that depends on stored rows, changed and
/// removed rows. Also a row on every shard, and a lookup's value that is read and changed.
fn write(session: &mut Session, id: i64, shards: u64, is_named: bool, cents: i64) -> Result<()> {
    let places: Vec<Place> =
        (0..4).filter(|bit| shards & (1 << bit) != 0).map(|bit| Place::ALL[bit]).collect();
    for &place in &places {
        session.add(Entry { id, place, shards: -1 })?;
        session.add(NewTally { place, unit: id })?;
        session.add(NewTally { place, unit: -id })?;
        let mut entry = session.get(Entry::by_id(id).on(place))?.expect("it was added");
        entry.shards = shards as i64;
        session.update(&mut entry)?;
    }
    if places.len() == Place::ALL.len() {
        session.add(Note { id, text: String::new() })?;
        session.execute(Note::update().set(Note::TEXT, "written").filter(Note::ID.eq(id)))?;
    }
    if is_named {
        let place = places[id as usize % places.len()];
        let mut name = session.add(Name { id, place, name: format!("begun {id}") })?;
        name.name = format!("named {id}");
        session.update(&mut name)?;
    }
    let unwanted = Tally::delete().filter(Tally::UNIT.is_in([-id, -1]));
    session.execute(unwanted.all_shards())?;
    for (place, cents) in
        places.first().zip(places.last()).map(|(a, b)| [(a, cents), (b, -cents)]).into_iter().flatten()
    {
        let add = Sql::new("UPDATE {accounts} SET cents = cents + ?1 WHERE id = 1").bind(cents);
        session.execute(add.on::<Account>(*place))?;
    }
    session.commit().map(drop)
}
