//! Raw SQL through a session: its shards, the allowed statements, and its rows.

use shard_runtime::{ErrorKind, Parent, Session, Sql};

use crate::backend::{Backend, CONTINENTS, Watched, assert_error};
use crate::models::*;

on_every_dialect! {
    r18_sql_runs_on_the_shards_that_it_names,
    r19_sql_pinned_twice_or_to_no_shard,
    r23_sql_sees_pending_changes_and_clears_the_identity_map,
    r32_sql_that_fails_has_no_effect_on_any_shard,
    r37_sql_returns_the_number_of_changed_rows,
    r42_tables_are_named_and_values_are_bound,
    rows_are_read_by_name,
    sql_is_one_statement_of_its_kind,
    parameters_fit_the_statement,
    the_first_rows_are_enough,
    sql_is_observed_as_other_statements;
    only SQLite:
    invalid_text_is_refused_when_it_is_read,
    parameters_have_names_or_only_places,
    sql_that_rolls_back_by_itself_ends_the_unit,
}

/// Three cities in Asia, one in Europe.
fn made(backend: &Backend) -> (Watched, Session) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    use Continent::*;
    for (continent, name, population) in [
        (Asia, "Tokyo", Some(37)),
        (Asia, "Delhi", None),
        (Oceania, "Perth", Some(2)),
        (Europe, "Bern", Some(1)),
    ] {
        session.add(NewCity { continent, name: name.into(), population }).unwrap();
    }
    session.commit().unwrap();
    (cluster, session)
}

/// The names, shard by shard.
fn names(session: &mut Session) -> Vec<String> {
    let rows = session.all(Sql::new("SELECT name FROM {cities} ORDER BY name").all_shards()).unwrap();
    rows.iter().map(|row| row.get("name").unwrap()).collect()
}

fn r18_sql_runs_on_the_shards_that_it_names(backend: &Backend) {
    let (cluster, mut session) = made(backend);
    let count = || Sql::new("SELECT count(*) AS cities FROM {cities}");
    let cases = [
        (count().on_shard("asia"), vec![("asia", 3)]),
        (count().on::<City>(Continent::Oceania), vec![("asia", 3)]),
        (count().on::<Report>(Continent::Europe), vec![("europe", 1)]),
        (count().all_shards().on_shard("europe"), vec![("europe", 1)]),
        (count().on_shard("europe").all_shards(), vec![("europe", 1)]),
        (count().all_shards(), vec![("north_america", 0), ("asia", 3), ("europe", 1), ("south_america", 0)]),
    ];
    for (sql, expected) in cases {
        let (rows, asked) = cluster.asked(|| session.all(sql).unwrap());
        let found: Vec<(&str, i64)> =
            rows.iter().map(|row| (row.shard().name(), row.get("cities").unwrap())).collect();
        assert_eq!(found, expected);
        assert_eq!(asked, expected.iter().map(|(shard, _)| *shard).collect::<Vec<_>>());
    }
    let rename = Sql::new("UPDATE {cities} SET name = upper(name)").on::<City>(Continent::Europe);
    let (changed, asked) = cluster.asked(|| session.execute(rename).unwrap());
    assert_eq!((changed, asked), (1, vec!["europe".to_owned()]));
    assert_eq!(names(&mut session), ["Delhi", "Perth", "Tokyo", "BERN"]);
}

fn r19_sql_pinned_twice_or_to_no_shard(backend: &Backend) {
    let (cluster, mut session) = made(backend);
    let one = || Sql::new("SELECT 1 AS one");
    let ((), asked) = cluster.asked(|| {
        let both = one().on_shard("asia").on::<City>(Continent::Europe);
        assert_error(session.all(both), ErrorKind::ContradictingPins, &["asia", "europe"]);
        assert_error(
            session.all(one().on_shard("Asia")),
            ErrorKind::UnknownShard,
            &["`Asia`", "south_america"],
        );
        let delete = Sql::new("DELETE FROM {cities}").on_shard("asia").on_shard("europe");
        assert_error(session.execute(delete), ErrorKind::ContradictingPins, &["asia", "europe"]);
    });
    assert!(asked.is_empty());
    assert_eq!(session.all(one().on_shard("asia").on::<City>(Continent::Oceania)).unwrap().len(), 1);
}

