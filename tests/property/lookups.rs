//! Lookups: after every verb on rows with them, their values are unique over the cluster and lead to their rows. After every
//! transaction the entries agree with the rows.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use shard_runtime::{Cluster, ErrorKind, Result, Session, Sharded};

use crate::runner::{Verdict, run};

const SHARDS: [&str; 3] = ["a", "b", "c"];

#[derive(Sharded, Clone, Debug, PartialEq)]
struct Member {
    #[id(sequence)]
    id: i64,
    #[shard_key(list("a" => "a", "b" => "b", "c" => "c"))]
    place: String,
    #[lookup]
    #[sharded(collate = nocase)]
    name: String,
    #[lookup]
    number: Option<i64>,
}

/// Spellings of few values, so that they meet.
const NAMES: [&str; 7] = ["ada", "Ada", "bob", "eve", "EVE", "ida", "zoe"];

#[derive(Clone, Debug)]
enum Act {
    Add {
        place: usize,
        name: usize,
        number: Option<i64>,
    },
    Change {
        row: usize,
        name: Option<usize>,
        number: Option<Option<i64>>,
    },
    Move {
        row: usize,
        place: usize,
        name: Option<usize>,
    },
    Delete {
        row: usize,
    },
    DeleteNamed {
        names: Vec<usize>,
    },
    DeletePlace {
        place: usize,
    },
    Commit,
    Rollback,
    /// These, and then undone or not.
    Savepoint {
        acts: Vec<Act>,
        fails: bool,
    },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let (row, place, name) = (0..6_usize, 0..3_usize, 0..NAMES.len());
    let number = option::of(0..4_i64);
    let act = prop_oneof![
        4 => (place.clone(), name.clone(), number.clone())
            .prop_map(|(place, name, number)| Act::Add { place, name, number }),
        3 => (row.clone(), option::of(name.clone()), option::of(number))
            .prop_map(|(row, name, number)| Act::Change { row, name, number }),
        2 => (row.clone(), place.clone(), option::of(name.clone()))
            .prop_map(|(row, place, name)| Act::Move { row, place, name }),
        1 => row.prop_map(|row| Act::Delete { row }),
        1 => vec(name, 0..4).prop_map(|names| Act::DeleteNamed { names }),
        1 => place.prop_map(|place| Act::DeletePlace { place }),
        2 => Just(Act::Commit),
        1 => Just(Act::Rollback),
    ];
    let nested = (vec(act.clone(), 1..4), any::<bool>()).prop_map(|(acts, fails)| {
        let acts = acts.into_iter().filter(|act| !matches!(act, Act::Commit | Act::Rollback)).collect();
        Act::Savepoint { acts, fails }
    });
    vec(prop_oneof![6 => act, 1 => nested], 1..20)
}

fn is_same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// Whether a row may be as it is beside the others.
fn may_be(rows: &[Member], row: &Member) -> bool {
    rows.iter()
        .filter(|other| other.id != row.id)
        .all(|other| !is_same(&other.name, &row.name) && (row.number.is_none() || other.number != row.number))
}

/// Checks the result of a change: it was made if the model allows it, and refused otherwise.
fn agrees(done: Result<()>, may: bool) -> Result<bool, TestCaseError> {
    match done {
        Ok(()) if may => Ok(true),
        Err(error) if error.kind() == ErrorKind::Unique && !may => Ok(false),
        other => Err(TestCaseError::fail(format!("{other:?}, where it may be: {may}"))),
    }
}

