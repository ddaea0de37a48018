//! Types, codes, pointers and MTUs of ICMP errors: the tables of RFC 7915 §4.2 and §5.2.

use crate::links::LinkMtus;
use crate::packet::{Parsed4, Parsed6};

/// The first and second word of an ICMP message, without the checksum and without RFC 4884's length attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) kind: u8,
    pub(super) code: u8,
    /// MTU or pointer as the second word has it, or zero.
    pub(super) rest: u32,
}

impl Kind {
    const fn new(kind: u8, code: u8, rest: u32) -> Self {
        Self { kind, code, rest }
    }
}

/// An ICMPv6 error's counterpart in ICMP; none if it has none (RFC 7915 §5.2).
pub(super) fn six_to_four(error: Kind, embedded: &Parsed6, links: &LinkMtus) -> Option<Kind> {
    const UNREACHABLE: u8 = 3;
    const TIME_EXCEEDED: u8 = 11;
    const PARAMETER_PROBLEM: u8 = 12;
    Some(match (error.kind, error.code) {
        // No route, beyond scope, address unreachable: host unreachable.
        (1, 0 | 2 | 3) => Kind::new(UNREACHABLE, 1, 0),
        (1, 1) => Kind::new(UNREACHABLE, 10, 0),
        (1, 4) => Kind::new(UNREACHABLE, 3, 0),
        // The code is for receivers to ignore (RFC 4443 §3.2).
        (2, _) => Kind::new(UNREACHABLE, 4, mtu_v4(error.rest, embedded, links).into()),
        (3, code) => Kind::new(TIME_EXCEEDED, code, 0),
        (4, 0) => Kind::new(PARAMETER_PROBLEM, 0, u32::from(pointer_v4(error.rest)?) << 24),
        // Unrecognized next header: protocol unreachable.
        (4, 1) => Kind::new(UNREACHABLE, 2, 0),
        _ => return None,
    })
}

/// An ICMP error's counterpart in ICMPv6; none if it has none (RFC 7915 §4.2).
pub(super) fn four_to_six(error: Kind, embedded: &Parsed4, links: &LinkMtus) -> Option<Kind> {
    const UNREACHABLE: u8 = 1;
    const TOO_BIG: u8 = 2;
    const TIME_EXCEEDED: u8 = 3;
    const PARAMETER_PROBLEM: u8 = 4;
    /// Where an IPv6 header has its next header.
    const NEXT_HEADER: u32 = 6;
    Some(match (error.kind, error.code) {
        (3, 2) => Kind::new(PARAMETER_PROBLEM, 1, NEXT_HEADER),
        (3, 3) => Kind::new(UNREACHABLE, 4, 0),
        (3, 4) => Kind::new(TOO_BIG, 0, mtu_v6(error.rest & 0xffff, embedded, links)),
        (3, 0 | 1 | 5..=8 | 11 | 12) => Kind::new(UNREACHABLE, 0, 0),
        (3, 9 | 10 | 13 | 15) => Kind::new(UNREACHABLE, 1, 0),
        (11, code) => Kind::new(TIME_EXCEEDED, code, 0),
        (12, 0 | 2) => Kind::new(PARAMETER_PROBLEM, 0, pointer_v6(error.rest >> 24)?),
        _ => return None,
    })
}

/// RFC 7915 Figure 6.
const fn pointer_v4(pointer: u32) -> Option<u8> {
    Some(match pointer {
        0 => 0,
        1 => 1,
        4 | 5 => 2,
        6 => 9,
        7 => 8,
        8..=23 => 12,
        24..=39 => 16,
        _ => return None,
    })
}

/// RFC 7915 Figure 3.
const fn pointer_v6(pointer: u32) -> Option<u32> {
    Some(match pointer {
        0 => 0,
        1 => 1,
        2 | 3 => 4,
        8 => 7,
        9 => 6,
        12..=15 => 8,
        16..=19 => 24,
        _ => return None,
    })
}

/// The MTU that an IPv4 sender is told of (RFC 7915 §5.2): what remains of the IPv6 one when the headers that it gets are
/// counted in, a Fragment header included if its packet got one.
fn mtu_v4(mtu: u32, embedded: &Parsed6, links: &LinkMtus) -> u16 {
    /// A smaller MTU no link has (RFC 791 §3.2), and zero would mean that it is not known.
    const LEAST: u32 = 68;
    let headers = if embedded.fragment_header { 28 } else { 20 };
    let ipv4 = links.ipv4.unwrap_or(u32::MAX);
    let ipv6 = links.ipv6.unwrap_or(u32::MAX);
    u16::try_from(mtu.min(ipv6).saturating_sub(headers).min(ipv4).max(LEAST)).unwrap_or(u16::MAX)
}

/// The MTU that an IPv6 sender is told of (RFC 7915 §4.2).
fn mtu_v6(mtu: u32, embedded: &Parsed4, links: &LinkMtus) -> u32 {
    /// The MTU that every IPv6 link has (RFC 8200 §5).
    const LEAST: u32 = 1280;
    let mtu = if mtu == 0 { plateau(embedded.total_len) } else { mtu };
    let ipv6 = links.ipv6.unwrap_or(u32::MAX);
    let ipv4 = links.ipv4.map_or(u32::MAX, |mtu| mtu.saturating_add(20));
    (mtu + 20).min(ipv6).min(ipv4).max(LEAST)
}

/// A likely MTU where a router that dropped a packet of `total_len` bytes tells none (RFC 1191 §7.1). Plateaus that are
/// too small for IPv6 are left out; below them all it is none, and the least that IPv6 has will be used.
fn plateau(total_len: u32) -> u32 {
    const PLATEAUS: [u32; 7] = [65_535, 32_000, 17_914, 8166, 4352, 2002, 1492];
    PLATEAUS.into_iter().find(|plateau| *plateau < total_len).unwrap_or_default()
}
