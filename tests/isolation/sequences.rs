//! Two sessions run operations in a random order. They are compared with one big table: the same operations in the same order,
//! by two sessions of a cluster with one shard on one server.
//!
//! Every answer must be the same, and so must the rows at the end. An operation that waits for a lock of the other session
//! fails with `Busy`, which ends its transaction on both clusters. The shards may take locks that one table does not need
//! (gates, entries); they must never get a lock that one table refuses.
//!
//! Rows are read with `for_update`: plain reads of several servers have a snapshot for each server, which one table has not.

use std::fmt::Debug;
use std::time::Duration;

use shard_runtime::{Cluster, Error, ErrorKind, Parent, Result, Session, Sharded, Stored, ValueError};
use tempfile::TempDir;

use crate::load::{Random, seed};
use crate::world::{Kind, server};

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "items")]
struct Item {
    #[id]
    id: i64,
    #[shard_key(hash)]
    home: i64,
    #[lookup]
    email: Option<String>,
    n: i64,
    #[version]
    version: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "marks")]
struct Mark {
    #[id]
    id: i64,
    #[shard_parent]
    item: Parent<Item>,
    #[lookup]
    code: String,
}

type Models = (Item, Mark);

#[derive(Clone, Debug)]
enum Operation {
    /// With a new id each time: an id that the application gives may be on two shards.
    Add {
        home: i64,
        email: Option<String>,
    },
    Save(i64),
    SaveNumber {
        id: i64,
        n: i64,
    },
    Update {
        id: i64,
        email: Option<String>,
    },
    Relocate {
        id: i64,
        home: i64,
    },
    Delete(i64),
    CountBelow(i64),
    CountAt {
        home: i64,
    },
    DeleteByEmail(String),
    DeleteAbove(i64),
    ReadByEmail(String),
    ReadAll,
    AddMark {
        id: i64,
        item: i64,
        code: String,
    },
    ChangeMark {
        code: String,
        to: String,
    },
    DeleteMark(String),
    /// Undone by a savepoint.
    Undone(Box<Operation>),
    Commit,
    Rollback,
}

impl Operation {
    fn random(random: &mut Random) -> Self {
        match random.below(20) {
            0..3 => Operation::Commit,
            3 => Operation::Rollback,
            4..6 => Operation::Undone(Box::new(Operation::inside(random))),
            _ => Operation::inside(random),
        }
    }

    fn inside(random: &mut Random) -> Self {
        // The rows of the beginning, and those that were added.
        let id = if random.below(3) == 0 { random.id(10, 4) } else { random.id(0, 4) };
        let (home, n) = (random.id(0, 6), random.id(0, 4));
        let code = |random: &mut Random| format!("code {}", random.below(3));
        let address = |random: &mut Random| format!("address {}", random.below(4));
        let email = (random.below(4) > 0).then(|| address(random));
        match random.below(16) {
            0 => Operation::Add { home, email },
            1 => Operation::Save(id),
            2 => Operation::SaveNumber { id, n },
            3 => Operation::Update { id, email },
            4..6 => Operation::Relocate { id, home },
            6 => Operation::Delete(id),
            7 => Operation::CountBelow(n),
            8 => Operation::CountAt { home },
            9 => Operation::DeleteByEmail(address(random)),
            10 => Operation::DeleteAbove(n + 2),
            11 => Operation::ReadByEmail(address(random)),
            12 => Operation::ReadAll,
            13 => Operation::AddMark { id: random.id(0, 6), item: id, code: code(random) },
            14 => Operation::ChangeMark { code: code(random), to: code(random) },
            _ => Operation::DeleteMark(code(random)),
        }
    }

