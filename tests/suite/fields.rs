//! UUIDs, moments and documents as fields, keys and ids: R01, R02, R22, R39, R43.

use jiff::Timestamp;
use serde_json::json;
use shard_runtime::{ErrorKind, Sharded};
use uuid::Uuid;

use crate::backend::{Backend, LETTERS, assert_error};

on_every_dialect! {
    r02_uuids_live_where_postgresql_would_put_them,
    r39_uuids_are_unique_and_ascending,
    r22_a_uuid_does_not_name_its_shard,
    r43_uuids_moments_and_documents_round_trip,
    r25_moments_are_ordered_by_time;
    only on_disk:
        r43_bad_uuids_moments_and_documents_are_errors,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "photos")]
struct Photo {
    #[id(uuid)]
    id: Uuid,
    #[shard_key(hash)]
    owner: Uuid,
    taken: Timestamp,
    tags: serde_json::Value,
    edited: Option<Timestamp>,
    copied_from: Option<Uuid>,
}

fn photo(owner: u128, taken: i64) -> NewPhoto {
    NewPhoto {
        owner: Uuid::from_u128(owner),
        taken: Timestamp::from_microsecond(taken).unwrap(),
        tags: json!([]),
        edited: None,
        copied_from: None,
    }
}

fn r02_uuids_live_where_postgresql_would_put_them(backend: &Backend) {
    let cluster = backend.create::<Photo>(&LETTERS);
    let mut session = cluster.session();
    let expected = include_str!("../vectors/postgres_hash.tsv").lines().filter_map(|line| {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["uuid", key, "remainder", "3", remainder] => Some((Uuid::parse_str(key).ok()?, remainder)),
            _ => None,
        }
    });
    let mut checked = 0;
    for (owner, remainder) in expected {
        let new = NewPhoto { owner, ..photo(0, 0) };
        let stored = session.add(new).unwrap();
        assert_eq!(stored.shard().index().to_string(), remainder, "{owner}");
        let query = Photo::select().filter(Photo::OWNER.eq(owner));
        let (found, asked) = cluster.asked(|| session.one(query).unwrap());
        assert_eq!((&found, asked), (&stored, vec![stored.shard().name().to_owned()]));
        checked += 1;
    }
    assert!(checked >= 3, "only {checked} vectors");
}

fn r39_uuids_are_unique_and_ascending(backend: &Backend) {
    let cluster = backend.create::<Photo>(&LETTERS);
    let mut session = cluster.session();
    let photos = session.add_all((0..2_000).map(|number| photo(number, 0))).unwrap();
    assert!(photos.iter().all(|photo| photo.id.get_version_num() == 7));
    assert!(photos.is_sorted_by(|a, b| a.id < b.id), "in the order in which they were added");
    session.commit().unwrap();
}

fn r22_a_uuid_does_not_name_its_shard(backend: &Backend) {
    let cluster = backend.create::<Photo>(&LETTERS);
    let mut session = cluster.session();
    let photos = session.add_all((0..20).map(|number| photo(number, 0))).unwrap();
    session.commit().unwrap();
    for photo in &photos {
        let (found, asked) = cluster.asked(|| session.get::<Photo>(photo.id).unwrap().unwrap());
        assert_eq!(&found, photo);
        assert!(asked.contains(&photo.shard().name().to_owned()));
        // All are read at once if one takes long again and again, as a server may.
        if !backend.is_postgres(photo.shard().name()) {
            assert_eq!(asked.last().unwrap(), photo.shard().name(), "until it is found");
            assert_eq!(asked.len(), photo.shard().index() + 1);
        }
    }
    let (missing, asked) = cluster.asked(|| session.get::<Photo>(Uuid::nil()).unwrap());
    assert!(missing.is_none());
    assert_eq!(asked, LETTERS);
}

