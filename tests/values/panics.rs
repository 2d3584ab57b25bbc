//! The state of a call ends with the call, also by a panic of the caller's code: R57. The session is then as after an error:
//! the work of the call is undone, earlier work stays, and none of the call's limits is left.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use shard_runtime::{
    Cluster, ColumnType, Error, ErrorKind, Field, Parent, Session, Sharded, Value, ValueError, sqlite,
};

use crate::backend::{Backend, LETTERS, assert_error};
use crate::edges::Home;

on_every_backend! {
    r57_a_partial_answer_ends_with_its_call,
    r57_a_timeout_ends_with_its_call,
    r57_a_partial_answer_within_a_time_gives_its_connections_back,
    r57_a_visitor_that_panics_leaves_the_session_reading,
    r57_an_iterator_that_panics_keeps_the_settings_of_its_session,
    r57_a_savepoint_is_undone_by_a_panic,
    r57_a_transaction_is_undone_by_a_panic,
    r57_a_closure_that_moves_a_row_may_panic,
    r57_values_and_iterators_may_panic,
    r57_async_sessions_go_on_after_a_rollback;
    only SQLite: r57_a_lent_connection_is_taken_back;
    // Hundreds of statements: once for files, and once beside a server.
    only Files Everything: r57_the_hook_may_panic_at_every_statement,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "items")]
struct Item {
    #[id]
    id: i64,
    #[shard_key]
    home: Home,
    #[version]
    version: i64,
    #[lookup]
    name: String,
    weight: Weight,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "parts")]
struct Part {
    #[id]
    id: i64,
    #[shard_parent]
    item: Parent<Item>,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "counted")]
struct Counted {
    #[id(auto)]
    id: i64,
    #[shard_key]
    home: Home,
}

/// A value that cannot be written if it is 13, nor read if it is 15.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Weight(i64);

impl Field for Weight {
    const TYPE: ColumnType = ColumnType::Integer;

    fn to_value(&self) -> Result<Value<'_>, ValueError> {
        assert!(self.0 != 13, "on purpose");
        Ok(Value::Integer(self.0))
    }

    fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
        let weight = i64::from_value(value)?;
        assert!(weight != 15, "on purpose");
        Ok(Weight(weight))
    }
}

type Models = (Item, Part, Counted);

fn item(id: i64) -> Item {
    let home = Home::ALL[usize::try_from(id % 3).unwrap()];
    Item { id, home, version: 1, name: format!("name {id}"), weight: Weight(id % 10) }
}

/// A cluster with 90 items, whose statement hook panics when so many more statements have ended.
struct Armed {
    cluster: Cluster,
    left: Arc<AtomicI64>,
}

impl Armed {
    fn new(backend: &Backend) -> Self {
        let left = Arc::new(AtomicI64::new(i64::MAX));
        let counter = Arc::clone(&left);
        let hook = move |_: &shard_runtime::StatementEvent<'_>| {
            assert!(counter.fetch_sub(1, Ordering::Relaxed) != 0, "on purpose");
        };
        let cluster = backend.builder(&LETTERS).on_statement(hook).create::<Models>().unwrap();
        let mut session = cluster.session();
        let items = session.add_all((0..90).map(item)).unwrap();
        session.add_all(items.iter().take(9).map(|item| Part { id: item.id, item: item.link() })).unwrap();
        session.commit().unwrap();
        Armed { cluster, left }
    }

    /// Does something whose statement after so many panics, if there is one; whether it has.
    fn panics(&self, after: i64, run: impl FnOnce()) -> bool {
        self.left.store(after, Ordering::Relaxed);
        let panicked = caught(run);
        self.left.store(i64::MAX, Ordering::Relaxed);
        panicked
    }

    /// The stored rows, as another session sees them.
    fn stored(&self) -> (Vec<Item>, usize, usize) {
        let mut session = self.cluster.session();
        let items = session.all(Item::select().all_shards().order_by(Item::ID.asc())).unwrap();
        let parts = session.all(Part::select().all_shards()).unwrap().len();
        let counted = session.all(Counted::select().all_shards()).unwrap().len();
        (items.iter().map(|item| (**item).clone()).collect(), parts, counted)
    }
}

/// Whether something panics, and does so on purpose.
fn caught(run: impl FnOnce()) -> bool {
    let Err(thrown) = catch_unwind(AssertUnwindSafe(run)) else { return false };
    let text = thrown.downcast_ref::<&str>().copied().or(thrown.downcast_ref::<String>().map(String::as_str));
    assert!(text.is_some_and(|text| text.contains("on purpose")), "{text:?}");
    true
}

