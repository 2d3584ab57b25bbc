//! Inputs that the app refuses: with one line on stderr, exit code 1, and nothing written.

use std::fs;
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use rusqlite::Connection;

use crate::program::{program, refusal, stdout, text, weather};
use crate::rows::{units_of, units_there};
use crate::small_source::{FILES, small_source};

/// The change of one test to a file's lines.
type Change = fn(&mut Vec<String>);

/// The mistakes of `cities.csv`, and the error of each.
const CITIES: [(Change, &str); 13] = [
    (
        |lines| lines[2] = lines[2].replace("Asia", "Atlantis"),
        "line 3: `Atlantis` is no continent; there are Africa, Antarctica, Asia, Europe, North America, Oceania, \
         South America",
    ),
    (|lines| lines[2].truncate(20), "line 3: expected 8 values, found 3"),
    (
        |lines| lines[3].insert(0, 'x'),
        "line 4: geoname_id is `x2643743`: expected a whole number (invalid digit found in string)",
    ),
    (|lines| push(lines, "1,A,B,Asia,90.1,0,5,Asia/Tokyo"), "line 10: latitude is 90.1: expected -90 to 90"),
    (|lines| push(lines, "1,A,B,Asia,0,NaN,5,Asia/Tokyo"), "line 10: longitude is NaN: expected -180 to 180"),
    (
        |lines| push(lines, "1,A,B,Asia,0,0,-5,Asia/Tokyo"),
        "line 10: population is `-5`: expected a whole number (invalid digit found in string)",
    ),
    (|lines| push(lines, "1, ,B,Asia,0,0,5,Asia/Tokyo"), "line 10: name is ` `: expected a text"),
    (|lines| push(lines, "1,\"A\nA\",B,Asia,0,0,5,Asia/Tokyo"), "line 10: name is `A\\nA`: expected a text"),
    (
        |lines| push(lines, "\r\n\n1850147,A,B,Asia,0,0,5,Asia/Tokyo"),
        "line 12: geoname_id 1850147 is there twice",
    ),
    (|lines| push(lines, "\n\n1,A"), "line 12: expected 8 values, found 2"),
    (
        |lines| lines[0] = "geoname_id,name".to_owned(),
        "line 1: expected the columns geoname_id,name,country,continent,latitude,longitude,population,timezone, \
         found `geoname_id,name`",
    ),
    (|lines| lines.truncate(1), "line 1: there is no row below the header"),
    (
        |lines| lines.clear(),
        "line 1: expected the columns geoname_id,name,country,continent,latitude,longitude,population,timezone, \
         found ``",
    ),
];

const MEAN_TEMPERATURES: [(Change, &str); 3] = [
    (|lines| push(lines, "1816670,1e3"), "line 4: celsius is 1000: expected -100 to 70"),
    (|lines| push(lines, "7,3"), "line 4: geoname_id 7 is no city of cities.csv"),
    (|lines| push(lines, "1850147,1"), "line 4: geoname_id 1850147 is there twice"),
];

const OBSERVATIONS: [(Change, &str); 7] = [
    (|lines| push(lines, "EWR,2013-01-01T00:00:00Z,999,14,,"), "line 5: celsius is 999: expected -100 to 70"),
    (|lines| push(lines, "EWR,2013-01-01T00:00:00Z,3.9,140,,"), "line 5: humidity is 140: expected 0 to 100"),
    (
        |lines| push(lines, "EWR,2013-01-01T00:00:00Z,3.9,14,-1,"),
        "line 5: wind_kmh is -1: expected 0 to 2000",
    ),
    (
        |lines| push(lines, "EWR,2013-01-01T00:00:00Z,3.9,14,,0"),
        "line 5: pressure_hpa is 0: expected 800 to 1100",
    ),
    (
        |lines| push(lines, "EWR,2013-01-01T00:00:00Z,cold,14,,"),
        "line 5: celsius is `cold`: expected a number",
    ),
    (|lines| push(lines, "EWR,yesterday,3.9,14,,"), "line 5: observed_at is `yesterday`: "),
    (
        |lines| push(lines, "EWR,2013-01-01T07:00:00Z,3.9,14,,"),
        "line 5: EWR at 2013-01-01T07:00:00Z is there twice",
    ),
];

fn push(lines: &mut Vec<String>, line: &str) {
    lines.push(line.to_owned());
}

#[test]
fn a_wrong_source_is_refused_with_file_and_line_and_nothing_is_written() {
    let target = tempfile::tempdir().expect("a temporary folder");
    let import = |source: &tempfile::TempDir| {
        refusal(&weather(target.path(), &["import", "--data", "rows", "--source", text(source.path())]))
    };
    for (file, cases) in FILES.into_iter().zip([&CITIES[..], &MEAN_TEMPERATURES, &OBSERVATIONS]) {
        for (change, expected) in cases {
            let source = small_source();
            let path = source.path().join(file);
            let content = fs::read_to_string(&path).expect(file);
            let mut lines: Vec<String> = content.lines().map(str::to_owned).collect();
            change(&mut lines);
            fs::write(&path, lines.join("\n") + "\n").expect(file);
            let output = import(&source);
            assert!(
                output.starts_with(&format!("{}, {expected}", path.display())),
                "{output}\nexpected {expected}"
            );
        }

        let source = small_source();
        let path = source.path().join(file);
        fs::write(&path, b"\xff\xfe\n").expect(file);
        assert!(import(&source).starts_with(&format!("{}, line 1: not UTF-8 text: ", path.display())));
        fs::remove_file(&path).expect(file);
        assert!(import(&source).starts_with(&format!("{} cannot be read: ", path.display())));
    }

    // The city of the observations has to exist.
    let source = small_source();
    let path = source.path().join("cities.csv");
    let cities = fs::read_to_string(&path).expect("cities").replace("North America", "South America");
    fs::write(&path, cities).expect("cities");
    let output = import(&source);
    assert!(output.ends_with("cities.csv has no city 5128581 in North America"), "{output}");

    assert_eq!(fs::read_dir(target.path()).expect("the folder").count(), 0, "nothing was written");
}

