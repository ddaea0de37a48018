//! RFC 4884: ICMP errors with extensions, whose length attribute changes with the packet inside.

use std::net::Ipv6Addr;

use crate::lab::*;
use crate::wire::{Icmp, V4, V6, pattern, sum};

/// An extension structure (RFC 4884 §7) with one object of `len` bytes of data.
fn extension(len: usize) -> Vec<u8> {
    let [a, b] = u16::try_from(len + 4).unwrap().to_be_bytes();
    let mut bytes = [&[0x20, 0, 0, 0, a, b, 1, 1][..], &pattern(len)].concat();
    let checksum = !sum(&[&bytes]);
    bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// An IPv4 error about `packet`, which fills `original` bytes, with an extension.
fn extended4(kind: u8, code: u8, packet: &[u8], original: usize, extension: &[u8]) -> V4 {
    let mut body = packet[..packet.len().min(original)].to_vec();
    body.resize(original, 0);
    let attribute = u32::try_from(original / 4).unwrap() << 16;
    V4::icmp(ROUTER4, POOL, &Icmp::error(kind, code, attribute, &[&body, extension].concat()))
}

/// As [`extended4`], in IPv6.
fn extended6(kind: u8, code: u8, packet: &[u8], original: usize, extension: &[u8]) -> V6 {
    let mut body = packet[..packet.len().min(original)].to_vec();
    body.resize(original, 0);
    let attribute = u32::try_from(original / 8).unwrap() << 24;
    V6::icmp(ROUTER6, six(SERVER), &Icmp::error(kind, code, attribute, &[&body, extension].concat()))
}

#[test]
fn a_length_attribute_grows_with_the_packet_inside_towards_ipv6() {
    let mut lab = Lab::new();
    let sent = client_udp(&pattern(300));
    let out = lab.pass6(&sent).bytes();
    let extension = extension(8);
    // In bytes: the original datagram in IPv4, and in IPv6, where it is padded to words of 8.
    for (original, expected) in [(128, 152), (132, 152), (136, 160), (256, 280)] {
        for (kind, code, new) in [(3, 1, 1), (11, 0, 3)] {
            let got = lab.pass4(&extended4(kind, code, &out, original, &extension)).read_icmp();
            assert_eq!((got.kind, got.rest), (new, u32::try_from(expected / 8).unwrap() << 24), "{original}");
            let (inside, after) = got.body.split_at(expected);
            assert_eq!(after, extension);
            let length = original + 20;
            assert_eq!(inside[..length], sent.clone().with(|header| header.hop_limit = 63).bytes()[..length]);
            assert!(inside[length..].iter().all(|byte| *byte == 0), "padding is zero");
        }
    }
}

#[test]
fn a_length_attribute_shrinks_with_the_packet_inside_towards_ipv4() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let sent = server_udp(port, &pattern(300));
    let delivered = lab.pass4(&sent).bytes();
    let extension = extension(8);
    for (original, expected) in [(128, 128), (144, 128), (152, 132), (160, 140), (320, 300)] {
        for (kind, code, new) in [(1, 0, 3), (3, 0, 11)] {
            let got = lab.pass6(&extended6(kind, code, &delivered, original, &extension)).read_icmp();
            assert_eq!((got.kind, got.rest), (new, u32::try_from(expected / 4).unwrap() << 16), "{original}");
            let (inside, after) = got.body.split_at(expected);
            assert_eq!(after, extension);
            let transport = original - 40;
            assert_eq!(inside[20..20 + transport], sent.payload[..transport]);
            assert!(inside[20 + transport..].iter().all(|byte| *byte == 0), "padding is zero");
        }
    }
}

#[test]
fn a_short_packet_inside_is_padded_to_128_bytes() {
    let mut lab = Lab::new();
    let sent = client_udp(b"x");
    let out = lab.pass6(&sent).bytes();
    let got = lab.pass4(&extended4(11, 0, &out, 128, &extension(4))).read_icmp();
    assert_eq!(got.rest, 16 << 24);
    assert_eq!(got.body.len(), 128 + 12);
    assert_eq!(got.body[..49], sent.with(|header| header.hop_limit = 63).bytes());
    assert_eq!(got.body[49..128], [0; 79]);
    assert_eq!(got.body[128..], extension(4));
}

#[test]
fn an_extension_is_kept_as_it_is_and_what_is_too_long_is_cut() {
    let mut lab = Lab::new();
    let out = lab.pass6(&client_udp(&pattern(1200))).bytes();
    // The original datagram gives way first, the extension only when nothing else is left.
    let got = lab.pass4(&extended4(3, 13, &out, 1020, &extension(200)));
    assert!(got.bytes().len() <= 1280);
    let message = got.read_icmp();
    let original = usize::try_from(message.rest >> 24).unwrap() * 8;
    assert!(original >= 128);
    assert_eq!(message.body[original..], extension(200));
    let got = lab.pass4(&extended4(3, 13, &out, 128, &extension(1240)));
    assert_eq!(got.bytes().len(), 1280);
    let message = got.read_icmp();
    assert_eq!(message.rest, 16 << 24);
    assert_eq!(message.body[128..], extension(1240)[..1280 - 48 - 128]);
}

