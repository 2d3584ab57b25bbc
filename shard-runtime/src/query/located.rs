//! Conditions and lookups: finds the values of a condition whose shards a lookup holds, and adds these shards to the
//! condition. Pure.
//!
//! A condition of SQL has three values: TRUE, FALSE and NULL. A lookup can show that a value is stored on no shard, or on
//! another shard than the statement's. Then the comparison with this value becomes FALSE. For a row with NULL in the column
//! the comparison was NULL before. The change is sound only if FALSE and NULL have the same effect:
//!
//! * A statement's own condition, and the condition of each EXISTS or IN subquery, only selects the rows for which it is
//!   TRUE. FALSE and NULL have the same effect.
//! * AND and OR with the same other parts keep this: if a NULL part makes the whole not TRUE, a FALSE part does, too.
//! * NOT of FALSE is TRUE and NOT of NULL is NULL. Below one NOT the two differ. NOT of that again yields FALSE or NULL,
//!   which have the same effect.
//! * EXISTS and IN (with ids, which are never NULL) are never NULL. So a NOT outside of a subquery sees TRUE or FALSE,
//!   and does not affect the subquery's own condition.
//!
//! So only the NOTs between a comparison and the innermost relation (or the statement) count. If their number is even, or
//! if the column is never NULL, the change is sound. [`Context`] holds this for one node.

use super::column::Operand;
use super::filter::{Node, Operator, Predicate};
use super::groups::GroupCore;
use super::select::{SelectCore, Target};
use super::write::WriteCore;
use crate::schema::PlacedLookup;
use crate::schema::Shard;
use crate::schema::Table;

/// The shard of the row with a value, by the entries of a lookup.
pub(crate) enum Whereabouts {
    /// The lookup was not read, or the value has no shard of its own.
    Unknown,
    /// No shard has a row with the value.
    Nowhere,
    /// This shard has the row.
    On(Shard),
}

/// A query about the rows of one model.
pub(crate) trait Targeted {
    fn target(&self) -> &Target;

    fn target_mut(&mut self) -> &mut Target;

    /// Returns whether it reads no shard, regardless of the condition.
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

/// How the value of a node affects the rows that a query returns.
#[derive(Clone, Copy)]
struct Context {
    /// Whether the query's rows are among those for which the node holds: the number of NOTs above it, in all subqueries, is
    /// even. Only then do the node's values narrow the shards.
    selects: bool,
    /// Whether the number of NOTs between the node and the innermost relation is even, so that FALSE and NULL have the
    /// same effect.
    is_null_false: bool,
}

impl Context {
    /// The context of a statement's own condition.
    const STATEMENT: Context = Context { selects: true, is_null_false: true };

    fn under_not(self) -> Self {
        Context { selects: !self.selects, is_null_false: !self.is_null_false }
    }

    /// Returns the context of the condition of a subquery here.
    fn in_subquery(self) -> Self {
        Context { is_null_false: true, ..self }
    }

    /// Returns the lookup of a column if comparisons with it may become FALSE here, and so narrow the shards.
    fn lookup<'l>(
        self,
        lookups: &'l [PlacedLookup],
        table: &'static Table,
        column: usize,
    ) -> Option<&'l PlacedLookup> {
        let is_nullable = table.columns.get(column).is_none_or(|column| column.nullable);
        if !self.selects || (is_nullable && !self.is_null_false) {
            return None;
        }
        lookups.iter().find(|lookup| lookup.column == column && lookup.table.is(table))
    }
}

impl Predicate {
    /// Visits the operands of all comparisons by which lookups can narrow the shards (see [`Context::lookup`]).
    pub(crate) fn for_each_looked_up<'p, 'l>(
        &'p self,
        table: &'static Table,
        lookups: &'l [PlacedLookup],
        visit: &mut dyn FnMut(&'l PlacedLookup, &'p [Operand]),
    ) {
        visit_node(self.node(), table, lookups, Context::STATEMENT, visit);
    }

