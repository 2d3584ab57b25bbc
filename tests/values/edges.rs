//! A row with a column of every type, and the edges of each type.

pub use jiff::Timestamp;
pub use serde_json::Value as Json;
use serde_json::json;
use shard_runtime::{ColumnType, Field, ShardKey, Sharded, Value, ValueError};
pub use uuid::Uuid;

/// The key, which decides the shard of a row.
#[derive(ShardKey, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    #[shard("a")]
    A,
    #[shard("b")]
    B,
    #[shard("c")]
    C,
}

impl Home {
    pub const ALL: [Home; 3] = [Home::A, Home::B, Home::C];
}

#[derive(Field, Clone, Copy, Debug, PartialEq)]
pub enum Size {
    Small,
    #[field("sehr groß")]
    Large,
}

#[derive(Field, Clone, Copy, Debug, PartialEq)]
pub struct Moment(pub Timestamp);

/// A type that an application stores in its own way, and not without loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tenths(pub f64);

impl Field for Tenths {
    const TYPE: ColumnType = ColumnType::Integer;

    fn to_value(&self) -> Result<Value<'_>, ValueError> {
        Ok(Value::Integer((self.0 * 10.0).round() as i64))
    }

    fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
        i64::from_value(value).map(|tenths| Tenths(tenths as f64 / 10.0))
    }
}

/// A document that an application has as a text of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Text(pub String);

impl Field for Text {
    const TYPE: ColumnType = ColumnType::Json;

    fn to_value(&self) -> Result<Value<'_>, ValueError> {
        Ok(Value::Json(self.0.as_str().into()))
    }

    fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
        match value {
            Value::Json(text) | Value::Text(text) => Ok(Text(text.into_owned())),
            other => Err(ValueError::new(format!("not a document: {other}"))),
        }
    }
}

macro_rules! rows_of_every_type {
    ($($column:ident $maybe:ident $constant:ident $maybe_constant:ident: $type:ty,)*) => {
        #[derive(Sharded, Clone, Debug, PartialEq)]
        #[sharded(table = "edges")]
        pub struct Edge {
            #[id]
            pub id: i64,
            #[shard_key]
            pub home: Home,
            $(pub $column: $type, pub $maybe: Option<$type>,)*
        }

        /// The same on every shard.
        #[derive(Sharded, Clone, Debug, PartialEq)]
        #[sharded(table = "constants", reference)]
        pub struct Constant {
            #[id]
            pub id: i64,
            $(pub $column: $type, pub $maybe: Option<$type>,)*
        }

        impl Edge {
            /// The row in which every column has the edge at a position, or an earlier one if it has fewer.
            pub fn at(position: usize, home: Home) -> Self {
                let id = position as i64;
                Edge { id, home, $($column: edge(position), $maybe: edge_or_null(position),)* }
            }

            /// A row of edges; `pick` chooses one of so many.
            pub fn picked(id: i64, home: Home, pick: &mut impl FnMut(usize) -> usize) -> Self {
                Edge {
                    id,
                    home,
                    $(
                        $column: edge(pick(<$type as Edges>::edges().len())),
                        $maybe: edge_or_null(pick(<$type as Edges>::edges().len() + 1)),
                    )*
                }
            }

            /// The row as a table holds it that is the same on every shard.
            pub fn everywhere(&self) -> Constant {
                Constant { id: self.id, $($column: self.$column.clone(), $maybe: self.$maybe.clone(),)* }
            }

            /// The values' texts, which distinguish all values: `-0.0` and `0.0`, `1` and `1.0`, nanoseconds.
            pub fn texts(&self) -> Vec<String> {
                vec![$(format!("{:?}", self.$column), format!("{:?}", self.$maybe),)*]
            }
        }

        /// How many rows it takes to have every edge of every type, and NULL beside it.
        pub fn rows() -> usize {
            [$(<$type as Edges>::edges().len()),*].into_iter().max().unwrap() + 1
        }

        /// Does something with every column, its values in each row, and their order.
        macro_rules! for_each_column {
            ($do:ident) => {
                $({ $do!($column, Edge::$constant, |value: &$type| value.key()); })*
                $({ $do!($maybe, Edge::$maybe_constant, |value: &Option<$type>| value.as_ref().map(Edges::key)); })*
            };
        }
    };
}

/// A type with edges, and the order of its values.
pub trait Edges: Sized + Clone {
    fn edges() -> Vec<Self>;
    /// The sort key of its values.
    fn key(&self) -> Key;
}

/// The sort key of values of all types.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub enum Key {
    Integer(i128),
    Real(f64),
    Bytes(Vec<u8>),
}

fn edge<T: Edges>(position: usize) -> T {
    let edges = T::edges();
    edges[position % edges.len()].clone()
}

