//! Release 1 of an application, as a program of its own: `release_1 create`, `write LOG STOP FIRST` or `apply LOG`. The shards are
//! in the environment. It shares no code with release 2.

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use shard_runtime::{Builder, Cluster, ErrorKind, Parent, Session, Sharded, migrate::Migrations};

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "users")]
struct User {
    #[id]
    id: i64,
    #[shard_key(hash)]
    team: i64,
    name: String,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "posts")]
struct Post {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    user: Parent<User>,
    text: String,
}

type Models = (User, Post);

/// The users that exist from the beginning. This release changes those with even ids, and release 2 the others.
const USERS: i64 = 60;

/// The ids from which on release 2 adds users.
const BY_RELEASE_2: i64 = 1_000_000;

fn builder() -> Builder {
    let shards = std::env::var("TOUR_SHARDS").expect("the shards");
    let builder = Cluster::builder().busy_timeout(Duration::from_secs(20));
    shards.lines().fold(builder, |builder, line| {
        let (name, url) = line.split_once(' ').expect("a name and a URL");
        builder.shard(name, url)
    })
}

/// A change, as a line of the log has it.
enum Change {
    Add(i64, i64),
    Rename(i64, i64),
    Move(i64, i64),
}

impl Change {
    /// `others` are the users that release 2 has added.
    fn nth(number: i64, others: &[i64]) -> Self {
        let user = 2 * ((number / 3) % (USERS / 2));
        let other = others.iter().cycle().nth(number as usize / 6 % others.len().max(1));
        match (number % 3, other) {
            (0, _) => Change::Add(1_000 + number, number),
            (1, Some(other)) if number % 2 == 0 => Change::Rename(*other, number),
            (1, _) => Change::Rename(user, number),
            _ => Change::Move(user, 7 * number),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (kind, user, number) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        match kind {
            "add" => Some(Change::Add(user, number)),
            "rename" => Some(Change::Rename(user, number)),
            "move" => Some(Change::Move(user, number)),
            _ => None,
        }
    }

    fn line(&self) -> String {
        match self {
            Change::Add(user, number) => format!("add {user} {number}"),
            Change::Rename(user, number) => format!("rename {user} {number}"),
            Change::Move(user, number) => format!("move {user} {number}"),
        }
    }

    fn run(&self, session: &mut Session) -> shard_runtime::Result<()> {
        match *self {
            Change::Add(id, team) => {
                let user = session.add(User { id, team, name: format!("release 1 {id}") })?;
                session.add(NewPost { user: user.link(), text: format!("first of {id}") })?;
            }
            Change::Rename(id, number) => {
                let mut user = session.one(User::select().filter(User::ID.eq(id)).all_shards())?;
                user.name = format!("renamed {number}");
                session.update(&mut user)?;
            }
            Change::Move(id, team) => {
                let mut user = session.one(User::select().filter(User::ID.eq(id)).all_shards())?;
                session.relocate(&mut user, |user| user.team = team)?;
            }
        }
        Ok(())
    }
}

/// Writes until the file `stop` exists, and logs each change that is committed.
fn write(log: &Path, stop: &Path, first: i64) -> Result<ExitCode, Box<dyn Error>> {
    // As a program does that migrates when it starts: it has no steps, so that it knows version 1. If the cluster has steps of a
    // newer release, that fails, and this release runs on.
    let builder = builder();
    drop(builder.clone().migrate::<Models>(&Migrations::new()));
    let cluster = match builder.open::<Models>() {
        Ok(cluster) => cluster,
        Err(error) => return Ok(refused(&error)),
    };
    let mut others: Vec<i64> = cluster
        .session()
        .all(User::select().filter(User::ID.ge(BY_RELEASE_2)).all_shards())?
        .iter()
        .map(|user| user.id)
        .collect();
    others.sort_unstable();
    let mut log = File::options().create(true).append(true).open(log)?;
    for number in first.. {
        if stop.exists() {
            break;
        }
        let change = Change::nth(number, &others);
        match cluster.transaction(|session| change.run(session)) {
            Ok(()) => writeln!(log, "{}", change.line())?,
            // A shard that has the new columns gives no row to one that does not have them yet.
            Err(error) if error.to_string().contains("the table lacks a column") => {}
            Err(error) => return Ok(refused(&error)),
        }
        std::thread::sleep(Duration::from_millis(4));
    }
    Ok(ExitCode::SUCCESS)
}

/// The exit code is 3 if the schema is that of a newer release.
fn refused(error: &shard_runtime::Error) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(if matches!(error.kind(), ErrorKind::Schema | ErrorKind::NotNull) { 3 } else { 1 })
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["create"] => {
            let cluster = builder().create::<Models>()?;
            let mut session = cluster.session();
            let user = |id| User { id, team: id, name: format!("user {id}") };
            let users = session.add_all((0..USERS).map(user))?;
            for user in &users {
                session.add(NewPost { user: user.link(), text: format!("first of {}", user.id) })?;
            }
            session.commit()?;
            Ok(ExitCode::SUCCESS)
        }
        ["write", log, stop, first] => write(Path::new(log), Path::new(stop), first.parse()?),
        ["apply", log] => {
            let cluster = builder().open::<Models>()?;
            for line in std::fs::read_to_string(log)?.lines() {
                let change = Change::parse(line).ok_or("a line of the log")?;
                cluster.transaction(|session| change.run(session))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        other => Err(format!("unknown command {other:?}").into()),
    }
}