fn r43_uuids_moments_and_documents_round_trip(backend: &Backend) {
    let cluster = backend.create::<Photo>(&LETTERS);
    let mut session = cluster.session();
    let documents = [
        json!(null),
        json!({"a": [1, 2.5, "x", null, true], "ü": {"deep": {}}}),
        json!("just text"),
        json!(-0.0),
        json!(u64::MAX),
    ];
    let moments = ["1969-12-31T23:59:59.999999Z", "2024-02-29T12:00:00Z", "9999-12-30T00:00:00.000001Z"];
    for (number, document) in (0..).zip(&documents) {
        let taken: Timestamp = moments[number as usize % 3].parse().unwrap();
        let new = NewPhoto {
            tags: document.clone(),
            taken,
            edited: Some(taken),
            copied_from: Some(Uuid::max()),
            ..photo(number, 0)
        };
        let stored = session.add(new).unwrap();
        session.commit().unwrap();
        let read = session.get::<Photo>(stored.id).unwrap().unwrap();
        assert_eq!((&read.tags, read.taken, read.edited), (document, taken, Some(taken)));
        assert_eq!(read, stored);
        let same = Photo::select()
            .filter(Photo::TAKEN.eq(taken) & Photo::EDITED.le(taken) & Photo::COPIED_FROM.eq(Uuid::max()))
            .filter(Photo::ID.eq(stored.id))
            .all_shards();
        assert_eq!(session.all(same).unwrap(), [stored]);
    }
}

fn r43_bad_uuids_moments_and_documents_are_errors(backend: &Backend) {
    let cluster = backend.create::<Photo>(&LETTERS);
    let mut session = cluster.session();
    let stored = session.add(photo(1, 0)).unwrap();
    session.commit().unwrap();
    let shard = stored.shard().name();
    let bad = [
        ("owner", "x'00112233'", "UUID"),
        ("taken", "9223372036854775807", "jiff::Timestamp"),
        ("tags", "'{\"a\": '", "JSON"),
        ("copied_from", "x''", "UUID"),
    ];
    for (column, value, text) in bad {
        let keep = format!("CREATE TEMP TABLE kept AS SELECT * FROM {}", backend.table(shard, "photos"));
        let set = format!("UPDATE {{table}} SET {column} = {value}");
        let raw = backend.raw(shard);
        raw.execute_batch(&keep).unwrap();
        backend.plant(&[shard], "photos", &set);
        let texts = [&format!("shard `{shard}`"), "table `photos`", &format!("column `{column}`"), text];
        assert_error(session.all(Photo::select().all_shards()), ErrorKind::Value, &texts);
        session.commit().unwrap();
        let table = backend.table(shard, "photos");
        raw.execute_batch(&format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept")).unwrap();
    }
    assert_eq!(session.all(Photo::select().all_shards()).unwrap(), [stored]);
}

fn r25_moments_are_ordered_by_time(backend: &Backend) {
    let cluster = backend.create::<Photo>(&LETTERS);
    let mut session = cluster.session();
    let moments = [5, -5, 0, 1_000_000, -1, 70, 3, -400_000_000];
    session.add_all((0..).zip(moments).map(|(owner, taken)| photo(owner, taken))).unwrap();
    let all = || Photo::select().all_shards();
    let taken = |rows: Vec<shard_runtime::Stored<Photo>>| -> Vec<i64> {
        rows.iter().map(|photo| photo.taken.as_microsecond()).collect()
    };
    let mut sorted = moments;
    sorted.sort_unstable();
    assert_eq!(taken(session.all(all().order_by(Photo::TAKEN.asc())).unwrap()), sorted);
    let least = session.one(all().aggregate(Photo::TAKEN.min())).unwrap().unwrap();
    assert_eq!(least.as_microsecond(), -400_000_000);
    let by_id = session.all(all().order_by(Photo::ID.desc())).unwrap();
    assert!(by_id.is_sorted_by(|a, b| a.id > b.id));
}
