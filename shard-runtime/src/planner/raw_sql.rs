//! SQL of the application: replaces tables in braces by those of a shard, and reads words, quotes and comments. Uses `error`;
//! it does not parse SQL.

use crate::error::{Error, ErrorKind, Result};

/// Returns the text with every `{table}` replaced by the name that `name` returns, and `{{` and `}}` replaced by single
/// braces. Braces in string literals and comments are kept.
pub(crate) fn named<'n>(text: &str, name: impl Fn(&str) -> Result<&'n str>) -> Result<String> {
    let remedy = "outside of a string literal, write a brace as `{{` or `}}`";
    let wrong = |message: &str| Err(Error::new(ErrorKind::Query, message).with_remedy(remedy));
    let mut sql = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_kept = first == '\'' || rest.starts_with("--") || rest.starts_with("/*");
        let length = if is_kept { token(rest, first) } else { first.len_utf8() };
        let (start, after) = rest.split_at(length);
        rest = after;
        if is_kept || !matches!(first, '{' | '}') {
            sql.push_str(start);
        } else if let Some(after) = rest.strip_prefix(first) {
            sql.push(first);
            rest = after;
        } else if first == '}' {
            return wrong("the SQL has a closing brace without an opening one");
        } else {
            let Some((table, after)) = rest.split_once('}') else {
                return wrong("the SQL has an opening brace without a closing one");
            };
            sql.push_str(name(table).map_err(|error| error.with_remedy(remedy))?);
            rest = after;
        }
    }
    Ok(sql)
}

/// Statements that end or begin a transaction, or change the connection, which later sessions use, too.
const NOT_FOR_SESSIONS: [&str; 19] = [
    "ABORT",
    "ATTACH",
    "BEGIN",
    "COMMIT",
    "DEALLOCATE",
    "DETACH",
    "DISCARD",
    "END",
    "LISTEN",
    "LOAD",
    "PRAGMA",
    "PREPARE",
    "RELEASE",
    "RESET",
    "ROLLBACK",
    "SAVEPOINT",
    "START",
    "UNLISTEN",
    "VACUUM",
];

/// Returns the words of a statement that changes the connection beyond its transaction, and the remedy.
fn outlasting<'s>(words: &[&'s str]) -> Option<(String, &'static str)> {
    let is = |index: usize, other: &[&str]| words.get(index).is_some_and(|word| is_any(word, other));
    let has = |sequence: &[&str]| {
        let mut windows = words.windows(sequence.len());
        windows.any(|window| {
            window.iter().zip(sequence).all(|(word, expected)| word.eq_ignore_ascii_case(expected))
        })
    };
    let named = |count: usize| words.iter().take(count).copied().collect::<Vec<&'s str>>().join(" ");
    if is(0, &["SET"]) && !is(1, &["LOCAL", "CONSTRAINTS"]) {
        return Some((named(2), "write `SET LOCAL`, which lasts until the transaction ends"));
    }
    if is(0, &["DECLARE"]) && has(&["WITH", "HOLD"]) {
        return Some(("DECLARE … WITH HOLD".to_owned(), "remove `WITH HOLD`"));
    }
    let is_kind = |word: &str| is_any(word, &["TABLE", "VIEW", "TRIGGER", "SEQUENCE", "INDEX"]);
    let mut before_kind = words.iter().skip(1).take_while(|word| !is_kind(word));
    let is_temporary = before_kind.any(|word| is_any(word, &["TEMP", "TEMPORARY"]));
    if is(0, &["CREATE"]) && is_temporary && !has(&["ON", "COMMIT", "DROP"]) {
        let remedy =
            "make a table that is not temporary, or on PostgreSQL one that is dropped with `ON COMMIT DROP`";
        return Some((named(2), remedy));
    }
    None
}

