//! Threads mix all operations on a few rows, on servers with commits that are finished late. Afterwards no row is doubled or
//! lost, every lookup agrees with its row, and reference tables are equal.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shard_runtime::{Cluster, Error, ErrorKind, Result, Session, Sharded, Sql};

use crate::world::{Account, Currency, Kind, Note, SHARDS, User, World, faults, user};

const THREADS: usize = 6;

/// The delay of `COMMIT PREPARED` on a server.
const LATE: Duration = Duration::from_millis(3);

/// Random numbers from a seed (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }

    pub fn id(&mut self, from: i64, count: u64) -> i64 {
        from + i64::try_from(self.below(count)).unwrap()
    }
}

pub fn seed() -> u64 {
    let given = std::env::var("SHARDED_SEED").ok();
    given.map_or_else(|| RandomState::new().hash_one(0), |seed| seed.parse().unwrap())
}

fn seconds() -> u64 {
    std::env::var("SHARDED_SECONDS").ok().map_or(3, |seconds| seconds.parse().unwrap())
}

pub fn run(kind: Kind) {
    let seed = seed();
    println!("SHARDED_SEED={seed}");
    let world = World::new(kind, 2_000, Duration::from_millis(500));
    world.hold.delay(LATE);
    let (added, done) = (AtomicI64::new(0), AtomicUsize::new(0));
    let refused = Mutex::new(BTreeMap::<String, usize>::new());
    let over = Instant::now() + Duration::from_secs(seconds());
    std::thread::scope(|scope| {
        for thread in 0..THREADS as u64 {
            let (cluster, added, done, refused) = (&world.cluster, &added, &done, &refused);
            scope.spawn(move || {
                let mut random = Random(seed.wrapping_add(thread << 32));
                while Instant::now() < over {
                    match write(cluster, &mut random) {
                        Ok(more) => {
                            added.fetch_add(more, Ordering::Relaxed);
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            use ErrorKind::{Ambiguous, Busy, ForeignKey, NotFound, Stale, Unique};
                            let kind = error.kind();
                            let is_expected =
                                matches!(kind, Ambiguous | Busy | ForeignKey | NotFound | Stale | Unique);
                            assert!(is_expected, "{error:?}");
                            *refused.lock().unwrap().entry(format!("{kind:?}")).or_default() += 1;
                        }
                    }
                }
            });
        }
    });
    world.hold.delay(Duration::ZERO);
    world.cluster.recover().unwrap();
    assert!(world.is_finished(), "something is left prepared");
    let end = world.end();
    let cents = end.iter().filter(|line| line.contains(" accounts: "));
    let cents: i64 = cents.map(|line| line.rsplit('|').next().unwrap().parse::<i64>().unwrap()).sum();
    let (added, done) = (added.into_inner(), done.into_inner());
    println!("{kind:?}: {done} transactions, refused {:?}, {added} cents", refused.into_inner().unwrap());
    let faults = faults(&end);
    assert!(faults.is_empty(), "SHARDED_SEED={seed}: {}\n{}", faults.join("\n"), end.join("\n"));
    assert_eq!(cents, added, "SHARDED_SEED={seed}: changes of accounts are lost or doubled");
    assert!(done > 20, "only {done} transactions in {} s", seconds());
}

/// One transaction. Returns how many cents it has added to accounts.
fn write(cluster: &Cluster, random: &mut Random) -> Result<i64> {
    let operation = random.below(24);
    let (id, shard) = (random.id(1, 3), random.of(&SHARDS));
    let new = random.id(100, 3);
    let note = random.id(200, 3);
    let email = random.of(&["s1", "s2", "s3"]);
    let code = random.of(&["CHF", "NOK"]);
    cluster.transaction(|session| operate(session, operation, id, shard, (new, note), email, code))
}

fn operate(
    session: &mut Session,
    operation: u64,
    id: i64,
    shard: &str,
    (new, note): (i64, i64),
    email: &str,
    code: &str,
) -> Result<i64> {
    let nothing = Ok::<i64, Error>(0);
    match operation {
        // Users 1 to 3 move; their e-mails are their own, or shared.
        0 | 1 => {
            let Some(mut row) = session.get::<User>(id)? else { return nothing };
            session.relocate(&mut row, |row| row.home = shard.to_owned())?;
        }
        2 => {
            let Some(mut row) = session.get::<User>(id)? else { return nothing };
            row.email = Some(email.to_owned());
            session.update(&mut row)?;
        }
        3 => {
            let Some(mut row) = session.get::<User>(id)? else { return nothing };
            row.email = Some(format!("own{id}"));
            session.update(&mut row)?;
        }
        4 => {
            let Some(row) = session.get::<User>(id)? else { return nothing };
            session.add(Note {
                id: note,
                user: row.link(),
                tag: Some(format!("t{note}")),
                text: "x".into(),
            })?;
        }
        5 => {
            session.execute(Note::delete().filter(Note::ID.eq(note)).all_shards())?;
        }
        6 => {
            let Some(mut row) = session.get::<Note>(note)? else { return nothing };
            let Some(parent) = session.get::<User>(id)? else { return nothing };
            session.relocate(&mut row, |row| row.user = parent.link())?;
        }
        7 => {
            let Some(mut row) = session.get::<Note>(note)? else { return nothing };
            // The tag stays: it keeps a second row with this id from being added on another shard.
            row.text = format!("seen by {id}");
            session.update(&mut row)?;
        }
        8 => {
            session.execute(Note::update().set(Note::TEXT, "bulk").all_shards())?;
        }
        9 => {
            session
                .execute(User::update().set(User::CENTS, User::CENTS + 1).filter(User::EMAIL.eq(email)))?;
        }
        // Users 100 to 102 come and go; they stay on their shards, so that no other row gets their ids.
        10 | 11 => {
            session.save(user(new, SHARDS[usize::try_from(new).unwrap() % 3], Some(email)))?;
        }
        12 => {
            let Some(row) = session.get::<User>(new)? else { return nothing };
            session.delete(&row)?;
        }
        13 => {
            session.execute(User::delete().filter(User::ID.ge(100) & User::EMAIL.eq(email)).all_shards())?;
        }
        14 => {
            session.execute(User::delete().filter(User::ID.eq(new)).all_shards())?;
        }
        15 => {
            session.add(user(new, SHARDS[usize::try_from(new).unwrap() % 3], Some(email)))?;
        }
        // Accounts are changed and moved.
        16 => {
            let Some(mut row) = session.get::<Account>(id)? else { return nothing };
            row.cents += 1;
            session.update(&mut row)?;
            return Ok(1);
        }
        17 => {
            let update = Account::update().set(Account::CENTS, Account::CENTS + 1).all_shards();
            return Ok(i64::try_from(session.execute(update)?).unwrap());
        }
        18 | 19 => {
            let Some(mut row) = session.get::<Account>(id)? else { return nothing };
            session.relocate(&mut row, |row| row.home = shard.to_owned())?;
        }
        20 => {
            let sql = "UPDATE {accounts} SET cents = cents + 1, version = version + 1";
            return Ok(i64::try_from(session.execute(Sql::new(sql).all_shards())?).unwrap());
        }
        // Currencies are the same on every shard.
        21 => {
            session.save(Currency { code: code.to_owned(), name: format!("{new}") })?;
        }
        22 => {
            session
                .execute(Currency::update().set(Currency::NAME, email).filter(Currency::CODE.ne("EUR")))?;
        }
        _ => {
            session.execute(Currency::delete().filter(Currency::CODE.eq(code)))?;
        }
    }
    nothing
}
