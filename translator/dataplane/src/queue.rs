//! What a worker needs of a queue. A TUN device's is [`TunQueue`](crate::device::TunQueue).

use std::os::fd::AsFd;

use nat64_core::Offload;
use rustix::io::{Errno, Result};

/// One non-blocking queue of IP packets. Its descriptor is readable when a packet waits.
pub(crate) trait Queue: AsFd + Send + 'static {
    /// Reads a packet to the start of `buffer` and returns its length.
    ///
    /// `AGAIN` means that no packet waits; see [`is_transient`] for the others.
    fn read(&mut self, buffer: &mut [u8]) -> Result<(usize, Offload)>;

    /// Writes a packet. `INVAL` means that the kernel does not take it in this form; with its checksums computed and
    /// in single segments it may.
    fn write(&mut self, packet: &[u8], offload: Offload) -> Result<()>;
}

/// Whether an error concerns one packet only, and the queue works on.
pub(crate) fn is_transient(error: Errno) -> bool {
    // IO: the link is down; the kernel answers so until someone sets it up again.
    [Errno::AGAIN, Errno::INTR, Errno::INVAL, Errno::IO, Errno::MSGSIZE, Errno::NOBUFS, Errno::NOMEM].contains(&error)
}
