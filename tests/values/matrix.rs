//! Every type's edges on every backend: stored, read, compared, grouped, ordered, paged.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;

use shard_runtime::{Sharded, Sql, count};

use crate::backend::{Backend, LETTERS, Watched};
use crate::edges::*;

on_every_backend! {
    r58_add_returns_the_row_that_a_read_returns;
    // Hundreds of statements: once for each kind of database and for both together.
    only Files Schemas Everything:
        r58_save_and_update_leave_the_row_that_a_read_returns,
        r58_values_are_found_by_themselves,
        r58_equal_values_are_one_group,
        r58_values_have_one_order,
        r58_pages_follow_each_other_at_the_edges,
        r58_sql_reads_and_binds_every_type,
        r58_bulk_updates_store_the_same_values_as_add,
        r58_async_sessions_answer_the_same,
}

type Both = (Edge, Constant);

/// Every edge on every shard, committed; and the rows as `add` has returned them.
fn filled(backend: &Backend) -> (Watched, Vec<Edge>) {
    let cluster = backend.create::<Both>(&LETTERS);
    let mut session = cluster.session();
    let rows = everything().into_iter().map(|row| Edge::clone(&session.add(row).unwrap())).collect();
    session.commit().unwrap();
    (cluster, rows)
}

#[track_caller]
fn assert_same(found: &Edge, expected: &Edge) {
    assert_eq!((found.id, found.home), (expected.id, expected.home));
    assert_eq!(found.texts(), expected.texts(), "row {}", found.id);
}

/// The sort key of rows, with NULL last.
fn order<V, K: PartialOrd>(key: impl Fn(&V) -> K) -> impl Fn(&V, &V) -> std::cmp::Ordering {
    move |a, b| key(a).partial_cmp(&key(b)).unwrap()
}

fn r58_add_returns_the_row_that_a_read_returns(backend: &Backend) {
    let (cluster, added) = filled(backend);
    for (added, given) in added.iter().zip(everything()) {
        let mut session = cluster.session();
        let read = session.get(Edge::by_id(added.id).on(added.home)).unwrap().unwrap();
        assert_same(&read, added);
        // Only the expected digits are lost.
        let lossless = |(given, stored): (String, String)| {
            given == stored
                || ["Tenths", "Text(", "-0.0", "Timestamp", "Number", "Z"]
                    .iter()
                    .any(|known| given.contains(known))
        };
        assert!(given.texts().into_iter().zip(added.texts()).all(lossless));
    }
    let mut session = cluster.session();
    let all = session.all(Edge::select().all_shards().order_by(Edge::ID.asc())).unwrap();
    assert_eq!(all.len(), added.len());
    all.iter().zip(&added).for_each(|(read, added)| assert_same(read, added));
    let many = |row: Edge| Edge { id: row.id + 10_000, ..row };
    let more = session.add_all(everything().into_iter().map(many)).unwrap();
    more.iter().zip(&added).for_each(|(more, added)| assert_eq!(more.texts(), added.texts()));
    session.rollback();
    // Rows that are the same on every shard are equal there.
    let constants: Vec<Constant> = everything().iter().map(Edge::everywhere).collect();
    let added = session.add_all(constants).unwrap();
    session.commit().unwrap();
    for shard in LETTERS {
        let read = session.all(Constant::select().on_shard(shard).order_by(Constant::ID.asc())).unwrap();
        assert_eq!(format!("{:?}", rows(&read)), format!("{:?}", rows(&added)));
    }
    assert_eq!(cluster.compare_references().unwrap(), []);
}

fn rows<T: Sharded>(stored: &[shard_runtime::Stored<T>]) -> Vec<&T> {
    stored.iter().map(|row| &**row).collect()
}

fn r58_save_and_update_leave_the_row_that_a_read_returns(backend: &Backend) {
    let (cluster, added) = filled(backend);
    let mut session = cluster.session();
    let all = everything();
    for home in Home::ALL {
        let of_home = added.iter().filter(|row| row.home == home);
        let mut row = session.save(Edge { id: 1_000_000, home, ..all[0].clone() }).unwrap();
        for values in of_home {
            let given = all.iter().find(|given| given.id == values.id).unwrap().clone();
            let saved = session.save(Edge { id: 2_000_000, ..given.clone() }).unwrap();
            *row = Edge { id: 1_000_000, home, ..given };
            session.update(&mut row).unwrap();
            assert_eq!(saved.texts(), values.texts());
            assert_eq!(row.texts(), values.texts());
            session.flush().unwrap();
            let mut reader = row.clone();
            session.reload(&mut reader).unwrap();
            assert_same(&reader, &row);
        }
        session.rollback();
    }
}

