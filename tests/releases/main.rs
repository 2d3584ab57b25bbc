//! Clusters that earlier releases have made: this release opens, reads, writes and upgrades them without moving a row.
//!
//! The format on disk is a compatibility promise. `make.rs` has stored one cluster for each kind of database below a folder with
//! the release's version; they are never changed.

mod make;
mod models;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use models::*;
use shard_runtime::{Builder, Cluster, Sharded, Sql};
use sharded_tests::postgres_server::Server;

/// The releases whose clusters are stored.
const RELEASES: [&str; 1] = ["0.1.0"];

const SHARDS: [&str; 3] = ["a", "b", "c"];

const TABLES: [&str; 6] =
    ["currencies", "accounts", "transfers", "offices", "invoices", "sharded_lookup_accounts_email"];

/// The folder of a release's clusters.
fn data(release: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("releases").join(release)
}

fn builder_of_files(folder: &Path) -> Builder {
    SHARDS.iter().fold(Cluster::builder(), |builder, shard| {
        builder.shard(*shard, format!("sqlite:{}/{shard}.db", folder.display()))
    })
}

fn builder_of_prefixes(folder: &Path) -> Builder {
    SHARDS.iter().fold(Cluster::builder(), |builder, shard| {
        builder.shard(*shard, format!("sqlite:{}/all.db?prefix={shard}_", folder.display()))
    })
}

fn builder_of_schemas(server: &Server) -> Builder {
    SHARDS.iter().fold(Cluster::builder(), |builder, shard| {
        builder.shard(*shard, format!("{}?schema={shard}", server.url()))
    })
}

