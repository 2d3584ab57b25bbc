//! Texts in the collation that their column declares, compared with one big table of SQLite: R25, R26 and R27.

// Two lists of fields may begin with the same one; clippy takes the field for an attribute given twice.
#![allow(clippy::duplicated_attributes)]

use rusqlite::types::FromSql;
use shard_runtime::{
    Cursor, ErrorKind, Field, Filter, Order, Parent, Routed, Select, Sharded, Unrouted, count,
    query::{ColumnList, Columns, Groups, MeasureList},
    sqlite,
};

use crate::backend::{Backend, LETTERS, Watched, assert_error};

on_every_sqlite! {
    r25_comparisons_follow_the_collation,
    r25_patterns_and_prefixes_follow_the_collation,
    r25_related_rows_are_found_by_the_collation,
    r25_order_follows_the_collation,
    r26_pages_follow_the_collation,
    r27_distinct_rows_have_the_least_spelling,
    r27_distinct_rows_of_a_column_taken_twice,
    r26_pages_of_distinct_spellings_are_the_whole,
    r27_groups_have_the_least_spelling,
    r27_groups_are_left_out_and_ordered_by_the_collation,
    r27_measures_of_all_rows_follow_the_collation,
    r32_unique_texts_are_unique_by_the_collation,
    r25_writes_follow_the_collation_and_keep_the_spelling,
    views_over_all_shards_have_the_collation;
    only on_disk:
        r41_a_column_of_another_collation_is_refused,
}

/// A text by another name.
#[derive(Field, Clone, Debug, PartialEq)]
struct City(String);

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "authors", index(name))]
struct Author {
    #[id]
    id: i64,
    #[shard_key(hash)]
    tenant: i64,
    #[sharded(collate = nocase)]
    name: Option<String>,
    #[sharded(column = "lives_in", collate = nocase)]
    city: City,
    pages: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "books", unique(author, title))]
struct Book {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    author: Parent<Author>,
    #[sharded(collate = nocase)]
    title: String,
}

type Library = (Author, Book);

const NAMES: [Option<&str>; 27] = [
    Some("Ada"),
    Some("ada"),
    Some("ADA"),
    Some("Bob"),
    Some("bob"),
    Some("Émile"),
    Some("émile"),
    Some("ÉMILE"),
    Some(""),
    None,
    Some("Zoë"),
    Some("zoë"),
    Some("ZOË"),
    Some("[x"),
    Some("_X"),
    Some("_x"),
    Some("@at"),
    Some("@AT"),
    Some("`q"),
    Some("a"),
    Some("A"),
    Some("Ab"),
    Some("aB"),
    Some("100%"),
    Some("1000"),
    Some("Straße"),
    Some("STRASSE"),
];

const CITIES: [&str; 7] = ["rome", "Rome", "ROME", "oSLO", "Oslo", "", "Ávila"];

const ROWS: usize = 155;

/// A name as a tenant spells it, and no other: capitals for the bits of the number.
fn spelled(name: &str, number: i64) -> String {
    let letter = |(place, letter): (u32, char)| match number >> place & 1 {
        1 => letter.to_ascii_uppercase(),
        _ => letter,
    };
    (0..).zip(name.chars()).map(letter).collect()
}

/// The authors on three shards, and in one big table.
struct Both {
    cluster: Watched,
    big: rusqlite::Connection,
}

