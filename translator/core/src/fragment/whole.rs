//! Headers of datagrams that were put together from fragments.

use super::Held;
use crate::packet::HEADROOM;
use crate::packet::checksum;

/// Don't Fragment, in the flags and offset field of an IPv4 header.
const DONT_FRAGMENT: u8 = 0x40;

impl Held {
    /// Makes the headers, which are the first fragment's, those of the whole IPv6 datagram.
    pub(crate) fn make_whole_v6(&mut self) {
        const FIXED: usize = 40;
        let packet = &mut self.storage[HEADROOM..];
        let payload = u16::try_from(packet.len() - FIXED).unwrap_or(u16::MAX);
        packet[4..6].copy_from_slice(&payload.to_be_bytes());
        if let Some(at) = fragment_header(packet) {
            // Offset zero and no more fragments: an atomic fragment, which is a whole packet (RFC 6946).
            packet[at + 2..at + 4].fill(0);
        }
    }

    /// Makes the header, which is the first fragment's, that of the whole IPv4 datagram.
    pub(crate) fn make_whole_v4(&mut self) {
        let packet = &mut self.storage[HEADROOM..];
        let total = u16::try_from(packet.len()).unwrap_or(u16::MAX);
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[6..8].fill(0);
        set_header_checksum(packet);
    }
}

/// Clears Don't Fragment in an IPv4 packet and sets its identification.
pub(crate) fn allow_fragmentation(packet: &mut [u8], identification: u16) {
    packet[4..6].copy_from_slice(&identification.to_be_bytes());
    packet[6] &= !DONT_FRAGMENT;
    set_header_checksum(packet);
}

fn set_header_checksum(packet: &mut [u8]) {
    let header_len = usize::from(packet[0] & 0x0f) * 4;
    packet[10..12].fill(0);
    let sum = checksum::Sum::ZERO.bytes(&packet[..header_len]).checksum();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Where the Fragment header is, which a fragment has.
fn fragment_header(packet: &[u8]) -> Option<usize> {
    const FRAGMENT: u8 = 44;
    let mut next = *packet.get(6)?;
    let mut at = 40;
    while next != FRAGMENT {
        // Hop-by-Hop, Routing and Destination Options are what may come before it (RFC 8200 §4.1).
        if !matches!(next, 0 | 43 | 60) {
            return None;
        }
        next = *packet.get(at)?;
        at += (usize::from(*packet.get(at + 1)?) + 1) * 8;
    }
    (at + 4 <= packet.len()).then_some(at)
}
