//! What must hold for any packet that goes through and comes back.

use nat64_core::packet::{Gso, GsoKind, Offload, PartialChecksum};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use crate::model::expected::set_header_checksum;
use crate::support::build::{ACK, Body, Ends, Ip, SYN, fragments, ip_packet, packet};
use crate::support::check::{ends_of, icmp_type, is_sound, payload, ports, pseudo_sum, sum};
use crate::support::{CLIENT, Lab, POOL, SERVER, policy, prefix};

/// A property, checked with the same packets every time.
fn check<S: Strategy>(cases: u32, strategy: S, property: impl Fn(S::Value)) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&strategy, |value| {
        property(value);
        Ok(())
    });
    result.unwrap();
}

fn body() -> impl Strategy<Value = Body> {
    let data = || vec(any::<u8>(), 0..1400);
    prop_oneof![
        (1_u16.., 1_u16.., data()).prop_map(|(from, to, data)| Body::Udp { from, to, checksum: true, data }),
        (1_u16.., 1_u16.., any::<u32>(), prop::option::of(any::<u16>()), data()).prop_map(
            |(from, to, sequence, mss, data)| Body::Tcp {
                from,
                to,
                flags: SYN,
                sequence,
                acknowledgment: 0,
                mss,
                data
            }
        ),
        (any::<u16>(), data()).prop_map(|(id, data)| Body::Echo { reply: false, id, data }),
    ]
}

fn ip() -> impl Strategy<Value = Ip> {
    (2_u8.., any::<u8>(), any::<bool>()).prop_map(|(hop_limit, traffic_class, dont_fragment)| Ip {
        hop_limit,
        traffic_class,
        dont_fragment,
        ..Ip::default()
    })
}

fn outwards() -> Ends {
    Ends::new(CLIENT, prefix().embed(SERVER))
}

/// What the server answers: the same data, the other way.
fn answer(request: &[u8], body: &Body, ip: &Ip) -> Vec<u8> {
    let ends = ends_of(request);
    let (from, to) = ports(request);
    let data = payload(request);
    let body = match body {
        Body::Tcp { .. } => {
            let (from, to) = (to, from);
            Body::Tcp { from, to, flags: SYN | ACK, sequence: 9, acknowledgment: 8, mss: None, data }
        }
        Body::Udp { .. } => Body::Udp { from: to, to: from, checksum: true, data },
        _ => Body::Echo { reply: true, id: from, data },
    };
    packet(Ends { source: ends.destination, destination: ends.source }, ip, &body)
}

#[test]
fn what_goes_out_and_comes_back_has_its_ports_and_data() {
    check(150, (body(), ip()), |(body, ip)| {
        let mut lab = Lab::new(policy());
        let request = packet(outwards(), &ip, &body);
        let sent = lab.pass(&request);
        is_sound(&sent).unwrap();
        assert_eq!(ends_of(&sent), Ends::new(POOL, SERVER));
        assert_eq!((payload(&sent), sent[1], sent[8]), (payload(&request), ip.traffic_class, ip.hop_limit - 1));
        // Not to be cut up on the way back.
        let reply = answer(&sent, &body, &Ip { dont_fragment: true, ..ip.clone() });
        let received = lab.pass(&reply);
        is_sound(&received).unwrap();
        assert_eq!(ends_of(&received), Ends::new(prefix().embed(SERVER), CLIENT));
        assert_eq!((payload(&received), received[7]), (payload(&request), ip.hop_limit - 1));
        let ((from, to), (there, here)) = (ports(&request), ports(&received));
        assert_eq!(
            if let Body::Echo { .. } = body { (from, from) } else { (from, to) },
            match body {
                Body::Echo { .. } => (there, from),
                _ => (here, there),
            }
        );
    });
}

