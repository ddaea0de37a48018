use super::*;
use crate::packet::testing::{self, FOUR, Family, Ip, SIX, back, error, in_buffer, pattern};
use crate::packet::{Fragment, Offload, PartialChecksum, parse_v4, parse_v6, tcp_flags};
use crate::rewrite::Endpoints;

const US_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6);
const US_4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

fn error6(packet: &[u8], refusal: Refusal) -> Vec<u8> {
    in_buffer(packet, Offload::default(), |buf| icmpv6_error(buf, refusal, US_6)).1
}

fn error4(packet: &[u8], refusal: Refusal) -> Vec<u8> {
    in_buffer(packet, Offload::default(), |buf| icmpv4_error(buf, refusal, US_4, 9)).1
}

fn expected6(kind: (u8, u8, u32), packet: &[u8]) -> Vec<u8> {
    let ends = Endpoints { source: US_6, source_port: 0, destination: SIX.source, destination_port: 0 };
    error(&ends, &Ip::hops(64), kind, packet)
}

fn expected4(kind: (u8, u8, u32), packet: &[u8]) -> Vec<u8> {
    let ends = Endpoints { source: US_4, source_port: 0, destination: FOUR.source, destination_port: 0 };
    error(&ends, &Ip { identification: 9, traffic_class: 0xc0, ..Ip::hops(64) }, kind, packet)
}

#[test]
fn each_refusal_has_a_type_and_code_in_both_versions() {
    let cases = [
        (Refusal::HopLimitExceeded, (3, 0, 0), (11, 0, 0)),
        (Refusal::ReassemblyTimeExceeded, (3, 1, 0), (11, 1, 0)),
        (Refusal::PortUnreachable, (1, 4, 0), (3, 3, 0)),
        (Refusal::AddressUnreachable, (1, 3, 0), (3, 1, 0)),
        (Refusal::AdministrativelyProhibited, (1, 1, 0), (3, 13, 0)),
        (Refusal::ProtocolUnreachable, (1, 4, 0), (3, 2, 0)),
        (Refusal::PacketTooBig(1400), (2, 0, 1400), (3, 4, 1400)),
        (Refusal::PacketTooBig(70_000), (2, 0, 70_000), (3, 4, 65_535)),
        (Refusal::ParameterProblem(43), (4, 0, 43), (12, 0, 43 << 24)),
        (Refusal::SourceRouteFailed, (1, 0, 0), (3, 5, 0)),
    ];
    let (six, four) = (testing::udp(&SIX, &Ip::default(), b"data"), testing::udp(&FOUR, &Ip::default(), b"data"));
    for (refusal, kind6, kind4) in cases {
        assert_eq!(error6(&six, refusal), expected6(kind6, &six), "{refusal:?}");
        assert_eq!(error4(&four, refusal), expected4(kind4, &four), "{refusal:?}");
    }
}

#[test]
fn errors_have_as_much_of_the_packet_as_fits() {
    let packet = testing::udp(&SIX, &Ip::default(), &pattern(5000));
    assert_eq!(error6(&packet, Refusal::HopLimitExceeded), expected6((3, 0, 0), &packet[..1232]));
    let packet = testing::udp(&FOUR, &Ip::default(), &pattern(5000));
    assert_eq!(error4(&packet, Refusal::HopLimitExceeded), expected4((11, 0, 0), &packet[..548]));
}

#[test]
fn padding_is_no_part_of_the_packet() {
    let packet = testing::udp(&SIX, &Ip::default(), b"data");
    let longer = [&packet[..], &[0; 9]].concat();
    assert_eq!(error6(&longer, Refusal::PortUnreachable), expected6((1, 4, 0), &packet));
    let packet = testing::udp(&FOUR, &Ip::default(), b"data");
    let longer = [&packet[..], &[0; 9]].concat();
    assert_eq!(error4(&longer, Refusal::PortUnreachable), expected4((3, 3, 0), &packet));
}

#[test]
fn the_packet_inside_has_the_checksum_it_would_have_been_sent_with() {
    let packet = testing::tcp(&SIX, &Ip::default(), b"data");
    let mut partial = packet.clone();
    let pseudo = pseudo_v6(SIX.source, SIX.destination, 6, 24);
    partial[56..58].copy_from_slice(&pseudo.fold().to_be_bytes());
    let offload = Offload { checksum: Some(PartialChecksum { start: 40, offset: 16 }), ..Offload::default() };
    let ((), bytes, _) = in_buffer(&partial, offload, |buf| icmpv6_error(buf, Refusal::PortUnreachable, US_6));
    assert_eq!(bytes, expected6((1, 4, 0), &packet));
}

