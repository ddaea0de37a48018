//! Headers and transports (RFC 7915 §4.1, §4.5, §5.1, §5.5).

use nat64_core::Policy;
use nat64_core::policy::{FlowLabel, HeaderPolicy, UdpZeroChecksum};

use super::expected::Expected;
use super::packet::{Upper, View, pseudo, replaced};
use crate::support::build::{Ends, Ip, SYN, ip_packet};
use crate::support::check::{pseudo_sum, sum};

/// Addresses and ports that a packet gets; the port of an echo is its identifier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct To {
    pub(crate) ends: Ends,
    /// Source and destination, in the order of the packet.
    pub(crate) ports: (u16, u16),
    pub(crate) id: u16,
}

/// A packet in the other IP version.
pub(crate) fn translated(policy: &Policy, view: &View, upper: Upper, to: &To) -> Expected {
    let six = to.ends.source.is_ipv6();
    let ip = Ip { hop_limit: view.hops.saturating_sub(1), ..header(policy, view, six) };
    let mut payload = view.payload.clone();
    clamp(policy, upper, &mut payload);
    let checksum = transport(&policy.header, view, upper, to, &mut payload);
    let bytes = ip_packet(to.ends, &ip, protocol(view, six), &payload);
    let headers = bytes.len() - payload.len();
    Expected {
        bytes,
        free_identification: !six && !view.fragment_header,
        hashed_label: six && policy.header.flow_label == FlowLabel::Hash,
        checksums: checksum.into_iter().map(|at| headers + at).collect(),
    }
}

/// The IP header of a packet in the other version, its hop limit not decremented.
pub(crate) fn header(policy: &Policy, view: &View, six: bool) -> Ip {
    let fragment = view.fragment.or_else(|| view.fragment_header.then_some((0, false)));
    Ip {
        hop_limit: view.hops,
        traffic_class: class(&policy.header, view, six),
        identification: view.identification,
        // RFC 7915 §5.1: packets of 1260 bytes or less may be fragmented, and so may what came in fragments.
        dont_fragment: !view.fragment_header && 20 + view.payload_len > 1260,
        fragment: if six { view.fragment } else { fragment },
        ..Ip::default()
    }
}

/// The traffic class or TOS octet in the other version.
pub(crate) const fn class(policy: &HeaderPolicy, view: &View, six: bool) -> u8 {
    match (policy.copy_traffic_class, six) {
        (true, _) => view.class,
        (false, true) => 0,
        (false, false) => policy.tos,
    }
}

/// The protocol number in the other version.
pub(crate) fn protocol(view: &View, six: bool) -> u8 {
    match (six, view.protocol) {
        (true, 1) => 58,
        (false, 58) => 1,
        (_, other) => other,
    }
}

