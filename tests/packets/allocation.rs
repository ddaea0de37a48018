//! RFC 6146 §3.5.1.1 and §3.5.2.3, RFC 4787 REQ-2 to REQ-4, RFC 6056, RFC 7857 §3: which address and port a mapping is given.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::case::{Case, FIN_ACK, PATIENCE, PORT, SYN, SYN_ACK};
use crate::groups::{BLOCKS, DETERMINISTIC, HUNDRED, OVERLAPPING, RESTING, RULES, SCARCE, SOFT, STANDARD};
use crate::rows::rows;
use crate::support::eventually;
use crate::wire::{ICMP, Icmp, TCP, UDP, V4, V6};

/// What a host sends to the server from a port or with an identifier.
fn packet(case: &Case, protocol: u8, source: Ipv6Addr, port: u16) -> V6 {
    match protocol {
        UDP => V6::udp((source, port), case.service6(), b"x"),
        TCP => V6::tcp((source, port), case.service6(), SYN, b""),
        _ => V6::icmp(source, case.service6().0, &Icmp::echo(128, port, 1, b"x")),
    }
}

impl Case {
    /// Opens a mapping, and returns what it was given.
    #[track_caller]
    fn open(&mut self, protocol: u8, source: Ipv6Addr, port: u16) -> (Ipv4Addr, u16) {
        self.send(&packet(self, protocol, source, port));
        let sent = self.arrival4();
        let number = if protocol == ICMP { sent.read_icmp().identifier() } else { sent.ports().0 };
        (sent.source(), number)
    }
}

rows! { stays_in_its_class:
    udp_port_1_stays_well_known(UDP, 1, true);
    udp_port_1023_stays_well_known(UDP, 1023, true);
    udp_port_1024_stays_out_of_the_well_known_range(UDP, 1024, false);
    tcp_port_53_stays_well_known(TCP, 53, true);
    tcp_port_1023_stays_well_known(TCP, 1023, true);
    tcp_port_1024_stays_out_of_the_well_known_range(TCP, 1024, false);
}

#[track_caller]
fn stays_in_its_class(protocol: u8, port: u16, well_known: bool) {
    let Some(mut case) = RULES.case() else { return };
    for host in 1..=20 {
        let given = case.open(protocol, case.host6(host), port).1;
        assert_eq!(given < 1024, well_known, "{given}");
    }
}

rows! { keeps_its_parity:
    even_udp_ports_stay_even(0);
    odd_udp_ports_stay_odd(1);
}

#[track_caller]
fn keeps_its_parity(parity: u16) {
    let Some(mut case) = STANDARD.case() else { return };
    for step in 0..30 {
        let given = case.open(UDP, case.client(), 40_000 + 2 * step + parity).1;
        assert_eq!(given % 2, parity, "{given}");
    }
}

rows! { are_hard_to_guess:
    udp_ports_are_hard_to_guess(UDP);
    tcp_ports_are_hard_to_guess(TCP);
    identifiers_are_hard_to_guess(ICMP);
}

#[track_caller]
fn are_hard_to_guess(protocol: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    let given: Vec<u16> = (1..=64).map(|host| case.open(protocol, case.host6(host), 5000).1).collect();
    let steps: HashSet<u16> = given.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(steps.len() > 55, "{given:?}");
    let quarters: HashSet<u16> = given.iter().map(|port| port / 16_384).collect();
    assert_eq!(quarters.len(), 4, "they come from all of the range: {given:?}");
}

#[test]
fn all_mappings_of_a_host_have_one_address_whatever_the_protocol() {
    let Some(mut case) = RULES.case() else { return };
    let mut of_hosts = HashSet::new();
    for host in 1..=12 {
        let protocols = [UDP, TCP, ICMP].into_iter().cycle().zip(2000..2009);
        let addresses: HashSet<_> =
            protocols.map(|(protocol, port)| case.open(protocol, case.host6(host), port).0).collect();
        assert_eq!(addresses.len(), 1, "{addresses:?}");
        of_hosts.extend(addresses);
    }
    assert!(of_hosts.len() > 1, "hosts are spread over the pool: {of_hosts:?}");
    assert!(of_hosts.iter().all(|address| (2..=5).contains(&address.octets()[3])), "{of_hosts:?}");
}

