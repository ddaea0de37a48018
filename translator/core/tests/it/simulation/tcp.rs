//! An endpoint of a TCP connection: enough of RFC 9293 to open, to move a stream through loss, and to be reset; and of
//! path MTU discovery (RFC 1191, RFC 8201).

use std::net::IpAddr;
use std::time::Duration;

use etherparse::{SlicedPacket, TcpHeaderSlice, TransportSlice};
use nat64_core::Timestamp;

use crate::support::build::{ACK, Body, Ends, Ip, RST, SYN, packet};
use crate::support::check::ends_of;

/// Retransmission after this.
const TIMEOUT: Duration = Duration::from_millis(300);
/// Segments in flight.
const WINDOW: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Listening,
    SynSent,
    SynReceived,
    Established,
    Reset,
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) state: State,
    pub(super) local: (IpAddr, u16),
    pub(super) remote: (IpAddr, u16),
    /// The largest packet that the path takes, as far as it knows, in bytes.
    pub(super) mtu: usize,
    /// Whether it sets DF (IPv4).
    pub(super) dont_fragment: bool,
    /// Bytes of the stream to send, and how many were received.
    pub(super) to_send: u32,
    pub(super) received: u32,
    acknowledged: u32,
    sent: u32,
    peer_mss: u16,
    syn_acknowledged: bool,
    deadline: Option<Timestamp>,
    pub(super) mtu_errors: u32,
}

/// The byte of a stream at a place.
fn byte(at: u32) -> u8 {
    u8::try_from(at % 251).unwrap()
}

impl Endpoint {
    pub(super) fn new(local: (IpAddr, u16), remote: (IpAddr, u16), mtu: usize) -> Self {
        Self {
            state: State::Listening,
            local,
            remote,
            mtu,
            dont_fragment: true,
            to_send: 0,
            received: 0,
            acknowledged: 0,
            sent: 0,
            peer_mss: 536,
            syn_acknowledged: false,
            deadline: None,
            mtu_errors: 0,
        }
    }

    /// Starts to open the connection.
    pub(super) fn connect(&mut self, now: Timestamp) -> Vec<u8> {
        self.state = State::SynSent;
        self.deadline = Some(now + TIMEOUT);
        self.segment(SYN, 0, 0)
    }

    /// Whether all has been sent and acknowledged.
    pub(super) const fn is_done(&self) -> bool {
        self.acknowledged == self.to_send
    }

    /// The largest packet that it sends, in bytes: what the path and what the other end take.
    pub(super) fn largest(&self) -> usize {
        self.mtu.min(usize::from(self.peer_mss) + self.headers())
    }

    const fn headers(&self) -> usize {
        if self.local.0.is_ipv6() { 60 } else { 40 }
    }

    /// Sends more of its stream.
    pub(super) fn push(&mut self, bytes: u32, now: Timestamp) {
        self.to_send += bytes;
        self.deadline = Some(now);
    }

