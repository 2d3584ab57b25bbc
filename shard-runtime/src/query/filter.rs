//! Predicates over one model's columns, and the marker that says whether a key narrows them.

use std::marker::PhantomData;
use std::ops::{BitAnd, BitOr, Not};

use super::column::Operand;
use crate::value::Value;

/// The marker of queries that a key, a parent or a pin narrows, or whose author said `all_shards`.
#[derive(Debug)]
pub enum Routed {}

/// The marker of queries that may have to read every shard.
#[derive(Debug)]
pub enum Unrouted {}

/// How markers combine: as the sets of shards that they stand for.
pub trait Routing: 'static {
    /// The marker of `self & R`: an intersection is narrowed where one side is.
    type And<R: Routing>: Routing;
    /// The marker of `self | R`: a union is narrowed where both sides are.
    type Or<R: Routing>: Routing;
}

impl Routing for Routed {
    type And<R: Routing> = Routed;
    type Or<R: Routing> = R;
}

impl Routing for Unrouted {
    type And<R: Routing> = R;
    type Or<R: Routing> = Unrouted;
}

/// What a query must be to run: narrowed to shards, or said to be for all of them.
#[diagnostic::on_unimplemented(
    message = "this query may have to read every shard",
    label = "not narrowed to shards",
    note = "filter on the `#[shard_key]` or the parent, pin it with `.on(key)` or `.on_shard(name)`, or say `.all_shards()`"
)]
pub trait IsRouted: Routing {}

impl IsRouted for Routed {}

/// A condition on the columns of `T`. Made by the columns' methods, combined with `&`, `|` and `!`.
///
/// `R` says whether the condition narrows the shards by its form. Which shards are asked is always
/// computed from the values.
#[must_use = "a filter does nothing until it is given to a query"]
pub struct Filter<T, R> {
    pub(crate) predicate: Predicate,
    marker: PhantomData<fn() -> (T, R)>,
}

/// A condition without its types: what [`execute_chooser`](crate::Sharded::execute_chooser) reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicate {
    pub(crate) node: Node,
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
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
}

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
    /// The operator that holds exactly where this one does not (for values that are not NULL).
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

    /// The operator as SQL writes it.
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

impl<T, R> Filter<T, R> {
    pub(crate) fn new(node: Node) -> Self {
        Filter { predicate: Predicate { node }, marker: PhantomData }
    }

    /// The condition without its types.
    pub fn predicate(&self) -> &Predicate {
        &self.predicate
    }
}

impl<T> Filter<T, Unrouted> {
    /// Rows for which every filter holds; every row, where there is none.
    pub fn all<R>(filters: impl IntoIterator<Item = Filter<T, R>>) -> Self {
        Filter::new(conjunction(filters.into_iter().map(|filter| filter.predicate.node)))
    }

    /// Rows for which at least one filter holds; no row, where there is none.
    pub fn any<R>(filters: impl IntoIterator<Item = Filter<T, R>>) -> Filter<T, R> {
        Filter::new(disjunction(filters.into_iter().map(|filter| filter.predicate.node)))
    }
}

/// A narrowed filter where one that may not be narrowed is wanted, so that both fit one list.
impl<T> From<Filter<T, Routed>> for Filter<T, Unrouted> {
    fn from(filter: Filter<T, Routed>) -> Self {
        Filter::new(filter.predicate.node)
    }
}

/// `AND` over any number of conditions, nested ones of the same kind flattened.
pub(crate) fn conjunction(nodes: impl IntoIterator<Item = Node>) -> Node {
    let mut flat = Vec::new();
    for node in nodes {
        match node {
            Node::And(inner) if flat.is_empty() => flat = inner,
            Node::And(inner) => flat.extend(inner),
            Node::Everything => {}
            other => flat.push(other),
        }
    }
    match flat.len() {
        0 => Node::Everything,
        1 => flat.remove(0),
        _ => Node::And(flat),
    }
}

/// `OR` over any number of conditions, nested ones of the same kind flattened.
pub(crate) fn disjunction(nodes: impl IntoIterator<Item = Node>) -> Node {
    let mut flat = Vec::new();
    for node in nodes {
        match node {
            Node::Or(inner) if flat.is_empty() => flat = inner,
            Node::Or(inner) => flat.extend(inner),
            Node::Nothing => {}
            other => flat.push(other),
        }
    }
    match flat.len() {
        0 => Node::Nothing,
        1 => flat.remove(0),
        _ => Node::Or(flat),
    }
}

impl<T, R: Routing, S: Routing> BitAnd<Filter<T, S>> for Filter<T, R> {
    type Output = Filter<T, R::And<S>>;

    fn bitand(self, other: Filter<T, S>) -> Self::Output {
        Filter::new(conjunction([self.predicate.node, other.predicate.node]))
    }
}

impl<T, R: Routing, S: Routing> BitOr<Filter<T, S>> for Filter<T, R> {
    type Output = Filter<T, R::Or<S>>;

    fn bitor(self, other: Filter<T, S>) -> Self::Output {
        Filter::new(disjunction([self.predicate.node, other.predicate.node]))
    }
}

impl<T, R> Not for Filter<T, R> {
    type Output = Filter<T, Unrouted>;

    fn not(self) -> Self::Output {
        Filter::new(match self.predicate.node {
            Node::Not(inner) => *inner,
            node => Node::Not(Box::new(node)),
        })
    }
}

impl<T, R> Clone for Filter<T, R> {
    fn clone(&self) -> Self {
        Filter::new(self.predicate.node.clone())
    }
}

impl Operand {
    /// The value, where it is one that can be stored.
    pub(crate) fn known(&self) -> Option<&Value<'static>> {
        self.value.as_ref().ok()
    }
}
