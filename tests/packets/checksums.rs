//! RFC 7915 §4.5 and §5.5, RFC 6146 §3.4: transport checksums.

use crate::bench::POOL;
use crate::case::{Case, PORT, SERVICE, SYN, SYN_ACK};
use crate::groups::{OTHERWISE, STANDARD};
use crate::rows::rows;
use crate::whole::whole6;
use crate::wire::{ICMP, Icmp, TCP, UDP, V4, V6, pattern, sum};

/// How far a sum is from that of a right checksum; the two representations of zero are the same.
fn wrongness(sum: u16) -> u16 {
    sum % 0xffff
}

/// Changes the checksum of a packet of that protocol by some bits.
fn damage(transport: &mut [u8], protocol: u8, bits: u16) {
    let at = match protocol {
        UDP => 6,
        TCP => 16,
        _ => 2,
    };
    let right = u16::from_be_bytes([transport[at], transport[at + 1]]);
    transport[at..at + 2].copy_from_slice(&(right ^ bits).to_be_bytes());
}

fn from_client(case: &Case, protocol: u8, data: &[u8]) -> V6 {
    match protocol {
        UDP => case.client_udp(data),
        TCP => V6::tcp((case.client(), PORT), case.service6(), SYN, data),
        _ => case.client_echo(data),
    }
}

fn from_server(case: &mut Case, protocol: u8, data: &[u8]) -> V4 {
    match protocol {
        UDP => {
            let port = case.open_udp();
            case.server_udp(port, data)
        }
        TCP => {
            let port = case.pass6(&case.client_tcp(SYN)).ports().0;
            V4::tcp((case.server(), SERVICE), (POOL, port), SYN_ACK, data)
        }
        _ => {
            let identifier = case.open_echo();
            V4::icmp(case.server(), POOL, &Icmp::echo(0, identifier, 1, data))
        }
    }
}

rows! { stays_wrong_from_ipv6:
    a_wrong_udp_checksum_from_ipv6_arrives_as_wrong_as_it_was(UDP);
    a_wrong_tcp_checksum_from_ipv6_arrives_as_wrong_as_it_was(TCP);
    a_wrong_icmp_checksum_from_ipv6_arrives_as_wrong_as_it_was(ICMP);
}

#[track_caller]
fn stays_wrong_from_ipv6(protocol: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    for bits in [1, 0x0100, 0x8000, 0x1234] {
        let mut sent = from_client(&case, protocol, &pattern(21));
        damage(&mut sent.payload, protocol, bits);
        let got = case.pass6(&sent);
        assert_ne!(wrongness(got.transport_sum()), 0);
        assert_eq!(wrongness(got.transport_sum()), wrongness(sent.transport_sum()), "{bits:#x}");
    }
}

rows! { stays_wrong_from_ipv4:
    a_wrong_udp_checksum_from_ipv4_arrives_as_wrong_as_it_was(UDP);
    a_wrong_tcp_checksum_from_ipv4_arrives_as_wrong_as_it_was(TCP);
    a_wrong_icmp_checksum_from_ipv4_arrives_as_wrong_as_it_was(ICMP);
}

#[track_caller]
fn stays_wrong_from_ipv4(protocol: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    for bits in [1, 0x0100, 0x8000, 0x1234] {
        let mut sent = from_server(&mut case, protocol, &pattern(21));
        damage(&mut sent.payload, protocol, bits);
        let got = case.pass4(&sent);
        assert_ne!(wrongness(got.transport_sum()), 0);
        assert_eq!(wrongness(got.transport_sum()), wrongness(sent.transport_sum()), "{bits:#x}");
    }
}

rows! { stays_right:
    a_right_udp_checksum_arrives_right_whatever_the_data(UDP);
    a_right_tcp_checksum_arrives_right_whatever_the_data(TCP);
    a_right_icmp_checksum_arrives_right_whatever_the_data(ICMP);
}

#[track_caller]
fn stays_right(protocol: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    for len in [0, 1, 2, 3, 64, 255, 256, 1199] {
        let got = case.pass6(&from_client(&case, protocol, &pattern(len)));
        let sent = from_server(&mut case, protocol, &pattern(len));
        let back = case.pass4(&sent);
        if protocol == ICMP {
            assert_eq!((got.read_icmp().body, back.read_icmp().body), (pattern(len), pattern(len)));
        } else {
            assert_eq!((got.data(), back.data()), (&pattern(len)[..], &pattern(len)[..]));
        }
    }
}

#[test]
fn a_udp_checksum_never_becomes_zero() {
    let Some(mut case) = STANDARD.case() else { return };
    // A word of data that makes the sum of all others in IPv4 what the checksum then is the complement of.
    let probe = case.pass6(&case.client_udp(&[0, 0]));
    let word = u16::from_be_bytes([probe.payload[6], probe.payload[7]]);
    let got = case.pass6(&case.client_udp(&word.to_be_bytes()));
    assert_eq!((got.data(), &got.payload[6..8]), (&word.to_be_bytes()[..], &[0xff, 0xff][..]));
}

