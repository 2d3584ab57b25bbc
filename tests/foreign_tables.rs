//! A PostgreSQL server that reads all shards as one. It answers as one big table, and reads the shards that the cluster would
//! read.

use std::fmt::Write as _;
use std::sync::OnceLock;

use shard_runtime::{Cluster, ErrorKind, Parent, ShardKey, Sharded};
use sharded_tests::postgres_server::Server;

const SHARDS: [&str; 4] = ["americas", "europe", "asia", "rest"];

#[derive(ShardKey, Clone, Copy, Debug, PartialEq, Eq)]
enum Continent {
    #[shard("rest")]
    Africa,
    #[shard("rest")]
    Antarctica,
    #[shard("asia")]
    Asia,
    #[shard("europe")]
    Europe,
    #[shard("americas", text = "North America")]
    NorthAmerica,
    #[shard("rest")]
    Oceania,
    #[shard("americas", text = "South America")]
    SouthAmerica,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "cities")]
struct City {
    #[id]
    id: i64,
    name: String,
    country: String,
    #[shard_key]
    continent: Continent,
    latitude: f64,
    longitude: f64,
    population: i64,
    timezone: String,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "observations")]
struct Observation {
    #[id]
    id: i64,
    #[shard_parent]
    city: Parent<City>,
    celsius: Option<f64>,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "tenants")]
struct Tenant {
    #[id]
    #[shard_key(hash)]
    id: i64,
    name: String,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "invoices")]
struct Invoice {
    #[id]
    id: i64,
    #[shard_parent(Tenant)]
    tenant_id: i64,
    cents: i64,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "readings")]
struct Reading {
    #[id]
    id: i64,
    #[shard_key(range("americas" => ..100, "europe" => 100..200, "asia" => 200..300, "rest" => 300..))]
    meter: i64,
}

/// Two ranges that do not meet, on one shard.
#[derive(Sharded, Clone, Debug)]
#[sharded(table = "parcels")]
struct Parcel {
    #[id]
    id: i64,
    #[shard_key(range("asia" => ..10, "europe" => 10..20, "asia" => 20..))]
    depot: i64,
}

type Models = (City, Observation, Tenant, Invoice, Reading, Parcel);

struct World {
    cluster: Cluster,
    servers: Vec<Server>,
    coordinator: Server,
}

/// Four servers with the world's cities, and a fifth that reads them; and the same rows in its own schema `big`.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(make_world)
}

fn make_world() -> World {
    let servers: Vec<Server> = SHARDS.iter().map(|_| Server::start()).collect();
    let coordinator = Server::start();
    servers.iter().chain([&coordinator]).for_each(Server::stop_with_the_process);
    let builder = SHARDS
        .iter()
        .zip(&servers)
        .fold(Cluster::builder(), |builder, (shard, server)| builder.shard(*shard, server.url()));
    let cluster = builder.create::<Models>().unwrap();
    let big = fill(&cluster);
    cluster.foreign_tables_sql().unwrap().run_on(&coordinator.url()).unwrap();
    coordinator.psql(&big);
    World { cluster, servers, coordinator }
}

