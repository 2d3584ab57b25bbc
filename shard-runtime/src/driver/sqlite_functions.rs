//! The aggregates that SQLite lacks, as partial values for the merge of several shards. Uses `accumulator` and
//! `collation`.

use std::borrow::Cow;
use std::collections::HashSet;

use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Result};

use crate::accumulator::Moments;
use crate::collation::Collation;
use crate::planner::sql::DOCUMENT;
use crate::value::Value;
use crate::value::codec::put_in_set;
use crate::value::json::canonical;

/// The number of values, their mean and their squared distances from it, as bytes.
const MOMENTS: &str = "sharded_moments";

/// The distinct values, as bytes.
const DISTINCT: &str = "sharded_distinct";

/// The distinct texts of a case-insensitive collation.
const DISTINCT_NOCASE: &str = "sharded_distinct_nocase";

/// The least text and its least spelling: `min` of SQLite returns any spelling.
const MIN_NOCASE: &str = "sharded_min_nocase";

/// The greatest text and its least spelling.
const MAX_NOCASE: &str = "sharded_max_nocase";

/// Registers the aggregates on a connection.
pub(super) fn define(connection: &Connection) -> Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_aggregate_function(MOMENTS, 1, flags, MomentsOf)?;
    connection.create_aggregate_function(DISTINCT, 1, flags, DistinctOf(Collation::Binary))?;
    connection.create_aggregate_function(DISTINCT_NOCASE, 1, flags, DistinctOf(Collation::NoCase))?;
    connection.create_scalar_function(DOCUMENT, 1, flags, |context| {
        Ok(match context.get_raw(0) {
            // Text that is not JSON is compared unchanged.
            ValueRef::Text(bytes) => {
                let text = std::str::from_utf8(bytes).ok().and_then(|text| canonical(text).ok());
                let text = text.map_or_else(|| bytes.to_vec(), String::into_bytes);
                ToSqlOutput::Owned(String::from_utf8(text).map_or_else(
                    |error| rusqlite::types::Value::Blob(error.into_bytes()),
                    rusqlite::types::Value::Text,
                ))
            }
            _ => ToSqlOutput::Owned(rusqlite::types::Value::Null),
        })
    })?;
    for (name, greatest) in [(MIN_NOCASE, false), (MAX_NOCASE, true)] {
        let extreme = ExtremeOf { collation: Collation::NoCase, greatest };
        connection.create_aggregate_function(name, 1, flags, extreme)?;
    }
    Ok(())
}

struct MomentsOf;

impl Aggregate<Moments, Option<Vec<u8>>> for MomentsOf {
    fn init(&self, _: &mut Context<'_>) -> Result<Moments> {
        Ok(Moments::default())
    }

    fn step(&self, context: &mut Context<'_>, moments: &mut Moments) -> Result<()> {
        match context.get_raw(0) {
            ValueRef::Integer(integer) => moments.add(integer as f64),
            ValueRef::Real(real) => moments.add(real),
            _ => {}
        }
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, moments: Option<Moments>) -> Result<Option<Vec<u8>>> {
        Ok(moments.filter(|moments| moments.rows > 0).map(|moments| moments.to_bytes().to_vec()))
    }
}

struct DistinctOf(Collation);

impl Aggregate<HashSet<Vec<u8>>, Option<Vec<u8>>> for DistinctOf {
    fn init(&self, _: &mut Context<'_>) -> Result<HashSet<Vec<u8>>> {
        Ok(HashSet::new())
    }

    fn step(&self, context: &mut Context<'_>, values: &mut HashSet<Vec<u8>>) -> Result<()> {
        // The values of a column have one type, so that their bytes identify them.
        let value = match context.get_raw(0) {
            ValueRef::Null => return Ok(()),
            ValueRef::Integer(integer) => integer.to_be_bytes().to_vec(),
            ValueRef::Real(real) => (real + 0.0).to_be_bytes().to_vec(), // -0.0 is 0.0
            ValueRef::Text(bytes) if self.0 == Collation::NoCase => bytes.to_ascii_lowercase(),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
        };
        values.insert(value);
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, values: Option<HashSet<Vec<u8>>>) -> Result<Option<Vec<u8>>> {
        Ok(values.map(|values| {
            let mut bytes = Vec::new();
            values.iter().for_each(|value| put_in_set(value, &mut bytes));
            bytes
        }))
    }
}

struct ExtremeOf {
    collation: Collation,
    greatest: bool,
}

impl Aggregate<Option<String>, Option<String>> for ExtremeOf {
    fn init(&self, _: &mut Context<'_>) -> Result<Option<String>> {
        Ok(None)
    }

    fn step(&self, context: &mut Context<'_>, so_far: &mut Option<String>) -> Result<()> {
        let Some(text) = context.get_raw(0).as_str_or_null()? else { return Ok(()) };
        let new = Value::Text(Cow::Borrowed(text));
        let is_better = |old: &String| {
            self.collation.prefers(&new, &Value::Text(Cow::Borrowed(old.as_str())), self.greatest)
        };
        if so_far.as_ref().is_none_or(is_better) {
            *so_far = Some(text.to_owned());
        }
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, text: Option<Option<String>>) -> Result<Option<String>> {
        Ok(text.flatten())
    }
}