fn r58_values_are_found_by_themselves(backend: &Backend) {
    let (cluster, added) = filled(backend);
    let mut session = cluster.session();
    let all = everything();
    macro_rules! found_by_itself {
        ($field:ident, $column:expr, $key:expr) => {
            let keys: Vec<(i64, Option<Key>)> = added
                .iter()
                .map(|row| (row.id, IntoSome::some(row.$field.clone()).map(|own| own.key())))
                .collect();
            let mut seen = HashSet::new();
            for given in &all {
                let Some(value) = IntoSome::some(given.$field.clone()) else { continue };
                let key = value.key();
                if !seen.insert(format!("{value:?}")) {
                    continue;
                }
                let ids = |is: &dyn Fn(&Key, &Key) -> bool| -> Vec<i64> {
                    let same = |(_, own): &&(i64, Option<Key>)| own.as_ref().is_some_and(|own| is(own, &key));
                    keys.iter().filter(same).map(|(id, _)| *id).collect()
                };
                let mut check = |filter, expected: Vec<i64>| {
                    let query =
                        Edge::select().all_shards().filter(filter).order_by(Edge::ID.asc()).columns(Edge::ID);
                    let name = stringify!($field);
                    assert_eq!(session.all(query).unwrap(), expected, "{name} {value:?}");
                };
                check($column.eq(value.clone()), ids(&|own, key| own == key));
                check($column.ne(value.clone()), ids(&|own, key| own != key));
                check($column.is_in([value.clone()]), ids(&|own, key| own == key));
                check($column.le(value.clone()), ids(&|own, key| own <= key));
                check($column.gt(value.clone()), ids(&|own, key| own > key));
                check($column.between(value.clone(), value.clone()), ids(&|own, key| own == key));
            }
        };
    }
    for_each_column!(found_by_itself);
}

/// A value that may be missing.
pub trait IntoSome<V> {
    fn some(self) -> Option<V>;
}

impl<V: Edges> IntoSome<V> for V {
    fn some(self) -> Option<V> {
        Some(self)
    }
}

impl<V: Edges> IntoSome<V> for Option<V> {
    fn some(self) -> Option<V> {
        self
    }
}

fn r58_equal_values_are_one_group(backend: &Backend) {
    let (cluster, added) = filled(backend);
    let mut session = cluster.session();
    macro_rules! grouped {
        ($field:ident, $column:expr, $key:expr) => {
            let name = stringify!($field);
            let text = |value: &dyn Debug| format!("{value:?}");
            let mut expected: BTreeMap<String, u64> = BTreeMap::new();
            added.iter().for_each(|row| *expected.entry(text(&row.$field)).or_default() += 1);
            let groups = Edge::select().all_shards().group_by($column).aggregate(count());
            let found = session.all(groups).unwrap();
            let found: Vec<(String, u64)> =
                found.iter().map(|(value, rows)| (text(value), *rows as u64)).collect();
            assert_eq!(found.len(), expected.len(), "{name} {found:?}");
            assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), expected, "{name}");
            let distinct = session.all(Edge::select().all_shards().columns($column).distinct()).unwrap();
            let mut distinct: Vec<String> = distinct.iter().map(|value| text(value)).collect();
            distinct.sort();
            assert_eq!(distinct, expected.keys().cloned().collect::<Vec<_>>(), "{name}");
            let counted =
                session.one(Edge::select().all_shards().aggregate($column.count_distinct())).unwrap();
            let some = expected.keys().filter(|key| *key != "None").count();
            assert_eq!(counted as usize, some, "{name}");
            for shard in LETTERS {
                let here = added.iter().filter(|row| text(&row.home).to_lowercase() == shard);
                let here: std::collections::BTreeSet<String> =
                    here.map(|row| text(&row.$field)).filter(|text| text != "None").collect();
                let counted = Edge::select().on_shard(shard).aggregate($column.count_distinct());
                assert_eq!(session.one(counted).unwrap() as usize, here.len(), "{name} on {shard}");
            }
            let mut values: Vec<_> =
                added.iter().filter_map(|row| IntoSome::some(row.$field.clone())).collect();
            values.sort_by(order(Edges::key));
            let (least, greatest) = (values.first().cloned(), values.last().cloned());
            let both = Edge::select().all_shards().aggregate(($column.min(), $column.max()));
            assert_eq!(text(&session.one(both).unwrap()), text(&(least, greatest)), "{name}");
        };
    }
    for_each_column!(grouped);
}

fn r58_values_have_one_order(backend: &Backend) {
    let (cluster, added) = filled(backend);
    let mut session = cluster.session();
    macro_rules! ordered {
        ($field:ident, $column:expr, $key:expr) => {
            let mut expected: Vec<&Edge> = added.iter().collect();
            expected.sort_by(order(|row: &&Edge| ($key(&row.$field), row.id)));
            let (nulls, expected): (Vec<&Edge>, Vec<&Edge>) =
                expected.into_iter().partition(|row| format!("{:?}", row.$field) == "None");
            let expected: Vec<i64> = expected.iter().chain(&nulls).map(|row| row.id).collect();
            let by =
                Edge::select().all_shards().order_by($column.asc().nulls_last()).order_by(Edge::ID.asc());
            assert_eq!(session.all(by.columns(Edge::ID)).unwrap(), expected, stringify!($field));
        };
    }
    for_each_column!(ordered);
}

