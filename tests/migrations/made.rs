//! A cluster of the first release for each kind of database, and a look at it from outside.

use shard_runtime::{
    Builder, Models,
    migrate::{Migration, Migrations},
};
use sharded_tests::postgres_server::Server;

use crate::client::Client;
use crate::models::{self, SHARDS, one};
use crate::servers;

/// A cluster with the rows of [`models::fill`].
pub enum Made {
    /// Three files.
    Files(tempfile::TempDir),
    /// Three schemas of a server.
    Schemas(Server),
}

/// Makes both kinds.
pub fn both() -> [Made; 2] {
    [Made::files(), Made::schemas()]
}

impl Made {
    pub fn files() -> Self {
        let folder = tempfile::tempdir().unwrap();
        models::create(folder.path(), &SHARDS);
        Made::Files(folder)
    }

    pub fn schemas() -> Self {
        let server = Server::start_with(&["max_connections=60", "autovacuum=off"]);
        servers::create(&server.url(), &SHARDS);
        Made::Schemas(server)
    }

    pub fn is_on_server(&self) -> bool {
        matches!(self, Made::Schemas(_))
    }

    pub fn builder(&self) -> Builder {
        self.builder_of(&SHARDS)
    }

    pub fn builder_of(&self, shards: &[&str]) -> Builder {
        match self {
            Made::Files(folder) => models::builder(folder.path(), shards),
            Made::Schemas(server) => servers::builder(&server.url(), shards),
        }
    }

    pub fn migrate<M: Models>(&self, migrations: &Migrations) -> Migration<M> {
        self.builder().migrate::<M>(migrations).unwrap()
    }

    /// Runs SQL on a shard.
    pub fn run(&self, shard: &str, sql: &str) {
        match self {
            Made::Files(folder) => {
                let raw = rusqlite::Connection::open(folder.path().join(format!("{shard}.db"))).unwrap();
                raw.execute_batch(sql).unwrap();
            }
            Made::Schemas(server) => {
                Client::connect(&server.url()).run(&format!("SET search_path = {shard}; {sql}"));
            }
        }
    }

    /// The rows of a query on a shard whose one column is text.
    pub fn texts(&self, shard: &str, sql: &str) -> Vec<String> {
        match self {
            Made::Files(folder) => {
                let raw = rusqlite::Connection::open(folder.path().join(format!("{shard}.db"))).unwrap();
                let mut statement = raw.prepare(sql).unwrap();
                let rows = statement.query_map([], |row| row.get(0)).unwrap();
                rows.map(Result::unwrap).collect()
            }
            Made::Schemas(server) => {
                let client = Client::connect(&server.url());
                client.run(&format!("SET search_path = {shard}"));
                client.rows(sql).into_iter().map(|row| row.join(" ")).collect()
            }
        }
    }

    /// All tables, columns, triggers and functions of a shard, and the rows of its users.
    pub fn snapshot(&self, shard: &str) -> Vec<String> {
        let mut all = match self {
            Made::Files(_) => {
                self.texts(shard, "SELECT name || ' ' || coalesce(sql, '') FROM sqlite_schema ORDER BY 1")
            }
            Made::Schemas(_) => self.texts(
                shard,
                &format!(
                    "SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default) \
                     FROM information_schema.columns WHERE table_schema = '{shard}' \
                     UNION ALL SELECT tgname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid \
                     WHERE NOT tgisinternal AND relnamespace = '{shard}'::regnamespace \
                     UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = '{shard}'::regnamespace ORDER BY 1"
                ),
            ),
        };
        all.extend(self.texts(shard, "SELECT id || ' ' || name || ' ' || fax FROM users ORDER BY id"));
        all
    }

    /// Makes a shard refuse each update of a user's column, as a full disk or a CHECK does. `code` is the SQLSTATE.
    pub fn refuse_updates(&self, shard: &str, column: &str, code: &str) {
        let sql = match self {
            Made::Files(_) => format!(
                "CREATE TRIGGER refuses BEFORE UPDATE OF {column} ON users BEGIN SELECT RAISE(ABORT, 'refused'); END"
            ),
            Made::Schemas(_) => format!(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{code}'; END $$; \
                 CREATE TRIGGER refuses BEFORE UPDATE OF {column} ON users FOR EACH ROW EXECUTE FUNCTION refuse()"
            ),
        };
        self.run(shard, &sql);
    }

    pub fn accept_updates(&self, shard: &str) {
        self.run(
            shard,
            if self.is_on_server() { "DROP FUNCTION refuse() CASCADE" } else { "DROP TRIGGER refuses" },
        );
    }
}

/// A step that changes each user's name.
pub fn names() -> Migrations {
    Migrations::new().step(2, "names", |m| m.backfill::<one::User>(|user| user.name.push('+')))
}

/// Asserts that a text has each of these.
#[track_caller]
pub fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}