fn both(backend: &Backend) -> Both {
    let cluster = backend.create::<Library>(&LETTERS);
    let big = rusqlite::Connection::open_in_memory().unwrap();
    big.execute_batch(
        "CREATE TABLE authors (id INTEGER PRIMARY KEY, tenant INTEGER, name TEXT COLLATE NOCASE,
         lives_in TEXT NOT NULL COLLATE NOCASE, pages INTEGER) STRICT",
    )
    .unwrap();
    let mut session = cluster.session();
    for id in 0..ROWS as i64 {
        let place = id as usize;
        let (tenant, pages) = (id * 3 % 10, id % 4);
        let (name, city) = (NAMES[place * 7 % 27].map(str::to_owned), CITIES[place * 5 % 7]);
        let name = match id {
            135..145 => Some(spelled("wilma", tenant)),
            145.. => Some(spelled("xenia", 9 - tenant)),
            _ => name,
        };
        big.execute("INSERT INTO authors VALUES (?1, ?2, ?3, ?4, ?5)", (id, tenant, &name, city, pages))
            .unwrap();
        let author = Author { id, tenant, name, city: City(city.to_owned()), pages };
        session.add(author).unwrap();
    }
    session.commit().unwrap();
    for shard in LETTERS {
        let rows = session.one(Author::select().on_shard(shard).count()).unwrap();
        assert!(rows > 20, "{shard} has {rows} rows");
    }
    Both { cluster, big }
}

fn all() -> Select<Author, Routed> {
    Author::select().all_shards()
}

/// The rows of one tenant, which one shard has.
fn one() -> Select<Author, Routed> {
    Author::select().filter(Author::TENANT.eq(3))
}

type Selected = fn() -> Select<Author, Routed>;

