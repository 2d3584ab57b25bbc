//! Patterns of `like`, as databases write them.

use crate::error::ValueError;

/// A LIKE pattern as SQLite's GLOB writes it.
pub(super) fn glob(pattern: &str) -> Result<String, ValueError> {
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
}
