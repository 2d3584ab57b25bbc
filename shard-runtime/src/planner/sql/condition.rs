//! Conditions: the `WHERE` clause of a predicate, and of a page.

use super::{After, Dialect, Param, SqlWriter};
use crate::error::{Error, Result};
use crate::planner::route::too_deep;
use crate::query::{Node, Predicate, WholeKey};
use crate::value::{ColumnType, Value};

impl<'q> SqlWriter<'_, 'q> {
    /// Writes the condition of a page.
    pub(super) fn conditions(
        &mut self,
        predicate: &'q Predicate,
        after: Option<After<'_, 'q>>,
    ) -> Result<()> {
        let Some(after) = after else { return self.filter(predicate) };
        self.sql.push_str(" WHERE ");
        self.enclosed(predicate.node())?;
        self.sql.push_str(" AND (");
        self.after(&after);
        self.sql.push(')');
        Ok(())
    }

    pub(super) fn filter(&mut self, predicate: &'q Predicate) -> Result<()> {
        if *predicate.node() != Node::Everything {
            self.sql.push_str(" WHERE ");
            self.condition(predicate.node())?;
        }
        Ok(())
    }

    pub(super) fn condition(&mut self, node: &'q Node) -> Result<()> {
        match node {
            Node::Everything => self.sql.push_str("TRUE"),
            Node::Nothing => self.sql.push_str("FALSE"),
            Node::Compare { column, operator, operand } => {
                // The same id on another shard is another row.
                let elsewhere =
                    operand.shard.is_some() && !self.site.share.holds(self.scope.table, *column, operand);
                match (elsewhere, operator) {
                    (true, crate::query::Operator::Equal) => self.sql.push_str("FALSE"),
                    (true, crate::query::Operator::NotEqual) => self.sql.push_str("TRUE"),
                    _ => {
                        self.left_side(*column);
                        self.sql.push(' ');
                        self.sql.push_str(operator.sql());
                        self.sql.push(' ');
                        self.operand(*column, operand)?;
                    }
                }
            }
            Node::In { column, operands } => {
                let mut values = Vec::with_capacity(operands.len());
                for operand in self.site.share.held(self.scope.table, *column, operands) {
                    match &operand.value {
                        Ok(value) => values.push(value.borrowed()),
                        Err(error) => return Err(self.scope.table.error_at(*column, error.clone())),
                    }
                }
                if values.is_empty() {
                    self.sql.push_str("FALSE");
                } else {
                    self.left_side(*column);
                    self.list(values);
                }
            }
            Node::KeyIn { columns, keys } => self.key_in(columns, keys)?,
            Node::TooDeep => return Err(too_deep(self.scope.table)),
            Node::Like { column, pattern } => self.like(*column, pattern)?,
            Node::StartsWith { column, prefix } => self.starts_with(*column, prefix)?,
            Node::IsNull { column } => {
                self.column(*column);
                self.sql.push_str(" IS NULL");
            }
            Node::And(nodes) => self.joined(nodes, " AND ")?,
            Node::Or(nodes) => self.joined(nodes, " OR ")?,
            Node::Not(inner) => {
                self.sql.push_str("NOT ");
                self.enclosed(inner)?;
            }
            Node::Related { relation, inner } => self.related(*relation, inner)?,
        }
        Ok(())
    }

    /// Writes the condition that a composite key is one of these. On PostgreSQL several keys are one array parameter for each
    /// column. On SQLite they are one list of all values, which a subquery splits into rows.
    fn key_in(&mut self, columns: &[usize], keys: &'q [WholeKey]) -> Result<()> {
        let mut own: Vec<&'q [Value<'static>]> = Vec::with_capacity(keys.len());
        for key in keys {
            match key {
                Ok(key) if self.site.share.holds_key(self.scope.table, key) => own.push(key),
                Ok(_) => {}
                Err(error) => return Err(Error::from(error.clone()).in_table(self.scope.table.name)),
            }
        }
        match own.as_slice() {
            [] => self.sql.push_str("FALSE"),
            [key] => {
                for (index, (&column, value)) in columns.iter().zip(*key).enumerate() {
                    self.sql.push_str(if index == 0 { "" } else { " AND " });
                    self.column(column);
                    self.sql.push_str(" = ");
                    self.param(Param::Value(value.borrowed()));
                }
            }
            keys if self.site.dialect == Dialect::Postgres => {
                let names: Vec<String> = columns.iter().map(|&column| self.scope.column(column)).collect();
                self.sql.push_str(&format!("({}) IN (SELECT * FROM unnest(", names.join(", ")));
                for (index, &column) in columns.iter().enumerate() {
                    self.sql.push_str(if index == 0 { "" } else { ", " });
                    let part =
                        |key: &&'q [Value<'static>]| key.get(index).map_or(Value::Null, Value::borrowed);
                    self.param(Param::List(keys.iter().map(part).collect()));
                    let kind = self.definition(column).map_or(ColumnType::Text, |column| column.kind);
                    self.sql.push_str(&format!("::{}[]", self.site.dialect.column_type(kind)));
                }
                self.sql.push_str("))");
            }
            keys => {
                let values = keys.iter().flat_map(|key| key.iter().map(Value::borrowed)).collect();
                let list = |item: &dyn Fn(usize, usize) -> String| {
                    let items: Vec<String> =
                        columns.iter().enumerate().map(|(index, &column)| item(index, column)).collect();
                    items.join(", ")
                };
                let names = list(&|_, column| self.scope.column(column));
                let parts = list(&|index, _| format!("part{index}"));
                let leads =
                    list(&|index, _| format!("lead(value, {index}) OVER (ORDER BY rowid) AS part{index}"));
                self.sql.push_str(&format!(
                    "({names}) IN (SELECT {parts} FROM (SELECT rowid AS position, {leads} FROM rarray("
                ));
                self.param(Param::List(values));
                self.sql.push_str(&format!(")) WHERE position % {} = 1)", columns.len()));
            }
        }
        Ok(())
    }

    pub(super) fn enclosed(&mut self, node: &'q Node) -> Result<()> {
        self.sql.push('(');
        self.condition(node)?;
        self.sql.push(')');
        Ok(())
    }

    /// Writes conditions joined by AND or OR. Long lists are halved into parentheses: databases limit the depth of an
    /// expression, and a plain chain is as deep as it is long.
    fn joined(&mut self, nodes: &'q [Node], with: &str) -> Result<()> {
        if let [node] = nodes {
            return self.enclosed(node);
        }
        let (left, right) = nodes.split_at(nodes.len() / 2);
        for (half, before) in [(left, ""), (right, with)] {
            self.sql.push_str(before);
            let parenthesised = half.len() > 1;
            if parenthesised {
                self.sql.push('(');
            }
            self.joined(half, with)?;
            if parenthesised {
                self.sql.push(')');
            }
        }
        Ok(())
    }
}
