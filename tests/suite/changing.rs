//! Changed and removed rows are pending and sent in batches: R23, R31, R32, R33.

use shard_runtime::{Error, ErrorKind, Session, Sharded, Stored};

use crate::backend::{Backend, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_backend! {
    r31_changes_wait_and_are_sent_in_batches,
    r31_no_foreign_key_is_broken_on_the_way,
    r31_of_one_row_everything_is_done_in_its_order,
    r31_a_row_with_the_id_of_a_removed_one,
    r23_pending_changes_are_read,
    r32_one_row_that_has_moved_on_undoes_all,
    r32_a_refused_change_names_its_row,
    r32_changes_that_cannot_be_sent_stay_pending,
    r33_a_part_undoes_its_changes,
    a_rollback_forgets_pending_changes;
    only SQLite:
    r31_many_changes_are_one_prepared_statement,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "tasks", unique(team, place))]
struct Task {
    #[id]
    id: i64,
    #[shard_key(hash)]
    team: i64,
    title: String,
    done: bool,
    shelf: i64,
    place: Option<i64>,
    #[version]
    version: i64,
}

fn task(id: i64) -> Task {
    Task {
        id,
        team: id / 3 % 12,
        title: format!("task {id}"),
        done: false,
        shelf: 0,
        place: None,
        version: 1,
    }
}

fn with_tasks(backend: &Backend, count: i64) -> (Watched, Vec<Stored<Task>>) {
    let cluster = backend.create::<Task>(&LETTERS);
    let mut session = cluster.session();
    let tasks = session.add_all((0..count).map(task)).unwrap();
    session.commit().unwrap();
    (cluster, tasks)
}

fn titles(session: &mut Session, title: &str) -> u64 {
    session.one(Task::select().filter(Task::TITLE.eq(title)).all_shards().count()).unwrap()
}

fn r31_changes_wait_and_are_sent_in_batches(backend: &Backend) {
    let (cluster, mut tasks) = with_tasks(backend, 300);
    let mut session = cluster.session();
    // Two ways to change a row, in turn, and rows that are removed between them.
    let ((), asked) = cluster.asked(|| {
        for (place, task) in tasks.iter_mut().enumerate() {
            match place % 3 {
                0 => task.title = "changed".into(),
                1 => task.done = true,
                _ => {
                    session.delete(task).unwrap();
                    continue;
                }
            }
            session.update(task).unwrap();
            assert_eq!(task.version, 2);
        }
    });
    assert!(asked.is_empty(), "nothing is sent before the flush: {asked:?}");
    let ((), counts) = cluster.counted(|| session.flush().unwrap());
    assert_eq!(counts.len(), LETTERS.len());
    // On each shard: two kinds of changes, and a removal.
    assert!(counts.iter().all(|(_, statements)| *statements == 3), "{counts:?}");
    session.commit().unwrap();
    let mut other = cluster.session();
    let all = other.all(Task::select().all_shards().order_by(Task::ID.asc())).unwrap();
    let expected: Vec<Task> = (0..300)
        .filter(|id| id % 3 != 2)
        .map(|id| match id % 3 {
            0 => Task { title: "changed".into(), version: 2, ..task(id) },
            _ => Task { done: true, version: 2, ..task(id) },
        })
        .collect();
    assert!(all.iter().map(|row| &**row).eq(&expected));
}

fn r31_many_changes_are_one_prepared_statement(backend: &Backend) {
    let (cluster, mut tasks) = with_tasks(backend, 40);
    let mut session = cluster.session();
    for task in &mut tasks {
        task.place = Some(task.id);
        task.shelf = -1;
        session.update(task).unwrap();
    }
    session.flush().unwrap();
    let sql: Vec<String> =
        cluster.sql().into_iter().map(|(_, sql)| sql).filter(|sql| sql.starts_with("UPDATE")).collect();
    assert!(sql.iter().all(|sql| sql.contains("\"shelf\"") && !sql.contains("\"title\"")), "{sql:?}");
}

fn r31_no_foreign_key_is_broken_on_the_way(backend: &Backend) {
    let cluster = backend.create::<Weather>(&crate::backend::CONTINENTS);
    let mut session = cluster.session();
    let mut old = session.add(city(Continent::Asia, "old")).unwrap();
    let mut report = session.add(NewReport { city: old.link(), temperature: 1.0 }).unwrap();
    let other = session.add(NewReport { city: old.link(), temperature: 2.0 }).unwrap();
    session.commit().unwrap();
    // Said in an order in which it could not be done: the new city comes first, the old one goes last.
    session.delete(&old).unwrap_or_else(|error| panic!("it waits: {error}"));
    session.delete(&other).unwrap();
    let new = session.add(city(Continent::Asia, "new")).unwrap();
    report.city = new.link();
    session.update(&mut report).unwrap();
    session.commit().unwrap();
    let mut session = cluster.session();
    let cities = session.all(City::select().all_shards()).unwrap();
    assert_eq!(cities, std::slice::from_ref(&new));
    assert_eq!(session.all(new.children::<Report>()).unwrap(), [report]);
    old.name = "again".into();
    let gone = session.update(&mut old).and_then(|()| session.flush());
    assert_error(gone, ErrorKind::NotFound, &["shard `asia`", "table `cities`", &format!("id {}", old.id)]);
}

