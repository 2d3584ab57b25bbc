//! Makes the clusters of the release that this program is built with, and stores them for the tests of later releases:
//!
//! ```sh
//! cargo test -p sharded-tests --test releases -- --ignored make
//! ```
//!
//! It writes `tests/releases/<version>/`, and `<version>-changed/` with clusters that were changed in every way. It refuses to
//! replace a folder that exists: no later release writes these again.

use std::fs;
use std::path::Path;
use std::process::Command;

use shard_runtime::{Builder, Cluster};

use super::models::*;
use super::next::Loan;
use super::{SHARDS, builder_of_files, builder_of_prefixes, builder_of_schemas, change, data};
use sharded_tests::postgres_server::Server;

/// Adds the rows, each shard alone first, so that each has recorded its writer; then one transaction over all of them.
fn fill(cluster: &Cluster) {
    let mut session = cluster.session();
    for (code, name) in [("EUR", "Euro"), ("JPY", "Yen")] {
        session.add(Currency { code: code.into(), name: name.into() }).unwrap();
    }
    session.commit().unwrap();
    for number in 1..=12 {
        let owner = format!("owner {number}");
        let account = session.add(NewAccount {
            email: format!("{number}@example.org"),
            currency: if number % 2 == 0 { "EUR" } else { "JPY" }.into(),
            cents: number * 100,
            owner,
        });
        let account = account.unwrap();
        session.add(NewTransfer { account: account.link(), cents: number }).unwrap();
        session.commit().unwrap();
    }
    for (id, region) in (1..).zip(["North", "South", "East", "West"]) {
        session.add(Office { id, region: region.into() }).unwrap();
        session.add(Invoice { number: id * 700, cents: id }).unwrap();
    }
    session.commit().unwrap();
}

fn raw(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}

/// Copies a database while it is open, with all that is committed.
fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_file(to);
    raw(from).execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
}

/// Leaves the decision of a transaction over two files as a process that is killed after the first file's part. Shard `b` lacks
/// its part, and the control database holds its record.
fn leave_pending(builder: Builder, folder: &Path) {
    let [before, b, kept, control] =
        ["before.db", "b.db", "kept.db", "control.db"].map(|name| folder.join(name));
    let cluster = builder.open::<Models>().unwrap();
    let mut session = cluster.session();
    // Each shard records the number of this writer.
    for number in [2, 1_002, 2_002] {
        session.add(Invoice { number, cents: 2 }).unwrap();
        session.commit().unwrap();
    }
    copy(&b, &before);
    session.add(Invoice { number: 3, cents: 3 }).unwrap();
    session.add(Invoice { number: 1_003, cents: 3 }).unwrap();
    session.commit().unwrap();
    copy(&control, &kept);
    drop((session, cluster));
    for (copy, of) in [(before, b), (kept, control)] {
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", of.display()));
        }
        fs::rename(copy, of).unwrap();
    }
}

/// Leaves one file of each database.
fn compact(folder: &Path) {
    // The lock of migrations is an empty file.
    let _ = fs::remove_file(folder.join("control.db-migration"));
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == "db")) {
        raw(&path).execute_batch("PRAGMA journal_mode = DELETE; VACUUM; PRAGMA journal_mode = WAL").unwrap();
    }
}

fn dump(server: &Server, shards: &[&str], to: &Path) {
    let mut pg_dump = Command::new("pg_dump");
    pg_dump.args(["--no-owner", "--no-privileges", "--no-comments", "--inserts"]);
    pg_dump.args(shards.iter().map(|shard| format!("--schema={shard}")));
    let output = pg_dump.arg(server.url()).output().expect("pg_dump runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // Commands of psql that differ between versions, and comments with the version.
    let lines = text.lines().filter(|line| !line.starts_with("--") && !line.starts_with('\\'));
    let lines: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
    fs::write(to, lines.join("\n") + "\n").unwrap();
}

/// Makes the clusters of files and prefixes, and of a server; `change` is called with how each is opened.
fn make_in(release: &Path, shards: &[&str], change: impl Fn(&dyn Fn(&[&str]) -> Builder)) {
    assert!(!release.exists(), "{} exists: a release is stored once", release.display());
    for folder in ["files", "prefixes", "servers"] {
        fs::create_dir_all(release.join(folder)).unwrap();
    }
    let (files, prefixes) = (release.join("files"), release.join("prefixes"));
    fill(&builder_of_files(&files, &SHARDS).create::<Models>().unwrap());
    change(&|shards| builder_of_files(&files, shards));
    leave_pending(builder_of_files(&files, shards), &files);
    fill(&builder_of_prefixes(&prefixes, &SHARDS).create::<Models>().unwrap());
    change(&|shards| builder_of_prefixes(&prefixes, shards));
    compact(&files);
    compact(&prefixes);
    let server = Server::start();
    fill(&builder_of_schemas(&server, &SHARDS).create::<Models>().unwrap());
    change(&|shards| builder_of_schemas(&server, shards));
    dump(&server, shards, &release.join("servers").join("dump.sql"));
}

/// Adopts a file of another program.
fn make_adopted(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    raw(&folder.join("app.db"))
        .execute_batch(
            "CREATE TABLE loans (id INTEGER PRIMARY KEY AUTOINCREMENT, branch VARCHAR(10) NOT NULL, reader TEXT NOT NULL, book TEXT NOT NULL); \
             CREATE INDEX readers ON loans (reader); CREATE UNIQUE INDEX books ON loans (book); \
             INSERT INTO loans (branch, reader, book) VALUES ('north', 'reader 1', 'book 1'), ('south', 'reader 2', 'book 2'), \
             ('north', 'reader 3', 'book 3'), ('south', 'reader 4', 'book 4')",
        )
        .unwrap();
    let adoption = change::builder_of_adopted(folder).adopt::<Loan>().unwrap();
    assert!(adoption.report().is_fit(), "{}", adoption.report());
    drop(adoption.run().unwrap());
    compact(folder);
}

#[test]
#[ignore = "writes the clusters of this release once"]
fn make() {
    make_in(&data(env!("CARGO_PKG_VERSION")), &SHARDS, |_| {});
}

#[test]
#[ignore = "writes the clusters of this release once"]
fn make_changed() {
    let release = data(concat!(env!("CARGO_PKG_VERSION"), "-changed"));
    make_in(&release, &change::SHARDS, change::change);
    make_adopted(&release.join("adopted"));
}
