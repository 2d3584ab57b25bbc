//! Conditions and lookups: which values of a condition a lookup can say the shards of, and the condition once it did.
//! Pure.

use super::column::Operand;
use super::filter::{Node, Operator, Predicate};
use super::groups::GroupCore;
use super::select::{SelectCore, Target};
use super::write::WriteCore;
use crate::lookup::Placed;
use crate::model::Table;
use crate::shards::Shard;

/// What is known of where the row with a value is.
pub(crate) enum Whereabouts {
    /// Nothing.
    Unknown,
    /// There is none.
    Nowhere,
    /// On this shard.
    On(Shard),
}

/// Something that asks shards about a model's rows.
pub(crate) trait Targeted {
    fn target(&self) -> &Target;

    fn target_mut(&mut self) -> &mut Target;

    /// Whether it asks nobody, whatever the condition.
    fn wants_nothing(&self) -> bool {
        false
    }
}

impl Targeted for SelectCore {
    fn target(&self) -> &Target {
        &self.target
    }

    fn target_mut(&mut self) -> &mut Target {
        &mut self.target
    }

    fn wants_nothing(&self) -> bool {
        self.limit == Some(0)
    }
}

impl Targeted for GroupCore {
    fn target(&self) -> &Target {
        &self.select.target
    }

    fn target_mut(&mut self) -> &mut Target {
        &mut self.select.target
    }

    fn wants_nothing(&self) -> bool {
        self.limit == Some(0)
    }
}

impl Targeted for WriteCore {
    fn target(&self) -> &Target {
        &self.target
    }

    fn target_mut(&mut self) -> &mut Target {
        &mut self.target
    }
}

impl Predicate {
    /// Visits the values that rows of a model must have, where a column of theirs has a lookup. What stands under a
    /// `NOT` excludes rows, and says nothing about where others are.
    pub(crate) fn for_each_looked_up<'p, 'l>(
        &'p self,
        table: &'static Table,
        lookups: &'l [Placed],
        visit: &mut dyn FnMut(&'l Placed, &'p [Operand]),
    ) {
        visit_node(self.node(), table, lookups, true, visit);
    }

    /// The same condition, with what is known of its values.
    pub(crate) fn located(
        &self,
        table: &'static Table,
        lookups: &[Placed],
        find: &dyn Fn(&Placed, &Operand) -> Whereabouts,
    ) -> Predicate {
        self.with_node(locate(self.node(), table, lookups, true, find))
    }
}

fn lookup_of<'l>(lookups: &'l [Placed], table: &'static Table, column: usize) -> Option<&'l Placed> {
    lookups.iter().find(|lookup| lookup.column == column && lookup.table.is(table))
}

fn visit_node<'p, 'l>(
    node: &'p Node,
    table: &'static Table,
    lookups: &'l [Placed],
    holds: bool,
    visit: &mut dyn FnMut(&'l Placed, &'p [Operand]),
) {
    match node {
        Node::And(nodes) | Node::Or(nodes) => {
            nodes.iter().for_each(|node| visit_node(node, table, lookups, holds, visit));
        }
        Node::Not(inner) => visit_node(inner, table, lookups, !holds, visit),
        Node::Related { relation, inner } => visit_node(inner, relation.table(), lookups, holds, visit),
        Node::Compare { column, operator: Operator::Equal, operand } if holds => {
            if let Some(lookup) = lookup_of(lookups, table, *column) {
                visit(lookup, std::slice::from_ref(operand));
            }
        }
        Node::In { column, operands } if holds => {
            if let Some(lookup) = lookup_of(lookups, table, *column) {
                visit(lookup, operands);
            }
        }
        _ => {}
    }
}

fn locate(
    node: &Node,
    table: &'static Table,
    lookups: &[Placed],
    holds: bool,
    find: &dyn Fn(&Placed, &Operand) -> Whereabouts,
) -> Node {
    let each = |nodes: &[Node]| nodes.iter().map(|node| locate(node, table, lookups, holds, find)).collect();
    let known = |lookup: &Placed, operand: &Operand| match find(lookup, operand) {
        Whereabouts::Unknown => Some(operand.clone()),
        Whereabouts::Nowhere => None,
        Whereabouts::On(shard) => Some(Operand { shard: Some(shard), ..operand.clone() }),
    };
    match node {
        Node::And(nodes) => Node::And(each(nodes)),
        Node::Or(nodes) => Node::Or(each(nodes)),
        Node::Not(inner) => Node::Not(Box::new(locate(inner, table, lookups, !holds, find))),
        Node::Related { relation, inner } => {
            let inner = locate(inner, relation.table(), lookups, holds, find);
            Node::Related { relation: *relation, inner: Box::new(inner) }
        }
        Node::Compare { column, operator: Operator::Equal, operand } if holds => {
            let Some(lookup) = lookup_of(lookups, table, *column) else { return node.clone() };
            match known(lookup, operand) {
                Some(operand) => Node::Compare { column: *column, operator: Operator::Equal, operand },
                None => Node::Nothing,
            }
        }
        Node::In { column, operands } if holds => {
            let Some(lookup) = lookup_of(lookups, table, *column) else { return node.clone() };
            let operands: Vec<Operand> =
                operands.iter().filter_map(|operand| known(lookup, operand)).collect();
            match operands.is_empty() {
                true => Node::Nothing,
                false => Node::In { column: *column, operands },
            }
        }
        other => other.clone(),
    }
}
