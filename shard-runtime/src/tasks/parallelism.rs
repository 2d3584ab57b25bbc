//! The decision whether a part of a session's work runs on a worker thread. Pure.

use std::time::Duration;

/// When the parts of one operation on several shards run on threads at the same time. Set with
/// [`Builder::parallelism`](crate::Builder::parallelism). Rows and errors are the same under each setting. A cluster
/// has two worker threads for each processor, at least 4 and at most 64, which are started when they are needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parallelism {
    /// Never: every statement runs on the calling thread. There are two exceptions.
    /// [`Session::iter`](crate::Session::iter) reads its rows on one thread. A partial answer with a timeout reads each
    /// server on a separate thread.
    Never,
    /// If that is expected to be faster. Waking a thread takes tens of microseconds, and a short read less than ten.
    /// The expectation comes from the last times of the statement or, for a new statement, from the size of the
    /// databases.
    #[default]
    Auto,
    /// If several databases take part and a worker thread is free.
    Always,
}

/// The work on several shards.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// A statement that reads.
    Read {
        /// How long it took on one shard before, the shorter of the last two times; `None` for a new statement.
        time: Option<Duration>,
        /// Whether the database is large.
        is_large: bool,
        /// Whether the rows of the first shards may be enough, so that reading the other shards would be wasted.
        may_end_early: bool,
        /// Whether the database is a server, which other programs use too.
        is_server: bool,
    },
    /// A look-up by id, after this number of slow ones of the same model.
    LookUp { slow_in_a_row: u32 },
    /// Sending pending changes, with this number of bytes beside the largest part.
    Flush { bytes: usize },
    /// A commit that waits for the disk or for servers.
    Commit,
}

/// The cost of waking a thread, and a margin.
const WORTH_A_THREAD: Duration = Duration::from_millis(1);

/// From these times on, on this machine and on a server, a read runs on a thread although its rows may not be needed.
const WORTH_WASTING: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// A single slow look-up may be a delay by another process.
const SLOW_LOOK_UPS: u32 = 8;

/// About 2,000 rows without an index, or 400 with one. Sending them takes several times as long as waking threads.
const WORTH_SENDING: usize = 2_000 * 512;

impl Parallelism {
    /// Returns whether a part of the work is given to a thread.
    pub(crate) fn uses_threads(self, work: Work) -> bool {
        match (self, work) {
            (Parallelism::Never, _) => false,
            (Parallelism::Always, _) | (_, Work::Commit) => true,
            (Parallelism::Auto, Work::Read { time, may_end_early: true, is_server, .. }) => {
                let worth = if is_server { WORTH_WASTING.1 } else { WORTH_WASTING.0 };
                time.is_some_and(|time| time >= worth)
            }
            (Parallelism::Auto, Work::Read { time, is_large, .. }) => {
                time.map_or(is_large, |time| time >= WORTH_A_THREAD)
            }
            (Parallelism::Auto, Work::LookUp { slow_in_a_row }) => slow_in_a_row >= SLOW_LOOK_UPS,
            (Parallelism::Auto, Work::Flush { bytes }) => bytes >= WORTH_SENDING,
        }
    }

    /// Returns whether a look-up by id on one shard counts as slow.
    pub(crate) fn is_slow_look_up(time: Duration) -> bool {
        time >= WORTH_A_THREAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_used_for_what_takes_longer_than_waking_them() {
        let read = |time: Option<u64>, is_large, may_end_early, is_server| Work::Read {
            time: time.map(Duration::from_millis),
            is_large,
            may_end_early,
            is_server,
        };
        let cases = [
            (read(None, false, false, false), false),
            (read(None, true, false, false), true),
            (read(Some(0), true, false, false), false),
            (read(Some(1), false, false, false), true),
            (read(None, true, true, false), false),
            (read(Some(9), true, true, false), false),
            (read(Some(10), false, true, false), true),
            (read(Some(99), false, true, true), false),
            (read(Some(100), false, true, true), true),
            (Work::LookUp { slow_in_a_row: 7 }, false),
            (Work::LookUp { slow_in_a_row: 8 }, true),
            (Work::Flush { bytes: WORTH_SENDING - 1 }, false),
            (Work::Flush { bytes: WORTH_SENDING }, true),
            (Work::Commit, true),
        ];
        for (work, expected) in cases {
            assert_eq!(Parallelism::Auto.uses_threads(work), expected, "{work:?}");
            assert!(!Parallelism::Never.uses_threads(work) && Parallelism::Always.uses_threads(work));
        }
    }
}
