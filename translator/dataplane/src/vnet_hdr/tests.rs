use nat64_core::{Gso, GsoKind, Offload, PartialChecksum};
use proptest::prelude::*;

use super::{InvalidOffload, SIZE, emit, parse};
use crate::tests::packets::{finished, super_packet, tcp, udp4, udp6};

/// flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
fn header(flags: u8, kind: u8, fields: [u16; 4]) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes[0] = flags;
    bytes[1] = kind;
    for (at, field) in fields.into_iter().enumerate() {
        bytes[2 + 2 * at..4 + 2 * at].copy_from_slice(&field.to_le_bytes());
    }
    bytes
}

#[test]
fn an_empty_header_means_a_finished_packet() {
    assert_eq!(parse(&[0; SIZE], &udp4(b"x")), Ok(Offload::default()));
    assert_eq!(emit(&udp4(b"x"), Offload::default()), Ok([0; SIZE]));
}

#[test]
fn a_verified_checksum_is_told_both_ways() {
    let offload = Offload { data_valid: true, ..Offload::default() };

    assert_eq!(parse(&header(2, 0, [0; 4]), &udp4(b"x")), Ok(offload));
    assert_eq!(emit(&udp4(b"x"), offload), Ok(header(2, 0, [0; 4])));
}

#[test]
fn a_partial_checksum_is_told_both_ways() {
    let offload = Offload { checksum: Some(PartialChecksum { start: 40, offset: 6 }), ..Offload::default() };
    let bytes = header(1, 0, [0, 0, 40, 6]);

    assert_eq!(parse(&bytes, &udp6(b"x")), Ok(offload));
    assert_eq!(emit(&udp6(b"x"), offload), Ok(bytes));
}

#[test]
fn every_kind_of_super_packet_is_told_both_ways() {
    let cases = [
        (GsoKind::TcpV4, 1 | 0x80, tcp(GsoKind::TcpV4, &[0; 3000]), [52, 1000, 20, 16], true),
        (GsoKind::TcpV6, 4 | 0x80, tcp(GsoKind::TcpV6, &[0; 3000]), [72, 1000, 40, 16], true),
        (GsoKind::Udp, 5, udp4(&[0; 3000]), [28, 1000, 20, 6], false),
        (GsoKind::Udp, 5, udp6(&[0; 3000]), [48, 1000, 40, 6], false),
    ];
    for (kind, wire, packet, fields, ecn) in cases {
        let [header_len, segment_size, start, offset] = fields;
        let offload = Offload {
            checksum: Some(PartialChecksum { start, offset }),
            gso: Some(Gso { kind, segment_size, header_len, ecn }),
            data_valid: false,
        };
        assert_eq!(emit(&packet, offload), Ok(header(1, wire, fields)));
        assert_eq!(
            parse(&header(1, wire, [9999, segment_size, start, offset]), &packet),
            Ok(offload),
            "hdr_len is ours"
        );
    }
}

#[test]
fn what_does_not_fit_the_packet_is_refused() {
    let tcp4 = tcp(GsoKind::TcpV4, &[0; 100]);
    let refused = |flags, kind, fields, packet: &[u8]| parse(&header(flags, kind, fields), packet).unwrap_err();

    assert_eq!(refused(1, 0, [0, 0, 151, 0], &tcp4), InvalidOffload::ChecksumOutside);
    assert_eq!(refused(1, 0, [0, 0, u16::MAX, u16::MAX], &tcp4), InvalidOffload::ChecksumOutside);
    assert_eq!(refused(1, 1, [0, 0, 20, 16], &tcp4), InvalidOffload::NoSegmentSize);
    assert_eq!(refused(0, 1, [0, 10, 20, 16], &tcp4), InvalidOffload::GsoChecksum);
    assert_eq!(refused(1, 1, [0, 10, 20, 6], &tcp4), InvalidOffload::GsoChecksum);
    assert_eq!(refused(1, 4, [0, 10, 20, 16], &tcp4), InvalidOffload::GsoVersion);
    assert_eq!(refused(1, 3, [0, 10, 20, 6], &tcp4), InvalidOffload::UnknownGso(3), "UFO");
    assert_eq!(refused(1, 1, [0, 10, 24, 16], &tcp4), InvalidOffload::Headers, "not where the IPv4 header ends");
    assert_eq!(refused(1, 1, [0, 10, 20, 16], &tcp4[..40]), InvalidOffload::Headers, "options cut off");
    assert_eq!(refused(1, 5, [0, 10, 20, 6], &[]), InvalidOffload::ChecksumOutside);
}

#[test]
fn a_tcp_header_shorter_than_it_may_be_is_refused() {
    let mut packet = tcp(GsoKind::TcpV6, &[0; 100]);
    packet[40 + 12] = 0x40;

    assert_eq!(emit(&packet, super_packet(&packet, GsoKind::TcpV6, 10)), Err(InvalidOffload::Headers));
}

proptest! {
    #[test]
    fn any_header_on_any_bytes_is_refused_or_can_be_told_and_finished(
        header: [u8; SIZE],
        kind in prop::sample::select(vec![0_u8, 1, 4, 5, 0x81, 0x84]),
        start in 0_u16..64,
        offset in prop::sample::select(vec![0_u16, 2, 6, 16]),
        first in prop::sample::select(vec![0x45_u8, 0x46, 0x60, 0]),
        mut packet in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut header = header;
        header[1] = kind;
        header[6..8].copy_from_slice(&start.to_le_bytes());
        header[8..10].copy_from_slice(&offset.to_le_bytes());
        if let Some(byte) = packet.first_mut() {
            *byte = first;
        }
        if let Ok(offload) = parse(&header, &packet) {
            let told = emit(&packet, offload).unwrap();
            prop_assert_eq!(parse(&told, &packet), Ok(offload_as_told(offload)));
            prop_assert!(finished(packet, offload).is_ok());
        }
    }
}

/// A packet whose checksum is to be finished cannot also be told to be verified.
fn offload_as_told(offload: Offload) -> Offload {
    Offload { data_valid: offload.data_valid && offload.checksum.is_none(), ..offload }
}
