//! Traceroute through the translator, both ways.

use std::net::IpAddr;
use std::time::Duration;

use nat64_core::Policy;

use super::network::{Network, Path, Side, router};
use crate::support::build::{Body, Ends, Ip, packet};
use crate::support::check::{ends_of, icmp_type, ports};
use crate::support::{CLIENT, POOL, SERVER, policy, prefix};

const PORT: u16 = 33_434;

fn network() -> Network {
    let errors = nat64_core::policy::ErrorPolicy {
        source6: Some("2001:db8:ffff::64".parse().unwrap()),
        source4: Some([203, 0, 113, 64].into()),
        ..policy().errors
    };
    let path = Path::of(&[1500, 1500, 1500]);
    Network::new(Policy { errors, ..policy() }, path.clone(), path)
}

/// Who answers a probe with each hop limit, up to the destination itself, which gets the last one.
fn hops(network: &mut Network, ends: Ends, (from, to): (u16, u16)) -> Vec<IpAddr> {
    let mut seen = Vec::new();
    for hop_limit in 1..30 {
        let ip = Ip { hop_limit, ..Ip::default() };
        network.send(packet(ends, &ip, &Body::udp(from, to, b"probe")));
        network.run(Duration::from_secs(1));
        let arrived = network.inbox.pop().unwrap_or_else(|| panic!("no answer to a hop limit of {hop_limit}"));
        assert_eq!(network.inbox.pop(), None);
        let kind = icmp_type(&arrived);
        let exceeded = if ends.source.is_ipv6() { (3, 0) } else { (11, 0) };
        if kind != Some(exceeded) {
            assert_eq!(kind, None, "the probe itself");
            return seen;
        }
        let source = ends_of(&arrived);
        assert_eq!(source.destination, ends.source);
        let header = if ends.source.is_ipv6() { 48 } else { 28 };
        assert_eq!(ends_of(&arrived[header..]), ends, "the error is about the probe");
        seen.push(source.source);
    }
    panic!("never arrived; seen {seen:?}");
}

#[test]
fn a_client_sees_every_hop_to_a_server() {
    let mut network = network();
    let shown = |place| match router(Side::Four, place) {
        IpAddr::V4(address) => IpAddr::V6(prefix().embed(address)),
        IpAddr::V6(address) => panic!("{address}"),
    };
    let seen = hops(&mut network, Ends::new(CLIENT, prefix().embed(SERVER)), (40_000, PORT));
    let translator: IpAddr = "2001:db8:ffff::64".parse().unwrap();
    let six = |place| router(Side::Six, place);
    assert_eq!(seen, [six(2), six(1), six(0), translator, shown(0), shown(1), shown(2)]);
}

#[test]
fn a_server_sees_every_hop_to_a_mapped_client() {
    let mut network = network();
    network.send(packet(Ends::new(CLIENT, prefix().embed(SERVER)), &Ip::default(), &Body::udp(40_000, PORT, b"open")));
    network.run(Duration::from_secs(1));
    let (mapped, _) = ports(&network.inbox.pop().unwrap());
    let seen = hops(&mut network, Ends::new(SERVER, POOL), (PORT, mapped));
    let translator: IpAddr = [203, 0, 113, 64].into();
    let four = |place| router(Side::Four, place);
    // Routers beyond have no IPv4 address of their own (RFC 6791).
    assert_eq!(seen, [four(2), four(1), four(0), translator, translator, translator, translator]);
}
