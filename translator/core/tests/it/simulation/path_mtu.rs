//! Path MTU discovery through the translator, both ways.

use std::time::Duration;

use super::network::{Network, Path};
use super::tcp::State;
use super::{connect, connection};
use crate::support::policy;

/// Moves a stream each way over these links and returns the largest packets that client and server send in the end.
fn transfer(six: Path, four: Path, dont_fragment: bool) -> (usize, usize) {
    let mut network = Network::new(policy(), six.clone(), four.clone());
    connection(&mut network, (six.mtus[six.mtus.len() - 1], four.mtus[four.mtus.len() - 1]));
    network.endpoints[1].dont_fragment = dont_fragment;
    connect(&mut network);
    let now = network.now();
    for endpoint in &mut network.endpoints {
        endpoint.push(60_000, now);
    }
    // The SYN is on its way: the first of the stream waits for the answer.
    for _ in 0..600 {
        network.run(Duration::from_millis(500));
        if network.endpoints.iter().all(|endpoint| endpoint.is_done() && endpoint.received == 60_000) {
            break;
        }
    }
    for endpoint in &network.endpoints {
        assert_eq!((endpoint.state, endpoint.received), (State::Established, 60_000), "{six:?} {four:?}\n{endpoint:?}");
    }
    (network.endpoints[0].largest(), network.endpoints[1].largest())
}

#[test]
fn a_connection_works_over_links_of_any_size() {
    for &six in &[1500, 1400, 1280] {
        for &four in &[1500, 1400, 1280, 1000, 576] {
            let path = |mtu: usize| Path::of(&[1500, mtu, 1500]);
            let (client, server) = transfer(path(six), path(four), true);
            // Both ends learn what fits, but IPv6 does not go below 1280: the rest is left to fragments.
            assert_eq!(client, six.min((four + 20).max(1280)), "{six} {four}");
            assert_eq!(server, four.min(six - 20), "{six} {four}");
        }
    }
}

#[test]
fn a_server_that_allows_fragments_is_heard_too() {
    for &six in &[1500, 1280] {
        for &four in &[1500, 1000, 576] {
            transfer(Path::of(&[1500, six]), Path::of(&[1500, four, 1500]), false);
        }
    }
}

#[test]
fn loss_doubling_and_disorder_only_cost_time() {
    for &four in &[1500, 1000] {
        let six = Path { lost: 4, doubled: 4, late: 10, ..Path::of(&[1500, 1400, 1500]) };
        let four = Path { lost: 4, doubled: 4, late: 10, ..Path::of(&[1500, four, 1500]) };
        transfer(six, four, true);
    }
}

#[test]
fn jumbo_frames_inside_do_not_stop_a_connection() {
    assert_eq!(transfer(Path::of(&[9001, 9001]), Path::of(&[1500, 1500]), true), (1520, 1500));
}
