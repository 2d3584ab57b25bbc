//! Operations that do not obtain a lock in time, in a transaction that has written before: only the operation fails (R32).

use std::time::Duration;

use shard_runtime::{Cluster, ErrorKind, Result, Session, Sharded};

use crate::operations::{ALL, About, Run};
use crate::world::{Account, Currency, Kind, Note, User, World};

/// How long a session waits for a lock.
const WAIT: Duration = Duration::from_millis(150);

/// Takes the gates of users and notes shared, and no row.
fn share_gates(session: &mut Session) -> Result<()> {
    session.execute(User::update().set(User::CENTS, 1).filter(User::CENTS.lt(-1)).all_shards())?;
    session.execute(Note::update().set(Note::TEXT, "").filter(Note::ID.lt(-1)).all_shards()).map(drop)
}

/// Takes the gates of users and notes on `a` and `c` exclusively.
fn close_gates(session: &mut Session) -> Result<()> {
    let mut row = session.get::<User>(2)?.unwrap();
    session.relocate(&mut row, |row| row.home = "c".into()).map(drop)
}

fn close_account_gates(session: &mut Session) -> Result<()> {
    let mut row = session.get::<Account>(2)?.unwrap();
    session.relocate(&mut row, |row| row.home = "c".into()).map(drop)
}

fn share_account_gates(session: &mut Session) -> Result<()> {
    session
        .execute(Account::update().set(Account::CENTS, 1).filter(Account::ID.lt(-1)).all_shards())
        .map(drop)
}

/// Takes the locks of the table, and the rows.
fn lock_currencies(session: &mut Session) -> Result<()> {
    session.execute(Currency::update().set(Currency::NAME, "locked")).map(drop)
}

type Block = fn(&mut Session) -> Result<()>;

/// The operations that each of these is in the way of.
const IN_THE_WAY: [(Block, &[&str]); 5] = [
    (share_gates, &["relocate_up", "relocate_down", "relocate_child"]),
    (
        close_gates,
        &[
            "update_read_to_write",
            "sum_to_write",
            "groups_to_write",
            "bulk_update",
            "bulk_update_children",
            "bulk_delete",
            "bulk_delete_by_lookup",
            "bulk_delete_returning",
            "sql_update",
            "sql_delete",
        ],
    ),
    (share_account_gates, &["account_relocate_up", "account_relocate_down"]),
    (close_account_gates, &["account_bulk_update", "account_bulk_delete", "account_sql"]),
    (
        lock_currencies,
        &[
            "reference_save",
            "reference_update",
            "reference_delete",
            "reference_bulk_update",
            "reference_bulk_delete",
            "reference_sql",
        ],
    ),
];

/// Adds a row to each shard: accounts if the operation is about other models, otherwise users.
fn write(session: &mut Session, about: About, first: i64) -> Result<()> {
    for (id, home) in (first..).zip(["a", "b", "c"]) {
        match about {
            About::Accounts => session.add(crate::world::user(id, home, None)).map(drop)?,
            _ => session.add(Account { id, home: home.into(), version: 1, cents: id }).map(drop)?,
        }
    }
    session.flush()
}

fn added(end: &[String], first: i64) -> usize {
    let rows = (first..).zip(["a", "b", "c"]);
    rows.filter(|(id, home)| {
        let own = [format!("{home} accounts: {id}|"), format!("{home} users: {id}|")];
        end.iter().any(|line| own.iter().any(|start| line.starts_with(start)))
    })
    .count()
}

fn fault(cluster: &Cluster, world: &World, block: Block, name: &str) -> Option<String> {
    let operation = ALL.iter().find(|operation| operation.name == name).unwrap();
    world.reset();
    let (mut other, mut session) = (cluster.session(), cluster.session());
    block(&mut other).unwrap();
    write(&mut session, operation.about, 101).unwrap();
    let Run::Sync(run) = operation.run else { panic!("{name} is async") };
    let refused = run(&mut session).map_err(|error| error.kind());
    if refused != Err(ErrorKind::Busy) {
        return Some(format!("{name}: {refused:?} instead of Busy"));
    }
    other.rollback();
    let after = write(&mut session, operation.about, 201).and_then(|()| session.commit().map(drop));
    let end = world.end();
    let kept = (added(&end, 101), added(&end, 201));
    (after.is_err() || kept != (3, 3)).then(|| format!("{name}: afterwards {after:?}, rows kept {kept:?}"))
}

/// Runs each operation while another session holds a lock that it needs.
pub fn run(kind: Kind) {
    let world = World::new(kind, 3_000, WAIT);
    let faults = |(block, names): (Block, &'static [&'static str])| {
        names.iter().filter_map(|name| fault(&world.cluster, &world, block, name)).collect::<Vec<_>>()
    };
    let faults: Vec<String> = IN_THE_WAY.into_iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