#[test]
fn a_wrong_checksum_arrives_as_wrong_as_it_was() {
    check(150, (body(), any::<u16>(), any::<bool>()), |(body, by, back)| {
        // Of these the first changes nothing, and the second only the way that zero is written.
        if by == 0 || by == 0xffff {
            return;
        }
        let mut lab = Lab::new(policy());
        let request = packet(outwards(), &Ip::default(), &body);
        let sent = lab.pass(&request);
        let mut damaged =
            if back { answer(&sent, &body, &Ip { dont_fragment: true, ..Ip::default() }) } else { request };
        let header = if back { 20 } else { 40 };
        let at = header
            + match &body {
                Body::Tcp { .. } => 16,
                Body::Udp { .. } => 6,
                _ => 2,
            };
        let field = u16::from_be_bytes([damaged[at], damaged[at + 1]]);
        damaged[at..at + 2].copy_from_slice(&field.wrapping_add(by).max(1).to_be_bytes());
        let wrong = transport_sum(&damaged) % 0xffff;
        let received = lab.pass(&damaged);
        assert_eq!(transport_sum(&received) % 0xffff, wrong, "neither repaired nor made worse");
    });
}

/// The sum of what a transport checksum covers, with it: 0xffff if it is right.
fn transport_sum(packet: &[u8]) -> u32 {
    let ends = ends_of(packet);
    let (protocol, payload) =
        if ends.source.is_ipv6() { (packet[6], &packet[40..]) } else { (packet[9], &packet[20..]) };
    if protocol == 1 { sum(&[payload]) } else { pseudo_sum(ends, protocol, payload) }
}

#[test]
fn fragments_come_out_as_the_fragments_of_the_translated_datagram() {
    let sizes = prop_oneof![Just(8_usize), Just(256), Just(1000), Just(1232)];
    check(80, (body(), sizes, any::<u16>()), |(body, size, order)| {
        let request = packet(outwards(), &Ip::default(), &body);
        let size = if request.len() / size > 100 { 256 } else { size };
        if matches!(body, Body::Tcp { .. }) && size < 24 {
            // A TCP header in two fragments is refused.
            return;
        }
        let mut whole = Lab::new(policy());
        let expected = whole.pass(&request);
        let mut pieces = fragments(&request, size, 0x1234_5678);
        let by = usize::from(order) % pieces.len();
        pieces.rotate_left(by);
        let mut lab = Lab::new(policy());
        let translated: Vec<_> = pieces.iter().flat_map(|piece| lab.send(piece).packets()).collect();
        let datagram = reassembled(translated);
        // Both translators have the same seed and choose the same port.
        assert_eq!(payload(&datagram), payload(&expected));
        assert_eq!(ports(&datagram).1, ports(&expected).1);
        is_sound(&datagram).unwrap();
    });
}

/// The IPv4 datagram that fragments are of, which must be all of it.
fn reassembled(mut pieces: Vec<Vec<u8>>) -> Vec<u8> {
    let place = |piece: &Vec<u8>| usize::from(u16::from_be_bytes([piece[6], piece[7]]) & 0x1fff) * 8;
    pieces.sort_by_key(place);
    let mut data = Vec::new();
    for piece in &pieces {
        is_sound(piece).unwrap();
        assert_eq!(place(piece), data.len(), "no gap and no overlap");
        data.extend_from_slice(&piece[20..]);
    }
    assert_eq!(pieces.last().unwrap()[6] & 0x20, 0, "the last fragment says so");
    ip_packet(ends_of(&pieces[0]), &Ip::default(), pieces[0][9], &data)
}