fn edge_or_null<T: Edges>(position: usize) -> Option<T> {
    let edges = T::edges();
    edges.get(position % (edges.len() + 1)).cloned()
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Edges for $type {
            fn edges() -> Vec<Self> {
                vec![0, 1, <$type>::MIN, <$type>::MAX, <$type>::MAX - 1, 10]
            }
            fn key(&self) -> Key {
                Key::Integer((*self).into())
            }
        }
    )*};
}
integers!(i8, i16, i32, i64, u8, u16, u32);

impl Edges for u64 {
    fn edges() -> Vec<Self> {
        vec![0, 1, i64::MAX as u64, i64::MAX as u64 - 1, 1 << 53, (1 << 53) + 1]
    }
    fn key(&self) -> Key {
        Key::Integer((*self).into())
    }
}

impl Edges for bool {
    fn edges() -> Vec<Self> {
        vec![false, true]
    }
    fn key(&self) -> Key {
        Key::Integer((*self).into())
    }
}

impl Edges for f64 {
    fn edges() -> Vec<Self> {
        let tiny = f64::from_bits(1);
        vec![
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.1,
            tiny,
            -tiny,
            f64::MIN_POSITIVE,
            f64::MAX,
            f64::MIN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::EPSILON,
            9_007_199_254_740_993.0,
            9_223_372_036_854_775_807.0,
            1e16,
            1e-7,
        ]
    }
    fn key(&self) -> Key {
        Key::Real(*self)
    }
}

impl Edges for f32 {
    fn edges() -> Vec<Self> {
        let tiny = f32::from_bits(1);
        vec![
            -0.0,
            0.1,
            tiny,
            -tiny,
            f32::MIN_POSITIVE,
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            16_777_217.0,
        ]
    }
    fn key(&self) -> Key {
        Key::Real((*self).into())
    }
}

impl Edges for String {
    fn edges() -> Vec<Self> {
        let texts = [
            "",
            " ",
            "a",
            "A",
            "a ",
            "ä",
            "a\u{308}",
            "\u{1}\n\r\t\"'\\{}%_",
            "\u{7f}",
            "\u{80}",
            "\u{d7ff}",
            "\u{e000}",
            "\u{feff}b",
            "\u{fffe}",
            "\u{ffff}",
            "\u{10ffff}",
            "𝄞",
            "١",
            "ß",
            "SS",
            "NULL",
            "1",
            "01",
        ];
        texts.iter().map(|text| (*text).to_owned()).chain(["x".repeat(5_000)]).collect()
    }
    fn key(&self) -> Key {
        Key::Bytes(self.as_bytes().to_vec())
    }
}

impl Edges for Vec<u8> {
    fn edges() -> Vec<Self> {
        vec![vec![], vec![0], vec![0, 0], vec![255], b"\\x00".to_vec(), vec![0xc3, 0x28], vec![7; 5_000]]
    }
    fn key(&self) -> Key {
        Key::Bytes(self.clone())
    }
}

impl Edges for Uuid {
    fn edges() -> Vec<Self> {
        vec![
            Uuid::nil(),
            Uuid::max(),
            Uuid::from_u128(1),
            Uuid::from_u128(1 << 127),
            Uuid::from_u128(0x80 << 64),
        ]
    }
    fn key(&self) -> Key {
        Key::Bytes(self.as_bytes().to_vec())
    }
}

/// The first moment that PostgreSQL stores.
pub fn first_moment() -> Timestamp {
    Timestamp::from_microsecond(-210_866_803_200_000_000).unwrap()
}

impl Edges for Timestamp {
    fn edges() -> Vec<Self> {
        let moment = |text: &str| text.parse::<Timestamp>().unwrap();
        vec![
            Timestamp::MAX,
            Timestamp::UNIX_EPOCH,
            first_moment(),
            moment("1969-12-31T23:59:59.999999999Z"),
            moment("1970-01-01T00:00:00.000000001Z"),
            moment("2000-01-01T00:00:00Z"),
            moment("1999-12-31T23:59:59.999999Z"),
            moment("0001-01-01T00:00:00Z"),
            moment("0000-12-31T23:59:59.5Z"),
            moment("2026-11-28T12:34:56.123456789Z"),
        ]
    }
    fn key(&self) -> Key {
        Key::Integer(self.as_nanosecond().div_euclid(1_000))
    }
}

impl Edges for Moment {
    fn edges() -> Vec<Self> {
        Timestamp::edges().into_iter().map(Moment).collect()
    }
    fn key(&self) -> Key {
        self.0.key()
    }
}

