//! Packets taken apart, field by field (RFC 791, RFC 8200, RFC 7915 §4.1 and §5.1), and their checksums.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nat64_core::DropReason;

use crate::support::build::Ends;
use crate::support::check::sum;

/// Why a packet goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) reason: DropReason,
    /// For errors that point into the packet.
    pub(crate) pointer: usize,
    /// The sender has been told already, or will not be.
    pub(crate) silent: bool,
}

impl From<DropReason> for Stop {
    fn from(reason: DropReason) -> Self {
        Self { reason, pointer: 0, silent: false }
    }
}

/// A packet's fields, of either IP version.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) ends: Ends,
    pub(crate) class: u8,
    pub(crate) hops: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) identification: u32,
    pub(crate) fragment_header: bool,
    /// Offset in bytes, and whether more follow.
    pub(crate) fragment: Option<(usize, bool)>,
    pub(crate) protocol: u8,
    /// Bytes in front of the payload.
    pub(crate) headers: usize,
    pub(crate) payload: Vec<u8>,
    /// Bytes of payload by the IP header, which are more than there are in a packet that was cut.
    pub(crate) payload_len: usize,
}

/// What a TCP segment says of its connection; nothing of it is known of fragments after the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upper {
    Tcp {
        from: u16,
        to: u16,
        segment: Segment,
    },
    Udp {
        from: u16,
        to: u16,
        checksum: u16,
    },
    Echo {
        id: u16,
        reply: bool,
    },
    Error {
        kind: u8,
        code: u8,
    },
    OtherIcmp,
    Other,
    /// A fragment that is not the first.
    Tail,
}

impl View {
    pub(crate) fn is_v6(&self) -> bool {
        self.ends.source.is_ipv6()
    }

    pub(crate) fn source4(&self) -> Ipv4Addr {
        let IpAddr::V4(address) = self.ends.source else { panic!("not IPv4") };
        address
    }

    pub(crate) fn destination4(&self) -> Ipv4Addr {
        let IpAddr::V4(address) = self.ends.destination else { panic!("not IPv4") };
        address
    }

    pub(crate) fn source6(&self) -> Ipv6Addr {
        let IpAddr::V6(address) = self.ends.source else { panic!("not IPv6") };
        address
    }

    pub(crate) fn destination6(&self) -> Ipv6Addr {
        let IpAddr::V6(address) = self.ends.destination else { panic!("not IPv6") };
        address
    }

    fn is_icmp(&self) -> bool {
        self.protocol == if self.is_v6() { 58 } else { 1 }
    }

    /// What the packet carries; nothing if it cannot be.
    pub(crate) fn upper(&self) -> Option<Upper> {
        // RFC 7915 §5.1.1: an extension header behind a Fragment header is not translated.
        if self.fragment_header && matches!(self.protocol, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140) {
            return Some(Upper::Other);
        }
        match self.fragment {
            None => self.header(false),
            Some((offset, more)) => {
                let odd = more && !self.payload.len().is_multiple_of(8);
                let long = offset + self.payload.len() > 65_535;
                // RFC 3128: a second fragment that would overwrite TCP flags.
                let tiny = self.protocol == 6 && offset == 8;
                if self.payload.is_empty() || odd || long || tiny {
                    return None;
                }
                if offset > 0 && (matches!(self.protocol, 6 | 17) || self.is_icmp()) {
                    return Some(Upper::Tail);
                }
                self.header(true)
            }
        }
    }

    /// What the packet inside an ICMP error carries, of which there may be only 8 bytes.
    pub(crate) fn embedded_upper(&self) -> Option<Upper> {
        if self.fragment.is_some_and(|(offset, _)| offset > 0) {
            return Some(Upper::Tail);
        }
        let header = self.payload.first_chunk::<8>()?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        match self.protocol {
            6 => Some(Upper::Tcp { from: word(0), to: word(2), segment: Segment::default() }),
            17 => Some(Upper::Udp { from: word(0), to: word(2), checksum: word(6) }),
            _ if self.is_icmp() => self.icmp().filter(|upper| !matches!(upper, Upper::Error { .. })),
            _ => Some(Upper::Other),
        }
    }

    fn header(&self, partial: bool) -> Option<Upper> {
        let bytes = &self.payload;
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        match self.protocol {
            6 => {
                let offset = usize::from(*bytes.get(12)? >> 4) * 4;
                let whole = bytes.len() >= 20 && offset >= 20 && offset <= bytes.len();
                whole.then(|| {
                    let long = |at: usize| u32::from(word(at)) << 16 | u32::from(word(at + 2));
                    let segment = Segment { flags: bytes[13], sequence: long(4), acknowledgment: long(8) };
                    Upper::Tcp { from: word(0), to: word(2), segment }
                })
            }
            17 => {
                let len = usize::from(u16::from_be_bytes([*bytes.get(4)?, *bytes.get(5)?]));
                let whole = bytes.len() >= 8 && len >= 8 && (partial || len <= bytes.len());
                whole.then(|| Upper::Udp { from: word(0), to: word(2), checksum: word(6) })
            }
            _ if self.is_icmp() => self.icmp(),
            _ => Some(Upper::Other),
        }
    }

    fn icmp(&self) -> Option<Upper> {
        let header = self.payload.first_chunk::<8>()?;
        let id = u16::from_be_bytes([header[4], header[5]]);
        let (kind, code) = (header[0], header[1]);
        Some(match (self.is_v6(), kind) {
            (true, 128) | (false, 8) => Upper::Echo { id, reply: false },
            (true, 129) | (false, 0) => Upper::Echo { id, reply: true },
            (true, 1..=4) | (false, 3 | 4 | 5 | 11 | 12) => Upper::Error { kind, code },
            _ => Upper::OtherIcmp,
        })
    }
}

