//! The system's clock, which signatures are measured by.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_proto::op::DnsResponse;
use tokio::time::Instant;
use tracing::{error, warn};

use super::signatures;

/// A moment before this program was written, in seconds since 1970: 2026-01-01. No right clock says less.
const EARLIEST: u32 = 1_767_225_600;

/// How often a doubt about the clock is said at most.
const REMINDER: Duration = Duration::from_secs(60);

/// Seconds by which signatures and the clock must differ for a doubt; zones sign with more slack than this.
const SLACK: u32 = 3600;

/// Seconds since 1970, as signatures count them: modulo 2³² (RFC 4034 §3.1.5).
pub(super) fn now() -> u32 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    u32::try_from(seconds & u64::from(u32::MAX)).unwrap_or_default()
}

/// Says when the clock seems wrong.
#[derive(Debug)]
pub(super) struct Clock {
    said: Mutex<Option<Instant>>,
}

impl Clock {
    pub(super) const fn new() -> Self {
        Self { said: Mutex::new(None) }
    }

    /// Looks at the clock alone.
    pub(super) fn check(&self) {
        let now = now();
        if now < EARLIEST {
            error!(
                unix_time = now,
                "the system clock is before 2026, so that no DNSSEC signature is valid yet and every signed answer fails; \
                 set the clock"
            );
        }
    }

    /// Looks at the signatures of an answer that did not validate: if none of them is of this time, the clock may be to blame.
    pub(super) fn suspect(&self, response: &DnsResponse) {
        let now = now();
        let off: Vec<u32> = signatures(response)
            .map(|signature| {
                let input = signature.input();
                distance(now, input.sig_inception.get(), input.sig_expiration.get())
            })
            .collect();
        let Some(least) = off.iter().copied().min().filter(|least| *least > SLACK) else { return };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|last| last.elapsed() >= REMINDER) {
            *said = Some(Instant::now());
            warn!(
                unix_time = now,
                seconds_off = least,
                "all signatures of an answer are of another time than the system clock says; they have expired, or the \
                 clock is wrong"
            );
        }
    }
}

/// Seconds between a moment and a period; zero within it. Times are serial numbers (RFC 1982): what is less than half the
/// circle ahead comes later.
fn distance(now: u32, begin: u32, end: u32) -> u32 {
    let ahead = |from: u32, to: u32| Some(to.wrapping_sub(from)).filter(|distance| *distance < 1 << 31);
    match (ahead(now, begin), ahead(end, now)) {
        (Some(early), _) => early,
        (None, Some(late)) => late,
        (None, None) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_to_a_period_counts_in_both_directions_and_around() {
        assert_eq!(distance(100, 50, 150), 0);
        assert_eq!(distance(40, 50, 150), 10);
        assert_eq!(distance(170, 50, 150), 20);
        assert_eq!(distance(5, u32::MAX - 10, 20), 0);
        assert_eq!(distance(u32::MAX, 4, 20), 5);
    }

    #[test]
    fn the_clock_of_this_machine_is_later_than_this_program() {
        assert!(now() > EARLIEST);
    }
}