fn r23_sql_sees_pending_changes_and_clears_the_identity_map(backend: &Backend) {
    let (cluster, mut session) = made(backend);
    let lima = session.add(city(Continent::SouthAmerica, "Lima")).unwrap();
    session.add(city(Continent::NorthAmerica, "Reno")).unwrap();
    // The SQL is not parsed: pending changes of every table are flushed, on the shards that are read.
    let reports = Sql::new("SELECT count(*) AS n FROM {reports}").on_shard("south_america");
    let (_, sql) = (session.one(reports).unwrap(), cluster.sql());
    let inserts: Vec<&str> =
        sql.iter().filter(|(_, sql)| sql.starts_with("INSERT")).map(|(shard, _)| shard.as_str()).collect();
    assert_eq!(inserts[inserts.len() - 1..], ["south_america"]);
    assert!(!inserts.contains(&"north_america"));
    assert_eq!(session.get::<City>(lima.id).unwrap().unwrap().name, "Lima");
    let ((), asked) = cluster.asked(|| {
        session.get::<City>(lima.id).unwrap();
    });
    assert!(asked.is_empty());
    let rename = Sql::new("UPDATE {cities} SET name = ?2 WHERE id = ?1").bind(lima.id).bind("Callao");
    assert_eq!(session.execute(rename.on_shard("south_america")).unwrap(), 1);
    assert_eq!(session.get::<City>(lima.id).unwrap().unwrap().name, "Callao");
    session.rollback();
    assert_eq!(names(&mut session), ["Delhi", "Perth", "Tokyo", "Bern"]);
}

fn r32_sql_that_fails_has_no_effect_on_any_shard(backend: &Backend) {
    let (_, mut session) = made(backend);
    session.execute(Sql::new("UPDATE {cities} SET population = 5").all_shards()).unwrap();
    // Fails on Asia's second row, after North America.
    session.add(city(Continent::NorthAmerica, "Reno")).unwrap();
    let same = Sql::new("UPDATE {cities} SET name = 'same', continent = 'Asia', population = 9").all_shards();
    assert_error(session.execute(same), ErrorKind::Unique, &["shard `asia`"]);
    // The session's earlier writes are kept, and it remains usable.
    assert_eq!(names(&mut session), ["Reno", "Delhi", "Perth", "Tokyo", "Bern"]);
    let fives = Sql::new("SELECT count(*) AS n FROM {cities} WHERE population = 5").all_shards();
    let fives: Vec<i64> = session.all(fives).unwrap().iter().map(|row| row.get("n").unwrap()).collect();
    assert_eq!(fives, [0, 3, 1, 0]);
    session.commit().unwrap();
    assert_error(
        session.all(Sql::new("SELECT nme FROM {cities}").on_shard("asia")),
        ErrorKind::Schema,
        &["shard `asia`", "column `nme`"],
    );
    assert_error(
        session.all(Sql::new("SELEC name FROM {cities}").on_shard("asia")),
        ErrorKind::Database,
        &["shard `asia`", "syntax"],
    );
    assert_eq!(names(&mut session).len(), 5);
}

fn r37_sql_returns_the_number_of_changed_rows(backend: &Backend) {
    let (cluster, mut session) = made(backend);
    let copy = "INSERT INTO {cities} (id, continent, name, population) \
                SELECT id + 1000000, continent, name || ' 2', population FROM {cities}";
    assert_eq!(session.execute(Sql::new(copy).all_shards()).unwrap(), 4);
    let delete = Sql::new("DELETE FROM {cities} WHERE name LIKE ?1").bind("%2").all_shards();
    let (deleted, counts) = cluster.counted(|| session.execute(delete).unwrap());
    assert_eq!(deleted, 4);
    assert_eq!(counts, CONTINENTS.map(|shard| (shard.to_owned(), 1)));
}

