//! A PgBouncer of a test's own in front of a server.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use sharded_tests::postgres_server::{Server, give, run_as, unprivileged_account};

/// A running PgBouncer, which is stopped when this is dropped.
pub struct Bouncer {
    folder: TempDir,
    port: u16,
    process: Child,
    url: String,
}

impl Bouncer {
    /// Starts PgBouncer in a pool mode, with further lines of its configuration.
    pub fn start(server: &Server, mode: &str, settings: &[&str]) -> Bouncer {
        let program = program().expect("pgbouncer is on PATH or in /usr/sbin");
        let folder = TempDir::with_prefix("sharded-pgbouncer-").expect("a temporary folder");
        let account = unprivileged_account(folder.path());
        give(folder.path(), account);
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("a file of PgBouncer");
            give(&path, account);
        };
        write("users", format!("\"sharded\" \"{}\"\n", server.password()));
        write(
            "pgbouncer.ini",
            format!(
                "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir =\nauth_type = plain\nauth_file = users\npool_mode = {mode}\nmax_client_conn = 500\n\
                 default_pool_size = 8\nlogfile = log\n{}\n",
                server.port(),
                settings.join("\n")
            ),
        );
        let mut command = Command::new(program);
        run_as(&mut command, account);
        let process = command
            .current_dir(folder.path())
            .arg("pgbouncer.ini")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer runs");
        let url = server.url().replace(&format!(":{}/", server.port()), &format!(":{port}/"));
        let mut bouncer = Bouncer { folder, port, process, url };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, bouncer.port)).is_err() {
            let ended = bouncer.process.try_wait().expect("PgBouncer is our child");
            assert!(
                ended.is_none() && began.elapsed() < Duration::from_secs(30),
                "PgBouncer did not start: {}",
                bouncer.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        bouncer
    }

    /// The URL of the server's database `postgres` through the pooler.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The text of PgBouncer's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file())
}
