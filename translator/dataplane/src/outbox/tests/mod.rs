mod bench;

use std::collections::BTreeMap;

use nat64_core::packet::checksum::Sum;
use nat64_core::{GsoKind, Offload};
use proptest::prelude::*;

use super::Merging;
use crate::tests::packets::{finished, super_packet, with_partial_checksum};
use bench::{ALL, Bench, DATA, Made, by_flow, essence, sequence_of};

/// How many packets each of the written ones stands for.
fn counts(written: &[(Vec<u8>, Offload)]) -> Vec<usize> {
    written.iter().map(|(packet, offload)| finished(packet.clone(), *offload).unwrap().len()).collect()
}

#[test]
fn packets_of_a_flow_leave_as_one_super_packet_of_their_kind() {
    for (v6, tcp, kind) in [
        (false, false, GsoKind::Udp),
        (true, false, GsoKind::Udp),
        (false, true, GsoKind::TcpV4),
        (true, true, GsoKind::TcpV6),
    ] {
        let packets = sequence_of(Made { v6, tcp, ..DATA }, &[100, 100, 100, 1]);
        let mut bench = Bench::new(ALL);

        let written = bench.batch(&packets);

        assert_eq!(counts(&written), [4], "{kind:?}");
        let gso = written[0].1.gso.unwrap();
        assert_eq!((gso.kind, gso.segment_size), (kind, 100));
        let parts = finished(written[0].0.clone(), written[0].1).unwrap();
        assert!(parts.iter().map(|part| essence(part)).eq(packets.iter().map(|packet| essence(packet))), "{kind:?}");
        assert_eq!(bench.port.counters.snapshot().merged, 3);
        assert_eq!(bench.port.counters.snapshot().writes, 1);
    }
}

#[test]
fn a_packet_alone_leaves_as_it_came() {
    let packet = DATA.packet();
    let (partial, offload) = with_partial_checksum(packet.clone());
    let mut bench = Bench::new(ALL);

    assert_eq!(bench.batch([&packet]), [(packet, Offload::default())]);
    bench.push(&partial, offload);
    assert_eq!(bench.flush(), [(partial, offload)]);
}

#[test]
fn a_shorter_segment_ends_a_super_packet_and_a_longer_one_begins_another() {
    let mut bench = Bench::new(ALL);

    assert_eq!(counts(&bench.batch(&sequence_of(DATA, &[100, 99, 99, 99, 100]))), [2, 2, 1]);
    assert_eq!(counts(&bench.batch(&sequence_of(Made { tcp: true, ..DATA }, &[100, 101, 101]))), [1, 2]);
}

#[test]
fn a_pushed_segment_is_the_last_and_keeps_its_flag() {
    let mut packets = sequence_of(Made { tcp: true, ..DATA }, &[100, 100]);
    packets.extend(sequence_of(Made { tcp: true, sequence: 201, flags: 0x18, ..DATA }, &[100]));
    packets.extend(sequence_of(Made { tcp: true, sequence: 301, ..DATA }, &[100]));

    let written = Bench::new(ALL).batch(&packets);

    assert_eq!(counts(&written), [3, 1]);
    let flags: Vec<_> = finished(written[0].0.clone(), written[0].1).unwrap().iter().map(|part| part[33]).collect();
    assert_eq!(flags, [0x10, 0x10, 0x18]);
}

type Change = fn(&mut Vec<u8>);

