//! RFC 6052, RFC 6146 §3.5 and §3.5.4: which addresses are translated, and how.

use std::net::{Ipv4Addr, Ipv6Addr};

use nat64_core::policy::{PolicyError, PoolRange};
use nat64_core::{DropReason, Policy, Translator, Verdict};
use pref64::{Pref64, Pref64Error, WellKnownPolicy};

use crate::lab::*;
use crate::wire::{Icmp, V4, V6, pattern};

/// RFC 6052 §2.4, tables 1 and 2: prefix and the address of 192.0.2.33 under it.
const TABLES: [(&str, &str); 7] = [
    ("2001:db8::/32", "2001:db8:c000:221::"),
    ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
    ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
    ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
    ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
    ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
];
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 33);
/// Outside of all of these prefixes.
const FAR_CLIENT: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7);

fn with_prefix(prefix: &str) -> Lab {
    Lab::with(|policy| {
        policy.prefixes = vec![prefix.parse().unwrap()];
        policy.well_known = WellKnownPolicy::AllowPrivate;
    })
}

#[test]
fn every_row_of_rfc_6052_s_tables_is_translated_both_ways() {
    for (prefix, address) in TABLES {
        let mut lab = with_prefix(prefix);
        let address: Ipv6Addr = address.parse().unwrap();
        let out = lab.pass6(&V6::udp((FAR_CLIENT, PORT), (address, SERVICE), b"x"));
        assert_eq!(out.destination(), HOST, "{prefix}");
        let back = lab.pass4(&V4::udp((HOST, SERVICE), (POOL, out.ports().0), b"x"));
        assert_eq!((back.source(), back.destination()), (address, FAR_CLIENT), "{prefix}");
        let unknown = Ipv4Addr::new(198, 51, 100, 255);
        let back = lab.pass4(&V4::udp((unknown, 1), (POOL, out.ports().0), b"x"));
        assert_eq!(prefix.parse::<Pref64>().unwrap().extract(back.source()), Some(unknown), "{prefix}");
    }
}

#[test]
fn suffix_bits_are_ignored_and_sent_as_zero() {
    for (prefix, address) in &TABLES[..5] {
        let mut lab = with_prefix(prefix);
        let address: Ipv6Addr = address.parse().unwrap();
        let with_suffix = Ipv6Addr::from_bits(address.to_bits() | 0x00ff_ffff);
        let out = lab.pass6(&V6::udp((FAR_CLIENT, PORT), (with_suffix, SERVICE), b"x"));
        assert_eq!(out.destination(), HOST, "{prefix}");
        let back = lab.pass4(&V4::udp((HOST, SERVICE), (POOL, out.ports().0), b"x"));
        assert_eq!(back.source(), address, "{prefix}");
    }
}

#[test]
fn bits_64_to_71_are_zero() {
    for (prefix, address) in &TABLES[..5] {
        let prefix: Pref64 = prefix.parse().unwrap();
        assert_eq!(prefix.embed(Ipv4Addr::BROADCAST).octets()[8], 0, "{prefix}");
        let mut lab = with_prefix(&prefix.to_string());
        let set = Ipv6Addr::from_bits(address.parse::<Ipv6Addr>().unwrap().to_bits() | 1 << 56);
        lab.send6(&V6::udp((FAR_CLIENT, PORT), (set, SERVICE), b"x")).error6(DropReason::NotOurPrefix);
    }
    assert!(matches!("2001:db8:0:0:100::/96".parse::<Pref64>(), Err(Pref64Error::UOctet(_))));
}

#[test]
fn prefixes_have_one_of_six_lengths() {
    for length in 0..=128 {
        let allowed = [32, 40, 48, 56, 64, 96].contains(&length);
        let prefix = format!("2001:db8::/{length}").parse::<Pref64>();
        assert_eq!(prefix.is_ok(), allowed, "/{length}: {prefix:?}");
    }
}

#[test]
fn a_translator_has_a_prefix_and_a_pool() {
    let pool = vec![PoolRange::address(POOL)];
    assert_eq!(Translator::new(Policy::new(Vec::new(), pool), 1).unwrap_err(), PolicyError::NoPrefix);
    assert_eq!(Translator::new(Policy::new(vec![prefix()], Vec::new()), 1).unwrap_err(), PolicyError::EmptyPool);
    for address in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
        let address: Ipv4Addr = address.parse().unwrap();
        let policy = Policy::new(vec![prefix()], vec![PoolRange::address(address)]);
        assert_eq!(Translator::new(policy, 1).unwrap_err(), PolicyError::NotUnicast(address));
    }
}

/// Non-global addresses: RFC 1918 and what RFC 5735 §3 (now RFC 6890) lists.
const NON_GLOBAL: [&str; 10] = [
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "192.0.0.1",
    "192.0.2.77",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
];

#[test]
fn the_well_known_prefix_does_not_carry_non_global_addresses_to_ipv4() {
    for address in NON_GLOBAL {
        let mut lab = Lab::with(|policy| policy.prefixes = vec![Pref64::WELL_KNOWN]);
        let to = Pref64::WELL_KNOWN.embed(address.parse().unwrap());
        let outcome = lab.send6(&V6::udp((CLIENT, PORT), (to, SERVICE), b"x"));
        let (_, message) = outcome.error6(DropReason::WellKnownPrefix);
        assert_eq!((message.kind, message.code), (1, 1), "{address}");
        lab.is_empty();
    }
    for address in ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1"] {
        let mut lab = Lab::with(|policy| policy.prefixes = vec![Pref64::WELL_KNOWN]);
        let to = Pref64::WELL_KNOWN.embed(address.parse().unwrap());
        assert_eq!(lab.pass6(&V6::udp((CLIENT, PORT), (to, SERVICE), b"x")).destination().to_string(), address);
    }
}

