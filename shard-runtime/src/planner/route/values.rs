//! Sets of values of one key column: sorted, disjoint intervals, with exact intersection, union and complement. Uses
//! `value`.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::query::Operator;
use crate::value::Value;

/// A cut between two neighbouring values. Every interval lies between two cuts, so that open and closed ends need no
/// distinction.
#[derive(Clone, Debug, PartialEq)]
enum Cut<'p> {
    /// Below every value.
    Least,
    /// Just below this value.
    Below(Value<'p>),
    /// Just above this value.
    Above(Value<'p>),
    /// Above every value.
    Greatest,
}

impl<'p> Cut<'p> {
    fn below(value: Value<'p>) -> Self {
        match value {
            Value::Integer(i64::MIN) => Cut::Least,
            Value::Text(ref text) if text.is_empty() => Cut::Least,
            Value::Bytes(ref bytes) if bytes.is_empty() => Cut::Least,
            value => Cut::Below(value),
        }
    }

    /// Returns the cut above a value. Integers are discrete: above 5 is below 6, so that `k > 5 AND k < 6` is empty.
    fn above(value: Value<'p>) -> Self {
        match value {
            Value::Integer(i64::MAX) => Cut::Greatest,
            Value::Integer(integer) => Cut::Below(Value::Integer(integer + 1)),
            value => Cut::Above(value),
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Cut::Least, Cut::Least) | (Cut::Greatest, Cut::Greatest) => Ordering::Equal,
            (Cut::Least, _) | (_, Cut::Greatest) => Ordering::Less,
            (_, Cut::Least) | (Cut::Greatest, _) => Ordering::Greater,
            (Cut::Below(a), Cut::Below(b)) | (Cut::Above(a), Cut::Above(b)) => a.order(b),
            (Cut::Below(a), Cut::Above(b)) => a.order(b).then(Ordering::Less),
            (Cut::Above(a), Cut::Below(b)) => a.order(b).then(Ordering::Greater),
        }
    }
}

/// A set of values of one column.
#[derive(Clone, Debug)]
pub(super) struct ValueSet<'p> {
    /// From, to; ascending, with a gap between each and the next.
    intervals: Vec<(Cut<'p>, Cut<'p>)>,
    /// The greatest number of values that were listed. Neighbouring values become an interval, but the values of a
    /// list are always enumerated.
    listed: usize,
}

impl PartialEq for ValueSet<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.intervals == other.intervals
    }
}

/// The number of values or intervals that a description lists.
const DESCRIBED: usize = 10;

/// The number of integers outside of lists that are enumerated.
const ENUMERATED: i128 = 4096;

impl<'p> ValueSet<'p> {
    pub(super) fn everything() -> Self {
        ValueSet { intervals: vec![(Cut::Least, Cut::Greatest)], listed: 0 }
    }

    fn nothing() -> Self {
        ValueSet { intervals: Vec::new(), listed: 0 }
    }

    fn interval(from: Cut<'p>, to: Cut<'p>) -> Self {
        match from.order(&to) {
            Ordering::Less => ValueSet { intervals: vec![(from, to)], listed: 0 },
            _ => Self::nothing(),
        }
    }

    /// Returns the values from this one (included) to that one (excluded).
    pub(super) fn range(from: Option<Value<'p>>, to: Option<Value<'p>>) -> Self {
        Self::interval(from.map_or(Cut::Least, Cut::below), to.map_or(Cut::Greatest, Cut::below))
    }

    pub(super) fn compared(operator: Operator, value: Value<'p>) -> Self {
        match operator {
            Operator::Equal => Self::points([value]),
            Operator::NotEqual => Self::points([value]).complement(),
            Operator::Less => Self::interval(Cut::Least, Cut::below(value)),
            Operator::LessOrEqual => Self::interval(Cut::Least, Cut::above(value)),
            Operator::Greater => Self::interval(Cut::above(value), Cut::Greatest),
            Operator::GreaterOrEqual => Self::interval(Cut::below(value), Cut::Greatest),
        }
    }

