//! Properties of translation, for any packet.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::links::LinkMtus;
use crate::packet::testing::{self, Ip, SIX, in_buffer};
use crate::packet::{
    Gso, GsoKind, Offload, PacketBuf, PartialChecksum, Upper, original_datagram, parse_embedded_v4, parse_embedded_v6,
    parse_v4, parse_v6,
};
use crate::policy::HeaderPolicy;
use crate::spill::Spill;

fn endpoints6() -> impl Strategy<Value = Endpoints<Ipv6Addr>> {
    (1..u128::MAX, any::<u16>(), 1..u128::MAX, any::<u16>()).prop_map(|(source, source_port, destination, port)| {
        Endpoints {
            source: Ipv6Addr::from_bits(source),
            source_port,
            destination: Ipv6Addr::from_bits(destination),
            destination_port: port,
        }
    })
}

fn endpoints4() -> impl Strategy<Value = Endpoints<Ipv4Addr>> {
    (1..u32::MAX, any::<u16>(), 1..u32::MAX, any::<u16>()).prop_map(|(source, source_port, destination, port)| {
        Endpoints {
            source: Ipv4Addr::from_bits(source),
            source_port,
            destination: Ipv4Addr::from_bits(destination),
            destination_port: port,
        }
    })
}

fn offload() -> impl Strategy<Value = Offload> {
    let partial = (any::<u16>(), any::<u16>()).prop_map(|(start, offset)| PartialChecksum { start, offset });
    let partial = prop_oneof![partial, Just(PartialChecksum { start: 40, offset: 6 })];
    let kinds = prop_oneof![Just(GsoKind::TcpV4), Just(GsoKind::TcpV6), Just(GsoKind::Udp)];
    let gso = (kinds, any::<u16>(), any::<u16>(), any::<bool>())
        .prop_map(|(kind, segment_size, header_len, ecn)| Gso { kind, segment_size, header_len, ecn });
    (proptest::option::of(partial), proptest::option::of(gso), any::<bool>())
        .prop_map(|(checksum, gso, data_valid)| Offload { checksum, gso, data_valid })
}

/// Bytes that look like IP more often than not, with a right header checksum in IPv4.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let protocols = prop::sample::select(vec![0_u8, 1, 1, 1, 1, 6, 6, 17, 17, 43, 44, 60, 132]);
    let len = prop_oneof![0..200_usize, 0..3000_usize];
    (len, any::<bool>(), protocols, any::<u64>(), 0..13_u8).prop_map(|(len, v6, protocol, seed, kind)| {
        let mut state = seed | 1;
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        })
        .take(len)
        .collect();
        let icmp = if v6 { 58 } else { 1 };
        dress(&mut bytes, v6, if protocol == 1 { icmp } else { protocol }, kind);
        let header_len = if v6 { 40 } else { 20 };
        // A packet in error inside.
        if let Some(inside) = bytes.get_mut(header_len + 8..) {
            dress(inside, v6, [6, 17, icmp][usize::from(seed.to_le_bytes()[3] % 3)], 8);
        }
        if !v6 {
            fix_header_checksum(&mut bytes);
        }
        bytes
    })
}

/// Makes bytes look like a packet of that version and protocol whose first transport bytes make sense.
fn dress(bytes: &mut [u8], v6: bool, protocol: u8, kind: u8) {
    let len = u16::try_from(bytes.len()).unwrap();
    let header_len = if v6 { 40 } else { 20 };
    let Some(header) = bytes.get_mut(..header_len) else { return };
    if v6 {
        header[0] = 0x60;
        header[4..6].copy_from_slice(&(len - 40).to_be_bytes());
        header[6] = protocol;
    } else {
        header[0] = 0x45;
        header[2..4].copy_from_slice(&len.to_be_bytes());
        header[6] &= 0x40;
        header[7] = 0;
        header[9] = protocol;
    }
    let Some(transport) = bytes.get_mut(header_len..header_len + 14) else { return };
    match protocol {
        6 => transport[12] = 0x50,
        17 => transport[4..6].copy_from_slice(&8_u16.to_be_bytes()),
        1 => (transport[0], transport[1]) = (kind, transport[1] & 0xf),
        58 => (transport[0], transport[1]) = (if kind < 8 { kind } else { 120 + kind }, transport[1] & 3),
        _ => {}
    }
}

