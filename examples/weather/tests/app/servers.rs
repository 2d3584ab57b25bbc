//! The app on four PostgreSQL servers that the test starts, with the cluster file that comes with it. It prints and stores the
//! same as on files.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::OnceLock;

use crate::program::{refusal, stdout, text, weather, weather_with};
use crate::rows::{SHARDS, on_shard};
use crate::small_source::small_source;
use sharded_tests::postgres_server::Server;

/// The data that comes with the app.
pub const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/shards.toml");
const SERVERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/shards.postgres.toml");

/// The password of the app's user, with all characters that have a meaning in a URL.
const PASSWORD: &str = "s3cret@: /?#%&ü";

/// A server for each shard, with the app's user on it.
fn servers() -> &'static [Server] {
    static SERVERS: OnceLock<Vec<Server>> = OnceLock::new();
    let start = || {
        let server = Server::start();
        server.stop_with_the_process();
        server.psql(&format!("CREATE USER weather PASSWORD '{PASSWORD}'"));
        server
    };
    SERVERS.get_or_init(|| SHARDS.iter().map(|_| start()).collect())
}

/// A database on each of the servers, and a folder with the cluster file.
pub struct OnServers {
    pub folder: tempfile::TempDir,
    database: &'static str,
    servers: &'static [Server],
}

impl OnServers {
    /// The file is the app's own, `shards.toml` in the folder; only the servers' names differ.
    pub fn new(database: &'static str) -> Self {
        let servers = servers();
        let mut file = fs::read_to_string(SERVERS).expect("the app's file");
        for (shard, server) in SHARDS.iter().zip(servers) {
            server.psql(&format!("CREATE DATABASE {database} OWNER weather"));
            let host = format!("@{shard}.example:5432/weather\"");
            assert_eq!(file.matches(&host).count(), 1, "{host}");
            file = file.replace(&host, &format!("@127.0.0.1:{}/{database}\"", server.port()));
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("shards.toml"), file).expect("a cluster file");
        OnServers { folder, database, servers }
    }

    pub fn weather(&self, arguments: &[&str]) -> Output {
        weather_with("WEATHER_PASSWORD", Some(PASSWORD), self.folder.path(), arguments)
    }

    /// Runs statements on a shard's server, beside the app.
    pub fn psql(&self, shard: &str, sql: &str) -> String {
        let index = SHARDS.iter().position(|name| *name == shard).expect("a shard");
        self.servers[index].psql(&format!("\\c {}\n{sql}", self.database))
    }

    /// Changes the cluster file.
    fn change(&self, from: &str, to: &str) {
        let path = self.folder.path().join("shards.toml");
        let file = fs::read_to_string(&path).expect("the cluster file");
        assert!(file.contains(from), "{from}");
        fs::write(path, file.replace(from, to)).expect("the cluster file");
    }

    /// Checks that every value of every row is as in the files of a folder; of observations all except their ids.
    pub fn same_rows(&self, files: &Path) {
        let whole = |number: &str| format!("coalesce(CAST(CAST({number} AS bigint) AS text), '-')");
        let cities = format!(
            "SELECT concat_ws('|', geoname_id, name, country, continent, population, timezone, {}, {}, {}) FROM cities",
            whole("round(latitude * 100000)"),
            whole("round(longitude * 100000)"),
            whole("round(mean_celsius * 10)")
        );
        let observations = |observed_at: &str| {
            let numbers = ["celsius", "humidity", "wind_kmh", "pressure_hpa"];
            let numbers = numbers.map(|number| whole(&format!("round({number} * 100)"))).join(", ");
            let at = whole(observed_at);
            format!("SELECT concat_ws('|', city_id, station, {at}, {numbers}) FROM observations")
        };
        let in_files = [cities.clone(), observations("observed_at")];
        let on_servers = [cities, observations("extract(epoch FROM observed_at) * 1000000")];
        for shard in SHARDS {
            for (in_files, on_server) in in_files.iter().zip(&on_servers) {
                let mut expected = on_shard::<String>(files, shard, in_files);
                let found = self.psql(shard, on_server);
                let mut found: Vec<&str> = found.lines().collect();
                expected.sort();
                found.sort();
                assert!(found == expected, "{shard}: {} rows for {}", found.len(), expected.len());
            }
        }
    }
}

/// Returns the output of the app without the parts that depend on the machine or the database. These are the time, and in the
/// explained SQL line breaks, parameters, lists, limits and the order of NULLs.
fn but_for_time_and_dialect(output: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in output.lines() {
        let rest = line.strip_prefix("  │      ").or(line.strip_prefix("         "));
        match (rest, lines.last_mut()) {
            (Some(rest), Some(sql)) if sql.contains("SELECT ") || sql.contains("UPDATE ") => {
                sql.push(' ');
                sql.push_str(rest);
            }
            _ => lines.push(line.to_owned()),
        }
    }
    for line in &mut lines {
        let seconds = line.strip_prefix("Imported ").and_then(|rest| rest.split_once(" rows in "));
        match seconds {
            Some((rows, _)) => *line = format!("Imported {rows} rows"),
            None => {
                *line = line.replace('$', "?").replace("IN rarray(?1)", "= ANY (?1)").replace("?1 + 0", "?1");
                // The SQL for a server orders no NULLs of columns without NULLs.
                *line = line.replace(" NULLS FIRST", "").replace(" NULLS LAST", "");
                // On a server each table is written with its schema.
                *line = line.replace("\"public\".", "");
            }
        }
    }
    lines.join("\n")
}

