//! Observation of statements: a span for each verb, inside it a span for each shard's statement, and the caller's hook.
//! Uses `error` and `schema`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::schema::Shard;
use crate::schema::Table;

/// A statement that has run on a shard, without its values.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StatementEvent<'e> {
    /// The shard.
    pub shard: &'e Shard,
    /// The SQL as it was sent.
    pub sql: &'e str,
    /// The rows that were read, inserted, changed or deleted; of a failed statement the rows that were read before.
    pub rows: u64,
    /// The time from before the statement was prepared until after its last row was read.
    pub duration: Duration,
    /// Whether it succeeded. A statement has not failed if its further rows were not needed, or if it was stopped after
    /// another shard's statement had failed.
    pub succeeded: bool,
}

/// The hook that is called after every statement.
#[derive(Clone)]
pub(crate) struct Observer(Arc<dyn Fn(&StatementEvent<'_>) + Send + Sync>);

impl Observer {
    pub(crate) fn new(observe: impl Fn(&StatementEvent<'_>) + Send + Sync + 'static) -> Self {
        Observer(Arc::new(observe))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// A span of `tracing`; empty without that feature.
#[derive(Clone)]
pub(crate) struct Span(#[cfg(feature = "tracing")] tracing::Span);

impl Span {
    /// Returns the current span of the thread.
    pub(crate) fn current() -> Self {
        Span(
            #[cfg(feature = "tracing")]
            tracing::Span::current(),
        )
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn of_verb(verb: &'static str, table: Option<&Table>) -> Self {
        use tracing::field::Empty;
        let span = tracing::debug_span!(
            target: "shard_runtime::query",
            "query",
            db.operation.name = verb,
            db.collection.name = Empty,
            shards = Empty,
            "error.type" = Empty,
        );
        if let Some(table) = table {
            span.record("db.collection.name", table.name);
        }
        Span(span)
    }

    #[cfg(not(feature = "tracing"))]
    pub(crate) fn of_verb(_: &'static str, _: Option<&Table>) -> Self {
        Span()
    }

    /// Makes a statement's span, inside the current span.
    #[cfg(feature = "tracing")]
    fn of_statement(system: &'static str, shard: &Shard, table: Option<&str>, sql: &str) -> Self {
        use tracing::field::Empty;
        let span = tracing::debug_span!(
            target: "shard_runtime::statement",
            "statement",
            shard = shard.name(),
            db.system.name = system,
            db.collection.name = Empty,
            db.query.text = sql,
            rows = Empty,
            duration_us = Empty,
            "error.type" = Empty,
        );
        if let Some(table) = table {
            span.record("db.collection.name", table);
        }
        Span(span)
    }

    #[cfg(not(feature = "tracing"))]
    fn of_statement(_: &'static str, _: &Shard, _: Option<&str>, _: &str) -> Self {
        Span()
    }

    /// Returns whether no subscriber records the span.
    pub(crate) fn is_silent(&self) -> bool {
        #[cfg(feature = "tracing")]
        return self.0.is_disabled();
        #[cfg(not(feature = "tracing"))]
        return true;
    }

    /// Records the table and the shards of a verb.
    #[cfg(feature = "tracing")]
    pub(crate) fn record_shards(&self, table: Option<&Table>, shards: &[&str]) {
        if let Some(table) = table {
            self.0.record("db.collection.name", table.name);
        }
        self.0.record("shards", shards.join(","));
    }

    /// Runs a function inside the span, on any thread.
    pub(crate) fn enclose<O>(&self, run: impl FnOnce() -> O) -> O {
        #[cfg(feature = "tracing")]
        return self.0.in_scope(run);
        #[cfg(not(feature = "tracing"))]
        return run();
    }

    /// Records the kind of an error. Its text is left out because it may contain values.
    pub(crate) fn failed(&self, error: Option<ErrorKind>) {
        #[cfg(feature = "tracing")]
        if let Some(kind) = error {
            self.0.record("error.type", tracing::field::debug(kind));
        }
        #[cfg(not(feature = "tracing"))]
        let _ = error;
    }

    fn ended(&self, event: &StatementEvent<'_>) {
        #[cfg(feature = "tracing")]
        {
            self.0.record("rows", event.rows);
            let micros = u64::try_from(event.duration.as_micros()).unwrap_or(u64::MAX);
            self.0.record("duration_us", micros);
        }
        #[cfg(not(feature = "tracing"))]
        let _ = event;
    }
}

/// A running statement: counted when it begins, reported when it ends.
pub(crate) struct Watch {
    began: Option<Instant>,
    /// The duration, if the statement ended before it is reported.
    took: Option<Duration>,
    span: Span,
}

impl Watch {
    pub(crate) fn begin(
        observer: Option<&Observer>,
        system: &'static str,
        shard: &Shard,
        table: Option<&str>,
        sql: &str,
    ) -> Self {
        shard.count_statement();
        let span = Span::of_statement(system, shard, table, sql);
        let began = (!span.is_silent() || observer.is_some()).then(Instant::now);
        Watch { began, took: None, span }
    }

    /// Records that the statement has ended, on a thread that does not report it.
    pub(crate) fn stop(&mut self) {
        self.took = self.began.map(|began| began.elapsed());
    }

    /// Records the duration of a statement that has ended already.
    pub(crate) fn has_taken(&mut self, took: Duration) {
        self.took = self.began.map(|_| took);
    }

    /// Returns the span for the thread that runs the statement.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(crate) fn end<T>(
        self,
        observer: Option<&Observer>,
        shard: &Shard,
        sql: &str,
        rows: u64,
        result: &Result<T>,
    ) {
        self.ended(observer, shard, sql, rows, result.as_ref().err().map(Error::kind));
    }

    pub(crate) fn ended(
        self,
        observer: Option<&Observer>,
        shard: &Shard,
        sql: &str,
        rows: u64,
        error: Option<ErrorKind>,
    ) {
        shard.count_rows(rows);
        let Watch { began: Some(began), took, span } = self else { return };
        let duration = took.unwrap_or_else(|| began.elapsed());
        let event = StatementEvent { shard, sql, rows, duration, succeeded: error.is_none() };
        if let Some(Observer(observe)) = observer {
            observe(&event);
        }
        span.failed(error);
        span.ended(&event);
    }
}
