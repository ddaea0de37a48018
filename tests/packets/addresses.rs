//! RFC 6052, RFC 6146 §3.5, RFC 7915 §4.1 and §5.1: which addresses are translated, and how.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::bench::{ASTRAY4, ASTRAY6, POOL, embed};
use crate::case::{PORT, SERVICE, SYN};
use crate::groups::{GUARDED, PREFIXES, STANDARD};
use crate::rows::rows;
use crate::wire::{Icmp, V4, V6};

#[test]
fn these_tests_embed_addresses_as_the_tables_of_rfc_6052_do() {
    let host = Ipv4Addr::new(192, 0, 2, 33);
    for (prefix, address) in [
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
    ] {
        assert_eq!(embed(prefix, host), address.parse::<Ipv6Addr>().unwrap(), "{prefix}");
    }
}

rows! { is_translated_both_ways:
    a_prefix_of_32_bits_is_translated_both_ways("3fff:32::/32");
    a_prefix_of_40_bits_is_translated_both_ways("3fff:40::/40");
    a_prefix_of_48_bits_is_translated_both_ways("3fff:48::/48");
    a_prefix_of_56_bits_is_translated_both_ways("3fff:56::/56");
    a_prefix_of_64_bits_is_translated_both_ways("3fff:64::/64");
    a_prefix_of_96_bits_is_translated_both_ways("3fff:96::/96");
    the_well_known_prefix_is_translated_both_ways("64:ff9b::/96");
}

/// Several prefixes at once: an answer comes from the one that was asked.
#[track_caller]
fn is_translated_both_ways(prefix: &str) {
    let Some(mut case) = PREFIXES.case() else { return };
    let server = embed(prefix, case.server());
    let out = case.pass6(&V6::udp((case.client(), PORT), (server, SERVICE), b"x"));
    assert_eq!(out.destination(), case.server());
    let back = case.pass4(&case.server_udp(out.ports().0, b"y"));
    assert_eq!((back.source(), back.destination(), back.data()), (server, case.client(), &b"y"[..]));
    // Inside ICMP errors, too.
    let error = V4::icmp(case.router4(), POOL, &Icmp::error(3, 1, 0, &out.bytes()));
    let got = case.pass4(&error);
    assert_eq!(got.source(), embed(prefix, case.router4()));
    assert_eq!(V6::read(&got.read_icmp().body).destination(), server);
}

rows! { the_suffix_is_ignored:
    the_suffix_behind_a_prefix_of_32_bits_is_ignored_and_sent_as_zero("3fff:32::/32");
    the_suffix_behind_a_prefix_of_64_bits_is_ignored_and_sent_as_zero("3fff:64::/64");
}

#[track_caller]
fn the_suffix_is_ignored(prefix: &str) {
    let Some(mut case) = PREFIXES.case() else { return };
    let server = embed(prefix, case.server());
    let with_suffix = Ipv6Addr::from_bits(server.to_bits() | 0xff_ffff);
    let out = case.pass6(&V6::udp((case.client(), PORT), (with_suffix, SERVICE), b"x"));
    assert_eq!(out.destination(), case.server());
    assert_eq!(case.pass4(&case.server_udp(out.ports().0, b"y")).source(), server);
}

#[test]
fn a_session_from_outside_comes_from_the_prefix_that_its_mapping_was_made_with_or_the_first() {
    let Some(mut case) = PREFIXES.case() else { return };
    let to = embed("3fff:48::/48", case.server());
    let port = case.pass6(&V6::udp((case.client(), PORT), (to, SERVICE), b"x")).ports().0;
    let got = case.pass4(&V4::udp((case.stranger(), 9), (POOL, port), b"x"));
    let prefixes = ["3fff:48::/48", "64:ff9b::/96"].map(|prefix| embed(prefix, case.stranger()));
    assert!(prefixes.contains(&got.source()), "{got:?}");
    // Whichever it is, what is sent back there arrives.
    let answer = case.pass6(&V6::udp((case.client(), PORT), (got.source(), 9), b"y"));
    assert_eq!((answer.destination(), answer.ports()), (case.stranger(), (port, 9)));
}

