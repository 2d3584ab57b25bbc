//! Checks the generators: if a kind of case was no longer generated, every property would hold.

use std::collections::{BTreeMap, HashSet};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::changes::{self, Case, Moment, Op, Step};
use super::datum::{Column, Datum, Line};
use super::domain::shares;
use super::families;
use super::measures::{GroupBy, Measures};
use super::models::{ByBoth, ByEnum, ByIntegerRange, ByTextHash, ByTextList};
use super::predicate::{Test, Tree};
use super::strategies::{Pin, Query, Shape, measures, queries, rows};
use super::subject::Subject;
use super::world::worlds;

/// How many cases of each model are looked at.
const CASES: usize = 1_000;

/// How often each kind of case was made.
#[derive(Default)]
struct Counts(BTreeMap<String, usize>);

impl Counts {
    fn see(&mut self, kind: impl Into<String>) {
        *self.0.entry(kind.into()).or_default() += 1;
    }

    fn see_if(&mut self, seen: bool, kind: &str) {
        if seen {
            self.see(kind);
        }
    }

    /// Every one of these was made at least in so many of a thousand cases.
    fn assert_all(&self, kinds: &[&str], thousandths: usize) {
        let least = CASES * thousandths / 1_000;
        let seen = |kind: &str| self.0.get(kind).copied().unwrap_or(0);
        let rare: Vec<_> =
            kinds.iter().filter(|kind| seen(kind) < least).map(|kind| (kind, seen(kind))).collect();
        assert!(rare.is_empty(), "fewer than {least} times: {rare:?}; of {:?}", self.0);
    }
}

/// So many random values, the same in every run.
fn some<S: Strategy>(strategy: &S) -> impl Iterator<Item = S::Value> {
    let mut random = TestRunner::deterministic();
    (0..CASES).map(move |_| strategy.new_tree(&mut random).expect("a value").current())
}

fn see_rows(counts: &mut Counts, rows: &[Line]) {
    let mut keys = HashSet::new();
    let values: Vec<&Datum> = rows.iter().flat_map(|line| &line.0[1..]).collect();
    let has = |holds: &dyn Fn(&Datum) -> bool| values.iter().any(|value| holds(value));
    counts
        .see_if(rows.iter().any(|line| !keys.insert(format!("{:?}", line.get(Column::Key)))), "a key twice");
    counts.see_if(has(&|value| *value == Datum::Null), "NULL");
    counts.see_if(has(&|value| matches!(value, Datum::Integer(..0))), "a negative integer");
    counts.see_if(has(&|value| *value == Datum::Integer(i64::MIN)), "the least integer");
    counts.see_if(has(&|value| *value == Datum::Integer(i64::MAX)), "the greatest integer");
    counts.see_if(has(&|value| matches!(value, Datum::Text(text) if !text.is_ascii())), "unicode");
    counts.see_if(rows.is_empty(), "no row");
}

fn see_tree(counts: &mut Counts, tree: &Tree) {
    match tree {
        Tree::Leaf(_, test) => counts.see(match test {
            Test::Equal(_) => "=",
            Test::NotEqual(_) => "≠",
            Test::Less(_) => "<",
            Test::LessOrEqual(_) => "≤",
            Test::Greater(_) => ">",
            Test::GreaterOrEqual(_) => "≥",
            Test::Between(..) => "BETWEEN",
            Test::In(values) if values.is_empty() => "IN ()",
            Test::In(_) => "IN",
            Test::NotIn(values) if values.is_empty() => "NOT IN ()",
            Test::NotIn(_) => "NOT IN",
            Test::Like(_) => "LIKE",
            Test::StartsWith(_) => "starts with",
            Test::EndsWith(_) => "ends with",
            Test::Contains(_) => "contains",
            Test::IsNull => "IS NULL",
            Test::IsNotNull => "IS NOT NULL",
        }),
        Tree::Keys(_) => counts.see("IN of pairs"),
        Tree::Not(tree) => {
            counts.see("NOT");
            see_tree(counts, tree);
        }
        Tree::All(trees) | Tree::Any(trees) => {
            counts.see(if matches!(tree, Tree::All(_)) { "AND" } else { "OR" });
            trees.iter().for_each(|tree| see_tree(counts, tree));
        }
    }
}

