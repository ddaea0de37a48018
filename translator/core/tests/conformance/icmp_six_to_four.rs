//! RFC 7915 §5.2: types, codes, pointers and MTUs of ICMPv6 messages towards IPv4.

use nat64_core::DropReason;

use crate::lab::*;
use crate::wire::{Icmp, V4, V6, pattern};

/// What becomes of an ICMPv6 error about what the server sent: type, code and second word.
fn translated_about(change: impl Fn(V4) -> V4, kind: u8, code: u8, rest: u32) -> Option<(u8, u8, u32)> {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let delivered = lab.pass4(&change(server_udp(port, &pattern(100)).with(|header| header.dont_fragment = true)));
    let error = Icmp::error(kind, code, rest, &delivered.bytes());
    let outcome = lab.send6(&V6::icmp(ROUTER6, six(SERVER), &error));
    if outcome.packets.is_empty() {
        outcome.silent(DropReason::UntranslatableIcmp);
        return None;
    }
    let [got] = &outcome.all4()[..] else { panic!("{outcome:?}") };
    assert_eq!((got.source(), got.destination(), got.header.time_to_live), (POOL, SERVER, 63));
    let got = got.read_icmp();
    Some((got.kind, got.code, got.rest))
}

fn translated(kind: u8, code: u8, rest: u32) -> Option<(u8, u8, u32)> {
    translated_about(|packet| packet, kind, code, rest)
}

#[test]
fn echo_and_reply_change_type_and_checksum_only() {
    let mut lab = Lab::new();
    let identifier = lab.open_echo();
    for (kind, expected) in [(128, 8), (129, 0)] {
        for data in [0, 1, 55, 56, 1000] {
            let sent = Icmp::echo(kind, PORT, 77, &pattern(data));
            let got = lab.pass6(&V6::icmp(CLIENT, six(SERVER), &sent)).read_icmp();
            assert_eq!(got, Icmp::echo(expected, identifier, 77, &pattern(data)));
        }
    }
}

#[test]
fn other_informational_messages_are_dropped_silently() {
    let listeners = [130, 131, 132, 143];
    let neighbours = [133, 134, 135, 136, 137];
    let unknown = [138, 139, 140, 144, 150, 160, 200, 255];
    for kind in [&listeners[..], &neighbours, &unknown].concat() {
        let mut lab = Lab::new();
        let message = Icmp::echo(kind, PORT, 1, &pattern(24));
        lab.send6(&V6::icmp(CLIENT, six(SERVER), &message)).silent(DropReason::UntranslatableIcmp);
        lab.is_empty();
    }
}

#[test]
fn codes_of_destination_unreachable_are_translated_row_by_row() {
    let rows = [
        (0, Some(1)),
        (1, Some(10)),
        (2, Some(1)),
        (3, Some(1)),
        (4, Some(3)),
        (5, None),
        (6, None),
        (7, None),
        (255, None),
    ];
    for (code, expected) in rows {
        assert_eq!(translated(1, code, 0), expected.map(|code| (3, code, 0)), "code {code}");
    }
}

#[test]
fn the_mtu_of_packet_too_big_shrinks_by_20() {
    for (mtu, expected) in [(1280, 1260), (1281, 1261), (1500, 1480), (1520, 1500), (9000, 8980), (65_535, 65_515)] {
        assert_eq!(translated(2, 0, mtu), Some((3, 4, expected)), "{mtu}");
    }
}

#[test]
fn an_mtu_that_does_not_fit_16_bits_is_the_most_that_does() {
    assert_eq!(translated(2, 0, 0x0001_0000), Some((3, 4, 0xffec)));
    assert_eq!(translated(2, 0, 0x0002_0000), Some((3, 4, 0xffff)));
    assert_eq!(translated(2, 0, u32::MAX), Some((3, 4, 0xffff)));
}

#[test]
fn an_mtu_below_any_link_s_is_never_zero_nor_less_than_68() {
    for mtu in [0, 1, 20, 28, 87, 88] {
        assert_eq!(translated(2, 0, mtu), Some((3, 4, 68)), "{mtu}");
    }
}

#[test]
fn a_fragment_header_in_the_packet_in_error_makes_the_mtu_smaller_by_8() {
    let fragment = |packet: V4| packet.fragments(&[64], 5)[0].clone();
    assert_eq!(translated_about(fragment, 2, 0, 1280), Some((3, 4, 1252)));
    assert_eq!(translated_about(fragment, 2, 0, 1500), Some((3, 4, 1472)));
}

#[test]
fn time_exceeded_keeps_its_code() {
    assert_eq!(translated(3, 0, 0), Some((11, 0, 0)));
    assert_eq!(translated(3, 1, 0), Some((11, 1, 0)));
}

#[test]
fn pointers_of_parameter_problems_are_those_of_figure_6() {
    for pointer in (0..=64).chain([255, 256, 0x0100_0000, u32::MAX]) {
        let expected = match pointer {
            0 => Some(0),
            1 => Some(1),
            4 | 5 => Some(2),
            6 => Some(9),
            7 => Some(8),
            8..=23 => Some(12),
            24..=39 => Some(16),
            _ => None,
        };
        let expected = expected.map(|pointer: u32| (12, 0, pointer << 24));
        assert_eq!(translated(4, 0, pointer), expected, "pointer {pointer}");
    }
}

#[test]
fn an_unrecognised_next_header_is_protocol_unreachable_and_an_option_is_nothing() {
    assert_eq!(translated(4, 1, 6), Some((3, 2, 0)));
    assert_eq!(translated(4, 2, 42), None);
    assert_eq!(translated(4, 3, 0), None);
}

#[test]
fn unknown_errors_are_dropped_silently() {
    for kind in [0, 5, 6, 99, 100, 101, 127] {
        assert_eq!(translated(kind, 0, 0), None, "type {kind}");
    }
}