fn act(session: &mut Session, rows: &mut Vec<Member>, act: &Act) -> Verdict {
    let fail = |error: shard_runtime::Error| TestCaseError::fail(error.to_string());
    match act {
        Act::Add { place, name, number } => {
            let new = NewMember { place: SHARDS[*place].into(), name: NAMES[*name].into(), number: *number };
            let row = session.add(new).map_err(fail)?;
            if agrees(session.flush(), may_be(rows, &row))? {
                rows.push((*row).clone());
            }
        }
        Act::Change { row, name, number } => {
            let Some(known) = rows.get(*row).cloned() else { return Ok(()) };
            let mut stored = session.get::<Member>(known.id).map_err(fail)?.expect("the row is there");
            prop_assert_eq!(&*stored, &known);
            stored.name = name.map_or(known.name, |name| NAMES[name].into());
            stored.number = number.unwrap_or(known.number);
            if agrees(session.update(&mut stored), may_be(rows, &stored))? {
                rows[*row] = (*stored).clone();
            }
        }
        Act::Move { row, place, name } => {
            let Some(known) = rows.get(*row).cloned() else { return Ok(()) };
            let mut stored = session.get::<Member>(known.id).map_err(fail)?.expect("the row is there");
            let mut wanted = known;
            wanted.place = SHARDS[*place].into();
            wanted.name = name.map_or(wanted.name, |name| NAMES[name].into());
            let moved = session.relocate(&mut stored, |row| *row = wanted.clone()).map(drop);
            if agrees(moved, may_be(rows, &wanted))? {
                rows[*row] = wanted;
            }
        }
        Act::Delete { row } => {
            let Some(known) = rows.get(*row).cloned() else { return Ok(()) };
            let stored = session.get::<Member>(known.id).map_err(fail)?.expect("the row is there");
            session.delete(&stored).map_err(fail)?;
            rows.remove(*row);
        }
        Act::DeleteNamed { names } => {
            let named = |row: &Member| names.iter().any(|name| is_same(NAMES[*name], &row.name));
            let expected = rows.iter().filter(|row| named(row)).count() as u64;
            let delete = Member::delete().filter(Member::NAME.is_in(names.iter().map(|name| NAMES[*name])));
            prop_assert_eq!(session.execute(delete).map_err(fail)?, expected);
            rows.retain(|row| !named(row));
        }
        Act::DeletePlace { place } => {
            session.execute(Member::delete().filter(Member::PLACE.eq(SHARDS[*place]))).map_err(fail)?;
            rows.retain(|row| row.place != SHARDS[*place]);
        }
        Act::Commit | Act::Rollback | Act::Savepoint { .. } => {}
    }
    Ok(())
}

/// Every value leads to the row that has it, and every other to none.
fn finds_all(session: &mut Session, rows: &[Member]) -> Verdict {
    let fail = |error: shard_runtime::Error| TestCaseError::fail(error.to_string());
    for name in NAMES {
        let found = session.all(Member::select().filter(Member::NAME.eq(name))).map_err(fail)?;
        let expected: Vec<&Member> = rows.iter().filter(|row| is_same(&row.name, name)).collect();
        prop_assert_eq!(found.iter().map(|row| &**row).collect::<Vec<_>>(), expected);
    }
    let wanted = Member::NUMBER.is_in(0..3_i64) & !Member::NAME.eq("bob");
    let mut found = session.all(Member::select().filter(wanted)).map_err(fail)?;
    found.sort_by_key(|row| row.id);
    let mut expected: Vec<&Member> = rows
        .iter()
        .filter(|row| row.number.is_some_and(|number| number < 3) && !is_same(&row.name, "bob"))
        .collect();
    expected.sort_by_key(|row| row.id);
    prop_assert_eq!(found.iter().map(|row| &**row).collect::<Vec<_>>(), expected);
    Ok(())
}

fn agree_with_their_rows(acts: &[Act]) -> Verdict {
    let fail = |error: shard_runtime::Error| TestCaseError::fail(error.to_string());
    let cluster = Cluster::in_memory::<Member>(SHARDS).map_err(fail)?;
    let mut session = cluster.session();
    let (mut rows, mut committed): (Vec<Member>, Vec<Member>) = Default::default();
    for one in acts.iter().chain([&Act::Commit]) {
        match one {
            Act::Commit => {
                session.commit().map_err(fail)?;
                committed.clone_from(&rows);
                let verified = cluster.verify().map_err(fail)?;
                prop_assert_eq!(verified.lookup_problems(), []);
            }
            Act::Rollback => {
                session.rollback();
                rows.clone_from(&committed);
            }
            Act::Savepoint { acts, fails } => {
                let before = rows.clone();
                let mut verdict = Ok(());
                let part = session.try_savepoint(|session| {
                    verdict = acts.iter().try_for_each(|one| act(session, &mut rows, one));
                    match fails {
                        true => Err(Undone::Meant),
                        false => Ok(()),
                    }
                });
                verdict?;
                match part {
                    Ok(()) => {}
                    Err(Undone::Meant) => rows = before,
                    Err(Undone::Failed(error)) => return Err(fail(error)),
                }
            }
            other => act(&mut session, &mut rows, other)?,
        }
        finds_all(&mut session, &rows)?;
    }
    Ok(())
}

enum Undone {
    Meant,
    Failed(shard_runtime::Error),
}

impl From<shard_runtime::Error> for Undone {
    fn from(error: shard_runtime::Error) -> Self {
        Undone::Failed(error)
    }
}

#[test]
fn lookups_agree_with_their_rows() {
    run("lookups::lookups_agree_with_their_rows", 50, acts(), |acts| agree_with_their_rows(&acts));
}