    pub(super) fn points(values: impl IntoIterator<Item = Value<'p>>) -> Self {
        let mut values: Vec<Value<'p>> = values.into_iter().collect();
        values.sort_by(Value::order);
        let listed = values.len();
        let intervals =
            values.into_iter().map(|value| (Cut::below(value.clone()), Cut::above(value))).collect();
        Self::joined(intervals, listed)
    }

    /// Returns the texts that start with this one.
    pub(super) fn prefixed(prefix: Cow<'p, str>) -> Self {
        let to = text_after(&prefix).map(|text| Value::Text(text.into()));
        Self::range(Some(Value::Text(prefix)), to)
    }

    /// Returns a superset of the texts that match the pattern: the matching texts of `known`, and all others with the literal
    /// prefix of the pattern.
    pub(super) fn like(pattern: &'p str, known: &[Cow<'static, str>]) -> Self {
        let (prefix, is_whole) = literal_prefix(pattern);
        let others = match is_whole {
            true => Self::points([Value::Text(prefix)]),
            false => Self::prefixed(prefix),
        };
        let text = |text: &Cow<'static, str>| Value::Text(text.clone());
        let others = others.intersection(&Self::points(known.iter().map(text)).complement());
        let matching = known.iter().filter(|text| is_like(text, pattern)).map(text);
        Self::union([others, Self::points(matching)])
    }

    /// Returns a superset of the texts that do not match the pattern: all but the matching texts of `known`.
    pub(super) fn unlike(pattern: &str, known: &[Cow<'static, str>]) -> Self {
        let matching = known.iter().filter(|text| is_like(text, pattern));
        Self::points(matching.map(|text| Value::Text(text.clone()))).complement()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    pub(super) fn is_everything(&self) -> bool {
        matches!(self.intervals.as_slice(), [(Cut::Least, Cut::Greatest)])
    }

    pub(super) fn complement(self) -> Self {
        let mut rest = Vec::with_capacity(self.intervals.len() + 1);
        let mut from = Cut::Least;
        for (low, high) in self.intervals {
            if from.order(&low) == Ordering::Less {
                rest.push((from, low));
            }
            from = high;
        }
        if from != Cut::Greatest {
            rest.push((from, Cut::Greatest));
        }
        ValueSet { intervals: rest, listed: self.listed }
    }

    pub(super) fn union(sets: impl IntoIterator<Item = Self>) -> Self {
        let (mut intervals, mut listed) = (Vec::new(), 0);
        for set in sets {
            intervals.extend(set.intervals);
            listed += set.listed;
        }
        intervals.sort_by(|(a, _), (b, _)| a.order(b));
        Self::joined(intervals, listed)
    }

    /// Joins intervals that overlap or touch; they are sorted by their lower ends.
    fn joined(intervals: Vec<(Cut<'p>, Cut<'p>)>, listed: usize) -> Self {
        let mut joined: Vec<(Cut<'p>, Cut<'p>)> = Vec::with_capacity(intervals.len());
        for (low, high) in intervals {
            match joined.last_mut() {
                Some((_, end)) if low.order(end) != Ordering::Greater => {
                    if high.order(end) == Ordering::Greater {
                        *end = high;
                    }
                }
                _ => joined.push((low, high)),
            }
        }
        ValueSet { intervals: joined, listed }
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.intervals.iter().peekable(), other.intervals.iter().peekable());
        let mut common = Vec::new();
        while let (Some((a_low, a_high)), Some((b_low, b_high))) = (left.peek(), right.peek()) {
            let low = if a_low.order(b_low) == Ordering::Less { b_low } else { a_low };
            let a_ends_first = a_high.order(b_high) == Ordering::Less;
            let high = if a_ends_first { a_high } else { b_high };
            if low.order(high) == Ordering::Less {
                common.push((low.clone(), high.clone()));
            }
            if a_ends_first {
                left.next()
            } else {
                right.next()
            };
        }
        ValueSet { intervals: common, listed: self.listed.max(other.listed) }
    }

    pub(super) fn contains(&self, value: &Value<'_>) -> bool {
        let (from, to) = (Cut::below(value.borrowed()), Cut::above(value.borrowed()));
        let next = self.intervals.partition_point(|(low, _)| low.order(&from) != Ordering::Greater);
        let last = next.checked_sub(1).and_then(|last| self.intervals.get(last));
        last.is_some_and(|(_, high)| to.order(high) != Ordering::Greater)
    }

    pub(super) fn intersects(&self, other: &ValueSet<'_>) -> bool {
        // Both sides see the shorter of the two lifetimes.
        fn meet<'a>(left: &ValueSet<'a>, right: &ValueSet<'a>) -> bool {
            !left.intersection(right).is_empty()
        }
        meet(self, other)
    }

    /// Returns the values one by one, if they are few enough: points, and short runs of integers.
    pub(super) fn enumerate(&self) -> Option<Vec<Value<'p>>> {
        let mut values = Vec::with_capacity(self.intervals.len());
        let at_most = ENUMERATED + self.listed as i128;
        let mut runs = 0;
        for interval in &self.intervals {
            if let Some((from, to)) = integers(interval) {
                runs += to - from; // a single value is no run
                if runs > at_most {
                    return None;
                }
                values.extend(
                    (from..=to).filter_map(|integer| i64::try_from(integer).ok()).map(Value::Integer),
                );
            } else {
                values.push(single(interval)?.clone());
            }
        }
        Some(values)
    }

    /// Returns the set as a condition on the column, for people; empty if it has every value.
    pub(super) fn describe(&self, column: &str) -> String {
        if self.is_everything() {
            return String::new();
        }
        let points: Option<Vec<&Value<'p>>> = self.intervals.iter().map(single).collect();
        if let Some(points) = points {
            return match points.as_slice() {
                [value] => format!("{column} = {value}"),
                many => {
                    let mut shown: Vec<String> =
                        many.iter().take(DESCRIBED).map(ToString::to_string).collect();
                    if many.len() > shown.len() {
                        shown.push(format!("… {} in all", many.len()));
                    }
                    format!("{column} IN ({})", shown.join(", "))
                }
            };
        }
        let shown = self.intervals.iter().take(DESCRIBED);
        let mut parts: Vec<String> = shown.map(|(from, to)| describe_interval(column, from, to)).collect();
        if self.intervals.len() > parts.len() {
            parts.push(format!("… {} in all", self.intervals.len()));
        }
        parts.join(" OR ")
    }
}

