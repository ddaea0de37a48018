//! A queue with what its kernel leaves undone, and with its counters.

use std::sync::Arc;

use crossbeam_utils::CachePadded;
use nat64_core::Offload;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, Result};

use crate::queue::{Frame, Queue, is_transient};
use crate::segment;
use crate::stats::IoCounters;
use crate::vnet_hdr::InvalidOffload;

/// The longest packet that can be read: an IPv6 header and the longest payload that it can tell (RFC 8200 §3), rounded
/// up to a cache line.
pub(crate) const MAX_PACKET: usize = 65_600;

/// How long a kernel without room is waited for.
const ROOM_TIMEOUT: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// Reads and writes packets, whatever the kernel makes of them. Only errors that end the queue come out.
#[derive(Debug)]
pub(crate) struct Port<Q> {
    pub(crate) queue: Q,
    pub(crate) counters: Arc<CachePadded<IoCounters>>,
    /// Where super-packets are cut to size.
    scratch: Box<[u8]>,
    /// Where packets stand that have no room before them.
    stand: Box<[u8]>,
    fell_back: bool,
    refuses_super_packets: bool,
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// A packet of this many bytes.
    Packet(usize, Offload),
    /// Something unusable, counted.
    Unusable,
    /// Nothing waits.
    Empty,
}

impl<Q> Port<Q> {
    /// Translation makes a packet longer at its front.
    const BUFFER: usize = Frame::FRONT + nat64_core::HEADROOM + MAX_PACKET;
    /// Bytes of memory that its buffers take.
    pub(crate) const BYTES: usize = 2 * Self::BUFFER;
}

impl<Q: Queue> Port<Q> {
    pub(crate) fn new(queue: Q, counters: Arc<CachePadded<IoCounters>>) -> Self {
        let buffer = || vec![0; Self::BUFFER].into_boxed_slice();
        Self { queue, counters, scratch: buffer(), stand: buffer(), fell_back: false, refuses_super_packets: false }
    }

    /// Whether the kernel has ever refused a super-packet.
    pub(crate) const fn refuses_super_packets(&self) -> bool {
        self.refuses_super_packets
    }

    /// Reads a packet to where `frame` has one.
    pub(crate) fn read(&mut self, frame: &mut Frame<'_>) -> Result<Read> {
        match self.queue.read(frame) {
            Ok((len, offload)) => {
                self.counters.reads.add(1);
                self.counters.read_bytes.add(len as u64);
                Ok(Read::Packet(len, offload))
            }
            Err(Errno::AGAIN) => Ok(Read::Empty),
            Err(error) if is_transient(error) => {
                self.counters.read_errors.add(1);
                Ok(Read::Unusable)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes a packet, in software-made segments if the kernel refuses the whole. One that cannot be written is counted
    /// and lost.
    pub(crate) fn write(&mut self, frame: &mut Frame<'_>, offload: Offload) -> Result<()> {
        match self.queue.write(frame, offload) {
            Ok(()) => self.count_written(frame),
            Err(Errno::INVAL) if offload.gso.is_some() || offload.checksum.is_some() => {
                self.write_finished(frame, offload)?;
            }
            Err(error) => self.write_again(frame, offload, error)?,
        }
        Ok(())
    }

    /// As [`Port::write`], of a packet that has no room before it.
    pub(crate) fn write_copy(&mut self, packet: &[u8], offload: Offload) -> Result<()> {
        let mut stand = std::mem::take(&mut self.stand);
        let outcome = match stand.get_mut(..Frame::FRONT + packet.len()) {
            Some(bytes) => {
                let mut frame = Frame::new(bytes);
                frame.packet_mut().copy_from_slice(packet);
                self.write(&mut frame, offload)
            }
            None => {
                self.counters.write_errors.add(1);
                Ok(())
            }
        };
        self.stand = stand;
        outcome
    }

    fn write_finished(&mut self, frame: &mut Frame<'_>, offload: Offload) -> Result<()> {
        self.counters.software_offloads.add(1);
        self.refuses_super_packets |= offload.gso.is_some();
        if !std::mem::replace(&mut self.fell_back, true) {
            tracing::warn!(
                gso = ?offload.gso.map(|gso| gso.kind),
                "the kernel refuses a packet with unfinished checksum or segmentation; finishing such packets here, \
                 which is slower"
            );
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let outcome =
            segment::finish(frame, offload, &mut scratch, |part| match self.queue.write(part, Offload::default()) {
                Ok(()) => {
                    self.count_written(part);
                    Ok(())
                }
                Err(error) => self.write_again(part, Offload::default(), error).map_err(Unfinished::Queue),
            });
        self.scratch = scratch;
        match outcome {
            Ok(()) => Ok(()),
            Err(Unfinished::Queue(error)) => Err(error),
            Err(Unfinished::Packet) => {
                self.counters.write_errors.add(1);
                Ok(())
            }
        }
    }

    /// After a failed write: tries once more if the kernel may have room by then, else gives up on the packet.
    fn write_again(&mut self, frame: &mut Frame<'_>, offload: Offload, error: Errno) -> Result<()> {
        let mut outcome = Err(error);
        if [Errno::AGAIN, Errno::NOBUFS, Errno::NOMEM, Errno::INTR].contains(&error) {
            self.counters.write_retries.add(1);
            let mut queue = [PollFd::new(&self.queue, PollFlags::OUT)];
            // Whatever it says, the write tells.
            let _ = poll(&mut queue, Some(&ROOM_TIMEOUT));
            outcome = self.queue.write(frame, offload);
        }
        match outcome {
            Ok(()) => self.count_written(frame),
            Err(error) if is_transient(error) => self.counters.write_errors.add(1),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn count_written(&self, frame: &Frame<'_>) {
        self.counters.writes.add(1);
        self.counters.write_bytes.add(frame.packet().len() as u64);
    }
}

/// Why not all of a packet's segments were written.
enum Unfinished {
    Packet,
    Queue(Errno),
}

impl From<InvalidOffload> for Unfinished {
    fn from(_: InvalidOffload) -> Self {
        Self::Packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fake::Kernel;
    use crate::tests::packets::{udp4, with_partial_checksum};

    #[test]
    fn a_packet_without_room_before_it_is_written_all_the_same() {
        let (kernel, queue) = Kernel::with_queue();
        let refuses = |_: &[u8], offload: Offload| if offload.checksum.is_some() { Err(Errno::INVAL) } else { Ok(()) };
        let mut port = Port::new(queue.before_writes(refuses), Arc::default());
        let packet = udp4(b"x");

        port.write_copy(&packet, Offload::default()).unwrap();
        assert_eq!(kernel.receive(), (packet.clone(), Offload::default()));

        let (partial, offload) = with_partial_checksum(packet.clone());
        port.write_copy(&partial, offload).unwrap();
        assert_eq!(kernel.receive().0, packet, "finished here, since the kernel refuses it");

        port.write_copy(&vec![0x45; 70_000], Offload::default()).unwrap();
        let stats = port.counters.snapshot();
        assert_eq!((stats.writes, stats.write_errors), (2, 1), "one is longer than any packet");
    }
}
