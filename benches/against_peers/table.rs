//! The lines of the programs as a table of text, and as a plot.

use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;

use crate::shared::measure::{Failure, readable};

// The plot, in pixels: its width, the part left of the bars, the part for their values, the head, a bar, the space between
// operations.
const WIDTH: f64 = 800.0;
const LABELS: f64 = 230.0;
const VALUES: f64 = 40.0;
const HEAD: f64 = 56.0;
const BAR: f64 = 13.0;
const GAP: f64 = 14.0;
/// The place at which the scale begins, and its lines.
const LEAST: f64 = 0.25;
const TICKS: [f64; 8] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
const COLOURS: [&str; 5] = ["#0b6e4f", "#3066be", "#b4656f", "#c98b1d", "#7d5ba6"];

/// All measured ratios.
pub struct Table {
    libraries: Vec<Library>,
    /// The names of the operations, in the order of their lines.
    operations: Vec<String>,
    quick: bool,
}

struct Library {
    name: String,
    version: String,
    by_hand: String,
    sqlite: String,
    load: [Option<String>; 2],
    cells: Vec<Cell>,
}

struct Cell {
    operation: String,
    by_hand: Duration,
    ratio: f64,
    /// The library to itself.
    same: f64,
}

impl Table {
    pub fn from_lines(lines: &str) -> Result<Self, Failure> {
        let mut table = Table { libraries: Vec::new(), operations: Vec::new(), quick: false };
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line)?;
            let text = |key: &str| line[key].as_str().map(str::to_owned);
            let Some(operation) = text("operation") else {
                table.quick |= line["quick"] == true;
                table.libraries.push(Library {
                    name: text("library").ok_or("a line names no library")?,
                    version: text("version").ok_or("a line names no version")?,
                    by_hand: String::new(),
                    sqlite: String::new(),
                    load: ["load_before", "load_after"].map(text),
                    cells: Vec::new(),
                });
                continue;
            };
            if !table.operations.contains(&operation) {
                table.operations.push(operation.clone());
            }
            let number =
                |key: &str| line[key].as_f64().ok_or_else(|| format!("a line has no number `{key}`"));
            let library = table.libraries.last_mut().ok_or("a line belongs to no library")?;
            library.by_hand = text("by_hand").unwrap_or_default();
            library.sqlite = text("sqlite").unwrap_or_default();
            library.cells.push(Cell {
                operation,
                by_hand: Duration::from_nanos(number("by_hand_ns")? as u64),
                ratio: number("ratio")?,
                same: number("same")?,
            });
        }
        Ok(table)
    }

    /// A page's table: a line for each operation, a column for each library, then what each column was measured with.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if self.quick {
            text.push_str("quick: a hundredth of the rows, one repeat; the numbers mean nothing\n\n");
        }
        let mut rows = vec![vec!["operation".to_owned(), "by hand".to_owned()]];
        rows[0].extend(self.libraries.iter().map(|library| format!("{} (A/A)", library.name)));
        for operation in &self.operations {
            let cells: Vec<Option<&Cell>> =
                self.libraries.iter().map(|library| library.cell(operation)).collect();
            let by_hand = cells.iter().flatten().next().map(|cell| readable(cell.by_hand));
            let mut row = vec![operation.clone(), by_hand.unwrap_or_default()];
            row.extend(cells.iter().map(|cell| {
                cell.map_or("–".to_owned(), |cell| format!("{:.2} ({:.2})", cell.ratio, cell.same))
            }));
            rows.push(row);
        }
        text.push_str(&aligned(&rows));
        text.push('\n');
        let mut rows = vec![
            ["library", "version", "by hand", "SQLite", "load before", "load after"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for library in &self.libraries {
            let [before, after] = library.load.each_ref().map(|load| load.clone().unwrap_or_default());
            let Library { name, version, by_hand, sqlite, .. } = library;
            rows.push([name, version, by_hand, sqlite, &before, &after].map(String::clone).to_vec());
        }
        text.push_str(&aligned(&rows));
        text
    }

    /// A group of bars for each operation, on a logarithmic scale with a line at 1, the hand-written code.
    pub fn svg(&self) -> String {
        let most = self
            .libraries
            .iter()
            .flat_map(|library| &library.cells)
            .map(|cell| cell.ratio)
            .fold(2.0, f64::max);
        let x = |ratio: f64| {
            let share = (ratio.max(LEAST) / LEAST).ln() / (most / LEAST).ln();
            LABELS + share * (WIDTH - LABELS - VALUES)
        };
        let group = self.libraries.len() as f64 * BAR + GAP;
        let height = HEAD + self.operations.len() as f64 * group;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
        );
        for (number, library) in self.libraries.iter().enumerate() {
            let (left, colour) = (10.0 + number as f64 * 150.0, COLOURS[number % COLOURS.len()]);
            let _ = writeln!(
                svg,
                "<rect x=\"{left}\" y=\"10\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
                 <text x=\"{}\" y=\"20\">{} {}</text>",
                left + 18.0,
                library.name,
                library.version
            );
        }
        for tick in TICKS.into_iter().filter(|tick| *tick <= most) {
            let (x, colour) = (x(tick), if tick == 1.0 { "#000" } else { "#ddd" });
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{HEAD}\" y2=\"{height}\" stroke=\"{colour}\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
                HEAD - 6.0
            );
        }
        for (number, operation) in self.operations.iter().enumerate() {
            let top = HEAD + number as f64 * group + GAP / 2.0;
            let middle = top + (group - GAP) / 2.0 + 4.0;
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{middle:.1}\" text-anchor=\"end\">{operation}</text>",
                LABELS - 8.0
            );
            for (place, library) in self.libraries.iter().enumerate() {
                let Some(cell) = library.cell(operation) else { continue };
                let (y, right) = (top + place as f64 * BAR, x(cell.ratio));
                let _ = writeln!(
                    svg,
                    "<rect x=\"{LABELS}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>\
                     <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\">{:.2}</text>",
                    right - LABELS,
                    BAR - 2.0,
                    COLOURS[place % COLOURS.len()],
                    right + 4.0,
                    y + BAR - 4.0,
                    cell.ratio
                );
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

impl Library {
    fn cell(&self, operation: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.operation == operation)
    }
}

/// Rows of a table in Markdown, the first of which is its head, with equally wide columns.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if number == 0 {
            let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            let _ = writeln!(text, "| {} |", dashes.join(" | "));
        }
    }
    text
}
