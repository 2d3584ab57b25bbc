//! Encrypted connections to PostgreSQL servers: an encrypted connection also verifies the server, and no connection is weaker
//! than the URL requires.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use shard_runtime::{Cluster, ErrorKind, Sharded, Sql};
use sharded_tests::postgres_server::Server;
use tempfile::TempDir;

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "companies")]
struct Company {
    #[id]
    #[shard_key(hash)]
    id: i64,
    name: String,
}

/// Authorities, and a server with a certificate of the first for `localhost`.
struct World {
    server: Server,
    folder: TempDir,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `localhost`, good until the end of a year, and its key.
fn certificate(authority: &Authority, until: i32) -> [String; 2] {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 12, 31);
    let key = KeyPair::generate().unwrap();
    [params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem()]
}

fn encrypting_server([certificate, key]: &[String; 2]) -> Server {
    let settings = ["ssl=on", "ssl_cert_file=../server.crt", "ssl_key_file=../server.key"];
    let server = Server::start_beside(
        &[("server.crt", certificate), ("server.key", key)],
        &[&settings[..], &["max_prepared_transactions=20"]].concat(),
    );
    server.stop_with_the_process();
    server
}

impl World {
    /// The one of all tests.
    fn get() -> &'static World {
        static WORLD: OnceLock<World> = OnceLock::new();
        let make = || {
            let (ours, theirs) = (authority("ours"), authority("theirs"));
            let server = encrypting_server(&certificate(&ours, 2999));
            let folder = tempfile::tempdir().unwrap();
            // A bundle, as platforms have it: the one that is needed is not the first.
            let bundle = format!("of ours:\n{}{}", authority("another").pem(), ours.pem());
            std::fs::write(folder.path().join("our own.pem"), bundle).unwrap();
            std::fs::write(folder.path().join("theirs.pem"), theirs.pem()).unwrap();
            std::fs::write(folder.path().join("empty.pem"), "nothing here").unwrap();
            World { server, folder }
        };
        WORLD.get_or_init(make)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ours(&self) -> String {
        self.file("our%20own.pem").display().to_string()
    }

    /// A shard's URL, with the name that its certificate has.
    fn url(&self, schema: &str, more: &str) -> String {
        format!("{}?schema={schema}{more}", self.server.url().replace("127.0.0.1", "localhost"))
    }
}

/// Asserts that opening a cluster of one shard at this URL fails with this error, which holds no secret.
#[track_caller]
fn refused(server: &Server, url: &str, kind: ErrorKind, texts: &[&str]) {
    let error = Cluster::builder().shard("a", url).create::<Company>().expect_err("an error");
    // With servers only, the control database is on the first, and is the first to be connected to.
    let with_files = Cluster::builder().control("sqlite::memory:").shard("a", url).create::<Company>();
    let on_shard = with_files.expect_err("an error");
    assert_eq!((on_shard.kind(), on_shard.shard()), (kind, Some("a")), "{on_shard}");
    for error in [error, on_shard] {
        assert_eq!(error.kind(), kind, "{error}");
        let message = error.to_string();
        texts.iter().for_each(|text| assert!(message.contains(text), "`{text}` is missing in: {message}"));
        let url = server.url();
        let password = url.split(['@', ':']).nth(2).unwrap();
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            assert!(!format!("{error} {error:?}").contains(password));
            cause = error.source();
        }
    }
}

/// How the connections of a cluster are, as the server sees them.
fn encrypted(cluster: &Cluster) -> Vec<bool> {
    let mut session = cluster.session();
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let rows = session.all(Sql::new(sql).all_shards()).unwrap();
    rows.iter().map(|row| row.get("ssl").unwrap()).collect()
}

#[test]
fn everything_is_done_over_encrypted_connections() {
    let world = World::get();
    for (place, mode) in ["require", "verify-full", "prefer"].into_iter().enumerate() {
        let more = format!("&sslmode={mode}&sslrootcert={}", world.ours());
        let shard = |builder: shard_runtime::Builder, shard: &str| {
            builder.shard(shard, world.url(&format!("all{place}_{shard}"), &more))
        };
        let cluster = ["a", "b"].into_iter().fold(Cluster::builder(), shard).create::<Company>().unwrap();
        assert_eq!(encrypted(&cluster), [true, true]);
        let mut session = cluster.session();
        session.add_all((1..=1000).map(|id| Company { id, name: "x".repeat(100) })).unwrap();
        session.commit().unwrap();
        assert_eq!(session.all(Company::select().all_shards()).unwrap().len(), 1000);
        // To cancel a statement takes a connection of its own.
        session.set_timeout(Some(Duration::from_millis(100)));
        let slow = session.all(Sql::new("SELECT pg_sleep(60) IS NULL AS slept").on_shard("a"));
        assert_eq!(slow.unwrap_err().kind(), ErrorKind::TimedOut);
        session.set_timeout(None);
        assert_eq!(session.one(Company::select().all_shards().count()).unwrap(), 1000);
    }
    let running = world.server.psql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND state = 'active' AND pid <> pg_backend_pid()");
    assert_eq!(running.trim(), "0");
}

