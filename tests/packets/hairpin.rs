//! RFC 6146 §3.8, RFC 4787 REQ-9, RFC 5382 REQ-8, RFC 5508 REQ-7: hosts that reach each other by pool addresses.

use std::net::Ipv6Addr;

use crate::bench::POOL;
use crate::case::{ACK, Case, HOPS, PORT, SYN, SYN_ACK};
use crate::groups::{CONFIGURED, MAPPED, OTHERWISE, STANDARD};
use crate::rows::rows;
use crate::whole::whole6;
use crate::wire::{Icmp, UDP, V6, pattern};

/// The port that the other host serves.
const SERVED: u16 = 7000;

/// The pool address and a port as hosts inside see them.
fn at_pool(case: &Case, port: u16) -> (Ipv6Addr, u16) {
    (case.six(POOL), port)
}

/// The pool port of the other host's UDP port.
#[track_caller]
fn served(case: &mut Case) -> u16 {
    case.pass6(&V6::udp((case.other(), SERVED), case.service6(), b"x")).ports().0
}

impl Case {
    /// Sends what must be turned round, and returns what the other host gets.
    #[track_caller]
    fn turn(&mut self, packet: &V6) -> V6 {
        self.send(packet);
        let got = self.arrival6();
        self.quiet();
        got
    }
}

#[test]
fn udp_is_turned_round_and_comes_from_the_sender_s_pool_address_and_port() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = served(&mut case);
    let own = case.open_udp();
    let got = case.turn(&V6::udp((case.client(), PORT), at_pool(&case, port), &pattern(33)));
    assert_eq!((got.source(), got.destination(), got.ports()), (case.six(POOL), case.other(), (own, SERVED)));
    // Translated twice.
    assert_eq!((got.data(), got.header.hop_limit), (&pattern(33)[..], 64 - HOPS - 1));
    let back = case.turn(&V6::udp((case.other(), SERVED), at_pool(&case, own), &pattern(34)));
    assert_eq!((back.source(), back.destination(), back.ports()), (case.six(POOL), case.client(), (port, PORT)));
    assert_eq!(back.data(), pattern(34));
    assert_eq!(case.sessions().len(), 4, "a session of each end with the other");
}

#[test]
fn tcp_is_turned_round_from_syn_to_established() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.pass6(&V6::tcp((case.other(), 80), case.service6(), SYN, b"")).ports().0;
    let (client, to) = ((case.client(), PORT), at_pool(&case, port));
    let syn = case.turn(&V6::tcp(client, to, SYN, b""));
    assert_eq!((syn.source(), syn.destination(), syn.ports().1), (case.six(POOL), case.other(), 80));
    let answer = V6::tcp((case.other(), 80), at_pool(&case, syn.ports().0), SYN_ACK, b"");
    let got = case.turn(&answer);
    assert_eq!((got.destination(), got.ports(), got.payload[13]), (case.client(), (port, PORT), SYN_ACK));
    let got = case.turn(&V6::tcp(client, to, ACK, b"data"));
    assert_eq!((got.destination(), got.data()), (case.other(), &b"data"[..]));
    let pool = POOL.to_string();
    let sessions = case.sessions();
    let states = sessions.iter().filter(|session| session["remote"]["address"] == pool.as_str());
    assert!(states.clone().count() == 2 && states.clone().all(|session| session["state"] == "ESTABLISHED"));
}

#[test]
fn tcp_to_a_configured_mapping_is_turned_round() {
    let Some(mut case) = CONFIGURED.case_of(MAPPED) else { return };
    let got = case.turn(&V6::tcp((case.other(), PORT), at_pool(&case, 8001), SYN, b""));
    assert_eq!((got.source(), got.destination(), got.ports().1), (case.six(POOL), case.client(), 81));
}

#[test]
fn an_echo_is_turned_round() {
    // A query has one identifier for both ends: it is for whoever has that of the pool, which is its sender.
    let Some(mut case) = STANDARD.case() else { return };
    let ask = V6::icmp(case.client(), case.six(POOL), &Icmp::echo(128, 9, 1, b"ping"));
    let got = case.turn(&ask);
    assert_eq!((got.source(), got.destination()), (case.six(POOL), case.client()));
    assert_eq!(got.read_icmp(), Icmp::echo(128, 9, 1, b"ping"));
}

