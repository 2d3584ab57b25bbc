//! The example service over real HTTP, with 64 clients at once.

#[path = "../metrics.rs"]
mod metrics;
#[path = "../service.rs"]
mod service;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};
use shard_runtime::{Cluster, Durability, Sharded};

const CLIENTS: usize = 64;
const REPORTS: usize = 5;
const CONTINENTS: [&str; 4] = ["North America", "Asia", "Europe", "South America"];

/// The service on a port of its own, and its cluster. It ends with the test's process.
fn serve(folder: &std::path::Path) -> (SocketAddr, Cluster) {
    let builder = Cluster::builder().durability(Durability::Normal).connections(32);
    let builder = service::SHARDS.iter().fold(builder, |builder, shard| {
        builder.shard(*shard, format!("sqlite:{}", folder.join(format!("{shard}.db")).display()))
    });
    let cluster = builder.create::<(service::City, service::Report)>().unwrap();
    let routes = service::routes(cluster.clone());
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, routes).await.unwrap();
        });
    });
    (address.recv().unwrap(), cluster)
}

/// A client with a connection that it keeps.
struct Client(BufReader<TcpStream>);

impl Client {
    fn new(address: SocketAddr) -> Self {
        Client(BufReader::new(TcpStream::connect(address).unwrap()))
    }

    fn send(&mut self, method: &str, path: &str, body: &str) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    /// The status and the body of an answer.
    fn receive(&mut self) -> (u16, String) {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut length = 0;
        loop {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status, String::from_utf8(body).unwrap())
    }

    fn ask(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.send(method, path, &body.to_string());
        let (status, body) = self.receive();
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }
}

fn temperature(client: usize, report: usize) -> f64 {
    (client * 37 % CLIENTS * REPORTS + report) as f64 / 2.0
}

#[test]
fn sixty_four_clients_write_and_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (address, cluster) = serve(folder.path());
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || {
                let mut client = Client::new(address);
                let (continent, name) = (CONTINENTS[number % 4], format!("city {number}"));
                let (status, city) =
                    client.ask("POST", "/cities", json!({ "continent": continent, "name": name }));
                assert_eq!((status, &city["shard"]), (201, &json!(service::SHARDS[number % 4])), "{city}");
                let reports = format!("/cities/{}/reports", city["id"]);
                for report in 0..REPORTS {
                    let body = json!({ "temperature": temperature(number, report) });
                    let (status, created) = client.ask("POST", &reports, body);
                    assert_eq!((status, &created["shard"]), (201, &city["shard"]), "{created}");
                }
                let (status, listed) = client.ask("GET", &reports, Value::Null);
                let expected: Vec<Value> = (0..REPORTS)
                    .map(|report| json!({ "city": name, "temperature": temperature(number, report) }))
                    .collect();
                assert_eq!((status, listed), (200, Value::Array(expected)));
                let (status, warmest) = client.ask("GET", "/reports/warmest", Value::Null);
                let warmest: Vec<f64> = warmest
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|report| report["temperature"].as_f64().unwrap())
                    .collect();
                assert!(status == 200 && !warmest.is_empty() && warmest.len() <= 10);
                assert!(warmest.is_sorted_by(|a, b| a >= b), "{warmest:?}");
            });
        }
    });
    let mut all: Vec<(f64, String)> = (0..CLIENTS)
        .flat_map(|client| {
            (0..REPORTS).map(move |report| (temperature(client, report), format!("city {client}")))
        })
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let expected: Vec<Value> = all
        .iter()
        .take(10)
        .map(|(temperature, city)| json!({ "city": city, "temperature": temperature }))
        .collect();
    let (_, warmest) = Client::new(address).ask("GET", "/reports/warmest", Value::Null);
    assert_eq!(warmest, Value::Array(expected));
    let stored = cluster.session().one(service::Report::select().all_shards().count()).unwrap();
    assert_eq!(stored, (CLIENTS * REPORTS) as u64);
}

