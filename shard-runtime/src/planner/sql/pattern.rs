//! Patterns of `like`, and prefixes, in each dialect.

use super::{Dialect, Param, SqlWriter};
use crate::collation::Collation;
use crate::error::{Result, ValueError};
use crate::planner::route::text_after;
use crate::value::{Value, text_value};

impl<'q> SqlWriter<'_, 'q> {
    /// Writes the condition that a text matches a pattern.
    pub(super) fn like(&mut self, column: usize, pattern: &'q str) -> Result<()> {
        let as_glob = glob(pattern).map_err(|error| self.scope.table.error_at(column, error))?;
        self.column(column);
        match (self.site.dialect, self.scope.table.collation(column)) {
            (Dialect::Postgres, _) => {
                self.sql.push_str(" LIKE ");
                self.param(Param::Value(Value::Text(pattern.into())));
            }
            // SQLite's LIKE folds case; GLOB does not. Each uses the indexes of the collation that it is for.
            (Dialect::Sqlite, Collation::Binary) => {
                self.sql.push_str(" GLOB ");
                self.text(as_glob);
            }
            (Dialect::Sqlite, Collation::NoCase) => {
                self.sql.push_str(" LIKE ");
                self.param(Param::Value(Value::Text(pattern.into())));
                self.sql.push_str(r" ESCAPE '\'");
            }
        }
        Ok(())
    }

    /// Writes the condition that a text starts with a prefix: from the prefix up to the least text after all of them.
    pub(super) fn starts_with(&mut self, column: usize, prefix: &'q str) -> Result<()> {
        text_value(prefix).map_err(|error| self.scope.table.error_at(column, error))?;
        self.column(column);
        self.sql.push_str(" >= ");
        self.param(Param::Value(Value::Text(prefix.into())));
        if let Some(end) = end_of(prefix, self.scope.table.collation(column)) {
            self.sql.push_str(" AND ");
            self.column(column);
            self.sql.push_str(" < ");
            self.text(end);
        }
        Ok(())
    }

    fn text(&mut self, text: String) {
        self.param(Param::Value(Value::Text(text.into())));
    }
}

/// Returns the least text after all texts with a prefix; `None` if there is none.
fn end_of(prefix: &str, collation: Collation) -> Option<String> {
    match collation {
        Collation::Binary => text_after(prefix),
        Collation::NoCase => {
            let mut end = text_after(&prefix.to_ascii_lowercase())?;
            // `A` would be compared as `a`. There are no capitals in this order: after `@` comes `[`.
            if end.ends_with('A') {
                end.pop();
                end.push('[');
            }
            Some(end)
        }
    }
}

/// Converts a LIKE pattern to a GLOB pattern of SQLite.
fn glob(pattern: &str) -> Result<String, ValueError> {
    let mut glob = String::with_capacity(pattern.len() + 2);
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let literal = match character {
            '%' => {
                glob.push('*');
                continue;
            }
            '_' => {
                glob.push('?');
                continue;
            }
            '\\' => characters.next().ok_or_else(|| {
                ValueError::new(format!("the pattern `{pattern}` ends with a backslash that escapes nothing"))
            })?,
            '\0' => return Err(ValueError::new("text with a NUL cannot be stored")),
            other => other,
        };
        match literal {
            '*' | '?' | '[' => glob.extend(['[', literal, ']']),
            other => glob.push(other),
        }
    }
    Ok(glob)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_becomes_glob() {
        assert_eq!(glob("New%").unwrap(), "New*");
        assert_eq!(glob("_a*?[").unwrap(), "?a[*][?][[]");
        assert_eq!(glob(r"100\%").unwrap(), "100%");
        assert!(glob(r"end\").is_err());
    }

    #[test]
    fn prefixes_end_where_no_text_has_them() {
        let ends = |collation| ["Az", "@", "Z@", "_", ""].map(|prefix| end_of(prefix, collation));
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(ends(Collation::Binary), [some("A{"), some("A"), some("ZA"), some("`"), None]);
        assert_eq!(ends(Collation::NoCase), [some("a{"), some("["), some("z["), some("`"), None]);
    }
}
