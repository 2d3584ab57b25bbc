//! Imports that are killed, and imports that run at the same time.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::program::{DATA, program, refusal, stdout, text, weather};
use crate::rows::{same_cities, same_observations, units_of, units_there};
use crate::small_source::small_source;

/// Starts an import whose output can be followed.
fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(program());
    command.arg("import").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program runs")
}

/// Waits until the import has reached this moment.
fn follow(child: &mut Child, moment: Moment, folder: &Path) {
    match moment {
        Moment::Units(units) => {
            let output = BufReader::new(child.stdout.as_mut().expect("its output"));
            for line in output.lines().take(units) {
                line.expect("a line for each unit");
            }
        }
        Moment::File(file) => {
            let began = Instant::now();
            while !folder.join(file).exists() && began.elapsed() < Duration::from_secs(20) {
                thread::sleep(Duration::from_micros(200));
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Moment {
    /// A file exists, so the shards are being made.
    File(&'static str),
    /// It has printed this number of units, so the next one is being written.
    Units(usize),
}

#[test]
fn a_killed_import_leaves_whole_units_and_is_resumed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let units = units_of(Path::new(DATA));
    let mut killed_between = 0;
    let moments = [
        Moment::File("control.db"),
        Moment::File("americas.db"),
        Moment::File("rest.db"),
        Moment::Units(1),
        Moment::Units(3),
        Moment::Units(5),
        Moment::Units(7),
        Moment::Units(7),
    ];
    for moment in moments {
        let mut child = start(&["--data", text(folder)]);
        follow(&mut child, moment, folder);
        child.kill().expect("it can be killed");
        let finished = child.wait().expect("it is gone").success();

        let there = units_there(folder);
        assert!(there.iter().all(|(unit, count)| units.get(unit) == Some(count)), "{there:?} of {units:?}");
        if let Moment::Units(output) = moment {
            assert!(there.len() >= output, "{output} units were output to be there: {there:?}");
        }
        if !finished && there != units {
            killed_between += 1;
            let output = refusal(&weather(folder, &["report", "--data", text(folder)]));
            assert!(
                output.contains(&format!("run `weather import --data {}` first", text(folder))),
                "{output}"
            );
        }
    }
    assert!(killed_between > 2, "most imports were faster than their killer: {killed_between}");

    stdout(&weather(folder, &["import", "--data", text(folder)]));
    assert_eq!(units_there(folder), units);
    same_cities(folder, Path::new(DATA));
    same_observations(folder, Path::new(DATA));
}

#[test]
fn imports_at_the_same_time_write_everything_once() {
    let (source, folder) = (small_source(), tempfile::tempdir().expect("a temporary folder"));
    let arguments = ["--source", text(source.path()), "--data", text(folder.path())];
    let started: Vec<Child> = (0..4).map(|_| start(&arguments)).collect();
    for child in started {
        let output = child.wait_with_output().expect("its output");
        if !output.status.success() {
            let output = refusal(&output);
            assert!(output.contains("another import is at work here"), "{output}");
        }
    }
    stdout(&weather(folder.path(), &[&["import"], &arguments[..]].concat()));
    assert_eq!(units_there(folder.path()), units_of(source.path()));
    same_cities(folder.path(), source.path());
    same_observations(folder.path(), source.path());
}