fn ids(session: &mut Session) -> shard_runtime::Result<usize> {
    session.all(Item::select().all_shards().order_by(Item::ID.asc())).map(|items| items.len())
}

fn r57_a_partial_answer_ends_with_its_call(backend: &Backend) {
    backend.does_not_wait_long();
    let armed = Armed::new(backend);
    let mut session = armed.cluster.session();
    assert!(armed.panics(0, || drop(session.all_available(Item::select().all_shards()))));
    // A shard that does not answer is an error again.
    session.set_timeout(Some(Duration::ZERO));
    assert_error(session.all(Item::select().all_shards()), ErrorKind::TimedOut, &["shard `"]);
    session.set_timeout(None);
    let mut other = armed.cluster.session();
    let locked = || Item::select().all_shards().for_update();
    other.all(locked()).unwrap();
    assert_error(session.all(locked()), ErrorKind::Busy, &["shard `"]);
    drop(other);
    assert_eq!(session.all(locked()).unwrap().len(), 90);
}

fn r57_a_timeout_ends_with_its_call(backend: &Backend) {
    let armed = Armed::new(backend);
    let mut session = armed.cluster.session();
    let by_id = || Item::select().all_shards().order_by(Item::ID.asc());
    for shards in [1, 3] {
        session.set_timeout(Some(Duration::from_millis(600)));
        assert!(caught(|| {
            let on_one = Item::select().on_shard("a").order_by(Item::ID.asc());
            let _ = if shards == 1 {
                session.for_each(on_one, |_| panic!("on purpose"))
            } else {
                session.for_each(by_id(), |_| panic!("on purpose"))
            };
        }));
        // By then the timeout of that call would be over.
        std::thread::sleep(Duration::from_millis(700));
        session.set_timeout(None);
        assert_eq!(ids(&mut session).unwrap(), 90);
        session.set_timeout(Some(Duration::from_secs(60)));
        assert!(armed.panics(0, || drop(session.get(Item::by_id(5).on(Home::C)))));
        assert_eq!(ids(&mut session).unwrap(), 90);
        session.rollback();
        session.set_timeout(None);
        assert_eq!(ids(&mut session).unwrap(), 90);
    }
}

fn r57_a_visitor_that_panics_leaves_the_session_reading(backend: &Backend) {
    let armed = Armed::new(backend);
    let mut session = armed.cluster.session();
    let mut first = session.get(Item::by_id(1).on(Home::B)).unwrap().unwrap();
    first.weight = Weight(77);
    session.update(&mut first).unwrap();
    session.flush().unwrap();
    for after in [0, 1, 50, 89] {
        let mut rows = 0;
        assert!(caught(|| {
            let visit = |_| {
                rows += 1;
                assert!(rows <= after, "on purpose");
                Ok(ControlFlow::Continue(()))
            };
            let _ = session.for_each(Item::select().all_shards().order_by(Item::ID.asc()), visit);
        }));
        assert_eq!(ids(&mut session).unwrap(), 90);
    }
    // Earlier writes are kept, and are committed.
    session.commit().unwrap();
    assert_eq!(armed.stored().0[1].weight, Weight(77));
}

fn r57_an_iterator_that_panics_keeps_the_settings_of_its_session(backend: &Backend) {
    const ENDLESS: &str =
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) AS x FROM n";
    let armed = Armed::new(backend);
    let bad = shard_runtime::Sql::new("UPDATE {items} SET weight = 15 WHERE id = 1").all_shards();
    armed.cluster.transaction(|session| session.execute(bad.clone())).unwrap();
    let mut session = armed.cluster.session();
    session.set_timeout(Some(Duration::from_secs(2)));
    session.add(NewCounted { home: Home::A }).unwrap();
    let mut rows = session.iter(Item::select().all_shards().order_by(Item::ID.asc()));
    assert!(caught(|| while rows.next().is_some() {}));
    drop(rows);
    assert_error(session.commit(), ErrorKind::TransactionAborted, &["panicked"]);
    session.rollback();
    assert_eq!(session.one(Counted::select().all_shards().count()).unwrap(), 0);
    let endless = shard_runtime::Sql::new(ENDLESS).on_shard("b");
    assert_error(session.all(endless), ErrorKind::TimedOut, &["shard `b`"]);
}

