//! ICMP errors, translated (RFC 7915 §4.2, §4.3, §5.2, §5.3; RFC 4884) and of the translator's own.

use std::net::{IpAddr, Ipv6Addr};

use nat64_core::policy::FlowLabel;
use nat64_core::{DropReason, LinkMtus, Policy};

use super::expected::Expected;
use super::packet::{Upper, View, pseudo};
use super::translate::{To, class, header, protocol, transport};
use crate::support::build::{ACK, Body, Ends, FIN, Ip, RST, SYN, ip_packet, packet};
use crate::support::check::sum;

/// The packet in error that an ICMP error carries, and the extension structure behind it (RFC 4884 §4).
pub(crate) fn original(view: &View) -> (&[u8], Option<&[u8]>) {
    let message = &view.payload;
    let length = match (view.is_v6(), message[0]) {
        (true, 1 | 3) => usize::from(message[4]) * 8,
        (false, 3 | 11 | 12) => usize::from(message[5]) * 4,
        _ => 0,
    };
    let body = &message[8..];
    if (128..=body.len()).contains(&length) { (&body[..length], Some(&body[length..])) } else { (body, None) }
}

/// An ICMP error in the other version. `inner` is the packet in error and `to` what it becomes, `ends` the error's own
/// addresses.
pub(crate) fn translated(
    policy: &Policy,
    links: LinkMtus,
    view: &View,
    ends: Ends,
    (inner, to): (&View, &To),
) -> Result<Expected, DropReason> {
    let six = ends.source.is_ipv6();
    let rest = u32::from_be_bytes([view.payload[4], view.payload[5], view.payload[6], view.payload[7]]);
    let (kind, code) = (view.payload[0], view.payload[1]);
    let translated =
        if six { to_icmpv6(kind, code, rest, inner, links) } else { to_icmp(kind, code, rest, inner, links) };
    let (kind, code, rest) = translated.ok_or(DropReason::UntranslatableIcmp)?;
    let (datagram, extension) = original(view);
    let named = policy.header.name_routers && !six && view.ends.source != inner.ends.destination;
    let router = named.then(|| interface_information(view.source6()));
    let extension = extension.or(router.as_deref());
    let upper = inner.embedded_upper().ok_or(DropReason::BadEmbeddedPacket)?;
    let mut payload = datagram[inner.headers..].to_vec();
    if !matches!(upper, Upper::Udp { checksum: 0, .. }) {
        transport(&policy.header, inner, upper, to, &mut payload);
    } else {
        payload[0..2].copy_from_slice(&to.ports.0.to_be_bytes());
        payload[2..4].copy_from_slice(&to.ports.1.to_be_bytes());
    }
    // Its identification in IPv4 is not known any more, and its length is what it was before it was cut.
    let id = if inner.is_v6() && !inner.fragment_header { 0 } else { inner.identification };
    let ip = Ip { identification: id, ..header(policy, inner, six) };
    let mut quoted = ip_packet(to.ends, &ip, protocol(inner, six), &payload);
    let headers = quoted.len() - payload.len();
    set_length(&mut quoted, headers + inner.payload_len);
    if extension.is_some() {
        quoted.truncate(headers + inner.payload_len);
    }
    let mut message = [&[kind, code, 0, 0][..], &rest.to_be_bytes()].concat();
    append(&mut message, six, &quoted, extension, headers);
    // As wrong as it was.
    let own = |ends: Ends, len| if ends.source.is_ipv6() { pseudo(ends, 58, len) } else { 0 };
    let wrong = own(view.ends, view.payload.len()) + sum(&[&view.payload]);
    let right = own(ends, message.len()) + sum(&[&message]);
    let checksum = (i64::from(wrong) - i64::from(right)).rem_euclid(0xffff);
    message[2..4].copy_from_slice(&u16::try_from(checksum).unwrap().to_be_bytes());
    let class = class(&policy.header, view, six);
    let outer = Ip { hop_limit: view.hops - 1, traffic_class: class, ..Ip::default() };
    let front = if six { 40 } else { 20 };
    Ok(Expected {
        bytes: ip_packet(ends, &outer, if six { 58 } else { 1 }, &message),
        free_identification: !six,
        hashed_label: six && policy.header.flow_label == FlowLabel::Hash,
        checksums: checksum_places(front, headers, upper),
    })
}