    /// Runs it; returns its answer. `new` is an id that no row had.
    fn run(&self, session: &mut Session, new: i64) -> Result<String> {
        match self {
            Operation::Add { home, email } => {
                let item = Item { id: new, home: *home, email: email.clone(), n: 0, version: 1 };
                session.add(item)?;
                answer(session.flush())
            }
            Operation::Save(id) => self.on(session, *id, |session, row| {
                let saved = session.save(Item { n: row.n + 10, ..Item::clone(&row) })?;
                session.flush()?;
                answer(Ok(Item::clone(&saved)))
            }),
            Operation::SaveNumber { id, n } => {
                let set = Item::update().all_shards().filter(Item::ID.eq(*id)).set(Item::N, *n);
                answer(session.execute(set))
            }
            Operation::Update { id, email } => self.on(session, *id, |session, mut row| {
                (row.email, row.n) = (email.clone(), row.n + 1);
                session.update(&mut row)?;
                session.flush()?;
                answer(Ok(Item::clone(&row)))
            }),
            Operation::Relocate { id, home } => self.on(session, *id, |session, mut row| {
                session.relocate(&mut row, |item| item.home = *home)?;
                answer(Ok(Item::clone(&row)))
            }),
            Operation::Delete(id) => self.on(session, *id, |session, row| {
                session.delete(&row)?;
                answer(session.flush())
            }),
            Operation::CountBelow(n) => {
                let below = Item::update().all_shards().filter(Item::N.lt(*n));
                answer(session.execute(below.set(Item::N, Item::N + 1)))
            }
            Operation::CountAt { home } => {
                let there = Item::update().filter(Item::HOME.eq(*home));
                answer(session.execute(there.set(Item::N, Item::N + 1)))
            }
            Operation::DeleteByEmail(email) => {
                let marks = Mark::has_parent(Item::EMAIL.eq(email.as_str()));
                let marks = session.execute(Mark::delete().all_shards().filter(marks))?;
                let items = session.execute(Item::delete().filter(Item::EMAIL.eq(email.as_str())))?;
                answer(Ok((marks, items)))
            }
            Operation::DeleteAbove(n) => {
                let marks = Mark::delete().all_shards().filter(Mark::has_parent(Item::N.gt(*n)));
                let marks = session.execute(marks)?;
                let items = session.execute(Item::delete().all_shards().filter(Item::N.gt(*n)))?;
                answer(Ok((marks, items)))
            }
            Operation::ReadByEmail(email) => {
                let items = Item::select().filter(Item::EMAIL.eq(email.as_str()));
                answer(session.all(items.for_update()).map(plain))
            }
            Operation::ReadAll => {
                let items = Item::select().all_shards().order_by(Item::ID.asc());
                answer(session.all(items.for_update()).map(plain))
            }
            Operation::AddMark { id, item, code } => self.on(session, *item, |session, row| {
                session.add(Mark { id: id + 100 * row.id, item: row.link(), code: code.clone() })?;
                answer(session.flush())
            }),
            Operation::ChangeMark { code, to } => {
                let mark = Mark::select().filter(Mark::CODE.eq(code.as_str()));
                let Some(mut mark) = session.first(mark.for_update())? else { return answer(Ok("none")) };
                mark.code = to.clone();
                session.update(&mut mark)?;
                answer(session.flush())
            }
            Operation::DeleteMark(code) => {
                answer(session.execute(Mark::delete().filter(Mark::CODE.eq(code.as_str()))))
            }
            Operation::Undone(operation) => {
                let mut answered = String::new();
                let undone = session.savepoint(|session| {
                    answered = operation.run(session, new)?;
                    Err::<(), _>(Error::from(ValueError::new(UNDONE)))
                });
                match undone {
                    Err(error) if error.to_string().contains(UNDONE) => Ok(answered),
                    undone => answer(undone),
                }
            }
            Operation::Commit => answer(session.commit().map(drop)),
            Operation::Rollback => {
                session.rollback();
                answer(Ok(()))
            }
        }
    }

    /// Runs something with the row of an id, if there is one.
    fn on(
        &self,
        session: &mut Session,
        id: i64,
        run: impl FnOnce(&mut Session, Stored<Item>) -> Result<String>,
    ) -> Result<String> {
        let row = session.first(Item::select().all_shards().filter(Item::ID.eq(id)).for_update())?;
        row.map_or_else(|| answer(Ok("none")), |row| run(session, row))
    }
}

const UNDONE: &str = "undone by the test";

fn answer<O: Debug>(answered: Result<O>) -> Result<String> {
    answered.map(|answered| format!("{answered:?}"))
}

fn plain(rows: Vec<Stored<Item>>) -> Vec<Item> {
    rows.iter().map(|row| Item::clone(row)).collect()
}