/// Fills the cluster; the script that fills one big table each with the same rows.
fn fill(cluster: &Cluster) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/weather/data");
    let mut reader = csv::Reader::from_path(format!("{folder}/cities.csv")).unwrap();
    let mut cities = Vec::new();
    let mut script = "CREATE SCHEMA big; SET search_path = big;\n".to_owned();
    for line in [
        "cities (id bigint, name text COLLATE \"C\", country text COLLATE \"C\", continent text COLLATE \"C\", latitude float8, longitude float8, population bigint, timezone text COLLATE \"C\")",
        "observations (id bigint, city_id bigint, celsius float8)",
        "tenants (id bigint, name text COLLATE \"C\")",
        "invoices (id bigint, tenant_id bigint, cents bigint)",
        "readings (id bigint, meter bigint)",
        "parcels (id bigint, depot bigint)",
    ] {
        writeln!(script, "CREATE TABLE {line};").unwrap();
    }
    for row in reader.records() {
        let row = row.unwrap();
        let continent = match &row[3] {
            "Africa" => Continent::Africa,
            "Antarctica" => Continent::Antarctica,
            "Asia" => Continent::Asia,
            "Europe" => Continent::Europe,
            "North America" => Continent::NorthAmerica,
            "Oceania" => Continent::Oceania,
            "South America" => Continent::SouthAmerica,
            other => panic!("{other}"),
        };
        cities.push(City {
            id: row[0].parse().unwrap(),
            name: row[1].to_owned(),
            country: row[2].to_owned(),
            continent,
            latitude: row[4].parse().unwrap(),
            longitude: row[5].parse().unwrap(),
            population: row[6].parse().unwrap(),
            timezone: row[7].to_owned(),
        });
    }
    writeln!(script, "\\copy cities FROM '{folder}/cities.csv' CSV HEADER").unwrap();
    let mut session = cluster.session();
    let stored = session.add_all(cities).unwrap();
    let mut copy = |table: &str, rows: Vec<String>| {
        writeln!(script, "COPY {table} FROM STDIN CSV;\n{}\n\\.", rows.join("\n")).unwrap();
    };
    let observations = (0..26_114_i64).map(|id| {
        let city = &stored[(id as usize * 7_919) % stored.len()];
        let celsius = (id % 13 != 0).then(|| (id % 601) as f64 / 10.0 - 20.0);
        Observation { id, city: city.link(), celsius }
    });
    let observations: Vec<Observation> = observations.collect();
    let line = |o: &Observation| {
        format!("{},{},{}", o.id, o.city.id(), o.celsius.map_or(String::new(), |celsius| celsius.to_string()))
    };
    copy("observations", observations.iter().map(line).collect());
    session.add_all(observations).unwrap();
    let tenants = (1..=500).map(|id| Tenant { id, name: format!("tenant {}", id % 50) });
    copy("tenants", tenants.clone().map(|t| format!("{},{}", t.id, t.name)).collect());
    session.add_all(tenants).unwrap();
    let invoices = (1..=5_000).map(|id| Invoice { id, tenant_id: 1 + id * 31 % 500, cents: id * 17 % 1_000 });
    copy("invoices", invoices.clone().map(|i| format!("{},{},{}", i.id, i.tenant_id, i.cents)).collect());
    session.add_all(invoices).unwrap();
    let readings = (0..400).map(|id| Reading { id, meter: id });
    copy("readings", readings.clone().map(|r| format!("{},{}", r.id, r.meter)).collect());
    session.add_all(readings).unwrap();
    let parcels = (0..40).map(|id| Parcel { id, depot: id });
    copy("parcels", parcels.clone().map(|p| format!("{},{}", p.id, p.depot)).collect());
    session.add_all(parcels).unwrap();
    session.commit().unwrap();
    script
}

const QUERIES: [&str; 14] = [
    "SELECT count(*), sum(population), min(latitude), max(longitude) FROM cities",
    "SELECT continent, count(*), sum(population) FROM cities GROUP BY continent ORDER BY continent",
    "SELECT name, population FROM cities ORDER BY population DESC, id LIMIT 20",
    "SELECT country, count(*) FROM cities WHERE continent = 'Europe' GROUP BY country HAVING count(*) > 100 ORDER BY 2 DESC, 1",
    "SELECT name FROM cities WHERE continent IN ('Asia', 'Oceania') AND population > 5000000 ORDER BY name, id",
    "SELECT continent, name FROM (SELECT continent, name, rank() OVER (PARTITION BY continent ORDER BY population DESC, id) AS place FROM cities) AS ranked WHERE place <= 3 ORDER BY continent, place, name",
    "SELECT c.continent, count(o.id), round(avg(o.celsius)::numeric, 6) FROM cities c JOIN observations o ON o.city_id = c.id GROUP BY c.continent ORDER BY 1",
    "SELECT c.name, o.celsius FROM observations o JOIN cities c ON c.id = o.city_id WHERE o.celsius > 39.9 ORDER BY o.celsius DESC, o.id LIMIT 15",
    "SELECT count(*) FROM cities c WHERE NOT EXISTS (SELECT FROM observations o WHERE o.city_id = c.id)",
    "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY population) FROM cities WHERE continent = 'Africa'",
    "WITH spent AS (SELECT tenant_id, sum(cents) AS cents FROM invoices GROUP BY tenant_id) SELECT t.name, sum(s.cents) FROM tenants t JOIN spent s ON s.tenant_id = t.id GROUP BY t.name ORDER BY 2 DESC, 1 LIMIT 10",
    "SELECT t.id, count(*), sum(i.cents) FROM tenants t JOIN invoices i ON i.tenant_id = t.id WHERE t.id = 77 GROUP BY t.id",
    "SELECT count(*), sum(meter) FROM readings WHERE meter BETWEEN 90 AND 210",
    "SELECT p.depot, r.id FROM parcels p JOIN readings r ON r.meter = p.depot * 10 ORDER BY 1 LIMIT 50",
];

