//! The settings and resources that a cluster depends on and does not control: disks, journal modes, server settings.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cluster::build::LONGEST_WAIT;
use crate::cluster::change::Leftover;
use crate::cluster::{Builder, Cluster};
use crate::driver::{Connection, Driver, Mode};
use crate::error::{Error, Result};
use crate::query::Models;
use crate::schema::Shard;
use crate::transaction::facts::texts;

/// The result of a check.
pub(crate) struct Finding {
    /// The name of the check.
    pub(crate) check: &'static str,
    /// A shard, `control` or `cluster`.
    pub(crate) subject: String,
    pub(crate) state: CheckState,
    pub(crate) message: String,
}

impl Finding {
    /// Returns whether commits on the server wait for a standby that is not connected.
    pub(crate) fn makes_commits_hang(&self) -> bool {
        self.check == STANDBYS && self.state == CheckState::Wrong
    }
}

/// The check of the standbys that commits wait for.
const STANDBYS: &str = "synchronous standbys";

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CheckState {
    Fine,
    /// It works now.
    Warning,
    /// The check could not be run.
    Unknown,
    Wrong,
}

impl CheckState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            CheckState::Fine => "fine",
            CheckState::Warning => "warning",
            CheckState::Unknown => "unknown",
            CheckState::Wrong => "wrong",
        }
    }
}

/// The part of a file system that should be free, and the part that must be.
const FREE: (f64, f64) = (0.10, 0.01);

/// The age of a prepared transaction whose program has not ended it in time.
const OLD: Duration = Duration::from_secs(60 * 60);

/// A write-ahead log of this size is reported: a reader prevents its truncation.
const LONG_LOG: u64 = 256 * 1024 * 1024;

impl Builder {
    /// Runs all checks. `timeout` bounds each server.
    pub(crate) fn diagnose<M: Models>(&self, timeout: Duration) -> Result<Vec<Finding>> {
        let (layout, databases, control) = self.all_databases::<M>()?;
        let name = |index| layout.shards_in(index).next().map_or("", Shard::name).to_owned();
        let mut all: Vec<(String, &dyn Driver)> =
            databases.iter().enumerate().map(|(index, database)| (name(index), &*database.driver)).collect();
        let durable = databases.iter().filter(|database| !database.driver.is_private()).count();
        let prepares = durable > 1 && !self.is_without_prepared_transactions();
        if control.path().is_some() {
            all.push(("control".to_owned(), &*control));
        }
        let mut findings = Vec::new();
        for (subject, driver) in all {
            let mut note = |check, (state, message): (CheckState, String)| {
                findings.push(Finding { check, subject: subject.clone(), state, message });
            };
            match driver.path() {
                Some(path) => {
                    note("journal mode", journal_mode(path));
                    note("write-ahead log", log_size(path));
                    note("free disk", free_disk(path));
                }
                None if driver.dialect().is_on_server() => {
                    check_server(driver, prepares, Instant::now() + timeout.min(LONGEST_WAIT), &mut note);
                }
                None => {}
            }
        }
        Ok(findings)
    }
}

impl Cluster {
    /// Finds triggers that earlier changes of the layout have left.
    pub(crate) fn diagnose_changes(&self) -> Vec<Finding> {
        let check = "triggers of changes";
        let finding = |subject, state, message| Finding { check, subject, state, message };
        let left = match self.leftovers() {
            Ok(left) => left,
            Err(error) => {
                let subject = error.shard().unwrap_or("control").to_owned();
                let (state, message) = unknown(&error);
                return vec![finding(subject, state, message)];
            }
        };
        if left.is_empty() {
            let message = "no earlier change has left any".to_owned();
            return vec![finding("cluster".to_owned(), CheckState::Fine, message)];
        }
        let describe = |Leftover { shard, triggers, is_fence, change }: Leftover| {
            let (state, effect) = match is_fence {
                true => (CheckState::Wrong, "refuse every write"),
                false => (CheckState::Warning, "record every write"),
            };
            let names = triggers.join(", ");
            let message = match change {
                Some(change) => {
                    format!("{names}: they {effect} until change {change} is finished; run `change run`")
                }
                None => format!("{names}: they {effect}, and no running change needs them; drop them"),
            };
            finding(shard, state, message)
        };
        left.into_iter().map(describe).collect()
    }
}

fn io(path: &Path, error: &std::io::Error) -> (CheckState, String) {
    (CheckState::Unknown, format!("{}: {error}", path.display()))
}

/// Reads the journal mode from the header of the file: connecting would set it.
fn journal_mode(path: &Path) -> (CheckState, String) {
    let mut header = [0; 20];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
    match (read, header.get(..15), header.get(18..20)) {
        (Err(error), ..) => match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof => {
                (CheckState::Wrong, format!("{}: {error}; restore the file", path.display()))
            }
            _ => io(path, &error),
        },
        (Ok(()), Some(b"SQLite format 3"), Some([2, 2])) => (CheckState::Fine, "WAL".to_owned()),
        (Ok(()), Some(b"SQLite format 3"), Some([1, 1])) => {
            let message = "another program has set a rollback journal; opening the cluster sets WAL again";
            (CheckState::Warning, message.to_owned())
        }
        _ => (CheckState::Wrong, format!("{} is not a SQLite database; restore it", path.display())),
    }
}

