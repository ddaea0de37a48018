//! Packets that leave beside the one in the buffer.

use crate::packet::Offload;

/// A bounded arena of whole packets to be written to the device: fragments, released ones, errors and probes that
/// timers cause. It is emptied by the caller after each packet, and never grows.
#[derive(Debug)]
pub struct Spill {
    bytes: Vec<u8>,
    packets: Vec<(usize, Offload)>,
    lost: u64,
}

impl Spill {
    /// Bytes that fit: two datagrams of the largest size, in fragments with their headers.
    pub const CAPACITY: usize = 256 * 1024;
    /// Packets that fit.
    pub const PACKETS: usize = 512;

    /// An empty arena, with all its memory.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: Vec::with_capacity(Self::CAPACITY), packets: Vec::with_capacity(Self::PACKETS), lost: 0 }
    }

    /// Whether no packet is waiting.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// How many packets are waiting.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether `packets` more with `bytes` together would fit.
    #[must_use]
    pub const fn has_room(&self, packets: usize, bytes: usize) -> bool {
        self.packets.len() + packets <= Self::PACKETS && self.bytes.len() + bytes <= Self::CAPACITY
    }

    /// Adds a packet that is given in parts, or counts it as lost if it does not fit.
    pub fn push(&mut self, parts: &[&[u8]], offload: Offload) -> bool {
        let len = parts.iter().map(|part| part.len()).sum();
        let fits = self.has_room(1, len);
        if fits {
            parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
            self.packets.push((self.bytes.len(), offload));
        } else {
            self.lost += 1;
        }
        fits
    }

    /// Hands every packet to `write`, in order, and empties the arena. The bytes may be written to.
    pub fn drain(&mut self, mut write: impl FnMut(&mut [u8], Offload)) {
        let mut start = 0;
        for (end, offload) in self.packets.drain(..) {
            write(&mut self.bytes[start..end], offload);
            start = end;
        }
        self.bytes.clear();
    }

    /// Packets that did not fit, ever.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

impl Default for Spill {
    fn default() -> Self {
        Self::new()
    }
}
