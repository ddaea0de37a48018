//! What a kernel eats before a device sees it, and other packets that contradict themselves: they are dropped all the
//! same, silently, and leave nothing behind.

use nat64_core::DropReason;

use crate::lab::*;
use crate::wire::{Fragment, Icmp, UDP, V4, V6, pattern};

#[test]
fn what_is_not_ip_is_dropped() {
    for bytes in [&[][..], &[0], &[0x50; 60], &[0x00; 60], &[0xff; 60]] {
        Lab::new().send(bytes).silent(DropReason::NotIp);
    }
}

#[test]
fn a_wrong_header_checksum_is_dropped_silently() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let right = server_udp(port, b"x").bytes();
    for bit in 0..16 {
        let mut bytes = right.clone();
        bytes[10 + bit / 8] ^= 1 << (bit % 8);
        lab.send(&bytes).silent(DropReason::BadHeaderChecksum);
    }
    let mut with_options = server_udp(port, b"x").options(&[1; 8]).bytes();
    with_options[11] ^= 1;
    lab.send(&with_options).silent(DropReason::BadHeaderChecksum);
}

#[test]
fn malformed_options_are_dropped_silently() {
    let cases: [(&str, &[u8]); 6] = [
        ("length zero", &[7, 0, 0, 0]),
        ("length one", &[7, 1, 0, 0]),
        ("beyond the header", &[7, 5, 4, 0]),
        ("no length", &[1, 1, 1, 7]),
        ("source route without pointer", &[131, 2, 1, 1]),
        ("source route that points into itself", &[131, 7, 3, 1, 2, 3, 4]),
    ];
    let mut lab = Lab::new();
    let port = lab.open_udp();
    for (name, options) in cases {
        let outcome = lab.send4(&server_udp(port, b"x").options(options));
        assert!(outcome.packets.is_empty(), "{name}: {outcome:?}");
        outcome.silent(DropReason::Malformed);
    }
}

#[test]
fn a_packet_cut_anywhere_is_dropped_silently() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let packets = [
        server_udp(port, &pattern(9)).bytes(),
        V4::tcp((SERVER, SERVICE), (POOL, port), SYN, b"abc").bytes(),
        V4::icmp(SERVER, POOL, &Icmp::echo(8, port, 1, b"abc")).bytes(),
        client_udp(&pattern(9)).bytes(),
        client_tcp(SYN).bytes(),
        client_udp(&pattern(9)).extended(60, &[1, 4, 0, 0, 0, 0]).bytes(),
        client_udp(&pattern(9)).fragments(&[8], 1)[0].bytes(),
    ];
    for packet in packets {
        for len in 1..packet.len() {
            lab.send(&packet[..len]).silent(DropReason::Malformed);
        }
    }
}

#[test]
fn lengths_that_contradict_each_other_are_dropped_silently() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    for length in [0_u16, 7, 30, 0xffff] {
        let mut from_ipv4 = server_udp(port, &pattern(9));
        from_ipv4.payload[4..6].copy_from_slice(&length.to_be_bytes());
        lab.send4(&from_ipv4).silent(DropReason::Malformed);
        let mut from_ipv6 = client_udp(&pattern(9));
        from_ipv6.payload[4..6].copy_from_slice(&length.to_be_bytes());
        lab.send6(&from_ipv6).silent(DropReason::Malformed);
    }
    for data_offset in [0, 4, 6, 15] {
        let mut segment = client_tcp(SYN);
        segment.payload[12] = data_offset << 4;
        lab.send6(&segment).silent(DropReason::Malformed);
    }
    let mut short_header = server_udp(port, b"x").bytes();
    short_header[0] = 0x44;
    lab.send(&short_header).silent(DropReason::Malformed);
}

#[test]
fn extension_headers_in_an_impossible_order_or_without_end_are_dropped_silently() {
    let options = [1, 4, 0, 0, 0, 0];
    let mut endless = client_udp(b"x");
    for _ in 0..9 {
        endless = endless.extended(60, &options);
    }
    let packets = [
        endless,
        client_udp(b"x").extended(0, &options).extended(60, &options),
        V6::new(CLIENT, six(SERVER), 60, &[UDP, 200, 1, 4, 0, 0, 0, 0]),
        V6::new(CLIENT, six(SERVER), 60, &[60, 0, 1]),
    ];
    for packet in packets {
        let mut lab = Lab::new();
        lab.send6(&packet).silent(DropReason::Malformed);
        lab.is_empty();
    }
}

#[test]
fn fragments_that_cannot_be_are_dropped_silently() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let ipv6 = |offset, more, data: &[u8]| {
        let header = Fragment { next: UDP, offset, more, identification: 1 };
        V6::new(CLIENT, six(SERVER), 44, &[&header.bytes()[..], data].concat())
    };
    let ipv4 = |offset: u16, more, data: &[u8]| {
        V4::new(SERVER, POOL, UDP, data).with(|header| {
            header.fragment_offset = (offset / 8).try_into().unwrap();
            header.more_fragments = more;
        })
    };
    let first = server_udp(port, &pattern(12)).payload;
    for (name, offset, more, data) in [
        ("not last and no multiple of eight", 0, true, first.clone()),
        ("later, not last and no multiple of eight", 16, true, pattern(12)),
        ("nothing in it", 16, false, Vec::new()),
        ("beyond the longest datagram", 65_528, false, pattern(8)),
    ] {
        let outcome = lab.send6(&ipv6(offset, more, &data));
        assert!(outcome.packets.is_empty(), "{name}: {outcome:?}");
        outcome.silent(DropReason::Malformed);
        lab.send4(&ipv4(offset, more, &data)).silent(DropReason::Malformed);
    }
    assert_eq!(lab.sessions().len(), 1);
}

#[test]
fn padding_behind_a_packet_is_not_part_of_it() {
    let mut lab = Lab::new();
    let padded = [client_udp(&pattern(5)).bytes(), vec![0xaa; 13]].concat();
    let got = V4::read(lab.send(&padded).only());
    assert_eq!(got.data(), pattern(5));
    let padded = [server_udp(got.ports().0, &pattern(5)).bytes(), vec![0xaa; 13]].concat();
    assert_eq!(V6::read(lab.send(&padded).only()).data(), pattern(5));
}
