//! RFC 7915 §4.5 and §5.5, RFC 6146 §3.4 and §3.7: transport checksums.

use nat64_core::event::EventKind;
use nat64_core::policy::UdpZeroChecksum;
use nat64_core::{DropReason, Event};

use crate::lab::*;
use crate::wire::{Icmp, TCP, UDP, V4, V6, pattern, sum};

/// How far a sum is from that of a right checksum; the two representations of zero are the same.
fn wrongness(sum: u16) -> u16 {
    sum % 0xffff
}

#[test]
fn a_right_checksum_arrives_right_whatever_the_data() {
    let mut lab = Lab::new();
    let (udp, echo) = (lab.open_udp(), lab.open_echo());
    let tcp = lab.pass6(&client_tcp(SYN)).ports().0;
    for len in (0..70).chain([255, 256, 1199]) {
        let data = pattern(len);
        assert_eq!(lab.pass6(&client_udp(&data)).data(), data);
        assert_eq!(lab.pass4(&server_udp(udp, &data)).data(), data);
        assert_eq!(lab.pass6(&V6::tcp((CLIENT, PORT), service6(), ACK, &data)).data(), data);
        assert_eq!(lab.pass4(&V4::tcp((SERVER, SERVICE), (POOL, tcp), ACK, &data)).data(), data);
        let request = Icmp::echo(128, PORT, 1, &data);
        assert_eq!(lab.pass6(&V6::icmp(CLIENT, six(SERVER), &request)).read_icmp().body, data);
        let reply = Icmp::echo(0, echo, 1, &data);
        assert_eq!(lab.pass4(&V4::icmp(SERVER, POOL, &reply)).read_icmp().body, data);
    }
}

#[test]
fn a_wrong_checksum_arrives_as_wrong_as_it_was_from_ipv6() {
    let mut lab = Lab::new();
    let echo = V6::icmp(CLIENT, six(SERVER), &Icmp::echo(128, PORT, 1, &pattern(21)));
    for (packet, at) in
        [(client_udp(&pattern(21)), 6), (V6::tcp((CLIENT, PORT), service6(), SYN, &pattern(21)), 16), (echo, 2)]
    {
        for error in [1_u16, 0x0100, 0x8000, 0x1234] {
            let mut packet = packet.clone();
            let right = u16::from_be_bytes([packet.payload[at], packet.payload[at + 1]]);
            packet.payload[at..at + 2].copy_from_slice(&(right ^ error).to_be_bytes());
            let got = lab.pass6(&packet);
            assert_ne!(wrongness(got.transport_sum()), 0);
            assert_eq!(wrongness(got.transport_sum()), wrongness(packet.transport_sum()), "protocol {}", packet.next());
        }
    }
}

#[test]
fn a_wrong_checksum_arrives_as_wrong_as_it_was_from_ipv4() {
    let mut lab = Lab::new();
    let (udp, echo) = (lab.open_udp(), lab.open_echo());
    let tcp = lab.pass6(&client_tcp(SYN)).ports().0;
    let echo = V4::icmp(SERVER, POOL, &Icmp::echo(0, echo, 1, &pattern(21)));
    for (packet, at) in [
        (server_udp(udp, &pattern(21)), 6),
        (V4::tcp((SERVER, SERVICE), (POOL, tcp), SYN_ACK, &pattern(21)), 16),
        (echo, 2),
    ] {
        for error in [1_u16, 0x0100, 0x8000, 0x1234] {
            let mut packet = packet.clone();
            let right = u16::from_be_bytes([packet.payload[at], packet.payload[at + 1]]);
            packet.payload[at..at + 2].copy_from_slice(&(right ^ error).to_be_bytes());
            let got = lab.pass4(&packet);
            assert_ne!(wrongness(got.transport_sum()), 0);
            assert_eq!(
                wrongness(got.transport_sum()),
                wrongness(packet.transport_sum()),
                "protocol {}",
                packet.protocol()
            );
        }
    }
}

#[test]
fn a_udp_checksum_never_becomes_zero() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    // Every value of a word of data: one of them makes the sum that is written as zero.
    for word in 0..=u16::MAX {
        let got = lab.pass6(&client_udp(&word.to_be_bytes()));
        assert_ne!(got.payload[6..8], [0, 0]);
        let got = lab.pass4(&server_udp(port, &word.to_be_bytes()));
        assert_ne!(got.payload[6..8], [0, 0]);
    }
}

fn without_checksum(mut packet: V4) -> V4 {
    packet.payload[6..8].fill(0);
    packet
}

#[test]
fn a_udp_datagram_without_checksum_is_given_one() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    for len in (0..40).chain([1000, 1232]) {
        let got = lab.pass4(&without_checksum(server_udp(port, &pattern(len))));
        assert_eq!((got.next(), got.data()), (UDP, &pattern(len)[..]));
        assert_ne!(got.payload[6..8], [0, 0]);
    }
}

#[test]
fn a_long_udp_datagram_without_checksum_is_given_one_and_fragmented() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let fragments = lab.send4(&without_checksum(server_udp(port, &pattern(3000)))).all6();
    let data: Vec<u8> = fragments.iter().flat_map(|fragment| fragment.fragment_data().to_vec()).collect();
    let whole = V6 { header: server_seen(&data), payload: data };
    assert_eq!(whole.data(), pattern(3000));
}

fn server_seen(payload: &[u8]) -> etherparse::Ipv6Header {
    V6::new(six(SERVER), CLIENT, UDP, payload).header
}