#[test]
fn an_extension_towards_ipv4_is_cut_at_576_bytes() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let delivered = lab.pass4(&server_udp(port, &pattern(700))).bytes();
    let got = lab.pass6(&extended6(1, 0, &delivered, 512, &extension(100)));
    assert!(got.bytes().len() <= 576);
    let message = got.read_icmp();
    let original = usize::try_from(message.rest >> 16).unwrap() * 4;
    assert!((128..=512).contains(&original));
    assert_eq!(message.body[original..], extension(100));
}

#[test]
fn where_the_other_version_has_no_extensions_they_are_left_out() {
    let mut lab = Lab::new();
    let sent = client_udp(&pattern(300));
    let out = lab.pass6(&sent).bytes();
    let inside = sent.with(|header| header.hop_limit = 63).bytes();
    // Packet too big and parameter problem have none in IPv6.
    let mut error = extended4(3, 4, &out, 128, &extension(8));
    error.payload[6..8].copy_from_slice(&1400_u16.to_be_bytes());
    error.payload[2..4].fill(0);
    let checksum = !sum(&[&error.payload]);
    error.payload[2..4].copy_from_slice(&checksum.to_be_bytes());
    let got = lab.pass4(&error).read_icmp();
    assert_eq!((got.kind, got.rest, &got.body[..]), (2, 1420, &inside[..148]));
    let got = lab.pass4(&extended4(3, 2, &out, 128, &extension(8))).read_icmp();
    assert_eq!((got.kind, got.code, got.rest, &got.body[..]), (4, 1, 6, &inside[..148]));
}

#[test]
fn a_length_attribute_that_makes_no_sense_is_no_attribute() {
    let mut lab = Lab::new();
    let sent = client_udp(&pattern(200));
    let out = lab.pass6(&sent).bytes();
    let inside = sent.with(|header| header.hop_limit = 63).bytes();
    // Shorter than RFC 4884 §3 allows, and longer than the message.
    for attribute in [1, 31, 200, 255] {
        let got = lab.pass4(&V4::icmp(ROUTER4, POOL, &Icmp::error(3, 1, attribute << 16, &out))).read_icmp();
        assert_eq!((got.kind, got.rest, &got.body), (1, 0, &inside), "{attribute}");
    }
}

#[test]
fn messages_of_old_without_attribute_are_translated_without() {
    let mut lab = Lab::new();
    let sent = client_udp(&pattern(200));
    let out = lab.pass6(&sent).bytes();
    let got = lab.pass4(&V4::icmp(ROUTER4, POOL, &Icmp::error(11, 0, 0, &out[..128]))).read_icmp();
    assert_eq!((got.rest, got.body.len()), (0, 148));
}

#[test]
fn an_ipv6_router_is_named_by_an_extension_where_policy_asks() {
    // RFC 6791 §4: the Interface Information Object of RFC 5837 with an IP Address Sub-Object.
    let named = |sender: Ipv6Addr, kind: u8, code: u8, rest: u32, data: usize| {
        let mut lab = Lab::with(|policy| policy.header.name_routers = true);
        let port = lab.open_udp();
        let delivered = lab.pass4(&server_udp(port, &pattern(data))).bytes();
        lab.pass6(&V6::icmp(sender, six(SERVER), &Icmp::error(kind, code, rest, &delivered)))
    };
    for (kind, code, rest, data, length) in
        [(3, 0, 0, 10, 128), (1, 0, 0, 300, 328), (2, 0, 1400, 1000, 520), (4, 0, 6, 200, 228)]
    {
        let got = named(ROUTER6, kind, code, rest, data);
        assert!(got.bytes().len() <= 576);
        let message = got.read_icmp();
        assert_eq!(message.rest >> 16 & 0xff, length / 4, "type {kind}");
        let (_, structure) = message.body.split_at(usize::try_from(length).unwrap());
        let (header, object) = structure.split_at(4);
        assert_eq!((header[0], sum(&[structure])), (0x20, 0xffff));
        assert_eq!(object[..8], [0, 24, 2, 4, 0, 2, 0, 0]);
        assert_eq!(object[8..], ROUTER6.octets());
    }
    let of_host = named(CLIENT, 1, 4, 0, 10).read_icmp();
    assert_eq!((of_host.rest, of_host.body.len()), (0, 38), "the host has a counterpart in IPv4");
}

#[test]
fn an_extension_of_the_router_is_not_replaced_by_its_name() {
    let mut lab = Lab::with(|policy| policy.header.name_routers = true);
    let port = lab.open_udp();
    let delivered = lab.pass4(&server_udp(port, &pattern(100))).bytes();
    let message = lab.pass6(&extended6(3, 0, &delivered, 144, &extension(8))).read_icmp();
    assert_eq!(message.body[128..], extension(8));
}
