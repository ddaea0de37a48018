//! The same through a device that leaves no checksum and no segmentation to anybody, and with header policies that the
//! other groups have no room for.

use crate::bench::POOL;
use crate::case::{ACK, HOPS, PORT, SERVICE, SYN};
use crate::groups::{PLAIN, STRICT};
use crate::whole::{whole4, whole6};
use crate::wire::{Icmp, TCP, V4, V6, pattern};

#[test]
fn a_plain_device_carries_udp_both_ways() {
    let Some(mut case) = PLAIN.case() else { return };
    let out = case.pass6(&case.client_udp(&pattern(1400)));
    assert_eq!((out.source(), out.data(), out.header.time_to_live), (POOL, &pattern(1400)[..], 64 - HOPS));
    let back = case.pass4(&case.server_udp(out.ports().0, &pattern(1000)));
    assert_eq!((back.destination(), back.data()), (case.client(), &pattern(1000)[..]));
}

#[test]
fn a_plain_device_carries_tcp_both_ways() {
    let Some(mut case) = PLAIN.case() else { return };
    let port = case.open_tcp();
    let out = case.pass6(&V6::tcp((case.client(), PORT), case.service6(), ACK, &pattern(1300)));
    let back = V4::tcp((case.server(), SERVICE), (POOL, port), ACK, &pattern(1300));
    let back = case.pass4(&back.with(|header| header.dont_fragment = true));
    assert_eq!((out.data(), back.data()), (&pattern(1300)[..], &pattern(1300)[..]));
}

#[test]
fn a_plain_device_carries_echoes_and_errors() {
    let Some(mut case) = PLAIN.case() else { return };
    let out = case.pass6(&case.client_echo(b"ping"));
    let reply = V4::icmp(case.server(), POOL, &Icmp::echo(0, out.read_icmp().identifier(), 1, b"ping"));
    assert_eq!(case.pass4(&reply).read_icmp(), Icmp::echo(129, PORT, 1, b"ping"));
    let error = V4::icmp(case.router4(), POOL, &Icmp::error(11, 0, 0, &out.bytes()));
    assert_eq!(case.pass4(&error).read_icmp().kind, 3);
    case.refused6(&case.client_udp(b"x").with(|header| header.hop_limit = 2), "hop-limit-exceeded");
}

#[test]
fn a_plain_device_carries_fragments_both_ways() {
    let Some(mut case) = PLAIN.case() else { return };
    let port = case.open_udp();
    for fragment in case.client_udp(&pattern(2000)).fragments(&[1000], 5).iter().rev() {
        case.send(fragment);
    }
    let got = [case.arrival4(), case.arrival4()];
    assert_eq!(whole4(&got).data(), pattern(2000));
    case.send(&case.server_udp(port, &pattern(3000)));
    assert_eq!(whole6(&case.fragments6()).data(), pattern(3000));
}

#[test]
fn a_plain_device_carries_wrong_checksums_as_they_are() {
    let Some(mut case) = PLAIN.case() else { return };
    let mut sent = case.client_udp(&pattern(20));
    sent.payload[6] ^= 0x20;
    let got = case.pass6(&sent);
    assert_eq!(got.transport_sum() % 0xffff, sent.transport_sum() % 0xffff);
}

#[test]
fn the_tos_octet_can_be_set_to_a_value() {
    let Some(mut case) = STRICT.case() else { return };
    assert_eq!(case.pass6(&case.client_udp(b"x").with(|header| header.traffic_class = 0xb9)).tos(), 0x28);
}

#[test]
fn udp_without_checksum_can_be_passed_on_without() {
    let Some(mut case) = STRICT.case() else { return };
    let port = case.open_udp();
    let mut sent = case.server_udp(port, &pattern(30));
    sent.payload[6..8].fill(0);
    let got = case.pass4(&sent);
    assert_eq!((&got.payload[6..8], &got.payload[8..]), (&[0, 0][..], &pattern(30)[..]));
    let mut sent = case.client_udp(&pattern(30));
    sent.payload[6..8].fill(0);
    let got = case.pass6(&sent);
    assert_eq!((&got.payload[6..8], &got.payload[8..]), (&[0, 0][..], &pattern(30)[..]));
}

#[test]
fn fragments_of_udp_without_checksum_can_be_passed_on_one_by_one() {
    let Some(mut case) = STRICT.case() else { return };
    let port = case.open_udp();
    let mut sent = case.server_udp(port, &pattern(1500));
    sent.payload[6..8].fill(0);
    let fragments = sent.fragments(&[1000], 0x77);
    let got = [case.pass4(&fragments[0]), case.pass4(&fragments[1])];
    assert_eq!(whole6(&got).payload[8..], pattern(1500));
    assert_eq!(whole6(&got).payload[6..8], [0, 0]);
}

#[test]
fn filters_hold_for_neighbours_too() {
    let Some(mut case) = STRICT.case() else { return };
    let port = case.pass6(&V6::udp((case.other(), 7000), case.service6(), b"x")).ports().0;
    let sent = V6::udp((case.client(), PORT), (case.six(POOL), port), b"x");
    let (_, message) = case.refused6(&sent, "filtered");
    assert_eq!((message.kind, message.code), (1, 1));
    // Each has sent to the pool's address when the neighbour has, too.
    let own = case.open_udp();
    case.send(&V6::udp((case.other(), 7000), (case.six(POOL), own), b"x"));
    assert_eq!(case.arrival6().destination(), case.client());
    case.send(&sent);
    assert_eq!(case.arrival6().destination(), case.other());
    case.quiet();
}

#[test]
fn connections_from_outside_can_be_dropped_silently() {
    let Some(mut case) = STRICT.case() else { return };
    let port = case.open_tcp();
    let syn = V4::tcp((case.stranger(), 9), (POOL, port), SYN, b"");
    case.silent(&syn, "administratively-prohibited");
    case.silent(&V4::tcp((case.stranger(), 9), (POOL, case.unmapped(TCP)), SYN, b""), "administratively-prohibited");
    // What somebody inside has asked for comes in.
    case.pass6(&V6::tcp((case.client(), PORT), (case.six(case.stranger()), 9), SYN, b""));
    assert_eq!(case.pass4(&syn).destination(), case.client());
}
