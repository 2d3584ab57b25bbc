//! Entries of lookups without a row, while another session's lock prevents the search for it.

use shard_runtime::{ErrorKind, Session};

use crate::backend::{Backend, Watched, assert_error};
use crate::lookup::{cluster, emails, pairs, text_on, user};
use crate::lookup_entries::remove_behind;

/// A user on `a` whose entry belongs to no row, and a session that has written other users. Another session's lock on `c`
/// prevents the search for the row.
fn kept_from_looking(cluster: &Watched, email: &str) -> (Session, Session) {
    let mut session = cluster.session();
    session.add(user("a", email)).unwrap();
    session.commit().unwrap();
    remove_behind(cluster, "a");
    let mut other = cluster.session();
    other.add(user("c", &text_on("c", "other"))).unwrap();
    other.flush().unwrap();
    session.add_all([user("a", &text_on("a", "kept")), user("b", &text_on("b", "kept"))]).unwrap();
    session.flush().unwrap();
    session.add(user("a", email)).unwrap();
    (session, other)
}

/// Then it is unknown whether the entry belongs to a row, and the row can be sent again.
fn r38_an_entry_without_a_row_that_cannot_be_looked_for_is_busy(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = cluster(backend);
    let email = text_on("a", "wanted");
    let (mut session, mut other) = kept_from_looking(&cluster, &email);
    assert_error(session.flush(), ErrorKind::Busy, &["shard `c`"]);
    other.rollback();
    session.commit().unwrap();
    let (a, b) = (text_on("a", "kept"), text_on("b", "kept"));
    assert_eq!(emails(&cluster), pairs(&[(&a, "a"), (&b, "b"), (&email, "a")]));
    assert!(cluster.verify().unwrap().is_sound());
}

/// The tables' locks are given back with the savepoint, on shards that were written before.
fn r32_the_locks_of_a_search_that_fails_are_released(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = cluster(backend);
    let (mut session, mut other) = kept_from_looking(&cluster, &text_on("a", "wanted"));
    assert_error(session.flush(), ErrorKind::Busy, &["shard `c`"]);
    let mut third = cluster.session();
    third.add(user("b", &text_on("b", "third"))).unwrap();
    third.commit().unwrap();
    other.rollback();
    session.commit().unwrap();
}

on_some! {
    Files PostgreSQL:
        r38_an_entry_without_a_row_that_cannot_be_looked_for_is_busy;
    PostgreSQL:
        r32_the_locks_of_a_search_that_fails_are_released,
}
