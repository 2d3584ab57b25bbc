//! The statements of changes of the layout: their triggers on the sources.

use super::{Dialect, Namespace, literal, quoted};

/// The operand of LIKE for names of a shard that begin so.
fn pattern(names: &Namespace, beginning: &str) -> String {
    // `_` would stand for any character.
    let escaped = names.plain(beginning).replace('!', "!!").replace('_', "!_").replace('%', "!%");
    format!("{} ESCAPE '!'", literal(&format!("{escaped}%")))
}

/// The schema of a shard on a server, as a literal.
fn schema(names: &Namespace) -> String {
    literal(names.schema.as_deref().unwrap_or("public"))
}

impl Dialect {
    /// Returns the statements that refuse every write to these tables: triggers whose names begin so. The error has this
    /// message, and on a server this code.
    pub(crate) fn fence_sql(
        self,
        names: &Namespace,
        beginning: &str,
        tables: &[&str],
        (message, code): (&str, &str),
    ) -> Vec<String> {
        let message = literal(message);
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
                            "CREATE TRIGGER {name} BEFORE {events} ON {on} FOR EACH {each} EXECUTE FUNCTION {function}(); \
                             ALTER TABLE {on} ENABLE ALWAYS TRIGGER {name}"
                        ));
                    }
                }
            }
        }
        sql
    }

    /// Returns the query for the statements that drop all triggers of a shard whose names begin so, and then their functions.
    pub(crate) fn drop_triggers_sql(self, names: &Namespace, beginning: &str) -> String {
        let pattern = pattern(names, beginning);
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

    /// Returns the query for the names of all triggers of a shard that begin so.
    #[cfg(feature = "admin")]
    pub(crate) fn triggers_sql(self, names: &Namespace, beginning: &str) -> String {
        let pattern = pattern(names, beginning);
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
