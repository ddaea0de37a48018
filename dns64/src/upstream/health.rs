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
    /// The upstream leads back to us.
    Loop,
}

/// The health of one upstream.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Failures since the last answer.
    failures: u32,
    last_answer: Option<Instant>,
    /// How long answers take, smoothed as TCP does it (RFC 6298 §2); nothing until there was one.
    usual_time: Option<Duration>,
    /// When it may be probed; nothing while it is well.
    down_until: Option<Instant>,
    /// Whether our queries to it come back to us.
    is_loop: bool,
    /// Whether the last probe came back to us.
    has_probe_returned: bool,
}

impl Health {
    /// An answer came.
    pub(super) fn answered(&self, now: Instant) -> Change {
        let mut state = self.state();
        state.last_answer = Some(now);
        // In a loop the answer is our own, and no sign of life.
        if state.is_loop { Change::None } else { state.recover() }
    }

    /// An answer took so long.
    pub(super) fn took(&self, time: Duration) {
        let mut state = self.state();
        state.usual_time = Some(state.usual_time.map_or(time, |usual| (7 * usual + time) / 8));
    }

    /// How long answers usually take; zero while that is not known, so that it becomes known.
    pub(super) fn usual_time(&self) -> Duration {
        self.state().usual_time.unwrap_or_default()
    }

    /// How long an answer is waited for before its question is sent once more: a name that the upstream has to look up
    /// first takes several times as long as others.
    pub(super) fn patience(&self) -> Duration {
        /// What the others on the way to an answer take, at the least.
        const LEAST: Duration = Duration::from_millis(250);
        LEAST.max(4 * self.usual_time())
    }

    /// No answer came to a question asked at `asked`.
    ///
    /// If other answers came since, the name is to blame and not the upstream.
    pub(super) fn failed(&self, now: Instant, asked: Instant) -> Change {
        let mut state = self.state();
        if state.last_answer.is_some_and(|last| last > asked) {
            return Change::None;
        }
        let change = if state.down_until.is_none() { Change::Down } else { Change::None };
        let rest = FIRST_REST.saturating_mul(1 << state.failures.min(16)).min(LONGEST_REST);
        state.failures = state.failures.saturating_add(1);
        state.down_until = Some(now + rest);
        change
    }

    /// A probe came back to us.
    pub(super) fn loops_back(&self, now: Instant) -> Change {
        let mut state = self.state();
        let change = if state.is_loop { Change::None } else { Change::Loop };
        state.is_loop = true;
        state.has_probe_returned = true;
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

    /// A probe is about to be sent.
    pub(super) fn probe_begins(&self) {
        self.state().has_probe_returned = false;
    }

    /// A probe was answered; by somebody else, unless it came back to us meanwhile.
    pub(super) fn probe_succeeded(&self) -> Change {
        let mut state = self.state();
        if state.has_probe_returned || !state.is_loop {
            return Change::None;
        }
        state.is_loop = false;
        state.recover()
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

impl State {
    fn recover(&mut self) -> Change {
        self.failures = 0;
        if self.down_until.take().is_some() { Change::Up } else { Change::None }
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
                health.failed(now, now);
                health.down_until().unwrap().duration_since(now).as_secs()
            })
            .collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn an_answer_ends_the_rest_and_is_news_once() {
        let health = Health::default();
        let now = Instant::now();
        assert_eq!(health.failed(now, now), Change::Down);
        assert_eq!(health.answered(now), Change::Up);
        assert_eq!(health.answered(now), Change::None);
        assert_eq!(health.down_until(), None);
    }

    #[test]
    fn a_question_without_answer_among_others_with_one_is_not_the_upstreams_fault() {
        let health = Health::default();
        let asked = Instant::now();
        health.answered(asked + FIRST_REST);
        assert_eq!(health.failed(asked + 2 * FIRST_REST, asked), Change::None);
        assert_eq!(health.down_until(), None);
    }

    #[test]
    fn the_usual_time_follows_slowly() {
        let health = Health::default();
        assert_eq!(health.usual_time(), Duration::ZERO);
        health.took(Duration::from_millis(80));
        health.took(Duration::from_millis(160));
        assert_eq!(health.usual_time(), Duration::from_millis(90));
    }

    #[test]
    fn a_question_is_sent_again_after_four_times_the_usual_time_and_not_at_once() {
        let health = Health::default();
        assert_eq!(health.patience(), Duration::from_millis(250));
        health.took(Duration::from_millis(100));
        assert_eq!(health.patience(), Duration::from_millis(400));
    }

    #[test]
    fn a_rest_that_is_over_asks_for_one_probe() {
        let health = Health::default();
        let now = Instant::now();
        health.failed(now, now);
        assert!(!health.wants_probe(now));
        assert!(health.wants_probe(now + FIRST_REST));
        assert!(!health.wants_probe(now + FIRST_REST));
    }

    #[test]
    fn a_loop_ends_only_with_a_probe_that_somebody_else_answers() {
        let health = Health::default();
        let now = Instant::now();
        assert_eq!(health.loops_back(now), Change::Loop);
        assert_eq!(health.answered(now), Change::None);
        health.probe_begins();
        health.loops_back(now);
        assert_eq!(health.probe_succeeded(), Change::None);
        assert!(health.is_loop());
        health.probe_begins();
        assert_eq!(health.probe_succeeded(), Change::Up);
        assert!(!health.is_loop());
    }
}