/// The text of a document that PostgreSQL prints, as the library does without saying so: written anew here.
fn text_of(document: &Json) -> String {
    match document {
        Json::Array(items) => format!("[{}]", items.iter().map(text_of).collect::<Vec<_>>().join(", ")),
        Json::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| (key.len(), key.to_owned()));
            let member = |(key, value): (&String, &Json)| format!("{}: {}", json!(key), text_of(value));
            format!("{{{}}}", members.into_iter().map(member).collect::<Vec<_>>().join(", "))
        }
        Json::Number(number) if number.is_f64() => {
            let text = format!("{}", number.as_f64().unwrap() + 0.0);
            if text.contains('.') { text } else { format!("{text}.0") }
        }
        other => other.to_string(),
    }
}

impl Edges for Json {
    fn edges() -> Vec<Self> {
        let nested = |depth| (0..depth).fold(json!(1), |inner, _| json!([inner]));
        vec![
            json!(null),
            json!(true),
            json!(""),
            json!("null"),
            json!("\u{1}\u{7f}\n\"\\/\u{10ffff}"),
            json!(0),
            json!(-0.0),
            json!(1),
            json!(1.0),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(1e16),
            json!(f64::MAX),
            json!(f64::from_bits(1)),
            json!(0.1),
            json!(1.0 / 3.0),
            json!(f64::from_bits(0x000f_ffff_ffff_ffff)),
            json!({}),
            json!([]),
            json!({"b": 1, "a": {"ß": [1, 1.5, null]}, "aa": [], "": {}}),
            json!({"a": [1, 2]}),
            json!({"a": [2, 1]}),
            nested(127),
        ]
    }
    fn key(&self) -> Key {
        Key::Bytes(text_of(self).into_bytes())
    }
}

impl Edges for Text {
    fn edges() -> Vec<Self> {
        let texts = [
            r#"{"b":1,"a":2}"#,
            r#"{ "a": 2, "b": 1 }"#,
            "[1,1.50]",
            "1e2",
            "-0",
            r#""\u00e4""#,
            r#"{"a":1,"a":2}"#,
        ];
        texts.map(|text| Text(text.to_owned())).to_vec()
    }
    fn key(&self) -> Key {
        Key::Bytes(text_of(&serde_json::from_str(&self.0).unwrap()).into_bytes())
    }
}

impl Edges for Size {
    fn edges() -> Vec<Self> {
        vec![Size::Small, Size::Large]
    }
    fn key(&self) -> Key {
        Key::Bytes(if *self == Size::Small { b"Small".to_vec() } else { "sehr groß".into() })
    }
}

impl Edges for Tenths {
    fn edges() -> Vec<Self> {
        vec![Tenths(0.04), Tenths(0.06), Tenths(-1.25), Tenths(1e9)]
    }
    fn key(&self) -> Key {
        Key::Integer((self.0 * 10.0).round() as i128)
    }
}

rows_of_every_type! {
    truth maybe_truth TRUTH MAYBE_TRUTH: bool,
    tiny maybe_tiny TINY MAYBE_TINY: i8,
    small maybe_small SMALL MAYBE_SMALL: i16,
    medium maybe_medium MEDIUM MAYBE_MEDIUM: i32,
    large maybe_large LARGE MAYBE_LARGE: i64,
    tiny_natural maybe_tiny_natural TINY_NATURAL MAYBE_TINY_NATURAL: u8,
    small_natural maybe_small_natural SMALL_NATURAL MAYBE_SMALL_NATURAL: u16,
    natural maybe_natural NATURAL MAYBE_NATURAL: u32,
    large_natural maybe_large_natural LARGE_NATURAL MAYBE_LARGE_NATURAL: u64,
    single maybe_single SINGLE MAYBE_SINGLE: f32,
    double maybe_double DOUBLE MAYBE_DOUBLE: f64,
    text maybe_text TEXT MAYBE_TEXT: String,
    bytes maybe_bytes BYTES MAYBE_BYTES: Vec<u8>,
    uuid maybe_uuid UUID MAYBE_UUID: Uuid,
    at maybe_at AT MAYBE_AT: Timestamp,
    moment maybe_moment MOMENT MAYBE_MOMENT: Moment,
    document maybe_document DOCUMENT MAYBE_DOCUMENT: Json,
    written maybe_written WRITTEN MAYBE_WRITTEN: Text,
    size maybe_size SIZE MAYBE_SIZE: Size,
    tenths maybe_tenths TENTHS MAYBE_TENTHS: Tenths,
}

/// Every edge on every shard, each row with an id of its own.
pub fn everything() -> Vec<Edge> {
    let each = |position: usize| {
        Home::ALL.into_iter().zip(0..).map(move |(home, shard)| Edge {
            id: (position * 3 + shard) as i64,
            // Every shard has the values in another combination.
            ..Edge::at(position + shard * 7, home)
        })
    };
    (0..rows()).flat_map(each).collect()
}
