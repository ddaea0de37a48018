//! The one clock that the workers and the daemon tell time by.

use std::time::{Duration, Instant, SystemTime};

use nat64_core::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Maps the monotonic clock to [`Timestamp`]s, and these to the time of day. A copy tells the same time, and so does the clock
/// of another process on this host until it is started anew: [`Timestamp::ZERO`] is when the kernel's clock began.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    /// What the kernel's clock said at `start`.
    offset: Duration,
    started_at: SystemTime,
}

impl Clock {
    /// The clock.
    #[must_use]
    pub fn start() -> Self {
        let (start, now) = (Instant::now(), clock_gettime(ClockId::Monotonic));
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        let offset = Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default());
        let started_at = SystemTime::now().checked_sub(offset).unwrap_or(SystemTime::UNIX_EPOCH);
        Self { start, offset, started_at }
    }

    /// Milliseconds of the kernel's monotonic clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.offset + self.start.elapsed()
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
