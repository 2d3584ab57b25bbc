//! Generated code uses its own items, whatever the names of the user's items and fields.

#![allow(dead_code, unused_macros, non_upper_case_globals, non_camel_case_types)]

use shard_runtime::{Projection, Sharded, Shards};

struct Result;
struct Option;
struct Some;
struct Ok;
struct Field;
struct Column;
struct Table;
struct Placement;
struct Row;
struct Binder;
struct Insert;
struct Constant;
type usize_ = usize;

fn place() {}
fn load() {}
fn id() {}

macro_rules! assert {
    ($($any:tt)*) => {
        compile_error!("the user's macro was called")
    };
}

mod core {}
mod std {}

/// Fields called like methods, constants and values of the generated code.
#[derive(Sharded)]
struct Model {
    #[id(sequence)]
    id: i64,
    #[shard_key(range("a" => ..10, "b" => 10..))]
    key: i64,
    table: i64,
    row: i64,
    binder: String,
    shards: String,
    predicate: bool,
    load: i64,
    bind: i64,
    next_id: i64,
    value: i64,
    select: i64,
    new: i64,
}

#[derive(Projection)]
#[sharded(model = Model)]
struct Some_ {
    row: i64,
    load: i64,
    #[sharded(column = next_id)]
    first: i64,
    #[sharded(column = binder)]
    model: String,
}

fn main() {
    let shards = Shards::named(["a", "b"]).unwrap();
    let model = Model {
        id: 1,
        key: 10,
        table: 0,
        row: 0,
        binder: String::new(),
        shards: String::new(),
        predicate: true,
        load: 0,
        bind: 0,
        next_id: 0,
        value: 0,
        select: 0,
        new: 0,
    };
    assert_eq!(model.shard_chooser(&shards).unwrap(), 1);
    assert_eq!(<Model as Sharded>::TABLE.columns[2].name, "table");
    let _ = Model::select().all_shards().columns(Some_::COLUMNS);
    let _ = Model::TABLE.eq(5);
    let _ = Model::SELECT.eq(5);
}
