//! Values that are carried from one database to another: rows that move, and tables that are filled.

use shard_runtime::{ErrorKind, Parent, Sharded, Sql, Stored};

use crate::backend::{Backend, LETTERS, Watched, assert_error};
use crate::edges::*;

on_every_backend! {
    r58_rows_that_move_stay_as_they_are,
    r58_lookups_follow_rows_that_move;
    only lasting:
        r58_columns_that_no_model_declares_move_along,
        r58_a_shard_without_rows_gets_the_constants;
    only PostgreSQL:
        a_value_that_no_field_holds_is_not_moved,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "notes")]
struct Note {
    #[id(uuid)]
    id: Uuid,
    #[shard_parent]
    edge: Parent<Edge>,
    truth: bool,
    at: jiff::Timestamp,
    document: serde_json::Value,
}

/// The shards to which a row moves, and back to its first one.
fn round_trip(from: Home) -> Vec<Home> {
    Home::ALL.into_iter().cycle().skip_while(|home| *home != from).skip(1).take(3).collect()
}

fn r58_rows_that_move_stay_as_they_are(backend: &Backend) {
    let cluster = backend.create::<(Edge, Note)>(&LETTERS);
    let mut session = cluster.session();
    let mut added: Vec<Stored<Edge>> =
        everything().into_iter().map(|row| session.add(row).unwrap()).collect();
    let note = |edge: &Stored<Edge>| NewNote {
        edge: edge.link(),
        truth: edge.truth,
        at: edge.at,
        document: edge.document.clone(),
    };
    let notes = session.add_all(added.iter().map(note)).unwrap();
    session.commit().unwrap();
    for row in &mut added {
        let (before, id) = (row.texts(), row.id);
        for home in round_trip(row.home) {
            assert_eq!(session.relocate(row, |row| row.home = home).unwrap().rows, 2);
            session.commit().unwrap();
            assert_eq!(row.texts(), before);
            let mut reader = cluster.session();
            let read = reader.get(Edge::by_id(id).on(home)).unwrap().unwrap();
            assert_eq!((read.texts(), read.home), (before.clone(), home));
            let found = reader.all(read.children::<Note>()).unwrap();
            let added = notes.iter().find(|note| *note.edge.id() == id).unwrap();
            let texts = |note: &Note| format!("{} {} {:?} {:?}", note.id, note.truth, note.at, note.document);
            assert_eq!(found.iter().map(|note| texts(note)).collect::<Vec<_>>(), [texts(added)]);
        }
    }
    assert_eq!(cluster.verify().unwrap().lookup_problems().len(), 0);
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "names")]
struct Name {
    #[id]
    id: i64,
    #[shard_key]
    home: Home,
    #[lookup]
    uuid: Option<Uuid>,
    #[lookup]
    text: String,
    #[lookup]
    bytes: Vec<u8>,
    #[lookup]
    number: i64,
}

fn r58_lookups_follow_rows_that_move(backend: &Backend) {
    let cluster = backend.create::<Name>(&LETTERS);
    let mut session = cluster.session();
    let (uuids, bytes, numbers) = (Uuid::edges(), Vec::<u8>::edges(), i64::edges());
    let rows = String::edges().into_iter().enumerate().map(|(position, text)| Name {
        id: position as i64,
        home: Home::ALL[position % 3],
        uuid: uuids.get(position).copied(),
        text,
        bytes: bytes.get(position).cloned().unwrap_or_else(|| vec![1, position as u8]),
        number: numbers.get(position).copied().unwrap_or(1_000 + position as i64),
    });
    let mut rows = session.add_all(rows).unwrap();
    session.commit().unwrap();
    for row in &mut rows {
        for home in round_trip(row.home) {
            session.relocate(row, |row| row.home = home).unwrap();
            session.commit().unwrap();
            let mut found = vec![
                session.one(Name::select().filter(Name::TEXT.eq(row.text.clone()))).unwrap(),
                session.one(Name::select().filter(Name::BYTES.eq(row.bytes.clone()))).unwrap(),
                session.one(Name::select().filter(Name::NUMBER.is_in([row.number]))).unwrap(),
            ];
            if let Some(uuid) = row.uuid {
                found.push(session.one(Name::select().filter(Name::UUID.eq(uuid))).unwrap());
            }
            assert!(found.iter().all(|found| found == row), "{row:?}");
        }
        row.uuid = row.uuid.map(|uuid| Uuid::from_u128(uuid.as_u128() ^ 1 << 77));
        session.update(row).unwrap();
        session.commit().unwrap();
    }
    assert_eq!(cluster.verify().unwrap().lookup_problems().len(), 0);
    session.execute(Name::delete().all_shards()).unwrap();
    session.commit().unwrap();
    assert_eq!(cluster.verify().unwrap().lookup_problems().len(), 0);
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "plain")]
struct Plain {
    #[id]
    id: i64,
    #[shard_key]
    home: Home,
}