fn r31_of_one_row_everything_is_done_in_its_order(backend: &Backend) {
    let (cluster, mut tasks) = with_tasks(backend, 12);
    let mut session = cluster.session();
    // Again and again, in one way and in another, and in the end more often than may wait.
    for round in 0..70 {
        for task in &mut tasks {
            match round % 2 {
                0 => task.title = format!("round {round}"),
                _ => task.shelf = round,
            }
            session.update(task).unwrap();
        }
    }
    let mut added = session.add(task(100)).unwrap();
    added.title = "changed before it was sent".into();
    session.update(&mut added).unwrap();
    let mut short = session.add(task(101)).unwrap();
    short.done = true;
    session.update(&mut short).unwrap();
    session.delete(&short).unwrap();
    session.commit().unwrap();
    let mut other = cluster.session();
    let all = other.all(Task::select().all_shards().order_by(Task::ID.asc())).unwrap();
    drop(other);
    assert_eq!(all.len(), 13);
    assert!(
        all[..12].iter().all(|task| (task.title.as_str(), task.shelf, task.version) == ("round 68", 69, 71))
    );
    assert_eq!((all[12].title.as_str(), all[12].version), ("changed before it was sent", 2));
    // A row with a pending removal is not changed, or removed again.
    let gone =
        |result: Result<(), Error>| assert_error(result, ErrorKind::NotFound, &["table `tasks`", "id 3"]);
    session.delete(&tasks[3]).unwrap();
    tasks[3].done = true;
    gone(session.update(&mut tasks[3]));
    gone(session.delete(&tasks[3]));
    session.commit().unwrap();
    assert_eq!(cluster.session().get::<Task>(3).unwrap(), None);
}

fn r31_a_row_with_the_id_of_a_removed_one(backend: &Backend) {
    let (cluster, tasks) = with_tasks(backend, 5);
    let mut session = cluster.session();
    session.delete(&tasks[2]).unwrap();
    session.add(Task { title: "another".into(), ..task(2) }).unwrap();
    session.commit().unwrap();
    assert_eq!(cluster.session().get::<Task>(2).unwrap().unwrap().title, "another");
}

fn r23_pending_changes_are_read(backend: &Backend) {
    let (cluster, mut tasks) = with_tasks(backend, 20);
    let mut session = cluster.session();
    let (first, rest) = tasks.split_first_mut().unwrap();
    first.title = "x".into();
    session.update(first).unwrap();
    assert_eq!(session.get::<Task>(first.id).unwrap().unwrap().title, "x");
    session.delete(&rest[0]).unwrap();
    assert_eq!(session.get::<Task>(rest[0].id).unwrap(), None);
    rest[1].title = "x".into();
    session.update(&mut rest[1]).unwrap();
    assert_eq!(titles(&mut session, "x"), 2);
    rest[2].title = "x".into();
    session.update(&mut rest[2]).unwrap();
    let bulk = Task::update().set(Task::TITLE, "y").filter(Task::TITLE.eq("x")).all_shards();
    assert_eq!(session.execute(bulk).unwrap(), 3);
    assert_eq!(session.one(Task::select().all_shards().count()).unwrap(), 19);
    // A row that is read again shows the sent changes.
    rest[3].title = "z".into();
    session.update(&mut rest[3]).unwrap();
    let mut same = rest[3].clone();
    session.reload(&mut same).unwrap();
    assert_eq!((same.title.as_str(), same.version), ("z", 2));
}