/// Both of them, each with its SQL and the number of shards that it reads.
fn scattered_and_whole() -> [(Selected, &'static str, usize); 2] {
    [(all, "TRUE", 3), (one, "tenant = 3", 1)]
}

impl Both {
    /// Returns the first column of the big table's answer.
    fn values<V: FromSql>(&self, sql: &str) -> Vec<V> {
        self.rows(sql, |row| row.get(0))
    }

    fn numbers(&self, sql: &str) -> Vec<u64> {
        self.values::<u32>(sql).into_iter().map(u64::from).collect()
    }

    fn rows<V>(&self, sql: &str, read: fn(&rusqlite::Row<'_>) -> rusqlite::Result<V>) -> Vec<V> {
        let mut statement = self.big.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        statement.query_map([], read).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    }

    /// Asserts that the filter and its negation find the rows that the condition finds in the big table.
    #[track_caller]
    fn finds(&self, filter: Filter<Author, Unrouted>, condition: &str) -> usize {
        let mut session = self.cluster.session();
        let mut found = 0;
        for (select, whole, shards) in scattered_and_whole() {
            for (filter, not) in [(filter.clone(), ""), (!filter.clone(), "NOT ")] {
                let query = select().filter(filter).order_by(Author::ID.asc()).columns(Author::ID);
                let (ids, asked) = self.cluster.asked(|| session.all(query).unwrap());
                let sql = format!("SELECT id FROM authors WHERE {whole} AND {not}({condition}) ORDER BY id");
                assert_eq!(ids, self.values::<i64>(&sql), "{sql}");
                assert_eq!(asked.len(), shards, "{sql}");
                found += if not.is_empty() { ids.len() } else { 0 };
            }
        }
        found
    }

    #[track_caller]
    fn ordered<const N: usize>(&self, orders: fn() -> [Order<Author>; N], sql: &str) {
        for (limit, offset) in [(1_000, 0), (9, 0), (20, 13)] {
            let query = orders().into_iter().fold(all(), |query, order| query.order_by(order));
            let query = query.limit(limit).offset(offset);
            let (ids, asked) = self.cluster.asked(|| self.cluster.session().all(query).unwrap());
            let sql = format!("SELECT id FROM authors ORDER BY {sql} LIMIT {limit} OFFSET {offset}");
            assert_eq!(ids.iter().map(|row| row.id).collect::<Vec<_>>(), self.values::<i64>(&sql), "{sql}");
            assert_eq!(asked, LETTERS);
        }
    }
}

fn r25_comparisons_follow_the_collation(backend: &Backend) {
    let both = both(backend);
    let name = Author::NAME;
    assert!(both.finds(name.eq("aDa"), "name = 'aDa'") > 10);
    assert!(both.finds(name.eq("éMILE"), "name = 'éMILE'") > 5);
    both.finds(name.eq("É"), "name = 'É'");
    both.finds(name.eq(""), "name = ''");
    both.finds(name.ne("BOB"), "name <> 'BOB'");
    for text in ["ADA", "b", "Z", "[", "_", "@A", "É", ""] {
        both.finds(name.lt(text), &format!("name < '{text}'"));
        both.finds(name.le(text), &format!("name <= '{text}'"));
        both.finds(name.gt(text), &format!("name > '{text}'"));
        both.finds(name.ge(text), &format!("name >= '{text}'"));
        both.finds(name.between(text, "BOB"), &format!("name BETWEEN '{text}' AND 'BOB'"));
    }
    assert!(both.finds(name.is_in(["ADA", "ada", "zOë", "nobody"]), "name IN ('ada', 'ZOë')") > 20);
    both.finds(Author::CITY.is_in([City("rOME".to_owned())]), "lives_in IN ('ROME')");
    both.finds(name.eq("ada") | name.eq("BOB"), "name = 'ADA' OR name = 'bob'");
    both.finds(Author::CITY.eq(City("OSLO".to_owned())), "lives_in = 'oslo'");
    both.finds(name.is_null(), "name IS NULL");
}

fn r25_patterns_and_prefixes_follow_the_collation(backend: &Backend) {
    let both = both(backend);
    let mut found = 0;
    for prefix in
        ["a", "A", "AD", "@", "@a", "Z", "zo", "[", "_", "`", "É", "é", "STRAß", "straSS", "100%", ""]
    {
        let length = prefix.chars().count();
        let sql = format!("substr(name, 1, {length}) = '{prefix}' COLLATE NOCASE");
        found += both.finds(Author::NAME.starts_with(prefix), &sql);
    }
    assert!(found > 100);
    for pattern in
        ["a%", "%B", "_D_", r"100\%", r"\_x", "É%", "%ß%", "%SS%", "ada", "", r"\A\d%", "[x", "%[%", "*"]
    {
        both.finds(Author::NAME.like(pattern), &format!(r"name LIKE '{pattern}' ESCAPE '\'"));
    }
    let session = || both.cluster.session();
    for pattern in [r"end\", "a\0b"] {
        let query = all().filter(Author::NAME.like(pattern));
        assert_error(session().all(query), ErrorKind::Value, &["table `authors`", "column `name`"]);
    }
}

fn r25_related_rows_are_found_by_the_collation(backend: &Backend) {
    let both = both(backend);
    let mut session = both.cluster.session();
    let authors = session.all(all().filter(Author::NAME.eq("Ada"))).unwrap();
    for (place, author) in authors.iter().enumerate() {
        let title = ["Notes", "NOTES", "Sketches"][place % 3].to_owned();
        session.add(NewBook { author: author.link(), title }).unwrap();
    }
    let books = Book::has_parent(Author::NAME.eq("ADA"));
    let books = Book::select().all_shards().filter(books & Book::TITLE.starts_with("nOT")).count();
    let notes = authors.len() as u64 - authors.len() as u64 / 3;
    assert_eq!(session.one(books).unwrap(), notes);
    let writers = all().filter(Author::has_child(Book::TITLE.eq("notes"))).count();
    assert_eq!(session.one(writers).unwrap(), notes);
}

fn r25_order_follows_the_collation(backend: &Backend) {
    let both = both(backend);
    both.ordered(|| [Author::NAME.asc(), Author::ID.asc()], "name ASC NULLS FIRST, id");
    both.ordered(|| [Author::NAME.desc(), Author::ID.desc()], "name DESC NULLS LAST, id DESC");
    both.ordered(|| [Author::NAME.asc().nulls_last(), Author::ID.desc()], "name ASC NULLS LAST, id DESC");
    both.ordered(
        || [Author::CITY.desc(), Author::NAME.asc(), Author::ID.asc()],
        "lives_in DESC, name ASC NULLS FIRST, id",
    );
    // Spellings are ties, which are broken by shard.
    let found = both
        .cluster
        .session()
        .all(all().filter(Author::NAME.eq("ada")).order_by(Author::NAME.asc()))
        .unwrap();
    assert!(found.is_sorted_by_key(|row| (row.shard().index(), row.id)), "{found:?}");
}

fn r26_pages_follow_the_collation(backend: &Backend) {
    let both = both(backend);
    let (name, city) = (Author::NAME, Author::CITY);
    for order in [
        vec![name.asc()],
        vec![name.desc().nulls_first()],
        vec![name.asc().nulls_last()],
        vec![city.asc(), name.desc()],
    ] {
        let query = order.into_iter().fold(all(), |query, order| query.order_by(order));
        let whole = both.cluster.session().all(query.clone()).unwrap();
        assert_eq!(whole.len(), ROWS);
        for limit in [1, 4, 50] {
            let mut read = Vec::new();
            let mut page = query.clone().limit(limit);
            loop {
                let rows = both.cluster.session().all(page).unwrap();
                let Some(last) = rows.last() else { break };
                page = query.clone().limit(limit).after(&query.cursor(last).unwrap());
                read.extend(rows);
                assert!(read.len() <= whole.len());
            }
            assert_eq!(read, whole);
        }
    }
}

/// Distinct names, as in one big table whose SQL names the spelling to return.
const DISTINCT: &str = "SELECT min(name COLLATE BINARY) FROM authors WHERE {} GROUP BY name ORDER BY name";

fn r27_distinct_rows_have_the_least_spelling(backend: &Backend) {
    let both = both(backend);
    let mut session = both.cluster.session();
    let (name, city) = (Author::NAME, Author::CITY);
    for (select, whole, shards) in scattered_and_whole() {
        let names: Vec<Option<String>> = both.values(&DISTINCT.replace("{}", whole));
        let mut asked = |query: Columns<Author, Routed, _>| {
            let (found, asked) = both.cluster.asked(|| session.all(query).unwrap());
            assert_eq!(asked.len(), shards);
            found
        };
        assert_eq!(asked(select().columns(name).distinct()), names);
        let bounded = select().order_by(name.asc()).limit(5).offset(3).columns(name).distinct();
        assert_eq!(asked(bounded), names[3..8.min(names.len())]);
        let descending = select().order_by(name.desc()).columns(name).distinct();
        assert!(asked(descending).iter().eq(names.iter().rev()));
        let sql = format!(
            "SELECT min(name COLLATE BINARY), min(lives_in COLLATE BINARY), pages FROM authors WHERE {whole}
             GROUP BY name, lives_in, pages ORDER BY lives_in DESC, name, pages"
        );
        let rows = both.rows(&sql, |row| Ok((row.get(0)?, City(row.get(1)?), row.get(2)?)));
        let query = select().order_by(city.desc()).columns((name, city, Author::PAGES)).distinct();
        let (found, asked) = both.cluster.asked(|| both.cluster.session().all(query).unwrap());
        assert_eq!((found, asked.len()), (rows, shards));
    }
    // Some of the spellings that are answered are of rows on other shards than the first.
    let first: Vec<Option<String>> =
        session.all(Author::select().on_shard("a").columns(name).distinct()).unwrap();
    let names = session.all(all().columns(name).distinct()).unwrap();
    assert!(first.iter().any(|spelling| !names.contains(spelling)), "{first:?}");
    // Without `distinct` the spellings are the written ones.
    let written = session.all(all().order_by(Author::ID.asc()).columns(name)).unwrap();
    assert_eq!(written, both.values::<Option<String>>("SELECT name FROM authors ORDER BY id"));
}

fn r27_distinct_rows_of_a_column_taken_twice(backend: &Backend) {
    let both = both(backend);
    let name = Author::NAME;
    let names: Vec<Option<String>> = both.values(&DISTINCT.replace("{}", "TRUE"));
    for query in [all(), all().order_by(name.asc())] {
        let found = both.cluster.session().all(query.columns((name, name)).distinct()).unwrap();
        assert_eq!(found, names.iter().map(|name| (name.clone(), name.clone())).collect::<Vec<_>>());
    }
}

fn r26_pages_of_distinct_spellings_are_the_whole(backend: &Backend) {
    fn paged<C: ColumnList<Author>>(
        both: &Both,
        limit: u64,
        columns: impl Fn(Select<Author, Routed>) -> Columns<Author, Routed, C>,
    ) -> Vec<C::Output> {
        let mut read = Vec::new();
        let mut after: Option<Cursor> = None;
        loop {
            let page = columns(all().limit(limit));
            let page = after.iter().fold(page, Columns::after).with_cursor();
            let rows = both.cluster.session().all(page).unwrap();
            let Some((_, last)) = rows.last() else { return read };
            after = Some(last.to_string().parse().unwrap());
            read.extend(rows.into_iter().map(|(row, _)| row));
            assert!(read.len() <= ROWS);
        }
    }
    let both = both(backend);
    let (name, city) = (Author::NAME, Author::CITY);
    let names: Vec<Option<String>> = both.values(&DISTINCT.replace("{}", "TRUE"));
    for limit in [1, 5] {
        assert_eq!(paged(&both, limit, |page| page.columns(name).distinct()), names);
    }
    let by_city = || all().order_by(city.desc()).columns((name, city)).distinct();
    let whole = both.cluster.session().all(by_city()).unwrap();
    let pages = paged(&both, 6, |page| page.order_by(city.desc()).columns((name, city)).distinct());
    assert_eq!(pages, whole);
}

type Measured = (u64, Option<i64>, Option<City>, Option<City>, u64);

/// Groups by name with their authors' cities, beside SQL that computes the spelling to return.
const GROUPS: &str = "
    SELECT min(a.name COLLATE BINARY), count(*), sum(a.pages),
        (SELECT b.lives_in FROM authors b WHERE b.name IS a.name AND {}
         ORDER BY b.lives_in, b.lives_in COLLATE BINARY LIMIT 1),
        (SELECT b.lives_in FROM authors b WHERE b.name IS a.name AND {}
         ORDER BY b.lives_in DESC, b.lives_in COLLATE BINARY LIMIT 1),
        count(DISTINCT a.lives_in)
    FROM authors a WHERE {} GROUP BY a.name";

fn measured(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Option<String>, Measured)> {
    let city = |place| row.get::<_, Option<String>>(place).map(|city| city.map(City));
    let number = |place| row.get::<_, u32>(place).map(u64::from);
    Ok((row.get(0)?, (number(1)?, row.get(2)?, city(3)?, city(4)?, number(5)?)))
}

fn r27_groups_have_the_least_spelling(backend: &Backend) {
    let both = both(backend);
    let city = Author::CITY;
    for (select, whole, shards) in scattered_and_whole() {
        let measures = (count(), Author::PAGES.sum(), city.min(), city.max(), city.count_distinct());
        let groups = || select().group_by(Author::NAME).aggregate(measures);
        let sql = GROUPS.replace("{}", whole);
        let expected = both.rows(&format!("{sql} ORDER BY a.name"), measured);
        let (found, asked) = both.cluster.asked(|| both.cluster.session().all(groups()).unwrap());
        assert_eq!((found, asked.len()), (expected.clone(), shards));
        let last = groups().order_by(Author::NAME.desc()).limit(4).offset(1);
        let last = both.cluster.session().all(last).unwrap();
        assert!(last.iter().eq(expected.iter().rev().skip(1).take(4)));
    }
    // Of two collated columns, each has its own least spelling.
    let pairs = all().group_by((Author::NAME, city)).aggregate(count());
    let sql = "SELECT min(name COLLATE BINARY), min(lives_in COLLATE BINARY), count(*) FROM authors
               GROUP BY name, lives_in ORDER BY name, lives_in";
    let expected = both.rows(sql, |row| Ok(((row.get(0)?, City(row.get(1)?)), row.get::<_, u32>(2)?.into())));
    assert_eq!(both.cluster.session().all(pairs).unwrap(), expected);
}

fn r27_groups_are_left_out_and_ordered_by_the_collation(backend: &Backend) {
    let both = both(backend);
    /// Asserts that the groups are as many rows each as in the big table, in its order.
    #[track_caller]
    fn checked<M: MeasureList<Author, Output = u64>>(
        both: &Both,
        groups: Groups<Author, Routed, impl ColumnList<Author>, M>,
        shards: usize,
        sql: &str,
    ) {
        let (found, asked) = both.cluster.asked(|| both.cluster.session().all(groups).unwrap());
        let found: Vec<u64> = found.into_iter().map(|(_, rows)| rows).collect();
        assert_eq!((found, asked.len()), (both.numbers(sql), shards), "{sql}");
    }
    let city = Author::CITY;
    for (select, whole, shards) in scattered_and_whole() {
        // Groups by pages, or by the key as well, which its shards answer whole.
        let sql = |keys: &str, rest: &str| {
            format!("SELECT count(*) FROM authors WHERE {whole} GROUP BY {keys} {rest}")
        };
        for text in ["OSLO", "oslo", "Rome", "", "ÁVILA"] {
            let text = || City(text.to_owned());
            let having = |measure: &str, operator: &str, keys: &str| {
                let said = format!("HAVING {measure}(lives_in) COLLATE NOCASE {operator} '{}'", text().0);
                sql(keys, &format!("{said} ORDER BY {keys}"))
            };
            let pages = || select().group_by(Author::PAGES).aggregate(count());
            checked(&both, pages().having(city.max().ge(text())), shards, &having("max", ">=", "pages"));
            checked(&both, pages().having(city.min().lt(text())), shards, &having("min", "<", "pages"));
            let tenants = || select().group_by((Author::TENANT, Author::NAME)).aggregate(count());
            let keys = "tenant, name";
            checked(&both, tenants().having(city.max().eq(text())), shards, &having("max", "=", keys));
            checked(&both, tenants().having(city.min().gt(text())), shards, &having("min", ">", keys));
        }
        let distinct = "HAVING count(DISTINCT lives_in) > 2 ORDER BY name";
        let names = || select().group_by(Author::NAME).aggregate(count());
        checked(&both, names().having(city.count_distinct().gt(2)), shards, &sql("name", distinct));
        let by_city = names().order_by(city.max().desc()).order_by(city.min().asc());
        let order = "ORDER BY max(lives_in) COLLATE NOCASE DESC, min(lives_in) COLLATE NOCASE, name";
        checked(&both, by_city, shards, &sql("name", order));
        let by_city = select().group_by((Author::TENANT, Author::NAME)).aggregate(count());
        let by_city = by_city.order_by(city.min().asc()).limit(30);
        let order = "ORDER BY min(lives_in) COLLATE NOCASE, tenant, name LIMIT 30";
        checked(&both, by_city, shards, &sql("tenant, name", order));
    }
}

fn r27_measures_of_all_rows_follow_the_collation(backend: &Backend) {
    let both = both(backend);
    let name = Author::NAME;
    for (select, whole, shards) in scattered_and_whole() {
        for condition in ["TRUE", "name >= '`'", "name BETWEEN 'a' AND 'ADB'", "name = 'zoË'", "name IS NULL"]
        {
            let filter = match condition {
                "TRUE" => Filter::everything(),
                "name >= '`'" => name.ge("`"),
                "name BETWEEN 'a' AND 'ADB'" => name.between("a", "ADB"),
                "name = 'zoË'" => name.eq("zoË"),
                _ => name.is_null(),
            };
            let least = |descending: &str| {
                let sql = format!(
                    "SELECT name FROM authors WHERE {whole} AND {condition} AND name IS NOT NULL
                     ORDER BY name {descending}, name COLLATE BINARY LIMIT 1"
                );
                both.values::<Option<String>>(&sql).pop().flatten()
            };
            let number = format!("SELECT count(DISTINCT name) FROM authors WHERE {whole} AND {condition}");
            let query = select().filter(filter).aggregate((name.min(), name.max(), name.count_distinct()));
            let (found, asked) = both.cluster.asked(|| both.cluster.session().one(query).unwrap());
            let expected = (least("ASC"), least("DESC"), both.numbers(&number)[0]);
            assert_eq!((found, asked.len()), (expected, shards), "{condition}");
        }
    }
}

fn r32_unique_texts_are_unique_by_the_collation(backend: &Backend) {
    let both = both(backend);
    let mut session = both.cluster.session();
    let authors = session.all(all().limit(2)).unwrap();
    let book =
        |author: usize, title: &str| NewBook { author: authors[author].link(), title: title.to_owned() };
    session.add(book(0, "Notes é")).unwrap();
    session.add(book(1, "NOTES é")).unwrap();
    session.add(book(0, "Notes É")).unwrap();
    session.commit().unwrap();
    let again = session.add(book(0, "nOtEs é")).and_then(|_| session.commit());
    assert_error(again, ErrorKind::Unique, &["table `books`"]);
    session.rollback();
    assert_eq!(session.one(Book::select().all_shards().count()).unwrap(), 3);
}

fn r25_writes_follow_the_collation_and_keep_the_spelling(backend: &Backend) {
    let both = both(backend);
    let mut session = both.cluster.session();
    // A row whose value changes by its spelling alone is written.
    let mut author = session.first(all().filter(Author::NAME.eq("bob"))).unwrap().unwrap();
    author.name = Some("bOB".to_owned());
    session.update(&mut author).unwrap();
    session.commit().unwrap();
    let found = session.all(all().filter(Author::ID.eq(author.id)).columns(Author::NAME)).unwrap();
    assert_eq!(found, [Some("bOB".to_owned())]);

    let of_city = Author::CITY.eq(City("ROME".to_owned()));
    let update = Author::update().all_shards().filter(of_city.clone()).set(Author::PAGES, 99);
    let changed = session.execute(update).unwrap();
    let sql = "SELECT count(*) FROM authors WHERE lives_in = 'rome'";
    assert_eq!(changed, both.numbers(sql)[0]);
    let deleted = session.execute(Author::delete().all_shards().filter(of_city)).unwrap();
    assert_eq!(deleted, changed);
}

/// The authors without a collation.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "authors", index(name))]
struct PlainAuthor {
    #[id]
    id: i64,
    #[shard_key(hash)]
    tenant: i64,
    name: Option<String>,
    #[sharded(column = "lives_in")]
    city: String,
    pages: i64,
}

fn r41_a_column_of_another_collation_is_refused(backend: &Backend) {
    drop(backend.create::<Author>(&LETTERS));
    drop(backend.open::<Author>(&LETTERS).unwrap());
    let texts = ["shard `a`", "table `authors`", "column `name`", "NOCASE", "BINARY"];
    assert_error(backend.open::<PlainAuthor>(&LETTERS).map(drop), ErrorKind::Schema, &texts);
    let sql = "DROP TABLE {table}; CREATE TABLE {table} (id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, \
               name TEXT COLLATE nocase, lives_in TEXT COLLATE RTRIM NOT NULL, pages INTEGER NOT NULL) STRICT";
    assert!(backend.plant(&["b"], "authors", sql));
    let texts = ["shard `b`", "table `authors`", "column `lives_in`", "RTRIM", "NOCASE"];
    assert_error(backend.open::<Author>(&LETTERS).map(drop), ErrorKind::Schema, &texts);
    // Making the tables once more changes none that is there.
    let again = backend.builder(&LETTERS).create::<Author>().map(drop);
    assert_error(again, ErrorKind::Schema, &texts);
}

fn views_over_all_shards_have_the_collation(backend: &Backend) {
    let both = both(backend);
    let raw = sqlite::attached(&both.cluster).unwrap();
    for sql in [
        "SELECT count(*) FROM authors WHERE name = 'aDa' OR lives_in LIKE 'R%'",
        "SELECT count(DISTINCT name) FROM authors",
        "SELECT count(*) FROM (SELECT 1 FROM authors GROUP BY name, lives_in)",
    ] {
        let found = raw.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap();
        assert_eq!([u64::from(found)], both.numbers(sql)[..], "{sql}");
    }
}