/// Writes and reads in every way, on shards that it has written before and on others.
type Step = fn(&mut Session) -> shard_runtime::Result<()>;

const STEPS: [(&str, Step); 12] = [
    ("add", |session| session.add_all((100..103).map(item)).map(drop).and_then(|()| session.flush())),
    ("add counted", |session| session.add_all(Home::ALL.map(|home| NewCounted { home })).map(drop)),
    ("add many", |session| {
        session.add_all((1_000..18_000).map(|id| NewCounted { home: item(id).home })).map(drop)
    }),
    ("save", |session| session.save(Item { weight: Weight(50), ..item(3) }).map(drop)),
    ("save new", |session| session.save(item(200)).map(drop)),
    ("update", |session| {
        let mut item = session.one(Item::select().filter(Item::NAME.eq("name 4")))?;
        item.weight = Weight(60);
        session.update(&mut item)?;
        session.flush()
    }),
    ("update a lookup", |session| {
        let mut item = session.one(Item::select().filter(Item::NAME.eq("name 5")))?;
        item.name = "another".into();
        session.update(&mut item)
    }),
    ("delete", |session| {
        let item = session.one(Item::select().filter(Item::NAME.eq("name 66")))?;
        session.delete(&item)?;
        session.flush()
    }),
    ("bulk update", |session| {
        session.execute(Item::update().set(Item::WEIGHT, Weight(70)).all_shards()).map(drop)
    }),
    ("bulk delete", |session| session.execute(Item::delete().filter(Item::ID.ge(60)).all_shards()).map(drop)),
    ("relocate", |session| {
        let mut item = session.one(Item::select().filter(Item::NAME.eq("name 7")))?;
        session.relocate(&mut item, |item| item.home = Home::A).map(drop)
    }),
    ("read", |session| session.all_with::<Part>(Item::select().all_shards()).map(drop)),
];

fn r57_the_hook_may_panic_at_every_statement(backend: &Backend) {
    let armed = Armed::new(backend);
    let before = armed.stored();
    for (name, step) in STEPS {
        // The stored rows if the last statement only reads the written rows, and these are committed.
        let whole = {
            let other = Backend::new(backend.kind);
            let armed = Armed::new(&other);
            armed.cluster.transaction(step).unwrap();
            armed.stored()
        };
        // As it is without a panic.
        let mut session = armed.cluster.session();
        step(&mut session).unwrap();
        session.rollback();
        // The rows that were waiting before a flush that panics wait on, as after an error that is no row's fault.
        let waits = ["add", "update", "delete"].contains(&name);
        for after in 0.. {
            for writes_before in [false, true] {
                let mut session = armed.cluster.session();
                if writes_before {
                    session
                        .execute(
                            Item::update().set(Item::WEIGHT, Weight(40)).filter(Item::ID.lt(1)).all_shards(),
                        )
                        .unwrap();
                }
                let panicked = armed.panics(after, || step(&mut session).unwrap());
                if !panicked {
                    session.rollback();
                    continue;
                }
                // Reading continues, and sees all that was there.
                let seen = ids(&mut session);
                match seen {
                    Ok(seen) if waits => {
                        assert!([89, 90, 93].contains(&seen), "{name} after {after}: {seen}")
                    }
                    // The last statement may only read the written rows.
                    Ok(seen) => assert!([90, whole.0.len()].contains(&seen), "{name} after {after}: {seen}"),
                    Err(error) => {
                        assert_eq!(
                            error.kind(),
                            ErrorKind::TransactionAborted,
                            "{name} after {after}: {error}"
                        )
                    }
                }
                session.rollback();
                // The same once more, and undone.
                step(&mut session).unwrap_or_else(|error| panic!("{name} after {after}: {error}"));
                session.rollback();
                // Nothing half-done is committed.
                let panicked = armed.panics(after, || step(&mut session).unwrap());
                assert!(panicked, "{name} after {after}");
                if !waits && session.commit().is_ok() {
                    let stored = armed.stored();
                    if stored == whole {
                        return_to(&armed, &before.0);
                    }
                    assert_eq!(armed.stored(), before, "{name} after {after}");
                }
                session.rollback();
            }
            let mut session = armed.cluster.session();
            if !armed.panics(after, || step(&mut session).unwrap()) {
                break;
            }
            // A large flush has hundreds of statements.
            if after > if name == "add many" { 2 } else { 40 } {
                break;
            }
        }
        assert_eq!(armed.stored(), before, "{name}");
        assert!(armed.cluster.verify().unwrap().lookup_problems().is_empty(), "{name}");
    }
}

