//! The blocks that are timed: the same parts of work, in the same order, for a library and by hand.

use std::path::Path;

use rusqlite::Connection;

use super::Library;
use super::by_hand::{self, ByHand};
use super::data::Size;
use super::measure::{Effort, Failure, Pair, Side};
use super::numbers::{self, Turns};

/// The number of rows that are inserted or updated for each commit.
const ROWS: i64 = 1_000;

/// One line of the table.
pub struct Operation {
    pub name: &'static str,
    per_block: u32,
    work: Work,
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Get,
    GetInATransaction,
    Readings,
    Top,
    StationsWithReadings,
    InsertAccounts,
    InsertMeasurements,
    Update,
}

const fn operation(name: &'static str, per_block: u32, work: Work) -> Operation {
    Operation { name, per_block, work }
}

/// All of them, in the table's order.
pub const OPERATIONS: &[Operation] = &[
    operation("get by id", 200, Work::Get),
    operation("get by id, in one transaction", 200, Work::GetInATransaction),
    operation("select 25 rows by index", 40, Work::Readings),
    operation("top 100 by index", 10, Work::Top),
    operation("1,000 parents with their children", 1, Work::StationsWithReadings),
    operation("insert 1,000 rows, at the end", ROWS as u32, Work::InsertAccounts),
    operation("insert 1,000 rows, with an index", ROWS as u32, Work::InsertMeasurements),
    operation("update 1,000 rows by id", ROWS as u32, Work::Update),
];

/// The lists of ids, in an order without a pattern, and the connections that remove what was inserted.
pub struct Input {
    effort: Effort,
    size: Size,
    accounts: Vec<i64>,
    stations: Vec<i64>,
    /// To the library's file and to the hand-written code's.
    removal: [Connection; 2],
}

impl Input {
    pub fn new(effort: Effort, size: Size, files: [&Path; 2]) -> Result<Self, Failure> {
        let [accounts, stations] = [size.accounts, size.stations].map(numbers::shuffled);
        let [library, by_hand] = files.map(by_hand::open);
        Ok(Input { effort, size, accounts, stations, removal: [library?, by_hand?] })
    }
}

impl Operation {
    /// Both sides.
    pub fn pair<'l, L: Library>(
        &self,
        library: &'l mut L,
        by_hand: &'l mut ByHand,
        input: &'l Input,
    ) -> Result<Pair<'l>, Failure> {
        let [of_library, of_copy] = &input.removal;
        Ok(Pair {
            per_block: self.per_block,
            framework: Box::new(Part::new(self, library, input, of_library)?),
            by_hand: Box::new(Part::new(self, by_hand, input, of_copy)?),
        })
    }
}

/// One side of an operation.
struct Part<'l, L> {
    library: &'l mut L,
    work: Work,
    /// The number of ids or repetitions of a block.
    count: usize,
    accounts: Turns<'l>,
    stations: Turns<'l>,
    input: &'l Input,
    removal: &'l Connection,
}

impl<'l, L: Library> Part<'l, L> {
    fn new(
        operation: &Operation,
        library: &'l mut L,
        input: &'l Input,
        removal: &'l Connection,
    ) -> Result<Self, Failure> {
        if operation.work == Work::Update {
            library.read_for_update(&input.accounts[..ROWS as usize])?;
        }
        Ok(Part {
            library,
            work: operation.work,
            count: operation.per_block as usize,
            accounts: Turns::new(&input.accounts),
            stations: Turns::new(&input.stations),
            input,
            removal,
        })
    }
}

impl<L: Library> Side for Part<'_, L> {
    fn block(&mut self) -> Result<u64, Failure> {
        let size = self.input.size;
        match self.work {
            Work::Get => self.library.get(self.accounts.take(self.count)),
            Work::GetInATransaction => self.library.get_in_a_transaction(self.accounts.take(self.count)),
            Work::Readings => self.library.readings(self.stations.take(self.count)),
            Work::Top => self.library.top(self.count),
            Work::StationsWithReadings => self.library.stations_with_readings(self.input.effort.rows(1_000)),
            Work::InsertAccounts => self.library.insert_accounts(size.accounts + 1..size.accounts + 1 + ROWS),
            Work::InsertMeasurements => {
                self.library.insert_measurements(size.measurements + 1..size.measurements + 1 + ROWS)
            }
            Work::Update => self.library.update(),
        }
    }

    /// Removes the inserted rows, so that every block begins with the same table.
    fn between(&mut self) -> Result<(), Failure> {
        let (sql, last) = match self.work {
            Work::InsertAccounts => ("DELETE FROM accounts WHERE id > ?1", self.input.size.accounts),
            Work::InsertMeasurements => {
                ("DELETE FROM measurements WHERE id > ?1", self.input.size.measurements)
            }
            _ => return Ok(()),
        };
        self.removal.prepare_cached(sql)?.execute([last])?;
        Ok(())
    }
}
