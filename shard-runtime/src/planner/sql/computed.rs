//! The assignments of a bulk update: values, and numbers that are computed from the row.
//!
//! SQLite turns an integer sum that overflows into a float, and stores it as another integer if it can. So functions
//! of this crate compute numbers: they fail instead, with the name of the column.

use super::{Dialect, SqlWriter};
use crate::error::Result;
use crate::planner::route::too_deep;
use crate::planner::sql::Param;
use crate::query::{Arithmetic, Assigned, Holds, Term};
use crate::value::{ColumnType, Value};

/// The names of the functions, which are registered on every SQLite connection by [`driver`](crate::driver).
pub(crate) const ADD: &str = "sharded_add";
pub(crate) const SUBTRACT: &str = "sharded_subtract";
pub(crate) const MULTIPLY: &str = "sharded_multiply";
pub(crate) const BETWEEN: &str = "sharded_between";
pub(crate) const SINGLE: &str = "sharded_single";

/// The start of their error messages. The name of the column, a backtick and a colon follow.
pub(crate) const OUT_OF_RANGE: &str = "out of range for `";

impl<'q> SqlWriter<'_, 'q> {
    /// Writes the assigned value of a column.
    pub(super) fn assigned(&mut self, column: usize, assigned: &'q Assigned) -> Result<()> {
        let (term, holds) = match assigned {
            Assigned::Value(operand) => return self.operand(column, operand),
            Assigned::Computed(term, holds) => (term, *holds),
        };
        match (self.site.dialect, holds) {
            (Dialect::Postgres, _) => self.computed(column, term, holds)?,
            (Dialect::Sqlite, Holds::All) => self.term(column, term)?,
            (Dialect::Sqlite, Holds::Between(least, greatest)) => {
                self.sql.push_str(BETWEEN);
                self.sql.push('(');
                self.term(column, term)?;
                for bound in [least, greatest] {
                    self.sql.push_str(", ");
                    self.param(Param::Value(Value::Integer(bound)));
                }
                self.named(column);
            }
            (Dialect::Sqlite, Holds::Single) => {
                self.sql.push_str(SINGLE);
                self.sql.push('(');
                self.term(column, term)?;
                self.sql.push(')');
            }
        }
        Ok(())
    }

    /// Writes a computed number in the arithmetic of PostgreSQL. Its overflow errors contain neither the value nor the
    /// column, so each step is computed as `numeric` and checked. A number that does not fit becomes a text with the message,
    /// which PostgreSQL fails to convert to a number.
    fn computed(&mut self, column: usize, term: &'q Term, holds: Holds) -> Result<()> {
        match holds {
            Holds::All if self.is_real(column) => self.step(column, term)?,
            Holds::All => {
                self.sql.push_str("CAST(");
                self.step(column, term)?;
                self.sql.push_str(" AS bigint)");
            }
            Holds::Between(least, greatest) => {
                self.sql.push_str(&format!(
                    "(SELECT CASE WHEN v BETWEEN {least} AND {greatest} THEN CAST(v AS bigint) ELSE CAST({} || v || \
                     ' is not between {least} and {greatest}' AS bigint) END FROM (SELECT ",
                    self.out_of_range(column)
                ));
                self.step(column, term)?;
                self.sql.push_str(" AS v OFFSET 0) AS made)");
            }
            Holds::Single => {
                self.sql.push_str("CAST(CAST(");
                self.step(column, term)?;
                self.sql.push_str(" AS real) AS double precision)");
            }
        }
        Ok(())
    }

    /// Writes a term with a check of each of its steps. `OFFSET 0` keeps the planner from replacing each name of an operand
    /// by its expression. That would double the size of a long sum with each step.
    fn step(&mut self, column: usize, term: &'q Term) -> Result<()> {
        let (own, wide, fits) = match self.is_real(column) {
            true => ("double precision", "double precision", "v <> 'NaN'".to_owned()),
            false => ("bigint", "numeric", format!("v BETWEEN {} AND {}", i64::MIN, i64::MAX)),
        };
        match term {
            Term::Column(other) => {
                self.column(*other);
                self.sql.push_str(&format!("::{wide}"));
            }
            Term::Value(operand) => {
                self.operand(column, operand)?;
                self.sql.push_str(&format!("::{own}::{wide}"));
            }
            Term::Combined { operator, sides, .. } => {
                let sign = match operator {
                    Arithmetic::Add => '+',
                    Arithmetic::Subtract => '-',
                    Arithmetic::Multiply => '*',
                };
                let [left, right] = &**sides;
                self.sql.push_str(&format!(
                    "(SELECT CASE WHEN {fits} THEN v ELSE CAST({} || l || ' {sign} ' || r || \
                     ' has no value that can be stored' AS {wide}) END \
                     FROM (SELECT l, r, l {sign} r AS v FROM (SELECT ",
                    self.out_of_range(column)
                ));
                self.step(column, left)?;
                self.sql.push_str(" AS l, ");
                self.step(column, right)?;
                self.sql.push_str(" AS r OFFSET 0) AS sides OFFSET 0) AS made)");
            }
            Term::TooDeep => return Err(too_deep(self.scope.table)),
        }
        Ok(())
    }

    /// Returns the start of the message about a number that does not fit the column.
    fn out_of_range(&self, column: usize) -> String {
        let name = self.definition(column).map_or("", |column| column.name).replace('\'', "''");
        format!("'{OUT_OF_RANGE}{name}`: '")
    }

    fn is_real(&self, column: usize) -> bool {
        self.definition(column).is_some_and(|column| column.kind == ColumnType::Real)
    }

    fn term(&mut self, column: usize, term: &'q Term) -> Result<()> {
        match term {
            Term::Column(other) => self.column(*other),
            Term::Value(operand) => self.operand(column, operand)?,
            Term::Combined { operator, sides, .. } => {
                self.sql.push_str(match operator {
                    Arithmetic::Add => ADD,
                    Arithmetic::Subtract => SUBTRACT,
                    Arithmetic::Multiply => MULTIPLY,
                });
                let [left, right] = &**sides;
                self.sql.push('(');
                self.term(column, left)?;
                self.sql.push_str(", ");
                self.term(column, right)?;
                self.named(column);
            }
            Term::TooDeep => return Err(too_deep(self.scope.table)),
        }
        Ok(())
    }

    /// Writes the last argument: the column that an error names.
    fn named(&mut self, column: usize) {
        let name = self.definition(column).map_or("", |column| column.name);
        self.sql.push_str(", ");
        self.param(Param::Value(Value::Text(name.into())));
        self.sql.push(')');
    }
}