fn fix_header_checksum(bytes: &mut [u8]) {
    if let Some(header) = bytes.get_mut(..20) {
        header[10..12].fill(0);
        let checksum = crate::packet::checksum::Sum::ZERO.bytes(header).checksum();
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// A transport of one version may be an extension header's number in the other.
const fn is_other(upper: Upper) -> bool {
    matches!(upper, Upper::Other(_))
}

/// Everything that can be done to a packet, each with the packet as it came.
fn do_everything(buf: &mut PacketBuf<'_>, four: &Endpoints<Ipv4Addr>, six: &Endpoints<Ipv6Addr>, spill: &mut Spill) {
    let policy = HeaderPolicy::default();
    let links = LinkMtus::default();
    if let Ok(parsed) = parse_v6(buf.bytes()) {
        let embedded = parse_embedded_v6(original_datagram(buf.bytes(), &parsed));
        let to = ErrorEndpoints { source: four.source, destination: four.destination, embedded: *four };
        let translated = six_to_four(buf, &parsed, four, &policy, 1).is_ok()
            || embedded
                .is_ok_and(|embedded| error_six_to_four(buf, &parsed, &embedded, &to, &policy, &links, 1).is_ok());
        assert!(!translated || is_other(parsed.upper) || parse_v4(buf.bytes()).is_ok(), "it can be parsed again");
    } else if let Ok(parsed) = parse_v4(buf.bytes()) {
        let embedded = parse_embedded_v4(original_datagram(buf.bytes(), &parsed));
        let to = ErrorEndpoints { source: six.source, destination: six.destination, embedded: *six };
        let translated = four_to_six(buf, &parsed, six, &policy, 1).is_ok()
            || embedded
                .is_ok_and(|embedded| error_four_to_six(buf, &parsed, &embedded, &to, &policy, &links, 1).is_ok());
        assert!(!translated || is_other(parsed.upper) || parse_v6(buf.bytes()).is_ok(), "it can be parsed again");
        if translated {
            let _ = split_v6(buf, 1, 1280, spill);
        }
    }
    clamp_mss(buf, 40, 1000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_rewriting_panic(
        bytes in packet(),
        offload in offload(),
        four in endpoints4(),
        six in endpoints6(),
        refusal in prop::sample::select(vec![Refusal::HopLimitExceeded, Refusal::PacketTooBig(70_000), Refusal::ParameterProblem(300)]),
    ) {
        in_buffer(&bytes, offload, |buf| do_everything(buf, &four, &six, &mut Spill::new()));
        in_buffer(&bytes, offload, |buf| { let _ = split_v6(buf, 1, 0, &mut Spill::new()); });
        let _ = (may_answer_v4(&bytes), may_answer_v6(&bytes));
        in_buffer(&bytes, offload, |buf| icmpv4_error(buf, refusal, four.source, 1));
        in_buffer(&bytes, offload, |buf| icmpv6_error(buf, refusal, six.source));
        if let Ok(parsed) = parse_v4(&bytes) {
            in_buffer(&bytes, offload, |buf| tcp_reset_v4(buf, &parsed, 1));
        }
        if let Ok(parsed) = parse_v6(&bytes) {
            in_buffer(&bytes, offload, |buf| tcp_reset_v6(buf, &parsed));
        }
    }

    #[test]
    fn a_parse_of_another_packet_does_not_make_rewriting_panic(
        bytes in packet(),
        other in packet(),
        offload in offload(),
        four in endpoints4(),
        six in endpoints6(),
    ) {
        let policy = HeaderPolicy::default();
        if let Ok(parsed) = parse_v6(&other) {
            in_buffer(&bytes, offload, |buf| { let _ = six_to_four(buf, &parsed, &four, &policy, 1); });
        }
        if let Ok(parsed) = parse_v4(&other) {
            in_buffer(&bytes, offload, |buf| { let _ = four_to_six(buf, &parsed, &six, &policy, 1); });
        }
    }

    #[test]
    fn there_and_back_again_changes_nothing_but_the_hop_limit(
        six in endpoints6(),
        four in endpoints4(),
        hop_limit in 3_u8..,
        traffic_class in any::<u8>(),
        udp in any::<bool>(),
        payload in proptest::collection::vec(any::<u8>(), 0..1500),
    ) {
        let build = if udp { testing::udp } else { testing::tcp };
        let ip = Ip { hop_limit, traffic_class, ..Ip::default() };
        let packet = build(&six, &ip, &payload);
        let policy = HeaderPolicy::default();
        let (_, bytes, _) = in_buffer(&packet, Offload::default(), |buf| {
            let parsed = parse_v6(buf.bytes()).unwrap();
            six_to_four(buf, &parsed, &four, &policy, 1).unwrap();
            let parsed = parse_v4(buf.bytes()).unwrap();
            four_to_six(buf, &parsed, &six, &policy, 1).unwrap();
        });
        prop_assert_eq!(bytes, build(&six, &Ip { hop_limit: hop_limit - 2, ..ip }, &payload));
    }

    #[test]
    fn updated_checksums_are_those_of_a_full_computation(
        four in endpoints4(),
        identifier in any::<u16>(),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let to_four = |packet: &[u8]| {
            let parsed = parse_v6(packet).unwrap();
            let policy = HeaderPolicy::default();
            in_buffer(packet, Offload::default(), |buf| six_to_four(buf, &parsed, &four, &policy, 9).unwrap()).1
        };
        let ip = Ip { identification: 9, ..Ip::hops(63) };
        let packet = testing::tcp(&SIX, &Ip::default(), &payload);
        prop_assert_eq!(to_four(&packet), testing::tcp(&four, &ip, &payload));
        let packet = testing::udp(&SIX, &Ip::default(), &payload);
        prop_assert_eq!(to_four(&packet), testing::udp(&four, &ip, &payload));
        let packet = testing::echo(&SIX, &Ip::default(), false, identifier, &payload);
        prop_assert_eq!(to_four(&packet), testing::echo(&four, &ip, false, four.source_port, &payload));
    }
}
