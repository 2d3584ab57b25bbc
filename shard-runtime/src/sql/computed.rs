//! What a bulk update sets: values, and numbers that are computed from the row.
//!
//! SQLite makes a float of a sum of integers that overflows, and stores it as another integer where it can. So numbers
//! are computed by functions of our own, which fail instead and say for which column.

use super::{Dialect, Writer};
use crate::error::Result;
use crate::query::{Arithmetic, Assigned, Holds, Term};
use crate::route::too_deep;
use crate::sql::Param;
use crate::value::{ColumnType, Value};

/// The functions' names, which every connection knows: see [`driver`](crate::driver).
pub(crate) const ADD: &str = "sharded_add";
pub(crate) const SUBTRACT: &str = "sharded_subtract";
pub(crate) const MULTIPLY: &str = "sharded_multiply";
pub(crate) const BETWEEN: &str = "sharded_between";
pub(crate) const SINGLE: &str = "sharded_single";

/// What an error of theirs begins with; the column's name comes next, then a backtick and a colon.
pub(crate) const OUT_OF_RANGE: &str = "out of range for `";

impl<'q> Writer<'_, 'q> {
    /// What a column is set to.
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

    /// A computed number in PostgreSQL's own arithmetic. Integers are computed as numbers of any length; what does not
    /// fit in the end becomes a text that says so, and which PostgreSQL then refuses to take for a number.
    fn computed(&mut self, column: usize, term: &'q Term, holds: Holds) -> Result<()> {
        let (least, greatest) = match holds {
            Holds::Between(least, greatest) => (least, greatest),
            Holds::All if self.definition(column).is_some_and(|column| column.kind == ColumnType::Real) => {
                return self.plain(column, term);
            }
            Holds::All => (i64::MIN, i64::MAX),
            Holds::Single => {
                self.sql.push_str("CAST(CAST(");
                self.plain(column, term)?;
                self.sql.push_str(" AS real) AS double precision)");
                return Ok(());
            }
        };
        self.sql.push_str("CASE WHEN ");
        self.plain(column, term)?;
        let name = self.definition(column).map_or("", |column| column.name).replace('\'', "''");
        self.sql.push_str(&format!(
            " NOT BETWEEN {least} AND {greatest} THEN CAST('{OUT_OF_RANGE}{name}`: ' || "
        ));
        self.plain(column, term)?;
        self.sql.push_str(&format!(" || ' is not between {least} and {greatest}' AS bigint) ELSE CAST("));
        self.plain(column, term)?;
        self.sql.push_str(" AS bigint) END");
        Ok(())
    }

    /// A term as it is computed by operators.
    fn plain(&mut self, column: usize, term: &'q Term) -> Result<()> {
        let is_real = self.definition(column).is_some_and(|column| column.kind == ColumnType::Real);
        let (own, wide) =
            if is_real { ("double precision", "double precision") } else { ("bigint", "numeric") };
        match term {
            Term::Column(place) => {
                self.column(*place);
                self.sql.push_str(&format!("::{wide}"));
            }
            Term::Value(operand) => {
                self.operand(column, operand)?;
                self.sql.push_str(&format!("::{own}::{wide}"));
            }
            Term::Combined { operator, sides, .. } => {
                let [left, right] = &**sides;
                self.sql.push('(');
                self.plain(column, left)?;
                self.sql.push_str(match operator {
                    Arithmetic::Add => " + ",
                    Arithmetic::Subtract => " - ",
                    Arithmetic::Multiply => " * ",
                });
                self.plain(column, right)?;
                self.sql.push(')');
            }
            Term::TooDeep => return Err(too_deep(self.scope.table)),
        }
        Ok(())
    }

    fn term(&mut self, column: usize, term: &'q Term) -> Result<()> {
        match term {
            Term::Column(place) => self.column(*place),
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

    /// The last argument: the column that an error names.
    fn named(&mut self, column: usize) {
        let name = self.definition(column).map_or("", |column| column.name);
        self.sql.push_str(", ");
        self.param(Param::Value(Value::Text(name.into())));
        self.sql.push(')');
    }
}
