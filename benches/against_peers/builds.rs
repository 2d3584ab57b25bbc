//! `--builds`: a crate with the same ten models for each library, compiled from nothing, and again after a line has changed.
//!
//! Each has the features that its models, a connection and a query on SQLite need, and no more. SQLite is compiled.

use std::fmt::Write;

use crate::cold_build::{Built, Crate, framework};
use crate::peers::{Program, cargo};
use crate::shared::measure::Failure;
use crate::table::aligned;

/// Compiles the crate of each library and prints a table, or lines of JSON.
pub fn run(libraries: impl Iterator<Item = &'static Program>, json: bool) -> Result<(), Failure> {
    let mut rows = vec![
        ["library", "version", "cold, CPU s", "cold, s", "packages", "again, CPU s", "again, s"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut failed = Vec::new();
    for library in libraries {
        eprintln!("building ten models with {}", library.name);
        let fetched = cargo().args(["fetch", "--locked", "--quiet"]).current_dir(library.path()).status()?;
        if !fetched.success() {
            return Err(format!("the packages of {} cannot be fetched", library.name).into());
        }
        let built = match ten_models(library)?.build() {
            Ok(built) => built,
            Err(error) => {
                eprintln!("{}: {error}", library.name);
                failed.push(library.name);
                continue;
            }
        };
        let Built { cold_cpu_seconds, cold_seconds, packages, rebuild_cpu_seconds, rebuild_seconds } = built;
        let version = library.version()?;
        if json {
            let line = serde_json::json!({
                "library": library.name,
                "version": version,
                "cold_cpu_seconds": cold_cpu_seconds,
                "cold_seconds": cold_seconds,
                "packages": packages,
                "rebuild_cpu_seconds": rebuild_cpu_seconds,
                "rebuild_seconds": rebuild_seconds,
            });
            println!("{line}");
        }
        let cpu = |seconds: Option<f64>, digits: usize| {
            seconds.map_or("–".to_owned(), |seconds| format!("{seconds:.digits$}"))
        };
        rows.push(vec![
            library.name.to_owned(),
            version,
            cpu(cold_cpu_seconds, 1),
            format!("{cold_seconds:.1}"),
            packages.to_string(),
            cpu(rebuild_cpu_seconds, 2),
            format!("{rebuild_seconds:.2}"),
        ]);
    }
    if !json {
        print!("{}", aligned(&rows));
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!("these crates do not compile: {}", failed.join(", ")).into()),
    }
}

fn ten_models(library: &Program) -> Result<Crate, Failure> {
    let (dependencies, program) = match library.name {
        "sharded" => return Ok(framework()),
        "diesel" => (DIESEL, diesel()),
        "sqlx" => (SQLX, sqlx()),
        "sea-orm" => (SEA_ORM, sea_orm()),
        "toasty" => (TOASTY, toasty()),
        other => return Err(format!("{other} has no crate").into()),
    };
    Ok(Crate { dependencies: dependencies.to_owned(), lock: library.path().join("Cargo.lock"), program })
}

const DIESEL: &str = "\
diesel = { version = \"2\", default-features = false, features = [\"sqlite\"] }
libsqlite3-sys = { version = \"*\", features = [\"bundled\"] }
";

fn diesel() -> String {
    let mut program = "use diesel::prelude::*;\n".to_owned();
    for number in 1..=5 {
        let _ = write!(
            program,
            "diesel::table! {{ customer{number}s (id) {{ id -> BigInt, name -> Text, street -> Text, city -> Text, \
             note -> Nullable<Text>, cents -> BigInt, rate -> Double, active -> Bool, }} }}\n\
             diesel::table! {{ order{number}s (id) {{ id -> BigInt, customer{number}_id -> BigInt, article -> Text, \
             comment -> Nullable<Text>, amount -> BigInt, cents -> BigInt, weight -> Double, paid -> Bool, }} }}\n\
             diesel::joinable!(order{number}s -> customer{number}s (customer{number}_id));\n\
             diesel::allow_tables_to_appear_in_same_query!(order{number}s, customer{number}s);\n\
             #[derive(Queryable, Selectable, Identifiable, Insertable, AsChangeset, Clone, Debug, PartialEq)]\n\
             pub struct Customer{number} {{ id: i64, name: String, street: String, city: String, \
             note: Option<String>, cents: i64, rate: f64, active: bool }}\n\
             #[derive(Queryable, Selectable, Identifiable, Insertable, AsChangeset, Associations, Clone, Debug, PartialEq)]\n\
             #[diesel(belongs_to(Customer{number}))]\n\
             pub struct Order{number} {{ id: i64, customer{number}_id: i64, article: String, \
             comment: Option<String>, amount: i64, cents: i64, weight: f64, paid: bool }}\n"
        );
    }
    program.push_str(
        "fn main() -> Result<(), Box<dyn std::error::Error>> {\n    \
         let mut connection = SqliteConnection::establish(\":memory:\")?;\n    \
         let query = customer1s::table.filter(customer1s::id.eq(CHANGED)).select(Customer1::as_select());\n    \
         println!(\"{:?}\", query.load(&mut connection)?);\n    \
         Ok(())\n}\n",
    );
    program
}

const SQLX: &str = "\
sqlx = { version = \"*\", default-features = false, features = [\"derive\", \"runtime-tokio\", \"sqlite\"] }
tokio = { version = \"1\", default-features = false, features = [\"rt\"] }
";

fn sqlx() -> String {
    let mut program = "use sqlx::{Connection, FromRow, SqliteConnection};\n".to_owned();
    for number in 1..=5 {
        let _ = write!(
            program,
            "#[derive(FromRow, Clone, Debug, PartialEq)]\n\
             pub struct Customer{number} {{ id: i64, name: String, street: String, city: String, \
             note: Option<String>, cents: i64, rate: f64, active: bool }}\n\
             #[derive(FromRow, Clone, Debug, PartialEq)]\n\
             pub struct Order{number} {{ id: i64, customer_id: i64, article: String, \
             comment: Option<String>, amount: i64, cents: i64, weight: f64, paid: bool }}\n"
        );
    }
    program.push_str(&in_runtime(
        "let mut connection = SqliteConnection::connect(\"sqlite::memory:\").await?;\n        \
         let query = sqlx::query_as::<_, Customer1>(\"SELECT * FROM customer1 WHERE id = ?\").bind(CHANGED);\n        \
         println!(\"{:?}\", query.fetch_all(&mut connection).await?);\n",
    ));
    program
}

const SEA_ORM: &str = "\
sea-orm = { version = \"2\", default-features = false, features = [\"macros\", \"runtime-tokio\", \"sqlx-sqlite\"] }
tokio = { version = \"1\", default-features = false, features = [\"rt\"] }
";

fn sea_orm() -> String {
    let mut program = "use sea_orm::{Database, entity::prelude::*};\n".to_owned();
    for number in 1..=5 {
        let _ = write!(
            program,
            "mod customer{number} {{\n    use sea_orm::entity::prelude::*;\n    #[sea_orm::model]\n    \
             #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]\n    \
             #[sea_orm(table_name = \"customer{number}\")]\n    \
             pub struct Model {{ #[sea_orm(primary_key, auto_increment = false)] pub id: i64, pub name: String, \
             pub street: String, pub city: String, pub note: Option<String>, pub cents: i64, pub rate: f64, \
             pub active: bool, #[sea_orm(has_many)] pub orders: HasMany<super::order{number}::Entity> }}\n    \
             impl ActiveModelBehavior for ActiveModel {{}}\n}}\n\
             mod order{number} {{\n    use sea_orm::entity::prelude::*;\n    #[sea_orm::model]\n    \
             #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]\n    \
             #[sea_orm(table_name = \"order{number}\")]\n    \
             pub struct Model {{ #[sea_orm(primary_key)] pub id: i64, pub customer_id: i64, pub article: String, \
             pub comment: Option<String>, pub amount: i64, pub cents: i64, pub weight: f64, pub paid: bool, \
             #[sea_orm(belongs_to, from = \"customer_id\", to = \"id\")] \
             pub customer: BelongsTo<super::customer{number}::Entity> }}\n    \
             impl ActiveModelBehavior for ActiveModel {{}}\n}}\n"
        );
    }
    program.push_str(&in_runtime(
        "let connection = Database::connect(\"sqlite::memory:\").await?;\n        \
         let query = customer1::Entity::find().filter(customer1::COLUMN.id.eq(CHANGED));\n        \
         println!(\"{:?}\", query.all(&connection).await?);\n",
    ));
    program
}

const TOASTY: &str = "\
toasty = { version = \"*\", default-features = false, features = [\"sqlite\"] }
tokio = { version = \"1\", default-features = false, features = [\"rt\"] }
";

fn toasty() -> String {
    let mut program = "use toasty::Deferred;\n".to_owned();
    for number in 1..=5 {
        let _ = write!(
            program,
            "#[derive(Debug, toasty::Model)]\n\
             pub struct Customer{number} {{ #[key] id: i64, name: String, street: String, city: String, \
             note: Option<String>, cents: i64, rate: f64, active: bool, \
             #[has_many(pair = customer)] orders: Deferred<Vec<Order{number}>> }}\n\
             #[derive(Debug, toasty::Model)]\n\
             pub struct Order{number} {{ #[key] #[auto] id: i64, #[index] customer_id: i64, \
             #[belongs_to(key = customer_id, references = id)] customer: Deferred<Customer{number}>, \
             article: String, comment: Option<String>, amount: i64, cents: i64, weight: f64, paid: bool }}\n"
        );
    }
    let models: Vec<String> =
        (1..=5).flat_map(|number| [format!("Customer{number}"), format!("Order{number}")]).collect();
    program.push_str(&in_runtime(&format!(
        "let models = toasty::models!({});\n        \
         let mut db = toasty::Db::builder().models(models).connect(\"sqlite::memory:\").await?;\n        \
         println!(\"{{:?}}\", Customer1::filter_by_id(CHANGED).exec(&mut db).await?);\n",
        models.join(", ")
    )));
    program
}

/// A `main` that runs these statements.
fn in_runtime(statements: &str) -> String {
    format!(
        "fn main() -> Result<(), Box<dyn std::error::Error>> {{\n    \
         tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {{\n        \
         {statements}        Ok(())\n    }})\n}}\n"
    )
}
