//! The hash that places rows is PostgreSQL's own.
//!
//! R01: it never changes. `vectors/postgres_hash.tsv` holds answers that a
//! PostgreSQL server gave, and every build must repeat them, with or without
//! a server at hand.
//!
//! R02: it is the hash of `PARTITION BY HASH`. A server that is started here computes those vectors again, and the hashes of a
//! few thousand other keys. It must accept tables of the framework as its own partitions.
//!
//! * `SHARDED_SEED=n` repeats a run over the random keys of an earlier one.
//! * `SHARDED_WRITE_VECTORS=1` makes R02 write the vectors file anew.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use shard_runtime::hash::{
    PARTITION_SEED, hash_bytes, hash_integer, hash_text, hash_uuid, remainder, row_hash,
};
use sharded_tests::postgres_server::Server;

#[test]
fn r01_vectors_are_frozen() {
    let vectors = read_vectors();
    for vector in &vectors {
        assert_eq!(our_answer(vector), vector.answer, "{vector}");
    }

    // The file must also be worth repeating.
    let asked: BTreeSet<(String, Question)> =
        vectors.iter().map(|vector| (names(&vector.columns), vector.question)).collect();
    for layout in LAYOUTS {
        for modulus in MODULI {
            let question = Question::Remainder { modulus };
            assert!(asked.contains(&(names(layout), question)), "{layout:?}, {question:?}");
        }
        for seed in SEEDS.into_iter().filter(|_| layout.len() == 1) {
            let question = Question::Hash { seed };
            assert!(asked.contains(&(names(layout), question)), "{layout:?}, {question:?}");
        }
    }
}

