//! ICMP errors (RFC 7915 §4.2, §4.3, §5.2, §5.3).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Endpoints;
use crate::packet::{PacketBuf, Parsed4, Parsed6};
use crate::policy::HeaderPolicy;
use crate::verdict::DropReason;

/// The addresses of a translated error, and the addresses and ports of the packet inside, as they are to stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorEndpoints<A> {
    /// New source address of the error.
    pub source: A,
    /// New destination address of the error.
    pub destination: A,
    /// New addresses and ports of the packet inside.
    pub embedded: Endpoints<A>,
}

/// MTUs of the links a translator is attached to, where they are known, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkMtus {
    /// Of the next hop towards IPv4.
    pub ipv4: Option<u32>,
    /// Of the next hop towards IPv6.
    pub ipv6: Option<u32>,
}

/// Translates an ICMPv6 error and the packet inside. `embedded` is parsed from [`crate::packet::original_datagram`].
///
/// # Errors
/// When it has no counterpart; the packet is then unchanged.
pub fn error_six_to_four(
    packet: &mut PacketBuf<'_>,
    outer: &Parsed6,
    embedded: &Parsed6,
    to: &ErrorEndpoints<Ipv4Addr>,
    policy: &HeaderPolicy,
    links: &LinkMtus,
    identification: u16,
) -> Result<(), DropReason> {
    let _ = (packet, outer, embedded, to, policy, links, identification);
    Err(DropReason::UntranslatableIcmp)
}

/// Translates an ICMP error and the packet inside. `embedded` is parsed from [`crate::packet::original_datagram`].
///
/// # Errors
/// When it has no counterpart; the packet is then unchanged.
pub fn error_four_to_six(
    packet: &mut PacketBuf<'_>,
    outer: &Parsed4,
    embedded: &Parsed4,
    to: &ErrorEndpoints<Ipv6Addr>,
    policy: &HeaderPolicy,
    links: &LinkMtus,
    flow_seed: u64,
) -> Result<(), DropReason> {
    let _ = (packet, outer, embedded, to, policy, links, flow_seed);
    Err(DropReason::UntranslatableIcmp)
}
