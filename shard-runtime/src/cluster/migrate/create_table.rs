//! Changes single columns in the text of a `CREATE TABLE`, as SQLite keeps it. The rest keeps its text: constraints, comments,
//! options, columns that no model has. Pure.

use std::ops::Range;

/// A change of one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum Edit {
    /// The column becomes NOT NULL.
    Require(String),
    /// The column becomes nullable.
    Relax(String),
    /// The column gets a default, as SQL.
    Default(String, &'static str),
    /// The column is removed.
    Remove(String),
    /// The column gets another type.
    Retype(String, &'static str),
}

impl Edit {
    fn column(&self) -> &str {
        match self {
            Edit::Require(column)
            | Edit::Relax(column)
            | Edit::Default(column, _)
            | Edit::Remove(column)
            | Edit::Retype(column, _) => column,
        }
    }
}

/// Returns the statement for a table of another name (as SQL) with these changes. `None` if the text cannot be parsed, or does
/// not define one of the columns.
pub(super) fn edited(sql: &str, name: &str, edits: &[Edit]) -> Option<String> {
    let tokens = tokens(sql);
    let text = |token: &Range<usize>| sql.get(token.clone()).unwrap_or_default();
    let open = tokens.iter().position(|token| text(token) == "(")?;
    let mut depth = 0_usize;
    let mut definitions: Vec<&[Range<usize>]> = Vec::new();
    let (mut start, mut end) = (open + 1, None);
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match text(token) {
            "(" => depth += 1,
            ")" => depth = depth.checked_sub(1)?,
            "," if depth == 1 => {
                definitions.push(tokens.get(start..index)?);
                start = index + 1;
            }
            _ => {}
        }
        if depth == 0 {
            definitions.push(tokens.get(start..index)?);
            end = Some(token.start);
            break;
        }
    }
    let end = end?;
    let mut found = 0;
    let mut kept = Vec::new();
    for definition in definitions {
        let (first, last) = (definition.first()?, definition.last()?);
        let mut whole = sql.get(first.start..last.end)?.to_owned();
        // An unquoted word of these cannot be the name of a column.
        let is_column = !TABLE_CONSTRAINTS.iter().any(|word| text(first).eq_ignore_ascii_case(word));
        let is_of = |edit: &&Edit| is_column && unquoted(text(first)).eq_ignore_ascii_case(edit.column());
        let edits: Vec<&Edit> = edits.iter().filter(is_of).collect();
        found += edits.len();
        if edits.iter().any(|edit| matches!(edit, Edit::Remove(_))) {
            continue;
        }
        for edit in edits {
            whole = changed(&whole, edit);
        }
        kept.push(whole);
    }
    (found == edits.len() && !kept.is_empty())
        .then(|| format!("CREATE TABLE {name} ({}{}", kept.join(", "), sql.get(end..).unwrap_or_default()))
}

/// Returns the definition of a column with a change.
fn changed(definition: &str, edit: &Edit) -> String {
    match edit {
        Edit::Default(_, value) => format!("{definition} DEFAULT {value}"),
        Edit::Relax(_) => without_not_null(&tokens(definition), definition),
        Edit::Require(_) => format!("{} NOT NULL", without_not_null(&tokens(definition), definition)),
        Edit::Retype(_, kind) => retyped(definition, kind),
        Edit::Remove(_) => definition.to_owned(),
    }
}

/// The words with which a constraint of the table begins.
const TABLE_CONSTRAINTS: [&str; 5] = ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"];

/// The words with which the first constraint of a column begins, after its type.
const CONSTRAINTS: [&str; 10] = [
    "CONSTRAINT",
    "PRIMARY",
    "NOT",
    "NULL",
    "UNIQUE",
    "CHECK",
    "DEFAULT",
    "COLLATE",
    "REFERENCES",
    "GENERATED",
];

