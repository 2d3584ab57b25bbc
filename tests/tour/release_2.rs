//! Release 2 of the application, as a separate program: two new fields, one of which becomes required, a renamed field, a new
//! model. `release_2 migrate expand|all|contract`, `write LOG STOP FIRST`, `apply LOG`, `verify`, `dump`, `backup FOLDER`.

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shard_runtime::{
    Builder, Cluster, Pace, Parent, Session, Sharded,
    migrate::{Migrations, StepPhase},
};

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "users")]
struct User {
    #[id]
    id: i64,
    #[shard_key(hash)]
    team: i64,
    full_name: String,
    nickname: Option<String>,
    #[sharded(default = 3)]
    level: i64,
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

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "notes")]
struct Note {
    #[id(sequence)]
    id: i64,
    #[shard_parent]
    user: Parent<User>,
    text: String,
}

type Models = (User, Post, Note);

/// The users that exist from the beginning; this release changes those with odd ids.
const USERS: i64 = 60;

fn migrations(is_whole: bool) -> Migrations {
    let migrations = Migrations::new().step(2, "full name", |m| m.rename(User::FULL_NAME, "name"));
    if !is_whole {
        return migrations;
    }
    migrations
        .step(3, "nickname", |m| {
            m.backfill::<User>(|user| {
                user.nickname.get_or_insert(format!("nick {}", user.id));
            })
        })
        .step(4, "nickname is required", |m| m.require(User::NICKNAME))
}

fn builder() -> Builder {
    let shards = std::env::var("TOUR_SHARDS").expect("the shards");
    let builder = Cluster::builder().busy_timeout(Duration::from_secs(20));
    shards.lines().fold(builder, |builder, line| {
        let (name, url) = line.split_once(' ').expect("a name and a URL");
        builder.shard(name, url)
    })
}

/// Adds a user with a note, or changes a name; a line of the log is the number of the change.
fn change(session: &mut Session, number: i64) -> shard_runtime::Result<()> {
    if number % 2 == 0 {
        let id = 1_000_000 + number;
        let (full_name, nickname) = (format!("release 2 {id}"), Some("own".to_owned()));
        let user = session.add(User { id, team: number, full_name, nickname, level: 7 })?;
        session.add(NewNote { user: user.link(), text: format!("note {number}") })?;
    } else {
        let id = 1 + 2 * (number % (USERS / 2));
        let mut user = session.one(User::select().filter(User::ID.eq(id)).all_shards())?;
        user.full_name = format!("changed {number}");
        session.update(&mut user)?;
    }
    Ok(())
}

fn lines(path: &str) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// Migrates; between two additions to each shard, and in the middle of its backfill, it waits until each of the logs in the
/// environment has grown.
fn migrate(is_whole: bool, contracts: bool) -> Result<(), Box<dyn Error>> {
    let logs = std::env::var("TOUR_LOGS").unwrap_or_default();
    let waits = |shard: &str, is_what: &str| {
        let before: Vec<(&str, usize)> = logs.lines().map(|log| (log, lines(log))).collect();
        while before.iter().any(|(log, count)| lines(log) < count + 4) {
            std::thread::sleep(Duration::from_millis(2));
        }
        println!("all wrote while {shard} was {is_what}");
    };
    let migration = builder()
        .migrate::<Models>(&migrations(is_whole))?
        .pace(Pace::rows(5).rest(Duration::from_millis(2)));
    let migration = if contracts { migration.contract() } else { migration };
    let shards: Vec<String> = migration.status()?.shards.into_iter().map(|shard| shard.shard).collect();
    let once: Vec<(String, Once, AtomicUsize)> =
        shards.into_iter().map(|shard| (shard, Once::new(), AtomicUsize::new(0))).collect();
    migration.run(|progress| {
        let is_filling = progress.step == 3 && progress.phase == StepPhase::Backfill && progress.rows > 0;
        let Some((shard, once, additions)) = once.iter().find(|(shard, ..)| *shard == progress.shard) else {
            return;
        };
        if is_filling {
            once.call_once(|| waits(shard, "changed"));
        }
        // The first addition is committed, and the second one has not begun.
        if progress.step == 0 && additions.fetch_add(1, Ordering::Relaxed) == 1 {
            waits(shard, "expanded");
        }
    })?;
    Ok(())
}

fn dump(session: &mut Session) -> shard_runtime::Result<Vec<String>> {
    let mut lines = Vec::new();
    for user in session.all(User::select().all_shards())? {
        let User { id, team, full_name, nickname, level } = &*user;
        lines.push(format!("user {id} {team} {full_name:?} {nickname:?} {level}"));
    }
    for (post, user) in session.all(Post::select().all_shards().with_parent())? {
        lines.push(format!("post {} {:?}", user.id, post.text));
    }
    for (note, user) in session.all(Note::select().all_shards().with_parent())? {
        lines.push(format!("note {} {:?}", user.id, note.text));
    }
    lines.sort();
    Ok(lines)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["migrate", "expand"] => migrate(false, false)?,
        ["migrate", "all"] => migrate(true, false)?,
        ["migrate", "contract"] => migrate(true, true)?,
        ["write", log, stop, first] => {
            let cluster = builder().open::<Models>()?;
            let mut log = File::options().create(true).append(true).open(log)?;
            for number in first.parse()?.. {
                if Path::new(stop).exists() {
                    break;
                }
                cluster.transaction(|session| change(session, number))?;
                writeln!(log, "{number}")?;
                std::thread::sleep(Duration::from_millis(4));
            }
        }
        ["apply", log] => {
            let cluster = builder().open::<Models>()?;
            for line in std::fs::read_to_string(log)?.lines() {
                let number = line.parse()?;
                cluster.transaction(|session| change(session, number))?;
            }
        }
        ["verify"] => {
            let report = builder().open::<Models>()?.verify()?;
            println!("{}", if report.is_sound() { "sound".to_owned() } else { format!("{report:?}") });
        }
        ["dump"] => {
            let cluster = builder().open::<Models>()?;
            dump(&mut cluster.session())?.iter().for_each(|line| println!("{line}"));
        }
        ["status"] => print!("{}", builder().open::<Models>()?.status()),
        ["backup", folder] => builder().open::<Models>()?.backup(folder)?,
        other => return Err(format!("unknown command {other:?}").into()),
    }
    Ok(ExitCode::SUCCESS)
}
