//! The commands on a cluster of SQLite files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use shard_runtime::admin::Outcome;

use crate::{Models, ROWS, files, fill, json, refused, run, run_words, text};

fn cluster() -> (tempfile::TempDir, shard_runtime::Builder) {
    let folder = tempfile::tempdir().unwrap();
    let builder = files(folder.path());
    drop(fill(builder.clone()));
    (folder, builder)
}

fn open(folder: &Path, shard: &str) -> Connection {
    Connection::open(folder.join(format!("{shard}.db"))).unwrap()
}

#[test]
fn status_names_rows_bytes_and_locations() {
    let (folder, builder) = cluster();
    let read = json(&builder, "status", Outcome::Fine);
    let shards = read["shards"].as_array().unwrap();
    let rows: Vec<u64> = shards.iter().map(|shard| shard["rows"].as_u64().unwrap()).collect();
    assert_eq!(rows, ROWS, "{read}");
    assert!(shards.iter().all(|shard| shard["bytes"].as_u64().unwrap() > 0 && shard["error"].is_null()));
    assert_eq!(shards[0]["location"].as_str().unwrap(), folder.path().join("asia.db").to_str().unwrap());
    let countries =
        shards[0]["tables"].as_array().unwrap().iter().find(|table| table["table"] == "countries");
    assert_eq!(countries.unwrap()["rows"], 1);
    assert_eq!(read["imbalance"].as_f64().unwrap(), 7.0 * 2.0 / 12.0);
    assert_eq!(read["transactions"].as_array().unwrap().len(), 0);

    let text = text(&builder, "status", Outcome::Fine);
    assert!(text.contains("\nasia    7 "), "{text}");
    assert!(text.contains("imbalance: 1.17") && text.ends_with("transactions: all are finished\n"), "{text}");
}

#[test]
fn a_spare_shard_is_listed_and_holds_nothing() {
    let (folder, _) = cluster();
    let at = |shard: &str| format!("sqlite:{}", folder.path().join(format!("{shard}.db")).display());
    // Declared first, it has the last place.
    let builder = shard_runtime::Cluster::builder()
        .control(at("control"))
        .shard("africa", at("africa"))
        .shard("asia", at("asia"))
        .shard("europe", at("europe"));
    drop(builder.clone().create::<Models>().unwrap());
    let read = json(&builder, "status", Outcome::Fine);
    let shards = read["shards"].as_array().unwrap();
    let rows: Vec<(&str, u64)> = shards
        .iter()
        .map(|shard| (shard["shard"].as_str().unwrap(), shard["rows"].as_u64().unwrap()))
        .collect();
    let role = |name: &str| shards.iter().find(|shard| shard["shard"] == name).unwrap()["role"].clone();
    assert_eq!((role("africa"), role("asia")), ("spare".into(), "serving".into()));
    assert_eq!(rows.iter().find(|(name, _)| *name == "asia").unwrap().1, ROWS[0], "{read}");
    assert_eq!((read["imbalance"].as_f64(), read["epoch"].as_u64()), (Some(7.0 * 2.0 / 12.0), Some(1)));
    // Keys are where the recorded layout has them.
    let cluster = builder.clone().open::<Models>().unwrap();
    for id in 0..6_i64 {
        let shard = text(&builder, &format!("locate users {id}"), Outcome::Fine);
        let row = cluster.session().get::<crate::User>(id).unwrap().unwrap();
        assert_eq!(shard.trim(), row.shard().name());
    }
    json(&builder, "verify", Outcome::Fine);
}

