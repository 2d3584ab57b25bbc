//! A program of the commit before the layout was recorded meets clusters that this release has upgraded: R51. It is refused, and
//! changes nothing, because it would place new rows by the layout that it declares.
//!
//! The commit is taken from this repository's history, and built below the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use shard_runtime::{Builder, Sharded as _};
use sharded_tests::old_program::built;

use super::models::{Account, Models};
use super::{
    RELEASES, SHARDS, builder_of_files, builder_of_prefixes, builder_of_schemas, change, copied, read,
    restored, rows,
};

/// The last commit whose library does not record the layout.
const COMMIT: &str = "c20ceaef014e125e8cdeab862cc52dce4560be4a";

fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("program_before_the_record");
        built(&folder, COMMIT, &["tests/releases/old_program/main.rs", "tests/releases/models.rs"])
    })
}

/// Runs the program with shards at these URLs, and returns what it prints.
fn run(mode: &str, url: &dyn Fn(&str) -> String) -> String {
    let shards = SHARDS.map(|shard| format!("{shard} {}", url(shard)));
    let output = Command::new(program()).arg(mode).args(shards).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The program is refused when this release has upgraded the cluster, and when the cluster was changed.
fn is_refused(builder: &dyn Fn(&[&str]) -> Builder, url: &dyn Fn(&str) -> String, invoices: u64) {
    let release = RELEASES[0];
    let is_refused = || {
        for mode in ["open", "create"] {
            let printed = run(mode, url);
            println!("{mode}: {printed}");
            assert!(printed.starts_with("refused "), "{mode}: {printed}");
            assert!(
                SHARDS.iter().any(|shard| printed.contains(&format!("shard `{shard}`"))),
                "{mode}: {printed}"
            );
        }
    };
    let cluster = builder(&SHARDS).create::<Models>().unwrap();
    let before = rows(&cluster);
    drop(cluster);
    is_refused();
    let cluster = builder(&SHARDS).open::<Models>().unwrap();
    assert_eq!(rows(&cluster), before);
    read(&cluster, release, invoices);
    drop(cluster);
    change::change(builder);
    is_refused();
    let cluster = builder(&change::SHARDS).open::<Models>().unwrap();
    read(&cluster, RELEASES[1], invoices);
}

#[test]
#[ignore = "builds an earlier commit: `cargo test -p sharded-tests --test releases old_program -- --ignored --nocapture files`"]
fn r51_an_old_program_is_refused_by_upgraded_files() {
    // It works with a cluster that it has made, up to the moment when this release upgrades that.
    let folder = tempfile::tempdir().unwrap();
    let url = |shard: &str| format!("sqlite:{}/{shard}.db", folder.path().display());
    assert_eq!([run("make", &url), run("open", &url)], ["stored 3\n", "stored 6\n"]);
    drop(builder_of_files(folder.path(), &SHARDS).create::<Models>().unwrap());
    for mode in ["open", "create"] {
        assert!(run(mode, &url).starts_with("refused "), "{mode}");
    }
    let cluster = builder_of_files(folder.path(), &SHARDS).open::<Models>().unwrap();
    assert_eq!(cluster.session().one(Account::select().all_shards().count()).unwrap(), 6);
    assert!(cluster.verify().unwrap().is_sound());
    drop(cluster);

    let folder = copied("0.1.0", "files");
    let url = |shard: &str| format!("sqlite:{}/{shard}.db", folder.path().display());
    is_refused(&|shards| builder_of_files(folder.path(), shards), &url, 9);
    let folder = copied("0.1.0", "prefixes");
    let url = |shard: &str| format!("sqlite:{}/all.db?prefix={shard}_", folder.path().display());
    is_refused(&|shards| builder_of_prefixes(folder.path(), shards), &url, 4);
}

#[test]
#[ignore = "builds an earlier commit, needs PostgreSQL: `cargo test --all-features -p sharded-tests --test releases old_program -- --ignored \
            --nocapture servers`"]
fn r51_an_old_program_is_refused_by_upgraded_servers() {
    let server = restored("0.1.0");
    let url = |shard: &str| format!("{}?schema={shard}", server.url());
    is_refused(&|shards| builder_of_schemas(&server, shards), &url, 4);
}