/// All rows, in an order that does not depend on their shards.
fn rows(cluster: &Cluster) -> (Vec<Item>, Vec<(i64, i64, String)>) {
    let mut session = cluster.session();
    let items = plain(session.all(Item::select().all_shards().order_by(Item::ID.asc())).unwrap());
    let marks = session.all(Mark::select().all_shards().order_by(Mark::ID.asc())).unwrap();
    (items, marks.iter().map(|mark| (mark.id, *mark.item.id(), mark.code.clone())).collect())
}

/// Runs one sequence on both clusters; returns how many answers were compared.
fn sequence(cluster: &Cluster, table: &Cluster, random: &mut Random) -> usize {
    let both = [cluster, table];
    for cluster in both {
        let fill = |session: &mut Session| {
            session.execute(Mark::delete().all_shards())?;
            session.execute(Item::delete().all_shards())?;
            let email = |id: i64| Some(format!("address {id}"));
            session.add_all((0..4).map(|id| Item { id, home: id, email: email(id), n: id, version: 1 }))
        };
        cluster.transaction(fill).unwrap();
    }
    let mut sessions = both.map(|cluster| [cluster.session(), cluster.session()]);
    let (mut log, mut compared, mut new) = (String::new(), 0, 9);
    for _ in 0..14 {
        let (session, operation) = (random.below(2) as usize, Operation::random(random));
        new += 1;
        let [there, here] = &mut sessions;
        let answered = operation.run(&mut there[session], new);
        log += &format!("{session} {operation:?}: {answered:?}\n");
        let is_busy = answered.as_ref().is_err_and(|error| error.kind() == ErrorKind::Busy);
        if !is_busy {
            let expected = operation.run(&mut here[session], new);
            match (&answered, &expected) {
                (Ok(answered), Ok(expected)) => assert_eq!(answered, expected, "\n{log}"),
                // One table may lock before it finds the fault that the shards find before they lock.
                (Err(answered), Err(expected)) => {
                    let kinds = [answered.kind(), ErrorKind::Busy];
                    assert!(kinds.contains(&expected.kind()), "one table: {expected}\n{log}");
                }
                _ => panic!("one table: {expected:?}\n{log}"),
            }
            compared += 1;
        }
        if answered.is_err() {
            there[session].rollback();
            here[session].rollback();
        }
    }
    sessions.iter_mut().flatten().for_each(|session| drop(session.commit().unwrap()));
    drop(sessions);
    assert_eq!(rows(cluster), rows(table), "\n{log}");
    for cluster in both {
        let report = cluster.verify().unwrap();
        assert!(report.is_sound(), "{report:?}\n{log}");
    }
    compared
}

/// Runs sequences: `SHARDED_SEQUENCES` of them, or a few.
pub fn run(kind: Kind) {
    let folder = TempDir::new().unwrap();
    let file = format!("sqlite:{}", folder.path().join("a.db").display());
    let prefix = format!("sequences_{kind:?}").to_lowercase();
    let schema = |index: usize, name: &str| format!("{}?schema={prefix}_{name}", server(index).url());
    let urls = match kind {
        Kind::Servers => [schema(0, "a"), schema(1, "b"), schema(2, "c")],
        Kind::Mixed => [file, schema(1, "b"), schema(2, "c")],
        Kind::Files | Kind::Schemas => [schema(0, "a"), schema(0, "b"), schema(0, "c")],
    };
    let shards = ["a", "b", "c"].into_iter().zip(urls);
    let builder = shards.fold(Cluster::builder(), |builder, (name, url)| builder.shard(name, url));
    // How long an operation waits for a lock of the other session, which cannot continue meanwhile.
    let timeout = Duration::from_millis(200);
    let cluster = builder.busy_timeout(timeout).create::<Models>().unwrap();
    let table = Cluster::builder().shard("one", schema(0, "one")).busy_timeout(timeout);
    let table = table.create::<Models>().unwrap();
    let count = std::env::var("SHARDED_SEQUENCES").map_or(12, |count| count.parse().unwrap());
    let seed = seed();
    println!("SHARDED_SEED={seed}");
    let compared: usize =
        (0..count).map(|number| sequence(&cluster, &table, &mut Random(seed.wrapping_add(number)))).sum();
    println!("{count} sequences, {compared} answers compared");
    assert!(compared as u64 > count * 4, "{compared}");
}