fn r32_one_row_that_has_moved_on_undoes_all(backend: &Backend) {
    let (cluster, mut tasks) = with_tasks(backend, 60);
    let mut theirs = tasks[41].clone();
    theirs.done = true;
    let mut other = cluster.session();
    other.update(&mut theirs).unwrap();
    other.commit().unwrap();
    let mut session = cluster.session();
    // The identity map has no values that were not stored.
    let mut known = session.get::<Task>(3).unwrap().unwrap();
    known.title = "mine".into();
    session.update(&mut known).unwrap();
    let mut stale = tasks[41].clone();
    stale.title = "mine".into();
    session.update(&mut stale).unwrap();
    assert_error(session.flush(), ErrorKind::Stale, &["row 41"]);
    assert_eq!(session.get::<Task>(3).unwrap().unwrap().title, "task 3");
    session.rollback();

    session.add(task(1_000)).unwrap();
    for task in &mut tasks {
        task.title = "mine".into();
        session.update(task).unwrap();
    }
    let shard = format!("shard `{}`", tasks[41].shard());
    let texts = [shard.as_str(), "table `tasks`", "row 41", "found 2", "expected version 1"];
    assert_error(session.commit(), ErrorKind::Stale, &texts);
    // Nothing of it is stored, and nothing waits.
    session.rollback();
    assert_eq!((titles(&mut session, "mine"), session.get::<Task>(1_000).unwrap()), (0, None));
    // All handles show that their changes are not stored, and can be sent again.
    session.reload(&mut tasks[41]).unwrap();
    for task in &mut tasks {
        task.title = "mine".into();
        session.update(task).unwrap();
    }
    session.commit().unwrap();
    assert_eq!(titles(&mut cluster.session(), "mine"), 60);
    assert_eq!((tasks[41].done, tasks[41].version, tasks[40].version), (true, 3, 2));
    // The same of rows that are removed.
    let mut other = cluster.session();
    other.delete(&tasks[17]).unwrap();
    other.commit().unwrap();
    let texts = [format!("shard `{}`", tasks[17].shard()), "table `tasks`".to_owned(), "id 17".to_owned()];
    let texts = texts.each_ref().map(String::as_str);
    for task in &tasks {
        session.delete(task).unwrap();
    }
    assert_error(session.flush(), ErrorKind::NotFound, &texts);
    session.rollback();
    assert_eq!(session.one(Task::select().all_shards().count()).unwrap(), 59);
}

fn r32_a_refused_change_names_its_row(backend: &Backend) {
    let (cluster, mut tasks) = with_tasks(backend, 200);
    let mut session = cluster.session();
    tasks[77].place = Some(5);
    session.update(&mut tasks[77]).unwrap();
    session.commit().unwrap();
    // Of many rows one has a place that is taken: 113 is of the same team as 77.
    for task in tasks.iter_mut().filter(|task| task.id != 77) {
        task.place = Some(if task.id == 113 { 5 } else { 1_000 + task.id });
        session.update(task).unwrap();
    }
    let texts = [format!("shard `{}`", tasks[77].shard()), "table `tasks`".to_owned(), "id 113".to_owned()];
    assert_error(session.flush(), ErrorKind::Unique, &texts.each_ref().map(String::as_str));
    session.commit().unwrap();
    let placed = Task::select().filter(!Task::PLACE.is_null()).all_shards().count();
    assert_eq!(cluster.session().one(placed).unwrap(), 1);
}

fn r32_changes_that_cannot_be_sent_stay_pending(backend: &Backend) {
    backend.does_not_wait_long();
    let (cluster, mut tasks) = with_tasks(backend, 30);
    let mut holder = cluster.session();
    holder.all(Task::select().all_shards().for_update()).unwrap();
    let mut session = cluster.session();
    for task in &mut tasks {
        task.title = "waits".into();
        session.update(task).unwrap();
    }
    assert_error(session.flush(), ErrorKind::Busy, &["shard `a`"]);
    holder.rollback();
    session.commit().unwrap();
    assert_eq!(titles(&mut cluster.session(), "waits"), 30);
    assert!(tasks.iter().all(|task| task.version == 2));
}

fn r33_a_part_undoes_its_changes(backend: &Backend) {
    let (cluster, mut tasks) = with_tasks(backend, 10);
    let mut session = cluster.session();
    tasks[0].title = "before".into();
    session.update(&mut tasks[0]).unwrap();
    let part: Result<(), Error> = session.savepoint(|session| {
        tasks[0].title = "inside".into();
        session.update(&mut tasks[0])?;
        session.delete(&tasks[1])?;
        tasks[2].place = Some(1);
        session.update(&mut tasks[2])?;
        Err(Error::from(shard_runtime::ValueError::new("on purpose")))
    });
    assert_error(part, ErrorKind::Value, &["on purpose"]);
    // The row has `inside`, the database has `before`.
    session.update(&mut tasks[0]).unwrap();
    session.commit().unwrap();
    let mut other = cluster.session();
    assert_eq!(titles(&mut other, "inside"), 1);
    assert_eq!(other.one(Task::select().all_shards().count()).unwrap(), 10);
    assert_eq!(other.get::<Task>(2).unwrap().unwrap().place, None);
}

fn a_rollback_forgets_pending_changes(backend: &Backend) {
    let (cluster, mut tasks) = with_tasks(backend, 10);
    let mut session = cluster.session();
    tasks[0].title = "x".into();
    session.update(&mut tasks[0]).unwrap();
    session.delete(&tasks[1]).unwrap();
    session.rollback();
    let ((), asked) = cluster.asked(|| drop(session.commit().unwrap()));
    assert!(asked.is_empty());
    assert_eq!(titles(&mut cluster.session(), "x"), 0);
    // The row still has `x`, which is a change.
    session.update(&mut tasks[0]).unwrap();
    session.delete(&tasks[1]).unwrap();
    session.commit().unwrap();
    assert_eq!(titles(&mut cluster.session(), "x"), 1);
    assert_eq!(cluster.session().one(Task::select().all_shards().count()).unwrap(), 9);
}
