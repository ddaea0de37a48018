//! RFC 6146 §4, RFC 7857 §2.1: how long what lives when nothing comes. That it then ends is shown where timers are short.

use crate::bench::POOL;
use crate::case::{ACK, Case, FIN_ACK, RST, SYN, SYN_ACK};
use crate::groups::{LIFETIMES, STANDARD};
use crate::rows::rows;
use crate::wire::V4;

rows! { lives_for:
    a_udp_session_lives_five_minutes(300, |case| { case.open_udp(); });
    an_echo_session_lives_a_minute(60, |case| { case.open_echo(); });
    an_opening_connection_lives_four_minutes(240, |case| { case.pass6(&case.client_tcp(SYN)); });
    an_established_connection_lives_two_hours_and_four_minutes(7440, |case| { case.open_tcp(); });
    a_connection_that_one_side_has_closed_lives_two_hours_and_four_minutes(7440, |case| {
        case.open_tcp();
        case.pass6(&case.client_tcp(FIN_ACK));
    });
    a_connection_that_both_sides_have_closed_lives_four_minutes(240, close);
    a_connection_that_was_reset_lives_four_minutes(240, |case| {
        case.open_tcp();
        case.pass6(&case.client_tcp(RST));
    });
}

#[track_caller]
fn lives_for(seconds: u64, open: fn(&mut Case)) {
    let Some(mut case) = STANDARD.case() else { return };
    open(&mut case);
    assert_eq!(lifetime(&case, seconds), Ok(()));
}

rows! { lives_for_its_own_time:
    the_time_of_an_opening_connection_is_its_own(1000, |case| { case.pass6(&case.client_tcp(SYN)); });
    the_time_of_an_established_connection_is_its_own(4000, |case| { case.open_tcp(); });
    the_time_of_a_closed_connection_is_its_own(2000, close);
    the_time_of_a_reset_connection_is_its_own(3000, |case| {
        case.open_tcp();
        case.pass6(&case.client_tcp(RST));
    });
    a_connection_that_goes_on_after_a_reset_has_all_its_time_again(4000, |case| {
        case.open_tcp();
        case.pass6(&case.client_tcp(RST));
        case.pass6(&case.client_tcp(ACK));
    });
    the_time_of_a_connection_that_outside_opens_is_that_of_an_opening_one(1000, |case| {
        let port = case.pass6(&case.client_tcp(SYN)).ports().0;
        case.pass4(&V4::tcp((case.stranger(), 9), (POOL, port), SYN, b""));
    });
    the_time_of_a_udp_session_is_configurable(5000, |case| { case.open_udp(); });
    the_time_of_an_echo_session_is_configurable(6000, |case| { case.open_echo(); });
}

#[track_caller]
fn lives_for_its_own_time(seconds: u64, open: fn(&mut Case)) {
    let Some(mut case) = LIFETIMES.case() else { return };
    open(&mut case);
    assert_eq!(lifetime(&case, seconds), Ok(()));
}

fn close(case: &mut Case) {
    let port = case.open_tcp();
    case.pass6(&case.client_tcp(FIN_ACK));
    case.pass4(&case.server_tcp(port, FIN_ACK));
}

/// Whether all sessions have these seconds left, but for the few that a busy machine has taken since; if not, what they have.
fn lifetime(case: &Case, seconds: u64) -> Result<(), Vec<u64>> {
    let left: Vec<u64> = case.sessions().iter().filter_map(|session| session["expires_in_seconds"].as_u64()).collect();
    let as_wanted = |left: &u64| (seconds - 20..=seconds).contains(left);
    if !left.is_empty() && left.iter().all(as_wanted) { Ok(()) } else { Err(left) }
}

#[test]
fn every_packet_of_either_side_starts_the_time_of_an_established_connection_again() {
    let Some(mut case) = LIFETIMES.case() else { return };
    let port = case.pass6(&case.client_tcp(SYN)).ports().0;
    case.pass4(&case.server_tcp(port, SYN_ACK));
    for _ in 0..2 {
        case.pass6(&case.client_tcp(ACK));
        case.pass4(&case.server_tcp(port, ACK));
        assert_eq!(lifetime(&case, 4000), Ok(()));
    }
}
