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
