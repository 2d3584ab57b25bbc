//! The async session beside `spawn_blocking` with `rusqlite`, both awaited under Tokio: the cost of a trip to a thread and
//! back, and many sessions at once.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use shard_runtime::sqlite::rusqlite::Connection;
use shard_runtime::{Cluster, Error};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::by_hand::{self, GET_ACCOUNT, shard_of};
use crate::data::{Data, SHARDS, Set, builder};
use crate::measure::{Failure, Pair};
use crate::models::{Account, Turns};

/// Threads on both sides, and connections to each file on average.
const THREADS: usize = 16;

const PER_BLOCK: usize = 64;
const SESSIONS: usize = 1_000;

/// A runtime whose blocking threads are as many as the cluster's.
fn runtime() -> Result<Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(THREADS).build()?)
}

fn cluster(set: &Set) -> Result<Cluster, Failure> {
    Ok(builder(&set.folder).connections(4 * THREADS as u32).open::<Account>()?)
}

/// Connections to the four files, as many as there are threads, so that there is always one.
#[derive(Clone)]
struct Connections(Arc<Mutex<Vec<Vec<Connection>>>>);

impl Connections {
    fn new(set: &Set) -> Result<Self, Failure> {
        let open = |name: &&str| by_hand::open(&set.copies.join(format!("{name}.db")));
        let four = |_| SHARDS.iter().map(open).collect::<Result<Vec<_>, _>>();
        Ok(Connections(Arc::new(Mutex::new((0..THREADS).map(four).collect::<Result<_, _>>()?))))
    }

    /// Runs a closure with four connections on one of the runtime's blocking threads.
    async fn run<O: Send + 'static>(
        &self,
        run: impl FnOnce(&[Connection]) -> shard_runtime::sqlite::rusqlite::Result<O> + Send + 'static,
    ) -> Result<O, Failure> {
        let all = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            let four = all.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            let done = run(&four);
            all.lock().unwrap_or_else(PoisonError::into_inner).push(four);
            done
        });
        Ok(done.await??)
    }
}

fn found(four: &[Connection], id: i64) -> shard_runtime::sqlite::rusqlite::Result<i64> {
    let account = by_hand::get(&four[shard_of(id)], GET_ACCOUNT, id, by_hand::account)?;
    Ok(account.map_or(0, |account| account.id))
}

/// Runs a block on its own runtime, with the next ids.
fn side<'d, F: Future<Output = Result<i64, Failure>>>(
    set: &'d Set,
    size: usize,
    block: impl Fn(Vec<i64>) -> F + 'd,
) -> Result<impl FnMut() -> Result<u64, Failure> + 'd, Failure> {
    let (runtime, mut ids) = (runtime()?, Turns::new(&set.ids));
    Ok(move || Ok(runtime.block_on(block(ids.take(size.min(set.ids.len())).to_vec()))? as u64))
}

/// A row, awaited, one after the other in one session.
pub fn get(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.accounts()?;
    let (cluster, connections) = (cluster(set)?, Connections::new(set)?);
    let framework = side(set, PER_BLOCK, move |ids| {
        let mut session = cluster.async_session();
        async move {
            let mut sum = 0;
            for id in ids {
                sum += session.get::<Account>(id).await?.map_or(0, |account| account.id);
            }
            session.commit().await?;
            Ok(sum)
        }
    })?;
    let by_hand = side(set, PER_BLOCK, move |ids| {
        let connections = connections.clone();
        async move {
            let mut sum = 0;
            for id in ids {
                sum += connections.run(move |four| found(four, id)).await?;
            }
            Ok(sum)
        }
    })?;
    Ok(Pair { per_block: PER_BLOCK as u32, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

/// The same rows with one trip to the thread.
pub fn many_steps(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.accounts()?;
    let (cluster, connections) = (cluster(set)?, Connections::new(set)?);
    let framework = side(set, PER_BLOCK, move |ids| {
        let mut session = cluster.async_session();
        async move {
            let sum = session.run(move |session| {
                let mut sum = 0;
                for id in ids {
                    sum += session.get::<Account>(id)?.map_or(0, |account| account.id);
                }
                session.commit()?;
                Ok(sum)
            });
            Ok(sum.await?)
        }
    })?;
    let by_hand = side(set, PER_BLOCK, move |ids| {
        let connections = connections.clone();
        async move {
            connections.run(move |four| ids.iter().try_fold(0, |sum, &id| Ok(sum + found(four, id)?))).await
        }
    })?;
    Ok(Pair { per_block: PER_BLOCK as u32, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

/// A thousand tasks at once, each with a session of its own that reads a row.
pub fn a_thousand(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.accounts()?;
    let (cluster, connections) = (cluster(set)?, Connections::new(set)?);
    let framework = side(set, SESSIONS, move |ids| {
        let cluster = cluster.clone();
        async move {
            let mut tasks = JoinSet::new();
            for id in ids {
                let mut session = cluster.async_session();
                tasks.spawn(async move {
                    let account = session.get::<Account>(id).await?;
                    session.commit().await?;
                    Ok::<_, Error>(account.map_or(0, |account| account.id))
                });
            }
            let mut sum = 0;
            while let Some(id) = tasks.join_next().await {
                sum += id??;
            }
            Ok(sum)
        }
    })?;
    let by_hand = side(set, SESSIONS, move |ids| {
        let connections = connections.clone();
        async move {
            let mut tasks = JoinSet::new();
            for id in ids {
                let connections = connections.clone();
                tasks.spawn(async move {
                    let run = connections.run(move |four| found(four, id)).await;
                    run.map_err(|error| error.to_string())
                });
            }
            let mut sum = 0;
            while let Some(id) = tasks.join_next().await {
                sum += id??;
            }
            Ok(sum)
        }
    })?;
    Ok(Pair { per_block: SESSIONS as u32, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}
