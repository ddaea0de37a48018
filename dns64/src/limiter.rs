//! Bounds on what one client's prefix is sent over UDP, where a source address is easily forged.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;
use tokio::time::Instant;

/// Places for prefixes; two that share one share its rate.
const PLACES: usize = 16384;

/// A prefix that was quiet may be sent the answers of so many seconds at once.
const BURST_SECONDS: u64 = 2;

const SECOND: u64 = 1_000_000_000;

/// What is done with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is sent.
    Send,
    /// Only that the client should come over TCP is sent, where it cannot forge its address.
    Truncate,
    /// Nothing is sent.
    Drop,
}

/// Rates by client prefix: an IPv4 /24 or an IPv6 /56.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// Nanoseconds since the start up to which each prefix has used its rate; empty if there is no limit.
    used_until: Box<[AtomicU64]>,
    hasher: RandomState,
    /// Nanoseconds for each answer.
    interval: u64,
    start: Instant,
}

impl Limiter {
    /// For so many answers a second; no limit if that is zero.
    pub(crate) fn new(rate: u32) -> Self {
        let places = if rate == 0 { 0 } else { PLACES };
        Self {
            used_until: (0..places).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::default(),
            interval: SECOND / u64::from(rate.max(1)),
            start: Instant::now(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        !self.used_until.is_empty()
    }

    /// What to do with an answer to this client. Every other one beyond the limit is to be truncated, so that honest
    /// clients find their way to TCP.
    pub(crate) fn judge(&self, client: IpAddr, now: Instant) -> Verdict {
        if !self.is_on() {
            return Verdict::Send;
        }
        let hash = self.hasher.hash_one(prefix(client));
        let place = usize::try_from(hash >> 32).unwrap_or_default() % self.used_until.len();
        let now = u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX);
        // Two threads at once may count one answer for two: it is a limit, not a bill.
        let used_until = self.used_until[place].load(Ordering::Relaxed).max(now);
        let ahead = used_until - now;
        if ahead + self.interval <= BURST_SECONDS * SECOND {
            self.used_until[place].store((used_until + self.interval) & !1, Ordering::Relaxed);
            return Verdict::Send;
        }
        // The lowest bit has no meaning as a time and says what comes next.
        self.used_until[place].store(used_until ^ 1, Ordering::Relaxed);
        if used_until & 1 == 0 { Verdict::Truncate } else { Verdict::Drop }
    }
}

fn prefix(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits() >> 8),
        // Unicast addresses have bits set up here, where those of IPv4 prefixes are zero.
        IpAddr::V6(address) => u64::try_from(address.to_bits() >> 72).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_prefix_beyond_its_rate_is_told_to_use_tcp_or_nothing_and_others_are_not_touched() {
        let limiter = Limiter::new(10);
        let (now, client) = (limiter.start, "192.0.2.1".parse().unwrap());
        let verdicts: Vec<Verdict> = (0..24).map(|_| limiter.judge(client, now)).collect();
        assert!(verdicts[..20].iter().all(|verdict| *verdict == Verdict::Send));
        assert_eq!(verdicts[20..].iter().filter(|verdict| **verdict == Verdict::Truncate).count(), 2);
        assert_eq!(verdicts[20..].iter().filter(|verdict| **verdict == Verdict::Drop).count(), 2);
        assert_ne!(limiter.judge("::ffff:192.0.2.9".parse().unwrap(), now), Verdict::Send, "the same prefix");
        assert_eq!(limiter.judge("198.51.100.1".parse().unwrap(), now), Verdict::Send);
        assert_eq!(limiter.judge(client, now + Duration::from_millis(101)), Verdict::Send);
    }

    #[test]
    fn there_is_no_limit_at_zero() {
        let limiter = Limiter::new(0);
        assert!((0..1000).all(|_| limiter.judge("192.0.2.1".parse().unwrap(), limiter.start) == Verdict::Send));
    }
}
