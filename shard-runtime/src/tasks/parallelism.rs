//! The decision whether a part of a session's work runs on a worker thread. Pure.

use std::time::Duration;

/// When the parts of one operation on several shards run on threads at the same time. Set with
/// [`Builder::parallelism`](crate::Builder::parallelism). Rows and errors are the same under each setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parallelism {
    /// Never: every statement runs on the caller's thread. Exceptions are [`Session::iter`](crate::Session::iter), whose rows
    /// come from one thread, and a partial answer within a time, which reads each server on a thread of its own.
    Never,
    /// When that is expected to be faster. Waking a thread takes tens of microseconds, and a short read less than ten.
    #[default]
    Auto,
    /// Whenever several databases take part and a worker thread is free.
    Always,
}

/// The work on several shards.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// A statement that reads.
    Read {
        /// How long it took on one shard before, the shorter of the last two times; `None` if it is not known.
        time: Option<Duration>,
        /// Whether the database is large.
        is_large: bool,
        /// Whether the rows of the first shards may be enough, so that the other shards would be read in vain.
        may_end_early: bool,
        /// Whether the database is a server, which others wait for too.
        is_server: bool,
    },
    /// Looking a row up by its id, which was slow so many times in a row.
    LookUp { slow_in_a_row: u32 },
    /// Sending pending changes: so many bytes beside the largest part.
    Flush { bytes: usize },
    /// A commit that waits for the disk or for servers.
    Commit,
}

/// The cost of waking a thread, and a margin.
const WORTH_A_THREAD: Duration = Duration::from_millis(1);

/// A read that takes longer is worth running although its rows may not be needed: on this machine, and on a server.
const WORTH_WASTING: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// One slow look-up may be a moment in which the machine did something else.
const SLOW_LOOK_UPS: u32 = 8;

/// About 2,000 rows without an index, or 400 with one: what is sent in several times the time that waking threads takes.
const WORTH_SENDING: usize = 2_000 * 512;

impl Parallelism {
    /// Whether a part of the work is given to a thread.
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

    /// From when on looking a row up on one shard counts as slow.
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
