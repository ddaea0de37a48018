//! Packets that the daemon has made, on their way to a worker, which writes them.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};

/// Bytes of the longest: a TCP reset in IPv6.
const LONGEST: usize = 60;
/// Packets that wait for a worker at the most: twice as many as come of one page of sessions.
const CAPACITY: usize = 2048;

/// A bounded queue of short packets. Those that find it full are lost and counted.
pub(crate) struct Foreign {
    ring: ArrayQueue<(u8, [u8; LONGEST])>,
    /// Readable when there may be something; only the first worker looks.
    signal: OwnedFd,
    lost: AtomicU64,
}

impl Foreign {
    /// Bytes of memory that it takes.
    pub(crate) const BYTES: usize = CAPACITY * (LONGEST + 1 + size_of::<usize>());

    pub(crate) fn new() -> io::Result<Self> {
        let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { ring: ArrayQueue::new(CAPACITY), signal, lost: AtomicU64::new(0) })
    }

    /// Adds a packet. Follow the last one by [`Foreign::wake`].
    pub(crate) fn push(&self, packet: &[u8]) {
        let mut bytes = [0; LONGEST];
        let place = bytes.get_mut(..packet.len()).zip(u8::try_from(packet.len()).ok());
        let len = place.map(|(place, len)| {
            place.copy_from_slice(packet);
            len
        });
        let pushed = len.is_some_and(|len| self.ring.push((len, bytes)).is_ok());
        if !pushed {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Wakes the first worker if there is something for it.
    pub(crate) fn wake(&self) {
        if !self.ring.is_empty() {
            // An eventfd that is read again and again takes more than there are packets.
            let _ = rustix::io::write(&self.signal, &1_u64.to_ne_bytes());
        }
    }

    /// What the first worker waits for beside its queue.
    pub(crate) fn signal(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }

    /// Lets the signal fall. What is added from now on raises it again.
    pub(crate) fn hush(&self) {
        let _ = rustix::io::read(&self.signal, &mut [0; 8]);
    }

    /// Whether at least half of it is free.
    pub(crate) fn has_room(&self) -> bool {
        self.ring.len() <= CAPACITY / 2
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Takes the oldest, if there is one, and hands it to `write`.
    pub(crate) fn next<R>(&self, write: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        let (len, mut bytes) = self.ring.pop()?;
        bytes.get_mut(..len.into()).map(write)
    }

    /// Packets that did not fit, ever.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foreign").field("waiting", &self.ring.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_as_they_went_in_and_what_finds_no_room_is_counted() {
        let foreign = Foreign::new().unwrap();
        for packet in [&[4; 40][..], &[6; 60], &[6; 61]] {
            foreign.push(packet);
        }
        assert_eq!(foreign.next(|packet| packet.to_vec()), Some(vec![4; 40]));
        assert_eq!(foreign.next(|packet| packet.to_vec()), Some(vec![6; 60]));
        assert_eq!((foreign.next(|packet| packet.to_vec()), foreign.lost()), (None, 1));

        (0..CAPACITY + 2).for_each(|_| foreign.push(&[4; 40]));
        assert!(!foreign.has_room());
        assert_eq!(foreign.lost(), 3);
    }
}
