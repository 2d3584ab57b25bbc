//! The progress of long commands, on standard error.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::transaction::Cluster;

/// The pause between two lines. A shorter command writes none.
const PAUSE: Duration = Duration::from_secs(2);

/// Runs a closure on a cluster, and writes at intervals how many rows its statements have read or written.
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

/// Runs a closure, and writes a line at intervals.
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

/// The lines of a command that reports its own progress.
pub(super) struct ProgressLines<'p> {
    out: &'p mut (dyn Write + Send),
    last: Instant,
}

impl<'p> ProgressLines<'p> {
    pub(super) fn new(out: &'p mut (dyn Write + Send)) -> Self {
        ProgressLines { out, last: Instant::now() }
    }

    /// Writes a line, if enough time has passed since the last one.
    pub(super) fn write(&mut self, line: impl FnOnce() -> String) {
        if self.last.elapsed() >= PAUSE {
            let _ = writeln!(self.out, "{}", line());
            self.last = Instant::now();
        }
    }
}

/// Returns a bar for a part of a whole: `[#####---------------]  25 %, `.
pub(super) fn bar(part: u64, whole: u64) -> String {
    let share = if whole == 0 { 1.0 } else { (part as f64 / whole as f64).min(1.0) };
    let filled = (share * 20.0) as usize;
    format!("[{}{}] {:3.0} %, ", "#".repeat(filled), "-".repeat(20 - filled), (share * 100.0).floor())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_bar_is_full_at_the_end() {
        assert_eq!(super::bar(1, 4), "[#####---------------]  25 %, ");
        assert_eq!(super::bar(999, 1_000), "[###################-]  99 %, ");
        assert_eq!(super::bar(5, 4), "[####################] 100 %, ");
        assert_eq!(super::bar(0, 0), "[####################] 100 %, ");
    }
}