/// A cluster of a model that lacks a column of its table. The column has this type on SQLite and on PostgreSQL, and a value in
/// one row.
fn with_column(backend: &Backend, types: [&str; 2], values: [&str; 2]) -> (Watched, Stored<Plain>) {
    let cluster = backend.create::<Plain>(&LETTERS);
    let mut session = cluster.session();
    let row = session.add(Plain { id: 7, home: Home::A }).unwrap();
    session.commit().unwrap();
    for shard in LETTERS {
        let of = |each: [&'static str; 2]| each[usize::from(backend.is_postgres(shard))];
        let (kind, value) =
            (of(types.map(|text| &*text.to_owned().leak())), of(values.map(|text| &*text.to_owned().leak())));
        let table = backend.table(shard, "plain");
        let sql = format!("ALTER TABLE {table} ADD COLUMN extra {kind}; UPDATE {table} SET extra = {value}");
        match backend.is_postgres(shard) {
            true => backend.client(shard).run(&sql),
            false => backend.raw(shard).execute_batch(&sql).unwrap(),
        }
    }
    drop(session);
    (cluster, row)
}

fn r58_columns_that_no_model_declares_move_along(backend: &Backend) {
    for (types, values, texts) in [
        (["INTEGER", "boolean"], ["1", "true"], ["1", "true"]),
        (["INTEGER", "bigint"], ["-5", "-5"], ["-5", "-5"]),
        (["INTEGER", "smallint"], ["-5", "-5"], ["-5", "-5"]),
        (["TEXT", "varchar(30)"], ["'ä'", "'ä'"], ["ä", "ä"]),
        (["REAL", "double precision"], ["0.1", "0.1"], ["0.1", "0.1"]),
        (["TEXT", "jsonb"], [r#"'{"b":1,"a":[2]}'"#, r#"'{"b":1,"a":[2]}'"#], [r#"{"a": [2], "b": 1}"#; 2]),
        (
            ["INTEGER", "timestamptz"],
            ["253402207200999999", "'9999-12-30T22:00:00.999999Z'"],
            ["253402207200999999", "9999-12-30 22:00:00.999999"],
        ),
        (
            ["BLOB", "uuid"],
            ["x'00000000000000000000000000000001'", "'00000000-0000-0000-0000-000000000001'"],
            ["00000000000000000000000000000001", "00000000-0000-0000-0000-000000000001"],
        ),
    ] {
        let backend = &Backend::new(backend.kind);
        let (cluster, mut row) = with_column(backend, types, values);
        let mut session = cluster.session();
        for home in [Home::B, Home::C, Home::A, Home::C, Home::B, Home::A] {
            session.relocate(&mut row, |row| row.home = home).unwrap();
            session.commit().unwrap();
            let shard = row.shard().name();
            let (column, text) = match (backend.is_postgres(shard), types[1]) {
                (true, "timestamptz") => ("(extra AT TIME ZONE 'UTC')::text", texts[1]),
                (true, _) => ("extra::text", texts[1]),
                (false, "uuid") => ("lower(hex(extra))", texts[0]),
                // Between two files nothing looks at the value.
                (false, "jsonb") if backend.is_on_disk() => ("'{\"a\": [2], \"b\": 1}'", texts[0]),
                (false, _) => ("CAST(extra AS TEXT)", texts[0]),
            };
            let found: String =
                backend.peek(shard, "plain", &format!("SELECT {column} FROM {{table}} WHERE id = 7"));
            assert_eq!(found, text, "{types:?} on {shard}");
        }
    }
}

fn a_value_that_no_field_holds_is_not_moved(backend: &Backend) {
    let (cluster, mut row) = with_column(backend, ["REAL", "numeric"], ["0.5", "0.5"]);
    let mut session = cluster.session();
    let before = row.clone();
    let texts = ["shard `a`", "table `plain`", "column `extra`", "numeric", "row with id 7"];
    assert_error(session.relocate(&mut row, |row| row.home = Home::B), ErrorKind::Value, &texts);
    assert_eq!(row, before);
    // Nothing is half done, and the session continues.
    assert_eq!(session.one(Plain::select().all_shards()).unwrap(), before);
    session.commit().unwrap();
    assert_eq!(cluster.session().one(Plain::select().all_shards()).unwrap(), before);
}

fn r58_a_shard_without_rows_gets_the_constants(backend: &Backend) {
    // The last shard is a file or a schema, and so are those that it is filled from.
    for order in [["a", "b", "c"], ["b", "c", "a"]] {
        let backend = &Backend::new(backend.kind);
        let rows: Vec<Constant> = everything().iter().map(Edge::everywhere).collect();
        let create = || backend.create::<Constant>(&order);
        let cluster = create();
        let mut session = cluster.session();
        let added = session.add_all(rows).unwrap();
        session.commit().unwrap();
        session.execute(Sql::new("DELETE FROM {constants}").on_shard(order[2])).unwrap();
        session.commit().unwrap();
        drop(session);
        drop(cluster);
        let cluster = create();
        assert_eq!(cluster.compare_references().unwrap(), []);
        let filled = Constant::select().on_shard(order[2]).order_by(Constant::ID.asc());
        let filled = cluster.session().all(filled).unwrap();
        let texts =
            |rows: &[Stored<Constant>]| rows.iter().map(|row| format!("{:?}", **row)).collect::<Vec<_>>();
        assert_eq!(texts(&filled), texts(&added));
    }
}
