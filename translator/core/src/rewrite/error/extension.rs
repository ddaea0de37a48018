//! Extension structures of our own (RFC 4884 §7).

use std::net::Ipv6Addr;

use crate::packet::checksum::Sum;

/// A structure that names an IPv6 router to readers in IPv4, whose error it was: an Interface Information Object with
/// the address of the interface that a packet came in by (RFC 6791 §4, RFC 5837 §4).
pub(super) fn interface_information(router: Ipv6Addr) -> [u8; 28] {
    const VERSION: u8 = 2 << 4;
    const OBJECT_LEN: u8 = 24;
    const INTERFACE_INFORMATION: u8 = 2;
    /// Role "incoming", and the one sub-object that is there.
    const WITH_ADDRESS: u8 = 0b0000_0100;
    /// The address family number of IPv6.
    const AFI_IPV6: u8 = 2;
    let mut bytes = [0; 28];
    bytes[..10].copy_from_slice(&[VERSION, 0, 0, 0, 0, OBJECT_LEN, INTERFACE_INFORMATION, WITH_ADDRESS, 0, AFI_IPV6]);
    bytes[12..].copy_from_slice(&router.octets());
    let checksum = Sum::ZERO.bytes(&bytes).checksum();
    bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
    bytes
}
