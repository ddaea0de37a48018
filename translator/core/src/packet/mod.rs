//! Packets: the buffer, parsing, checksums.
//!
//! [`parse_v6`] and [`parse_v4`] look at a packet once, check every length that translation relies on, and hand out a
//! [`Parsed`] of offsets and fields.

mod buf;
pub mod checksum;
mod offload;
mod parse;
#[cfg(test)]
pub(crate) mod testing;

/// Protocol numbers that translation knows, as in the IPv4 protocol and the IPv6 next header field.
pub mod protocol_number {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// The IPv6 Fragment header (RFC 8200 §4.5).
    pub const IPV6_FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

use std::net::{Ipv4Addr, Ipv6Addr};

pub use buf::{HEADROOM, PacketBuf};
pub use offload::{Gso, GsoKind, Offload, PartialChecksum};
pub(crate) use parse::{Chain, MIN_ORIGINAL, SegmentsLeft, split_original};
pub use parse::{ParseError, original_datagram, parse_embedded_v4, parse_embedded_v6, parse_v4, parse_v6};

/// The transports that have a BIB of their own (RFC 6146 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    /// TCP.
    Tcp = 0,
    /// UDP.
    Udp = 1,
    /// ICMP and ICMPv6 echo; the identifier stands in for ports.
    Icmp = 2,
}

impl Protocol {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Icmp];

    /// The name in listings, labels and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }

    /// The protocol number in IPv4 headers.
    #[inline]
    #[must_use]
    pub const fn number_v4(self) -> u8 {
        match self {
            Self::Tcp => protocol_number::TCP,
            Self::Udp => protocol_number::UDP,
            Self::Icmp => protocol_number::ICMP,
        }
    }
}

/// A packet's fields and offsets, all checked against its length. `A` is the address type of its IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed<A> {
    /// Source address of the IP header.
    pub source: A,
    /// Destination address of the IP header.
    pub destination: A,
    /// Traffic class (IPv6) or TOS (IPv4).
    pub traffic_class: u8,
    /// Hop limit (IPv6) or TTL (IPv4).
    pub hop_limit: u8,
    /// Don't Fragment (IPv4); always set for IPv6.
    pub dont_fragment: bool,
    /// Identification of the IPv4 header or of the Fragment header; zero for IPv6 without one.
    pub identification: u32,
    /// Bytes from the start of the IP header to the transport header (or to a fragment's data).
    pub header_len: u16,
    /// Bytes of the whole packet by its IP header; what the buffer has beyond is padding and cut off. For a packet
    /// inside an ICMP error, its length before it was cut, which may be more than there is.
    pub total_len: u32,
    /// Whether an IPv6 packet has a Fragment header, which an atomic fragment has too.
    pub fragment_header: bool,
    /// Set when the packet is a fragment: an offset or "more fragments" (an atomic fragment is whole, RFC 6946).
    pub fragment: Option<Fragment>,
    /// What the packet carries.
    pub upper: Upper,
}

/// The packet as it came from the IPv6 side.
pub type Parsed6 = Parsed<Ipv6Addr>;
/// The packet as it came from the IPv4 side.
pub type Parsed4 = Parsed<Ipv4Addr>;

/// Where in its datagram a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Offset of the fragment's data in bytes, a multiple of 8.
    pub offset: u16,
    /// Whether fragments follow.
    pub more: bool,
}

/// What an IP packet carries, as far as translation asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upper {
    /// A TCP header, complete (20 bytes at least), or as much as ports and flags in an embedded packet.
    Tcp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// The flags byte: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128. Zero in an embedded packet cut
        /// before it.
        flags: u8,
    },
    /// A UDP header, complete.
    Udp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// The checksum field as it stands, in host order.
        checksum: u16,
    },
    /// An ICMP or ICMPv6 echo request or reply.
    Echo {
        /// The identifier.
        identifier: u16,
        /// Whether it is a reply.
        reply: bool,
    },
    /// An ICMP or ICMPv6 error message; the packet in error starts 8 bytes into the transport.
    IcmpError {
        /// The type field of its own ICMP version.
        kind: u8,
        /// The code field.
        code: u8,
    },
    /// Any other ICMP or ICMPv6 message.
    OtherIcmp {
        /// The type field.
        kind: u8,
        /// The code field.
        code: u8,
    },
    /// Another transport, by its protocol number; any fragment of it, too.
    Other(u8),
    /// A fragment of TCP, UDP or this IP version's ICMP that is not the first: its transport header is in another
    /// packet. The protocol number is kept.
    Tail(u8),
}

/// TCP flags as they stand in the header's 14th byte.
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgment field is significant.
    pub const ACK: u8 = 0x10;
}