/// How many of `AND`, `OR` and `NOT` stand above a condition.
fn depth(tree: &Tree) -> usize {
    match tree {
        Tree::Leaf(..) | Tree::Keys(_) => 0,
        Tree::Not(tree) => 1 + depth(tree),
        Tree::All(trees) | Tree::Any(trees) => 1 + trees.iter().map(depth).max().unwrap_or(0),
    }
}

fn is_about_the_key_alone<T: Subject>(tree: &Tree) -> bool {
    let mut alone = true;
    tree.leaves(&mut |column, _, _| {
        alone &= column == Column::Key || (T::COMPOSITE && column == Column::Part)
    });
    alone
}

fn see_query(counts: &mut Counts, query: &Query) {
    see_tree(counts, &query.tree);
    counts.see(format!("depth {}", depth(&query.tree)));
    counts.see(format!("ordered by {}", query.order.len()));
    for by in &query.order {
        counts.see(if by.descending { "descending" } else { "ascending" });
        counts.see(format!("nulls first: {:?}", by.nulls_first));
    }
    counts.see(match query.limit {
        None => "no limit",
        Some(0) => "limit 0",
        Some(_) => "a limit",
    });
    counts.see(if query.offset > 0 { "an offset" } else { "no offset" });
    counts.see(match query.pin {
        None => "no pin",
        Some(Pin::Shard(_)) => "a pin to a shard",
        Some(Pin::Key(..)) => "a pin to a key",
    });
}

fn see_measures(counts: &mut Counts, measures: &Measures) {
    counts.see(format!("groups by {:?}", measures.columns()));
    for (function, column) in [measures.integer, measures.real, measures.text] {
        counts.see(format!("{function:?} of {column:?}"));
    }
    counts.see(format!("distinct {:?}", measures.distinct));
    for (which, operator, _) in &measures.having {
        counts.see(format!("having {which:?}"));
        counts.see(format!("having {operator:?}"));
    }
    for by in &measures.order {
        counts.see(match by {
            GroupBy::Column(_) => "by a column".to_owned(),
            GroupBy::Measure(which, descending) => format!("by {which:?}, descending: {descending}"),
        });
    }
    counts.see(if measures.limit.is_some() { "a limit" } else { "no limit" });
    counts.see(if measures.offset > 0 { "an offset" } else { "no offset" });
}

#[test]
fn rows_hold_edge_cases() {
    let mut counts = Counts::default();
    some(&rows(Shape::of::<ByTextHash>())).for_each(|rows| see_rows(&mut counts, &rows));
    let values =
        ["NULL", "a negative integer", "the least integer", "the greatest integer", "unicode", "a key twice"];
    counts.assert_all(&values, 300);
    counts.assert_all(&["no row"], 10);
}

#[test]
fn queries_are_of_every_kind() {
    let mut counts = Counts::default();
    some(&queries(Shape::of::<ByTextHash>())).for_each(|query| see_query(&mut counts, &query));
    let tests = [
        "=",
        "≠",
        "<",
        "≤",
        ">",
        "≥",
        "BETWEEN",
        "IN",
        "NOT IN",
        "LIKE",
        "starts with",
        "ends with",
        "contains",
        "IS NULL",
        "IS NOT NULL",
        "AND",
        "OR",
        "NOT",
    ];
    counts.assert_all(&tests, 30);
    counts.assert_all(&["IN ()", "NOT IN ()"], 15);
    counts.assert_all(&["depth 0", "depth 1", "depth 2", "depth 3", "depth 4", "depth 5"], 30);
    counts.assert_all(&["ordered by 0", "ordered by 1", "ordered by 2", "ordered by 3"], 100);
    counts.assert_all(&["descending", "ascending", "nulls first: None"], 100);
    counts.assert_all(&["nulls first: Some(true)", "nulls first: Some(false)"], 100);
    counts.assert_all(&["no limit", "limit 0", "a limit", "an offset", "no offset"], 30);
    counts.assert_all(&["no pin", "a pin to a shard", "a pin to a key"], 30);
    let mut counts = Counts::default();
    some(&queries(Shape::of::<ByBoth>())).for_each(|query| see_query(&mut counts, &query));
    counts.assert_all(&["IN of pairs"], 100);
}