#[test]
fn without_a_word_of_it_connections_are_as_they_are_without_the_feature() {
    let world = World::get();
    for (place, mode) in ["", "&sslmode=disable"].into_iter().enumerate() {
        let url = world.url(&format!("plain{place}"), mode);
        assert_eq!(encrypted(&Cluster::builder().shard("a", url).create::<Company>().unwrap()), [false]);
    }
}

#[test]
fn an_untrusted_server_gets_no_login() {
    let world = World::get();
    let server = &world.server;
    for mode in ["require", "verify-full", "prefer"] {
        let theirs = format!("&sslmode={mode}&sslrootcert={}", world.file("theirs.pem").display());
        refused(
            server,
            &world.url("x", &theirs),
            ErrorKind::Configuration,
            &["certificate", "UnknownIssuer"],
        );
        // The authorities of the platform, if it has some, have not signed ours.
        let platform = format!("&sslmode={mode}");
        refused(server, &world.url("x", &platform), ErrorKind::Configuration, &["certificate"]);
        // The certificate is for `localhost`, and not for its address.
        let ours = format!("{}?schema=x&sslmode={mode}&sslrootcert={}", server.url(), world.ours());
        refused(server, &ours, ErrorKind::Configuration, &["certificate", "127.0.0.1", "localhost"]);
    }
}

#[test]
fn a_certificate_whose_time_is_over_is_refused() {
    let ours = authority("ours");
    let server = encrypting_server(&certificate(&ours, 1999));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ours.pem");
    std::fs::write(&path, ours.pem()).unwrap();
    let url = server.url().replace("127.0.0.1", "localhost");
    let url = format!("{url}?sslmode=require&sslrootcert={}", path.display());
    refused(&server, &url, ErrorKind::Configuration, &["certificate expired"]);
}

#[test]
fn a_server_without_tls_is_refused_where_it_is_required() {
    let world = World::get();
    let server = Server::start();
    let url = server.url().replace("127.0.0.1", "localhost");
    for mode in ["require", "verify-full"] {
        let url = format!("{url}?sslmode={mode}&sslrootcert={}", world.ours());
        refused(&server, &url, ErrorKind::Configuration, &["server does not support TLS"]);
    }
    // `prefer` accepts a connection without encryption.
    let url = format!("{url}?sslmode=prefer&sslrootcert={}", world.ours());
    assert_eq!(encrypted(&Cluster::builder().shard("a", url).create::<Company>().unwrap()), [false]);
}

#[test]
fn the_error_names_the_wrong_part_of_a_url() {
    let world = World::get();
    let wrong = |more: &str, texts: &[&str]| {
        let url = world.url("x", more);
        refused(&world.server, &url, ErrorKind::Configuration, texts);
    };
    wrong("&sslmode=verify-ca", &["verify-ca", "verify-full"]);
    wrong("&sslmode=on", &["`sslmode=on`"]);
    wrong("&sslrootcert=ca.pem", &["sslrootcert", "sslmode=verify-full"]);
    wrong("&sslmode=disable&sslrootcert=ca.pem", &["sslrootcert", "sslmode=verify-full"]);
    wrong("&sslmode=require&sslrootcert=%FF.pem", &["sslrootcert", "UTF-8"]);
    wrong("&sslmode=require&sslrootcert=/nowhere/ca.pem", &["/nowhere/ca.pem"]);
    let empty = world.file("empty.pem").display().to_string();
    wrong(&format!("&sslmode=require&sslrootcert={empty}"), &[&empty, "BEGIN CERTIFICATE"]);
}

#[test]
fn a_path_in_a_file_starts_from_its_folder() {
    let world = World::get();
    let url = world.url("from_a_file", "&sslmode=verify-full&sslrootcert=our%20own.pem");
    let path = world.file("shards.toml");
    std::fs::write(&path, format!("[[shard]]\nname = \"a\"\nurl = \"{url}\"\n")).unwrap();
    let cluster = Cluster::builder().config_file(&path).unwrap().create::<Company>().unwrap();
    assert_eq!(encrypted(&cluster), [true]);
}

#[test]
fn a_way_that_is_cut_is_no_matter_of_trust() {
    let world = World::get();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut asked = [0; 8];
            // It accepts TLS, and closes the connection.
            let _ = client.read_exact(&mut asked).and_then(|()| client.write_all(b"S"));
        }
    });
    let url =
        format!("postgres://sharded:s3cret@localhost:{port}/x?sslmode=require&sslrootcert={}", world.ours());
    refused(&world.server, &url, ErrorKind::ConnectionLost, &[]);
}

#[test]
fn foreign_tables_verify_certificates_as_shards_do() {
    let world = World::get();
    let more = format!("&sslmode=require&sslrootcert={}", world.ours());
    let builder = Cluster::builder().shard("a", world.url("coordinated_a", &more));
    let cluster = builder.shard("b", world.url("coordinated_b", "")).create::<Company>().unwrap();
    let sql = cluster.foreign_tables_sql().unwrap().to_string();
    let server = |name: &str| {
        let mut lines = sql.lines();
        lines.find(|line| line.starts_with(&format!("CREATE SERVER IF NOT EXISTS \"{name}\""))).unwrap()
    };
    assert!(server("a").contains("sslmode 'verify-full'"), "{sql}");
    assert!(!server("b").contains("sslmode"), "{sql}");
}
