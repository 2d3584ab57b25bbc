//! All shards behind one SQLite connection, for reading.

use std::collections::BTreeSet;

use shard_runtime::sqlite::rusqlite;
use shard_runtime::{Cluster, ErrorKind, Sharded, sqlite};

use crate::backend::{Backend, CONTINENTS, Kind, Watched, assert_error};
use crate::models::*;

on_every_sqlite! {
    views_are_over_all_shards,
    joins_windows_and_common_tables_run_over_everything,
    databases_are_attached_once,
    nothing_can_be_written,
    committed_rows_are_seen,
    a_model_with_a_column_named_shard,
    r42_names_are_quoted;
    only Files:
        r40_another_shards_file_is_refused;
    only Files Memory Prefixed:
        as_many_databases_as_sqlite_attaches,
}

fn made(backend: &Backend) -> Watched {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    use Continent::*;
    for (continent, name) in [(Asia, "Tokyo"), (Asia, "Delhi"), (Europe, "Bern"), (SouthAmerica, "Lima")] {
        let city = session.add(city(continent, name)).unwrap();
        for temperature in [10.0, 20.0] {
            session.add(NewReport { city: city.link(), temperature }).unwrap();
        }
    }
    session.commit().unwrap();
    cluster
}

fn texts(raw: &rusqlite::Connection, sql: &str) -> Vec<String> {
    let mut statement = raw.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

fn views_are_over_all_shards(backend: &Backend) {
    let cluster = made(backend);
    let (raw, asked) = cluster.asked(|| sqlite::attached(&cluster).unwrap());
    assert!(asked.is_empty());
    let found = texts(&raw, "SELECT name || ' ' || shard FROM cities ORDER BY name");
    assert_eq!(found, ["Bern europe", "Delhi asia", "Lima south_america", "Tokyo asia"]);
    let columns = texts(&raw, "SELECT name FROM pragma_table_info('cities')");
    assert_eq!(columns, ["id", "continent", "name", "population", "shard"]);
    assert_eq!(texts(&raw, "SELECT count(*) || '' FROM reports"), ["8"]);
    assert_eq!(texts(&raw, "SELECT count(*) || '' FROM remarks"), ["0"]);
}

fn joins_windows_and_common_tables_run_over_everything(backend: &Backend) {
    let cluster = made(backend);
    let raw = sqlite::attached(&cluster).unwrap();
    // Ids of reports repeat: a join names the shard.
    let sql = "WITH means AS (
                   SELECT c.name, c.shard, avg(r.temperature) + c.id AS mean
                   FROM cities c JOIN reports r ON r.city_id = c.id AND r.shard = c.shard GROUP BY c.shard, c.id)
               SELECT group_concat(name || ' ' || place, ', ' ORDER BY name)
               FROM (SELECT name, rank() OVER (ORDER BY mean DESC) AS place FROM means)";
    assert_eq!(texts(&raw, sql), ["Bern 2, Delhi 3, Lima 1, Tokyo 4"]);
    let listed = "SELECT count(*) FROM cities WHERE name IN rarray(?1)";
    let list = std::rc::Rc::new(vec![rusqlite::types::Value::from("Bern".to_owned())]);
    assert_eq!(raw.query_row(listed, [list], |row| row.get::<_, i64>(0)).unwrap(), 1);
    assert!(raw.query_row("SELECT \"no such column\" FROM cities", [], |_| Ok(())).is_err());
}

fn databases_are_attached_once(backend: &Backend) {
    let cluster = made(backend);
    let raw = sqlite::attached(&cluster).unwrap();
    let schemas = texts(&raw, "SELECT name FROM pragma_database_list WHERE name NOT IN ('main', 'temp')");
    let expected: &[&str] = match backend.kind {
        Kind::Files | Kind::Memory => &CONTINENTS,
        Kind::Prefixed => &["north_america"],
        Kind::Mixed => &["north_america", "asia", "europe"],
        Kind::Schemas | Kind::Servers | Kind::Everything => unreachable!("they are no SQLite databases"),
    };
    assert_eq!(schemas, expected);
    // The shard's own tables are there under the database's name.
    let schema = if backend.kind == Kind::Prefixed { "north_america" } else { "asia" };
    let own = format!("SELECT name FROM {schema}.{} ORDER BY name", backend.table("asia", "cities"));
    assert_eq!(texts(&raw, &own), ["Delhi", "Tokyo"]);
}

