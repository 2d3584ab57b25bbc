//! Errors and their causes: no text of a chain repeats its cause.

use std::fs;

use shard_runtime::{Cluster, ErrorKind, Sharded};

use crate::backend::{Backend, LETTERS, assert_error};
use crate::models::*;

on_every_dialect! {
    an_error_of_a_statement_does_not_repeat_its_cause,
    one_names_the_table_of_its_query;
    only Files: an_error_of_opening_does_not_repeat_its_cause,
}

/// The texts of an error and its causes.
fn chain(error: &shard_runtime::Error) -> Vec<String> {
    let (mut texts, mut cause) = (Vec::new(), Some(error as &dyn std::error::Error));
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts
}

fn assert_repeats_nothing(error: &shard_runtime::Error) {
    let texts = chain(error);
    for (index, text) in texts.iter().enumerate() {
        for cause in &texts[index + 1..] {
            assert!(!text.contains(cause.as_str()) && !cause.contains(text.as_str()), "{texts:#?}");
        }
    }
}

fn an_error_of_a_statement_does_not_repeat_its_cause(backend: &Backend) {
    let cluster = backend.create::<Weather>(&crate::backend::CONTINENTS);
    let mut session = cluster.session();
    let sql = |sql: &str| shard_runtime::Sql::new(sql).on_shard("asia");
    for text in [
        "SELECT * FROM nowhere",
        "SELECT nothing FROM {cities}",
        "SELEC 1",
        "INSERT INTO {cities} (id) VALUES (1)",
    ] {
        let error = session.execute(sql(text)).map(drop).unwrap_err();
        assert!(error.driver_error().is_some(), "{error}");
        assert_repeats_nothing(&error);
        session.rollback();
    }
}

fn an_error_of_opening_does_not_repeat_its_cause(backend: &Backend) {
    drop(backend.create::<Company>(&LETTERS));
    let open = || backend.builder(&LETTERS).open::<Company>().map(drop);
    let mut errors = vec![
        (
            Cluster::builder().config_file(backend.folder().join("nowhere.toml")).map(drop).unwrap_err(),
            ErrorKind::Io,
        ),
        (
            Cluster::builder()
                .shard("a", format!("sqlite:{}", backend.folder().join("nowhere").join("a.db").display()))
                .create::<Company>()
                .map(drop)
                .unwrap_err(),
            ErrorKind::Io,
        ),
    ];
    let cluster = backend.open::<Company>(&LETTERS).unwrap();
    let copied = cluster.backup(backend.folder().join("nowhere").join("copy")).unwrap_err();
    errors.push((copied, ErrorKind::Io));
    drop(cluster);
    fs::rename(backend.path("b"), backend.folder().join("moved")).unwrap();
    errors.push((open().unwrap_err(), ErrorKind::Missing));
    fs::write(backend.path("b"), [7; 4096]).unwrap();
    errors.push((open().unwrap_err(), ErrorKind::Corrupt));
    fs::remove_file(backend.folder().join("control.db")).unwrap();
    errors.push((open().unwrap_err(), ErrorKind::Missing));
    for (error, kind) in errors {
        assert_repeats_nothing(&error);
        assert_error(Err::<(), _>(error), kind, &[]);
    }
}

fn one_names_the_table_of_its_query(backend: &Backend) {
    let cluster = backend.create::<Company>(&LETTERS);
    let mut session = cluster.session();
    let none = session.one(Company::select().all_shards()).unwrap_err();
    assert_eq!((none.kind(), none.table()), (ErrorKind::NotFound, Some("companies")), "{none}");
    session.add_all((1..3).map(|id| Company { id, name: "one".into() })).unwrap();
    let several = session.one(Company::select().all_shards()).unwrap_err();
    assert_eq!((several.kind(), several.table()), (ErrorKind::ManyRows, Some("companies")), "{several}");
}
