//! Whether an upstream answers, and when to try again if not.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long an upstream rests after its first failure; doubles with each further one.
const FIRST_REST: Duration = Duration::from_secs(1);

/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// What an event changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing worth a word.
    None,
    /// The upstream answered until now.
    Down,
    /// The upstream did not answer until now.
    Up,
}

/// The health of one upstream.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Failures since the last answer.
    failures: u32,
    /// When it may be probed; nothing while it is well.
    down_until: Option<Instant>,
    /// Whether our queries to it come back to us.
    is_loop: bool,
}

impl Health {
    /// An answer came.
    pub(super) fn answered(&self) -> Change {
        let mut state = self.state();
        // Our own refusal of a probe that came back is no sign of life.
        if state.is_loop || state.down_until.is_none() {
            return Change::None;
        }
        *state = State::default();
        Change::Up
    }

    /// No answer came.
    pub(super) fn failed(&self, now: Instant) -> Change {
        let mut state = self.state();
        let change = if state.down_until.is_none() { Change::Down } else { Change::None };
        let rest = FIRST_REST.saturating_mul(1 << state.failures.min(16)).min(LONGEST_REST);
        state.failures = state.failures.saturating_add(1);
        state.down_until = Some(now + rest);
        change
    }

    /// A query of ours came back to us.
    pub(super) fn loops_back(&self, now: Instant) -> Change {
        let mut state = self.state();
        let change = if state.is_loop { Change::None } else { Change::Down };
        state.is_loop = true;
        state.down_until = Some(now + LONGEST_REST);
        change
    }

    /// Whether its rest is over and nobody has probed it since.
    pub(super) fn wants_probe(&self, now: Instant) -> bool {
        let mut state = self.state();
        let wants = state.down_until.is_some_and(|until| until <= now);
        if wants {
            // One probe at a time: its outcome sets the time again.
            state.down_until = Some(now + LONGEST_REST);
        }
        wants
    }

    /// A probe starts, which will show whether there is still a loop.
    pub(super) fn probing(&self) {
        self.state().is_loop = false;
    }

    pub(super) fn is_loop(&self) -> bool {
        self.state().is_loop
    }

    /// Sorts the healthy before the others, and those by the end of their rest.
    pub(super) fn down_until(&self) -> Option<Instant> {
        self.state().down_until
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_rests_twice_as_long_after_each_failure_up_to_a_minute() {
        let health = Health::default();
        let now = Instant::now();
        let rests: Vec<u64> = (0..8)
            .map(|_| {
                health.failed(now);
                health.down_until().unwrap().duration_since(now).as_secs()
            })
            .collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn an_answer_ends_the_rest_and_is_news_once() {
        let health = Health::default();
        assert_eq!(health.failed(Instant::now()), Change::Down);
        assert_eq!(health.answered(), Change::Up);
        assert_eq!(health.answered(), Change::None);
        assert_eq!(health.down_until(), None);
    }

    #[test]
    fn a_rest_that_is_over_asks_for_one_probe() {
        let health = Health::default();
        let now = Instant::now();
        health.failed(now);
        assert!(!health.wants_probe(now));
        assert!(health.wants_probe(now + FIRST_REST));
        assert!(!health.wants_probe(now + FIRST_REST));
    }

    #[test]
    fn an_answer_from_ourselves_does_not_end_a_loop() {
        let health = Health::default();
        health.loops_back(Instant::now());
        assert_eq!(health.answered(), Change::None);
        assert!(health.is_loop());
    }
}
