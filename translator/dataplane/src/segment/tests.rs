use nat64_core::packet::checksum::Sum;
use nat64_core::{GsoKind, Offload};
use proptest::prelude::*;

use crate::tests::packets::{finished, super_packet, tcp, udp4, udp6, verified_payload, with_partial_checksum};
use crate::vnet_hdr::{self, InvalidOffload};

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

fn flags(segment: &[u8]) -> u8 {
    let transport = if segment[0] >> 4 == 4 { 20 } else { 40 };
    segment[transport + 13]
}

fn sequence(segment: &[u8]) -> u32 {
    let at = if segment[0] >> 4 == 4 { 20 } else { 40 } + 4;
    u32::from_be_bytes(segment[at..at + 4].try_into().unwrap())
}

fn identification(segment: &[u8]) -> u16 {
    u16::from_be_bytes([segment[4], segment[5]])
}

#[test]
fn tcp_over_either_version_is_split_with_complete_headers() {
    for kind in [GsoKind::TcpV4, GsoKind::TcpV6] {
        let data = payload(3500);
        let packet = tcp(kind, &data);
        let start = sequence(&packet);

        let parts = finished(packet.clone(), super_packet(&packet, kind, 1000)).unwrap();

        let lengths: Vec<_> = parts.iter().map(|part| verified_payload(part).len()).collect();
        assert_eq!(lengths, [1000, 1000, 1000, 500], "an odd last segment");
        assert_eq!(parts.iter().flat_map(|part| verified_payload(part)).collect::<Vec<_>>(), data);
        let sequences: Vec<_> = parts.iter().map(|part| sequence(part).wrapping_sub(start)).collect();
        assert_eq!(sequences, [0, 1000, 2000, 3000], "sequence numbers go on, over 2^32");
    }
}

#[test]
fn fin_and_psh_are_in_the_last_segment_and_cwr_in_the_first_only() {
    let packet = tcp(GsoKind::TcpV6, &payload(3000));

    let parts = finished(packet.clone(), super_packet(&packet, GsoKind::TcpV6, 1000)).unwrap();

    let seen: Vec<_> = parts.iter().map(|part| flags(part)).collect();
    assert_eq!(seen, [0xd0, 0x50, 0x59], "CWR|ECE|ACK, ECE|ACK, ECE|ACK|PSH|FIN");
}

#[test]
fn ipv4_identifications_count_on_and_wrap() {
    let packet = tcp(GsoKind::TcpV4, &payload(2500));

    let parts = finished(packet.clone(), super_packet(&packet, GsoKind::TcpV4, 1000)).unwrap();

    assert_eq!(parts.iter().map(|part| identification(part)).collect::<Vec<_>>(), [0xfffe, 0xffff, 0]);
}

#[test]
fn udp_over_either_version_is_split_into_datagrams() {
    for make in [udp4, udp6] {
        let data = payload(2801);
        let packet = make(&data);

        let parts = finished(packet.clone(), super_packet(&packet, GsoKind::Udp, 1400)).unwrap();

        let payloads: Vec<_> = parts.iter().map(|part| verified_payload(part)).collect();
        assert_eq!(payloads.iter().map(Vec::len).collect::<Vec<_>>(), [1400, 1400, 1]);
        assert_eq!(payloads.concat(), data);
    }
}

#[test]
fn a_super_packet_without_payload_is_one_segment() {
    let packet = tcp(GsoKind::TcpV4, &[]);

    let parts = finished(packet.clone(), super_packet(&packet, GsoKind::TcpV4, 1000)).unwrap();

    assert_eq!(parts.len(), 1);
    assert_eq!(verified_payload(&parts[0]), []);
    assert_eq!(flags(&parts[0]), flags(&packet));
}

#[test]
fn a_partial_checksum_is_finished_in_place() {
    for whole in [udp4(b"some payload"), udp6(b"an odd payload!")] {
        let (packet, offload) = with_partial_checksum(whole.clone());

        assert_eq!(finished(packet, offload).unwrap(), [whole]);
    }
}

#[test]
fn a_checksum_of_zero_becomes_all_ones_for_udp_only() {
    let sum = Sum::ZERO.word(0xfffe).word(1);

    assert_eq!(super::transport_checksum(sum, vnet_hdr::UDP_CHECKSUM), 0xffff);
    assert_eq!(super::transport_checksum(sum, vnet_hdr::TCP_CHECKSUM), 0);
}

#[test]
fn a_finished_packet_stays_as_it_is() {
    let packet = udp4(b"x");

    assert_eq!(finished(packet.clone(), Offload::default()).unwrap(), [packet]);
}

#[test]
fn a_segment_that_no_length_field_can_tell_is_refused() {
    let packet = [tcp(GsoKind::TcpV4, &[]), vec![0; 65_530]].concat();

    let outcome = finished(packet.clone(), super_packet(&packet, GsoKind::TcpV4, u16::MAX));

    assert_eq!(outcome, Err(InvalidOffload::Headers));
}

proptest! {
    #[test]
    fn segments_carry_the_payload_whatever_the_sizes(len in 0_usize..20_000, size in 1_u16..3000, kind in 0..4) {
        let data = payload(len);
        let (packet, kind) = match kind {
            0 => (tcp(GsoKind::TcpV4, &data), GsoKind::TcpV4),
            1 => (tcp(GsoKind::TcpV6, &data), GsoKind::TcpV6),
            2 => (udp4(&data), GsoKind::Udp),
            _ => (udp6(&data), GsoKind::Udp),
        };
        let parts = finished(packet.clone(), super_packet(&packet, kind, size)).unwrap();
        prop_assert_eq!(parts.len(), len.div_ceil(usize::from(size)).max(1));
        prop_assert_eq!(parts.iter().flat_map(|part| verified_payload(part)).collect::<Vec<_>>(), data);
    }
}