/// Gives a transport header its new ports, type and checksum. Returns where the checksum is, if one is updated.
pub(crate) fn transport(
    policy: &HeaderPolicy,
    view: &View,
    upper: Upper,
    to: &To,
    payload: &mut [u8],
) -> Option<usize> {
    let ports = u32::from(to.ports.0) << 16 | u32::from(to.ports.1);
    let addresses = (pseudo(view.ends, 0, 0), pseudo(to.ends, 0, 0));
    match upper {
        Upper::Tcp { .. } => {
            let old = sum(&[&payload[0..4]]) + addresses.0;
            payload[0..4].copy_from_slice(&ports.to_be_bytes());
            let new = sum(&[&payload[0..4]]) + addresses.1;
            update(payload, 16, old, new)
        }
        Upper::Udp { checksum: 0, .. } if policy.udp_zero_checksum == UdpZeroChecksum::Forward => {
            payload[0..4].copy_from_slice(&ports.to_be_bytes());
            None
        }
        Upper::Udp { checksum: 0, .. } if !view.is_v6() => {
            payload[0..4].copy_from_slice(&ports.to_be_bytes());
            let len = usize::from(u16::from_be_bytes([payload[4], payload[5]]));
            let right = u16::try_from(0xffff - pseudo_sum(to.ends, 17, payload.get(..len)?)).unwrap();
            payload[6..8].copy_from_slice(&if right == 0 { 0xffff } else { right }.to_be_bytes());
            None
        }
        Upper::Udp { .. } => {
            let old = sum(&[&payload[0..4]]) + addresses.0;
            payload[0..4].copy_from_slice(&ports.to_be_bytes());
            let new = sum(&[&payload[0..4]]) + addresses.1;
            let at = update(payload, 6, old, new);
            if payload[6..8] == [0, 0] {
                payload[6..8].fill(0xff);
            }
            at
        }
        Upper::Echo { reply, .. } => {
            let with_pseudo = |ends: Ends| {
                let six = ends.source.is_ipv6();
                if six { pseudo(ends, 58, view.payload_len) } else { 0 }
            };
            let old = sum(&[&payload[0..2], &payload[4..6]]) + with_pseudo(view.ends);
            let kinds = if to.ends.source.is_ipv6() { [128, 129] } else { [8, 0] };
            payload[0] = kinds[usize::from(reply)];
            payload[4..6].copy_from_slice(&to.id.to_be_bytes());
            let new = sum(&[&payload[0..2], &payload[4..6]]) + with_pseudo(to.ends);
            update(payload, 2, old, new)
        }
        Upper::Tail | Upper::Error { .. } | Upper::OtherIcmp | Upper::Other => None,
    }
}

/// Lowers the MSS option of a SYN, if it is the first option.
fn clamp(policy: &Policy, upper: Upper, payload: &mut [u8]) {
    let (Upper::Tcp { segment, .. }, Some(mtu)) = (upper, policy.mtu.clamp_mss_to_ipv6_mtu) else { return };
    let most = mtu - 60;
    let options = usize::from(payload[12] >> 4) * 4 > 20;
    if segment.flags & SYN == 0 || !options || payload[20..22] != [2, 4] {
        return;
    }
    let mss = u16::from_be_bytes([payload[22], payload[23]]);
    if mss > most {
        payload[22..24].copy_from_slice(&most.to_be_bytes());
        update(payload, 16, mss.into(), most.into());
    }
}

fn update(payload: &mut [u8], at: usize, old: u32, new: u32) -> Option<usize> {
    let field = payload.get_mut(at..at + 2)?;
    let updated = replaced(u16::from_be_bytes([field[0], field[1]]), old, new);
    field.copy_from_slice(&updated.to_be_bytes());
    Some(at)
}

/// Splits an IPv6 packet that IPv4 might have fragmented into packets of `max` bytes (RFC 7915 §4.1).
pub(crate) fn split(expected: &Expected, identification: u32, max: usize) -> Option<Vec<Expected>> {
    let packet = &expected.bytes;
    if packet.len() <= max {
        return None;
    }
    let (mut at, mut more_after, mut identification, mut protocol, mut data) =
        (0, false, identification, packet[6], &packet[40..]);
    if protocol == 44 {
        let place = u16::from_be_bytes([data[2], data[3]]);
        (at, more_after) = (usize::from(place & 0xfff8), place & 1 != 0);
        identification = u32::from_be_bytes([data[4], data[5], data[6], data[7]]);
        protocol = data[0];
        data = &data[8..];
    }
    let step = (max - 48) / 8 * 8;
    let pieces = data.chunks(step).enumerate().map(|(index, chunk)| {
        let last = (index + 1) * step >= data.len();
        let ip = Ip {
            hop_limit: packet[7],
            traffic_class: packet[0] << 4 | packet[1] >> 4,
            identification,
            fragment: Some((at + index * step, more_after || !last)),
            ..Ip::default()
        };
        let checksums = if index == 0 { expected.checksums.clone() } else { Vec::new() };
        let moved = if packet[6] == 44 { 0 } else { 8 };
        Expected {
            bytes: ip_packet(crate::support::check::ends_of(packet), &ip, protocol, chunk),
            free_identification: false,
            hashed_label: expected.hashed_label,
            checksums: checksums.into_iter().map(|at| at + moved).collect(),
        }
    });
    Some(pieces.collect())
}
