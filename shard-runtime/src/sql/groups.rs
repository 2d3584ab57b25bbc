//! Groups in SQL: partial values, and what a shard that has the whole of a group does with it.

use super::collated::{aggregate, collation_name, least_spelling};
use super::{Param, Site, Writer, quoted};
use crate::collation::Collation;
use crate::error::Result;
use crate::query::{Function, GroupOrderCore, HavingCore, MeasureCore};

/// A partial value of a column, as [`Partial`](crate::partial::Partial) reads it.
fn partial(function: Function, column: &str, collation: Collation) -> String {
    match function {
        Function::CountDistinct => format!("{}({column})", aggregate("distinct", collation)),
        Function::Sum => format!("sum({column}), count({column})"),
        Function::Mean => format!("total({column}), count({column})"),
        Function::Variance | Function::Deviation => format!("sharded_moments({column})"),
        Function::Count | Function::CountDistinctHere | Function::Min | Function::Max => {
            whole(function, column, collation)
        }
    }
}

/// A value of a whole group, as it is compared and ordered by.
fn whole(function: Function, column: &str, collation: Collation) -> String {
    match function {
        Function::Count => "count(*)".to_owned(),
        Function::CountDistinct | Function::CountDistinctHere => format!("count(DISTINCT {column})"),
        Function::Sum => format!("sum({column})"),
        // NULL where there is no value: nothing divided by nothing.
        Function::Mean => format!("total({column}) / count({column})"),
        Function::Min if collation == Collation::Binary => format!("min({column})"),
        Function::Max if collation == Collation::Binary => format!("max({column})"),
        // The database's own answer any spelling of the value.
        Function::Min => format!("{}({column})", aggregate("min", collation)),
        Function::Max => format!("{}({column})", aggregate("max", collation)),
        Function::Variance | Function::Deviation => partial(function, column, collation),
    }
}

fn name(site: &Site<'_>, column: usize) -> String {
    quoted(site.table.columns.get(column).map_or("", |column| column.name))
}

impl<'s, 'q> Writer<'s, 'q> {
    /// `SELECT` with the groups' columns and partial values, up to the table.
    pub(super) fn start_groups(site: &'s Site<'s>, keys: &[usize], measures: &[MeasureCore]) -> Self {
        let keys = keys.iter().map(|&key| least_spelling(site, key));
        let measures = measures.iter().map(|&MeasureCore { function, column }| {
            partial(function, &name(site, column), site.table.collation(column))
        });
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
            self.group_by(keys);
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

    /// A value of the whole group; SQL takes the collation of a column, but not of what is made of it.
    fn measure(&mut self, MeasureCore { function, column }: MeasureCore) {
        let collation = self.site.table.collation(column);
        self.sql.push_str(&whole(function, &name(self.site, column), collation));
        if collation != Collation::Binary && matches!(function, Function::Min | Function::Max) {
            self.sql.push_str(" COLLATE ");
            self.sql.push_str(collation_name(collation, self.site.dialect));
        }
    }
}