#[track_caller]
fn same(on_servers: &str, on_files: &str) {
    let (on_servers, on_files) = (but_for_time_and_dialect(on_servers), but_for_time_and_dialect(on_files));
    let difference = on_servers.lines().zip(on_files.lines()).find(|(servers, files)| servers != files);
    assert!(on_servers == on_files, "{difference:#?}");
}

#[test]
#[cfg_attr(not(feature = "postgres"), ignore = "needs PostgreSQL: `--features weather/postgres`")]
fn the_tour_prints_on_four_servers_the_same_as_on_files() {
    let world = OnServers::new("tour");
    let folder = world.folder.path();
    fs::copy(FILES, folder.join("files.toml")).expect("the app's file");
    let on_files =
        |arguments: &[&str]| stdout(&weather(folder, &[arguments, &["--shards", "files.toml"]].concat()));
    let on_servers = |arguments: &[&str]| {
        let output = stdout(&world.weather(&[arguments, &["--shards", "shards.toml"]].concat()));
        assert!(output.lines().all(|line| line.chars().count() <= 80), "{output}");
        output
    };

    let tour = on_servers(&[]);
    assert!(
        tour.contains("Imported 60,120 rows in ") && tour.contains("observations  26,114; asked: americas\n")
    );
    same(&tour, &on_files(&[]));
    world.same_rows(folder);

    // A second run finds everything, and prints the same otherwise.
    let again = on_servers(&[]);
    assert_eq!(again.matches("already imported").count(), 16, "{again}");
    same(&again, &on_files(&[]));
    for command in [&["import"][..], &["report"], &["city", "Springfield"], &["explain"]] {
        same(&on_servers(command), &on_files(command));
    }
    world.same_rows(folder);

    // No server prepared a transaction of other servers.
    for shard in SHARDS {
        assert_eq!(world.psql(shard, "SELECT count(*) FROM pg_prepared_xacts"), "0\n", "{shard}");
    }
}

#[test]
#[cfg_attr(not(feature = "postgres"), ignore = "needs PostgreSQL: `--features weather/postgres`")]
fn rows_on_servers_that_are_not_the_sources_are_refused() {
    let (world, source) = (OnServers::new("others"), small_source());
    let weather =
        |command| world.weather(&[command, "--shards", "shards.toml", "--source", text(source.path())]);
    let nothing = "nothing is imported into shards.toml yet: run `weather import --shards shards.toml` first";
    assert_eq!(refusal(&weather("report")), nothing);
    stdout(&weather("import"));
    world.psql("europe", "DELETE FROM cities WHERE name = 'Dublin'");
    let output = refusal(&weather("import"));
    assert!(output.starts_with("cities of Europe: 1 rows are there, the source has 2; "), "{output}");
    // A server that lost its tables.
    world.psql("asia", "DROP TABLE observations, cities");
    let output = refusal(&weather("report"));
    for table in ["cities", "observations"] {
        assert!(output.contains(&format!("shard `asia`, table `{table}`: no such table")), "{output}");
    }
    assert!(output.contains("run `weather import"), "{output}");
}

#[test]
#[cfg_attr(not(feature = "postgres"), ignore = "needs PostgreSQL: `--features weather/postgres`")]
fn servers_that_cannot_be_used_are_named_without_passwords() {
    let world = OnServers::new("refused");
    let folder = world.folder.path();
    let path = folder.join("shards.toml");
    let whole = fs::read_to_string(&path).expect("the cluster file");
    // A report of a cluster that is not made would name no shard.
    let imported = world.weather(&["import", "--shards", "shards.toml"]);
    assert!(imported.status.success(), "{imported:?}");
    let say = |password: Option<&str>, texts: &[&str]| {
        for command in [&[][..], &["import"], &["report"]] {
            let arguments = [command, &["--shards", "shards.toml"]].concat();
            let output = refusal(&weather_with("WEATHER_PASSWORD", password, folder, &arguments));
            assert!(!output.contains("s3cret"), "{output}");
            for text in texts {
                assert!(output.contains(text), "`{text}` is missing in: {output}");
            }
        }
        fs::write(&path, &whole).expect("the cluster file");
    };

    say(None, &["shards.toml", "shard `americas`", "environment variable `WEATHER_PASSWORD` is not set"]);
    say(Some("s3cret, but another"), &["shards.toml", "password authentication failed for user \"weather\""]);

    // The first server is connected first; an error of another one names its shard.
    let ports: Vec<String> =
        world.servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
    let europe = &ports[2];
    assert_eq!(SHARDS[2], "europe");
    world.change(&format!("weather:${{WEATHER_PASSWORD}}@{europe}"), &format!("weather:s3cret@{europe}"));
    say(
        Some(PASSWORD),
        &["shards.toml", "shard `europe`", "password authentication failed for user \"weather\""],
    );
    world.change(europe, "127.0.0.1:1");
    say(
        Some(PASSWORD),
        &["shard `europe`", "connecting to postgres://127.0.0.1:1/refused failed", "refused"],
    );
    world.change(&ports[0], "127.0.0.1:1");
    say(Some(PASSWORD), &["connecting to postgres://127.0.0.1:1/refused failed", "refused"]);
    world.change(&format!("{europe}/refused"), &format!("{europe}/nowhere"));
    say(Some(PASSWORD), &["shard `europe`", "\"nowhere\" does not exist"]);
    world.change("${WEATHER_PASSWORD}", "s3cret${WEATHER_PASSWORD");
    say(Some(PASSWORD), &["shards.toml", "`${`"]);
}
