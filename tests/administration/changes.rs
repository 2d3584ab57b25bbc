//! `change`: plans, runs, continues, cancels and retires changes of the layout.

use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;
use shard_runtime::admin::Outcome;
use shard_runtime::{Builder, Cluster, Pace, Sharded as _, change::Change};

use crate::{City, Models, ROWS, Report, User, files, fill, json, refused, run_words, text};

/// A cluster of two files, and a builder that has more shards, which are not made.
fn cluster(more: &[&str]) -> (tempfile::TempDir, Builder) {
    let folder = tempfile::tempdir().unwrap();
    let builder = files(folder.path());
    drop(fill(builder.clone()));
    let at = |name: &str| format!("sqlite:{}", folder.path().join(format!("{name}.db")).display());
    let builder = more.iter().fold(builder, |builder, name| builder.shard(*name, at(name)));
    (folder, builder)
}

fn open(folder: &Path, shard: &str) -> Connection {
    Connection::open(folder.join(format!("{shard}.db"))).unwrap()
}

/// The number of rows of all models, and the rows of users by their lookups.
fn contents(builder: &Builder) -> (u64, u64, Vec<i64>) {
    let cluster = builder.clone().open::<Models>().unwrap();
    let mut session = cluster.session();
    let cities = session.one(City::select().all_shards().count()).unwrap();
    let reports = session.one(Report::select().all_shards().count()).unwrap();
    let by_email = |id: i64| {
        let email = format!("{id}@example.com");
        session.one(User::select().filter(User::EMAIL.eq(email.as_str()))).unwrap().id
    };
    (cities, reports, (0..6).map(by_email).collect())
}

/// The rows of the shards that serve.
fn rows(builder: &Builder) -> Vec<(String, u64)> {
    let read = json(builder, "status", Outcome::Fine);
    let shards = read["shards"].as_array().unwrap().iter().filter(|shard| shard["role"] == "serving");
    shards.map(|shard| (name(&shard["shard"]), shard["rows"].as_u64().unwrap())).collect()
}

