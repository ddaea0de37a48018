//! The maximum segment size that a SYN announces (RFC 9293 §3.7.1).

use crate::packet::PacketBuf;
use crate::packet::checksum::{self, Sum};

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;

/// Lowers the MSS option of the SYN whose TCP header starts `transport` bytes into the packet to `max_mss` bytes, and
/// says whether it did: not if there is no option, a smaller one, or options that make no sense.
pub fn clamp_mss(packet: &mut PacketBuf<'_>, transport: usize, max_mss: u16) -> bool {
    let partial = packet.offload.checksum.is_some_and(|partial| usize::from(partial.start) == transport);
    let Some(segment) = packet.bytes_mut().get_mut(transport..) else { return false };
    let Some((at, mss)) = find(segment).filter(|(_, mss)| *mss > max_mss) else { return false };
    let Some(option) = segment.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) else { return false };
    *option = max_mss.to_be_bytes();
    if !partial && let Some(field) = segment.get_mut(16..).and_then(|rest| rest.first_chunk_mut()) {
        // The checksum sees words at even offsets, so bytes at odd ones change places.
        let word = |value: u16| Sum::ZERO.word(if at % 2 == 0 { value } else { value.swap_bytes() });
        *field = checksum::update(u16::from_be_bytes(*field), word(mss), word(max_mss)).to_be_bytes();
    }
    true
}

/// Where in the segment the MSS is, and what it is.
fn find(segment: &[u8]) -> Option<(usize, u16)> {
    let end = usize::from(segment.get(12)? >> 4) * 4;
    let mut at = 20;
    let options = segment.get(..end)?;
    loop {
        match options.get(at..)? {
            [MAXIMUM_SEGMENT_SIZE, 4, a, b, ..] => return Some((at + 2, u16::from_be_bytes([*a, *b]))),
            [NO_OPERATION, ..] => at += 1,
            [END_OF_OPTIONS, ..] | [_, 0 | 1, ..] => return None,
            [_, len, ..] => at += usize::from(*len),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests;
