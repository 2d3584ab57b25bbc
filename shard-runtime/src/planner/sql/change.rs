//! The statements of changes of the layout: triggers on the sources, indexes and constraints of the targets, counters of ids.

use super::{Dialect, Namespace, literal, quoted};
use crate::schema::{KeyColumns, Table};
use crate::value::ColumnType;

/// Returns the operand of LIKE for names of a shard with this beginning.
fn pattern(dialect: Dialect, names: &Namespace, beginning: &str) -> String {
    // `_` would stand for any character.
    let escaped = names.plain(beginning).replace('!', "!!").replace('_', "!_").replace('%', "!%");
    format!("{} ESCAPE '!'", dialect.literal(&format!("{escaped}%")))
}

/// Returns the schema of a shard on a server, as a literal.
fn schema(names: &Namespace) -> String {
    literal(names.schema.as_deref().unwrap_or("public"))
}

impl Dialect {
    /// Returns the statements that refuse every write to these tables, by triggers whose names have this beginning. The error
    /// has this message, and on a server this code.
    pub(crate) fn fence_sql(
        self,
        names: &Namespace,
        beginning: &str,
        tables: &[&str],
        (message, code): (&str, &str),
    ) -> Vec<String> {
        let message = self.literal(message);
        let mut sql = Vec::new();
        match self {
            Dialect::Sqlite => {
                for (at, table) in tables.iter().enumerate() {
                    let on = names.table(table);
                    for event in ["INSERT", "UPDATE", "DELETE"] {
                        let name = quoted(&names.plain(&format!("{beginning}{at}_{}", event.to_lowercase())));
                        sql.push(format!(
                            "CREATE TRIGGER {name} BEFORE {event} ON {on} BEGIN SELECT RAISE(ABORT, {message}); END"
                        ));
                    }
                }
            }
            Dialect::Postgres => {
                let function = names.table(&format!("{beginning}function"));
                sql.push(format!(
                    "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $fence$ BEGIN RAISE EXCEPTION \
                     USING ERRCODE = '{code}', MESSAGE = {message}; END $fence$"
                ));
                for (at, table) in tables.iter().enumerate() {
                    let on = names.table(table);
                    let triggers =
                        [("rows", "INSERT OR UPDATE OR DELETE", "ROW"), ("all", "TRUNCATE", "STATEMENT")];
                    for (name, events, each) in triggers {
                        let name = quoted(&format!("{beginning}{at}_{name}"));
                        sql.push(format!(
                            "CREATE OR REPLACE TRIGGER {name} BEFORE {events} ON {on} FOR EACH {each} EXECUTE FUNCTION {function}(); \
                             ALTER TABLE {on} ENABLE ALWAYS TRIGGER {name}"
                        ));
                    }
                }
            }
        }
        sql
    }

    /// Returns the statements that refuse every write to these tables, unless the query `unless` finds a row in the same
    /// transaction. They make triggers whose names have this beginning. The error has this message, and on a server this
    /// code.
    pub(crate) fn guard_sql(
        self,
        names: &Namespace,
        beginning: &str,
        tables: &[&str],
        unless: &str,
        (message, code): (&str, &str),
    ) -> Vec<String> {
        let message = self.literal(message);
        let function = names.table(&format!("{beginning}function"));
        let mut sql = Vec::new();
        if self == Dialect::Postgres {
            sql.push(format!(
                "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $guard$ BEGIN \
                 IF NOT EXISTS ({unless}) THEN RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = {message}; END IF; \
                 RETURN NULL; END $guard$"
            ));
        }
        for (at, table) in tables.iter().enumerate() {
            let on = names.table(table);
            match self {
                Dialect::Sqlite => sql.extend(["INSERT", "UPDATE", "DELETE"].map(|event| {
                    let name = quoted(&names.plain(&format!("{beginning}{at}_{}", event.to_lowercase())));
                    format!(
                        "CREATE TRIGGER IF NOT EXISTS {name} BEFORE {event} ON {on} BEGIN SELECT RAISE(ABORT, {message}) \
                         WHERE NOT EXISTS ({unless}); END"
                    )
                })),
                Dialect::Postgres => {
                    let name = quoted(&format!("{beginning}{at}"));
                    sql.push(format!(
                        "CREATE OR REPLACE TRIGGER {name} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {on} FOR EACH STATEMENT \
                         EXECUTE FUNCTION {function}(); ALTER TABLE {on} ENABLE ALWAYS TRIGGER {name}"
                    ));
                }
            }
        }
        sql
    }