#[test]
fn health_is_told_although_the_cluster_does_not_open() {
    let (folder, builder) = cluster();
    let read = json(&builder, "health", Outcome::Fine);
    assert_eq!(
        (read["shards"][1]["name"].as_str(), read["control"]["name"].as_str()),
        (Some("europe"), Some("control"))
    );
    assert!(text(&builder, "health --timeout 2", Outcome::Fine).starts_with("asia: serves, "));

    fs::rename(folder.path().join("europe.db"), folder.path().join("aside.db")).unwrap();
    let read = json(&builder, "health", Outcome::Wrong);
    assert!(read["shards"][0]["error"].is_null() && read["control"]["error"].is_null(), "{read}");
    assert_eq!(read["shards"][1]["error"]["kind"], "Missing");
    assert_eq!(read["shards"][1]["error"]["shard"], "europe");
    let told = text(&builder, "health", Outcome::Wrong);
    assert!(told.contains("; mount its disk, restore it, or make it again without its rows"), "{told}");
    // The other shard's file in its place; a shard of another cluster.
    fs::copy(folder.path().join("asia.db"), folder.path().join("europe.db")).unwrap();
    let told = text(&builder, "health", Outcome::Wrong);
    assert!(told.contains("europe: WrongDatabase") && told.contains("expected shard `europe`"), "{told}");
    let (other, _) = cluster();
    fs::copy(other.path().join("europe.db"), folder.path().join("europe.db")).unwrap();
    let told = text(&builder, "health", Outcome::Wrong);
    assert!(told.contains("belongs to another cluster"), "{told}");
    fs::rename(folder.path().join("aside.db"), folder.path().join("europe.db")).unwrap();
    fs::remove_file(folder.path().join("control.db")).unwrap();
    let read = json(&builder, "health", Outcome::Wrong);
    assert_eq!(read["control"]["error"]["kind"], "Missing");
    assert!(read["shards"][1]["error"].is_null(), "{read}");
}

