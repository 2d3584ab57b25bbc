//! Random moves of random keys, between random writes and queries of several handles. Each handle is opened as a process opens
//! its own. Every answer is that of one big table. `SHARDED_SEED` repeats a run.

use std::collections::BTreeMap;

use shard_runtime::Sharded as _;

use super::models::{Invoice, Models, NewInvoice, Tenant, assert_sound, tenant};
use crate::backend::{Backend, LETTERS, Watched};
use crate::load::{Random, seed};

on_some_at_length! {
    Files Prefixed Schemas Everything: r49_random_moves_are_seen_by_no_query
}

const KEYS: u64 = 12;
const STEPS: usize = 150;

/// One big table of tenants, each with its money and its invoices.
#[derive(Default)]
struct Oracle {
    tenants: BTreeMap<i64, i64>,
    invoices: Vec<(i64, i64)>,
}

impl Oracle {
    fn invoices(&self, holds: impl Fn(i64) -> bool) -> Vec<(i64, i64)> {
        let mut found: Vec<_> = self.invoices.iter().copied().filter(|(tenant, _)| holds(*tenant)).collect();
        found.sort_unstable();
        found
    }
}

struct World {
    handles: Vec<Watched>,
    oracle: Oracle,
    random: Random,
    number: i64,
}

impl World {
    fn key(&mut self) -> i64 {
        i64::try_from(self.random.below(KEYS)).unwrap()
    }

    fn handle(&mut self) -> usize {
        usize::try_from(self.random.below(self.handles.len() as u64)).unwrap()
    }

    fn step(&mut self) -> String {
        let (handle, key) = (self.handle(), self.key());
        let kind = self.random.below(10);
        match kind {
            0..3 => {
                let shard = LETTERS[usize::try_from(self.random.below(3)).unwrap()];
                let moved = self.handles[handle].move_key::<Tenant>(key, shard).run().unwrap();
                assert_eq!(moved.to, shard);
                format!("{handle}: {key} from {} to {shard}", moved.from)
            }
            3..6 => {
                self.number += 1;
                let number = self.number;
                let has = self.oracle.tenants.contains_key(&key);
                let write = |session: &mut shard_runtime::Session| {
                    session.add(NewInvoice { tenant: key, cents: number })?;
                    match session.get::<Tenant>(key)? {
                        Some(mut found) => {
                            found.cents += number;
                            session.update(&mut found)?;
                        }
                        None => drop(session.add(Tenant { cents: number, ..tenant(key) })?),
                    }
                    Ok(())
                };
                self.handles[handle].transaction(write).unwrap();
                self.oracle.invoices.push((key, number));
                *self.oracle.tenants.entry(key).or_default() += number;
                format!("{handle}: {number} for {key}, {}", if has { "there" } else { "new" })
            }
            6 => {
                let delete = |session: &mut shard_runtime::Session| {
                    session.execute(Invoice::delete().filter(Invoice::TENANT.eq(key)))?;
                    session.execute(Tenant::delete().filter(Tenant::ID.eq(key)))
                };
                self.handles[handle].transaction(delete).unwrap();
                self.oracle.tenants.remove(&key);
                self.oracle.invoices.retain(|(tenant, _)| *tenant != key);
                format!("{handle}: deletes {key}")
            }
            7 => {
                let bulk = |session: &mut shard_runtime::Session| {
                    session.execute(
                        Tenant::update().filter(Tenant::ID.lt(key)).set(Tenant::CENTS, key).all_shards(),
                    )
                };
                self.handles[handle].transaction(bulk).unwrap();
                self.oracle
                    .tenants
                    .iter_mut()
                    .filter(|(id, _)| **id < key)
                    .for_each(|(_, cents)| *cents = key);
                format!("{handle}: below {key}")
            }
            _ => format!("{handle}: only reads"),
        }
    }

    /// Compares answers of one handle, which may have the layout before the last moves.
    fn compare(&mut self, what: &str) {
        let (handle, key, other) = (self.handle(), self.key(), self.key());
        let cluster = &self.handles[handle];
        // A session that has read before fails once, if it meets a shard that a key has left.
        let found = cluster.session().get::<Tenant>(key).unwrap().map(|row| row.cents);
        assert_eq!(found, self.oracle.tenants.get(&key).copied(), "{what}, then get {key} by {handle}");
        let invoices = |rows: Vec<shard_runtime::Stored<Invoice>>| {
            let mut rows: Vec<(i64, i64)> = rows.iter().map(|row| (row.tenant, row.cents)).collect();
            rows.sort_unstable();
            rows
        };
        let of_two = Invoice::select().filter(Invoice::TENANT.is_in([key, other]));
        let expected = self.oracle.invoices(|tenant| tenant == key || tenant == other);
        assert_eq!(
            invoices(cluster.session().all(of_two).unwrap()),
            expected,
            "{what}, then {key} and {other} by {handle}"
        );
        let range = Tenant::ID.ge(key.min(other)).and(Tenant::ID.le(key.max(other)));
        let count = cluster.session().one(Tenant::select().filter(range).all_shards().count()).unwrap();
        let between = self.oracle.tenants.range(key.min(other)..=key.max(other)).count() as u64;
        assert_eq!(count, between, "{what}, then from {key} to {other} by {handle}");
        let all = cluster.session().all(Tenant::select().order_by(Tenant::ID.asc()).all_shards()).unwrap();
        let all: Vec<(i64, i64)> = all.iter().map(|row| (row.id, row.cents)).collect();
        assert!(
            all.iter().copied().eq(self.oracle.tenants.iter().map(|(id, cents)| (*id, *cents))),
            "{what}"
        );
        let email = Tenant::select().filter(Tenant::EMAIL.eq(format!("{key}@example.org")));
        let by_email = cluster.session().all(email).unwrap().pop().map(|row| row.cents);
        assert_eq!(by_email, self.oracle.tenants.get(&key).copied(), "{what}, then by the e-mail of {key}");
        // It has the layout now: only the shard of the key is read.
        let owner = cluster.locate::<Tenant>(key).unwrap().name().to_owned();
        let (_, asked) = cluster.asked(|| {
            cluster.session().all(Invoice::select().filter(Invoice::TENANT.eq(key))).unwrap();
        });
        assert_eq!(asked, [owner], "{what}, then the shards of {key} by {handle}");
    }
}

fn r49_random_moves_are_seen_by_no_query(backend: &Backend) {
    let first = backend.create::<Models>(&LETTERS);
    let others = (0..2).map(|_| backend.open::<Models>(&LETTERS).unwrap());
    let handles = std::iter::once(first).chain(others).collect();
    let mut world = World { handles, oracle: Oracle::default(), random: Random(seed()), number: 0 };
    for step in 0..STEPS {
        let what = format!("step {step}, {}", world.step());
        world.compare(&what);
    }
    for handle in &world.handles {
        assert_sound(handle);
    }
}
