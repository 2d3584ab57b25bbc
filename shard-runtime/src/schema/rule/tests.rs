use super::literal::literal;
use super::*;
use crate::schema::{ColumnDef, any_value};

static NUMBERS: Table = Table {
    name: "numbers",
    columns: &[ColumnDef::new("id", (ColumnType::Integer, false, true, any_value))],
    key: KeyColumns::Columns(&[0]),
    placement: Placement::Hash,
    ..Table::PLAIN
};
static WORDS: Table = Table {
    name: "words",
    columns: &[ColumnDef::new("word", (ColumnType::Text, false, true, any_value))],
    key: KeyColumns::Columns(&[0]),
    ..Table::PLAIN
};
static PAIRS: Table = Table {
    name: "pairs",
    columns: &[
        ColumnDef::new("number", (ColumnType::Integer, false, true, any_value)),
        ColumnDef::new("word", (ColumnType::Text, false, true, any_value)),
    ],
    key: KeyColumns::Columns(&[0, 1]),
    ..Table::PLAIN
};

fn shards() -> Shards {
    Shards::named(["a", "b", "c => d"]).unwrap()
}

fn read(table: &Table, lines: &[&str]) -> Result<Rule> {
    Rule::read(table, lines, None, &shards())
}

#[test]
fn r48_a_key_has_the_shard_of_its_line() {
    let text = |text: &'static str| Value::Text(text.into());
    let rule =
        read(&WORDS, &["list 'it''s' => a", "list '' => b", "list otherwise => c => d", "key 'x' => a"]);
    let rule = rule.unwrap();
    for (word, shard) in [("it's", 0), ("", 1), ("its", 2), ("x", 0)] {
        assert_eq!(rule.place(&[text(word)], &Placement::Hash).unwrap(), shard, "{word}");
    }
    let rule = read(&NUMBERS, &["range 10.. => b", "range ..-5 => a", "key 0 => c => d"]).unwrap();
    for (number, shard) in [(i64::MIN, 0), (-6, 0), (10, 1), (0, 2)] {
        assert_eq!(rule.place(&[Value::Integer(number)], &Placement::Hash).unwrap(), shard, "{number}");
    }
    let error = rule.place(&[Value::Integer(-5)], &Placement::Hash).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnmappedKey);
    let rule = read(&PAIRS, &["hash modulus 1 remainder 0 => a", "key 1, 'x' => b"]).unwrap();
    let place = |number, word| rule.place(&[Value::Integer(number), text(word)], &Placement::Hash).unwrap();
    assert_eq!((place(1, "x"), place(1, "y"), place(2, "x")), (1, 0, 0));
}

/// If one part is split, no key of another part moves.
#[test]
fn r48_a_part_of_a_hash_is_split() {
    let declared =
        |key: i64| Placement::Hash.place(&[Value::Integer(key)], &Shards::named(["a", "b"]).unwrap());
    let lines = [
        "hash modulus 2 remainder 0 => a",
        "hash modulus 4 remainder 1 => b",
        "hash modulus 4 remainder 3 => c => d",
    ];
    let rule = read(&NUMBERS, &lines).unwrap();
    let mut found = [0; 3];
    for key in 0..1000 {
        let shard = rule.place(&[Value::Integer(key)], &Placement::Hash).unwrap();
        assert_eq!(shard == 0, declared(key).unwrap() == 0, "{key}");
        found[shard] += 1;
    }
    assert!(found.into_iter().all(|keys| keys > 200), "{found:?}");
}

#[test]
fn r48_lines_that_contradict_each_other_are_refused() {
    let wrong: [(&Table, &[&str], &str); 13] = [
        (&NUMBERS, &["hash modulus 2 remainder 0 => a"], "no line has the keys of modulus 2, remainder 1"),
        (&NUMBERS, &["hash modulus 1 remainder 0 => a", "hash modulus 2 remainder 1 => b"], "two lines"),
        (&NUMBERS, &["hash modulus 2 remainder 0 => a", "hash modulus 3 remainder 1 => b"], "divides"),
        (&NUMBERS, &["hash modulus 2 remainder 2 => a"], "not less"),
        (&NUMBERS, &["hash modulus 0 remainder 0 => a"], "divides"),
        (&NUMBERS, &["range ..5 => a", "range 4.. => b"], "overlaps"),
        (&NUMBERS, &["range ..5 => a", "list 7 => b"], "one kind"),
        (&NUMBERS, &["key 7 => b"], "one kind"),
        (&WORDS, &["list 'x' => a", "list 'x' => b"], "another line"),
        (&WORDS, &["list x => a"], "known form"),
        (&WORDS, &["list 'x' => nowhere"], "shard `nowhere` is not configured"),
        (&PAIRS, &["list 1 => a"], "several columns"),
        (&NUMBERS, &["function 0 => a"], "returns no such shard"),
    ];
    for (table, lines, text) in wrong {
        let error = read(table, lines).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Layout);
        assert!(error.to_string().contains(text), "{lines:?}: {error}");
    }
}

#[test]
fn literals_are_read_as_they_were_written() {
    let values = [
        (ColumnType::Integer, Value::Integer(i64::MIN)),
        (ColumnType::Text, Value::Text("'ä'' => b'".into())),
        (ColumnType::Bytes, Value::Bytes(vec![0, 255, 16].into())),
        (ColumnType::Uuid, Value::Uuid([7; 16])),
    ];
    for (kind, value) in values {
        let line = format!("{} => a", literal(&value));
        let mut literals = Literals::new(&line);
        assert_eq!((literals.value(kind), literals.shard()), (Some(value), Some("a")));
    }
}
