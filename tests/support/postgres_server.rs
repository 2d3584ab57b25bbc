//! A real PostgreSQL server for the length of one test. Tests that need one are built with the feature `servers`.
//!
//! The behaviour on PostgreSQL is tested on PostgreSQL, not
//! on a stand-in. Each [`Server`] has its own database cluster in a temporary folder, listens on a free port of the loopback
//! interface only, and requires a random password. It is stopped and removed when the value is dropped.

use std::collections::hash_map::RandomState;
use std::env;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::{NamedTempFile, TempDir};

/// The settings every server is started with.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_prepared_transactions=20",
    // Nothing here outlives the test, so nothing has to outlive a power cut.
    "fsync=off",
    "full_page_writes=off",
    // A process is started for each connection, and maps these.
    "shared_buffers=16MB",
    "jit=off",
];

/// The programs of a server.
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

const USER: &str = "sharded";

/// How long a server may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many ports are tried when others are quicker to take the free one.
const ATTEMPTS: usize = 5;

/// A running server. Dropping it stops the server and removes its data.
pub struct Server {
    folder: TempDir,
    programs: PathBuf,
    account: Option<Account>,
    password: String,
    settings: Vec<String>,
    port: u16,
    process: Child,
}

impl Server {
    /// Starts the newest PostgreSQL that is installed.
    ///
    /// # Panics
    ///
    /// If none is [installed](Server::is_installed), or if it does not start.
    pub fn start() -> Server {
        Server::start_with(&[])
    }

    /// Starts a server with more settings, each `name=value`. They win over
    /// the usual ones.
    pub fn start_with(settings: &[&str]) -> Server {
        Server::start_beside(&[], settings)
    }

