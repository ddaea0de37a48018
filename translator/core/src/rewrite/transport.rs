//! Ports, identifiers and checksums of the transports (RFC 7915 §4.5, §5.5; RFC 6146 §3.7).

use crate::packet::checksum::{self, Sum};
use crate::packet::{GsoKind, PacketBuf};

/// What to do with a transport checksum.
#[derive(Clone, Copy)]
pub(super) enum Fix {
    /// It covers `removed` now and is to cover `added` in its place, beside what changes in the transport header.
    Update { removed: Sum, added: Sum },
    /// It is partial: the field is to hold this pseudo-header's sum.
    Partial(u16),
}

impl Fix {
    /// The checksum field when `old` words of the header become `new` ones.
    #[inline(always)]
    fn apply(self, field: [u8; 2], old: Sum, new: Sum) -> u16 {
        match self {
            Self::Update { removed, added } => {
                checksum::update(u16::from_be_bytes(field), removed.plus(old), added.plus(new))
            }
            Self::Partial(pseudo) => pseudo,
        }
    }
}

/// Gives a TCP segment its new ports; none if its checksum field is not there.
#[inline(always)]
pub(super) fn tcp(segment: &mut [u8], ports: [u8; 4], fix: Fix) -> Option<()> {
    let header = segment.first_chunk_mut::<18>()?;
    let [a, b, c, d, .., e, f] = *header;
    let old = Sum::ZERO.long_bytes([a, b, c, d]);
    let checksum = fix.apply([e, f], old, Sum::ZERO.long_bytes(ports));
    header[0..4].copy_from_slice(&ports);
    header[16..18].copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

/// Gives a UDP datagram its new ports; none if its header is not there.
#[inline(always)]
pub(super) fn udp(datagram: &mut [u8], ports: [u8; 4], fix: Fix) -> Option<()> {
    let header = datagram.first_chunk_mut::<8>()?;
    let [a, b, c, d, _, _, e, f] = *header;
    let old = Sum::ZERO.long_bytes([a, b, c, d]);
    let checksum = fix.apply([e, f], old, Sum::ZERO.long_bytes(ports));
    header[0..4].copy_from_slice(&ports);
    header[6..8].copy_from_slice(&never_zero(checksum).to_be_bytes());
    Some(())
}

/// Gives an echo message its new type and identifier; none if its header is not there.
#[inline(always)]
pub(super) fn echo(message: &mut [u8], kind: u8, identifier: u16, fix: Fix) -> Option<()> {
    let header = message.first_chunk_mut::<8>()?;
    let [old_kind, code, c, d, e, f, ..] = *header;
    let old = Sum::ZERO.word(u16::from_be_bytes([old_kind, code])).word(u16::from_be_bytes([e, f]));
    let new = Sum::ZERO.word(u16::from_be_bytes([kind, code])).word(identifier);
    let checksum = fix.apply([c, d], old, new);
    header[0] = kind;
    header[2..4].copy_from_slice(&checksum.to_be_bytes());
    header[4..6].copy_from_slice(&identifier.to_be_bytes());
    Some(())
}

/// Gives a TCP segment or UDP datagram its new ports and leaves the checksum; none if they are not there.
pub(super) fn ports_only(transport: &mut [u8], ports: [u8; 4]) -> Option<()> {
    *transport.first_chunk_mut()? = ports;
    Some(())
}

/// Two ports as they stand in a header.
#[inline]
pub(super) const fn ports(source: u16, destination: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (source.to_be_bytes(), destination.to_be_bytes());
    [a, b, c, d]
}

/// A UDP checksum that is zero is sent as all ones; zero means that there is none (RFC 768).
#[inline]
pub(super) const fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// Transport bytes, header included, of the largest packet that leaves the device for this one: of a segment if it is
/// a super-packet.
pub(super) fn segment_len(packet: &PacketBuf<'_>, header_len: usize) -> usize {
    let transport = packet.bytes().get(header_len..).unwrap_or_default();
    packet.offload.gso.map_or(transport.len(), |gso| {
        (segment_header_len(gso.kind, transport) + usize::from(gso.segment_size)).min(transport.len())
    })
}

/// Bytes of the transport header of a super-packet's segments, which `transport` starts with.
pub(super) fn segment_header_len(kind: GsoKind, transport: &[u8]) -> usize {
    match kind {
        GsoKind::TcpV4 | GsoKind::TcpV6 => transport.get(12).map_or(20, |offset| usize::from(offset >> 4) * 4),
        GsoKind::Udp => 8,
    }
}

/// Tells the device of the packet as it is now: its IP header had `old_header` bytes and has `new_header`.
#[inline]
pub(super) fn move_offload(packet: &mut PacketBuf<'_>, old_header: u16, new_header: u16) {
    if let Some(partial) = &mut packet.offload.checksum {
        partial.start = partial.start.wrapping_sub(old_header).wrapping_add(new_header);
    }
    if let Some(mut gso) = packet.offload.gso {
        let transport = packet.bytes().get(usize::from(new_header)..).unwrap_or_default();
        let segment_header = u16::try_from(segment_header_len(gso.kind, transport)).unwrap_or_default();
        gso.header_len = new_header + segment_header;
        gso.kind = match gso.kind {
            GsoKind::TcpV4 => GsoKind::TcpV6,
            GsoKind::TcpV6 => GsoKind::TcpV4,
            GsoKind::Udp => GsoKind::Udp,
        };
        packet.offload.gso = Some(gso);
    }
}