    /// Returns the query for the statements that drop all triggers of a shard whose names have this beginning, and then their
    /// functions.
    pub(crate) fn drop_triggers_sql(self, names: &Namespace, beginning: &str) -> String {
        let pattern = pattern(self, names, beginning);
        match self {
            Dialect::Sqlite => format!(
                "SELECT 'DROP TRIGGER \"' || replace(name, '\"', '\"\"') || '\"' FROM sqlite_schema WHERE type = 'trigger' \
                 AND name LIKE {pattern}"
            ),
            Dialect::Postgres => {
                let schema = schema(names);
                format!(
                    "SELECT sql FROM (SELECT 1 AS turn, format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname) AS sql \
                     FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                     WHERE n.nspname = {schema} AND t.tgname LIKE {pattern} \
                     UNION ALL SELECT 2, format('DROP FUNCTION %I.%I()', n.nspname, p.proname) FROM pg_proc p \
                     JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = {schema} AND p.proname LIKE {pattern}) AS drops \
                     ORDER BY turn"
                )
            }
        }
    }

    /// Returns the query for the statements that disable the triggers whose names have this beginning. A file drops them. A
    /// server keeps them disabled, because dropping a trigger waits for readers.
    pub(crate) fn unfence_sql(self, names: &Namespace, beginning: &str) -> String {
        match self {
            Dialect::Sqlite => self.drop_triggers_sql(names, beginning),
            Dialect::Postgres => format!(
                "SELECT format('ALTER TABLE %I.%I DISABLE TRIGGER %I', n.nspname, c.relname, t.tgname) FROM pg_trigger t \
                 JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = {} AND t.tgname LIKE {}",
                schema(names),
                pattern(self, names, beginning)
            ),
        }
    }

    /// Returns the query for the names of all triggers of a shard that have this beginning.
    pub(crate) fn triggers_sql(self, names: &Namespace, beginning: &str) -> String {
        let pattern = pattern(self, names, beginning);
        match self {
            Dialect::Sqlite => format!(
                "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE {pattern} ORDER BY name"
            ),
            Dialect::Postgres => format!(
                "SELECT t.tgname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND t.tgname LIKE {pattern} ORDER BY 1",
                schema(names)
            ),
        }
    }
}

/// A table of a source whose changed rows are recorded.
pub(crate) struct Captured<'c> {
    pub(crate) names: &'c Namespace,
    /// The beginning of the names of the triggers and functions.
    pub(crate) beginning: String,
    pub(crate) table: &'static Table,
    /// The quoted name of the table of dirty rows, and its column for the ids.
    pub(crate) dirty: String,
    pub(crate) column: &'static str,
    /// The columns of each unique index of a SQLite table.
    pub(crate) unique: Vec<Vec<String>>,
}