fn log_size(path: &Path) -> (CheckState, String) {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    match fs::metadata(&log) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (CheckState::Fine, "empty".to_owned()),
        Err(error) => io(Path::new(&log), &error),
        Ok(found) => log_of(found.len()),
    }
}

/// Judges a write-ahead log by its size.
fn log_of(bytes: u64) -> (CheckState, String) {
    if bytes < LONG_LOG {
        return (CheckState::Fine, format!("{bytes} bytes"));
    }
    let message = format!(
        "{bytes} bytes: a session that stays open keeps the log from being shortened; end it, or run \
         PRAGMA wal_checkpoint(TRUNCATE)"
    );
    (CheckState::Warning, message)
}

#[cfg(unix)]
fn free_disk(path: &Path) -> (CheckState, String) {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let found = match rustix::fs::statvfs(folder) {
        Ok(found) => found,
        Err(error) => return io(folder, &error.into()),
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    free_share(free, found.f_bavail as f64 / found.f_blocks.max(1) as f64)
}

#[cfg(not(unix))]
fn free_disk(_: &Path) -> (CheckState, String) {
    (CheckState::Unknown, "not measured on this system".to_owned())
}

/// Judges a file system by its free bytes and their share of it.
#[cfg(any(unix, test))]
fn free_share(free: u64, share: f64) -> (CheckState, String) {
    let text = format!("{free} bytes free, {:.0} %", share * 100.0);
    let (should, must) = FREE;
    match share {
        share if share < must => {
            (CheckState::Wrong, format!("{text}; free disk space before a commit fails"))
        }
        share if share < should => (CheckState::Warning, format!("{text}; free disk space")),
        _ => (CheckState::Fine, text),
    }
}

/// Runs the checks of a server.
fn check_server(
    driver: &dyn Driver,
    prepares: bool,
    deadline: Instant,
    note: &mut dyn FnMut(&'static str, (CheckState, String)),
) {
    let connection = match driver.connect(Mode::Open, Some(deadline)) {
        Ok(connection) => connection,
        Err(error) => return note("connection", unknown(&error)),
    };
    connection.set_deadline(Some(deadline));
    note("connection", (CheckState::Fine, driver.describe()));
    type Check<'c> = (&'static str, &'c dyn Fn(&dyn Connection) -> Result<(CheckState, String)>);
    let checks: [Check<'_>; 4] = [
        ("max_prepared_transactions", &|connection| prepared_transactions(connection, prepares)),
        ("old prepared transactions", &old_prepared),
        (STANDBYS, &synchronous_standbys),
        ("recovery", &recovery),
    ];
    for (check, run) in checks {
        note(check, run(&*connection).unwrap_or_else(|error| unknown(&error)));
    }
}

fn unknown(error: &Error) -> (CheckState, String) {
    (CheckState::Unknown, error.to_string())
}

/// Reads one row of texts.
fn row<const N: usize>(connection: &dyn Connection, sql: &str) -> Result<[String; N]> {
    let rows = texts(connection, sql, &[])?;
    let row = rows.into_iter().next().and_then(|row| <[String; N]>::try_from(row).ok());
    Ok(row.unwrap_or_else(|| std::array::from_fn(|_| String::new())))
}

fn prepared_transactions(connection: &dyn Connection, prepares: bool) -> Result<(CheckState, String)> {
    let [most, connections] = row(
        connection,
        "SELECT current_setting('max_prepared_transactions'), current_setting('max_connections')",
    )?;
    let numbers = (most.parse::<u64>().unwrap_or(0), connections.parse::<u64>().unwrap_or(0));
    Ok(match numbers {
        (0, _) if prepares => {
            let message = "0: transactions over several databases fail; set it to `max_connections` and restart the server";
            (CheckState::Wrong, message.to_owned())
        }
        (most, connections) if prepares && most < connections => {
            let message = format!(
                "{most}, fewer than the {connections} connections: further sessions cannot commit over several databases at \
                 the same time; set it to `max_connections`"
            );
            (CheckState::Warning, message)
        }
        (most, _) => (CheckState::Fine, most.to_string()),
    })
}

fn old_prepared(connection: &dyn Connection) -> Result<(CheckState, String)> {
    // Prepared transactions of other programs also hold back the removal of old row versions.
    let sql = "SELECT gid, database::text, prepared::text, \
               extract(epoch FROM clock_timestamp() - prepared)::bigint::text FROM pg_prepared_xacts ORDER BY prepared";
    Ok(prepared_for(OLD, &texts(connection, sql, &[])?))
}

/// Judges prepared transactions, the oldest first, each with its name, its database, its time and its age in seconds.
fn prepared_for(limit: Duration, prepared: &[Vec<String>]) -> (CheckState, String) {
    let is_old = |row: &&Vec<String>| {
        row.get(3).and_then(|age| age.parse().ok()).is_some_and(|age: u64| age > limit.as_secs())
    };
    let limit = match limit.as_secs() {
        3_600 => "an hour".to_owned(),
        seconds => format!("{seconds} seconds"),
    };
    let old: Vec<&Vec<String>> = prepared.iter().filter(is_old).collect();
    let Some(first) = old.first() else {
        return (CheckState::Fine, format!("none is older than {limit}"));
    };
    let text = |index: usize| first.get(index).map_or("", String::as_str);
    let remedy = match text(0).starts_with("sharded:") {
        true => "run `recover` with all servers reachable",
        false => "its program has to end it, or COMMIT PREPARED or ROLLBACK PREPARED",
    };
    let message = format!(
        "{} older than {limit}, which hold locks and row versions: the first is `{}` in database {}, of {}; {remedy}",
        old.len(),
        text(0),
        text(1),
        text(2)
    );
    (CheckState::Wrong, message)
}

fn synchronous_standbys(connection: &dyn Connection) -> Result<(CheckState, String)> {
    let [names, standbys, waits] = row(
        connection,
        "SELECT current_setting('synchronous_standby_names'), \
         (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum'))::text, \
         current_setting('synchronous_commit')",
    )?;
    Ok(match (names.as_str(), standbys.as_str()) {
        ("", _) => (CheckState::Fine, "none are configured".to_owned()),
        (_, "0") if waits != "local" && waits != "off" => {
            let message = format!(
                "`synchronous_standby_names` is `{names}`, and none of these standbys is connected: commits wait for one; start \
                 one, or change the setting"
            );
            (CheckState::Wrong, message)
        }
        (names, standbys) => (CheckState::Fine, format!("{standbys} connected of `{names}`")),
    })
}

fn recovery(connection: &dyn Connection) -> Result<(CheckState, String)> {
    let [standby] = row(connection, "SELECT pg_is_in_recovery()::text")?;
    Ok(match standby.as_str() {
        "true" => {
            let message = "the server is a standby and refuses writes; name the primary in the URL";
            (CheckState::Wrong, message.to_owned())
        }
        _ => (CheckState::Fine, "the server is a primary".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_is(found: &(CheckState, String), state: CheckState, texts: &[&str]) {
        assert_eq!(found.0, state, "{}", found.1);
        assert!(texts.iter().all(|text| found.1.contains(text)), "{}", found.1);
    }

    #[test]
    fn a_file_system_without_room_is_wrong() {
        assert_is(&free_share(1 << 40, 0.5), CheckState::Fine, &["1099511627776 bytes free, 50 %"]);
        assert_is(&free_share(1 << 40, 0.10), CheckState::Fine, &["10 %"]);
        assert_is(&free_share(1 << 30, 0.099), CheckState::Warning, &["10 %; free disk space"]);
        assert_is(&free_share(1 << 30, 0.01), CheckState::Warning, &["1 %; free disk space"]);
        assert_is(&free_share(1 << 20, 0.009), CheckState::Wrong, &["before a commit fails"]);
        assert_is(&free_share(0, 0.0), CheckState::Wrong, &["0 bytes free, 0 %", "before a commit fails"]);
    }

    #[test]
    fn a_long_log_is_a_warning() {
        assert_is(&log_of(0), CheckState::Fine, &["0 bytes"]);
        assert_is(&log_of(LONG_LOG - 1), CheckState::Fine, &["268435455 bytes"]);
        assert_is(&log_of(LONG_LOG), CheckState::Warning, &["268435456 bytes", "wal_checkpoint(TRUNCATE)"]);
    }

    #[test]
    fn only_old_prepared_transactions_are_wrong() {
        let row = |name: &str, age: u64| {
            [name, "shop", "2026-01-01 00:00:00+00", &age.to_string()].map(str::to_owned).to_vec()
        };
        assert_is(&prepared_for(OLD, &[]), CheckState::Fine, &["none is older than an hour"]);
        assert_is(&prepared_for(OLD, &[row("sharded:1:0:u:1", 3_600)]), CheckState::Fine, &["an hour"]);
        let ours = prepared_for(OLD, &[row("sharded:1:0:u:1", 3_601), row("other", 3_601), row("other", 9)]);
        let texts = ["2 older than an hour", "`sharded:1:0:u:1` in database shop, of 2026", "run `recover`"];
        assert_is(&ours, CheckState::Wrong, &texts);
        let other = prepared_for(Duration::from_secs(5), &[row("other", 9)]);
        assert_is(&other, CheckState::Wrong, &["1 older than 5 seconds", "`other`", "ROLLBACK PREPARED"]);
    }
}
