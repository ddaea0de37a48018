//! An outbox over a queue that keeps what is written, and packets for it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use etherparse::PacketBuilder;
use nat64_core::packet::checksum::Sum;
use nat64_core::{HEADROOM, Offload};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, Result};

use crate::outbox::{Merging, Outbox};
use crate::port::Port;
use crate::queue::{Frame, Queue};
use crate::tests::packets::{V4, V6, finished};

pub(super) const ALL: Merging = Merging { tcp: true, udp: true };

/// A queue that keeps what is written to it.
pub(super) struct Recorder {
    fd: OwnedFd,
    pub(super) written: Vec<(Vec<u8>, Offload)>,
    pub(super) takes_super_packets: bool,
}

impl AsFd for Recorder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Queue for Recorder {
    fn read(&mut self, _: &mut Frame<'_>) -> Result<(usize, Offload)> {
        Err(Errno::AGAIN)
    }

    fn write(&mut self, frame: &mut Frame<'_>, offload: Offload) -> Result<()> {
        if offload.gso.is_some() && !self.takes_super_packets {
            return Err(Errno::INVAL);
        }
        self.written.push((frame.packet().to_vec(), offload));
        Ok(())
    }
}

/// An outbox and where it writes to.
pub(super) struct Bench {
    pub(super) outbox: Outbox,
    pub(super) port: Port<Recorder>,
}

impl Bench {
    pub(super) fn new(merging: Merging) -> Self {
        let fd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let recorder = Recorder { fd, written: Vec::new(), takes_super_packets: true };
        Self { outbox: Outbox::new(merging), port: Port::new(recorder, Arc::default()) }
    }

    pub(super) fn push(&mut self, packet: &[u8], offload: Offload) {
        let at = (HEADROOM, HEADROOM + packet.len());
        self.outbox.buffer()[at.0..at.1].copy_from_slice(packet);
        self.outbox.push(&mut self.port, at, offload).unwrap();
    }

    pub(super) fn flush(&mut self) -> Vec<(Vec<u8>, Offload)> {
        self.outbox.end_batch(&mut self.port).unwrap();
        std::mem::take(&mut self.port.queue.written)
    }

    /// What is written of finished packets that come in one batch.
    pub(super) fn batch<'p>(&mut self, packets: impl IntoIterator<Item = &'p Vec<u8>>) -> Vec<(Vec<u8>, Offload)> {
        packets.into_iter().for_each(|packet| self.push(packet, Offload::default()));
        self.flush()
    }
}

/// What a packet is made of.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) v6: bool,
    pub(super) tcp: bool,
    pub(super) flow: u16,
    pub(super) sequence: u32,
    pub(super) flags: u8,
    pub(super) ttl: u8,
    pub(super) payload: usize,
}

pub(super) const DATA: Made = Made { v6: false, tcp: false, flow: 0, sequence: 1, flags: 0x10, ttl: 64, payload: 100 };

impl Made {
    pub(super) fn packet(&self) -> Vec<u8> {
        let payload: Vec<u8> = (0..self.payload).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let ip =
            if self.v6 { PacketBuilder::ipv6(V6.0, V6.1, self.ttl) } else { PacketBuilder::ipv4(V4.0, V4.1, self.ttl) };
        let mut packet = Vec::new();
        if !self.tcp {
            ip.udp(self.flow, 53).write(&mut packet, &payload).unwrap();
            return packet;
        }
        let options = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        let tcp = ip.tcp(self.flow, 80, self.sequence, 4096).ack(7).options_raw(&options).unwrap();
        tcp.write(&mut packet, &payload).unwrap();
        let transport = if self.v6 { 40 } else { 20 };
        let change = Sum::ZERO.word(u16::from(packet[transport + 13])).plus(Sum::ZERO.word(!u16::from(self.flags)));
        packet[transport + 13] = self.flags;
        let old = u16::from_be_bytes([packet[transport + 16], packet[transport + 17]]);
        let new = Sum::ZERO.word(old).plus(change).fold();
        packet[transport + 16..transport + 18].copy_from_slice(&new.to_be_bytes());
        packet
    }
}

/// A packet without what segmentation is free to choose: the IPv4 identification, and the checksum that covers it.
pub(super) fn essence(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

/// The packets that written ones stand for, by flow.
pub(super) fn by_flow(written: impl IntoIterator<Item = (Vec<u8>, Offload)>) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut flows = BTreeMap::<_, Vec<_>>::new();
    for (packet, offload) in written {
        for part in finished(packet, offload).unwrap() {
            let (protocol, ends) = if part[0] >> 4 == 4 { (9, 12..24) } else { (6, 8..44) };
            flows.entry([&part[protocol..=protocol], &part[ends]].concat()).or_default().push(essence(&part));
        }
    }
    flows
}

pub(super) fn sequence_of(base: Made, payloads: &[usize]) -> Vec<Vec<u8>> {
    let mut sequence = base.sequence;
    let packet = |payload: &usize| {
        let packet = Made { sequence, payload: *payload, ..base.clone() }.packet();
        sequence = sequence.wrapping_add(u32::try_from(*payload).unwrap());
        packet
    };
    payloads.iter().map(packet).collect()
}
