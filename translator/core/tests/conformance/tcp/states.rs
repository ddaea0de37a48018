//! Every state with every segment, and what time does.

use std::time::Duration;

use nat64_core::policy::{Filtering, Timers};
use nat64_core::{DropReason, Verdict};

use crate::lab::*;
use crate::wire::{Icmp, TCP, V4, V6};

/// RFC 6146 §4: TCP_EST and TCP_TRANS together, which is what RFC 5382 REQ-5 asks for.
const ESTABLISHED: Duration = Duration::from_secs(2 * 3600 + 4 * 60);
/// RFC 6146 §4: TCP_TRANS.
const TRANSITORY: Duration = Duration::from_secs(4 * 60);

const STATES: [&str; 7] =
    ["V6_INIT", "V4_INIT", "ESTABLISHED", "V4_FIN_RCV", "V6_FIN_RCV", "V6_FIN_V4_FIN_RCV", "TRANS"];

/// A segment and the side it comes from.
#[derive(Clone, Copy, Debug)]
enum Segment {
    V6(u8),
    V4(u8),
}

use Segment::{V4 as FromV4, V6 as FromV6};

/// A lab with one connection in that state, a minute old, and its pool port.
fn in_state(state: &str) -> (Lab, u16) {
    let mut lab = Lab::new();
    let port = if state == "V4_INIT" {
        // The client's mapping exists for another connection, which is over when the test begins.
        let port = lab.pass6(&V6::tcp((CLIENT, PORT), (six(STRANGER), 9), SYN, b"")).ports().0;
        lab.pass_time(3 * MINUTE);
        lab.pass4(&server_tcp(port, SYN));
        lab.pass_time(2 * MINUTE);
        port
    } else if state == "V6_INIT" {
        lab.pass6(&client_tcp(SYN)).ports().0
    } else {
        lab.open_tcp()
    };
    let segments: &[Segment] = match state {
        "V4_FIN_RCV" => &[FromV4(FIN_ACK)],
        "V6_FIN_RCV" => &[FromV6(FIN_ACK)],
        "V6_FIN_V4_FIN_RCV" => &[FromV6(FIN_ACK), FromV4(FIN_ACK)],
        "TRANS" => &[FromV4(RST)],
        _ => &[],
    };
    segments.iter().for_each(|segment| pass(&mut lab, port, *segment));
    lab.pass_time(MINUTE);
    assert_eq!(lab.state(), state);
    (lab, port)
}

/// Sends a segment, which must be translated and forwarded.
fn pass(lab: &mut Lab, port: u16, segment: Segment) {
    match segment {
        FromV6(flags) => {
            let got = lab.pass6(&client_tcp(flags));
            assert_eq!((got.protocol(), got.ports(), got.payload[13]), (TCP, (port, SERVICE), flags));
        }
        FromV4(flags) => {
            let got = lab.pass4(&server_tcp(port, flags));
            assert_eq!((got.next(), got.ports(), got.payload[13]), (TCP, (SERVICE, PORT), flags));
        }
    }
}

