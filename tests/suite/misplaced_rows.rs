//! Rows on another shard than that of their keys: `create` refuses tables that already hold rows, and `verify` finds rows that
//! were added or changed without the library (W17, W30).

use shard_runtime::{
    ErrorKind, Sharded, Value,
    verify::{RowProblem, RowProblemKind},
};
use uuid::Uuid;

use crate::backend::{Backend, LETTERS, assert_error};
use crate::models::*;

on_every_backend! {
    verify_finds_nothing_in_rows_that_sessions_wrote;
    only lasting:
        r40_tables_that_hold_rows_are_not_made_shards,
        r40_a_new_model_whose_table_holds_rows_is_refused,
        verify_finds_a_row_whose_key_was_edited,
        verify_finds_rows_that_are_on_every_shard,
        verify_finds_children_without_a_parent;
    only Files Schemas:
        verify_finds_a_few_wrong_rows_among_many;
    only Files Servers:
        verify_is_not_misled_by_rows_that_are_moved,
}

/// Makes the table of [`Company`] in a database that is no shard yet.
fn make_companies(backend: &Backend, shard: &str) {
    let table = backend.table(shard, "companies");
    if backend.is_postgres(shard) {
        let client = backend.client(shard);
        client.run(&format!("CREATE SCHEMA IF NOT EXISTS {}", backend.schema(shard)));
        client
            .run(&format!("CREATE TABLE {table} (id bigint PRIMARY KEY, name text COLLATE \"C\" NOT NULL)"));
    } else {
        let raw = rusqlite::Connection::open(backend.path(shard)).unwrap();
        let columns = "(id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT";
        raw.execute_batch(&format!("CREATE TABLE {table} {columns}")).unwrap();
    }
}

fn problems(report: &[RowProblem]) -> Vec<(&str, String, RowProblemKind, &str, Option<&str>)> {
    let problem = |problem: &RowProblem| problem.id.to_string();
    report
        .iter()
        .map(|row| (row.table, problem(row), row.kind, row.shard.as_str(), row.wanted.as_deref()))
        .collect()
}

fn r40_tables_that_hold_rows_are_not_made_shards(backend: &Backend) {
    for shard in LETTERS {
        make_companies(backend, shard);
    }
    let table = backend.table("b", "companies");
    backend.run("b", &format!("INSERT INTO {table} VALUES (1, 'one'), (2, 'two')"));
    for _ in 0..2 {
        let created = backend.builder(&LETTERS).create::<Company>();
        assert_error(
            created,
            ErrorKind::WrongDatabase,
            &["shard `b`", "table `companies`", "holds rows", "`adopt`"],
        );
    }
    // Empty tables are used as they are, and nothing of the refused ones blocks them.
    backend.run("b", &format!("DELETE FROM {table}"));
    let cluster = backend.create::<Company>(&LETTERS);
    cluster.session().add(Company { id: 1, name: "one".into() }).unwrap();
    assert_eq!(cluster.verify().unwrap().found(), 0);
}

fn r40_a_new_model_whose_table_holds_rows_is_refused(backend: &Backend) {
    drop(backend.create::<Shop>(&LETTERS));
    make_companies(backend, "c");
    backend.run("c", &format!("INSERT INTO {} VALUES (1, 'one')", backend.table("c", "companies")));
    let created = backend.builder(&LETTERS).create::<(Shop, Company)>();
    assert_error(created, ErrorKind::WrongDatabase, &["shard `c`", "table `companies`", "holds rows"]);
    backend.open::<Shop>(&LETTERS).unwrap();
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "things")]
struct Thing {
    #[id]
    #[shard_key(hash)]
    id: Uuid,
    #[lookup]
    label: String,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "books")]
struct Book {
    #[id]
    title: String,
    #[shard_key(range("a" => ..10, "b" => 10..20, gaps))]
    shelf: i64,
}

fn verify_finds_nothing_in_rows_that_sessions_wrote(backend: &Backend) {
    let cluster = backend.create::<(Company, Campaign, Advert, Shop, Thing, Account)>(&LETTERS);
    let mut session = cluster.session();
    for id in 0..40 {
        session.add(Company { id, name: format!("company {id}") }).unwrap();
        session.add(Thing { id: Uuid::from_u128(id as u128 * 7919), label: format!("thing {id}") }).unwrap();
        session.add(Account { id: -id, number: (id * 100) as i32, owner: "x".into() }).unwrap();
        session.add(Shop { id, region: if id % 2 == 0 { "North".into() } else { "South".into() } }).unwrap();
        let campaign = session.add(NewCampaign { company_id: id, title: "t".into() }).unwrap();
        let parent = campaign.link();
        session.add_all((0..3).map(|clicks| NewAdvert { campaign: parent.clone(), clicks })).unwrap();
    }
    session.commit().unwrap();
    let report = cluster.verify().unwrap();
    assert!(report.is_sound() && report.found() == 0, "{report:?}");
}

fn verify_finds_a_row_whose_key_was_edited(backend: &Backend) {
    let cluster = backend.create::<(Shop, Thing)>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..6).map(|id| Shop { id, region: "North".into() })).unwrap();
    session.commit().unwrap();
    let table = backend.table("a", "shops");
    backend.run("a", &format!("UPDATE {table} SET region = 'South' WHERE id = 3"));
    backend.run("a", &format!("UPDATE {table} SET region = 'Atlantis' WHERE id = 4"));
    let report = cluster.verify().unwrap();
    let expected = [
        ("shops", "3".to_owned(), RowProblemKind::Misplaced, "a", Some("b")),
        ("shops", "4".to_owned(), RowProblemKind::Unmapped, "a", None),
    ];
    assert_eq!(problems(report.row_problems()), expected);
    assert!(!report.is_sound() && report.found() == 2 && report.repaired() == 0);
    assert_eq!(report.row_problems()[0].to_string(), "shops 3 on a: the key belongs on another shard (b)");
    // Rows are not repaired.
    assert!(!cluster.repair().unwrap().is_sound());
    assert_eq!(problems(cluster.verify().unwrap().row_problems()), expected);
}