    /// Returns the condition with the shards of its operands, as far as lookups hold them. It selects the same rows.
    pub(crate) fn located(
        &self,
        table: &'static Table,
        lookups: &[PlacedLookup],
        find: &dyn Fn(&PlacedLookup, &Operand) -> Whereabouts,
    ) -> Predicate {
        self.with_node(locate(self.node(), table, lookups, Context::STATEMENT, find))
    }
}

fn visit_node<'p, 'l>(
    node: &'p Node,
    table: &'static Table,
    lookups: &'l [PlacedLookup],
    context: Context,
    visit: &mut dyn FnMut(&'l PlacedLookup, &'p [Operand]),
) {
    match node {
        Node::And(nodes) | Node::Or(nodes) => {
            nodes.iter().for_each(|node| visit_node(node, table, lookups, context, visit));
        }
        Node::Not(inner) => visit_node(inner, table, lookups, context.under_not(), visit),
        Node::Related { relation, inner } => {
            visit_node(inner, relation.table(), lookups, context.in_subquery(), visit);
        }
        Node::Compare { column, operator: Operator::Equal, operand } => {
            if let Some(lookup) = context.lookup(lookups, table, *column) {
                visit(lookup, std::slice::from_ref(operand));
            }
        }
        Node::In { column, operands } => {
            if let Some(lookup) = context.lookup(lookups, table, *column) {
                visit(lookup, operands);
            }
        }
        _ => {}
    }
}

