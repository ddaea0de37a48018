//! Flows and their packets.

use std::net::{Ipv4Addr, Ipv6Addr};

use nat64_core::packet::{HEADROOM, Offload, PacketBuf};
use nat64_core::policy::{Limits, PoolRange};
use nat64_core::{Policy, Verdict};
use pref64::Pref64;

use crate::support::build::{ACK, Body, Ends, Ip, SYN, packet};
use crate::support::{Lab, Sent};

/// One flow from inside, by its number: 16 flows to a host, each from a port of its own to a server that a few share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) host: Ipv6Addr,
    pub(crate) port: u16,
    pub(crate) server: Ipv4Addr,
}

/// The port that servers listen on.
const SERVICE: u16 = 443;
const FLOWS_OF_A_HOST: u32 = 16;

/// The transports that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Udp,
    Echo,
}

/// A packet with room in front, as it lies in a worker's buffer.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    storage: Vec<u8>,
    len: usize,
    offload: Offload,
}

/// A translator with the defaults, the well-known prefix among them, and `addresses` pool addresses.
pub(crate) fn lab(addresses: u32) -> Lab {
    const FIRST: u32 = Ipv4Addr::new(100, 64, 0, 0).to_bits();
    let pool = PoolRange { last: (FIRST + addresses - 1).into(), ..PoolRange::address(FIRST.into()) };
    let limits = Limits { sessions: 20_000_000, mappings: 20_000_000, ..Limits::default() };
    Lab::new(Policy { limits, ..Policy::new(vec![Pref64::WELL_KNOWN], vec![pool]) })
}

impl Flow {
    pub(crate) fn number(number: u32) -> Self {
        let [a, b, c, d] = (number / FLOWS_OF_A_HOST).to_be_bytes();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let of_host = u16::try_from(number % FLOWS_OF_A_HOST).unwrap();
        Self {
            host: Ipv6Addr::new(0x2001, 0xdb8, 0x64, high, 0, 0, low, 0x10),
            port: 40_000 + of_host * 7,
            // In a part of the Internet where not all addresses are global ones.
            server: Ipv4Addr::from_bits(Ipv4Addr::new(198, 41, 0, 0).to_bits() | number & 0xff),
        }
    }

    fn out(self) -> Ends {
        Ends::new(self.host, Pref64::WELL_KNOWN.embed(self.server))
    }

    /// A packet from inside. For TCP it is one of an established connection.
    pub(crate) fn outbound(self, kind: Kind, data: &[u8]) -> Vec<u8> {
        packet(self.out(), &Ip::default(), &kind.body(self.port, SERVICE, false, data))
    }

    /// The packet that opens the flow.
    pub(crate) fn opening(self, kind: Kind) -> Vec<u8> {
        match kind {
            Kind::Tcp => packet(self.out(), &Ip::default(), &Body::tcp(self.port, SERVICE, SYN)),
            Kind::Udp | Kind::Echo => self.outbound(kind, &[]),
        }
    }

    /// Opens the flow. Returns the pool address and port it was given.
    pub(crate) fn open(self, lab: &mut Lab, kind: Kind) -> (Ipv4Addr, u16) {
        let sent = lab.pass(&self.opening(kind));
        let at = if kind == Kind::Echo { 24 } else { 20 };
        let pool =
            (Ipv4Addr::new(sent[12], sent[13], sent[14], sent[15]), u16::from_be_bytes([sent[at], sent[at + 1]]));
        if kind == Kind::Tcp {
            let ends = Ends::new(self.server, pool.0);
            lab.pass(&packet(ends, &Ip::default(), &Body::tcp(SERVICE, pool.1, SYN | ACK)));
        }
        lab.events();
        pool
    }

    /// A packet of the server to the pool address and port that the flow was given.
    pub(crate) fn inbound(self, kind: Kind, (address, port): (Ipv4Addr, u16), data: &[u8]) -> Vec<u8> {
        let ip = Ip { dont_fragment: true, ..Ip::default() };
        packet(Ends::new(self.server, address), &ip, &kind.body(SERVICE, port, true, data))
    }
}

impl Kind {
    fn body(self, from: u16, to: u16, reply: bool, data: &[u8]) -> Body {
        match self {
            Self::Tcp => {
                Body::Tcp { from, to, flags: ACK, sequence: 1000, acknowledgment: 2000, mss: None, data: data.to_vec() }
            }
            Self::Udp => Body::udp(from, to, data),
            Self::Echo => Body::Echo { reply, id: if reply { to } else { from }, data: data.to_vec() },
        }
    }
}

impl Ready {
    pub(crate) fn new(sent: &Sent) -> Self {
        let mut storage = vec![0; HEADROOM + sent.bytes.len() + 32];
        storage[HEADROOM..HEADROOM + sent.bytes.len()].copy_from_slice(&sent.bytes);
        Self { storage, len: sent.bytes.len(), offload: sent.offload }
    }

    pub(crate) fn plain(bytes: Vec<u8>) -> Self {
        Self::new(&Sent { bytes, offload: Offload::default() })
    }

    #[inline]
    pub(crate) fn packet(&mut self) -> PacketBuf<'_> {
        PacketBuf::new(&mut self.storage, HEADROOM, self.len, self.offload)
    }
}

/// Packets of a batch, as a worker of the data plane takes them.
pub(crate) const BATCH: usize = 64;

/// Translates all of `packets`, which must all be translated.
#[inline(never)]
pub(crate) fn translate_all(lab: &mut Lab, packets: &mut [Ready]) {
    let mut translated = 0;
    for chunk in packets.chunks_mut(BATCH) {
        let mut batch = lab.translator.batch(lab.now, &mut lab.worker);
        for ready in chunk {
            let verdict = batch.translate(&mut ready.packet());
            translated += usize::from(matches!(verdict, Verdict::Translated(_)));
        }
        lab.worker.events.drain().for_each(drop);
    }
    assert_eq!(translated, packets.len(), "every packet of a benchmark is translated");
}

/// A UDP datagram or the like in which the flow can be changed at little cost; its checksum is then wrong, which no
/// translator looks at.
#[derive(Debug)]
pub(crate) struct Template {
    fresh: Vec<u8>,
    ready: Ready,
}

impl Template {
    pub(crate) fn new(kind: Kind) -> Self {
        let fresh = Flow::number(0).outbound(kind, &[]);
        Self { ready: Ready::plain(fresh.clone()), fresh }
    }

    /// Writes the packet anew, as one of this flow.
    #[inline]
    pub(crate) fn write(&mut self, flow: Flow) {
        let bytes = &mut self.ready.storage[HEADROOM..HEADROOM + self.fresh.len()];
        bytes.copy_from_slice(&self.fresh);
        bytes[8..24].copy_from_slice(&flow.host.octets());
        bytes[36..40].copy_from_slice(&flow.server.octets());
        bytes[40..42].copy_from_slice(&flow.port.to_be_bytes());
    }

    #[inline]
    pub(crate) fn packet(&mut self) -> PacketBuf<'_> {
        self.ready.packet()
    }
}
