//! A translator with its worker and a clock, and packets for it. For this crate's tests.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use pref64::Pref64;

use crate::packet::{HEADROOM, Offload, PacketBuf};
use crate::policy::{Policy, PoolRange};
use crate::translator::Translator;
use crate::verdict::Verdict;
use crate::worker::Worker;
use crate::{SessionInfo, Timestamp};

/// The subscriber of most tests.
pub(crate) const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10);
/// Another one.
pub(crate) const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x20);
/// An IPv4 host.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 80);
/// The pool's only address.
pub(crate) const POOL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The prefix of most tests.
pub(crate) fn prefix() -> Pref64 {
    "2001:db8:64::/96".parse().unwrap()
}

/// How an IPv4 host looks from inside.
pub(crate) fn six(address: Ipv4Addr) -> Ipv6Addr {
    prefix().embed(address)
}

/// The policy of most tests.
pub(crate) fn policy() -> Policy {
    Policy::new(vec![prefix()], vec![PoolRange::address(POOL)])
}

/// TCP flags of a segment to be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flags {
    Syn,
    SynAck,
    Ack,
    FinAck,
    Rst,
}

/// What a test packet carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload<'p> {
    Udp(u16, u16, &'p [u8]),
    Tcp(u16, u16, Flags),
    EchoRequest(u16),
    EchoReply(u16),
}

/// An IPv6 packet with a hop limit of 64.
pub(crate) fn packet6(source: Ipv6Addr, destination: Ipv6Addr, payload: Payload<'_>) -> Vec<u8> {
    build(PacketBuilder::ipv6(source.octets(), destination.octets(), 64), payload, true)
}

/// An IPv4 packet with a TTL of 64.
pub(crate) fn packet4(source: Ipv4Addr, destination: Ipv4Addr, payload: Payload<'_>) -> Vec<u8> {
    build(PacketBuilder::ipv4(source.octets(), destination.octets(), 64), payload, false)
}

fn build(builder: etherparse::PacketBuilderStep<etherparse::IpHeaders>, payload: Payload<'_>, ipv6: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    match payload {
        Payload::Udp(from, to, data) => builder.udp(from, to).write(&mut bytes, data),
        Payload::Tcp(from, to, flags) => {
            let tcp = builder.tcp(from, to, 1000, 65_535);
            let tcp = match flags {
                Flags::Syn => tcp.syn(),
                Flags::SynAck => tcp.syn().ack(2000),
                Flags::Ack => tcp.ack(2000),
                Flags::FinAck => tcp.fin().ack(2000),
                Flags::Rst => tcp.rst(),
            };
            tcp.write(&mut bytes, &[])
        }
        Payload::EchoRequest(id) if ipv6 => builder.icmpv6_echo_request(id, 1).write(&mut bytes, b"ping"),
        Payload::EchoReply(id) if ipv6 => builder.icmpv6_echo_reply(id, 1).write(&mut bytes, b"ping"),
        Payload::EchoRequest(id) => builder.icmpv4_echo_request(id, 1).write(&mut bytes, b"ping"),
        Payload::EchoReply(id) => builder.icmpv4_echo_reply(id, 1).write(&mut bytes, b"ping"),
    }
    .unwrap();
    bytes
}

/// The fragments of an IPv6 packet without extension headers, each with `data` bytes but the last.
pub(crate) fn fragment6(packet: &[u8], data: usize, identification: u32) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(40);
    let last = payload.len().div_ceil(data) - 1;
    let fragment = |(index, chunk): (usize, &[u8])| {
        let mut fragment = header.to_vec();
        fragment[4..6].copy_from_slice(&u16::try_from(chunk.len() + 8).unwrap().to_be_bytes());
        fragment[6] = 44;
        let place = u16::try_from(index * data).unwrap() | u16::from(index != last);
        fragment.extend([header[6], 0]);
        fragment.extend(place.to_be_bytes());
        fragment.extend(identification.to_be_bytes());
        fragment.extend(chunk);
        fragment
    };
    payload.chunks(data).enumerate().map(fragment).collect()
}

