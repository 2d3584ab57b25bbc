//! `#[version]`: changes of another session are not overwritten: R32, R37, R38.

use shard_runtime::{Error, ErrorKind, Parent, Session, Sharded, Stored};

use crate::backend::{Backend, LETTERS, Watched, assert_error};

on_every_backend! {
    a_version_starts_at_one_and_is_raised_by_every_change,
    a_version_that_is_given_is_stored,
    a_row_that_has_moved_on_is_stale,
    a_row_that_has_moved_on_is_not_deleted,
    a_row_that_is_gone_is_not_found,
    a_bulk_update_raises_versions,
    a_version_that_the_application_sets_is_ignored,
    a_version_that_is_undone_is_the_one_before,
    a_version_at_its_end_is_refused,
    changes_over_several_shards_are_one_unit,
    r38_a_stale_unit_of_work_is_tried_again,
    r11_a_row_that_moves_is_looked_at_and_raised,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "drafts")]
struct Draft {
    #[id(sequence)]
    id: i64,
    #[shard_key(range("a" => ..1000, "b" => 1000..2000, "c" => 2000..))]
    place: i32,
    #[version]
    version: i64,
    text: String,
}

/// A child, whose id is the caller's and whose version is a short one.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "marks")]
struct Mark {
    #[id]
    id: i64,
    #[shard_parent]
    draft: Parent<Draft>,
    points: u32,
    #[version]
    #[sharded(column = "lock \"v\"")]
    lock: u32,
}

fn draft(place: i32) -> NewDraft {
    NewDraft { place, text: String::new() }
}

fn made(backend: &Backend) -> Watched {
    backend.create::<(Draft, Mark)>(&LETTERS)
}

/// A draft on shard `b`, in two hands.
fn in_two_hands(cluster: &Watched) -> (Stored<Draft>, Stored<Draft>) {
    let mut session = cluster.session();
    let draft = session.add(draft(1500)).unwrap();
    session.commit().unwrap();
    let mine = session.get::<Draft>(draft.id).unwrap().unwrap();
    let other = cluster.session().get::<Draft>(draft.id).unwrap().unwrap();
    (mine, other)
}

fn stored(cluster: &Watched, id: i64) -> (i64, String) {
    let draft = cluster.session().get::<Draft>(id).unwrap().unwrap();
    (draft.version, draft.text.clone())
}

fn change(session: &mut Session, row: &mut Stored<Draft>, text: &str) -> shard_runtime::Result<()> {
    row.text = text.to_owned();
    session.update(row)
}

fn a_version_starts_at_one_and_is_raised_by_every_change(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    let mut row = session.add(draft(5)).unwrap();
    assert_eq!(row.version, 1);
    for (text, version) in [("x", 2), ("y", 3)] {
        change(&mut session, &mut row, text).unwrap();
        assert_eq!(row.version, version);
        assert_eq!(session.get::<Draft>(row.id).unwrap().unwrap().version, version);
    }
    // Nothing is changed, and so nothing is sent.
    let ((), asked) = cluster.asked(|| change(&mut session, &mut row, "y").unwrap());
    assert!(asked.is_empty());
    session.commit().unwrap();
    assert_eq!(stored(&cluster, row.id), (3, "y".to_owned()));
    change(&mut session, &mut row, "z").unwrap();
    session.commit().unwrap();
    assert_eq!(stored(&cluster, row.id), (4, "z".to_owned()));
}

fn a_version_that_is_given_is_stored(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    let draft = session.add(draft(5)).unwrap();
    let mut mark = session.add(Mark { id: 9, draft: draft.link(), points: 0, lock: 40 }).unwrap();
    mark.points = 7;
    session.update(&mut mark).unwrap();
    session.commit().unwrap();
    let mark = session.one(draft.children::<Mark>()).unwrap();
    assert_eq!((mark.points, mark.lock), (7, 41));
    session.delete(&mark).unwrap();
    session.commit().unwrap();
    assert_eq!(session.one(Mark::select().all_shards().count()).unwrap(), 0);
}

