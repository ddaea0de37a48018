//! Failures to resolve, remembered for a short time (RFC 9520), so that a broken name is not asked for with every query.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use tokio::time::Instant;

use crate::flights::Landing;

/// Failures at once, at most; the first to go are those whose time is over.
const MOST: usize = 8192;

/// What came of a question, and until when that is told.
type Failure = (Instant, Landing);

/// Failures by cache key.
#[derive(Debug)]
pub(crate) struct Failures {
    failures: Mutex<HashMap<Box<[u8]>, Failure, RandomState>>,
    lifetime: Duration,
}

impl Failures {
    /// Remembers failures for `lifetime`; not at all if it is zero.
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { failures: Mutex::default(), lifetime }
    }

    /// What came of this question lately, if it was a failure.
    pub(crate) fn get(&self, key: &[u8], now: Instant) -> Option<Landing> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(key).filter(|(until, _)| *until > now).map(|(_, failure)| failure.clone())
    }

    /// Remembers a failure.
    pub(crate) fn insert(&self, key: &[u8], failure: Landing, now: Instant) {
        if self.lifetime.is_zero() {
            return;
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MOST {
            failures.retain(|_, (until, _)| *until > now);
            if failures.len() >= MOST {
                failures.clear();
            }
        }
        failures.insert(key.into(), (now + self.lifetime, failure));
    }

    /// Forgets all failures but those of questions that are to be kept.
    pub(crate) fn retain(&self, keep: impl Fn(&[u8]) -> bool) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| keep(key));
    }

    /// Makes all failures older.
    pub(crate) fn age(&self, by: Duration) {
        for (until, _) in self.failures.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            *until = until.checked_sub(by).unwrap_or(*until);
        }
    }

    /// Forgets a failure that is over.
    pub(crate) fn remove(&self, key: &[u8]) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_known_for_its_lifetime() {
        let failures = Failures::new(Duration::from_secs(5));
        let now = Instant::now();
        failures.insert(b"x", Err(22), now);
        assert!(failures.get(b"x", now + Duration::from_secs(4)).is_some());
        assert!(failures.get(b"x", now + Duration::from_secs(5)).is_none());
        assert!(failures.get(b"y", now).is_none());
        failures.remove(b"x");
        assert!(failures.get(b"x", now).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let failures = Failures::new(Duration::from_secs(5));
        let now = Instant::now();
        for number in 0..3 * MOST {
            failures.insert(&number.to_be_bytes(), Err(22), now);
        }
        assert!(failures.failures.lock().unwrap().len() <= MOST);
    }
}
