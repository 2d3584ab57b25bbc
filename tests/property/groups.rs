//! Groups by several columns and measures of all rows: a cluster's are those of one big table, whose rows are
//! grouped here one by one.

use std::cmp::Ordering;

use proptest::prelude::*;
use shard_runtime::{ErrorKind, Session};

use super::aggregates::check_sum;
use super::asking::{check_asked, check_needless, names_unplaced, pinned};
use super::datum::{Column, Datum, Line};
use super::measures::{Found, Function, GroupBy, Measures, Operator, Which, measured};
use super::oracle::Oracle;
use super::reading::select;
use super::runner::Verdict;
use super::strategies::{By, Query};
use super::subject::Subject;
use super::world::{World, succeeded};

/// Checks measures of the rows of a query, which has neither order nor bounds.
pub fn check<T: Subject>(
    world: &World,
    session: &mut Session,
    oracle: &Oracle,
    query: &Query,
    measures: &Measures,
) -> Verdict {
    let layout = &world.layout;
    let wanted = T::wanted(measures);
    let (found, asked) =
        world.asked(session, |session| measured(session, select::<T>(query, layout), measures, &wanted));
    let pin = match pinned::<T>(query.pin.as_ref(), layout) {
        Ok(pin) if !names_unplaced::<T>(&query.tree, layout) => pin,
        _ => {
            prop_assert_eq!(found.map(|_| ()).map_err(|error| error.kind()), Err(ErrorKind::UnmappedKey));
            prop_assert!(asked.is_empty(), "asked {:?} for a key that is placed nowhere", asked);
            return Ok(());
        }
    };
    // Shards are read one after the other if the groups are each shard's own, until no shard is left.
    let ends_early = match &found {
        Ok(found) => measures.limit == Some(found.len() as u64),
        Err(_) => true,
    };
    match (measures.grouping, measures.limit) {
        (Some(_), Some(0)) => prop_assert!(asked.is_empty(), "asked {:?} for no group", asked),
        _ if ends_early => check_needless::<T>(&query.tree, pin, &asked, layout)?,
        _ => check_asked::<T>(&query.tree, pin, &asked, layout)?,
    }
    let lines: Vec<Line> = oracle.select(query, pin).into_iter().map(|(_, line)| line).collect();
    let groups = grouped(&lines, measures);
    if groups.iter().any(|group| group.may_be_too_large(measures)) {
        // It is an error, unless the shards have left that group out of the answer automatically.
        return match found {
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::Value);
                Ok(())
            }
            Ok(found) => found.iter().try_for_each(|found| {
                let group = groups.iter().find(|group| group.columns == found.columns);
                prop_assert!(group.is_some(), "{:?} is no group", found);
                group.map_or(Ok(()), |group| check_group(found, group, measures))
            }),
        };
    }
    let (found, groups) = (succeeded(found)?, answer(groups, measures));
    prop_assert_eq!(found.len(), groups.len(), "{:?} instead of {:?}", found, groups);
    found.iter().zip(&groups).try_for_each(|(found, group)| check_group(found, group, measures))
}

/// The rows that agree in the groups' columns.
#[derive(Debug)]
struct Group<'l> {
    columns: Vec<Datum>,
    lines: Vec<&'l Line>,
}

fn grouped<'l>(lines: &'l [Line], measures: &Measures) -> Vec<Group<'l>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    if measures.grouping.is_none() {
        groups.push(Group { columns: Vec::new(), lines: Vec::new() });
    }
    for line in lines {
        let columns: Vec<Datum> = measures.columns().iter().map(|column| line.get(*column).clone()).collect();
        match groups.iter_mut().find(|group| group.columns == columns) {
            Some(group) => group.lines.push(line),
            None => groups.push(Group { columns, lines: vec![line] }),
        }
    }
    groups
}

/// The groups of the answer in its order.
fn answer<'l>(mut groups: Vec<Group<'l>>, measures: &Measures) -> Vec<Group<'l>> {
    if measures.grouping.is_none() {
        return groups;
    }
    groups.retain(|group| {
        measures.having.iter().all(|(which, operator, value)| {
            group.measure(*which, measures).order(value).is_some_and(|order| holds(*operator, order))
        })
    });
    groups.sort_by(|a, b| compare(a, b, measures));
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    groups.into_iter().skip(size(measures.offset)).take(measures.limit.map_or(usize::MAX, size)).collect()
}

fn holds(operator: Operator, order: Ordering) -> bool {
    match operator {
        Operator::Equal => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
    }
}