/// Checks that the text is one statement that a session may run. This has to be checked before the database receives the
/// text: SQLite executes some statements while it prepares them.
///
/// # Errors
/// [`ErrorKind::Query`]
pub(crate) fn check(sql: &str) -> Result<()> {
    let wrong = |message: &str| Err(Error::new(ErrorKind::Query, message));
    if sql.contains('\0') {
        return wrong("the SQL contains a NUL, at which the database would end it");
    }
    let mut first: Option<&str> = None;
    let mut words: Vec<&str> = Vec::new();
    let mut ended = false;
    for token in tokens(sql) {
        if token == ";" {
            ended = first.is_some();
        } else if ended {
            return wrong("the SQL is several statements; a session runs one at a time");
        } else {
            if first.is_none_or(|word| is_any(word, &["EXPLAIN", "QUERY", "PLAN"])) {
                first = Some(token);
                words.clear();
            }
            words.push(token);
        }
    }
    if let Some((what, remedy)) = outlasting(&words) {
        let message = format!(
            "`{what}` would change a connection that later sessions use, beyond the transaction; {remedy}"
        );
        return Err(Error::new(ErrorKind::Query, message));
    }
    match first {
        None => wrong("the SQL is no statement"),
        Some(word) if is_any(word, &NOT_FOR_SESSIONS) => {
            let message = format!(
                "`{word}` is about the connection or its transaction, which the session controls; \
                 use `with_connection`"
            );
            Err(Error::new(ErrorKind::Query, message))
        }
        Some(_) => Ok(()),
    }
}

/// Functions whose result changes between calls: randomness, time, and the state of the connection.
const UNREPEATABLE: [&str; 16] = [
    "changes",
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "julianday",
    "last_insert_rowid",
    "random",
    "randomblob",
    "sqlite_source_id",
    "strftime",
    "time",
    "timediff",
    "total_changes",
    "unixepoch",
];

/// Returns the first word because of which a statement may have another effect when it runs again: a function or a constant
/// as above. Any call counts, with any argument: a day that was bound needs no `date()`.
pub(crate) fn unrepeatable(sql: &str) -> Option<&str> {
    let mut words = tokens(sql).peekable();
    while let Some(word) = words.next() {
        let is_called =
            words.peek() == Some(&"(") || word.get(..8).is_some_and(|w| w.eq_ignore_ascii_case("current_"));
        if is_called && is_any(word, &UNREPEATABLE) {
            return Some(word);
        }
    }
    None
}

/// Returns whether the words of a statement show that it only reads; a function that it calls may still write. For
/// databases that do not report it.
#[cfg(feature = "postgres")]
pub(crate) fn only_reads(sql: &str) -> bool {
    let mut words = tokens(sql).skip_while(|token| matches!(*token, ";" | "("));
    let Some(first) = words.next() else { return false };
    let writes = |word: &str| is_any(word, &["INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE"]);
    match is_any(first, &["WITH", "EXPLAIN"]) {
        // `FOR UPDATE` only locks; `SET` and `INTO` come with a write.
        true => !words.any(writes),
        false => is_any(first, &["SELECT", "VALUES", "TABLE", "SHOW"]),
    }
}

/// Returns the text with its parameters `?1`, `?2`, … written as in PostgreSQL: `$1`, `$2`, …. A question mark without a
/// number is an operator there.
pub(crate) fn with_dollars(sql: &str) -> String {
    let mut dollars = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (found, after) = rest.split_at(token(rest, first));
        let is_numbered = after.starts_with(|c: char| c.is_ascii_digit());
        dollars.push_str(if found == "?" && is_numbered { "$" } else { found });
        rest = after;
    }
    dollars
}

/// Returns the words, texts, names and signs of SQL, without blanks and comments.
fn tokens(sql: &str) -> impl Iterator<Item = &str> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        loop {
            let first = rest.chars().next()?;
            let (token, after) = rest.split_at(token(rest, first));
            rest = after;
            let is_comment = token.starts_with("--") || token.starts_with("/*");
            if !first.is_whitespace() && first != '\u{feff}' && !is_comment {
                return Some(token);
            }
        }
    })
}

