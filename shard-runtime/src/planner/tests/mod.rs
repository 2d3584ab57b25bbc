//! Tables of queries with their expected shards, SQL text and merge. They use `query` and `schema`, and no database.

mod merge;
mod route;
mod statements;

use shard_runtime::Sharded;

use crate::planner::sql::{Dialect, Namespace};
use crate::planner::{Explain, Explainable, Layout, Location};
use crate::query::{Models, Parent};
use crate::schema::{ShardSet, Shards};

#[derive(Sharded)]
#[sharded(table = "countries", reference)]
struct Country {
    #[id]
    id: i64,
    name: String,
}

#[derive(Sharded)]
#[sharded(table = "cities")]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(list("Africa" => "a", "Asia" => "b", "Oceania" => "b", _ => "c"))]
    continent: String,
    name: String,
    population: Option<i64>,
    #[lookup]
    code: Option<String>,
    #[references(Country)]
    country: Option<i64>,
}

#[derive(Sharded)]
#[sharded(table = "reports")]
struct Report {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    city: Parent<City>,
    heat: f64,
    #[version]
    version: i64,
}

#[derive(Sharded)]
#[sharded(table = "accounts")]
struct Account {
    #[id]
    #[shard_key(range("a" => ..0, "b" => 0..10, "c" => 20.., gaps))]
    number: i64,
    owner: String,
}

/// Placed by two columns together.
#[derive(Sharded)]
#[sharded(table = "seats", shard_key(hash))]
struct Seat {
    #[id]
    id: i64,
    #[shard_key]
    row: i64,
    #[shard_key]
    place: String,
}

type All = (Country, City, Report, Account, Seat);

/// The shards `a`, `b` and `c`, each in a database of this kind.
fn layout(dialect: Dialect) -> Layout {
    let shards = Shards::named(["a", "b", "c"]).unwrap();
    let names = Namespace::default();
    let location = |database| Location { database, names: names.clone(), dialect, is_default_schema: false };
    let (mut tables, mut lookups) = (Vec::new(), Vec::new());
    All::tables(&mut tables);
    All::lookups(&mut lookups);
    Layout::new(shards, (0..3).map(location).collect(), tables, lookups).unwrap()
}

/// A query without its types.
type Query = Box<dyn Fn(&Layout) -> Explain>;

fn query(query: impl Explainable + 'static) -> Query {
    Box::new(move |layout| query.explain(layout).unwrap())
}

/// Fails with all lines that differ, so that one run shows them all.
fn assert_lines<L: AsRef<str>>(lines: impl IntoIterator<Item = (L, String)>) {
    let wrong: Vec<String> = lines
        .into_iter()
        .filter(|(expected, found)| expected.as_ref() != found)
        .map(|(expected, found)| format!("expected {}\n   found {found}", expected.as_ref()))
        .collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn names(set: &ShardSet, layout: &Layout) -> String {
    set.names(layout.shards()).join(" ")
}