fn r42_tables_are_named_and_values_are_bound(backend: &Backend) {
    let (cluster, mut session) = made(backend);
    let hostile = "'; DELETE FROM cities; --{cities}";
    let found =
        Sql::new(r#"SELECT name, '{"a": 1}' AS braces, ?2 AS bound FROM {cities} AS c WHERE name <> ?1"#);
    let rows = session.all(found.bind("Tokyo").bind(hostile).on_shard("asia")).unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].get::<String>("braces").unwrap(), r#"{"a": 1}"#);
    assert_eq!(rows[0].get::<String>("bound").unwrap(), hostile);
    let joined =
        "SELECT c.name AS name FROM {cities} c LEFT JOIN {reports} r ON r.city_id = c.id ORDER BY c.id";
    assert_eq!(session.all(Sql::new(joined).on_shard("asia")).unwrap().len(), 3);

    cluster.sql();
    session.add(city(Continent::Asia, "waits")).unwrap();
    let ((), asked) = cluster.asked(|| {
        for unknown in ["{towns}", "{Cities}", "{asia_cities}", "{}", "{ cities}"] {
            let sql = Sql::new(format!("SELECT 1 FROM {unknown}")).all_shards();
            assert_error(session.all(sql), ErrorKind::UnknownModel, &["cities, reports, remarks"]);
        }
        for text in ["SELECT {", "SELECT }", "DELETE FROM {cities", "DELETE FROM {cities}\0"] {
            let sql = || Sql::new(text).all_shards();
            assert_error(session.execute(sql()), ErrorKind::Query, &["the SQL"]);
            assert_error(session.first(sql()), ErrorKind::Query, &["the SQL"]);
        }
        for value in ["a\0b", "\0"] {
            let sql = Sql::new("SELECT ?1, ?2").bind(1).bind(value).all_shards();
            assert_error(session.all(sql), ErrorKind::Value, &["parameter 2", "NUL"]);
        }
        let list = Sql::new("SELECT * FROM rarray(?1)").bind_list([0.0, f64::NAN]).all_shards();
        assert_error(session.all(list), ErrorKind::Value, &["parameter 1", "NaN"]);
    });
    assert!(asked.is_empty());
}

fn rows_are_read_by_name(backend: &Backend) {
    let (_, mut session) = made(backend);
    let sql = "SELECT id, population, name, continent, {bytes} AS bytes, \
               CAST(1.5 AS double precision) AS real, 1 AS yes, id AS \"ID\", 1 AS twice, 2 AS twice, NULL AS empty \
               FROM {cities} WHERE name = ?1";
    let bytes = if backend.is_postgres("asia") { "'\\x00ff'::bytea" } else { "x'00ff'" };
    let row = session.one(Sql::new(sql.replace("{bytes}", bytes)).bind("Tokyo").on_shard("asia")).unwrap();
    assert_eq!(row.get::<String>("name").unwrap(), "Tokyo");
    assert_eq!(row.get::<Option<i64>>("population").unwrap(), Some(37));
    assert_eq!(row.get::<Option<String>>("empty").unwrap(), None);
    assert_eq!(row.get::<Continent>("continent").unwrap(), Continent::Asia);
    assert_eq!(row.get::<Vec<u8>>("bytes").unwrap(), [0, 255]);
    assert_eq!((row.get::<f64>("real").unwrap(), row.get::<bool>("yes").unwrap()), (1.5, true));
    assert_eq!(row.columns().take(3).collect::<Vec<_>>(), ["id", "population", "name"]);
    // A link to a row is read as such, and used as such.
    let tokyo = row.get::<Parent<City>>("id").unwrap();
    assert_eq!(tokyo.shard().name(), "asia");
    assert_eq!(row.get::<i64>("ID").unwrap(), *tokyo.id());
    assert_eq!(session.get(&tokyo).unwrap().unwrap().name, "Tokyo");

    let here = |column: &str| ["shard `asia`".to_owned(), format!("column `{column}`")];
    let refused = |result: shard_runtime::Result<()>, kind, column: &str, said: &str| {
        let [shard, column] = here(column);
        assert_error(result, kind, &[&shard, &column, said]);
    };
    refused(row.get::<String>("nme").map(drop), ErrorKind::Query, "nme", "its columns: id, population, name");
    refused(row.get::<i64>("twice").map(drop), ErrorKind::Query, "twice", "AS");
    refused(row.get::<i64>("name").map(drop), ErrorKind::Value, "name", "expected an integer, found `Tokyo`");
    refused(row.get::<String>("id").map(drop), ErrorKind::Value, "id", "expected text");
    refused(row.get::<u8>("empty").map(drop), ErrorKind::Value, "empty", "found NULL");
    refused(row.get::<Parent<City>>("empty").map(drop), ErrorKind::Value, "empty", "found NULL");
}

