//! The frame of every call over a session's transactions: its span, its deadline, its errors, its end. Uses `tasks`.

use std::time::Instant;

use super::{HasTransactions, Transactions};
use crate::error::{Error, Result};
use crate::schema::{ShardSet, Table};
use crate::tasks::Span;
use crate::tasks::unwind::finally;

/// Runs a verb inside a span of its own. A verb that another verb consists of has none.
pub(crate) fn in_verb_span<S: HasTransactions, O>(
    state: &mut S,
    verb: &'static str,
    table: Option<&'static Table>,
    run: impl FnOnce(&mut S) -> Result<O>,
) -> Result<O> {
    if state.tx().context.span.is_some() {
        return run(state);
    }
    let span = Span::of_verb(verb, table);
    if span.is_silent() {
        return run(state).map_err(|error| of_verb(state, error));
    }
    state.tx().context.span = Some(span.clone());
    let result = finally(state, |state| span.enclose(|| run(state)), |state| state.tx().context.span = None);
    span.failed(result.as_ref().err().map(Error::kind));
    result.map_err(|error| of_verb(state, error))
}

/// Counts the error of a verb, and names the schema's version if that explains it.
fn of_verb<S: HasTransactions>(state: &mut S, error: Error) -> Error {
    let error = after_change(state.tx(), error);
    let cluster = &state.tx().cluster;
    cluster.with_schema_version(cluster.counted(error))
}

/// If an error comes from a change of the layout: rolls back, which the change may wait for, waits for the end of its switch,
/// and takes the new layout.
fn after_change(tx: &mut Transactions, error: Error) -> Error {
    let of_a_key = tx.cluster.meets_a_key_move(&error);
    let change = if of_a_key { None } else { tx.cluster.change_behind(&error) };
    if !of_a_key && change.is_none() {
        return error;
    }
    tx.abort(&error);
    tx.had_conflict = true;
    let cluster = tx.cluster.clone();
    match change {
        Some(change) => cluster.after_change(change, error),
        None => cluster.after_key_move(error),
    }
}

/// Runs something that reads, until the session's timeout is over. A part of it has no more time than the whole.
pub(crate) fn bounded<S: HasTransactions, O>(state: &mut S, run: impl FnOnce(&mut S) -> O) -> O {
    let tx = state.tx();
    let (Some(timeout), None) = (tx.timeout, tx.context.deadline) else { return run(state) };
    // A deadline that `Instant` cannot hold is none.
    tx.context.deadline = Instant::now().checked_add(timeout);
    finally(state, run, |state| {
        state.tx().lift_deadlines();
        state.tx().context.deadline = None;
    })
}

impl Transactions {
    /// Lets the connections run for as long as it takes: what follows may write.
    pub(crate) fn lift_deadlines(&self) {
        if let Some(cancellation) = &self.context.cancellation {
            cancellation.end();
        }
        if self.context.deadline.is_some() || self.context.cancellation.is_some() {
            let connections = self.databases.used().filter_map(|(_, link)| link.connection());
            connections.for_each(|connection| connection.set_deadline(None));
        }
    }

    /// Records on the verb's span which shards it reads or writes.
    pub(crate) fn record_shards(&self, table: Option<&Table>, shards: &ShardSet) {
        self.context.record_shards(table, shards, self.cluster.layout().shards());
    }
}
