//! RFC 4884 and RFC 7915 §4.2, §5.2: ICMP errors with extensions, and their length attribute.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use crate::bench::POOL;
use crate::case::{Case, PORT, SERVICE};
use crate::groups::{NAMING, STANDARD};
use crate::rows::rows;
use crate::wire::{Icmp, V4, V6, pattern, sum};

/// An extension structure with one object of that much data and a right checksum.
fn extension(data: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(4 + data).unwrap().to_be_bytes();
    let mut extension = [&[0x20, 0, 0, 0, high, low, 1, 1][..], &pattern(data)].concat();
    let checksum = !sum(&[&extension]);
    extension[2..4].copy_from_slice(&checksum.to_be_bytes());
    extension
}

/// An error from the IPv4 side that quotes `original` bytes of a packet, zeros behind it, and has an extension.
fn extended4(case: &Case, kind: u8, code: u8, packet: &[u8], original: usize, extension: &[u8]) -> V4 {
    let mut body = packet[..packet.len().min(original)].to_vec();
    body.resize(original, 0);
    let attribute = u32::try_from(original / 4).unwrap() << 16;
    V4::icmp(case.router4(), POOL, &Icmp::error(kind, code, attribute, &[&body, extension].concat()))
}

/// The same from the IPv6 side, where the attribute counts in steps of eight bytes.
fn extended6(case: &Case, kind: u8, code: u8, packet: &[u8], original: usize, extension: &[u8]) -> V6 {
    let mut body = packet[..packet.len().min(original)].to_vec();
    body.resize(original, 0);
    let attribute = u32::try_from(original / 8).unwrap() << 24;
    let message = Icmp::error(kind, code, attribute, &[&body, extension].concat());
    V6::icmp(case.router6(), case.service6().0, &message)
}

rows! { towards_ipv6:
    a_length_attribute_grows_with_the_packet_inside_time_exceeded((11, 0), 3, 160, 184);
    a_length_attribute_grows_with_the_packet_inside_host_unreachable((3, 1), 1, 128, 152);
    /// 20 bytes more and no padding: what is quoted ends at a step of eight bytes.
    a_length_attribute_grows_by_20_where_that_suffices((11, 0), 3, 132, 152);
}

#[track_caller]
fn towards_ipv6((kind, code): (u8, u8), new: u8, original: usize, expected: usize) {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = case.client_udp(&pattern(300));
    let out = case.pass6(&sent);
    let extension = extension(8);
    let got = case.pass4(&extended4(&case, kind, code, &out.bytes(), original, &extension)).read_icmp();
    assert_eq!((got.kind, got.rest), (new, u32::try_from(expected / 8).unwrap() << 24));
    let (inside, behind) = got.body.split_at(expected);
    let length = original + 20;
    assert_eq!(inside[..length], sent.with(|header| header.hop_limit = out.header.time_to_live).bytes()[..length]);
    assert!(inside[length..].iter().all(|byte| *byte == 0), "padding is zero");
    assert_eq!(behind, extension);
}

rows! { towards_ipv4:
    a_length_attribute_shrinks_with_the_packet_inside_time_exceeded(3, 11, 160, 140);
    a_length_attribute_shrinks_with_the_packet_inside_unreachable(1, 3, 320, 300);
    /// 128 bytes are the least that an original datagram with an extension behind it has.
    a_length_attribute_is_never_less_than_128_bytes(1, 3, 128, 128);
}

#[track_caller]
fn towards_ipv4(kind: u8, new: u8, original: usize, expected: usize) {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let sent = case.server_udp(port, &pattern(300));
    let delivered = case.pass4(&sent).bytes();
    let extension = extension(8);
    let got = case.pass6(&extended6(&case, kind, 0, &delivered, original, &extension)).read_icmp();
    assert_eq!((got.kind, got.rest), (new, u32::try_from(expected / 4).unwrap() << 16));
    let (inside, behind) = got.body.split_at(expected);
    let transport = original - 40;
    assert_eq!(inside[20..20 + transport], sent.payload[..transport]);
    assert!(inside[20 + transport..].iter().all(|byte| *byte == 0), "padding is zero");
    assert_eq!(behind, extension);
}

#[test]
fn a_short_packet_inside_is_padded_to_128_bytes() {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = case.client_udp(b"x");
    let out = case.pass6(&sent);
    let got = case.pass4(&extended4(&case, 11, 0, &out.bytes(), 128, &extension(4))).read_icmp();
    // Of the 128 bytes that were quoted 29 were the packet; 49 are now.
    assert_eq!(got.body[..49], sent.with(|header| header.hop_limit = out.header.time_to_live).bytes());
    let original = usize::try_from(got.rest >> 24).unwrap() * 8;
    assert!(original >= 128 && got.body[49..original].iter().all(|byte| *byte == 0), "{got:?}");
    assert_eq!(got.body[original..], extension(4));
}

