//! One library beside hand-written `rusqlite`, in one process: the operations, and the lines that `against_peers` reads.
//!
//! Each program in `benches/peers` and the framework's own, `benches/against_peers`, implements [`Library`] and calls
//! [`main`]. All of them compile these files by path, so that data, hand-written code and method are the same. Each
//! is linked with the SQLite of its library, and its hand-written code with the `rusqlite` that fits it.

pub mod by_hand;
pub mod data;
#[path = "../../against_rusqlite/measure.rs"]
#[allow(dead_code, reason = "only the driver prints a table")]
pub mod measure;
#[path = "../../against_rusqlite/numbers.rs"]
pub mod numbers;
mod operations;

use std::path::Path;
use std::process::ExitCode;

use by_hand::ByHand;
use measure::{Effort, Failure, measure};
use operations::{Input, OPERATIONS};

/// The operations that are measured. Each method does a part of a block, and returns a checksum of what it read or did.
///
/// Rows become values of the library's own types, with all columns and owned texts. A statement runs in autocommit, unless the
/// method's documentation names a transaction.
pub trait Library {
    /// Reads accounts, each with a statement of its own, and sums up their `cents`.
    fn get(&mut self, ids: &[i64]) -> Result<u64, Failure>;

    /// Does the same in one read transaction.
    fn get_in_a_transaction(&mut self, ids: &[i64]) -> Result<u64, Failure>;

    /// Reads the readings of each station with a statement of its own. The sum of [`sum_of_ids`] is returned.
    fn readings(&mut self, stations: &[i64]) -> Result<u64, Failure>;

    /// Reads the first 100 measurements by `at`, so many times. The sum of [`sum_of_ids`] is returned.
    fn top(&mut self, times: usize) -> Result<u64, Failure>;

    /// Reads the stations below a height and, with few statements, the readings of all of them: each station with its
    /// readings. [`sum_of_ids`] of each station's id and the ids of its readings is returned.
    fn stations_with_readings(&mut self, below: i64) -> Result<u64, Failure>;

    /// Inserts [`numbers::account`]s in one transaction, and returns how many.
    fn insert_accounts(&mut self, ids: std::ops::Range<i64>) -> Result<u64, Failure>;

    /// Inserts [`numbers::measurement`]s in one transaction, and returns how many.
    fn insert_measurements(&mut self, ids: std::ops::Range<i64>) -> Result<u64, Failure>;

    /// Reads the accounts with these ids and keeps them for [`Library::update`], in this order.
    fn read_for_update(&mut self, ids: &[i64]) -> Result<(), Failure>;

    /// Adds 1 to the `cents` of each kept account and writes each by its id, all in one transaction. The new `cents`
    /// are summed up.
    fn update(&mut self) -> Result<u64, Failure>;
}

/// The names that a program prints.
pub struct About {
    /// The library.
    pub library: &'static str,
    /// The hand-written code's library, with its version.
    pub by_hand: &'static str,
}

/// A checksum of ids in their order.
pub fn sum_of_ids(ids: impl IntoIterator<Item = i64>) -> u64 {
    numbers::folded(ids) % 1_000_000_007
}

/// Runs the program of a library.
pub fn main<L: Library>(
    about: &About,
    create: impl FnOnce(&Path) -> Result<(), Failure>,
    open: impl FnOnce(&Path) -> Result<L, Failure>,
) -> ExitCode {
    match run(about, std::env::args().skip(1), create, open) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error}", about.library);
            ExitCode::FAILURE
        }
    }
}

/// Measures the operations whose names contain one of the filters, or all, and prints a line of JSON for each.
///
/// `create` makes the tables in a new file, and `open` opens the file when it has all rows.
fn run<L: Library>(
    about: &About,
    arguments: impl Iterator<Item = String>,
    create: impl FnOnce(&Path) -> Result<(), Failure>,
    open: impl FnOnce(&Path) -> Result<L, Failure>,
) -> Result<(), Failure> {
    let (flags, filters): (Vec<String>, Vec<String>) =
        arguments.partition(|argument| argument.starts_with("--"));
    let effort = if flags.iter().any(|flag| flag == "--quick") { Effort::Quick } else { Effort::Full };
    let chosen =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));

    // Beside the compiled code, not in memory: the databases are files on a disk.
    let program = std::env::current_exe()?;
    let folder = tempfile::tempdir_in(program.parent().ok_or("the program is in no folder")?)?;
    let [file, copy] = ["library.db", "by_hand.db"].map(|name| folder.path().join(name));
    create(&file)?;
    let size = data::fill(&file, effort)?;
    std::fs::copy(&file, &copy)?;
    let (mut library, mut by_hand) = (open(&file)?, ByHand::open(&copy)?);
    let input = Input::new(effort, size, [&file, &copy])?;

    for operation in OPERATIONS.iter().filter(|operation| chosen(operation.name)) {
        let name = operation.name;
        let measured = operation
            .pair(&mut library, &mut by_hand, &input)
            .and_then(|mut pair| measure(&mut pair, effort))
            .map_err(|error| format!("{name}: {error}"))?;
        println!(
            "{{\"library\":\"{}\",\"by_hand\":\"{}\",\"sqlite\":\"{}\",\"operation\":\"{name}\",\
             \"library_ns\":{},\"by_hand_ns\":{},\"ratio\":{:.4},\"same\":{:.4}}}",
            about.library,
            about.by_hand,
            rusqlite::version(),
            measured.framework.as_nanos(),
            measured.by_hand.as_nanos(),
            measured.ratio,
            measured.same,
        );
    }
    Ok(())
}