#[test]
fn measures_are_of_every_kind() {
    let mut counts = Counts::default();
    some(&measures()).for_each(|measures| see_measures(&mut counts, &measures));
    let groups = super::measures::GROUPINGS.map(|columns| format!("groups by {columns:?}"));
    counts.assert_all(&groups.each_ref().map(String::as_str), 50);
    let distinct = Column::ALL.map(|column| format!("distinct {column:?}"));
    counts.assert_all(&distinct.each_ref().map(String::as_str), 50);
    let functions = [
        "Sum of Id",
        "Least of Amount",
        "Greatest of Rank",
        "Sum of Rank",
        "Mean of Amount",
        "Variance of Rank",
        "Deviation of Amount",
        "Sum of Weight",
        "Mean of Weight",
        "Least of Weight",
        "Greatest of Weight",
        "Least of Name",
        "Greatest of Note",
    ];
    counts.assert_all(&functions, 30);
    let conditions = [
        "having Rows",
        "having Integer",
        "having Text",
        "having Distinct",
        "having Equal",
        "having NotEqual",
        "having Less",
        "having LessOrEqual",
        "having Greater",
        "having GreaterOrEqual",
    ];
    counts.assert_all(&conditions, 30);
    counts.assert_all(&["groups by []", "by a column", "a limit", "no limit", "an offset", "no offset"], 100);
    for which in ["Rows", "Integer", "Text", "Distinct"] {
        let both = [true, false].map(|descending| format!("by {which}, descending: {descending}"));
        counts.assert_all(&both.each_ref().map(String::as_str), 20);
    }
}

fn see_moment(counts: &mut Counts, step: Step, moment: &Moment) {
    let (first, later) = &moment.writes;
    for op in first.iter().chain(later) {
        counts.see(match op {
            Op::Add(_) => format!("{step:?}: add"),
            Op::Update(..) => format!("{step:?}: update"),
            Op::Delete(_) => format!("{step:?}: delete"),
            Op::Replace(..) => format!("{step:?}: replace"),
            Op::Bulk(write) if write.set.is_some() => format!("{step:?}: bulk update"),
            Op::Bulk(_) => format!("{step:?}: bulk delete"),
        });
    }
    counts.see_if(moment.read.is_some(), &format!("{step:?}: read"));
    counts.see_if(moment.other.is_some(), &format!("{step:?}: read by the other handle"));
}

fn see_change(counts: &mut Counts, Case { plan, next, .. }: &Case) {
    counts.see(format!("{:?}", plan.what));
    counts.see_if(plan.turn > 0, "own lines");
    counts.see(format!("cancelled: {:?}", plan.cancelled));
    counts.see_if(next.is_some(), "a second change");
    for (step, moment) in Step::ALL.into_iter().zip(&plan.moments) {
        see_moment(counts, step, moment);
    }
    for pair in plan.moments.windows(2) {
        counts.see_if(pair[0].mover != pair[1].mover, "taken over");
    }
}

#[test]
fn changes_are_of_every_kind() {
    let mut counts = Counts::default();
    // They are large, so that fewer are looked at.
    let cases = changes::cases(Shape::of::<ByTextHash>(), 3);
    some(&cases).take(CASES / 5).for_each(|case| see_change(&mut counts, &case));
    counts.assert_all(&["Replace", "Split", "Merge", "Redistribute", "own lines", "a second change"], 30);
    counts.assert_all(&["taken over", "cancelled: None"], 100);
    let cancelled = [Step::Begun, Step::Copying, Step::Copied, Step::Verified];
    let cancelled = cancelled.map(|step| format!("cancelled: {:?}", Some(step)));
    counts.assert_all(&cancelled.each_ref().map(String::as_str), 3);
    for step in Step::ALL {
        let writes = ["add", "update", "delete", "replace", "bulk update", "bulk delete"];
        let writes = writes.map(|write| format!("{step:?}: {write}"));
        counts.assert_all(&writes.each_ref().map(String::as_str), 15);
        let reads = ["read", "read by the other handle"].map(|read| format!("{step:?}: {read}"));
        counts.assert_all(&reads.each_ref().map(String::as_str), 15);
    }
}

