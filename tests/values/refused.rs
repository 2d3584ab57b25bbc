//! Values that some database does not store, or returns in a form that no field holds.

use serde_json::json;
use shard_runtime::{ErrorKind, Sharded};

use crate::backend::{Backend, LETTERS, assert_error};
use crate::edges::*;

on_every_backend! {
    r43_a_value_that_one_database_cannot_store_is_refused_by_all;
    only lasting:
        r43_a_row_that_cannot_be_read_is_named_and_alone;
    only PostgreSQL:
        r43_infinity_is_named_and_alone,
}

fn nested(depth: usize) -> Json {
    (0..depth).fold(json!(1), |inner, _| json!({ "a": inner }))
}

fn r43_a_value_that_one_database_cannot_store_is_refused_by_all(backend: &Backend) {
    let cluster = backend.create::<Edge>(&LETTERS);
    let mut session = cluster.session();
    let mut row = session.add(Edge::at(0, Home::A)).unwrap();
    session.commit().unwrap();
    let before = row.texts();
    let early = Timestamp::from_microsecond(first_moment().as_microsecond() - 1).unwrap();
    let ((), asked) = cluster.asked(|| {
        macro_rules! refused {
            ($field:ident, $column:expr, $value:expr, $text:expr) => {
                let name = format!("column `{}`", stringify!($field));
                let texts = ["table `edges`", &name, $text];
                let wrong = |home| Edge { $field: $value, id: 1, ..Edge::at(0, home) };
                for home in Home::ALL {
                    assert_error(session.add(wrong(home)), ErrorKind::Value, &texts);
                    assert_error(session.add_all([Edge::at(2, home), wrong(home)]), ErrorKind::Value, &texts);
                    assert_error(session.save(wrong(home)), ErrorKind::Value, &texts);
                }
                row.$field = $value;
                assert_error(session.update(&mut row), ErrorKind::Value, &texts);
                row.$field = Edge::at(0, Home::A).$field;
                let set = Edge::update().set($column, $value).all_shards();
                assert_error(session.execute(set), ErrorKind::Value, &texts);
                assert_error(
                    session.all(Edge::select().all_shards().filter($column.eq($value))),
                    ErrorKind::Value,
                    &texts,
                );
                assert_error(
                    session.all(Edge::select().all_shards().filter($column.is_in([$value]))),
                    ErrorKind::Value,
                    &texts,
                );
                assert_error(
                    session.all(Edge::select().all_shards().filter($column.lt($value))),
                    ErrorKind::Value,
                    &texts,
                );
            };
        }
        refused!(at, Edge::AT, Timestamp::MIN, "4714 BC");
        refused!(at, Edge::AT, early, "4714 BC");
        refused!(moment, Edge::MOMENT, Moment(early), "4714 BC");
        refused!(document, Edge::DOCUMENT, json!("a\0"), "U+0000");
        refused!(document, Edge::DOCUMENT, json!([{ "\0": 1 }]), "U+0000");
        refused!(document, Edge::DOCUMENT, nested(128), "127 levels");
        refused!(written, Edge::WRITTEN, Text("{".into()), "not JSON");
        refused!(written, Edge::WRITTEN, Text(r#""\u0000""#.into()), "U+0000");
        refused!(text, Edge::TEXT, "a\0".to_owned(), "NUL");
        refused!(double, Edge::DOUBLE, f64::NAN, "NaN");
        refused!(single, Edge::SINGLE, f32::NAN, "NaN");
        refused!(large_natural, Edge::LARGE_NATURAL, u64::MAX, "greatest integer");
        session.commit().unwrap();
    });
    assert!(asked.is_empty(), "{asked:?}");
    session.update(&mut row).unwrap();
    session.reload(&mut row).unwrap();
    assert_eq!(row.texts(), before);
}

/// Puts a value into one row that is none of its column's, and reads that row and others.
fn unreadable(backend: &Backend, shard: &str, column: &str, value: &str, text: &str) {
    let cluster = backend.create::<Edge>(&LETTERS);
    let mut session = cluster.session();
    let home = Home::ALL[LETTERS.iter().position(|letter| *letter == shard).unwrap()];
    session.add_all((0..5).map(|position| Edge::at(position, home))).unwrap();
    session.commit().unwrap();
    backend
        .run(shard, &format!("UPDATE {} SET {column} = {value} WHERE id = 3", backend.table(shard, "edges")));
    let name = format!("column `{column}`");
    let texts = [&format!("shard `{shard}`"), "table `edges`", name.as_str(), "row with id 3", text];
    for _ in 0..2 {
        assert_error(session.get(Edge::by_id(3).on(home)), ErrorKind::Value, &texts);
        assert_error(session.all(Edge::select().all_shards()), ErrorKind::Value, &texts);
        assert_eq!(session.get(Edge::by_id(2).on(home)).unwrap().unwrap().id, 2);
        let others = Edge::select().all_shards().filter(Edge::ID.ne(3)).order_by(Edge::AT.asc());
        assert_eq!(session.all(others).unwrap().len(), 4);
        // Columns beside it can be read, and the row can be put right.
        assert_eq!(
            session.all(Edge::select().all_shards().columns((Edge::ID, Edge::NATURAL))).unwrap().len(),
            5
        );
        session.rollback();
    }
    session.save(Edge::at(3, home)).unwrap();
    session.commit().unwrap();
    assert_eq!(session.all(Edge::select().all_shards()).unwrap().len(), 5);
}

fn r43_a_row_that_cannot_be_read_is_named_and_alone(backend: &Backend) {
    for (shard, wrong) in LETTERS.into_iter().flat_map(|shard| {
        let sqlite = [
            ("at", "253402207201000000", "jiff::Timestamp"),
            ("truth", "2", "a boolean"),
            ("document", "'{'", "JSON"),
        ];
        let server = [
            ("at", "'9999-12-30T22:00:01Z'", "jiff::Timestamp"),
            ("tiny", "128", "i8"),
            ("size", "'x'", "Size"),
        ];
        let wrong = if backend.is_postgres(shard) { server } else { sqlite };
        wrong.map(|wrong| (shard, wrong))
    }) {
        let (column, value, text) = wrong;
        unreadable(&Backend::new(backend.kind), shard, column, value, text);
    }
}

fn r43_infinity_is_named_and_alone(backend: &Backend) {
    for shard in LETTERS.into_iter().filter(|shard| backend.is_postgres(shard)) {
        for value in ["infinity", "-infinity"] {
            unreadable(&Backend::new(backend.kind), shard, "at", &format!("'{value}'"), value);
        }
    }
}