/// A copy of a stored cluster of files, which a test may change.
fn copied(release: &str, kind: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(data(release).join(kind)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn restored(release: &str) -> Server {
    let server = Server::start();
    server.psql(&fs::read_to_string(data(release).join("servers").join("dump.sql")).unwrap());
    server
}

/// How many rows each table has on each shard.
fn rows(cluster: &Cluster) -> BTreeMap<(&'static str, String), i64> {
    let mut found = BTreeMap::new();
    for table in TABLES {
        for shard in cluster.shards() {
            let sql = Sql::new(format!("SELECT count(*) AS rows FROM {{{table}}}"));
            let row = cluster.session().one(sql.on_shard(shard.name())).unwrap();
            found.insert((table, shard.name().to_owned()), row.get("rows").unwrap());
        }
    }
    found
}

/// Reads everything that the program of the release has written, with each verb that chooses shards.
fn read(cluster: &Cluster, invoices: u64) {
    let mut session = cluster.session();
    let accounts = session.all(Account::select().order_by(Account::ID.asc()).all_shards()).unwrap();
    assert_eq!(accounts.len(), 12);
    for (number, account) in (1..).zip(&accounts) {
        assert_eq!((account.cents, &account.owner), (number * 100, &format!("owner {number}")));
        let by_key = Account::select().filter(Account::OWNER.eq(account.owner.as_str()));
        assert_eq!(&session.one(by_key).unwrap(), account);
        let by_lookup = Account::select().filter(Account::EMAIL.eq(format!("{number}@example.org")));
        assert_eq!(&session.one(by_lookup).unwrap(), account);
        let transfers = session.all(account.children::<Transfer>()).unwrap();
        assert_eq!(transfers.iter().map(|transfer| transfer.cents).collect::<Vec<_>>(), [number]);
    }
    for (region, shard) in [("North", "a"), ("South", "b"), ("East", "c"), ("West", "c")] {
        let office = session.one(Office::select().filter(Office::REGION.eq(region))).unwrap();
        assert_eq!(office.shard().name(), shard);
    }
    assert_eq!(session.one(Invoice::select().all_shards().count()).unwrap(), invoices);
    assert_eq!(session.all(Currency::select()).unwrap().len(), 2);
    drop(session);
    let report = cluster.verify().unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert!(cluster.compare_references().unwrap().is_empty());
}

/// Writes over all shards, with new generated ids and lookup entries.
fn write(cluster: &Cluster) {
    let mut session = cluster.session();
    let highest =
        session.all(Account::select().all_shards()).unwrap().iter().map(|row| row.id).max().unwrap();
    for owner in ["x", "y", "z", "u"] {
        let account = NewAccount {
            owner: owner.into(),
            email: format!("{owner}@example.org"),
            currency: "EUR".into(),
            cents: 1,
        };
        let account = session.add(account).unwrap();
        assert!(account.id > highest);
        session.add(NewTransfer { account: account.link(), cents: 1 }).unwrap();
    }
    session.add(Currency { code: "USD".into(), name: "Dollar".into() }).unwrap();
    session.commit().unwrap();
    // An email that the older release has stored is still unique over the cluster.
    let account =
        NewAccount { owner: "v".into(), email: "3@example.org".into(), currency: "EUR".into(), cents: 1 };
    session.add(account).unwrap();
    let error = session.commit().map(drop).unwrap_err();
    assert_eq!(error.kind(), shard_runtime::ErrorKind::Unique, "{error}");
}

/// Opens, upgrades, opens again and writes; no row moves before something is written.
fn accepts(builder: &Builder, invoices: u64) {
    let cluster = builder.clone().open::<Models>().unwrap();
    let before = rows(&cluster);
    read(&cluster, invoices);
    drop(cluster);
    let cluster = builder.clone().create::<Models>().unwrap();
    assert_eq!(rows(&cluster), before);
    read(&cluster, invoices);
    drop(cluster);
    let cluster = builder.clone().open::<Models>().unwrap();
    read(&cluster, invoices);
    write(&cluster);
    drop(cluster);
    let cluster = builder.clone().open::<Models>().unwrap();
    assert_eq!(cluster.session().one(Account::select().all_shards().count()).unwrap(), 16);
    assert!(cluster.verify().unwrap().is_sound());
    // A program that registers fewer models.
    drop(cluster);
    builder.clone().open::<(Office, Invoice)>().unwrap();
}

/// How many statements opening runs on a server with three schemas. When the record did not decide where keys are, and there were no
/// migrations, it ran 59.
const STATEMENTS: usize = 31;

/// Opening a cluster in which nothing is to be done. After migrations: `migrations/opening.rs`.
#[test]
fn opening_runs_no_more_statements() {
    let server = Server::start_with(&["log_statement=all"]);
    drop(builder_of_schemas(&server).create::<Models>().unwrap());
    let statements = || {
        let log = server.log();
        log.lines().filter(|line| line.contains("LOG:  execute") || line.contains("LOG:  statement")).count()
    };
    let count = || {
        let before = statements();
        drop(builder_of_schemas(&server).open::<Models>().unwrap());
        statements() - before
    };
    count();
    let run = count();
    assert!(run <= STATEMENTS, "{run} statements");
}

#[test]
fn files_of_earlier_releases_are_opened() {
    for release in RELEASES {
        let folder = copied(release, "files");
        let record = |sql: &str| -> i64 {
            let raw = rusqlite::Connection::open(folder.path().join("control.db")).unwrap();
            raw.query_row(sql, [], |row| row.get(0)).unwrap()
        };
        // The release was killed before shard `b` had its part of the last transaction.
        assert!(record("SELECT count(*) FROM sharded_redo WHERE shard = 'b'") > 0);
        accepts(&builder_of_files(folder.path()), 9);
        assert_eq!(record("SELECT count(*) FROM sharded_redo"), 0);
    }
}

#[test]
fn prefixes_of_earlier_releases_are_opened() {
    for release in RELEASES {
        let folder = copied(release, "prefixes");
        accepts(&builder_of_prefixes(folder.path()), 4);
    }
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn servers_of_earlier_releases_are_opened() {
    for release in RELEASES {
        let server = restored(release);
        accepts(&builder_of_schemas(&server), 4);
    }
}
