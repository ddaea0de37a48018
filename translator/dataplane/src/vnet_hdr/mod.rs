//! The `virtio_net_hdr` in front of each packet of a TUN device, and its meaning as an [`Offload`].
//!
//! Layout, little-endian (virtio 1.2 §5.1.6): flags (1 byte), gso_type (1), hdr_len (2), gso_size (2), csum_start (2),
//! csum_offset (2). Its fields are checked against the packet, so that an [`Offload`] from here can be relied on.

#[cfg(test)]
mod tests;

use nat64_core::{Gso, GsoKind, Offload, PartialChecksum};

/// Bytes of the header, without the `num_buffers` that only virtio 1.0 transports have.
pub(crate) const SIZE: usize = SIZE_U8 as usize;
/// The same as a number that converts to any other.
pub(crate) const SIZE_U8: u8 = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// Where the checksum field is in a TCP header.
pub(crate) const TCP_CHECKSUM: u16 = 16;
/// Where the checksum field is in a UDP header.
pub(crate) const UDP_CHECKSUM: u16 = 6;

/// Why an offload does not fit its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidOffload {
    /// The checksum's range or field ends beyond the packet.
    #[error("the checksum lies outside the packet")]
    ChecksumOutside,
    /// `gso_type` is unknown, or was never asked for.
    #[error("unknown segmentation type {0}")]
    UnknownGso(u8),
    /// A super-packet without partial checksum, or with one that is not its transport's.
    #[error("a super-packet needs its transport's partial checksum")]
    GsoChecksum,
    /// Segments of no bytes.
    #[error("a segment size of zero")]
    NoSegmentSize,
    /// The IP version is not that of the segmentation type.
    #[error("the segmentation type is of another IP version")]
    GsoVersion,
    /// Headers overlap, or end beyond the packet.
    #[error("the headers do not fit the packet")]
    Headers,
}

/// Reads the header of `packet`. The header's own `hdr_len` is not looked at.
pub(crate) fn parse(header: &[u8; SIZE], packet: &[u8]) -> Result<Offload, InvalidOffload> {
    let &[flags, kind, _, _, size_low, size_high, start_low, start_high, offset_low, offset_high] = header;
    let checksum = (flags & NEEDS_CSUM != 0).then_some(PartialChecksum {
        start: u16::from_le_bytes([start_low, start_high]),
        offset: u16::from_le_bytes([offset_low, offset_high]),
    });
    let gso = |kind, ecn| {
        let segment_size = u16::from_le_bytes([size_low, size_high]);
        Some(Gso { kind, segment_size, header_len: 0, ecn })
    };
    let ecn = kind & GSO_ECN != 0;
    let gso = match kind & !GSO_ECN {
        GSO_NONE => None,
        GSO_TCPV4 => gso(GsoKind::TcpV4, ecn),
        GSO_TCPV6 => gso(GsoKind::TcpV6, ecn),
        GSO_UDP_L4 => gso(GsoKind::Udp, false),
        _ => return Err(InvalidOffload::UnknownGso(kind)),
    };
    let mut offload = Offload { checksum, gso, data_valid: flags & DATA_VALID != 0 };
    let header_len = header_len(packet, offload)?;
    if let Some(gso) = &mut offload.gso {
        gso.header_len = header_len;
    }
    Ok(offload)
}

/// The header that tells `offload` to the kernel. Its `hdr_len` comes from the packet.
pub(crate) fn emit(packet: &[u8], offload: Offload) -> Result<[u8; SIZE], InvalidOffload> {
    let [len_low, len_high] = header_len(packet, offload)?.to_le_bytes();
    let flags = match offload.checksum {
        Some(_) => NEEDS_CSUM,
        None if offload.data_valid => DATA_VALID,
        None => 0,
    };
    let checksum = offload.checksum.unwrap_or(PartialChecksum { start: 0, offset: 0 });
    let [start_low, start_high] = checksum.start.to_le_bytes();
    let [offset_low, offset_high] = checksum.offset.to_le_bytes();
    let Some(gso) = offload.gso else {
        return Ok([flags, GSO_NONE, 0, 0, 0, 0, start_low, start_high, offset_low, offset_high]);
    };
    let kind = match gso.kind {
        GsoKind::TcpV4 => GSO_TCPV4,
        GsoKind::TcpV6 => GSO_TCPV6,
        GsoKind::Udp => GSO_UDP_L4,
    };
    let ecn = if gso.ecn && gso.kind != GsoKind::Udp { GSO_ECN } else { 0 };
    let [size_low, size_high] = gso.segment_size.to_le_bytes();
    Ok([flags, kind | ecn, len_low, len_high, size_low, size_high, start_low, start_high, offset_low, offset_high])
}

/// Checks `offload` against its packet. Returns the bytes of IP and transport headers of a super-packet, else 0.
pub(crate) fn header_len(packet: &[u8], offload: Offload) -> Result<u16, InvalidOffload> {
    if let Some(PartialChecksum { start, offset }) = offload.checksum
        && usize::from(start) + usize::from(offset) + 2 > packet.len()
    {
        return Err(InvalidOffload::ChecksumOutside);
    }
    let Some(gso) = offload.gso else { return Ok(0) };
    if gso.segment_size == 0 {
        return Err(InvalidOffload::NoSegmentSize);
    }
    let field = if gso.kind == GsoKind::Udp { UDP_CHECKSUM } else { TCP_CHECKSUM };
    let transport = match offload.checksum {
        Some(PartialChecksum { start, offset }) if offset == field => start,
        _ => return Err(InvalidOffload::GsoChecksum),
    };
    check_ip_header(packet, gso.kind, transport)?;
    let transport_len = match gso.kind {
        GsoKind::Udp => 8,
        GsoKind::TcpV4 | GsoKind::TcpV6 => {
            u16::from(*packet.get(usize::from(transport) + 12).ok_or(InvalidOffload::Headers)? >> 4) * 4
        }
    };
    let header_len = transport.checked_add(transport_len).ok_or(InvalidOffload::Headers)?;
    let minimum = if gso.kind == GsoKind::Udp { 8 } else { 20 };
    if transport_len < minimum || usize::from(header_len) > packet.len() {
        return Err(InvalidOffload::Headers);
    }
    Ok(header_len)
}

/// The IP header must be of the kind's version, and end where the transport begins.
fn check_ip_header(packet: &[u8], kind: GsoKind, transport: u16) -> Result<(), InvalidOffload> {
    let first = *packet.first().ok_or(InvalidOffload::Headers)?;
    let (version, ends_there) = match first >> 4 {
        4 => (4, first & 0x0f >= 5 && transport == u16::from(first & 0x0f) * 4),
        6 => (6, transport >= 40),
        _ => return Err(InvalidOffload::GsoVersion),
    };
    match kind {
        GsoKind::TcpV4 if version != 4 => Err(InvalidOffload::GsoVersion),
        GsoKind::TcpV6 if version != 6 => Err(InvalidOffload::GsoVersion),
        GsoKind::TcpV4 | GsoKind::TcpV6 | GsoKind::Udp if ends_there => Ok(()),
        GsoKind::TcpV4 | GsoKind::TcpV6 | GsoKind::Udp => Err(InvalidOffload::Headers),
    }
}