fn retyped(definition: &str, kind: &str) -> String {
    let tokens = tokens(definition);
    let name = tokens.first().map_or("", |name| definition.get(name.clone()).unwrap_or_default());
    let is_constraint = |token: &&Range<usize>| {
        let text = definition.get((*token).clone()).unwrap_or_default();
        CONSTRAINTS.iter().chain(&["AS"]).any(|word| text.eq_ignore_ascii_case(word))
    };
    match tokens.iter().skip(1).find(is_constraint) {
        Some(first) => format!("{name} {kind} {}", definition.get(first.start..).unwrap_or_default()),
        None => format!("{name} {kind}"),
    }
}

/// Returns whether the statement has this word outside of names, texts and comments.
pub(in crate::cluster) fn has_word(sql: &str, word: &str) -> bool {
    tokens(sql).into_iter().any(|token| sql.get(token).is_some_and(|text| text.eq_ignore_ascii_case(word)))
}

/// Returns the conditions of the CHECK constraints in the text of a `CREATE TABLE`, without their parentheses.
pub(in crate::cluster) fn checks(sql: &str) -> Vec<&str> {
    let tokens = tokens(sql);
    let text = |at: usize| tokens.get(at).and_then(|token| sql.get(token.clone())).unwrap_or_default();
    let mut found = Vec::new();
    for at in (0..tokens.len()).filter(|&at| text(at).eq_ignore_ascii_case("CHECK") && text(at + 1) == "(") {
        let mut depth = 0_usize;
        let end = (at + 1..tokens.len()).find(|&at| {
            match text(at) {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        let inside = |end: usize| sql.get(tokens.get(at + 1)?.end..tokens.get(end)?.start);
        found.extend(end.and_then(inside).map(str::trim));
    }
    found
}

/// Returns the text of a `CREATE INDEX` after the table's name: its columns, expressions and condition.
pub(in crate::cluster) fn after_table(sql: &str) -> Option<&str> {
    let tokens = tokens(sql);
    let text = |token: &Range<usize>| sql.get(token.clone()).unwrap_or_default();
    // The name of the index may be `on` in quotes.
    let on = tokens.iter().position(|token| text(token).eq_ignore_ascii_case("ON"))?;
    let open = tokens.get(on + 2)?;
    (text(open) == "(").then(|| sql.get(open.start..)).flatten()
}

fn without_not_null(definition: &[Range<usize>], sql: &str) -> String {
    let is = |index: usize, word: &str| {
        let token = definition.get(index).and_then(|token| sql.get(token.clone()));
        token.is_some_and(|text| text.eq_ignore_ascii_case(word))
    };
    let mut parts: Vec<&str> = Vec::new();
    let mut depth = 0_i32;
    let mut index = 0;
    let mut start = definition.first().map_or(0, |token| token.start);
    while let Some(token) = definition.get(index) {
        depth += i32::from(is(index, "(")) - i32::from(is(index, ")"));
        if depth == 0 && is(index, "NOT") && is(index + 1, "NULL") {
            parts.push(sql.get(start..token.start).unwrap_or_default().trim_end());
            index += if is(index + 2, "ON") && is(index + 3, "CONFLICT") { 5 } else { 2 };
            start = definition.get(index).map_or(usize::MAX, |token| token.start);
            continue;
        }
        index += 1;
    }
    let end = definition.last().map_or(0, |token| token.end);
    parts.push(sql.get(start..end).unwrap_or_default());
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

fn unquoted(name: &str) -> String {
    let mut inner = name.chars();
    match (inner.next(), inner.next_back()) {
        (Some(quote @ ('"' | '`' | '\'')), Some(last)) if quote == last => {
            inner.as_str().replace(&format!("{quote}{quote}"), &quote.to_string())
        }
        (Some('['), Some(']')) => inner.as_str().to_owned(),
        _ => name.to_owned(),
    }
}

/// Returns the ranges of words, quoted texts and single signs, without comments and spaces.
fn tokens(sql: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = sql.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next().unwrap_or_default();
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$';
        let (length, is_token) = match first {
            _ if first.is_whitespace() => (first.len_utf8(), false),
            '-' if rest.starts_with("--") => (rest.find('\n').unwrap_or(rest.len()), false),
            '/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |end| end + 2), false),
            '[' => (rest.find(']').map_or(rest.len(), |end| end + 1), true),
            '"' | '`' | '\'' => (quoted_length(rest, first), true),
            _ if is_word(first) => (rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()), true),
            _ => (first.len_utf8(), true),
        };
        if is_token {
            found.push(at..at + length);
        }
        at += length;
    }
    found
}

/// Returns the length of a quoted text, in which a doubled quote stands for one.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_columns_are_changed() {
        let sql = "CREATE TABLE \"a_users\" (\"id\" INTEGER PRIMARY KEY, -- the id, NOT NULL\n \"name\" TEXT NOT NULL ON CONFLICT \
                   REPLACE DEFAULT 'a, NOT NULL' COLLATE nocase, [old] TEXT CHECK (old IS NOT NULL), CHECK (name <> ',')) STRICT";
        let edit = |edit: Edit| edited(sql, "\"new\"", &[edit]);
        assert_eq!(
            edit(Edit::Relax("NAME".into())).unwrap(),
            "CREATE TABLE \"new\" (\"id\" INTEGER PRIMARY KEY, \"name\" TEXT DEFAULT 'a, NOT NULL' COLLATE nocase, \
             [old] TEXT CHECK (old IS NOT NULL), CHECK (name <> ',')) STRICT"
        );
        assert!(
            edit(Edit::Require("old".into()))
                .unwrap()
                .contains("[old] TEXT CHECK (old IS NOT NULL) NOT NULL, ")
        );
        assert!(!edit(Edit::Remove("old".into())).unwrap().contains("old"));
        assert!(
            edit(Edit::Retype("old".into(), "REAL"))
                .unwrap()
                .contains("[old] REAL CHECK (old IS NOT NULL), ")
        );
        let both = [Edit::Retype("price".into(), "REAL"), Edit::Require("price".into())];
        let sql = "CREATE TABLE a (price NUMERIC(10, 2) DEFAULT 1.5, b INT)";
        assert_eq!(
            edited(sql, "c", &both).unwrap(),
            "CREATE TABLE c (price REAL DEFAULT 1.5 NOT NULL, b INT)"
        );
        assert_eq!(edit(Edit::Remove("other".into())), None);
        // A column with the name of a constraint of the table.
        let sql = "CREATE TABLE a (b INT, \"check\" TEXT NOT NULL, CHECK (b > 0), UNIQUE (b))";
        assert_eq!(
            edited(sql, "c", &[Edit::Relax("check".into())]).unwrap(),
            "CREATE TABLE c (b INT, \"check\" TEXT, CHECK (b > 0), UNIQUE (b))"
        );
        assert_eq!(edited("CREATE TABLE a (b", "c", &[]), None);
        assert_eq!(edited("CREATE TABLE a AS SELECT 1", "c", &[]), None);
    }

    #[test]
    fn conditions_of_checks_are_found() {
        let sql = "CREATE TABLE a (b INT CHECK (b IN (1, 2)) DEFAULT ')', \"check\" TEXT, -- CHECK (no)\n CONSTRAINT c check( b <> ')' ))";
        assert_eq!(checks(sql), ["b IN (1, 2)", "b <> ')'"]);
        assert!(checks("CREATE TABLE a (b INT, c TEXT DEFAULT 'CHECK (b)')").is_empty());
        assert!(checks("CREATE TABLE a (b INT CHECK (b").is_empty());
    }

    #[test]
    fn the_end_of_an_index_is_found() {
        let sql = "CREATE UNIQUE INDEX \"on\" /* ON b */ ON [a (b] (lower(c)) WHERE d = 'ON'";
        assert_eq!(after_table(sql), Some("(lower(c)) WHERE d = 'ON'"));
        assert_eq!(after_table("CREATE INDEX a"), None);
    }

    #[test]
    fn words_are_found_outside_of_texts() {
        assert!(has_word("CREATE TABLE a (b INTEGER PRIMARY KEY autoincrement)", "AUTOINCREMENT"));
        assert!(!has_word(
            "CREATE TABLE a (b TEXT DEFAULT 'autoincrement', \"autoincrement\" TEXT /* autoincrement */)",
            "AUTOINCREMENT"
        ));
    }
}