#[test]
fn a_source_with_a_pool_of_its_own_uses_that() {
    let Some(mut case) = RULES.case() else { return };
    for port in 0..20 {
        let (address, given) = case.open(TCP, case.host_at(0xd, 1), 40_000 + port);
        assert_eq!(address, Ipv4Addr::new(198, 51, 100, 7));
        assert!((3000..3010).contains(&given) || (5000..5010).contains(&given), "{given}");
    }
    // Two pieces of ten ports, all of them used; there are no others for it.
    let late = packet(&case, TCP, case.host_at(0xd, 1), 50_000);
    assert_eq!(case.refused6(&late, "pool-exhausted").1.code, 3);
}

#[test]
fn the_most_specific_pool_of_a_source_counts() {
    let Some(mut case) = RULES.case() else { return };
    assert_eq!(case.open(UDP, case.host_at(0xe, 1), PORT).0, Ipv4Addr::new(198, 51, 100, 9));
}

rows! { a_full_pool_refuses:
    a_full_udp_pool_refuses_and_what_exists_lives_on(UDP);
    a_full_tcp_pool_refuses_and_what_exists_lives_on(TCP);
    a_full_icmp_pool_refuses_and_what_exists_lives_on(ICMP);
}

/// A host keeps to one address (RFC 6888 REQ-2), which has four ports for each protocol.
#[track_caller]
fn a_full_pool_refuses(protocol: u8) {
    let Some(mut case) = SCARCE.case() else { return };
    let client = case.client();
    let given: Vec<_> = (5000..5004).map(|port| case.open(protocol, client, port)).collect();
    assert_eq!(given.iter().map(|given| given.0).collect::<HashSet<_>>().len(), 1);
    assert_eq!(given.iter().map(|given| given.1).collect::<HashSet<_>>(), HashSet::from([2000, 2001, 2002, 2003]));
    let late = packet(&case, protocol, client, 6000);
    let (error, message) = case.refused6(&late, "pool-exhausted");
    assert_eq!((error.destination(), message.kind, message.code), (client, 1, 3), "address unreachable");
    for (port, given) in (5000..5004).zip(given) {
        assert_eq!(case.open(protocol, client, port), given);
    }
}

#[test]
fn a_host_whose_address_is_full_is_given_another_where_policy_is_soft() {
    let Some(mut case) = SOFT.case() else { return };
    let client = case.client();
    let given: HashSet<_> = (5000..5008).map(|port| case.open(UDP, client, port)).collect();
    assert_eq!(given.len(), 8);
    case.refused6(&packet(&case, UDP, client, 6000), "pool-exhausted");
}

rows! { a_pool_is_used_up:
    all_udp_ports_are_used_before_the_first_refusal_and_none_twice(UDP);
    all_tcp_ports_are_used_before_the_first_refusal_and_none_twice(TCP);
    all_identifiers_are_used_before_the_first_refusal_and_none_twice(ICMP);
}

#[track_caller]
fn a_pool_is_used_up(protocol: u8) {
    let Some(mut case) = HUNDRED.case() else { return };
    let mut seen = HashSet::new();
    for host in 1..=100 {
        let given = case.open(protocol, case.host6(host), 5000 + host);
        assert!((10_000..=10_099).contains(&given.1) && seen.insert(given), "{given:?}");
    }
    case.refused6(&packet(&case, protocol, case.host6(101), 5000), "pool-exhausted");
}

#[test]
fn a_port_that_has_been_used_rests() {
    let Some(mut case) = RESTING.case() else { return };
    let syn = |host| V6::tcp((host, PORT), case.service6(), SYN, b"");
    let (client, other) = (syn(case.client()), syn(case.other()));
    // A connection that both sides have closed needs no rest (RFC 6888 REQ-8).
    for _ in 0..2 {
        assert_eq!(case.pass6(&client).ports().0, 5000);
        close(&mut case);
    }
    // A session that just ended does.
    assert_eq!(case.pass6(&client).ports().0, 5000);
    eventually("the session to end", PATIENCE, || case.sessions().is_empty());
    assert_eq!(case.refused6(&other, "pool-exhausted").1.code, 3);
    // Each protocol has its own ports.
    assert_eq!(case.open(UDP, case.client(), PORT).1, 5000);
    eventually("the session to end", PATIENCE, || case.sessions().is_empty());
    case.refused6(&packet(&case, UDP, case.other(), PORT), "pool-exhausted");
}