fn nothing_can_be_written(backend: &Backend) {
    let cluster = made(backend);
    let raw = sqlite::attached(&cluster).unwrap();
    let schemas = texts(&raw, "SELECT name FROM pragma_database_list WHERE name NOT IN ('main', 'temp')");
    let asia = if backend.kind == Kind::Prefixed { "north_america" } else { "asia" };
    let table = format!("{asia}.{}", backend.table("asia", "cities"));
    let writes = [
        format!("DELETE FROM {table}"),
        format!("UPDATE {table} SET name = 'x'"),
        format!("INSERT INTO {table} VALUES (1, 'Asia', 'x', NULL)"),
        format!("DROP TABLE {table}"),
        format!("CREATE TABLE {asia}.more (x)"),
        format!("PRAGMA {asia}.user_version = 5"),
    ];
    // Also if `query_only` is reset: the databases themselves are opened for reading.
    for query_only in ["ON", "OFF"] {
        raw.execute_batch(&format!("PRAGMA query_only = {query_only}")).unwrap();
        for write in &writes {
            let error = raw.execute_batch(write).unwrap_err();
            assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::ReadOnly), "{write}: {error}");
        }
        for schema in &schemas {
            assert!(raw.is_readonly(schema.as_str()).unwrap(), "{schema}");
        }
        assert!(raw.execute_batch("DELETE FROM cities").is_err());
    }
    raw.execute_batch("CREATE TEMP TABLE own AS SELECT * FROM cities").unwrap();
    assert_eq!(texts(&raw, "SELECT count(*) || '' FROM own"), ["4"]);
    drop(raw);
    let mut session = cluster.session();
    assert_eq!(session.one(City::select().all_shards().count()).unwrap(), 4);
    session.execute(Report::delete().all_shards()).unwrap();
    assert_eq!(session.execute(City::delete().all_shards()).unwrap(), 4);
    session.commit().unwrap();
}

fn committed_rows_are_seen(backend: &Backend) {
    let cluster = made(backend);
    let raw = sqlite::attached(&cluster).unwrap();
    raw.busy_timeout(std::time::Duration::ZERO).unwrap();
    let count = || texts(&raw, "SELECT count(*) || '' FROM cities");
    assert_eq!(count(), ["4"]);
    let mut session = cluster.session();
    session.add(city(Continent::Europe, "Rome")).unwrap();
    assert_eq!(count(), ["4"]);
    session.flush().unwrap();
    // A database in memory is not read while it is written; Europe's is in memory only if all are.
    if backend.kind == Kind::Memory {
        let error = raw.query_row("SELECT count(*) FROM cities", [], |_| Ok(())).unwrap_err();
        assert!(
            matches!(
                error.sqlite_error_code(),
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
            ),
            "{error}"
        );
    } else {
        assert_eq!(count(), ["4"]);
    }
    session.commit().unwrap();
    assert_eq!(count(), ["5"]);
    // It stands on its own: the cluster may go.
    drop(session);
    drop(cluster);
    assert_eq!(count(), ["5"]);
    assert_eq!(texts(&raw, "SELECT shard FROM cities WHERE name = 'Rome'"), ["europe"]);
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "shares")]
struct Share {
    #[id]
    #[shard_key(hash)]
    id: i64,
    #[sharded(column = "Shard")]
    shard: String,
}

fn a_model_with_a_column_named_shard(backend: &Backend) {
    let cluster = backend.create::<Share>(&["x", "y"]);
    let mut session = cluster.session();
    session.add_all((0..10).map(|id| Share { id, shard: format!("share {id}") })).unwrap();
    session.commit().unwrap();
    let raw = sqlite::attached(&cluster).unwrap();
    assert_eq!(texts(&raw, "SELECT name FROM pragma_table_info('shares')"), ["id", "Shard"]);
    assert_eq!(texts(&raw, "SELECT shard FROM shares WHERE id = 3"), ["share 3"]);
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "a \"table\"; --")]
struct Oddly {
    #[id]
    #[shard_key(hash)]
    #[sharded(column = "o'id\"")]
    id: i64,
}

