//! Reads a CSV file row by row; every error names the file and the line.

use std::fs;
use std::path::Path;

use csv::{DeserializeErrorKind, Position, StringRecord};
use serde::de::DeserializeOwned;

use crate::failure::{Failure, Result};

/// A row and the line that it begins on.
pub struct Line<Row> {
    pub number: u64,
    pub row: Row,
}

/// Returns all rows of the file, which must have these columns, and at least one row.
pub fn read<Row: DeserializeOwned>(file: &Path, columns: &[&str]) -> Result<Vec<Line<Row>>> {
    let content =
        fs::read(file).map_err(|error| Failure::io(format!("{} cannot be read", file.display()), error))?;
    let wrong = |line, message: String| Failure::source(file, line, message);

    let mut reader = csv::Reader::from_reader(content.as_slice());
    let header = reader.headers().map_err(|error| wrong(1, unreadable(error)))?.clone();
    if header.iter().ne(columns.iter().copied()) {
        let found = header.iter().collect::<Vec<_>>().join(",");
        return Err(wrong(1, format!("expected the columns {}, found `{found}`", columns.join(","))));
    }
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| wrong(line_of(error.position(), &content), unreadable(error)))?;
        let number = line_of(record.position(), &content);
        match record.deserialize(Some(&header)) {
            Ok(row) => lines.push(Line { number, row }),
            Err(error) => return Err(wrong(number, misfit(&error, &header, &record))),
        }
    }
    match lines.is_empty() {
        true => Err(wrong(1, "there is no row below the header".to_owned())),
        false => Ok(lines),
    }
}

/// Returns the line on which a record begins. The reader's own position is before the empty lines that it skipped.
fn line_of(position: Option<&Position>, content: &[u8]) -> u64 {
    let Some(position) = position else { return 1 };
    let behind = usize::try_from(position.byte()).ok().and_then(|byte| content.get(byte..));
    let skipped = behind.unwrap_or_default().iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + skipped.filter(|byte| **byte == b'\n').count() as u64
}

/// Explains why a line is no record.
fn unreadable(error: csv::Error) -> String {
    match error.into_kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("expected {expected_len} values, found {len}")
        }
        csv::ErrorKind::Utf8 { err, .. } => format!("not UTF-8 text: {err}"),
        other => format!("{other:?}"),
    }
}

/// Explains why a record is not a row of this type, with the column and the value if they are known.
fn misfit(error: &csv::Error, header: &StringRecord, record: &StringRecord) -> String {
    let csv::ErrorKind::Deserialize { err, .. } = error.kind() else { return error.to_string() };
    let message = match err.kind() {
        DeserializeErrorKind::ParseInt(error) => format!("expected a whole number ({error})"),
        DeserializeErrorKind::ParseFloat(_) => "expected a number".to_owned(),
        other => other.to_string(),
    };
    let position = err.field().and_then(|field| usize::try_from(field).ok());
    match position.and_then(|position| Some((header.get(position)?, record.get(position)?))) {
        Some((column, value)) => format!("{column} is `{value}`: {message}"),
        None => message,
    }
}