fn is_any(word: &str, words: &[&str]) -> bool {
    words.iter().any(|other| other.eq_ignore_ascii_case(word))
}

/// Returns the length in bytes of the text's first token: a quoted text or name, a comment, a word, or one character. A token
/// that is not closed extends to the end.
fn token(text: &str, first: char) -> usize {
    let until = |from: usize, end: &str| {
        let inside = text.get(from..).unwrap_or_default();
        inside.find(end).map_or(text.len(), |at| from + at + end.len())
    };
    match first {
        '\'' => until(1, "'"), // a doubled quote is two texts, side by side
        '"' => until(1, "\""),
        '`' => until(1, "`"),
        '[' => until(1, "]"),
        '-' if text.starts_with("--") => until(2, "\n"),
        '/' if text.starts_with("/*") => until(2, "*/"),
        character if is_of_a_word(character) => text.find(|c| !is_of_a_word(c)).unwrap_or(text.len()),
        character => character.len_utf8(),
    }
}

fn is_of_a_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(table: &str) -> Result<&'static str> {
        match table {
            "cities" => Ok("\"asia_cities\""),
            other => Err(Error::new(ErrorKind::UnknownModel, other)),
        }
    }

    #[test]
    fn tables_stand_in_braces() {
        assert_eq!(named("SELECT * FROM {cities}", name).unwrap(), "SELECT * FROM \"asia_cities\"");
        assert_eq!(named("{cities}{cities}é", name).unwrap(), "\"asia_cities\"\"asia_cities\"é");
        assert_eq!(named("{{cities}} {{{cities}}}", name).unwrap(), "{cities} {\"asia_cities\"}");
        assert_eq!(named("{towns}", name).unwrap_err().kind(), ErrorKind::UnknownModel);
        assert_eq!(named("{}", name).unwrap_err().kind(), ErrorKind::UnknownModel);
        for text in ["{cities", "cities}", "{", "}", "{{cities}", "{cities}}"] {
            assert_eq!(named(text, name).unwrap_err().kind(), ErrorKind::Query, "{text}");
        }
    }

    #[test]
    fn braces_in_literals_and_comments_are_kept() {
        for kept in [
            "'{\"a\": {}}'",
            "'{cities}'",
            "'}'",
            "'it''s {'",
            "'{{'",
            "-- {cities\n",
            "/* } */",
            "'{",
            "/* {",
        ] {
            assert_eq!(named(kept, name).unwrap(), kept);
        }
        let json = "SELECT '{\"a\": 1}' FROM {cities} -- }";
        assert_eq!(named(json, name).unwrap(), "SELECT '{\"a\": 1}' FROM \"asia_cities\" -- }");
        for wrong in ["SELECT {\"a\": 1}", "SELECT '{' || {", "} '}'"] {
            let message = named(wrong, name).unwrap_err().to_string();
            assert!(message.contains("`{{` or `}}`"), "{message}");
        }
    }

    #[test]
    fn parameters_get_dollars_outside_of_texts() {
        assert_eq!(with_dollars("a = ?1 AND b = ?2 OR a = ?1"), "a = $1 AND b = $2 OR a = $1");
        assert_eq!(with_dollars("a ? 'b' -- ?1\n"), "a ? 'b' -- ?1\n");
        assert_eq!(with_dollars("a = '?1' AND \"b?2\" = ?12"), "a = '?1' AND \"b?2\" = $12");
        assert_eq!(with_dollars("a = $1"), "a = $1");
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn what_only_reads_is_seen_by_its_words() {
        for sql in ["SELECT 1", "(select 1)", "WITH a AS (SELECT 1) SELECT * FROM a", "VALUES (1)"] {
            assert!(only_reads(sql), "{sql}");
        }
        for sql in [
            "UPDATE a SET b = 1",
            "WITH a AS (DELETE FROM b RETURNING c) SELECT * FROM a",
            "CREATE TABLE a ()",
        ] {
            assert!(!only_reads(sql), "{sql}");
        }
    }

    #[test]
    fn one_statement_is_one() {
        for sql in [
            "SELECT 1",
            "SELECT 1;",
            " ; SELECT 1 ; -- and; no; more\n ;; /* ; SELECT 2 */ ",
            "SELECT ';', \"a;b\", `c;d`, [e;f], 'it''s; one' -- ; SELECT 2",
            "SELECT 'PRAGMA', commit FROM begin",
            "SELECT 1 /* not closed; SELECT 2",
            "EXPLAIN QUERY PLAN SELECT 1",
            "\u{feff}VALUES (1)",
            "SET LOCAL search_path = x",
            "/* so */ set /* and */ local lock_timeout = 5",
            "SET CONSTRAINTS ALL IMMEDIATE",
            "DECLARE x CURSOR FOR SELECT 1",
            "CREATE TEMP TABLE x (a int) ON COMMIT DROP",
            "CREATE TABLE temp (a int)",
            "CREATE TABLE x (temp int)",
            "SELECT 'SET x', reset FROM prepare",
            "UPDATE x SET a = 1",
        ] {
            assert!(check(sql).is_ok(), "{sql}");
        }
    }

    #[test]
    fn several_statements_none_and_the_sessions_own_are_refused() {
        for sql in [
            "",
            " ;; -- nothing\n",
            "SELECT 1; SELECT 2",
            "SELECT 1;;PRAGMA query_only = ON",
            "SELECT 'a\\'; DROP TABLE x; --'",
            "SELECT '--'; DELETE FROM x",
            "SELECT \"/*\"; DELETE FROM x; --*/",
            "SELECT 1 /* -- */; DELETE FROM x",
            "SELECT 1\0; DELETE FROM x",
            "commit",
            "/* x */ Pragma query_only = ON",
            ";ROLLBACK",
            "\u{feff}COMMIT",
            "EXPLAIN PRAGMA query_only = ON",
            "explain query plan pragma query_only = ON",
            "VACUUM INTO 'elsewhere.db'",
            "SET search_path = x",
            " /* so */ set\n-- on\nsession search_path to x",
            "SET SESSION AUTHORIZATION x",
            "SET ROLE x",
            "SET TRANSACTION READ ONLY",
            "RESET ALL",
            "DISCARD ALL",
            "DEALLOCATE ALL",
            "PREPARE TRANSACTION 'x'",
            "PREPARE x AS SELECT 1",
            "LISTEN x",
            "UNLISTEN *",
            "LOAD 'x'",
            "START TRANSACTION",
            "ABORT",
            "DECLARE x CURSOR WITH HOLD FOR SELECT 1",
            "CREATE TEMP TABLE x (a int)",
            "create local temporary table x (a int)",
            "CREATE OR REPLACE TEMP VIEW x AS SELECT 1",
        ] {
            assert_eq!(check(sql).unwrap_err().kind(), ErrorKind::Query, "{sql}");
        }
    }

    #[test]
    fn what_answers_differently_is_found() {
        for (sql, word) in [
            ("UPDATE t SET a = random()", Some("random")),
            ("UPDATE t SET a = RandomBlob /* so */ (16)", Some("RandomBlob")),
            ("INSERT INTO t VALUES (CURRENT_TIMESTAMP)", Some("CURRENT_TIMESTAMP")),
            ("UPDATE t SET a = strftime('%s', 'now')", Some("strftime")),
            ("UPDATE t SET a = last_insert_rowid()", Some("last_insert_rowid")),
            ("UPDATE t SET random = 1, date = ?1", None),
            ("UPDATE t SET a = 'random()' -- random()", None),
            ("UPDATE t SET a = \"date\" WHERE b IN (1)", None),
        ] {
            assert_eq!(unrepeatable(sql), word, "{sql}");
        }
    }
}
