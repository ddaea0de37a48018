use std::net::Ipv4Addr;
use std::time::Duration;

use crate::event::EventKind;
use crate::packet::Protocol;
use crate::policy::{Filtering, PoolRange, StaticMapping};
use crate::testing::*;
use crate::verdict::{Direction, DropReason, Verdict};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn udp<'p>(from: u16, to: u16) -> Payload<'p> {
    Payload::Udp(from, to, b"hello")
}

fn refused(outcome: &Outcome, reason: DropReason) -> (u8, u8) {
    assert_eq!(outcome.verdict, Verdict::Refused(reason));
    icmp_type(&outcome.packet)
}

#[test]
fn udp_goes_out_from_the_pool_and_its_answer_comes_back() {
    let mut lab = Lab::new(policy());
    let out = lab.pass(&packet6(CLIENT, six(SERVER), udp(5000, 53)));
    let (port, to) = ports(&out);
    assert_eq!((destination4(&out), to), (SERVER, 53));
    let back = lab.pass(&packet4(SERVER, POOL, udp(53, port)));
    assert_eq!((destination6(&back), ports(&back)), (CLIENT, (53, 5000)));
    let session = lab.sessions()[0];
    assert_eq!((session.internal, session.external), ((CLIENT, 5000), (POOL, port)));
    assert_eq!((session.remote, session.remote6), ((SERVER, 53), six(SERVER)));
    assert_eq!((session.outbound.packets, session.inbound.packets), (1, 1));
}

#[test]
fn mappings_are_endpoint_independent_and_so_is_filtering_unless_asked() {
    let mut lab = Lab::new(policy());
    let (first, _) = ports(&lab.pass(&packet6(CLIENT, six(SERVER), udp(5000, 53))));
    let stranger = Ipv4Addr::new(203, 0, 113, 7);
    let (second, _) = ports(&lab.pass(&packet6(CLIENT, six(stranger), udp(5000, 9999))));
    assert_eq!(first, second);
    assert_eq!((lab.mappings(), lab.sessions().len()), (1, 2));
    let unknown = Ipv4Addr::new(203, 0, 113, 99);
    assert_eq!(destination6(&lab.pass(&packet4(unknown, POOL, udp(1, first)))), CLIENT);
    assert_eq!(lab.sessions().len(), 3);
}

#[test]
fn address_dependent_filtering_lets_in_known_addresses_on_any_port() {
    let mut lab = Lab::new(crate::Policy { filtering: Filtering::AddressDependent, ..policy() });
    let (port, _) = ports(&lab.pass(&packet6(CLIENT, six(SERVER), udp(5000, 53))));
    lab.pass(&packet4(SERVER, POOL, udp(4444, port)));
    let stranger = packet4(Ipv4Addr::new(203, 0, 113, 99), POOL, udp(53, port));
    assert_eq!(refused(&lab.send(&stranger), DropReason::Filtered), (3, 13));
    lab.pass_time(6 * MINUTE);
    assert_eq!((lab.sessions().len(), lab.mappings()), (0, 0));
}

#[test]
fn a_udp_session_lives_five_minutes_after_its_last_packet() {
    let mut lab = Lab::new(policy());
    let (port, _) = ports(&lab.pass(&packet6(CLIENT, six(SERVER), udp(5000, 53))));
    lab.pass_time(4 * MINUTE);
    lab.pass(&packet4(SERVER, POOL, udp(53, port)));
    lab.pass_time(5 * MINUTE - SECOND);
    assert_eq!(lab.sessions().len(), 1);
    lab.pass_time(2 * SECOND);
    assert_eq!((lab.sessions().len(), lab.mappings()), (0, 0));
    assert_eq!(refused(&lab.send(&packet4(SERVER, POOL, udp(53, port))), DropReason::NoMapping), (3, 3));
}

#[test]
fn echo_keeps_a_mapping_of_its_identifier_for_a_minute() {
    let mut lab = Lab::new(policy());
    let out = lab.pass(&packet6(CLIENT, six(SERVER), Payload::EchoRequest(77)));
    let (id, _) = ports(&out);
    let back = lab.pass(&packet4(SERVER, POOL, Payload::EchoReply(id)));
    assert_eq!((destination6(&back), ports(&back).0), (CLIENT, 77));
    lab.pass_time(MINUTE + SECOND);
    assert_eq!(refused(&lab.send(&packet4(SERVER, POOL, Payload::EchoRequest(id))), DropReason::NoMapping), (3, 1));
}

