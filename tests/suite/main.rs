//! The rules of the framework as tests, each named after its rule, run on every kind of cluster alike.
//!
//! Where a rule says which shards are asked, the shards are checked, not only the rows: by the statements
//! counted per shard, by the statement hook, and by *sentinel rows*, which are written into every shard behind
//! the library's back and carry the shard's name, so that the rows that come back say where they were read.

#[path = "../postgres_server/mod.rs"]
mod postgres_server;

#[macro_use]
mod backend;
mod backup;
mod client;
mod models;
mod runtimes;

mod aggregates;
mod asynchronous;
mod attached;
mod bad_names;
mod bad_values;
mod cancelling;
mod changing;
mod collations;
mod columns;
mod committing;
mod comparing;
mod comparisons;
mod configuration;
mod connections;
mod contention;
mod counted_ids;
mod differences;
mod error_chains;
mod existence;
mod explaining;
mod expressions;
mod faults;
mod fields;
mod flushing;
mod for_update;
mod groups;
mod handles;
mod identity;
mod ids;
mod iterators;
mod joining;
mod lending;
mod limits;
mod loading;
mod lookup;
mod lookup_entries;
mod lookup_killed;
mod lookup_orphans;
mod lost_shards;
mod many_values;
mod misplaced_rows;
mod narrowing;
mod nested;
mod null_logic;
mod observing;
mod odd_keys;
mod older_copies;
mod opening;
mod oracle;
mod order;
mod paging;
mod paging_columns;
mod parents;
mod pinned_sessions;
mod pins;
mod placement;
mod projections;
mod pushdown;
mod raw_sql;
mod recovering;
mod reference;
mod reference_for_update;
mod referring;
mod relations;
mod relocating;
mod returning;
mod saving;
mod schema;
mod started_ids;
mod testing;
mod threads;
mod transactions;
mod verify;
mod versions;
mod writing;