#[test]
fn queries_over_all_shards_are_those_over_one_big_table() {
    let world = world();
    for query in QUERIES {
        let of = |schema: &str| world.coordinator.psql(&format!("SET search_path = {schema}; {query};"));
        let (fleet, big) = (of("public"), of("big"));
        assert!(!big.trim().is_empty(), "{query}");
        assert_eq!(fleet, big, "{query}");
    }
}

/// The foreign servers that a plan reads.
fn asked(world: &World, query: &str) -> Vec<&'static str> {
    let plan = world.coordinator.psql(&format!("EXPLAIN (VERBOSE, COSTS OFF) {query};"));
    let reads = |shard: &&&str| {
        plan.lines().any(|line| line.contains("Foreign Scan") && line.contains(**shard))
            || plan.lines().any(|line| line.contains("Relations:") && line.contains(**shard))
    };
    SHARDS.iter().filter(reads).copied().collect()
}

#[test]
fn shards_are_pruned_as_the_cluster_narrows() {
    let world = world();
    let names = |shards: Vec<&str>| shards.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let europe = City::select().filter(City::CONTINENT.eq(Continent::Europe));
    let two = City::select().filter(City::CONTINENT.is_in([Continent::Asia, Continent::Africa]));
    let tenant = Tenant::select().filter(Tenant::ID.eq(77));
    let meters = Reading::select().filter(Reading::METER.ge(90) & Reading::METER.lt(150));
    let cluster = &world.cluster;
    for (ours, theirs) in [
        (
            names(cluster.explain(&europe).unwrap().shards()),
            "SELECT * FROM cities WHERE continent = 'Europe'",
        ),
        (
            names(cluster.explain(&two).unwrap().shards()),
            "SELECT * FROM cities WHERE continent IN ('Asia', 'Africa')",
        ),
        (names(cluster.explain(&tenant).unwrap().shards()), "SELECT * FROM tenants WHERE id = 77"),
        (
            names(cluster.explain(&meters).unwrap().shards()),
            "SELECT * FROM readings WHERE meter >= 90 AND meter < 150",
        ),
        (names(cluster.explain(&City::select().all_shards()).unwrap().shards()), "SELECT * FROM cities"),
    ] {
        let mut theirs_asked = names(asked(world, theirs));
        theirs_asked.sort_by_key(|name| SHARDS.iter().position(|shard| shard == name));
        assert_eq!(theirs_asked, ours, "{theirs}");
    }
}

#[test]
fn tables_of_one_key_are_joined_on_their_shards_and_shards_are_read_at_the_same_time() {
    let world = world();
    let join = "SELECT t.name, i.cents FROM tenants t JOIN invoices i ON i.tenant_id = t.id";
    let plan = world.coordinator.psql(&format!("EXPLAIN (VERBOSE, COSTS OFF) {join};"));
    assert_eq!(plan.matches("Relations:").count(), SHARDS.len(), "the join is not the shards' own:\n{plan}");
    let plan = world.coordinator.psql("EXPLAIN (COSTS OFF) SELECT * FROM cities;");
    assert_eq!(plan.matches("Async Foreign Scan").count(), SHARDS.len(), "{plan}");
}

#[test]
fn the_script_can_be_run_again_and_holds_no_password() {
    let world = world();
    let sql = world.cluster.foreign_tables_sql().unwrap();
    sql.run_on(&world.coordinator.url()).unwrap();
    let script = sql.to_string();
    assert!(script.contains("PARTITION BY LIST (\"continent\")"), "{script}");
    for server in &world.servers {
        let url = server.url();
        let password = url.split(':').nth(2).and_then(|rest| rest.split('@').next()).unwrap();
        assert!(password.len() > 8 && !script.contains(password) && !format!("{sql:?}").contains(password));
    }
    let nowhere = sql.run_on("sqlite:x.db").unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::Configuration);
}

#[test]
fn sqlite_shards_cannot_be_read_by_a_server() {
    let cluster = Cluster::in_memory::<Tenant>(["a", "b"]).unwrap();
    let error = cluster.foreign_tables_sql().err().unwrap();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Configuration, Some("a")));
}
