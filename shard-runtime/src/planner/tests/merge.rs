//! Plan → merge: the remaining work on the results of several shards, and the limits of each shard.

use super::*;
use crate::planner::Plan;
use crate::planner::sql::Param;
use crate::query::SelectList;
use crate::query::{Query as _, Read, count};
use crate::value::Value;

/// `(query, shards, merge)`.
#[test]
fn answers_of_several_shards_become_one() {
    let all = || City::select().all_shards();
    let one = || City::select().on("Asia");
    let lines: Vec<(Query, &str, &str)> = vec![
        (query(all()), "a b c", ""),
        (query(one().order_by(City::NAME.asc()).limit(3).offset(2)), "b", ""),
        (
            query(all().order_by(City::NAME.asc()).order_by(City::POPULATION.desc())),
            "a b c",
            "merged by name, population",
        ),
        (
            query(all().order_by(City::NAME.asc()).limit(3).offset(2)),
            "a b c",
            "merged by name, 2 rows left out, 3 rows kept",
        ),
        (query(all().limit(0)), "", ""),
        (query(all().columns(City::NAME).distinct()), "a b c", "merged by name, each once"),
        (query(one().columns(City::NAME).distinct()), "b", ""),
        (
            query(all().order_by(City::CODE.desc()).columns((City::NAME, City::CODE)).distinct()),
            "a b c",
            "merged by code, name, each once",
        ),
        (query(all().count()), "a b c", "one value from all"),
        (query(one().count()), "b", ""),
        (query(all().exists()), "a b c", "whether one of them has a row"),
        (query(all().aggregate(City::POPULATION.sum())), "a b c", "one value from all"),
        (
            query(all().group_by(City::NAME).aggregate(count::<City>())),
            "a b c",
            "merged by name, groups of one key together",
        ),
        (query(one().group_by(City::NAME).aggregate(count::<City>())), "b", ""),
        // The key is among the columns: each group is of one shard.
        (
            query(all().group_by(City::CONTINENT).aggregate(count::<City>()).limit(2)),
            "a b c",
            "merged by continent, groups pushed down whole",
        ),
        (
            query(
                all()
                    .group_by(City::NAME)
                    .aggregate(count::<City>())
                    .having(count::<City>().gt(1))
                    .order_by(count::<City>().desc()),
            ),
            "a b c",
            "merged by name, groups of one key together, then left out by their measures, then ordered by their measures",
        ),
        // A reference table is whole on every shard.
        (query(Country::select().order_by(Country::NAME.asc())), "a", ""),
        (query(Country::delete()), "a b c", ""),
    ];
    let layout = layout(Dialect::Sqlite);
    assert_lines(lines.iter().map(|(query, shards, merge)| {
        let explain = query(&layout);
        let found = explain.merge().unwrap_or_default().to_owned();
        (format!("{shards}: {merge}"), format!("{}: {found}", explain.shards().join(" ")))
    }));
}

/// Compares the numbers of rows that each shard returns at most, that the merge skips, and that it keeps.
#[test]
fn r26_limits_are_pushed_down_as_far_as_they_hold() {
    let lines = [
        (City::select().on("Asia").limit(3).offset(2), [Some(3), Some(2)], (0, None)),
        (City::select().all_shards().limit(3).offset(2), [Some(5), None], (2, Some(3))),
        (City::select().all_shards().offset(2), [None, None], (2, None)),
        (City::select().all_shards().limit(u64::MAX).offset(2), [Some(i64::MAX), None], (2, Some(u64::MAX))),
    ];
    let layout = layout(Dialect::Postgres);
    for (select, [limit, offset], bounds) in lines {
        let (core, list) = match select.request().unwrap().0 {
            Read::Models(core, _) => (core, SelectList::Rows),
            Read::Select(core, list) => (core, list),
            _ => panic!("a select"),
        };
        let plan = Plan::read(core, list, &layout).unwrap();
        assert_eq!((plan.bounds.skip, plan.bounds.take), bounds);
        for step in &plan.steps {
            let expected =
                [limit, offset].into_iter().flatten().map(|number| Param::Value(Value::Integer(number)));
            assert_eq!(step.statement.params, expected.collect::<Vec<_>>(), "{}", step.statement.sql);
        }
    }
}