#[test]
fn an_error_about_a_packet_quotes_it_as_its_sender_sent_it() {
    let kinds = prop_oneof![Just((3, 1, 0)), Just((3, 4, 1400)), Just((11, 0, 0)), Just((3, 13, 0))];
    check(100, (body(), kinds, 8_usize..600), |(body, (kind, code, rest), cut)| {
        let mut lab = Lab::new(policy());
        let request = packet(outwards(), &Ip { hop_limit: 7, ..Ip::default() }, &body);
        let sent = lab.pass(&request);
        let data = sent[..sent.len().min(20 + cut)].to_vec();
        let router = std::net::Ipv4Addr::new(203, 0, 113, 1);
        let error = packet(Ends::new(router, POOL), &Ip::default(), &Body::Icmp { kind, code, rest, data });
        let told = lab.pass(&error);
        is_sound(&told).unwrap();
        assert_eq!(ends_of(&told), Ends::new(prefix().embed(router), CLIENT));
        let expected = match (kind, code) {
            (3, 4) => (2, 0),
            (3, 13) => (1, 1),
            (11, _) => (3, 0),
            _ => (1, 0),
        };
        assert_eq!(icmp_type(&told), Some(expected));
        let quoted = &told[48..];
        let mut original = request[..quoted.len()].to_vec();
        original[7] = 6;
        assert_eq!(quoted, original, "with the hop limit that it had on the other side");
    });
}

