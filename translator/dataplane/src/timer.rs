//! Whose turn it is to let the translator's timers run.

use std::sync::{Mutex, TryLockError};
use std::time::Duration;

use nat64_core::Timestamp;

use crate::stats::Cell;

/// How often the translator looks for what has expired.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// Lets one worker at a time run what is due, whichever comes first.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    /// When the next run is due, in milliseconds; written by whoever holds the turn.
    due: Cell,
    turn: Mutex<()>,
}

impl Timer {
    /// Runs `expire` if it is due at `now` and nobody else does. It says whether more is due at once; so does this.
    pub(crate) fn run(&self, now: Timestamp, expire: impl FnOnce() -> bool) -> bool {
        if !self.is_due(now) {
            return false;
        }
        let _turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            // The worker that panicked has reported itself; the others' sessions expire nevertheless.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        if !self.is_due(now) {
            return false;
        }
        let more = expire();
        let next = if more { now } else { now + INTERVAL };
        self.due.set(next.as_millis());
        more
    }

    fn is_due(&self, now: Timestamp) -> bool {
        now.as_millis() >= self.due.value()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use nat64_core::Timestamp;

    use super::{INTERVAL, Timer};

    #[test]
    fn what_is_due_runs_once_per_interval() {
        let timer = Timer::default();
        let mut ran = Vec::new();

        for millis in [0, 1, 99, 100, 101, 350, 449, 450] {
            timer.run(Timestamp::from_millis(millis), || {
                ran.push(millis);
                false
            });
        }

        assert_eq!(ran, [0, 100, 350, 450]);
        assert_eq!(INTERVAL.as_millis(), 100);
    }

    #[test]
    fn with_more_to_do_it_is_due_again_at_once() {
        let timer = Timer::default();
        let now = Timestamp::from_millis(7);

        assert!(timer.run(now, || true));
        assert!(!timer.run(now, || false));
        assert!(!timer.run(now, || unreachable!("the interval has just begun")));
    }

    #[test]
    fn only_one_worker_has_the_turn() {
        let timer = Timer::default();
        let (running, ran) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            for round in 0..2000 {
                timer.run(Timestamp::from_millis(round * 100), || {
                    assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
                    ran.fetch_add(1, Ordering::SeqCst);
                    running.fetch_sub(1, Ordering::SeqCst);
                    false
                });
            }
        };

        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));

        assert!((1..=2000).contains(&ran.load(Ordering::SeqCst)));
    }

    #[test]
    fn a_panic_in_one_turn_does_not_stop_the_timers() {
        let timer = Timer::default();
        let unlucky = thread::scope(|scope| scope.spawn(|| timer.run(Timestamp::ZERO, || panic!("as told"))).join());
        assert!(unlucky.is_err());

        assert!(timer.run(Timestamp::ZERO, || true));
    }
}
