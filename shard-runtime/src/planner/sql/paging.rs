//! The condition of a page: the rows after a cursor.

use std::cmp::Ordering;

use super::{Param, SqlWriter};
use crate::query::{Cursor, OrderBy};
use crate::value::Value;

/// The position at which the rows of a shard begin.
#[derive(Clone, Copy)]
pub(crate) struct After<'o, 'q> {
    pub(crate) cursor: &'q Cursor,
    /// The order of the query, without the id that makes it total.
    pub(crate) order: &'o [OrderBy],
    /// The comparison of the shard with the cursor's shard, in the cluster's order.
    pub(crate) shard: Ordering,
}

impl<'q> SqlWriter<'_, 'q> {
    /// Writes the condition of the rows after the cursor: greater in the first column of the order, or equal there and
    /// greater in the next, etc. The first term bounds the first column, so that the database can start an index scan there.
    pub(super) fn after(&mut self, after: &After<'_, 'q>) {
        let id = OrderBy { column: self.site.table.id, descending: false, nulls_first: true };
        let by_id = (after.shard == Ordering::Equal).then_some(id);
        let columns = after.order.iter().copied().chain(by_id);
        let terms: Vec<(OrderBy, &'q Value<'static>)> = columns.zip(&after.cursor.values).collect();
        if let Some((by, value)) = terms.first().filter(|(by, _)| !self.is_nullable(by.column)) {
            self.compared(by.column, if by.descending { " <= " } else { " >= " }, value);
            self.sql.push_str(" AND (");
        } else {
            self.sql.push_str("TRUE AND (");
        }
        for (index, (by, value)) in terms.iter().enumerate() {
            self.sql.push_str(if index == 0 { "(" } else { " OR (" });
            self.all_equal(&terms[..index]);
            self.is_later(by, value);
            self.sql.push(')');
        }
        if after.shard == Ordering::Greater {
            self.sql.push_str(" OR (");
            self.all_equal(&terms);
            self.sql.push_str("TRUE)");
        }
        self.sql.push(')');
    }

    fn all_equal(&mut self, terms: &[(OrderBy, &'q Value<'static>)]) {
        for (by, value) in terms {
            match value {
                Value::Null => {
                    self.column(by.column);
                    self.sql.push_str(" IS NULL");
                }
                value => self.compared(by.column, " = ", value),
            }
            self.sql.push_str(" AND ");
        }
    }

    fn is_later(&mut self, by: &OrderBy, value: &'q Value<'static>) {
        let nulls_are_later = self.is_nullable(by.column) && !by.nulls_first;
        match value {
            Value::Null if by.nulls_first => {
                self.column(by.column);
                self.sql.push_str(" IS NOT NULL");
            }
            Value::Null => self.sql.push_str("FALSE"),
            value => {
                self.sql.push('(');
                self.compared(by.column, if by.descending { " < " } else { " > " }, value);
                if nulls_are_later {
                    self.sql.push_str(" OR ");
                    self.column(by.column);
                    self.sql.push_str(" IS NULL");
                }
                self.sql.push(')');
            }
        }
    }

    fn compared(&mut self, column: usize, operator: &str, value: &'q Value<'static>) {
        self.left_side(column);
        self.sql.push_str(operator);
        self.param(Param::Value(value.borrowed()));
    }

    fn is_nullable(&self, column: usize) -> bool {
        self.definition(column).is_some_and(|column| column.nullable)
    }
}
