//! Isolation between concurrent writers. Every ordered pair of writing operations that run at the same time must end as one of
//! the two serial orders does.
//!
//! `matrix` runs each pair deterministically: the first transaction pauses before its end, the second one runs beside it.
//! `load` mixes the same operations at random on a few rows, with commits that stay half finished for a while.
//! `refused` runs operations that do not obtain a lock in time. `sequences` compares the answers of two sessions with those
//! of one big table; `SHARDED_SEQUENCES` of them run. `snapshots` compares the reads of a session with the moment of its first
//! read.
//!
//! ```sh
//! SHARDED_SECONDS=60 cargo test --all-features --release --test isolation -- --nocapture load
//! ```
//!
//! `SHARDED_STEPS=all` runs every pair with a late end, too, instead of a third of them. `SHARDED_SEED` repeats the choices.
//! `SHARDED_PAIR=relocate_up:save` runs one pair.

#[path = "../suite/client.rs"]
mod client;
mod hold;
mod load;
mod matrix;
mod operations;
mod refused;
mod sequences;
mod snapshots;
mod world;

use world::Kind;

#[test]
fn pairs_end_as_in_a_serial_order_on_files() {
    matrix::run(Kind::Files);
}

#[test]
fn pairs_end_as_in_a_serial_order_on_schemas() {
    matrix::run(Kind::Schemas);
}

#[test]
fn pairs_end_as_in_a_serial_order_on_servers() {
    matrix::run(Kind::Servers);
}

#[test]
fn pairs_end_as_in_a_serial_order_on_a_file_and_servers() {
    matrix::run(Kind::Mixed);
}

#[test]
fn r32_a_lock_that_is_not_obtained_fails_one_operation_on_servers() {
    refused::run(Kind::Servers);
}

#[test]
fn r32_a_lock_that_is_not_obtained_fails_one_operation_on_schemas() {
    refused::run(Kind::Schemas);
}

#[test]
fn load_keeps_the_invariants_on_files() {
    load::run(Kind::Files);
}

#[test]
fn load_keeps_the_invariants_on_servers() {
    load::run(Kind::Servers);
}

#[test]
fn load_keeps_the_invariants_on_a_file_and_servers() {
    load::run(Kind::Mixed);
}

#[test]
fn sequences_answer_as_one_table_on_schemas() {
    sequences::run(Kind::Schemas);
}

#[test]
fn sequences_answer_as_one_table_on_servers() {
    sequences::run(Kind::Servers);
}

#[test]
fn sequences_answer_as_one_table_on_a_file_and_servers() {
    sequences::run(Kind::Mixed);
}

#[test]
fn a_session_reads_one_snapshot_of_each_file() {
    snapshots::run(["a.db", "b.db"]);
}

#[test]
fn a_session_reads_one_snapshot_of_a_file_with_two_shards() {
    snapshots::run(["both.db?prefix=a_", "both.db?prefix=b_"]);
}
