//! What a worker needs of a queue. A TUN device's is [`TunQueue`](crate::device::TunQueue).

use std::os::fd::AsFd;

use nat64_core::Offload;
use rustix::io::{Errno, Result};

use crate::vnet_hdr;

/// One non-blocking queue of IP packets. Its descriptor is readable when a packet waits.
pub(crate) trait Queue: AsFd + Send + 'static {
    /// Reads a packet to where `frame` has one and returns its length.
    ///
    /// `AGAIN` means that no packet waits; see [`is_transient`] for the others.
    fn read(&mut self, frame: &mut Frame<'_>) -> Result<(usize, Offload)>;

    /// Writes a packet. `INVAL` means that the kernel does not take it in this form; with its checksums computed and
    /// in single segments it may.
    fn write(&mut self, frame: &mut Frame<'_>, offload: Offload) -> Result<()>;
}

/// A packet and the bytes before it, which are the queue's to use: a system call on one piece of memory is cheaper than
/// one on two.
#[derive(Debug)]
pub(crate) struct Frame<'b>(&'b mut [u8]);

impl<'b> Frame<'b> {
    /// Bytes before the packet.
    pub(crate) const FRONT: usize = vnet_hdr::SIZE;

    /// All of `bytes` but for the first [`Frame::FRONT`] is the packet, or room for one.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline]
    pub(crate) fn new(bytes: &'b mut [u8]) -> Self {
        assert!(bytes.len() >= Self::FRONT, "a packet has room before it");
        Self(bytes)
    }

    /// The packet.
    #[inline]
    pub(crate) fn packet(&self) -> &[u8] {
        &self.0[Self::FRONT..]
    }

    /// The packet, to be written to.
    #[inline]
    pub(crate) fn packet_mut(&mut self) -> &mut [u8] {
        &mut self.0[Self::FRONT..]
    }

    /// The packet with what is before it.
    #[inline]
    pub(crate) const fn whole(&mut self) -> &mut [u8] {
        self.0
    }
}

/// Whether an error concerns one packet only, and the queue works on.
pub(crate) fn is_transient(error: Errno) -> bool {
    // IO: the link is down; the kernel answers so until someone sets it up again.
    [Errno::AGAIN, Errno::INTR, Errno::INVAL, Errno::IO, Errno::MSGSIZE, Errno::NOBUFS, Errno::NOMEM].contains(&error)
}
