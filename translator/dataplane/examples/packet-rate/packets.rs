//! UDP packets over IPv4 or IPv6, and what their payload says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nat64_core::packet::checksum::{pseudo_v4, pseudo_v6};
use nat64_core::packet::protocol_number::UDP;

/// The port that the receiver listens on.
pub(crate) const PORT: u16 = 4500;
/// Source ports that an address has for flows, from 1024.
const PORTS: u32 = 64_512;
/// Bytes of UDP header.
const UDP_LEN: u16 = 8;

/// What the payload begins with: which run a packet belongs to, which flow, and its number in that flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) run: u32,
    pub(crate) flow: u32,
    pub(crate) number: u64,
}

impl Label {
    pub(crate) const LEN: usize = 16;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.run.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.flow.to_be_bytes());
        bytes[8..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (run, rest) = payload.split_first_chunk()?;
        let (flow, rest) = rest.split_first_chunk()?;
        let number = rest.first_chunk()?;
        Some(Self {
            run: u32::from_be_bytes(*run),
            flow: u32::from_be_bytes(*flow),
            number: u64::from_be_bytes(*number),
        })
    }
}

/// A packet that is written again for every label, its checksum always complete.
pub(crate) struct Template {
    bytes: Vec<u8>,
    transport: usize,
    from: IpAddr,
    to: IpAddr,
}

impl Template {
    pub(crate) fn new(from: IpAddr, to: IpAddr, size: u16) -> Self {
        let len = UDP_LEN + size;
        let header = match to {
            IpAddr::V4(to) => header_v4(to, len).to_vec(),
            IpAddr::V6(to) => header_v6(to, len).to_vec(),
        };
        let transport = header.len();
        let mut bytes = header;
        bytes.resize(transport + usize::from(len), 0);
        bytes[transport + 2..transport + 4].copy_from_slice(&PORT.to_be_bytes());
        bytes[transport + 4..transport + 6].copy_from_slice(&len.to_be_bytes());
        Self { bytes, transport, from, to }
    }

    /// The packet of this label.
    pub(crate) fn write(&mut self, label: Label) {
        let source = self.put_source(label.flow);
        let (ip, udp) = self.bytes.split_at_mut(self.transport);
        udp[..2].copy_from_slice(&port_of(label.flow).to_be_bytes());
        udp[8..8 + Label::LEN].copy_from_slice(&label.to_bytes());
        udp[6..8].fill(0);
        let len = u32::try_from(udp.len()).unwrap_or_default();
        let pseudo = match (source, self.to) {
            (IpAddr::V6(source), IpAddr::V6(to)) => pseudo_v6(source, to, UDP, len),
            (IpAddr::V4(source), IpAddr::V4(to)) => {
                // The kernel writes the checksum of the IPv4 header of a raw packet.
                ip[10..12].fill(0);
                pseudo_v4(source, to, UDP, len)
            }
            _ => unreachable!("both addresses are of one version, which the lab has checked"),
        };
        let checksum = match pseudo.bytes(udp).checksum() {
            0 => 0xffff,
            checksum => checksum,
        };
        udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn put_source(&mut self, flow: u32) -> IpAddr {
        let host = flow / PORTS;
        match self.from {
            IpAddr::V4(first) => {
                let source = Ipv4Addr::from_bits(first.to_bits() + host);
                self.bytes[12..16].copy_from_slice(&source.octets());
                source.into()
            }
            IpAddr::V6(first) => {
                let source = Ipv6Addr::from_bits(first.to_bits() + u128::from(host));
                self.bytes[8..24].copy_from_slice(&source.octets());
                source.into()
            }
        }
    }
}

fn port_of(flow: u32) -> u16 {
    u16::try_from(1024 + flow % PORTS).unwrap_or(u16::MAX)
}

fn header_v4(to: Ipv4Addr, len: u16) -> [u8; 20] {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&(20 + len).to_be_bytes());
    header[6] = 0x40;
    header[8] = 64;
    header[9] = UDP;
    header[16..].copy_from_slice(&to.octets());
    header
}

fn header_v6(to: Ipv6Addr, len: u16) -> [u8; 40] {
    let mut header = [0; 40];
    header[0] = 0x60;
    header[4..6].copy_from_slice(&len.to_be_bytes());
    header[6] = UDP;
    header[7] = 64;
    header[24..].copy_from_slice(&to.octets());
    header
}