impl Captured<'_> {
    fn id(&self) -> String {
        quoted(self.table.columns.get(self.table.id).map_or("id", |column| column.name))
    }

    /// Returns the columns of a row that decide its shard: the id, and those of the key, or the link to the parent.
    fn route_columns(&self) -> Vec<String> {
        let table = self.table;
        let key: &[usize] = match table.key {
            KeyColumns::Columns(columns) => columns,
            KeyColumns::Parent(_) => &[],
        };
        let parent = table.parent.map(|parent| parent.column);
        let mut columns: Vec<usize> = key.iter().copied().chain(parent).chain([table.id]).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
            .into_iter()
            .filter_map(|column| table.columns.get(column))
            .map(|column| quoted(column.name))
            .collect()
    }

    fn on_sqlite(&self) -> Vec<String> {
        let (on, id) = (self.names.table(self.table.name), self.id());
        let Captured { dirty, column, .. } = self;
        let note = |what: &str, moved: u8| {
            let table = Dialect::Sqlite.literal(self.table.name);
            format!("INSERT INTO {dirty} (tbl, moved, {column}) SELECT {table}, {moved}, {what};")
        };
        let trigger = |name: &str, event: &str, on_which: &str, body: &str| {
            let name = quoted(&self.names.plain(&format!("{}{name}", self.beginning)));
            format!("CREATE TRIGGER {name} {event} ON {on}{on_which} BEGIN {body} END")
        };
        // A row that `OR REPLACE` removes because of a unique value fires no trigger.
        let replaced = self.unique.iter().map(|columns| {
            let same: Vec<String> =
                columns.iter().map(|column| format!("{0} = NEW.{0}", quoted(column))).collect();
            note(&format!("{id} FROM {on} WHERE {}", same.join(" AND ")), 1)
        });
        let replaced: String = replaced.collect::<Vec<String>>().join(" ");
        let (old, new) = (format!("OLD.{id}"), format!("NEW.{id}"));
        let routes = self.route_columns();
        let differ: Vec<String> = routes.iter().map(|name| format!("OLD.{name} IS NOT NEW.{name}")).collect();
        let mut triggers = vec![
            trigger("insert", "AFTER INSERT", "", &note(&new, 1)),
            trigger("update", "AFTER UPDATE", "", &note(&new, 0)),
            trigger(
                "move",
                &format!("AFTER UPDATE OF {}", routes.join(", ")),
                &format!(" WHEN {}", differ.join(" OR ")),
                &format!("{} {}", note(&old, 1), note(&new, 1)),
            ),
            trigger("delete", "AFTER DELETE", "", &note(&old, 1)),
        ];
        if !replaced.is_empty() {
            triggers.push(trigger("replace", "BEFORE INSERT", "", &replaced));
            triggers.push(trigger("replace_by_update", "BEFORE UPDATE", "", &replaced));
        }
        triggers
    }

    fn on_postgres(&self) -> Vec<String> {
        let (names, id) = (self.names, self.id());
        let Captured { dirty, column, beginning, .. } = self;
        let on = names.table(self.table.name);
        let mut sql = Vec::new();
        let routes = self.route_columns().into_iter().filter(|name| *name != id);
        let differ: Vec<String> =
            routes.map(|name| format!("(o.r).{name} IS DISTINCT FROM (n.r).{name}")).collect();
        let ids_differ = "o.id IS DISTINCT FROM n.id".to_owned();
        let has_moved = std::iter::once(ids_differ).chain(differ).collect::<Vec<String>>().join(" OR ");
        let events = [
            (
                "insert",
                "AFTER INSERT",
                "REFERENCING NEW TABLE AS new_rows",
                format!("SELECT {id}, 1 FROM new_rows"),
            ),
            (
                "update",
                "AFTER UPDATE",
                "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
                format!(
                    "SELECT coalesce(o.id, n.id), CASE WHEN {has_moved} THEN 1 ELSE 0 END \
                     FROM (SELECT {id} AS id, old_rows AS r FROM old_rows) AS o \
                     FULL JOIN (SELECT {id} AS id, new_rows AS r FROM new_rows) AS n ON n.id = o.id"
                ),
            ),
            (
                "delete",
                "AFTER DELETE",
                "REFERENCING OLD TABLE AS old_rows",
                format!("SELECT {id}, 1 FROM old_rows"),
            ),
            // All rows, also those that the transaction does not see.
            ("truncate", "BEFORE TRUNCATE", "", "SELECT NULL, 1".to_owned()),
        ];
        for (name, event, rows, ids) in events {
            let function = names.table(&format!("{beginning}{name}"));
            let trigger = quoted(&format!("{beginning}{name}"));
            let (columns, values) = match name {
                "truncate" => ("tbl, moved".to_owned(), "changed.moved"),
                _ => (format!("tbl, moved, {column}"), "changed.moved, changed.id"),
            };
            // Roles that write the table need no right on the table of dirty rows.
            sql.push(format!(
                "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
                 SET search_path = pg_catalog, pg_temp AS $capture$ BEGIN \
                 INSERT INTO {dirty} ({columns}) SELECT {}, {values} FROM ({ids}) AS changed (id, moved); RETURN NULL; END $capture$",
                literal(self.table.name)
            ));
            sql.push(format!(
                "CREATE TRIGGER {trigger} {event} ON {on} {rows} FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
            ));
            sql.push(format!("ALTER TABLE {on} ENABLE ALWAYS TRIGGER {trigger}"));
        }
        sql
    }
}

