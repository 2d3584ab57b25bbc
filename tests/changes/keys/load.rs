//! A key moves back and forth while writers write it and readers read it. No row is lost, doubled, or on the wrong shard, and no
//! reader sees a part of a transaction.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use shard_runtime::Sharded as _;

use super::models::{Invoice, Models, NewInvoice, NewProject, Tenant, assert_sound, tenant};
use crate::backend::{Backend, LETTERS};

on_some_at_length! {
    Files Prefixed Schemas Servers Everything: r61_a_key_moves_while_it_is_written
}

const MOVES: usize = 25;
const WRITERS: i64 = 3;
const HOT: i64 = 7;

/// The pause of a writer or a reader after each transaction. Without it the rows of the key, which each move copies and each
/// reader reads, would grow as fast as the machine allows.
const PAUSE: Duration = Duration::from_millis(2);

/// Ends a run, also after a failed assertion.
struct End<'e>(&'e AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn r61_a_key_moves_while_it_is_written(backend: &Backend) {
    backend.waits(30_000);
    let cluster = backend.builder(&LETTERS).create::<Models>().unwrap();
    cluster.transaction(|session| (0..20).try_for_each(|id| session.add(tenant(id)).map(drop))).unwrap();
    let (is_over, written) = (AtomicBool::new(false), AtomicI64::new(0));
    // Handles that are opened each for itself find deadlocks over files, as processes do, by this timeout.
    let open =
        || backend.builder(&LETTERS).busy_timeout(Duration::from_millis(300)).open::<Models>().unwrap();
    let mut moved = 0;
    std::thread::scope(|scope| {
        let end = End(&is_over);
        for writer in 0..WRITERS {
            let (handle, is_over, written) = (open(), &is_over, &written);
            scope.spawn(move || {
                let mut turn = 0;
                while !is_over.load(Ordering::Relaxed) {
                    turn += 1;
                    // Some over two shards.
                    let other =
                        (turn % 3 == 0).then_some((turn * 5 + writer) % 20).filter(|other| *other != HOT);
                    let write = |session: &mut shard_runtime::Session| {
                        for id in std::iter::once(HOT).chain(other) {
                            let mut row = session.get::<Tenant>(id)?.expect("no tenant is ever missed");
                            row.cents += 1;
                            session.update(&mut row)?;
                            session.add(NewInvoice { tenant: id, cents: turn })?;
                            if turn % 7 == 0 {
                                session.add(NewProject {
                                    tenant: row.link(),
                                    name: format!("{writer} {turn}"),
                                })?;
                            }
                        }
                        Ok(())
                    };
                    match handle.transaction(write) {
                        Ok(()) => _ = written.fetch_add(1, Ordering::Relaxed),
                        // Ten tries in a row have met the other writers.
                        Err(error) => assert!(error.is_retryable(), "{error}"),
                    }
                    std::thread::sleep(PAUSE);
                }
            });
        }
        for _ in 0..2 {
            let (handle, is_over, written) = (open(), &is_over, &written);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let floor = written.load(Ordering::Relaxed);
                    let mut session = handle.session();
                    // A snapshot of one shard, unless the layout is another one now.
                    let read = session.get::<Tenant>(HOT).and_then(|row| {
                        let row = row.expect("no tenant is ever missed");
                        let of_key = Invoice::select().filter(Invoice::TENANT.eq(HOT));
                        Ok((row.cents, session.all(of_key)?.len() as i64))
                    });
                    match read {
                        Ok((cents, invoices)) => {
                            assert_eq!(cents, invoices);
                            assert!(cents >= floor, "{cents} of at least {floor}");
                        }
                        Err(error) => assert!(error.is_retryable(), "{error}"),
                    }
                    std::thread::sleep(PAUSE);
                }
            });
        }
        for turn in 0..MOVES {
            let before = written.load(Ordering::Relaxed);
            match cluster.move_key::<Tenant>(HOT, LETTERS[turn % 3]).max_rows(1_000_000).run() {
                Ok(_) => moved += 1,
                // On a server the writers may have held their locks all the time.
                Err(error) => {
                    println!("not moved: {error}");
                    assert!(error.is_retryable(), "{error}");
                }
            }
            let began = std::time::Instant::now();
            while written.load(Ordering::Relaxed) < before + 5 && began.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        drop(end);
    });
    let written = written.into_inner();
    println!("{moved} of {MOVES} moves, {written} transactions");
    assert!(moved > MOVES / 2 && written > MOVES as i64);
    let mut session = cluster.session();
    let hot = session.get::<Tenant>(HOT).unwrap().unwrap();
    let of_key = session.all(Invoice::select().filter(Invoice::TENANT.eq(HOT)).all_shards()).unwrap();
    assert_eq!((hot.cents, of_key.len() as i64), (written, written));
    assert!(of_key.iter().all(|row| row.shard() == hot.shard()));
    for id in 0..20 {
        let row = session.get::<Tenant>(id).unwrap().unwrap();
        let invoices =
            session.one(Invoice::select().filter(Invoice::TENANT.eq(id)).all_shards().count()).unwrap();
        assert_eq!(row.cents as u64, invoices, "{id}");
    }
    assert_sound(&cluster);
}