/// For predicates on the key alone, without `LIKE`, brute force leaves no choice: the shards that must be read are those that
/// may be read. Predicates prune: some read no shard, some one, some several, some all.
#[test]
fn predicates_on_the_key_alone_have_one_right_answer() {
    fn check<T: Subject>() {
        let worlds = worlds::<T::Cluster>(5);
        let layout = &worlds[0].layout;
        // A placement that names its shards may leave some without rows.
        let reached = shares::<T>(&Tree::All(Vec::new()), layout).most.len();
        let mut counts = Counts::default();
        for query in some(&queries(Shape::of::<T>())) {
            let mut has_like = false;
            query.tree.leaves(&mut |_, test, _| has_like |= super::domain::is_like(test));
            if has_like || !is_about_the_key_alone::<T>(&query.tree) {
                continue;
            }
            let shares = shares::<T>(&query.tree, layout);
            assert_eq!(shares.least, shares.most, "{:?}", query.tree);
            counts.see(match shares.least.len() {
                0 => "none",
                1 => "one",
                some if some == reached => "all",
                _ => "several",
            });
        }
        counts.assert_all(&["none", "one", "several", "all"], 5);
    }
    check::<ByTextHash>();
    check::<ByEnum>();
    check::<ByIntegerRange>();
    check::<ByTextList>();
}

/// NULL under NOT at every boundary of a relation, in every generation, and the values that make it matter.
#[test]
fn families_are_of_every_kind() {
    let mut counts = Counts::default();
    for case in some(&families::cases()) {
        families::shapes(&case, &mut |shape| counts.see(shape));
        families::contents(&case, &mut |value| counts.see(value));
    }
    let mut boundaries = Vec::new();
    for (outside, relation, inside) in ["", "!"]
        .iter()
        .flat_map(|outside| ["P", "C"].map(|relation| (outside, relation)))
        .flat_map(|(outside, relation)| ["", "!"].map(|inside| (outside, relation, inside)))
    {
        for column in ["Code", "Code Equal", "Code In", "Mark", "Kind", "Text", "Amount", "Version"] {
            boundaries.push(format!("{outside}{relation}{inside}{column}"));
        }
    }
    for shape in ["Rtitle", "R!title", "!Rtitle", "!R!title", "Rrank", "R!rank", "!Rrank", "!R!rank"] {
        boundaries.push(shape.to_owned());
    }
    counts.assert_all(&boundaries.iter().map(String::as_str).collect::<Vec<_>>(), 5);
    counts.assert_all(&["0 relations", "1 relations", "2 relations", "3 relations"], 80);
    let updates = [
        "update Amount",
        "update AmountPlusGain",
        "update AmountOfProduct",
        "update GainLess",
        "update Text",
        "update Kind",
        "change to a code",
        "change to no code",
    ];
    counts.assert_all(&updates, 80);
    let conditions = ["!C!Code", "!P!Code", "C!Code", "P!Code", "!R!title", "!R!rank"];
    for verb in ["update", "delete"] {
        let conditions = conditions.iter().filter(|shape| verb == "update" || !shape.contains('C'));
        let conditions: Vec<String> = conditions.map(|shape| format!("{verb} where {shape}")).collect();
        counts.assert_all(&conditions.iter().map(String::as_str).collect::<Vec<_>>(), 1);
    }
    for generation in 0..3 {
        let values = ["code", "kind", "text", "amount"]
            .map(|column| ["set", "NULL"].map(|value| format!("{generation}: {column} {value}")));
        let values: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
        counts.assert_all(&values, 200);
        counts.assert_all(&[format!("{generation}: a gain at the edge").as_str()], 100);
    }
    counts.assert_all(&["a title set", "a title NULL", "a rank set", "a rank NULL"], 200);
}
