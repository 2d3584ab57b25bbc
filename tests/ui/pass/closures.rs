//! Closures of sessions that end with `Ok(..)` need no type annotation: their errors are the crate's. The verbs with `try_`
//! take the application's.

use std::ops::ControlFlow;

use shard_runtime::{AsyncSession, Cluster, Error, Session, Sharded, sqlite};

#[derive(Sharded, Clone, Debug)]
struct Account {
    #[id]
    #[shard_key(hash)]
    id: i64,
    cents: i64,
}

struct Failure;

impl From<Error> for Failure {
    fn from(_: Error) -> Self {
        Failure
    }
}

fn sync(cluster: &Cluster, session: &mut Session) -> Result<(), Failure> {
    cluster.transaction(|session| {
        session.add(Account { id: 1, cents: 1 })?;
        Ok(())
    })?;
    cluster.try_transaction(|session| {
        session.flush()?;
        Err(Failure)
    })?;
    session.savepoint(|session| {
        session.flush()?;
        Ok(())
    })?;
    session.try_savepoint(|_| Err(Failure))?;
    session.for_each(Account::select().all_shards(), |_| Ok(ControlFlow::Continue(())))?;
    session.try_for_each(Account::select().all_shards(), |_| Err(Failure))?;
    sqlite::with_connection(session, "a", |raw| {
        raw.execute_batch("SELECT 1")?;
        Ok(())
    })?;
    sqlite::try_with_connection(session, "a", |_| Err(Failure))
}

async fn awaited(cluster: &Cluster, session: &mut AsyncSession) -> Result<(), Failure> {
    let done = cluster.async_transaction(|session| {
        session.flush()?;
        Ok(())
    });
    done.await?;
    cluster.async_try_transaction(|_| Err::<(), _>(Failure)).await?;
    let done = session.run(|session| {
        session.flush()?;
        Ok(())
    });
    done.await?;
    session.try_run(|_| Err::<(), _>(Failure)).await?;
    session.savepoint(|_| Ok(())).await?;
    session.try_savepoint(|_| Err::<(), _>(Failure)).await?;
    sqlite::async_with_connection(session, "a", |_| Ok(())).await?;
    sqlite::async_try_with_connection(session, "a", |_| Err(Failure)).await
}

fn main() {
    let _ = (sync, awaited);
}