#[test]
fn commands_before_an_import_name_the_command_to_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for command in [&["report"][..], &["city", "Tokyo"], &["explain"]] {
        let output = refusal(&weather(folder.path(), &[command, &["--data", "rows"]].concat()));
        assert_eq!(output, "nothing is imported into rows yet: run `weather import --data rows` first");
    }
    let output = refusal(&weather(folder.path(), &["report"]));
    assert!(output.ends_with(": run `weather import --data weather-data` first"), "{output}");
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0, "looking makes nothing");
}

#[test]
fn a_tour_without_a_folder_leaves_nothing_behind() {
    let (source, folder) = (small_source(), tempfile::tempdir().expect("a temporary folder"));
    let mut tour = Command::new(program());
    tour.current_dir(folder.path()).env("TMPDIR", folder.path()).args(["--source", text(source.path())]);
    let output = stdout(&tour.output().expect("the program runs"));
    assert!(output.starts_with("A tour, in a temporary folder; to keep its files add `--data FOLDER`.\n"));
    assert!(output.contains("Imported 11 rows in "), "{output}");
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0, "it cleans up");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let (source, folder) = (small_source(), tempfile::tempdir().expect("a temporary folder"));
    fs::write(folder.path().join("file"), "").expect("a file");
    for command in [&["import"][..], &[]] {
        let arguments = [command, &["--data", "file/rows", "--source", text(source.path())]].concat();
        let output = refusal(&weather(folder.path(), &arguments));
        assert!(output.starts_with("the folder file/rows cannot be made: "), "{output}");
    }
}

#[test]
fn rows_that_are_not_the_sources_are_refused() {
    let (source, folder) = (small_source(), tempfile::tempdir().expect("a temporary folder"));
    let arguments = ["import", "--data", "rows", "--source", text(source.path())];
    stdout(&weather(folder.path(), &arguments));
    let rows = folder.path().join("rows");
    let europe = Connection::open(rows.join("europe.db")).expect("a shard");
    let deleted = europe.execute("DELETE FROM cities WHERE name = 'Dublin'", []).expect("a city less");
    assert_eq!(deleted, 1);
    drop(europe);
    let before = units_there(&rows);
    let output = refusal(&weather(folder.path(), &arguments));
    assert!(output.starts_with("cities of Europe: 1 rows are there, the source has 2; "), "{output}");
    assert_eq!(units_there(&rows), before);
}

#[test]
fn a_cluster_file_places_the_shards() {
    let (source, folder) = (small_source(), tempfile::tempdir().expect("a temporary folder"));
    let path = folder.path().join("shards.toml");
    let write = |names: &[&str]| {
        let shard = |name: &&str| format!("[[shard]]\nname = \"{name}\"\nurl = \"sqlite:{name}.db\"\n");
        fs::write(&path, names.iter().map(shard).collect::<String>()).expect("a cluster file");
    };
    let import = ["import", "--shards", "shards.toml", "--source", text(source.path())];

    for (names, expected) in [
        (&["americas", "europe", "asia"][..], "`rest`"),
        (&["americas", "europe", "asia", "rest", "asia"], "shard `asia`: duplicate shard name"),
        (&[], "has no shard"),
    ] {
        write(names);
        let output = refusal(&weather(folder.path(), &import));
        assert!(output.starts_with("shards.toml") && output.contains(expected), "{output}");
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1, "nothing was made");
    }
    fs::remove_file(&path).expect("the cluster file");
    assert!(refusal(&weather(folder.path(), &import)).starts_with("shards.toml cannot be read: "));

    write(&["americas", "europe", "asia", "rest"]);
    let report = ["report", "--shards", "shards.toml"];
    let output = refusal(&weather(folder.path(), &report));
    assert_eq!(
        output,
        "nothing is imported into shards.toml yet: run `weather import --shards shards.toml` first"
    );
    stdout(&weather(folder.path(), &import));
    assert_eq!(units_there(folder.path()), units_of(source.path()));
    let output = stdout(&weather(folder.path(), &report));
    assert!(output.contains("  rows                     11\n"), "{output}");
}

#[test]
fn wrong_arguments_are_usage_errors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let both = ["import", "--data", "a", "--shards", "b"];
    for arguments in [&["fly"][..], &["city"], &both, &["--dta", "a"]] {
        weather(folder.path(), arguments).assert().code(2);
    }
    assert!(stdout(&weather(folder.path(), &["--help"])).contains("Usage: weather [OPTIONS] [COMMAND]"));
}
