//! Publishers are spread by a hash of their id; their books hold that id and live with them.

use shard_runtime::{Field, Sharded};

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "publishers")]
pub struct Publisher {
    #[id]
    #[shard_key(hash)]
    pub id: i64,
    pub name: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "books")]
pub struct Book {
    #[id(sequence)]
    pub id: i64,
    #[shard_parent(Publisher)]
    pub publisher_id: i64,
    pub title: String,
    pub year: i32,
    pub format: Format,
    pub isbn: Option<Isbn>,
}

/// A text enum.
#[derive(Field, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Paper,
    Audio,
}

/// A newtype.
#[derive(Field, Clone, Debug, PartialEq, Eq)]
pub struct Isbn(pub String);
