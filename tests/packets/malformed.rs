//! Packets that contradict themselves and that a router nevertheless forwards: they are dropped silently.

use crate::bench::POOL;
use crate::case::{Case, PORT, SYN};
use crate::groups::STANDARD;
use crate::rows::rows;
use crate::wire::{FRAGMENT, Fragment, Icmp, TCP, UDP, V4, V6, pattern};

rows! { a_udp_length_is_dropped:
    a_udp_length_of_zero_is_dropped(0);
    a_udp_length_of_less_than_a_header_is_dropped(7);
    a_udp_length_beyond_the_packet_is_dropped(30);
}

#[track_caller]
fn a_udp_length_is_dropped(length: u16) {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let mut from_ipv6 = case.client_udp(&pattern(9));
    from_ipv6.payload[4..6].copy_from_slice(&length.to_be_bytes());
    case.silent(&from_ipv6, "malformed");
    let mut from_ipv4 = case.server_udp(port, &pattern(9));
    from_ipv4.payload[4..6].copy_from_slice(&length.to_be_bytes());
    case.silent(&from_ipv4, "malformed");
}

rows! { a_data_offset_is_dropped:
    a_tcp_header_of_no_length_is_dropped(0);
    a_tcp_header_of_less_than_20_bytes_is_dropped(4);
    a_tcp_header_beyond_the_segment_is_dropped(15);
}

#[track_caller]
fn a_data_offset_is_dropped(words: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    let mut segment = case.client_tcp(SYN);
    segment.payload[12] = words << 4;
    case.silent(&segment, "malformed");
    let mut segment = case.server_tcp(9, SYN);
    segment.payload[12] = words << 4;
    case.silent(&segment, "malformed");
}

rows! { a_cut_transport_is_dropped:
    a_cut_udp_header_is_dropped(UDP, 7);
    a_cut_tcp_header_is_dropped(TCP, 19);
    a_packet_without_any_tcp_header_is_dropped(TCP, 0);
}

#[track_caller]
fn a_cut_transport_is_dropped(protocol: u8, length: usize) {
    let Some(mut case) = STANDARD.case() else { return };
    case.silent(&V6::new(case.client(), case.service6().0, protocol, &[0; 20][..length]), "malformed");
    case.silent(&V4::new(case.server(), POOL, protocol, &[0; 20][..length]), "malformed");
}

#[test]
fn a_cut_icmp_header_is_dropped() {
    let Some(mut case) = STANDARD.case() else { return };
    let mut echo = V6::icmp(case.client(), case.service6().0, &Icmp::echo(128, 1, 1, b""));
    echo.payload.truncate(7);
    case.silent(&echo, "malformed");
    let mut echo = V4::icmp(case.server(), POOL, &Icmp::echo(8, 1, 1, b""));
    echo.payload.truncate(7);
    case.silent(&echo, "malformed");
}

rows! { a_fragment_is_dropped:
    a_first_fragment_of_no_multiple_of_eight_bytes_is_dropped(0, true, 20);
    a_later_fragment_of_no_multiple_of_eight_bytes_is_dropped(16, true, 12);
    a_fragment_with_nothing_in_it_is_dropped(16, false, 0);
    a_fragment_beyond_the_longest_datagram_is_dropped(65_528, false, 8);
}

#[track_caller]
fn a_fragment_is_dropped(offset: u16, more: bool, length: usize) {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let data = &case.client_udp(&pattern(12)).payload[..length];
    let header = Fragment { next: UDP, offset, more, identification: 1 };
    let payload = [&header.bytes()[..], data].concat();
    case.silent(&V6::new(case.client(), case.service6().0, FRAGMENT, &payload), "malformed");
    let data = &case.server_udp(port, &pattern(12)).payload[..length];
    let fragment = V4::new(case.server(), POOL, UDP, data).with(|header| {
        header.fragment_offset = (offset / 8).try_into().unwrap();
        header.more_fragments = more;
    });
    case.silent(&fragment, "malformed");
}

rows! { an_extension_header_is_dropped:
    an_extension_header_beyond_the_packet_is_dropped(|case, to| {
        V6::new(case.client(), to, 60, &[UDP, 200, 1, 4, 0, 0, 0, 0])
    });
    an_extension_header_that_is_cut_is_dropped(|case, to| V6::new(case.client(), to, 60, &[60, 0, 1]));
    extension_headers_without_end_are_dropped(|case, _| {
        (0..40).fold(case.client_udp(b"x"), |packet, _| packet.extended(60, &[1, 4, 0, 0, 0, 0]))
    });
    hop_by_hop_options_that_are_not_first_are_dropped(|case, _| {
        case.client_udp(b"x").extended(0, &[1, 4, 0, 0, 0, 0]).extended(60, &[1, 4, 0, 0, 0, 0])
    });
}

#[track_caller]
fn an_extension_header_is_dropped(packet: fn(&Case, std::net::Ipv6Addr) -> V6) {
    let Some(mut case) = STANDARD.case() else { return };
    case.silent(&packet(&case, case.service6().0), "malformed");
    assert_eq!(case.sessions().len(), 0);
}

#[test]
fn nothing_malformed_makes_state() {
    let Some(mut case) = STANDARD.case() else { return };
    let mut segment = V6::tcp((case.client(), PORT), case.service6(), SYN, b"");
    segment.payload.truncate(19);
    case.silent(&segment, "malformed");
    assert_eq!((case.sessions().len(), case.mappings().len()), (0, 0));
}