fn invalid_text_is_refused_when_it_is_read(backend: &Backend) {
    let (_, mut session) = made(backend);
    let sql = "SELECT CAST(x'ff' AS TEXT) AS broken, 1 AS one FROM {cities} WHERE name = 'Tokyo'";
    let row = session.one(Sql::new(sql).on_shard("asia")).unwrap();
    assert_error(
        row.get::<String>("broken"),
        ErrorKind::Value,
        &["shard `asia`", "column `broken`", "UTF-8"],
    );
    // The other columns of a row with a broken text are read nevertheless.
    assert_eq!(row.get::<i64>("one").unwrap(), 1);
}

fn sql_is_one_statement_of_its_kind(backend: &Backend) {
    let (cluster, mut session) = made(backend);
    let (_, counts) = cluster.counted(|| {
        for several in ["SELECT 1; SELECT 2", "SELECT 1;PRAGMA query_only = ON", "SELECT 1; nonsense"] {
            assert_error(
                session.all(Sql::new(several).all_shards()),
                ErrorKind::Query,
                &["several statements"],
            );
        }
        let several = Sql::new("DELETE FROM {reports}; DELETE FROM {cities}").all_shards();
        assert_error(session.execute(several), ErrorKind::Query, &["several statements"]);
        for none in ["", " -- SELECT 1", ";"] {
            assert_error(session.all(Sql::new(none).all_shards()), ErrorKind::Query, &["no statement"]);
        }
        for own in ["COMMIT", "begin", "ROLLBACK", "SAVEPOINT x", "PRAGMA query_only = ON", "ATTACH 'x' AS x"]
        {
            let said = [own.split(' ').next().unwrap(), "with_connection"];
            assert_error(session.all(Sql::new(own).all_shards()), ErrorKind::Query, &said);
            assert_error(session.execute(Sql::new(own).all_shards()), ErrorKind::Query, &said);
        }
        let writes =
            ["DELETE FROM {cities}", "DELETE FROM {cities} RETURNING id", "CREATE TABLE x (y INTEGER)"];
        for write in writes {
            let said = ["shard `asia`", "`execute`"];
            assert_error(session.all(Sql::new(write).on_shard("asia")), ErrorKind::Query, &said);
        }
        let read = Sql::new("SELECT * FROM {cities}").on_shard("asia");
        assert_error(session.execute(read), ErrorKind::Query, &["shard `asia`", "`all`"]);
        let returning = Sql::new("DELETE FROM {cities} RETURNING id").on_shard("asia");
        assert_error(session.execute(returning), ErrorKind::Query, &["shard `asia`", "RETURNING"]);
    });
    assert!(counts.is_empty());
    // Nothing of it had an effect, also not on the connections.
    session.add(city(Continent::Asia, "new")).unwrap();
    session.commit().unwrap();
    assert_eq!(names(&mut session), ["Delhi", "Perth", "Tokyo", "new", "Bern"]);
    let made = Sql::new("CREATE INDEX IF NOT EXISTS made ON {cities} (name); -- in SQL").on_shard("asia");
    session.execute(made).unwrap();
}

fn parameters_fit_the_statement(backend: &Backend) {
    let (cluster, mut session) = made(backend);
    let asia = |text: &str| Sql::new(text).on_shard("asia");
    let (_, counts) = cluster.counted(|| {
        let one = asia("SELECT ?1 AS x").bind(1).bind(2);
        assert_error(
            session.all(one),
            ErrorKind::Query,
            &["shard `asia`", "parameters in the SQL: 1, bound values: 2"],
        );
        let none = asia("SELECT ?1 AS x");
        assert_error(session.all(none), ErrorKind::Query, &["parameters in the SQL: 1, bound values: 0"]);
        let third = asia("DELETE FROM {cities} WHERE id IN (?1, ?2, ?3)").bind(1);
        assert_error(
            session.execute(third),
            ErrorKind::Query,
            &["parameters in the SQL: 3, bound values: 1"],
        );
    });
    assert!(counts.is_empty());
    let sum = asia(
        "SELECT CAST(?1 AS INTEGER) + CAST(?2 AS INTEGER) + ?1 AS sum, CAST(?3 AS TEXT) AS name, \
         CAST(?4 AS INTEGER) IS NULL AS empty",
    );
    let row = session.one(sum.bind(1).bind(20_i64).bind("x").bind(None::<i64>)).unwrap();
    assert_eq!((row.get::<i64>("sum").unwrap(), row.get::<bool>("empty").unwrap()), (22, true));
    assert_eq!(row.get::<String>("name").unwrap(), "x");
    let is_in = backend.is_in("asia", 1);
    let listed = format!("SELECT name FROM {{cities}} WHERE name {is_in} AND population > ?2 ORDER BY name");
    let rows = session.all(asia(&listed).bind_list(["Tokyo", "Perth", "Bern"]).bind(1)).unwrap();
    let found: Vec<String> = rows.iter().map(|row| row.get("name").unwrap()).collect();
    assert_eq!(found, ["Perth", "Tokyo"]);
    let none = format!("SELECT 1 AS x FROM {{cities}} WHERE id {is_in}");
    assert!(session.all(asia(&none).bind_list(Vec::<i64>::new())).unwrap().is_empty());
}

