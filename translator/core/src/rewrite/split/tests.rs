use super::*;
use crate::packet::testing::{self, Family, Ip, SIX, back, in_buffer, pattern};
use crate::packet::{PartialChecksum, parse_v6};

/// What a packet is split into; none if it stays in its buffer.
fn split(packet: &[u8], offload: Offload, max: u16) -> Result<Option<Vec<Vec<u8>>>, DropReason> {
    let mut spill = Spill::new();
    let (result, _, _) = in_buffer(packet, offload, |buf| split_v6(buf, 0xbeef, max, &mut spill));
    let mut packets = Vec::new();
    spill.drain(|packet, offload| {
        assert_eq!(offload, Offload::default());
        packets.push(packet.to_vec());
    });
    Ok(match result? {
        Split::InPlace => None,
        Split::Spilled => Some(packets),
    })
}

fn spilled(packet: &[u8], offload: Offload, max: u16) -> Vec<Vec<u8>> {
    split(packet, offload, max).unwrap().expect("it is split")
}

/// Checks that fragments fit and follow each other, and puts their data together.
fn reassemble(fragments: &[Vec<u8>], max: usize) -> Vec<u8> {
    let mut data = Vec::new();
    for (index, packet) in fragments.iter().enumerate() {
        assert!(packet.len() <= max);
        let sliced = etherparse::SlicedPacket::from_ip(packet).unwrap();
        assert!(sliced.is_ip_payload_fragmented());
        let parsed = parse_v6(packet).unwrap();
        let at = parsed.fragment.unwrap();
        assert_eq!(usize::from(at.offset), data.len());
        assert_eq!(at.more, index + 1 < fragments.len());
        assert_eq!(parsed.identification, 0xbeef);
        data.extend_from_slice(&packet[48..]);
    }
    data
}

#[test]
fn what_fits_stays_in_its_buffer() {
    let packet = testing::udp(&back(&SIX), &Ip::default(), &pattern(1232));
    assert_eq!(packet.len(), 1280);
    assert_eq!(split(&packet, Offload::default(), 1280), Ok(None));
    assert_eq!(split(&packet, Offload::default(), 0), Ok(None), "no less than the minimum MTU of IPv6");
}

#[test]
fn what_does_not_fit_is_fragmented() {
    for len in [1233, 1500, 5000, 65_000] {
        for max in [1280, 1500, 1503] {
            let datagram = testing::datagram(&back(&SIX), &pattern(len));
            let packet = Family::packet(&back(&SIX), &Ip::hops(9), 17, &datagram);
            if packet.len() <= usize::from(max) {
                continue;
            }
            let fragments = spilled(&packet, Offload::default(), max);
            assert_eq!(reassemble(&fragments, max.into()), datagram);
            assert!(fragments.iter().all(|packet| parse_v6(packet).unwrap().hop_limit == 9));
        }
    }
}

#[test]
fn fragments_are_as_large_as_they_can_be() {
    let packet = testing::udp(&back(&SIX), &Ip::default(), &pattern(3000));
    let lengths: Vec<_> = spilled(&packet, Offload::default(), 1280).iter().map(Vec::len).collect();
    assert_eq!(lengths, [1280, 1280, 48 + 3008 - 2 * 1232]);
}

#[test]
fn a_fragment_is_fragmented_further() {
    let data = pattern(2400);
    for more in [false, true] {
        let at = Fragment { offset: 1600, more };
        let ip = Ip { fragment: Some(at), identification: 0x1111, ..Ip::default() };
        let packet = <std::net::Ipv6Addr as Family>::packet(&back(&SIX), &ip, 17, &data);
        let fragments = spilled(&packet, Offload::default(), 1280);
        let places: Vec<_> = fragments.iter().map(|packet| parse_v6(packet).unwrap()).collect();
        assert_eq!(places[0].fragment, Some(Fragment { offset: 1600, more: true }));
        assert_eq!(places[1].fragment, Some(Fragment { offset: 1600 + 1232, more }));
        assert!(places.iter().all(|parsed| parsed.identification == 0x1111));
        assert_eq!([&fragments[0][48..], &fragments[1][48..]].concat(), data);
    }
}

