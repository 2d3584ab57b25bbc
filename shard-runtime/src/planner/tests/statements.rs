//! Query → SQL text, for SQLite and for PostgreSQL.

use std::cmp::Ordering;
use std::slice;

use super::*;
use crate::planner::RowChange;
use crate::planner::sql::{self, After, EntryValues, NoFilter};
use crate::query::{Cursor, Filter, OrderBy, Select, SelectList, Sharded as Model, count};
use crate::schema::{Routed, Table};
use crate::value::Value;

/// In place of all columns of the table of cities.
const ALL: (&str, &str) = (r#""id", "continent", "name", "population", "code", "country""#, "…");

/// Compares the texts for SQLite and PostgreSQL; `=` stands for the text of PostgreSQL if only the `?` of parameters differ.
fn assert_texts<L>(lines: &[(L, [&str; 2])], text: impl Fn(&L, &Layout) -> String) {
    let layouts = [layout(Dialect::Sqlite), layout(Dialect::Postgres)];
    assert_lines(lines.iter().flat_map(|(line, expected)| {
        let [sqlite, postgres] = [0, 1].map(|index| text(line, &layouts[index]).replace(ALL.0, ALL.1));
        let postgres = if sqlite.replace('?', "$") == postgres { "=".to_owned() } else { postgres };
        [(expected[0], sqlite), (expected[1], postgres)]
    }));
}

fn africa() -> Select<City, Routed> {
    City::select().on("Africa")
}

#[test]
fn queries_have_these_texts() {
    let reports = || Report::select().on("Africa");
    let largest = City::POPULATION.max();
    let groups = africa()
        .group_by(City::NAME)
        .aggregate((count::<City>(), largest))
        .having(count::<City>().gt(1))
        .order_by(largest.desc())
        .limit(2);
    let lines: Vec<(Query, [&str; 2])> = vec![
        // Conditions.
        (query(africa()), [r#"SELECT … FROM "cities""#, "="]),
        (
            query(africa().filter(City::POPULATION.is_null() & City::NAME.ne("Cairo"))),
            [r#"SELECT … FROM "cities" WHERE ("population" IS NULL) AND ("name" <> ?1)"#, "="],
        ),
        (
            query(africa().filter(City::NAME.like("C_%") | !City::NAME.starts_with("Ca%"))),
            [
                r#"SELECT … FROM "cities" WHERE ("name" GLOB ?1) OR (NOT ("name" >= ?2 AND "name" < ?3))"#,
                r#"SELECT … FROM "cities" WHERE ("name" LIKE $1) OR (NOT ("name" >= $2 AND "name" < $3))"#,
            ],
        ),
        (
            query(africa().filter(City::POPULATION.is_in([1, 2]) & City::POPULATION.between(1, 9))),
            [
                r#"SELECT … FROM "cities" WHERE ("population" IN rarray(?1)) AND (("population" >= ?2) AND ("population" <= ?3))"#,
                r#"SELECT … FROM "cities" WHERE ("population" = ANY ($1)) AND (("population" >= $2) AND ("population" <= $3))"#,
            ],
        ),
        (
            query(City::select().filter(City::CONTINENT.is_in(["Africa", "Egypt"])).on_shard("a")),
            [
                r#"SELECT … FROM "cities" WHERE "continent" IN rarray(?1)"#,
                r#"SELECT … FROM "cities" WHERE "continent" = ANY ($1)"#,
            ],
        ),
        // Order, limit, offset.
        (
            query(africa().order_by(City::NAME.asc()).order_by(City::POPULATION.desc().nulls_last())),
            [
                r#"SELECT … FROM "cities" ORDER BY "name" COLLATE BINARY ASC NULLS FIRST, "population" DESC NULLS LAST, "id" ASC NULLS FIRST"#,
                r#"SELECT … FROM "cities" ORDER BY "name" ASC, "population" DESC NULLS LAST, "id" ASC"#,
            ],
        ),
        (
            query(africa().order_by(City::NAME.asc()).limit(3).offset(2)),
            [
                r#"SELECT … FROM "cities" ORDER BY "name" COLLATE BINARY ASC NULLS FIRST, "id" ASC NULLS FIRST LIMIT ?1 + 0 OFFSET ?2"#,
                r#"SELECT … FROM "cities" ORDER BY "name" ASC, "id" ASC LIMIT $1 OFFSET $2"#,
            ],
        ),
        (
            query(africa().offset(2)),
            [r#"SELECT … FROM "cities" LIMIT -1 OFFSET ?1"#, r#"SELECT … FROM "cities" OFFSET $1"#],
        ),
        // Columns.
        (
            query(africa().columns((City::NAME, City::POPULATION))),
            [r#"SELECT "name", "population" FROM "cities""#, "="],
        ),
        (
            query(africa().order_by(City::NAME.desc()).limit(2).columns(City::NAME).distinct()),
            [
                r#"SELECT DISTINCT "name" FROM "cities" ORDER BY "name" COLLATE BINARY DESC NULLS LAST LIMIT ?1 + 0"#,
                r#"SELECT DISTINCT "name" FROM "cities" ORDER BY "name" DESC LIMIT $1"#,
            ],
        ),
        // For update.
        (
            query(africa().for_update()),
            [
                r#"SELECT … FROM "cities""#,
                r#"SELECT … FROM "cities" ORDER BY "id" ASC FOR UPDATE OF "cities""#,
            ],
        ),
        (
            query(africa().order_by(City::NAME.asc()).limit(1).for_update()),
            [
                r#"SELECT … FROM "cities" ORDER BY "name" COLLATE BINARY ASC NULLS FIRST, "id" ASC NULLS FIRST LIMIT ?1 + 0"#,
                r#"SELECT … FROM "cities" ORDER BY "name" ASC, "id" ASC LIMIT $1 FOR UPDATE OF "cities""#,
            ],
        ),
        (
            query(africa().for_update().columns(City::NAME).distinct()),
            [
                r#"SELECT DISTINCT "name" FROM "cities" ORDER BY "name" COLLATE BINARY ASC NULLS FIRST"#,
                r#"WITH "cities" AS (SELECT * FROM "cities" ORDER BY "id" ASC FOR UPDATE OF "cities") SELECT DISTINCT "name" FROM "cities" ORDER BY "name" ASC"#,
            ],
        ),
        (
            query(africa().for_update().count()),
            [
                r#"SELECT count(*) FROM "cities""#,
                r#"WITH "cities" AS (SELECT * FROM "cities" ORDER BY "id" ASC FOR UPDATE OF "cities") SELECT count(*) FROM "cities""#,
            ],
        ),
        // One value, groups.
        (query(africa().count()), [r#"SELECT count(*) FROM "cities""#, "="]),
        (
            query(africa().limit(3).count()),
            [
                r#"SELECT count(*) FROM (SELECT 1 FROM "cities" LIMIT ?1 + 0) AS counted"#,
                r#"SELECT count(*) FROM (SELECT 1 FROM "cities" LIMIT $1) AS counted"#,
            ],
        ),
        (
            query(africa().exists()),
            [r#"SELECT 1 FROM "cities" LIMIT ?1 + 0"#, r#"SELECT 1 FROM "cities" LIMIT $1"#],
        ),
        (
            query(africa().aggregate(City::POPULATION.sum())),
            [
                r#"SELECT sum("population"), count("population") FROM "cities""#,
                r#"SELECT sum("population")::bigint, count("population") FROM "cities""#,
            ],
        ),
        (
            query(africa().aggregate(City::POPULATION.avg())),
            [
                r#"SELECT total("population"), count("population") FROM "cities""#,
                r#"SELECT coalesce(sum("population"::double precision), 0), count("population") FROM "cities""#,
            ],
        ),
        (
            query(groups),
            [
                r#"SELECT "name", count(*), max("population") FROM "cities" GROUP BY "name" COLLATE BINARY HAVING count(*) > ?1 ORDER BY max("population") DESC NULLS LAST, "name" COLLATE BINARY ASC NULLS FIRST LIMIT ?2 + 0"#,
                r#"SELECT "name", count(*), max("population") FROM "cities" GROUP BY "name" HAVING count(*) > $1 ORDER BY max("population") DESC NULLS LAST, "name" ASC LIMIT $2"#,
            ],
        ),
        // Joins and related rows.
        (
            query(reports().with_parent::<City>()),
            [
                r#"SELECT "reports"."id", "reports"."city_id", "reports"."heat", "reports"."version", sharded_parent."id", sharded_parent."continent", sharded_parent."name", sharded_parent."population", sharded_parent."code", sharded_parent."country" FROM "reports" CROSS JOIN "cities" AS sharded_parent ON sharded_parent."id" = "reports"."city_id""#,
                r#"SELECT "reports"."id", "reports"."city_id", "reports"."heat", "reports"."version", sharded_parent."id", sharded_parent."continent", sharded_parent."name", sharded_parent."population", sharded_parent."code", sharded_parent."country" FROM "reports" JOIN "cities" AS sharded_parent ON sharded_parent."id" = "reports"."city_id""#,
            ],
        ),
        (
            query(africa().with_reference(City::COUNTRY)),
            [
                r#"SELECT "cities"."id", "cities"."continent", "cities"."name", "cities"."population", "cities"."code", "cities"."country", sharded_reference_1."id", sharded_reference_1."name" FROM "cities" LEFT JOIN "countries" AS sharded_reference_1 ON sharded_reference_1."id" = "cities"."country""#,
                "=",
            ],
        ),
        (
            query(reports().filter(Report::has_parent(City::NAME.eq("Cairo")))),
            [
                r#"SELECT "id", "city_id", "heat", "version" FROM "reports" WHERE "city_id" IN (SELECT sharded_1."id" FROM "cities" AS sharded_1 WHERE (sharded_1."name" = ?1))"#,
                "=",
            ],
        ),
        (
            query(africa().filter(City::has_child(Report::HEAT.gt(30.0)))),
            [
                r#"SELECT … FROM "cities" WHERE EXISTS (SELECT 1 FROM "reports" AS sharded_1 WHERE sharded_1."city_id" = "cities"."id" AND (sharded_1."heat" > ?1))"#,
                "=",
            ],
        ),
        (
            query(africa().filter(City::COUNTRY.refers_to(Country::NAME.eq("Egypt")))),
            [
                r#"SELECT … FROM "cities" WHERE ("country" IS NOT NULL AND "country" IN (SELECT sharded_1."id" FROM "countries" AS sharded_1 WHERE (sharded_1."name" = ?1)))"#,
                "=",
            ],
        ),
        // Bulk writes.
        (
            query(City::update().set(City::POPULATION, Some(7)).set(City::NAME, "x").on("Africa")),
            [r#"UPDATE "cities" SET "population" = ?1, "name" = ?2"#, "="],
        ),
        (
            query(City::delete().filter(City::NAME.eq("Cairo")).on("Africa").returning()),
            [r#"DELETE FROM "cities" WHERE "name" = ?1 RETURNING …"#, "="],
        ),
        // One row by its id.
        (query(City::by_id(7).on("Africa")), [r#"SELECT … FROM "cities" WHERE "id" = ?1"#, "="]),
    ];
    assert_texts(&lines, |query, layout| {
        query(layout).statements().map(|(_, sql)| sql.to_owned()).collect::<Vec<_>>().join("; ")
    });
}

#[test]
fn lookups_are_read_before_their_rows() {
    let lines: Vec<(Query, [&str; 2])> = vec![
        (
            query(City::select().filter(City::CODE.eq("CAI")).all_shards()),
            [
                r#"a: SELECT "value", "shard" FROM "sharded_lookup_cities_code" WHERE "value" IN rarray(?1)"#,
                r#"a: SELECT "value", "shard" FROM "sharded_lookup_cities_code" WHERE "value" = ANY ($1)"#,
            ],
        ),
        (
            query(City::select().filter(City::CODE.is_in(["CAI", "LOS", "CPT"])).all_shards()),
            [
                r#"a: SELECT "value", "shard" FROM "sharded_lookup_cities_code" WHERE "value" IN rarray(?1); b: SELECT "value", "shard" FROM "sharded_lookup_cities_code" WHERE "value" IN rarray(?1)"#,
                r#"a: SELECT "value", "shard" FROM "sharded_lookup_cities_code" WHERE "value" = ANY ($1); b: SELECT "value", "shard" FROM "sharded_lookup_cities_code" WHERE "value" = ANY ($1)"#,
            ],
        ),
        // The key or the pin names one shard.
        (query(City::select().filter(City::CODE.eq("CAI") & City::CONTINENT.eq("Africa"))), ["", "="]),
        (query(City::select().filter(City::CODE.eq("CAI")).on("Africa")), ["", "="]),
        // Rows without the value match, too.
        (query(City::select().filter(City::CODE.eq("CAI") | City::NAME.eq("Cairo")).all_shards()), ["", "="]),
    ];
    assert_texts(&lines, |query, layout| {
        query(layout).lookups().map(|(shard, sql)| format!("{shard}: {sql}")).collect::<Vec<_>>().join("; ")
    });
}

/// The condition after a cursor on its own shard, on one before it and on one after it.
#[test]
fn pages_begin_after_the_cursor() {
    let by = |column, descending, nulls_first| OrderBy { column, descending, nulls_first };
    let (name, population) = (City::NAME.index(), City::POPULATION.index());
    let cursor = |values: &[Value<'static>]| Cursor {
        fingerprint: 0,
        shard: "a".to_owned(),
        values: values.iter().cloned().chain([Value::Integer(7)]).collect(),
    };
    let (text, number) = (Value::Text("Cairo".into()), Value::Integer(3));
    let lines = [
        (
            vec![by(name, false, true)],
            cursor(slice::from_ref(&text)),
            Ordering::Equal,
            r#""name" >= ?1 AND ((("name" > ?2)) OR ("name" = ?3 AND ("id" > ?4)))"#,
        ),
        (
            vec![by(name, true, true)],
            cursor(&[text]),
            Ordering::Less,
            r#""name" <= ?1 AND ((("name" < ?2)))"#,
        ),
        (
            vec![by(population, false, true)],
            cursor(slice::from_ref(&number)),
            Ordering::Greater,
            r#"TRUE AND ((("population" > ?1)) OR ("population" = ?2 AND TRUE))"#,
        ),
        (
            vec![by(population, true, false)],
            cursor(&[number]),
            Ordering::Equal,
            r#"TRUE AND ((("population" < ?1 OR "population" IS NULL)) OR ("population" = ?2 AND ("id" > ?3)))"#,
        ),
        (
            vec![by(population, false, true)],
            cursor(&[Value::Null]),
            Ordering::Equal,
            r#"TRUE AND (("population" IS NOT NULL) OR ("population" IS NULL AND ("id" > ?1)))"#,
        ),
        (
            vec![by(population, false, false)],
            cursor(&[Value::Null]),
            Ordering::Equal,
            r#"TRUE AND ((FALSE) OR ("population" IS NULL AND ("id" > ?1)))"#,
        ),
    ];
    let layout = layout(Dialect::Sqlite);
    let model = layout.model(<City as Model>::TABLE).unwrap();
    let site = layout.site(model, 0, &NoFilter).unwrap();
    let everything = Filter::<City, _>::everything();
    assert_lines(lines.iter().map(|(order, cursor, shard, expected)| {
        let after = After { cursor, order, shard: *shard };
        let list = SelectList::Existence;
        let sql = sql::select(&site, everything.predicate(), list, Some(after), order, (None, 0), false)
            .unwrap()
            .sql;
        let condition =
            sql.split_once(" WHERE (TRUE) AND (").and_then(|(_, rest)| rest.split_once(") ORDER BY"));
        (*expected, condition.map_or(sql.clone(), |(condition, _)| condition.to_owned()))
    }));
}

#[test]
fn rows_are_written_and_read_by_these_texts() {
    let (cities, reports, codes) =
        (<City as Model>::TABLE, <Report as Model>::TABLE, City::LOOKUPS[0].entries);
    let name = City::NAME.index();
    let version = Some(Report::VERSION.index());
    let lines: [(Text, [&str; 2]); 19] = [
        (|texts| texts.city.get.clone(), [r#"SELECT … FROM "cities" WHERE "id" = ?1"#, "="]),
        (
            |texts| texts.city.get_to_write(),
            [
                r#"SELECT … FROM "cities" WHERE "id" = ?1"#,
                r#"SELECT … FROM "cities" WHERE "id" = $1 FOR UPDATE"#,
            ],
        ),
        (
            |texts| texts.city.insert.clone(),
            [r#"INSERT INTO "cities" (…) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"#, "="],
        ),
        (
            |texts| texts.report.insert.clone(),
            [
                r#"INSERT INTO "reports" ("city_id", "heat", "version") VALUES (?1, ?2, ?3)"#,
                r#"INSERT INTO "reports" ("city_id", "heat", "version") VALUES ($1, $2, $3) RETURNING "id""#,
            ],
        ),
        (
            |texts| texts.seat.insert_lists.clone().unwrap_or_default(),
            [
                "",
                r#"INSERT INTO "seats" ("id", "row", "place") SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[])"#,
            ],
        ),
        (
            |texts| texts.report.insert_lists.clone().unwrap_or_default(),
            [
                "",
                r#"WITH counted AS (SELECT nextval((SELECT pg_get_serial_sequence('"reports"', 'id')::regclass)) AS id, given.* FROM unnest($1::bigint[], $2::double precision[], $3::bigint[]) WITH ORDINALITY AS given (c1, c2, c3, position)), inserted AS (INSERT INTO "reports" ("id", "city_id", "heat", "version") OVERRIDING SYSTEM VALUE SELECT id, c1, c2, c3 FROM counted) SELECT id FROM counted ORDER BY position"#,
            ],
        ),
        (
            |texts| texts.seat.insert_new(texts.seats),
            [
                r#"INSERT INTO "seats" ("id", "row", "place") VALUES (?1, ?2, ?3) ON CONFLICT ("id") DO NOTHING"#,
                "=",
            ],
        ),
        (
            |texts| texts.seat.save(texts.seats, None),
            [
                r#"INSERT INTO "seats" ("id", "row", "place") VALUES (?1, ?2, ?3) ON CONFLICT ("id") DO UPDATE SET "id" = excluded."id" WHERE "seats"."row" = excluded."row" AND "seats"."place" = excluded."place""#,
                "=",
            ],
        ),
        (
            |texts| texts.city.save(texts.cities, None),
            [
                r#"INSERT INTO "cities" (…) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT ("id") DO UPDATE SET "name" = excluded."name", "population" = excluded."population", "code" = excluded."code", "country" = excluded."country" WHERE "cities"."continent" = excluded."continent""#,
                "=",
            ],
        ),
        (
            |texts| texts.report.change(texts.reports, &texts.update).into_owned(),
            [r#"UPDATE "reports" SET "heat" = ?1 WHERE "id" = ?2 AND "version" = ?3"#, "="],
        ),
        (
            |texts| texts.report.change(texts.reports, &texts.delete).into_owned(),
            [r#"DELETE FROM "reports" WHERE "id" = ?1 AND "version" = ?2"#, "="],
        ),
        (
            |texts| texts.report.change_lists(texts.reports, &texts.update).unwrap_or_default().into_owned(),
            [
                "",
                r#"UPDATE "reports" SET "heat" = sharded_new.c0 FROM unnest($1::double precision[], $2::bigint[], $3::bigint[]) AS sharded_new(c0, c1, c2) WHERE "reports"."id" = sharded_new.c1 AND "reports"."version" = sharded_new.c2"#,
            ],
        ),
        (
            |texts| texts.report.change_lists(texts.reports, &texts.delete).unwrap_or_default().into_owned(),
            [
                "",
                r#"DELETE FROM "reports" USING unnest($1::bigint[], $2::bigint[]) AS sharded_new(c0, c1) WHERE "reports"."id" = sharded_new.c0 AND "reports"."version" = sharded_new.c1"#,
            ],
        ),
        (
            |texts| texts.seat.copy_from(texts.seats, &["id".to_owned(), "row".to_owned()], 0),
            [
                r#"SELECT "id", "row" FROM "seats" WHERE "id" IN rarray(?1) ORDER BY "id""#,
                r#"SELECT "id", "row" FROM "seats" WHERE "id" = ANY ($1) ORDER BY "id" FOR UPDATE"#,
            ],
        ),
        (
            |texts| texts.report.copy_to(&["id".to_owned(), "heat".to_owned()], Some(0)),
            [
                r#"INSERT INTO "reports" ("heat") VALUES (?1)"#,
                r#"INSERT INTO "reports" ("heat") VALUES ($1) RETURNING "id""#,
            ],
        ),
        (
            |texts| texts.seat.remove(texts.seats),
            [
                r#"DELETE FROM "seats" WHERE "id" IN rarray(?1)"#,
                r#"DELETE FROM "seats" WHERE "id" = ANY ($1)"#,
            ],
        ),
        (
            |texts| texts.code.remove_entries(texts.codes, true),
            [
                r#"DELETE FROM "sharded_lookup_cities_code" WHERE "value" IN rarray(?1) AND "shard" = ?2"#,
                r#"DELETE FROM "sharded_lookup_cities_code" WHERE "value" = ANY ($1) AND "shard" = $2"#,
            ],
        ),
        (
            |texts| texts.city.counted_values(texts.cities, texts.name, EntryValues::First(9)),
            [
                r#"SELECT "name", count(*) FROM "cities" WHERE "name" IS NOT NULL GROUP BY "name" ORDER BY "name" LIMIT 9"#,
                "=",
            ],
        ),
        (
            |texts| texts.code.entries(texts.codes, EntryValues::After(9)),
            [
                r#"SELECT "value", "shard" FROM "sharded_lookup_cities_code" WHERE "value" > ?1 ORDER BY "value" LIMIT 9"#,
                "=",
            ],
        ),
    ];
    assert_texts(&lines, |text, layout| {
        let sql = |table| layout.sql(layout.model(table).unwrap(), 0).unwrap();
        text(&Texts {
            city: sql(cities),
            report: sql(reports),
            seat: sql(<Seat as Model>::TABLE),
            code: sql(codes),
            cities,
            reports,
            seats: <Seat as Model>::TABLE,
            codes,
            name,
            update: RowChange::Update { columns: [Report::HEAT.index()].into_iter().collect(), version },
            delete: RowChange::Delete { version },
        })
    });
}

type Text = fn(&Texts<'_>) -> String;

/// The SQL of some tables, and the changes whose SQL is compared.
struct Texts<'l> {
    city: &'l sql::TableSql,
    report: &'l sql::TableSql,
    seat: &'l sql::TableSql,
    code: &'l sql::TableSql,
    cities: &'static Table,
    reports: &'static Table,
    seats: &'static Table,
    codes: &'static Table,
    name: usize,
    update: RowChange,
    delete: RowChange,
}

#[test]
fn tables_are_created_by_these_texts() {
    let lines: [(&'static Table, [&str; 2]); 4] = [
        (
            <City as Model>::TABLE,
            [
                r#"CREATE TABLE IF NOT EXISTS "p_cities" ("id" INTEGER PRIMARY KEY, "continent" TEXT NOT NULL, "name" TEXT NOT NULL, "population" INTEGER, "code" TEXT, "country" INTEGER REFERENCES "p_countries" ("id")) STRICT; CREATE INDEX IF NOT EXISTS "p_cities(code)" ON "p_cities" ("code")"#,
                r#"CREATE TABLE IF NOT EXISTS "p_cities" ("id" bigint NOT NULL PRIMARY KEY, "continent" text COLLATE "C" NOT NULL, "name" text COLLATE "C" NOT NULL, "population" bigint, "code" text COLLATE "C", "country" bigint REFERENCES "p_countries" ("id")); CREATE INDEX IF NOT EXISTS "p_cities(code)" ON "p_cities" ("code" NULLS FIRST)"#,
            ],
        ),
        (
            <Report as Model>::TABLE,
            [
                r#"CREATE TABLE IF NOT EXISTS "p_reports" ("id" INTEGER PRIMARY KEY AUTOINCREMENT, "city_id" INTEGER NOT NULL REFERENCES "p_cities" ("id"), "heat" REAL NOT NULL, "version" INTEGER NOT NULL) STRICT; CREATE INDEX IF NOT EXISTS "p_reports(city_id)" ON "p_reports" ("city_id")"#,
                r#"CREATE TABLE IF NOT EXISTS "p_reports" ("id" bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, "city_id" bigint NOT NULL REFERENCES "p_cities" ("id"), "heat" double precision NOT NULL, "version" bigint NOT NULL); CREATE INDEX IF NOT EXISTS "p_reports(city_id)" ON "p_reports" ("city_id")"#,
            ],
        ),
        (
            <Seat as Model>::TABLE,
            [
                r#"CREATE TABLE IF NOT EXISTS "p_seats" ("id" INTEGER PRIMARY KEY, "row" INTEGER NOT NULL, "place" TEXT NOT NULL) STRICT"#,
                r#"CREATE TABLE IF NOT EXISTS "p_seats" ("id" bigint NOT NULL PRIMARY KEY, "row" bigint NOT NULL, "place" text COLLATE "C" NOT NULL)"#,
            ],
        ),
        (
            City::LOOKUPS[0].entries,
            [
                r#"CREATE TABLE IF NOT EXISTS "p_sharded_lookup_cities_code" ("value" TEXT NOT NULL PRIMARY KEY, "shard" TEXT NOT NULL) STRICT, WITHOUT ROWID"#,
                r#"CREATE TABLE IF NOT EXISTS "p_sharded_lookup_cities_code" ("value" text COLLATE "C" NOT NULL PRIMARY KEY, "shard" text COLLATE "C" NOT NULL)"#,
            ],
        ),
    ];
    let names = Namespace::of_prefix("p_");
    assert_texts(&lines, |table, layout| {
        let dialect = layout.location(0).unwrap().dialect;
        let indexes = sql::indexes(&names, table, dialect);
        let indexes = indexes.iter().map(|index| index.create_sql(&names, table, dialect));
        [sql::create_table_sql(&names, table, dialect)]
            .into_iter()
            .chain(indexes)
            .collect::<Vec<_>>()
            .join("; ")
    });
}

#[test]
fn long_names_of_indexes_stay_apart() {
    let name = |end: &str| format!("{}{end}", "ä".repeat(40));
    let short = |name: String| sql::shortened(name, Dialect::Postgres);
    assert_ne!(short(name("a")), short(name("b")));
    assert!(short(name("a")).len() <= 63);
    assert_eq!(short("ä".repeat(31)), "ä".repeat(31));
    assert_eq!(sql::shortened(name("a"), Dialect::Sqlite), name("a"));
}
