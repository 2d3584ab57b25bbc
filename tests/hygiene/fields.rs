//! Conditional fields, raw identifiers, visibilities, documentation, and structs that a macro writes.

#![deny(warnings)]
#![allow(dead_code)]

use shard_runtime::{Insert, Parent, ShardKey, Sharded};

#[derive(ShardKey, Clone, Copy)]
pub enum r#Continent {
    #[shard("asia")]
    r#Asia,
}

#[derive(Sharded)]
#[sharded(index(r#type), index(r#match, kept))]
pub struct r#Conditional {
    #[id(sequence)]
    pub r#id: i64,
    #[shard_key(hash)]
    pub(crate) r#type: i64,
    #[cfg(any())]
    pub left_out: ThereIsNoSuchType,
    #[cfg(all())]
    pub kept: i64,
    #[cfg_attr(all(), sharded(column = "matched"))]
    r#match: String,
    /// Documented
    /// on two lines.
    #[doc = "And by an attribute."]
    pub documented: i64,
}

mod private {
    use super::*;

    /// Seen from outside of its module, its key is not.
    #[derive(Sharded)]
    pub struct Public {
        #[id]
        pub id: i64,
        #[shard_key(hash)]
        secret: i64,
        pub(super) shared: i64,
        pub(in crate::private) inside: i64,
    }

    #[derive(Sharded)]
    #[sharded(shard_key(hash))]
    pub(crate) struct Composite {
        #[id]
        pub id: i64,
        #[shard_key]
        pub a: i64,
        #[shard_key]
        pub(crate) b: i64,
    }

    impl Public {
        pub fn new(id: i64, secret: i64) -> Self {
            let _ = Public::SECRET.eq(1);
            let _ = Public::INSIDE.eq(1);
            Public { id, secret, shared: 0, inside: 0 }
        }
    }
}

macro_rules! model {
    ($(#[$attribute:meta])* $vis:vis $name:ident, $id:ident: $id_type:ty, $key:ident: $key_type:ty, $shard:literal, $bound:expr) => {
        #[derive(Sharded)]
        $(#[$attribute])*
        $vis struct $name {
            #[id(sequence)]
            $id: $id_type,
            #[shard_key(range($shard => ..$bound, "b" => $bound..))]
            $key: $key_type,
            always: Option<String>,
        }
    };
}

model!(
    /// Written by a macro.
    #[sharded(table = "made")]
    pub Made, number: i64, key: i32, "a", 10 + 5
);

macro_rules! child {
    ($name:ident of $parent:ty) => {
        #[derive(Sharded)]
        struct $name {
            #[id(auto)]
            id: i64,
            #[shard_parent]
            parent: Parent<$parent>,
        }
    };
}

child!(MadeChild of Made);

/// Types, paths and bounds come from the call of the macro, the rest from the macro.
macro_rules! model_of {
    ($name:ident, $id:ty, $parent:ty, $path:ident, $chooser:path, $bound:expr) => {
        mod $name {
            use super::*;

            #[derive(Sharded)]
            pub struct Root {
                #[id]
                #[shard_key(with = $chooser)]
                id: $id,
            }

            #[derive(Sharded)]
            pub struct Bare {
                #[id(sequence)]
                id: $id,
                #[shard_parent($path)]
                root: $id,
            }

            #[derive(Sharded)]
            pub struct Handle {
                #[id(auto)]
                id: $id,
                #[shard_parent]
                parent: $parent,
            }

            #[derive(Sharded)]
            pub struct Ranged {
                #[id]
                #[shard_key(range("a" => ..$bound, "b" => $bound..$bound + 1, "c" => $bound + 1..))]
                id: $id,
            }
        }
    };
}

model_of!(of_macro, i64, Parent<Bare>, Root, super::choose, 5);

fn choose<'s>(_: &i64, shards: &'s shard_runtime::Shards) -> Option<&'s shard_runtime::Shard> {
    shards.by_index(0)
}

fn main() {
    assert_eq!(r#Conditional::TABLE.columns.len(), 5);
    assert_eq!((Conditional::TABLE.name, Conditional::TABLE.model), ("conditional", "Conditional"));
    assert_eq!(Conditional::TABLE.columns[3].name, "matched");
    let _ = Conditional::MATCH.eq("x");
    let _ = NewConditional { r#type: 1, kept: 2, r#match: String::new(), documented: 3 }.into_model(&mut || Ok(1));

    let _ = private::Public::new(1, 2).id;
    let _ = private::Public::SHARED.eq(1);
    let _ = private::Composite::SHARD_KEY.eq((1, 2));
    assert_eq!(Made::TABLE.name, "made");
    assert_eq!(MadeChild::TABLE.parent.unwrap().table.name, "made");
    assert_eq!(of_macro::Handle::TABLE.parent.unwrap().table.name, "bare");

    // Models may stand in a function.
    #[derive(Sharded)]
    struct Local {
        #[id(sequence)]
        #[shard_key(hash)]
        id: i64,
        text: String,
    }
    let local = NewLocal { text: "here".to_owned() }.into_model(&mut || Ok(1)).unwrap();
    assert_eq!((local.id, local.text.as_str()), (1, "here"));
}
