//! RFC 7915 §4 and §5, RFC 9293 §3.7.1: sizes that are too large, and the MSS clamp.

use crate::bench::POOL;
use crate::case::{Case, SYN, SYN_ACK};
use crate::checksums::with_options;
use crate::groups::{OTHERWISE, STANDARD, STRICT};
use crate::rows::rows;
use crate::wire::{Icmp, V4, V6, pattern};

rows! { the_mss_from_inside_becomes:
    a_large_mss_from_inside_is_lowered_to_what_fits(8940, 1420 - 60);
    an_mss_from_inside_that_fits_stays(1360, 1360);
    a_small_mss_from_inside_stays(536, 536);
}

#[track_caller]
fn the_mss_from_inside_becomes(mss: u16, expected: u16) {
    let Some(mut case) = OTHERWISE.case() else { return };
    assert_eq!(mss_from_inside(&mut case, mss), expected);
}

#[track_caller]
fn mss_from_inside(case: &mut Case, mss: u16) -> u16 {
    let [high, low] = mss.to_be_bytes();
    let got = case.pass6(&with_options(case.client_tcp(SYN), &[2, 4, high, low]));
    assert_eq!(got.data(), b"", "and a right checksum");
    u16::from_be_bytes([got.payload[22], got.payload[23]])
}

rows! { the_mss_from_outside_becomes:
    a_large_mss_from_outside_is_lowered_to_what_fits(1460, 1420 - 60);
    a_small_mss_from_outside_stays(536, 536);
}

#[track_caller]
fn the_mss_from_outside_becomes(mss: u16, expected: u16) {
    let Some(mut case) = OTHERWISE.case() else { return };
    assert_eq!(mss_from_outside(&mut case, mss), expected);
}

#[track_caller]
fn mss_from_outside(case: &mut Case, mss: u16) -> u16 {
    let port = case.pass6(&case.client_tcp(SYN)).ports().0;
    let mut answer = case.server_tcp(port, SYN_ACK);
    answer.payload[12] = 6 << 4;
    answer.payload.extend([2, 4]);
    answer.payload.extend(mss.to_be_bytes());
    answer.payload[16..18].fill(0);
    let checksum = !answer.transport_sum();
    answer.payload[16..18].copy_from_slice(&checksum.to_be_bytes());
    let got = case.pass4(&answer);
    assert_eq!(got.data(), b"", "and a right checksum");
    u16::from_be_bytes([got.payload[22], got.payload[23]])
}

#[test]
fn no_mss_is_touched_unless_policy_asks() {
    let Some(mut case) = STANDARD.case() else { return };
    assert_eq!(mss_from_inside(&mut case, 8940), 8940);
    assert_eq!(mss_from_outside(&mut case, 1460), 1460);
}

#[test]
fn a_syn_without_mss_is_given_none() {
    let Some(mut case) = OTHERWISE.case() else { return };
    assert_eq!(case.pass6(&case.client_tcp(SYN)).payload.len(), 20);
}

#[test]
fn a_wrong_checksum_of_a_syn_whose_mss_is_lowered_stays_wrong() {
    let Some(mut case) = OTHERWISE.case() else { return };
    let mut sent = with_options(case.client_tcp(SYN), &[2, 4, 0x22, 0xec]);
    sent.payload[16] ^= 0x10;
    let got = case.pass6(&sent);
    assert_eq!(got.transport_sum() % 0xffff, sent.transport_sum() % 0xffff);
}

#[test]
fn a_path_narrower_than_ipv6_allows_works_for_a_client_that_keeps_to_1280() {
    // The client is told 1280, the least there is; what it then sends may be fragmented by the narrow link's router.
    let Some(mut case) = STANDARD.case() else { return };
    let out = case.pass6(&case.client_udp(&pattern(1400)));
    assert!(out.header.dont_fragment);
    let error = V4::icmp(case.router4(), POOL, &Icmp::error(3, 4, 1000, &out.bytes()[..200]));
    assert_eq!(case.pass4(&error).read_icmp().rest, 1280);
    let out = case.pass6(&case.client_udp(&pattern(1280 - 48)));
    assert_eq!((out.header.total_len, out.header.dont_fragment), (1260, false));
}

rows! { the_client_is_told_no_more_than_both_links_carry:
    an_mtu_of_ipv4_above_the_links_is_that_of_the_ipv6_link(9100, 9000, false);
    an_mtu_of_ipv4_below_the_links_grows_by_20(1400, 1420, false);
    an_mtu_of_ipv4_above_a_configured_link_is_that_and_20(9100, 1420, true);
}

#[track_caller]
fn the_client_is_told_no_more_than_both_links_carry(told: u32, expected: u32, configured: bool) {
    let Some(mut case) = if configured { &STRICT } else { &STANDARD }.case() else { return };
    let out = case.pass6(&case.client_udp(&pattern(1400))).bytes();
    let error = V4::icmp(case.router4(), POOL, &Icmp::error(3, 4, told, &out[..200]));
    assert_eq!(case.pass4(&error).read_icmp().rest, expected);
}

rows! { the_server_is_told_no_more_than_both_links_carry:
    an_mtu_of_ipv6_above_the_links_is_that_of_the_ipv6_link_less_20(9100, 8980, false);
    an_mtu_of_ipv6_below_the_links_shrinks_by_20(1500, 1480, false);
    an_mtu_of_ipv6_above_a_configured_link_is_that(9100, 1400, true);
}

#[track_caller]
fn the_server_is_told_no_more_than_both_links_carry(told: u32, expected: u32, configured: bool) {
    let Some(mut case) = if configured { &STRICT } else { &STANDARD }.case() else { return };
    let port = case.open_udp();
    let sent = case.server_udp(port, &pattern(1000)).with(|header| header.dont_fragment = true);
    let delivered = case.pass4(&sent).bytes();
    let error = V6::icmp(case.client(), case.service6().0, &Icmp::error(2, 0, told, &delivered[..200]));
    assert_eq!(case.pass6(&error).read_icmp().rest & 0xffff, expected);
}

#[test]
fn a_packet_too_long_for_the_next_link_is_answered_by_its_router() {
    // The kernel's own error about what the translator sent, translated on its way back: 9000 bytes of IPv4 and 20.
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let sent = case.server_udp(port, &pattern(9000 - 28)).with(|header| header.dont_fragment = true);
    case.send(&sent);
    let message = case.arrival4().read_icmp();
    assert_eq!((message.kind, message.code, message.rest), (3, 4, 9000 - 20));
    assert_eq!(message.body[20..28], sent.payload[..8]);
    case.quiet();
}

#[test]
fn packet_too_big_with_an_mtu_below_1280_makes_the_server_send_less() {
    // RFC 8200 §5 lets no link be narrower, but a tunnel's router may say so.
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let sent = case.server_udp(port, &pattern(1200)).with(|header| header.dont_fragment = true);
    let delivered = case.pass4(&sent).bytes();
    let error = V6::icmp(case.router6(), case.service6().0, &Icmp::error(2, 0, 1000, &delivered));
    let message = case.pass6(&error).read_icmp();
    assert_eq!((message.kind, message.code, message.rest), (3, 4, 980));
}
