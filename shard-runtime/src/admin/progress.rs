//! The progress of long work, on standard error.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::transaction::Cluster;

/// How often a line is written. Work that takes less writes none.
const PAUSE: Duration = Duration::from_secs(2);

/// Runs something on a cluster, and writes from time to time how many rows its statements have read or written.
pub(super) fn shown<O: Send>(
    what: &str,
    cluster: &Cluster,
    progress: &mut (dyn Write + Send),
    run: impl FnOnce() -> O + Send,
) -> O {
    let rows = || cluster.stats().shards.iter().map(|shard| shard.rows).sum::<u64>();
    let before = rows();
    beside(progress, run, |elapsed| {
        format!("{what}: {} rows, {} s", rows().saturating_sub(before), elapsed.as_secs())
    })
}

/// Runs something, and writes a line from time to time.
pub(super) fn beside<O: Send>(
    progress: &mut (dyn Write + Send),
    run: impl FnOnce() -> O + Send,
    line: impl Fn(Duration) -> String,
) -> O {
    let (ended, wait) = channel::<()>();
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let _ended = ended;
            run()
        });
        let began = Instant::now();
        while wait.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
            let _ = writeln!(progress, "{}", line(began.elapsed()));
        }
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