fn is_least(value: &Value<'_>) -> bool {
    match value {
        Value::Text(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        _ => false,
    }
}

/// Returns the first and the last integer of an interval.
fn integers((from, to): &(Cut<'_>, Cut<'_>)) -> Option<(i128, i128)> {
    let (from, to) = match (from, to) {
        (Cut::Below(Value::Integer(from)), Cut::Below(Value::Integer(to))) => (*from, to - 1),
        (Cut::Below(Value::Integer(from)), Cut::Greatest) => (*from, i64::MAX),
        (Cut::Least, Cut::Below(Value::Integer(to))) => (i64::MIN, to - 1),
        _ => return None,
    };
    Some((from.into(), to.into()))
}

/// Returns the value of an interval that has only one.
fn single<'v, 'p>(interval: &'v (Cut<'p>, Cut<'p>)) -> Option<&'v Value<'p>> {
    match interval {
        (Cut::Below(value @ Value::Integer(_)), _)
            if integers(interval).is_some_and(|(from, to)| from == to) =>
        {
            Some(value)
        }
        (Cut::Below(a), Cut::Above(b)) if a == b => Some(a),
        (Cut::Least, Cut::Above(value)) if is_least(value) => Some(value),
        _ => None,
    }
}

fn describe_interval(column: &str, from: &Cut<'_>, to: &Cut<'_>) -> String {
    let low = match from {
        Cut::Below(value) => format!("{value} <= "),
        Cut::Above(value) => format!("{value} < "),
        Cut::Least | Cut::Greatest => String::new(),
    };
    let high = match to {
        Cut::Below(value) => format!(" < {value}"),
        Cut::Above(value) => format!(" <= {value}"),
        Cut::Least | Cut::Greatest => String::new(),
    };
    format!("{low}{column}{high}")
}

/// Returns the literal prefix of a pattern, and whether it is the whole pattern.
fn literal_prefix(pattern: &str) -> (Cow<'_, str>, bool) {
    let plain = pattern.find(['%', '_', '\\']).unwrap_or(pattern.len());
    let mut prefix = Cow::Borrowed(&pattern[..plain]);
    let mut rest = pattern[plain..].chars();
    while let Some(character) = rest.next() {
        match character {
            '%' | '_' => return (prefix, false),
            '\\' => prefix.to_mut().extend(rest.next()),
            other => prefix.to_mut().push(other),
        }
    }
    (prefix, true)
}

/// Returns whether a text matches a pattern, as in the databases: `%` is any text, `_` one character, and a backslash
/// escapes the next character. After a mismatch the last `%` takes one character more; earlier ones need no
/// backtracking.
fn is_like(text: &str, pattern: &str) -> bool {
    #[derive(Clone, Copy, PartialEq)]
    enum Token {
        Any,
        One,
        Same(char),
    }
    let mut tokens = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        tokens.push(match character {
            '%' => Token::Any,
            '_' => Token::One,
            '\\' => Token::Same(characters.next().unwrap_or('\\')),
            other => Token::Same(other),
        });
    }
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut next) = (0, 0);
    let mut last_any: Option<(usize, usize)> = None;
    while at < text.len() {
        match tokens.get(next) {
            Some(Token::Any) => {
                last_any = Some((at, next));
                next += 1;
            }
            Some(token) if *token == Token::One || *token == Token::Same(text[at]) => {
                at += 1;
                next += 1;
            }
            _ => {
                let Some((taken, any)) = last_any else { return false };
                last_any = Some((taken + 1, any));
                (at, next) = (taken + 1, any + 1);
            }
        }
    }
    tokens.get(next..).is_some_and(|rest| rest.iter().all(|token| *token == Token::Any))
}

