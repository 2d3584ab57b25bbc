//! Groups: partial values, and the aggregates of a shard that has whole groups.

use super::collated::{aggregate, collation_name, document, least_spelling};
use super::{Dialect, Param, SqlContext, SqlWriter, quoted};
use crate::collation::Collation;
use crate::error::Result;
use crate::query::{Function, GroupOrderCore, HavingCore, MeasureCore};
use crate::value::ColumnType;

/// A measured column.
struct MeasuredColumn {
    name: String,
    kind: ColumnType,
    collation: Collation,
    dialect: Dialect,
}

impl MeasuredColumn {
    fn of(site: &SqlContext<'_>, column: usize) -> Self {
        let kind = site.table.columns.get(column).map_or(ColumnType::Integer, |column| column.kind);
        let (collation, dialect) = (site.table.collation(column), site.dialect);
        let name = match kind {
            ColumnType::Json => document(dialect, &name(site, column)),
            _ => name(site, column),
        };
        MeasuredColumn { name, kind, collation, dialect }
    }

    /// Returns a partial value, as [`Accumulator`](crate::accumulator::Accumulator) reads it.
    fn partial(&self, function: Function) -> String {
        let column = &self.name;
        match (self.dialect, function) {
            (Dialect::Sqlite, Function::CountDistinct) => {
                format!("{}({column})", aggregate("distinct", self.collation))
            }
            (Dialect::Sqlite, Function::Mean) => format!("total({column}), count({column})"),
            (Dialect::Sqlite, Function::Variance | Function::Deviation) => {
                format!("sharded_moments({column})")
            }
            (Dialect::Postgres, Function::CountDistinct) => {
                let bytes = self.as_bytes();
                format!("string_agg(DISTINCT int8send(octet_length({bytes})::bigint) || {bytes}, ''::bytea)")
            }
            (Dialect::Postgres, Function::Mean) => {
                format!("coalesce(sum({column}::double precision), 0), count({column})")
            }
            (Dialect::Postgres, Function::Variance | Function::Deviation) => format!(
                "CASE WHEN count({column}) > 0 THEN int8send(count({column})) || \
                 float8send(avg({column}::double precision)) || \
                 float8send(var_pop({column}::double precision) * count({column})) END"
            ),
            (_, Function::Sum) => format!("{}, count({column})", self.whole(Function::Sum)),
            (_, Function::Count | Function::CountDistinctHere | Function::Min | Function::Max) => {
                self.whole(function)
            }
        }
    }

    /// Returns the value of a whole group, as it is compared and ordered by.
    fn whole(&self, function: Function) -> String {
        let column = &self.name;
        match (self.dialect, function) {
            (_, Function::Count) => "count(*)".to_owned(),
            (_, Function::CountDistinct | Function::CountDistinctHere) => format!("count(DISTINCT {column})"),
            // PostgreSQL returns sums of integers as `numeric`.
            (Dialect::Postgres, Function::Sum) if self.kind == ColumnType::Integer => {
                format!("sum({column})::bigint")
            }
            (_, Function::Sum) => format!("sum({column})"),
            // NULL if there is no value: NULL divided by 0.
            (Dialect::Sqlite, Function::Mean) => format!("total({column}) / count({column})"),
            (Dialect::Postgres, Function::Mean) => format!("avg({column}::double precision)"),
            (Dialect::Postgres, Function::Min) => self.extreme("min", "ASC"),
            (Dialect::Postgres, Function::Max) => self.extreme("max", "DESC"),
            (_, Function::Min) if self.collation == Collation::Binary => format!("min({column})"),
            (_, Function::Max) if self.collation == Collation::Binary => format!("max({column})"),
            // `min` and `max` return any spelling of the value.
            (_, Function::Min) => format!("{}({column})", aggregate("min", self.collation)),
            (_, Function::Max) => format!("{}({column})", aggregate("max", self.collation)),
            (_, Function::Variance | Function::Deviation) => self.partial(function),
        }
    }

