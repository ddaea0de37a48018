//! ICMP errors about packets that were translated, cut, changed and extended in any way.

use std::net::{Ipv4Addr, Ipv6Addr};

use nat64_core::Verdict;

use super::input::Input;
use super::lab::{Lab, POOL, SERVERS, host, policy, six};
use super::wire;

/// The first byte is the policy, the second what the error is about; the rest is the error.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut lab = Lab::new(policy(input.byte()));
    open(&mut lab, input.byte());
    let error = about(&lab.last, &mut input);
    if let Verdict::Translated(_) | Verdict::Hairpinned = lab.send(&error) {
        let most = longest(&lab.last);
        assert!(lab.last.len() <= most, "{} bytes", lab.last.len());
    }
    lab.finish();
}

/// How long a packet may be, if it is an ICMP error (RFC 4443 §2.4 (c), RFC 1812 §4.3.2.3).
fn longest(packet: &[u8]) -> usize {
    match (packet[0] >> 4, packet.get(6), packet.get(9)) {
        (6, Some(58), _) if packet[40] < 128 => 1280,
        (4, _, Some(1)) if matches!(packet[20], 3 | 4 | 5 | 11 | 12) => 576,
        _ => usize::MAX,
    }
}

/// Opens a session, from which `lab.last` is one packet, translated one way or the other.
fn open(lab: &mut Lab, kind: u8) {
    let data = vec![3; usize::from(kind >> 4) * 90];
    let (protocol, transport) = match kind & 3 {
        0 => (6, [&[0x13, 0x88, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0][..], &data].concat()),
        1 => {
            let len = u16::try_from(8 + data.len()).unwrap_or(8).to_be_bytes();
            (17, [&[0x13, 0x88, 0, 80, len[0], len[1], 0, 0][..], &data].concat())
        }
        _ => (58, [&[128, 0, 0, 0, 0x13, 0x88, 0, 1][..], &data].concat()),
    };
    let mut packet = wire::v6(host(0), six(SERVERS[0]), protocol, 64, &transport);
    wire::set_transport_checksum(&mut packet);
    let _ = lab.send(&packet);
    if kind & 4 != 0 {
        let port = lab.last.get(if protocol == 58 { 24..26 } else { 20..22 }).unwrap_or(&[0, 0]).to_vec();
        let mut transport = transport;
        match protocol {
            58 => {
                (transport[0], transport[4], transport[5]) = (0, port[0], port[1]);
            }
            _ => transport[..4].copy_from_slice(&[0, 80, port[0], port[1]]),
        }
        let mut answer = wire::v4(SERVERS[0], POOL, if protocol == 58 { 1 } else { protocol }, 0x4000, 9, &transport);
        wire::set_transport_checksum(&mut answer);
        let _ = lab.send(&answer);
    }
}

/// An ICMP error about a packet, to its sender.
pub(super) fn about(last: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    let six = last.first().is_some_and(|first| first >> 4 == 6);
    let mut quoted = last.to_vec();
    for _ in 0..input.byte() % 4 {
        let at = usize::from(input.byte());
        let value = input.byte();
        if let Some(place) = quoted.get_mut(at) {
            *place = value;
        }
    }
    let cut = usize::from(input.byte()) * 8;
    if cut > 0 {
        quoted.truncate(cut);
    }
    let len = usize::from(input.byte());
    quoted.extend_from_slice(input.take(len));
    let header = [input.byte(), input.byte(), 0, 0, input.byte(), input.byte(), input.byte(), input.byte()];
    let message = [&header[..], &quoted].concat();
    let mut packet = if six {
        let sender = address(last, 8).unwrap_or_else(|| host(0));
        let router = if input.byte() & 1 == 0 { host(3) } else { address(last, 24).unwrap_or_else(|| host(1)) };
        wire::v6(router, sender, 58, 64, &message)
    } else {
        let sender = last.get(12..16).and_then(|octets| octets.first_chunk::<4>()).copied().unwrap_or_default();
        let place = if input.byte() & 1 == 0 { 0 } else { 0x4000 };
        wire::v4(SERVERS[1], Ipv4Addr::from(sender), 1, place, 77, &message)
    };
    wire::set_transport_checksum(&mut packet);
    packet
}

fn address(packet: &[u8], at: usize) -> Option<Ipv6Addr> {
    packet.get(at..)?.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets))
}
