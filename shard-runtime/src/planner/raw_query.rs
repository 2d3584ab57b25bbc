//! The shards, the text and the parameters of SQL of the application. Uses `raw_sql` and `layout`.

use super::sql::{Dialect, Param};
use super::{Layout, raw_sql, route};
use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::query::{Bound, SqlCore, SqlPin};
use crate::schema::{ShardSet, Shards, Table};
use crate::value::Value;

impl SqlCore {
    /// Returns the shards of its pins.
    ///
    /// # Errors
    /// * [`ErrorKind::UnknownShard`] or [`ErrorKind::ContradictingPins`] because of the pins
    /// * the errors of placing a key
    pub(crate) fn shards(&self, shards: &Shards) -> Result<ShardSet> {
        let mut pinned: Option<usize> = None;
        for pin in &self.pins {
            let index = match pin {
                SqlPin::Shard(name) => shards.require(name)?.index(),
                SqlPin::Key(table, key) => route::pin_shard(table, key, shards)?,
            };
            if let Some(other) = pinned.filter(|&other| other != index) {
                let names = ShardSet::from_iter([other, index]).names(shards).join(" and to ");
                let message = format!("the SQL is pinned to {names}");
                return Err(Error::new(ErrorKind::ContradictingPins, message));
            }
            pinned = Some(index);
        }
        Ok(pinned.map_or_else(|| ShardSet::all(shards), ShardSet::one))
    }

    /// Returns the text for one shard.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownModel`] for a table without a model, [`ErrorKind::Query`] if the text is not one statement
    /// that sessions run.
    pub(crate) fn text_on(&self, shard: usize, layout: &Layout) -> Result<String> {
        let sql = raw_sql::named(&self.text, |name| {
            let Some(model) = layout.tables().position(|table| table.name == name) else {
                let known: Vec<&str> = layout.tables().map(|table| table.name).collect();
                let message =
                    format!("no registered model has this table; their tables: {}", known.join(", "));
                return Err(Error::new(ErrorKind::UnknownModel, message).in_table(name));
            };
            Ok(layout.sql(model, shard)?.name.as_str())
        })?;
        raw_sql::check(&sql)?;
        Ok(match layout.location(shard)?.dialect {
            Dialect::Sqlite => sql,
            Dialect::Postgres => raw_sql::with_dollars(&sql),
        })
    }

    /// Returns the models' tables that it names in braces.
    pub(crate) fn tables(&self, layout: &Layout) -> Vec<&'static Table> {
        let named = |table: &&'static Table| self.text.contains(&format!("{{{}}}", table.name));
        layout.tables().filter(named).collect()
    }

    /// Returns the values of its parameters.
    ///
    /// # Errors
    /// [`ErrorKind::Value`] if one cannot be stored.
    pub(crate) fn params(&self) -> Result<Vec<Param<'_>>> {
        let param = |(index, bound): (usize, _)| {
            let at = |error: &ValueError| {
                Error::new(ErrorKind::Value, format!("parameter {}: {error}", index + 1))
            };
            match bound {
                &Bound::Value(Ok(ref value)) => Ok(Param::Value(value.borrowed())),
                Bound::List(Ok(values)) => Ok(Param::List(values.iter().map(Value::borrowed).collect())),
                Bound::Value(Err(error)) | Bound::List(Err(error)) => Err(at(error)),
            }
        };
        self.params.iter().enumerate().map(param).collect()
    }
}