/// The statements that record changed rows.
impl Dialect {
    /// Returns the statement that creates the table of dirty rows, if it does not exist.
    pub(crate) fn dirty_table_sql(self, dirty: &str) -> String {
        let bytes = self.column_type(ColumnType::Bytes);
        match self {
            Dialect::Sqlite => format!(
                "CREATE TABLE IF NOT EXISTS {dirty} (entry INTEGER PRIMARY KEY, tbl TEXT NOT NULL, moved INTEGER NOT NULL, i INTEGER, \
                 t TEXT, b {bytes}, u {bytes}) STRICT"
            ),
            Dialect::Postgres => format!(
                "CREATE TABLE IF NOT EXISTS {dirty} (entry bigint GENERATED ALWAYS AS IDENTITY, tbl text NOT NULL, moved bigint NOT NULL, \
                 i bigint, t text, b {bytes}, u uuid)"
            ),
        }
    }

    /// Returns the statements that create the triggers of a table.
    pub(crate) fn capture_sql(self, captured: &Captured<'_>) -> Vec<String> {
        match self {
            Dialect::Sqlite => captured.on_sqlite(),
            Dialect::Postgres => captured.on_postgres(),
        }
    }

    /// Returns the query for the unique indexes of a table and their columns, without the primary key; `None` if triggers do
    /// not need them. On SQLite a row that `OR REPLACE` removes fires no trigger.
    pub(crate) fn unique_indexes_sql(self, names: &Namespace, table: &str) -> Option<String> {
        let plain = self.literal(&names.plain(table));
        (self == Dialect::Sqlite).then(|| {
            format!(
                "SELECT l.name, i.name FROM pragma_index_list({plain}) AS l JOIN pragma_index_info(l.name) AS i \
                 WHERE l.\"unique\" = 1 AND l.origin <> 'pk' ORDER BY l.name, i.seqno"
            )
        })
    }

    /// Returns the query that describes the objects that depend on a table and are not the runtime's.
    pub(crate) fn dependents_sql(self, names: &Namespace, table: &str) -> String {
        let plain = self.literal(&names.plain(table));
        match self {
            Dialect::Sqlite => format!(
                "SELECT 'the trigger `' || name || '`' FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = {plain} \
                 AND name NOT LIKE {} \
                 UNION ALL SELECT 'the view `' || name || '`' FROM sqlite_schema WHERE type = 'view' \
                 AND instr(lower(sql), lower({plain})) > 0 \
                 UNION ALL SELECT 'the unique index `' || l.name || '` of an expression' FROM pragma_index_list({plain}) AS l \
                 JOIN pragma_index_info(l.name) AS i WHERE l.\"unique\" = 1 AND i.name IS NULL",
                self.literal(&format!("{}%", names.plain("sharded_")))
            ),
            Dialect::Postgres => {
                let schema = schema(names);
                let of = format!(
                    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = {schema} AND c.relname = {plain}"
                );
                format!(
                    "SELECT 'its partitions, or its being one' {of} WHERE c.relkind = 'p' OR c.relispartition \
                     UNION ALL SELECT 'its inheritance' {of} JOIN pg_inherits i ON c.oid IN (i.inhrelid, i.inhparent) \
                     UNION ALL SELECT 'the trigger `' || t.tgname || '`' {of} JOIN pg_trigger t ON t.tgrelid = c.oid \
                     WHERE NOT t.tgisinternal AND t.tgname NOT LIKE 'sharded\\_%' \
                     UNION ALL SELECT 'the rule or view `' || r.ev_class::regclass || '`' {of} JOIN pg_depend d ON d.refobjid = c.oid \
                     AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_rewrite'::regclass \
                     JOIN pg_rewrite r ON r.oid = d.objid"
                )
            }
        }
    }
}