#[test]
fn what_is_no_packet_stays_as_it_is() {
    assert_eq!(error6(&[0x60; 39], Refusal::PortUnreachable), [0x60; 39]);
    assert_eq!(error4(&[0x45; 19], Refusal::PortUnreachable), [0x45; 19]);
}

#[test]
fn icmpv6_errors_answer_what_rfc_4443_allows() {
    let from = |source: &str| Endpoints { source: source.parse().unwrap(), ..SIX };
    let to = |destination: &str| Endpoints { destination: destination.parse().unwrap(), ..SIX };
    let udp = |ends: &Endpoints<Ipv6Addr>| testing::udp(ends, &Ip::default(), b"data");
    assert!(may_answer_v6(&udp(&SIX)));
    assert!(!may_answer_v6(&udp(&from("::"))));
    assert!(!may_answer_v6(&udp(&from("::1"))));
    assert!(!may_answer_v6(&udp(&from("ff02::1"))));
    assert!(!may_answer_v6(&udp(&to("ff0e::1"))));
    assert!(!may_answer_v6(&udp(&SIX)[..39]));
    for kind in 0..=255 {
        let message = testing::icmp(&SIX, kind, 0, [0; 4], b"data");
        let allowed = kind >= 128 && kind != 137;
        let packet = Family::packet(&SIX, &Ip::default(), 58, &message);
        assert_eq!(may_answer_v6(&packet), allowed, "ICMPv6 type {kind}");
        // A Routing header with segments left does not hide it.
        let routed = [&[58, 0, 4, 1, 0, 0, 0, 0][..], &message].concat();
        assert_eq!(may_answer_v6(&Family::packet(&SIX, &Ip::default(), 43, &routed)), allowed, "ICMPv6 type {kind}");
    }
    let tail = Ip { fragment: Some(Fragment { offset: 8, more: false }), ..Ip::default() };
    assert!(!may_answer_v6(&Family::packet(&SIX, &tail, 58, &[128; 8])), "may be of an error");
    assert!(may_answer_v6(&Family::packet(&SIX, &tail, 17, &[0; 8])));
    assert!(may_answer_v6(&Family::packet(&SIX, &Ip::default(), 132, &[0; 8])));
}

#[test]
fn icmp_errors_answer_what_rfc_1812_allows() {
    let from = |source: &str| Endpoints { source: source.parse().unwrap(), ..FOUR };
    let to = |destination: &str| Endpoints { destination: destination.parse().unwrap(), ..FOUR };
    let udp = |ends: &Endpoints<Ipv4Addr>| testing::udp(ends, &Ip::default(), b"data");
    assert!(may_answer_v4(&udp(&FOUR)));
    for nobody in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"] {
        assert!(!may_answer_v4(&udp(&from(nobody))), "{nobody}");
    }
    for group in ["224.0.0.1", "239.1.1.1", "255.255.255.255"] {
        assert!(!may_answer_v4(&udp(&to(group))), "{group}");
    }
    assert!(!may_answer_v4(&udp(&FOUR)[..19]));
    for kind in 0..=255 {
        let message = testing::icmp(&FOUR, kind, 0, [0; 4], b"data");
        let routed = Ip { options: vec![131, 7, 4, 1, 2, 3, 4, 0], ..Ip::default() };
        for ip in [Ip::default(), routed] {
            let allowed = !matches!(kind, 3 | 4 | 5 | 11 | 12);
            assert_eq!(may_answer_v4(&Family::packet(&FOUR, &ip, 1, &message)), allowed, "ICMP type {kind}");
        }
    }
    let fragment = |offset| Ip { fragment: Some(Fragment { offset, more: true }), ..Ip::default() };
    assert!(may_answer_v4(&Family::packet(&FOUR, &fragment(0), 17, &[0; 8])));
    assert!(!may_answer_v4(&Family::packet(&FOUR, &fragment(8), 17, &[0; 8])));
}

/// Sequence and acknowledgment number and flags of an answer.
type Answer = (u32, u32, u8);

