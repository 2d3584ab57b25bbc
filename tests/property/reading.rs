//! Reads: a cluster answers as one big table does, and reads only the necessary shards.

use std::cmp::Reverse;
use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use shard_runtime::{ErrorKind, Routed, Select, Session, Shard, Stored};

use super::aggregates::check_aggregate;
use super::asking::{check_asked, names_unplaced, pinned};
use super::datum::{Column, Datum, Kind, Line};
use super::groups;
use super::layout::Layout;
use super::measures::{Function, Measures};
use super::oracle::Oracle;
use super::predicate::Truth;
use super::runner::{self, Verdict};
use super::strategies::{Pin, Query, Shape, aggregates, measures, queries, rows};
use super::subject::{Groups, Subject};
use super::world::{World, filled, succeeded, worlds};

pub fn run<T: Subject>(name: &str, thousandths: u64) {
    run_on::<T>(name, thousandths, worlds::<T::Cluster>(T::shards()));
}

pub fn run_on<T: Subject>(name: &str, thousandths: u64, worlds: Vec<World>) {
    let shape = Shape::of::<T>();
    let strategy = (0..worlds.len(), any::<bool>(), rows(shape), vec(reads(shape), 1..4));
    runner::run(name, thousandths, strategy, |(world, committed, rows, asked)| {
        let world = &worlds[world];
        let (mut session, rows) = filled::<T>(world, &rows, committed)?;
        let oracle = Oracle::new(&rows);
        asked.iter().try_for_each(|read| check_read::<T>(world, &mut session, &oracle, &rows, read))
    });
}

/// Reads that are made together: the rows of a query, an aggregate, groups, measures, pages of some size, and a row by its id.
pub type Read = (Query, (Function, Column), Measures, usize, i64);

pub fn reads(shape: Shape) -> BoxedStrategy<Read> {
    (queries(shape), aggregates(shape), measures(), 1..8_usize, 0..32_i64).boxed()
}

/// Checks all answers of a read; `rows` are those of the oracle.
pub fn check_read<T: Subject>(
    world: &World,
    session: &mut Session,
    oracle: &Oracle,
    rows: &[(usize, Line)],
    (query, (function, column), measures, page, id): &Read,
) -> Verdict {
    check::<T>(world, session, oracle, query)?;
    let unbounded = Query { limit: None, offset: 0, order: Vec::new(), ..query.clone() };
    check_aggregate::<T>(world, session, oracle, &unbounded, *function, *column)?;
    check_groups::<T>(world, session, oracle, &unbounded, *column)?;
    groups::check::<T>(world, session, oracle, &unbounded, measures)?;
    check_pages::<T>(world, session, oracle, query, *page)?;
    check_get::<T>(world, session, rows, *id)
}

pub fn select<T: Subject>(query: &Query, layout: &Layout) -> Select<T, Routed> {
    let mut select = T::select().all_shards().filter(T::filter(&query.tree));
    select = match &query.pin {
        None => select,
        Some(Pin::Shard(place)) => select.on_shard(layout.shard(*place).name()),
        Some(Pin::Key(key, part)) => select.on(T::pin(key, part)),
    };
    for by in &query.order {
        select = select.order_by(T::order(*by));
    }
    if let Some(limit) = query.limit {
        select = select.limit(limit);
    }
    match query.offset {
        0 => select,
        offset => select.offset(offset),
    }
}

