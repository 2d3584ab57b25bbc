//! The frame of every call over a session's transactions: span, deadline, errors, end. Uses `tasks`.

use std::time::Instant;

use super::{HasTransactions, Transactions};
use crate::error::{Error, Result};
use crate::schema::{ShardSet, Table};
use crate::tasks::Span;
use crate::tasks::unwind::finally;

/// Runs a verb inside a span of its own. A verb that another verb calls has none.
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

/// Counts the error of a verb, and adds the schema's version if that explains it.
fn of_verb<S: HasTransactions>(state: &mut S, error: Error) -> Error {
    let error = after_change(state.tx(), error);
    let cluster = &state.tx().cluster;
    cluster.with_schema_version(cluster.counted(error))
}

/// If an error comes from a change of the layout: rolls back, because the change may wait for the transaction. Then it
/// waits for the end of the switch, and loads the new layout.
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

/// Runs a read until the session's timeout ends. A nested call shares the deadline.
pub(crate) fn bounded<S: HasTransactions, O>(state: &mut S, run: impl FnOnce(&mut S) -> O) -> O {
    let tx = state.tx();
    let (Some(timeout), None) = (tx.timeout, tx.context.deadline) else { return run(state) };
    // A deadline beyond the range of `Instant` means none.
    tx.context.deadline = Instant::now().checked_add(timeout);
    finally(state, run, |state| {
        state.tx().lift_deadlines();
        state.tx().context.deadline = None;
    })
}

impl Transactions {
    /// Removes the deadline from the connections: the following statements may write.
    pub(crate) fn lift_deadlines(&self) {
        if let Some(cancellation) = &self.context.cancellation {
            cancellation.end();
        }
        if self.context.deadline.is_some() || self.context.cancellation.is_some() {
            let connections = self.databases.used().filter_map(|(_, transaction)| transaction.connection());
            connections.for_each(|connection| connection.set_deadline(None));
        }
    }

    /// Records on the verb's span which shards it reads or writes.
    pub(crate) fn record_shards(&self, table: Option<&Table>, shards: &ShardSet) {
        self.context.record_shards(table, shards, self.cluster.layout().shards());
    }
}