#[test]
fn shards_and_schema_need_no_database() {
    let folder = tempfile::tempdir().unwrap();
    let builder = files(folder.path());
    let read = json(&builder, "shards", Outcome::Fine);
    assert_eq!(
        (read["shards"][1]["shard"].as_str(), read["shards"][1]["database"].as_u64()),
        (Some("europe"), Some(1))
    );
    assert_eq!(read["shards"][0]["system"], "sqlite");
    assert!(
        text(&builder, "shards", Outcome::Fine).starts_with("shard   database  system  location\nasia    0 ")
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made");

    // The printed SQL makes the tables that `open` expects.
    let schema = text(&builder, "schema", Outcome::Fine);
    let (_, asia) = schema.split_once("-- shard asia (sqlite)\n").unwrap();
    let asia = asia.split_once("-- shard europe (sqlite)\n").unwrap().0;
    let read = json(&builder, "schema", Outcome::Fine);
    let statements = read["shards"][0]["statements"].as_array().unwrap().len();
    assert_eq!(asia.lines().count(), statements);
    let (made, built) = cluster();
    let by_hand = Connection::open(made.path().join("by hand.db")).unwrap();
    by_hand.execute_batch(asia).unwrap();
    let tables = |connection: &Connection| -> Vec<(String, String)> {
        let sql = "SELECT name, sql FROM sqlite_schema WHERE tbl_name NOT LIKE 'sharded%' AND sql IS NOT NULL ORDER BY name";
        let mut rows = connection.prepare(sql).unwrap();
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    let lookups = |tables: Vec<(String, String)>| {
        tables.into_iter().filter(|(name, _)| !name.starts_with("sqlite_")).collect::<Vec<_>>()
    };
    assert_eq!(lookups(tables(&by_hand)), lookups(tables(&open(made.path(), "asia"))));
    drop(built);
}

#[test]
fn locate_names_the_shard_of_a_key() {
    let (_folder, builder) = cluster();
    assert_eq!(text(&builder, "locate cities Asia", Outcome::Fine), "asia\n");
    // By the name of the model, and of a child by the key of its parent.
    assert_eq!(text(&builder, "locate Report Europe", Outcome::Fine), "europe\n");
    let cluster = builder.clone().open::<Models>().unwrap();
    for id in [-1_i64, 0, 42] {
        let read = json(&builder, &format!("locate users -- {id}"), Outcome::Fine);
        assert_eq!(read["shard"], cluster.locate::<crate::User>(id).unwrap().name(), "{read}");
    }
    for (line, texts) in [
        ("locate towns Asia", ["`towns`", "cities"]),
        ("locate cities Atlantis", ["`cities`", "`Atlantis`"]),
        ("locate users many", ["`users`", "expected integer, got `many`"]),
        ("locate users 1 2", ["a value for each of id", "2 values"]),
        ("locate countries JP", ["`countries`", "every shard"]),
    ] {
        let told = refused(
            &builder,
            line,
            if line.contains("countries") { Outcome::Wrong } else { Outcome::Unknown },
        );
        assert!(texts.iter().all(|text| told.contains(text)), "{line}: {told}");
    }
}

#[test]
fn verify_and_repair_tell_what_they_find() {
    let (folder, builder) = cluster();
    assert_eq!(json(&builder, "verify", Outcome::Fine)["found"], 0);
    let europe = open(folder.path(), "europe");
    europe
        .execute_batch("PRAGMA foreign_keys = OFF; INSERT INTO cities VALUES (77, 'Asia', 'lost')")
        .unwrap();
    europe.execute_batch("INSERT INTO reports (city_id, celsius) VALUES (999, 1.0)").unwrap();
    let asia = open(folder.path(), "asia");
    let email: String = asia.query_row("SELECT email FROM users LIMIT 1", [], |row| row.get(0)).unwrap();
    asia.execute("DELETE FROM users WHERE email = ?1", [&email]).unwrap();

    let read = json(&builder, "verify", Outcome::Wrong);
    assert_eq!((read["found"].as_u64(), read["repaired"].as_u64()), (Some(3), Some(0)), "{read}");
    let kinds: Vec<&str> =
        read["rows"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Misplaced", "Orphan"]);
    assert_eq!(
        (read["rows"][0]["id"].as_str(), read["rows"][0]["wanted"].as_str()),
        (Some("77"), Some("asia"))
    );
    assert_eq!(read["lookups"][0]["kind"], "StrayEntry");
    let told = text(&builder, "verify", Outcome::Wrong);
    assert!(told.contains("cities 77 on europe: the key belongs on another shard (asia)"), "{told}");

    // Entries are repaired, rows are not.
    let read = json(&builder, "repair", Outcome::Wrong);
    assert_eq!((read["found"].as_u64(), read["repaired"].as_u64()), (Some(3), Some(1)));
    europe
        .execute_batch("DELETE FROM cities WHERE id = 77; DELETE FROM reports WHERE city_id = 999")
        .unwrap();
    assert!(text(&builder, "repair", Outcome::Fine).starts_with("0 problems found"));
}

#[test]
fn recover_finishes_what_was_decided() {
    let (folder, builder) = cluster();
    let version: i64 = open(folder.path(), "asia")
        .query_row("SELECT version FROM sharded_shard", [], |row| row.get(0))
        .unwrap();
    let control = open(folder.path(), "control");
    let runs: &[u8] = &[1, 3, 1, 0, 0, 0, 0, 0, 0, 0];
    let insert = "INSERT INTO sharded_redo VALUES ('u', 'asia', ?1, 1, 'UPDATE cities SET name = ?1', ?2)";
    control.execute(insert, (version, runs)).unwrap();
    let read = json(&builder, "recover", Outcome::Fine);
    assert_eq!(
        (read["finished"][0].as_str(), read["left"].as_array().unwrap().len()),
        (Some("u"), 0),
        "{read}"
    );
    assert_eq!(text(&builder, "recover", Outcome::Fine), "0 transactions finished\n");
}

#[test]
fn status_lists_migrations_and_a_step_that_has_stopped() {
    let (folder, builder) = cluster();
    assert!(text(&builder, "status", Outcome::Fine).contains("\nmigrations: none\n"));
    let raw = open(folder.path(), "europe");
    let stops =
        "CREATE TRIGGER stops BEFORE UPDATE ON countries BEGIN SELECT RAISE(ABORT, 'stopped here'); END";
    raw.execute_batch(stops).unwrap();
    let ran = run(&builder, "migrate");
    assert_eq!(ran.outcome, Outcome::Wrong, "{ran:?}");
    assert!(ran.progress.contains("shard `europe`: step 2 `names`: stopped here"), "{}", ran.progress);
    let read = json(&builder, "status", Outcome::Wrong);
    let steps = |shard: usize| read["migrations"]["shards"][shard]["steps"][0].clone();
    assert_eq!(
        (&steps(0)["phase"], &steps(0)["error"]),
        (&"done".into(), &serde_json::Value::Null),
        "{read}"
    );
    assert!(steps(1)["error"].as_str().unwrap().contains("stopped here"), "{read}");
    let status = text(&builder, "status", Outcome::Wrong);
    assert!(status.contains("2 names") && status.contains("stopped here"), "{status}");
    raw.execute_batch("DROP TRIGGER stops").unwrap();
    text(&builder, "migrate", Outcome::Fine);
    let status = text(&builder, "status", Outcome::Fine);
    assert_eq!((status.matches("2 names").count(), status.contains("stopped here")), (2, false), "{status}");
}

#[test]
fn migrate_prints_the_plan_and_runs_the_steps() {
    let (folder, builder) = cluster();
    let name = || -> String {
        open(folder.path(), "europe").query_row("SELECT name FROM countries", [], |row| row.get(0)).unwrap()
    };
    let plan = json(&builder, "migrate --plan", Outcome::Fine);
    assert!(plan["plan"].as_str().unwrap().contains("upper(name)"), "{plan}");
    assert_eq!(plan["shards"].as_array().unwrap().len(), 2);
    let status = json(&builder, "migrate --status", Outcome::Fine);
    assert_eq!((status["shards"][0]["version"].as_u64(), name()), (Some(1), "Japan".to_owned()));
    for shard in 0..2 {
        let steps = status["shards"][shard]["steps"].as_array().unwrap();
        assert_eq!(
            (steps.len(), &steps[0]["name"], &steps[0]["phase"]),
            (1, &"names".into(), &"pending".into())
        );
    }

    assert!(refused(&builder, "migrate --canary africa", Outcome::Unknown).contains("`africa`"));
    assert_eq!(name(), "Japan");
    let ran = run(&builder, "migrate --canary europe --json");
    assert_eq!(ran.outcome, Outcome::Fine, "{ran:?}");
    let read: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let versions = read["shards"].as_array().unwrap().iter().map(|shard| shard["version"].as_u64().unwrap());
    assert_eq!((versions.collect::<Vec<_>>(), name()), (vec![2, 2], "JAPAN".to_owned()));
    assert!(ran.progress.starts_with("europe: step 2 `names`"), "{}", ran.progress);
    assert!(text(&builder, "migrate --status", Outcome::Fine).contains("2 names"));
    assert_eq!(json(&builder, "migrate", Outcome::Fine)["shards"][1]["version"], 2);
}

#[test]
fn a_program_that_is_newer_than_the_tables_is_told_to_migrate() {
    let (folder, builder) = cluster();
    open(folder.path(), "europe").execute_batch("DROP INDEX \"cities(name)\"").unwrap();
    let told = |told: String| {
        assert!(told.contains("no index `cities(name)`"), "{told}");
        assert!(
            told.contains("; first run `migrate`, for these steps that have not run everywhere: 2 `names`"),
            "{told}"
        );
    };
    for command in ["status", "verify", "locate users 1", "change status"] {
        told(refused(&builder, command, Outcome::Wrong));
    }
    told(text(&builder, "doctor", Outcome::Wrong));
    text(&builder, "migrate", Outcome::Fine);
    text(&builder, "status", Outcome::Fine);
}

#[test]
fn a_backup_is_checked_without_being_changed() {
    let (folder, builder) = cluster();
    let backup = folder.path().join("backup 1 %");
    let path = backup.to_str().unwrap();
    let ran = run_words(&builder, &["backup", path, "--json"]);
    assert_eq!(ran.outcome, Outcome::Fine, "{ran:?}");
    let before = contents(&backup);
    let ran = run_words(&builder, &["restore", "--check", path]);
    assert_eq!(ran.outcome, Outcome::Fine, "{ran:?}");
    assert!(ran.out.contains("holds a whole cluster\n0 problems found"), "{ran:?}");
    assert_eq!(contents(&backup), before);
    let left: Vec<String> = names(folder.path()).into_iter().filter(|name| name.contains("check")).collect();
    assert_eq!(left, [""; 0], "the copy is removed");
    // It exists already; its parent does not.
    assert_eq!(run_words(&builder, &["backup", path]).outcome, Outcome::Wrong);
    assert_eq!(run_words(&builder, &["backup", "/no/such/folder"]).outcome, Outcome::Wrong);

    // The folder is relative to the working directory, and the shards' locations to their configuration.
    let configuration = folder.path().join("cluster.toml");
    let shard = |name: &str| format!("[[shard]]\nname = \"{name}\"\nurl = \"sqlite:{name}.db\"\n");
    fs::write(&configuration, format!("{}{}", shard("asia"), shard("europe"))).unwrap();
    let configured = shard_runtime::Cluster::builder().config_file(&configuration).unwrap();
    let here = std::env::current_dir().unwrap();
    let relative = format!("{}{path}", "../".repeat(here.components().count() - 1)).replace("//", "/");
    let ran = run_words(&configured, &["restore", "--check", &relative]);
    assert_eq!(ran.outcome, Outcome::Fine, "{ran:?}");
    let ran = run_words(&builder, &["restore", "--check", "no/such/folder"]);
    assert!(ran.outcome == Outcome::Wrong && ran.progress.contains("there is no folder"), "{ran:?}");

    // A file is missing, is another one's, is damaged, or is of another time.
    let fails = |texts: &[&str]| {
        let ran = run_words(&builder, &["restore", "--check", path, "--json"]);
        let read: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let message = read["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(
            ran.outcome == Outcome::Wrong && texts.iter().all(|text| message.contains(text)),
            "{texts:?}: {ran:?}"
        );
        assert!(names(folder.path()).iter().all(|name| !name.contains("check")));
    };
    let europe = backup.join("europe.db");
    let aside = folder.path().join("aside");
    fs::rename(&europe, &aside).unwrap();
    fails(&["`europe`", "there is no copy", "not whole"]);
    fs::write(&europe, "").unwrap();
    fails(&["`europe`", "empty"]);
    fs::copy(backup.join("asia.db"), &europe).unwrap();
    fails(&["`europe`", "expected shard `europe`, found shard `asia`"]);
    let mut damaged = fs::read(&aside).unwrap();
    let length = damaged.len();
    damaged[length / 2..].fill(0x5a);
    fs::write(&europe, damaged).unwrap();
    fails(&["`europe`"]);
    fs::rename(&aside, &europe).unwrap();
    let ran = run_words(&builder, &["restore", path]);
    assert!(ran.outcome == Outcome::Unknown && ran.progress.contains("restore --check FOLDER"), "{ran:?}");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = names(folder);
    names.sort();
    names.into_iter().map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
}

#[test]
fn the_doctor_checks_files_and_opens_the_cluster() {
    let (folder, builder) = cluster();
    let found = |outcome: Outcome, database: &str, check: &str| {
        let read = json(&builder, "doctor", outcome);
        let findings = read["findings"].as_array().unwrap();
        let is_it =
            |finding: &&serde_json::Value| finding["database"] == database && finding["check"] == check;
        let finding = findings.iter().find(is_it).unwrap_or_else(|| panic!("{check}: {read}"));
        (finding["state"].as_str().unwrap().to_owned(), finding["found"].as_str().unwrap().to_owned())
    };
    for database in ["asia", "europe", "control"] {
        assert_eq!(found(Outcome::Fine, database, "journal mode"), ("fine".to_owned(), "WAL".to_owned()));
        let (state, free) = found(Outcome::Fine, database, "free disk");
        assert!(["fine", "warning"].contains(&state.as_str()) && free.contains("bytes free"), "{free}");
    }
    assert_eq!(found(Outcome::Fine, "cluster", "opening").0, "fine");
    assert!(text(&builder, "doctor", Outcome::Fine).starts_with("state"));

    open(folder.path(), "asia").query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).unwrap();
    assert_eq!(found(Outcome::Fine, "asia", "journal mode").0, "warning");

    // An older control database: the shard was written by a writer that it has not numbered.
    let control = folder.path().join("control.db");
    let saved = fs::read(&control).unwrap();
    {
        let cluster = builder.clone().open::<Models>().unwrap();
        cluster
            .transaction(|session| session.add(crate::User { id: 100, email: "late".into() }).map(drop))
            .unwrap();
    }
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(folder.path().join(format!("control.db{ending}")));
    }
    fs::write(&control, saved).unwrap();
    let (state, message) = found(Outcome::Wrong, "cluster", "opening");
    assert!(state == "wrong" && message.contains("older"), "{message}");

    fs::remove_file(folder.path().join("europe.db")).unwrap();
    let (state, message) = found(Outcome::Wrong, "europe", "journal mode");
    assert!(state == "wrong" && message.contains("restore the file"), "{message}");
    fs::write(folder.path().join("europe.db"), "this is no database at all, only text").unwrap();
    assert!(found(Outcome::Wrong, "europe", "journal mode").1.contains("not a SQLite database"));
}

#[test]
fn every_command_that_opens_names_the_shard_that_is_missing() {
    let (folder, builder) = cluster();
    fs::remove_file(folder.path().join("europe.db")).unwrap();
    for line in ["status", "verify", "repair", "recover", "backup copy", "locate cities Asia"] {
        let told = refused(&builder, line, Outcome::Wrong);
        assert!(told.contains("shard `europe`") && told.contains("there is no database"), "{line}: {told}");
    }
    // Not made anew by any of them.
    assert!(!folder.path().join("europe.db").exists());
}

#[test]
fn a_locked_database_is_unknown_within_the_busy_timeout() {
    let (folder, builder) = cluster();
    let holder = open(folder.path(), "europe");
    holder.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    for line in ["status", "verify", "health --timeout 1", "doctor"] {
        let ran = run(&builder, line);
        assert_eq!(ran.outcome, Outcome::Unknown, "{line}: {ran:?}");
        assert!(ran.took < Duration::from_secs(30), "{line}: {:?}", ran.took);
    }
}

#[test]
fn wrong_arguments_touch_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let builder = files(folder.path());
    for line in
        ["", "frobnicate", "status now", "backup", "restore copy", "health --timeout never", "locate cities"]
    {
        let ran = run(&builder, line);
        assert_eq!((ran.outcome, ran.out.as_str()), (Outcome::Unknown, ""), "{line}");
        assert!(ran.progress.starts_with("operate: ") && ran.progress.contains("operate --help"), "{ran:?}");
    }
    let help = text(&builder, "--help", Outcome::Fine);
    assert!(
        help.starts_with("Usage: operate COMMAND [--json]\n") && help.contains("restore --check FOLDER"),
        "{help}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    // A cluster that was never made.
    assert!(refused(&builder, "status", Outcome::Wrong).contains("run `create`"));
}

#[test]
fn a_value_that_cannot_be_read_is_wrong() {
    let (folder, builder) = cluster();
    let copy = folder.path().join("copy");
    for (shard, sql) in [
        ("asia", "UPDATE cities SET continent = CAST(x'ff' AS TEXT) WHERE id = (SELECT min(id) FROM cities)"),
        ("europe", "UPDATE users SET email = CAST(x'ff' AS TEXT) WHERE id = (SELECT min(id) FROM users)"),
    ] {
        let table = if shard == "asia" { "cities" } else { "users" };
        assert_eq!(open(folder.path(), shard).execute(sql, []).unwrap(), 1);
        for line in ["verify", "repair"] {
            let message = refused(&builder, line, Outcome::Wrong);
            assert!(message.contains(&format!("shard `{shard}`, table `{table}`")), "{line}: {message}");
        }
        drop(fs::remove_dir_all(&copy));
        builder.clone().open::<Models>().unwrap().backup(&copy).unwrap();
        let ran = run_words(&builder, &["restore", "--check", copy.to_str().unwrap()]);
        assert!(ran.outcome == Outcome::Wrong && ran.progress.contains(table), "{ran:?}");
        let mended = "UPDATE cities SET continent = 'Asia' WHERE continent = CAST(x'ff' AS TEXT)";
        open(folder.path(), "asia").execute(mended, []).unwrap();
    }
    // An argument that is no id is unknown.
    refused(&builder, "locate users five", Outcome::Unknown);
}