fn r58_pages_follow_each_other_at_the_edges(backend: &Backend) {
    let (cluster, added) = filled(backend);
    let mut session = cluster.session();
    macro_rules! paged {
        ($field:ident, $column:expr, $key:expr) => {
            let by = Edge::select().all_shards().order_by($column.asc()).order_by(Edge::ID.desc());
            let whole = session.all(by.clone().columns(Edge::ID)).unwrap();
            assert_eq!(whole.len(), added.len());
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let page = after.iter().fold(by.clone(), |by, cursor| by.after(cursor)).limit(17);
                let page = session.all(page.columns(Edge::ID).with_cursor()).unwrap();
                let Some((_, cursor)) = page.last() else { break };
                after = Some(cursor.to_string().parse().unwrap());
                paged.extend(page.iter().map(|(id, _)| *id));
            }
            assert_eq!(paged, whole, stringify!($field));
            let row = session.all(by.clone().limit(40)).unwrap().pop().unwrap();
            let after = session.all(by.clone().after(&by.cursor(&row).unwrap()).columns(Edge::ID)).unwrap();
            assert_eq!(after, whole[40..], stringify!($field));
        };
    }
    for_each_column!(paged);
}

fn r58_sql_reads_and_binds_every_type(backend: &Backend) {
    let (cluster, added) = filled(backend);
    let mut session = cluster.session();
    for (home, shard) in Home::ALL.into_iter().zip(LETTERS) {
        let own: Vec<&Edge> = added.iter().filter(|row| row.home == home).collect();
        let found = session.all(Sql::new("SELECT * FROM {edges} ORDER BY id").on_shard(shard)).unwrap();
        assert_eq!(found.len(), own.len());
        for (row, own) in found.iter().zip(&own) {
            macro_rules! read {
                ($field:ident, $column:expr, $key:expr) => {
                    let [read, own] = [row.get(stringify!($field)).unwrap(), own.$field.clone()];
                    assert_eq!(format!("{read:?}"), format!("{own:?}"), stringify!($field));
                };
            }
            for_each_column!(read);
        }
        macro_rules! bound {
            ($field:ident, $column:expr, $key:expr) => {
                let sql =
                    format!("UPDATE {{edges}} SET \"{}\" = {}", stringify!($field), backend.param(shard, 1));
                let given = Edge::at(3, home).$field;
                session.execute(Sql::new(sql).bind(given).on_shard(shard)).unwrap();
                let stored = added.iter().find(|row| $key(&row.$field) == $key(&Edge::at(3, home).$field));
                let read = session.all(Edge::select().on_shard(shard).limit(1).columns($column)).unwrap();
                assert_eq!(format!("{:?}", read[0]), format!("{:?}", stored.unwrap().$field));
            };
        }
        for_each_column!(bound);
        session.rollback();
    }
}

fn r58_bulk_updates_store_the_same_values_as_add(backend: &Backend) {
    let (cluster, added) = filled(backend);
    let mut session = cluster.session();
    let all = everything();
    macro_rules! set {
        ($field:ident, $column:expr, $key:expr) => {
            for (given, stored) in all.iter().zip(&added).step_by(7) {
                let update =
                    Edge::update().set($column, given.$field.clone()).filter(Edge::ID.lt(6)).all_shards();
                assert_eq!(session.execute(update).unwrap(), 6);
                for read in
                    session.all(Edge::select().all_shards().filter(Edge::ID.lt(6)).columns($column)).unwrap()
                {
                    assert_eq!(format!("{read:?}"), format!("{:?}", stored.$field), stringify!($field));
                }
            }
        };
    }
    for_each_column!(set);
}

fn r58_async_sessions_answer_the_same(backend: &Backend) {
    let (cluster, added) = filled(backend);
    smol::block_on(async {
        let mut session = cluster.async_session();
        let read = session.all(Edge::select().all_shards().order_by(Edge::ID.asc())).await.unwrap();
        read.iter().zip(&added).for_each(|(read, added)| assert_same(read, added));
        for (given, stored) in everything().into_iter().zip(&added) {
            let row = session.add(Edge { id: given.id + 10_000, ..given }).await.unwrap();
            assert_eq!(row.texts(), stored.texts());
        }
        session.commit().await.unwrap();
        let moved = Edge::select().all_shards().filter(Edge::ID.ge(10_000)).order_by(Edge::ID.asc());
        let read = session.all(moved).await.unwrap();
        assert_eq!(read.len(), added.len());
        read.iter().zip(&added).for_each(|(read, added)| assert_eq!(read.texts(), added.texts()));
    });
}