/// Opens a connection from inside and returns its pool port.
fn connect(lab: &mut Lab) -> u16 {
    let (port, _) = ports(&lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 80, Flags::Syn))));
    assert_eq!(lab.state(), "V6_INIT");
    lab.pass(&packet4(SERVER, POOL, Payload::Tcp(80, port, Flags::SynAck)));
    assert_eq!(lab.state(), "ESTABLISHED");
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 80, Flags::Ack)));
    port
}

#[test]
fn a_connection_is_opened_and_closed_and_forgotten_after_the_transitory_time() {
    let mut lab = Lab::new(policy());
    let port = connect(&mut lab);
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 80, Flags::FinAck)));
    assert_eq!(lab.state(), "V6_FIN_RCV");
    lab.pass(&packet4(SERVER, POOL, Payload::Tcp(80, port, Flags::FinAck)));
    assert_eq!(lab.state(), "V6_FIN_V4_FIN_RCV");
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 80, Flags::Ack)));
    lab.pass_time(4 * MINUTE - SECOND);
    assert_eq!(lab.state(), "V6_FIN_V4_FIN_RCV");
    lab.pass_time(2 * SECOND);
    assert_eq!((lab.state(), lab.mappings()), ("CLOSED", 0));
    assert_eq!(lab.translator.usage().pool_ports_taken[0], 0, "a clean close needs no rest");
}

#[test]
fn a_reset_shortens_the_life_and_data_after_it_restores_it() {
    let mut lab = Lab::new(policy());
    let port = connect(&mut lab);
    lab.pass(&packet4(SERVER, POOL, Payload::Tcp(80, port, Flags::Rst)));
    assert_eq!(lab.state(), "TRANS");
    lab.pass_time(2 * MINUTE);
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 80, Flags::Ack)));
    assert_eq!(lab.state(), "ESTABLISHED");
    lab.pass_time(5 * MINUTE);
    assert_eq!(lab.state(), "ESTABLISHED");
    lab.pass(&packet4(SERVER, POOL, Payload::Tcp(80, port, Flags::Rst)));
    lab.pass_time(4 * MINUTE + SECOND);
    assert_eq!(lab.state(), "CLOSED");
    assert_eq!(lab.translator.usage().pool_ports_taken[0], 1, "the port rests");
    lab.pass_time(2 * MINUTE + SECOND);
    assert_eq!(lab.translator.usage().pool_ports_taken[0], 0);
}

#[test]
fn a_silent_connection_is_probed_and_lives_on_if_the_host_answers() {
    let mut lab = Lab::new(policy());
    connect(&mut lab);
    let sent = lab.pass_time(124 * MINUTE + SECOND);
    assert_eq!((sent.len(), lab.state()), (1, "TRANS"));
    assert_eq!((destination6(&sent[0]), ports(&sent[0])), (CLIENT, (80, 5000)));
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 80, Flags::Ack)));
    assert_eq!(lab.state(), "ESTABLISHED");
    lab.pass_time(124 * MINUTE + SECOND);
    lab.pass_time(4 * MINUTE + SECOND);
    assert_eq!(lab.state(), "CLOSED");
    let late = lab.send(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 80, Flags::Ack)));
    assert_eq!(late.verdict, Verdict::Refused(DropReason::NoSession));
    assert_eq!((destination6(&late.packet), ports(&late.packet)), (CLIENT, (80, 5000)), "a reset comes back");
}

#[test]
fn a_connection_that_reuses_the_ports_of_a_closed_one_is_not_cut_off() {
    let mut lab = Lab::new(policy());
    let port = connect(&mut lab);
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 80, Flags::FinAck)));
    lab.pass(&packet4(SERVER, POOL, Payload::Tcp(80, port, Flags::FinAck)));
    lab.pass_time(2 * MINUTE);
    connect(&mut lab);
    lab.pass_time(10 * MINUTE);
    assert_eq!(lab.state(), "ESTABLISHED");
}

#[test]
fn a_segment_from_inside_without_session_is_reset_or_dropped_as_policy_says() {
    let stray = packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 80, Flags::Ack));
    let mut lab = Lab::new(policy());
    assert_eq!(lab.send(&stray).verdict, Verdict::Refused(DropReason::NoSession));
    let mut lab = Lab::new(crate::Policy { reset_unknown_tcp: false, ..policy() });
    assert_eq!(lab.send(&stray).verdict, Verdict::Dropped(DropReason::NoSession));
    assert_eq!((lab.sessions().len(), lab.mappings()), (0, 0));
}

