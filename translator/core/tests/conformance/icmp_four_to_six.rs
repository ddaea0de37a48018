//! RFC 7915 §4.2: types, codes, pointers and MTUs of ICMP messages towards IPv6.

use nat64_core::DropReason;

use crate::lab::*;
use crate::wire::{Icmp, V4, pattern};

/// What becomes of an ICMP error about a UDP datagram of `len` bytes in IPv4: type, code and second word.
fn translated(kind: u8, code: u8, rest: u32, len: usize) -> Option<(u8, u8, u32)> {
    let mut lab = Lab::new();
    let sent = lab.pass6(&client_udp(&pattern(len - 28)));
    let error = Icmp::error(kind, code, rest, &sent.bytes()[..len.min(500)]);
    let outcome = lab.send4(&V4::icmp(ROUTER4, POOL, &error));
    if outcome.packets.is_empty() {
        outcome.silent(DropReason::UntranslatableIcmp);
        return None;
    }
    let [got] = &outcome.all6()[..] else { panic!("{outcome:?}") };
    assert_eq!((got.source(), got.destination(), got.header.hop_limit), (six(ROUTER4), CLIENT, 63));
    let got = got.read_icmp();
    Some((got.kind, got.code, got.rest))
}

#[test]
fn echo_and_reply_change_type_and_checksum_only() {
    let mut lab = Lab::new();
    let identifier = lab.open_echo();
    for (kind, expected) in [(0, 129), (8, 128)] {
        for data in [0, 1, 55, 56, 1000] {
            let sent = Icmp::echo(kind, identifier, 77, &pattern(data));
            let got = lab.pass4(&V4::icmp(SERVER, POOL, &sent)).read_icmp();
            assert_eq!(got, Icmp::echo(expected, PORT, 77, &pattern(data)));
        }
    }
}

#[test]
fn other_queries_are_dropped_silently() {
    let single_hop = [9, 10];
    let obsolete = [13, 14, 15, 16, 17, 18];
    let unknown = [1, 2, 7, 19, 30, 40, 42, 43, 253, 255];
    for kind in [&single_hop[..], &obsolete, &unknown].concat() {
        let mut lab = Lab::new();
        let identifier = lab.open_echo();
        let message = Icmp::echo(kind, identifier, 1, &pattern(12));
        lab.send4(&V4::icmp(SERVER, POOL, &message)).silent(DropReason::UntranslatableIcmp);
    }
}

#[test]
fn codes_of_destination_unreachable_are_translated_row_by_row() {
    const NO_ROUTE: Option<(u8, u8, u32)> = Some((1, 0, 0));
    const PROHIBITED: Option<(u8, u8, u32)> = Some((1, 1, 0));
    let rows = [
        (0, NO_ROUTE),
        (1, NO_ROUTE),
        // Protocol unreachable: a parameter problem whose pointer is the next header's place.
        (2, Some((4, 1, 6))),
        (3, Some((1, 4, 0))),
        (5, NO_ROUTE),
        (6, NO_ROUTE),
        (7, NO_ROUTE),
        (8, NO_ROUTE),
        (9, PROHIBITED),
        (10, PROHIBITED),
        (11, NO_ROUTE),
        (12, NO_ROUTE),
        (13, PROHIBITED),
        (14, None),
        (15, PROHIBITED),
        (16, None),
        (255, None),
    ];
    for (code, expected) in rows {
        assert_eq!(translated(3, code, 0, 100), expected, "code {code}");
    }
}

#[test]
fn the_mtu_of_fragmentation_needed_grows_by_20_and_is_1280_at_least() {
    let rows = [
        (68, 1280),
        (576, 1280),
        (1259, 1280),
        (1260, 1280),
        (1261, 1281),
        (1400, 1420),
        (1480, 1500),
        (1500, 1520),
        (8981, 9001),
        (65_535, 65_555),
    ];
    for (mtu, expected) in rows {
        assert_eq!(translated(3, 4, mtu, 1400), Some((2, 0, expected)), "{mtu}");
        // The upper half of the word is unused (RFC 1191 §4).
        assert_eq!(translated(3, 4, mtu | 0xffff_0000, 1400), Some((2, 0, expected)), "{mtu} with rubbish");
    }
}

#[test]
fn an_mtu_of_zero_is_replaced_by_the_plateau_below_the_packet() {
    // Length of the packet in error, and the MTU reported: the plateau and 20, but not below 1280.
    let rows = [
        (1400, 1280),
        (1492, 1280),
        (1493, 1512),
        (1500, 1512),
        (2002, 1512),
        (2003, 2022),
        (4352, 2022),
        (4353, 4372),
        (8166, 4372),
        (8167, 8186),
        (9000, 8186),
        (17_914, 8186),
        (17_915, 17_934),
        (32_001, 32_020),
        (65_535, 32_020),
    ];
    for (len, expected) in rows {
        assert_eq!(translated(3, 4, 0, len), Some((2, 0, expected)), "{len} bytes");
    }
}

#[test]
fn time_exceeded_keeps_its_code() {
    assert_eq!(translated(11, 0, 0, 100), Some((3, 0, 0)));
    assert_eq!(translated(11, 1, 0, 100), Some((3, 1, 0)));
}

#[test]
fn pointers_of_parameter_problems_are_those_of_figure_3() {
    let pointers = [
        (0, 0),
        (1, 1),
        (2, 4),
        (3, 4),
        (8, 7),
        (9, 6),
        (12, 8),
        (13, 8),
        (14, 8),
        (15, 8),
        (16, 24),
        (17, 24),
        (18, 24),
        (19, 24),
    ];
    for code in [0, 2] {
        for pointer in 0..=255_u8 {
            let expected = pointers.iter().find(|(from, _)| *from == pointer).map(|(_, to)| (4, 0, *to));
            assert_eq!(translated(12, code, u32::from(pointer) << 24, 100), expected, "code {code}, pointer {pointer}");
        }
    }
}

#[test]
fn other_codes_of_parameter_problems_are_dropped_silently() {
    for code in [1, 3, 255] {
        assert_eq!(translated(12, code, 0, 100), None, "code {code}");
    }
}

#[test]
fn errors_without_counterpart_are_dropped_silently() {
    // Source quench, redirect, alternative host address.
    for kind in [4, 5, 6] {
        for code in [0, 1] {
            assert_eq!(translated(kind, code, 0xc000_0201, 100), None, "type {kind}, code {code}");
        }
    }
}