/// Reads a packet as it arrives.
pub(crate) fn read(bytes: &[u8]) -> Result<View, Stop> {
    match bytes.first().map(|first| first >> 4) {
        Some(6) => read_v6(bytes, false),
        Some(4) => read_v4(bytes, false),
        _ => Err(DropReason::NotIp.into()),
    }
}

/// Reads the packet inside an ICMP error of that version.
pub(crate) fn read_embedded(bytes: &[u8], six: bool) -> Option<View> {
    match (six, bytes.first()? >> 4) {
        (true, 6) => read_v6(bytes, true).ok(),
        (false, 4) => read_v4(bytes, true).ok(),
        _ => None,
    }
}

fn read_v4(bytes: &[u8], embedded: bool) -> Result<View, Stop> {
    let malformed = Stop::from(DropReason::Malformed);
    let header = bytes.first_chunk::<20>().ok_or(malformed)?;
    let headers = usize::from(header[0] & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if headers < 20 {
        return Err(malformed);
    }
    let whole = bytes.get(..headers).ok_or(malformed)?;
    if !embedded {
        if sum(&[whole]) != 0xffff {
            return Err(DropReason::BadHeaderChecksum.into());
        }
        source_route(&whole[20..])?;
    }
    if total < headers || (!embedded && total > bytes.len()) {
        return Err(malformed);
    }
    let place = u16::from_be_bytes([header[6], header[7]]);
    let fragment = (usize::from(place & 0x1fff) * 8, place & 0x2000 != 0);
    let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    Ok(View {
        ends: Ends::new(address(12), address(16)),
        class: header[1],
        hops: header[8],
        dont_fragment: place & 0x4000 != 0,
        identification: u16::from_be_bytes([header[4], header[5]]).into(),
        fragment_header: false,
        fragment: Some(fragment).filter(|&(offset, more)| offset > 0 || more),
        protocol: header[9],
        headers,
        payload: bytes[headers..total.min(bytes.len())].to_vec(),
        payload_len: total - headers,
    })
}

/// RFC 7915 §4.1: an unexpired source route is refused, other options are ignored.
fn source_route(mut options: &[u8]) -> Result<(), Stop> {
    while let Some(&kind) = options.first() {
        if kind == 0 {
            break;
        }
        let len = if kind == 1 { 1 } else { usize::from(*options.get(1).ok_or(DropReason::Malformed)?) };
        if (kind > 1 && len < 2) || len > options.len() {
            return Err(DropReason::Malformed.into());
        }
        if kind == 131 || kind == 137 {
            let pointer = options[..len].get(2).copied().filter(|pointer| *pointer >= 4);
            if usize::from(pointer.ok_or(DropReason::Malformed)?) <= len {
                return Err(DropReason::SourceRoute.into());
            }
        }
        options = &options[len..];
    }
    Ok(())
}

fn read_v6(bytes: &[u8], embedded: bool) -> Result<View, Stop> {
    let malformed = Stop::from(DropReason::Malformed);
    let header = bytes.first_chunk::<40>().ok_or(malformed)?;
    let end = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if !embedded && end > bytes.len() {
        return Err(malformed);
    }
    let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&header[at..at + 16]).unwrap());
    let mut view = View {
        ends: Ends::new(address(8), address(24)),
        class: header[0] << 4 | header[1] >> 4,
        hops: header[7],
        dont_fragment: true,
        identification: 0,
        fragment_header: false,
        fragment: None,
        protocol: header[6],
        headers: 40,
        payload: Vec::new(),
        payload_len: 0,
    };
    let there = end.min(bytes.len());
    while let 0 | 43 | 44 | 60 = view.protocol {
        let rest = &bytes[view.headers..there];
        if rest.len() < 8 || (view.protocol == 0 && view.headers > 40) {
            return Err(malformed);
        }
        if view.protocol == 44 {
            let place = u16::from_be_bytes([rest[2], rest[3]]);
            view.fragment_header = true;
            view.identification = u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]);
            let fragment = (usize::from(place & 0xfff8), place & 1 != 0);
            view.fragment = Some(fragment).filter(|&(offset, more)| offset > 0 || more);
            view.headers += 8;
            view.protocol = rest[0];
            break;
        }
        let len = (usize::from(rest[1]) + 1) * 8;
        if len > rest.len() {
            return Err(malformed);
        }
        if view.protocol == 43 && rest[3] > 0 && !embedded {
            return Err(Stop { pointer: view.headers + 3, ..DropReason::RoutingHeader.into() });
        }
        view.protocol = rest[0];
        view.headers += len;
    }
    view.payload = bytes[view.headers..there].to_vec();
    view.payload_len = end - view.headers;
    Ok(view)
}

/// What a checksum field becomes when `old` makes place for `new` in what it covers: arithmetic modulo 0xffff, in which
/// a checksum that was wrong stays as wrong. Zero stands for both representations of zero.
pub(crate) fn replaced(field: u16, old: u32, new: u32) -> u16 {
    let value = i64::from(field) + i64::from(old) - i64::from(new);
    u16::try_from(value.rem_euclid(0xffff)).unwrap()
}

/// The sum of a pseudo-header.
pub(crate) fn pseudo(ends: Ends, protocol: u8, len: usize) -> u32 {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let len = u32::try_from(len).unwrap().to_be_bytes();
    sum(&[&octets(ends.source), &octets(ends.destination), &len, &[0, protocol]])
}
