//! Packets of a batch on their way out: those that one super-packet can stand for are merged, because a write costs far
//! more than the bytes that are written.
//!
//! Nothing waits longer than for the end of its batch, which is when no packet is left to be read. Packets of a flow
//! leave in the order they came in. Segmentation, here or in the kernel, gives the same packets again, but for IPv4
//! identifications, which count up within a super-packet.

mod segment;
mod slot;
#[cfg(test)]
mod tests;
mod trial;

use nat64_core::{HEADROOM, Offload};
use rustix::io::Result;

use crate::port::{MAX_PACKET, Port};
use crate::queue::{Frame, Queue};
use segment::Headers;
use slot::Slot;
use trial::Trial;

/// Flows whose packets wait at the same time.
const SLOTS: usize = 16;
/// Room behind a packet.
const TAILROOM: usize = 128;

/// The buffers of a worker: the one to read into, and those of packets that wait to be written.
#[derive(Debug)]
pub(crate) struct Outbox {
    current: Box<[u8]>,
    /// The first `waiting` hold a packet each.
    slots: Vec<Slot>,
    waiting: usize,
    /// The slot that is emptied next for want of room.
    next: usize,
    trial: Trial,
    /// The kinds of packets that are merged.
    pub(crate) merging: Merging,
}

/// The kinds of packets that are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Merging {
    pub(crate) tcp: bool,
    pub(crate) udp: bool,
}

impl Merging {
    pub(crate) const NONE: Self = Self { tcp: false, udp: false };

    const fn takes(self, headers: Headers) -> bool {
        match headers.kind() {
            nat64_core::GsoKind::Udp => self.udp,
            nat64_core::GsoKind::TcpV4 | nat64_core::GsoKind::TcpV6 => self.tcp,
        }
    }
}

impl Outbox {
    const BUFFER: usize = Frame::FRONT + HEADROOM + MAX_PACKET + TAILROOM;
    /// Bytes of memory that its buffers take at the most.
    pub(crate) const BYTES: usize = (SLOTS + 1) * (Self::BUFFER + size_of::<Slot>());

    pub(crate) fn new(merging: Merging) -> Self {
        let buffer = || vec![0; Self::BUFFER].into_boxed_slice();
        let slots = if merging == Merging::NONE { 0 } else { SLOTS };
        let slots = (0..slots).map(|_| Slot::new(buffer())).collect();
        Self { current: buffer(), slots, waiting: 0, next: 0, trial: Trial::default(), merging }
    }

    /// Where a packet is read to: [`HEADROOM`] from the start of [`Outbox::buffer`].
    #[inline]
    pub(crate) fn room(&mut self) -> Frame<'_> {
        frame(&mut self.current, (HEADROOM, HEADROOM + MAX_PACKET))
    }

    /// Where a packet is translated in.
    #[inline]
    pub(crate) fn buffer(&mut self) -> &mut [u8] {
        &mut self.current[Frame::FRONT..]
    }

    /// Writes the packet `buffer()[start..end]`, now or with the rest of its batch.
    #[inline]
    pub(crate) fn push<Q: Queue>(&mut self, port: &mut Port<Q>, at: (usize, usize), offload: Offload) -> Result<()> {
        let mut current = frame(&mut self.current, at);
        if self.trial.rests() {
            // Nothing waits.
            return port.write(&mut current, offload);
        }
        let packet = current.packet();
        let Some(headers) = Headers::of(packet) else {
            self.flush(port)?;
            return port.write(&mut frame(&mut self.current, at), offload);
        };
        let found = self.slots[..self.waiting].iter().position(|slot| slot.is_of_flow(headers, packet));
        let is_segment = self.merging.takes(headers) && headers.is_segment(packet, offload);
        match found {
            Some(index) if is_segment => {
                self.trial.keep();
                if self.slots[index].append(headers, packet) {
                    self.trial.merge();
                } else {
                    self.write(port, index)?;
                    self.slots[index].put(frame(&mut self.current, at).packet(), offload, headers);
                }
                Ok(())
            }
            Some(index) => {
                self.remove(port, index)?;
                port.write(&mut frame(&mut self.current, at), offload)
            }
            None if is_segment => {
                self.trial.keep();
                let index = self.free_slot(port)?;
                self.slots[index].put(frame(&mut self.current, at).packet(), offload, headers);
                Ok(())
            }
            None => port.write(&mut current, offload),
        }
    }

    /// Writes all that waits at the end of a batch.
    #[inline]
    pub(crate) fn end_batch<Q: Queue>(&mut self, port: &mut Port<Q>) -> Result<()> {
        self.trial.end_batch();
        self.flush(port)
    }

    /// Writes all that waits.
    #[inline]
    pub(crate) fn flush<Q: Queue>(&mut self, port: &mut Port<Q>) -> Result<()> {
        for index in 0..std::mem::take(&mut self.waiting) {
            self.write(port, index)?;
        }
        self.next = 0;
        Ok(())
    }

    fn free_slot<Q: Queue>(&mut self, port: &mut Port<Q>) -> Result<usize> {
        if self.waiting < self.slots.len() {
            self.waiting += 1;
            return Ok(self.waiting - 1);
        }
        let index = self.next;
        self.next = (index + 1) % self.slots.len();
        self.write(port, index)?;
        Ok(index)
    }

    fn remove<Q: Queue>(&mut self, port: &mut Port<Q>, index: usize) -> Result<()> {
        self.waiting -= 1;
        self.slots.swap(index, self.waiting);
        self.write(port, self.waiting)
    }

    fn write<Q: Queue>(&mut self, port: &mut Port<Q>, index: usize) -> Result<()> {
        let (mut packet, offload, merged) = self.slots[index].finish();
        port.counters.merged.add(merged.into());
        port.write(&mut packet, offload)?;
        if port.refuses_super_packets() {
            self.merging = Merging::NONE;
        }
        Ok(())
    }
}

/// What stands at `start..end` of a buffer behind its front.
#[inline]
fn frame(buffer: &mut [u8], (start, end): (usize, usize)) -> Frame<'_> {
    Frame::new(&mut buffer[start..Frame::FRONT + end])
}
