//! Migrations over three releases, and of tables that triggers and views of others use, or whose names need quotes.

use shard_runtime::{Builder, ErrorKind, Pace, Sharded, migrate::Migrations};
use sharded_tests::postgres_server::Server;

use crate::made::{Made, assert_has, both};
use crate::models::{SHARDS, one, two};

/// A release whose users have this column for their name.
macro_rules! release {
    ($release:ident, $column:ident, $migrations:expr) => {
        mod $release {
            use shard_runtime::{Parent, Sharded, migrate::Migrations};

            #[derive(Sharded, Clone, Debug)]
            #[sharded(table = "users")]
            pub struct User {
                #[id]
                #[shard_key(hash)]
                pub id: i64,
                pub $column: String,
                #[sharded(default = "1")]
                pub fax: String,
            }

            #[derive(Sharded, Clone, Debug)]
            #[sharded(table = "posts")]
            pub struct Post {
                #[id(auto)]
                pub id: i64,
                #[shard_parent]
                pub user: Parent<User>,
                pub text: Option<String>,
            }

            pub type Models = (User, Post);

            pub fn migrations() -> Migrations {
                $migrations
            }
        }
    };
}

release!(middle, full_name, Migrations::new().step(2, "full name", |m| m.rename(User::FULL_NAME, "name")));
release!(
    three,
    label,
    Migrations::new()
        .step(2, "full name", |m| m.finished())
        .step(3, "label", |m| m.rename(User::LABEL, "full_name"))
);

/// Counts the users whose column has the value of the first release.
fn names(made: &Made, column: &str) -> usize {
    SHARDS
        .iter()
        .map(|shard| {
            made.texts(shard, &format!("SELECT {column} FROM users WHERE {column} = 'user ' || id")).len()
        })
        .sum()
}

#[test]
fn r53_a_column_is_renamed_again_after_the_contract() {
    for made in both() {
        let migrate = || made.migrate::<middle::Models>(&middle::migrations());
        migrate().run(|_| {}).unwrap();
        migrate().contract().run(|_| {}).unwrap();
        let migrate = || made.migrate::<three::Models>(&three::migrations());
        migrate().run(|_| {}).unwrap();
        let cluster = made.builder().open::<middle::Models>().unwrap();
        let mut session = cluster.session();
        session.add(middle::User { id: 1000, full_name: "by middle".into(), fax: "1".into() }).unwrap();
        session.commit().unwrap();
        migrate().contract().run(|_| {}).unwrap();
        assert_eq!(names(&made, "label"), 60);
        let cluster = made.builder().open::<three::Models>().unwrap();
        let mut session = cluster.session();
        assert_eq!(session.get::<three::User>(1000).unwrap().unwrap().label, "by middle");
        session.add(three::User { id: 1001, label: "by three".into(), fax: "1".into() }).unwrap();
        session.commit().unwrap();
    }
}

/// The contract of the first rename was never run, and the release of the second one has no action for it.
#[test]
fn r53_a_step_whose_contract_waits_is_not_finished() {
    for made in both() {
        made.migrate::<middle::Models>(&middle::migrations()).run(|_| {}).unwrap();
        let third = || made.builder().migrate::<three::Models>(&three::migrations());
        let error = third().map(drop).unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Schema, Some("a")), "{error}");
        assert_has(
            &error.to_string(),
            &["column `name`", "step 2 `full name`", "`migrate --contract` with the release"],
        );
        // Nothing has changed, and both releases run.
        made.builder().open::<middle::Models>().unwrap();
        made.migrate::<middle::Models>(&middle::migrations()).contract().run(|_| {}).unwrap();
        third().unwrap().contract().run(|_| {}).unwrap();
        assert_eq!(names(&made, "label"), 60);
        made.builder().open::<three::Models>().unwrap();
    }
}

/// SQLite compiles triggers and views only when a statement uses them: after the rebuild such statements would fail.
#[test]
fn r53_a_column_that_a_trigger_or_a_view_uses_is_not_dropped() {
    for object in [
        "TRIGGER uses AFTER INSERT ON users BEGIN INSERT INTO log VALUES (NEW.fax); END",
        "TRIGGER uses AFTER UPDATE OF level ON users BEGIN UPDATE posts SET text = OLD.fax; END",
        "TRIGGER uses AFTER INSERT ON posts BEGIN UPDATE users SET fax = 'x'; END",
        "VIEW uses AS SELECT fax FROM users",
    ] {
        let made = Made::files();
        let migrate = || made.migrate::<two::Models>(&two::migrations());
        migrate().run(|_| {}).unwrap();
        made.run("b", &format!("CREATE {object}"));
        // One that was broken before does not stop the contract.
        made.run("b", "CREATE VIEW broken AS SELECT gone FROM users");
        let error = migrate().contract().run(|_| {}).map(drop).unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Schema, Some("b")), "{object}: {error}");
        assert_has(
            &error.to_string(),
            &["step 6 `no fax`", "a trigger or a view uses a column", "no such column"],
        );
        assert_eq!(made.texts("b", "SELECT DISTINCT fax FROM users"), ["1"], "{object}");
        made.run("b", &format!("DROP {} uses", object.split(' ').next().unwrap()));
        migrate().contract().run(|_| {}).unwrap();
        made.builder().open::<two::Models>().unwrap();
    }
}