#[test]
fn a_syn_from_outside_to_a_mapping_opens_a_session() {
    let mut lab = Lab::new(policy());
    let port = connect(&mut lab);
    let caller = Ipv4Addr::new(203, 0, 113, 5);
    lab.pass(&packet4(caller, POOL, Payload::Tcp(6000, port, Flags::Syn)));
    let states: Vec<_> = lab.sessions().iter().map(|session| session.state).collect();
    assert!(states.contains(&"V4_INIT"), "{states:?}");
    lab.pass(&packet6(CLIENT, six(caller), Payload::Tcp(5000, 6000, Flags::SynAck)));
    assert!(lab.sessions().iter().all(|session| session.state == "ESTABLISHED"));
}

#[test]
fn a_syn_to_nobody_is_held_six_seconds_and_then_refused() {
    let mut lab = Lab::new(policy());
    let syn = packet4(SERVER, POOL, Payload::Tcp(80, 5555, Flags::Syn));
    assert_eq!(lab.send(&syn).verdict, Verdict::Held);
    assert_eq!(lab.pass_time(6 * SECOND - Duration::from_millis(100)), Vec::<Vec<u8>>::new());
    let sent = lab.pass_time(SECOND);
    assert_eq!(sent.len(), 1);
    assert_eq!((destination4(&sent[0]), icmp_type(&sent[0])), (SERVER, (3, 3)));
    assert_eq!(&sent[0][28..28 + syn.len()], &syn[..], "the error quotes the SYN");
}

#[test]
fn simultaneous_open_through_an_address_dependent_filter_works() {
    let mut lab = Lab::new(crate::Policy { filtering: Filtering::AddressDependent, ..policy() });
    let other_server = Ipv4Addr::new(203, 0, 113, 5);
    let (port, _) = ports(&lab.pass(&packet6(CLIENT, six(other_server), Payload::Tcp(5000, 80, Flags::Syn))));
    let syn = packet4(SERVER, POOL, Payload::Tcp(6000, port, Flags::Syn));
    assert_eq!(lab.send(&syn).verdict, Verdict::Held);
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 6000, Flags::Syn)));
    assert!(lab.sessions().iter().any(|session| session.state == "ESTABLISHED"));
    assert_eq!(lab.pass_time(10 * SECOND), Vec::<Vec<u8>>::new(), "the stored SYN is not answered any more");
}

#[test]
fn a_host_reaches_its_neighbour_by_the_pool_address() {
    let mut lab = Lab::new(policy());
    let (served, _) = ports(&lab.pass(&packet6(OTHER, six(SERVER), udp(7000, 53))));
    let to_neighbour = packet6(CLIENT, six(POOL), udp(5000, served));
    let outcome = lab.send(&to_neighbour);
    assert_eq!(outcome.verdict, Verdict::Hairpinned);
    assert_eq!((destination6(&outcome.packet), ports(&outcome.packet).1), (OTHER, 7000));
    let (seen_from, _) = ports(&outcome.packet);
    let answer = lab.pass(&packet6(OTHER, six(POOL), udp(7000, seen_from)));
    assert_eq!((destination6(&answer), ports(&answer)), (CLIENT, (served, 5000)));
}

#[test]
fn a_hairpin_to_nobody_is_refused_to_the_sender() {
    let mut lab = Lab::new(policy());
    let outcome = lab.send(&packet6(CLIENT, six(POOL), udp(5000, 9)));
    assert_eq!(refused(&outcome, DropReason::NoMapping), (1, 4));
    assert_eq!(destination6(&outcome.packet), CLIENT);
}

