//! One big table: plain SQLite, with SQL of its own.

use std::fmt::Write as _;

use shard_runtime::sqlite::rusqlite::types::{Value, ValueRef};
use shard_runtime::sqlite::rusqlite::{Connection, params_from_iter};

use super::datum::{Column, Datum, Line};
use super::predicate::{Test, Tree};
use super::strategies::{By, Query};

/// The rows of all shards in one table, with the number of the shard of each.
pub struct Oracle {
    connection: Connection,
}

/// SQL under construction, with its parameters.
#[derive(Default)]
struct Sql {
    text: String,
    values: Vec<Value>,
}

impl Oracle {
    pub fn new(rows: &[(usize, Line)]) -> Self {
        let connection = Connection::open_in_memory().expect("a database in memory");
        let columns = Column::ALL.map(Column::name).join(" ANY, ");
        connection
            .execute_batch(&format!(
                "PRAGMA case_sensitive_like = ON; CREATE TABLE big (shard INTEGER, {columns} ANY) STRICT"
            ))
            .expect("one big table");
        let oracle = Oracle { connection };
        rows.iter().for_each(|(shard, line)| oracle.add(*shard, line));
        oracle
    }

    /// Adds a row that is on this shard.
    pub fn add(&self, shard: usize, line: &Line) {
        let mut insert = self.connection.prepare_cached("INSERT INTO big VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
        let values = [Value::Integer(shard as i64)].into_iter().chain(line.0.iter().map(value));
        let added = insert.as_mut().expect("an insert").execute(params_from_iter(values));
        assert_eq!(added.expect("a row"), 1);
    }

    /// The rows of a query and their shards, in its order; ties by shard and id.
    pub fn select(&self, query: &Query, shard: Option<usize>) -> Vec<(usize, Line)> {
        let mut sql = Sql::from("SELECT * FROM big");
        sql.filter(&query.tree, shard);
        sql.text.push_str(" ORDER BY ");
        for By { column, descending, nulls_first } in &query.order {
            let direction = if *descending { "DESC" } else { "ASC" };
            let nulls = if nulls_first.unwrap_or(!descending) { "FIRST" } else { "LAST" };
            write!(sql.text, "{} {direction} NULLS {nulls}, ", column.name()).expect("text");
        }
        sql.text.push_str("shard, id");
        sql.bounds(query);
        self.lines(&sql)
    }

    /// How many rows a query has.
    pub fn count(&self, query: &Query, shard: Option<usize>) -> u64 {
        let mut sql = Sql::from("SELECT count(*) FROM (SELECT * FROM big");
        sql.filter(&query.tree, shard);
        sql.bounds(query);
        sql.text.push(')');
        let mut statement = self.prepared(&sql);
        statement.query_row(params_from_iter(&sql.values), |row| row.get::<_, i64>(0)).expect("a count")
            as u64
    }

    /// The values of a column, each once and in order, and how many rows have it.
    pub fn groups(&self, query: &Query, shard: Option<usize>, column: Column) -> Vec<(Datum, u64)> {
        let name = column.name();
        let mut sql = Sql { text: format!("SELECT {name}, count(*) FROM big"), values: Vec::new() };
        sql.filter(&query.tree, shard);
        write!(sql.text, " GROUP BY {name} ORDER BY {name} ASC NULLS FIRST").expect("text");
        let mut statement = self.prepared(&sql);
        let rows = statement.query_map(params_from_iter(&sql.values), |row| {
            Ok((datum(row.get_ref(0)?), row.get::<_, i64>(1)? as u64))
        });
        rows.and_then(Iterator::collect).unwrap_or_else(|error| panic!("{error} in {}", sql.text))
    }

    /// Sets columns of the rows that a predicate leaves, or removes them; how many there were.
    pub fn write(&self, tree: &Tree, shard: Option<usize>, set: Option<&[(Column, Datum)]>) -> u64 {
        let mut sql = match set {
            None => Sql::from("DELETE FROM big"),
            Some(set) => {
                let mut sql = Sql::from("UPDATE big SET ");
                for (place, (column, datum)) in set.iter().enumerate() {
                    let comma = if place > 0 { ", " } else { "" };
                    write!(sql.text, "{comma}{} = ", column.name()).expect("text");
                    sql.value(datum);
                }
                sql
            }
        };
        sql.filter(tree, shard);
        self.prepared(&sql).execute(params_from_iter(&sql.values)).expect("a write") as u64
    }

    /// All rows by their ids.
    pub fn all(&self) -> Vec<(usize, Line)> {
        self.lines(&Sql::from("SELECT * FROM big ORDER BY id"))
    }

    fn prepared(&self, sql: &Sql) -> shard_runtime::sqlite::rusqlite::Statement<'_> {
        self.connection.prepare(&sql.text).unwrap_or_else(|error| panic!("{error} in {}", sql.text))
    }

    fn lines(&self, sql: &Sql) -> Vec<(usize, Line)> {
        let mut statement = self.prepared(sql);
        let rows = statement.query_map(params_from_iter(&sql.values), |row| {
            let mut values = std::array::from_fn(|_| Datum::Null);
            for (place, value) in values.iter_mut().enumerate() {
                *value = datum(row.get_ref(place + 1)?);
            }
            Ok((datum(row.get_ref(0)?).integer() as usize, Line(values)))
        });
        rows.and_then(Iterator::collect).unwrap_or_else(|error| panic!("{error} in {}", sql.text))
    }
}