fn name(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn a_shard_is_split_by_one_command() {
    let (folder, builder) = cluster(&["rest", "half"]);
    let before = contents(&files(folder.path()));

    // Nothing is made by a plan.
    let message = refused(&builder, "change plan split europe rest half", Outcome::Wrong);
    assert!(message.contains("shard `rest`") && message.contains("`change run` does so"), "{message}");
    assert!(!folder.path().join("rest.db").exists());

    let read = json(&builder, "change run split europe rest half", Outcome::Fine);
    let change = &read["changes"][0]["change"];
    assert_eq!(
        (&read["epoch"], &change["number"], &change["state"]),
        (&2.into(), &1.into(), &"served".into())
    );
    let (copied, verified) = (&read["changes"][0]["copied"], &read["changes"][0]["verified"]);
    assert!(copied.as_u64().unwrap() >= ROWS[1] && verified["different"] == 0, "{read}");
    assert_eq!(contents(&builder), before);
    let after = rows(&builder);
    assert_eq!(after.iter().map(|(_, rows)| rows).sum::<u64>(), ROWS.iter().sum::<u64>(), "{after:?}");
    assert_eq!(after.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["asia", "rest", "half"]);
    assert_eq!(json(&builder, "verify", Outcome::Fine)["found"], 0);

    // Run again, it finds that it is done.
    let read = json(&builder, "change split europe rest half", Outcome::Fine);
    assert_eq!((&read["changes"][0]["copied"], &read["epoch"]), (&0.into(), &2.into()));
    assert_eq!(json(&builder, "change run", Outcome::Fine)["changes"][0]["change"]["number"], 1);
    let status = text(&builder, "change status", Outcome::Fine);
    assert!(status.starts_with("change 1: europe -> rest, half, served"), "{status}");
    assert!(text(&builder, "status", Outcome::Fine).contains(&status));
    assert_eq!(json(&builder, "status", Outcome::Fine)["changes"][0]["state"], "served");

    // A backup leaves the source out, which is still configured.
    let backup = folder.path().join("backup");
    let path = backup.to_str().unwrap();
    assert_eq!(run_words(&builder, &["backup", path]).outcome, Outcome::Fine);
    assert!(!backup.join("europe.db").exists());
    let ran = run_words(&builder, &["restore", "--check", path]);
    assert_eq!(ran.outcome, Outcome::Fine, "{ran:?}");
    let read = json(&builder, "health", Outcome::Wrong);
    assert!(read.to_string().contains("remove it from the configuration after `change retire`"), "{read}");

    // The rows of the source are dropped, and its file is not needed.
    assert!(refused(&builder, "change retire 99", Outcome::Wrong).contains("no change 99"));
    let read = json(&builder, "change retire 1", Outcome::Fine);
    assert_eq!((&read["retired"], &read["sources"][0]), (&1.into(), &"europe".into()));
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'sharded_retired%'";
    let left: i64 = open(folder.path(), "europe").query_row(tables, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    let status = text(&builder, "change status", Outcome::Fine);
    assert_eq!(status, "no change runs, and no source holds rows of one\n");
    assert!(refused(&builder, "change run", Outcome::Wrong).contains("no change runs"));

    // Nor is its place in the configuration, although the models still name it.
    let at = |name: &str| format!("sqlite:{}", folder.path().join(format!("{name}.db")).display());
    let names = ["asia", "rest", "half"].iter();
    let without = names.fold(Cluster::builder(), |builder, name| builder.shard(*name, at(name)));
    std::fs::remove_file(folder.path().join("europe.db")).unwrap();
    assert_eq!(contents(&without), before);
    for line in [
        "status",
        "health",
        "shards",
        "verify",
        "recover",
        "migrate --status",
        "schema",
        "doctor",
        "change status",
    ] {
        json(&without, line, Outcome::Fine);
    }
}

#[test]
fn a_change_is_stopped_before_the_switch_and_continued() {
    let (folder, builder) = cluster(&["rest"]);
    let before = contents(&files(folder.path()));
    let ran =
        text(&builder, "change run replace europe rest --no-switch --rows 2 --rest-ms 1", Outcome::Fine);
    assert!(ran.contains("the sources still serve") && ran.contains(" rows compared, 0 different"), "{ran}");
    let read = json(&builder, "change status", Outcome::Fine);
    let change = &read["changes"][0];
    assert_eq!(
        (&change["state"], &change["dirty"], &read["epoch"]),
        (&"copying".into(), &0.into(), &1.into())
    );

    // A row that is written now is noted, and copied by `verify`.
    let writer = builder.clone().open::<Models>().unwrap();
    writer
        .transaction(|session| session.execute(City::update().set(City::NAME, "new").on_shard("europe")))
        .unwrap();
    assert_eq!(json(&builder, "change status", Outcome::Fine)["changes"][0]["dirty"], 1);
    let read = json(&builder, "change verify", Outcome::Fine);
    assert_eq!(
        (&read["changes"][0]["copied"], &read["changes"][0]["verified"]["different"]),
        (&0.into(), &0.into())
    );
    assert_eq!(json(&builder, "change status", Outcome::Fine)["changes"][0]["dirty"], 0);

    // Another change, migrations and `create` are refused meanwhile.
    for line in ["change plan replace asia rest", "change run replace asia rest", "migrate"] {
        let message = refused(&builder, line, Outcome::Wrong);
        assert!(message.contains("change 1") && message.contains("europe to rest"), "{line}: {message}");
    }
    let message = refused(&builder, "change retire 1", Outcome::Wrong);
    assert!(message.contains("not decided"), "{message}");

    let read = json(&builder, "change switch --within-ms 20000", Outcome::Fine);
    assert_eq!((&read["epoch"], &read["changes"][0]["change"]["state"]), (&2.into(), &"served".into()));
    assert_eq!(contents(&builder), before);
    let of_europe = writer.session().all(City::select().on_shard("rest")).unwrap();
    assert_eq!(of_europe.iter().map(|city| city.name.as_str()).collect::<Vec<_>>(), ["new"]);
    assert!(refused(&builder, "change switch", Outcome::Wrong).contains("no change runs"));
    assert!(refused(&builder, "change cancel", Outcome::Wrong).contains("no change runs"));
}

#[test]
fn indexes_that_a_target_gets_after_the_copy_are_no_differences() {
    let (_folder, builder) = cluster(&["rest"]);
    let opened = builder.clone().create::<Models>().unwrap();
    let plan = opened.plan_change().replace("europe", "rest").build().unwrap();
    drop(opened.begin_change(&plan).unwrap());
    let told = text(&builder, "status", Outcome::Fine);
    assert!(told.contains("left out: change 1 fills it") && !told.contains("no index"), "{told}");
    text(&builder, "change run", Outcome::Fine);
    assert!(!text(&builder, "status", Outcome::Fine).contains("left out"));
}

#[test]
fn a_cancelled_change_leaves_nothing() {
    let (folder, builder) = cluster(&["rest"]);
    let before = contents(&files(folder.path()));
    text(&builder, "change run replace europe rest --no-switch", Outcome::Fine);
    assert_eq!(json(&builder, "change cancel", Outcome::Fine)["cancelled"], 1);
    let read = json(&builder, "change status", Outcome::Fine);
    assert_eq!((read["changes"].as_array().unwrap().len(), &read["epoch"]), (0, &1.into()));
    assert_eq!(contents(&builder), before);
    assert_eq!(rows(&builder).iter().map(|(_, rows)| *rows).collect::<Vec<_>>(), ROWS);
    let left = json(&builder, "doctor", Outcome::Fine).to_string();
    assert!(left.contains("no earlier change has left any"), "{left}");
    // The plan of another one.
    let plan = json(&builder, "change plan replace europe rest", Outcome::Fine);
    assert_eq!((&plan["plans"][0]["sources"][0], &plan["plans"][0]["epoch"]), (&"europe".into(), &1.into()));
    let after: Vec<String> =
        plan["plans"][0]["groups"][0]["after"].as_array().unwrap().iter().map(name).collect();
    assert_eq!(after, ["list 'Asia' => asia", "list 'Europe' => rest"]);
}

#[test]
fn lines_place_keys() {
    let (_folder, builder) = cluster(&["rest", "half"]);
    let lines = |lines: &[&str]| {
        let words = ["change", "run", "split", "europe", "rest", "half", "--json"];
        let lines = lines.iter().flat_map(|line| ["--line", "cities", *line]);
        run_words(&builder, &words.into_iter().chain(lines).collect::<Vec<_>>())
    };
    let ran = lines(&["list 'Europe' => half"]);
    assert!(ran.outcome == Outcome::Wrong && ran.out.contains("`list 'Asia' => asia` is missing"), "{ran:?}");
    let ran = lines(&["list 'Asia' => asia", "list 'Europe' => half"]);
    assert_eq!(ran.outcome, Outcome::Fine, "{ran:?}");
    assert_eq!(text(&builder, "locate cities Europe", Outcome::Fine), "half\n");
    let wrong = ["change", "plan", "replace", "asia", "rest", "--line", "towns", "list 'Asia' => rest"];
    let ran = run_words(&builder, &wrong);
    assert!(ran.outcome == Outcome::Unknown && ran.progress.contains("unknown table `towns`"), "{ran:?}");
}

#[test]
fn several_shards_are_replaced_one_after_the_other() {
    let (folder, builder) = cluster(&["asia2", "europe2"]);
    let before = contents(&files(folder.path()));
    // The first one was stopped before its switch.
    text(&builder, "change run replace asia asia2 europe europe2 --no-switch", Outcome::Fine);
    let read = json(&builder, "change run replace asia asia2 europe europe2", Outcome::Fine);
    let states: Vec<String> =
        read["changes"].as_array().unwrap().iter().map(|change| name(&change["change"]["state"])).collect();
    assert_eq!((states, &read["epoch"]), (vec!["served".to_owned(), "served".to_owned()], &3.into()));
    assert_eq!(contents(&builder), before);
    assert_eq!(rows(&builder), [("asia2".to_owned(), ROWS[0]), ("europe2".to_owned(), ROWS[1])]);
}

#[test]
fn what_cannot_be_moved_is_refused_before_the_first_change_begins() {
    let (folder, builder) = cluster(&["asia2", "europe2"]);
    drop(builder.clone().create::<Models>().unwrap());
    open(folder.path(), "europe").execute_batch("CREATE VIEW names AS SELECT id FROM cities").unwrap();
    for command in ["plan", "run"] {
        let line = format!("change {command} replace asia asia2 europe europe2");
        let message = refused(&builder, &line, Outcome::Wrong);
        let names_it = message.contains("shard `europe`") && message.contains("view `names`");
        assert!(names_it && message.contains("drop it on this shard"), "{line}: {message}");
        assert_eq!(json(&builder, "status", Outcome::Fine)["changes"].as_array().unwrap().len(), 0);
    }
    open(folder.path(), "europe").execute_batch("DROP VIEW names").unwrap();
    text(&builder, "change run replace asia asia2 europe europe2", Outcome::Fine);
    assert_eq!(rows(&builder), [("asia2".to_owned(), ROWS[0]), ("europe2".to_owned(), ROWS[1])]);
}

#[test]
fn wrong_shards_are_refused() {
    let (_folder, builder) = cluster(&["rest"]);
    for (line, outcome, why) in [
        ("change run split europe rest", Outcome::Unknown, "two targets"),
        ("change run merge asia europe rest", Outcome::Wrong, "#[id(auto)]"),
    ] {
        let message = refused(&builder, line, outcome);
        assert!(message.contains(why), "{line}: {message}");
    }
    drop(builder.clone().create::<Models>().unwrap());
    for (line, outcome, why) in [
        ("change run replace europe nowhere", Outcome::Unknown, "`nowhere`"),
        ("change run replace nowhere rest", Outcome::Unknown, "`nowhere`"),
        ("change run replace europe asia", Outcome::Wrong, "the shard serves"),
        ("change run replace rest europe", Outcome::Wrong, "spare"),
    ] {
        let message = refused(&builder, line, outcome);
        assert!(message.contains(why), "{line}: {message}");
    }
    assert_eq!(json(&builder, "status", Outcome::Fine)["changes"].as_array().unwrap().len(), 0);
}

#[test]
fn the_doctor_names_triggers_that_no_change_needs() {
    let (folder, builder) = cluster(&["rest"]);
    let found = |outcome: Outcome| {
        let read = json(&builder, "doctor", outcome);
        let findings = read["findings"].as_array().unwrap().iter();
        let of_changes = findings.filter(|finding| finding["check"] == "triggers of changes");
        of_changes
            .map(|finding| [name(&finding["database"]), name(&finding["state"]), name(&finding["found"])])
            .collect::<Vec<_>>()
    };
    // Those of a change that runs are needed.
    text(&builder, "change run replace europe rest --no-switch", Outcome::Fine);
    assert_eq!(found(Outcome::Fine)[0][1], "fine");
    // Those of a change that has switched, and was stopped before its end.
    let cluster = builder.clone().open::<Models>().unwrap();
    let mut change: Change = cluster.changes().unwrap().pop().unwrap();
    change.copy(Pace::default(), |_| {}).unwrap();
    change.switch(shard_runtime::change::Switch::default()).unwrap();
    let [database, state, message] = &found(Outcome::Fine)[0];
    assert_eq!((database.as_str(), state.as_str()), ("europe", "warning"));
    assert!(message.contains("until change 1 is finished; run `change run`"), "{message}");
    text(&builder, "change run", Outcome::Fine);
    assert_eq!(found(Outcome::Fine)[0][1], "fine");
    // The fence stays with the hidden rows.
    text(&builder, "change retire 1", Outcome::Fine);
    assert_eq!(found(Outcome::Fine)[0][1], "fine");

    let asia = open(folder.path(), "asia");
    asia.execute_batch("CREATE TRIGGER sharded_capture_0_insert AFTER INSERT ON cities BEGIN SELECT 1; END")
        .unwrap();
    let [database, state, message] = &found(Outcome::Fine)[0];
    assert_eq!((database.as_str(), state.as_str()), ("asia", "warning"));
    assert!(message.contains("sharded_capture_0_insert") && message.contains("drop them"), "{message}");
    let fence = "CREATE TRIGGER sharded_fence_0_delete BEFORE DELETE ON cities BEGIN SELECT RAISE(ABORT, 'fenced'); END";
    asia.execute_batch(fence).unwrap();
    let found = found(Outcome::Wrong);
    assert_eq!((found.len(), found[0][1].as_str()), (2, "wrong"));
    assert!(found[0][2].contains("sharded_fence_0_delete: they refuse every write"), "{found:?}");
}

#[test]
fn a_key_is_moved_by_one_command() {
    let (folder, builder) = cluster(&[]);
    let before = contents(&builder);
    let shard = |line: &str| name(&json(&builder, line, Outcome::Fine)["shard"]);
    let from = shard("locate users 3");
    let to = if from == "asia" { "europe" } else { "asia" };
    let read = json(&builder, &format!("change move-key users 3 --to {to}"), Outcome::Fine);
    let moved = (&read["from"], &read["to"], &read["rows"], &read["epoch"]);
    assert_eq!(moved, (&from.as_str().into(), &to.into(), &1.into(), &2.into()));
    let line = format!("key 3 => {to}");
    assert_eq!(json(&builder, "locate users 3", Outcome::Fine)["line"], line.as_str());
    assert_eq!(text(&builder, "locate users 3", Outcome::Fine), format!("{to}, by the line `{line}`\n"));
    let status = json(&builder, "status", Outcome::Fine);
    assert_eq!((&status["keys"][0]["line"], &status["epoch"]), (&line.as_str().into(), &2.into()));
    assert!(text(&builder, "status", Outcome::Fine).contains(&line));
    assert_eq!(contents(&builder), before);
    assert_eq!(json(&builder, "verify", Outcome::Fine)["found"], 0);

    let again = text(&builder, &format!("change move-key users 3 --to {to}"), Outcome::Fine);
    assert_eq!(again, format!("the key is on {to} already\n"));
    let back = text(&builder, &format!("change move-key users 3 --to {from}"), Outcome::Fine);
    assert_eq!(back, format!("{to} -> {from} since epoch 3: 1 rows moved\n"));
    assert!(json(&builder, "status", Outcome::Fine)["keys"].as_array().unwrap().is_empty());
    for (line, outcome, texts) in [
        ("change move-key users 3 --to nowhere", Outcome::Unknown, ["unknown shard", "nowhere"]),
        (
            "change move-key users three --to asia",
            Outcome::Unknown,
            ["expected integer, got `three`", "users"],
        ),
        ("change move-key nothing 3 --to asia", Outcome::Unknown, ["unknown table", "`nothing`"]),
    ] {
        let message = refused(&builder, line, outcome);
        assert!(texts.iter().all(|text| message.contains(text)), "{line}: {message}");
    }
    drop(folder);
}