#[test]
fn what_is_refused_leaves_no_state() {
    let mut lab = Lab::new(policy());
    let mut dying = packet6(CLIENT, six(SERVER), udp(5000, 53));
    dying[7] = 1;
    assert_eq!(refused(&lab.send(&dying), DropReason::HopLimitExceeded), (3, 0));
    for (source, destination, reason) in [
        (six(SERVER), six(SERVER), DropReason::Loop),
        ("fe80::1".parse().unwrap(), six(SERVER), DropReason::IllegalSource),
        (CLIENT, OTHER, DropReason::NotOurPrefix),
        (CLIENT, six(Ipv4Addr::LOCALHOST), DropReason::IllegalDestination),
        (CLIENT, six(Ipv4Addr::BROADCAST), DropReason::IllegalDestination),
    ] {
        let verdict = lab.send(&packet6(source, destination, udp(5000, 53))).verdict;
        assert!(matches!(verdict, Verdict::Dropped(was) | Verdict::Refused(was) if was == reason), "{verdict:?}");
    }
    for (source, destination, reason) in [
        (SERVER, SERVER, DropReason::NotOurPool),
        (POOL, POOL, DropReason::Loop),
        (Ipv4Addr::new(127, 0, 0, 1), POOL, DropReason::IllegalSource),
        (Ipv4Addr::new(224, 0, 0, 1), POOL, DropReason::IllegalSource),
    ] {
        let verdict = lab.send(&packet4(source, destination, udp(53, 5000))).verdict;
        assert!(matches!(verdict, Verdict::Dropped(was) | Verdict::Refused(was) if was == reason), "{verdict:?}");
    }
    assert_eq!((lab.sessions().len(), lab.mappings()), (0, 0));
    assert_eq!(lab.worker.counters.dropped(DropReason::IllegalDestination), 2);
}

#[test]
fn a_full_pool_refuses_new_hosts_and_keeps_old_ones() {
    let few = PoolRange { first_port: 2000, last_port: 2009, ..PoolRange::address(POOL) };
    let mut lab = Lab::new(crate::Policy { pool: vec![few], ..policy() });
    for port in 5000..5010 {
        lab.pass(&packet6(CLIENT, six(SERVER), udp(port, 53)));
    }
    let late = packet6(CLIENT, six(SERVER), udp(6000, 53));
    assert_eq!(refused(&lab.send(&late), DropReason::PoolExhausted), (1, 3));
    lab.pass(&packet6(CLIENT, six(SERVER), udp(5003, 53)));
    lab.pass_time(7 * MINUTE + SECOND);
    lab.pass(&late);
}

#[test]
fn limits_refuse_what_is_new_and_leave_others_alone() {
    let mut limited = policy();
    limited.limits.sessions_per_subscriber = Some(2);
    let mut lab = Lab::new(limited);
    lab.pass(&packet6(CLIENT, six(SERVER), udp(5000, 53)));
    lab.pass(&packet6(CLIENT, six(SERVER), udp(5001, 53)));
    let third = packet6(CLIENT, six(SERVER), udp(5002, 53));
    assert_eq!(refused(&lab.send(&third), DropReason::SubscriberLimit), (1, 3));
    lab.pass(&packet6(OTHER, six(SERVER), udp(5002, 53)));
    lab.pass(&packet6(CLIENT, six(SERVER), udp(5001, 53)));

    let mut limited = policy();
    limited.limits.sessions = 1;
    let mut lab = Lab::new(limited);
    lab.pass(&packet6(CLIENT, six(SERVER), udp(5000, 53)));
    assert_eq!(refused(&lab.send(&packet6(OTHER, six(SERVER), udp(5000, 53))), DropReason::TableFull), (1, 3));
}

#[test]
fn a_subscriber_keeps_one_pool_address_while_it_has_ports() {
    let pool = PoolRange { last: Ipv4Addr::new(192, 0, 2, 8), ..PoolRange::address(POOL) };
    let mut lab = Lab::new(crate::Policy { pool: vec![pool], ..policy() });
    for port in 5000..5100 {
        lab.pass(&packet6(CLIENT, six(SERVER), udp(port, 53)));
        lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(port, 80, Flags::Syn)));
    }
    let addresses: std::collections::HashSet<_> = lab.sessions().iter().map(|session| session.external.0).collect();
    assert_eq!(addresses.len(), 1);
}

#[test]
fn a_static_mapping_takes_connections_from_outside_for_ever() {
    let mapping = StaticMapping { protocol: Protocol::Tcp, internal: (CLIENT, 443), external: (POOL, 443) };
    let mut lab = Lab::new(crate::Policy { static_mappings: vec![mapping], ..policy() });
    lab.pass_time(10 * MINUTE);
    let syn = lab.pass(&packet4(SERVER, POOL, Payload::Tcp(6000, 443, Flags::Syn)));
    assert_eq!((destination6(&syn), ports(&syn)), (CLIENT, (6000, 443)));
    lab.pass_time(10 * MINUTE);
    assert_eq!((lab.sessions().len(), lab.mappings()), (0, 1));
}

