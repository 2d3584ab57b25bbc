//! Opening a cluster from async code.

use super::answer;
use crate::cluster::{Builder, Cluster};
use crate::error::{Error, ErrorKind, Result};
use crate::query::Models;

impl Builder {
    /// Runs [`Builder::create`] on a thread. If the future is dropped, the thread still runs to its end.
    ///
    /// # Errors
    /// Those of [`Builder::create`]; [`ErrorKind::Io`] if no thread could be started.
    pub async fn async_create<M: Models + 'static>(self) -> Result<Cluster> {
        on_a_thread(move || self.create::<M>()).await
    }

    /// Runs [`Builder::open`] on a thread. If the future is dropped, the thread still runs to its end.
    ///
    /// # Errors
    /// Those of [`Builder::open`]; [`ErrorKind::Io`] if no thread could be started.
    pub async fn async_open<M: Models + 'static>(self) -> Result<Cluster> {
        on_a_thread(move || self.open::<M>()).await
    }
}

async fn on_a_thread(open: impl FnOnce() -> Result<Cluster> + Send + 'static) -> Result<Cluster> {
    let (sender, answer) = answer::answer();
    let thread = std::thread::Builder::new().name("sharded-open".to_owned());
    let started = thread.spawn(move || sender.send(open()));
    if let Err(error) = started {
        let message = format!("no thread could be started: {error}");
        return Err(Error::new(ErrorKind::Io, message).with_source(error));
    }
    answer.await.unwrap_or_else(|| {
        Err(Error::new(ErrorKind::Database, "the thread that opened the cluster has panicked"))
    })
}
