//! The cost of opening: a cluster that has nothing to migrate is opened with at most one statement for each shard more than one
//! that was never migrated.

use std::process::Command;

use shard_runtime::{Builder, Models, migrate::Migrations};
use sharded_tests::postgres_server::Server;

use crate::{CLUSTER, process};

/// Release 1: two tables, each with a text that may be missing.
mod before {
    use shard_runtime::{Parent, Sharded};

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "users")]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        pub name: Option<String>,
    }

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "posts")]
    pub struct Post {
        #[id(auto)]
        pub id: i64,
        #[shard_parent]
        pub user: Parent<User>,
        pub text: Option<String>,
    }

    pub type Models = (User, Post);
}

/// Release 3, which declares both texts as the contract has made them.
mod after {
    use shard_runtime::{Parent, Sharded};

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "users")]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        pub name: String,
    }

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "posts")]
    pub struct Post {
        #[id(auto)]
        pub id: i64,
        #[shard_parent]
        pub user: Parent<User>,
        pub text: String,
    }

    pub type Models = (User, Post);
}

/// Release 2 has the models of release 1.
fn migrations() -> Migrations {
    Migrations::new()
        .step(2, "name", |m| m.require(before::User::NAME))
        .step(3, "text", |m| m.require(before::Post::TEXT))
}

/// How many statements opening takes: of a cluster that was never migrated; after the contract, by the release whose models have
/// the required columns as `Option`; the same, by the next release.
fn counts(builder: &dyn Fn() -> Builder, count: &dyn Fn(bool) -> usize) -> [usize; 3] {
    drop(builder().create::<before::Models>().unwrap());
    // What the first process records is there for the second one.
    count(false);
    let never = count(false);
    let migrate = || builder().migrate::<before::Models>(&migrations()).unwrap();
    migrate().run(|_| {}).unwrap();
    migrate().contract().run(|_| {}).unwrap();
    count(false);
    [never, count(false), count(true)]
}

fn open<M: Models>(builder: Builder) {
    drop(builder.open::<M>().unwrap());
}

fn log_of(servers: &[Server]) -> usize {
    let of = |server: &Server| {
        let log = server.log();
        log.lines().filter(|line| line.contains("LOG:  execute") || line.contains("LOG:  statement")).count()
    };
    servers.iter().map(of).sum()
}

/// How many statements opening takes, and how many locks on files.
const STATEMENTS_OF_THREE_SCHEMAS: usize = 27;
const STATEMENTS_OF_TWO_SERVERS: usize = 32;
const READS_OF_TWO_FILES: usize = 31;

/// The statements on servers, with a schema for each name.
fn on_servers(servers: &[Server], shards: &[(&str, usize)]) -> [usize; 3] {
    let builder = || {
        shards.iter().fold(shard_runtime::Cluster::builder(), |builder, (shard, server)| {
            builder.shard(*shard, format!("{}?schema={shard}", servers[*server].url()))
        })
    };
    counts(&builder, &|is_after| {
        let before = log_of(servers);
        if is_after {
            open::<after::Models>(builder())
        } else {
            open::<before::Models>(builder())
        }
        log_of(servers) - before
    })
}

#[test]
fn r41_opening_servers_takes_at_most_one_statement_more_after_migrations() {
    let start = || Server::start_with(&["log_statement=all", "autovacuum=off"]);
    let one = on_servers(&[start()], &[("a", 0), ("b", 0), ("c", 0)]);
    println!("one server with three schemas: {one:?}");
    let two = on_servers(&[start(), start()], &[("a", 0), ("b", 1)]);
    println!("two servers: {two:?}");
    for ([never, optional, required], shards) in [(one, 3), (two, 2)] {
        assert!(optional <= never + shards, "{never}, {optional}");
        assert_eq!(required, never);
    }
    assert_eq!((one[0], two[0]), (STATEMENTS_OF_THREE_SCHEMAS, STATEMENTS_OF_TWO_SERVERS));
}

fn files(folder: &str) -> Builder {
    let folder = std::path::Path::new(folder);
    ["a", "b"].iter().fold(shard_runtime::Cluster::builder(), |builder, shard| {
        builder.shard(*shard, format!("sqlite:{}", folder.join(format!("{shard}.db")).display()))
    })
}

#[test]
#[ignore = "started by other tests"]
fn opens_before() {
    open::<before::Models>(files(&std::env::var(CLUSTER).expect("started by a test")));
}

#[test]
#[ignore = "started by other tests"]
fn opens_after() {
    open::<after::Models>(files(&std::env::var(CLUSTER).expect("started by a test")));
}

/// Each statement on a file outside of a transaction takes a lock to read, which is a system call.
#[test]
fn r41_opening_files_takes_at_most_one_statement_more_after_migrations() {
    let folder = tempfile::tempdir().unwrap();
    let logs = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let count = |is_after: bool| {
        let log = logs.path().join("log");
        let behind = ["strace", "-f", "-o", log.to_str().unwrap(), "-e", "trace=fcntl"].map(str::to_owned);
        let test = if is_after { "opening::opens_after" } else { "opening::opens_before" };
        let mut opens: Command = process(test, folder, &behind, None);
        assert!(opens.status().unwrap().success());
        let log = std::fs::read_to_string(log).unwrap();
        log.lines().filter(|line| line.contains("F_SETLK") && line.contains("F_RDLCK")).count()
    };
    let files @ [never, optional, required] = counts(&|| self::files(folder), &count);
    println!("two files: {files:?} locks to read");
    assert!(never > 0 && optional <= never + 2, "{files:?}");
    assert_eq!(required, never, "{files:?}");
    assert_eq!(never, READS_OF_TWO_FILES);
}