/// Source and destination ports of a packet; for echo the identifier twice.
pub(crate) fn ports(packet: &[u8]) -> (u16, u16) {
    match SlicedPacket::from_ip(packet).unwrap().transport.unwrap() {
        TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
        TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port()),
        TransportSlice::Icmpv4(icmp) => (u16::from_be_bytes([icmp.slice()[4], icmp.slice()[5]]), 0),
        TransportSlice::Icmpv6(icmp) => (u16::from_be_bytes([icmp.slice()[4], icmp.slice()[5]]), 0),
        TransportSlice::Igmp(_) => panic!("no ports"),
    }
}

/// Destination address of an IPv6 packet.
pub(crate) fn destination6(packet: &[u8]) -> Ipv6Addr {
    <[u8; 16]>::try_from(&packet[24..40]).unwrap().into()
}

/// Destination address of an IPv4 packet.
pub(crate) fn destination4(packet: &[u8]) -> Ipv4Addr {
    <[u8; 4]>::try_from(&packet[16..20]).unwrap().into()
}

/// Type and code of an ICMP or ICMPv6 message without options or extension headers in front.
pub(crate) fn icmp_type(packet: &[u8]) -> (u8, u8) {
    let at = if packet[0] >> 4 == 6 { 40 } else { 20 };
    (packet[at], packet[at + 1])
}

/// A translator, its worker and the time.
pub(crate) struct Lab {
    pub(crate) translator: Translator,
    pub(crate) worker: Worker,
    pub(crate) now: Timestamp,
}

/// What came of a packet.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// What is in the buffer, if the verdict says that it is to be written.
    pub(crate) packet: Vec<u8>,
    /// What was in the spill.
    pub(crate) spilled: Vec<Vec<u8>>,
}

impl Lab {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { translator: Translator::new(policy, 42).unwrap(), worker: Worker::new(), now: Timestamp::ZERO }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Outcome {
        let mut storage = vec![0; HEADROOM + bytes.len() + HEADROOM];
        storage[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        let mut packet = PacketBuf::new(&mut storage, HEADROOM, bytes.len(), Offload::default());
        let verdict = self.translator.batch(self.now, &mut self.worker).translate(&mut packet);
        let written = match verdict {
            Verdict::Translated(_) | Verdict::Hairpinned | Verdict::Refused(_) => packet.bytes().to_vec(),
            Verdict::Held | Verdict::Dropped(_) => Vec::new(),
        };
        Outcome { verdict, packet: written, spilled: self.spilled() }
    }

    /// Sends what must be translated, and returns what came out.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let outcome = self.send(bytes);
        assert!(matches!(outcome.verdict, Verdict::Translated(_) | Verdict::Hairpinned), "{outcome:?}");
        outcome.packet
    }

    /// Lets time pass in steps of a tenth of a second, and returns what timers sent.
    pub(crate) fn pass_time(&mut self, duration: Duration) -> Vec<Vec<u8>> {
        let end = self.now + duration;
        let mut sent = Vec::new();
        while self.now < end {
            self.now = (self.now + Duration::from_millis(100)).min(end);
            while self.translator.expire(self.now, &mut self.worker) {}
            sent.extend(self.spilled());
        }
        sent
    }

    pub(crate) fn sessions(&self) -> Vec<SessionInfo> {
        let mut sessions = Vec::new();
        for shard in 0..self.translator.shards() {
            self.translator.visit_sessions(shard, self.now, &mut |session| sessions.push(*session));
        }
        sessions
    }

    /// The TCP state of the only session.
    pub(crate) fn state(&self) -> &'static str {
        match self.sessions().as_slice() {
            [] => "CLOSED",
            [session] => session.state,
            several => panic!("{several:?}"),
        }
    }

    pub(crate) fn mappings(&self) -> u32 {
        self.translator.usage().mappings.iter().sum()
    }

    fn spilled(&mut self) -> Vec<Vec<u8>> {
        let mut spilled = Vec::new();
        self.worker.spill.drain(|bytes, _| spilled.push(bytes.to_vec()));
        spilled
    }
}
