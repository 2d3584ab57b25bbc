//! Databases that differ from the models: everything is reported at once, and nothing is written.

use shard_runtime::prelude::*;
use shard_runtime::{Models, adopt::AdoptionReport};

use crate::{File, assert_error, texts};

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "owners", index(name))]
pub struct Owner {
    #[id]
    #[shard_key(list("Asia" => "asia", "Europe" => "europe"))]
    pub region: String,
    pub name: String,
    #[lookup]
    pub email: Option<String>,
    pub size: i32,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "pets", unique(owner, chip))]
pub struct Pet {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub owner: Parent<Owner>,
    pub chip: i64,
    pub is_wild: bool,
    pub weight: Option<f64>,
}

pub type Both = (Owner, Pet);

/// The tables as another program could have made them, without a difference.
pub const GOOD: &str = "\
    CREATE TABLE owners (region VARCHAR(10) NOT NULL PRIMARY KEY, name TEXT NOT NULL, email VARCHAR, size INT NOT NULL, note TEXT);
    CREATE INDEX by_name ON owners (name);
    CREATE INDEX by_email ON owners (email);
    CREATE TABLE pets (id INTEGER PRIMARY KEY AUTOINCREMENT, owner_id VARCHAR NOT NULL REFERENCES owners (region), chip BIGINT NOT NULL,
        is_wild BOOLEAN NOT NULL, weight DOUBLE, UNIQUE (owner_id, chip));
    CREATE INDEX by_owner ON pets (owner_id);
    INSERT INTO owners VALUES ('Asia', 'Mei', 'mei@example.com', 3, 'x'), ('Europe', 'Jan', NULL, 4, NULL);
    INSERT INTO pets (owner_id, chip, is_wild, weight) VALUES ('Asia', 1, 0, 2), ('Asia', 2, 1, NULL), ('Europe', 1, 0, 3.5);";

fn report<M: Models>(file: &File) -> AdoptionReport {
    let before = (file.schema(), file.journal_mode());
    let report = file.builder().adopt::<M>().unwrap().report().clone();
    assert_eq!((file.schema(), file.journal_mode()), before);
    assert!(file.is_untouched());
    report
}

/// Changes the good tables; each of these texts has to be in the report, and running it is refused.
#[track_caller]
fn refused(change: &str, parts: &[&str]) -> (File, AdoptionReport) {
    let file = File::new(&format!("{GOOD}; {change}"));
    let report = report::<Both>(&file);
    let found = texts(&report);
    for part in parts {
        assert!(found.contains(part), "`{part}` is not in: {report}");
    }
    assert_error(file.builder().adopt::<Both>().unwrap().run(), ErrorKind::Schema, &["shard `main`"]);
    assert!(file.is_untouched());
    (file, report)
}

/// After the SQL of the report the database is adopted.
#[track_caller]
fn healed(change: &str, parts: &[&str]) {
    let (file, report) = refused(change, parts);
    file.heal(&report);
    let cluster = file.builder().adopt::<Both>().unwrap().run().unwrap();
    assert_eq!(cluster.verify().unwrap().found(), 0);
}

#[test]
fn good_tables_are_adopted_and_used() {
    let file = File::new(GOOD);
    assert_eq!(texts(&report::<Both>(&file)), "");
    let cluster = file.builder().adopt::<Both>().unwrap().run().unwrap();
    let mut session = cluster.session();
    let mei = session.all(Owner::select().filter(Owner::EMAIL.eq("mei@example.com"))).unwrap();
    assert_eq!(
        (mei.len(), mei[0].region.as_str()),
        (1, "Asia"),
        "adoption has made the entries of the lookup"
    );
    let pets = session.all(mei[0].children::<Pet>().order_by(Pet::ID.asc())).unwrap();
    let seen: Vec<_> = pets.iter().map(|pet| (pet.id, pet.is_wild, pet.weight)).collect();
    assert_eq!(seen, [(1, false, Some(2.0)), (2, true, None)]);
    let pet =
        session.add(NewPet { owner: mei[0].link(), chip: 9, is_wild: true, weight: Some(1.5) }).unwrap();
    assert_eq!(pet.id, 4);
    // Keys that the model declares to be on other shards are on this one; others have no shard still.
    let wrong = Owner { region: "Mars".into(), name: "x".into(), email: None, size: 1 };
    assert_error(session.add(wrong), ErrorKind::UnmappedKey, &["Mars"]);
    session.commit().unwrap();
}

