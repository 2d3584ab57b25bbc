//! The statements on single rows of a table, by their ids. Uses `dialect` and `namespace`.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::{Dialect, Namespace, quoted};
use crate::planner::RowChange;
use crate::schema::{ColumnDef, IdKind, KeyColumns, Table};

/// The constant texts of one model on one shard, which are rendered when the cluster is opened.
#[derive(Debug)]
pub(crate) struct TableSql {
    pub(crate) dialect: Dialect,
    /// The table's name with its schema or prefix, quoted.
    pub(crate) name: String,
    /// The name without the schema, as `FOR UPDATE OF` needs it.
    pub(crate) plain: String,
    /// `SELECT` with every column, up to the table.
    pub(crate) select: String,
    /// Selects the row with an id.
    pub(crate) get: String,
    /// Inserts a row with all its columns; without the id, if the database generates it.
    pub(crate) insert: String,
    /// Inserts many rows, with an array for each column; `None` if single statements are as fast. If the database
    /// generates the ids, it returns them in the order of the rows.
    pub(crate) insert_lists: Option<String>,
    /// Deletes the row with an id.
    pub(crate) delete: String,
    /// The columns' names, quoted.
    columns: Vec<String>,
}

impl TableSql {
    pub(crate) fn new(table: &Table, names: &Namespace, dialect: Dialect) -> Self {
        let name = names.table(table.name);
        let list = |columns: &[&ColumnDef]| {
            columns.iter().map(|column| quoted(column.name)).collect::<Vec<_>>().join(", ")
        };
        let all: Vec<&ColumnDef> = table.columns.iter().collect();
        let mut given = all.clone();
        if table.id_kind == IdKind::Auto && table.id < given.len() {
            given.remove(table.id);
        }
        let id = quoted(table.columns.get(table.id).map_or("id", |column| column.name));
        let counts = table.id_kind == IdKind::Auto && dialect == Dialect::Postgres;
        let answer = if counts { format!(" RETURNING {id}") } else { String::new() };
        let lists = || {
            let lists = given.iter().enumerate().map(|(index, column)| {
                format!("{}::{}[]", dialect.param(index + 1), dialect.column_type(column.kind))
            });
            let lists = lists.collect::<Vec<String>>().join(", ");
            match counts {
                true => counted_lists(&name, table, &list(&given), &lists),
                false => format!("INSERT INTO {name} ({}) SELECT * FROM unnest({lists})", list(&given)),
            }
        };
        let select = format!("SELECT {} FROM {name}", list(&all));
        TableSql {
            get: format!("{select} WHERE {id} = {}", dialect.param(1)),
            insert: match given.is_empty() {
                true => format!("INSERT INTO {name} DEFAULT VALUES{answer}"),
                false => {
                    let params = dialect.params(given.len());
                    format!("INSERT INTO {name} ({}) VALUES ({params}){answer}", list(&given))
                }
            },
            insert_lists: (dialect == Dialect::Postgres && !given.is_empty()).then(lists),
            delete: format!("DELETE FROM {name} WHERE {id} = {}", dialect.param(1)),
            columns: all.iter().map(|column| quoted(column.name)).collect(),
            dialect,
            select,
            plain: quoted(&names.plain(table.name)),
            name,
        }
    }

    /// Selects and locks the row with an id.
    pub(crate) fn get_to_write(&self) -> String {
        format!("{}{}", self.get, self.dialect.for_update())
    }

    /// Selects a row that has a value in a column.
    pub(crate) fn find(&self, column: usize) -> String {
        format!("{} WHERE {} = {} LIMIT 1", self.select, self.column(column), self.dialect.param(1))
    }

