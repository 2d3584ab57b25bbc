//! Bulk updates and deletes: the affected rows, and the rows that remain.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use shard_runtime::{ErrorKind, Result, Session};

use super::asking::{check_asked, names_unplaced, pinned};
use super::datum::{Column, Datum, Line};
use super::layout::Layout;
use super::oracle::Oracle;
use super::predicate::Tree;
use super::reading::check_get;
use super::runner::{self, Verdict};
use super::strategies::{By, Pin, Shape, assignments, pins, rows, trees};
use super::subject::Subject;
use super::world::{World, filled, succeeded, worlds};

/// A bulk update, or a delete if it sets nothing.
#[derive(Clone, Debug)]
pub struct Write {
    pub tree: Tree,
    pub pin: Option<Pin>,
    pub set: Option<Vec<(Column, Datum)>>,
}

pub fn writes(shape: Shape) -> BoxedStrategy<Write> {
    let set = option::weighted(0.7, assignments(shape));
    (trees(shape), pins(shape), set).prop_map(|(tree, pin, set)| Write { tree, pin, set }).boxed()
}

pub fn run<T: Subject>(name: &str, thousandths: u64) {
    run_on::<T>(name, thousandths, worlds::<T::Cluster>(T::shards()));
}

pub fn run_on<T: Subject>(name: &str, thousandths: u64, worlds: Vec<World>) {
    let shape = Shape::of::<T>();
    let written = vec((writes(shape), 0..32_i64), 1..5);
    let strategy = (0..worlds.len(), any::<[bool; 2]>(), rows(shape), written);
    runner::run(name, thousandths, strategy, |(world, [committed, commits], rows, writes)| {
        let world = &worlds[world];
        let (mut session, rows) = filled::<T>(world, &rows, committed)?;
        let oracle = Oracle::new(&rows);
        for (write, id) in &writes {
            check_get::<T>(world, &mut session, &oracle.all(), *id)?;
            check::<T>(world, &mut session, &oracle, write)?;
            check_get::<T>(world, &mut session, &oracle.all(), *id)?;
            check_table::<T>(&mut session, &oracle.all())?;
        }
        let mut wanted = oracle.all();
        if let Some((place, line)) = rows.last() {
            // One more row, which still waits when it is committed or rolled back.
            let mut line = line.clone();
            line.set(Column::Id, Datum::Integer(1_000));
            succeeded(session.add(T::build(&line)))?;
            wanted.push((*place, line));
        }
        if commits {
            world.dirty.set(true);
            succeeded(session.commit())?;
            check_table::<T>(&mut world.cluster.session(), &wanted)
        } else {
            session.rollback();
            let mut before = if committed { rows } else { Vec::new() };
            before.sort_by_key(|(_, line)| line.id());
            check_table::<T>(&mut session, &before)
        }
    });
}

/// Runs a write; returns how many rows it has affected.
pub fn execute<T: Subject>(session: &mut Session, write: &Write, layout: &Layout) -> Result<u64> {
    let filter = || T::filter(&write.tree);
    match &write.set {
        Some(set) => {
            let update = T::update().all_shards().filter(filter());
            let update = match &write.pin {
                None => update,
                Some(Pin::Shard(number)) => update.on_shard(layout.shard(*number).name()),
                Some(Pin::Key(key, part)) => update.on(T::pin(key, part)),
            };
            session.execute(set.iter().fold(update, |update, (column, value)| T::set(update, *column, value)))
        }
        None => {
            let delete = T::delete().all_shards().filter(filter());
            session.execute(match &write.pin {
                None => delete,
                Some(Pin::Shard(number)) => delete.on_shard(layout.shard(*number).name()),
                Some(Pin::Key(key, part)) => delete.on(T::pin(key, part)),
            })
        }
    }
}

/// Checks the rows that a write affects, and the shards that it reads.
pub fn check<T: Subject>(world: &World, session: &mut Session, oracle: &Oracle, write: &Write) -> Verdict {
    let layout = &world.layout;
    let (affected, asked) = world.asked(session, |session| execute::<T>(session, write, layout));
    let pin = match pinned::<T>(write.pin.as_ref(), layout) {
        Ok(pin) if !names_unplaced::<T>(&write.tree, layout) => pin,
        _ => {
            prop_assert_eq!(affected.map_err(|error| error.kind()), Err(ErrorKind::UnmappedKey));
            prop_assert!(asked.is_empty(), "asked {:?} for a key that is placed nowhere", asked);
            return Ok(());
        }
    };
    prop_assert_eq!(
        succeeded(affected)?,
        oracle.write(&write.tree, pin, write.set.as_deref()),
        "affected rows"
    );
    check_asked::<T>(&write.tree, pin, &asked, layout)
}

/// The whole table is this, each row on its shard.
pub fn check_table<T: Subject>(session: &mut Session, wanted: &[(usize, Line)]) -> Verdict {
    let by = By { column: Column::Id, descending: false, nulls_first: None };
    let found = succeeded(session.all(T::select().all_shards().order_by(T::order(by))))?;
    let found: Vec<(usize, Line)> = found.iter().map(|row| (row.shard().index(), row.line())).collect();
    prop_assert_eq!(found, wanted, "the whole table");
    Ok(())
}
