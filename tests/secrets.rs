//! Passwords and values of users are in no error, no printed value and, as far as PostgreSQL allows it, in no log.

use shard_runtime::{Cluster, ErrorKind, Sharded};
use sharded_tests::postgres_server::Server;

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "users")]
struct User {
    #[id]
    id: i64,
    #[shard_key(list("a" => "a", "b" => "b"))]
    home: String,
    #[lookup]
    email: String,
}

/// Everything that an error prints, with its causes.
fn printed(error: &shard_runtime::Error) -> String {
    let mut all = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(next) = cause {
        all.push_str(&format!("{next} {next:?} {next:#?}\n"));
        cause = next.source();
    }
    all
}

#[test]
fn w32_no_error_of_a_cluster_file_prints_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shards.toml");
    let url = "postgres://u:s3cret@h/db";
    for text in [
        format!("[[shard]]\nname = \"a\"\nurl = \"{url}\n"),
        format!("[[shard]]\nname = \"a\"\nurl = '{url}\n"),
        format!("[[shard]]\nname = \"a\"\nurl = {url}\n"),
        format!("[[shard]]\nname = \"a\"\nurl = \"{url}\" x\n"),
        format!("[[shard]]\nname = \"a\"\nurl = \"\"\"{url}\n"),
        format!("shard = \"{url}\"\n"),
        format!("connections = \"{url}\"\n"),
        format!("synchronous = \"{url}\"\n"),
    ] {
        std::fs::write(&path, &text).unwrap();
        let error = Cluster::builder().config_file(&path).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{text}");
        assert!(error.to_string().contains("shards.toml, line "), "{error}");
        assert!(!printed(&error).contains("s3cret"), "{text}: {}", printed(&error));
    }
}

#[test]
fn w32_an_unencoded_at_sign_prints_nothing_of_the_password() {
    for url in ["postgres://u:s3@cret@h/db", "postgres://u:s3/cret@h/db", "postgres://u:s3?cret@h/db"] {
        let error = Cluster::builder().shard("a", url).create::<User>().map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(!printed(&error).contains("cret"), "{}", printed(&error));
    }
}

#[test]
fn w32_the_error_of_a_lookup_does_not_quote_the_value() {
    let cluster = Cluster::in_memory::<User>(["a", "b"]).unwrap();
    let mut session = cluster.session();
    let user = |id, home: &str| User { id, home: home.to_owned(), email: "private@example".to_owned() };
    session.add(user(1, "a")).unwrap();
    session.commit().unwrap();
    session.add(user(2, "b")).unwrap();
    let error = session.commit().map(drop).unwrap_err();
    assert_eq!((error.kind(), error.column()), (ErrorKind::Unique, Some("email")), "{error}");
    assert!(!printed(&error).contains("private"), "{}", printed(&error));
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn w32_passwords_of_shards_are_not_in_the_log_of_the_foreign_tables_server() {
    let settings = ["log_statement=all", "log_min_duration_statement=0", "log_min_error_statement=debug1"];
    let (shard, coordinator) = (Server::start(), Server::start_with(&settings));
    let builder = Cluster::builder()
        .shard("a", format!("{}?schema=s_a", shard.url()))
        .shard("b", format!("{}?schema=s_b", shard.url()));
    let cluster = builder.create::<User>().unwrap();
    let sql = cluster.foreign_tables_sql().unwrap();
    for printed in [format!("{sql}"), format!("{sql:?}"), format!("{cluster:?}")] {
        assert!(!printed.contains(shard.password()), "{printed}");
    }
    // The second time the objects of the statements exist.
    for _ in 0..2 {
        sql.run_on(&coordinator.url()).unwrap();
    }
    assert_eq!(coordinator.psql("SELECT count(*) FROM users").trim(), "0");
    // One that fails is logged with its text, unless that is turned off.
    coordinator.psql("DROP TABLE users CASCADE; CREATE VIEW users AS SELECT 1 AS one");
    sql.run_on(&coordinator.url()).unwrap_err();
    let log = coordinator.log();
    assert!(log.contains("log_min_error_statement"), "{log}");
    assert!(!log.contains(shard.password()));
}
