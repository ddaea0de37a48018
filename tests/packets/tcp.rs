//! RFC 6146 §3.5.2, RFC 5382, RFC 7857: TCP connections.

use crate::bench::POOL;
use crate::case::{ACK, Case, FIN_ACK, PATIENCE, PORT, RST, SERVICE, SYN, SYN_ACK};
use crate::groups::{OTHERWISE, STANDARD, UNTOLD, waiting};
use crate::rows::rows;
use crate::support::eventually;
use crate::wire::{Icmp, TCP, V4, V6};

use Segment::{V4 as FromV4, V6 as FromV6};

/// A segment of the connection, and the side that it comes from.
#[derive(Clone, Copy, Debug)]
enum Segment {
    V6(u8),
    V4(u8),
}

/// Sends a segment, which must be translated and forwarded.
#[track_caller]
fn pass(case: &mut Case, port: u16, segment: Segment) {
    match segment {
        FromV6(flags) => {
            let got = case.pass6(&case.client_tcp(flags));
            assert_eq!((got.protocol(), got.ports(), got.payload[13]), (TCP, (port, SERVICE), flags));
        }
        FromV4(flags) => {
            let got = case.pass4(&case.server_tcp(port, flags));
            assert_eq!((got.next(), got.ports(), got.payload[13]), (TCP, (SERVICE, PORT), flags));
        }
    }
}

/// Opens a mapping by a SYN and sends segments of its connection after that; returns the pool port.
#[track_caller]
fn after(case: &mut Case, segments: &[Segment]) -> u16 {
    let port = case.pass6(&case.client_tcp(SYN)).ports().0;
    segments.iter().for_each(|segment| pass(case, port, *segment));
    port
}

/// What makes a connection established after the client's SYN.
const OPENED: [Segment; 2] = [FromV4(SYN_ACK), FromV6(ACK)];

rows! { leads_to:
    a_syn_from_inside_leads_to_v6_init(&[], "V6_INIT");
    a_syn_again_stays_in_v6_init(&[FromV6(SYN)], "V6_INIT");
    an_ack_before_the_answer_stays_in_v6_init(&[FromV6(ACK)], "V6_INIT");
    an_answer_establishes(&[FromV4(SYN_ACK)], "ESTABLISHED");
    a_syn_of_the_other_side_establishes(&[FromV4(SYN)], "ESTABLISHED");
    a_reset_before_the_answer_changes_nothing(&[FromV4(RST)], "V6_INIT");
    simultaneous_open_establishes(&[FromV4(SYN), FromV6(SYN_ACK), FromV4(SYN_ACK)], "ESTABLISHED");
    an_established_connection_stays_so(&[FromV4(SYN_ACK), FromV6(ACK), FromV4(ACK), FromV6(ACK)], "ESTABLISHED");
    a_fin_from_outside_leads_to_v4_fin_rcv(&[FromV4(SYN_ACK), FromV6(ACK), FromV4(FIN_ACK)], "V4_FIN_RCV");
    a_fin_from_inside_leads_to_v6_fin_rcv(&[FromV4(SYN_ACK), FromV6(ACK), FromV6(FIN_ACK)], "V6_FIN_RCV");
    data_after_a_fin_from_outside_is_forwarded(
        &[FromV4(SYN_ACK), FromV6(ACK), FromV4(FIN_ACK), FromV6(ACK), FromV4(ACK)], "V4_FIN_RCV");
    data_after_a_fin_from_inside_is_forwarded(
        &[FromV4(SYN_ACK), FromV6(ACK), FromV6(FIN_ACK), FromV4(ACK), FromV6(ACK)], "V6_FIN_RCV");
    a_fin_of_either_side_closes(&[FromV4(SYN_ACK), FromV6(ACK), FromV6(FIN_ACK), FromV4(FIN_ACK)], "V6_FIN_V4_FIN_RCV");
    what_follows_the_second_fin_is_forwarded(
        &[FromV4(SYN_ACK), FromV6(ACK), FromV4(FIN_ACK), FromV6(FIN_ACK), FromV4(ACK)], "V6_FIN_V4_FIN_RCV");
    a_reset_from_inside_leads_to_trans(&[FromV4(SYN_ACK), FromV6(ACK), FromV6(RST)], "TRANS");
    a_reset_from_outside_leads_to_trans(&[FromV4(SYN_ACK), FromV6(ACK), FromV4(RST)], "TRANS");
    a_packet_after_a_reset_from_inside_establishes_again(
        &[FromV4(SYN_ACK), FromV6(ACK), FromV6(RST), FromV6(ACK)], "ESTABLISHED");
    a_packet_after_a_reset_from_outside_establishes_again(
        &[FromV4(SYN_ACK), FromV6(ACK), FromV4(RST), FromV4(ACK)], "ESTABLISHED");
    a_second_reset_changes_nothing(&[FromV4(SYN_ACK), FromV6(ACK), FromV4(RST), FromV4(RST)], "TRANS");
}

