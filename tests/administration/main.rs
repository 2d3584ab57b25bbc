//! The commands of `admin`, on files and on real servers, with wrong input, and with databases that are gone.

mod changes;
mod files;
mod odd;
#[cfg(feature = "servers")]
mod servers;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use shard_runtime::admin::{self, Outcome};
use shard_runtime::{Builder, Cluster, Durability, Parent, Sharded, migrate::Migrations};

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "cities", index(name))]
pub struct City {
    #[id(sequence)]
    pub id: i64,
    #[shard_key(list("Asia" => "asia", "Europe" => "europe"))]
    pub continent: String,
    pub name: String,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "reports")]
pub struct Report {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub city: Parent<City>,
    pub celsius: f64,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "users")]
pub struct User {
    #[id]
    #[shard_key(hash)]
    pub id: i64,
    #[lookup]
    pub email: String,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "countries", reference)]
pub struct Country {
    #[id]
    pub code: String,
    pub name: String,
}

pub type Models = (City, Report, User, Country);

/// A step that any release can run.
pub fn migrations() -> Migrations {
    Migrations::new().step(2, "names", |step| {
        step.sqlite("UPDATE {countries} SET name = upper(name)")
            .postgres("UPDATE {countries} SET name = upper(name)")
    })
}

/// The rows of `fill`, by shard.
pub const ROWS: [u64; 2] = [7, 5];

/// Adds the same rows to a new cluster.
pub fn fill(builder: Builder) -> Cluster {
    let cluster = builder.create::<Models>().unwrap();
    let mut session = cluster.session();
    for (continent, cities) in [("Asia", 2), ("Europe", 1)] {
        for number in 0..cities {
            let name = format!("{continent} {number}");
            let city = session.add(NewCity { continent: continent.into(), name }).unwrap();
            session.add(NewReport { city: city.link(), celsius: 20.5 }).unwrap();
        }
    }
    for id in 0..6 {
        session.add(User { id, email: format!("{id}@example.com") }).unwrap();
    }
    session.add(Country { code: "JP".into(), name: "Japan".into() }).unwrap();
    session.commit().unwrap();
    drop(session);
    cluster
}

/// A builder of two files in a folder.
pub fn files(folder: &Path) -> Builder {
    let at = |name: &str| format!("sqlite:{}", folder.join(format!("{name}.db")).display());
    let builder = Cluster::builder().durability(Durability::Normal).busy_timeout(Duration::from_millis(500));
    builder.shard("asia", at("asia")).shard("europe", at("europe"))
}

/// The result of a command.
#[derive(Debug)]
pub struct Ran {
    pub outcome: Outcome,
    pub out: String,
    pub progress: String,
    pub took: Duration,
}

/// Runs a command, given as one line.
pub fn run(builder: &Builder, line: &str) -> Ran {
    let arguments: Vec<&str> = line.split_whitespace().collect();
    run_words(builder, &arguments)
}

pub fn run_words(builder: &Builder, words: &[&str]) -> Ran {
    let (mut out, mut progress) = (Vec::new(), Vec::new());
    let arguments = std::iter::once("operate").chain(words.iter().copied());
    let began = Instant::now();
    let outcome = admin::run_on::<Models>(builder.clone(), &migrations(), arguments, &mut out, &mut progress);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { outcome, out: text(out), progress: text(progress), took: began.elapsed() }
}

/// Runs a command with `--json`; its output is one line of JSON, and nothing else is printed.
#[track_caller]
pub fn json(builder: &Builder, line: &str, outcome: Outcome) -> Value {
    let ran = run(builder, &format!("--json {line}"));
    assert_eq!(ran.outcome, outcome, "{line}: {ran:?}");
    assert_eq!(ran.progress, "", "{line}");
    assert_eq!(ran.out.matches('\n').count(), 1, "{}", ran.out);
    serde_json::from_str(&ran.out).unwrap()
}

/// Runs a command without `--json`, and returns its text.
#[track_caller]
pub fn text(builder: &Builder, line: &str, outcome: Outcome) -> String {
    let ran = run(builder, line);
    assert_eq!(ran.outcome, outcome, "{line}: {ran:?}");
    ran.out
}

/// Runs a command that fails, and returns what it prints on standard error.
#[track_caller]
pub fn refused(builder: &Builder, line: &str, outcome: Outcome) -> String {
    let ran = run(builder, line);
    assert_eq!((ran.outcome, ran.out.as_str()), (outcome, ""), "{line}: {ran:?}");
    assert!(ran.progress.starts_with("operate: "), "{}", ran.progress);
    let read = json_error(builder, line, outcome);
    assert!(read.is_null() || read["message"].is_string(), "{read}");
    ran.progress
}

/// The error that a command prints with `--json`; null if its arguments are invalid.
fn json_error(builder: &Builder, line: &str, outcome: Outcome) -> Value {
    let ran = run(builder, &format!("--json {line}"));
    assert_eq!(ran.outcome, outcome, "{line}: {ran:?}");
    match ran.out.as_str() {
        "" => Value::Null,
        out => serde_json::from_str::<Value>(out).unwrap()["error"].clone(),
    }
}
