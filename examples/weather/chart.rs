//! Two small charts in plain text, each as wide as a terminal.

use crate::text::{fit, thousands};

/// The greatest width.
pub const WIDTH: usize = 80;

/// The greatest number of columns.
pub const COLUMNS: usize = (WIDTH - AXIS) / COLUMN;

/// The width of a column with the gap behind it.
const COLUMN: usize = 6;

/// The width of the axis left of the columns.
const AXIS: usize = 8;

/// A name and its numbers, drawn one behind the other in one bar.
pub struct Bar {
    pub name: String,
    pub first: u64,
    pub second: u64,
}

/// Draws a line for each bar, to one scale: the first number in `█`, the second in `░`, then the sum.
pub fn bars(bars: &[Bar]) -> Vec<String> {
    const NAME: usize = 10;
    const SUM: usize = 10;
    let room = WIDTH - NAME - SUM - 4;
    let longest = bars.iter().map(|bar| bar.first + bar.second).max().unwrap_or(0).max(1);
    // A number above zero is at least one cell.
    let cells = |number: u64| match number {
        0 => 0,
        number => ((number as f64 / longest as f64 * room as f64).round() as usize).max(1),
    };
    let line = |bar: &Bar| {
        let sum = bar.first + bar.second;
        let (whole, first) = (cells(sum), cells(bar.first));
        let drawn = "█".repeat(first) + &"░".repeat(whole.saturating_sub(first));
        format!("  {} {drawn} {}", fit(&bar.name, NAME), thousands(sum))
    };
    bars.iter().map(line).collect()
}

/// Draws columns with a name and a number below each; at most [`COLUMNS`] of them.
pub fn columns(columns: &[(String, f64)]) -> Vec<String> {
    const HEIGHT: usize = 8;
    let shown = columns.iter().take(COLUMNS);
    let values = shown.clone().map(|(_, value)| *value);
    let top = values.clone().fold(f64::MIN_POSITIVE, f64::max);
    let bottom = values.fold(0.0, f64::min);
    let step = (top - bottom) / HEIGHT as f64;

    let mut lines = Vec::new();
    for row in (0..HEIGHT).rev() {
        let floor = bottom + step * row as f64;
        let axis = match row % 2 {
            1 => format!("{:6.1} ┤", floor + step),
            _ => format!("{:6} │", ""),
        };
        let cells =
            shown.clone().map(|(_, value)| block((value - floor) / step).to_string().repeat(4) + "  ");
        lines.push((axis + " " + &cells.collect::<String>()).trim_end().to_owned());
    }
    lines.push(format!("{bottom:6.1} └{}", "─".repeat(COLUMN * shown.len())));
    let below = |text: &dyn Fn(&(String, f64)) -> String| {
        // In the middle of the column, and no wider than it and its gap.
        let cells: String =
            shown.clone().map(|column| fit(&format!("{:^4}", text(column)), COLUMN)).collect();
        format!("{:AXIS$} {}", "", cells.trim_end())
    };
    lines.push(below(&|(name, _)| name.clone()));
    lines.push(below(&|(_, value)| format!("{value:.1}")));
    lines
}

/// Returns a cell that is filled up to this part of its height.
fn block(part: f64) -> char {
    const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let eighths = (part.clamp(0.0, 1.0) * 8.0).round() as usize;
    BLOCKS.get(eighths).copied().unwrap_or('█')
}