#[test]
fn tables_and_columns_that_are_missing() {
    healed("DROP TABLE pets", &["table `pets`: no such table"]);
    healed(
        "DROP INDEX by_email; ALTER TABLE owners DROP COLUMN email",
        &["table `owners`, column `email`: no such column"],
    );
    let text = "table `owners`, column `size`: no such column; make the field an `Option`";
    healed("ALTER TABLE owners DROP COLUMN size", &[text]);
    healed(
        "DROP INDEX by_name; DROP INDEX by_owner; CREATE INDEX other ON pets (owner_id, weight)",
        &["table `owners`: no index on name", "table `pets`: no index on owner_id"],
    );
    healed(
        "CREATE TABLE pets2 AS SELECT 1 AS x; DROP TABLE pets2; DROP TABLE pets;
         CREATE TABLE pets (id INTEGER PRIMARY KEY, owner_id TEXT NOT NULL, chip INT NOT NULL, is_wild INT NOT NULL, weight REAL);
         CREATE INDEX o ON pets (owner_id); CREATE UNIQUE INDEX partial ON pets (owner_id, chip) WHERE chip > 1;",
        &["table `pets`: no unique index on owner_id, chip"],
    );
}

/// SQLite takes the quoted name of a column that does not exist for a text.
#[test]
fn an_index_on_a_missing_column_has_no_sql() {
    let (file, report) = refused(
        "ALTER TABLE pets RENAME COLUMN owner_id TO owner",
        &["column `owner_id`: no such column; if another column has its values, rename it: ALTER TABLE"],
    );
    let indexes: Vec<_> =
        report.differences.iter().filter(|found| found.message.contains("index on")).collect();
    assert_eq!(indexes.len(), 2, "{report}");
    assert!(
        indexes.iter().all(|index| index.sql.is_empty() && index.remedy.contains("owner_id first")),
        "{report}"
    );
    file.plain().execute_batch("ALTER TABLE pets RENAME COLUMN owner TO owner_id").unwrap();
    assert_eq!(file.builder().adopt::<Both>().unwrap().run().unwrap().verify().unwrap().found(), 0);
}

#[test]
fn types_and_null() {
    let remade = |columns: &str| {
        format!("DROP TABLE pets; CREATE TABLE pets ({columns}); CREATE INDEX by_owner2 ON pets (owner_id)")
    };
    let unique = "UNIQUE (owner_id, chip)";
    healed(
        &remade(&format!(
            "id INTEGER PRIMARY KEY, owner_id TEXT NOT NULL, chip TEXT NOT NULL, is_wild INT NOT NULL, weight NUMERIC(5, 2) DEFAULT 1 CHECK (weight > 0), {unique}"
        )),
        &[
            "column `chip`: expected type INTEGER, found TEXT",
            "column `weight`: expected type REAL, found NUMERIC(5, 2)",
        ],
    );
    healed(
        &remade(&format!(
            "id INTEGER PRIMARY KEY, owner_id TEXT NOT NULL, chip INT, is_wild INT NOT NULL, weight REAL NOT NULL, {unique}"
        )),
        &["column `chip`: expected NOT NULL, found NULL", "column `weight`: expected NULL, found NOT NULL"],
    );
    healed(
        &remade(&format!(
            "id INTEGER PRIMARY KEY, owner_id TEXT NOT NULL, chip INT NOT NULL, is_wild INT NOT NULL, weight REAL, extra INT NOT NULL, {unique}"
        )),
        &["column `extra`: column is NOT NULL without a default, but the model has no such field"],
    );
    let strict = remade(&format!(
        "id INTEGER PRIMARY KEY, owner_id TEXT NOT NULL, chip ANY NOT NULL, is_wild INT NOT NULL, weight REAL, {unique}"
    ));
    refused(
        &strict.replace("; CREATE INDEX", " STRICT; CREATE INDEX"),
        &["column `chip`: expected type INTEGER, found ANY"],
    );
    refused(
        "DROP TABLE pets; DROP TABLE owners; CREATE TABLE owners (region INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, size INT NOT NULL)",
        &["table `owners`, column `region`: expected type TEXT, found INTEGER"],
    );
    refused(
        "DROP TABLE pets; CREATE TABLE pets (id INTEGER NOT NULL, owner_id TEXT NOT NULL, chip INT NOT NULL, is_wild INT NOT NULL, weight REAL, PRIMARY KEY (id, owner_id))",
        &[
            "column `owner_id`: the column is part of the primary key",
            "the database does not generate this id",
        ],
    );
    refused(
        "DROP TABLE pets; CREATE TABLE pets (id INT PRIMARY KEY, owner_id TEXT NOT NULL, chip INT NOT NULL, is_wild INT NOT NULL, weight REAL)",
        &[
            "column `id`: the model has `#[id(auto)]`, and the database does not generate this id; declare it `INTEGER PRIMARY KEY`",
        ],
    );
    refused(
        "DROP TABLE owners; CREATE TABLE owners (region TEXT COLLATE NOCASE NOT NULL PRIMARY KEY, name TEXT NOT NULL, email TEXT, size INT NOT NULL)",
        &["column `region`: expected collation BINARY, found NOCASE"],
    );
}

