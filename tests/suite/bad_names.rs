//! Every name that becomes SQL is quoted or refused; values are only ever bound: R42.

use shard_runtime::{Cluster, ErrorKind, Parent, Sharded};

use crate::backend::{Backend, LETTERS, assert_error};
use crate::models::*;

on_every_dialect! {
    r42_hostile_names_round_trip,
    r42_hostile_names_in_errors_and_explanations,
    r42_hostile_values_are_values,
    r42_hostile_shard_names,
    r42_patterns_match_literally;
    only Files:
        r42_hostile_paths,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "select \"x\"; DROP TABLE companies; --", unique(order, group))]
struct Hostile {
    #[id(sequence)]
    #[sharded(column = "primary key")]
    id: i64,
    #[shard_key(range("a" => .."h", "b" => "h".."p", "c" => "p"..))]
    #[sharded(column = "order")]
    order: String,
    #[sharded(column = "größe 'in' \"cm\"")]
    group: Option<i64>,
    #[sharded(column = "?1")]
    r#type: String,
    #[sharded(column = "$x:y@z")]
    dollar: f64,
    #[sharded(column = " ")]
    space: bool,
    #[sharded(column = "[tab\t]")]
    tab: Vec<u8>,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "数据 `表`")]
struct Child {
    #[id(auto)]
    #[sharded(column = "FROM")]
    id: i64,
    #[shard_parent]
    #[sharded(column = "references")]
    parent: Parent<Hostile>,
    #[sharded(column = "values")]
    values: i32,
}

fn hostile(order: &str, group: i64) -> NewHostile {
    NewHostile {
        order: order.into(),
        group: Some(group),
        r#type: "t".into(),
        dollar: 0.5,
        space: true,
        tab: vec![0, 255],
    }
}