rows! { is_no_source_in_ipv6:
    a_source_under_the_prefix_is_a_loop("64:ff9b:1::192.0.2.1", "loop");
    an_ipv4_compatible_source_is_illegal("::192.0.2.33", "illegal-source");
}

/// The kernel keeps the others to itself: see `main.rs`.
#[track_caller]
fn is_no_source_in_ipv6(source: &str, reason: &str) {
    let Some(mut case) = STANDARD.case() else { return };
    let source: Ipv6Addr = source.parse().unwrap();
    let to = case.service6();
    case.silent(&V6::udp((source, PORT), to, b"x"), reason);
    case.silent(&V6::tcp((source, PORT), to, SYN, b""), reason);
    case.silent(&V6::icmp(source, to.0, &Icmp::echo(128, 1, 1, b"x")), reason);
    // However much is wrong with a packet, nobody is told who cannot be its sender.
    case.silent(&V6::udp((source, PORT), to, b"x").with(|header| header.hop_limit = 2), reason);
}

rows! { is_no_source_in_ipv4:
    a_reserved_source_is_illegal(240, 0, "illegal-source");
    a_link_local_source_is_illegal(169, 254, "illegal-source");
}

#[track_caller]
fn is_no_source_in_ipv4(first: u8, second: u8, reason: &str) {
    let Some(mut case) = STANDARD.case() else { return };
    let (udp, echo) = (case.open_udp(), case.open_echo());
    let source = case.host4(first, second);
    case.silent(&V4::udp((source, SERVICE), (POOL, udp), b"x"), reason);
    case.silent(&V4::icmp(source, POOL, &Icmp::echo(0, echo, 1, b"x")), reason);
    case.silent(&V4::udp((source, SERVICE), (POOL, 1), b"x").with(|header| header.time_to_live = 2), reason);
}

#[test]
fn a_pool_address_as_source_from_outside_is_a_loop() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    case.silent(&V4::udp((POOL, 5000), (POOL, port), b"x"), "loop");
}

rows! { is_no_destination:
    a_host_of_this_network_is_no_destination("0.1.2.3");
    the_unspecified_address_is_no_destination("0.0.0.0");
    a_loopback_address_is_no_destination("127.0.0.1");
    a_link_local_address_is_no_destination("169.254.1.1");
    a_multicast_group_is_no_destination("224.0.0.1");
    a_multicast_group_of_an_organisation_is_no_destination("239.1.1.1");
    a_reserved_address_is_no_destination("240.0.0.1");
    the_broadcast_address_is_no_destination("255.255.255.255");
}

/// RFC 7915 §5.4: what no other rule names is administratively prohibited.
#[track_caller]
fn is_no_destination(address: &str) {
    let Some(mut case) = STANDARD.case() else { return };
    let to = (case.six(address.parse().unwrap()), SERVICE);
    let sent = V6::udp((case.client(), PORT), to, b"x");
    let (error, message) = case.refused6(&sent, "illegal-destination");
    assert_eq!((error.destination(), message.kind, message.code), (case.client(), 1, 1));
    assert_eq!(case.mappings().len(), 0);
}

rows! { is_not_carried_by_the_well_known_prefix:
    the_well_known_prefix_does_not_carry_10_0_0_0_8(10, 0);
    the_well_known_prefix_does_not_carry_172_16_0_0_12(172, 31);
    the_well_known_prefix_does_not_carry_192_168_0_0_16(192, 168);
    the_well_known_prefix_does_not_carry_100_64_0_0_10(100, 64);
    the_well_known_prefix_does_not_carry_198_18_0_0_15(198, 18);
}

/// RFC 6052 §3.1, in both directions.
#[track_caller]
fn is_not_carried_by_the_well_known_prefix(first: u8, second: u8) {
    let Some(mut case) = GUARDED.case() else { return };
    let private = case.host4(first, second);
    let sent = V6::udp((case.client(), PORT), (case.six(private), SERVICE), b"x");
    let (_, message) = case.refused6(&sent, "well-known-prefix");
    assert_eq!((message.kind, message.code), (1, 1));
    assert_eq!(case.mappings().len(), 0);
    let global = (case.six(case.host4(8, 8)), SERVICE);
    let port = case.pass6(&V6::udp((case.client(), PORT), global, b"x")).ports().0;
    case.not_delivered(&V4::udp((private, SERVICE), (POOL, port), b"x"), "well-known-prefix");
    assert_eq!(case.sessions().len(), 1);
}

