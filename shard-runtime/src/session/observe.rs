//! What a session tells about its statements.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::error::Result;
use crate::shards::Shard;

/// A statement that a shard was asked. The values are not in it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StatementEvent<'e> {
    /// The shard.
    pub shard: &'e Shard,
    /// The SQL as it was sent.
    pub sql: &'e str,
    /// The rows that were read, inserted, changed or removed; 0 where the statement failed.
    pub rows: u64,
    /// From before it was prepared until after its last row was read.
    pub duration: Duration,
    /// Whether it succeeded.
    pub succeeded: bool,
}

/// What is called after every statement.
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

/// Whether somebody wants the events: the clock is not read for nobody.
fn is_traced() -> bool {
    #[cfg(feature = "tracing")]
    return tracing::enabled!(target: EVENTS, tracing::Level::DEBUG);
    #[cfg(not(feature = "tracing"))]
    return false;
}

/// What the events' targets are.
#[cfg(feature = "tracing")]
const EVENTS: &str = "shard_runtime::statement";

/// A statement that is under way: counted when it begins, told of when it ends.
pub(super) struct Watch(Option<Instant>);

impl Watch {
    pub(super) fn begin(cluster: &Cluster, shard: &Shard) -> Self {
        shard.count_statement();
        Watch((is_traced() || cluster.observer().is_some()).then(Instant::now))
    }

    pub(super) fn end<T>(self, cluster: &Cluster, shard: &Shard, sql: &str, rows: u64, result: &Result<T>) {
        let Watch(Some(began)) = self else { return };
        let event = StatementEvent { shard, sql, rows, duration: began.elapsed(), succeeded: result.is_ok() };
        if let Some(Observer(observe)) = cluster.observer() {
            observe(&event);
        }
        #[cfg(feature = "tracing")]
        tracing::debug!(
            target: EVENTS,
            shard = shard.name(),
            sql,
            rows,
            duration_us = u64::try_from(event.duration.as_micros()).unwrap_or(u64::MAX),
            succeeded = event.succeeded,
        );
    }
}