fn locate(
    node: &Node,
    table: &'static Table,
    lookups: &[PlacedLookup],
    context: Context,
    find: &dyn Fn(&PlacedLookup, &Operand) -> Whereabouts,
) -> Node {
    let each =
        |nodes: &[Node]| nodes.iter().map(|node| locate(node, table, lookups, context, find)).collect();
    let known = |lookup: &PlacedLookup, operand: &Operand| match find(lookup, operand) {
        Whereabouts::Unknown => Some(operand.clone()),
        Whereabouts::Nowhere => None,
        Whereabouts::On(shard) => Some(Operand { shard: Some(shard), ..operand.clone() }),
    };
    match node {
        Node::And(nodes) => Node::And(each(nodes)),
        Node::Or(nodes) => Node::Or(each(nodes)),
        Node::Not(inner) => Node::Not(Box::new(locate(inner, table, lookups, context.under_not(), find))),
        Node::Related { relation, inner } => {
            let inner = locate(inner, relation.table(), lookups, context.in_subquery(), find);
            Node::Related { relation: *relation, inner: Box::new(inner) }
        }
        Node::Compare { column, operator: Operator::Equal, operand } => {
            let Some(lookup) = context.lookup(lookups, table, *column) else { return node.clone() };
            match known(lookup, operand) {
                Some(operand) => Node::Compare { column: *column, operator: Operator::Equal, operand },
                None => Node::Nothing,
            }
        }
        Node::In { column, operands } => {
            let Some(lookup) = context.lookup(lookups, table, *column) else { return node.clone() };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;
    use crate::planner::route;
    use crate::query::Relation;
    use crate::schema::LookupDef;
    use crate::schema::Shards;
    use crate::schema::{ColumnDef, KeyColumns, ParentDef, any_value};
    use crate::schema::{Constant, Placement};
    use crate::value::{ColumnType, Value};

    const PLACES: &[(Constant, &str)] =
        &[(Constant::Text("x"), "a"), (Constant::Text("y"), "b"), (Constant::Text("z"), "c")];
    const ID: ColumnDef = ColumnDef::new("id", (ColumnType::Integer, false, true, any_value));
    const EMAIL: usize = 2;
    const NICK: usize = 3;
    static USERS: Table = Table {
        model: "User",
        name: "users",
        columns: &[
            ID,
            ColumnDef::new("region", (ColumnType::Text, false, true, any_value)),
            ColumnDef::new("email", (ColumnType::Text, false, true, any_value)),
            ColumnDef::new("nick", (ColumnType::Text, true, true, any_value)),
        ],
        key: KeyColumns::Columns(&[1]),
        placement: Placement::List { entries: PLACES, otherwise: None },
        ..Table::PLAIN
    };
    const TAG: usize = 2;
    static ORDERS: Table = Table {
        model: "Order",
        name: "orders",
        columns: &[
            ID,
            ColumnDef::new("user", (ColumnType::Integer, false, true, any_value)),
            ColumnDef::new("tag", (ColumnType::Text, true, true, any_value)),
        ],
        key: KeyColumns::Parent(1),
        placement: USERS.placement,
        parent: Some(ParentDef { table: &USERS, column: 1 }),
        ..Table::PLAIN
    };
    static ENTRIES: Table = Table {
        model: "Entry",
        name: "entries",
        columns: &[LookupDef::value(ColumnType::Text), LookupDef::SHARD],
        key: KeyColumns::Columns(&[0]),
        placement: Placement::Hash,
        ..Table::PLAIN
    };

    fn lookups() -> Vec<PlacedLookup> {
        let lookup = |(model, (table, column))| PlacedLookup { table, column, entries: &ENTRIES, model };
        [(&USERS, EMAIL), (&USERS, NICK), (&ORDERS, TAG)].into_iter().enumerate().map(lookup).collect()
    }

    /// A value `on a` has a row on shard `a`, and so on; any other value has none.
    fn equal(column: usize, value: &'static str) -> Node {
        let operand = Operand { value: Ok(Value::Text(value.into())), shard: None };
        Node::Compare { column, operator: Operator::Equal, operand }
    }

    fn among(column: usize, values: &[&'static str]) -> Node {
        let operand = |value: &&'static str| Operand { value: Ok(Value::Text((*value).into())), shard: None };
        Node::In { column, operands: values.iter().map(operand).collect() }
    }

    fn not(node: Node) -> Node {
        Node::Not(Box::new(node))
    }

    fn child(inner: Node) -> Node {
        Node::Related { relation: Relation::Children(&ORDERS), inner: Box::new(inner) }
    }

    fn parent(inner: Node) -> Node {
        Node::Related { relation: Relation::Parent(&USERS), inner: Box::new(inner) }
    }

    /// Prints a located condition in a short form: `email=on a@a` is a comparison with the shard that a lookup holds.
    fn shown(node: &Node, table: &'static Table) -> String {
        let name = |column: usize| table.columns[column].name;
        let operand = |operand: &Operand| {
            let Ok(Value::Text(value)) = &operand.value else { panic!("{operand:?} is no text") };
            let shard = operand.shard.as_ref().map_or(String::new(), |shard| format!("@{}", shard.name()));
            format!("{value}{shard}")
        };
        let list = |nodes: &[Node], with: &str| {
            nodes.iter().map(|node| shown(node, table)).collect::<Vec<_>>().join(with)
        };
        match node {
            Node::Nothing => "FALSE".to_owned(),
            Node::Compare { column, operand: value, .. } => format!("{}={}", name(*column), operand(value)),
            Node::In { column, operands } => {
                let operands: Vec<String> = operands.iter().map(operand).collect();
                format!("{} in {}", name(*column), operands.join("/"))
            }
            Node::And(nodes) => format!("({})", list(nodes, " & ")),
            Node::Or(nodes) => format!("({})", list(nodes, " | ")),
            Node::Not(inner) => format!("!{}", shown(inner, table)),
            Node::Related { relation, inner } => {
                let what = if relation.table().is(&ORDERS) { "child" } else { "parent" };
                format!("{what}[{}]", shown(inner, relation.table()))
            }
            other => panic!("{other:?} is not made here"),
        }
    }

    #[test]
    fn r54_comparisons_become_false_only_where_null_has_the_same_effect() -> Result<()> {
        let shards = Shards::named(["a", "b", "c"])?;
        let find = |lookup: &PlacedLookup, operand: &Operand| match operand.entry(lookup) {
            Some(Value::Text(value)) => match value.strip_prefix("on ").and_then(|name| shards.get(name)) {
                Some(shard) => Whereabouts::On(shard.clone()),
                None => Whereabouts::Nowhere,
            },
            _ => Whereabouts::Unknown,
        };
        let users: &'static Table = &USERS;
        let orders: &'static Table = &ORDERS;
        // The condition, the located condition, and the shards that it reads.
        let cases = [
            // At the top, FALSE and NULL have the same effect.
            (users, equal(NICK, "on a"), "nick=on a@a", "a"),
            (users, equal(NICK, "lost"), "FALSE", ""),
            (users, among(NICK, &["on a", "lost", "on b"]), "nick in on a@a/on b@b", "a b"),
            (users, not(not(equal(NICK, "on b"))), "!!nick=on b@b", "b"),
            (users, Node::Or(vec![equal(NICK, "lost"), equal(EMAIL, "on c")]), "(FALSE | email=on c@c)", "c"),
            // Under one NOT the values exclude rows.
            (users, not(equal(NICK, "on a")), "!nick=on a", "a b c"),
            (users, not(among(EMAIL, &["on a", "lost"])), "!email in on a/lost", "a b c"),
            // In a subquery the count of NOTs begins anew.
            (users, child(equal(TAG, "on a")), "child[tag=on a@a]", "a"),
            (users, child(equal(TAG, "lost")), "child[FALSE]", ""),
            (users, child(not(not(equal(TAG, "on b")))), "child[!!tag=on b@b]", "b"),
            (users, child(not(equal(TAG, "on a"))), "child[!tag=on a]", "a b c"),
            (users, not(child(equal(TAG, "on a"))), "!child[tag=on a]", "a b c"),
            // A child with NULL has a tag for which NOT is not TRUE: the comparison stays as it is.
            (users, not(child(not(equal(TAG, "on a")))), "!child[!tag=on a]", "a b c"),
            (users, not(child(not(among(TAG, &["on a", "lost"])))), "!child[!tag in on a/lost]", "a b c"),
            (orders, not(parent(not(equal(NICK, "on a")))), "!parent[!nick=on a]", "a b c"),
            // A column that is never NULL has no such case.
            (orders, not(parent(not(equal(EMAIL, "on a")))), "!parent[!email=on a@a]", "a"),
            (orders, not(parent(not(equal(EMAIL, "lost")))), "!parent[!FALSE]", ""),
            // Each subquery has its own count.
            (orders, not(parent(not(child(equal(TAG, "on b"))))), "!parent[!child[tag=on b@b]]", "b"),
            (orders, not(parent(child(not(equal(TAG, "on b"))))), "!parent[child[!tag=on b]]", "a b c"),
            (
                users,
                Node::And(vec![among(EMAIL, &["on a", "on b"]), not(child(not(equal(TAG, "on a"))))]),
                "(email in on a@a/on b@b & !child[!tag=on a])",
                "a b",
            ),
        ];
        for (table, node, expected, names) in cases {
            let condition = Predicate::new(node);
            let lookups = lookups();
            let located = condition.located(table, &lookups, &find);
            assert_eq!(shown(located.node(), table), expected);
            let chosen = route::narrow(table, &located, &shards)?;
            assert_eq!(chosen.names(&shards).join(" "), names, "{expected}");
            // Exactly the comparisons that change are those for which lookups are read.
            let mut read = 0;
            condition.for_each_looked_up(table, &lookups, &mut |_, operands| read += operands.len());
            assert_eq!(read > 0, located != condition, "{expected}");
        }
        Ok(())
    }
}