#[test]
fn a_host_reaches_itself() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let got = case.turn(&V6::udp((case.client(), PORT), at_pool(&case, port), b"x"));
    assert_eq!((got.source(), got.destination(), got.ports()), (case.six(POOL), case.client(), (port, PORT)));
}

rows! { an_error_is_turned_round:
    an_error_of_the_host_about_what_was_turned_round_is_turned_round_too(true);
    an_error_of_a_router_about_what_was_turned_round_is_turned_round_too(false);
}

#[track_caller]
fn an_error_is_turned_round(of_the_host: bool) {
    let Some(mut case) = STANDARD.case() else { return };
    let port = served(&mut case);
    let delivered = case.turn(&V6::udp((case.client(), PORT), at_pool(&case, port), &pattern(50)));
    let sender = if of_the_host { case.other() } else { case.router6() };
    let error = V6::icmp(sender, delivered.source(), &Icmp::error(1, 4, 0, &delivered.bytes()));
    let got = case.turn(&error);
    assert_eq!(got.destination(), case.client());
    let message = got.read_icmp();
    assert_eq!((message.kind, message.code), (1, 4));
    let inside = V6::read(&message.body);
    assert_eq!((inside.source(), inside.destination()), (case.client(), case.six(POOL)));
    assert_eq!((inside.ports(), &inside.payload[8..]), ((PORT, port), &pattern(50)[..]));
}

#[test]
fn a_packet_too_big_about_what_was_turned_round_keeps_its_mtu() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = served(&mut case);
    let delivered = case.turn(&V6::udp((case.client(), PORT), at_pool(&case, port), &pattern(1400)));
    let error = V6::icmp(case.router6(), delivered.source(), &Icmp::error(2, 0, 1400, &delivered.bytes()[..200]));
    let message = case.turn(&error).read_icmp();
    assert_eq!((message.kind, message.rest), (2, 1400));
}

#[test]
fn an_unknown_port_is_reported_to_the_sender_in_its_own_terms() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.unmapped(UDP);
    let sent = V6::udp((case.client(), PORT), at_pool(&case, port), b"x");
    let (error, message) = case.refused6(&sent, "no-mapping");
    assert_eq!((error.destination(), message.kind, message.code), (case.client(), 1, 4));
    let inside = V6::read(&message.body);
    assert_eq!((inside.source(), inside.ports(), inside.destination()), (case.client(), (PORT, port), case.six(POOL)));
}

#[test]
fn fragments_are_turned_round_in_any_order() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = served(&mut case);
    let sent = V6::udp((case.client(), PORT), at_pool(&case, port), &pattern(2000)).fragments(&[1000], 0x1234);
    case.send(&sent[1]);
    case.send(&sent[0]);
    let got = [case.arrival6(), case.arrival6()];
    case.quiet();
    assert!(got.iter().all(|fragment| fragment.fragment().unwrap().identification == 0x1234));
    assert_eq!((whole6(&got).destination(), whole6(&got).data()), (case.other(), &pattern(2000)[..]));
}

#[test]
fn a_hop_limit_that_runs_out_on_the_way_round_is_reported_to_the_sender() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = served(&mut case);
    let sent = V6::udp((case.client(), PORT), at_pool(&case, port), b"x");
    for hop_limit in [2, 3] {
        let dying = sent.clone().with(|header| header.hop_limit = hop_limit);
        let (error, message) = case.refused6(&dying, "hop-limit-exceeded");
        assert_eq!((error.destination(), message.kind, message.code), (case.client(), 3, 0));
    }
    assert_eq!(case.turn(&sent.with(|header| header.hop_limit = HOPS + 2)).header.hop_limit, 1);
}

#[test]
fn hairpinning_can_be_switched_off() {
    let Some(mut case) = OTHERWISE.case() else { return };
    let port = served(&mut case);
    let sent = V6::udp((case.client(), PORT), at_pool(&case, port), b"x");
    let (error, message) = case.refused6(&sent, "administratively-prohibited");
    assert_eq!((error.destination(), message.kind, message.code), (case.client(), 1, 1));
}

#[test]
fn a_wrong_checksum_that_is_turned_round_stays_wrong() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = served(&mut case);
    let mut sent = V6::udp((case.client(), PORT), at_pool(&case, port), b"x");
    sent.payload[6] ^= 0x40;
    let got = case.turn(&sent);
    assert_eq!(got.transport_sum() % 0xffff, sent.transport_sum() % 0xffff);
    assert_eq!((got.ports().1, got.destination()), (SERVED, case.other()));
}