    pub(super) const fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Timestamp) -> Vec<Vec<u8>> {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return Vec::new();
        }
        self.deadline = Some(now + TIMEOUT);
        match self.state {
            State::SynSent => vec![self.segment(SYN, 0, 0)],
            State::SynReceived => vec![self.segment(SYN | ACK, 0, 0)],
            State::Established if !self.is_done() => {
                self.sent = self.acknowledged;
                self.flight()
            }
            State::Listening | State::Established | State::Reset => {
                self.deadline = None;
                Vec::new()
            }
        }
    }

    /// Takes a packet, if it is this connection's, and returns what it answers.
    pub(super) fn receive(&mut self, bytes: &[u8], now: Timestamp) -> Option<Vec<Vec<u8>>> {
        let ends = ends_of(bytes);
        if ends.destination != self.local.0 {
            return None;
        }
        match SlicedPacket::from_ip(bytes).ok()?.transport? {
            TransportSlice::Tcp(tcp) if tcp.destination_port() == self.local.1 => {
                let header = TcpHeaderSlice::from_slice(tcp.slice()).ok()?;
                let listening = self.state == State::Listening;
                if (ends.source, tcp.source_port()) != self.remote && !listening {
                    return None;
                }
                self.remote = (ends.source, tcp.source_port());
                Some(self.take_segment(&header, tcp.payload(), now))
            }
            TransportSlice::Icmpv4(icmp) => self.take_error(icmp.slice(), now),
            TransportSlice::Icmpv6(icmp) => self.take_error(icmp.slice(), now),
            TransportSlice::Tcp(_) | TransportSlice::Udp(_) | TransportSlice::Igmp(_) => None,
        }
    }

    fn take_segment(&mut self, header: &TcpHeaderSlice<'_>, data: &[u8], now: Timestamp) -> Vec<Vec<u8>> {
        if header.rst() {
            (self.state, self.deadline) = (State::Reset, None);
            return Vec::new();
        }
        for option in header.options_iterator().flatten() {
            if let etherparse::TcpOptionElement::MaximumSegmentSize(mss) = option {
                self.peer_mss = mss;
            }
        }
        match (self.state, header.syn(), header.ack()) {
            (State::Listening | State::SynSent, true, false) => {
                // From SYN-SENT it is a simultaneous open (RFC 9293 §3.5).
                (self.state, self.deadline) = (State::SynReceived, Some(now + TIMEOUT));
                vec![self.segment(SYN | ACK, 0, 0)]
            }
            (State::SynSent, true, true) | (State::SynReceived, _, true) => {
                (self.state, self.syn_acknowledged) = (State::Established, true);
                let mut answers = vec![self.segment(ACK, self.sent, 0)];
                if !header.syn() {
                    answers.extend(self.take_data(header, data, now));
                }
                answers.extend(self.flight());
                self.deadline = Some(now + TIMEOUT);
                answers
            }
            (State::Established, true, _) => vec![self.segment(ACK, self.sent, 0)],
            (State::Established, false, true) => self.take_data(header, data, now),
            _ => Vec::new(),
        }
    }

    fn take_data(&mut self, header: &TcpHeaderSlice<'_>, data: &[u8], now: Timestamp) -> Vec<Vec<u8>> {
        let mut answers = Vec::new();
        // Sequence numbers start at 1 after the SYN.
        let (at, acknowledged) =
            (header.sequence_number().wrapping_sub(1), header.acknowledgment_number().wrapping_sub(1));
        if acknowledged > self.acknowledged && acknowledged <= self.to_send {
            self.acknowledged = acknowledged;
            self.sent = self.sent.max(acknowledged);
            self.deadline = Some(now + TIMEOUT);
            answers.extend(self.flight());
        }
        if !data.is_empty() {
            if at == self.received {
                assert!(data.iter().zip(at..).all(|(got, at)| *got == byte(at)), "the stream is as it was sent");
                self.received += u32::try_from(data.len()).unwrap();
            }
            answers.push(self.segment(ACK, self.sent, 0));
        } else if header.sequence_number() == 0 && header.acknowledgment_number() == 0 {
            // A keep-alive probe, outside of the window: it is answered with an ACK (RFC 9293 §3.10.7.4).
            answers.push(self.segment(ACK, self.sent, 0));
        }
        answers
    }

    /// An error about one of its packets: Packet Too Big and its counterpart count, others do not.
    fn take_error(&mut self, icmp: &[u8], now: Timestamp) -> Option<Vec<Vec<u8>>> {
        let six = self.local.0.is_ipv6();
        let inner = &icmp[8..];
        let start = if six { 40 } else { 20 };
        let ours = inner.len() >= start + 4
            && ends_of(inner) == (Ends { source: self.local.0, destination: self.remote.0 })
            && inner[start..start + 2] == self.local.1.to_be_bytes();
        if !ours {
            return None;
        }
        let mtu = match (six, icmp[0], icmp[1]) {
            (true, 2, _) => u32::from_be_bytes(icmp[4..8].try_into().unwrap()) as usize,
            (false, 3, 4) => usize::from(u16::from_be_bytes([icmp[6], icmp[7]])),
            _ => return Some(Vec::new()),
        };
        assert!(mtu >= if six { 1280 } else { 68 }, "told of an MTU of {mtu}");
        self.mtu_errors += 1;
        if mtu < self.mtu {
            self.mtu = mtu;
            self.sent = self.acknowledged;
            self.deadline = Some(now + TIMEOUT);
            return Some(self.flight());
        }
        Some(Vec::new())
    }

    /// What may be sent now.
    fn flight(&mut self) -> Vec<Vec<u8>> {
        let most = u32::try_from(self.largest() - self.headers()).unwrap();
        let mut packets = Vec::new();
        while self.sent < self.to_send && self.sent < self.acknowledged + WINDOW * most {
            let len = most.min(self.to_send - self.sent);
            packets.push(self.segment(ACK, self.sent, len));
            self.sent += len;
        }
        packets
    }

    fn segment(&self, flags: u8, at: u32, len: u32) -> Vec<u8> {
        let syn = flags & SYN != 0;
        assert_eq!(flags & RST, 0);
        let body = Body::Tcp {
            from: self.local.1,
            to: self.remote.1,
            flags,
            sequence: if syn { 0 } else { at + 1 },
            acknowledgment: if flags & ACK == 0 { 0 } else { self.received + 1 },
            mss: syn.then(|| u16::try_from(self.mtu - self.headers()).unwrap()),
            data: (at..at + len).map(byte).collect(),
        };
        let ends = Ends { source: self.local.0, destination: self.remote.0 };
        packet(ends, &Ip { dont_fragment: self.dont_fragment, ..Ip::default() }, &body)
    }
}