    /// Starts a server beside which there are files of these names and texts, which no other user can read; settings name
    /// them as `../name`.
    pub fn start_beside(files: &[(&str, &str)], settings: &[&str]) -> Server {
        let programs = folder_with(&PROGRAMS).unwrap_or_else(|| {
            panic!(
                "PostgreSQL is not installed: {PROGRAMS:?} are not on PATH nor in /usr/lib/postgresql/*/bin"
            )
        });

        let folder = TempDir::with_prefix("sharded-postgres-").expect("a temporary folder");
        let account = unprivileged_account(folder.path());
        let password = random_password();
        initialize(&programs, folder.path(), account, &password);
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("a file beside the server");
            #[cfg(unix)]
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .expect("its permissions");
            give(&path, account);
        }

        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let (port, process) = launch(&programs, folder.path(), account, &settings);
        let mut server = Server { folder, programs, account, password, settings, port, process };
        let mut attempts = 1;
        while let Err(log) = server.wait_until_ready() {
            assert!(
                log.contains("could not bind") && attempts < ATTEMPTS,
                "PostgreSQL did not start; its log:\n{log}"
            );
            attempts += 1;
            (server.port, server.process) =
                launch(&server.programs, server.folder.path(), account, &server.settings);
        }
        server
    }

    /// Whether PostgreSQL is installed.
    pub fn is_installed() -> bool {
        folder_with(&PROGRAMS).is_some()
    }

    /// Stops the server and removes its data when this process ends in any way. It is for a server of all tests of a binary,
    /// which is never dropped.
    pub fn stop_with_the_process(&self) {
        let script = "trap '' INT TERM HUP; cat > /dev/null; \"$0\" stop --silent --mode=immediate --pgdata=data; \
                      cd / && rm -rf \"$1\"";
        let mut watcher = Command::new("sh");
        run_as(&mut watcher, self.account);
        let watcher = watcher
            .current_dir(self.folder.path())
            .args(["-c", script])
            .arg(program(&self.programs, "pg_ctl"))
            .arg(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        // What it reads from ends with this process.
        std::mem::forget(watcher);
    }

    /// Stops the server at once, as if the machine had failed. Its commits are kept when it is [started
    /// again](Server::start_again).
    pub fn stop(&mut self) {
        let mut stop = command(&self.programs, "pg_ctl");
        run_as(&mut stop, self.account);
        let stopped = stop
            .current_dir(self.folder.path())
            .args(["stop", "--silent", "--mode=immediate", "--pgdata=data"])
            .status()
            .expect("pg_ctl runs");
        assert!(stopped.success(), "the server was not stopped");
        self.process.wait().expect("the server is our child");
    }

    /// Copies the data of a server that was stopped; [`Server::bring_back`] puts the copy in its place.
    pub fn save(&self) {
        self.remove_folder("saved");
        self.copy_folder("data", "saved");
    }

    /// Replaces the data of a stopped server by the saved data.
    pub fn bring_back(&self) {
        self.remove_folder("newer");
        fs::rename(self.folder.path().join("data"), self.folder.path().join("newer"))
            .expect("the data is moved");
        self.copy_folder("saved", "data");
    }

    /// Replaces the data of a server that was stopped by what [`Server::bring_back`] has replaced.
    pub fn bring_newer_back(&self) {
        self.remove_folder("data");
        fs::rename(self.folder.path().join("newer"), self.folder.path().join("data"))
            .expect("the data is moved");
    }

    fn remove_folder(&self, name: &str) {
        match fs::remove_dir_all(self.folder.path().join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{name}: {error}"),
            _ => {}
        }
    }

    fn copy_folder(&self, from: &str, to: &str) {
        let mut copy = Command::new("cp");
        run_as(&mut copy, self.account);
        let copied = copy.current_dir(self.folder.path()).args(["-a", from, to]).status().expect("cp runs");
        assert!(copied.success(), "{from} was not copied");
    }

    /// Stops all processes of the server where they are, as `SIGSTOP` does, until it is [thawed](Server::thaw). Its
    /// kernel continues to accept connections.
    #[cfg(target_os = "linux")]
    pub fn freeze(&self) {
        // The postmaster first: it starts no processes then.
        self.signal("STOP", &[self.process.id()]);
        self.signal("STOP", &children(self.process.id()));
    }

    /// Lets a server continue that was frozen.
    #[cfg(target_os = "linux")]
    pub fn thaw(&self) {
        self.signal("CONT", &children(self.process.id()));
        self.signal("CONT", &[self.process.id()]);
    }

    #[cfg(target_os = "linux")]
    fn signal(&self, signal: &str, processes: &[u32]) {
        if processes.is_empty() {
            return;
        }
        let numbers: Vec<String> = processes.iter().map(u32::to_string).collect();
        let kill = format!("kill -s {signal} {}", numbers.join(" "));
        // A process that has ended meanwhile is no error.
        let _ = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status().expect("sh runs");
    }

    /// Starts a standby of this server, which streams what this one commits. It is ready to be read from, and becomes a
    /// primary with [`promote`](Server::promote).
    pub fn standby(&self) -> Server {
        let folder = TempDir::with_prefix("sharded-postgres-").expect("a temporary folder");
        give(folder.path(), self.account);
        let Server { programs, account, password, .. } = self;
        base_backup(programs, folder.path(), *account, password, self.port);
        let settings = self.settings.clone();
        let (port, process) = launch(programs, folder.path(), *account, &settings);
        let (programs, password) = (programs.clone(), password.clone());
        let mut standby = Server { folder, programs, account: *account, password, settings, port, process };
        standby.wait_until_ready().unwrap_or_else(|log| panic!("the standby did not start; its log:\n{log}"));
        standby
    }

    /// Starts a stopped server again, as a standby of another one, on its old port. Its own data is gone.
    pub fn become_standby_of(&mut self, primary: &Server) {
        fs::remove_dir_all(self.folder.path().join("data")).expect("the old data is removed");
        base_backup(&self.programs, self.folder.path(), self.account, &self.password, primary.port);
        self.start_again();
    }

    /// Makes a standby a primary; comes back when it takes writes.
    pub fn promote(&self) {
        let mut promote = command(&self.programs, "pg_ctl");
        run_as(&mut promote, self.account);
        let promoted = promote
            .current_dir(self.folder.path())
            .args(["promote", "--silent", "--wait", "--pgdata=data"])
            .status()
            .expect("pg_ctl runs");
        assert!(promoted.success(), "the standby was not promoted");
    }

    /// Starts a server that was stopped, on the port that it had.
    pub fn start_again(&mut self) {
        self.process = launch_on(self.port, &self.programs, self.folder.path(), self.account, &self.settings);
        self.wait_until_ready().unwrap_or_else(|log| panic!("PostgreSQL did not start; its log:\n{log}"));
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the server's programs.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The password of the user in [`url`](Server::url).
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The text of the server's log.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The URL: `postgres://user:password@127.0.0.1:port/database`.
    /// The user is a superuser.
    pub fn url(&self) -> String {
        let Server { password, port, .. } = self;
        format!("postgres://{USER}:{password}@127.0.0.1:{port}/postgres")
    }

    /// Runs statements in one session of `psql`, and returns the rows as it
    /// prints them unaligned: a line per row, `|` between columns, no
    /// headings. Panics with the server's message when a statement fails.
    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        self.try_psql(sql).unwrap_or_else(|message| panic!("psql: {message}"))
    }

    /// The same, or the message: the server may be down.
    pub fn try_psql(&self, sql: &str) -> Result<String, String> {
        let programs = folder_of_client(&self.programs, "psql");
        let script = NamedTempFile::new().expect("a temporary file");
        fs::write(&script, sql).expect("the statements are written down");

        // The password is in the environment, because arguments are public.
        let output = command(&programs, "psql")
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(script.path())
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", USER)
            .env("PGPASSWORD", &self.password)
            .env("PGDATABASE", "postgres")
            .env("PGCLIENTENCODING", "UTF8")
            .output()
            .expect("psql runs");
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).expect("psql answers in UTF-8")),
            false => Err(said(&output)),
        }
    }

    /// Waits until connections are accepted, or returns the server's log.
    fn wait_until_ready(&mut self) -> Result<(), String> {
        let status = self.folder.path().join("data/postmaster.pid");
        let give_up = Instant::now() + PATIENCE;
        loop {
            // The eighth line of that file is the server's state.
            let state = fs::read_to_string(&status).unwrap_or_default();
            // A standby is `ready` as soon as it can be read from.
            if state.lines().nth(7).map(str::trim) == Some("ready") {
                return Ok(());
            }
            let ended = self.process.try_wait().expect("the server is our child");
            if ended.is_some() || Instant::now() > give_up {
                let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
                return Err(String::from_utf8_lossy(&log).into_owned());
            }
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.process.try_wait(), Ok(None)) {
            return;
        }
        // A frozen one could not be stopped.
        #[cfg(target_os = "linux")]
        self.thaw();
        // An immediate stop takes the server's own children along. Killing is
        // for a server that cannot be asked; its children then notice.
        let mut stop = command(&self.programs, "pg_ctl");
        run_as(&mut stop, self.account);
        let stopped = stop
            .current_dir(self.folder.path())
            .args(["stop", "--silent", "--mode=immediate", "--pgdata=data"])
            .stdout(Stdio::null())
            .status();
        if !stopped.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// Makes a new cluster in `data`, in UTF-8 and with the C locale.
fn initialize(programs: &Path, folder: &Path, account: Option<Account>, password: &str) {
    let password_file = folder.join("password");
    fs::write(&password_file, password).expect("the password is written down");
    give(folder, account);
    give(&password_file, account);

    let mut initdb = command(programs, "initdb");
    run_as(&mut initdb, account);
    // A server takes milliseconds to check a password against a SCRAM secret, and tests connect some ten thousand times.
    let output = initdb
        .current_dir(folder)
        .args(["--pgdata=data", "--encoding=UTF8", "--locale=C", "--no-sync"])
        .args(["--auth=md5", "--pwfile=password"])
        .arg(format!("--username={USER}"))
        .output()
        .expect("initdb runs");
    assert!(output.status.success(), "initdb: {}", said(&output));
}

/// The processes that a process has started.
#[cfg(target_os = "linux")]
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("the processes").flatten();
    let is_child = |process: &u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        status
            .lines()
            .any(|line| line.strip_prefix("PPid:").is_some_and(|id| id.trim() == parent.to_string()))
    };
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}