fn without_checksum(mut packet: V4) -> V4 {
    packet.payload[6..8].fill(0);
    packet
}

#[test]
fn a_udp_datagram_without_checksum_is_given_one() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    for len in [0, 1, 33, 1232] {
        let got = case.pass4(&without_checksum(case.server_udp(port, &pattern(len))));
        assert_eq!((got.next(), got.data()), (UDP, &pattern(len)[..]));
        assert_ne!(got.payload[6..8], [0, 0]);
    }
}

#[test]
fn a_long_udp_datagram_without_checksum_is_given_one_and_fragmented() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    case.send(&without_checksum(case.server_udp(port, &pattern(3000))));
    let fragments = case.fragments6();
    assert!(fragments.iter().all(|fragment| fragment.bytes().len() <= 1280));
    assert_eq!(whole6(&fragments).data(), pattern(3000));
}

rows! { a_fragmented_datagram_without_checksum_is_given_one:
    udp_without_checksum_in_fragments_is_given_one_in_order(&[0, 1, 2]);
    udp_without_checksum_in_fragments_is_given_one_in_reverse(&[2, 1, 0]);
    udp_without_checksum_in_fragments_is_given_one_when_the_first_comes_between(&[1, 0, 2]);
}

#[track_caller]
fn a_fragmented_datagram_without_checksum_is_given_one(order: &[usize; 3]) {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let fragments = without_checksum(case.server_udp(port, &pattern(4000))).fragments(&[1480, 2960], 0x4321);
    for place in &order[..2] {
        case.held(&fragments[*place]);
    }
    case.send(&fragments[order[2]]);
    let got = case.fragments6();
    assert_eq!(got[0].fragment().unwrap().identification, 0x4321);
    assert_eq!(whole6(&got).data(), pattern(4000));
}

#[test]
fn a_short_udp_datagram_without_checksum_in_fragments_comes_out_whole() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let fragments = without_checksum(case.server_udp(port, &pattern(100))).fragments(&[56], 1);
    case.held(&fragments[0]);
    let got = case.pass4(&fragments[1]);
    assert_eq!((got.next(), got.data()), (UDP, &pattern(100)[..]));
}

#[test]
fn udp_without_checksum_can_be_dropped() {
    let Some(mut case) = OTHERWISE.case() else { return };
    let port = case.open_udp();
    case.silent(&without_checksum(case.server_udp(port, b"x")), "zero-udp-checksum");
    assert_eq!(case.pass4(&case.server_udp(port, b"x")).data(), b"x");
}

#[test]
fn udp_without_checksum_from_ipv6_does_not_arrive_as_one_that_needs_none() {
    // RFC 8200 §8.1 forbids it.
    let Some(mut case) = STANDARD.case() else { return };
    let mut sent = case.client_udp(&pattern(20));
    sent.payload[6..8].fill(0);
    let got = case.pass6(&sent);
    assert_ne!(got.payload[6..8], [0, 0]);
    assert_ne!(got.transport_sum(), 0xffff);
}

#[test]
fn data_behind_the_end_of_a_udp_datagram_goes_along() {
    // RFC 9868: what the IP length has more than the UDP length says are options of UDP.
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let mut sent = case.server_udp(port, &pattern(20));
    sent.payload.extend(pattern(9));
    let got = case.pass4(&sent);
    assert_eq!((got.payload.len(), &got.payload[28..]), (8 + 20 + 9, &pattern(9)[..]));
    let pseudo = [0, UDP, 0, 28];
    assert_eq!(sum(&[&got.header.source, &got.header.destination, &pseudo, &got.payload[..28]]), 0xffff);
}

#[test]
fn tcp_options_and_flags_are_not_touched() {
    let Some(mut case) = STANDARD.case() else { return };
    // MSS 1440, SACK permitted, window scale.
    let options = [2, 4, 5, 160, 4, 2, 3, 3, 7, 1, 1, 1];
    let sent = with_options(case.client_tcp(SYN), &options);
    let got = case.pass6(&sent);
    assert_eq!((got.protocol(), got.data()), (TCP, &b""[..]));
    assert_eq!((&got.payload[20..], &got.payload[4..16]), (&options[..], &sent.payload[4..16]));
}

/// A SYN without data, with those options and a right checksum.
pub(crate) fn with_options(mut segment: V6, options: &[u8]) -> V6 {
    segment.payload[12] = u8::try_from((20 + options.len()) / 4).unwrap() << 4;
    segment.payload.extend(options);
    segment.payload[16..18].fill(0);
    let checksum = !segment.transport_sum();
    segment.payload[16..18].copy_from_slice(&checksum.to_be_bytes());
    segment
}