/// Resets are judged by their sequence numbers elsewhere; here they count.
#[track_caller]
fn leads_to(segments: &[Segment], state: &str) {
    let Some(mut case) = OTHERWISE.case() else { return };
    after(&mut case, segments);
    assert_eq!(case.state(), state);
}

#[test]
fn a_reset_out_of_the_window_is_forwarded_and_ends_nothing() {
    // RFC 7857 §2.2, RFC 5961 §3.
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_tcp();
    let far = |mut segment: V4| {
        segment.payload[4..8].copy_from_slice(&0x8000_0000_u32.to_be_bytes());
        segment.payload[16..18].fill(0);
        let checksum = !segment.transport_sum();
        segment.payload[16..18].copy_from_slice(&checksum.to_be_bytes());
        segment
    };
    let got = case.pass4(&far(case.server_tcp(port, RST)));
    assert_eq!((got.payload[13], got.data()), (RST, &[][..]));
    assert_eq!(case.state(), "ESTABLISHED");
}

#[test]
fn a_connection_carries_data_both_ways() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_tcp();
    let got = case.pass6(&V6::tcp((case.client(), PORT), case.service6(), ACK | 8, b"GET"));
    assert_eq!((got.data(), got.ports(), got.payload[13]), (&b"GET"[..], (port, SERVICE), ACK | 8));
    let got = case.pass4(&V4::tcp((case.server(), SERVICE), (POOL, port), ACK | 8, b"200"));
    assert_eq!((got.data(), got.destination()), (&b"200"[..], case.client()));
}

#[test]
fn a_syn_with_data_is_forwarded_with_it() {
    let Some(mut case) = STANDARD.case() else { return };
    assert_eq!(case.pass6(&V6::tcp((case.client(), PORT), case.service6(), SYN, b"early")).data(), b"early");
}

#[test]
fn tcp_mappings_are_endpoint_independent() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_tcp();
    for (remote, service) in [(case.server(), SERVICE + 1), (case.stranger(), SERVICE)] {
        let syn = V6::tcp((case.client(), PORT), (case.six(remote), service), SYN, b"");
        assert_eq!(case.pass6(&syn).ports(), (port, service));
    }
    assert_eq!((case.mappings().len(), case.sessions().len()), (1, 3));
}

/// A SYN of the stranger to a pool port.
fn stranger_syn(case: &Case, port: u16) -> V4 {
    V4::tcp((case.stranger(), 9), (POOL, port), SYN, b"")
}

/// The next packet on the IPv4 side must be "port unreachable" about `syn`.
#[track_caller]
fn port_unreachable(case: &mut Case, syn: &V4) {
    let error = case.arrival4();
    assert_eq!(error.destination(), syn.source());
    let about = syn.clone().with(|header| header.time_to_live = 63).bytes();
    assert_eq!(error.read_icmp(), Icmp::error(3, 3, 0, &about));
}

#[test]
fn a_connection_from_outside_to_a_mapping_opens_at_once() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_tcp();
    let got = case.pass4(&stranger_syn(&case, port));
    let from = case.six(case.stranger());
    assert_eq!((got.source(), got.destination(), got.ports()), (from, case.client(), (9, PORT)));
    assert_eq!(state_with_stranger(&case), "V4_INIT");
    case.pass6(&V6::tcp((case.client(), PORT), (from, 9), SYN_ACK, b""));
    assert_eq!(state_with_stranger(&case), "ESTABLISHED");
}

fn state_with_stranger(case: &Case) -> String {
    let stranger = case.stranger().to_string();
    let sessions = case.sessions();
    let session = sessions.iter().find(|session| session["remote"]["address"] == stranger.as_str());
    session.map_or("CLOSED", |session| session["state"].as_str().unwrap()).to_owned()
}

#[test]
fn a_syn_to_nobody_is_kept_and_then_answered_with_port_unreachable() {
    let Some(mut case) = waiting().case() else { return };
    let syn = stranger_syn(&case, case.unmapped(TCP));
    case.held(&syn);
    port_unreachable(&mut case, &syn);
    case.quiet();
    assert_eq!(case.mappings().len(), 0);
}