    /// Returns the statement of a change of one row; its parameters are those of [`RowChange::bind`].
    pub(crate) fn change(&self, table: &Table, change: &RowChange) -> Cow<'_, str> {
        match change {
            RowChange::Insert => Cow::Borrowed(&self.insert),
            RowChange::Update { columns, version } => Cow::Owned(self.update(table, columns, *version)),
            RowChange::Delete { version: None } => Cow::Borrowed(&self.delete),
            RowChange::Delete { version: Some(version) } => {
                let version = self.column(*version);
                Cow::Owned(format!("{} AND {version} = {}", self.delete, self.dialect.param(2)))
            }
        }
    }

    /// Returns the statement of a change of many rows, with an array for each parameter; `None` if single statements
    /// are as fast.
    pub(crate) fn change_lists(&self, table: &Table, change: &RowChange) -> Option<Cow<'_, str>> {
        if *change == RowChange::Insert {
            return self.insert_lists.as_deref().map(Cow::Borrowed);
        }
        if self.dialect != Dialect::Postgres {
            return None;
        }
        let (columns, version): (&[usize], _) = match change {
            RowChange::Insert => (&[], &None),
            RowChange::Update { columns, version } => (columns, version),
            RowChange::Delete { version } => (&[], version),
        };
        let listed = |index: usize, column: usize| {
            let kind =
                table.columns.get(column).map_or("text", |column| self.dialect.column_type(column.kind));
            format!("{}::{kind}[]", self.dialect.param(index + 1))
        };
        let given = columns.iter().chain([&table.id]).chain(version);
        let lists: Vec<String> = given.enumerate().map(|(index, &column)| listed(index, column)).collect();
        let names: Vec<String> = (0..lists.len()).map(|index| format!("c{index}")).collect();
        let rows = format!("unnest({}) AS sharded_new({})", lists.join(", "), names.join(", "));
        let is = |column: usize, index: usize| {
            format!("{}.{} = sharded_new.c{index}", self.name, self.column(column))
        };
        let mut condition = is(table.id, columns.len());
        if let Some(version) = version {
            condition = format!("{condition} AND {}", is(*version, columns.len() + 1));
        }
        Some(Cow::Owned(match change {
            RowChange::Update { .. } => {
                let set = columns.iter().enumerate();
                let set =
                    set.map(|(index, &column)| format!("{} = sharded_new.c{index}", self.column(column)));
                let set: Vec<String> = set.collect();
                format!("UPDATE {} SET {} FROM {rows} WHERE {condition}", self.name, set.join(", "))
            }
            _ => format!("DELETE FROM {} USING {rows} WHERE {condition}", self.name),
        }))
    }

    fn column(&self, column: usize) -> &str {
        self.columns.get(column).map_or("", String::as_str)
    }

    /// Inserts a row unless its id exists.
    pub(crate) fn insert_new(&self, table: &Table) -> String {
        format!("{} ON CONFLICT ({}) DO NOTHING", self.insert, self.column(table.id))
    }

    /// Inserts a row, or sets its other columns if its id exists with the same key. If the model has a version, that
    /// must be equal, too; the next version is the parameter after the values of the row.
    pub(crate) fn save(&self, table: &Table, version: Option<usize>) -> String {
        let name = |column: usize| quoted(table.columns.get(column).map_or("", |column| column.name));
        let key = match table.key {
            KeyColumns::Columns(key) => key,
            KeyColumns::Parent(_) => &[],
        };
        let stays = |column: usize| column == table.id || key.contains(&column);
        let mut set: Vec<String> = (0..table.columns.len())
            .filter(|&column| !stays(column))
            .map(|column| match version {
                Some(version) if version == column => {
                    format!("{} = {}", name(column), self.dialect.param(table.columns.len() + 1))
                }
                _ => format!("{0} = excluded.{0}", name(column)),
            })
            .collect();
        if set.is_empty() {
            set.push(format!("{0} = excluded.{0}", name(table.id))); // checks that the key is the same
        }
        let same: Vec<String> = key
            .iter()
            .filter(|&&column| column != table.id)
            .chain(&version)
            .map(|&column| format!("{1}.{0} = excluded.{0}", name(column), self.name))
            .collect();
        let condition =
            if same.is_empty() { String::new() } else { format!(" WHERE {}", same.join(" AND ")) };
        let (insert, id, set) = (&self.insert, name(table.id), set.join(", "));
        format!("{insert} ON CONFLICT ({id}) DO UPDATE SET {set}{condition}")
    }

    /// Sets these columns of the row with an id and this version; id and version are the last parameters.
    pub(crate) fn update(&self, table: &Table, columns: &[usize], version: Option<usize>) -> String {
        let name = |column: usize| self.column(column);
        // This runs for every row that is updated, so it builds one text without intermediate ones.
        let mut sql = String::with_capacity(64 + self.name.len() + 32 * columns.len());
        let _ = write!(sql, "UPDATE {} SET ", self.name);
        for (index, &column) in columns.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let _ = write!(sql, "{separator}{} = {}", name(column), self.dialect.param(index + 1));
        }
        let _ = write!(sql, " WHERE {} = {}", name(table.id), self.dialect.param(columns.len() + 1));
        if let Some(version) = version {
            let _ = write!(sql, " AND {} = {}", name(version), self.dialect.param(columns.len() + 2));
        }
        sql
    }
}

/// Inserts rows from arrays, and returns the ids that the database generates, in the order of the rows.
///
/// PostgreSQL guarantees no order for `RETURNING`, nor for the defaults of `INSERT … SELECT`. So each row gets its id beside
/// its index in the arrays before the insert. `counted` is computed once, like every `WITH` query that is volatile or read
/// twice. The rows are inserted with those ids, and the result is ordered by the index.
fn counted_lists(name: &str, table: &Table, columns: &str, lists: &str) -> String {
    let column = table.columns.get(table.id).map_or("id", |column| column.name);
    let (id, literal) = (quoted(column), |text: &str| format!("'{}'", text.replace('\'', "''")));
    // The columns are renamed by their indexes: one could have the name of an added column.
    let names: Vec<String> = (1..table.columns.len()).map(|index| format!("c{index}")).collect();
    let names = names.join(", ");
    format!(
        "WITH counted AS (SELECT nextval((SELECT pg_get_serial_sequence({}, {})::regclass)) AS id, given.* \
         FROM unnest({lists}) WITH ORDINALITY AS given ({names}, position)), \
         inserted AS (INSERT INTO {name} ({id}, {columns}) OVERRIDING SYSTEM VALUE SELECT id, {names} FROM counted) \
         SELECT id FROM counted ORDER BY position",
        literal(name),
        literal(column)
    )
}