    /// Returns the least or the greatest value. PostgreSQL has no such aggregate for some types that it orders.
    fn extreme(&self, aggregate: &str, direction: &str) -> String {
        let column = &self.name;
        match self.kind {
            ColumnType::Boolean | ColumnType::Bytes | ColumnType::Uuid => format!(
                "(array_agg({column} ORDER BY {column} {direction}) FILTER (WHERE {column} IS NOT NULL))[1]"
            ),
            ColumnType::Integer
            | ColumnType::Real
            | ColumnType::Text
            | ColumnType::Timestamp
            | ColumnType::Json => {
                format!("{aggregate}({column})")
            }
        }
    }

    /// Returns a value as bytes, which are equal for equal values on every database.
    fn as_bytes(&self) -> String {
        let column = &self.name;
        match self.kind {
            ColumnType::Integer => format!("int8send({column})"),
            ColumnType::Boolean => format!("int8send({column}::integer::bigint)"),
            ColumnType::Real => format!("float8send({column} + 0.0)"), // -0.0 is 0.0
            ColumnType::Timestamp => format!("int8send((extract(epoch FROM {column}) * 1000000)::bigint)"),
            ColumnType::Text | ColumnType::Json => format!("convert_to({column}, 'UTF8')"),
            ColumnType::Bytes => column.clone(),
            ColumnType::Uuid => format!("uuid_send({column})"),
        }
    }
}

fn name(site: &SqlContext<'_>, column: usize) -> String {
    quoted(site.table.columns.get(column).map_or("", |column| column.name))
}

impl<'s, 'q> SqlWriter<'s, 'q> {
    /// Starts a `SELECT` of the columns of the groups and the partial values, up to the table.
    pub(super) fn start_groups(
        site: &'s SqlContext<'s>,
        from: &str,
        keys: &[usize],
        measures: &[MeasureCore],
    ) -> Self {
        let keys = keys.iter().map(|&key| least_spelling(site, key));
        let measures = measures
            .iter()
            .map(|&MeasureCore { function, column }| MeasuredColumn::of(site, column).partial(function));
        let all: Vec<String> = keys.chain(measures).collect();
        SqlWriter::start(site, format!("SELECT {} FROM {from}", all.join(", ")))
    }

    pub(super) fn groups(
        &mut self,
        keys: &[usize],
        having: &[HavingCore],
        order: &[GroupOrderCore],
    ) -> Result<()> {
        if !keys.is_empty() {
            self.group_by(keys);
        }
        for (index, HavingCore { measure, operator, value }) in having.iter().enumerate() {
            let error = |error| self.site.table.error_at(measure.column, error);
            let value = value.clone().map_err(error)?;
            self.sql.push_str(if index == 0 { " HAVING " } else { " AND " });
            self.measure(*measure);
            self.sql.push_str(&format!(" {} ", operator.sql()));
            self.param(Param::Value(value));
        }
        for (index, by) in order.iter().enumerate() {
            self.sql.push_str(if index == 0 { " ORDER BY " } else { ", " });
            match by {
                GroupOrderCore::Key(by) => self.ordered_by(by),
                GroupOrderCore::Measure { measure, descending } => {
                    self.measure(*measure);
                    self.direction(*descending, !*descending);
                }
            }
        }
        Ok(())
    }

    /// Writes a value of the whole group with its collation. SQL applies the collation to a column, but not to an aggregate
    /// of it.
    fn measure(&mut self, MeasureCore { function, column }: MeasureCore) {
        let collation = self.site.table.collation(column);
        self.sql.push_str(&MeasuredColumn::of(self.site, column).whole(function));
        if collation != Collation::Binary && matches!(function, Function::Min | Function::Max) {
            self.sql.push_str(" COLLATE ");
            self.sql.push_str(collation_name(collation, self.site.dialect));
        }
    }
}
