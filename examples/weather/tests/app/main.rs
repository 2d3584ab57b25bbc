//! The example app `weather`, run as a program. Its output and its rows are compared with the CSV files and the shards' files,
//! which this test reads with its own code.

#[cfg(feature = "admin")]
mod administering;
#[cfg(feature = "admin")]
mod changing;
mod copying;
mod program;
mod refusals;
mod resuming;
mod rows;
mod servers;
mod small_source;

use std::collections::BTreeMap;
use std::path::Path;

use assert_cmd::assert::OutputAssertExt;

use program::{DATA, refusal, stdout, weather};
use rows::{csv_rows, same_cities, same_observations, units_of, units_there};

#[test]
fn the_tour_imports_everything_and_reports_the_rows_of_the_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = stdout(&weather(folder.path(), &["--data", "rows"]));
    let rows = folder.path().join("rows");

    // It is plain text, no wider than a terminal.
    assert!(!output.contains('\u{1b}'));
    assert!(output.lines().all(|line| line.chars().count() <= 80), "{output}");

    // Every row is stored once, on the shard of its key.
    let source = Path::new(DATA);
    let units = units_of(source);
    assert_eq!((units.values().sum::<usize>(), units["observations"], units.len()), (60_120, 26_114, 8));
    assert_eq!(units_there(&rows), units);
    same_cities(&rows, source);
    same_observations(&rows, source);

    // The report's totals.
    assert!(output.contains("Imported 60,120 rows in "), "{output}");
    for (label, total) in [("cities", "34,006"), ("observations", "26,114"), ("rows", "60,120")] {
        let is_it = |line: &str| line.starts_with(&format!("  {label} ")) && line.contains(total);
        assert!(output.lines().any(is_it), "{label} {total}: {output}");
    }
    assert!(output.contains(" 34,006, 403 with a mean temperature\n"), "{output}");
    for (shard, total) in [("americas", 34_990), ("europe", 8_135), ("asia", 12_523), ("rest", 4_472)] {
        let mut bars = output.lines().filter(|line| line.contains('█'));
        let bar = bars.find(|line| line.starts_with(&format!("  {shard} "))).expect("a bar for each shard");
        assert!(bar.ends_with(&format!(" {}", thousands(total))), "{bar}");
    }
    people(&output, source);
    largest_cities(&output, source);
    monthly_means(&output, source);

    // The second import of the tour, and a third one, find everything.
    assert!(output.ends_with("Nothing to do: all 60,120 rows are there.\n"));
    let again = stdout(&weather(folder.path(), &["import", "--data", "rows"]));
    assert_eq!(again.matches("already imported").count(), 8, "{again}");
    assert_eq!(units_there(&rows), units);

    city_prints_the_shards_that_it_read(folder.path());
    explain_prints_the_shards_of_queries(folder.path());
}

fn people(output: &str, source: &Path) {
    let people =
        csv_rows(source, "cities.csv").iter().map(|row| row[6].parse::<usize>().expect("a number")).sum();
    assert!(output.contains(&format!(" {}, in these cities\n", thousands(people))), "{output}");
}

/// The three largest cities of each continent, in their order.
fn largest_cities(output: &str, source: &Path) {
    let mut continents: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    for row in csv_rows(source, "cities.csv") {
        let people = row[6].parse().expect("a number");
        continents.entry(row[3].clone()).or_default().push((people, row[1].clone()));
    }
    let mut lines = output.lines().skip_while(|line| !line.starts_with("The largest cities")).skip(2);
    for (continent, mut cities) in continents {
        let label = format!("  {continent} ({})", thousands(cities.len()));
        cities.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        for (position, (people, name)) in cities.iter().take(3).enumerate() {
            let line = lines.next().expect("a line for each");
            assert!(position > 0 || line.starts_with(&label), "{line}");
            assert!(line.contains(name) && line.ends_with(&thousands(*people)), "{line}: {name}");
        }
    }
}

/// New York's mean of each month, to a tenth of a degree.
fn monthly_means(output: &str, source: &Path) {
    let mut months: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for row in csv_rows(source, "observations.csv") {
        let (sum, count) = months.entry(row[1][..7].to_owned()).or_default();
        *sum += row[2].parse::<f64>().expect("a number");
        *count += 1.0;
    }
    let expected: Vec<String> = months.values().map(|(sum, count)| format!("{:.1}", sum / count)).collect();
    let mut lines = output.lines().skip_while(|line| !line.trim().starts_with("Jan   Feb"));
    assert_eq!(lines.next().map(|line| line.split_whitespace().count()), Some(12));
    let found: Vec<&str> = lines.next().expect("the means").split_whitespace().collect();
    assert_eq!(found, expected);
    assert_eq!(found.first(), Some(&"2.0"));
}

fn city_prints_the_shards_that_it_read(folder: &Path) {
    let city = |arguments: &[&str]| weather(folder, &[&["city", "--data", "rows"], arguments].concat());

    let one = stdout(&city(&["Tokyo", "--continent", "asia"]));
    assert!(
        one.starts_with("Tokyo, Japan\n") && one.contains("  shard         asia; asked: asia\n"),
        "{one}"
    );
    let all = stdout(&city(&["Tokyo"]));
    assert!(all.contains("  shard         asia; asked: americas, europe, asia, rest\n"), "{all}");

    let many = stdout(&city(&["Springfield", "--continent", "North America"]));
    let list: Vec<&str> = many.lines().skip(2).take_while(|line| !line.is_empty()).collect();
    let people = |line: &&str| -> usize {
        let word = line.split_whitespace().rev().nth(1).expect("how many people");
        word.replace(',', "").parse().expect("a number")
    };
    assert!(many.starts_with("8 cities are called Springfield") && list.len() == 8, "{many}");
    assert!(list.is_sorted_by(|a, b| people(a) >= people(b)), "{many}");

    let observed = stdout(&city(&["New York City", "--continent", "north-america"]));
    assert!(observed.contains("  observations  26,114; asked: americas\n"), "{observed}");
    assert!(observed.contains("12.9 °C in the mean, from -11.7 to 37.8\n"), "{observed}");

    let unknown = refusal(&city(&["New York", "--continent", "north-america"]));
    assert_eq!(unknown, "there is no city called `New York` in North America; there is `New York City`");
    assert_eq!(refusal(&city(&["Nowhere"])), "there is no city called `Nowhere` anywhere");
    city(&["Tokyo", "--continent", "Atlantis"]).assert().code(2);
}

fn explain_prints_the_shards_of_queries(folder: &Path) {
    let output = stdout(&weather(folder, &["explain", "--data", "rows"]));
    let where_to = output.split("\n\n").map(|part| part.lines().nth(1).expect("where it goes").trim());
    assert_eq!(
        where_to.collect::<Vec<_>>(),
        [
            "asia: continent = Asia",
            "asia: continent = Asia",
            "europe, asia: continent IN (Asia, Europe)",
            "americas: continent IN (North America, South America)",
            "a contradiction: no shard",
            "americas, europe, asia, rest: no key: all shards",
            "rest: pinned to rest",
            "americas, europe, asia, rest: no key: all shards",
            "americas: the shard of its parent",
            "asia: continent = Asia",
        ]
    );
}

/// A number with its thousands apart: `34,006`.
fn thousands(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1000), number % 1000),
    }
}