#[test]
fn datagrams_without_checksum_can_be_dropped_whole_and_in_fragments() {
    let mut lab = Lab::with(|policy| policy.header.udp_zero_checksum = UdpZeroChecksum::Drop);
    let port = lab.open_udp();
    lab.send4(&without_checksum(server_udp(port, b"x"))).silent(DropReason::ZeroUdpChecksum);
    for fragment in without_checksum(server_udp(port, &pattern(2000))).fragments(&[1000], 1) {
        assert!(lab.send4(&fragment).packets.is_empty());
    }
    assert_eq!(lab.pass4(&server_udp(port, b"x")).data(), b"x");
    assert!(lab.worker.counters.dropped(DropReason::ZeroUdpChecksum) >= 2);
}

#[test]
fn a_datagram_dropped_for_want_of_a_checksum_is_reported_with_addresses_and_ports() {
    let mut lab = Lab::with(|policy| policy.header.udp_zero_checksum = UdpZeroChecksum::Drop);
    let port = lab.open_udp();
    lab.worker.events.drain().for_each(drop);
    let sent = without_checksum(server_udp(port, &pattern(2000)));
    lab.send4(&sent).silent(DropReason::ZeroUdpChecksum);
    let reported: Vec<Event> = lab.worker.events.drain().collect();
    let [event] = reported[..] else { panic!("{reported:?}") };
    assert_eq!(event.kind, EventKind::Refused(DropReason::ZeroUdpChecksum));
    assert_eq!((event.internal, event.external, event.remote), ((CLIENT, PORT), (POOL, port), Some((SERVER, SERVICE))));
    // Whoever sends many does not push other events out.
    for _ in 0..10_000 {
        lab.send4(&sent).silent(DropReason::ZeroUdpChecksum);
    }
    assert_eq!((lab.worker.events.drain().count(), lab.worker.events.lost()), (9, 0));
    lab.pass_time(SECOND);
    lab.worker.events.drain().for_each(drop);
    for fragment in sent.fragments(&[1000], 1) {
        lab.send4(&fragment).silent(DropReason::ZeroUdpChecksum);
    }
    assert!(lab.worker.events.drain().all(|event| event.external == (POOL, port)));
}

#[test]
fn datagrams_without_checksum_can_be_passed_on_without_both_ways_whole_and_in_fragments() {
    let mut lab = Lab::with(|policy| policy.header.udp_zero_checksum = UdpZeroChecksum::Forward);
    let port = lab.open_udp();
    let sent = without_checksum(server_udp(port, &pattern(2000)));
    let got = lab.pass4(&without_checksum(server_udp(port, &pattern(20))));
    assert_eq!((got.ports(), &got.payload[4..]), ((SERVICE, PORT), &sent_with(20)[4..]));
    // Nothing has to be put together for a checksum, so each goes on as it comes.
    for (index, fragment) in sent.fragments(&[1000], 9).iter().enumerate() {
        let got = lab.pass4(fragment);
        let ports = if index == 0 { 4 } else { 0 };
        assert_eq!(got.fragment_data()[ports..], fragment.payload[ports..]);
    }
    let mut back = client_udp(&pattern(20));
    back.payload[6..8].fill(0);
    assert_eq!(lab.pass6(&back).payload[4..], back.payload[4..]);
    back.payload.extend(pattern(992));
    for fragment in back.fragments(&[504], 9) {
        lab.pass6(&fragment);
    }
    // What has a checksum keeps one.
    assert_eq!(lab.pass4(&server_udp(port, &pattern(20))).data(), pattern(20));
}

/// A datagram of that many bytes of data, without checksum.
fn sent_with(len: usize) -> Vec<u8> {
    without_checksum(server_udp(PORT, &pattern(len))).payload
}

#[test]
fn a_udp_datagram_without_checksum_from_ipv6_arrives_wrong_and_not_without() {
    // RFC 8200 §8.1 forbids it; IPv4 must not take it for a datagram that needs none.
    let mut lab = Lab::new();
    let mut sent = client_udp(&pattern(20));
    sent.payload[6..8].fill(0);
    let got = lab.pass6(&sent);
    assert_ne!(got.payload[6..8], [0, 0]);
    assert_ne!(got.transport_sum(), 0xffff);
}

#[test]
fn data_behind_the_end_of_a_udp_datagram_goes_along() {
    // RFC 9868: what the IP length has more than the UDP length says are options of UDP.
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let mut sent = server_udp(port, &pattern(20));
    sent.payload.extend(pattern(9));
    let got = lab.pass4(&sent);
    assert_eq!(got.payload.len(), 8 + 20 + 9);
    assert_eq!(got.payload[28..], pattern(9));
    let (source, destination) = (got.header.source, got.header.destination);
    assert_eq!(sum(&[&source, &destination, &[0, UDP, 0, 28], &got.payload[..28]]), 0xffff);
}

#[test]
fn tcp_options_and_flags_are_not_touched() {
    let mut lab = Lab::new();
    let mut sent = client_tcp(SYN);
    // MSS 1440, SACK permitted, window scale; the header is 32 bytes then.
    let options = [2, 4, 5, 160, 4, 2, 3, 3, 7, 1, 1, 1];
    sent.payload[12] = 8 << 4;
    sent.payload.extend(options);
    sent.payload[16..18].fill(0);
    let checksum = !sent.transport_sum();
    sent.payload[16..18].copy_from_slice(&checksum.to_be_bytes());
    let got = lab.pass6(&sent);
    assert_eq!((got.protocol(), got.data()), (TCP, &b""[..]));
    assert_eq!(got.payload[20..], options);
    assert_eq!(got.payload[4..16], sent.payload[4..16]);
}
