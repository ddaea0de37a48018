//! Full-size transfers do not stall, whatever is the narrowest cable.

use std::time::Duration;

use crate::support::{GATEWAY, Lab, SERVER, Topology, eventually, under_pref64};

const SIZE: u64 = 16 << 20;
/// A black hole costs TCP several seconds of repeating before it even starts to probe.
const WITHOUT_STALL: Duration = Duration::from_secs(20);

#[test]
fn a_client_with_jumbo_frames_exchanges_with_an_ipv4_side_without() {
    exchange(Topology { client_mtu: 9000, ..Topology::default() });
}

#[test]
fn a_client_without_jumbo_frames_exchanges_with_an_ipv4_side_with_them() {
    exchange(Topology { ipv4_mtus: &[9000, 9000], ..Topology::default() });
}

#[test]
fn an_ipv4_path_with_a_1400_byte_hop_carries_full_size_transfers() {
    exchange(Topology { ipv4_mtus: &[1500, 1400, 1500], ..Topology::default() });
}

#[test]
fn an_ipv4_path_with_a_1400_byte_hop_carries_a_jumbo_clients_transfers() {
    exchange(Topology { client_mtu: 9000, ipv4_mtus: &[9000, 1400, 9000], ..Topology::default() });
}

#[test]
fn an_ipv4_path_narrower_than_ipv6_allows_carries_full_size_transfers() {
    exchange(Topology { ipv4_mtus: &[1500, 1000, 1500], ..Topology::default() });
}

#[test]
fn cables_without_offload_and_a_1400_byte_hop_carry_full_size_transfers() {
    exchange(Topology { ipv4_mtus: &[1500, 1400, 1500], offload: false, ..Topology::default() });
}

#[test]
fn a_client_link_of_the_ipv6_minimum_carries_full_size_transfers() {
    exchange(Topology { client_mtu: 1280, ..Topology::default() });
}

#[test]
fn a_server_that_sends_too_much_for_the_client_link_is_told() {
    let topology = Topology { ipv4_mtus: &[9000, 9000], ..Topology::default() };
    let Some(lab) = Lab::new(topology) else { return };
    // The client promises to take segments that its own link cannot carry.
    lab.client.ip(&format!("-6 route change default via {GATEWAY} advmss 8900"));
    let _nat64 = lab.nat64(&Lab::translator());
    lab.web_server().exchange(&lab, SIZE, WITHOUT_STALL);
}

#[test]
fn a_packet_too_big_for_the_ipv4_side_is_answered_with_the_mtu_that_fits() {
    let Some(lab) = Lab::new(Topology { client_mtu: 9000, ..Topology::default() }) else { return };
    let _nat64 = lab.nat64(&Lab::translator());
    let ping =
        lab.client.run(&format!("ping -c 1 -W 2 -M do -s 3000 {}", under_pref64(SERVER)), Duration::from_secs(10));
    // 1500 bytes of IPv4 and the 20 by which an IPv6 header is longer (RFC 7915 §4.2).
    let said = format!("{}{}", ping.stdout, ping.stderr);
    assert!(said.contains("1520"), "{ping}");
}

#[test]
fn the_mtus_of_the_links_are_found_out_and_followed() {
    let Some(lab) = Lab::new(Topology { client_mtu: 9000, ..Topology::default() }) else { return };
    let nat64 = lab.nat64(&Lab::translator());
    let links = || {
        let device = &nat64.ask_json("status")["translator"]["device"];
        (device["ipv4_link_mtu"].as_u64(), device["ipv6_link_mtu"].as_u64())
    };
    assert_eq!(links(), (Some(1500), Some(9000)));
    lab.gateway.ip("link set wan mtu 1400");
    eventually("the new MTU", WITHOUT_STALL, || links() == (Some(1400), Some(9000)));
}

#[test]
fn the_mtus_of_the_links_can_be_given() {
    let Some(lab) = Lab::new(Topology::default()) else { return };
    let nat64 = lab.nat64(&format!("{}[translator.mtu]\nipv4-link = 1300\n", Lab::translator()));
    let device = &nat64.ask_json("status")["translator"]["device"];
    assert_eq!((device["ipv4_link_mtu"].as_u64(), device["ipv6_link_mtu"].as_u64()), (Some(1300), Some(1500)));
}

#[track_caller]
fn exchange(topology: Topology) {
    let Some(lab) = Lab::new(topology) else { return };
    let _nat64 = lab.nat64(&Lab::translator());
    lab.web_server().exchange(&lab, SIZE, WITHOUT_STALL);
}
