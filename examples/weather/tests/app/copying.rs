//! Copying from files to servers, as the README describes it.

use std::fs;

use crate::program::{refusal, stdout, text, weather};
use crate::rows::units_there;
use crate::servers::{FILES, OnServers};
use crate::small_source::small_source;

const COPY: [&str; 5] = ["copy", "--data", "rows", "--to", "shards.toml"];

#[test]
#[cfg_attr(not(feature = "postgres"), ignore = "needs PostgreSQL: `--features weather/postgres`")]
fn everything_is_copied_from_files_to_servers() {
    let world = OnServers::new("copied");
    let folder = world.folder.path();
    let output = refusal(&world.weather(&COPY));
    assert_eq!(output, "nothing is imported into rows yet: run `weather import --data rows` first");
    stdout(&weather(folder, &["import", "--data", "rows"]));
    let rows = folder.join("rows");

    let output = stdout(&world.weather(&COPY));
    assert!(output.ends_with("All 60,120 rows are in both.\n"), "{output}");
    assert_eq!(
        output.matches("→ shards.toml").count(),
        5,
        "four shards have cities, one has observations: {output}"
    );
    world.same_rows(&rows);
    let report = |option: &str, path: &str| stdout(&world.weather(&["report", option, path]));
    assert_eq!(report("--shards", "shards.toml"), report("--data", "rows"));

    // Run again, it copies missing rows: first none, then one shard's cities.
    let output = stdout(&world.weather(&COPY));
    assert_eq!((output.matches("already there").count(), output.matches('→').count()), (8, 0), "{output}");
    world.psql("rest", "DELETE FROM cities");
    let output = stdout(&world.weather(&COPY));
    assert!(output.contains("  cities on rest              4,472  → shards.toml\n"), "{output}");
    assert_eq!(output.matches("already there").count(), 7, "{output}");
    world.same_rows(&rows);

    // And back, into files.
    fs::create_dir(folder.join("back")).expect("a folder");
    fs::copy(FILES, folder.join("back/shards.toml")).expect("the app's file");
    let back = ["copy", "--shards", "shards.toml", "--to", "back/shards.toml"];
    assert!(stdout(&world.weather(&back)).ends_with("All 60,120 rows are in both.\n"));
    world.same_rows(&folder.join("back"));

    // Ids continue after the copied ones: new rows can be added.
    let observed = "INSERT INTO observations (city_id, station, observed_at, celsius, humidity) \
        SELECT city_id, 'new', observed_at, celsius, humidity FROM observations LIMIT 1";
    world.psql("americas", observed);

    // A shard with a part of the rows is not touched.
    let output = refusal(&world.weather(&COPY));
    assert!(
        output.starts_with(
            "observations on americas: 26,115 rows are in shards.toml already, 26,114 are to be"
        ),
        "{output}"
    );
}

#[test]
fn a_copy_between_files_needs_no_server() {
    let (source, folder) = (small_source(), tempfile::tempdir().expect("a temporary folder"));
    let import = ["import", "--data", "rows", "--source", text(source.path())];
    stdout(&weather(folder.path(), &import));
    fs::create_dir(folder.path().join("there")).expect("a folder");
    fs::copy(FILES, folder.path().join("there/shards.toml")).expect("the app's file");
    let copy = ["copy", "--data", "rows", "--to", "there/shards.toml"];
    assert!(stdout(&weather(folder.path(), &copy)).ends_with("All 11 rows are in both.\n"));
    let units = units_there(&folder.path().join("rows"));
    assert_eq!(units_there(&folder.path().join("there")), units);

    let nowhere = ["copy", "--data", "rows", "--to", "nowhere.toml"];
    assert!(refusal(&weather(folder.path(), &nowhere)).starts_with("nowhere.toml cannot be read: "));
}
