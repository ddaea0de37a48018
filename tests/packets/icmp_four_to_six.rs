//! RFC 7915 §4.2: types, codes, pointers and MTUs of ICMP messages towards IPv6.

use crate::bench::POOL;
use crate::case::{HOPS, PORT};
use crate::groups::STANDARD;
use crate::rows::rows;
use crate::wire::{Icmp, V4, pattern};

/// Type, code and second word.
type Message = (u8, u8, u32);

rows! { becomes:
    net_unreachable_is_no_route((3, 0, 0), (1, 0, 0));
    host_unreachable_is_no_route((3, 1, 0), (1, 0, 0));
    protocol_unreachable_is_a_parameter_problem_at_the_next_header((3, 2, 0), (4, 1, 6));
    port_unreachable_is_port_unreachable((3, 3, 0), (1, 4, 0));
    source_route_failed_is_no_route((3, 5, 0), (1, 0, 0));
    destination_network_unknown_is_no_route((3, 6, 0), (1, 0, 0));
    destination_host_unknown_is_no_route((3, 7, 0), (1, 0, 0));
    source_host_isolated_is_no_route((3, 8, 0), (1, 0, 0));
    network_prohibited_is_prohibited((3, 9, 0), (1, 1, 0));
    host_prohibited_is_prohibited((3, 10, 0), (1, 1, 0));
    network_unreachable_for_tos_is_no_route((3, 11, 0), (1, 0, 0));
    host_unreachable_for_tos_is_no_route((3, 12, 0), (1, 0, 0));
    communication_prohibited_is_prohibited((3, 13, 0), (1, 1, 0));
    precedence_cutoff_is_prohibited((3, 15, 0), (1, 1, 0));
    ttl_exceeded_is_hop_limit_exceeded((11, 0, 0), (3, 0, 0));
    reassembly_time_exceeded_stays_so((11, 1, 0), (3, 1, 0));
    pointer_0_is_0((12, 0, 0), (4, 0, 0));
    pointer_1_is_1((12, 0, 1 << 24), (4, 0, 1));
    pointer_2_is_4((12, 0, 2 << 24), (4, 0, 4));
    pointer_3_is_4((12, 0, 3 << 24), (4, 0, 4));
    pointer_8_is_7((12, 0, 8 << 24), (4, 0, 7));
    pointer_9_is_6((12, 0, 9 << 24), (4, 0, 6));
    pointer_12_is_8((12, 0, 12 << 24), (4, 0, 8));
    pointer_15_is_8((12, 0, 15 << 24), (4, 0, 8));
    pointer_16_is_24((12, 0, 16 << 24), (4, 0, 24));
    pointer_19_is_24((12, 0, 19 << 24), (4, 0, 24));
    bad_length_is_an_erroneous_field((12, 2, 2 << 24), (4, 0, 4));
}

#[track_caller]
fn becomes(sent: Message, expected: Message) {
    let Some(mut case) = STANDARD.case() else { return };
    let about = case.client_udp(&pattern(72));
    let out = case.pass6(&about);
    let error = V4::icmp(case.router4(), POOL, &Icmp::error(sent.0, sent.1, sent.2, &out.bytes()));
    let got = case.pass4(&error);
    assert_eq!((got.source(), got.destination()), (case.six(case.router4()), case.client()));
    assert_eq!(got.header.hop_limit, 64 - HOPS);
    let message = got.read_icmp();
    assert_eq!((message.kind, message.code, message.rest), expected);
    assert_eq!(message.body, about.with(|header| header.hop_limit = out.header.time_to_live).bytes());
}

rows! { vanishes:
    host_precedence_violation_is_dropped(3, 14, 0);
    an_unknown_code_of_unreachable_is_dropped(3, 16, 0);
    source_quench_is_dropped(4, 0, 0);
    a_redirect_is_dropped(5, 1, 0xc000_0201);
    alternative_host_address_is_dropped(6, 0, 0);
    pointer_4_is_dropped(12, 0, 4 << 24);
    pointer_5_is_dropped(12, 0, 5 << 24);
    pointer_6_is_dropped(12, 0, 6 << 24);
    pointer_7_is_dropped(12, 0, 7 << 24);
    pointer_10_is_dropped(12, 0, 10 << 24);
    pointer_11_is_dropped(12, 0, 11 << 24);
    a_pointer_behind_the_header_is_dropped(12, 0, 20 << 24);
    a_missing_option_is_dropped(12, 1, 0);
    an_unknown_code_of_parameter_problem_is_dropped(12, 3, 0);
    bad_length_elsewhere_is_dropped(12, 2, 6 << 24);
}

#[track_caller]
fn vanishes(kind: u8, code: u8, rest: u32) {
    let Some(mut case) = STANDARD.case() else { return };
    let out = case.pass6(&case.client_udp(&pattern(72)));
    let error = V4::icmp(case.router4(), POOL, &Icmp::error(kind, code, rest, &out.bytes()));
    case.silent(&error, "untranslatable-icmp");
}

rows! { the_mtu_becomes:
    an_mtu_of_68_is_the_least_of_ipv6(1400, 68, 1280);
    an_mtu_of_1000_is_the_least_of_ipv6(1400, 1000, 1280);
    an_mtu_of_1260_is_the_least_of_ipv6(1400, 1260, 1280);
    an_mtu_of_1261_grows_by_20(1400, 1261, 1281);
    an_mtu_of_1400_grows_by_20(1500, 1400, 1420);
    an_mtu_of_1500_grows_by_20(2000, 1500, 1520);
    /// The bench's links have 9000.
    an_mtu_larger_than_the_next_link_s_is_that_of_the_link(8980, 9500, 9000);
    the_unused_half_of_the_word_is_not_looked_at(1500, 0xffff_0000 | 1400, 1420);
    // RFC 1191 §7.1: 1006, 1492, 2002, 4352, 8166 and so on.
    no_mtu_for_1400_bytes_is_the_least_of_ipv6(1400, 0, 1280);
    no_mtu_for_1492_bytes_is_the_least_of_ipv6(1492, 0, 1280);
    no_mtu_for_1500_bytes_is_the_plateau_of_1492(1500, 0, 1512);
    no_mtu_for_2003_bytes_is_the_plateau_of_2002(2003, 0, 2022);
    no_mtu_for_4353_bytes_is_the_plateau_of_4352(4353, 0, 4372);
    no_mtu_for_a_jumbo_frame_is_the_plateau_of_8166(8980, 0, 8186);
}

/// Fragmentation Needed about a packet of `total` bytes.
#[track_caller]
fn the_mtu_becomes(total: usize, mtu: u32, expected: u32) {
    let Some(mut case) = STANDARD.case() else { return };
    let out = case.pass6(&case.client_udp(&pattern(total - 28)));
    let error = V4::icmp(case.router4(), POOL, &Icmp::error(3, 4, mtu, &out.bytes()[..500]));
    let message = case.pass4(&error).read_icmp();
    assert_eq!((message.kind, message.code, message.rest), (2, 0, expected));
}

rows! { an_echo_becomes:
    a_request_from_outside_changes_type_and_checksum_only(8, 128);
    a_reply_changes_type_and_checksum_only(0, 129);
}

#[track_caller]
fn an_echo_becomes(kind: u8, expected: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    let identifier = case.open_echo();
    for data in [0, 1, 56, 1000] {
        let sent = V4::icmp(case.server(), POOL, &Icmp::echo(kind, identifier, 77, &pattern(data)));
        assert_eq!(case.pass4(&sent).read_icmp(), Icmp::echo(expected, PORT, 77, &pattern(data)));
    }
}
