//! Connections over hours, opened from both ends at once, and through a restart.

use std::net::Ipv4Addr;
use std::time::Duration;

use nat64_core::policy::Filtering;
use nat64_core::{Policy, Verdict};

use super::network::Network;
use super::tcp::{Endpoint, State};
use super::{clear, connect, connection};
use crate::support::build::{Body, Ends, Ip, SYN, packet};
use crate::support::check::ports;
use crate::support::{CLIENT, HOUR, Lab, MINUTE, POOL, SECOND, SERVER, policy, prefix};

fn established(policy: Policy) -> Network {
    let (six, four) = clear();
    let mut network = Network::new(policy, six, four);
    connection(&mut network, (1500, 1500));
    connect(&mut network);
    network.run(SECOND);
    assert_eq!(states(&network), [State::Established; 2]);
    network
}

fn states(network: &Network) -> Vec<State> {
    network.endpoints.iter().map(|endpoint| endpoint.state).collect()
}

fn push(network: &mut Network, who: usize) {
    let now = network.now();
    network.endpoints[who].push(100, now);
    network.run(5 * SECOND);
}

#[test]
fn a_connection_that_is_silent_for_days_is_probed_and_lives() {
    let mut network = established(policy());
    network.run(50 * HOUR);
    assert_eq!(network.lab.sessions().len(), 1);
    push(&mut network, 1);
    assert_eq!(network.endpoints[0].received, 100, "the server's data found its way after two days");
    push(&mut network, 0);
    assert_eq!(network.endpoints[1].received, 100);
}

#[test]
fn a_connection_whose_ends_are_gone_is_forgotten() {
    let mut network = established(policy());
    network.endpoints.clear();
    network.run(2 * HOUR + 9 * MINUTE);
    assert_eq!((network.lab.sessions().len(), network.lab.mappings().len()), (0, 0));
    assert_eq!(network.lab.translator.usage().pool_ports_taken[0], 1, "its port rests");
    network.run(3 * MINUTE);
    assert_eq!(network.lab.translator.usage().pool_ports_taken[0], 0);
}

#[test]
fn both_ends_may_open_at_once() {
    for filtering in [Filtering::EndpointIndependent, Filtering::AddressDependent] {
        let (six, four) = clear();
        let mut network = Network::new(Policy { filtering, ..policy() }, six, four);
        // The client's port becomes known by a connection to somebody else, as a rendezvous server.
        let other = Ipv4Addr::new(203, 0, 113, 77);
        let hello = packet(Ends::new(CLIENT, prefix().embed(other)), &Ip::default(), &Body::tcp(5000, 99, SYN));
        network.send(hello);
        network.run(SECOND);
        let (mapped, _) = ports(&network.inbox.pop().unwrap());
        let client = Endpoint::new((CLIENT.into(), 5000), (prefix().embed(SERVER).into(), 6000), 1500);
        let server = Endpoint::new((SERVER.into(), 6000), (POOL.into(), mapped), 1500);
        network.endpoints = vec![client, server];
        let now = network.now();
        let from_server = network.endpoints[1].connect(now);
        let from_client = network.endpoints[0].connect(now);
        network.send(from_server);
        network.send(from_client);
        network.run(5 * SECOND);
        assert_eq!(states(&network), [State::Established; 2], "{filtering:?}");
        push(&mut network, 0);
        push(&mut network, 1);
        assert!(network.endpoints.iter().all(|endpoint| endpoint.received == 100), "{filtering:?}");
    }
}

#[test]
fn a_client_knows_at_once_that_the_translator_was_restarted() {
    let mut network = established(policy());
    network.run(10 * MINUTE);
    let now = network.now();
    network.lab = Lab { now, ..Lab::new(policy()) };
    push(&mut network, 0);
    assert_eq!(network.endpoints[0].state, State::Reset);
    assert_eq!(network.lab.sessions().len(), 0);
    connection(&mut network, (1500, 1500));
    connect(&mut network);
    network.run(SECOND);
    assert_eq!(states(&network), [State::Established; 2]);
}

#[test]
fn a_server_that_is_not_heard_of_by_a_restarted_translator_is_told_nothing() {
    let mut network = established(policy());
    let now = network.now();
    network.lab = Lab { now, ..Lab::new(policy()) };
    network.verdicts.clear();
    push(&mut network, 1);
    assert!(network.verdicts.iter().all(|verdict| matches!(verdict, Verdict::Dropped(_))), "{:?}", network.verdicts);
    assert!(!network.verdicts.is_empty());
}

#[test]
fn hours_of_a_chatty_connection_keep_it() {
    let mut network = established(policy());
    for _ in 0..30 {
        network.run(Duration::from_secs(30 * 60));
        push(&mut network, 0);
    }
    assert_eq!(network.endpoints[1].received, 3000);
    assert_eq!(network.lab.sessions().len(), 1);
}
