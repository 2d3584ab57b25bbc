//! Settings, names, kinds of ids, and every type of field.

use shard_runtime::__private::{ColumnDef, IdKind, Index};
use shard_runtime::{ColumnType, Field, Insert, Sharded, query::UniqueId};

/// Stored as text.
#[derive(Field, Clone, Copy, Debug, PartialEq)]
enum Sky {
    Clear,
    #[field("partly cloudy")]
    PartlyCloudy,
}

/// Stored as what it holds.
#[derive(Field, Clone, Debug, PartialEq)]
struct Celsius(f64);

/// A station.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "stations", index(name), index(r#type, sky), insert(name = AddStation, derive(Clone, Debug)))]
#[sharded(unique(country, name))]
struct Station {
    #[id(uuid)]
    id: uuid::Uuid,
    #[shard_key(hash)]
    country: String,
    /// Its name.
    name: String,
    r#type: u8,
    sky: Option<Sky>,
    mean: Celsius,
    #[sharded(column = "opened_at")]
    opened: Option<jiff::Timestamp>,
    notes: serde_json::Value,
    photo: Vec<u8>,
    active: bool,
    range: f32,
}

#[derive(Sharded)]
struct HTTPRequest {
    #[id(sequence)]
    id: u32,
    #[shard_key(hash)]
    host: String,
}

/// The key is the id that the cluster hands out.
#[derive(Sharded)]
struct Visit {
    #[id(sequence)]
    #[shard_key(hash)]
    id: i64,
    page: String,
}

/// The id is yours: the struct itself is what is added.
#[derive(Sharded, PartialEq, Debug)]
struct Page {
    #[id]
    #[shard_key(hash)]
    path: String,
}

fn unique<T: UniqueId>() {}

fn main() {
    unique::<Station>();
    unique::<HTTPRequest>();

    let add = AddStation {
        country: "Japan".into(),
        name: "Tokyo".into(),
        r#type: 1,
        sky: Some(Sky::PartlyCloudy),
        mean: Celsius(16.5),
        opened: None,
        notes: serde_json::Value::Null,
        photo: vec![1],
        active: true,
        range: 0.5,
    };
    let station = add.clone().into_model(&mut || Ok(uuid::Uuid::nil())).unwrap();
    assert_eq!((station.id, station.name.as_str(), station.sky), (uuid::Uuid::nil(), "Tokyo", Some(Sky::PartlyCloudy)));
    assert!(format!("{add:?}").starts_with("AddStation"));

    assert_eq!((Station::TABLE.model, Station::TABLE.name, Station::TABLE.id_kind), ("Station", "stations", IdKind::Uuid));
    assert_eq!(HTTPRequest::TABLE.name, "http_request");
    assert_eq!(Station::TABLE.indexes[1], Index { columns: &[3, 4], unique: false });
    let columns: Vec<(&str, ColumnType, bool)> =
        Station::TABLE.columns.iter().map(|&ColumnDef { name, kind, nullable, .. }| (name, kind, nullable)).collect();
    assert_eq!(
        columns,
        [
            ("id", ColumnType::Uuid, false),
            ("country", ColumnType::Text, false),
            ("name", ColumnType::Text, false),
            ("type", ColumnType::Integer, false),
            ("sky", ColumnType::Text, true),
            ("mean", ColumnType::Real, false),
            ("opened_at", ColumnType::Timestamp, true),
            ("notes", ColumnType::Json, false),
            ("photo", ColumnType::Bytes, false),
            ("active", ColumnType::Boolean, false),
            ("range", ColumnType::Real, false),
        ]
    );

    let visit = NewVisit { page: "/".into() }.into_model(&mut || Ok(7)).unwrap();
    assert_eq!(visit.id, 7);
    let page = Page { path: "/".into() }.into_model(&mut || unreachable!()).unwrap();
    assert_eq!(page, Page { path: "/".into() });

    assert_eq!(Sky::from_value(Field::to_value(&Sky::PartlyCloudy).unwrap()), Ok(Sky::PartlyCloudy));
    assert_eq!(Field::to_value(&Sky::PartlyCloudy).unwrap().to_string(), "partly cloudy");
    assert_eq!(Celsius::from_value(Field::to_value(&Celsius(1.5)).unwrap()), Ok(Celsius(1.5)));
}