#[test]
fn r01_a_number_goes_together_at_every_width() {
    let mut answers: BTreeMap<(i64, Question), BTreeMap<Column, i64>> = BTreeMap::new();
    for vector in read_vectors() {
        if let ([column], [Value::Integer(number)]) = (&vector.columns[..], &vector.key[..]) {
            let same_number = answers.entry((*number, vector.question)).or_default();
            same_number.insert(*column, vector.answer);
        }
    }
    for ((number, question), by_width) in &answers {
        let distinct: BTreeSet<&i64> = by_width.values().collect();
        assert_eq!(distinct.len(), 1, "{number}, {question:?}: {by_width:?}");
    }
    for number in [i16::MIN, -1, 0, 1, i16::MAX].map(i64::from) {
        for question in SEEDS.map(|seed| Question::Hash { seed }) {
            assert_eq!(answers[&(number, question)].len(), 3, "{number}, {question:?}");
        }
    }

    // A number beyond 32 bits differs from the one its low half would be.
    let low_half = 7;
    assert_ne!(hash_integer(1 << 32 | low_half, 0), hash_integer(low_half, 0));
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r02_a_real_server_agrees() {
    let server = Server::start();

    let mut fixed = Random { state: 0 };
    let vectors: Vec<Vector> = LAYOUTS
        .iter()
        .flat_map(|layout| {
            let mut keys = edge_keys(layout);
            keys.extend((0..4).map(|_| fixed.key(layout)));
            let mut vectors = server_answers(&server, layout, &keys, &SEEDS, &[]);
            // A remainder for each modulus follows from one hash, so it is
            // enough to compute those of every tenth key.
            let numbered = keys.into_iter().enumerate();
            let few: Vec<Key> = numbered
                .filter(|(number, key)| number % 10 == 0 || key.contains(&Value::Null))
                .map(|(_, key)| key)
                .collect();
            vectors.extend(server_answers(&server, layout, &few, &[], &MODULI));
            vectors
        })
        .collect();
    if env::var_os("SHARDED_WRITE_VECTORS").is_some() {
        write_vectors(&server, &vectors);
    }
    let (said, written) = (lines(&vectors), lines(&read_vectors()));
    assert_eq!(said.len(), written.len(), "the vectors file is not complete");
    for (said, written) in said.iter().zip(&written) {
        assert_eq!(said, written, "the vectors file differs from this server");
    }

    let seed = match env::var("SHARDED_SEED") {
        Ok(seed) => seed.parse().expect("SHARDED_SEED is a number"),
        Err(_) => RandomState::new().hash_one(0),
    };
    eprintln!("random keys from SHARDED_SEED={seed}");
    let mut random = Random { state: seed };
    for layout in LAYOUTS {
        let mut keys = edge_keys(layout);
        keys.extend((0..500).map(|_| random.key(layout)));
        let seeds = [0, PARTITION_SEED, random.next()];
        for vector in server_answers(&server, layout, &keys, &seeds, &MODULI) {
            assert_eq!(our_answer(&vector), vector.answer, "{vector} (SHARDED_SEED={seed})");
        }
        attach_our_placement(&server, layout, &keys);
    }
}

/// Lays keys out in tables of our own, one for each remainder, and attaches
/// those as native partitions. PostgreSQL reads every row while attaching, and
/// refuses a table that holds one that belongs elsewhere.
fn attach_our_placement(server: &Server, layout: &[Column], keys: &[Key]) {
    const MODULUS: u64 = 5;

    let mut statements = format!("begin;\n{}", create_parent(layout));
    for part in 0..MODULUS {
        let here = |key: &&Key| remainder(our_row_hash(key), MODULUS) == part;
        let table = format!("part_{part}");
        let create = create_table(&table, layout);
        let insert = insert(&table, keys.iter().filter(here));
        statements += &format!(
            "{create};\n{insert}alter table parent attach partition {table} \
             for values with (modulus {MODULUS}, remainder {part});\n"
        );
    }
    statements += "select count(*) from parent;\nrollback;\n";
    let rows = server.psql(&statements);
    assert_eq!(rows.trim_end(), keys.len().to_string());
}

/// Reads from a server the hash of every key of one column that is not null, for every seed, and its remainder for every
/// modulus.
fn server_answers(
    server: &Server,
    layout: &[Column],
    keys: &[Key],
    seeds: &[u64],
    moduli: &[u64],
) -> Vec<Vector> {
    let columns = column_names(layout);
    let mut statements = format!("begin;\n{}", create_parent(layout));
    let create = create_table("asked", layout);
    let insert = insert("asked", keys);
    statements += &format!("{create};\nalter table asked add number serial;\n{insert}");
    if let [column] = layout {
        // PostgreSQL declares this function for arguments that SQL cannot
        // give it, though it is the one that `bytea` is hashed by.
        if *column == Column::Bytea {
            statements += "create function hashvarlenaextended(bytea, bigint) returns bigint \
                           language internal strict immutable as 'hashvarlenaextended';\n";
        }
        for seed in seeds {
            let function = column.hash_function();
            let seed = seed.cast_signed();
            statements += &format!(
                "select number - 1, 'hash', {seed}::bigint, {function}({columns}, {seed}) \
                 from asked where {columns} is not null order by number;\n"
            );
        }
    }
    for modulus in moduli {
        statements += &format!(
            "select number - 1, 'remainder', {modulus}, remainder \
             from asked, generate_series(0, {modulus} - 1) as remainder \
             where satisfies_hash_partition\
             ('parent'::regclass, {modulus}, remainder, {columns}) \
             order by number;\n"
        );
    }
    statements += "rollback;\n";

    let answers: Vec<Vector> = server
        .psql(&statements)
        .lines()
        .map(|row| {
            let fields: Vec<&str> = row.split('|').collect();
            let [number, question, by, answer] = fields[..] else {
                panic!("the server answered {row:?}");
            };
            let number: usize = number.parse().expect("the number of a key");
            Vector {
                columns: layout.to_vec(),
                key: keys[number].clone(),
                question: Question::new(question, by),
                answer: answer.parse().expect("an answer"),
            }
        })
        .collect();

    // Exactly one remainder is right for each key and modulus.
    let hashed = keys.iter().filter(|key| !matches!(key[..], [Value::Null]));
    let hashes = if layout.len() == 1 { hashed.count() * seeds.len() } else { 0 };
    assert_eq!(answers.len(), hashes + keys.len() * moduli.len());
    answers
}

fn create_parent(layout: &[Column]) -> String {
    let columns = column_names(layout);
    let create = create_table("parent", layout);
    format!("{create} partition by hash ({columns});\n")
}

fn create_table(table: &str, layout: &[Column]) -> String {
    let columns: Vec<String> = layout
        .iter()
        .enumerate()
        .map(|(position, column)| format!("key_{position} {}", column.name()))
        .collect();
    format!("create table {table} ({})", columns.join(", "))
}

fn insert<'keys>(table: &str, keys: impl IntoIterator<Item = &'keys Key>) -> String {
    let rows: Vec<String> = keys
        .into_iter()
        .map(|key| {
            let literals: Vec<String> = key.iter().map(Value::literal).collect();
            format!("({})", literals.join(", "))
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("insert into {table} values\n{};\n", rows.join(",\n"))
}

fn column_names(layout: &[Column]) -> String {
    let names: Vec<String> = (0..layout.len()).map(|position| format!("key_{position}")).collect();
    names.join(", ")
}

/// The answer of this crate, to be compared with the server's [`Vector::answer`].
fn our_answer(vector: &Vector) -> i64 {
    match vector.question {
        Question::Hash { seed } => {
            let [value] = &vector.key[..] else {
                panic!("only single values have a hash of their own: {vector}");
            };
            let hash = value.hash(seed).expect("null has no hash");
            hash.cast_signed()
        }
        Question::Remainder { modulus } => remainder(our_row_hash(&vector.key), modulus).cast_signed(),
    }
}

fn our_row_hash(key: &Key) -> u64 {
    row_hash(key.iter().filter_map(|value| value.hash(PARTITION_SEED)))
}

// What is asked.

const SEEDS: [u64; 3] = [0, 1, PARTITION_SEED];

const MODULI: [u64; 8] = [1, 2, 3, 4, 5, 6, 7, 16];

/// The columns of the keys that are asked about.
const LAYOUTS: [&[Column]; 7] = [
    &[Column::Smallint],
    &[Column::Integer],
    &[Column::Bigint],
    &[Column::Text],
    &[Column::Bytea],
    &[Column::Uuid],
    &[Column::Bigint, Column::Text],
];

/// Every edge in a single column; in several, every edge at least once, next
/// to edges of the other columns.
fn edge_keys(layout: &[Column]) -> Vec<Key> {
    let edges: Vec<Vec<Value>> = layout.iter().map(|column| column.edges()).collect();
    let longest = edges.iter().map(Vec::len).max().unwrap_or(0);
    let mut keys: Vec<Key> = (0..longest)
        .map(|row| edges.iter().map(|values| values[row % values.len()].clone()).collect())
        .collect();
    // Null beside each of the others, and alone.
    for column in 0..layout.len() {
        let mut key: Key = edges.iter().map(|values| values[1].clone()).collect();
        key[column] = Value::Null;
        keys.push(key);
    }
    if layout.len() > 1 {
        keys.push(vec![Value::Null; layout.len()]);
    }
    keys
}

/// The values of a key, one for each column.
type Key = Vec<Value>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Smallint,
    Integer,
    Bigint,
    Text,
    Bytea,
    Uuid,
}

impl Column {
    const ALL: [Column; 6] =
        [Column::Smallint, Column::Integer, Column::Bigint, Column::Text, Column::Bytea, Column::Uuid];

    fn name(self) -> &'static str {
        match self {
            Column::Smallint => "smallint",
            Column::Integer => "integer",
            Column::Bigint => "bigint",
            Column::Text => "text",
            Column::Bytea => "bytea",
            Column::Uuid => "uuid",
        }
    }

    fn hash_function(self) -> &'static str {
        match self {
            Column::Smallint => "hashint2extended",
            Column::Integer => "hashint4extended",
            Column::Bigint => "hashint8extended",
            Column::Text => "hashtextextended",
            Column::Bytea => "hashvarlenaextended",
            Column::Uuid => "uuid_hash_extended",
        }
    }

    /// The width of an integer.
    fn bits(self) -> u32 {
        match self {
            Column::Smallint => 16,
            Column::Integer => 32,
            _ => 64,
        }
    }

    fn edges(self) -> Vec<Value> {
        match self {
            Column::Smallint | Column::Integer | Column::Bigint => {
                let mut numbers = BTreeSet::from([-2, -1, 0, 1, 2, 42]);
                for power in [8, 15, 16, 31, 32, 33, 63] {
                    let end = 1_i128 << power;
                    numbers.extend([-end - 1, -end, 1 - end, end - 1, end, end + 1]);
                }
                let end = 1_i128 << (self.bits() - 1);
                let fitting = numbers.range(-end..end);
                fitting.map(|number| Value::Integer(*number as i64)).collect()
            }
            Column::Text => {
                let letters = "The quick brown fox jumps over lazy dogs";
                let lengths = (0..=letters.len()).map(|length| letters[..length].to_owned());
                let others = [
                    "é",
                    "ß",
                    "🦀",
                    "e\u{301}",
                    "naïve café",
                    "Ελληνικά",
                    "漢字かな交じり文",
                    "👩‍👩‍👧‍👦 family",
                    "\u{feff}mark",
                    "\u{10ffff}",
                    "a|b\tc\nd\\e'f\"g%",
                    " ",
                    "NULL",
                    "null",
                ];
                let long = ["x".repeat(255), "long ".repeat(100), "漢字🦀é".repeat(40)];
                let all = lengths.chain(others.map(str::to_owned)).chain(long);
                all.map(Value::Text).collect()
            }
            Column::Bytea => {
                let zeros = (0..=13).map(|length| vec![0; length]);
                let ones = (1..=13).map(|length| vec![0xff; length]);
                let count = (14..=26).map(|length| (0..length).collect());
                let others = [vec![0x80], b"a\0b\0".to_vec(), (0..=255).collect()];
                zeros.chain(ones).chain(count).chain(others).map(Value::Bytes).collect()
            }
            Column::Uuid => {
                let count = std::array::from_fn(|place| place as u8);
                let one_byte = |place| std::array::from_fn(|at| u8::from(at == place));
                let bytes = [[0; 16], [0xff; 16], count].into_iter();
                bytes.chain((0..16).map(one_byte)).map(Value::Uuid).collect()
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
    Uuid([u8; 16]),
}

impl Value {
    fn hash(&self, seed: u64) -> Option<u64> {
        match self {
            Value::Null => None,
            Value::Integer(number) => Some(hash_integer(*number, seed)),
            Value::Text(text) => Some(hash_text(text, seed)),
            Value::Bytes(bytes) => Some(hash_bytes(bytes, seed)),
            Value::Uuid(uuid) => Some(hash_uuid(uuid, seed)),
        }
    }

    fn literal(&self) -> String {
        match self {
            Value::Null => self.to_string(),
            Value::Integer(_) | Value::Uuid(_) => format!("'{self}'"),
            Value::Text(_) => format!("convert_from('\\x{self}', 'UTF8')"),
            Value::Bytes(_) => format!("'\\x{self}'"),
        }
    }

    /// Parses the output of `Display`.
    fn read(column: Column, written: &str) -> Value {
        if written == "null" {
            return Value::Null;
        }
        match column {
            Column::Smallint | Column::Integer | Column::Bigint => {
                Value::Integer(written.parse().expect("a number"))
            }
            Column::Text => Value::Text(String::from_utf8(unhex(written)).expect("UTF-8")),
            Column::Bytea => Value::Bytes(unhex(written)),
            Column::Uuid => Value::Uuid(unhex(written).try_into().expect("sixteen bytes")),
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Integer(number) => number.fmt(f),
            Value::Text(text) => f.write_str(&hex(text.as_bytes())),
            Value::Bytes(bytes) => f.write_str(&hex(bytes)),
            Value::Uuid(uuid) => f.write_str(&hex(uuid)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    let byte = |place| u8::from_str_radix(&digits[place..place + 2], 16).expect("two digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// Numbers that look random and follow from one seed: splitmix64.
struct Random {
    state: u64,
}

impl Random {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    fn key(&mut self, layout: &[Column]) -> Key {
        layout.iter().map(|column| self.value(*column)).collect()
    }

    fn value(&mut self, column: Column) -> Value {
        if self.below(50) == 0 {
            return Value::Null;
        }
        match column {
            Column::Smallint | Column::Integer | Column::Bigint => {
                // Of every magnitude, not only the large ones.
                let unused = u64::from(64 - column.bits());
                let shift = unused + self.below(u64::from(column.bits()));
                Value::Integer(self.next().cast_signed() >> shift)
            }
            Column::Text => {
                let length = self.length();
                Value::Text((0..length).map(|_| self.character()).collect())
            }
            Column::Bytea => {
                let length = self.length();
                Value::Bytes((0..length).map(|_| self.byte()).collect())
            }
            Column::Uuid => Value::Uuid(std::array::from_fn(|_| self.byte())),
        }
    }

    /// Mostly short.
    fn length(&mut self) -> u64 {
        if self.below(20) == 0 { self.below(2000) } else { self.below(41) }
    }

    /// Mostly ASCII, and never NUL, which PostgreSQL's text cannot hold.
    fn character(&mut self) -> char {
        let end = [0x80, 0x80, 0x800, 0x1_0000, 0x11_0000][self.below(5) as usize];
        let code = 1 + self.below(end - 1) as u32;
        // Any other code is a surrogate.
        char::from_u32(code).unwrap_or('\u{fffd}')
    }
}

// The vectors file.

/// An answer that a server gave: one line of the file.
#[derive(Debug)]
struct Vector {
    columns: Vec<Column>,
    key: Key,
    question: Question,
    answer: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    /// The hash function of the only column. PostgreSQL has signed numbers
    /// only, so seeds and hashes are written as such.
    Hash { seed: u64 },
    /// For which remainder `satisfies_hash_partition` is true.
    Remainder { modulus: u64 },
}

impl Question {
    fn new(name: &str, by: &str) -> Question {
        let by: i64 = by.parse().expect("a seed or a modulus");
        let by = by.cast_unsigned();
        match name {
            "hash" => Question::Hash { seed: by },
            "remainder" => Question::Remainder { modulus: by },
            _ => panic!("no question: {name:?}"),
        }
    }
}

impl Display for Vector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let key: Vec<String> = self.key.iter().map(Value::to_string).collect();
        let (question, by) = match self.question {
            Question::Hash { seed } => ("hash", seed),
            Question::Remainder { modulus } => ("remainder", modulus),
        };
        let (columns, key, by) = (names(&self.columns), key.join(","), by.cast_signed());
        write!(f, "{columns}\t{key}\t{question}\t{by}\t{}", self.answer)
    }
}

impl FromStr for Vector {
    type Err = String;

    fn from_str(line: &str) -> Result<Vector, String> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [columns, key, question, by, answer] = fields[..] else {
            return Err(format!("not five fields: {line:?}"));
        };
        let columns = columns
            .split(',')
            .map(|name| Column::ALL.into_iter().find(|column| column.name() == name))
            .collect::<Option<Vec<Column>>>()
            .ok_or_else(|| format!("not a column: {line:?}"))?;
        let key: Key = columns
            .iter()
            .zip(key.split(','))
            .map(|(column, written)| Value::read(*column, written))
            .collect();
        Ok(Vector {
            columns,
            key,
            question: Question::new(question, by),
            answer: answer.parse().map_err(|_| format!("no answer: {line:?}"))?,
        })
    }
}

fn names(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name()).collect();
    names.join(",")
}

fn lines(vectors: &[Vector]) -> Vec<String> {
    vectors.iter().map(Vector::to_string).collect()
}

fn vectors_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/postgres_hash.tsv")
}

fn read_vectors() -> Vec<Vector> {
    let text = fs::read_to_string(vectors_file()).expect("the vectors file");
    let vectors: Result<Vec<Vector>, String> =
        text.lines().filter(|line| !line.starts_with('#')).map(str::parse).collect();
    vectors.expect("the vectors file is well formed")
}

fn write_vectors(server: &Server, vectors: &[Vector]) {
    let version = server.psql("show server_version");
    let functions: Vec<String> =
        Column::ALL.iter().map(|column| format!("{} of {}", column.hash_function(), column.name())).collect();
    let text = format!(
        "# Answers of PostgreSQL {}, written by: \
         SHARDED_WRITE_VECTORS=1 cargo test --test postgres_hash r02\n\
         # hash is, under a seed, {}.\n\
         # remainder is the one for which satisfies_hash_partition is true, under a modulus.\n\
         # Text is UTF-8 and, like bytea and uuid, in hexadecimal digits.\n\
         # columns\tkey\tquestion\tseed or modulus\tanswer\n\
         {}\n",
        version.trim_end(),
        functions.join(", "),
        lines(vectors).join("\n"),
    );
    // Another test may be reading: the file changes in one piece.
    let new = vectors_file().with_extension("new");
    fs::write(&new, text).expect("the new vectors file");
    fs::rename(&new, vectors_file()).expect("the vectors file is replaced");
}
