//! The models: the same columns, each with its key placed in another way.

use std::sync::LazyLock;

use shard_runtime::{
    Filter, Order, Projection, Result, Routed, Select, Session, Shard, ShardKey, Sharded, Shards, Unrouted,
    Update,
};

use super::datum::{Column, Datum, Kind, Line};
use super::measures::{Found, Function, Measures, Wanted, grouped_by, integer, own, real};
use super::predicate::Test;
use super::strategies::By;
use super::subject::{
    Cell, Groups, Subject, aggregate, compared, compared_text, extreme, grouped, nullable, ordered,
};

/// A model and its [`Subject`]. `compare` and `aggregate` are the operations on the key: text has tests of its own, and only
/// numbers have sums.
macro_rules! model {
    (
        $(#[$struct:meta])*
        $model:ident { $(#[$key:meta])* key: $type:ty, $(#[$part:meta])* part }
        kind: $kind:ident, compare: $compare:ident, aggregate: $aggregate:ident, shards: $shards:literal, edges: [$($edge:expr),*],
        declared: $declared:expr,
        $(subject: { $($more:tt)* })?
    ) => {
        #[derive(Sharded, Clone, Debug, PartialEq)]
        $(#[$struct])*
        pub struct $model {
            #[id]
            id: i64,
            $(#[$key])*
            key: $type,
            $(#[$part])*
            part: String,
            amount: i64,
            rank: Option<i64>,
            name: String,
            note: Option<String>,
            weight: Option<f64>,
        }

        impl Subject for $model {
            const KIND: Kind = Kind::$kind;

            fn edges() -> &'static [Datum] {
                static EDGES: LazyLock<Vec<Datum>> = LazyLock::new(|| vec![$(Datum::from($edge)),*]);
                &EDGES
            }

            fn shards() -> usize {
                $shards
            }

            fn declared(key: &Datum, shards: usize) -> Option<Option<usize>> {
                let declared: fn(&Datum, usize) -> Option<Option<usize>> = $declared;
                declared(key, shards)
            }

            fn build(line: &Line) -> Self {
                $model {
                    id: line.id(),
                    key: Cell::of(line.get(Column::Key)),
                    part: Cell::of(line.get(Column::Part)),
                    amount: Cell::of(line.get(Column::Amount)),
                    rank: nullable(line.get(Column::Rank)),
                    name: Cell::of(line.get(Column::Name)),
                    note: nullable(line.get(Column::Note)),
                    weight: nullable(line.get(Column::Weight)),
                }
            }

            fn line(&self) -> Line {
                Line([
                    self.id.into(),
                    self.key.datum(),
                    self.part.clone().into(),
                    self.amount.into(),
                    self.rank.into(),
                    self.name.clone().into(),
                    self.note.clone().into(),
                    self.weight.into(),
                ])
            }

            fn leaf(column: Column, test: &Test) -> Filter<Self, Unrouted> {
                match column {
                    Column::Id => compared(Self::ID, test),
                    Column::Key => $compare(Self::KEY, test),
                    Column::Part => compared_text(Self::PART, test),
                    Column::Amount => compared(Self::AMOUNT, test),
                    Column::Rank => compared(Self::RANK, test),
                    Column::Name => compared_text(Self::NAME, test),
                    Column::Note => compared_text(Self::NOTE, test),
                    Column::Weight => compared(Self::WEIGHT, test),
                }
            }

            fn order(by: By) -> Order<Self> {
                match by.column {
                    Column::Id => ordered(Self::ID, by),
                    Column::Key => ordered(Self::KEY, by),
                    Column::Part => ordered(Self::PART, by),
                    Column::Amount => ordered(Self::AMOUNT, by),
                    Column::Rank => ordered(Self::RANK, by),
                    Column::Name => ordered(Self::NAME, by),
                    Column::Note => ordered(Self::NOTE, by),
                    Column::Weight => ordered(Self::WEIGHT, by),
                }
            }

            fn set(update: Update<Self, Routed>, column: Column, value: &Datum) -> Update<Self, Routed> {
                match column {
                    Column::Amount => update.set(Self::AMOUNT, value.integer()),
                    Column::Rank => update.set(Self::RANK, nullable::<i64>(value)),
                    Column::Name => update.set(Self::NAME, value.as_text()),
                    Column::Note => update.set(Self::NOTE, nullable::<String>(value)),
                    Column::Weight => update.set(Self::WEIGHT, nullable::<f64>(value)),
                    Column::Id | Column::Key | Column::Part => unreachable!("{column:?} is not set"),
                }
            }

            fn aggregate(
                session: &mut Session,
                select: Select<Self, Routed>,
                function: Function,
                column: Column,
            ) -> Result<Datum> {
                match column {
                    Column::Id => aggregate(session, select, function, Self::ID),
                    Column::Key => $aggregate(session, select, function, Self::KEY),
                    Column::Part => extreme(session, select, function, Self::PART),
                    Column::Amount => aggregate(session, select, function, Self::AMOUNT),
                    Column::Rank => aggregate(session, select, function, Self::RANK),
                    Column::Name => extreme(session, select, function, Self::NAME),
                    Column::Note => extreme(session, select, function, Self::NOTE),
                    Column::Weight => aggregate(session, select, function, Self::WEIGHT),
                }
            }

            fn briefs(session: &mut Session, select: Select<Self, Routed>) -> Result<Vec<Line>> {
                #[derive(Projection)]
                #[sharded(model = $model)]
                struct Brief {
                    note: Option<String>,
                    #[sharded(column = key)]
                    placed_by: $type,
                    id: i64,
                }
                let line = |brief: Brief| {
                    let mut line = Line(std::array::from_fn(|_| Datum::Null));
                    line.set(Column::Id, brief.id.into());
                    line.set(Column::Key, brief.placed_by.datum());
                    line.set(Column::Note, brief.note.into());
                    line
                };
                Ok(session.all(select.columns(Brief::COLUMNS))?.into_iter().map(line).collect())
            }

            fn groups(
                session: &mut Session,
                select: Select<Self, Routed>,
                column: Column,
                wanted: Groups,
            ) -> Result<Vec<(Datum, u64)>> {
                match column {
                    Column::Id => grouped(session, select, Self::ID, wanted),
                    Column::Key => grouped(session, select, Self::KEY, wanted),
                    Column::Part => grouped(session, select, Self::PART, wanted),
                    Column::Amount => grouped(session, select, Self::AMOUNT, wanted),
                    Column::Rank => grouped(session, select, Self::RANK, wanted),
                    Column::Name => grouped(session, select, Self::NAME, wanted),
                    Column::Note => grouped(session, select, Self::NOTE, wanted),
                    Column::Weight => grouped(session, select, Self::WEIGHT, wanted),
                }
            }

            fn wanted(measures: &Measures) -> Wanted<Self> {
                let Measures { integer: (integer_of, integers), real: (real_of, reals), text: (text_of, texts), .. } = *measures;
                Wanted {
                    integer: match integers {
                        Column::Id => integer(Self::ID, integer_of),
                        Column::Amount => integer(Self::AMOUNT, integer_of),
                        _ => integer(Self::RANK, integer_of),
                    },
                    real: match (reals, real_of) {
                        (Column::Weight, Function::Sum) => Self::WEIGHT.sum(),
                        (Column::Weight, Function::Least | Function::Greatest) => own(Self::WEIGHT, real_of),
                        (Column::Weight, _) => real(Self::WEIGHT, real_of),
                        (Column::Amount, _) => real(Self::AMOUNT, real_of),
                        _ => real(Self::RANK, real_of),
                    },
                    text: match texts {
                        Column::Name => own(Self::NAME, text_of),
                        _ => own(Self::NOTE, text_of),
                    },
                    distinct: match measures.distinct {
                        Column::Id => Self::ID.count_distinct(),
                        Column::Key => Self::KEY.count_distinct(),
                        Column::Part => Self::PART.count_distinct(),
                        Column::Amount => Self::AMOUNT.count_distinct(),
                        Column::Rank => Self::RANK.count_distinct(),
                        Column::Name => Self::NAME.count_distinct(),
                        Column::Note => Self::NOTE.count_distinct(),
                        Column::Weight => Self::WEIGHT.count_distinct(),
                    },
                }
            }

            fn groups_by(
                session: &mut Session,
                select: Select<Self, Routed>,
                measures: &Measures,
                wanted: &Wanted<Self>,
            ) -> Result<Vec<Found>> {
                match measures.columns() {
                    [Column::Key, Column::Name] => grouped_by(session, select, (Self::KEY, Self::NAME), measures, wanted),
                    [Column::Name, Column::Key] => grouped_by(session, select, (Self::NAME, Self::KEY), measures, wanted),
                    [Column::Rank, Column::Note] => grouped_by(session, select, (Self::RANK, Self::NOTE), measures, wanted),
                    [Column::Part, Column::Key, Column::Rank] => grouped_by(session, select, (Self::PART, Self::KEY, Self::RANK), measures, wanted),
                    [Column::Name, Column::Rank, Column::Weight] => grouped_by(session, select, (Self::NAME, Self::RANK, Self::WEIGHT), measures, wanted),
                    [Column::Weight, Column::Amount, Column::Note, Column::Name] => grouped_by(session, select, (Self::WEIGHT, Self::AMOUNT, Self::NOTE, Self::NAME), measures, wanted),
                    other => unreachable!("{other:?} is none of the groupings"),
                }
            }

            model!(@subject $({ $($more)* })?);
        }
    };
    (@subject) => {
        model!(@subject { single });
    };
    (@subject { single }) => {
        type Cluster = Self;

        fn pin(key: &Datum, _: &str) -> Self::Key {
            Cell::of(key)
        }

        fn clear(session: &mut Session) -> Result<()> {
            session.execute(Self::delete().all_shards()).map(drop)
        }
    };
    (@subject { $($more:tt)* }) => {
        $($more)*
    };
}

/// Seven names on three shards.
#[derive(ShardKey, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    #[shard("s1")]
    Alpha,
    #[shard("s0")]
    Beta,
    #[shard("s2", text = "a tag with a text of its own")]
    Gamma,
    #[shard("s1")]
    Delta,
    #[shard("s1")]
    Omega,
    #[shard("s2")]
    Zeta,
    #[shard("s0", text = "")]
    Empty,
}

const TAGS: [(Tag, &str, usize); 7] = [
    (Tag::Alpha, "Alpha", 1),
    (Tag::Beta, "Beta", 0),
    (Tag::Gamma, "a tag with a text of its own", 2),
    (Tag::Delta, "Delta", 1),
    (Tag::Omega, "Omega", 1),
    (Tag::Zeta, "Zeta", 2),
    (Tag::Empty, "", 0),
];

impl Cell for Tag {
    fn of(datum: &Datum) -> Self {
        let (tag, ..) = TAGS.into_iter().find(|(_, text, _)| *text == datum.as_text()).expect("a tag's text");
        tag
    }
    fn datum(&self) -> Datum {
        let (_, text, _) = TAGS.into_iter().find(|(tag, ..)| tag == self).expect("a tag");
        Datum::text(text)
    }
}

model! {
    #[sharded(table = "by_enum", index(key))]
    ByEnum { #[shard_key] key: Tag, part }
    kind: Name, compare: compared, aggregate: extreme, shards: 3,
    edges: ["Alpha", "Beta", "a tag with a text of its own", "Delta", "Omega", "Zeta", ""],
    declared: |key, _| Some(TAGS.into_iter().find(|(_, text, _)| *text == key.as_text()).map(|(.., place)| place)),
}

model! {
    #[sharded(table = "by_text_list", index(amount))]
    ByTextList {
        #[shard_key(list("a" => "s1", "b" => "s2", "" => "s1", "日本" => "s3", _ => "s0"))] key: String, part
    }
    kind: Text, compare: compared_text, aggregate: extreme, shards: 4, edges: ["a", "b", "", "日本"],
    declared: |key, _| Some(Some(match key.as_text() {
        "a" | "" => 1,
        "b" => 2,
        "日本" => 3,
        _ => 0,
    })),
}

model! {
    #[sharded(table = "by_integer_list")]
    ByIntegerList {
        #[shard_key(list(
            -1 => "s0", 0 => "s1", 1 => "s1", 5 => "s2", -9223372036854775808 => "s0", 9223372036854775807 => "s2"
        ))] key: i64, part
    }
    kind: Integer, compare: compared, aggregate: aggregate, shards: 3, edges: [-1, 0, 1, 5, i64::MIN, i64::MAX],
    declared: |key, _| Some(match key.integer() {
        -1 | i64::MIN => Some(0),
        0 | 1 => Some(1),
        5 | i64::MAX => Some(2),
        _ => None,
    }),
}

model! {
    #[sharded(table = "by_integer_hash", index(key, amount), index(name, rank))]
    ByIntegerHash { #[shard_key(hash)] key: i64, part }
    kind: Integer, compare: compared, aggregate: aggregate, shards: 1, edges: [],
    declared: |_, _| None,
}

model! {
    #[sharded(table = "by text \"hash\"", index(note))]
    ByTextHash { #[shard_key(hash)] key: String, part }
    kind: Text, compare: compared_text, aggregate: extreme, shards: 1, edges: [],
    declared: |_, _| None,
}

model! {
    #[sharded(table = "by_integer_range", unique(key, id))]
    ByIntegerRange {
        #[shard_key(range("s0" => ..-5, "s1" => -5..0, "s0" => 0..1, "s2" => 1..100, "s1" => 100..))] key: i64, part
    }
    kind: Integer, compare: compared, aggregate: aggregate, shards: 3, edges: [-6, -5, -1, 0, 1, 99, 100],
    declared: |key, _| Some(Some(match key.integer() {
        ..-5 | 0 => 0,
        -5..0 | 100.. => 1,
        1..100 => 2,
    })),
}

model! {
    #[sharded(table = "by_gapped_range")]
    ByGappedRange {
        #[shard_key(range("s1" => -5..0, "s0" => 1..4, "s2" => 5..9223372036854775807, gaps))] key: i64, part
    }
    kind: Integer, compare: compared, aggregate: aggregate, shards: 3, edges: [-6, -5, -1, 0, 1, 3, 4, 5, i64::MAX - 1, i64::MAX],
    declared: |key, _| Some(match key.integer() {
        -5..=-1 => Some(1),
        1..=3 => Some(0),
        5..=0x7FFF_FFFF_FFFF_FFFE => Some(2),
        _ => None,
    }),
}

model! {
    #[sharded(table = "by_text_range", index(amount), index(weight))]
    ByTextRange {
        #[shard_key(range("s0" => .."a", "s1" => "a".."b", "s2" => "b".."ba", "s0" => "ba".."h", "s3" => "h"..))]
        key: String, part
    }
    kind: Text, compare: compared_text, aggregate: extreme, shards: 4, edges: ["a", "b", "ba", "h"],
    declared: |key, _| Some(Some(match key.as_text() {
        text if text < "a" => 0,
        text if text < "b" => 1,
        text if text < "ba" => 2,
        text if text < "h" => 0,
        _ => 3,
    })),
}

/// One in eight keys is placed nowhere, the others go round.
fn round_robin<'s>(key: &i64, shards: &'s Shards) -> Option<&'s Shard> {
    match key.rem_euclid(8) {
        7 => None,
        rest => shards.by_index(rest as usize % shards.len()),
    }
}

model! {
    #[sharded(table = "by_function")]
    ByFunction { #[shard_key(with = round_robin)] key: i64, part }
    kind: Integer, compare: compared, aggregate: aggregate, shards: 1, edges: [7, 15],
    declared: |key, shards| Some(match key.integer().rem_euclid(8) {
        7 => None,
        rest => Some(rest as usize % shards),
    }),
}

model! {
    #[sharded(table = "by_both", shard_key(hash), index(part, key))]
    ByBoth { #[shard_key] key: i64, #[shard_key] part }
    kind: Integer, compare: compared, aggregate: aggregate, shards: 1, edges: [],
    declared: |_, _| None,
    subject: {
        const COMPOSITE: bool = true;
        type Cluster = Self;

        fn keys(keys: &[(i64, String)]) -> Filter<Self, Unrouted> {
            match keys {
                [key] => Self::SHARD_KEY.eq(key.clone()).into(),
                keys => Self::SHARD_KEY.is_in(keys.iter().cloned()).into(),
            }
        }

        fn pin(key: &Datum, part: &str) -> Self::Key {
            (key.integer(), part.to_owned())
        }

        fn clear(session: &mut Session) -> Result<()> {
            session.execute(Self::delete().all_shards()).map(drop)
        }
    }
}

/// A parent whose id is its key.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "owners")]
pub struct Owner {
    #[id]
    #[shard_key(hash)]
    id: i64,
}

model! {
    #[sharded(table = "by_owner")]
    ByOwner { #[shard_parent(Owner)] key: i64, part }
    kind: Integer, compare: compared, aggregate: aggregate, shards: 1, edges: [],
    declared: |_, _| None,
    subject: {
        type Cluster = (Owner, Self);

        fn pin(key: &Datum, _: &str) -> Self::Key {
            key.integer()
        }

        fn before_adding(session: &mut Session, row: &Self) -> Result<()> {
            if session.get::<Owner>(row.key)?.is_none() {
                session.add(Owner { id: row.key })?;
            }
            Ok(())
        }

        fn clear(session: &mut Session) -> Result<()> {
            session.execute(Self::delete().all_shards())?;
            session.execute(Owner::delete().all_shards()).map(drop)
        }
    }
}
