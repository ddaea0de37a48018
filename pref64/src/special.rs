//! The IANA IPv4 Special-Purpose Address Registry (RFC 6890 and its updates), and multicast.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The addresses of `ipv4only.arpa` (RFC 7050 §2.2).
pub const IPV4ONLY_ARPA: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];

/// One row of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialRange {
    /// The range.
    pub net: Ipv4Net,
    /// The registry's name of it.
    pub name: &'static str,
    /// The document that reserves it.
    pub source: &'static str,
    /// The registry's "globally reachable" column.
    pub globally_reachable: bool,
}

impl SpecialRange {
    #[inline]
    const fn contains(&self, address: Ipv4Addr) -> bool {
        // No row has a prefix of no bits.
        (address.to_bits() ^ self.net.addr().to_bits()) >> (32 - self.net.prefix_len()) == 0
    }
}

const fn range(octets: [u8; 4], length: u8, name: &'static str, source: &'static str) -> SpecialRange {
    let address = Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]);
    SpecialRange { net: Ipv4Net::new_assert(address, length), name, source, globally_reachable: false }
}

const fn reachable(octets: [u8; 4], length: u8, name: &'static str, source: &'static str) -> SpecialRange {
    SpecialRange { globally_reachable: true, ..range(octets, length, name, source) }
}

/// The registry, the most specific range of an address first.
pub const RANGES: [SpecialRange; 26] = [
    range([0, 0, 0, 0], 32, "This host on this network", "RFC 1122 section 3.2.1.3"),
    range([255, 255, 255, 255], 32, "Limited Broadcast", "RFC 8190"),
    range([192, 0, 0, 8], 32, "IPv4 dummy address", "RFC 7600"),
    reachable([192, 0, 0, 9], 32, "Port Control Protocol Anycast", "RFC 7723"),
    reachable([192, 0, 0, 10], 32, "Traversal Using Relays around NAT Anycast", "RFC 8155"),
    range([192, 0, 0, 170], 31, "NAT64/DNS64 Discovery", "RFC 8880"),
    range([192, 0, 0, 0], 29, "IPv4 Service Continuity Prefix", "RFC 7335"),
    range([192, 0, 0, 0], 24, "IETF Protocol Assignments", "RFC 6890 section 2.1"),
    range([192, 0, 2, 0], 24, "Documentation (TEST-NET-1)", "RFC 5737"),
    reachable([192, 31, 196, 0], 24, "AS112-v4", "RFC 7535"),
    reachable([192, 52, 193, 0], 24, "AMT", "RFC 7450"),
    range([192, 88, 99, 2], 32, "6a44-relay anycast address", "RFC 6751"),
    reachable([192, 88, 99, 0], 24, "Deprecated (6to4 Relay Anycast)", "RFC 7526"),
    reachable([192, 175, 48, 0], 24, "Direct Delegation AS112 Service", "RFC 7534"),
    range([198, 51, 100, 0], 24, "Documentation (TEST-NET-2)", "RFC 5737"),
    range([203, 0, 113, 0], 24, "Documentation (TEST-NET-3)", "RFC 5737"),
    range([192, 168, 0, 0], 16, "Private-Use", "RFC 1918"),
    range([169, 254, 0, 0], 16, "Link Local", "RFC 3927"),
    range([198, 18, 0, 0], 15, "Benchmarking", "RFC 2544"),
    range([172, 16, 0, 0], 12, "Private-Use", "RFC 1918"),
    range([100, 64, 0, 0], 10, "Shared Address Space", "RFC 6598"),
    range([0, 0, 0, 0], 8, "This network", "RFC 791 section 3.2"),
    range([10, 0, 0, 0], 8, "Private-Use", "RFC 1918"),
    range([127, 0, 0, 0], 8, "Loopback", "RFC 1122 section 3.2.1.3"),
    range([224, 0, 0, 0], 4, "Multicast", "RFC 5771"),
    range([240, 0, 0, 0], 4, "Reserved", "RFC 1112 section 4"),
];

/// By the first octet of an address: the rows of the registry that have such addresses, as bits. Most octets have none.
const ROWS_OF_OCTET: [u32; 256] = {
    let mut rows = [0; 256];
    let mut row = 0;
    while row < RANGES.len() {
        let net = RANGES[row].net;
        let mut octet = net.addr().octets()[0] as usize;
        // More than one octet only where the prefix is shorter than that.
        let end = octet + 1 + (0xff_usize >> net.prefix_len());
        while octet < end {
            rows[octet] |= 1 << row;
            octet += 1;
        }
        row += 1;
    }
    rows
};

/// The row of the registry that `address` falls in, the most specific one.
#[inline]
#[must_use]
pub fn range_of(address: Ipv4Addr) -> Option<&'static SpecialRange> {
    let mut rows = ROWS_OF_OCTET[usize::from(address.octets()[0])];
    while rows != 0 {
        let range = &RANGES[rows.trailing_zeros() as usize];
        if range.contains(address) {
            return Some(range);
        }
        rows &= rows - 1;
    }
    None
}

/// Whether an address is a global one: in no row of the registry, or in a row that is globally reachable.
#[inline]
#[must_use]
pub fn is_global(address: Ipv4Addr) -> bool {
    range_of(address).is_none_or(|range| range.globally_reachable)
}

/// Whether an address can be a host's own and the destination of a packet: not 0/8, 127/8, multicast, 240/4 or broadcast.
///
/// Link-local addresses (169.254/16) are unicast but stay on their link; they are not routable, so they are refused too.
#[inline]
#[must_use]
pub const fn is_routable_unicast(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    !(first == 0 || first == 127 || first >= 224 || (first == 169 && second == 254))
}
