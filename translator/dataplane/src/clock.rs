//! The one clock that the workers and the daemon tell time by.

use std::time::{Duration, Instant, SystemTime};

use nat64_core::Timestamp;

/// Maps the monotonic clock to [`Timestamp`]s, and these to the time of day. A copy tells the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    started_at: SystemTime,
}

impl Clock {
    /// A clock at [`Timestamp::ZERO`]. To be made together with the translator.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now(), started_at: SystemTime::now() }
    }

    /// Milliseconds since the clock was made.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.start.elapsed()
    }

    /// The time of day at [`Timestamp::ZERO`]. It does not follow later changes of the system's time.
    #[must_use]
    pub const fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// The time of day at `at`.
    #[must_use]
    pub fn time_of_day(&self, at: Timestamp) -> SystemTime {
        self.started_at + Duration::from_millis(at.as_millis())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::start()
    }
}
