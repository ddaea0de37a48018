//! SYNs from outside that wait for one from inside (RFC 6146 §3.5.2.2, RFC 5382 REQ-4).
//!
//! A SYN to a port that nobody has, or from a host that a filter does not know, may be half of a simultaneous open. It
//! is kept for a while; if the other half does not come, its sender is told that the port is unreachable.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::table::{self, shrink_map, shrink_queue};
use super::wheel::Tick;
use crate::memory::ALLOCATION;

/// An IPv4 address and port.
type End = (Ipv4Addr, u16);
/// The pool's end and the remote end.
type Ends = (End, End);

/// Bytes kept of each: what an ICMP error quotes at most (RFC 1812 §4.3.2.3) beside its own headers.
const QUOTED: usize = 548;

/// The store. It has a lock of its own; a count tells without it that there is nothing to find.
#[derive(Debug, Default)]
pub(crate) struct StoredSyns {
    count: AtomicU32,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    packets: HashMap<Ends, Vec<u8>, foldhash::quality::RandomState>,
    /// Oldest first. What has been taken meanwhile is no longer in `packets`.
    deadlines: VecDeque<(Tick, Ends)>,
    /// Entries of `deadlines` by remote host.
    by_remote: HashMap<Ipv4Addr, u32, foldhash::quality::RandomState>,
}

/// One remote host may have this part of the store.
const SHARE_OF_A_HOST: u32 = 4;

impl StoredSyns {
    /// Keeps a SYN until `deadline`. Returns false if there are `limit` already, or a quarter of that from this host. A
    /// retransmission changes nothing.
    pub(crate) fn store(&self, external: End, remote: End, packet: &[u8], deadline: Tick, limit: u32) -> bool {
        let mut inner = self.lock();
        let of_host = inner.by_remote.get(&remote.0).copied().unwrap_or(0);
        if inner.deadlines.len() >= limit as usize || of_host >= (limit / SHARE_OF_A_HOST).max(1) {
            return false;
        }
        if let Entry::Vacant(vacant) = inner.packets.entry((external, remote)) {
            vacant.insert(packet[..packet.len().min(QUOTED)].to_vec());
            inner.deadlines.push_back((deadline, (external, remote)));
            *inner.by_remote.entry(remote.0).or_default() += 1;
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Takes the SYN between these ends away, if there is one.
    pub(crate) fn take(&self, external: End, remote: End) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut inner = self.lock();
        let taken = inner.packets.remove(&(external, remote)).is_some();
        shrink_map(&mut inner.packets);
        if taken {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    /// Takes one SYN out that has waited long enough.
    pub(crate) fn take_expired(&self, now: Tick) -> Option<Vec<u8>> {
        let mut inner = self.lock();
        while let Some(&(deadline, ends)) = inner.deadlines.front()
            && deadline <= now
        {
            inner.deadlines.pop_front();
            inner.uncount(ends.1.0);
            shrink_queue(&mut inner.deadlines);
            if let Some(packet) = inner.packets.remove(&ends) {
                self.count.fetch_sub(1, Ordering::Relaxed);
                shrink_map(&mut inner.packets);
                return Some(packet);
            }
        }
        None
    }

    /// Bytes that `syns` of them take at the most.
    pub(crate) const fn bytes(syns: u64) -> u64 {
        table::bytes::<(Ends, Vec<u8>)>(syns, 1)
            + table::bytes::<(Tick, Ends)>(syns, 1)
            + table::bytes::<(Ipv4Addr, u32)>(syns, 1)
            + syns * (QUOTED + ALLOCATION) as u64
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn uncount(&mut self, remote: Ipv4Addr) {
        if let Some(count) = self.by_remote.get_mut(&remote) {
            *count -= 1;
            if *count == 0 {
                self.by_remote.remove(&remote);
                shrink_map(&mut self.by_remote);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const POOL: End = (Ipv4Addr::new(192, 0, 2, 1), 5000);
    const REMOTE: End = (Ipv4Addr::new(198, 51, 100, 9), 80);

    fn tick(seconds: u64) -> Tick {
        Tick::at(crate::time::Timestamp::ZERO + Duration::from_secs(seconds))
    }

    #[test]
    fn a_stored_syn_comes_out_once_when_its_time_has_passed() {
        let store = StoredSyns::default();
        assert!(store.store(POOL, REMOTE, b"syn", tick(6), 10));
        assert!(store.store(POOL, REMOTE, b"again", tick(9), 10), "a retransmission is no second entry");
        assert_eq!(store.take_expired(tick(5)), None);
        assert_eq!(store.take_expired(tick(6)), Some(b"syn".to_vec()));
        assert_eq!(store.take_expired(tick(60)), None);
    }

    #[test]
    fn a_syn_that_was_answered_from_inside_is_gone() {
        let store = StoredSyns::default();
        assert!(store.store(POOL, REMOTE, b"syn", tick(6), 10));
        assert!(!store.take(REMOTE, POOL));
        assert!(store.take(POOL, REMOTE));
        assert!(!store.take(POOL, REMOTE));
        assert_eq!(store.take_expired(tick(60)), None);
    }

    #[test]
    fn the_store_is_bounded_in_all_and_by_remote_host() {
        let store = StoredSyns::default();
        let remote = |host, port| (Ipv4Addr::new(198, 51, 100, host), port);
        for host in 1..=4 {
            assert!(store.store(POOL, remote(host, 1), b"syn", tick(6), 8));
            assert!(store.store(POOL, remote(host, 2), b"syn", tick(6), 8));
            assert!(!store.store(POOL, remote(host, 3), b"syn", tick(6), 8), "a quarter of eight is two");
        }
        assert!(!store.store(POOL, remote(5, 1), b"syn", tick(6), 8));
        assert!(store.take_expired(tick(6)).is_some());
        assert!(store.store(POOL, remote(5, 1), b"syn", tick(12), 8));
    }
}
