//! Values, columns and rows of the tests, without the library.

use std::cmp::Ordering;
use std::fmt;

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
}

impl Datum {
    pub fn text(text: &str) -> Self {
        Datum::Text(text.to_owned())
    }

    pub fn integer(&self) -> i64 {
        match self {
            Datum::Integer(integer) => *integer,
            other => panic!("{other:?} is no integer"),
        }
    }

    pub fn real(&self) -> f64 {
        match self {
            Datum::Real(real) => *real,
            other => panic!("{other:?} is no float"),
        }
    }

    pub fn as_text(&self) -> &str {
        match self {
            Datum::Text(text) => text,
            other => panic!("{other:?} is no text"),
        }
    }

    /// The order of two values of one column: `None` if one is NULL.
    pub fn order(&self, other: &Datum) -> Option<Ordering> {
        match (self, other) {
            (Datum::Null, _) | (_, Datum::Null) => None,
            (Datum::Integer(a), Datum::Integer(b)) => Some(a.cmp(b)),
            (Datum::Real(a), Datum::Real(b)) => a.partial_cmp(b),
            (Datum::Text(a), Datum::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            (a, b) => panic!("{a:?} and {b:?} are not of one column"),
        }
    }
}

macro_rules! datum_from {
    ($($type:ty => |$value:ident| $datum:expr;)*) => {$(
        impl From<$type> for Datum {
            fn from($value: $type) -> Self {
                $datum
            }
        }
    )*};
}
datum_from! {
    i64 => |value| Datum::Integer(value);
    f64 => |value| Datum::Real(value);
    String => |value| Datum::Text(value);
    &str => |value| Datum::text(value);
    Option<i64> => |value| value.map_or(Datum::Null, Datum::Integer);
    Option<f64> => |value| value.map_or(Datum::Null, Datum::Real);
    Option<String> => |value| value.map_or(Datum::Null, Datum::Text);
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Integer,
    Real,
    Text,
    /// One of a few texts: an enum.
    Name,
}

/// The columns that every model of these tests has, in this order. `Key` decides the shard; so does `Part`
/// in the model whose key has two columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Id,
    Key,
    Part,
    Amount,
    Rank,
    Name,
    Note,
    Weight,
}

impl Column {
    pub const ALL: [Column; 8] = [
        Column::Id,
        Column::Key,
        Column::Part,
        Column::Amount,
        Column::Rank,
        Column::Name,
        Column::Note,
        Column::Weight,
    ];

    /// The columns that an update may set in every model.
    pub const SETTABLE: [Column; 5] =
        [Column::Amount, Column::Rank, Column::Name, Column::Note, Column::Weight];

    /// The name in the oracle's table.
    pub fn name(self) -> &'static str {
        ["id", "key", "part", "amount", "rank", "name", "note", "weight"][self as usize]
    }

    /// The type of the column; the key's kind is the model's.
    pub fn kind(self, key: Kind) -> Kind {
        match self {
            Column::Key => key,
            Column::Id | Column::Amount | Column::Rank => Kind::Integer,
            Column::Part | Column::Name | Column::Note => Kind::Text,
            Column::Weight => Kind::Real,
        }
    }

    pub fn is_nullable(self) -> bool {
        matches!(self, Column::Rank | Column::Note | Column::Weight)
    }
}

/// A row: a value for each of [`Column::ALL`].
#[derive(Clone, PartialEq)]
pub struct Line(pub [Datum; 8]);

/// On one line, so that a case that fails can be read.
impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Line {
    /// A row with this key.
    pub fn of_key(key: Datum, part: &str) -> Self {
        let (zero, none) = (Datum::Integer(0), Datum::Null);
        let name = Datum::text("");
        Line([zero.clone(), key, Datum::text(part), zero, none.clone(), name, none.clone(), none])
    }

    pub fn get(&self, column: Column) -> &Datum {
        &self.0[column as usize]
    }

    pub fn set(&mut self, column: Column, value: Datum) {
        self.0[column as usize] = value;
    }

    pub fn id(&self) -> i64 {
        self.get(Column::Id).integer()
    }
}

/// Integers at which something may go wrong; the bounds and entries of the models' keys are among them.
pub const INTEGERS: [i64; 24] = [
    i64::MIN,
    i64::MIN + 1,
    i64::MIN + 2,
    -1_000,
    -6,
    -5,
    -4,
    -1,
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    13,
    99,
    100,
    1_000,
    1_001,
    i64::MAX - 2,
    i64::MAX - 1,
    i64::MAX,
];

/// Texts at which something may go wrong.
pub const TEXTS: [&str; 32] = [
    "",
    " ",
    "a",
    "ab",
    "abc",
    "aB",
    "b",
    "ba",
    "bb",
    "B",
    "h",
    "ha",
    "m",
    "z",
    "~",
    "é",
    "e\u{301}",
    "É",
    "ß",
    "日",
    "日本",
    "😀",
    "\u{D7FF}",
    "\u{E000}",
    "\u{10FFFF}",
    "a\u{10FFFF}",
    "%",
    "a_b",
    "*?",
    "[x]",
    "O'Hara",
    "\"; --",
];

/// Floats at which something may go wrong.
pub const REALS: [f64; 10] =
    [f64::NEG_INFINITY, -1e300, -1.5, -0.0, 0.0, 5e-324, 0.1, 1.5, 1e300, f64::INFINITY];