/// What a segment leads to: the state, and the lifetime where it starts again.
fn expected(state: &'static str, segment: Segment) -> (&'static str, Option<Duration>) {
    const SYN_SEEN: u8 = SYN;
    let established = ("ESTABLISHED", Some(ESTABLISHED));
    match (state, segment) {
        ("V6_INIT", FromV4(SYN_SEEN | SYN_ACK)) | ("V4_INIT", FromV6(SYN_SEEN | SYN_ACK)) => established,
        ("V6_INIT", FromV6(SYN_SEEN | SYN_ACK)) => ("V6_INIT", Some(TRANSITORY)),
        ("V6_INIT" | "V4_INIT", _) => (state, None),

        ("ESTABLISHED", FromV4(FIN_ACK)) => ("V4_FIN_RCV", None),
        ("ESTABLISHED", FromV6(FIN_ACK)) => ("V6_FIN_RCV", None),
        ("ESTABLISHED", FromV4(RST) | FromV6(RST)) => ("TRANS", Some(TRANSITORY)),
        ("ESTABLISHED", _) => established,

        ("V4_FIN_RCV", FromV6(FIN_ACK)) | ("V6_FIN_RCV", FromV4(FIN_ACK)) => ("V6_FIN_V4_FIN_RCV", Some(TRANSITORY)),
        // RFC 7857 §2.2 for a connection that one side has closed.
        ("V4_FIN_RCV" | "V6_FIN_RCV", FromV4(RST) | FromV6(RST)) => ("TRANS", Some(TRANSITORY)),
        ("V4_FIN_RCV" | "V6_FIN_RCV", _) => (state, Some(ESTABLISHED)),

        // Beyond the text: a new connection between the same ends does not die with the old one.
        ("V6_FIN_V4_FIN_RCV", FromV6(SYN_SEEN | SYN_ACK)) => ("V6_INIT", Some(TRANSITORY)),
        ("V6_FIN_V4_FIN_RCV", FromV4(SYN_SEEN | SYN_ACK)) => ("V4_INIT", Some(TRANSITORY)),
        ("V6_FIN_V4_FIN_RCV", _) => (state, None),

        ("TRANS", FromV4(RST) | FromV6(RST)) => ("TRANS", None),
        ("TRANS", _) => established,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_segment_in_every_state_is_forwarded_and_leads_where_the_rfc_says() {
    for state in STATES {
        for flags in [SYN, SYN_ACK, ACK, FIN_ACK, RST] {
            for segment in [FromV6(flags), FromV4(flags)] {
                let (mut lab, port) = in_state(state);
                let before = lab.lifetime();
                let (next, lifetime) = expected(state, segment);
                pass(&mut lab, port, segment);
                assert_eq!(lab.state(), next, "{state}, {segment:?}");
                match lifetime {
                    Some(lifetime) => lab.lives_for(lifetime),
                    None => assert_eq!(lab.lifetime(), before, "{state}, {segment:?}"),
                }
            }
        }
    }
}

#[test]
fn the_end_of_its_lifetime_closes_a_connection_in_every_state_but_established() {
    for state in STATES.into_iter().filter(|state| *state != "ESTABLISHED") {
        let (mut lab, port) = in_state(state);
        let left = lab.lifetime();
        lab.pass_time(left - SECOND);
        assert_eq!(lab.state(), state);
        let sent = lab.pass_time(2 * SECOND);
        assert_eq!((lab.state(), sent), ("CLOSED", Vec::new()), "{state}");
        lab.is_empty();
        lab.send4(&server_tcp(port, ACK)).silent(DropReason::NoMapping);
    }
}

#[test]
fn an_established_connection_that_was_silent_is_probed_and_then_closed() {
    let (mut lab, _) = in_state("ESTABLISHED");
    let left = lab.lifetime();
    assert_eq!(lab.pass_time(left - SECOND), Vec::<Vec<u8>>::new());
    let sent = lab.pass_time(2 * SECOND);
    let [probe] = sent.as_slice() else { panic!("{sent:?}") };
    let probe = V6::read(probe);
    assert_eq!((probe.source(), probe.destination(), probe.ports()), (six(SERVER), CLIENT, (SERVICE, PORT)));
    assert_eq!(probe.data(), b"", "no data, and a right checksum");
    assert_eq!(probe.payload[4..12], [0; 8], "sequence and acknowledgment number are zero");
    assert_eq!(probe.payload[13], ACK, "only ACK is set");
    assert_eq!(lab.state(), "TRANS");
    lab.pass_time(TRANSITORY - 2 * SECOND);
    assert_eq!(lab.state(), "TRANS");
    lab.pass_time(4 * SECOND);
    lab.is_empty();
}

#[test]
fn a_probed_connection_lives_on_when_either_side_answers() {
    for answer in [FromV6(ACK), FromV4(ACK)] {
        let (mut lab, port) = in_state("ESTABLISHED");
        lab.pass_time(ESTABLISHED);
        assert_eq!(lab.state(), "TRANS");
        pass(&mut lab, port, answer);
        assert_eq!(lab.state(), "ESTABLISHED");
        lab.lives_for(ESTABLISHED);
    }
}

#[test]
fn a_connection_idle_for_two_hours_and_four_minutes_still_works() {
    let (mut lab, port) = in_state("ESTABLISHED");
    lab.pass_time(ESTABLISHED - 2 * MINUTE);
    pass(&mut lab, port, FromV4(ACK));
    lab.pass_time(ESTABLISHED - 2 * MINUTE);
    pass(&mut lab, port, FromV6(ACK));
}

#[test]
fn segments_a_filter_refuses_refresh_nothing() {
    let mut lab = Lab::with(|policy| policy.filtering = Filtering::AddressDependent);
    let port = lab.open_tcp();
    lab.pass_time(MINUTE);
    let left = lab.lifetime();
    for flags in [ACK, FIN_ACK, RST] {
        lab.send4(&V4::tcp((STRANGER, 9), (POOL, port), flags, b"")).error4(DropReason::Filtered);
    }
    lab.send4(&V4::tcp((STRANGER, 9), (POOL, port), SYN, b"")).held();
    assert_eq!((lab.state(), lab.lifetime()), ("ESTABLISHED", left));
}

#[test]
fn an_icmp_error_ends_no_connection() {
    let mut lab = Lab::new();
    let port = lab.open_tcp();
    let sent = lab.pass6(&client_tcp(ACK)).bytes();
    lab.pass_time(MINUTE);
    let left = lab.lifetime();
    for code in 0..16 {
        lab.send4(&V4::icmp(ROUTER4, POOL, &Icmp::error(3, code, 0, &sent)));
        assert_eq!((lab.state(), lab.lifetime()), ("ESTABLISHED", left), "code {code}");
    }
    let delivered = V6::tcp(service6(), (CLIENT, PORT), ACK, b"").bytes();
    for code in 0..8 {
        lab.send6(&V6::icmp(CLIENT, six(SERVER), &Icmp::error(1, code, 0, &delivered)));
        assert_eq!((lab.state(), lab.lifetime()), ("ESTABLISHED", left), "code {code}");
    }
    pass(&mut lab, port, FromV4(ACK));
}

#[test]
fn defaults_are_those_of_the_rfc() {
    let timers = Timers::default();
    assert!(timers.tcp_established >= ESTABLISHED);
    assert!(timers.tcp_opening >= TRANSITORY && timers.tcp_closing >= TRANSITORY);
    assert!(timers.tcp_transitory >= TRANSITORY);
    assert!(timers.tcp_incoming_syn >= 6 * SECOND);
}

#[test]
fn lifetimes_of_opening_closing_reset_and_established_connections_are_configurable_apart() {
    let mut lab = Lab::with(|policy| {
        policy.timers.tcp_opening = 10 * SECOND;
        policy.timers.tcp_closing = 20 * SECOND;
        policy.timers.tcp_transitory = 30 * SECOND;
        policy.timers.tcp_established = 40 * SECOND;
    });
    let port = lab.pass6(&client_tcp(SYN)).ports().0;
    lab.lives_for(10 * SECOND);
    lab.pass4(&server_tcp(port, SYN_ACK));
    lab.lives_for(40 * SECOND);
    lab.pass4(&server_tcp(port, RST));
    lab.lives_for(30 * SECOND);
    lab.pass6(&client_tcp(ACK));
    lab.lives_for(40 * SECOND);
    lab.pass6(&client_tcp(FIN_ACK));
    lab.pass4(&server_tcp(port, FIN_ACK));
    lab.lives_for(20 * SECOND);
    lab.pass_time(21 * SECOND);
    lab.is_empty();
}

#[test]
fn one_connection_s_segments_do_not_move_another() {
    let mut lab = Lab::new();
    let port = lab.open_tcp();
    lab.pass6(&V6::tcp((CLIENT, PORT), (six(STRANGER), SERVICE), SYN, b""));
    let state_with =
        |lab: &Lab, remote| lab.sessions().iter().find(|session| session.remote.0 == remote).unwrap().state;
    lab.pass4(&server_tcp(port, RST));
    assert_eq!((state_with(&lab, SERVER), state_with(&lab, STRANGER)), ("TRANS", "V6_INIT"));
    lab.pass4(&V4::tcp((STRANGER, SERVICE), (POOL, port), SYN_ACK, b""));
    assert_eq!((state_with(&lab, SERVER), state_with(&lab, STRANGER)), ("TRANS", "ESTABLISHED"));
}

#[test]
fn segments_without_connection_are_forwarded_where_there_is_a_mapping_and_make_no_session() {
    let mut lab = Lab::new();
    let port = lab.open_tcp();
    for flags in [ACK, FIN_ACK, RST] {
        let got = lab.pass4(&V4::tcp((STRANGER, 9), (POOL, port), flags, b""));
        assert_eq!((got.source(), got.destination(), got.ports()), (six(STRANGER), CLIENT, (9, PORT)));
        let got = lab.pass6(&V6::tcp((CLIENT, PORT), (six(STRANGER), 9), flags, b""));
        assert_eq!((got.destination(), got.ports()), (STRANGER, (port, 9)));
    }
    assert_eq!(lab.sessions().len(), 1);
}

#[test]
fn segments_without_mapping_are_dropped_silently_from_outside_and_reset_or_dropped_from_inside() {
    for flags in [ACK, SYN_ACK, FIN_ACK, RST] {
        let mut lab = Lab::new();
        lab.send4(&server_tcp(4242, flags)).silent(DropReason::NoMapping);
        lab.is_empty();
    }
    for flags in [ACK, FIN_ACK] {
        let mut lab = Lab::new();
        let outcome = lab.send6(&client_tcp(flags));
        assert_eq!(outcome.verdict, Verdict::Refused(DropReason::NoSession));
        let reset = V6::read(outcome.only());
        assert_eq!((reset.source(), reset.ports(), reset.payload[13]), (six(SERVER), (SERVICE, PORT), RST));
        assert_eq!((reset.data(), &reset.payload[4..8]), (&b""[..], &2000_u32.to_be_bytes()[..]));
        let mut lab = Lab::with(|policy| policy.reset_unknown_tcp = false);
        lab.send6(&client_tcp(flags)).silent(DropReason::NoSession);
        lab.is_empty();
    }
    Lab::new().send6(&client_tcp(RST)).silent(DropReason::NoSession);
}