#[test]
fn a_syn_to_nobody_that_is_sent_again_is_answered_once() {
    let Some(mut case) = waiting().case() else { return };
    let port = case.unmapped(TCP);
    let syn = stranger_syn(&case, port);
    case.held(&syn);
    case.held(&syn);
    port_unreachable(&mut case, &syn);
    // The answer to another one, sent later, is not preceded by a second to this one.
    let later = V4::tcp((case.server(), 9), (POOL, port), SYN, b"");
    case.held(&later);
    port_unreachable(&mut case, &later);
    case.quiet();
}

#[test]
fn a_syn_that_a_filter_refuses_is_kept_and_then_answered_with_port_unreachable() {
    let Some(mut case) = OTHERWISE.case() else { return };
    let port = case.open_tcp();
    let syn = stranger_syn(&case, port);
    case.held(&syn);
    port_unreachable(&mut case, &syn);
}

#[test]
fn a_kept_syn_that_meets_one_from_inside_is_never_answered() {
    let Some(mut case) = OTHERWISE.case() else { return };
    let port = case.open_tcp();
    case.held(&stranger_syn(&case, port));
    let from = case.six(case.stranger());
    let syn = V6::tcp((case.client(), PORT), (from, 9), SYN, b"");
    assert_eq!(case.pass6(&syn).ports(), (port, 9));
    assert_eq!(state_with_stranger(&case), "ESTABLISHED");
    // One that is kept after it is answered; it is not.
    let later = V4::tcp((case.router4(), 9), (POOL, port), SYN, b"");
    case.held(&later);
    port_unreachable(&mut case, &later);
    case.quiet();
    case.pass4(&V4::tcp((case.stranger(), 9), (POOL, port), SYN_ACK, b""));
}

#[test]
fn unasked_connections_are_dropped_silently_where_no_errors_are_sent() {
    let Some(mut case) = UNTOLD.case() else { return };
    let before = case.drops();
    case.held(&stranger_syn(&case, case.unmapped(TCP)));
    case.dropped_since(&before, "stored-syn-timeout");
    case.quiet();
}

#[test]
fn a_filter_by_address_lets_in_connections_of_who_was_sent_to() {
    let Some(mut case) = OTHERWISE.case() else { return };
    let port = case.open_tcp();
    case.pass4(&V4::tcp((case.server(), 9999), (POOL, port), SYN, b""));
    let (_, message) = case.refused4(&V4::tcp((case.stranger(), 9), (POOL, port), ACK, b""), "filtered");
    assert_eq!((message.kind, message.code), (3, 13));
}

#[test]
fn segments_without_connection_are_forwarded_where_there_is_a_mapping_and_make_no_session() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_tcp();
    let stranger = case.six(case.stranger());
    for flags in [ACK, FIN_ACK, RST] {
        let got = case.pass4(&V4::tcp((case.stranger(), 9), (POOL, port), flags, b""));
        assert_eq!((got.source(), got.destination(), got.ports()), (stranger, case.client(), (9, PORT)));
        let got = case.pass6(&V6::tcp((case.client(), PORT), (stranger, 9), flags, b""));
        assert_eq!((got.destination(), got.ports()), (case.stranger(), (port, 9)));
    }
    assert_eq!(case.sessions().len(), 1);
}

rows! { is_dropped_from_outside:
    an_ack_from_outside_to_nobody_is_dropped_silently(ACK);
    a_syn_ack_from_outside_to_nobody_is_dropped_silently(SYN_ACK);
    a_fin_from_outside_to_nobody_is_dropped_silently(FIN_ACK);
    a_reset_from_outside_to_nobody_is_dropped_silently(RST);
    a_syn_with_rst_from_outside_is_dropped_silently(SYN | RST);
}

#[track_caller]
fn is_dropped_from_outside(flags: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    case.silent(&case.server_tcp(case.unmapped(TCP), flags), "no-mapping");
    assert_eq!(case.sessions().len(), 0);
}

rows! { is_reset:
    data_of_a_forgotten_connection_is_answered_with_a_reset(ACK);
    the_end_of_a_forgotten_connection_is_answered_with_a_reset(FIN_ACK);
}

/// Not RFC 6146, which drops them: see `docs/decisions/reset-unknown-tcp.md`. The reset is that of RFC 9293 §3.10.7.1.
#[track_caller]
fn is_reset(flags: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    let before = case.drops();
    case.send(&case.client_tcp(flags));
    let reset = case.arrival6();
    case.dropped_since(&before, "no-session");
    case.quiet();
    assert_eq!((reset.source(), reset.destination()), (case.service6().0, case.client()));
    assert_eq!((reset.ports(), reset.payload[13], reset.data()), ((SERVICE, PORT), RST, &b""[..]));
    assert_eq!(
        reset.payload[4..8],
        case.client_tcp(flags).payload[8..12],
        "its sequence number is what was acknowledged"
    );
    assert_eq!(case.sessions().len(), 0);
}