#[test]
fn what_differs_in_more_than_its_place_is_not_merged() {
    let first = Made { tcp: true, ..DATA };
    let next = Made { sequence: 101, ..first.clone() };
    let different = |change: Change| {
        let mut packet = next.packet();
        change(&mut packet);
        // Whatever has been changed, the checksums are right.
        let len = u16::try_from(packet.len() - 20).unwrap();
        packet[10..12].fill(0);
        let header = Sum::ZERO.bytes(&packet[..20]).checksum();
        packet[10..12].copy_from_slice(&header.to_be_bytes());
        packet[36..38].fill(0);
        let sum = Sum::ZERO.bytes(&packet[12..20]).word(6).word(len).bytes(&packet[20..]).checksum();
        packet[36..38].copy_from_slice(&sum.to_be_bytes());
        packet
    };
    let cases: [(&str, Change); 8] = [
        ("DSCP", |packet| packet[1] = 0x20),
        ("Don't Fragment", |packet| packet[6] ^= 0x40),
        ("TTL", |packet| packet[8] = 63),
        ("sequence number", |packet| packet[27] += 1),
        ("acknowledgment", |packet| packet[31] += 1),
        ("window", |packet| packet[35] += 1),
        ("urgent pointer", |packet| packet[39] += 1),
        ("a timestamp", |packet| packet[47] += 1),
    ];
    assert_eq!(counts(&Bench::new(ALL).batch(&[first.packet(), different(|_| ())])), [2]);
    for (what, change) in cases {
        assert_eq!(counts(&Bench::new(ALL).batch(&[first.packet(), different(change)])), [1, 1], "{what}");
    }
    for flags in [0x11, 0x12, 0x14, 0x30, 0x50, 0x90, 0x00] {
        let other = Made { flags, ..next.clone() }.packet();
        assert_eq!(counts(&Bench::new(ALL).batch(&[first.packet(), other])), [1, 1], "flags {flags:#x}");
    }
}

#[test]
fn a_damaged_packet_is_passed_on_as_damaged_as_it_came() {
    for (v6, tcp) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut packets = sequence_of(Made { v6, tcp, ..DATA }, &[100, 100, 100]);
        *packets[1].last_mut().unwrap() ^= 1;

        let written = Bench::new(ALL).batch(&packets);

        assert_eq!(written.into_iter().map(|(packet, _)| packet).collect::<Vec<_>>(), packets);
    }
}

#[test]
fn a_packet_whose_checksum_the_device_has_verified_or_left_out_is_merged_without_another_look() {
    let made = [DATA.packet(), DATA.packet()].map(with_partial_checksum);
    let mut verified = DATA.packet();
    verified[26] ^= 1;
    let mut bench = Bench::new(ALL);

    made.iter().for_each(|(packet, offload)| bench.push(packet, *offload));
    assert_eq!(counts(&bench.flush()), [2]);
    for _ in 0..2 {
        bench.push(&verified, Offload { data_valid: true, ..Offload::default() });
    }
    assert_eq!(counts(&bench.flush()), [2]);
}

#[test]
fn what_cannot_be_merged_does_not_overtake_its_flow() {
    let mut fragment = DATA.packet();
    fragment[6] = 0x20;
    let mut empty = Made { payload: 0, ..DATA }.packet();
    empty[26..28].fill(0);
    for odd in [fragment, empty, vec![0x45; 30]] {
        let before = DATA.packet();
        let mut bench = Bench::new(ALL);

        let written = bench.batch([&before, &odd, &before, &before]);

        assert_eq!(written.iter().map(|(packet, _)| packet).take(2).collect::<Vec<_>>(), [&before, &odd]);
        assert_eq!(written.len(), 3);
    }
}

#[test]
fn a_super_packet_leaves_behind_what_came_before_it() {
    let first = Made { tcp: true, ..DATA }.packet();
    let whole = Made { tcp: true, sequence: 101, payload: 3000, ..DATA }.packet();
    let offload = super_packet(&whole, GsoKind::TcpV4, 1000);
    let mut bench = Bench::new(ALL);

    bench.push(&first, Offload::default());
    bench.push(&whole, offload);

    assert_eq!(bench.flush(), [(first, Offload::default()), (whole, offload)]);
}

#[test]
fn no_super_packet_is_longer_or_has_more_segments_than_a_kernel_takes() {
    let long = Bench::new(ALL).batch(&sequence_of(Made { v6: true, ..DATA }, &[1400; 100]));
    let many = Bench::new(ALL).batch(&sequence_of(DATA, &[1; 130]));

    assert_eq!(counts(&long), [46, 46, 8]);
    assert!(long.iter().all(|(packet, _)| packet.len() <= 65_535));
    assert_eq!(counts(&many), [64, 64, 2]);
}

