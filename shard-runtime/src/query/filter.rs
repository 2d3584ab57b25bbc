//! Predicates over one model's columns, marked by whether a key narrows them.

use std::marker::PhantomData;
use std::ops::{BitAnd, BitOr, Not};

use super::column::Operand;
use super::relation::Relation;
use crate::error::ValueError;
use crate::schema::Table;
use crate::schema::{Routed, Routing, Unrouted};
use crate::value::Value;

/// A condition on the columns of `T`. The columns' methods create it. Combine conditions with `&`, `|` and `!`, or with
/// [`and`](Filter::and), [`or`](Filter::or) and [`not`](Filter::not). (In Rust, `&&`, `||` and `==` are of `bool`; they do
/// not compile here.)
///
/// `R` marks whether the form of the condition narrows the shards. The shards to read are always computed from the values.
#[must_use = "a filter does nothing until it is given to a query"]
pub struct Filter<T, R> {
    pub(crate) predicate: Predicate,
    marker: PhantomData<fn() -> (T, R)>,
}

untyped!(
    Filter < T,
    R > {
        predicate;
        marker
    }
);

/// The greatest depth of nested conditions. Databases have such a bound, too (SQLite's is 1,000), and the code that reads a
/// condition is recursive. A condition in a relation counts once more: SQLite adds up the depths of nested subqueries.
pub(crate) const DEEPEST: usize = 250;

/// A condition without its types: what [`execute_chooser`](crate::Sharded::execute_chooser) reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicate {
    node: Node,
    depth: Depth,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Depth {
    /// Levels of conditions, down to the one that contains no other.
    levels: usize,
    /// The sum of the levels of each subquery on this path.
    in_subqueries: usize,
}

impl Depth {
    /// Returns a depth that is at least as large as both.
    fn max(self, other: Self) -> Self {
        Depth {
            levels: self.levels.max(other.levels),
            in_subqueries: self.in_subqueries.max(other.in_subqueries),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// Every row.
    Everything,
    /// No row.
    Nothing,
    Compare {
        column: usize,
        operator: Operator,
        operand: Operand,
    },
    In {
        column: usize,
        operands: Vec<Operand>,
    },
    Like {
        column: usize,
        pattern: String,
    },
    StartsWith {
        column: usize,
        prefix: String,
    },
    IsNull {
        column: usize,
    },
    /// All columns of a composite key, with one of these keys.
    KeyIn {
        columns: &'static [usize],
        keys: Vec<WholeKey>,
    },
    /// A condition on the row's parent, or on at least one of its children.
    Related {
        relation: Relation,
        inner: Box<Node>,
    },
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    /// Stands for conditions that are nested deeper than [`DEEPEST`]. The planner reports it as an error.
    TooDeep,
}

impl Node {
    fn for_each_related(&self, visit: &mut dyn FnMut(&'static Table)) {
        match self {
            Node::And(nodes) | Node::Or(nodes) => {
                nodes.iter().for_each(|node| node.for_each_related(visit));
            }
            Node::Not(inner) => inner.for_each_related(visit),
            Node::Related { relation, inner } => {
                visit(relation.table());
                inner.for_each_related(visit);
            }
            _ => {}
        }
    }
}

/// The values of a key's columns, or the error if one cannot be stored.
pub(crate) type WholeKey = Result<Vec<Value<'static>>, ValueError>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    /// Returns the operator that holds if and only if this one does not, for values other than NULL.
    pub(crate) fn negated(self) -> Self {
        match self {
            Operator::Equal => Operator::NotEqual,
            Operator::NotEqual => Operator::Equal,
            Operator::Less => Operator::GreaterOrEqual,
            Operator::LessOrEqual => Operator::Greater,
            Operator::Greater => Operator::LessOrEqual,
            Operator::GreaterOrEqual => Operator::Less,
        }
    }

    /// Returns the operator in SQL.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Operator::Equal => "=",
            Operator::NotEqual => "<>",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
        }
    }
}