#[test]
fn a_checksum_that_was_left_to_the_device_is_computed_first() {
    let datagram = testing::datagram(&back(&SIX), &pattern(2000));
    let mut packet = Family::packet(&back(&SIX), &Ip::default(), 17, &datagram);
    let ends = back(&SIX);
    let pseudo = checksum::pseudo_v6(ends.source, ends.destination, 17, 2008);
    packet[46..48].copy_from_slice(&pseudo.fold().to_be_bytes());
    let offload = Offload { checksum: Some(PartialChecksum { start: 40, offset: 6 }), ..Offload::default() };
    assert_eq!(reassemble(&spilled(&packet, offload, 1280), 1280), datagram);
}

#[test]
fn the_segments_of_a_tcp_super_packet_are_made_shorter() {
    let packet = testing::tcp(&back(&SIX), &Ip::default(), &pattern(20_000));
    let gso = |segment_size| Gso { kind: GsoKind::TcpV6, segment_size, header_len: 60, ecn: false };
    for (before, after) in [(1460, 1220), (1220, 1220), (536, 536)] {
        let offload = Offload { gso: Some(gso(before)), ..Offload::default() };
        let mut spill = Spill::new();
        let (result, bytes, offload) = in_buffer(&packet, offload, |buf| split_v6(buf, 1, 1280, &mut spill));
        assert_eq!(result, Ok(Split::InPlace));
        assert_eq!(bytes, packet);
        assert_eq!(offload.gso, Some(gso(after)));
        assert!(spill.is_empty());
    }
}

#[test]
fn the_datagrams_of_a_udp_super_packet_are_fragmented_one_by_one() {
    let payload = pattern(4000);
    let packet = testing::udp(&back(&SIX), &Ip::hops(5), &payload);
    let gso = Gso { kind: GsoKind::Udp, segment_size: 1400, header_len: 48, ecn: false };
    let offload =
        Offload { gso: Some(gso), checksum: Some(PartialChecksum { start: 40, offset: 6 }), data_valid: false };
    let packets = spilled(&packet, offload, 1280);
    // Two datagrams of two fragments each, and one that fits.
    assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [1280, 224, 1280, 224, 1248]);
    for (index, pair) in packets[..4].chunks(2).enumerate() {
        let expected = testing::datagram(&back(&SIX), &payload[index * 1400..][..1400]);
        assert_eq!([&pair[0][48..], &pair[1][48..]].concat(), expected);
        let identification = 0xbeef + u32::try_from(index).unwrap();
        assert!(pair.iter().all(|packet| parse_v6(packet).unwrap().identification == identification));
    }
    assert_eq!(packets[4], testing::udp(&back(&SIX), &Ip::hops(5), &payload[2800..]));
}

#[test]
fn datagrams_of_a_udp_super_packet_that_fit_stay_one() {
    let packet = testing::udp(&back(&SIX), &Ip::default(), &pattern(4000));
    let gso = Gso { kind: GsoKind::Udp, segment_size: 1200, header_len: 48, ecn: false };
    assert_eq!(split(&packet, Offload { gso: Some(gso), ..Offload::default() }, 1280), Ok(None));
}

#[test]
fn without_room_nothing_is_spilled() {
    let packet = testing::udp(&back(&SIX), &Ip::default(), &pattern(3000));
    let mut spill = Spill::new();
    for _ in 0..Spill::PACKETS - 2 {
        assert!(spill.push(&[&[0x60]], Offload::default()));
    }
    let (result, bytes, _) = in_buffer(&packet, Offload::default(), |buf| split_v6(buf, 1, 1280, &mut spill));
    assert_eq!(result, Err(DropReason::FragmentLimit));
    assert_eq!(bytes, packet);
    let mut count = 0;
    spill.drain(|_, _| count += 1);
    assert_eq!((count, spill.lost()), (Spill::PACKETS - 2, 0));
}
