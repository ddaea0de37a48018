//! Looking for packets for a while before sleeping: a wake-up takes longer than most packets take, and the CPU pays for it.

use std::time::{Duration, Instant};

/// Since when there was no packet.
#[derive(Debug)]
pub(crate) struct BusyPoll {
    patience: Duration,
    quiet_since: Option<Instant>,
}

impl BusyPoll {
    /// With no patience the worker sleeps as soon as there is nothing to do.
    pub(crate) const fn new(patience: Duration) -> Self {
        Self { patience, quiet_since: None }
    }

    /// Whether to look again at once, after a look that found packets or none. The clock is read only where there is patience.
    #[inline]
    pub(crate) fn goes_on(&mut self, found: bool) -> bool {
        if self.patience.is_zero() {
            return false;
        }
        let now = Instant::now();
        if found {
            self.quiet_since = Some(now);
        }
        let goes_on = self.quiet_since.is_some_and(|since| now.duration_since(since) < self.patience);
        if goes_on {
            std::hint::spin_loop();
        } else {
            // What wakes it next need not be a packet.
            self.quiet_since = None;
        }
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_patience_it_sleeps_and_with_some_it_looks_on_after_a_packet_only() {
        let mut none = BusyPoll::new(Duration::ZERO);
        assert!(!none.goes_on(true));
        let mut long = BusyPoll::new(Duration::from_secs(3600));
        assert!(!long.goes_on(false), "nothing has come yet");
        assert!(long.goes_on(true) && long.goes_on(false));
        let mut short = BusyPoll::new(Duration::from_nanos(1));
        short.goes_on(true);
        while short.goes_on(false) {}
        assert_eq!(short.quiet_since, None);
    }
}