fn check<T: Subject>(world: &World, session: &mut Session, oracle: &Oracle, query: &Query) -> Verdict {
    let layout = &world.layout;
    let shards = &layout.shards;
    let select = select::<T>(query, layout);
    let explained = world.cluster.explain(&select);
    let (found, asked) = world.asked(session, |session| session.all(select.clone()));
    let pin = match pinned::<T>(query.pin.as_ref(), layout) {
        Ok(pin) if !names_unplaced::<T>(&query.tree, layout) => pin,
        _ => {
            let kind = |error: shard_runtime::Error| error.kind();
            prop_assert_eq!(explained.map(|_| ()).map_err(kind), Err(ErrorKind::UnmappedKey));
            prop_assert_eq!(found.map(|rows| rows.len()).map_err(kind), Err(ErrorKind::UnmappedKey));
            prop_assert!(asked.is_empty(), "asked {:?} for a key that is placed nowhere", asked);
            return Ok(());
        }
    };
    let (found, explained) = (succeeded(found)?, succeeded(explained)?);
    let names: Vec<&str> =
        asked.iter().filter_map(|place| shards.by_index(*place)).map(Shard::name).collect();
    let allowed = explained.shards();
    match query.limit {
        // Without an order one shard is read after the other, until there are rows enough.
        Some(limit) if limit == found.len() as u64 && query.order.is_empty() => {
            prop_assert!(allowed.starts_with(&names), "{:?} may be asked, {:?} were", allowed, names);
            let last = found.last().map(|row| row.shard().name());
            prop_assert!(
                last.is_none_or(|last| names.contains(&last)),
                "asked {:?}, found on {:?}",
                names,
                last
            );
        }
        _ => prop_assert_eq!(&allowed, &names, "explain and the statements differ"),
    }
    let allowed: Vec<usize> = allowed.iter().filter_map(|name| shards.get(name)).map(Shard::index).collect();
    match query.limit {
        Some(0) => prop_assert!(allowed.is_empty(), "asks {:?} for no row", allowed),
        _ => check_asked::<T>(&query.tree, pin, &allowed, layout)?,
    }
    check_rows::<T>(&found, oracle, query, pin)?;

    let count = succeeded(session.one(select.clone().count()))?;
    prop_assert_eq!(count, oracle.count(query, pin), "the count");
    let exists = succeeded(session.one(select.clone().exists()))?;
    prop_assert_eq!(exists, count > 0, "whether there is a row");
    if !query.order.is_empty() {
        let brief = |row: &Stored<T>| {
            let mut line = row.line();
            let others = [Column::Part, Column::Amount, Column::Rank, Column::Name, Column::Weight];
            others.into_iter().for_each(|column| line.set(column, Datum::Null));
            line
        };
        let briefs = succeeded(T::briefs(session, select.clone()))?;
        prop_assert_eq!(briefs, found.iter().map(brief).collect::<Vec<_>>(), "some columns");
    }
    let first = succeeded(session.first(select))?;
    let first: Vec<_> = first.into_iter().collect();
    let query = Query { limit: Some(query.limit.unwrap_or(1).min(1)), ..query.clone() };
    check_rows::<T>(&first, oracle, &query, pin)
}

/// Checks that the rows are the oracle's, in the order of the query, and ties by shard. Among the remaining ties each shard may
/// choose any order.
fn check_rows<T: Subject>(
    found: &[Stored<T>],
    oracle: &Oracle,
    query: &Query,
    pin: Option<usize>,
) -> Verdict {
    let wanted = oracle.select(query, pin);
    let sorted_by = |place: usize, line: &Line| {
        let values: Vec<_> = query.order.iter().map(|by| line.get(by.column).clone()).collect();
        (values, place)
    };
    let shape =
        |rows: &[(usize, Line)]| rows.iter().map(|(place, line)| sorted_by(*place, line)).collect::<Vec<_>>();
    let found: Vec<(usize, Line)> = found.iter().map(|row| (row.shard().index(), row.line())).collect();
    prop_assert_eq!(shape(&found), shape(&wanted), "the parts of the rows that the order fixes");
    let unbounded = Query { limit: None, offset: 0, order: Vec::new(), ..query.clone() };
    let all = oracle.select(&unbounded, pin);
    let mut seen = HashSet::new();
    for row in &found {
        prop_assert!(seen.insert(row.1.id()), "{:?} came twice", row);
        prop_assert!(all.contains(row), "{:?} is no row of the answer", row);
    }
    if !query.order.is_empty() {
        prop_assert_eq!(found, wanted, "rows that the order leaves equal come by shard and id");
    }
    Ok(())
}