impl Predicate {
    /// Returns a condition that contains no other.
    pub(crate) fn new(node: Node) -> Self {
        Predicate { node, depth: Depth { levels: 1, in_subqueries: 0 } }
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// Returns a condition of the same depth with this node.
    pub(super) fn with_node(&self, node: Node) -> Self {
        Predicate { node, depth: self.depth }
    }

    /// Returns the condition that all of these hold. Nested conditions of the same kind become one list.
    pub(crate) fn all(parts: impl IntoIterator<Item = Predicate>) -> Self {
        let mut depth = Depth::default();
        let mut flat = Vec::new();
        for part in parts {
            depth = depth.max(part.depth_within(matches!(part.node, Node::And(_))));
            match part.node {
                Node::And(inner) if flat.is_empty() => flat = inner,
                Node::And(inner) => flat.extend(inner),
                Node::Everything => {}
                other => flat.push(other),
            }
        }
        Predicate::combined(flat, depth, Node::Everything, Node::And)
    }

    /// Returns the condition that at least one of these holds. Nested conditions of the same kind become one list, and so do
    /// values of one column.
    pub(crate) fn any(parts: impl IntoIterator<Item = Predicate>) -> Self {
        let mut depth = Depth::default();
        let mut flat = Vec::new();
        for part in parts {
            depth = depth.max(part.depth_within(matches!(part.node, Node::Or(_))));
            match part.node {
                Node::Or(inner) if flat.is_empty() => flat = inner,
                Node::Or(inner) => inner.into_iter().for_each(|node| unite(&mut flat, node)),
                Node::Nothing => {}
                other => unite(&mut flat, other),
            }
        }
        Predicate::combined(flat, depth, Node::Nothing, Node::Or)
    }

    /// Returns the depth as a part of a list. If the part is flattened, the list's level replaces its own.
    fn depth_within(&self, is_taken_up: bool) -> Depth {
        let taken_up = usize::from(is_taken_up && self.depth.levels > 1);
        Depth { levels: self.depth.levels - taken_up, ..self.depth }
    }

    fn combined(mut flat: Vec<Node>, depth: Depth, none: Node, many: fn(Vec<Node>) -> Node) -> Self {
        match flat.len() {
            0 => Predicate::new(none),
            1 => Predicate { node: flat.remove(0), depth },
            _ => Predicate { node: many(flat), depth }.deeper(1),
        }
    }

    fn negated(self) -> Self {
        match self.node {
            Node::Not(inner) => Predicate { node: *inner, depth: self.depth },
            node => Predicate { node: Node::Not(Box::new(node)), depth: self.depth }.deeper(1),
        }
    }

    /// Returns the condition that a related row exists for which this one holds. It adds two levels in the databases: the
    /// subquery, and the AND of its join and its condition.
    pub(crate) fn related(self, relation: Relation) -> Self {
        let Predicate { node, depth } = self.deeper(2);
        if matches!(node, Node::TooDeep) {
            return Predicate::new(node);
        }
        let depth = Depth { in_subqueries: depth.in_subqueries + depth.levels, ..depth };
        Predicate { node: Node::Related { relation, inner: Box::new(node) }, depth }.deeper(0)
    }

    /// Visits the tables of the models that the condition relates to.
    pub(crate) fn for_each_related(&self, visit: &mut dyn FnMut(&'static Table)) {
        self.node.for_each_related(visit);
    }

    /// Returns the condition with this many more levels around it.
    fn deeper(self, more: usize) -> Self {
        let depth = Depth { levels: self.depth.levels + more, ..self.depth };
        match depth.levels + depth.in_subqueries <= DEEPEST {
            true => Predicate { node: self.node, depth },
            false => Predicate::new(Node::TooDeep),
        }
    }
}

/// Adds an alternative. `a = 1` and `a = 2` become `a IN (1, 2)`, which is one parameter, split by shard.
fn unite(alternatives: &mut Vec<Node>, node: Node) {
    let (compared, mut more) = match node {
        Node::Compare { column, operator: Operator::Equal, operand } => (column, vec![operand]),
        Node::In { column, operands } => (column, operands),
        Node::KeyIn { columns, keys: more } => {
            for other in alternatives.iter_mut() {
                if let Node::KeyIn { keys, .. } = other {
                    keys.extend(more);
                    return;
                }
            }
            return alternatives.push(Node::KeyIn { columns, keys: more });
        }
        other => return alternatives.push(other),
    };
    for other in alternatives.iter_mut() {
        match other {
            Node::In { column, operands } if *column == compared => return operands.append(&mut more),
            Node::Compare { column, operator: Operator::Equal, operand } if *column == compared => {
                let operands = [operand.clone()].into_iter().chain(more).collect();
                *other = Node::In { column: compared, operands };
                return;
            }
            _ => {}
        }
    }
    alternatives.push(match <[Operand; 1]>::try_from(more) {
        Ok([operand]) => Node::Compare { column: compared, operator: Operator::Equal, operand },
        Err(operands) => Node::In { column: compared, operands },
    });
}

impl<T, R> Filter<T, R> {
    pub(crate) fn new(predicate: Predicate) -> Self {
        Filter { predicate, marker: PhantomData }
    }

    /// Returns a filter that contains no other.
    pub(crate) fn of(node: Node) -> Self {
        Filter::new(Predicate::new(node))
    }

    /// Returns the condition without its types.
    pub fn predicate(&self) -> &Predicate {
        &self.predicate
    }

    /// Returns a filter for rows for which this one does not hold: `!filter`.
    ///
    /// ```
    /// # use shard_runtime::Sharded;
    /// # #[derive(Sharded)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// let filter = Account::CENTS.gt(0).and(Account::ID.is_in([1, 2])).not();
    /// assert_eq!(filter.predicate(), (!(Account::CENTS.gt(0) & Account::ID.is_in([1, 2]))).predicate());
    /// ```
    ///
    /// If the column is NULL, neither a comparison nor its negation holds.
    #[allow(clippy::should_implement_trait)] // it is implemented; this method is for method chains
    pub fn not(self) -> Filter<T, Unrouted> {
        Filter::new(self.predicate.negated())
    }
}

impl<T, R: Routing> Filter<T, R> {
    /// Returns a filter for rows for which both hold: `filter & other`. It is narrowed to shards if one of them is.
    ///
    /// ```
    /// # use shard_runtime::{Filter, Routed, Sharded};
    /// # #[derive(Sharded)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// let filter: Filter<Account, Routed> = Account::CENTS.gt(0).and(Account::ID.is_in([1, 2]));
    /// ```
    pub fn and<S: Routing>(self, other: Filter<T, S>) -> Filter<T, R::And<S>> {
        Filter::new(Predicate::all([self.predicate, other.predicate]))
    }

    /// Returns a filter for rows for which at least one holds: `filter | other`. It is narrowed to shards if both are.
    ///
    /// ```
    /// # use shard_runtime::{Filter, Sharded, Unrouted};
    /// # #[derive(Sharded)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// let filter: Filter<Account, Unrouted> = Account::CENTS.gt(0).or(Account::ID.eq(1));
    /// ```
    pub fn or<S: Routing>(self, other: Filter<T, S>) -> Filter<T, R::Or<S>> {
        Filter::new(Predicate::any([self.predicate, other.predicate]))
    }
}

impl<T> Filter<T, Unrouted> {
    /// Returns a filter for every row: `!City::has_child(Filter::<Report, _>::everything())` matches the cities without a
    /// report.
    pub fn everything() -> Self {
        Filter::of(Node::Everything)
    }

    /// Returns a filter for rows that match every filter; with no filters, it matches every row.
    pub fn all<R>(filters: impl IntoIterator<Item = Filter<T, R>>) -> Self {
        Filter::new(Predicate::all(filters.into_iter().map(|filter| filter.predicate)))
    }

    /// Returns a filter for rows that match at least one filter; with no filters, it matches no row.
    pub fn any<R>(filters: impl IntoIterator<Item = Filter<T, R>>) -> Filter<T, R> {
        Filter::new(Predicate::any(filters.into_iter().map(|filter| filter.predicate)))
    }
}

/// Converts a narrowed filter, so that it fits a list of filters that are not narrowed.
impl<T> From<Filter<T, Routed>> for Filter<T, Unrouted> {
    fn from(filter: Filter<T, Routed>) -> Self {
        Filter::new(filter.predicate)
    }
}

impl<T, R: Routing, S: Routing> BitAnd<Filter<T, S>> for Filter<T, R> {
    type Output = Filter<T, R::And<S>>;

    fn bitand(self, other: Filter<T, S>) -> Self::Output {
        self.and(other)
    }
}

impl<T, R: Routing, S: Routing> BitOr<Filter<T, S>> for Filter<T, R> {
    type Output = Filter<T, R::Or<S>>;

    fn bitor(self, other: Filter<T, S>) -> Self::Output {
        self.or(other)
    }
}

impl<T, R> Not for Filter<T, R> {
    type Output = Filter<T, Unrouted>;

    fn not(self) -> Self::Output {
        Filter::not(self)
    }
}

impl Operand {
    /// Returns the value, if it can be stored.
    pub(crate) fn known(&self) -> Option<&Value<'static>> {
        self.value.as_ref().ok()
    }
}