/// Takes the client's connection through its opening to a close by both sides, and out of the table.
#[track_caller]
fn close(case: &mut Case) {
    let to = (Ipv4Addr::new(203, 0, 113, 2), 5000);
    let segment = |case: &Case, flags| V4::tcp((case.server(), crate::case::SERVICE), to, flags, b"");
    case.pass4(&segment(case, SYN_ACK));
    case.pass6(&case.client_tcp(FIN_ACK));
    case.pass4(&segment(case, FIN_ACK));
    eventually("the session to end", PATIENCE, || case.sessions().is_empty());
}

#[test]
fn a_subscriber_s_ports_come_from_blocks_and_are_no_more_than_these_have() {
    let Some(mut case) = BLOCKS.case() else { return };
    let mut blocks: BTreeMap<u16, u16> = BTreeMap::new();
    for port in 0..32 {
        // One after the other of the same parity, so that both halves of a block are asked for.
        let given = case.open(UDP, case.client(), 40_000 + port).1;
        *blocks.entry(given / 16).or_default() += 1;
    }
    assert_eq!(blocks.values().copied().collect::<Vec<_>>(), [16, 16], "{blocks:?}");
    case.refused6(&packet(&case, UDP, case.client(), 50_000), "pool-exhausted");
    let neighbour = case.open(UDP, case.other(), 40_000).1;
    assert!(!blocks.contains_key(&(neighbour / 16)), "a block is one subscriber's");
}

#[test]
fn ports_inside_a_block_are_random() {
    let Some(mut case) = BLOCKS.case() else { return };
    let given: Vec<u16> = (0..16).map(|port| case.open(TCP, case.client(), 40_000 + port).1).collect();
    let steps: HashSet<u16> = given.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(steps.len() > 4, "{given:?}");
}

#[test]
fn a_block_has_the_ports_of_all_protocols() {
    let Some(mut case) = BLOCKS.case() else { return };
    let client = case.client();
    let given = [UDP, TCP, ICMP].map(|protocol| case.open(protocol, client, 40_000).1 / 16);
    assert_eq!(given, [given[0]; 3]);
}

#[test]
fn deterministic_ports_are_the_subscriber_s_own() {
    let Some(mut case) = DETERMINISTIC.case() else { return };
    let [(address, ports), (sibling, its_ports)] = [case.client(), case.other()].map(|host| {
        let given: Vec<_> = (0..20).map(|port| case.open(TCP, host, 40_000 + port)).collect();
        (given[0].0, given.into_iter().map(|given| given.1).collect::<Vec<_>>())
    });
    // 65,536 subscribers on 64 addresses of less than 65,536 ports have less than 64 each.
    let ports = [ports, its_ports].concat();
    let (least, most) = (ports.iter().min().unwrap(), ports.iter().max().unwrap());
    assert!(address == sibling && most - least < 64, "{address} and {sibling}: {least}-{most}");
}

#[test]
fn sources_outside_the_deterministic_range_are_refused() {
    let Some(mut case) = DETERMINISTIC.case() else { return };
    let outside = packet(&case, UDP, case.host_at(0xd, 1), PORT);
    case.send(&outside);
    assert_eq!(case.arrival6().read_icmp().kind, 1);
    case.quiet();
}

#[test]
fn a_port_serves_several_destinations_where_policy_asks() {
    let Some(mut case) = OVERLAPPING.case() else { return };
    let mut owners: BTreeMap<u16, HashSet<u16>> = BTreeMap::new();
    for host in 1..=60 {
        let service = 80 + host;
        let sent = V6::udp((case.host6(host), 4000), (case.service6().0, service), b"x");
        let port = case.pass6(&sent).ports().0;
        owners.entry(port).or_default().insert(host);
        // The answer finds its owner by where it comes from.
        let back = V4::udp((case.server(), service), (Ipv4Addr::new(203, 0, 113, 2), port), b"y");
        assert_eq!(case.pass4(&back).destination(), case.host6(host));
    }
    assert!(owners.len() <= 16 && owners.values().any(|hosts| hosts.len() > 1), "{owners:?}");
}

#[test]
fn towards_one_destination_a_port_is_one_host_s() {
    let Some(mut case) = OVERLAPPING.case() else { return };
    let mut seen = HashSet::new();
    for host in 1..=16 {
        assert!(seen.insert(case.open(TCP, case.host6(host), 4000)), "host {host}");
    }
    case.refused6(&packet(&case, TCP, case.host6(17), 4000), "pool-exhausted");
}