#[test]
fn tables_of_other_forms() {
    refused(
        "ALTER TABLE pets RENAME TO all_pets; CREATE VIEW pets AS SELECT * FROM all_pets",
        &["table `pets`: expected a table, found a view; name a table"],
    );
    refused(
        "DROP TABLE pets; CREATE TABLE pets (id INTEGER PRIMARY KEY, owner_id TEXT NOT NULL, chip INT NOT NULL, is_wild INT NOT NULL, weight REAL) WITHOUT ROWID",
        &["found a WITHOUT ROWID table"],
    );
    // With ids of the caller it is in order.
    let file = File::new(
        &GOOD.replace("size INT NOT NULL, note TEXT)", "size INT NOT NULL, note TEXT) WITHOUT ROWID"),
    );
    let cluster = file.builder().adopt::<Both>().unwrap().run().unwrap();
    assert_eq!(cluster.session().get::<Owner>("Asia".to_owned()).unwrap().unwrap().size, 3);
}

#[test]
fn rows_that_no_field_can_hold() {
    let (_, report) = refused(
        "UPDATE owners SET size = 'large' WHERE region = 'Asia'; UPDATE pets SET is_wild = 7 WHERE id = 2; \
         UPDATE pets SET weight = 'heavy'",
        &[
            "table `owners`, column `size`: 1 of 2 rows cannot be read: expected an integer, found `large` (for example the row with region Asia)",
            "table `pets`, column `is_wild`: 1 of 3 rows cannot be read",
            "the row with id 2",
            "table `pets`, column `weight`: 3 of 3 rows cannot be read",
        ],
    );
    assert_eq!(report.differences.len(), 3, "{report}");
    // The SQL lists the rows.
    let file = File::new(&format!("{GOOD}; UPDATE owners SET size = 'large' WHERE region = 'Europe'"));
    let listed = report_sql(&file);
    assert_eq!(file.plain().query_row(&listed, [], |row| row.get::<_, String>(0)).unwrap(), "Europe");

    refused("UPDATE owners SET size = 5000000000", &["5000000000 does not fit `i32`"]);
    refused(
        "INSERT INTO owners VALUES ('Mars', 'x', NULL, 1, NULL)",
        &["table `owners`, column `region`: 1 of 3 rows have a key without a shard", "Mars"],
    );
    healed(
        "DROP TABLE pets; CREATE TABLE pets (id INTEGER PRIMARY KEY, owner_id TEXT NOT NULL, chip INT, is_wild INT NOT NULL, weight REAL, UNIQUE (owner_id, chip)); \
         CREATE INDEX o ON pets (owner_id); INSERT INTO pets VALUES (1, 'Asia', NULL, 0, NULL), (2, 'Asia', 5, 0, NULL)",
        &[
            "column `chip`: 1 of 2 rows cannot be read: expected an integer, found NULL (for example the row with id 1); make the field an `Option`",
        ],
    );
}

fn report_sql(file: &File) -> String {
    report::<Both>(file).differences[0].sql[0].clone()
}