fn a_row_that_has_moved_on_is_stale(backend: &Backend) {
    let cluster = made(backend);
    let (mut mine, mut other) = in_two_hands(&cluster);
    let mut session = cluster.session();
    change(&mut session, &mut other, "theirs").unwrap();
    session.commit().unwrap();
    let id = format!("row {}", mine.id);
    let texts = ["shard `b`", "table `drafts`", id.as_str(), "found 2", "expected version 1"];
    change(&mut session, &mut mine, "mine").unwrap();
    let (result, asked) = cluster.asked(|| session.flush());
    assert_error(result, ErrorKind::Stale, &texts);
    assert_eq!(asked, ["b"]);
    assert_eq!(mine.text.as_str(), "mine", "the row keeps its changes");
    // The handle also shows that they are not stored.
    session.update(&mut mine).unwrap();
    assert_error(session.flush(), ErrorKind::Stale, &texts);
    session.commit().unwrap();
    assert_eq!(stored(&cluster, mine.id), (2, "theirs".to_owned()));
    // Read again, it can be changed.
    session.reload(&mut mine).unwrap();
    change(&mut session, &mut mine, "mine").unwrap();
    session.commit().unwrap();
    assert_eq!(stored(&cluster, mine.id), (3, "mine".to_owned()));
}

fn a_row_that_has_moved_on_is_not_deleted(backend: &Backend) {
    let cluster = made(backend);
    let (mine, mut other) = in_two_hands(&cluster);
    let mut session = cluster.session();
    change(&mut session, &mut other, "theirs").unwrap();
    session.commit().unwrap();
    let deleted = session.delete(&mine).and_then(|()| session.flush());
    assert_error(deleted, ErrorKind::Stale, &["shard `b`", "table `drafts`", "found 2"]);
    session.commit().unwrap();
    assert_eq!(stored(&cluster, mine.id), (2, "theirs".to_owned()));
    // Changes that were not sent play no part.
    other.text = "unsent".to_owned();
    session.delete(&other).unwrap();
    session.commit().unwrap();
    assert_eq!(cluster.session().get::<Draft>(mine.id).unwrap(), None);
}

fn a_row_that_is_gone_is_not_found(backend: &Backend) {
    let cluster = made(backend);
    let (mut mine, other) = in_two_hands(&cluster);
    let mut session = cluster.session();
    session.delete(&other).unwrap();
    session.commit().unwrap();
    let id = format!("id {}", mine.id);
    let deleted = session.delete(&mine).and_then(|()| session.flush());
    assert_error(deleted, ErrorKind::NotFound, &["shard `b`", "table `drafts`", &id]);
    let changed = change(&mut session, &mut mine, "mine").and_then(|()| session.flush());
    assert_error(changed, ErrorKind::NotFound, &["shard `b`", &id]);
}

fn a_bulk_update_raises_versions(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    let rows = session.add_all([5, 1500, 2500].map(draft)).unwrap();
    session.commit().unwrap();
    let update = Draft::update().set(Draft::TEXT, "bulk").filter(Draft::PLACE.ge(1000));
    let explain = cluster.explain(&update).unwrap();
    assert!(explain.statements().all(|(_, sql)| sql.contains("version")), "{explain}");
    assert_eq!(session.execute(update).unwrap(), 2);
    session.commit().unwrap();
    let versions: Vec<i64> = rows.iter().map(|row| stored(&cluster, row.id).0).collect();
    assert_eq!(versions, [1, 2, 2]);
    let mut before = rows[1].clone();
    let changed = change(&mut session, &mut before, "mine").and_then(|()| session.flush());
    assert_error(changed, ErrorKind::Stale, &["shard `b`"]);
    // An update that sets nothing is still none.
    assert_error(session.execute(Draft::update().all_shards()), ErrorKind::Query, &["`drafts`"]);
}

fn a_version_that_the_application_sets_is_ignored(backend: &Backend) {
    let cluster = made(backend);
    let (mut mine, _) = in_two_hands(&cluster);
    let mut session = cluster.session();
    mine.version = 77;
    let ((), asked) = cluster.asked(|| session.update(&mut mine).unwrap());
    assert_eq!((asked.len(), mine.version), (0, 1));
    mine.version = 77;
    change(&mut session, &mut mine, "x").unwrap();
    assert_eq!(mine.version, 2);
    session.commit().unwrap();
    assert_eq!(stored(&cluster, mine.id), (2, "x".to_owned()));
}

