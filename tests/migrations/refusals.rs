//! Migrations that a shard refuses: the error names the shard, the step, the SQL and a remedy. Nothing is half done, and the
//! migration continues once the cause is removed.

use std::sync::Once;

use shard_runtime::{ErrorKind, migrate::Migrations};
use sharded_tests::postgres_server::Server;

use crate::client::Client;
use crate::made::{Made, assert_has, both, names};
use crate::models::{SHARDS, fill, one, two};

#[test]
fn r53_the_error_of_a_step_names_shard_step_and_sql() {
    for made in both() {
        // SQL of the application.
        made.run("b", "DROP TABLE log");
        let sql = "INSERT INTO log SELECT name FROM {users}";
        let logs = Migrations::new().step(2, "log", |m| m.sqlite(sql).postgres(sql));
        let error = made.migrate::<one::Models>(&logs).run(|_| {}).map(drop).unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Schema, Some("b")), "{error}");
        let parts = ["step 2 `log`", "; the SQL was: INSERT INTO log SELECT name FROM "];
        assert_has(&error.to_string(), &parts);
        let status = made.migrate::<one::Models>(&logs).status().unwrap();
        assert_has(status.shards[1].steps.last().unwrap().error.as_deref().unwrap(), &parts[1..]);
        made.run("b", "CREATE TABLE log (text TEXT)");
        made.migrate::<one::Models>(&logs).run(|_| {}).unwrap();

        // A row that a backfill changes.
        made.refuse_updates("b", "name", "P0001");
        let names = || logs.clone().step(3, "names", |m| m.backfill::<one::User>(|user| user.name.push('+')));
        let error = made.migrate::<one::Models>(&names()).run(|_| {}).map(drop).unwrap_err();
        assert_eq!(error.shard(), Some("b"), "{error}");
        assert_has(
            &error.to_string(),
            &["step 3 `names`", "table `users`", "refused", "the SQL was: UPDATE ", "\"name\" = "],
        );
        made.accept_updates("b");

        // A row that breaks a contract.
        let text = || names().step(4, "text", |m| m.require(one::Post::TEXT));
        made.migrate::<one::Models>(&text()).run(|_| {}).unwrap();
        let error = made.migrate::<one::Models>(&text()).contract().run(|_| {}).map(drop).unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::NotNull, Some("a")), "{error}");
        assert_has(&error.to_string(), &["step 4 `text`", "the SQL was: SELECT ", "\"text\" IS NULL"]);
    }
}

/// The server reports a full disk by SQLSTATE 53100. Files: `r53_a_full_disk_stops_a_migration_that_continues_later`.
#[test]
fn r53_a_server_with_a_full_disk_stops_a_migration_with_a_remedy() {
    let made = Made::schemas();
    made.refuse_updates("b", "name", "53100");
    let error = made.migrate::<one::Models>(&names()).run(|_| {}).map(drop).unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Full, Some("b")), "{error}");
    assert_has(
        &error.to_string(),
        &["step 2 `names`", "the SQL was: UPDATE ", "free disk space", "run the migration again"],
    );
    made.accept_updates("b");
    made.migrate::<one::Models>(&names()).run(|_| {}).unwrap();
    for shard in SHARDS {
        let others = made.texts(shard, "SELECT name FROM users WHERE name <> 'user ' || id || '+'");
        assert!(others.is_empty(), "{shard}: {others:?}");
    }
}

fn as_role(server: &Server, role: &str) -> impl Fn() -> shard_runtime::Builder + use<> {
    let url = server.url().replace("//sharded:", &format!("//{role}:"));
    move || crate::servers::builder(&url, &SHARDS)
}