#[test]
fn an_extension_that_makes_an_error_too_long_for_ipv6_is_kept_as_far_as_it_goes() {
    let Some(mut case) = STANDARD.case() else { return };
    let out = case.pass6(&case.client_udp(&pattern(1200))).bytes();
    let got = case.pass4(&extended4(&case, 3, 13, &out, 128, &extension(1240)));
    assert_eq!(got.bytes().len(), 1280);
    let message = got.read_icmp();
    let original = usize::try_from(message.rest >> 24).unwrap() * 8;
    assert!(original >= 128);
    assert_eq!(message.body[original..], extension(1240)[..1232 - original]);
}

#[test]
fn an_extension_towards_ipv4_is_kept_and_the_packet_cut_to_576_bytes() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let delivered = case.pass4(&case.server_udp(port, &pattern(700))).bytes();
    let got = case.pass6(&extended6(&case, 1, 0, &delivered, 512, &extension(100)));
    assert!(got.bytes().len() <= 576);
    let message = got.read_icmp();
    let original = usize::try_from(message.rest >> 16).unwrap() * 4;
    assert!((128..=512).contains(&original));
    assert_eq!(message.body[original..], extension(100));
}

#[test]
fn packet_too_big_has_no_extension() {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = case.client_udp(&pattern(300));
    let out = case.pass6(&sent);
    let body = [&out.bytes()[..128], &extension(8)].concat();
    let error = V4::icmp(case.router4(), POOL, &Icmp::error(3, 4, (128 / 4) << 16 | 1400, &body));
    let got = case.pass4(&error).read_icmp();
    assert_eq!((got.kind, got.rest), (2, 1420));
    assert_eq!(got.body, sent.with(|header| header.hop_limit = out.header.time_to_live).bytes()[..148]);
}

rows! { is_no_attribute:
    /// RFC 4884 §3: 128 bytes are quoted at least.
    a_length_attribute_of_less_than_128_bytes_is_none(31);
    a_length_attribute_beyond_the_message_is_none(200);
}

#[track_caller]
fn is_no_attribute(words: u32) {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = V6::udp((case.client(), PORT), (case.service6().0, SERVICE), &pattern(200));
    let out = case.pass6(&sent);
    let error = V4::icmp(case.router4(), POOL, &Icmp::error(3, 1, words << 16, &out.bytes()));
    let got = case.pass4(&error).read_icmp();
    assert_eq!((got.kind, got.rest), (1, 0));
    assert_eq!(got.body, sent.with(|header| header.hop_limit = out.header.time_to_live).bytes());
}

#[test]
fn an_error_of_an_ipv6_router_comes_from_a_pool_of_addresses_and_names_it() {
    // RFC 6791 §3.2 and §4; RFC 5837: an Interface Information Object, class 2, with the address of the incoming interface.
    let Some(mut case) = NAMING.case() else { return };
    let mut sources = HashSet::new();
    for _ in 0..24 {
        let port = case.open_udp();
        let delivered = case.pass4(&case.server_udp(port, &pattern(200))).bytes();
        let error = V6::icmp(case.router6(), case.service6().0, &Icmp::error(3, 0, 0, &delivered));
        let got = case.pass6(&error);
        sources.insert(got.source());
        let message = got.read_icmp();
        let (original, structure) = message.body.split_at(usize::try_from(message.rest >> 16 & 0xff).unwrap() * 4);
        assert!(original.len() >= 128, "{message:?}");
        assert_eq!((structure[0] >> 4, sum(&[structure])), (2, 0xffff), "version and checksum");
        assert_eq!(structure[4..8], [0, 24, 2, 4], "length, class, and an address only");
        assert_eq!(structure[8..12], [0, 2, 0, 0], "which is of IPv6");
        assert_eq!(structure[12..], case.router6().octets());
    }
    let pool: HashSet<Ipv4Addr> = (128..=131).map(|host| Ipv4Addr::new(192, 0, 2, host)).collect();
    assert!(sources.len() > 1 && sources.is_subset(&pool), "{sources:?}");
}

#[test]
fn an_error_of_the_client_itself_is_not_named() {
    let Some(mut case) = NAMING.case() else { return };
    let port = case.open_udp();
    let delivered = case.pass4(&case.server_udp(port, b"x")).bytes();
    let error = V6::icmp(case.client(), case.service6().0, &Icmp::error(1, 4, 0, &delivered));
    let got = case.pass6(&error);
    assert_eq!((got.source(), got.read_icmp().rest, got.read_icmp().body.len()), (POOL, 0, 29));
}

#[test]
fn an_error_without_attribute_is_translated_without() {
    let Some(mut case) = STANDARD.case() else { return };
    let out = case.pass6(&case.client_udp(&pattern(200))).bytes();
    let got = case.pass4(&V4::icmp(case.router4(), POOL, &Icmp::error(11, 0, 0, &out[..128]))).read_icmp();
    assert_eq!((got.rest, got.body.len()), (0, 148));
}
