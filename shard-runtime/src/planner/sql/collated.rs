//! Texts in a declared collation, for the cases in which SQL does not apply the column's own.

use super::{DOCUMENT, Dialect, SqlContext, SqlWriter, quoted};
use crate::collation::Collation;
use crate::schema::ColumnDef;
use crate::value::ColumnType;

/// Returns the name of a collation in the database.
pub(crate) fn collation_name(collation: Collation, dialect: Dialect) -> &'static str {
    match (dialect, collation) {
        (Dialect::Sqlite, Collation::Binary) => "BINARY",
        (Dialect::Sqlite, Collation::NoCase) => "NOCASE",
        // Refused when a cluster is opened: see `Layout::new`.
        (Dialect::Postgres, Collation::Binary | Collation::NoCase) => "C",
    }
}

/// Returns the name of the SQLite aggregate for texts of a collation.
pub(super) fn aggregate(name: &str, collation: Collation) -> String {
    match collation {
        Collation::Binary => format!("sharded_{name}"),
        Collation::NoCase => format!("sharded_{name}_nocase"),
    }
}

/// Returns the value of a column in distinct rows: the least of the equal spellings.
pub(super) fn least_spelling(site: &SqlContext<'_>, column: usize) -> String {
    let name = quoted(site.table.columns.get(column).map_or("", |column| column.name));
    if site.table.columns.get(column).is_some_and(|column| column.kind == ColumnType::Json) {
        return document(site.dialect, &name);
    }
    match (site.dialect, site.table.collation(column)) {
        (_, Collation::Binary) | (Dialect::Postgres, _) => name,
        (Dialect::Sqlite, Collation::NoCase) => format!("min({name} COLLATE BINARY)"),
    }
}

/// Returns the canonical text of a document ([`json`](crate::value::json)), by which both databases compare it. The order of
/// `jsonb` differs, and `1` and `1.0` are equal there.
pub(super) fn document(dialect: Dialect, column: &str) -> String {
    match dialect {
        Dialect::Sqlite => format!("{DOCUMENT}({column})"),
        Dialect::Postgres => format!("({column}::text COLLATE \"C\")"),
    }
}

impl<'s, 'q> SqlWriter<'s, 'q> {
    /// Starts a `SELECT` of these columns, up to the table.
    pub(super) fn start_columns(
        site: &'s SqlContext<'s>,
        from: &str,
        columns: &[usize],
        distinct: bool,
    ) -> Self {
        let plain = |&column: &usize| quoted(site.table.columns.get(column).map_or("", |column| column.name));
        let compared = |&column: &usize| least_spelling(site, column);
        let select = match distinct {
            false => format!("SELECT {}", list(columns, plain)),
            true if has_spellings(site, columns) => format!("SELECT {}", list(columns, compared)),
            true => format!("SELECT DISTINCT {}", list(columns, compared)),
        };
        SqlWriter::start(site, format!("{select} FROM {from}"))
    }

    /// Writes distinct rows as groups if values have several spellings: DISTINCT returns any of them.
    pub(super) fn one_of_each_spelling(&mut self, columns: &[usize]) {
        if has_spellings(self.site, columns) {
            self.group_by(columns);
        }
    }

    /// Writes `GROUP BY`. The columns are written as in an order. So the database recognizes groups that are already in the
    /// requested order, and does not sort.
    pub(super) fn group_by(&mut self, columns: &[usize]) {
        let names = list(columns, |&column| self.compared_column(column));
        self.sql.push_str(&format!(" GROUP BY {names}"));
    }

    /// Returns a column as it is compared: a text with its collation. PostgreSQL uses the collation of the table, because it
    /// would treat the column with a collation as another expression.
    pub(super) fn compared_column(&self, column: usize) -> String {
        let name = self.scope.column(column);
        match self.definition(column) {
            Some(ColumnDef { kind: ColumnType::Text, collation, .. })
                if self.site.dialect == Dialect::Sqlite =>
            {
                format!("{name} COLLATE {}", collation_name(*collation, self.site.dialect))
            }
            Some(ColumnDef { kind: ColumnType::Json, .. }) => document(self.site.dialect, &name),
            _ => name,
        }
    }

    /// Writes a column on the left side of a comparison with a value.
    pub(super) fn left_side(&mut self, column: usize) {
        match self.definition(column) {
            Some(ColumnDef { kind: ColumnType::Json, .. }) => {
                let name = self.compared_column(column);
                self.sql.push_str(&name);
            }
            _ => self.column(column),
        }
    }
}

fn has_spellings(site: &SqlContext<'_>, columns: &[usize]) -> bool {
    columns.iter().any(|&column| site.table.collation(column) != Collation::Binary)
}

fn list(columns: &[usize], name: impl Fn(&usize) -> String) -> String {
    columns.iter().map(name).collect::<Vec<_>>().join(", ")
}