#[test]
fn r53_a_role_that_does_not_own_the_tables_is_told_so() {
    let server = Server::start_with(&["max_connections=60", "autovacuum=off"]);
    let client = Client::connect(&server.url());
    let password = server.password();
    client.run(&format!(
        "CREATE ROLE keeps LOGIN PASSWORD '{password}'; CREATE ROLE uses LOGIN PASSWORD '{password}'; \
         GRANT CREATE ON DATABASE postgres TO keeps"
    ));
    let (keeps, uses) = (as_role(&server, "keeps"), as_role(&server, "uses"));
    fill(keeps());
    for shard in SHARDS {
        client.run(&format!(
            "SET ROLE keeps; CREATE TABLE {shard}.log (text text); GRANT USAGE ON SCHEMA {shard} TO uses; \
             GRANT ALL ON ALL TABLES IN SCHEMA {shard} TO uses; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA {shard} TO uses; RESET ROLE"
        ));
    }
    let made = Made::Schemas(server);
    let before = SHARDS.map(|shard| made.snapshot(shard));
    let refused = |error: shard_runtime::Error, parts: &[&str]| {
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Denied, Some("a")), "{error}");
        assert_has(&error.to_string(), parts);
        assert_has(
            &error.to_string(),
            &["the role is `uses`", "run the migration as `keeps`", "run GRANT keeps TO uses"],
        );
        assert!(!error.to_string().contains(";;"), "{error}");
        assert_eq!(SHARDS.map(|shard| made.snapshot(shard)), before, "{error}");
    };
    // It may make tables, and not change those of others.
    client.run("GRANT CREATE ON SCHEMA a, b, c TO uses");
    let migrated = uses().migrate::<two::Models>(&two::migrations()).unwrap().run(|_| {});
    let sql = "the SQL was: ALTER TABLE \"a\".\"users\" ADD COLUMN \"nickname\"";
    refused(migrated.map(drop).unwrap_err(), &[sql]);
    let migrated = uses().migrate::<one::Models>(&names()).unwrap().run(|_| {});
    refused(migrated.map(drop).unwrap_err(), &["table `users`", "the SQL was: CREATE TRIGGER "]);
    // Nor make tables.
    client.run("REVOKE CREATE ON SCHEMA a, b, c FROM uses");
    let migrated = uses().migrate::<one::Models>(&Migrations::new()).unwrap().run(|_| {});
    refused(
        migrated.map(drop).unwrap_err(),
        &["the SQL was: CREATE TABLE IF NOT EXISTS \"a\".\"sharded_migration\""],
    );

    // The owner continues.
    keeps().migrate::<two::Models>(&two::migrations()).unwrap().run(|_| {}).unwrap();
    // A role that may not read how far the shards are takes them for no new ones.
    let grant = ["shard `a`", "run GRANT SELECT ON \"a\".\"sharded_migration\" TO uses"];
    let error = uses().migrate::<two::Models>(&two::migrations()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert_has(&error.to_string(), &grant);
    // The steps explain why a column is NOT NULL that the model of the earlier release does not have.
    let error = uses().open::<one::Models>().map(drop).unwrap_err();
    assert_has(&error.to_string(), &["column `full_name`", grant[1]]);
    let tables = SHARDS.map(|shard| format!("{shard}.sharded_migration")).join(", ");
    client.run(&format!("GRANT SELECT ON {tables} TO uses"));
    let cluster = uses().open::<one::Models>().unwrap();
    client.run(&format!("REVOKE SELECT ON {tables} FROM uses"));
    let error = cluster.migration_status().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert_has(&error.to_string(), &grant);
    drop(cluster);
    keeps().migrate::<two::Models>(&two::migrations()).unwrap().contract().run(|_| {}).unwrap();
    let status = keeps().open::<two::Models>().unwrap().migration_status().unwrap();
    assert!(status.shards.iter().all(|of| of.version == 6) && !status.has_failed(), "{status}");
    // The model declares columns that are NOT NULL by now as `Option`, which the steps explain.
    let error = uses().open::<two::Models>().map(drop).unwrap_err();
    assert_has(&error.to_string(), &["run GRANT SELECT ON \"a\".\"sharded_migration\" TO uses"]);
    client.run("GRANT SELECT ON ALL TABLES IN SCHEMA a, b, c TO uses");
    uses().open::<two::Models>().unwrap();
}

/// A row that gets lost in a rebuild, here by a trigger on the record of the step, is noticed before the commit.
#[test]
fn r53_a_rebuilt_table_that_breaks_a_foreign_key_is_refused() {
    let made = Made::files();
    let before = made.snapshot("b");
    let lost = made.texts("b", "SELECT CAST(min(id) AS TEXT) FROM users").remove(0);
    let required = || Migrations::new().step(2, "text", |m| m.require(one::Post::TEXT));
    for shard in SHARDS {
        made.run(shard, "UPDATE posts SET text = 'empty' WHERE text IS NULL");
    }
    made.migrate::<one::Models>(&required()).run(|_| {}).unwrap();
    let once = Once::new();
    let contract = made.migrate::<one::Models>(&required()).contract();
    let error = contract.run(|progress| {
        if progress.shard == "b" && progress.sql.as_deref().is_some_and(|sql| sql.starts_with("CREATE TABLE")) {
            once.call_once(|| {
                made.run(
                    "b",
                    &format!(
                        "CREATE TRIGGER loses AFTER UPDATE ON sharded_migration BEGIN DELETE FROM users WHERE id = {lost}; END"
                    ),
                );
            });
        }
    });
    let error = error.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::ForeignKey, Some("b")), "{error}");
    let parts =
        ["step 2 `text`", "2 rows of `marks` refer to rows that do not exist", "the SQL was: DROP TABLE"];
    assert_has(&error.to_string(), &parts);
    made.run("b", "DROP TRIGGER loses");
    let rows = |all: Vec<String>| all.into_iter().filter(|line| line.contains(" user ")).collect::<Vec<_>>();
    assert_eq!(rows(made.snapshot("b")), rows(before), "the rebuild was rolled back");
    made.migrate::<one::Models>(&required()).contract().run(|_| {}).unwrap();
    assert_eq!(made.texts("b", "SELECT \"table\" FROM pragma_foreign_key_check"), [""; 0]);
}

/// A foreign key of another program to a column that the contract of a rename drops.
#[test]
fn r53_a_dropped_column_that_rows_refer_to_is_refused() {
    let made = Made::files();
    made.run(
        "b",
        "CREATE UNIQUE INDEX only ON users (name); CREATE TABLE calls (name TEXT REFERENCES users (name)); \
         INSERT INTO calls SELECT name FROM users",
    );
    let before = made.texts("b", "SELECT name FROM users ORDER BY id");
    made.migrate::<two::Models>(&two::migrations()).run(|_| {}).unwrap();
    let contract = || made.migrate::<two::Models>(&two::migrations()).contract().run(|_| {});
    let error = contract().map(drop).unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::ForeignKey, Some("b")), "{error}");
    let parts =
        ["step 4 `full name`", "calls", "drop the foreign key", "run the migration again", "the SQL was: "];
    assert_has(&error.to_string(), &parts);
    assert_eq!(made.texts("b", "SELECT name FROM users ORDER BY id"), before, "the column is there");
    made.run("b", "DROP TABLE calls");
    contract().unwrap();
}