fn r42_hostile_names_round_trip(backend: &Backend) {
    let cluster = backend.create::<(Hostile, Child, Company)>(&LETTERS);
    let mut session = cluster.session();
    let mut rows: Vec<_> =
        ["apple", "kiwi", "pear"].iter().map(|order| session.add(hostile(order, 1)).unwrap()).collect();
    let children: Vec<_> =
        rows.iter().map(|row| session.add(NewChild { parent: row.link(), values: 7 }).unwrap()).collect();
    session.commit().unwrap();
    for (row, child) in rows.iter_mut().zip(&children) {
        assert_eq!(session.get::<Hostile>(row.id).unwrap().as_ref(), Some(&*row));
        assert_eq!(&session.all(row.children::<Child>()).unwrap()[..], std::slice::from_ref(child));
        assert_eq!(&session.parent(child).unwrap(), row);
        row.r#type = "changed".into();
        row.dollar = -1.0;
        session.update(row).unwrap();
        session.reload(row).unwrap();
        assert_eq!((row.r#type.as_str(), row.dollar), ("changed", -1.0));
    }
    let filter = Hostile::TYPE.eq("changed")
        & Hostile::DOLLAR.le(0.0)
        & Hostile::SPACE.eq(true)
        & Hostile::TAB.eq(vec![0, 255])
        & !Hostile::GROUP.is_null()
        & Hostile::ORDER.is_in(["apple", "pear"])
        & Hostile::ORDER.like("%p%")
        & Hostile::TYPE.starts_with("ch");
    let found =
        Hostile::select().filter(filter).order_by(Hostile::GROUP.asc()).order_by(Hostile::ORDER.desc());
    let found = session.all(found.limit(5)).unwrap();
    assert!(found.iter().map(|row| row.order.as_str()).eq(["pear", "apple"]));
    assert_eq!(session.one(Hostile::select().all_shards().aggregate(Hostile::GROUP.sum())).unwrap(), Some(3));
    assert_eq!(session.all_with::<Child>(Hostile::select().all_shards()).unwrap().len(), 3);
    let update = Hostile::update().set(Hostile::SPACE, false).set(Hostile::GROUP, None).all_shards();
    assert_eq!(session.execute(update).unwrap(), 3);
    assert_eq!(session.execute(Child::delete().all_shards()).unwrap(), 3);
    session.delete(&rows[0]).unwrap();
    session.commit().unwrap();
    assert_eq!(
        session.one(Hostile::select().filter(Hostile::GROUP.is_null()).all_shards().count()).unwrap(),
        2
    );
    drop(session);
    if backend.is_lasting() {
        backend.open::<(Hostile, Child)>(&LETTERS).unwrap();
        drop(backend.create::<(Hostile, Child)>(&LETTERS));
    }
}

fn r42_hostile_names_in_errors_and_explanations(backend: &Backend) {
    let cluster = backend.create::<(Hostile, Child)>(&LETTERS);
    let mut session = cluster.session();
    session.add(hostile("apple", 1)).unwrap();
    session.add(hostile("apple", 1)).unwrap();
    let texts = ["shard `a`", "table `select \"x\"; DROP TABLE companies; --`"];
    assert_error(session.commit(), ErrorKind::Unique, &texts);
    let bad = NewHostile { dollar: f64::NAN, ..hostile("apple", 1) };
    assert_error(session.add(bad), ErrorKind::Value, &["column `$x:y@z`", "NaN"]);
    let query = Hostile::select().filter(Hostile::ORDER.eq("it's")).order_by(Hostile::GROUP.asc());
    let explain = cluster.explain(&query).unwrap();
    assert_eq!((explain.shards(), explain.reason()), (vec!["b"], "order = it's"));
    let expected = format!(
        "FROM {} WHERE \"order\" = {}",
        backend.table("b", Hostile::TABLE.name),
        backend.param("b", 1)
    );
    assert!(explain.statements().all(|(_, sql)| sql.contains(&expected)), "{explain}");
}

fn r42_hostile_values_are_values(backend: &Backend) {
    let cluster = backend.create::<(Word, Company)>(&LETTERS);
    let mut session = cluster.session();
    let values = [
        "'; DROP TABLE words; --",
        "\" OR 1=1",
        "?1",
        "%_\\*?[]",
        "\u{202E}\u{FEFF}",
        "a\r\nb\tc",
        "NULL",
        "\u{10FFFF}",
    ];
    for value in values {
        let word = session.add(Word { text: value.into(), meaning: value.into() }).unwrap();
        assert_eq!(session.get::<Word>(value.to_owned()).unwrap().unwrap(), word);
        let query = Word::select().filter(Word::MEANING.eq(value)).all_shards();
        assert_eq!(session.one(query).unwrap(), word);
        let query = Word::select().filter(Word::TEXT.starts_with(value));
        assert_eq!(session.one(query).unwrap(), word);
        let update = Word::update().set(Word::MEANING, value).filter(Word::TEXT.is_in([value]));
        assert_eq!(session.execute(update).unwrap(), 1);
    }
    session.commit().unwrap();
    assert_eq!(session.one(Word::select().all_shards().count()).unwrap(), values.len() as u64);
}

fn r42_hostile_shard_names(backend: &Backend) {
    let names = ["'; DROP TABLE companies; --", "ü 数", "a\"b`c", "../up", "line\nbreak", " "];
    let builder = names.iter().enumerate().fold(Cluster::builder(), |builder, (place, name)| {
        builder.shard(*name, backend.url(["p", "q", "r", "s", "t", "u"][place]))
    });
    let cluster = builder.clone().create::<Company>().unwrap();
    assert!(cluster.shards().iter().map(|shard| shard.name()).eq(names));
    let mut session = cluster.session();
    let companies = session.add_all((0..40).map(|id| Company { id, name: id.to_string() })).unwrap();
    session.commit().unwrap();
    for name in names {
        let there = session.one(Company::select().on_shard(name).count()).unwrap() as usize;
        assert_eq!(there, companies.iter().filter(|company| company.shard().name() == name).count());
    }
    drop((session, cluster));
    if backend.is_lasting() {
        builder.open::<Company>().unwrap();
    }
    let nul = Cluster::builder().shard("a\0b", backend.url("v")).create::<Company>();
    assert_error(nul, ErrorKind::Configuration, &["a\\0b"]);
}

fn r42_hostile_paths(backend: &Backend) {
    for name in ["with space", "ümläut 数", "quote'\"", "semi;colon", "per%20cent", "hash#", "a&b=c", "[x]"]
    {
        let folder = backend.folder().join(name);
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join(format!("{name}.db"));
        // `%` begins an encoded byte in a URL.
        let url = format!("sqlite:{}", file.display()).replace('%', "%25");
        let builder = || Cluster::builder().shard("a", &url);
        builder().create::<Company>().unwrap();
        assert!(file.exists(), "{name}");
        builder().open::<Company>().unwrap();
    }
}

fn r42_patterns_match_literally(backend: &Backend) {
    let cluster = backend.create::<Word>(&LETTERS);
    let mut session = cluster.session();
    let words = ["100%", "100x", "a*b", "a?b", "a[b", "axb", "a_b", "A_B", "a\\b", "a]b", "é", "", "ab"];
    session.add_all(words.map(|word| Word { text: word.into(), meaning: word.into() })).unwrap();
    // On a plain column and on the key, whose prefix narrows.
    let mut like = |pattern: &str| -> Vec<String> {
        let rows = |filter| Word::select().filter(filter).all_shards().order_by(Word::TEXT.asc());
        let texts = |rows: Vec<shard_runtime::Stored<Word>>| -> Vec<String> {
            rows.iter().map(|row| row.text.clone()).collect()
        };
        let plain = texts(session.all(rows(Word::MEANING.like(pattern))).unwrap());
        let key = texts(session.all(rows(Word::TEXT.like(pattern))).unwrap());
        assert_eq!(plain, key, "{pattern}");
        let others = texts(session.all(rows(!Word::TEXT.like(pattern))).unwrap());
        assert_eq!(others.len() + key.len(), words.len(), "{pattern}");
        plain
    };
    assert_eq!(like("100\\%"), ["100%"]);
    assert_eq!(like("100_"), ["100%", "100x"]);
    assert_eq!(like("a*b"), ["a*b"]);
    assert_eq!(like("a?b"), ["a?b"]);
    assert_eq!(like("a[b"), ["a[b"]);
    assert_eq!(like("a]b"), ["a]b"]);
    assert_eq!(like("a\\_b"), ["a_b"]);
    assert_eq!(like("a\\\\b"), ["a\\b"]);
    assert_eq!(like("a\\xb"), ["axb"]);
    assert_eq!(like("A%"), ["A_B"]);
    assert_eq!(like("_"), ["é"]);
    assert_eq!(like(""), [""]);
    assert_eq!(like("%").len(), words.len());
    assert_eq!(like("a%b").len(), 8);
    let ends = Word::select().filter(Word::TEXT.like("a\\")).all_shards();
    assert_error(session.all(ends), ErrorKind::Value, &["table `words`", "column `text`", "backslash"]);
}