/// The statements on targets.
impl Dialect {
    /// Returns the statements that delete all rows of tables. The tables are given parents first.
    pub(crate) fn empty_sql(self, names: &Namespace, tables: &[&str]) -> Vec<String> {
        match self {
            Dialect::Sqlite => {
                tables.iter().rev().map(|table| format!("DELETE FROM {}", names.table(table))).collect()
            }
            Dialect::Postgres => {
                let all: Vec<String> = tables.iter().map(|table| names.table(table)).collect();
                vec![format!("TRUNCATE {}", all.join(", "))]
            }
        }
    }

    /// Returns the setting that makes definitions name tables with their schema.
    pub(crate) fn qualify_sql(self) -> Option<&'static str> {
        match self {
            Dialect::Sqlite => None,
            Dialect::Postgres => Some("SET LOCAL search_path = pg_catalog"),
        }
    }

    /// Returns the query for the statements that check the rows of constraints which were created without a check.
    pub(crate) fn validate_sql(self, names: &Namespace) -> Option<String> {
        let schema = schema(names);
        (self == Dialect::Postgres).then(|| {
            format!(
                "SELECT format('ALTER TABLE %I.%I VALIDATE CONSTRAINT %I', n.nspname, c.relname, k.conname) FROM pg_constraint k \
                 JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = {schema} AND NOT k.convalidated"
            )
        })
    }

    /// Returns the query for the constraints of a table, foreign keys first. Each has the statement that creates it and the
    /// one that drops it. Foreign keys are created without a check of the rows.
    pub(crate) fn constraints_sql(self, names: &Namespace, table: &str) -> Option<String> {
        let of_table = of_table(names, table);
        (self == Dialect::Postgres).then(|| {
            format!(
                "SELECT format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s%s', n.nspname, c.relname, k.conname, \
                 pg_get_constraintdef(k.oid), CASE WHEN k.contype = 'f' AND k.convalidated THEN ' NOT VALID' ELSE '' END), \
                 format('ALTER TABLE %I.%I DROP CONSTRAINT %I', n.nspname, c.relname, k.conname) FROM pg_constraint k \
                 JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE {of_table} AND k.contype IN ('f', 'u', 'x') ORDER BY k.contype, k.conname"
            )
        })
    }

    /// Returns the query for the indexes of a table that have a condition or an expression. Each has its name, its definition, and
    /// `1` if it is unique. On servers the definition is the text after the table's name, in SQLite the whole statement.
    pub(crate) fn special_indexes_sql(self, names: &Namespace, table: &str) -> String {
        match self {
            Dialect::Sqlite => format!(
                "SELECT l.name, s.sql, CAST(l.\"unique\" AS TEXT) FROM pragma_index_list({}) AS l \
                 JOIN sqlite_schema AS s ON s.type = 'index' AND s.name = l.name \
                 WHERE l.partial OR EXISTS (SELECT 1 FROM pragma_index_info(l.name) AS i WHERE i.name IS NULL) ORDER BY l.name",
                self.literal(&names.plain(table))
            ),
            Dialect::Postgres => format!(
                "SELECT x.relname::text, substr(pg_get_indexdef(i.indexrelid), 1 + length(format('CREATE %sINDEX %I ON %I.%I', \
                 CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, x.relname, n.nspname, c.relname))), \
                 i.indisunique::int::text FROM pg_index i \
                 JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid \
                 JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE {} AND i.indisvalid AND (i.indpred IS NOT NULL OR i.indexprs IS NOT NULL) \
                 AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid) ORDER BY x.relname",
                of_table(names, table)
            ),
        }
    }

    /// Returns the query for the CHECK constraints of a table; not for those that old rows may violate (NOT VALID). On servers each row has a name and a definition. In SQLite there is
    /// one row, with the name and the statement of the table.
    pub(crate) fn checks_sql(self, names: &Namespace, table: &str) -> String {
        match self {
            Dialect::Sqlite => format!(
                "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name = {}",
                self.literal(&names.plain(table))
            ),
            Dialect::Postgres => format!(
                "SELECT k.conname::text, pg_get_constraintdef(k.oid) FROM pg_constraint k \
                 JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE {} AND k.contype = 'c' AND k.convalidated ORDER BY k.conname",
                of_table(names, table)
            ),
        }
    }

    /// Returns the query for the secondary indexes of a table, each as in [`constraints_sql`](Dialect::constraints_sql).
    pub(crate) fn indexes_sql(self, names: &Namespace, table: &str) -> String {
        match self {
            Dialect::Sqlite => {
                let plain = self.literal(&names.plain(table));
                format!(
                    "SELECT sql, 'DROP INDEX \"' || replace(name, '\"', '\"\"') || '\"' FROM sqlite_schema \
                     WHERE type = 'index' AND tbl_name = {plain} AND sql IS NOT NULL ORDER BY name"
                )
            }
            Dialect::Postgres => format!(
                "SELECT pg_get_indexdef(i.indexrelid), format('DROP INDEX %I.%I', n.nspname, x.relname) FROM pg_index i \
                 JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {} AND NOT i.indisprimary \
                 AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid \
                 AND k.contype IN ('u', 'x')) ORDER BY x.relname",
                of_table(names, table)
            ),
        }
    }
}

