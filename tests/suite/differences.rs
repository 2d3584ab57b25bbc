//! Tables that differ from their models: one error names all differences of all shards, each with its remedy.

use shard_runtime::{ErrorKind, Sharded};

use crate::backend::{Backend, LETTERS, assert_error};

on_every_server! {
    r41_every_difference_is_healed_by_its_sql,
    r41_tables_are_compared_before_indexes_are_made,
}
on_kind!(files Files {
    r41_every_difference_is_healed_by_its_sql
    r41_tables_are_compared_before_indexes_are_made
    r41_duplicates_under_a_new_unique_index_are_found
});
on_kind!(prefixed Prefixed {
    r41_every_difference_is_healed_by_its_sql
    r41_tables_are_compared_before_indexes_are_made
});

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "gadgets", index(label), unique(serial, id))]
struct Gadget {
    #[id]
    #[shard_key(hash)]
    id: i64,
    label: String,
    serial: Option<i64>,
    weight: f64,
    count: i64,
}

/// The same table in an earlier version of the application.
mod earlier {
    use shard_runtime::Sharded;

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "gadgets")]
    pub struct Gadget {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        pub label: String,
    }
}

/// Runs the SQL that an error names, on the shard that it names with it.
fn heal(backend: &Backend, error: &shard_runtime::Error) {
    let text = error.to_string();
    let mut healed = 0;
    for line in text.lines().filter(|line| line.contains("shard `")) {
        let Some((_, sql)) = line.split_once("this SQL: ") else { continue };
        backend.run(line.split('`').nth(1).unwrap(), sql.split("; then run").next().unwrap());
        healed += 1;
    }
    assert!(healed > 0, "no SQL in: {text}");
}

fn r41_every_difference_is_healed_by_its_sql(backend: &Backend) {
    let gadget = |id| Gadget { id, label: format!("gadget {id}"), serial: Some(id), weight: 0.5, count: 1 };
    let cluster = backend.create::<Gadget>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..30).map(gadget)).unwrap();
    session.commit().unwrap();
    let on = |shard: &str| Gadget::select().on_shard(shard).count();
    let (on_a, on_b) = (session.one(on("a")).unwrap(), session.one(on("b")).unwrap());
    assert!(on_a > 0 && on_b > 0);
    drop((session, cluster));
    backend.plant(&["a"], "gadgets", "ALTER TABLE {table} DROP COLUMN weight");
    let other = "ALTER TABLE {table} RENAME TO before; \
         CREATE TABLE {table} (id INTEGER PRIMARY KEY, label INTEGER NOT NULL, weight REAL, count INTEGER, extra TEXT NOT NULL) STRICT; \
         INSERT INTO {table} SELECT id, id, weight, count, 'more' FROM {before}; DROP TABLE {before}";
    let other = other.replace("{before}", &backend.table("b", "before"));
    let other = match backend.is_postgres("b") {
        true => other,
        // A rename takes no schema, but the prefix.
        false => other.replace("TO before", &format!("TO {}", backend.table("b", "before"))),
    };
    backend.plant(&["b"], "gadgets", &other);

    let opened = backend.open::<Gadget>(&LETTERS).map(drop).unwrap_err();
    let texts = [
        "differences",
        "shard `a`, table `gadgets`, column `weight`: no such column",
        "shard `b`, table `gadgets`, column `label`: expected type",
        "shard `b`, table `gadgets`, column `serial`: no such column",
        "shard `b`, table `gadgets`, column `count`: expected NOT NULL, found NULL",
        "shard `b`, table `gadgets`, column `extra`: column is NOT NULL without a default",
    ];
    assert_error(Err::<(), _>(opened), ErrorKind::Schema, &texts);
    let made = backend.builder(&LETTERS).create::<Gadget>().map(drop).unwrap_err();
    assert_eq!((made.table(), made.shard()), (Some("gadgets"), None));
    heal(backend, &made);
    assert_error(Err::<(), _>(made), ErrorKind::Schema, &texts);
    let indexes = backend.open::<Gadget>(&LETTERS).map(drop).unwrap_err();
    heal(backend, &indexes);
    assert_error(
        Err::<(), _>(indexes),
        ErrorKind::Schema,
        &["no index `", "on label", "no unique index `", "on serial, id"],
    );

    let cluster = backend.open::<Gadget>(&LETTERS).unwrap();
    let mut session = cluster.session();
    assert_eq!((session.one(on("a")).unwrap(), session.one(on("b")).unwrap()), (on_a, on_b));
    assert_eq!(
        backend.peek::<i64>("b", "gadgets", "SELECT count(*) FROM {table} WHERE extra = 'more'"),
        on_b as i64
    );
    session.add_all((30..60).map(gadget)).unwrap();
    session.commit().unwrap();
    assert_eq!(session.one(Gadget::select().all_shards().count()).unwrap(), 60);
}

fn r41_tables_are_compared_before_indexes_are_made(backend: &Backend) {
    drop(backend.create::<earlier::Gadget>(&LETTERS));
    let error = backend.builder(&LETTERS).create::<Gadget>().map(drop).unwrap_err();
    heal(backend, &error);
    let text = error.to_string();
    for shard in LETTERS {
        for column in ["serial", "weight", "count"] {
            let line = format!("shard `{shard}`, table `gadgets`, column `{column}`: no such column");
            assert!(text.contains(&line), "`{line}` is missing in: {text}");
        }
    }
    assert_error(Err::<(), _>(error), ErrorKind::Schema, &["ADD COLUMN"]);
    drop(backend.create::<Gadget>(&LETTERS));
    backend.open::<Gadget>(&LETTERS).unwrap();
}

/// A table without a unique index.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "labels")]
struct Label {
    #[id]
    id: i64,
    #[shard_key(list("red" => "a", "green" => "b", "blue" => "c"))]
    color: String,
}

/// The same table with an index that its rows break.
mod unique {
    use shard_runtime::Sharded;

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "labels", unique(color))]
    pub struct Label {
        #[id]
        pub id: i64,
        #[shard_key(list("red" => "a", "green" => "b", "blue" => "c"))]
        pub color: String,
    }
}

fn r41_duplicates_under_a_new_unique_index_are_found(backend: &Backend) {
    let cluster = backend.create::<Label>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..3).map(|id| Label { id, color: "green".to_owned() })).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    let error = backend.builder(&LETTERS).create::<unique::Label>().map(drop).unwrap_err();
    let text = error.to_string();
    let (_, sql) = text.split_once("this SQL finds: ").unwrap();
    let found =
        backend.raw("b").query_row(sql, [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)));
    assert_eq!(found.unwrap(), ("green".to_owned(), 3));
    assert_error(Err::<(), _>(error), ErrorKind::Unique, &["shard `b`", "table `labels`", "unique index"]);
}