rows! { is_not_carried_either:
    the_well_known_prefix_does_not_carry_192_0_2_0_24("192.0.2.77");
    the_well_known_prefix_does_not_carry_198_51_100_0_24("198.51.100.1");
    the_well_known_prefix_does_not_carry_203_0_113_0_24("203.0.113.200");
    the_well_known_prefix_does_not_carry_192_0_0_0_24("192.0.0.1");
}

#[track_caller]
fn is_not_carried_either(address: &str) {
    let Some(mut case) = GUARDED.case() else { return };
    let to = (case.six(address.parse().unwrap()), SERVICE);
    let (_, message) = case.refused6(&V6::udp((case.client(), PORT), to, b"x"), "well-known-prefix");
    assert_eq!((message.kind, message.code), (1, 1));
}

rows! { is_carried_by_the_well_known_prefix:
    the_well_known_prefix_carries_8_0_0_0_8(8, 8);
    the_well_known_prefix_carries_what_is_beside_172_16_0_0_12(172, 32);
    the_well_known_prefix_carries_what_is_beside_100_64_0_0_10(100, 128);
}

#[track_caller]
fn is_carried_by_the_well_known_prefix(first: u8, second: u8) {
    let Some(mut case) = GUARDED.case() else { return };
    let global = case.host4(first, second);
    let sent = V6::udp((case.client(), PORT), (case.six(global), SERVICE), b"x");
    let out = case.pass6(&sent);
    assert_eq!(out.destination(), global);
    assert_eq!(case.pass4(&V4::udp((global, SERVICE), (POOL, out.ports().0), b"x")).source(), case.six(global));
}

#[test]
fn an_error_from_a_private_router_reaches_the_client_although_the_prefix_may_not_carry_its_address() {
    let Some(mut case) = GUARDED.case() else { return };
    let global = (case.six(case.host4(8, 8)), SERVICE);
    let out = case.pass6(&V6::udp((case.client(), PORT), global, &[7; 1400]));
    let error = V4::icmp(case.host4(10, 0), POOL, &Icmp::error(3, 4, 1300, &out.bytes()[..200]));
    let got = case.pass4(&error);
    assert_ne!(got.source(), case.six(case.host4(10, 0)));
    assert_eq!((got.read_icmp().kind, got.read_icmp().rest), (2, 1320));
}

#[test]
fn private_addresses_may_be_allowed_under_the_well_known_prefix() {
    let Some(mut case) = PREFIXES.case() else { return };
    let to = (embed("64:ff9b::/96", case.host4(10, 0)), SERVICE);
    assert_eq!(case.pass6(&V6::udp((case.client(), PORT), to, b"x")).destination(), case.host4(10, 0));
}

#[test]
fn a_prefix_of_one_s_own_carries_private_addresses() {
    let Some(mut case) = STANDARD.case() else { return };
    let to = (case.six(case.host4(10, 0)), SERVICE);
    assert_eq!(case.pass6(&V6::udp((case.client(), PORT), to, b"x")).destination(), case.host4(10, 0));
}

#[test]
fn a_destination_under_no_prefix_is_refused() {
    // RFC 6146 §3.5: only what is under the prefix is processed. The bench routes this to the device.
    let Some(mut case) = STANDARD.case() else { return };
    let sent = V6::udp((case.client(), PORT), (ASTRAY6, SERVICE), b"x");
    let (error, message) = case.refused6(&sent, "not-our-prefix");
    assert_eq!((error.destination(), message.kind, message.code), (case.client(), 1, 1));
    assert_eq!(case.mappings().len(), 0);
}

#[test]
fn a_destination_outside_the_pool_is_dropped_silently() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    case.silent(&V4::udp((case.server(), SERVICE), (ASTRAY4, port), b"x"), "not-our-pool");
}