#[test]
fn the_well_known_prefix_does_not_carry_non_global_addresses_to_ipv6() {
    let mut lab = Lab::with(|policy| policy.prefixes = vec![Pref64::WELL_KNOWN]);
    let google = Pref64::WELL_KNOWN.embed(Ipv4Addr::new(8, 8, 8, 8));
    let port = lab.pass6(&V6::udp((CLIENT, PORT), (google, SERVICE), b"x")).ports().0;
    for address in NON_GLOBAL {
        let outcome = lab.send4(&V4::udp((address.parse().unwrap(), SERVICE), (POOL, port), b"x"));
        let told = outcome.packets.iter().all(|packet| packet[0] >> 4 == 4);
        assert!(told && !matches!(outcome.verdict, Verdict::Translated(_)), "{address}: {outcome:?}");
    }
    assert_eq!(lab.sessions().len(), 1, "and leaves no session behind");
}

#[test]
fn an_error_from_a_private_router_reaches_the_client_without_its_address() {
    let mut lab = Lab::with(|policy| policy.prefixes = vec![Pref64::WELL_KNOWN]);
    let google = Ipv4Addr::new(8, 8, 8, 8);
    let out = lab.pass6(&V6::udp((CLIENT, PORT), (Pref64::WELL_KNOWN.embed(google), SERVICE), &pattern(1400)));
    let error = Icmp::error(3, 4, 1300, &out.bytes()[..200]);
    let got = lab.pass4(&V4::icmp(Ipv4Addr::new(10, 0, 0, 1), POOL, &error));
    assert_eq!((got.source(), got.read_icmp().rest), (Pref64::WELL_KNOWN.embed(google), 1320));
}

#[test]
fn a_network_specific_prefix_may_carry_private_addresses_and_so_may_the_well_known_one_if_asked() {
    for (prefix, policy) in [
        (prefix(), WellKnownPolicy::Strict),
        ("64:ff9b:1::/96".parse().unwrap(), WellKnownPolicy::Strict),
        (Pref64::WELL_KNOWN, WellKnownPolicy::AllowPrivate),
    ] {
        let mut lab = Lab::with(|wanted| (wanted.prefixes, wanted.well_known) = (vec![prefix], policy));
        let to = prefix.embed(Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(lab.pass6(&V6::udp((CLIENT, PORT), (to, SERVICE), b"x")).destination(), Ipv4Addr::new(10, 0, 0, 1));
    }
}

#[test]
fn illegal_destinations_are_refused() {
    for address in
        ["0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"]
    {
        let mut lab = Lab::new();
        let to = six(address.parse().unwrap());
        lab.send6(&V6::udp((CLIENT, PORT), (to, SERVICE), b"x")).error6(DropReason::IllegalDestination);
        lab.is_empty();
    }
}

#[test]
fn a_source_under_the_prefix_is_dropped_silently_whatever_the_packet_is() {
    let inside = six(Ipv4Addr::new(192, 0, 2, 1));
    let udp = V6::udp((inside, PORT), service6(), b"x");
    let packets = [
        udp.clone(),
        udp.clone().with(|header| header.hop_limit = 1),
        udp.clone().extended(43, &[&[0, 1, 0, 0, 0, 0][..], &CLIENT.octets()].concat()),
        V6::new(inside, six(SERVER), 132, &pattern(20)),
        V6::tcp((inside, PORT), service6(), ACK, b""),
        V6::icmp(inside, six(SERVER), &Icmp::echo(128, 1, 1, b"x")),
        V6::udp((inside, PORT), (six(POOL), SERVICE), b"x"),
        udp.fragments(&[8], 1)[0].clone(),
    ];
    for packet in packets {
        let mut lab = Lab::new();
        let outcome = lab.send6(&packet);
        assert!(
            matches!(outcome.verdict, Verdict::Dropped(_)) && outcome.packets.is_empty(),
            "{packet:?}: {outcome:?}"
        );
        lab.is_empty();
    }
}

#[test]
fn only_the_prefix_and_the_pool_are_translated() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let sent = V6::udp((CLIENT, PORT), ("2001:db8:65::1".parse().unwrap(), SERVICE), b"x");
    lab.send6(&sent).error6(DropReason::NotOurPrefix);
    lab.send4(&V4::udp((SERVER, SERVICE), (Ipv4Addr::new(192, 0, 2, 2), port), b"x")).silent(DropReason::NotOurPool);
    assert_eq!(lab.sessions().len(), 1);
}

#[test]
fn a_pool_address_as_source_from_outside_is_a_loop() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    lab.send4(&V4::udp((POOL, 5000), (POOL, port), b"x")).silent(DropReason::Loop);
}

#[test]
fn several_prefixes_are_answered_by_the_one_that_was_asked() {
    let other: Pref64 = "2001:db8:65::/96".parse().unwrap();
    let mut lab = Lab::with(|policy| policy.prefixes.push(other));
    for prefix in [prefix(), other] {
        let out = lab.pass6(&V6::udp((CLIENT, prefix.length().into()), (prefix.embed(STRANGER), SERVICE), b"x"));
        let back = lab.pass4(&V4::udp((STRANGER, SERVICE), (POOL, out.ports().0), b"x"));
        assert_eq!(back.source(), prefix.embed(STRANGER));
        lab.pass_time(6 * MINUTE);
    }
}
