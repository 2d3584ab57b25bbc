//! What a bulk update sets: values, and numbers that are computed from the row.
//!
//! SQLite makes a float of a sum of integers that overflows, and stores it as another integer where it can. So numbers
//! are computed by functions of our own, which fail instead and say for which column.

use super::{Dialect, Writer};
use crate::error::Result;
use crate::query::{Arithmetic, Assigned, Holds, Term};
use crate::route::too_deep;
use crate::sql::Param;
use crate::value::Value;

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