#[test]
fn an_error_about_a_translated_packet_reaches_its_sender_and_ends_nothing() {
    let mut lab = Lab::new(policy());
    let out = lab.pass(&packet6(CLIENT, six(SERVER), udp(5000, 53)));
    let router = Ipv4Addr::new(203, 0, 113, 1);
    let mut error = Vec::new();
    let unreachable = etherparse::Icmpv4Type::DestinationUnreachable(etherparse::icmpv4::DestUnreachableHeader::Host);
    let builder = etherparse::PacketBuilder::ipv4(router.octets(), POOL.octets(), 64).icmpv4(unreachable);
    builder.write(&mut error, &out[..28]).unwrap();
    let told = lab.pass(&error);
    assert_eq!((destination6(&told), icmp_type(&told)), (CLIENT, (1, 0)));
    assert_eq!(&told[8..24], six(router).octets());
    assert_eq!(&told[48 + 8..48 + 24], CLIENT.octets(), "the packet inside is the one the client sent");
    assert_eq!(&told[48 + 40..48 + 42], 5000_u16.to_be_bytes());
    assert_eq!(lab.sessions().len(), 1);
}

#[test]
fn events_tell_the_life_of_a_session() {
    let mut lab = Lab::new(policy());
    lab.pass(&packet6(CLIENT, six(SERVER), udp(5000, 53)));
    lab.pass_time(6 * MINUTE);
    let kinds: Vec<_> = lab.worker.events.drain().map(|event| event.kind).collect();
    assert!(
        matches!(
            kinds.as_slice(),
            [
                EventKind::MappingCreated,
                EventKind::SessionCreated,
                EventKind::SessionEnded { outbound, .. },
                EventKind::MappingRemoved
            ] if outbound.packets == 1
        ),
        "{kinds:?}"
    );
}

#[test]
fn every_packet_is_counted_once_by_what_became_of_it() {
    let mut lab = Lab::new(policy());
    lab.pass(&packet6(CLIENT, six(SERVER), udp(5000, 53)));
    assert_eq!(lab.send(&[0x50; 40]).verdict, Verdict::Dropped(DropReason::NotIp));
    assert_eq!(lab.send(&[]).verdict, Verdict::Dropped(DropReason::NotIp));
    assert_eq!(lab.worker.counters.translated(Direction::SixToFour, Protocol::Udp).packets, 1);
    assert_eq!(lab.worker.counters.dropped(DropReason::NotIp), 2);
}

#[test]
fn errors_of_our_own_are_limited_in_rate() {
    let mut limited = policy();
    limited.errors.rate = 3;
    let mut lab = Lab::new(limited);
    let mut dying = packet6(CLIENT, six(SERVER), udp(5000, 53));
    dying[7] = 1;
    let answered = (0..10).filter(|_| matches!(lab.send(&dying).verdict, Verdict::Refused(_))).count();
    assert_eq!(answered, 3);
    assert_eq!(lab.worker.counters.dropped(DropReason::HopLimitExceeded), 10);
    assert_eq!(lab.worker.counters.dropped(DropReason::ErrorRateLimit), 7);
    lab.pass_time(SECOND);
    assert!(matches!(lab.send(&dying).verdict, Verdict::Refused(_)));
}

#[test]
fn fragments_are_translated_in_any_order_and_echo_is_put_together() {
    let whole = packet6(CLIENT, six(SERVER), Payload::Udp(5000, 53, &[7; 2000]));
    let fragments = fragment6(&whole, 1232, 0x1234_5678);
    let mut lab = Lab::new(policy());
    assert_eq!(lab.send(&fragments[1]).verdict, Verdict::Held);
    let outcome = lab.send(&fragments[0]);
    assert_eq!(outcome.verdict, Verdict::Translated(Direction::SixToFour));
    assert_eq!(outcome.spilled.len(), 1);
    for packet in [&outcome.packet, &outcome.spilled[0]] {
        assert_eq!(packet[4..6], [0x56, 0x78], "the low half of the identification is kept");
        assert_eq!(packet[6] & 0x40, 0, "fragments may be fragmented again");
    }

    let echo = packet6(CLIENT, six(SERVER), Payload::EchoRequest(9));
    let fragments = fragment6(&echo, 8, 77);
    assert_eq!(lab.send(&fragments[1]).verdict, Verdict::Held);
    let outcome = lab.send(&fragments[0]);
    assert_eq!((outcome.verdict, outcome.spilled.len()), (Verdict::Held, 1));
    let reassembled = etherparse::SlicedPacket::from_ip(&outcome.spilled[0]).unwrap();
    let Some(etherparse::TransportSlice::Icmpv4(icmp)) = reassembled.transport else { panic!("not an echo") };
    assert_eq!(icmp.payload(), b"ping");
}
