//! What the model and the simulator have found, one test each.

use std::net::Ipv4Addr;

use nat64_core::policy::{ErrorPolicy, Limits};
use nat64_core::{DropReason, Policy, Verdict};

use crate::support::build::{Body, Ends, Ip, SYN, packet};
use crate::support::check::{ends_of, icmp_type, is_sound, ports};
use crate::support::{CLIENT, Lab, POOL, SECOND, SERVER, policy, prefix};

#[test]
fn without_hairpinning_a_packet_for_the_pool_is_refused_to_its_sender_and_leaves_no_state() {
    let mut lab = Lab::new(Policy { hairpinning: false, ..policy() });
    let outcome = lab.send(&packet(Ends::new(CLIENT, prefix().embed(POOL)), &Ip::default(), &Body::udp(1, 2, b"")));
    assert_eq!(outcome.verdict, Verdict::Refused(DropReason::AdministrativelyProhibited));
    let answer = outcome.packet.unwrap().bytes;
    is_sound(&answer).unwrap();
    assert_eq!((ends_of(&answer).destination, icmp_type(&answer)), (CLIENT.into(), Some((1, 1))));
    assert_eq!(lab.mappings(), []);
}

#[test]
fn a_host_that_calls_a_pool_port_of_nobody_is_told_after_six_seconds() {
    let mut lab = Lab::new(policy());
    let syn = packet(Ends::new(CLIENT, prefix().embed(POOL)), &Ip::default(), &Body::tcp(5000, 9, SYN));
    assert_eq!(lab.send(&syn).verdict, Verdict::Held);
    let sent = lab.pass_time(7 * SECOND);
    assert_eq!(sent.len(), 1);
    let answer = &sent[0].bytes;
    is_sound(answer).unwrap();
    assert_eq!(ends_of(answer), Ends::new(prefix().embed(POOL), CLIENT));
    assert_eq!(icmp_type(answer), Some((1, 4)));
    assert_eq!((ends_of(&answer[48..]), ports(&answer[48..])), (ends_of(&syn), (5000, 9)), "it quotes the SYN");
}

#[test]
fn a_stored_syn_is_answered_from_the_address_that_errors_come_from() {
    let source = Ipv4Addr::new(203, 0, 113, 254);
    let mut lab = Lab::new(Policy { errors: ErrorPolicy { source4: Some(source), ..policy().errors }, ..policy() });
    let syn = packet(Ends::new(SERVER, POOL), &Ip::default(), &Body::tcp(80, 5555, SYN));
    assert_eq!(lab.send(&syn).verdict, Verdict::Held);
    let sent = lab.pass_time(7 * SECOND);
    assert_eq!(ends_of(&sent[0].bytes), Ends::new(source, SERVER));
}

#[test]
fn the_first_mapping_of_a_subscriber_counts_against_its_pace() {
    let limits = Limits { new_mappings_per_second: Some(2), ..Limits::default() };
    let mut lab = Lab::new(Policy { limits, ..policy() });
    let mut open = |port| {
        let udp = Body::udp(port, 53, b"");
        lab.send(&packet(Ends::new(CLIENT, prefix().embed(SERVER)), &Ip::default(), &udp)).verdict
    };
    assert!(matches!((open(1), open(2)), (Verdict::Translated(_), Verdict::Translated(_))));
    assert_eq!(open(3), Verdict::Refused(DropReason::SubscriberLimit));
}