/// Copies a running server to `data`, as a standby of it.
fn base_backup(programs: &Path, folder: &Path, account: Option<Account>, password: &str, port: u16) {
    let mut copy = command(&folder_of_client(programs, "pg_basebackup"), "pg_basebackup");
    run_as(&mut copy, account);
    let output = copy
        .current_dir(folder)
        .env("PGPASSWORD", password)
        .args(["--pgdata=data", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
        .args(["--host=127.0.0.1", &format!("--port={port}"), &format!("--username={USER}")])
        .output()
        .expect("pg_basebackup runs");
    assert!(output.status.success(), "pg_basebackup: {}", said(&output));
}

/// Starts the server on a port that is free at this moment, its output going
/// to `log`.
fn launch(programs: &Path, folder: &Path, account: Option<Account>, settings: &[String]) -> (u16, Child) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    (port, launch_on(port, programs, folder, account, settings))
}

fn launch_on(
    port: u16,
    programs: &Path,
    folder: &Path,
    account: Option<Account>,
    settings: &[String],
) -> Child {
    let log = File::create(folder.join("log")).expect("a log file");
    let mut postgres = command(programs, "postgres");
    run_as(&mut postgres, account);
    postgres
        .current_dir(folder)
        .args(["-D", "data", "-p", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log file"))
        .stderr(log);
    for setting in SETTINGS.iter().copied().chain(settings.iter().map(String::as_str)) {
        postgres.args(["-c", setting]);
    }
    postgres.spawn().expect("postgres runs")
}

/// One of PostgreSQL's programs, speaking English, and deaf to the settings a
/// developer keeps in the environment for servers of their own.
fn command(programs: &Path, name: &str) -> Command {
    let mut command = Command::new(program(programs, name));
    for (variable, _) in env::vars_os() {
        if variable.to_string_lossy().starts_with("PG") {
            command.env_remove(variable);
        }
    }
    command.env("LC_ALL", "C");
    command
}

/// The folder that has all these programs: one on PATH, or else Debian's for
/// the newest version.
fn folder_with(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let debian = fs::read_dir("/usr/lib/postgresql");
    let mut versions: Vec<PathBuf> =
        debian.into_iter().flatten().flatten().map(|version| version.path()).collect();
    versions.sort_by_key(|version| {
        let number = version.file_name().and_then(|name| name.to_str()?.parse().ok());
        number.unwrap_or(0_u32)
    });
    env::split_paths(&path)
        .chain(versions.into_iter().rev().map(|version| version.join("bin")))
        .find(|folder| holds(folder, names))
}

/// The folder of one of the client's programs: that of the server's, or another one.
fn folder_of_client(programs: &Path, name: &str) -> PathBuf {
    match holds(programs, &[name]) {
        true => programs.to_owned(),
        false => folder_with(&[name])
            .unwrap_or_else(|| panic!("{name} is not installed, though a PostgreSQL server is")),
    }
}

fn holds(folder: &Path, names: &[&str]) -> bool {
    names.iter().all(|name| program(folder, name).is_file())
}

fn program(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{}", env::consts::EXE_SUFFIX))
}

/// Everything a program printed.
fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// An unpredictable word: the standard library seeds its hashers from the
/// system's source of randomness.
fn random_password() -> String {
    let word = |salt| RandomState::new().hash_one(salt);
    format!("{:016x}{:016x}", word(0), word(1))
}

/// The user and group a server runs as when that is not the current user.
#[derive(Clone, Copy)]
pub struct Account {
    user: u32,
    group: u32,
}

/// PostgreSQL refuses to run as root; root runs it as a user that owns
/// nothing else.
#[cfg(unix)]
pub fn unprivileged_account(own_folder: &Path) -> Option<Account> {
    use std::os::unix::fs::MetadataExt;

    // The owner of the new file is the user of this process.
    let user = fs::metadata(own_folder).expect("our folder").uid();
    if user != 0 {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").expect("the list of accounts");
    let find = |name: &str| {
        accounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [found, _, user, group, ..] = fields[..] else {
                return None;
            };
            let account = Account { user: user.parse().ok()?, group: group.parse().ok()? };
            (found == name).then_some(account)
        })
    };
    let account = find("nobody").or_else(|| find("postgres"));
    Some(account.expect("an account nobody or postgres, because root cannot run PostgreSQL"))
}

#[cfg(unix)]
pub fn run_as(command: &mut Command, account: Option<Account>) {
    use std::os::unix::process::CommandExt;

    if let Some(Account { user, group }) = account {
        command.uid(user).gid(group);
    }
}

#[cfg(unix)]
pub fn give(path: &Path, account: Option<Account>) {
    if let Some(Account { user, group }) = account {
        std::os::unix::fs::chown(path, Some(user), Some(group)).expect("root gives files away");
    }
}

#[cfg(not(unix))]
pub fn unprivileged_account(_: &Path) -> Option<Account> {
    None
}

#[cfg(not(unix))]
pub fn run_as(_: &mut Command, _: Option<Account>) {}

#[cfg(not(unix))]
pub fn give(_: &Path, _: Option<Account>) {}