/// RFC 5837: an extension with the address of a router that IPv4 cannot name (RFC 6791 §4).
fn interface_information(router: Ipv6Addr) -> Vec<u8> {
    let mut bytes = [&[0x20, 0, 0, 0, 0, 24, 2, 4, 0, 2, 0, 0][..], &router.octets()].concat();
    let checksum = u16::try_from(0xffff - sum(&[&bytes])).unwrap();
    bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// The error's own checksum, and that of the transport in error.
fn checksum_places(front: usize, headers: usize, upper: Upper) -> Vec<usize> {
    let inner = match upper {
        Upper::Tcp { .. } => Some(16),
        Upper::Udp { checksum: 1.., .. } => Some(6),
        Upper::Echo { .. } => Some(2),
        Upper::Udp { .. } | Upper::Tail | Upper::Error { .. } | Upper::OtherIcmp | Upper::Other => None,
    };
    [Some(front + 2), inner.map(|at| front + 8 + headers + at)].into_iter().flatten().collect()
}

/// What an error may hold of the packet and of the extensions: 576 bytes in IPv4, 1280 in IPv6.
fn append(message: &mut Vec<u8>, six: bool, quoted: &[u8], extension: Option<&[u8]>, headers: usize) {
    let (room, unit, attribute) = if six { (1280 - 48, 8, 4) } else { (576 - 28, 4, 5) };
    let extensible = if six { matches!(message[0], 1 | 3) } else { matches!(message[0], 3 | 11 | 12) };
    match extension.filter(|_| extensible) {
        None => message.extend(quoted.iter().take(room)),
        Some(extension) => {
            let most = (room.saturating_sub(extension.len()) / unit * unit).max(128).max(headers);
            let mut datagram: Vec<u8> = quoted.iter().copied().take(most).collect();
            datagram.resize(datagram.len().next_multiple_of(unit).max(128), 0);
            message[attribute] = u8::try_from(datagram.len() / unit).unwrap();
            message.extend(&datagram);
            message.extend(extension.iter().take(room - datagram.len()));
        }
    }
}

/// Sets a packet's length fields to those of a packet that was cut.
fn set_length(packet: &mut [u8], len: usize) {
    if packet[0] >> 4 == 6 {
        packet[4..6].copy_from_slice(&u16::try_from(len - 40).unwrap_or(u16::MAX).to_be_bytes());
    } else {
        packet[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        super::expected::set_header_checksum(packet);
    }
}

/// RFC 7915 §4.2.
fn to_icmpv6(kind: u8, code: u8, rest: u32, inner: &View, links: LinkMtus) -> Option<(u8, u8, u32)> {
    Some(match (kind, code) {
        (3, 0 | 1 | 5 | 6 | 7 | 8 | 11 | 12) => (1, 0, 0),
        (3, 2) => (4, 1, 6),
        (3, 3) => (1, 4, 0),
        (3, 4) => {
            let told = rest & 0xffff;
            let len = inner.headers + inner.payload_len;
            // RFC 1191 §7.1, where the router does not say.
            let plateaus = [65_535, 32_000, 17_914, 8166, 4352, 2002, 1492, 0];
            let plateau = plateaus.into_iter().find(|plateau| *plateau < len).unwrap_or_default();
            let mtu = if told == 0 { u32::try_from(plateau).unwrap() } else { told };
            let links = [links.ipv6, links.ipv4.map(|mtu| mtu + 20)];
            let least = links.into_iter().flatten().fold(mtu + 20, u32::min);
            (2, 0, least.max(1280))
        }
        (3, 9 | 10 | 13 | 15) => (1, 1, 0),
        (11, code) => (3, code, 0),
        (12, 0 | 2) => {
            let pointer = match rest >> 24 {
                0 => 0,
                1 => 1,
                2 | 3 => 4,
                8 => 7,
                9 => 6,
                12..=15 => 8,
                16..=19 => 24,
                _ => return None,
            };
            (4, 0, pointer)
        }
        _ => return None,
    })
}

/// RFC 7915 §5.2.
fn to_icmp(kind: u8, code: u8, rest: u32, inner: &View, links: LinkMtus) -> Option<(u8, u8, u32)> {
    Some(match (kind, code) {
        (1, 0 | 2 | 3) => (3, 1, 0),
        (1, 1) => (3, 10, 0),
        (1, 4) => (3, 3, 0),
        (2, _) => {
            let headers = if inner.fragment_header { 28 } else { 20 };
            let links = [links.ipv4, links.ipv6.map(|mtu| mtu - headers)];
            let least = links.into_iter().flatten().fold(rest.saturating_sub(headers), u32::min);
            (3, 4, least.clamp(68, 65_535))
        }
        (3, code) => (11, code, 0),
        (4, 0) => {
            let pointer = match rest {
                0 => 0,
                1 => 1,
                4 | 5 => 2,
                6 => 9,
                7 => 8,
                8..=23 => 12,
                24..=39 => 16,
                _ => return None,
            };
            (12, 0, pointer << 24)
        }
        (4, 1) => (3, 2, 0),
        _ => return None,
    })
}

/// Type, code and second word of what the sender of a dropped packet is told, if anything (RFC 7915 §4.4 and §5.4,
/// RFC 6146 §3.4 and §3.5).
pub(crate) fn refusal(six: bool, reason: DropReason, pointer: usize, protocol: u8) -> Option<(u8, u8, u32)> {
    let pointer = u32::try_from(pointer).unwrap();
    match (reason, six) {
        (DropReason::HopLimitExceeded, true) => Some((3, 0, 0)),
        (DropReason::HopLimitExceeded, false) => Some((11, 0, 0)),
        (DropReason::UnsupportedProtocol, true) => Some((1, 4, 0)),
        // IGMP is of the link alone (RFC 7915 §4.2).
        (DropReason::UnsupportedProtocol, false) if protocol == 2 => None,
        (DropReason::UnsupportedProtocol, false) => Some((3, 2, 0)),
        // The longest packet that IPv4 can carry.
        (DropReason::TooBig, true) => Some((2, 0, 65_555)),
        (DropReason::RoutingHeader, _) => Some((4, 0, pointer)),
        (DropReason::SourceRoute, _) => Some((3, 5, 0)),
        (
            DropReason::WellKnownPrefix
            | DropReason::IllegalDestination
            | DropReason::NotOurPrefix
            | DropReason::AdministrativelyProhibited
            | DropReason::Filtered,
            _,
        ) => Some(if six { (1, 1, 0) } else { (3, 13, 0) }),
        (DropReason::PoolExhausted | DropReason::TableFull | DropReason::SubscriberLimit, true) => Some((1, 3, 0)),
        (DropReason::NoMapping, false) if protocol == 17 => Some((3, 3, 0)),
        (DropReason::NoMapping, false) if protocol == 1 => Some((3, 1, 0)),
        _ => None,
    }
}

/// Whether a packet may be answered by an error (RFC 4443 §2.4 (e), RFC 1812 §4.3.2.7).
fn may_answer(bytes: &[u8]) -> bool {
    let ends = crate::support::check::ends_of(bytes);
    let group = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets()[0] >= 224,
        IpAddr::V6(address) => address.is_multicast(),
    };
    let nobody = match ends.source {
        IpAddr::V4(address) => matches!(address.octets()[0], 0 | 127),
        IpAddr::V6(address) => address.is_unspecified() || address.is_loopback(),
    };
    let six = ends.source.is_ipv6();
    let Some(view) = super::packet::read_embedded(bytes, six) else { return false };
    let first = view.fragment.is_none_or(|(offset, _)| offset == 0);
    let icmp = view.protocol == if six { 58 } else { 1 };
    let kind = view.payload.first().copied();
    let error = match kind.filter(|_| first) {
        None => icmp,
        Some(kind) if six => icmp && (kind < 128 || kind == 137),
        Some(kind) => icmp && matches!(kind, 3 | 4 | 5 | 11 | 12),
    };
    !(group(ends.source) || group(ends.destination) || nobody || error || (!six && !first))
}

/// The error that tells the sender of `bytes`, if there is to be one.
pub(crate) fn answer(policy: &Policy, bytes: &[u8], refusal: (u8, u8, u32)) -> Option<Expected> {
    let six = bytes.first()? >> 4 == 6;
    if !policy.errors.send || bytes.len() < if six { 40 } else { 20 } || !may_answer(bytes) {
        return None;
    }
    let asked = crate::support::check::ends_of(bytes);
    let own = if six { policy.errors.source6.map(IpAddr::V6) } else { policy.errors.source4.map(IpAddr::V4) };
    let len =
        if six { 40 + u16::from_be_bytes([bytes[4], bytes[5]]) } else { u16::from_be_bytes([bytes[2], bytes[3]]) };
    let most = if six { 1280 - 48 } else { 576 - 28 };
    let quoted = &bytes[..bytes.len().min(len.into()).min(most)];
    let ends = Ends { source: own.unwrap_or(asked.destination), destination: asked.source };
    let ip = Ip { traffic_class: if six { 0 } else { 0xc0 }, ..Ip::default() };
    let (kind, code, rest) = refusal;
    let error = Body::Icmp { kind, code, rest, data: quoted.to_vec() };
    let bytes = packet(ends, &ip, &error);
    Some(Expected { free_identification: !six, ..Expected::exactly(bytes) })
}

/// The RST for an IPv6 segment that belongs to no session (RFC 9293 §3.10.7.1).
pub(crate) fn reset(view: &View) -> Option<Expected> {
    let Some(Upper::Tcp { from, to, segment }) = view.upper().filter(|_| view.fragment.is_none()) else { return None };
    let flags = segment.flags;
    if flags & RST != 0 {
        return None;
    }
    let data = view.payload.len() - usize::from(view.payload[12] >> 4) * 4;
    let controls = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let (sequence, acknowledgment, flags) = if flags & ACK != 0 {
        (segment.acknowledgment, 0, RST)
    } else {
        (0, segment.sequence.wrapping_add(u32::try_from(data).unwrap()).wrapping_add(controls), RST | ACK)
    };
    let ends = Ends { source: view.ends.destination, destination: view.ends.source };
    let body = Body::Tcp { from: to, to: from, flags, sequence, acknowledgment, mss: None, data: Vec::new() };
    let mut bytes = packet(ends, &Ip::default(), &body);
    // Its window is zero: nothing is to be sent.
    bytes[54..56].fill(0);
    Some(Expected { bytes: with_right_tcp_checksum(ends, bytes), ..Expected::exactly(Vec::new()) })
}

/// The probe for a silent connection (RFC 6146 §3.5.2.2, ESTABLISHED).
pub(crate) fn probe(ends: Ends, from: u16, to: u16) -> Expected {
    let body = Body::Tcp { from, to, flags: ACK, sequence: 0, acknowledgment: 0, mss: None, data: Vec::new() };
    let mut bytes = packet(ends, &Ip::default(), &body);
    bytes[54..56].fill(0);
    Expected::exactly(with_right_tcp_checksum(ends, bytes))
}

fn with_right_tcp_checksum(ends: Ends, mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[56..58].fill(0);
    let checksum = 0xffff - crate::support::check::pseudo_sum(ends, 6, &bytes[40..]);
    bytes[56..58].copy_from_slice(&u16::try_from(checksum).unwrap().to_be_bytes());
    bytes
}