fn a_version_that_is_undone_is_the_one_before(backend: &Backend) {
    let cluster = made(backend);
    let (mut mine, _) = in_two_hands(&cluster);
    let mut session = cluster.session();
    change(&mut session, &mut mine, "first").unwrap();
    let undone = session.savepoint(|session| {
        change(session, &mut mine, "second")?;
        change(session, &mut mine, "third")?;
        Err::<(), Error>(session.one(Draft::select().on_shard("a")).unwrap_err())
    });
    assert_eq!(undone.unwrap_err().kind(), ErrorKind::NotFound);
    session.update(&mut mine).unwrap();
    assert_eq!(mine.version, 3);
    session.rollback();
    session.update(&mut mine).unwrap();
    session.commit().unwrap();
    assert_eq!(stored(&cluster, mine.id), (2, "third".to_owned()));
    change(&mut session, &mut mine, "fourth").unwrap();
    session.rollback();
    session.delete(&mine).unwrap();
    session.commit().unwrap();
}

fn a_version_at_its_end_is_refused(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    let draft = session.add(draft(2500)).unwrap();
    let mut mark = session.add(Mark { id: 9, draft: draft.link(), points: 0, lock: u32::MAX }).unwrap();
    session.commit().unwrap();
    mark.points = 1;
    assert_error(session.update(&mut mark), ErrorKind::Value, &["table `marks`", "column `lock \"v\"`"]);
    let update = Mark::update().set(Mark::POINTS, 1).all_shards();
    let texts = ["shard `c`", "table `marks`", "column `lock \"v\"`", "4294967296"];
    assert_error(session.execute(update), ErrorKind::Value, &texts);
    session.rollback();
    assert_eq!(session.one(Mark::select().all_shards()).unwrap().points, 0);
}

fn changes_over_several_shards_are_one_unit(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    let mut rows = session.add_all([5, 1500, 2500].map(draft)).unwrap();
    session.commit().unwrap();
    for row in &mut rows {
        change(&mut session, row, "x").unwrap();
    }
    session.delete(&rows[2]).unwrap();
    session.execute(Draft::update().set(Draft::TEXT, "y").all_shards()).unwrap();
    assert!(session.commit().unwrap().pending().is_empty());
    let found: Vec<_> = rows[..2].iter().map(|row| stored(&cluster, row.id)).collect();
    assert_eq!(found, [(3, "y".to_owned()), (3, "y".to_owned())]);
}

fn r38_a_stale_unit_of_work_is_tried_again(backend: &Backend) {
    let cluster = made(backend);
    let (mine, mut other) = in_two_hands(&cluster);
    let mut tried = 0;
    cluster
        .transaction(|session| {
            tried += 1;
            // The first time with a row that was read before another session changed it.
            let mut row = match tried {
                1 => mine.clone(),
                _ => session.get::<Draft>(mine.id)?.expect("it is there"),
            };
            if tried == 1 {
                let mut first = cluster.session();
                change(&mut first, &mut other, "theirs")?;
                first.commit()?;
            }
            let text = format!("{} and mine", row.text);
            change(session, &mut row, &text)
        })
        .unwrap();
    assert_eq!((tried, stored(&cluster, mine.id)), (2, (3, "theirs and mine".to_owned())));
    // Not for ever: a row that stays stale is an error.
    let mut tried = 0;
    let result = cluster.transaction(|session| {
        tried += 1;
        change(session, &mut mine.clone(), "never")
    });
    assert_error(result, ErrorKind::Stale, &["shard `b`"]);
    assert_eq!(tried, 10);
}

fn r11_a_row_that_moves_is_looked_at_and_raised(backend: &Backend) {
    let cluster = backend.create::<(Draft, Mark)>(&LETTERS);
    let mut session = cluster.session();
    let mut draft = session.add(NewDraft { place: 5, text: "x".into() }).unwrap();
    session.commit().unwrap();
    let mut old = draft.clone();
    for (place, shard, version) in [(7, "a", 2), (1_500, "b", 3), (2_500, "c", 4)] {
        session.relocate(&mut draft, |draft| draft.place = place).unwrap();
        session.commit().unwrap();
        assert_eq!((draft.shard().name(), draft.version, draft.place), (shard, version, place));
    }
    session.relocate(&mut draft, |draft| draft.place = 6).unwrap();
    session.commit().unwrap();
    assert_eq!((draft.shard().name(), draft.version), ("a", 5));
    // A session that read it before it moved away and back does not move the row that is stored now.
    for place in [1_500, 7] {
        let stale = session.relocate(&mut old, |draft| draft.place = place);
        assert_error(
            stale,
            ErrorKind::Stale,
            &["shard `a`", "table `drafts`", "found 5", "expected version 1"],
        );
    }
    session.commit().unwrap();
    assert_eq!(cluster.session().one(Draft::select().all_shards()).unwrap(), draft);
}
