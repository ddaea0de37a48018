use std::thread;
use std::time::{Duration, Instant};

/// Pauses between looks: short at first, since most conditions hold soon.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// Polls `condition` until it holds; panics, naming `what`, when it did not within `deadline`.
pub(crate) fn eventually(what: &str, deadline: Duration, condition: impl FnMut() -> bool) {
    assert!(holds_within(deadline, condition), "waited {deadline:?} in vain for: {what}");
}

/// Polls `condition` until it holds or `deadline` has passed.
pub(crate) fn holds_within(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    let mut pause = SHORTEST_PAUSE;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(pause);
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}