rows! { is_dropped_from_inside:
    data_of_a_forgotten_connection_can_be_dropped_silently(ACK);
    the_end_of_a_forgotten_connection_can_be_dropped_silently(FIN_ACK);
    a_reset_of_a_forgotten_connection_is_dropped_silently(RST);
    a_syn_with_rst_opens_nothing(SYN | RST);
}

#[track_caller]
fn is_dropped_from_inside(flags: u8) {
    let Some(mut case) = OTHERWISE.case() else { return };
    case.silent(&case.client_tcp(flags), "no-session");
    assert_eq!((case.sessions().len(), case.mappings().len()), (0, 0));
}

#[test]
fn an_answer_from_inside_opens_a_connection_as_any_syn_does() {
    // RFC 6146 §3.5.2.2: "A TCP segment with the SYN flag set … is called a V6 SYN".
    let Some(mut case) = STANDARD.case() else { return };
    assert_eq!(case.pass6(&case.client_tcp(SYN_ACK)).payload[13], SYN_ACK);
    assert_eq!(case.state(), "V6_INIT");
}

#[test]
fn nobody_answers_a_reset() {
    let Some(mut case) = STANDARD.case() else { return };
    case.silent(&case.client_tcp(RST), "no-session");
}

rows! { ends_in_time:
    a_connection_that_is_not_answered_is_forgotten(&[]);
    a_connection_that_both_sides_have_closed_is_forgotten(
        &[FromV4(SYN_ACK), FromV6(ACK), FromV6(FIN_ACK), FromV4(FIN_ACK)]);
    a_connection_that_was_reset_is_forgotten(&[FromV4(SYN_ACK), FromV6(ACK), FromV4(RST)]);
    a_connection_that_outside_has_closed_is_forgotten(&[FromV4(SYN_ACK), FromV6(ACK), FromV4(FIN_ACK)]);
    a_connection_that_inside_has_closed_is_forgotten(&[FromV4(SYN_ACK), FromV6(ACK), FromV6(FIN_ACK)]);
}

/// All timers are a second there, and nobody is asked whether it still is there.
#[track_caller]
fn ends_in_time(segments: &[Segment]) {
    let Some(mut case) = waiting().case() else { return };
    let port = after(&mut case, segments);
    eventually("the session to end", PATIENCE, || case.sessions().is_empty());
    case.quiet();
    case.silent(&case.server_tcp(port, ACK), "no-mapping");
}

#[test]
fn an_established_connection_that_was_silent_is_probed() {
    let Some(mut case) = waiting().case() else { return };
    after(&mut case, &OPENED);
    let probe = probe(&mut case);
    assert_eq!((probe.source(), probe.destination()), (case.service6().0, case.client()));
    assert_eq!((probe.ports(), probe.data()), ((SERVICE, PORT), &b""[..]));
}

rows! { lives_on_when_it_answers:
    a_probed_connection_lives_on_when_inside_answers(FromV6(ACK));
    a_probed_connection_lives_on_when_outside_speaks(FromV4(ACK));
}

#[track_caller]
fn lives_on_when_it_answers(answer: Segment) {
    let Some(mut case) = waiting().case() else { return };
    let port = after(&mut case, &OPENED);
    probe(&mut case);
    match answer {
        FromV6(flags) => {
            case.send(&case.client_tcp(flags));
            assert_eq!(case.arrival4().ports(), (port, SERVICE));
        }
        FromV4(flags) => {
            case.send(&case.server_tcp(port, flags));
            assert_eq!(case.arrival6().payload[4..16], case.server_tcp(port, flags).payload[4..16]);
        }
    }
    // Only an established connection is asked again.
    probe(&mut case);
}

/// Waits for a segment that asks whether the client is still there.
#[track_caller]
fn probe(case: &mut Case) -> V6 {
    let probe = case.arrival6();
    assert_eq!(probe.payload[4..12], [0; 8], "sequence and acknowledgment number are zero");
    assert_eq!(probe.payload[13], ACK, "only ACK is set");
    probe
}

#[test]
fn a_probed_connection_that_does_not_answer_is_forgotten() {
    let Some(mut case) = waiting().case() else { return };
    let port = after(&mut case, &OPENED);
    probe(&mut case);
    eventually("the session to end", PATIENCE, || case.sessions().is_empty());
    case.quiet();
    case.silent(&case.server_tcp(port, ACK), "no-mapping");
}
