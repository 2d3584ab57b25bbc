//! Waiting for a state that can be observed, instead of for a time.

use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread::{Scope, ScopedJoinHandle, sleep};
use std::time::{Duration, Instant};

/// The time after which a test fails that hangs.
const HANGS: Duration = Duration::from_secs(120);

/// Waits until something is so, which it soon is.
#[track_caller]
pub fn soon(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < HANGS, "does not happen: {what}");
        sleep(Duration::from_millis(5));
    }
}

/// Runs a closure on a thread, and returns as soon as that thread waits, as for a lock or a turn, or has ended.
pub fn spawn_until_it_waits<'scope, O: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    run: impl FnOnce() -> O + Send + 'scope,
) -> ScopedJoinHandle<'scope, O> {
    let (tell, told) = channel();
    let handle = scope.spawn(move || {
        tell.send(fs::read_link("/proc/thread-self").unwrap_or_default()).expect("the thread is waited for");
        run()
    });
    let stat = Path::new("/proc").join(told.recv().expect("the thread runs")).join("stat");
    // The state is behind the thread's name. Without a state, this is only a pause.
    let sleeps = || {
        let text = fs::read_to_string(&stat).unwrap_or_default();
        text.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('S'))
    };
    // A wait for the disk, or for another thread's short work, is over before the last look.
    let mut looks = 0;
    while looks < 10 && !handle.is_finished() {
        looks = if sleeps() { looks + 1 } else { 0 };
        sleep(Duration::from_millis(5));
    }
    handle
}