mod odd {
    use shard_runtime::{Sharded, migrate::Migrations};

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "sélect \"x' 12345678901234567890123456789012345678901234567890")]
    pub struct Before {
        #[id]
        #[shard_key(hash)]
        #[sharded(column = "order \"id'")]
        pub id: String,
        #[sharded(column = "group'\"é 12345678901234567890123456789012345678901234567890")]
        pub name: String,
        #[sharded(column = "check")]
        pub fax: String,
    }

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "sélect \"x' 12345678901234567890123456789012345678901234567890", index(unique))]
    pub struct After {
        #[id]
        #[shard_key(hash)]
        #[sharded(column = "order \"id'")]
        pub id: String,
        #[sharded(column = "constraint \"n' é 1234567890123456789012345678901234567890123")]
        pub name: String,
        #[sharded(column = "unique")]
        pub unique: Option<String>,
        #[sharded(column = "primary", default = "it's \"q\" {b} \\ $sharded$ é")]
        pub with_default: String,
    }

    pub fn migrations() -> Migrations {
        Migrations::new()
            .step(2, "it's \"one\"", |m| {
                m.backfill::<After>(|row| {
                    row.unique = Some(row.unique.take().unwrap_or_default() + &row.name)
                })
            })
            .step(3, "require; --", |m| m.require(After::UNIQUE))
            .step(4, "rename", |m| {
                m.rename(After::NAME, "group'\"é 12345678901234567890123456789012345678901234567890")
            })
            .step(5, "drop", |m| m.drop_column::<After>("check"))
    }
}

#[test]
fn r53_tables_and_columns_with_odd_names_are_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(&["max_connections=60", "autovacuum=off"]);
    let url = server.url();
    let builders: [&dyn Fn() -> Builder; 2] =
        [&|| crate::models::builder(folder.path(), &SHARDS), &|| crate::servers::builder(&url, &SHARDS)];
    for builder in builders {
        let cluster = builder().create::<odd::Before>().unwrap();
        let row = |id: i64| odd::Before {
            id: format!("'\"é{id}"),
            name: format!("name '{id}"),
            fax: String::new(),
        };
        cluster.transaction(|session| session.add_all((0..50).map(row)).map(drop)).unwrap();
        let migrate = || builder().migrate::<odd::After>(&odd::migrations()).unwrap().pace(Pace::rows(3));
        let once = std::sync::Once::new();
        migrate()
            .run(|progress| {
                if progress.step == 2 && progress.rows == 6 {
                    // Rows are added, deleted and changed between two batches.
                    once.call_once(|| {
                        let change = |session: &mut shard_runtime::Session| {
                            session.add_all((50..60).map(row))?;
                            for id in [0, 49] {
                                let old = session.get::<odd::Before>(row(id).id)?.unwrap();
                                session.delete(&old)?;
                            }
                            Ok::<_, shard_runtime::Error>(())
                        };
                        cluster.transaction(change).unwrap();
                    });
                }
            })
            .unwrap();
        assert!(once.is_completed());
        migrate().contract().run(|_| {}).unwrap();
        assert!(migrate().contract().plan().is_empty());
        let cluster = builder().open::<odd::After>().unwrap();
        let rows = cluster.session().all(odd::After::select().all_shards()).unwrap();
        assert_eq!(rows.len(), 58);
        for row in &rows {
            assert_eq!(row.unique.as_deref(), Some(row.name.as_str()), "{row:?}");
            assert_eq!(row.with_default, "it's \"q\" {b} \\ $sharded$ é");
        }
    }
}

/// The first release with an index more.
#[derive(Sharded, Clone, Debug)]
#[sharded(table = "users", unique(fax, id))]
struct Unique {
    #[id]
    #[shard_key(hash)]
    id: i64,
    name: String,
    fax: String,
}

#[test]
fn r53_the_error_of_an_addition_ends_when_an_operator_has_made_it() {
    for made in both() {
        // Another program has taken the name of the index.
        made.run("b", "CREATE TABLE \"users(fax, id) unique\" (x INTEGER)");
        let migrate = || made.migrate::<(Unique, one::Post)>(&Migrations::new());
        let error = migrate().run(|_| {}).map(drop).unwrap_err();
        assert_eq!(error.shard(), Some("b"), "{error}");
        assert!(migrate().status().unwrap().has_failed());
        made.run("b", "CREATE UNIQUE INDEX by_hand ON users (fax, id)");
        let status = migrate().run(|_| {}).unwrap();
        assert!(!status.has_failed(), "{status}");
    }
}
