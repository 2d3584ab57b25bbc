//! Keys whose declarations hold characters with a meaning in Rust's formatting or in SQL, and enums that a model places.

use shard_runtime::{ErrorKind, ShardKey, Sharded};

use crate::backend::{Backend, LETTERS, assert_error};

on_every_backend! {
    r03_range_bounds_may_hold_any_character,
    r03_list_values_may_hold_any_character,
    r04_an_enum_without_shards_is_placed_by_hash,
}

/// Ranges are checked by the compiler, whose messages name the bounds.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "odd_ranges")]
struct Ranged {
    #[id]
    id: i64,
    #[shard_key(range(
        "a" => .."A\u{80}",
        "b" => "A\u{80}".."a{b}\"\\'",
        "a" => "a{b}\"\\'"..r#"}{ {0} "x" \ "#,
        "c" => r#"}{ {0} "x" \ "#..
    ))]
    key: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "odd_lists")]
struct Listed {
    #[id]
    id: i64,
    #[shard_key(list("{" => "a", "}" => "b", "{}" => "c", "'\"\\" => "a", "{0:?}" => "b"))]
    key: String,
}

/// Its shards are the model's affair.
#[derive(ShardKey, Clone, Copy, Debug, PartialEq, Eq)]
enum Color {
    Red,
    #[shard(text = "GREEN {}")]
    Green,
    Blue,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "odd_colors")]
struct Colored {
    #[id]
    id: i64,
    #[shard_key(hash)]
    color: Color,
}

/// The same with the texts that the colors are stored as.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "odd_names")]
struct Named {
    #[id]
    id: i64,
    #[shard_key(hash)]
    color: String,
}

fn r03_range_bounds_may_hold_any_character(backend: &Backend) {
    let cluster = backend.create::<Ranged>(&LETTERS);
    let mut session = cluster.session();
    let keys = [
        ("", "a"),
        ("A", "a"),
        ("A\u{80}", "b"),
        ("a{b", "b"),
        ("a{b}\"\\'", "a"),
        ("}{ {0}", "a"),
        (r#"}{ {0} "x" \ "#, "c"),
        ("\u{10FFFF}", "c"),
    ];
    for (id, (key, shard)) in (0..).zip(keys) {
        let row = session.add(Ranged { id, key: key.into() }).unwrap();
        assert_eq!(row.shard().name(), shard, "{key:?}");
    }
    session.commit().unwrap();
    for (id, (key, shard)) in (0..).zip(keys) {
        let (rows, asked) =
            cluster.asked(|| cluster.session().all(Ranged::select().filter(Ranged::KEY.eq(key))).unwrap());
        assert_eq!((rows.len(), rows[0].id, asked.as_slice()), (1, id, &[shard.to_owned()][..]), "{key:?}");
    }
    drop((session, cluster));
    if backend.is_lasting() {
        // The recorded layout holds the bounds as they are.
        backend.open::<Ranged>(&LETTERS).unwrap();
    }
}

fn r03_list_values_may_hold_any_character(backend: &Backend) {
    let cluster = backend.create::<Listed>(&LETTERS);
    let mut session = cluster.session();
    let keys = [("{", "a"), ("}", "b"), ("{}", "c"), ("'\"\\", "a"), ("{0:?}", "b")];
    for (id, (key, shard)) in (0..).zip(keys) {
        let row = session.add(Listed { id, key: key.into() }).unwrap();
        assert_eq!(row.shard().name(), shard, "{key:?}");
    }
    let unlisted = session.add(Listed { id: 9, key: "{1}".into() });
    assert_error(unlisted, ErrorKind::UnmappedKey, &["{1}"]);
    session.commit().unwrap();
    let (rows, asked) = cluster.asked(|| {
        let keys = Listed::KEY.is_in(["{}", "{"]);
        cluster.session().all(Listed::select().filter(keys).order_by(Listed::ID.asc())).unwrap()
    });
    assert_eq!((rows.len(), asked), (2, vec!["a".to_owned(), "c".to_owned()]));
    drop((session, cluster));
    if backend.is_lasting() {
        backend.open::<Listed>(&LETTERS).unwrap();
    }
}

fn r04_an_enum_without_shards_is_placed_by_hash(backend: &Backend) {
    let cluster = backend.create::<Colored>(&LETTERS);
    let mut session = cluster.session();
    for (id, color) in (0..).zip([Color::Red, Color::Green, Color::Blue]) {
        let row = session.add(Colored { id, color }).unwrap();
        let text = ["Red", "GREEN {}", "Blue"][id as usize].to_owned();
        let placed = Named { id, color: text }.shard_chooser(cluster.shards()).unwrap();
        assert_eq!(row.shard().index(), placed, "{color:?} is placed as its text is");
    }
    session.commit().unwrap();
    let (rows, asked) = cluster
        .asked(|| cluster.session().all(Colored::select().filter(Colored::COLOR.eq(Color::Green))).unwrap());
    assert_eq!((rows.len(), rows[0].color, asked.len()), (1, Color::Green, 1));
}