fn r42_names_are_quoted(backend: &Backend) {
    let odd = ["it's \"x\"; --", "é {} ?", "plain"];
    let builder = odd.iter().enumerate().fold(Cluster::builder(), |builder, (position, name)| {
        let url = match backend.kind {
            Kind::Memory => "sqlite::memory:".to_owned(),
            Kind::Prefixed => {
                format!("sqlite:{}?prefix=p{position}_", backend.folder().join("a b%20#&.db").display())
            }
            _ => format!("sqlite:{}", backend.folder().join(format!("a b%20#&{position}.db")).display()),
        };
        builder.shard(*name, url)
    });
    let cluster = builder.create::<Oddly>().unwrap();
    let mut session = cluster.session();
    session.add_all((0..30).map(|id| Oddly { id })).unwrap();
    session.commit().unwrap();
    let raw = sqlite::attached(&cluster).unwrap();
    let shards = texts(&raw, "SELECT DISTINCT shard FROM \"a \"\"table\"\"; --\"");
    assert_eq!(
        shards.into_iter().collect::<BTreeSet<_>>(),
        odd.iter().map(|name| (*name).to_owned()).collect()
    );
    assert_eq!(texts(&raw, "SELECT sum(\"o'id\"\"\") || '' FROM \"a \"\"table\"\"; --\""), ["435"]);
}

fn r40_another_shards_file_is_refused(backend: &Backend) {
    let cluster = made(backend);
    // Pools keep connections to the old file; here the file is opened again.
    backend.raw("asia").execute_batch("UPDATE sharded_shard SET shard = 'europe'").unwrap();
    assert_error(
        sqlite::attached(&cluster).map(drop),
        ErrorKind::WrongDatabase,
        &["shard `asia`", "`europe`"],
    );
    backend.raw("asia").execute_batch("UPDATE sharded_shard SET shard = 'asia', cluster = 'x'").unwrap();
    assert_error(
        sqlite::attached(&cluster).map(drop),
        ErrorKind::WrongDatabase,
        &["shard `asia`", "cluster x"],
    );
    for shard in CONTINENTS {
        std::fs::rename(backend.path(shard), backend.folder().join(format!("{shard}.gone"))).unwrap();
    }
    assert_error(sqlite::attached(&cluster).map(drop), ErrorKind::Io, &["shard `north_america`"]);
}

#[test]
fn names_that_are_one_to_sqlite() {
    for (names, culprit) in
        [(["x", "X"], "shard `X`"), (["a", "Main"], "shard `Main`"), (["temp", "b"], "shard `temp`")]
    {
        let cluster = Cluster::in_memory::<Company>(names).unwrap();
        assert_error(sqlite::attached(&cluster).map(drop), ErrorKind::Configuration, &[culprit]);
    }
}

fn as_many_databases_as_sqlite_attaches(backend: &Backend) {
    fn filled(backend: &Backend, shards: usize) -> Watched {
        let names: Vec<String> = (0..shards).map(|shard| format!("shard_{shard}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let cluster = backend.create::<Company>(&names);
        let mut session = cluster.session();
        session.add_all((0..100).map(|id| Company { id, name: String::new() })).unwrap();
        session.commit().unwrap();
        cluster
    }
    let most = rusqlite::Connection::open_in_memory().unwrap();
    let most = most.limit(rusqlite::limits::Limit::SQLITE_LIMIT_ATTACHED).unwrap() as usize;
    let raw = sqlite::attached(&filled(backend, most)).unwrap();
    assert_eq!(
        texts(&raw, "SELECT count(*) || ' ' || count(DISTINCT shard) FROM companies"),
        [format!("100 {most}")]
    );
    let another = Backend::new(backend.kind);
    let more = filled(&another, most + 1);
    if backend.kind == Kind::Prefixed {
        let raw = sqlite::attached(&more).unwrap();
        assert_eq!(texts(&raw, "SELECT count(*) || '' FROM companies"), ["100"]);
    } else {
        let (there, takes) = (format!("{} databases", most + 1), format!("at most {most}"));
        let said = [there.as_str(), &takes, "?prefix=", "SQLITE_MAX_ATTACHED"];
        assert_error(sqlite::attached(&more).map(drop), ErrorKind::TooManyDatabases, &said);
    }
}
