//! RFC 7915 §5.2: types, codes, pointers and MTUs of ICMPv6 messages towards IPv4.

use crate::bench::POOL;
use crate::case::{HOPS, PORT};
use crate::groups::STANDARD;
use crate::rows::rows;
use crate::wire::{Icmp, V6, pattern};

/// Type, code and second word.
type Message = (u8, u8, u32);

rows! { becomes:
    no_route_is_host_unreachable((1, 0, 0), (3, 1, 0));
    prohibited_is_host_prohibited((1, 1, 0), (3, 10, 0));
    beyond_scope_is_host_unreachable((1, 2, 0), (3, 1, 0));
    address_unreachable_is_host_unreachable((1, 3, 0), (3, 1, 0));
    port_unreachable_is_port_unreachable((1, 4, 0), (3, 3, 0));
    hop_limit_exceeded_is_ttl_exceeded((3, 0, 0), (11, 0, 0));
    reassembly_time_exceeded_stays_so((3, 1, 0), (11, 1, 0));
    pointer_0_is_0((4, 0, 0), (12, 0, 0));
    pointer_1_is_1((4, 0, 1), (12, 0, 1 << 24));
    pointer_4_is_2((4, 0, 4), (12, 0, 2 << 24));
    pointer_5_is_2((4, 0, 5), (12, 0, 2 << 24));
    pointer_6_is_9((4, 0, 6), (12, 0, 9 << 24));
    pointer_7_is_8((4, 0, 7), (12, 0, 8 << 24));
    pointer_8_is_12((4, 0, 8), (12, 0, 12 << 24));
    pointer_23_is_12((4, 0, 23), (12, 0, 12 << 24));
    pointer_24_is_16((4, 0, 24), (12, 0, 16 << 24));
    pointer_39_is_16((4, 0, 39), (12, 0, 16 << 24));
    an_unrecognised_next_header_is_protocol_unreachable((4, 1, 6), (3, 2, 0));
    an_mtu_of_1280_shrinks_by_20((2, 0, 1280), (3, 4, 1260));
    an_mtu_of_1500_shrinks_by_20((2, 0, 1500), (3, 4, 1480));
    an_mtu_of_9000_shrinks_by_20((2, 0, 9000), (3, 4, 8980));
    /// The bench's links have 9000.
    an_mtu_larger_than_the_next_link_s_is_that_of_the_link((2, 0, 9500), (3, 4, 8980));
    an_mtu_of_more_than_16_bits_is_that_of_the_link((2, 0, 0x0002_0000), (3, 4, 8980));
}

#[track_caller]
fn becomes(sent: Message, expected: Message) {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let about = case.server_udp(port, &pattern(72)).with(|header| header.dont_fragment = true);
    let delivered = case.pass4(&about).bytes();
    let to = case.service6().0;
    let got = case.pass6(&V6::icmp(case.router6(), to, &Icmp::error(sent.0, sent.1, sent.2, &delivered)));
    assert_eq!(got.destination(), case.server());
    assert_eq!(got.header.time_to_live, 64 - HOPS);
    let message = got.read_icmp();
    assert_eq!((message.kind, message.code, message.rest), expected);
    assert_eq!(message.body[20..], about.payload);
}

rows! { vanishes:
    a_failed_policy_is_dropped(1, 5, 0);
    a_rejected_route_is_dropped(1, 6, 0);
    an_unknown_code_of_unreachable_is_dropped(1, 255, 0);
    pointer_2_is_dropped(4, 0, 2);
    pointer_3_is_dropped(4, 0, 3);
    a_pointer_behind_the_header_is_dropped(4, 0, 40);
    a_pointer_of_more_than_8_bits_is_dropped(4, 0, 0x0100_0000);
    an_unrecognised_option_is_dropped(4, 2, 42);
    an_unknown_code_of_parameter_problem_is_dropped(4, 3, 0);
    an_unknown_error_is_dropped(100, 0, 0);
    a_reserved_error_is_dropped(127, 0, 0);
}

#[track_caller]
fn vanishes(kind: u8, code: u8, rest: u32) {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let delivered = case.pass4(&case.server_udp(port, &pattern(72))).bytes();
    let error = V6::icmp(case.router6(), case.service6().0, &Icmp::error(kind, code, rest, &delivered));
    case.silent(&error, "untranslatable-icmp");
}

#[test]
fn a_fragment_header_in_the_packet_in_error_makes_the_mtu_smaller_by_8() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let first = case.server_udp(port, &pattern(1600)).fragments(&[1200], 5)[0].clone();
    let delivered = case.pass4(&first).bytes();
    for (mtu, expected) in [(1280, 1252), (1500, 1472)] {
        let error = V6::icmp(case.router6(), case.service6().0, &Icmp::error(2, 0, mtu, &delivered[..600]));
        let message = case.pass6(&error).read_icmp();
        assert_eq!((message.kind, message.code, message.rest), (3, 4, expected));
    }
}

rows! { an_echo_becomes:
    a_request_changes_type_and_checksum_only(128, 8);
    a_reply_changes_type_and_checksum_only(129, 0);
}

#[track_caller]
fn an_echo_becomes(kind: u8, expected: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    let identifier = case.open_echo();
    for data in [0, 1, 56, 1000] {
        let sent = V6::icmp(case.client(), case.service6().0, &Icmp::echo(kind, PORT, 77, &pattern(data)));
        let got = case.pass6(&sent);
        assert_eq!((got.source(), got.read_icmp()), (POOL, Icmp::echo(expected, identifier, 77, &pattern(data))));
    }
}