#[test]
fn more_flows_than_there_is_room_for_lose_nothing() {
    let packets: Vec<_> = (0..3).flat_map(|_| (1..=40).map(|flow| Made { flow, ..DATA }.packet())).collect();

    let written = Bench::new(ALL).batch(&packets);

    let flows = by_flow(written);
    assert_eq!(flows.len(), 40);
    assert!(flows.values().all(|flow| flow.len() == 3));
}

#[test]
fn batches_without_anything_to_merge_are_followed_by_some_that_are_not_looked_at() {
    let mut bench = Bench::new(ALL);
    let flows: Vec<_> = (0..32).map(|flow| Made { flow, ..DATA }.packet()).collect();
    let one_flow = sequence_of(DATA, &[100; 32]);
    let writes_of = |bench: &mut Bench| counts(&bench.batch(&one_flow)).len();
    assert_eq!((counts(&bench.batch(&flows[..31])), writes_of(&mut bench)), (vec![1; 31], 1), "too few to tell");

    assert_eq!(counts(&bench.batch(&flows)), [1; 32]);

    let writes: Vec<_> = (0..17).map(|_| writes_of(&mut bench)).collect();
    assert_eq!(writes, [&[32; 15][..], &[1, 1]].concat(), "it is tried again");
    let mixed: Vec<_> = flows[3..].iter().chain(&one_flow[..4]).cloned().collect();
    assert_eq!((bench.batch(&mixed).len(), writes_of(&mut bench)), (30, 1), "a few merged ones pay for the rest");
}

#[test]
fn a_kernel_that_refuses_super_packets_gets_single_ones_from_then_on() {
    let packets = sequence_of(DATA, &[100; 5]);
    let mut bench = Bench::new(ALL);
    bench.port.queue.takes_super_packets = false;

    let refused = bench.batch(&packets);
    let later = bench.batch(&packets);

    for written in [refused, later] {
        assert_eq!(
            written.iter().map(|(packet, _)| essence(packet)).collect::<Vec<_>>(),
            packets.iter().map(|packet| essence(packet)).collect::<Vec<_>>()
        );
    }
    assert_eq!(bench.port.counters.snapshot().software_offloads, 1);
}

#[test]
fn without_offload_nothing_is_merged() {
    let packets = sequence_of(DATA, &[100; 5]);

    let written = Bench::new(Merging::NONE).batch(&packets);

    assert_eq!(written.into_iter().map(|(packet, _)| packet).collect::<Vec<_>>(), packets);
}

fn made() -> impl Strategy<Value = Made> {
    let flags = prop::sample::select(vec![0x10_u8, 0x10, 0x10, 0x10, 0x18, 0x11, 0x02]);
    let payload = prop::sample::select(vec![0_usize, 1, 99, 100, 100, 100, 100, 1400]);
    (any::<bool>(), any::<bool>(), 1_u16..4, flags, 63_u8..65, payload)
        .prop_map(|(v6, tcp, flow, flags, ttl, payload)| Made { v6, tcp, flow, sequence: 0, flags, ttl, payload })
}

proptest! {
    #[test]
    fn every_flow_arrives_as_it_came_whatever_is_merged(
        mut batch in prop::collection::vec((made(), any::<bool>(), prop::bool::weighted(0.9)), 0..80),
    ) {
        let mut next = BTreeMap::new();
        for (one, _, in_order) in &mut batch {
            let next = next.entry((one.v6, one.flow)).or_insert(u32::MAX - 500);
            one.sequence = if *in_order { *next } else { next.wrapping_add(7) };
            *next = one.sequence.wrapping_add(u32::try_from(one.payload).unwrap());
        }
        let packets: Vec<_> = batch.iter().map(|(one, partial, _)| match one.packet() {
            packet if *partial && !one.tcp => with_partial_checksum(packet),
            packet => (packet, Offload::default()),
        }).collect();
        let mut bench = Bench::new(ALL);

        packets.iter().for_each(|(packet, offload)| bench.push(packet, *offload));
        let written = bench.flush();

        let stats = bench.port.counters.snapshot();
        prop_assert_eq!(stats.writes + stats.merged, packets.len() as u64);
        prop_assert_eq!(by_flow(written), by_flow(packets));
    }
}
