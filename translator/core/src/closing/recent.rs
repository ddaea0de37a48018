//! Connections that were reset a short while ago.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::time::Timestamp;

/// An IPv4 address and port.
type End = (Ipv4Addr, u16);

/// For how long a connection counts as such: what is on its way comes within that.
const LASTS: Duration = Duration::from_secs(30);
/// How many are remembered at the most.
const MOST: u32 = 4096;

/// By the pool's end and the remote end. It has a lock of its own; a count tells without it that there are none.
#[derive(Debug, Default)]
pub(crate) struct RecentlyReset {
    count: AtomicU32,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    until: HashMap<(End, End), Timestamp, foldhash::quality::RandomState>,
    /// When those that are over were last forgotten.
    cleaned: Timestamp,
}

impl RecentlyReset {
    /// Bytes of memory that it takes at the most: buckets are a power of two, and an eighth of them stays free.
    pub(crate) const BYTES: u64 = 2 * MOST as u64 * (size_of::<((End, End), Timestamp)>() as u64 + 1);

    /// Remembers a connection, if there is room.
    pub(crate) fn note(&self, external: End, remote: End, now: Timestamp) {
        let mut inner = self.inner.lock();
        if now.since(inner.cleaned) >= LASTS {
            inner.until.retain(|_, until| *until > now);
            inner.cleaned = now;
        }
        if inner.until.len() < MOST as usize {
            inner.until.insert((external, remote), now + LASTS);
        }
        self.count.store(u32::try_from(inner.until.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Whether it is one of them.
    pub(crate) fn has(&self, external: End, remote: End, now: Timestamp) -> bool {
        self.count.load(Ordering::Relaxed) > 0
            && self.inner.lock().until.get(&(external, remote)).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_remembered_for_a_while_and_only_so_many() {
        let recent = RecentlyReset::default();
        let end = |number: u32| (Ipv4Addr::from_bits(number), 80);
        let [early, late] = [Duration::from_secs(100), Duration::from_secs(130)].map(|after| Timestamp::ZERO + after);
        for number in 0..MOST + 10 {
            recent.note(end(0), end(number), early);
        }
        assert!(recent.has(end(0), end(1), early) && recent.has(end(0), end(MOST - 1), early));
        assert!(!recent.has(end(0), end(MOST), early) && !recent.has(end(1), end(1), early));
        assert!(!recent.has(end(0), end(1), late));
        recent.note(end(0), end(MOST), late);
        assert!(recent.has(end(0), end(MOST), late));
        assert_eq!(recent.count.load(Ordering::Relaxed), 1);
    }
}
