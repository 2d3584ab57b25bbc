//! The import: the CSV files become rows, in eight units that are each one commit on one shard.
//!
//! A run that was killed leaves no unit half-done. The next run counts the rows of each unit, skips finished units and writes
//! the missing ones.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use shard_runtime::{ErrorKind, Insert, Session, Sharded};

use crate::failure::{Failure, Result};
use crate::location::Location;
use crate::model::{City, Continent, NEW_YORK, Observation};
use crate::source::Source;
use crate::text::thousands;

/// The number of rows that are sent to a shard at once; the bar moves with them.
const BATCH: usize = 1_000;

/// The rows of one commit.
#[derive(Clone, Copy)]
enum Unit {
    /// The cities of a continent.
    Cities(Continent),
    /// All observations. They need their city, so they come last, and show that an import is finished.
    Observations,
}

/// Imports the missing units, after the whole source has been read and the stored rows have been counted.
pub fn run(source: &Path, location: &Location, out: &mut dyn Write) -> Result<()> {
    let began = Instant::now();
    let files = Source::read(source)?;
    let cluster = location.create()?;

    let mut session = cluster.session();
    let mut missing = Vec::new();
    for unit in Continent::ALL.into_iter().map(Unit::Cities).chain([Unit::Observations]) {
        let (rows, expected) = (unit.rows_there(&mut session)?, unit.rows_of(&files));
        if rows == expected {
            writeln!(out, "  {:26} {:>6}  already imported", unit.name(), thousands(rows))?;
        } else if rows == 0 {
            missing.push(unit);
        } else {
            return Err(Failure::Refused(format!(
                "{}: {} rows are there, the source has {}; it was not imported from this source, or was changed \
                 since: import into another location than `{}`",
                unit.name(),
                thousands(rows),
                thousands(expected),
                location.option()
            )));
        }
    }

    drop(session);

    let rows: usize = missing.iter().map(|unit| unit.rows_of(&files)).sum();
    let bar = progress_bar(rows);
    for unit in missing {
        let before = bar.position();
        // A change of the layout may move the shard meanwhile: then the unit is written again, to its new shard.
        let written = cluster.try_transaction(|session| {
            bar.set_position(before);
            unit.write(session, &files, &bar)
        });
        let shard = written.map_err(|failure| unit.explain(failure))?;
        let rows = thousands(unit.rows_of(&files));
        bar.suspend(|| writeln!(out, "  {:26} {rows:>6}  → {shard}", unit.name()))?;
    }
    bar.finish_and_clear();
    match rows {
        0 => writeln!(out, "Nothing to do: all {} rows are there.", thousands(files.rows()))?,
        rows => {
            writeln!(out, "Imported {} rows in {:.1} s.", thousands(rows), began.elapsed().as_secs_f64())?
        }
    }
    Ok(())
}

impl Unit {
    fn name(self) -> String {
        match self {
            Unit::Cities(continent) => format!("cities of {continent}"),
            Unit::Observations => "observations of New York".to_owned(),
        }
    }

    /// Returns the number of rows of the source.
    fn rows_of(self, source: &Source) -> usize {
        match self {
            Unit::Cities(continent) => source.cities_of(continent).count(),
            Unit::Observations => source.observations.len(),
        }
    }

    /// Returns the number of rows of the shards. Cities are counted on the shard of their continent. Observations are counted
    /// on all shards, because there should be none on another shard than New York's.
    fn rows_there(self, session: &mut Session) -> Result<usize> {
        let count = match self {
            Unit::Cities(continent) => {
                session.one(City::select().filter(City::CONTINENT.eq(continent)).count())?
            }
            Unit::Observations => session.one(Observation::select().all_shards().count())?,
        };
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// Writes the unit, and returns its shard.
    fn write(self, session: &mut Session, source: &Source, bar: &ProgressBar) -> Result<String> {
        bar.set_message(self.name());
        let shard = match self {
            Unit::Cities(continent) => write_rows(session, source.cities_of(continent).cloned(), bar)?,
            Unit::Observations => {
                let new_york = session.get(City::by_id(NEW_YORK).on(Continent::NorthAmerica))?;
                let new_york = new_york
                    .ok_or_else(|| Failure::Refused("New York is not there, and cities are".to_owned()))?;
                let rows = source.observations.iter().map(|measured| measured.of(new_york.link()));
                write_rows(session, rows, bar)?
            }
        };
        Ok(shard)
    }

    /// Names another import as the reason: a row that was missing a moment ago exists now.
    fn explain(self, failure: Failure) -> Failure {
        match failure {
            Failure::Database(error) if matches!(error.kind(), ErrorKind::Unique | ErrorKind::Busy) => {
                let unit = self.name();
                Failure::Refused(format!("{unit}: another import is at work here, try again later ({error})"))
            }
            failure => failure,
        }
    }
}

/// Adds rows, a batch at a time, and returns the shard that they went to.
fn write_rows<N: Insert>(
    session: &mut Session,
    rows: impl Iterator<Item = N>,
    bar: &ProgressBar,
) -> Result<String> {
    let mut rows = rows.peekable();
    let mut shard = String::new();
    while rows.peek().is_some() {
        let stored = session.add_all(rows.by_ref().take(BATCH))?;
        session.flush()?;
        bar.inc(stored.len() as u64);
        if let Some(row) = stored.last() {
            shard = row.shard().name().to_owned();
        }
    }
    Ok(shard)
}

/// Returns a progress bar on stderr; it shows nothing if that is no terminal.
fn progress_bar(rows: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("  {bar:30} {human_pos:>6} of {human_len} rows  {msg}");
    let bar = ProgressBar::new(rows as u64);
    match style {
        Ok(style) => bar.with_style(style.progress_chars("█▌░")),
        Err(_) => bar, // the plain bar will do
    }
}