#[test]
fn orphans_and_shared_values() {
    refused(
        "PRAGMA foreign_keys = OFF; DELETE FROM owners WHERE region = 'Asia'",
        &[
            "table `pets`, column `owner_id`: 2 of 3 rows refer to a row of `owners` that does not exist (for example the row with the id 1)",
        ],
    );
    let (file, report) = refused(
        "UPDATE owners SET email = 'same@example.com'",
        &[
            "table `owners`, column `email`: 1 values of the `#[lookup]` are shared by several rows (one of them by the row with the id Asia)",
        ],
    );
    let shared: (String, i64) = file
        .plain()
        .query_row(&report.differences[0].sql[0], [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(shared, ("same@example.com".to_owned(), 2));
    refused(
        "DROP TABLE pets; CREATE TABLE pets (id INTEGER PRIMARY KEY, owner_id TEXT NOT NULL, chip INT NOT NULL, is_wild INT NOT NULL, weight REAL); \
         CREATE INDEX o ON pets (owner_id); INSERT INTO pets VALUES (1, 'Asia', 5, 0, NULL), (2, 'Asia', 5, 0, NULL)",
        &["1 values of the unique index are shared by several rows", "no unique index on owner_id, chip"],
    );
}

#[test]
fn all_differences_are_in_one_report_and_one_script() {
    let (_, report) = refused(
        "DROP INDEX by_name; UPDATE owners SET size = 'a\n; DROP TABLE owners; --' WHERE region = 'Asia'; DROP TABLE pets",
        &["no index on name", "column `size`", "no such table"],
    );
    let script = report.to_string();
    assert!(script.starts_with("-- shard main: 3 differences, "), "{script}");
    // A value cannot leave its comment.
    assert!(script.lines().all(|line| !line.starts_with("; DROP")), "{script}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["differences"][0]["table"], "owners");
    assert_eq!(json["differences"].as_array().unwrap().len(), 3);
}

#[test]
fn foreign_keys_may_be_missing() {
    let file = File::new(&GOOD.replace(" REFERENCES owners (region)", ""));
    let report = report::<Both>(&file);
    assert_eq!(texts(&report), "");
    let note = report.notes.iter().find(|note| note.message.contains("no foreign key to `owners`"));
    assert_eq!(note.unwrap().column.as_deref(), Some("owner_id"), "{report}");
    let cluster = file.builder().adopt::<Both>().unwrap().run().unwrap();
    // Another program leaves an orphan.
    file.run("INSERT INTO pets (owner_id, chip, is_wild) VALUES ('Nowhere', 1, 0)");
    let found = cluster.verify().unwrap();
    assert_eq!((found.found(), found.row_problems().len()), (1, 1), "{found:?}");
}

#[test]
fn databases_that_are_shards_already() {
    let file = File::new(GOOD);
    drop(file.builder().adopt::<Both>().unwrap().run().unwrap());
    let again = file.builder().adopt::<Both>().map(drop);
    assert_error(again, ErrorKind::WrongDatabase, &["shard `main`", "is this shard already", "`open`"]);
    let renamed = Cluster::builder().shard("other", format!("sqlite:{}", file.path().display()));
    assert_error(
        renamed.adopt::<Both>().map(drop),
        ErrorKind::WrongDatabase,
        &["expected shard `other`, found shard `main`"],
    );
    // Without its control database.
    let elsewhere = File::new("CREATE TABLE x (y)");
    let control = format!("sqlite:{}", elsewhere.folder.path().join("other.db").display());
    let orphan = file.builder().control(control).adopt::<Both>().map(drop);
    assert_error(orphan, ErrorKind::WrongDatabase, &["shard of a cluster whose control database is not at"]);
    // Another database with the control database of this cluster.
    let new = File::new(GOOD);
    let control = format!("sqlite:{}", file.folder.path().join("control.db").display());
    let other = new.builder().control(control).adopt::<Both>().map(drop);
    assert_error(
        other,
        ErrorKind::WrongDatabase,
        &["belongs to a cluster that has a shard `main`", "name another `control`"],
    );
    assert!(new.is_untouched());
}

#[test]
fn configurations_and_files_that_cannot_be_adopted() {
    let file = File::new(GOOD);
    let two = file.builder().shard("b", "sqlite:b.db").adopt::<Both>().map(drop);
    assert_error(two, ErrorKind::Configuration, &["configured: 2"]);
    assert_error(Cluster::builder().adopt::<Both>().map(drop), ErrorKind::Configuration, &["configured: 0"]);
    let nowhere = file.folder.path().join("nowhere.db");
    let missing = Cluster::builder().shard("main", format!("sqlite:{}", nowhere.display())).adopt::<Both>();
    assert_error(missing.map(drop), ErrorKind::Missing, &["shard `main`", "nowhere.db"]);
    assert!(!nowhere.exists());

    let patience = std::time::Duration::from_millis(100);
    let locked = file.plain();
    locked.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let busy = file.builder().busy_timeout(patience).adopt::<Both>().map(drop);
    assert_error(busy, ErrorKind::Busy, &["shard `main`"]);
    locked.execute_batch("COMMIT").unwrap();

    std::fs::write(file.folder.path().join("no.db"), "this is not a database, but it is long enough")
        .unwrap();
    let no = Cluster::builder()
        .shard("main", format!("sqlite:{}", file.folder.path().join("no.db").display()))
        .adopt::<Both>();
    assert_error(no.map(drop), ErrorKind::Corrupt, &["shard `main`"]);
}

#[test]
fn a_prefix_is_adopted() {
    let prefixed = GOOD.replace("owners", "app_owners").replace("pets", "app_pets");
    let file = File::new(&format!("{prefixed}; CREATE TABLE owners (x)"));
    let builder = Cluster::builder().shard("main", format!("sqlite:{}?prefix=app_", file.path().display()));
    let cluster = builder.clone().adopt::<Both>().unwrap().run().unwrap();
    assert_eq!(cluster.session().one(Pet::select().all_shards().count()).unwrap(), 3);
    drop(cluster);
    assert_eq!(builder.open::<Both>().unwrap().verify().unwrap().found(), 0);
}
