//! The buffer that a packet is rewritten in.

use super::Offload;

/// Bytes that must be free in front of a packet for every translation to fit: 20 for the outer header and 20 for an
/// embedded one that grow from IPv4 to IPv6, 8 for a Fragment header on each, and 48 for the IPv6 and ICMPv6 header of
/// an error of our own, rounded up to a cache line.
pub const HEADROOM: usize = 128;

/// One packet inside a larger buffer, with room in front, so that a header can grow where it stands.
#[derive(Debug)]
pub struct PacketBuf<'b> {
    storage: &'b mut [u8],
    start: usize,
    end: usize,
    /// What the device said of the packet, and after translation what it is to be told.
    pub offload: Offload,
}

impl<'b> PacketBuf<'b> {
    /// The packet `storage[start..start + len]`.
    ///
    /// # Panics
    /// If that range is not inside `storage`.
    #[must_use]
    pub fn new(storage: &'b mut [u8], start: usize, len: usize, offload: Offload) -> Self {
        assert!(start + len <= storage.len(), "a packet lies inside its buffer");
        Self { storage, start, end: start + len, offload }
    }

    /// The packet.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    /// The packet, to be written to.
    #[inline]
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.end]
    }

    /// Where in the buffer the packet starts, in bytes.
    #[inline]
    #[must_use]
    pub const fn start(&self) -> usize {
        self.start
    }

    /// The packet's length in bytes.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether the packet has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Moves the packet's first byte `by` bytes forward in the buffer: the packet gets shorter at its front.
    ///
    /// # Panics
    /// If the packet is shorter than that.
    #[inline]
    pub fn cut_front(&mut self, by: usize) {
        assert!(by <= self.len(), "no more can be cut than is there");
        self.start += by;
    }

    /// Moves the packet's first byte `by` bytes back: the packet gets longer, with undefined bytes at its front.
    ///
    /// # Panics
    /// If there is less room in front; callers leave [`HEADROOM`].
    #[inline]
    pub fn grow_front(&mut self, by: usize) {
        assert!(by <= self.start, "a buffer has headroom for what translation adds");
        self.start -= by;
    }

    /// Puts another packet in the place of this one, with `offload` cleared.
    ///
    /// # Panics
    /// If the whole buffer is shorter than that; what translation puts here is never longer than the packet it
    /// replaces and [`HEADROOM`].
    pub fn replace(&mut self, packet: &[u8]) {
        assert!(packet.len() <= self.storage.len(), "a buffer has room for what answers its packet");
        self.start = self.start.min(self.storage.len() - packet.len());
        self.end = self.start + packet.len();
        self.storage[self.start..self.end].copy_from_slice(packet);
        self.offload = Offload::default();
    }

    /// Shortens the packet to `len` bytes, from its end; a packet that is not longer stays as it is.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }

    /// Makes the packet `by` bytes longer at its end, with undefined bytes, if the buffer has them.
    #[must_use]
    pub fn grow_back(&mut self, by: usize) -> bool {
        let fits = self.end + by <= self.storage.len();
        if fits {
            self.end += by;
        }
        fits
    }
}