/// Orders by the query's order, then by all the groups' columns.
fn compare(a: &Group<'_>, b: &Group<'_>, measures: &Measures) -> Ordering {
    let columns = measures.columns();
    let asked = measures.order.iter().map(|by| match *by {
        GroupBy::Column(by) => {
            let place = columns.iter().position(|column| *column == by.column).expect("a group's column");
            ordered(&a.columns[place], &b.columns[place], by)
        }
        GroupBy::Measure(which, descending) => {
            let by = By { column: Column::Id, descending, nulls_first: None };
            ordered(&a.measure(which, measures), &b.measure(which, measures), by)
        }
    });
    let ascending = By { column: Column::Id, descending: false, nulls_first: None };
    let rest = a.columns.iter().zip(&b.columns).map(|(a, b)| ordered(a, b, ascending));
    asked.chain(rest).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// The order of two values; by default NULL is the least.
fn ordered(a: &Datum, b: &Datum, By { descending, nulls_first, .. }: By) -> Ordering {
    let null_first = nulls_first.unwrap_or(!descending);
    match (*a == Datum::Null, *b == Datum::Null) {
        (true, true) => Ordering::Equal,
        (true, false) => {
            if null_first {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        (false, true) => {
            if null_first {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        (false, false) => {
            let order = a.order(b).expect("no NULL");
            if descending { order.reverse() } else { order }
        }
    }
}

impl Group<'_> {
    /// The values of a column that are not NULL, in their order.
    fn values(&self, column: Column) -> Vec<&Datum> {
        let mut values: Vec<&Datum> =
            self.lines.iter().map(|line| line.get(column)).filter(|value| **value != Datum::Null).collect();
        values.sort_by(|a, b| a.order(b).expect("no NULL"));
        values
    }

    /// The least or greatest value, or the sum of integers.
    fn own(&self, (function, column): (Function, Column)) -> Datum {
        let values = self.values(column);
        let value = match function {
            Function::Least => values.first().copied(),
            Function::Greatest => values.last().copied(),
            Function::Sum if values.is_empty() => None,
            Function::Sum => return Datum::Integer(values.iter().map(|value| value.integer()).sum()),
            other => unreachable!("{other:?} is a rounded number"),
        };
        value.cloned().unwrap_or(Datum::Null)
    }

    fn rows(&self) -> u64 {
        self.lines.len() as u64
    }

    fn distinct(&self, measures: &Measures) -> u64 {
        let mut values = self.values(measures.distinct);
        values.dedup();
        values.len() as u64
    }

    fn measure(&self, which: Which, measures: &Measures) -> Datum {
        match which {
            Which::Rows => Datum::Integer(self.rows() as i64),
            Which::Integer => self.own(measures.integer),
            Which::Text => self.own(measures.text),
            Which::Distinct => Datum::Integer(self.distinct(measures) as i64),
        }
    }

    /// Whether the sum of integers, or one shard's part of it, may not fit.
    fn may_be_too_large(&self, measures: &Measures) -> bool {
        let (function, column) = measures.integer;
        let reach: i128 = self.values(column).iter().map(|value| i128::from(value.integer()).abs()).sum();
        function == Function::Sum && reach > i64::MAX.into()
    }
}

fn check_group(found: &Found, group: &Group<'_>, measures: &Measures) -> Verdict {
    prop_assert_eq!(&found.columns, &group.columns);
    prop_assert_eq!(found.rows, group.rows(), "the rows of {:?}", group);
    prop_assert_eq!(found.distinct, group.distinct(measures), "the distinct values of {:?}", group);
    prop_assert_eq!(&found.text, &group.own(measures.text), "the text of {:?}", group);
    check_integer(found, group, measures)?;
    check_real(found, group, measures)
}

fn check_integer(found: &Found, group: &Group<'_>, measures: &Measures) -> Verdict {
    match measures.integer {
        (Function::Sum, column) if !group.values(column).is_empty() => {
            check_sum(Ok(found.integer.clone()), Function::Sum, &group.values(column))
        }
        own => {
            prop_assert_eq!(&found.integer, &group.own(own), "the integer of {:?}", group);
            Ok(())
        }
    }
}

fn check_real(found: &Found, group: &Group<'_>, measures: &Measures) -> Verdict {
    let (function, column) = measures.real;
    let values = group.values(column);
    match function {
        Function::Sum | Function::Mean if !values.is_empty() => {
            check_sum(Ok(found.real.clone()), function, &values)
        }
        Function::Variance | Function::Deviation if values.len() > 1 => {
            let numbers: Vec<f64> = values.iter().map(|value| value.integer() as f64).collect();
            check_variance(found.real.real(), function, &numbers)
        }
        Function::Least | Function::Greatest => {
            prop_assert_eq!(&found.real, &group.own(measures.real), "the float of {:?}", group);
            Ok(())
        }
        _ => {
            prop_assert_eq!(&found.real, &Datum::Null, "the float of {:?}", group);
            Ok(())
        }
    }
}

fn check_variance(found: f64, function: Function, numbers: &[f64]) -> Verdict {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let variance = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let reach = numbers.iter().fold(0.0_f64, |reach, number| reach.max(number.abs())).powi(2);
    let found = if function == Function::Deviation { found.powi(2) } else { found };
    prop_assert!((found - variance).abs() <= reach * 1e-9, "{} instead of {}", found, variance);
    Ok(())
}
