//! Groups in SQL: partial values, and what a shard that has the whole of a group does with it.

use super::{Param, Site, Writer, quoted};
use crate::error::Result;
use crate::query::{Function, GroupOrderCore, HavingCore, MeasureCore};

/// A partial value of a column, as [`Partial`](crate::partial::Partial) reads it.
fn partial(function: Function, column: &str) -> String {
    match function {
        Function::CountDistinct => format!("sharded_distinct({column})"),
        Function::Sum => format!("sum({column}), count({column})"),
        Function::Mean => format!("total({column}), count({column})"),
        Function::Variance | Function::Deviation => format!("sharded_moments({column})"),
        Function::Count | Function::CountDistinctHere | Function::Min | Function::Max => {
            whole(function, column)
        }
    }
}

/// A value of a whole group, as it is compared and ordered by.
fn whole(function: Function, column: &str) -> String {
    match function {
        Function::Count => "count(*)".to_owned(),
        Function::CountDistinct | Function::CountDistinctHere => format!("count(DISTINCT {column})"),
        Function::Sum => format!("sum({column})"),
        // NULL where there is no value: nothing divided by nothing.
        Function::Mean => format!("total({column}) / count({column})"),
        Function::Min => format!("min({column})"),
        Function::Max => format!("max({column})"),
        Function::Variance | Function::Deviation => partial(function, column),
    }
}

fn name(site: &Site<'_>, column: usize) -> String {
    quoted(site.table.columns.get(column).map_or("", |column| column.name))
}

impl<'s, 'q> Writer<'s, 'q> {
    /// `SELECT` with the groups' columns and partial values, up to the table.
    pub(super) fn start_groups(site: &'s Site<'s>, keys: &[usize], measures: &[MeasureCore]) -> Self {
        let keys = keys.iter().map(|&key| name(site, key));
        let measures = measures.iter().map(|measure| partial(measure.function, &name(site, measure.column)));
        let all: Vec<String> = keys.chain(measures).collect();
        Writer::start(site, format!("SELECT {} FROM {}", all.join(", "), site.sql.name))
    }

    pub(super) fn groups(
        &mut self,
        keys: &[usize],
        having: &[HavingCore],
        order: &[GroupOrderCore],
    ) -> Result<()> {
        if !keys.is_empty() {
            let keys: Vec<String> = keys.iter().map(|&key| name(self.site, key)).collect();
            self.sql.push_str(&format!(" GROUP BY {}", keys.join(", ")));
        }
        for (place, HavingCore { measure, operator, value }) in having.iter().enumerate() {
            let error = |error| self.site.table.error_at(measure.column, error);
            let value = value.clone().map_err(error)?;
            self.sql.push_str(if place == 0 { " HAVING " } else { " AND " });
            self.measure(*measure);
            self.sql.push_str(&format!(" {} ", operator.sql()));
            self.param(Param::Value(value));
        }
        for (place, by) in order.iter().enumerate() {
            self.sql.push_str(if place == 0 { " ORDER BY " } else { ", " });
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

    fn measure(&mut self, measure: MeasureCore) {
        self.sql.push_str(&whole(measure.function, &name(self.site, measure.column)));
    }
}
