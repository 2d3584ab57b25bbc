//! A program of a release without changes of the layout. It reads commands, a line at a time, and answers each with a line:
//! what is stored, or the error. `old_program.rs` beside this folder builds it with an earlier commit.

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use shard_runtime::{Builder, Cluster, Durability, Parent, Result, Sharded, Session};

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "accounts")]
struct Account {
    #[id]
    #[shard_key(hash)]
    id: i64,
    cents: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "entries")]
struct Entry {
    #[id]
    id: i64,
    #[shard_parent]
    account: Parent<Account>,
    cents: i64,
}

/// The cluster that a variable of the environment describes.
fn builder() -> Builder {
    let text = std::env::var("SHARDED_OLD_CLUSTER").expect("started by a test");
    let builder =
        Cluster::builder().durability(Durability::Normal).busy_timeout(Duration::from_millis(2_000));
    text.lines().fold(builder, |builder, line| match line.split_once(' ').expect("a name and a URL") {
        ("control", url) => builder.control(url),
        (shard, url) => builder.shard(shard, url),
    })
}

fn add(session: &mut Session, id: i64) -> Result<()> {
    let account = session.add(Account { id, cents: 0 })?;
    session.add(Entry { id, account: account.link(), cents: id })?;
    Ok(())
}

fn run(session: &mut Session, verb: &str, id: i64) -> Result<i64> {
    let done = match verb {
        "add" => add(session, id).map(|()| 0),
        "count" => session.get::<Account>(id).and_then(|found| {
            let mut row = found.expect("an account that stays");
            row.cents += 1;
            session.update(&mut row)?;
            Ok(row.cents)
        }),
        "remove" => session.get::<Account>(id).and_then(|found| {
            let row = found.expect("an account that was added");
            session.execute(Entry::delete().filter(Entry::ACCOUNT.eq(row.link())))?;
            session.delete(&row)?;
            Ok(0)
        }),
        "bulk" => session.execute(Entry::update().all_shards().set(Entry::CENTS, id)).map(|rows| rows as i64),
        other => panic!("unknown verb `{other}`"),
    };
    let done = done.and_then(|done| session.commit().map(|_| done));
    if done.is_err() {
        session.rollback();
    }
    done
}

fn main() {
    let opened = match std::env::args().nth(1).as_deref() {
        Some("create") => builder().create::<(Account, Entry)>(),
        _ => builder().open::<(Account, Entry)>(),
    };
    let cluster = match opened {
        Ok(cluster) => cluster,
        Err(error) => {
            println!("refused {:?} {error}", error.kind());
            return;
        }
    };
    println!("opened");
    let mut session = cluster.session();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let (verb, id) = line.split_once(' ').expect("a verb and a number");
        match run(&mut session, verb, id.parse().expect("a number")) {
            Ok(done) => println!("stored {done}"),
            Err(error) => println!("error {:?} {error}", error.kind()),
        }
        std::io::stdout().flush().expect("the test reads");
    }
}