/// The packets that a device makes of a super-packet, checksums computed.
fn segmented(bytes: &[u8], offload: Offload) -> Vec<Vec<u8>> {
    let gso = offload.gso.unwrap();
    let partial = offload.checksum.unwrap();
    let header = usize::from(partial.start);
    let tcp = gso.kind != GsoKind::Udp;
    let transport = if tcp { usize::from(bytes[header + 12] >> 4) * 4 } else { 8 };
    assert_eq!(usize::from(gso.header_len), header + transport);
    let six = bytes[0] >> 4 == 6;
    let (front, data) = bytes.split_at(header + transport);
    let size = usize::from(gso.segment_size);
    let mut sequence = u32::from_be_bytes(bytes[header + 4..header + 8].try_into().unwrap());
    let mut segments = Vec::new();
    for chunk in data.chunks(size) {
        let mut segment = [front, chunk].concat();
        let len = u16::try_from(if six { segment.len() - 40 } else { segment.len() }).unwrap().to_be_bytes();
        if six {
            segment[4..6].copy_from_slice(&len)
        } else {
            segment[2..4].copy_from_slice(&len)
        }
        if tcp {
            segment[header + 4..header + 8].copy_from_slice(&sequence.to_be_bytes());
            sequence = sequence.wrapping_add(u32::try_from(chunk.len()).unwrap());
        } else {
            let len = u16::try_from(8 + chunk.len()).unwrap().to_be_bytes();
            segment[header + 4..header + 6].copy_from_slice(&len);
        }
        if !six {
            // Devices count identifications up; which they start from is not compared.
            segment[4..6].fill(0);
            set_header_checksum(&mut segment);
        }
        let at = header + usize::from(partial.offset);
        segment[at..at + 2].fill(0);
        let ends = ends_of(&segment);
        let checksum = 0xffff - pseudo_sum(ends, if tcp { 6 } else { 17 }, &segment[header..]);
        let checksum = if checksum == 0 { 0xffff } else { u16::try_from(checksum).unwrap() };
        segment[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        segments.push(segment);
    }
    segments
}

/// A super-packet with what its device says of it.
fn super_packet(ends: Ends, body: &Body, segment_size: u16) -> (Vec<u8>, Offload) {
    let six = ends.source.is_ipv6();
    let mut bytes = packet(ends, &Ip { dont_fragment: true, ..Ip::default() }, body);
    let (start, offset, transport, kind) = match (six, body) {
        (true, Body::Tcp { .. }) => (40, 16, 20, GsoKind::TcpV6),
        (false, Body::Tcp { .. }) => (20, 16, 20, GsoKind::TcpV4),
        (true, _) => (40, 6, 8, GsoKind::Udp),
        (false, _) => (20, 6, 8, GsoKind::Udp),
    };
    let protocol = if kind == GsoKind::Udp { 17 } else { 6 };
    let at = usize::from(start + offset);
    // A partial checksum is the pseudo-header's sum.
    let len = bytes.len() - usize::from(start);
    let pseudo = pseudo_sum(ends, protocol, &vec![0; len]);
    bytes[at..at + 2].copy_from_slice(&u16::try_from(pseudo).unwrap().to_be_bytes());
    let gso = Gso { kind, segment_size, header_len: start + transport, ecn: false };
    let checksum = PartialChecksum { start, offset };
    (bytes, Offload { gso: Some(gso), checksum: Some(checksum), data_valid: false })
}

#[test]
fn a_super_packet_becomes_what_its_segments_become() {
    let sizes = (1_u16..=1440, 1_usize..20_000, any::<bool>(), any::<bool>(), any::<u8>());
    check(120, sizes, |(segment_size, len, tcp, back, seed)| {
        let len = len.min(usize::from(segment_size) * 60);
        let data: Vec<u8> = (0..len).map(|at| u8::try_from((at + usize::from(seed)) % 253).unwrap()).collect();
        let mut lab = Lab::new(policy());
        let open = if tcp { Body::tcp(5000, 80, SYN) } else { Body::udp(5000, 80, b"x") };
        let (port, _) = ports(&lab.pass(&packet(outwards(), &Ip::default(), &open)));
        let (ends, from, to) = if back { (Ends::new(SERVER, POOL), 80, port) } else { (outwards(), 5000, 80) };
        let body = if tcp {
            Body::Tcp { from, to, flags: ACK, sequence: 77, acknowledgment: 5, mss: None, data }
        } else {
            Body::Udp { from, to, checksum: true, data }
        };
        let (bytes, offload) = super_packet(ends, &body, segment_size);
        let mut one_by_one = Vec::new();
        for segment in segmented(&bytes, offload) {
            is_sound(&segment).unwrap();
            one_by_one.extend(lab.send(&segment).packets());
        }
        let outcome = lab.send_offloaded(&bytes, offload);
        let sent = outcome.packet.unwrap_or_else(|| panic!("{:?}", outcome.verdict));
        let mut together = segmented(&sent.bytes, sent.offload);
        assert_eq!(together[0][6], one_by_one[0][6], "the first decides whether all may be fragmented");
        for packet in one_by_one.iter_mut().chain(&mut together).filter(|packet| packet[0] >> 4 == 4) {
            packet[4..8].fill(0);
            set_header_checksum(packet);
        }
        assert!(together == one_by_one, "{together:02x?}\n{one_by_one:02x?}");
    });
}

#[test]
fn a_partial_checksum_stays_one_and_is_right_once_it_is_computed() {
    check(100, (body(), any::<bool>()), |(body, back)| {
        let mut lab = Lab::new(policy());
        let request = packet(outwards(), &Ip::default(), &body);
        let sent = lab.pass(&request);
        if let Body::Echo { .. } = body {
            return;
        }
        let bytes = if back { answer(&sent, &body, &Ip { dont_fragment: true, ..Ip::default() }) } else { request };
        let (mut bytes, start) = if back { (bytes, 20) } else { (bytes, 40) };
        let offset = if matches!(body, Body::Tcp { .. }) { 16 } else { 6 };
        let protocol = if offset == 16 { 6 } else { 17 };
        let pseudo = pseudo_sum(ends_of(&bytes), protocol, &vec![0; bytes.len() - start]);
        bytes[start + offset..start + offset + 2].copy_from_slice(&u16::try_from(pseudo).unwrap().to_be_bytes());
        let partial = PartialChecksum { start: start.try_into().unwrap(), offset: offset.try_into().unwrap() };
        let offload = Offload { checksum: Some(partial), ..Offload::default() };
        let sent = lab.send_offloaded(&bytes, offload).packet.unwrap();
        let partial = sent.offload.checksum.unwrap();
        let mut bytes = sent.bytes;
        let covered = &bytes[usize::from(partial.start)..];
        let checksum = !u16::try_from(sum(&[covered])).unwrap();
        let at = usize::from(partial.start + partial.offset);
        bytes[at..at + 2].copy_from_slice(&if checksum == 0 { 0xffff } else { checksum }.to_be_bytes());
        is_sound(&bytes).unwrap();
    });
}