/// Puts rows back that a step has changed.
fn return_to(armed: &Armed, before: &[Item]) {
    let undo = |session: &mut Session| {
        session.execute(Item::delete().filter(Item::ID.ge(200)).all_shards())?;
        session.execute(Counted::delete().all_shards())?;
        for was in before {
            let mut is = session.one(Item::select().all_shards().filter(Item::ID.eq(was.id)))?;
            if (*is).clone() != *was {
                session.relocate(&mut is, |is| *is = was.clone())?;
                let version = format!("UPDATE {{items}} SET version = {} WHERE id = {}", was.version, was.id);
                session.execute(shard_runtime::Sql::new(version).on_shard(is.shard().name()))?;
            }
        }
        Ok(())
    };
    armed.cluster.transaction(undo).unwrap();
}

fn r57_a_savepoint_is_undone_by_a_panic(backend: &Backend) {
    let armed = Armed::new(backend);
    let mut session = armed.cluster.session();
    session.add(item(100)).unwrap();
    for _ in 0..2 {
        assert!(caught(|| {
            let _: Result<(), Error> = session.savepoint(|session| {
                session.add(item(101))?;
                session.execute(Item::delete().all_shards().filter(Item::ID.ge(30)))?;
                session.savepoint(|session| {
                    session.add(item(102))?;
                    session.flush()?;
                    panic!("on purpose")
                })
            });
        }));
        assert_eq!(ids(&mut session).unwrap(), 91);
    }
    // The whole can be committed: no savepoint is open.
    session.savepoint(|session| session.add(item(103)).map(drop)).unwrap();
    session.commit().unwrap();
    let ids: Vec<i64> = armed.stored().0.iter().map(|item| item.id).skip(90).collect();
    assert_eq!(ids, [100, 103]);
    assert!(armed.cluster.verify().unwrap().lookup_problems().is_empty());
}

fn r57_a_transaction_is_undone_by_a_panic(backend: &Backend) {
    let armed = Armed::new(backend);
    let before = armed.stored();
    for _ in 0..3 {
        assert!(caught(|| {
            let _: Result<(), Error> = armed.cluster.transaction(|session| {
                session.add_all((100..130).map(item))?;
                session.flush()?;
                panic!("on purpose")
            });
        }));
        assert_eq!(armed.stored(), before);
    }
    armed.cluster.transaction(|session| session.add_all((100..130).map(item)).map(drop)).unwrap();
    assert_eq!(armed.stored().0.len(), 120);
}

fn r57_a_closure_that_moves_a_row_may_panic(backend: &Backend) {
    let armed = Armed::new(backend);
    let mut session = armed.cluster.session();
    let mut item = session.one(Item::select().filter(Item::NAME.eq("name 8"))).unwrap();
    let before = item.clone();
    assert!(caught(|| drop(session.relocate(&mut item, |_| panic!("on purpose")))));
    assert_eq!(item, before);
    session.relocate(&mut item, |item| item.home = Home::A).unwrap();
    session.commit().unwrap();
    assert_eq!((item.shard().name(), ids(&mut session).unwrap()), ("a", 90));
    // A row whose update panics has its version still, and its change.
    let mut item = session.one(Item::select().filter(Item::NAME.eq("name 1"))).unwrap();
    item.name = "changed".into();
    assert!(armed.panics(0, || session.update(&mut item).unwrap()));
    assert_eq!((item.version, item.name.as_str()), (1, "changed"));
    session.update(&mut item).unwrap();
    session.commit().unwrap();
    assert_eq!(session.one(Item::select().filter(Item::NAME.eq("changed"))).unwrap().version, 2);
}

/// Beside servers each database is read by a thread of its own, with the session's connection.
fn r57_a_partial_answer_within_a_time_gives_its_connections_back(backend: &Backend) {
    let armed = Armed::new(backend);
    let mut session = armed.cluster.session();
    for has_written in [false, true] {
        let unlucky = Item::update().set(Item::WEIGHT, Weight(15)).filter(Item::ID.eq(88));
        session.execute(unlucky.all_shards()).unwrap();
        if !has_written {
            session.commit().unwrap();
        }
        session.set_timeout(Some(Duration::from_secs(60)));
        let query = || Item::select().all_shards();
        for query in [query(), query().order_by(Item::ID.asc())] {
            assert!(caught(|| drop(session.all_available(query))));
        }
        session.set_timeout(None);
        session
            .execute(Item::update().set(Item::WEIGHT, Weight(8)).filter(Item::ID.eq(88)).all_shards())
            .unwrap();
        session.add(item(if has_written { 101 } else { 102 })).unwrap();
        session.commit().unwrap();
        assert_eq!(armed.stored().0[88].weight, Weight(8));
    }
    assert_eq!(armed.stored().0.len(), 92);
}