#[test]
fn errors_reach_the_client_or_the_operator() {
    let folder = tempfile::tempdir().unwrap();
    let (address, cluster) = serve(folder.path());
    let mut client = Client::new(address);
    let (status, said) = client.ask("POST", "/cities", json!({ "continent": "Atlantis", "name": "x" }));
    assert!(status == 400 && said.as_str().unwrap().contains("Atlantis"), "{said}");
    let (status, said) = client.ask("POST", "/cities", json!({ "continent": "Asia", "name": "a\0b" }));
    assert!(status == 400 && said.as_str().unwrap().contains("column `name`"), "{said}");
    for (method, body) in [("POST", json!({ "temperature": 1.0 })), ("GET", Value::Null)] {
        let (status, _) = client.ask(method, "/cities/77/reports", body);
        assert_eq!(status, 404);
    }
    client.send("POST", "/cities", "{");
    assert_eq!(client.receive().0, 400);
    assert_eq!(cluster.session().one(service::City::select().all_shards().count()).unwrap(), 0);
}

/// Clients disconnect while they are served: each of their reports is stored or not, and no other client is delayed.
#[test]
fn clients_that_hang_up_delay_no_other_client() {
    let folder = tempfile::tempdir().unwrap();
    let (address, cluster) = serve(folder.path());
    let mut client = Client::new(address);
    let (_, city) = client.ask("POST", "/cities", json!({ "continent": "Asia", "name": "Tokyo" }));
    let reports = format!("/cities/{}/reports", city["id"]);
    for number in 0..50 {
        let mut other = Client::new(address);
        other.send("POST", &reports, &json!({ "temperature": number }).to_string());
        drop(other);
    }
    let (status, _) = client.ask("POST", &reports, json!({ "temperature": 99 }));
    assert_eq!(status, 201);
    let (status, listed) = client.ask("GET", &reports, Value::Null);
    let listed = listed.as_array().unwrap().len();
    assert!(status == 200 && (1..=51).contains(&listed));
    let stored = cluster.session().one(service::Report::select().all_shards().count()).unwrap();
    assert!(stored >= listed as u64);
}

/// The value of a metric, with its labels as they are printed.
fn metric(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap_or_else(|_| panic!("{name} {value}")))
}

#[test]
fn the_metrics_count_the_work_of_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let (address, cluster) = serve(folder.path());
    let mut client = Client::new(address);
    let city = client.ask("POST", "/cities", json!({"continent": "Asia", "name": "Tokyo"}));
    assert_eq!(city.0, 201);
    let report = client.ask("POST", "/cities/1/reports", json!({"temperature": 80}));
    assert_eq!(report.0, 201);
    assert_eq!(client.ask("POST", "/cities", json!({"continent": "Atlantis", "name": "?"})).0, 400);

    client.send("GET", "/metrics", "");
    let (status, text) = client.receive();
    assert_eq!(status, 200);
    let stats = cluster.stats();
    for shard in &stats.shards {
        let name = format!("sharded_statements_total{{shard=\"{}\"}}", shard.shard);
        assert_eq!(metric(&text, &name), Some(shard.statements as f64), "{text}");
    }
    assert_eq!(metric(&text, "sharded_transactions_total{shards=\"one\"}"), Some(2.0));
    assert_eq!(metric(&text, "sharded_transactions_total{shards=\"several\"}"), Some(0.0));
    assert_eq!(metric(&text, "sharded_errors_total{shard=\"\",kind=\"UnmappedKey\"}"), Some(1.0), "{text}");
    assert_eq!(metric(&text, "sharded_connections_in_use"), Some(0.0));
    assert!(metric(&text, "sharded_connections_limit") >= metric(&text, "sharded_connections_open"));
    // Each sample follows the description of its metric, and no label holds a value of a row.
    let mut described = String::new();
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(kind) => described = kind.split(' ').next().unwrap().to_owned(),
            None if line.starts_with('#') => {}
            None => assert_eq!(line.split(['{', ' ']).next().unwrap(), described, "{line}"),
        }
    }
    assert!(!text.contains("Tokyo") && !text.contains("Atlantis"), "{text}");

    client.send("GET", "/health", "");
    let (status, text) = client.receive();
    assert!(status == 200 && text.starts_with("north_america: serves"), "{status} {text}");
    std::fs::remove_file(folder.path().join("asia.db")).unwrap();
    client.send("GET", "/health", "");
    let (status, text) = client.receive();
    assert!(status == 503 && text.contains("asia: Missing"), "{status} {text}");
}