fn parameters_have_names_or_only_places(backend: &Backend) {
    let (_, mut session) = made(backend);
    let sum = "SELECT ?1 + ?2 + ?1 AS sum, :name AS name, ?4 IS NULL AS empty, 1 IN rarray(?) AS listed";
    let sum = Sql::new(sum).on_shard("asia").bind(1).bind(20_i64).bind("x").bind(None::<i64>).bind_list([1]);
    let row = session.one(sum).unwrap();
    assert_eq!((row.get::<i64>("sum").unwrap(), row.get::<bool>("empty").unwrap()), (22, true));
    assert_eq!(
        (row.get::<String>("name").unwrap().as_str(), row.get::<bool>("listed").unwrap()),
        ("x", true)
    );
}

fn the_first_rows_are_enough(backend: &Backend) {
    let (cluster, mut session) = made(backend);
    let all = || Sql::new("SELECT name FROM {cities} ORDER BY name").all_shards();
    let (first, asked) = cluster.asked(|| session.first(all()).unwrap().unwrap());
    assert_eq!((first.get::<String>("name").unwrap().as_str(), first.shard().name()), ("Delhi", "asia"));
    assert_eq!(asked, ["north_america", "asia"]);
    assert_error(session.one(all()), ErrorKind::ManyRows, &[]);
    let none = Sql::new("SELECT 1 FROM {reports}").all_shards();
    assert_error(session.one(none), ErrorKind::NotFound, &[]);
}

fn sql_that_rolls_back_by_itself_ends_the_unit(backend: &Backend) {
    let (_, mut session) = made(backend);
    session.execute(Sql::new("DELETE FROM {cities}").on_shard("europe")).unwrap();
    let clash = "INSERT OR ROLLBACK INTO {cities} SELECT id + 1000000, continent, name, 0 FROM {cities}";
    assert_error(session.execute(Sql::new(clash).on_shard("asia")), ErrorKind::Unique, &["shard `asia`"]);
    let one = || Sql::new("SELECT 1").on_shard("asia");
    assert_error(session.all(one()), ErrorKind::TransactionAborted, &["call `rollback` first"]);
    assert_error(
        session.execute(Sql::new("DELETE FROM {cities}").all_shards()),
        ErrorKind::TransactionAborted,
        &[],
    );
    assert_error(session.commit(), ErrorKind::TransactionAborted, &[]);
    session.rollback();
    assert_eq!(names(&mut session), ["Delhi", "Perth", "Tokyo", "Bern"]);
}

fn sql_is_observed_as_other_statements(backend: &Backend) {
    let (cluster, mut session) = made(backend);
    cluster.sql();
    let text = "SELECT name FROM {cities} WHERE name <> ?1";
    session.all(Sql::new(text).bind("secret").on_shard("asia")).unwrap();
    let sql = text.replace("{cities}", &backend.table("asia", "cities"));
    let sql = sql.replace("?1", &backend.param("asia", 1));
    assert_eq!(cluster.sql(), [("asia".to_owned(), sql)]);
    // Statements that fail are counted too.
    let overflow = Sql::new("UPDATE {cities} SET population = NULL, name = NULL").on_shard("asia");
    let (failed, counts) = cluster.counted(|| session.execute(overflow));
    assert_error(failed, ErrorKind::NotNull, &["shard `asia`"]);
    assert_eq!(counts, [("asia".to_owned(), 1)]);
}