fn datum(value: ValueRef<'_>) -> Datum {
    match value {
        ValueRef::Null => Datum::Null,
        ValueRef::Integer(integer) => Datum::Integer(integer),
        ValueRef::Real(real) => Datum::Real(real),
        ValueRef::Text(text) => Datum::text(std::str::from_utf8(text).expect("UTF-8")),
        ValueRef::Blob(_) => unreachable!("no column holds bytes"),
    }
}

fn value(datum: &Datum) -> Value {
    match datum {
        Datum::Null => Value::Null,
        Datum::Integer(integer) => Value::Integer(*integer),
        Datum::Real(real) => Value::Real(*real),
        Datum::Text(text) => Value::Text(text.clone()),
    }
}

impl Sql {
    fn from(text: &str) -> Self {
        Sql { text: text.to_owned(), values: Vec::new() }
    }

    fn value(&mut self, datum: &Datum) {
        self.text.push('?');
        self.values.push(value(datum));
    }

    fn filter(&mut self, tree: &Tree, shard: Option<usize>) {
        self.text.push_str(" WHERE ");
        if let Some(shard) = shard {
            write!(self.text, "shard = {shard} AND ").expect("text");
        }
        self.tree(tree);
    }

    fn bounds(&mut self, query: &Query) {
        let number = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
        let limit = query.limit.map_or(-1, number);
        write!(self.text, " LIMIT {limit} OFFSET {}", number(query.offset)).expect("text");
    }

    fn tree(&mut self, tree: &Tree) {
        self.text.push('(');
        match tree {
            Tree::Leaf(column, test) => self.test(column.name(), test),
            Tree::Keys(keys) if keys.is_empty() => self.text.push('0'),
            Tree::Keys(keys) => {
                self.text.push_str("(key, part) IN (VALUES ");
                for (place, (key, part)) in keys.iter().enumerate() {
                    self.text.push_str(if place > 0 { ", (" } else { "(" });
                    self.value(&Datum::Integer(*key));
                    self.text.push(',');
                    self.value(&Datum::text(part));
                    self.text.push(')');
                }
                self.text.push(')');
            }
            Tree::Not(tree) => {
                self.text.push_str("NOT ");
                self.tree(tree);
            }
            Tree::All(trees) => self.joined(trees, " AND ", "1"),
            Tree::Any(trees) => self.joined(trees, " OR ", "0"),
        }
        self.text.push(')');
    }

    fn joined(&mut self, trees: &[Tree], with: &str, none: &str) {
        if trees.is_empty() {
            self.text.push_str(none);
        }
        for (place, tree) in trees.iter().enumerate() {
            if place > 0 {
                self.text.push_str(with);
            }
            self.tree(tree);
        }
    }

    fn test(&mut self, column: &str, test: &Test) {
        let (operator, datum) = match test {
            Test::Equal(datum) => ("=", datum),
            Test::NotEqual(datum) => ("<>", datum),
            Test::Less(datum) => ("<", datum),
            Test::LessOrEqual(datum) => ("<=", datum),
            Test::Greater(datum) => (">", datum),
            Test::GreaterOrEqual(datum) => (">=", datum),
            Test::Between(low, high) => {
                write!(self.text, "{column} BETWEEN ").expect("text");
                self.value(low);
                self.text.push_str(" AND ");
                return self.value(high);
            }
            Test::In(data) | Test::NotIn(data) => {
                let not = if matches!(test, Test::NotIn(_)) { "NOT " } else { "" };
                write!(self.text, "{column} {not}IN (").expect("text");
                for (place, datum) in data.iter().enumerate() {
                    self.text.push_str(if place > 0 { ", " } else { "" });
                    self.value(datum);
                }
                return self.text.push(')');
            }
            Test::Like(pattern) => {
                write!(self.text, "{column} LIKE ").expect("text");
                self.value(&Datum::text(pattern));
                return self.text.push_str(" ESCAPE '\\'");
            }
            Test::StartsWith(prefix) => {
                let length = prefix.chars().count();
                write!(self.text, "substr({column}, 1, {length}) = ").expect("text");
                return self.value(&Datum::text(prefix));
            }
            Test::EndsWith(suffix) => {
                let length = suffix.chars().count();
                write!(
                    self.text,
                    "(length({column}) >= {length} AND substr({column}, length({column}) - {length} + 1) = "
                )
                .expect("text");
                self.value(&Datum::text(suffix));
                return self.text.push(')');
            }
            Test::Contains(text) => {
                write!(self.text, "instr({column}, ").expect("text");
                self.value(&Datum::text(text));
                return self.text.push_str(") > 0");
            }
            Test::IsNull => {
                return write!(self.text, "{column} IS NULL").expect("text");
            }
            Test::IsNotNull => {
                return write!(self.text, "{column} IS NOT NULL").expect("text");
            }
        };
        write!(self.text, "{column} {operator} ").expect("text");
        self.value(datum);
    }
}