fn verify_finds_rows_that_are_on_every_shard(backend: &Backend) {
    let cluster = backend.create::<(Company, Book)>(&LETTERS);
    // The same ten rows everywhere: each is right on one shard.
    let rows: Vec<String> = (0..10).map(|id| format!("({id}, 'x')")).collect();
    backend.plant(&LETTERS, "companies", &format!("INSERT INTO {{table}} VALUES {}", rows.join(", ")));
    let report = cluster.verify().unwrap();
    assert_eq!(report.found(), 20, "{report:?}");
    for problem in report.row_problems() {
        assert_eq!((problem.kind, problem.table), (RowProblemKind::Misplaced, "companies"));
        let Value::Integer(id) = problem.id else { panic!("{problem:?}") };
        let home = Company { id, name: String::new() }.shard_chooser(cluster.shards()).unwrap();
        let home = LETTERS[home].to_owned();
        assert_eq!(problem.wanted.as_deref(), Some(home.as_str()));
        assert_ne!(problem.shard, home);
    }
    // One id, unique over the cluster, with the keys of two shards.
    backend.run("a", &format!("DELETE FROM {}", backend.table("a", "companies")));
    if backend.is_on_disk() {
        backend.run(
            "a",
            &format!("INSERT INTO {} VALUES ('Emma', 1), ('Ulysses', 2)", backend.table("a", "books")),
        );
        backend.run(
            "b",
            &format!("INSERT INTO {} VALUES ('Dune', 11), ('Emma', 12)", backend.table("b", "books")),
        );
        let report = cluster.verify().unwrap();
        let books: Vec<RowProblem> =
            report.row_problems().iter().filter(|problem| problem.table == "books").cloned().collect();
        let expected = [
            ("books", "Emma".to_owned(), RowProblemKind::Duplicate, "a", Some("a")),
            ("books", "Emma".to_owned(), RowProblemKind::Duplicate, "b", Some("b")),
        ];
        assert_eq!(problems(&books), expected);
    }
}

fn verify_finds_children_without_a_parent(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..12).map(|id| Company { id, name: String::new() })).unwrap();
    let campaigns =
        session.add_all((0..12).map(|company_id| NewCampaign { company_id, title: "t".into() })).unwrap();
    session.add_all(campaigns.iter().map(|row| NewAdvert { campaign: row.link(), clicks: 1 })).unwrap();
    session.commit().unwrap();
    let orphaned = campaigns.iter().find(|row| row.shard().name() == "b").unwrap();
    let delete = format!("DELETE FROM {} WHERE id = {}", backend.table("b", "campaigns"), orphaned.id);
    match backend.is_postgres("b") {
        true => backend.run("b", &format!("SET session_replication_role = replica; {delete}")),
        false => backend.run("b", &format!("PRAGMA foreign_keys = OFF; {delete}")),
    }
    let report = cluster.verify().unwrap();
    let [problem] = report.row_problems() else { panic!("{report:?}") };
    assert_eq!((problem.table, problem.kind), ("adverts", RowProblemKind::Orphan));
    assert_eq!((problem.shard.as_str(), problem.wanted.as_deref()), ("b", None));
}

/// More rows than are read, and more suspects than are looked at, at once.
fn verify_finds_a_few_wrong_rows_among_many(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session
        .add_all((0..6_000).map(|id| Account { id, number: (id % 3_000) as i32, owner: "x".into() }))
        .unwrap();
    session.commit().unwrap();
    let table = backend.table("c", "accounts");
    backend.run("c", &format!("UPDATE {table} SET number = 5 WHERE number >= 2400 AND id < 3000"));
    backend.run("c", &format!("UPDATE {table} SET number = 1500 WHERE id = 5999"));
    let report = cluster.verify().unwrap();
    assert_eq!(report.found(), 601, "{report:?}");
    let last = report.row_problems().last().unwrap();
    assert_eq!((last.id.clone(), last.wanted.as_deref()), (Value::Integer(5_999), Some("b")));
    let ids = report.row_problems()[..600].iter().map(|problem| problem.id.clone());
    assert!(ids.eq((2_400..3_000).map(Value::Integer)));
}

fn verify_is_not_misled_by_rows_that_are_moved(backend: &Backend) {
    let cluster = backend.create::<Shop>(&LETTERS);
    let mut session = cluster.session();
    let rows = session.add_all((0..50).map(|id| Shop { id, region: "North".into() })).unwrap();
    session.commit().unwrap();
    drop((session, rows));
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| {
            for (region, id) in ["South", "North"].into_iter().cycle().zip((0..50).cycle()).take(250) {
                cluster
                    .transaction(|session| {
                        let found = session.all(Shop::select().filter(Shop::ID.eq(id)).all_shards())?;
                        for mut shop in found {
                            session.relocate(&mut shop, |shop| shop.region = region.into())?;
                        }
                        Ok(())
                    })
                    .unwrap();
            }
        });
        while !mover.is_finished() {
            let report = cluster.verify().unwrap();
            assert_eq!(report.found(), 0, "{report:?}");
        }
    });
}
