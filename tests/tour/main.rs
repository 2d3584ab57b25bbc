//! The life of a cluster of four shards. Release 1 fills it and writes. Release 2 is deployed beside it, rolled back, deployed
//! again, and contracts. R52, R53.
//!
//! The releases are two programs that share no code (`release_1.rs`, `release_2.rs`) and run as processes at the same time. At
//! the end the rows are those of one table on which the same changes were made, and which was migrated in one go.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use sharded_tests::postgres_server::Server;
use sharded_tests::waiting::soon;

const RELEASE_1: &str = env!("CARGO_BIN_EXE_release_1");
const RELEASE_2: &str = env!("CARGO_BIN_EXE_release_2");

/// A cluster, and the logs of the programs that write to it.
struct Tour {
    folder: PathBuf,
    /// A line for each shard: its name and its URL.
    shards: String,
}

/// A program that writes until it is stopped.
struct Writer {
    process: Child,
    log: PathBuf,
    stop: PathBuf,
    errors: PathBuf,
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Tour {
    fn command(&self, program: &str, line: &str) -> Command {
        let mut command = Command::new(program);
        command.args(line.split(' ')).current_dir(&self.folder).env("TOUR_SHARDS", &self.shards);
        command
    }

    fn try_run(&self, program: &str, line: &str) -> Output {
        self.command(program, line).output().unwrap()
    }

    #[track_caller]
    fn run(&self, program: &str, line: &str) -> String {
        let output = self.try_run(program, line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a program that writes, and waits until it does.
    fn writes(&self, program: &str, name: &str, first: i64) -> Writer {
        let [log, stop, errors] =
            ["log", "stop", "errors"].map(|kind| self.folder.join(format!("{name}.{kind}")));
        let process = self
            .command(program, &format!("write {} {} {first}", log.display(), stop.display()))
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        let mut writer = Writer { process, log, stop, errors };
        writer.goes_on();
        writer
    }
}

impl Writer {
    fn lines(&self) -> usize {
        fs::read_to_string(&self.log).map_or(0, |text| text.lines().count())
    }

    /// Waits until it has written more.
    #[track_caller]
    fn goes_on(&mut self) {
        let before = self.lines();
        let errors = || fs::read_to_string(&self.errors).unwrap_or_default();
        soon("a program writes", || self.lines() > before + 4 || !errors().is_empty());
        assert_eq!(errors(), "", "{}", self.log.display());
    }

    #[track_caller]
    fn stops(mut self) {
        fs::write(&self.stop, "").unwrap();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{}", fs::read_to_string(&self.errors).unwrap());
    }

    /// Waits until the database refuses what it writes, and returns the message.
    #[track_caller]
    fn ends_refused(mut self) -> String {
        let status = self.process.wait().unwrap();
        let errors = fs::read_to_string(&self.errors).unwrap();
        assert_eq!(status.code(), Some(3), "{errors}");
        errors
    }
}

/// Returns the rows at the end.
fn tour(tour: &Tour) -> Vec<String> {
    tour.run(RELEASE_1, "create");
    let refused = tour.try_run(RELEASE_2, "dump");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("run `migrate`"), "release 2 is refused");

    // Release 2 is deployed while release 1 writes.
    let mut first = tour.writes(RELEASE_1, "1a", 0);
    let migrates = |line: &str, writers: &[&Writer]| {
        let logs: Vec<String> = writers.iter().map(|writer| writer.log.display().to_string()).collect();
        let output = tour.command(RELEASE_2, line).env("TOUR_LOGS", logs.join("\n")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let told = migrates("migrate expand", &[&first]);
    assert_eq!(
        told.matches("was expanded").count(),
        4,
        "it wrote between two additions to each shard: {told}"
    );
    first.goes_on();
    let mut second = tour.writes(RELEASE_2, "2a", 0);
    let told = migrates("migrate all", &[&first, &second]);
    assert_eq!(told.matches("was changed").count(), 4, "both wrote in the backfill of each shard: {told}");
    second.goes_on();
    first.goes_on();

    // It is taken back: release 1 is started again, and reads and changes what release 2 has stored.
    second.stops();
    first.stops();
    let mut first = tour.writes(RELEASE_1, "1b", 100_000);
    let changes = |log: &Path| {
        let text = fs::read_to_string(log).unwrap();
        text.lines().filter(|line| line.starts_with("rename 1000")).count()
    };
    soon("release 1 changes rows that release 2 has stored", || changes(&first.log) > 2);

    // It is deployed again, and contracts. Release 1 was forgotten: a row that it adds in the middle stops the contract.
    let mut second = tour.writes(RELEASE_2, "2b", 100_001);
    first.goes_on();
    let contracted = (0..100).find_map(|_| {
        let output = tour.try_run(RELEASE_2, "migrate contract");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() || error.contains("NotNull"), "{error}");
        output.status.success().then_some(())
    });
    assert!(contracted.is_some());
    let refused = first.ends_refused();
    for text in [
        "this program knows schema version 1, shard `",
        "` is at schema version ",
        "has changed columns that earlier releases use",
        "run the newest release",
    ] {
        assert!(refused.contains(text), "{refused}");
    }
    let again = tour.try_run(RELEASE_1, "write again.log again.stop 0");
    let error = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.code() == Some(3) && error.contains("newer release"), "{error}");
    second.goes_on();
    second.stops();
    assert_eq!(tour.run(RELEASE_2, "verify"), "sound\n");
    let status = tour.run(RELEASE_2, "status");
    assert_eq!(status.matches("nickname is required").count(), 4, "{status}");
    assert_eq!(status.matches("  done ").count(), 4 * 4, "{status}");
    tour.run(RELEASE_2, "dump").lines().map(str::to_owned).collect()
}

/// Makes the same changes on one shard, which is migrated in one go, and returns its rows.
fn in_one_go(logs: &Path) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let shards = format!("one sqlite:{}", folder.path().join("one.db").display());
    let tour = Tour { folder: logs.to_owned(), shards };
    tour.run(RELEASE_1, "create");
    tour.run(RELEASE_1, "apply 1a.log");
    tour.run(RELEASE_2, "migrate all");
    tour.run(RELEASE_2, "apply 2a.log");
    // It changes rows of release 2.
    tour.run(RELEASE_1, "apply 1b.log");
    tour.run(RELEASE_2, "migrate contract");
    tour.run(RELEASE_2, "apply 2b.log");
    tour.run(RELEASE_2, "dump").lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_same(found: &[String], expected: &[String]) {
    assert!(found.len() > 150, "only {} rows", found.len());
    let missing: Vec<&String> = expected.iter().filter(|line| !found.contains(line)).collect();
    let wrong: Vec<&String> = found.iter().filter(|line| !expected.contains(line)).collect();
    assert!(missing.is_empty() && wrong.is_empty(), "missing: {missing:#?}, wrong: {wrong:#?}");
    assert_eq!(found.len(), expected.len());
}

#[test]
fn r52_two_releases_live_on_files() {
    let folder = tempfile::tempdir().unwrap();
    let url = |shard: &str| format!("{shard} sqlite:{}", folder.path().join(format!("{shard}.db")).display());
    let shards = ["a", "b", "c", "d"].map(url).join("\n");
    let files = Tour { folder: folder.path().to_owned(), shards };
    let rows = tour(&files);
    assert_same(&rows, &in_one_go(folder.path()));
    // The copy of a backup is a cluster with the same rows.
    files.run(RELEASE_2, "backup copy");
    let shards =
        files.shards.replace(folder.path().to_str().unwrap(), folder.path().join("copy").to_str().unwrap());
    let copy = Tour { folder: folder.path().to_owned(), shards };
    assert_eq!(copy.run(RELEASE_2, "dump").lines().collect::<Vec<_>>(), rows);
}

#[test]
fn r52_two_releases_live_on_servers() {
    let servers = [(); 2].map(|()| Server::start_with(&["max_connections=100", "autovacuum=off", "jit=off"]));
    let shards = ["a", "b", "c", "d"].iter().enumerate();
    let url = |(at, shard): (usize, &&str)| format!("{shard} {}?schema={shard}", servers[at / 2].url());
    let folder = tempfile::tempdir().unwrap();
    let servers =
        Tour { folder: folder.path().to_owned(), shards: shards.map(url).collect::<Vec<_>>().join("\n") };
    assert_same(&tour(&servers), &in_one_go(folder.path()));
}