fn of_table(names: &Namespace, table: &str) -> String {
    format!("n.nspname = {} AND c.relname = {}", schema(names), literal(&names.plain(table)))
}

fn sequence(names: &Namespace, table: &str, id: &str) -> String {
    format!("pg_get_serial_sequence({}, {})", literal(&names.table(table)), literal(id))
}

/// The statements of the switch.
impl Dialect {
    /// Returns the query for the processes that hold locks on the tables of a shard.
    pub(crate) fn lock_holders_sql(self, names: &Namespace) -> Option<String> {
        let schema = schema(names);
        (self == Dialect::Postgres).then(|| {
            format!(
                "SELECT DISTINCT coalesce(l.pid::text, 'a prepared transaction') FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {schema} AND l.granted \
                 AND l.pid IS DISTINCT FROM pg_backend_pid() ORDER BY 1"
            )
        })
    }

    /// Returns the query for the name of the relation that counts the ids of a table.
    pub(crate) fn counter_sql(self, names: &Namespace, table: &str, id: &str) -> String {
        match self {
            Dialect::Sqlite => "SELECT 'sqlite_sequence'".to_owned(),
            Dialect::Postgres => format!("SELECT {}", sequence(names, table, id)),
        }
    }

    /// Returns the query for the last id that this relation has counted for a table.
    pub(crate) fn last_id_sql(self, names: &Namespace, table: &str, counter: &str) -> String {
        match self {
            Dialect::Sqlite => {
                let name = self.literal(&names.plain(table));
                format!("SELECT CAST(seq AS TEXT) FROM {counter} WHERE name = {name}")
            }
            Dialect::Postgres => {
                format!(
                    "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END::text FROM {counter}"
                )
            }
        }
    }

    /// Returns the statements after which a table counts its ids above this one.
    pub(crate) fn count_above_sql(self, names: &Namespace, table: &str, id: &str, last: i64) -> String {
        match self {
            Dialect::Sqlite => {
                let name = self.literal(&names.plain(table));
                format!(
                    "INSERT INTO sqlite_sequence (name, seq) SELECT {name}, 0 \
                     WHERE NOT EXISTS (SELECT * FROM sqlite_sequence WHERE name = {name}); \
                     UPDATE sqlite_sequence SET seq = max(seq, {last}) WHERE name = {name}"
                )
            }
            Dialect::Postgres => {
                let sequence = sequence(names, table, id);
                let highest =
                    format!("(SELECT coalesce(max({}), 0) FROM {})", quoted(id), names.table(table));
                format!(
                    "SELECT setval({sequence}, greatest({last}, {highest}, 1), {last} > 0 OR {highest} > 0)"
                )
            }
        }
    }
}
