use std::any::Any;
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use std::time::Instant;

use super::*;
use crate::driver::{ActualColumn, ActualIndex, Interrupter, Prepared, SqliteDriver, SqliteSource};
use crate::planner::{Layout, Location};
use crate::schema::Shards;
use crate::transaction::recorded::{Declared, RecordedLayout};

/// A connection whose next commit fails, and before which another connection gets the lock that often.
struct Failing {
    connection: Box<dyn Connection>,
    commits: Cell<u32>,
    busy: Cell<u32>,
    /// The number of transactions that were begun to be durable.
    durable: Arc<AtomicU32>,
}

impl Connection for Failing {
    fn begin_without_waiting(&self) -> Result<()> {
        match (self.commits.get(), self.busy.get()) {
            (0, busy @ 1..) => {
                self.busy.set(busy - 1);
                Err(Error::new(ErrorKind::Busy, "another connection has the lock"))
            }
            _ => self.connection.begin_without_waiting(),
        }
    }

    fn commit(&self) -> Result<()> {
        match self.commits.get() {
            0 => self.connection.commit(),
            commits => {
                self.commits.set(commits - 1);
                self.connection.rollback()?;
                Err(Error::new(ErrorKind::Io, "the disk failed"))
            }
        }
    }

    fn begin_durable(&self) -> Result<()> {
        self.durable.fetch_add(1, Ordering::Relaxed);
        self.connection.begin_durable()
    }

    fn restore_durability(&self) -> Result<()> {
        self.connection.restore_durability()
    }

    fn wait_for_locks(&self) -> Result<()> {
        self.connection.wait_for_locks()
    }

    fn prepare<'c>(&'c self, sql: &str) -> Result<Box<dyn Prepared + 'c>> {
        self.connection.prepare(sql)
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.connection.run(sql)
    }

    fn begin(&self, transaction: TransactionMode) -> Result<()> {
        self.connection.begin(transaction)
    }

    fn prepare_commit(&self, name: &str) -> Result<()> {
        self.connection.prepare_commit(name)
    }

    fn check_constraints(&self) -> Result<()> {
        self.connection.check_constraints()
    }

    fn rollback(&self) -> Result<()> {
        self.connection.rollback()
    }

    fn set_deadline(&self, deadline: Option<Instant>) {
        self.connection.set_deadline(deadline);
    }

    fn interrupter(&self) -> Interrupter {
        self.connection.interrupter()
    }

    fn is_large(&self) -> bool {
        self.connection.is_large()
    }

    fn in_transaction(&self) -> bool {
        self.connection.in_transaction()
    }

    fn is_usable(&self) -> bool {
        self.connection.is_usable()
    }

    fn columns_of(&self, names: &Namespace, tables: &[&str]) -> Result<Vec<Vec<ActualColumn>>> {
        self.connection.columns_of(names, tables)
    }

    fn indexes_of(&self, names: &Namespace, tables: &[&str]) -> Result<Vec<Vec<ActualIndex>>> {
        self.connection.indexes_of(names, tables)
    }

    fn native(&self) -> &dyn Any {
        self.connection.native()
    }
}

/// Returns a control database whose next decision fails, and cannot be overwritten at once.
fn failing(busy_timeout: Duration, busy: u32) -> Control {
    let synchronous = Durability::Normal;
    let settings =
        SqliteSettings { busy_timeout, synchronous, cache_size: 1024, mmap_size: 0, wal_size_limit: 0 };
    let driver = Box::new(SqliteDriver::new(SqliteSource::memory(), settings));
    let names = Namespace::default();
    let control = Control::open(driver, names, Mode::Create, settings, std::iter::empty()).unwrap();
    let connection = control.driver.connect_waiting(Mode::Open, busy_timeout).unwrap();
    let failing =
        Failing { connection, commits: Cell::new(1), busy: Cell::new(busy), durable: Arc::default() };
    control.lock().connection = Box::new(failing);
    control
}

#[test]
fn r35_a_failed_decision_that_is_overwritten_later_is_aborted() {
    let control = failing(Duration::from_secs(60), 3);
    let decided = control.decide("unit", &[], &["server"]);
    assert!(matches!(&decided, Err(DecisionError::Aborted(error)) if error.kind() == ErrorKind::Io));
    let recorded = control.with_decisions(|decisions, control| decisions.is_recorded(control, "unit"));
    assert!(!recorded.unwrap());
    control.decide("next", &[], &["server"]).unwrap_or_else(|_| panic!("control can be written"));
}

#[test]
fn r35_a_failed_decision_that_cannot_be_overwritten_in_time_is_in_doubt() {
    let control = failing(Duration::ZERO, u32::MAX);
    let decided = control.decide("unit", &[], &["server"]);
    assert!(matches!(&decided, Err(DecisionError::InDoubt(error)) if error.kind() == ErrorKind::Io));
}

/// Otherwise a power loss could leave a shard with a digest of lines that control does not have.
#[test]
fn r40_the_layout_is_on_disk_before_a_shard_records_its_digest() {
    let control = failing(Duration::ZERO, 0);
    let durable = Arc::new(AtomicU32::new(0));
    let connection = control.driver.connect_waiting(Mode::Open, Duration::ZERO).unwrap();
    let counting =
        Failing { connection, commits: Cell::new(0), busy: Cell::new(0), durable: Arc::clone(&durable) };
    control.lock().connection = Box::new(counting);
    let shards = Shards::named(["a".to_owned()]).unwrap();
    let location = Location {
        database: 0,
        names: Namespace::default(),
        dialect: Dialect::Sqlite,
        is_default_schema: false,
    };
    let layout = Layout::new(shards, vec![location], Vec::new(), Vec::new()).unwrap();
    let declared = Declared::new(&layout, &RecordedLayout::default()).unwrap();
    let record = control.extend_record(&declared, &[]).unwrap().lines;
    assert_eq!(record.lines(), [("shards".to_owned(), "0 is a".to_owned())]);
    assert_eq!(durable.load(Ordering::Relaxed), 1);
}