/// Flags and data of a segment with sequence number 0x01020304 and acknowledgment number 0xa0b0c0d0, and its answer.
const RESETS: [(u8, &[u8], Option<Answer>); 7] = [
    (tcp_flags::ACK, b"", Some((0xa0b0_c0d0, 0, tcp_flags::RST))),
    (tcp_flags::ACK | tcp_flags::FIN, b"data", Some((0xa0b0_c0d0, 0, tcp_flags::RST))),
    (tcp_flags::SYN, b"", Some((0, 0x0102_0305, tcp_flags::RST | tcp_flags::ACK))),
    (tcp_flags::SYN | tcp_flags::FIN, b"data", Some((0, 0x0102_030a, tcp_flags::RST | tcp_flags::ACK))),
    (0, b"data", Some((0, 0x0102_0308, tcp_flags::RST | tcp_flags::ACK))),
    (tcp_flags::RST, b"", None),
    (tcp_flags::RST | tcp_flags::ACK, b"", None),
];

fn with_flags<A>(ends: &Endpoints<A>, flags: u8) -> etherparse::TcpHeader {
    let mut header = testing::tcp_header(ends);
    header.set_options_raw(&[1, 1, 1, 0]).unwrap();
    header.syn = flags & tcp_flags::SYN != 0;
    header.fin = flags & tcp_flags::FIN != 0;
    header.rst = flags & tcp_flags::RST != 0;
    header.ack = flags & tcp_flags::ACK != 0;
    header
}

fn bare_segment<A: Family>(ends: &Endpoints<A>, sequence: u32, acknowledgment: u32, flags: u8) -> Vec<u8> {
    let mut header = etherparse::TcpHeader::new(0, 0, sequence, 0);
    header.acknowledgment_number = acknowledgment;
    header.rst = flags & tcp_flags::RST != 0;
    header.ack = flags & tcp_flags::ACK != 0;
    testing::segment(ends, header, b"")
}

#[test]
fn resets_answer_as_rfc_9293_says() {
    for (flags, data, answer) in RESETS {
        let packet = Family::packet(&SIX, &Ip::default(), 6, &testing::segment(&SIX, with_flags(&SIX, flags), data));
        let parsed = parse_v6(&packet).unwrap();
        let (answered, bytes, _) = in_buffer(&packet, Offload::default(), |buf| tcp_reset_v6(buf, &parsed));
        let expected = answer.map_or(packet, |(sequence, acknowledgment, flags)| {
            Family::packet(&back(&SIX), &Ip::default(), 6, &bare_segment(&back(&SIX), sequence, acknowledgment, flags))
        });
        assert_eq!((answered, bytes), (answer.is_some(), expected), "IPv6, flags {flags:#x}");

        let packet = Family::packet(&FOUR, &Ip::default(), 6, &testing::segment(&FOUR, with_flags(&FOUR, flags), data));
        let parsed = parse_v4(&packet).unwrap();
        let (answered, bytes, _) = in_buffer(&packet, Offload::default(), |buf| tcp_reset_v4(buf, &parsed, 3));
        let expected = answer.map_or(packet, |(sequence, acknowledgment, flags)| {
            let ip = Ip { identification: 3, dont_fragment: true, ..Ip::default() };
            Family::packet(&back(&FOUR), &ip, 6, &bare_segment(&back(&FOUR), sequence, acknowledgment, flags))
        });
        assert_eq!((answered, bytes), (answer.is_some(), expected), "IPv4, flags {flags:#x}");
    }
}

#[test]
fn only_whole_tcp_segments_are_reset() {
    for packet in [testing::udp(&SIX, &Ip::default(), b""), testing::echo(&SIX, &Ip::default(), false, 1, b"")] {
        let parsed = parse_v6(&packet).unwrap();
        assert!(!in_buffer(&packet, Offload::default(), |buf| tcp_reset_v6(buf, &parsed)).0);
    }
    let first = Ip { fragment: Some(Fragment { offset: 0, more: true }), ..Ip::default() };
    let packet = testing::tcp(&SIX, &first, b"12345678");
    let parsed = parse_v6(&packet[..packet.len() - 4]);
    assert!(parsed.is_err());
    let packet = testing::tcp(&SIX, &first, b"1234");
    let parsed = parse_v6(&packet).unwrap();
    assert!(!in_buffer(&packet, Offload::default(), |buf| tcp_reset_v6(buf, &parsed)).0);
}

#[test]
fn a_probe_is_an_empty_segment_with_only_ack() {
    let expected = Family::packet(&back(&SIX), &Ip::default(), 6, &bare_segment(&back(&SIX), 0, 0, tcp_flags::ACK));
    assert_eq!(probe_v6(&back(&SIX))[..], expected);
    let ip = Ip { identification: 3, dont_fragment: true, ..Ip::default() };
    let expected = Family::packet(&FOUR, &ip, 6, &bare_segment(&FOUR, 0, 0, tcp_flags::ACK));
    assert_eq!(probe_v4(&FOUR, 3)[..], expected);
}