/// Groups by a column, and its distinct values.
fn check_groups<T: Subject>(
    world: &World,
    session: &mut Session,
    oracle: &Oracle,
    query: &Query,
    column: Column,
) -> Verdict {
    let layout = &world.layout;
    let Ok(pin) = pinned::<T>(query.pin.as_ref(), layout) else { return Ok(()) };
    if names_unplaced::<T>(&query.tree, layout) {
        return Ok(());
    }
    let wanted = oracle.groups(query, pin, column);
    let groups = succeeded(T::groups(session, select::<T>(query, layout), column, Groups::All))?;
    prop_assert_eq!(&groups, &wanted, "the groups by {:?}", column);
    let mut largest: Vec<_> = wanted.iter().filter(|(_, rows)| *rows > 1).cloned().collect();
    largest.sort_by_key(|(_, rows)| Reverse(*rows));
    let largest: Vec<_> = largest.into_iter().skip(1).take(3).collect();
    let found = succeeded(T::groups(session, select::<T>(query, layout), column, Groups::Largest))?;
    prop_assert_eq!(found, largest, "the largest groups by {:?}", column);
    let distinct = succeeded(T::groups(session, select::<T>(query, layout), column, Groups::Distinct))?;
    let (distinct, wanted): (Vec<_>, Vec<_>) =
        distinct.into_iter().zip(wanted).map(|((found, _), (wanted, _))| (found, wanted)).unzip();
    prop_assert_eq!(
        (distinct.len(), distinct),
        (groups.len(), wanted),
        "the distinct values of {:?}",
        column
    );
    Ok(())
}

/// Pages that follow each other are the whole answer.
fn check_pages<T: Subject>(
    world: &World,
    session: &mut Session,
    oracle: &Oracle,
    query: &Query,
    size: usize,
) -> Verdict {
    let layout = &world.layout;
    let Ok(pin) = pinned::<T>(query.pin.as_ref(), layout) else { return Ok(()) };
    if query.order.is_empty() || names_unplaced::<T>(&query.tree, layout) {
        return Ok(());
    }
    let query = Query { limit: None, offset: 0, ..query.clone() };
    let mut found: Vec<Stored<T>> = Vec::new();
    loop {
        let whole = select::<T>(&query, layout);
        let page = match found.last() {
            None => whole.limit(size as u64),
            Some(last) => {
                let token = succeeded(whole.cursor(last))?.to_string();
                whole.after(&succeeded(token.parse())?).limit(size as u64)
            }
        };
        let page = succeeded(session.all(page))?;
        let is_last = page.len() < size;
        found.extend(page);
        if is_last {
            return check_rows::<T>(&found, oracle, &query, pin);
        }
    }
}

/// A row by its id, which is unique over the cluster but does not name its shard.
pub fn check_get<T: Subject>(
    world: &World,
    session: &mut Session,
    rows: &[(usize, Line)],
    id: i64,
) -> Verdict {
    let (found, asked) = world.asked(session, |session| session.get::<T>(id));
    let found = succeeded(found)?.map(|row| (row.shard().index(), row.line()));
    prop_assert_eq!(found.as_ref(), rows.iter().find(|(_, line)| line.id() == id));
    let all = &world.layout.serving;
    prop_assert!(asked == *all || (asked.is_empty() && found.is_some()), "asked {:?}", asked);
    let (again, asked) = world.asked(session, |session| session.get::<T>(id));
    prop_assert_eq!(succeeded(again)?.map(|row| row.line()), found.map(|(_, line)| line));
    prop_assert!(asked.is_empty() || asked == *all);
    Ok(())
}

/// The oracle's SQL and the trees' own meaning are two hands; here they check each other.
#[test]
fn the_oracles_agree() {
    let shape = Shape { key: Kind::Text, edges: &[], composite: false };
    runner::run("reading::the_oracles_agree", 80, (rows(shape), queries(shape)), |(rows, query)| {
        let rows: Vec<(usize, Line)> = rows.into_iter().map(|line| (0, line)).collect();
        let query = Query { limit: None, offset: 0, order: Vec::new(), ..query };
        let holds = |line: &Line| query.tree.truth(&|column, test| test.holds(line.get(column)));
        let held: Vec<&(usize, Line)> = rows.iter().filter(|(_, line)| holds(line) == Truth::True).collect();
        let mut found = Oracle::new(&rows).select(&query, None);
        found.sort_by_key(|(_, line)| held.iter().position(|(_, other)| other == line));
        prop_assert_eq!(found.iter().collect::<Vec<_>>(), held);
        Ok(())
    });
}