fn r57_values_and_iterators_may_panic(backend: &Backend) {
    let armed = Armed::new(backend);
    let before = armed.stored();
    let mut session = armed.cluster.session();
    let unlucky = |id: i64| Item { weight: Weight(13), ..item(id) };
    assert!(caught(|| drop(session.add(unlucky(100)))));
    assert!(caught(|| drop(session.save(unlucky(100)))));
    assert!(caught(|| drop(session.add_all([item(101), unlucky(100)]))));
    let items = (1_000..40_000).map(|id| {
        assert!(id != 35_000, "on purpose");
        NewCounted { home: item(id).home }
    });
    assert!(caught(|| drop(session.add_all(items))));
    session.commit().unwrap();
    assert_eq!(armed.stored(), before);
    // A value that cannot be read.
    session
        .execute(Item::update().set(Item::WEIGHT, Weight(15)).filter(Item::ID.eq(89)).all_shards())
        .unwrap();
    for _ in 0..2 {
        assert!(caught(|| drop(ids(&mut session))));
        assert!(caught(|| drop(session.get(Item::by_id(89).on(Home::C)))));
        let others = Item::select().all_shards().filter(Item::ID.ne(89)).order_by(Item::ID.asc());
        assert_eq!(session.all(others).unwrap().len(), 89);
    }
    session.rollback();
    assert_eq!(armed.stored(), before);
}

fn r57_async_sessions_go_on_after_a_rollback(backend: &Backend) {
    let armed = Armed::new(backend);
    let before = armed.stored();
    smol::block_on(async {
        let mut session = armed.cluster.async_session();
        session.set_timeout(Some(Duration::from_secs(60)));
        let panicked = session.run(|session| -> Result<(), Error> {
            session.add_all((100..130).map(item))?;
            session.flush()?;
            panic!("on purpose")
        });
        assert_error(panicked.await, ErrorKind::TransactionAborted, &["on purpose"]);
        assert_error(session.commit().await, ErrorKind::TransactionAborted, &[]);
        session.rollback().await;
        armed.left.store(0, Ordering::Relaxed);
        assert_error(
            session.all_available(Item::select().all_shards()).await,
            ErrorKind::TransactionAborted,
            &["on purpose"],
        );
        armed.left.store(i64::MAX, Ordering::Relaxed);
        session.rollback().await;
        assert_eq!(session.all(Item::select().all_shards()).await.unwrap().len(), 90);
        session.add(item(100)).await.unwrap();
        session.commit().await.unwrap();
        session.delete(&session_item(&armed)).await.unwrap();
        session.commit().await.unwrap();
    });
    assert_eq!(armed.stored(), before);
}

fn session_item(armed: &Armed) -> shard_runtime::Stored<Item> {
    armed.cluster.session().one(Item::select().filter(Item::NAME.eq("name 100"))).unwrap()
}

fn r57_a_lent_connection_is_taken_back(backend: &Backend) {
    let armed = Armed::new(backend);
    let mut session = armed.cluster.session();
    session
        .execute(Item::update().set(Item::WEIGHT, Weight(40)).filter(Item::ID.eq(1)).all_shards())
        .unwrap();
    let table = backend.table("b", "items");
    for hook in [false, true] {
        let run = || {
            let lent = sqlite::with_connection(&mut session, "b", |connection| {
                connection.execute(&format!("DELETE FROM {table} WHERE id >= 30"), [])?;
                assert!(hook, "on purpose");
                Ok(())
            });
            lent.unwrap();
        };
        assert!(if hook { armed.panics(0, run) } else { caught(run) });
        assert_eq!(ids(&mut session).unwrap(), 90);
    }
    session.savepoint(|session| session.add(item(100)).map(drop)).unwrap();
    assert_eq!(ids(&mut session).unwrap(), 91);
    assert!(session.commit().is_ok());
    assert_eq!(armed.stored().0[1].weight, Weight(40));
}