/// Returns the first text, in byte order, after all texts with this prefix; `None` if there is none.
pub(crate) fn text_after(prefix: &str) -> Option<String> {
    let mut rest = prefix;
    while let Some(last) = rest.chars().next_back() {
        rest = &rest[..rest.len() - last.len_utf8()];
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'), // the surrogates between them are no characters
            last => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            return Some(format!("{rest}{next}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(operator: Operator, value: i64) -> ValueSet<'static> {
        ValueSet::compared(operator, Value::Integer(value))
    }

    #[test]
    fn r12_integer_sets_agree_with_brute_force() {
        // Every pair of comparisons over a small domain, and every way to combine them.
        let operators = [
            Operator::Equal,
            Operator::NotEqual,
            Operator::Less,
            Operator::LessOrEqual,
            Operator::Greater,
            Operator::GreaterOrEqual,
        ];
        let holds = |operator, value: i64, bound: i64| match operator {
            Operator::Equal => value == bound,
            Operator::NotEqual => value != bound,
            Operator::Less => value < bound,
            Operator::LessOrEqual => value <= bound,
            Operator::Greater => value > bound,
            Operator::GreaterOrEqual => value >= bound,
        };
        let bounds = [i64::MIN, i64::MIN + 1, -1, 0, 1, 2, i64::MAX - 1, i64::MAX];
        for (a, b) in bounds.iter().flat_map(|a| bounds.iter().map(move |b| (*a, *b))) {
            for (f, g) in operators.iter().flat_map(|f| operators.iter().map(move |g| (*f, *g))) {
                let (left, right) = (compared(f, a), compared(g, b));
                let and = left.intersection(&right);
                let or = ValueSet::union([left.clone(), right.clone()]);
                let not = left.clone().complement();
                for value in bounds {
                    let (l, r) = (holds(f, value, a), holds(g, value, b));
                    let point = Value::Integer(value);
                    assert_eq!(and.contains(&point), l && r, "{value} {f:?} {a} AND {g:?} {b}");
                    assert_eq!(or.contains(&point), l || r, "{value} {f:?} {a} OR {g:?} {b}");
                    assert_eq!(not.contains(&point), !l, "NOT {value} {f:?} {a}");
                }
            }
        }
    }

    #[test]
    fn neighbouring_integers_leave_no_room() {
        assert!(compared(Operator::Greater, 5).intersection(&compared(Operator::Less, 6)).is_empty());
        assert!(compared(Operator::Greater, i64::MAX).is_empty());
        assert_eq!(
            compared(Operator::Greater, 5).intersection(&compared(Operator::Less, 8)).enumerate(),
            Some(vec![Value::Integer(6), Value::Integer(7)])
        );
        assert_eq!(
            compared(Operator::GreaterOrEqual, i64::MAX - 1).enumerate(),
            Some(vec![Value::Integer(i64::MAX - 1), Value::Integer(i64::MAX)])
        );
        assert_eq!(
            compared(Operator::LessOrEqual, i64::MIN).enumerate(),
            Some(vec![Value::Integer(i64::MIN)])
        );
        assert_eq!(compared(Operator::Greater, 0).enumerate(), None);
    }

    #[test]
    fn prefixes_end_where_the_next_text_begins() {
        assert_eq!(text_after("As").as_deref(), Some("At"));
        assert_eq!(text_after("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(text_after("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(text_after("\u{10FFFF}"), None);
        assert_eq!(text_after(""), None);
        let asia = ValueSet::prefixed("As".into());
        assert!(asia.contains(&Value::Text("Asia".into())) && !asia.contains(&Value::Text("At".into())));
        assert!(ValueSet::prefixed("".into()).is_everything());
    }

    #[test]
    fn patterns_are_matched_as_databases_do() {
        for (text, pattern, expected) in [
            ("Asia", "As%", true),
            ("Asia", "%a", true),
            ("Asia", "_s_a", true),
            ("Asia", "asia", false),
            ("Asia", "A%i%z%", false),
            ("aXbXc", "a%b%c", true),
            ("100%", r"100\%", true),
            ("1000", r"100\%", false),
            ("", "%", true),
            ("", "_", false),
        ] {
            assert_eq!(is_like(text, pattern), expected, "{text} LIKE {pattern}");
        }
        assert_eq!(ValueSet::like(r"1\%0%", &[]), ValueSet::prefixed("1%0".into()));
        assert_eq!(ValueSet::like(r"1\%0", &[]), ValueSet::points([Value::Text("1%0".into())]));
        let known = ["Asia", "Europe"].map(Cow::Borrowed);
        assert_eq!(ValueSet::unlike("%a", &known).complement().describe("c"), "c = Asia");
        assert!(ValueSet::like("%a", &known).contains(&Value::Text("Africa".into())));
        assert!(!ValueSet::like("%a", &known).contains(&Value::Text("Europe".into())));
    }

    #[test]
    fn sets_are_described_for_people() {
        let text = |text: &'static str| Value::Text(text.into());
        assert_eq!(ValueSet::points([text("Asia")]).describe("c"), "c = Asia");
        assert_eq!(ValueSet::points([text("b"), text("a"), text("a")]).describe("c"), "c IN (a, b)");
        assert_eq!(compared(Operator::Less, 7).describe("k"), "k < 7");
        let runs = ValueSet::points((0..40).filter(|number| number % 3 > 0).map(Value::Integer));
        assert!(runs.describe("k").starts_with("1 <= k < 3 OR 4 <= k < 6 OR"), "{}", runs.describe("k"));
        assert!(runs.describe("k").ends_with("28 <= k < 30 OR … 13 in all"), "{}", runs.describe("k"));
        assert_eq!(ValueSet::everything().describe("k"), "");
    }
}
