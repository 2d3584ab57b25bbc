//! `weather admin change`: a shard is split while an import writes to it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::program::{DATA, program, stdout, weather};
use crate::rows::{csv_rows, on_shard, units_of};
use crate::servers::FILES;

/// The app's cluster file with its two spare shards.
fn with_spare_shards(folder: &Path) {
    let mut file = fs::read_to_string(FILES).expect("the app's file");
    for line in [
        "[[shard]]",
        "name = \"north\"",
        "name = \"south\"",
        "url = \"sqlite:north.db\"",
        "url = \"sqlite:south.db\"",
    ] {
        assert!(file.contains(&format!("# {line}")), "{line}");
        file = file.replace(&format!("# {line}"), line);
    }
    fs::write(folder.join("shards.toml"), file).expect("a cluster file");
}

/// Starts an import.
fn start(folder: &Path) -> Child {
    let mut command = Command::new(program());
    command.current_dir(folder).args(["import", "--shards", "shards.toml"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs")
}

/// Waits until an import has printed its first unit, and returns the rest of its output.
fn first_unit(import: &mut Child) -> BufReader<ChildStdout> {
    let mut output = BufReader::new(import.stdout.take().expect("its output"));
    assert!(output.read_line(&mut String::new()).expect("a line for each unit") > 0);
    output
}

/// The report without the part that names the shards.
fn totals(report: &str) -> &str {
    report.split_once("\nTotals\n").expect("the totals").1
}

#[test]
fn a_shard_is_split_while_an_import_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    stdout(&weather(folder, &["import", "--data", "whole"]));
    let expected = stdout(&weather(folder, &["report", "--data", "whole"]));

    // An import that was stopped continues with two spare shards.
    fs::copy(FILES, folder.join("shards.toml")).expect("the app's file");
    let mut stopped = start(folder);
    let _open = first_unit(&mut stopped);
    stopped.kill().expect("it can be killed");
    stopped.wait().expect("it is gone");
    with_spare_shards(folder);
    let mut import = start(folder);
    let mut output = first_unit(&mut import);
    let change = ["--shards", "shards.toml", "admin", "change", "split", "americas", "north", "south"];
    let patiently = ["--within-ms", "20000", "--rows", "500"];
    let split = weather(folder, &[&change[..], &patiently].concat());
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("its output");
    let import = import.wait_with_output().expect("it ends");
    assert!(split.status.success(), "{split:?}");
    assert!(import.status.success(), "{import:?}: {rest}");

    // The report is the same, except for the names of the shards.
    let report = stdout(&weather(folder, &["report", "--shards", "shards.toml"]));
    assert_eq!(totals(&report), totals(&expected));
    let is_bar =
        |name: &str| report.lines().any(|line| line.starts_with(&format!("  {name} ")) && line.contains('█'));
    assert!(is_bar("north") && is_bar("south") && !is_bar("americas"), "{report}");

    // Every row is stored once, on the shard of its key.
    let admin = |words: &[&str]| weather(folder, &[&["--shards", "shards.toml", "admin"], words].concat());
    assert!(stdout(&admin(&["verify"])).starts_with("0 problems found"));
    let units = units_of(Path::new(DATA));
    for (shard, continent) in [("north", "North America"), ("south", "South America")] {
        let there: Vec<String> = on_shard(folder, shard, "SELECT continent FROM cities");
        assert_eq!(there, vec![continent.to_owned(); units[continent]], "{shard}");
    }
    let observations: Vec<i64> = on_shard(folder, "north", "SELECT id FROM observations");
    assert_eq!(observations.len(), csv_rows(Path::new(DATA), "observations.csv").len());

    // The old shard is not needed any more.
    stdout(&admin(&["change", "retire", "1"]));
    let file = fs::read_to_string(folder.join("shards.toml")).expect("the cluster file");
    let americas = "[[shard]]\nname = \"americas\"\nurl = \"sqlite:americas.db\"\n";
    assert_eq!(file.matches(americas).count(), 1);
    fs::write(folder.join("shards.toml"), file.replace(americas, "")).expect("the cluster file");
    fs::remove_file(folder.join("americas.db")).expect("the old shard");
    assert_eq!(stdout(&weather(folder, &["report", "--shards", "shards.toml"])), report);
    assert!(
        stdout(&weather(folder, &["import", "--shards", "shards.toml"]))
            .ends_with("all 60,120 rows are there.\n")
    );
}
