//! IPv6 to IPv4 (RFC 7915 §5.1).

use std::net::Ipv4Addr;

use super::Endpoints;
use crate::packet::{PacketBuf, Parsed6};
use crate::policy::HeaderPolicy;
use crate::verdict::DropReason;

/// Translates the packet. `identification` is for a packet that has none of its own.
///
/// # Errors
/// When it has no counterpart; the packet is then unchanged.
pub fn six_to_four(
    packet: &mut PacketBuf<'_>,
    parsed: &Parsed6,
    to: &Endpoints<Ipv4Addr>,
    policy: &HeaderPolicy,
    identification: u16,
) -> Result<(), DropReason> {
    let _ = (packet, parsed, to, policy, identification);
    Err(DropReason::Malformed)
}
